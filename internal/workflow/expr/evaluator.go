package expr

import (
	"context"
	"errors"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
)

// Options are what an Evaluator works with.
type Options struct {
	Engine   *script.Engine // JavaScript; nil: refused
	Services Services
}

// An Evaluator evaluates expressions. It is safe for concurrent use.
type Evaluator struct {
	options Options
}

// New returns an Evaluator.
func New(o Options) *Evaluator { return &Evaluator{options: o} }

// Open makes the evaluations under the returned context share one virtual
// machine, which no other run ever uses, until close is called: one call for
// each burst of a run. It costs nothing until the first script. Without it each
// script takes a machine of its own. Evaluations under one opened context
// follow each other; a child run opens its own.
func (e *Evaluator) Open(ctx context.Context) (opened context.Context, close func()) {
	return ctx, func() {}
}

// Property evaluates the live expression of a property (nil: the file has none)
// and converts it to what the field takes. A nil value means that the field's
// default applies. Errors name the activity's type and the property.
func (e *Evaluator) Property(ctx context.Context, s Scope, p *workflow.Property, f Field) (any, error) {
	return nil, errors.New("not yet")
}

// Eval evaluates a text in a syntax, without converting the value.
func (e *Evaluator) Eval(ctx context.Context, s Scope, syntax, text string, f Field) (any, error) {
	return nil, errors.New("not yet")
}

// Script runs the code of a RunJavaScript activity: its value, and the outcomes
// it set, nil if it set none.
func (e *Evaluator) Script(ctx context.Context, s Scope, code string) (value any, outcomes []string, err error) {
	return nil, nil, errors.New("not yet")
}

// Convert converts a value to what the field takes. The error names the
// activity's type and the property.
func Convert(v any, f Field) (any, error) { return nil, errors.New("not yet") }

// Check reports whether a text compiles in a syntax, without evaluating it.
func Check(syntax, text string) error { return errors.New("not yet") }

func encodingFor(property, contentType string) Encoding { return Raw }

// Names are what a text reads and sets, as far as that can be told without
// evaluating it. Each list is sorted and has no name twice.
type Names struct {
	Variables  []string // read: getVariable("x"), Variables.x, a variable's name as a plain global (best effort)
	Sets       []string // setVariable("x", …)
	Transients []string // getTransientVariable("x")
	Activities []string // activities.NAME, Activities.NAME, getActivity("NAME") …
	Input      []string // input.x: the members of the input
	WholeInput bool     // the input is used beyond members that could be named
	Secrets    []string // references Type:Name
	Keys       []string // the values of Key eq '…' in a filter
	Workflows  []string // getWorkflowDefinitionIdByName('…'), 'NAME' | workflow_definition_id
	Tags       []string // the same by tag
	Outcomes   []string // setOutcome("x")
	Fields     []string // processField("INSTANCE", "FIELD"), as INSTANCE.FIELD
}

// Reads tells what a text reads and sets.
func Reads(syntax, text string) Names { return Names{} }
