package emulator_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/freshet-dev/freshet/internal/emulator"
)

func TestAPITakesTokensWhereAPIsTakeThem(t *testing.T) {
	r := start(t, emulator.Options{})
	token := r.login("crm").str("access_token")
	for _, tt := range []struct {
		name    string
		path    string
		headers []string
		status  int
	}{
		{"Bearer", "/api/me", []string{"Authorization", "Bearer " + token}, 200},
		{"any scheme", "/api/me", []string{"Authorization", "Zoho-oauthtoken " + token}, 200},
		{"bare", "/api/me", []string{"Authorization", token}, 200},
		{"Token token=", "/api/me", []string{"Authorization", `Token token="` + token + `"`}, 200},
		{"Basic, password", "/api/me", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+token))}, 200},
		{"Basic, user", "/api/me", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(token+":"))}, 200},
		{"header", "/api/me", []string{"X-Auth-Token", token}, 200},
		{"query", "/api/me?access_token=" + token, nil, 200},
		{"cookie", "/api/me", []string{"Cookie", "a=b; session=" + token}, 200},
		{"none", "/api/me", nil, 401},
		{"another cookie", "/api/me", []string{"Cookie", "a=b"}, 401},
		{"unknown", "/api/me", []string{"Authorization", "Bearer x"}, 401},
		{"twice", "/api/me", []string{"Authorization", "Bearer " + token, "Authorization", "Bearer x"}, 400},
		{"DPoP for a bearer token", "/api/me", []string{"Authorization", "DPoP " + token}, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := r.get(tt.path, tt.headers...); a.status != tt.status {
				t.Errorf("%d %s, want %d", a.status, a.body, tt.status)
			}
		})
	}
	s := r.e.Stats()
	if s.API["ok"] != 9 || s.API["unauthenticated"] != 2 || s.API["unknown"] != 1 || s.API["several"] != 1 || s.API["wrong_scheme"] != 1 {
		t.Errorf("counted %v", s.API)
	}
	if a := r.get("/api/me"); a.header.Get("WWW-Authenticate") != `Bearer realm="emulator"` {
		t.Errorf("challenge without a token = %q, RFC 6750 §3 wants no error there", a.header.Get("WWW-Authenticate"))
	}
	if err := r.e.Change([]byte(`{"id":"crm","scheme":"JWT"}`)); err != nil {
		t.Fatal(err)
	}
	if a := r.me(token); a.status != 401 {
		t.Errorf("Bearer where the API wants JWT = %d", a.status)
	}
	if a := r.get("/api/me", "Authorization", "JWT "+token); a.status != 200 {
		t.Errorf("JWT where the API wants JWT = %d", a.status)
	}
}

func TestAPIEchoGivesBackTheBytes(t *testing.T) {
	r := start(t, emulator.Options{})
	token := r.login("crm").str("access_token")
	const uri = "/api/echo/%2e%2E/a%2fb//c;d?b=2;a=1&user_field_names=true&a=%20+"
	req := r.request("PATCH", "/", "grüße", "Authorization", "Bearer "+token, "X-Two", "1", "X-Two", "2")
	req.URL.Opaque = strings.TrimPrefix(r.base, "http:") + uri
	a := r.do(req)
	headers, _ := a.v["headers"].(map[string]any)
	two, _ := headers["X-Two"].([]any)
	if a.str("method") != "PATCH" || a.str("body") != "grüße" || len(two) != 2 || a.v["length"] != 7.0 {
		t.Errorf("echo = %s", a.body)
	}
	if !strings.HasSuffix(a.str("uri"), uri) {
		t.Errorf("uri = %s, want %s to the byte", a.str("uri"), uri)
	}
	a = r.do(r.request("POST", "/api/echo", "\xff\xfe", "Authorization", "Bearer "+token))
	if a.str("body_base64") != "//4=" {
		t.Errorf("echo of bytes = %s", a.body)
	}
	last := r.e.Requests("api")
	if n := len(last); n != 2 || string(last[1].Body) != "\xff\xfe" || last[0].Header.Get("X-Two") != "1" {
		t.Errorf("recorded %d requests: %+v", n, last)
	}
	if n := r.e.Stats().Effects; n != 2 {
		t.Errorf("effects = %d, want 2", n)
	}
}

