package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// componentConfig has a component whose actions refresh by themselves, over a
// provider that revokes everything if one refresh token comes twice, and one
// whose actions get tokens that are fresh.
const componentConfig = `
providers:
  strict: { token_url: "${EMULATOR}/token", client_auth: body, rotation: { kind: always, reuse: revokes } }
  omits:  { token_url: "${EMULATOR}/token", client_auth: body, rotation: { kind: omitted } }
clients:
  strict: { provider: strict, id: strict-app, secret: "strict&secret=1" }
  omits:  { provider: omits, id: omitted-app, secret: omitted-secret }
connections:
  outlook: { client: strict, grant: refresh_token, refresh: { when: on_401 }, api: { base_url: "${EMULATOR}/api" } }
  omitting: { client: omits, grant: refresh_token, refresh: { when: on_401 } }
  each:    { client: strict, grant: refresh_token, refresh: { when: every_use }, api: { base_url: "${EMULATOR}/api" } }
  lazy:    { client: strict, grant: refresh_token, refresh: { when: on_401 }, api: { base_url: "${EMULATOR}/api" } }
  nobody:  { client: strict, grant: refresh_token }
components:
  outlook:
    descriptor: |
      { "title": "t", "credentials": { "fields": { "oauth": { "viewClass": "OAuthFieldView" } } } }
    refresh: component
    env: { MSAPP_CLIENT_ID: strict-app, MSAPP_CLIENT_SECRET: "strict&secret=1", BASE: "${EMULATOR}" }
    config: { folder: inbox, nested: { a: [1, 2] } }
    actions: { contacts: { source: CONTACTS }, show: { source: SHOW }, partly: { source: PARTLY }, hangs: { source: HANGS } }
  omitting:
    descriptor: '{ "credentials": { "fields": { "oauth": { "viewClass": "HTTPAuthView" } } } }'
    refresh: component
    env: { BASE: "${EMULATOR}" }
    actions: { run: { source: OMITS }, replace: { source: REPLACE } }
  fresh:
    descriptor: '{ "credentials": { "fields": { "myOauth": { "viewClass": "OAuthFieldView" } } } }'
    connection: each
    env: { BASE: "${EMULATOR}" }
    actions: { call: { source: CALL } }
  lazy:
    descriptor: '{ }'
    actions: { call: { source: AS } }
  nobody:
    descriptor: '{ }'
    actions: { call: { source: "exports.process = async () => 1" } }
  trouble:
    descriptor: '{ }'
    connection: lazy
    retry: { attempts: 3, wait: 100ms }
    actions:
      rebounds: { source: REBOUNDS }
      always: { source: "exports.process = async function () { this.emit('rebound', 'not yet') }" }
      fails: { source: FAILS }
      throws: { source: "exports.process = async (msg, cfg) => { throw new Error('broken: ' + cfg.oauth.access_token) }" }
      loops: { source: "exports.process = () => { for (;;) {} }" }
      never: { source: "exports.process = () => new Promise(() => {})" }
      npm: { source: "const x = require('axios'); exports.process = () => 1" }
      nothing: { source: "exports.other = 1" }
      counts: { source: COUNTS }
`

