package table

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// A writer changes one table within a transaction.
type writer struct {
	t     *Tables
	tx    *store.TableTx
	s     *Schema
	by    string
	added int64 // rows that came, less those that went
}

// done writes what goes with the changes made.
func (w *writer) done() error {
	if w.added == 0 {
		return nil
	}
	return w.tx.Hold(w.s.ID, w.s.revision, w.added)
}

// setSchema writes the table's columns.
func (w *writer) setSchema(n *Schema) error {
	if err := n.check(); err != nil {
		return err
	}
	text, err := n.encode()
	if err != nil {
		return err
	}
	if err := w.tx.SetSpec(n.ID, w.s.revision, text); err != nil {
		return err
	}
	n.revision = w.s.revision + 1
	w.s = n
	return nil
}

// tableNamed reads another table.
func (w *writer) tableNamed(name string) (*Schema, error) {
	if name == w.s.Name {
		return w.s, nil
	}
	row, err := w.tx.Table(name)
	if errors.Is(err, store.ErrNotFound) {
		if id, ok := number(name); ok {
			row, err = w.tx.TableByID(id)
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, &NotFoundError{Table: short(name)}
	}
	if err != nil {
		return nil, err
	}
	return w.t.decode(row)
}

// A given is the columns that somebody gives values for.
type given struct {
	values map[*Column]cell
	kept   map[*Column]bool // secrets that stand for what is stored
}

// take converts values by the names of their columns. The number of a row may be
// among them, as it is in a row that was read: id, if it is not 0, must be it.
func (w *writer) take(values map[string]any, id int64) (given, error) {
	g := given{values: map[*Column]cell{}, kept: map[*Column]bool{}}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name]
		c, ok := w.s.Column(name) // one pointer for each column, whatever it is called by
		if !ok && name == ObjectID {
			if n, _ := convertNumber(v, 0); v != nil && v != "" && v != Blank && n != cell(id) {
				return g, &ValueError{Table: w.s.Name, Column: name, Value: display(v), Detail: "is not the number of this row, which the server gives"}
			}
			continue
		}
		if !ok {
			return g, &ColumnError{Table: w.s.Name, Column: short(name), Columns: w.s.Names()}
		}
		if _, twice := g.values[c]; twice || g.kept[c] {
			return g, &ValueError{Table: w.s.Name, Column: c.Name, Detail: "is given twice, as " + c.Name + " and as " + TitleAlias}
		}
		if v == Blank {
			g.values[c] = Blank
			continue
		}
		if v == freshet.Redacted && c.Secret {
			g.kept[c] = true
			continue
		}
		if secret, ok := v.(freshet.Secret); ok && c.Secret {
			g.values[c] = secret // opened when it is sealed
			continue
		}
		converted, err := w.reference(c, v)
		if err != nil {
			return g, err
		}
		g.values[c] = converted
	}
	return g, nil
}

// reference converts a value. A text that is no number names the row that a
// reference means by its title.
func (w *writer) reference(c *Column, v any) (cell, error) {
	text, ok := v.(string)
	if _, isNumber := number(text); c.Type != Reference || !ok || isNumber || strings.TrimSpace(text) == "" {
		return w.s.convert(c, v)
	}
	to, err := w.tableNamed(c.To)
	if err != nil {
		return nil, err
	}
	title, _ := to.Column(to.Title)
	rows, err := w.find(to, title, text)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, &ValueError{Table: w.s.Name, Column: c.Name, Type: c.Type, Value: display(v), Detail: fmt.Sprintf("names %d rows of table %s", len(rows), to.Name)}
	}
	return rows[0].ID, nil
}

// find lists rows of a table by the value of an indexed column.
func (w *writer) find(s *Schema, c *Column, v any) ([]store.Row, error) {
	k, err := s.convert(c, v)
	if err != nil || k == nil {
		return nil, err
	}
	cond := equal(c, k)
	rows, err := w.tx.Find(store.RowQuery{Table: s.ID, Where: &cond})
	if err != nil {
		return nil, err
	}
	// A long text has only its beginning in the index.
	return slices.DeleteFunc(rows, func(r store.Row) bool {
		data, err := decodeCells(r.Data)
		return err != nil || data[c.ID] != k
	}), nil
}

