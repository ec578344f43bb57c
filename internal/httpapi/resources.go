package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/resource"
)

// A declared is what somebody declared, without its secrets.
type declared struct {
	Kind      string          `json:"kind"`
	Name      string          `json:"name"`
	Origin    string          `json:"origin,omitempty" doc:"catalogue: built in, nobody declared it."`
	Revision  int64           `json:"revision,omitempty"`
	CreatedAt *time.Time      `json:"created_at,omitempty"`
	UpdatedAt *time.Time      `json:"updated_at,omitempty"`
	Spec      json.RawMessage `json:"spec" doc:"Secrets as [secret]."`
}

func declaredOf(v resource.View) declared {
	return declared{Kind: v.Kind, Name: v.Name, Revision: v.Revision, CreatedAt: instant(v.CreatedAt), UpdatedAt: instant(v.UpdatedAt), Spec: v.Spec}
}

// applied is what a change did.
type applied struct {
	Effects  []effect `json:"effects"`
	Warnings []fault  `json:"warnings,omitempty" doc:"What is odd, but was taken."`
	DryRun   bool     `json:"dry_run,omitempty" doc:"Nothing was changed."`
}

type effect struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action" enum:"created,changed,unchanged,deleted"`
}

type fault struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail"`
}

func appliedOf(r *resource.Result) *applied {
	a := &applied{Effects: make([]effect, len(r.Effects)), DryRun: r.DryRun}
	for i, e := range r.Effects {
		a.Effects[i] = effect{e.Kind, e.Name, string(e.Action)}
	}
	for _, w := range r.Warnings {
		a.Warnings = append(a.Warnings, fault{w.File, w.Line, w.Column, w.Path, w.Detail})
	}
	return a
}

const (
	maxFile  = 8 << 20  // one resource
	maxApply = 64 << 20 // a bundle of files

	kindConnections = "connections"
	kindProviders   = "providers"
)

// resourceEndpoints are those of each kind that this version holds. Connections
// and schedules have their own for looking.
func (a *API) resourceEndpoints() error {
	for _, k := range a.o.Book.Registry().Kinds() {
		switch {
		case k.Single:
			a.singleEndpoints(k)
		case k.Name == kindConnections, k.Name == kindSchedules && a.o.Schedules != nil, k.Name == kindTables && a.o.Tables != nil, k.Name == kindWorkflows, k.Name == kindProcesses:
			a.changeEndpoints(k, k.Name+"/{name}")
		default:
			a.lookEndpoints(k)
			a.changeEndpoints(k, k.Name+"/{name}")
		}
	}
	schema, err := a.o.Book.Registry().Schema()
	if err != nil {
		return err
	}
	a.handle(huma.Operation{OperationID: "resource-schema", Method: http.MethodGet, Path: "/api/v1/schema", Summary: "JSON Schema of resource files", Tags: []string{"resources"},
		Responses: jsonResponse("The schema (draft 2020-12).")}, rule{verb: access.Read}, func(w http.ResponseWriter, r *http.Request, c *call) {
		serve(w, "application/schema+json", schema)
	})
	return nil
}

func jsonResponse(text string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: text, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}}}}
}

func (a *API) lookEndpoints(k resource.Kind) {
	list := huma.Operation{OperationID: "list-" + k.Name, Method: http.MethodGet, Path: "/api/v1/" + k.Name, Summary: "The " + k.Name, Tags: []string{"resources"}, Description: k.Doc}
	if k.Name == kindProviders {
		list.Description += " The built-in ones are listed too, with origin: catalogue."
	}
	register(a, list, rule{verb: access.Read}, func(ctx context.Context, c *call, in *Paging) (*body[map[string]any], error) {
		items, next, err := a.declared(ctx, k, *in)
		if err != nil {
			return nil, err
		}
		out := &body[map[string]any]{map[string]any{k.Name: items}}
		if next != "" {
			out.Body["next_cursor"] = next
		}
		return out, nil
	})
	register(a, huma.Operation{OperationID: "get-" + k.One, Method: http.MethodGet, Path: "/api/v1/" + k.Name + "/{name}", Summary: "One " + k.One, Tags: []string{"resources"}}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name"`
		}) (*body[declared], error) {
			return answered(a.declaredOne(ctx, k, in.Name))
		})
}

// declared lists a kind, the catalogue's providers among the others.
func (a *API) declared(ctx context.Context, k resource.Kind, p Paging) ([]declared, string, error) {
	views, err := a.o.Book.List(ctx, k.Name, p.Cursor, p.Limit)
	if err != nil {
		return nil, "", err
	}
	out := make([]declared, 0, len(views))
	for _, v := range views {
		out = append(out, declaredOf(v))
	}
	if k.Name != kindProviders {
		return page1(out, p.Limit)
	}
	known := map[string]bool{}
	for _, d := range out {
		known[d.Name] = true
	}
	last := ""
	if len(views) == p.Limit { // beyond these there may be more, that come first
		last = views[len(views)-1].Name
	}
	for _, name := range catalog.Names() {
		if name <= p.Cursor || known[name] || last != "" && name > last {
			continue
		}
		d, err := a.catalogued(name)
		if err != nil {
			return nil, "", err
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b declared) int { return strings.Compare(a.Name, b.Name) })
	if len(out) > p.Limit {
		return out[:p.Limit], out[p.Limit-1].Name, nil
	}
	return page1(out, p.Limit)
}

// page1 adds the cursor to a page that may have another one after it.
func page1(out []declared, limit int) ([]declared, string, error) {
	if len(out) < limit || len(out) == 0 {
		return out, "", nil
	}
	return out, out[len(out)-1].Name, nil
}

