package grant

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet"
)

// keys that tests sign with; RSA ones take a while to make.
var keys = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func pemOf(kind string, der []byte, err error) freshet.Secret {
	if err != nil {
		panic(err)
	}
	return secret(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func pkcs8(key any) freshet.Secret {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf("PRIVATE KEY", der, err)
}

// openJWT verifies a JWT and returns its header and claims.
func openJWT(t *testing.T, raw string, public any) (header, claims map[string]any) {
	t.Helper()
	jws, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA})
	if err != nil {
		t.Fatalf("JWT %q: %v", raw, err)
	}
	payload, err := jws.Verify(public)
	if err != nil {
		t.Fatalf("JWT does not verify: %v", err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(raw, ".")
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(b, &header) != nil {
		t.Fatalf("header of %q cannot be read", raw)
	}
	return header, claims
}

// sentForm returns the parameters of a recorded form request.
func sentForm(t *testing.T, request string) url.Values {
	t.Helper()
	_, body, _ := strings.Cut(request, "\n\n")
	q, err := url.ParseQuery(body)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func names(q url.Values) string { return strings.Join(slices.Sorted(maps.Keys(q)), " ") }

func TestPrivateKeyJWT(t *testing.T) {
	k := keys()
	jwk, err := json.Marshal(jose.JSONWebKey{Key: k.ec, KeyID: "jwk-1"})
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(k.ec)
	for _, c := range []struct {
		name   string
		key    freshet.Secret
		public any
		edit   func(*freshet.Definition)
		alg    string
		header map[string]any // beside alg and typ
		claims map[string]any // beside iat, exp, jti; TOKEN is the token URL
		life   float64
	}{
		{"RSA, PKCS #1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa), nil), k.rsa.Public(), nil, "RS256", nil, nil, 60},
		{"RSA, PKCS #8, PS256, kid and thumbprint", pkcs8(k.rsa), k.rsa.Public(), func(d *freshet.Definition) {
			d.Provider.Assertion = &freshet.Assertion{Algorithm: "PS256", Header: map[string]string{"x5t#S256": "{{thumbprint}}", "x": "{{none}}"}, Lifetime: freshet.Duration(2 * time.Minute)}
			d.Provider.Variables = map[string]freshet.Variable{"none": {Optional: true}}
			d.Connection.Variables = map[string]string{"thumbprint": "tp-1"}
			d.Client.KeyID = "k1"
		}, "PS256", map[string]any{"kid": "k1", "x5t#S256": "tp-1"}, nil, 120},
		{"EC, SEC 1", pemOf("EC PRIVATE KEY", ecDER, err), k.ec.Public(), nil, "ES256", nil, nil, 60},
		{"EC, JWK with its own kid", secret(string(jwk)), k.ec.Public(), nil, "ES256", map[string]any{"kid": "jwk-1"}, nil, 60},
		{"Ed25519", pkcs8(k.ed), k.ed.Public(), nil, "EdDSA", nil, nil, 60},
		{"PEM whose line ends were escaped", secret(strings.ReplaceAll(pkcs8(k.ec).Reveal(), "\n", `\n`)), k.ec.Public(), nil, "ES256", nil, nil, 60},
		{"issuer and audience of the provider", pkcs8(k.rsa), k.rsa.Public(), func(d *freshet.Definition) {
			d.Provider.Assertion = &freshet.Assertion{Issuer: "{{redirect_host}}", Audience: "https://revolut.example", Claims: map[string]string{"tenant": "t-{{client_id}}"}}
			d.Connection.Variables = map[string]string{"redirect_host": "f.example"}
		}, "RS256", nil, map[string]any{"iss": "f.example", "aud": "https://revolut.example", "tenant": "t-the id"}, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, nil)
			d := define(srv.URL, func(d *freshet.Definition) {
				d.Provider.ClientAuth = freshet.AuthPrivateKeyJWT
				d.Provider.TokenURL += "?x=1"
				d.Client.Key = c.key
				if c.edit != nil {
					c.edit(d)
				}
			})
			s := sender()
			jtis := map[any]bool{}
			for range 2 {
				mustToken(t, s.Ask(t.Context(), d, Ask{RefreshToken: secret("r")}))
			}
			for _, r := range srv.requests() {
				q := sentForm(t, r)
				if got := names(q); got != "client_assertion client_assertion_type client_id grant_type refresh_token" {
					t.Fatalf("parameters %s", got)
				}
				if q.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || q.Get("client_id") != "the id" {
					t.Errorf("request %s", r)
				}
				header, claims := openJWT(t, q.Get("client_assertion"), c.public)
				want := map[string]any{"alg": c.alg, "typ": "JWT"}
				maps.Copy(want, c.header)
				if fmt.Sprint(header) != fmt.Sprint(want) {
					t.Errorf("header %v, want %v", header, want)
				}
				if jtis[claims["jti"]] || len(claims["jti"].(string)) < 22 {
					t.Errorf("jti %v: want a new one each time", claims["jti"])
				}
				jtis[claims["jti"]] = true
				delete(claims, "jti")
				want = map[string]any{"iss": "the id", "sub": "the id", "aud": srv.URL + "/token", "iat": float64(testNow.Unix()), "exp": float64(testNow.Unix()) + c.life}
				maps.Copy(want, c.claims)
				if fmt.Sprint(claims) != fmt.Sprint(want) {
					t.Errorf("claims %v, want %v", claims, want)
				}
			}
		})
	}
}

func TestJWTBearer(t *testing.T) {
	k := keys()
	for _, c := range []struct {
		name   string
		edit   func(*freshet.Definition)
		params string
		claims map[string]any
		life   float64
	}{
		{"plain", nil, "assertion grant_type scope", map[string]any{"sub": "the id"}, 300},
		{"subject from the credentials", func(d *freshet.Definition) { d.Connection.Credentials = creds("subject", "u@x.example") }, "assertion grant_type scope", map[string]any{"sub": "u@x.example"}, 300},
		{"scope as a claim, no subject, fixed audience", func(d *freshet.Definition) {
			d.Provider.Assertion = &freshet.Assertion{Scope: true, Subject: "{{subject}}", Audience: "https://{{host}}", Lifetime: freshet.Duration(3 * time.Minute)}
			d.Provider.Variables = map[string]freshet.Variable{"subject": {Optional: true}, "host": {Default: "login.example"}}
		}, "assertion grant_type", map[string]any{"scope": "a b", "aud": "https://login.example"}, 180},
		{"with client authentication", func(d *freshet.Definition) {
			d.Provider.ClientAuth = freshet.AuthPrivateKeyJWT
			d.Provider.Assertion = &freshet.Assertion{Subject: "somebody", Claims: map[string]string{"x": "y"}}
		}, "assertion client_assertion client_assertion_type client_id grant_type scope", map[string]any{"sub": "somebody", "x": "y"}, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, nil)
			d := define(srv.URL, func(d *freshet.Definition) {
				d.Provider.ClientAuth = freshet.AuthNone
				d.Connection.Grant = freshet.GrantJWTBearer
				d.Connection.Scopes = []string{"a", "b"}
				d.Client.Key = pkcs8(k.rsa)
				if c.edit != nil {
					c.edit(d)
				}
			})
			mustToken(t, sender().Ask(t.Context(), d, Ask{RefreshToken: secret("unused")}))
			q := sentForm(t, srv.requests()[0])
			if got := names(q); got != c.params {
				t.Fatalf("parameters %s, want %s", got, c.params)
			}
			if q.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
				t.Errorf("grant_type %s", q.Get("grant_type"))
			}
			_, claims := openJWT(t, q.Get("assertion"), k.rsa.Public())
			delete(claims, "jti")
			want := map[string]any{"iss": "the id", "aud": srv.URL + "/token", "iat": float64(testNow.Unix()), "exp": float64(testNow.Unix()) + c.life}
			maps.Copy(want, c.claims)
			if fmt.Sprint(claims) != fmt.Sprint(want) {
				t.Errorf("claims %v, want %v", claims, want)
			}
			if raw := q.Get("client_assertion"); raw != "" {
				_, claims := openJWT(t, raw, k.rsa.Public())
				if claims["sub"] != "the id" || claims["x"] != nil {
					t.Errorf("the client's own JWT says %v", claims)
				}
			}
		})
	}
}

