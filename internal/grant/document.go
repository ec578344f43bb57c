package grant

import (
	"bytes"
	"strconv"
	"strings"
)

// A bodyKind is what a body turned out to be. The content type has no say:
// providers send JSON as text/html and forms as text/plain.
type bodyKind int

const (
	bodyEmpty  bodyKind = iota
	bodyObject          // a JSON object, or a form read as one
	bodyList            // a JSON array: only a path into it makes anything of it
	bodyText            // all else
)

// A document is a body that has been looked at once.
type document struct {
	kind     bodyKind
	form     bool
	state    scanState
	root     node
	members  []member // of a root object
	trailing bool     // bytes that are no space follow the root
	odd      bool     // a member's value is no JSON
	text     []byte   // the body without byte order mark and surrounding space
}

// readDocument looks at a body. incomplete says that its end is missing, which
// a form does not show by itself.
func readDocument(b []byte, incomplete bool) *document {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	d := &document{text: b}
	switch {
	case len(b) == 0:
		if incomplete {
			d.state = torn
		}
		return d
	case b[0] == '{':
		var end int
		d.kind = bodyObject
		d.members, end, d.state = scanObject(b, 0, 1)
		d.root = node{b[:end]}
		d.trailing = d.state == whole && end < len(b)
	case b[0] == '[':
		var end int
		d.kind = bodyList
		end, d.state = scanValue(b, 0, 1)
		d.root = node{b[:end]}
		d.trailing = d.state == whole && end < len(b)
	case looksLikeForm(b):
		d.kind, d.form = bodyObject, true
		if incomplete {
			d.state = torn
			b = b[:max(0, bytes.LastIndexByte(b, '&'))]
		}
		d.root = node{formObject(string(b))}
		d.members = d.root.members()
	default:
		d.kind = bodyText
		if incomplete {
			d.state = torn
		}
	}
	for _, m := range d.members {
		if m.value.kind() == '?' {
			d.odd = true
		}
	}
	return d
}

// looksLikeForm reports whether b begins as application/x-www-form-urlencoded
// text does: a name and an equals sign.
func looksLikeForm(b []byte) bool {
	for i, c := range b[:min(len(b), 65)] {
		switch {
		case c == '=':
			return i > 0
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("_.-[]%+", c) >= 0:
		default:
			return false
		}
	}
	return false
}

// formObject turns a form into the JSON object that says the same, member by
// member, so that both are read by the same rules.
func formObject(s string) []byte {
	out := make([]byte, 1, len(s)+64)
	out[0] = '{'
	pairs := 0
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		if pairs++; pairs > maxMembers {
			break
		}
		name, value, _ := strings.Cut(pair, "=")
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, quote(formText(name))...)
		out = append(out, ':')
		out = append(out, quote(formText(value))...)
	}
	return append(out, '}')
}

// formText decodes plus signs and percent escapes. What is no escape stays as
// it is: a token may hold a percent sign that nobody encoded.
func formText(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(s):
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
			out = append(out, c)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// top returns the root's member of that very name.
func (d *document) top(name string) (node, bool) { return pick(d.members, name) }

// at follows a path of member names and indexes from the root:
// data.tokens[0].value. A member whose name is the whole path is taken first,
// for names that hold dots.
func (d *document) at(path string) (node, bool) {
	if d.kind == bodyObject {
		if n, ok := d.top(path); ok {
			return n, true
		}
	}
	if d.kind == bodyEmpty || d.kind == bodyText {
		return node{}, false
	}
	return d.root.at(path)
}

func (n node) at(path string) (node, bool) {
	for path != "" {
		if m, ok := n.member(path); ok {
			return m, true
		}
		if path[0] == '[' {
			digits, rest, ok := strings.Cut(path[1:], "]")
			i, err := strconv.Atoi(digits)
			if !ok || err != nil || i < 0 || i >= maxMembers {
				return node{}, false
			}
			list := n.elements(i + 1)
			if i >= len(list) {
				return node{}, false
			}
			n, path = list[i], strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			return node{}, false // tried above
		}
		m, ok := n.member(path[:end])
		if !ok {
			return node{}, false
		}
		n, path = m, strings.TrimPrefix(path[end:], ".")
	}
	return n, len(n.raw) > 0
}

// conflicts returns the names in ms that are repeated with different values.
func conflicts(ms []member) (names []string) {
	if len(ms) < 2 {
		return nil
	}
	first := make(map[string]node, len(ms))
	for _, m := range ms {
		v, seen := first[m.name]
		switch {
		case !seen:
			first[m.name] = m.value
		case !same(v, m.value):
			names = append(names, m.name)
		}
	}
	return names
}

// object returns the root as JSON: what is stored of the answer. A text is a
// JSON string, nothing at all is empty.
func (d *document) object() string {
	switch d.kind {
	case bodyObject, bodyList:
		return string(d.root.raw)
	case bodyText:
		return string(quote(string(d.text)))
	}
	return ""
}

// looksLikeHTML reports whether a body is a page for people.
func (d *document) looksLikeHTML() bool {
	return d.kind == bodyText && d.text[0] == '<' && !bytes.HasPrefix(d.text, []byte("<?xml"))
}

// value returns the document for a predicate: maps, lists, strings, float64,
// bool and nil; a text is itself.
func (d *document) value() any {
	switch d.kind {
	case bodyObject, bodyList:
		return d.root.value()
	case bodyText:
		return string(d.text)
	}
	return nil
}

func (n node) value() any {
	switch n.kind() {
	case '{':
		ms := n.members()
		m := make(map[string]any, len(ms))
		for _, e := range ms {
			m[e.name] = e.value.value()
		}
		return m
	case '[':
		var list []any
		for _, e := range n.elements(maxMembers) {
			list = append(list, e.value())
		}
		return list
	case '"':
		s, _ := n.str()
		return s
	case '0':
		f, _ := strconv.ParseFloat(string(n.raw), 64)
		return f
	case 't', 'f':
		return n.raw[0] == 't'
	}
	return nil
}
