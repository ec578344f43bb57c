package schedule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/store"
)

// jobKind is the kind of the jobs that carry firings out.
const jobKind = "firing"

// EventMissed tells that instants passed while nobody looked.
const EventMissed = "schedule.missed"

const (
	batch = 100
	// late is how long after its instant a firing counts as missed.
	late = time.Minute
	// countMost bounds how many missed instants are counted.
	countMost = 1000
)

// Options are what a Poller is made of. Store and Queue are required.
type Options struct {
	Store   *store.Store
	Queue   queue.Queue
	Targets map[string]Target // by kind; firings of others fail with a clear text

	Poll    time.Duration            // at most between looks, for rows that others write; 0: 15 s
	Timeout time.Duration            // of one firing; 0: nothing bounds it but its target
	Scrub   func(text string) string // takes secrets out of what targets say; nil: it stays
	Now     func() time.Time         // nil: time.Now
	Log     *slog.Logger             // nil: silence
	Observe func(Fired)              // told of every firing that is over; it must not block
}

// A Fired is a firing that is over.
type Fired struct {
	Kind, Name, Target string
	Cause              string
	Status             store.FiringStatus
	Missed             int64
	Late               time.Duration // from the instant to the beginning
	Took               time.Duration
}

// A Poller fires what is due. Several, in one process or many, may share a
// store. It is safe for concurrent use.
type Poller struct {
	o    Options
	wake chan struct{}
	stop context.CancelFunc
	life context.Context
	loop sync.WaitGroup
}

// New returns a Poller that Start begins. The queue has to know Kind.
func New(o Options) *Poller {
	if o.Poll <= 0 {
		o.Poll = 15 * time.Second
	}
	if o.Scrub == nil {
		o.Scrub = func(s string) string { return s }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Fired) {}
	}
	p := &Poller{o: o, wake: make(chan struct{}, 1)}
	p.life, p.stop = context.WithCancel(context.Background())
	return p
}

// Kind is how the queue carries firings out. What fails is written down and not
// repeated; repeated is what could not be written down.
func (p *Poller) Kind() queue.Kind {
	return queue.Kind{Name: jobKind, Do: p.carryOut, Backoff: queue.Doubling(time.Second, time.Minute)}
}

// Start begins to look for what is due.
func (p *Poller) Start() {
	p.loop.Add(1)
	go p.run()
}

// Close stops looking. Firings that have begun are the queue's to end.
func (p *Poller) Close() error {
	p.stop()
	p.loop.Wait()
	return nil
}

// Nudge has the poller look at once: a row may be due earlier than it knew. It
// does not block.
func (p *Poller) Nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Poller) run() {
	defer p.loop.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-p.wake:
		case <-p.life.Done():
			return
		}
		wait, err := p.look(p.life)
		if err != nil && p.life.Err() == nil {
			p.o.Log.Warn("look for due schedules", "error", err)
			wait = time.Second
		}
		t.Reset(wait)
	}
}

// look fires everything that is due, and returns how long to sleep.
func (p *Poller) look(ctx context.Context) (time.Duration, error) {
	fired := false
	for {
		of := map[string]*store.Timer{}
		made, claimed, err := p.o.Store.FireDue(ctx, batch, p.due, func(tx store.Querier, t *store.Timer, f *store.Firing) error {
			of[t.ID] = t
			return p.enqueue(tx, t, f)
		})
		if err != nil {
			return 0, err
		}
		for _, f := range made {
			fired = fired || f.Status == store.FiringQueued
			if t := of[f.Timer]; t != nil && f.Status == store.FiringSkipped {
				p.o.Observe(Fired{Kind: t.Kind, Name: t.Name, Target: t.Target, Cause: f.Cause, Status: f.Status, Missed: f.Missed})
			}
		}
		if claimed < batch {
			break
		}
	}
	if fired {
		p.o.Queue.Wake()
	}
	next, err := p.o.Store.NextTimer(ctx)
	if err != nil || next.IsZero() {
		return p.o.Poll, err
	}
	wait := next.Sub(p.o.Now())
	if wait <= 0 {
		// It is another poller's, or the database's clock is behind ours.
		wait = 20 * time.Millisecond
	}
	return min(wait, p.o.Poll), nil
}

func (p *Poller) enqueue(tx store.Querier, t *store.Timer, f *store.Firing) error {
	return p.o.Queue.Enqueue(p.life, tx, queue.Job{ID: "firing-" + f.ID, Kind: jobKind, Ref: f.ID})
}

