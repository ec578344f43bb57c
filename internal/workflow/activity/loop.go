package activity

import (
	"context"
	"errors"

	"github.com/freshet-dev/freshet/internal/workflow"
)

const iterate = "Iterate"

// A loop is a scope that enters its body once a turn. Its count is in the state
// of its scope, which begins empty when the loop is come to anew.

func count(state map[string]any, key string) int64 {
	switch n := state[key].(type) {
	case int64:
		return n
	case int:
		return int64(n)
	case float64:
		return int64(n)
	}
	return 0
}

// turn enters the body with a value.
func turn(value any, index int64) Result {
	return Result{
		Enter: true,
		Schedule: []Scheduled{{Outcome: iterate, Input: value,
			Variables: map[string]any{"CurrentValue": value, "CurrentIndex": index}}},
		Outputs: map[string]any{"Output": value},
		Data:    map[string]any{"Current Index": index},
	}
}

// over ends a loop.
func over(c *Call) (Result, error) {
	data := map[string]any{"Completed": !c.Broken}
	if c.Broken {
		data["Break Condition"] = true
	}
	return Result{Outcomes: []string{workflow.Done}, Data: data}, nil
}

var forEach = Spec{
	Type: "ForEach", DisplayName: "For Each", Category: controlFlow,
	Summary:  "Runs the branch Iterate for each item of a list, one after the other, then Done.",
	Doc:      "The item is `input` of the first activity of the branch, `CurrentValue` and the activity's `Output`; `CurrentIndex` counts from 0. The list is evaluated again for each turn.",
	Fields:   []Field{{Name: "Items", Kind: List, Syntax: workflow.JSON, Doc: "the list"}},
	Outcomes: []string{iterate, workflow.Done},
	Outputs:  []Output{{"Output", "the item"}},
	Scope:    true, Loop: true,
	Examples: []Example{
		{Doc: "the first of two", In: `{"Items":["a","b"]}`, Outcomes: []string{iterate}, Out: `{"Output":"a"}`},
		{Doc: "nothing to do", In: `{"Items":[]}`, Outcomes: []string{workflow.Done}},
		{Doc: "no list", Outcomes: []string{workflow.Done}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		items, i := c.List("Items"), count(c.State, "index")
		if c.Broken || i >= int64(len(items)) {
			return over(c)
		}
		c.State["index"] = i + 1
		return turn(items[i], i), nil
	},
}

var forSpec = Spec{
	Type: "For", DisplayName: "For", Category: controlFlow,
	Summary: "Counts from Start to End and runs the branch Iterate for each number, then Done.",
	Doc:     "The number is `input` of the first activity of the branch, `CurrentValue` and the activity's `Output`.",
	Fields: []Field{
		{Name: "Start", Kind: Int, Default: int64(0), Doc: "the first number"},
		{Name: "End", Kind: Int, Default: int64(0), Doc: "what the number is compared with"},
		{Name: "Step", Kind: Int, Default: int64(1), Doc: "what is added after each turn"},
		{Name: "Operator", Kind: Enum, Options: []string{"LessThan", "LessThanOrEqual", "GreaterThan", "GreaterThanOrEqual"}, Default: "LessThan", Doc: "how it is compared"},
	},
	Outcomes: []string{iterate, workflow.Done},
	Outputs:  []Output{{"Output", "the number"}},
	Scope:    true, Loop: true,
	Examples: []Example{
		{Doc: "it begins at Start", In: `{"Start":3,"End":5}`, Outcomes: []string{iterate}, Out: `{"Output":3}`},
		{Doc: "End is not reached", In: `{"Start":5,"End":5}`, Outcomes: []string{workflow.Done}},
		{Doc: "unless it is", In: `{"Start":5,"End":5,"Operator":"GreaterThanOrEqual","Step":-1}`, Outcomes: []string{iterate}},
		{Doc: "a step of 0 would never end", In: `{"Start":1,"End":5,"Step":0}`, Fault: "Step is 0"},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		start, _ := c.Int("Start")
		end, _ := c.Int("End")
		step, _ := c.Int("Step")
		i, n := count(c.State, "index"), start
		if i > 0 {
			n = count(c.State, "value") + step
		}
		if c.Broken || !compare(n, end, c.Text("Operator")) {
			return over(c)
		}
		if step == 0 {
			return Result{}, errors.New("the loop would never end: Step is 0; give it a number to count by")
		}
		c.State["index"], c.State["value"] = i+1, n
		return turn(n, i), nil
	},
}

func compare(a, b int64, operator string) bool {
	switch operator {
	case "LessThanOrEqual":
		return a <= b
	case "GreaterThan":
		return a > b
	case "GreaterThanOrEqual":
		return a >= b
	}
	return a < b
}

var while = Spec{
	Type: "While", DisplayName: "While", Category: controlFlow,
	Summary:  "Runs the branch Iterate as long as a condition holds, then Done.",
	Fields:   []Field{{Name: "Condition", Kind: Bool, Default: false, Doc: "evaluated before each turn"}},
	Outcomes: []string{iterate, workflow.Done},
	Scope:    true, Loop: true,
	Examples: []Example{
		{Doc: "it holds", In: `{"Condition":true}`, Outcomes: []string{iterate}},
		{Doc: "it does not", In: `{"Condition":false}`, Outcomes: []string{workflow.Done}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.Broken || !c.Bool("Condition") {
			return over(c)
		}
		return Result{Enter: true, Outcomes: []string{iterate}}, nil
	},
}

var breakSpec = Spec{
	Type: "Break", DisplayName: "Break", Category: controlFlow,
	Summary:  "Ends the innermost For, ForEach or While before its next turn. The rest of this turn still runs.",
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "outside of a loop it does nothing", Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if !c.Run.Break() {
			return Result{Message: "no loop to break out of"}, nil
		}
		return Result{}, nil
	},
}

var parallelForEach = Spec{
	Type: "ParallelForEach", DisplayName: "Parallel For Each", Category: controlFlow,
	Summary:  "Schedules the branch Iterate for all items of a list at once, in order, then Done.",
	Doc:      "Each branch gets its item as `input` and nowhere else. A run is one thread: branches interleave, and never run at the same moment.",
	Fields:   []Field{{Name: "Items", Kind: List, Syntax: workflow.JSON, Doc: "the list"}},
	Outcomes: []string{iterate, workflow.Done},
	Examples: []Example{
		{Doc: "all at once", In: `{"Items":[1,2]}`, Outcomes: []string{iterate, iterate, workflow.Done}},
		{Doc: "nothing to do", In: `{"Items":[]}`, Outcomes: []string{workflow.Done}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		res := Result{Outcomes: []string{workflow.Done}}
		for _, item := range c.List("Items") {
			res.Schedule = append(res.Schedule, Scheduled{Outcome: iterate, Input: item})
		}
		return res, nil
	},
}
