package resource

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Export writes resources as YAML that applies again: one (KIND/NAME), those of
// a kind (Name ""), or all (the zero Key). Secrets show as freshet.Redacted,
// which an apply over the same store takes for the stored value; with reveal
// they are written in clear. It holds a page of resources at a time.
func (b *Book) Export(ctx context.Context, w io.Writer, k Key, reveal bool) error {
	if reveal {
		return b.export(ctx, w, k, showSecrets)
	}
	return b.export(ctx, w, k, showNothing)
}

// ExportDocuments is Export, with the files that resources are made of, such as
// definitions of workflows, in place: for administrators, because old files hold
// old credentials.
func (b *Book) ExportDocuments(ctx context.Context, w io.Writer, k Key) error {
	return b.export(ctx, w, k, showDocuments)
}

// A show says which sealed values an export writes in clear.
type show int

const (
	showNothing show = iota
	showDocuments
	showSecrets
)

func (b *Book) export(ctx context.Context, w io.Writer, k Key, reveal show) error {
	kinds := b.reg.Kinds()
	if k.Kind != "" {
		kind, ok := b.reg.Kind(k.Kind)
		if !ok {
			return b.reg.unknown(k.Kind)
		}
		kinds = []Kind{kind}
	}
	for i := range kinds {
		if err := b.exportKind(ctx, w, &kinds[i], k.Name, reveal); err != nil {
			return err
		}
	}
	return nil
}

func (b *Book) exportKind(ctx context.Context, w io.Writer, k *Kind, name string, reveal show) error {
	if name != "" || k.Single {
		if k.Single {
			if name != "" && name != k.Name {
				return &NotFoundError{Key: Key{k.Name, name}, Similar: k.Name}
			}
			if _, err := b.Get(ctx, Key{k.Name, k.Name}); err != nil && name == "" {
				return ignoreNotFound(err)
			}
			name = k.Name
		}
		row, err := b.row(ctx, Key{k.Name, name})
		if err != nil {
			return err
		}
		if !k.Single {
			if _, err := fmt.Fprintf(w, "%s:\n", k.Name); err != nil {
				return err
			}
		}
		return b.exportRow(w, k, row, reveal)
	}
	after := ""
	for first := true; ; first = false {
		rows, err := b.store.Resources(ctx, k.Name, after, page)
		if err != nil {
			return err
		}
		if first && len(rows) > 0 {
			if _, err := fmt.Fprintf(w, "%s:\n", k.Name); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := b.exportRow(w, k, r, reveal); err != nil {
				return err
			}
			after = r.Name
		}
		if len(rows) < page {
			return nil
		}
	}
}

func ignoreNotFound(err error) error {
	if _, ok := err.(*NotFoundError); ok {
		return nil
	}
	return err
}

// exportRow writes a resource, indented below its kind.
func (b *Book) exportRow(w io.Writer, k *Kind, row store.Resource, reveal show) error {
	var secrets map[string]freshet.Secret
	if reveal == showSecrets || reveal == showDocuments && len(b.reg.forms[k.typ].Documents) > 0 {
		var err error
		if secrets, err = b.open(row); err != nil {
			return err
		}
	}
	dec := json.NewDecoder(strings.NewReader(row.Spec))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return fmt.Errorf("read %s: %w", Key{k.Name, row.Name}, err)
	}
	x := exporter{r: b.reg, secrets: secrets, all: reveal == showSecrets}
	if err := x.open(k, row.Spec); err != nil {
		return fmt.Errorf("read %s: %w", Key{k.Name, row.Name}, err)
	}
	body := x.node(k.typ, tree, "")
	doc := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode(row.Name), body}}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write %s: %w", Key{k.Name, row.Name}, err)
	}
	if err := enc.Close(); err != nil {
		return err
	}
	for line := range strings.Lines(out.String()) {
		indent := "  "
		if k.Single || line == "\n" {
			indent = ""
		}
		if _, err := io.WriteString(w, indent+line); err != nil {
			return err
		}
	}
	return nil
}

type exporter struct {
	r       *Registry
	hidden  map[string]freshet.Secret // by place: those that the type does not tell
	columns []string                  // of a table, in order
	secrets map[string]freshet.Secret // nil: not revealed
	all     bool                      // else documents only
}

