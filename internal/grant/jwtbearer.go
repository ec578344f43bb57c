package grant

import "github.com/freshet-dev/freshet"

// jwtBearer trades a JWT that the client's key signs, RFC 7523 §2.1. The JWT is
// made with the message: each send has its own.
func (c *call) jwtBearer() *Error {
	c.wanted = c.scopes()
	c.std = params{
		{name: "grant_type", value: "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		{name: "assertion", make: func() (freshet.Secret, *Error) { return c.assertion(forGrant) }},
	}
	if a := c.def.Provider.Assertion; a == nil || !a.Scope {
		c.std.set("scope", c.scope())
	}
	return nil
}
