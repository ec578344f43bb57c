package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// The kinds of timers.
const (
	KindSchedule = "schedule" // declared by people
	KindTrigger  = "trigger"  // a start activity of a published workflow
	KindBookmark = "bookmark" // a suspended run that waits
)

// The kinds of targets that schedules name.
const (
	TargetRefresh  = "refresh"
	TargetWorkflow = "workflow"
	TargetProcess  = "process"
)

// The causes of firings.
const (
	CauseClock  = "clock"
	CauseManual = "manual" // a person
	CauseHook   = "hook"   // a signed request
)

// A Firing is one time that a timer fires, as its target sees it.
type Firing struct {
	ID      string
	Kind    string // of the timer: KindSchedule, …
	Name    string // of the timer
	Ref     string // what the timer belongs to
	Subject string // the target's name: the connection, the workflow
	Key     string // the same for every attempt at this firing, and for no other: one run for each
	Cause   string
	Nominal time.Time // the instant that it is for
	Began   time.Time // when its first attempt began
	Attempt int       // above 1: a process died, or was stopped, in the attempt before
	When    *freshet.Schedule
	Data    json.RawMessage // what Timer.Data said
	Input   json.RawMessage // what came with the request that fired it
}

// An Outcome is what came of a firing.
type Outcome struct {
	Run     string // id of the run, if there is one
	Message string // in words; it holds no secret
}

// A Target carries firings out. Fire is called again with a higher Attempt when
// a process died in it, and must then not do twice what the Key did once. Its
// error is shown to people.
type Target interface {
	Fire(ctx context.Context, f Firing) (Outcome, error)
}

// A TargetFunc is a Target.
type TargetFunc func(ctx context.Context, f Firing) (Outcome, error)

// Fire calls f.
func (f TargetFunc) Fire(ctx context.Context, v Firing) (Outcome, error) { return f(ctx, v) }

// targetOf returns what kind of target a schedule names, and its name.
func targetOf(s *freshet.Schedule) (target, subject string) {
	switch {
	case s.Refresh != "":
		return TargetRefresh, s.Refresh
	case s.Workflow != "":
		return TargetWorkflow, s.Workflow
	}
	subject = s.Process
	if s.Instance != "" {
		subject += "/" + s.Instance
	}
	return TargetProcess, subject
}

// A Refreshed is a token that a refresh brought.
type Refreshed struct {
	Generation int64
	IssuedAt   time.Time // zero: there is none
	ExpiresAt  time.Time // zero: unknown
}

// A Refresher refreshes connections.
type Refresher interface {
	// Renew refreshes a connection now, however fresh its token is.
	Renew(ctx context.Context, connection string) (Refreshed, error)
	// Held returns what the connection holds, without asking the provider.
	Held(ctx context.Context, connection string) (Refreshed, error)
}

// Refresh is the target of schedules that keep a connection fresh.
func Refresh(r Refresher) Target {
	return TargetFunc(func(ctx context.Context, f Firing) (Outcome, error) {
		if f.Attempt > 1 {
			// The process died after it had asked, and perhaps after it had the
			// answer: a token from then is what this firing is for.
			if held, err := r.Held(ctx, f.Subject); err == nil && held.Generation > 0 && !held.IssuedAt.Before(f.Began) {
				return Outcome{Message: told(held)}, nil
			}
		}
		got, err := r.Renew(ctx, f.Subject)
		if err != nil {
			return Outcome{}, err
		}
		return Outcome{Message: told(got)}, nil
	})
}

func told(r Refreshed) string {
	text := fmt.Sprintf("generation %d", r.Generation)
	if !r.ExpiresAt.IsZero() {
		text += ", expires " + r.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return text
}

// A Runner runs workflows.
type Runner interface {
	// Start runs a workflow to its end or first suspension. key makes one run of
	// several calls; trigger is schedule:NAME. A run that faulted is an error.
	Start(ctx context.Context, workflow string, input any, trigger, key string) (run string, err error)
}

// Workflow is the target of schedules that run a workflow. What comes with a
// request takes the place of the input that the schedule declares.
func Workflow(r Runner) Target {
	return TargetFunc(func(ctx context.Context, f Firing) (Outcome, error) {
		var input any
		if f.When != nil {
			input = f.When.Input
		}
		if len(f.Input) > 0 {
			if err := json.Unmarshal(f.Input, &input); err != nil {
				return Outcome{}, fmt.Errorf("read the input: %w", err)
			}
		}
		run, err := r.Start(ctx, f.Subject, input, "schedule:"+f.Name, f.Key)
		return Outcome{Run: run}, err
	})
}

// errLater is the answer of targets that this server cannot carry out.
func errLater(kind string) error {
	what := map[string]string{TargetRefresh: "refreshes", TargetWorkflow: "workflows", TargetProcess: "processes", KindTrigger: "workflows", KindBookmark: "workflows"}[kind]
	if what == "" {
		return errors.New("the target " + kind + " is not in this version of freshet")
	}
	return errors.New("schedules of " + what + " are not in this version of freshet")
}
