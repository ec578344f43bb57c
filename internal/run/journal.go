package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/store"
)

// Options are what a Journal is made of. Store is required.
type Options struct {
	Store   *store.Store
	Values  *redact.Values   // secrets that are known everywhere; may be nil
	Alone   bool             // no other process uses the store: whoever else owns a run is dead
	Keep    Keep             // what Trim leaves
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: silence
	Observe func(Event)      // is told of each change of a status; must not block. nil: nobody
}

// A Journal keeps runs. It is safe for concurrent use.
type Journal struct {
	o      Options
	owner  string // this process, and no other that ever was
	ids    ids
	writer writer

	wake chan struct{} // the flusher has something to do, or to stop for
	done chan struct{}

	mu      sync.Mutex
	live    map[ID]*Recorder
	queue   []queued // recorders that have something to write, by when
	closed  bool
	touched map[string]struct{} // names of runs that ended since the last Trim
	trimmed bool                // a Trim has looked at all names
}

type queued struct {
	r   *Recorder
	due time.Time
}

// New returns a Journal. It writes nothing by itself before the first run.
func New(o Options) *Journal {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	o.Keep = o.Keep.withDefaults()
	j := &Journal{o: o, wake: make(chan struct{}, 1), done: make(chan struct{}), live: map[ID]*Recorder{}, touched: map[string]struct{}{}}
	j.owner = j.NewID()
	j.writer.store, j.writer.owner, j.writer.leased, j.writer.now = o.Store, j.owner, !o.Alone, o.Now
	go j.flusher()
	return j
}

// NewID makes the id of a run to come, for those who must know it before.
func (j *Journal) NewID() ID { return j.ids.next(j.o.Now()) }

// Owner names this process in the runs that it owns.
func (j *Journal) Owner() string { return j.owner }

// Begin records the start of a run, durably. A run whose key another one has is
// a *DuplicateError. ctx is looked at before anything is written, and not after.
func (j *Journal) Begin(ctx context.Context, s Start) (*Recorder, error) {
	return j.start(ctx, s, Running)
}

// Create records a run that is idle, durably: Resume begins it.
func (j *Journal) Create(ctx context.Context, s Start) (ID, error) {
	r, err := j.start(ctx, s, Idle)
	if err != nil {
		return "", err
	}
	return r.id, nil
}

func (j *Journal) start(ctx context.Context, s Start, status Status) (*Recorder, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("begin run of %s: %w", s.Name, err)
	}
	now := j.o.Now()
	switch {
	case s.ID == "":
		s.ID = j.ids.next(now)
	case !ValidID(s.ID):
		return nil, fmt.Errorf("begin run of %s: %q is no id of a run", s.Name, s.ID)
	}
	if s.CorrelationID == "" {
		s.CorrelationID = correlation(now)
	}
	r := &Recorder{j: j, id: s.ID, correlation: clean(s.CorrelationID, maxCorrelation), saving: make(chan struct{}, 1), status: string(status), mask: mask{shared: j.o.Values}}
	r.mask.add(s.Secrets...)
	r.row = store.Run{ID: s.ID, Kind: clean(string(s.Kind), maxName), Name: clean(s.Name, maxName), Version: int64(s.Version), Status: string(status), Owner: j.owner,
		Parent: clean(s.Parent, idLength), ParentStep: int64(s.ParentStep), StartedBy: clean(s.Trigger, maxName), Road: clean(s.Road, maxName), Key: clean(s.Key, maxName),
		StartedAt: now, UpdatedAt: now, Input: string(r.mask.encode(s.Input, maxRunText, maxRunValue))}
	if status == Idle {
		r.row.Owner = ""
	}
	// After the input, which may have told of secrets.
	r.row.Correlation = r.mask.line(s.CorrelationID, maxCorrelation)
	r.masked = r.mask.grown
	if status == Running {
		if err := j.enter(r); err != nil {
			return nil, fmt.Errorf("begin run of %s: %w", s.Name, err)
		}
	}
	err := j.writer.write(&store.RunChange{Run: r.row, New: true, Correlations: []string{r.row.Correlation}})
	if err != nil {
		j.forget(r)
		if errors.Is(err, store.ErrExists) {
			return nil, j.duplicate(ctx, r)
		}
		return nil, fmt.Errorf("begin run of %s: %w", s.Name, err)
	}
	if status == Running {
		j.observe(&r.row, EventStarted, now, "")
	}
	return r, nil
}

// duplicate says which run is in the way of r.
func (j *Journal) duplicate(ctx context.Context, r *Recorder) error {
	if r.row.Key != "" {
		switch other, err := j.o.Store.RunByKey(ctx, r.row.Key); {
		case err == nil && other.ID != r.id:
			return &DuplicateError{Key: r.row.Key, Run: other.ID}
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("begin run of %s: %w", r.row.Name, err)
		}
	}
	return fmt.Errorf("begin run of %s: %w with the id %s", r.row.Name, ErrDuplicate, r.id)
}

// Resume goes on with a run that is idle, suspended, faulted (a retry) or, after
// Interrupted has returned it, running. Its steps are numbered on. ErrTaken: it
// is none of these, or somebody else was faster. secrets are masked in it from
// here on; those of its former life are not known any more.
func (j *Journal) Resume(ctx context.Context, id ID, secrets ...string) (*Recorder, error) {
	r, err := j.resume(ctx, id, secrets)
	if err != nil {
		return nil, fmt.Errorf("resume run %s: %w", id, err)
	}
	j.observe(&r.row, EventResumed, r.row.UpdatedAt, "")
	return r, nil
}

