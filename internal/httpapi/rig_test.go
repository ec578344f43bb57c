package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/flow"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/httpapi"
	"github.com/freshet-dev/freshet/internal/metrics"
	"github.com/freshet-dev/freshet/internal/proxy"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/web"
)

// A world is a whole server on loopback, with an emulator for a provider.
type world struct {
	t      testing.TB
	dir    string
	em     *emulator.Emulator
	store  *store.Store
	vault  *vault.Vault
	book   *resource.Book
	tables *table.Tables
	src    *refresh.Source
	audit  *audit.Log
	runs   *run.Journal
	keys   *access.Keys
	flows  *flow.Flows
	api    *httpapi.API
	web    *web.Server
	poller *schedule.Poller
	db     *locked
	log    *logBuffer
	url    string
	admin  string
	workflowRig
}

// A tweak changes what a world is made of.
type tweak struct {
	engine httpapi.Engine
	strict bool
	auth   func(*flow.Options)
	runs   httpapi.Runs
	em     emulator.Options
}

// locked is a database whose writes can be refused.
type locked struct {
	store.DB
	mu    sync.Mutex
	audit bool
	all   bool
}

func (l *locked) set(audit, all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.audit, l.all = audit, all
}

func (l *locked) Tx(ctx context.Context, fn func(tx store.Querier) error) error {
	l.mu.Lock()
	audit, all := l.audit, l.all
	l.mu.Unlock()
	if all {
		return store.ErrReadOnly
	}
	return l.DB.Tx(ctx, func(tx store.Querier) error {
		if audit {
			return fn(noAudit{tx})
		}
		return fn(tx)
	})
}

// noAudit refuses rows of the audit and nothing else.
type noAudit struct{ store.Querier }

