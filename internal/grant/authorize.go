package grant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// AuthorizeParams are what one authorization carries besides what the
// connection says.
type AuthorizeParams struct {
	State       string         // required, at least 128 bits: it protects where a provider ignores PKCE
	Verifier    freshet.Secret // PKCE; or:
	Challenge   string         // its S256 challenge, when the verifier is kept elsewhere
	RedirectURI string         // empty: the client's
	Nonce       string         // goes out where an ID token will bring it back
}

// NewVerifier returns a new PKCE verifier of 256 bits, RFC 7636 §4.1.
func NewVerifier() freshet.Secret {
	var b [32]byte
	rand.Read(b[:])
	return freshet.NewSecret(thumbprint(b[:]))
}

// Challenge returns the S256 challenge of a verifier, RFC 7636 §4.2.
func Challenge(verifier freshet.Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return thumbprint(sum[:])
}

// usesPKCE reports whether the provider can bear the parameter.
func usesPKCE(p *freshet.Provider) bool { return p.PKCE != "off" }

// sendsNonce reports whether an authorization carries a nonce: where OpenID
// Connect is asked for, or where the provider's parameters say so.
func sendsNonce(def *freshet.Definition) bool {
	return slices.Contains(def.Connection.Scopes, "openid") || def.Provider.AuthorizeParams["nonce"] != ""
}

// AuthorizeURL returns the link that a person follows to authorize the
// connection. It carries an S256 challenge unless the provider refuses PKCE,
// and always a state.
func (s *Sender) AuthorizeURL(ctx context.Context, def *freshet.Definition, a AuthorizeParams) (string, error) {
	u, err := s.authorizeURL(ctx, def, a)
	return u, asError(err)
}

func (s *Sender) authorizeURL(ctx context.Context, def *freshet.Definition, a AuthorizeParams) (string, *Error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	p := &def.Provider
	c := &call{s: s, def: def, req: &freshet.TokenRequest{}, memo: map[string]any{}, now: s.now()}
	c.ask.RedirectURI = cmpOr(a.RedirectURI, def.Client.RedirectURL)
	c.more = map[string]any{"state": a.State}
	if a.Nonce != "" {
		c.more["nonce"] = a.Nonce
	}
	if len(a.State) < 22 {
		return "", misconfigured("weak_state", "an authorization needs a state of at least 128 bits")
	}
	if c.clientID() == "" {
		return "", misconfigured("no_client_id", "%s has no id", c.clientField())
	}
	if err := c.choose(ctx, []place{{"provider " + p.Name + ": authorization_url", p.AuthorizationURL}}, "authorization_url", func(m *Metadata) string { return m.AuthorizationEndpoint }); err != nil {
		return "", err
	}
	ps := params{}
	set := func(name, value string) { ps.set(c.nameOf(name), value) }
	set("response_type", "code")
	set("client_id", c.clientID())
	set("redirect_uri", c.ask.RedirectURI)
	set("scope", c.scope())
	set("state", a.State)
	if usesPKCE(p) {
		challenge := a.Challenge
		if challenge == "" && !a.Verifier.IsZero() {
			challenge = Challenge(a.Verifier)
		}
		if challenge == "" {
			return "", misconfigured("no_pkce", "an authorization at provider %s needs a PKCE verifier", p.Name)
		}
		set("code_challenge", challenge)
		set("code_challenge_method", "S256")
	}
	if sendsNonce(def) {
		set("nonce", a.Nonce)
	}
	for _, name := range slices.Sorted(maps.Keys(p.AuthorizeParams)) {
		switch name {
		case "state", "code_challenge", "code_challenge_method", c.nameOf("state"):
			return "", misconfigured("bad_authorize_param", "provider %s: authorize_params may not replace %s: it protects the authorization", p.Name, name)
		}
		v, err := c.fill("provider "+p.Name+": authorize_params."+name, p.AuthorizeParams[name], nil)
		if err != nil {
			return "", err
		}
		ps.set(name, v)
	}
	raw, err := c.fill(c.url.field, c.url.text, template.URL)
	if err != nil {
		return "", err
	}
	u, err := endpointURL(c.url.field, raw)
	if err != nil {
		return "", err
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += ps.form()
	return u.String(), nil
}

// A CallbackError is what a provider said instead of a code. Its texts are
// safe to show as text: short, and without control characters.
type CallbackError struct {
	Code        string // RFC 6749 §4.1.2.1, such as access_denied
	Description string
}

// Error says what the provider said.
func (e *CallbackError) Error() string {
	if e.Description == "" {
		return "the provider refused the authorization: " + e.Code
	}
	return fmt.Sprintf("the provider refused the authorization: %s: %s", e.Code, e.Description)
}

// ErrMixUp says that an authorization response came from another issuer than
// the request went to, RFC 9207 §2.4. Its code goes nowhere.
var ErrMixUp = errors.New("the answer comes from another issuer than the one that was asked")

// CheckCallback reads what a provider's redirect brought and returns the code.
// The issuer is checked before anything else is believed: RFC 9207, where the
// provider has an issuer. State is the caller's to check, before this. An error
// is a *CallbackError, ErrMixUp, or says which parameter is wrong.
func (s *Sender) CheckCallback(ctx context.Context, def *freshet.Definition, q url.Values) (freshet.Secret, error) {
	get := func(standard string) (string, error) {
		name := cmpOr(def.Provider.CallbackNames[standard], standard)
		switch len(q[name]) {
		case 0:
			return "", nil
		case 1:
			return q[name][0], nil
		}
		return "", fmt.Errorf("the answer repeats the parameter %s", name)
	}
	iss, err := get("iss")
	if err != nil {
		return freshet.Secret{}, err
	}
	if def.Provider.Issuer != "" {
		want, bad := issuerOf(def)
		if bad != nil {
			return freshet.Secret{}, bad
		}
		if iss != "" && iss != want {
			return freshet.Secret{}, ErrMixUp
		}
		if iss == "" {
			// Whether it must be there only the metadata say. When they cannot
			// be had, the code still goes to this provider's endpoint alone.
			if m, bad := s.discover(ctx, want); bad == nil && m.IssParameter {
				return freshet.Secret{}, ErrMixUp
			}
		}
	}
	code, err := get("error")
	if err != nil {
		return freshet.Secret{}, err
	}
	if code != "" {
		text, err := get("error_description")
		if err != nil {
			return freshet.Secret{}, err
		}
		return freshet.Secret{}, &CallbackError{Code: shown(code, 64), Description: shown(text, 200)}
	}
	code, err = get("code")
	if err != nil {
		return freshet.Secret{}, err
	}
	if code == "" || len(code) > 8<<10 {
		return freshet.Secret{}, errors.New("the answer holds no code")
	}
	for i := range len(code) {
		if code[i] < 0x20 || code[i] > 0x7e { // RFC 6749 appendix A.11
			return freshet.Secret{}, errors.New("the answer holds a code with characters that none may have")
		}
	}
	return freshet.NewSecret(code), nil
}
