package expr

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

//go:embed prelude.js
var prelude string

//go:embed instants.js
var instants string

// instantNames are the globals that instants.js defines.
const instantNames = `currentInstant currentYear startOfMonth endOfMonth startOfPreviousMonth instantFromDateTimeUtc instantFromUtc plus minus addDurationTo
	subtractDurationFrom durationFromSeconds durationFromMinutes durationFromHours durationFromDays durationBetween localDateFromInstant
	instantFromLocalDate periodFromNow formatInstant Instant Duration Period LocalDate LocalTime LocalDateTime Guid Encoding`

// Prelude is all of it in one, for an engine of few runs.
func Prelude() string {
	return "(function (kernel) { (" + prelude + ")(kernel); (" + instants + ")(kernel) })"
}

// ScriptOptions returns o with what expressions find in a machine: the engine of
// an [Evaluator] is script.New(expr.ScriptOptions(script.Options{…})).
func ScriptOptions(o script.Options) script.Options {
	o.Prelude = prelude
	o.Extras = []script.Extra{{Names: strings.Fields(instantNames), Source: instants}}
	return o
}

// Options are what an Evaluator works with.
type Options struct {
	// Engine runs JavaScript; it was made with [ScriptOptions]. Nil: refused.
	// It stays the caller's to close.
	Engine   *script.Engine
	Services Services

	ScriptTime time.Duration    // of a RunJavaScript's code; 0 is 2 s. Other expressions have the engine's own limit
	Now        func() time.Time // for templates; nil is time.Now
}

// An Evaluator evaluates expressions. It is safe for concurrent use.
type Evaluator struct {
	options   Options
	templates templates
}

// New returns an Evaluator.
func New(o Options) *Evaluator {
	if o.ScriptTime == 0 {
		o.ScriptTime = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Evaluator{options: o}
}

// opened is the machine that the evaluations of one burst share.
type opened struct {
	mu      sync.Mutex
	session *script.Session
}

type openedKey struct{}

// Open makes the evaluations under the returned context share one virtual
// machine, which no other run ever uses, until close is called: one call for
// each burst of a run. It costs nothing until the first script. Without it each
// script takes a machine of its own. A child run opens its own.
func (e *Evaluator) Open(ctx context.Context) (context.Context, func()) {
	if e.options.Engine == nil {
		return ctx, func() {}
	}
	o := &opened{session: e.options.Engine.Open()}
	return context.WithValue(ctx, openedKey{}, o), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.session.Close()
	}
}

// Property evaluates the live expression of a property (nil: the file has none)
// and converts it to what the field takes. A nil value means that the field's
// default applies. Errors name the activity's type and the property.
func (e *Evaluator) Property(ctx context.Context, s Scope, p *workflow.Property, f Field) (any, error) {
	if p == nil {
		return nil, nil
	}
	syntax, text, ok := p.Live(f.Syntax)
	if !ok {
		return nil, nil
	}
	if f.Kind == Code {
		// The activity evaluates it itself; once is enough.
		return text, nil
	}
	v, err := e.Eval(ctx, s, syntax, text, f)
	if err != nil {
		return nil, err
	}
	return Convert(v, f)
}

// Eval evaluates a text in a syntax, without converting the value, but that of
// JSON and literals depends on what the field takes. The error names the
// activity's type, the property and the syntax.
func (e *Evaluator) Eval(ctx context.Context, s Scope, syntax, text string, f Field) (any, error) {
	v, err := e.eval(ctx, s, syntax, text, f)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, &Error{Activity: f.Activity, Property: f.Name, Syntax: syntax, Err: err}
	}
	return v, nil
}

func (e *Evaluator) eval(ctx context.Context, s Scope, syntax, text string, f Field) (any, error) {
	switch syntax {
	case workflow.Literal, "", "SQL":
		return literal(text, f), nil
	case workflow.JavaScript:
		v, _, err := e.script(ctx, s, text, false)
		return v, err
	case workflow.Liquid:
		return e.liquid(ctx, s, text, f)
	case workflow.JSON:
		if strings.TrimSpace(text) == "" {
			return nil, nil
		}
		v, err := model.ParseJSON([]byte(text))
		return model.Plain(v), err
	case workflow.Secret:
		return e.secret(ctx, s, text)
	case workflow.Variable:
		v, _ := s.Variable(strings.TrimSpace(text))
		return v, nil
	case workflow.Switch:
		return e.cases(ctx, s, text, f)
	case "Output":
		return output(s, text)
	}
	return nil, fmt.Errorf("nothing here evaluates the syntax %q; use Literal, JavaScript, Liquid, Json, Secret or Variable", syntax)
}

// literal is the text itself; a blank one is no value for anything but text.
func literal(text string, f Field) any {
	switch f.Kind {
	case Any, Text, URL, Code:
		return text
	}
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return text
}

// Script runs the code of a RunJavaScript activity: its value, and the outcomes
// it set, nil if it set none.
func (e *Evaluator) Script(ctx context.Context, s Scope, code string) (any, []string, error) {
	v, outcomes, err := e.script(ctx, s, code, true)
	if err != nil && ctx.Err() == nil {
		err = &Error{Activity: "RunJavaScript", Property: "Script", Syntax: workflow.JavaScript, Err: err}
	}
	return v, outcomes, err
}

