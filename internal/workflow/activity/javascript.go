package activity

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var runJavaScript = Spec{
	Type: "RunJavaScript", DisplayName: "Run JavaScript", Category: "Scripting",
	Summary: "Runs a script. Its value is the output; it may choose the outcomes.",
	Doc:     "`setOutcome(name)` and `setOutcomes([…])` choose what follows; a script that sets none leads to `Done`, one that sets some does not.",
	Fields: []Field{
		{Name: "Script", Kind: Code, Doc: "JavaScript; its last expression or what it returns is its value"},
		{Name: "PossibleOutcomes", Kind: Texts, Syntax: workflow.JSON, Doc: "for designers: what the script may set"},
	},
	Outcomes: []string{workflow.Done}, OutcomesOf: "PossibleOutcomes", AnyOutcome: true,
	Outputs:  []Output{{"Output", "the script's value"}},
	Examples: []Example{{Doc: "a value", In: `{"Script":"6*7"}`, Outcomes: []string{workflow.Done}, Out: `{"Output":42}`}},
	Run: func(ctx context.Context, c *Call) (Result, error) {
		v, outcomes, err := c.Run.Script(ctx, c.Text("Script"))
		if err != nil {
			return Result{}, err
		}
		return Result{Outcomes: outcomes, Outputs: map[string]any{"Output": v}}, nil
	},
}

var randomNumber = Spec{
	Type: "RandomNumberCreate", DisplayName: "Create Random Number", Category: primitives,
	Summary: "Makes a random whole number. It is not fit for secrets.",
	Fields: []Field{
		{Name: "MinValue", Kind: Int, Default: int64(0), Doc: "the least"},
		{Name: "MaxValue", Kind: Int, Default: int64(100), Doc: "the greatest"},
		{Name: "VariableName", Kind: Text, Doc: "a variable to set; blank: none"},
	},
	Outcomes: []string{workflow.Done},
	Outputs:  []Output{{"Output", "the number"}},
	Examples: []Example{
		{Doc: "the only one", In: `{"MinValue":7,"MaxValue":7,"VariableName":"n"}`, Out: `{"Output":7}`, Sets: `{"n":7}`},
		{Doc: "none", In: `{"MinValue":2,"MaxValue":1}`, Fault: "MinValue 2 is greater than MaxValue 1"},
	},
	Aliases: []string{"RandomNumber"},
	Run: func(_ context.Context, c *Call) (Result, error) {
		least, _ := c.Int("MinValue")
		most, _ := c.Int("MaxValue")
		if least > most {
			return Result{}, fmt.Errorf("MinValue %d is greater than MaxValue %d", least, most)
		}
		// The span may be all of uint64, for which there is no n+1.
		n := least
		if span := uint64(most) - uint64(least); span == ^uint64(0) {
			n = int64(rand.Uint64())
		} else {
			n += int64(rand.Uint64N(span + 1))
		}
		if name := c.Text("VariableName"); name != "" {
			c.Scope.SetVariable(name, n)
		}
		return Result{Outputs: map[string]any{"Output": n}}, nil
	},
}
