// Package template is the template language of resource files: text with
// {{places}} that name values. It has paths, quoted text and filters, and no
// code: a template cannot loop, branch or call anything, and takes time linear
// in its size.
//
//	Bearer {{access_token}}
//	{"user": {{username | json}}, "tenant": "{{answer.tenants[0].id}}"}
//	Basic {{username ":" password | base64}}
//
// Values and quoted text that stand beside each other in one place are joined
// before the filters run. The filters are json (any value as JSON), form (query
// encoding), base64 (standard, padded) and header (refuses what a header may
// not hold). A value that no filter encoded is encoded by an [Escape] for the
// place it lands in: a URL, a JSON body, a form body, a header.
//
// A name that has no value is an error, never an empty string.
package template

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Error says what is wrong with a template, and where. It names paths and
// places, never a value.
type Error struct {
	Template string // what Compile called it, such as a resource's field
	Line     int    // from 1
	Column   int    // from 1, in bytes
	Msg      string
	Missing  string // the path that had no value, if that is the trouble
}

// Error returns "NAME:LINE:COLUMN: what is wrong".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Template, e.Line, e.Column, e.Msg)
}

// A Lookup returns the value of a dot path and whether it has one. Values are
// what encoding/json decodes to: string, json.Number or float64, bool, nil,
// []any and map[string]any; integers are taken too.
type Lookup func(path string) (value any, ok bool)

// A Template is compiled text. It is immutable and safe for concurrent use.
type Template struct {
	name  string
	text  string
	parts []part
}

// A part is literal text, or a place when operands is not empty.
type part struct {
	text     string
	at       int // offset of the place in the template's text
	operands []operand
	filters  []filter
}

type operand struct {
	path string // empty: text
	text string
	at   int
}

type filter struct {
	name  string
	apply func(value any) (any, error)
}

// maxText bounds a template: they are written by people.
const maxText = 64 << 10

// Compile reads text. The name says in errors which template it was.
func Compile(name, text string) (*Template, error) {
	t := &Template{name: name, text: text}
	if len(text) > maxText {
		return nil, t.fault(0, "a template is at most %d bytes long, not %d", maxText, len(text))
	}
	for at := 0; at < len(text); {
		open := strings.Index(text[at:], "{{")
		if open < 0 {
			t.parts = append(t.parts, part{text: text[at:]})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: text[at : at+open]})
		}
		p, next, err := t.place(at + open)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		at = next
	}
	return t, nil
}

// place reads one {{place}} that begins at offset open and returns the offset
// after it.
func (t *Template) place(open int) (part, int, error) {
	p := part{at: open}
	filters := false
	for at := open + 2; ; {
		at += spaces(t.text[at:])
		rest := t.text[at:]
		switch {
		case rest == "":
			return p, 0, t.fault(open, "{{ has no }}")
		case strings.HasPrefix(rest, "}}"):
			if len(p.operands) == 0 {
				return p, 0, t.fault(open, "{{ }} names no value")
			}
			if filters && len(p.filters) == 0 {
				return p, 0, t.fault(at, "| names no filter: use json, form, base64 or header")
			}
			return p, at + 2, nil
		case rest[0] == '|':
			if len(p.operands) == 0 {
				return p, 0, t.fault(at, "| stands before any value")
			}
			at++
			at += spaces(t.text[at:])
			name := word(t.text[at:])
			f, ok := filterNamed(name)
			if !ok {
				return p, 0, t.fault(at, "filter %q is not known: use json, form, base64 or header", name)
			}
			p.filters = append(p.filters, f)
			filters = true
			at += len(name)
		case filters:
			return p, 0, t.fault(at, "after a filter comes | or }}")
		case rest[0] == '"' || rest[0] == '\'':
			text, n, ok := quoted(rest)
			if !ok {
				return p, 0, t.fault(at, "quoted text has no end")
			}
			p.operands = append(p.operands, operand{text: text, at: at})
			at += n
		default:
			path := word(rest)
			if path == "" {
				return p, 0, t.fault(at, "%q does not belong into {{ }}", firstRune(rest))
			}
			if strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || strings.Contains(path, "..") {
				return p, 0, t.fault(at, "%q is not a path: names stand between single dots", path)
			}
			p.operands = append(p.operands, operand{path: path, at: at})
			at += len(path)
		}
	}
}

