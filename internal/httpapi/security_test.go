package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/run"
)

// operations lists what the OpenAPI document names, with the scope of each.
func (w *world) operations() map[string]string {
	w.t.Helper()
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Scope string `json:"x-scope"`
		}
	}
	a := w.with("", "GET", "/api/v1/openapi.json", "")
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.status != 200 {
		w.t.Fatalf("%d %v", a.status, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		w.t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	out := map[string]string{}
	for path, methods := range doc.Paths {
		for m, op := range methods {
			out[strings.ToUpper(m)+" "+path] = op.Scope
		}
	}
	return out
}

func TestS61_every_endpoint_holds_every_key_to_its_scopes(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	// What INTERFACE says of each, and of what it does not list, the same taste.
	want := map[string]string{
		"GET /api/v1/connections/{name}/token": "token:{name}", "POST /api/v1/connections/{name}/refresh": "token:{name}",
		"GET /api/v1/connections": "read", "GET /api/v1/connections/{name}": "read",
		"POST /api/v1/connections/{name}/connect": "admin", "POST /api/v1/connections/{name}/verify": "admin", "POST /api/v1/connections/{name}/revoke": "admin",
		"PUT /api/v1/connections/{name}/tokens": "admin", "GET /api/v1/connections/{name}/events": "admin", "GET /api/v1/flows/{id}": "admin",
		"PUT /api/v1/connections/{name}": "admin", "DELETE /api/v1/connections/{name}": "admin",
		"GET /api/v1/events": "read", "GET /api/v1/stream": "read", "GET /api/v1/audit": "read", "GET /api/v1/audit/verify": "read", "GET /api/v1/schema": "read", "GET /api/v1/export": "read",
		"POST /api/v1/apply": "admin", "GET /api/v1/keys": "admin", "POST /api/v1/keys": "admin", "DELETE /api/v1/keys/{name}": "admin",
		"GET /api/v1/master-key": "admin", "POST /api/v1/master-key/rotate": "admin", "POST /api/v1/resume": "admin",
		"GET /api/v1/network": "read", "PUT /api/v1/network": "admin", "DELETE /api/v1/network": "admin",
	}
	want["POST /api/v1/schedules/{name}/run"], want["GET /api/v1/schedules/{name}/history"] = "run:{name}", "read"
	want["POST /api/v1/schedules/{name}/pause"], want["POST /api/v1/schedules/{name}/resume"] = "admin", "admin"
	want["GET /api/v1/runs"], want["GET /api/v1/runs/{id}"], want["GET /api/v1/runs/{id}/journal"] = "read", "read", "read"
	want["POST /api/v1/runs/{id}/cancel"], want["POST /api/v1/runs/{id}/retry"] = "run:{name}", "run:{name}"
	want["POST /api/v1/import"], want["PATCH /api/v1/workflows/{name}"], want["POST /api/v1/workflows/{name}/publish"] = "admin", "admin", "admin"
	want["GET /api/v1/workflows/{name}/versions"], want["GET /api/v1/workflows/{name}/versions/{number}/file"] = "read", "admin"
	want["GET /api/v1/workflows/{name}/diff"], want["POST /api/v1/workflows/{name}/run"] = "admin", "run:{name}"
	for _, op := range []string{"GET", "POST"} {
		want[op+" /api/v1/tables/{table}/rows"] = map[string]string{"GET": "read", "POST": "admin"}[op]
	}
	for _, op := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		want[op+" /api/v1/tables/{table}/rows/{id}"] = map[bool]string{true: "read", false: "admin"}[op == "GET"]
	}
	want["GET /api/v1/tables/{table}/rows/{id}/history"] = "read"
	runs := map[string]string{"GET": w.begin(run.Start{Name: "yy"}).ID(), "POST": w.begin(run.Start{Name: "zz"}).ID()}
	for _, k := range []string{"providers", "clients", "webhooks", "schedules", "workflows", "tables", "apps", "services", "processes", "components"} {
		want["GET /api/v1/"+k], want["GET /api/v1/"+k+"/{name}"] = "read", "read"
		want["PUT /api/v1/"+k+"/{name}"], want["DELETE /api/v1/"+k+"/{name}"] = "admin", "admin"
	}
	delete(want, "GET /api/v1/processes") // there with what runs them
	delete(want, "GET /api/v1/processes/{name}")
	got := w.operations()
	for op, scope := range want {
		if got[op] != scope {
			t.Errorf("%s needs %q, want %q", op, got[op], scope)
		}
	}
	for op := range got {
		if want[op] == "" {
			t.Errorf("%s is in no table", op)
		}
	}
	got["GET /proxy/{name}/me"] = "call:{name}"
	keys := map[string]string{
		"nobody": "", "wrong": "fk_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 52),
		"read": w.key("r", "read"), "token:other": w.key("t", "token:other"), "call:other": w.key("c", "call:other"), "run:other": w.key("run", "run:other"), "run:zz": w.key("rz", "run:zz"),
		"token:zz": w.key("tz", "token:zz"), "call:zz": w.key("cz", "call:zz"), "admin": w.admin,
	}
	for op, scope := range got {
		method, path, _ := strings.Cut(op, " ")
		path = strings.NewReplacer("{name}", "zz", "{table}", "zz", "{id}", "zz", "{number}", "1").Replace(path)
		if strings.Contains(op, "/runs/") {
			path = strings.Replace(path, "/zz", "/"+runs[method], 1)
		}
		need := strings.ReplaceAll(scope, "{name}", "zz")
		for name, key := range keys {
			if name == need || name == "admin" {
				if method == "GET" && op != "GET /api/v1/stream" { // to change nothing, and not to wait
					if a := w.with(key, method, path, ""); a.status == 401 || a.status == 403 {
						t.Errorf("%s with %s: %d %s", op, name, a.status, a.body)
					}
				}
				continue
			}
			a := w.with(key, method, path, "{}")
			status := 403
			if name == "nobody" || name == "wrong" {
				status = 401
			}
			if a.status == 429 && name == "wrong" {
				continue // enough of them
			}
			if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s with %s: %d %s, want %d", op, name, a.status, a.body, status)
			}
			// Who may not look learns not whose run it is.
			unsaid := strings.HasPrefix(op, "POST /api/v1/runs/") && strings.Contains(a.body, `"scope":"run:*"`) && name != "read"
			if status == 403 && !strings.Contains(a.body, `"scope":"`+need+`"`) && !unsaid {
				t.Errorf("%s with %s does not say what is needed: %s", op, name, a.body)
			}
			if status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: no challenge", op, name)
			}
		}
	}
	if a := w.with(keys["read"], "GET", "/api/v1/export?reveal=true", ""); a.status != 403 {
		t.Errorf("reveal with read: %d", a.status)
	}
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/openapi.json", "/api/docs"} {
		if a := w.with("", "GET", path, ""); a.status != 200 {
			t.Errorf("%s without a key: %d", path, a.status)
		}
	}
}

