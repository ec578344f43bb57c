package workflow_test

import (
	"cmp"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet/internal/workflow"
)

const native = `# comments stay: the file is kept as it is
workflow: Fetch
title: Fetch something
tag: nightly
persistence: Suspended
variables:
  limit: 5
  hosts: [a, b]
activities:
  token:
    type: GetAccessToken
    with: { Connection: crm, VariableName: access_token }
    next: call
  call:
    type: CallConnection
    at: [200, -10]
    with:
      Connection: crm
      Path: !js '"/items?limit=" + getVariable("limit")'
      SupportedStatusCodes: [200, 404]
      RequestHeaders: { X-A: "1", X-B: true }
      Content: !texts { syntax: Liquid, Liquid: "{{ Input }}", Literal: old }
      ContentType: null
    next:
      "200": finish-it
      Failed: [finish-it, other]
  finish-it:
    type: Finish
    with:
      ActivityOutput: !js |
        const a = activities.call.ResponseContent();
        return a.items
      OutcomeNames: [success]
  other:
    id: 8c1f
    name: ""
    type: WriteLine
    with: { Text: no answer }
`

func TestNative(t *testing.T) {
	d, findings := parse(t, []byte(native))
	if len(findings) > 0 {
		t.Fatalf("findings %v", findings)
	}
	if d.Name != "Fetch" || d.DisplayName != "Fetch something" || d.Tag != "nightly" || d.Persistence != workflow.PersistSuspended {
		t.Errorf("%+v", d)
	}
	if want := map[string]any{"limit": int64(5), "hosts": []any{"a", "b"}}; !reflect.DeepEqual(d.Variables, want) {
		t.Errorf("variables %#v", d.Variables)
	}
	call := d.ByName("call")
	for name, want := range map[string]workflow.Property{
		"Connection":           {Syntax: "Literal", Expressions: map[string]string{"Literal": "crm"}},
		"Path":                 {Syntax: "JavaScript", Expressions: map[string]string{"JavaScript": `"/items?limit=" + getVariable("limit")`}},
		"SupportedStatusCodes": {Syntax: "Json", Expressions: map[string]string{"Json": "[200,404]"}},
		"RequestHeaders":       {Syntax: "Json", Expressions: map[string]string{"Json": `{"X-A":"1","X-B":true}`}},
		"Content":              {Syntax: "Liquid", Expressions: map[string]string{"Liquid": "{{ Input }}", "Literal": "old"}},
		"ContentType":          {Expressions: map[string]string{}},
	} {
		p := call.Property(name)
		if p == nil || p.Syntax != want.Syntax || !reflect.DeepEqual(p.Expressions, want.Expressions) || p.At.Line == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if d.ByName("finish-it") != nil || d.Activity("finish-it").Name != "" || d.Activity("8c1f").Name != "" {
		t.Error("a key that is no identifier names an activity")
	}
	var edges []string
	for _, e := range d.Edges {
		edges = append(edges, e.Source+" "+e.Outcome+" "+e.Target)
	}
	if want := "token  call, call 200 finish-it, call Failed finish-it, call Failed 8c1f"; strings.Join(edges, ", ") != want {
		t.Errorf("edges %v", edges)
	}
	doc, err := workflow.Read([]byte(native))
	if err != nil || string(doc.Bytes()) != native {
		t.Errorf("the file is not kept: %v", err)
	}
	if _, err := doc.Set("title", []byte(`"x"`)); err == nil || !strings.Contains(err.Error(), "put the whole file") {
		t.Errorf("Set = %v", err)
	}
}

// The page about the spelling shows nothing that does not read.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(workflow:.*?)```").FindAllSubmatch(page, -1) {
		n++
		d, findings := parse(t, m[1])
		if len(findings) > 0 || len(d.Activities) != 5 || len(d.Edges) != 4 || d.Variables["limit"] != int64(50) {
			t.Errorf("%d activities, %d edges, findings %v", len(d.Activities), len(d.Edges), findings)
		}
	}
	if n != 1 {
		t.Errorf("%d definitions on the page", n)
	}
}

