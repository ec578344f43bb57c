package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// An exec is what expressions and activities see of their run.
var (
	_ expr.Scope     = (*exec)(nil)
	_ activity.Scope = (*exec)(nil)
	_ activity.Run   = (*exec)(nil)
)

// evaluate returns the fields of an activity, each evaluated once.
func (x *exec) evaluate(ctx context.Context, n *node) (map[string]any, error) {
	in := x.in
	clear(in)
	for i := range n.fields {
		f := &n.fields[i]
		var v any
		switch {
		case f.code != "":
			v = f.code
		case f.prop != nil:
			var err error
			if v, err = x.e.o.Evaluator.Property(ctx, x, f.prop, f.as); err != nil {
				var e *expr.Error
				if errors.As(err, &e) && e.Property == f.Name && e.Syntax != workflow.Literal {
					err = fmt.Errorf("%s: %w", e.Syntax, e.Err) // the rest is said here
				}
				return in, &propertyError{n.a.Type, f.Name, err}
			}
		}
		switch w := v.(type) {
		case nil:
			if v = f.Default; v == nil {
				if f.Required {
					return in, &propertyError{n.a.Type, f.Name, errors.New("it has no value")}
				}
				continue
			}
		case freshet.Secret:
			x.Secret(w.Reveal())
			if f.Kind == activity.Any {
				v = w.Reveal() // a variable, an output: the document hands it over
			}
		case []expr.Case:
			met := make([]any, 0, len(w))
			for _, c := range w {
				if c.Met {
					met = append(met, c.Name)
				}
			}
			v = met
		case string:
			if w == "" && f.Default != nil && f.Kind != activity.Text && f.Kind != activity.Any {
				v = f.Default
			} else if w == "" && f.Required {
				return in, &propertyError{n.a.Type, f.Name, errors.New("it is blank")}
			}
		}
		in[f.Name] = v
	}
	return in, nil
}

// Input returns `input`.
func (x *exec) Input() any { return x.current }

// Variable reads a variable as the activity that is executed sees it.
func (x *exec) Variable(name string) (any, bool) { return x.st.variable(name, x.scopeID) }

// SetVariable sets a variable of the instance.
func (x *exec) SetVariable(name string, v any) {
	if s, ok := v.(freshet.Secret); ok {
		x.Secret(s.Reveal())
		v = s.Reveal()
	}
	x.st.Variables[name] = v
	if err := x.weigh("$"+name, v); err != nil && x.tooBig == nil {
		x.tooBig = err
	}
}

// Variables are all variables, those of loops over those of the instance.
func (x *exec) Variables() map[string]any {
	var loops []*scope
	for s := x.st.scope(x.scopeID); s != nil; s = x.st.scope(s.parent) {
		if len(s.vars) > 0 {
			loops = append(loops, s)
		}
	}
	if loops == nil {
		return x.st.Variables
	}
	merged := maps.Clone(x.st.Variables)
	for _, s := range slices.Backward(loops) {
		maps.Copy(merged, s.vars)
	}
	return merged
}

// TransientVariable reads a variable of this burst.
func (x *exec) TransientVariable(name string) (any, bool) {
	v, ok := x.transient[name]
	return v, ok
}

// SetTransientVariable sets a variable of this burst.
func (x *exec) SetTransientVariable(name string, v any) {
	if x.transient == nil {
		x.transient = map[string]any{}
	}
	x.transient[name] = v
	if err := x.weigh("~"+name, v); err != nil && x.tooBig == nil {
		x.tooBig = err
	}
}

// Activity finds an activity by name, else by id.
func (x *exec) Activity(nameOrID string) (*expr.ActivityState, bool) {
	n := x.p.find(nameOrID)
	if n == nil {
		return nil, false
	}
	return &x.acts[n.index], true
}

// ActivityNames lists the names of activities.
func (x *exec) ActivityNames() []string { return x.p.names }

// Executed finds the first activity of a type that was executed.
func (x *exec) Executed(typ string) (string, bool) {
	for _, n := range x.st.Ran {
		if n.a.Type == typ {
			return n.a.ID, true
		}
	}
	return "", false
}

// Instance is the run.
func (x *exec) Instance() expr.Instance {
	in := expr.Instance{
		InstanceID: x.id, DefinitionID: x.p.v.ID, DefinitionName: x.p.v.Name, DefinitionVersion: x.p.v.Number,
		CorrelationID: x.CorrelationID(), ContextID: x.st.ContextID, BaseURL: x.e.o.BaseURL,
	}
	if x.n != nil {
		in.ActivityID = x.n.a.ID
	}
	if x.http != nil {
		in.Request = x.http.Request
	}
	return in
}

// AddJournal adds to the data of the present step.
func (x *exec) AddJournal(key string, v any) {
	if x.data == nil {
		x.data = map[string]any{}
	}
	x.data[key] = v
}

// ID is the run's id.
func (x *exec) ID() string { return x.id }

