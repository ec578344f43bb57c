package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

const kindTable = "tables"

// A TableChecker knows what tables there are.
type TableChecker interface {
	// Fits reports every fault of a table as it is declared, beside the one that
	// is there, and whether an apply would change anything: a row that is a seed
	// may have been deleted.
	Fits(ctx context.Context, name string, t *freshet.Table, fault func(field, detail string)) (differs bool, err error)
}

// tableTypes are what files may write for the type of a column.
var tableTypes = []string{"string", "integer", "bigint", "decimal", "decimal2", "decimal5", "boolean", "datetime", "url", "embed", "reference", "secret"}

func tables() Kind {
	k := Define(Spec[freshet.Table]{
		Name: kindTable, One: "table",
		Doc: "Tables of rows that workflows and scripts read and change. The rows of a file are seeds: each is inserted when no row has its title, by default its first column, and never overwritten.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[[]freshet.TableColumn](): {Name: "name"},
			reflect.TypeFor[freshet.TableColumn]():   {Text: "type"},
		},
		Words: map[reflect.Type]map[string][]string{reflect.TypeFor[freshet.TableColumn](): {"type": tableTypes}},
		Refs: func(t *freshet.Table) []Ref {
			var refs []Ref
			for i := range t.Columns {
				if c := &t.Columns[i]; c.To != "" && c.To != t.Name {
					refs = append(refs, Ref{Key{kindTable, c.To}, join("columns", c.Name) + ".to"})
				}
			}
			return refs
		},
		Check: checkTable,
	})
	k.conceal = concealTable
	return k
}

func checkTable(c *Check, name string, t *freshet.Table) {
	if strings.Trim(name, "0123456789") == "" {
		c.Fault("", "the name of a table is not a number, by which workflows would mean another")
		return
	}
	if c.b.o.Tables == nil {
		return
	}
	differs, err := c.b.o.Tables.Fits(c.ctx, name, t, func(field, detail string) { c.Fault(field, "%s", detail) })
	if err != nil {
		c.err = fmt.Errorf("table %s: %w", name, err)
	}
	c.differs[c.it.Key] = differs
}

// concealTable takes the values of secret columns out of the rows of a table.
// Which columns those are only the table says.
func concealTable(d *decoder, tree any) bool {
	object, _ := tree.(map[string]any)
	rows, _ := object["rows"].([]any)
	if len(rows) == 0 {
		return true
	}
	var t freshet.Table
	b, err := encodeJSON(tree)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		d.faultAt("rows", "do not read as rows")
		return false
	}
	sealed := map[string]bool{}
	for i := range t.Columns {
		sealed[t.Columns[i].Name] = t.Columns[i].Sealed()
		if t.Columns[i].Name == t.TitleColumn() && t.Columns[i].Sealed() {
			d.faultAt(join("columns", t.Columns[i].Name), "names rows, so it is no secret: choose another title")
			return false
		}
	}
	good := true
	for i := range rows {
		row, _ := rows[i].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(row)) {
			at := join(index("rows", i), name)
			if !sealed[name] {
				if row[name] == freshet.Redacted {
					d.faultAt(at, "%s stands for a stored secret, and column %s is none", freshet.Redacted, shown(name))
					good = false
				}
				continue
			}
			value, ok := d.seed(row[name], at)
			if good = good && ok; !ok || value.IsZero() {
				continue
			}
			d.it.Secrets[t.SecretID(i, name)] = value
			row[name] = freshet.Redacted
		}
	}
	return good
}

