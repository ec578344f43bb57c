package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/resource"
)

// sourceOf reads a body of apply: a resource file in YAML or JSON, or a bundle
// of files with the values that they name. This server's own environment and
// disk are nobody's to read over the network: what a file alone names is not
// there.
func sourceOf(body []byte, name string) ([]resource.File, resource.Source, error) {
	var probe struct {
		Files []struct {
			Content *string `json:"content"`
		} `json:"files"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) && json.Unmarshal(body, &probe) == nil && len(probe.Files) > 0 && probe.Files[0].Content != nil {
		b, err := resource.ParseBundle(body)
		if err != nil {
			return nil, nil, invalid("body", err.Error())
		}
		return b.Files, b, nil
	}
	return []resource.File{{Name: name, Content: string(body)}}, &resource.Bundle{}, nil
}

func (a *API) applyEndpoints() {
	content := map[string]*huma.MediaType{}
	for _, t := range []string{"application/yaml", "application/json"} {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: `A resource file, or {"files":[{"name","content"}],"env":{},"secrets":{}}: files with the values that they name.`}}
	}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[applied](), true, "Applied")
	dry := &huma.Param{Name: "dry_run", In: "query", Description: "Say what would happen, and change nothing.", Schema: &huma.Schema{Type: huma.TypeBoolean}}
	op := huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/api/v1/apply", Summary: "Bring resources to the state of files", Tags: []string{"resources"}, MaxBodyBytes: maxApply,
		Description: "All or nothing, and idempotent. Errors name file, line and field.", Parameters: []*huma.Param{dry},
		RequestBody: &huma.RequestBody{Required: true, Content: content},
		Responses:   map[string]*huma.Response{"200": {Description: "What it did.", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}}}
	a.handle(op, rule{verb: access.Admin, own: true}, func(w http.ResponseWriter, r *http.Request, c *call) {
		res, err := a.apply(w, r, c)
		a.answer(w, r, res, err)
	})

	export := huma.Operation{OperationID: "export", Method: http.MethodGet, Path: "/api/v1/export", Summary: "Resources as they would be applied", Tags: []string{"resources"},
		Description: "YAML. Secrets show as [secret], and so do definitions of workflows without scope admin; reveal=true writes them in clear, needs scope admin, and is recorded.",
		Parameters: []*huma.Param{
			{Name: "kind", In: "query", Description: "Only this kind.", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "name", In: "query", Description: "With kind: only this one.", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "reveal", In: "query", Description: "With secrets in clear.", Schema: &huma.Schema{Type: huma.TypeBoolean}},
		},
		Responses: map[string]*huma.Response{"200": {Description: "A resource file.", Content: map[string]*huma.MediaType{"application/yaml": {Schema: &huma.Schema{Type: huma.TypeString}}}}}}
	a.handle(export, rule{verb: access.Read, own: true}, a.export)
}

func (a *API) apply(w http.ResponseWriter, r *http.Request, c *call) (*applied, error) {
	q, err := query(r, "dry_run")
	if err != nil {
		return nil, err
	}
	dryRun, err := q.truth("dry_run")
	if err != nil {
		return nil, err
	}
	body, name, err := readBody(w, r, maxApply)
	if err != nil {
		return nil, err
	}
	files, from, err := sourceOf(body, name)
	if err != nil {
		return nil, err
	}
	set, err := a.o.Book.Registry().Decode(files, from)
	if err != nil {
		return nil, err
	}
	const most = 100
	var names []string
	for _, it := range set.Items[:min(len(set.Items), most)] {
		names = append(names, it.Key.String())
	}
	if err := a.record(c, audit.ResourceApply, "", audit.Detail("resources", names, "count", len(set.Items), "dry_run", dryRun)); err != nil {
		return nil, err
	}
	res, err := a.o.Book.Apply(r.Context(), set, dryRun)
	if err != nil {
		return nil, err
	}
	return appliedOf(res), nil
}

func (a *API) export(w http.ResponseWriter, r *http.Request, c *call) {
	q, err := query(r, "kind", "name", "reveal")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	reveal, err := q.truth("reveal")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	k := resource.Key{Kind: q.Get("kind"), Name: q.Get("name")}
	if k.Kind == "" && k.Name != "" {
		a.fail(w, r, invalid("query.kind", "is needed with name"))
		return
	}
	action := audit.Export
	if reveal {
		action = audit.Reveal
		if !c.caller.May(access.Admin, "") {
			a.fail(w, r, unscoped(c.caller, access.Admin, ""))
			return
		}
		if err := noBrowser(r); err != nil {
			a.fail(w, r, err)
			return
		}
	}
	subject := k.String()
	if k.Kind == "" {
		subject = "*"
	}
	if err := a.record(c, action, subject, ""); err != nil {
		a.fail(w, r, err)
		return
	}
	out := &late{w: w, contentType: "application/yaml; charset=utf-8"}
	write := func() error { return a.o.Book.Export(r.Context(), out, k, reveal) }
	if !reveal && c.caller.May(access.Admin, "") {
		write = func() error { return a.o.Book.ExportDocuments(r.Context(), out, k) }
	}
	if err := write(); err != nil {
		if out.begun {
			// The status is gone. A cut answer is at least visibly cut.
			a.log.Warn("export broke off", "error", err)
			panic(http.ErrAbortHandler)
		}
		a.fail(w, r, err)
		return
	}
	out.begin()
}

// late writes the header with the first byte, so that an error before it is
// still a status.
type late struct {
	w           http.ResponseWriter
	contentType string
	begun       bool
}

func (l *late) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", l.contentType)
		l.w.WriteHeader(http.StatusOK)
	}
}

// Write begins the answer if need be.
func (l *late) Write(b []byte) (int, error) {
	l.begin()
	return l.w.Write(b)
}
