// Package activitytest runs activities without an engine: the examples of
// specs as tests, and single calls with a run that only remembers.
package activitytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// Examples runs every example of the specs as a subtest, and fails for a spec
// that has none. prepare, if not nil, may change a call before it runs.
func Examples(t *testing.T, specs []activity.Spec, prepare func(c *activity.Call)) {
	for i := range specs {
		s := &specs[i]
		t.Run(s.Type, func(t *testing.T) {
			if len(s.Examples) == 0 {
				t.Errorf("%s has no example", s.Type)
			}
			for n, e := range s.Examples {
				name := e.Doc
				if name == "" {
					name = fmt.Sprint(n)
				}
				t.Run(name, func(t *testing.T) { example(t, s, e, prepare) })
			}
		})
	}
}

func example(t *testing.T, s *activity.Spec, e activity.Example, prepare func(c *activity.Call)) {
	c, run := New(t, s, object(t, e.In))
	c.Input = value(t, e.Input)
	c.First = e.First
	run.Variables = object(t, e.Variables)
	if prepare != nil {
		prepare(c)
	}
	res, err := s.Run(t.Context(), c)
	switch {
	case e.Fault == "" && err != nil:
		t.Fatal(err)
	case e.Fault != "" && (err == nil || !strings.Contains(err.Error(), e.Fault)):
		t.Fatalf("error = %v, want one with %q", err, e.Fault)
	case err != nil:
		return
	}
	if e.Outcomes != nil {
		if got := Outcomes(res); len(got)+len(e.Outcomes) > 0 && !reflect.DeepEqual(got, e.Outcomes) {
			t.Errorf("outcomes = %q, want %q", got, e.Outcomes)
		}
	}
	if e.Out != "" {
		same(t, "outputs", res.Outputs, object(t, e.Out))
	}
	if e.Sets != "" {
		same(t, "variables", run.Set, object(t, e.Sets))
	}
	switch {
	case e.Waits != "" && (res.Suspend == nil || res.Suspend.Kind != e.Waits):
		t.Errorf("it waits for %+v, want a %s", res.Suspend, e.Waits)
	case e.Waits == "" && res.Suspend != nil:
		t.Errorf("it waits for %+v", res.Suspend)
	}
}

// Outcomes returns what a result leads to, in the order in which it runs:
// scheduled ones first.
func Outcomes(r activity.Result) []string {
	var out []string
	for _, s := range r.Schedule {
		out = append(out, s.Outcome)
	}
	if r.Outcomes == nil && r.Schedule == nil && r.Suspend == nil && r.Finish == nil {
		return []string{workflow.Done}
	}
	for i := len(r.Outcomes) - 1; i >= 0; i-- {
		out = append(out, r.Outcomes[i])
	}
	return out
}

// New returns a call of an activity with fields as they are evaluated; values
// of JSON become the Go types of their kinds, and defaults are filled in.
func New(t testing.TB, s *activity.Spec, in map[string]any) (*activity.Call, *Run) {
	run := &Run{Variables: map[string]any{}, Def: &workflow.Definition{ID: "def", Name: "Example"}}
	c := &activity.Call{
		Activity: &workflow.Activity{ID: "a", Type: s.Type}, Spec: s, Run: run, Scope: run,
		In: map[string]any{}, State: map[string]any{}, Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	for name := range in {
		if _, ok := s.Field(name); !ok {
			t.Fatalf("%s has no field %q", s.Type, name)
		}
	}
	for _, f := range s.Fields {
		v := in[f.Name]
		if v == nil {
			v = f.Default
		}
		if v != nil {
			c.In[f.Name] = convert(t, f, v)
		}
	}
	return c, run
}

func convert(t testing.TB, f activity.Field, v any) any {
	bad := func() { t.Helper(); t.Fatalf("field %s: %T is no %s", f.Name, v, f.Kind) }
	switch f.Kind {
	case activity.Int:
		switch n := v.(type) {
		case float64:
			return int64(n)
		case int:
			return int64(n)
		case int64:
			return n
		}
		bad()
	case activity.Ints:
		if list, ok := v.([]any); ok {
			out := make([]int64, len(list))
			for i, x := range list {
				n, ok := x.(float64)
				if !ok {
					bad()
				}
				out[i] = int64(n)
			}
			return out
		}
	case activity.Texts, activity.Cases:
		if list, ok := v.([]any); ok {
			out := make([]string, len(list))
			for i, x := range list {
				out[i] = activity.Format(x)
			}
			return out
		}
	}
	return v
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	if text == "" {
		return map[string]any{}
	}
	m, ok := value(t, text).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", text)
	}
	return m
}

