package table

import (
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet/internal/store"
)

// BenchmarkFilter finds rows among a million by columns that are indexed:
//
//	go test ./internal/table -run - -bench Filter -benchtime 200x
func BenchmarkFilter(b *testing.B) {
	const rows = 1_000_000
	w := newWorld(b)
	s := w.create("Big", Column{Name: "Key", Type: String}, Column{Name: "Owner", Type: BigInteger, Indexed: true}, Column{Name: "Active", Type: Boolean, Indexed: true}, Column{Name: "Note", Type: String})
	const page = 20_000
	for from := 0; from < rows; from += page {
		w.ok(w.st.ChangeTables(w.ctx, func(tx *store.TableTx) error {
			if err := tx.Hold(s.ID, s.revision, page); err != nil {
				return err
			}
			for i := from; i < from+page; i++ {
				data := cells{1: fmt.Sprintf("key-%07d", i), 2: int64(i / 100), 3: i%2 == 0, 4: "a note of some length, as rows have"}
				text, err := encodeCells(data)
				if err != nil {
					return err
				}
				id, err := tx.InsertRow(s.ID, text)
				if err != nil {
					return err
				}
				wr := writer{t: w.Tables, tx: tx, s: s}
				if err := wr.insertCells(id, data); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, c := range []struct {
		name string
		want int
		q    func(i int) Query
	}{
		{"title", 1, func(i int) Query { return Query{Filter: fmt.Sprintf("Key eq 'key-%07d'", i*7919%rows)} }},
		{"number", 100, func(i int) Query { return Query{Filter: fmt.Sprintf("Owner eq %d", i*7919%(rows/100))} }},
		{"two", 50, func(i int) Query { return Query{Filter: fmt.Sprintf("Owner eq %d and Active", i*7919%(rows/100))} }},
		{"either", 2, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Key eq 'key-%07d' or Key eq 'key-%07d'", i*7919%rows, (i*7919+1)%rows)}
		}},
		{"and the rest", 1, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Owner eq %d and contains(Key,'%02d') and endswith(Key,'7')", i*7919%(rows/100), 17), Limit: 1}
		}},
		{"half of them, a page", 50, func(i int) Query { return Query{Filter: "Active", Limit: 50, Skip: i % 1000} }},
		{"a range, a page", 50, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Key ge 'key-%07d' and startswith(Key,'key-0%03d')", 0, i*31%1000), Limit: 50}
		}},
		{"all, a page", 50, func(i int) Query { return Query{Limit: 50, Skip: i % 1000} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				out, err := w.Session.List(w.ctx, "Big", c.q(i))
				if err != nil || c.want > 1 && len(out) != c.want || len(out) > c.want {
					b.Fatalf("%d rows, %v", len(out), err)
				}
			}
		})
	}
}
