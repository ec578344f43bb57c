package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ObjectID is the name under which a row's number is read, filtered and
// ordered by, as the workflows write it. No column has it.
const ObjectID = "ObjectId"

// TitleAlias reads a table's title column, whatever that is called, unless the
// table has a column of this name.
const TitleAlias = "Title"

// A Type is what a column holds.
type Type string

// The types. Their order is that of the numbers that workflows know them by.
const (
	BigInteger Type = "bigint"    // 64 bits
	Reference  Type = "reference" // the number of a row of a table
	Integer    Type = "integer"   // 32 bits
	Decimal2   Type = "decimal2"  // exact, two digits after the point
	Decimal5   Type = "decimal5"  // exact, five digits after the point
	Boolean    Type = "boolean"
	String     Type = "string" // of any length
	DateTime   Type = "datetime"
	URL        Type = "url"
	Embed      Type = "embed" // what a page shows in place; text here
)

// Types lists the types at the places of their numbers: 1 is a reference, 6 a
// string.
var Types = [...]Type{BigInteger, Reference, Integer, Decimal2, Decimal5, Boolean, String, DateTime, URL, Embed}

// A Column is one of a table.
type Column struct {
	ID          int64  `json:"id"` // within its table
	Name        string `json:"name"`
	Type        Type   `json:"type"`
	To          string `json:"to,omitempty"` // of a reference: the table
	Display     string `json:"display,omitempty"`
	Description string `json:"description,omitempty"`
	Order       int    `json:"order,omitempty"`
	Hidden      bool   `json:"hidden,omitempty"`
	Secret      bool   `json:"secret,omitempty"`
	Indexed     bool   `json:"indexed,omitempty"`  // filters and orders by it need not read the whole table
	Declared    bool   `json:"declared,omitempty"` // by a resource; the others were added by a run
}

// indexed reports whether the cells of c are in the index: references are, for
// the sake of whoever deletes what they refer to.
func (c *Column) indexed() bool { return !c.Secret && (c.Indexed || c.Type == Reference) }

// A Schema is a table without its rows. It is shared: read only.
type Schema struct {
	ID          int64
	Name        string
	Description string
	Title       string   // name of the title column
	Columns     []Column // as they were written
	Next        int64    // the next column's ID
	Declared    bool     // by a resource
	Rows        int64    // how many, when it was read
	CreatedAt   time.Time
	UpdatedAt   time.Time

	revision int64
}

// Column returns the column of the name, or the title column for [TitleAlias].
func (s *Schema) Column(name string) (*Column, bool) {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return &s.Columns[i], true
		}
	}
	if name == TitleAlias && s.Title != TitleAlias {
		return s.Column(s.Title)
	}
	return nil, false
}

// Names lists the columns as they were written.
func (s *Schema) Names() []string {
	names := make([]string, len(s.Columns))
	for i := range s.Columns {
		names[i] = s.Columns[i].Name
	}
	return names
}

// A Row is one of a table, as it was at a version. Values holds each column by
// its name, nil where the row has none: string, int64, bool, time.Time in UTC,
// Decimal (float64 for runs), or *Row for an expanded reference. Secrets are
// freshet.Redacted unless a run reads them.
type Row struct {
	ObjectID  int64
	Table     string
	Title     string // name of the title column
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	Values    map[string]any

	names []string // of the columns, as they were written
}

// Value returns the value of a column: nil for one that is not there, the title
// for [TitleAlias], the number for [ObjectID].
func (r *Row) Value(name string) any {
	if v, ok := r.Values[name]; ok {
		return v
	}
	switch name {
	case ObjectID:
		return r.ObjectID
	case TitleAlias:
		return r.Values[r.Title]
	}
	return nil
}

// Columns lists the names of Values in the order of the table.
func (r *Row) Columns() []string {
	if len(r.names) == len(r.Values) {
		return r.names
	}
	return slices.Sorted(maps.Keys(r.Values))
}

// MarshalJSON writes the row as one object: ObjectId, then the columns in the
// table's order.
func (r *Row) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil, "") }

// AppendJSON writes the row as MarshalJSON does, with further members before its
// end, such as ,"@version":3.
func (r *Row) AppendJSON(b []byte, members string) ([]byte, error) {
	b = fmt.Appendf(b, `{"ObjectId":%d`, r.ObjectID)
	for _, name := range r.Columns() {
		k, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(r.Values[name])
		if err != nil {
			return nil, err
		}
		b = append(append(append(append(b, ','), k...), ':'), v...)
	}
	return append(append(b, members...), '}'), nil
}

// What a Change did.
const (
	Inserted = "insert"
	Updated  = "update"
	Deleted  = "delete"
)

