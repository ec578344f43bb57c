package component

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

//go:embed prelude.js
var prelude string

const (
	// JobKind is how attempts that are due are called in the queue.
	JobKind = "component"

	defaultTimeout  = time.Minute
	maxTimeout      = 10 * time.Minute
	defaultAttempts = 10
	defaultWait     = 15 * time.Second
	maxWait         = time.Hour
	// stale is when a message that is under way has been left by its process.
	stale = maxTimeout + 5*time.Minute
	// thinking is how long an action may compute, without what it waits for.
	thinking = 2 * time.Second
	// dbWait bounds what has to be written when a message has been carried out.
	dbWait = 10 * time.Second
)

var (
	// ErrNoAction says that a component has no action of the name.
	ErrNoAction = errors.New("the component has no such action")
	// ErrNoMessage says that no failed message of the id is kept.
	ErrNoMessage = errors.New("no failed message of this id is kept")
)

// Interrupted is what happened to a message whose process died under it.
const Interrupted = "interrupted: the server stopped while the message was under way"

// A Sealer opens and closes what the store keeps; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Components know what is declared: the component of a name and the id of its
// resource. The error wraps freshet.ErrNotFound.
type Components interface {
	Component(ctx context.Context, name string) (*freshet.Component, string, error)
}

// Options are what a Worker is made of. All but Now and Log are required.
type Options struct {
	Store       *store.Store
	Sealer      Sealer
	Journal     *run.Journal
	Queue       queue.Queue
	Components  Components
	Credentials Credentials
	Send        func(ctx context.Context, f outbound.Fields) (*outbound.Answer, error)
	// Variables are those of a connection's definition, for further fields of the
	// credential. nil: none.
	Variables func(ctx context.Context, connection string) (map[string]string, error)

	Alone bool             // no other process uses the store
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silence
}

// A Worker carries out messages. It is safe for concurrent use. Close it.
type Worker struct {
	o       Options
	scripts *script.Engine

	mu     sync.Mutex
	closed bool
	turns  map[string]chan struct{} // by connection: who refreshes by itself goes one at a time
	live   sync.WaitGroup
	base   context.Context
	stop   context.CancelFunc
}

// New returns a Worker.
func New(o Options) (*Worker, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	scripts, err := script.New(script.Options{Now: o.Now, Prelude: prelude, Source: MaxSource + 1<<10, Input: 4 << 20, Spare: 1})
	if err != nil {
		return nil, err
	}
	w := &Worker{o: o, scripts: scripts, turns: map[string]chan struct{}{}}
	w.base, w.stop = context.WithCancel(context.Background())
	return w, nil
}

// Kind is how the queue carries out attempts that are due. Register it before
// the queue starts.
func (w *Worker) Kind() queue.Kind {
	return queue.Kind{Name: JobKind, Timeout: maxTimeout + time.Minute, Do: func(ctx context.Context, t queue.Task) error {
		m, err := w.o.Store.ComponentMessage(ctx, t.Ref)
		if errors.Is(err, store.ErrNotFound) || err == nil && m.State != store.MessageWaiting {
			return nil // somebody else had it, or deleted it
		}
		if err != nil {
			return err
		}
		_, err = w.again(ctx, m, "rebound")
		if errors.Is(err, store.ErrStale) {
			return nil
		}
		return err
	}}
}

// Start marks what a dead process left under way as failed.
func (w *Worker) Start(ctx context.Context) error {
	now := w.o.Now()
	before := now.Add(-stale)
	if w.o.Alone {
		before = now.Add(time.Hour)
	}
	n, err := w.o.Store.InterruptComponentMessages(ctx, before, now, Interrupted)
	if n > 0 {
		w.o.Log.Warn("messages of components were interrupted; they are kept as failed", "messages", n)
	}
	return err
}

// Close takes no more messages, and waits for those under way until ctx ends.
// What is then broken off is kept as failed.
func (w *Worker) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	done := make(chan struct{})
	go func() { w.live.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		w.stop()
		<-done
	}
	w.stop()
	return w.scripts.Close()
}

// A Request is a message for an action.
type Request struct {
	Component, Action string
	Message           any // a value of package model: {body, headers, attachments}, or the body alone
	Trigger           string
	CorrelationID     string
}

// An Outcome is how one attempt at a message ended.
type Outcome struct {
	RunID   run.ID
	Message string // its id while it is kept, "" when it ended well
	State   string // waiting or failed; "": it ended well
	Output  any    // the body of the only message that was emitted, a list of several, nil of none
	Fault   *run.Fault
	DueAt   time.Time // of the next attempt, while it waits
}

