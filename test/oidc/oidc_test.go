// Package oidc_test drives internal/grant against the certified OpenID
// provider: a judge of the wire that nobody here wrote.
package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/test/oidc/oidctest"
)

const (
	redirect = "http://127.0.0.1:53682/callback/oauth2"
	// password holds what a form encodes, once and not twice.
	password = "s3cret+with/odd=parts&more%20of-them~and-length"
)

// A bench is the provider, a sender, and a record of what went over the wire.
type bench struct {
	*testing.T
	server *oidctest.Server
	sender *grant.Sender
	key    string // PEM of the client's key
	wire   *recorder
}

// A recorder counts token requests, and what each was answered.
type recorder struct {
	mu     sync.Mutex
	tokens []int
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err == nil && strings.HasSuffix(req.URL.Path, "/token") {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tokens = append(r.tokens, res.StatusCode)
	}
	return res, err
}

// answers returns the statuses of the token requests since it was last asked.
func (r *recorder) answers() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.tokens
	r.tokens = nil
	return a
}

func begin(t *testing.T) *bench {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}
	grants := []string{"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"}
	client := func(id string, more oidctest.Client) oidctest.Client {
		c := oidctest.Client{"client_id": id, "client_secret": password, "redirect_uris": []string{redirect}, "grant_types": grants, "application_type": "native", "response_types": []string{"code"}}
		for k, v := range more {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	wire := &recorder{}
	return &bench{
		T: t,
		server: oidctest.Start(t, oidctest.Options{Clients: []oidctest.Client{
			client("basic", oidctest.Client{"token_endpoint_auth_method": "client_secret_basic"}),
			client("body", oidctest.Client{"token_endpoint_auth_method": "client_secret_post"}),
			client("public", oidctest.Client{"token_endpoint_auth_method": "none", "client_secret": nil, "grant_types": []string{"authorization_code", "refresh_token"}}),
			client("key", oidctest.Client{"token_endpoint_auth_method": "private_key_jwt", "client_secret": nil, "jwks": map[string]any{"keys": []any{jwk}}}),
			// Public, because only a public client's refresh tokens are bound to its
			// key, RFC 9449 §5.
			client("nonce", oidctest.Client{"token_endpoint_auth_method": "none", "client_secret": nil, "grant_types": []string{"authorization_code", "refresh_token"}, "dpop_bound_access_tokens": true, "require_dpop_nonce": true}),
		}}),
		sender: grant.New(grant.Options{Transport: wire}),
		key:    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		wire:   wire,
	}
}

// definition is a connection of one of the clients. Everything else is what
// the provider publishes.
func (b *bench) definition(client string, g freshet.GrantType, scopes ...string) *freshet.Definition {
	def := &freshet.Definition{
		ID:         freshet.ConnectionID("c-" + client),
		Connection: freshet.Connection{Name: client, Client: client, Grant: g, Scopes: scopes},
		Client:     freshet.Client{Name: client, ID: client, Secret: freshet.NewSecret(password), RedirectURL: redirect},
		Provider:   freshet.Provider{Name: "certified", Issuer: b.server.Issuer},
	}
	switch client {
	case "body":
		def.Provider.ClientAuth = freshet.AuthBody
	case "public", "nonce":
		def.Provider.ClientAuth, def.Client.Secret = freshet.AuthNone, freshet.Secret{}
	case "key":
		def.Provider.ClientAuth, def.Client.Secret = freshet.AuthPrivateKeyJWT, freshet.Secret{}
		def.Client.Key, def.Client.KeyID = freshet.NewSecret(b.key), "k1"
	}
	return def
}

// authorize walks the code grant and returns what the exchange led to.
func (b *bench) authorize(t *testing.T, def *freshet.Definition, hint string) (grant.Outcome, grant.Ask) {
	t.Helper()
	ask := grant.Ask{Verifier: grant.NewVerifier(), RedirectURI: redirect, Nonce: "n-0S6_WzA2Mj"}
	link, err := b.sender.AuthorizeURL(t.Context(), def, grant.AuthorizeParams{State: "a state of more than 128 bits", Verifier: ask.Verifier, RedirectURI: redirect, Nonce: ask.Nonce})
	if err != nil {
		t.Fatal(err)
	}
	back := b.server.Authorize(t, link+"&login_hint="+hint)
	if s := back.Get("state"); s != "a state of more than 128 bits" {
		t.Errorf("state came back as %q", s)
	}
	if ask.Code, err = b.sender.CheckCallback(t.Context(), def, back); err != nil {
		t.Fatal(err)
	}
	b.wire.answers()
	return b.sender.Ask(t.Context(), def, ask), ask
}

// granted fails the test unless there is a token.
func granted(t *testing.T, what string, out grant.Outcome) *freshet.Token {
	t.Helper()
	if out.Err != nil {
		t.Fatalf("%s: %v", what, out.Err)
	}
	return out.Token
}

// refused fails the test unless there is an error of this code and class.
func refused(t *testing.T, what string, out grant.Outcome, code string, class grant.Class) {
	t.Helper()
	if out.Err == nil || out.Err.Code != code || out.Err.Class != class || out.Err.Uncertain {
		t.Errorf("%s: %+v, want %s, %s and certain", what, out.Err, code, class)
	}
}

// userinfo calls the provider's own protected resource.
func (b *bench) userinfo(t *testing.T, def *freshet.Definition, tok *freshet.Token) (int, string) {
	t.Helper()
	url := b.server.Issuer + "/me"
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", tok.Scheme+" "+tok.Access.Reveal())
	if tok.Scheme == "DPoP" {
		proof, err := grant.ProofFor(def, "GET", url, tok.Access, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("DPoP", proof)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

func TestCertifiedProvider(t *testing.T) {
	b := begin(t)

	for _, client := range []string{"basic", "body", "public", "key"} {
		t.Run("cap023 authorization code with PKCE and refresh as "+client, func(t *testing.T) {
			def := b.definition(client, freshet.GrantAuthorizationCode, "openid", "email")
			out, ask := b.authorize(t, def, "ada")
			first := granted(t, "exchange", out)
			if first.Subject != "ada" || first.Scheme != "Bearer" || first.Refresh.IsZero() || first.Lifetime() != time.Minute {
				t.Errorf("token of %q, scheme %q, lifetime %s, refresh token there: %v", first.Subject, first.Scheme, first.Lifetime(), !first.Refresh.IsZero())
			}
			if status, body := b.userinfo(t, def, first); status != 200 || !strings.Contains(body, `"ada"`) {
				t.Errorf("userinfo = %d %s", status, body)
			}
			second := granted(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: first.Refresh}))
			if second.Refresh.IsZero() || second.Refresh.Equal(first.Refresh) {
				t.Error("the refresh token did not rotate")
			}
			if status, _ := b.userinfo(t, def, second); status != 200 {
				t.Errorf("userinfo after a refresh = %d", status)
			}
			if n := b.wire.answers(); len(n) != 2 {
				t.Errorf("token requests answered %v, want two", n)
			}
			// RFC 6749 §4.1.2: a code that comes twice ends everything from it.
			refused(t, "the code twice", b.sender.Ask(t.Context(), def, ask), "invalid_grant", grant.Permanent)
			refused(t, "refresh after that", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: second.Refresh}), "invalid_grant", grant.Permanent)
		})
	}

	t.Run("S02 a wrong verifier", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		link, err := b.sender.AuthorizeURL(t.Context(), def, grant.AuthorizeParams{State: "0123456789012345678901", Verifier: grant.NewVerifier(), RedirectURI: redirect})
		if err != nil {
			t.Fatal(err)
		}
		code, err := b.sender.CheckCallback(t.Context(), def, b.server.Authorize(t, link))
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "exchange", b.sender.Ask(t.Context(), def, grant.Ask{Code: code, Verifier: grant.NewVerifier(), RedirectURI: redirect}), "invalid_grant", grant.Permanent)
	})

	t.Run("cap023 a person who says no", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		link, err := b.sender.AuthorizeURL(t.Context(), def, grant.AuthorizeParams{State: "0123456789012345678901", Verifier: grant.NewVerifier(), RedirectURI: redirect})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.sender.CheckCallback(t.Context(), def, b.server.Authorize(t, link+"&login_hint=nobody&prompt=login"))
		var no *grant.CallbackError
		if !errors.As(err, &no) || no.Code != "access_denied" || no.Description != "The resource owner said no." {
			t.Errorf("callback: %v", err)
		}
	})

	t.Run("S04 a code of another issuer goes nowhere", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		link, err := b.sender.AuthorizeURL(t.Context(), def, grant.AuthorizeParams{State: "0123456789012345678901", Verifier: grant.NewVerifier(), RedirectURI: redirect})
		if err != nil {
			t.Fatal(err)
		}
		back := b.server.Authorize(t, link)
		back.Set("iss", "https://evil.example")
		if _, err := b.sender.CheckCallback(t.Context(), def, back); !errors.Is(err, grant.ErrMixUp) {
			t.Errorf("another iss: %v", err)
		}
		// The metadata promise the parameter, so its absence is an attack too.
		back.Del("iss")
		if _, err := b.sender.CheckCallback(t.Context(), def, back); !errors.Is(err, grant.ErrMixUp) {
			t.Errorf("no iss: %v", err)
		}
	})

	t.Run("cap053 fifty rotations, and a reuse that ends the family", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		out, _ := b.authorize(t, def, "rotor")
		tok := granted(t, "exchange", out)
		var spent freshet.Secret
		for range 50 {
			spent = tok.Refresh
			tok = granted(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}))
		}
		if status, _ := b.userinfo(t, def, tok); status != 200 {
			t.Errorf("userinfo = %d", status)
		}
		refused(t, "the token before", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: spent}), "invalid_grant", grant.Permanent)
		refused(t, "the newest after that", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}), "invalid_grant", grant.Permanent)
		if status, _ := b.userinfo(t, def, tok); status != 401 {
			t.Errorf("userinfo after the family was revoked = %d, want 401", status)
		}
	})

	t.Run("client credentials", func(t *testing.T) {
		for _, client := range []string{"basic", "body", "key"} {
			def := b.definition(client, freshet.GrantClientCredentials)
			tok := granted(t, client, b.sender.Ask(t.Context(), def, grant.Ask{}))
			if !tok.Refresh.IsZero() || tok.Lifetime() != time.Minute {
				t.Errorf("%s: lifetime %s, refresh token there: %v", client, tok.Lifetime(), !tok.Refresh.IsZero())
			}
		}
	})

	t.Run("F36 a wrong secret is the client's trouble", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		out, _ := b.authorize(t, def, "ada")
		tok := granted(t, "exchange", out)
		good := def.Client.Secret
		def.Client.Secret = freshet.NewSecret("another secret")
		refused(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}), "invalid_client", grant.Misconfigured)
		def.Client.Secret = good
		granted(t, "refresh with the right one", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}))
	})

	t.Run("F42 device flow", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantDeviceCode, "openid")
		d, err := b.sender.StartDevice(t.Context(), def)
		if err != nil {
			t.Fatal(err)
		}
		if d.UserCode == "" || d.VerificationURIComplete == "" || d.Interval != 5*time.Second {
			t.Errorf("device: user code %q, complete %q, interval %s", d.UserCode, d.VerificationURIComplete, d.Interval)
		}
		poll := grant.Ask{DeviceCode: d.Code}
		refused(t, "before the person", b.sender.Ask(t.Context(), def, poll), "authorization_pending", grant.Retryable)
		b.server.ApproveDevice(t, d.VerificationURIComplete)
		tok := granted(t, "after", b.sender.Ask(t.Context(), def, poll))
		if tok.Refresh.IsZero() {
			t.Error("no refresh token")
		}
		granted(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}))
		refused(t, "the code twice", b.sender.Ask(t.Context(), def, poll), "invalid_grant", grant.Permanent)
	})

	t.Run("S15 DPoP with a nonce", func(t *testing.T) {
		def := b.definition("nonce", freshet.GrantAuthorizationCode, "openid")
		def.Client.DPoP = true
		var err error
		if def.DPoPKey, err = grant.NewDPoPKey(); err != nil {
			t.Fatal(err)
		}
		out, _ := b.authorize(t, def, "ada")
		tok := granted(t, "exchange", out)
		if tok.Scheme != "DPoP" {
			t.Errorf("scheme %q, want DPoP", tok.Scheme)
		}
		if n := b.wire.answers(); len(n) != 2 || n[0] != 400 || n[1] != 200 {
			t.Errorf("the exchange was answered %v, want a demand for a nonce and a token", n)
		}
		// The nonce is known now: one request.
		tok = granted(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}))
		if n := b.wire.answers(); len(n) != 1 {
			t.Errorf("the refresh was answered %v, want one answer", n)
		}
		bearer := *tok
		bearer.Scheme = "Bearer"
		if status, _ := b.userinfo(t, def, &bearer); status != 401 && status != 400 {
			t.Errorf("the bound token as a bearer token = %d, want a refusal", status)
		}
		thief := *def
		if thief.DPoPKey, err = grant.NewDPoPKey(); err != nil {
			t.Fatal(err)
		}
		refused(t, "refresh with another key", b.sender.Ask(t.Context(), &thief, grant.Ask{RefreshToken: tok.Refresh}), "invalid_grant", grant.Permanent)
	})

	t.Run("F85 revocation", func(t *testing.T) {
		def := b.definition("basic", freshet.GrantAuthorizationCode, "openid")
		out, _ := b.authorize(t, def, "ada")
		tok := granted(t, "exchange", out)
		if err := b.sender.Revoke(t.Context(), def, tok); err != nil {
			t.Fatal(err)
		}
		if status, _ := b.userinfo(t, def, tok); status != 401 {
			t.Errorf("userinfo = %d, want 401", status)
		}
		refused(t, "refresh", b.sender.Ask(t.Context(), def, grant.Ask{RefreshToken: tok.Refresh}), "invalid_grant", grant.Permanent)
		if err := b.sender.Revoke(t.Context(), def, tok); err != nil {
			t.Errorf("a token that is gone is revoked: %v", err)
		}
	})
}

// More live grants than the provider's own memory adapter holds: each must
// still refresh.
func TestCertifiedProviderForgetsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: 2,400 grants, with -short")
	}
	b := begin(t)
	def := b.definition("basic", freshet.GrantClientCredentials)
	out, _ := b.authorize(t, b.definition("basic", freshet.GrantAuthorizationCode, "openid"), "first")
	first := granted(t, "exchange", out)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 600 {
				if out := b.sender.Ask(context.WithoutCancel(t.Context()), def, grant.Ask{}); out.Err != nil {
					t.Error(out.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	granted(t, "the first grant", b.sender.Ask(t.Context(), b.definition("basic", freshet.GrantAuthorizationCode, "openid"), grant.Ask{RefreshToken: first.Refresh}))
}