func TestAPIRefusals(t *testing.T) {
	r := start(t, emulator.Options{})
	rt := r.login("crm").str("refresh_token")
	first := r.refresh("crm", rt)
	second := r.refresh("crm", first.str("refresh_token"))
	old, fresh := first.str("access_token"), second.str("access_token") // generations 2 and 3
	t.Run("F79 a generation is refused", func(t *testing.T) {
		r.wants("generation 2", r.me(old, "X-Emulate", "reject_generation:2"), 401, "invalid_token")
		r.wants("generation 3", r.me(fresh, "X-Emulate", "reject_generation:2"), 200, "")
		r.wants("generation 2", r.me(old, "X-Emulate", "accept_generation:3"), 401, "invalid_token")
		r.wants("generation 3", r.me(fresh, "X-Emulate", "accept_generation:3"), 200, "")
	})
	t.Run("F80 every token is refused", func(t *testing.T) {
		r.next(emulator.Fault{At: "api", Count: 2, Mode: emulator.Modes{"reject"}})
		for range 2 {
			a := r.me(fresh)
			r.wants("call", a, 401, "invalid_token")
			if !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("challenge = %q", a.header.Get("WWW-Authenticate"))
			}
		}
		r.wants("after them", r.me(fresh), 200, "")
		if n := r.e.Stats().API["rejected"]; n != 4 {
			t.Errorf("rejected = %d, want 4", n)
		}
	})
	t.Run("F81 challenges of all kinds", func(t *testing.T) {
		for _, c := range []string{`Bearer error="insufficient_scope", scope="a b"`, `Basic realm="a,b", Bearer realm="c"`, `Negotiate`} {
			if a := r.me(fresh, "X-Emulate", "www:"+c); a.status != 401 || a.header.Get("WWW-Authenticate") != c {
				t.Errorf("%d %q, want 401 %q", a.status, a.header.Get("WWW-Authenticate"), c)
			}
		}
		if a := r.me(fresh, "X-Emulate", "http_403"); a.status != 403 || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("403 = %d %v", a.status, a.header)
		}
	})
	t.Run("a refusal in the provider's own words", func(t *testing.T) {
		if err := r.e.Change([]byte(`{"id":"crm","reject_status":200,"reject_body":"{\"code\":\"TokenExpired\"}"}`)); err != nil {
			t.Fatal(err)
		}
		if a := r.me(fresh, "X-Emulate", "reject"); a.status != 200 || a.str("code") != "TokenExpired" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("live tokens die", func(t *testing.T) {
		if n := r.e.KillAccess("crm"); n != 1 {
			t.Errorf("killed tokens of %d grants", n)
		}
		if err := r.e.Valid(fresh); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("Valid = %v", err)
		}
		third := r.refresh("crm", second.str("refresh_token"))
		r.wants("its successor", r.me(third.str("access_token")), 200, "")
		if n := r.e.RevokeGrants(""); n != 1 {
			t.Errorf("revoked %d grants", n)
		}
		r.wants("after consent is withdrawn", r.refresh("crm", third.str("refresh_token")), 400, "invalid_grant")
	})
}

