package check

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/table/odata"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

// Types are the known activities; *activity.Registry is one.
type Types interface {
	Lookup(typ string) (*activity.Spec, bool)
	Like(typ string) string // a type that differs in case alone, or ""
}

// Options are what a Checker is made of. Types is required. What is nil is not
// known, and nothing is said about it.
type Options struct {
	Types   Types
	Compile func(syntax, text string) error      // nil: expr.Check
	Reads   func(syntax, text string) expr.Names // nil: expr.Reads

	Published  func(ctx context.Context, name string) bool                                    // a workflow of the name is published
	Columns    func(ctx context.Context, table string) (columns []string, ok bool, err error) // of a table; ok: there is one
	Secret     func(ctx context.Context, reference string) bool                               // Type:Name resolves
	Connection func(ctx context.Context, name string) bool                                    // there is one of the name

	// ID is that of the workflow of a name, "" if there is none yet.
	ID func(ctx context.Context, name string) string

	// More says what other packages know of a version: endpoints, triggers.
	More []func(ctx context.Context, v *workflow.Version) []workflow.Finding
}

// A Checker checks workflows. It is safe for concurrent use.
type Checker struct{ o Options }

// New returns a Checker.
func New(o Options) *Checker {
	if o.Compile == nil {
		o.Compile = expr.Check
	}
	if o.Reads == nil {
		o.Reads = expr.Reads
	}
	return &Checker{o}
}

// CheckWorkflow returns what there is to say of a workflow that is declared
// under a name. The error is that of a definition which does not read.
func (c *Checker) CheckWorkflow(ctx context.Context, name string, w *freshet.Workflow) ([]workflow.Finding, error) {
	d, findings, err := workflow.Parse([]byte(w.Definition.Reveal()))
	if err != nil {
		return nil, err
	}
	a, err := library.AttachmentsOf(w)
	if err != nil {
		return nil, err
	}
	v := &workflow.Version{Name: name, Definition: d, Attachments: a}
	if c.o.ID != nil {
		v.ID = c.o.ID(ctx, name)
	}
	return c.findings(ctx, v, findings), nil
}