func TestS60_many_wrong_keys_have_to_wait(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	limited := false
	for range 40 {
		a := w.with("fk_aaaaaaaaaaaaaaaa_wrong", "GET", "/api/v1/connections/crm/token", "")
		if a.status == 429 {
			limited = a.header.Get("Retry-After") != ""
		} else if a.status != 401 || limited {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if !limited {
		t.Error("nobody has to wait")
	}
	if a := w.do("GET", "/api/v1/connections/crm/token", ""); a.status != 200 {
		t.Errorf("the right key has to wait, too: %d", a.status)
	}
}

func TestS62_a_page_in_a_browser_gets_no_token(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for _, h := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, {"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		for _, op := range [][2]string{{"GET", "/api/v1/connections/crm/token"}, {"POST", "/api/v1/connections/crm/refresh"}, {"GET", "/api/v1/export?reveal=true"}} {
			a := w.do(op[0], op[1], "", h...)
			if a.status != 403 || strings.Contains(a.body, "access_token") {
				t.Errorf("%s %s with %v: %d %s", op[0], op[1], h, a.status, a.body)
			}
		}
	}
	// No preflight succeeds, no header lets a page read, no cookie signs in.
	a := w.with("", "OPTIONS", "/api/v1/connections/crm/token", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
	if a.status/100 == 2 {
		t.Errorf("a preflight is answered: %d", a.status)
	}
	for _, path := range []string{"/api/v1/connections/crm/token", "/api/v1/connections", "/healthz"} {
		a := w.do("GET", path, "")
		for name := range a.header {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("%s: %s: %s", path, name, a.header.Get(name))
			}
		}
	}
	for _, h := range [][]string{{"Cookie", "key=" + w.admin}, {"Authorization", "Basic " + b64("x:"+w.admin)}, {"X-Api-Key", w.admin}} {
		if a := w.with("", "GET", "/api/v1/connections/crm/token", "", h...); a.status != 401 {
			t.Errorf("%v: %d", h, a.status)
		}
	}
	if a := w.with("", "GET", "/api/v1/connections/crm/token?key="+w.admin, ""); a.status != 401 {
		t.Errorf("a key in the query: %d", a.status)
	}
	// Programs that call fetch are no browsers.
	if a := w.do("GET", "/api/v1/connections/crm/token", "", "Sec-Fetch-Mode", "cors"); a.status != 200 {
		t.Errorf("fetch in a program: %d", a.status)
	}
}

func TestS66_types_are_stated_and_sniffed_by_nobody(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for path, typ := range map[string]string{
		"/api/v1/connections": "application/json", "/api/v1/connections/crm": "application/json", "/api/v1/connections/crm/token": "application/json", "/api/v1/nothing": "application/problem+json",
		"/api/v1/export": "application/yaml; charset=utf-8", "/api/v1/schema": "application/schema+json", "/api/v1/openapi.json": "application/json", "/api/docs": "text/html; charset=utf-8",
		"/callback/oauth2/done": "text/html; charset=utf-8", "/callback/oauth2": "text/html; charset=utf-8", "/healthz": "application/json", "/readyz": "application/json",
	} {
		a := w.do("GET", path, "")
		if a.header.Get("Content-Type") != typ || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	// What a caller sends ends up in no header and in no page as anything but text.
	for _, evil := range []string{"a%0d%0aSet-Cookie:%20x=y", "%3Cscript%3Ealert(1)%3C/script%3E", "%22onload=%22", "..%2f..%2fetc", "%e2%80%a8"} {
		for _, path := range []string{"/api/v1/connections/" + evil, "/api/v1/connections/" + evil + "/token", "/api/v1/flows/" + evil, "/callback/oauth2/start/" + evil, "/callback/oauth2/done?flow=" + evil,
			"/callback/oauth2?state=" + evil + "&error=" + evil, "/api/v1/providers/" + evil, "/api/v1/" + evil} {
			a := w.do("GET", path, "")
			if a.header.Get("Set-Cookie") != "" || strings.Contains(a.body, "<script>") || a.header.Get("X-Content-Type-Options") != "nosniff" && a.status/100 != 3 {
				t.Errorf("%s: %d %v %s", path, a.status, a.header, a.body)
			}
			if html := a.header.Get("Content-Type"); strings.HasPrefix(html, "text/html") && !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s: a page without a policy", path)
			}
		}
	}
}

// Whatever is asked, no answer holds a secret that was written: only the token
// endpoints hold an access token, and export --reveal what it is asked for.
func TestS67_secrets_are_written_only(t *testing.T) {
	w := newWorld(t)
	w.declare(declared + `
  login:
    provider: emu
    id: login-client
    secret: CANARY-inline-secret
    grant: password
    credentials: { username: alice, password: CANARY-password }
webhooks:
  ops: { url: "https://ops.example/hook", secret: CANARY-webhook-secret-0123456789abcdef }
`)
	set := w.issue("crm-client", "alice")
	set["id_token"] = idToken("CANARY-subject")
	if a := w.importSet("person", mustJSON(set)); a.status != 200 {
		t.Fatal(a)
	}
	access, refresh := set["access_token"].(string), set["refresh_token"].(string)
	w.do("GET", "/api/v1/connections/crm/token", "")
	created := w.do("POST", "/api/v1/keys", `{"name":"k","scopes":["read"]}`)
	key := created.json(t)["key"].(string)
	hidden := map[string]string{"client secret": "CANARY-client-secret", "inline secret": "CANARY-inline-secret", "password": "CANARY-password", "webhook secret": "CANARY-webhook-secret",
		"refresh token": refresh, "access token": access, "admin key": w.admin[20:], "API key": key[20:]}
	flow := w.do("POST", "/api/v1/connections/person/connect", "").json(t)["flow"].(string)
	names := strings.NewReplacer("{id}", flow)
	for op := range w.operations() {
		method, path, _ := strings.Cut(op, " ")
		if method != "GET" || path == "/api/v1/stream" {
			continue
		}
		for _, name := range []string{"crm", "person", "login", "emu", "ops", "network", "k"} {
			a := w.do("GET", names.Replace(strings.ReplaceAll(path, "{name}", name)), "")
			for what, value := range hidden {
				if strings.Contains(a.body, value) && !(what == "access token" && strings.HasSuffix(path, "/token")) {
					t.Errorf("GET %s of %s shows the %s", path, name, what)
				}
			}
		}
	}
	for _, b := range []struct{ method, path, body string }{
		{"PUT", "/api/v1/clients/emu", `{"provider":"emu","id":"crm-client","secret":"CANARY-client-secret","nonsense":1}`},
		{"PUT", "/api/v1/clients/emu", `{"provider":"emu","id":"crm-client","secret":["CANARY-client-secret"]}`},
		{"POST", "/api/v1/apply", `{"clients":{"x":{"provider":"emu","secret":{"CANARY-client-secret":1}}}}`},
		{"POST", "/api/v1/apply", `{"files":[{"name":"a.yaml","content":"clients: {x: {provider: emu, secret: \"${S}\", id: [1]}}"}],"env":{"S":"CANARY-client-secret"}}`},
		{"PUT", "/api/v1/connections/person/tokens", `{"access_token":["CANARY-client-secret"],"refresh_token":{"CANARY-client-secret":1}}`},
		{"POST", "/api/v1/keys", `{"name":["CANARY-client-secret"],"scopes":["CANARY-client-secret"]}`},
		{"POST", "/api/v1/connections/person/connect", `{"return_to":5,"CANARY":"CANARY-client-secret"}`},
		{"POST", "/api/v1/connections/person/refresh", `{"rejected_generation":"CANARY-client-secret"}`},
	} {
		a := w.do(b.method, b.path, b.body)
		if a.status < 400 || strings.Contains(strings.ReplaceAll(a.body, "scope \\\"CANARY-client-secret\\\"", ""), "CANARY-client-secret") {
			t.Errorf("%s %s: %d %s", b.method, b.path, a.status, a.body)
		}
	}
	if a := w.do("GET", "/api/v1/export", ""); !strings.Contains(a.body, "[secret]") {
		t.Errorf("an export does not mark its secrets: %s", a.body)
	}
	a := w.do("GET", "/api/v1/export?reveal=true&kind=clients", "")
	if !strings.Contains(a.body, "CANARY-client-secret") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if rows := w.audited(audit.Reveal); len(rows) != 1 {
		t.Errorf("%d rows of the reveal", len(rows))
	}
	// S70: the log of all this, at level debug, holds none of it either.
	log := w.log.String()
	for what, value := range hidden {
		if strings.Contains(log, value) {
			t.Errorf("S70 the log holds the %s", what)
		}
	}
	if !strings.Contains(log, "connections/crm/token") {
		t.Error("the log is of something else")
	}
}

func TestS68_a_foreign_host_is_misdirected(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for _, host := range []string{"evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254"} {
		for _, path := range []string{"/api/v1/connections/crm/token", "/proxy/crm/me", "/healthz", "/callback/oauth2", "/api/docs"} {
			if a := w.do("GET", path, "", "Host", host); a.status != 421 {
				t.Errorf("%s at %s: %d", path, host, a.status)
			}
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80"} {
		if a := w.do("GET", "/api/v1/connections/crm/token", "", "Host", host); a.status != 200 {
			t.Errorf("at %s: %d", host, a.status)
		}
	}
}

func TestS71_ten_thousand_calls_are_ten_thousand_rows(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	w.do("GET", "/api/v1/connections/crm/token", "")
	before := w.count()
	const workers, rounds = 20, 25
	kinds := []struct {
		method, path, action string
		n                    int // per round
	}{
		{"GET", "/api/v1/connections/crm/token", audit.TokenRead, 8},
		{"GET", "/proxy/crm/me", audit.TokenInject, 6},
		{"GET", "/api/v1/connections", audit.KeyUse, 2},
		{"GET", "/api/v1/export?kind=clients", audit.Export, 2},
		{"GET", "/api/v1/export?kind=clients&reveal=true", audit.Reveal, 1},
		{"POST", "/api/v1/connections/crm/refresh", audit.TokenRefresh, 1},
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				for _, k := range kinds {
					for range k.n {
						if a := w.do(k.method, k.path, ""); a.status != 200 {
							t.Errorf("%s %s: %d %s", k.method, k.path, a.status, a.body)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	after := w.count()
	total := 0
	for _, k := range kinds {
		want := workers * rounds * k.n
		total += want
		if got := after[k.action] - before[k.action]; got != want {
			t.Errorf("%s: %d rows of %d calls", k.action, got, want)
		}
	}
	if total != 10_000 {
		t.Errorf("%d calls", total)
	}
	if v := w.do("GET", "/api/v1/audit/verify", "").json(t); v["verified"] != true || v["checkpoint"] == "" {
		t.Errorf("%v", v)
	}
}

// count counts the rows of each action.
func (w *world) count() map[string]int {
	w.t.Helper()
	if err := w.audit.Flush(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int{}
	for after := int64(0); ; {
		rows, err := w.store.Audit(context.Background(), after, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(rows) == 0 {
			return out
		}
		for _, r := range rows {
			out[r.Action]++
		}
		after = rows[len(rows)-1].Seq
	}
}

func TestS71_strict_answers_nothing_that_is_not_on_record(t *testing.T) {
	w := newWorld(t, func(tw *tweak) { tw.strict = true })
	w.declare(declared)
	if a := w.do("GET", "/api/v1/connections/crm/token", ""); a.status != 200 {
		t.Fatal(a)
	}
	calls := w.em.Count("api")
	w.db.set(true, false)
	for _, op := range [][2]string{{"GET", "/api/v1/connections/crm/token"}, {"GET", "/proxy/crm/me"}, {"GET", "/api/v1/connections"}, {"GET", "/api/v1/export?reveal=true"}, {"POST", "/api/v1/connections/crm/refresh"},
		{"POST", "/api/v1/connections/crm/revoke"}, {"DELETE", "/api/v1/connections/crm"}} {
		a := w.do(op[0], op[1], "")
		if a.status != 503 || !strings.Contains(a.body, "/problems/unrecorded") || a.header.Get("Retry-After") == "" || strings.Contains(a.body, "access_token") {
			t.Errorf("%s %s: %d %s", op[0], op[1], a.status, a.body)
		}
	}
	if n := w.em.Count("api"); n != calls {
		t.Errorf("%d unrecorded calls reached the API", n-calls)
	}
	w.db.set(false, false)
	if v := w.do("GET", "/api/v1/connections/crm/token", "").json(t); v["generation"] != 1.0 {
		t.Errorf("something was done unrecorded: %v", v)
	}
}

// G12: by default a store that takes no writes stops no reading of a token that
// lives.
func TestF66_a_read_only_store_serves_live_tokens(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	first := w.do("GET", "/api/v1/connections/crm/token", "")
	w.db.set(false, true)
	for range 50 {
		if a := w.do("GET", "/api/v1/connections/crm/token", ""); a.status != 200 || a.body != first.body {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := w.do("GET", "/readyz", ""); a.status != 503 || !strings.Contains(a.body, `"store":"takes no writes"`) {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	a := w.do("POST", "/api/v1/connections/crm/refresh", "")
	if a.status != 503 && a.status != 200 || w.em.Count("token") != 1 {
		t.Errorf("%d %s; %d token requests", a.status, a.body, w.em.Count("token"))
	}
}

func TestS74_metrics_are_not_here(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/vars", "/api/v1/metrics"} {
		if a := w.do("GET", path, ""); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestS77_a_stream_ends_with_its_key(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	key := w.key("watcher", "read")
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	w.do("GET", "/api/v1/connections/crm/token", "")
	seen := ""
	for line := range lines {
		seen += line + "\n"
		if strings.HasPrefix(line, "data: ") {
			break
		}
	}
	if !strings.Contains(seen, "event: token.obtained") || !strings.Contains(seen, `"connection":"crm"`) || !strings.Contains(seen, "id: ") {
		t.Errorf("the stream said %s", seen)
	}
	if a := w.do("DELETE", "/api/v1/keys/watcher", ""); a.status != 200 {
		t.Fatal(a)
	}
	timeout := time.After(5 * time.Second)
	for {
		select {
		case _, open := <-lines:
			if !open {
				return
			}
		case <-timeout:
			t.Fatal("it goes on after five seconds")
		}
	}
}

// The secrets that the server itself makes are in no file in clear but the one
// that is for them.
func TestS58_the_data_directory_holds_no_key(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	key := w.key("ci", "read")
	if a := w.with(key, "GET", "/api/v1/connections", ""); a.status != 200 {
		t.Fatal(a)
	}
	if err := w.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for what, value := range map[string]string{"key": key[20:], "admin key": w.admin[20:], "client secret": "CANARY-client-secret"} {
			if strings.Contains(string(b), value) && !(what == "admin key" && filepath.Base(f) == "admin.key") {
				t.Errorf("%s holds the %s", filepath.Base(f), what)
			}
		}
	}
}
