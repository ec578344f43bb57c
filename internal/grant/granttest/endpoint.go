package granttest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// An Endpoint is a token endpoint that answers as a case says. It counts and
// keeps every request that reached it, whatever became of the answer.
type Endpoint struct {
	URL string // of the token endpoint

	mu       sync.Mutex
	answer   Case
	requests []Request
	conns    map[net.Conn]bool
	closed   bool
	done     chan struct{}
	wg       sync.WaitGroup
	ln       net.Listener
}

// A Request is one that arrived whole.
type Request struct {
	Method string
	Target string
	Header http.Header
	Body   string
}

// Serve starts an endpoint for the case; it ends with the test.
func Serve(t testing.TB, c Case) *Endpoint {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &Endpoint{answer: c, conns: map[net.Conn]bool{}, done: make(chan struct{}), ln: ln}
	e.URL = "http://" + ln.Addr().String() + "/token"
	mode := ""
	if c.Transport != nil {
		mode = c.Transport.Mode
	}
	switch mode {
	case "refuse":
		// The port was ours a moment ago, so that nobody listens there now.
		ln.Close()
		return e
	case "dns_fail":
		e.URL = "http://no-such-host.invalid/token"
	case "tls_unknown_ca":
		e.URL = strings.Replace(e.URL, "http://", "https://", 1)
		e.ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{selfSigned()}})
	case "tls_handshake_reset":
		e.URL = strings.Replace(e.URL, "http://", "https://", 1)
	}
	e.wg.Go(e.accept)
	t.Cleanup(e.Close)
	return e
}

// selfSigned returns the certificate that net/http/httptest carries.
var selfSigned = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

// Close ends the endpoint and waits for what it was doing.
func (e *Endpoint) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	close(e.done)
	e.ln.Close()
	for c := range e.conns {
		c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// Requests returns how many requests arrived.
func (e *Endpoint) Requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests)
}

// Log returns the requests that arrived, in order.
func (e *Endpoint) Log() []Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Request(nil), e.requests...)
}

// Bodies returns the bodies of the requests that arrived, in order.
func (e *Endpoint) Bodies() []string {
	var out []string
	for _, r := range e.Log() {
		out = append(out, r.Body)
	}
	return out
}

// Answer makes the endpoint answer as another case from now on. The modes that
// need an address of their own (refuse, dns_fail, tls_…) are only for Serve.
func (e *Endpoint) Answer(c Case) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = c
}

func (e *Endpoint) accept() {
	for {
		conn, err := e.ln.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			conn.Close()
			return
		}
		e.conns[conn] = true
		e.wg.Go(func() { e.serve(conn) })
		e.mu.Unlock()
	}
}

func (e *Endpoint) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		e.mu.Lock()
		delete(e.conns, conn)
		e.mu.Unlock()
	}()
	e.mu.Lock()
	c := e.answer
	e.mu.Unlock()
	tr := c.Transport
	if tr == nil {
		tr = &Transport{}
	}
	if tr.Mode == "tls_handshake_reset" {
		conn.Read(make([]byte, 64)) // the ClientHello has begun to arrive
		reset(conn)
		return
	}
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	e.requests = append(e.requests, Request{Method: req.Method, Target: req.RequestURI, Header: req.Header, Body: string(body)})
	c = e.answer
	e.mu.Unlock()
	if c.Transport != nil {
		tr = c.Transport
	}
	switch tr.Mode {
	case "close_after_request":
		return
	case "reset_after_request":
		reset(conn)
		return
	case "stall_before_headers":
		<-e.done
		return
	case "garbage":
		io.WriteString(conn, "\x16\x03\x01 this is no HTTP RT-OLD\r\n\r\n")
		return
	}
	header, payload := c.wire()
	status := c.Status
	if tr.Mode == "informational_then" {
		fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nLink: </style.css>; rel=preload\r\n\r\n", status, http.StatusText(status))
		status = tr.ThenStatus
	}
	if tr.Mode == "huge_header" {
		header.Set("X-Pad", strings.Repeat("x", tr.Bytes))
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	header.Write(&head)
	if status != http.StatusNoContent && status != http.StatusNotModified {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(payload))
	}
	head.WriteString("Connection: close\r\n\r\n")
	if _, err := conn.Write(head.Bytes()); err != nil {
		return
	}
	switch tr.Mode {
	case "stall_after_headers":
		<-e.done
		return
	case "truncate":
		payload = payload[:min(tr.SendBytes, len(payload))]
	case "drip":
		pause := time.NewTicker(time.Second / time.Duration(max(1, tr.BytesPerSecond)))
		defer pause.Stop()
		for i := range payload {
			if _, err := conn.Write(payload[i : i+1]); err != nil {
				return
			}
			select {
			case <-pause.C:
			case <-e.done:
				return
			}
		}
		return
	}
	conn.Write(payload)
}

// reset ends a connection with RST instead of FIN.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
