package proxy

import (
	"bufio"
	"bytes"
	"context"
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
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// A world is a server with a proxy in front of one API.
type world struct {
	*httptest.Server
	h       *Handler
	account *account
	records records
	key     *key
	next    int // requests that the proxy left to others
	other   http.Handler
}

type setup struct {
	api     freshet.API // BaseURL is filled in
	options Options
	upgrade func(*world)
	guard   dial.Options
}

// newWorld serves api behind /proxy/crm.
func newWorld(t *testing.T, api http.Handler, tweak ...func(*setup)) *world {
	t.Helper()
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	return newWorldAt(t, srv.URL, tweak...)
}

func newWorldAt(t *testing.T, base string, tweak ...func(*setup)) *world {
	t.Helper()
	s := &setup{guard: dial.Options{Allow: []string{"127.0.0.0/8"}}}
	s.api.BaseURL = base
	for _, f := range tweak {
		f(s)
	}
	g, err := dial.New(s.guard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	w := &world{key: &key{name: "key:test#1", gone: make(chan struct{})}}
	w.account = &account{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: &s.api}}, gen: 1}
	s.options.Upstream = upstream.New(upstream.Options{Dialer: g})
	s.options.Authorizer, s.options.Connections = w, w
	if s.options.Recorder == nil {
		s.options.Recorder = &w.records
	}
	w.h = New(s.options)
	w.other = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.next++ })
	w.Server = httptest.NewUnstartedServer(w.h.Front(w.other))
	Harden(w.Config)
	w.Listener = Strict(w.Listener)
	w.Start()
	t.Cleanup(w.Close)
	return w
}

// Authorize knows one key.
func (w *world) Authorize(r *http.Request, name string) (Caller, error) {
	if r.Header.Get("Authorization") != "Bearer fk_test" {
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "No API key, or a wrong one", "")
	}
	if name == "closed" {
		return nil, problem.New(http.StatusForbidden, "forbidden", "The key does not allow this", "it needs call:closed")
	}
	return w.key, nil
}

// Connection knows one connection.
func (w *world) Connection(_ context.Context, name string) (upstream.Connection, error) {
	if name != "crm" {
		return nil, fmt.Errorf("connection %s: %w", name, freshet.ErrNotFound)
	}
	return w.account, nil
}

type key struct {
	name string
	gone chan struct{}
}

func (k *key) Actor() string            { return k.name }
func (k *key) Revoked() <-chan struct{} { return k.gone }

// An account is a connection whose provider is in memory.
type account struct {
	mu        sync.Mutex
	def       *freshet.Definition
	gen       int64
	refreshes int
	none      error
	wait      chan struct{} // Token waits for it
	waiting   chan struct{} // and says so here
}

func (a *account) Definition() *freshet.Definition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.def
}

func (a *account) token() *freshet.Token {
	return &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("canary-token-%d", a.gen)), Generation: a.gen}
}

func (a *account) Token(ctx context.Context, _ time.Duration) (*freshet.Token, error) {
	if a.wait != nil {
		a.waiting <- struct{}{}
		select {
		case <-a.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.none != nil {
		return nil, a.none
	}
	return a.token(), nil
}

func (a *account) Rejected(_ context.Context, gen int64) (*freshet.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if gen == a.gen {
		a.gen++
		a.refreshes++
	}
	return a.token(), nil
}

func (a *account) StillRejected(int64) {}

// records keeps what the recorder was told.
type records struct {
	mu       sync.Mutex
	admitted []Entry
	done     []Entry
	wake     chan struct{}
	refuse   error
}

func (r *records) Admit(_ context.Context, e *Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted = append(r.admitted, *e)
	return r.refuse
}

func (r *records) Done(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, *e)
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// wait returns the n-th entry (from 0) once it is there.
func (r *records) wait(t *testing.T, n int) Entry {
	t.Helper()
	for {
		r.mu.Lock()
		if len(r.done) > n {
			defer r.mu.Unlock()
			return r.done[n]
		}
		if r.wake == nil {
			r.wake = make(chan struct{})
		}
		wake := r.wake
		r.mu.Unlock()
		select {
		case <-wake:
		case <-t.Context().Done():
			t.Fatal("no entry")
		}
	}
}

// send makes a request to the world and returns the answer with its body read.
func (w *world) send(t *testing.T, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	resp, err := w.open(t, method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read: %v", method, path, err)
	}
	return resp, string(b)
}

// bare is a client that adds nothing and decodes nothing.
var bare = &http.Transport{DisableCompression: true}

func (w *world) open(t *testing.T, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer fk_test")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return bare.RoundTrip(r)
}

// raw writes bytes to the world's server and returns all that comes back until
// the server closes, or until the first answer is complete.
func (w *world) raw(t *testing.T, request string) (status int, answer string) {
	t.Helper()
	c, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &all)), nil)
	if err != nil {
		return 0, all.String()
	}
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// lines joins the lines of a raw request.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

const auth = "Authorization: Bearer fk_test"

// A wire is an API that shows the bytes of what arrives at it.
type wire struct {
	net.Listener
	heads chan string
}

func newWire(t *testing.T, answer string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w := &wire{Listener: l, heads: make(chan string, 1024)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					var head strings.Builder
					for line := ""; line != "\r\n"; {
						if line, err = r.ReadString('\n'); err != nil {
							return
						}
						head.WriteString(line)
					}
					if err := skipBody(head.String(), r); err != nil {
						return
					}
					w.heads <- head.String()
					io.WriteString(c, answer)
					if strings.Contains(answer, "Connection: close") {
						return
					}
				}
			}()
		}
	}()
	return w
}

// skipBody reads what a head announces.
func skipBody(head string, r *bufio.Reader) error {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return err
	}
	if req.ContentLength > 0 {
		_, err = io.CopyN(io.Discard, r, req.ContentLength)
		return err
	}
	for last := req.ContentLength == 0; !last; {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		last = line == "0\r\n"
		if !last {
			n, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
			io.CopyN(io.Discard, r, n+2)
		}
	}
	for line := ""; req.ContentLength < 0 && line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (w *wire) url() string { return "http://" + w.Addr().String() }

// none fails the test if a request arrived.
func (w *wire) none(t *testing.T) {
	t.Helper()
	select {
	case head := <-w.heads:
		t.Errorf("a request arrived at the API:\n%s", head)
	default:
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
