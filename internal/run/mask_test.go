package run_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
)

const canary = "CANARYq8Z7x/1+w"

// shown is everything that the journal tells of a run, as text.
func (w *world) shown(id run.ID) string {
	w.t.Helper()
	v := w.get(id)
	b, err := json.Marshal(v)
	w.ok(err)
	s, err := json.Marshal(w.steps(id))
	w.ok(err)
	return string(b) + "\n" + string(s)
}

type object struct {
	AccessToken string `json:"accessToken"`
	Note        string `json:"note"`
}

// Wherever a secret is put, and however it is known, it is nowhere to be seen:
// not in what is shown, not in an event, not in the files of the database.
func TestS70_a_secret_is_nowhere_in_the_journal(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.c2lnbmF0dXJlLUNBTkFSWQ"
	step := func(s run.Step) func(*world, *run.Recorder) {
		return func(w *world, r *run.Recorder) { r.Step(s) }
	}
	data := func(m map[string]any) func(*world, *run.Recorder) { return step(run.Step{Data: m}) }
	known := func(f func(*world, *run.Recorder)) func(*world, *run.Recorder) {
		return func(w *world, r *run.Recorder) { r.Secret(canary); f(w, r) }
	}
	late := func(f func(*world, *run.Recorder)) func(*world, *run.Recorder) {
		return func(w *world, r *run.Recorder) { f(w, r); r.Secret(canary) }
	}
	for name, put := range map[string]func(*world, *run.Recorder){
		"message":                      known(step(run.Step{Message: "got " + canary + "."})),
		"cap113 what a script prints":  known(step(run.Step{Type: "RunJavaScript", Event: "console.log", Message: "token: " + canary})),
		"error":                        known(step(run.Step{Error: "POST https://a.example/?x=" + url.QueryEscape(canary)})),
		"outcome":                      known(step(run.Step{Outcomes: []string{canary}})),
		"name of a step":               known(step(run.Step{Name: canary})),
		"deep in data":                 known(data(map[string]any{"a": []any{map[string]any{"b": "x" + canary}}})),
		"as a member's name":           known(data(map[string]any{canary: 1})),
		"in texts":                     known(data(map[string]any{"a": []string{canary}, "b": map[string]string{"c": canary}, "d": map[string][]string{"e": {canary}}})),
		"in bytes":                     known(data(map[string]any{"a": []byte(canary), "b": json.RawMessage(`{"x":"` + canary + `"}`)})),
		"in an error":                  known(data(map[string]any{"a": errors.New(canary)})),
		"in an object":                 known(data(map[string]any{"a": object{Note: canary}, "b": &object{Note: canary}})),
		"in JSON within JSON":          known(data(map[string]any{"a": `{"b":"{\"c\":\"` + canary + `\"}"}`})),
		"behind what is kept":          known(data(map[string]any{"a": strings.Repeat("x", 4088) + canary + strings.Repeat("y", 4088)})),
		"in inputs":                    known(step(run.Step{Inputs: map[string]any{"Value": canary}})),
		"correlation id":               known(func(w *world, r *run.Recorder) { r.Correlate("do " + canary) }),
		"warning":                      known(func(w *world, r *run.Recorder) { r.Warn(canary) }),
		"known everywhere":             func(w *world, r *run.Recorder) { r.Step(run.Step{Message: "SHARED-" + canary}) },
		"known late, message":          late(step(run.Step{Message: canary})),
		"known late, data":             late(data(map[string]any{"a": "[" + canary + "]"})),
		"known late, correlation id":   late(func(w *world, r *run.Recorder) { r.Correlate(canary); r.Correlate("b " + canary) }),
		"known late, warning":          late(func(w *world, r *run.Recorder) { r.Warn(canary) }),
		"known when it is written":     late(func(w *world, r *run.Recorder) { r.Step(run.Step{Message: canary}); r.Correlate(canary); w.flush(r) }),
		"by name":                      data(map[string]any{"accessToken": canary, "refresh_token": canary, "X-Api-Key": canary, "Set-Cookie": canary, "db_password": canary, "clientSecret": canary}),
		"by name, not a text":          data(map[string]any{"token": 12345678901234, "secrets": []any{canary}, "credentials": map[string]any{"user": canary}}),
		"by name, in an object":        data(map[string]any{"a": object{AccessToken: canary}}),
		"by name, beside it":           data(map[string]any{"Name": "Authorization", "Value": canary}),
		"by name, a variable":          step(run.Step{Type: "SetVariable", Inputs: map[string]any{"VariableName": "AccessToken", "Value": canary}}),
		"by name, in a text":           data(map[string]any{"Content": `{"ok":true,"authToken":"` + canary + `"}`}),
		"by name, in a text in a text": data(map[string]any{"Content": `{"body":"{\"token\":\"` + canary + `\"}"}`}),
		"by name, then elsewhere": func(w *world, r *run.Recorder) {
			r.Step(run.Step{Message: "uses " + canary, Data: map[string]any{"password": canary}})
		},
		"by name, before elsewhere": func(w *world, r *run.Recorder) {
			r.Step(run.Step{Message: canary})
			r.Step(run.Step{Data: map[string]any{"password": canary}})
		},
		"by name, elsewhere before it": data(map[string]any{"a": canary, "zToken": canary}),
		"by name, in inputs before":    step(run.Step{Inputs: map[string]any{"Body": "x=" + canary}, Data: map[string]any{"token": canary}}),
		"by shape":                     step(run.Step{Message: "Bearer " + canary + " and " + jwt, Data: map[string]any{"u": "https://a.example/?code=" + canary}}),
		"by shape, Basic":              step(run.Step{Message: "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+canary))}),
		"input by name and by value":   func(w *world, r *run.Recorder) {},
		"output":                       known(func(w *world, r *run.Recorder) {}),
	} {
		t.Run(name, func(t *testing.T) {
			values := redact.NewValues(0)
			values.Add("SHARED-" + canary)
			w := newWorld(t, t.TempDir(), func(o *run.Options) { o.Values = values })
			start := run.Start{Kind: run.Workflow, Name: "a"}
			if strings.HasPrefix(name, "input") || strings.Contains(name, "known late") {
				start.Input = map[string]any{"a": canary}
				start.CorrelationID = "id of " + canary
			}
			if strings.HasPrefix(name, "input") {
				start.Input = map[string]any{"Authorization": "Bearer " + canary, "a": canary, "body": "<" + canary + ">"}
				start.Secrets = []string{canary}
			}
			r := w.begin(start)
			put(w, r)
			end := run.End{Outcomes: []string{"Done"}}
			if name == "output" {
				end = run.End{Status: run.Faulted, Outcomes: []string{canary}, Output: map[string]any{"a": canary}, Warnings: []string{canary},
					Fault: &run.Fault{Message: canary, Name: canary, Cause: &run.Fault{Message: "x" + canary}}}
			}
			live := w.shown(r.ID())
			w.ok(r.End(w.ctx, end))
			events, err := w.store.LastEvents(w.ctx, "", 100)
			w.ok(err)
			texts := map[string]string{"live": live, "stored": w.shown(r.ID()), "events": fmt.Sprint(events, w.events)}
			sub := base64.StdEncoding.EncodeToString([]byte("u:" + canary))
			for where, text := range texts {
				for _, secret := range []string{canary[:8], url.QueryEscape(canary), sub, jwt[30:50], "12345678901234"} {
					if strings.Contains(text, secret) {
						t.Errorf("%s holds %s: %s", where, secret, text)
					}
				}
			}
			if !strings.Contains(texts["stored"]+texts["events"], redact.Mark) && name != "behind what is kept" {
				t.Errorf("nothing marks what was taken out: %s", texts["stored"])
			}
			if found := w.rows(canary[:8], url.QueryEscape(canary), sub, "12345678901234"); len(found) > 0 {
				t.Errorf("a secret is in the tables: %v", found)
			}
			if strings.Contains(name, "late") || strings.Contains(name, "written") {
				return // its bytes were in the log of the database before it was known
			}
			if found := w.holds(canary[:8], url.QueryEscape(canary), sub, jwt[30:50], "12345678901234"); len(found) > 0 {
				t.Errorf("a secret is in the files: %v", found)
			}
		})
	}
}

// rows returns the rows of the journal that hold any of the texts.
func (w *world) rows(texts ...string) (found []string) {
	w.t.Helper()
	for table, text := range map[string]string{"runs": "correlation || coalesce(former, '') || coalesce(input, '') || coalesce(output, '') || coalesce(result, '')",
		"run_steps": "steps", "run_correlations": "head", "events": "detail"} {
		rows, err := w.store.DB().Read().Query(w.ctx, "SELECT "+text+" FROM "+table)
		w.ok(err)
		for rows.Next() {
			var s string
			w.ok(rows.Scan(&s))
			for _, secret := range texts {
				if strings.Contains(s, secret) {
					found = append(found, table+": "+s)
				}
			}
		}
		w.ok(rows.Err())
		rows.Close()
	}
	return found
}

// flush waits until the journal has written what r has.
func (w *world) flush(r *run.Recorder) {
	w.t.Helper()
	for range 20_000 {
		if w.kept(r.ID()) == w.get(r.ID()).Steps {
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.t.Fatal("steps are not written")
}

// What is no secret stays as it is.
func TestOrdinaryValuesStay(t *testing.T) {
	w := newWorld(t, t.TempDir())
	r := w.begin(run.Start{Input: map[string]any{"path": "/me", "page": 2, "list": []any{1, 2.5, nil, true, "x"}}})
	r.Secret("abc", "12345") // too short to be hidden
	in := map[string]any{"token_type": "Bearer", "expires_in": 3600, "tokenUrl": "https://a.example/token", "hasToken": true, "pwd": "12345", "Name": "Url", "Value": "http://127.0.0.1:9000/x?page=2",
		"Content": `{"b": 1, "a": "abc"}`, "at": time.Unix(0, 0), "took": 3 * time.Second, "big": 12345678901234567, "e": 1e300, "empty": map[string]any{}, "none": nil, "state": "ok", "Key": "Data1"}
	r.Step(run.Step{Inputs: in, Message: "status code=200; abc"})
	s := w.steps(r.ID())[0]
	want := `{"Content":"{\"b\": 1, \"a\": \"abc\"}","Key":"Data1","Name":"Url","Value":"http://127.0.0.1:9000/x?page=2","at":"1970-01-01T00:00:00Z","big":12345678901234567,"e":1e+300,"empty":{},"expires_in":3600,"hasToken":true,"none":null,"pwd":"12345","state":"ok","tokenUrl":"https://a.example/token","token_type":"Bearer","took":"3s"}`
	if string(s.Inputs) != want || s.Message != "status code=200; abc" {
		t.Errorf("%s\nwant\n%s\n%q", s.Inputs, want, s.Message)
	}
	if v := w.get(r.ID()); string(v.Input) != `{"list":[1,2.5,null,true,"x"],"page":2,"path":"/me"}` {
		t.Errorf("%s", v.Input)
	}
	w.ok(r.End(w.ctx, run.End{Output: "plain <text> & more"}))
	if v := w.get(r.ID()); string(v.Output) != `"plain <text> & more"` {
		t.Errorf("%s", v.Output)
	}
}

func TestWhatIsLongIsCut(t *testing.T) {
	w := newWorld(t, t.TempDir())
	long := strings.Repeat("é", 1<<20)
	many := make([]any, 100_000)
	for i := range many {
		many[i] = map[string]any{"i": i, "text": "0123456789"}
	}
	var deep any = "x"
	for range 1000 {
		deep = []any{deep}
	}
	r := w.begin(run.Start{Input: map[string]any{"a": long, "b": long, "c": many}, CorrelationID: long})
	r.Step(run.Step{Message: long, Error: long, Name: long, Inputs: map[string]any{"a": long, "b": many, "c": deep, "d": long}, Data: map[string]any{"z": long}})
	r.Step(run.Step{Data: map[string]any{"loop": func() any { m := map[string]any{}; m["m"] = m; return m }(), "f": func() {}, "c": make(chan int)}})
	w.ok(r.End(w.ctx, run.End{Output: many, Fault: &run.Fault{Message: long}, Warnings: []string{long}}))
	v, steps := w.get(r.ID()), w.steps(r.ID())
	size := func(what string, n, most int) {
		t.Helper()
		if n == 0 || n > most {
			t.Errorf("%s has %d bytes, want at most %d", what, n, most)
		}
	}
	size("input", len(v.Input), 70<<10)
	size("output", len(v.Output), 70<<10)
	size("correlation id", len(v.CorrelationID), 5<<10)
	size("fault", len(v.Fault.Message), 5<<10)
	size("message", len(steps[0].Message), 5<<10)
	size("inputs", len(steps[0].Inputs), 24<<10)
	size("a loop", len(steps[1].Data), 24<<10)
	for what, s := range map[string]string{"message": steps[0].Message, "input": string(v.Input), "name": steps[0].Name} {
		if !strings.Contains(s, "… (cut, 2097152 bytes)") {
			t.Errorf("%s does not say that it was cut: %.100s", what, s)
		}
	}
	if !strings.Contains(string(v.Output), "more)") {
		t.Errorf("output does not say that there was more: %s", v.Output[len(v.Output)-100:])
	}
	for what, raw := range map[string]json.RawMessage{"input": v.Input, "output": v.Output, "inputs": steps[0].Inputs, "data": steps[1].Data} {
		if !json.Valid(raw) {
			t.Errorf("%s is no JSON: %.200s", what, raw)
		}
	}
}

// Whatever is recorded, in whatever order, with whatever restarts in between:
// what was said to be secret before it was shown is in no file.
func TestS70_no_planted_value_is_ever_found(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, dir)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		rest := rapid.StringOfN(rapid.RuneFrom([]rune(`abcXYZ0189-_.~+/=%"\ é<>&{}[]:,`)), 4, 60, -1).Draw(t, "secret")
		secret := fmt.Sprintf("PLANT%d", n) + rest
		wrap := func(i int) any {
			s := rapid.SampledFrom([]string{"", "x ", `{"a":"`, "é", strings.Repeat("long ", 1000)}).Draw(t, "before") + secret + rapid.SampledFrom([]string{"", " y", `"}`}).Draw(t, "after")
			switch rapid.IntRange(0, 6).Draw(t, "as") {
			case 0:
				return map[string]any{"v": s}
			case 1:
				return []any{s, 1}
			case 2:
				return []byte(s)
			case 3:
				return map[string]string{s: s}
			case 4:
				b, _ := json.Marshal(map[string]any{"q": s})
				return string(b)
			case 5:
				return url.Values{"q": {s}}.Encode()
			}
			return s
		}
		start := run.Start{Kind: run.Script, Name: "p", Input: wrap(0), Secrets: []string{secret}}
		r, err := w.Begin(context.Background(), start)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				r.Step(run.Step{Data: map[string]any{"a": wrap(i)}, Message: "m " + secret})
			case 1:
				r.Correlate("c" + secret)
			case 2:
				r.Warn(secret)
			case 3:
				if r.Suspend(context.Background()) != nil {
					t.Fatal("it does not suspend")
				}
				if r, err = w.Resume(context.Background(), r.ID(), secret); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.End(context.Background(), run.End{Output: wrap(9), Fault: &run.Fault{Message: secret}}); err != nil {
			t.Fatal(err)
		}
	})
	if n < 50 {
		t.Fatalf("%d runs", n)
	}
	if found := w.holds("PLANT"); len(found) > 0 {
		for _, row := range w.rows("PLANT") {
			t.Logf("%.300s", row)
		}
		t.Errorf("found %v", found)
	}
	if found := w.holds(redact.Mark); len(found) == 0 {
		t.Error("the test looks in the wrong place")
	}
}

func BenchmarkStep(b *testing.B) {
	for _, size := range []int{100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newWorld(&testing.T{}, b.TempDir())
			r := w.begin(run.Start{})
			content := `{"results":[` + strings.Repeat(`{"id":1,"name":"somebody"},`, size/27) + `{}],"nextPageToken":null}`
			for b.Loop() {
				r.Step(run.Step{Type: "SendHttpRequest", Data: map[string]any{"Content": content}})
			}
		})
	}
}
