package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/schedule"
)

const (
	kindProcesses = "processes"
	kindServices  = "services"
	processesPath = "/api/v1/processes"
	maxForm       = 1 << 20
)

// A processView is a process with what there is to say of it.
type processView struct {
	declared
	Triggers []string         `json:"triggers" doc:"What schedules and callers can trigger: buttons, fields that have rules, and rules."`
	Findings []processFinding `json:"findings" doc:"What people should look at; empty: nothing."`
}

type processFinding struct {
	Severity string `json:"severity" enum:"error,warning"`
	Where    string `json:"where" doc:"Field of the process, or the schedule."`
	What     string `json:"what"`
}

// An instanceView is a saved form.
type instanceView struct {
	ID            string         `json:"id" doc:"PROCESS-N: name it in schedules and references."`
	Fields        map[string]any `json:"fields" doc:"Secret ones as [secret]."`
	SavedAt       *time.Time     `json:"saved_at"`
	SavedBy       string         `json:"saved_by,omitempty"`
	CreatedAt     *time.Time     `json:"created_at"`
	ExpiresAt     *time.Time     `json:"expires_at,omitempty" doc:"Of the token that it holds, if the process says which fields tell."`
	RefreshExpiry *time.Time     `json:"refresh_expires_at,omitempty" doc:"Of the refresh token itself."`
	Expired       bool           `json:"expired,omitempty"`
}

func (a *API) instanceView(in *process.Instance) instanceView {
	return instanceView{ID: in.ID, Fields: in.Fields, SavedAt: instant(in.SavedAt), SavedBy: in.SavedBy, CreatedAt: instant(in.CreatedAt),
		ExpiresAt: instant(in.ExpiresAt), RefreshExpiry: instant(in.RefreshExpiry), Expired: !in.ExpiresAt.IsZero() && !a.o.Now().Before(in.ExpiresAt)}
}

