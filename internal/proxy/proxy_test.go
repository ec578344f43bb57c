package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/problem"
)

// refuseBelow answers 401 to tokens before generation gen.
func refuseBelow(gen int, then http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var got int
		if fmt.Sscanf(r.Header.Get("Authorization"), "Bearer canary-token-%d", &got); got < gen {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "refused", http.StatusUnauthorized)
			return
		}
		if then != nil {
			then(w, r)
		}
	})
}

// said reads a problem.
func said(t *testing.T, resp *http.Response, body string) map[string]any {
	t.Helper()
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	if strings.Contains(body, "canary") || strings.Contains(body, "fk_") {
		t.Errorf("a secret in %s", body)
	}
	return m
}

func TestWhoMayCallWhat(t *testing.T) {
	calls := 0
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	for _, tt := range []struct {
		name, path string
		header     []string
		status     int
		slug       string
	}{
		{"a second Authorization", "/proxy/crm/x", []string{"Authorization", "Bearer fk_other"}, 200, ""},
		{"unknown connection", "/proxy/nobody/x", nil, 404, "not-found"},
		{"not in scope", "/proxy/closed/x", nil, 403, "forbidden"},
	} {
		resp, body := w.send(t, "GET", tt.path, nil, tt.header...)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, body)
		}
		if tt.slug != "" {
			if m := said(t, resp, body); m["type"] != problem.Types+tt.slug {
				t.Errorf("%s: %v", tt.name, m)
			}
		}
	}
	status, _ := w.raw(t, "GET /proxy/crm/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer fk_wrong\r\n\r\n")
	if status != 401 || calls != 1 {
		t.Errorf("wrong key: %d; %d calls arrived, want 1", status, calls)
	}
	if len(w.records.admitted) != 1 || len(w.records.done) != 4 {
		t.Errorf("%d admitted, %d done; want 1 and 4", len(w.records.admitted), len(w.records.done))
	}
	if e := w.records.wait(t, 3); e.Actor != "" || e.Status != 401 || e.Problem != "unauthorized" || e.Generation != 0 {
		t.Errorf("entry of the wrong key: %+v", e)
	}
	t.Run("other paths are others'", func(t *testing.T) {
		for _, path := range []string{"/", "/proxy", "/proxyx/crm", "/api/v1/x", "/%70roxy/crm/x", "//proxy/crm"} {
			before := w.next
			if status, _ := w.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); status != 200 || w.next != before+1 {
				t.Errorf("%s: %d", path, status)
			}
		}
	})
}