func (a *API) declaredOne(ctx context.Context, k resource.Kind, name string) (declared, error) {
	v, err := a.o.Book.Get(ctx, resource.Key{Kind: k.Name, Name: name})
	if err == nil {
		return declaredOf(v), nil
	}
	if k.Name == kindProviders && errors.Is(err, freshet.ErrNotFound) {
		if d, cerr := a.catalogued(name); cerr == nil {
			return d, nil
		}
	}
	return declared{}, err
}

// catalogued is a built-in provider.
func (a *API) catalogued(name string) (declared, error) {
	p, ok := catalog.Provider(name)
	if !ok {
		return declared{}, &resource.NotFoundError{Key: resource.Key{Kind: kindProviders, Name: name}}
	}
	spec, err := json.Marshal(p)
	return declared{Kind: kindProviders, Name: name, Origin: "catalogue", Spec: spec}, err
}

func (a *API) singleEndpoints(k resource.Kind) {
	register(a, huma.Operation{OperationID: "get-" + k.One, Method: http.MethodGet, Path: "/api/v1/" + k.Name, Summary: "The " + k.One, Tags: []string{"resources"}, Description: k.Doc}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct{}) (*body[declared], error) {
			v, err := a.o.Book.Get(ctx, resource.Key{Kind: k.Name, Name: k.Name})
			if errors.Is(err, freshet.ErrNotFound) {
				return answered(declared{Kind: k.Name, Name: k.Name, Spec: json.RawMessage("{}")}, nil)
			}
			return answered(declaredOf(v), err)
		})
	a.changeEndpoints(k, k.Name)
}

// changeEndpoints are PUT and DELETE of one resource.
func (a *API) changeEndpoints(k resource.Kind, path string) {
	key := func(r *http.Request) resource.Key {
		if k.Single {
			return resource.Key{Kind: k.Name, Name: k.Name}
		}
		return resource.Key{Kind: k.Name, Name: r.PathValue("name")}
	}
	subject := func(r *http.Request) string { return key(r).String() }
	var params []*huma.Param
	if !k.Single {
		params = []*huma.Param{nameParam("The " + k.One + ".")}
	}
	content := map[string]*huma.MediaType{}
	for _, t := range []string{"application/json", "application/yaml"} {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "As below " + k.Name + " in a resource file: /api/v1/schema."}}
	}
	appliedSchema := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[applied](), true, "Applied")
	responses := map[string]*huma.Response{"200": {Description: "Done.", Content: map[string]*huma.MediaType{"application/json": {Schema: appliedSchema}}}}
	put := huma.Operation{OperationID: "put-" + k.One, Method: http.MethodPut, Path: "/api/v1/" + path, Summary: "Declare a " + k.One, Tags: []string{"resources"}, MaxBodyBytes: maxFile, Parameters: params,
		Description: "The body is the whole truth about it: a field that it leaves out is gone. A secret given as [secret] keeps its stored value. ${NAME} means nothing here.",
		RequestBody: &huma.RequestBody{Required: true, Content: content}, Responses: clone(responses)}
	a.handle(put, rule{verb: access.Admin, action: audit.ResourcePut, subject: subject}, func(w http.ResponseWriter, r *http.Request, c *call) {
		res, err := a.put(w, r, key(r))
		a.answer(w, r, res, err)
	})
	del := huma.Operation{OperationID: "delete-" + k.One, Method: http.MethodDelete, Path: "/api/v1/" + path, Summary: "Delete a " + k.One, Tags: []string{"resources"}, Parameters: params,
		Description: "Refused while others refer to it.", Responses: clone(responses)}
	a.handle(del, rule{verb: access.Admin, action: audit.ResourceDelete, subject: subject}, func(w http.ResponseWriter, r *http.Request, c *call) {
		at := key(r)
		err := a.o.Book.Delete(r.Context(), at)
		if d, ok := catalog.Provider(at.Name); ok && at.Kind == kindProviders && errors.Is(err, freshet.ErrNotFound) {
			err = problem.New(http.StatusConflict, "built-in", "The provider is built in", d.Title+" is part of the catalogue; nobody declared it, so there is nothing to delete")
		}
		if at.Kind == kindTables {
			err = a.dropTable(r.Context(), at.Name, err)
		}
		a.answer(w, r, &applied{Effects: []effect{{at.Kind, at.Name, string(resource.Deleted)}}}, err)
	})
}

func clone(m map[string]*huma.Response) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

func (a *API) put(w http.ResponseWriter, r *http.Request, k resource.Key) (*applied, error) {
	body, name, err := readBody(w, r, maxFile)
	if err != nil {
		return nil, err
	}
	set, err := a.o.Book.Registry().DecodeOne(k, resource.File{Name: name, Content: string(body)})
	if err != nil {
		return nil, err
	}
	res, err := a.o.Book.Apply(r.Context(), set, false)
	if err != nil {
		return nil, err
	}
	return appliedOf(res), nil
}

// answer writes a JSON answer, or what err is.
func (a *API) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	if err != nil {
		a.fail(w, r, err)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	serve(w, "application/json", b)
}

// readBody reads a body of resources, and names it after its type: JSON is
// read as JSON, anything else as YAML, which it is a part of.
func readBody(w http.ResponseWriter, r *http.Request, most int64) (body []byte, name string, err error) {
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, most)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, "", err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, "", problem.New(http.StatusBadRequest, "bad-body", "The request body cannot be read", "it broke off")
		}
		return nil, "", err
	}
	name = "body.yaml"
	if t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(strings.ToLower(t)) == "application/json" {
		name = "body.json"
	}
	return buf.Bytes(), name, nil
}