// Definition is what runs.
func (x *exec) Definition() *workflow.Definition { return x.p.v.Definition }

// CorrelationID is the present one.
func (x *exec) CorrelationID() string {
	if x.st.Correlation == "" && x.rec != nil {
		x.st.Correlation = x.rec.CorrelationID()
	}
	return x.st.Correlation
}

// Correlate changes the correlation id, live.
func (x *exec) Correlate(id string) {
	if id != "" {
		x.st.Correlation = id
		x.rec.Correlate(id)
	}
}

// SetName names the run.
func (x *exec) SetName(name string) { x.st.Name = name }

// SetContextID says what the run is about.
func (x *exec) SetContextID(id string) { x.st.ContextID = id }

// Secret has values masked in this run's journal.
func (x *exec) Secret(values ...string) {
next:
	for _, v := range values {
		for _, known := range x.st.Secrets {
			if v == known {
				continue next
			}
		}
		if v != "" {
			x.st.Secrets = append(x.st.Secrets, v)
			if x.rec != nil { // there is none where triggers are looked at
				x.rec.Secret(v)
			}
		}
	}
}

// Break stops the innermost loop.
func (x *exec) Break() bool {
	for s := x.st.scope(x.scopeID); s != nil; s = x.st.scope(s.parent) {
		if s.node.spec.Loop {
			s.broken = true
			return true
		}
	}
	return false
}

// Forget drops the waits of an activity.
func (x *exec) Forget(nameOrID string) bool {
	n := x.p.find(nameOrID)
	return n != nil && x.forget(func(w *node) bool { return w == n })
}

// ForgetInbound drops the waits of whatever leads to the present activity.
func (x *exec) ForgetInbound() {
	if len(x.st.Waits) > 0 {
		up := x.n.upstream()
		x.forget(func(w *node) bool { return up[w] })
	}
}

// ForgetAll drops all waits.
func (x *exec) ForgetAll() { x.forget(func(*node) bool { return true }) }

func (x *exec) forget(which func(*node) bool) (dropped bool) {
	kept := x.st.Waits[:0]
	for _, w := range x.st.Waits {
		if which(w.node) {
			dropped = true
			continue
		}
		kept = append(kept, w)
	}
	x.st.Waits = kept
	return dropped
}

// Script runs the code of a RunJavaScript.
func (x *exec) Script(ctx context.Context, code string) (any, []string, error) {
	return x.e.o.Evaluator.Script(ctx, x, code)
}

// Observe writes a line into the journal.
func (x *exec) Observe(event string, data map[string]any) {
	s := run.Step{At: x.e.o.Now(), Event: event, Data: data}
	if x.n != nil {
		s.Activity, s.Type, s.Name = x.n.a.ID, x.n.a.Type, x.n.a.Label()
	}
	x.step = x.rec.Step(s)
}

// Warn notes what people who look at the run should know: an expression went
// without something. Services.Warn is given the exec as its Scope.
func (x *exec) Warn(text string) {
	if x.rec != nil {
		x.rec.Warn(text)
	}
}

// Signal remembers a signal for the end of the burst.
func (x *exec) Signal(s activity.Signal) { x.signals = append(x.signals, s) }

// Compensate takes the branch of a Compensable.
func (x *exec) Compensate(name string, confirm bool) error {
	n := x.p.find(name)
	if n == nil {
		return fmt.Errorf("there is no activity %q to compensate", name)
	}
	for i := len(x.st.Undo) - 1; i >= 0; i-- {
		u := &x.st.Undo[i]
		if u.node != n || u.at == activity.Confirmed || u.at == activity.Undone {
			continue
		}
		if confirm {
			u.at = activity.Confirmed
			x.pushAll(n, []string{"Confirm"}, u.scope)
			return nil
		}
		u.at = activity.Undone
		x.pushAll(n, []string{"Compensate"}, u.scope)
		return nil
	}
	return fmt.Errorf("%q has nothing to compensate or confirm: the run did not come through it, or has done so already", name)
}

// undone keeps how far a Compensable is.
func (x *exec) undone(n *node, scope int, at activity.Undo) {
	if at == activity.Entered {
		x.st.Undo = append(x.st.Undo, undo{n, scope, at})
		return
	}
	for i := len(x.st.Undo) - 1; i >= 0; i-- {
		if u := &x.st.Undo[i]; u.node == n && u.at == activity.Entered {
			u.at = at
			return
		}
	}
}

// lockKey evaluates the lock of the version. A word is a key as it is; anything
// else is JavaScript over input that gives one, "" for none.
func (x *exec) lockKey(ctx context.Context) (string, error) {
	code := x.p.v.Lock
	if code == "" || plainKey.MatchString(code) {
		return code, nil
	}
	v, err := x.e.o.Evaluator.Eval(ctx, x, workflow.JavaScript, code, expr.Field{Activity: "lock", Name: "lock"})
	if err != nil {
		return "", err
	}
	return activity.Format(model.Plain(v)), nil
}
