package upstream

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// An injection is one freshet.Injection, compiled.
type injection struct {
	header string // canonical; Authorization for Basic
	query  string
	cookie string
	user   *template.Template // of Basic
	value  *template.Template // nil: the scheme, a space, the token
	once   bool               // value differs from call to call
	token  bool               // value holds the access token
}

// A rendering is what the injections come to for one token. Those that no call
// changes are kept for the next one.
type rendering struct {
	tok     *freshet.Token
	fields  []field
	query   string   // "name=value&name=value"
	cookies string   // "name=value; name=value"
	secrets []string // what an answer must not echo
	once    bool
}

func (p *plan) readInjections() error {
	list := p.api.Inject
	if len(list) == 0 {
		list = freshet.Injections{{Header: "Authorization"}}
	}
	carries := false
	for i, in := range list {
		at := fmt.Sprintf("api.inject[%d]", i)
		c := injection{header: textproto.CanonicalMIMEHeaderKey(in.Header), query: in.Query, cookie: in.Cookie}
		text := in.Template
		switch {
		case in.Basic != "":
			user, err := template.Compile(at+".basic", in.Basic)
			if err != nil {
				return err
			}
			c.header, c.user = "Authorization", user
			fallthrough
		case text == "" && c.header != "Authorization":
			if text == "" {
				text = "{{access_token}}"
			}
		}
		if in.Cookie != "" && !isToken(in.Cookie) {
			return fmt.Errorf("%s.cookie: %q is not the name of a cookie", at, in.Cookie)
		}
		if text == "" {
			carries, c.token = true, true
		} else {
			v, err := template.Compile(at+".template", text)
			if err != nil {
				return err
			}
			paths := v.Paths()
			c.value = v
			c.token = slices.Contains(paths, "access_token")
			c.once = slices.ContainsFunc(paths, p.varies)
			carries = carries || p.ofToken(v) || slices.ContainsFunc(paths, func(s string) bool { return strings.HasPrefix(s, "process.") })
		}
		if c.header != "" {
			if hopByHop(c.header) || c.header == "Host" || c.header == "Content-Length" {
				return fmt.Errorf("%s.header: %s belongs to the connection between two machines", at, c.header)
			}
			if p.taken[c.header] {
				return fmt.Errorf("%s: %s is injected twice", at, c.header)
			}
			p.taken[c.header] = true
		}
		p.inject = append(p.inject, c)
	}
	if !carries {
		return fmt.Errorf("api.inject: nothing there names the token: add {header: Authorization}, or a template with {{access_token}}")
	}
	return nil
}

// varies reports whether the value at path may differ from call to call though
// the token is the same.
func (p *plan) varies(path string) bool {
	root, _, _ := strings.Cut(path, ".")
	switch root {
	case "access_token", "id_token", "scheme", "token_type", "scope", "session", "answer":
		return false
	}
	_, ok := p.given(path)
	return !ok
}

