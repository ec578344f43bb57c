package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// lookAgain is how often the engine looks for runs of processes that died while
// it was there, and for states that nobody needs any more.
const lookAgain = time.Minute

// Interrupted is what happened to a run whose process died in the middle of it.
const Interrupted = "interrupted: the server stopped while the run was under way"

// recover takes over what dead processes left behind.
//
//	stored                                      then
//	nothing                                     faulted; start it anew
//	how it began, or a state of another burst   faulted; a person may retry it
//	each activity (ActivityExecuted)            goes on, unless the activity that may have
//	                                            been running acts outside of Freshet
//	suspended, or ended                         the journal is told
//	idle                                        begins
func (e *Engine) recover(ctx context.Context) error {
	if e.o.Alone {
		if err := e.o.Store.DropWorkflowLocks(ctx); err != nil {
			return err
		}
		if err := e.beginIdle(ctx); err != nil {
			return err
		}
	}
	if err := e.takeOver(ctx); err != nil {
		return err
	}
	return e.tellParents(ctx)
}

// beginIdle begins dispatched runs that have not begun. Those of a process that
// is about to do so itself are begun by whoever is first.
func (e *Engine) beginIdle(ctx context.Context) error {
	for after := ""; ; {
		idle, err := e.o.Store.Instances(ctx, store.InstanceIdle, after, 200)
		if err != nil {
			return err
		}
		for _, in := range idle {
			e.beginLater(in.Run)
			after = in.Run
		}
		if len(idle) < 200 {
			return nil
		}
	}
}

// takeOver deals with runs that the journal says a dead process was running.
func (e *Engine) takeOver(ctx context.Context) error {
	for {
		left, err := e.o.Journal.Interrupted(ctx, 100)
		if err != nil {
			return err
		}
		for _, r := range left {
			if err := e.resurrect(ctx, r); err != nil {
				e.o.Log.Error("an interrupted run is not taken over", "run", r.ID, "name", r.Name, "error", err)
			}
		}
		if len(left) < 100 {
			return nil
		}
	}
}

// resurrect deals with one of them.
func (e *Engine) resurrect(ctx context.Context, r run.Run) error {
	if r.Kind != run.Workflow {
		return e.o.Journal.Interrupt(ctx, r.ID)
	}
	in, err := e.o.Store.Instance(ctx, r.ID)
	if errors.Is(err, store.ErrNotFound) {
		rec, err := e.o.Journal.Resume(ctx, r.ID)
		if err != nil {
			return err
		}
		return rec.End(ctx, run.End{Status: run.Faulted, Fault: &run.Fault{Message: Interrupted + "; nothing of it is stored, start it anew"}})
	} else if err != nil {
		return err
	}
	if in.Status == store.InstanceEnded {
		end, _ := e.loadEnd(ctx, r.ID)
		rec, err := e.o.Journal.Resume(ctx, r.ID)
		if err != nil {
			return err
		}
		v := run.End{Status: run.Status(end.Status), Outcomes: end.Outcomes, Output: end.Output}
		if end.Fault != "" {
			v.Fault = &run.Fault{Message: end.Fault}
		}
		return rec.End(ctx, v)
	}
	x, err := e.revive(ctx, in)
	if err != nil {
		rec, resumed := e.o.Journal.Resume(ctx, r.ID)
		if resumed != nil {
			return resumed
		}
		return errors.Join(err, rec.End(ctx, run.End{Status: run.Faulted, Fault: &run.Fault{Message: Interrupted + ": " + err.Error()}}))
	}
	if x.rec, err = e.o.Journal.Resume(ctx, r.ID, x.st.Secrets...); err != nil {
		return err
	}
	switch in.Status {
	case store.InstanceSuspended: // killed between the state and the journal
		return x.rec.Suspend(ctx)
	case store.InstanceFaulted:
		return x.rec.End(ctx, run.End{Status: run.Faulted, Fault: &run.Fault{Message: Interrupted}})
	}
	x.input = x.st.Input
	x.first = false
	x.began = e.o.Now()
	if err := e.enter(x); err != nil {
		return err
	}
	goesOn := x.p.v.Persistence == workflow.PersistActivity && len(x.st.Ran) > 0
	if in.Status == store.InstanceIdle { // killed as it was about to begin
		if x.first = true; e.background(func(ctx context.Context) { x.burst(ctx) }) {
			return nil
		}
	}
	if top := len(x.st.Stack) - 1; goesOn && top >= 0 {
		if spec := x.st.Stack[top].node.spec; spec != nil && spec.Acts {
			goesOn = false
		}
	}
	if goesOn {
		if e.background(func(ctx context.Context) { x.burst(ctx) }) {
			return nil
		}
	}
	x.status = run.Faulted
	x.fault = &run.Fault{Message: Interrupted + "; retry it when it may be repeated"}
	if top := len(x.st.Stack) - 1; top >= 0 {
		a := x.st.Stack[top].node.a
		x.fault.Activity, x.fault.Type, x.fault.Name = a.ID, a.Type, a.Label()
	}
	x.settle()
	e.leave(x)
	return nil
}

