package importer_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/importer"
	"github.com/freshet-dev/freshet/internal/workflow"
)

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	export, err := os.ReadFile("../workflow/testdata/call-my-api.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"export":      {string(export), ""},
		"native":      {"workflow: x\nactivities: {a: {type: WriteLine}}\n", ""},
		"component":   {`{"title":"Outlook","credentials":{"fields":{}},"triggers":{}}`, "f is a component descriptor of elastic.io: importing those is not in this version"},
		"appsmith":    {"// tokens\nexport default {\n  a: 1 }", "f is a JavaScript object of Appsmith: importing those is not in this version"},
		"description": {`{"plugins":[]}`, "f is the description of a Solution: importing those is not in this version"},
		"broken":      {`{"activities":[`, "f: workflow: line 1, column 16: the file ends too early: a bracket is not closed"},
		"page":        {"<html>", "f: workflow: line 1, column 1: this is no workflow definition"},
		"cut zip":     {"PK\x03\x04xxxx", "f: the zip does not read: it is damaged or cut off"},
		"50 MB":       {"{" + strings.Repeat(" ", 50<<20), "f: workflow: the file has 51 MiB; a definition has at most 4"},
	} {
		files, _, err := importer.Open("f", []byte(c.text))
		if c.want == "" {
			if err != nil || len(files) != 1 || string(files[0].Data) != c.text {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, ok := errors.AsType[*importer.UnsupportedError](err); ok != strings.Contains(c.want, "not in this version") {
			t.Errorf("%s: %T", name, err)
		}
	}
}

func TestSolution(t *testing.T) {
	one := `{"definitionId":"a","name":"One","activities":[]}`
	b := zipOf(t, map[string]string{
		"One.json": one, "sub/../../evil.json": one, "SETUPTYPES_WF.json": `{"definitionId":"t","version":0,"activities":[{"activityId":"x","type":"TypeCreate"}]}`,
		"Plugin.zip": "PK", "readme.txt": "hello", "broken.json": "{", "large.json": strings.Repeat(" ", workflow.MaxFile+1),
		"SOLUTION_DETAILS.json": `{"types":[{"name":"Person"}],"plugins":[]}`,
	})
	files, skipped, err := importer.Open("s.zip", b)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v %v", files, err)
	}
	got := map[string]string{}
	for _, s := range skipped {
		got[s.File] = s.What + ": " + s.Why
	}
	for file, want := range map[string]string{
		"s.zip/Plugin.zip":            "a plugin: programs of the platform are never run here",
		"s.zip/readme.txt":            "a file: only workflows are imported",
		"s.zip/broken.json":           "a file: workflow: line 1, column 2: the file ends too early: a bracket is not closed",
		"s.zip/large.json":            "a file: it unpacks to more than the 4 MiB that a definition may have",
		"s.zip/SOLUTION_DETAILS.json": "the description of the Solution, with the tables Person: tables, views and plugins are not imported from it",
	} {
		if got[file] != want {
			t.Errorf("%s: %s", file, got[file])
		}
	}
	if len(got) != 5 {
		t.Errorf("skipped %v", skipped)
	}
}

// What unpacks without end is not unpacked.
func TestZipBombs(t *testing.T) {
	big := strings.Repeat(" ", workflow.MaxFile-2) + "{}"
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint(i, ".json")] = big
	}
	if _, _, err := importer.Open("b.zip", zipOf(t, many)); err == nil || err.Error() != "b.zip: the zip unpacks to more than 64 MiB" {
		t.Errorf("many large ones: %v", err)
	}
	many = map[string]string{}
	for i := range 2001 {
		many[fmt.Sprint(i)] = ""
	}
	if _, _, err := importer.Open("b.zip", zipOf(t, many)); err == nil || err.Error() != "b.zip: the zip has 2001 entries; at most 2000 are read" {
		t.Errorf("many entries: %v", err)
	}
}

func TestNameOf(t *testing.T) {
	for _, c := range []struct{ name, title, file, want string }{
		{"CallMyAPI", "x", "y.json", "CallMyAPI"},
		{"Azure Ad Auth Flow", "", "", "Azure Ad Auth Flow"},
		{"", "", "C:\\exports\\my flow.json", "my flow"},
		{" ", "a/b: c?", "", "a-b- c-"},
		{"../../etc/passwd", "", "", "etc-passwd"},
		{"", "", "", "workflow"},
		{strings.Repeat("é", 500), "", "", strings.Repeat("é", 120)},
	} {
		if got := importer.NameOf(&workflow.Definition{Name: c.name, DisplayName: c.title}, c.file); got != c.want {
			t.Errorf("%+v is %q", c, got)
		}
	}
}