type instanceList struct {
	Instances  []instanceView `json:"instances" doc:"In order of number."`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// A pressView is what came of a press.
type pressView struct {
	RunID    string         `json:"run_id"`
	Status   string         `json:"status" enum:"finished,faulted"`
	ID       string         `json:"id,omitempty" doc:"The instance; none: it is new, and nothing saved it."`
	Saved    bool           `json:"saved"`
	Fields   map[string]any `json:"fields" doc:"As the rules left the form, secret ones as [secret]; after a fault with what the error mapping says."`
	SavedAt  *time.Time     `json:"saved_at,omitempty"`
	Expires  *time.Time     `json:"expires_at,omitempty"`
	Fault    *runFault      `json:"fault,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
}

func (a *API) pressView(r *process.Result) pressView {
	v := pressView{RunID: r.RunID, Status: string(r.Status), Saved: r.Saved, Fields: a.scrubbed(r.Fields), Fault: runFaultOf(a.maskedFault(r.Fault)), Warnings: r.Warnings}
	if r.Instance != nil {
		v.ID, v.SavedAt, v.Expires = r.Instance.ID, instant(r.Instance.SavedAt), instant(r.Instance.ExpiresAt)
	}
	return v
}

// scrubbed takes known secrets out of texts: an error mapping copies what a
// provider says.
func (a *API) scrubbed(fields map[string]any) map[string]any {
	out := make(map[string]any, len(fields))
	for n, v := range fields {
		if s, ok := v.(string); ok && a.o.Values != nil {
			v = a.o.Values.Scrub(s)
		}
		out[n] = v
	}
	return out
}

// A previewView is what a press would do.
type previewView struct {
	RunID    string                `json:"run_id,omitempty" doc:"Of a preview that was performed."`
	Steps    []process.PreviewStep `json:"steps"`
	Fields   map[string]any        `json:"fields" doc:"As the rules would leave the form, secret ones as [secret]."`
	Instance *instanceView         `json:"instance,omitempty" doc:"That was saved."`
	Fault    *runFault             `json:"fault,omitempty"`
	Warnings []string              `json:"warnings,omitempty"`
}

type formIn struct {
	Fields      map[string]any `json:"fields,omitempty" doc:"Values that are entered first; [secret] keeps what a secret field holds."`
	Correlation string         `json:"correlation_id,omitempty" doc:"What the run can be found by; by default the instance."`
}

type processIn struct {
	Name string `path:"name" maxLength:"512" doc:"The process."`
}

type instanceIn struct {
	Name string `path:"name" maxLength:"512" doc:"The process."`
	ID   string `path:"id" maxLength:"512" doc:"The instance."`
}

// processEndpoints are there with processes.
func (a *API) processEndpoints() {
	if a.o.Processes == nil {
		a.laterEndpoint("/api/v1/services", "services")
		a.laterEndpoint(processesPath, "processes")
		return
	}
	tags := []string{kindProcesses}
	register(a, huma.Operation{OperationID: "list-processes", Method: http.MethodGet, Path: processesPath, Summary: "The processes", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *Paging) (*body[map[string]any], error) {
			k, _ := a.o.Book.Registry().Kind(kindProcesses)
			items, next, err := a.declared(ctx, k, *in)
			if err != nil {
				return nil, err
			}
			out := map[string]any{kindProcesses: items}
			if next != "" {
				out["next_cursor"] = next
			}
			return answered(out, nil)
		})
	register(a, huma.Operation{OperationID: "get-process", Method: http.MethodGet, Path: processesPath + "/{name}", Summary: "One process, checked", Tags: tags,
		Description: "The check names references to nothing, parameters without a source, a list of rules without a final Save, a refresh token that nothing keeps, and schedules that come too late."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *processIn) (*body[processView], error) {
			return answered(a.process(ctx, in.Name))
		})
	a.instanceEndpoints(tags)
	a.pressEndpoints(tags)
	register(a, huma.Operation{OperationID: "preview-process", Method: http.MethodPost, Path: processesPath + "/{name}/preview", Summary: "Preview a press", Tags: tags, MaxBodyBytes: maxForm,
		Description: "Shows the exact request of each rule, secrets masked. Nothing is sent without perform, nothing is kept without save, which makes an instance."}, rule{verb: access.Admin, action: "process.preview"},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512" doc:"The process."`
			Body struct {
				Fields      map[string]any `json:"fields,omitempty" doc:"Values that are entered first; [secret] keeps what a secret field holds."`
				Correlation string         `json:"correlation_id,omitempty" doc:"What the run can be found by."`
				Instance    string         `json:"instance,omitempty" doc:"Whose fields are used; without it a new form."`
				Trigger     string         `json:"trigger" doc:"button:NAME, field:NAME or rule:NAME."`
				Perform     bool           `json:"perform,omitempty" doc:"Send the requests; for a new form only."`
				Save        bool           `json:"save,omitempty" doc:"Make an instance of the form."`
			}
		}) (*body[previewView], error) {
			b := in.Body
			r, err := a.o.Processes.Preview(ctx, process.Preview{Perform: b.Perform, Save: b.Save, By: c.caller.Actor(),
				Press: process.Press{Process: in.Name, Instance: b.Instance, Trigger: b.Trigger, Fields: b.Fields, Correlation: b.Correlation}})
			if err != nil {
				return nil, err
			}
			out := previewView{RunID: r.RunID, Steps: r.Steps, Fields: a.scrubbed(r.Fields), Fault: runFaultOf(a.maskedFault(r.Fault)), Warnings: r.Warnings}
			if r.Instance != nil {
				v := a.instanceView(r.Instance)
				out.Instance = &v
			}
			return answered(out, nil)
		})
	register(a, huma.Operation{OperationID: "test-service", Method: http.MethodPost, Path: "/api/v1/services/{name}/test", Summary: "Try a method of a service", Tags: []string{kindServices}, MaxBodyBytes: maxForm,
		Description: "Shows the request, and with perform sends it and shows the answer; secrets masked."}, rule{verb: access.Admin, action: "service.test"},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512" doc:"The service."`
			Body struct {
				Method  string         `json:"method" doc:"Its name."`
				Input   map[string]any `json:"input,omitempty" doc:"Header, query and body fields of the method, and urlPath."`
				Perform bool           `json:"perform,omitempty" doc:"Send it."`
			}
		}) (*body[*process.Tested], error) {
			return answered(a.o.Processes.Test(ctx, process.Test{Service: in.Name, Method: in.Body.Method, Inputs: in.Body.Input, Perform: in.Body.Perform}))
		})
}

