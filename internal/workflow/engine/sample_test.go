package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

func (s *sample) call(input map[string]any) Outcome {
	s.t.Helper()
	out, err := s.eng.Run(s.ctx, Request{Name: "CallMyAPI", Input: input, Trigger: "api"})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *sample) set(key, data1, data2 string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rows {
		if s.rows[i].Values["Key"] == key {
			s.rows[i].Values = map[string]any{"Key": key, "Data1": data1, "Data2": data2}
		}
	}
}

// lines are the journal as a person reads it: name, branches, message.
func (s *sample) lines(id run.ID) string {
	s.t.Helper()
	var out []string
	for _, r := range s.steps(id) {
		line := r.Name + " > " + strings.Join(r.Outcomes, ",")
		if r.Message != "" {
			line += " : " + r.Message
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func (s *sample) has(text string, wants ...string) {
	s.t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			s.t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func (s *sample) hasNot(text string, wants ...string) {
	s.t.Helper()
	for _, want := range wants {
		if strings.Contains(text, want) {
			s.t.Errorf("%q in\n%s", want, text)
		}
	}
}

var asked = map[string]any{"api": "/me", "method2": "GET", "content2": nil}

// Both samples run as they were exported, with what is attached to them.
func TestSamples(t *testing.T) {
	logsIn := func(body string, status int) func(url string) (int, string, error) {
		return func(url string) (int, string, error) {
			if strings.HasSuffix(url, "/auth") {
				return status, body, nil
			}
			return 200, `{"z":1,"a":[2]}`, nil
		}
	}
	child := func(s *sample, out Outcome) run.Run {
		t.Helper()
		ids, err := s.journal.Children(s.ctx, out.RunID, 10)
		if err != nil || len(ids) != 1 {
			t.Fatalf("children: %v %v", ids, err)
		}
		return s.get(ids[0])
	}
	expired := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)

	t.Run("cap089 a token that lives is used without a call for another", func(t *testing.T) {
		s := newSample(t)
		out := s.call(asked)
		s.is(run.Finished, out)
		if got := s.called(); len(got) != 1 || got[0] != "GET https://api.test/me Bearer tok-cached " {
			t.Errorf("calls %q", got)
		}
		if show(out.Outcomes) != "[success]" || out.Output != "{\n  \"ok\": true\n}" {
			t.Errorf("it finished with %v, %q", out.Outcomes, out.Output)
		}
	})
	t.Run("cap088 the journal shows which path was taken", func(t *testing.T) {
		s := newSample(t)
		s.has(s.lines(s.call(asked).RunID), "Is the token spent? > False")
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		s.has(s.lines(s.call(asked).RunID), "Is the token spent? > True")
		s.set("AccessToken", "", "")
		s.has(s.lines(s.call(asked).RunID), "Is the token spent? > True")
	})
	t.Run("cap085 each Correlate is a line of one run's log", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		c := child(s, s.call(asked))
		lines := s.lines(c.ID)
		s.has(lines, "Correlate - starting > Done : starting to get access token", "Correlate - saved > Done : new access token saved")
		if c.CorrelationID != "new access token saved" {
			t.Errorf("the correlation id is %q", c.CorrelationID)
		}
		for _, step := range s.steps(c.ID) {
			if step.At.IsZero() || step.Name == "" {
				t.Errorf("a step without time or name: %+v", step)
			}
		}
		for _, id := range []string{"starting to get access token", "new access token saved"} {
			list, err := s.journal.List(s.ctx, run.Filter{Correlation: id}, "", 10)
			if err != nil || len(list) != 1 || list[0].ID != c.ID {
				t.Errorf("by %q: %v %v", id, list, err)
			}
		}
	})
	t.Run("cap086 from one id every step, branch, duration and relative", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		out := s.call(asked)
		c := child(s, out)
		if c.Parent != out.RunID {
			t.Errorf("the child's parent is %q", c.Parent)
		}
		var linked bool
		for _, step := range s.steps(out.RunID) {
			if step.Type == "RunWorkflow" {
				linked = step.Child == c.ID && step.Number == c.ParentStep && step.Duration > 0
			}
		}
		if !linked {
			t.Error("the step that ran the child does not lead to it")
		}
		if n := len(s.steps(c.ID)); n != 16 {
			t.Errorf("the child has %d steps, want 16:\n%s", n, s.lines(c.ID))
		}
	})
	t.Run("cap087 edges carry the names of outcomes, and a missing one ends the run", func(t *testing.T) {
		s := newSample(t)
		s.mu.Lock()
		s.rows = s.rows[:1] // no creds: their list is empty
		s.mu.Unlock()
		s.define("missing", `
			a Mark Outcomes=["True"]
			b Mark
			c Mark
			a false b
			a TRUE c`)
		s.finished("missing", nil)
		s.ran("a c")
		s.define("none", `
			a Mark 'Outcomes=["Unsupported Status Code"]'
			b Mark
			a 200 b`)
		s.finished("none", nil)
		s.ran("a")
	})
	t.Run("cap096 cap098 a child is started by name and its token is put into a variable", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		out := s.call(asked)
		s.is(run.Finished, out)
		got := s.called()
		if len(got) != 2 || !strings.HasPrefix(got[0], "POST https://api.test/auth ") || !strings.Contains(got[0], `"username": "user"`) ||
			got[1] != "GET https://api.test/me Bearer new-token " {
			t.Errorf("calls %q", got)
		}
		if s.rows[0].Values["Data1"] != "new-token" {
			t.Errorf("the row holds %v", s.rows[0].Values)
		}
	})
	t.Run("cap097 the parent goes on when the child has ended, and a child that runs too long fails it", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		out := s.call(asked)
		c := child(s, out)
		for _, step := range s.steps(out.RunID) {
			if step.Type == "RunWorkflow" {
				if end := step.At.Add(step.Duration); end.Before(c.EndedAt.Add(-time.Millisecond)) {
					t.Errorf("the step ended at %v, the child at %v", end, c.EndedAt)
				}
			}
		}
		inWorld(t, func(w *world) {
			w.block = make(chan struct{})
			w.define("child", `b Block`)
			w.define("parent", `
				r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
				z Mark
				r Done z`)
			out := w.run("parent", nil)
			w.is(run.Faulted, out)
			w.ran("b")
		}, func(w *world) { w.limits.Time = time.Minute })
	})
	t.Run("cap099 a child's failure takes the parent's branch and is told there", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`denied`, 401)
		out := s.call(asked)
		s.is(run.Finished, out)
		s.has(s.lines(out.RunID), "Correlate - failed > Done : No access token. Status 401 - failed to get a new access token")
		c := child(s, out)
		if show(c.Outcomes) != "[error]" || string(c.Output) != `"No access token. Status 401"` {
			t.Errorf("the child finished with %v, %s", c.Outcomes, c.Output)
		}
		if got := s.called(); len(got) != 1 {
			t.Errorf("calls %q", got)
		}
	})
	t.Run("cap091 a blank token is told on its path and only there", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"","expiresInMinutes":60}`, 200)
		c := child(s, s.call(asked))
		s.has(s.lines(c.ID), "200 - the new access token is blank")
		if s.rows[0].Values["Data1"] != "old" {
			t.Errorf("the row holds %v", s.rows[0].Values)
		}
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		c2 := s.call(asked)
		s.hasNot(s.lines(child(s, c2).ID), "is blank")
	})
	t.Run("cap092 cap102 a parent and a caller get the output of Finish", func(t *testing.T) {
		s := newSample(t)
		out, err := s.eng.Run(s.ctx, Request{Name: "GetChangingAccessTokenAuthentication", Trigger: "http", HTTP: &HTTPExchange{}})
		if err != nil || out.Output != "tok-cached" || show(out.Outcomes) != "[success]" {
			t.Errorf("the caller got %+v, %v", out, err)
		}
		s.answer = func(string) (int, string, error) { return 200, `{"z":1,"a":[2]}`, nil }
		if out := s.call(asked); out.Output != "{\n  \"z\": 1,\n  \"a\": [\n    2\n  ]\n}" {
			t.Errorf("the data is %q", out.Output)
		}
	})
	t.Run("cap093 cap103 cap104 cap105 an error ends with its text and the status", func(t *testing.T) {
		for _, status := range []int{201, 404, 500} {
			s := newSample(t)
			s.answer = func(string) (int, string, error) { return status, "no such thing", nil }
			out := s.call(asked)
			s.is(run.Finished, out)
			code := activity.Format(int64(status))
			if show(out.Outcomes) != "[error]" || out.Output != `"`+code+` - no such thing"` {
				t.Errorf("%d: %v, %v", status, out.Outcomes, out.Output)
			}
			s.has(s.lines(out.RunID), "error: null /me - "+code, "Set ErrorResponse > Done", "Set ErrorResponseContent > Done")
			if r := s.get(out.RunID); show(r.Outcomes) != "[error]" {
				t.Errorf("the journal says %v", r.Outcomes)
			}
		}
	})
	t.Run("cap095 CallMyAPI looks at the expiry itself", func(t *testing.T) {
		s := newSample(t)
		out := s.call(asked)
		if ids, _ := s.journal.Children(s.ctx, out.RunID, 10); len(ids) != 0 {
			t.Errorf("it ran %v", ids)
		}
	})
	t.Run("cap100 without the child the caller is told", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.lib.mu.Lock()
		s.lib.versions = s.lib.versions[:1]
		s.lib.mu.Unlock()
		x := &HTTPExchange{}
		out, err := s.eng.Run(s.ctx, Request{Name: "CallMyAPI", Input: asked, HTTP: x})
		if err != nil {
			t.Fatal(err)
		}
		s.is(run.Finished, out)
		if a, ok := x.Answer(); !ok || string(a.Body) != "not found" {
			t.Errorf("the caller got %+v", a)
		}
	})
	t.Run("cap101 a 200 takes its own branch", func(t *testing.T) {
		s := newSample(t)
		s.has(s.lines(s.call(asked).RunID), "Send HTTP Request - api > Done,200\nCorrelate - finished > Done")
	})
	t.Run("cap106 a script sees input and sets the three variables", func(t *testing.T) {
		s := newSample(t)
		v, err := s.lib.Published(s.ctx, "CallMyAPI")
		if err != nil {
			t.Fatal(err)
		}
		d := *v.Definition
		first := workflow.Activity{ID: "first", Type: "RunJavaScript", Properties: []workflow.Property{{Name: "Script", Expressions: map[string]string{workflow.Literal: `
			let parameters = input;
			setVariable("api", parameters.api);
			setVariable("Method", parameters.method2);
			setVariable("Content", parameters.content2);`}}}}
		d.Activities = append([]workflow.Activity{first}, d.Activities...)
		d.Edges = append([]workflow.Edge{{Source: "first", Target: v.Starts()[0].ID}}, d.Edges...)
		s.put("CallMyAPI", &d, func(v *workflow.Version) {
			v.Attachments.Variables = map[string]any{"BaseURL": map[string]any{"Data1": "https://api.test"}}
		})
		out := s.call(map[string]any{"api": "/things", "method2": "PUT", "content2": `{"a":1}`})
		s.is(run.Finished, out)
		if got := s.called(); len(got) != 1 || got[0] != `PUT https://api.test/things Bearer tok-cached {"a":1}` {
			t.Errorf("calls %q", got)
		}
	})
	t.Run("cap094 a network failure is told with the step's name", func(t *testing.T) {
		s := newSample(t)
		s.answer = func(string) (int, string, error) { return 0, "", errNetwork }
		out := s.call(asked)
		s.is(run.Faulted, out)
		if out.Fault.Name != "Send HTTP Request - api" || !strings.Contains(out.Fault.Message, "connection refused") {
			t.Errorf("the fault is %+v", out.Fault)
		}
	})
	t.Run("as exported, without attachments, it faults as it does elsewhere", func(t *testing.T) {
		s := newSample(t)
		s.importFile("CallMyAPI", "call-my-api.json", workflow.Attachments{})
		out := s.call(asked)
		s.is(run.Faulted, out)
		if out.Fault.Type != "SendHttpRequest" || out.Fault.Property != "Url" {
			t.Errorf("the fault is %+v", out.Fault)
		}
	})
	t.Run("a lock closes the race of the table road", func(t *testing.T) {
		s := newSample(t)
		s.set("AccessToken", "old", expired)
		s.answer = logsIn(`{"authToken":"new-token","expiresInMinutes":60}`, 200)
		v, _ := s.lib.Published(s.ctx, "CallMyAPI")
		v.Attachments.Lock = "settings-token"
		done := make(chan Outcome)
		for range 8 {
			go func() {
				out, err := s.eng.Run(s.ctx, Request{Name: "CallMyAPI", Input: asked})
				if err != nil {
					t.Error(err)
				}
				done <- out
			}()
		}
		for range 8 {
			if out := <-done; out.Status != run.Finished {
				t.Errorf("%+v", out.Fault)
			}
		}
		logins := 0
		for _, c := range s.called() {
			if strings.Contains(c, "/auth") {
				logins++
			}
		}
		if logins != 1 {
			t.Errorf("%d logins", logins)
		}
	})
}
