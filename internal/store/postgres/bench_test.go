package postgres_test

import (
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// BenchmarkToken reads a connection's row; BenchmarkSwap claims it and stores
// an answer. Behind a pooler the only mode of running statements that is as
// fast as a named prepared statement is one whose description is kept here.
func BenchmarkToken(b *testing.B) {
	for _, mode := range []string{"", "&default_query_exec_mode=cache_statement", "&default_query_exec_mode=exec"} {
		b.Run("mode"+mode, func(b *testing.B) {
			st := open(b, postgres.Options{URL: fresh(b, pgtest.Shared(b)) + mode})
			connect(b, st, "crm")
			for b.Loop() {
				if _, err := st.Token(b.Context(), "id-crm"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSwap(b *testing.B) {
	for _, mode := range []string{"", "&default_query_exec_mode=cache_statement", "&default_query_exec_mode=exec"} {
		b.Run("mode"+mode, func(b *testing.B) {
			st := open(b, postgres.Options{URL: fresh(b, pgtest.Shared(b)) + mode})
			connect(b, st, "crm")
			gen := int64(0)
			for b.Loop() {
				swap(b, st, "crm", gen)
				gen++
			}
		})
	}
}

func connect(t testing.TB, st *store.Store, names ...string) {
	t.Helper()
	if err := st.Change(t.Context(), func(c *store.Change) error {
		for _, n := range names {
			if err := c.EnsureToken(store.Token{ID: freshet.ConnectionID("id-" + n), Name: n, State: freshet.StateOK}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// swap gives a connection its next token.
func swap(t testing.TB, st *store.Store, name string, gen int64) {
	t.Helper()
	id := freshet.ConnectionID("id-" + name)
	if err := st.Claim(t.Context(), store.Claim{ID: id, Gen: gen, Attempt: "a", Owner: "me", Lease: 1e9}); err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(t.Context(), store.Commit{ID: id, Gen: gen, Attempt: "a", Sealed: []byte("sealed"), Events: []store.Event{{Connection: name, Type: "x"}}}); err != nil {
		t.Fatal(err)
	}
}
