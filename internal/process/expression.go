package process

import (
	"context"
	"errors"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// helpers are functions that expressions of forms know beside the language, on
// the line of the expression, so that places in errors stay right.
const helpers = `const ProcessID=()=>$id,DateAdd=(d,n,u)=>new Date(new Date(d).getTime()+n*({second:1e3,minute:6e4,hour:36e5,day:864e5,week:6048e5}[String(u||"day").toLowerCase().replace(/s$/,"")])).toISOString();`

// evaluate runs an expression over the form.
func (x *pressing) evaluate(ctx context.Context, source string) (input, error) {
	if x.p.o.Expressions == nil {
		return input{}, errors.New("expressions are switched off")
	}
	js, names := translate(source)
	s := scope{name: x.d.Name, run: x.runID(), vars: map[string]any{"$id": x.name()}}
	out := input{}
	for i, n := range names {
		got, err := x.resolve(ctx, n, nil)
		if err != nil {
			return out, err
		}
		s.vars["$"+itoa(i)] = got.value
		out.secret = out.secret || got.secret
	}
	v, err := x.p.o.Expressions.Eval(ctx, s, workflow.JavaScript, helpers+js, expr.Field{Activity: "Set form field", Name: "expression"})
	if err != nil {
		return out, err
	}
	if v == nil {
		v = ""
	}
	out.value = v
	return out, nil
}

// condition evaluates what decides over a rule.
func (x *pressing) condition(ctx context.Context, source string) (bool, error) {
	v, err := x.evaluate(ctx, source)
	if err != nil {
		return false, err
	}
	switch v := v.value.(type) {
	case bool:
		return v, nil
	case string:
		return v != "", nil
	case int64:
		return v != 0, nil
	case float64:
		return v != 0, nil
	}
	return true, nil
}

// scope is what expressions see: the fields that they name.
type scope struct {
	name, run string
	vars      map[string]any
}

func (s scope) Input() any                                  { return nil }
func (s scope) Variable(name string) (any, bool)            { v, ok := s.vars[name]; return v, ok }
func (s scope) SetVariable(string, any)                     {}
func (s scope) Variables() map[string]any                   { return s.vars }
func (s scope) TransientVariable(string) (any, bool)        { return nil, false }
func (s scope) SetTransientVariable(string, any)            {}
func (s scope) Activity(string) (*expr.ActivityState, bool) { return nil, false }
func (s scope) ActivityNames() []string                     { return nil }
func (s scope) Executed(string) (string, bool)              { return "", false }
func (s scope) Instance() expr.Instance {
	return expr.Instance{InstanceID: s.run, DefinitionName: s.name}
}
func (s scope) AddJournal(string, any) {}
