package storetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

var letters = []test{
	{"F85 letters are sent when they are due, and kept until they are delivered", func(w *world) {
		l := store.Letter{ID: "l1", Kind: "revoke", Target: "acme", Payload: `{"a":1}`, Sealed: []byte("sealed")}
		w.ok(w.Post(w.ctx, l, store.Letter{ID: "l2", Kind: "revoke", Target: "acme", Payload: "{}", NextAt: at(time.Minute)},
			store.Letter{ID: "l3", Kind: "webhook", Target: "ops", Payload: "{}"}))
		w.ok(w.Post(w.ctx, store.Letter{ID: "l1", Kind: "revoke", Target: "other", Payload: "{}"})) // once
		due := func(kind string) (ids []string) {
			letters, err := w.DueLetters(w.ctx, kind, 10)
			w.ok(err)
			for _, l := range letters {
				ids = append(ids, l.ID)
			}
			return ids
		}
		equal(w, due("revoke"), []string{"l1"})
		equal(w, due("webhook"), []string{"l3"})
		w.pass(time.Minute)
		equal(w, due("revoke"), []string{"l1", "l2"})
		w.ok(w.Returned(w.ctx, "l1", "503", at(time.Hour)))
		equal(w, due("revoke"), []string{"l2"})
		all, err := w.Letters(w.ctx, 10)
		w.ok(err)
		l.Attempts, l.Error, l.NextAt, l.CreatedAt = 1, "503", at(time.Hour), begin
		equal(w, all[0], l)
		equal(w, len(all), 3)
		w.ok(w.ClaimLetter(w.ctx, "l2", at(time.Minute), at(2*time.Minute)))
		equal(w, due("revoke"), nil)
		w.is(w.ClaimLetter(w.ctx, "l2", at(time.Minute), at(3*time.Minute)), store.ErrStale)
		w.is(w.ClaimLetter(w.ctx, "none", at(0), at(3*time.Minute)), store.ErrStale)
		w.ok(w.Delivered(w.ctx, "l1"))
		w.ok(w.Delivered(w.ctx, "l1"))
		w.ok(w.Returned(w.ctx, "l1", "late", at(0)))
		w.pass(time.Hour)
		equal(w, due("revoke"), []string{"l2"})
	}},
}

// walk lists all sealed values by handle.
func (w *world) walk(prefix []byte, limit int) map[string]freshet.SealedValue {
	w.t.Helper()
	out := map[string]freshet.SealedValue{}
	cursors := map[string]bool{}
	for cursor := ""; ; {
		values, next, err := w.SealedAfter(w.ctx, prefix, cursor, limit)
		w.ok(err)
		if len(values) > limit {
			w.t.Fatalf("%d values, the limit is %d", len(values), limit)
		}
		for _, v := range values {
			if _, twice := out[v.Handle]; twice {
				w.t.Fatalf("%s is listed twice", v.Handle)
			}
			out[v.Handle] = v
		}
		if next == "" {
			return out
		}
		if cursors[next] {
			w.t.Fatalf("the cursor comes back to %s", next)
		}
		cursors[next], cursor = true, next
	}
}

