package resource_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

// A table is a kind as a later version brings it: in its own file, with types
// of its own and nothing changed elsewhere.
type table struct {
	Columns map[string]column `json:"columns"`
	Rows    []map[string]any  `json:"rows,omitempty"`
	Token   freshet.Secret    `json:"token,omitzero"`
	Ratio   float64           `json:"ratio,omitempty"`
	Feed    string            `json:"feed,omitempty"` // a connection
	Owner   *owner            `json:"owner,omitempty"`
}

type column struct {
	Type   string         `json:"type"`
	Secret bool           `json:"secret,omitempty"`
	Salt   freshet.Secret `json:"salt,omitzero"`
}

type owner struct {
	Keys []freshet.Secret `json:"keys,omitempty"`
}

func tables() resource.Kind {
	return resource.Define(resource.Spec[table]{
		Name: "tables", One: "table", Doc: "Rows that workflows read.",
		Forms: map[reflect.Type]resource.Form{
			reflect.TypeFor[column]():           {Text: "type"},
			reflect.TypeFor[[]freshet.Secret](): {One: true},
		},
		Words: map[reflect.Type]map[string][]string{reflect.TypeFor[column](): {"type": {"string", "number"}}},
		Refs: func(v *table) []resource.Ref {
			if v.Feed == "" {
				return nil
			}
			return []resource.Ref{{Key: resource.Key{Kind: "connections", Name: v.Feed}, Field: "feed"}}
		},
		Check: func(c *resource.Check, name string, v *table) {
			if len(v.Columns) == 0 {
				c.Fault("columns", "is empty")
			}
		},
	})
}

func TestLaterKindPlugsIn(t *testing.T) {
	kinds := slices.DeleteFunc(resource.Core(), func(k resource.Kind) bool { return k.Name == "tables" })
	reg, err := resource.NewRegistry(append(kinds, tables())...)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := newBook(t, resource.Options{Registry: reg})
	const file = acme + `
tables:
  Settings:
    columns: {Key: string, Data1: {type: string, secret: true, salt: pepper}}
    rows: [{Key: a, Data1: 1, Data2: [true, null, 1.5, "${X}"]}]
    token: t0ken
    ratio: 0.5
    feed: crm
    owner: {keys: k1}
`
	if got := must(t, b, file, env{"X": "x"}); !strings.HasSuffix(got, "created tables/Settings") {
		t.Error(got)
	}
	if got := must(t, b, file, env{"X": "x"}); !strings.HasSuffix(got, "unchanged tables/Settings") {
		t.Error(got)
	}
	v, err := resource.Value[table](t.Context(), b, resource.Key{Kind: "tables", Name: "Settings"})
	if err != nil {
		t.Fatal(err)
	}
	if v.Columns["Key"].Type != "string" || !v.Columns["Data1"].Secret || v.Columns["Data1"].Salt.Reveal() != "pepper" || v.Token.Reveal() != "t0ken" ||
		v.Owner.Keys[0].Reveal() != "k1" || v.Ratio != 0.5 {
		t.Errorf("value %+v", v)
	}
	if got := fmt.Sprint(v.Rows); got != "[map[Data1:1 Data2:[true <nil> 1.5 x] Key:a]]" {
		t.Errorf("rows %s", got)
	}
	if err := b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "crm"}); err == nil || err.Error() != "connections/crm is used by tables/Settings" {
		t.Errorf("delete of what a table names = %v", err)
	}
	for text, want := range map[string]string{
		"tables: {A: {columns: {Key: strng}}}":                     `test.yaml:1:29: tables.A.columns.Key.type: "strng" is not known: use string or number; did you mean "string"?`,
		"tables: {A: {columns: {}}}":                               "test.yaml:1:23: tables.A.columns: is empty",
		"tables: {A: {columns: {Key: string}, feed: cmr}}":         `test.yaml:1:44: tables.A.feed: there is no connection "cmr"; did you mean "crm"?`,
		"tables: {A: {columns: {Key: string}, ratio: much}}":       `test.yaml:1:45: tables.A.ratio: a number is needed, not "much"`,
		"tables: {A: {columns: {Key: string}, rows: [{a: !x 1}]}}": `test.yaml:1:49: tables.A.rows[0].a: text that begins with ! is a tag, which means nothing here: put such text in quotes`,
	} {
		if _, err := apply(t, b, text, nil); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	schema, err := reg.Schema()
	if err != nil {
		t.Fatal(err)
	}
	check := newSchema(t, schema)
	if faults := check.yaml(t, "tables: {A: {columns: {Key: string, D: {type: number}}, rows: [{a: [1]}], owner: {keys: [a, b]}}}"); len(faults) > 0 {
		t.Errorf("the schema refuses a table: %v", faults)
	}
}

