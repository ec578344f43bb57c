package workflow

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of what is read.
const (
	MaxFile   = 4 << 20 // bytes of one definition
	MaxDepth  = 64      // objects and lists inside each other
	maxValues = 600_000 // values of one definition: they cost more memory than bytes
)

// A SyntaxError says why bytes are no definition, and where.
type SyntaxError struct {
	Place
	Msg string
}

// Error returns "line LINE, column COLUMN: MSG".
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return "workflow: " + e.Msg
	}
	at := fmt.Sprintf("workflow: line %d, column %d: %s", e.Line, e.Column, e.Msg)
	if e.Path != "" {
		at += " (in " + e.Path + ")"
	}
	return at
}

// kind is what a JSON value is.
type kind byte

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

// A node is a JSON value and the bytes that it stands in.
type node struct {
	kind       kind
	start, end int32 // src[start:end]
	key        int32 // of a member: where its name begins, else 0
	name       string
	text       string // of text: decoded; of numbers and booleans: as written
	list       []node // elements, or members in the order of the file
}

// member returns the value of a member, the last of several; nil: there is
// none. A name in another case is taken where the exact one is missing, as the
// platform's reader takes it.
func (n *node) member(name string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	var near *node
	for i := len(n.list) - 1; i >= 0; i-- {
		m := &n.list[i]
		if m.name == name {
			return m
		}
		if near == nil && strings.EqualFold(m.name, name) {
			near = m
		}
	}
	return near
}

// exact is member without the other case.
func (n *node) exact(name string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	for i := len(n.list) - 1; i >= 0; i-- {
		if n.list[i].name == name {
			return &n.list[i]
		}
	}
	return nil
}

var bom = []byte("\ufeff")

// parser reads RFC 8259 JSON, of which it keeps every place. encoding/json
// gives none, guesses at broken UTF-8 and keeps only one of two members of the
// same name.
type parser struct {
	src    []byte
	at     int
	values int
	path   []string
}

// parseJSON reads one value and nothing after it.
func parseJSON(src []byte) (*node, error) {
	if len(src) > MaxFile {
		return nil, &SyntaxError{Msg: fmt.Sprintf("the file has %d MiB; a definition has at most %d", (len(src)+1<<20-1)>>20, MaxFile>>20)}
	}
	p := &parser{src: src}
	if bytes.HasPrefix(src, bom) {
		p.at = len(bom)
	}
	if i := invalidUTF8(src); i >= 0 {
		p.at = i
		return nil, p.fail("the file is not UTF-8: save it as UTF-8")
	}
	p.space()
	if p.at == len(p.src) {
		return nil, p.fail("the file is empty")
	}
	var n node
	if err := p.value(&n, 0); err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.src) {
		return nil, p.fail("something follows the end of the definition")
	}
	return &n, nil
}

func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

func (p *parser) fail(format string, args ...any) error {
	e := &SyntaxError{Place: newPlaces(p.src).at(p.at, ""), Msg: fmt.Sprintf(format, args...)}
	e.Path = strings.TrimPrefix(strings.Join(p.path, ""), ".")
	return e
}

func (p *parser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) value(n *node, depth int) error {
	if p.at == len(p.src) {
		return p.fail("the file ends too early: a bracket is not closed")
	}
	if depth > MaxDepth {
		return p.fail("goes deeper than %d levels", MaxDepth)
	}
	if p.values++; p.values > maxValues {
		return p.fail("the file holds more than %d values", maxValues)
	}
	n.start = int32(p.at)
	var err error
	switch c := p.src[p.at]; {
	case c == '{':
		n.kind = object
		err = p.members(n, depth)
	case c == '[':
		n.kind = list
		err = p.elements(n, depth)
	case c == '"':
		n.kind = text
		n.text, err = p.string()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = number
		err = p.number(n)
	default:
		err = p.word(n)
	}
	n.end = int32(p.at)
	return err
}

func (p *parser) word(n *node) error {
	for _, w := range []struct {
		text string
		kind kind
	}{{"null", null}, {"true", boolean}, {"false", boolean}} {
		if bytes.HasPrefix(p.src[p.at:], []byte(w.text)) {
			n.kind, n.text = w.kind, w.text
			p.at += len(w.text)
			return nil
		}
	}
	return p.fail("this is not JSON: a value is needed here")
}

