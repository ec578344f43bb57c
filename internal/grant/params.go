package grant

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// A param is one parameter of a request. Secret, if set, is its value again,
// to be kept out of what a provider says back. Make, if set, makes the value
// for each send.
type param struct {
	name, value string
	secret      freshet.Secret
	make        func() (freshet.Secret, *Error)
}

// params keep the order in which they were set: token requests read the same
// each time, and the grant type comes first.
type params []param

// set puts a parameter in the place of the one of its name. One without a value
// is not sent, and neither is one without a name.
func (ps *params) set(name, value string) {
	i := slices.IndexFunc(*ps, func(p param) bool { return p.name == name })
	switch {
	case name == "":
	case value == "" && i >= 0:
		*ps = slices.Delete(*ps, i, i+1)
	case value == "":
	case i >= 0:
		(*ps)[i].value = value
	default:
		*ps = append(*ps, param{name: name, value: value})
	}
}

// keep sets a parameter whose value is a secret.
func (ps *params) keep(name string, s freshet.Secret) {
	if !s.IsZero() {
		*ps = append(*ps, param{name: name, value: s.Reveal(), secret: s})
	}
}

// form encodes ps as a form body or a query string, RFC 6749 appendix B.
func (ps params) form() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.value))
	}
	return b.String()
}

// json encodes ps as an object of strings.
func (ps params) json() []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(',')
		}
		enc.Encode(p.name)
		b.WriteByte(':')
		enc.Encode(p.value)
	}
	b.WriteByte('}')
	// The encoder ends each value with a newline; inside strings there is none.
	return []byte(strings.ReplaceAll(b.String(), "\n", ""))
}

// mediaOf guesses the media type of a template body from its first character.
func mediaOf(body string) string {
	switch body = strings.TrimSpace(body); {
	case strings.HasPrefix(body, "{{"):
		return "application/x-www-form-urlencoded"
	case strings.HasPrefix(body, "{"), strings.HasPrefix(body, "["):
		return "application/json"
	case strings.HasPrefix(body, "<"):
		return "text/xml; charset=utf-8"
	}
	return "application/x-www-form-urlencoded"
}

// escapeFor returns how values enter a body of a media type.
func escapeFor(media string) template.Escape {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	switch media = strings.TrimSpace(media); {
	case strings.HasSuffix(media, "json"):
		return template.JSON
	case strings.HasSuffix(media, "xml"):
		return template.XML
	case media == "application/x-www-form-urlencoded":
		return template.Form
	}
	return nil
}
