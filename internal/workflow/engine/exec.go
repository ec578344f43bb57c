package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// Why a run's context ends.
var (
	errCancelled = errors.New("cancelled")
	errShutdown  = errors.New("the server is shutting down")
	errTime      = errors.New("time limit")
)

// An exec is a run in memory: one burst of it. Its fields belong to the
// goroutine that runs it, but for what mu guards.
type exec struct {
	e     *Engine
	p     *program
	st    *state
	id    run.ID
	rec   *run.Recorder
	http  *activity.HTTPExchange
	above *exec // the run that waits for its end in memory; nil: none
	outer *exec // the run whose activity it runs within, until its first wait; nil: none
	ctx   context.Context
	stop  context.CancelCauseFunc
	done  chan struct{}

	input     any // of the first activity of this burst
	current   any // `input` now
	first     bool
	transient map[string]any
	signals   []activity.Signal
	began     time.Time // this burst

	call    activity.Call
	n       *node // being executed, or whose fields are evaluated
	scopeID int   // what it sees
	data    map[string]any
	child   run.ID // that it started
	step    int    // number of the last journalled step
	in      map[string]any
	acts    []expr.ActivityState
	weights map[string]int
	weight  int
	tooBig  error // a variable that is

	finish *activity.Finish
	fault  *run.Fault
	status run.Status

	mu       sync.Mutex // what follows is also written by keep
	revision int64      // of the stored state; 0: nothing is stored
	single   bool       // its row keeps other runs of the workflow away
	over     bool       // nothing more is to be stored
	// firstState encodes the state at the start; nil: there is one stored.
	firstState func() ([]byte, error)
	born       time.Time
}

// newExec makes a run that is not in memory yet. Its context is nobody's but
// its own, or that of the run above it.
func (e *Engine) newExec(ctx context.Context, p *program, id run.ID, st *state) *exec {
	x := &exec{e: e, p: p, st: st, id: id, done: make(chan struct{}), in: map[string]any{}, first: true, status: run.Running, born: e.o.Now()}
	x.ctx, x.stop = context.WithCancelCause(ctx)
	x.acts = make([]expr.ActivityState, len(p.nodes))
	for i, n := range p.nodes {
		x.acts[i] = expr.ActivityState{ID: n.a.ID, Name: n.a.Name, Type: n.a.Type, Outputs: st.Outputs[i]}
	}
	x.weights = map[string]int{}
	return x
}

// burst runs to the next wait or the end, and stores what has to be. caller is
// who waits for it to begin.
func (x *exec) burst(caller context.Context) Outcome {
	defer x.e.leave(x)
	defer x.stop(nil)
	x.began = x.e.o.Now()
	release, err := x.lock(caller)
	x.began = x.e.o.Now()
	ctx, cancel := context.WithTimeoutCause(x.ctx, max(x.e.o.Limits.Time-x.st.Elapsed, 0), errTime)
	defer cancel()
	if err == nil {
		opened, closed := x.e.o.Evaluator.Open(ctx)
		if err = x.begin(opened); err != nil {
			x.broke(ctx, err, nil)
		}
		for x.status == run.Running {
			x.advance(opened)
		}
		closed()
	} else {
		x.broke(ctx, err, nil)
	}
	x.st.Elapsed += x.e.o.Now().Sub(x.began)
	out := x.settle()
	if release != nil {
		release()
	}
	for _, s := range x.signals {
		x.e.send(s, x.id)
	}
	return out
}

// lock takes the version's lock. The time that this takes is nobody's running.
func (x *exec) lock(caller context.Context) (release func(), err error) {
	x.current = x.input
	if !x.st.Begun {
		if x.st.Lock, err = x.lockKey(x.ctx); err != nil {
			return nil, &setupError{"lock", err}
		}
	}
	if x.st.Lock == "" || x.holds(x.st.Lock) {
		return nil, nil
	}
	release, err = x.e.locks.take(x.ctx, caller, x.st.Lock, func() { x.Observe("Waiting", map[string]any{"Lock": x.st.Lock}) })
	if err != nil {
		return nil, &setupError{"lock", err}
	}
	return release, nil
}

