package resource_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	rows "github.com/freshet-dev/freshet/internal/table"
)

// A tableWorld is a book that keeps tables as a server does.
type tableWorld struct {
	t      *testing.T
	book   *resource.Book
	tables *rows.Tables
	st     *store.Store
	dir    string
}

func newTableWorld(t *testing.T) *tableWorld {
	t.Helper()
	w := &tableWorld{t: t, dir: t.TempDir()}
	var err error
	if w.st, err = sqlite.Open(t.Context(), w.dir, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.st.Close() })
	v := newVault(t)
	w.tables = rows.New(rows.Options{Store: w.st, Sealer: v})
	w.book, err = resource.New(resource.Options{Store: w.st, Sealer: v, Tables: w.tables,
		Written: func(c *store.Change, u resource.Update) error {
			if u.Kind != "tables" {
				return nil
			}
			if u.Action == resource.Deleted {
				return w.tables.Remove(c, u.Name)
			}
			d, err := w.book.TableIn(c, u.Name)
			if err != nil {
				return err
			}
			return w.tables.Apply(c, u.Name, d)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *tableWorld) must(text string) string {
	w.t.Helper()
	return must(w.t, w.book, text, env{})
}

// refused applies a file that is wrong.
func (w *tableWorld) refused(text string) string {
	w.t.Helper()
	_, err := apply(w.t, w.book, text, env{})
	if err == nil {
		w.t.Fatalf("taken: %s", text)
	}
	return err.Error()
}

// rows reads rows as a run sees them, in order: "Key=a Data1=b".
func (w *tableWorld) rows(name string) string {
	w.t.Helper()
	list, err := w.tables.ForRun("run:1", nil).List(w.t.Context(), name, rows.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		var cells []string
		for _, c := range r.Columns() {
			if s, ok := r.Values[c].(string); ok {
				cells = append(cells, c+"="+s)
			}
		}
		out = append(out, strings.Join(cells, " "))
	}
	return strings.Join(out, "; ")
}

const settings = `
tables:
  Settings:
    columns: { Key: string, Data1: {type: string, secret: true}, Data2: string }
    rows:
      - { Key: AccessToken, Data1: "", Data2: "" }
      - { Key: AccessTokenCreds, Data1: canary-user, Data2: canary2 }
      - { Data1: "http://127.0.0.1:9000", Key: APIBaseURL }
`

func TestTables(t *testing.T) {
	t.Run("cap010 a file makes the table Settings, and applying it again changes nothing", func(t *testing.T) {
		w := newTableWorld(t)
		if got := w.must(settings); got != "created tables/Settings" {
			t.Error(got)
		}
		if got, want := w.rows("Settings"), "Key=AccessToken Data1= Data2=; Key=AccessTokenCreds Data1=canary-user Data2=canary2; Key=APIBaseURL Data1=http://127.0.0.1:9000"; got != want {
			t.Errorf("rows\n%s, want\n%s", got, want)
		}
		if got := w.must(settings); got != "unchanged tables/Settings" {
			t.Error(got)
		}
		s, err := w.tables.Schema(t.Context(), "Settings")
		if err != nil || strings.Join(s.Names(), " ") != "Key Data1 Data2" || s.Title != "Key" || s.Rows != 3 || !s.Declared {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run("rows are seeds: what somebody changed stays, what somebody deleted comes back", func(t *testing.T) {
		w := newTableWorld(t)
		w.must(settings)
		s := w.tables.As("key:a#1")
		list, err := s.List(t.Context(), "Settings", rows.Query{Filter: "Key eq 'APIBaseURL'"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), list[0].ObjectID, map[string]any{"Data1": "https://api.example/"}, rows.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := w.must(settings); got != "unchanged tables/Settings" {
			t.Error(got)
		}
		if got := w.rows("Settings"); !strings.Contains(got, "Key=APIBaseURL Data1=https://api.example/") {
			t.Errorf("rows %s", got)
		}
		if err := s.Delete(t.Context(), list[0].ObjectID, 0); err != nil {
			t.Fatal(err)
		}
		if got := w.must(settings); got != "changed tables/Settings" {
			t.Error(got)
		}
		if got := w.rows("Settings"); !strings.HasSuffix(got, "Key=APIBaseURL Data1=http://127.0.0.1:9000") {
			t.Errorf("rows %s", got)
		}
	})
	t.Run("cap012 secrets of rows are in no export, no spec and no file of the store", func(t *testing.T) {
		w := newTableWorld(t)
		w.must(settings)
		v, err := w.book.Get(t.Context(), resource.Key{Kind: "tables", Name: "Settings"})
		if err != nil {
			t.Fatal(err)
		}
		var out, clear bytes.Buffer
		if err := errors.Join(w.book.Export(t.Context(), &out, resource.Key{Kind: "tables"}, false), w.book.Export(t.Context(), &clear, resource.Key{Kind: "tables"}, true)); err != nil {
			t.Fatal(err)
		}
		const want = `tables:
  Settings:
    columns:
      Key: string
      Data1: {type: string, secret: true}
      Data2: string
    rows:
      - Key: AccessToken
        Data1: ''
        Data2: ''
      - Key: AccessTokenCreds
        Data1: '[secret]'
        Data2: canary2
      - Key: APIBaseURL
        Data1: '[secret]'
`
		if out.String() != want {
			t.Errorf("exported\n%s\nwant\n%s", out.String(), want)
		}
		if got := strings.ReplaceAll(strings.Replace(want, "'[secret]'", "canary-user", 1), "'[secret]'", "http://127.0.0.1:9000"); clear.String() != got {
			t.Errorf("revealed\n%s\nwant\n%s", clear.String(), got)
		}
		if strings.Contains(string(v.Spec), "canary-user") || !strings.Contains(string(v.Spec), "canary2") {
			t.Errorf("spec %s", v.Spec)
		}
		// What was exported applies again, here and, revealed, elsewhere.
		if got := w.must(out.String()); got != "unchanged tables/Settings" {
			t.Error(got)
		}
		other := newTableWorld(t)
		if got := other.must(clear.String()); got != "created tables/Settings" || other.rows("Settings") != w.rows("Settings") {
			t.Errorf("%s, rows %s", got, other.rows("Settings"))
		}
		if got := newTableWorld(t).refused(out.String()); !strings.Contains(got, `rows."AccessTokenCreds".Data1: [secret] stands for a stored value, and none is stored here`) {
			t.Error(got)
		}
		w.st.Close()
		for _, name := range []string{"freshet.db", "freshet.db-wal"} {
			b, err := os.ReadFile(filepath.Join(w.dir, name))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("canary-user")) {
				t.Errorf("%s holds a secret", name)
			}
			if name == "freshet.db" && !bytes.Contains(b, []byte("canary2")) {
				t.Error("the look at the file would find nothing")
			}
		}
	})
	t.Run("a secret stays with its row, wherever that stands", func(t *testing.T) {
		w := newTableWorld(t)
		w.must("tables: {S: {columns: {Key: string, V: secret}, rows: [{Key: a, V: of-a}, {Key: b, V: of-b}]}}")
		s := w.tables.As("key:a#1")
		list, err := s.List(t.Context(), "S", rows.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if err := s.Delete(t.Context(), r.ObjectID, 0); err != nil {
				t.Fatal(err)
			}
		}
		w.must("tables: {S: {columns: {Key: string, V: secret}, rows: [{Key: b, V: '[secret]'}]}}")
		if got := w.rows("S"); got != "Key=b V=of-b" {
			t.Errorf("rows %s", got)
		}
	})
	t.Run("a file of a secret", func(t *testing.T) {
		w := newTableWorld(t)
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte("from-file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		must(t, w.book, "tables: {S: {columns: {Key: string, V: secret}, rows: [{Key: a, V: {file: "+path+"}}, {Key: n, V: 12.50}]}}", resource.Local{})
		if got := w.rows("S"); got != "Key=a V=from-file; Key=n V=12.50" {
			t.Errorf("rows %s", got)
		}
	})
	t.Run("columns are added, kept and dropped", func(t *testing.T) {
		w := newTableWorld(t)
		w.must("tables: {S: {columns: {Key: string, A: integer, B: string}, rows: [{Key: a, A: 1}]}}")
		if _, err := w.tables.AddColumn(t.Context(), "run:1", "S", rows.Column{Name: "Later", Type: rows.String}); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]string{
			"tables: {S: {columns: {Key: string, B: string}, rows: [{Key: a}]}}":                                   `test.yaml:1:23: tables.S.columns.A: is not in the file any more, and rows have values in it: clear them first, or keep the column`,
			"tables: {S: {columns: {Key: string, A: boolean, B: string}, rows: [{Key: a}]}}":                       `test.yaml:1:40: tables.S.columns.A: is integer, and rows have values in it: it can become boolean when they are cleared`,
			"tables: {S: {columns: {Key: string, A: {type: integer, secret: true}, B: string}, rows: [{Key: a}]}}": `test.yaml:1:40: tables.S.columns.A: is to be secret, and rows have values in it that are on record in clear: make a secret column of another name, move the values, and drop this one`,
		} {
			if got := w.refused(text); got != want {
				t.Errorf("%s\n got %s\nwant %s", text, got, want)
			}
		}
		if got := w.must("tables: {S: {columns: {Key: string, A: bigint, C: secret}, title: Key, rows: [{Key: a, A: 3, C: x}, {Key: b, A: 3000000000, C: y}]}}"); got != "changed tables/S" {
			t.Error(got)
		}
		s, err := w.tables.Schema(t.Context(), "S")
		if err != nil || strings.Join(s.Names(), " ") != "Key A C Later" {
			t.Errorf("%v, %v", s.Names(), err)
		}
		if got := w.rows("S"); got != "Key=a; Key=b C=y" {
			t.Errorf("rows %s", got)
		}
	})
	t.Run("tables refer to each other, and a delete asks who does", func(t *testing.T) {
		w := newTableWorld(t)
		w.must("tables: {Company: {columns: {Name: string}, rows: [{Name: Acme}]}, Contact: {columns: {Email: string, Company: {type: reference, to: Company}}, rows: [{Email: a@b.example, Company: Acme}]}}")
		list, err := w.tables.As("x").List(t.Context(), "Contact", rows.Query{Expand: true})
		if err != nil {
			t.Fatal(err)
		}
		to, ok := list[0].Values["Company"].(*rows.Row)
		if !ok || to.Values["Name"] != "Acme" {
			t.Fatalf("expanded %+v", list[0].Values)
		}
		if err := w.book.Delete(t.Context(), resource.Key{Kind: "tables", Name: "Company"}); err == nil || err.Error() != "tables/Company is used by tables/Contact" {
			t.Errorf("delete = %v", err)
		}
		for _, name := range []string{"Contact", "Company"} {
			if err := w.book.Delete(t.Context(), resource.Key{Kind: "tables", Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.tables.Schema(t.Context(), "Company"); !errors.Is(err, rows.ErrNoTable) {
			t.Errorf("a deleted table: %v", err)
		}
	})
	t.Run("all or nothing", func(t *testing.T) {
		w := newTableWorld(t)
		if got := w.refused("tables: {A: {columns: {Key: string}, rows: [{Key: a}]}, B: {columns: {Key: string, R: {type: reference, to: A}}, rows: [{Key: a, R: nobody}]}}"); !strings.Contains(got, `column R: "nobody" names 0 rows of table A`) {
			t.Error(got)
		}
		if _, err := w.tables.Schema(t.Context(), "A"); !errors.Is(err, rows.ErrNoTable) {
			t.Errorf("a part was written: %v", err)
		}
		// A dry run tries, and leaves nothing behind.
		set, err := w.book.Registry().Decode([]resource.File{{Name: "a.yaml", Content: settings}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.book.Apply(context.WithoutCancel(t.Context()), set, true)
		if err != nil || effects(r) != "created tables/Settings" {
			t.Fatalf("%v, %v", r, err)
		}
		if _, err := w.tables.Schema(t.Context(), "Settings"); !errors.Is(err, rows.ErrNoTable) {
			t.Errorf("a dry run wrote: %v", err)
		}
	})
}

// What is wrong with a table is said at its place, all at once.
func TestTableFaults(t *testing.T) {
	w := newTableWorld(t)
	for text, want := range map[string]string{
		"tables: {A: {columns: {Key: strng}}}":                               `test.yaml:1:29: tables.A.columns.Key.type: "strng" is not known: use string, integer, bigint, decimal, decimal2, decimal5, boolean, datetime, url, embed, reference or secret; did you mean "string"?`,
		"tables: {A: {columns: {}}}":                                         `test.yaml:1:23: tables.A.columns: table A: a table has at least one column`,
		"tables: {A: {columns: {ObjectId: string}}}":                         `test.yaml:1:34: tables.A.columns.ObjectId: the name is that of a row's number`,
		"tables: {A: {columns: {Key: string}, title: Nme}}":                  `test.yaml:1:45: tables.A.title: is the title and no column`,
		"tables: {A: {columns: {Key: secret}, rows: [{Key: canary}]}}":       `test.yaml:1:29: tables.A.columns.Key: names rows, so it is no secret: choose another title`,
		"tables: {A: {columns: {Key: string, R: reference}}}":                `test.yaml:1:40: tables.A.columns.R: a reference names the table that it refers to`,
		"tables: {A: {columns: {Key: string, R: {type: reference, to: B}}}}": `test.yaml:1:62: tables.A.columns.R.to: there is no table "B"; did you mean "A"?`,
		"tables: {A: {columns: {Key: string, N: integer}, rows: [{N: 1}, {Key: a, N: x}, {Key: a, O: 1}]}}": `test.yaml:1:57: tables.A.rows[0]: has no Key, by which a row that is there already is known
test.yaml:1:77: tables.A.rows[1].N: "x" is not a number
test.yaml:1:87: tables.A.rows[2].Key: is the Key of rows[1], too
test.yaml:1:93: tables.A.rows[2].O: table A has no column "O"; it has Key, N`,
		"tables: {A: {columns: {Key: string, N: {type: integer, secret: true}}, rows: [{Key: a, N: canary}]}}": `test.yaml:1:91: tables.A.rows[0].N: the value is not a number`,
		"tables: {A: {columns: {Key: string, V: string}, rows: [{Key: a, V: '[secret]'}]}}":                    `test.yaml:1:68: tables.A.rows[0].V: [secret] stands for a stored secret, and column V is none`,
		"tables: {A: {columns: {Key: string, V: secret}, rows: [{Key: a, V: [canary]}]}}":                      `test.yaml:1:68: tables.A.rows[0].V: a secret is text or {file: path}`,
		"tables: {7: {columns: {Key: string}}}":                                                                `test.yaml:1:10: tables.7: the name of a table is not a number, by which workflows would mean another`,
	} {
		if got := w.refused(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}
