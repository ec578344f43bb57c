package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
)

// status waits until a run has one of the statuses.
func (w *world) status(t testing.TB, id string, want ...string) *api.Run {
	t.Helper()
	var r *api.Run
	// On a shared database a process is dead when it was silent for a minute.
	soon(t, 3*within, "run "+id+" is "+strings.Join(want, " or "), func() error {
		r = w.runOf(t, id)
		for _, s := range want {
			if r.Status == s {
				return nil
			}
		}
		return fmt.Errorf("%s %+v", r.Status, r.Fault)
	})
	return r
}

func (w *world) dispatch(t testing.TB, name, input string) string {
	t.Helper()
	got := w.ask(t, "POST", "/api/v1/workflows/"+name+"/run", input, append(w.admin(), "Content-Type", "application/json", "Prefer", "respond-async")...)
	var r api.RunResult
	if err := json.Unmarshal([]byte(got.body), &r); got.status != 202 || err != nil || got.header.Get("Location") != "/api/v1/runs/"+r.RunID {
		t.Fatalf("%+v", got)
	}
	return r.RunID
}

// TestRestart lets runs wait, fail, be cancelled and killed, through ends of the
// real process.
func TestRestart(t *testing.T) {
	stores(t, func(t *testing.T, args ...string) {
		w := newWorld(t, tailored(t), args...)
		u := newUpstream(t)

		t.Run("waiting runs go on after a restart", func(t *testing.T) {
			w.declare(t, "Waits", `
workflow: Waits
activities:
  set: { type: SetVariable, with: { VariableName: kept, Value: !js '({ list: [1, "zwei"], at: new Date(0) })' }, next: timer }
  timer: { type: Timer, with: { Timeout: "00:00:03" }, next: answer }
  answer: { type: HttpEndpoint, with: { Path: /go-on, Methods: [POST], ReadContent: true }, next: done }
  done: { type: Finish, with: { ActivityOutput: !js 'JSON.stringify(getVariable("kept").list) + activities.answer.Output().Body.word', OutcomeNames: [success] } }
`)
			r := w.run(t, "Waits", nil)
			if r.Status != "suspended" {
				t.Fatalf("%+v", r)
			}
			w.stop(t)
			w.start(t)
			eventually(t, "it waits for the request", func() error {
				if s := w.story(t, r.RunID); !strings.Contains(s, "answer") || w.runOf(t, r.RunID).Status != "suspended" {
					return errors.New(s) // a step is seen before the wait is durable
				}
				return nil
			})
			w.kill(t)
			w.start(t)
			w.status(t, r.RunID, "suspended")
			got := w.ask(t, "POST", "/go-on", `{"word":"!"}`, append(w.admin(), "Content-Type", "application/json")...)
			if got.status != 200 || got.body != `[1,"zwei"]!` {
				t.Errorf("%+v", got)
			}
			if r := w.status(t, r.RunID, "finished"); r.Outcomes[0] != "success" {
				t.Errorf("%+v", r)
			}
		})
		t.Run("cancel and retry", func(t *testing.T) {
			r := w.run(t, "Waits", nil)
			if _, errs, code := w.cli(t, "runs", "cancel", r.RunID); code != 0 {
				t.Error(errs)
			}
			w.status(t, r.RunID, "cancelled")
			if _, err := w.client.CancelRun(t.Context(), r.RunID); err == nil {
				t.Error("what was cancelled is cancelled again")
			}
			if got := w.ask(t, "POST", "/go-on", `{"word":"!"}`, append(w.admin(), "Content-Type", "application/json")...); got.status/100 != 4 {
				t.Errorf("%+v", got)
			}

			// A login that fails is repeated from the step that failed.
			w.declare(t, "Fails", `
workflow: Fails
activities:
  first: { type: SendHttpRequest, with: { Url: "`+u.URL+`/first" }, next: { "200": second } }
  second: { type: SendHttpRequest, with: { Url: "`+u.URL+`/second", ReadContent: true }, next: { "200": done } }
  done: { type: Finish, with: { ActivityOutput: fine, OutcomeNames: [success] } }
`)
			var broken atomic.Bool
			broken.Store(true)
			u.handle(func(rw http.ResponseWriter, r *http.Request, _ string) {
				if r.URL.Path == "/second" && broken.Load() {
					panic(http.ErrAbortHandler)
				}
			})
			r = w.run(t, "Fails", nil)
			if r.Status != "faulted" || r.Fault.Name != "second" {
				t.Fatalf("%+v", r.Fault)
			}
			w.stop(t)
			w.start(t)
			broken.Store(false)
			if _, err := w.client.RetryRun(t.Context(), r.RunID); err != nil {
				t.Fatal(err)
			}
			got := w.status(t, r.RunID, "finished")
			if got.Outcomes[0] != "success" {
				t.Errorf("%+v", got)
			}
			n := 0
			for _, s := range u.requests() {
				if s.uri == "/first" {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the first step was carried out %d times", n)
			}
			u.handle(nil)
		})
		t.Run("F94 a run whose process is killed is interrupted and can be retried", func(t *testing.T) {
			w.declare(t, "Long", `
workflow: Long
activities:
  before: { type: SendHttpRequest, with: { Url: "`+u.URL+`/before" }, next: { "200": long } }
  long: { type: SendHttpRequest, with: { Url: "`+u.URL+`/long" }, next: { "200": done } }
  done: { type: Finish, with: { ActivityOutput: fine, OutcomeNames: [success] } }
`)
			w.declare(t, "Counts", `
workflow: Counts
persistence: ActivityExecuted
activities:
  for: { type: For, with: { Start: 0, End: 100000, Step: 1 }, next: { Iterate: step, Done: done } }
  step: { type: SetVariable, with: { VariableName: n, Value: !js 'getVariable("CurrentValue")' } }
  done: { type: Finish, with: { ActivityOutput: !js getVariable("n"), OutcomeNames: [success] } }
`)
			release := make(chan struct{})
			held := make(chan struct{}, 10)
			u.handle(func(rw http.ResponseWriter, r *http.Request, _ string) {
				if r.URL.Path == "/long" {
					held <- struct{}{}
					select {
					case <-release:
					case <-r.Context().Done():
					}
				}
			})
			id := w.dispatch(t, "Long", "null")
			counts := w.dispatch(t, "Counts", "null")
			<-held
			eventually(t, "both are under way", func() error {
				if n := len(w.steps(t, counts)); n < 5 {
					return fmt.Errorf("%d steps", n)
				}
				return nil
			})
			// Long has run for a second, so that how it began is stored.
			time.Sleep(1500 * time.Millisecond)
			w.kill(t)
			w.start(t)
			r := w.status(t, id, "faulted")
			if r.Fault == nil || !strings.Contains(r.Fault.Message, "interrupted") {
				t.Errorf("%+v", r.Fault)
			}
			// What keeps each step goes on by itself: it does nothing outside.
			w.status(t, counts, "running", "finished")
			if _, err := w.client.CancelRun(t.Context(), counts); err != nil && w.runOf(t, counts).Status != "finished" {
				t.Error(err)
			}
			close(release)
			u.handle(nil)
			if _, err := w.client.RetryRun(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if got := w.status(t, id, "finished"); got.Outcomes[0] != "success" {
				t.Errorf("%+v", got)
			}
		})
		t.Run("schedules and triggers run workflows, and go on after a restart", func(t *testing.T) {
			w.declare(t, "Ticks", `
workflow: Ticks
activities:
  timer: { type: Timer, with: { Timeout: "00:00:01" }, next: done }
  cron: { type: Cron, with: { CronExpression: "0/2 * * * * ?" }, next: done }
  at: { type: StartAt, with: { Instant: "`+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339Nano)+`" }, next: done }
  old: { type: StartAt, with: { Instant: "2020-01-01T00:00:00Z" }, next: done }
  done: { type: Finish, with: { OutcomeNames: [success] } }
`)
			w.apply(t, "schedules: { keep it fresh: { every: 1s, workflow: "+getter+" }, by hand: { on_demand: true, secret: 0123456789abcdef, workflow: "+caller+", input: { api: /api/me } } }")
			triggers := func() map[string]int {
				out := map[string]int{}
				for _, r := range append(w.runs(t, "Ticks"), w.runs(t, getter)...) {
					out[r.Trigger]++
				}
				return out
			}
			all := func() error {
				for _, name := range []string{"trigger:Timer", "trigger:Cron", "trigger:StartAt", "schedule:keep it fresh"} {
					if n := triggers()[name]; n < 1 {
						return fmt.Errorf("%v", triggers())
					}
				}
				return nil
			}
			eventually(t, "everything fires", all)
			w.kill(t)
			before := map[string]int{}
			w.start(t)
			for name, n := range triggers() {
				before[name] = n
			}
			eventually(t, "it goes on firing", func() error {
				now := triggers()
				for _, name := range []string{"trigger:Timer", "trigger:Cron", "schedule:keep it fresh"} {
					if now[name] <= before[name] {
						return fmt.Errorf("%s: %v, before %v", name, now, before)
					}
				}
				return nil
			})
			if n := triggers()["trigger:StartAt"]; n != 1 {
				t.Errorf("an instant fired %d times", n)
			}
			// By hand, with its input.
			if _, err := w.client.RunSchedule(t.Context(), "by hand"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the schedule has run it", func() error {
				list, err := w.client.ScheduleHistory(t.Context(), "by hand", 10)
				if err != nil {
					return err
				}
				if len(list) == 0 || list[0].Status != "succeeded" || list[0].RunID == "" {
					return fmt.Errorf("%+v", list)
				}
				return nil
			})
			// Unpublished, the clock leaves it alone.
			if err := w.client.Delete(t.Context(), "workflows", "Ticks"); err != nil {
				t.Fatal(err)
			}
			if err := w.client.Delete(t.Context(), "schedules", "keep it fresh"); err != nil {
				t.Fatal(err)
			}
		})
		t.Run("a stop lets runs end", func(t *testing.T) {
			w.declare(t, "Slow", `
workflow: Slow
activities:
  in: { type: HttpEndpoint, with: { Path: /slow } , next: call }
  call: { type: SendHttpRequest, with: { Url: "`+u.URL+`/slow" }, next: { "200": done } }
  done: { type: Finish, with: { ActivityOutput: fine, OutcomeNames: [success] } }
`)
			held, release := make(chan struct{}), make(chan struct{})
			u.handle(func(rw http.ResponseWriter, r *http.Request, _ string) {
				close(held)
				<-release
			})
			answer := make(chan reply, 1)
			go func() { answer <- w.ask(t, "GET", "/slow", "", w.admin()...) }()
			<-held
			go func() { time.Sleep(300 * time.Millisecond); close(release) }()
			w.stop(t)
			if got := <-answer; got.status != 200 || got.body != "fine" {
				t.Errorf("%+v", got)
			}
			w.start(t)
		})
	})
}