// A Change is one version of a row: its values after the change, none after a
// delete.
type Change struct {
	Row
	Action string // Inserted, Updated or Deleted
	At     time.Time
	By     string // who: run:ID, key:NAME#ID, config
}

// A Query says which rows of a table are listed, and how.
type Query struct {
	Filter  string // OData; "": all
	OrderBy string // "LastName asc, Version desc"; "": by ObjectId
	Skip    int    // after filter and order
	Limit   int    // 0: all
	Expand  bool   // references are the rows that they refer to, one level deep
	After   int64  // only rows of greater numbers: the next page of a list in their order
}

// UpdateOptions change what Update does; the zero value leaves columns that
// are not given as they are.
type UpdateOptions struct {
	ClearOmitted bool  // columns that are not given become null
	Version      int64 // the row must be at this version; 0: at any
}

var (
	// ErrNoTable says that no table has the name or number.
	ErrNoTable = errors.New("no such table")
	// ErrNoRow says that no row has the number.
	ErrNoRow = errors.New("no such row")
	// ErrExists says that there is a table, or a column, of the name.
	ErrExists = errors.New("exists already")
	// ErrChanged says that a row is not at the version that was asked for.
	ErrChanged = errors.New("the row has changed")
	// ErrBusy says that others changed the table all the while.
	ErrBusy = errors.New("the table is being changed by others: try again")
)

// A NotFoundError names a table or row that is not there. It is ErrNoTable or
// ErrNoRow.
type NotFoundError struct {
	Table string
	Row   int64 // 0: the table itself
}

// Error names what is missing.
func (e *NotFoundError) Error() string {
	switch {
	case e.Row == 0:
		return fmt.Sprintf("there is no table %q", e.Table)
	case e.Table == "":
		return fmt.Sprintf("there is no row %d", e.Row)
	}
	return fmt.Sprintf("table %s has no row %d", e.Table, e.Row)
}

// Unwrap says which kind it is.
func (e *NotFoundError) Unwrap() error {
	if e.Row == 0 {
		return ErrNoTable
	}
	return ErrNoRow
}

// A ColumnError names a column that a table does not have, and those it has.
type ColumnError struct {
	Table, Column string
	Columns       []string
}

// Error lists the columns there are.
func (e *ColumnError) Error() string {
	return fmt.Sprintf("table %s has no column %q; it has %s", e.Table, e.Column, strings.Join(e.Columns, ", "))
}

// A ValueError is a value that a column does not take. It does not show the
// value of a secret.
type ValueError struct {
	Table, Column string
	Type          Type
	Value         string // shortened; "" for a secret
	Detail        string
}

// Error names table, column and value.
func (e *ValueError) Error() string {
	value := "the value"
	if e.Value != "" {
		value = e.Value
	}
	return fmt.Sprintf("table %s, column %s: %s %s", e.Table, e.Column, value, e.Detail)
}

// A FilterError is a filter or an order that cannot be carried out.
type FilterError struct {
	Table  string
	What   string // filter or order
	At     int    // character, from 1; 0: the whole
	Detail string
	Hint   string
}

// Error says where and why.
func (e *FilterError) Error() string {
	s := "table " + e.Table + ", " + e.What
	if e.Table == "" {
		s = e.What
	}
	if e.At > 0 {
		s += fmt.Sprintf(", character %d", e.At)
	}
	s += ": " + e.Detail
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// A ReferencedError says that rows refer to the row or table that was to go.
type ReferencedError struct {
	Table string
	Row   int64 // 0: the table
	By    []Referrer
	More  bool // there are others
}

// A Referrer is a row that refers to another, or a column that does.
type Referrer struct {
	Table, Column string
	Row           int64 // 0: the column
}

// Error names who refers to it.
func (e *ReferencedError) Error() string {
	var by []string
	for _, r := range e.By {
		if r.Row == 0 {
			by = append(by, fmt.Sprintf("column %s of table %s", r.Column, r.Table))
		} else {
			by = append(by, fmt.Sprintf("row %d of table %s (%s)", r.Row, r.Table, r.Column))
		}
	}
	if e.More {
		by = append(by, "others")
	}
	what := "table " + e.Table
	if e.Row != 0 {
		what = fmt.Sprintf("row %d of table %s", e.Row, e.Table)
	}
	return fmt.Sprintf("%s is referred to by %s", what, strings.Join(by, ", "))
}

// A SchemaError is a change of a table that cannot be made.
type SchemaError struct {
	Table, Column string
	Detail        string
}

// Error says why not.
func (e *SchemaError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("table %s: %s", e.Table, e.Detail)
	}
	return fmt.Sprintf("table %s, column %s: %s", e.Table, e.Column, e.Detail)
}
