package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// HTTPExchange is the HTTP request that a run answers.
type HTTPExchange = activity.HTTPExchange

// A Request asks for a run. It names a workflow by Name or DefinitionID; with
// neither, Version is asked for as it is.
type Request struct {
	Name          string            // of a published workflow
	DefinitionID  string            // or its id
	Number        int               // a version of DefinitionID, published or not; 0: the published one
	Version       *workflow.Version // what to run, for callers that have it
	Activity      string            // the start activity, by id or name; "": the first one
	Input         any               // a value of package model; an HTTP request model for HTTP
	CorrelationID string
	ContextID     string
	Trigger       string // http, api, cli, schedule:NAME, …; for the journal
	Key           string // at most one run has it; "": none
	Secrets       []string
	HTTP          *HTTPExchange
}

// An Outcome is how a run stands after its first burst. Status is Running if
// the caller went away before that.
type Outcome struct {
	RunID    run.ID
	Status   run.Status
	Outcomes []string // of a finished run
	Output   any
	Fault    *run.Fault
	// Waiting is what a suspended run waits for.
	Waiting []store.Bookmark
}

// Run runs a workflow to its end or first wait. Faults are in the Outcome; an
// error means that there is no run, or that the caller's context ended: the run
// then goes on without it, unless it was still waiting for its lock.
func (e *Engine) Run(ctx context.Context, r Request) (Outcome, error) {
	v, err := e.version(ctx, r)
	if err != nil {
		return Outcome{}, err
	}
	x, err := e.start(ctx, e.base, v, r, nil, activity.Blocking)
	if err != nil {
		return Outcome{}, err
	}
	return e.drive(ctx, x)
}

// Dispatch leaves a run to the background and returns its id. The run survives
// a restart from here on.
func (e *Engine) Dispatch(ctx context.Context, r Request) (run.ID, error) {
	v, err := e.version(ctx, r)
	if err != nil {
		return "", err
	}
	return e.dispatch(ctx, v, r, nil)
}

// drive lets a run go on a goroutine of its own: a caller may hang up, a run
// that has begun may not.
func (e *Engine) drive(ctx context.Context, x *exec) (Outcome, error) {
	result := make(chan Outcome, 1)
	go func() { result <- x.burst(ctx) }()
	select {
	case out := <-result:
		return out, nil
	case <-ctx.Done():
		select {
		case out := <-result:
			return out, nil
		default:
		}
		return Outcome{RunID: x.id, Status: run.Running}, ctx.Err()
	}
}

func (e *Engine) version(ctx context.Context, r Request) (*workflow.Version, error) {
	switch {
	case r.Version != nil:
		return r.Version, nil
	case r.DefinitionID != "" && r.Number != 0:
		v, err := e.o.Library.Numbered(ctx, r.DefinitionID, r.Number)
		if err != nil {
			return nil, fmt.Errorf("version %d of workflow %s: %w", r.Number, r.DefinitionID, err)
		}
		return v, nil
	case r.DefinitionID != "":
		v, err := e.o.Library.ByID(ctx, r.DefinitionID)
		if err != nil {
			return nil, fmt.Errorf("workflow %s: %w", r.DefinitionID, err)
		}
		return v, nil
	}
	v, err := e.o.Library.Published(ctx, r.Name)
	if err != nil {
		return nil, fmt.Errorf("workflow %q: %w", r.Name, err)
	}
	return v, nil
}

// fresh is the state of a run that has not begun.
func (e *Engine) fresh(v *workflow.Version, r Request, above *exec, mode activity.Mode) (*program, *state, error) {
	p := e.program(v)
	at := r.Activity
	var first *node
	if at == "" {
		if len(p.starts) == 0 {
			return nil, nil, fmt.Errorf("workflow %q: %w: it is empty", v.Name, ErrNoActivity)
		}
		first = p.starts[0]
	} else if first = p.byID[at]; first == nil {
		if first = p.byName[at]; first == nil {
			return nil, nil, fmt.Errorf("workflow %q: %w: %s", v.Name, ErrNoActivity, at)
		}
	}
	st := newState(p)
	st.Input, st.ContextID, st.Correlation = r.Input, r.ContextID, r.CorrelationID
	st.Secrets = r.Secrets
	st.push(entry{node: first, first: true, input: r.Input, hasInput: true})
	if above != nil {
		st.Parent, st.Depth, st.Awaited = above.id, above.st.Depth+1, mode == activity.Blocking
		st.Secrets = slices.Concat(st.Secrets, above.st.Secrets) // its input may hold them
	}
	return p, st, nil
}

// start makes a run that is in memory, with its start in the journal. life is
// what ends it if that ends.
func (e *Engine) start(ctx, life context.Context, v *workflow.Version, r Request, above *exec, mode activity.Mode) (*exec, error) {
	p, st, err := e.fresh(v, r, above, mode)
	if err != nil {
		return nil, err
	}
	x := e.newExec(life, p, e.o.Journal.NewID(), st)
	x.input, x.http = r.Input, r.HTTP
	secrets := slices.Clone(st.Secrets)
	x.firstState = func() ([]byte, error) {
		_, first, err := e.fresh(v, r, nil, mode)
		if err != nil {
			return nil, err
		}
		first.Parent, first.Depth, first.Awaited, first.Secrets = st.Parent, st.Depth, st.Awaited, secrets
		return first.encode(p)
	}
	x.outer = above
	if mode == activity.Blocking {
		x.above = above
	}
	if err := e.enter(x); err != nil {
		return nil, err
	}
	if v.Singleton {
		x.single = true
		if err := x.store(store.InstanceRunning); err != nil {
			e.leave(x)
			if errors.Is(err, store.ErrExists) {
				return nil, fmt.Errorf("workflow %q: %w", v.Name, ErrSingleton)
			}
			return nil, fmt.Errorf("start workflow %q: %w", v.Name, err)
		}
	}
	x.rec, err = e.o.Journal.Begin(ctx, e.journalled(x.id, p, st, r, above))
	if err != nil {
		e.o.Store.DropInstances(context.WithoutCancel(ctx), x.id)
		e.leave(x)
		return nil, fmt.Errorf("start workflow %q: %w", v.Name, err)
	}
	return x, nil
}

