package catalog

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// The instant of these tests lies before those in the example answers.
var instant = time.Date(2025, 12, 31, 12, 0, 0, 0, time.UTC)

// A wire is a server that stands for every host there is, and a Sender whose
// connections all end there: providers keep their URLs as they are, and what
// they really send can be looked at.
type wire struct {
	sender    *grant.Sender
	transport http.RoundTripper
	answer    http.HandlerFunc
	seen      []*seen
}

type seen struct {
	method, url string // without the query
	query       string
	header      http.Header
	body        string
	params      map[string]any // of query and body together
}

func newWire(t *testing.T, answer http.HandlerFunc) *wire {
	t.Helper()
	w := &wire{answer: answer}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	srv.EnableHTTP2 = false
	srv.StartTLS()
	t.Cleanup(srv.Close)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the one certificate is for no host of the catalogue
	}
	t.Cleanup(transport.CloseIdleConnections)
	w.transport = transport
	w.sender = grant.New(grant.Options{Transport: transport, Now: func() time.Time { return instant }})
	return w
}

func (w *wire) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s := &seen{method: r.Method, url: "https://" + r.Host + r.URL.Path, query: r.URL.RawQuery, header: r.Header, body: string(body), params: map[string]any{}}
	add := func(v url.Values) {
		for k := range v {
			s.params[k] = v.Get(k)
		}
	}
	add(r.URL.Query())
	switch media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); {
	case len(body) == 0:
	case media == "application/json":
		if err := json.Unmarshal(body, &s.params); err != nil {
			s.params["bad body"] = err.Error()
		}
	case media == "application/x-www-form-urlencoded":
		v, err := url.ParseQuery(string(body))
		if err != nil {
			s.params["bad body"] = err.Error()
		}
		add(v)
	}
	w.seen = append(w.seen, s)
	w.answer(rw, r)
}

// keyPEM is the key of the client, made once: the providers here sign with RSA.
var keyPEM = sync.OnceValue(func() freshet.Secret {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return freshet.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
})

// definition is a connection to p with everything that p can ask for.
func definition(p freshet.Provider) *freshet.Definition {
	vars := map[string]string{}
	for name, v := range p.Variables {
		switch {
		case v.Default != "":
		case strings.HasPrefix(p.TokenURL, "{{"+name+"}}"):
			vars[name] = "https://" + name + ".example"
		default:
			vars[name] = name + ".example"
		}
	}
	creds := map[string]freshet.Secret{}
	for _, name := range []string{"username", "password", "api_key", "user_jwt", "access_key", "hash", "consumer_token", "employee_token", "token_name", "token_secret", "saml_assertion"} {
		if _, isVar := p.Variables[name]; !isVar {
			creds[name] = freshet.NewSecret(name + "-value")
		}
	}
	d := &freshet.Definition{
		ID:         "c-1",
		Provider:   p,
		Client:     freshet.Client{Name: "app", Provider: p.Name, ID: "client-1", Secret: freshet.NewSecret("client secret"), Key: keyPEM(), KeyID: "k1"},
		Connection: freshet.Connection{Name: "it", Client: "app", Scopes: []string{"read", "write"}, Variables: vars, Credentials: creds},
	}
	return d
}

// obtain is what a connection to p asks for first.
func obtain(p freshet.Provider) grant.Ask {
	if len(p.Grants) == 0 || p.Grants[0] == freshet.GrantAuthorizationCode {
		return grant.Ask{Code: freshet.NewSecret("code-1"), Verifier: freshet.NewSecret("verifier-1"), RedirectURI: "https://freshet.example/callback/oauth2"}
	}
	if p.Grants[0] == freshet.GrantRefreshToken {
		return grant.Ask{RefreshToken: freshet.NewSecret("rt-old")}
	}
	return grant.Ask{}
}

// exampleAnswer sends a fact's example as the provider would.
func exampleAnswer(f fact) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f.ID == "bullhorn" && strings.HasSuffix(r.URL.Path, "/login") {
			fmt.Fprint(w, `{"BhRestToken":"session-1","restUrl":"https://rest-west.bullhornstaffing.com/x/"}`)
			return
		}
		var text string
		if json.Unmarshal(f.Example, &text) == nil { // a string: the bare body
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, text)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(f.Example)
	}
}

