package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
)

// An account is a connection whose provider is in memory: each refresh issues
// the next generation.
type account struct {
	mu        sync.Mutex
	def       *freshet.Definition
	tok       *freshet.Token
	refreshes int
	still     []int64 // what StillRejected was told
	fail      error   // of Rejected
	none      error   // of Token
	issue     func(gen int64) *freshet.Token
}

func newAccount(api *freshet.API) *account {
	a := &account{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: api}}}
	a.issue = func(gen int64) *freshet.Token {
		return &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("token-%d", gen)), Scheme: "Bearer", Type: "bearer", Generation: gen}
	}
	a.tok = a.issue(1)
	return a
}

func (a *account) Definition() *freshet.Definition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.def
}

func (l *late) Token(context.Context, time.Duration) (*freshet.Token, error) { return l.tok, nil }

func (a *account) Token(context.Context, time.Duration) (*freshet.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tok, a.none
}

func (a *account) Rejected(_ context.Context, gen int64) (*freshet.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return nil, a.fail
	}
	if gen == a.tok.Generation {
		if len(a.still) > 0 && a.still[len(a.still)-1] == gen {
			return nil, fmt.Errorf("crm: %w", ErrResting)
		}
		a.refreshes++
		a.tok = a.issue(gen + 1)
	}
	return a.tok, nil
}

func (a *account) StillRejected(gen int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.still = append(a.still, gen)
}

func (a *account) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refreshes
}

// An api is an upstream that remembers what arrived.
type api struct {
	*httptest.Server
	mu    sync.Mutex
	seen  []*http.Request
	body  []string
	wires int
}

// newAPI answers with serve, which gets the number of the call from 1.
func newAPI(t *testing.T, serve func(n int, w http.ResponseWriter, r *http.Request)) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, r)
		a.body = append(a.body, string(b))
		n := len(a.seen)
		a.mu.Unlock()
		if serve != nil {
			serve(n, w, r)
		}
	}))
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.mu.Lock()
			a.wires++
			a.mu.Unlock()
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

func (a *api) calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

func (a *api) call(i int) (*http.Request, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[i], a.body[i]
}

func newTransport(t *testing.T) *Transport {
	t.Helper()
	g, err := dial.New(dial.Options{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return New(Options{Dialer: g})
}

// A reply is an answer that was read to its end.
type reply struct {
	*Result
	status int
	header http.Header
	body   string
}

func do(t *testing.T, tr *Transport, conn Connection, c *Call) reply {
	t.Helper()
	if c.Method == "" {
		c.Method = "GET"
	}
	res, err := tr.Do(t.Context(), conn, c)
	if err != nil {
		t.Fatalf("%s %s: %v", c.Method, c.Target, err)
	}
	defer res.Close()
	b, err := io.ReadAll(res.Response.Body)
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", c.Method, c.Target, err)
	}
	return reply{Result: res, status: res.Response.StatusCode, header: res.Response.Header, body: string(b)}
}

// refusal makes a call that has to be refused.
func refusal(t *testing.T, tr *Transport, conn Connection, c *Call) Refusal {
	t.Helper()
	if c.Method == "" {
		c.Method = "GET"
	}
	res, err := tr.Do(t.Context(), conn, c)
	if err == nil {
		res.Close()
		return ""
	}
	r, ok := errors.AsType[*RefusedError](err)
	if !ok {
		t.Fatalf("%s %s: %v, want a refusal", c.Method, c.Target, err)
	}
	return r.Refusal
}

// A rawAPI is an upstream that shows the bytes of what arrives.
type rawAPI struct {
	net.Listener
	heads chan string
}

// newRawAPI answers each request with answer, written as it is.
func newRawAPI(t *testing.T, answer string) *rawAPI {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	a := &rawAPI{Listener: l, heads: make(chan string, 1024)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(c, answer)
		}
	}()
	return a
}

func (a *rawAPI) serve(c net.Conn, answer string) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var head strings.Builder
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
			if v, ok := strings.CutPrefix(strings.ToLower(line), "content-length: "); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(v))
			}
			if line == "\r\n" {
				break
			}
		}
		io.CopyN(io.Discard, r, int64(length))
		a.heads <- head.String()
		if _, err := io.WriteString(c, answer); err != nil || strings.Contains(answer, "Connection: close") {
			return
		}
	}
}

func (a *rawAPI) url() string { return "http://" + a.Addr().String() }

const emptyOK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// canned answers without a network.
type canned struct{}

func (canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
}

// still is a connection whose token is always fresh.
type still struct {
	def *freshet.Definition
	tok *freshet.Token
}

func (s *still) Definition() *freshet.Definition                              { return s.def }
func (s *still) Token(context.Context, time.Duration) (*freshet.Token, error) { return s.tok, nil }
func (s *still) Rejected(context.Context, int64) (*freshet.Token, error)      { return s.tok, nil }
func (s *still) StillRejected(int64)                                          {}
