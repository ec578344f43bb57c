package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/component"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/flow"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/httpapi"
	"github.com/freshet-dev/freshet/internal/metrics"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/proxy"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	runs "github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	rows "github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/web"
	"github.com/freshet-dev/freshet/internal/webhook"
	"github.com/freshet-dev/freshet/internal/workflow/endpoint"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

// A server is everything that runs, in the order in which it was started.
type server struct {
	URL      string
	AdminKey string // what the data directory's file holds
	Book     *resource.Book

	dir        string
	first      bool // it made the directory's admin key just now
	log        *slog.Logger
	source     *refresh.Source
	tables     *rows.Tables
	library    *library.Library
	jobs       jobs
	poller     *schedule.Poller
	journal    *runs.Journal
	told       toldRuns
	engine     *engine.Engine    // this and serves are there once works is true
	serves     *endpoint.Handler // endpoints of workflows
	apps       *app.Apps
	components *component.Worker
	forms
	works   atomic.Bool
	failed  <-chan error  // a listener broke
	deleted atomic.Bool   // rows that held secrets, since the last look
	shred   chan struct{} // look now
	closers []closer
}

// A closer undoes one step of a start.
type closer struct {
	what string
	do   func(context.Context) error
}

func (s *server) later(what string, do func(context.Context) error) {
	s.closers = append(s.closers, closer{what, do})
}

// Close undoes the start in reverse: the network first, the store last.
func (s *server) Close(ctx context.Context) error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i].do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.closers[i].what, err))
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