func TestNativeFaults(t *testing.T) {
	for text, want := range map[string]string{
		"workflow: x\ntitel: y\nactivities: {a: {type: X}}":                        "titel is not a field; the fields are workflow, id, title",
		"workflow: x\nactivities: {a: {type: X, whith: {}}}":                       "activities.a.whith is not a field",
		"workflow: x\nactivities: {a: {type: X}, a: {type: Y}}":                    "activities.a is given twice",
		"workflow: x\nactivities: [{type: X}]":                                     "activities has an entry for each activity, under a key of its own",
		"workflow: x\nactivities: {a: {type: X, with: {P: !python x}}}":            "activities.a.with.P has the tag !python",
		"workflow: x\nactivities: {a: {type: X, at: [1]}}":                         "activities.a.at is [X, Y]",
		"workflow: x\nsingleton: often\nactivities: {a: {type: X}}":                "singleton is true or false",
		"workflow: x\npersistence: Never\nactivities: {a: {type: X}}":              "persistence is Suspended, WorkflowBurst or ActivityExecuted",
		"x-a: &a {type: X}\nworkflow: x\nactivities: {a: *a}":                      "x-a is not a field",
		"workflow: x\nactivities: {a: {type: X, next: {True: nowhere}}}":           `the target "nowhere" of the connection for outcome "True" is not an activity`,
		"workflow: x\nactivities: {a: &l {type: X, with: {P: [1, *l]}}}":           "is an alias, which is not read here",
		"workflow: x\nactivities: {a: {type: X}}\nvariables: {v: 1, v: 2}":         "variables.v is given twice",
		"workflow: x\nactivities: {a: {type: X}, b: {type: X, id: a, name: \"\"}}": `the activityId "a" is that of "a", too`,
	} {
		_, findings, err := workflow.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		found := false
		for _, f := range findings {
			found = found || strings.Contains(f.What, want) && f.Line > 0
		}
		if !found {
			t.Errorf("%s\nfindings %v\nwant %s", text, findings, want)
		}
	}
}

// literal is a platform on which every property's default syntax is Literal.
func literal(string, string) (string, bool) { return "", true }

var ident = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// meaning is a definition without what spelling leaves open: places, syntaxes
// left to the default, properties without any text.
func meaning(d *workflow.Definition) *workflow.Definition {
	c := *d
	c.Activities = activities(d.Activities)
	c.Edges = append([]workflow.Edge{}, d.Edges...)
	for i := range c.Edges {
		c.Edges[i].At = workflow.Place{}
	}
	// What matters is the order among the edges of one outcome of one activity.
	slices.SortStableFunc(c.Edges, func(a, b workflow.Edge) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Outcome, b.Outcome))
	})
	if len(c.Variables) == 0 {
		c.Variables = nil
	}
	if len(c.CustomAttributes) == 0 {
		c.CustomAttributes = nil
	}
	return &c
}

func activities(list []workflow.Activity) []workflow.Activity {
	var out []workflow.Activity
	for _, a := range list {
		a.At = workflow.Place{}
		var ps []workflow.Property
		for _, p := range a.Properties {
			if p.At = (workflow.Place{}); p.Syntax == "" && len(p.Expressions) == 1 && p.Expressions["Literal"] != "" {
				p.Syntax = "Literal"
			}
			if p.Syntax == "" && p.Expressions["Literal"] == "" {
				if _, ok := p.Expressions["Literal"]; ok && len(p.Expressions) == 1 {
					p.Syntax = "Literal"
				}
			}
			if p.Syntax != "" || len(p.Expressions) > 0 {
				ps = append(ps, p)
			}
		}
		a.Properties = ps
		if len(a.Storage) == 0 {
			a.Storage = nil
		}
		a.Activities = activities(a.Activities)
		for i := range a.Edges {
			a.Edges[i].At = workflow.Place{}
		}
		out = append(out, a)
	}
	return out
}

func same(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want *workflow.Definition) {
	t.Helper()
	g, w := workflow.EncodeJSON(meaning(got)), workflow.EncodeJSON(meaning(want))
	if string(g) != string(w) {
		pre, post := around(g, w)
		pre = max(0, pre-80)
		t.Fatalf("meaning changed: …%s…\nwas …%s…", g[pre:len(g)-post], w[pre:len(w)-post])
	}
}

