package expr

import (
	"context"

	freshet "github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A Scope is what an expression sees of its run. The engine implements it; its
// methods are called from the evaluation's own goroutine, one at a time.
// Values are those of a run, as package model lists them; what a Scope returns
// is not changed by the evaluator, and what it is given is its own.
type Scope interface {
	Input() any

	// Variable returns a variable, ok false if there is none of the name.
	Variable(name string) (v any, ok bool)
	SetVariable(name string, v any)
	// Variables are all variables as reads see them, loop scopes merged in.
	// They are read, not kept.
	Variables() map[string]any

	TransientVariable(name string) (v any, ok bool)
	SetTransientVariable(name string, v any)

	// Activity finds an activity of the definition by its name, else by its id.
	Activity(nameOrID string) (*ActivityState, bool)
	// ActivityNames lists the activities that have a name.
	ActivityNames() []string
	// Executed finds the first activity of a type that has run in this instance.
	Executed(activityType string) (id string, ok bool)

	Instance() Instance

	// AddJournal adds to the journal data of the activity that is running.
	AddJournal(key string, v any)
}

// An ActivityState is what a run knows of one activity.
type ActivityState struct {
	ID, Name, Type string
	Outputs        map[string]any // by the names of the outputs; nil: not run yet
}

// An Instance is the run itself, in the words that expressions use.
type Instance struct {
	InstanceID        string // the run's id
	DefinitionID      string
	DefinitionName    string
	DefinitionVersion int
	CorrelationID     string
	ContextID         string
	ActivityID        string         // of the activity whose property is evaluated
	Request           *model.Request // of the HTTP call that started or resumed it; nil: none
	BaseURL           string         // what absoluteUrl puts before a path outside a request
}

// Services reach beyond a run. A nil member means that the feature is refused
// with an error that says so. They are safe for concurrent use.
type Services struct {
	// DefinitionByName returns the id of the published workflow of exactly that
	// name, DefinitionByTag that of the tag.
	DefinitionByName func(ctx context.Context, name string) (id string, ok bool)
	DefinitionByTag  func(ctx context.Context, tag string) (id string, ok bool)

	// Secret returns the value of a stored secret. A reference Type:Name is
	// split at its first colon; without a colon typ is "" and the name is exact.
	// "OAuth2", NAME is "Bearer <fresh token>" of the connection bound to the
	// name; "Authorization", NAME a header's value.
	Secret func(ctx context.Context, typ, name string) (v freshet.Secret, ok bool, err error)

	// ProcessField returns the saved value of a field of a process's instance.
	ProcessField func(ctx context.Context, instance, field string) (any, error)

	// SignalURL returns the address that sends a signal to the instance.
	SignalURL func(ctx context.Context, signal, instance string) (string, error)

	// Warn is told what an evaluation did without: a secret that nobody bound.
	// The words hold no value.
	Warn func(ctx context.Context, s Scope, what string)
}
