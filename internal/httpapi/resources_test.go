package httpapi_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/upstream"
)

func TestApplyOverHTTP(t *testing.T) {
	w := newWorld(t)
	yaml := strings.ReplaceAll(declared, "EM", w.em.URL())
	post := func(query, body, typ string) answer {
		return w.do("POST", "/api/v1/apply"+query, body, "Content-Type", typ)
	}
	dry := post("?dry_run=true", yaml, "application/yaml")
	if v := dry.json(t); dry.status != 200 || v["dry_run"] != true || len(v["effects"].([]any)) != 4 {
		t.Errorf("dry run: %d %s", dry.status, dry.body)
	}
	if a := w.do("GET", "/api/v1/connections", ""); a.body != `{"connections":[]}`+"\n" {
		t.Errorf("a dry run changed something: %s", a.body)
	}
	if a := post("", yaml, "application/yaml"); a.status != 200 || strings.Count(a.body, `"created"`) != 4 {
		t.Errorf("apply: %d %s", a.status, a.body)
	}
	if a := post("", yaml, "application/x-yaml; charset=utf-8"); a.status != 200 || strings.Count(a.body, `"unchanged"`) != 4 {
		t.Errorf("again: %d %s", a.status, a.body)
	}
	if a := post("", `{"clients":{"json":{"provider":"emu","id":"x","secret":"y"}}}`, "application/json"); a.status != 200 {
		t.Errorf("JSON: %d %s", a.status, a.body)
	}
	bundle := mustJSON(map[string]any{"files": []map[string]string{{"name": "a.yaml", "content": "clients: {bundled: {provider: emu, id: x, secret: \"${SECRET}\"}}"}}, "env": map[string]string{"SECRET": "CANARY-env"}})
	if a := post("", bundle, "application/json"); a.status != 200 {
		t.Errorf("bundle: %d %s", a.status, a.body)
	}
	if rows := w.audited(audit.ResourceApply); len(rows) != 5 || !strings.Contains(mustJSON(rows[0]["detail"]), "clients/bundled") {
		t.Errorf("audit: %v", rows)
	}
	for name, c := range map[string]struct {
		query, body string
		status      int
		text        string
	}{
		"an unknown field":            {"", "clients: {x: {provider: emu, idd: 1}}", 422, "clients.x.idd"},
		"an unknown kind":             {"", "clientz: {}", 422, "clientz"},
		"a later kind":                {"", "console: {x: y}", 422, "not in this version"},
		"an unknown provider":         {"", "clients: {x: {provider: emuu, id: a}}", 422, "emuu"},
		"the server's environment":    {"", "clients: {x: {provider: emu, id: \"${PATH}\"}}", 422, "PATH"},
		"the server's disk":           {"", "clients: {x: {provider: emu, id: a, secret: {file: /etc/passwd}}}", 422, "/etc/passwd"},
		"broken YAML":                 {"", "clients: {x", 422, "body.yaml"},
		"an unknown parameter":        {"?dryrun=true", "clients: {}", 422, "query.dryrun"},
		"a parameter that is no word": {"?dry_run=yes", "clients: {}", 422, "query.dry_run"},
	} {
		before := w.do("GET", "/api/v1/export", "").body
		a := post(c.query, c.body, "application/yaml")
		if a.status != c.status || !strings.Contains(a.body, c.text) || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if w.do("GET", "/api/v1/export", "").body != before {
			t.Errorf("%s changed something", name)
		}
	}
	a := post("", "clients:\n  x: { provider: emu, idd: 1 }\n", "application/yaml")
	var v struct {
		Faults []struct {
			File, Path, Detail string
			Line               int
		}
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Faults) == 0 || v.Faults[0].Line != 2 || v.Faults[0].Path != "clients.x.idd" {
		t.Errorf("faults: %s", a.body)
	}
}

func TestResourcesOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	if v := w.do("GET", "/api/v1/clients", "").json(t); len(v["clients"].([]any)) != 1 {
		t.Errorf("%v", v)
	}
	v := w.do("GET", "/api/v1/clients/emu", "").json(t)
	if spec := v["spec"].(map[string]any); v["kind"] != "clients" || v["name"] != "emu" || spec["secret"] != "[secret]" || spec["id"] != "crm-client" || v["revision"] != 1.0 {
		t.Errorf("%v", v)
	}
	put := func(path, body string) answer { return w.do("PUT", path, body) }
	if a := put("/api/v1/clients/emu", `{"provider":"emu","id":"crm-client-2","secret":"[secret]"}`); a.status != 200 || !strings.Contains(a.body, `"changed"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := put("/api/v1/clients/emu", `{"provider":"emu","id":"crm-client-2","secret":"[secret]"}`); a.status != 200 || !strings.Contains(a.body, `"unchanged"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/export?kind=clients&name=emu&reveal=true", ""); !strings.Contains(a.body, "CANARY-client-secret") || !strings.Contains(a.body, "crm-client-2") {
		t.Errorf("the kept secret: %s", a.body)
	}
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"an unknown field":       {"PUT", "/api/v1/clients/emu", `{"provider":"emu","secrett":"x"}`, 422, "clients.emu.secrett"},
		"a field below":          {"PUT", "/api/v1/connections/crm", `{"client":"emu","refresh":{"margn":"5s"}}`, 422, "connections.crm.refresh.margn"},
		"not JSON":               {"PUT", "/api/v1/clients/emu", `{"provider":`, 422, "body.json"},
		"a bad name":             {"PUT", "/api/v1/clients/a%2Fb", `{"provider":"emu"}`, 422, "a/b"},
		"still used":             {"DELETE", "/api/v1/clients/emu", ``, 409, "connections/crm"},
		"nothing there":          {"DELETE", "/api/v1/clients/none", ``, 404, "none"},
		"nothing to see":         {"GET", "/api/v1/clients/none", ``, 404, "none"},
		"one that may be meant":  {"GET", "/api/v1/clients/emi", ``, 404, `did you mean \"emu\"`},
		"S11 another host":       {"PUT", "/api/v1/providers/emu", `{"token_url":"https://evil.example/token","client_auth":"basic"}`, 409, "secret-pinned"},
		"a built-in":             {"DELETE", "/api/v1/providers/github-oauth", ``, 409, "built in"},
		"a kind of later":        {"GET", "/api/v1/console", ``, 501, "not-in-this-version"},
		"a run of later":         {"POST", "/api/v1/workflows/CallMyAPI/run", `{}`, 501, "not-in-this-version"},
		"a kind that is none":    {"GET", "/api/v1/nonsense", ``, 404, "/api/docs"},
		"a path that is none":    {"GET", "/api/v2/connections", ``, 404, "/api/docs"},
		"a method that is none":  {"PATCH", "/api/v1/clients/emu", `{}`, 405, "GET, PUT, DELETE"},
		"a method on the token":  {"DELETE", "/api/v1/connections/crm/token", ``, 405, "GET"},
		"an export without kind": {"GET", "/api/v1/export?name=crm", ``, 422, "query.kind"},
		"an export of nothing":   {"GET", "/api/v1/export?kind=nonsense", ``, 404, "nonsense"},
	} {
		a := w.do(c.method, c.path, c.body)
		if a.status != c.status || !strings.Contains(a.body, c.text) || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if c.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", name)
		}
	}
	if a := w.with("", "GET", "/api/v1/console", ""); a.status != 401 {
		t.Errorf("a later kind without a key: %d", a.status)
	}
	if a := put("/api/v1/network", `{"allow":["10.0.0.0/8"]}`); a.status != 200 || !strings.Contains(w.do("GET", "/api/v1/network", "").body, "10.0.0.0/8") {
		t.Errorf("network: %d %s", a.status, a.body)
	}
	if a := w.do("DELETE", "/api/v1/connections/crm", ""); a.status != 200 {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/connections/crm/token", ""); a.status != 404 {
		t.Errorf("after the delete: %d %s", a.status, a.body)
	}
}