// start brings everything up, or nothing: what was begun before an error is
// ended again.
func (c *serveCmd) start(ctx context.Context, logTo io.Writer) (_ *server, err error) {
	if err := dataDir(c.Data); err != nil {
		return nil, err
	}
	s := &server{dir: c.Data, shred: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			err = errors.Join(err, s.Close(stop))
		}
	}()
	values := redact.NewValues(4096)
	s.log = slog.New(redact.NewHandler(c.logger(logTo), values))

	// The store and what seals it.
	st, err := c.store(ctx, s)
	if err != nil {
		return nil, err
	}
	s.later("store", func(context.Context) error { return st.Close() })
	place, err := c.masterKey()
	if err != nil {
		return nil, err
	}
	v, err := vault.Open(ctx, st, place)
	if err != nil {
		return nil, err
	}
	s.seals = v
	sh, err := c.join(ctx, s, st, v)
	if err != nil {
		return nil, err
	}

	// What people declare. The refresher is made after the book and told of its
	// changes through s.
	guard, err := dial.New(dial.Options{})
	if err != nil {
		return nil, err
	}
	s.later("dialer", func(context.Context) error { guard.Close(); return nil })
	s.tables = rows.New(rows.Options{Store: st, Sealer: v})
	s.library = library.New(library.Options{Store: st, Sealer: v})
	checker := s.newChecker()
	if s.Book, err = resource.New(resource.Options{
		Store: st, Sealer: v, Catalogue: resource.Catalogue{Provider: catalog.Provider, Suggest: catalog.Suggest},
		ProofKey: v.ProofKey,
		HoldsToken: func(ctx context.Context, id freshet.ConnectionID) (bool, error) {
			row, err := st.Token(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				return false, nil
			}
			return row.Sealed != nil, err
		},
		Tables:     s.tables,
		Workflows:  checker,
		Apps:       appChecks{},
		Components: component.Checker{},
		Processes:  process.Checker{Store: st},
		Written:    s.written,
		OnChange: func(kind string, names []string) {
			s.changed(st, guard, kind, names)
			sh.changed(st, s.log, kind, names)
		},
	}); err != nil {
		return nil, err
	}
	if err := s.network(ctx, guard); err != nil {
		return nil, err
	}

	// The refresher. Its events go to everybody who wants to know.
	tracing, err := web.StartTracing(ctx, version, os.Getenv)
	if err != nil {
		return nil, err
	}
	s.later("tracing", tracing.Close)
	sender := grant.New(grant.Options{Transport: guard.Transport(dial.Token), Logger: s.log, Version: version,
		Mutual: func(c tls.Certificate) http.RoundTripper { return guard.Mutual(dial.Token, c) }})
	tell := &observers{}
	own := newRoutines(s, values)
	s.source = refresh.New(refresh.Options{Store: st, Sealer: v, Asker: sender, Definitions: s.Book, Routine: own.refresh, Owner: sh.owner(), Mine: sh.mine(), Poll: sh.looks(), Dir: c.Data, Log: s.log, Observe: tell.observe, Now: sh.now})
	trail := audit.New(audit.Options{Store: st, Hasher: v, Strict: c.Audit == "strict", Log: s.log})
	s.later("audit", trail.Close)
	count := metrics.New(metrics.Options{Version: version, Gauges: s.source.Gauges, Count: st.CountTokens,
		AuditQueued: func() int64 { return int64(trail.Stats().Waiting) }, More: sh.collectors()})
	hooks := webhook.Start(webhook.Options{Store: st, Book: s.Book, Client: guard.Client(dial.Upstream), Log: s.log,
		Scrub: func(t string) string { return values.Scrub(redact.Text(t)) }})
	s.later("webhooks", func(context.Context) error { return hooks.Close() })
	tell.add(count.Observe, tracing.Observe, sh.observe, func(e refresh.Event) {
		hooks.Nudge()
		if e.Type == refresh.EventRevoked {
			s.forget()
		}
	})
	guardian := sh.guardian(st, c.Data)
	if paused, reason, err := guardian.Check(ctx); err != nil {
		return nil, err
	} else if paused {
		s.source.Distrust(reason)
	}
	if err := s.schedules(ctx, st, sh, count, func(t string) string { return values.Scrub(redact.Text(t)) }); err != nil {
		return nil, err
	}
	if err := sh.follow(ctx, s, st, v, guard); err != nil {
		return nil, err
	}
	if err := s.source.Start(ctx); err != nil {
		return nil, err
	}
	s.later("refresher", s.source.Close)
	s.openJournal(st, values, c.keepRuns(), sh == nil, hooks.Nudge)
	s.laterSchedules()
	s.tend(v, st, guardian)

	// Who may come in.
	keys, err := access.Open(ctx, access.Options{Store: st, Hasher: v, Log: s.log, Shared: sh != nil})
	if err != nil {
		return nil, err
	}
	s.later("keys", keys.Close)
	path, made, err := keys.EnsureAdmin(ctx, c.Data)
	if err != nil {
		return nil, err
	}
	s.first = made
	if b, err := os.ReadFile(path); err == nil {
		s.AdminKey = strings.TrimSpace(string(b))
	}

	// What they may ask for.
	l, err := listen(c.Listen)
	if err != nil {
		return nil, err
	}
	base, err := c.baseURL(l)
	if err != nil {
		l.Close()
		return nil, err
	}
	s.URL = base.String()
	gate := httpapi.NewGate(keys, trail, count, s.log)
	up := upstream.New(upstream.Options{Dialer: guard, Values: s.processValue, Log: s.log})
	flows := flow.New(flow.Options{Store: st, Sealer: v, Definitions: s.Book, Grants: sender, Source: s.source, RedirectURI: s.URL + "/callback/oauth2", Shared: sh != nil, Log: s.log, Ended: ended(trail, s.log)})
	s.later("authorizations", func(context.Context) error { flows.Close(); return nil })
	if err := s.runWorkflows(house{Store: st, Vault: v, Dialer: guard, Upstream: up, Trail: trail, Gate: gate, Values: values, Base: base, Alone: sh == nil}); err != nil {
		l.Close()
		return nil, err
	}
	if err := s.runApps(house{Store: st, Vault: v, Dialer: guard, Upstream: up, Trail: trail, Values: values}); err != nil {
		l.Close()
		return nil, err
	}
	s.runProcesses(house{Store: st, Vault: v, Dialer: guard, Upstream: up, Trail: trail, Values: values, Alone: sh == nil})
	if err := s.runComponents(house{Store: st, Vault: v, Dialer: guard, Upstream: up, Trail: trail, Alone: sh == nil}); err != nil {
		l.Close()
		return nil, err
	}
	api, err := httpapi.New(httpapi.Options{Apps: s.apps, Components: s.components, Processes: s.processes, Store: st, Vault: v, Source: s.source, Upstream: up, Book: s.Book, Gate: gate, Flows: flows, Journal: s.journal, Schedules: s.poller, Tables: s.tables, Library: s.library, Checker: checker, Engine: s.engine, Runs: steering{s.engine, s}, BaseURL: s.URL,
		Backup: copyOf(st, place, c.Data), Resume: guardian.Confirm, Doctor: sh.findings(diagnose(st, s.Book, guard, s.source)), Values: values, Version: version, Log: s.log})
	if err != nil {
		l.Close()
		return nil, err
	}
	tell.add(api.Observe)
	s.told.Store(api)

	// The network, last in and first out. Probes are answered while the
	// configuration is applied; /readyz says 200 when it is in force.
	o := web.Options{Listener: l, BaseURL: base, API: api, Endpoints: s.serves.Front, Metrics: count.Handler(), Trace: tracing.Handler, Log: s.log,
		Proxy: proxy.New(proxy.Options{Upstream: up, Authorizer: gate, Recorder: gate, Connections: connections{s.source}})}
	if c.MetricsListen != "" {
		if o.MetricsListener, err = listen(c.MetricsListen); err != nil {
			l.Close()
			return nil, err
		}
	}
	site := web.Start(o)
	s.failed = site.Failed()
	s.later("network", func(ctx context.Context) error {
		api.Close()
		// Requests that wait for a run end with it.
		stopped := make(chan error, 1)
		go func() { stopped <- s.stopRuns(ctx) }()
		return errors.Join(site.Shutdown(ctx), <-stopped)
	})
	if err := s.apply(ctx, c.Config); err != nil {
		return nil, err
	}
	if err := s.startWorkflows(ctx, st); err != nil {
		return nil, err
	}
	own.begin()
	if err := s.components.Start(ctx); err != nil {
		return nil, err
	}
	api.Ready()
	if err := s.startSchedules(ctx); err != nil {
		return nil, err
	}
	local := *base
	local.Scheme, local.Host = "http", localHost(l)
	return s, s.publish(local.String())
}

