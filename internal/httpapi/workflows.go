package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/importer"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

const (
	kindWorkflows = "workflows"
	workflowsPath = "/api/v1/workflows"
)

// Engine runs workflows; *engine.Engine is one.
type Engine interface {
	Run(ctx context.Context, r engine.Request) (engine.Outcome, error)
	Dispatch(ctx context.Context, r engine.Request) (run.ID, error)
}

// Checker reports what became of an imported workflow; *check.Checker is one.
type Checker interface {
	Report(ctx context.Context, v *workflow.Version, found []workflow.Finding) *check.Report
}

// A workflowView is a workflow in lists.
type workflowView struct {
	Name      string     `json:"name"`
	ID        string     `json:"id" doc:"What expressions get for the name; the same over versions."`
	Version   int64      `json:"version" doc:"The newest."`
	Published int64      `json:"published" doc:"The version that new runs use; 0: none."`
	Tag       string     `json:"tag,omitempty" doc:"Of the published version."`
	UpdatedAt *time.Time `json:"updated_at"`
}

func workflowViewOf(w store.Workflow) workflowView {
	return workflowView{w.Name, w.ID, w.Latest, w.Published, w.Tag, instant(w.UpdatedAt)}
}

type workflowList struct {
	Workflows  []workflowView `json:"workflows" doc:"In order of name."`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// A workflowWhole is one workflow with the shape of its newest version, without
// its expressions, which may hold old credentials.
type workflowWhole struct {
	workflowView
	Title      string         `json:"title,omitempty"`
	Public     bool           `json:"public,omitempty"`
	Variables  []string       `json:"variables,omitempty" doc:"Names of the default variables."`
	MapInput   []string       `json:"map_input,omitempty" doc:"Names of the variables that come from the input."`
	Activities []activityView `json:"activities"`
	Edges      []edgeView     `json:"edges"`
}

type activityView struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Name  string `json:"name,omitempty"`
	Title string `json:"title,omitempty"`
	X     int    `json:"x"`
	Y     int    `json:"y"`
}

type edgeView struct {
	From    string `json:"from"`
	Outcome string `json:"outcome"`
	To      string `json:"to"`
}

// A versionView is one version of a workflow.
type versionView struct {
	Number      int64      `json:"number"`
	Published   bool       `json:"published" doc:"New runs use it."`
	PublishedAt *time.Time `json:"published_at,omitempty" doc:"When it last became so."`
	Hash        string     `json:"hash" doc:"SHA-256 of the file."`
	Size        int64      `json:"size" doc:"Bytes of the file."`
	CreatedAt   *time.Time `json:"created_at"`
	CreatedBy   string     `json:"created_by,omitempty"`
}

type versionList struct {
	Versions   []versionView `json:"versions" doc:"The newest first."`
	NextCursor string        `json:"next_cursor,omitempty"`
}

type publishedView struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
}