func spaces(s string) int { return len(s) - len(strings.TrimLeft(s, " \t\r\n")) }

// word returns the longest prefix of s that can be a path or a filter's name.
func word(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r == utf8.RuneError || strings.ContainsRune("{}|\"'\x7f", r)
	})
	if end < 0 {
		return s
	}
	return s[:end]
}

// quoted reads the quoted text that s begins with, in which a backslash takes
// the next character as it is, and returns it and its length in s.
func quoted(s string) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), i + 1, true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", 0, false
}

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// fault returns an Error at an offset of the template's text.
func (t *Template) fault(at int, format string, args ...any) *Error {
	before := t.text[:at]
	return &Error{
		Template: t.name,
		Line:     1 + strings.Count(before, "\n"),
		Column:   len(before) - strings.LastIndexByte(before, '\n'),
		Msg:      fmt.Sprintf(format, args...),
	}
}

// Paths returns the paths that t names, in order, each once.
func (t *Template) Paths() []string {
	var paths []string
	seen := map[string]bool{}
	for _, p := range t.parts {
		for _, o := range p.operands {
			if o.path != "" && !seen[o.path] {
				seen[o.path] = true
				paths = append(paths, o.path)
			}
		}
	}
	return paths
}

// Text returns the source of t.
func (t *Template) Text() string { return t.text }

// Execute fills in t as plain text: values that no filter encoded stand as
// they are. Errors are of type *Error.
func (t *Template) Execute(values Lookup) (string, error) { return t.Render(values, nil) }

// Render fills in t. Values that no filter encoded go through escape, which
// sees what has been written before them. Errors are of type *Error.
func (t *Template) Render(values Lookup, escape Escape) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if len(p.operands) == 0 {
			b.WriteString(p.text)
			continue
		}
		v, err := t.value(p, values)
		if err != nil {
			return "", err
		}
		for _, f := range p.filters {
			if v, err = f.apply(v); err != nil {
				return "", t.fault(p.at, "%s | %s: %v", p.label(), f.name, err)
			}
		}
		var s string
		if escape != nil && len(p.filters) == 0 {
			s, err = escape(b.String(), v)
		} else {
			s, err = plain(v)
		}
		if err != nil {
			return "", t.fault(p.at, "%s: %v", p.label(), err)
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// value joins the operands of p. A single one keeps its type for the json
// filter.
func (t *Template) value(p part, values Lookup) (any, error) {
	var joined strings.Builder
	for _, o := range p.operands {
		var v any = o.text
		if o.path != "" {
			found := false
			if v, found = values(o.path); !found {
				e := t.fault(o.at, "%s has no value", o.path)
				e.Missing = o.path
				return nil, e
			}
		}
		if len(p.operands) == 1 {
			return v, nil
		}
		s, err := plain(v)
		if err != nil {
			return nil, t.fault(o.at, "%s: %v", o.path, err)
		}
		joined.WriteString(s)
	}
	return joined.String(), nil
}

// label names p in errors.
func (p part) label() string {
	var names []string
	for _, o := range p.operands {
		if o.path != "" {
			names = append(names, o.path)
		}
	}
	if len(names) == 0 {
		return "quoted text"
	}
	return strings.Join(names, " ")
}

// Fill compiles text and fills it in at once, for templates that are used once.
func Fill(name, text string, values Lookup, escape Escape) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := Compile(name, text)
	if err != nil {
		return "", err
	}
	return t.Render(values, escape)
}
