package resource

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
)

// value reads n as a t and returns it as encoding/json would hold it. false:
// there is a fault.
func (d *decoder) value(t reflect.Type, n *yaml.Node, path string, words []string) (any, bool) {
	if d.depth++; d.depth > maxDepth {
		d.depth--
		d.fault(n, path, "goes too deep")
		return nil, false
	}
	defer func() { d.depth-- }()
	if path != "" { // the resource itself is where its name is
		d.it.places[path] = d.placeOf(n)
	}
	n, leave := d.follow(n, path)
	defer leave()
	if n == nil {
		return nil, false
	}
	if n.Kind != yaml.AliasNode && n.Style&yaml.TaggedStyle != 0 && !slices.Contains(plainTags, n.Tag) {
		d.fault(n, path, "text that begins with ! is a tag, which means nothing here: put such text in quotes")
		return nil, false
	}
	if file := d.origins[n]; file != "" {
		defer func(was string) { d.file = was }(d.file)
		d.file = file
		d.it.places[path] = d.placeOf(n)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isNull(n) && t.Kind() != reflect.Interface {
		d.fault(n, path, "has no value: give it one or leave the field out")
		return nil, false
	}
	if t == secretType {
		return d.secret(n, path)
	}
	form := d.r.forms[t]
	switch {
	case form.One && n.Kind != yaml.SequenceNode:
		v, ok := d.value(t.Elem(), n, index(path, 0), words)
		return []any{v}, ok
	case form.Name != "" && n.Kind == yaml.MappingNode:
		return d.named(t, form.Name, n, path)
	case form.File != "" && n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "file":
		v, ok := d.secret(n, join(path, form.File))
		return map[string]any{form.File: v}, ok
	case form.Pair != "" && n.Kind == yaml.MappingNode && len(n.Content) == 2 && !d.r.objects[t].has(n.Content[0].Value) && n.Content[1].Kind != yaml.MappingNode:
		p := d.pairs(n, path)
		if len(p) != 1 {
			return nil, false
		}
		o := d.r.objects[t]
		f := o.fields[o.byName[form.Pair]]
		v, ok := d.value(f.typ, p[0].value, join(path, f.name), f.words)
		return map[string]any{form.Text: p[0].key, f.name: v}, ok
	case form.Text != "" && n.Kind == yaml.ScalarNode:
		o := d.r.objects[t]
		if f := o.documentOf(form.Text); f != nil {
			ok := d.documentFile(n, path, join(path, f.name), false)
			return map[string]any{f.name: freshet.Redacted}, ok
		}
		f := o.fields[o.byName[form.Text]]
		v, ok := d.value(f.typ, n, join(path, f.name), f.words)
		return map[string]any{f.name: v}, ok
	case isText(t):
		return d.ownText(t, n, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.object(t, n, path)
	case reflect.Map:
		return d.members(t, n, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fault(n, path, "a list is needed, not %s", nodeKind(n))
			return nil, false
		}
		out, all := make([]any, 0, len(n.Content)), true
		for i, c := range n.Content {
			at := index(path, i)
			if form.Name != "" && d.r.holdsSecrets(t.Elem()) {
				// Secrets stay those of the name, whatever its place among the others.
				if name := member(c, form.Name); name != "" {
					at = join(path, name)
				}
			}
			v, ok := d.value(t.Elem(), c, at, words)
			out, all = append(out, v), all && ok
		}
		return out, all
	case reflect.Interface:
		return d.any(n, path)
	}
	return d.scalar(t, n, path, words)
}

var plainTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq"}

func (d *decoder) object(t reflect.Type, n *yaml.Node, path string) (any, bool) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "an object is needed, with fields such as %s, not %s", d.r.objects[t].fields[0].name, nodeKind(n))
		return nil, false
	}
	o := d.r.objects[t]
	out, all, known := map[string]any{}, true, true
	pairs, all := d.folded(t, d.pairs(n, path), path, out)
	for _, p := range pairs {
		if f := o.documentOf(p.key); f != nil {
			ok := d.documentFile(p.value, join(path, p.key), join(path, f.name), out[f.name] != nil)
			out[f.name], all = freshet.Redacted, all && ok
			continue
		}
		i, ok := o.byName[p.key]
		if ok && o.fields[i].document != "" && out[p.key] != nil {
			d.fault(p.at, join(path, p.key), "is given twice: by itself and as %s", o.fields[i].document)
			all = false
			continue
		}
		if ok && (o.fields[i].document != "" || o.fields[i].any) {
			var v any
			if o.fields[i].any {
				v, ok = d.anySecrets(p.value, join(path, p.key))
			} else {
				v, ok = d.document1(p.value, join(path, p.key))
			}
			out[p.key], all = v, all && ok
			continue
		}
		if !ok {
			d.unknownField(o, p, path)
			all, known = false, false
			continue
		}
		f := o.fields[i]
		v, ok := d.value(f.typ, p.value, join(path, f.name), f.words)
		out[f.name], all = v, all && ok
	}
	for _, f := range o.fields {
		// A field that is needed may be there under a wrong name.
		if _, ok := out[f.name]; f.required && !ok && known {
			text := "is needed"
			if f.document != "" {
				text = "is needed, or " + f.document + ", the path of its file"
			}
			d.fault(n, join(path, f.name), "%s", text)
			all = false
		}
	}
	return out, all
}