// F79, F83: what the caller is told of a refresh.
func TestF79_and_F83_headers(t *testing.T) {
	w := newWorld(t, refuseBelow(2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Freshet-Refreshed", "forged")
		io.WriteString(w, "welcome")
	}))
	resp, body := w.send(t, "POST", "/proxy/crm/x", strings.NewReader("small"))
	if resp.StatusCode != 200 || body != "welcome" || !slices.Equal(resp.Header["Freshet-Refreshed"], []string{"true"}) || resp.Header.Get("Freshet-Retry") != "" {
		t.Errorf("F79: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if e := w.records.wait(t, 0); !e.Refreshed || e.Rejected != 401 || e.Status != 200 || e.Generation != 2 || e.In != 5 || e.Out != 7 || e.Connection != "crm" || e.Path != "/x" || e.Actor != "key:test#1" {
		t.Errorf("F79: entry %+v", e)
	}
	resp, _ = w.send(t, "GET", "/proxy/crm/x", nil)
	if resp.Header.Get("Freshet-Refreshed") != "" {
		t.Error("F79: the next call was refreshed too, or the API may say so")
	}
	w = newWorld(t, refuseBelow(2, nil))
	big := strings.NewReader(strings.Repeat("x", 10<<20))
	resp, body = w.send(t, "POST", "/proxy/crm/x", struct{ io.Reader }{big}) // chunked
	if resp.StatusCode != 401 || body != "refused\n" || resp.Header.Get("Freshet-Retry") != "not-replayable" || resp.Header.Get("Freshet-Refreshed") != "" || resp.Header.Get("Www-Authenticate") == "" {
		t.Errorf("F83: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if e := w.records.wait(t, 0); !e.NotReplayable || w.account.refreshes != 1 {
		t.Errorf("F83: entry %+v, %d refreshes", e, w.account.refreshes)
	}
	if resp, _ = w.send(t, "POST", "/proxy/crm/x", strings.NewReader("x")); resp.StatusCode != 200 {
		t.Errorf("F83: the next call: %d", resp.StatusCode)
	}
	t.Run("F83 Expect: 100-continue", func(t *testing.T) {
		w := newWorld(t, refuseBelow(2, nil))
		resp, _ := w.send(t, "POST", "/proxy/crm/x", strings.NewReader("small"), "Expect", "100-continue")
		if resp.StatusCode != 401 || resp.Header.Get("Freshet-Retry") != "not-replayable" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	})
}

func TestF91_states_without_a_token(t *testing.T) {
	calls := 0
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	for state, want := range map[freshet.State]int{freshet.StateReauth: 409, freshet.StateMisconfigured: 424, freshet.StateUncertain: 503, freshet.StateAttention: 503} {
		w.account.none = &freshet.StateError{Name: "crm", State: state, Reason: "because", Detail: "in words"}
		resp, body := w.send(t, "GET", "/proxy/crm/x", nil)
		m := said(t, resp, body)
		if resp.StatusCode != want || m["status"] != float64(want) || m["connection"] != "crm" || m["state"] != string(state) || m["reason"] != "because" || m["hint"] == "" {
			t.Errorf("F91 %s: %d %s", state, resp.StatusCode, body)
		}
		if m["type"] != problem.Types+"connection-"+string(state) {
			t.Errorf("F91 %s: type %v", state, m["type"])
		}
		if retry := resp.Header.Get("Retry-After"); (retry != "") != (want == 503) {
			t.Errorf("F91 %s: Retry-After %q", state, retry)
		}
		if (m["connect"] != nil) != (want == 409) {
			t.Errorf("F91 %s: connect %v", state, m["connect"])
		}
	}
	if calls != 0 {
		t.Errorf("F91: %d calls arrived without a token", calls)
	}
}

func TestUpstreamFailures(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	reset := newWire(t, "Connection: close") // no HTTP at all, then closed
	for _, tt := range []struct {
		name, base, slug, cause string
		status                  int
	}{
		{"refused", "http://" + gone.Addr().String(), "upstream-unreachable", "refused", 502},
		{"no HTTP", reset.url(), "upstream-unreachable", "network", 502},
		{"S24 denied", "http://10.1.2.3:80", "target-denied", "denied", 502},
		{"S24 denied in another way", "https://93.184.216.34:22", "target-denied", "denied", 502},
	} {
		w := newWorldAt(t, tt.base)
		resp, body := w.send(t, "POST", "/proxy/crm/x", strings.NewReader("x"))
		m := said(t, resp, body)
		if resp.StatusCode != tt.status || m["type"] != problem.Types+tt.slug || m["cause"] != tt.cause {
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, body)
		}
		if strings.Contains(body, "10.1.2.3") || strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: an address in %s", tt.name, body)
		}
		if e := w.records.wait(t, 0); e.Err == nil || e.Problem != tt.slug {
			t.Errorf("%s: entry %+v", tt.name, e)
		}
	}
}