func (e *Engine) journalled(id run.ID, p *program, st *state, r Request, above *exec) run.Start {
	s := run.Start{
		ID: id, Kind: run.Workflow, Name: p.v.Name, Version: p.v.Number, CorrelationID: st.Correlation, Trigger: r.Trigger,
		Input: r.Input, Road: p.road, Key: r.Key, Secrets: st.Secrets,
	}
	if above != nil {
		s.Parent, s.ParentStep, s.Trigger = above.id, above.step+1, "workflow"
	}
	return s
}

// dispatch stores a run that has not begun, and has it begin in the background.
func (e *Engine) dispatch(ctx context.Context, v *workflow.Version, r Request, above *exec) (run.ID, error) {
	p, st, err := e.fresh(v, r, above, activity.DispatchAndForget)
	if err != nil {
		return "", err
	}
	x := e.newExec(e.base, p, e.o.Journal.NewID(), st)
	x.single = v.Singleton
	if err := x.store(store.InstanceIdle); err != nil {
		if errors.Is(err, store.ErrExists) {
			return "", fmt.Errorf("workflow %q: %w", v.Name, ErrSingleton)
		}
		return "", fmt.Errorf("dispatch workflow %q: %w", v.Name, err)
	}
	if _, err := e.o.Journal.Create(ctx, e.journalled(x.id, p, st, r, above)); err != nil {
		e.o.Store.DropInstances(context.WithoutCancel(ctx), x.id)
		return "", fmt.Errorf("dispatch workflow %q: %w", v.Name, err)
	}
	e.beginLater(x.id)
	return x.id, nil
}

// beginLater has a stored run begin in the background.
func (e *Engine) beginLater(id run.ID) {
	e.mu.Lock()
	known := e.begins[id]
	e.begins[id] = true
	e.mu.Unlock()
	forget := func() {
		e.mu.Lock()
		delete(e.begins, id)
		e.mu.Unlock()
	}
	if known {
		return
	}
	if !e.background(func(ctx context.Context) {
		x, err := e.load(ctx, id, store.InstanceIdle)
		if err == nil {
			err = e.own(ctx, x)
		}
		forget()
		if err != nil {
			if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNoState) {
				e.o.Log.Error("a dispatched run does not begin", "run", id, "error", err)
			}
			return
		}
		x.input = x.st.Input
		x.burst(ctx)
	}) {
		forget()
	}
}

// Child starts another workflow for an activity.
func (x *exec) Child(ctx context.Context, s activity.ChildStart) (activity.ChildEnd, error) {
	e := x.e
	if s.Retry != "" {
		return x.retryChild(ctx, s.Retry)
	}
	v, err := e.o.Library.ByID(ctx, s.Definition)
	if errors.Is(err, freshet.ErrNotFound) {
		v, err = e.o.Library.Published(ctx, s.Definition)
	}
	if errors.Is(err, freshet.ErrNotFound) || err == nil && v.ID == x.p.v.ID {
		return activity.ChildEnd{}, nil
	}
	if err != nil {
		return activity.ChildEnd{}, fmt.Errorf("find workflow %q: %w", s.Definition, err)
	}
	if x.st.Depth+1 >= e.o.Limits.Depth {
		return activity.ChildEnd{}, depthExceeded(e.o.Limits.Depth)
	}
	r := Request{Input: s.Input, CorrelationID: s.CorrelationID, ContextID: s.ContextID}
	end := activity.ChildEnd{Found: true, Name: v.Name}
	switch s.Mode {
	case activity.Blocking, activity.FireAndForget:
		life := ctx
		if s.Mode == activity.FireAndForget {
			life = e.base
		}
		r.HTTP = x.http
		y, err := e.start(ctx, life, v, r, x, s.Mode)
		if err != nil {
			return end, err
		}
		x.child = y.id
		out := y.burst(ctx)
		end.RunID, end.Status, end.Outcomes, end.Output = out.RunID, string(out.Status), out.Outcomes, out.Output
		end.Fault = faultText(out.Fault)
		x.learn(y)
	default:
		if end.RunID, err = e.dispatch(ctx, v, r, x); err != nil {
			return end, err
		}
		x.child, end.Status = end.RunID, string(run.Idle)
	}
	return end, nil
}

// learn masks in this run what a child knew to be secret: its output comes here.
func (x *exec) learn(child *exec) { x.Secret(child.st.Secrets...) }

// faultText is a fault with what was behind it, in one line.
func faultText(f *run.Fault) string {
	if f == nil {
		return ""
	}
	text := f.Message
	for c := f.Cause; c != nil; c = c.Cause {
		if !strings.Contains(text, c.Message) {
			text += ": " + c.Message
		}
	}
	return text
}
