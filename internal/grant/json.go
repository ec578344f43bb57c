package grant

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Answers are read by a scanner of our own. encoding/json matches member names
// without case, lets the last of two members win, replaces bytes that are not
// UTF-8 and gives nothing at all back for an object that breaks off; each of
// these loses or forges a token. This one is strict about structure and keeps
// what was complete before the structure broke.

const (
	maxDepth   = 64
	maxMembers = 4096 // of one object; bounds memory for a body of MaxBody bytes
)

// A scanState says how far a value could be read.
type scanState int

const (
	whole  scanState = iota
	torn             // the bytes ended inside the value
	broken           // not JSON, or deeper than maxDepth
)

// A node is a JSON value as the bytes it came in. The zero node is no value.
type node struct {
	raw []byte
}

// A member is one name and value of an object.
type member struct {
	name  string
	value node
}

// kind returns the first byte of what n is: one of { [ " t f n, 0 for a number
// and ? for a bare word that is no JSON.
func (n node) kind() byte {
	if len(n.raw) == 0 {
		return '?'
	}
	switch c := n.raw[0]; c {
	case '{', '[', '"':
		return c
	}
	switch string(n.raw) {
	case "true", "false", "null":
		return n.raw[0]
	}
	if isNumber(n.raw) {
		return '0'
	}
	return '?'
}

// str returns the text of a JSON string; ok is false for anything else.
func (n node) str() (s string, ok bool) {
	if n.kind() != '"' {
		return "", false
	}
	return unquote(n.raw)
}

// text returns the text of a string, the literal of a number, "true" or
// "false"; "" for all else.
func (n node) text() string {
	switch n.kind() {
	case '"':
		s, _ := n.str()
		return s
	case '0', 't', 'f':
		return string(n.raw)
	}
	return ""
}

// members lists what of an object is complete. Of a container that breaks off
// it lists what came before.
func (n node) members() []member {
	ms, _, _ := scanObject(n.raw, 0, 1)
	return ms
}

// elements lists what of an array is complete, at most max.
func (n node) elements(max int) []node {
	var out []node
	b := n.raw
	if len(b) == 0 || b[0] != '[' {
		return nil
	}
	for i := 1; len(out) < max; {
		i = skipSpace(b, i)
		if i >= len(b) || b[i] == ']' {
			break
		}
		end, st := scanValue(b, i, 1)
		if st == whole || b[i] == '{' || b[i] == '[' {
			out = append(out, node{b[i:end]})
		}
		if st != whole {
			break
		}
		if i = skipSpace(b, end); i >= len(b) || b[i] != ',' {
			break
		}
		i++
	}
	return out
}

// member returns the first member of that very name.
func (n node) member(name string) (node, bool) {
	if len(n.raw) == 0 || n.raw[0] != '{' {
		return node{}, false
	}
	return pick(n.members(), name)
}

func pick(ms []member, name string) (node, bool) {
	for _, m := range ms {
		if m.name == name {
			return m.value, true
		}
	}
	return node{}, false
}

