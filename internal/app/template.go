package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A template is text with {{ JavaScript }} in it. texts has one element more
// than code.
type template struct {
	texts []string
	code  []string
}

// parse takes a text apart. Braces inside of JavaScript's own strings, comments
// and blocks end no {{ }}.
func parse(text string) (template, error) {
	var t template
	for {
		before, rest, found := strings.Cut(text, "{{")
		t.texts = append(t.texts, before)
		if !found {
			return t, nil
		}
		end := closing(rest)
		if end < 0 {
			return t, errors.New("{{ has no }}")
		}
		code := strings.TrimSpace(rest[:end])
		t.code = append(t.code, strings.TrimRight(code, "; \t\n"))
		if t.code[len(t.code)-1] == "" {
			return t, errors.New("{{ }} holds nothing")
		}
		text = rest[end+2:]
	}
}

// closing finds the }} that ends the JavaScript at the beginning of s.
func closing(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		n := skip(s[i:])
		if n > 0 {
			i += n
			continue
		}
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(s[i:], "}}") {
				return i
			}
			depth--
		}
		i++
	}
	return -1
}

// skip is how long the string or comment at the beginning of s is, 0 if there is
// none. A template literal is no string: what is in it may be code.
func skip(s string) int {
	switch {
	case strings.HasPrefix(s, "//"):
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return i
		}
		return len(s)
	case strings.HasPrefix(s, "/*"):
		if i := strings.Index(s[2:], "*/"); i >= 0 {
			return i + 4
		}
		return len(s)
	case s[0] == '"' || s[0] == '\'':
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case s[0]:
				return i + 1
			case '\n':
				return 1 // a lone apostrophe, as in a regular expression
			}
		}
		return 1
	}
	return 0
}

// whole reports whether the template is one {{ }} and nothing beside blanks.
func (t *template) whole() bool {
	return len(t.code) == 1 && strings.TrimSpace(t.texts[0]) == "" && strings.TrimSpace(t.texts[1]) == ""
}

// A value is what one {{ }} gave: JSON of anything, "" for undefined.
type value string

// text is the value as it stands in running text: a string as it is, nothing for
// undefined and null, else JSON.
func (v value) text() string {
	switch {
	case v == "" || v == "null":
		return ""
	case v[0] == '"':
		var s string
		if json.Unmarshal([]byte(v), &s) == nil {
			return s
		}
	}
	return string(v)
}

// nothing reports whether the value is undefined, null or a text without
// characters.
func (v value) nothing() bool { return v == "" || v == "null" || v == `""` }

// plain fills values into running text.
func (t *template) plain(values []value) string {
	var b strings.Builder
	for i, s := range t.texts {
		b.WriteString(s)
		if i < len(values) {
			b.WriteString(values[i].text())
		}
	}
	return b.String()
}

// url fills values into a URL, each percent-encoded once, so that none can add a
// segment or a parameter. What stands in front of everything else may be a whole
// base, which is taken as it is.
func (t *template) url(values []value) string {
	var b strings.Builder
	for i, s := range t.texts {
		b.WriteString(s)
		if i >= len(values) {
			break
		}
		if b.Len() == 0 {
			b.WriteString(values[i].text())
			continue
		}
		b.WriteString(percent(values[i].text()))
	}
	return b.String()
}