func (a *API) instanceEndpoints(tags []string) {
	path := processesPath + "/{name}/instances"
	subject := func(r *http.Request) string {
		return kindProcesses + "/" + r.PathValue("name") + "/" + r.PathValue("id")
	}
	register(a, huma.Operation{OperationID: "list-instances", Method: http.MethodGet, Path: path, Summary: "Saved instances of a process", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Paging
			Name string `path:"name" maxLength:"512" doc:"The process."`
		}) (*body[instanceList], error) {
			after := int64(0)
			if in.Cursor != "" {
				var err error
				if after, err = strconv.ParseInt(in.Cursor, 10, 64); err != nil {
					return nil, invalid("query.cursor", "is no cursor of this list: take next_cursor of the page before")
				}
			}
			list, err := a.o.Processes.Instances(ctx, in.Name, after, in.Limit)
			if err != nil {
				return nil, err
			}
			out := instanceList{Instances: make([]instanceView, len(list))}
			for i, v := range list {
				out.Instances[i] = a.instanceView(v)
			}
			if len(list) == in.Limit {
				out.NextCursor = strconv.FormatInt(list[len(list)-1].Number, 10)
			}
			return answered(out, nil)
		})
	type entry struct {
		Fields map[string]any `json:"fields" doc:"Values by field; others stay. [secret] keeps what a secret field holds."`
	}
	register(a, huma.Operation{OperationID: "create-instance", Method: http.MethodPost, Path: path, Summary: "Save a new instance", Tags: tags, DefaultStatus: http.StatusCreated, MaxBodyBytes: maxForm}, rule{verb: access.Admin, action: "instance.create"},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512" doc:"The process."`
			Body entry
		}) (*body[instanceView], error) {
			v, err := a.o.Processes.Enter(ctx, in.Name, "", in.Body.Fields, c.caller.Actor())
			if err != nil {
				return nil, err
			}
			return answered(a.instanceView(v), nil)
		})
	register(a, huma.Operation{OperationID: "get-instance", Method: http.MethodGet, Path: path + "/{id}", Summary: "One saved instance", Tags: tags}, rule{verb: access.Read, subject: subject},
		func(ctx context.Context, c *call, in *instanceIn) (*body[instanceView], error) {
			v, err := a.o.Processes.Instance(ctx, in.Name, in.ID)
			if err != nil {
				return nil, err
			}
			return answered(a.instanceView(v), nil)
		})
	register(a, huma.Operation{OperationID: "edit-instance", Method: http.MethodPatch, Path: path + "/{id}", Summary: "Enter values into a saved instance", Tags: tags, MaxBodyBytes: maxForm}, rule{verb: access.Admin, action: "instance.edit", subject: subject},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512" doc:"The process."`
			ID   string `path:"id" maxLength:"512" doc:"The instance."`
			Body entry
		}) (*body[instanceView], error) {
			v, err := a.o.Processes.Enter(ctx, in.Name, in.ID, in.Body.Fields, c.caller.Actor())
			if err != nil {
				return nil, err
			}
			return answered(a.instanceView(v), nil)
		})
	register(a, huma.Operation{OperationID: "delete-instance", Method: http.MethodDelete, Path: path + "/{id}", Summary: "Delete a saved instance", Tags: tags, DefaultStatus: http.StatusNoContent}, rule{verb: access.Admin, action: "instance.delete", subject: subject},
		func(ctx context.Context, c *call, in *instanceIn) (*struct{}, error) {
			if err := a.o.Processes.Delete(ctx, in.Name, in.ID); err != nil {
				return nil, err
			}
			return &struct{}{}, nil
		})
}

