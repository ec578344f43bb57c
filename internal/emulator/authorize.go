package emulator

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An authCode is a code on its way to be traded.
type authCode struct {
	client        *client
	subject       string
	scope         string
	nonce         string
	challenge     string
	redirectURI   string
	redirectGiven bool
	at            time.Time
	expiry        time.Time
	spent         bool
	grant         *grant
}

// A consentRequest waits for the button.
type consentRequest struct {
	query   url.Values
	actions []action // faults that the page met go on to the answer
}

// authorize answers GET /authorize with a page of one button, or at once where
// nobody is asked, and POST /authorize with the redirect, RFC 6749 §4.1.1.
func (x *exchange) authorize() *answer {
	e := x.e
	query := x.params
	decision := ""
	if x.r.Method == http.MethodPost {
		if err := x.r.ParseForm(); err != nil {
			return page(400, "<p>The form cannot be read.</p>")
		}
		e.mu.Lock()
		waiting, ok := e.consents.get(x.r.PostForm.Get("request"))
		e.consents.delete(x.r.PostForm.Get("request"))
		e.mu.Unlock()
		if !ok {
			return page(400, "<p>This request was answered before, or is too old. Start again in the application.</p>")
		}
		query, decision = waiting.query, x.r.PostForm.Get("decision")
		x.actions = append(x.actions, waiting.actions...)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clientLocked(query.Get("client_id"))
	if c == nil {
		return page(400, "<p>This client is not registered.</p>")
	}
	to, err := redirectURL(c, query.Get("redirect_uri"))
	if err != nil {
		// RFC 6749 §4.1.2.1: never send a person to an address that may not be
		// the client's.
		return page(400, "<p>"+html.EscapeString(err.Error())+"</p>")
	}
	back := url.Values{}
	back.Set("iss", e.issuer(x.r)) // RFC 9207
	if query.Has("state") {
		back.Set("state", query.Get("state"))
	}
	refuseWith := func(code, text string) *answer {
		back.Set("error", code)
		back.Set("error_description", text)
		return x.back(to, back)
	}
	challenge := query.Get("code_challenge")
	switch {
	case query.Get("response_type") != "code":
		return refuseWith("unsupported_response_type", "only response_type=code is known here")
	case challenge != "" && c.PKCE == "refused":
		return refuseWith("invalid_request", "the parameter code_challenge is not allowed")
	case challenge != "" && query.Get("code_challenge_method") != "S256" && c.PKCE != "ignored":
		return refuseWith("invalid_request", "code_challenge_method must be S256")
	case challenge == "" && c.PKCE == "required":
		return refuseWith("invalid_request", "code_challenge is missing, RFC 7636")
	case c.Picky && !query.Has("state"):
		return refuseWith("invalid_request", "state is missing")
	}

	text, deny := x.has("deny")
	_, consent := x.has("consent")
	switch {
	case deny || decision == "deny":
		or(&text, "The resource owner said no.")
		return refuseWith("access_denied", text)
	case consent || decision == "allow" || c.AutoConsent:
	case query.Get("prompt") == "none":
		return refuseWith("consent_required", "somebody has to agree")
	default:
		return x.consentPageLocked(c, query)
	}

	value, core := e.textLocked("code", c.Odd)
	e.rememberLocked(value, core)
	code := &authCode{
		client: c, subject: c.Subject, scope: strings.Join(strings.Fields(query.Get("scope")), " "), nonce: query.Get("nonce"),
		challenge: challenge, redirectURI: query.Get("redirect_uri"), redirectGiven: query.Has("redirect_uri"),
		at: x.now, expiry: x.now.Add(c.CodeLifetime.D()),
	}
	or(&code.scope, c.Scope)
	if hint := query.Get("login_hint"); hint != "" {
		code.subject = hint
	}
	if other, ok := x.has("other_user"); ok {
		code.subject = other
		or(&code.subject, "mallory")
	}
	e.codes.put(value, code)
	back.Set("code", value)
	return x.back(to, back)
}

// back redirects to the client, oddly if a fault says so.
func (x *exchange) back(to *url.URL, v url.Values) *answer {
	if s, ok := x.has("state"); ok {
		v.Set("state", s)
	}
	if _, ok := x.has("no_state"); ok {
		v.Del("state")
	}
	if s, ok := x.has("iss"); ok {
		v.Set("iss", s)
	}
	if _, ok := x.has("no_iss"); ok {
		v.Del("iss")
	}
	query := v.Encode()
	if _, ok := x.has("twice"); ok {
		query += "&" + query
	}
	if to.RawQuery != "" {
		query = to.RawQuery + "&" + query
	}
	at := *to
	at.RawQuery = query
	a := &answer{status: http.StatusFound, raw: []byte{}, code: v.Get("error")}
	a.setHeader("Location", at.String())
	a.setHeader("Content-Type", "text/plain; charset=utf-8")
	return a
}

func (x *exchange) consentPageLocked(c *client, query url.Values) *answer {
	id, _ := x.e.textLocked("consent", false)
	x.e.consents.put(id, &consentRequest{query, x.actions})
	scope := query.Get("scope")
	or(&scope, c.Scope)
	return page(200, fmt.Sprintf(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Emulated provider</title><style>body{font:16px sans-serif;max-width:32em;margin:4em auto}button{font:inherit;padding:.5em 2em}</style></head>
<body><h1>Emulated provider</h1>
<p>You are <b>%s</b>. The application <b>%s</b> asks for <b>%s</b>.</p>
<form method="post" action="/authorize"><input type="hidden" name="request" value="%s">
<button name="decision" value="allow" id="allow">Allow</button>
<p><button name="decision" value="deny" id="deny">Deny</button></p></form></body></html>
`, html.EscapeString(c.Subject), html.EscapeString(c.ID), html.EscapeString(scope), id))
}

// redirectURL checks a redirect URI against the registered ones. A loopback
// address fits on any port, RFC 8252 §7.3.
func redirectURL(c *client, uri string) (*url.URL, error) {
	if uri == "" && len(c.RedirectURIs) == 1 {
		uri = c.RedirectURIs[0]
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(uri, "#") || u.User != nil {
		return nil, fmt.Errorf("redirect_uri is missing or malformed")
	}
	if s := strings.ToLower(u.Scheme); s == "javascript" || s == "data" {
		return nil, fmt.Errorf("redirect_uri has a scheme that is not allowed")
	}
	if len(c.RedirectURIs) == 0 {
		return u, nil
	}
	for _, known := range c.RedirectURIs {
		if known == uri {
			return u, nil
		}
		k, err := url.Parse(known)
		if err != nil || !loopback(k.Hostname()) || k.Hostname() != u.Hostname() {
			continue
		}
		if k.Scheme == u.Scheme && k.EscapedPath() == u.EscapedPath() && k.RawQuery == u.RawQuery {
			return u, nil
		}
	}
	return nil, fmt.Errorf("redirect_uri is not one that the client has registered")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
