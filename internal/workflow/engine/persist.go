package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// storeTime is how long a write of a run's state may take. It is not cut short
// by who waits for the run: what has happened has to be written.
const storeTime = 30 * time.Second

func binding(id run.ID, revision int64) freshet.Binding {
	return freshet.Binding{Table: "instances", Row: id, Column: "state", Generation: revision}
}

// store writes the state at the next revision.
func (x *exec) store(status string) error {
	plain, err := x.st.encode(x.p)
	if err != nil {
		return err
	}
	return x.put(status, plain, x.st.bookmarks(x.id))
}

func (x *exec) put(status string, plain []byte, waits []store.Bookmark) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.putLocked(status, plain, waits)
}

func (x *exec) putLocked(status string, plain []byte, waits []store.Bookmark) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	next := x.revision + 1
	sealed, err := x.e.o.Sealer.Seal(binding(x.id, next), plain)
	if err != nil {
		return fmt.Errorf("seal the state of run %s: %w", x.id, err)
	}
	in := store.Instance{Run: x.id, Workflow: x.p.v.ID, Version: x.p.v.Number, Status: status, Sealed: sealed, Revision: next}
	if x.single && (status == store.InstanceRunning || status == store.InstanceSuspended || status == store.InstanceIdle) {
		in.Singleton = x.p.v.ID
	}
	if x.st.Awaited {
		in.Parent = x.st.Parent
	}
	if err := x.e.o.Store.PutInstance(ctx, in, waits, x.e.o.Now()); err != nil {
		return fmt.Errorf("store the state of run %s: %w", x.id, err)
	}
	x.revision = next
	return nil
}

// save stores the state between two activities.
func (x *exec) save() error {
	x.st.Elapsed += x.e.o.Now().Sub(x.began)
	x.began = x.e.o.Now()
	return x.store(store.InstanceRunning)
}

// drop forgets the stored state.
func (x *exec) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	if x.revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := x.e.o.Store.DropInstances(ctx, x.id); err != nil {
		x.e.o.Log.Error("the state of a run that ended stays behind", "run", x.id, "error", err)
	}
	x.revision = 0
}

// settle stores how the burst ended, tells the journal, and returns it.
func (x *exec) settle() Outcome {
	out := Outcome{RunID: x.id, Status: x.status, Fault: x.fault}
	if x.status == run.Suspended {
		if err := x.store(store.InstanceSuspended); err != nil {
			x.status = run.Faulted
			x.fault = &run.Fault{Message: "the run cannot wait: " + err.Error()}
			out.Status, out.Fault = x.status, x.fault
		}
	}
	switch x.status {
	case run.Suspended:
		if err := x.rec.Suspend(x.ctx); err != nil {
			x.e.o.Log.Error("the journal does not know that a run waits", "run", x.id, "error", err)
		}
		out.Waiting = x.st.bookmarks(x.id)
		x.e.waits(x)
		return out
	case run.Faulted:
		if err := x.store(store.InstanceFaulted); err != nil {
			x.e.o.Log.Error("a failed run cannot be retried", "run", x.id, "error", err)
		}
	case run.Finished:
		out.Outcomes, out.Output = doneOnly, x.st.Last
		if x.finish != nil {
			out.Outcomes, out.Output = x.finish.Outcomes, x.finish.Output
		}
	}
	// A parent that is not in memory is told after the journal, by way of the
	// stored end: it may be told twice, and never not at all.
	tell := x.st.Awaited && x.above == nil
	if tell && x.status != run.Faulted {
		if err := x.storeEnd(out); err != nil {
			x.e.o.Log.Error("the end of a run is not stored for its parent", "run", x.id, "parent", x.st.Parent, "error", err)
		}
	}
	if err := x.rec.End(x.ctx, run.End{Status: x.status, Outcomes: out.Outcomes, Output: out.Output, Fault: x.fault}); err != nil {
		x.e.o.Log.Error("the journal does not know that a run ended", "run", x.id, "error", err)
	}
	switch {
	case tell:
		x.e.tellParent(x.id, x.st.Parent, x.end(out))
	case x.status != run.Faulted:
		x.drop()
	}
	if x.status == run.Finished && x.p.v.DeleteCompleted {
		x.e.deleteRun(x.id)
	}
	return out
}

