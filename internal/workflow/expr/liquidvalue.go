package expr

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/values"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

type liquidContext = render.Context

// A lookup is an object whose members are found by asking.
type lookup func(name string) (any, bool)

// A held is an object, a list or a lookup inside a template: the library finds
// members through it, and walks over it.
type held struct{ v any }

// ToLiquid makes the library ask node.
func (h *held) ToLiquid() any { return node{h} }

// Len and Index make it something that a loop goes over: elements, or pairs of
// name and value.
func (h *held) Len() int {
	switch v := h.v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	case *model.Object:
		return v.Len()
	}
	return 0
}

// Index returns an element.
func (h *held) Index(i int) any {
	switch v := h.v.(type) {
	case []any:
		return wrap(v[i])
	case map[string]any:
		k := slices.Sorted(maps.Keys(v))[i]
		return wrap([]any{k, v[k]})
	case *model.Object:
		m := v.Members()[i]
		return wrap([]any{m.Name, m.Value})
	}
	return nil
}

// wrap makes a value one of a template.
func wrap(v any) any {
	switch x := v.(type) {
	case int64:
		return int(x)
	case model.JSON:
		return wrap(model.Plain(x))
	case []any, map[string]any:
		return &held{x}
	case *model.Object:
		if x == nil {
			return nil
		}
		return &held{x}
	case lookup:
		return &held{x}
	case []byte:
		return Print(x)
	}
	return v
}

// unwrap is the way back.
func unwrap(v any) any {
	switch x := v.(type) {
	case *held:
		return x.v
	case node:
		return x.h.v
	case values.Range:
		if x.Len() > maxElements {
			panic(errElements)
		}
		return x.AsArray()
	case []string:
		return texts(x)
	}
	return v
}

// A node is a held as the library's evaluator sees it.
type node struct{ h *held }

// Interface is what filters and assignments get.
func (n node) Interface() any { return n.h }

// Int is asked of what is no number.
func (n node) Int() int { return 0 }

// Equal compares with empty, blank and nil; two containers are never equal.
func (n node) Equal(o values.Value) bool {
	if values.IsEmpty(n.h.v) {
		other := o.Interface()
		return other != nil && values.IsEmpty(other)
	}
	return false
}

// Less orders nothing.
func (n node) Less(values.Value) bool { return false }

// Test makes it true.
func (n node) Test() bool { return true }

// Contains finds an element of a list, or a member.
func (n node) Contains(v values.Value) bool {
	want := unwrap(v.Interface())
	if list, ok := n.h.v.([]any); ok {
		return slices.ContainsFunc(list, func(x any) bool { return same(x, want) })
	}
	name, ok := want.(string)
	if !ok {
		return false
	}
	_, ok = member(n.h.v, name)
	return ok
}

// IndexValue is x[i].
func (n node) IndexValue(v values.Value) values.Value { return n.find(v.Interface()) }

// PropertyValue is x.name.
func (n node) PropertyValue(v values.Value) values.Value { return n.find(v.Interface()) }

func (n node) find(key any) values.Value {
	v, _ := member(n.h.v, unwrap(key))
	return values.ValueOf(wrap(v))
}

// member finds a member: of an object by its name, with the tolerance of the
// platform's own objects, of a list by a number from either end. What is not
// there is nil.
func member(v, key any) (any, bool) {
	if f, ok := key.(float64); ok && f == math.Trunc(f) {
		key = int(f)
	}
	switch x := v.(type) {
	case lookup:
		if name, ok := key.(string); ok {
			return x(name)
		}
	case *model.Object:
		if name, ok := key.(string); ok {
			return x.Get(name)
		}
	case map[string]any:
		name := fmt.Sprint(key)
		if found, ok := x[name]; ok {
			return found, true
		}
		if name == "size" {
			return len(x), true
		}
	case []any:
		switch k := key.(type) {
		case int:
			if k < 0 {
				k += len(x)
			}
			if k >= 0 && k < len(x) {
				return x[k], true
			}
		case string:
			switch k {
			case "size", "Count", "count", "length", "Length":
				return len(x), true
			case "first":
				return member(v, 0)
			case "last":
				return member(v, -1)
			}
		}
	}
	return nil, false
}

// same compares scalars, numbers by their value.
func same(a, b any) bool {
	if x, ok := numeric(a); ok {
		if y, ok := numeric(b); ok {
			return x == y
		}
	}
	switch a.(type) {
	case nil, string, bool:
		return a == b
	}
	if t, ok := a.(time.Time); ok {
		u, ok := b.(time.Time)
		return ok && t.Equal(u)
	}
	return false
}

// numeric is the number that a value is, texts not among them.
func numeric(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// number is the number that a value stands for; 0 if none.
func number(v any) float64 {
	if f, ok := numeric(v); ok {
		return f
	}
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
	return 0
}

// round15 gives a number as a value: whole ones as int.
func numberValue(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int(f)
	}
	return f
}

// printLiquid writes a value: instants as the platform does, objects as JSON.
func printLiquid(v any) string {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04:05Z")
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
	case lookup:
		return ""
	case markup:
		return string(v)
	}
	return Print(v)
}

// encodeHTML writes text into a page.
func encodeHTML(s string) string {
	return htmlEscaper.Replace(s)
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;")

// encodeJSON writes text into a JSON string.
func encodeJSON(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
		return s
	}
	b, err := plainJSON(s)
	if err != nil {
		return s
	}
	return string(b[1 : len(b)-1])
}

// encodingFor returns the encoding of values in content of a media type. Only
// what is sent to a browser as a page is encoded for it.
func encodingFor(property, contentType string) Encoding {
	t, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	t = strings.TrimSpace(t)
	switch {
	case strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json"):
		return JSON
	case property == "WriteHttpResponse.Content" && (t == "text/html" || t == "application/xhtml+xml"):
		return HTML
	}
	return Raw
}
