package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
)

// keeperFiles are the files of examples/kianda, as one configuration.
func keeperFiles(t testing.TB, names ...string) string {
	t.Helper()
	var out []string
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join("..", "..", "examples", "kianda", n+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "\n---\n")
}

// A pressed is the answer to a press.
type pressed struct {
	RunID    string         `json:"run_id"`
	Status   string         `json:"status"`
	ID       string         `json:"id"`
	Saved    bool           `json:"saved"`
	Fields   map[string]any `json:"fields"`
	Expires  time.Time      `json:"expires_at"`
	Fault    *api.RunFault  `json:"fault"`
	Warnings []string       `json:"warnings"`
}

type previewed struct {
	Steps []struct {
		Rule, Type, Event, Message string
		Request                    *struct {
			Method, URL, Body string
			Headers           map[string]string
		}
		Answer *struct {
			Status int
			Body   any
		}
	}
	Fields   map[string]any
	Instance *api.Instance
	Warnings []string
}

// A forms is a world with the document's process in it.
type forms struct{ *world }

func newForms(t *testing.T) *forms {
	w := newWorld(t, emulator.Options{}, setup{config: keeperFiles(t, "service", "process")})
	if err := w.em.Change([]byte(`{"id":"keeper","created_at":true,"model":"strict"}`)); err != nil {
		t.Fatal(err)
	}
	return &forms{w}
}

func (w *forms) json(t testing.TB, method, target string, in, out any) reply {
	t.Helper()
	var body strings.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = *strings.NewReader(string(b))
	}
	r := w.ask(t, method, target, &body, "Content-Type", "application/json")
	if out != nil {
		if r.status > 299 {
			t.Fatalf("%s %s: %s", method, target, r)
		}
		r.decode(t, out)
	}
	return r
}

func (w *forms) press(t testing.TB, trigger string) pressed {
	t.Helper()
	var p pressed
	w.json(t, "POST", "/api/v1/processes/TokenKeeper/instances/TokenKeeper-1/"+trigger, nil, &p)
	return p
}

func (w *forms) instance(t testing.TB, id string) api.Instance {
	t.Helper()
	var in api.Instance
	process, _, _ := strings.Cut(id, "-")
	w.json(t, "GET", "/api/v1/processes/"+process+"/instances/"+id, nil, &in)
	return in
}

func (w *forms) apply(t testing.TB, text string) *api.Applied {
	t.Helper()
	var out api.Applied
	r := w.ask(t, "POST", "/api/v1/apply", strings.NewReader(w.bundle(t, text)), "Content-Type", "application/json")
	if r.status != 200 {
		t.Fatalf("apply: %s", r)
	}
	r.decode(t, &out)
	return &out
}