// Both spellings say the same, in both directions.
func TestSpellings(t *testing.T) {
	for name, b := range exports(t) {
		t.Run(name, func(t *testing.T) {
			d, _ := parse(t, b)
			for _, standard := range []workflow.Standard{nil, literal} {
				y, err := workflow.EncodeYAML(d, standard)
				if err != nil {
					t.Fatal(err)
				}
				again, findings := parse(t, y)
				if len(findings) > 0 {
					t.Errorf("findings %v", findings)
				}
				same(t, again, d)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		d.Index()
		fromJSON, _, err := workflow.Parse(workflow.EncodeJSON(d))
		if err != nil {
			t.Fatal(err)
		}
		same(t, fromJSON, d)
		y, err := workflow.EncodeYAML(d, literal)
		if err != nil {
			t.Fatal(err)
		}
		fromYAML, _, err := workflow.Parse(y)
		if err != nil {
			t.Fatalf("%v\n%s", err, y)
		}
		same(t, fromYAML, d)
		once, err := workflow.EncodeYAML(fromYAML, literal)
		if err != nil || string(once) != string(y) {
			t.Fatalf("YAML of YAML differs:\n%s\nwas\n%s", once, y)
		}
	})
}

// draw makes a definition with everything in it, the edges in the order in
// which YAML has them: by source.
func draw(t *rapid.T) *workflow.Definition {
	str := rapid.Custom(func(t *rapid.T) string {
		s := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", " ", "true", "null", "~", "1", "0x1f", "- a", "a: b", "\n", "a\n", " a\nb", "a \n\tb", "é", "#x", "{x}", "[secret]", "2024-01-01", "a\u2028b", "\ufeff", "!js x", "|", "a\r\nb", "yes"})).Draw(t, "text")
		return strings.ToValidUTF8(s, "?")
	})
	value := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }), rapid.Map(rapid.Int64(), func(i int64) any { return i }),
		rapid.Map(str, func(s string) any { return s }), rapid.Map(rapid.SliceOfN(str, 0, 3), func(l []string) any {
			out := make([]any, len(l))
			for i, s := range l {
				out[i] = s
			}
			return out
		}))
	d := &workflow.Definition{Name: str.Draw(t, "name"), ID: str.Draw(t, "id"), DisplayName: str.Draw(t, "title"), Description: str.Draw(t, "description"), Tag: str.Draw(t, "tag"),
		Version: rapid.IntRange(0, 9).Draw(t, "version"), Singleton: rapid.Bool().Draw(t, "singleton"), Persistence: workflow.PersistActivity,
		Variables: rapid.MapOfN(rapid.StringMatching(`[a-zA-Z_. é-]{1,5}`), value, 0, 3).Draw(t, "variables")}
	delete(d.Variables, "data")
	n := rapid.IntRange(1, 5).Draw(t, "activities")
	for i := range n {
		a := workflow.Activity{ID: rapid.SampledFrom([]string{"", "x-", "é "}).Draw(t, "prefix") + string(rune('a'+i)), Type: rapid.StringMatching(`[A-Z][a-z]{0,4}`).Draw(t, "type"), Name: str.Draw(t, "name"),
			DisplayName: str.Draw(t, "title"), X: rapid.IntRange(-9, 9).Draw(t, "x"), PersistWorkflow: rapid.Bool().Draw(t, "persist")}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z][a-z]{0,3}`), 0, 4, rapid.ID[string]).Draw(t, "properties") {
			p := workflow.Property{Name: name, Syntax: rapid.SampledFrom([]string{"", "Literal", "JavaScript", "Json", "Liquid", "Own"}).Draw(t, "syntax"), Expressions: map[string]string{}}
			for _, s := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"Literal", "JavaScript", "Json", "Own"}), rapid.ID[string]).Draw(t, "syntaxes") {
				p.Expressions[s] = rapid.OneOf(str, rapid.SampledFrom([]string{`["200"]`, `{"a":1.50,"b":null}`, `[ 1 ]`, `{"a":{"a":[]}}`, `[{"a":"\u00e9"}]`, `[1e3,true]`})).Draw(t, "expression")
			}
			a.Properties = append(a.Properties, p)
		}
		d.Activities = append(d.Activities, a)
	}
	for i := range d.Activities {
		// Of one source, edges of one outcome stand together.
		for _, o := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "Done", "True", "200", "Not Found"}), 0, 3, rapid.ID[string]).Draw(t, "outcomes") {
			for _, to := range rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, 2, rapid.ID[int]).Draw(t, "targets") {
				d.Edges = append(d.Edges, workflow.Edge{Source: d.Activities[i].ID, Target: d.Activities[to].ID, Outcome: o})
			}
		}
	}
	return d
}

func TestExamplesAreTidy(t *testing.T) {
	for _, name := range []string{"call-my-api.json", "get-changing-access-token-authentication.json"} {
		b, err := os.ReadFile("../../examples/world-of-workflows/definitions/" + name)
		if err != nil {
			t.Fatal(err)
		}
		d, findings := parse(t, b)
		if len(findings) > 0 || len(d.Starts()) != 1 {
			t.Errorf("%s: %v, %d starts", name, findings, len(d.Starts()))
		}
		for i := range d.Activities {
			if n := d.Activities[i].Name; n != "" && !ident.MatchString(n) {
				t.Errorf("%s: %q is no name for expressions", name, n)
			}
		}
	}
}