func value(t testing.TB, text string) (v any) {
	t.Helper()
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// same compares by way of JSON, in which numbers have one type.
func same(t testing.TB, what string, got, want map[string]any) {
	t.Helper()
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var norm map[string]any
	json.Unmarshal(b, &norm)
	if len(norm) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(norm, want) {
		w, _ := json.Marshal(want)
		t.Errorf("%s = %s, want %s", what, b, w)
	}
}

// A Run remembers what an activity asked of it. It is not safe for concurrent
// use.
type Run struct {
	Def         *workflow.Definition
	Correlation string
	Name        string
	ContextID   string
	Variables   map[string]any // before, and what was set
	Set         map[string]any // what was set
	Transient   map[string]any
	JournalData map[string]any
	Secrets     []string
	Broken      bool
	Forgotten   []string
	Events      []string
	Children    []activity.ChildStart
	Signals     []activity.Signal

	// Answers; a nil one says that there is nothing of that kind.
	OnScript    func(code string) (any, []string, error)
	OnChild     func(s activity.ChildStart) (activity.ChildEnd, error)
	OnInterrupt func(run, activity string, input any) (bool, error)
	InLoop      bool
}

func (r *Run) ID() string                       { return "run" }
func (r *Run) Definition() *workflow.Definition { return r.Def }
func (r *Run) CorrelationID() string            { return r.Correlation }
func (r *Run) Correlate(id string)              { r.Correlation = id }
func (r *Run) SetName(name string)              { r.Name = name }
func (r *Run) SetContextID(id string)           { r.ContextID = id }
func (r *Run) Secret(v ...string)               { r.Secrets = append(r.Secrets, v...) }
func (r *Run) Break() bool                      { r.Broken = true; return r.InLoop }
func (r *Run) Forget(a string) bool             { r.Forgotten = append(r.Forgotten, a); return true }
func (r *Run) ForgetInbound()                   { r.Forgotten = append(r.Forgotten, "inbound") }
func (r *Run) ForgetAll()                       { r.Forgotten = append(r.Forgotten, "all") }
func (r *Run) Signal(s activity.Signal)         { r.Signals = append(r.Signals, s) }
func (r *Run) Observe(e string, _ map[string]any) {
	r.Events = append(r.Events, e)
}

// Script calls OnScript.
func (r *Run) Script(_ context.Context, code string) (any, []string, error) {
	if r.OnScript == nil {
		return nil, nil, errors.New("activitytest: no scripts here")
	}
	return r.OnScript(code)
}

// Compensate remembers.
func (r *Run) Compensate(a string, confirm bool) error {
	r.Events = append(r.Events, fmt.Sprintf("compensate %s %t", a, confirm))
	return nil
}

// Child calls OnChild; without it there is no workflow.
func (r *Run) Child(_ context.Context, s activity.ChildStart) (activity.ChildEnd, error) {
	r.Children = append(r.Children, s)
	if r.OnChild == nil {
		return activity.ChildEnd{}, nil
	}
	return r.OnChild(s)
}

// Interrupt calls OnInterrupt; without it no run waits.
func (r *Run) Interrupt(_ context.Context, run, a string, input any) (bool, error) {
	if r.OnInterrupt == nil {
		return false, nil
	}
	return r.OnInterrupt(run, a, input)
}

// Variable returns what was set or was there before.
func (r *Run) Variable(name string) (any, bool) { v, ok := r.Variables[name]; return v, ok }

// SetVariable remembers.
func (r *Run) SetVariable(name string, v any) {
	if r.Set == nil {
		r.Set = map[string]any{}
	}
	if r.Variables == nil {
		r.Variables = map[string]any{}
	}
	r.Set[name], r.Variables[name] = v, v
}

// SetTransientVariable remembers.
func (r *Run) SetTransientVariable(name string, v any) {
	if r.Transient == nil {
		r.Transient = map[string]any{}
	}
	r.Transient[name] = v
}

// AddJournal remembers.
func (r *Run) AddJournal(key string, v any) {
	if r.JournalData == nil {
		r.JournalData = map[string]any{}
	}
	r.JournalData[key] = v
}