func TestAssertionInAnyLogin(t *testing.T) {
	srv := record(t, nil)
	d := define(srv.URL, func(d *freshet.Definition) {
		d.Connection.Grant = freshet.GrantRequest
		d.Provider.ClientAuth = freshet.AuthNone
		d.Client.Key = pkcs8(keys().rsa)
		d.Provider.Request = freshet.TokenRequest{Body: "json", Headers: freshet.Values{"Authorization": "Bearer {{assertion}}"}}
	})
	mustToken(t, sender().Ask(t.Context(), d, Ask{}))
	_, raw, _ := strings.Cut(srv.requests()[0], "Authorization: Bearer ")
	raw, _, _ = strings.Cut(raw, "\n")
	if _, claims := openJWT(t, raw, keys().rsa.Public()); claims["iss"] != "the id" {
		t.Errorf("claims %v", claims)
	}
}

func TestBadKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := json.Marshal(jose.JSONWebKey{Key: small.Public()})
	shared, _ := json.Marshal(jose.JSONWebKey{Key: []byte("hush hush hush hush hush hush hush")})
	for _, c := range []struct {
		name string
		key  freshet.Secret
		alg  string
		says string
	}{
		{"none", freshet.Secret{}, "", "client acme: it has no key to sign with"},
		{"garbage", secret("hush"), "", "neither a PEM private key nor a JWK"},
		{"public JWK", secret(string(public)), "", "not a private JWK"},
		{"shared secret", secret(string(shared)), "", "not a private JWK"},
		{"torn PEM", secret("-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n"), "", "cannot be read"},
		{"encrypted PEM", secret("-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVzaA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), "", "encrypted"},
		{"algorithm of another key", pkcs8(keys().ec), "RS256", "does not sign RS256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, nil)
			out := sender().Ask(t.Context(), define(srv.URL, func(d *freshet.Definition) {
				d.Provider.ClientAuth = freshet.AuthPrivateKeyJWT
				d.Provider.Assertion = &freshet.Assertion{Algorithm: c.alg}
				d.Client.Key = c.key
			}), Ask{RefreshToken: secret("r")})
			e := mustFail(t, out, Misconfigured, "bad_key")
			if !strings.Contains(e.Detail, c.says) || strings.Contains(e.Detail, "hush") {
				t.Errorf("detail %q, want one that says %q", e.Detail, c.says)
			}
			if len(srv.requests()) != 0 {
				t.Error("a request was sent")
			}
		})
	}
}