// copyOf writes a backup of the running store to w, by way of a file in the
// data directory, where there is room for it if there is for the store.
func copyOf(st *store.Store, key vault.MasterKey, dir string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		tmp, err := os.MkdirTemp(dir, "backup-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		path := filepath.Join(tmp, "store")
		if db, ok := st.DB().(*sqlite.DB); ok {
			_, err = backup.Take(ctx, db, key, path)
		} else {
			_, err = backup.TakeShared(ctx, st, key, path)
		}
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}
}

// ended puts the end of an authorization on record.
func ended(trail *audit.Log, log *slog.Logger) func(flow.Ended) {
	return func(e flow.Ended) {
		if !e.Done {
			log.Info("authorization failed", "connection", e.Connection, "kind", e.Kind, "detail", e.Detail)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := trail.Record(ctx, audit.Entry{Actor: e.Actor, Action: audit.Connected, Subject: e.Connection, Detail: audit.Strings("kind", e.Kind)}); err != nil {
			log.Warn("authorization not on record", "connection", e.Connection, "error", err)
		}
	}
}

// connections shows the proxy what the refresher has.
type connections struct{ s *refresh.Source }

// Connection returns a connection by its name.
func (c connections) Connection(ctx context.Context, name string) (upstream.Connection, error) {
	return c.s.Connection(ctx, name)
}

// observers tells events to several. All are added before the first event can
// reach them through a request.
type observers struct {
	mu   sync.RWMutex
	list []func(refresh.Event)
}

func (o *observers) add(f ...func(refresh.Event)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, f...)
}

func (o *observers) observe(e refresh.Event) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, f := range o.list {
		f(e)
	}
}