// Run carries out a message, once. It goes on when ctx ends. Errors wrap
// freshet.ErrNotFound or ErrNoAction; what the action did is in the Outcome.
func (w *Worker) Run(ctx context.Context, r Request) (Outcome, error) {
	c, id, err := w.o.Components.Component(ctx, r.Component)
	if err != nil {
		return Outcome{}, fmt.Errorf("component %s: %w", r.Component, err)
	}
	if _, ok := c.Actions[r.Action]; !ok {
		return Outcome{}, fmt.Errorf("component %s, action %s: %w", r.Component, r.Action, ErrNoAction)
	}
	message := normal(r.Message)
	b, err := json.Marshal(message)
	if err != nil {
		return Outcome{}, fmt.Errorf("component %s: the message cannot be kept: %w", r.Component, err)
	}
	m := store.ComponentMessage{ID: w.o.Journal.NewID(), Component: id, Name: r.Component, Action: r.Action}
	m.Run = m.ID
	if m.Sealed, err = w.o.Sealer.Seal(binding(m.ID), b); err != nil {
		return Outcome{}, err
	}
	if !w.enter() {
		return Outcome{}, run.ErrClosed
	}
	defer w.live.Done()
	if err := w.o.Store.AddComponentMessage(ctx, m, w.o.Now()); err != nil {
		return Outcome{}, fmt.Errorf("component %s: the message cannot be kept: %w", r.Component, err)
	}
	m.Attempts = 1
	return w.attempt(ctx, c, m, message, run.Start{Trigger: r.Trigger, CorrelationID: r.CorrelationID})
}

// Retry carries out a failed message again, by its id or that of its latest run.
// ErrNoMessage: there is none.
func (w *Worker) Retry(ctx context.Context, id string) (Outcome, error) {
	m, err := w.o.Store.ComponentMessage(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && m.State != store.MessageFailed {
		return Outcome{}, ErrNoMessage
	}
	if err != nil {
		return Outcome{}, err
	}
	out, err := w.again(ctx, m, "retry")
	if errors.Is(err, store.ErrStale) {
		err = ErrNoMessage
	}
	return out, err
}

// RetryAll has every failed message of a component carried out again in the
// background, and returns how many there are.
func (w *Worker) RetryAll(ctx context.Context, component string) (int, error) {
	if _, _, err := w.o.Components.Component(ctx, component); err != nil {
		return 0, fmt.Errorf("component %s: %w", component, err)
	}
	n, after := 0, ""
	for {
		list, err := w.o.Store.ComponentMessages(ctx, component, store.MessageFailed, after, 200)
		if err != nil || len(list) == 0 {
			w.o.Queue.Wake()
			return n, err
		}
		for _, m := range list {
			after = m.ID
			err := w.o.Store.ReleaseComponentMessage(ctx, m.ID, w.o.Now(), func(tx store.Querier) error { return w.enqueue(ctx, tx, m, time.Time{}) })
			if err == nil {
				n++
			} else if !errors.Is(err, store.ErrStale) {
				return n, err
			}
		}
	}
}

// Kept lists messages that have not ended well.
func (w *Worker) Kept(ctx context.Context, component, state, after string, limit int) ([]store.ComponentMessage, error) {
	if _, _, err := w.o.Components.Component(ctx, component); err != nil {
		return nil, fmt.Errorf("component %s: %w", component, err)
	}
	return w.o.Store.ComponentMessages(ctx, component, state, after, limit)
}

// Drop forgets a failed message. ErrNoMessage: there is none.
func (w *Worker) Drop(ctx context.Context, id string) error {
	err := w.o.Store.DropComponentMessage(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoMessage
	}
	return err
}

func binding(id string) freshet.Binding {
	return freshet.Binding{Table: "component_messages", Row: id, Column: "message"}
}

func (w *Worker) enqueue(ctx context.Context, tx store.Querier, m store.ComponentMessage, due time.Time) error {
	return w.o.Queue.Enqueue(ctx, tx, queue.Job{ID: fmt.Sprintf("%s.%s.%d", JobKind, m.Run, m.Attempts), Kind: JobKind, Ref: m.ID, After: due})
}

func (w *Worker) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.live.Add(1)
	return true
}

// again takes a message and makes the next attempt. store.ErrStale: somebody
// else was faster.
func (w *Worker) again(ctx context.Context, m store.ComponentMessage, trigger string) (Outcome, error) {
	if !w.enter() {
		return Outcome{}, run.ErrClosed
	}
	defer w.live.Done()
	m, err := w.o.Store.TakeComponentMessage(ctx, m.ID, m.State, w.o.Journal.NewID(), w.o.Now())
	if err != nil {
		return Outcome{}, err
	}
	var message any
	c, _, err := w.o.Components.Component(ctx, m.Name)
	if err == nil {
		if _, ok := c.Actions[m.Action]; !ok {
			err = ErrNoAction
		}
	}
	if err == nil {
		var b []byte
		if b, err = w.o.Sealer.Open(binding(m.ID), m.Sealed); err == nil {
			message, err = content.JSON(b)
		}
	}
	if err != nil {
		text := "the message cannot be carried out: " + redact.Text(err.Error())
		return Outcome{RunID: m.Run, Message: m.ID, State: store.MessageFailed, Fault: &run.Fault{Message: text}},
			w.settle(m, store.MessageFailed, text, time.Time{})
	}
	return w.attempt(ctx, c, m, message, run.Start{Trigger: trigger, Parent: m.ID})
}