func (p *parser) number(n *node) error {
	digits := func() bool {
		from := p.at
		for p.at < len(p.src) && p.src[p.at] >= '0' && p.src[p.at] <= '9' {
			p.at++
		}
		return p.at > from
	}
	from := p.at
	if p.src[p.at] == '-' {
		p.at++
	}
	lead := p.at
	if !digits() || p.src[lead] == '0' && p.at > lead+1 {
		return p.fail("this is not a JSON number")
	}
	if p.at < len(p.src) && p.src[p.at] == '.' {
		p.at++
		if !digits() {
			return p.fail("this is not a JSON number")
		}
	}
	if p.at < len(p.src) && (p.src[p.at] == 'e' || p.src[p.at] == 'E') {
		p.at++
		if p.at < len(p.src) && (p.src[p.at] == '+' || p.src[p.at] == '-') {
			p.at++
		}
		if !digits() {
			return p.fail("this is not a JSON number")
		}
	}
	n.text = string(p.src[from:p.at])
	return nil
}

func (p *parser) elements(n *node, depth int) error {
	p.at++
	p.space()
	if p.at < len(p.src) && p.src[p.at] == ']' {
		p.at++
		return nil
	}
	for {
		p.space()
		p.path = append(p.path, "["+strconv.Itoa(len(n.list))+"]")
		var e node
		if err := p.value(&e, depth+1); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
		n.list = append(n.list, e)
		more, err := p.next(']')
		if !more {
			return err
		}
	}
}

func (p *parser) members(n *node, depth int) error {
	p.at++
	p.space()
	if p.at < len(p.src) && p.src[p.at] == '}' {
		p.at++
		return nil
	}
	for {
		p.space()
		if p.at == len(p.src) {
			return p.fail("the file ends too early: a bracket is not closed")
		}
		if p.src[p.at] != '"' {
			return p.fail("this is not JSON: the name of a member is needed here, in quotes")
		}
		key := p.at
		name, err := p.string()
		if err != nil {
			return err
		}
		p.space()
		if p.at == len(p.src) || p.src[p.at] != ':' {
			return p.fail("this is not JSON: a colon is needed here")
		}
		p.at++
		p.space()
		p.path = append(p.path, "."+name)
		e := node{name: name, key: int32(key)}
		if err := p.value(&e, depth+1); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
		n.list = append(n.list, e)
		more, err := p.next('}')
		if !more {
			return err
		}
	}
}

// next reads a comma, or the end of a list.
func (p *parser) next(end byte) (more bool, err error) {
	p.space()
	switch {
	case p.at == len(p.src):
		return false, p.fail("the file ends too early: a bracket is not closed")
	case p.src[p.at] == ',':
		p.at++
		return true, nil
	case p.src[p.at] == end:
		p.at++
		return false, nil
	}
	return false, p.fail("this is not JSON: a comma or %q is needed here", end)
}

// string reads a text. A lone half of a surrogate pair becomes U+FFFD: what is
// decoded is only for reading, the file keeps what it says.
func (p *parser) string() (string, error) {
	begin := p.at
	p.at++
	from := p.at
	for p.at < len(p.src) && p.src[p.at] != '"' && p.src[p.at] != '\\' && p.src[p.at] >= 0x20 {
		p.at++
	}
	if p.at < len(p.src) && p.src[p.at] == '"' { // nothing to decode
		s := string(p.src[from:p.at])
		p.at++
		return s, nil
	}
	out := append(make([]byte, 0, 2*(p.at-from)+16), p.src[from:p.at]...)
	for p.at < len(p.src) {
		c := p.src[p.at]
		switch {
		case c == '"':
			p.at++
			return string(out), nil
		case c < 0x20:
			return "", p.fail("a text holds a line end or control character: write it as an escape")
		case c != '\\':
			out = append(out, c)
			p.at++
			continue
		}
		if p.at+1 == len(p.src) {
			break
		}
		e := p.src[p.at+1]
		if i := strings.IndexByte(`"\/bfnrt`, e); i >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[i])
			p.at += 2
			continue
		}
		r, ok := p.escape(p.at)
		if !ok {
			return "", p.fail("this is not a JSON escape")
		}
		p.at += 6
		if utf16.IsSurrogate(r) {
			low, ok := p.escape(p.at)
			if both := utf16.DecodeRune(r, low); ok && both != utf8.RuneError {
				r = both
				p.at += 6
			} else {
				r = utf8.RuneError
			}
		}
		out = utf8.AppendRune(out, r)
	}
	p.at = begin
	return "", p.fail("the file ends too early: this quote is not closed")
}

// escape reads \uXXXX at an offset.
func (p *parser) escape(at int) (rune, bool) {
	if at+6 > len(p.src) || p.src[at] != '\\' || p.src[at+1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(p.src[at+2:at+6]), 16, 32)
	return rune(v), err == nil
}
