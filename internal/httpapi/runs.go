package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/run"
)

// Runs carries out what people want of a run; the workflow engine is one. Both
// answer run.ErrNotFound and run.ErrTaken.
type Runs interface {
	Cancel(ctx context.Context, id run.ID) error
	Retry(ctx context.Context, id run.ID) error
}

const runsPath = "/api/v1/runs"

// A runView is a run as people see it. Everything in it is masked.
type runView struct {
	ID            string          `json:"id" doc:"Ids sort by the instant of the start."`
	Kind          string          `json:"kind" doc:"workflow, script, process or component."`
	Name          string          `json:"name"`
	Version       int             `json:"version,omitempty"`
	Status        string          `json:"status" enum:"idle,running,suspended,finished,faulted,cancelled"`
	CorrelationID string          `json:"correlation_id" doc:"As it is now: workflows may write what they are doing here."`
	Parent        string          `json:"parent,omitempty" doc:"The run that started it."`
	ParentStep    int             `json:"parent_step,omitempty" doc:"The number of the step that did."`
	Children      []string        `json:"children,omitempty" doc:"Runs that it started, newest first. Only of a single run."`
	Trigger       string          `json:"trigger,omitempty" doc:"What started it: http, api, cli, schedule:NAME, workflow."`
	Road          string          `json:"road,omitempty" doc:"The road that tokens take: native, or as written by the definition."`
	StartedAt     time.Time       `json:"started_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
	EndedAt       *time.Time      `json:"ended_at,omitempty"`
	DurationMS    *int64          `json:"duration_ms,omitempty" doc:"Once it has ended."`
	Steps         int             `json:"steps"`
	Outcomes      []string        `json:"outcomes,omitempty"`
	Fault         *runFault       `json:"fault,omitempty"`
	Warnings      []string        `json:"warnings,omitempty"`
	Input         json.RawMessage `json:"input,omitempty" doc:"Only of a single run."`
	Output        json.RawMessage `json:"output,omitempty" doc:"Only of a single run."`
}

func runViewOf(v *run.Run, whole bool) runView {
	out := runView{ID: v.ID, Kind: string(v.Kind), Name: v.Name, Version: v.Version, Status: string(v.Status), CorrelationID: v.CorrelationID, Parent: v.Parent,
		ParentStep: v.ParentStep, Trigger: v.Trigger, Road: v.Road, StartedAt: v.StartedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC(), EndedAt: instant(v.EndedAt), Steps: v.Steps,
		Outcomes: v.Outcomes, Fault: runFaultOf(v.Fault), Warnings: v.Warnings}
	if !v.EndedAt.IsZero() {
		ms := v.EndedAt.Sub(v.StartedAt).Milliseconds()
		out.DurationMS = &ms
	}
	if whole {
		out.Input, out.Output = v.Input, v.Output
	}
	return out
}

// A runFault says why a run broke off.
type runFault struct {
	Message  string    `json:"message"`
	Activity string    `json:"activity,omitempty" doc:"Id in the definition."`
	Type     string    `json:"type,omitempty" doc:"Of the activity."`
	Name     string    `json:"name,omitempty" doc:"Of the activity."`
	Property string    `json:"property,omitempty"`
	Cause    *runFault `json:"cause,omitempty" doc:"What was behind it."`
}

func runFaultOf(f *run.Fault) *runFault {
	if f == nil {
		return nil
	}
	return &runFault{Message: f.Message, Activity: f.Activity, Type: f.Type, Name: f.Name, Property: f.Property, Cause: runFaultOf(f.Cause)}
}

type runList struct {
	Runs       []runView `json:"runs" doc:"Newest first."`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// A stepView is one step of a run.
type stepView struct {
	run.Record
	DurationMS float64 `json:"duration_ms,omitempty"`
}

func stepViewOf(r run.Record) stepView {
	return stepView{r, float64(r.Duration.Microseconds()) / 1000}
}

type stepList struct {
	Run        string     `json:"run"`
	Status     string     `json:"status"`
	Steps      []stepView `json:"steps" doc:"Oldest first. Where numbers are missing, steps of a very long run were left out."`
	NextCursor string     `json:"next_cursor,omitempty"`
}

// RunFilter are the parameters of the list.
type RunFilter struct {
	Name        string    `query:"name" maxLength:"512"`
	Kind        string    `query:"kind" enum:"workflow,script,process,component"`
	Status      string    `query:"status" enum:"idle,running,suspended,finished,faulted,cancelled"`
	Correlation string    `query:"correlation" maxLength:"4096" doc:"A correlation id that the run has or ever had; with a * at its end, how such an id begins. The first 200 bytes are compared."`
	Parent      string    `query:"parent" maxLength:"26"`
	Trigger     string    `query:"trigger" maxLength:"512"`
	Since       time.Time `query:"since" doc:"Started then or later."`
	Until       time.Time `query:"until" doc:"Started before."`
}

type runIn struct {
	ID string `path:"id" maxLength:"64"`
}

// runEndpoints are there with a journal.
func (a *API) runEndpoints() {
	if a.o.Journal == nil {
		a.laterEndpoint(runsPath, "runs")
		return
	}
	tags := []string{"runs"}
	streamed := " With Accept: text/event-stream it is streamed as it happens."
	read := rule{verb: access.Read, admit: a.admitRun(true), subject: runSubject}
	steer := func(action string) rule {
		return rule{verb: access.Run, name: "name", admit: a.admitRun(false), action: action, subject: runSubject}
	}

	register(a, huma.Operation{OperationID: "list-runs", Method: http.MethodGet, Path: runsPath, Summary: "What ran", Tags: tags,
		Description: "Newest first, without input and output." + streamed, Middlewares: huma.Middlewares{a.orRuns}}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Paging
			RunFilter
		}) (*body[runList], error) {
			if in.Cursor != "" && !run.ValidID(in.Cursor) {
				return nil, invalid("query.cursor", "is no cursor of this list: take next_cursor of the page before")
			}
			list, err := a.o.Journal.List(ctx, run.Filter{Name: in.Name, Kind: run.Kind(in.Kind), Status: run.Status(in.Status), Correlation: in.Correlation, Parent: in.Parent,
				Trigger: in.Trigger, Since: in.Since, Until: in.Until}, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[runList]{}
			out.Body.Runs = make([]runView, len(list))
			for i := range list {
				out.Body.Runs[i] = runViewOf(&list[i], false)
			}
			if len(list) == in.Limit {
				out.Body.NextCursor = list[len(list)-1].ID
			}
			return out, nil
		})

	register(a, huma.Operation{OperationID: "get-run", Method: http.MethodGet, Path: runsPath + "/{id}", Summary: "A run", Tags: tags,
		Description: "With input, output and the ids of the runs that it started, masked. A key with run:NAME sees runs of NAME." + streamed, Middlewares: huma.Middlewares{a.orJournal}}, read,
		func(ctx context.Context, c *call, in *runIn) (*body[runView], error) {
			return answered(a.runOf(ctx, in.ID))
		})

	register(a, huma.Operation{OperationID: "get-run-journal", Method: http.MethodGet, Path: runsPath + "/{id}/journal", Summary: "Every step of a run", Tags: tags,
		Description: "Oldest first. A key with run:NAME sees runs of NAME." + streamed + " Each step has its number for an id, so that a client that comes back with Last-Event-ID misses nothing; the event end comes last and holds the run.",
		Middlewares: huma.Middlewares{a.orJournal}}, read,
		func(ctx context.Context, c *call, in *struct {
			ID string `path:"id" maxLength:"64"`
			Paging
		}) (*body[stepList], error) {
			after := 0
			if in.Cursor != "" {
				var err error
				if after, err = strconv.Atoi(in.Cursor); err != nil || after < 0 {
					return nil, invalid("query.cursor", "is no cursor of this list: take next_cursor of the page before")
				}
			}
			v, err := a.o.Journal.Get(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			steps, err := a.o.Journal.Steps(ctx, in.ID, after, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[stepList]{stepList{Run: v.ID, Status: string(v.Status), Steps: make([]stepView, len(steps))}}
			for i := range steps {
				out.Body.Steps[i] = stepViewOf(steps[i])
			}
			if len(steps) == in.Limit {
				out.Body.NextCursor = strconv.Itoa(steps[len(steps)-1].Number)
			}
			return out, nil
		})

	for _, e := range []struct{ word, summary, action, description string }{
		{"cancel", "End a run that has not ended", audit.RunCancel, "A run that is idle, running or suspended. name is the run's."},
		{"retry", "Go on with a run that faulted", audit.RunRetry, "From the step that failed. It stays the same run. name is the run's."},
	} {
		register(a, huma.Operation{OperationID: e.word + "-run", Method: http.MethodPost, Path: runsPath + "/{id}/" + e.word, Summary: e.summary, Description: e.description, Tags: tags}, steer(e.action),
			func(ctx context.Context, c *call, in *runIn) (*body[runView], error) {
				if a.o.Runs == nil {
					return nil, problem.New(http.StatusNotImplemented, "not-in-this-version", "Not in this version", "this version of Freshet shows runs, and cannot "+e.word+" one")
				}
				do := a.o.Runs.Cancel
				if e.word == "retry" {
					do = a.o.Runs.Retry
				}
				if err := do(ctx, in.ID); err != nil {
					return nil, err
				}
				return answered(a.runOf(ctx, in.ID))
			})
	}
}

func runSubject(r *http.Request) string { return "run/" + r.PathValue("id") }

// childrenMost is how many children a run is shown with; the list of runs has
// all of them under ?parent=.
const childrenMost = 1000

func (a *API) runOf(ctx context.Context, id string) (runView, error) {
	v, err := a.o.Journal.Get(ctx, id)
	if err != nil {
		return runView{}, err
	}
	out := runViewOf(&v, true)
	out.Children, err = a.o.Journal.Children(ctx, id, childrenMost)
	return out, err
}

// admitRun lets keys with run:NAME do something with runs of NAME, and with
// look those with read.
func (a *API) admitRun(look bool) func(r *http.Request) (*access.Caller, error) {
	return func(r *http.Request) (*access.Caller, error) {
		c, err := a.gate.identify(r)
		if err != nil || c.May(access.Admin, "") || look && c.May(access.Read, "") {
			return c, err
		}
		name := "*"
		if c.Holds(access.Run) || c.May(access.Read, "") {
			// Others do not learn whether there is such a run.
			v, err := a.o.Journal.Get(r.Context(), r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			if name = v.Name; c.May(access.Run, name) {
				return c, nil
			}
		}
		if look {
			return a.gate.admit(r, access.Read, "")
		}
		return a.gate.admit(r, access.Run, name)
	}
}

// runProblem is what errors of runs are to a caller.
func runProblem(err error) *problem.Problem {
	switch {
	case errors.Is(err, run.ErrNotFound):
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", "there is no such run, or none any more: the journal keeps runs for a time")
	case errors.Is(err, run.ErrTaken):
		return problem.New(http.StatusConflict, "run-state", "The run's state does not allow this", "it has ended, or somebody else goes on with it; look at its status")
	case errors.Is(err, run.ErrDuplicate):
		return problem.New(http.StatusConflict, "run-exists", "This has run already", err.Error())
	case errors.Is(err, run.ErrClosed):
		return &problem.Problem{Slug: "shutting-down", Title: "The server is stopping", Status: http.StatusServiceUnavailable, Detail: "nothing was started; ask again", RetryAfter: time.Second}
	}
	return nil
}

// orJournal answers a request for a stream with the steps of a run.
func (a *API) orJournal(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if !wantsStream(r) {
		next(ctx)
		return
	}
	a.followRun(w, r, callOf(ctx.Context()))
}

// followRun sends the steps of a run until it has ended, and then the run.
func (a *API) followRun(w http.ResponseWriter, r *http.Request, c *call) {
	after := 0
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := strconv.Atoi(id)
		if err != nil || n < 0 {
			problem.Write(w, http.StatusBadRequest, "bad-event-id", "Last-Event-ID is no event of this server", "leave it out to begin with the first step", nil)
			return
		}
		after = n
	}
	id := r.PathValue("id")
	if _, err := a.o.Journal.Get(r.Context(), id); err != nil {
		a.fail(w, r, err)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	type batch struct {
		v     run.Run
		steps []run.Record
	}
	batches := make(chan batch)
	ended := make(chan error, 1)
	go func() {
		ended <- a.o.Journal.Follow(ctx, id, after, func(v run.Run, steps []run.Record) error {
			select {
			case batches <- batch{v, steps}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() { stop(); <-ended }()
	rc := streaming(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if !send(w, rc, "retry: 2000\n\n") {
		return
	}
	status := run.Status("")
	for {
		select {
		case b := <-batches:
			var s strings.Builder
			for _, step := range b.steps {
				writeJSON(&s, strconv.Itoa(step.Number), "step", stepViewOf(step))
			}
			if b.v.Status != status && !b.v.Status.Ended() {
				writeJSON(&s, "", "run", runViewOf(&b.v, false))
			}
			status = b.v.Status
			if s.Len() > 0 && !send(w, rc, s.String()) {
				return
			}
		case err := <-ended:
			ended <- nil // for the deferred wait
			if err != nil {
				if r.Context().Err() == nil {
					a.log.Warn("stream of a run ends", "run", id, "error", err)
				}
				return
			}
			v, err := a.runOf(ctx, id)
			if err != nil {
				return
			}
			var s strings.Builder
			writeJSON(&s, "", "end", v)
			send(w, rc, s.String())
			return
		case <-beat.C:
			if !send(w, rc, ": still here\n\n") {
				return
			}
		case <-c.caller.Revoked():
			send(w, rc, keyGone)
			return
		case <-a.closing:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// writeJSON writes one server-sent event.
func writeJSON(b *strings.Builder, id, event string, v any) {
	j, err := json.Marshal(v)
	if err != nil {
		return
	}
	if id != "" {
		fmt.Fprintf(b, "id: %s\n", id)
	}
	fmt.Fprintf(b, "event: %s\ndata: %s\n\n", event, j)
}