// pressEndpoints trigger what a process has, for a saved instance or a new one.
func (a *API) pressEndpoints(tags []string) {
	press := func(ctx context.Context, c *call, name, id, trigger string, form *formIn) (*body[pressView], error) {
		q := process.Press{Process: name, Instance: id, Trigger: trigger, Cause: "api"}
		if form != nil {
			q.Fields, q.Correlation = form.Fields, form.Correlation
		}
		if c.r.Header.Get("Freshet-Client") == "cli" {
			q.Cause = "cli"
		}
		r, err := a.o.Processes.Press(ctx, q)
		if err != nil {
			return nil, err
		}
		return answered(a.pressView(r), nil)
	}
	text := "Waits for the end of its rules and answers 200 whatever became of them: status tells. They go on when the caller leaves."
	for _, t := range []struct{ kind, plural, summary string }{{"button", "buttons", "Press a button"}, {"field", "fields", "Run the rules of a field"}, {"rule", "rules", "Run one rule"}} {
		register(a, huma.Operation{OperationID: "press-" + t.kind, Method: http.MethodPost, Path: processesPath + "/{name}/instances/{id}/" + t.plural + "/{what}", Summary: t.summary, Tags: tags, MaxBodyBytes: maxForm, Description: text},
			rule{verb: access.Run, name: "name", action: "process.press"}, func(ctx context.Context, c *call, in *struct {
				Name string  `path:"name" maxLength:"512" doc:"The process."`
				ID   string  `path:"id" maxLength:"512" doc:"The instance."`
				What string  `path:"what" maxLength:"512"`
				Body *formIn `required:"false"`
			}) (*body[pressView], error) {
				return press(ctx, c, in.Name, in.ID, t.kind+":"+in.What, in.Body)
			})
		register(a, huma.Operation{OperationID: "press-" + t.kind + "-anew", Method: http.MethodPost, Path: processesPath + "/{name}/" + t.plural + "/{what}", Summary: t.summary + " of a new form", Tags: tags, MaxBodyBytes: maxForm, Description: text + " The form becomes an instance when a rule saves it."},
			rule{verb: access.Run, name: "name", action: "process.press"}, func(ctx context.Context, c *call, in *struct {
				Name string  `path:"name" maxLength:"512" doc:"The process."`
				What string  `path:"what" maxLength:"512"`
				Body *formIn `required:"false"`
			}) (*body[pressView], error) {
				return press(ctx, c, in.Name, "", t.kind+":"+in.What, in.Body)
			})
	}
}

// process describes a process, and what there is to say of it.
func (a *API) process(ctx context.Context, name string) (processView, error) {
	view, err := a.o.Book.Get(ctx, resource.Key{Kind: kindProcesses, Name: name})
	if err != nil {
		return processView{}, err
	}
	d, _, err := a.o.Book.Process(ctx, name)
	if err != nil {
		return processView{}, err
	}
	out := processView{declared: declaredOf(view), Triggers: process.Triggers(d), Findings: []processFinding{}}
	find := func(fault bool, where, what string) {
		f := processFinding{"warning", where, what}
		if fault {
			f.Severity = "error"
		}
		out.Findings = append(out.Findings, f)
	}
	var broken error
	process.CheckProcess(d, func(name string) *freshet.Service {
		s, err := a.o.Book.Service(ctx, name)
		if errors.Is(err, freshet.ErrNotFound) {
			return nil
		}
		broken = errors.Join(broken, err)
		return s
	}, find)
	if broken != nil {
		return out, broken
	}
	after := ""
	for {
		rows, err := a.o.Store.Timers(ctx, schedule.KindSchedule, after, 500)
		if err != nil {
			return out, err
		}
		for i := range rows {
			t := &rows[i]
			after = t.Name
			if of, _, _ := strings.Cut(t.Subject, "/"); t.Target != schedule.TargetProcess || of != name {
				continue
			}
			s, plan, err := schedule.Read(t)
			if err != nil {
				continue
			}
			for _, text := range a.lapses(ctx, s, plan) {
				find(false, "schedules."+t.Name, text)
			}
		}
		if len(rows) < 500 {
			return out, nil
		}
	}
}