// componentSources are the actions above.
var componentSources = map[string]string{
	// The way of the document: refresh at each access, emit the whole answer.
	"CONTACTS": `
const co = require('co'), rp = require('request-promise');
exports.process = function (msg, cfg, snapshot) {
  return co(function* mainLoop() {
    console.log('Refreshing an OAuth Token', cfg.oauth.refresh_token);
    const newToken = yield rp({ method: 'POST', uri: process.env.BASE + '/token', json: true, form: {
      refresh_token: cfg.oauth.refresh_token, grant_type: 'refresh_token', client_id: process.env.MSAPP_CLIENT_ID, client_secret: process.env.MSAPP_CLIENT_SECRET } });
    const before = cfg.oauth.access_token;
    this.emit('updateKeys', { oauth: newToken });
    const me = yield rp({ uri: process.env.BASE + '/api/me', json: true, auth: { bearer: cfg.oauth.access_token } });
    return { body: { n: msg.body.n, current: cfg.oauth.access_token === newToken.access_token, changed: before !== newToken.access_token, me } };
  });
};`,
	"SHOW":   "exports.process = async function (msg, cfg, snapshot) { return { body: { cfg, env: process.env, snapshot, flow: this.getFlowVariables() } } }",
	"PARTLY": "exports.process = async function (msg, cfg) { this.emit('updateKeys', { oauth: { error: 'invalid_grant' } }); return 1 }",
	"HANGS": `
const rp = require('rp');
exports.process = async function (msg, cfg) {
  await this.emit('updateKeys', { oauth: { access_token: msg.body.token, refresh_token: 'the-next-one', expires_in: 3600 } });
  await rp({ uri: process.env.BASE + '/api/slow' });
};`,
	"OMITS": `
exports.process = async function (msg, cfg) {
  const res = await fetch(process.env.BASE + '/token', { method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: 'grant_type=refresh_token&client_id=omitted-app&client_secret=omitted-secret&refresh_token=' + encodeURIComponent(cfg.oauth.refresh_token) });
  const answer = await res.json();
  await this.emit('updateKeys', { oauth: answer });
  return { body: { omitted: !('refresh_token' in answer), kept: !!cfg.oauth.refresh_token } };
};`,
	"REPLACE": "exports.process = async function (msg, cfg) { await this.emit('updateKeys', { oauth: { access_token: 'a-token-by-itself', expires_in: 60 } }, { replace: true }); return { body: Object.keys(cfg.oauth).sort() } }",
	"CALL":    "const rp = require('request-promise'); exports.process = async (msg, cfg) => ({ body: await rp({ uri: process.env.BASE + '/api/me', json: true, auth: { bearer: cfg.myOauth.access_token } }) })",
	"AS":      "const rp = require('request-promise'); exports.process = async (msg, cfg) => ({ body: await rp({ uri: '/me', json: true, connection: 'lazy' }) })",
	"REBOUNDS": `
exports.process = async function (msg, cfg, snapshot) {
  const n = (snapshot.n || 0) + 1;
  await this.emit('updateSnapshot', { $set: { n } });
  if (n < 3) { await this.emit('rebound', 'attempt ' + n); return; }
  await this.emit('snapshot', {});
  return { body: { n, text: msg.body.text } };
};`,
	"FAILS":  "exports.process = async function (msg, cfg, snapshot) { if (!snapshot.mended) { this.emit('error', new Error('not mended: ' + msg.body.n)); return } return { body: msg.body.n } }",
	"COUNTS": "exports.process = async function (msg) { if (msg.body.mend) { await this.emit('snapshot', { mended: true }); return } this.emit('data', { body: 1 }); this.emit('data', { body: 2 }) }",
}

func componentFile() string {
	s := componentConfig
	for name, source := range componentSources {
		b, _ := json.Marshal(strings.ReplaceAll(source, "${", "$${"))
		s = strings.ReplaceAll(s, "source: "+name+" }", "source: "+string(b)+" }")
	}
	return s
}

// action runs an action and returns how it ended.
func (s *server) action(t testing.TB, component, action, message string) *api.RunResult {
	t.Helper()
	out, err := s.client.RunAction(t.Context(), action, api.RunRequest{Name: component, Input: []byte(message)})
	if err != nil {
		t.Fatalf("%s.%s: %v", component, action, err)
	}
	return out
}

// well runs an action that has to end well, and reads its output.
func (s *server) well(t testing.TB, component, action, message string, into any) *api.RunResult {
	t.Helper()
	out := s.action(t, component, action, message)
	if out.Status != "finished" {
		t.Fatalf("%s.%s: %s: %+v", component, action, out.Status, out.Fault)
	}
	if into != nil {
		if err := json.Unmarshal(out.Output, into); err != nil {
			t.Fatalf("%s.%s: %s", component, action, out.Output)
		}
	}
	return out
}

