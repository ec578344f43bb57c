package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// An echo is an API that speaks websocket and wants a token of generation min.
type echo struct {
	min     string
	calls   atomic.Int64
	closed  chan websocket.StatusCode
	started chan struct{}
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.calls.Add(1)
	if r.Header.Get("Authorization") < "Bearer canary-token-"+e.min {
		w.WriteHeader(401)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	if e.started != nil {
		close(e.started)
	}
	c.SetReadLimit(-1)
	for {
		kind, data, err := c.Read(context.Background())
		if err != nil {
			if e.closed != nil {
				e.closed <- websocket.CloseStatus(err)
			}
			return
		}
		if err := c.Write(context.Background(), kind, data); err != nil {
			return
		}
	}
}

func withSockets(s *setup) { s.api.WebSocket = true }

func (w *world) dial(t *testing.T, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer fk_test"}}
	for k, v := range header {
		h[k] = v
	}
	c, resp, err := websocket.Dial(t.Context(), w.URL+"/proxy/crm/socket?room=1;x", &websocket.DialOptions{HTTPHeader: h, Subprotocols: []string{"chat"}})
	if err == nil {
		c.SetReadLimit(-1)
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, resp, err
}

func TestF87_websockets(t *testing.T) {
	t.Run("F87 echo, the token in the handshake", func(t *testing.T) {
		e := &echo{min: "1", closed: make(chan websocket.StatusCode, 1)}
		w := newWorld(t, e, withSockets)
		c, resp, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != "chat" || resp.Header.Get("Freshet-Refreshed") != "" {
			t.Errorf("%v", resp.Header)
		}
		for _, size := range []int{0, 1, 125, 126, 65536, 1 << 20} {
			msg := bytes.Repeat([]byte{0xfe}, size)
			go c.Write(t.Context(), websocket.MessageBinary, msg)
			kind, got, err := c.Read(t.Context())
			if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, msg) {
				t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
			t.Errorf("close: %v", err)
		}
		if s := <-e.closed; s != websocket.StatusNormalClosure {
			t.Errorf("the API saw the socket closed with %v", s)
		}
		if en := w.records.wait(t, 0); !en.WebSocket || en.Status != 101 || en.In < 1<<20 || en.Out < 1<<20 || en.Generation != 1 {
			t.Errorf("entry %+v", en)
		}
	})
	t.Run("F87 a refused handshake is tried once more", func(t *testing.T) {
		e := &echo{min: "2"}
		w := newWorld(t, e, withSockets)
		c, resp, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if e.calls.Load() != 2 || w.account.refreshes != 1 || resp.Header.Get("Freshet-Refreshed") != "true" {
			t.Errorf("%d handshakes, %d refreshes, %v", e.calls.Load(), w.account.refreshes, resp.Header)
		}
		c.Write(t.Context(), websocket.MessageText, []byte("hello"))
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("F87 refused for good", func(t *testing.T) {
		e := &echo{min: "9"}
		w := newWorld(t, e, withSockets)
		_, resp, err := w.dial(t, nil)
		if err == nil || resp.StatusCode != 401 || e.calls.Load() != 2 {
			t.Errorf("%v after %d handshakes", err, e.calls.Load())
		}
	})
	t.Run("F87 the API ends it", func(t *testing.T) {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err == nil {
				c.Write(r.Context(), websocket.MessageText, []byte("last"))
				c.Close(websocket.StatusGoingAway, "done")
			}
		}), withSockets)
		c, _, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "last" {
			t.Errorf("%q, %v", got, err)
		}
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("ended with %v", err)
		}
		w.records.wait(t, 0)
	})
	t.Run("F87 a caller that vanishes", func(t *testing.T) {
		e := &echo{min: "1", closed: make(chan websocket.StatusCode, 1)}
		w := newWorld(t, e, withSockets)
		c, _, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.CloseNow()
		<-e.closed
		w.records.wait(t, 0)
	})
	t.Run("F87 closed at shutdown, after the grace", func(t *testing.T) {
		e := &echo{min: "1", closed: make(chan websocket.StatusCode, 1)}
		w := newWorld(t, e, withSockets)
		w.h.watch = 0
		c, _, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		grace, end := context.WithCancel(t.Context())
		down := make(chan error, 1)
		go func() { down <- w.h.Shutdown(grace) }()
		c.Write(t.Context(), websocket.MessageText, []byte("still"))
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "still" {
			t.Errorf("within the grace: %q, %v", got, err)
		}
		for { // until Shutdown is heard of
			_, resp, err := w.dial(t, nil)
			if err == nil {
				continue
			}
			if resp.StatusCode != 503 {
				t.Errorf("a new socket was answered %d", resp.StatusCode)
			}
			break
		}
		end()
		if err := <-down; !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown = %v", err)
		}
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("the socket outlived the server")
		}
	})
	t.Run("F87 shutdown without any", func(t *testing.T) {
		w := newWorld(t, http.NotFoundHandler())
		if err := w.h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("S77 closed when the key is revoked", func(t *testing.T) {
		e := &echo{min: "1", closed: make(chan websocket.StatusCode, 1)}
		w := newWorld(t, e, withSockets)
		w.h.watch = 0
		c, _, err := w.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		close(w.key.gone)
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("the socket outlived the key")
		}
		<-e.closed
		if en := w.records.wait(t, 0); !errors.Is(en.Cut, errRevoked) {
			t.Errorf("entry %+v", en)
		}
	})
}

