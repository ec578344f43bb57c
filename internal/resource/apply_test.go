package resource_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

func TestApplyIsIdempotent(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	if got, want := must(t, b, acme, nil), "created providers/acme, created clients/acme, created connections/crm"; got != want {
		t.Errorf("first apply: %s, want %s", got, want)
	}
	if got, want := must(t, b, acme, nil), "unchanged providers/acme, unchanged clients/acme, unchanged connections/crm"; got != want {
		t.Errorf("second apply: %s, want %s", got, want)
	}
	other := strings.Replace(acme, "s3cret", "s3cret2", 1)
	if got, want := must(t, b, other, nil), "unchanged providers/acme, changed clients/acme, unchanged connections/crm"; got != want {
		t.Errorf("another secret: %s, want %s", got, want)
	}
	same := strings.NewReplacer("client_auth: body", "client_auth: 'body'", "{client: acme, grant: client_credentials}", "{grant: client_credentials, client: acme}").Replace(other)
	if got, want := must(t, b, same, nil), "unchanged providers/acme, unchanged clients/acme, unchanged connections/crm"; got != want {
		t.Errorf("the same in other words: %s, want %s", got, want)
	}
}

func TestApplyTakesLeftOutFieldsAway(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme, nil)
	if got := must(t, b, "clients: {acme: {provider: acme, id: app, key_id: k, key: pem}}", nil); got != "changed clients/acme" {
		t.Fatal(got)
	}
	c, err := resource.Value[freshet.Client](t.Context(), b, resource.Key{Kind: "clients", Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Secret.IsZero() || c.Key.Reveal() != "pem" || c.Name != "acme" {
		t.Errorf("client is %+v, secret of %d bytes; want the secret gone and the key there", c, c.Secret.Len())
	}
}

func TestApplyDryRunWritesNothing(t *testing.T) {
	b, db := newBook(t, resource.Options{Written: func(*store.Change, resource.Update) error {
		t.Error("a dry run reaches the transaction")
		return nil
	}})
	set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: acme}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Apply(t.Context(), set, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := effects(r), "created providers/acme, created clients/acme, created connections/crm"; got != want || !r.DryRun {
		t.Errorf("dry run: %s, %v; want %s", got, r.DryRun, want)
	}
	if _, err := db.Resource(t.Context(), "clients", "acme"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after a dry run the client is there: %v", err)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	boom := errors.New("boom")
	var updates []string
	b, db := newBook(t, resource.Options{
		Written: func(_ *store.Change, u resource.Update) error {
			updates = append(updates, u.Key.String())
			if u.Kind == "connections" {
				return boom
			}
			return nil
		},
		OnChange: func(kind string, names []string) { t.Errorf("told of %s %v", kind, names) },
	})
	if _, err := apply(t, b, acme, nil); !errors.Is(err, boom) {
		t.Fatalf("apply = %v, want boom", err)
	}
	if got := strings.Join(updates, " "); got != "providers/acme clients/acme connections/crm" {
		t.Errorf("updates %s, want what is referred to first", got)
	}
	for _, k := range []resource.Key{{Kind: "providers", Name: "acme"}, {Kind: "clients", Name: "acme"}, {Kind: "connections", Name: "crm"}} {
		if _, err := db.Resource(t.Context(), k.Kind, k.Name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s is there after an apply that failed: %v", k, err)
		}
	}
	// One fault in one resource keeps the others out as well.
	if _, err := apply(t, b, acme+"  bad: {client: nobody}\n", nil); err == nil {
		t.Error("a set with a fault is applied")
	}
	if _, err := db.Resource(t.Context(), "clients", "acme"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the client is there after a fault elsewhere: %v", err)
	}
}

func TestApplyTellsWhatChanged(t *testing.T) {
	var told []string
	var defs []*freshet.Definition
	b, _ := newBook(t, resource.Options{
		OnChange: func(kind string, names []string) { told = append(told, kind+" "+strings.Join(names, ",")) },
		Written: func(_ *store.Change, u resource.Update) error {
			if u.Definition != nil {
				defs = append(defs, u.Definition)
			}
			return nil
		},
	})
	must(t, b, acme+"  erp: {client: acme, grant: refresh_token}\n", nil)
	if got, want := strings.Join(told, "; "), "providers acme; clients acme; connections crm,erp"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if len(defs) != 2 || defs[0].Connection.Name != "crm" || defs[0].Provider.TokenURL != "https://auth.acme.example/token" || defs[0].Client.Secret.Reveal() != "s3cret" {
		t.Errorf("the transaction saw %+v", defs)
	}
	if def, err := b.Definition(t.Context(), "crm"); err != nil || def.ID != defs[0].ID {
		t.Errorf("Definition = %v, %v; want the id %s that the transaction saw", def, err, defs[0].ID)
	}
	told = nil
	must(t, b, acme, nil)
	if len(told) > 0 {
		t.Errorf("an apply that changes nothing tells %v", told)
	}
}

// A late writer has checked a state that is gone: it checks again.
func TestApplyStartsAgainWhenOthersChange(t *testing.T) {
	v := newVault(t)
	b, db := newBook(t, resource.Options{Sealer: v})
	must(t, b, acme, nil)
	racing := &racing{Store: db}
	late, err := resource.New(resource.Options{Store: racing, Sealer: v})
	if err != nil {
		t.Fatal(err)
	}
	racing.before = func() {
		racing.before = nil
		if err := b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "crm"}); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), resource.Key{Kind: "clients", Name: "acme"}); err != nil {
			t.Error(err)
		}
	}
	_, err = apply(t, late, "connections: {erp: {client: acme, grant: refresh_token}}", nil)
	var faults resource.Faults
	if !errors.As(err, &faults) || !strings.Contains(err.Error(), `there is no client "acme"`) {
		t.Errorf("apply over a deleted client = %v, want the fault", err)
	}
	racing.always = func() {
		if _, err := db.Resource(t.Context(), "epoch", "resources"); err != nil {
			t.Error(err)
		}
		must(t, b, "webhooks: {ops: {url: https://ops.example/"+racing.next()+", secret: 0123456789abcdef0123456789abcdef}}", nil)
	}
	if _, err = apply(t, late, "clients: {other: {provider: acme, id: x, secret: y}}", nil); !errors.Is(err, resource.ErrBusy) {
		t.Errorf("apply that never gets its turn = %v, want ErrBusy", err)
	}
}

