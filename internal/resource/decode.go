package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
)

// An Item is one resource of a file, right in form.
type Item struct {
	Key
	// Spec is the resource as JSON with members in order and freshet.Redacted
	// in the place of each secret. Two files that say the same have the same
	// Spec.
	Spec json.RawMessage
	// Secrets holds the values by path inside the resource. A value that is
	// freshet.Redacted stands for the one that is stored.
	Secrets map[string]freshet.Secret

	at     Place
	places map[string]Place // by path inside the resource
}

// place returns where the field stands, or what it would stand in.
func (it *Item) place(path string) Place {
	for {
		if p, ok := it.places[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return it.at
		}
		path = path[:i]
	}
}

// path returns the whole path of a field: connections.crm.refresh.
func (it *Item) path(k *Kind, field string) string {
	p := it.Kind
	if !k.Single {
		p = join(p, it.Name)
	}
	if field != "" {
		p += "." + field
	}
	return p
}

// markers lists the paths of secrets that stand for stored ones.
func (it *Item) markers() []string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(it.Secrets)) {
		if it.Secrets[path].Equal(freshet.NewSecret(freshet.Redacted)) {
			out = append(out, path)
		}
	}
	return out
}

// A Set is what files hold, each resource once, in the order in which it can
// be applied.
type Set struct {
	Items    []*Item
	Warnings Faults
}

// Decode reads files. ${NAME} and {file: path} take their values from src. The
// error is Faults: everything that is wrong with the form, at once.
func (r *Registry) Decode(files []File, src Source) (*Set, error) {
	d := decoder{r: r, src: src, expand: true, set: &Set{}, seen: map[Key]Place{}}
	for _, f := range files {
		docs, fault := parse(f)
		if fault != nil {
			d.faults = append(d.faults, *fault)
			continue
		}
		d.file, d.aliased = f.Name, 0
		for _, n := range docs {
			d.document(n)
		}
	}
	return d.done()
}

// DecodeOne reads the body of a request for one resource. Texts are taken as
// they are: ${NAME} and {file: path} mean nothing in a request.
func (r *Registry) DecodeOne(key Key, f File) (*Set, error) {
	d := decoder{r: r, set: &Set{}, seen: map[Key]Place{}}
	docs, fault := parse(f)
	if fault != nil {
		return nil, Faults{*fault}
	}
	if len(docs) != 1 {
		return nil, Faults{{Place: Place{File: f.Name}, Detail: "holds no resource"}}
	}
	k, ok := r.Kind(key.Kind)
	if !ok {
		return nil, Faults{d.unknownKind(key.Kind, Place{})}
	}
	d.file = f.Name
	d.item(&k, key.Name, docs[0], docs[0])
	return d.done()
}

type decoder struct {
	r      *Registry
	src    Source
	expand bool
	set    *Set
	seen   map[Key]Place
	faults Faults

	file    string
	aliased int // values seen through aliases of this file
	inAlias int
	depth   int

	origins map[*yaml.Node]string // files of folders, by what they hold

	it   *Item // whose fields are read
	path string
}

func (d *decoder) done() (*Set, error) {
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	slices.SortStableFunc(d.set.Items, func(a, b *Item) int { return d.r.rank(a.Kind) - d.r.rank(b.Kind) })
	d.set.Warnings = d.set.Warnings.sorted()
	return d.set, nil
}

func (d *decoder) placeOf(n *yaml.Node) Place {
	return Place{File: d.file, Line: n.Line, Column: n.Column}
}

// fault records what is wrong at n; field is the path inside the resource.
func (d *decoder) fault(n *yaml.Node, field, format string, args ...any) {
	path := d.path
	if field != "" {
		path = strings.TrimPrefix(path+"."+field, ".")
	}
	d.faults = append(d.faults, Fault{Place: d.placeOf(n), Path: path, Detail: fmt.Sprintf(format, args...)})
}

func (d *decoder) unknownKind(name string, at Place) Fault {
	f := Fault{Place: at, Path: segment(shown(name))}
	if k := d.r.byName[name]; k != nil {
		f.Detail = k.Name + " are not in this version of freshet: take them out of the file"
		if k.Name == k.One {
			f.Detail = k.Name + " is not in this version of freshet: take it out of the file"
		}
		return f
	}
	names := d.r.kindNames()
	f.Detail = "is not a kind of resource"
	if near := didYouMean(name, names); near != "" {
		f.Detail += near
	} else {
		f.Detail += "; use " + oneOf(names)
	}
	return f
}

