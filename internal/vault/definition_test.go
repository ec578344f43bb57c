package vault_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A letter to a provider outlives its connection: what a revocation needs is in
// it, and nothing else of the connection.
func TestF85_a_revocation_holds_all_that_it_needs(t *testing.T) {
	v := open(t, newDisk(), textKey())
	secret := freshet.NewSecret
	def := &freshet.Definition{
		ID: "conn-1",
		Connection: freshet.Connection{Name: "crm", Client: "app", Grant: freshet.GrantRequest, Auth: freshet.AuthNone, Variables: map[string]string{"tenant": "t1"},
			Credentials: map[string]freshet.Secret{"api_key": secret("k-1")}},
		Client:   freshet.Client{Name: "app", Provider: "p", ID: "id-1", Secret: secret("s-1"), Key: secret("key-1"), Certificate: secret("cert-1"), Previous: []freshet.Secret{secret("old")}, DPoP: true},
		Provider: freshet.Provider{Name: "p", RevocationURL: "https://as.example/revoke"},
	}
	tok := &freshet.Token{Access: secret("a"), Refresh: secret("r"), Answer: secret(`{"x":1}`)}
	round := func() *freshet.Definition {
		t.Helper()
		sealed, err := v.SealRevocation("letter-1", def, tok)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.OpenRevocation("letter-2", sealed); !errors.Is(err, vault.ErrSealed) {
			t.Errorf("the letter opens as another one: %v", err)
		}
		got, gotTok, err := v.OpenRevocation("letter-1", sealed)
		if err != nil {
			t.Fatal(err)
		}
		if gotTok.Access.Reveal() != "a" || gotTok.Refresh.Reveal() != "r" || gotTok.Answer.Reveal() != `{"x":1}` {
			t.Error("the token came back another")
		}
		return got
	}
	got := round()
	if c := got.Connection; c.Name != "crm" || c.Client != "app" || c.Grant != freshet.GrantRequest || c.Auth != freshet.AuthNone || !reflect.DeepEqual(c.Variables, def.Connection.Variables) {
		t.Errorf("the connection came back as %+v", c)
	}
	if c := got.Client; c.ID != "id-1" || c.Secret.Reveal() != "s-1" || c.Key.Reveal() != "key-1" || c.Certificate.Reveal() != "cert-1" {
		t.Errorf("the client came back as %+v", c)
	}
	if len(got.Client.Previous) > 0 || len(got.Connection.Credentials) > 0 {
		t.Error("the letter keeps secrets that no revocation needs")
	}
	def.Provider.Revocation = &freshet.TokenRequest{Headers: freshet.Values{"X-Key": "{{api_key}}"}}
	if got := round(); got.Connection.Credentials["api_key"].Reveal() != "k-1" {
		t.Error("a template could not name the connection's credentials")
	}
}
