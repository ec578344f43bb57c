package check_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/codec"
	"github.com/freshet-dev/freshet/internal/workflow/endpoint"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
	"github.com/freshet-dev/freshet/internal/workflow/rows"
)

// registry holds every activity, without the services behind them.
func registry() *activity.Registry {
	return activity.NewRegistry(slices.Concat(activity.Control(), activity.Primitives(), activity.Timers(nil), activity.Workflows(nil),
		codec.Specs(), outbound.Specs(outbound.Options{}), rows.Specs(nil), endpoint.Specs())...)
}

// checker knows a table Settings, a workflow Known and a connection crm.
func checker() *check.Checker {
	return check.New(check.Options{Types: registry(),
		Published: func(_ context.Context, name string) bool { return name == "Known" },
		Columns: func(_ context.Context, table string) ([]string, bool, error) {
			return []string{"Key", "Data1", "Data2"}, table == "Settings", nil
		},
		Secret:     func(_ context.Context, ref string) bool { return ref == "OAuth2:crm" },
		Connection: func(_ context.Context, name string) bool { return name == "crm" },
	})
}

func reportOf(t *testing.T, b []byte, a workflow.Attachments) *check.Report {
	t.Helper()
	d, found, err := workflow.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return checker().Report(t.Context(), &workflow.Version{Name: d.Name, Definition: d, Attachments: a}, found)
}

func documents(t *testing.T, name string) map[string][]byte {
	t.Helper()
	dirs := []string{"../testdata"}
	if d := os.Getenv("FRESHET_DOCUMENTS"); d != "" {
		dirs = append(dirs, filepath.Join(d, "samples"))
	}
	out := map[string][]byte{}
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[dir] = b
	}
	return out
}

func codes(r *check.Report) []string {
	var out []string
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	slices.Sort(out)
	return out
}

func TestReportOfCallMyAPI(t *testing.T) {
	for dir, b := range documents(t, "call-my-api.json") {
		t.Run(dir, func(t *testing.T) {
			r := reportOf(t, b, workflow.Attachments{})
			var names []string
			read := map[string]check.Read{}
			for _, v := range r.Variables {
				names = append(names, v.Name)
				read[v.Name] = v
			}
			if !reflect.DeepEqual(names, []string{"BaseURL", "Content", "Method", "Method2", "api"}) {
				t.Errorf("read and never set: %v", names)
			}
			if v := read["BaseURL"]; v.Similar != "APIBaseURL" || !strings.Contains(v.Effect, "every run that comes here faults") || !strings.Contains(v.Do, `--set BaseURL='{"Data1":"…"}'`) || len(v.Uses) != 1 || v.Uses[0].Property != "Url" {
				t.Errorf("%+v", v)
			}
			if v := read["Method2"]; !strings.Contains(v.Do, "leaving it out harms nothing") || v.Effect != "the text says null in its place" || len(v.Uses) != 2 {
				t.Errorf("%+v", v)
			}
			if v := read["api"]; v.Effect != "the URL has the word null in its place" || !strings.Contains(v.Do, "--map-input api=input.api") || v.Similar != "" {
				t.Errorf("%+v", v)
			}
			if read["Method"].Effect != "without a method the request is a GET" || read["Content"].Effect != "without content the request has no body" || read["Content"].Similar != "" {
				t.Errorf("%+v %+v", read["Method"], read["Content"])
			}
			if len(r.Tables) != 1 || !*r.Tables[0].There || !reflect.DeepEqual(r.Tables[0].Columns, []string{"Data1", "Data2", "Key"}) || !reflect.DeepEqual(r.Tables[0].Keys, []string{"APIBaseURL", "AccessToken"}) || len(r.Tables[0].Missing) > 0 {
				t.Errorf("tables %+v", r.Tables)
			}
			if len(r.Workflows) != 1 || r.Workflows[0].Name != "GetChangingAccessTokenAuthentication" || *r.Workflows[0].There || !strings.Contains(r.Workflows[0].Do, "takes Not Found") {
				t.Errorf("workflows %+v", r.Workflows)
			}
			if r.Road.Kind != check.RoadWritten || !strings.Contains(r.Road.Do, "connection") || len(r.Secrets) > 0 || r.Errors() {
				t.Errorf("road %+v, secrets %v", r.Road, r.Secrets)
			}
			attached := reportOf(t, b, workflow.Attachments{Variables: map[string]any{"BaseURL": map[string]any{"Data1": "x"}}, MapInput: map[string]string{"api": "input.api", "Method": "input.method", "Content": "input.content"}})
			if len(attached.Variables) != 1 || attached.Variables[0].Name != "Method2" || len(attached.Attached) != 4 {
				t.Errorf("attached: %+v %v", attached.Variables, attached.Attached)
			}
		})
	}
}

