package activity

import (
	"context"

	"github.com/freshet-dev/freshet/internal/workflow"
)

const (
	controlFlow = "Control flow"
	unwinding   = "Unwinding"
)

// done is the result of a scope whose branch has ended.
func done(c *Call) (Result, error) {
	return Result{Outcomes: []string{workflow.Done}, Data: map[string]any{unwinding: c.Unwinding}}, nil
}

var ifSpec = Spec{
	Type: "If", DisplayName: "If", Category: controlFlow, Summary: "Takes the branch True or False, and Done when that branch has ended.",
	Fields:   []Field{{Name: "Condition", Kind: Bool, Default: false, Doc: "what decides"}},
	Outcomes: []string{"True", "False", workflow.Done},
	Scope:    true,
	Examples: []Example{
		{Doc: "it holds", In: `{"Condition":true}`, Outcomes: []string{"True"}},
		{Doc: "it does not", In: `{"Condition":false}`, Outcomes: []string{"False"}},
		{Doc: "no condition is false", Outcomes: []string{"False"}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.Unwinding {
			return done(c)
		}
		outcome := "False"
		if c.Bool("Condition") {
			outcome = "True"
		}
		return Result{Outcomes: []string{outcome}, Enter: true}, nil
	},
}

var switchSpec = Spec{
	Type: "Switch", DisplayName: "Switch", Category: controlFlow, Summary: "Takes the branch of the case that holds, or Default, and Done when the branch has ended.",
	Fields: []Field{
		{Name: "Cases", Kind: Cases, Syntax: workflow.Switch, Doc: "conditions with names; one that fails counts as not met"},
		{Name: "Mode", Kind: Enum, Options: []string{"MatchFirst", "MatchAny"}, Default: "MatchFirst", Doc: "whether the first case counts that holds, or each"},
	},
	Outcomes: []string{"Default", workflow.Done}, OutcomesOf: "Cases",
	Scope: true,
	Examples: []Example{
		{Doc: "the first", In: `{"Cases":["small","odd"]}`, Outcomes: []string{"small"}},
		{Doc: "each, of which the last runs first", In: `{"Cases":["small","odd"],"Mode":"MatchAny"}`, Outcomes: []string{"odd", "small"}},
		{Doc: "none", In: `{"Cases":[]}`, Outcomes: []string{"Default"}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.Unwinding {
			return done(c)
		}
		met := c.Texts("Cases")
		res := Result{Enter: true, Data: map[string]any{"Matches": met}}
		switch {
		case len(met) == 0:
			res.Outcomes = []string{"Default"}
		case c.Text("Mode") == "MatchAny":
			res.Outcomes = met
		default:
			res.Outcomes = met[:1]
		}
		return res, nil
	},
}
