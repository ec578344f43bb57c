package web

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/proxy"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func start(t *testing.T, change func(*Options)) (addr string, log *buffer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &buffer{}
	o := Options{Listener: l, Proxy: proxy.New(proxy.Options{}), Log: slog.New(slog.NewTextHandler(log, nil)),
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api") })}
	if change != nil {
		change(&o)
	}
	s := Start(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), log
}

func get(t *testing.T, addr, host, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestS68_foreign_hosts_are_refused(t *testing.T) {
	addr, _ := start(t, func(o *Options) { o.BaseURL, _ = url.Parse("https://tokens.example:8443") })
	_, port, _ := net.SplitHostPort(addr)
	for host, want := range map[string]int{
		addr: 200, "localhost:" + port: 200, "LOCALHOST": 200, "127.0.0.1": 200, "[::1]:" + port: 200,
		"tokens.example:8443": 200, "Tokens.Example:8443": 200,
		"tokens.example": 421, "evil.example": 421, "evil.example:" + port: 421, "127.0.0.1.evil.example": 421,
		"localhost.evil.example": 421, "169.254.169.254": 421,
	} {
		if res, body := get(t, addr, host, "/api/v1/x"); res.StatusCode != want {
			t.Errorf("Host: %s = %d, want %d: %s", host, res.StatusCode, want, body)
		}
	}
}

func TestOneLineForEachRequest(t *testing.T) {
	addr, log := start(t, nil)
	res, _ := get(t, addr, addr, "/api/v1/connections?secret=in-the-query")
	id := res.Header.Get(HeaderRequestID)
	get(t, addr, addr, "/api/v1/connections/crm/token")
	get(t, addr, addr, "/nowhere")
	out := log.String()
	if strings.Count(out, "msg=request") != 2 || !strings.Contains(out, "id="+id) || !strings.Contains(out, "status=404") {
		t.Errorf("log:\n%s", out)
	}
	if strings.Contains(out, "in-the-query") {
		t.Error("S70: a query is in the log")
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("S66: no nosniff")
	}
}

func TestPathsOfLaterVersions(t *testing.T) {
	addr, _ := start(t, nil)
	for path, want := range map[string]int{"/console/": 501, "/apps/shop/users": 200, "/": 404, "/getAccessToken": 404, "/healthz": 200} {
		res, body := get(t, addr, addr, path)
		if res.StatusCode != want {
			t.Errorf("%s = %d, want %d", path, res.StatusCode, want)
		}
		if want >= 400 && res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s: %s", path, res.Header.Get("Content-Type"), body)
		}
	}
}

func TestS74_metrics_are_on_a_listener_of_their_own(t *testing.T) {
	var ml net.Listener
	addr, _ := start(t, func(o *Options) {
		ml, _ = net.Listen("tcp", "127.0.0.1:0")
		o.MetricsListener = ml
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "metrics") })
	})
	if res, body := get(t, addr, addr, "/metrics"); res.StatusCode != 404 {
		t.Errorf("the main listener answers metrics: %s", body)
	}
	if _, body := get(t, ml.Addr().String(), "prometheus.internal", "/metrics"); body != "metrics" {
		t.Errorf("metrics = %q", body)
	}
	if res, _ := get(t, ml.Addr().String(), "x", "/debug/pprof/"); res.StatusCode != 404 {
		t.Error("pprof is served")
	}
}

func TestS37_slow_headers_are_cut(t *testing.T) {
	addr, _ := start(t, nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The limits are http.Server's; here it is enough that they are set.
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nX-Big: "+strings.Repeat("x", 100<<10)+"\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), "HTTP/1.1 431") {
		t.Errorf("100 KiB of header: %.60q", b)
	}
}

func TestEndpointsHaveWhatIsNobodyElses(t *testing.T) {
	addr, _ := start(t, func(o *Options) {
		o.Endpoints = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/getAccessToken" || strings.HasPrefix(r.URL.Path, "/api") {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	for path, want := range map[string]int{"/getAccessToken": 418, "/": 404, "/else": 404, "/api/v1/x": 200, "/console": 501} {
		if resp, body := get(t, addr, addr, path); resp.StatusCode != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, _ := get(t, addr, "evil.example", "/getAccessToken"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under a foreign name: %d", resp.StatusCode)
	}
}
