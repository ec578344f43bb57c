package grant

import "github.com/freshet-dev/freshet"

// clientCredentials asks for a token of the client's own, RFC 6749 §4.4.
func (c *call) clientCredentials() *Error {
	c.wanted = c.scopes()
	c.std = params{{name: "grant_type", value: "client_credentials"}}
	c.std.set("scope", c.scope())
	return nil
}

// password signs in with a user's name and password, RFC 6749 §4.3.
func (c *call) password() *Error {
	c.wanted = c.scopes()
	c.std = params{{name: "grant_type", value: "password"}}
	for _, name := range []string{"username", "password"} {
		v, err := c.credential(name)
		if err != nil && !c.shaped() {
			return err
		}
		c.std.keep(name, v)
	}
	c.std.set("scope", c.scope())
	return nil
}

// credential returns one that the grant cannot do without.
func (c *call) credential(name string) (freshet.Secret, *Error) {
	v := c.def.Connection.Credentials[name]
	if v.IsZero() {
		return v, misconfigured("missing_credential", "connection %s: grant %s needs credentials.%s", c.def.Connection.Name, c.grant, name)
	}
	return v, nil
}

// shaped reports whether the provider spells the request itself, so that the
// standard parameters are not what matters.
func (c *call) shaped() bool {
	if c.req.Only {
		return true
	}
	switch c.req.Body {
	case "", "form", "json", "query":
		return false
	}
	return true
}
