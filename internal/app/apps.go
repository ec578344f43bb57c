package app

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/workflow/model"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

//go:embed prelude.js
var prelude string

// Definitions finds apps; *resource.Book is one. Errors wrap freshet.ErrNotFound
// for a name that there is none of.
type Definitions interface {
	// AppRevision returns which app has the name, and which state of it.
	AppRevision(ctx context.Context, name string) (id string, revision int64, err error)
	// App returns it with its secrets, and the same.
	App(ctx context.Context, name string) (a *freshet.App, id string, revision int64, err error)
}

// Store keeps what scripts keep; *store.Store is one.
type Store interface {
	AppStore(ctx context.Context, app string) (store.AppStore, error)
	PutAppStore(ctx context.Context, a store.AppStore, now time.Time) error
}

// Sealer seals it; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Sender makes requests; outbound.Options is one.
type Sender interface {
	Send(ctx context.Context, f outbound.Fields) (*outbound.Answer, error)
}

// Connections finds connections whose tokens scripts ask for.
type Connections interface {
	Connection(ctx context.Context, name string) (upstream.Connection, error)
}

// Options are what Apps are made of. Definitions, Store, Sealer, Journal and
// Sender are required.
type Options struct {
	Definitions Definitions
	Store       Store
	Sealer      Sealer
	Journal     *run.Journal
	Sender      Sender
	Connections Connections // nil: scripts get no token of a connection
	// Admit is told before a script gets a connection's token, for the audit; an
	// error keeps it from getting it. nil: nothing is recorded.
	Admit func(ctx context.Context, run, connection string) error

	Values *redact.Values   // is told of secrets, for the log; may be nil
	Time   time.Duration    // that a job's JavaScript may take; 0: 2 s
	Wait   time.Duration    // that a whole job may take; 0: 2 min
	Now    func() time.Time // what scripts take for the time; nil: the machine's own
	Log    *slog.Logger     // nil: silence
}

// Apps runs apps. It is safe for concurrent use. Close it.
type Apps struct {
	o      Options
	engine *script.Engine

	mu    sync.Mutex
	known map[string]*resident // by id
	byApp map[string]string    // name → id, as it was last

	base   context.Context
	cancel context.CancelFunc
	jobs   sync.WaitGroup
}

// A resident is an app that was used since the start.
type resident struct {
	id   string
	turn chan struct{} // held by the one job that runs

	mu       sync.Mutex // held while the app is compiled
	revision int64
	program  *program

	// of whoever holds turn
	session *script.Session
	passing map[string]json.RawMessage // values that were stored for the session only
	spent   map[string]time.Time       // by query: when the token that it brought last expires
}

// New returns Apps.
func New(o Options) (*Apps, error) {
	if o.Time == 0 {
		o.Time = 2 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	engine, err := newEngine(o.Time, o.Now)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Apps{o: o, engine: engine, known: map[string]*resident{}, byApp: map[string]string{}}
	a.base, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

func newEngine(limit time.Duration, now func() time.Time) (*script.Engine, error) {
	return script.New(script.Options{Prelude: prelude, Now: now, Time: limit, Memory: 64 << 20, Source: maxBundle, Input: 12 << 20, Output: 12 << 20})
}

// Close waits for jobs that run, until ctx ends; then it cuts them off.
func (a *Apps) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { a.jobs.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		a.cancel()
		<-done
	}
	a.cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.known {
		if r.session != nil {
			r.session.Close()
		}
	}
	return a.engine.Close()
}

// A BrokenError is an app that cannot run.
type BrokenError struct {
	App     string
	Finding Finding
}

// Error names the place.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("app %s: %s: %s", e.App, e.Finding.Field, e.Finding.Detail)
}

// A MissingError is a part that an app does not have. It is
// freshet.ErrNotFound.
type MissingError struct {
	App, What, Name, Near string
}

// Error names it, and what may be meant.
func (e *MissingError) Error() string {
	return fmt.Sprintf("app %s has no %s %s%s", e.App, e.What, e.Name, e.Near)
}

// Unwrap makes it a freshet.ErrNotFound.
func (e *MissingError) Unwrap() error { return freshet.ErrNotFound }

