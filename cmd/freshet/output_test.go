package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
)

func TestRelative(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "in 0s", 400 * time.Millisecond: "in 0s", 99 * time.Second: "in 99s", 100 * time.Second: "in 2m", 59*time.Minute + 29*time.Second: "in 59m",
		3570 * time.Second: "in 1h", time.Hour: "in 1h", 3601 * time.Second: "in 1h", 90 * time.Minute: "in 1h30m", 9*time.Hour + 59*time.Minute: "in 9h59m",
		10 * time.Hour: "in 10h", 47 * time.Hour: "in 47h", 48 * time.Hour: "in 2d", 90*24*time.Hour - time.Second: "in 90d",
		-time.Second: "1s ago", -26 * time.Hour: "26h ago",
	} {
		at := now.Add(d)
		if got := relative(&at, now); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	if got := relative(nil, now); got != "" {
		t.Errorf("no time is %q", got)
	}
}

// S73: what came from elsewhere steers no terminal.
func TestS73_no_text_of_others_steers_a_terminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain é":               "plain é",
		"red \x1b[31m":          "red ?[31m",
		"two\nlines\tand\rmore": "two lines and more",
		"\x00\x07\x9b":          "???",
		"evil\u202efdp.exe":     "evil?fdp.exe",
		"bad \xff utf8":         "bad ? utf8",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q prints as %q, want %q", in, got, want)
		}
	}
	var b bytes.Buffer
	tb := newTable("NAME", "STATE")
	tb.add("a\nb", "\x1b[2J")
	tb.add("", "é")
	tb.print(&b)
	if want := "NAME  STATE\na b   ?[2J\n-     é\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestReport(t *testing.T) {
	problem := func(p api.Problem) error { return fmt.Errorf("token: %w", &p) }
	for name, c := range map[string]struct {
		err  error
		code int
		want string
	}{
		"usage":                  {usage("what is %s", "x"), exitUsage, "error: what is x\n"},
		"plain":                  {errors.New("one\ntwo"), exitFailed, "error: one\n       two\n"},
		"hint":                   {withHint(errors.New("a"), "do %s", "b"), exitFailed, "error: a\nhint: do b\n"},
		"reauth":                 {problem(api.Problem{Status: 409, State: "reauth", Connection: "crm", Detail: "gone"}), exitPerson, "error: token: gone\nhint: authorize it: freshet connect crm\n"},
		"a hint of the server's": {problem(api.Problem{Status: 424, State: "misconfigured", Detail: "d", Hint: "h"}), exitFailed, "error: token: d\nhint: h\n"},
		"key":                    {&api.Problem{Status: 401, Detail: "no"}, exitFailed, "error: no\nhint: the key comes from FRESHET_API_KEY, else from the file admin.key of --data DIR; make one with freshet keys create\n"},
		"faults":                 {&api.Problem{Status: 422, Faults: []api.Fault{{File: "a.yaml", Line: 1, Column: 2, Path: "x", Detail: "d"}, {Path: "y", Detail: "e"}}}, exitFailed, "error: a.yaml:1:2: x: d\n       y: e\n"},
		"request":                {&api.Problem{Status: 422, Detail: "sum", Errors: []api.ProblemError{{Message: "m", Location: "body.name"}}}, exitFailed, "error: body.name: m\n"},
		"control characters":     {errors.New("\x1b]0;x\x07"), exitFailed, "error: ?]0;x?\n"},
		"connection":             {&api.Problem{Status: 422, Detail: "it names no request", Connection: "crm"}, exitFailed, "error: connection crm: it names no request\n"},
		"busy":                   {&api.Problem{Status: 503, Detail: "busy", RetryAfter: 3 * time.Second}, exitFailed, "error: busy\nhint: try again in 3s\n"},
		"interrupted":            {fmt.Errorf("x: %w", context.Canceled), exitFailed, "error: interrupted\n"},
	} {
		var out strings.Builder
		if code := report(&env{stderr: &out}, c.err); code != c.code || out.String() != c.want {
			t.Errorf("%s: %d\n%swant %d\n%s", name, code, out.String(), c.code, c.want)
		}
	}
	if code := report(&env{}, nil); code != exitOK {
		t.Errorf("nothing wrong is %d", code)
	}
}
