package grant

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/freshet-dev/freshet"
)

var spend = Ask{RefreshToken: freshet.NewSecret("RT-CANARY-1")}

// raw accepts connections and hands each to serve with what was sent on it.
func raw(t *testing.T, serve func(c net.Conn, request []byte)) (addr string, requests, conns *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests, conns = new(atomic.Int64), new(atomic.Int64)
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() { <-done; c.Close() })
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(req.Body)
					requests.Add(1)
					serve(c, body)
				}
			})
		}
	})
	return l.Addr().String(), requests, conns
}

func TestF48_one_request_however_it_ends(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn, []byte)
		code  string
	}{
		{"closed after the request", func(c net.Conn, _ []byte) { c.Close() }, "connection_closed"},
		{"reset after the request", func(c net.Conn, _ []byte) { c.(*net.TCPConn).SetLinger(0); c.Close() }, "connection_reset"},
		{"closed within the header", func(c net.Conn, _ []byte) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le"); c.Close() }, "malformed_response"},
	} {
		for _, method := range []string{"POST", "GET"} {
			t.Run(c.name+" "+method, func(t *testing.T) {
				addr, requests, _ := raw(t, c.serve)
				d := define("http://"+addr, func(d *freshet.Definition) { d.Provider.Request.Method = method })
				for _, s := range []*Sender{sender(), New(Options{Now: clock, Transport: &http.Transport{}})} {
					requests.Store(0)
					if e := mustFail(t, s.Ask(t.Context(), d, spend), Retryable, c.code); !e.Uncertain {
						t.Error("not uncertain, but the request was written")
					}
					if n := requests.Load(); n != 1 {
						t.Errorf("S13: %d requests, want 1", n)
					}
				}
			})
		}
	}
}

func TestF49_the_whole_exchange_has_one_deadline(t *testing.T) {
	addr, requests, _ := raw(t, func(c net.Conn, _ []byte) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		for range 1000 { // each read succeeds, the answer never ends
			if _, err := io.WriteString(c, " "); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e := mustFail(t, sender().Ask(ctx, define("http://"+addr, nil), spend), Retryable, "timeout")
	if !e.Uncertain || requests.Load() != 1 {
		t.Errorf("uncertain %v after %d requests", e.Uncertain, requests.Load())
	}
	if ctx, cancel := bound(t.Context()); true {
		defer cancel()
		if at, ok := ctx.Deadline(); !ok || time.Until(at) > Deadline {
			t.Error("a caller without a deadline gets none")
		}
	}
}

func TestF50_redirect_is_refused(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint("S12 ", status), func(t *testing.T) {
			target := record(t, nil)
			srv := record(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", target.URL+"/token")
				w.Header().Set("Set-Cookie", "a=b")
				w.WriteHeader(status)
			})
			s := sender()
			for range 2 {
				e := mustFail(t, s.Ask(t.Context(), define(srv.URL, nil), spend), Misconfigured, "redirect_refused")
				if e.Uncertain {
					t.Error("uncertain")
				}
			}
			if n := len(target.requests()); n != 0 {
				t.Errorf("the target saw %d requests", n)
			}
			for _, r := range srv.requests() {
				if strings.Contains(r, "Cookie") {
					t.Error("a cookie came back")
				}
			}
		})
	}
}

func TestF51_a_token_request_has_a_connection_of_its_own(t *testing.T) {
	// The endpoint keeps connections open and ends them when they are used
	// again, as a half-dead one in a pool would.
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(goodAnswer), goodAnswer)
	for name, transport := range map[string]http.RoundTripper{"own transport": nil, "transport that keeps connections": &http.Transport{MaxIdleConnsPerHost: 4}} {
		for _, method := range []string{"POST", "GET"} {
			t.Run(name+" "+method, func(t *testing.T) {
				var mu sync.Mutex
				used := map[net.Conn]bool{}
				addr, requests, conns := raw(t, func(c net.Conn, _ []byte) {
					mu.Lock()
					again := used[c]
					used[c] = true
					mu.Unlock()
					if again {
						c.Close()
						return
					}
					io.WriteString(c, answer)
				})
				s := New(Options{Now: clock, Transport: transport})
				d := define("http://"+addr, func(d *freshet.Definition) { d.Provider.Request.Method = method })
				for range 3 {
					mustToken(t, s.Ask(t.Context(), d, spend))
				}
				if requests.Load() != 3 || conns.Load() != 3 {
					t.Errorf("%d requests on %d connections, want 3 on 3", requests.Load(), conns.Load())
				}
			})
		}
	}
}

// h2server speaks HTTP/2 and answers every request with what refuse writes.
func h2server(t *testing.T, refuse func(*http2.Framer, uint32)) (addr string, streams *atomic.Int64) {
	t.Helper()
	tlsServer := httptest.NewUnstartedServer(nil)
	tlsServer.StartTLS()
	cert := tlsServer.TLS.Certificates[0]
	tlsServer.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	streams = new(atomic.Int64)
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { <-done; c.Close() })
			wg.Go(func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				f := http2.NewFramer(c, c)
				f.WriteSettings()
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					switch frame := frame.(type) {
					case *http2.SettingsFrame:
						if !frame.IsAck() {
							f.WriteSettingsAck()
						}
					case *http2.HeadersFrame:
						streams.Add(1)
						if frame.StreamEnded() {
							refuse(f, frame.StreamID)
						}
					case *http2.DataFrame:
						if frame.StreamEnded() {
							refuse(f, frame.StreamID)
						}
					}
				}
			})
		}
	})
	return l.Addr().String(), streams
}

