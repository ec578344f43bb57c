package grant

import "github.com/freshet-dev/freshet"

// authorizationCode exchanges a code, RFC 6749 §4.1.3, with the proof key of
// RFC 7636 §4.5.
func (c *call) authorizationCode() *Error {
	c.grant, c.wanted = freshet.GrantAuthorizationCode, c.scopes()
	c.std = params{{name: "grant_type", value: "authorization_code"}}
	c.std.keep("code", c.ask.Code)
	c.std.set("redirect_uri", c.ask.RedirectURI)
	c.std.keep("code_verifier", c.ask.Verifier)
	return nil
}
