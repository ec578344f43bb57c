package template

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// An Escape encodes a value for the place it lands in, given what has been
// written before it.
type Escape func(before string, value any) (string, error)

// filterNamed returns a filter by its name.
func filterNamed(name string) (filter, bool) {
	switch name {
	case "json":
		return filter{name, func(v any) (any, error) { return encodeJSON(v) }}, true
	case "form":
		return filter{name, text(func(s string) (string, error) { return url.QueryEscape(s), nil })}, true
	case "base64":
		return filter{name, text(func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil })}, true
	case "header":
		return filter{name, text(headerValue)}, true
	}
	return filter{}, false
}

func text(f func(string) (string, error)) func(any) (any, error) {
	return func(v any) (any, error) {
		s, err := plain(v)
		if err != nil {
			return nil, err
		}
		return f(s)
	}
}

// plain returns the text of a scalar.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case nil:
		return "", errors.New("the value is null")
	case map[string]any:
		return "", errors.New("the value is an object: name a member, or use | json")
	case []any:
		return "", errors.New("the value is a list: name an element, or use | json")
	}
	return "", fmt.Errorf("a value of type %T cannot stand in a template", v)
}

// encodeJSON encodes without the HTML escapes of encoding/json: these bytes go
// to an HTTP API.
func encodeJSON(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", errors.New("the value cannot be written as JSON")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// headerValue refuses what would end a header field or be read differently by
// different servers: anything outside %x20-7E.
func headerValue(s string) (string, error) {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", fmt.Errorf("byte %d may not stand in a header", i+1)
		}
	}
	return s, nil
}

// Header is the Escape of header values: it refuses anything outside %x20-7E.
func Header(_ string, v any) (string, error) {
	s, err := plain(v)
	if err != nil {
		return "", err
	}
	return headerValue(s)
}

// Form is the Escape of form bodies and query strings.
func Form(_ string, v any) (string, error) {
	s, err := plain(v)
	return url.QueryEscape(s), err
}

// XML is the Escape of XML bodies.
func XML(_ string, v any) (string, error) {
	s, err := plain(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// JSON is the Escape of JSON bodies: inside a string it writes the value's text
// with JSON's escapes, elsewhere the whole value as JSON.
func JSON(before string, v any) (string, error) {
	if !insideString(before) {
		return encodeJSON(v)
	}
	s, err := plain(v)
	if err != nil {
		return "", err
	}
	if s, err = encodeJSON(s); err != nil {
		return "", err
	}
	return s[1 : len(s)-1], nil
}

// insideString reports whether JSON text that begins with before goes on
// inside a string.
func insideString(before string) bool {
	inside := false
	for i := 0; i < len(before); i++ {
		switch {
		case before[i] == '"':
			inside = !inside
		case before[i] == '\\' && inside:
			i++
		}
	}
	return inside
}

// URL is the Escape of URLs. A value at the very beginning stands as it is (it
// is a base URL); in the authority it may hold the characters of a host and a
// port only; in the path and the query it is percent-encoded. An empty value is
// refused: a URL with a hole names another place.
func URL(before string, v any) (string, error) {
	s, err := plain(v)
	if err != nil {
		return "", err
	}
	if s == "" {
		return "", errors.New("the value is empty")
	}
	_, rest, absolute := strings.Cut(before, "://")
	switch {
	case before == "":
		return s, nil
	case strings.ContainsAny(before, "?#"):
		return url.QueryEscape(s), nil
	case absolute && !strings.Contains(rest, "/"):
		for _, c := range []byte(s) {
			if !hostByte(c) {
				return "", fmt.Errorf("%q may not stand in a host", string(rune(c)))
			}
		}
		return s, nil
	case s == "." || s == "..":
		return "", errors.New("dots alone may not stand in a path")
	}
	return url.PathEscape(s), nil
}

func hostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']'
}

// Map returns the Lookup of a tree of values. A name may hold dots if it
// stands at the root.
func Map(m map[string]any) Lookup {
	return func(path string) (any, bool) { return Walk(m, path) }
}

// Walk follows a dot path, in which [n] picks an element of a list, from root.
func Walk(root any, path string) (any, bool) {
	if m, ok := root.(map[string]any); ok {
		if v, ok := m[path]; ok {
			return v, true
		}
	}
	for _, name := range strings.Split(path, ".") {
		name, index, indexed := strings.Cut(name, "[")
		if name != "" || !indexed {
			m, ok := root.(map[string]any)
			if !ok {
				return nil, false
			}
			if root, ok = m[name]; !ok {
				return nil, false
			}
		}
		for indexed {
			digits, more, closed := strings.Cut(index, "]")
			n, err := strconv.Atoi(digits)
			list, ok := root.([]any)
			if !closed || err != nil || !ok || n < 0 || n >= len(list) {
				return nil, false
			}
			root = list[n]
			if more == "" {
				break
			}
			if index, indexed = strings.CutPrefix(more, "["); !indexed {
				return nil, false
			}
		}
	}
	return root, true
}
