package records

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A proof is one test function and the subtests whose names begin with an id.
type proof struct {
	cite    string              // package.Function, as the books write it
	file    string              // where it stands
	own     map[string]bool     // ids in the function's own name
	subs    map[string]bool     // ids that subtests begin with
	scripts map[string][]string // ids that comments of a testscript begin with, and which
}

// proves returns how p is cited for id, nothing if it does not prove it.
func (p *proof) proves(id string) (cites []string) {
	switch {
	case p.own[id]:
		cites = append(cites, p.cite)
	case p.subs[id]:
		cites = append(cites, p.cite+"/"+id)
	}
	for _, s := range p.scripts[id] {
		cites = append(cites, p.cite+"/"+s)
	}
	return cites
}

// has reports whether p has the subtest, "" for itself.
func (p *proof) has(sub string) bool {
	if sub == "" || p.subs[sub] {
		return true
	}
	for _, names := range p.scripts {
		if slices.Contains(names, sub) {
			return true
		}
	}
	return false
}

var (
	idAtStart = regexp.MustCompile(`^(?:(?:F\d{2}|S\d{2}|cap\d{3})(?:[ ,:]+|$))+`)
	idInName  = regexp.MustCompile(`(?:^(?:Test|Fuzz|Benchmark)|_)(F\d{2}|S\d{2}|[Cc]ap\d{3})`)
	oneID     = regexp.MustCompile(`F\d{2}|S\d{2}|cap\d{3}`)
	testFunc  = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)(?:[^a-z]|$)`)
)

// silent are the calls whose string arguments name no subtest.
var silent = map[string]bool{
	"Error": true, "Errorf": true, "Fatal": true, "Fatalf": true, "Log": true, "Logf": true, "Skip": true, "Skipf": true, "Println": true, "Printf": true,
}

// tests returns every test function of the tree by its citation.
func tests(t *testing.T) map[string]*proof {
	t.Helper()
	dirs := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() == "testdata" || e.Name() == ".git"):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			dirs[filepath.Dir(path)] = append(dirs[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*proof{}
	for dir, files := range dirs {
		scan(t, label(dir), files, all)
	}
	return all
}

// label is how the books name a package: its path, without internal/ and
// without the module's name before it.
func label(dir string) string {
	rel, err := filepath.Rel(root, dir)
	if err != nil || rel == "." {
		return "freshet"
	}
	return strings.TrimPrefix(filepath.ToSlash(rel), "internal/")
}

func scan(t *testing.T, pkg string, files []string, all map[string]*proof) {
	t.Helper()
	tables := map[string]map[string]bool{} // package-level variables that hold ids
	type function struct {
		decl *ast.FuncDecl
		file string
	}
	var funcs []function
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Body != nil && testFunc.MatchString(d.Name.Name) {
					funcs = append(funcs, function{d, path})
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, n := range v.Names {
							tables[n.Name] = ids(v)
						}
					}
				}
			}
		}
	}
	for _, f := range funcs {
		p := &proof{cite: pkg + "." + f.decl.Name.Name, file: f.file, own: map[string]bool{}, subs: ids(f.decl.Body)}
		for _, m := range idInName.FindAllStringSubmatch(f.decl.Name.Name, -1) {
			p.own[strings.Replace(m[1], "C", "c", 1)] = true
		}
		ast.Inspect(f.decl.Body, func(n ast.Node) bool {
			if i, ok := n.(*ast.Ident); ok {
				maps.Copy(p.subs, tables[i.Name])
			}
			return true
		})
		p.scripts = scripts(t, f.decl.Body, filepath.Dir(f.file))
		all[p.cite] = p
	}
}

// scripts reads the testscripts that a function runs, if it does: the ids that
// their comments begin with.
func scripts(t *testing.T, body ast.Node, dir string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	ast.Inspect(body, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, isIdent := kv.Key.(*ast.Ident)
		value, isText := kv.Value.(*ast.BasicLit)
		if !isIdent || !isText || key.Name != "Dir" || value.Kind != token.STRING {
			return true
		}
		from, err := strconv.Unquote(value.Value)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, from, "*.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Base(f), ".txt")
			for line := range strings.Lines(string(text)) {
				comment, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
				if !ok {
					continue
				}
				for _, id := range oneID.FindAllString(idAtStart.FindString(comment), -1) {
					if !slices.Contains(found[id], name) {
						found[id] = append(found[id], name)
					}
				}
			}
		}
		return true
	})
	return found
}

// ids collects what string literals within n begin with, in places that can be
// a subtest's name: elements of tables, and arguments of calls that do not
// merely report.
func ids(n ast.Node) map[string]bool {
	found := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				return !silent[f.Sel.Name]
			case *ast.Ident:
				return !silent[f.Name]
			}
		case *ast.BasicLit:
			if n.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(n.Value)
			if err != nil {
				return true
			}
			for _, id := range oneID.FindAllString(idAtStart.FindString(s), -1) {
				found[id] = true
			}
		}
		return true
	})
	return found
}

// citations returns how id is proved in the tree. The emulator's own tests
// show that the equipment misbehaves as it should, not that the product bears
// it; only those that put the product's sender before it count.
func citations(all map[string]*proof, id string) []string {
	var out []string
	for _, p := range all {
		if strings.HasPrefix(p.cite, "emulator.") && filepath.Base(p.file) != "sender_test.go" {
			continue
		}
		out = append(out, p.proves(id)...)
	}
	slices.Sort(out)
	return out
}
