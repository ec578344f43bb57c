package grant_test

import (
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

func TestF27_server_errors(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} {
		for name, body := range map[string]string{
			"page": "<html><body>Bad gateway</body></html>", "nothing": "", "JSON": `{"message":"upstream timed out"}`, "OAuth": `{"error":"server_error"}`,
			"a permanent code": `{"error":"invalid_grant","error_description":"database is away"}`,
		} {
			t.Run(fmt.Sprintf("F27 %d %s", status, name), func(t *testing.T) {
				e, o := shot{status: status, body: body}.err(t)
				if e.Class != grant.Retryable || !e.Uncertain || e.Status != status {
					t.Errorf("%v, uncertain %v; want retryable and uncertain: the request may have been carried out", e, e.Uncertain)
				}
				if !o.Salvaged.IsZero() {
					t.Error("a refresh token out of nothing")
				}
			})
		}
	}
}

func TestF29_errors_with_status_200(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		shape      freshet.Response
		class      grant.Class
		code       string
	}{
		{"F29 OAuth", `{"error":"invalid_grant","error_description":"gone"}`, freshet.Response{}, grant.Permanent, "invalid_grant"},
		{"F29 ok is false", `{"ok":false,"error":"invalid_refresh_token"}`, freshet.Response{Success: "ok == true"}, grant.Permanent, "invalid_refresh_token"},
		{"F29 errcode", `{"errcode":40030,"errmsg":"invalid refresh_token"}`, freshet.Response{Success: "errcode == nil || errcode == 0", Error: "errcode", ErrorCodes: map[string]string{"40030": "invalid_grant"}}, grant.Permanent, "invalid_grant"},
		{"F29 an object", `{"error":{"type":"OAuthException","code":190,"message":"expired"}}`, freshet.Response{Error: "error.code", ErrorCodes: map[string]string{"190": "invalid_grant"}}, grant.Permanent, "invalid_grant"},
		{"F29 a list", `{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid"}],"success":false}`, freshet.Response{}, grant.Permanent, "invalid_grant"},
		{"F29 our registration", `{"ok":false,"error":"bad_client_secret"}`, freshet.Response{Success: "ok == true"}, grant.Misconfigured, "bad_client_secret"},
		{"F29 later again", `{"ok":false,"error":"ratelimited"}`, freshet.Response{Success: "ok == true"}, grant.Retryable, "ratelimited"},
		{"F29 a word that nobody knows", `{"ok":false,"error":"teapot"}`, freshet.Response{Success: "ok == true"}, grant.Retryable, "teapot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := shot{body: tt.body, shape: tt.shape}.err(t)
			if e.Class != tt.class || e.Code != tt.code {
				t.Errorf("%s %s, want %s %s", e.Class, e.Code, tt.class, tt.code)
			}
		})
	}
	t.Run("F29 tokens beside an empty error are a success", func(t *testing.T) {
		tok, _ := shot{body: `{"access_token":"at-1","error":"","errors":[]}`}.token(t)
		if tok.Access.Reveal() != "at-1" {
			t.Error("the token was not read")
		}
	})
}

func TestF32_refresh_tokens_that_are_none(t *testing.T) {
	for _, tt := range []struct {
		name, member string
		want         string // stored afterwards
	}{
		{"F32 absent", ``, granttest.OldRefresh},
		{"F32 null", `,"refresh_token":null`, granttest.OldRefresh},
		{"F32 empty", `,"refresh_token":""`, granttest.OldRefresh},
		{"F32 printed null", `,"refresh_token":"null"`, granttest.OldRefresh},
		{"F32 false", `,"refresh_token":false`, granttest.OldRefresh},
		{"F32 an object", `,"refresh_token":{}`, granttest.OldRefresh},
		{"F32 a number", `,"refresh_token":12345678901234567890123`, "12345678901234567890123"},
		{"F32 text", `,"refresh_token":"rt-1"`, "rt-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := shot{body: `{"access_token":"at-1"` + tt.member + `}`}.parse(t)
			if o.Token == nil || o.Token.Access.Reveal() != "at-1" {
				t.Fatalf("outcome %v", o.Err)
			}
			prior := &freshet.Token{Refresh: freshet.NewSecret(granttest.OldRefresh)}
			if got := granttest.Stored(prior, o); got != tt.want {
				t.Errorf("stored refresh token %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExpiryInstants(t *testing.T) {
	at := func(form, zone string) freshet.Expiry { return freshet.Expiry{Path: "e", Form: form, Zone: zone} }
	for _, tt := range []struct {
		name, value string
		e           freshet.Expiry
		want        string // from the clock of the corpus, 2026-10-21 07:27 UTC
	}{
		{"cap031 ISO", `"2026-10-21T08:27:00Z"`, at("rfc3339", ""), "1h0m0s"},
		{"cap031 ISO with an offset", `"2026-10-21T10:27:00+02:00"`, at("rfc3339", ""), "1h0m0s"},
		{"cap031 epoch seconds", `1792571220`, at("at_s", ""), "1h0m0s"},
		{"cap031 epoch milliseconds", `1792571220000`, at("at_ms", ""), "1h0m0s"},
		{"cap031 before the clocks change", `"2026-10-25T00:59:00Z"`, at("rfc3339", ""), "89h32m0s"},
		{"cap031 after the clocks change", `"2026-10-25 03:01:00"`, at("datetime", "Europe/Oslo"), "90h34m0s"},
		{"cap031 null", `null`, at("rfc3339", ""), "unknown"},
		{"F65 a leap second is no time of a clock", `"2026-12-31T23:59:60Z"`, at("rfc3339", ""), "unknown"},
		{"F65 without a zone it is UTC", `"2026-10-21 08:27:00"`, at("datetime", ""), "1h0m0s"},
		{"F65 the profile's zone", `"2026-10-21 16:27:00"`, at("datetime", "Asia/Shanghai"), "1h0m0s"},
		{"F65 the hour that comes twice is one of the two", `"2026-10-25 02:30:00"`, at("datetime", "Europe/Oslo"), "90h3m0s"},
		{"F65 the second at which 32 bits end", `2147483648`, at("at_s", ""), "87600h0m0s"}, // ten years, which is as far as anything is believed
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, flags := shot{body: `{"access_token":"at-1","e":` + tt.value + `}`, shape: freshet.Response{Expires: tt.e}}.life(t)
			if got != tt.want {
				t.Errorf("%s: %s %q, want %s", tt.value, got, flags, tt.want)
			}
		})
	}
}
