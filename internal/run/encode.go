package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/internal/redact"
)

// What is kept of a value.
const (
	maxText        = 4 << 10  // bytes of a text within a step
	maxStep        = 16 << 10 // bytes of a step's inputs, and of its data
	maxRunText     = 16 << 10 // bytes of a text within input and output
	maxRunValue    = 64 << 10 // bytes of input and output
	maxCorrelation = 4 << 10
	maxName        = 512
	maxDepth       = 24
	// lookAhead is how far behind the cut a text is looked at, so that a secret
	// that the cut would halve is seen whole.
	lookAhead = 64 << 10
	// maxInner bounds texts that are read as JSON.
	maxInner = 256 << 10
)

// An encoder writes values as JSON, masked and cut.
type encoder struct {
	m     *mask
	b     []byte
	text  int // bytes of each text
	left  int // bytes that may still be written
	depth int
}

// encode returns v as JSON, nil for nil.
func (m *mask) encode(v any, text, total int) json.RawMessage {
	if v == nil {
		return nil
	}
	e := encoder{m: m, text: text, left: total}
	grown := m.grown
	e.value(v, false)
	if m.grown != grown && m.holdsFresh(string(e.b)) {
		// A name has told of a value that may stand in what was written before.
		e.b, e.left = e.b[:0], total
		e.value(v, false)
	}
	return e.b
}

// object is encode for the members of a step.
func (m *mask) object(v map[string]any) json.RawMessage {
	if len(v) == 0 {
		return nil
	}
	return m.encode(v, maxText, maxStep)
}

// again masks what was encoded before with what is known now. It returns raw
// itself if nothing in it is to be hidden.
func (m *mask) again(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	v, err := decode(raw)
	if err != nil {
		return json.RawMessage(`"` + redact.Mark + `"`) // cannot be: we wrote it
	}
	hidden := m.hidden
	e := encoder{m: m, text: math.MaxInt, left: math.MaxInt}
	e.value(v, false)
	if m.hidden == hidden {
		return raw
	}
	return e.b
}

func decode(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

func (e *encoder) put(s string) {
	e.b = append(e.b, s...)
	e.left -= len(s)
}

// value writes v; secret says that its member's name hides it.
func (e *encoder) value(v any, secret bool) {
	if e.left <= 0 || e.depth > maxDepth {
		e.put(`"…"`)
		return
	}
	switch v := v.(type) {
	case nil:
		e.put("null")
	case bool:
		e.put(strconv.FormatBool(v))
	case string:
		e.string(v, secret)
	case float64:
		e.float(v, secret)
	case float32:
		e.float(float64(v), secret)
	case int:
		e.number(strconv.Itoa(v), secret)
	case int64:
		e.number(strconv.FormatInt(v, 10), secret)
	case int32:
		e.number(strconv.FormatInt(int64(v), 10), secret)
	case uint64:
		e.number(strconv.FormatUint(v, 10), secret)
	case json.Number:
		if json.Valid([]byte(v)) {
			e.number(string(v), secret)
		} else {
			e.string(string(v), secret)
		}
	case time.Time:
		e.string(v.UTC().Format(time.RFC3339Nano), secret)
	case time.Duration:
		e.string(v.String(), secret)
	case []byte:
		if utf8.Valid(v) {
			e.string(string(v[:min(len(v), e.text+lookAhead)]), secret)
		} else {
			e.string(fmt.Sprintf("(%d bytes)", len(v)), false)
		}
	case []any:
		list(e, v, secret, func(x any) { e.value(x, secret) })
	case []string:
		list(e, v, secret, func(x string) { e.string(x, secret) })
	case map[string]any:
		e.members(slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] }, secret, namesSecret(v))
	case map[string]string:
		e.members(slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] }, secret, false)
	case map[string][]string:
		e.members(slices.Sorted(maps.Keys(v)), func(k string) any { return v[k] }, secret, false)
	case error:
		e.string(v.Error(), secret)
	default:
		e.other(v, secret)
	}
}

// other writes what has no case of its own by way of its JSON.
func (e *encoder) other(v any, secret bool) {
	raw, err := json.Marshal(v)
	if err != nil {
		e.string(fmt.Sprintf("(%T)", v), false)
		return
	}
	plain, err := decode(raw)
	if err != nil {
		e.string(fmt.Sprintf("(%T)", v), false)
		return
	}
	e.value(plain, secret)
}

