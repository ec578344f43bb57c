package grant

import (
	"context"

	"github.com/freshet-dev/freshet"
)

// Revoke makes the provider forget a token set, RFC 7009: the refresh token
// first, because that ends the grant, then the access token. A token that the
// provider does not know is revoked already (§2.2). The error is
// ErrNoRevocation, or an *Error; a Retryable one, such as a 503, means that the
// tokens still live and Revoke is to be called again (§2.2.1).
func (s *Sender) Revoke(ctx context.Context, def *freshet.Definition, tok *freshet.Token) error {
	ctx, cancel := bound(ctx)
	defer cancel()
	if def.Provider.Revocation != nil {
		token := tok.Refresh
		if token.IsZero() {
			token = tok.Access
		}
		return asError(s.revoke(ctx, def, tok, token, ""))
	}
	if !tok.Refresh.IsZero() {
		if err := s.revoke(ctx, def, tok, tok.Refresh, "refresh_token"); err != nil {
			return noEndpoint(err)
		}
	}
	if tok.Access.IsZero() {
		return nil
	}
	err := s.revoke(ctx, def, tok, tok.Access, "access_token")
	if err != nil && err.Code == "unsupported_token_type" && !tok.Refresh.IsZero() {
		return nil // §2.2.1: access tokens are not revoked there; the grant is gone
	}
	return noEndpoint(err)
}

func noEndpoint(e *Error) error {
	if e != nil && e.Code == "no_revocation_url" {
		return ErrNoRevocation
	}
	return asError(e)
}

// revoke sends one revocation request.
func (s *Sender) revoke(ctx context.Context, def *freshet.Definition, held *freshet.Token, token freshet.Secret, hint string) *Error {
	c, err := s.newCall(def)
	if err != nil {
		return err
	}
	p := &def.Provider
	// The answer is read for an error alone; templates of token answers do not
	// describe it.
	c.grant, c.shape, c.held, c.field, c.req = Grant(def), &freshet.Response{}, held, "revocation_request", &freshet.TokenRequest{}
	places := []place{{"provider " + p.Name + ": revocation_url", p.RevocationURL}}
	if p.Revocation != nil {
		c.req = p.Revocation
		places = []place{{"provider " + p.Name + ": revocation_request.url", p.Revocation.URL}, places[0], {"provider " + p.Name + ": token_url", p.TokenURL}}
	}
	if err := c.choose(ctx, places, "revocation_url", func(m *Metadata) string {
		return m.endpoint(def, m.RevocationEndpoint, "revocation_endpoint")
	}); err != nil {
		return err
	}
	c.more = map[string]any{"token": token}
	c.std.keep("token", token)
	c.std.set("token_type_hint", hint)
	m, err := c.message(c.clientSecret(), "")
	if err != nil {
		return err
	}
	r := c.exchange(ctx, m)
	out := Parse(p, c.shape, def.Connection.Refresh, r)
	c.report(m, out, r)
	if r.Status/100 == 2 {
		return nil
	}
	e := out.Err
	if e == nil {
		e = &Error{Class: Retryable, Code: "malformed_response", Status: r.Status}
	}
	if e.Code == "invalid_token" || e.Code == "invalid_grant" {
		return nil // not of RFC 7009, but what is meant is that it is gone
	}
	return e
}
