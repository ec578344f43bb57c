// Package dial connects to other machines, and to no machine that it should not
// connect to. Every outbound request of the server goes through one [Guard]:
// token requests, discovery, proxied calls, webhooks.
//
// What it gives: the address that a socket is about to connect to is checked
// against a prefix table at that very moment, after name resolution and on each
// dial, so that neither a name that resolves to an internal address nor one that
// changes its mind gets through. Addresses that are not public are refused
// unless the operator lists them; those of cloud metadata services always. Plain
// http and unusual ports are for listed addresses only.
//
// What it refuses to do: follow redirects, use a proxy from the environment,
// tell a caller which rule or which address stood in the way.
package dial

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Kind says what a transport is for.
type Kind int

// The two kinds.
const (
	// Token transports send one request on each connection, over HTTP/1.1: a
	// token request must reach the provider at most once, and net/http repeats
	// requests only on connections that it has used before.
	Token Kind = iota
	// Upstream transports keep connections and speak HTTP/2.
	Upstream
)

// Options shape a Guard. The zero value is ready for use.
type Options struct {
	// Allow lists what may be reached although it is not public, also over plain
	// http and on any port: addresses, ranges (10.0.0.0/8), host names,
	// *.suffixes.
	Allow []string
	// Ports are those that https may use at public addresses; nil: 443, 8443.
	Ports []int

	Resolver *net.Resolver  // nil: the system's
	RootCAs  *x509.CertPool // nil: the system's

	DialTimeout    time.Duration // of one connection; 0: 10 s
	HeaderTimeout  time.Duration // from an upstream's request to its response header; 0: 5 min, negative: none
	IdleTimeout    time.Duration // how long an unused connection is kept; 0: 60 s, so that a moved host is noticed
	IdlePerHost    int           // unused connections kept for each host; 0: 256
	MaxHeaderBytes int64         // of a response; 0: 256 KiB
}

// A Guard hands out transports that dial under one policy. It is safe for
// concurrent use.
type Guard struct {
	o      Options
	policy atomic.Pointer[policy]

	mu    sync.Mutex // held while lanes change
	lanes atomic.Pointer[map[lane]*pair]
}

// A lane is one pool of connections: those of another kind or with another
// client certificate are never shared.
type lane struct {
	kind Kind
	cert [sha256.Size]byte // zero: no client certificate
}

// A pair holds the transports of a lane. They are two so that a dial knows
// whether plain text would travel over it.
type pair struct {
	plain, secure *http.Transport
	cert          *tls.Certificate
}