// begin maps the input, at a start.
func (x *exec) begin(ctx context.Context) error {
	if x.st.Begun {
		return nil
	}
	for _, m := range x.p.inputs {
		v, err := x.e.o.Evaluator.Eval(ctx, x, workflow.JavaScript, m.code, expr.Field{Activity: "map_input", Name: m.variable})
		if err != nil {
			return &setupError{"map_input " + m.variable, err}
		}
		x.SetVariable(m.variable, v)
	}
	x.st.Begun = true
	return x.tooBig
}

// holds reports whether the run, or one above it, has the lock.
func (x *exec) holds(key string) bool {
	for up := x.outer; up != nil; up = up.outer {
		if up.st.Lock == key {
			return true
		}
	}
	return false
}

// advance executes what is on top of the stack, or finds that there is nothing.
func (x *exec) advance(ctx context.Context) {
	if ctx.Err() != nil {
		x.broke(ctx, context.Cause(ctx), nil)
		return
	}
	if len(x.st.Stack) == 0 {
		if s := x.unwinds(); s != nil {
			x.st.push(entry{node: s.node, scope: s.id, unwind: true})
			return
		}
		switch {
		case len(x.st.Waits) > 0:
			x.status = run.Suspended
		case x.st.Failed != "":
			x.status = run.Cancelled
			x.fault = &run.Fault{Message: x.st.Failed}
		default:
			x.status = run.Finished
		}
		return
	}
	en := x.st.pop()
	if err := x.execute(ctx, &en); err != nil {
		x.broke(ctx, err, &en)
		return
	}
	if x.status == run.Running && (x.p.v.Persistence == workflow.PersistActivity || en.node.a.PersistWorkflow) {
		if err := x.save(); err != nil {
			x.broke(ctx, err, nil)
		}
	}
}

// unwinds returns the scope to execute again: of those that are open and wait
// for nothing, the one that was opened last.
func (x *exec) unwinds() *scope {
	for i := len(x.st.Scopes) - 1; i >= 0; i-- {
		if s := x.st.Scopes[i]; len(x.st.Waits) == 0 || !x.st.waitsIn(s) {
			return s
		}
	}
	return nil
}

// execute is one execution. An error is a fault of the run; en then says what
// to execute when the run is retried.
func (x *exec) execute(ctx context.Context, en *entry) error {
	n, st := en.node, x.st
	if !en.hasInput {
		en.input = st.Last
		if x.first {
			en.input = x.input
		}
		en.hasInput = x.first
	}
	if st.Steps++; st.Steps > x.e.o.Limits.Steps {
		return stepsExceeded(x.e.o.Limits.Steps)
	}
	x.first, x.current = false, en.input
	at := x.e.o.Now()
	x.n, x.scopeID, x.data, x.child = n, en.scope, nil, ""
	x.acts[n.index].Outputs = st.Outputs[n.index]
	if n.spec == nil {
		err := unknownType(n.a.Type, x.e.o.Registry)
		x.journal(at, "Faulted", nil, activity.Result{}, err)
		return err
	}
	var own *scope
	switch {
	case n.spec.Scope && en.unwind:
		own = st.scope(en.scope)
	case n.spec.Loop:
		own = x.enclosing(en.scope, n)
	}
	var (
		in  map[string]any
		res activity.Result
		err error
	)
	if !en.unwind || n.spec.Loop {
		if in, err = x.evaluate(ctx, n); err != nil {
			x.journal(at, "Faulted", in, res, err)
			return err
		}
	}
	c := &x.call
	*c = activity.Call{Activity: n.a, Spec: n.spec, Run: x, Scope: x, In: in, Input: en.input, First: en.first, Unwinding: en.unwind, Resume: en.resume, HTTP: x.http, Now: at}
	switch {
	case own != nil:
		c.State, c.Broken = own.state, own.broken
	case n.spec.Scope:
		c.State = map[string]any{}
	case st.Own[n.index] != nil:
		c.State = st.Own[n.index]
	default:
		c.State = map[string]any{}
	}
	if n.spec.Join {
		c.Inbound = n.inbound
		for k := range st.Arrived[n.index] {
			c.Arrived = append(c.Arrived, k)
		}
		st.Arrived[n.index] = nil
	}
	res, err = x.invoke(ctx, n, c)
	if err == nil {
		err = x.keepOutputs(n, res.Outputs)
	}
	if err == nil {
		err = x.tooBig
	}
	if !n.spec.Scope && len(c.State) > 0 {
		st.Own[n.index] = c.State
	}
	if err != nil {
		x.journal(at, "Faulted", in, res, err)
		return err
	}
	if res.Outcomes == nil {
		res.Outcomes = activity.None
		if res.Schedule == nil && res.Suspend == nil && res.Finish == nil {
			res.Outcomes = doneOnly
		}
	}
	event := "Executed"
	switch {
	case res.Suspend != nil:
		event = "Suspended"
	case en.resume != nil:
		event = "Resumed"
	}
	x.journal(at, event, in, res, nil)
	x.follow(n, en, own, c, res)
	return nil
}

