package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	freshet "github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Convert converts a value to what the field takes. The error names the
// activity's type and the property, and never holds the value of a text: it may
// be a secret.
func Convert(v any, f Field) (any, error) {
	out, err := convert(v, f)
	if err != nil {
		return nil, &Error{Activity: f.Activity, Property: f.Name, Err: err}
	}
	return out, nil
}

func convert(v any, f Field) (any, error) {
	if v == nil {
		return nil, nil
	}
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "" && f.Kind != Any && f.Kind != Text && f.Kind != Code && f.Kind != URL {
		return nil, nil
	}
	if _, ok := v.(freshet.Secret); ok {
		if f.Kind == Any || f.Kind == Text || f.Kind == URL {
			return v, nil
		}
		return nil, fmt.Errorf("a secret is a text, and %s is wanted", wanted(f.Kind))
	}
	switch f.Kind {
	case Any:
		return v, nil
	case Text, Code:
		return Print(v), nil
	case URL:
		return strings.ReplaceAll(strings.TrimSpace(Print(v)), " ", "%20"), nil
	case Bool:
		return toBool(v)
	case Int:
		return toInt(v)
	case Float:
		return toFloat(v)
	case Enum:
		return toEnum(v, f.Options)
	case List:
		return toList(v)
	case Texts:
		return each(v, func(v any) (any, error) {
			if v == nil {
				return nil, nil
			}
			return Print(v), nil
		})
	case Ints:
		return each(v, toInt)
	case Map:
		return toMap(v)
	case Cases:
		if c, ok := v.([]Case); ok {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%s where %s is wanted", named(v), wanted(f.Kind))
}

func toBool(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case int:
		return v != 0, nil
	case float64:
		return v != 0 && v == v, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return nil, fmt.Errorf("%s where true or false is wanted", named(v))
}

func toInt(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case int:
		return int64(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= 1<<53 {
			return int64(v), nil
		}
		return nil, fmt.Errorf("the number %v where a whole number is wanted", v)
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			return int64(f), nil
		}
	}
	return nil, fmt.Errorf("%s where a whole number is wanted", named(v))
}

func toFloat(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case int:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("%s where a number is wanted", named(v))
}

// toEnum finds an option by its name, without case. A number is for the
// activity to read.
func toEnum(v any, options []string) (any, error) {
	text := strings.TrimSpace(Print(v))
	if text == "" {
		return nil, nil
	}
	for _, o := range options {
		if strings.EqualFold(o, text) {
			return o, nil
		}
	}
	if n, err := toInt(v); err == nil {
		return strconv.FormatInt(n.(int64), 10), nil
	}
	if len(options) == 0 {
		return text, nil
	}
	return nil, fmt.Errorf("%s is none of %s", named(v), strings.Join(options, ", "))
}

func toList(v any) (any, error) {
	switch x := v.(type) {
	case []any:
		return x, nil
	case model.JSON:
		if list, ok := model.Plain(x).([]any); ok {
			return list, nil
		}
	case string:
		parsed, err := model.ParseJSON([]byte(x))
		if err == nil {
			if list, ok := model.Plain(parsed).([]any); ok {
				return list, nil
			}
		}
	case []string:
		return texts(x), nil
	}
	return nil, fmt.Errorf("%s where a list is wanted", named(v))
}

// each converts the elements of a list; a single value is a list of one.
func each(v any, one func(any) (any, error)) (any, error) {
	list, err := toList(v)
	if err != nil {
		switch v.(type) {
		case string, int64, int, float64, bool:
			list = []any{v}
		default:
			return nil, err
		}
	}
	out := make([]any, 0, len(list.([]any)))
	for i, x := range list.([]any) {
		c, err := one(x)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		if c != nil {
			out = append(out, c)
		}
	}
	return out, nil
}

func toMap(v any) (any, error) {
	switch x := v.(type) {
	case map[string]any:
		return x, nil
	case *model.Object:
		return x.Map(), nil
	case model.JSON:
		if m, ok := model.Plain(x).(map[string]any); ok {
			return m, nil
		}
	case string:
		parsed, err := model.ParseJSON([]byte(x))
		if err != nil {
			return nil, fmt.Errorf("a text that is no JSON object: %w", err)
		}
		if m, ok := model.Plain(parsed).(map[string]any); ok {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%s where an object is wanted", named(v))
}

// named is what kind of value it is, without the value.
func named(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case bool:
		return strconv.FormatBool(v)
	case int, int64, float64:
		return fmt.Sprintf("the number %v", v)
	case string:
		return fmt.Sprintf("a text of %d characters", len([]rune(v)))
	case []byte:
		return "bytes"
	case time.Time:
		return "an instant"
	case []any:
		return "a list"
	case model.JSON:
		if strings.HasPrefix(string(v), "[") {
			return "a list"
		}
		return "an object"
	case map[string]any, *model.Object:
		return "an object"
	case []Case:
		return "cases"
	}
	return fmt.Sprintf("a %T", v)
}

func wanted(k Kind) string {
	switch k {
	case Bool:
		return "true or false"
	case Int:
		return "a whole number"
	case Float:
		return "a number"
	case List, Texts, Ints:
		return "a list"
	case Map:
		return "an object"
	case Enum:
		return "one of the options"
	case Cases:
		return "a list of cases"
	}
	return "a text"
}

// plainJSON is JSON as people and other programs read it: instants as texts,
// bytes as base64, no character escaped for HTML.
func plainJSON(v any) ([]byte, error) {
	if j, ok := v.(model.JSON); ok {
		return []byte(j), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(unmarked(v)); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// unmarked replaces instants by their texts, as JSON.stringify does; objects
// keep the order of their members.
func unmarked(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	case *model.Object:
		members := v.Members()
		for i := range members {
			members[i].Value = unmarked(members[i].Value)
		}
		return model.NewObject(v.Kind(), members...)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = unmarked(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = unmarked(v[k])
		}
		return out
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	}
	return v
}
