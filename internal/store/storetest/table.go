package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// change runs fn in one transaction over tables.
func (w *world) change(fn func(t *store.TableTx) error) {
	w.t.Helper()
	w.ok(w.ChangeTables(w.ctx, fn))
}

func text(s string) *string { return &s }
func num(n int64) *int64    { return &n }

// tabulate makes a table with one row for each pair of cells: of column 1 a text, of
// column 2 a number; "" and 0 are none.
func (w *world) tabulate(name string, cells ...any) (table int64, rows []int64) {
	w.t.Helper()
	w.change(func(t *store.TableTx) error {
		v, err := t.Create(name, `{"a":1}`)
		w.ok(err)
		table = v.ID
		w.ok(t.Hold(table, 1, int64(len(cells)/2)))
		for i := 0; i < len(cells); i += 2 {
			id, err := t.InsertRow(table, fmt.Sprintf(`{"n":%d}`, i/2))
			w.ok(err)
			rows = append(rows, id)
			var list []store.Cell
			if s := cells[i].(string); s != "" {
				list = append(list, store.Cell{Column: 1, Text: &s})
			}
			if n := cells[i+1].(int); n != 0 {
				list = append(list, store.Cell{Column: 2, Num: num(int64(n))})
			}
			w.ok(t.SetCells(id, table, nil, list))
		}
		return nil
	})
	return table, rows
}

// find returns the places of the rows that a query finds, by the order in which
// they were made.
func (w *world) find(rows []int64, q store.RowQuery) (places []int) {
	w.t.Helper()
	w.ok(w.FindRows(w.ctx, q, func(r store.Row) (bool, error) {
		places = append(places, slices.Index(rows, r.ID))
		return true, nil
	}))
	return places
}

