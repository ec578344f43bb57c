package fosite

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

const (
	clientID     = "the client"
	clientSecret = "s3cret & more: ü+%"
	callback     = "http://127.0.0.1:8420/callback/oauth2"
	subject      = "peter"
)

// A store is fosite's, with a conflict that a test can cause.
type store struct {
	*storage.MemoryStore
	conflict atomic.Bool
}

// RotateRefreshToken fails as a database does under two refreshes at once.
func (s *store) RotateRefreshToken(ctx context.Context, id, signature string) error {
	if s.conflict.Load() {
		return fosite.ErrSerializationFailure
	}
	return s.MemoryStore.RotateRefreshToken(ctx, id, signature)
}

// A server is an authorization server at a URL.
type server struct {
	*httptest.Server
	provider fosite.OAuth2Provider
	store    *store
	mu       sync.Mutex
	asked    []string // paths
	forged   bool     // the ID token's nonce is another
}

var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func start(t *testing.T) *server {
	t.Helper()
	key, err := signingKey()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(clientSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{store: &store{MemoryStore: storage.NewMemoryStore()}}
	s.store.Clients[clientID] = &fosite.DefaultClient{
		ID: clientID, Secret: hash, RedirectURIs: []string{callback},
		ResponseTypes: []string{"code"}, GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials", "password"},
		Scopes: []string{"read", "write", "openid", "offline"},
	}
	s.store.Clients["public"] = &fosite.DefaultClient{
		ID: "public", Public: true, RedirectURIs: []string{callback},
		ResponseTypes: []string{"code"}, GrantTypes: []string{"authorization_code", "refresh_token"}, Scopes: []string{"read", "offline"},
	}
	s.store.Users[subject] = storage.MemoryUserRelation{Username: subject, Password: "pässword"}
	mux := http.NewServeMux()
	mux.HandleFunc("/authorize", s.authorize)
	mux.HandleFunc("/token", s.token)
	mux.HandleFunc("/revoke", s.revoke)
	mux.HandleFunc("/introspect", s.introspect)
	mux.HandleFunc("/.well-known/openid-configuration", s.metadata)
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Use: "sig", Algorithm: "RS256"}}})
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	config := &fosite.Config{
		GlobalSecret: []byte("some-super-cool-secret-that-is-32"), IDTokenIssuer: s.URL, EnforcePKCE: true,
		AccessTokenLifespan: time.Hour, TokenURL: s.URL + "/token", HashCost: bcrypt.MinCost,
	}
	s.provider = compose.Compose(config, s.store, &compose.CommonStrategy{
		CoreStrategy:               compose.NewOAuth2HMACStrategy(config),
		OpenIDConnectTokenStrategy: compose.NewOpenIDConnectStrategy(func(context.Context) (any, error) { return key, nil }, config),
		Signer:                     &jwt.DefaultSigner{GetPrivateKey: func(context.Context) (any, error) { return key, nil }},
	},
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, compose.OpenIDConnectExplicitFactory, compose.OpenIDConnectRefreshFactory,
		compose.OAuth2TokenRevocationFactory, compose.OAuth2TokenIntrospectionFactory, compose.OAuth2PKCEFactory)
	return s
}

func session(issuer string) *openid.DefaultSession {
	return &openid.DefaultSession{
		Subject: subject, Username: subject,
		Claims:  &jwt.IDTokenClaims{Issuer: issuer, Subject: subject, RequestedAt: time.Now(), AuthTime: time.Now(), IssuedAt: time.Now()},
		Headers: &jwt.Headers{Extra: map[string]any{"kid": "k1"}},
	}
}

