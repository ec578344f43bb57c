package table

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// Get returns a row by its number. Expanded, references are the rows that they
// refer to.
func (s *Session) Get(ctx context.Context, id int64, expand bool) (*Row, error) {
	r, sc, err := s.stored(ctx, id)
	if err != nil {
		return nil, err
	}
	out, err := s.row(sc, r)
	if err != nil || !expand {
		return out, err
	}
	return out, s.expand(ctx, sc, []*Row{out})
}

// stored reads a row and its table.
func (s *Session) stored(ctx context.Context, id int64) (store.Row, *Schema, error) {
	r, err := s.t.o.Store.Row(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil, &NotFoundError{Row: id}
	}
	if err != nil {
		return r, nil, err
	}
	sc, err := s.t.schemaByID(ctx, r.Table)
	if errors.Is(err, ErrNoTable) { // it went just now
		return r, nil, &NotFoundError{Row: id}
	}
	return r, sc, err
}

// Insert adds a row and returns it.
func (s *Session) Insert(ctx context.Context, table string, values map[string]any) (*Row, error) {
	rows, err := s.InsertAll(ctx, table, []map[string]any{values})
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// InsertAll adds rows, all or none.
func (s *Session) InsertAll(ctx context.Context, table string, list []map[string]any) ([]*Row, error) {
	var out []*Row
	err := s.t.change(ctx, s.by, table, func(w *writer) error {
		out = out[:0]
		for _, values := range list {
			r, err := w.insert(values)
			if err != nil {
				return err
			}
			made, err := s.row(w.s, r)
			if err != nil {
				return err
			}
			out = append(out, made)
		}
		return nil
	})
	return out, err
}

// Update changes columns of a row, in one transaction: whoever reads sees all of
// it or nothing. It returns the row as it is then.
func (s *Session) Update(ctx context.Context, id int64, values map[string]any, o UpdateOptions) (*Row, error) {
	var out *Row
	err := s.withRow(ctx, id, func(w *writer, old store.Row) error {
		r, err := w.update(old, values, o)
		if err != nil {
			return err
		}
		out, err = s.row(w.s, r)
		return err
	})
	return out, err
}

// Delete removes a row: a ReferencedError while others refer to it. version, if
// it is not 0, is the one that the row must be at.
func (s *Session) Delete(ctx context.Context, id, version int64) error {
	return s.withRow(ctx, id, func(w *writer, old store.Row) error { return w.delete(old, version) })
}

// withRow runs fn over a row in a transaction.
func (s *Session) withRow(ctx context.Context, id int64, fn func(w *writer, old store.Row) error) error {
	// Which table it is never changes.
	r, err := s.t.o.Store.Row(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return &NotFoundError{Row: id}
	}
	if err != nil {
		return err
	}
	return s.t.retry(ctx, func(tx *store.TableTx) error {
		t, err := tx.TableByID(r.Table)
		if errors.Is(err, store.ErrNotFound) {
			return &NotFoundError{Row: id}
		}
		if err != nil {
			return err
		}
		sc, err := s.t.decode(t)
		if err != nil {
			return err
		}
		w := &writer{t: s.t, tx: tx, s: sc, by: s.by}
		if err := tx.Hold(sc.ID, sc.revision, 0); err != nil {
			return err
		}
		old, err := tx.Row(id)
		if errors.Is(err, store.ErrNotFound) {
			return &NotFoundError{Table: sc.Name, Row: id}
		}
		if err != nil {
			return err
		}
		if err := fn(w, old); err != nil {
			return err
		}
		return w.done()
	})
}

// UpsertOptions change what Upsert does.
type UpsertOptions struct {
	Key          string // the column that tells rows apart; "": all are new, but those that give their ObjectId
	ClearOmitted bool   // columns that are not given become null in rows that are there
	AddColumns   bool   // columns that are not there are made, of the type of the first value that tells
}

// An Upserted says what became of a row.
type Upserted struct {
	Row    *Row
	Action string // Inserted, Updated, or "": it was so already
}

// Upsert adds rows, or changes those that are there: the one of the number that
// values give as ObjectId, else the one that has the same value in the key
// column. All or none.
func (s *Session) Upsert(ctx context.Context, table string, list []map[string]any, o UpsertOptions) ([]Upserted, error) {
	var out []Upserted
	given := list
	err := s.t.change(ctx, s.by, table, func(w *writer) error {
		out = out[:0]
		list := make([]map[string]any, len(given))
		for i := range given {
			list[i] = maps.Clone(given[i])
		}
		if o.AddColumns {
			if err := w.addMissing(list); err != nil {
				return err
			}
		}
		var by *Column
		if o.Key != "" && o.Key != ObjectID {
			c, ok := w.s.Column(o.Key)
			if !ok {
				return &ColumnError{Table: w.s.Name, Column: short(o.Key), Columns: w.s.Names()}
			}
			if c.Secret {
				return &SchemaError{Table: w.s.Name, Column: c.Name, Detail: "is a secret, by which rows are not found: choose another key"}
			}
			if err := w.ensureIndexed(c.Name); err != nil {
				return err
			}
			by, _ = w.s.Column(o.Key)
		}
		for _, values := range list {
			old, found, err := w.present(by, values)
			if err != nil {
				return err
			}
			var r store.Row
			action := Inserted
			if found {
				r, err = w.update(old, values, UpdateOptions{ClearOmitted: o.ClearOmitted})
				if action = Updated; r.Version == old.Version {
					action = ""
				}
			} else {
				r, err = w.insert(values)
			}
			if err != nil {
				return err
			}
			row, err := s.row(w.s, r)
			if err != nil {
				return err
			}
			out = append(out, Upserted{row, action})
		}
		return nil
	})
	return out, err
}

// present finds the row that values are about.
func (w *writer) present(by *Column, values map[string]any) (store.Row, bool, error) {
	if v := values[ObjectID]; v != nil && v != "" && v != Blank {
		n, detail := convertNumber(v, 0)
		id, ok := n.(int64)
		if !ok {
			return store.Row{}, false, &ValueError{Table: w.s.Name, Column: ObjectID, Value: display(v), Detail: detail}
		}
		r, err := w.tx.Row(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && r.Table != w.s.ID {
			return r, false, &NotFoundError{Table: w.s.Name, Row: id}
		}
		return r, err == nil, err
	}
	delete(values, ObjectID)
	if by == nil {
		return store.Row{}, false, nil
	}
	v, ok := values[by.Name]
	if !ok && by.Name == w.s.Title {
		v = values[TitleAlias]
	}
	if v == Blank {
		v = nil
	}
	rows, err := w.find(w.s, by, v)
	if err != nil || len(rows) == 0 {
		return store.Row{}, false, err
	}
	if len(rows) > 1 {
		return store.Row{}, false, &ValueError{Table: w.s.Name, Column: by.Name, Type: by.Type, Value: display(v), Detail: "is in " + strconv.Itoa(len(rows)) + " rows, so that it does not say which is meant"}
	}
	return rows[0], true, nil
}

// addMissing makes the columns that values have and the table does not.
func (w *writer) addMissing(list []map[string]any) error {
	n := w.s.clone()
	for _, values := range list {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if _, ok := n.Column(name); ok || name == ObjectID {
				continue
			}
			t, known := guess(name, list)
			if !known {
				continue // nothing but nulls: a later insert will tell
			}
			n.Columns = append(n.Columns, Column{ID: n.Next, Name: name, Type: t})
			n.Next++
		}
	}
	// Columns that stay unknown because nobody gives them a value are dropped
	// from what is given.
	for _, values := range list {
		for name, v := range values {
			if _, ok := n.Column(name); !ok && (v == nil || v == Blank) && name != ObjectID {
				delete(values, name)
			}
		}
	}
	if len(n.Columns) == len(w.s.Columns) {
		return nil
	}
	return w.setSchema(n)
}

// guess tells a column's type by all of its values: the narrowest that takes
// each.
func guess(name string, list []map[string]any) (Type, bool) {
	var t Type
	for _, values := range list {
		var here Type
		switch v := values[name].(type) {
		case nil, blank:
			continue
		case bool:
			here = Boolean
		case json.Number:
			here = Decimal5
			if _, err := v.Int64(); err == nil {
				here = BigInteger
			}
		case int, int32, int64:
			here = BigInteger
		case float64:
			here = Decimal5
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				here = BigInteger
			}
		case time.Time:
			here = DateTime
		default:
			here = String
		}
		switch {
		case t == "" || t == here:
			t = here
		case t == BigInteger && here == Decimal5 || t == Decimal5 && here == BigInteger:
			t = Decimal5
		default:
			t = String
		}
	}
	return t, t != ""
}