func TestComponents(t *testing.T) {
	t.Parallel()
	whole := t
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Odd: true}}, setup{config: componentFile()})
	t.Run("cap053 cap055 cap065 fifty messages, each of which refreshes with what the one before it stored", func(t *testing.T) {
		w.issue(t, "outlook", "strict-app", time.Hour)
		before := w.em.Count("token")
		for n := range 50 {
			var got struct {
				N                int
				Current, Changed bool
			}
			w.well(t, "outlook", "contacts", fmt.Sprintf(`{"body":{"n":%d}}`, n), &got)
			if got.N != n || !got.Current || !got.Changed {
				t.Fatalf("message %d: %+v", n, got)
			}
		}
		if n := w.em.Count("token") - before; n != 50 {
			t.Errorf("%d token requests", n)
		}
		if c := w.connection(t, "outlook"); c.State != "ok" || c.Generation != 51 {
			t.Errorf("%s, generation %d", c.State, c.Generation)
		}
		w.oracles(t)
	})
	t.Run("cap008 cap019 cfg holds what the provider returned, whole, under the field of the descriptor", func(t *testing.T) {
		var got struct {
			Cfg struct {
				OAuth  map[string]any
				Folder string
				Nested map[string]any
			}
			Env map[string]string
		}
		w.put(t, "outlook", map[string]any{"access_token": "an-access-token", "refresh_token": "a-refresh-token", "expires_in": 3600, "instance_url": "https://eu5.example", "ext": map[string]any{"deep": []int{1}}})
		w.well(t, "outlook", "show", "{}", &got)
		if want := map[string]any{"access_token": "an-access-token", "refresh_token": "a-refresh-token", "expires_in": 3600., "instance_url": "https://eu5.example", "ext": map[string]any{"deep": []any{1.}}}; !reflect.DeepEqual(got.Cfg.OAuth, want) {
			t.Errorf("cfg.oauth is %v", got.Cfg.OAuth)
		}
		if got.Cfg.Folder != "inbox" || len(got.Cfg.Nested) != 1 {
			t.Errorf("%+v", got.Cfg)
		}
		t.Run("cap041 process.env holds what is declared and nothing else", func(t *testing.T) {
			names := slices.Sorted(keys(got.Env))
			if want := []string{"BASE", "ELASTICIO_COMP_ID", "ELASTICIO_EXEC_ID", "ELASTICIO_FUNCTION", "MSAPP_CLIENT_ID", "MSAPP_CLIENT_SECRET"}; !slices.Equal(names, want) {
				t.Errorf("%v", names)
			}
		})
	})
	t.Run("cap051 the whole answer is stored, unknown members too", func(t *testing.T) {
		w.issue(t, "outlook", "strict-app", time.Hour)
		w.well(t, "outlook", "contacts", `{"body":{"n":1}}`, nil)
		var got struct {
			Cfg struct{ OAuth map[string]any }
		}
		w.well(t, "outlook", "show", "{}", &got)
		if len(got.Cfg.OAuth) < 5 { // the emulator's odd answers have members that nobody knows
			t.Errorf("%v", slices.Sorted(keys(got.Cfg.OAuth)))
		}
	})
	t.Run("cap052 what cannot be stored fails the message, whether it waits for the promise or not", func(t *testing.T) {
		out := w.action(t, "outlook", "partly", "{}")
		if out.Status != "faulted" || !strings.Contains(out.Fault.Message, "updateKeys: ") || !strings.Contains(out.Fault.Message, "invalid_grant") {
			t.Errorf("%s: %+v", out.Status, out.Fault)
		}
	})
	t.Run("cap054 an omitted refresh token is kept, and replace gives it up", func(t *testing.T) {
		w.issue(t, "omitting", "omitted-app", time.Hour)
		for range 3 {
			var got struct{ Omitted, Kept bool }
			w.well(t, "omitting", "run", "{}", &got)
			if !got.Omitted || !got.Kept {
				t.Fatalf("%+v", got)
			}
		}
		var names []string
		w.well(t, "omitting", "replace", "{}", &names)
		if slices.Contains(names, "refresh_token") || !slices.Contains(names, "access_token") {
			t.Errorf("%v", names)
		}
	})
	t.Run("cap065 every use: as many refreshes as messages, and the call has the new token", func(t *testing.T) {
		w.issue(t, "each", "strict-app", time.Hour)
		before := w.em.Count("token")
		for range 5 {
			w.well(t, "fresh", "call", "{}", nil)
		}
		if n := w.em.Count("token") - before; n != 5 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("cap066 cap074 cap080 on 401: none while it is good, then one, and the body is the output", func(t *testing.T) {
		w.issue(t, "lazy", "strict-app", time.Hour)
		tokens, calls := w.em.Count("token"), w.em.Count("api")
		for range 5 {
			w.well(t, "lazy", "call", "{}", nil)
		}
		if n := w.em.Count("token") - tokens; n != 0 {
			t.Errorf("%d refreshes with a good token", n)
		}
		w.next(t, emulator.Fault{At: "api", Path: "/api/me", Mode: emulator.Modes{"reject"}})
		var me map[string]any
		w.well(t, "lazy", "call", "{}", &me)
		if n, c := w.em.Count("token")-tokens, w.em.Count("api")-calls; n != 1 || c != 7 || len(me) == 0 {
			t.Errorf("%d refreshes, %d calls, %v", n, c, me)
		}
	})
	t.Run("cap077 without a credential: an error that says how to get one, and no call", func(t *testing.T) {
		before := w.em.Count("api") + w.em.Count("token")
		out := w.action(t, "nobody", "call", "{}")
		if out.Status != "faulted" || !strings.Contains(out.Fault.Message, "connection nobody") || !strings.Contains(out.Fault.Message, "freshet connect nobody") || !strings.Contains(out.Fault.Message, "freshet tokens import") {
			t.Errorf("%s: %+v", out.Status, out.Fault)
		}
		if n := w.em.Count("api") + w.em.Count("token"); n != before {
			t.Errorf("%d requests", n-before)
		}
	})
	t.Run("cap052 cap076 killed after the promise of updateKeys: the new token set is in the store", func(t *testing.T) {
		w.next(t, emulator.Fault{At: "api", Path: "/api/slow", Count: -1, Mode: emulator.Modes{"stall"}})
		before := w.em.Count("api")
		go w.client.RunAction(t.Context(), "hangs", api.RunRequest{Name: "outlook", Input: []byte(`{"token":"token-of-the-last-moment"}`)})
		eventually(t, "the action goes on", func() error {
			if w.em.Count("api") == before {
				return errors.New("it has not called")
			}
			return nil
		})
		w.kill(t)
		w.server = w.again(whole, nil)
		var got struct {
			Cfg struct{ OAuth map[string]any }
		}
		w.well(t, "outlook", "show", "{}", &got)
		if got.Cfg.OAuth["access_token"] != "token-of-the-last-moment" || got.Cfg.OAuth["refresh_token"] != "the-next-one" {
			t.Errorf("%v", got.Cfg.OAuth)
		}
		list, err := w.client.Messages(t.Context(), "outlook", "failed", 10)
		if err != nil || !slices.ContainsFunc(list, func(m api.ComponentMessage) bool {
			return m.Action == "hangs" && strings.Contains(m.Error, "interrupted")
		}) {
			t.Errorf("the message is not kept: %+v %v", list, err)
		}
	})
	t.Run("no token in a journal, a list or the log", func(t *testing.T) {
		list, err := w.client.Runs(t.Context(), api.RunFilter{Kind: "component"}, 100)
		if err != nil || len(list) < 60 {
			t.Fatalf("%d runs, %v", len(list), err)
		}
		for _, r := range list {
			for _, path := range []string{"/api/v1/runs/" + r.ID, "/api/v1/runs/" + r.ID + "/journal"} {
				b := w.ask(t, "GET", path, nil).body
				emulatortest.NoCanary(t, w.em, path, b)
				if strings.Contains(string(b), "strict&secret=1") || strings.Contains(string(b), "an-access-token") {
					t.Errorf("%s: %s", path, b)
				}
			}
		}
		emulatortest.NoCanary(t, w.em, "the log", w.err.Bytes())
	})
}

func TestComponentMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{config: componentFile()})
	set := w.issue(t, "lazy", "strict-app", time.Hour)
	kept := func(state string) []api.ComponentMessage {
		t.Helper()
		list, err := w.client.Messages(t.Context(), "trouble", state, 50)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	t.Run("a message that is given back is tried again, by itself, until it ends well", func(t *testing.T) {
		out := w.action(t, "trouble", "rebounds", `{"text":"é"}`)
		if out.Status != "suspended" || len(out.Outcomes) != 1 || out.Outcomes[0] != "rebound" {
			t.Fatalf("%+v", out)
		}
		eventually(t, "it ended well", func() error {
			list, err := w.client.Runs(t.Context(), api.RunFilter{Name: "trouble.rebounds"}, 10)
			if err == nil && (len(list) != 3 || list[0].Status != "finished" || len(kept("")) != 0) {
				err = fmt.Errorf("%d runs, %d kept", len(list), len(kept("")))
			}
			if err == nil {
				var r *api.Run
				if r, err = w.client.Run(t.Context(), list[0].ID); err == nil && (!strings.Contains(string(r.Output), `"n":3`) || !strings.Contains(string(r.Output), "é") || r.Parent != out.RunID) {
					err = fmt.Errorf("output %s of parent %s", r.Output, r.Parent)
				}
			}
			return err
		})
	})
	t.Run("one that is always given back is kept as failed", func(t *testing.T) {
		w.action(t, "trouble", "always", "{}")
		eventually(t, "it is given up", func() error {
			list := kept("failed")
			if len(list) != 1 || list[0].Attempts != 3 || !strings.Contains(list[0].Error, "rebound limit exceeded") {
				return fmt.Errorf("%+v", list)
			}
			return w.client.DropMessage(t.Context(), "trouble", list[0].ID)
		})
	})
	t.Run("what failed is kept, and retried one by one or all", func(t *testing.T) {
		var runs []string
		for n := range 4 {
			out := w.action(t, "trouble", "fails", fmt.Sprintf(`{"n":%d}`, n))
			if out.Status != "faulted" || !strings.Contains(out.Fault.Message, fmt.Sprintf("not mended: %d", n)) {
				t.Fatalf("%+v", out)
			}
			runs = append(runs, out.RunID)
		}
		out, err := w.client.RetryMessage(t.Context(), "trouble", runs[0])
		if err != nil || out.Status != "faulted" || len(kept("failed")) != 4 {
			t.Fatalf("%+v %v, %d kept", out, err, len(kept("failed")))
		}
		w.mend(t)
		out, err = w.client.RetryMessage(t.Context(), "trouble", out.RunID) // by its latest run
		if err != nil || out.Status != "finished" || string(out.Output) != "0" || len(kept("failed")) != 3 {
			t.Fatalf("%+v %v", out, err)
		}
		if r := w.ask(t, "POST", "/api/v1/runs/"+runs[1]+"/retry", nil); r.status/100 != 2 {
			t.Errorf("as a run: %s", r)
		}
		n, err := w.client.RetryMessages(t.Context(), "trouble")
		if err != nil || n != 2 {
			t.Errorf("%d, %v", n, err)
		}
		eventually(t, "all are done", func() error {
			if list := kept(""); len(list) != 0 {
				return fmt.Errorf("%+v", list)
			}
			return nil
		})
		if _, err := w.client.RetryMessage(t.Context(), "trouble", runs[0]); err == nil {
			t.Error("what ended well is retried")
		}
	})
	for action, want := range map[string]string{
		"throws":  "broken: ",
		"loops":   "longer than its limit",
		"never":   "promise",
		"npm":     `there is no module "axios"`,
		"nothing": "the action has no function process",
	} {
		t.Run("bad: "+action, func(t *testing.T) {
			out := w.action(t, "trouble", action, "{}")
			if out.Status != "faulted" || !strings.Contains(out.Fault.Message, want) {
				t.Errorf("%s: %+v", out.Status, out.Fault)
			}
		})
	}
	t.Run("several messages are a list", func(t *testing.T) {
		var got []int
		w.well(t, "trouble", "counts", "{}", &got)
		if !slices.Equal(got, []int{1, 2}) {
			t.Error(got)
		}
	})
	t.Run("what is kept survives a kill, and holds no token in clear", func(t *testing.T) {
		before := len(kept("failed"))
		w.kill(t)
		files(t, w.dir, func(name string, b []byte) {
			if strings.Contains(string(b), set.Access) {
				t.Errorf("%s holds the token", name)
			}
		})
		w.server = w.again(t, nil)
		if n := len(kept("failed")); n != before || n == 0 {
			t.Errorf("%d of %d", n, before)
		}
	})
}