// New returns a Guard, or the entry of Options.Allow that cannot be read.
func New(o Options) (*Guard, error) {
	if o.Ports == nil {
		o.Ports = []int{443, 8443}
	}
	setDefault(&o.DialTimeout, 10*time.Second)
	setDefault(&o.HeaderTimeout, 5*time.Minute)
	setDefault(&o.IdleTimeout, time.Minute)
	setDefault(&o.IdlePerHost, 256)
	setDefault(&o.MaxHeaderBytes, 256<<10)
	p, err := newPolicy(o.Allow, o.Ports)
	if err != nil {
		return nil, err
	}
	g := &Guard{o: o}
	g.policy.Store(p)
	g.lanes.Store(&map[lane]*pair{})
	return g, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// SetAllow replaces the allowlist. New dials follow it at once, and connections
// that were made under the old one serve no further request: those on their way
// are finished, idle ones are closed. On an error the old list stays.
func (g *Guard) SetAllow(entries []string) error {
	p, err := newPolicy(entries, g.o.Ports)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Equal(g.policy.Load().entries, p.entries) {
		return nil
	}
	g.policy.Store(p)
	old := *g.lanes.Load()
	fresh := make(map[lane]*pair, len(old))
	for l, was := range old {
		fresh[l] = g.newPair(l.kind, was.cert)
	}
	g.lanes.Store(&fresh)
	for _, was := range old {
		was.close()
	}
	return nil
}

// Allow returns the allowlist as it was given.
func (g *Guard) Allow() []string { return slices.Clone(g.policy.Load().entries) }

// Check reports as ErrDenied what of u can be refused without resolving its
// name. A nil error is no promise: the dial has the last word.
func (g *Guard) Check(u *url.URL) error { return g.policy.Load().url(u) }

// Close closes idle connections. The Guard stays usable.
func (g *Guard) Close() {
	for _, p := range *g.lanes.Load() {
		p.close()
	}
}

// Transport returns the transport of a kind.
func (g *Guard) Transport(k Kind) http.RoundTripper { return &tripper{g: g, lane: lane{kind: k}} }

// Mutual returns a transport that proves itself with a client certificate. Its
// connections are shared with nobody who has another certificate.
func (g *Guard) Mutual(k Kind, cert tls.Certificate) http.RoundTripper {
	h := sha256.New()
	for _, der := range cert.Certificate {
		h.Write(der)
	}
	return &tripper{g: g, lane: lane{kind: k, cert: [sha256.Size]byte(h.Sum(nil))}, cert: &cert}
}

// Client returns an http.Client over Transport(k) that keeps no cookies and
// hands redirects to its caller.
func (g *Guard) Client(k Kind) *http.Client {
	return &http.Client{
		Transport:     g.Transport(k),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A tripper finds the lane's transport anew for each request, because SetAllow
// replaces it.
type tripper struct {
	g    *Guard
	lane lane
	cert *tls.Certificate
}

// RoundTrip sends r once. An error is ErrDenied itself when the policy is what
// stood in the way.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	// On a kept connection nothing is dialled, so the URL is looked at here.
	if err := t.g.Check(r.URL); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	p := t.pair()
	tr := p.secure
	if r.URL.Scheme == "http" {
		tr = p.plain
	}
	return tr.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (t *tripper) CloseIdleConnections() { t.pair().close() }

func (t *tripper) pair() *pair {
	if p := (*t.g.lanes.Load())[t.lane]; p != nil {
		return p
	}
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	old := *t.g.lanes.Load()
	if p := old[t.lane]; p != nil {
		return p
	}
	fresh := make(map[lane]*pair, len(old)+1)
	for l, p := range old {
		fresh[l] = p
	}
	p := t.g.newPair(t.lane.kind, t.cert)
	fresh[t.lane] = p
	t.g.lanes.Store(&fresh)
	return p
}

func (p *pair) close() {
	p.plain.CloseIdleConnections()
	p.secure.CloseIdleConnections()
}

func (g *Guard) newPair(k Kind, cert *tls.Certificate) *pair {
	return &pair{plain: g.newTransport(k, nil, true), secure: g.newTransport(k, cert, false), cert: cert}
}

func (g *Guard) newTransport(k Kind, cert *tls.Certificate, plain bool) *http.Transport {
	t := &http.Transport{
		Proxy: nil, // never from the environment
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return g.dial(ctx, network, addr, plain)
		},
		TLSClientConfig:        &tls.Config{RootCAs: g.o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    g.o.DialTimeout,
		DisableCompression:     true, // bodies pass as they are
		MaxResponseHeaderBytes: g.o.MaxHeaderBytes,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        g.o.IdleTimeout,
		Protocols:              new(http.Protocols),
	}
	if cert != nil {
		t.TLSClientConfig.Certificates = []tls.Certificate{*cert}
	}
	t.Protocols.SetHTTP1(true)
	if k == Token {
		t.DisableKeepAlives = true
		return t
	}
	t.ResponseHeaderTimeout = max(g.o.HeaderTimeout, 0)
	t.MaxIdleConnsPerHost = g.o.IdlePerHost
	t.MaxIdleConns = 16 * g.o.IdlePerHost
	if !plain {
		t.Protocols.SetHTTP2(true)
		// A connection whose other end is gone without a word would otherwise
		// take requests until the kernel gives up on it.
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	}
	return t
}

// DialContext connects as https would to addr (host:port), for protocols that
// bring their own TLS.
func (g *Guard) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return g.dial(ctx, network, addr, false)
}

func (g *Guard) dial(ctx context.Context, network, addr string, plain bool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var (
		named   = g.policy.Load().names(host)
		refused atomic.Pointer[error]
	)
	d := net.Dialer{
		Timeout:  g.o.DialTimeout,
		Resolver: g.o.Resolver,
		// The last moment before connect(2), with the address that it will use.
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err == nil {
				// The policy of this moment: it may have changed since the name
				// was resolved.
				p := g.policy.Load()
				err = p.address(ap.Addr(), int(ap.Port()), plain, named && p.names(host))
			} else {
				err = deny("%s: %v", address, err)
			}
			if err != nil {
				refused.Store(&err)
			}
			return err
		},
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		// One of several addresses may have been refused and another be
		// unreachable; which one it was is nobody's business. net.OpError would
		// name the address.
		if e := refused.Load(); e != nil && !errors.Is(err, context.Canceled) {
			return nil, *e
		}
		return nil, err
	}
	return conn, nil
}
