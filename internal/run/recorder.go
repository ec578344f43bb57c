package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

const (
	// flushAfter is how long a step may wait to be written.
	flushAfter = time.Second
	// flushSteps and flushBytes are how much may wait. Whoever is faster waits
	// for the store.
	flushSteps = 256
	flushBytes = 256 << 10
	// keepSteps is how many steps of a run are kept from its beginning, and
	// keepLast how many from its end: a loop that never ends fills no disk.
	keepSteps = 20_000
	keepLast  = 100
	// keepWaiting is how many steps wait for a store that takes no writes.
	keepWaiting = 4 * flushSteps
	// keepFormer is how many correlation ids a run is found by.
	keepFormer  = 256
	maxWarnings = 100
)

// A Recorder writes one run, from Begin or Resume to Suspend or End. It is safe
// for concurrent use.
type Recorder struct {
	j  *Journal
	id ID

	correlation string // as it was given, unmasked; under mu

	saving chan struct{} // held while a change is on its way: one at a time

	mu       sync.Mutex
	row      store.Run // as it will be in the store
	status   string    // as it is in the store
	mask     mask
	masked   int               // mask.grown when what waits was masked
	flushed  bool              // steps were written before
	safe     int               // mask.grown when the first of them were masked
	waiting  []json.RawMessage // steps that are not in the store, or not known to be
	flying   int               // how many of them are on their way
	bytes    int               // of waiting
	first    int               // number of waiting[0]
	index    []string          // correlation ids that it is not found by yet
	unindex  []string          // those that it is found by and should not be
	input    bool              // the input has changed
	warnings []string
	queued   bool // it is in the journal's queue
	dirty    bool // there is something to write
	end      *End // what could not be written yet
	over     bool // nothing is recorded any more
	err      error
	news     chan struct{} // closed when there is more; nil: nobody follows
}

// ID returns the run's id.
func (r *Recorder) ID() ID { return r.id }

// CorrelationID returns the present correlation id, unmasked.
func (r *Recorder) CorrelationID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.correlation
}

// Step records a step and returns its number, from 1 on. It returns at once,
// unless the run is faster than the store. After Suspend and End it does nothing.
func (r *Recorder) Step(s Step) int {
	if s.At.IsZero() {
		s.At = r.j.o.Now().Add(-s.Duration)
	}
	r.mu.Lock()
	if r.over || r.end != nil {
		r.mu.Unlock()
		return 0
	}
	r.row.Steps++
	n := int(r.row.Steps)
	tail := n > keepSteps
	if len(r.waiting) == 0 {
		r.first = n
	}
	raw := r.mask.appendStep(nil, &s)
	if r.mask.grown != r.masked {
		r.againLocked()
	}
	r.waiting = append(r.waiting, raw)
	r.bytes += len(raw)
	if tail {
		// Those up to keepSteps are flushed by the step that reached it.
		r.dropLocked(keepLast)
	}
	full := !tail && (len(r.waiting) >= flushSteps || r.bytes >= flushBytes || n == keepSteps)
	if !full && !tail {
		r.queueLocked()
	}
	r.tellLocked()
	r.mu.Unlock()
	if full {
		if err := r.flush(false); err != nil {
			r.mu.Lock()
			r.dropLocked(keepWaiting)
			r.queueLocked()
			r.mu.Unlock()
		}
	}
	return n
}

// dropLocked leaves out the oldest waiting steps beyond n.
func (r *Recorder) dropLocked(n int) {
	over := len(r.waiting) - n
	if over <= 0 || r.flying > 0 {
		return
	}
	for _, s := range r.waiting[:over] {
		r.bytes -= len(s)
	}
	r.waiting = append(r.waiting[:0:0], r.waiting[over:]...)
	r.first += over
}

// againLocked masks what waits with what is known now.
func (r *Recorder) againLocked() {
	r.masked = r.mask.grown
	defer func() { r.mask.fresh = nil }()
	for i, s := range r.waiting {
		if r.mask.holdsFresh(string(s)) {
			r.waiting[i] = r.mask.againStep(s)
			r.bytes += len(r.waiting[i]) - len(s)
		}
	}
	if was := r.row.Input; r.mask.holdsFresh(was) {
		r.row.Input = string(r.mask.again(json.RawMessage(was)))
		r.input = r.input || r.row.Input != was
	}
	for i := range r.row.Former {
		r.recorrelateLocked(&r.row.Former[i])
	}
	r.recorrelateLocked(&r.row.Correlation)
	for i, w := range r.warnings {
		r.warnings[i] = r.mask.text(w)
	}
}

// recorrelateLocked masks an id, and has the run found by what it is then.
func (r *Recorder) recorrelateLocked(id *string) {
	if masked := r.mask.text(*id); masked != *id {
		r.dirty = true
		r.unindex = append(r.unindex, *id)
		r.index = append(slices.DeleteFunc(r.index, func(s string) bool { return s == *id }), masked)
		*id = masked
	}
}