func TestReportOfTokenWorkflow(t *testing.T) {
	for dir, b := range documents(t, "get-changing-access-token-authentication.json") {
		t.Run(dir, func(t *testing.T) {
			r := reportOf(t, b, workflow.Attachments{})
			if got := codes(r); !reflect.DeepEqual(got, []string{"endpoint-open", "lifetime-missing", "liquid-encoding", "no-skew", "old-credential", "unconnected"}) {
				t.Errorf("findings %v", got)
			}
			for _, f := range r.Findings {
				if strings.Contains(f.Sentence(), "wow") || strings.Contains(f.Sentence(), "example-old-password") {
					t.Errorf("a finding shows a credential: %s", f.Sentence())
				}
				if f.Line == 0 || f.ID == "" {
					t.Errorf("a finding without its place: %+v", f)
				}
			}
			if len(r.Variables) > 0 || r.Inputs != nil || len(r.Endpoints) != 1 || r.Endpoints[0].Path != "/getAccessToken" || r.Endpoints[0].Methods != "GET" || !strings.Contains(r.Endpoints[0].Security, "run:") {
				t.Errorf("%+v %+v %+v", r.Variables, r.Inputs, r.Endpoints)
			}
			open := reportOf(t, b, workflow.Attachments{Public: true})
			if !strings.Contains(open.Endpoints[0].Security, "everybody") {
				t.Errorf("%+v", open.Endpoints)
			}
		})
	}
}

// The examples have none of the traps.
func TestReportOfExamples(t *testing.T) {
	for name, want := range map[string][]string{"call-my-api.json": {"unconnected"}, "get-changing-access-token-authentication.json": {"endpoint-open", "unconnected"}} {
		b, err := os.ReadFile("../../../examples/world-of-workflows/definitions/" + name)
		if err != nil {
			t.Fatal(err)
		}
		r := reportOf(t, b, workflow.Attachments{})
		if got := codes(r); !reflect.DeepEqual(got, want) || len(r.Variables) > 0 {
			t.Errorf("%s: %v %+v", name, got, r.Variables)
		}
		if name == "call-my-api.json" && (r.Inputs == nil || !reflect.DeepEqual(r.Inputs.Members, []string{"api", "content2", "method2"})) {
			t.Errorf("inputs %+v", r.Inputs)
		}
	}
}