// refusing answers invalid_client unless the secret is in good.
func refusing(good ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		if slices.Contains(good, r.Form.Get("client_secret")) {
			io.WriteString(w, goodAnswer)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"invalid_client"}`)
	}
}

func TestF43_secrets_in_order_after_invalid_client(t *testing.T) {
	used := func(r *recorder) (out []string) {
		for _, s := range r.requests() {
			out = append(out, sentForm(t, s).Get("client_secret"))
		}
		return out
	}
	edit := func(d *freshet.Definition) {
		d.Client.Secret = secret("new")
		d.Client.Previous = []freshet.Secret{secret("old"), secret("older")}
	}
	ask := Ask{RefreshToken: secret("r")}

	t.Run("until one is accepted, which then goes first", func(t *testing.T) {
		srv := record(t, refusing("old"))
		s, d := sender(), define(srv.URL, edit)
		mustToken(t, s.Ask(t.Context(), d, ask))
		mustToken(t, s.Ask(t.Context(), d, ask))
		if got := used(srv); !slices.Equal(got, []string{"new", "old", "old"}) {
			t.Errorf("secrets used: %v", got)
		}
		srv.answer = refusing("new") // the provider now knows the new one
		mustToken(t, s.Ask(t.Context(), d, ask))
		mustToken(t, s.Ask(t.Context(), d, ask))
		if got := used(srv)[3:]; !slices.Equal(got, []string{"old", "new", "new"}) {
			t.Errorf("secrets used after the change: %v", got)
		}
	})
	t.Run("none is accepted", func(t *testing.T) {
		srv := record(t, refusing())
		mustFail(t, sender().Ask(t.Context(), define(srv.URL, edit), ask), Misconfigured, "invalid_client")
		if got := used(srv); !slices.Equal(got, []string{"new", "old", "older"}) {
			t.Errorf("secrets used: %v", got)
		}
	})
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"never after invalid_grant", `{"error":"invalid_grant"}`, 400},
		{"never after a bare 401", ``, 401},
		{"never after a 500 that says invalid_client", `{"error":"invalid_client"}`, 500},
		{"never after unauthorized_client", `{"error":"unauthorized_client"}`, 400},
		{"never when a refresh token came along", `{"error":"invalid_client","refresh_token":"rt-2"}`, 200},
		{"never after a 503", `{"error":"temporarily_unavailable"}`, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			if out := sender().Ask(t.Context(), define(srv.URL, edit), ask); out.Err == nil {
				t.Fatal("a token")
			}
			if got := used(srv); !slices.Equal(got, []string{"new"}) {
				t.Errorf("secrets used: %v", got)
			}
		})
	}
	t.Run("never where no secret is sent", func(t *testing.T) {
		srv := record(t, refusing())
		d := define(srv.URL, func(d *freshet.Definition) { edit(d); d.Provider.ClientAuth = freshet.AuthNone })
		mustFail(t, sender().Ask(t.Context(), d, ask), Misconfigured, "invalid_client")
		if n := len(srv.requests()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// proofOf opens the DPoP header of a recorded request with the key inside it.
func proofOf(t *testing.T, request string) (jkt string, header, claims map[string]any) {
	t.Helper()
	_, raw, ok := strings.Cut(request, "Dpop: ")
	if !ok {
		t.Fatalf("no proof in\n%s", request)
	}
	raw, _, _ = strings.Cut(raw, "\n")
	jws, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	key := jws.Signatures[0].Header.JSONWebKey
	if key == nil || !key.IsPublic() {
		t.Fatal("the proof holds no public key")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	header, claims = openJWT(t, raw, key)
	return base64.RawURLEncoding.EncodeToString(sum), header, claims
}

func bound2DPoP(t *testing.T, server string) *freshet.Definition {
	t.Helper()
	key, err := NewDPoPKey()
	if err != nil {
		t.Fatal(err)
	}
	return define(server, func(d *freshet.Definition) {
		d.Client.DPoP, d.DPoPKey = true, key
		d.Provider.TokenURL += "?t=1"
	})
}

const dpopAnswer = `{"access_token":"at-1","token_type":"DPoP","expires_in":60,"refresh_token":"rt-1"}`

func TestDPoP(t *testing.T) {
	srv := record(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("DPoP-Nonce", "n-next")
		io.WriteString(w, dpopAnswer)
	})
	d := bound2DPoP(t, srv.URL)
	s := sender()
	for range 2 {
		if tok := mustToken(t, s.Ask(t.Context(), d, Ask{RefreshToken: secret("r")})); tok.Scheme != "DPoP" {
			t.Errorf("scheme %q, want DPoP", tok.Scheme)
		}
	}
	prover, err := NewProver(d.DPoPKey)
	if err != nil {
		t.Fatal(err)
	}
	got := srv.requests()
	if len(got) != 2 {
		t.Fatalf("%d requests, want 2", len(got))
	}
	jkt, header, claims := proofOf(t, got[0])
	if jkt != prover.Thumbprint() || header["typ"] != "dpop+jwt" || header["alg"] != "ES256" {
		t.Errorf("proof header %v, key %s", header, jkt)
	}
	if claims["htm"] != "POST" || claims["htu"] != srv.URL+"/token" || claims["iat"] != float64(testNow.Unix()) || claims["nonce"] != nil || claims["ath"] != nil || len(claims["jti"].(string)) < 22 {
		t.Errorf("proof claims %v", claims)
	}
	if _, _, again := proofOf(t, got[1]); again["jti"] == claims["jti"] || again["nonce"] != "n-next" {
		t.Errorf("second proof %v: want a new jti and the latest nonce", again)
	}
}

func TestF44_one_repeat_for_a_nonce(t *testing.T) {
	n := 0
	endless := false
	srv := record(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("DPoP-Nonce", fmt.Sprint("n-", n))
		if endless || n == 1 {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"use_dpop_nonce"}`)
			return
		}
		io.WriteString(w, dpopAnswer)
	})
	s, d := sender(), bound2DPoP(t, srv.URL)
	ask := Ask{RefreshToken: secret("r")}
	mustToken(t, s.Ask(t.Context(), d, ask))
	got := srv.requests()
	if len(got) != 2 {
		t.Fatalf("%d requests, want 2", len(got))
	}
	if _, _, claims := proofOf(t, got[1]); claims["nonce"] != "n-1" {
		t.Errorf("repeat with nonce %v, want n-1", claims["nonce"])
	}
	endless = true
	mustFail(t, s.Ask(t.Context(), d, ask), Retryable, "use_dpop_nonce")
	if got := srv.requests(); len(got) != 4 {
		t.Errorf("%d requests for an endpoint that is never content, want 2", len(got)-2)
	}
}