// queueLocked has the journal flush within flushAfter.
func (r *Recorder) queueLocked() {
	r.dirty = true
	if !r.queued && !r.over {
		r.queued = true
		r.j.enqueue(r)
	}
}

func (r *Recorder) tellLocked() {
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}

// Correlate replaces the correlation id. Any text will do; the run is found by
// this one and by those it had before.
func (r *Recorder) Correlate(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.end != nil || id == r.correlation || id == "" {
		return
	}
	r.correlation = clean(id, maxCorrelation)
	shown := r.mask.line(id, maxCorrelation)
	if shown == r.row.Correlation {
		return
	}
	if !slices.Contains(r.row.Former, r.row.Correlation) {
		r.row.Former = append(r.row.Former, r.row.Correlation)
	}
	known := slices.Contains(r.row.Former, shown)
	r.row.Correlation = shown
	switch {
	case known:
	case len(r.row.Former) < keepFormer:
		r.index = append(r.index, shown)
	default:
		// It counts, say. The latest takes the place of the one before.
		r.row.Former = r.row.Former[:keepFormer-1]
	}
	r.queueLocked()
	r.tellLocked()
}

// Secret makes values known as secrets: from here on they are masked wherever
// this run would show them, and also where it has shown them before.
func (r *Recorder) Secret(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	if r.mask.add(values...) {
		r.againLocked()
		if r.input || r.staleLocked() {
			r.queueLocked()
		}
	}
}

// staleLocked reports whether steps in the store may hold what is known now and
// was not when they were written.
func (r *Recorder) staleLocked() bool { return r.flushed && r.mask.grown != r.safe }

// hide masks steps that come from the store with what is known now.
func (r *Recorder) hide(steps []json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.staleLocked() {
		return
	}
	for i := range steps {
		steps[i] = r.mask.againStep(steps[i])
	}
}

// Warn adds a warning, for people who look at the run.
func (r *Recorder) Warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnLocked(text)
}

func (r *Recorder) warnLocked(text string) {
	if text = r.mask.line(text, maxText); len(r.warnings) < maxWarnings && !slices.Contains(r.warnings, text) {
		r.warnings = append(r.warnings, text)
	}
}

// Road says which road a token takes through the run, once that is known.
func (r *Recorder) Road(road string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.row.Road != road {
		r.row.Road = clean(road, maxName)
		r.queueLocked()
	}
}

// Suspend makes the run one that waits, durably. The recorder records nothing
// more; Resume gives another. It ends no sooner than the store answers.
func (r *Recorder) Suspend(context.Context) error {
	return r.finish(&End{Status: Suspended})
}

// End ends the run, durably. The recorder records nothing more. If the store
// takes no writes End says so, and the journal goes on trying until it is
// closed. Its answer does not depend on whether ctx has ended: what has happened
// has to be written.
func (r *Recorder) End(_ context.Context, e End) error {
	switch e.Status {
	case "":
		e.Status = Finished
		if e.Fault != nil {
			e.Status = Faulted
		}
	case Finished, Faulted, Cancelled:
	default:
		return fmt.Errorf("end run %s: %s is no status that a run ends in", r.id, e.Status)
	}
	return r.finish(&e)
}

func (r *Recorder) finish(e *End) error {
	r.mu.Lock()
	if r.over || r.end != nil {
		err := r.err
		r.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("end run %s: %w", r.id, ErrTaken)
		}
		return err
	}
	for _, w := range e.Warnings {
		r.warnLocked(w)
	}
	// Masked here: a flush that comes again writes the same.
	grown := r.mask.grown
	r.row.Output = string(r.mask.encode(e.Output, maxRunText, maxRunValue))
	res := result{Fault: r.mask.fault(e.Fault, 0)}
	for _, o := range e.Outcomes {
		res.Outcomes = append(res.Outcomes, r.mask.line(o, maxName))
	}
	if r.mask.grown != grown {
		r.againLocked()
	}
	res.Warnings = r.warnings
	r.row.Result = res.text()
	r.end = &End{Status: e.Status, Fault: res.Fault}
	r.mu.Unlock()
	if err := r.flush(true); err != nil {
		r.mu.Lock()
		if !r.over {
			r.queueLocked() // it is tried again
		}
		r.mu.Unlock()
		return fmt.Errorf("%s run %s: %w", verb[e.Status], r.id, err)
	}
	return nil
}

var verb = map[Status]string{Suspended: "suspend", Finished: "end", Faulted: "end", Cancelled: "end"}

