package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/importer"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

const (
	maxImported = 80 << 20 // files of one import
	maxInput    = 16 << 20 // of a run
)

// A declaration is a workflow's resource as a request would put it. What is
// stored shows as freshet.Redacted, and stays where it is put back.
type declaration struct {
	Definition string                     `json:"definition"`
	Publish    bool                       `json:"publish,omitempty"`
	Variables  map[string]json.RawMessage `json:"variables,omitempty"`
	MapInput   map[string]string          `json:"map_input,omitempty"`
	Public     bool                       `json:"public,omitempty"`
	Lock       string                     `json:"lock,omitempty"`
}

// declare changes what is declared of a workflow, or declares a new one.
func (a *API) declare(ctx context.Context, name string, change func(d *declaration)) (*resource.Result, error) {
	key := resource.Key{Kind: kindWorkflows, Name: name}
	var d declaration
	switch v, err := a.o.Book.Get(ctx, key); {
	case err == nil:
		if err := json.Unmarshal(v.Spec, &d); err != nil {
			return nil, err
		}
	case !errors.Is(err, freshet.ErrNotFound):
		return nil, err
	}
	change(&d)
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	set, err := a.o.Book.Registry().DecodeOne(key, resource.File{Name: "request.json", Content: string(b)})
	if err != nil {
		return nil, err
	}
	return a.o.Book.Apply(ctx, set, false)
}

// An importRequest is files with what is wanted of them.
type importRequest struct {
	Files []struct {
		Name    string `json:"name"`
		Content string `json:"content"`
	} `json:"files"`
	As       string                     `json:"as"`
	Publish  bool                       `json:"publish"`
	Set      map[string]json.RawMessage `json:"set"`
	MapInput map[string]string          `json:"map_input"`
}

// An imported is the answer to an import.
type imported struct {
	Reports []*check.Report    `json:"reports"`
	Skipped []importer.Skipped `json:"skipped,omitempty"`
}

func (a *API) importEndpoints() {
	object := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	content := map[string]*huma.MediaType{
		"multipart/form-data": {Schema: &huma.Schema{Type: huma.TypeObject, Description: "Parts: file (repeatable), as, publish (true), set (NAME=JSON, repeatable), map_input (NAME=EXPR, repeatable)."}},
		"application/json":    {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: `{"files":[{"name","content"}],"as","publish","set":{},"map_input":{}}, or the export itself.`}},
		"application/zip":     {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "A Solution."}},
	}
	op := huma.Operation{OperationID: "import", Method: http.MethodPost, Path: "/api/v1/import", Summary: "Import foreign formats", Tags: []string{"workflows"}, MaxBodyBytes: maxImported,
		Description: "What a file is, its content tells: an export of World of Workflows or Elsa 2, a Solution (zip), a definition of our own. A known name gets a new version; what was attached before stays. The report says what came over, and what, where and why did not.",
		Parameters: []*huma.Param{
			{Name: "as", In: "query", Description: "The name it gets here.", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "publish", In: "query", Description: "Publish it.", Schema: &huma.Schema{Type: huma.TypeBoolean}},
		},
		RequestBody: &huma.RequestBody{Required: true, Content: content},
		Responses:   map[string]*huma.Response{"200": {Description: "Reports, also if they hold findings.", Content: map[string]*huma.MediaType{"application/json": {Schema: object}}}}}
	a.handle(op, rule{verb: access.Admin, action: "import", subject: func(*http.Request) string { return "" }}, func(w http.ResponseWriter, r *http.Request, c *call) {
		out, err := a.importAll(w, r, c)
		a.answer(w, r, out, err)
	})
}

