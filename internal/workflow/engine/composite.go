package engine

import (
	"context"
	"errors"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// composite stands for a type that is not known but holds activities of its
// own: it runs them, and takes the outcomes of a Finish among them, or Done.
var composite = activity.Spec{
	Type: "Composite", Scope: true, AnyOutcome: true,
	Run: func(context.Context, *activity.Call) (activity.Result, error) {
		return activity.Result{}, errors.New("a composite is the engine's to run")
	},
}

const compositeEnd = "outcomes"

func (x *exec) composite(c *activity.Call, n *node) activity.Result {
	if !c.Unwinding {
		return activity.Result{Outcomes: activity.None, Enter: true}
	}
	outcomes := []string{workflow.Done}
	if l, ok := c.State[compositeEnd].([]any); ok {
		outcomes = nil
		for _, o := range l {
			outcomes = append(outcomes, text(o))
		}
	}
	return activity.Result{Outcomes: outcomes, Outputs: map[string]any{"Output": x.st.Last}}
}

// leaveComposite ends a composite from within: what is left of it is dropped.
func (x *exec) leaveComposite(n *node, from int, f *activity.Finish) {
	st := x.st
	var own *scope
	for s := st.scope(from); s != nil; s = st.scope(s.parent) {
		if s.node == n {
			own = s
			break
		}
	}
	if own == nil {
		return
	}
	inside := func(id int) bool {
		for s := st.scope(id); s != nil; s = st.scope(s.parent) {
			if s == own {
				return true
			}
		}
		return false
	}
	var stack []entry
	for _, e := range st.Stack {
		if !inside(e.scope) {
			stack = append(stack, e)
		}
	}
	var waits []wait
	for _, w := range st.Waits {
		if !inside(w.scope) {
			waits = append(waits, w)
		}
	}
	var scopes []*scope
	for _, s := range st.Scopes {
		if s == own || !inside(s.id) {
			scopes = append(scopes, s)
		}
	}
	st.Stack, st.Waits, st.Scopes = stack, waits, scopes
	st.Last = f.Output
	own.state[compositeEnd] = anys(f.Outcomes)
	st.push(entry{node: n, scope: own.id, unwind: true})
}