// render fills the injections in for tok.
func (p *plan) render(tok *freshet.Token, more template.Lookup) (*rendering, *RefusedError) {
	if r := p.last.Load(); r != nil && r.tok == tok && !r.once {
		return r, nil
	}
	r := &rendering{tok: tok}
	if r2 := p.checkBinding(tok); r2 != nil {
		return nil, r2
	}
	lookup := p.values(tok, more)
	for i, in := range p.inject {
		v, err := p.renderOne(in, tok, lookup)
		if err != nil {
			return nil, p.refuse(Misconfigured, fmt.Sprintf("api.inject[%d]: %v", i, err))
		}
		r.once = r.once || in.once
		switch {
		case in.header != "":
			r.fields = append(r.fields, field{in.header, []string{v}})
		case in.query != "":
			if r.query != "" {
				r.query += "&"
			}
			r.query += url.QueryEscape(in.query) + "=" + url.QueryEscape(v)
		case in.cookie != "":
			if strings.ContainsAny(v, `;, "\`) {
				return nil, p.refuse(Misconfigured, fmt.Sprintf("api.inject[%d]: the value holds a character that no cookie may hold", i))
			}
			if r.cookies != "" {
				r.cookies += "; "
			}
			r.cookies += in.cookie + "=" + v
		}
		if p.api.ScanEcho {
			r.secrets = append(r.secrets, afterScheme(v))
		}
	}
	if p.api.ScanEcho {
		r.secrets = append(r.secrets, tok.Access.Reveal())
	}
	if !r.once {
		p.last.Store(r)
	}
	return r, nil
}

func (p *plan) renderOne(in injection, tok *freshet.Token, lookup template.Lookup) (string, error) {
	if in.value == nil {
		v := p.scheme(tok) + " " + tok.Access.Reveal()
		return v, printable(v)
	}
	v, err := in.value.Execute(lookup)
	if err != nil {
		return "", err
	}
	if in.user != nil {
		user, err := in.user.Execute(lookup)
		if err != nil {
			return "", err
		}
		if strings.Contains(user, ":") {
			return "", fmt.Errorf("the user part of Basic holds a colon")
		}
		v = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+v))
	}
	if v == "" {
		return "", fmt.Errorf("the value is empty")
	}
	if p.boundToken(tok) && in.token && !(in.header == "Authorization" && hasScheme(v, "DPoP")) {
		return "", fmt.Errorf("the token is bound to a key: it may only go as Authorization: DPoP")
	}
	return v, printable(v)
}

// printable refuses what would end a header field or be read differently by
// different servers. The error does not show s, which may be a secret.
func printable(s string) error {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("byte %d of the value may not stand in a header", i+1)
		}
	}
	if s != strings.TrimSpace(s) {
		return fmt.Errorf("the value begins or ends with a space")
	}
	return nil
}

// afterScheme cuts "Bearer " and its kin off a header's value.
func afterScheme(v string) string {
	if i := strings.LastIndexByte(v, ' '); i >= 0 {
		return v[i+1:]
	}
	return v
}

func hasScheme(v, scheme string) bool {
	return len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) && v[len(scheme)] == ' '
}

// newUUID returns a random UUID, RFC 9562 §5.4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// mergeQuery removes every copy of the injected parameters from a raw query,
// leaving its other bytes as they are, and puts the injected ones at the end.
func (p *plan) mergeQuery(t target, r *rendering) (query string, asked bool) {
	if r.query == "" {
		return t.query, t.asked
	}
	kept := p.withoutInjected(t.query)
	if kept == "" {
		return r.query, true
	}
	return kept + "&" + r.query, true
}

// withoutInjected splits at & and at ;, as some servers do.
func (p *plan) withoutInjected(query string) string {
	var b strings.Builder
	for query != "" {
		piece, sep := query, ""
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			piece, sep = query[:i], query[i:i+1]
		}
		query = query[len(piece)+len(sep):]
		if p.injectsQuery(piece) {
			continue
		}
		b.WriteString(piece)
		b.WriteString(sep)
	}
	return strings.TrimRight(b.String(), "&;")
}

func (p *plan) injectsQuery(piece string) bool {
	name, _, _ := strings.Cut(piece, "=")
	plain := decode(strings.ReplaceAll(name, "+", " "))
	// PHP and others fold brackets, dots and spaces in names.
	plain, _, _ = strings.Cut(plain, "[")
	for _, in := range p.inject {
		if in.query != "" && strings.EqualFold(strings.TrimSpace(plain), in.query) {
			return true
		}
	}
	return false
}

// mergeCookies returns the Cookie header: the caller's cookies if the
// connection passes them, without those that are injected, and the injected.
func (p *plan) mergeCookies(client []string, r *rendering) string {
	var all []string
	if p.api.Cookies {
		for _, line := range client {
			for c := range strings.SplitSeq(line, ";") {
				c = strings.TrimSpace(c)
				name, _, _ := strings.Cut(c, "=")
				taken := slices.ContainsFunc(p.inject, func(in injection) bool {
					return in.cookie != "" && strings.EqualFold(in.cookie, strings.TrimSpace(name))
				})
				if c != "" && !taken {
					all = append(all, c)
				}
			}
		}
	}
	if r.cookies != "" {
		all = append(all, r.cookies)
	}
	return strings.Join(all, "; ")
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for _, c := range s {
		if c > 'z' && c != '|' && c != '~' || c < '!' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}