// find returns an app as it is now, compiled. One that cannot run is a
// BrokenError.
func (a *Apps) find(ctx context.Context, name string) (*resident, *program, error) {
	id, revision, err := a.o.Definitions.AppRevision(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	if old, ok := a.byApp[name]; ok && old != id {
		delete(a.known, old) // deleted and declared anew; its job, if any, ends by itself
	}
	a.byApp[name] = id
	r := a.known[id]
	if r == nil {
		r = &resident{turn: make(chan struct{}, 1), id: id, passing: map[string]json.RawMessage{}, spent: map[string]time.Time{}}
		a.known[id] = r
	}
	a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.program == nil || r.revision != revision {
		if r.program, r.revision, err = a.load(ctx, name); err != nil {
			r.program = nil
			return nil, nil, err
		}
	}
	if f := r.program.broken(); f != nil {
		return nil, nil, &BrokenError{name, *f}
	}
	return r, r.program, nil
}

// enter waits for the app's turn. Whoever enters leaves.
func (a *Apps) enter(ctx context.Context, r *resident) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.base.Done():
		return errClosed
	}
	if r.session == nil {
		r.session = a.engine.Open()
	}
	return nil
}

var errClosed = errors.New("the server stops")

func (r *resident) leave() { <-r.turn }

func (p *program) broken() *Finding {
	for i := range p.findings {
		if !p.findings[i].Warn {
			return &p.findings[i]
		}
	}
	return nil
}

// load compiles the app as it is now.
func (a *Apps) load(ctx context.Context, name string) (*program, int64, error) {
	def, _, revision, err := a.o.Definitions.App(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	p := compile(def)
	if p.broken() == nil {
		s := a.engine.Open()
		defer s.Close()
		if err := p.learn(ctx, a.engine, s); err != nil {
			return nil, 0, fmt.Errorf("app %s: %w", name, err)
		}
	}
	return p, revision, nil
}

// A quiet world has no app behind it: objects are made, and may do nothing.
type quiet struct{}

func (quiet) Global(name string) (any, bool) {
	if name == "__boot" {
		return map[string]any{"store": map[string]any{}}, true
	}
	return nil, false
}
func (quiet) Globals() []string { return []string{"__boot"} }
func (quiet) Call(context.Context, string, []any) (any, error) {
	return nil, errors.New("nothing runs while an app is read: put it into a function")
}

// learn makes the objects once and learns which functions they have, which
// completes the checks.
func (p *program) learn(ctx context.Context, engine *script.Engine, s *script.Session) error {
	e, err := p.bundle.prepare(engine, "__r.names()")
	if err == nil {
		var v any
		if v, err = s.Eval(ctx, e, quiet{}, 0); err == nil {
			list, _ := model.Plain(v).([]any)
			for _, n := range list {
				name, _ := n.(string)
				p.functions = append(p.functions, name)
			}
			p.known()
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	place, text := p.bundle.located(err)
	if kind, name, ok := strings.Cut(place, " "); ok {
		place = map[string]string{"script": "scripts.", "query": "queries."}[kind] + name
	}
	p.fault(place, "%s", text)
	return nil
}

// known checks names of functions.
func (p *program) known() {
	has := map[string]bool{}
	for _, f := range p.functions {
		has[f] = true
	}
	for _, q := range p.queries {
		for _, f := range q.needs {
			if !has[f] {
				p.fault("queries."+q.Name, "is bound to %s.data, and there is no function %s%s", f, f, p.near(f))
			}
		}
	}
	for _, g := range p.pages {
		for _, level := range g.levels {
			for _, n := range level {
				if !n.Query && !has[n.Name] {
					p.fault("pages."+g.Name, "waits for %s, and there is no such function%s", n.Name, p.near(n.Name))
				}
			}
		}
	}
}

// Check says what is wrong with an app. It runs nothing of it but the making of
// its objects.
func Check(ctx context.Context, a *freshet.App) ([]Finding, error) {
	p := compile(a)
	if p.broken() != nil {
		return p.findings, nil
	}
	engine, err := script.New(script.Options{Prelude: prelude, Source: maxBundle + 4096, Spare: -1, Idle: -1})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	s := engine.Open()
	defer s.Close()
	if err := p.learn(ctx, engine, s); err != nil {
		return nil, err
	}
	return p.findings, nil
}

// Public reports whether the pages of an app are open to everybody. The error
// wraps freshet.ErrNotFound for a name that there is none of.
func (a *Apps) Public(ctx context.Context, name string) (bool, error) {
	_, p, err := a.find(ctx, name)
	if err != nil {
		return false, err
	}
	return p.App.Public, nil
}

// Functions lists the functions of an app's objects, as OBJECT.FUNCTION.
func (a *Apps) Functions(ctx context.Context, name string) ([]string, error) {
	_, p, err := a.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return p.functions, nil
}