// What aliases bring is bounded, whatever they are made of.
func TestAliasBombs(t *testing.T) {
	kinds := slices.DeleteFunc(resource.Core(), func(k resource.Kind) bool { return k.Name == "tables" })
	reg, err := resource.NewRegistry(append(kinds, tables())...)
	if err != nil {
		t.Fatal(err)
	}
	ten := func(name string) string { return "[" + strings.TrimSuffix(strings.Repeat(name+",", 10), ",") + "]" }
	lists := "x-0: &a0 " + ten("1") + "\n"
	merges := "x-0: &a0 {k0: 1}\n"
	nested := "x-0: &a0 {k: [" + strings.Repeat("{v: 1},", 2000) + "]}\n"
	for i := range 9 {
		lists += fmt.Sprintf("x-%d: &a%d %s\n", i+1, i+1, ten(fmt.Sprintf("*a%d", i)))
		merges += fmt.Sprintf("x-%d: &a%d {<<: %s, k%d: 1}\n", i+1, i+1, ten(fmt.Sprintf("*a%d", i)), i+1)
	}
	for name, text := range map[string]string{
		"lists":        lists + "tables: {A: {columns: {Key: string}, rows: [{a: *a9}]}}",
		"merges":       merges + "tables: {A: {columns: {Key: string}, rows: [{<<: *a9}]}}",
		"merged again": nested + "tables: {A: {columns: {Key: string}, rows: [" + strings.Repeat("{<<: *a0},", 200) + "]}}",
		"loop":         "tables: {A: {columns: {Key: string}, rows: &r [{a: *r}]}}",
		"merged loop":  "tables: {A: {columns: {Key: string}, rows: [&r {<<: *r}]}}",
		"deep":         "tables: {A: {columns: {Key: string}, rows: [{a: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "}]}}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := reg.Decode([]resource.File{{Name: "bomb.yaml", Content: text}}, nil)
			if err == nil || !strings.Contains(err.Error(), "multiply into more than 100000 values") && !strings.Contains(err.Error(), "goes too deep") {
				t.Errorf("decode = %v", err)
			}
		})
	}
	deep := strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60)
	if _, err := reg.Decode([]resource.File{{Name: "deep.json", Content: deep}}, nil); err == nil || !strings.Contains(err.Error(), "goes too deep") {
		t.Errorf("deep JSON = %v", err)
	}
	large := "# " + strings.Repeat("x", 8<<20)
	if _, err := reg.Decode([]resource.File{{Name: "large.yaml", Content: large}}, nil); err == nil || err.Error() != "large.yaml: is larger than 8 MiB: split it" {
		t.Errorf("large file = %v", err)
	}
	if _, err := reg.Decode([]resource.File{{Name: "latin1.yaml", Content: "a: \xe9"}}, nil); err == nil || err.Error() != "latin1.yaml: is not UTF-8 text" {
		t.Errorf("Latin-1 = %v", err)
	}
}

func TestSeveralFilesAndDocuments(t *testing.T) {
	reg := mustRegistry(t)
	set, err := reg.Decode([]resource.File{
		{Name: "b.yaml", Content: "connections: {crm: {client: acme}}\n---\n---\nclients: {acme: {provider: acme}}\n"},
		{Name: "a.json", Content: "\ufeff" + `{"providers": {"acme": {"token_url": "https://a.example/\u0074oken"}}}`},
		{Name: "empty.yaml", Content: "# nothing\n"},
		{Name: "empty.json", Content: "\n"},
		{Name: "c.yaml", Content: "connections:\n# all of them are comments\n"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, it := range set.Items {
		keys = append(keys, it.Key.String())
	}
	if got, want := strings.Join(keys, " "), "providers/acme clients/acme connections/crm"; got != want {
		t.Errorf("items %s, want %s", got, want)
	}
	_, err = reg.Decode([]resource.File{
		{Name: "a.yaml", Content: "clients: {acme: {provider: google}}"},
		{Name: "b.yaml", Content: "\nclients: {acme: {provider: google}}\nnetwork: {}\n---\nnetwork: {}"},
	}, nil)
	want := "b.yaml:2:11: clients.acme: is given twice; first at a.yaml:1:11\nb.yaml:5:1: network: is given twice; first at b.yaml:3:1"
	if err == nil || err.Error() != want {
		t.Errorf("twice = %v, want %s", err, want)
	}
}

func TestRegistryRefusesWhatFilesCannotHold(t *testing.T) {
	type bad struct {
		C chan int `json:"c"`
	}
	type untagged struct{ A string }
	for name, k := range map[string]resource.Kind{
		"chan":     resource.Define(resource.Spec[bad]{Name: "bad"}),
		"untagged": resource.Define(resource.Spec[untagged]{Name: "bad"}),
		"keys":     resource.Define(resource.Spec[map[int]string]{Name: "bad"}),
	} {
		if _, err := resource.NewRegistry(k); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := resource.NewRegistry(tables(), tables()); err == nil {
		t.Error("a kind is taken twice")
	}
}
