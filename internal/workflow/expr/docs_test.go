package expr

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func TestDocumentedFilters(t *testing.T) {
	b, err := os.ReadFile("../../../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	m := regexp.MustCompile(`(?s)\nFilters: ([a-z0-9_\s]+)\.`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("docs/expressions.md lists no filters")
	}
	if got := strings.Fields(m[1]); !slices.Equal(got, filterNames()) {
		t.Errorf("docs/expressions.md lists\n%v\nthere are\n%v", got, filterNames())
	}
}

// empty is a Scope of nothing.
type emptyScope struct{}

func (emptyScope) Input() any                             { return nil }
func (emptyScope) Variable(string) (any, bool)            { return nil, false }
func (emptyScope) SetVariable(string, any)                {}
func (emptyScope) Variables() map[string]any              { return nil }
func (emptyScope) TransientVariable(string) (any, bool)   { return nil, false }
func (emptyScope) SetTransientVariable(string, any)       {}
func (emptyScope) Activity(string) (*ActivityState, bool) { return nil, false }
func (emptyScope) ActivityNames() []string                { return nil }
func (emptyScope) Executed(string) (string, bool)         { return "", false }
func (emptyScope) Instance() Instance                     { return Instance{} }
func (emptyScope) AddJournal(string, any)                 {}

// TestS52_GlobalsOfExpressions holds that an expression finds what the list of
// known names has, no more and no less.
func TestS52_GlobalsOfExpressions(t *testing.T) {
	engine, err := script.New(ScriptOptions(script.Options{Spare: -1}))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	e := New(Options{Engine: engine})
	v, err := e.Eval(t.Context(), emptyScope{}, "JavaScript", `Reflect.ownKeys(globalThis).filter(k => typeof k === "string")`, Field{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range model.Plain(v).([]any) {
		if got = append(got, name.(string)); !known[name.(string)] {
			t.Errorf("an expression finds %s", name)
		}
	}
	// What the language itself reserves is no global, and so are the two that
	// loops set.
	words := strings.Fields(`break case catch class const continue debugger default delete do else export extends finally for function if import in
		instanceof let new of return static super switch this throw try typeof var void while with yield async await null true false arguments get set
		CurrentValue CurrentIndex`)
	for name := range known {
		if !slices.Contains(words, name) && !slices.Contains(got, name) {
			t.Errorf("an expression does not find %s", name)
		}
	}
}