func (j *Journal) resume(ctx context.Context, id ID, secrets []string) (*Recorder, error) {
	row, err := j.o.Store.Run(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	} else if err != nil {
		return nil, err
	}
	switch Status(row.Status) {
	case Idle, Suspended, Faulted:
	case Running:
		if row.Owner != j.owner {
			return nil, ErrTaken
		}
	default:
		return nil, ErrTaken
	}
	var res result
	if row.Result != "" {
		if err := json.Unmarshal([]byte(row.Result), &res); err != nil {
			return nil, err
		}
	}
	c := &store.RunChange{WasOwner: row.Owner, WasStatus: row.Status}
	row.Status, row.Owner, row.UpdatedAt, row.EndedAt, row.Output, row.Result = string(Running), j.owner, j.o.Now(), time.Time{}, "", ""
	if len(res.Warnings) > 0 {
		row.Result = (&result{Warnings: res.Warnings}).text()
	}
	c.Run = row
	r := &Recorder{j: j, id: id, correlation: row.Correlation, saving: make(chan struct{}, 1), row: row, status: string(Running), mask: mask{shared: j.o.Values},
		flushed: row.Steps > 0, warnings: res.Warnings}
	r.mask.add(secrets...)
	r.masked, r.safe = r.mask.grown, r.mask.grown
	if err := j.enter(r); err != nil {
		return nil, err
	}
	if err := j.writer.write(c); err != nil {
		j.forget(r)
		if errors.Is(err, store.ErrStale) {
			err = ErrTaken
		}
		return nil, err
	}
	return r, nil
}

// enter makes r known as running here.
func (j *Journal) enter(r *Recorder) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	if j.live[r.id] != nil {
		return ErrTaken
	}
	j.live[r.id] = r
	if len(j.live) == 1 && !j.o.Alone {
		j.nudge() // the lease has to be kept
	}
	return nil
}

// forget makes r known as running no more.
func (j *Journal) forget(r *Recorder) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.live[r.id] == r {
		delete(j.live, r.id)
	}
}

// recorder returns the recorder of a run that runs here.
func (j *Journal) recorder(id ID) *Recorder {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[id]
}

// Live returns how many runs run here.
func (j *Journal) Live() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.live)
}

// ended tells of a run that runs no more.
func (j *Journal) ended(c *store.RunChange, now time.Time) {
	if Status(c.Run.Status).Ended() {
		j.mu.Lock()
		j.touched[c.Run.Name] = struct{}{}
		j.mu.Unlock()
	}
	message := ""
	for _, e := range c.Events {
		message, _ = e.Detail["message"].(string)
	}
	j.observe(&c.Run, "run."+c.Run.Status, now, message)
}

func (j *Journal) observe(r *store.Run, what string, now time.Time, message string) {
	j.o.Observe(Event{Type: what, At: now, Run: r.ID, Kind: Kind(r.Kind), Name: r.Name, Status: Status(r.Status), Parent: r.Parent, Message: message})
}

func (j *Journal) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// enqueue has r flushed in a while.
func (j *Journal) enqueue(r *Recorder) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, queued{r, j.o.Now().Add(flushAfter)})
	if len(j.queue) == 1 {
		j.nudge()
	}
}

// due takes from the queue what is due, and says when it is to be looked at
// again; 0 is when somebody nudges.
func (j *Journal) due() (list []*Recorder, wait time.Duration, closed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.o.Now()
	n := 0
	for n < len(j.queue) && (j.closed || !j.queue[n].due.After(now)) {
		list = append(list, j.queue[n].r)
		n++
	}
	if j.queue = j.queue[n:]; len(j.queue) == 0 {
		j.queue = nil
	} else {
		wait = j.queue[0].due.Sub(now)
	}
	if !j.o.Alone && len(j.live) > 0 && wait == 0 {
		wait = leaseEvery
	}
	return list, wait, j.closed
}

// flusher writes steps that have waited, and keeps the lease of a process whose
// runs have nothing to write.
func (j *Journal) flusher() {
	defer close(j.done)
	for {
		list, wait, closed := j.due()
		j.flushAll(list)
		if closed {
			return
		}
		if len(list) > 0 {
			continue
		}
		var tick <-chan time.Time
		var t *time.Timer
		if wait > 0 {
			t = time.NewTimer(wait)
			tick = t.C
		}
		select {
		case <-tick:
			j.keepLease()
		case <-j.wake:
		}
		if t != nil {
			t.Stop()
		}
	}
}

// keepLease renews the lease if it is time for that and nothing is written.
func (j *Journal) keepLease() {
	if j.o.Alone || j.Live() == 0 {
		return
	}
	if err := j.writer.lease(); err != nil {
		j.o.Log.Warn("the lease of runs is not renewed", "error", err)
	}
}

// flushAll writes what recorders have, together.
func (j *Journal) flushAll(list []*Recorder) {
	var wg sync.WaitGroup
	free := make(chan struct{}, groupMost)
	for _, r := range list {
		r.mu.Lock()
		r.queued = false
		idle := r.over || !r.dirty && r.end == nil
		r.mu.Unlock()
		if idle {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			if err := r.flush(true); err != nil && !errors.Is(err, ErrTaken) {
				j.o.Log.Warn("steps of a run are not written yet", "run", r.id, "error", err)
				r.mu.Lock()
				r.dropLocked(keepWaiting)
				r.queueLocked()
				r.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// Close takes no more runs and writes what waits. Runs that are still running
// stay so in the store: the next start finds them with Interrupted. Whoever has
// a recorder should have ended or suspended its run before.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	again := j.closed
	j.closed = true
	n := len(j.live)
	j.mu.Unlock()
	j.nudge()
	select {
	case <-j.done:
	case <-ctx.Done():
		return fmt.Errorf("close the journal: %w", ctx.Err())
	}
	if n > 0 && !again {
		j.o.Log.Info("runs are interrupted by the stop", "runs", n)
	}
	return nil
}
