package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// An issuerServer publishes metadata that a test may bend.
type issuerServer struct {
	*recorder
	mu     sync.Mutex
	now    time.Time
	meta   map[string]any
	path   string // of the metadata
	status int    // of the metadata; 0: 200
	keys   string
	answer string // of the token endpoint
}

func publish(t *testing.T) *issuerServer {
	t.Helper()
	p := &issuerServer{now: testNow, path: "/.well-known/openid-configuration", answer: goodAnswer}
	p.recorder = record(t, func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch r.URL.Path {
		case p.path:
			if p.status != 0 {
				w.WriteHeader(p.status)
				return
			}
			json.NewEncoder(w).Encode(p.meta)
		case "/jwks":
			if p.keys == "" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			io.WriteString(w, p.keys)
		case "/token", "/moved":
			io.WriteString(w, p.answer)
		case "/device":
			io.WriteString(w, `{"device_code":"dc","user_code":"ABCD","verification_uri":"`+p.URL+`/activate","expires_in":600}`)
		case "/revoke":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	p.meta = map[string]any{"issuer": p.URL, "token_endpoint": p.URL + "/token", "authorization_endpoint": p.URL + "/authorize?a=b", "device_authorization_endpoint": p.URL + "/device",
		"revocation_endpoint": p.URL + "/revoke", "jwks_uri": p.URL + "/jwks", "authorization_response_iss_parameter_supported": true}
	return p
}

func (p *issuerServer) sender() *Sender {
	return New(Options{Now: func() time.Time { p.mu.Lock(); defer p.mu.Unlock(); return p.now }, Version: "1.2"})
}

func (p *issuerServer) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

// of returns a definition that knows only the issuer.
func (p *issuerServer) of() *freshet.Definition {
	return define("", func(d *freshet.Definition) { d.Provider.TokenURL, d.Provider.Issuer = "", p.URL })
}

// asked counts recorded requests whose line begins with prefix.
func (r *recorder) asked(prefix string) (n int) {
	for _, s := range r.requests() {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func TestDiscoveryFillsEmptyURLs(t *testing.T) {
	p := publish(t)
	s, d := p.sender(), p.of()
	mustToken(t, s.Ask(t.Context(), d, spend))
	mustToken(t, s.Ask(t.Context(), d, spend))
	if n, m := p.asked("POST /token"), p.asked("GET /.well-known"); n != 2 || m != 1 {
		t.Errorf("%d token requests and %d of metadata, want 2 and 1", n, m)
	}
	if got := p.requests()[0]; got != strings.Replace(bare("GET", "/.well-known/openid-configuration"), "Content-Length: 0\n", "", 1) {
		t.Errorf("discovery request:\n%s", got)
	}
	if dev, err := s.StartDevice(t.Context(), d); err != nil || dev.UserCode != "ABCD" {
		t.Errorf("StartDevice = %+v, %v", dev, err)
	}
	link, err := s.AuthorizeURL(t.Context(), d, AuthorizeParams{State: strings.Repeat("s", 22), Verifier: NewVerifier()})
	if err != nil || !strings.HasPrefix(link, p.URL+"/authorize?a=b&response_type=code&") {
		t.Errorf("AuthorizeURL = %s, %v", link, err)
	}
	if err := s.Revoke(t.Context(), d, &freshet.Token{Refresh: secret("r")}); err != nil || p.asked("POST /revoke") != 1 {
		t.Errorf("Revoke = %v", err)
	}
	t.Run("what is configured goes before", func(t *testing.T) {
		other := record(t, nil)
		d := p.of()
		d.Provider.TokenURL = other.URL + "/token"
		mustToken(t, s.Ask(t.Context(), d, spend))
		if len(other.requests()) != 1 {
			t.Error("the configured token URL was not asked")
		}
	})
}

func TestDiscoveryPlaces(t *testing.T) {
	for _, c := range []struct{ name, issuer, path string }{
		{"OpenID Connect", "/", "/.well-known/openid-configuration"},
		{"OpenID Connect below a path", "/realms/a", "/realms/a/.well-known/openid-configuration"},
		{"RFC 8414", "", "/.well-known/oauth-authorization-server"},
		{"RFC 8414 below a path", "/realms/a", "/.well-known/oauth-authorization-server/realms/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t)
			p.path, p.meta["issuer"] = c.path, p.URL+c.issuer
			d := p.of()
			d.Provider.Issuer += c.issuer
			mustToken(t, p.sender().Ask(t.Context(), d, spend))
		})
	}
}

func TestS05_false_metadata(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(*issuerServer)
		code string
	}{
		{"DiscoveryIssuerMismatch", func(p *issuerServer) { p.meta["issuer"] = "https://evil.example" }, "issuer_mismatch"},
		{"trailing slash", func(p *issuerServer) { p.meta["issuer"] = p.URL + "/" }, "issuer_mismatch"},
		{"no issuer", func(p *issuerServer) { delete(p.meta, "issuer") }, "issuer_mismatch"},
		{"user in an endpoint", func(p *issuerServer) { p.meta["token_endpoint"] = "https://x@evil.example/token" }, "bad_url"},
		{"scheme of an endpoint", func(p *issuerServer) { p.meta["jwks_uri"] = "file:///etc/passwd" }, "bad_url"},
		{"no token endpoint", func(p *issuerServer) { delete(p.meta, "token_endpoint") }, "no_token_url"},
		{"not there", func(p *issuerServer) { p.path = "/elsewhere" }, "discovery_failed"},
		{"redirected", func(p *issuerServer) { p.status = 302 }, "discovery_failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t)
			c.bend(p)
			mustFail(t, p.sender().Ask(t.Context(), p.of(), spend), Misconfigured, c.code)
			if n := p.asked("POST"); n != 0 {
				t.Errorf("%d token requests were sent", n)
			}
		})
	}
	t.Run("http endpoint of an https issuer", func(t *testing.T) {
		srv := httptest.NewTLSServer(nil)
		defer srv.Close()
		srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":"http://as.example/token"}`, srv.URL)
		})
		s := New(Options{Transport: srv.Client().Transport})
		var e *Error
		if _, err := s.Discover(t.Context(), srv.URL); !errors.As(err, &e) || e.Code != "bad_url" {
			t.Errorf("Discover = %v", err)
		}
	})
	t.Run("issuer with a query", func(t *testing.T) {
		if _, err := sender().Discover(t.Context(), "https://as.example/?x=1"); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("token endpoint moves to another host", func(t *testing.T) {
		p := publish(t)
		s, d := p.sender(), p.of()
		mustToken(t, s.Ask(t.Context(), d, spend))
		other := record(t, nil)
		p.set(func() { p.meta["token_endpoint"] = other.URL + "/moved" })
		mustToken(t, s.Ask(t.Context(), d, spend)) // metadata are kept for a while
		p.set(func() { p.now = p.now.Add(2 * time.Hour) })
		e := mustFail(t, s.Ask(t.Context(), d, spend), Misconfigured, "token_endpoint_moved")
		if len(other.requests()) != 0 {
			t.Fatal("the secrets followed")
		}
		u, _ := url.Parse(other.URL)
		if !strings.Contains(e.Detail, u.Host) {
			t.Errorf("detail %q does not say where to", e.Detail)
		}
		s.Trust(p.URL, u.Host)
		mustToken(t, s.Ask(t.Context(), d, spend))
		if len(other.requests()) != 1 {
			t.Error("approved, but not followed")
		}
	})
	t.Run("what was known before a restart", func(t *testing.T) {
		p := publish(t)
		s := p.sender()
		s.Trust(p.URL, "as.example")
		mustFail(t, s.Ask(t.Context(), p.of(), spend), Misconfigured, "token_endpoint_moved")
	})
	t.Run("another path at the same host is followed", func(t *testing.T) {
		p := publish(t)
		s, d := p.sender(), p.of()
		mustToken(t, s.Ask(t.Context(), d, spend))
		p.set(func() { p.meta["token_endpoint"] = p.URL + "/moved"; p.now = p.now.Add(2 * time.Hour) })
		mustToken(t, s.Ask(t.Context(), d, spend))
		if p.asked("POST /moved") != 1 {
			t.Error("not followed")
		}
	})
}

func TestDiscoveryOutage(t *testing.T) {
	p := publish(t)
	s, d := p.sender(), p.of()
	p.set(func() { p.status = 503 })
	if e := mustFail(t, s.Ask(t.Context(), d, spend), Retryable, "discovery_failed"); e.Uncertain {
		t.Error("uncertain, but no token was asked for")
	}
	mustFail(t, s.Ask(t.Context(), d, spend), Retryable, "discovery_failed")
	if n := p.asked("GET"); n != 1 {
		t.Errorf("%d fetches in a moment of outage, want 1", n)
	}
	p.set(func() { p.status, p.now = 0, p.now.Add(3*time.Second) })
	mustToken(t, s.Ask(t.Context(), d, spend))
	p.set(func() { p.status, p.now = 503, p.now.Add(24*time.Hour) })
	mustToken(t, s.Ask(t.Context(), d, spend)) // the former metadata serve
	p.set(func() { p.now = p.now.Add(8 * 24 * time.Hour) })
	mustFail(t, s.Ask(t.Context(), d, spend), Retryable, "discovery_failed")
}

func TestDiscoveryIsSharedAndCanBeLeft(t *testing.T) {
	p := publish(t)
	hold, entered := make(chan struct{}), make(chan struct{}, 100)
	answer := p.recorder.answer
	p.recorder.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			entered <- struct{}{}
			<-hold
		}
		answer(w, r)
	}
	s, d := p.sender(), p.of()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if out := s.Ask(t.Context(), d, spend); out.Err != nil {
				t.Error(out.Err)
			}
		})
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Discover(ctx, p.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who leaves is kept: %v", err)
	}
	close(hold)
	wg.Wait()
	if n := p.asked("GET"); n != 1 {
		t.Errorf("%d fetches for 20 callers, want 1", n)
	}
}