// result is the JSON of a row's result.
type result struct {
	Outcomes []string `json:"outcomes,omitempty"`
	Fault    *Fault   `json:"fault,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

func (v *result) text() string {
	if len(v.Outcomes) == 0 && v.Fault == nil && len(v.Warnings) == 0 {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // cannot be: it holds texts
	}
	return string(b)
}

// fault masks a chain of faults.
func (m *mask) fault(f *Fault, depth int) *Fault {
	if f == nil || depth > 8 {
		return nil
	}
	return &Fault{Message: m.line(f.Message, maxText), Activity: clean(f.Activity, maxName), Type: clean(f.Type, maxName), Name: m.line(f.Name, maxName),
		Property: clean(f.Property, maxName), Cause: m.fault(f.Cause, depth+1)}
}

// flush writes what waits and what has changed; with ending also the end, when
// there is one.
func (r *Recorder) flush(ending bool) error {
	r.saving <- struct{}{}
	defer func() { <-r.saving }()
	r.mu.Lock()
	if r.over {
		err := r.err
		r.mu.Unlock()
		return err
	}
	now := r.j.o.Now()
	c := &store.RunChange{WasOwner: r.j.owner, WasStatus: r.status, Correlations: r.index, Uncorrelations: r.unindex, Input: r.input}
	r.index, r.unindex, r.input, r.dirty = nil, nil, false, false
	ending = ending && r.end != nil
	taken := 0
	if ending || int(r.row.Steps) <= keepSteps {
		taken = len(r.waiting)
		c.First, c.StepList = int64(r.first), join(r.waiting)
		if r.flying = taken; taken > 0 && !r.flushed {
			r.safe = r.mask.grown
		}
	}
	r.row.UpdatedAt = now
	if ending {
		r.row.Status = string(r.end.Status)
		if r.end.Status.Ended() {
			r.row.EndedAt = now
		}
	}
	stale := r.staleLocked()
	c.Run = r.row
	c.Run.Former = slices.Clone(r.row.Former)
	if ending && r.end.Status == Faulted {
		c.Events = []store.Event{r.faultedLocked(now)}
	}
	r.mu.Unlock()

	if stale {
		if err := r.rewrite(); err != nil {
			r.j.o.Log.Warn("steps of a run are not masked anew", "run", r.id, "error", err)
		}
	}
	err := r.settle(c, taken, r.j.writer.write(c))
	if err == nil && ending {
		r.j.ended(c, now)
	}
	return err
}

// settle takes note of how the writing of a change went.
func (r *Recorder) settle(c *store.RunChange, taken int, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tellLocked()
	r.flying = 0
	switch {
	case errors.Is(err, store.ErrStale):
		// A process that was taken for dead: the run is somebody else's now.
		r.over, r.err = true, ErrTaken
		r.j.forget(r)
		return ErrTaken
	case err != nil:
		r.index, r.unindex = append(c.Correlations, r.index...), append(c.Uncorrelations, r.unindex...)
		r.input, r.dirty = r.input || c.Input, true
		return err
	}
	for _, s := range r.waiting[:taken] {
		r.bytes -= len(s)
	}
	r.waiting = append([]json.RawMessage(nil), r.waiting[taken:]...)
	r.first += taken
	r.flushed = r.flushed || taken > 0
	if r.status = c.Run.Status; Status(r.status) != Running {
		r.over = true
		r.j.forget(r)
	}
	return nil
}

// faultedLocked is the event that webhooks tell of.
func (r *Recorder) faultedLocked(now time.Time) store.Event {
	d := map[string]any{"run": r.id, "kind": r.row.Kind, "name": r.row.Name, "trigger": r.row.StartedBy, "correlation_id": cut(r.row.Correlation, maxName)}
	if f := r.end.Fault; f != nil {
		d["message"] = cut(f.Message, maxName)
		for k, v := range map[string]string{"activity": f.Activity, "type": f.Type, "property": f.Property} {
			if v != "" {
				d[k] = v
			}
		}
	}
	return store.Event{At: now, Type: EventFaulted, Detail: d}
}

// rewrite masks steps that were written before a value came to be known.
func (r *Recorder) rewrite() error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	for from, grown := int64(1), -1; ; {
		lists, err := r.j.o.Store.RunStepLists(ctx, r.id, from, 8)
		if err != nil {
			return err
		}
		was := from
		var changed []store.RunSteps
		r.mu.Lock()
		if grown < 0 {
			grown = r.mask.grown
		}
		for _, l := range lists {
			var steps []json.RawMessage
			if json.Unmarshal([]byte(l.List), &steps) != nil {
				continue
			}
			from = max(from, l.First+int64(len(steps)))
			hidden := r.mask.hidden
			for i := range steps {
				steps[i] = r.mask.againStep(steps[i])
			}
			if r.mask.hidden != hidden {
				changed = append(changed, store.RunSteps{First: l.First, List: join(steps)})
			}
		}
		r.mu.Unlock()
		if len(changed) > 0 {
			if err := r.j.o.Store.PutRunSteps(ctx, r.id, changed); err != nil {
				return err
			}
		}
		if from == was {
			r.mu.Lock()
			r.safe = grown
			r.mu.Unlock()
			return nil
		}
	}
}