// TestExamplesBecomeTokens asks each provider of the facts for a token as a
// connection would, and answers with the fact's example. What goes out is held
// against the fact, and so is the token that comes of the answer.
func TestExamplesBecomeTokens(t *testing.T) {
	for _, f := range facts(t) {
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			p, _ := Provider(f.ID)
			if p.Unsupported != "" {
				testUnsupported(t, f, p)
				return
			}
			w := newWire(t, exampleAnswer(f))
			d := definition(p)
			out := w.sender.Ask(t.Context(), d, obtain(p))
			if out.Err != nil {
				t.Fatalf("Ask: %v", out.Err)
			}
			checkRequest(t, f, d, w.seen[0])
			checkToken(t, f, p, out.Token)
			if want := 1; p.SecondStep == nil && len(w.seen) != want {
				t.Errorf("%d requests, want %d", len(w.seen), want)
			} else if p.SecondStep != nil && len(w.seen) != 2 {
				t.Errorf("%d requests, want the second step too", len(w.seen))
			}
		})
	}
}

// testUnsupported: a connection is refused with the reason, and the shape of
// the answer is known nevertheless, for a routine that obtains one.
func testUnsupported(t *testing.T, f fact, p freshet.Provider) {
	w := newWire(t, exampleAnswer(f))
	out := w.sender.Ask(t.Context(), definition(p), obtain(p))
	if out.Err == nil || out.Err.Class != grant.Misconfigured || !strings.Contains(out.Err.Detail, p.Unsupported[:20]) || len(w.seen) != 0 {
		t.Errorf("Ask = %v after %d requests, want a refusal with the reason and none", out.Err, len(w.seen))
	}
	rec := httptest.NewRecorder()
	exampleAnswer(f)(rec, httptest.NewRequest("GET", "/", nil))
	parsed := grant.Parse(&p, nil, freshet.Policy{}, grant.Reply{Status: 200, Header: rec.Header(), Body: rec.Body.Bytes(), SentAt: instant, Now: instant})
	if parsed.Err != nil {
		t.Fatalf("Parse: %v", parsed.Err)
	}
	checkToken(t, f, p, parsed.Token)
}

