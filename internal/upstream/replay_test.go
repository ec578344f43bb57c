package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-dev/freshet"
)

// A stream is a body that cannot be rewound.
func stream(r io.Reader) io.Reader { return struct{ io.Reader }{r} }

func TestF83_bodies_that_can_and_cannot_be_replayed(t *testing.T) {
	small, limit, large := strings.Repeat("s", 1000), strings.Repeat("l", maxReplay), strings.Repeat("x", 10<<20)
	for _, tt := range []struct {
		name   string
		body   string
		length int64
		header http.Header
		replay bool
	}{
		{"F83 small with a length", small, 1000, nil, true},
		{"F83 small chunked", small, -1, nil, true},
		{"F83 at the limit", limit, maxReplay, nil, true},
		{"F83 at the limit, chunked", limit, -1, nil, true},
		{"F83 over the limit", limit + "x", maxReplay + 1, nil, false},
		{"F83 over the limit, chunked", limit + "x", -1, nil, false},
		{"F83 10 MiB", large, int64(len(large)), nil, false},
		{"F83 10 MiB chunked", large, -1, nil, false},
		{"F83 Expect: 100-continue", small, 1000, http.Header{"Expect": {"100-continue"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t, refuseBelow(2, nil))
			acc := newAccount(&freshet.API{BaseURL: api.URL})
			tr := newTransport(t)
			got := do(t, tr, acc, &Call{Method: "POST", Target: "/", Header: tt.header, Body: stream(strings.NewReader(tt.body)), Length: tt.length})
			if acc.count() != 1 {
				t.Errorf("%d refreshes, want 1: the next call needs a token", acc.count())
			}
			if tt.replay {
				if api.calls() != 2 || got.status != 200 || got.NotReplayable {
					t.Fatalf("%d calls, answer %d", api.calls(), got.status)
				}
				_, first := api.call(0)
				if _, second := api.call(1); second != tt.body || first != tt.body {
					t.Errorf("bodies of %d and %d bytes, want %d", len(first), len(second), len(tt.body))
				}
				return
			}
			if api.calls() != 1 || got.status != 401 || !got.NotReplayable || got.Refreshed || got.body != "refused 1\n" {
				t.Errorf("%d calls, answer %d %q, %+v", api.calls(), got.status, got.body, got.Result)
			}
			if _, body := api.call(0); body != tt.body {
				t.Errorf("a body of %d bytes arrived, want %d", len(body), len(tt.body))
			}
			if next := do(t, tr, acc, &Call{Target: "/"}); next.status != 200 {
				t.Errorf("the next call was answered %d", next.status)
			}
		})
	}
}

// An API that refuses before it has read the body: the second send begins with
// what had passed and goes on with what was still to come.
func TestF83_refused_before_the_body_was_read(t *testing.T) {
	var second atomic.Pointer[string]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			io.ReadFull(r.Body, make([]byte, 5))
			http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(401)
			w.(http.Flusher).Flush()
			return
		}
		close(arrived)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("second body: %v", err)
		}
		s := string(b)
		second.Store(&s)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	pr, pw := io.Pipe()
	go func() {
		io.WriteString(pw, "first")
		<-arrived // the rest comes when the second send is under way
		io.WriteString(pw, "-second")
		pw.Close()
	}()
	acc := newAccount(&freshet.API{BaseURL: "http://" + l.Addr().String()})
	got := do(t, newTransport(t), acc, &Call{Method: "POST", Target: "/", Body: pr, Length: -1})
	if got.status != 200 || !got.Refreshed {
		t.Fatalf("answer %d, %+v", got.status, got.Result)
	}
	if s := second.Load(); s == nil || *s != "first-second" {
		t.Errorf("the second send carried %v", s)
	}
}

func TestF84_never_again_after_a_network_error(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		header http.Header
		body   string
	}{
		{"F84 POST", "POST", nil, "x"},
		{"F84 POST without a body", "POST", nil, ""},
		{"F84 POST with an idempotency key", "POST", http.Header{"Idempotency-Key": {"k1"}}, ""},
		{"F84 POST with an idempotency key and a body", "POST", http.Header{"X-Idempotency-Key": {"k1"}}, "x"},
		{"F84 PUT", "PUT", http.Header{"Idempotency-Key": {"k1"}}, ""},
		{"F84 DELETE", "DELETE", http.Header{"X-Idempotency-Key": {"k1"}}, ""},
		{"F84 GET with a body", "GET", nil, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var saw atomic.Pointer[http.Header]
			api := newAPI(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 1 {
					return // a first call, so that the connection is one that has been used
				}
				saw.Store(&r.Header)
				c, _, _ := w.(http.Hijacker).Hijack()
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			})
			acc := newAccount(&freshet.API{BaseURL: api.URL})
			tr := newTransport(t)
			do(t, tr, acc, &Call{Target: "/"})
			c := &Call{Method: tt.method, Target: "/", Header: tt.header}
			if tt.body != "" {
				c.Body, c.Length = strings.NewReader(tt.body), int64(len(tt.body))
			}
			_, err := tr.Do(t.Context(), acc, c)
			if _, ok := errors.AsType[*UnreachableError](err); !ok {
				t.Errorf("error %v, want an UnreachableError", err)
			}
			if n := api.calls() - 1; n != 1 || acc.count() != 0 {
				t.Errorf("%d calls after the first and %d refreshes, want one call", n, acc.count())
			}
			for k, v := range tt.header {
				if got := (*saw.Load()).Get(k); got != v[0] {
					t.Errorf("%s = %q, want %q", k, got, v[0])
				}
			}
		})
	}
	t.Run("F84 5xx", func(t *testing.T) {
		api := newAPI(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		acc := newAccount(&freshet.API{BaseURL: api.URL})
		if got := do(t, newTransport(t), acc, &Call{Method: "POST", Target: "/"}); got.status != 503 || api.calls() != 1 || acc.count() != 0 {
			t.Errorf("answer %d after %d calls", got.status, api.calls())
		}
	})
}

