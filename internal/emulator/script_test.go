package emulator_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
)

const script = `
seed: rehearsal
registered: true
default: { model: strict, lifetime: 20s }
clients:
  crm: { secret: s, expires: string, redirect_uris: ["http://127.0.0.1/cb"] }
  old: { secret: s, model: grace, grace: 1m, lifetime: 5m }
users:
  alice: { password: pw, subject: u-1 }
paths:
  /WebAPI/auth: /login
faults:
  - { at: refresh, client: crm, skip: 1, mode: [slow:1ms, after:http_502] }
`

func TestScript(t *testing.T) {
	o, err := emulator.ParseScript("script.yaml", []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, o)
	a := r.login("crm")
	if a.v["expires_in"] != "20" || r.me(a.str("access_token")).str("sub") != "u-1" {
		t.Errorf("login = %s", a.body)
	}
	b := r.refresh("crm", a.str("refresh_token"))
	r.wants("the first refresh passes", b, 200, "")
	r.wants("the second one rotates and fails", r.refresh("crm", b.str("refresh_token")), 502, "")
	r.wants("so the third one is a reuse", r.refresh("crm", b.str("refresh_token")), 400, "invalid_grant")
	if n := r.e.Stats().Revoked["reuse"]; n != 1 {
		t.Errorf("families revoked = %d, want 1", n)
	}
	if a := r.login("old"); a.v["expires_in"] != 300.0 {
		t.Errorf("another client's lifetime = %v", a.v["expires_in"])
	}
	if a := r.json("/WebAPI/auth", `{"username":"alice","password":"pw"}`); a.str("authToken") == "" {
		t.Errorf("an address of the script = %d %s", a.status, a.body)
	}
	if _, err := emulator.ParseScript("empty.yaml", nil); err != nil {
		t.Errorf("an empty script: %v", err)
	}
}

func TestScriptsWithMistakes(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"default: {model: strict", "f.yaml: "},
		{"a\nb", "f.yaml:1: names and values are needed here"},
		{"default:\n  lifetme: 20s", "f.yaml:2: default.lifetme is not known: use one of auto_consent,"},
		{"clients:\n  crm:\n    lifetime: soon", `f.yaml:3: clients.crm.lifetime: "soon" is not a duration`},
		{"clients:\n  crm:\n    every: often", "f.yaml:3: clients.crm.every: a int is needed here, not a string"},
		{"clients:\n  crm: { model: strictly }", `f.yaml: client crm: model: "strictly" is not known: use one of [accepting`},
		{"clients:\n  crm: { id: other }", "f.yaml: clients.crm.id: the name is the id"},
		{"faults:\n  - at: token\n    mode: http_9", `f.yaml: faults, number 1: mode "http_9"`},
		{"faults:\n  - at: token\n    mode: [a, [b]]", "f.yaml:3: faults[0].mode: "},
		{"faults: drop", "f.yaml:1: faults: a list is needed here"},
		{"paths: {/x: /nowhere}", "f.yaml: paths: /x leads to /nowhere"},
		{"default: {pkce: plain}", `f.yaml: default: pkce: "plain" is not known: use one of optional, required`},
	} {
		_, err := emulator.ParseScript("f.yaml", []byte(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s…", tt.text, err, tt.want)
		}
	}
}

