package activity

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// A Spec is what is known of one type of activity. Specs are shared and never
// changed; Run is called from many goroutines.
type Spec struct {
	Type        string // exact, with case
	DisplayName string // in designers
	Category    string // a heading in lists: Control flow, Primitives, HTTP, Data …
	Summary     string // a sentence
	Doc         string // more of it, Markdown; "" where the summary says it all

	// Trigger marks an activity that can start a run: first in a start it
	// completes at once, met later it waits.
	Trigger bool

	Fields     []Field
	Outcomes   []string // the fixed ones
	OutcomesOf string   // a field whose values are outcomes as well: Branches, SupportedStatusCodes …
	AnyOutcome bool     // other outcomes can occur: what a script sets, what a child finished with
	Outputs    []Output

	// Scope marks an activity that is executed again, with Call.Unwinding, when
	// everything is done that it led to by a Result with Enter.
	Scope bool
	// Loop marks a scope that Break stops. Its fields are evaluated again for
	// every turn, those of other scopes once.
	Loop bool
	// Join marks an activity that wants to know which of the activities that
	// lead to it were executed: Call.Inbound and Call.Arrived.
	Join bool
	// Acts marks an activity that does something outside of Freshet, or starts
	// other work. If a process died while one may have been running, it is not
	// run again without a person's word.
	Acts bool

	Aliases  []string // other types of the same meaning, of other versions or platforms
	Examples []Example

	Run func(ctx context.Context, c *Call) (Result, error)
}

// Field returns the field of a name.
func (s *Spec) Field(name string) (Field, bool) {
	for _, f := range s.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// A Field is an input property of an activity.
type Field struct {
	Name     string
	Doc      string // a clause
	Kind     Kind
	Syntax   string   // where the property names none; "" is Literal
	Default  any      // where the property is missing, blank or null
	Options  []string // of an Enum
	Required bool     // what has no value is a fault
}

// A Kind is what a field's value is converted to before the activity sees it.
// The comment says in which Go type it is in Call.In; nil stands for no value.
type Kind string

// The kinds.
const (
	Text  Kind = "text"  // string; a freshet.Secret where the author chose a secret
	Bool  Kind = "bool"  // bool
	Int   Kind = "int"   // int64
	Float Kind = "float" // float64
	List  Kind = "list"  // []any
	Texts Kind = "texts" // list of texts, also given as numbers: Call.Texts
	Ints  Kind = "ints"  // list of whole numbers: Call.Ints
	Map   Kind = "map"   // map[string]any
	Enum  Kind = "enum"  // string: one of Options, as they are spelled there
	URL   Kind = "url"   // string, trimmed
	Any   Kind = "any"   // whatever the expression gave
	Cases Kind = "cases" // []string: the names of the cases of a Switch that hold, in order
	Code  Kind = "code"  // string: a script that the activity runs itself
	// Duration and Instant are text for most purposes, but authors write them
	// in many ways; the activity parses them: string, time.Time or a number.
	Duration Kind = "duration" // any
	Instant  Kind = "instant"  // any
)

// An Output is a value that an activity leaves for expressions:
// activities.NAME.OUTPUT() and Activities.NAME.OUTPUT.
type Output struct{ Name, Doc string }

// An Example shows an activity and is run as a test. JSON is used throughout; a
// member that is "" is not given, or not compared.
type Example struct {
	Doc       string
	In        string   // object: values of fields
	Input     string   // `input`
	Variables string   // object: variables before
	First     bool     // it is the first activity of a start
	Outcomes  []string // in order; nil is not compared
	Out       string   // object: outputs
	Sets      string   // object: variables that were set
	Waits     string   // the kind of bookmark that it waits for
	Fault     string   // part of the error
}

// A Registry holds the known activities by type. It is immutable.
type Registry struct {
	specs  []Spec
	byType map[string]*Spec
}

// NewRegistry returns a registry of the specs. Two of the same type or alias
// are a mistake of the program: it panics.
func NewRegistry(specs ...Spec) *Registry {
	r := &Registry{specs: slices.Clone(specs), byType: map[string]*Spec{}}
	slices.SortStableFunc(r.specs, func(a, b Spec) int { return cmp.Compare(a.Type, b.Type) })
	for i := range r.specs {
		s := &r.specs[i]
		if s.Type == "" || s.Run == nil {
			panic(fmt.Sprintf("activity: the spec of %q has no type or nothing to run", s.Type))
		}
		for _, t := range append([]string{s.Type}, s.Aliases...) {
			if r.byType[t] != nil {
				panic(fmt.Sprintf("activity: two specs of type %q", t))
			}
			r.byType[t] = s
		}
	}
	return r
}

// Lookup returns the spec of a type or alias, which are compared with case.
func (r *Registry) Lookup(typ string) (*Spec, bool) {
	s, ok := r.byType[typ]
	return s, ok
}

// Like returns a known type that differs from typ in case alone, for messages.
func (r *Registry) Like(typ string) string {
	for _, s := range r.specs {
		if strings.EqualFold(s.Type, typ) {
			return s.Type
		}
	}
	return ""
}

// All lists the specs by type.
func (r *Registry) All() []Spec { return r.specs }

// Possible lists the outcomes that an activity can have, as far as its file
// says: the fixed ones and those that a literal or JSON list names. open is
// true if there may be others.
func (s *Spec) Possible(a *workflow.Activity) (outcomes []string, open bool) {
	outcomes, open = slices.Clone(s.Outcomes), s.AnyOutcome
	if s.OutcomesOf == "" {
		return outcomes, open
	}
	f, _ := s.Field(s.OutcomesOf)
	p := a.Property(s.OutcomesOf)
	if p == nil {
		return append(outcomes, texts(f.Default)...), open
	}
	syntax, text, ok := p.Live(f.Syntax)
	switch {
	case !ok || strings.TrimSpace(text) == "":
		return append(outcomes, texts(f.Default)...), open
	case syntax == workflow.JSON || syntax == workflow.Literal && f.Kind != Cases:
		list, err := parseTexts(text)
		return append(outcomes, list...), open || err != nil
	case syntax == workflow.Switch:
		list, err := caseNames(text)
		return append(outcomes, list...), open || err != nil
	}
	return outcomes, true // computed
}
