package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// book is Definitions by hand.
type book struct {
	mu   sync.Mutex
	apps map[string]*freshet.App
	rev  map[string]int64
}

func (b *book) put(a *freshet.App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps[a.Name] = a
	b.rev[a.Name]++
}

func (b *book) AppRevision(_ context.Context, name string) (string, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.apps[name] == nil {
		return "", 0, fmt.Errorf("no app %s: %w", name, freshet.ErrNotFound)
	}
	return "id-" + name, b.rev[name], nil
}

func (b *book) App(ctx context.Context, name string) (*freshet.App, string, int64, error) {
	id, rev, err := b.AppRevision(ctx, name)
	return b.apps[name], id, rev, err
}

// connections are connections by hand.
type connections map[string]upstream.Connection

func (c connections) Connection(_ context.Context, name string) (upstream.Connection, error) {
	if c[name] == nil {
		return nil, fmt.Errorf("there is no connection %q: %w", name, freshet.ErrNotFound)
	}
	return c[name], nil
}

// A world is apps over a real store, with an emulator for a provider.
type world struct {
	t       testing.TB
	dir     string
	em      *emulator.Emulator
	url     string
	store   *store.Store
	vault   *vault.Vault
	journal *run.Journal
	book    *book
	apps    *app.Apps
	conns   connections
	ahead   atomic.Int64 // of the machine's clock, in nanoseconds
	values  *redact.Values
}

func newWorld(t testing.TB, o emulator.Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), book: &book{apps: map[string]*freshet.App{}, rev: map[string]int64{}}, conns: connections{}, values: redact.NewValues(0)}
	w.em, w.url = emulatortest.Start(t, o)
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, w.dir, sqlite.Options{})
	w.ok(err)
	w.store = st
	w.vault, err = vault.Open(ctx, st, vault.MasterKeyFile(filepath.Join(w.dir, "master.key")))
	w.ok(err)
	w.journal = run.New(run.Options{Store: st, Values: w.values, Alone: true})
	guard, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	w.ok(err)
	w.apps, err = app.New(app.Options{Definitions: w.book, Store: st, Sealer: w.vault, Journal: w.journal, Connections: w.conns, Values: w.values, Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }, Wait: 20 * time.Second,
		Sender: outbound.Options{Transport: guard.Transport(dial.Upstream)}})
	w.ok(err)
	stopped := false
	w.t.Cleanup(func() {
		if !stopped {
			stopped = true
			w.stop()
			guard.Close()
		}
	})
}