// racing lets somebody else in before each change.
type racing struct {
	resource.Store
	before, always func()
	n              int
}

func (r *racing) next() string { r.n++; return strings.Repeat("x", r.n) }

func (r *racing) Change(ctx context.Context, fn func(*store.Change) error) error {
	if r.before != nil {
		r.before()
	}
	if r.always != nil {
		r.always()
	}
	return r.Store.Change(ctx, fn)
}

func TestWarnings(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: `
providers:
  acme: {token_url: https://auth.acme.example/token, grants: [authorization_code], authorization_url: https://auth.acme.example/, default_lifetime: 1h}
clients: {acme: {provider: acme, id: app, secret: s}}
webhooks: {ops: {url: https://ops.example/, secret: short}}
connections:
  a: {client: acme, refresh: {margin: 31m}}
  b: {client: acme, refresh: {when: schedule, every: 1h}}
  c: {client: acme, grant: client_credentials}
  d: {client: acme, refresh: {margin: 30m, every: 55m}}
  e: {client: acme, refresh: {lifetime: 10m, margin: 6m}}
  f: {client: acme, refresh: {when: [every_use, before_expiry]}}
`}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Apply(t.Context(), set, false)
	if err != nil {
		t.Fatal(err)
	}
	want := `test.yaml:5:53: webhooks.ops.secret: signs with 5 bytes: 32 random ones cannot be guessed (openssl rand -hex 32)
test.yaml:7:39: connections.a.refresh.margin: 31m is more than half of the lifetime (1h, default_lifetime of provider acme): half of it is used
test.yaml:8:54: connections.b.refresh.every: 1h is not shorter than the lifetime (1h, default_lifetime of provider acme): tokens expire before they are refreshed by it
test.yaml:9:28: connections.c.grant: provider acme is not known to offer client_credentials; it offers authorization_code
test.yaml:11:54: connections.e.refresh.margin: 6m is more than half of the lifetime (10m, refresh.lifetime): half of it is used
test.yaml:12:37: connections.f.refresh.when: every_use refreshes for each call: before_expiry adds nothing to it`
	if got := r.Warnings.Error(); got != want {
		t.Errorf("warnings:\n%s\nwant:\n%s", got, want)
	}
}

