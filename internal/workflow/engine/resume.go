package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// A Resumption says what has come, and for whom. A Bookmark is enough; without
// one, Activity (id or name) or Kind and Key say which of a run's waits is meant.
type Resumption struct {
	RunID    run.ID
	Bookmark string
	Activity string
	Kind     string
	Key      string
	Input    any
	HTTP     *HTTPExchange
}

func (r Resumption) fits(w wait) bool {
	if r.Bookmark != "" {
		return w.id == r.Bookmark
	}
	return (r.Activity == "" || r.Activity == w.node.a.ID || r.Activity == w.node.a.Name) &&
		(r.Kind == "" || r.Kind == w.Kind) && (r.Key == "" || r.Key == w.Key)
}

// Resume lets a run that waits go on, to its end or next wait. ErrNotWaiting:
// it does not wait for that. ErrBusy: it is running just now, for something
// else that came.
func (e *Engine) Resume(ctx context.Context, r Resumption) (Outcome, error) {
	x, err := e.resume(ctx, r)
	if err != nil {
		return Outcome{}, err
	}
	return e.drive(ctx, x)
}

// resume takes over a run that waits, with what has come on its stack.
func (e *Engine) resume(ctx context.Context, r Resumption) (*exec, error) {
	if e.running(r.RunID) != nil {
		return nil, fmt.Errorf("run %s: %w", r.RunID, ErrBusy)
	}
	x, err := e.load(ctx, r.RunID, store.InstanceSuspended, store.InstanceRunning)
	if errors.Is(err, ErrNoState) || errors.Is(err, ErrBusy) { // it is over
		return nil, fmt.Errorf("run %s: %w", r.RunID, ErrNotWaiting)
	} else if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(x.st.Waits, r.fits)
	if i < 0 {
		return nil, fmt.Errorf("run %s: %w", r.RunID, ErrNotWaiting)
	}
	w := x.st.Waits[i]
	x.st.Waits = slices.Delete(x.st.Waits, i, i+1)
	x.st.push(entry{node: w.node, scope: w.scope, input: r.Input, hasInput: true, resume: &activity.Resumption{Kind: w.Kind, Key: w.Key, Input: r.Input}})
	x.input, x.http = r.Input, r.HTTP
	if end, ok := r.Input.(activity.ChildEnd); ok {
		x.input = end.Output
		x.st.Stack[len(x.st.Stack)-1].input = end.Output
	}
	if err := e.own(ctx, x); err != nil {
		return nil, err
	}
	return x, nil
}

// resumeLater resumes in the background. A run that is running just now is
// waited for: what has come has come.
func (e *Engine) resumeLater(r Resumption, then func()) {
	e.background(func(ctx context.Context) {
		pause := 20 * time.Millisecond
		for range 60 {
			x, err := e.resume(ctx, r)
			switch {
			case err == nil:
				x.burst(ctx)
			case errors.Is(err, ErrBusy):
				var done chan struct{}
				if live := e.running(r.RunID); live != nil {
					done = live.done
				}
				select {
				case <-done:
				case <-time.After(pause): // another process has it
					pause = min(2*pause, 2*time.Second)
				case <-ctx.Done():
					return
				}
				continue
			case !errors.Is(err, ErrNotWaiting):
				e.o.Log.Error("a run is not resumed", "run", r.RunID, "kind", r.Kind, "error", err)
			}
			if then != nil {
				then()
			}
			return
		}
		e.o.Log.Error("a run is not resumed: it is running all the time", "run", r.RunID, "kind", r.Kind)
	})
}

// waits looks after a run that has just been stored as one that waits.
func (e *Engine) waits(x *exec) {
	for _, w := range x.st.Waits {
		switch w.Kind {
		case activity.WaitTimer:
			e.nudge()
		case activity.WaitChild:
			// The child may have ended while this state was on its way.
			if end, ok := e.loadEnd(x.ctx, w.Key); ok {
				e.tell(x.id, w.id, end)
			} else if r, err := e.o.Journal.Get(context.WithoutCancel(x.ctx), w.Key); err == nil && r.Status == run.Faulted {
				e.tell(x.id, w.id, activity.ChildEnd{Found: true, RunID: w.Key, Name: r.Name, Status: string(r.Status), Fault: faultText(r.Fault)})
			}
		}
	}
}

// tellParent resumes the run that waits for a child, if it waits already. If
// not, it finds the end that is stored when it does.
func (e *Engine) tellParent(child, parent run.ID, end activity.ChildEnd) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	waiting, err := e.o.Store.Bookmarks(ctx, activity.WaitChild, child, "", 10)
	if err != nil {
		e.o.Log.Error("a parent is not told that its child ended; it is at the next start", "run", child, "error", err)
		return
	}
	for _, b := range waiting {
		e.tell(b.Run, b.ID, end)
	}
	if len(waiting) == 0 && end.Status != string(run.Faulted) {
		if r, err := e.o.Journal.Get(ctx, parent); errors.Is(err, run.ErrNotFound) || err == nil && r.Status.Ended() {
			e.forget(child) // nobody will ask
		}
	}
}

