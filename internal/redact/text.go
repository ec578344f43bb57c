package redact

import (
	"regexp"
	"strings"
)

// Mark stands where a secret was.
const Mark = "[secret]"

// A shape is what some kind of secret looks like. hint is a text without which
// the expression cannot match, so that ordinary lines cost no more than a search.
type shape struct {
	hints []string
	re    *regexp.Regexp
	to    string
}

// secretNames are the members and parameters that hold secrets, RFC 6749, 7521,
// 7636, 8628, 8693 and what providers call theirs.
const secretNames = `(?:access|refresh|id|subject|actor|device|session|auth)_?(?:token|code)|client_secret|client_assertion|assertion|code_verifier|password|passwd|api_?key|secret|authToken|accessToken|refreshToken`

var shapes = []shape{
	{[]string{"fk_"}, regexp.MustCompile(`\bfk_([A-Za-z0-9]{1,64})_[A-Za-z0-9_-]{8,}`), "fk_${1}_" + Mark},
	{[]string{"eyJ"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,3}`), Mark},
	{[]string{"earer", "EARER", "asic", "ASIC", "oP", "OP"}, regexp.MustCompile(`(?i)\b(bearer|basic|dpop)[ \t]+[A-Za-z0-9._~+/=-]{8,}`), "$1 " + Mark},
	{[]string{"="}, regexp.MustCompile(`(?i)\b(` + secretNames + `)=[^&\s"'<>]+`), "$1=" + Mark},
	{[]string{"code=", "state=", "token="}, regexp.MustCompile(`([?&](?:code|state|token))=[^&\s"'<>]+`), "$1=" + Mark},
	{[]string{`":`, `" :`}, regexp.MustCompile(`(?i)"(` + secretNames + `)"(\s*:\s*)"(?:[^"\\]|\\.)*"?`), `"$1"$2"` + Mark + `"`},
	{[]string{"-----BEGIN"}, regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), Mark},
}

// Text returns s with everything in it that looks like a secret replaced.
func Text(s string) string {
	if !suspect(s) {
		return s
	}
	for _, sh := range shapes {
		for _, h := range sh.hints {
			if strings.Contains(s, h) {
				s = sh.re.ReplaceAllString(s, sh.to)
				break
			}
		}
	}
	return s
}

// marks are texts of which every shape has one, by their first letter, in lower
// case. Most texts have none, and a search for them costs a fraction of an
// expression.
var marks = ['z' + 1][]string{
	'a': {"assertion", "apikey", "api_key"}, 'b': {"bearer", "basic"}, 'c': {"code"}, 'd': {"dpop"}, 'e': {"eyj"}, 'f': {"fk_"},
	'p': {"passw"}, 's': {"secret", "state="}, 't': {"token"}, '-': {"-----begin"},
}

// suspect reports whether any shape could be in s.
func suspect(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c > 'z' {
			// The letters that fold to s and k: expressions without case match them.
			if c == 0xc5 || c == 0xe2 {
				return true
			}
			continue
		}
		for _, m := range marks[c] {
			if len(s)-i >= len(m) && strings.EqualFold(s[i:i+len(m)], m) {
				return true
			}
		}
	}
	return false
}

// secretKeys are attributes whose whole value is a secret whatever it looks
// like.
var secretKeys = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "dpop": true,
	"access_token": true, "refresh_token": true, "id_token": true, "client_secret": true, "password": true, "secret": true,
	"code_verifier": true, "device_code": true, "assertion": true, "client_assertion": true, "api_key": true, "x-api-key": true,
}

// Name reports whether what has the name is a secret, whatever it looks like.
func Name(name string) bool { return secretKeys[strings.ToLower(name)] }
