package activity

import (
	"context"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var compensable = Spec{
	Type: "Compensable", DisplayName: "Compensable", Category: controlFlow,
	Summary: "Runs the branch Body, and knows how to undo it.",
	Doc: "When a later activity fails, the branch `Compensate` runs if the body had ended, `Cancel` if the failure was in the body, and the run ends cancelled instead of faulted. " +
		"`Compensate` and `Confirm` activities take these branches on purpose.",
	Outcomes: []string{"Body", "Compensate", "Cancel", "Confirm", workflow.Done},
	Scope:    true,
	Examples: []Example{{Doc: "it begins with the body", Outcomes: []string{"Body"}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.Unwinding {
			res, err := done(c)
			res.Undo = Completed
			return res, err
		}
		return Result{Outcomes: []string{"Body"}, Enter: true, Undo: Entered}, nil
	},
}

var compensableName = []Field{{Name: "CompensableActivityName", Kind: Text, Required: true, Doc: "the name of the Compensable"}}

var compensate = Spec{
	Type: "Compensate", DisplayName: "Compensate", Category: controlFlow,
	Summary:  "Undoes what a Compensable did, by its branch Compensate.",
	Fields:   compensableName,
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "by name", In: `{"CompensableActivityName":"booking"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		return Result{}, c.Run.Compensate(c.Text("CompensableActivityName"), false)
	},
}

var confirm = Spec{
	Type: "Confirm", DisplayName: "Confirm", Category: controlFlow,
	Summary:  "Makes what a Compensable did final, and takes its branch Confirm.",
	Fields:   compensableName,
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "by name", In: `{"CompensableActivityName":"booking"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		return Result{}, c.Run.Compensate(c.Text("CompensableActivityName"), true)
	},
}

var state = Spec{
	Type: "State", DisplayName: "State", Category: controlFlow,
	Summary: "Puts the run into a state, which it leaves by one of several transitions.",
	Doc:     "Each transition usually leads to something that waits: a signal, a timer. Entering a state drops everything that the run waited for before.",
	Fields: []Field{
		{Name: "StateName", Kind: Text, Doc: "the state's name"},
		{Name: "Transitions", Kind: Texts, Syntax: workflow.JSON, Doc: "their names, each an outcome"},
	},
	OutcomesOf: "Transitions",
	Examples:   []Example{{Doc: "all at once", In: `{"StateName":"open","Transitions":["close","drop"]}`, Outcomes: []string{"drop", "close"}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Run.ForgetAll()
		out := c.Texts("Transitions")
		if out == nil {
			out = None
		}
		return Result{Outcomes: out, Message: c.Text("StateName"), Data: map[string]any{"State": c.Text("StateName")}}, nil
	},
}