// ErrNoScripts is the answer of an evaluator without an engine.
var ErrNoScripts = errors.New("JavaScript is switched off")

func (e *Evaluator) script(ctx context.Context, s Scope, text string, outcomes bool) (any, []string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil, nil
	}
	if e.options.Engine == nil {
		return nil, nil, ErrNoScripts
	}
	p, err := e.options.Engine.Prepare(text)
	if err != nil {
		return nil, nil, err
	}
	w := &world{evaluator: e, scope: s, script: outcomes}
	limit := time.Duration(0)
	if outcomes {
		limit = e.options.ScriptTime
	}
	if o, ok := ctx.Value(openedKey{}).(*opened); ok && o.mu.TryLock() {
		defer o.mu.Unlock()
		if v, err := o.session.Eval(ctx, p, w, limit); !errors.Is(err, script.ErrClosed) {
			return v, w.outcomes, err
		}
	}
	one := e.options.Engine.Open()
	defer one.Close()
	v, err := one.Eval(ctx, p, w, limit)
	return v, w.outcomes, err
}

// secret resolves a reference. The designer of the platform stores "empty" for
// none.
func (e *Evaluator) secret(ctx context.Context, s Scope, text string) (any, error) {
	ref := strings.TrimSpace(text)
	if ref == "" || ref == "empty" {
		return nil, nil
	}
	if e.options.Services.Secret == nil {
		return nil, fmt.Errorf("the secret %q is asked for, but no secrets are stored here", ref)
	}
	typ, name, ok := strings.Cut(ref, ":")
	if !ok {
		typ, name = "", ref
	}
	v, ok, err := e.options.Services.Secret(ctx, typ, name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", ref, err)
	}
	if !ok {
		e.warn(ctx, s, fmt.Sprintf("nothing is bound to the secret %q: the property has no value", ref))
		return nil, nil
	}
	if v.IsZero() {
		return nil, nil
	}
	return v, nil
}

func (e *Evaluator) warn(ctx context.Context, s Scope, what string) {
	if e.options.Services.Warn != nil {
		e.options.Services.Warn(ctx, s, what)
	}
}

// A switchCase is one entry of the text of a Switch's cases.
type switchCase struct {
	Name        string            `json:"name"`
	Expressions map[string]string `json:"expressions"`
	Syntax      string            `json:"syntax"`
}

// live is the case's expression: of its syntax, else of the only one it has.
func (c *switchCase) live() (syntax, text string) {
	delete(c.Expressions, "$id")
	if c.Syntax != "" {
		return c.Syntax, c.Expressions[c.Syntax]
	}
	for _, syntax := range []string{workflow.JavaScript, workflow.Liquid, workflow.Literal} {
		if text, ok := c.Expressions[syntax]; ok {
			return syntax, text
		}
	}
	return workflow.Literal, ""
}

func parseCases(text string) ([]switchCase, error) {
	var cases []switchCase
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &cases); err != nil {
		return nil, fmt.Errorf("the cases are no list of {name, syntax, expressions}: %w", err)
	}
	return cases, nil
}

// cases evaluates every case. An error in one is a case that is not met, as the
// platform has it; the journal is told.
func (e *Evaluator) cases(ctx context.Context, s Scope, text string, f Field) (any, error) {
	list, err := parseCases(text)
	if err != nil {
		return nil, err
	}
	out := make([]Case, 0, len(list))
	for i := range list {
		syntax, text := list[i].live()
		boolean := Field{Activity: f.Activity, Name: f.Name, Kind: Bool}
		v, err := e.eval(ctx, s, syntax, text, boolean)
		if err == nil {
			v, err = Convert(v, boolean)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			e.warn(ctx, s, fmt.Sprintf("the case %q counts as not met: %v", list[i].Name, err))
		}
		met, _ := v.(bool)
		out = append(out, Case{Name: list[i].Name, Met: met && err == nil})
	}
	return out, nil
}

// output reads NAME.PROP or NAME:PROP.
func output(s Scope, text string) (any, error) {
	i := strings.LastIndexAny(text, ".:")
	if i < 0 {
		return nil, fmt.Errorf("%q names no output; write ACTIVITY.OUTPUT", text)
	}
	a, ok := s.Activity(strings.TrimSpace(text[:i]))
	if !ok {
		return nil, fmt.Errorf("there is no activity %q", text[:i])
	}
	return outputOf(a, strings.TrimSpace(text[i+1:])), nil
}

// outputOf finds an output with either case of its first letter; nil if the
// activity has not run, or has none of the name.
func outputOf(a *ActivityState, name string) any {
	if v, ok := a.Outputs[name]; ok {
		return v
	}
	return a.Outputs[model.SwapFirst(name)]
}

// An Error says which property could not be evaluated, and why.
type Error struct {
	Activity, Property string
	Syntax             string
	Err                error
}

// Error returns "setting `TYPE.PROPERTY`: SYNTAX: CAUSE".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Activity != "" {
		fmt.Fprintf(&b, "setting `%s.%s`: ", e.Activity, e.Property)
	}
	if e.Syntax != "" && e.Syntax != workflow.Literal {
		b.WriteString(e.Syntax + ": ")
	}
	return b.String() + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
