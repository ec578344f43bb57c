package postgres_test

import (
	"context"
	"os"
	"testing"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
	"github.com/freshet-dev/freshet/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// fresh returns the URL of an empty database of the present schema.
func fresh(t testing.TB, s *pgtest.Server) string {
	t.Helper()
	return s.Prepared(t, "schema", func(url string) error {
		st, err := postgres.Open(context.Background(), postgres.Options{URL: url})
		if err != nil {
			return err
		}
		return st.Close()
	})
}

func open(t testing.TB, o postgres.Options) *store.Store {
	t.Helper()
	st, err := postgres.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestStore(t *testing.T) {
	s := pgtest.Shared(t)
	storetest.Run(t, func(t *testing.T) *store.Store {
		return open(t, postgres.Options{URL: fresh(t, s)})
	})
}

// The same through a pooler of transactions with fewer connections than the
// suite has callers, and no way around it.
func TestStoreBehindPgBouncer(t *testing.T) {
	s := pgtest.Shared(t)
	p := s.PgBouncer(t, 4)
	storetest.Run(t, func(t *testing.T) *store.Store {
		return open(t, postgres.Options{URL: p.URL(fresh(t, s))})
	})
}