// index makes the cells of a row in the columns that are indexed, of those that
// changed.
func (w *writer) index(row int64, data cells, changed func(c *Column) bool) error {
	var columns []int64
	var list []store.Cell
	for i := range w.s.Columns {
		c := &w.s.Columns[i]
		if !c.indexed() || !changed(c) {
			continue
		}
		columns = append(columns, c.ID)
		if entry, ok := indexCell(c, data[c.ID]); ok {
			list = append(list, entry)
		}
	}
	return w.tx.SetCells(row, w.s.ID, columns, list)
}

func indexCell(c *Column, v cell) (store.Cell, bool) {
	switch v := v.(type) {
	case string:
		k := key(v)
		return store.Cell{Column: c.ID, Text: &k}, true
	case int64:
		return store.Cell{Column: c.ID, Num: &v}, true
	case bool:
		n := int64(0)
		if v {
			n = 1
		}
		return store.Cell{Column: c.ID, Num: &n}, true
	}
	return store.Cell{}, false
}

// holdReferences keeps the rows that a row refers to from being deleted before
// the row is there.
func (w *writer) holdReferences(row int64, data cells, changed func(c *Column) bool) error {
	for i := range w.s.Columns {
		c := &w.s.Columns[i]
		id, ok := data[c.ID].(int64)
		if c.Type != Reference || !ok || !changed(c) || id == row {
			continue
		}
		to, err := w.tableNamed(c.To)
		if err != nil {
			return err
		}
		if err := w.tx.HoldRow(id, to.ID); errors.Is(err, store.ErrStale) {
			return &ValueError{Table: w.s.Name, Column: c.Name, Type: c.Type, Value: strconv.FormatInt(id, 10), Detail: fmt.Sprintf("is no row of table %s", to.Name)}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// place puts given values among those of a row, and says which columns changed.
func (w *writer) place(g given, data, hidden cells) (map[*Column]bool, error) {
	changed := map[*Column]bool{}
	for c, v := range g.values {
		if v == Blank {
			if before, isText := data[c.ID].(string); isText && before == "" || c.Secret && hidden[c.ID] == "" {
				continue
			}
			v = nil
		}
		if c.Secret {
			if secret, ok := v.(freshet.Secret); ok {
				var err error
				if v, err = w.s.convert(c, secret.Reveal()); err != nil {
					return nil, err
				}
			}
			if hidden[c.ID] == v {
				continue
			}
			changed[c] = true
			hidden[c.ID] = v
			if data[c.ID] = nil; v != nil {
				data[c.ID] = sealedMark
			}
			continue
		}
		if data[c.ID] != v {
			changed[c] = true
			data[c.ID] = v
		}
	}
	return changed, nil
}

// insert adds a row.
func (w *writer) insert(values map[string]any) (store.Row, error) {
	g, err := w.take(values, 0)
	if err != nil {
		return store.Row{}, err
	}
	for c := range g.kept {
		return store.Row{}, &ValueError{Table: w.s.Name, Column: c.Name, Type: c.Type, Detail: freshet.Redacted + " stands for a stored value, and a new row has none: give the value"}
	}
	data, hidden := cells{}, cells{}
	if _, err := w.place(g, data, hidden); err != nil {
		return store.Row{}, err
	}
	text, err := encodeCells(data)
	if err != nil {
		return store.Row{}, err
	}
	all := func(*Column) bool { return true }
	if err := w.holdReferences(0, data, all); err != nil {
		return store.Row{}, err
	}
	r := store.Row{Table: w.s.ID, Version: 1, Data: text, CreatedAt: w.tx.Now(), UpdatedAt: w.tx.Now()}
	if r.ID, err = w.tx.InsertRow(w.s.ID, text); err != nil {
		return r, err
	}
	if r.Sealed, err = w.t.seal(r.ID, 1, hidden); err != nil {
		return r, err
	}
	w.added++
	if err := w.insertCells(r.ID, data); err != nil {
		return r, err
	}
	return r, w.record(r, Inserted)
}

// insertCells indexes a row that is in no index yet.
func (w *writer) insertCells(row int64, data cells) error {
	var list []store.Cell
	for i := range w.s.Columns {
		if c := &w.s.Columns[i]; c.indexed() {
			if entry, ok := indexCell(c, data[c.ID]); ok {
				list = append(list, entry)
			}
		}
	}
	return w.tx.SetCells(row, w.s.ID, nil, list)
}

func (w *writer) record(r store.Row, action string) error {
	return w.tx.Record(store.RowChange{Row: r.ID, Version: r.Version, Table: r.Table, Action: action, Data: r.Data, Sealed: r.Sealed, By: w.by}, w.t.o.Keep)
}

// update changes a row. Values that are there already make no new version.
func (w *writer) update(old store.Row, values map[string]any, o UpdateOptions) (store.Row, error) {
	if o.Version != 0 && o.Version != old.Version {
		return old, fmt.Errorf("row %d of table %s is at version %d, not %d: %w", old.ID, w.s.Name, old.Version, o.Version, ErrChanged)
	}
	g, err := w.take(values, old.ID)
	if err != nil {
		return old, err
	}
	data, err := decodeCells(old.Data)
	if err != nil {
		return old, fmt.Errorf("read row %d of table %s: %w", old.ID, w.s.Name, err)
	}
	if o.ClearOmitted {
		for i := range w.s.Columns {
			c := &w.s.Columns[i]
			if _, ok := g.values[c]; !ok && !g.kept[c] {
				g.values[c] = nil
			}
		}
	}
	hidden, err := w.t.open(old.ID, old.Version, old.Sealed)
	if err != nil {
		// A value that no key opens any more must be replaceable.
		for i := range w.s.Columns {
			c := &w.s.Columns[i]
			if _, ok := g.values[c]; c.Secret && data[c.ID] != nil && !ok {
				return old, err
			}
		}
		hidden = cells{}
	}
	changed, err := w.place(g, data, hidden)
	if err != nil {
		return old, err
	}
	if len(changed) == 0 {
		return old, nil
	}
	is := func(c *Column) bool { return changed[c] }
	if err := w.holdReferences(old.ID, data, is); err != nil {
		return old, err
	}
	r := old
	if r.Data, err = encodeCells(data); err != nil {
		return old, err
	}
	r.Version, r.UpdatedAt = old.Version+1, w.tx.Now()
	if r.Sealed, err = w.t.seal(r.ID, r.Version, hidden); err != nil {
		return old, err
	}
	if err := w.tx.UpdateRow(r.ID, old.Version, r.Data); err != nil {
		return old, err
	}
	if err := w.index(r.ID, data, is); err != nil {
		return old, err
	}
	return r, w.record(r, Updated)
}

// referrersShown bounds how many rows an error names.
const referrersShown = 5

// delete removes a row that no other refers to. It goes first: from then on
// nobody can begin to refer to it.
func (w *writer) delete(old store.Row, version int64) error {
	if version != 0 && version != old.Version {
		return fmt.Errorf("row %d of table %s is at version %d, not %d: %w", old.ID, w.s.Name, old.Version, version, ErrChanged)
	}
	if err := w.tx.DeleteRow(old.ID, old.Version); err != nil {
		return err
	}
	e := &ReferencedError{Table: w.s.Name, Row: old.ID}
	if err := w.eachReference(w.s.Name, func(s *Schema, c *Column) error {
		ids, err := w.tx.RowReferrers(s.ID, c.ID, old.ID, referrersShown+1)
		for _, id := range ids {
			if len(e.By) == referrersShown {
				e.More = true
				break
			}
			e.By = append(e.By, Referrer{Table: s.Name, Column: c.Name, Row: id})
		}
		return err
	}); err != nil {
		return err
	}
	if len(e.By) > 0 {
		return e
	}
	w.added--
	gone := store.Row{ID: old.ID, Table: old.Table, Version: old.Version + 1, Data: "{}"}
	return w.record(gone, Deleted)
}