// mend lets the action fails of trouble end well: its snapshot says so.
func (w *world) mend(t testing.TB) {
	t.Helper()
	spec := w.ask(t, "GET", "/api/v1/components/trouble", nil)
	var v struct{ Spec map[string]any }
	spec.decode(t, &v)
	actions := v.Spec["actions"].(map[string]any)
	actions["fails"] = map[string]any{"source": "exports.process = async (msg) => ({ body: msg.body.n })"}
	b, _ := json.Marshal(v.Spec)
	if r := w.ask(t, "PUT", "/api/v1/components/trouble", strings.NewReader(string(b)), "Content-Type", "application/json"); r.status/100 != 2 {
		t.Fatal(r)
	}
}

// descriptorFile is what an author of a component writes.
const descriptorFile = `{
  "title": "Contacts of an example",
  "envVars": { "DESCRIBED_KEY": { "required": true }, "DESCRIBED_SECRET": { "required": true } },
  "credentials": {
    "fields": { "place": { "label": "Place", "viewClass": "TextFieldView" }, "myOauth": { "label": "Authorize", "viewClass": "OAuthFieldView" } },
    "oauth2": { "client_id": "{{DESCRIBED_KEY}}", "client_secret": "{{DESCRIBED_SECRET}}", "auth_uri": "EMULATOR/{{place}}?prompt=consent", "token_uri": "EMULATOR/token",
      "client_auth": "basic", "scopes": ["contacts", "offline_access"], "access_type": "offline" }
  },
  "triggers": { "contacts": { "main": "./lib/contacts.js", "title": "Get contacts" } }
}`