func TestControlAddresses(t *testing.T) {
	r := start(t, emulator.Options{})
	ok := func(what string, a answer) answer {
		t.Helper()
		if a.status != 200 {
			t.Errorf("%s = %d %s", what, a.status, a.body)
		}
		return a
	}
	ok("clients", r.json("/_clients", `{"id":"crm","secret":"s","model":"static","lifetime":"20s","names":{"scope":""}}`))
	ok("clients", r.json("/_clients", `[{"id":"crm","lifetime":"30s"},{"id":"b"}]`))
	a := r.login("crm")
	if _, there := a.v["scope"]; a.v["expires_in"] != 30.0 || there {
		t.Errorf("what a change does not name stays: %s", a.body)
	}
	if b := r.refresh("crm", a.str("refresh_token")); b.str("refresh_token") != a.str("refresh_token") {
		t.Error("the model did not stay")
	}
	if list := r.get("/_clients"); bytes.Contains(list.body, []byte(`"secret":"s"`)) || !bytes.Contains(list.body, []byte(`"id":"crm"`)) {
		t.Errorf("clients = %s", list.body)
	}
	ok("next", r.json("/_next", `{"at":"token","count":1,"mode":"http_500"}`))
	ok("next", r.json("/_next", `[{"at":"api","mode":["slow:1ms","http_503"]}]`))
	if list := r.get("/_next"); !bytes.Contains(list.body, []byte(`"http_503"`)) {
		t.Errorf("next = %s", list.body)
	}
	if s := r.refresh("crm", "x").status; s != 500 {
		t.Errorf("queued by HTTP: %d", s)
	}
	ok("clear", r.do(r.request("DELETE", "/_next", "")))
	if s := r.me(a.str("access_token")).status; s != 200 {
		t.Errorf("after the queue was cleared: %d", s)
	}
	if c := ok("clock", r.json("/_clock", `{"advance":"1m"}`)); c.str("now") != "2026-11-20T12:01:00Z" {
		t.Errorf("clock = %s", c.body)
	}
	r.wants("a minute later", r.me(a.str("access_token")), 401, "invalid_token")
	issued := ok("issue", r.json("/_issue", `{"client":"b","subject":"bob"}`))
	if me := r.me(issued.str("access_token")); me.str("sub") != "bob" {
		t.Errorf("issued = %s", me.body)
	}
	ok("kill", r.json("/_kill", `{"client":"b"}`))
	r.wants("killed", r.me(issued.str("access_token")), 401, "invalid_token")
	ok("revoke", r.json("/_revoke", ``))
	ok("keys", r.json("/_keys", ``))
	if h := ok("held", r.get("/_held?n=1&wait=1ms")); h.v["held"] != 0.0 {
		t.Errorf("held = %s", h.body)
	}
	ok("release", r.json("/_release", ``))
	ok("reset of counts", r.json("/_reset", `{"only":"stats"}`))
	ok("reset", r.json("/_reset", ``))
	for path, body := range map[string]string{
		"/_clients": `{"id":"crm","modell":"static"}`, "/_next": `{"mode":"nothing"}`, "/_clock": `{"advance":"x"}`, "/_reset": `{"only":"x"}`, "/_issue": `{}`, "/_revoke": `{"x":1}`,
	} {
		if a := r.json(path, body); a.status != 400 {
			t.Errorf("%s %s = %d %s", path, body, a.status, a.body)
		}
	}
	if a := r.json("/_nothing", ""); a.status != 404 {
		t.Errorf("an unknown control address = %d", a.status)
	}
	if a := r.json("/_reset", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); a.status != 403 {
		t.Errorf("from another site = %d, want 403", a.status)
	}
	home := string(ok("/", r.get("/")).body)
	for _, m := range emulator.ModeList {
		if !strings.Contains(home, m.Name) {
			t.Errorf("/ does not name mode %s", m.Name)
		}
	}
}

// The page for operators names everything there is.
func TestDocumentationIsComplete(t *testing.T) {
	b, err := os.ReadFile("../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, m := range emulator.ModeList {
		if !strings.Contains(text, "| `"+m.Form()+"` |") {
			t.Errorf("docs/emulator.md does not explain mode %s", m.Form())
		}
	}
	for _, m := range emulator.Models() {
		if !strings.Contains(text, "| `"+string(m)+"` |") {
			t.Errorf("docs/emulator.md does not explain model %s", m)
		}
	}
	for _, f := range emulator.ScriptFields() {
		if !strings.Contains(text, "| `"+f+"` |") {
			t.Errorf("docs/emulator.md does not explain field %s", f)
		}
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(seed.*?)```").FindAllStringSubmatch(text, -1) {
		if _, err := emulator.ParseScript("docs/emulator.md", []byte(block[1])); err != nil {
			t.Errorf("an example does not parse: %v", err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	on chan struct{} // gets a value after each write
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.on <- struct{}{}:
		default:
		}
	}()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script.yaml")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	out := &syncBuffer{on: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		done <- emulator.Run(ctx, emulator.Command{Listen: "127.0.0.1:0", Script: file, Out: out})
	}()
	base := ""
	for base == "" {
		select {
		case <-out.on:
		case err := <-done:
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatal("no banner")
		}
		if m := regexp.MustCompile(`emulator: (http://\S+)\n`).FindStringSubmatch(out.String()); m != nil {
			base = m[1]
		}
	}
	r := &rig{t, nil, base, httpClient(t)}
	a := r.login("crm")
	r.me(a.str("access_token"), "X-Emulate", "http_503")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"POST   /token password client=crm 200", "GET    /api/me client=crm 503 [http_503]", "curl "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), a.str("access_token")) {
		t.Error("a token was printed")
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for want, c := range map[string]emulator.Command{
		"take another port":  {Listen: l.Addr().String(), Out: out},
		"emulator script: ":  {Script: file + ".none", Out: out},
		"missing port":       {Listen: "127.0.0.1", Out: out},
		"script2.yaml:1: a ": {Script: bad(t), Out: out},
	} {
		if err := emulator.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, "a ")) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

func bad(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "script2.yaml")
	if err := os.WriteFile(file, []byte("x: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
