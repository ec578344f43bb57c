package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// text is a value that is text.
func text(s string) freshet.ProcessValue { return freshet.ProcessValue{Text: s} }

func texts(pairs ...string) map[string]freshet.ProcessValue {
	m := map[string]freshet.ProcessValue{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = text(pairs[i+1])
	}
	return m
}

func names(list ...string) []freshet.Parameter {
	var out []freshet.Parameter
	for _, n := range list {
		out = append(out, freshet.Parameter{Name: n})
	}
	return out
}

// keeper is the process of the document.
func keeper() *freshet.Process {
	return &freshet.Process{
		Name: "TokenKeeper",
		Fields: []freshet.ProcessField{{Name: "GrantType"}, {Name: "ClientId"}, {Name: "ClientSecret", Secret: true}, {Name: "RedirectUrl"},
			{Name: "RefreshToken", Secret: true}, {Name: "AccessToken", Secret: true}, {Name: "ExpiresIn"}, {Name: "CreatedAt"}, {Name: "Problem"}},
		Buttons: map[string][]freshet.ProcessRule{"Refresh": {
			{SetField: texts("AccessToken", "")},
			{Name: "ask", CreateItem: &freshet.ItemRule{Service: "Acme", Method: "Get/Refresh Auth Token",
				Input:     texts("grant_type", "[GrantType]", "client_id", "[ClientId]", "client_secret", "[ClientSecret]", "redirect_url", "[RedirectUrl]", "refresh_token", "[RefreshToken]"),
				OnSuccess: texts("AccessToken", "[body.access_token]", "RefreshToken", "[body.refresh_token]", "ExpiresIn", "[body.expires_in]", "CreatedAt", "[body.created_at]"),
				OnError:   texts("Problem", "")}},
			{Save: &freshet.SaveRule{}},
		}},
		Expiry:    &freshet.ProcessExpiry{ExpiresIn: "ExpiresIn", CreatedAt: "CreatedAt"},
		Instances: []map[string]freshet.ProcessValue{{"GrantType": text("refresh_token"), "ClientId": text("a"), "ClientSecret": {Secret: freshet.NewSecret("CANARY-client")}, "RedirectUrl": text("https://app.example/back"), "RefreshToken": {Secret: freshet.NewSecret("CANARY-refresh-0")}, "AccessToken": {Secret: freshet.NewSecret("CANARY-access-0")}, "ExpiresIn": text("3600")}},
	}
}

func acme(base string) *freshet.Service {
	return &freshet.Service{Name: "Acme", BaseURL: base, Methods: []freshet.ServiceMethod{
		{Name: "Get/Refresh Auth Token", Method: "POST", Path: "/oauth/token", ContentType: "form",
			Request:  freshet.ServiceFields{Body: names("grant_type", "client_id", "client_secret", "redirect_url", "refresh_token")},
			Response: freshet.ServiceFields{Body: names("access_token", "token_type", "expires_in", "refresh_token", "created_at")}},
		{Name: "Get user", Method: "GET", Path: "users/me", Request: freshet.ServiceFields{Headers: names("Authorization", "X-Trace"), Query: names("page")},
			Response: freshet.ServiceFields{Headers: names("X-Limit"), Body: names("name")}},
		{Name: "Add user", Method: "POST", Path: "users", Request: freshet.ServiceFields{Headers: names("Authorization"),
			Body: []freshet.Parameter{{Name: "name"}, {Name: "kind", Value: "person"}, {Name: "age"}}}},
	}}
}

// A sent is a request as the provider saw it.
type sent struct {
	Method, Path, Body, Auth, Trace, Type string
	Form                                  url.Values
}

// A world is processes over a real store, with a provider on loopback.
type world struct {
	*process.Processes
	t       testing.TB
	dir     string
	store   *store.Store
	vault   *vault.Vault
	journal *run.Journal
	values  *redact.Values
	url     string

	mu       sync.Mutex
	services map[string]*freshet.Service
	defs     map[string]*freshet.Process
	requests []sent
	answer   func(w http.ResponseWriter, s sent) // nil: rotates tokens
	n        int
}

func (w *world) Process(_ context.Context, name string) (*freshet.Process, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.defs[name]; d != nil {
		return d, "id-" + name, nil
	}
	return nil, "", fmt.Errorf("process %s: %w", name, freshet.ErrNotFound)
}