func (d *decoder) unknownField(o *object, p pair, path string) {
	text := "is not a field here"
	if near := didYouMean(p.key, o.names()); near != "" {
		text += near
	} else if inner := d.inside(o, p.key); inner != "" {
		text += "; it belongs in " + inner
	} else if len(o.fields) <= 16 {
		text += "; the fields are " + strings.Join(o.names(), ", ")
	} else {
		text += "; the fields are in: freshet apply --schema"
	}
	d.fault(p.at, join(path, shown(p.key)), "%s", text)
}

// shown is what an error may show of a name that nothing has: who forgets the
// blank after a colon writes {secret:value}, and the value is in the name.
func shown(name string) string {
	for i, c := range name {
		if c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') || i == 64 {
			return name[:i] + "…"
		}
	}
	return name
}

// inside returns the field one level down that name belongs to, if just one
// has it.
func (d *decoder) inside(o *object, name string) string {
	found := ""
	for _, f := range o.fields {
		in := d.r.objects[element(f.typ)]
		if in == nil {
			continue
		}
		if _, ok := in.byName[name]; ok {
			if found != "" {
				return ""
			}
			found = f.name
		}
	}
	return found
}

func (d *decoder) members(t reflect.Type, n *yaml.Node, path string) (any, bool) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "names with values are needed, not %s", nodeKind(n))
		return nil, false
	}
	out, all := map[string]any{}, true
	for _, p := range d.pairs(n, path) {
		if t.Elem() == secretType && isNull(p.value) {
			// The name may be a value that stands alone.
			d.fault(p.at, path, "write NAME: VALUE; this one has no value")
			all = false
			continue
		}
		v, ok := d.value(t.Elem(), p.value, join(path, p.key), nil)
		out[p.key], all = v, all && ok
	}
	return out, all
}

// text returns a scalar as the file wrote it, with ${NAME} replaced. shown is
// what an error may show of it: a value from the environment may be a secret.
func (d *decoder) text(n *yaml.Node, path string) (text, shown string, ok bool) {
	return d.textOf(n, path, maxText)
}

func (d *decoder) textOf(n *yaml.Node, path string, most int) (text, shown string, ok bool) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "text is needed, not %s", nodeKind(n))
		return "", "", false
	}
	text, shown = n.Value, strconv.Quote(n.Value)
	if d.expand && strings.Contains(text, "${") {
		var names []string
		if text, names, ok = d.environment(n, path); !ok {
			return "", "", false
		}
		if len(names) > 0 {
			shown = "the value of ${" + strings.Join(names, "} ${") + "}"
		}
	}
	if len(text) > most {
		d.fault(n, path, "is longer than %d KiB", most>>10)
		return "", "", false
	}
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		d.fault(n, path, "is not text")
		return "", "", false
	}
	return text, shown, true
}

// environment replaces each ${NAME}; $${ stands for ${ itself.
func (d *decoder) environment(n *yaml.Node, path string) (text string, names []string, ok bool) {
	var b strings.Builder
	ok = true
	for rest := n.Value; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "$${"):
			b.WriteString("${")
			rest = rest[3:]
		case strings.HasPrefix(rest, "${"):
			name, after, closed := strings.Cut(rest[2:], "}")
			if !closed || !isVariable(name) {
				d.fault(n, path, "${ begins the name of an environment variable: write ${NAME}, or $${ for the characters themselves")
				return "", nil, false
			}
			rest = after
			names = append(names, name)
			if d.src == nil {
				d.fault(n, path, "${%s} is read where freshet apply runs; a request carries the value itself", name)
				ok = false
				continue
			}
			// An empty value is refused like a missing one: it would go out as
			// an empty secret, and the provider's answer would not say why.
			switch v, set := d.src.Env(name); {
			case !set:
				d.fault(n, path, "the environment variable %s is not set", name)
				ok = false
			case v == "":
				d.fault(n, path, "the environment variable %s is empty", name)
				ok = false
			default:
				b.WriteString(v)
			}
		default:
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	return b.String(), names, ok
}

