package activity

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// A Call is one execution of one activity. It belongs to the activity until Run
// returns. The values in In, Input and in variables are shared with the run: an
// activity that wants to change a map or a list copies it.
type Call struct {
	Activity *workflow.Activity
	Spec     *Spec
	Run      Run   // the run that executes it
	Scope    Scope // its variables

	// In holds the fields by name, converted to the Go types of their kinds,
	// with defaults filled in. A field without a value is missing.
	In    map[string]any
	Input any // `input`

	First     bool           // it is the first activity of this start
	Unwinding bool           // a scope whose branch is done
	Broken    bool           // a loop that Break stopped
	Resume    *Resumption    // not nil: what it waited for has come
	State     map[string]any // of this activity, or of its open scope; kept with the run
	Inbound   []string       // a join: keys of the edges that lead here
	Arrived   []string       // a join: those whose sources were executed since it was executed last
	HTTP      *HTTPExchange  // nil: nobody waits for an HTTP answer
	Now       time.Time
}

// A Scope is the part of a run's data that activities read and write.
// Expressions see more; they are evaluated before the activity runs.
type Scope interface {
	Variable(name string) (any, bool) // of the instance, or of an enclosing loop
	SetVariable(name string, v any)   // always of the instance
	SetTransientVariable(name string, v any)
	AddJournal(key string, v any) // into the journal data of this step
}

// A Run is what an activity may ask of the run that executes it, beyond what
// its Result says.
type Run interface {
	ID() string
	Definition() *workflow.Definition
	CorrelationID() string
	Correlate(id string) // shown live, also in the list of runs
	SetName(name string)
	SetContextID(id string)
	Secret(values ...string) // masked from here on in the journal of this run

	Break() bool // stops the innermost enclosing loop at its next turn; false: there is none
	// Forget drops what an activity waits for, by id or name, and reports
	// whether it waited. ForgetInbound does so for everything that leads to the
	// present activity, ForgetAll for the whole run.
	Forget(activity string) bool
	ForgetInbound()
	ForgetAll()
	// Script runs code as RunJavaScript does and returns its value and the
	// outcomes that it set, nil if it set none.
	Script(ctx context.Context, code string) (value any, outcomes []string, err error)
	// Compensate schedules what undoes a Compensable, or confirms it for good.
	Compensate(activity string, confirm bool) error
	// Child starts another workflow; see ChildStart.
	Child(ctx context.Context, s ChildStart) (ChildEnd, error)
	// Signal sends a signal when this burst has ended.
	Signal(s Signal)
	// Interrupt resumes an activity, by id or name, that a run waits in, as if
	// what it waits for had come; false: no run waits there.
	Interrupt(ctx context.Context, run, activity string, input any) (bool, error)
	// Observe writes a line into the journal between this step and the next,
	// for what an activity does in several parts.
	Observe(event string, data map[string]any)
}

// A Resumption is what an activity waited for.
type Resumption struct {
	Kind  string // of the bookmark
	Key   string
	Input any // the signal's payload, the request, how the child ended
}

// Result is what follows from an execution. The zero Result means Done.
type Result struct {
	// Outcomes are pushed onto the stack in this order, so the last runs first.
	// nil means Done, unless Schedule, Suspend or Finish is set; None means no
	// outcome at all.
	Outcomes []string
	// Outputs are kept under the activity; "Output" is also the `input` of what
	// follows. What is missing stays as it was.
	Outputs map[string]any
	// Schedule runs before what Outcomes lead to, the first of the list first.
	Schedule []Scheduled
	Enter    bool           // a scope: execute it again when what it scheduled is done
	Undo     Undo           // a Compensable: where it is
	Suspend  *Bookmark      // wait
	Finish   *Finish        // end the run
	Message  string         // for the journal
	Data     map[string]any // for the journal, which masks it
}

// None is the Outcomes of an activity whose branch ends here.
var None = []string{}

// A Scheduled is an outcome with values of its own.
type Scheduled struct {
	Outcome   string
	Input     any            // `input` of the first activities there; nil as well as any other value
	Variables map[string]any // read by everything in the scope: CurrentValue, CurrentIndex
}

// A Bookmark is what an activity waits for. A run that waits is a row, and no
// goroutine.
type Bookmark struct {
	Kind string    // Timer, Signal, Child, Endpoint …
	Key  string    // what is looked for: the signal's name, the child's run
	Due  time.Time // Timer: when
}