var doneOnly = []string{workflow.Done}

// enclosing returns the open scope of a loop that is come to again by an edge
// from within it: that is its next turn.
func (x *exec) enclosing(from int, n *node) *scope {
	for s := x.st.scope(from); s != nil; s = x.st.scope(s.parent) {
		if s.node == n {
			return s
		}
	}
	return nil
}

// invoke runs the activity. A panic is an error of ours, and ends this run only.
func (x *exec) invoke(ctx context.Context, n *node, c *activity.Call) (res activity.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.e.o.Log.Error("an activity panicked", "type", n.a.Type, "run", x.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s broke down: this is a mistake of the program; its log says more", n.a.Type)
		}
	}()
	if n.spec == &composite {
		return x.composite(c, n), nil
	}
	return n.spec.Run(ctx, c)
}

// follow does what a result says.
func (x *exec) follow(n *node, en *entry, own *scope, c *activity.Call, res activity.Result) {
	st := x.st
	if st.Outputs[n.index] == nil {
		st.Outputs[n.index] = map[string]any{}
	}
	if x.acts[n.index].Outputs == nil {
		st.Ran = append(st.Ran, n)
	}
	x.acts[n.index].Outputs = st.Outputs[n.index]
	if res.Undo != "" {
		x.undone(n, en.scope, res.Undo)
	}
	if res.Finish != nil && n.parent == nil {
		x.finish = res.Finish
		st.Stack, st.Scopes, st.Waits = nil, nil, nil
		x.status = run.Finished
		if st.Failed != "" {
			x.status, x.fault = run.Cancelled, &run.Fault{Message: st.Failed}
		}
		return
	}
	within := en.scope
	if n.spec.Scope {
		if own != nil {
			within = own.parent
		}
		switch {
		case res.Enter && own == nil:
			own = st.open(n, en.scope)
			own.state = c.State
			within = own.id
		case res.Enter:
			within = own.id
		case own != nil:
			st.close(own)
		}
	}
	if res.Finish != nil { // within a composite it ends that one
		x.leaveComposite(n.parent, en.scope, res.Finish)
		return
	}
	if res.Suspend != nil {
		st.NextWait++
		st.Waits = append(st.Waits, wait{id: fmt.Sprintf("%s:%d", x.id, st.NextWait), node: n, scope: within, Bookmark: *res.Suspend})
	}
	pushed := x.pushAll(n, res.Outcomes, within)
	for i := len(res.Schedule) - 1; i >= 0; i-- {
		s := res.Schedule[i]
		if res.Enter && s.Variables != nil {
			own.vars = s.Variables
		}
		for _, e := range n.out {
			if workflow.SameOutcome(e.outcome, s.Outcome) {
				st.push(entry{node: e.target, scope: within, input: s.Input, hasInput: true})
				pushed = append(pushed, e.target)
			}
		}
	}
	if n.spec == &composite && res.Enter {
		for i := len(n.inner) - 1; i >= 0; i-- {
			st.push(entry{node: n.inner[i], scope: within, input: en.input, hasInput: true})
		}
	}
	if res.Suspend == nil { // else it is still under way
		x.arrive(n, within, pushed)
	}
}

