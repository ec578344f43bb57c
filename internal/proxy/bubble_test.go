package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// pipes is a network without sockets, whose time is the bubble's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// lanes is a Dialer over pipes.
type lanes struct{ http.RoundTripper }

func (l lanes) Transport(dial.Kind) http.RoundTripper               { return l }
func (l lanes) Mutual(dial.Kind, tls.Certificate) http.RoundTripper { return l }

// A bubble is a world over pipes.
type bubble struct {
	*world
	front  *pipes
	client *http.Transport
}

// inBubble runs a test with a proxy in front of api, in time that passes only
// when everybody waits.
func inBubble(t *testing.T, api http.Handler, o Options, test func(t *testing.T, b *bubble)) {
	t.Helper()
	bubbled(t, func(t *testing.T) (http.Handler, func(b *bubble)) {
		return api, func(b *bubble) { test(t, b) }
	}, o)
}

// bubbled is inBubble for an api and a test that share channels, which have to
// be made inside.
func bubbled(t *testing.T, build func(t *testing.T) (http.Handler, func(b *bubble)), o Options) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		api, test := build(t)
		back, front := newPipes(), newPipes()
		behind := &http.Server{Handler: api}
		go behind.Serve(back)
		upward := &http.Transport{DialContext: back.dial, DisableCompression: true}
		b := &bubble{world: &world{key: &key{name: "key:test#1", gone: make(chan struct{})}}, front: front}
		b.account = &account{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: "http://api.example"}}}, gen: 1}
		o.Upstream = upstream.New(upstream.Options{Dialer: lanes{upward}})
		o.Authorizer, o.Connections, o.Recorder = b.world, b.world, &b.records
		b.h = New(o)
		srv := &http.Server{Handler: b.h.Front(http.NotFoundHandler())}
		Harden(srv)
		go srv.Serve(Strict(front))
		b.client = &http.Transport{DialContext: front.dial, DisableCompression: true}
		test(b)
		b.client.CloseIdleConnections()
		srv.Close()
		upward.CloseIdleConnections()
		behind.Close()
		synctest.Wait()
	})
}

func (b *bubble) get(ctx context.Context, t *testing.T, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://freshet"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer fk_test")
	resp, err := b.client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// events sends n events, one each pause.
func events(n int, pause time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for i := range n {
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	})
}

