package resource_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs.json and the golden files anew")

// TestDocs holds docs.json to the types that files decode into: every type and
// field has a sentence, and none is left over. The sentences are the comments
// of the source; where it has none they are written in docs.json itself.
func TestDocs(t *testing.T) {
	want := comments(t, "../..")
	var have map[string]string
	b, err := os.ReadFile("docs.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &have); err != nil {
		t.Fatal(err)
	}
	if *update {
		for name, text := range want {
			if text == "" {
				want[name] = have[name]
			}
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(want); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("docs.json", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name := range want {
		if have[name] == "" {
			t.Errorf("docs.json says nothing of %s: go generate ./internal/resource, then write a sentence if the source has none", name)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			t.Errorf("docs.json has %s, which is gone: go generate ./internal/resource", name)
		}
	}
}

// comments reads the doc comments of exported structs with json tags.
func comments(t *testing.T, dir string) map[string]string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	fset := token.NewFileSet()
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, dir+"/"+e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				ts := spec.(*ast.TypeSpec)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				name := f.Name.Name + "." + ts.Name.Name
				fields := map[string]string{}
				for _, field := range st.Fields.List {
					if field.Tag == nil {
						continue
					}
					tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
					if tag == "" || tag == "-" {
						continue
					}
					fields[name+"."+tag] = sentence(field.Doc.Text() + field.Comment.Text())
				}
				if len(fields) == 0 {
					continue
				}
				comment := ts.Doc.Text() + g.Doc.Text()
				out[name] = sentence(new(doc.Package).Synopsis(comment))
				for k, v := range fields {
					out[k] = v
				}
			}
		}
	}
	return out
}

func sentence(s string) string { return strings.Join(strings.Fields(s), " ") }
