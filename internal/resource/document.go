package resource

import (
	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
)

// documentOf returns the field whose file another field names; nil: none.
func (o *object) documentOf(name string) *field {
	for i := range o.fields {
		if name != "" && o.fields[i].document == name {
			return &o.fields[i]
		}
	}
	return nil
}

// documentFile reads the file that n, at path, names for the document at
// target.
func (d *decoder) documentFile(n *yaml.Node, path, target string, twice bool) bool {
	d.it.places[target] = d.placeOf(n)
	if twice {
		d.fault(n, path, "is given twice: by itself and as a file")
		return false
	}
	name, _, ok := d.text(n, path)
	if !ok {
		return false
	}
	if d.src == nil {
		d.fault(n, path, "a file is read where freshet apply runs; a request carries its content")
		return false
	}
	text, err := d.src.Document(d.file, name)
	if err != nil {
		d.fault(n, path, "%v", err)
		return false
	}
	d.it.Secrets[target] = freshet.NewSecret(text)
	return true
}

// document1 reads a document in place.
func (d *decoder) document1(n *yaml.Node, path string) (any, bool) {
	d.it.places[path] = d.placeOf(n)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 1 && n.Content[0].Value == "secret" {
		d.it.Secrets[path] = freshet.NewSecret(freshet.Redacted) // the marker without its quotes
		return freshet.Redacted, true
	}
	text, _, ok := d.textOf(n, path, maxDocument)
	if !ok {
		return nil, false
	}
	if text == "" {
		d.fault(n, path, "is empty")
		return nil, false
	}
	d.it.Secrets[path] = freshet.NewSecret(text)
	return freshet.Redacted, true
}

// anySecrets reads names with values of any kind, each kept sealed as its JSON.
func (d *decoder) anySecrets(n *yaml.Node, path string) (any, bool) {
	d.it.places[path] = d.placeOf(n)
	if n.Kind == yaml.AliasNode || n.Kind != yaml.MappingNode {
		d.fault(n, path, "names with values are needed, not %s", nodeKind(n))
		return nil, false
	}
	out, all := map[string]any{}, true
	for _, p := range d.pairs(n, path) {
		at := join(path, p.key)
		d.it.places[at] = d.placeOf(p.value)
		var v any
		ok := true
		if p.value.Kind == yaml.SequenceNode && len(p.value.Content) == 1 && p.value.Content[0].Value == "secret" && p.value.Style&yaml.FlowStyle != 0 {
			v = freshet.Redacted
		} else {
			v, ok = d.anyValue(p.value, at)
		}
		if all = all && ok; !ok {
			continue
		}
		out[p.key] = freshet.Redacted
		if v == freshet.Redacted {
			d.it.Secrets[at] = freshet.NewSecret(freshet.Redacted)
			continue
		}
		b, err := encodeJSON(v)
		if err != nil || len(b) > maxText {
			d.fault(p.value, at, "is longer than %d KiB", maxText>>10)
			all = false
			continue
		}
		d.it.Secrets[at] = freshet.NewSecret(string(b))
	}
	return out, all
}

// anyValue reads a value that may be anything, within the bounds of all others.
func (d *decoder) anyValue(n *yaml.Node, path string) (any, bool) {
	if d.depth++; d.depth > maxDepth {
		d.depth--
		d.fault(n, path, "goes too deep")
		return nil, false
	}
	defer func() { d.depth-- }()
	n, leave := d.follow(n, path)
	defer leave()
	if n == nil {
		return nil, false
	}
	return d.any(n, path)
}
