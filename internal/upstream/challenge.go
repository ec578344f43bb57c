package upstream

import "strings"

// A challenge is one of WWW-Authenticate, RFC 9110 §11.6.1.
type challenge struct {
	scheme string // in lower case
	params map[string]string
}

// challenges reads WWW-Authenticate fields. They hold several challenges in one
// line, with commas between both challenges and parameters, commas and equals
// signs within quotes, and token68 values; what cannot be read is skipped.
func challenges(values []string) []challenge {
	var all []challenge
	for _, s := range values {
		for s != "" {
			s = strings.TrimLeft(s, " \t,")
			word, rest := cutToken(s)
			if word == "" {
				// Not the beginning of anything: go on after the next comma.
				_, s, _ = strings.Cut(s, ",")
				continue
			}
			after := strings.TrimLeft(rest, " \t")
			if strings.HasPrefix(after, "=") && len(all) > 0 {
				value, rest, ok := cutValue(after[1:])
				if ok {
					name := strings.ToLower(word)
					if c := all[len(all)-1]; c.params[name] == "" {
						c.params[name] = value
					}
				}
				s = rest
				continue
			}
			all = append(all, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			s = rest
		}
	}
	return all
}

// cutToken cuts a token (RFC 9110 §5.6.2) off the front of s. The characters
// of token68 that are none of token are taken as well.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && (unreserved(s[i]) || strings.IndexByte("!#$%&'*+^`|/", s[i]) >= 0) {
		i++
	}
	return s[:i], s[i:]
}

// cutValue cuts a parameter's value off the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false // no end: nothing after it can be trusted
}

// tokenErrors returns the error codes of the challenges that speak of tokens,
// RFC 6750 §3 and RFC 9449 §7.1.
func tokenErrors(values []string) []string {
	var codes []string
	for _, c := range challenges(values) {
		if c.scheme == "bearer" || c.scheme == "dpop" {
			if e := c.params["error"]; e != "" {
				codes = append(codes, e)
			}
		}
	}
	return codes
}

// lacksScope reports whether an answer says that the token is good but not for
// this: another one would not be better.
func lacksScope(values []string) bool {
	codes := tokenErrors(values)
	if len(codes) == 0 {
		return false
	}
	for _, c := range codes {
		if c != "insufficient_scope" {
			return false
		}
	}
	return true
}