// pushAll pushes the targets of outcomes: in the order of the outcomes, then of
// the file, each once.
func (x *exec) pushAll(n *node, outcomes []string, within int) (pushed []*node) {
	for _, o := range outcomes {
	edges:
		for _, e := range n.out {
			if !workflow.SameOutcome(e.outcome, o) {
				continue
			}
			for _, p := range pushed {
				if p == e.target {
					continue edges
				}
			}
			pushed = append(pushed, e.target)
			x.st.push(entry{node: e.target, scope: within})
		}
	}
	return pushed
}

// arrive tells joins that one of the activities before them was executed.
func (x *exec) arrive(n *node, within int, pushed []*node) {
	for _, e := range n.out {
		t := e.target
		if t.spec == nil || !t.spec.Join {
			continue
		}
		if x.st.Arrived[t.index] == nil {
			x.st.Arrived[t.index] = map[string]bool{}
		}
		x.st.Arrived[t.index][e.key] = true
		if t.eager {
			there := false
			for _, p := range pushed {
				there = there || p == t
			}
			if !there {
				pushed = append(pushed, t)
				x.st.push(entry{node: t, scope: within})
			}
		}
	}
}

// keepOutputs stores what an activity gave.
func (x *exec) keepOutputs(n *node, out map[string]any) error {
	if len(out) == 0 {
		return nil
	}
	if err := x.weigh(n.a.ID, out); err != nil {
		return err
	}
	if v, ok := out["Output"]; ok {
		x.st.Last = v
	}
	if was := x.st.Outputs[n.index]; len(was) > 0 {
		merged := make(map[string]any, len(was)+len(out))
		for k, v := range was {
			merged[k] = v
		}
		for k, v := range out {
			merged[k] = v
		}
		out = merged
	}
	x.st.Outputs[n.index] = out
	return nil
}

// weigh counts a value that the run keeps under a name.
func (x *exec) weigh(name string, v any) error {
	most := x.e.o.Limits.Bytes
	w := weigh(v, most)
	x.weight += w - x.weights[name]
	x.weights[name] = w
	if x.weight > most {
		return sizeExceeded(most)
	}
	return nil
}

// journal writes the step that has just been executed.
func (x *exec) journal(at time.Time, event string, in map[string]any, res activity.Result, err error) {
	s := run.Step{
		Activity: x.n.a.ID, Type: x.n.a.Type, Name: x.n.a.Label(), At: at, Duration: x.e.o.Now().Sub(at),
		Event: event, Outcomes: res.Outcomes, Message: res.Message, Inputs: in, Data: res.Data, Child: x.child,
	}
	if res.Schedule != nil {
		s.Outcomes = outcomesOf(res)
	}
	if res.Finish != nil {
		s.Outcomes = res.Finish.Outcomes
	}
	if len(x.data) > 0 {
		if s.Data == nil {
			s.Data = x.data
		} else {
			for k, v := range x.data {
				s.Data[k] = v
			}
		}
	}
	if err != nil {
		s.Error = err.Error()
	}
	x.step = x.rec.Step(s)
}

func outcomesOf(res activity.Result) (out []string) {
	for _, s := range res.Schedule {
		if len(out) == 0 || out[len(out)-1] != s.Outcome {
			out = append(out, s.Outcome)
		}
	}
	return append(out, res.Outcomes...)
}