// workflowEndpoints are there with a library.
func (a *API) workflowEndpoints() {
	if a.o.Library == nil {
		a.laterEndpoint(workflowsPath, "workflows")
		a.laterEndpoint("/api/v1/import", "the import of foreign formats")
		return
	}
	tags := []string{"workflows"}
	subject := func(r *http.Request) string { return kindWorkflows + "/" + r.PathValue("name") }
	register(a, huma.Operation{OperationID: "list-workflows", Method: http.MethodGet, Path: workflowsPath, Summary: "The workflows", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *Paging) (*body[workflowList], error) {
			rows, err := a.o.Library.Rows(ctx, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[workflowList]{workflowList{Workflows: make([]workflowView, len(rows))}}
			for i, w := range rows {
				out.Body.Workflows[i] = workflowViewOf(w)
			}
			if len(rows) == in.Limit {
				out.Body.NextCursor = rows[len(rows)-1].Name
			}
			return out, nil
		})
	register(a, huma.Operation{OperationID: "get-workflow", Method: http.MethodGet, Path: workflowsPath + "/{name}", Summary: "One workflow", Tags: tags,
		Description: "With its activities and connections, without their expressions: those are in the file of a version."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *workflowIn) (*body[workflowWhole], error) {
			return answered(a.workflow(ctx, in.Name))
		})
	register(a, huma.Operation{OperationID: "list-workflow-versions", Method: http.MethodGet, Path: workflowsPath + "/{name}/versions", Summary: "The versions of a workflow", Tags: tags}, rule{verb: access.Read, subject: subject},
		func(ctx context.Context, c *call, in *struct {
			Name   string `path:"name" maxLength:"512"`
			Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
			Cursor int64  `query:"cursor" minimum:"0"`
		}) (*body[versionList], error) {
			return answered(a.versions(ctx, in.Name, in.Cursor, in.Limit))
		})
	file := huma.Operation{OperationID: "get-workflow-file", Method: http.MethodGet, Path: workflowsPath + "/{name}/versions/{number}/file", Summary: "The file of a version, byte for byte", Tags: tags,
		Description: "As it was imported or applied; number 0 is the newest. Administrators only: foreign files hold old credentials.",
		Parameters:  []*huma.Param{nameParam("The workflow."), {Name: "number", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeInteger}}},
		Responses:   map[string]*huma.Response{"200": {Description: "The definition.", Content: map[string]*huma.MediaType{"application/json": {}, "application/yaml": {}}}}}
	a.handle(file, rule{verb: access.Admin, action: "workflow.file", subject: subject}, a.workflowFile)
	register(a, huma.Operation{OperationID: "diff-workflow", Method: http.MethodGet, Path: workflowsPath + "/{name}/diff", Summary: "What is different between two versions", Tags: tags,
		Description: "By meaning: white space and the order of members mean nothing. Defaults: from the published version (or the one before) to the newest."}, rule{verb: access.Admin, subject: subject},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512"`
			From int    `query:"from" minimum:"0"`
			To   int    `query:"to" minimum:"0"`
		}) (*body[diffView], error) {
			return answered(a.diff(ctx, in.Name, in.From, in.To))
		})
	register(a, huma.Operation{OperationID: "publish-workflow", Method: http.MethodPost, Path: workflowsPath + "/{name}/publish", Summary: "Publish the newest version", Tags: tags,
		Description: "New runs use it from then on; runs that have begun go on with theirs. If it is published already, it gets a new number."}, rule{verb: access.Admin, action: "workflow.publish", subject: subject},
		func(ctx context.Context, c *call, in *workflowIn) (*body[publishedView], error) {
			return answered(a.publish(library.By(ctx, c.caller.Actor()), in.Name))
		})
	register(a, huma.Operation{OperationID: "edit-workflow", Method: http.MethodPatch, Path: workflowsPath + "/{name}", Summary: "Edit a workflow", Tags: tags, MaxBodyBytes: maxFile,
		Description: "Makes a draft of the newest version in which nothing but the edits is different, down to the byte. A definition in YAML is put whole instead."}, rule{verb: access.Admin, action: "workflow.edit", subject: subject},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" maxLength:"512"`
			Body struct {
				Edits   []edit `json:"edits" minItems:"1" maxItems:"1000"`
				Publish bool   `json:"publish,omitempty"`
			}
		}) (*body[workflowWhole], error) {
			return answered(a.edit(library.By(ctx, c.caller.Actor()), in.Name, in.Body.Edits, in.Body.Publish))
		})
	a.importEndpoints()
	a.runWorkflowEndpoint()
}

type workflowIn struct {
	Name string `path:"name" maxLength:"512"`
}

