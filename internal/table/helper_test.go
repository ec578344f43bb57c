package table

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A world is tables over a database of their own.
type world struct {
	*Tables
	*Session
	t   testing.TB
	ctx context.Context
	st  *store.Store
	dir string
	run *Session // sees secrets
	key freshet.Secret
	// told are the secrets that the run was told of.
	told []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := worldOver(t, st)
	w.dir = dir
	return w
}

// onPostgres is a world over a PostgreSQL database of its own; the test is
// skipped where there is no such program.
func onPostgres(t testing.TB) *world {
	t.Helper()
	st, err := postgres.Open(t.Context(), postgres.Options{URL: pgtest.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	return worldOver(t, st)
}

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// both runs a test on both databases.
func both(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, newWorld(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, onPostgres(t)) })
}

func worldOver(t testing.TB, st *store.Store) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), st: st}
	t.Cleanup(func() { w.st.Close() })
	key := make([]byte, 32)
	rand.Read(key)
	w.key = freshet.NewSecret(base64.StdEncoding.EncodeToString(key))
	w.open()
	return w
}

// open makes tables over the store.
func (w *world) open() {
	w.t.Helper()
	v, err := vault.Open(w.ctx, w.st, vault.MasterKeyText("the test", w.key))
	w.ok(err)
	w.Tables = New(Options{Store: w.st, Sealer: v})
	w.Session = w.As("key:test#1")
	w.run = w.ForRun("run:1", func(v ...string) { w.told = append(w.told, v...) })
}

// restart closes the database and opens it again, as a server that starts does.
func (w *world) restart() {
	w.t.Helper()
	w.ok(w.st.Close())
	var err error
	w.st, err = sqlite.Open(w.ctx, w.dir, sqlite.Options{})
	w.ok(err)
	w.open()
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// create makes a table of "Name type" or "Name secret", "Name reference Table",
// "Name string indexed".
func (w *world) create(name string, columns ...Column) *Schema {
	w.t.Helper()
	s, err := w.Create(w.ctx, Schema{Name: name, Columns: columns})
	w.ok(err)
	return s
}

func (w *world) insert(table string, values map[string]any) *Row {
	w.t.Helper()
	r, err := w.Insert(w.ctx, table, values)
	w.ok(err)
	return r
}

// rows lists with the words of a query.
func (w *world) rows(table string, q Query) []*Row {
	w.t.Helper()
	out, err := w.Session.List(w.ctx, table, q)
	w.ok(err)
	return out
}

// settings is the documents' table.
func (w *world) settings() {
	w.t.Helper()
	w.create("Settings", Column{Name: "Key", Type: String}, Column{Name: "Data1", Type: String, Secret: true}, Column{Name: "Data2", Type: String})
}