func (n noAudit) Exec(ctx context.Context, q string, args ...any) (int64, error) {
	if strings.Contains(q, "INTO audit") {
		return 0, errors.New("the audit table is locked")
	}
	return n.Querier.Exec(ctx, q, args...)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// connections finds connections for the proxy.
type connections struct{ src *refresh.Source }

func (c connections) Connection(ctx context.Context, name string) (upstream.Connection, error) {
	conn, err := c.src.Connection(ctx, name)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func newWorld(t testing.TB, tweaks ...func(*tweak)) *world {
	t.Helper()
	var tw tweak
	for _, f := range tweaks {
		f(&tw)
	}
	ctx := context.Background()
	w := &world{t: t, dir: t.TempDir(), log: &logBuffer{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.em, err = emulator.New(tw.em)
	must(err)
	_, err = w.em.Start("127.0.0.1:0")
	must(err)
	t.Cleanup(func() { w.em.Close() })

	values := redact.NewValues(0)
	log := slog.New(redact.NewHandler(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}), values))
	if b, ok := t.(*testing.B); ok {
		_ = b
		log = slog.New(redact.NewHandler(slog.NewTextHandler(io.Discard, nil), values))
	}
	st, err := sqlite.Open(ctx, w.dir, sqlite.Options{})
	must(err)
	w.db = &locked{DB: st.DB()}
	w.store = store.New(w.db)
	if _, ok := t.(*testing.B); ok {
		w.store = st
	}
	w.vault, err = vault.Open(ctx, w.store, vault.MasterKeyFile(filepath.Join(w.dir, "master.key")))
	must(err)
	guard, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	must(err)
	w.tables = table.New(table.Options{Store: w.store, Sealer: w.vault})
	w.openLibrary(tw.engine)
	w.book, err = resource.New(resource.Options{Workflows: w.checker, Store: w.store, Sealer: w.vault, Catalogue: resource.Catalogue{Provider: catalog.Provider, Suggest: catalog.Suggest}, Allow: []string{"127.0.0.0/8"}, Tables: w.tables,
		Written: func(c *store.Change, u resource.Update) error {
			if u.Kind == "tables" {
				return w.written(c, u)
			}
			if u.Kind == "schedules" {
				return writeSchedule(c, u)
			}
			if u.Kind == "workflows" {
				return w.workflowed(c, u)
			}
			if u.Kind != "connections" {
				return nil
			}
			id := freshet.ConnectionID(u.ID)
			if u.Action == resource.Deleted {
				return c.DeleteToken(id)
			}
			row := store.Token{ID: id, Name: u.Name, Client: u.Definition.ClientKey(), Provider: u.Definition.Provider.Name, State: freshet.StateOK}
			if u.Definition.Connection.Grant.Interactive() && u.Definition.Connection.Credentials["refresh_token"].IsZero() {
				row.State, row.Reason = freshet.StateReauth, freshet.ReasonNeverAuthorized
			}
			return c.EnsureToken(row)
		},
		OnChange: func(kind string, names []string) {
			if kind == "workflows" {
				w.library.Changed(context.Background())
			} else if kind == "connections" {
				w.src.Invalidate(context.Background(), nil, names...)
			} else {
				w.src.Invalidate(context.Background(), nil)
			}
		}})
	must(err)
	sender := grant.New(grant.Options{Transport: guard.Transport(dial.Token), Mutual: func(c tls.Certificate) http.RoundTripper { return guard.Mutual(dial.Token, c) }, Logger: log})
	w.src = refresh.New(refresh.Options{Store: w.store, Sealer: w.vault, Asker: sender, Definitions: w.book, Dir: w.dir, Log: log, Observe: func(e refresh.Event) {
		if w.api != nil {
			w.api.Observe(e)
		}
	}})
	must(w.src.Start(ctx))
	w.audit = audit.New(audit.Options{Store: w.store, Hasher: w.vault, Strict: tw.strict, Log: log})
	w.keys, err = access.Open(ctx, access.Options{Store: w.store, Hasher: w.vault, Log: log})
	must(err)
	path, _, err := w.keys.EnsureAdmin(ctx, w.dir)
	must(err)
	b, err := os.ReadFile(path)
	must(err)
	w.admin = strings.TrimSpace(string(b))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	w.url = "http://" + l.Addr().String()
	count := metrics.New(metrics.Options{Gauges: w.src.Gauges, Count: w.store.CountTokens})
	gate := httpapi.NewGate(w.keys, w.audit, count, log)
	calls := upstream.New(upstream.Options{Dialer: guard, Log: log})
	w.flows = flow.New(flow.Options{Store: w.store, Sealer: w.vault, Definitions: w.book, Grants: sender, Source: w.src, RedirectURI: w.url + "/callback/oauth2", Log: log,
		Ended: func(e flow.Ended) {
			if e.Done {
				w.audit.Record(context.Background(), audit.Entry{Actor: e.Actor, Action: audit.Connected, Subject: e.Connection})
			}
		}})
	closeSchedules := w.startSchedules(log)
	w.openJournal(values, log)
	api, err := httpapi.New(httpapi.Options{Library: w.library, Checker: w.checker, Engine: w.engine, Journal: w.runs, Runs: tw.runs, Schedules: w.poller, Tables: w.tables, Store: w.store, Vault: w.vault, Source: w.src, Upstream: calls, Book: w.book, Gate: gate, Flows: w.flows, BaseURL: w.url, Values: values, Version: "test", Log: log})
	must(err)
	w.api = api
	base, err := url.Parse(w.url)
	must(err)
	w.web = web.Start(web.Options{Listener: l, BaseURL: base, API: w.api, Log: log, Proxy: proxy.New(proxy.Options{Upstream: calls, Authorizer: gate, Connections: connections{w.src}, Recorder: gate})})
	w.api.Ready()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		w.db.set(false, false)
		w.api.Close()
		w.em.Release()
		for _, err := range []error{w.web.Shutdown(ctx), closeSchedules(ctx), func() error { w.flows.Close(); return nil }(), w.src.Close(ctx), w.runs.Close(ctx), w.keys.Close(ctx), w.audit.Close(ctx), w.store.Close()} {
			if err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if t.Failed() && testing.Verbose() {
			t.Log(w.log.String())
		}
	})
	return w
}

// provider declares the emulator and a client of it.
const declared = `
providers:
  emu:
    authorization_url: EM/authorize
    token_url: EM/token
    revocation_url: EM/revoke
    device_authorization_url: EM/device_authorization
    client_auth: basic
clients:
  emu: { provider: emu, id: crm-client, secret: CANARY-client-secret }
connections:
  crm:
    client: emu
    grant: client_credentials
    scopes: [read]
    api: { base_url: EM/api, verify: { path: /me } }
  person:
    client: emu
    grant: authorization_code
    scopes: [read]
    api: { base_url: EM/api }
`

// declare applies resources, EM being the emulator's address.
func (w *world) declare(yaml string) {
	w.t.Helper()
	a := w.do("POST", "/api/v1/apply", strings.ReplaceAll(yaml, "EM", w.em.URL()), "Content-Type", "application/yaml")
	if a.status != 200 {
		w.t.Fatalf("apply: %d %s", a.status, a.body)
	}
}

// An answer is one answer.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v
}

// do makes a request with the admin key; pairs are headers, "" takes one away.
func (w *world) do(method, path, body string, pairs ...string) answer {
	w.t.Helper()
	return w.with(w.admin, method, path, body, pairs...)
}

func (w *world) with(key, method, path, body string, pairs ...string) answer {
	w.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	target := path
	if !strings.HasPrefix(path, "http") {
		target = w.url + path
	}
	req, err := http.NewRequest(method, target, r)
	if err != nil {
		w.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch {
		case pairs[i] == "Host":
			req.Host = pairs[i+1]
		default:
			req.Header.Set(pairs[i], pairs[i+1])
		}
	}
	return w.send(noRedirects, req)
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (w *world) send(c *http.Client, req *http.Request) answer {
	w.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// key makes an API key.
func (w *world) key(name string, scopes ...string) string {
	w.t.Helper()
	k, err := w.keys.Create(context.Background(), access.Request{Name: name, Scopes: scopes})
	if err != nil {
		w.t.Fatal(err)
	}
	return k.Secret.Reveal()
}

// A browser keeps cookies and does not follow redirects by itself.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: noRedirects.CheckRedirect}}
}

func (b *browser) get(url string) answer {
	b.w.t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return b.w.send(b.c, req)
}

// audited returns the rows of an action.
func (w *world) audited(action string) []map[string]any {
	w.t.Helper()
	a := w.do("GET", "/api/v1/audit?limit=1000&action="+action, "")
	var v struct{ Audit []map[string]any }
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		w.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v.Audit
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return string(b)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
