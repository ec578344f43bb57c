package problem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/upstream"
)

func TestFromError(t *testing.T) {
	state := func(s freshet.State, retry time.Duration) error {
		return fmt.Errorf("call: %w", &freshet.StateError{Name: "crm", State: s, Reason: "why", RetryAfter: retry})
	}
	refused := func(r upstream.Refusal) error {
		return &upstream.RefusedError{Refusal: r, Connection: "crm", Detail: "in words", Methods: []string{"GET", "PUT"}}
	}
	unreachable := func(err error) error { return &upstream.UnreachableError{Connection: "crm", Err: err} }
	for _, tt := range []struct {
		err    error
		status int
		slug   string
		retry  time.Duration
	}{
		{state(freshet.StateUncertain, 0), 503, "connection-uncertain", 5 * time.Second},
		{state(freshet.StateAttention, 90*time.Second), 503, "connection-attention", 90 * time.Second},
		{state(freshet.StateMisconfigured, 0), 424, "connection-misconfigured", 0},
		{state(freshet.StateReauth, 0), 409, "connection-reauth", 0},
		{refused(upstream.NoAPI), 422, "no-api", 0},
		{refused(upstream.BadTarget), 400, "bad-target", 0},
		{refused(upstream.PathRefused), 403, "path-not-allowed", 0},
		{refused(upstream.MethodRefused), 405, "method-not-allowed", 0},
		{refused(upstream.HostRefused), 403, "destination-not-allowed", 0},
		{refused(upstream.NoWebSocket), 403, "websocket-not-enabled", 0},
		{refused(upstream.Misconfigured), 424, "misconfigured", 0},
		{unreachable(dial.ErrDenied), 502, "target-denied", 0},
		{unreachable(os.ErrDeadlineExceeded), 504, "upstream-timeout", 0},
		{unreachable(&net.DNSError{Err: "no such host", Name: "internal.example", IsNotFound: true}), 502, "upstream-unreachable", 0},
		{unreachable(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 502, "upstream-unreachable", 0},
		{&upstream.BodyError{Err: errors.New("cut")}, 400, "bad-body", 0},
		{&upstream.BodyError{Err: &http.MaxBytesError{Limit: 10}}, 413, "too-large", 0},
		{fmt.Errorf("connection x: %w", freshet.ErrNotFound), 404, "not-found", 0},
		{fmt.Errorf("wait: %w", context.Canceled), ClientGone, "client-gone", 0},
		{context.DeadlineExceeded, 504, "timeout", 0},
		{fmt.Errorf("authorize: %w", New(418, "teapot", "Teapot", "")), 418, "teapot", 0},
		{errors.New("pq: password is hunter2"), 500, "internal", 0},
	} {
		status, p := FromError(tt.err)
		if status != tt.status || p.Status != tt.status || p.Slug != tt.slug || p.RetryAfter != tt.retry || p.Title == "" {
			t.Errorf("%v: %d %+v; want %d %s", tt.err, status, p, tt.status, tt.slug)
		}
		if p.Cause == nil {
			t.Errorf("%v: the cause is lost", tt.err)
		}
		b, err := json.Marshal(&p)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{"hunter2", "internal.example", "no such host"} {
			if strings.Contains(string(b), leak) {
				t.Errorf("%s tells %q", b, leak)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip")
	(&Problem{Slug: "s", Title: `A "title"`, Status: 503, Detail: "d\n<", RetryAfter: 1500 * time.Millisecond, Header: http.Header{"Allow": {"GET"}},
		Extra: map[string]any{"b": 1, "a": []string{"x"}, "status": 200, "type": "forged"}, Cause: errors.New("secret")}).Write(w)
	want := `{"type":"https://freshet.dev/problems/s","title":"A \"title\"","status":503,"detail":"d\n\u003c","retry_after":2,"a":["x"],"b":1}`
	if got := w.Body.String(); got != want {
		t.Errorf("body\n%s, want\n%s", got, want)
	}
	for k, v := range map[string]string{"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Retry-After": "2", "Allow": "GET", "X-Content-Type-Options": "nosniff", "Content-Encoding": "", "Content-Length": fmt.Sprint(len(want))} {
		if got := w.Header().Get(k); got != v {
			t.Errorf("%s = %q, want %q", k, got, v)
		}
	}
	if w.Code != 503 {
		t.Errorf("status %d", w.Code)
	}
	w = httptest.NewRecorder()
	Write(w, 500, "odd", "Odd", "", map[string]any{"f": func() {}})
	if !json.Valid(w.Body.Bytes()) || w.Code != 500 {
		t.Errorf("an extra that is no JSON: %q", w.Body)
	}
}
