package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// appendixB are the addresses of the reliability document.
var appendixB = strings.Fields(`127.0.0.1 ::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 0.0.0.0 0.1.2.3 10.0.0.1
	100.64.0.1 169.254.169.254 192.0.0.8 192.88.99.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 fd00::1 fe80::1
	fec0::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe 2002:7f00:1:: 2001:0:7f00:1:: ::127.0.0.1
	fd00:ec2::254 2001:db8::1`)

var more = strings.Fields(`172.16.0.1 172.31.255.255 192.168.1.1 192.0.2.1 198.51.100.1 203.0.113.1 198.19.255.255
	100.127.255.255 239.255.255.255 :: 100::1 5f00::1 ff02::1 3fff::1 2001:1ff::1 fc00::1 ::ffff:0:127.0.0.1 168.63.129.16`)

var public = strings.Fields(`1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
	172.15.255.255 172.32.0.1 192.0.1.1 198.17.255.255 198.20.0.1 223.255.255.255 169.253.255.255 169.255.0.1
	2606:4700::1111 2001:4860:4860::8888 2001:200::1 2a00:1450:4001::1 3ffe:ffff::1 ::ffff:1.1.1.1`)

func TestS17_prefix_table(t *testing.T) {
	if len(appendixB) != 26 {
		t.Fatalf("%d addresses of appendix B, want 26", len(appendixB))
	}
	for _, s := range append(append([]string{}, appendixB...), more...) {
		if Public(netip.MustParseAddr(s)) {
			t.Errorf("%s counts as public", s)
		}
	}
	for _, s := range public {
		if !Public(netip.MustParseAddr(s)) {
			t.Errorf("%s does not count as public", s)
		}
	}
	if Public(netip.Addr{}) || Public(netip.MustParseAddr("2606:4700::1%eth0")) {
		t.Error("no address, or one with a zone, counts as public")
	}
}

func TestS17_literals_are_denied(t *testing.T) {
	g := guard(t, Options{})
	for _, s := range appendixB {
		host := s
		if strings.Contains(s, ":") {
			host = "[" + s + "]"
		}
		get(t, g, "https://"+host+"/", ErrDenied)
		get(t, g, "http://"+host+"/", ErrDenied)
	}
	for _, host := range []string{"2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost."} {
		get(t, g, "https://"+host+"/", ErrDenied)
	}
}

// A name that leads to a denied address is refused at the dial: Control sees
// the address that the socket would use.
func TestS17_DNS_answers_are_denied(t *testing.T) {
	z := newZone()
	g := guard(t, Options{Resolver: z.resolver(t)})
	for i, s := range appendixB {
		name := fmt.Sprintf("h%d.example", i)
		z.set(name, s)
		get(t, g, "https://"+name+"/", ErrDenied)
	}
	z.set("127.0.0.1.nip.io", "127.0.0.1")
	get(t, g, "https://127.0.0.1.nip.io/", ErrDenied)
	if z.asked < len(appendixB)+1 {
		t.Errorf("%d names were resolved, want %d: refused for another reason", z.asked, len(appendixB)+1)
	}
}

func TestS18_rebinding_name_is_checked_at_each_dial(t *testing.T) {
	srv, hits := server(t)
	port := portOf(t, srv.URL)
	z := newZone()
	z.set("flip.example", "127.0.0.2", "127.0.0.1", "127.0.0.2")
	g := guard(t, Options{Allow: []string{"127.0.0.2/32"}, Resolver: z.resolver(t)})
	target := "http://flip.example:" + port + "/"
	// The listener is at 127.0.0.1 alone: the allowed address refuses, the
	// other one would answer.
	if _, err := try(g, target); err == nil || errors.Is(err, ErrDenied) {
		t.Errorf("first dial = %v, want a refused connection", err)
	}
	get(t, g, target, ErrDenied)
	if _, err := try(g, target); err == nil || errors.Is(err, ErrDenied) {
		t.Errorf("third dial = %v, want a refused connection", err)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests arrived at the denied address", n)
	}
}