func TestS15_a_bound_connection_takes_no_bearer_token(t *testing.T) {
	srv := record(t, nil) // ignores the proof: token_type Bearer
	out := sender().Ask(t.Context(), bound2DPoP(t, srv.URL), Ask{RefreshToken: secret("r")})
	mustFail(t, out, Misconfigured, "dpop_downgrade")
	if out.Salvaged.Reveal() != "rt-1" {
		t.Error("the rotated refresh token is lost")
	}
	d := bound2DPoP(t, srv.URL)
	d.DPoPKey = freshet.Secret{}
	mustFail(t, sender().Ask(t.Context(), d, Ask{RefreshToken: secret("r")}), Misconfigured, "bad_dpop_key")
	if n := len(srv.requests()); n != 1 {
		t.Errorf("%d requests, want none without a key", n-1)
	}
}

func TestProofForACall(t *testing.T) {
	d := bound2DPoP(t, "https://as.example")
	raw, err := ProofFor(d, "GET", "https://api.example/v1/me?x=1#y", secret("at-1"), "n1", testNow)
	if err != nil {
		t.Fatal(err)
	}
	_, _, claims := proofOf(t, "Dpop: "+raw+"\n")
	sum := sha256.Sum256([]byte("at-1"))
	if claims["htm"] != "GET" || claims["htu"] != "https://api.example/v1/me" || claims["nonce"] != "n1" || claims["ath"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("claims %v", claims)
	}
}

