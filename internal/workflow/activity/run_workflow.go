package activity

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

const (
	notFound = "Not Found"
	childRun = "child"
)

// A ChildError says that a child that the run waited for did not finish.
type ChildError struct {
	Run, Name, Status string
	Fault             string // of the child
}

// Error names the child and says what happened to it.
func (e *ChildError) Error() string {
	s := fmt.Sprintf("Workflow %s %s", e.Run, e.Status)
	if e.Name != "" {
		s = fmt.Sprintf("Workflow %s (%s) %s", e.Run, e.Name, e.Status)
	}
	if e.Fault != "" {
		s += ": " + e.Fault
	}
	return s
}

var runWorkflow = Spec{
	Type: "RunWorkflow", DisplayName: "Run Workflow", Category: "Workflows",
	Summary: "Runs another published workflow.",
	Doc: "`Blocking` waits for its end, over a restart too, and takes the outcomes that it finished with, then `Done`. A child that faults or is cancelled, at once or later, faults this run. " +
		"`FireAndForget` runs the child to its first pause, `DispatchAndForget` leaves it to the background. " +
		"`Not Found` is the outcome where there is no published workflow of the id or name, and for the workflow itself: it does not call itself.",
	Fields: []Field{
		{Name: "WorkflowDefinitionId", Kind: Text, Doc: "the id, as getWorkflowDefinitionIdByName gives it, or the name"},
		{Name: "Input", Kind: Any, Doc: "the child's `input`; what is text stays text"},
		{Name: "PossibleOutcomes", Kind: Texts, Syntax: workflow.JSON, Doc: "for designers: what the child finishes with"},
		{Name: "Mode", Kind: Enum, Options: []string{string(DispatchAndForget), string(FireAndForget), string(Blocking)}, Default: string(DispatchAndForget), Doc: "how it waits"},
		{Name: "CorrelationId", Kind: Text, Doc: "of the child; blank: one of its own"},
		{Name: "ContextId", Kind: Text, Doc: "of the child"},
		{Name: "CustomAttributes", Kind: Map, Syntax: workflow.JSON, Doc: "kept with the child's start"},
		{Name: "RetryFailedActivities", Kind: Bool, Default: false, Doc: "when this step is retried, the failed child goes on instead of a new one"},
		{Name: "TenantId", Kind: Text, Doc: "kept, not used"},
	},
	Outcomes: []string{workflow.Done, notFound}, OutcomesOf: "PossibleOutcomes", AnyOutcome: true,
	Outputs: []Output{{"Output", "workflowOutput and workflowInstanceId of the child"}},
	Acts:    true,
	Examples: []Example{
		{Doc: "the child's outcome runs first", In: `{"WorkflowDefinitionId":"child","Mode":"Blocking"}`, Outcomes: []string{"success", workflow.Done}, Out: `{"Output":{"WorkflowOutput":"tok","WorkflowInstanceId":"r2"}}`},
		{Doc: "nothing there", In: `{"WorkflowDefinitionId":""}`, Outcomes: []string{notFound}},
	},
	Run: func(ctx context.Context, c *Call) (Result, error) {
		if c.Resume != nil {
			end, ok := c.Resume.Input.(ChildEnd)
			if !ok {
				return Result{}, fmt.Errorf("resumed with %T instead of how the child ended", c.Resume.Input)
			}
			return childEnded(c, end)
		}
		name := c.Text("WorkflowDefinitionId")
		if name == "" {
			return Result{Outcomes: []string{notFound}, Message: "no workflow is named"}, nil
		}
		start := ChildStart{
			Definition: name, Input: c.Value("Input"), CorrelationID: c.Text("CorrelationId"), ContextID: c.Text("ContextId"),
			Attributes: c.Map("CustomAttributes"), Mode: Mode(c.Text("Mode")),
		}
		if c.Bool("RetryFailedActivities") {
			start.Retry, _ = c.State[childRun].(string)
		}
		delete(c.State, childRun)
		end, err := c.Run.Child(ctx, start)
		if err != nil {
			return Result{}, err
		}
		if !end.Found {
			return Result{Outcomes: []string{notFound}, Message: fmt.Sprintf("no published workflow %q that may be called from here", name)}, nil
		}
		data := map[string]any{"Workflow Blueprint ID": name, "Child Workflow Instance ID": end.RunID, "Workflow Instance Status": end.Status}
		if start.Mode != Blocking {
			return Result{Outputs: childOutput(end), Data: data}, nil
		}
		if end.Status == "suspended" || end.Status == "idle" || end.Status == "running" {
			return Result{Suspend: &Bookmark{Kind: WaitChild, Key: end.RunID}, Outputs: childOutput(end), Message: "waits for " + end.RunID, Data: data}, nil
		}
		return childEnded(c, end)
	},
}

