package workflows

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
)

// front calls CallMyAPI for HTTP callers, as a workflow of one's own would.
const front = `
workflow: Front
activities:
  in: { type: HttpEndpoint, with: { Path: /front, Methods: [GET, POST], ReadContent: true }, next: call }
  call:
    type: RunWorkflow
    with: { WorkflowDefinitionId: !js getWorkflowDefinitionIdByName("CallMyAPI"), Input: !js '({ api: "/api/me" })', PossibleOutcomes: [success, error], Mode: Blocking }
    next: { success: good, error: bad }
  good: { type: Finish, with: { ActivityOutput: !js activities.call.Output().workflowOutput, OutcomeNames: [success] } }
  bad: { type: Finish, with: { ActivityOutput: !js activities.call.Output().workflowOutput, OutcomeNames: [error] } }
`

// TestDocument is what the document on refreshing an access token says that its
// two workflows do, tailored as it advises.
func TestDocument(t *testing.T) {
	stores(t, func(t *testing.T, args ...string) {
		w := newWorld(t, tailored(t), args...)
		w.declare(t, "Front", front)
		me := m{"api": "/api/me"}
		logins := func() int { return w.em.Count("login") }

		t.Run("cap081 both workflows are listed by their names", func(t *testing.T) {
			out, _, _ := w.cli(t, "get", "workflows")
			if !strings.Contains(out, caller) || !strings.Contains(out, getter) {
				t.Error(out)
			}
		})
		t.Run("cap026 the login's token is stored", func(t *testing.T) {
			before := logins()
			if got := w.good(t, getter, nil); got == "" || w.em.Valid(got) != nil || got != w.row(t, "AccessToken").Data1 || logins() != before+1 {
				t.Errorf("%q, stored %+v, %d logins", got, w.row(t, "AccessToken"), logins()-before)
			}
			// Whatever stands in a password arrives.
			if r := w.em.Requests("login"); string(r[len(r)-1].Body) != `{"username":"alice","password":"p&w+1'<\""}` {
				t.Errorf("login body %s", r[len(r)-1].Body)
			}
		})
		t.Run("cap050 the workflow's own step logs in, with no connection", func(t *testing.T) {
			w.expire(t)
			r := w.run(t, getter, nil)
			if story := w.story(t, r.RunID); !strings.Contains(story, "get access token [SendHttpRequest] Done,200 ") || w.runOf(t, r.RunID).Road != "as written" {
				t.Errorf("%s", story)
			}
			if n := w.em.Count("client_credentials") + w.em.Count("refresh_token") + w.em.Count("password"); n != 0 {
				t.Errorf("%d token requests by connections", n)
			}
		})
		t.Run("cap058 the expiry is stored as an instant", func(t *testing.T) {
			w.expire(t)
			began := time.Now()
			w.good(t, getter, nil)
			at, err := time.Parse(time.RFC3339Nano, w.row(t, "AccessToken").Data2)
			if err != nil || at.Before(began.Add(59*time.Minute)) || at.After(time.Now().Add(61*time.Minute)) {
				t.Errorf("%v %v", at, err)
			}
		})
		t.Run("cap057 the new token is the one that the run goes on with", func(t *testing.T) {
			w.expire(t)
			w.good(t, caller, me)
			sent := w.em.Requests("api")
			if got, want := sent[len(sent)-1].Header.Get("Authorization"), "Bearer "+w.row(t, "AccessToken").Data1; got != want {
				t.Errorf("sent %q, stored %q", got, want)
			}
		})
		t.Run("cap089 a token that lives is used without a login", func(t *testing.T) {
			stored, before := w.row(t, "AccessToken").Data1, logins()
			r := w.run(t, getter, nil)
			if output(r) != stored || logins() != before || !strings.Contains(w.story(t, r.RunID), "using existing access token") {
				t.Errorf("%q, %d logins\n%s", output(r), logins()-before, w.story(t, r.RunID))
			}
		})
		t.Run("cap088 the journal shows which path was taken", func(t *testing.T) {
			r := w.run(t, getter, nil)
			if !strings.Contains(w.story(t, r.RunID), "If access token expired [If] False") {
				t.Error(w.story(t, r.RunID))
			}
			w.expire(t)
			r = w.run(t, getter, nil)
			if !strings.Contains(w.story(t, r.RunID), "If access token expired [If] True") {
				t.Error(w.story(t, r.RunID))
			}
		})
		t.Run("cap090 saved is told after the update", func(t *testing.T) {
			w.expire(t)
			r := w.run(t, getter, nil)
			story := w.story(t, r.RunID)
			if u, c := strings.Index(story, "[ObjectInstanceUpdate] Done"), strings.Index(story, "new access token saved"); u < 0 || c < u {
				t.Error(story)
			}
			// Where nothing is saved nothing is told.
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"http_500"}})
			w.expire(t)
			r = w.run(t, getter, nil)
			if strings.Contains(w.story(t, r.RunID), "new access token saved") {
				t.Error(w.story(t, r.RunID))
			}
		})
		t.Run("cap085 each Correlate is a line of one run's log", func(t *testing.T) {
			w.expire(t)
			r := w.run(t, getter, nil)
			n := 0
			for _, s := range w.steps(t, r.RunID) {
				if s.Type == "Correlate" {
					n++
					if s.Message == "" || s.At.IsZero() || !strings.HasPrefix(s.Name, "Correlate - ") {
						t.Errorf("%+v", s)
					}
				}
			}
			if n != 2 {
				t.Errorf("%d lines", n)
			}
			// The run is found by every id that it had.
			for _, id := range []string{"starting to get access token", "new access token saved"} {
				list, err := w.client.Runs(t.Context(), api.RunFilter{Correlation: id}, 100)
				if err != nil || len(list) == 0 || list[0].ID != r.RunID {
					t.Errorf("%s: %v %v", id, list, err)
				}
			}
		})
		t.Run("cap086 from one id every step, branch, duration and relative", func(t *testing.T) {
			w.expire(t)
			r := w.run(t, caller, me)
			up := w.runOf(t, r.RunID)
			if len(up.Children) != 1 {
				t.Fatalf("children %v", up.Children)
			}
			child := w.runOf(t, up.Children[0])
			if child.Parent != r.RunID || child.Name != getter || child.DurationMS == nil {
				t.Errorf("%+v", child)
			}
			for i, s := range w.steps(t, r.RunID) {
				if s.Number != i+1 || s.Type == "" || s.Name == "" || s.At.IsZero() || len(s.Outcomes) == 0 && s.Type != "Finish" {
					t.Errorf("%+v", s)
				}
			}
		})
		t.Run("cap092 the caller and a parent get the token", func(t *testing.T) {
			got := w.ask(t, "GET", "/getAccessToken", "", w.admin()...)
			if stored := w.row(t, "AccessToken").Data1; got.status != 200 || got.body != stored || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
				t.Errorf("%+v, stored %s", got, stored)
			}
		})
		t.Run("cap096 cap098 a child is started by its name and its token is put into a variable", func(t *testing.T) {
			w.expire(t)
			r := w.run(t, caller, me)
			story := w.story(t, r.RunID)
			if a, b := strings.Index(story, "[RunWorkflow] Done,success"), strings.LastIndex(story, "Set access_token [SetVariable] Done"); a < 0 || b < a {
				t.Error(story)
			}
		})
		t.Run("cap097 the parent goes on when the child has ended", func(t *testing.T) {
			w.expire(t)
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"slow:200ms"}})
			r := w.run(t, caller, me)
			steps := w.steps(t, r.RunID)
			for i, s := range steps {
				if s.Type != "RunWorkflow" {
					continue
				}
				child := w.runOf(t, s.Child)
				if child.EndedAt == nil || steps[i+1].At.Before(*child.EndedAt) {
					t.Errorf("the step after it began at %v, the child ended at %v", steps[i+1].At, child.EndedAt)
				}
			}
		})
		t.Run("cap095 CallMyAPI looks at the expiry itself", func(t *testing.T) {
			w.good(t, getter, nil)
			before := len(w.runs(t, getter))
			w.good(t, caller, me)
			if n := len(w.runs(t, getter)) - before; n != 0 {
				t.Errorf("%d runs of the child", n)
			}
		})
		t.Run("cap067 a valid token whatever the store holds", func(t *testing.T) {
			for _, state := range [][2]string{{"", ""}, {"expired", "2020-01-01T00:00:00Z"}, {"odd", "no date"}, {"", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}} {
				w.set(t, "AccessToken", state[0], state[1])
				if got := w.good(t, getter, nil); w.em.Valid(got) != nil {
					t.Errorf("%v: %q", state, got)
				}
			}
		})
		t.Run("cap030 a token with seconds left is fetched anew, with an hour not", func(t *testing.T) {
			w.good(t, getter, nil)
			stored, before := w.row(t, "AccessToken"), logins()
			w.set(t, "AccessToken", stored.Data1, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339Nano))
			w.good(t, caller, me)
			if logins() != before+1 {
				t.Errorf("%d logins", logins()-before)
			}
			w.good(t, caller, me)
			if logins() != before+1 {
				t.Errorf("%d logins for a fresh token", logins()-before-1)
			}
		})
		t.Run("cap056 cap091 a blank token is told on its path, and what is stored stays", func(t *testing.T) {
			for _, blank := range []string{`""`, `"  "`, `null`} {
				w.expire(t)
				w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"set:authToken=" + blank}})
				r := w.run(t, getter, nil)
				story := w.story(t, r.RunID)
				if r.Outcomes[0] != "error" || !strings.Contains(story, "new access token is blank") || w.row(t, "AccessToken").Data1 != "expired" || !strings.Contains(output(r), "blank") {
					t.Errorf("%s: %v %s %+v\n%s", blank, r.Outcomes, output(r), w.row(t, "AccessToken"), story)
				}
			}
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"omit:authToken"}})
			if r := w.run(t, getter, nil); r.Outcomes[0] != "error" || w.row(t, "AccessToken").Data1 != "expired" {
				t.Errorf("missing: %v", r.Outcomes)
			}
			r := w.run(t, getter, nil)
			if strings.Contains(w.story(t, r.RunID), "blank") {
				t.Error(w.story(t, r.RunID))
			}
		})
		t.Run("a missing lifetime does not lose the token", func(t *testing.T) {
			w.expire(t)
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"omit:expiresInMinutes"}})
			got := w.good(t, getter, nil)
			if stored := w.row(t, "AccessToken"); got == "" || stored.Data1 != got || w.em.Valid(got) != nil {
				t.Errorf("%q, stored %+v", got, stored)
			}
		})
		t.Run("cap093 no token is a failure with its text", func(t *testing.T) {
			w.expire(t)
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"http_403"}})
			got := w.ask(t, "GET", "/getAccessToken", "", w.admin()...)
			if got.status != 502 || !strings.Contains(got.body, "Unable to get access token") || !strings.Contains(got.body, "403") {
				t.Errorf("%+v", got)
			}
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"http_403"}})
			if _, errs, code := w.cli(t, "run", getter); code != 1 || !strings.Contains(errs, "outcome error") {
				t.Errorf("%d %s", code, errs)
			}
		})
		t.Run("cap094 a network failure is told with the step's name", func(t *testing.T) {
			w.expire(t)
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"reset"}})
			r := w.run(t, getter, nil)
			if story := w.story(t, r.RunID); r.Outcomes[0] != "error" || !strings.Contains(story, "Correlate - no answer [Correlate] Done get access token: ") {
				t.Errorf("%v\n%s", r.Outcomes, story)
			}
		})
		t.Run("cap099 a child's failure takes the parent's branch", func(t *testing.T) {
			w.expire(t)
			w.fault(t, emulator.Fault{At: "login", Mode: emulator.Modes{"http_500"}})
			r := w.run(t, caller, me)
			if story := w.story(t, r.RunID); r.Outcomes[0] != "error" || !strings.Contains(story, "failed to get new access token") || strings.Contains(story, "Send HTTP Request - api") {
				t.Errorf("%v\n%s", r.Outcomes, story)
			}
		})
		t.Run("cap100 without the child the caller is told 404", func(t *testing.T) {
			w.expire(t)
			if err := w.client.Delete(t.Context(), "workflows", getter); err != nil {
				t.Fatal(err)
			}
			got := w.ask(t, "GET", "/front", "", w.admin()...)
			if got.status != 404 || !strings.Contains(got.body, "not found") {
				t.Errorf("%+v", got)
			}
			w.apply(t, "workflows: { "+getter+": { file: d.json, publish: true, lock: '\"AccessToken\"' } }", "d.json", example(t, "definitions/get-changing-access-token-authentication.json"))
		})
		t.Run("cap101 cap102 a 200 takes its branch and the body is the output", func(t *testing.T) {
			out := w.good(t, caller, me)
			var who struct{ Sub string }
			if err := json.Unmarshal([]byte(out), &who); err != nil || who.Sub != "alice" {
				t.Errorf("%s", out)
			}
			got := w.ask(t, "GET", "/front", "", w.admin()...)
			if got.status != 200 || got.header.Get("Content-Type") != "application/json" || !strings.Contains(got.body, `"sub":"alice"`) {
				t.Errorf("%+v", got)
			}
		})
		t.Run("cap103 cap104 cap105 any other status takes its branch", func(t *testing.T) {
			for _, status := range []int{201, 404, 500} {
				w.fault(t, emulator.Fault{At: "api", Mode: emulator.Modes{fmt.Sprintf("http_%d:what the API says", status)}})
				r := w.run(t, caller, me)
				story := w.story(t, r.RunID)
				want := fmt.Sprintf("error: GET /api/me - %d", status)
				if r.Outcomes[0] != "error" || output(r) != fmt.Sprintf("%d - what the API says", status) || !strings.Contains(story, want) ||
					!strings.Contains(story, "Set ErrorResponse [") || !strings.Contains(story, "Set ErrorResponseContent [") {
					t.Errorf("%d: %v %q\n%s", status, r.Outcomes, output(r), story)
				}
			}
		})
		t.Run("cap013 a missing row ends on the error path", func(t *testing.T) {
			id := w.row(t, "APIBaseURL").ObjectID
			if err := w.client.DeleteRow(t.Context(), "Settings", id); err != nil {
				t.Fatal(err)
			}
			r := w.run(t, caller, me)
			if r.Status != "finished" || r.Outcomes[0] != "error" || !strings.Contains(w.story(t, r.RunID), "a row is missing") {
				t.Errorf("%+v", r)
			}
			b, _ := json.Marshal(m{"Key": "APIBaseURL", "Data1": w.base})
			if _, err := w.client.InsertRow(t.Context(), "Settings", b); err != nil {
				t.Fatal(err)
			}
		})
		t.Run("cap016 the next run calls the host that the setting names", func(t *testing.T) {
			u := newUpstream(t)
			for i, base := range []string{u.URL, u.URL} {
				w.set(t, "APIBaseURL", base, "")
				w.good(t, caller, m{"api": "/one?x=%2F&y"})
				if got := u.last(t); len(u.requests()) != i+1 || got.uri != "/one?x=%2F&y" {
					t.Errorf("%+v", got)
				}
			}
			w.set(t, "APIBaseURL", w.base, "")
		})
		t.Run("cap005 method, body and content type arrive", func(t *testing.T) {
			u := newUpstream(t)
			w.set(t, "APIBaseURL", u.URL, "")
			for _, method := range []string{"POST", "PUT", "DELETE"} {
				w.good(t, caller, m{"api": "/things/1", "method2": method, "content2": m{"a": "é<&>"}})
				if got := u.last(t); got.method != method || got.body != `{"a":"é<&>"}` || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
					t.Errorf("%s: %+v", method, got)
				}
			}
			w.set(t, "APIBaseURL", w.base, "")
		})
		t.Run("cap106 a script sees input and sets the three variables", func(t *testing.T) {
			u := newUpstream(t)
			w.set(t, "APIBaseURL", u.URL, "")
			w.good(t, caller, m{"api": "/p", "method2": "PATCH", "content2": "text"})
			if got := u.last(t); got.method != "PATCH" || got.uri != "/p" || got.body != "text" {
				t.Errorf("%+v", got)
			}
			w.set(t, "APIBaseURL", w.base, "")
		})
		t.Run("cap006 the header is the token that the store has now", func(t *testing.T) {
			u := newUpstream(t)
			w.set(t, "APIBaseURL", u.URL, "")
			for _, tok := range []string{"first-token", "second-token"} {
				w.set(t, "AccessToken", tok, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
				w.good(t, caller, me)
				if got := u.last(t).header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+tok {
					t.Errorf("%q", got)
				}
			}
			w.set(t, "APIBaseURL", w.base, "")
		})
		t.Run("cap083 by name from HTTP, command line and workflows", func(t *testing.T) {
			w.expire(t)
			if out, errs, code := w.cli(t, "run", caller, "--input", `{"api":"/api/me"}`, "--journal"); code != 0 || !strings.Contains(out, `"alice"`) || !strings.Contains(errs, "If access token expired") {
				t.Errorf("%d %s %s", code, out, errs)
			}
			got := w.ask(t, "POST", "/api/v1/workflows/"+caller+"/run", `{"api":"/api/me"}`, append(w.admin(), "Content-Type", "application/json")...)
			if got.status != 200 || !strings.Contains(got.body, `"outcomes":["success"]`) || !strings.Contains(got.body, `"sub":"alice"`) {
				t.Errorf("%+v", got)
			}
		})
		t.Run("cap084 GET starts the workflow, other methods and paths do not", func(t *testing.T) {
			before := len(w.runs(t, getter))
			if got := w.ask(t, "POST", "/getAccessToken", "", w.admin()...); got.status != 405 || got.header.Get("Allow") == "" {
				t.Errorf("POST: %+v", got)
			}
			if got := w.ask(t, "GET", "/getAccessTokens", "", w.admin()...); got.status != 404 {
				t.Errorf("another path: %+v", got)
			}
			if n := len(w.runs(t, getter)) - before; n != 0 {
				t.Errorf("%d runs", n)
			}
			for _, path := range []string{"/getAccessToken", "/GETACCESSTOKEN", "/getaccesstoken/"} {
				if got := w.ask(t, "GET", path, "", w.admin()...); path != "/getaccesstoken/" && got.status != 200 {
					t.Errorf("%s: %+v", path, got)
				}
			}
		})
		t.Run("cap071 many callers of an expired token, one login", func(t *testing.T) {
			for name, do := range map[string]string{"a table and a lock": caller, "a connection": caller + "Natively"} {
				w.expire(t)
				if do != caller {
					if err := w.client.Delete(t.Context(), "connections", "example-api"); err != nil {
						t.Fatal(err)
					}
					w.apply(t, strings.ReplaceAll(settings, "\n", "\n"))
				}
				before := logins()
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { w.good(t, do, me) })
				}
				wg.Wait()
				if n := logins() - before; n != 1 {
					t.Errorf("%s: %d logins", name, n)
				}
			}
		})
		t.Run("both roads are told", func(t *testing.T) {
			for name, road := range map[string]string{caller: "as written", getter: "as written", caller + "Natively": "native"} {
				r := w.run(t, name, me)
				if got := w.runOf(t, r.RunID).Road; got != road {
					t.Errorf("%s: %q", name, got)
				}
			}
		})
	})
}