// checkRequest holds what went out against the fact.
func checkRequest(t *testing.T, f fact, d *freshet.Definition, s *seen) {
	t.Helper()
	p := d.Provider
	if !deviates(f, "token_method") && s.method != f.Method {
		t.Errorf("method %s, want %s", s.method, f.Method)
	}
	if !deviates(f, "token_url") {
		want := singleBrace.ReplaceAllStringFunc(f.TokenURL, func(b string) string {
			v, _ := d.Variable(strings.Trim(b, "{}"))
			return v
		})
		if s.url != want {
			t.Errorf("URL %s, want %s", s.url, want)
		}
	}
	if bad := s.params["bad body"]; bad != nil {
		t.Errorf("the body %q does not read: %v", s.body, bad)
	}
	switch bodies := strings.Fields(f.BodyFormat); {
	case slices.Contains(bodies, "query") && !slices.Contains(bodies, "form") && s.body != "" && !slices.Contains(bodies, "json"):
		t.Errorf("a body %q, though everything belongs into the query", s.body)
	case f.BodyFormat == "json" && !strings.HasPrefix(s.body, "{"):
		t.Errorf("the body %q is not JSON", s.body)
	case f.BodyFormat == "form" && strings.HasPrefix(s.body, "{") && !deviates(f, "body_format"):
		t.Errorf("the body %q is not a form", s.body)
	}

	name := func(standard string) string {
		if n, ok := p.ParameterNames[standard]; ok {
			return n
		}
		return standard
	}
	param := func(name string) string {
		v, ok := s.params[name]
		if !ok {
			return ""
		}
		return fmt.Sprint(v)
	}
	want := func(name, value string) {
		t.Helper()
		if name != "" && param(name) != value {
			t.Errorf("%s=%q, want %q", name, param(name), value)
		}
	}
	_, _, basic := (&http.Request{Header: s.header}).BasicAuth()
	if (d.Auth(false) == freshet.AuthBasic) != basic && f.ID != "redtail" {
		t.Errorf("Basic authentication %v, though %s", basic, f.ClientAuth)
	}
	switch d.Auth(false) {
	case freshet.AuthBody:
		want(name("client_id"), "client-1")
		want(name("client_secret"), "client secret")
	case freshet.AuthPrivateKeyJWT:
		if strings.Count(param("client_assertion"), ".") != 2 {
			t.Errorf("client_assertion %q is no JWT", param("client_assertion"))
		}
		fallthrough
	default:
		for k, v := range s.params {
			if fmt.Sprint(v) == "client secret" {
				t.Errorf("the secret went out as %s, though %s", k, f.ClientAuth)
			}
		}
	}
	g := grant.Grant(d)
	if _, own := p.Request.Params["grant_type"]; !own && g != freshet.GrantRequest && !strings.HasPrefix(p.Request.Body, "{") {
		grantType := map[freshet.GrantType]string{freshet.GrantJWTBearer: "urn:ietf:params:oauth:grant-type:jwt-bearer"}[g]
		want(name("grant_type"), or(grantType, string(g)))
	}
	if name("grant_type") == "" && param("grant_type") != "" {
		t.Errorf("grant_type=%s goes out, though there is none", param("grant_type"))
	}
	if g == freshet.GrantAuthorizationCode {
		want(name("code"), "code-1")
		if !strings.HasPrefix(p.Request.Body, "{") {
			want(name("redirect_uri"), "https://freshet.example/callback/oauth2")
		}
	}
	for k, v := range f.TokenParams {
		v := fmt.Sprint(v)
		if singleBrace.MatchString(v) {
			if param(k) == "" || strings.Contains(param(k), "{") {
				t.Errorf("%s=%q, want %s filled in", k, param(k), v)
			}
			continue
		}
		want(k, v)
	}
	for k, v := range f.ParameterNames {
		if k == "refresh_token" || k == "scope" { // of a refresh; of the authorization
			continue
		}
		if n := fmt.Sprint(v); param(n) == "" {
			t.Errorf("%s is not sent as %s", k, n)
		}
	}
}

// checkToken holds a token against the example answer that it came of.
func checkToken(t *testing.T, f fact, p freshet.Provider, tok *freshet.Token) {
	t.Helper()
	access, refresh, expiry := expected(t, f)
	if got := tok.Access.Reveal(); got != access {
		t.Errorf("access token %q, want %q", got, access)
	}
	if got := tok.Refresh.Reveal(); got != refresh {
		t.Errorf("refresh token %q, want %q", got, refresh)
	}
	if !tok.Expiry.Equal(expiry) {
		t.Errorf("expires %v, want %v", tok.Expiry, expiry)
	}
	if tok.Scheme != "Bearer" {
		t.Errorf("scheme %q, want Bearer", tok.Scheme)
	}
	if e := p.Response.RefreshExp; e.Path != "" {
		v, ok := at(f, e.Path)
		if n, isNumber := v.(float64); ok && isNumber {
			want := instant.Add(time.Duration(n) * time.Second)
			if e.Form == "at_s" {
				want = time.Unix(int64(n), 0)
			}
			if tenYears := instant.Add(3650 * day); want.After(tenYears) {
				want = tenYears // what the parser believes at most
			}
			if !tok.RefreshExpiry.Equal(want) {
				t.Errorf("the refresh token expires %v, want %v", tok.RefreshExpiry, want)
			}
		}
	}
}