// oneOf writes "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func (d *decoder) document(n *yaml.Node) {
	d.path = ""
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, "", "a file holds kinds of resources, such as connections:, not %s", nodeKind(n))
		return
	}
	for _, p := range d.pairs(n, "") {
		d.path = ""
		if strings.HasPrefix(p.key, "x-") { // a place for anchors
			continue
		}
		k, ok := d.r.Kind(p.key)
		if !ok {
			d.faults = append(d.faults, d.unknownKind(p.key, d.placeOf(p.at)))
			continue
		}
		if k.Single {
			d.item(&k, k.Name, p.at, p.value)
			continue
		}
		value, leave := d.follow(p.value, "")
		if value == nil || isNull(value) {
			leave()
			continue
		}
		if value.Kind != yaml.MappingNode {
			d.path = k.Name
			d.fault(value, "", "%s are given by name, such as %s: {%s: {…}}, not as %s", k.Name, k.Name, "name", nodeKind(value))
			leave()
			continue
		}
		d.path = k.Name
		for _, q := range d.pairs(value, "") {
			d.item(&k, q.key, q.at, q.value)
		}
		leave()
	}
}

// item reads one resource; at is the node of its name.
func (d *decoder) item(k *Kind, name string, at, value *yaml.Node) {
	d.it = &Item{Key: Key{k.Name, name}, Secrets: map[string]freshet.Secret{}, at: d.placeOf(at), places: map[string]Place{}}
	d.path = d.it.path(k, "")
	if !k.Single && !k.names.MatchString(name) {
		d.fault(at, "", "%s", k.like)
		return
	}
	if first, ok := d.seen[d.it.Key]; ok {
		d.fault(at, "", "is given twice; first at %s", first)
		return
	}
	d.seen[d.it.Key] = d.it.at
	faults := len(d.faults)
	tree, ok := d.value(k.typ, value, "", nil)
	if ok && k.conceal != nil {
		ok = k.conceal(d, tree)
	}
	if !ok || len(d.faults) > faults {
		return
	}
	spec, err := encodeJSON(tree)
	if err != nil {
		d.fault(value, "", "cannot be kept as JSON")
		return
	}
	d.it.Spec = spec
	d.set.Items = append(d.set.Items, d.it)
}

// follow resolves an alias, within the bounds on what aliases may bring. The
// second result ends the visit of what the alias refers to. nil: refused.
func (d *decoder) follow(n *yaml.Node, path string) (*yaml.Node, func()) {
	leave := func() {}
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		leave = func() { d.inAlias-- }
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
	}
	if d.inAlias > 0 {
		d.aliased++
		if d.aliased == maxAliased+1 {
			d.fault(n, path, "aliases of this file multiply into more than %d values", maxAliased)
		}
		if d.aliased > maxAliased {
			return nil, leave
		}
	}
	return n, leave
}

type pair struct {
	key   string
	at    *yaml.Node // of the key
	value *yaml.Node
}

// pairs lists the members of an object, those of merged ones (<<) after its own
// and only where it has none of the name.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	var own []pair
	var merges []*yaml.Node
	at := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			d.fault(k, path, "the name of a field is text, not %s", nodeKind(k))
			continue
		}
		if k.Tag == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if first := at[k.Value]; first != nil {
			d.fault(k, strings.TrimPrefix(path+"."+segment(k.Value), "."), "is given twice; first on line %d", first.Line)
			continue
		}
		at[k.Value] = k
		own = append(own, pair{k.Value, k, v})
	}
	for _, m := range merges {
		own = d.merge(own, at, m, path)
	}
	return own
}

func (d *decoder) merge(own []pair, at map[string]*yaml.Node, m *yaml.Node, path string) []pair {
	if d.depth++; d.depth > maxDepth {
		d.fault(m, path, "goes too deep")
		d.depth--
		return own
	}
	defer func() { d.depth-- }()
	v, leave := d.follow(m, path)
	defer leave()
	switch {
	case v == nil:
	case v.Kind == yaml.SequenceNode:
		for _, one := range v.Content {
			own = d.merge(own, at, one, path)
		}
	case v.Kind == yaml.MappingNode:
		for _, p := range d.pairs(v, path) {
			if at[p.key] == nil {
				at[p.key] = p.at
				// Seen as an alias, so that what merges bring is counted.
				alias := &yaml.Node{Kind: yaml.AliasNode, Alias: p.value, Line: p.value.Line, Column: p.value.Column}
				own = append(own, pair{p.key, p.at, alias})
			}
		}
	default:
		d.fault(m, path, "<< merges an object, not %s", nodeKind(v))
	}
	return own
}