func TestS18_kept_connections_follow_the_policy(t *testing.T) {
	srv, hits := server(t)
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}})
	rt := g.Transport(Upstream) // as a caller keeps it
	for range 3 {
		if err := use(rt, srv.URL); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.conns.Load(); n != 1 {
		t.Errorf("%d connections for three requests, want 1", n)
	}
	// A host name this time, so that the URL alone says nothing.
	if err := g.SetAllow([]string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	if err := use(rt, srv.URL); !errors.Is(err, ErrDenied) {
		t.Errorf("request after the range was taken off = %v, want ErrDenied", err)
	}
	if err := use(rt, "http://localhost:"+portOf(t, srv.URL)+"/"); err != nil {
		t.Errorf("request to a listed name: %v", err)
	}
	if err := g.SetAllow(nil); err != nil {
		t.Fatal(err)
	}
	if err := use(rt, "http://localhost:"+portOf(t, srv.URL)+"/"); !errors.Is(err, ErrDenied) {
		t.Errorf("request over a connection made under the old list = %v, want ErrDenied", err)
	}
	if n := hits.Load(); n != 4 {
		t.Errorf("%d requests arrived, want 4", n)
	}
	if err := g.SetAllow([]string{"10.0.0.0/33"}); err == nil {
		t.Error("a list that cannot be read was taken")
	}
}

// A connection that is busy when the list changes would carry further streams
// of HTTP/2, without a dial.
func TestS18_busy_connections_take_no_new_request(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	defer close(release)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	z := newZone()
	z.set("example.com", "127.0.0.1")
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}, RootCAs: pool, Resolver: z.resolver(t)})
	target := "https://example.com:" + portOf(t, srv.URL) + "/"
	resp, err := try(g, target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("spoke %s, want HTTP/2", resp.Proto)
	}
	if err := g.SetAllow([]string{"10.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	get(t, g, target, ErrDenied)
}

func TestS19_metadata_addresses_stay_denied(t *testing.T) {
	z := newZone()
	g := guard(t, Options{Allow: []string{"0.0.0.0/0", "::/0", "*.internal.example", "169.254.169.254"}, Resolver: z.resolver(t)})
	addresses := strings.Fields(`169.254.169.254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe 2002:a9fe:a9fe::1
		::169.254.169.254 fd00:ec2::254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 fd20:ce::254`)
	for i, s := range addresses {
		host := s
		if strings.Contains(s, ":") {
			host = "[" + s + "]"
		}
		get(t, g, "http://"+host+"/latest/meta-data/", ErrDenied)
		name := fmt.Sprintf("m%d.internal.example", i)
		z.set(name, s)
		get(t, g, "http://"+name+"/latest/meta-data/", ErrDenied)
	}
	// The list itself works: this is no blanket refusal.
	p, err := newPolicy(g.Allow(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"10.0.0.1", "169.254.1.1", "fd00::1", "127.0.0.1"} {
		if err := p.address(netip.MustParseAddr(s), 9000, true, false); err != nil {
			t.Errorf("%s with everything allowed: %v", s, Reason(err))
		}
	}
}

func TestS20_schemes_and_ports(t *testing.T) {
	p, err := newPolicy([]string{"10.0.0.0/8", "intranet.example"}, []int{443, 8443})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr  string
		port  int
		plain bool
		named bool
		ok    bool
	}{
		{"93.184.216.34", 443, false, false, true},
		{"93.184.216.34", 8443, false, false, true},
		{"93.184.216.34", 22, false, false, false},
		{"93.184.216.34", 6379, false, false, false},
		{"93.184.216.34", 80, false, false, false},
		{"93.184.216.34", 80, true, false, false},
		{"93.184.216.34", 443, true, false, false},
		{"93.184.216.34", 8080, true, true, true},
		{"10.1.2.3", 80, true, false, true},
		{"10.1.2.3", 6379, true, false, true},
		{"10.1.2.3", 22, false, false, true},
		{"11.1.2.3", 9000, false, false, false},
		{"192.168.0.1", 443, false, true, true},
		{"192.168.0.1", 443, false, false, false},
	} {
		err := p.address(netip.MustParseAddr(tt.addr), tt.port, tt.plain, tt.named)
		if (err == nil) != tt.ok {
			t.Errorf("%s:%d plain %v, by name %v: %v, want allowed %v", tt.addr, tt.port, tt.plain, tt.named, err, tt.ok)
		}
	}
	g := guard(t, Options{})
	for _, raw := range []string{"http://93.184.216.34/", "https://93.184.216.34:22/", "https://93.184.216.34:6379/", "file://93.184.216.34/", "gopher://93.184.216.34:443/"} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Check(u); !errors.Is(err, ErrDenied) {
			t.Errorf("Check(%s) = %v, want ErrDenied", raw, err)
		}
	}
}

