package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
	"github.com/freshet-dev/freshet/internal/workflow/rows"
)

// A site is endpoints over the real engine, evaluator, tables and database, and
// an API that logs in and answers.
type site struct {
	*httptest.Server
	t       *testing.T
	h       *Handler
	eng     *engine.Engine
	journal *run.Journal
	tables  *table.Tables
	st      *store.Store

	mu    sync.Mutex
	list  []*workflow.Version
	api   *httptest.Server
	seen  []string // METHOD path authorization body
	reply func(w http.ResponseWriter, r *http.Request)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	dir := t.TempDir()
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.st, err = sqlite.Open(t.Context(), dir, sqlite.Options{})
	must(err)
	t.Cleanup(func() { s.st.Close() })
	v, err := vault.Open(t.Context(), s.st, vault.MasterKeyFile(filepath.Join(dir, "master.key")))
	must(err)
	s.tables = table.New(table.Options{Store: s.st, Sealer: v})
	guard, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	must(err)
	t.Cleanup(guard.Close)
	scripts, err := script.New(script.Options{Prelude: expr.Prelude()})
	must(err)
	t.Cleanup(func() { scripts.Close() })
	eval := expr.New(expr.Options{Engine: scripts, Services: expr.Services{DefinitionByName: func(_ context.Context, name string) (string, bool) {
		v, err := s.Published(context.Background(), name)
		if err != nil {
			return "", false
		}
		return v.ID, true
	}}})
	values := redact.NewValues(0)
	s.journal = run.New(run.Options{Store: s.st, Values: values, Alone: true})
	var specs []activity.Spec
	for _, g := range [][]activity.Spec{activity.Control(), activity.Primitives(), activity.Workflows(nil), Specs(), rows.Specs(s.tables),
		outbound.Specs(outbound.Options{Transport: guard.Transport(dial.Upstream), Timeout: 5 * time.Second})} {
		specs = append(specs, g...)
	}
	s.eng = engine.New(engine.Options{Library: s, Registry: activity.NewRegistry(specs...), Evaluator: eval, Journal: s.journal, Store: s.st, Sealer: v, Alone: true})
	must(s.eng.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.eng.Close(ctx)
		s.journal.Close(ctx)
	})
	s.h = New(Options{Library: s, Evaluator: eval, Runner: Engine{s.eng, s.journal, s.st}, Gate: gate{}, References: Lookup{Tables: s.tables}, Values: values})
	s.Server = httptest.NewServer(s.h)
	t.Cleanup(s.Close)
	s.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), b))
		reply := s.reply
		s.mu.Unlock()
		if reply != nil {
			reply(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/auth" {
			io.WriteString(w, `{"authToken":"issued-token-1","expiresInMinutes":60}`)
			return
		}
		io.WriteString(w, `{"z":"<&>","a":1}`)
	}))
	t.Cleanup(s.api.Close)
	return s
}

type gate struct{}

func (gate) AuthorizeRun(r *http.Request, name string) (string, error) {
	if r.Header.Get("Authorization") == "Bearer fk_test" {
		return "key:test#1", nil
	}
	return "", problem.New(http.StatusUnauthorized, "unauthorized", "A valid API key is needed", "")
}

// publish puts a workflow on the site.
func (s *site) publish(file string, change func(v *workflow.Version)) *workflow.Version {
	s.t.Helper()
	d, _, err := workflow.Parse([]byte(file))
	if err != nil {
		s.t.Fatal(err)
	}
	v := &workflow.Version{ID: "id-" + d.Name, Name: d.Name, Number: 1, Published: true, Definition: d}
	if change != nil {
		change(v)
	}
	s.mu.Lock()
	s.list = append(s.list, v)
	s.mu.Unlock()
	if err := s.h.Rebuild(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *site) sample(name string, change func(v *workflow.Version)) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(string(b), change)
}

func (s *site) AllPublished(context.Context) ([]*workflow.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*workflow.Version{}, s.list...), nil
}

func (s *site) find(match func(v *workflow.Version) bool) (*workflow.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.list {
		if match(v) {
			return v, nil
		}
	}
	return nil, freshet.ErrNotFound
}