func TestS67_marker_keeps_the_stored_secret(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme+"  hr: {client: acme, grant: password, credentials: {username: u, password: p}}\n", nil)
	v, err := b.Get(t.Context(), resource.Key{Kind: "clients", Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(v.Spec), `{"id":"app","provider":"acme","secret":"[secret]"}`; got != want {
		t.Errorf("Get shows %s, want %s", got, want)
	}
	// What Get shows may be put back as it is.
	if got := must(t, b, `clients: {acme: `+string(v.Spec)+`}`, nil); got != "unchanged clients/acme" {
		t.Errorf("what Get shows, put back: %s", got)
	}
	if got := must(t, b, `clients: {acme: {provider: acme, id: app2, secret: [secret]}}`, nil); got != "changed clients/acme" {
		t.Errorf("another id beside the marker: %s", got)
	}
	c, err := resource.Value[freshet.Client](t.Context(), b, resource.Key{Kind: "clients", Name: "acme"})
	if err != nil || c.Secret.Reveal() != "s3cret" || c.ID != "app2" {
		t.Errorf("after that the client is %+v, %v, with a secret of %d bytes; want the old one kept", c, err, c.Secret.Len())
	}
	if got := must(t, b, `connections: {hr: {client: acme, grant: password, credentials: {username: '[secret]', password: p2}}}`, nil); got != "changed connections/hr" {
		t.Errorf("one credential beside the marker: %s", got)
	}
	d, err := b.Definition(t.Context(), "hr")
	if err != nil || d.Connection.Credentials["username"].Reveal() != "u" || d.Connection.Credentials["password"].Reveal() != "p2" {
		t.Errorf("credentials after that: %v", err)
	}
	// A marker under another name has nothing to stand for.
	_, err = apply(t, b, `clients: {acme: {provider: acme, id: app, key: "[secret]"}}`, nil)
	if err == nil || !strings.Contains(err.Error(), "clients.acme.key: [secret] stands for a stored value, and none is stored here") {
		t.Errorf("marker without a value = %v", err)
	}
}

func TestDeleteRefusesWhatIsUsed(t *testing.T) {
	type deletion struct {
		u  resource.Update
		id string
	}
	var deleted []deletion
	b, db := newBook(t, resource.Options{Written: func(c *store.Change, u resource.Update) error {
		if u.Action == resource.Deleted {
			deleted = append(deleted, deletion{u: u, id: u.ID})
			return c.Post(store.Letter{ID: "letter", Kind: "revoke", Target: "acme", Payload: "{}"})
		}
		return nil
	}})
	must(t, b, acme+"  erp: {client: acme, grant: refresh_token}\n", nil)
	err := b.Delete(t.Context(), resource.Key{Kind: "clients", Name: "acme"})
	var used *resource.ReferencedError
	if !errors.As(err, &used) || err.Error() != "clients/acme is used by connections/crm, connections/erp" {
		t.Fatalf("delete a used client = %v", err)
	}
	if used.Hint() != "delete or change what uses it first: freshet delete connections/crm" {
		t.Errorf("hint: %s", used.Hint())
	}
	if len(deleted) > 0 {
		t.Errorf("the refused delete reached the hook: %v", deleted)
	}
	def, err := b.Definition(t.Context(), "crm")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "crm"}); err != nil {
		t.Fatal(err)
	}
	if len(deleted) != 1 || deleted[0].u.Definition == nil || deleted[0].u.Definition.ID != def.ID || deleted[0].id != string(def.ID) {
		t.Errorf("the hook saw %+v", deleted)
	}
	if l, err := db.Letters(t.Context(), 10); err != nil || len(l) != 1 {
		t.Errorf("the hook's letter: %v, %v", l, err)
	}
	if _, err := b.Definition(t.Context(), "crm"); !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("Definition of a deleted connection = %v", err)
	}
	err = b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "erpp"})
	if !errors.Is(err, freshet.ErrNotFound) || err.Error() != `connections/erpp: not found; did you mean "erp"?` {
		t.Errorf("delete a name nobody has = %v", err)
	}
	// A connection that comes back is another one: nothing sealed for the old
	// row opens for it.
	must(t, b, acme, nil)
	if again, err := b.Definition(t.Context(), "crm"); err != nil || again.ID == def.ID {
		t.Errorf("the connection that came back: %v, %v; want another id than %s", again, err, def.ID)
	}
}

func TestDeleteThatFailsDeletesNothing(t *testing.T) {
	boom := errors.New("boom")
	b, _ := newBook(t, resource.Options{Written: func(_ *store.Change, u resource.Update) error {
		if u.Action == resource.Deleted {
			return boom
		}
		return nil
	}})
	must(t, b, acme, nil)
	if err := b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "crm"}); !errors.Is(err, boom) {
		t.Fatalf("delete = %v, want boom", err)
	}
	if _, err := b.Definition(t.Context(), "crm"); err != nil {
		t.Errorf("after a delete that failed: %v", err)
	}
}

func TestDeleteOverrideOfTheCatalogue(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, `
providers: {google: {default_lifetime: 30m}}
clients: {g: {provider: google, id: a, secret: b}}
`, nil)
	err := b.Delete(t.Context(), resource.Key{Kind: "providers", Name: "google"})
	var used *resource.ReferencedError
	if !errors.As(err, &used) || used.Hint() != "to return to the catalogue's provider, apply: providers: {google: {}}" {
		t.Errorf("delete = %v", err)
	}
}

