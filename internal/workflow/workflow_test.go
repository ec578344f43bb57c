package workflow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// exports are the two documented workflows as somebody would export them, and
// the originals where they are at hand.
func exports(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	dirs := []string{"testdata"}
	if d := os.Getenv("FRESHET_DOCUMENTS"); d != "" {
		dirs = append(dirs, filepath.Join(d, "samples"))
	}
	for _, dir := range dirs {
		for _, name := range []string{"call-my-api.json", "get-changing-access-token-authentication.json"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			out[dir+"/"+name] = b
		}
	}
	return out
}

func parse(t testing.TB, b []byte) (*workflow.Definition, []workflow.Finding) {
	t.Helper()
	d, findings, err := workflow.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return d, findings
}

func TestExports(t *testing.T) {
	for name, b := range exports(t) {
		t.Run("cap081 "+name, func(t *testing.T) {
			d, findings := parse(t, b)
			want, activities, start, startType := "CallMyAPI", 17, "getSettingToken", "ObjectInstanceList"
			if strings.Contains(name, "get-changing") {
				want, activities, start, startType = "GetChangingAccessTokenAuthentication", 22, "", "HttpEndpoint"
			}
			if d.Name != want || len(d.Activities) != activities || len(d.Edges) != activities {
				t.Errorf("%s, %d activities, %d edges", d.Name, len(d.Activities), len(d.Edges))
			}
			if len(findings) > 0 {
				t.Errorf("findings %v", findings)
			}
			if s := d.Starts(); len(s) != 1 || s[0].Name != start || s[0].Type != startType {
				t.Errorf("starts %v", s)
			}
			for i := range d.Activities {
				a := &d.Activities[i]
				if d.Activity(a.ID) != a || a.At.Line != 1 || a.At.Column < 100 {
					t.Errorf("%s is at %v", a.Label(), a.At)
				}
				if got := string(b[a.At.Column-1:][:5]); got != `{"$id` {
					t.Errorf("%s: at its column stands %s", a.Label(), got)
				}
			}
		})
	}
}

func TestLive(t *testing.T) {
	p := workflow.Property{Name: "Authorization", Expressions: map[string]string{"Secret": "empty", "Liquid": "x"}}
	for _, c := range []struct {
		syntax, standard string
		wantSyntax, want string
		ok               bool
	}{
		{"", "Secret", "Secret", "empty", true},
		{"", "", "Literal", "", false}, // there is no falling back to another text
		{"Liquid", "Secret", "Liquid", "x", true},
		{"JavaScript", "Secret", "JavaScript", "", false},
	} {
		p.Syntax = c.syntax
		if s, text, ok := p.Live(c.standard); s != c.wantSyntax || text != c.want || ok != c.ok {
			t.Errorf("syntax %q over %q: %s %q %t", c.syntax, c.standard, s, text, ok)
		}
	}
}

// minimal wraps activities and connections into a definition.
func minimal(activities, connections string) string {
	return `{"definitionId":"d","name":"W","activities":[` + activities + `],"connections":[` + connections + `]}`
}