// TestFollow reads a run's journal while it runs.
func TestFollow(t *testing.T) {
	w := newWorld(t, nil)
	u := newUpstream(t)
	release := make(chan struct{})
	u.handle(func(rw http.ResponseWriter, r *http.Request, _ string) { <-release })
	w.declare(t, "Live", `
workflow: Live
activities:
  one: { type: Correlate, with: { Value: begun }, next: two }
  two: { type: SendHttpRequest, with: { Url: "`+u.URL+`" }, next: { "200": three } }
  three: { type: Finish, with: { OutcomeNames: [success] } }
`)
	id := w.dispatch(t, "Live", "null")
	released := false
	var names []string
	r, err := w.client.Follow(t.Context(), id, 0, func(s api.Step) error {
		names = append(names, s.Name)
		if s.Name == "one" && !released { // it is seen while the second step waits
			released = true
			close(release)
		}
		return nil
	})
	if err != nil || r.Status != "finished" || strings.Join(names, " ") != "one two three" {
		t.Errorf("%v %+v %v", err, r, names)
	}
}

// TestMasked plants tokens and looks for them everywhere.
func TestMasked(t *testing.T) {
	stores(t, func(t *testing.T, args ...string) {
		files := tailored(t)
		// As the example has it: Data1 and Data2 are secret.
		files["settings.yaml"] = strings.Replace(settings, "Data1: string, Data2: string", "Data1: { type: string, secret: true }, Data2: { type: string, secret: true }", 1)
		args = append(args, "--metrics-listen", "127.0.0.1:0")
		w := newWorld(t, files, args...)
		const planted = "planted-token-value-42"
		password := `p&w+1'<"`
		w.set(t, "AccessToken", planted, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		w.declare(t, "Prints", `
workflow: Prints
activities:
  list: { type: ObjectInstanceList, with: { ObjectType: Settings, Filter: "Key eq 'AccessToken'" }, next: script }
  script: { type: RunJavaScript, with: { Script: 'setVariable("x", activities.list.Output()[0].Data1); addJournal("said", "it is " + getVariable("x")); setVariable("y", { access_token: "another-planted-43" }); throw new Error("leaks " + getVariable("x"))' } }
`)
		u := newUpstream(t)
		var tokens []string
		tokens = append(tokens, planted)
		w.set(t, "APIBaseURL", u.URL, "")
		w.good(t, caller, m{"api": "/x"}) // the planted token is sent
		if u.last(t).header.Get("Authorization") != "Bearer "+planted {
			t.Fatal("the token was not sent")
		}
		failed := w.run(t, "Prints", nil)
		if failed.Status != "faulted" {
			t.Fatalf("%+v", failed)
		}
		w.set(t, "APIBaseURL", w.base, "")
		w.expire(t)
		got := w.good(t, getter, nil) // a login
		tokens = append(tokens, got)
		w.good(t, caller+"Natively", m{"api": "/api/me"})
		tokens = append(tokens, w.em.IssuedTokens()...)

		look := func(where, text string) {
			t.Helper()
			for _, tok := range append(tokens, password, "p&amp;w") {
				if tok != "" && strings.Contains(text, tok) {
					t.Errorf("%s holds %.12s…", where, tok)
				}
			}
		}
		for _, name := range []string{caller, getter, "Prints", caller + "Natively"} {
			for _, r := range w.runs(t, name) {
				for _, path := range []string{"/api/v1/runs/" + r.ID, "/api/v1/runs/" + r.ID + "/journal?limit=200", "/api/v1/runs?limit=200"} {
					res := w.ask(t, "GET", path, "", w.admin()...)
					if res.status != 200 {
						t.Fatalf("%s: %+v", path, res)
					}
					look(path, res.body)
				}
				out, errs, _ := w.cli(t, "runs", r.ID)
				look("freshet runs", out+errs)
			}
		}
		for _, path := range []string{"/api/v1/tables/Settings/rows", "/api/v1/export", "/api/v1/audit"} {
			look(path, w.ask(t, "GET", path, "", w.admin()...).body)
		}
		look("the log", w.err.String()+w.out.String())
		w.stop(t)
		// What is at rest is sealed: neither tokens nor the password are in a file.
		if err := filepath.WalkDir(filepath.Join(w.dir, "data"), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			look(e.Name(), string(b))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}