func TestProvidersListTheCatalogue(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	var names []string
	for cursor := ""; ; {
		a := w.do("GET", "/api/v1/providers?limit=50&cursor="+cursor, "")
		var v struct {
			Providers []struct {
				Name, Origin string
				Spec         map[string]any
			}
			NextCursor string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Providers) > 50 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for _, p := range v.Providers {
			names = append(names, p.Name)
			if (p.Name == "emu") != (p.Origin == "") || p.Spec == nil {
				t.Errorf("%+v", p)
			}
		}
		if cursor = v.NextCursor; cursor == "" {
			break
		}
	}
	if len(names) < 100 || !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) || !slices.Contains(names, "emu") || !slices.Contains(names, "google") {
		t.Errorf("%d names: %v", len(names), names)
	}
	if v := w.do("GET", "/api/v1/providers/google", "").json(t); v["origin"] != "catalogue" {
		t.Errorf("%v", v)
	}
}

func TestKeysOverHTTP(t *testing.T) {
	w := newWorld(t)
	a := w.do("POST", "/api/v1/keys", `{"name":"ci","scopes":["token:crm","read"],"addresses":["127.0.0.1"],"expires_at":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	v := a.json(t)
	key, _ := v["key"].(string)
	if a.status != 201 || !strings.HasPrefix(key, "fk_") || v["name"] != "ci" || len(v["scopes"].([]any)) != 2 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.with(key, "GET", "/api/v1/connections", ""); a.status != 200 {
		t.Errorf("the new key: %d", a.status)
	}
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"the name is taken":  {`{"name":"ci","scopes":["read"]}`, 409, "name-taken"},
		"no scope":           {`{"name":"x","scopes":[]}`, 422, "body.scopes"},
		"an unknown scope":   {`{"name":"x","scopes":["read","write"]}`, 422, "body.scopes[1]"},
		"no name":            {`{"scopes":["read"]}`, 422, "name"},
		"an unknown field":   {`{"name":"x","scopes":["read"],"scope":"y"}`, 422, "body.scope"},
		"an expiry gone by":  {`{"name":"x","scopes":["read"],"expires_at":"2020-01-01T00:00:00Z"}`, 422, "body.expires_at"},
		"an address that is": {`{"name":"x","scopes":["read"],"addresses":["localhost"]}`, 422, "body.addresses[0]"},
		"not JSON":           {`{`, 400, "body"},
	} {
		if a := w.do("POST", "/api/v1/keys", c.body); a.status != c.status || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	list := w.do("GET", "/api/v1/keys", "")
	if strings.Contains(list.body, key[20:]) || !strings.Contains(list.body, `"name":"ci"`) || !strings.Contains(list.body, `"last_used"`) {
		t.Errorf("%s", list.body)
	}
	if a := w.do("DELETE", "/api/v1/keys/ci", ""); a.status != 200 {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	if a := w.with(key, "GET", "/api/v1/connections", ""); a.status != 401 {
		t.Errorf("the revoked key: %d", a.status)
	}
	if a := w.do("DELETE", "/api/v1/keys/ci", ""); a.status != 404 {
		t.Errorf("revoked twice: %d", a.status)
	}
	for action, n := range map[string]int{audit.KeyCreate: 5, audit.KeyRevoke: 2} {
		if rows := w.audited(action); len(rows) != n {
			t.Errorf("%s: %d rows, want %d", action, len(rows), n)
		}
	}
	if rows := w.audited(audit.KeyRefused); len(rows) != 0 {
		t.Errorf("%v", rows)
	}
	reader := w.key("reader", "read")
	w.with(reader, "POST", "/api/v1/keys", `{"name":"x","scopes":["admin"]}`)
	if rows := w.audited(audit.KeyRefused); len(rows) != 1 || !strings.Contains(mustJSON(rows[0]), `"needs":"admin"`) || !strings.HasPrefix(rows[0]["actor"].(string), "key:reader#") {
		t.Errorf("a refused key: %v", rows)
	}
}

func TestEventsOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for range 5 {
		w.do("POST", "/api/v1/connections/crm/refresh", "")
	}
	w.importSet("person", mustJSON(w.issue("crm-client", "alice")))
	type page struct {
		Events []struct {
			Seq              int64
			Connection, Type string
			At               time.Time
		}
		NextCursor string `json:"next_cursor"`
	}
	read := func(path string) (p page) {
		a := w.do("GET", path, "")
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return p
	}
	all := read("/api/v1/events?limit=1000")
	if len(all.Events) < 6 || all.Events[0].Connection != "person" || all.NextCursor != "" {
		t.Errorf("%+v", all)
	}
	var walked []int64
	for cursor := ""; ; {
		p := read("/api/v1/connections/crm/events?limit=2&cursor=" + cursor)
		for _, e := range p.Events {
			if e.Connection != "crm" {
				t.Errorf("%+v", e)
			}
			walked = append(walked, e.Seq)
		}
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	if len(walked) < 5 || !slices.IsSortedFunc(walked, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("%v", walked)
	}
	if a := w.do("GET", "/api/v1/connections/nobody/events", ""); a.status != 404 {
		t.Errorf("%d", a.status)
	}
	if a := w.do("GET", "/api/v1/events?cursor=x", ""); a.status != 422 {
		t.Errorf("%d", a.status)
	}
	// A client that comes back with Last-Event-ID misses nothing.
	stream := func(path, after string, n int) (ids []string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.admin)
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Last-Event-ID", after)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
		buf, got := make([]byte, 64<<10), ""
		for strings.Count(got, "\nid: ")+strings.Count(got[:min(4, len(got))], "id: ") < n {
			k, err := resp.Body.Read(buf)
			if err != nil {
				t.Fatalf("the stream ended after %q: %v", got, err)
			}
			got += string(buf[:k])
		}
		for _, m := range regexp.MustCompile(`(?m)^id: (\d+)$`).FindAllStringSubmatch(got, -1) {
			ids = append(ids, m[1])
		}
		return ids
	}
	if ids := stream("/api/v1/stream", "0", len(all.Events)); len(ids) != len(all.Events) {
		t.Errorf("%d events from the beginning, want %d", len(ids), len(all.Events))
	}
	if ids := stream("/api/v1/connections/crm/events", "0", len(walked)); len(ids) != len(walked) {
		t.Errorf("%d events of one connection, want %d", len(ids), len(walked))
	}
	if a := w.do("GET", "/api/v1/stream", "", "Accept", "text/event-stream", "Last-Event-ID", "x"); a.status != 400 {
		t.Errorf("%d", a.status)
	}
	if a := w.do("GET", "/api/v1/stream", "", "Accept", "application/json"); a.status != 406 {
		t.Errorf("%d", a.status)
	}
}

func TestAuditOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	key := w.key("reader", "token:crm")
	for range 3 {
		w.with(key, "GET", "/api/v1/connections/crm/token", "")
	}
	rows := w.audited(audit.TokenRead)
	if len(rows) != 3 || !strings.HasPrefix(rows[0]["actor"].(string), "key:reader#") || rows[0]["subject"] != "crm" {
		t.Fatalf("%v", rows)
	}
	d := rows[0]["detail"].(map[string]any)
	if d["generation"] != 1.0 || !strings.HasPrefix(d["from"].(string), "127.0.0.1:") || d["request"] == "" || len(rows[0]["hash"].(string)) != 64 {
		t.Errorf("detail %v", d)
	}
	v := w.do("GET", "/api/v1/audit/verify", "").json(t)
	mark, _ := v["checkpoint"].(string)
	if v["verified"] != true || mark == "" {
		t.Fatalf("%v", v)
	}
	if v := w.do("GET", "/api/v1/audit/verify?checkpoint="+mark, "").json(t); v["verified"] != true {
		t.Errorf("with its checkpoint: %v", v)
	}
	if a := w.do("GET", "/api/v1/audit/verify?checkpoint=x", ""); a.status != 422 {
		t.Errorf("%d", a.status)
	}
	if v := w.do("GET", "/api/v1/audit?subject=crm&limit=2", "").json(t); len(v["audit"].([]any)) != 2 || v["next_cursor"] == nil {
		t.Errorf("%v", v)
	}
	// S73: what callers call things stays text.
	w.do("DELETE", "/api/v1/keys/a%0Alevel=ERROR%20forged", "")
	if rows := w.audited(audit.KeyRevoke); len(rows) != 1 || rows[0]["subject"] != "a\nlevel=ERROR forged" {
		t.Errorf("%v", rows)
	}
}

func TestMasterKeyOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	before := w.do("GET", "/api/v1/master-key", "").json(t)
	after := w.do("POST", "/api/v1/master-key/rotate", "").json(t)
	if before["master_key"] == after["master_key"] || after["moved"].(float64) < 1 || after["left"] != 0.0 || after["place"] == "" {
		t.Errorf("%v, then %v", before, after)
	}
	if a := w.do("GET", "/api/v1/connections/crm/token", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.do("POST", "/api/v1/master-key/rotate", `{"prepare":"relative.key"}`); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.do("POST", "/api/v1/resume", ""); a.status != 200 || a.json(t)["resumed"] != true {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t)
	if a := w.with("", "GET", "/readyz", ""); a.status != 200 || a.json(t)["status"] != "ready" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.with("", "GET", "/healthz", ""); a.status != 200 || a.json(t)["status"] != "ok" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestDocsNeedNoNetwork(t *testing.T) {
	w := newWorld(t)
	a := w.with("", "GET", "/api/docs", "")
	if a.status != 200 || strings.Contains(a.body, "<script") || regexp.MustCompile(`(?i)(src|href)="(https?:)?//`).MatchString(a.body) {
		t.Errorf("%d, or it loads something", a.status)
	}
	for op := range w.operations() {
		_, path, _ := strings.Cut(op, " ")
		if !strings.Contains(a.body, path) {
			t.Errorf("the page lacks %s", op)
		}
	}
	for _, id := range []string{"read-token", "connect", "apply", "stream"} {
		if !strings.Contains(a.body, `id="`+id+`"`) {
			t.Errorf("the page lacks %s", id)
		}
	}
	// The document is one that OpenAPI tools read: every reference resolves.
	doc := w.with("", "GET", "/api/v1/openapi.json", "").body
	var v map[string]any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"\$ref": "#/components/schemas/([^"]+)"`).FindAllStringSubmatch(doc, -1) {
		if v["components"].(map[string]any)["schemas"].(map[string]any)[m[1]] == nil {
			t.Errorf("the schema %s is not there", m[1])
		}
	}
	if strings.Contains(doc, "$schema") {
		t.Error("answers carry $schema")
	}
}