func (w *world) stop() {
	ctx := context.Background()
	w.ok(w.apps.Close(ctx))
	w.ok(w.journal.Close(ctx))
	w.store.Close()
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

const example = "../../examples/appsmith/shop/"

func text(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ours is the script of our example.
func ours(t testing.TB) string { return text(t, example+"scripts/js_manage_tokens.js") }

var listing = regexp.MustCompile("(?s)```js\n(.*?)```")

// document is the script of the document, its pieces joined: the object that
// the first one closes too early is opened again. Without the document it is
// our own.
func document(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("FRESHET_DOCUMENTS")
	if dir == "" {
		return ours(t)
	}
	files, err := filepath.Glob(filepath.Join(dir, "seeds", "003*.txt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the document is not there: %v %v", files, err)
	}
	var pieces []string
	for _, m := range listing.FindAllStringSubmatch(text(t, files[0]), -1) {
		if strings.Contains(m[1], "(") && strings.Contains(m[1], "{") && !strings.Contains(m[1], "{{") {
			pieces = append(pieces, strings.TrimSpace(m[1]))
		}
	}
	if len(pieces) != 5 {
		t.Fatalf("the document has %d pieces of a script", len(pieces))
	}
	pieces[0] = strings.TrimSuffix(pieces[0], "}")
	return strings.Join(pieces, "\n")
}

// shop is the document's app over the emulator.
func (w *world) shop(script string, change ...func(*freshet.App)) *freshet.App {
	a := &freshet.App{Name: "shop",
		Scripts: map[string]freshet.Secret{"js_manage_tokens": freshet.NewSecret(script)},
		Queries: []freshet.AppQuery{
			{Name: "api_authToken", Method: "POST", URL: w.url + "/jwt/login", Body: freshet.NewSecret(`{"email":"ada@example.org","password":"correct horse"}`)},
			{Name: "api_refreshAuthToken", Method: "POST", URL: w.url + "/jwt/refresh", Body: freshet.NewSecret("{\n    \"refresh_token\":{{appsmith.store.authRefreshToken}}\n}")},
			{Name: "getusers_API", URL: w.url + "/api/users?user_field_names=true", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("JWT {{js_manage_tokens.getAccessToken.data}}")}},
		},
		Pages: []freshet.AppPage{{Name: "users", OnLoad: []string{"js_manage_tokens.getAccessToken"}, Widgets: []freshet.AppWidget{
			{Type: "table", Name: "Table1", Data: "{{getusers_API.data.results}}"},
		}}},
	}
	for _, f := range change {
		f(a)
	}
	w.book.put(a)
	return a
}

// script declares an app of one script and no query but those given.
func (w *world) script(name, body string, queries ...freshet.AppQuery) {
	w.book.put(&freshet.App{Name: name, Scripts: map[string]freshet.Secret{"js": freshet.NewSecret("export default {" + body + "}")}, Queries: queries})
}

func (w *world) run(app_, function string, input ...any) app.Result {
	w.t.Helper()
	r := app.Request{App: app_, Function: function, Trigger: "api"}
	if len(input) > 0 {
		b, err := json.Marshal(input[0])
		w.ok(err)
		r.Input = b
	}
	out, err := w.apps.Run(w.t.Context(), r)
	w.ok(err)
	return out
}

// must runs a function that has to finish, and returns its output as JSON.
func (w *world) must(app_, function string, input ...any) string {
	w.t.Helper()
	out := w.run(app_, function, input...)
	if out.Fault != nil {
		w.t.Fatalf("%s.%s: %s", app_, function, out.Fault.Message)
	}
	b, err := json.Marshal(out.Output)
	w.ok(err)
	return string(b)
}

func (w *world) warnings(id run.ID) []string {
	w.t.Helper()
	r, err := w.journal.Get(w.t.Context(), id)
	w.ok(err)
	return r.Warnings
}

// journaled is everything that the journal tells of a run.
func (w *world) journaled(id run.ID) string {
	w.t.Helper()
	r, err := w.journal.Get(w.t.Context(), id)
	w.ok(err)
	steps, err := w.journal.Steps(w.t.Context(), id, 0, 1000)
	w.ok(err)
	b, err := json.Marshal(map[string]any{"run": r, "steps": steps})
	w.ok(err)
	return string(b)
}

// jwt is a token that is no more than its expiry.
func jwt(exp time.Time, more string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc(fmt.Appendf(nil, `{"exp":%d%s}`, exp.Unix(), more)) + "." + enc([]byte("signature"))
}

// pass lets time pass, here and at the provider.
func (w *world) pass(d time.Duration) {
	w.em.Advance(d)
	w.ahead.Add(int64(d))
}

// kept is a value of an app's store as its scripts read it.
func (w *world) kept(app_, key string) string {
	w.t.Helper()
	a := *w.book.apps[app_]
	a.Scripts = map[string]freshet.Secret{"look": freshet.NewSecret("export default { at(key) { return appsmith.store[key] === undefined ? 'undefined' : appsmith.store[key]; } }")}
	for n, s := range w.book.apps[app_].Scripts {
		a.Scripts[n] = s
	}
	was := w.book.apps[app_]
	w.book.put(&a)
	defer w.book.put(was)
	out := w.must(app_, "look.at", key)
	return strings.Trim(out, `"`)
}

// refused runs a function that has to fail, and returns why.
func (w *world) refused(app_, function string, input ...any) string {
	w.t.Helper()
	out := w.run(app_, function, input...)
	if out.Fault == nil || out.Status != run.Faulted {
		w.t.Fatalf("%s.%s: %s, %v", app_, function, out.Status, out.Output)
	}
	return out.Fault.Message
}

// plain is the request of the shop's page, without an app.
func (w *world) plain(token string) (outbound.Options, outbound.Fields) {
	guard, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	w.ok(err)
	w.t.Cleanup(guard.Close)
	return outbound.Options{Transport: guard.Transport(dial.Upstream)},
		outbound.Fields{URL: w.url + "/api/users?user_field_names=true", Headers: map[string]any{"Authorization": "JWT " + token}, Read: true}
}
