package emulator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/grant"
)

// The product's own sender against the hostile emulator: two readings of the
// standards, made apart from each other, must agree in every grant.
func TestHostileEmulatorAndSenderAgree(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	armour := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	o := emulator.Hostile()
	o.Clients = []emulator.Client{
		{ID: "crm", Secret: "s3+%&=ä", Auth: "basic", Profile: emulator.Profile{DeviceInterval: freshet.Duration(time.Nanosecond)}},
		{ID: "key", Auth: "private_key_jwt", PublicKey: armour("PUBLIC KEY", public)},
		{ID: "sa", PublicKey: armour("PUBLIC KEY", public)},
		{ID: "bound", Auth: "none", Profile: emulator.Profile{DPoP: "nonce"}},
		{ID: "endless", Secret: "s", Profile: emulator.Profile{DPoP: "endless"}},
	}
	e, base := emulatortest.Start(t, o)
	sender := grant.New(grant.Options{})
	definition := func(client string, g freshet.GrantType, scopes ...string) *freshet.Definition {
		def := &freshet.Definition{
			ID:         freshet.ConnectionID(client),
			Connection: freshet.Connection{Name: client, Client: client, Grant: g, Scopes: scopes},
			Client:     freshet.Client{Name: client, ID: client, RedirectURL: "http://127.0.0.1:5/cb"},
			Provider:   freshet.Provider{Name: "hostile", Issuer: base},
		}
		switch client {
		case "crm":
			def.Client.Secret = freshet.NewSecret("s3+%&=ä")
		case "endless":
			def.Client.Secret = freshet.NewSecret("s")
		case "key":
			def.Provider.ClientAuth = freshet.AuthPrivateKeyJWT
		case "bound":
			def.Provider.ClientAuth = freshet.AuthNone
		}
		if client == "key" || client == "sa" {
			def.Client.Key = freshet.NewSecret(armour("PRIVATE KEY", private))
		}
		return def
	}
	ask := func(t *testing.T, def *freshet.Definition, a grant.Ask) *freshet.Token {
		t.Helper()
		out := sender.Ask(t.Context(), def, a)
		if out.Err != nil {
			t.Fatalf("%s: %v", def.Connection.Name, out.Err)
		}
		if err := e.Valid(out.Token.Access.Reveal()); err != nil {
			t.Error(err)
		}
		return out.Token
	}
	authorize := func(t *testing.T, def *freshet.Definition) *freshet.Token {
		t.Helper()
		a := grant.Ask{Verifier: grant.NewVerifier(), RedirectURI: "http://127.0.0.1:5/cb", Nonce: "n-1"}
		link, err := sender.AuthorizeURL(t.Context(), def, grant.AuthorizeParams{State: "0123456789012345678901", Verifier: a.Verifier, Nonce: a.Nonce})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t, e, "", httpClient(t)}
		to, err := url.Parse(r.get(link + "&_emulate=consent").header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if a.Code, err = sender.CheckCallback(t.Context(), def, to.Query()); err != nil {
			t.Fatal(err)
		}
		return ask(t, def, a)
	}

	var held []string
	t.Run("authorization code and refresh", func(t *testing.T) {
		def := definition("crm", freshet.GrantAuthorizationCode, "openid", "read")
		tok := authorize(t, def)
		if tok.Subject != "alice" || tok.Lifetime() != time.Minute || tok.Scheme != "Bearer" {
			t.Errorf("subject %q, lifetime %s, scheme %q", tok.Subject, tok.Lifetime(), tok.Scheme)
		}
		for range 5 {
			tok = ask(t, def, grant.Ask{RefreshToken: tok.Refresh})
		}
		held = append(held, tok.Refresh.Reveal())
	})
	t.Run("client credentials, private_key_jwt", func(t *testing.T) {
		ask(t, definition("crm", freshet.GrantClientCredentials), grant.Ask{})
		ask(t, definition("key", freshet.GrantClientCredentials), grant.Ask{})
	})
	t.Run("password", func(t *testing.T) {
		def := definition("crm", freshet.GrantPassword)
		def.Connection.Credentials = map[string]freshet.Secret{"username": freshet.NewSecret("bob"), "password": freshet.NewSecret("p+w%&=")}
		held = append(held, ask(t, def, grant.Ask{}).Refresh.Reveal())
	})
	t.Run("device code", func(t *testing.T) {
		def := definition("crm", freshet.GrantDeviceCode, "read")
		d, err := sender.StartDevice(t.Context(), def)
		if err != nil {
			t.Fatal(err)
		}
		if out := sender.Ask(t.Context(), def, grant.Ask{DeviceCode: d.Code}); out.Err == nil || out.Err.Code != "authorization_pending" {
			t.Errorf("before approval: %+v", out)
		}
		if err := e.ApproveDevice(d.UserCode); err != nil {
			t.Fatal(err)
		}
		held = append(held, ask(t, def, grant.Ask{DeviceCode: d.Code}).Refresh.Reveal())
	})
	t.Run("jwt bearer", func(t *testing.T) {
		def := definition("sa", freshet.GrantJWTBearer, "calendar")
		ask(t, def, grant.Ask{})
	})
	t.Run("token exchange", func(t *testing.T) {
		def := definition("crm", freshet.GrantTokenExchange)
		def.Connection.Credentials = map[string]freshet.Secret{"subject_token": freshet.NewSecret("subject:carol"), "subject_token_type": freshet.NewSecret("urn:ietf:params:oauth:token-type:jwt")}
		ask(t, def, grant.Ask{})
	})
	t.Run("DPoP with a nonce", func(t *testing.T) {
		def := definition("bound", freshet.GrantAuthorizationCode, "read")
		def.Client.DPoP = true
		if def.DPoPKey, err = grant.NewDPoPKey(); err != nil {
			t.Fatal(err)
		}
		tok := authorize(t, def)
		if tok.Scheme != "DPoP" {
			t.Errorf("scheme %q", tok.Scheme)
		}
		held = append(held, ask(t, def, grant.Ask{RefreshToken: tok.Refresh}).Refresh.Reveal())
	})
	t.Run("F44 endless nonces cost two requests", func(t *testing.T) {
		def := definition("endless", freshet.GrantClientCredentials)
		def.Client.DPoP = true
		if def.DPoPKey, err = grant.NewDPoPKey(); err != nil {
			t.Fatal(err)
		}
		if out := sender.Ask(t.Context(), def, grant.Ask{}); out.Err == nil || out.Err.Code != "use_dpop_nonce" {
			t.Errorf("%+v", out)
		}
		if n := e.Stats().Clients["endless"].Requests; n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
	t.Run("revocation", func(t *testing.T) {
		def := definition("crm", freshet.GrantAuthorizationCode, "read")
		tok := authorize(t, def)
		if err := sender.Revoke(t.Context(), def, tok); err != nil {
			t.Fatal(err)
		}
		if e.Valid(tok.Access.Reveal()) == nil || e.Usable(tok.Refresh.Reveal()) == nil {
			t.Error("the tokens live on")
		}
	})
	emulatortest.Oracles(t, e, nil, held...)
}