func TestImportComponent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{})
	file := filepath.Join(t.TempDir(), "component.json")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(descriptorFile, "EMULATOR", w.base)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("cap040 a missing variable is named", func(t *testing.T) {
		p := w.cli(t, "import", file, "--as", "described")
		if code := p.exit(t); code != 1 || !strings.Contains(p.err.String(), "DESCRIBED_KEY") {
			t.Errorf("%d: %s", code, p.err.String())
		}
		if r := w.ask(t, "GET", "/api/v1/connections/described", nil); r.status != http.StatusNotFound {
			t.Errorf("half of it is there: %s", r)
		}
	})
	t.Run("cap024 cap023 a descriptor imports into a working connection", func(t *testing.T) {
		p := w.build().run(t, append(w.cliEnv(), "DESCRIBED_KEY=descriptor-app", "DESCRIBED_SECRET=desc&secret=1"), "import", file, "--as", "described", "--set", `place="authorize"`, "--data", w.dir)
		if code := p.exit(t); code != 0 {
			t.Fatalf("%d: %s", code, p.err.String())
		}
		for _, want := range []string{"created component described", "freshet connect described", "cfg.myOauth", "lib/contacts.js"} {
			if !strings.Contains(p.out.String(), want) {
				t.Errorf("the report does not say %s:\n%s", want, p.out.String())
			}
		}
		f, err := w.client.Connect(t.Context(), "described", api.ConnectRequest{})
		if err != nil {
			t.Fatal(err)
		}
		plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		first, err := plain.Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		first.Body.Close()
		for _, want := range []string{w.base + "/authorize?", "prompt=consent", "access_type=offline", "scope=contacts"} {
			if link := first.Header.Get("Location"); !strings.Contains(link, want) {
				t.Errorf("the link lacks %s: %s", want, link)
			}
		}
		if f, err = w.client.Connect(t.Context(), "described", api.ConnectRequest{}); err != nil {
			t.Fatal(err) // a link is one browser's
		}
		res, page := newPerson(t).decide(t, f.URL, "allow")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%d: %s", res.StatusCode, page)
		}
		if _, p := w.refresh(t, "described"); p != nil {
			t.Errorf("refresh: %v", p)
		}
	})
	t.Run("again it keeps what people added", func(t *testing.T) {
		if r := w.ask(t, "GET", "/api/v1/connections/described", nil); r.status != 200 {
			t.Fatal(r)
		}
		p := w.build().run(t, append(w.cliEnv(), "DESCRIBED_KEY=descriptor-app", "DESCRIBED_SECRET=desc&secret=1"), "import", file, "--as", "described", "--set", `place="authorize"`, "--data", w.dir)
		if code := p.exit(t); code != 0 || !strings.Contains(p.out.String(), "unchanged component described") {
			t.Errorf("%d: %s%s", code, p.out.String(), p.err.String())
		}
	})
	t.Run("what is somebody else's is left alone", func(t *testing.T) {
		if r := w.ask(t, "PUT", "/api/v1/providers/taken", strings.NewReader(`{"token_url":"`+w.base+`/token"}`), "Content-Type", "application/json"); r.status/100 != 2 {
			t.Fatal(r)
		}
		p := w.build().run(t, append(w.cliEnv(), "DESCRIBED_KEY=a", "DESCRIBED_SECRET=b"), "import", file, "--as", "taken", "--set", `place="authorize"`, "--data", w.dir)
		if code := p.exit(t); code != 1 || !strings.Contains(p.err.String(), "is there already") {
			t.Errorf("%d: %s", code, p.err.String())
		}
	})
}