func (a *API) importAll(w http.ResponseWriter, r *http.Request, c *call) (*imported, error) {
	q, err := query(r, "as", "publish", "name")
	if err != nil {
		return nil, err
	}
	in, err := readImport(w, r, q.Get("name"))
	if err != nil {
		return nil, err
	}
	if v := q.Get("as"); v != "" {
		in.As = v
	}
	if q.Has("publish") {
		if in.Publish, err = q.truth("publish"); err != nil {
			return nil, err
		}
	}
	if len(in.Files) == 0 {
		return nil, problem.New(http.StatusBadRequest, "bad-body", "The request brings no file", "send the export itself, or multipart/form-data with a part named file")
	}
	out := &imported{Reports: []*check.Report{}}
	var files []importer.File
	var first error
	for _, f := range in.Files {
		if importer.Script([]byte(f.Content)) && a.o.Apps != nil {
			report, err := a.importScript(r.Context(), f.Name, f.Content, in)
			if err == nil {
				out.Reports = append(out.Reports, report)
				continue
			}
			if _, ok := errors.AsType[resource.Faults](err); !ok {
				return nil, err
			}
			if first == nil {
				first = err
			}
			out.Skipped = append(out.Skipped, importer.Skipped{File: f.Name, What: "a script", Why: err.Error()})
			continue
		}
		if importer.Component([]byte(f.Content)) {
			report, err := a.importComponent(r.Context(), f.Name, f.Content, in)
			if err == nil {
				out.Reports = append(out.Reports, report)
				continue
			}
			if _, ok := errors.AsType[resource.Faults](err); !ok {
				return nil, err
			}
			if first == nil {
				first = err
			}
			out.Skipped = append(out.Skipped, importer.Skipped{File: f.Name, What: "a component", Why: err.Error()})
			continue
		}
		found, skipped, err := importer.Open(f.Name, []byte(f.Content))
		files, out.Skipped = append(files, found...), append(out.Skipped, skipped...)
		if err != nil {
			if first == nil {
				first = err
			}
			out.Skipped = append(out.Skipped, importer.Skipped{File: f.Name, What: "a file", Why: strings.TrimPrefix(err.Error(), f.Name+": ")})
		}
	}
	if in.As != "" && len(files) > 1 {
		return nil, invalid("as", "names one workflow, and there are "+strconv.Itoa(len(files)))
	}
	ctx := library.By(r.Context(), c.caller.Actor())
	for _, f := range files {
		report, err := a.importOne(ctx, f, in)
		if err != nil {
			if _, ok := errors.AsType[resource.Faults](err); !ok {
				return nil, err // the server's trouble, not the file's
			}
			if first == nil {
				first = err
			}
			out.Skipped = append(out.Skipped, importer.Skipped{File: f.Name, What: "a workflow", Why: err.Error()})
			continue
		}
		out.Reports = append(out.Reports, report)
	}
	if len(out.Reports) > 0 {
		return out, nil
	}
	if first != nil && len(in.Files) == 1 {
		if lookup(first) != nil {
			return nil, first
		}
		return nil, problem.New(http.StatusUnprocessableEntity, "nothing-imported", "Nothing could be imported", first.Error())
	}
	p := problem.New(http.StatusUnprocessableEntity, "nothing-imported", "Nothing could be imported", "none of the files holds a workflow")
	p.Extra = map[string]any{"skipped": out.Skipped}
	return nil, p
}

