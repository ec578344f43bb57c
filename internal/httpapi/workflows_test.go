package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/endpoint"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/library"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
	"github.com/freshet-dev/freshet/internal/workflow/rows"
)

// workflowRig is the part of a world that keeps workflows.
type workflowRig struct {
	library *library.Library
	checker *check.Checker
	engine  httpapiEngine
}

type httpapiEngine interface {
	Run(ctx context.Context, r engine.Request) (engine.Outcome, error)
	Dispatch(ctx context.Context, r engine.Request) (run.ID, error)
}

func (w *world) openLibrary(e httpapiEngine) {
	w.library = library.New(library.Options{Store: w.store, Sealer: w.vault})
	w.checker = check.New(check.Options{Types: activity.NewRegistry(slices.Concat(activity.Control(), activity.Primitives(), activity.Workflows(nil), outbound.Specs(outbound.Options{}), rows.Specs(nil), endpoint.Specs())...),
		Published: func(ctx context.Context, name string) bool {
			_, err := w.library.Published(ctx, name)
			return err == nil
		}})
	w.engine = e
}

func (w *world) workflowed(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return w.library.Remove(c, u.ID)
	}
	d, err := w.book.WorkflowIn(c, u.Name)
	if err != nil {
		return err
	}
	return w.library.Write(c, u.ID, u.Name, d, u.Again)
}

// foreign reads one of the exports: our own like the documents', or theirs.
func foreign(t *testing.T, name string) string {
	t.Helper()
	dir := "../workflow/testdata"
	if d := os.Getenv("FRESHET_DOCUMENTS"); d != "" {
		dir = filepath.Join(d, "samples")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// form makes a multipart body of files and fields.
func form(t *testing.T, files map[string]string, fields ...string) (body, typ string) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := m.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p, err := m.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(p, files[name])
	}
	m.Close()
	return b.String(), m.FormDataContentType()
}

type reports struct {
	Reports []check.Report
	Skipped []struct{ File, What, Why string }
}

