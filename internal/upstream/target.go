package upstream

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet/internal/dial"
)

// An origin is where a grant's credential may go: scheme, host and port, and
// for some a path prefix.
type origin struct {
	scheme string
	host   string // host[:port], canonical
	suffix bool   // host is ".example.com": every name below it
	path   string // without a trailing slash
}

// readOrigin reads a base URL.
func readOrigin(raw string) (origin, error) {
	u, err := dial.ParseURL(raw)
	if err != nil {
		return origin{}, err
	}
	if strings.Contains(raw, "?") {
		return origin{}, fmt.Errorf("a base URL has no query: inject it with query: and template:")
	}
	o := origin{scheme: u.Scheme, host: u.Host}
	// The path as it was written: ParseURL's is decoded.
	if _, rest, ok := strings.Cut(raw, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			o.path = strings.TrimRight(rest[i:], "/")
		}
	}
	if climbs(o.path) {
		return origin{}, fmt.Errorf("the path %q of the base URL leads out of the root", o.path)
	}
	return o, nil
}

// readHost reads an entry of api.hosts: host[:port], *.suffix, or a whole URL
// whose path is a prefix. Without a scheme it is scheme.
func readHost(raw, scheme string) (origin, error) {
	if strings.Contains(raw, "://") {
		return readOrigin(raw)
	}
	name, wild := strings.CutPrefix(raw, "*.")
	if strings.ContainsAny(name, "/?#") {
		return origin{}, fmt.Errorf("%q: write host, host:port, *.suffix or https://host/prefix", raw)
	}
	o, err := readOrigin(scheme + "://" + name)
	if wild {
		o.host, o.suffix = "."+o.host, true
	}
	return o, err
}

// covers reports whether a URL at host (canonical) with path belongs to o.
func (o origin) covers(scheme, host, path string) bool {
	if o.scheme != scheme || o.host != host && !(o.suffix && strings.HasSuffix(host, o.host)) {
		return false
	}
	if o.path == "" {
		return true
	}
	rest, ok := strings.CutPrefix(path, o.path)
	return ok && (rest == "" || rest[0] == '/') && !climbs(rest)
}

// A target is one call's place, in the bytes that will be sent.
type target struct {
	scheme string
	host   string
	path   string // escaped as it was given; begins with a slash
	query  string // without the question mark
	asked  bool   // there was a question mark
}

// place resolves what a call names: a path and query below the base, byte for
// byte, or a whole URL.
func (p *plan) place(base origin, c *Call) (target, *RefusedError) {
	raw, restricted := c.Target, p.restricted() && !c.own
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }); i >= 0 {
		return target{}, p.refuse(BadTarget, "the path holds a character that has to be percent-encoded")
	}
	t := target{scheme: base.scheme, host: base.host}
	var below string // what the path allowlist looks at
	if raw == "" || raw[0] == '/' || raw[0] == '?' {
		if base.host == "" {
			return target{}, p.refuse(NoAPI, "it has no base URL to append a path to: add api.base_url, or call a whole URL")
		}
		below, t.query, t.asked = strings.Cut(raw, "?")
		if base.path != "" && climbs(below) {
			return target{}, p.refuse(PathRefused, "the path leads out of the connection's base URL")
		}
		t.path = base.path + below
	} else {
		u, err := dial.ParseURL(withoutQuery(raw))
		if err != nil {
			return target{}, p.refuse(BadTarget, fmt.Sprintf("neither a path that begins with / nor a URL: %v", err))
		}
		t.scheme, t.host = u.Scheme, u.Host
		_, rest, _ := strings.Cut(raw, "://")
		rest, t.query, t.asked = strings.Cut(rest, "?")
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			t.path = rest[i:]
		}
		if r := p.bound(base, t); r != nil {
			return target{}, r
		}
		rest, ok := strings.CutPrefix(t.path, base.path)
		ok = ok && t.scheme == base.scheme && t.host == base.host && (rest == "" || rest[0] == '/') && !climbs(rest)
		if restricted && !ok {
			return target{}, p.refuse(PathRefused, "the connection's paths are below its base URL")
		}
		below = rest
	}
	if t.path == "" {
		t.path = "/"
	}
	if restricted {
		if why := ambiguous(below); why != "" {
			return target{}, p.refuse(BadTarget, "the connection allows certain paths only, and this one can be read in more than one way: "+why)
		}
		if !p.allows(below) {
			return target{}, p.refuse(PathRefused, "the path is not among those of the connection")
		}
	}
	return t, nil
}

// bound is the destination binding of S27 for whole URLs.
func (p *plan) bound(base origin, t target) *RefusedError {
	whole := base
	whole.path = "" // base_url's host is implied, whatever the path
	if whole.host != "" && whole.covers(t.scheme, t.host, t.path) {
		return nil
	}
	for _, o := range p.hosts {
		if o.covers(t.scheme, t.host, t.path) {
			return nil
		}
	}
	return p.refuse(HostRefused, fmt.Sprintf("its token is not for %s://%s: api.hosts lists where it may go", t.scheme, t.host))
}

func (p *plan) restricted() bool { return len(p.api.Paths) > 0 }

func (p *plan) allows(path string) bool {
	for _, prefix := range p.api.Paths {
		if under(path, prefix) {
			return true
		}
	}
	return false
}

func withoutQuery(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	return raw
}

// url returns t for net/http, so that exactly its bytes travel. query replaces
// t's own.
func (p *plan) url(t target, query string, asked bool) (*url.URL, *RefusedError) {
	u := &url.URL{Scheme: t.scheme, Host: t.host, RawQuery: query, ForceQuery: asked && query == ""}
	if !strings.HasPrefix(t.path, "//") {
		// net/http sends an opaque part as it is.
		u.Opaque = t.path
		return u, nil
	}
	// An opaque part that begins with two slashes would be sent with a scheme
	// before it. A path in the alphabet of RFC 3986 comes through net/url
	// unchanged as well.
	path, err := url.PathUnescape(t.path)
	u.Path, u.RawPath = path, t.path
	if err != nil || u.EscapedPath() != t.path {
		return nil, p.refuse(BadTarget, "a path that begins with // must be percent-encoded throughout")
	}
	return u, nil
}