// importOne imports a workflow. What keeps it from being published makes it a
// draft; its report says why.
func (a *API) importOne(ctx context.Context, f importer.File, in *importRequest) (*check.Report, error) {
	d, found, err := workflow.Parse(f.Data)
	if err != nil {
		return nil, err
	}
	name := in.As
	if name == "" {
		name = importer.NameOf(d, f.Name)
	}
	same := false
	switch old, _, err := a.o.Book.Workflow(ctx, name); {
	case err == nil:
		same = old.Definition.Equal(freshet.NewSecret(string(f.Data)))
	case !errors.Is(err, freshet.ErrNotFound):
		return nil, err
	}
	publish := in.Publish
	change := func(d *declaration) {
		d.Definition, d.Publish = string(f.Data), publish || same && d.Publish && len(in.Set)+len(in.MapInput) == 0
		for n, v := range in.Set {
			if d.Variables == nil {
				d.Variables = map[string]json.RawMessage{}
			}
			d.Variables[n] = v
		}
		for n, v := range in.MapInput {
			if d.MapInput == nil {
				d.MapInput = map[string]string{}
			}
			d.MapInput[n] = v
		}
	}
	res, err := a.declare(ctx, name, change)
	refused := ""
	if faults, ok := errors.AsType[resource.Faults](err); ok && publish {
		publish, same, refused = false, false, faults[0].Detail
		res, err = a.declare(ctx, name, change)
	}
	if err != nil {
		return nil, err
	}
	v, _, err := a.o.Library.File(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	var report *check.Report
	if a.o.Checker != nil {
		report = a.o.Checker.Report(ctx, v, found)
	} else {
		report = &check.Report{Name: name, Kind: "workflow", Version: v.Number, Published: v.Published, Activities: len(d.Activities), Connections: len(d.Edges), Findings: found}
	}
	report.File, report.Action = f.Name, string(res.Effects[0].Action)
	if refused != "" {
		report.Findings = append([]workflow.Finding{{Severity: workflow.Error, Code: "not-published", What: "the workflow is imported as a draft, and not published", Why: refused, Do: "correct that, and publish it"}}, report.Findings...)
	}
	if name != d.Name && in.As == "" {
		report.Findings = append([]workflow.Finding{{Severity: workflow.Info, Code: "named", What: "the workflow goes by the name " + name + " here",
			Why: "the file gives it none, or one that no workflow can have here", Do: "--as NAME gives it another"}}, report.Findings...)
	}
	return report, nil
}

// readImport reads what a request brings, in whichever form.
func readImport(w http.ResponseWriter, r *http.Request, name string) (*importRequest, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxImported)
	typ, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if typ == "multipart/form-data" {
		return readParts(multipart.NewReader(r.Body, params["boundary"]))
	}
	b, _, err := readBody(w, r, maxImported)
	if err != nil {
		return nil, err
	}
	in := &importRequest{}
	var probe struct {
		Files []struct {
			Content *string `json:"content"`
		} `json:"files"`
	}
	if typ == "application/json" && json.Unmarshal(b, &probe) == nil && len(probe.Files) > 0 && probe.Files[0].Content != nil {
		dec := json.NewDecoder(strings.NewReader(string(b)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(in); err != nil {
			return nil, invalid("body", `is {"files":[{"name","content"}],"as","publish","set":{},"map_input":{}}`)
		}
		return in, nil
	}
	if name == "" {
		name = "request"
	}
	in.add(name, string(b))
	return in, nil
}

func (in *importRequest) add(name, content string) {
	in.Files = append(in.Files, struct {
		Name    string `json:"name"`
		Content string `json:"content"`
	}{name, content})
}

func readParts(parts *multipart.Reader) (*importRequest, error) {
	in := &importRequest{Set: map[string]json.RawMessage{}, MapInput: map[string]string{}}
	for {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return in, nil
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(p)
		}
		if err != nil {
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return nil, err
			}
			return nil, problem.New(http.StatusBadRequest, "bad-body", "The request body cannot be read", "it is not the multipart/form-data that it says it is, or it broke off")
		}
		if p.FileName() != "" {
			in.add(p.FileName(), string(b))
			continue
		}
		text := string(b)
		name, value, pair := strings.Cut(text, "=")
		switch p.FormName() {
		case "as":
			in.As = text
		case "publish":
			if text != "true" && text != "false" {
				return nil, invalid("publish", "is true or false")
			}
			in.Publish = text == "true"
		case "set":
			if !pair || name == "" || !json.Valid([]byte(value)) {
				return nil, invalid("set", "is NAME=JSON: text is JSON in quotes")
			}
			in.Set[name] = json.RawMessage(value)
		case "map_input":
			if !pair || name == "" || strings.TrimSpace(value) == "" {
				return nil, invalid("map_input", "is NAME=EXPR: JavaScript over input")
			}
			in.MapInput[name] = value
		case "file":
			in.add("request", text)
		default:
			return nil, invalid(p.FormName(), "is not a part of an import; the parts are file, as, publish, set and map_input")
		}
	}
}

// A runAnswer is how a run ended, for its caller: not masked.
type runAnswer struct {
	RunID    string          `json:"run_id"`
	Status   string          `json:"status"`
	Outcomes []string        `json:"outcomes"`
	Output   json.RawMessage `json:"output"`
	Fault    *runFault       `json:"fault,omitempty"`
}