func (x *exec) end(out Outcome) activity.ChildEnd {
	return activity.ChildEnd{Found: true, RunID: x.id, Name: x.p.v.Name, Status: string(out.Status), Outcomes: out.Outcomes, Output: out.Output, Fault: faultText(out.Fault)}
}

const endMember = "end"

// storeEnd keeps how a run ended until its parent knows.
func (x *exec) storeEnd(out Outcome) error {
	plain, err := model.Marshal(map[string]any{endMember: plainEnd(x.end(out))})
	if err != nil {
		return err
	}
	return x.put(store.InstanceEnded, plain, nil)
}

// loadEnd reads what storeEnd kept.
func (e *Engine) loadEnd(ctx context.Context, id run.ID) (activity.ChildEnd, bool) {
	in, err := e.o.Store.Instance(ctx, id)
	if err != nil || in.Status != store.InstanceEnded {
		return activity.ChildEnd{}, false
	}
	plain, err := e.o.Sealer.Open(binding(id, in.Revision), in.Sealed)
	if err != nil {
		e.o.Log.Error("the end of a run does not open", "run", id, "error", err)
		return activity.ChildEnd{}, false
	}
	v, err := model.Unmarshal(plain)
	m, ok := v.(map[string]any)
	if err != nil || !ok {
		return activity.ChildEnd{}, false
	}
	return readEnd(m[endMember]), true
}

// load reads the state of a run that is at one of the statuses. ErrNoState:
// nothing is stored; ErrBusy: it is at another one.
func (e *Engine) load(ctx context.Context, id run.ID, statuses ...string) (*exec, error) {
	in, err := e.o.Store.Instance(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("run %s: %w", id, ErrNoState)
	} else if err != nil {
		return nil, fmt.Errorf("read the state of run %s: %w", id, err)
	}
	there := false
	for _, s := range statuses {
		there = there || in.Status == s
	}
	if !there {
		return nil, fmt.Errorf("run %s is %s: %w", id, in.Status, ErrBusy)
	}
	return e.revive(ctx, in)
}

// revive makes a run of its stored state.
func (e *Engine) revive(ctx context.Context, in store.Instance) (*exec, error) {
	v, err := e.o.Library.Numbered(ctx, in.Workflow, in.Version)
	if err != nil {
		return nil, fmt.Errorf("run %s goes by version %d of workflow %s: %w", in.Run, in.Version, in.Workflow, err)
	}
	plain, err := e.o.Sealer.Open(binding(in.Run, in.Revision), in.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open the state of run %s: %w", in.Run, err)
	}
	p := e.program(v)
	st, err := decodeState(p, plain)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", in.Run, err)
	}
	x := e.newExec(e.base, p, in.Run, st)
	x.revision, x.single = in.Revision, v.Singleton
	for _, n := range p.nodes {
		if st.Outputs[n.index] != nil {
			x.weigh(n.a.ID, st.Outputs[n.index])
		}
	}
	for name, value := range st.Variables {
		x.weigh("$"+name, value)
	}
	return x, nil
}

// own takes a run over from wherever it stands: in the journal, which lets one
// process have it, then in the store. ErrBusy: somebody else has it.
func (e *Engine) own(ctx context.Context, x *exec) (err error) {
	if x.rec, err = e.o.Journal.Resume(ctx, x.id, x.st.Secrets...); err != nil {
		if errors.Is(err, run.ErrTaken) {
			return fmt.Errorf("run %s: %w", x.id, ErrBusy)
		}
		return fmt.Errorf("go on with run %s: %w", x.id, err)
	}
	if err := e.enter(x); err != nil {
		x.rec.Suspend(ctx)
		return err
	}
	if err := x.store(store.InstanceRunning); err != nil {
		x.rec.Suspend(ctx)
		e.leave(x)
		if errors.Is(err, store.ErrStale) {
			return fmt.Errorf("run %s: %w", x.id, ErrBusy)
		}
		return err
	}
	return nil
}

// keepStart stores how a run began that is still in memory after a second, if
// nothing is stored of it: a person can then retry it should the process die.
// What is over sooner than that costs nothing.
func (x *exec) keepStart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.revision > 0 || x.over || x.firstState == nil {
		return
	}
	plain, err := x.firstState()
	if err == nil {
		err = x.putLocked(store.InstanceRunning, plain, nil)
	}
	if err != nil {
		x.firstState = nil
		x.e.o.Log.Warn("the start of a long run is not stored", "run", x.id, "error", err)
	}
}
