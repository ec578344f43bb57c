package workflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An EditError says why an edit was not made.
type EditError struct {
	Path string
	Msg  string
}

// Error returns "PATH: MSG".
func (e *EditError) Error() string { return e.Path + ": " + e.Msg }

// errYAML is why a file in our own spelling has no edits by path: people edit
// it as text, and nothing else would keep their comments and line breaks.
var errYAML = errors.New("a definition in YAML is edited as text: put the whole file")

// Set returns the document with another value at a path, such as
// activities[3].displayName: value is JSON. What is not there yet is added to
// the object or list that it belongs to, whose own path must exist; an index
// may be one past the end. Every other byte stays. The error is an *EditError
// or a *SyntaxError.
func (d *Document) Set(path string, value []byte) (*Document, error) {
	if d.root == nil {
		return nil, errYAML
	}
	if _, err := parseJSON(value); err != nil {
		return nil, &EditError{path, "the new value is not JSON"}
	}
	value = bytes.TrimSpace(value)
	up, last, err := d.find(path)
	if err != nil {
		return nil, err
	}
	if n := child(up, last); n != nil {
		if n.exact("$ref") != nil {
			return nil, &EditError{path, "refers to another place of the file ($ref): edit that one"}
		}
		return d.splice(int(n.start), int(n.end), value)
	}
	return d.insert(up, last, path, value)
}

// Remove returns the document without a member or an element.
func (d *Document) Remove(path string) (*Document, error) {
	if d.root == nil {
		return nil, errYAML
	}
	up, last, err := d.find(path)
	if err != nil {
		return nil, err
	}
	n := child(up, last)
	if n == nil {
		return nil, &EditError{path, "is not there"}
	}
	i := 0
	for ; &up.list[i] != n; i++ {
	}
	from, to := begin(n), int(n.end)
	switch {
	case i > 0:
		from = int(up.list[i-1].end)
	case len(up.list) > 1:
		to = begin(&up.list[1])
	}
	return d.splice(from, to, nil)
}

// SetExpression returns the document with a property's text in a syntax, which
// becomes the live one. The activity is named by its id or, if nothing has
// that, by its name. Texts in other syntaxes stay.
func (d *Document) SetExpression(activity, property, syntax, text string) (*Document, error) {
	if d.root == nil {
		return nil, errYAML
	}
	def, _, err := d.Definition()
	if err != nil {
		return nil, err
	}
	a := def.Activity(activity)
	if a == nil {
		a = def.ByName(activity)
	}
	if a == nil {
		return nil, &EditError{activity, "there is no activity of this id or name"}
	}
	encoded := encode(text)
	if p := a.Property(property); p != nil {
		out := d
		if p.Syntax != syntax {
			if out, err = out.Set(p.At.Path+".syntax", encode(syntax)); err != nil {
				return nil, err
			}
		}
		if n, _ := out.node(p.At.Path); n.member("expressions") == nil || n.member("expressions").kind != object {
			return out.Set(p.At.Path+".expressions", encode(map[string]string{syntax: text}))
		}
		return out.Set(join(p.At.Path+".expressions", syntax), encoded)
	}
	value := fmt.Sprintf(`{"name":%s,"syntax":%s,"expressions":{%s:%s}}`, encode(property), encode(syntax), encode(syntax), encoded)
	n, err := d.node(a.At.Path)
	if err != nil {
		return nil, err
	}
	if list := n.member("properties"); list != nil && list.kind != null {
		return d.Set(fmt.Sprintf("%s.properties[%d]", a.At.Path, len(list.list)), []byte(value))
	}
	return d.Set(a.At.Path+".properties", []byte("["+value+"]"))
}

// encode writes a value as the platform does: no HTML escapes.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // texts and maps of texts
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// splice replaces bytes and reads the result, which must still be a document.
func (d *Document) splice(from, to int, with []byte) (*Document, error) {
	out := make([]byte, 0, len(d.src)-(to-from)+len(with))
	out = append(append(append(out, d.src[:from]...), with...), d.src[to:]...)
	return Read(out)
}

// begin is where an element, or a member with its name, begins.
func begin(n *node) int {
	if n.key > 0 {
		return int(n.key)
	}
	return int(n.start)
}

// insert adds a member or an element after the last one, laid out as that one
// is.
func (d *Document) insert(up *node, s step, path string, value []byte) (*Document, error) {
	switch {
	case up.kind == object && s.name != nil:
		value = append(append(encode(*s.name), d.colon(up)...), value...)
	case up.kind == list && s.name == nil && s.index == len(up.list):
	default:
		return nil, &EditError{path, "is not there, and what it should be in takes nothing of the kind"}
	}
	if len(up.list) == 0 {
		return d.splice(int(up.start)+1, int(up.start)+1, value)
	}
	last := &up.list[len(up.list)-1]
	from := begin(last)
	for from > 0 && strings.IndexByte(" \t\r\n", d.src[from-1]) >= 0 {
		from--
	}
	value = append(append([]byte(","), d.src[from:begin(last)]...), value...)
	return d.splice(int(last.end), int(last.end), value)
}

// colon is what stands between name and value in an object.
func (d *Document) colon(up *node) []byte {
	if len(up.list) == 0 {
		return []byte(":")
	}
	m := &up.list[0]
	p := &parser{src: d.src, at: int(m.key)}
	if _, err := p.string(); err != nil {
		return []byte(":")
	}
	return d.src[p.at:m.start]
}

// A step leads to a member or to an element.
type step struct {
	name  *string
	index int
}

func child(n *node, s step) *node {
	switch {
	case s.name != nil:
		return n.member(*s.name)
	case n.kind == list && s.index < len(n.list):
		return &n.list[s.index]
	}
	return nil
}

// find returns what the last step of a path starts from.
func (d *Document) find(path string) (*node, step, error) {
	steps, err := steps(path)
	if err != nil {
		return nil, step{}, err
	}
	n := d.root
	for _, s := range steps[:len(steps)-1] {
		if n = child(n, s); n == nil {
			return nil, step{}, &EditError{path, "what it should be in is not there"}
		}
		if n.exact("$ref") != nil {
			return nil, step{}, &EditError{path, "lies behind a reference to another place of the file ($ref): edit that one"}
		}
	}
	return n, steps[len(steps)-1], nil
}

func (d *Document) node(path string) (*node, error) {
	up, last, err := d.find(path)
	if err != nil {
		return nil, err
	}
	if n := child(up, last); n != nil {
		return n, nil
	}
	return nil, &EditError{path, "is not there"}
}

// steps reads a path as Place writes it: name.name[3]."odd name".
func steps(path string) ([]step, error) {
	var out []step
	rest := path
	for first := true; rest != "" || first; first = false {
		switch {
		case strings.HasPrefix(rest, "["):
			digits, after, ok := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(digits)
			if !ok || err != nil || i < 0 || digits[0] == '+' {
				return nil, &EditError{path, "is no path: an index is [3]"}
			}
			out, rest = append(out, step{index: i}), after
			continue
		case !first && !strings.HasPrefix(rest, "."):
			return nil, &EditError{path, "is no path: names are joined by dots"}
		}
		rest = strings.TrimPrefix(rest, ".")
		var name string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err == nil {
				name, err = strconv.Unquote(quoted)
			}
			if err != nil {
				return nil, &EditError{path, "is no path: a quote is not closed"}
			}
			rest = rest[len(quoted):]
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if name, rest = rest[:end], rest[end:]; name == "" {
				return nil, &EditError{path, "is no path: a name is missing"}
			}
		}
		out = append(out, step{name: &name})
	}
	return out, nil
}
