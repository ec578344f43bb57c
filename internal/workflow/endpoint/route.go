package endpoint

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A template is an endpoint's path: literal segments, and parameters in braces
// as {id}, {id:int}, {id?}, {id=7}, {*rest}.
type template struct {
	text     string // canonical: lower case, a slash in front and none at the end
	segments []segment
}

// A segment is a part of a path between slashes.
type segment struct {
	literal    string // in lower case; "" for a parameter
	name       string // of the parameter, as written
	constraint string // "" takes anything
	optional   bool
	def        string // value of an optional one that is not there
	rest       bool   // takes everything that follows
}

// constraints are what a parameter may be held to.
var constraints = map[string]func(string) bool{
	"int":     func(s string) bool { _, err := strconv.ParseInt(s, 10, 32); return err == nil },
	"long":    func(s string) bool { _, err := strconv.ParseInt(s, 10, 64); return err == nil },
	"decimal": func(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil },
	"double":  func(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil },
	"float":   func(s string) bool { _, err := strconv.ParseFloat(s, 32); return err == nil },
	"bool":    func(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") },
	"guid":    guid.MatchString,
	"alpha":   func(s string) bool { return strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz") == "" },
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$`)

// limits of a path.
const (
	maxPath     = 4096
	maxSegments = 64
)

// parseTemplate reads the Path of an endpoint, with or without a slash in front.
func parseTemplate(text string) (template, error) {
	text = strings.TrimSpace(text)
	for i, depth := 0, 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '?':
			if depth <= 0 {
				text = text[:i] // a query is no part of a path
			}
		}
	}
	if text = strings.TrimSpace(text); strings.Contains(text, "//") {
		return template{}, errors.New("it has two slashes in a row")
	}
	if len(text) > maxPath {
		return template{}, fmt.Errorf("it is longer than %d bytes", maxPath)
	}
	trimmed := strings.TrimSuffix(strings.TrimPrefix(text, "/"), "/")
	if trimmed == "" {
		if text == "" {
			return template{}, errors.New("it is blank")
		}
		return template{text: "/"}, nil
	}
	var t template
	var b strings.Builder
	names := map[string]bool{}
	raw := strings.Split(trimmed, "/")
	if len(raw) > maxSegments {
		return template{}, fmt.Errorf("it has more than %d segments", maxSegments)
	}
	for i, part := range raw {
		s, err := parseSegment(part)
		if err != nil {
			return template{}, err
		}
		if last := i == len(raw)-1; (s.optional || s.rest) && !last {
			return template{}, fmt.Errorf("{%s} can be left out or takes the rest of the path, so it must come last", s.name)
		}
		if s.name != "" {
			if names[strings.ToLower(s.name)] {
				return template{}, fmt.Errorf("{%s} is there twice", s.name)
			}
			names[strings.ToLower(s.name)] = true
		}
		t.segments = append(t.segments, s)
		b.WriteByte('/')
		if s.name == "" {
			b.WriteString(url.PathEscape(s.literal))
		} else {
			b.WriteString(strings.ToLower(part))
		}
	}
	t.text = b.String()
	return t, nil
}

func parseSegment(part string) (segment, error) {
	if !strings.ContainsAny(part, "{}") {
		plain, err := url.PathUnescape(part)
		switch {
		case err != nil || !utf8.ValidString(plain):
			return segment{}, fmt.Errorf("%q is not percent-encoded as it should be", part)
		case plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\") || strings.IndexFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
			return segment{}, fmt.Errorf("the segment %q cannot be part of a path", part)
		}
		return segment{literal: strings.ToLower(plain)}, nil
	}
	inner, ok := strings.CutPrefix(part, "{")
	if inner, ok = cutSuffix(inner, "}", ok); !ok || strings.ContainsAny(inner, "{}") {
		return segment{}, fmt.Errorf("%q: a parameter is a whole segment, {name}", part)
	}
	var s segment
	for strings.HasPrefix(inner, "*") && !strings.HasPrefix(inner, "***") {
		inner, s.rest, s.optional = inner[1:], true, true
		if !strings.HasPrefix(inner, "*") {
			break
		}
	}
	if name, def, ok := strings.Cut(inner, "="); ok {
		inner, s.def, s.optional = name, def, true
	}
	if name, ok := strings.CutSuffix(inner, "?"); ok {
		inner, s.optional = name, true
	}
	s.name, s.constraint, _ = strings.Cut(inner, ":")
	if s.constraint = strings.ToLower(s.constraint); s.constraint != "" && constraints[s.constraint] == nil {
		return segment{}, fmt.Errorf("%q: there is no constraint %q here (int, long, decimal, double, float, bool, guid, alpha)", part, s.constraint)
	}
	if s.name == "" || strings.ContainsAny(s.name, "* ?.,") {
		return segment{}, fmt.Errorf("%q: the parameter needs a name", part)
	}
	return s, nil
}

func cutSuffix(s, suffix string, before bool) (string, bool) {
	s, ok := strings.CutSuffix(s, suffix)
	return s, ok && before
}

// shape is what two templates that match the same paths have in common.
func (t template) shape() string {
	var b strings.Builder
	for _, s := range t.segments {
		b.WriteByte('/')
		switch {
		case s.name == "":
			b.WriteString(url.PathEscape(s.literal))
		case s.rest:
			b.WriteString("{*}")
		case s.optional:
			b.WriteString("{?" + s.constraint + "}")
		default:
			b.WriteString("{" + s.constraint + "}")
		}
	}
	return b.String()
}

// first is the first segment, by which parts of the server are told apart. A
// parameter there matches every one.
func (t template) first() (literal string, parameter bool) {
	if len(t.segments) == 0 {
		return "", false
	}
	return t.segments[0].literal, t.segments[0].name != ""
}

// rank orders templates that match one path: the more literal, the earlier.
func (t template) rank() string {
	b := make([]byte, len(t.segments))
	for i, s := range t.segments {
		switch {
		case s.name == "":
			b[i] = 'a'
		case s.rest:
			b[i] = 'e'
		case s.constraint != "":
			b[i] = 'b'
		case s.optional:
			b[i] = 'd'
		default:
			b[i] = 'c'
		}
	}
	return string(b)
}

// static reports whether the path has no parameters.
func (t template) static() bool {
	return !slices.ContainsFunc(t.segments, func(s segment) bool { return s.name != "" })
}

// match returns the values of the parameters if a path, taken apart by split, is
// one of t's. They go by their names as written, and by those in lower case,
// into which the platform turns paths.
func (t template) match(segs []string) (values map[string]any, ok bool) {
	values = map[string]any{}
	take := func(s segment, v string) {
		values[strings.ToLower(s.name)], values[s.name] = v, v
	}
	for i, s := range t.segments {
		switch {
		case s.rest:
			v := s.def
			if i < len(segs) {
				v = strings.Join(segs[i:], "/")
			}
			if v != "" {
				take(s, v)
			}
			return values, true
		case i >= len(segs):
			if !s.optional {
				return nil, false
			}
			if s.def != "" {
				take(s, s.def)
			}
		case s.name == "":
			if !strings.EqualFold(segs[i], s.literal) {
				return nil, false
			}
		default:
			if check := constraints[s.constraint]; check != nil && !check(segs[i]) {
				return nil, false
			}
			take(s, segs[i])
		}
	}
	return values, len(segs) <= len(t.segments)
}

// split takes the path of a request apart by its escaped bytes, so that an
// encoded slash belongs to its segment. ok is false for a path that is none.
func split(escaped string) (segs []string, ok bool) {
	if len(escaped) > maxPath || !strings.HasPrefix(escaped, "/") || strings.Contains(escaped, "//") {
		return nil, false
	}
	trimmed := strings.TrimSuffix(escaped[1:], "/")
	if trimmed == "" {
		return nil, true
	}
	segs = strings.Split(trimmed, "/")
	if len(segs) > maxSegments {
		return nil, false
	}
	for i, s := range segs {
		plain, err := url.PathUnescape(s)
		if err != nil || s == "" || plain == "." || plain == ".." {
			return nil, false
		}
		segs[i] = plain
	}
	return segs, true
}