// ensureIndexed puts a column into the index.
func (w *writer) ensureIndexed(name string) error {
	c, ok := w.s.Column(name)
	if !ok || c.indexed() {
		return nil
	}
	n := w.s.clone()
	n.byID(c.ID).Indexed = true
	if err := w.setSchema(n); err != nil {
		return err
	}
	return w.fillIndex(w.s.byID(c.ID))
}

// fillIndex indexes a column of all rows.
func (w *writer) fillIndex(c *Column) error {
	after := int64(0)
	for {
		rows, err := w.tx.RowsAfter(w.s.ID, after, 500)
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.ID
			data, err := decodeCells(r.Data)
			if err != nil {
				return err
			}
			if entry, ok := indexCell(c, data[c.ID]); ok {
				if err := w.tx.SetCells(r.ID, w.s.ID, []int64{c.ID}, []store.Cell{entry}); err != nil {
					return err
				}
			}
		}
		if len(rows) < 500 {
			return nil
		}
	}
}

// A HistoryQuery says which versions of a row are listed. Filter and OrderBy may
// name Version; without an order the newest come first.
type HistoryQuery struct {
	Query
	Current bool // the version that the row has now, too
}

// History lists versions of a row. A row that is gone has its versions; the last
// one is that it went, and its secrets are gone.
func (s *Session) History(ctx context.Context, id int64, q HistoryQuery) ([]*Change, error) {
	list, err := s.t.o.Store.RowHistory(ctx, id, math.MaxInt64, int(s.t.o.Keep)+1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &NotFoundError{Row: id}
	}
	sc, err := s.t.schemaByID(ctx, list[0].Table)
	if err != nil {
		return nil, err
	}
	plan, err := sc.plan(q.Query, true)
	if err != nil {
		return nil, err
	}
	current := int64(0)
	if !q.Current && list[0].Action != Deleted {
		current = list[0].Version
	}
	created := list[len(list)-1].At
	hits := sorter{plan: plan, limit: 0}
	for _, h := range list {
		if h.Version == current {
			continue
		}
		r := store.Row{ID: h.Row, Table: h.Table, Version: h.Version, Data: h.Data, Sealed: h.Sealed, CreatedAt: created, UpdatedAt: h.At}
		data, err := decodeCells(h.Data)
		if err != nil {
			return nil, err
		}
		if !odata.Match(plan.filter, sc.getter(r, data)) {
			continue
		}
		hits.add(r, data)
	}
	byVersion := map[int64]store.RowChange{}
	for _, h := range list {
		byVersion[h.Version] = h
	}
	var out []*Change
	var rows []*Row
	for _, r := range hits.page(q.Skip, q.Limit) {
		h := byVersion[r.Version]
		if len(r.Sealed) == 0 && s.reveal {
			// The row is gone, and its secrets with it.
			if r.Data, err = sc.unmarked(r.Data); err != nil {
				return nil, err
			}
		}
		row, err := s.row(sc, r)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
		out = append(out, &Change{Row: *row, Action: h.Action, At: h.At, By: h.By})
	}
	if q.Expand {
		if err := s.expand(ctx, sc, rows); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unmarked is data without the marks of secrets.
func (s *Schema) unmarked(data string) (string, error) {
	m, err := decodeCells(data)
	if err != nil {
		return "", err
	}
	for i := range s.Columns {
		if s.Columns[i].Secret {
			delete(m, s.Columns[i].ID)
		}
	}
	return encodeCells(m)
}
