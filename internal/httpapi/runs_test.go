package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
)

// openJournal opens the journal of runs.
func (w *world) openJournal(values *redact.Values, log *slog.Logger) {
	w.runs = run.New(run.Options{Store: w.store, Values: values, Alone: true, Log: log, Observe: func(e run.Event) {
		if w.api != nil {
			w.api.ObserveRun(e)
		}
	}})
}

func (w *world) begin(s run.Start) *run.Recorder {
	w.t.Helper()
	if s.Name == "" {
		s.Kind, s.Name = run.Workflow, "CallMyAPI"
	}
	r, err := w.runs.Begin(context.Background(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) end(r *run.Recorder, e run.End) {
	w.t.Helper()
	if err := r.End(context.Background(), e); err != nil {
		w.t.Fatal(err)
	}
}

// steersman is what cancels and retries where there is no engine.
type steersman struct {
	j    **run.Journal
	done []string
}

func (s *steersman) Cancel(ctx context.Context, id run.ID) error {
	s.done = append(s.done, "cancel "+id)
	r, err := (*s.j).Resume(ctx, id)
	if err != nil {
		return err
	}
	return r.End(ctx, run.End{Status: run.Cancelled})
}

func (s *steersman) Retry(ctx context.Context, id run.ID) error {
	s.done = append(s.done, "retry "+id)
	r, err := (*s.j).Resume(ctx, id)
	if err != nil {
		return err
	}
	return r.End(ctx, run.End{Outcomes: []string{"Good"}})
}

func ids(t *testing.T, a answer) (out string) {
	t.Helper()
	list, ok := a.json(t)["runs"].([]any)
	if a.status != 200 || !ok {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, v := range list {
		out += v.(map[string]any)["id"].(string) + " "
	}
	return strings.TrimSpace(out)
}

func TestRuns(t *testing.T) {
	w := newWorld(t)
	parent := w.begin(run.Start{Kind: run.Workflow, Name: "CallMyAPI", Version: 3, CorrelationID: "order 7", Trigger: "http", Road: run.RoadNative, Input: map[string]any{"path": "/me", "token": "CANARY-0123456789"}})
	child := w.begin(run.Start{Kind: run.Workflow, Name: "GetToken", Parent: parent.ID(), ParentStep: 1, Trigger: "workflow"})
	for i := range 3 {
		child.Step(run.Step{Type: "SetVariable", Name: fmt.Sprint("s", i), Event: "Executed", Duration: 1500 * time.Microsecond, Outcomes: []string{"Done"}, Message: "CANARY-0123456789"})
	}
	child.Secret("CANARY-0123456789")
	w.end(child, run.End{Fault: &run.Fault{Message: "no CANARY-0123456789", Cause: &run.Fault{Message: "x"}}})
	parent.Step(run.Step{Type: "RunWorkflow", Child: child.ID()})
	parent.Correlate("half way")
	other := w.begin(run.Start{Kind: run.Script, Name: "shop.js.f", Trigger: "api"})
	w.end(parent, run.End{Outcomes: []string{"Good"}, Output: map[string]any{"n": 1}})

	for query, want := range map[string]string{
		"":                                    other.ID() + " " + child.ID() + " " + parent.ID(),
		"?name=GetToken":                      child.ID(),
		"?kind=script":                        other.ID(),
		"?status=faulted":                     child.ID(),
		"?trigger=http":                       parent.ID(),
		"?parent=" + parent.ID():              child.ID(),
		"?correlation=order+7":                parent.ID(),
		"?correlation=hal*":                   parent.ID(),
		"?correlation=hal":                    "",
		"?since=2999-01-01T00:00:00Z":         "",
		"?until=2999-01-01T00:00:00Z&limit=1": other.ID(),
		"?limit=2":                            other.ID() + " " + child.ID(),
		"?limit=2&cursor=" + child.ID():       parent.ID(),
	} {
		if got := ids(t, w.do("GET", "/api/v1/runs"+query, "")); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if a := w.do("GET", "/api/v1/runs?limit=2", "").json(t); a["next_cursor"] != child.ID() {
		t.Errorf("%v", a["next_cursor"])
	}

	t.Run("cap086 from one id every step, and the runs above and below", func(t *testing.T) {
		a := w.do("GET", "/api/v1/runs/"+parent.ID(), "").json(t)
		if a["status"] != "finished" || a["version"] != 3.0 || a["correlation_id"] != "half way" || a["road"] != "native" || fmt.Sprint(a["children"]) != "["+child.ID()+"]" || fmt.Sprint(a["outcomes"]) != "[Good]" ||
			fmt.Sprint(a["input"]) != "map[path:/me token:[secret]]" || fmt.Sprint(a["output"]) != "map[n:1]" || a["ended_at"] == nil || a["duration_ms"] == nil || a["steps"] != 1.0 {
			t.Errorf("%v", a)
		}
		b := w.do("GET", "/api/v1/runs/"+child.ID(), "").json(t)
		if b["parent"] != parent.ID() || b["parent_step"] != 1.0 || fmt.Sprint(b["fault"]) != "map[cause:map[message:x] message:no [secret]]" {
			t.Errorf("%v", b)
		}
		j := w.do("GET", "/api/v1/runs/"+child.ID()+"/journal?limit=2", "").json(t)
		steps := j["steps"].([]any)
		if len(steps) != 2 || j["next_cursor"] != "2" || j["status"] != "faulted" {
			t.Fatalf("%v", j)
		}
		s := steps[1].(map[string]any)
		if s["number"] != 2.0 || s["name"] != "s1" || s["duration_ms"] != 1.5 || s["message"] != "[secret]" || fmt.Sprint(s["outcomes"]) != "[Done]" || s["at"] == nil {
			t.Errorf("%v", s)
		}
		if rest := w.do("GET", "/api/v1/runs/"+child.ID()+"/journal?cursor=2", "").json(t)["steps"].([]any); len(rest) != 1 {
			t.Errorf("%v", rest)
		}
	})

	for name, c := range map[string]struct {
		path   string
		status int
		slug   string
	}{
		"no run":          {"/api/v1/runs/none", 404, "not-found"},
		"no journal":      {"/api/v1/runs/none/journal", 404, "not-found"},
		"a cursor":        {"/api/v1/runs?cursor=7", 422, "invalid-request"},
		"a journal's":     {"/api/v1/runs/" + child.ID() + "/journal?cursor=x", 422, "invalid-request"},
		"a status":        {"/api/v1/runs?status=lost", 422, "invalid-request"},
		"an instant":      {"/api/v1/runs?since=yesterday", 422, "invalid-request"},
		"a mistyped name": {"/api/v1/runs?nmae=x", 422, "invalid-request"},
	} {
		if a := w.do("GET", c.path, ""); a.status != c.status || !strings.Contains(a.body, "/problems/"+c.slug+`"`) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.do("POST", "/api/v1/runs/"+other.ID()+"/cancel", ""); a.status != 501 || !strings.Contains(a.body, "not-in-this-version") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestRunsScopes(t *testing.T) {
	var w *world
	man := &steersman{}
	w = newWorld(t, func(tw *tweak) { tw.runs = man })
	man.j = &w.runs
	r := w.begin(run.Start{Name: "CallMyAPI"})
	if err := r.Suspend(context.Background()); err != nil {
		t.Fatal(err)
	}
	faulted := w.begin(run.Start{Name: "CallMyAPI"})
	w.end(faulted, run.End{Fault: &run.Fault{Message: "x"}})
	keys := map[string]string{"admin": w.admin, "read": w.key("read", "read"), "run": w.key("run", "run:Call*"), "other": w.key("other", "run:Other", "token:*", "call:*"), "nobody": ""}
	path := "/api/v1/runs/" + r.ID()
	for _, c := range []struct {
		key, method, path string
		status            int
	}{
		{"nobody", "GET", "/api/v1/runs", 401}, {"run", "GET", "/api/v1/runs", 403}, {"read", "GET", "/api/v1/runs", 200},
		{"nobody", "GET", path, 401}, {"other", "GET", path, 403}, {"run", "GET", path, 200}, {"read", "GET", path, 200},
		{"other", "GET", path + "/journal", 403}, {"run", "GET", path + "/journal", 200}, {"run", "GET", "/api/v1/runs/none", 404},
		{"nobody", "POST", path + "/cancel", 401}, {"other", "POST", path + "/cancel", 403}, {"read", "POST", path + "/cancel", 403},
		{"run", "POST", path + "/cancel", 200}, {"run", "POST", path + "/cancel", 409},
		{"read", "POST", "/api/v1/runs/" + faulted.ID() + "/retry", 403}, {"admin", "POST", "/api/v1/runs/" + faulted.ID() + "/retry", 200}, {"admin", "POST", "/api/v1/runs/none/retry", 404},
	} {
		if a := w.with(keys[c.key], c.method, c.path, ""); a.status != c.status {
			t.Errorf("%s %s %s: %d %s, want %d", c.key, c.method, c.path, a.status, a.body, c.status)
		}
	}
	if got := w.do("GET", path, "").json(t)["status"]; got != "cancelled" {
		t.Errorf("status %v", got)
	}
	if got := fmt.Sprint(man.done); got != fmt.Sprintf("[cancel %s cancel %s retry %s retry none]", r.ID(), r.ID(), faulted.ID()) {
		t.Errorf("carried out: %s", got)
	}
	for action, want := range map[string]int{"run.cancel": 2, "run.retry": 2} {
		rows := w.audited(action)
		if len(rows) != want || !strings.HasPrefix(rows[len(rows)-1]["subject"].(string), "run/") {
			t.Errorf("%s is on record %d times: %v", action, len(rows), rows)
		}
	}
}

// A listening is a stream that is read.
type listening struct {
	t     *testing.T
	lines chan string
	stop  func()
}

func (w *world) listen(t *testing.T, path string, pairs ...string) *listening {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.admin)
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %s", res.StatusCode, b)
	}
	l := &listening{t, make(chan string, 10_000), stop}
	go func() {
		defer close(l.lines)
		defer res.Body.Close()
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(stop)
	l.until("retry: ")
	return l
}

// until returns everything up to the line that begins so, which has to come.
func (l *listening) until(begins string) (all string) {
	l.t.Helper()
	give := time.After(20 * time.Second)
	for {
		select {
		case s, ok := <-l.lines:
			if !ok {
				l.t.Fatalf("the stream ends before %q: %s", begins, all)
			}
			all += s + "\n"
			if strings.HasPrefix(s, begins) {
				return all
			}
		case <-give:
			l.t.Fatalf("no %q in %s", begins, all)
		}
	}
}

func TestRunsAreStreamed(t *testing.T) {
	w := newWorld(t)
	r := w.begin(run.Start{})
	r.Secret("CANARY-0123456789")
	r.Step(run.Step{Message: "one CANARY-0123456789"})
	everything, list := w.listen(t, "/api/v1/stream"), w.listen(t, "/api/v1/runs")
	near := w.listen(t, "/api/v1/runs/"+r.ID()+"/journal")
	near.until("id: 1")
	if got := near.until("data: "); !strings.Contains(got, "event: step") || !strings.Contains(got, `"message":"one [secret]"`) {
		t.Errorf("%s", got)
	}
	r.Step(run.Step{Message: "two"})
	near.until("id: 2")
	late := w.listen(t, "/api/v1/runs/"+r.ID(), "Last-Event-ID", "1")
	if got := late.until("id: "); !strings.HasSuffix(got, "id: 2\n") {
		t.Errorf("from the second on: %s", got)
	}
	second := w.begin(run.Start{Name: "second"})
	w.end(r, run.End{Fault: &run.Fault{Message: "it broke on CANARY-0123456789"}})
	w.end(second, run.End{})
	for _, l := range []*listening{near, late} {
		l.until("event: end")
		if got := l.until("data: "); !strings.Contains(got, `"status":"faulted"`) || !strings.Contains(got, `"message":"it broke on [secret]"`) {
			t.Errorf("%s", got)
		}
		for range l.lines { // the server ends it
		}
	}
	// In the stream of everything a fault has a number, and comes once.
	got := list.until("event: run.finished")
	for _, want := range []string{"event: run.started", "event: run.faulted"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(got, want), want, got)
		}
	}
	all := everything.until("event: run.finished")
	if !strings.Contains(all, "event: run.faulted") {
		all += everything.until("event: run.faulted")
	}
	all += everything.until("data: ")
	if strings.Count(all, "event: run.faulted") != 1 || !strings.Contains(all, "id: ") || !strings.Contains(all, "event: run.started") || strings.Contains(all, "CANARY") || !strings.Contains(all, `"run":"`+r.ID()+`"`) {
		t.Errorf("%s", all)
	}
	events := w.do("GET", "/api/v1/events", "").body
	if !strings.Contains(events, `"type":"run.faulted"`) || strings.Contains(events, "run.started") {
		t.Errorf("%s", events)
	}
	if a := w.do("GET", "/api/v1/runs/none/journal", "", "Accept", "text/event-stream"); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/runs/"+r.ID()+"/journal", "", "Accept", "text/event-stream", "Last-Event-ID", "x"); a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A key that is revoked sees no further step.
func TestARevokedKeyFollowsNoLonger(t *testing.T) {
	w := newWorld(t)
	r := w.begin(run.Start{})
	l := w.listen(t, "/api/v1/runs/"+r.ID()+"/journal", "Authorization", "Bearer "+w.key("watcher", "run:*"))
	if a := w.do("DELETE", "/api/v1/keys/watcher", ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	l.until("event: end")
	for range l.lines {
	}
}
