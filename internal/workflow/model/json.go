package model

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDepth is how many levels a value of a run may have. A deeper one is
// refused where it comes in, because each level costs whoever walks it.
const MaxDepth = 200

// ErrDepth says that a value has more than [MaxDepth] levels.
var ErrDepth = fmt.Errorf("the value has more than %d levels", MaxDepth)

// JSON is a value of a run that nobody decoded yet: the text of one JSON object
// or list, which [ParseJSON] found sound. It keeps what a Go map loses, the
// order of members and the digits of numbers, so that a workflow that hands on
// what an API answered hands on just that; and scripts parse it themselves.
// Whoever wants to look inside asks [Plain].
type JSON string

// MarshalJSON returns the text.
func (j JSON) MarshalJSON() ([]byte, error) { return []byte(j), nil }

// ParseJSON returns the value of a JSON text: a JSON for an object or a list,
// the value itself for anything else. It refuses what is no JSON, and what has
// more than [MaxDepth] levels.
func ParseJSON(text []byte) (any, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if err := checkDepth(text, MaxDepth); err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		var v any
		err := json.Unmarshal(text, &v)
		if err == nil {
			err = errors.New("not JSON")
		}
		return nil, err
	}
	if text[0] == '{' || text[0] == '[' {
		return JSON(strings.ToValidUTF8(string(text), "\uFFFD")), nil
	}
	return decode(text)
}

// checkDepth counts brackets outside strings; whether they match is for the
// parser to say.
func checkDepth(text []byte, limit int) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return ErrDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// decode reads JSON text with whole numbers as int64.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v.String())
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// number is an int64 where the text is that of one that a script's numbers
// hold exactly, else a float64.
func number(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s != "-0" {
		return n
	}
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

// Plain returns v without the types of this package, at every level: objects
// as maps, JSON decoded. Instants and bytes stay. It is the caller's own.
func Plain(v any) any {
	switch v := v.(type) {
	case JSON:
		d, err := decode([]byte(v))
		if err != nil {
			return string(v)
		}
		return d
	case *Object:
		if v == nil {
			return nil
		}
		return plainMap(v.Map())
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = Plain(v[i])
		}
		return out
	case map[string]any:
		return plainMap(maps.Clone(v))
	}
	return v
}

func plainMap(m map[string]any) map[string]any {
	for k, v := range m {
		m[k] = Plain(v)
	}
	return m
}

// mark is the member that says, in stored JSON, that an object stands for
// something else. A user's own object with a member of that name is wrapped, so
// that it comes back as it was.
const mark = "$freshet"

// Marshal returns the JSON in which values of a run are stored: instants, bytes
// and objects keep what they are. It refuses what no script, decoder or
// activity makes: functions, channels, more than [MaxDepth] levels.
func Marshal(v any) ([]byte, error) {
	e := Encoder{Mark: mark, escape: true}
	b, err := e.Append(nil, v)
	if err != nil {
		return nil, fmt.Errorf("store a value: %w", err)
	}
	return b, nil
}

// Unmarshal reads what Marshal wrote, and any other JSON.
func Unmarshal(b []byte) (any, error) {
	d := Decoder{Mark: mark}
	return d.Decode(b)
}

// An Encoder writes values of a run as JSON in which an object with the member
// Mark stands for something that JSON has no word for:
//
//	{Mark: "time",  "v": "2026-01-02T03:04:05.006Z"}
//	{Mark: "bytes", "v": "base64"}
//	{Mark: "row",   "v": [["ObjectId", 7], ["Key", "x"]]}   and the other kinds
//	{Mark: "map",   "v": {…}}                               a user's object that has a member Mark
//
// Marked reports after Append whether anything was marked.
type Encoder struct {
	Mark   string
	Marked bool

	escape bool // wrap users' objects that have a member Mark
}

// Append writes v behind b.
func (e *Encoder) Append(b []byte, v any) ([]byte, error) { return e.append(b, v, 0) }