// certificate makes a client certificate with its key, as PEM.
func certificate(t *testing.T, until time.Time) (freshet.Secret, *x509.Certificate) {
	t.Helper()
	k := keys().ec
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acme client"}, NotBefore: testNow.Add(-time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return secret(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + pkcs8(k).Reveal()), leaf
}

// mtls starts a token endpoint that demands a client certificate.
func mtls(t *testing.T) (*recorder, *http.Transport) {
	r := &recorder{}
	srv := httptest.NewUnstartedServer(r)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	r.Server = srv
	r.answer = func(w http.ResponseWriter, req *http.Request) {
		sum := sha256.Sum256(req.TLS.PeerCertificates[0].Raw)
		fmt.Fprintf(w, `{"access_token":"%x","token_type":"Bearer","expires_in":60}`, sum)
	}
	return r, srv.Client().Transport.(*http.Transport)
}

func TestMutualTLS(t *testing.T) {
	srv, transport := mtls(t)
	cert, leaf := certificate(t, testNow.Add(time.Hour))
	s := New(Options{Now: clock, Version: "1.2", Transport: transport})
	d := define(srv.URL, func(d *freshet.Definition) {
		d.Client.Certificate, d.Client.Secret = cert, freshet.Secret{}
		d.Provider.ClientAuth = freshet.AuthNone
	})
	tok := mustToken(t, s.Ask(t.Context(), d, Ask{RefreshToken: secret("r")}))
	if tok.Access.Reveal() != fmt.Sprintf("%x", sha256.Sum256(leaf.Raw)) {
		t.Error("the endpoint saw another certificate")
	}
	if got := srv.requests(); len(got) != 1 || got[0] != form("/token", "grant_type=refresh_token&refresh_token=r&client_id=the+id") {
		t.Errorf("RFC 8705 §2: the request must name the client:\n%v", got)
	}
	d.Client.Certificate = freshet.Secret{}
	if out := s.Ask(t.Context(), d, Ask{RefreshToken: secret("r")}); out.Err == nil {
		t.Error("the certificate of one client served another")
	}
}

func TestF55_expired_client_certificate(t *testing.T) {
	srv, transport := mtls(t)
	s := New(Options{Now: clock, Transport: transport})
	cert, _ := certificate(t, testNow.Add(-time.Second))
	edit := func(d *freshet.Definition) { d.Client.Certificate = cert }
	e := mustFail(t, s.Ask(t.Context(), define(srv.URL, edit), Ask{RefreshToken: secret("r")}), Misconfigured, "certificate_expired")
	if !strings.Contains(e.Detail, "2026-10-21") || e.Uncertain {
		t.Errorf("error %+v", e)
	}
	cert = secret("-----BEGIN CERTIFICATE-----\nhush\n")
	mustFail(t, s.Ask(t.Context(), define(srv.URL, edit), Ask{RefreshToken: secret("r")}), Misconfigured, "bad_certificate")
	if len(srv.requests()) != 0 {
		t.Error("a request was sent")
	}
}

func TestSecrets(t *testing.T) {
	d := define("https://h.example", func(d *freshet.Definition) {
		d.Connection.Credentials = creds("password", "pw")
		d.Client.Previous = []freshet.Secret{secret("before")}
	})
	var got []string
	for _, s := range Secrets(d) {
		got = append(got, s.Reveal())
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"before", "p&ss=w%rd+é:x", "pw"}) {
		t.Errorf("Secrets = %v", got)
	}
}
