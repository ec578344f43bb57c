package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// HTTPClient returns a client that makes calls as a connection: it injects the
// credential, renews it once when the API refuses it, and sends it to no host
// but the connection's own. Redirects to other hosts are returned, not
// followed. ctx bounds the requests to the Freshet server.
func (c *Client) HTTPClient(ctx context.Context, name string) *http.Client {
	t := &transport{ctx: ctx, s: c.source(name), base: http.DefaultTransport}
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// A HostError says that a call would have taken a token to a host that is not
// its connection's. Nothing was sent.
type HostError struct{ Connection, Host string }

// Error names both.
func (e *HostError) Error() string {
	return fmt.Sprintf("connection %s: its token may not go to %s; add the host to api.hosts of the connection if it may", e.Connection, e.Host)
}

type transport struct {
	ctx  context.Context
	s    *source
	base http.RoundTripper
}

// RoundTrip sends a copy of r with the credential in it.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	h, err := t.s.token(t.bound(r), 0)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	first, err := t.prepare(r, h)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	res, err := t.base.RoundTrip(first)
	if err != nil || !refused(res, h) {
		return res, err
	}
	// The credential was refused: the request had no effect, and may be sent
	// again if its body can be.
	again := r
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			t.s.rejected(t.bound(r), h.Generation) // for the next call
			return res, nil
		}
		body, err := r.GetBody()
		if err != nil {
			return res, nil
		}
		again = r.Clone(r.Context())
		again.Body = body
	}
	fresh, err := t.s.rejected(t.bound(r), h.Generation)
	if err != nil || fresh.Generation == h.Generation {
		return res, nil
	}
	second, err := t.prepare(again, fresh)
	if err != nil {
		return res, nil
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	res.Body.Close()
	return t.base.RoundTrip(second)
}

// bound is the request's context, which also ends with the client's.
func (t *transport) bound(r *http.Request) context.Context {
	if t.ctx.Err() != nil {
		return t.ctx
	}
	return r.Context()
}

// prepare returns a copy of r that shows the credential, and only ours.
func (t *transport) prepare(r *http.Request, h *held) (*http.Request, error) {
	origin := r.URL.Scheme + "://" + r.URL.Host
	if !slices.ContainsFunc(h.Use.Hosts, func(host string) bool { return sameOrigin(host, r.URL) }) {
		return nil, &HostError{Connection: t.s.name, Host: origin}
	}
	out := r.Clone(r.Context())
	out.Header.Del("Proxy-Authorization")
	for _, in := range h.Use.Inject {
		switch in.In {
		case "header":
			out.Header.Set(in.Name, in.Value)
		case "cookie":
			setCookie(out, in)
		case "query":
			out.URL.RawQuery = setQuery(out.URL.RawQuery, in)
		default:
			return nil, fmt.Errorf("connection %s: this client does not know how to put a credential into %q; update it", t.s.name, in.In)
		}
	}
	return out, nil
}

// sameOrigin compares an entry of Use.Hosts with where a request goes. An
// entry without a scheme means https.
func sameOrigin(entry string, u *url.URL) bool {
	if !strings.Contains(entry, "://") {
		entry = "https://" + entry
	}
	e, err := url.Parse(entry)
	if err != nil {
		return false
	}
	return e.Scheme == u.Scheme && strings.EqualFold(e.Hostname(), u.Hostname()) && port(e) == port(u)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// setQuery replaces one parameter and leaves every other byte of the query.
func setQuery(raw string, in Injection) string {
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(part, "=")
		if n, err := url.QueryUnescape(name); part != "" && (err != nil || n != in.Name) {
			kept = append(kept, part)
		}
	}
	return strings.Join(append(kept, url.QueryEscape(in.Name)+"="+url.QueryEscape(in.Value)), "&")
}

func setCookie(r *http.Request, in Injection) {
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if c.Name != in.Name {
			r.AddCookie(c)
		}
	}
	if old := r.Header.Get("Cookie"); old != "" {
		r.Header.Set("Cookie", old+"; "+in.Name+"="+in.Value)
		return
	}
	r.Header.Set("Cookie", in.Name+"="+in.Value)
}

// refused reports whether the API did not accept the token. A 401 that names
// insufficient_scope (RFC 6750 §3.1) accepted it.
func refused(res *http.Response, h *held) bool {
	status := h.Use.Rejected.Status
	if len(status) == 0 {
		status = []int{http.StatusUnauthorized}
	}
	if h.Use.Rejected.Body != "" || !slices.Contains(status, res.StatusCode) {
		return false
	}
	for _, v := range res.Header.Values("WWW-Authenticate") {
		if strings.Contains(v, "insufficient_scope") {
			return false
		}
	}
	return true
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}