func TestAnswersPassUntouched(t *testing.T) {
	var hits atomic.Int64
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, strings.Repeat("bomb", 1<<16))
	z.Close()
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.URL.Path {
		case "/cache":
			hits.Add(1)
			h.Set("Cache-Control", "public, max-age=3600")
			h.Set("ETag", `"1"`)
			h.Set("Set-Cookie", "session=1")
			h["Content-Type"] = nil
			io.WriteString(w, "<html>")
		case "/gzip":
			h.Set("Content-Encoding", "gzip")
			w.Write(zipped.Bytes())
		case "/redirect":
			h.Set("Location", "http://10.0.0.1/internal")
			w.WriteHeader(307)
		case "/empty":
			w.WriteHeader(204)
		case "/head":
			h.Set("Content-Length", "1234")
		case "/304":
			h.Set("ETag", `"1"`)
			w.WriteHeader(304)
		}
	}))
	t.Run("S36 Cache-Control and all that goes with it", func(t *testing.T) {
		resp, body := w.send(t, "GET", "/proxy/crm/cache", nil)
		if resp.Header.Get("Cache-Control") != "public, max-age=3600" || resp.Header.Get("Etag") != `"1"` || body != "<html>" {
			t.Errorf("%v", resp.Header)
		}
		if ct, ok := resp.Header["Content-Type"]; ok {
			t.Errorf("a content type was guessed: %q", ct)
		}
	})
	t.Run("S36 nothing is answered from memory", func(t *testing.T) {
		before := len(w.records.done)
		for range 3 {
			w.send(t, "GET", "/proxy/crm/cache", nil)
		}
		w.records.wait(t, before+2)
		if n := hits.Load(); n != 4 {
			t.Errorf("the API saw %d requests, want 4", n)
		}
	})
	t.Run("S34 no cookie where cookies are not allowed", func(t *testing.T) {
		if resp, _ := w.send(t, "GET", "/proxy/crm/cache", nil); resp.Header.Get("Set-Cookie") != "" {
			t.Error("a cookie came through")
		}
	})
	t.Run("S39 bodies are not decoded", func(t *testing.T) {
		resp, body := w.send(t, "GET", "/proxy/crm/gzip", nil, "Accept-Encoding", "gzip")
		if resp.Header.Get("Content-Encoding") != "gzip" || body != zipped.String() || resp.ContentLength != int64(zipped.Len()) {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
	})
	t.Run("S22 redirects are the caller's to follow", func(t *testing.T) {
		resp, _ := w.send(t, "POST", "/proxy/crm/redirect", strings.NewReader("x"))
		if resp.StatusCode != 307 || resp.Header.Get("Location") != "http://10.0.0.1/internal" {
			t.Errorf("%d %q", resp.StatusCode, resp.Header.Get("Location"))
		}
	})
	t.Run("answers without a body", func(t *testing.T) {
		if resp, _ := w.send(t, "GET", "/proxy/crm/empty", nil); resp.StatusCode != 204 {
			t.Errorf("204: %d", resp.StatusCode)
		}
		if resp, _ := w.send(t, "GET", "/proxy/crm/304", nil, "If-None-Match", `"1"`); resp.StatusCode != 304 || resp.Header.Get("Etag") == "" {
			t.Errorf("304: %d", resp.StatusCode)
		}
		if resp, _ := w.send(t, "HEAD", "/proxy/crm/head", nil); resp.StatusCode != 200 || resp.ContentLength != 1234 {
			t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
		}
	})
}

func TestS34_echo_through_the_proxy(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you sent %s", r.Header.Get("Authorization"))
	}), func(s *setup) { s.api.ScanEcho = true })
	resp, body := w.send(t, "GET", "/proxy/crm/debug", nil)
	if body != "you sent Bearer "+strings.Repeat("*", len("canary-token-1")) || resp.ContentLength != int64(len(body)) {
		t.Errorf("S34: %q", body)
	}
	if e := w.records.wait(t, 0); !e.Echoed {
		t.Error("S34: no alarm in the entry")
	}
}

func TestF89_interim_answers_and_trailers(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Del("Link")
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s", b, r.Trailer.Get("X-Client"))
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
	}))
	// Somebody outside has set a header already.
	outer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Request-Id", "7")
		w.h.ServeHTTP(rw, r)
	}))
	t.Cleanup(outer.Close)
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h.Get("Link")))
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, "POST", outer.URL+"/proxy/crm/x", struct{ io.Reader }{strings.NewReader("body")})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer fk_test")
	r.Trailer = http.Header{"X-Client": {"sent"}}
	resp, err := bare.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(hints, []string{"103</style.css>; rel=preload"}) || resp.Header.Get("Link") != "" {
		t.Errorf("F89: interim answers %q, Link %q", hints, resp.Header.Get("Link"))
	}
	if resp.Header.Get("X-Request-Id") != "7" {
		t.Errorf("F89: headers of others are lost: %v", resp.Header)
	}
	if string(b) != "body sent" || resp.Trailer.Get("X-Sum") != "1" || resp.Trailer.Get("X-Late") != "2" {
		t.Errorf("F89: %q, trailers %v", b, resp.Trailer)
	}
}

func TestF89_truncation_stays_visible(t *testing.T) {
	for name, answer := range map[string]string{
		"F89 with a length":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf",
		"F89 chunked":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n",
		"F89 within a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n64\r\nhalf",
		"F89 before the trailers": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n0\r\nX-A: 1\r\n",
		"F89 a malformed chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldAt(t, newWire(t, answer).url())
			resp, err := w.open(t, "GET", "/proxy/crm/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix("half", string(b)) {
				t.Errorf("%q ended with %v, want it visibly cut", b, err)
			}
			if e := w.records.wait(t, 0); !e.Truncated || e.Status != 200 {
				t.Errorf("entry %+v", e)
			}
		})
	}
}