// attempt runs the action over a message that is this process's. What has begun
// goes on whatever becomes of the caller: the action may have spent a refresh
// token.
func (w *Worker) attempt(ctx context.Context, c *freshet.Component, m store.ComponentMessage, message any, s run.Start) (Outcome, error) {
	s.ID, s.Kind, s.Name, s.Input = m.Run, run.Component, m.Name+"."+m.Action, message
	for _, v := range c.Env {
		s.Secrets = append(s.Secrets, v.Reveal())
	}
	s.Secrets = append(s.Secrets, content.Secrets(message)...)
	rec, err := w.o.Journal.Begin(ctx, s)
	if err != nil {
		return Outcome{}, errors.Join(err, w.settle(m, store.MessageFailed, "the run could not be put on record", time.Time{}))
	}
	limit := defaultTimeout
	if t := c.Timeout.D(); t > 0 {
		limit = min(t, maxTimeout)
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	defer context.AfterFunc(w.base, cancel)()
	x := &execution{w: w, c: c, m: m, rec: rec, message: message}
	err = x.run(rctx)
	if err != nil && rctx.Err() != nil {
		err = fmt.Errorf("the message took longer than %s: %w", limit, err)
		if w.base.Err() != nil {
			err = errors.New(Interrupted)
		}
	}
	return x.end(err)
}

// end settles the message and ends the run.
func (x *execution) end(err error) (Outcome, error) {
	w, m := x.w, x.m
	out := Outcome{RunID: m.Run}
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err == nil && x.failure != nil {
		err = x.failure
	}
	attempts := x.c.Retry.Attempts
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	e := run.End{Status: run.Finished}
	switch again := err == nil && x.rebound != nil || err != nil && x.c.Retry.OnError; {
	case err == nil && !again:
		out.Output = x.output()
		e.Output = out.Output
		if derr := w.o.Store.EndComponentMessage(ctx, m.Run); derr != nil {
			w.o.Log.Warn("a message that ended well is not forgotten; it will be kept as interrupted", "component", m.Name, "run", m.Run, "error", derr)
		}
	case again && m.Attempts < int64(attempts):
		text := "given back by the action"
		if err != nil {
			text = err.Error()
		} else if *x.rebound != "" {
			text += ": " + *x.rebound
		}
		wait := defaultWait
		if d := x.c.Retry.Wait.D(); d > 0 {
			wait = d
		}
		wait, _ = queue.Doubling(wait, max(maxWait, wait))(int(m.Attempts))
		out.Message, out.State, out.DueAt = m.ID, store.MessageWaiting, w.o.Now().Add(wait)
		if serr := w.settle(m, store.MessageWaiting, x.masked(text), out.DueAt); serr != nil {
			return out, serr
		}
		e.Outcomes = []string{"rebound"}
		e.Warnings = []string{fmt.Sprintf("%s; attempt %d of %d is at %s", text, m.Attempts+1, attempts, out.DueAt.UTC().Format(time.RFC3339))}
		if err != nil {
			e.Status, e.Fault = run.Faulted, x.fault(err)
			out.Fault = e.Fault
		}
	default:
		if err == nil {
			err = fmt.Errorf("the action gave the message back %d times: rebound limit exceeded", m.Attempts)
		}
		out.Message, out.State = m.ID, store.MessageFailed
		e.Status, e.Fault = run.Faulted, x.fault(err)
		out.Fault = e.Fault
		if serr := w.settle(m, store.MessageFailed, x.masked(err.Error()), time.Time{}); serr != nil {
			return out, serr
		}
	}
	if jerr := x.rec.End(ctx, e); jerr != nil {
		w.o.Log.Warn("the end of a run is not on record yet", "run", m.Run, "error", jerr)
	}
	return out, nil
}

// settle writes that an attempt did not end well.
func (w *Worker) settle(m store.ComponentMessage, state, text string, due time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	err := w.o.Store.SettleComponentMessage(ctx, m.Run, state, cut(text, 1000), due, w.o.Now(), func(tx store.Querier) error {
		if state != store.MessageWaiting {
			return nil
		}
		return w.enqueue(ctx, tx, m, due)
	})
	if errors.Is(err, store.ErrStale) {
		return nil // its component was deleted meanwhile
	}
	if err == nil && state == store.MessageWaiting {
		w.o.Queue.Wake()
	}
	return err
}
