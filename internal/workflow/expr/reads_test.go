package expr_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

func TestReads(t *testing.T) {
	for _, c := range []struct {
		syntax, text string
		want         expr.Names
	}{
		{"JavaScript", `getVariable("BaseURL").Data1+getVariable('api')`, expr.Names{Variables: []string{"BaseURL", "api"}}},
		{"JavaScript", `// getVariable("no")
			/* getVariable("no") */ setVariable("x", getVariable(` + "`y`" + `)); getTransientVariable("t")`,
			expr.Names{Sets: []string{"x"}, Variables: []string{"y"}, Transients: []string{"t"}}},
		{"JavaScript", "`a ${getVariable(\"in\")} ${`${input.deep}`} b`", expr.Names{Variables: []string{"in"}, Input: []string{"deep"}}},
		{"JavaScript", `/getVariable("no")/.test(x) && 4 / getVariable("yes") / 2`, expr.Names{Variables: []string{"yes"}, Globals: []string{"x"}}},
		{"JavaScript", `activities.a.Output() + activities["b c"].Output() + activities?.d.X() + getActivityProperty("e", "Output")`,
			expr.Names{Activities: []string{"a", "b c", "d", "e"}}},
		{"JavaScript", `let parameters = input
			setVariable("api", parameters.api); setVariable("Method", parameters["method2"]); setVariable("Content", parameters?.content2)`,
			expr.Names{Input: []string{"api", "content2", "method2"}, Sets: []string{"Content", "Method", "api"}}},
		{"JavaScript", `var p = JSON.parse(input); p.from + p.to`, expr.Names{Input: []string{"from", "to"}}},
		{"JavaScript", `const {a, b: c} = input; return a + c`, expr.Names{Input: []string{"a", "b"}}},
		{"JavaScript", `return f(input)`, expr.Names{WholeInput: true, Globals: []string{"f"}}},
		{"JavaScript", `input`, expr.Names{WholeInput: true}},
		{"JavaScript", `input.body.fileName`, expr.Names{Input: []string{"body"}}},
		{"JavaScript", `function f(x, y) { var a = 1, b; return x + y + a + b + other } [1].map(z => z + w); try {} catch (e) { e }; ({k: v}); r = 'x'; r + o.m`,
			expr.Names{Globals: []string{"o", "other", "v", "w"}}},
		{"JavaScript", `setOutcome("one"); setOutcomes(["two", 'three'])`, expr.Names{Outcomes: []string{"one", "three", "two"}}},
		{"JavaScript", `getWorkflowDefinitionIdByName("Child") || getWorkflowDefinitionIdByTag('t') || processField("TokenKeeper-1","AccessToken")`,
			expr.Names{Workflows: []string{"Child"}, Tags: []string{"t"}, Fields: []string{"TokenKeeper-1.AccessToken"}}},
		{"JavaScript", `"Key eq 'GoogleMapsKey'"`, expr.Names{Keys: []string{"GoogleMapsKey"}}},
		{"JavaScript", `"Key eq '" + getVariable("k") + "'"`, expr.Names{Variables: []string{"k"}}},
		{"JavaScript", `for (const row of rows) { total += row.x }`, expr.Names{Globals: []string{"rows", "total"}}},
		{"Liquid", `{{ Variables.a.b }}{{ Variables["c d"] | json }}{% if Activities.act.Output == Input.x %}{% endif %}{{ "Child" | workflow_definition_id }}{{ 't' | workflow_definition_id: "tag" }}`,
			expr.Names{Variables: []string{"a", "c d"}, Activities: []string{"act"}, Input: []string{"x"}, Workflows: []string{"Child"}, Tags: []string{"t"}}},
		{"Liquid", `{% raw %}{{ Variables.no }}{% endraw %}{% comment %}{{ Variables.no }}{% endcomment %}Variables.no {{ Input }}`, expr.Names{WholeInput: true}},
		{"Literal", `Key eq 'AccessToken'`, expr.Names{Keys: []string{"AccessToken"}}},
		{"Literal", `key EQ 'O''Brien' and Data1 eq 'x'`, expr.Names{Keys: []string{"O'Brien"}}},
		{"Liquid", `Key eq '{{Variables.k}}'`, expr.Names{Variables: []string{"k"}}},
		{"Secret", `OAuth2:EntraID WoW`, expr.Names{Secrets: []string{"OAuth2:EntraID WoW"}}},
		{"Secret", `empty`, expr.Names{}},
		{"Variable", ` v `, expr.Names{Variables: []string{"v"}}},
		{"Switch", `[{"name":"a","syntax":"JavaScript","expressions":{"JavaScript":"getVariable('x') == input.y"}},{"name":"b","expressions":{"Liquid":"{{Variables.z}}"}}]`,
			expr.Names{Variables: []string{"x", "z"}, Input: []string{"y"}}},
		{"JavaScript", ``, expr.Names{}},
		{"JavaScript", `input`, expr.Names{WholeInput: true}},
		{"JavaScript", `=input.x`, expr.Names{Input: []string{"x"}}},
	} {
		if got := expr.Reads(c.syntax, c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s\n = %+v\nwant %+v", c.syntax, c.text, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ syntax, text, want string }{
		{"JavaScript", `return 1`, ""},
		{"JavaScript", `1; 2`, ""},
		{"JavaScript", ``, ""},
		{"JavaScript", "a\nb c", "SyntaxError: expecting ';' (line 2)"},
		{"JavaScript", strings.Repeat(" ", 70000) + "1", "over its limit of 64 KiB"},
		{"Liquid", `{{ x | unknown }}`, ""},
		{"Liquid", "x\n{% if %}", "line 2"},
		{"Json", `[1`, "not JSON"},
		{"Json", ` `, ""},
		{"Switch", `[{"name":"a","syntax":"JavaScript","expressions":{"JavaScript":"1 +"}}]`, `case "a": SyntaxError`},
		{"Switch", `{}`, "no list of"},
		{"Literal", `{{ {% `, ""},
		{"Secret", `a:b`, ""},
		{"Tcl", `x`, `nothing here evaluates the syntax "Tcl"`},
	} {
		err := expr.Check(c.syntax, c.text)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("Check(%s, %.40q) = %v; want %q", c.syntax, c.text, err, c.want)
		}
	}
}

