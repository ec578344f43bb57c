package activity_test

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
)

type remover int

func (n remover) RemoveRuns(context.Context, activity.Removal) (int, error) { return int(n), nil }

func everyTenMinutes(string, time.Time) (time.Time, error) {
	return time.Date(2026, 3, 1, 12, 10, 0, 0, time.UTC), nil
}

func groups() []activity.Spec {
	var all []activity.Spec
	for _, g := range [][]activity.Spec{activity.Control(), activity.Primitives(), activity.Timers(everyTenMinutes), activity.Workflows(remover(3))} {
		all = append(all, g...)
	}
	return all
}

func TestExamples(t *testing.T) {
	activitytest.Examples(t, groups(), func(c *activity.Call) {
		run := c.Run.(*activitytest.Run)
		run.OnScript = func(code string) (any, []string, error) { return int64(42), nil, nil }
		run.OnChild = func(activity.ChildStart) (activity.ChildEnd, error) {
			return activity.ChildEnd{Found: true, RunID: "r2", Status: "finished", Outcomes: []string{"success"}, Output: "tok"}, nil
		}
	})
}

// A spec that names things twice, or a default that is none of its options,
// misleads every reader of it.
func TestSpecs(t *testing.T) {
	for _, s := range activity.NewRegistry(groups()...).All() {
		if s.Summary == "" || s.Category == "" || s.DisplayName == "" {
			t.Errorf("%s lacks a summary, category or display name", s.Type)
		}
		seen := map[string]bool{}
		for _, f := range s.Fields {
			if seen[f.Name] || f.Doc == "" || f.Kind == "" {
				t.Errorf("%s.%s: twice, or without doc or kind", s.Type, f.Name)
			}
			seen[f.Name] = true
			if d, ok := f.Default.(string); ok && f.Kind == activity.Enum {
				found := false
				for _, o := range f.Options {
					found = found || o == d
				}
				if !found {
					t.Errorf("%s.%s: the default %q is no option", s.Type, f.Name, d)
				}
			}
		}
		if s.OutcomesOf != "" && !seen[s.OutcomesOf] {
			t.Errorf("%s: outcomes of %s, which is no field", s.Type, s.OutcomesOf)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:05:00": 5 * time.Minute, "1.12:00:00": 36 * time.Hour, "1:12:00:00": 36 * time.Hour, "01:30": 90 * time.Minute,
		"00:00:01.5": 1500 * time.Millisecond, "-00:00:01": -time.Second, "PT5M": 5 * time.Minute, "P1DT1H": 25 * time.Hour, "P2W": 14 * 24 * time.Hour, "PT0.5S": 500 * time.Millisecond,
		"5m": 5 * time.Minute, " 90s ": 90 * time.Second,
	} {
		if got, err := activity.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "P", "PT", "1:2:3:4:5", "5", "99999999999999999999:00:00"} {
		if got, err := activity.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	if got, _ := activity.ParseDuration(float64(1500)); got != 1500*time.Millisecond {
		t.Errorf("1500 = %v", got)
	}
}

func TestPossible(t *testing.T) {
	reg := activity.NewRegistry(groups()...)
	for _, c := range []struct {
		typ, field, syntax, text string
		want                     []string
		open                     bool
	}{
		{"If", "", "", "", []string{"True", "False", "Done"}, false},
		{"Fork", "Branches", "", `["a","b"]`, []string{"a", "b"}, false},
		{"Fork", "Branches", workflow.JavaScript, `["a"]`, nil, true},
		{"Fork", "Branches", workflow.JSON, `not a list`, nil, true},
		{"Switch", "Cases", "", `[{"name":"x"},{"name":"y"}]`, []string{"Default", "Done", "x", "y"}, false},
		{"RunJavaScript", "PossibleOutcomes", "", `["x"]`, []string{"Done", "x"}, true},
		{"RunWorkflow", "", "", "", []string{"Done", "Not Found"}, true},
	} {
		s, ok := reg.Lookup(c.typ)
		if !ok {
			t.Fatalf("no %s", c.typ)
		}
		a := &workflow.Activity{Type: c.typ}
		if c.field != "" {
			f, _ := s.Field(c.field)
			syntax := c.syntax
			if syntax == "" {
				syntax = f.Syntax
			}
			a.Properties = []workflow.Property{{Name: c.field, Syntax: c.syntax, Expressions: map[string]string{syntax: c.text}}}
		}
		got, open := s.Possible(a)
		if len(got) != len(c.want) || open != c.open {
			t.Errorf("%s %s: %q %t, want %q %t", c.typ, c.text, got, open, c.want, c.open)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s %s: %q, want %q", c.typ, c.text, got, c.want)
			}
		}
	}
}