// The kinds of bookmarks that the engine itself knows. Other packages add
// theirs and resume them by kind and key.
const (
	WaitTimer  = "timer"
	WaitSignal = "signal"
	WaitChild  = "child"
	WaitHTTP   = "http" // key: METHOD and path template, as the endpoint's trigger has it
)

// A Finish ends the run: nothing else of it is executed.
type Finish struct {
	Output   any
	Outcomes []string
}

// A Fault is an error that an author asked for. Its text is the run's fault, as
// it is.
type Fault struct{ Message string }

// Error returns the message.
func (f *Fault) Error() string { return f.Message }

// Undo is how far a Compensable is. When a run fails, what lies upstream of the
// failure and is Entered is cancelled, and what is Completed is compensated.
type Undo string

// The values. The zero Undo says nothing.
const (
	Entered   Undo = "entered"
	Completed Undo = "completed"
	Confirmed Undo = "confirmed" // can no longer be undone
	Undone    Undo = "undone"
)

// A Signal goes to every workflow that starts with it, and to every run that
// waits for it. Names compare without case.
type Signal struct {
	Name          string
	CorrelationID string // only runs of it, and runs that it starts get it; "": all
	RunID         string // only this run; "": any
	Input         any
}

// A ChildStart asks for a run of another workflow.
type ChildStart struct {
	Definition    string // definition id, or a name
	Input         any
	CorrelationID string
	ContextID     string
	Attributes    map[string]any
	Mode          Mode
	Retry         string // a faulted run of it to go on with instead, from its failed step
}

// A Mode is how a run waits for a child.
type Mode string

// The modes.
const (
	DispatchAndForget Mode = "DispatchAndForget" // queued
	FireAndForget     Mode = "FireAndForget"     // runs to its first pause, the result is ignored
	Blocking          Mode = "Blocking"
)

// A ChildEnd is how a child's start went. Found is false where there is no such
// published workflow or it is the caller's own. Status is that of a run, ""
// where nobody waits. Its JSON is what a child's end resumes its parent with.
type ChildEnd struct {
	Found    bool     `json:"found"`
	RunID    string   `json:"run_id"`
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Outcomes []string `json:"outcomes,omitempty"`
	Output   any      `json:"output,omitempty"`
	Fault    string   `json:"fault,omitempty"`
}

// Text returns a field as text, "" if it has no value.
func (c *Call) Text(field string) string {
	switch v := c.In[field].(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		return Format(v)
	}
}

// Bool returns a field of kind Bool.
func (c *Call) Bool(field string) bool { b, _ := c.In[field].(bool); return b }

// Int returns a field of kind Int; ok is false if it has no value.
func (c *Call) Int(field string) (n int64, ok bool) {
	switch v := c.In[field].(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case float64:
		return int64(v), v == math.Trunc(v)
	}
	return 0, false
}

// Float returns a field of kind Float; ok is false if it has no value.
func (c *Call) Float(field string) (f float64, ok bool) {
	switch v := c.In[field].(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case int:
		return float64(v), true
	}
	return 0, false
}

// Has reports whether a field has a value. A list that is empty is one.
func (c *Call) Has(field string) bool { return c.In[field] != nil }

// List returns a field of kind List.
func (c *Call) List(field string) []any { l, _ := c.In[field].([]any); return l }

// Texts returns a field of kind Texts or Cases.
func (c *Call) Texts(field string) []string { return texts(c.In[field]) }

// Ints returns a field of kind Ints.
func (c *Call) Ints(field string) []int64 {
	switch v := c.In[field].(type) {
	case []int64:
		return v
	case []any:
		out := make([]int64, 0, len(v))
		for _, x := range v {
			switch n := x.(type) {
			case int64:
				out = append(out, n)
			case int:
				out = append(out, int64(n))
			case float64:
				out = append(out, int64(n))
			}
		}
		return out
	}
	return nil
}

// Map returns a field of kind Map.
func (c *Call) Map(field string) map[string]any { m, _ := c.In[field].(map[string]any); return m }

// Value returns a field of any kind, nil if it has no value.
func (c *Call) Value(field string) any { return c.In[field] }

// Format turns a value into text: text as it is, what is simple as people write
// it, anything else as JSON. A secret stays hidden.
func Format(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case fmt.Stringer:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