// documents are the exports that the tests read: those of FRESHET_DOCUMENTS if
// it is set, our own of examples otherwise.
func documents(t testing.TB) map[string]*workflow.Definition {
	t.Helper()
	out := map[string]*workflow.Definition{}
	var files []string
	if dir := os.Getenv("FRESHET_DOCUMENTS"); dir != "" {
		for _, pattern := range []string{"*.json", "samples/*.json"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			files = append(files, found...)
		}
	} else {
		files, _ = filepath.Glob("../../../examples/world-of-workflows/*.json")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := workflow.Parse(b)
		if err != nil {
			continue // a document that is no definition
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = d
	}
	if len(out) == 0 {
		t.Skip("there are no exports to read")
	}
	return out
}

// TestDocumentsCompile holds that every expression of the exports compiles, but
// for the one that is known not to, which is not live.
func TestDocumentsCompile(t *testing.T) {
	for name, d := range documents(t) {
		var failed []string
		for _, a := range d.Activities {
			for _, p := range a.Properties {
				live, _, _ := p.Live("")
				for syntax, text := range p.Expressions {
					if err := expr.Check(syntax, text); err != nil {
						failed = append(failed, fmt.Sprintf("%s.%s %s live=%v: %v", a.Type, p.Name, syntax, live == syntax, err))
					}
					expr.Reads(syntax, text)
				}
			}
		}
		for _, f := range failed {
			if !strings.HasPrefix(f, "SendHttpRequest.Content JavaScript live=false") || len(failed) > 1 {
				t.Errorf("%s: %s", name, f)
			}
		}
	}
}

// TestDocumentReads holds what the report on an import says of CallMyAPI: what
// it reads, and never sets.
func TestDocumentReads(t *testing.T) {
	d, ok := documents(t)["call-my-api"]
	if !ok || os.Getenv("FRESHET_DOCUMENTS") == "" {
		t.Skip("CallMyAPI as its authors exported it is not there; our own is tailored")
	}
	var reads, sets, keys, children, activities []string
	for _, a := range d.Activities {
		for _, p := range a.Properties {
			syntax, text, ok := p.Live("")
			if !ok {
				continue
			}
			n := expr.Reads(syntax, text)
			reads, sets, keys = append(reads, n.Variables...), append(sets, n.Sets...), append(keys, n.Keys...)
			children, activities = append(children, n.Workflows...), append(activities, n.Activities...)
			if p.Name == "VariableName" {
				sets = append(sets, text)
			}
		}
	}
	for _, list := range []*[]string{&reads, &sets, &keys, &children, &activities} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	never := slices.DeleteFunc(slices.Clone(reads), func(name string) bool { return slices.Contains(sets, name) })
	if want := []string{"BaseURL", "Content", "Method", "Method2", "api"}; !slices.Equal(never, want) {
		t.Errorf("read and never set: %v, want %v", never, want)
	}
	if want := []string{"APIBaseURL", "AccessToken"}; !slices.Equal(keys, want) {
		t.Errorf("keys = %v, want %v", keys, want)
	}
	if want := []string{"GetChangingAccessTokenAuthentication"}; !slices.Equal(children, want) {
		t.Errorf("children = %v, want %v", children, want)
	}
	if want := []string{"getAPIBaseURL", "getAuthToken", "getSettingToken", "httpAPI"}; !slices.Equal(activities, want) {
		t.Errorf("activities = %v, want %v", activities, want)
	}
}

func FuzzLiquid(f *testing.F) {
	for _, s := range []string{`{{ Variables.a | json | raw }}`, `{% for i in (1..9) %}{{ i }}{% endfor %}`, `{% if a == 1 or b %}x{% else %}y{% endif %}`,
		`{% assign x = "a,b" | split: "," %}{{ x | sort | join }}`, `{{ "now" | date: "%Y" }}`, `{%- raw -%}{{ {%- endraw -%}`, `{% tablerow i in Variables.list cols:2 %}{% endtablerow %}`,
		`{{ 1 | divided_by: 0 }}`, `{{ Variables.list[9] }}`, `{% case x %}{% when 1 %}{% endcase %}`, `{{ "x" | format_number: "0.00" | slice: -5, 9 }}`, `{{`, `{% cycle %}`} {
		f.Add(s)
	}
	e := expr.New(expr.Options{})
	f.Fuzz(func(t *testing.T, text string) {
		checked := expr.Check(workflow.Liquid, text)
		v, err := e.Eval(t.Context(), sample(), workflow.Liquid, text, expr.Field{})
		if checked != nil && err == nil {
			t.Errorf("%q fails its check (%v) and renders %v", text, checked, v)
		}
		if _, ok := v.(string); v != nil && !ok {
			t.Errorf("%q renders %T", text, v)
		}
		expr.Reads(workflow.Liquid, text)
	})
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`return 1`, `try { x[0].Data1 } catch {}`, "`a${`${b}`}`", `/[/"]/.test(a)`, `(`, `})(); (function(){`, `{"a":1}`, `async () => { await 1 }`,
		`class A { #x = 1; get y() { return this.#x } }`, `\u0061 = 1`, `input.x = [..."a"]`, `getVariable("a" + b)`, `const {a = 1, ...b} = input`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_ = expr.Check(workflow.JavaScript, text)
		n := expr.Reads(workflow.JavaScript, text)
		for _, list := range [][]string{n.Variables, n.Sets, n.Globals, n.Activities, n.Input} {
			if !slices.IsSorted(list) {
				t.Errorf("%q: %v is not sorted", text, list)
			}
		}
	})
}