// Foreign files differ in what they leave out and what they add.
func TestOddExports(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want []string // codes of findings
		see  func(d *workflow.Definition) any
		is   any
	}{
		"byte order mark":           {"\ufeff" + minimal(`{"activityId":"a","type":"X"}`, ""), nil, func(d *workflow.Definition) any { return d.Activities[0].At.Column }, 46},
		"nulls everywhere":          {`{"definitionId":null,"name":null,"variables":null,"customAttributes":{"data":null},"activities":[{"activityId":"a","type":"X","name":null,"properties":null,"propertyStorageProviders":null}],"connections":null}`, nil, func(d *workflow.Definition) any { return d.Name == "" && len(d.CustomAttributes) == 0 }, true},
		"a stub":                    {`{"$id":"1","variables":{"$id":"2","data":{}},"deleteCompletedInstances":false}`, []string{"empty"}, nil, nil},
		"version 0, text ids":       {`{"definitionId":"SETUP-TYPES_1","version":0,"activities":[{"activityId":7,"type":"X","x":-30,"y":"-4","name":"  "}],"connections":[]}`, nil, func(d *workflow.Definition) any { a := d.Activity("7"); return []any{a.X, a.Y, d.ByName("  ")} }, []any{-30, -4, (*workflow.Activity)(nil)}},
		"id and versionId differ":   {`{"id":"a","versionId":"b","definitionId":"c","activities":[{"activityId":"a","type":"X"}]}`, nil, func(d *workflow.Definition) any { return d.ID }, "c"},
		"references":                {`{"definitionId":"d","activities":[{"$id":"5","activityId":"a","type":"X","properties":[{"name":"P","expressions":{"$id":"9","Literal":"t"}}]},{"activityId":"b","type":"X","properties":[{"name":"Q","expressions":{"$ref":"9"}}]}]}`, nil, func(d *workflow.Definition) any { return d.Activity("b").Property("Q").Expressions }, map[string]string{"Literal": "t"}},
		"a reference to nothing":    {`{"definitionId":"d","activities":[{"activityId":"a","type":"X","properties":[{"name":"P","expressions":{"$ref":"77"}}]}]}`, []string{"dangling-reference"}, nil, nil},
		"references in a ring":      {`{"definitionId":"d","variables":{"data":{"a":{"$id":"1","x":{"$ref":"1"}}}},"activities":[{"activityId":"a","type":"X"}]}`, []string{"odd-value"}, nil, nil},
		"a list of the serializer":  {`{"definitionId":"d","activities":{"$id":"2","$values":[{"activityId":"a","type":"X"}]}}`, nil, func(d *workflow.Definition) any { return len(d.Activities) }, 1},
		"$type":                     {`{"$type":"Elsa.Models.WorkflowDefinition, Elsa","definitionId":"d","variables":{"data":{"$type":"x","v":1}},"activities":[{"activityId":"a","type":"X"}]}`, nil, func(d *workflow.Definition) any { return d.Variables }, map[string]any{"v": int64(1)}},
		"variables without data":    {`{"definitionId":"d","variables":{"a":1.5,"b":[true,null],"c":{"$id":"3","d":"e"}},"activities":[{"activityId":"a","type":"X"}]}`, nil, func(d *workflow.Definition) any { return d.Variables }, map[string]any{"a": 1.5, "b": []any{true, nil}, "c": map[string]any{"d": "e"}}},
		"names in another case":     {`{"DefinitionId":"d","Name":"W","Activities":[{"ActivityId":"a","Type":"X"}]}`, nil, func(d *workflow.Definition) any { return d.Name + d.Activities[0].Type }, "WX"},
		"persistence as a number":   {`{"definitionId":"d","persistenceBehavior":2,"activities":[{"activityId":"a","type":"X"}]}`, nil, func(d *workflow.Definition) any { return d.Persistence }, workflow.PersistActivity},
		"an unknown persistence":    {`{"definitionId":"d","persistenceBehavior":"Never","activities":[{"activityId":"a","type":"X"}]}`, []string{"odd-value"}, func(d *workflow.Definition) any { return d.Persistence }, workflow.PersistBurst},
		"expressions that are none": {`{"definitionId":"d","activities":[{"activityId":"a","type":"X","properties":[{"name":"P","expressions":{"Json":["200"],"Literal":5,"Liquid":null}},{"name":"Q","expressions":"x"},7]}]}`, []string{"odd-value", "odd-value"}, func(d *workflow.Definition) any { return d.Activities[0].Property("P").Expressions }, map[string]string{"Json": `["200"]`, "Literal": "5"}},
		"wrong shapes":              {`{"definitionId":{},"name":[1],"isSingleton":"yes","version":"x","activities":"none","connections":{}}`, []string{"odd-value", "odd-value", "odd-value", "odd-value", "odd-value", "odd-value", "empty"}, nil, nil},
		"members twice":             {`{"definitionId":"d","name":"A","name":"B","activities":[{"activityId":"a","type":"X"}]}`, []string{"duplicate-member"}, func(d *workflow.Definition) any { return d.Name }, "B"},
		"an id twice":               {minimal(`{"activityId":"a","type":"If","displayName":"One"},{"activityId":"a","type":"Finish","displayName":"Two"}`, ""), []string{"duplicate-id"}, nil, nil},
		"a name twice":              {minimal(`{"activityId":"a","type":"If","name":"n"},{"activityId":"b","type":"Finish","name":"n"}`, ""), []string{"duplicate-name"}, func(d *workflow.Definition) any { return d.ByName("n").ID }, "a"},
		"no id, no type":            {minimal(`{"displayName":"lost"}`, ""), []string{"no-id", "no-type"}, func(d *workflow.Definition) any { return d.Starts()[0].ID }, "activities[0]"},
		"a missing target":          {minimal(`{"activityId":"a","type":"If","displayName":"Is it?"}`, `{"sourceActivityId":"a","targetActivityId":"gone","outcome":"True"}`), []string{"dangling-edge"}, func(d *workflow.Definition) any { return len(d.Outbound("a", "True")) }, 0},
		"an edge without ends":      {minimal(`{"activityId":"a","type":"If"}`, `{}`), []string{"dangling-edge", "dangling-edge"}, nil, nil},
		"an endless loop":           {minimal(`{"activityId":"a","type":"X"},{"activityId":"b","type":"X"}`, `{"sourceActivityId":"a","targetActivityId":"b"},{"sourceActivityId":"b","targetActivityId":"a","outcome":null}`), nil, func(d *workflow.Definition) any { return d.Starts()[0].ID }, "a"},
		"outcomes without case":     {minimal(`{"activityId":"a","type":"X"},{"activityId":"b","type":"X"}`, `{"sourceActivityId":"a","targetActivityId":"b","outcome":"success"}`), nil, func(d *workflow.Definition) any { return len(d.Outbound("a", "Success")) }, 1},
		"a composite":               {minimal(`{"activityId":"a","type":"X","activities":[{"activityId":"b","type":"Y"}],"connections":[{"sourceActivityId":"b","targetActivityId":"b","outcome":"Done"}]}`, ""), nil, func(d *workflow.Definition) any { return len(d.Activities[0].Activities) + len(d.Activities[0].Edges) }, 2},
		"a lone half of a pair":     {minimal(`{"activityId":"a","type":"X","displayName":"\ud83d!"}`, ""), nil, func(d *workflow.Definition) any { return d.Activities[0].DisplayName }, "\ufffd!"},
	} {
		t.Run(name, func(t *testing.T) {
			d, findings := parse(t, []byte(c.file))
			var codes []string
			for _, f := range findings {
				codes = append(codes, f.Code)
				if f.What == "" || f.Line == 0 {
					t.Errorf("finding without words or place: %+v", f)
				}
			}
			if !reflect.DeepEqual(codes, c.want) {
				t.Errorf("findings %v, want %v", findings, c.want)
			}
			if c.see != nil {
				if got := c.see(d); !reflect.DeepEqual(got, c.is) {
					t.Errorf("got %#v, want %#v", got, c.is)
				}
			}
			doc, err := workflow.Read([]byte(c.file))
			if err != nil || string(doc.Bytes()) != c.file {
				t.Errorf("the file is not kept: %v", err)
			}
		})
	}
}