var errBroken = errors.New("the client went away")

func TestBrokenRequestBody(t *testing.T) {
	api := newAPI(t, nil)
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	body := io.MultiReader(strings.NewReader("half"), errReader{errBroken})
	_, err := newTransport(t).Do(t.Context(), acc, &Call{Method: "POST", Target: "/", Body: body, Length: -1})
	if b, ok := errors.AsType[*BodyError](err); !ok || !errors.Is(b, errBroken) {
		t.Errorf("error %v, want a BodyError", err)
	}
}

type errReader struct{ err error }

// telling says when a read begins.
type telling struct {
	io.Reader
	under chan<- struct{}
}

func (t telling) Read(p []byte) (int, error) {
	t.under <- struct{}{}
	return t.Reader.Read(p)
}

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// The budget over all calls: beyond it a body streams through unkept.
func TestKeptBodiesAreBounded(t *testing.T) {
	before := kept.Load()
	kept.Add(maxKept - before - 10)
	defer kept.Add(before + 10 - maxKept)
	api := newAPI(t, refuseBelow(2, nil))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	tr := newTransport(t)
	got := do(t, tr, acc, &Call{Method: "POST", Target: "/", Body: strings.NewReader("a body of more than ten"), Length: 23})
	if !got.NotReplayable || got.status != 401 {
		t.Errorf("answer %d, %+v", got.status, got.Result)
	}
	acc2 := newAccount(&freshet.API{BaseURL: api.URL})
	if got := do(t, tr, acc2, &Call{Method: "POST", Target: "/", Body: strings.NewReader("ten bytes!"), Length: 10}); got.status != 200 {
		t.Errorf("a body within the budget was not replayed: %d", got.status)
	}
	if n := kept.Load(); n != maxKept-10 {
		t.Errorf("the budget is off by %d after the calls", n-maxKept+10)
	}
}

// A read that is under way when the second send begins loses nothing.
func TestRecorderHandsOver(t *testing.T) {
	pr, pw := io.Pipe()
	under := make(chan struct{}, 16)
	r := newRecorder(telling{pr, under}, -1, true)
	first := r.attempt()
	got := make(chan error)
	go func() {
		_, err := first.Read(make([]byte, 64)) // waits for the client
		got <- err
	}()
	<-under
	if !r.hold() {
		t.Fatal("nothing has passed, and yet it is lost")
	}
	second := r.attempt()
	go func() {
		pw.Write([]byte("early"))
		pw.Write([]byte("-late"))
		pw.Close()
	}()
	if err := <-got; !errors.Is(err, errAbandoned) {
		t.Errorf("the first send's read ended with %v", err)
	}
	b, err := io.ReadAll(second)
	if err != nil || !bytes.Equal(b, []byte("early-late")) {
		t.Errorf("the second send read %q, %v", b, err)
	}
	r.close()
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, errAbandoned) {
		t.Errorf("read after close: %v", err)
	}
	if n := r.charged; n != 0 {
		t.Errorf("%d bytes are still charged", n)
	}
}

// That read may bring more than would otherwise be kept.
func TestRecorderHandsOverBeyondItsLimit(t *testing.T) {
	pr, pw := io.Pipe()
	under := make(chan struct{}, 16)
	r := newRecorder(telling{pr, under}, -1, true)
	first := r.attempt()
	start := bytes.Repeat([]byte("a"), maxReplay)
	go pw.Write(start)
	if _, err := io.ReadFull(first, make([]byte, maxReplay)); err != nil {
		t.Fatal(err)
	}
	<-under // that one
	go first.Read(make([]byte, 64))
	<-under
	if !r.hold() {
		t.Fatal("what has passed is lost")
	}
	second := r.attempt()
	go func() {
		pw.Write([]byte("tail"))
		pw.Close()
	}()
	b, err := io.ReadAll(second)
	if err != nil || len(b) != maxReplay+4 || !bytes.HasSuffix(b, []byte("atail")) {
		t.Errorf("the second send read %d bytes, %v; want %d", len(b), err, maxReplay+4)
	}
}