// Tables, their rows, and what is found of them.
var tables = []test{
	{"a table is made once, and found by name and number", func(w *world) {
		_, err := w.Table(w.ctx, "a")
		w.is(err, store.ErrNotFound)
		w.change(func(t *store.TableTx) error {
			v, err := t.Create("b", `{"x":1}`)
			w.ok(err)
			equal(w, v, store.Table{ID: v.ID, Name: "b", Spec: `{"x":1}`, Revision: 1, CreatedAt: begin, UpdatedAt: begin})
			_, err = t.Create("a", "{}")
			return err
		})
		// The name is taken, and the transaction goes on.
		w.change(func(t *store.TableTx) error {
			_, err := t.Create("b", "{}")
			w.is(err, store.ErrExists)
			_, err = t.Create("B", "{}")
			return err
		})
		b, err := w.Table(w.ctx, "b")
		w.ok(err)
		again, err := w.TableByID(w.ctx, b.ID)
		w.ok(err)
		equal(w, again, b)
		all, err := w.Tables(w.ctx, "", 10)
		w.ok(err)
		equal(w, []string{all[0].Name, all[1].Name, all[2].Name}, []string{"B", "a", "b"}) // as bytes
		all, err = w.Tables(w.ctx, "B", 1)
		w.ok(err)
		equal(w, len(all), 1)
		equal(w, all[0].Name, "a")
		w.pass(time.Minute)
		w.change(func(t *store.TableTx) error { return t.SetSpec(b.ID, 1, `{"x":2}`) })
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.SetSpec(b.ID, 1, `{"x":3}`) }), store.ErrStale)
		b, err = w.Table(w.ctx, "b")
		w.ok(err)
		equal(w, b, store.Table{ID: b.ID, Name: "b", Spec: `{"x":2}`, Revision: 2, CreatedAt: begin, UpdatedAt: at(time.Minute)})
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.Hold(b.ID, 1, 1) }), store.ErrStale)
	}},
	{"a row changes version by version, and its versions stay on record", func(w *world) {
		var table, id int64
		w.change(func(t *store.TableTx) error {
			v, err := t.Create("a", "{}")
			w.ok(err)
			table = v.ID
			w.ok(t.Hold(table, 1, 1))
			id, err = t.InsertRow(table, `{"1":"x"}`)
			w.ok(err)
			return t.Record(store.RowChange{Row: id, Version: 1, Table: table, Action: "insert", Data: `{"1":"x"}`, Sealed: []byte("sealed-1"), By: "me"}, 3)
		})
		r, err := w.Row(w.ctx, id)
		w.ok(err)
		equal(w, r, store.Row{ID: id, Table: table, Version: 1, Data: `{"1":"x"}`, Sealed: []byte("sealed-1"), CreatedAt: begin, UpdatedAt: begin})
		for v := int64(1); v < 5; v++ {
			w.pass(time.Second)
			w.change(func(t *store.TableTx) error {
				data := fmt.Sprintf(`{"1":"%d"}`, v+1)
				w.ok(t.UpdateRow(id, v, data))
				c := store.RowChange{Row: id, Version: v + 1, Table: table, Action: "update", Data: data, By: "you"}
				if v == 4 {
					c.Sealed = []byte("sealed-5")
				}
				return t.Record(c, 3)
			})
		}
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.UpdateRow(id, 4, "{}") }), store.ErrStale)
		r, err = w.Row(w.ctx, id)
		w.ok(err)
		equal(w, r, store.Row{ID: id, Table: table, Version: 5, Data: `{"1":"5"}`, Sealed: []byte("sealed-5"), CreatedAt: begin, UpdatedAt: at(4 * time.Second)})
		list, err := w.RowHistory(w.ctx, id, 100, 10)
		w.ok(err)
		equal(w, len(list), 3)
		equal(w, list[0], store.RowChange{Row: id, Version: 5, Table: table, Action: "update", Data: `{"1":"5"}`, Sealed: []byte("sealed-5"), At: at(4 * time.Second), By: "you"})
		equal(w, list[2].Version, 3)
		list, err = w.RowHistory(w.ctx, id, 5, 1)
		w.ok(err)
		equal(w, list[0].Version, 4)
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.DeleteRow(id, 4) }), store.ErrStale)
		w.change(func(t *store.TableTx) error {
			w.ok(t.DeleteRow(id, 5))
			return t.Record(store.RowChange{Row: id, Version: 6, Table: table, Action: "delete", Data: "{}", By: "me"}, 3)
		})
		_, err = w.Row(w.ctx, id)
		w.is(err, store.ErrNotFound)
		list, err = w.RowHistory(w.ctx, id, 100, 10)
		w.ok(err)
		if len(list) != 3 || list[0].Action != "delete" || list[1].Sealed != nil {
			w.t.Errorf("after the delete %+v", list)
		}
		// A number is given once.
		w.change(func(t *store.TableTx) error {
			next, err := t.InsertRow(table, "{}")
			if next <= id {
				w.t.Errorf("row %d after row %d", next, id)
			}
			return err
		})
	}},
	{"a table goes with all that it holds", func(w *world) {
		a, rows := w.tabulate("a", "x", 1)
		w.change(func(t *store.TableTx) error {
			return t.Record(store.RowChange{Row: rows[0], Version: 1, Table: a, Action: "insert", Data: "{}", Sealed: []byte("s"), By: "me"}, 3)
		})
		w.change(func(t *store.TableTx) error { return t.Drop(a) })
		for _, query := range []string{`SELECT count(*) FROM table_rows`, `SELECT count(*) FROM table_cells`, `SELECT count(*) FROM table_secrets`, `SELECT count(*) FROM table_history`} {
			var n int64
			w.ok(w.DB().Read().QueryRow(w.ctx, query).Scan(&n))
			equal(w, n, 0)
		}
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.Drop(a) }), store.ErrStale)
	}},
	{"rows are found by their cells", func(w *world) {
		// 0:a,1 1:a,- 2:b,2 3:-,3 4:B,- 5:-,- 6:ä,-1
		table, rows := w.tabulate("a", "a", 1, "a", 0, "b", 2, "", 3, "B", 0, "", 0, "ä", -1)
		w.tabulate("other", "a", 1)
		eq := func(column int64, v any) store.RowCond {
			c := store.RowCond{Op: store.RowEqual, Column: column}
			if s, ok := v.(string); ok {
				c.Text = &s
			} else {
				c.Num = int64(v.(int))
			}
			return c
		}
		op := func(o store.RowOp, c store.RowCond) store.RowCond { c.Op = o; return c }
		with := func(o store.RowOp, of ...store.RowCond) store.RowCond { return store.RowCond{Op: o, Of: of} }
		for _, c := range []struct {
			cond store.RowCond
			want []int
		}{
			{store.RowCond{Op: store.RowAll}, []int{0, 1, 2, 3, 4, 5, 6}},
			{store.RowCond{Op: store.RowNone}, nil},
			{eq(1, "a"), []int{0, 1}},
			{eq(1, "A"), nil},
			{eq(2, 3), []int{3}},
			{eq(2, -1), []int{6}},
			{op(store.RowGreater, eq(1, "a")), []int{2, 6}},
			{op(store.RowGreaterEqual, eq(1, "a")), []int{0, 1, 2, 6}},
			{op(store.RowLess, eq(1, "a")), []int{4}},
			{op(store.RowLessEqual, eq(2, 1)), []int{0, 6}},
			{store.RowCond{Op: store.RowPresent, Column: 1, TextColumn: true}, []int{0, 1, 2, 4, 6}},
			{store.RowCond{Op: store.RowPresent, Column: 2}, []int{0, 2, 3, 6}},
			{store.RowCond{Op: store.RowOneOf, Column: 1, Texts: []string{"a", "B", "z"}}, []int{0, 1, 4}},
			{store.RowCond{Op: store.RowOneOf, Column: 2, Nums: []int64{3, -1}}, []int{3, 6}},
			{store.RowCond{Op: store.RowBetween, Column: 1, Text: text("a"), Texts: []string{"b"}}, []int{0, 1}},
			{with(store.RowNot, eq(1, "a")), []int{2, 3, 4, 5, 6}},
			{with(store.RowAnd, eq(1, "a"), eq(2, 1)), []int{0}},
			{with(store.RowAnd, op(store.RowGreater, eq(2, -5)), op(store.RowLess, eq(2, 2))), []int{0, 6}},
			{with(store.RowAnd, eq(1, "a"), with(store.RowNot, eq(2, 1))), []int{1}},
			{with(store.RowAnd, with(store.RowNot, eq(1, "a")), with(store.RowNot, store.RowCond{Op: store.RowPresent, Column: 2})), []int{4, 5}},
			{with(store.RowOr, eq(1, "b"), eq(2, 3)), []int{2, 3}},
			{with(store.RowOr, eq(1, "a"), eq(2, 1)), []int{0, 1}},
			{with(store.RowOr, eq(1, "b"), with(store.RowNot, store.RowCond{Op: store.RowPresent, Column: 1, TextColumn: true})), []int{2, 3, 5}},
			{with(store.RowOr, with(store.RowAnd, eq(1, "a"), eq(2, 1)), eq(1, "B")), []int{0, 4}},
			{with(store.RowAnd), []int{0, 1, 2, 3, 4, 5, 6}},
			{with(store.RowOr), nil},
			{store.RowCond{Op: store.RowEqual, Num: rows[4]}, []int{4}},
			{with(store.RowAnd, store.RowCond{Op: store.RowGreater, Num: rows[0]}, eq(1, "a")), []int{1}},
			{store.RowCond{Op: store.RowOneOf, Nums: []int64{rows[2], rows[5]}}, []int{2, 5}},
		} {
			if got := w.find(rows, store.RowQuery{Table: table, Where: &c.cond}); !slices.Equal(got, c.want) {
				w.t.Errorf("%+v finds %v, want %v", c.cond, got, c.want)
			}
		}
		for _, c := range []struct {
			order []store.RowOrder
			want  []int
		}{
			{nil, []int{0, 1, 2, 3, 4, 5, 6}},
			{[]store.RowOrder{{Desc: true}}, []int{6, 5, 4, 3, 2, 1, 0}},
			{[]store.RowOrder{{Column: 1, Text: true}}, []int{3, 5, 4, 0, 1, 2, 6}},
			{[]store.RowOrder{{Column: 1, Text: true, Desc: true}}, []int{6, 2, 0, 1, 4, 3, 5}},
			{[]store.RowOrder{{Column: 1, Text: true}, {Column: 2, Desc: true}}, []int{3, 5, 4, 0, 1, 2, 6}},
			{[]store.RowOrder{{Column: 2}, {Desc: true}}, []int{5, 4, 1, 6, 0, 2, 3}},
		} {
			if got := w.find(rows, store.RowQuery{Table: table, Order: c.order}); !slices.Equal(got, c.want) {
				w.t.Errorf("ordered by %+v: %v, want %v", c.order, got, c.want)
			}
		}
		equal(w, w.find(rows, store.RowQuery{Table: table, Skip: 2, Limit: 3}), []int{2, 3, 4})
		equal(w, w.find(rows, store.RowQuery{Table: table, Skip: 5}), []int{5, 6})
		cond := eq(1, "a")
		equal(w, w.find(rows, store.RowQuery{Table: table, Where: &cond, Skip: 1, Limit: 5}), []int{1})
		seen := 0
		stop := errors.New("stop")
		w.ok(w.FindRows(w.ctx, store.RowQuery{Table: table}, func(store.Row) (bool, error) { seen++; return seen < 3, nil }))
		equal(w, seen, 3)
		w.is(w.FindRows(w.ctx, store.RowQuery{Table: table}, func(store.Row) (bool, error) { return false, stop }), stop)
	}},
	{"cells are replaced, and columns leave the index", func(w *world) {
		table, rows := w.tabulate("a", "a", 1, "b", 77)
		w.change(func(t *store.TableTx) error {
			return t.SetCells(rows[0], table, []int64{1, 2}, []store.Cell{{Column: 1, Text: text("c")}})
		})
		is := func(column int64, n int64, s *string, want ...int) {
			w.t.Helper()
			equal(w, w.find(rows, store.RowQuery{Table: table, Where: &store.RowCond{Op: store.RowEqual, Column: column, Num: n, Text: s}}), want)
		}
		is(1, 0, text("a"))
		is(1, 0, text("c"), 0)
		is(2, 1, nil)
		is(2, 77, nil, 1)
		w.change(func(t *store.TableTx) error { return t.DropCells(table, 1) })
		is(1, 0, text("c"))
		is(2, 77, nil, 1)
		w.change(func(t *store.TableTx) error {
			ids, err := t.RowReferrers(table, 2, 77, 10)
			w.ok(err)
			equal(w, ids, []int64{rows[1]})
			// A row that refers to itself may go.
			w.ok(t.SetCells(rows[1], table, []int64{2}, []store.Cell{{Column: 2, Num: num(rows[1])}}))
			ids, err = t.RowReferrers(table, 2, rows[1], 10)
			w.ok(err)
			equal(w, len(ids), 0)
			w.ok(t.Rewrite(rows[1], `{"z":1}`))
			page, err := t.RowsAfter(table, rows[0], 10)
			w.ok(err)
			equal(w, len(page), 1)
			equal(w, page[0].Data, `{"z":1}`)
			equal(w, page[0].Version, 1)
			return nil
		})
	}},
	{"a row that somebody is about to refer to is not deleted", func(w *world) {
		a, rows := w.tabulate("a", "x", 0)
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.HoldRow(rows[0], a+1) }), store.ErrStale)
		w.change(func(t *store.TableTx) error { return t.HoldRow(rows[0], a) })
		w.change(func(t *store.TableTx) error { return t.DeleteRow(rows[0], 1) })
		w.is(w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.HoldRow(rows[0], a) }), store.ErrStale)
	}},
	{"of many who change a row from one version one wins", func(w *world) {
		_, rows := w.tabulate("a", "x", 0)
		w.one(together(8, func(i int) error {
			return w.ChangeTables(w.ctx, func(t *store.TableTx) error { return t.UpdateRow(rows[0], 1, fmt.Sprint(`{"by":`, i, `}`)) })
		}), store.ErrStale)
		r, err := w.Row(w.ctx, rows[0])
		w.ok(err)
		equal(w, r.Version, 2)
	}},
	{"rows are counted, whoever adds them", func(w *world) {
		a, _ := w.tabulate("a")
		for _, err := range together(8, func(int) error {
			return w.ChangeTables(w.ctx, func(t *store.TableTx) error {
				if err := t.Hold(a, 1, 1); err != nil {
					return err
				}
				_, err := t.InsertRow(a, "{}")
				return err
			})
		}) {
			w.ok(err)
		}
		v, err := w.TableByID(w.ctx, a)
		w.ok(err)
		equal(w, v.Rows, 8)
	}},
}