// The plain port of a public host is refused at the dial, where the name has
// become an address.
func TestS20_plain_http_by_name_is_denied(t *testing.T) {
	z := newZone()
	z.set("api.example", "93.184.216.34")
	g := guard(t, Options{Resolver: z.resolver(t)})
	get(t, g, "http://api.example/", ErrDenied)
	get(t, g, "https://api.example:22/", ErrDenied)
	if z.asked != 2 {
		t.Errorf("%d names resolved, want 2", z.asked)
	}
}

func TestAllowForms(t *testing.T) {
	for _, good := range []string{"127.0.0.0/8", "10.0.0.5", "::1", "[::1]", "fd00::/8", "localhost", "API.internal", "*.internal.example", " 10.0.0.0/8 ", "::ffff:10.0.0.5"} {
		if _, err := newPolicy([]string{good}, nil); err != nil {
			t.Errorf("allow %q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0.1/8", "*.", "*", "a..b", "127.1", "http://x", "x:80", "::ffff:10.0.0.0/104", "fe80::1%eth0"} {
		if _, err := newPolicy([]string{bad}, nil); err == nil {
			t.Errorf("allow %q was taken", bad)
		}
	}
}

func TestS23_no_proxy_from_the_environment(t *testing.T) {
	stray, hits := server(t)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, stray.URL)
	}
	z := newZone()
	z.set("api.example", "127.0.0.3")
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}, Resolver: z.resolver(t)})
	for _, k := range []Kind{Token, Upstream} {
		for _, u := range []string{"http://api.example:1/", "https://api.example:1/"} {
			if err := use(g.Transport(k), u); err == nil {
				t.Errorf("request to %s over a port where nobody listens succeeded", u)
			}
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went to the environment's proxy", n)
	}
	// net/http reads the environment once in a process, perhaps before this
	// test: what holds is that no transport asks for it.
	for _, p := range *g.lanes.Load() {
		if p.plain.Proxy != nil || p.secure.Proxy != nil {
			t.Error("a transport has a proxy function")
		}
	}
}

// Whatever it is that stands in the way, the caller reads the same words.
func TestS24_one_message_for_denied_targets(t *testing.T) {
	z := newZone()
	z.set("private.example", "10.0.0.1")
	z.set("metadata.example", "169.254.169.254")
	z.set("both.example", "10.0.0.1 fd00::1")
	z.set("public.example", "93.184.216.34")
	g := guard(t, Options{Resolver: z.resolver(t)})
	seen := map[string]string{}
	for _, u := range []string{
		"https://10.0.0.1/", "https://127.0.0.1/", "http://93.184.216.34/", "https://[fd00::1]/", "https://93.184.216.34:22/",
		"https://private.example/", "https://metadata.example/", "https://both.example/", "http://public.example/", "https://public.example:6379/", "https://127.1/",
	} {
		_, err := try(g, u)
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", u, err)
			continue
		}
		if Reason(err) == "" {
			t.Errorf("%s: no reason for the log", u)
		}
		seen[err.Error()] = u
	}
	if len(seen) != 1 {
		t.Errorf("%d different messages: %v", len(seen), seen)
	}
}

