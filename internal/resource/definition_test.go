package resource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
)

func definition(t *testing.T, b *resource.Book, name string) *freshet.Definition {
	t.Helper()
	d, err := b.Definition(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefinitionMergesItsParts(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, `
providers:
  microsoft: {rotation: {grace: 1m}, api: {headers: {Prefer: x}}}
clients:
  ms: {provider: microsoft, id: app, secret: s, variables: {tenant: contoso}}
connections:
  mail: {client: ms, scopes: [Mail.Read]}
  fabrikam: {client: ms, variables: {tenant: "fabrikam corp"}, api: {base_url: "https://graph.microsoft.com/{{tenant}}", headers: {Accept: y}}}
  own: {provider: microsoft, id: x, secret: y, grant: client_credentials, client_auth: basic}
`, nil)
	d := definition(t, b, "mail")
	base, _ := catalog.Provider("microsoft")
	if d.Provider.Name != "microsoft" || d.Provider.Title != base.Title || d.Provider.Rotation.Kind != base.Rotation.Kind || d.Provider.Rotation.Grace.String() != "1m" {
		t.Errorf("provider is %q (%s) with rotation %+v: the override belongs over the catalogue's", d.Provider.Name, d.Provider.Title, d.Provider.Rotation)
	}
	if got, want := d.Provider.TokenURL, "https://login.microsoftonline.com/contoso/oauth2/v2.0/token"; got != want {
		t.Errorf("token_url %s, want %s", got, want)
	}
	if d.Connection.Grant != freshet.GrantAuthorizationCode || resource.GrantOf(d) != d.Connection.Grant {
		t.Errorf("grant %s, want the provider's first", d.Connection.Grant)
	}
	if api := d.Connection.API; api == nil || api.BaseURL != base.API.BaseURL || api.Headers["Prefer"] != "x" || api.Verify == nil {
		t.Errorf("api %+v, want the provider's", api)
	}
	if d.Client.Name != "ms" || d.Client.ID != "app" || d.Client.Secret.Reveal() != "s" || d.ID == "" {
		t.Errorf("client %+v", d.Client)
	}
	d = definition(t, b, "fabrikam")
	if got, want := d.Provider.TokenURL, "https://login.microsoftonline.com/fabrikam%20corp/oauth2/v2.0/token"; got != want {
		t.Errorf("token_url %s, want %s: the connection's variable comes first, encoded", got, want)
	}
	if api := d.Connection.API; api.BaseURL != "https://graph.microsoft.com/fabrikam%20corp" || api.Headers["Prefer"] != "x" || api.Headers["Accept"] != "y" || api.Verify == nil {
		t.Errorf("api %+v, want the connection's over the provider's", api)
	}
	d = definition(t, b, "own")
	if d.ClientKey() != "connection/own" || d.Client.ID != "x" || d.Client.Secret.Reveal() != "y" || d.Auth(false) != freshet.AuthBasic {
		t.Errorf("client in place: %s %+v", d.ClientKey(), d.Client)
	}
	if got, want := d.Provider.TokenURL, "https://login.microsoftonline.com/common/oauth2/v2.0/token"; got != want {
		t.Errorf("token_url %s, want %s: the default", got, want)
	}
	if cached := definition(t, b, "own"); cached != d {
		t.Error("a definition is made again although nothing changed")
	}
}

// The seed's list: a token endpoint for each connection, its query kept,
// another one for refresh.
func TestTokenEndpointOfAConnection(t *testing.T) {
	t.Run("cap043 each connection has its own token endpoint", func(t *testing.T) {
		b, _ := newBook(t, resource.Options{})
		must(t, b, `
providers: {acme: {token_url: https://auth.acme.example/token}}
connections:
  a: {provider: acme, id: x, secret: y, token_url: "https://login.microsoftonline.com/common/oauth2/v2.0/token?p=a%2Fb&q="}
  b: {provider: acme, id: x, secret: y, refresh_url: "https://auth.acme.example/refresh?keep=1"}
`, nil)
		d := definition(t, b, "a")
		if got := d.Connection.TokenURL; got != "https://login.microsoftonline.com/common/oauth2/v2.0/token?p=a%2Fb&q=" {
			t.Errorf("token_url %s", got)
		}
		d = definition(t, b, "b")
		if d.Provider.TokenURL != "https://auth.acme.example/token" || d.Connection.RefreshURL != "https://auth.acme.example/refresh?keep=1" {
			t.Errorf("%s and %s", d.Provider.TokenURL, d.Connection.RefreshURL)
		}
	})
}

// Several connections name different variables, and each has its own value.
func TestOwnVariables(t *testing.T) {
	t.Run("cap041 connections name different variables", func(t *testing.T) {
		b, _ := newBook(t, resource.Options{})
		must(t, b, `
connections:
  sales: {provider: salesforce, id: "${SALESFORCE_KEY}", secret: "${SALESFORCE_SECRET}"}
  mail: {provider: microsoft, id: "${MSAPP_CLIENT_ID}", secret: "${MSAPP_CLIENT_SECRET}"}
`, env{"SALESFORCE_KEY": "sf-id", "SALESFORCE_SECRET": "sf-secret", "MSAPP_CLIENT_ID": "ms-id", "MSAPP_CLIENT_SECRET": "ms-secret"})
		for name, want := range map[string]string{"sales": "sf-id sf-secret", "mail": "ms-id ms-secret"} {
			d := definition(t, b, name)
			if got := d.Client.ID + " " + d.Client.Secret.Reveal(); got != want {
				t.Errorf("%s has %s, want %s", name, got, want)
			}
		}
	})
}

// A missing variable fails at load with its name.
func TestMissingVariable(t *testing.T) {
	t.Run("cap040 a missing variable fails at load with its name", func(t *testing.T) {
		_, err := decode(t, `connections: {mail: {provider: microsoft, id: "${MSAPP_CLIENT_ID}", secret: "${MSAPP_CLIENT_SECRET}"}}`, env{"MSAPP_CLIENT_SECRET": ""})
		want := "test.yaml:1:47: connections.mail.id: the environment variable MSAPP_CLIENT_ID is not set\n" +
			"test.yaml:1:77: connections.mail.secret: the environment variable MSAPP_CLIENT_SECRET is empty"
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

// Policy, leeway, scope and client authentication belong to the connection.
func TestOwnPolicy(t *testing.T) {
	t.Run("cap070 policy, margin, scopes and client authentication of each", func(t *testing.T) {
		b, _ := newBook(t, resource.Options{})
		must(t, b, `
providers: {acme: {token_url: https://auth.acme.example/token, authorization_url: https://auth.acme.example/authorize}}
connections:
  a: {provider: acme, id: x, secret: y, scopes: [read], client_auth: body, refresh: {when: every_use}}
  b: {provider: acme, id: x, secret: y, scopes: [write], refresh: {when: [on_401], margin: 90s}}
  c: {provider: acme, id: x, secret: y, refresh: {when: schedule, every: 55m}}
  d: {provider: acme, id: x, secret: y}
`, nil)
		for _, tt := range []struct {
			name, scopes string
			auth         freshet.ClientAuth
			when         []freshet.Trigger
			margin       string
		}{
			{"a", "[read]", freshet.AuthBody, []freshet.Trigger{freshet.EveryUse}, "0s"},
			{"b", "[write]", freshet.AuthBasic, []freshet.Trigger{freshet.On401}, "1m30s"},
			{"c", "[]", freshet.AuthBasic, []freshet.Trigger{freshet.OnSchedule}, "0s"},
			{"d", "[]", freshet.AuthBasic, []freshet.Trigger{freshet.BeforeExpiry, freshet.On401}, "0s"},
		} {
			d := definition(t, b, tt.name)
			var when []freshet.Trigger
			for _, tr := range []freshet.Trigger{freshet.BeforeExpiry, freshet.On401, freshet.EveryUse, freshet.OnSchedule} {
				if d.Connection.Refresh.Has(tr) {
					when = append(when, tr)
				}
			}
			if !slices.Equal(when, tt.when) || fmt.Sprint(d.Connection.Scopes) != tt.scopes || d.Auth(false) != tt.auth || d.Connection.Refresh.Margin.String() != tt.margin {
				t.Errorf("%s refreshes on %v, margin %s, scopes %v, %s; want %+v", tt.name, when, d.Connection.Refresh.Margin, d.Connection.Scopes, d.Auth(false), tt)
			}
		}
	})
}

func TestDefinitionFollowsEveryPart(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme+`
webhooks: {ops: {url: https://ops.example/, secret: 0123456789abcdef0123456789abcdef}}
`, nil)
	must(t, b, "clients: {acme2: {provider: acme, id: app2, secret: s}}", nil)
	seen := map[int64]string{definition(t, b, "crm").Revision: "the first"}
	for _, step := range []string{
		"connections: {crm: {client: acme, grant: client_credentials, scopes: [a]}}",
		"clients: {acme: {provider: acme, id: app, secret: other}}",
		"providers: {acme: {token_url: https://auth.acme.example/token, client_auth: basic}}",
		"connections: {crm: {client: acme2, grant: client_credentials, scopes: [a]}}",
		"clients: {acme2: {provider: acme, id: app3, secret: s}}",
		"connections: {crm: {client: acme, grant: client_credentials, scopes: [a]}}",
	} {
		must(t, b, step, nil)
		d := definition(t, b, "crm")
		if before, ok := seen[d.Revision]; ok {
			t.Errorf("after %s the revision is that of %s", step, before)
		}
		seen[d.Revision] = step
	}
	d := definition(t, b, "crm")
	must(t, b, "webhooks: {ops: {url: https://ops.example/x, secret: 0123456789abcdef0123456789abcdef}}", nil)
	if again := definition(t, b, "crm"); again.Revision != d.Revision {
		t.Error("a webhook changes the revision of a connection")
	}
}

// A definition that was read while somebody changed a part of it is not kept.
func TestDefinitionOfAMomentAgoIsNotKept(t *testing.T) {
	v := newVault(t)
	b, db := newBook(t, resource.Options{Sealer: v})
	must(t, b, acme, nil)
	slow := &slow{Store: db}
	late, err := resource.New(resource.Options{Store: slow, Sealer: v})
	if err != nil {
		t.Fatal(err)
	}
	slow.meanwhile = func() {
		slow.meanwhile = nil
		must(t, b, "clients: {acme: {provider: acme, id: other, secret: s}}", nil)
		late.Invalidate("clients", "acme")
	}
	if _, err := late.Definition(t.Context(), "crm"); err != nil {
		t.Fatal(err)
	}
	if d := definition(t, late, "crm"); d.Client.ID != "other" {
		t.Errorf("the client's id is %s, want the new one", d.Client.ID)
	}
}

// slow lets somebody else in after a client was read.
type slow struct {
	resource.Store
	meanwhile func()
}

func (s *slow) Resource(ctx context.Context, kind, name string) (store.Resource, error) {
	r, err := s.Store.Resource(ctx, kind, name)
	if kind == "clients" && s.meanwhile != nil {
		s.meanwhile()
	}
	return r, err
}

func TestDefinitionOfNobody(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme, nil)
	_, err := b.Definition(t.Context(), "cmr")
	if !errors.Is(err, freshet.ErrNotFound) || err.Error() != `connections/cmr: not found; did you mean "crm"?` {
		t.Errorf("Definition = %v", err)
	}
}

// A provider may get another variable after a connection was made: then the
// connection says so, and does not send a URL with a hole.
func TestDefinitionThatIsNoLongerComplete(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, "providers: {p: {token_url: https://p.example/token}}\nconnections: {c: {provider: p, id: x, grant: refresh_token}}", nil)
	must(t, b, `providers: {p: {token_url: "https://p.example/{{tenant}}/token", variables: {tenant: {doc: the directory}}}}`, nil)
	_, err := b.Definition(t.Context(), "c")
	if err == nil || !strings.Contains(err.Error(), "connection c: variables.tenant: has no value") {
		t.Errorf("Definition = %v", err)
	}
}

func TestDefinitionsAreBounded(t *testing.T) {
	const n = 300
	b, _ := newBook(t, resource.Options{CacheSize: 16})
	var text strings.Builder
	text.WriteString(acme)
	for i := range n {
		fmt.Fprintf(&text, "  c%03d: {client: acme, grant: refresh_token}\n", i)
	}
	must(t, b, text.String(), nil)
	var names []string
	for name, err := range b.Names(t.Context(), "connections") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		definition(t, b, name)
	}
	if len(names) != n+1 || !slices.IsSorted(names) {
		t.Errorf("%d names, want %d in order", len(names), n+1)
	}
	if kept := b.Cached(); kept > 16 {
		t.Errorf("%d definitions are kept, want at most 16", kept)
	}
	first := 0
	for range b.Names(t.Context(), "connections") {
		if first++; first == 3 {
			break
		}
	}
	if first != 3 {
		t.Errorf("a walk that ends after 3 saw %d", first)
	}
}