func list[T any](e *encoder, l []T, secret bool, each func(T)) {
	e.depth++
	defer func() { e.depth-- }()
	e.put("[")
	for i, x := range l {
		if i > 0 {
			e.put(",")
		}
		if e.left <= 0 {
			e.quote(fmt.Sprintf("… (%d more)", len(l)-i))
			break
		}
		each(x)
	}
	e.put("]")
}

func (e *encoder) members(names []string, of func(string) any, secret, pair bool) {
	e.depth++
	defer func() { e.depth-- }()
	e.put("{")
	for i, n := range names {
		if i > 0 {
			e.put(",")
		}
		if e.left <= 0 {
			e.quote("…")
			e.put(":")
			e.quote(fmt.Sprintf("%d more", len(names)-i))
			break
		}
		e.quote(e.m.text(cut(n, maxName)))
		e.put(":")
		e.value(of(n), secret || secretName(n) || pair && named(n))
	}
	e.put("}")
}

func (e *encoder) float(f float64, secret bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.string(strconv.FormatFloat(f, 'g', -1, 64), secret)
		return
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if len(s) > 24 {
		s = strconv.FormatFloat(f, 'g', -1, 64)
	}
	e.number(s, secret)
}

// number writes a number, which may be a secret as well as a text may.
func (e *encoder) number(s string, secret bool) {
	if len(s) >= shortest && (secret || e.m.text(s) != s) {
		e.hide(s)
		return
	}
	e.put(s)
}

func (e *encoder) hide(s string) {
	e.m.hidden++
	e.m.learn(s)
	e.quote(redact.Mark)
}

func (e *encoder) string(s string, secret bool) {
	if secret && len(s) >= shortest {
		if s == redact.Mark {
			e.quote(s)
			return
		}
		e.hide(s)
		return
	}
	limit := min(e.text, max(e.left, 16))
	if inner, ok := e.inner(s); ok {
		e.quote(cut(inner, limit))
		return
	}
	e.quote(e.m.short(s, limit))
}

// short masks a text, then cuts it.
func (m *mask) short(s string, limit int) string {
	n := len(s)
	if n <= limit {
		return m.text(s)
	}
	head := m.text(s[:min(n, limit+lookAhead)])
	if len(head) <= limit {
		return head + note(n)
	}
	return head[:whole(head, limit)] + note(n)
}

// cut shortens a text and says how long it was.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:whole(s, limit)] + note(len(s))
}

func note(n int) string { return "… (cut, " + strconv.Itoa(n) + " bytes)" }

// whole is the last place up to n at which s can be cut.
func whole(s string, n int) int {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// hints are in every JSON text whose names may hide something.
var hints = []string{"oken", "OKEN", "ecret", "ECRET", "assw", "ASSW", "uthoriz", "ookie", "redential", "ssertion", "ey\"", "wd\"", "reds\"", "wt\"", "earer\"", "verifier", "code\"", "phrase\""}

// inner masks a text that is JSON by the names in it. Its members come out in
// another order, and only if something was hidden.
func (e *encoder) inner(s string) (string, bool) {
	if len(s) < 8 || len(s) > maxInner || e.depth > maxDepth {
		return "", false
	}
	first := strings.TrimLeft(s, " \t\r\n")
	if first == "" || first[0] != '{' && first[0] != '[' || !slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(s, h) }) {
		return "", false
	}
	v, err := decode([]byte(s))
	if err != nil {
		return "", false
	}
	hidden := e.m.hidden
	in := encoder{m: e.m, text: math.MaxInt, left: math.MaxInt, depth: e.depth + 1}
	in.value(v, false)
	if e.m.hidden == hidden {
		return "", false
	}
	return string(in.b), true
}

func (e *encoder) quote(s string) {
	n := len(e.b)
	e.b = appendQuoted(e.b, s)
	e.left -= len(e.b) - n
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string. Bytes that are no text are replaced.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// clean makes a text one that every database takes.
func clean(s string, limit int) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return cut(strings.ToValidUTF8(s, "\uFFFD"), limit)
}

// line is a text of a column: masked, then cut, then clean.
func (m *mask) line(s string, limit int) string {
	return clean(m.short(s, limit), limit+64)
}
