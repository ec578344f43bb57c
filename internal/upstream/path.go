package upstream

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// climbs reports whether a path below a base leaves the base, for any of the
// ways in which a server may read it: dots, encoded dots, encoded or reversed
// slashes, encoded once or twice.
func climbs(path string) bool {
	for range 3 {
		depth := 0
		for seg := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			// Some servers cut ;parameters before they look for dots.
			seg, _, _ = strings.Cut(seg, ";")
			switch seg {
			case ".", "":
			case "..":
				if depth--; depth < 0 {
					return true
				}
			default:
				depth++
			}
		}
		once := decode(path)
		if once == path {
			return false
		}
		path = once
	}
	return false
}

// decode takes one layer of percent-encoding off, leaving what is malformed.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// ambiguous says what in path different servers read differently, or "". A path
// allowlist compares the bytes that are sent, so it holds only for paths that
// have one reading: every byte that may stand for itself does, and no segment is
// empty, a dot, or changed by decoding.
func ambiguous(path string) string {
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			if i+1 < len(path) && path[i+1] == '/' {
				return "an empty segment"
			}
		case c == '%':
			if i+2 >= len(path) {
				return "a cut percent-encoding"
			}
			hi, ok1 := unhex(path[i+1])
			lo, ok2 := unhex(path[i+2])
			if !ok1 || !ok2 {
				return "a malformed percent-encoding"
			}
			switch d := hi<<4 | lo; {
			case unreserved(d):
				return "a percent-encoded " + string(rune(d))
			case d < 0x20 || d == 0x7f:
				return "a control character"
			case d == '/' || d == '\\' || d == '%' || d == ';' || d == '?' || d == '#':
				return "a percent-encoded " + string(rune(d))
			}
			i += 2
		case c == ';':
			return "a path parameter"
		case !unreserved(c) && !strings.ContainsRune("!$&'()*+,=:@", rune(c)):
			return "a character that must be percent-encoded"
		}
	}
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return "a dot segment"
		}
	}
	plain := decode(path)
	if !utf8.ValidString(plain) {
		return "bytes that are no UTF-8"
	}
	// Look-alikes that some servers fold to what they look like: ／ to /, ‥ to ..
	for i := 0; i < len(plain); {
		r, n := utf8.DecodeRuneInString(plain[i:])
		if r >= utf8.RuneSelf && strings.ContainsAny(norm.NFKC.String(plain[i:i+n]), `./\%;?#`) {
			return "a look-alike of a separator"
		}
		i += n
	}
	return ""
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// under reports whether path is prefix or below it. The boundary is a slash:
// /users allows /users and /users/7, not /users2.
func under(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(prefix, "/") || prefix == "")
}
