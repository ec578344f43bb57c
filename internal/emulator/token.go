package emulator

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	grantDeviceCode    = "urn:ietf:params:oauth:grant-type:device_code"
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken    = "urn:ietf:params:oauth:token-type:access_token"
)

// grantName shortens a grant_type to the word that faults and statistics use.
func grantName(grantType string) string {
	switch grantType {
	case grantDeviceCode:
		return "device_code"
	case grantJWTBearer:
		return "jwt_bearer"
	case grantTokenExchange:
		return "token_exchange"
	case "authorization_code", "client_credentials", "password", "refresh_token":
		return grantType
	case "":
		return ""
	}
	return "other"
}

// token answers a token request, RFC 6749 §3.2.
func (x *exchange) token() *answer {
	if x.r.Method != http.MethodPost && x.r.Method != http.MethodGet {
		a := refuse(405, "invalid_request", "POST a form")
		a.setHeader("Allow", "POST")
		return a
	}
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	c, bad := x.authenticateLocked()
	if bad != nil {
		return bad
	}
	if bad := x.pickyLocked(c); bad != nil {
		return bad
	}
	if len(c.GrantTypes) > 0 && !slices.Contains(c.GrantTypes, x.grantType) {
		return refuse(400, "unauthorized_client", "the client may not use this grant type")
	}
	jkt, bad := x.proofLocked(c, "")
	if bad != nil {
		return bad
	}
	switch x.grantType {
	case "authorization_code":
		return x.codeGrantLocked(c, jkt)
	case "refresh_token":
		return x.refreshGrantLocked(c, jkt)
	case "client_credentials":
		if x.cred.way == "none" && x.params.Get("client_secret") == "" && c.Auth != "none" {
			return refuse(401, "invalid_client", "client credentials need a client that shows its secret")
		}
		scope, bad := x.scope(c)
		if bad != nil {
			return bad
		}
		g := e.ownGrantLocked(c, c.ID, scope, x.now)
		g.jkt = jkt
		return e.firstLocked(g, false, e.issuer(x.r), x.twist, x.now)
	case "password":
		subject, ok := e.userLocked(x.params.Get("username"), x.params.Get("password"))
		if !ok {
			return refuse(400, "invalid_grant", "the user name or password is wrong")
		}
		return x.newGrantLocked(c, subject, jkt, true)
	case "device_code":
		return x.deviceGrantLocked(c, jkt)
	case "jwt_bearer":
		return x.assertionGrantLocked(c, jkt)
	case "token_exchange":
		return x.exchangeGrantLocked(c, jkt)
	case "":
		return refuse(400, "invalid_request", "grant_type is missing")
	}
	return refuse(400, "unsupported_grant_type", "this grant type is not known here")
}

// pickyLocked refuses what a strict reading of RFC 6749 does not allow.
func (x *exchange) pickyLocked(c *client) *answer {
	if !c.Picky {
		return nil
	}
	kind, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	query := x.r.URL.Query()
	query.Del("_emulate")
	switch {
	case x.r.Method != http.MethodPost:
		return refuse(405, "invalid_request", "POST a form, RFC 6749 §3.2")
	case !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded"):
		return refuse(400, "invalid_request", "the body must be a form, RFC 6749 §4.1.3")
	case len(query) > 0:
		return refuse(400, "invalid_request", "parameters do not belong into the URL, RFC 6749 §2.3.1")
	case x.repeated != "":
		return refuse(400, "invalid_request", "a parameter came twice, RFC 6749 §3.2")
	case x.grantType == "refresh_token" && (x.params.Has("redirect_uri") || x.params.Has("code")):
		return refuse(400, "invalid_request", "a refresh knows no redirect_uri and no code")
	}
	return nil
}

// scope returns what is asked for, or the client's default.
func (x *exchange) scope(c *client) (string, *answer) {
	scope := strings.Join(strings.Fields(x.params.Get("scope")), " ")
	if strings.ContainsAny(scope, "\"\\") {
		return "", refuse(400, "invalid_scope", "a scope holds no quotes")
	}
	or(&scope, c.Scope)
	return scope, nil
}

// newGrantLocked answers with a new family.
func (x *exchange) newGrantLocked(c *client, subject, jkt string, withRefresh bool) *answer {
	scope, bad := x.scope(c)
	if bad != nil {
		return bad
	}
	g := x.e.newGrantLocked(c, subject, scope, x.now)
	g.jkt = jkt
	x.entry.Family = g.id
	return x.e.firstLocked(g, withRefresh, x.e.issuer(x.r), x.twist, x.now)
}