// at reads a member of the example answer by the fact's own path.
func at(f fact, path string) (any, bool) {
	var v any
	if err := json.Unmarshal(f.Example, &v); err != nil {
		panic(err)
	}
	if text, ok := v.(string); ok {
		if path == "(whole body)" {
			return text, true
		}
		q, _ := url.ParseQuery(text)
		return q.Get(path), q.Has(path)
	}
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// expected works out, from the fact alone, what the example answer means.
func expected(t *testing.T, f fact) (access, refresh string, expiry time.Time) {
	path := f.Response.Access
	if f.ID == "garmin" {
		path = "oauth_token"
	}
	v, ok := at(f, path)
	if !ok {
		t.Fatalf("the example has no %s", path)
	}
	access = v.(string)
	if f.Response.Refresh != nil {
		if v, ok := at(f, *f.Response.Refresh); ok {
			refresh = v.(string)
		}
	}
	after := func(d time.Duration) time.Time { return instant.Add(d) }
	if f.Response.Expiry == nil {
		if secs, ok := f.Lifetime.(float64); ok {
			expiry = after(time.Duration(secs) * time.Second)
		}
		if f.ID == "bullhorn" {
			t.Fatal("bullhorn has an expiry")
		}
		return
	}
	if f.ID == "bullhorn" { // the session of the second step, for the ttl that is asked for
		return "session-1", refresh, after(time.Hour)
	}
	v, ok = at(f, *f.Response.Expiry)
	if !ok {
		return
	}
	var number float64
	var text string
	switch v := v.(type) {
	case float64:
		number = v
	case string:
		text = v
		fmt.Sscan(v, &number)
	}
	parse := func(layout string, zone *time.Location) time.Time {
		at, err := time.ParseInLocation(layout, text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	switch f.Response.Kind {
	case "zero means never":
	case "milliseconds":
		expiry = after(time.Duration(number) * time.Millisecond)
	case "minutes":
		expiry = after(time.Duration(number) * time.Minute)
	case "epoch_s":
		expiry = time.Unix(int64(number), 0)
	case "iso8601", "absolute":
		expiry = parse(time.RFC3339, time.UTC)
	case "date (no time)":
		oslo, err := time.LoadLocation("Europe/Oslo")
		if err != nil {
			t.Fatal(err)
		}
		expiry = parse(time.DateOnly, oslo)
	case "duration hh:mm:ss":
		expiry = after(177*time.Hour + 5*time.Minute + 38*time.Second)
	default:
		expiry = after(time.Duration(number) * time.Second)
	}
	return
}

// TestRefreshes sends a refresh of each provider that has one: the refresh
// token under its name, the parameters of a refresh, the client's
// authentication, and the example answer becomes a token again.
func TestRefreshes(t *testing.T) {
	for _, f := range facts(t) {
		p, _ := Provider(f.ID)
		d := definition(p)
		if p.Unsupported != "" || !grant.Refreshes(d) || f.Response.Refresh == nil && f.RefreshURL == nil && f.ID != "setmore" {
			continue
		}
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, exampleAnswer(f))
			held := &freshet.Token{Access: freshet.NewSecret("at-old"), Scope: "read", IssuedAt: instant, Expiry: instant.Add(time.Minute)}
			ask := grant.Ask{Previous: held, Scope: "read"}
			if f.Response.Refresh != nil || f.ID == "setmore" {
				held.Refresh = freshet.NewSecret("rt-old")
				ask.RefreshToken = held.Refresh
			}
			out := w.sender.Ask(t.Context(), d, ask)
			if out.Err != nil {
				t.Fatalf("Ask: %v", out.Err)
			}
			s := w.seen[0]
			sent := func(name string) string {
				if v, ok := s.params[name]; ok {
					return fmt.Sprint(v)
				}
				return ""
			}
			if f.RefreshURL != nil {
				checkRefreshURL(t, f, s, sent)
				if f.Response.Refresh == nil {
					if len(w.seen) != 1 {
						t.Errorf("%d requests, want 1: the second step is for a code only", len(w.seen))
					}
					return
				}
			} else if want := fill(p, p.TokenURL, f.TokenURL); !strings.Contains(want, "{") && s.url != want {
				t.Errorf("URL %s, want %s", s.url, want)
			}
			name := or(p.ParameterNames["refresh_token"], "refresh_token")
			if sent(name) != "rt-old" {
				t.Errorf("%s=%q, want the refresh token (%v)", name, sent(name), slices.Sorted(maps.Keys(s.params)))
			}
			if n, renamed := p.ParameterNames["grant_type"]; !renamed && sent("grant_type") != "refresh_token" || renamed && n == "" && sent("grant_type") != "" {
				t.Errorf("grant_type=%q", sent("grant_type"))
			}
			for k, v := range f.RefreshParams {
				switch v := fmt.Sprint(v); {
				case k == "scope":
					if sent(k) != "read" {
						t.Errorf("scope=%q, want the stored one", sent(k))
					}
				case singleBrace.MatchString(v):
					if sent(k) == "" || strings.Contains(sent(k), "{") {
						t.Errorf("%s=%q, want %s filled in", k, sent(k), v)
					}
				case sent(k) != v:
					t.Errorf("%s=%q, want %q", k, sent(k), v)
				}
			}
			_, _, basic := (&http.Request{Header: s.header}).BasicAuth()
			if wantBasic := d.Auth(true) == freshet.AuthBasic; basic != wantBasic {
				t.Errorf("Basic authentication %v, though %s", basic, f.ClientAuth)
			}
			checkToken(t, f, p, out.Token)
		})
	}
}

