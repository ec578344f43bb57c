package activity

import (
	"context"

	"github.com/freshet-dev/freshet/internal/workflow"
)

const primitives = "Primitives"

var setVariable = Spec{
	Type: "SetVariable", DisplayName: "Set Variable", Category: primitives,
	Summary: "Sets a variable of the run.",
	Fields: []Field{
		{Name: "VariableName", Kind: Text, Required: true, Doc: "its name, with case"},
		{Name: "Value", Kind: Any, Doc: "its value; a literal is text"},
	},
	Outcomes: []string{workflow.Done},
	Examples: []Example{
		{Doc: "text", In: `{"VariableName":"api","Value":"/me"}`, Sets: `{"api":"/me"}`, Outcomes: []string{workflow.Done}},
		{Doc: "nothing", In: `{"VariableName":"api"}`, Sets: `{"api":null}`},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Scope.SetVariable(c.Text("VariableName"), c.Value("Value"))
		return Result{}, nil
	},
}

var setTransientVariable = Spec{
	Type: "SetTransientVariable", DisplayName: "Set Transient Variable", Category: primitives,
	Summary:  "Sets a variable that is never stored: it is gone when the run waits or ends.",
	Fields:   setVariable.Fields,
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "not an ordinary variable", In: `{"VariableName":"api","Value":"/me"}`, Sets: `{}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Scope.SetTransientVariable(c.Text("VariableName"), c.Value("Value"))
		return Result{}, nil
	},
}

var setName = Spec{
	Type: "SetName", DisplayName: "Set Name", Category: primitives,
	Summary:  "Names the run.",
	Fields:   []Field{{Name: "Value", Kind: Text, Doc: "the name"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "a name", In: `{"Value":"nightly"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Run.SetName(c.Text("Value"))
		return Result{Message: c.Text("Value")}, nil
	},
}

var setContextID = Spec{
	Type: "SetContextId", DisplayName: "Set Context ID", Category: primitives,
	Summary:  "Says which object the run is about.",
	Fields:   []Field{{Name: "ContextId", Kind: Text, Doc: "its id"}, {Name: "ContextType", Kind: Text, Doc: "kept, not used"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "an id", In: `{"ContextId":"42"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		c.Run.SetContextID(c.Text("ContextId"))
		return Result{}, nil
	},
}

var correlate = Spec{
	Type: "Correlate", DisplayName: "Correlate", Category: primitives,
	Summary:  "Sets the run's correlation id, which is shown in the list of runs: a line of progress.",
	Fields:   []Field{{Name: "Value", Kind: Text, Doc: "any text"}},
	Outcomes: []string{workflow.Done},
	Outputs:  []Output{{"Output", "the text"}},
	Examples: []Example{{Doc: "progress", In: `{"Value":"starting to get access token"}`, Outcomes: []string{workflow.Done}, Out: `{"Output":"starting to get access token"}`}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		text := c.Text("Value")
		c.Run.Correlate(text)
		return Result{Message: text, Outputs: map[string]any{"Output": text}, Data: map[string]any{"Correlation ID": text}}, nil
	},
}

var fault = Spec{
	Type: "Fault", DisplayName: "Fault", Category: primitives,
	Summary:  "Ends the run as faulted.",
	Fields:   []Field{{Name: "Message", Kind: Text, Default: "Custom fault", Doc: "what people read"}},
	Examples: []Example{{Doc: "a message", In: `{"Message":"no such customer"}`, Fault: "no such customer"}, {Doc: "none", Fault: "Custom fault"}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		return Result{}, &Fault{Message: c.Text("Message")}
	},
}

var writeLine = Spec{
	Type: "WriteLine", DisplayName: "Write Line", Category: "Console",
	Summary:  "Writes a line into the run's journal.",
	Fields:   []Field{{Name: "Text", Kind: Text, Doc: "the line"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "a line", In: `{"Text":"here"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		return Result{Message: c.Text("Text"), Data: map[string]any{"Text": c.Text("Text")}}, nil
	},
}

// Primitives are activities on the run itself, scripts and the journal.
func Primitives() []Spec {
	return []Spec{setVariable, setTransientVariable, setName, setContextID, correlate, fault, writeLine, runJavaScript, randomNumber, signalReceived, sendSignal, interruptTrigger}
}
