package process

import (
	"regexp"
	"strings"
)

// A piece is part of a text: words, or a reference.
type piece struct {
	text string
	ref  string // "": text
}

// reference is [Name], [body.items[0].id], [TokenKeeper-1.AccessToken] or the
// {{process.TokenKeeper-1.AccessToken}} of resources. [[Name]] stands for [Name]
// itself; brackets around anything else are what they are.
var reference = regexp.MustCompile(`\[\[[\p{L}_](?:[\p{L}\p{N}_ .-]|\[\d+\])*\]\]|\[([\p{L}_](?:[\p{L}\p{N}_ .-]|\[\d+\])*)\]|\{\{\s*process\.([^{}|]+?)\s*\}\}`)

// parse takes a text apart.
func parse(s string) []piece {
	var out []piece
	for s != "" {
		m := reference.FindStringSubmatchIndex(s)
		if m == nil {
			return append(out, piece{text: s})
		}
		if m[0] > 0 {
			out = append(out, piece{text: s[:m[0]]})
		}
		switch {
		case m[2] >= 0:
			out = append(out, piece{ref: s[m[2]:m[3]]})
		case m[4] >= 0:
			out = append(out, piece{ref: s[m[4]:m[5]]})
		default:
			out = append(out, piece{text: s[m[0]+1 : m[1]-1]})
		}
		s = s[m[1]:]
	}
	return out
}

// refs lists what a text refers to.
func refs(s string) []string {
	var out []string
	for _, p := range parse(s) {
		if p.ref != "" {
			out = append(out, p.ref)
		}
	}
	return out
}

var name = regexp.MustCompile(`^\[([\p{L}_][\p{L}\p{N}_ .-]*)\]`)

// translate turns [Field] in JavaScript into globals $0, $1 …, and lists what
// they stand for. Strings, templates and comments stay; brackets after a value
// are an index, whose name alone is replaced.
func translate(source string) (script string, names []string) {
	var b strings.Builder
	global := func(ref string) string {
		for i, n := range names {
			if n == ref {
				return "$" + itoa(i)
			}
		}
		names = append(names, ref)
		return "$" + itoa(len(names)-1)
	}
	for i := 0; i < len(source); {
		c := source[i]
		end := i + 1
		switch {
		case c == '"' || c == '\'' || c == '`':
			for end < len(source) && source[end] != c {
				if source[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(source))
		case strings.HasPrefix(source[i:], "//"):
			for end < len(source) && source[end] != '\n' {
				end++
			}
		case strings.HasPrefix(source[i:], "/*"):
			if n := strings.Index(source[i+2:], "*/"); n >= 0 {
				end = i + 2 + n + 2
			} else {
				end = len(source)
			}
		case c == '[':
			m := name.FindStringSubmatch(source[i:])
			if m == nil {
				break
			}
			end = i + len(m[0])
			g := global(m[1])
			if indexed(strings.TrimRight(b.String(), " \t\r\n")) {
				g = "[" + g + "]"
			}
			b.WriteString(g)
			i = end
			continue
		}
		b.WriteString(source[i:end])
		i = end
	}
	return b.String(), names
}

// lastWord is the name that a script ends in.
var lastWord = regexp.MustCompile(`[\p{L}\p{N}_$]+$`)

// operators are words after which brackets begin a value.
var operators = map[string]bool{"return": true, "typeof": true, "in": true, "of": true, "case": true, "void": true, "delete": true, "instanceof": true,
	"else": true, "do": true, "throw": true, "await": true, "yield": true}

// indexed reports whether brackets after a script would be an index.
func indexed(script string) bool {
	if strings.HasSuffix(script, ")") || strings.HasSuffix(script, "]") {
		return true
	}
	w := lastWord.FindString(script)
	return w != "" && !operators[w]
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// member is what a reference names in an answer: body.x, headers.X.
func member(ref, root string) (rest string, ok bool) {
	if ref == root {
		return "", true
	}
	return strings.CutPrefix(ref, root+".")
}

// other splits INSTANCE.FIELD of another form.
func other(ref string) (instance, field string, ok bool) {
	i := strings.LastIndexByte(ref, '.')
	if i <= 0 || i == len(ref)-1 {
		return "", "", false
	}
	return ref[:i], ref[i+1:], true
}
