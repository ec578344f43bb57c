package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

const (
	kindApps = "apps"
	appsPath = "/api/v1/apps"
)

// appEndpoints run functions of apps and serve their pages.
func (a *API) appEndpoints() {
	if a.o.Apps == nil {
		return
	}
	tags := []string{"apps"}
	register(a, huma.Operation{OperationID: "list-app-functions", Method: http.MethodGet, Path: appsPath + "/{name}/functions", Summary: "The functions of an app", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"128"`
		}) (*body[map[string][]string], error) {
			list, err := a.o.Apps.Functions(ctx, in.Name)
			if list == nil {
				list = []string{}
			}
			return answered(map[string][]string{"functions": list}, err)
		})
	op := huma.Operation{OperationID: "run-app-function", Method: http.MethodPost, Path: appsPath + "/{name}/run/{function}", Summary: "Run a function of an app", Tags: tags, MaxBodyBytes: maxInput,
		Description: "The body is the function's argument: JSON, or text with text/plain. Waits for its end and answers 200 whatever became of it. Jobs of one app run one at a time.",
		Parameters: []*huma.Param{nameParam("The app."), {Name: "function", In: "path", Required: true, Description: "OBJECT.FUNCTION", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "correlation_id", In: "query", Description: "What the run can be found by.", Schema: &huma.Schema{Type: huma.TypeString}}},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {}, "text/plain": {}}},
		Responses: map[string]*huma.Response{"200": {Description: "How it ended.", Content: map[string]*huma.MediaType{"application/json": {
			Schema: a.huma.OpenAPI().Components.Schemas.Schema(typeOf[runAnswer](), true, "RunAnswer")}}}}}
	a.handle(op, rule{verb: access.Run, name: "name", action: "app.run"}, a.runFunction)

	a.mux.HandleFunc("GET /apps/_/{asset}", func(w http.ResponseWriter, r *http.Request) {
		b, media := app.Asset(r.PathValue("asset"))
		if b == nil {
			a.nothing(w, r)
			return
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Write(b)
	})
	a.mux.HandleFunc("GET /apps/{app}/{page}", a.appPage)
	a.mux.HandleFunc("POST /apps/{app}/{page}", a.appPage)
}

// runFunction runs a function for whoever waits.
func (a *API) runFunction(w http.ResponseWriter, r *http.Request, _ *call) {
	req, err := a.runRequest(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	in := app.Request{App: r.PathValue("name"), Function: r.PathValue("function"), Trigger: req.Trigger, CorrelationID: req.CorrelationID}
	if req.Input != nil {
		if in.Input, err = content.Encode(req.Input); err != nil {
			a.fail(w, r, err)
			return
		}
	}
	out, err := a.o.Apps.Run(r.Context(), in)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	output, err := content.Encode(out.Output)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	answer := runAnswer{RunID: out.RunID, Status: string(out.Status), Outcomes: out.Outcomes, Output: output, Fault: runFaultOf(a.maskedFault(out.Fault))}
	if answer.Outcomes == nil {
		answer.Outcomes = []string{}
	}
	a.answerRaw(w, r, http.StatusOK, answer)
}

// otherSite refuses forms that a page of another site sends: the pages of an
// app that is open to everybody have buttons, too.
var otherSite = http.NewCrossOriginProtection()

// appPage serves a page of an app: to keys with run:APP, or to everybody if the app
// says so.
func (a *API) appPage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("app")
	public, err := a.o.Apps.Public(r.Context(), name)
	if !public {
		// Who may not enter does not learn what there is.
		if _, err := a.gate.admit(r, access.Run, name); err != nil {
			a.fail(w, r, err)
			return
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
	}
	typed, button := map[string]string{}, ""
	if r.Method == http.MethodPost {
		if err := otherSite.Check(r); err != nil {
			problem.Write(w, http.StatusForbidden, "other-site", "The request comes from another site", "press the button on the page itself", nil)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		if err := r.ParseForm(); err != nil {
			a.fail(w, r, invalid("body", "is no form"))
			return
		}
		for k, v := range r.PostForm {
			typed[k] = v[len(v)-1]
		}
		button = typed["press"]
		delete(typed, "press")
	}
	var view *app.View
	if button != "" {
		view, err = a.o.Apps.Press(r.Context(), name, r.PathValue("page"), button, "http", typed)
	} else {
		view, err = a.o.Apps.Load(r.Context(), name, r.PathValue("page"), "http", typed)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var b bytes.Buffer
	if err := view.Render(&b); err != nil {
		a.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", app.Policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Freshet-Run", view.RunID)
	w.Write(b.Bytes()) // who does not read is gone
}

// appProblem is what errors of apps are to callers.
func appProblem(err error) *problem.Problem {
	if e, ok := errors.AsType[*app.BrokenError](err); ok {
		return problem.New(http.StatusUnprocessableEntity, "broken-app", "The app cannot run", e.Error())
	}
	if e, ok := errors.AsType[*app.MissingError](err); ok {
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
	}
	return nil
}

var noIdentifier = regexp.MustCompile(`[^A-Za-z0-9_$]+`)

// importScript puts a JavaScript object into an app: the one that is named, or a
// new one that has the file's name.
func (a *API) importScript(ctx context.Context, name, text string, in *importRequest) (*check.Report, error) {
	base := path.Base(strings.ReplaceAll(name, "\\", "/"))
	object := strings.Trim(noIdentifier.ReplaceAllString(strings.TrimSuffix(base, path.Ext(base)), "_"), "_")
	if object == "" || object[0] >= '0' && object[0] <= '9' {
		object = "JSObject1"
	}
	as := in.As
	if as == "" {
		as = object
	}
	key := resource.Key{Kind: kindApps, Name: as}
	spec := map[string]json.RawMessage{}
	switch v, err := a.o.Book.Get(ctx, key); {
	case err == nil:
		if err := json.Unmarshal(v.Spec, &spec); err != nil {
			return nil, err
		}
	case !errors.Is(err, freshet.ErrNotFound):
		return nil, err
	}
	scripts := map[string]string{}
	if len(spec["scripts"]) > 0 {
		if err := json.Unmarshal(spec["scripts"], &scripts); err != nil {
			return nil, err
		}
	}
	scripts[object] = text
	b, err := json.Marshal(scripts)
	if err != nil {
		return nil, err
	}
	spec["scripts"] = b
	if b, err = json.Marshal(spec); err != nil {
		return nil, err
	}
	set, err := a.o.Book.Registry().DecodeOne(key, resource.File{Name: "request.json", Content: string(b)})
	if err != nil {
		return nil, err
	}
	res, err := a.o.Book.Apply(ctx, set, false)
	if err != nil {
		return nil, err
	}
	r := &check.Report{Name: as, Kind: "app", File: name, Action: string(res.Effects[0].Action)}
	def, _, _, err := a.o.Book.App(ctx, as)
	if err != nil {
		return nil, err
	}
	functions, missing := app.Needs(def, object)
	r.Activities = len(functions)
	for _, f := range functions {
		r.Starts = append(r.Starts, as+"."+object+"."+f)
	}
	for _, q := range missing {
		r.Findings = append(r.Findings, workflow.Finding{Severity: workflow.Warning, Code: "no-query", What: "the script runs the query " + q + ", and the app has none of that name",
			Why: "a script's file holds no queries", Do: fmt.Sprintf("declare it: apps: {%s: {queries: {%s: {method: …, url: …}}}}, with the scripts as [secret]", as, q)})
	}
	for _, w := range res.Warnings {
		r.Findings = append(r.Findings, workflow.Finding{Severity: workflow.Warning, Code: "app", What: w.Path, Why: w.Detail})
	}
	return r, nil
}