func TestF53_a_new_dial_uses_the_new_address(t *testing.T) {
	var sawHost atomic.Value
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sawHost.Store(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
	})
	// One server at all of 127/8, so that both addresses share a port.
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	z := newZone()
	z.set("moving.example", "127.0.0.1", "127.0.0.2")
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}, Resolver: z.resolver(t)})
	rt := g.Transport(Upstream)
	if d := rt.(*tripper).pair().plain.IdleConnTimeout; d <= 0 || d > time.Minute {
		t.Errorf("idle connections live for %v, want at most a minute", d)
	}
	for i, want := range []string{"127.0.0.1", "127.0.0.1", "127.0.0.2"} {
		if i == 2 {
			g.Close() // as IdleTimeout would
		}
		if err := use(rt, "http://moving.example:"+port+"/"); err != nil {
			t.Fatal(err)
		}
		if got := sawHost.Load().(string); got != want+":"+port {
			t.Errorf("request %d arrived at %s, want %s", i, got, want)
		}
	}
	if z.asked != 2 {
		t.Errorf("the name was resolved %d times, want 2", z.asked)
	}
}

func TestTokenTransport(t *testing.T) {
	srv, hits := server(t)
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}})
	rt := g.Transport(Token)
	for range 3 {
		if err := use(rt, srv.URL); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.conns.Load(); n != 3 {
		t.Errorf("%d connections for three token requests, want 3", n)
	}
	if n := hits.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// S22: a redirect is an answer like any other.
func TestS22_redirects_are_handed_back(t *testing.T) {
	stray, hits := server(t)
	srv := httptest.NewServer(http.RedirectHandler(stray.URL+"/x", http.StatusTemporaryRedirect))
	t.Cleanup(srv.Close)
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}})
	for _, k := range []Kind{Token, Upstream} {
		resp, err := g.Client(k).Post(srv.URL, "text/plain", strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 307 || resp.Header.Get("Location") != stray.URL+"/x" {
			t.Errorf("answer %d, Location %q", resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests followed the redirect", n)
	}
}

func TestMutualTLS(t *testing.T) {
	var saw atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		saw.Store(int64(len(r.TLS.PeerCertificates)))
		fmt.Fprint(w, r.Proto)
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}, RootCAs: pool})
	cert := srv.TLS.Certificates[0]
	for _, tt := range []struct {
		rt    http.RoundTripper
		certs int64
		proto string
	}{
		{g.Transport(Upstream), 0, "HTTP/2.0"},
		{g.Mutual(Upstream, cert), 1, "HTTP/2.0"},
		{g.Transport(Upstream), 0, "HTTP/2.0"},
		{g.Mutual(Token, cert), 1, "HTTP/1.1"},
		{g.Transport(Token), 0, "HTTP/1.1"},
	} {
		r, err := http.NewRequest("GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tt.rt.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if saw.Load() != tt.certs || string(body) != tt.proto {
			t.Errorf("%d client certificates over %s, want %d over %s", saw.Load(), body, tt.certs, tt.proto)
		}
	}
	if err := g.SetAllow([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	if err := use(g.Mutual(Upstream, cert), srv.URL); err != nil {
		t.Fatal(err)
	}
	if saw.Load() != 1 {
		t.Error("a changed allowlist lost the client certificate")
	}
}

func TestCancelledDialIsNotADenial(t *testing.T) {
	g := guard(t, Options{Allow: []string{"127.0.0.0/8"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.DialContext(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with a cancelled context = %v", err)
	}
}

func BenchmarkCheck(b *testing.B) {
	g, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	u, err := ParseURL("https://api.example.com/v1/things")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Check(u); err != nil {
			b.Fatal(err)
		}
	}
}

func guard(t *testing.T, o Options) *Guard {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func try(g *Guard, target string) (*http.Response, error) {
	r, err := http.NewRequest("GET", target, nil)
	if err != nil {
		return nil, err
	}
	return g.Transport(Upstream).RoundTrip(r)
}

func get(t *testing.T, g *Guard, target string, want error) {
	t.Helper()
	resp, err := try(g, target)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", target, err, want)
	}
}

func use(rt http.RoundTripper, target string) error {
	r, err := http.NewRequest("GET", target, nil)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// A counted server counts its connections.
type counted struct {
	*httptest.Server
	conns atomic.Int64
}

func server(t *testing.T) (*counted, *atomic.Int64) {
	t.Helper()
	var hits atomic.Int64
	c := &counted{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	c.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.conns.Add(1)
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c, &hits
}

func portOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}