// written keeps a connection's token row and a schedule's row beside the
// resource, in the same transaction, and has a deleted connection's token
// revoked.
func (s *server) written(c *store.Change, u resource.Update) error {
	switch u.Kind {
	case "connections":
	case "schedules":
		return scheduled(c, u)
	case "tables":
		return s.tabled(c, u)
	case "workflows":
		return s.workflowed(c, u)
	case "components":
		if u.Action != resource.Deleted {
			return nil
		}
		return c.DeleteComponent(u.ID)
	case "processes":
		return s.processed(c, u)
	case "apps":
		if u.Action == resource.Deleted {
			return c.DeleteAppStore(u.ID)
		}
		return nil
	default:
		return nil
	}
	id := freshet.ConnectionID(u.ID)
	if u.Action != resource.Deleted {
		row := store.Token{ID: id, Name: u.Name, Client: u.Definition.ClientKey(), Provider: u.Definition.Provider.Name, State: freshet.StateOK}
		if g := u.Definition.Connection.Grant; g.Interactive() && u.Definition.Connection.Credentials["refresh_token"].IsZero() {
			row.State, row.Reason = freshet.StateReauth, freshet.ReasonNeverAuthorized
		}
		return c.EnsureToken(row)
	}
	row, err := c.Token(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil && u.Definition != nil {
		letter, err := s.source.RevocationOf(u.Definition, row)
		if err != nil {
			return err
		}
		if letter != nil {
			if err := c.Post(*letter); err != nil {
				return err
			}
		}
	}
	s.deleted.Store(true) // the look comes after the commit, see changed
	return c.DeleteToken(id)
}

// tabled makes and changes tables as they are declared, in the transaction that
// writes the declaration.
func (s *server) tabled(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return s.tables.Remove(c, u.Name)
	}
	d, err := s.Book.TableIn(c, u.Name)
	if err != nil {
		return err
	}
	return s.tables.Apply(c, u.Name, d)
}

// changed tells everybody who caches resources.
func (s *server) changed(st *store.Store, guard *dial.Guard, kind string, names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	switch kind {
	case "workflows":
		if err = s.library.Changed(ctx); err == nil {
			err = s.published(ctx, st)
		}
	case "network":
		err = s.network(ctx, guard)
	case "connections":
		// A connection with its client in place is that client, too.
		keys := make([]string, len(names))
		for i, n := range names {
			keys[i] = "connection/" + n
		}
		err = s.source.Invalidate(ctx, keys, names...)
		if s.deleted.Load() {
			s.forget()
		}
	case "clients":
		keys := make([]string, len(names))
		for i, n := range names {
			keys[i] = "client/" + n
		}
		err = s.source.Invalidate(ctx, keys)
	case "providers":
		err = s.source.Invalidate(ctx, nil)
	case "schedules":
		s.poller.Nudge()
	}
	if err != nil {
		s.log.Warn("a change is not in force everywhere yet", "kind", kind, "error", err)
	}
}

// network puts network.allow in force.
func (s *server) network(ctx context.Context, guard *dial.Guard) error {
	n, err := s.Book.Network(ctx)
	if err != nil {
		return err
	}
	return guard.SetAllow(n.Allow)
}

// apply brings the store to the state of files, all or nothing.
func (s *server) apply(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	files, err := resource.ReadFiles(paths...)
	if err != nil {
		return err
	}
	set, err := s.Book.Registry().Decode(files, resource.Local{})
	if err != nil {
		return err
	}
	res, err := s.Book.Apply(ctx, set, false)
	if err != nil {
		return err
	}
	for _, w := range res.Warnings {
		s.log.Warn("configuration", "warning", w.Error())
	}
	return nil
}

// baseURL is how people reach the server, which may not be where it listens.
func (c *serveCmd) baseURL(l net.Listener) (*url.URL, error) {
	if c.BaseURL == "" {
		return &url.URL{Scheme: "http", Host: localHost(l)}, nil
	}
	u, err := url.Parse(strings.TrimSuffix(c.BaseURL, "/"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("--base-url %q is not like https://tokens.example", c.BaseURL)
	}
	return u, nil
}

// localHost is how programs on this machine reach a listener.
func localHost(l net.Listener) string {
	a := l.Addr().(*net.TCPAddr)
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
	}
	return a.String()
}

// publish tells programs on this machine where the server is. It is the last
// step of a start: who finds the file finds a server.
func (s *server) publish(local string) error {
	path := filepath.Join(s.dir, "server.url")
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(local+"\n"), 0o600); err != nil {
		return err
	}
	s.later("server.url", func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	return os.Rename(tmp, path)
}

// greet says what a person needs first.
func (s *server) greet(w io.Writer) {
	fmt.Fprintf(w, "freshet %s serves at %s\n", version, s.URL)
	if s.first {
		fmt.Fprintf(w, "  admin key     %s (made just now; whoever can read it can do everything)\n", filepath.Join(s.dir, access.AdminFile))
	}
	fmt.Fprintf(w, "  API           %s/api/docs\n", s.URL)
	if why := s.source.Paused(); why != "" {
		fmt.Fprintf(w, "  background refresh rests: %s\n", why)
		fmt.Fprintf(w, "  to go on      freshet resume\n")
	}
}
