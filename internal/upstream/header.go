package upstream

import (
	"net/http"
	"net/textproto"
	"strings"
)

// header builds the request's header: the caller's, without what belongs to the
// hop or to us, then the connection's fixed headers, then what is injected.
// Injection comes last, so that nothing that a caller names in Connection or
// spells in another way can take it out or stand beside it.
func (p *plan) header(c *Call, r *rendering) http.Header {
	in := c.Header
	named := connectionNames(in["Connection"])
	out := make(http.Header, len(in)+len(r.fields)+len(p.fixed)+2)
	for k, vv := range in {
		if name := textproto.CanonicalMIMEHeaderKey(k); !p.drops(name) && !inList(named, name) {
			out[name] = vv
		}
	}
	if strings.Contains(strings.ToLower(strings.Join(in["Te"], ",")), "trailers") {
		out["Te"] = []string{"trailers"}
	}
	if c.WebSocket {
		out["Connection"], out["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = nil // else net/http adds its own
	}
	if key, ok := out["Idempotency-Key"]; ok {
		hide(out, "Idempotency-Key", c, key)
	}
	if key, ok := out["X-Idempotency-Key"]; ok {
		hide(out, "X-Idempotency-Key", c, key)
	}
	for _, f := range p.fixed {
		out[f.name] = f.values
	}
	for _, f := range r.fields {
		out[f.name] = f.values
	}
	if p.api.Cookies || r.cookies != "" {
		if v := p.mergeCookies(in["Cookie"], r); v != "" {
			out["Cookie"] = []string{v}
		}
	}
	if p.api.ScanEcho {
		// A part of a body, or an encoded one, could not be searched.
		out["Accept-Encoding"] = []string{"identity"}
	}
	return out
}

// hide spells a header in lower case. net/http takes an Idempotency-Key for the
// leave to send a request again on its own when a connection dies; a call is
// sent again after a rejected token only.
func hide(out http.Header, name string, c *Call, values []string) {
	if safe(c.Method) {
		return
	}
	delete(out, name)
	out[strings.ToLower(name)] = values
}

func safe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// drops reports whether a caller's header, by its canonical name, stays here.
func (p *plan) drops(name string) bool {
	if p.taken[name] || hopByHop(name) || forwarding(name) {
		return true
	}
	switch name {
	case "Host", "Content-Length", "Authorization", "Cookie", "Http2-Settings":
		return true
	case "Dpop":
		return p.dpop
	case "Accept-Encoding", "Range", "If-Range":
		return p.api.ScanEcho
	case "X-Original-Url", "X-Rewrite-Url": // some servers route by them
		return p.restricted()
	case "X-Http-Method-Override", "X-Http-Method", "X-Method-Override":
		return len(p.api.Methods) > 0
	}
	if strings.HasPrefix(name, "Freshet-") {
		return true
	}
	// Gateways that hand headers on as environment variables read X_Api_Key and
	// X-Api-Key alike.
	if strings.Contains(name, "_") {
		return p.drops(textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")))
	}
	return false
}

// hopByHop lists the headers of one connection, RFC 9110 §7.6.1, with those of
// its forerunners.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// forwarding lists the headers in which proxies name those before them. We
// trust nobody before us, and tell nobody behind us.
func forwarding(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Original-Forwarded-For", "X-Original-Host":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// connectionNames returns the header names in Connection fields, canonical.
func connectionNames(values []string) []string {
	var names []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = textproto.TrimString(s); s != "" {
				names = append(names, textproto.CanonicalMIMEHeaderKey(s))
			}
		}
	}
	return names
}

func inList(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// cleanResponse removes from an answer's header what belongs to the hop, and
// what an API has no say in on our side.
func cleanResponse(h http.Header, cookies bool) {
	for _, name := range connectionNames(h["Connection"]) {
		h.Del(name)
	}
	for name := range h {
		if hopByHop(name) || strings.HasPrefix(name, "Freshet-") {
			delete(h, name)
		}
	}
	delete(h, "Alt-Svc") // names other ports of the API's host, not of ours
	if !cookies {
		delete(h, "Set-Cookie")
		delete(h, "Authorization")
	}
}
