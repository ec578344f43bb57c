package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// lifeConfig has one connection for each way of life. Ids that begin with a
// model are treated so by the emulator.
const lifeConfig = `
providers:
  body:   { authorization_url: "${EMULATOR}/authorize", token_url: "${EMULATOR}/token", revocation_url: "${EMULATOR}/revoke", client_auth: body }
  omits:  { token_url: "${EMULATOR}/token", client_auth: body, rotation: { kind: omitted } }
  strict: { token_url: "${EMULATOR}/token", client_auth: basic, rotation: { kind: always, reuse: revokes } }
  login:
    token_url: "${EMULATOR}/login"
    client_auth: none
    request: { headers: { Content-Type: application/json }, body: '{"username":{{username | json}},"password":{{password | json}}}' }
    response: { access_token: authToken, expires: { path: expiresInMinutes, unit: m } }
clients:
  app:    { provider: body, id: rotate-app, secret: "s+cr&t=%é" }
  strict: { provider: strict, id: strict-app, secret: strict-secret }
  omits:  { provider: omits, id: omitted-app, secret: omitted-secret }
connections:
  crm:     { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api/v1", headers: { X-Fixed: always }, verify: { path: /me } } }
  other:   { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  jwt:     { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api", inject: { header: Authorization, template: "JWT {{access_token}}" } } }
  bare:    { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api", inject: { header: Authorization, template: "{{access_token}}" } } }
  whole:   { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api", inject: [ { header: Authorization }, { header: X-Answer, template: "{{answer | json}}" } ] } }
  margin:  { client: app, grant: refresh_token, refresh: { margin: 30s }, api: { base_url: "${EMULATOR}/api" } }
  each:    { client: app, grant: refresh_token, refresh: { when: every_use }, api: { base_url: "${EMULATOR}/api" } }
  on401:   { client: app, grant: refresh_token, refresh: { when: on_401 }, api: { base_url: "${EMULATOR}/api" } }
  crowd:   { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  replay:  { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  refused: { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  nothing: { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  single:  { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  rotates: { client: strict, grant: refresh_token }
  silent:  { client: omits, grant: refresh_token }
  machine: { client: app, grant: client_credentials, scopes: [read], api: { base_url: "${EMULATOR}/api" } }
  second:  { client: app, grant: client_credentials, scopes: [read], api: { base_url: "${EMULATOR}/api" } }
  person:  { client: app, grant: password, credentials: { username: alice, password: "p&ss w+rd" }, api: { base_url: "${EMULATOR}/api" } }
  session: { provider: login, grant: request, credentials: { username: alice, password: pw }, api: { base_url: "${EMULATOR}/api" } }
`