// Both ways at once: an API that answers while the request still comes in.
func TestStreamsBothWays(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, "echo", lines.Text())
			rc.Flush()
		}
	}))
	pr, pw := io.Pipe()
	resp, err := w.open(t, "POST", "/proxy/crm/x", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	for i := range 5 {
		fmt.Fprintln(pw, i)
		if got, err := answers.ReadString('\n'); err != nil || got != fmt.Sprintf("echo %d\n", i) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	pw.Close()
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestS30_a_body_that_breaks_off(t *testing.T) {
	arrived := make(chan struct{}, 8)
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		if _, err := io.ReadAll(r.Body); err == nil {
			t.Error("the API saw a whole body")
		}
	}))
	c, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, lines("POST /proxy/crm/x HTTP/1.1", "Host: h", auth, "Transfer-Encoding: chunked", "")+"3\r\nabc\r\n")
	<-arrived
	io.WriteString(c, "3\nabc\r\n0\r\n\r\n") // a chunk that can be read in two ways
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	if m := said(t, resp, string(b)); resp.StatusCode != 400 || m["type"] != problem.Types+"bad-body" {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

func TestS71_no_call_that_is_not_on_record(t *testing.T) {
	calls := 0
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	w.records.refuse = errors.New("the audit table is locked")
	resp, body := w.send(t, "GET", "/proxy/crm/x", nil)
	if m := said(t, resp, body); resp.StatusCode != 503 || m["type"] != problem.Types+"unrecorded" || calls != 0 || strings.Contains(body, "locked") {
		t.Errorf("%d %s, %d calls", resp.StatusCode, body, calls)
	}
}

// Every request has one entry, whatever became of it.
func TestOneEntryForEachRequest(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "ok")
	}))
	paths := []string{"/proxy/crm/ok?secret=1", "/proxy/crm/abort", "/proxy/nobody/x", "/proxy/closed/x", "/proxy/crm/a#b"}
	for _, p := range paths {
		w.raw(t, "GET "+p+" HTTP/1.1\r\nHost: h\r\n"+auth+"\r\nConnection: close\r\n\r\n")
	}
	for i, want := range []int{200, 502, 404, 403, 400} {
		e := w.records.wait(t, i)
		if e.Status != want || e.Took <= 0 || e.Method != "GET" || e.Remote == "" || strings.Contains(e.Path, "secret") {
			t.Errorf("%s: %+v", paths[i], e)
		}
	}
	if n := len(w.records.done); n != len(paths) {
		t.Errorf("%d entries for %d requests", n, len(paths))
	}
}

func TestS37_calls_of_one_key_are_bounded(t *testing.T) {
	arrived, release := make(chan struct{}, 4), make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}), func(s *setup) { s.options.PerCaller = 2 })
	answers := make(chan int, 2)
	for range 2 {
		go func() {
			resp, err := w.open(t, "GET", "/proxy/crm/x", nil)
			if err != nil {
				t.Error(err)
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
		<-arrived
	}
	resp, body := w.send(t, "GET", "/proxy/crm/x", nil)
	if m := said(t, resp, body); resp.StatusCode != 429 || m["limit"] != 2.0 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("third call: %d %s", resp.StatusCode, body)
	}
	close(release)
	for range 2 {
		if s := <-answers; s != 200 {
			t.Errorf("answered %d", s)
		}
	}
	if resp, _ := w.send(t, "GET", "/proxy/crm/x", nil); resp.StatusCode != 200 {
		t.Errorf("after they ended: %d", resp.StatusCode)
	}
	w.records.wait(t, 3)
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if len(w.h.active) > 0 {
		t.Errorf("callers without calls are remembered: %v", w.h.active)
	}
}

// The handler works where a server is none of ours, too.
func TestRecorderOfResponses(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	r := httptest.NewRequest("GET", "/proxy/crm/x", nil)
	r.Header.Set("Authorization", "Bearer fk_test")
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	if rec.Code != 200 || rec.Body.String() != "ok" {
		t.Errorf("%d %q", rec.Code, rec.Body)
	}
}
