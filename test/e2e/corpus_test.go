package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

// TestCorpus has the running binary ask for a token at an endpoint that answers
// as each case of the corpus says. One server holds them all; each case has a
// provider, a client and a connection of its own, so that none can change what
// becomes of another.
func TestCorpus(t *testing.T) {
	t.Parallel()
	c := newCorpus(t)
	t.Run("cases", func(t *testing.T) {
		for _, e := range c.entries {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				e.play(t, c)
			})
		}
	})
	c.search(t)
}

// A corpus is the server with its cases.
type corpus struct {
	*server
	entries []*entry
	front   *httptest.Server // what providers have besides token endpoints

	mu      sync.Mutex
	revoked map[string][]string // connection → tokens that were revoked, in order
}

// An entry is one case, played by one connection.
type entry struct {
	granttest.Case
	name     string
	grant    freshet.GrantType
	endpoint *granttest.Endpoint
}

func newCorpus(t *testing.T) *corpus {
	c := &corpus{revoked: map[string][]string{}}
	c.front = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.front.Close)
	providers, clients, connections := map[string]any{}, map[string]any{}, map[string]any{}
	for _, one := range granttest.Load(t) {
		one = today(one)
		// A stored refresh token belongs to one of two grants: one that a person
		// gave in a browser, and one that was pasted in.
		for _, g := range c.grants(one) {
			e := &entry{Case: one, name: strings.ReplaceAll(string(g), "_", "-") + "." + one.ID, grant: g, endpoint: granttest.Serve(t, one)}
			d := one.Definition(e.endpoint.URL)
			p := d.Provider
			p.Grants = nil
			p.TokenURL = strings.Replace(p.TokenURL, "http://no-such-host", "https://no-such-host", 1)
			p.AuthorizationURL, p.DeviceAuthorizationURL, p.RevocationURL = c.front.URL+"/authorize", c.front.URL+"/device", c.front.URL+"/revoke/"+e.name
			client := map[string]any{"provider": e.name, "id": "client-1", "secret": "client-secret-1", "dpop": d.Client.DPoP}
			if !d.Client.Key.IsZero() {
				client["key"] = d.Client.Key.Reveal()
			}
			connection := map[string]any{"client": e.name, "grant": g}
			credentials := map[string]string{}
			for k, v := range d.Connection.Credentials {
				credentials[k] = v.Reveal()
			}
			if len(credentials) > 0 {
				connection["credentials"] = credentials
			}
			providers[e.name], clients[e.name], connections[e.name] = p, client, connection
			c.entries = append(c.entries, e)
		}
	}
	// A date that is a minute ahead waits for nobody: those who say one go first.
	slices.SortStableFunc(c.entries, func(a, b *entry) int {
		dated := func(e *entry) int {
			for _, v := range e.Headers {
				if _, err := http.ParseTime(v); err == nil {
					return 0
				}
			}
			return 1
		}
		return dated(a) - dated(b)
	})
	config, err := json.Marshal(map[string]any{
		"network":   map[string]any{"allow": []string{"127.0.0.0/8"}},
		"providers": providers, "clients": clients, "connections": connections,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.server = start(t, setup{config: string(config), args: []string{"--audit", "strict", "--metrics-listen", free(t)}})
	return c
}

func (c *corpus) grants(one granttest.Case) []freshet.GrantType {
	if one.Refreshes() {
		return []freshet.GrantType{freshet.GrantRefreshToken, freshet.GrantAuthorizationCode}
	}
	return []freshet.GrantType{one.Grant()}
}

// today moves the dates of a case's header from the corpus's clock to ours: the
// binary has no other.
func today(c granttest.Case) granttest.Case {
	headers := map[string]string{}
	for k, v := range c.Headers {
		if at, err := http.ParseTime(v); err == nil {
			v = at.Add(time.Since(granttest.Clock)).UTC().Format(http.TimeFormat)
		}
		headers[k] = v
	}
	c.Headers = headers
	return c
}

// serve is what a provider has besides its token endpoint: a page where
// everybody agrees at once, device codes, and revocation, whose requests show
// what the server holds.
func (c *corpus) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/authorize":
		to, err := url.Parse(r.URL.Query().Get("redirect_uri"))
		if err != nil {
			http.Error(w, "redirect_uri", http.StatusBadRequest)
			return
		}
		to.RawQuery = url.Values{"code": {"code-1"}, "state": {r.URL.Query().Get("state")}}.Encode()
		http.Redirect(w, r, to.String(), http.StatusFound)
	case r.URL.Path == "/device":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"device_code":"device-code-1","user_code":"ABCD-EFGH","verification_uri":"https://device.example/","expires_in":600,"interval":1}`)
	case strings.HasPrefix(r.URL.Path, "/revoke/"):
		c.mu.Lock()
		name := strings.TrimPrefix(r.URL.Path, "/revoke/")
		c.revoked[name] = append(c.revoked[name], r.PostFormValue("token"))
		c.mu.Unlock()
	default:
		http.NotFound(w, r)
	}
}

// play makes the case happen and looks at everything that can be seen of it
// from outside.
func (e *entry) play(t *testing.T, c *corpus) {
	before := int64(0)
	var tok api.Token
	var problem *api.Problem
	var asked, answered time.Time
	switch e.grant {
	case freshet.GrantAuthorizationCode, freshet.GrantRefreshToken:
		if e.Refreshes() {
			c.put(t, e.name, map[string]any{"access_token": granttest.OldAccess, "refresh_token": granttest.OldRefresh, "token_type": "Bearer", "expires_in": 0})
			before = 1
			break
		}
		e.connect(t, c, false)
	case freshet.GrantDeviceCode:
		e.connect(t, c, true)
	}
	interactive := !e.Refreshes() && (e.grant == freshet.GrantAuthorizationCode || e.grant == freshet.GrantDeviceCode)
	if !interactive {
		asked = time.Now()
		tok, problem = c.refresh(t, e.name)
		answered = time.Now()
	}
	// What is retryable is asked for again in the background, a second later at
	// the earliest: count first.
	if got, want := e.endpoint.Requests(), e.requests(); got != want {
		t.Errorf("%d requests reached the token endpoint, want %d", got, want)
	}
	conn := c.connection(t, e.name)
	if e.Expected.Outcome == "token" {
		if problem != nil {
			t.Fatalf("%v (%+v), want a token", problem, conn.LastError)
		}
		if interactive {
			tok = c.token(t, e.name)
		}
		e.checkToken(t, c, conn, tok, before, asked, answered)
	} else {
		e.checkError(t, c, conn, problem, before, interactive)
	}
	e.checkRefreshToken(t, c, conn)
}

// requests is how many requests the case may cause.
func (e *entry) requests() int {
	if e.Expected.RetryWith == "dpop_nonce" {
		return 2
	}
	if e.Transport != nil {
		switch e.Transport.Mode {
		case "refuse", "dns_fail", "tls_unknown_ca", "tls_handshake_reset":
			return 0
		}
	}
	return 1
}

// connect takes the connection through an authorization, which ends well or
// badly as the case says.
func (e *entry) connect(t *testing.T, c *corpus, device bool) {
	t.Helper()
	f, err := c.client.Connect(t.Context(), e.name, api.ConnectRequest{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	if !device {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Jar: jar}).Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	want := api.FlowDone
	if e.Expected.Outcome != "token" {
		want = api.FlowFailed
	}
	eventually(t, "the authorization ends", func() error {
		now, err := c.client.Flow(t.Context(), f.Flow, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if now.State == api.FlowPending {
			return errors.New("it is pending")
		}
		if now.State != want {
			t.Fatalf("the authorization is %s (%s), want %s", now.State, now.Detail, want)
		}
		for _, secret := range e.Secrets() {
			if strings.Contains(now.Detail, secret) {
				t.Errorf("the flow's detail shows %q", secret)
			}
		}
		return nil
	})
}

func (e *entry) checkToken(t *testing.T, c *corpus, conn api.Connection, tok api.Token, before int64, asked, answered time.Time) {
	t.Helper()
	w := e.Expected
	if conn.State != "ok" || conn.LastError != nil || conn.Generation != before+1 {
		t.Errorf("state %s (%s), generation %d, last error %+v: want ok, %d, none", conn.State, conn.Reason, conn.Generation, conn.LastError, before+1)
	}
	read := tok
	if w.ExpiresIn == nil || *w.ExpiresIn > 60 {
		read = c.token(t, e.name) // the door that programs come through
	}
	for _, tok := range []api.Token{tok, read} {
		if tok.AccessToken != w.AccessToken {
			t.Errorf("access token %q, want %q", tok.AccessToken, w.AccessToken)
		}
		if tok.Generation != before+1 {
			t.Errorf("generation %d, want %d", tok.Generation, before+1)
		}
		if w.Scheme != nil && tok.TokenType != *w.Scheme {
			t.Errorf("token_type %q, want %q", tok.TokenType, *w.Scheme)
		}
		if w.Scope != nil && tok.Scope != *w.Scope {
			t.Errorf("scope %q, want %q", tok.Scope, *w.Scope)
		}
		switch {
		case w.ExpiresIn == nil && tok.ExpiresAt != nil:
			t.Errorf("expires at %v, want unknown", tok.ExpiresAt)
		case w.ExpiresIn != nil && tok.ExpiresAt == nil:
			t.Errorf("expiry unknown, want %d s", *w.ExpiresIn)
		case w.ExpiresIn != nil && !asked.IsZero():
			// The lifetime counts from the send, which lies between the two.
			life := time.Duration(*w.ExpiresIn) * time.Second
			if tok.ExpiresAt.Before(asked.Add(life-time.Second)) || tok.ExpiresAt.After(answered.Add(life)) {
				t.Errorf("expires at %v, want %d s after the send, at about %v", tok.ExpiresAt, *w.ExpiresIn, asked)
			}
		}
	}
	if w.RefreshExpires != nil && conn.RefreshExpiresAt == nil {
		t.Errorf("the refresh token's end is unknown, want %d s", *w.RefreshExpires)
	}
	e.checkFlags(t, c, "token.refreshed", "token.obtained", "connection.connected")
}

func (e *entry) checkError(t *testing.T, c *corpus, conn api.Connection, problem *api.Problem, before int64, interactive bool) {
	t.Helper()
	w := e.Expected
	generation := before
	if w.RefreshAction == "rotated" {
		generation++ // what was salvaged is stored
	}
	if conn.Generation != generation {
		t.Errorf("generation %d, want %d", conn.Generation, generation)
	}
	if interactive {
		// A person who was refused may try again: nothing was granted yet, and
		// nothing is lost.
		if conn.State != "reauth" || conn.Reason != "never_authorized" {
			t.Errorf("state %s (%s), want reauth (never_authorized)", conn.State, conn.Reason)
		}
		return
	}
	if problem == nil {
		t.Fatalf("a token, want error %s", w.Code)
	}
	state, status := "", 0
	switch w.Class {
	case "permanent":
		state, status = "reauth", http.StatusConflict
	case "misconfigured":
		state, status = "misconfigured", http.StatusFailedDependency
	default:
		state, status = "ok", http.StatusServiceUnavailable
		if w.Uncertain && e.Refreshes() && w.RefreshAction != "rotated" {
			state = "uncertain"
		}
		if problem.RetryAfter <= 0 {
			t.Error("the answer has no Retry-After")
		}
	}
	if conn.State != state {
		t.Errorf("state %s (%s), want %s", conn.State, conn.Reason, state)
	}
	if problem.Status != status {
		t.Errorf("answered %d (%s), want %d", problem.Status, problem.Detail, status)
	}
	f := conn.LastError
	if f == nil {
		t.Fatal("there is no last_error")
	}
	if f.Class != w.Class || f.Code != w.Code || f.Uncertain != w.Uncertain {
		t.Errorf("last_error %s %s uncertain=%v, want %s %s uncertain=%v", f.Class, f.Code, f.Uncertain, w.Class, w.Code, w.Uncertain)
	}
	if e.Status != 0 && e.Transport == nil && f.Status != e.Status {
		t.Errorf("last_error has HTTP %d, want %d", f.Status, e.Status)
	}
	wait := int64(0)
	if w.RetryAfter != nil {
		wait = *w.RetryAfter
	}
	slack := int64(0)
	if slices.ContainsFunc(slices.Collect(values(e.Headers)), isDate) {
		slack = within.Milliseconds() / 1000 // a date: time passed since the case was made
	}
	if f.RetryAfter > wait || f.RetryAfter < wait-slack {
		t.Errorf("last_error has retry_after_s %d, want %d", f.RetryAfter, wait)
	}
	if w.RetryAfter != nil && problem.RetryAfter < time.Duration(f.RetryAfter-5)*time.Second {
		t.Errorf("Retry-After %v, want what the provider asked for, %d s", problem.RetryAfter, f.RetryAfter)
	}
	if flags, want := sorted(f.Flags), sorted(w.Flags); !slices.Equal(flags, want) {
		t.Errorf("last_error has flags %q, want %q", flags, want)
	}
	if w.Class == "permanent" && problem.ConnectURL == "" {
		t.Error("the answer has no connect_url")
	}
	for _, secret := range e.Secrets() {
		if b, _ := json.Marshal(problem); strings.Contains(string(b), secret) || strings.Contains(f.Detail, secret) {
			t.Errorf("the error shows %q: %s", secret, b)
		}
	}
	e.checkFlags(t, c, "refresh.failed", "refresh.uncertain")
}

// checkFlags looks for the case's oddities in the event of one of the types.
func (e *entry) checkFlags(t *testing.T, c *corpus, types ...string) {
	t.Helper()
	for _, ev := range c.events(t, e.name) {
		if !slices.Contains(types, ev.Type) {
			continue
		}
		var flags []string
		list, _ := ev.Detail["flags"].([]any)
		for _, f := range list {
			flags = append(flags, fmt.Sprint(f))
		}
		if want := sorted(e.Expected.Flags); !slices.Equal(sorted(flags), want) {
			t.Errorf("event %s has flags %q, want %q", ev.Type, flags, want)
		}
		return
	}
	t.Errorf("there is no event %q", types)
}

// checkRefreshToken has the connection revoked: the request shows the refresh
// token that the server held to the last.
func (e *entry) checkRefreshToken(t *testing.T, c *corpus, conn api.Connection) {
	t.Helper()
	want := ""
	if e.Expected.RefreshToken != nil {
		want = *e.Expected.RefreshToken
	}
	// Client credentials bring a token without it, RFC 6749 §4.4.3.
	if e.Expected.Outcome == "token" && want != "" && e.grant != freshet.GrantClientCredentials {
		n := e.endpoint.Requests()
		c.refresh(t, e.name)
		if got := e.endpoint.Log(); len(got) <= n {
			t.Error("a second refresh made no request")
		} else if q, err := url.ParseQuery(got[n].Body); err != nil || q.Get("refresh_token") != want {
			t.Errorf("a second refresh presents %q, want %q", q.Get("refresh_token"), want)
		}
	}
	if conn.Generation == 0 {
		return
	}
	if _, err := c.client.Revoke(t.Context(), e.name); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	revoked := c.revoked[e.name]
	switch {
	case want == "" && len(revoked) != 1:
		t.Errorf("%d tokens were revoked, want the access token alone", len(revoked))
	case want != "" && (len(revoked) == 0 || revoked[0] != want):
		t.Errorf("the server held refresh token %q, want %q", revoked, want)
	}
}

// search looks for every token of the corpus where none may be.
func (c *corpus) search(t *testing.T) {
	var secrets []string
	for _, e := range c.entries {
		for _, s := range e.Secrets() {
			if len(s) >= 6 { // shorter ones are words that stand everywhere
				secrets = append(secrets, s)
			}
		}
	}
	slices.Sort(secrets)
	secrets = slices.Compact(secrets)
	visit := func(where string, text []byte) {
		for _, s := range secrets {
			if i := strings.Index(string(text), s); i >= 0 {
				t.Errorf("%s shows %q: …%s", where, s, text[max(0, i-80):min(len(text), i+len(s)+20)])
			}
		}
	}
	c.places(t, visit)
	c.stop(t)
	visit("the standard error", c.err.Bytes()) // all of it, now
}

func isDate(v string) bool {
	_, err := http.ParseTime(v)
	return err == nil
}

func values(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
