package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// MaxDepth is how deep a document may be nested. What reads it later, a script
// engine above all, recurses.
const MaxDepth = 512

// ErrDepth says that a document is nested more deeply than MaxDepth.
var ErrDepth = fmt.Errorf("nested more than %d levels deep", MaxDepth)

var bom = []byte("\xef\xbb\xbf")

// JSON decodes one JSON text of any kind: whole numbers that fit become int64,
// other numbers float64. An empty text is nil. The error says where the text is
// broken and quotes nothing of it.
func JSON(b []byte) (any, error) {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, bom))
	if len(b) == 0 {
		return nil, nil
	}
	if tooDeep(b) {
		return nil, ErrDepth
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if s, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("not JSON: broken at byte %d", s.Offset)
		}
		return nil, errors.New("not JSON: it ends too early")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("not JSON: more text follows at byte %d", d.InputOffset())
	}
	return numbers(v), nil
}

// tooDeep looks at brackets alone: whether they match is the decoder's to say.
func tooDeep(b []byte) bool {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
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

func number(s string) any {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return s // beyond what a number can be: the digits are worth more than an infinity
	}
	return f
}

// Encode writes v as JSON on one line and leaves <, > and & as they are.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