// bundle is the body of an apply of one file.
func (w *forms) bundle(t testing.TB, text string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"files": []any{map[string]any{"path": "test.yaml", "content": strings.ReplaceAll(text, "${EMULATOR}", w.base)}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sent lists the bodies of token requests since the last reset of the stats.
func (w *forms) sent() []url.Values {
	var out []url.Values
	for _, r := range w.em.Requests("token") {
		v, _ := url.ParseQuery(string(r.Body))
		out = append(out, v)
	}
	return out
}

func (w *forms) steps(t testing.TB, run string) string {
	t.Helper()
	list, err := w.client.Journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range list {
		out = append(out, s.Activity+" "+s.Event)
	}
	return strings.Join(out, ", ")
}

// The document step by step, over HTTP: a service, a process, its instance out of
// the preview, the button, its effects.
func TestProcesses(t *testing.T) {
	w := newForms(t)
	first, err := w.em.Issue("keeper", "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	form := map[string]any{"GrantType": "refresh_token", "ClientId": "keeper", "ClientSecret": "k33per-secret", "RedirectUrl": "https://app.example/back", "RefreshToken": first.Refresh, "AccessToken": first.Access}

	t.Run("cap119 a service has methods that are called independently", func(t *testing.T) {
		var got struct {
			Spec struct {
				Methods []struct{ Name, Method, Path string }
			}
		}
		w.json(t, "GET", "/api/v1/services/Acme", nil, &got)
		if len(got.Spec.Methods) != 2 || got.Spec.Methods[0].Name != "Get/Refresh Auth Token" || got.Spec.Methods[1].Method != "GET" {
			t.Errorf("%+v", got)
		}
		var tested struct {
			Answer struct {
				Status int
				Body   map[string]any
			}
			Request struct{ Headers map[string]string }
		}
		w.json(t, "POST", "/api/v1/services/Acme/test", map[string]any{"method": "Get account", "input": map[string]any{"Authorization": "Bearer " + first.Access}, "perform": true}, &tested)
		if tested.Answer.Status != 200 || tested.Answer.Body["sub"] != "alice" || tested.Request.Headers["Authorization"] != "[secret]" {
			t.Errorf("%+v", tested)
		}
		if n := w.em.Count("refresh_token"); n != 0 {
			t.Errorf("the other method was called %d times", n)
		}
	})
	t.Run("cap130 a preview shows the request and sends it only when asked; saving makes an instance", func(t *testing.T) {
		var p previewed
		r := w.json(t, "POST", "/api/v1/processes/TokenKeeper/preview", map[string]any{"trigger": "button:Refresh", "fields": form}, &p)
		q := p.Steps[1].Request
		if q == nil || q.Method != "POST" || q.URL != w.base+"/token" || q.Body != "grant_type=refresh_token&client_id=keeper&client_secret=[secret]&redirect_url=https%3A%2F%2Fapp.example%2Fback&refresh_token=[secret]" || q.Headers["Content-Type"] != "application/x-www-form-urlencoded" {
			t.Errorf("%+v", q)
		}
		if p.Instance != nil || w.em.Count("refresh_token") != 0 || strings.Contains(r.String(), first.Refresh) || strings.Contains(r.String(), "k33per") {
			t.Errorf("%s", r)
		}
		w.json(t, "POST", "/api/v1/processes/TokenKeeper/preview", map[string]any{"trigger": "button:Refresh", "fields": form, "perform": true, "save": true}, &p)
		if p.Instance == nil || p.Instance.ID != "TokenKeeper-1" || w.em.Count("refresh_token") != 1 || p.Steps[1].Answer == nil || p.Steps[1].Answer.Status != 200 {
			t.Fatalf("%+v", p)
		}
		if r := w.json(t, "POST", "/api/v1/processes/TokenKeeper/preview", map[string]any{"trigger": "button:Refresh", "instance": "TokenKeeper-1", "perform": true}, nil); r.status != 409 || w.em.Count("refresh_token") != 1 {
			t.Errorf("%s", r)
		}
	})
	t.Run("cap131 a saved instance has a stable readable id", func(t *testing.T) {
		in := w.instance(t, "TokenKeeper-1")
		if in.ID != "TokenKeeper-1" || in.SavedAt == nil {
			t.Errorf("%+v", in)
		}
		var made api.Instance
		w.json(t, "POST", "/api/v1/processes/TokenKeeper/instances", map[string]any{"fields": map[string]any{"ClientId": "b"}}, &made)
		if made.ID != "TokenKeeper-2" {
			t.Errorf("%+v", made)
		}
		if r := w.json(t, "DELETE", "/api/v1/processes/TokenKeeper/instances/TokenKeeper-2", nil, nil); r.status != 204 {
			t.Error(r)
		}
		w.json(t, "POST", "/api/v1/processes/TokenKeeper/instances", map[string]any{"fields": map[string]any{"ClientId": "b"}}, &made)
		if made.ID != "TokenKeeper-3" {
			t.Errorf("an id is used again: %+v", made)
		}
	})
	t.Run("cap020 values that were entered are in the saved instance, those of secret fields hidden", func(t *testing.T) {
		in := w.instance(t, "TokenKeeper-1")
		if in.Fields["ClientId"] != "keeper" || in.Fields["RedirectUrl"] != "https://app.example/back" || in.Fields["ClientSecret"] != "[secret]" || in.Fields["RefreshToken"] != "[secret]" {
			t.Errorf("%+v", in)
		}
	})
	t.Run("cap049 all five parameters go out, each from its own field", func(t *testing.T) {
		w.em.ResetStats()
		p := w.press(t, "buttons/Refresh")
		got := w.sent()
		if p.Status != "finished" || len(got) != 1 || len(got[0]) != 5 || got[0].Get("grant_type") != "refresh_token" || got[0].Get("client_id") != "keeper" || got[0].Get("client_secret") != "k33per-secret" || got[0].Get("redirect_url") != "https://app.example/back" || got[0].Get("refresh_token") == "" {
			t.Errorf("%+v %+v", p, got)
		}
	})
	t.Run("cap120 the name of a method may hold a slash and blanks", func(t *testing.T) {
		var tested struct{ Request struct{ URL string } }
		w.json(t, "POST", "/api/v1/services/Acme/test", map[string]any{"method": "Get/Refresh Auth Token"}, &tested)
		if tested.Request.URL != w.base+"/token" {
			t.Errorf("%+v", tested)
		}
	})
	t.Run("cap123 a person, a program and a schedule press the same button", func(t *testing.T) {
		w.apply(t, keeperFiles(t, "schedule"))
		before := w.em.Count("refresh_token")
		one := w.press(t, "buttons/Refresh")
		if p := w.cli(t, "run", "TokenKeeper/TokenKeeper-1:Refresh"); p.exit(t) != 0 {
			t.Error(p.err.String())
		}
		if p := w.cli(t, "schedule", "run", "Keep the token fresh"); p.exit(t) != 0 {
			t.Error(p.err.String())
		}
		list, err := w.client.Runs(t.Context(), api.RunFilter{Kind: "process"}, 3)
		if err != nil {
			t.Fatal(err)
		}
		want := w.steps(t, one.RunID)
		var triggers []string
		for _, r := range list {
			triggers = append(triggers, r.Trigger)
			if got := w.steps(t, r.ID); got != want {
				t.Errorf("%s: %s, want %s", r.Trigger, got, want)
			}
		}
		if fmt.Sprint(triggers) != "[schedule:Keep the token fresh cli api]" && fmt.Sprint(triggers) != "[schedule:Keep the token fresh api api]" || w.em.Count("refresh_token") != before+3 {
			t.Error(triggers)
		}
	})
	t.Run("cap124 rules run in the listed order", func(t *testing.T) {
		p := w.press(t, "buttons/Refresh")
		if got := w.steps(t, p.RunID); got != "Refresh/1 Executed, Refresh/2 Executed, Refresh/3 Executed" {
			t.Error(got)
		}
		r := w.ask(t, "GET", "/api/v1/runs/"+p.RunID+"/journal", nil)
		if strings.Contains(r.String(), "k33per") || strings.Contains(r.String(), "rt_") || strings.Contains(r.String(), "at_") {
			t.Errorf("the journal shows secrets: %s", r)
		}
	})
	t.Run("cap037 expires_in and created_at make the instance's expiry", func(t *testing.T) {
		in := w.instance(t, "TokenKeeper-1")
		created, _ := in.Fields["CreatedAt"].(float64)
		if in.ExpiresAt == nil || in.Fields["ExpiresIn"] != 3600.0 || !in.ExpiresAt.Equal(time.Unix(int64(created)+3600, 0)) {
			t.Errorf("%+v", in)
		}
	})
	t.Run("cap125 a cleared field is cleared for nobody else before Save", func(t *testing.T) {
		if err := w.em.Next(emulator.Fault{At: "token", Mode: emulator.Modes{"error:server_error"}}); err != nil {
			t.Fatal(err)
		}
		p := w.press(t, "buttons/Refresh")
		if p.Status != "faulted" || p.Saved || p.Fields["AccessToken"] != "" {
			t.Errorf("%+v", p)
		}
		if in := w.instance(t, "TokenKeeper-1"); in.Fields["AccessToken"] != "[secret]" || in.Fields["Problem"] != "" {
			t.Errorf("%+v", in)
		}
	})
	t.Run("cap126 an HTTP error stops the list before Save and goes to the error mapping", func(t *testing.T) {
		if err := w.em.Next(emulator.Fault{At: "token", Mode: emulator.Modes{"error:server_error"}}); err != nil {
			t.Fatal(err)
		}
		p := w.press(t, "buttons/Refresh")
		if p.Fault == nil || !strings.Contains(p.Fault.Message, "answered with status 400: server_error") || w.steps(t, p.RunID) != "Refresh/1 Executed, Refresh/2 Faulted" || !strings.Contains(fmt.Sprint(p.Fields["Problem"]), "server_error") {
			t.Errorf("%+v %+v", p, p.Fault)
		}
		if p := w.press(t, "buttons/Refresh"); p.Status != "finished" {
			t.Errorf("what was saved does not refresh any more: %+v", p.Fault)
		}
	})
	t.Run("cap022 another process reads the new token with no edit", func(t *testing.T) {
		look := func() {
			t.Helper()
			var p pressed
			w.json(t, "POST", "/api/v1/processes/Account/instances/Account-1/buttons/Look", nil, &p)
			if p.Status != "finished" || p.Fields["Subject"] != "alice" {
				t.Errorf("%+v", p)
			}
		}
		look()
		w.em.KillAccess("keeper")
		w.press(t, "buttons/Refresh")
		look()
	})
	t.Run("cap022 a workflow and a connection read the new token, too", func(t *testing.T) {
		w.apply(t, `
providers: { acme: { token_url: "${EMULATOR}/token", client_auth: body } }
connections:
  acme: { provider: acme, id: machine, secret: s3cret-machine, grant: client_credentials,
    api: { base_url: "${EMULATOR}/api", inject: { header: Authorization, template: "Bearer {{process.TokenKeeper-1.AccessToken}}" } } }
`)
		for range 2 {
			if r := w.call(t, "GET", "acme", "/me", nil); r.status != 200 || !strings.Contains(r.String(), `"client_id":"keeper"`) {
				t.Errorf("%s", r)
			}
			w.em.KillAccess("keeper")
			w.press(t, "buttons/Refresh")
		}
		w.put1(t, "workflows", "Reader", map[string]any{"publish": true, "definition": `
workflow: Reader
activities:
  call:
    type: SendHttpRequest
    with: { Url: "` + w.base + `/api/me", Authorization: !js '"Bearer " + processField("TokenKeeper-1", "AccessToken")', ReadContent: true }
    next: done
  done: { type: Finish, with: { ActivityOutput: !js activities.call.ResponseContent().sub } }
`})
		out, err := w.client.RunWorkflow(t.Context(), api.RunRequest{Name: "Reader"})
		if err != nil || string(out.Output) != `"alice"` {
			t.Fatalf("%+v, %v", out, err)
		}
		if r := w.ask(t, "GET", "/api/v1/runs/"+out.RunID+"/journal", nil); strings.Contains(r.String(), "at_") {
			t.Errorf("%s", r)
		}
	})
	t.Run("cap021 a token set from elsewhere is entered by hand and refreshes", func(t *testing.T) {
		set, err := w.em.Issue("keeper", "bob", "")
		if err != nil {
			t.Fatal(err)
		}
		var in api.Instance
		w.json(t, "PATCH", "/api/v1/processes/TokenKeeper/instances/TokenKeeper-1", map[string]any{"fields": map[string]any{"RefreshToken": set.Refresh, "AccessToken": set.Access, "ClientSecret": "[secret]"}}, &in)
		if p := w.press(t, "buttons/Refresh"); p.Status != "finished" {
			t.Errorf("%+v", p.Fault)
		}
		var p pressed
		w.json(t, "POST", "/api/v1/processes/Account/instances/Account-1/buttons/Look", nil, &p)
		if p.Fields["Subject"] != "bob" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("cap121 adding a method disturbs nothing", func(t *testing.T) {
		w.apply(t, strings.Replace(keeperFiles(t, "service"), "    methods:\n", "    methods:\n      Another: { method: GET, path: /api/items }\n", 1))
		if p := w.press(t, "buttons/Refresh"); p.Status != "finished" {
			t.Errorf("%+v", p.Fault)
		}
	})
	t.Run("cap122 parameters without a source are named", func(t *testing.T) {
		got := w.apply(t, strings.Replace(keeperFiles(t, "process"), `              redirect_url: "[RedirectUrl]"`+"\n", "", 1))
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Detail, "parameter redirect_url of Get/Refresh Auth Token has no source") {
			t.Errorf("%+v", got.Warnings)
		}
	})
	t.Run("cap064 a list without a final Save is reported, and nothing of it is durable", func(t *testing.T) {
		w.apply(t, strings.Replace(keeperFiles(t, "process"), "        - save: {}\n    expiry", "    expiry", 1))
		var got struct {
			Findings []struct{ Severity, Where, What string }
		}
		w.json(t, "GET", "/api/v1/processes/TokenKeeper", nil, &got)
		if len(got.Findings) != 1 || got.Findings[0].Where != "buttons.Refresh" || !strings.Contains(got.Findings[0].What, "does not end in a Save form rule") {
			t.Errorf("%+v", got)
		}
		before := w.instance(t, "TokenKeeper-1")
		p := w.press(t, "rules/Refresh%2F1")
		if after := w.instance(t, "TokenKeeper-1"); p.Saved || len(p.Warnings) != 1 || !after.SavedAt.Equal(*before.SavedAt) || after.Fields["AccessToken"] != "[secret]" {
			t.Errorf("%+v %+v", p, after)
		}
		w.apply(t, keeperFiles(t, "process"))
	})
	t.Run("cap062 success mappings copy header, body and text; other fields stay", func(t *testing.T) {
		w.apply(t, `
services:
  Probe: { base_url: "${EMULATOR}/api", methods: { Get: { method: GET, path: /me, request: { headers: [Authorization] } } } }
processes:
  Probe:
    fields: [Type, Who, Note, Kept]
    buttons: { Go: [ { find_items: { service: Probe, method: Get, input: { Authorization: "Bearer [TokenKeeper-1.AccessToken]" },
      on_success: { Type: "[headers.Content-Type]", Who: "[body.sub]", Note: "fixed text" } } }, { save: {} } ] }
    instances: [ { Kept: stays, Note: old } ]
`)
		var p pressed
		w.json(t, "POST", "/api/v1/processes/Probe/instances/Probe-1/buttons/Go", nil, &p)
		if f := w.instance(t, "Probe-1").Fields; !strings.HasPrefix(fmt.Sprint(f["Type"]), "application/json") || f["Who"] != "bob" || f["Note"] != "fixed text" || f["Kept"] != "stays" {
			t.Errorf("%+v %+v", f, p)
		}
	})
	t.Run("cap063 parts of the answer may be left unmapped", func(t *testing.T) {
		var got struct{ Findings []struct{ What string } }
		w.json(t, "GET", "/api/v1/processes/TokenKeeper", nil, &got)
		if len(got.Findings) != 0 {
			t.Errorf("token_type is mapped to nothing, and that is right: %+v", got)
		}
	})
	t.Run("cap127 a reference to nothing is refused on save", func(t *testing.T) {
		for old, want := range map[string]string{"service: Acme": `there is no service \"Nope\"`, `method: "Get account"`: `service Acme has no method`} {
			r := w.ask(t, "POST", "/api/v1/apply", strings.NewReader(w.bundle(t, strings.ReplaceAll(keeperFiles(t, "process"), old, strings.Split(old, ":")[0]+": Nope"))), "Content-Type", "application/json")
			if r.status != 422 || !strings.Contains(r.String(), want) {
				t.Errorf("%s: %s", old, r)
			}
		}
	})
	t.Run("cap128 inputs go into headers and bodies, from fields and from text", func(t *testing.T) {
		inputs(t, w)
	})
	t.Run("cap029 any parameters in any names, as JSON or a form", func(t *testing.T) {
		inputs(t, w)
	})
	t.Run("cap004 any header, from a field or a text", func(t *testing.T) {
		inputs(t, w)
	})
	t.Run("cap129 urlPath takes the place of the path and stays below the base", func(t *testing.T) {
		w.apply(t, echoForm)
		for path, want := range map[string]string{"echo/other?x=1": "/api/echo/other?x=1", "../token": "", "%2e%2e/token": "", "https://evil.example/": "", "//evil.example": ""} {
			w.em.ResetStats()
			var p pressed
			w.json(t, "POST", "/api/v1/processes/Echo/instances/Echo-1/buttons/Go", map[string]any{"fields": map[string]any{"Path": path}}, &p)
			if want == "" {
				if p.Fault == nil || w.em.Count("api") != 0 || w.em.Count("token") != 0 {
					t.Errorf("%s: %+v", path, p)
				}
			} else if p.Fields["URI"] != want {
				t.Errorf("%s: %+v %+v", path, p.Fields, p.Fault)
			}
		}
	})
	t.Run("cap137 what a schedule may trigger is listed, and what is not there is refused", func(t *testing.T) {
		var got struct{ Triggers []string }
		w.json(t, "GET", "/api/v1/processes/TokenKeeper", nil, &got)
		if fmt.Sprint(got.Triggers) != "[button:Refresh rule:Refresh/1 rule:Refresh/2 rule:Refresh/3]" {
			t.Error(got)
		}
		r := w.ask(t, "POST", "/api/v1/apply", strings.NewReader(w.bundle(t, `schedules: { x: { every: 55m, process: TokenKeeper, instance: TokenKeeper-1, trigger: "button:Nope" } }`)), "Content-Type", "application/json")
		if r.status != 422 || !strings.Contains(r.String(), "process TokenKeeper has no button:Nope: it has button:Refresh") {
			t.Error(r)
		}
	})
	t.Run("cap132 the task is listed with process, instance, last and next run", func(t *testing.T) {
		s, err := w.client.Schedule(t.Context(), "Keep the token fresh")
		if err != nil || s.Target != "process" || s.Subject != "TokenKeeper/TokenKeeper-1" || s.NextRun == nil || s.LastRun == nil || s.LastRun.RunID == "" {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run("cap138 a deleted instance is a failed run that says so", func(t *testing.T) {
		w.apply(t, `schedules: { gone: { on_demand: true, process: TokenKeeper, instance: TokenKeeper-3, trigger: "button:Refresh" } }`)
		w.json(t, "DELETE", "/api/v1/processes/TokenKeeper/instances/TokenKeeper-3", nil, nil)
		if p := w.cli(t, "schedule", "run", "gone"); p.exit(t) != 1 || !strings.Contains(p.err.String(), "process TokenKeeper has no instance TokenKeeper-3: it was deleted, or never saved") {
			t.Errorf("%s%s", p.out.String(), p.err.String())
		}
	})
	t.Run("cap139 one rule may be the target", func(t *testing.T) {
		w.apply(t, `schedules: { one: { on_demand: true, process: TokenKeeper, instance: TokenKeeper-1, trigger: "rule:Refresh/1" } }`)
		if p := w.cli(t, "schedule", "run", "one"); p.exit(t) != 0 || !strings.Contains(p.out.String(), "succeeded: nothing was saved") {
			t.Errorf("%s%s", p.out.String(), p.err.String())
		}
	})
	t.Run("cap140 saved tasks and instances survive a restart", func(t *testing.T) {
		w.server.stop(t)
		w.server = w.again(t, nil)
		if p := w.cli(t, "schedule", "run", "Keep the token fresh"); p.exit(t) != 0 {
			t.Error(p.err.String())
		}
	})
	if b, err := os.ReadFile(filepath.Join(w.dir, "freshet.db")); err == nil && strings.Contains(string(b), "k33per-secret") {
		t.Error("the client secret is in the database as it is")
	}
	if strings.Contains(w.err.String(), "k33per-secret") || strings.Contains(w.err.String(), "rt_") {
		t.Error("the log shows secrets")
	}
}

// echoForm sends to the API's echo.
const echoForm = `
services:
  Echo:
    base_url: "${EMULATOR}/api"
    methods:
      Form: { method: POST, path: /echo, content_type: form, request: { headers: [Authorization, X-Kind], body: [any_name, "other name", {fixed: always}] } }
      JSON: { method: POST, path: /echo, request: { headers: [Authorization], body: [any_name, n] } }
      Get:  { method: GET, path: /echo, request: { headers: [Authorization] } }
processes:
  Echo:
    fields: [Value, N, Path, Seen, URI, Kind]
    buttons:
      Form: [ { create_item: { service: Echo, method: Form, input: { Authorization: "Bearer [TokenKeeper-1.AccessToken]", X-Kind: "kind of [Value]", any_name: "[Value]", "other name": "a text" }, on_success: { Seen: "[body.body]", Kind: "[body.headers.X-Kind[0]]" } } } ]
      JSON: [ { create_item: { service: Echo, method: JSON, input: { Authorization: "Bearer [TokenKeeper-1.AccessToken]", any_name: "[Value]", n: {expression: "Number([N]) + 1"} }, on_success: { Seen: "[body.body]" } } } ]
      Go:   [ { find_items: { service: Echo, method: Get, input: { Authorization: "Bearer [TokenKeeper-1.AccessToken]", urlPath: "[Path]" }, on_success: { URI: "[body.uri]" } } } ]
    instances: [ { Value: "v & w", N: 41 } ]
`

func inputs(t *testing.T, w *forms) {
	t.Helper()
	w.apply(t, echoForm)
	var p pressed
	w.json(t, "POST", "/api/v1/processes/Echo/instances/Echo-1/buttons/Form", nil, &p)
	if p.Fields["Seen"] != "any_name=v+%26+w&other+name=a+text&fixed=always" || p.Fields["Kind"] != "kind of v & w" {
		t.Errorf("%+v %+v", p.Fields, p.Fault)
	}
	w.json(t, "POST", "/api/v1/processes/Echo/instances/Echo-1/buttons/JSON", nil, &p)
	if p.Fields["Seen"] != `{"any_name":"v & w","n":42}` {
		t.Errorf("%+v %+v", p.Fields, p.Fault)
	}
}

// put1 declares one resource.
func (w *forms) put1(t testing.TB, kind, name string, spec any) {
	t.Helper()
	if r := w.json(t, "PUT", "/api/v1/"+kind+"/"+name, spec, nil); r.status != 200 {
		t.Fatalf("%s %s: %s", kind, name, r)
	}
}
