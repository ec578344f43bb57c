package workflow

import (
	"slices"
	"strconv"
)

// A Change is one difference between two documents.
type Change struct {
	Kind     string `json:"kind"` // added, removed, changed or moved
	Path     string `json:"path"` // in the newer document; of a removed element of a list, in the older
	Activity string `json:"activity,omitempty"`
	From     string `json:"from,omitempty"` // JSON
	To       string `json:"to,omitempty"`
}

// Diff lists what is different, in the order of the newer document. It compares
// meaning: activities are found by id, properties by name, connections by their
// ends; white space, the order of members and the serializer's $id mean
// nothing. Documents in different spellings are compared as JSON.
func Diff(older, newer *Document) ([]Change, error) {
	a, err := older.tree()
	if err != nil {
		return nil, err
	}
	b, err := newer.tree()
	if err != nil {
		return nil, err
	}
	x := differ{a: a.src, b: b.src}
	x.node(a.root, b.root, "", "")
	return x.out, nil
}

// tree is the document as JSON.
func (d *Document) tree() (*Document, error) {
	if d.root != nil {
		return d, nil
	}
	def, _, err := d.Definition()
	if err != nil {
		return nil, err
	}
	return Read(EncodeJSON(def))
}

type differ struct {
	a, b     []byte
	out      []Change
	activity string
}

func (x *differ) add(kind, path string, from, to *node) {
	c := Change{Kind: kind, Path: path, Activity: x.activity}
	if from != nil {
		c.From = string(x.a[from.start:from.end])
	}
	if to != nil {
		c.To = string(x.b[to.start:to.end])
	}
	x.out = append(x.out, c)
}

// node compares two values; name is that of the list or member they are in.
func (x *differ) node(a, b *node, path, name string) {
	switch {
	case a.kind != b.kind:
		x.add("changed", path, a, b)
	case a.kind == object:
		x.object(a, b, path)
	case a.kind == list:
		x.list(a, b, path, name)
	case a.text != b.text:
		x.add("changed", path, a, b)
	}
}

func (x *differ) object(a, b *node, path string) {
	if id := b.exact("activityId"); id != nil {
		x.activity = labelOf(b)
		defer func() { x.activity = "" }()
	}
	for _, m := range members(b) {
		at := join(path, m.name)
		if old := a.exact(m.name); old != nil {
			x.node(old, m, at, m.name)
		} else {
			x.add("added", at, nil, m)
		}
	}
	for _, m := range members(a) {
		if b.exact(m.name) == nil {
			x.add("removed", join(path, m.name), m, nil)
		}
	}
}

// members lists those that count: the last of each name, without $id.
func members(n *node) (out []*node) {
	for i := range n.list {
		if m := &n.list[i]; m.name != "$id" && n.exact(m.name) == m {
			out = append(out, m)
		}
	}
	return out
}

func labelOf(n *node) string {
	for _, name := range []string{"displayName", "name", "type", "activityId"} {
		if m := n.exact(name); m != nil && m.kind == text && m.text != "" {
			return m.text
		}
	}
	return ""
}

// keyOf is what an element of a list is known by across versions; by its place,
// if nothing else.
func keyOf(n *node, list string, i int) string {
	of := func(name string) string {
		if m := n.exact(name); m != nil {
			return m.text
		}
		return ""
	}
	switch list {
	case "activities":
		if id := of("activityId"); id != "" {
			return id
		}
	case "properties":
		if name := of("name"); name != "" {
			return name
		}
	case "connections":
		return of("sourceActivityId") + "\x00" + of("targetActivityId") + "\x00" + of("outcome")
	}
	return "#" + strconv.Itoa(i)
}

func (x *differ) list(a, b *node, path, name string) {
	type entry struct {
		n *node
		i int
	}
	index := func(l *node) (map[string]entry, []string) {
		m, order := map[string]entry{}, []string{}
		for i := range l.list {
			k := keyOf(&l.list[i], name, i)
			for n := 2; m[k].n != nil; n++ { // the same once more
				k = keyOf(&l.list[i], name, i) + "\x00" + strconv.Itoa(n)
			}
			m[k] = entry{&l.list[i], i}
			order = append(order, k)
		}
		return m, order
	}
	old, before := index(a)
	now, after := index(b)
	at := func(i int) string { return path + "[" + strconv.Itoa(i) + "]" }
	label := func(n *node) {
		if name == "activities" {
			x.activity = labelOf(n)
		}
	}
	for _, k := range after {
		e := now[k]
		if was, ok := old[k]; ok {
			x.node(was.n, e.n, at(e.i), "")
			continue
		}
		label(e.n)
		x.add("added", at(e.i), nil, e.n)
	}
	for _, k := range before {
		if _, ok := now[k]; !ok {
			label(old[k].n)
			x.add("removed", at(old[k].i), old[k].n, nil)
		}
	}
	if name == "activities" {
		x.activity = ""
	}
	// What both have may stand in another order, which decides what starts and
	// what runs first.
	both := func(order []string, other map[string]entry) []string {
		return slices.DeleteFunc(slices.Clone(order), func(k string) bool { _, ok := other[k]; return !ok })
	}
	if !slices.Equal(both(before, now), both(after, old)) && name != "properties" {
		x.out = append(x.out, Change{Kind: "moved", Path: path})
	}
}
