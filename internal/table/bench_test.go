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
	b.Run("sqlite", func(b *testing.B) { benchmarkFilter(b, newWorld(b)) })
	b.Run("postgres", func(b *testing.B) { benchmarkFilter(b, onPostgres(b)) })
}

func benchmarkFilter(b *testing.B, w *world) {
	const rows = 1_000_000
	s := w.create("Big", Column{Name: "Key", Type: String}, Column{Name: "Owner", Type: BigInteger, Indexed: true}, Column{Name: "Active", Type: Boolean, Indexed: true}, Column{Name: "Note", Type: String})
	const page = 50_000
	const numbers = `WITH RECURSIVE n (i) AS (SELECT CAST($2 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < CAST($3 AS BIGINT)) `
	fill := func(from int, tx store.Querier) error {
		for _, query := range []string{
			`INSERT INTO table_rows (id, table_id, version, data, created_at, updated_at) ` + numbers +
				`SELECT i + 1, CAST($1 AS BIGINT), 1, '{"1":"key-' || CAST(10000000 + i AS TEXT) || '","2":' || CAST(i / 100 AS TEXT) || ',"3":' || CASE WHEN i % 2 = 0 THEN 'true' ELSE 'false' END || ',"4":"a note of some length, as rows have"}', 0, 0 FROM n`,
			`INSERT INTO table_cells (row_id, column_id, table_id, txt) ` + numbers + `SELECT i + 1, 1, CAST($1 AS BIGINT), 'key-' || CAST(10000000 + i AS TEXT) FROM n`,
			`INSERT INTO table_cells (row_id, column_id, table_id, num) ` + numbers + `SELECT i + 1, 2, CAST($1 AS BIGINT), i / 100 FROM n`,
			`INSERT INTO table_cells (row_id, column_id, table_id, num) ` + numbers + `SELECT i + 1, 3, CAST($1 AS BIGINT), 1 - i % 2 FROM n`,
		} {
			if _, err := tx.Exec(w.ctx, query, s.ID, from, from+page-1); err != nil {
				return err
			}
		}
		return nil
	}
	for from := 0; from < rows; from += page {
		w.ok(w.st.DB().Tx(w.ctx, func(tx store.Querier) error { return fill(from, tx) }))
	}
	if w.dir == "" { // PostgreSQL does this by itself, in a while
		w.ok(w.st.DB().Tx(w.ctx, func(tx store.Querier) error {
			for _, query := range []string{`ANALYZE table_rows`, `ANALYZE table_cells`, `ANALYZE table_secrets`} {
				if _, err := tx.Exec(w.ctx, query); err != nil {
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
		{"title", 1, func(i int) Query { return Query{Filter: fmt.Sprintf("Key eq 'key-1%07d'", i*7919%rows)} }},
		{"number", 100, func(i int) Query { return Query{Filter: fmt.Sprintf("Owner eq %d", i*7919%(rows/100))} }},
		{"two", 50, func(i int) Query { return Query{Filter: fmt.Sprintf("Owner eq %d and Active", i*7919%(rows/100))} }},
		{"either", 2, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Key eq 'key-1%07d' or Key eq 'key-1%07d'", i*7919%rows, (i*7919+1)%rows)}
		}},
		{"and the rest", 1, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Owner eq %d and contains(Key,'%02d') and endswith(Key,'7')", i*7919%(rows/100), 17), Limit: 1}
		}},
		{"half of them, a page", 50, func(i int) Query { return Query{Filter: "Active", Limit: 50, Skip: i % 1000} }},
		{"a range, a page", 50, func(i int) Query {
			return Query{Filter: fmt.Sprintf("Key ge 'key-1%07d' and startswith(Key,'key-10%03d')", 0, i*31%1000), Limit: 50}
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
