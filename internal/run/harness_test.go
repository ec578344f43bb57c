package run_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// A gate is a database whose transactions can be held up, refused and counted.
type gate struct {
	store.DB

	mu   sync.Mutex
	err  error
	held chan struct{} // not nil: a transaction waits for its end
	n    int
}

func (g *gate) Tx(ctx context.Context, fn func(store.Querier) error) error {
	g.mu.Lock()
	err, held := g.err, g.held
	g.n++
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	if err != nil {
		return err
	}
	return g.DB.Tx(ctx, fn)
}

func (g *gate) refuse(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// hold holds transactions up until release is called.
func (g *gate) hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := make(chan struct{})
	g.held = held
	return func() {
		g.mu.Lock()
		g.held = nil
		g.mu.Unlock()
		close(held)
	}
}

// taken returns how many transactions there were since the last call.
func (g *gate) taken() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.n
	g.n = 0
	return n
}

// A world is a journal over a database of its own.
type world struct {
	*run.Journal
	t     *testing.T
	ctx   context.Context
	dir   string
	gate  *gate
	store *store.Store

	mu     sync.Mutex
	events []run.Event
}

func newWorld(t *testing.T, dir string, tweak ...func(*run.Options)) *world {
	t.Helper()
	st, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: context.Background(), dir: dir, gate: &gate{DB: st.DB()}}
	w.store = store.New(w.gate)
	t.Cleanup(func() { st.Close() })
	w.Journal = w.another(tweak...)
	return w
}

// another is the journal of another process over the same database.
func (w *world) another(tweak ...func(*run.Options)) *run.Journal {
	w.t.Helper()
	o := run.Options{Store: w.store, Values: redact.NewValues(0), Alone: true, Observe: func(e run.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	for _, f := range tweak {
		f(&o)
	}
	j := run.New(o)
	w.t.Cleanup(func() {
		w.gate.refuse(nil)
		if err := j.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return j
}

func shared(o *run.Options) { o.Alone = false }

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

func (w *world) begin(s run.Start) *run.Recorder {
	w.t.Helper()
	if s.Name == "" {
		s.Kind, s.Name = run.Workflow, "CallMyAPI"
	}
	r, err := w.Begin(w.ctx, s)
	w.ok(err)
	return r
}

func (w *world) get(id run.ID) run.Run {
	w.t.Helper()
	v, err := w.Get(w.ctx, id)
	w.ok(err)
	return v
}

// cancel ends a run that waits.
func (w *world) cancel(id run.ID) error {
	r, err := w.Resume(w.ctx, id)
	if err != nil {
		return err
	}
	return r.End(w.ctx, run.End{Status: run.Cancelled})
}

// row is a run as the store has it.
func (w *world) row(id run.ID) store.Run {
	w.t.Helper()
	v, err := w.store.Run(w.ctx, id)
	w.ok(err)
	return v
}

// kept returns how many steps of a run are in the store.
func (w *world) kept(id run.ID) int {
	w.t.Helper()
	j := run.New(run.Options{Store: w.store, Alone: true}) // knows nothing but the store
	defer j.Close(w.ctx)
	steps, err := j.Steps(w.ctx, id, 0, 100_000)
	w.ok(err)
	return len(steps)
}

func (w *world) steps(id run.ID) []run.Record {
	w.t.Helper()
	steps, err := w.Steps(w.ctx, id, 0, 100_000)
	w.ok(err)
	return steps
}

func (w *world) list(f run.Filter) (ids []run.ID) {
	w.t.Helper()
	list, err := w.List(w.ctx, f, "", 1000)
	w.ok(err)
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	return ids
}

// told returns the types of the events so far, in order.
func (w *world) told() (types []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		types = append(types, e.Type)
	}
	return types
}

// holds reports whether the database's files hold any of the texts.
func (w *world) holds(texts ...string) (found []string) {
	w.t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(w.dir, sqlite.FileName+suffix))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
		for _, s := range texts {
			if strings.Contains(string(b), s) {
				found = append(found, s+" in freshet.db"+suffix)
			}
		}
	}
	return found
}
