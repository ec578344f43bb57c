package engine

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A sample is a world with real expressions and the two public token samples;
// tables and HTTP are Go functions.
type sample struct {
	*world
	scripts *script.Engine

	mu     sync.Mutex
	rows   []model.Row
	answer func(url string) (status int, body string, err error)
	calls  []string
}

func newSample(t testing.TB) *sample {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir)
	s := &sample{world: newWorld(t, dir)}
	// The limit is of time on the wall, and the machine may be busy.
	scripts, err := script.New(script.Options{Prelude: expr.Prelude(), Time: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.scripts = scripts
	s.more = s.specs
	s.evaluator = expr.New(expr.Options{Engine: scripts, Services: expr.Services{
		DefinitionByName: func(ctx context.Context, name string) (string, bool) {
			v, err := s.lib.Published(ctx, name)
			if err != nil {
				return "", false
			}
			return v.ID, true
		},
	}})
	s.open()
	t.Cleanup(func() {
		s.close()
		scripts.Close()
	})
	s.row("AccessToken", "tok-cached", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	s.row("AccessTokenCreds", "user", "pass")
	s.row("APIBaseURL", "https://api.test", "")
	s.answer = func(string) (int, string, error) { return 200, `{"ok":true}`, nil }
	s.importFile("CallMyAPI", "call-my-api.json", workflow.Attachments{
		Variables: map[string]any{"BaseURL": map[string]any{"Data1": "https://api.test"}},
		MapInput:  map[string]string{"api": "input.api", "Method": "input.method2", "Content": "input.content2"},
	})
	s.importFile("GetChangingAccessTokenAuthentication", "get-changing-access-token-authentication.json", workflow.Attachments{})
	return s
}

func (s *sample) importFile(name, file string, a workflow.Attachments) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", file))
	if err != nil {
		s.t.Fatal(err)
	}
	d, _, err := workflow.Parse(b)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(name, d, func(v *workflow.Version) { v.Attachments = a })
}

func (s *sample) row(key, data1, data2 string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, model.Row{ObjectID: int64(len(s.rows) + 1), Values: map[string]any{"Key": key, "Data1": data1, "Data2": data2}})
}

func (s *sample) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

// specs are tables, HTTP and endpoints, as far as the samples use them.
func (s *sample) specs() []activity.Spec {
	text := func(name string) activity.Field { return activity.Field{Name: name, Kind: activity.Text} }
	return []activity.Spec{
		{Type: "ObjectInstanceList", Fields: []activity.Field{text("ObjectType"), text("Filter")}, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			var out []any
			for _, r := range s.rows {
				if c.Text("Filter") == "Key eq '"+r.Values["Key"].(string)+"'" {
					out = append(out, r.Object())
				}
			}
			return activity.Result{Outputs: map[string]any{"Output": out}}, nil
		}},
		{Type: "ObjectInstanceGet", Fields: []activity.Field{{Name: "InstanceId", Kind: activity.Int}, text("VariableName")}, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			id, _ := c.Int("InstanceId")
			if id < 1 || int(id) > len(s.rows) {
				return activity.Result{Outcomes: []string{"Object instance not found"}}, nil
			}
			r := s.rows[id-1]
			c.Scope.SetVariable(c.Text("VariableName"), r.Object())
			return activity.Result{Outcomes: []string{"Success"}, Outputs: map[string]any{"Instance": r.Object()}}, nil
		}},
		{Type: "ObjectInstanceUpdate", Fields: []activity.Field{{Name: "InstanceId", Kind: activity.Int}, {Name: "Values", Kind: activity.Map, Syntax: workflow.JSON}, text("VariableName")},
			Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				id, _ := c.Int("InstanceId")
				r := &s.rows[id-1]
				values := map[string]any{"Key": r.Values["Key"]}
				for k, v := range c.Map("Values") {
					values[k] = v
				}
				r.Values = values
				return activity.Result{}, nil
			}},
		{Type: "SendHttpRequest", Fields: []activity.Field{text("Url"), text("Method"), {Name: "Content", Kind: activity.Any}, text("ContentType"), {Name: "ReadContent", Kind: activity.Bool},
			{Name: "SupportedStatusCodes", Kind: activity.Ints, Syntax: workflow.JSON, Default: []int64{200}}, {Name: "Authorization", Kind: activity.Text, Syntax: workflow.Secret}},
			Acts: true, AnyOutcome: true, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
				s.mu.Lock()
				s.calls = append(s.calls, c.Text("Method")+" "+c.Text("Url")+" "+c.Text("Authorization")+" "+c.Text("Content"))
				answer := s.answer
				s.mu.Unlock()
				status, body, err := answer(c.Text("Url"))
				if err != nil {
					return activity.Result{}, err
				}
				outcomes := []string{"Done", activity.Format(int64(status))}
				if !slices.Contains(c.Ints("SupportedStatusCodes"), int64(status)) {
					outcomes = append(outcomes, "Unsupported Status Code")
				}
				content, err := model.ParseJSON([]byte(body))
				if err != nil {
					content = body
				}
				return activity.Result{Outcomes: outcomes, Outputs: map[string]any{"Response": model.Response{StatusCode: status}.Object(), "ResponseContent": content}}, nil
			}},
		{Type: "HttpEndpoint", Trigger: true, Fields: []activity.Field{text("Path")}, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			if !c.First && c.Resume == nil {
				return activity.Result{Suspend: &activity.Bookmark{Kind: activity.WaitHTTP, Key: c.Text("Path")}}, nil
			}
			return activity.Result{Outputs: map[string]any{"Output": c.Input}}, nil
		}},
		{Type: "WriteHttpResponse", Fields: []activity.Field{text("Content"), {Name: "StatusCode", Kind: activity.Enum}}, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			return activity.Result{}, c.HTTP.Write(activity.Answer{Status: http.StatusOK, Body: []byte(c.Text("Content"))})
		}},
	}
}

// CallMyAPI as it was exported, with a cached token: 32 callers, journal on.
func BenchmarkCallMyAPI(b *testing.B) {
	s := newSample(b)
	input := map[string]any{"api": "/me", "method2": "GET"}
	one := func() {
		out, err := s.eng.Run(s.ctx, Request{Name: "CallMyAPI", Input: input, Trigger: "api"})
		if err != nil || out.Status != run.Finished || len(out.Outcomes) != 1 || out.Outcomes[0] != "success" {
			b.Errorf("%+v %+v %v", out, out.Fault, err)
		}
	}
	one()
	const callers = 32
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, callers)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				at := time.Now()
				one()
				times[i] = append(times[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	s.called()
}

// The engine alone: no script, no template.
func BenchmarkSteps(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir)
	w := newWorld(b, dir)
	w.open()
	defer w.close()
	w.define("flow", `
		a SetVariable VariableName=x Value=1
		if If Condition=true
		l For End=10
		v SetVariable VariableName=y Value=2
		f Finish ActivityOutput=done
		a Done if
		if True l
		l Iterate v
		if Done f`)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out, err := w.eng.Run(w.ctx, Request{Name: "flow"}); err != nil || out.Status != run.Finished {
				b.Error(out, err)
			}
		}
	})
}

var errNetwork = errors.New("connection refused")