func (s *site) Published(_ context.Context, name string) (*workflow.Version, error) {
	return s.find(func(v *workflow.Version) bool { return v.Name == name })
}

func (s *site) ByID(_ context.Context, id string) (*workflow.Version, error) {
	return s.find(func(v *workflow.Version) bool { return v.ID == id })
}

func (s *site) Numbered(ctx context.Context, id string, _ int) (*workflow.Version, error) {
	return s.ByID(ctx, id)
}

// settings is the documents' table, with an expired token.
func (s *site) settings(token, expiry string) {
	s.t.Helper()
	if _, err := s.tables.Create(s.t.Context(), table.Schema{Name: "Settings", Columns: []table.Column{
		{Name: "Key", Type: table.String}, {Name: "Data1", Type: table.String, Secret: true}, {Name: "Data2", Type: table.String, Secret: true}}}); err != nil {
		s.t.Fatal(err)
	}
	for _, row := range []m{{"Key": "AccessToken", "Data1": token, "Data2": expiry}, {"Key": "AccessTokenCreds", "Data1": "wow", "Data2": "p+a&s'w\"d"}, {"Key": "APIBaseURL", "Data1": s.api.URL}} {
		if _, err := s.tables.As("config").Insert(s.t.Context(), "Settings", row); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) ask(method, path string, head ...string) (int, string, http.Header) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range head {
		name, v, _ := strings.Cut(h, ": ")
		r.Header.Add(name, v)
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func (s *site) runs() int {
	s.t.Helper()
	list, err := s.journal.List(s.t.Context(), run.Filter{}, "", 100)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list)
}

const key = "Authorization: Bearer fk_test"

func TestGetAccessToken(t *testing.T) {
	t.Run("cap084 the endpoint of the export", func(t *testing.T) {
		s := newSite(t)
		s.settings("", "")
		s.sample("get-changing-access-token-authentication.json", nil)
		if code, body, _ := s.ask("GET", "/getAccessToken"); code != 401 || s.runs() != 0 {
			t.Errorf("without a key: %d %s, %d runs", code, body, s.runs())
		}
		code, body, head := s.ask("GET", "/getaccesstoken/", key)
		if code != 200 || body != "issued-token-1" || head.Get("Content-Type") != "text/plain; charset=utf-8" || head.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %q %v", code, body, head)
		}
		var login m
		if len(s.seen) != 1 || !strings.HasPrefix(s.seen[0], "POST /auth  ") || json.Unmarshal([]byte(s.seen[0][12:]), &login) != nil || login["password"] != "p+a&s'w\"d" || login["username"] != "wow" {
			t.Errorf("the login: %q", s.seen)
		}
		if code, _, head := s.ask("POST", "/getAccessToken", key); code != 405 || head.Get("Allow") != "GET" {
			t.Errorf("POST: %d %v", code, head)
		}
		if code, _, _ := s.ask("GET", "/getAccessTokens", key); code != 404 {
			t.Errorf("another path: %d", code)
		}
		// The second caller gets the stored one.
		if code, body, _ = s.ask("GET", "/getAccessToken", key); code != 200 || body != "issued-token-1" || len(s.seen) != 1 {
			t.Errorf("%d %s, %q", code, body, s.seen)
		}
		// Nothing of the token or the password in what is kept of the runs.
		list, _ := s.journal.List(t.Context(), run.Filter{}, "", 100)
		for _, r := range list {
			steps, err := s.journal.Steps(t.Context(), r.ID, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal([]any{r, steps})
			for _, secret := range []string{"issued-token-1", "p+a&s", `p+a\u0026s`, "fk_test"} {
				if strings.Contains(string(b), secret) {
					t.Errorf("the journal holds %s: %s", secret, b)
				}
			}
		}
	})
	t.Run("cap093 no token is a failure with its text", func(t *testing.T) {
		s := newSite(t)
		s.settings("", "")
		s.sample("get-changing-access-token-authentication.json", nil)
		s.reply = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }
		code, body, _ := s.ask("GET", "/getAccessToken", key)
		if code != 502 || !strings.Contains(body, "403") || !strings.Contains(body, "token") {
			t.Errorf("%d %s", code, body)
		}
		s.api.Close()
		code, body, _ = s.ask("GET", "/getAccessToken", key)
		if code != 500 || !strings.Contains(body, "refuses the connection") || strings.Contains(body, "/auth") {
			t.Errorf("a dead authorization server: %d %s", code, body)
		}
	})
}