func TestDefinitionHasItsProofKey(t *testing.T) {
	v := newVault(t)
	b, _ := newBook(t, resource.Options{Sealer: v, ProofKey: v.ProofKey})
	must(t, b, `
clients:
  a: {provider: google, id: x, secret: y, dpop: true}
  b: {provider: google, id: x, secret: y}
connections: {a: {client: a}, b: {client: b}}
`, nil)
	if d := definition(t, b, "a"); d.DPoPKey.IsZero() {
		t.Error("a connection of a client with dpop has no key")
	}
	if d := definition(t, b, "b"); !d.DPoPKey.IsZero() {
		t.Error("a connection without dpop has a key")
	}
}

// Every provider of the catalogue may be named, and written out as one's own.
func TestCatalogueIsRightInForm(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	var named strings.Builder
	named.WriteString("providers:\n")
	for _, name := range catalog.Names() {
		fmt.Fprintf(&named, "  %s: {}\n", name)
	}
	must(t, b, named.String(), nil)
	var own strings.Builder
	own.WriteString("providers:\n")
	for _, name := range catalog.Names() {
		src, _ := catalog.Source(name)
		fmt.Fprintf(&own, "  my-%s:\n", name)
		for line := range strings.Lines(string(src)) {
			own.WriteString("    " + line)
		}
		own.WriteString("\n")
	}
	set, err := decode(t, own.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDefinition(b *testing.B) {
	book, _ := newBook(b, resource.Options{CacheSize: 1})
	if _, err := apply(b, book, acme+"  erp: {client: acme, grant: refresh_token}\n", nil); err != nil {
		b.Fatal(err)
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := book.Definition(b.Context(), "crm"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := book.Definition(b.Context(), []string{"crm", "erp"}[i%2]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