// build is what the server was built as; cliEnv is what commands need beside it.
func (s *server) build() *build { return s.set.build }

func (s *server) cliEnv() []string { return slices.Clone(s.set.env) }

// listing returns the refresh half of the document's first listing, up to where it
// goes on to the API's own client; without the document, our own of the same
// shape.
func listing(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("FRESHET_DOCUMENTS"); dir != "" {
		for _, pattern := range []string{"002*.txt", "seeds/002*.txt"} {
			names, _ := filepath.Glob(filepath.Join(dir, pattern))
			if len(names) == 0 {
				continue
			}
			b, err := os.ReadFile(names[0])
			if err != nil {
				t.Fatal(err)
			}
			_, rest, ok := strings.Cut(string(b), "```js\n")
			half, _, also := strings.Cut(rest, "const client =")
			if !ok || !also {
				t.Fatalf("%s holds no such listing", names[0])
			}
			return half
		}
	}
	return `return co(function* mainLoop() {
  console.log('a new token');
  const newToken = yield rp({
    method: 'POST',
    uri: 'https://login.microsoftonline.com/common/oauth2/v2.0/token',
    json: true,
    form: {
      refresh_token: cfg.oauth.refresh_token, scope: cfg.oauth.scope, grant_type: 'refresh_token',
      client_id: process.env.MSAPP_CLIENT_ID, client_secret: process.env.MSAPP_CLIENT_SECRET
    }
  });
  console.log('stored');
  this.emit('updateKeys', {
    oauth: newToken
  });
`
}

