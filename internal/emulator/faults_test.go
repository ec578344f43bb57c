package emulator_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
)

// Modes that only change what is answered, asked for by the request itself.
func TestFaultAnswers(t *testing.T) {
	r := start(t, emulator.Options{Default: emulator.Profile{Model: emulator.Static}})
	rt := r.login("crm").str("refresh_token")
	for _, tt := range []struct {
		mode   string
		status int
		good   func(a answer) bool
	}{
		{"http_500", 500, func(a answer) bool { return string(a.body) == "500 Internal Server Error\n" }},
		{"http_418:{\"short\":true}", 418, func(a answer) bool { return a.v["short"] == true }},
		{"error:invalid_grant:gone for good", 400, func(a answer) bool { return a.str("error_description") == "gone for good" }},
		{"error:invalid_client", 401, func(a answer) bool { return a.str("error") == "invalid_client" }},
		{"error_200:invalid_grant", 200, func(a answer) bool { return a.str("error") == "invalid_grant" }},
		{"ok_false:bad_client_secret", 200, func(a answer) bool { return a.v["ok"] == false && a.str("error") == "bad_client_secret" }},
		{"errcode:40030", 200, func(a answer) bool { return a.v["errcode"] == 40030.0 }},
		{"error_object:190", 200, func(a answer) bool { return a.v["error"].(map[string]any)["code"] == "190" }},
		{"errors_list:invalid_grant", 200, func(a answer) bool {
			return a.v["errors"].([]any)[0].(map[string]any)["errorType"] == "invalid_grant"
		}},
		{"status_body:601", 200, func(a answer) bool { return a.v["status"] == 601.0 }},
		{"retry_after:30", 429, func(a answer) bool { return a.header.Get("Retry-After") == "30" }},
		{"retry_after:Fri, 20 Nov 2026 12:01:00 GMT", 429, func(a answer) bool { return strings.HasPrefix(a.header.Get("Retry-After"), "Fri, ") }},
		{"html", 200, func(a answer) bool { return strings.HasPrefix(a.header.Get("Content-Type"), "text/html") }},
		{"html:502", 502, func(a answer) bool { return bytes.Contains(a.body, []byte("<html>")) }},
		{"empty", 200, func(a answer) bool { return len(a.body) == 0 }},
		{"empty:204", 204, func(a answer) bool { return len(a.body) == 0 }},
		{"redirect:307", 307, func(a answer) bool { return a.header.Get("Location") == r.base+"/_sink" }},
		{"redirect:302:https://evil.example/x", 302, func(a answer) bool { return a.header.Get("Location") == "https://evil.example/x" }},
		{"www:Basic realm=\"x\"", 401, func(a answer) bool { return a.header.Get("WWW-Authenticate") == `Basic realm="x"` }},
		{"set:expires_in=\"soon\"", 200, func(a answer) bool { return a.v["expires_in"] == "soon" }},
		{"set:refresh_token=null", 200, func(a answer) bool { v, there := a.v["refresh_token"]; return there && v == nil }},
		{"omit:refresh_token", 200, func(a answer) bool { _, there := a.v["refresh_token"]; return !there && a.str("access_token") != "" }},
		{"header:X-Odd=1", 200, func(a answer) bool { return a.header.Get("X-Odd") == "1" }},
		{"content_type:text/plain", 200, func(a answer) bool {
			return a.header.Get("Content-Type") == "text/plain" && a.str("access_token") != ""
		}},
		{"content_type:", 200, func(a answer) bool { _, there := a.header["Content-Type"]; return !there }},
		{"form", 200, func(a answer) bool {
			return bytes.Contains(a.body, []byte("token_type=Bearer")) && bytes.Contains(a.body, []byte("expires_in=3600"))
		}},
		{"bom", 200, func(a answer) bool { return bytes.HasPrefix(a.body, []byte("\xef\xbb\xbf{")) }},
		{"trailing", 200, func(a answer) bool { return bytes.HasSuffix(a.body, []byte("-->")) }},
		{"trailing:}}", 200, func(a answer) bool { return bytes.HasSuffix(a.body, []byte("}}}")) }},
		{"huge:2000000", 200, func(a answer) bool { return len(a.body) > 2_000_000 && a.str("access_token") != "" }},
		{"gzip:1000000", 200, func(a answer) bool {
			zr, err := gzip.NewReader(bytes.NewReader(a.body))
			if err != nil || len(a.body) > 10_000 {
				return false
			}
			b, err := io.ReadAll(zr)
			return err == nil && len(b) > 1_000_000 && json.Valid(b)
		}},
		{"nested:1000", 200, func(a answer) bool { return bytes.Contains(a.body, []byte(strings.Repeat("[", 1000))) }},
		{"huge_header:50000", 200, func(a answer) bool { return len(a.header.Get("X-Pad")) == 50_000 }},
		{"truncate:20", 200, func(a answer) bool {
			return len(a.body) == 20 && a.header.Get("Content-Length") == "20" && a.err == nil
		}},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			for _, by := range []string{"header", "queue"} {
				var a answer
				if by == "header" {
					a = r.refresh("crm", rt, "X-Emulate", tt.mode)
				} else {
					r.next(emulator.Fault{At: "refresh", Mode: emulator.Modes{tt.mode}})
					a = r.refresh("crm", rt)
				}
				if a.status != tt.status || !tt.good(a) {
					t.Errorf("by %s: %d %v %.200q (%v)", by, a.status, a.header, a.body, a.err)
				}
			}
			if a := r.refresh("crm", rt); a.status != 200 || a.str("access_token") == "" {
				t.Errorf("the request after it = %d %s", a.status, a.body)
			}
		})
	}
	if n := r.e.Stats().Sink; n != 0 {
		t.Errorf("somebody followed a redirect: %d", n)
	}
}