func (e *Engine) tell(parent run.ID, bookmark string, end activity.ChildEnd) {
	e.resumeLater(Resumption{RunID: parent, Bookmark: bookmark, Kind: activity.WaitChild, Input: end}, func() {
		if end.Status != string(run.Faulted) { // a failed one is kept, for a retry
			e.forget(end.RunID)
		}
	})
}

func (e *Engine) forget(id run.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := e.o.Store.DropInstances(ctx, id); err != nil {
		e.o.Log.Warn("the state of a run that ended stays behind", "run", id, "error", err)
	}
}

// Interrupt resumes a wait of a run as if what it waits for had come.
func (x *exec) Interrupt(ctx context.Context, id, at string, input any) (bool, error) {
	waiting, err := x.e.o.Store.BookmarksOf(ctx, id)
	if err != nil {
		return false, err
	}
	for _, b := range waiting {
		y, err := x.e.load(ctx, id, store.InstanceSuspended)
		if err != nil {
			return false, nil
		}
		if n := y.p.find(at); n != nil && n.a.ID == b.Activity {
			x.e.resumeLater(Resumption{RunID: id, Bookmark: b.ID, Input: input}, nil)
			return true, nil
		}
	}
	return false, nil
}

// Waiting lists the runs that wait for a kind and key, for callers that resume
// them: endpoints within a flow.
func (e *Engine) Waiting(ctx context.Context, kind, key string, limit int) ([]store.Bookmark, error) {
	return e.o.Store.Bookmarks(ctx, kind, key, "", limit)
}

// Retry lets a faulted run go on from the activity that failed, with the input
// that it had. ErrNoState: nothing of it was stored.
func (e *Engine) Retry(ctx context.Context, id run.ID) (Outcome, error) {
	x, err := e.retry(ctx, id)
	if err != nil {
		return Outcome{}, err
	}
	return e.drive(ctx, x)
}

func (e *Engine) retry(ctx context.Context, id run.ID) (*exec, error) {
	if e.running(id) != nil {
		return nil, fmt.Errorf("run %s: %w", id, ErrBusy)
	}
	x, err := e.load(ctx, id, store.InstanceFaulted)
	if err != nil {
		return nil, err
	}
	x.st.Steps, x.st.Elapsed = 0, 0 // a person decided: the limits count anew
	x.st.Awaited = false
	x.first = false
	x.input = x.st.Input
	if err := e.own(ctx, x); err != nil {
		return nil, err
	}
	return x, nil
}

// retryChild lets a failed child go on instead of a new one.
func (x *exec) retryChild(ctx context.Context, id run.ID) (activity.ChildEnd, error) {
	y, err := x.e.retry(ctx, id)
	if err != nil {
		return activity.ChildEnd{}, err
	}
	y.above, y.outer, y.st.Awaited, y.http = x, x, true, x.http
	x.child = y.id
	defer context.AfterFunc(ctx, func() { y.stop(context.Cause(ctx)) })() // it lives no longer than x
	out := y.burst(ctx)
	x.learn(y)
	return y.end(out), nil
}

// Cancel ends a run, and the children that it waits for. What runs is stopped
// at its next step or wait; ErrBusy: it is running in another process.
func (e *Engine) Cancel(ctx context.Context, id run.ID) error {
	if x := e.running(id); x != nil {
		x.stop(errCancelled)
		select {
		case <-x.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		r, err := e.o.Journal.Get(ctx, id)
		if err != nil || r.Status != run.Suspended {
			return err
		} // it began to wait just before
	}
	x, err := e.load(ctx, id, store.InstanceSuspended, store.InstanceIdle, store.InstanceRunning)
	if err != nil {
		if errors.Is(err, ErrNoState) || errors.Is(err, ErrBusy) {
			return fmt.Errorf("run %s: %w", id, ErrNotWaiting)
		}
		return err
	}
	children := slices.Clone(x.st.Waits)
	if err := e.own(ctx, x); err != nil {
		return err
	}
	x.cancelled("cancelled")
	x.began = e.o.Now()
	x.settle()
	x.stop(nil)
	e.leave(x)
	for _, w := range children {
		if w.Kind == activity.WaitChild {
			if err := e.Cancel(ctx, w.Key); err != nil && !errors.Is(err, ErrNotWaiting) {
				return fmt.Errorf("cancel child %s: %w", w.Key, err)
			}
		}
	}
	return nil
}