func childOutput(end ChildEnd) map[string]any {
	return map[string]any{"Output": model.ChildResult{WorkflowOutput: end.Output, WorkflowInstanceID: end.RunID}.Object()}
}

func childEnded(c *Call, end ChildEnd) (Result, error) {
	if end.Status != "finished" {
		c.State[childRun] = end.RunID
		return Result{}, &ChildError{Run: end.RunID, Name: end.Name, Status: end.Status, Fault: end.Fault}
	}
	res := Result{Outcomes: []string{workflow.Done}, Outputs: childOutput(end), Data: map[string]any{"Child Workflow Instance ID": end.RunID, "Workflow Instance Status": end.Status}}
	for _, o := range end.Outcomes {
		if !workflow.SameOutcome(o, workflow.Done) {
			res.Outcomes = append(res.Outcomes, o)
		}
	}
	return res, nil
}

// A Remover deletes runs that are over, or that wait if the filter says so. It
// never deletes what still has something waiting for it: the calling run and
// those above it.
type Remover interface {
	RemoveRuns(ctx context.Context, f Removal) (int, error)
}

// A Removal says which runs go.
type Removal struct {
	Caller   string // the run that asks; it and those above it stay
	Workflow string // name or definition id; "": of every workflow
	Versions string // All, Keep current, Custom
	Version  int    // of Custom
	Keep     int    // the newest ones stay, counted for each workflow
	Before   time.Time
	// Also those that have not ended; they are cancelled first.
	Idle, Suspended, Running bool
}

func removeRuns(r Remover) Spec {
	return Spec{
		Type: "RemoveWorkflowInstances", DisplayName: "Clear Workflow Instances", Category: "Workflows",
		Summary: "Deletes the records of earlier runs. The run that does so, and those that wait for it, stay.",
		Fields: []Field{
			{Name: "WorkflowDefinitionName", Kind: Text, Doc: "the name or id of a workflow, or All; blank: this one"},
			{Name: "VersionSelection", Kind: Enum, Options: []string{"All", "Keep current", "Custom"}, Default: "All", Doc: "of which versions"},
			{Name: "CustomVersion", Kind: Int, Doc: "for Custom"},
			{Name: "InstanceRetention", Kind: Int, Default: int64(0), Doc: "how many of the newest stay"},
			{Name: "DateSelection", Kind: Any, Doc: "only runs that began before this instant; blank: all"},
			{Name: "IncludeIdle", Kind: Bool, Default: false, Doc: "also runs that have not begun"},
			{Name: "IncludeSuspended", Kind: Bool, Default: false, Doc: "also runs that wait; they are cancelled"},
			{Name: "IncludeRunning", Kind: Bool, Default: false, Doc: "also runs that are running; they are cancelled"},
		},
		Outcomes: []string{"Success", "Faulted"},
		Outputs:  []Output{{"Count", "how many were deleted"}, {"FailReason", "why it failed"}},
		Acts:     true,
		Examples: []Example{
			{Doc: "all but the ten newest", In: `{"WorkflowDefinitionName":"Nightly","InstanceRetention":10}`, Outcomes: []string{"Success"}, Out: `{"Count":3}`},
			{Doc: "what is no date", In: `{"WorkflowDefinitionName":"Nightly","DateSelection":"yesterday"}`, Outcomes: []string{"Faulted"}},
		},
		Run: func(ctx context.Context, c *Call) (Result, error) {
			f := Removal{
				Caller: c.Run.ID(), Workflow: c.Text("WorkflowDefinitionName"), Versions: c.Text("VersionSelection"),
				Idle: c.Bool("IncludeIdle"), Suspended: c.Bool("IncludeSuspended"), Running: c.Bool("IncludeRunning"),
			}
			switch f.Workflow {
			case "":
				f.Workflow = c.Run.Definition().ID
			case "All":
				f.Workflow = ""
			}
			if n, ok := c.Int("CustomVersion"); ok {
				f.Version = int(n)
			}
			if n, ok := c.Int("InstanceRetention"); ok && n > 0 {
				f.Keep = int(n)
			}
			var err error
			if text := Format(c.Value("DateSelection")); text != "" && text != "All" {
				f.Before, err = ParseInstant(c.Value("DateSelection"))
			}
			var n int
			if err == nil {
				n, err = r.RemoveRuns(ctx, f)
			}
			if err != nil {
				return Result{Outcomes: []string{"Faulted"}, Message: err.Error(), Outputs: map[string]any{"FailReason": err.Error(), "Count": int64(n)}}, nil
			}
			return Result{Outcomes: []string{"Success"}, Message: fmt.Sprintf("%d runs removed", n), Outputs: map[string]any{"Count": int64(n)}}, nil
		},
	}
}

// Workflows are the activities that start other workflows and clear their runs.
func Workflows(r Remover) []Spec { return []Spec{runWorkflow, removeRuns(r)} }