func checkRefreshURL(t *testing.T, f fact, s *seen, sent func(string) string) {
	t.Helper()
	if strings.HasPrefix(*f.RefreshURL, "https:") {
		if s.url != *f.RefreshURL {
			t.Errorf("URL %s, want %s", s.url, *f.RefreshURL)
		}
		return
	}
	rest, isGet := strings.CutPrefix(*f.RefreshURL, "GET ")
	u, query, hasQuery := strings.Cut(rest, "?")
	if !hasQuery {
		u, query = f.TokenURL, strings.TrimPrefix(rest, "token_url with ")
	}
	if s.url != u || isGet && s.method != "GET" {
		t.Errorf("%s %s, want %s", s.method, s.url, *f.RefreshURL)
	}
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if v == "" || v == "{access_token}" {
			v = "at-old"
		}
		if sent(k) != v {
			t.Errorf("%s=%q, want %q", k, sent(k), v)
		}
	}
}

// TestErrorsAreErrors serves each provider's own refusals to a refresh, or to a
// login where there is none, and wants an error of the class that it is.
func TestErrorsAreErrors(t *testing.T) {
	classes := map[string]grant.Class{ // of the facts' examples
		"github-oauth": grant.Permanent, "github-app-user": grant.Permanent, "slack": grant.Permanent, "facebook": grant.Permanent,
		"tiktok-ads": grant.Permanent, "wechat-official": grant.Misconfigured, "hubspot": grant.Permanent, "salesforce": grant.Permanent,
		"zoho": grant.Permanent, "withings": grant.Permanent, "naver": grant.Permanent,
	}
	// What the facts tell in words only.
	own := map[string]string{
		"deezer":          "wrong code",
		"tiktok-accounts": `{"code":40110,"message":"Refresh token is expired","data":{}}`,
		"passportal":      `{"success":false,"access_token":"x"}`,
	}
	n := 0
	for _, f := range facts(t) {
		body := string(f.Error.Example)
		if body == "" || body == "null" {
			body = own[f.ID]
		}
		if body == "" {
			continue
		}
		n++
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			p, _ := Provider(f.ID)
			status := 400
			if f.Error.In200 || f.ID == "passportal" {
				status = 200
			}
			w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, body)
			})
			d := definition(p)
			ask := obtain(p)
			if f.Response.Refresh != nil && grant.Refreshes(d) {
				ask = grant.Ask{RefreshToken: freshet.NewSecret("rt-old"), Previous: &freshet.Token{Access: freshet.NewSecret("at-old"), Refresh: freshet.NewSecret("rt-old")}}
			}
			out := w.sender.Ask(t.Context(), d, ask)
			if out.Err == nil {
				t.Fatalf("%s is taken for a token", body)
			}
			if want, ok := classes[f.ID]; ok && out.Err.Class != want {
				t.Errorf("%s is %s (%s), want %s", body, out.Err.Class, out.Err.Code, want)
			}
			if f.ID == "welink" && out.Err.Code != "41501" {
				t.Errorf("code %s, want the provider's own", out.Err.Code)
			}
			if len(w.seen) != 1 {
				t.Errorf("%d requests, want 1", len(w.seen))
			}
		})
	}
	if n < 17 {
		t.Errorf("%d refusals were tried, want 14 of the facts and ours", n)
	}
}