func TestF52_http2_does_not_repeat_a_token_request(t *testing.T) {
	for name, refuse := range map[string]func(*http2.Framer, uint32){
		"REFUSED_STREAM": func(f *http2.Framer, id uint32) { f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"GOAWAY":         func(f *http2.Framer, id uint32) { f.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"INTERNAL_ERROR": func(f *http2.Framer, id uint32) { f.WriteRSTStream(id, http2.ErrCodeInternal) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, streams := h2server(t, refuse)
			var protocols http.Protocols
			protocols.SetHTTP2(true)
			s := New(Options{Now: clock, Transport: &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			out := s.Ask(ctx, define("https://"+addr, nil), spend)
			if out.Err == nil || out.Err.Class != Retryable || out.Err.Code == "timeout" || !out.Err.Uncertain {
				t.Errorf("outcome %+v, want an uncertain retryable error", out.Err)
			}
			if n := streams.Load(); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
	t.Run("our own transport speaks HTTP/1.1 only", func(t *testing.T) {
		if p := ownTransport(nil).Protocols; p.HTTP2() || !p.HTTP1() {
			t.Errorf("protocols %v", p)
		}
	})
}

func TestF54_the_operators_proxy(t *testing.T) {
	var seen bytes.Buffer
	var mu sync.Mutex
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			mu.Lock()
			seen.Write(b[:n])
			mu.Unlock()
			io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	proxy := "http://" + l.Addr().String()
	u, _ := url.Parse(proxy)

	t.Run("asks 407", func(t *testing.T) {
		s := New(Options{Now: clock, Transport: &http.Transport{Proxy: http.ProxyURL(u)}})
		out := s.Ask(t.Context(), define("https://as.example", nil), spend)
		if out.Err == nil || out.Err.Class == Permanent || out.Err.Uncertain {
			t.Errorf("outcome %+v, want a certain error that leaves the grant alone", out.Err)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := seen.String(); !strings.HasPrefix(got, "CONNECT as.example:443") || strings.Contains(got, "CANARY") || strings.Contains(got, "Basic") {
			t.Errorf("the proxy saw %q", got)
		}
	})
	t.Run("down", func(t *testing.T) {
		dead, _ := url.Parse("http://127.0.0.1:1")
		s := New(Options{Now: clock, Transport: &http.Transport{Proxy: http.ProxyURL(dead)}})
		if e := mustFail(t, s.Ask(t.Context(), define("https://as.example", nil), spend), Retryable, "connect_failed"); e.Uncertain {
			t.Error("uncertain")
		}
	})
	t.Run("from the environment is not used", func(t *testing.T) {
		t.Setenv("HTTP_PROXY", proxy)
		t.Setenv("HTTPS_PROXY", proxy)
		if ownTransport(nil).Proxy != nil {
			t.Error("our transport asks the environment for a proxy")
		}
	})
}

func TestF60_lifetime_counts_from_the_send(t *testing.T) {
	now := testNow
	var mu sync.Mutex
	srv := record(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		now = now.Add(15 * time.Second) // the provider takes its time
		mu.Unlock()
		io.WriteString(w, goodAnswer)
	})
	s := New(Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	tok := mustToken(t, s.Ask(t.Context(), define(srv.URL, nil), spend))
	if !tok.IssuedAt.Equal(testNow) || !tok.Expiry.Equal(testNow.Add(time.Hour)) {
		t.Errorf("issued %v, expires %v: want them counted from %v", tok.IssuedAt, tok.Expiry, testNow)
	}
}

func TestNothingIsUncertainBeforeTheSend(t *testing.T) {
	for name, target := range map[string]string{
		"F47 refused":     "http://127.0.0.1:1",
		"F47 no such TLS": "https://" + record(t, nil).Listener.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			out := sender().Ask(t.Context(), define(target, nil), spend)
			if out.Err == nil || out.Err.Uncertain || out.Err.Class == Permanent {
				t.Errorf("outcome %+v", out.Err)
			}
		})
	}
	t.Run("F47 cancelled before the send", func(t *testing.T) {
		srv := record(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out := sender().Ask(ctx, define(srv.URL, nil), spend)
		if out.Err == nil || out.Err.Uncertain || len(srv.requests()) != 0 {
			t.Errorf("outcome %+v after %d requests", out.Err, len(srv.requests()))
		}
	})
}

func TestS70_no_secret_in_the_log(t *testing.T) {
	var logged bytes.Buffer
	srv := record(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"no such token: %s"}`, r.FormValue("refresh_token"))
	})
	s := New(Options{Now: clock, Logger: debugLogger(&logged)})
	d := define(srv.URL, func(d *freshet.Definition) {
		d.Provider.Request.Method = "GET"
		d.Client.Secret = secret("SECRET-CANARY-2")
	})
	e := mustFail(t, s.Ask(t.Context(), d, spend), Permanent, "invalid_grant")
	d.Provider.TokenURL = "http://127.0.0.1:1/{{refresh_token}}"
	unsent := s.Ask(t.Context(), d, spend)
	all := logged.String() + e.Error() + fmt.Sprintf("%+v", e) + fmt.Sprint(unsent.Err, unsent.Err.Unwrap())
	if strings.Contains(all, "CANARY") || !strings.Contains(logged.String(), "connection=crm") {
		t.Errorf("log and errors: %s", all)
	}
}
