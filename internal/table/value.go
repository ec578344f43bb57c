package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// maxValue bounds one value. Rows are read whole, and an answer holds many.
const maxValue = 8 << 20

// A cell is a value as it is stored: nil, string, int64 (of a decimal without
// its point, of a date the Unix milliseconds) or bool.
type cell any

// cells is a row by the numbers of its columns. Of a secret column it holds
// true if there is a value; the value itself is in the sealed map.
type cells map[int64]cell

// sealedMark stands for a value that is sealed.
const sealedMark = true

// convert makes the cell of a value that somebody gives a column. Blank text is
// no number, date or reference: it is null.
func (s *Schema) convert(c *Column, v any) (cell, error) {
	out, detail := convert(c, v)
	if detail == "" {
		return out, nil
	}
	e := &ValueError{Table: s.Name, Column: c.Name, Type: c.Type, Detail: detail}
	if !c.Secret {
		e.Value = display(v)
	}
	return nil, e
}

// display is what an error shows of a value.
func display(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(short(v))
	case bool, int, int64, float64, json.Number, Decimal:
		return short(fmt.Sprint(v))
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []any:
		return "a list"
	}
	return "an object"
}

func convert(c *Column, v any) (_ cell, detail string) {
	switch n := v.(type) {
	case nil:
		return nil, ""
	case *Row: // an expanded reference that is written back
		if n == nil {
			return nil, ""
		}
		v = n.ObjectID
	case freshet.Secret:
		return nil, "is sealed"
	case int:
		v = int64(n)
	case int32:
		v = int64(n)
	case uint32:
		v = int64(n)
	case float32:
		v = float64(n)
	case *time.Time:
		if n == nil {
			return nil, ""
		}
		v = *n
	}
	if c.Type.text() {
		return convertText(c, v)
	}
	if s, ok := v.(string); ok {
		if s = strings.TrimSpace(s); s == "" {
			return nil, ""
		}
		v = s
	}
	switch c.Type {
	case Boolean:
		return convertBool(v)
	case DateTime:
		return convertTime(v)
	case Reference:
		if m, ok := v.(map[string]any); ok {
			id, ok := m[ObjectID]
			if !ok {
				return nil, "has no " + ObjectID
			}
			v = id
		}
		n, detail := convertNumber(v, 0)
		if id, ok := n.(int64); ok && id <= 0 {
			if id == 0 {
				return nil, ""
			}
			return nil, "is not the number of a row"
		}
		return n, detail
	}
	n, detail := convertNumber(v, c.Type.scale())
	if i, ok := n.(int64); ok && c.Type == Integer && (i > math.MaxInt32 || i < math.MinInt32) {
		return nil, "is beyond an integer of 32 bits: make the column a bigint"
	}
	return n, detail
}

// convertText takes what has a text. Objects and lists are kept as JSON.
func convertText(c *Column, v any) (cell, string) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case bool:
		s = strconv.FormatBool(v)
	case int64:
		s = strconv.FormatInt(v, 10)
	case float64:
		s = formatFloat(v)
	case json.Number:
		s = v.String()
	case Decimal:
		s = v.String()
	case time.Time:
		s = v.UTC().Format(timeForm)
	case []byte:
		s = string(v)
	default:
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return nil, "has no text"
		}
		s = strings.TrimSuffix(b.String(), "\n")
	}
	switch {
	case len(s) > maxValue:
		return nil, fmt.Sprintf("has more than %d MiB", maxValue>>20)
	case !utf8.ValidString(s):
		return nil, "is not UTF-8 text"
	case strings.IndexByte(s, 0) >= 0:
		return nil, "has a zero byte, which text does not"
	}
	if c.Type == URL {
		s = strings.TrimSpace(s)
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, "is not a URL: it has control characters"
		}
	}
	return s, ""
}

// timeForm is how scripts write an instant.
const timeForm = "2006-01-02T15:04:05.000Z"

func formatFloat(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func convertBool(v any) (cell, string) {
	switch v := v.(type) {
	case bool:
		return v, ""
	case string:
		switch strings.ToLower(v) {
		case "true", "1":
			return true, ""
		case "false", "0":
			return false, ""
		}
	case int64:
		if v == 0 || v == 1 {
			return v == 1, ""
		}
	case float64:
		if v == 0 || v == 1 {
			return v == 1, ""
		}
	case json.Number:
		return convertBool(v.String())
	}
	return nil, "is neither true nor false"
}

func convertTime(v any) (cell, string) {
	t, ok := v.(time.Time)
	if !ok {
		s, isText := v.(string)
		if isText {
			t, ok = odata.ParseTime(s)
		}
		if !ok {
			return nil, "is not a date: write it as 2024-11-20T12:00:00Z"
		}
	}
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return nil, "is beyond the years 1 to 9999"
	}
	return t.UnixMilli(), ""
}

func convertNumber(v any, scale int) (cell, string) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case int64:
		text = strconv.FormatInt(v, 10)
	case Decimal:
		text = v.String()
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, "is not a number"
		}
		text = strconv.FormatFloat(v, 'f', -1, 64)
		if len(text) > 64 {
			return nil, errRange.Error()
		}
	default:
		return nil, errNumber.Error()
	}
	d, err := parseDecimal(text, scale)
	if err != nil {
		return nil, err.Error()
	}
	if scale == 0 {
		if r, err := exact(text); err != nil || !r.IsInt() {
			return nil, "is not a whole number"
		}
	}
	return d.Unscaled, ""
}

// value is the inverse of convert. Runs take decimals as the numbers that
// scripts have.
func (c *Column) value(v cell, run bool) any {
	switch v := v.(type) {
	case int64:
		switch c.Type {
		case DateTime:
			return time.UnixMilli(v).UTC()
		case Decimal2, Decimal5:
			d := Decimal{v, c.Type.scale()}
			if run {
				return d.Float64()
			}
			return d
		}
		return v
	case nil:
		return nil
	}
	return v
}

// operand is a cell as filters see it.
func (c *Column) operand(v cell) any {
	switch v := v.(type) {
	case int64:
		if c.Type == DateTime {
			return time.UnixMilli(v).UTC()
		}
		return odata.Number{Unscaled: v, Scale: c.Type.scale()}
	case nil:
		return nil
	}
	return v
}

// encodeCells writes cells as JSON; nils are left out.
func encodeCells(m cells) (string, error) {
	out := make(map[string]any, len(m))
	for id, v := range m {
		if v != nil {
			out[strconv.FormatInt(id, 10)] = v
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(out)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// decodeCells is the inverse of encodeCells.
func decodeCells(data string) (cells, error) {
	dec := json.NewDecoder(strings.NewReader(data))
	dec.UseNumber()
	var in map[string]any
	if err := dec.Decode(&in); err != nil {
		return nil, err
	}
	m := make(cells, len(in))
	for k, v := range in {
		id, err := strconv.ParseInt(k, 10, 64)
		if err != nil {
			return nil, err
		}
		if n, ok := v.(json.Number); ok {
			i, err := n.Int64()
			if err != nil {
				return nil, err
			}
			v = i
		}
		m[id] = v
	}
	return m, nil
}
