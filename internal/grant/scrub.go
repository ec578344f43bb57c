package grant

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
)

// What providers say is shown to people and kept in the journal, so it passes
// here first: whatever is or looks like a secret goes, control characters are
// spelled out, and it is short.

const (
	maxDetail  = 256 // bytes of Error.Detail
	maxCode    = 64  // bytes of Error.Code
	maxExcerpt = 120 // bytes of a body that nobody understands
	minSecret  = 4   // shorter values are in too many words to be taken out
)

var (
	jwtShape   = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}(\.[A-Za-z0-9_-]*){0,4}`)
	tokenRun   = regexp.MustCompile(`[A-Za-z0-9._~+/=%-]{6,}`)
	quotedRun  = regexp.MustCompile(`"[^"]*("|$)`)
	uuidShape  = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	secretName = regexp.MustCompile(`(?i)token|secret|password|passwd|assertion|jwt|session|api_?key|^code$|^key$`)
	plainName  = regexp.MustCompile(`(?i)type|expire|_in$|lifetime|uri|url|endpoint|state`)
)

// findSecrets lists the values that must not be shown: those of the request,
// those stored, and every text of the answer whose name says what it is.
func (a *reading) findSecrets() []string {
	var out []string
	add := func(s string) {
		if len(s) >= minSecret {
			out = append(out, s)
			if q := url.QueryEscape(s); q != s {
				out = append(out, q)
			}
		}
	}
	for _, s := range a.r.Sent {
		add(s.Reveal())
	}
	if p := a.r.Prior; p != nil {
		for _, s := range []freshet.Secret{p.Access, p.Refresh, p.ID} {
			add(s.Reveal())
		}
	}
	for _, path := range []string{a.shape.AccessToken, a.shape.RefreshToken, a.shape.IDToken} {
		if path != "" && path != placeBody {
			if n, ok := a.at(path); ok {
				add(n.text())
			}
		}
	}
	var walk func(ms []member, depth int)
	walk = func(ms []member, depth int) {
		for _, m := range ms {
			text := m.value.text()
			switch {
			case m.value.kind() == '{' && depth > 0:
				walk(m.value.members(), depth-1)
			case len(text) < minSecret || !secretName.MatchString(m.name) || plainName.MatchString(m.name):
			case m.name == lastName(a.shape.Error, ""):
				// The provider's entry says that this is where error codes are
				// (WeLink's "code", with status 200); catalog's tests want it shown.
			case isKnown(text): // a word of an error, not a value
			default:
				add(text)
			}
		}
	}
	walk(a.doc.members, 2)
	return out
}

// scrub takes the known secrets, recognisable parts of them, and JWTs out of s.
func (a *reading) scrub(s string) string {
	for _, secret := range a.secrets {
		s = strings.ReplaceAll(s, secret, freshet.Redacted)
	}
	s = jwtShape.ReplaceAllString(s, freshet.Redacted)
	return tokenRun.ReplaceAllStringFunc(s, func(run string) string {
		core := strings.Trim(run, ".=-/")
		digit := strings.ContainsAny(core, "0123456789")
		if len(core) >= 12 || digit && len(core) >= 6 {
			for _, secret := range a.secrets {
				if strings.Contains(secret, core) {
					return freshet.Redacted
				}
			}
		}
		if len(core) >= 24 && digit && !uuidShape.MatchString(core) && strings.IndexFunc(core, unicode.IsLetter) >= 0 {
			return freshet.Redacted
		}
		return run
	})
}

// mask is scrub for text that nobody understands, where any word may be a
// token: quoted text goes, and every run with a digit in it or without an end.
func (a *reading) mask(s string) string {
	s = a.scrub(s)
	s = quotedRun.ReplaceAllString(s, `"…"`)
	return tokenRun.ReplaceAllStringFunc(s, func(run string) string {
		if len(run) >= 20 || strings.ContainsAny(run, "0123456789") {
			return "…"
		}
		return run
	})
}

// clean makes s fit to be shown.
func (a *reading) clean(s string) string { return fit(escape(a.scrub(s))) }

// cleanCode makes a provider's code fit to be a reason and a label.
func (a *reading) cleanCode(s string) string {
	if isKnown(s) {
		return s
	}
	return shorten(escape(a.scrub(s)), maxCode)
}

// excerpt shows how the body begins. A body of one word is not shown at all: it
// may be the token.
func (a *reading) excerpt() string {
	s := string(a.doc.text)
	if !strings.ContainsAny(s, " \t\n<") {
		return "…"
	}
	for _, secret := range a.secrets {
		s = strings.ReplaceAll(s, secret, freshet.Redacted)
	}
	more := len(s) > maxExcerpt
	s = escape(a.mask(shorten(s, maxExcerpt)))
	if more {
		s += "…"
	}
	return fit(s)
}

// target names where a redirect leads, without what may be secret in it.
func (a *reading) target() string {
	u, err := url.Parse(a.r.Header.Get("Location"))
	if err != nil || u.Host == "" {
		return fmt.Sprintf(" (HTTP %d)", a.r.Status)
	}
	return fmt.Sprintf(" to %s (HTTP %d)", a.clean(u.Scheme+"://"+u.Host), a.r.Status)
}

// escape spells out control characters, also those that turn text around.
func escape(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case isControl(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

func fit(s string) string { return shorten(s, maxDetail) }

// shorten cuts s to at most n bytes, at a rune.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