// runWorkflowEndpoint runs a workflow for whoever waits, or leaves it to the
// background.
func (a *API) runWorkflowEndpoint() {
	op := huma.Operation{OperationID: "run-workflow", Method: http.MethodPost, Path: workflowsPath + "/{name}/run", Summary: "Run a workflow", Tags: []string{"workflows"}, MaxBodyBytes: maxInput,
		Description: "The body is the run's input: JSON, or text with text/plain. Waits for its end and answers 200 whatever became of it; 202 with the run's address if it waits for something, or at once with Prefer: respond-async.",
		Parameters: []*huma.Param{nameParam("The workflow."),
			{Name: "correlation_id", In: "query", Description: "What the run can be found by.", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "activity", In: "query", Description: "The start activity, by id or name, where it is not the first.", Schema: &huma.Schema{Type: huma.TypeString}}},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {}, "text/plain": {}}},
		Responses: map[string]*huma.Response{"200": {Description: "How it ended.", Content: map[string]*huma.MediaType{"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(typeOf[runAnswer](), true, "RunAnswer")}}},
			"202": {Description: "It goes on by itself; Location is its address."}}}
	a.handle(op, rule{verb: access.Run, name: "name", action: "workflow.run"}, a.runWorkflow)
}

func (a *API) runWorkflow(w http.ResponseWriter, r *http.Request, c *call) {
	if a.o.Engine == nil {
		problem.Write(w, http.StatusNotImplemented, "not-in-this-version", "Not in this version", "running workflows is not in this version of Freshet", nil)
		return
	}
	req, err := a.runRequest(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if async(r) {
		// The run outlives the request that asked for it.
		id, err := a.o.Engine.Dispatch(context.WithoutCancel(r.Context()), *req)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		a.accepted(w, runAnswer{RunID: id, Status: string(run.Running), Outcomes: []string{}, Output: json.RawMessage("null")})
		return
	}
	out, err := a.o.Engine.Run(r.Context(), *req)
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
	if out.Status == run.Suspended || out.Status == run.Running || out.Status == run.Idle {
		a.accepted(w, answer)
		return
	}
	a.answerRaw(w, r, http.StatusOK, answer)
}

// maskedFault is a fault without what is known to be secret: its words come
// from anywhere.
func (a *API) maskedFault(f *run.Fault) *run.Fault {
	if f == nil {
		return nil
	}
	out := *f
	out.Message = redact.Text(out.Message)
	if a.o.Values != nil {
		out.Message = a.o.Values.Scrub(out.Message)
	}
	out.Cause = a.maskedFault(f.Cause)
	return &out
}

func (a *API) accepted(w http.ResponseWriter, v runAnswer) {
	w.Header().Set("Location", runsPath+"/"+v.RunID)
	a.answerRaw(w, nil, http.StatusAccepted, v)
}

// answerRaw writes JSON without HTML escapes: an output is what it is.
func (a *API) answerRaw(w http.ResponseWriter, _ *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // who does not read is gone
}

func async(r *http.Request) bool {
	for _, line := range r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			word, _, _ := strings.Cut(p, ";")
			if strings.EqualFold(strings.TrimSpace(word), "respond-async") {
				return true
			}
		}
	}
	return false
}

func (a *API) runRequest(w http.ResponseWriter, r *http.Request) (*engine.Request, error) {
	q, err := query(r, "correlation_id", "activity")
	if err != nil {
		return nil, err
	}
	b, _, err := readBody(w, r, maxInput)
	if err != nil {
		return nil, err
	}
	req := &engine.Request{Name: r.PathValue("name"), Activity: q.Get("activity"), CorrelationID: q.Get("correlation_id"), Trigger: "api"}
	if r.Header.Get("Freshet-Client") == "cli" {
		req.Trigger = "cli"
	}
	typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(b) == 0:
	case strings.HasPrefix(typ, "text/"):
		req.Input = content.Text(b, "utf-8")
	default:
		if req.Input, err = content.JSON(b); err != nil {
			return nil, invalid("body", "is not JSON: a text needs quotes, or Content-Type: text/plain")
		}
	}
	return req, nil
}