func TestMTLSAliases(t *testing.T) {
	cert, _ := certificate(t, testNow.Add(time.Hour))
	m := &Metadata{MTLS: map[string]string{"token_endpoint": "https://mtls.example/token"}}
	d := define("", nil)
	if got := m.endpoint(d, "https://as.example/token", "token_endpoint"); got != "https://as.example/token" {
		t.Errorf("without a certificate: %s", got)
	}
	d.Client.Certificate = cert
	if got := m.endpoint(d, "https://as.example/token", "token_endpoint"); got != "https://mtls.example/token" {
		t.Errorf("with a certificate: %s", got)
	}
	if got := m.endpoint(d, "https://as.example/revoke", "revocation_endpoint"); got != "https://as.example/revoke" {
		t.Errorf("without an alias: %s", got)
	}
}

func TestIssuerWithVariables(t *testing.T) {
	p := publish(t)
	u, _ := url.Parse(p.URL)
	d := p.of()
	d.Provider.Issuer = "http://{{domain}}"
	mustFail(t, p.sender().Ask(t.Context(), d, spend), Misconfigured, "missing_value")
	d.Connection.Variables = map[string]string{"domain": u.Host}
	mustToken(t, p.sender().Ask(t.Context(), d, spend))
}

// with returns a copy of m in which some members are others.
func with(m map[string]any, kv ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == nil {
			delete(m, kv[i].(string))
			continue
		}
		m[kv[i].(string)] = kv[i+1]
	}
	return m
}
