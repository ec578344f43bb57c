package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// declared are components by name.
type declared map[string]*freshet.Component

func (d declared) Component(_ context.Context, name string) (*freshet.Component, string, error) {
	if c := d[name]; c != nil {
		return c, "id-" + name, nil
	}
	return nil, "", freshet.ErrNotFound
}

// held is a token set that can be changed.
type held struct {
	set    map[string]any
	refuse error
}

func (h *held) Keys(context.Context, string, bool) (Keys, error) { return Keys{Set: h.set}, nil }
func (h *held) Update(_ context.Context, _ string, set []byte, _ bool) (Keys, error) {
	if h.refuse != nil {
		return Keys{}, h.refuse
	}
	h.set = nil
	err := json.Unmarshal(set, &h.set)
	return Keys{Set: h.set}, err
}

// newWorker makes a worker over a real store; requests are answered by answer.
func newWorker(t *testing.T, keys Credentials, answer func(f outbound.Fields) (*outbound.Answer, error)) (*Worker, declared) {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(t.Context(), st, vault.MasterKeyFile(filepath.Join(dir, "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	j := run.New(run.Options{Store: st, Alone: true})
	d := declared{}
	w, err := New(Options{Store: st, Sealer: v, Journal: j, Queue: queue.NewLocal(queue.Options{Store: st}), Components: d, Credentials: keys,
		Send: func(_ context.Context, f outbound.Fields) (*outbound.Answer, error) { return answer(f) }, Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close(context.Background())
		j.Close(context.Background())
		st.Close()
	})
	return w, d
}

func (d declared) add(name, source string) {
	d[name] = &freshet.Component{Name: name, Descriptor: freshet.NewSecret("{}"), Connection: "c", Actions: map[string]freshet.ComponentAction{"do": {Source: freshet.NewSecret(source)}}}
}

func TestActions(t *testing.T) {
	keys := &held{set: map[string]any{"access_token": "first-token"}}
	w, d := newWorker(t, keys, func(f outbound.Fields) (*outbound.Answer, error) {
		status := http.StatusOK
		if strings.HasSuffix(f.URL, "/404") {
			status = http.StatusNotFound
		}
		b, err := json.Marshal(map[string]any{"url": f.URL, "method": f.Method, "type": f.ContentType, "body": f.Content, "auth": f.Authorization, "as": f.Connection, "headers": f.Headers})
		return &outbound.Answer{Status: status, Header: http.Header{"X-A": {"b"}}, Body: b}, err
	})
	for name, c := range map[string]struct{ source, want string }{
		"returned":    {"exports.process = async (msg) => ({body: msg.body.a + 1})", "4"},
		"sync":        {"exports.process = function (msg) { return {body: 'x'} }", `"x"`},
		"module":      {"module.exports = {process: () => 1}", "1"},
		"nothing":     {"exports.process = async function () {}", "null"},
		"co yields":   {"const co = require('co'); exports.process = function () { return co(function* () { const [a, b] = yield [Promise.resolve(1), function* () { return yield Promise.resolve(2) }]; const o = yield {x: Promise.resolve(3)}; return a + b + o.x }) }", "6"},
		"co throws":   {"exports.process = () => co(function* () { try { yield Promise.reject(new Error('a')) } catch (e) { return e.message } })", `"a"`},
		"co wraps":    {"exports.process = co.wrap(function* (msg) { return yield Promise.resolve(msg.body.a) })", "3"},
		"co this":     {"exports.process = function () { return co(function* () { yield this.emit('data', {body: 7}) }) }", "7"},
		"form":        {"exports.process = async () => { const r = await rp.post('https://a.example/t', {json: true, form: {a: 'ä+&=', b: [1, 2]}, qs: {q: 'x y'}}); return [r.method, r.url, r.type, r.body] }", `["POST","https://a.example/t?q=x%20y","application/x-www-form-urlencoded","a=%C3%A4%2B%26%3D\u0026b=1\u0026b=2"]`},
		"json":        {"exports.process = async () => { const r = await rp({uri: 'https://a.example', method: 'PUT', json: {a: 1}}); return [r.type, r.body, r.headers.Accept] }", `["application/json","{\"a\":1}","application/json"]`},
		"basic":       {"exports.process = async () => (await rp({uri: 'https://a.example', json: true, auth: {user: 'u', pass: 'ä'}})).auth", `"Basic dTrDpA=="`},
		"as":          {"exports.process = async () => (await (await fetch('/me', {connection: 'crm'})).json()).as", `"crm"`},
		"refused":     {"exports.process = async () => { try { await rp('https://a.example/404') } catch (e) { return [e.name, e.statusCode] } }", `["StatusCodeError",404]`},
		"not simple":  {"exports.process = async () => (await rp({uri: 'https://a.example/404', simple: false, resolveWithFullResponse: true})).statusCode", "404"},
		"fetch":       {"exports.process = async () => { const r = await fetch('https://a.example/404'); return [r.ok, r.status, r.headers.get('x-a')] }", `[false,404,"b"]`},
		"own field":   {"exports.process = async function (msg, cfg) { const before = cfg.oauth.access_token; this.emit('updateKeys', {access_token: 'second-token'}); const now = cfg.oauth.access_token; await this.emit('updateKeys', {oauth: {access_token: 'first-token'}}); return [before, now] }", `["first-token","second-token"]`},
		"modules":     {"exports.process = () => require('elasticio-node').messages.newMessageWithBody({a: 1})", `{"a":1}`},
		"other event": {"exports.process = async function () { try { await this.emit('httpReply', {}) } catch (e) { return e.message.slice(0, 28) } }", `"emit: the event httpReply is"`},
		"no host":     {"exports.process = () => [typeof Deno, typeof std, Object.keys(process)].flat()", `["undefined","undefined","env","on","nextTick"]`},
	} {
		d.add(name, c.source)
		out, err := w.Run(t.Context(), Request{Component: name, Action: "do", Message: map[string]any{"body": map[string]any{"a": int64(3)}}, Trigger: "test"})
		b, _ := json.Marshal(out.Output)
		var got, want any
		json.Unmarshal(b, &got)
		json.Unmarshal([]byte(c.want), &want)
		if err != nil || out.Fault != nil || out.State != "" || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %s %+v %v, want %s", name, b, out.Fault, err, c.want)
		}
	}
}

func TestKeysThatAreNotStored(t *testing.T) {
	keys := &held{set: map[string]any{}, refuse: errors.New("the store takes no writes")}
	w, d := newWorker(t, keys, nil)
	// Nobody waits for the promise, and the message fails all the same.
	d.add("a", "exports.process = function () { this.emit('updateKeys', {oauth: {access_token: 'abcdef'}}); return 1 }")
	out, err := w.Run(t.Context(), Request{Component: "a", Action: "do"})
	if err != nil || out.State != "failed" || !strings.Contains(out.Fault.Message, "takes no writes") {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := w.Run(t.Context(), Request{Component: "a", Action: "other"}); !errors.Is(err, ErrNoAction) {
		t.Error(err)
	}
	if _, err := w.Run(t.Context(), Request{Component: "b", Action: "do"}); !errors.Is(err, freshet.ErrNotFound) {
		t.Error(err)
	}
	keys.refuse = nil
	if out, err = w.Retry(t.Context(), out.RunID); err != nil || out.State != "" {
		t.Errorf("%+v %v", out, err)
	}
}
