package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	runs "github.com/freshet-dev/freshet/internal/run"
)

// A stand is a server in this process, and the command line beside it.
type stand struct {
	t *testing.T
	s *server
	d string
}

func newStand(t *testing.T) *stand {
	t.Helper()
	d := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s, err := (&serveCmd{Data: d, Listen: "127.0.0.1:0", Audit: "batched", LogLevel: "error", LogFormat: "text", RunsKeep: time.Hour, RunsKeepCount: 100}).start(ctx, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &stand{t, s, d}
}

func (s *stand) freshet(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	code = run(&env{ctx: ctx, stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: os.Getenv}, append(args, "--data", s.d))
	return code, out.String(), errs.String()
}

func (s *stand) begin(v runs.Start) *runs.Recorder {
	s.t.Helper()
	r, err := s.s.journal.Begin(s.t.Context(), v)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *stand) end(r *runs.Recorder, e runs.End) {
	s.t.Helper()
	if err := r.End(s.t.Context(), e); err != nil {
		s.t.Fatal(err)
	}
}

func wants(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			t.Errorf("no %s in\n%s", p, text)
		}
	}
}

func TestRunsCommand(t *testing.T) {
	s := newStand(t)
	if code, out, errs := s.freshet("runs"); code != 0 || out != "" || errs != "no such run\n" {
		t.Errorf("an empty journal: %d %q %q", code, out, errs)
	}
	at := time.Now().Add(-time.Minute)
	parent := s.begin(runs.Start{Kind: runs.Workflow, Name: "CallMyAPI", Version: 3, Trigger: "cli", Road: runs.RoadAsWritten, Input: map[string]any{"path": "/me"}})
	parent.Correlate("CallMyAPI - starting")
	parent.Step(runs.Step{Type: "Correlate", Name: "Progress", At: at, Event: "Executed", Outcomes: []string{"Done"}, Message: "CallMyAPI - starting", Duration: 100 * time.Microsecond})
	child := s.begin(runs.Start{Kind: runs.Workflow, Name: "GetToken", Parent: parent.ID(), ParentStep: 2, Trigger: "workflow"})
	child.Step(runs.Step{Type: "If", Name: "Expired", At: at, Event: "Executed", Outcomes: []string{"True"}, Data: map[string]any{"authToken": "CANARY-0123456789"}})
	child.Step(runs.Step{Type: "SendHttpRequest", Name: "Login", At: at, Event: "Faulted", Error: "no route\nto host", Message: "sent CANARY-0123456789"})
	s.end(child, runs.End{Fault: &runs.Fault{Message: "no route to host", Type: "SendHttpRequest", Name: "Login", Property: "Url", Cause: &runs.Fault{Message: "dial tcp"}}})
	parent.Step(runs.Step{Type: "RunWorkflow", Name: "Get", At: at, Event: "Executed", Outcomes: []string{"Failed"}, Duration: 25 * time.Millisecond, Child: child.ID()})
	s.end(parent, runs.End{Outcomes: []string{"Bad"}, Output: "x\x1b[31m", Warnings: []string{"careful"}})
	waiting := s.begin(runs.Start{Kind: runs.Script, Name: "shop.js.f", Trigger: "api"})

	code, out, errs := s.freshet("runs")
	if code != 0 {
		t.Fatal(errs)
	}
	wants(t, out, `^ID +STARTED +NAME +STATUS +TOOK +TRIGGER +CORRELATION$`, `^`+parent.ID()+` +\S+ ago +CallMyAPI +finished: Bad +\S+ +cli +CallMyAPI - starting$`,
		`^`+child.ID()+` +.* GetToken +faulted: no route to host `, `^`+waiting.ID()+` .*shop\.js\.f +running +- +api `)
	for args, want := range map[string]string{
		"--status faulted": child.ID(), "--name GetToken": child.ID(), "--correlation CallMyAPI*": parent.ID(), "--kind script": waiting.ID(), "--parent " + parent.ID(): child.ID(), "-n 1": waiting.ID(),
		"--since 1h --name CallMyAPI": parent.ID(),
	} {
		code, out, errs := s.freshet(append([]string{"runs", "-o", "json"}, strings.Fields(args)...)...)
		var list struct{ Runs []struct{ ID string } }
		if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list.Runs) != 1 || list.Runs[0].ID != want {
			t.Errorf("%s: %d %s%s", args, code, out, errs)
		}
	}

	t.Run("cap086 from one id every step, branch, duration and message, with the runs that it started", func(t *testing.T) {
		code, out, errs := s.freshet("runs", parent.ID())
		if code != 0 {
			t.Fatal(errs)
		}
		clock := `\d\d:\d\d:\d\d\.\d{3}`
		wants(t, out, `^run +`+parent.ID()+`$`, `^workflow +CallMyAPI v3$`, `^status +finished$`, `^outcomes +Bad$`, `^warning +careful$`, `^correlation +CallMyAPI - starting$`, `^trigger +cli$`, `^token road +as written$`,
			`^started +.*, took \S+$`, `^input +\{"path":"/me"\}$`, `^output +"x\\u001b\[31m"$`,
			`^`+clock+`    1  Correlate Progress → Done  0\.1ms  CallMyAPI - starting$`, `^`+clock+`    2  RunWorkflow Get → Failed  25ms$`,
			`^    run `+child.ID()+`  GetToken  faulted: no route to host  \S+$`, `^    `+clock+`    1  If Expired → True$`, `^    `+clock+`    2  SendHttpRequest Login \[Faulted\]  sent \[secret\]$`,
			`^ +error: no route to host$`)
		if strings.Count(out, child.ID()) != 1 || strings.Contains(out, "\x1b") || strings.Contains(out, "CANARY") {
			t.Errorf("%q", out)
		}
		_, out, _ = s.freshet("runs", child.ID())
		wants(t, out, `^parent +`+parent.ID()+`$`, `^fault +no route to host \(SendHttpRequest Login, property Url\)$`, `^because +dial tcp$`)
		_, out, _ = s.freshet("runs", parent.ID(), "--output", "json")
		var whole struct {
			ID       string
			Children []string
			Journal  []struct {
				Number int
				Child  string
			}
		}
		if err := json.Unmarshal([]byte(out), &whole); err != nil || whole.ID != parent.ID() || len(whole.Children) != 1 || len(whole.Journal) != 2 || whole.Journal[1].Child != child.ID() {
			t.Errorf("%v: %s", err, out)
		}
	})

	t.Run("a run is followed to its end", func(t *testing.T) {
		type answer struct {
			code      int
			out, errs string
		}
		done := make(chan answer)
		go func() {
			code, out, errs := s.freshet("runs", waiting.ID(), "--follow", "-o", "json")
			done <- answer{code, out, errs}
		}()
		waiting.Step(runs.Step{Message: "one"})
		waiting.Step(runs.Step{Message: "two"})
		s.end(waiting, runs.End{Output: 7})
		a := <-done
		lines := strings.Split(strings.TrimSpace(a.out), "\n")
		if a.code != 0 || len(lines) != 3 || !strings.Contains(lines[0], `"message":"one"`) || !strings.Contains(lines[2], `"output":7`) {
			t.Errorf("%+v", a)
		}
		_, out, _ := s.freshet("runs", waiting.ID(), "--follow")
		wants(t, out, ` 1  +one$`, ` 2  +two$`, `^status +finished$`, `^output +7$`)
	})

	for name, c := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"unknown":     {[]string{"runs", "nothing"}, 1, "there is no such run"},
		"filters":     {[]string{"runs", parent.ID(), "--name", "x"}, 2, "leave the filters out"},
		"follow":      {[]string{"runs", "--follow"}, 2, "takes the ID"},
		"limit":       {[]string{"runs", "-n", "0"}, 2, "between 1 and 1000"},
		"status":      {[]string{"runs", "--status", "x"}, 2, "--status"},
		"cancel what": {[]string{"runs", "cancel"}, 2, "<ID>"},
	} {
		if code, _, errs := s.freshet(c.args...); code != c.code || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: %d %q", name, code, errs)
		}
	}
}
