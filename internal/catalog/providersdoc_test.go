package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
	"go.yaml.in/yaml/v3"
)

// A snippet is a fenced block of docs/providers.md.
type snippet struct {
	line int
	lang string
	text string
}

func snippets(t *testing.T, path string) []snippet {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []snippet
	var open *snippet
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &snippet{line: n, lang: fence}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", path, open.line)
	}
	return all
}

// resources are what a snippet declares.
type resources struct {
	providers   map[string]freshet.Provider
	clients     map[string]freshet.Client
	connections map[string]freshet.Connection
}

func decodeResources(t *testing.T, s snippet) resources {
	t.Helper()
	var tree map[string]map[string]any
	if err := yaml.Unmarshal([]byte(s.text), &tree); err != nil {
		t.Fatalf("line %d: %v", s.line, err)
	}
	r := resources{map[string]freshet.Provider{}, map[string]freshet.Client{}, map[string]freshet.Connection{}}
	for kind, named := range tree {
		for name, v := range named {
			j, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			switch kind {
			case "providers":
				p, err := Decode(j)
				if err != nil {
					t.Errorf("line %d: %s: %v", s.line, name, err)
				}
				p.Name = name
				r.providers[name] = p
			case "clients":
				var c freshet.Client
				strict(t, s, name, j, &c)
				c.Name = name
				r.clients[name] = c
			case "connections":
				var c freshet.Connection
				strict(t, s, name, j, &c)
				c.Name = name
				r.connections[name] = c
			default:
				t.Errorf("line %d: the test knows no %s", s.line, kind)
			}
		}
	}
	return r
}

func strict(t *testing.T, s snippet, name string, j []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Errorf("line %d: %s: %v", s.line, name, err)
	}
}

func TestDocumentSnippetsDecode(t *testing.T) {
	for _, path := range []string{"../../docs/providers.md", "../../docs/catalogue.md"} {
		yamls := 0
		reg, err := resource.NewRegistry(resource.Core()...)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range snippets(t, path) {
			switch s.lang {
			case "yaml":
				yamls++
				decodeResources(t, s)
				// And as apply reads them.
				file := resource.File{Name: fmt.Sprintf("%s:%d.yaml", path, s.line), Content: s.text}
				if _, err := reg.Decode([]resource.File{file}, anyEnv{}); err != nil {
					t.Errorf("%v", err)
				}
			case "json":
				if !json.Valid([]byte(s.text)) {
					t.Errorf("%s:%d: is no JSON", path, s.line)
				}
			default:
				t.Errorf("%s:%d: a block without a language that the test knows: %q", path, s.line, s.lang)
			}
		}
		if yamls == 0 {
			t.Errorf("%s: no snippets were found", path)
		}
	}
}

// anyEnv has every environment variable and no files.
type anyEnv struct{}

func (anyEnv) Env(string) (string, bool) { return "value", true }
func (anyEnv) Secret(string, string) (freshet.Secret, string, error) {
	return freshet.Secret{}, "", errors.New("the documents name no files")
}

func (anyEnv) Document(_, path string) (string, error) {
	return "", fmt.Errorf("there is no file %s", path)
}

// TestFilesAreResources decodes each file of the catalogue as a resource, which
// is what a person does who copies one.
func TestFilesAreResources(t *testing.T) {
	reg, err := resource.NewRegistry(resource.Core()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		src, _ := Source(name)
		text := "providers:\n  mine:\n    " + strings.ReplaceAll(strings.TrimSpace(string(src)), "\n", "\n    ") + "\n"
		if _, err := reg.Decode([]resource.File{{Name: name + ".yaml", Content: text}}, anyEnv{}); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestDocumentNamesEveryField is what keeps the document whole: a field of the
// format that it does not show is one that nobody finds.
func TestDocumentNamesEveryField(t *testing.T) {
	b, err := os.ReadFile("../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, name := range fieldNames(freshet.Provider{}) {
		if !strings.Contains(text, name) {
			t.Errorf("the field %s is not documented", name)
		}
	}
}

// fieldNames lists the json names of a struct and of those below it.
func fieldNames(v any) []string {
	seen := map[reflect.Type]bool{}
	var names []string
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] || t.PkgPath() == "" {
			return
		}
		seen[t] = true
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			names = append(names, name)
			walk(f.Type)
		}
	}
	walk(reflect.TypeOf(v))
	return names
}

// TestDocumentExamplesRun asks the worked examples for tokens: a block of YAML
// that a block of JSON follows is a provider and its answer.
func TestDocumentExamplesRun(t *testing.T) {
	want := map[string]struct {
		access, refresh string
		life            time.Duration
	}{
		"legacy":       {"at-1", "", 20 * time.Minute},
		"jwtlogin":     {"eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjcxODYwMDB9.", "rt-1", time.Hour},
		"slack-person": {"person-1", "rt-1", 12 * time.Hour},
	}
	all := snippets(t, "../../docs/providers.md")
	for i, s := range all {
		if s.lang != "json" {
			continue
		}
		r := decodeResources(t, all[i-1])
		for name, p := range r.providers {
			t.Run(name, func(t *testing.T) {
				d := definition(p)
				for _, c := range r.connections {
					c.Variables = d.Connection.Variables
					d.Connection = c
				}
				w := newWire(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s.text) })
				out := w.sender.Ask(t.Context(), d, obtain(p))
				if out.Err != nil {
					t.Fatalf("line %d: %v", s.line, out.Err)
				}
				w2, ok := want[name]
				if !ok {
					t.Fatalf("line %d: the test does not know what %s answers", s.line, name)
				}
				delete(want, name)
				if got := out.Token; got.Access.Reveal() != w2.access || got.Refresh.Reveal() != w2.refresh || got.Lifetime() != w2.life {
					t.Errorf("token %q, %q for %v, want %q, %q for %v", got.Access.Reveal(), got.Refresh.Reveal(), got.Lifetime(), w2.access, w2.refresh, w2.life)
				}
			})
		}
	}
	for name := range want {
		t.Errorf("the example %s is gone", name)
	}
}