// lapses says what a schedule lets lapse of what its instance holds.
func (a *API) lapses(ctx context.Context, s *freshet.Schedule, plan *schedule.Plan) []string {
	if s.Instance == "" {
		return nil
	}
	in, err := a.o.Processes.Instance(ctx, s.Process, s.Instance)
	if errors.Is(err, freshet.ErrNotFound) {
		return []string{err.Error()}
	}
	if err != nil {
		return nil
	}
	var out []string
	if in.Lifetime > 0 {
		margin, _ := freshet.Policy{}.MarginFor(in.Lifetime)
		if text := plan.Lapses(a.o.Now(), in.Lifetime, margin); text != "" {
			out = append(out, text)
		}
	}
	if !in.ExpiresAt.IsZero() && !a.o.Now().Before(in.ExpiresAt) {
		out = append(out, "the token that "+in.ID+" holds expired at "+in.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return out
}

// warnProcess says what a schedule that presses a button will not do.
func (a *API) warnProcess(ctx context.Context, out *scheduled, s *freshet.Schedule, plan *schedule.Plan) {
	if a.o.Processes == nil {
		return
	}
	out.Warnings = append(out.Warnings, a.lapses(ctx, s, plan)...)
	if s.Instance == "" {
		return
	}
	in, err := a.o.Processes.Instance(ctx, s.Process, s.Instance)
	if err != nil || in.RefreshExpiry.IsZero() {
		return
	}
	out.RefreshExpiresAt = instant(in.RefreshExpiry)
	if text := refreshEnd(in.RefreshExpiry, a.o.Now(), out.NextRun); text != "" {
		out.Warnings = append(out.Warnings, text)
	}
}

// refreshEnd warns of the end of a refresh token itself.
func refreshEnd(end, now time.Time, next *time.Time) string {
	text := "the refresh token itself ends at " + end.UTC().Format(time.RFC3339)
	switch {
	case !end.After(now):
		return "the refresh token itself ended at " + end.UTC().Format(time.RFC3339)
	case next != nil && !next.Before(end):
		return text + ", before the next run"
	case end.Sub(now) < lapsing:
		return text
	}
	return ""
}

// processProblem is what errors of processes are to a caller.
func processProblem(err error) *problem.Problem {
	if e, ok := errors.AsType[*process.TriggerError](err); ok {
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
	}
	if e, ok := errors.AsType[*process.NotFoundError](err); ok {
		p := problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
		p.Extra = map[string]any{"hint": "GET " + processesPath + "/" + url.PathEscape(e.Process) + "/instances lists what there is"}
		return p
	}
	if e, ok := errors.AsType[*process.InputError](err); ok {
		return problem.New(http.StatusUnprocessableEntity, "invalid-request", "The request is not what it should be", e.Error())
	}
	if e, ok := errors.AsType[*process.FieldError](err); ok {
		return problem.New(http.StatusUnprocessableEntity, "invalid-request", "The request is not what it should be", e.Error())
	}
	if errors.Is(err, process.ErrClosed) {
		return &problem.Problem{Slug: "closing", Title: "The server is ending", Status: http.StatusServiceUnavailable, Detail: "ask again in a moment", RetryAfter: time.Second}
	}
	if errors.Is(err, process.ErrSpends) {
		return problem.New(http.StatusConflict, "spends", "The preview would spend what the instance holds", err.Error())
	}
	return nil
}