// entry is what a timer's row says, as JSON.
type entry struct {
	When *freshet.Schedule `json:"when,omitempty"` // nil: once, at the row's instant
	Data json.RawMessage   `json:"data,omitempty"`
}

func entryOf(t *store.Timer) (e entry, plan *Plan, err error) {
	if err = json.Unmarshal([]byte(t.Spec), &e); err != nil {
		return e, nil, fmt.Errorf("%s %s: %w", t.Kind, t.Name, err)
	}
	if e.When != nil {
		if plan, err = Compile(e.When, t.Anchor); err != nil {
			return e, nil, fmt.Errorf("%s %s: %w", t.Kind, t.Name, err)
		}
	}
	return e, plan, nil
}

// due says what becomes of a timer whose instant has come.
func (p *Poller) due(t *store.Timer, now time.Time) (store.Fire, error) {
	_, plan, err := entryOf(t)
	if err != nil {
		// A row that does not read must not stop the others. It waits for
		// somebody to declare it anew.
		p.o.Log.Error("a timer is left out", "kind", t.Kind, "name", t.Name, "error", err)
		return store.Fire{}, nil
	}
	nominal, n, next := t.NextAt, 1, time.Time{}
	if plan != nil {
		nominal, n = plan.Latest(t.NextAt, now, countMost)
		if !plan.Over(t.Fired + 1) {
			next, _ = plan.Next(nominal)
		}
	}
	fire := store.Fire{Next: next, Counts: true, Firing: &store.Firing{ID: rand.Text(), Key: clockKey(nominal), Cause: CauseClock, Nominal: nominal, Missed: int64(n - 1)}}
	if t.Kind == KindSchedule && now.Sub(t.NextAt) >= late {
		fire.Events = []store.Event{missed(t, nominal, n)}
		if until := plan.Until(); !until.IsZero() && now.After(until) {
			// It ended while nobody looked: what is over is not fired any more.
			fire.Firing, fire.Next = nil, time.Time{}
		}
	}
	return fire, nil
}

func clockKey(nominal time.Time) string {
	return CauseClock + "-" + strconv.FormatInt(nominal.UnixMilli(), 10)
}

func missed(t *store.Timer, caughtUp time.Time, n int) store.Event {
	e := store.Event{Type: EventMissed, Detail: map[string]any{"schedule": t.Name, "target": t.Target, "due": t.NextAt.Format(time.RFC3339), "missed": n, "caught_up_for": caughtUp.Format(time.RFC3339)}}
	if t.Target == TargetRefresh {
		e.Connection = t.Subject
	}
	return e
}

var (
	// ErrEnded says that a schedule has ended by date or count.
	ErrEnded = errors.New("the schedule has ended")
	// ErrPaused says that a schedule takes no requests while it is paused.
	ErrPaused = errors.New("the schedule is paused")
	// ErrRunning says that a firing was skipped because the one before is not
	// over.
	ErrRunning = errors.New("the firing before is not over")
)

// Fire fires a schedule now, as cause says: CauseManual or CauseHook. Of several
// requests with the same key one fires, and the others get its firing; "" is
// unlike all others. ErrNotFound of freshet: there is no such schedule.
// ErrRunning comes with the firing that was skipped, ErrEnded and ErrPaused
// without one; a person may fire what has ended or is paused.
func (p *Poller) Fire(ctx context.Context, name, cause, key string, input json.RawMessage) (store.Firing, error) {
	t, err := p.Timer(ctx, name)
	if err != nil {
		return store.Firing{}, err
	}
	if key == "" {
		key = rand.Text()
	}
	now, err := p.o.Store.Now(ctx)
	if err != nil {
		return store.Firing{}, err
	}
	f := store.Firing{ID: rand.Text(), Key: cause + "-" + key, Cause: cause, Nominal: now, Input: string(input)}
	f, err = p.o.Store.FireNow(ctx, t.ID, f, func(t *store.Timer, now time.Time) (store.Fire, error) {
		fire := store.Fire{Next: t.NextAt, Counts: cause == CauseHook}
		if cause == CauseManual {
			return fire, nil
		}
		if t.Paused {
			return fire, ErrPaused
		}
		_, plan, err := entryOf(t)
		if err != nil {
			return fire, err
		}
		if plan.Over(t.Fired) || !plan.Until().IsZero() && now.After(plan.Until()) {
			return fire, ErrEnded
		}
		return fire, nil
	}, p.enqueue)
	switch {
	case errors.Is(err, store.ErrExists): // asked before
		return f, nil
	case errors.Is(err, store.ErrNotFound): // deleted just now
		return f, fmt.Errorf("schedule %s: %w", name, freshet.ErrNotFound)
	case err != nil:
		return f, fmt.Errorf("schedule %s: %w", name, err)
	case f.Status == store.FiringSkipped:
		return f, fmt.Errorf("schedule %s: %w", name, ErrRunning)
	}
	p.o.Queue.Wake()
	return f, nil
}

