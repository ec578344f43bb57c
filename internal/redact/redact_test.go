package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

const canary = "CANARY7qXz+/9"

func logged(t *testing.T, values *Values, level slog.Level, fn func(l *slog.Logger)) (text, json string) {
	t.Helper()
	var a, b bytes.Buffer
	o := &slog.HandlerOptions{Level: level}
	fn(slog.New(NewHandler(slog.NewTextHandler(&a, o), values)))
	fn(slog.New(NewHandler(slog.NewJSONHandler(&b, o), values)))
	return a.String(), b.String()
}

func TestS70_no_log_line_holds_a_secret(t *testing.T) {
	values := NewValues(0)
	values.Add(canary)
	type answer struct {
		Access string `json:"access_token"`
		Other  string `json:"other"`
	}
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.c2lnQ0FOQVJZ"
	for name, put := range map[string]func(l *slog.Logger){
		"message":         func(l *slog.Logger) { l.Debug("got " + canary) },
		"attribute":       func(l *slog.Logger) { l.Debug("m", "body", "x"+canary+"y") },
		"percent-encoded": func(l *slog.Logger) { l.Debug("m", "url", "https://a.example/?q="+url.QueryEscape(canary)) },
		"error":           func(l *slog.Logger) { l.Debug("m", "error", fmt.Errorf("a: %w", errors.New(canary))) },
		"url.Error": func(l *slog.Logger) {
			l.Debug("m", "error", &url.Error{Op: "Get", URL: "https://a.example/?code=CANARYcode1&x=1", Err: errors.New("eof")})
		},
		"group":        func(l *slog.Logger) { l.Debug("m", slog.Group("g", slog.Group("h", "v", canary))) },
		"with":         func(l *slog.Logger) { l.With("v", canary).WithGroup("g").Debug("m") },
		"value as key": func(l *slog.Logger) { l.Debug("m", canary, "v") },
		"list":         func(l *slog.Logger) { l.Debug("m", "list", []string{"a", canary}) },
		"map":          func(l *slog.Logger) { l.Debug("m", "map", map[string]string{"k": canary}) },
		"struct":       func(l *slog.Logger) { l.Debug("m", "answer", answer{Access: "CANARYbyname"}) },
		"bytes":        func(l *slog.Logger) { l.Debug("m", "body", []byte(`{"refresh_token": "CANARYbyname"}`)) },
		"raw JSON":     func(l *slog.Logger) { l.Debug("m", "body", json.RawMessage(`{"client_secret":"CANARY\"byname"}`)) },
		"cut JSON":     func(l *slog.Logger) { l.Debug("m", "body", `{"access_token":"CANARYcu`) },
		"form": func(l *slog.Logger) {
			l.Debug("m", "body", "grant_type=refresh_token&refresh_token=CANARYform&client_secret=CANARYform")
		},
		"secret attribute": func(l *slog.Logger) { l.Debug("m", "Authorization", "CANARYwhatever", "refresh_token", 12) },
		"JWT":              func(l *slog.Logger) { l.Debug("m", "got", "x "+jwt+" y") },
		"API key":          func(l *slog.Logger) { l.Debug("m", "key", "fk_abc123_CANARYCANARYCANARY") },
		"bearer":           func(l *slog.Logger) { l.Debug("m", "header", "authorization: bearer CANARYCANARY") },
		"secret": func(l *slog.Logger) {
			l.Debug("m", "s", freshet.NewSecret(canary), "p", struct{ S freshet.Secret }{freshet.NewSecret(canary)})
		},
		"private key": func(l *slog.Logger) {
			l.Debug("m", "pem", "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----")
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := logged(t, values, slog.LevelDebug, put)
			for _, out := range []string{a, b} {
				if strings.Contains(out, "CANARY") || strings.Contains(out, jwt[10:20]) {
					t.Errorf("a secret is in the log: %s", out)
				}
				if !strings.Contains(out, "secret]") {
					t.Errorf("nothing marks what was taken out: %s", out)
				}
			}
		})
	}
}