func TestFaultAnswerOfAnyKind(t *testing.T) {
	r := start(t, emulator.Options{})
	r.next(emulator.Fault{At: "token", Mode: emulator.Modes{"answer"}, Status: 203, Headers: map[string]string{"X-A": "b"}, Body: "access_token=x"})
	a := r.refresh("crm", "any")
	if _, typed := a.header["Content-Type"]; a.status != 203 || typed || a.header.Get("X-A") != "b" || string(a.body) != "access_token=x" {
		t.Errorf("answer = %d %v %s", a.status, a.header, a.body)
	}
}

// Connections that break, and what a client can and cannot know then.
func TestFaultConnections(t *testing.T) {
	ends := func(want ...error) func(a answer) bool {
		return func(a answer) bool {
			for _, w := range want {
				if errors.Is(a.err, w) {
					return true
				}
			}
			return false
		}
	}
	for _, tt := range []struct {
		mode    string
		good    func(a answer) bool
		rotates bool // the provider has done its work all the same
	}{
		{"reset", ends(syscall.ECONNRESET), false},
		{"close", ends(io.EOF, syscall.ECONNRESET), false},
		{"drop", ends(syscall.ECONNRESET), true},
		{"after:close", ends(io.EOF, syscall.ECONNRESET), true},
		{"garbage", func(a answer) bool { return a.err != nil && strings.Contains(a.err.Error(), "malformed HTTP") }, false},
		{"cut:30", func(a answer) bool { return errors.Is(a.err, io.ErrUnexpectedEOF) && len(a.body) == 30 }, true},
		{"cut:0", func(a answer) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && a.status == 200 && len(a.body) == 0
		}, true},
		{"http_500", func(a answer) bool { return a.status == 500 }, false},
		{"after:http_500", func(a answer) bool { return a.status == 500 }, true},
		{"after:http_404", func(a answer) bool { return a.status == 404 }, true},
		{"after:html", func(a answer) bool { return a.status == 200 }, true},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			r := start(t, emulator.Options{})
			rt := r.login("crm").str("refresh_token")
			a := r.refresh("crm", rt, "X-Emulate", tt.mode)
			if !tt.good(a) {
				t.Errorf("%d %q %v", a.status, a.body, a.err)
			}
			if again := r.refresh("crm", rt).status == 400; again != tt.rotates {
				t.Errorf("the refresh token was spent: %v, want %v", again, tt.rotates)
			}
			s := r.e.Stats()
			if len(s.Reuses) != 1 || s.Reuses[0].FirstOutcome != "unclear" {
				t.Errorf("reuses = %+v, want one after an unclear outcome", s.Reuses)
			}
			if s.Log[1].Faults[0] != strings.TrimPrefix(tt.mode, "after:") {
				t.Errorf("log names the fault %v", s.Log[1].Faults)
			}
		})
	}
}