// tellParents tells parents of ends that they may not know yet.
func (e *Engine) tellParents(ctx context.Context) error {
	for after := ""; ; {
		ended, err := e.o.Store.Instances(ctx, store.InstanceEnded, after, 200)
		if err != nil {
			return err
		}
		for _, in := range ended {
			after = in.Run
			if end, ok := e.loadEnd(ctx, in.Run); ok {
				e.tellParent(in.Run, in.Parent, end)
			}
		}
		if len(ended) < 200 {
			return nil
		}
	}
}

// keep does what has to be done now and then.
func (e *Engine) keep() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	last := time.Now()
	for {
		select {
		case <-e.base.Done():
			return
		case <-second.C:
		}
		e.mu.Lock()
		var old []*exec
		for _, x := range e.live {
			if e.o.Now().Sub(x.born) >= time.Second {
				old = append(old, x)
			}
		}
		e.mu.Unlock()
		for _, x := range old {
			x.keepStart()
		}
		if time.Since(last) < lookAgain {
			continue
		}
		last = time.Now()
		if err := e.takeOver(e.base); err != nil && e.base.Err() == nil {
			e.o.Log.Warn("interrupted runs are not looked for", "error", err)
		}
		if err := e.beginIdle(e.base); err != nil && e.base.Err() == nil {
			e.o.Log.Warn("dispatched runs are not looked for", "error", err)
		}
		if _, err := e.o.Store.SweepInstances(e.base, 1000); err != nil && e.base.Err() == nil {
			e.o.Log.Warn("states of old runs are not removed", "error", err)
		}
	}
}

// deleteRun removes the record of a run that has ended.
func (e *Engine) deleteRun(id run.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if _, err := e.o.Store.DeleteRuns(ctx, id); err != nil {
		e.o.Log.Warn("the record of a finished run stays", "run", id, "error", err)
	}
}

// RemoveRuns deletes records of runs. It keeps the run that asks, those that
// wait for it, and whatever still waits for the end of another run.
func (e *Engine) RemoveRuns(ctx context.Context, f activity.Removal) (int, error) {
	keep := map[run.ID]bool{}
	for id := f.Caller; id != "" && !keep[id]; {
		keep[id] = true
		r, err := e.o.Journal.Get(ctx, id)
		if err != nil {
			break
		}
		id = r.Parent
	}
	name := ""
	current := 0
	if f.Workflow != "" {
		v, err := e.o.Library.ByID(ctx, f.Workflow)
		if errors.Is(err, freshet.ErrNotFound) {
			v, err = e.o.Library.Published(ctx, f.Workflow)
		}
		switch {
		case err == nil:
			name, current = v.Name, v.Number
		case errors.Is(err, freshet.ErrNotFound):
			if c := e.running(f.Caller); c != nil && (f.Workflow == c.p.v.ID || f.Workflow == c.p.v.Definition.ID || f.Workflow == c.p.v.Name) {
				name, current = c.p.v.Name, c.p.v.Number // a draft that clears its own
			} else {
				name = f.Workflow
			}
		default:
			return 0, err
		}
	}
	kept := map[string]int{}
	removed := 0
	var ids []string
	flush := func() error {
		n, err := e.o.Store.DeleteRuns(ctx, ids...)
		removed += n
		ids = ids[:0]
		return err
	}
	for before := ""; ; {
		page, err := e.o.Journal.List(ctx, run.Filter{Name: name, Kind: run.Workflow}, before, 200)
		if err != nil {
			return removed, err
		}
		for _, r := range page {
			before = r.ID
			switch {
			case keep[r.ID]:
				continue
			case r.Status == run.Idle && !f.Idle, r.Status == run.Suspended && !f.Suspended, r.Status == run.Running && !f.Running:
				continue
			case f.Versions == "Keep current" && r.Version == current, f.Versions == "Custom" && r.Version != f.Version:
				continue
			case !f.Before.IsZero() && !r.StartedAt.Before(f.Before):
				continue
			}
			if kept[r.Name]++; kept[r.Name] <= f.Keep {
				continue
			}
			if !r.Status.Ended() {
				if err := e.Cancel(ctx, r.ID); err != nil && !errors.Is(err, ErrNotWaiting) {
					return removed, fmt.Errorf("cancel run %s: %w", r.ID, err)
				}
			}
			ids = append(ids, r.ID)
		}
		if err := flush(); err != nil {
			return removed, err
		}
		if len(page) < 200 {
			return removed, nil
		}
	}
}