func TestOrdinaryLinesStay(t *testing.T) {
	values := NewValues(0)
	values.Add(canary, "abc") // three bytes are no secret
	for _, s := range []string{
		"refresh crm: invalid_grant (HTTP 400)", "https://a.example/v1/users?user_field_names=true", "abc", "status code=500",
		"token request: bad_json", "basic idea", "state is ok", "CANARY", "fk_",
	} {
		if got := values.Scrub(Text(s)); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	if got := Text("key fk_id7_0123456789abcdef"); got != "key fk_id7_[secret]" {
		t.Errorf("the id of a key is no secret: %q", got)
	}
}

func TestValuesGiveWayInOrder(t *testing.T) {
	v := NewValues(3)
	for i := range 40 {
		v.Add(fmt.Sprintf("secret-%02d", i))
		v.Add(fmt.Sprintf("secret-%02d", i)) // known already
	}
	for i := range 40 {
		s := fmt.Sprintf("secret-%02d", i)
		if got := v.Scrub(s) != s; got != (i >= 37) {
			t.Errorf("%s is hidden: %v", s, got)
		}
	}
	if n := len(v.byHead); n != 1 {
		t.Errorf("%d heads are kept for three values that begin alike", n)
	}
	long := NewValues(0)
	long.Add("abcdef", "abcdefghij")
	if got := long.Scrub("<abcdefghij>"); got != "<[secret]>" {
		t.Errorf("the longest value wins: %q", got)
	}
}

// What other people write reaches the log as one line, whatever it holds.
func TestS73_log_injection(t *testing.T) {
	for _, evil := range []string{
		"a\nlevel=ERROR msg=\"forged\"", "a\r\n2026-01-01 forged", "a\x1b[31mred", "a\x00b", "a\u2028b", "a\u0085b", "a\x7fb", `"}` + "\n" + `{"level":"ERROR"`, "\u202eevil",
	} {
		a, b := logged(t, nil, slog.LevelDebug, func(l *slog.Logger) { l.Debug(evil, "k", evil, evil, "v", "e", errors.New(evil)) })
		for _, out := range []string{a, b} {
			if n := strings.Count(out, "\n"); n != 1 || !strings.HasSuffix(out, "\n") {
				t.Errorf("%q became %d lines: %q", evil, n, out)
			}
			if i := strings.IndexFunc(strings.TrimSuffix(out, "\n"), func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x202e }); i >= 0 {
				t.Errorf("%q leaves a control character in the log: %q", evil, out)
			}
		}
	}
}

func BenchmarkOrdinaryLine(b *testing.B) {
	v := NewValues(0)
	for i := range 8192 {
		v.Add(fmt.Sprintf("%x-secret-value-%d", i*7919, i))
	}
	l := slog.New(NewHandler(slog.NewTextHandler(&bytes.Buffer{}, nil), v))
	for b.Loop() {
		l.Info("request", "method", "GET", "path", "/api/v1/connections/crm", "status", 200, "took_ms", 3)
	}
}

// What is searched for before the expressions are tried is in everything that
// they match.
func TestEveryShapeIsSuspect(t *testing.T) {
	names := "access_token|refreshtoken|id_code|client_secret|client_assertion|assertion|code_verifier|password|passwd|api_key|apikey|secret|authToken|accessToken|refreshToken|deviceCode|auth_code"
	texts := []string{"fk_ab_0123456789", "eyJabcd.efghij.k", "x Bearer abcdefgh1", "BASIC abcdefgh1", "dPoP abcdefgh1", "?code=1", "&state=1", "?token=x", "-----BEGIN PRIVATE KEY-----x", "-----BEGIN RSA PRIVATE KEY-----",
		"\u017fecret=abc", "to\u212aen=abc", "pa\u017f\u017fword=abc", `"api_\u212aey": "x"`, "acce\u017fs_token=1"}
	for _, n := range strings.Split(names, "|") {
		for _, n := range []string{n, strings.ToUpper(n), strings.ToLower(n)} {
			texts = append(texts, n+"=abc", `"`+n+`": "abc"`, `{"`+n+`" : "ab`)
		}
	}
	matched := 0
	for _, s := range texts {
		hit := false
		for _, sh := range shapes {
			hit = hit || sh.re.MatchString(s)
		}
		if hit {
			matched++
			if !suspect(s) || Text(s) == s && !strings.Contains(s, "\u017f") && !strings.Contains(s, "\u212a") {
				t.Errorf("%q is overlooked", s)
			}
		}
	}
	if matched < len(texts)-10 {
		t.Errorf("only %d of %d texts have a shape: the test is void", matched, len(texts))
	}
}