// The document's own lines run; the address alone is another.
func TestListingOfTheDocument(t *testing.T) {
	t.Parallel()
	half := listing(t)
	const there = "https://login.microsoftonline.com/common/oauth2/v2.0/token"
	if !strings.Contains(half, there) {
		t.Fatalf("the listing asks somewhere else:\n%s", half)
	}
	em, base := emulatortest.Start(t, emulator.Options{Default: emulator.Profile{Picky: true}})
	source := "const co = require('co'), rp = require('request-promise');\nexports.process = function (msg, cfg, snapshot) {\n" +
		strings.ReplaceAll(half, there, base+"/token") + "\n        return { body: { same: cfg.oauth.access_token === newToken.access_token } };\n    });\n};\n"
	text, _ := json.Marshal(source)
	w := &world{em: em, base: base, server: start(t, setup{env: []string{"EMULATOR=" + base}, config: `
network: { allow: ["127.0.0.0/8"] }
providers: { p: { token_url: "${EMULATOR}/token", client_auth: body, rotation: { kind: always, reuse: revokes } } }
connections: { outlook: { provider: p, id: strict-app, secret: "a+b&c=d é", grant: refresh_token, refresh: { when: on_401 } } }
components:
  outlook:
    descriptor: '{ "credentials": { "fields": { "oauth": { "viewClass": "OAuthFieldView" } } } }'
    refresh: component
    env: { MSAPP_CLIENT_ID: strict-app, MSAPP_CLIENT_SECRET: "a+b&c=d é" }
    actions: { contacts: { source: ` + string(text) + ` } }
`})}
	w.issue(t, "outlook", "strict-app", time.Hour)
	t.Run("cap038 cap040 cap044 cap053 cap055 the refresh half of the document's listing, message after message", func(t *testing.T) {
		before := em.Count("token")
		for range 10 {
			var got struct{ Same bool }
			w.well(t, "outlook", "contacts", "{}", &got)
			if !got.Same {
				t.Fatal("cfg.oauth does not show the new token")
			}
		}
		if n := em.Count("token") - before; n != 10 {
			t.Errorf("%d token requests", n)
		}
		w.oracles(t)
	})
	list, err := w.client.Runs(t.Context(), api.RunFilter{Name: "outlook.contacts"}, 20)
	if err != nil || len(list) != 10 {
		t.Fatalf("%d runs, %v", len(list), err)
	}
	b := w.ask(t, "GET", "/api/v1/runs/"+list[0].ID+"/journal", nil).body
	emulatortest.NoCanary(t, em, "the journal", b)
	if strings.Contains(string(b), "a+b&c=d") {
		t.Errorf("the journal holds the client's secret: %s", b)
	}
}