func (a *API) workflow(ctx context.Context, name string) (workflowWhole, error) {
	row, err := a.o.Library.Get(ctx, name)
	if err != nil {
		return workflowWhole{}, err
	}
	v, _, err := a.o.Library.File(ctx, name, 0)
	if err != nil {
		return workflowWhole{}, err
	}
	out := workflowWhole{workflowView: workflowViewOf(row), Title: v.DisplayName, Public: v.Public, Activities: make([]activityView, len(v.Activities)), Edges: make([]edgeView, len(v.Edges))}
	for n := range v.Defaults() {
		out.Variables = append(out.Variables, n)
	}
	for n := range v.MapInput {
		out.MapInput = append(out.MapInput, n)
	}
	slices.Sort(out.Variables)
	slices.Sort(out.MapInput)
	for i, x := range v.Activities {
		out.Activities[i] = activityView{x.ID, x.Type, x.Name, x.DisplayName, x.X, x.Y}
	}
	for i, e := range v.Edges {
		o := e.Outcome
		if o == "" {
			o = workflow.Done
		}
		out.Edges[i] = edgeView{e.Source, o, e.Target}
	}
	return out, nil
}

func (a *API) versions(ctx context.Context, name string, below int64, limit int) (versionList, error) {
	row, err := a.o.Library.Get(ctx, name)
	if err != nil {
		return versionList{}, err
	}
	list, err := a.o.Library.Versions(ctx, row.ID, below, limit)
	if err != nil {
		return versionList{}, err
	}
	out := versionList{Versions: make([]versionView, len(list))}
	for i, v := range list {
		out.Versions[i] = versionView{v.Number, v.Number == row.Published, instant(v.PublishedAt), v.Hash, v.Size, instant(v.CreatedAt), v.CreatedBy}
	}
	if len(list) == limit && list[limit-1].Number > 1 {
		out.NextCursor = strconv.FormatInt(list[limit-1].Number, 10)
	}
	return out, nil
}

func (a *API) workflowFile(w http.ResponseWriter, r *http.Request, c *call) {
	name := r.PathValue("name")
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || number < 0 {
		a.fail(w, r, invalid("path.number", "is the number of a version, 0 for the newest"))
		return
	}
	v, b, err := a.o.Library.File(r.Context(), name, number)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	typ, ext := "application/json", ".json"
	if workflow.IsYAML(b) {
		typ, ext = "application/yaml", ".yaml"
	}
	h := w.Header()
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(kebab(name)+ext))
	h.Set("Freshet-Workflow-Version", strconv.Itoa(v.Number))
	serve(w, typ, b)
}

// kebab is what the platform names the file of a workflow: call-my-api.
func kebab(name string) string {
	var b strings.Builder
	lower := false
	for _, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			if lower {
				b.WriteByte('-')
			}
			b.WriteRune(c - 'A' + 'a')
			lower = false
			continue
		case c == ' ' || c == '_' || c == '/' || c == '\\':
			b.WriteByte('-')
			lower = false
			continue
		}
		b.WriteRune(c)
		lower = true
	}
	return b.String()
}

type diffView struct {
	From    int               `json:"from"`
	To      int               `json:"to"`
	Changes []workflow.Change `json:"changes"`
}

func (a *API) diff(ctx context.Context, name string, from, to int) (diffView, error) {
	row, err := a.o.Library.Get(ctx, name)
	if err != nil {
		return diffView{}, err
	}
	if to == 0 {
		to = int(row.Latest)
	}
	if from == 0 {
		if from = int(row.Published); from == 0 || from == to {
			from = max(1, to-1)
		}
	}
	docs := [2]*workflow.Document{}
	for i, number := range []int{from, to} {
		_, b, err := a.o.Library.File(ctx, name, number)
		if err != nil {
			return diffView{}, err
		}
		if docs[i], err = workflow.Read(b); err != nil {
			return diffView{}, err
		}
	}
	changes, err := workflow.Diff(docs[0], docs[1])
	if changes == nil {
		changes = []workflow.Change{}
	}
	return diffView{from, to, changes}, err
}