func (w *world) bring(files map[string]string, fields ...string) reports {
	w.t.Helper()
	body, typ := form(w.t.(*testing.T), files, fields...)
	a := w.do("POST", "/api/v1/import", body, "Content-Type", typ)
	if a.status != 200 {
		w.t.Fatalf("import: %d %s", a.status, a.body)
	}
	var out reports
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	call, get := foreign(t, "call-my-api.json"), foreign(t, "get-changing-access-token-authentication.json")
	t.Run("cap081 both documents import and list by their names", func(t *testing.T) {
		out := w.bring(map[string]string{"a.json": call, "b.json": get})
		if len(out.Reports) != 2 || out.Reports[0].Name != "CallMyAPI" || out.Reports[1].Name != "GetChangingAccessTokenAuthentication" || out.Reports[0].Version != 1 || out.Reports[0].Action != "created" || out.Reports[0].Published {
			t.Fatalf("%+v", out)
		}
		if r := out.Reports[0]; len(r.Variables) != 5 || r.Activities != 17 || r.Connections != 17 {
			t.Errorf("%+v", r)
		}
		a := w.do("GET", "/api/v1/workflows", "")
		if !strings.Contains(a.body, `"name":"CallMyAPI"`) || !strings.Contains(a.body, `"name":"GetChangingAccessTokenAuthentication"`) {
			t.Errorf("list: %s", a.body)
		}
		if a := w.do("GET", "/api/v1/workflows/CallMyAPI", ""); a.status != 200 || strings.Count(a.body, `"type":`) != 17 || strings.Contains(a.body, "getVariable") {
			t.Errorf("one: %d %s", a.status, a.body)
		}
	})
	t.Run("the file comes back byte for byte", func(t *testing.T) {
		if a := w.do("GET", "/api/v1/workflows/CallMyAPI/versions/0/file", ""); a.body != call || a.header.Get("Content-Type") != "application/json" || !strings.Contains(a.header.Get("Content-Disposition"), "call-my-api.json") {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	})
	t.Run("a known name gets a version, and what is attached stays", func(t *testing.T) {
		out := w.bring(map[string]string{"a.json": call}, "set", `BaseURL={"Data1":"https://secret.example"}`, "map_input", "api=input.api", "publish", "true")
		r := out.Reports[0]
		if r.Version != 2 || !r.Published || r.Action != "changed" || len(r.Variables) != 3 || !slices.Equal(r.Attached, []string{"BaseURL", "api"}) {
			t.Errorf("%+v", r)
		}
		again := w.bring(map[string]string{"a.json": call}).Reports[0]
		if again.Version != 2 || again.Action != "unchanged" || !again.Published || len(again.Attached) != 2 {
			t.Errorf("again: %+v", again)
		}
		more := w.bring(map[string]string{"a.json": call}, "map_input", "Method=input.method").Reports[0]
		if more.Version != 3 || more.Published || len(more.Attached) != 3 {
			t.Errorf("more: %+v", more)
		}
		v, err := w.library.Published(t.Context(), "CallMyAPI")
		if err != nil || v.Number != 2 {
			t.Errorf("published %+v %v", v, err)
		}
		if a := w.do("GET", "/api/v1/export?kind=workflows", ""); strings.Contains(a.body, "secret.example") || !strings.Contains(a.body, "getAuthToken") {
			t.Errorf("an administrator's export: %s", a.body)
		}
		reader := w.key("reader", "read")
		if a := w.with(reader, "GET", "/api/v1/export?kind=workflows", ""); strings.Contains(a.body, "getAuthToken") {
			t.Error("a reader's export has definitions")
		}
		for _, path := range []string{"/api/v1/workflows/CallMyAPI/versions/0/file", "/api/v1/workflows/CallMyAPI/diff"} {
			if a := w.with(reader, "GET", path, ""); a.status != 403 {
				t.Errorf("a reader of %s: %d", path, a.status)
			}
		}
	})
	t.Run("cap082 the diff is only the edit", func(t *testing.T) {
		a := w.do("PATCH", "/api/v1/workflows/GetChangingAccessTokenAuthentication", `{"edits":[{"activity":"auth","property":"Method","syntax":"Literal","text":"PUT"}]}`)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		file := w.do("GET", "/api/v1/workflows/GetChangingAccessTokenAuthentication/versions/2/file", "").body
		if len(file)-len(get) != len(`"syntax":"Literal",`)-1 {
			t.Errorf("%d bytes were %d", len(file), len(get))
		}
		diff := w.do("GET", "/api/v1/workflows/GetChangingAccessTokenAuthentication/diff?from=1&to=2", "")
		var v struct {
			Changes []struct{ Kind, Path, From, To string }
		}
		if err := json.Unmarshal([]byte(diff.body), &v); err != nil || len(v.Changes) != 2 {
			t.Fatalf("%s", diff.body)
		}
		for _, c := range v.Changes {
			if !strings.Contains(c.Path, ".properties[1].") {
				t.Errorf("change %+v", c)
			}
		}
		if out := w.bring(map[string]string{"edited.json": file}); out.Reports[0].Action != "unchanged" {
			t.Errorf("imported again: %+v", out.Reports[0])
		}
	})
	t.Run("versions, publish and publish again", func(t *testing.T) {
		for _, want := range []string{`"version":2`, `"version":3`} {
			if a := w.do("POST", "/api/v1/workflows/GetChangingAccessTokenAuthentication/publish", ""); a.status != 200 || !strings.Contains(a.body, want) {
				t.Errorf("publish: %d %s, want %s", a.status, a.body, want)
			}
		}
		a := w.do("GET", "/api/v1/workflows/GetChangingAccessTokenAuthentication/versions", "")
		var v struct {
			Versions []struct {
				Number    int
				Published bool
				Hash      string
				CreatedBy string `json:"created_by"`
			}
		}
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Versions) != 3 || !v.Versions[0].Published || v.Versions[1].Published || v.Versions[0].Hash != v.Versions[1].Hash || !strings.HasPrefix(v.Versions[2].CreatedBy, "key:") {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("delete", func(t *testing.T) {
		if a := w.do("DELETE", "/api/v1/workflows/CallMyAPI", ""); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for _, path := range []string{"", "/versions", "/versions/1/file", "/diff"} {
			if a := w.do("GET", "/api/v1/workflows/CallMyAPI"+path, ""); a.status != 404 {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
}

func TestImportInOtherForms(t *testing.T) {
	w := newWorld(t)
	call := foreign(t, "call-my-api.json")
	if a := w.do("POST", "/api/v1/import?as=Raw", call, "Content-Type", "application/json"); a.status != 200 || !strings.Contains(a.body, `"name":"Raw"`) {
		t.Errorf("raw: %d %s", a.status, a.body)
	}
	if a := w.do("POST", "/api/v1/import", "workflow: Own\nactivities: {a: {type: WriteLine}}\n", "Content-Type", "application/yaml"); a.status != 200 || !strings.Contains(a.body, `"name":"Own"`) {
		t.Errorf("native: %d %s", a.status, a.body)
	}
	body := mustJSON(map[string]any{"files": []map[string]string{{"name": "x.json", "content": call}}, "as": "Wrapped Up", "publish": true, "set": map[string]any{"BaseURL": map[string]string{"Data1": "x"}}, "map_input": map[string]string{"api": "input.api"}})
	if a := w.do("POST", "/api/v1/import", body, "Content-Type", "application/json"); a.status != 200 || !strings.Contains(a.body, `"published":true`) {
		t.Errorf("wrapped: %d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/workflows/Wrapped%20Up", ""); a.status != 200 || !strings.Contains(a.body, `"variables":["BaseURL"]`) {
		t.Errorf("a name with a blank: %d %s", a.status, a.body)
	}
	for name, c := range map[string]struct {
		body, typ string
		status    int
		text      string
	}{
		"nothing":           {"", "application/json", 422, "the file is empty"},
		"broken":            {`{"activities":[`, "application/json", 422, "line 1, column 16: the file ends too early"},
		"invalid UTF-8":     {"{\"activities\":[],\"name\":\"\xe9\"}", "application/json", 422, "not UTF-8"},
		"50 MB":             {"{" + strings.Repeat(" ", 50<<20), "application/json", 422, "a definition has at most 4"},
		"elastic.io":        {`{"title":"x","credentials":{"oauth2":{}}}`, "application/json", 422, "credentials.oauth2.client_id is missing"},
		"Appsmith":          {"export default { a() {} }", "application/javascript", 501, "Appsmith"},
		"no zip":            {"PK\x03\x04....", "application/zip", 422, "damaged or cut off"},
		"an unknown member": {`{"files":[{"name":"a","content":"{}"}],"publihs":true}`, "application/json", 422, "publish"},
		"no multipart":      {"x", "multipart/form-data; boundary=b", 400, "no file"},
	} {
		a := w.do("POST", "/api/v1/import", c.body, "Content-Type", c.typ)
		if a.status != c.status || !strings.Contains(a.body, c.text) || len(a.body) > 2000 {
			t.Errorf("%s: %d %.500s", name, a.status, a.body)
		}
	}
	// What does not compile is imported and not published.
	bad := `{"definitionId":"d","name":"Bad","activities":[{"activityId":"a","type":"WriteLine","displayName":"Say","properties":[{"name":"Text","syntax":"JavaScript","expressions":{"JavaScript":"("}}]}]}`
	out := w.bring(map[string]string{"bad.json": bad, "broken.json": "{"}, "publish", "true")
	if len(out.Reports) != 1 || out.Reports[0].Published || out.Reports[0].Findings[0].Code != "not-published" || !strings.Contains(out.Reports[0].Findings[0].Why, `"Say" (WriteLine), property Text`) || len(out.Skipped) != 1 {
		t.Errorf("%+v", out)
	}
	if a := w.do("POST", "/api/v1/workflows/Bad/publish", ""); a.status != 422 || !strings.Contains(a.body, `\"Say\" (WriteLine), property Text`) {
		t.Errorf("publish: %d %s", a.status, a.body)
	}
	if a := w.with(w.key("runner", "run:*"), "POST", "/api/v1/import", call); a.status != 403 {
		t.Errorf("without admin: %d", a.status)
	}
}

// hand is an engine by hand.
type hand struct {
	asked []engine.Request
	out   engine.Outcome
	err   error
}

func (h *hand) Run(_ context.Context, r engine.Request) (engine.Outcome, error) {
	h.asked = append(h.asked, r)
	return h.out, h.err
}

func (h *hand) Dispatch(_ context.Context, r engine.Request) (run.ID, error) {
	h.asked = append(h.asked, r)
	return "01RUN", h.err
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := content.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRunWorkflow(t *testing.T) {
	h := &hand{}
	w := newWorld(t, func(tw *tweak) { tw.engine = h })
	h.out = engine.Outcome{RunID: "01ABC", Status: run.Finished, Outcomes: []string{"success"}, Output: "<token>"}
	key := w.key("runner", "run:Call*")
	t.Run("cap083 a workflow is run by its name", func(t *testing.T) {
		a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run?correlation_id=c1", `{"api":"/me"}`)
		if a.status != 200 || a.body != `{"run_id":"01ABC","status":"finished","outcomes":["success"],"output":"<token>"}`+"\n" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if r := h.asked[0]; r.Name != "CallMyAPI" || r.CorrelationID != "c1" || r.Trigger != "api" || string(encoded(t, r.Input)) != `{"api":"/me"}` {
			t.Errorf("%+v", r)
		}
	})
	if a := w.with(key, "POST", "/api/v1/workflows/Other/run", `{}`); a.status != 403 {
		t.Errorf("a name beyond the scope: %d", a.status)
	}
	w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", "plain words", "Content-Type", "text/plain")
	w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", "")
	if a, b := h.asked[1].Input, h.asked[2].Input; a != "plain words" || b != nil {
		t.Errorf("inputs %v %v", a, b)
	}
	if a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", `{"api":`); a.status != 422 {
		t.Errorf("broken input: %d %s", a.status, a.body)
	}
	a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", `{}`, "Prefer", "respond-async; wait=5")
	if a.status != 202 || a.header.Get("Location") != "/api/v1/runs/01RUN" || !strings.Contains(a.body, `"run_id":"01RUN"`) {
		t.Errorf("async: %d %v %s", a.status, a.header, a.body)
	}
	h.out = engine.Outcome{RunID: "01ABC", Status: run.Suspended}
	if a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", `{}`); a.status != 202 || a.header.Get("Location") != "/api/v1/runs/01ABC" || !strings.Contains(a.body, `"output":null`) {
		t.Errorf("suspended: %d %s", a.status, a.body)
	}
	h.out = engine.Outcome{RunID: "01ABC", Status: run.Faulted, Fault: &run.Fault{Message: "sent password=hunter2hunter2 away", Activity: "a"}}
	if a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", `{}`); a.status != 200 || !strings.Contains(a.body, `"status":"faulted"`) || strings.Contains(a.body, "hunter2hunter2") {
		t.Errorf("faulted: %d %s", a.status, a.body)
	}
	for err, want := range map[error]int{engine.ErrSingleton: 409, engine.ErrClosed: 503, &library.NotFoundError{What: "name", Value: "X"}: 404, &library.NotFoundError{What: "name", Value: "X", Draft: true}: 409, errors.New("boom"): 500} {
		h.err = err
		if a := w.with(key, "POST", "/api/v1/workflows/CallMyAPI/run", `{}`); a.status != want || strings.Contains(a.body, "boom") {
			t.Errorf("%v: %d %s", err, a.status, a.body)
		}
	}
	none := newWorld(t)
	if a := none.do("POST", "/api/v1/workflows/CallMyAPI/run", `{}`); a.status != 501 {
		t.Errorf("without an engine: %d", a.status)
	}
}