func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	ar, err := s.provider.NewAuthorizeRequest(r.Context(), r)
	if err != nil {
		s.provider.WriteAuthorizeError(r.Context(), w, ar, err)
		return
	}
	for _, scope := range ar.GetRequestedScopes() {
		ar.GrantScope(scope)
	}
	if s.forged {
		ar.GetRequestForm().Set("nonce", "another-nonce-of-some-length")
	}
	resp, err := s.provider.NewAuthorizeResponse(r.Context(), ar, session(s.URL))
	if err != nil {
		s.provider.WriteAuthorizeError(r.Context(), w, ar, err)
		return
	}
	s.provider.WriteAuthorizeResponse(r.Context(), w, ar, resp)
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	ar, err := s.provider.NewAccessRequest(r.Context(), r, session(s.URL))
	if err != nil {
		s.provider.WriteAccessError(r.Context(), w, ar, err)
		return
	}
	for _, scope := range ar.GetRequestedScopes() {
		ar.GrantScope(scope)
	}
	resp, err := s.provider.NewAccessResponse(r.Context(), ar)
	if err != nil {
		s.provider.WriteAccessError(r.Context(), w, ar, err)
		return
	}
	s.provider.WriteAccessResponse(r.Context(), w, ar, resp)
}

func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	s.provider.WriteRevocationResponse(r.Context(), w, s.provider.NewRevocationRequest(r.Context(), r))
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	ir, err := s.provider.NewIntrospectionRequest(r.Context(), r, session(s.URL))
	if err != nil {
		s.provider.WriteIntrospectionError(r.Context(), w, err)
		return
	}
	s.provider.WriteIntrospectionResponse(r.Context(), w, ir)
}

func (s *server) metadata(w http.ResponseWriter, _ *http.Request) {
	json.NewEncoder(w).Encode(map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
		"revocation_endpoint": s.URL + "/revoke", "jwks_uri": s.URL + "/jwks", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (s *server) count(path string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.asked {
		if p == path {
			n++
		}
	}
	return n
}

// active reports whether the server still honours a token.
func (s *server) active(t *testing.T, token freshet.Secret, kind fosite.TokenType) bool {
	t.Helper()
	_, _, err := s.provider.IntrospectToken(t.Context(), token.Reveal(), kind, session(s.URL))
	return err == nil
}

// define is a connection that knows the issuer and nothing else.
func (s *server) define(edit func(*freshet.Definition)) *freshet.Definition {
	d := &freshet.Definition{
		ID:         "c1",
		Connection: freshet.Connection{Name: "crm", Client: "f", Grant: freshet.GrantAuthorizationCode, Scopes: []string{"openid", "offline", "read"}},
		Client:     freshet.Client{Name: "f", ID: clientID, Secret: freshet.NewSecret(clientSecret)},
		Provider:   freshet.Provider{Name: "fosite", Issuer: s.URL},
	}
	if edit != nil {
		edit(d)
	}
	return d
}

const (
	state = "a-state-of-more-than-128-bits"
	nonce = "a-nonce-of-more-than-128-bits"
)

// visit follows the authorization link as a browser would, up to our callback.
func (s *server) visit(t *testing.T, snd *grant.Sender, d *freshet.Definition, verifier freshet.Secret) url.Values {
	t.Helper()
	link, err := snd.AuthorizeURL(t.Context(), d, grant.AuthorizeParams{State: state, Verifier: verifier, RedirectURI: callback, Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatalf("status %d and no redirect", resp.StatusCode)
	}
	if back.Query().Get("state") != state {
		t.Fatalf("state %q came back", back.Query().Get("state"))
	}
	return back.Query()
}

// authorized takes a connection through authorization.
func (s *server) authorized(t *testing.T, snd *grant.Sender, d *freshet.Definition) *freshet.Token {
	t.Helper()
	verifier := grant.NewVerifier()
	code, err := snd.CheckCallback(t.Context(), d, s.visit(t, snd, d, verifier))
	if err != nil {
		t.Fatal(err)
	}
	out := snd.Ask(t.Context(), d, grant.Ask{Code: code, Verifier: verifier, RedirectURI: callback, Nonce: nonce})
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	return out.Token
}

func refuse(t *testing.T, out grant.Outcome, code string) *grant.Error {
	t.Helper()
	if out.Err == nil || out.Err.Code != code {
		t.Fatalf("outcome %v, want the error %s", out.Err, code)
	}
	return out.Err
}

func TestAuthorizationCode(t *testing.T) {
	s := start(t)
	snd := grant.New(grant.Options{})
	tok := s.authorized(t, snd, s.define(nil))
	if tok.Type != "bearer" || tok.Scheme != "Bearer" {
		t.Errorf("token_type %q, scheme %q: want it as it came and as it is sent", tok.Type, tok.Scheme)
	}
	if tok.Subject != subject || tok.ID.IsZero() || tok.Refresh.IsZero() || tok.Scope != "openid offline read" {
		t.Errorf("subject %q, scope %q", tok.Subject, tok.Scope)
	}
	if life := tok.Lifetime(); life < 58*time.Minute || life > time.Hour {
		t.Errorf("lifetime %v, want about an hour", life)
	}
	if !s.active(t, tok.Access, fosite.AccessToken) {
		t.Error("the server does not know the token that it gave")
	}
	if n := s.count("/token"); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func TestS02_server_holds_us_to_the_verifier(t *testing.T) {
	s := start(t)
	snd, d := grant.New(grant.Options{}), s.define(nil)
	q := s.visit(t, snd, d, grant.NewVerifier())
	code, err := snd.CheckCallback(t.Context(), d, q)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, snd.Ask(t.Context(), d, grant.Ask{Code: code, Verifier: grant.NewVerifier(), RedirectURI: callback, Nonce: nonce}), "invalid_grant")
	off := s.define(func(d *freshet.Definition) { d.Provider.PKCE = "off" })
	if _, err := snd.CheckCallback(t.Context(), off, s.visit(t, snd, off, freshet.Secret{})); err == nil {
		t.Error("the server takes an authorization without a challenge: this test proves nothing")
	}
}

func TestPublicClient(t *testing.T) {
	s := start(t)
	snd := grant.New(grant.Options{})
	d := s.define(func(d *freshet.Definition) {
		d.Client.ID, d.Client.Secret, d.Client.Auth = "public", freshet.Secret{}, freshet.AuthNone
		d.Connection.Scopes = []string{"offline", "read"}
	})
	tok := s.authorized(t, snd, d)
	if out := snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok}); out.Err != nil || out.Token.Refresh.IsZero() {
		t.Errorf("refresh: %v", out.Err)
	}
}

func TestS09_nonce_of_another_login(t *testing.T) {
	s := start(t)
	s.forged = true
	snd, d := grant.New(grant.Options{}), s.define(nil)
	verifier := grant.NewVerifier()
	code, err := snd.CheckCallback(t.Context(), d, s.visit(t, snd, d, verifier))
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, snd.Ask(t.Context(), d, grant.Ask{Code: code, Verifier: verifier, RedirectURI: callback, Nonce: nonce}), "bad_id_token")
}

