package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

var (
	// ErrNoActivity says that a start names an activity that the workflow lacks.
	ErrNoActivity = errors.New("the workflow has no such activity to start at")
	// ErrSingleton says that the workflow is a singleton and has a run.
	ErrSingleton = errors.New("the workflow runs once at a time, and a run of it has not ended")
	// ErrNotWaiting says that a run does not wait for what was to resume it:
	// somebody else resumed it, it was cancelled, or it never did.
	ErrNotWaiting = errors.New("the run does not wait for that")
	// ErrBusy says that the run is running just now.
	ErrBusy = errors.New("the run is running just now; try again when it waits")
	// ErrNoState says that a run cannot go on because nothing of it was stored.
	ErrNoState = errors.New("nothing is stored to go on from; start the workflow anew")
	// ErrClosed says that the engine takes no more runs.
	ErrClosed = errors.New("the engine is closed")
)

// A Library gives the versions of workflows. Its errors are freshet.ErrNotFound
// where there is none. Versions are shared, read only; one version is one
// pointer as long as the library keeps it in memory.
type Library interface {
	Published(ctx context.Context, name string) (*workflow.Version, error)
	ByID(ctx context.Context, id string) (*workflow.Version, error)                 // the published one
	Numbered(ctx context.Context, id string, number int) (*workflow.Version, error) // whether published or not
	AllPublished(ctx context.Context) ([]*workflow.Version, error)
}

// An Evaluator evaluates what properties say; *expr.Evaluator is one.
type Evaluator interface {
	Open(ctx context.Context) (opened context.Context, close func())
	Property(ctx context.Context, s expr.Scope, p *workflow.Property, f expr.Field) (any, error)
	Eval(ctx context.Context, s expr.Scope, syntax, text string, f expr.Field) (any, error)
	Script(ctx context.Context, s expr.Scope, code string) (value any, outcomes []string, err error)
}

// A Sealer seals and opens the states of runs.
type Sealer interface {
	Seal(b freshet.Binding, plain []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Limits bound one run. A zero member is the default.
type Limits struct {
	Steps int           // activities executed, over all bursts; 100,000
	Time  time.Duration // spent running, waits not counted; 15 minutes
	Depth int           // of children that run children; 16
	Bytes int           // kept in variables, outputs and the stack, counted roughly; 64 MiB
	// Background is how many dispatched runs and resumed timers work at once; 16.
	Background int
}

func (l Limits) withDefaults() Limits {
	if l.Steps <= 0 {
		l.Steps = 100_000
	}
	if l.Time <= 0 {
		l.Time = 15 * time.Minute
	}
	if l.Depth <= 0 {
		l.Depth = 16
	}
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Background <= 0 {
		l.Background = 16
	}
	return l
}

// Options are what an Engine is made of. Library, Registry, Evaluator, Journal,
// Store and Sealer are required.
type Options struct {
	Library   Library
	Registry  *activity.Registry
	Evaluator Evaluator
	Journal   *run.Journal
	Store     *store.Store
	Sealer    Sealer
	Limits    Limits
	Alone     bool             // no other process uses the store: what others held is free
	BaseURL   string           // what absoluteUrl gives outside of a request
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: silence
}

// An Engine runs workflows. It is safe for concurrent use.
type Engine struct {
	o        Options
	programs programs
	locks    locks
	signals  signalIndex
	troubled troubles

	base   context.Context // of everything that no caller waits for
	stop   context.CancelCauseFunc
	wg     sync.WaitGroup
	wake   chan struct{} // there may be an earlier timer
	mu     sync.Mutex
	live   map[run.ID]*exec
	work   []func(ctx context.Context) // that nobody waits for, in order
	busy   int                         // goroutines that do it
	begins map[run.ID]bool             // idle runs whose begin is in work
	closed bool
}

// New returns an engine. Start begins what it does by itself.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	e := &Engine{o: o, live: map[run.ID]*exec{}, begins: map[run.ID]bool{}, wake: make(chan struct{}, 1)}
	e.base, e.stop = context.WithCancelCause(context.Background())
	e.locks.init(o.Store, o.Journal.Owner(), o.Log)
	return e
}

// Start takes over what an earlier process left behind, and from then on
// resumes what is due. It returns when the former is under way.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.recover(ctx); err != nil {
		return fmt.Errorf("take over interrupted workflows: %w", err)
	}
	e.wg.Go(e.poll)
	e.wg.Go(e.keep)
	return nil
}

// Close takes no more starts, and waits for what runs until ctx ends. What runs
// on is then broken off: it is a fault that can be retried.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	idle := make(chan struct{})
	go func() {
		e.drain()
		close(idle)
	}()
	e.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	e.stop(errShutdown)
	e.wg.Wait()
	<-idle
	return nil
}

// drain waits for the runs in memory and for background work.
func (e *Engine) drain() {
	for {
		e.mu.Lock()
		var done chan struct{}
		for _, x := range e.live {
			done = x.done
			break
		}
		idle := done == nil && e.busy == 0
		e.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-done: // nil, and for ever, while there is only work
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Live counts the runs in memory.
func (e *Engine) Live() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.live)
}

// enter makes a run one that is in memory. ErrClosed: no more are taken, but
// for children of those that are there.
func (e *Engine) enter(x *exec) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed && x.above == nil {
		return ErrClosed
	}
	e.live[x.id] = x
	return nil
}

func (e *Engine) leave(x *exec) {
	e.mu.Lock()
	delete(e.live, x.id)
	e.mu.Unlock()
	close(x.done)
}

func (e *Engine) running(id run.ID) *exec {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live[id]
}

// background does work that nobody waits for: in order, as much at once as
// Limits.Background says. What waits for its turn costs no goroutine. It
// reports false when the engine is closed.
func (e *Engine) background(work func(ctx context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.work = append(e.work, work)
	if e.busy < e.o.Limits.Background {
		e.busy++
		e.wg.Go(e.worker)
	}
	return true
}

func (e *Engine) worker() {
	for {
		e.mu.Lock()
		if len(e.work) == 0 || e.base.Err() != nil {
			e.work = nil
			e.busy--
			e.mu.Unlock()
			return
		}
		work := e.work[0]
		e.work = e.work[1:]
		e.mu.Unlock()
		work(e.base)
	}
}
