package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

// discovery answers RFC 8414 and OpenID Connect Discovery 1.0.
func (x *exchange) discovery() *answer {
	iss := x.e.issuer(x.r)
	a := &answer{status: 200}
	for _, m := range []struct {
		name  string
		value any
	}{
		{"issuer", iss},
		{"authorization_endpoint", iss + "/authorize"},
		{"token_endpoint", iss + "/token"},
		{"device_authorization_endpoint", iss + "/device_authorization"},
		{"revocation_endpoint", iss + "/revoke"},
		{"introspection_endpoint", iss + "/introspect"},
		{"userinfo_endpoint", iss + "/userinfo"},
		{"jwks_uri", iss + "/jwks"},
		{"response_types_supported", []string{"code"}},
		{"response_modes_supported", []string{"query"}},
		{"grant_types_supported", []string{"authorization_code", "refresh_token", "client_credentials", "password", grantDeviceCode, grantJWTBearer, grantTokenExchange}},
		{"code_challenge_methods_supported", []string{"S256"}},
		{"token_endpoint_auth_methods_supported", []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}},
		{"token_endpoint_auth_signing_alg_values_supported", algorithms},
		{"dpop_signing_alg_values_supported", algorithms},
		{"authorization_response_iss_parameter_supported", true},
		{"subject_types_supported", []string{"public"}},
		{"id_token_signing_alg_values_supported", []string{"RS256", "ES256"}},
		{"scopes_supported", []string{"openid", "email", "offline_access", "read", "write"}},
	} {
		a.set(m.name, m.value)
	}
	return a
}

func (x *exchange) jwks() *answer {
	set := x.e.keys.public()
	a := &answer{status: 200}
	a.set("keys", set.Keys)
	return a
}

// revoke ends a token, RFC 7009. A refresh token takes its grant along.
func (x *exchange) revoke() *answer {
	if x.r.Method != http.MethodPost {
		return refuse(405, "invalid_request", "POST a form")
	}
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	c, bad := x.authenticateLocked()
	if bad != nil {
		return bad
	}
	token := x.params.Get("token")
	if token == "" {
		return refuse(400, "invalid_request", "token is missing")
	}
	if t := e.refresh[token]; t != nil && t.grant.client == c {
		e.revokeLocked(t.grant, "revoked")
	} else if t, ok := e.access.get(token); ok && t.grant.client == c {
		t.killed = "revoked"
	}
	// RFC 7009 §2.2: a token that is not known is revoked as well as can be.
	return &answer{status: 200, raw: []byte{}}
}

// introspect answers RFC 7662.
func (x *exchange) introspect() *answer {
	if x.r.Method != http.MethodPost {
		return refuse(405, "invalid_request", "POST a form")
	}
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, bad := x.authenticateLocked(); bad != nil {
		return bad
	}
	token := x.params.Get("token")
	a := &answer{status: 200}
	if t, ok := e.access.get(token); ok && e.aliveLocked(t, x.now) == "" {
		a.set("active", true)
		a.set("client_id", t.grant.client.ID)
		a.set("sub", t.grant.subject)
		a.set("scope", t.scope)
		a.set("iat", t.issued.Unix())
		a.set("exp", t.expiry.Unix())
		a.set("token_type", t.grant.client.Type)
		return a
	}
	if t := e.refresh[token]; t != nil && e.usableLocked(t, x.now) == "" {
		a.set("active", true)
		a.set("client_id", t.grant.client.ID)
		a.set("sub", t.grant.subject)
		a.set("scope", t.grant.scope)
		return a
	}
	a.set("active", false)
	return a
}

// userinfo answers OpenID Connect Core §5.3.
func (x *exchange) userinfo() *answer {
	t, bad := x.authorized()
	if bad != nil {
		return bad
	}
	a := &answer{status: 200}
	a.set("sub", t.grant.subject)
	a.set("name", t.grant.subject)
	a.set("email", t.grant.subject+"@example.org")
	return a
}

// decode reads JSON for control requests.
func decode(b []byte, v any) error {
	if len(strings.TrimSpace(string(b))) == 0 {
		b = json.RawMessage("{}")
	}
	return strictJSON(b, v)
}
