package resource

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
)

func clients() Kind {
	return Define(Spec[freshet.Client]{
		Name: kindClient, One: "client",
		Doc:  "Our registration at a provider: id, secret or key.",
		Refs: func(cl *freshet.Client) []Ref { return []Ref{{Key{kindProvider, cl.Provider}, "provider"}} },
		Check: func(c *Check, name string, cl *freshet.Client) {
			c.variables(cl.Provider, cl.Variables)
			c.Headers("headers", cl.RequestHeaders)
			checkRedirect(c, cl.RedirectURL)
			if len(cl.Previous) > 0 && cl.Secret.IsZero() {
				c.Fault("secret", "is needed: previous_secrets are tried after it")
			}
			if cl.KeyID != "" && cl.Key.IsZero() {
				c.Warn("key_id", "names a key, and there is none in key")
			}
		},
	})
}

// variables warns of names that the provider does not declare: they can only
// mean something to a template.
func (c *Check) variables(provider string, given map[string]string) {
	p := c.provider(provider)
	if p == nil || len(given) == 0 {
		return
	}
	var known []string
	for v := range p.Variables {
		known = append(known, v)
	}
	for v, value := range given {
		field := join("variables", v)
		if !variableName.MatchString(v) {
			c.Fault(field, "the name of a variable has letters, digits and underscores")
			continue
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.Fault(field, "a variable holds no line end or other control character")
		}
		if _, ok := p.Variables[v]; ok {
			continue
		}
		if near := nearest(v, known); near != "" {
			c.Fault(field, "is not a variable of provider %s; did you mean %q?", provider, near)
		}
	}
}

// checkRedirect follows RFC 8252 §7.3: plain http is for the loopback, where
// the code never leaves the machine.
func checkRedirect(c *Check, raw string) {
	if raw == "" {
		return
	}
	u, err := dial.ParseURL(raw)
	if err != nil {
		c.Fault("redirect_url", "%v", err)
		return
	}
	if u.Scheme == "http" && !loopback(u) {
		c.Fault("redirect_url", "plain http is for 127.0.0.1, [::1] and localhost only: use https")
	}
}

func loopback(u *url.URL) bool {
	h := u.Hostname()
	return h == "localhost" || h == "::1" || strings.HasPrefix(h, "127.")
}

// authenticates reports what is missing for how the client is to prove itself,
// as the client's field and the text of a fault; "" for nothing.
func authenticates(d *freshet.Definition, g freshet.GrantType) (field, text string) {
	if g == freshet.GrantRequest {
		return "", "" // its template says what is sent
	}
	cl, auth := &d.Client, d.Auth(false)
	if cl.ID == "" && (auth != freshet.AuthNone || g == freshet.GrantAuthorizationCode || g == freshet.GrantDeviceCode) {
		return "id", fmt.Sprintf("is needed: the client id that provider %s gave you", d.Provider.Name)
	}
	switch auth {
	case freshet.AuthBasic, freshet.AuthBody:
		if g == freshet.GrantClientCredentials && cl.Secret.IsZero() && cl.Certificate.IsZero() {
			return "secret", fmt.Sprintf("is needed: provider %s authenticates clients with it (client_auth: %s)", d.Provider.Name, auth)
		}
	case freshet.AuthPrivateKeyJWT:
		if cl.Key.IsZero() {
			return "key", fmt.Sprintf("is needed: provider %s authenticates clients with a signature (client_auth: %s)", d.Provider.Name, auth)
		}
	}
	return "", ""
}