func TestFaultHeldAfterRotating(t *testing.T) {
	r := start(t, emulator.Options{})
	rt := r.login("crm").str("refresh_token")
	r.next(emulator.Fault{At: "refresh", Mode: emulator.Modes{"hold"}})
	got := make(chan answer)
	go func() { got <- r.refresh("crm", rt) }()
	if err := r.e.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	// The work is done before the answer is held.
	r.wants("meanwhile", r.refresh("crm", rt), 400, "invalid_grant")
	if n := r.e.Release(); n != 1 {
		t.Errorf("released %d, want 1", n)
	}
	if a := <-got; a.status != 200 {
		t.Errorf("held answer = %d %s", a.status, a.body)
	}
	breaches := strings.Join(r.e.CheckOracles(nil), "\n")
	if !strings.Contains(breaches, "O1") || !strings.Contains(breaches, "O2") {
		t.Errorf("breaches = %s, want O1 and O2", breaches)
	}

	t.Run("before the work", func(t *testing.T) {
		r := start(t, emulator.Options{})
		rt := r.login("crm").str("refresh_token")
		r.next(emulator.Fault{At: "refresh", Mode: emulator.Modes{"hold_before"}})
		got := make(chan answer)
		go func() { got <- r.refresh("crm", rt) }()
		if err := r.e.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.wants("meanwhile", r.refresh("crm", rt), 200, "")
		r.e.Release()
		r.wants("held", <-got, 400, "invalid_grant")
	})
	t.Run("the client leaves", func(t *testing.T) {
		r := start(t, emulator.Options{})
		rt := r.login("crm").str("refresh_token")
		ctx, leave := context.WithCancel(t.Context())
		req := r.request("POST", "/token", "grant_type=refresh_token&client_id=crm&client_secret=s&refresh_token="+rt, "Content-Type", "application/x-www-form-urlencoded", "X-Emulate", "hold")
		done := make(chan answer)
		go func() { done <- r.do(req.WithContext(ctx)) }()
		if err := r.e.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		leave()
		if a := <-done; a.err == nil {
			t.Error("an answer came")
		}
		r.e.Close() // waits for the handler
		s := r.e.Stats()
		if s.Held != 0 || s.Log[1].Status != 0 || s.Log[1].Outcome != "unclear" {
			t.Errorf("held %d, log %+v", s.Held, s.Log[1])
		}
	})
}

func TestStallEndsWithTheEmulator(t *testing.T) {
	for _, mode := range []string{"stall", "stall_body:10", "slow:10h", "drip:1"} {
		t.Run(mode, func(t *testing.T) {
			r := start(t, emulator.Options{})
			got := make(chan answer)
			headers := make(chan struct{}, 1)
			req := r.request("GET", "/.well-known/openid-configuration", "", "X-Emulate", mode)
			req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { headers <- struct{}{} }}))
			go func() { got <- r.do(req) }()
			if err := r.e.AwaitCount(t.Context(), "discovery", 1); err != nil {
				t.Fatal(err)
			}
			if mode == "stall_body:10" || mode == "drip:1" {
				<-headers
			}
			r.e.Close()
			if a := <-got; a.err == nil {
				t.Errorf("came to an end: %d %s", a.status, a.body)
			}
		})
	}
}

func TestFaultInterimAnswers(t *testing.T) {
	r := start(t, emulator.Options{})
	var codes []int
	req := r.request("GET", "/.well-known/openid-configuration", "", "X-Emulate", "interim:103")
	req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		codes = append(codes, code)
		return nil
	}}))
	if a := r.do(req); a.status != 200 || len(codes) != 1 || codes[0] != 103 {
		t.Errorf("%d after %v, want 200 after 103", a.status, codes)
	}
}