func TestS38_origins(t *testing.T) {
	w := newWorld(t, &echo{min: "1"}, withSockets, func(s *setup) { s.options.Origins = []string{"https://app.example"} })
	own := "http://" + w.Listener.Addr().String()
	for origin, ok := range map[string]bool{
		"": true, own: true, "https://app.example": true, strings.ToUpper(own): true,
		"https://evil.example": false, "https://app.example.evil.example": false, "http://app.example": false, "null": false, "https://app.example:444": false,
	} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		c, resp, err := w.dial(t, h)
		if (err == nil) != ok {
			t.Errorf("S38 origin %q: %v", origin, err)
		}
		if err == nil {
			c.CloseNow()
		} else if resp == nil || resp.StatusCode != 403 {
			t.Errorf("S38 origin %q: answered %v", origin, resp)
		}
	}
	if _, resp, err := w.dial(t, http.Header{"Authorization": {"Bearer stolen"}, "Cookie": {"session=1"}}); err == nil || resp.StatusCode != 401 {
		t.Errorf("S38: without a key: %v", err)
	}
	if _, resp, err := w.dial(t, http.Header{"Origin": {own, "https://evil.example"}}); err == nil || resp.StatusCode != 403 {
		t.Errorf("S38: two origins: %v", err)
	}
}

func TestS31_upgrades(t *testing.T) {
	api := newWire(t, okAnswer)
	closed, open := newWorldAt(t, api.url()), newWorldAt(t, api.url(), withSockets)
	get := func(l ...string) string {
		return lines(append(append([]string{"GET /proxy/crm/x HTTP/1.1", "Host: h", auth}, l...), "")...)
	}
	for _, tt := range []struct {
		name    string
		w       *world
		request string
		want    int
		passes  string // what the API sees of Upgrade, if the request arrives
	}{
		{"S31 websocket where it is not enabled", closed, get("Connection: Upgrade", "Upgrade: websocket"), 403, "-"},
		{"S31 h2c", closed, get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM"), 200, ""},
		{"S31 h2c where websockets are enabled", open, get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM"), 200, ""},
		{"S31 another protocol", open, get("Connection: upgrade", "Upgrade: TLS/1.0, HTTP/1.1"), 200, ""},
		{"S31 Upgrade that Connection does not name", open, get("Upgrade: websocket"), 200, ""},
		{"S31 websocket", open, get("Connection: keep-alive, upgrade", "Upgrade: WebSocket"), 200, "websocket"},
		{"S31 websocket among others", open, get("Connection: upgrade", "Upgrade: h2c, websocket"), 200, "websocket"},
		{"S31 websocket with POST", open, strings.Replace(get("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"), "GET", "POST", 1), 400, "-"},
		{"S31 websocket with a body", open, get("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 3") + "abc", 400, "-"},
		{"S31 websocket with HTTP/1.0", open, strings.Replace(get("Connection: Upgrade", "Upgrade: websocket"), "1.1", "1.0", 1), 200, "websocket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, answer := tt.w.raw(t, tt.request); status != tt.want {
				t.Errorf("answered %d, want %d\n%s", status, tt.want, answer)
			}
			if tt.passes == "-" {
				api.none(t)
				return
			}
			head := strings.ToLower(<-api.heads)
			if strings.Contains(head, "upgrade: "+tt.passes) != (tt.passes != "") || strings.Contains(head, "h2c") || strings.Contains(head, "http2-settings") {
				t.Errorf("the API saw\n%s", head)
			}
		})
	}
	t.Run("S31 an API that switches though nobody asked", func(t *testing.T) {
		rogue := newWire(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		for _, w := range []*world{newWorldAt(t, rogue.url()), newWorldAt(t, rogue.url(), withSockets)} {
			for _, request := range []string{get(), get("Connection: Upgrade", "Upgrade: websocket")} {
				if status, _ := w.raw(t, request); status != 502 && status != 403 {
					t.Errorf("answered %d, want 502", status)
				}
			}
		}
	})
}

// After the handshake the connection is no HTTP any more: nothing is looked at.
func TestTunnelBytesAreOpaque(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\nearly")
		io.Copy(c, r)
	}()
	w := newWorldAt(t, "http://"+l.Addr().String(), withSockets)
	c, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "Connection: Upgrade", "Upgrade: websocket", ""))
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("X-A") != "1" {
		t.Fatalf("%v, %v", resp, err)
	}
	early := make([]byte, 5)
	if _, err := io.ReadFull(r, early); err != nil || string(early) != "early" {
		t.Errorf("%q, %v", early, err)
	}
	odd := "\n\r\x00POST / HTTP/1.1\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("\xff", 100_000)
	go io.WriteString(c, odd)
	got := make([]byte, len(odd))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != odd {
		t.Errorf("%d bytes came back changed, %v", len(got), err)
	}
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 {
		t.Errorf("end: %q, %v", b, err)
	}
	w.records.wait(t, 0)
}

// A side that takes nothing holds one buffer, and not for ever.
func TestF90_a_stuck_websocket(t *testing.T) {
	e := &echo{min: "1", closed: make(chan websocket.StatusCode, 1)}
	w := newWorld(t, e, withSockets, func(s *setup) { s.options.SlowReader = 50 * time.Millisecond })
	c, _, err := w.dial(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Messages are echoed and nobody reads the echoes: sockets fill up.
	msg := bytes.Repeat([]byte("x"), 1<<20)
	for c.Write(t.Context(), websocket.MessageBinary, msg) == nil {
	}
	if en := w.records.wait(t, 0); !en.WebSocket {
		t.Errorf("entry %+v", en)
	}
}
