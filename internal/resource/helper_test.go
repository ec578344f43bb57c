package resource_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// keyring is the one row that a vault keeps.
type keyring struct {
	sealed   []byte
	revision int64
}

func (k *keyring) LoadKeyring(context.Context) ([]byte, int64, error) {
	return k.sealed, k.revision, nil
}

func (k *keyring) SaveKeyring(_ context.Context, sealed []byte, revision int64) error {
	if revision != k.revision {
		return errors.New("stale")
	}
	k.sealed, k.revision = sealed, revision+1
	return nil
}

func newVault(t testing.TB) *vault.Vault {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	v, err := vault.Open(t.Context(), &keyring{}, vault.MasterKeyText("the test", freshet.NewSecret(base64.StdEncoding.EncodeToString(key))))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// newBook opens a book over a database of its own, and a vault of its own
// unless the options have one.
func newBook(t testing.TB, o resource.Options) (*resource.Book, *store.Store) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	o.Store = db
	if o.Sealer == nil {
		o.Sealer = newVault(t)
	}
	if o.Catalogue.Provider == nil {
		o.Catalogue = resource.Catalogue{Provider: catalog.Provider, Suggest: catalog.Suggest}
	}
	b, err := resource.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b, db
}

// env is a Source with an environment and no disk.
type env map[string]string

func (e env) Env(name string) (string, bool) { v, ok := e[name]; return v, ok }

func (e env) Secret(string, string) (freshet.Secret, string, error) {
	return freshet.Secret{}, "", errors.New("there is no file")
}

func (e env) Document(_, path string) (string, error) {
	if v, ok := e["file "+path]; ok {
		return v, nil
	}
	return "", errors.New("there is no file")
}

func mustRegistry(t testing.TB) *resource.Registry {
	t.Helper()
	r, err := resource.NewRegistry(resource.Core()...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// decode reads one file named test.yaml.
func decode(t testing.TB, text string, src resource.Source) (*resource.Set, error) {
	t.Helper()
	return mustRegistry(t).Decode([]resource.File{{Name: "test.yaml", Content: text}}, src)
}

// apply applies one file and returns "created clients/a, …".
func apply(t testing.TB, b *resource.Book, text string, src resource.Source) (string, error) {
	t.Helper()
	set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: text}}, src)
	if err != nil {
		return "", err
	}
	r, err := b.Apply(t.Context(), set, false)
	if err != nil {
		return "", err
	}
	return effects(r), nil
}

func effects(r *resource.Result) string {
	var out []string
	for _, e := range r.Effects {
		out = append(out, string(e.Action)+" "+e.Key.String())
	}
	return strings.Join(out, ", ")
}

// must applies one file that is right.
func must(t testing.TB, b *resource.Book, text string, src resource.Source) string {
	t.Helper()
	out, err := apply(t, b, text, src)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// acme is the smallest complete set.
const acme = `
providers:
  acme:
    token_url: https://auth.acme.example/token
    client_auth: body
clients:
  acme: {provider: acme, id: app, secret: s3cret}
connections:
  crm: {client: acme, grant: client_credentials}
`
