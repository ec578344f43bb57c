package resource_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/workflow"
)

const tiny = `{"definitionId":"d","name":"Tiny","activities":[{"activityId":"a","type":"WriteLine","properties":[{"name":"Text","syntax":"JavaScript","expressions":{"JavaScript":"` + "`${1+1}`" + `"}}]}],"connections":[]}` + "\n"

func TestWorkflowKind(t *testing.T) {
	b, db := newBook(t, resource.Options{})
	dir := t.TempDir()
	file := filepath.Join(dir, "tiny.json")
	if err := os.WriteFile(file, []byte(tiny), 0o600); err != nil {
		t.Fatal(err)
	}
	resources := "workflows:\n  Call me:\n    file: tiny.json\n    publish: true\n    variables: { BaseURL: { Data1: \"https://a.example\" }, n: 5, none: null }\n    map_input: { api: input.api }\n"
	apply := func() string {
		t.Helper()
		reg := b.Registry()
		files := []resource.File{{Name: filepath.Join(dir, "w.yaml"), Content: resources}}
		// By way of a client, whose disk the server has not.
		bundle, _, err := reg.Collect(files, resource.Local{})
		if err != nil {
			t.Fatal(err)
		}
		wire, err := bundle.Wire()
		if err != nil {
			t.Fatal(err)
		}
		there, err := resource.ParseBundle(wire)
		if err != nil {
			t.Fatal(err)
		}
		set, err := reg.Decode(there.Files, there)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.Apply(t.Context(), set, false)
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Effects[0].Action)
	}
	if got := apply() + " " + apply(); got != "created unchanged" {
		t.Errorf("twice: %s", got)
	}
	w, id, err := b.Workflow(t.Context(), "Call me")
	if err != nil || id == "" {
		t.Fatal(err)
	}
	if w.Definition.Reveal() != tiny || !w.Publish || w.Variables["BaseURL"].Reveal() != `{"Data1":"https://a.example"}` || w.Variables["n"].Reveal() != "5" || w.Variables["none"].Reveal() != "null" || w.MapInput["api"] != "input.api" {
		t.Errorf("%+v", w)
	}
	row, err := db.Resource(t.Context(), "workflows", "Call me")
	if err != nil || strings.Contains(row.Spec, "WriteLine") || strings.Contains(row.Spec, "a.example") || bytes.Contains(row.Secrets, []byte("a.example")) {
		t.Errorf("stored in the clear: %s %v", row.Spec, err)
	}

	var hidden, admin, all bytes.Buffer
	k := resource.Key{Kind: "workflows", Name: "Call me"}
	for out, err := range map[*bytes.Buffer]error{&hidden: b.Export(t.Context(), &hidden, k, false), &admin: b.ExportDocuments(t.Context(), &admin, k), &all: b.Export(t.Context(), &all, k, true)} {
		if err != nil {
			t.Fatal(err, out)
		}
	}
	if s := hidden.String(); strings.Contains(s, "WriteLine") || strings.Contains(s, "a.example") || strings.Count(s, "'[secret]'") != 4 {
		t.Errorf("hidden:\n%s", s)
	}
	if s := admin.String(); !strings.Contains(s, "WriteLine") || strings.Contains(s, "a.example") {
		t.Errorf("documents:\n%s", s)
	}
	if s := all.String(); !strings.Contains(s, "WriteLine") || !strings.Contains(s, "a.example") {
		t.Errorf("revealed:\n%s", s)
	}
	for name, text := range map[string]string{"hidden": hidden.String(), "documents": admin.String(), "revealed": all.String()} {
		set, err := b.Registry().Decode([]resource.File{{Name: "x.yaml", Content: text}}, &resource.Bundle{})
		if err != nil {
			t.Errorf("%s does not read back: %v\n%s", name, err, text)
			continue
		}
		if r, err := b.Apply(t.Context(), set, false); err != nil || r.Effects[0].Action != resource.Unchanged {
			t.Errorf("%s applied again: %v %v", name, r, err)
		}
	}
	// Elsewhere the revealed export brings everything along, byte for byte.
	other, _ := newBook(t, resource.Options{})
	set, err := other.Registry().Decode([]resource.File{{Name: "x.yaml", Content: all.String()}}, &resource.Bundle{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Apply(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
	if w2, _, err := other.Workflow(t.Context(), "Call me"); err != nil || !w2.Definition.Equal(w.Definition) || !w2.Variables["BaseURL"].Equal(w.Variables["BaseURL"]) {
		t.Errorf("elsewhere: %v %v", w2, err)
	}

	// So do files that an editor of another platform has saved.
	for _, text := range []string{"\ufeff" + tiny, strings.ReplaceAll(tiny, ",", ",\r\n"), strings.TrimSpace(tiny), tiny + "\n\n", "# a\nworkflow: x  \nactivities: {}\n"} {
		set, err := decode(t, "workflows: {odd: {file: odd}}", env{"file odd": text})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Apply(t.Context(), set, false); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := other.ExportDocuments(t.Context(), &out, resource.Key{Kind: "workflows", Name: "odd"}); err != nil {
			t.Fatal(err)
		}
		if set, err = decode(t, out.String(), nil); err != nil {
			t.Fatal(err)
		}
		if r, err := other.Apply(t.Context(), set, false); err != nil || r.Effects[0].Action != resource.Unchanged {
			t.Errorf("%q does not come back: %v %v", text, r, err)
		}
	}

	resources = strings.Replace(resources, "n: 5", "n: 6", 1)
	if got := apply(); got != "changed" {
		t.Errorf("another variable: %s", got)
	}
}

// Definitions larger than other texts come along; what no definition can be
// does not.
func TestWorkflowFiles(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	large := strings.Replace(tiny, `"name":"Tiny"`, `"name":"Tiny","description":"`+strings.Repeat("x", 200<<10)+`"`, 1)
	for text, want := range map[string]string{
		"workflows: {a: {file: tiny.json}}":                                   "",
		"workflows: {a: {file: large.json, publish: true}}":                   "",
		"workflows: {a: {}}":                                                  "test.yaml:1:16: workflows.a.definition: is needed, or file, the path of its file",
		"workflows: {a: {file: none.json}}":                                   "test.yaml:1:23: workflows.a.file: there is no file",
		"workflows: {a: {file: tiny.json, definition: x}}":                    "test.yaml:1:34: workflows.a.definition: is given twice: by itself and as file",
		"workflows: {a: {definition: x, file: tiny.json}}":                    "test.yaml:1:38: workflows.a.file: is given twice: by itself and as a file",
		"workflows: {a: {file: page.html}}":                                   "test.yaml:1:23: workflows.a.definition: workflow: line 1, column 1: this is no workflow definition: an export is JSON and begins with {, Freshet's own spelling has workflow: NAME and activities:",
		"workflows: {a: {file: twice.json, publish: true}}":                   `test.yaml:1:23: workflows.a.definition: 1:76: "Finish": the activityId "a" is that of "If", too: connections to it are ambiguous; give one of them another activityId`,
		"workflows: {a: {file: twice.json}}":                                  "",
		"workflows: {a/b: {file: tiny.json}}":                                 `test.yaml:1:13: workflows."a/b": the name of a workflow has letters, digits, blanks and . _ - ( ) & , + ', begins with a letter or digit and is at most 128 long`,
		"workflows: {a: {file: tiny.json, variables: [1]}}":                   "test.yaml:1:45: workflows.a.variables: names with values are needed, not a list",
		"workflows: {a: {file: tiny.json, variables: {b: !x 1}, public: no}}": `test.yaml:1:64: workflows.a.public: true or false is needed, not "no"`,
	} {
		_, err := apply(t, b, text, env{"file tiny.json": tiny, "file large.json": large, "file page.html": "<p>",
			"file twice.json": `{"definitionId":"d","activities":[{"activityId":"a","type":"If"},          {"activityId":"a","type":"Finish"}]}`})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	// A request for one workflow carries the content itself.
	body, _ := json.Marshal(map[string]any{"definition": tiny})
	set, err := b.Registry().DecodeOne(resource.Key{Kind: "workflows", Name: "one"}, resource.File{Name: "body.json", Content: string(body)})
	if err != nil || len(set.Items) != 1 {
		t.Fatal(err)
	}
	_, err = b.Registry().DecodeOne(resource.Key{Kind: "workflows", Name: "one"}, resource.File{Name: "body.json", Content: `{"file":"/etc/passwd"}`})
	if err == nil || !strings.Contains(err.Error(), "a file is read where freshet apply runs") {
		t.Errorf("a file of the server = %v", err)
	}
}

type checker struct{ findings []workflow.Finding }

func (c checker) CheckWorkflow(_ context.Context, name string, w *freshet.Workflow) ([]workflow.Finding, error) {
	return c.findings, nil
}

// What keeps a version from being published is a warning for a draft.
func TestWorkflowSeverity(t *testing.T) {
	b, _ := newBook(t, resource.Options{Workflows: checker{[]workflow.Finding{
		{Severity: workflow.Error, Code: "x", What: "bad", Do: "mend it"}, {Severity: workflow.Warning, Code: "y", What: "odd"}, {Severity: workflow.Info, Code: "z", What: "so"}}}})
	set, err := decode(t, "workflows: {a: {definition: '{\"definitionId\":\"1\"}'}}", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Apply(t.Context(), set, false)
	if err != nil || len(r.Warnings) != 2 || r.Warnings[0].Detail != "bad; mend it" || r.Warnings[1].Detail != "odd" {
		t.Errorf("draft: %+v %v", r, err)
	}
	if _, err := apply(t, b, "workflows: {a: {definition: '{\"definitionId\":\"1\"}', publish: true}}", nil); err == nil || !strings.HasSuffix(err.Error(), "workflows.a.definition: bad; mend it") {
		t.Errorf("published: %v", err)
	}
}
