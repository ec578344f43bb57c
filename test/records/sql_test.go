package records

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// assembled lists the functions that put a statement together, and of what.
var assembled = map[string]string{
	"sealed.go SealedAfter":       "names out of a table in the program",
	"sealed.go ReplaceSealed":     "names out of a table in the program",
	"table_find.go findRows":      "words of that file and numbered arguments, as a filter's tree needs them",
	"open.go check":               "names of tables that the schema itself tells",
	"open.go quickCheck":          "a pragma that two functions beside it name",
	"querier.go Prepare":          "the numbers of arguments, in the driver's way of writing them",
	"notify.go listen":            "a channel's name, quoted, made of the schema's",
	"open.go sameDatabase":        "a constant of that function",
	"postgres.go open":            "the words that open a transaction, made when the database is opened",
	"postgres.go long":            "the words that open a transaction, made when the database is opened",
	"querier.go Scan":             "the statement of the row that is read",
	"prepared.go QueryContext":    "the statement of whoever reads, parsed once",
	"prepared.go QueryRowContext": "the statement of whoever reads, parsed once",
	"river.go Exec":               "River's own statements",
	"river.go Query":              "River's own statements",
	"river.go QueryRow":           "River's own statements",
	"run.go Runs":                 "conditions of that file, one for each index",
	"transfer.go transfer":        "names of tables and columns that the schema itself tells",
	"transfer.go sum":             "names of tables and columns that the schema itself tells",
	"transfer.go copy":            "names of tables and columns that the schema itself tells",
	"transfer.go sequences":       "names of tables and columns that the schema itself tells",
}

// TestS50_SQL_is_constant holds every statement of the store to be text of the
// program: literals and constants, joined by +, and what a database says it
// wants at the end of a SELECT. Values are arguments, always.
func TestS50_SQL_is_constant(t *testing.T) {
	statements, used := 0, map[string]bool{}
	for _, dir := range []string{"internal/store", "internal/store/sqlite", "internal/store/postgres", "internal/replica", "internal/queue/river", "internal/backup", "internal/webhook", "internal/doctor"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		var parsed []*ast.File
		constants := map[string]bool{}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
					for _, s := range g.Specs {
						for _, n := range s.(*ast.ValueSpec).Names {
							constants[n.Name] = true
						}
					}
				}
			}
		}
		for _, f := range parsed {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				known := locals(fn.Body, constants)
				params := map[string]bool{} // a function that takes a statement passes it on
				for _, p := range fn.Type.Params.List {
					for _, n := range p.Names {
						params[n.Name] = n.Name == "query"
					}
				}
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok || len(call.Args) < 2 {
						return true
					}
					sel, ok := call.Fun.(*ast.SelectorExpr)
					if !ok || !strings.HasPrefix(sel.Sel.Name, "Exec") && !strings.HasPrefix(sel.Sel.Name, "Query") && sel.Sel.Name != "Repeat" {
						return true
					}
					statements++
					where := filepath.Base(set.Position(fn.Pos()).Filename) + " " + fn.Name.Name
					if !constant(call.Args[1], known, params) {
						used[where] = true
						if assembled[where] == "" {
							t.Errorf("%s: the statement is put together at run time (%s)", set.Position(call.Pos()), where)
						}
					}
					return true
				})
			}
		}
	}
	for where := range assembled {
		if !used[where] {
			t.Errorf("%s puts no statement together any more: take it off the list", where)
		}
	}
	if statements < 50 {
		t.Errorf("%d statements found, which cannot be all", statements)
	}
}

// locals are the names of body that only ever hold constant text.
func locals(body ast.Node, constants map[string]bool) map[string]bool {
	known := map[string]bool{}
	for n := range constants {
		known[n] = true
	}
	set := func(name ast.Expr, value ast.Expr, seen bool) {
		if id, ok := name.(*ast.Ident); ok && value != nil {
			known[id.Name] = constant(value, known, nil) && (!seen || known[id.Name])
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if i < len(n.Rhs) {
					set(l, n.Rhs[i], n.Tok != token.DEFINE)
				}
			}
		case *ast.RangeStmt:
			// The elements of a list of literals are literals.
			if list, ok := n.X.(*ast.CompositeLit); ok && n.Value != nil {
				all := true
				for _, e := range list.Elts {
					all = all && constant(e, known, nil)
				}
				if id, ok := n.Value.(*ast.Ident); ok {
					known[id.Name] = all
				}
			}
		}
		return true
	})
	return known
}

func constant(e ast.Expr, known, params map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident:
		return known[e.Name] || params[e.Name]
	case *ast.ParenExpr:
		return constant(e.X, known, params)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && constant(e.X, known, params) && constant(e.Y, known, params)
	case *ast.CallExpr:
		sel, ok := e.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "ForUpdate" && len(e.Args) == 0
	}
	return false
}