// A queue is met in order, one fault a request; standing faults by all.
func TestFaultQueue(t *testing.T) {
	r := start(t, emulator.Options{Faults: []emulator.Fault{{At: "token", Client: "loser", Count: -1, Mode: emulator.Modes{"http_503"}}}})
	r.next(
		emulator.Fault{At: "refresh", Count: 2, Mode: emulator.Modes{"http_500"}},
		emulator.Fault{At: "refresh", Client: "crm", Skip: 2, Mode: emulator.Modes{"http_502"}},
		emulator.Fault{At: "api", Path: "/api/me", Mode: emulator.Modes{"http_504"}},
	)
	var got []int
	for range 6 {
		got = append(got, r.refresh("crm", "x").status)
	}
	want := []int{500, 500, 400, 400, 502, 400}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("refreshes met %v, want %v", got, want)
		}
	}
	token := r.login("other").str("access_token")
	if s := r.get("/api/items", "Authorization", "Bearer "+token).status; s != 200 {
		t.Errorf("another path met the fault: %d", s)
	}
	if s := r.me(token).status; s != 504 {
		t.Errorf("/api/me = %d, want 504", s)
	}
	for range 2 {
		if s := r.refresh("loser", "x").status; s != 503 {
			t.Errorf("a standing fault was not met: %d", s)
		}
	}
	if n := r.e.Stats().Queued; n != 1 {
		t.Errorf("queued = %d, want the standing one", n)
	}
	if err := r.e.Reset(); err != nil {
		t.Fatal(err)
	}
	if s := r.refresh("loser", "x").status; s != 503 {
		t.Errorf("a script's fault is gone after a reset: %d", s)
	}
}

func TestModesThatMakeNoSense(t *testing.T) {
	r := start(t, emulator.Options{})
	for _, mode := range []string{
		"", "nonsense", "http_100", "http_x", "http_", "slow", "slow:fast", "error", "cut", "cut:-1", "cut:x", "hold:1", "redirect:200", "set:x", "set:x=nojson",
		"after:cut:1", "after:consent", "drip:0", "interim:200", "interim:101", "id_token:fine", "header:x", "retry_after", "huge:99999999999",
	} {
		if err := r.e.Next(emulator.Fault{Mode: emulator.Modes{mode}}); err == nil {
			t.Errorf("mode %q was taken", mode)
		}
		if mode != "" {
			if a := r.get("/jwks", "X-Emulate", mode); a.status != 400 {
				t.Errorf("X-Emulate %q = %d, want 400", mode, a.status)
			}
		}
	}
	for _, f := range []emulator.Fault{{}, {At: "nowhere", Mode: emulator.Modes{"drop"}}, {Count: -2, Mode: emulator.Modes{"drop"}}, {Status: 99, Mode: emulator.Modes{"answer"}}} {
		if err := r.e.Next(f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

// Time in faults is real time; inside a bubble it costs none.
func TestSlowAndDripTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := emulator.New(emulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := e.StartPipe()
		if err != nil {
			t.Fatal(err)
		}
		transport := pipe.Transport()
		get := func(mode string) time.Duration {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", e.URL()+"/api/status/200", nil)
			req.Header.Set("X-Emulate", mode)
			began := time.Now()
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			return time.Since(began)
		}
		if d := get("slow:15s"); d != 15*time.Second {
			t.Errorf("slow:15s took %s", d)
		}
		if d := get("after:slow:19s"); d != 19*time.Second {
			t.Errorf("after:slow:19s took %s", d)
		}
		// Ten bytes a second: {"error":"unauthorized","error_description":"a token is needed"}
		const body = `{"error":"unauthorized","error_description":"a token is needed"}`
		if d, want := get("drip:10"), time.Duration(len(body)-1)*time.Second/10; d != want {
			t.Errorf("drip:10 took %s, want %s", d, want)
		}
		transport.CloseIdleConnections()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What breaks a connection must not take the next request along.
func TestBrokenConnectionsLeaveTheServerWhole(t *testing.T) {
	r := start(t, emulator.Options{})
	host := strings.TrimPrefix(r.base, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /jwks?_emulate=cut:5 HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err == nil || len(b) != 5 {
		t.Errorf("%d bytes and %v, want 5 and a broken end", len(b), err)
	}
	if a := r.get("/jwks"); a.status != 200 {
		t.Errorf("the next request = %d", a.status)
	}
}