func TestCallMyAPI(t *testing.T) {
	s := newSite(t)
	s.settings("good-token-1", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	s.sample("call-my-api.json", func(v *workflow.Version) {
		v.Attachments.Variables = m{"BaseURL": m{"Data1": s.api.URL}}
		v.Attachments.MapInput = map[string]string{"api": "input.api", "Method": "input.method2", "Content": "input.content2"}
	})
	call := func(status int) engine.Outcome {
		t.Helper()
		s.mu.Lock()
		s.seen = nil
		s.reply = nil
		if status != 200 {
			s.reply = func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, `{"why":"no"}`)
			}
		}
		s.mu.Unlock()
		out, err := s.eng.Run(t.Context(), engine.Request{Name: "CallMyAPI", Input: m{"api": "/me?x=1", "method2": "PUT", "content2": `{"b":2}`}, Trigger: "api"})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("cap101 cap102 a 200 takes its branch, the body is the output", func(t *testing.T) {
		out := call(200)
		var got m
		text, _ := out.Output.(string)
		if err := json.Unmarshal([]byte(text), &got); err != nil || out.Status != run.Finished || got["z"] != "<&>" || len(out.Outcomes) == 0 || out.Outcomes[0] != "success" {
			t.Errorf("%+v, %v", out, err)
		}
		if strings.Index(text, `"z"`) > strings.Index(text, `"a"`) {
			t.Errorf("members changed places: %s", text)
		}
		if len(s.seen) != 1 || s.seen[0] != `PUT /me?x=1 Bearer good-token-1 {"b":2}` {
			t.Errorf("%q", s.seen)
		}
	})
	for _, status := range []int{201, 404, 500} {
		t.Run(fmt.Sprintf("cap103 cap104 cap105 %d", status), func(t *testing.T) {
			out := call(status)
			text := fmt.Sprint(out.Output)
			if len(out.Outcomes) == 0 || out.Outcomes[0] != "error" || !strings.Contains(text, fmt.Sprintf("%d - ", status)) || !strings.Contains(text, "why") {
				t.Errorf("%+v", out)
			}
			r, err := s.journal.Get(t.Context(), out.RunID)
			if err != nil || !strings.Contains(r.CorrelationID, fmt.Sprintf("error: ")) || !strings.Contains(r.CorrelationID, fmt.Sprint(status)) {
				t.Errorf("the line of progress: %q, %v", r.CorrelationID, err)
			}
		})
	}
}

// definition writes an export.
func definition(name string, activities string, connections string) string {
	return fmt.Sprintf(`{"definitionId":"%s","name":"%s","version":1,"activities":[%s],"connections":[%s]}`, name, name, activities, connections)
}

func edge(from, to, outcome string) string {
	return fmt.Sprintf(`{"sourceActivityId":"%s","targetActivityId":"%s","outcome":"%s"}`, from, to, outcome)
}

func act(id, typ string, props ...string) string {
	return fmt.Sprintf(`{"activityId":"%s","type":"%s","name":"%s","properties":[%s]}`, id, typ, id, strings.Join(props, ","))
}

func p(name, syntax, text string) string {
	b, _ := json.Marshal(text)
	return fmt.Sprintf(`{"name":"%s","syntax":"%s","expressions":{"%s":%s}}`, name, syntax, syntax, b)
}