func isVariable(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// secret reads a text or {file: path}. No fault shows any of it, not even the
// names of unknown fields.
func (d *decoder) secret(n *yaml.Node, path string) (any, bool) {
	var value freshet.Secret
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) == 1 && n.Content[0].Value == "secret":
		value = freshet.NewSecret(freshet.Redacted) // the marker without its quotes
	case n.Kind == yaml.ScalarNode:
		text, _, ok := d.text(n, path)
		if !ok {
			return nil, false
		}
		value = freshet.NewSecret(text)
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "file" && n.Content[1].Kind == yaml.ScalarNode:
		name, _, ok := d.text(n.Content[1], path)
		if !ok {
			return nil, false
		}
		if d.src == nil {
			d.fault(n, path, "{file: …} is read where freshet apply runs; a request carries the value itself")
			return nil, false
		}
		var warning string
		var err error
		if value, warning, err = d.src.Secret(d.file, name); err != nil {
			d.fault(n, path, "%v", err)
			return nil, false
		}
		if warning != "" {
			d.set.Warnings = append(d.set.Warnings, Fault{Place: d.placeOf(n), Path: d.path + "." + path, Detail: warning})
		}
	default:
		d.fault(n, path, "a secret is text or {file: path}, not %s", nodeKind(n))
		return nil, false
	}
	if value.IsZero() {
		d.fault(n, path, "is empty: give it a value or leave the field out")
		return nil, false
	}
	d.it.Secrets[path] = value
	return freshet.Redacted, true
}

// ownText reads a type that reads its own text, and returns what it writes.
func (d *decoder) ownText(t reflect.Type, n *yaml.Node, path string) (any, bool) {
	text, shown, ok := d.text(n, path)
	if !ok {
		return nil, false
	}
	v := reflect.New(t)
	if err := v.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		d.fault(n, path, "%s", strings.ReplaceAll(err.Error(), strconv.Quote(text), shown))
		return nil, false
	}
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok {
		return text, true
	}
	b, err := m.MarshalText()
	if err != nil {
		d.fault(n, path, "cannot be kept as text")
		return nil, false
	}
	return string(b), true
}

func (d *decoder) scalar(t reflect.Type, n *yaml.Node, path string, words []string) (any, bool) {
	if t.Kind() != reflect.String && n.Kind != yaml.ScalarNode {
		d.fault(n, path, "%s is needed, not %s", typeWord(t), nodeKind(n))
		return nil, false
	}
	text, shown, ok := d.text(n, path)
	if !ok {
		return nil, false
	}
	switch t.Kind() {
	case reflect.String:
		if words != nil && !slices.Contains(words, text) {
			near := ""
			if shown == strconv.Quote(text) {
				near = didYouMean(text, words)
			}
			d.fault(n, path, "%s is not known: use %s%s", shown, oneOf(words), near)
			return nil, false
		}
		return text, true
	case reflect.Bool:
		if text == "true" || text == "false" {
			return text == "true", true
		}
	case reflect.Float64:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f, true
		}
	default:
		if i, err := strconv.ParseInt(text, 10, t.Bits()); err == nil {
			return i, true
		}
	}
	d.fault(n, path, "%s is needed, not %s", typeWord(t), shown)
	return nil, false
}

// any reads what may be anything.
func (d *decoder) any(n *yaml.Node, path string) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		return d.members(reflect.TypeFor[map[string]any](), n, path)
	case yaml.SequenceNode:
		v, ok := d.value(reflect.TypeFor[[]any](), n, path, nil)
		return v, ok
	}
	if n.Tag == "!!null" {
		return nil, true
	}
	text, _, ok := d.text(n, path)
	if !ok {
		return nil, false
	}
	switch n.Tag {
	case "!!bool":
		return text == "true", true
	case "!!int", "!!float":
		if json.Valid([]byte(text)) {
			return json.Number(text), true
		}
	}
	return text, true
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func nodeKind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return nodeKind(n.Alias)
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "nothing"
	}
	return "text"
}