// codeGrantLocked trades a code, RFC 6749 §4.1.3 and RFC 7636 §4.6.
func (x *exchange) codeGrantLocked(c *client, jkt string) *answer {
	e := x.e
	code, ok := e.codes.get(x.params.Get("code"))
	if !ok || code.client != c {
		return refuse(400, "invalid_grant", "the code is not known, or another client's")
	}
	if code.spent {
		// RFC 6749 §4.1.2: a code that comes twice was stolen.
		if code.grant != nil {
			e.revokeLocked(code.grant, "code_reuse")
		}
		return refuse(400, "invalid_grant", "the code was used before; its tokens are revoked")
	}
	code.spent = true
	if !x.now.Before(code.expiry) {
		return refuse(400, "invalid_grant", "the code has expired")
	}
	if x.params.Get("redirect_uri") != code.redirectURI && (code.redirectGiven || x.params.Has("redirect_uri")) {
		return refuse(400, "invalid_grant", "redirect_uri is not the one of the authorization request")
	}
	if c.PKCE != "ignored" {
		verifier := x.params.Get("code_verifier")
		switch {
		case code.challenge == "" && verifier != "":
			// RFC 9700 §4.8.2: otherwise a challenge could be taken away unseen.
			return refuse(400, "invalid_grant", "a code_verifier without a code_challenge")
		case code.challenge != "" && !fits(verifier, code.challenge):
			return refuse(400, "invalid_grant", "code_verifier does not fit code_challenge")
		}
	}
	g := e.newGrantLocked(c, code.subject, code.scope, x.now)
	g.jkt, g.nonce, g.began = jkt, code.nonce, code.at
	code.grant = g
	x.entry.Family = g.id
	return e.firstLocked(g, true, e.issuer(x.r), x.twist, x.now)
}

// fits compares a verifier with a challenge, S256.
func fits(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// refreshGrantLocked renews, RFC 6749 §6.
func (x *exchange) refreshGrantLocked(c *client, jkt string) *answer {
	if x.refresh == "" {
		return refuse(400, "invalid_request", "refresh_token is missing")
	}
	t := x.e.refresh[x.refresh]
	if t == nil || t.grant.client != c {
		return refuse(400, "invalid_grant", "the refresh token is not known, or another client's")
	}
	if t.grant.jkt != "" && t.grant.jkt != jkt {
		return refuse(400, "invalid_grant", "the refresh token is bound to another DPoP key")
	}
	return x.e.renewLocked(t, x.params.Get("scope"), x.e.issuer(x.r), x.twist, x.now)
}

// assertionGrantLocked trades a JWT that the client signed, RFC 7523 §2.1.
func (x *exchange) assertionGrantLocked(c *client, jkt string) *answer {
	if len(c.keys) == 0 {
		return refuse(400, "invalid_grant", "the client's public key is not known here: register it with POST /_clients")
	}
	claims, err := verify(x.params.Get("assertion"), c.keys)
	if err != nil {
		return refuse(400, "invalid_grant", err.Error())
	}
	if why := x.timesLocked(claims, time.Hour, false); why != "" {
		return refuse(400, "invalid_grant", "Invalid JWT: "+why)
	}
	subject, _ := claims["sub"].(string)
	if subject == "" {
		return refuse(400, "invalid_grant", "Invalid JWT: sub is missing")
	}
	if scope, ok := claims["scope"].(string); ok && !x.params.Has("scope") {
		x.params.Set("scope", scope)
	}
	scope, bad := x.scope(c)
	if bad != nil {
		return bad
	}
	g := x.e.ownGrantLocked(c, subject, scope, x.now)
	g.jkt = jkt
	x.entry.Family = g.id
	return x.e.firstLocked(g, false, x.e.issuer(x.r), x.twist, x.now)
}

// exchangeGrantLocked trades one token for another, RFC 8693. The subject token
// is an access token of ours that lives, or "subject:NAME", which stands for
// what another identity provider issued.
func (x *exchange) exchangeGrantLocked(c *client, jkt string) *answer {
	token := x.params.Get("subject_token")
	if token == "" || x.params.Get("subject_token_type") == "" {
		return refuse(400, "invalid_request", "subject_token and subject_token_type are needed")
	}
	if want := x.params.Get("requested_token_type"); want != "" && want != typeAccessToken {
		return refuse(400, "invalid_request", "only access tokens are issued here")
	}
	subject, stands := strings.CutPrefix(token, "subject:")
	if !stands {
		t, ok := x.e.access.get(token)
		if !ok || x.e.aliveLocked(t, x.now) != "" {
			return refuse(400, "invalid_request", "the subject token is not valid")
		}
		subject = t.grant.subject
	}
	scope, bad := x.scope(c)
	if bad != nil {
		return bad
	}
	g := x.e.ownGrantLocked(c, subject, scope, x.now)
	g.jkt = jkt
	x.entry.Family = g.id
	a := x.e.firstLocked(g, false, x.e.issuer(x.r), x.twist, x.now)
	a.set("issued_token_type", typeAccessToken)
	return a
}
