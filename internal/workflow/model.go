package workflow

import (
	"slices"
	"strings"
)

// A Definition is one version of a workflow, as a file says it. Definitions are
// shared once they are parsed: read only.
type Definition struct {
	ID          string // definitionId: the same over versions, where the file came from
	Name        string // what other workflows call it by
	DisplayName string
	Description string
	Tag         string
	Channel     string
	Version     int // as the file says; the library counts its own

	Variables        map[string]any // default variables: every run begins with a copy
	CustomAttributes map[string]any

	Singleton       bool // at most one run that has not ended
	DeleteCompleted bool // a run that finished leaves no record
	Persistence     Persistence

	Activities []Activity
	Edges      []Edge // "connections" in the file

	ids   map[string]int // of Activities, the first of each id
	names map[string]int // the first of each name
	in    map[string][]int
	out   map[string][]int
}

// Persistence is when a run's state is saved. Every value also saves at the
// start, at a suspension, at a fault and at the end.
type Persistence string

// The moments. The zero Persistence is WorkflowBurst.
const (
	PersistSuspended     Persistence = "Suspended"
	PersistBurst         Persistence = "WorkflowBurst"
	PersistPassCompleted Persistence = "WorkflowPassCompleted"
	PersistActivity      Persistence = "ActivityExecuted"
)

// An Activity is one step.
type Activity struct {
	ID          string // unique in the file
	Type        string // exact, with case
	Name        string // the handle for expressions; "": none
	DisplayName string // for people
	Description string // for people; foreign files keep dead code and old credentials here: never evaluate
	X, Y        int    // where a designer draws it

	PersistWorkflow bool // save the run after this activity
	LoadContext     bool
	SaveContext     bool

	Properties []Property
	Storage    map[string]string // property: where it is kept (WorkflowInstance, Transient, BlobStorage)

	Activities []Activity // of a composite
	Edges      []Edge

	At Place // in the file
}

// Label is how people know the activity: its display name, its name or its type.
func (a *Activity) Label() string {
	for _, s := range []string{a.DisplayName, a.Name, a.Type} {
		if strings.TrimSpace(s) != "" {
			return s
		}
	}
	return a.ID
}

// Property returns the property of the name, nil if the file has none. Of
// several the last counts.
func (a *Activity) Property(name string) *Property {
	for i := len(a.Properties) - 1; i >= 0; i-- {
		if a.Properties[i].Name == name {
			return &a.Properties[i]
		}
	}
	return nil
}

// A Property is what a field of an activity is set to: one text for every
// syntax that its author ever typed, of which one is live.
type Property struct {
	Name        string
	Syntax      string            // "": the field's own default
	Expressions map[string]string // by syntax

	At Place
}

// Live returns the text that counts, where standard is the field's default
// syntax ("" for Literal). ok is false where the chosen syntax has no text:
// there is no falling back to another one.
func (p *Property) Live(standard string) (syntax, text string, ok bool) {
	syntax = p.Syntax
	if syntax == "" {
		syntax = standard
	}
	if syntax == "" {
		syntax = Literal
	}
	text, ok = p.Expressions[syntax]
	return syntax, text, ok
}

// The syntaxes.
const (
	Literal    = "Literal"
	JavaScript = "JavaScript"
	Liquid     = "Liquid"
	JSON       = "Json"
	Secret     = "Secret"
	Variable   = "Variable"
	Switch     = "Switch"
)

// An Edge leads from an outcome of an activity to the activity that follows.
type Edge struct {
	Source, Target string // ids of activities
	Outcome        string // as written; "" means Done

	At Place
}

// Done is the outcome of an edge that names none, and of most activities.
const Done = "Done"

// Is reports whether the edge belongs to the outcome. Names compare without
// case, as the platform compares them.
func (e *Edge) Is(outcome string) bool { return SameOutcome(e.Outcome, outcome) }

// SameOutcome compares names of outcomes: without case, "" being Done.
func SameOutcome(a, b string) bool {
	if a == "" {
		a = Done
	}
	if b == "" {
		b = Done
	}
	return strings.EqualFold(a, b)
}

// A Place is where in a file something stands. Line and Column count from 1,
// columns in characters; 0 is not known. Path is the way to it from the top:
// activities[3].properties[0].expressions.JavaScript.
type Place struct {
	Path   string `json:"path,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// Index makes lookups quick and drops edges that lead nowhere from them. Parse
// does it; who builds a Definition by hand calls it once before use.
func (d *Definition) Index() {
	d.ids, d.names = make(map[string]int, len(d.Activities)), map[string]int{}
	d.in, d.out = map[string][]int{}, map[string][]int{}
	for i := range d.Activities {
		a := &d.Activities[i]
		if _, ok := d.ids[a.ID]; !ok {
			d.ids[a.ID] = i
		}
		if _, ok := d.names[a.Name]; !ok && strings.TrimSpace(a.Name) != "" {
			d.names[a.Name] = i
		}
	}
	for i, e := range d.Edges {
		_, from := d.ids[e.Source]
		_, to := d.ids[e.Target]
		if from && to {
			d.out[e.Source] = append(d.out[e.Source], i)
			d.in[e.Target] = append(d.in[e.Target], i)
		}
	}
}

// Activity returns the activity of the id, the first if several have it; nil:
// there is none.
func (d *Definition) Activity(id string) *Activity {
	if i, ok := d.ids[id]; ok {
		return &d.Activities[i]
	}
	return nil
}

// ByName returns the first activity of the name; nil: there is none. A blank
// name names nothing.
func (d *Definition) ByName(name string) *Activity {
	if i, ok := d.names[name]; ok {
		return &d.Activities[i]
	}
	return nil
}

// Starts lists the activities that nothing leads to, in the order of the file.
// If something leads to each of them, the first is the start.
func (d *Definition) Starts() []*Activity {
	var out []*Activity
	for i := range d.Activities {
		a := &d.Activities[i]
		if d.ids[a.ID] == i && len(d.in[a.ID]) == 0 {
			out = append(out, a)
		}
	}
	if len(out) == 0 && len(d.Activities) > 0 {
		out = append(out, &d.Activities[0])
	}
	return out
}

// Inbound lists the edges that lead to an activity, in the order of the file.
// Edges whose source is not there are not among them.
func (d *Definition) Inbound(id string) []Edge { return d.edges(d.in[id]) }

// Outbound lists the edges of one outcome of an activity, in the order of the
// file. Edges whose target is not there are not among them.
func (d *Definition) Outbound(id, outcome string) []Edge {
	return slices.DeleteFunc(d.edges(d.out[id]), func(e Edge) bool { return !e.Is(outcome) })
}

// OutboundAll lists the edges of an activity, whatever their outcome.
func (d *Definition) OutboundAll(id string) []Edge { return d.edges(d.out[id]) }

func (d *Definition) edges(index []int) []Edge {
	out := make([]Edge, len(index))
	for i, n := range index {
		out[i] = d.Edges[n]
	}
	return out
}