// same reports whether two values of a repeated member say the same.
func same(a, b node) bool {
	x, xs := a.str()
	y, ys := b.str()
	if xs && ys {
		return x == y
	}
	return string(a.raw) == string(b.raw)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// scanObject reads the object that begins at b[i]. A member whose value is an
// unfinished container is listed with what there is of it, so that what is
// complete inside can be found; an unfinished text or number is not.
func scanObject(b []byte, i, depth int) (ms []member, end int, st scanState) {
	if i >= len(b) || b[i] != '{' || depth > maxDepth {
		return nil, i, broken
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return nil, i + 1, whole
	}
	for {
		if i >= len(b) {
			return ms, len(b), torn
		}
		if b[i] != '"' || len(ms) == maxMembers {
			return ms, i, broken
		}
		nameEnd, st := scanString(b, i)
		if st != whole {
			return ms, len(b), st
		}
		name, ok := unquote(b[i:nameEnd])
		if !ok {
			name = string(b[i:nameEnd]) // quotes included: equal to no name that we look for
		}
		if i = skipSpace(b, nameEnd); i >= len(b) {
			return ms, len(b), torn
		}
		if b[i] != ':' {
			return ms, i, broken
		}
		if i = skipSpace(b, i+1); i >= len(b) {
			return ms, len(b), torn
		}
		valueEnd, st := scanValue(b, i, depth+1)
		if st == whole || b[i] == '{' || b[i] == '[' {
			ms = append(ms, member{name, node{b[i:valueEnd]}})
		}
		if st != whole {
			return ms, valueEnd, st
		}
		if i = skipSpace(b, valueEnd); i >= len(b) {
			return ms, len(b), torn
		}
		switch b[i] {
		case '}':
			return ms, i + 1, whole
		case ',':
			i = skipSpace(b, i+1)
		default:
			return ms, i, broken
		}
	}
}

// scanValue finds the end of the value that begins at b[i], without keeping
// anything of it. A bare word that is no JSON, such as NaN, counts as a value
// of its own kind, so that it costs no more than its member.
func scanValue(b []byte, i, depth int) (end int, st scanState) {
	switch b[i] {
	case '"':
		return scanString(b, i)
	case '{', '[':
		return scanContainer(b, i, depth)
	}
	for end = i; end < len(b); end++ {
		switch c := b[end]; {
		case c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if end == i {
				return i, broken
			}
			return end, whole
		case c == ':' || c == '"' || c == '{' || c == '[' || c < ' ':
			return end, broken
		}
	}
	return end, torn // more digits may have followed
}

func scanContainer(b []byte, i, depth int) (end int, st scanState) {
	if depth > maxDepth {
		return i, broken
	}
	object := b[i] == '{'
	closing := byte(']')
	if object {
		closing = '}'
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == closing {
		return i + 1, whole
	}
	for {
		if i >= len(b) {
			return len(b), torn
		}
		if object {
			if b[i] != '"' {
				return i, broken
			}
			if i, st = scanString(b, i); st != whole {
				return i, st
			}
			if i = skipSpace(b, i); i >= len(b) {
				return len(b), torn
			}
			if b[i] != ':' {
				return i, broken
			}
			if i = skipSpace(b, i+1); i >= len(b) {
				return len(b), torn
			}
		}
		if i, st = scanValue(b, i, depth+1); st != whole {
			return i, st
		}
		if i = skipSpace(b, i); i >= len(b) {
			return len(b), torn
		}
		switch b[i] {
		case closing:
			return i + 1, whole
		case ',':
			i = skipSpace(b, i+1)
		default:
			return i, broken
		}
	}
}

// scanString finds the end of the string that begins at b[i]. Bytes that a
// string should not hold as they are, control characters and bad UTF-8, pass:
// whoever uses the string decides.
func scanString(b []byte, i int) (end int, st scanState) {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1, whole
		case '\\':
			i++
		}
	}
	return len(b), torn
}

// unquote returns the text of a complete JSON string; ok is false when it holds
// an escape that JSON does not have. Bytes that are not UTF-8 stay as they are.
func unquote(raw []byte) (s string, ok bool) {
	raw = raw[1 : len(raw)-1]
	plain := true
	for _, c := range raw {
		if c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return string(raw), true
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case '"', '\\', '/':
			out = append(out, raw[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(raw, i+1)
			if !ok {
				return "", false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
					low, ok = hex4(raw, i+3)
				}
				if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
					r = pair
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", false
		}
	}
	return string(out), true
}

func hex4(b []byte, i int) (rune, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[i:i+4]), 16, 32)
	return rune(n), err == nil
}

// quote returns s as a JSON string. It keeps bytes that are not UTF-8, so that
// unquote gives back exactly s.
func quote(s string) []byte {
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(s)+2)
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < ' ':
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// isNumber reports whether b is a JSON number, RFC 8259 §6.
func isNumber(b []byte) bool {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	start := i
	i = digits(b, i)
	if i == start || b[start] == '0' && i > start+1 {
		return false
	}
	return isFraction(b, i)
}

// isDecimal reports whether s is a decimal number as lifetimes are written:
// sign, leading zeros, fraction and exponent allowed.
func isDecimal(s string) bool {
	b := []byte(s)
	i := 0
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		i++
	}
	start := i
	i = digits(b, i)
	return i > start && isFraction(b, i)
}

// isFraction reports whether b[i:] is nothing, a fraction, an exponent or both.
func isFraction(b []byte, i int) bool {
	if i < len(b) && b[i] == '.' {
		start := i + 1
		if i = digits(b, start); i == start {
			return false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '-' || b[i] == '+') {
			i++
		}
		start := i
		if i = digits(b, i); i == start {
			return false
		}
	}
	return i == len(b)
}

func digits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}
