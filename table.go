package freshet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// A Table is rows with named columns, which workflows and scripts read and
// change.
type Table struct {
	Name        string        `json:"-"`
	Description string        `json:"description,omitempty"` // what it is for
	Title       string        `json:"title,omitempty"`       // the column that names a row; by default the first
	Columns     []TableColumn `json:"columns"`               // in the order that they are shown in
	Rows        []TableRow    `json:"rows,omitempty"`        // seeds: inserted when no row has their title, never overwritten
}

// A TableColumn is a column of a table.
type TableColumn struct {
	Name        string `json:"name,omitempty"`        // as filters and scripts name it
	Type        string `json:"type"`                  // what it holds; secret is a string that is kept sealed
	To          string `json:"to,omitempty"`          // of a reference: the table whose rows it refers to
	Secret      bool   `json:"secret,omitempty"`      // its values are kept sealed and are shown to nobody
	Indexed     bool   `json:"indexed,omitempty"`     // filters and orders by it need not read the whole table; the title is indexed always
	Display     string `json:"display,omitempty"`     // how people see it called
	Description string `json:"description,omitempty"` // what it is for
	Order       int    `json:"order,omitempty"`       // where it is shown; columns of the same number as they are written
	Hidden      bool   `json:"hidden,omitempty"`      // it is not shown unless asked for
}

// Sealed reports whether the values of the column are secrets.
func (c *TableColumn) Sealed() bool { return c.Secret || c.Type == "secret" }

// A TableRow holds values by column: nil, string, bool or json.Number, and in
// columns that are secret a Secret, once it is out of its store.
type TableRow map[string]any

// UnmarshalJSON keeps numbers as they are written.
func (r *TableRow) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode((*map[string]any)(r))
}

// TitleColumn is the column that names a row, "" if there are no columns.
func (t *Table) TitleColumn() string {
	if t.Title == "" && len(t.Columns) > 0 {
		return t.Columns[0].Name
	}
	return t.Title
}

// SecretID names the value of a row in a column for as long as the row has its
// title, whatever its place among the others: rows.AccessToken.Data1.
func (t *Table) SecretID(row int, column string) string {
	title := t.Rows[row][t.TitleColumn()]
	switch title.(type) {
	case nil, Secret:
		return fmt.Sprintf("rows[%d].%s", row, column)
	}
	return "rows." + strconv.Quote(fmt.Sprint(title)) + "." + column
}

// EachSecret visits the values of secret columns, blank ones apart. visit
// returns what takes the value's place.
func (t *Table) EachSecret(visit func(row int, column string, s Secret) Secret) {
	for i, r := range t.Rows {
		for j := range t.Columns {
			c := &t.Columns[j]
			if !c.Sealed() {
				continue
			}
			var s Secret
			switch v := r[c.Name].(type) {
			case Secret:
				s = v
			case string:
				s = NewSecret(v)
			}
			if !s.IsZero() {
				r[c.Name] = visit(i, c.Name, s)
			}
		}
	}
}