// publish publishes the newest version.
func (a *API) publish(ctx context.Context, name string) (publishedView, error) {
	row, err := a.o.Library.Get(ctx, name)
	if err != nil {
		return publishedView{}, err
	}
	if row.Published == row.Latest {
		err = a.o.Book.WorkflowAgain(ctx, name)
	} else {
		_, err = a.declare(ctx, name, func(d *declaration) { d.Publish = true })
	}
	if err != nil {
		return publishedView{}, err
	}
	row, err = a.o.Library.Get(ctx, name)
	return publishedView{name, row.Published}, err
}

// An edit changes one thing in a definition.
type edit struct {
	Path     string          `json:"path,omitempty" doc:"Of what is set or removed: activities[3].displayName."`
	Value    json.RawMessage `json:"value,omitempty" doc:"With path: the new value."`
	Remove   bool            `json:"remove,omitempty" doc:"With path: take it out."`
	Activity string          `json:"activity,omitempty" doc:"Instead of path: an activity's id or name, with property, syntax and text."`
	Property string          `json:"property,omitempty"`
	Syntax   string          `json:"syntax,omitempty" doc:"Becomes the one in use. Literal, JavaScript, Liquid, Json, Secret, Variable or Switch."`
	Text     string          `json:"text,omitempty"`
}

func (a *API) edit(ctx context.Context, name string, edits []edit, publish bool) (workflowWhole, error) {
	_, b, err := a.o.Library.File(ctx, name, 0)
	if err != nil {
		return workflowWhole{}, err
	}
	doc, err := workflow.Read(b)
	if err != nil {
		return workflowWhole{}, err
	}
	for i, e := range edits {
		at := "body.edits[" + strconv.Itoa(i) + "]"
		switch {
		case e.Activity != "" && e.Property != "" && e.Syntax != "" && e.Path == "":
			doc, err = doc.SetExpression(e.Activity, e.Property, e.Syntax, e.Text)
		case e.Path != "" && e.Remove && e.Value == nil:
			doc, err = doc.Remove(e.Path)
		case e.Path != "" && e.Value != nil && !e.Remove:
			doc, err = doc.Set(e.Path, e.Value)
		default:
			return workflowWhole{}, invalid(at, "has path and value, path and remove, or activity, property, syntax and text")
		}
		if err != nil {
			return workflowWhole{}, invalid(at, err.Error())
		}
	}
	if _, err := a.declare(ctx, name, func(d *declaration) { d.Definition, d.Publish = string(doc.Bytes()), publish }); err != nil {
		return workflowWhole{}, err
	}
	return a.workflow(ctx, name)
}

// workflowProblem is what errors of workflows are to a caller.
func workflowProblem(err error) *problem.Problem {
	if e, ok := errors.AsType[*library.NotFoundError](err); ok {
		if e.Draft {
			p := problem.New(http.StatusConflict, "not-published", "The workflow is not published", e.Error())
			p.Extra = map[string]any{"hint": "POST /api/v1/workflows/" + e.Value + "/publish, or freshet import FILE --publish"}
			return p
		}
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
	}
	if e, ok := errors.AsType[*importer.UnsupportedError](err); ok {
		return problem.New(http.StatusNotImplemented, "not-in-this-version", "Not in this version", e.Error())
	}
	if _, ok := errors.AsType[*workflow.SyntaxError](err); ok {
		return problem.New(http.StatusUnprocessableEntity, "invalid-workflow", "The file is no workflow definition", err.Error())
	}
	switch {
	case errors.Is(err, engine.ErrSingleton):
		return problem.New(http.StatusConflict, "singleton", "The workflow runs once at a time", err.Error())
	case errors.Is(err, engine.ErrNoActivity):
		return problem.New(http.StatusUnprocessableEntity, "invalid-request", "The request is not what it should be", err.Error())
	case errors.Is(err, engine.ErrClosed):
		return &problem.Problem{Slug: "closing", Title: "The server is ending", Status: http.StatusServiceUnavailable, Detail: "ask again in a moment", RetryAfter: time.Second}
	}
	return nil
}
