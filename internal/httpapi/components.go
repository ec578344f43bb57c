package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/component"
	"github.com/freshet-dev/freshet/internal/component/descriptor"
	"github.com/freshet-dev/freshet/internal/importer"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

const componentsPath = "/api/v1/components"

// A messageView is a message that an action has not carried out.
type messageView struct {
	ID        string     `json:"id"`
	Component string     `json:"component"`
	Action    string     `json:"action"`
	State     string     `json:"state" enum:"running,waiting,failed"`
	Attempts  int64      `json:"attempts" doc:"Begun so far."`
	Run       string     `json:"run" doc:"Of the latest attempt."`
	Error     string     `json:"error,omitempty" doc:"Of the latest attempt, masked."`
	DueAt     *time.Time `json:"due_at,omitempty" doc:"Of the next attempt, while it waits."`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
}

type messageList struct {
	Messages   []messageView `json:"messages" doc:"In order of their first run."`
	NextCursor string        `json:"next_cursor,omitempty"`
}

type retriedView struct {
	Retried int `json:"retried" doc:"How many are carried out again, in the background."`
}

// componentEndpoints run actions of components, and keep what failed.
func (a *API) componentEndpoints() {
	if a.o.Components == nil {
		return
	}
	tags := []string{"components"}
	answer := map[string]*huma.Response{"200": {Description: "How the attempt ended: finished, faulted (kept as failed), or suspended (given back; it is tried again).",
		Content: map[string]*huma.MediaType{"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(typeOf[runAnswer](), true, "RunAnswer")}}}}
	action := &huma.Param{Name: "action", In: "path", Required: true, Description: "The action.", Schema: &huma.Schema{Type: huma.TypeString}}
	op := huma.Operation{OperationID: "run-component-action", Method: http.MethodPost, Path: componentsPath + "/{name}/actions/{action}/run", Summary: "Run an action of a component over a message", Tags: tags, MaxBodyBytes: maxInput,
		Description: "The body is the message: {body, headers, attachments}, or its body alone. Waits for the end of the attempt; the output is the body of the message that the action emits, a list of several.",
		Parameters: []*huma.Param{nameParam("The component."), action,
			{Name: "correlation_id", In: "query", Description: "What the run can be found by.", Schema: &huma.Schema{Type: huma.TypeString}}},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {}}}, Responses: answer}
	a.handle(op, rule{verb: access.Run, name: "name", action: "component.run"}, a.runAction)
	register(a, huma.Operation{OperationID: "list-component-messages", Method: http.MethodGet, Path: componentsPath + "/{name}/messages", Summary: "Messages that have not ended well", Tags: tags,
		Description: "Those that failed are kept until somebody retries or deletes them."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Name  string `path:"name" maxLength:"128"`
			State string `query:"state" enum:"running,waiting,failed"`
			Paging
		}) (*body[messageList], error) {
			list, err := a.o.Components.Kept(ctx, in.Name, in.State, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[messageList]{messageList{Messages: make([]messageView, len(list))}}
			for i, m := range list {
				out.Body.Messages[i] = messageView{m.ID, m.Name, m.Action, m.State, m.Attempts, m.Run, m.Error, instant(m.DueAt), instant(m.CreatedAt), instant(m.UpdatedAt)}
			}
			if len(list) == in.Limit {
				out.Body.NextCursor = list[len(list)-1].ID
			}
			return out, nil
		})
	register(a, huma.Operation{OperationID: "retry-component-messages", Method: http.MethodPost, Path: componentsPath + "/{name}/messages/retry", Summary: "Retry every failed message", Tags: tags,
		Description: "In the background, each as its original message."}, rule{verb: access.Run, name: "name", action: "component.retry"},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"128"`
		}) (*body[retriedView], error) {
			n, err := a.o.Components.RetryAll(ctx, in.Name)
			return answered(retriedView{n}, err)
		})
	id := &huma.Param{Name: "id", In: "path", Required: true, Description: "The message, or the run of its latest attempt.", Schema: &huma.Schema{Type: huma.TypeString}}
	one := huma.Operation{OperationID: "retry-component-message", Method: http.MethodPost, Path: componentsPath + "/{name}/messages/{id}/retry", Summary: "Retry one failed message", Tags: tags,
		Description: "Waits for the end of the attempt, which is a run of its own.", Parameters: []*huma.Param{nameParam("The component."), id}, Responses: answer}
	a.handle(one, rule{verb: access.Run, name: "name", action: "component.retry"}, a.retryMessage)
	drop := huma.Operation{OperationID: "delete-component-message", Method: http.MethodDelete, Path: componentsPath + "/{name}/messages/{id}", Summary: "Delete one failed message", Tags: tags,
		Parameters: []*huma.Param{nameParam("The component."), id}, Responses: map[string]*huma.Response{"204": {Description: "It is gone."}}}
	a.handle(drop, rule{verb: access.Admin, action: "component.drop"}, func(w http.ResponseWriter, r *http.Request, c *call) {
		m, err := a.ofComponent(r)
		if err == nil {
			err = a.o.Components.Drop(r.Context(), m)
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (a *API) runAction(w http.ResponseWriter, r *http.Request, c *call) {
	q, err := query(r, "correlation_id")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	b, _, err := readBody(w, r, maxInput)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	req := component.Request{Component: r.PathValue("name"), Action: r.PathValue("action"), Trigger: "api", CorrelationID: q.Get("correlation_id")}
	if r.Header.Get("Freshet-Client") == "cli" {
		req.Trigger = "cli"
	}
	typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(b) == 0:
	case strings.HasPrefix(typ, "text/"):
		req.Message = content.Text(b, "utf-8")
	default:
		if req.Message, err = content.JSON(b); err != nil {
			a.fail(w, r, invalid("body", "is not JSON: a text needs quotes, or Content-Type: text/plain"))
			return
		}
	}
	out, err := a.o.Components.Run(r.Context(), req)
	a.answerAction(w, r, out, err)
}

func (a *API) answerAction(w http.ResponseWriter, r *http.Request, out component.Outcome, err error) {
	if err != nil {
		a.fail(w, r, err)
		return
	}
	output, err := content.Encode(out.Output)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	answer := runAnswer{RunID: out.RunID, Status: string(run.Finished), Outcomes: []string{"Done"}, Output: output, Fault: runFaultOf(a.maskedFault(out.Fault))}
	switch out.State {
	case store.MessageWaiting:
		answer.Status, answer.Outcomes = string(run.Suspended), []string{"rebound"}
	case store.MessageFailed:
		answer.Status, answer.Outcomes = string(run.Faulted), []string{}
	}
	a.answerRaw(w, r, http.StatusOK, answer)
}

// ofComponent is the id in the path, if it is one of the component's.
func (a *API) ofComponent(r *http.Request) (string, error) {
	m, err := a.o.Store.ComponentMessage(r.Context(), r.PathValue("id"))
	if errors.Is(err, store.ErrNotFound) || err == nil && m.Name != r.PathValue("name") {
		return "", component.ErrNoMessage
	}
	return m.ID, err
}

func (a *API) retryMessage(w http.ResponseWriter, r *http.Request, c *call) {
	id, err := a.ofComponent(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out, err := a.o.Components.Retry(r.Context(), id)
	a.answerAction(w, r, out, err)
}

// componentProblem is what errors of components are to callers.
func componentProblem(err error) *problem.Problem {
	switch {
	case errors.Is(err, component.ErrNoAction):
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", err.Error())
	case errors.Is(err, component.ErrNoMessage):
		return problem.New(http.StatusNotFound, "not-found", "No failed message of this id is kept", "it ended well, is under way, or waits: GET …/messages lists what is kept")
	}
	return nil
}

// importComponent makes resources of a descriptor, all or none.
func (a *API) importComponent(ctx context.Context, file, text string, in *importRequest) (*check.Report, error) {
	d, err := descriptor.Parse([]byte(text))
	if err != nil {
		return nil, resource.Faults{{Place: resource.Place{File: file}, Detail: err.Error()}}
	}
	name := in.As
	if name == "" {
		name = importer.ComponentName(d, file)
	}
	value := func(n string) (string, bool) {
		raw, ok := in.Set[n]
		if !ok {
			return "", false
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		return s, s != ""
	}
	conv, err := importer.ConvertComponent(name, []byte(text), value)
	if err != nil {
		return nil, err
	}
	if len(conv.Missing) > 0 {
		var faults resource.Faults
		for _, m := range conv.Missing {
			what := "is not set: give it in the environment of freshet import, or as"
			if m.Field {
				what = "is a field of the credential, and has no value: give it as"
			}
			faults = append(faults, resource.Fault{Place: resource.Place{File: file}, Path: m.Where, Detail: fmt.Sprintf("%s %s --set '%s=\"…\"'", m.Name, what, m.Name)})
		}
		return nil, faults
	}
	known := false
	switch _, err := a.o.Book.Get(ctx, resource.Key{Kind: "components", Name: name}); {
	case err == nil:
		known = true
	case !errors.Is(err, freshet.ErrNotFound):
		return nil, err
	}
	set := &resource.Set{}
	for _, kind := range []string{"providers", "clients", "connections", "components"} {
		body, ok := conv.Resources[kind]
		if !ok {
			continue
		}
		key := resource.Key{Kind: kind, Name: name}
		if !known {
			switch _, err := a.o.Book.Get(ctx, key); {
			case err == nil:
				return nil, resource.Faults{{Place: resource.Place{File: file}, Path: kind + "." + name, Detail: "is there already, and is not this component's: import it --as another name"}}
			case !errors.Is(err, freshet.ErrNotFound):
				return nil, err
			}
		} else if body, err = a.keptOf(ctx, key, body); err != nil {
			return nil, err
		}
		one, err := a.o.Book.Registry().DecodeOne(key, resource.File{Name: file, Content: string(body)})
		if err != nil {
			return nil, err
		}
		set.Items = append(set.Items, one.Items...)
	}
	res, err := a.o.Book.Apply(ctx, set, false)
	if err != nil {
		return nil, err
	}
	r := &check.Report{Name: name, Kind: "component", File: file, Action: "unchanged", Activities: conv.Triggers, Findings: conv.Findings}
	for _, e := range res.Effects {
		switch {
		case e.Action == resource.Created:
			r.Action = "created"
		case e.Action == resource.Changed && r.Action != "created":
			r.Action = "changed"
		}
		r.Attached = append(r.Attached, e.Key.String())
	}
	if conv.OAuth {
		r.Connections = 1
		if c, err := a.connectionOf(ctx, name); err == nil && c.State == string(freshet.StateOK) {
			r.Findings = slices.DeleteFunc(r.Findings, func(f workflow.Finding) bool { return f.Code == "connect" })
		}
	}
	for _, w := range res.Warnings {
		r.Findings = append(r.Findings, workflow.Finding{Severity: workflow.Warning, Code: "resource", What: w.Path, Why: w.Detail})
	}
	return r, nil
}

// keptOf lays what a descriptor says over what people added to a resource that
// an earlier import made: a base URL, actions, a policy.
func (a *API) keptOf(ctx context.Context, key resource.Key, body json.RawMessage) (json.RawMessage, error) {
	v, err := a.o.Book.Get(ctx, key)
	if errors.Is(err, freshet.ErrNotFound) {
		return body, nil
	} else if err != nil {
		return nil, err
	}
	var old, next map[string]json.RawMessage
	if err := json.Unmarshal(v.Spec, &old); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &next); err != nil {
		return nil, err
	}
	for k, v := range next {
		old[k] = v
	}
	return json.Marshal(old)
}