func TestParseKey(t *testing.T) {
	reg := mustRegistry(t)
	for text, want := range map[string]string{
		"connections/crm": "connections/crm", "connection/crm": "connections/crm", "connections": "connections", "network": "network/network",
		"conection/crm": "conection: not found; did you mean \"connections\"?", "console/x": "console: not in this version of freshet", "app/x": "apps/x", "workflow/Call me": "workflows/Call me",
	} {
		k, err := reg.ParseKey(text)
		got := k.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// bindings records what is sealed where.
type bindings struct {
	resource.Sealer
	seen []freshet.Binding
}

func (s *bindings) Seal(b freshet.Binding, plain []byte) ([]byte, error) {
	s.seen = append(s.seen, b)
	return s.Sealer.Seal(b, plain)
}

// Sealed secrets open in their row at its revision and nowhere else.
func TestSecretsAreBoundToTheirRow(t *testing.T) {
	v := &bindings{Sealer: newVault(t)}
	b, db := newBook(t, resource.Options{Sealer: v})
	must(t, b, acme, nil)
	must(t, b, "clients: {acme: {provider: acme, id: other, secret: '[secret]'}, second: {provider: acme, id: x, secret: y}}", nil)
	first, err := db.Resource(t.Context(), "clients", "acme")
	if err != nil {
		t.Fatal(err)
	}
	second, err := db.Resource(t.Context(), "clients", "second")
	if err != nil {
		t.Fatal(err)
	}
	want := []freshet.Binding{
		{Table: "resources", Row: first.ID, Column: "secrets", Generation: 1},
		{Table: "resources", Row: first.ID, Column: "secrets", Generation: 2},
		{Table: "resources", Row: second.ID, Column: "secrets", Generation: 1},
	}
	if !slices.Equal(v.seen, want) {
		t.Errorf("sealed for %v, want %v", v.seen, want)
	}
	// Whoever can write the database cannot give one row the other's secret.
	if err := db.Change(t.Context(), func(c *store.Change) error {
		moved := second
		moved.Secrets, moved.Revision = first.Secrets, second.Revision+1
		return c.Put(moved)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := resource.Value[freshet.Client](t.Context(), b, resource.Key{Kind: "clients", Name: "second"}); err == nil || !strings.Contains(err.Error(), "open the secrets of clients/second") {
		t.Errorf("a secret that was moved = %v", err)
	}
	// And the person who has the value can set it right.
	if got := must(t, b, "clients: {second: {provider: acme, id: x, secret: y}}", nil); got != "changed clients/second" {
		t.Errorf("giving it again: %s", got)
	}
}

// TestS67_nothing_shows_a_secret puts one into every place that takes one, and
// looks for it in all that is shown and in the database's files. S40.
func TestS67_nothing_shows_a_secret(t *testing.T) {
	const canary = "c4n4ry"
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b, err := resource.New(resource.Options{Store: db, Sealer: newVault(t)})
	if err != nil {
		t.Fatal(err)
	}
	must(t, b, `
providers: {acme: {token_url: https://auth.acme.example/token}}
clients: {acme: {provider: acme, id: a, secret: c4n4ry-1, previous_secrets: [c4n4ry-2, c4n4ry-3], key: c4n4ry-4, certificate: c4n4ry-5}}
connections:
  crm: {client: acme, grant: password, credentials: {username: c4n4ry-6, password: c4n4ry-7}}
  erp: {provider: acme, id: a, secret: c4n4ry-8, grant: refresh_token}
webhooks: {ops: {url: https://ops.example/, secret: c4n4ry-9}}
`, nil)
	var shown strings.Builder
	for _, k := range b.Registry().Kinds() {
		views, err := b.List(t.Context(), k.Name, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range views {
			j, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			shown.Write(j)
		}
	}
	if err := b.Export(t.Context(), &shown, resource.Key{}, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crm", "erp"} {
		fmt.Fprintf(&shown, "%v %+v %#v", definition(t, b, name), *definition(t, b, name), definition(t, b, name))
	}
	if strings.Contains(shown.String(), canary) {
		t.Errorf("a secret is shown in:\n%s", shown.String())
	}
	if n := strings.Count(shown.String(), freshet.Redacted); n < 18 {
		t.Errorf("%d markers are shown, want one for each secret, twice", n)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(canary)) {
			t.Errorf("a secret is in %s", f.Name())
		}
	}
}
