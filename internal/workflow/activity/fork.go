package activity

import (
	"context"
	"slices"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var fork = Spec{
	Type: "Fork", DisplayName: "Fork", Category: controlFlow,
	Summary:    "Takes several branches. The first runs first.",
	Fields:     []Field{{Name: "Branches", Kind: Texts, Syntax: workflow.JSON, Doc: "their names, each an outcome"}},
	OutcomesOf: "Branches",
	Examples: []Example{
		{Doc: "in their order", In: `{"Branches":["left","right"]}`, Outcomes: []string{"left", "right"}},
		{Doc: "none", In: `{"Branches":[]}`, Outcomes: nil},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		branches := slices.Clone(c.Texts("Branches"))
		slices.Reverse(branches) // the last pushed runs first
		if branches == nil {
			branches = None
		}
		return Result{Outcomes: branches}, nil
	},
}

const (
	arrived = "arrived"
	round   = "round"
)

var join = Spec{
	Type: "Join", DisplayName: "Join", Category: controlFlow,
	Summary: "Goes on when all branches that lead to it have arrived, or any.",
	Doc: "A branch has arrived when the activity before the join was executed, whatever outcome it took. With `WaitAny` the first branch goes on; what other branches wait for is dropped, and those that still arrive end here. " +
		"With `EagerJoin` the join also goes on when the branch that it waited for last took another outcome.",
	Fields: []Field{
		{Name: "EagerJoin", Kind: Bool, Default: false, Doc: "look whenever a branch arrives"},
		{Name: "Mode", Kind: Enum, Options: []string{"WaitAll", "WaitAny"}, Default: "WaitAll", Doc: "for how many"},
	},
	Outcomes: []string{workflow.Done},
	Join:     true,
	Examples: []Example{{Doc: "nothing leads to it", Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		have := keys(c.State[arrived])
		news := map[string]any{}
		for _, k := range c.Arrived {
			news[k] = true
		}
		if c.Text("Mode") == "WaitAny" {
			return joinAny(c, news), nil
		}
		for k := range news {
			have[k] = true
		}
		for _, k := range c.Inbound {
			if have[k] == nil {
				c.State[arrived] = have
				return Result{Outcomes: None, Message: "waits for the other branches"}, nil
			}
		}
		delete(c.State, arrived)
		c.Run.ForgetInbound()
		return Result{}, nil
	},
}

// joinAny goes on with the first branch of a round. A round is over when all
// branches have arrived, or one arrives for the second time.
func joinAny(c *Call, news map[string]any) Result {
	seen := keys(c.State[round])
	first := len(seen) == 0
	for k := range news {
		if seen[k] != nil {
			first = true
		}
	}
	if first {
		seen = map[string]any{}
	}
	for k := range news {
		seen[k] = true
	}
	if c.State[round] = seen; len(seen) >= len(c.Inbound) {
		delete(c.State, round)
	}
	if !first {
		return Result{Outcomes: None, Message: "another branch was here before"}
	}
	c.Run.ForgetInbound()
	return Result{}
}

func keys(v any) map[string]any {
	if m, ok := v.(map[string]any); ok {
		return m
	}
	return map[string]any{}
}