func TestDenied(t *testing.T) {
	s := start(t)
	snd, d := grant.New(grant.Options{}), s.define(func(d *freshet.Definition) { d.Connection.Scopes = []string{"never"} })
	_, err := snd.CheckCallback(t.Context(), d, s.visit(t, snd, d, grant.NewVerifier()))
	var e *grant.CallbackError
	if !errors.As(err, &e) || e.Code != "invalid_scope" || e.Description == "" {
		t.Errorf("error %v, want the server's invalid_scope in its words", err)
	}
}

func TestCap053_rotation(t *testing.T) {
	s := start(t)
	snd, d := grant.New(grant.Options{}), s.define(nil)
	tok := s.authorized(t, snd, d)
	first := tok
	for range 50 {
		out := snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok, Scope: tok.Scope})
		if out.Err != nil {
			t.Fatal(out.Err)
		}
		if out.Token.Refresh.IsZero() || out.Token.Refresh.Equal(tok.Refresh) || out.Token.Access.Equal(tok.Access) {
			t.Fatal("the server did not rotate")
		}
		tok = out.Token
	}
	if s.active(t, first.Access, fosite.AccessToken) || !s.active(t, tok.Access, fosite.AccessToken) {
		t.Error("the newest token must be the one that lives")
	}
	if n := s.count("/token"); n != 51 {
		t.Errorf("%d token requests, want 51", n)
	}
	// Reuse of a spent token ends the family: what one double send would do.
	if e := refuse(t, snd.Ask(t.Context(), d, grant.Ask{RefreshToken: first.Refresh, Previous: tok}), "invalid_grant"); e.Class != grant.Permanent {
		t.Errorf("class %s, want permanent", e.Class)
	}
	refuse(t, snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok}), "invalid_grant")
}