func (w *world) Service(_ context.Context, name string) (*freshet.Service, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.services[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("service %s: %w", name, freshet.ErrNotFound)
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s := sent{Method: r.Method, Path: r.URL.RequestURI(), Body: string(b), Auth: r.Header.Get("Authorization"), Trace: r.Header.Get("X-Trace"), Type: r.Header.Get("Content-Type")}
	s.Form, _ = url.ParseQuery(s.Body)
	w.mu.Lock()
	w.requests = append(w.requests, s)
	w.n++
	n, answer := w.n, w.answer
	w.mu.Unlock()
	if answer != nil {
		answer(rw, s)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("X-Limit", "17")
	if strings.HasSuffix(r.URL.Path, "/oauth/token") {
		fmt.Fprintf(rw, `{"access_token":"CANARY-access-%d","token_type":"Bearer","expires_in":3600,"refresh_token":"CANARY-refresh-%d","created_at":%d}`, n, n, time.Now().Unix())
		return
	}
	fmt.Fprint(rw, `{"name":"Ada","items":[{"id":7}]}`)
}

func (w *world) answers(f func(http.ResponseWriter, sent)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// took returns the requests since the last call.
func (w *world) took() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.requests
	w.requests = nil
	return out
}

// newWorld is a world whose provider is a server on loopback.
func newWorld(t testing.TB, tweaks ...func(*process.Options)) *world {
	t.Helper()
	guard, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	w := &world{}
	srv := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(srv.Close)
	w.build(t, srv.URL, guard.Transport(dial.Upstream), tweaks...)
	return w
}

// A direct transport asks a handler without a network between.
type direct struct{ serve http.HandlerFunc }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d.serve(rec, r)
	return rec.Result(), nil
}

// newBubble is a world without sockets, for the clock of a bubble.
func newBubble(t testing.TB, tweaks ...func(*process.Options)) *world {
	t.Helper()
	w := &world{}
	w.build(t, "http://127.0.0.1:9", direct{w.serve}, tweaks...)
	return w
}

func (w *world) build(t testing.TB, url string, transport http.RoundTripper, tweaks ...func(*process.Options)) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	w.t, w.url, w.dir, w.values, w.defs, w.services = t, url, t.TempDir(), redact.NewValues(0), map[string]*freshet.Process{}, map[string]*freshet.Service{}
	var err error
	w.store, err = sqlite.Open(ctx, w.dir, sqlite.Options{})
	must(err)
	t.Cleanup(func() { w.store.Close() })
	w.vault, err = vault.Open(ctx, w.store, vault.MasterKeyFile(filepath.Join(w.dir, "master.key")))
	must(err)
	scripts, err := script.New(expr.ScriptOptions(script.Options{Spare: -1}))
	must(err)
	t.Cleanup(func() { scripts.Close() })
	w.journal = run.New(run.Options{Store: w.store, Values: w.values, Alone: true})
	t.Cleanup(func() { w.journal.Close(ctx) })
	o := process.Options{Store: w.store, Sealer: w.vault, Definitions: w, Journal: w.journal, Values: w.values, Alone: true, Outbound: outbound.Options{Transport: transport}}
	o.Expressions = expr.New(expr.Options{Engine: scripts, Services: expr.Services{ProcessField: func(ctx context.Context, in, f string) (any, error) { return w.Field(ctx, in, f) }}})
	for _, f := range tweaks {
		f(&o)
	}
	w.Processes = process.New(o)
	t.Cleanup(func() {
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	w.offer(acme(w.url + "/v1"))
	w.declare(keeper())
}

// declare writes a process as a resource does, faults being the test's.
func (w *world) declare(d *freshet.Process) {
	w.t.Helper()
	w.mu.Lock()
	w.defs[d.Name] = d
	w.mu.Unlock()
	if err := w.store.Change(context.Background(), func(c *store.Change) error { return process.Declare(c, w.vault, "id-"+d.Name, d) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) offer(s *freshet.Service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.services[s.Name] = s
}

// press presses and expects no error.
func (w *world) press(instance, trigger string) *process.Result {
	w.t.Helper()
	r, err := w.Press(context.Background(), process.Press{Process: "TokenKeeper", Instance: instance, Trigger: trigger, Cause: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// value reads a saved field.
func (w *world) value(instance, field string) any {
	w.t.Helper()
	v, err := w.Field(context.Background(), instance, field)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// steps is the journal of a run: rule, event and outcome of each.
func (w *world) steps(id string) string {
	w.t.Helper()
	list, err := w.journal.Steps(context.Background(), id, 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s %s %s", s.Activity, s.Type, s.Event))
	}
	return strings.Join(out, "; ")
}

// journaled is all that the journal has of a run.
func (w *world) journaled(id string) string {
	w.t.Helper()
	r, err := w.journal.Get(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := w.journal.Steps(context.Background(), id, 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := json.Marshal([]any{r, list})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}
