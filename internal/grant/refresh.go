package grant

import "github.com/freshet-dev/freshet"

// refreshToken spends a refresh token, RFC 6749 §6. It is empty where the
// access token itself is what is renewed; the provider's request then names it.
func (c *call) refreshToken(token freshet.Secret) *Error {
	p := &c.def.Provider
	c.refresh, c.extra = true, p.RefreshParams
	c.grant = freshet.GrantRefreshToken
	c.ask.RefreshToken = token
	if p.RefreshAnswer != nil {
		c.shape = p.RefreshAnswer
	}
	if p.RefreshRequest != nil {
		c.req, c.field = p.RefreshRequest, "refresh_request"
	}
	c.std = params{{name: "grant_type", value: "refresh_token"}}
	c.std.keep("refresh_token", token)
	if p.SendScope {
		// Some providers narrow the grant to what is repeated here, others
		// refuse the parameter: it is sent where the profile says so, and then
		// what was granted counts, not what was once asked for.
		c.wanted = cmpOr(c.ask.Scope, c.scope())
		c.std.set("scope", c.wanted)
	}
	return nil
}