func TestF86_streams(t *testing.T) {
	t.Run("F86 each event arrives as it is sent, for as long as there are any", func(t *testing.T) {
		const n, pause = 30 * 24, 10 * time.Second
		inBubble(t, events(n, pause), Options{}, func(t *testing.T, b *bubble) {
			start := time.Now()
			resp := b.get(t.Context(), t, "/proxy/crm/events")
			defer resp.Body.Close()
			if d := time.Since(start); d != 0 {
				t.Errorf("the header came after %v, want at once", d)
			}
			in := bufio.NewReader(resp.Body)
			for i := range n {
				line, err := in.ReadString('\n')
				if err != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("event %d: %q, %v", i, line, err)
				}
				in.ReadString('\n')
				if got, want := time.Since(start), time.Duration(i+1)*pause; got != want {
					t.Fatalf("event %d came after %v, want %v", i, got, want)
				}
				if i == 1 {
					// The token that the stream began with has long expired.
					b.account.Rejected(t.Context(), 1)
				}
			}
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("end: %v", err)
			}
			if e := b.records.wait(t, 0); e.Truncated || e.Took != n*pause {
				t.Errorf("entry %+v", e)
			}
		})
	})
	t.Run("F86 an API that falls silent, where that is bounded", func(t *testing.T) {
		inBubble(t, events(2, time.Minute), Options{Idle: 30 * time.Second}, func(t *testing.T, b *bubble) {
			start := time.Now()
			resp := b.get(t.Context(), t, "/proxy/crm/events")
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err == nil || time.Since(start) != 30*time.Second {
				t.Errorf("ended after %v with %v, want it cut after 30 s", time.Since(start), err)
			}
			if e := b.records.wait(t, 0); !errors.Is(e.Cut, errSilent) || !e.Truncated {
				t.Errorf("entry %+v", e)
			}
		})
	})
	t.Run("F86 silence counts anew after each piece", func(t *testing.T) {
		inBubble(t, events(10, 20*time.Second), Options{Idle: 30 * time.Second}, func(t *testing.T, b *bubble) {
			resp := b.get(t.Context(), t, "/proxy/crm/events")
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || strings.Count(string(body), "data:") != 10 {
				t.Errorf("%q, %v", body, err)
			}
		})
	})
	t.Run("F86 what has no length is flushed too", func(t *testing.T) {
		inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"a":1}`+"\n")
			w.(http.Flusher).Flush()
			time.Sleep(time.Hour)
			io.WriteString(w, `{"a":2}`+"\n")
		}), Options{}, func(t *testing.T, b *bubble) {
			start := time.Now()
			resp := b.get(t.Context(), t, "/proxy/crm/lines")
			defer resp.Body.Close()
			in := bufio.NewReader(resp.Body)
			if line, _ := in.ReadString('\n'); line != `{"a":1}`+"\n" || time.Since(start) != 0 {
				t.Errorf("%q after %v", line, time.Since(start))
			}
			if line, _ := in.ReadString('\n'); line != `{"a":2}`+"\n" || time.Since(start) != time.Hour {
				t.Errorf("%q after %v", line, time.Since(start))
			}
		})
	})
}

func TestS77_revoking_a_key_ends_its_streams(t *testing.T) {
	for name, reads := range map[string]bool{"S77 a caller that reads": true, "S77 a caller that does not": false} {
		t.Run(name, func(t *testing.T) {
			bubbled(t, func(t *testing.T) (http.Handler, func(b *bubble)) {
				gone := make(chan struct{})
				api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(gone)
					for r.Context().Err() == nil {
						if _, err := fmt.Fprintf(w, "data: %s\n\n", strings.Repeat("x", 4<<10)); err != nil {
							return
						}
						w.(http.Flusher).Flush()
						if reads {
							time.Sleep(time.Second)
						}
					}
				})
				return api, func(b *bubble) {
					resp := b.get(t.Context(), t, "/proxy/crm/events")
					defer resp.Body.Close()
					ended := make(chan error, 1)
					if reads {
						go func() {
							_, err := io.Copy(io.Discard, resp.Body)
							ended <- err
						}()
					}
					time.Sleep(10 * time.Second)
					start := time.Now()
					close(b.key.gone)
					e := b.records.wait(t, 0)
					<-gone
					if d := time.Since(start); d > 5*time.Second {
						t.Errorf("the stream ended %v after the key was revoked, want at most 5 s", d)
					}
					if !errors.Is(e.Cut, errRevoked) || !e.Truncated {
						t.Errorf("entry %+v", e)
					}
					if reads {
						if err := <-ended; err == nil {
							t.Error("the cut answer looks complete")
						}
					}
				}
			}, Options{})
		})
	}
	t.Run("S77 a key that was revoked just before", func(t *testing.T) {
		inBubble(t, events(1000, time.Second), Options{}, func(t *testing.T, b *bubble) {
			close(b.key.gone)
			start := time.Now()
			resp := b.get(t.Context(), t, "/proxy/crm/events")
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("ended after %v", d)
			}
		})
	})
	t.Run("S77 before the API has answered", func(t *testing.T) {
		api := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		inBubble(t, api, Options{}, func(t *testing.T, b *bubble) {
			time.AfterFunc(time.Minute, func() { close(b.key.gone) })
			start := time.Now()
			resp := b.get(t.Context(), t, "/proxy/crm/slow")
			defer resp.Body.Close()
			if d := time.Since(start); resp.StatusCode != 401 || d > time.Minute+5*time.Second {
				t.Errorf("%d after %v", resp.StatusCode, d)
			}
		})
	})
}

func TestF88_a_client_that_leaves(t *testing.T) {
	t.Run("F88 the API's call is cancelled", func(t *testing.T) {
		bubbled(t, func(t *testing.T) (http.Handler, func(b *bubble)) {
			left := make(chan error, 1)
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				left <- r.Context().Err()
			})
			return api, func(b *bubble) {
				ctx, cancel := context.WithCancel(t.Context())
				resp := b.get(ctx, t, "/proxy/crm/x")
				start := time.Now()
				cancel()
				resp.Body.Close()
				if err := <-left; err == nil || time.Since(start) > time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				b.records.wait(t, 0)
			}
		}, Options{})
	})
	t.Run("F88 before the answer", func(t *testing.T) {
		bubbled(t, func(t *testing.T) (http.Handler, func(b *bubble)) {
			arrived, left := make(chan struct{}), make(chan struct{})
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
				close(left)
			})
			return api, func(b *bubble) {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					<-arrived
					cancel()
				}()
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://freshet/proxy/crm/x", nil)
				r.Header.Set("Authorization", "Bearer fk_test")
				if _, err := b.client.RoundTrip(r); err == nil {
					t.Error("an answer")
				}
				<-left
				if e := b.records.wait(t, 0); e.Status != 499 || e.Problem != "client-gone" {
					t.Errorf("entry %+v", e)
				}
			}
		}, Options{})
	})
	t.Run("F88 while the token is refreshed: the waiter leaves, nothing is sent", func(t *testing.T) {
		var calls atomic.Int64
		api := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) })
		inBubble(t, api, Options{}, func(t *testing.T, b *bubble) {
			b.account.wait, b.account.waiting = make(chan struct{}), make(chan struct{}, 1)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-b.account.waiting
				cancel()
			}()
			r, _ := http.NewRequestWithContext(ctx, "GET", "http://freshet/proxy/crm/x", nil)
			r.Header.Set("Authorization", "Bearer fk_test")
			if _, err := b.client.RoundTrip(r); err == nil {
				t.Error("an answer")
			}
			if e := b.records.wait(t, 0); e.Status != 499 || calls.Load() != 0 {
				t.Errorf("%d calls, entry %+v", calls.Load(), e)
			}
		})
	})
}

// A thousand callers that read nothing hold a bounded number of bytes each, and
// not for ever.
func TestF90_slow_readers_are_bounded(t *testing.T) {
	const callers = 1000
	var sent atomic.Int64
	chunk := []byte(strings.Repeat("x", 1<<10))
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	inBubble(t, api, Options{}, func(t *testing.T, b *bubble) {
		var answers []*http.Response
		for range callers {
			answers = append(answers, b.get(t.Context(), t, "/proxy/crm/endless"))
		}
		synctest.Wait()
		// One buffer of ours, and those of net/http at three ends.
		if per := sent.Load() / callers; per > bufSize+32<<10 {
			t.Errorf("%d bytes are held for each caller", per)
		}
		start := time.Now()
		for i := range callers {
			if e := b.records.wait(t, i); !e.Truncated {
				t.Fatalf("entry %+v", e)
			}
		}
		if d := time.Since(start); d > time.Minute {
			t.Errorf("callers that read nothing were given up after %v, want a minute", d)
		}
		for _, resp := range answers {
			resp.Body.Close()
		}
	})
}

// A slow caller that reads is no stuck one.
func TestF90_slow_but_steady(t *testing.T) {
	const total = 512 << 10
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, total)) })
	inBubble(t, api, Options{}, func(t *testing.T, b *bubble) {
		resp := b.get(t.Context(), t, "/proxy/crm/large")
		defer resp.Body.Close()
		got := 0
		for buf := make([]byte, 16<<10); ; {
			n, err := resp.Body.Read(buf)
			got += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("cut after %d bytes: %v", got, err)
			}
			time.Sleep(10 * time.Second)
		}
		if got != total {
			t.Errorf("%d bytes of %d", got, total)
		}
	})
}

func TestS37_slow_headers(t *testing.T) {
	inBubble(t, http.NotFoundHandler(), Options{}, func(t *testing.T, b *bubble) {
		var slow sync.WaitGroup
		start := time.Now()
		for range 1000 {
			c, err := b.front.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			slow.Go(func() {
				io.Copy(io.Discard, c)
				if d := time.Since(start); d != headerTimeout {
					t.Errorf("a slow head was given %v, want %v", d, headerTimeout)
				}
				c.Close()
			})
			slow.Go(func() {
				for _, s := range "GET /proxy/crm/x HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaa" {
					if _, err := io.WriteString(c, string(s)); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		slow.Wait()
		if resp := b.get(t.Context(), t, "/proxy/nobody/x"); resp.StatusCode != 404 {
			t.Errorf("others were answered %d", resp.StatusCode)
		}
	})
}

func TestShutdownEndsLongAnswers(t *testing.T) {
	inBubble(t, events(1000, time.Second), Options{}, func(t *testing.T, b *bubble) {
		resp := b.get(t.Context(), t, "/proxy/crm/events")
		defer resp.Body.Close()
		go io.Copy(io.Discard, resp.Body)
		time.Sleep(10 * time.Second)
		if err := b.h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if e := b.records.wait(t, 0); !errors.Is(e.Cut, errClosing) {
			t.Errorf("entry %+v", e)
		}
	})
}