// The native one needs neither tables nor variables of its own.
func TestReportOfNativeExample(t *testing.T) {
	b, err := os.ReadFile("../../../examples/world-of-workflows/definitions/call-my-api-natively.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]string{"api": "input?.api", "method": "input?.method2", "content": "input?.content2"}
	r := reportOf(t, b, workflow.Attachments{MapInput: in})
	if r.Inputs == nil || !reflect.DeepEqual(r.Inputs.Members, []string{"api", "content2", "method2"}) {
		t.Errorf("inputs %+v", r.Inputs)
	}
	if len(r.Findings) > 0 || len(r.Variables) > 0 || len(r.Tables) > 0 || r.Road.Kind != check.RoadNative || r.Activities != 3 || len(r.Used) != 1 || r.Used[0].Name != "example-api" {
		t.Errorf("%+v", r)
	}
}

// def makes a definition of activities A, B, …; each edge is "A True B".
func def(activities []string, edges ...string) []byte {
	var b strings.Builder
	b.WriteString(`{"definitionId":"d","name":"W","activities":[`)
	for i, a := range activities {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString(`{"activityId":"` + string(rune('A'+i)) + `",` + a + `}`)
	}
	b.WriteString(`],"connections":[`)
	for i, e := range edges {
		p := strings.Fields(e)
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString(`{"sourceActivityId":"` + p[0] + `","outcome":"` + strings.Join(p[1:len(p)-1], " ") + `","targetActivityId":"` + p[len(p)-1] + `"}`)
	}
	return []byte(b.String() + `]}`)
}

func prop(name, syntax, text string) string {
	return `{"name":"` + name + `","syntax":"` + syntax + `","expressions":{"` + syntax + `":"` + text + `"}}`
}

func TestFindings(t *testing.T) {
	line := `"type":"WriteLine"`
	for name, c := range map[string]struct {
		file []byte
		want []string // severity code: part of the sentence
	}{
		"cap087 a wrong outcome": {def([]string{`"type":"If","displayName":"Is it?","properties":[` + prop("Condition", "Literal", "true") + `]`, line}, "A Treu B", "A True B", "A False B"),
			[]string{`warning outcome: 2:55: "Is it?" (If): the connection to "WriteLine" is for the outcome "Treu", which If never has: it is never followed; its outcomes are True, False, Done`}},
		"cap087 edges of the documents": {def([]string{`"type":"If","properties":[` + prop("Condition", "Literal", "true") + `]`, line, `"type":"SendHttpRequest","properties":[` + prop("Url", "Literal", "https://a.example") + `]`},
			"A true B", "A False C", "A Done B", "C 200 B", "C 404 B", "C Unsupported Status Code B", "C Failed B", "C Done B"), nil},
		"a status that is none":         {def([]string{`"type":"SendHttpRequest"`, line}, "A 2000 B", "A 200 B", "A Unsupported Status Code B"), []string{`warning outcome: `}},
		"outcomes that are computed":    {def([]string{`"type":"RunJavaScript","properties":[` + prop("Script", "Literal", "setOutcome('x')") + `]`, line}, "A x B"), nil},
		"outcomes of an unknown type":   {def([]string{`"type":"PluginThing"`, line}, "A whatever B"), []string{"warning unknown-type: 1:46: \"PluginThing\": there is no activity of type PluginThing here"}},
		"a type in another case":        {def([]string{`"type":"setvariable"`}), []string{"warning unknown-type: 1:46: \"setvariable\": there is no activity of type setvariable here: it is kept, and a run that reaches it faults; types are compared with case: did you mean SetVariable?"}},
		"JavaScript with a fault":       {def([]string{`"type":"WriteLine","displayName":"Say","properties":[` + prop("Text", "JavaScript", "return (1") + `]`}), []string{`error javascript: 1:`}},
		"a fault that is not in use":    {def([]string{`"type":"WriteLine","properties":[{"name":"Text","syntax":"Literal","expressions":{"Literal":"a","JavaScript":"{ \"a\": "}}]`}), nil},
		"a script with a fault":         {def([]string{`"type":"RunJavaScript","properties":[` + prop("Script", "Literal", "let = ;") + `]`}), []string{`error javascript: 1:`}},
		"JSON that is none":             {def([]string{`"type":"Fork","properties":[` + prop("Branches", "Json", "[a") + `]`}), []string{`warning does-not-compile: `}},
		"no text for the syntax in use": {def([]string{`"type":"If","properties":[{"name":"Condition","expressions":{"JavaScript":"true"}}]`}), []string{`info no-live-text: `}},
		"a property that is unknown":    {def([]string{`"type":"WriteLine","properties":[` + prop("Colour", "Literal", "red") + `]`}), []string{`info unknown-property: `}},
		"a column that is not there":    {def([]string{`"type":"ObjectInstanceList","displayName":"List","properties":[` + prop("ObjectType", "Literal", "Settings") + `,` + prop("Filter", "Literal", "Key eq 'a' and Data9 eq 1") + `]`}), []string{`warning filter-column: 1:`}},
		"a filter that does not read":   {def([]string{`"type":"ObjectInstanceList","properties":[` + prop("ObjectType", "Literal", "Settings") + `,` + prop("Filter", "Literal", "Key eq") + `]`}), []string{`warning filter: `}},
		"an endless loop":               {def([]string{line, line}, "A Done B", "B Done A"), nil},
		"a ring that nothing enters":    {def([]string{line, line, line}, "B Done C", "C Done B"), []string{`info unreachable: 2:1: `, `info unreachable: 3:1: `}},
		"a start too much":              {def([]string{line, line, `"type":"Finish","displayName":"left over"`}, "A Done B"), []string{`warning extra-start: 3:1: "left over" (Finish): nothing leads to this activity`}},
		"the first start is a leftover": {def([]string{`"type":"RunJavaScript","displayName":"old"`, line, line}, "B Done C"), []string{`warning lonely-start: 1:`, `warning extra-start: 2:1`}},
		"two triggers":                  {def([]string{`"type":"HttpEndpoint","properties":[` + prop("Path", "Literal", "/a") + `,` + prop("Authorize", "Literal", "true") + `]`, `"type":"SignalReceived","properties":[` + prop("Signal", "Literal", "s") + `]`, line}, "A Done C", "B Done C"), nil},
		"a header that is blank": {def([]string{`"type":"HttpEndpoint","displayName":"In","properties":[` + prop("Path", "Literal", "/a") + `,` + prop("AuthorizeWithCustomHeader", "Literal", "true") + `,` + prop("CustomHeaderName", "Literal", "Bearer") + `,` + prop("CustomHeaderValue", "Liquid", "{{Variables.access_token}}") + `]`}),
			[]string{`warning open-elsewhere: 1:46: "In" (HttpEndpoint), property CustomHeaderValue: CustomHeaderValue is blank before a run has begun: the platform lets everybody in then; here nobody is let in`}},
		"an outcome that nothing follows": {def([]string{`"type":"ObjectInstanceGet"`, line}, "A Success B"), []string{`info unconnected: 1:46: "ObjectInstanceGet": nothing follows Object instance not found`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := reportOf(t, c.file, workflow.Attachments{})
			var got []string
			for _, f := range r.Findings {
				got = append(got, string(f.Severity)+" "+f.Code+": "+f.Sentence())
			}
			ok := len(got) == len(c.want)
			for i := range min(len(got), len(c.want)) {
				ok = ok && strings.HasPrefix(got[i], c.want[i])
			}
			if !ok {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// Faults of JavaScript keep a version from being published, and name activity
// and property.
func TestCheckWorkflow(t *testing.T) {
	w := &freshet.Workflow{Definition: freshet.NewSecret(string(def([]string{`"type":"WriteLine","displayName":"Say","properties":[` + prop("Text", "JavaScript", "return (1") + `]`}))),
		MapInput: map[string]string{"api": "input."}, Lock: "(", Variables: map[string]freshet.Secret{"a": freshet.NewSecret("1")}}
	found, err := checker().CheckWorkflow(t.Context(), "W", w)
	if err != nil || len(found) != 3 {
		t.Fatalf("%v %v", found, err)
	}
	var all []string
	for _, f := range found {
		if f.Severity != workflow.Error {
			t.Errorf("%s is %s", f.Sentence(), f.Severity)
		}
		all = append(all, f.Sentence())
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{`"Say" (WriteLine), property Text: the JavaScript does not compile`, "map_input.api is no JavaScript", "lock is no JavaScript"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	w.Variables["a"] = freshet.NewSecret("{")
	if _, err := checker().CheckWorkflow(t.Context(), "W", w); err == nil || !strings.Contains(err.Error(), "variable a is not JSON") {
		t.Errorf("a variable that is no JSON: %v", err)
	}
}

func TestReferences(t *testing.T) {
	file := def([]string{
		`"type":"SendHttpRequest","displayName":"call","properties":[` + prop("Authorization", "Secret", "OAuth2:crm") + `,` + prop("RequestHeaders", "Liquid", "{}") + `]`,
		`"type":"SendHttpRequest","properties":[` + prop("Authorization", "Secret", "OAuth2:erp") + `]`,
		`"type":"CallConnection","properties":[` + prop("Connection", "Literal", "erp") + `]`,
		`"type":"ObjectInstanceList","properties":[` + prop("ObjectType", "Literal", "Orders") + `,` + prop("Filter", "Literal", "Title eq 'it''s'") + `]`,
		`"type":"RunWorkflow","properties":[` + prop("WorkflowDefinitionId", "JavaScript", "getWorkflowDefinitionIdByName('Known')") + `]`,
		`"type":"RunJavaScript","properties":[` + prop("Script", "Literal", "const p = JSON.parse(input); setVariable('x', p.a)") + `]`,
	})
	r := reportOf(t, file, workflow.Attachments{})
	if len(r.Secrets) != 2 || !*r.Secrets[0].There || *r.Secrets[1].There || !strings.Contains(r.Secrets[1].Do, `connection named "erp"`) {
		t.Errorf("secrets %+v", r.Secrets)
	}
	if len(r.Used) != 1 || *r.Used[0].There || len(r.Tables) != 1 || *r.Tables[0].There || !reflect.DeepEqual(r.Tables[0].Keys, []string{"it's"}) || !strings.Contains(r.Tables[0].Do, "tables: {Orders:") {
		t.Errorf("%+v %+v", r.Used, r.Tables)
	}
	if len(r.Workflows) != 1 || !*r.Workflows[0].There || r.Inputs == nil || !reflect.DeepEqual(r.Inputs.Members, []string{"a"}) || r.Road.Kind != check.RoadNative {
		t.Errorf("%+v %+v %+v", r.Workflows, r.Inputs, r.Road)
	}
}

// Whatever is read can be reported on.
func FuzzReport(f *testing.F) {
	for _, name := range []string{"call-my-api.json", "get-changing-access-token-authentication.json"} {
		b, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("workflow: x\nactivities: {a: {type: If, with: {Condition: !js \"a\"}, next: {x: a}}}"))
	c := checker()
	f.Fuzz(func(t *testing.T, b []byte) {
		d, found, err := workflow.Parse(b)
		if err != nil {
			return
		}
		r := c.Report(t.Context(), &workflow.Version{Name: d.Name, Definition: d}, found)
		for _, f := range r.Findings {
			if f.What == "" || f.Code == "" {
				t.Errorf("a finding without words: %+v", f)
			}
		}
	})
}