// Timer returns the row of a schedule. The error wraps freshet.ErrNotFound if
// there is none.
func (p *Poller) Timer(ctx context.Context, name string) (store.Timer, error) {
	t, err := p.o.Store.TimerByName(ctx, KindSchedule, name)
	if errors.Is(err, store.ErrNotFound) {
		return t, fmt.Errorf("schedule %s: %w", name, freshet.ErrNotFound)
	} else if err != nil {
		return t, fmt.Errorf("schedule %s: %w", name, err)
	}
	return t, nil
}

// Pause lets the clock fire a schedule no more, or again. What passed meanwhile
// is not caught up with: it was not missed, it was not wanted.
func (p *Poller) Pause(ctx context.Context, name string, paused bool) error {
	for range 5 {
		t, err := p.Timer(ctx, name)
		if err != nil || t.Paused == paused {
			return err
		}
		var next time.Time
		if !paused {
			_, plan, err := entryOf(&t)
			if err != nil {
				return err
			}
			now, err := p.o.Store.Now(ctx)
			if err != nil {
				return err
			}
			if !plan.Over(t.Fired) {
				next, _ = plan.Next(now)
			}
		}
		err = p.o.Store.SetTimer(ctx, t.ID, t.Revision, paused, next)
		if errors.Is(err, store.ErrStale) {
			continue
		}
		if err != nil {
			return fmt.Errorf("schedule %s: %w", name, err)
		}
		p.Nudge()
		return nil
	}
	return fmt.Errorf("schedule %s: %w", name, store.ErrStale)
}

// carryOut is the job of one firing.
func (p *Poller) carryOut(ctx context.Context, task queue.Task) error {
	f, t, err := p.o.Store.BeginFiring(ctx, task.Ref)
	if errors.Is(err, store.ErrStale) {
		return nil // over, or not wanted any more
	} else if err != nil {
		return err
	}
	e, _, err := entryOf(&t)
	if err == nil && e.When == nil && t.Kind == KindSchedule {
		err = errors.New("the schedule says not when")
	}
	var out Outcome
	if err == nil {
		out, err = p.call(ctx, &t, &f, e)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // the process stops: this is no outcome
	}
	status := store.FiringSucceeded
	if err != nil {
		status, out.Message = store.FiringFailed, err.Error()
		p.o.Log.Warn("a firing failed", "kind", t.Kind, "name", t.Name, "target", t.Target, "nominal", f.Nominal, "error", p.o.Scrub(out.Message))
	}
	// The outcome is known: it is written although the process may be stopping.
	if err := p.o.Store.EndFiring(context.WithoutCancel(ctx), f.ID, status, out.Run, short(p.o.Scrub(out.Message)), e.When == nil); err != nil && !errors.Is(err, store.ErrStale) {
		return err
	}
	now := p.o.Now()
	p.o.Observe(Fired{Kind: t.Kind, Name: t.Name, Target: t.Target, Cause: f.Cause, Status: status, Missed: f.Missed, Late: max(f.StartedAt.Sub(f.Nominal), 0), Took: max(now.Sub(f.StartedAt), 0)})
	return nil
}

// call has the target carry a firing out. What panics has failed, and is not
// repeated: it would again.
func (p *Poller) call(ctx context.Context, t *store.Timer, f *store.Firing, e entry) (out Outcome, err error) {
	target := p.o.Targets[t.Target]
	if target == nil {
		return out, errLater(t.Target)
	}
	if p.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.o.Timeout)
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the target panicked: %v", v)
		}
	}()
	return target.Fire(ctx, Firing{ID: f.ID, Kind: t.Kind, Name: t.Name, Ref: t.Ref, Subject: t.Subject, Key: t.Kind + "-" + t.ID + "-" + f.Key, Cause: f.Cause,
		Nominal: f.Nominal, Began: f.StartedAt, Attempt: int(f.Attempts), When: e.When, Data: e.Data, Input: json.RawMessage(f.Input)})
}

// short bounds what the history shows of a message.
func short(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	for i := most; i > 0; i-- {
		if s[i]&0xc0 != 0x80 { // not within a character
			return s[:i] + "…"
		}
	}
	return ""
}