// findings adds to what reading the file found what its meaning has to be said
// of, and puts everything in the order of the file.
func (c *Checker) findings(ctx context.Context, v *workflow.Version, found []workflow.Finding) []workflow.Finding {
	for i := range v.Definition.Activities {
		found = append(found, c.activity(ctx, &v.Definition.Activities[i])...)
	}
	found = append(found, c.edges(v.Definition)...)
	found = append(found, c.attachments(v)...)
	found = append(found, unreachable(v.Definition)...)
	for _, more := range c.o.More {
		for _, f := range more(ctx, v) {
			// Whoever serves it knows better than its text tells.
			found = slices.DeleteFunc(found, func(o workflow.Finding) bool {
				return o.ID == f.ID && (o.Code == "open-elsewhere" && o.Property == f.Property || o.Code == "endpoint-open" && f.Code == "endpoint-key")
			})
			found = append(found, f)
		}
	}
	slices.SortStableFunc(found, func(a, b workflow.Finding) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return found
}

func (c *Checker) activity(ctx context.Context, a *workflow.Activity) (out []workflow.Finding) {
	spec, known := c.o.Types.Lookup(a.Type)
	if !known && a.Type != "" {
		f := workflow.Finding{Severity: workflow.Warning, Code: "unknown-type", What: fmt.Sprintf("there is no activity of type %s here", a.Type),
			Why: "it is kept, and a run that reaches it faults", Do: "replace it by activities that are known (docs/activities.md)"}
		if like := c.o.Types.Like(a.Type); like != "" {
			f.Do = fmt.Sprintf("types are compared with case: did you mean %s?", like)
		}
		out = append(out, f.On(a))
	}
	for i := range a.Properties {
		p := &a.Properties[i]
		field, isField := activity.Field{}, false
		if spec != nil {
			field, isField = spec.Field(p.Name)
		}
		if known && !isField && len(p.Expressions) > 0 {
			out = append(out, workflow.Finding{Severity: workflow.Info, Code: "unknown-property", What: fmt.Sprintf("%s has no property %s here", a.Type, p.Name),
				Why: "it is kept, and not used"}.OnProperty(a, p))
			continue
		}
		syntax, text, ok := live(p, field)
		if !ok {
			if len(p.Expressions) > 0 && strings.TrimSpace(allTexts(p)) != "" {
				out = append(out, workflow.Finding{Severity: workflow.Info, Code: "no-live-text", What: fmt.Sprintf("the text in use is that for %s, and there is none", syntax),
					Why: "the property has its default; texts in other syntaxes do not count"}.OnProperty(a, p))
			}
			continue
		}
		if err := c.o.Compile(syntax, text); err != nil {
			f := workflow.Finding{Severity: workflow.Warning, Code: "does-not-compile", What: fmt.Sprintf("the %s does not compile: %s", syntax, oneLine(err)), Why: "a run that reaches it faults", Do: "correct the expression"}
			if syntax == workflow.JavaScript {
				f.Severity, f.Code = workflow.Error, "javascript"
			}
			out = append(out, f.OnProperty(a, p))
		}
		if p.Name == "Filter" && syntax == workflow.Literal {
			out = append(out, c.filter(ctx, a, p, text)...)
		}
	}
	for i := range a.Activities {
		out = append(out, c.activity(ctx, &a.Activities[i])...)
	}
	return out
}

// live is the text that counts and the syntax to read it by: a script that the
// activity runs itself is JavaScript wherever the file keeps it.
func live(p *workflow.Property, f activity.Field) (syntax, text string, ok bool) {
	syntax, text, ok = p.Live(f.Syntax)
	if f.Kind == activity.Code && syntax == workflow.Literal {
		syntax = workflow.JavaScript
	}
	return syntax, text, ok
}

func allTexts(p *workflow.Property) string {
	var b strings.Builder
	for _, t := range p.Expressions {
		b.WriteString(t)
	}
	return b.String()
}

func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// filter checks a condition over a table that is known.
func (c *Checker) filter(ctx context.Context, a *workflow.Activity, p *workflow.Property, text string) (out []workflow.Finding) {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	x, err := odata.Parse(text)
	if err != nil {
		return append(out, workflow.Finding{Severity: workflow.Warning, Code: "filter", What: "the filter does not read: " + oneLine(err), Why: "a run that reaches it faults", Do: "correct the filter"}.OnProperty(a, p))
	}
	table := literal(a, "ObjectType")
	if c.o.Columns == nil || table == "" {
		return nil
	}
	columns, ok, err := c.o.Columns(ctx, table)
	if err != nil || !ok {
		return nil // a table that is not there is said elsewhere
	}
	for _, name := range columnsOf(x) {
		if !hasColumn(columns, name) {
			out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "filter-column", What: fmt.Sprintf("the filter names the column %s, and the table %s has none of that name", name, table),
				Why: "a run that reaches it faults", Do: "its columns are " + strings.Join(columns, ", ")}.OnProperty(a, p))
		}
	}
	return out
}

// hasColumn knows the columns that every table has.
func hasColumn(columns []string, name string) bool {
	return name == "ObjectId" || name == "Title" || slices.Contains(columns, name)
}

// columnsOf lists the columns that a condition names, each once.
func columnsOf(x odata.Expr) (out []string) {
	var walk func(x odata.Expr)
	walk = func(x odata.Expr) {
		switch x := x.(type) {
		case *odata.Logic:
			for _, y := range x.Of {
				walk(y)
			}
		case *odata.Not:
			walk(x.X)
		case *odata.Compare:
			walk(x.L)
			walk(x.R)
		case *odata.In:
			walk(x.X)
		case *odata.Call:
			for _, a := range x.Args {
				walk(a)
			}
		case *odata.Column:
			if !slices.Contains(out, x.Name) {
				out = append(out, x.Name)
			}
		}
	}
	walk(x)
	return out
}