// percent encodes all but what RFC 3986 calls unreserved.
func percent(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// form fills values into a form that is written as one text.
func (t *template) form(values []value) string {
	var b strings.Builder
	for i, s := range t.texts {
		b.WriteString(s)
		if i < len(values) {
			b.WriteString(percent(values[i].text()))
		}
	}
	return b.String()
}

// json fills values into JSON. A value stands there as JSON of its own kind: a
// text gets its quotes, or, if somebody wrote quotes around the braces, does
// not get them twice; within a longer text it is escaped as part of it. The
// error says that the whole is no JSON, and shows none of it.
func (t *template) json(values []value) (string, error) {
	var b strings.Builder
	open := false // within a string of the text
	for i, s := range t.texts {
		alone := false // "{{ }}": the quotes are not needed
		if i > 0 && open && strings.HasSuffix(t.texts[i-1], `"`) && strings.HasPrefix(s, `"`) && !escapedQuote(t.texts[i-1]) {
			alone = true
		}
		if i > 0 {
			v := values[i-1]
			switch {
			case alone:
				out := strings.TrimSuffix(b.String(), `"`)
				b.Reset()
				b.WriteString(out)
				b.WriteString(v.json())
				s, open = s[1:], false
			case open:
				q, err := json.Marshal(v.text())
				if err != nil {
					return "", err
				}
				b.Write(q[1 : len(q)-1])
			default:
				b.WriteString(v.json())
			}
		}
		b.WriteString(s)
		open = inString(s, open)
	}
	out := b.String()
	if strings.TrimSpace(out) == "" {
		return out, nil
	}
	if err := valid(out); err != nil {
		return "", err
	}
	return out, nil
}

// json is the value in JSON, which has no word for undefined.
func (v value) json() string {
	if v == "" {
		return "null"
	}
	return string(v)
}

func escapedQuote(s string) bool {
	n := 0
	for i := len(s) - 2; i >= 0 && s[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// inString reports whether JSON is within a string behind s.
func inString(s string, open bool) bool {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && open:
			i++
		case s[i] == '"':
			open = !open
		}
	}
	return open
}

func valid(s string) error {
	var v any
	err := json.Unmarshal([]byte(s), &v)
	if err == nil {
		return nil
	}
	line := 1
	var at *json.SyntaxError
	if errors.As(err, &at) && at.Offset <= int64(len(s)) {
		line += strings.Count(s[:at.Offset], "\n")
	}
	return fmt.Errorf("with its values filled in, the body is no JSON (line %d): check commas and quotes, or give content_type: text", line)
}

// A reference is a name with the members that an expression reads of it, such as
// query.data.results.
type reference struct {
	name    string
	members []string
}

// member returns the nth member, "" if there is none.
func (r reference) member(n int) string {
	if n < len(r.members) {
		return r.members[n]
	}
	return ""
}

// references lists what a piece of JavaScript refers to by names. It reads no
// grammar: local names are listed too.
func references(code string) []reference {
	var out []reference
	joined := false // a dot stands before
	for i := 0; i < len(code); {
		if n := skip(code[i:]); n > 0 {
			i += n
			joined = false
			continue
		}
		c := code[i]
		switch {
		case c == '.':
			// ... spreads a value, and reads no member
			joined = !strings.HasPrefix(code[i:], "...") && (i < 2 || code[i-2:i] != "..")
			i++
		case c == '?' && strings.HasPrefix(code[i:], "?."):
			joined = true
			i += 2
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case wordByte(c):
			start := i
			for i < len(code) && wordByte(code[i]) {
				i++
			}
			word := code[start:i]
			if word == "$" && i < len(code) && code[i] == '{' {
				continue // ${ } in a template literal
			}
			switch {
			case joined && len(out) > 0:
				out[len(out)-1].members = append(out[len(out)-1].members, word)
			case joined, word[0] >= '0' && word[0] <= '9':
				// a member of what is no name: f().x
			default:
				out = append(out, reference{name: word})
			}
			joined = false
			if next := strings.TrimLeft(code[i:], " \t\r\n"); !strings.HasPrefix(next, ".") && !strings.HasPrefix(next, "?.") {
				out = append(out, reference{}) // what follows belongs to none
			}
		default:
			joined = false
			if len(out) > 0 && out[len(out)-1].name != "" {
				out = append(out, reference{})
			}
			i++
		}
	}
	named := out[:0]
	for _, r := range out {
		if r.name != "" {
			named = append(named, r)
		}
	}
	return named
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}