func (e *Encoder) append(b []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		return appendFloat(b, v), nil
	case string:
		return appendString(b, v), nil
	case time.Time:
		b = e.open(b, "time")
		b = appendString(b, v.UTC().Format(time.RFC3339Nano))
		return append(b, '}'), nil
	case []byte:
		b = e.open(b, "bytes")
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v)
		return append(b, `"}`...), nil
	case JSON:
		if e.escape && strings.Contains(string(v), e.Mark) {
			return e.append(b, Plain(v), depth)
		}
		return append(b, v...), nil
	case *Object:
		if v == nil {
			return append(b, "null"...), nil
		}
		b = e.open(b, string(v.kind))
		b = append(b, '[')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(b, '['), m.Name)
			if b, err = e.append(append(b, ','), m.Value, depth+1); err != nil {
				return nil, err
			}
			b = append(b, ']')
		}
		return append(b, "]}"...), nil
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = e.append(b, v[i], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		_, wrap := v[e.Mark]
		if wrap = wrap && e.escape; wrap {
			b = e.open(b, "map")
		}
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = e.append(append(appendString(b, k), ':'), v[k], depth+1); err != nil {
				return nil, err
			}
		}
		if b = append(b, '}'); wrap {
			b = append(b, '}')
		}
		return b, nil
	}
	// What a Go activity may hand over beside: other widths of numbers, lists
	// of strings, structures with JSON names.
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if err := checkDepth(raw, MaxDepth); err != nil {
		return nil, err
	}
	d, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return e.append(b, d, depth)
}

func (e *Encoder) open(b []byte, kind string) []byte {
	e.Marked = true
	b = appendString(append(b, '{'), e.Mark)
	b = appendString(append(b, ':'), kind)
	return append(b, `,"v":`...)
}

// appendFloat writes what JSON.stringify writes; what is no number is null.
func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\t':
			b = append(b, `\t`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}

// A Decoder reads what an [Encoder] of the same Mark wrote.
type Decoder struct{ Mark string }

// Decode reads one value of at most [MaxDepth] levels.
func (d *Decoder) Decode(b []byte) (any, error) {
	marked := bytes.Contains(b, []byte(d.Mark))
	levels := MaxDepth
	if marked {
		levels = 3 * (MaxDepth + 1) // an object takes three levels of its marked form
	}
	if err := checkDepth(b, levels); err != nil {
		return nil, err
	}
	v, err := decode(b)
	if err != nil || !marked {
		return v, err
	}
	return d.restore(v), nil
}

// restore replaces what is marked, from the inside out.
func (d *Decoder) restore(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = d.restore(v[i])
		}
	case map[string]any:
		kind, marked := v[d.Mark].(string)
		inner, has := v["v"]
		if !marked || !has || len(v) != 2 {
			for k := range v {
				v[k] = d.restore(v[k])
			}
			return v
		}
		return d.marked(kind, inner, v)
	}
	return v
}

func (d *Decoder) marked(kind string, inner any, whole map[string]any) any {
	switch kind {
	case "time":
		if s, ok := inner.(string); ok {
			if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
				return t.UTC()
			}
		}
	case "bytes":
		if s, ok := inner.(string); ok {
			if b, err := base64.StdEncoding.DecodeString(s); err == nil {
				return b
			}
		}
	case "map":
		if m, ok := inner.(map[string]any); ok {
			for k := range m {
				m[k] = d.restore(m[k])
			}
			return m
		}
	default:
		pairs, ok := inner.([]any)
		if _, known := fixed[Kind(kind)]; !ok || !known {
			break
		}
		members := make([]Member, 0, len(pairs))
		for _, p := range pairs {
			pair, _ := p.([]any)
			if len(pair) != 2 {
				return whole
			}
			name, _ := pair[0].(string)
			members = append(members, Member{name, d.restore(pair[1])})
		}
		return NewObject(Kind(kind), members...)
	}
	return whole
}
