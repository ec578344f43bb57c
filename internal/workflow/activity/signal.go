package activity

import (
	"context"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var signalReceived = Spec{
	Type: "SignalReceived", DisplayName: "Signal Received", Category: "Workflows", Trigger: true,
	Summary: "Starts a run when a signal arrives; within a run it waits for one.",
	Fields: []Field{
		{Name: "Signal", Kind: Text, Required: true, Doc: "its name, compared without case"},
		{Name: "Scope", Kind: Enum, Options: []string{"Instance", "Global"}, Default: "Instance", Doc: "kept, not used: a signal says itself whom it is for"},
	},
	Outcomes: []string{workflow.Done},
	Outputs:  []Output{{"Output", "what the signal brought"}},
	Examples: []Example{
		{Doc: "it starts a run", In: `{"Signal":"go"}`, Input: `{"a":1}`, First: true, Outcomes: []string{workflow.Done}, Out: `{"Output":{"a":1}}`},
		{Doc: "later it waits", In: `{"Signal":"go"}`, Waits: WaitSignal, Outcomes: nil},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		switch {
		case c.Resume != nil:
			return Result{Outputs: map[string]any{"Output": c.Resume.Input}}, nil
		case c.First:
			return Result{Outputs: map[string]any{"Output": c.Input}}, nil
		}
		return Result{Suspend: &Bookmark{Kind: WaitSignal, Key: SignalKey(c.Text("Signal"))}, Message: "waits for the signal " + c.Text("Signal")}, nil
	},
}

// SignalKey is the key of the bookmarks of a signal.
func SignalKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

var sendSignal = Spec{
	Type: "SendSignal", DisplayName: "Send Signal", Category: "Workflows",
	Summary: "Sends a signal, when this run waits or ends, to all workflows and runs that receive it.",
	Fields: []Field{
		{Name: "Signal", Kind: Text, Required: true, Doc: "its name"},
		{Name: "CorrelationId", Kind: Text, Doc: "only for runs with this correlation id; blank: all"},
		{Name: "Input", Kind: Any, Doc: "what it brings"},
	},
	Outcomes: []string{workflow.Done},
	Acts:     true,
	Examples: []Example{{Doc: "to all", In: `{"Signal":"go","Input":1}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Run.Signal(Signal{Name: c.Text("Signal"), CorrelationID: c.Text("CorrelationId"), Input: c.Value("Input")})
		return Result{}, nil
	},
}

var interruptTrigger = Spec{
	Type: "InterruptTrigger", DisplayName: "Interrupt Trigger", Category: "Workflows",
	Summary: "Resumes an activity that a run waits in, as if what it waits for had come.",
	Fields: []Field{
		{Name: "WorkflowInstanceId", Kind: Text, Required: true, Doc: "the run"},
		{Name: "BlockingActivityId", Kind: Text, Required: true, Doc: "the activity's id or name"},
		{Name: "Input", Kind: Any, Doc: "what it gets"},
	},
	Outcomes: []string{workflow.Done, "Not Found"},
	Acts:     true,
	Examples: []Example{{Doc: "nobody waits there", In: `{"WorkflowInstanceId":"r","BlockingActivityId":"a"}`, Outcomes: []string{"Not Found"}}},
	Run: func(ctx context.Context, c *Call) (Result, error) {
		found, err := c.Run.Interrupt(ctx, c.Text("WorkflowInstanceId"), c.Text("BlockingActivityId"), c.Value("Input"))
		if err != nil || found {
			return Result{}, err
		}
		return Result{Outcomes: []string{"Not Found"}}, nil
	},
}