// TestLife is what people do with tokens, through the front door.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Picky: true}}, setup{config: lifeConfig})
	refused := ""

	t.Run("cap001 a connection's token is in each of its calls and in no other's", func(t *testing.T) {
		a, b := w.issue(t, "crm", "rotate-app", time.Hour), w.issue(t, "other", "rotate-app", time.Hour)
		for range 2 {
			if got := w.seen(t, "GET", "crm", "/echo", nil).Headers.Get("Authorization"); got != "Bearer "+a.Access {
				t.Errorf("crm's call carries another credential than crm's")
			}
		}
		if got := w.seen(t, "GET", "other", "/echo", nil).Headers.Get("Authorization"); got != "Bearer "+b.Access {
			t.Errorf("other's call carries another credential than other's")
		}
	})
	t.Run("cap002 exactly one Authorization header, and the next call has the next token", func(t *testing.T) {
		for range 2 {
			set := w.issue(t, "crm", "rotate-app", time.Hour)
			e := w.seen(t, "GET", "crm", "/echo", nil)
			if got := e.Headers["Authorization"]; len(got) != 1 || got[0] != "Bearer "+set.Access {
				t.Errorf("%d Authorization headers, or another than the word Bearer, one space, the token", len(got))
			}
			if b, _ := json.Marshal(e); bytes.Contains(b, []byte(w.key)) {
				t.Error("the caller's API key went on to the API")
			}
		}
	})
	t.Run("cap003 another prefix, and none", func(t *testing.T) {
		a, b := w.issue(t, "jwt", "rotate-app", time.Hour), w.issue(t, "bare", "rotate-app", time.Hour)
		if got := w.seen(t, "GET", "jwt", "/echo", nil).Headers["Authorization"]; len(got) != 1 || got[0] != "JWT "+a.Access {
			t.Error("the header is not JWT, one space, the token")
		}
		if got := w.seen(t, "GET", "bare", "/echo", nil).Headers["Authorization"]; len(got) != 1 || got[0] != b.Access {
			t.Error("the header is not the token alone")
		}
	})
	t.Run("cap004 the caller's headers and the connection's own arrive", func(t *testing.T) {
		e := w.seen(t, "GET", "crm", "/echo", nil, "X-Free", "a", "X-Free", "b; c=\"d\"", "Accept", "text/csv", "User-Agent", "mine/1")
		if got := e.Headers["X-Free"]; !slices.Equal(got, []string{"a", `b; c="d"`}) {
			t.Errorf("X-Free arrived as %q", got)
		}
		if e.Headers.Get("X-Fixed") != "always" || e.Headers.Get("Accept") != "text/csv" || e.Headers.Get("User-Agent") != "mine/1" {
			t.Errorf("headers arrived as %v", e.Headers.Clone())
		}
	})
	t.Run("cap005 method, path, content type and body arrive", func(t *testing.T) {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			e := w.seen(t, method, "crm", "/things/7", strings.NewReader("<a>é</a>"), "Content-Type", "application/xml")
			if e.Method != method || e.URI != "/api/v1/things/7" || e.Body != "<a>é</a>" || e.Headers.Get("Content-Type") != "application/xml" {
				t.Errorf("%s arrived as %s %s %q %q", method, e.Method, e.URI, e.Headers.Get("Content-Type"), e.Body)
			}
			if !strings.HasSuffix(w.base, e.Host) {
				t.Errorf("Host is %q, want that of %s", e.Host, w.base)
			}
		}
	})
	t.Run("cap006 a call carries the token that is stored when it is made", func(t *testing.T) {
		was := w.seen(t, "GET", "crm", "/echo", nil).Headers.Get("Authorization")
		tok, p := w.refresh(t, "crm")
		if p != nil {
			t.Fatal(p)
		}
		if got := w.seen(t, "GET", "crm", "/echo", nil).Headers.Get("Authorization"); got != "Bearer "+tok.AccessToken || got == was {
			t.Error("the call carries another token than the newest")
		}
	})
	t.Run("cap007 path and query survive byte for byte", func(t *testing.T) {
		for _, target := range []string{
			"/rows?user_field_names=true", "/rows?a=1;b=2&c", "/rows?", "/rows?x=%2F%2f+%20'\"&=&&y==", "/a%2Fb//c/%7e~;p=1/", "/?q=ü%C3%BC", "", "?only=query", "/%E2%82%AC/*!$()",
		} {
			if got, want := w.seen(t, "GET", "crm", target, nil).URI, "/api/v1"+target; got != want {
				t.Errorf("%s arrived as %s, want %s", target, got, want)
			}
		}
	})
	t.Run("cap008 a program gets its credential without any set-up", func(t *testing.T) {
		p := w.cli(t, "token", "crm")
		if code := p.exit(t); code != 0 {
			t.Fatalf("exit %d: %s", code, p.err.String())
		}
		if got := strings.TrimSuffix(p.out.String(), "\n"); w.em.Valid(got) != nil {
			t.Errorf("standard output is not a valid token alone: %v", w.em.Valid(got))
		}
	})
	t.Run("cap021 a token set is pasted in, and the refresh works from it", func(t *testing.T) {
		set, err := w.em.Issue("rotate-app", "pasted", "read")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "tokens.json")
		if err := os.WriteFile(file, fmt.Appendf(nil, `{"access_token":%q,"refresh_token":%q,"expires_in":0}`, set.Access, set.Refresh), 0o600); err != nil {
			t.Fatal(err)
		}
		authorized := w.em.Count("authorize")
		p := w.cli(t, "tokens", "import", "other", "-f", file)
		if code := p.exit(t); code != 0 {
			t.Fatalf("exit %d: %s", code, p.err.String())
		}
		if tok := w.token(t, "other"); tok.AccessToken == set.Access || w.em.Valid(tok.AccessToken) != nil {
			t.Errorf("the token is not a refreshed one: %v", w.em.Valid(tok.AccessToken))
		}
		if n := w.em.Count("authorize"); n != authorized {
			t.Errorf("%d authorizations", n-authorized)
		}
	})
	t.Run("cap022 two programs read one connection, and both get the newest token", func(t *testing.T) {
		var clients []*api.Client
		for _, name := range []string{"first", "second"} {
			k, err := w.client.CreateKey(t.Context(), api.KeyRequest{Name: name, Scopes: []string{"token:crm"}})
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, api.New(w.url, k.Key))
		}
		read := func(c *api.Client) string {
			var tok api.Token
			if err := c.Do(t.Context(), "GET", "/api/v1/connections/crm/token", nil, &tok); err != nil {
				t.Fatal(err)
			}
			return tok.AccessToken
		}
		was := read(clients[0])
		if read(clients[1]) != was {
			t.Error("they read different tokens")
		}
		if _, err := clients[0].Refresh(t.Context(), "crm"); err != nil {
			t.Fatal(err)
		}
		now := read(clients[1])
		if now == was || now != read(clients[0]) {
			t.Error("the second program does not read what the first one's refresh brought")
		}
	})
	t.Run("cap025 a credential is verified on demand", func(t *testing.T) {
		v, err := w.client.Verify(t.Context(), "crm")
		if err != nil || !v.Verified || v.Status != 200 {
			t.Errorf("%+v, %v", v, err)
		}
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"http_403"}})
		if v, err = w.client.Verify(t.Context(), "crm"); err != nil || v.Verified || v.Status != 403 || v.Detail == "" {
			t.Errorf("%+v, %v: want verified false with a reason", v, err)
		}
	})
	t.Run("cap026 stored credentials bring a token", func(t *testing.T) {
		for name, grant := range map[string]string{"machine": "client_credentials", "person": "password", "session": "login"} {
			before := w.em.Count(grant)
			tok := w.token(t, name)
			if err := w.em.Valid(tok.AccessToken); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if again := w.token(t, name); again.AccessToken != tok.AccessToken || w.em.Count(grant) != before+1 {
				t.Errorf("%s: %d requests for two reads", name, w.em.Count(grant)-before)
			}
		}
		last := w.em.Requests("token")
		q, err := url.ParseQuery(string(last[len(last)-1].Body))
		if err != nil {
			t.Fatal(err)
		}
		if q.Get("client_secret") != "s+cr&t=%é" {
			t.Error("the client's secret did not arrive as it is")
		}
	})
	t.Run("cap030 two seconds left are too few, an hour is not", func(t *testing.T) {
		for _, c := range []struct {
			left    time.Duration
			renewed int
		}{{2 * time.Second, 1}, {time.Hour, 0}} {
			w.issue(t, "margin", "rotate-app", c.left)
			before := w.em.Count("refresh_token")
			if r := w.call(t, "GET", "margin", "/me", nil); r.status != 200 {
				t.Fatal(r)
			}
			if n := w.em.Count("refresh_token") - before; n != c.renewed {
				t.Errorf("%v left: %d refreshes, want %d", c.left, n, c.renewed)
			}
		}
	})
	t.Run("cap036 cap072 a 401 starts a refresh; 400, 403, 404 and 5xx reach the caller as they are", func(t *testing.T) {
		w.issue(t, "single", "rotate-app", time.Hour)
		for _, status := range []int{400, 403, 404, 409, 429, 500, 502, 503} {
			before := w.em.Count("refresh_token")
			r := w.call(t, "GET", "single", fmt.Sprintf("/status/%d", status), nil)
			if r.status != status || strings.TrimSpace(string(r.body)) != fmt.Sprintf(`{"status":%d}`, status) || r.ours() {
				t.Errorf("%d came as %s", status, r)
			}
			if n := w.em.Count("refresh_token") - before; n != 0 {
				t.Errorf("%d: %d refreshes", status, n)
			}
		}
		before := w.em.Count("refresh_token")
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"reject"}})
		if r := w.call(t, "GET", "single", "/me", nil); r.status != 200 || r.header.Get("Freshet-Refreshed") != "true" {
			t.Errorf("after a 401: %s, Freshet-Refreshed %q", r, r.header.Get("Freshet-Refreshed"))
		}
		if n := w.em.Count("refresh_token") - before; n != 1 {
			t.Errorf("401: %d refreshes, want 1", n)
		}
	})
	t.Run("cap038 a refresh is a form with four parameters and nothing unasked for", func(t *testing.T) {
		set := w.issue(t, "crm", "rotate-app", 0)
		if _, p := w.refresh(t, "crm"); p != nil {
			t.Fatal(p)
		}
		all := w.em.Requests("token")
		r := all[len(all)-1]
		q, err := url.ParseQuery(string(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {set.Refresh}, "client_id": {"rotate-app"}, "client_secret": {"s+cr&t=%é"}}
		if !reflect.DeepEqual(q, want) {
			t.Errorf("the body has %v, want grant_type, refresh_token, client_id, client_secret", slices.Sorted(keys(q)))
		}
		if r.Method != "POST" || r.URI != "/token" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("%s %s %v", r.Method, r.URI, slices.Sorted(keys(r.Header)))
		}
	})
	t.Run("cap051 the whole answer is kept, unknown members too", func(t *testing.T) {
		w.issue(t, "whole", "rotate-app", 0)
		w.next(t, emulator.Fault{At: "refresh", Mode: emulator.Modes{`set:instance_url="https://eu1.example/x?y=z"`, `set:nested={"a":[1,2.50,null,{"b":true}],"big":12345678901234567890}`}})
		e := w.seen(t, "GET", "whole", "/echo", nil)
		var kept map[string]json.RawMessage
		if err := json.Unmarshal([]byte(e.Headers.Get("X-Answer")), &kept); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"instance_url": `"https://eu1.example/x?y=z"`, "nested": `{"a":[1,2.50,null,{"b":true}],"big":12345678901234567890}`, "token_type": `"Bearer"`, "expires_in": "3600"} {
			if got := string(kept[name]); !sameJSON(got, want) {
				t.Errorf("%s is kept as %s, want %s", name, got, want)
			}
		}
		var access, refresh string
		json.Unmarshal(kept["access_token"], &access)
		json.Unmarshal(kept["refresh_token"], &refresh)
		if w.em.Valid(access) != nil || w.em.Usable(refresh) != nil {
			t.Errorf("the tokens of the answer are not those that live: %v, %v", w.em.Valid(access), w.em.Usable(refresh))
		}
	})
	t.Run("cap053 fifty refreshes in a row where the old token dies on use", func(t *testing.T) {
		w.issue(t, "rotates", "strict-app", 0)
		for i := range 50 {
			if tok, p := w.refresh(t, "rotates"); p != nil || w.em.Valid(tok.AccessToken) != nil {
				t.Fatalf("refresh %d: %v, %v", i+1, p, w.em.Valid(tok.AccessToken))
			}
		}
	})
	t.Run("cap054 an answer without a refresh token leaves the stored one", func(t *testing.T) {
		w.issue(t, "silent", "omitted-app", 0)
		for i := range 3 {
			if tok, p := w.refresh(t, "silent"); p != nil || w.em.Valid(tok.AccessToken) != nil {
				t.Fatalf("refresh %d: %v, %v", i+1, p, w.em.Valid(tok.AccessToken))
			}
		}
	})
	t.Run("cap065 every use: as many refreshes as calls, each stored before its call", func(t *testing.T) {
		w.issue(t, "each", "rotate-app", time.Hour)
		before, generation := w.em.Count("refresh_token"), w.connection(t, "each").Generation
		for i := range int64(5) {
			e := w.seen(t, "GET", "each", "/echo", nil)
			c := w.connection(t, "each")
			if c.Generation != generation+i+1 {
				t.Errorf("call %d: generation %d, want %d", i+1, c.Generation, generation+i+1)
			}
			if err := w.em.Valid(strings.TrimPrefix(e.Headers.Get("Authorization"), "Bearer ")); err != nil {
				t.Error(err)
			}
		}
		if n := w.em.Count("refresh_token") - before; n != 5 {
			t.Errorf("%d refreshes for 5 calls", n)
		}
	})
	t.Run("cap066 on 401: none while the token is good, one for one refusal", func(t *testing.T) {
		w.issue(t, "on401", "rotate-app", 2*time.Second) // what the server believes; it is good for an hour
		before := w.em.Count("refresh_token")
		for range 5 {
			if r := w.call(t, "GET", "on401", "/me", nil); r.status != 200 {
				t.Fatal(r)
			}
		}
		if n := w.em.Count("refresh_token") - before; n != 0 {
			t.Errorf("%d refreshes with a good token", n)
		}
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"reject"}})
		for range 3 {
			if r := w.call(t, "GET", "on401", "/me", nil); r.status != 200 {
				t.Fatal(r)
			}
		}
		if n := w.em.Count("refresh_token") - before; n != 1 {
			t.Errorf("%d refreshes for one refusal", n)
		}
	})
	t.Run("cap067 a valid token, whatever was stored: nothing, a live one, a spent one", func(t *testing.T) {
		for name, prepare := range map[string]func(){
			"absent":  func() {},
			"valid":   func() { w.issue(t, "margin", "rotate-app", time.Hour) },
			"expired": func() { w.issue(t, "margin", "rotate-app", 0) },
		} {
			prepare()
			of := "margin"
			if name == "absent" {
				of = "second"
			}
			if tok := w.token(t, of); w.em.Valid(tok.AccessToken) != nil {
				t.Errorf("%s: %v", name, w.em.Valid(tok.AccessToken))
			}
		}
	})
	t.Run("cap071 a hundred calls at once on an expired token: one refresh, a hundred answers", func(t *testing.T) {
		w.issue(t, "crowd", "rotate-app", 0)
		before := w.em.Count("refresh_token")
		w.next(t, emulator.Fault{At: "refresh", Mode: emulator.Modes{"hold"}})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if r, err := w.try(t.Context(), "GET", "/proxy/crowd/me", nil); err != nil || r.status != 200 {
					t.Errorf("%s, %v", r, err)
				}
			})
		}
		if err := w.em.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.em.Release()
		wg.Wait()
		if n := w.em.Count("refresh_token") - before; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("cap073 cap074 the second request is the first but for its credential, and its answer is the caller's", func(t *testing.T) {
		w.issue(t, "replay", "rotate-app", time.Hour)
		calls, refreshes := w.em.Count("api"), w.em.Count("refresh_token")
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"reject"}})
		body := strings.Repeat("\x00\xff{é}\r\n", 20_000)
		r := w.call(t, "POST", "replay", "/echo/a%2Fb?x=1;y=2", strings.NewReader(body), "Content-Type", "application/x-thing", "X-Own", "1", "Cookie", "a=b")
		if r.status != 200 {
			t.Fatal(r)
		}
		if n, m := w.em.Count("api")-calls, w.em.Count("refresh_token")-refreshes; n != 2 || m != 1 {
			t.Errorf("%d calls and %d refreshes, want 2 and 1", n, m)
		}
		all := w.em.Requests("api")
		first, second := all[len(all)-2], all[len(all)-1]
		if first.Header.Get("Authorization") == second.Header.Get("Authorization") {
			t.Error("both calls carry the same credential")
		}
		first.Header.Del("Authorization")
		second.Header.Del("Authorization")
		if first.Method != second.Method || first.URI != second.URI || first.Host != second.Host || !reflect.DeepEqual(first.Header, second.Header) {
			t.Errorf("the requests differ: %s %s %v and %s %s %v", first.Method, first.URI, first.Header, second.Method, second.URI, second.Header)
		}
		if !bytes.HasPrefix([]byte(body), second.Body) || len(second.Body) != 64<<10 {
			t.Error("the body was not sent byte for byte") // the emulator keeps its first 64 KiB
		}
		var e struct {
			Length int `json:"length"`
		}
		if r.decode(t, &e); e.Length != len(body) {
			t.Errorf("%d bytes of the body arrived, want %d", e.Length, len(body))
		}
	})
	t.Run("cap075 a second 401 goes to the caller, without a third call", func(t *testing.T) {
		w.issue(t, "replay", "rotate-app", time.Hour)
		calls, refreshes := w.em.Count("api"), w.em.Count("refresh_token")
		w.next(t, emulator.Fault{At: "api", Count: 2, Mode: emulator.Modes{"reject"}})
		r := w.call(t, "GET", "replay", "/me", nil)
		if r.status != 401 || r.ours() || r.header.Get("Freshet-Refreshed") != "true" {
			t.Errorf("%s, Freshet-Refreshed %q", r, r.header.Get("Freshet-Refreshed"))
		}
		if n, m := w.em.Count("api")-calls, w.em.Count("refresh_token")-refreshes; n != 2 || m != 1 {
			t.Errorf("%d calls and %d refreshes, want 2 and 1", n, m)
		}
	})
	t.Run("cap077 without a credential: an error that says how to get one, and no call", func(t *testing.T) {
		calls := w.em.Count("api")
		r := w.call(t, "GET", "nothing", "/me", nil)
		var p api.Problem
		r.decode(t, &p)
		if r.status != http.StatusConflict || p.Connection != "nothing" || p.Reason != "never_authorized" || !r.ours() {
			t.Errorf("%s", r)
		}
		if all := p.Detail + p.Hint + p.ConnectURL; !strings.Contains(all, "nothing") || !strings.Contains(all, "connect") {
			t.Errorf("the answer does not say how to authorize it: %s", r)
		}
		if n := w.em.Count("api") - calls; n != 0 {
			t.Errorf("%d calls", n)
		}
		if c := w.cli(t, "token", "nothing"); c.exit(t) != 3 || !strings.Contains(c.err.String(), "hint:") || c.out.String() != "" {
			t.Errorf("freshet token: exit %d, %q, %q", c.exit(t), c.out.String(), c.err.String())
		}
	})
	t.Run("cap078 without a refresh token: named, and a person is needed", func(t *testing.T) {
		set, err := w.em.Issue("rotate-app", "bob", "read")
		if err != nil {
			t.Fatal(err)
		}
		w.put(t, "nothing", map[string]any{"access_token": set.Access, "expires_in": 0})
		sent := w.em.Count("token")
		_, p := w.refresh(t, "nothing")
		if p == nil || p.Status != http.StatusConflict || !strings.Contains(p.Detail, "refresh token") && !strings.Contains(p.Detail, "refresh_token") {
			t.Errorf("%+v", p)
		}
		if c := w.connection(t, "nothing"); c.State != "reauth" || c.Reason != "no_refresh_token" {
			t.Errorf("state %s (%s)", c.State, c.Reason)
		}
		if n := w.em.Count("token") - sent; n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("cap079 a refresh that is answered 401 is not taken for the API's 401", func(t *testing.T) {
		set := w.issue(t, "refused", "rotate-app", 0)
		refused = emulator.TokenHash(set.Refresh)
		refreshes, calls := w.em.Count("refresh_token"), w.em.Count("api")
		w.next(t, emulator.Fault{At: "refresh", Mode: emulator.Modes{"answer"}, Status: 401, Headers: map[string]string{"Content-Type": "application/json"}, Body: `{"error":"unauthorized_client","error_description":"not on a Monday"}`})
		r := w.call(t, "GET", "refused", "/me", nil)
		var p api.Problem
		r.decode(t, &p)
		if r.status == http.StatusUnauthorized || !strings.Contains(p.Detail, "401") || !strings.Contains(p.Detail, "unauthorized_client") {
			t.Errorf("%s: want a status of ours, with the provider's status and code in words", r)
		}
		if n, m := w.em.Count("refresh_token")-refreshes, w.em.Count("api")-calls; n != 1 || m != 0 {
			t.Errorf("%d refreshes and %d calls, want 1 and 0", n, m)
		}
		if f := w.connection(t, "refused").LastError; f == nil || f.Status != 401 || f.Code != "unauthorized_client" {
			t.Errorf("last_error is %+v", f)
		}
		if err := w.em.Usable(set.Refresh); err != nil {
			t.Error(err)
		}
		if _, p := w.refresh(t, "refused"); p != nil {
			t.Errorf("the next refresh: %v", p)
		}
	})
	t.Run("cap080 a success is the API's answer to the byte", func(t *testing.T) {
		tok := w.token(t, "crowd")
		for _, target := range []string{"/users?n=3", "/gzip", "/bytes/100000", "/cookies"} {
			req, err := http.NewRequest("GET", w.base+"/api"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
			res, err := raw.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			b.ReadFrom(res.Body)
			res.Body.Close()
			r := w.call(t, "GET", "crowd", target, nil)
			if r.status != res.StatusCode || !bytes.Equal(r.body, b.Bytes()) || r.header.Get("Content-Type") != res.Header.Get("Content-Type") || r.header.Get("Content-Encoding") != res.Header.Get("Content-Encoding") {
				t.Errorf("%s came as %d, %d bytes, %q %q", target, r.status, len(r.body), r.header.Get("Content-Type"), r.header.Get("Content-Encoding"))
			}
		}
	})
	// cap079's refresh token is presented again: the provider did not say what
	// became of it.
	emulatortest.Oracles(t, w.em, func(r emulator.Reuse) bool { return r.Hash == refused })
	w.stop(t) // what it logged is all here then
	emulatortest.NoCanary(t, w.em, "the server's log", w.err.Bytes())
}

// next queues faults at the emulator.
func (w *world) next(t testing.TB, faults ...emulator.Fault) {
	t.Helper()
	if err := w.em.Next(faults...); err != nil {
		t.Fatal(err)
	}
}

// disk searches every file of the data directory for tokens.
func (w *world) disk(t testing.TB) {
	t.Helper()
	files(t, w.dir, func(name string, b []byte) { emulatortest.NoCanary(t, w.em, name, b) })
}

// files reads everything below dir.
func files(t testing.TB, dir string, visit func(name string, b []byte)) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // it was a temporary one
		}
		if err == nil {
			visit(filepath.Base(path), b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func keys[M ~map[string]V, V any](m M) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// sameJSON compares two values by their text, but for white space.
func sameJSON(a, b string) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, []byte(a)) == nil && json.Compact(&y, []byte(b)) == nil && x.String() == y.String()
}
