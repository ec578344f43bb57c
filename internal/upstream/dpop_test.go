package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/grant"
)

func boundAccount(t *testing.T, base string) *account {
	t.Helper()
	key, err := grant.NewDPoPKey()
	if err != nil {
		t.Fatal(err)
	}
	acc := newAccount(&freshet.API{BaseURL: base})
	acc.def.Client.DPoP, acc.def.DPoPKey = true, key
	acc.issue = func(gen int64) *freshet.Token {
		return &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("bound-%d", gen)), Type: "DPoP", Scheme: "DPoP", Generation: gen}
	}
	acc.tok = acc.issue(1)
	return acc
}

// proof checks a DPoP header as an API would, and returns its nonce.
func proof(t *testing.T, r *http.Request, method, target, token string) (nonce, jti string) {
	t.Helper()
	if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "DPoP "+token {
		t.Errorf("Authorization = %q, want DPoP %s", got, token)
	}
	vv := r.Header["Dpop"]
	if len(vv) != 1 {
		t.Fatalf("%d proofs", len(vv))
	}
	sig, err := jose.ParseSigned(vv[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	h := sig.Signatures[0].Header
	body, err := sig.Verify(h.JSONWebKey)
	if err != nil {
		t.Fatalf("the proof does not verify: %v", err)
	}
	var c struct{ Htm, Htu, Ath, Nonce, Jti string }
	if err := json.Unmarshal(body, &c); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(token))
	if c.Htm != method || c.Htu != target || c.Ath != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("proof is for %s %s with %s", c.Htm, c.Htu, c.Ath)
	}
	return c.Nonce, c.Jti
}

func TestS15_bound_tokens_never_go_as_bearer(t *testing.T) {
	t.Run("S15 a proof for each send, the replay too", func(t *testing.T) {
		api := newAPI(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
				w.WriteHeader(401)
			}
		})
		acc := boundAccount(t, api.URL+"/v1")
		got := do(t, newTransport(t), acc, &Call{Method: "POST", Target: "/a%2Fb?x=1", Header: http.Header{"Dpop": {"forged"}}})
		if got.status != 200 || api.calls() != 2 || acc.count() != 1 {
			t.Fatalf("answer %d after %d calls", got.status, api.calls())
		}
		one, _ := api.call(0)
		two, _ := api.call(1)
		_, a := proof(t, one, "POST", api.URL+"/v1/a%2Fb", "bound-1")
		_, b := proof(t, two, "POST", api.URL+"/v1/a%2Fb", "bound-2")
		if a == b {
			t.Error("one proof was used twice")
		}
	})
	t.Run("S15 a nonce that the API wants", func(t *testing.T) {
		api := newAPI(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("DPoP-Nonce", "n1")
			if n == 1 {
				w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				w.WriteHeader(401)
			}
		})
		acc := boundAccount(t, api.URL)
		tr := newTransport(t)
		body := "again"
		got := do(t, tr, acc, &Call{Method: "POST", Target: "/", Body: strings.NewReader(body), Length: 5})
		if got.status != 200 || api.calls() != 2 || acc.count() != 0 || got.Refreshed || got.Rejected != 0 {
			t.Fatalf("answer %d after %d calls and %d refreshes", got.status, api.calls(), acc.count())
		}
		r, b := api.call(1)
		if n, _ := proof(t, r, "POST", api.URL+"/", "bound-1"); n != "n1" || b != body {
			t.Errorf("the second send has nonce %q and body %q", n, b)
		}
		do(t, tr, acc, &Call{Target: "/"})
		r, _ = api.call(2)
		if n, _ := proof(t, r, "GET", api.URL+"/", "bound-1"); n != "n1" {
			t.Errorf("the next call has nonce %q", n)
		}
	})
	t.Run("S15 endless nonces end after two sends", func(t *testing.T) {
		api := newAPI(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("DPoP-Nonce", fmt.Sprint("n", n))
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(401)
		})
		acc := boundAccount(t, api.URL)
		if got := do(t, newTransport(t), acc, &Call{Target: "/"}); got.status != 401 || api.calls() != 2 || acc.count() != 0 {
			t.Errorf("answer %d after %d calls and %d refreshes", got.status, api.calls(), acc.count())
		}
	})
	t.Run("S15 a nonce, then a refused token", func(t *testing.T) {
		api := newAPI(t, func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				w.Header().Set("DPoP-Nonce", "n1")
				w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				w.WriteHeader(401)
			case 2:
				w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
				w.WriteHeader(401)
			}
		})
		acc := boundAccount(t, api.URL)
		got := do(t, newTransport(t), acc, &Call{Method: "POST", Target: "/", Body: stream(strings.NewReader("thrice")), Length: -1})
		if got.status != 200 || api.calls() != 3 || acc.count() != 1 {
			t.Fatalf("answer %d after %d calls and %d refreshes", got.status, api.calls(), acc.count())
		}
		if _, b := api.call(2); b != "thrice" {
			t.Errorf("the third send carried %q", b)
		}
	})
	api := newAPI(t, nil)
	for _, tt := range []struct {
		name  string
		build func(*account)
	}{
		{"S15 the provider issued a bearer token", func(a *account) { a.tok.Scheme, a.tok.Type = "Bearer", "bearer" }},
		{"S15 a template that says Bearer", func(a *account) {
			a.def.Connection.API.Inject = freshet.Injections{{Header: "Authorization", Template: "Bearer {{access_token}}"}}
		}},
		{"S15 a template that says nothing", func(a *account) {
			a.def.Connection.API.Inject = freshet.Injections{{Header: "Authorization", Template: "{{access_token}}"}}
		}},
		{"S15 in the query", func(a *account) { a.def.Connection.API.Inject = freshet.Injections{{Query: "access_token"}} }},
		{"S15 in a second place", func(a *account) {
			a.def.Connection.API.Inject = freshet.Injections{{Header: "Authorization"}, {Header: "X-Token"}}
		}},
		{"S15 no key", func(a *account) { a.def.DPoPKey = freshet.Secret{} }},
		{"S15 no key and a client that did not ask", func(a *account) { a.def.DPoPKey, a.def.Client.DPoP = freshet.Secret{}, false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			acc := boundAccount(t, api.URL)
			tt.build(acc)
			if got := refusal(t, newTransport(t), acc, &Call{Target: "/"}); got != Misconfigured {
				t.Errorf("%q, want a refusal", got)
			}
		})
	}
	if n := api.calls(); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

// RFC 8705: the token is bound to a certificate, which the call shows.
func TestS15_client_certificate(t *testing.T) {
	var shown int
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { shown = len(r.TLS.PeerCertificates) }))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	g, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}, RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	tr := New(Options{Dialer: g, Now: time.Now})
	cert := srv.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	plain, mutual := newAccount(&freshet.API{BaseURL: srv.URL}), newAccount(&freshet.API{BaseURL: srv.URL})
	mutual.def.ID, mutual.def.Client.Certificate = "c2", freshet.NewSecret(string(both))
	for range 2 {
		if do(t, tr, mutual, &Call{Target: "/"}); shown != 1 {
			t.Errorf("%d certificates were shown, want 1", shown)
		}
		if do(t, tr, plain, &Call{Target: "/"}); shown != 0 {
			t.Errorf("%d certificates were shown for a connection that has none", shown)
		}
	}
	mutual.def = &freshet.Definition{ID: "c3", Connection: mutual.def.Connection, Client: freshet.Client{Certificate: freshet.NewSecret("nonsense")}}
	if got := refusal(t, tr, mutual, &Call{Target: "/"}); got != Misconfigured {
		t.Errorf("a certificate that does not open: %q", got)
	}
}
