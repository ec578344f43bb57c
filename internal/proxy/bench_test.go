package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// pool is a BufferPool for the ReverseProxy that we are compared with.
type pool struct{}

func (pool) Get() []byte  { return buffers.Get().(*[bufSize]byte)[:] }
func (pool) Put(b []byte) { buffers.Put((*[bufSize]byte)(b)) }

// always is a world for the benchmark: one key, one connection, a token that
// stays fresh, and a recorder that counts.
type always struct {
	key  key
	def  *freshet.Definition
	tok  *freshet.Token
	mu   sync.Mutex
	done int
}

func (a *always) Authorize(*http.Request, string) (Caller, error) { return &a.key, nil }
func (a *always) Connection(context.Context, string) (upstream.Connection, error) {
	return a, nil
}
func (a *always) Admit(context.Context, *Entry) error { return nil }
func (a *always) Done(*Entry) {
	a.mu.Lock()
	a.done++
	a.mu.Unlock()
}
func (a *always) Definition() *freshet.Definition                              { return a.def }
func (a *always) Token(context.Context, time.Duration) (*freshet.Token, error) { return a.tok, nil }
func (a *always) Rejected(context.Context, int64) (*freshet.Token, error)      { return a.tok, nil }
func (a *always) StillRejected(int64)                                          {}

// BenchmarkProxy compares the handler with httputil.ReverseProxy over
// oauth2.Transport, both over the same transport to the same API, in rounds that
// take turns. The metric "ratio" is the median of ours over theirs in requests a
// second; the goal is 0.90.
func BenchmarkProxy(b *testing.B) {
	for _, bb := range []struct {
		name string
		size int
		post string
	}{{"GET 1 KiB", 1 << 10, ""}, {"GET 64 KiB", 64 << 10, ""}, {"POST 200 B", 200, string(make([]byte, 200))}} {
		b.Run(bb.name, func(b *testing.B) {
			body := make([]byte, bb.size)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				w.Write(body)
			}))
			defer api.Close()
			base, err := url.Parse(api.URL)
			if err != nil {
				b.Fatal(err)
			}
			transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}
			defer transport.CloseIdleConnections()

			a := &always{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: api.URL}}}, tok: &freshet.Token{Access: freshet.NewSecret("token"), Generation: 1}}
			h := New(Options{Upstream: upstream.New(upstream.Options{Dialer: lanes{transport}}), Authorizer: a, Connections: a, Recorder: a})
			ours := httptest.NewUnstartedServer(h.Front(http.NotFoundHandler()))
			ours.Listener = Strict(ours.Listener)
			ours.Start()
			defer ours.Close()

			theirs := httptest.NewServer(&httputil.ReverseProxy{
				Rewrite: func(r *httputil.ProxyRequest) {
					r.SetURL(base)
					r.Out.URL.Path = r.Out.URL.Path[len("/proxy/crm"):]
				},
				Transport:  &oauth2.Transport{Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"}), Base: transport},
				BufferPool: pool{},
			})
			defer theirs.Close()

			const clients, each = 16, 100
			request := lines("GET /proxy/crm/things?x=1 HTTP/1.1", "Host: h", auth, "User-Agent: bench/1.0", "Accept: application/json", "Accept-Encoding: gzip", "X-Request-Id: 0123456789abcdef", "")
			if bb.post != "" {
				request = lines("POST /proxy/crm/things?x=1 HTTP/1.1", "Host: h", auth, "User-Agent: bench/1.0", "Content-Type: application/json", "Content-Length: 200", "") + bb.post
			}
			mine, other := newCrowd(b, ours, clients, request), newCrowd(b, theirs, clients, request)
			defer mine.close()
			defer other.close()
			mine.run(b, each)
			other.run(b, each)
			b.ResetTimer()
			var ratios []float64
			var spent [2]time.Duration
			for b.Loop() {
				x, y := mine.run(b, each), other.run(b, each)
				ratios = append(ratios, float64(y)/float64(x))
				spent[0] += x
				spent[1] += y
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(float64(len(ratios)*clients*each)/spent[0].Seconds(), "req/s")
			b.ReportMetric(float64(len(ratios)*clients*each)/spent[1].Seconds(), "theirs/s")
			b.ReportMetric(0, "ns/op")
			if a.done < clients*each*len(ratios) {
				b.Errorf("%d entries for %d requests", a.done, clients*each*len(ratios))
			}
		})
	}
}

// A crowd is clients that do little themselves, so that the servers are what is
// measured.
type crowd struct {
	conns   []net.Conn
	request []byte
}

func newCrowd(b *testing.B, srv *httptest.Server, n int, request string) *crowd {
	c := &crowd{request: []byte(request)}
	for range n {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		c.conns = append(c.conns, conn)
	}
	return c
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// run sends each requests over every connection and returns how long it took.
func (c *crowd) run(b *testing.B, each int) time.Duration {
	var all sync.WaitGroup
	start := time.Now()
	for _, conn := range c.conns {
		all.Go(func() {
			r := bufio.NewReaderSize(conn, 64<<10)
			for range each {
				if _, err := conn.Write(c.request); err != nil {
					b.Error(err)
					return
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					b.Errorf("%d, %v", resp.StatusCode, err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

func BenchmarkStrict(b *testing.B) {
	request := []byte(lines("GET /proxy/crm/things?x=1 HTTP/1.1", "Host: h", auth, "User-Agent: bench/1.0", "Accept: application/json", "Accept-Encoding: gzip", "X-Request-Id: 0123456789abcdef", ""))
	var f framing
	b.ReportAllocs()
	for b.Loop() {
		if f.follow(request) >= 0 {
			b.Fatal("refused")
		}
	}
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ h http.Header }

func (n *nowhere) Header() http.Header         { return n.h }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// canned answers without a network.
type canned struct{}

func (canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}, "Date": {"x"}, "Content-Length": {"0"}}, Body: http.NoBody}, nil
}

// BenchmarkHandler is what the handlers themselves cost, without a network.
func BenchmarkHandler(b *testing.B) {
	a := &always{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: "http://api.example"}}}, tok: &freshet.Token{Access: freshet.NewSecret("token"), Generation: 1}}
	base, _ := url.Parse("http://api.example")
	for name, h := range map[string]http.Handler{
		"ours": New(Options{Upstream: upstream.New(upstream.Options{Dialer: lanes{canned{}}}), Authorizer: a, Connections: a, Recorder: a}),
		"theirs": &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(base) }, BufferPool: pool{},
			Transport: &oauth2.Transport{Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"}), Base: canned{}}},
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/proxy/crm/things?x=1", nil)
			for k, v := range map[string]string{"User-Agent": "bench/1.0", "Accept": "application/json", "Accept-Encoding": "gzip", "X-Request-Id": "0123456789abcdef", "Authorization": "Bearer fk_test"} {
				r.Header.Set(k, v)
			}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&nowhere{http.Header{}}, r)
			}
		})
	}
}