// docs/problems.md says what each type means.
func TestEveryProblemIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "problems.md"))
	if err != nil {
		t.Fatal(err)
	}
	slug := regexp.MustCompile(`(?:Slug: |problem\.(?:New|Write)\([^,"]*(?:, [^,"]*)?, |p\.Slug, p\.Title[^=]*= (?:http\.[A-Za-z]+, )?)"([a-z][a-z0-9-]+)"|Slug: *"([a-z][a-z0-9-]+)"`)
	found := map[string]bool{}
	for _, dir := range []string{".", "../problem", "../proxy", "../web"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range slug.FindAllStringSubmatch(string(b), -1) {
				found[m[1]+m[2]] = true
			}
		}
	}
	for _, r := range []upstream.Refusal{upstream.NoAPI, upstream.BadTarget, upstream.PathRefused, upstream.MethodRefused, upstream.HostRefused, upstream.NoWebSocket, upstream.Misconfigured} {
		found[string(r)] = true
	}
	for _, s := range []string{"connection-reauth", "connection-misconfigured", "connection-uncertain", "connection-attention"} {
		found[s] = true
	}
	if len(found) < 40 {
		t.Errorf("%d types were found in the source: the search looks wrong", len(found))
	}
	for s := range found {
		if !strings.Contains(string(doc), "`"+s+"`") {
			t.Errorf("docs/problems.md does not say what %s is", s)
		}
	}
}