// fill puts a ciphertext in every place that holds one.
func (w *world) fill() map[string]freshet.Binding {
	w.t.Helper()
	w.hold(at(0), "crm", "crm!", "erp") // ! comes before all that a cursor may be made of
	w.ok(w.Put(w.ctx, store.Commit{ID: id("crm"), Gen: 1, Sealed: []byte("old crm")}))
	w.connect("none")
	w.ok(w.KeepOrphan(w.ctx, store.Orphan{ID: "o:1", Connection: id("crm"), Gen: 9, Sealed: []byte("old orphan")}))
	w.declare(store.Resource{ID: "r1", Kind: "clients", Name: "a", Spec: "{}", Secrets: []byte("s"), Revision: 1},
		store.Resource{ID: "r2", Kind: "clients", Name: "b", Spec: "{}", Revision: 1})
	w.declare(store.Resource{ID: "r1", Kind: "clients", Name: "a", Spec: "{}", Secrets: []byte("old secrets"), Revision: 2})
	for _, f := range []string{"f1", "f2"} {
		w.ok(w.StartFlow(w.ctx, store.Flow{ID: f, Connection: "crm", Kind: "device_code", Sealed: []byte("old flow"), ExpiresAt: at(time.Hour)}))
	}
	w.ok(w.EndFlow(w.ctx, "f2", "done", ""))
	w.ok(w.Post(w.ctx, store.Letter{ID: "l1", Kind: "revoke", Target: "acme", Payload: "{}", Sealed: []byte("old letter")},
		store.Letter{ID: "l2", Kind: "webhook", Target: "ops", Payload: "{}"}))
	table, rows := w.tabulate("a", "x", 1, "y", 2)
	w.change(func(t *store.TableTx) error {
		for v := int64(1); v < 3; v++ {
			if err := t.Record(store.RowChange{Row: rows[1], Version: v, Table: table, Action: "update", Data: "{}", Sealed: fmt.Appendf(nil, "old row %d", v), By: "me"}, 9); err != nil {
				return err
			}
		}
		return nil
	})
	row := fmt.Sprint(rows[1])
	return map[string]freshet.Binding{
		"old row 1":     {Table: "table_rows", Row: row, Column: "secrets", Generation: 1},
		"old row 2":     {Table: "table_rows", Row: row, Column: "secrets", Generation: 2},
		"old crm":       {Table: "tokens", Row: "id-crm", Column: "token", Generation: 2},
		"sealed-1-erp":  {Table: "tokens", Row: "id-erp", Column: "token", Generation: 1},
		"sealed-1-crm!": {Table: "tokens", Row: "id-crm!", Column: "token", Generation: 1},
		"old orphan":    {Table: "tokens", Row: "id-crm", Column: "token", Generation: 9},
		"old secrets":   {Table: "resources", Row: "r1", Column: "secrets", Generation: 2},
		"old flow":      {Table: "flows", Row: "f1", Column: "flow"},
		"old letter":    {Table: "outbox", Row: "l1", Column: "letter"},
	}
}

var sealed = []test{
	{"S44 every ciphertext is listed once, with its place", func(w *world) {
		want := w.fill()
		for limit := 1; limit < 8; limit++ {
			got := map[string]freshet.Binding{}
			for _, v := range w.walk([]byte{0}, limit) {
				got[string(v.Sealed)] = v.Binding
			}
			equal(w, got, want)
		}
		equal(w, len(w.walk([]byte("old"), 2)), 2)
		equal(w, len(w.walk([]byte("sealed-1-"), 2)), len(want)-2)
	}},
	{"F10 a value is re-sealed where it still is what it was", func(w *world) {
		w.fill()
		var changes []freshet.Resealed
		for _, v := range w.walk([]byte{0}, 10) {
			changes = append(changes, freshet.Resealed{From: v, To: append([]byte("new "), v.Sealed...)})
		}
		// One of them is stored anew meanwhile.
		w.ok(w.Put(w.ctx, store.Commit{ID: id("erp"), Gen: 1, Sealed: []byte("new by refresh")}))
		n, err := w.ReplaceSealed(w.ctx, changes)
		w.ok(err)
		equal(w, n, len(changes)-1)
		for handle, v := range w.walk([]byte{0}, 10) {
			if !bytes.HasPrefix(v.Sealed, []byte("new ")) {
				w.t.Errorf("%s still is %q", handle, v.Sealed)
			}
		}
		equal(w, string(w.row("erp").Sealed), "new by refresh")
		equal(w, w.row("crm").Gen, 2) // the same token
		equal(w, len(w.walk([]byte("new "), 10)), 0)
		n, err = w.ReplaceSealed(w.ctx, changes)
		w.ok(err)
		equal(w, n, 0)
	}},
	{"F10 callers that re-seal the same values write each once", func(w *world) {
		names := number("c", rounds(60))
		w.hold(at(0), names...)
		var changes []freshet.Resealed
		for _, v := range w.walk([]byte{0}, 100) {
			changes = append(changes, freshet.Resealed{From: v})
		}
		counts := make([]int, 4)
		for _, err := range together(len(counts), func(i int) (err error) {
			mine := make([]freshet.Resealed, len(changes))
			for j, c := range changes {
				c.To = fmt.Appendf(nil, "new of %d", i)
				mine[j] = c
			}
			counts[i], err = w.ReplaceSealed(w.ctx, mine)
			return err
		}) {
			w.ok(err)
		}
		total := 0
		for _, n := range counts {
			total += n
		}
		equal(w, total, len(names))
	}},
}
