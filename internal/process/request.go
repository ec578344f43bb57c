package process

import (
	"crypto/tls"
	"errors"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// An input is a value on its way into a request.
type input struct {
	value  any
	secret bool
}

// A request is one call of a method, ready to be sent.
type request struct {
	method  string
	url     string // below the connection's base URL if the service has none
	headers map[string]any
	body    []byte // nil: none
	typed   string // Content-Type of the body; "": a header says it
	secrets []string

	shown Request
}

// A Request is what goes over the wire, as people may see it: secrets show as
// [secret].
type Request struct {
	Method     string            `json:"method"`
	URL        string            `json:"url"`
	Connection string            `json:"connection,omitempty"` // whose credential is added
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"`
}

// compose makes the request of a method with inputs by name. What has neither
// input nor a fixed value is left out.
func compose(s *freshet.Service, m *freshet.ServiceMethod, inputs map[string]input) (*request, error) {
	given := map[*freshet.Parameter]input{}
	target, secretTarget := m.Path, false
	r := &request{method: m.Method, headers: map[string]any{}, shown: Request{Method: m.Method, Connection: s.Connection, Headers: map[string]string{}}}
	for name, in := range inputs {
		if name == inputPath {
			text, err := plainText(in.value)
			if err != nil {
				return nil, errors.New("urlPath: " + err.Error())
			}
			if strings.TrimSpace(text) != "" { // an empty field overrides nothing
				target, secretTarget = text, in.secret
			}
			continue
		}
		p, _, err := parameter(m, name)
		if err != nil {
			return nil, err
		}
		given[p] = in
	}
	of := func(p *freshet.Parameter) (in input, ok bool) {
		if in, ok = given[p]; !ok {
			switch {
			case !p.Secret.IsZero():
				in, ok = input{p.Secret.Reveal(), true}, true
			case p.Value != "":
				in, ok = input{p.Value, false}, true
			}
		}
		if content.SecretName(p.Name) {
			in.secret = true
		}
		if in.secret {
			if text, err := plainText(in.value); err == nil && len(text) >= 6 {
				r.secrets = append(r.secrets, text)
			}
		}
		return in, ok
	}
	for i := range m.Request.Headers {
		p := &m.Request.Headers[i]
		in, ok := of(p)
		if !ok {
			continue
		}
		text, err := content.HeaderText(in.value)
		if err != nil {
			return nil, errors.New("header " + p.Name + ": " + err.Error())
		}
		r.headers[p.Name] = text
		r.shown.Headers[p.Name] = mask(text, in.secret)
		if _, rest, ok := strings.Cut(text, " "); ok && in.secret && len(rest) >= 6 { // a scheme before it
			r.secrets = append(r.secrets, rest)
		}
	}
	whole, err := under(s.BaseURL, target)
	if err != nil {
		return nil, err
	}
	shown := whole
	if secretTarget {
		shown, _ = under(s.BaseURL, "")
		shown += "/" + freshet.Redacted
	}
	for i := range m.Request.Query {
		p := &m.Request.Query[i]
		in, ok := of(p)
		if !ok {
			continue
		}
		text, err := plainText(in.value)
		if err != nil {
			return nil, errors.New("query " + p.Name + ": " + err.Error())
		}
		sep := "?"
		if strings.Contains(whole, "?") {
			sep = "&"
		}
		whole += sep + url.QueryEscape(p.Name) + "=" + url.QueryEscape(text)
		if in.secret {
			shown += sep + url.QueryEscape(p.Name) + "=" + freshet.Redacted
		} else {
			shown += sep + url.QueryEscape(p.Name) + "=" + url.QueryEscape(text)
		}
	}
	r.url, r.shown.URL = whole, shown
	if err := r.encode(m, of); err != nil {
		return nil, err
	}
	return r, nil
}

// encode writes the body, its members in the order of the method.
func (r *request) encode(m *freshet.ServiceMethod, of func(*freshet.Parameter) (input, bool)) error {
	var body, shown strings.Builder
	n := 0
	form := m.ContentType == "form"
	for i := range m.Request.Body {
		p := &m.Request.Body[i]
		in, ok := of(p)
		if !ok {
			continue
		}
		if n++; n > 1 {
			sep := ","
			if form {
				sep = "&"
			}
			body.WriteString(sep)
			shown.WriteString(sep)
		}
		if form {
			text, err := plainText(in.value)
			if err != nil {
				return errors.New("body " + p.Name + ": " + err.Error())
			}
			name := url.QueryEscape(p.Name) + "="
			body.WriteString(name + url.QueryEscape(text))
			if in.secret && text != "" {
				shown.WriteString(name + freshet.Redacted)
			} else {
				shown.WriteString(name + url.QueryEscape(text))
			}
			continue
		}
		name, err := content.Encode(p.Name)
		if err != nil {
			return err
		}
		value, err := content.Encode(in.value)
		if err != nil {
			return errors.New("body " + p.Name + ": " + err.Error())
		}
		body.WriteString(string(name) + ":" + string(value))
		if in.secret && string(value) != `""` && string(value) != "null" {
			value = []byte(`"` + freshet.Redacted + `"`)
		}
		shown.WriteString(string(name) + ":" + string(value))
	}
	if n == 0 {
		return nil
	}
	text, masked := body.String(), shown.String()
	r.typed = "application/x-www-form-urlencoded"
	if !form {
		text, masked, r.typed = "{"+text+"}", "{"+masked+"}", "application/json"
	}
	r.body, r.shown.Body = []byte(text), masked
	for name := range r.headers {
		if strings.EqualFold(name, "Content-Type") {
			r.typed = ""
			return nil
		}
	}
	r.shown.Headers["Content-Type"] = r.typed
	return nil
}

func mask(text string, secret bool) string {
	if secret && text != "" {
		return freshet.Redacted
	}
	return text
}

// plainText is a value as text: an object or a list as its JSON.
func plainText(v any) (string, error) {
	switch v.(type) {
	case map[string]any, []any:
		b, err := content.Encode(v)
		return string(b), err
	}
	return content.Scalar(v)
}

// under puts a path, which may have a query, below a base URL. What would leave
// it is refused, however it is written: "..", another host, a path that servers
// read in more than one way.
func under(base, path string) (string, error) {
	base = strings.TrimRight(base, "/")
	path = strings.TrimSpace(path)
	if path == "" {
		return base, nil
	}
	if strings.ContainsAny(path, "\\#") || strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return "", errors.New("the path holds a character that no path has (\\, # or a control character)")
	}
	only, query, asked := strings.Cut(path, "?")
	if strings.HasPrefix(only, "//") || strings.Contains(only, "://") {
		return "", errors.New("the path names a host: it is below the service's base URL")
	}
	if scheme, _, ok := strings.Cut(only, ":"); ok && scheme != "" && !strings.Contains(scheme, "/") {
		return "", errors.New("the path begins like an address of its own: it is below the service's base URL; write ./ before it or encode the colon")
	}
	plain := only
	for range 4 { // what is encoded twice may be decoded twice
		for _, segment := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			if name, _, _ := strings.Cut(segment, ";"); name == ".." || name == "." && plain != only {
				return "", errors.New("the path holds .., which leaves the service's base URL")
			}
		}
		next, err := url.PathUnescape(plain)
		if err != nil {
			return "", errors.New("the path holds a percent sign that begins no character")
		}
		if strings.ContainsAny(next, "\\\x00\r\n") {
			return "", errors.New("the path holds a character that no path has, encoded")
		}
		if next == plain {
			break
		}
		plain = next
	}
	only = content.EscapeURL(strings.TrimPrefix(only, "./"))
	if !strings.HasPrefix(only, "/") {
		only = "/" + only
	}
	if asked {
		only += "?" + content.EscapeURL(query)
	}
	return base + only, nil
}

// keyPair is the certificate that a service shows.
func keyPair(s *freshet.Service) (tls.Certificate, error) {
	return tls.X509KeyPair([]byte(s.Certificate.Reveal()), []byte(s.Key.Reveal()))
}