func TestWorkflowsThatCallEachOther(t *testing.T) {
	s := newSite(t)
	s.settings("shared-token-1", "")
	b := s.publish(definition("B", act("e", "HttpEndpoint", p("Path", "Literal", "/b"), p("Methods", "Json", `["POST"]`), p("ReadContent", "Literal", "true"), p("AuthorizeWithCustomHeader", "Literal", "true"), p("CustomHeaderName", "Literal", "Bearer"), p("CustomHeaderValue", "Liquid", "{{Variables.access_token}}"))+","+
		act("f", "Finish", p("ActivityOutput", "JavaScript", "({got: input.body.n, by: input.Headers.Host != null})")), edge("e", "f", "Done")), func(v *workflow.Version) {
		v.Attachments.Variables = m{"access_token": m{"$from": "Table:Settings/AccessToken/Data1"}}
	})
	s.publish(definition("A", act("e", "HttpEndpoint", p("Path", "Literal", "/a"))+","+
		act("l", "ObjectInstanceList", p("ObjectType", "Literal", "Settings"), p("Filter", "Literal", "Key eq 'AccessToken'"))+","+
		act("v", "SetVariable", p("VariableName", "Literal", "access_token"), p("Value", "JavaScript", "activities.l.Output()[0].Data1"))+","+
		act("s", "SendHttpRequest", p("Url", "Literal", s.URL+"/b"), p("Method", "Literal", "POST"), p("Content", "JavaScript", "({n: 7})"), p("ContentType", "Literal", "application/json"), p("ReadContent", "Literal", "true"), p("RequestHeaders", "Liquid", `{"Authorization":"Bearer {{Variables.access_token}}"}`))+","+
		act("f", "Finish", p("ActivityOutput", "JavaScript", "activities.s.ResponseContent()")),
		edge("e", "l", "Done")+","+edge("l", "v", "Done")+","+edge("v", "s", "Done")+","+edge("s", "f", "200")), func(v *workflow.Version) { v.Attachments.Public = true })
	_ = b
	t.Run("cap107 A calls B with the header", func(t *testing.T) {
		code, body, _ := s.ask("GET", "/a")
		if code != 200 || body != `{"by":true,"got":7}` {
			t.Errorf("%d %s", code, body)
		}
	})
	t.Run("cap108 without it no step of B runs", func(t *testing.T) {
		before := s.runs()
		for _, head := range [][]string{nil, {"Authorization: Bearer shared-token-2"}, {"Authorization: Bearer "}, {"Bearer: x"}} {
			if code, body, _ := s.ask("POST", "/b", head...); code != 401 {
				t.Errorf("%q: %d %s", head, code, body)
			}
		}
		if s.runs() != before {
			t.Errorf("%d runs", s.runs()-before)
		}
	})
	t.Run("cap109 the cell is the expected token, and rotates", func(t *testing.T) {
		rows, err := s.tables.As("config").List(t.Context(), "Settings", table.Query{Filter: "Key eq 'AccessToken'"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.tables.As("config").Update(t.Context(), rows[0].ObjectID, m{"Data1": "shared-token-2"}, table.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		// 500: let in, where the script finds no body to read n from.
		for token, want := range map[string]int{"shared-token-1": 401, "shared-token-2": 500} {
			code, body, _ := s.ask("POST", "/b", "Authorization: Bearer "+token)
			if code != want {
				t.Errorf("%s: %d %s", token, code, body)
			}
		}
	})
}

func TestAnswersOfRuns(t *testing.T) {
	s := newSite(t)
	public := func(v *workflow.Version) { v.Attachments.Public = true }
	s.publish(definition("Child", act("w", "WriteHttpResponse", p("Content", "Literal", "from the child"), p("StatusCode", "Literal", "Accepted")), ""), public)
	s.publish(definition("Parent", act("e", "HttpEndpoint", p("Path", "Literal", "/parent"))+","+act("r", "RunWorkflow", p("WorkflowDefinitionId", "JavaScript", "getWorkflowDefinitionIdByName('Child')"), p("Mode", "Literal", "Blocking")), edge("e", "r", "Done")), public)
	s.publish(definition("Missing", act("e", "HttpEndpoint", p("Path", "Literal", "/missing"))+","+
		act("r", "RunWorkflow", p("WorkflowDefinitionId", "JavaScript", "getWorkflowDefinitionIdByName('Nobody')"), p("Mode", "Literal", "Blocking"))+","+
		act("w", "WriteHttpResponse", p("Content", "JavaScript", `"not found"`), p("StatusCode", "Literal", "NotFound")), edge("e", "r", "Done")+","+edge("r", "w", "Not Found")), public)
	s.publish(definition("Twice", act("e", "HttpEndpoint", p("Path", "Literal", "/twice"))+","+act("a", "WriteHttpResponse", p("Content", "Literal", "one"))+","+act("b", "Redirect", p("Location", "Literal", "/x")), edge("e", "a", "Done")+","+edge("a", "b", "Done")), public)
	s.publish(definition("Go", act("e", "HttpEndpoint", p("Path", "Literal", "/go/{where}"))+","+act("a", "Redirect", p("Location", "JavaScript", "'/' + input.RouteValues.where")), edge("e", "a", "Done")), public)
	s.publish(definition("Ask", act("e", "HttpEndpoint", p("Path", "Literal", "/ask"))+","+act("c", "Correlate", p("Value", "JavaScript", "input.QueryString.id"))+","+act("w", "HttpEndpoint", p("Path", "Literal", "/answer"), p("Methods", "Json", `["POST","GET"]`))+","+
		act("f", "Finish", p("ActivityOutput", "JavaScript", "'answered ' + input.QueryString.by")), edge("e", "c", "Done")+","+edge("c", "w", "Done")+","+edge("w", "f", "Done")), public)
	s.publish(strings.Replace(definition("Single", act("e", "HttpEndpoint", p("Path", "Literal", "/single"))+","+act("w", "HttpEndpoint", p("Path", "Literal", "/single/end")), edge("e", "w", "Done")), `"version":1`, `"version":1,"isSingleton":true`, 1), public)
	for _, c := range []struct {
		path   string
		status int
		body   string // part of it
	}{
		{"/parent", 202, "from the child"},
		{"/missing", 404, "not found"},
		{"/twice", 200, "one"},
		{"/go/home", 302, ""},
		{"/ask?id=one", 202, `"status":"suspended"`},
		{"/ask?id=two", 202, `"status":"suspended"`},
		{"/answer?by=nobody", 409, "Several runs"},
		{"/answer?by=me&correlation=two", 200, "answered me"},
		{"/answer?by=you", 200, "answered you"},
		{"/answer?by=late", 404, "No run waits"},
		{"/single", 202, "suspended"},
		{"/single", 404, "once at a time"},
		{"/single/end", 200, ""},
		{"/single?x-dispatch=1", 202, `"status":"idle"`},
	} {
		code, body, head := s.ask("GET", c.path)
		if code != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, body, c.status, c.body)
		}
		if c.path == "/go/home" && head.Get("Location") != "/home" {
			t.Errorf("%v", head)
		}
		if c.path == "/missing" && body != "not found" {
			t.Errorf("cap100: %q", body)
		}
	}
}

func TestCallersThatHangUp(t *testing.T) {
	s := newSite(t)
	s.settings("", "")
	s.sample("get-changing-access-token-authentication.json", nil)
	asked, release := make(chan struct{}), make(chan struct{})
	s.reply = func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"authToken":"late-token-1","expiresInMinutes":60}`)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/getAccessToken", nil)
	r.Header.Set("Authorization", "Bearer fk_test")
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; err == nil {
		t.Error("the caller was answered")
	}
	close(release)
	// The engine's end waits for the run, whose token is stored then.
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if err := s.eng.Close(ctx); err != nil {
		t.Fatal(err)
	}
	rows, err := s.tables.ForRun("test", nil).List(t.Context(), "Settings", table.Query{Filter: "Key eq 'AccessToken'"})
	if err != nil || rows[0].Values["Data1"] != "late-token-1" {
		t.Errorf("%+v, %v", rows[0].Values, err)
	}
	if code, body, _ := s.ask("GET", "/getAccessToken", key); code != 503 {
		t.Errorf("after the end: %d %s", code, body)
	}
}