// TestSteps is what single steps of the document do, each in a workflow of its
// own.
func TestSteps(t *testing.T) {
	w := newWorld(t, nil)
	u := newUpstream(t)

	t.Run("cap001 a variable is read by every later step of its run, and by no other run", func(t *testing.T) {
		w.declare(t, "Variables", `
workflow: Variables
activities:
  set: { type: SetVariable, with: { VariableName: access_token, Value: !js input }, next: hold }
  hold: { type: SendHttpRequest, with: { Url: "`+u.URL+`/hold" }, next: read }
  read: { type: Finish, with: { ActivityOutput: !liquid "{{Variables.access_token}}|{{Variables.other}}", OutcomeNames: [success] } }
`)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if got := w.good(t, "Variables", fmt.Sprint("token-", i)); got != fmt.Sprint("token-", i, "|") {
					t.Errorf("run %d read %q", i, got)
				}
			})
		}
		wg.Wait()
	})
	send := func(t *testing.T, name, with string) {
		t.Helper()
		w.declare(t, name, `
workflow: `+name+`
variables: { access_token: variable-1, target: "`+u.URL+`" }
activities:
  take: { type: RunJavaScript, with: { Script: 'if (input && input.token) setVariable("access_token", input.token)' }, next: call }
  call:
    type: SendHttpRequest
    with: `+with+`
    next: { "200": done }
  done: { type: Finish, with: { ActivityOutput: !js activities.call.ResponseContent(), OutcomeNames: [success] } }
`)
	}
	t.Run("cap002 one Authorization header with its prefix", func(t *testing.T) {
		send(t, "Bearer", `{ Url: !js getVariable("target"), Authorization: !liquid "Bearer {{Variables.access_token}}", ReadContent: true }`)
		for _, tok := range []string{"variable-1", "another.one+/="} {
			var input any
			if tok != "variable-1" {
				input = m{"token": tok}
			}
			w.good(t, "Bearer", input)
			if got := u.last(t).header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+tok {
				t.Errorf("%q", got)
			}
		}
	})
	t.Run("cap003 any prefix", func(t *testing.T) {
		send(t, "Prefix", `{ Url: !js getVariable("target"), Authorization: !liquid "JWT {{Variables.access_token}}" }`)
		w.good(t, "Prefix", nil)
		if got := u.last(t).header.Get("Authorization"); got != "JWT variable-1" {
			t.Errorf("%q", got)
		}
		send(t, "Bare", `{ Url: !js getVariable("target"), Authorization: !js getVariable("access_token") }`)
		w.good(t, "Bare", nil)
		if got := u.last(t).header.Get("Authorization"); got != "variable-1" {
			t.Errorf("%q", got)
		}
	})
	t.Run("cap004 any header, from a variable or a text", func(t *testing.T) {
		send(t, "Headers", `{ Url: !js getVariable("target"), RequestHeaders: !js '({ "X-Token": getVariable("access_token"), "X-Text": "as it is", "Accept": "text/csv" })' }`)
		w.good(t, "Headers", nil)
		if h := u.last(t).header; h.Get("X-Token") != "variable-1" || h.Get("X-Text") != "as it is" || h.Get("Accept") != "text/csv" {
			t.Errorf("%v", h)
		}
	})
	t.Run("cap031 now is compared with expiries in any form", func(t *testing.T) {
		w.declare(t, "Expired", `
workflow: Expired
activities:
  if:
    type: If
    with:
      Condition: !js |
        const v = input.at;
        const at = v == null || v === "" ? NaN : typeof v === "number" ? (v < 1e11 ? v * 1000 : v) : new Date(v).getTime();
        return isNaN(at) || at < Date.now()
    next: { "True": expired, "False": lives }
  expired: { type: Finish, with: { ActivityOutput: expired, OutcomeNames: [success] } }
  lives: { type: Finish, with: { ActivityOutput: lives, OutcomeNames: [success] } }
`)
		now := time.Now()
		for _, c := range []struct {
			at   any
			want string
		}{
			{now.Add(time.Minute).UTC().Format(time.RFC3339), "lives"}, {now.Add(-time.Minute).UTC().Format(time.RFC3339), "expired"},
			{now.Add(time.Minute).In(time.FixedZone("", 3600)).Format(time.RFC3339), "lives"}, {now.Add(-time.Minute).In(time.FixedZone("", -7200)).Format(time.RFC3339), "expired"},
			{now.Add(time.Minute).Unix(), "lives"}, {now.Add(-time.Minute).Unix(), "expired"},
			{now.Add(time.Minute).UnixMilli(), "lives"}, {now.Add(-time.Minute).UnixMilli(), "expired"},
			{nil, "expired"}, {"", "expired"},
		} {
			if got := w.good(t, "Expired", m{"at": c.at}); got != c.want {
				t.Errorf("%v: %s", c.at, got)
			}
		}
	})
	t.Run("cap014 a row by its number, and an error that names one that has gone", func(t *testing.T) {
		w.declare(t, "Row", `
workflow: Row
activities:
  get: { type: ObjectInstanceGet, with: { InstanceId: !js input, VariableName: row }, next: { Success: found, "Object instance not found": gone } }
  found: { type: Finish, with: { ActivityOutput: !js 'getVariable("row").Key', OutcomeNames: [success] } }
  gone: { type: Finish, with: { ActivityOutput: gone, OutcomeNames: [error] } }
`)
		id := w.row(t, "AccessTokenCreds").ObjectID
		if got := w.good(t, "Row", id); got != "AccessTokenCreds" {
			t.Errorf("%q", got)
		}
		r := w.run(t, "Row", 424242)
		if story := w.story(t, r.RunID); r.Outcomes[0] != "error" || !strings.Contains(story, "424242") {
			t.Errorf("%v\n%s", r.Outcomes, story)
		}
	})
	t.Run("cap010 the words table and type both lead to it", func(t *testing.T) {
		// Workflows say ObjectType, and the id that TypeCreate gives; files say tables.
		w.declare(t, "Words", `
workflow: Words
activities:
  type: { type: TypeCreate, with: { TypeName: Words, TypeDescription: made by a workflow }, next: { Success: list } }
  list: { type: ObjectInstanceList, with: { ObjectType: Settings, Filter: "Key eq 'AccessToken'" }, next: done }
  done: { type: Finish, with: { ActivityOutput: !js activities.list.Output().length, OutcomeNames: [success] } }
`)
		if got := w.good(t, "Words", nil); got != "1" {
			t.Errorf("%s", got)
		}
		if out, errs, code := w.cli(t, "get", "tables"); code != 0 || !strings.Contains(out, "Settings") || !strings.Contains(out, "Words") {
			t.Errorf("%s %s", out, errs)
		}
	})
	t.Run("cap011 values of 8 KiB", func(t *testing.T) {
		long := strings.Repeat("ä9.", 4000)
		w.set(t, "AccessToken", long, "")
		if got := w.row(t, "AccessToken").Data1; got != long {
			t.Errorf("%d bytes", len(got))
		}
	})
	t.Run("cap015 nobody sees a new token with an old expiry", func(t *testing.T) {
		w.declare(t, "Update", `
workflow: Update
activities:
  list: { type: ObjectInstanceList, with: { ObjectType: Settings, Filter: "Key eq 'AccessToken'" }, next: update }
  update: { type: ObjectInstanceUpdate, with: { InstanceId: !js 'activities.list.Output()[0].ObjectId', Values: !js '({ Data1: String(input), Data2: String(input) })', VariableName: row }, next: done }
  done: { type: Finish, with: { OutcomeNames: [success] } }
`)
		w.set(t, "AccessToken", "0", "0")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if r := w.row(t, "AccessToken"); r.Data1 != r.Data2 {
						t.Errorf("%+v", r)
						return
					}
				}
			})
		}
		var writers sync.WaitGroup
		for k := range 4 {
			writers.Go(func() {
				for i := range 250 {
					w.good(t, "Update", k*1000+i)
				}
			})
		}
		writers.Wait()
		close(stop)
		wg.Wait()
	})
	t.Run("cap009 token and expiry are there after a kill", func(t *testing.T) {
		w.set(t, "AccessToken", "kept-token", "2030-01-01T00:00:00Z")
		w.kill(t)
		w.start(t)
		if r := w.row(t, "AccessToken"); r.Data1 != "kept-token" || r.Data2 != "2030-01-01T00:00:00Z" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("cap087 a missing edge ends the run", func(t *testing.T) {
		w.declare(t, "Missing", `
workflow: Missing
activities:
  if: { type: If, with: { Condition: !js "true" }, next: { "False": never } }
  never: { type: WriteLine, with: { Text: never } }
`)
		if r := w.run(t, "Missing", nil); r.Status != "finished" || strings.Contains(w.story(t, r.RunID), "never") {
			t.Errorf("%+v", r)
		}
		out, err := w.client.Import(t.Context(), api.Import{Files: []api.ImportFile{{Name: "wrong.yaml", Data: []byte("workflow: Wrong\nactivities:\n  if: { type: If, with: { Condition: !js \"true\" }, next: { Maybe: end } }\n  end: { type: WriteLine }\n")}}})
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(out.Reports[0].Findings)
		if !strings.Contains(string(b), "Maybe") {
			t.Errorf("%s", b)
		}
	})
	t.Run("SendHttpRequest as a connection renews a refused token once", func(t *testing.T) {
		w.declare(t, "AsConnection", `
workflow: AsConnection
activities:
  call: { type: SendHttpRequest, with: { Url: "`+w.base+`/api/me", Connection: example-api, ReadContent: true }, next: { "200": done } }
  done: { type: Finish, with: { ActivityOutput: !js activities.call.ResponseContent(), OutcomeNames: [success] } }
`)
		w.good(t, "AsConnection", nil)
		before := w.em.Count("login")
		w.em.KillAccess("login")
		w.good(t, "AsConnection", nil)
		if n := w.em.Count("login") - before; n != 1 {
			t.Errorf("%d logins", n)
		}
		// The token goes to the connection's hosts and nowhere else.
		w.declare(t, "Elsewhere", `
workflow: Elsewhere
activities:
  call: { type: SendHttpRequest, with: { Url: "`+u.URL+`/steal", Connection: example-api } }
`)
		n := len(u.requests())
		if r := w.run(t, "Elsewhere", nil); r.Status != "faulted" || len(u.requests()) != n {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the expression Secret is a connection's fresh token, or a stored secret", func(t *testing.T) {
		w.apply(t, `
tables:
  Secrets: { columns: { Name: string, Value: { type: string, secret: true } }, rows: [ { Name: "Authorization:GPT3", Value: Bearer stored-secret-1 } ] }
`)
		for ref, want := range map[string]string{"OAuth2:example api": "Bearer at_", "Authorization:GPT3": "Bearer stored-secret-1", "empty": ""} {
			send(t, "Secrets", `{ Url: !js getVariable("target"), Authorization: !secret "`+ref+`" }`)
			r := w.run(t, "Secrets", nil)
			if got := u.last(t).header.Get("Authorization"); !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("%s: %q (%+v)", ref, got, r)
			}
		}
	})
}