// node turns a spec into YAML, fields in the order of the Go type.
func (x *exporter) node(t reflect.Type, v any, path string) *yaml.Node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case map[string]any:
		if n := x.short(t, v, path); n != nil {
			return n
		}
		n := &yaml.Node{Kind: yaml.MappingNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		if o := x.r.objects[t]; o != nil {
			for _, f := range o.fields {
				if m, ok := v[f.name]; ok {
					n.Content = append(n.Content, textNode(f.name), x.field(f, m, join(path, f.name)))
				}
			}
			return n
		}
		elem := reflect.TypeFor[any]()
		if t.Kind() == reflect.Map {
			elem = t.Elem()
		}
		for _, name := range x.names(t, v) {
			n.Content = append(n.Content, textNode(name), x.node(elem, v[name], join(path, name)))
		}
		return n
	case []any:
		if name := x.r.forms[t].Name; name != "" {
			return x.named(t, name, v, path)
		}
		n := &yaml.Node{Kind: yaml.SequenceNode}
		elem := reflect.TypeFor[any]()
		if t.Kind() == reflect.Slice {
			elem = t.Elem()
		}
		plain := true
		for i, m := range v {
			c := x.node(elem, m, index(path, i))
			plain = plain && c.Kind == yaml.ScalarNode
			n.Content = append(n.Content, c)
		}
		if plain && len(v) <= 8 {
			n.Style = yaml.FlowStyle
		}
		return n
	case string:
		if t == secretType && x.all {
			v = x.secrets[path].Reveal()
		}
		if s, ok := x.hidden[path]; ok {
			v = s.Reveal()
		}
		return textNode(strings.ReplaceAll(v, "${", "$${"))
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

// short writes an object in the shorter form that its Form knows, nil if there
// is none for it.
func (x *exporter) short(t reflect.Type, v map[string]any, path string) *yaml.Node {
	form := x.r.forms[t]
	text, ok := v[form.Text].(string)
	if !form.Short || !ok {
		return nil
	}
	value, paired := v[form.Pair].(string)
	switch {
	case len(v) == 1:
		return x.node(reflect.TypeFor[string](), text, join(path, form.Text))
	case len(v) == 2 && form.Pair != "" && paired && !x.r.objects[t].has(text):
		return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{textNode(text), x.node(reflect.TypeFor[string](), value, join(path, form.Pair))}}
	}
	return nil
}

// field writes a field, which may be of those that a Form marks.
func (x *exporter) field(f field, v any, path string) *yaml.Node {
	switch values, _ := v.(map[string]any); {
	case f.document != "" && x.secrets != nil:
		return textNode(strings.ReplaceAll(x.secrets[path].Reveal(), "${", "$${"))
	case f.any && x.all:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range sortedKeys(values) {
			dec := json.NewDecoder(strings.NewReader(x.secrets[join(path, name)].Reveal()))
			dec.UseNumber()
			var value any
			if err := dec.Decode(&value); err != nil {
				value = nil // sealed by a version that knew better
			}
			n.Content = append(n.Content, textNode(name), x.node(reflect.TypeFor[any](), value, join(path, name)))
		}
		return n
	}
	return x.node(f.typ, v, path)
}

// textNode chooses how a text is written, so that it reads back as the same:
// plain where a person would, lines as lines, everything odd in quotes with
// escapes. The encoder's own choice loses blanks at the ends of lines.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case s == freshet.Redacted || s == "":
		n.Style = yaml.SingleQuotedStyle
	case ordinary(s):
	case strings.Contains(s, "\n") && ordinaryLines(s):
		n.Style = yaml.LiteralStyle
	default:
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// ordinary reports whether s is printable text without blanks at its ends.
func ordinary(s string) bool {
	for _, c := range s {
		if c != ' ' && !unicode.IsGraphic(c) || unicode.IsSpace(c) && c != ' ' || c == '\ufeff' {
			return false
		}
	}
	return s != "" && strings.TrimSpace(s) == s
}

// ordinaryLines reports whether s is made of such lines, one line end at most
// after the last.
func ordinaryLines(s string) bool {
	for line := range strings.Lines(s) {
		if !ordinary(strings.TrimSuffix(line, "\n")) {
			return false
		}
	}
	return true
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
