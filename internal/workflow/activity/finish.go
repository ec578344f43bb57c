package activity

import (
	"context"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var finish = Spec{
	Type: "Finish", DisplayName: "Finish", Category: controlFlow,
	Summary: "Ends the run with an output and outcomes. Nothing else of the run is executed.",
	Doc:     "An HTTP caller and a parent workflow get the output; a parent takes the outcomes, each of which is one of its `RunWorkflow`. A run with the outcome `error` counts as failed for HTTP callers and for `freshet run`.",
	Fields: []Field{
		{Name: "ActivityOutput", Kind: Any, Doc: "the output"},
		{Name: "OutcomeNames", Kind: Texts, Syntax: workflow.JSON, Default: []any{workflow.Done}, Doc: "the outcomes"},
	},
	Outputs: []Output{{"Output", "the output"}},
	Examples: []Example{
		{Doc: "with data", In: `{"ActivityOutput":{"a":1},"OutcomeNames":["success"]}`, Out: `{"Output":{"a":1}}`, Outcomes: []string{}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		out := c.Value("ActivityOutput")
		return Result{Finish: &Finish{Output: out, Outcomes: c.Texts("OutcomeNames")}, Outputs: map[string]any{"Output": out}}, nil
	},
}

// Control is the control flow.
func Control() []Spec {
	return []Spec{ifSpec, switchSpec, forEach, forSpec, while, breakSpec, parallelForEach, fork, join, finish,
		compensable, compensate, confirm, state}
}
