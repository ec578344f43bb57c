package table

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
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
	// told are the secrets that the run was told of.
	told []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir()}
	var err error
	if w.st, err = sqlite.Open(w.ctx, w.dir, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.st.Close() })
	key := make([]byte, 32)
	rand.Read(key)
	v, err := vault.Open(w.ctx, w.st, vault.MasterKeyText("the test", freshet.NewSecret(base64.StdEncoding.EncodeToString(key))))
	if err != nil {
		t.Fatal(err)
	}
	w.Tables = New(Options{Store: w.st, Sealer: v})
	w.Session = w.As("key:test#1")
	w.run = w.ForRun("run:1", func(v ...string) { w.told = append(w.told, v...) })
	return w
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
