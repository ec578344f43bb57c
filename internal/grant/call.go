package grant

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// A call is one token request in the making: what is the same however often
// it is sent.
type call struct {
	s         *Sender
	def       *freshet.Definition
	ask       Ask
	transport http.RoundTripper

	grant   freshet.GrantType // what the request is
	refresh bool              // it presents a refresh token, or renews an access token
	shape   *freshet.Response
	req     *freshet.TokenRequest
	field   string         // where req stands in the provider, for errors
	extra   freshet.Values // over req.Params
	std     params         // the grant's own, by their standard names
	url     place
	wanted  string // the scope that the answer is held against
	dpop    *Prover
	bare    bool           // nothing but what req says: no standard parameter, no client authentication
	held    *freshet.Token // what {{access_token}} and {{answer.…}} name
	more    map[string]any // further values of templates

	// Of the message that is being made:
	secret     freshet.Secret
	usedSecret bool
	now        time.Time
	sent       []freshet.Secret
	memo       map[string]any
	trouble    *Error // why a value could not be made
}

// A place is a template and where it stands.
type place struct{ field, text string }

// prepare decides what to ask for and where.
func (s *Sender) prepare(ctx context.Context, def *freshet.Definition, ask Ask) (*call, *Error) {
	c, err := s.newCall(def)
	if err != nil {
		return nil, err
	}
	if err := c.prove(); err != nil {
		return nil, err
	}
	c.ask, c.held = ask, ask.Previous
	p := &def.Provider
	c.grant, c.req, c.field, c.shape = Grant(def), &p.Request, "request", &p.Response
	switch {
	case !ask.Code.IsZero():
		err = c.authorizationCode()
	case !ask.DeviceCode.IsZero():
		err = c.deviceCode()
	case !ask.RefreshToken.IsZero() && Refreshes(def):
		err = c.refreshToken(ask.RefreshToken)
	default:
		err = c.obtain()
	}
	if err != nil {
		return nil, err
	}
	if err := c.endpoint(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// newCall begins a call for def, with the transport that its client asks for.
func (s *Sender) newCall(def *freshet.Definition) (*call, *Error) {
	c := &call{s: s, def: def, transport: s.transport}
	if why := def.Provider.Unsupported; why != "" {
		return nil, misconfigured("unsupported_provider", "%s", why)
	}
	if err := c.certificate(); err != nil {
		return nil, err
	}
	return c, nil
}

// prove makes a call carry a proof if its client's tokens are bound to a key,
// RFC 9449 §5: proofs go with requests for tokens, and with no others.
func (c *call) prove() *Error {
	if !c.def.Client.DPoP {
		return nil
	}
	prover, err := NewProver(c.def.DPoPKey)
	if err != nil {
		return misconfigured("bad_dpop_key", "connection %s: %v", c.def.Connection.Name, err)
	}
	c.dpop = prover
	return nil
}

// obtain asks for a token by the connection's own grant.
func (c *call) obtain() *Error {
	switch c.grant {
	case freshet.GrantClientCredentials:
		return c.clientCredentials()
	case freshet.GrantPassword:
		return c.password()
	case freshet.GrantJWTBearer:
		return c.jwtBearer()
	case freshet.GrantTokenExchange:
		return c.tokenExchange()
	case freshet.GrantRequest:
		return c.request()
	case freshet.GrantRefreshToken:
		if t := c.def.Connection.Credentials["refresh_token"]; !t.IsZero() {
			return c.refreshToken(t)
		}
	}
	if err := c.grant.Known(); err != nil {
		return misconfigured("unknown_grant", "connection %s: %v", c.def.Connection.Name, err)
	}
	if c.def.Provider.RefreshRequest != nil && c.held != nil && !c.held.Access.IsZero() {
		return c.refreshToken(freshet.Secret{}) // Instagram, Threads: the access token renews itself
	}
	return &Error{Class: Permanent, Code: "no_refresh_token", Detail: fmt.Sprintf("connection %s holds no refresh_token and its grant %s needs a person", c.def.Connection.Name, c.grant)}
}

// Grant returns the grant that def uses: its own, else the provider's first,
// else authorization_code.
func Grant(def *freshet.Definition) freshet.GrantType {
	switch {
	case def.Connection.Grant != "":
		return def.Connection.Grant
	case len(def.Provider.Grants) > 0:
		return def.Provider.Grants[0]
	}
	return freshet.GrantAuthorizationCode
}

// Refreshes reports whether a refresh token of def is of any use: some grants
// sign in anew instead, because they can and because nothing is rotated then.
func Refreshes(def *freshet.Definition) bool {
	switch Grant(def) {
	case freshet.GrantClientCredentials, freshet.GrantJWTBearer:
		return false
	case freshet.GrantRequest:
		return def.Provider.RefreshRequest != nil || def.Provider.RefreshURL != "" || def.Connection.RefreshURL != ""
	}
	return true
}

// endpoint finds the URL that the request goes to. The nearest word counts:
// the connection's, that of the request itself, the provider's, and what the
// issuer publishes.
func (c *call) endpoint(ctx context.Context) *Error {
	p, conn := &c.def.Provider, &c.def.Connection
	provider, connection := "provider "+p.Name+": ", "connection "+conn.Name+": "
	own := place{provider + c.field + ".url", c.req.URL}
	mine, common := place{connection + "token_url", conn.TokenURL}, place{provider + "token_url", p.TokenURL}
	places := []place{mine, own, common}
	if c.refresh {
		first, renew := place{connection + "refresh_url", conn.RefreshURL}, place{provider + "refresh_url", p.RefreshURL}
		if p.RefreshRequest != nil {
			places = []place{first, own, renew, mine, common}
		} else {
			// own is where tokens are asked for, by the request that serves both.
			places = []place{first, renew, mine, own, common}
		}
	}
	return c.choose(ctx, places, "token_url", func(m *Metadata) string { return m.endpoint(c.def, m.TokenEndpoint, "token_endpoint") })
}

// choose takes the first place that is filled in, else what the issuer
// publishes.
func (c *call) choose(ctx context.Context, places []place, what string, published func(*Metadata) string) *Error {
	for _, p := range places {
		if p.text != "" {
			c.url = p
			return nil
		}
	}
	p := &c.def.Provider
	if p.Issuer != "" {
		m, err := c.metadata(ctx)
		if err != nil {
			return err
		}
		if u := published(m); u != "" {
			c.url = place{"provider " + p.Name + ": " + what + " of its issuer", u}
			return nil
		}
	}
	return misconfigured("no_"+what, "provider %s has no %s", p.Name, what)
}

// secrets lists the client's secrets in the order to try: the one that worked
// last, the present one, the former ones.
func (c *call) secrets() []freshet.Secret {
	list := append([]freshet.Secret{c.clientSecret()}, c.def.Client.Previous...)
	if w, ok := c.s.working.Load(c.def.ClientKey()); ok {
		last := w.(freshet.Secret)
		if i := slices.IndexFunc(list, last.Equal); i > 0 {
			list = slices.Insert(slices.Delete(list, i, i+1), 0, last)
		}
	}
	return list
}

// keepSecret remembers that a former secret is the one that works, so that
// each refresh until the provider learns the new one is a single request.
func (c *call) keepSecret(s freshet.Secret) {
	if !c.usedSecret || len(c.def.Client.Previous) == 0 {
		return
	}
	if s.Equal(c.clientSecret()) {
		c.s.working.Delete(c.def.ClientKey())
	} else {
		c.s.working.Store(c.def.ClientKey(), s)
	}
}

// message fills in the request as it goes out with one of the client's secrets
// and a DPoP nonce.
func (c *call) message(secret freshet.Secret, nonce string) (*message, *Error) {
	c.secret, c.usedSecret, c.sent, c.memo, c.trouble = secret, false, nil, map[string]any{}, nil
	c.now = c.s.now()
	raw, err := c.fill(c.url.field, c.url.text, template.URL)
	if err != nil {
		return nil, err
	}
	u, err := endpointURL(c.url.field, raw)
	if err != nil {
		return nil, err
	}
	m := &message{url: u, header: http.Header{}, method: cmpOr(c.req.Method, http.MethodPost)}
	switch m.method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return nil, misconfigured("bad_method", "%s.method: %q is not one of GET, POST, PUT, PATCH, DELETE", c.fieldName(), m.method)
	}
	m.header.Set("Accept", "application/json")
	m.header.Set("User-Agent", c.s.agent)

	kind := cmpOr(c.req.Body, "form")
	if kind == "form" && m.method == http.MethodGet {
		kind = "query"
	}
	whole := kind != "form" && kind != "query" && kind != "json" // a template is the whole body
	var ps params
	if !c.req.Only && !c.bare && !whole {
		for _, p := range c.std {
			if p.make != nil {
				v, err := p.make()
				if err != nil {
					return nil, err
				}
				p.secret, p.value = v, v.Reveal()
			}
			ps.set(c.nameOf(p.name), p.value)
			c.sent = append(c.sent, p.secret)
		}
	}
	if !c.bare {
		if err := c.authenticate(m, &ps, c.req.Only || whole); err != nil {
			return nil, err
		}
	}
	own := maps.Clone(c.req.Params)
	if own == nil {
		own = freshet.Values{}
	}
	maps.Copy(own, c.extra)
	for _, name := range slices.Sorted(maps.Keys(own)) {
		v, err := c.fill(c.fieldName()+".params."+name, own[name], nil)
		if err != nil {
			return nil, err
		}
		ps.set(name, v)
	}
	if err := c.body(m, kind, ps); err != nil {
		return nil, err
	}
	if err := c.headers(m); err != nil {
		return nil, err
	}
	if c.dpop != nil {
		proof, err := c.dpop.Proof(m.method, m.url.String(), freshet.Secret{}, nonce, c.now)
		if err != nil {
			return nil, misconfigured("bad_dpop_key", "connection %s: %v", c.def.Connection.Name, err)
		}
		m.header.Set("DPoP", proof)
	}
	m.sent = slices.DeleteFunc(c.sent, freshet.Secret.IsZero)
	return m, nil
}

// body puts the parameters where kind says.
func (c *call) body(m *message, kind string, ps params) *Error {
	switch kind {
	case "form":
		if len(ps) > 0 {
			m.body = []byte(ps.form())
			m.header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return nil
	case "json":
		m.body = ps.json()
		m.header.Set("Content-Type", "application/json")
		return nil
	}
	if len(ps) > 0 {
		// What the URL's own query holds stays byte for byte.
		if m.url.RawQuery != "" {
			m.url.RawQuery += "&"
		}
		m.url.RawQuery += ps.form()
	}
	if kind == "query" {
		return nil
	}
	media := c.req.Headers["Content-Type"]
	if media == "" {
		media = mediaOf(kind)
	}
	body, err := c.fill(c.fieldName()+".body", kind, escapeFor(media))
	if err != nil {
		return err
	}
	m.body = []byte(body)
	m.header.Set("Content-Type", media)
	return nil
}

// forbidden are headers that would change how often or where a request goes.
// net/http repeats requests that carry an idempotency key.
var forbidden = []string{"Idempotency-Key", "X-Idempotency-Key", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Proxy-Authorization", "Dpop", "Expect"}

// headers adds the request's and the client's own. One that renders to nothing
// is not sent.
func (c *call) headers(m *message) *Error {
	add := func(field string, values map[string]string) *Error {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			key := http.CanonicalHeaderKey(name)
			if slices.Contains(forbidden, key) {
				return misconfigured("bad_header", "%s.%s: a token request may not set this header", field, name)
			}
			v, err := c.fill(field+"."+name, values[name], template.Header)
			if err != nil {
				return err
			}
			if _, err := template.Header("", v); err != nil {
				return misconfigured("bad_header", "%s.%s: %v", field, name, err)
			}
			if v == "" {
				m.header.Del(key)
				continue
			}
			m.header.Set(key, v)
		}
		return nil
	}
	if err := add(c.fieldName()+".headers", c.req.Headers); err != nil {
		return err
	}
	return add("client "+c.def.Client.Name+": headers", c.def.Client.RequestHeaders)
}

// nameOf returns the provider's name of a standard parameter, empty if it does
// not know it.
func (c *call) nameOf(standard string) string {
	if own, ok := c.def.Provider.ParameterNames[standard]; ok {
		return own
	}
	return standard
}

func (c *call) fieldName() string { return "provider " + c.def.Provider.Name + ": " + c.field }

// endpointURL parses the address of a token request. Its errors do not show
// it: templates may have put a secret into it.
func endpointURL(field, raw string) (*url.URL, *Error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, misconfigured("bad_url", "%s is not a URL", field)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, misconfigured("bad_url", "%s: scheme %q is not https", field, u.Scheme)
	case u.Host == "" || u.Hostname() == "":
		return nil, misconfigured("bad_url", "%s names no host", field)
	case u.User != nil:
		return nil, misconfigured("bad_url", "%s holds a user or password before the host: put them into client or credentials", field)
	case strings.Contains(raw, "#"):
		return nil, misconfigured("bad_url", "%s has a fragment, which is never sent", field)
	}
	return u, nil
}

// scope joins the configured scopes as the provider wants them.
func (c *call) scope() string {
	sep := " "
	if s := c.def.Provider.ScopeSeparator; s != nil {
		sep = *s
	}
	return strings.Join(c.def.Connection.Scopes, sep)
}

// scopes lists the configured scopes in the form of RFC 6749 §3.3.
func (c *call) scopes() string { return strings.Join(c.def.Connection.Scopes, " ") }

func misconfigured(code, format string, args ...any) *Error {
	return &Error{Class: Misconfigured, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