func TestAPIStreams(t *testing.T) {
	r := start(t, emulator.Options{})
	token := r.login("crm").str("access_token")
	get := func(path string) answer { return r.get(path, "Authorization", "Bearer "+token) }
	t.Run("F86 events", func(t *testing.T) {
		a := get("/api/events?n=3&every=0s")
		if a.header.Get("Content-Type") != "text/event-stream" || strings.Count(string(a.body), "event: tick\n") != 3 {
			t.Errorf("%v %q", a.header, a.body)
		}
	})
	t.Run("F86 events are flushed one by one and outlive the token", func(t *testing.T) {
		res, err := r.http.Do(r.request("GET", "/api/events?every=1ms", "", "Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := make([]byte, 4096)
		if _, err := res.Body.Read(buf); err != nil {
			t.Fatal(err)
		}
		r.e.Advance(24 * time.Hour)
		defer r.e.Advance(-24 * time.Hour)
		for range 5 {
			if _, err := res.Body.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("F89 truncated", func(t *testing.T) {
		if a := get("/api/truncated"); !errors.Is(a.err, io.ErrUnexpectedEOF) || len(a.body) != 500 {
			t.Errorf("%d bytes, %v", len(a.body), a.err)
		}
	})
	t.Run("F89 trailers", func(t *testing.T) {
		res, err := r.http.Do(r.request("GET", "/api/trailers", "", "Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		if res.Trailer.Get("X-Checksum") != "abc123" {
			t.Errorf("trailer = %v", res.Trailer)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		if a := get("/api/bytes/100000"); len(a.body) != 100_000 || a.header.Get("Content-Length") != "100000" {
			t.Errorf("%d bytes, length %s", len(a.body), a.header.Get("Content-Length"))
		}
		if a := get("/api/bytes/100000?chunked"); len(a.body) != 100_000 || a.header.Get("Content-Length") != "" {
			t.Errorf("chunked: %d bytes, length %s", len(a.body), a.header.Get("Content-Length"))
		}
	})
	t.Run("upload", func(t *testing.T) {
		req := r.request("POST", "/api/upload", "", "Authorization", "Bearer "+token)
		req.Body, req.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 3<<20)), -1
		if a := r.do(req); a.v["bytes"] != float64(3<<20) || a.v["chunked"] != true {
			t.Errorf("upload = %s", a.body)
		}
		if n := r.e.Stats().UploadBytes; n != 3<<20 {
			t.Errorf("upload_bytes = %d", n)
		}
	})
	t.Run("others", func(t *testing.T) {
		if a := get("/api/redirect?to=https://else.example/&status=308"); a.status != 308 || a.header.Get("Location") != "https://else.example/" {
			t.Errorf("redirect = %d %v", a.status, a.header)
		}
		if a := get("/api/status/404"); a.status != 404 {
			t.Errorf("status = %d", a.status)
		}
		if a := get("/api/users?n=3&user_field_names=true"); len(a.v["results"].([]any)) != 3 {
			t.Errorf("users = %s", a.body)
		}
		if a := get("/api/users/2"); a.str("name") != "Alan" {
			t.Errorf("users/2 = %s", a.body)
		}
		if a := get("/api/gzip"); a.header.Get("Content-Encoding") != "gzip" || bytes.HasPrefix(a.body, []byte("{")) {
			t.Errorf("gzip = %v", a.header)
		}
		if a := get("/api/cookies"); a.header.Get("Set-Cookie") == "" {
			t.Error("no cookie")
		}
		if a := get("/api/slow?n=4&every=1ms"); string(a.body) != "abcd" {
			t.Errorf("slow = %q", a.body)
		}
		if a := get("/api/any/other"); a.str("path") != "/api/any/other" {
			t.Errorf("any other path = %s", a.body)
		}
		if a := r.get("/elsewhere"); a.status != 404 {
			t.Errorf("an unknown path = %d", a.status)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestF87_websocket_echo(t *testing.T) {
	r := start(t, emulator.Options{})
	token := r.login("crm").str("access_token")
	_, res, err := websocket.Dial(t.Context(), r.base+"/api/ws", nil)
	if err == nil || res.StatusCode != 401 {
		t.Fatalf("without a token: %v", err)
	}
	conn, _, err := websocket.Dial(t.Context(), r.base+"/api/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, message := range []string{"hello", strings.Repeat("x", 100_000)} {
		if err := conn.Write(t.Context(), websocket.MessageBinary, []byte(message)); err != nil {
			t.Fatal(err)
		}
		conn.SetReadLimit(1 << 20)
		kind, back, err := conn.Read(t.Context())
		if err != nil || kind != websocket.MessageBinary || string(back) != message {
			t.Fatalf("%v bytes back: %v", len(back), err)
		}
	}
	r.e.Close()
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("the socket outlives the emulator")
	}
}