func TestFindingsNamePlaces(t *testing.T) {
	file := "{\n \"definitionId\": \"é\", \"name\": \"W\",\n \"activities\": [\n  {\"activityId\": \"a\", \"type\": \"If\", \"displayName\": \"One\"},\n  {\"activityId\": \"a\", \"type\": \"Finish\", \"displayName\": \"Two\"}\n ],\n \"connections\": [{\"sourceActivityId\": \"a\", \"targetActivityId\": \"b\"}]\n}"
	_, findings := parse(t, []byte(file))
	want := []string{
		`5:3: "Two" (Finish): the activityId "a" is that of "One", too: connections to it are ambiguous`,
		`7:18: "One" (If): the connection's target "b" is not an activity of the workflow: the connection is not followed`,
	}
	var got []string
	for _, f := range findings {
		got = append(got, f.String())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if findings[1].Path != "connections[0]" {
		t.Errorf("path %s", findings[1].Path)
	}
}

func TestUnreadableFiles(t *testing.T) {
	deep := `{"definitionId":"d","variables":{"data":` + strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70) + `}}`
	for name, c := range map[string]struct{ file, want string }{
		"empty":                  {"", "line 1, column 1: the file is empty"},
		"blank":                  {" \n ", "line 2, column 2: the file is empty"},
		"cut off":                {`{"activities":[{"activityId":"a"`, "line 1, column 33: the file ends too early: a bracket is not closed (in activities[0])"},
		"a quote open":           {"{\"name\":\"x", "line 1, column 9: the file ends too early: this quote is not closed (in name)"},
		"a comma too much":       {"{\n\"activities\":[],\n}", "line 3, column 1: this is not JSON: the name of a member is needed here, in quotes"},
		"no colon":               {`{"a" 1}`, "line 1, column 6: this is not JSON: a colon is needed here"},
		"two values":             {`{"definitionId":"x"} {}`, "line 1, column 22: something follows the end of the definition"},
		"a bad number":           {`{"version":01}`, "line 1, column 14: this is not a JSON number (in version)"},
		"a bad escape":           {`{"name":"\q"}`, `line 1, column 10: this is not a JSON escape (in name)`},
		"a line end in a text":   {"{\"name\":\"a\nb\"}", "line 1, column 11: a text holds a line end or control character: write it as an escape (in name)"},
		"invalid UTF-8":          {"{\"definitionId\":\"d\",\n\"name\":\"caf\xe9\"}", "line 2, column 12: the file is not UTF-8: save it as UTF-8"},
		"invalid UTF-8 in YAML":  {"workflow: caf\xe9\nactivities: {}", "line 1, column 14: the file is not UTF-8: save it as UTF-8"},
		"too deep":               {deep, "goes deeper than 64 levels"},
		"other JSON":             {`{"title":"component","triggers":{}}`, "line 1, column 1: this is no workflow definition: it has neither activities nor a definitionId"},
		"a list":                 {`[]`, "line 1, column 1: a workflow definition is a JSON object with a list of activities"},
		"a page":                 {"<!DOCTYPE html><p>not found", "line 1, column 1: this is no workflow definition: an export is JSON"},
		"50 MB":                  {strings.Repeat(" ", 50<<20), "the file has 50 MiB; a definition has at most 4"},
		"large YAML":             {"workflow: x\n#" + strings.Repeat("x", 2<<20), "the file has 2049 KiB; a definition in YAML has at most 1024"},
		"many values":            {`{"activities":[` + strings.Repeat("0,", 700_000) + "0]}", "the file holds more than 600000 values"},
		"broken YAML":            {"workflow: x\nactivities: [", "line 2"},
		"YAML of something else": {"connections: {}\n", "line 1, column 1: this is no workflow definition"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := workflow.Parse([]byte(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.ContainsRune(fmt.Sprint(err), '\n') {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

// Every edit leaves the bytes around it alone.
func TestEdits(t *testing.T) {
	const file = `{
  "name" : "W",
  "definitionId": "d",
  "activities": [
    { "activityId": "a", "type": "X", "odd": [1, 2, 3],
      "properties": [ { "name": "P", "expressions": { "Literal": "1", "JavaScript": "2" } } ] }
  ],
  "empty": {}, "none": [], "é": null
}`
	for _, c := range []struct{ op, path, value, old, new string }{
		{"set", "name", `"V"`, `"name" : "W"`, `"name" : "V"`},
		{"set", "activities[0].type", `"Y"`, `"type": "X"`, `"type": "Y"`},
		{"set", "activities[0].odd[1]", `{"a":1}`, `[1, 2, 3]`, `[1, {"a":1}, 3]`},
		{"set", "activities[0].odd[3]", `4`, `[1, 2, 3]`, `[1, 2, 3, 4]`},
		{"set", "tag", `"t"`, `"é": null`, `"é": null, "tag" : "t"`},
		{"set", "empty.x", `1`, `{}`, `{"x":1}`},
		{"set", "none[0]", `1`, `[]`, `[1]`},
		{"set", `"é"`, `" "`, `"é": null`, `"é": " "`},
		{"set", "activities[1]", `{"activityId":"b","type":"Z"}`, "\n  ],\n  \"empty\"", ",\n    {\"activityId\":\"b\",\"type\":\"Z\"}\n  ],\n  \"empty\""},
		{"remove", "name", "", "\"name\" : \"W\",\n  \"def", `"def`},
		{"remove", `"é"`, "", `, "é": null`, ""},
		{"remove", "activities[0].odd[0]", "", "[1, 2, 3]", "[2, 3]"},
		{"remove", "activities[0].odd[2]", "", "[1, 2, 3]", "[1, 2]"},
		{"expression", "a.P.JavaScript", "x\"<y", `{ "name": "P", "expressions": { "Literal": "1", "JavaScript": "2" } }`, `{ "name": "P", "expressions": { "Literal": "1", "JavaScript": "x\"<y" }, "syntax": "JavaScript" }`},
		{"expression", "a.P.Liquid", "{{x}}", `{ "name": "P", "expressions": { "Literal": "1", "JavaScript": "2" } }`, `{ "name": "P", "expressions": { "Literal": "1", "JavaScript": "2", "Liquid": "{{x}}" }, "syntax": "Liquid" }`},
		{"expression", "a.Q.Literal", "v", `"2" } } ]`, `"2" } }, {"name":"Q","syntax":"Literal","expressions":{"Literal":"v"}} ]`},
	} {
		doc, err := workflow.Read([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		var out *workflow.Document
		switch c.op {
		case "set":
			out, err = doc.Set(c.path, []byte(c.value))
		case "remove":
			out, err = doc.Remove(c.path)
		default:
			p := strings.Split(c.path, ".")
			out, err = doc.SetExpression(p[0], p[1], p[2], c.value)
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.op, c.path, err)
			continue
		}
		if want := strings.Replace(file, c.old, c.new, 1); string(out.Bytes()) != want || want == file {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.op, c.path, out.Bytes(), want)
		}
		if string(doc.Bytes()) != file {
			t.Fatal("the document itself changed")
		}
	}
	for path, value := range map[string]string{"": "1", "a..b": "1", "activities[9].x": "1", "activities[2]": "1", "activities[-1]": "1", "name.x": "1", "name": "{", `"a`: "1", "activities.x": "1", "activities[+1]": "1"} {
		doc, _ := workflow.Read([]byte(file))
		if out, err := doc.Set(path, []byte(value)); err == nil {
			t.Errorf("Set %q took it: %s", path, out.Bytes())
		}
	}
}

// Import, edit, export: the bytes differ in the edit alone, and so does the
// meaning.
func TestEditOfExport(t *testing.T) {
	for name, b := range exports(t) {
		t.Run("cap082 "+name, func(t *testing.T) {
			doc, err := workflow.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if same, err := workflow.Diff(doc, doc); err != nil || len(same) > 0 {
				t.Errorf("a document differs from itself: %v %v", same, err)
			}
			d, _, _ := doc.Definition()
			rapid.Check(t, func(t *rapid.T) {
				a := &d.Activities[rapid.IntRange(0, len(d.Activities)-1).Draw(t, "activity")]
				title := rapid.String().Draw(t, "title")
				out, err := doc.Set(a.At.Path+".displayName", mustJSON(title))
				if err != nil {
					t.Fatal(err)
				}
				pre, post := around(b, out.Bytes())
				if got := string(b[pre : len(b)-post]); len(got) > len(a.DisplayName)+2 {
					t.Fatalf("the edit touched %q", got)
				}
				changes, err := workflow.Diff(doc, out)
				if err != nil {
					t.Fatal(err)
				}
				edited, _, err := out.Definition()
				if err != nil {
					t.Fatal(err)
				}
				if got := edited.Activity(a.ID).DisplayName; got != strings.ToValidUTF8(title, "\ufffd") {
					t.Fatalf("title %q became %q", title, got)
				}
				if title == a.DisplayName {
					return
				}
				if len(changes) != 1 || changes[0].Path != a.At.Path+".displayName" || changes[0].Kind != "changed" {
					t.Fatalf("changes %+v", changes)
				}
				again, err := workflow.Read(out.Bytes())
				if err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) {
					t.Fatalf("the export does not import as it is: %v", err)
				}
			})
		})
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// around counts the bytes that both share at their beginning and end.
func around(a, b []byte) (pre, post int) {
	for pre < min(len(a), len(b)) && a[pre] == b[pre] {
		pre++
	}
	for post < min(len(a), len(b))-pre && a[len(a)-1-post] == b[len(b)-1-post] {
		post++
	}
	return pre, post
}

func TestDiff(t *testing.T) {
	older := minimal(`{"$id":"1","activityId":"a","type":"X","displayName":"One","x":1,"properties":[{"name":"P","expressions":{"Literal":"1"}}]},{"activityId":"b","type":"Y"}`,
		`{"sourceActivityId":"a","targetActivityId":"b","outcome":"Done"}`)
	newer := minimal(`{"activityId":"b","type":"Y","new":true},{"$id":"77","type":"X","activityId":"a","displayName":"One","properties":[{"name":"Q","expressions":{}},{"name":"P","expressions":{"Literal":"2"}}]}`,
		`{"sourceActivityId":"a","targetActivityId":"b","outcome":"True"}`)
	a, err := workflow.Read([]byte(older))
	if err != nil {
		t.Fatal(err)
	}
	b, err := workflow.Read([]byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := workflow.Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s→%s", c.Kind, c.Path, c.Activity, c.From, c.To)))
	}
	want := []string{
		"added activities[0].new Y →true",
		`added activities[1].properties[0] One →{"name":"Q","expressions":{}}`,
		`changed activities[1].properties[1].expressions.Literal One "1"→"2"`,
		"removed activities[1].x One 1→",
		"moved activities  →",
		`added connections[0]  →{"sourceActivityId":"a","targetActivityId":"b","outcome":"True"}`,
		`removed connections[0]  {"sourceActivityId":"a","targetActivityId":"b","outcome":"Done"}→`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("changes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range exports(f) {
		f.Add(b)
		d, _ := parse(f, b)
		y, err := workflow.EncodeYAML(d, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(y)
	}
	f.Add([]byte(minimal(`{"activityId":"a","type":"X","properties":[{"$ref":"1"}]}`, `{"$ref":"1"}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := workflow.Read(b)
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("more than one line: %v", err)
			}
			return
		}
		if !bytes.Equal(doc.Bytes(), b) {
			t.Fatal("the file is not kept")
		}
		d, _, err := doc.Definition()
		if err != nil {
			return
		}
		again, _, err := workflow.Parse(workflow.EncodeJSON(d))
		if err != nil || len(again.Activities) != len(d.Activities) || len(again.Edges) != len(d.Edges) {
			t.Fatalf("encoded: %v", err)
		}
		for i := range d.Activities {
			if _, err := doc.Set(d.Activities[i].At.Path+".x", []byte("1")); err != nil && !workflow.IsYAML(b) && !strings.Contains(err.Error(), "$ref") && !strings.Contains(err.Error(), "$values") {
				t.Fatalf("%s: %v", d.Activities[i].At.Path, err)
			}
		}
		if same, err := workflow.Diff(doc, doc); err != nil || len(same) > 0 {
			t.Fatalf("differs from itself: %v %v", same, err)
		}
	})
}