// seed is the value of a row in a secret column. Blank text is no secret.
func (d *decoder) seed(v any, at string) (freshet.Secret, bool) {
	switch v := v.(type) {
	case nil:
		return freshet.Secret{}, true
	case string:
		return freshet.NewSecret(v), true
	case bool, json.Number:
		return freshet.NewSecret(fmt.Sprint(v)), true
	case []any: // the marker without its quotes
		if len(v) == 1 && v[0] == "secret" {
			return freshet.NewSecret(freshet.Redacted), true
		}
	case map[string]any:
		name, ok := v["file"].(string)
		if !ok || len(v) != 1 {
			break
		}
		if d.src == nil {
			d.faultAt(at, "{file: …} is read where freshet apply runs; a request carries the value itself")
			return freshet.Secret{}, false
		}
		value, warning, err := d.src.Secret(d.file, name)
		if err != nil {
			d.faultAt(at, "%v", err)
			return freshet.Secret{}, false
		}
		if warning != "" {
			d.set.Warnings = append(d.set.Warnings, Fault{Place: d.it.place(at), Path: d.path + "." + at, Detail: warning})
		}
		return value, true
	}
	d.faultAt(at, "a secret is text or {file: path}")
	return freshet.Secret{}, false
}

// faultAt records what is wrong with a field that was read already.
func (d *decoder) faultAt(field, format string, args ...any) {
	d.faults = append(d.faults, Fault{Place: d.it.place(field), Path: d.path + "." + field, Detail: fmt.Sprintf(format, args...)})
}

// named reads a list of objects that is written as names with values.
func (d *decoder) named(t reflect.Type, field string, n *yaml.Node, path string) (any, bool) {
	out, all := []any{}, true
	for _, p := range d.pairs(n, path) {
		at := join(path, p.key)
		v, ok := d.value(t.Elem(), p.value, at, nil)
		m, isObject := v.(map[string]any)
		if all = all && ok && isObject; !ok || !isObject {
			continue
		}
		if given, twice := m[field]; twice && given != p.key {
			d.fault(p.at, at, "has another %s inside", field)
			all = false
		}
		m[field] = p.key
		out = append(out, m)
	}
	return out, all
}

// named writes what decoder.named reads, as short as it can.
func (x *exporter) named(t reflect.Type, field string, list []any, path string) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	text := x.r.forms[t.Elem()].Text
	for _, e := range list {
		m, _ := e.(map[string]any)
		name, _ := m[field].(string)
		rest := maps.Clone(m)
		delete(rest, field)
		at := join(path, name)
		node := x.node(t.Elem(), rest, at)
		if short, ok := rest[text]; ok && len(rest) == 1 {
			node = x.node(reflect.TypeFor[string](), short, at)
		} else {
			node.Style = yaml.FlowStyle
		}
		out.Content = append(out.Content, textNode(name), node)
	}
	return out
}

// open learns what the spec of a table says about its rows.
func (x *exporter) open(k *Kind, spec string) error {
	if k.typ != reflect.TypeFor[freshet.Table]() {
		return nil
	}
	var t freshet.Table
	if err := json.Unmarshal([]byte(spec), &t); err != nil {
		return err
	}
	x.columns = []string{t.TitleColumn()}
	for i := range t.Columns {
		x.columns = append(x.columns, t.Columns[i].Name)
	}
	if !x.all {
		return nil
	}
	x.hidden = map[string]freshet.Secret{}
	t.EachSecret(func(row int, column string, s freshet.Secret) freshet.Secret {
		x.hidden[join(index("rows", row), column)] = x.secrets[t.SecretID(row, column)]
		return s
	})
	return nil
}

// names orders the members of a map: a row's as the table has its columns.
func (x *exporter) names(t reflect.Type, m map[string]any) []string {
	names := sortedKeys(m)
	if t == reflect.TypeFor[freshet.TableRow]() {
		slices.SortStableFunc(names, func(a, b string) int { return slices.Index(x.columns, a) - slices.Index(x.columns, b) })
	}
	return names
}

// TableIn returns the table that a write is about, with its secrets, within its
// transaction.
func (b *Book) TableIn(c *store.Change, name string) (*freshet.Table, error) {
	row, err := c.Resource(kindTable, name)
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	return v.(*freshet.Table), nil
}
