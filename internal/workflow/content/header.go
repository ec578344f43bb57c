package content

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Token reports whether s is a token of RFC 9110, as names of headers and
// methods are.
func Token(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}

// HeaderText is a value as one line of a header; a list is joined. It is never
// folded, cut or encoded: a value that does not fit is a mistake, or somebody's
// attempt to add a header of theirs (S33). The error does not show the value.
func HeaderText(v any) (string, error) {
	if list, ok := v.([]any); ok {
		var texts []string
		for _, e := range list {
			t, err := HeaderText(e)
			if err != nil {
				return "", err
			}
			texts = append(texts, t)
		}
		return strings.Join(texts, ", "), nil
	}
	s, err := Scalar(v)
	if err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }); i >= 0 {
		return "", fmt.Errorf("character %d of the value cannot stand in a header (line breaks, control characters, anything but ASCII)", i+1)
	}
	return s, nil
}

// Scalar is a text, number or boolean as text; nil is "".
func Scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", errors.New("the value is no text")
}

// EscapeURL percent-encodes what cannot stand in the path and query of a URL,
// and leaves what is percent-encoded already.
func EscapeURL(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && !(i+2 < len(s) && hex(s[i+1]) && hex(s[i+2])):
			b.WriteString("%25")
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
