package grant

// tokenExchange trades one token for another, RFC 8693 §2.1. The connection's
// credentials are its parameters.
func (c *call) tokenExchange() *Error {
	c.wanted = c.scopes()
	subject, err := c.credential("subject_token")
	if err != nil && !c.shaped() {
		return err
	}
	const accessToken = "urn:ietf:params:oauth:token-type:access_token"
	c.std = params{{name: "grant_type", value: "urn:ietf:params:oauth:grant-type:token-exchange"}}
	c.std.keep("subject_token", subject)
	creds := c.def.Connection.Credentials
	c.std.set("subject_token_type", cmpOr(creds["subject_token_type"].Reveal(), accessToken))
	if actor := creds["actor_token"]; !actor.IsZero() {
		c.std.keep("actor_token", actor)
		// RFC 8693 §2.1: required with an actor token, and only then.
		c.std.set("actor_token_type", cmpOr(creds["actor_token_type"].Reveal(), accessToken))
	}
	for _, name := range []string{"requested_token_type", "audience", "resource"} {
		c.std.set(name, creds[name].Reveal())
	}
	c.std.set("scope", c.scope())
	return nil
}