func TestConflictLeavesTheGrantAlone(t *testing.T) {
	s := start(t)
	snd, d := grant.New(grant.Options{}), s.define(nil)
	tok := s.authorized(t, snd, d)
	s.store.conflict.Store(true)
	e := refuse(t, snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok}), "invalid_request")
	if e.Class == grant.Permanent || e.Status != http.StatusBadRequest || !strings.Contains(e.Detail, "retry") {
		t.Errorf("error %+v: a conflict is no end, and the server's words say so", e)
	}
	s.store.conflict.Store(false)
	if out := snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok}); out.Err != nil {
		t.Errorf("the same token again: %v", out.Err)
	}
}

func TestClientCredentials(t *testing.T) {
	s := start(t)
	snd := grant.New(grant.Options{})
	for _, auth := range []freshet.ClientAuth{freshet.AuthBasic, freshet.AuthBody} {
		t.Run("cap044 "+string(auth), func(t *testing.T) {
			d := s.define(func(d *freshet.Definition) {
				d.Provider.ClientAuth, d.Connection.Grant, d.Connection.Scopes = auth, freshet.GrantClientCredentials, []string{"read", "write"}
			})
			out := snd.Ask(t.Context(), d, grant.Ask{})
			if out.Err != nil {
				t.Fatal(out.Err)
			}
			if out.Token.Scope != "read write" || !out.Token.Refresh.IsZero() {
				t.Errorf("scope %q", out.Token.Scope)
			}
		})
	}
	before := s.count("/token")
	bad := s.define(func(d *freshet.Definition) {
		d.Connection.Grant, d.Connection.Scopes, d.Client.Secret = freshet.GrantClientCredentials, nil, freshet.NewSecret("wrong")
	})
	if e := refuse(t, snd.Ask(t.Context(), bad, grant.Ask{}), "invalid_client"); e.Class != grant.Misconfigured {
		t.Errorf("class %s, want misconfigured", e.Class)
	}
	bad.Client.Previous = []freshet.Secret{freshet.NewSecret(clientSecret)}
	if out := snd.Ask(t.Context(), bad, grant.Ask{}); out.Err != nil {
		t.Errorf("F43: the former secret: %v", out.Err)
	}
	if n := s.count("/token") - before; n != 3 {
		t.Errorf("F43: %d token requests, want 1 and 2", n)
	}
}

func TestPassword(t *testing.T) {
	s := start(t)
	snd := grant.New(grant.Options{})
	d := s.define(func(d *freshet.Definition) {
		d.Connection.Grant = freshet.GrantPassword
		d.Connection.Scopes = []string{"offline", "read"}
		d.Connection.Credentials = map[string]freshet.Secret{"username": freshet.NewSecret(subject), "password": freshet.NewSecret("pässword")}
	})
	out := snd.Ask(t.Context(), d, grant.Ask{})
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	if again := snd.Ask(t.Context(), d, grant.Ask{RefreshToken: out.Token.Refresh, Previous: out.Token}); again.Err != nil {
		t.Errorf("refresh: %v", again.Err)
	}
	d.Connection.Credentials["password"] = freshet.NewSecret("wrong")
	if out := snd.Ask(t.Context(), d, grant.Ask{}); out.Err == nil {
		t.Error("a wrong password is good enough")
	}
}

func TestRevocation(t *testing.T) {
	s := start(t)
	snd, d := grant.New(grant.Options{}), s.define(nil)
	tok := s.authorized(t, snd, d)
	for range 2 { // the second time the tokens are not known, which is as good
		if err := snd.Revoke(t.Context(), d, tok); err != nil {
			t.Fatal(err)
		}
	}
	if s.active(t, tok.Access, fosite.AccessToken) || s.active(t, tok.Refresh, fosite.RefreshToken) {
		t.Error("the server still honours what was revoked")
	}
	refuse(t, snd.Ask(t.Context(), d, grant.Ask{RefreshToken: tok.Refresh, Previous: tok}), "invalid_grant")
	if n := s.count("/revoke"); n != 4 {
		t.Errorf("%d revocation requests, want two for each token", n)
	}
}