// literal is a property's text where it is a literal.
func literal(a *workflow.Activity, property string) string {
	p := a.Property(property)
	if p == nil || p.Syntax != "" && p.Syntax != workflow.Literal {
		return ""
	}
	return strings.TrimSpace(p.Expressions[workflow.Literal])
}

// edges checks the outcomes that connections name.
func (c *Checker) edges(d *workflow.Definition) (out []workflow.Finding) {
	for i := range d.Edges {
		e := &d.Edges[i]
		a := d.Activity(e.Source)
		if a == nil || d.Activity(e.Target) == nil {
			continue
		}
		spec, ok := c.o.Types.Lookup(a.Type)
		if !ok {
			continue
		}
		possible, open := outcomes(spec, a)
		if open || slices.ContainsFunc(possible, e.Is) || isStatus(spec, e.Outcome) {
			continue
		}
		f := workflow.Finding{Severity: workflow.Warning, Code: "outcome", Place: e.At,
			What: fmt.Sprintf("the connection to %q is for the outcome %q, which %s never has", d.Activity(e.Target).Label(), shownOutcome(e.Outcome), a.Type), Why: "it is never followed"}
		if len(possible) > 0 {
			f.Do = "its outcomes are " + strings.Join(possible, ", ")
		} else {
			f.Do = "nothing follows it: it ends the run"
		}
		out = append(out, f.On(a))
	}
	return out
}

func shownOutcome(o string) string {
	if o == "" {
		return workflow.Done
	}
	return o
}

// requestOutcomes are all that a request has beside statuses.
var requestOutcomes = []string{workflow.Done, "Unsupported Status Code", "Failed", "Needs Reauthorization", "Unavailable"}

// outcomes lists what an activity can end with. A request is open to any
// status, and to nothing else.
func outcomes(spec *activity.Spec, a *workflow.Activity) (possible []string, open bool) {
	possible, open = spec.Possible(a)
	if spec.OutcomesOf == "SupportedStatusCodes" {
		for _, o := range requestOutcomes {
			if !slices.Contains(possible, o) {
				possible = append(possible, o)
			}
		}
		return possible, false
	}
	return possible, open
}

func isStatus(spec *activity.Spec, outcome string) bool {
	n, err := strconv.Atoi(outcome)
	return spec.OutcomesOf == "SupportedStatusCodes" && err == nil && n >= 100 && n <= 599
}

// attachments checks what people added beside the file.
func (c *Checker) attachments(v *workflow.Version) (out []workflow.Finding) {
	bad := func(what string, text string) {
		if err := c.o.Compile(workflow.JavaScript, text); err != nil {
			out = append(out, workflow.Finding{Severity: workflow.Error, Code: "javascript", Place: workflow.Place{Line: 0}, What: fmt.Sprintf("%s is no JavaScript: %s", what, oneLine(err)), Do: "correct the expression"})
		}
	}
	for _, name := range sortedKeys(v.MapInput) {
		bad("map_input."+name, v.MapInput[name])
	}
	if v.Lock != "" {
		bad("lock", v.Lock)
	}
	return out
}

// unreachable finds activities that no start leads to: rings that nothing
// enters. Loops as such are legal.
func unreachable(d *workflow.Definition) (out []workflow.Finding) {
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, e := range d.OutboundAll(id) {
			visit(e.Target)
		}
	}
	for _, s := range d.Starts() {
		visit(s.ID)
	}
	for i := range d.Activities {
		a := &d.Activities[i]
		if !seen[a.ID] && d.Activity(a.ID) == a {
			out = append(out, workflow.Finding{Severity: workflow.Info, Code: "unreachable", What: "no start leads here", Why: "it never runs, unless a trigger begins with it"}.On(a))
		}
	}
	return out
}
