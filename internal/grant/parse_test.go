package grant_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

// A shot is one answer that a test makes up.
type shot struct {
	status    int // 0: 200
	header    http.Header
	body      string
	grant     freshet.GrantType // empty: a refresh
	renew     bool              // a refresh, of a token of that grant
	prior     *freshet.Token    // nil: RT-OLD, AT-OLD
	scope     string
	sent      []freshet.Secret
	shape     freshet.Response
	byDefault time.Duration // the provider's default lifetime
	policy    freshet.Policy
	cut       bool
	sentAt    time.Time // zero: granttest.Clock
	arrived   time.Time // zero: sentAt
}

// A failer is what a test, a benchmark and a rapid check have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s shot) parse(t failer) grant.Outcome {
	t.Helper()
	r := grant.Reply{Grant: s.grant, Refresh: s.renew, Prior: s.prior, Scope: s.scope, Sent: s.sent, Status: s.status, Header: s.header, Body: []byte(s.body), Truncated: s.cut,
		SentAt: s.sentAt, Now: s.arrived, Written: true}
	if s.grant == "" {
		r.Grant, r.Refresh = freshet.GrantRefreshToken, true
		if s.prior == nil {
			r.Prior = &freshet.Token{Access: freshet.NewSecret(granttest.OldAccess), Refresh: freshet.NewSecret(granttest.OldRefresh)}
		}
	}
	if r.Status == 0 {
		r.Status = 200
	}
	if r.SentAt.IsZero() {
		r.SentAt = granttest.Clock
	}
	if r.Now.IsZero() {
		r.Now = r.SentAt
	}
	o := grant.Parse(&freshet.Provider{Response: s.shape, DefaultLifetime: freshet.Duration(s.byDefault)}, nil, s.policy, r)
	if (o.Token == nil) == (o.Err == nil) {
		t.Fatalf("%q: token %v, error %v: exactly one must be set", s.body, o.Token != nil, o.Err)
	}
	return o
}

func (s shot) token(t testing.TB) (*freshet.Token, []grant.Flag) {
	t.Helper()
	o := s.parse(t)
	if o.Token == nil {
		t.Fatalf("%.200q: %v, want a token", s.body, o.Err)
	}
	return o.Token, o.Flags
}

func (s shot) err(t testing.TB) (*grant.Error, grant.Outcome) {
	t.Helper()
	o := s.parse(t)
	if o.Err == nil {
		t.Fatalf("%.200q: a token, want an error", s.body)
	}
	return o.Err, o
}

func TestBodies(t *testing.T) {
	const good = `{"access_token":"at-1","refresh_token":"rt-1"}`
	deep := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for _, tt := range []struct {
		name, body string
		access     string // empty: an error
		refresh    string // stored or salvaged; empty: none came
		code       string
		flags      []grant.Flag
	}{
		{"BOM", "\xef\xbb\xbf" + good, "at-1", "rt-1", "", nil},
		{"space around", " \r\n\t" + good + "\n\n", "at-1", "rt-1", "", nil},
		{"second object", good + good, "at-1", "rt-1", "", []grant.Flag{grant.FlagTrailing}},
		{"NUL behind", good + "\x00", "at-1", "rt-1", "", []grant.Flag{grant.FlagTrailing}},
		{"empty", "", "", "", "unparseable_body", nil},
		{"only space", " \n", "", "", "unparseable_body", nil},
		{"list", "[" + good + "]", "", "", "unparseable_body", nil},
		{"number", "42", "", "", "unparseable_body", nil},
		{"true", "true", "", "", "unparseable_body", nil},
		{"UTF-16", "\xff\xfe{\x00\"\x00", "", "", "unparseable_body", nil},
		{"JSONP", "cb(" + good + ")", "", "", "unparseable_body", nil},
		{"notice before", "Notice: x\n" + good, "", "", "unparseable_body", nil},
		{"empty object", "{}", "", "", "missing_access_token", nil},
		{"single quotes", `{'access_token':'at-1'}`, "", "", "unparseable_body", nil},
		{"comma at the end", `{"access_token":"at-1","refresh_token":"rt-1",}`, "", "rt-1", "unparseable_body", []grant.Flag{grant.FlagSalvaged}},
		{"colon missing", `{"refresh_token":"rt-1","access_token" "at-1"}`, "", "rt-1", "unparseable_body", []grant.Flag{grant.FlagSalvaged}},
		{"cut in the refresh token", `{"access_token":"at-1","refresh_token":"rt-`, "", "", "unparseable_body", nil},
		{"cut after a number token", `{"refresh_token":123`, "", "", "unparseable_body", nil},
		{"cut after the comma behind a number token", `{"refresh_token":123,`, "", "123", "unparseable_body", []grant.Flag{grant.FlagRefreshNotString, grant.FlagSalvaged}},
		{"cut in an escape", `{"refresh_token":"rt-1","access_token":"at\`, "", "rt-1", "unparseable_body", []grant.Flag{grant.FlagSalvaged}},
		{"NaN member", `{"expires_in":NaN,"access_token":"at-1","refresh_token":"rt-1"}`, "at-1", "rt-1", "", []grant.Flag{grant.FlagMalformed, grant.FlagLifetimeUnclear}},
		{"depth 64", `{"x":` + deep[1:127] + `,"access_token":"at-1","refresh_token":"rt-1"}`, "at-1", "rt-1", "", nil},
		{"depth 65", `{"refresh_token":"rt-1","access_token":"at-1","x":` + deep + `}`, "", "rt-1", "unparseable_body", []grant.Flag{grant.FlagSalvaged}},
		{"depth 200000", `{"refresh_token":"rt-1","x":` + strings.Repeat("[", 200_000), "", "rt-1", "unparseable_body", []grant.Flag{grant.FlagSalvaged}},
		{"bare depth 200000", strings.Repeat("[", 200_000), "", "", "unparseable_body", nil},
		{"control character beside", "{\"note\":\"a\nb\",\"access_token\":\"at-1\",\"refresh_token\":\"rt-1\"}", "at-1", "rt-1", "", nil},
		{"bad UTF-8 beside", "{\"note\":\"\xff\",\"access_token\":\"at-1\",\"refresh_token\":\"rt-1\"}", "at-1", "rt-1", "", nil},
		{"bad UTF-8 in the access token", "{\"access_token\":\"at-\xff\",\"refresh_token\":\"rt-1\"}", "", "rt-1", "bad_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"umlaut in the access token", `{"access_token":"at-ü","refresh_token":"rt-1"}`, "", "rt-1", "bad_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"bad escape in the access token", `{"access_token":"at-\x","refresh_token":"rt-1"}`, "", "rt-1", "bad_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"bad escape beside", `{"note":"C:\path","access_token":"at-1","refresh_token":"rt-1"}`, "at-1", "rt-1", "", nil},
		{"escaped name", `{"acc\u0065ss_token":"at-1"}`, "at-1", "", "", nil},
		{"surrogate pair beside", `{"note":"\ud83d\ude00","access_token":"at-1"}`, "at-1", "", "", nil},
		{"access token object", `{"access_token":{"x":"at-1"},"refresh_token":"rt-1"}`, "", "rt-1", "bad_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"access token null", `{"access_token":null,"refresh_token":"rt-1"}`, "", "rt-1", "missing_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"access token absent", `{"refresh_token":"rt-1"}`, "", "rt-1", "missing_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"access token printed null", `{"access_token":"null"}`, "", "", "missing_access_token", nil},
		{"refresh token empty", `{"access_token":"at-1","refresh_token":""}`, "at-1", "", "", nil},
		{"refresh token blank", `{"access_token":"at-1","refresh_token":"  "}`, "at-1", "", "", nil},
		{"refresh token printed null", `{"access_token":"at-1","refresh_token":"null"}`, "at-1", "", "", nil},
		{"refresh token printed undefined", `{"access_token":"at-1","refresh_token":"undefined"}`, "at-1", "", "", nil},
		{"refresh token false", `{"access_token":"at-1","refresh_token":false}`, "at-1", "", "", nil},
		{"refresh token object", `{"access_token":"at-1","refresh_token":{}}`, "at-1", "", "", []grant.Flag{grant.FlagRefreshMalformed}},
		{"refresh token with a newline", `{"access_token":"at-1","refresh_token":"rt\n1"}`, "at-1", "", "", []grant.Flag{grant.FlagRefreshMalformed}},
		{"refresh token number", `{"access_token":"at-1","refresh_token":1e30}`, "at-1", "1e30", "", []grant.Flag{grant.FlagRefreshNotString}},
		{"refresh token in capitals", `{"access_token":"at-1","Refresh_Token":"rt-1"}`, "at-1", "", "", nil},
		{"repeated alike", `{"access_token":"at-1","access_token":"at-\u0031","refresh_token":"rt-1"}`, "at-1", "rt-1", "", nil},
		{"refresh token twice", `{"access_token":"at-1","refresh_token":"rt-1","refresh_token":"rt-2"}`, "", "", "duplicate_parameter", nil},
		{"scope twice", `{"access_token":"at-1","refresh_token":"rt-1","scope":"a","scope":"b"}`, "", "rt-1", "duplicate_parameter", []grant.Flag{grant.FlagSalvaged}},
		{"nested twice", `{"access_token":"at-1","user":{"id":1,"id":2}}`, "at-1", "", "", nil},
		{"form", "access_token=at-1&refresh_token=rt-1", "at-1", "rt-1", "", nil},
		{"form with an odd percent", "access_token=at%zz&refresh_token=rt%", "at%zz", "rt%", "", nil},
		{"form repeated", "access_token=at-1&access_token=at-2&refresh_token=rt-1", "", "rt-1", "duplicate_parameter", []grant.Flag{grant.FlagSalvaged}},
		{"form error", "error=invalid_grant&error_description=gone", "", "", "invalid_grant", nil},
		{"form without a token", "a=b", "", "", "missing_access_token", nil},
		{"form with a newline in the token", "access_token=at%0A1&refresh_token=rt-1", "", "rt-1", "bad_access_token", []grant.Flag{grant.FlagSalvaged}},
		{"sentence with an equals sign", "x is = y", "", "", "unparseable_body", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := shot{body: tt.body}.parse(t)
			prior := &freshet.Token{}
			if got := granttest.Stored(prior, o); got != tt.refresh {
				t.Errorf("refresh token %q, want %q", got, tt.refresh)
			}
			if tt.access != "" {
				if o.Token == nil || o.Token.Access.Reveal() != tt.access {
					t.Errorf("outcome %v, want access token %q", o.Err, tt.access)
				}
			} else if o.Err == nil || o.Err.Code != tt.code {
				t.Errorf("outcome %v, want %s", o.Err, tt.code)
			}
			if !slices.Equal(o.Flags, tt.flags) {
				t.Errorf("flags %q, want %q", o.Flags, tt.flags)
			}
		})
	}
}

func TestCutBodies(t *testing.T) {
	t.Run("F33 a complete object in a body that broke off is a token", func(t *testing.T) {
		tok, _ := shot{body: `{"access_token":"at-1","refresh_token":"rt-1"}`, cut: true}.token(t)
		if tok.Refresh.Reveal() != "rt-1" {
			t.Error("the refresh token is lost")
		}
	})
	t.Run("F33 a form does not show where it was cut", func(t *testing.T) {
		e, o := shot{body: "refresh_token=rt-1&access_token=at-", cut: true}.err(t)
		if e.Code != "connection_closed" || !e.Uncertain || o.Salvaged.Reveal() != "rt-1" {
			t.Errorf("%v, uncertain %v, salvaged %q", e, e.Uncertain, o.Salvaged.Reveal())
		}
		if _, o := (shot{body: "access_token=at-1&refresh_token=rt-", cut: true}).err(t); !o.Salvaged.IsZero() {
			t.Error("half a refresh token is salvaged")
		}
	})
	t.Run("F34 a body of 1 MiB and more", func(t *testing.T) {
		body := `{"refresh_token":"rt-1","pad":"` + strings.Repeat("x", grant.MaxBody)
		e, o := shot{body: body[:grant.MaxBody], cut: true}.err(t)
		if e.Code != "body_too_large" || o.Salvaged.Reveal() != "rt-1" {
			t.Errorf("%v, salvaged %q", e, o.Salvaged.Reveal())
		}
	})
	t.Run("F33 a refusal that broke off", func(t *testing.T) {
		if e, _ := (shot{status: 400, body: `{"error":"invalid_grant","error_descr`}).err(t); e.Class != grant.Permanent {
			t.Errorf("a complete code in a cut answer: %v", e)
		}
		if e, _ := (shot{status: 400, body: `{"error":"invalid_gr`}).err(t); e.Class != grant.Misconfigured || e.Code != "unrecognised_400" {
			t.Errorf("half a code: %s %v", e.Class, e)
		}
	})
}

func TestProviders(t *testing.T) {
	// The shapes and refusals of real providers, as the catalogue describes them.
	withings := freshet.Response{Success: "status == 0", AccessToken: "body.access_token", RefreshToken: "body.refresh_token", Error: "status", ErrorText: "error",
		Expires: freshet.Expiry{Path: "body.expires_in"}, ErrorCodes: map[string]string{"601": "slow_down"}}
	wechat := freshet.Response{Success: "errcode == nil || errcode == 0", Error: "errcode", ErrorText: "errmsg", ErrorCodes: map[string]string{"40001": "invalid_client"}}
	tiktok := freshet.Response{Success: "code == 0", AccessToken: "data.access_token", Error: "code", ErrorText: "message", ErrorCodes: map[string]string{"40110": "invalid_grant"}}
	for _, tt := range []struct {
		name   string
		shape  freshet.Response
		status int
		body   string
		class  grant.Class // empty: a token
		code   string
		flags  []grant.Flag
	}{
		{"Slack", freshet.Response{Success: "ok == true"}, 200, `{"ok":false,"error":"invalid_refresh_token"}`, grant.Permanent, "invalid_refresh_token", nil},
		{"Slack rate", freshet.Response{Success: "ok == true"}, 200, `{"ok":false,"error":"ratelimited"}`, grant.Retryable, "ratelimited", nil},
		{"Slack fatal", freshet.Response{}, 200, `{"ok":false,"error":"fatal_error"}`, grant.Retryable, "fatal_error", nil},
		{"Slack without a word", freshet.Response{Success: "ok == true"}, 200, `{"ok":false}`, grant.Retryable, "unsuccessful", nil},
		{"Slack token without ok", freshet.Response{Success: "ok == true"}, 200, `{"access_token":"at-1"}`, grant.Retryable, "unsuccessful", nil},
		{"Withings", withings, 200, `{"status":0,"body":{"access_token":"at-1","refresh_token":"rt-1"}}`, "", "", nil},
		{"Withings rate", withings, 200, `{"status":601,"body":{},"error":"Too Many Requests"}`, grant.Retryable, "slow_down", nil},
		{"Withings dead", withings, 200, `{"status":503,"body":{},"error":"Invalid Params: invalid refresh_token"}`, grant.Permanent, "503", []grant.Flag{grant.FlagMessage}},
		{"Withings dead without a profile", freshet.Response{}, 200, `{"status":503,"body":{},"error":"Invalid Params: invalid refresh_token"}`, grant.Permanent, "Invalid Params: invalid refresh_token", []grant.Flag{grant.FlagMessage}},
		{"WeChat client", wechat, 200, `{"errcode":40001,"errmsg":"invalid credential"}`, grant.Misconfigured, "invalid_client", nil},
		{"WeChat zero", wechat, 200, `{"errcode":0,"errmsg":"ok","access_token":"at-1"}`, "", "", nil},
		{"WeChat zero without a profile", freshet.Response{}, 200, `{"errcode":0,"errmsg":"ok","access_token":"at-1"}`, "", "", nil},
		{"errcode 0.0", freshet.Response{}, 200, `{"errcode":0.0,"access_token":"at-1"}`, "", "", nil},
		{"Meta's marker without words", freshet.Response{}, 400, `{"error":{"code":7,"is_transient":true}}`, grant.Retryable, "7", []grant.Flag{grant.FlagErrorObject}},
		{"WeChat unknown", freshet.Response{}, 200, `{"errcode":40029,"errmsg":"something"}`, grant.Retryable, "40029", nil},
		{"TikTok", tiktok, 200, `{"code":40110,"message":"Auth code is expired or used","data":{}}`, grant.Permanent, "invalid_grant", nil},
		{"TikTok token", tiktok, 200, `{"code":0,"message":"OK","data":{"access_token":"at-1"}}`, "", "", nil},
		{"TikTok v2 ok object", freshet.Response{}, 200, `{"access_token":"at-1","error":{"code":"ok","message":"","log_id":"1"}}`, "", "", nil},
		{"Strava", freshet.Response{}, 400, `{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}`, grant.Permanent, "invalid", []grant.Flag{grant.FlagMessage}},
		{"Zoho throttled", freshet.Response{}, 400, `{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}`, grant.Retryable, "Access Denied", nil},
		{"HubSpot", freshet.Response{Error: "status", ErrorText: "message"}, 400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token","correlationId":"x"}`, grant.Permanent, "BAD_REFRESH_TOKEN", nil},
		{"HubSpot without its code", freshet.Response{}, 400, `{"message":"missing or unknown refresh token"}`, grant.Permanent, "unrecognised_400", []grant.Flag{grant.FlagMessage}},
		{"Naver", freshet.Response{}, 200, `{"error":"invalid_request","error_description":"wrong refresh token"}`, grant.Permanent, "invalid_request", []grant.Flag{grant.FlagMessage}},
		{"LinkedIn", freshet.Response{}, 400, `{"error":"invalid_request","error_description":"The provided authorization grant or refresh token is invalid, expired or revoked."}`, grant.Permanent, "invalid_request", []grant.Flag{grant.FlagMessage}},
		{"Apigee fault", freshet.Response{}, 401, `{"fault":{"faultstring":"Invalid refresh token","detail":{"errorcode":"keymanagement.service.invalid_refresh_token"}}}`, grant.Permanent, "keymanagement.service.invalid_refresh_token", []grant.Flag{grant.FlagMessage}},
		{"Google object", freshet.Response{}, 400, `{"error":{"code":400,"message":"Invalid JSON payload","status":"INVALID_ARGUMENT"}}`, grant.Misconfigured, "400", []grant.Flag{grant.FlagErrorObject}},
		{"Veeva", freshet.Response{Success: `responseStatus == "SUCCESS"`, AccessToken: "sessionId"}, 200, `{"responseStatus":"FAILURE","errors":[{"type":"X","message":"y"}]}`, grant.Retryable, "X", nil},
		{"a code in other letters", freshet.Response{}, 400, `{"error":"Invalid_Grant"}`, grant.Permanent, "Invalid_Grant", nil},
		{"error true", freshet.Response{}, 200, `{"error":true,"message":"Invalid refresh token"}`, grant.Permanent, "error", []grant.Flag{grant.FlagMessage}},
		{"a list of codes", freshet.Response{}, 400, `{"errors":["invalid_grant"]}`, grant.Permanent, "invalid_grant", nil},
		{"empty list of errors", freshet.Response{}, 200, `{"errors":[],"access_token":"at-1"}`, "", "", nil},
		{"nested envelope", freshet.Response{}, 200, `{"message":"error","data":{"error_code":10010,"description":"Refresh token expired"}}`, grant.Permanent, "10010", []grant.Flag{grant.FlagMessage}},
		{"a bare code", freshet.Response{}, 400, "invalid_grant", grant.Permanent, "invalid_grant", nil},
		{"success false with a token", freshet.Response{}, 200, `{"success":false,"access_token":"at-1"}`, "", "", nil},
		{"error and token", freshet.Response{}, 200, `{"error":"invalid_client","access_token":"at-1"}`, grant.Misconfigured, "invalid_client", nil},
		{"two codes, one known", freshet.Response{}, 400, `{"error":"Bad thing","error_code":"slow_down"}`, grant.Retryable, "slow_down", nil},
		{"expired token of Spring", freshet.Response{}, 401, `{"error":"invalid_token","error_description":"Invalid refresh token (expired): x"}`, grant.Permanent, "invalid_token", []grant.Flag{grant.FlagMessage}},
		{"missing parameter", freshet.Response{}, 400, `{"error":"invalid_request","error_description":"Missing required parameter refresh_token or invalid request"}`, grant.Misconfigured, "invalid_request", nil},
		{"grant type", freshet.Response{}, 400, `{"error":"unsupported_grant_type","error_description":"grant type refresh_token is invalid"}`, grant.Misconfigured, "unsupported_grant_type", nil},
		{"client, whatever the text", freshet.Response{}, 401, `{"error":"invalid_client","error_description":"invalid credentials for refresh token flow"}`, grant.Misconfigured, "invalid_client", nil},
		{"unknown in 4xx", freshet.Response{}, 404, `{"message":"no route"}`, grant.Misconfigured, "http_404", nil},
		{"transient words in 4xx", freshet.Response{}, 400, `{"error":"oops","error_description":"A temporary problem"}`, grant.Retryable, "oops", nil},
		{"challenge", freshet.Response{}, 401, ``, grant.Misconfigured, "http_401", nil},
		{"conflict", freshet.Response{}, 409, `{"error":"conflict"}`, grant.Retryable, "conflict", nil},
		{"success predicate that does not compile", freshet.Response{Success: "ok =="}, 200, `{"access_token":"at-1"}`, grant.Misconfigured, "bad_profile", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := shot{status: tt.status, body: tt.body, shape: tt.shape}.parse(t)
			switch {
			case tt.class == "" && o.Token == nil:
				t.Errorf("%s %v, want a token", o.Err.Class, o.Err)
			case tt.class != "" && (o.Err == nil || o.Err.Class != tt.class || o.Err.Code != tt.code):
				t.Errorf("%+v, want %s %s", o.Err, tt.class, tt.code)
			}
			if !slices.Equal(o.Flags, tt.flags) {
				t.Errorf("flags %q, want %q", o.Flags, tt.flags)
			}
		})
	}
}

func TestCodeTables(t *testing.T) {
	for code, want := range granttest.Tables(t) {
		for _, status := range []int{200, 400, 401, 403} {
			e, _ := shot{status: status, body: `{"error":` + string(must(json.Marshal(code))) + `}`}.err(t)
			if string(e.Class) != want.Class || e.Uncertain != want.Uncertain || e.Code != code {
				t.Errorf("%s with %d: %s %s uncertain=%v, want %s uncertain=%v", code, status, e.Class, e.Code, e.Uncertain, want.Class, want.Uncertain)
			}
		}
		e, o := shot{status: 502, body: `{"error":` + string(must(json.Marshal(code))) + `}`}.err(t)
		if e.Class != grant.Retryable || !e.Uncertain || slices.Contains(o.Flags, grant.FlagErrorIn5xx) != (want.Class == "permanent") {
			t.Errorf("%s with 502: %s uncertain=%v %q", code, e.Class, e.Uncertain, o.Flags)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestStatuses(t *testing.T) {
	page := "<!DOCTYPE html><title>x</title>"
	for _, tt := range []struct {
		status    int
		body      string
		class     grant.Class
		code      string
		uncertain bool
	}{
		{101, "", grant.Retryable, "malformed_response", true},
		{204, "", grant.Retryable, "unparseable_body", true},
		{300, `{"access_token":"at-1"}`, grant.Misconfigured, "redirect_refused", false},
		{304, "", grant.Misconfigured, "redirect_refused", false},
		{307, "", grant.Misconfigured, "redirect_refused", false},
		{400, page, grant.Misconfigured, "unrecognised_400", false},
		{401, page, grant.Misconfigured, "http_401", false},
		{403, page, grant.Retryable, "http_403_html", false},
		{403, "", grant.Misconfigured, "http_403", false},
		{403, `{"message":"forbidden"}`, grant.Misconfigured, "http_403", false},
		{404, page, grant.Misconfigured, "http_404", false},
		{405, "", grant.Misconfigured, "http_405", false},
		{408, `{"error":"invalid_grant"}`, grant.Retryable, "invalid_grant", true},
		{413, "", grant.Misconfigured, "http_413", false},
		{421, "", grant.Retryable, "http_421", false},
		{425, "", grant.Retryable, "http_425", false},
		{429, `{"error":"invalid_grant"}`, grant.Retryable, "invalid_grant", false},
		{429, page, grant.Retryable, "http_429", false},
		{499, "", grant.Misconfigured, "http_499", false},
		{500, page, grant.Retryable, "http_500", true},
		{503, `{"error":"invalid_client"}`, grant.Retryable, "invalid_client", true},
		{599, "", grant.Retryable, "http_599", true},
	} {
		e, _ := shot{status: tt.status, body: tt.body}.err(t)
		if e.Class != tt.class || e.Code != tt.code || e.Uncertain != tt.uncertain || e.Status != tt.status {
			t.Errorf("%d %.20q: %s %s uncertain=%v status=%d, want %s %s uncertain=%v", tt.status, tt.body, e.Class, e.Code, e.Uncertain, e.Status, tt.class, tt.code, tt.uncertain)
		}
	}
}

func TestF28RetryAfter(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
		date   bool
	}{
		{"", 0, false}, {"0", 0, false}, {"7", 7 * time.Second, false}, {" 7 ", 7 * time.Second, false}, {"007", 7 * time.Second, false},
		{"-5", 0, false}, {"+5", 0, false}, {"7.5", 0, false}, {"soon", 0, false}, {"0x10", 0, false}, {"7, 8", 0, false},
		{"86399", 86399 * time.Second, false}, {"86400", 24 * time.Hour, false}, {"86401", 24 * time.Hour, false},
		{"99999999999999999999999", 24 * time.Hour, false}, {"000000000000000000001", time.Second, false},
		{"Wed, 21 Oct 2026 07:28:00 GMT", time.Minute, true},
		{"Wednesday, 21-Oct-26 07:28:00 GMT", time.Minute, true},
		{"Wed Oct 21 07:28:00 2026", time.Minute, true},
		{"Wed, 21 Oct 2026 07:26:00 GMT", 0, false},
		{"Wed, 21 Oct 2026 07:27:00 GMT", 0, false},
		{"Wed, 21 Oct 2099 07:27:00 GMT", 24 * time.Hour, true},
	} {
		e, o := shot{status: 429, header: http.Header{"Retry-After": {tt.header}}}.err(t)
		if e.RetryAfter != tt.want || slices.Contains(o.Flags, grant.FlagRetryAfterDate) != tt.date {
			t.Errorf("%q: %v %q, want %v", tt.header, e.RetryAfter, o.Flags, tt.want)
		}
	}
}

func TestF37ClockTrouble(t *testing.T) {
	body := `{"error":"invalid_grant","error_description":"Invalid JWT: check your iat"}`
	h := func(d time.Duration) http.Header {
		return http.Header{"Date": {granttest.Clock.Add(-d).Format(http.TimeFormat)}}
	}
	for _, g := range []freshet.GrantType{freshet.GrantJWTBearer, freshet.GrantClientCredentials} {
		e, _ := shot{status: 400, grant: g, body: body, header: h(5 * time.Minute)}.err(t)
		if e.Class != grant.Misconfigured || e.Code != "invalid_grant" || e.Skew != 5*time.Minute || !strings.Contains(e.Detail, "5m0s ahead") {
			t.Errorf("%s: %s %+v", g, e.Class, e)
		}
	}
	if e, _ := (shot{status: 400, grant: freshet.GrantJWTBearer, body: body, header: h(-time.Hour)}).err(t); e.Skew != -time.Hour || !strings.Contains(e.Detail, "1h0m0s behind") {
		t.Errorf("a slow clock: %+v", e)
	}
	if e, _ := (shot{status: 400, grant: freshet.GrantJWTBearer, body: body, header: h(3 * time.Second)}).err(t); e.Skew != 0 {
		t.Errorf("three seconds count as trouble: %+v", e)
	}
	// A refresh token that such a grant obtained may well be dead.
	for _, g := range []freshet.GrantType{"", freshet.GrantJWTBearer, freshet.GrantClientCredentials} {
		if e, _ := (shot{status: 400, grant: g, renew: true, body: body, header: h(time.Hour)}).err(t); e.Class != grant.Permanent || e.Skew != 0 {
			t.Errorf("a refresh: %s %+v", e.Class, e)
		}
	}
	for _, g := range []freshet.GrantType{freshet.GrantPassword, freshet.GrantAuthorizationCode, freshet.GrantDeviceCode} {
		if e, _ := (shot{status: 400, grant: g, body: body}).err(t); e.Class != grant.Permanent {
			t.Errorf("%s: %s", g, e.Class)
		}
	}
}

func TestF42DeviceCodes(t *testing.T) {
	for code, want := range map[string]grant.Class{
		"authorization_pending": grant.Retryable, "slow_down": grant.Retryable, "access_denied": grant.Permanent, "expired_token": grant.Permanent, "invalid_grant": grant.Permanent,
	} {
		if e, _ := (shot{status: 400, grant: freshet.GrantDeviceCode, body: `{"error":"` + code + `"}`}).err(t); e.Class != want || e.Uncertain {
			t.Errorf("%s: %s uncertain=%v, want %s", code, e.Class, e.Uncertain, want)
		}
	}
	if e, _ := (shot{status: 400, body: `{"error":"access_denied"}`}).err(t); e.Class != grant.Misconfigured {
		t.Errorf("access_denied on a refresh: %s", e.Class)
	}
}

func TestScheme(t *testing.T) {
	for _, tt := range []struct {
		member, typ, scheme string
		flagged             bool
	}{
		{``, "", "Bearer", false},
		{`,"token_type":null`, "", "Bearer", false},
		{`,"token_type":""`, "", "Bearer", false},
		{`,"token_type":"bEaReR"`, "bEaReR", "Bearer", false},
		{`,"token_type":" Bearer "`, " Bearer ", "Bearer", false},
		{`,"token_type":"dpop"`, "dpop", "DPoP", false},
		{`,"token_type":"N_A"`, "N_A", "", false},
		{`,"token_type":"mac"`, "mac", "Bearer", true},
		{`,"token_type":7`, "7", "Bearer", true},
		{`,"token_type":{}`, "", "Bearer", true},
		{`,"token_type":"Bearer\r\nX-Evil: 1"`, "", "Bearer", true},
	} {
		tok, flags := shot{body: `{"access_token":"at-1"` + tt.member + `}`}.token(t)
		if tok.Type != tt.typ || tok.Scheme != tt.scheme || slices.Contains(flags, grant.FlagUnknownType) != tt.flagged {
			t.Errorf("%s: type %q, scheme %q, flags %q", tt.member, tok.Type, tok.Scheme, flags)
		}
	}
}

func TestF40ScopeNarrowed(t *testing.T) {
	prior := &freshet.Token{Refresh: freshet.NewSecret("rt-0"), Scope: "read write"}
	for _, tt := range []struct {
		name, answer, asked string
		prior               *freshet.Token
		want                string
		narrowed            bool
	}{
		{"same", `"write read"`, "", prior, "write read", false},
		{"narrower", `"read"`, "", prior, "read", true},
		{"wider", `"read write admin"`, "", prior, "read write admin", false},
		{"commas", `"read,write"`, "", prior, "read,write", false},
		{"absent", `null`, "", prior, "read write", false},
		{"empty", `""`, "", prior, "", false},
		{"list", `["read","write"]`, "", prior, "read write", false},
		{"number", `4`, "", prior, "", false},
		{"narrower than asked", `"read"`, "read write", &freshet.Token{}, "read", true},
		{"as asked", `null`, "read write", &freshet.Token{}, "read write", false},
		{"no rights", `"read"`, "read openid offline_access email", &freshet.Token{}, "read", false},
	} {
		tok, flags := shot{body: `{"access_token":"at-1","scope":` + tt.answer + `}`, scope: tt.asked, prior: tt.prior}.token(t)
		if tok.Scope != tt.want || slices.Contains(flags, grant.FlagScopeNarrowed) != tt.narrowed {
			t.Errorf("%s: %q %q, want %q narrowed=%v", tt.name, tok.Scope, flags, tt.want, tt.narrowed)
		}
	}
}

// jwt makes a token of three parts that nobody signed.
func jwt(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(claims)) + ".c2ln"
}

func TestF39Subject(t *testing.T) {
	prior := &freshet.Token{Refresh: freshet.NewSecret("rt-0"), Subject: "alice"}
	body := func(sub string) string {
		return `{"access_token":"at-1","id_token":"` + jwt(`{"sub":"`+sub+`"}`) + `"}`
	}
	if tok, flags := (shot{body: body("alice"), prior: prior}).token(t); tok.Subject != "alice" || len(flags) != 0 || tok.ID.IsZero() {
		t.Errorf("the same subject: %q %q", tok.Subject, flags)
	}
	if tok, flags := (shot{body: body("bob"), prior: prior}).token(t); tok.Subject != "bob" || !slices.Contains(flags, grant.FlagSubjectChanged) {
		t.Errorf("another subject: %q %q", tok.Subject, flags)
	}
	if tok, flags := (shot{body: `{"access_token":"at-1","id_token":"garbage"}`, prior: prior}).token(t); tok.Subject != "alice" || len(flags) != 0 {
		t.Errorf("an ID token that is none: %q %q", tok.Subject, flags)
	}
	if tok, _ := (shot{body: `{"access_token":"at-1"}`, prior: prior}).token(t); tok.Subject != "alice" {
		t.Errorf("without an ID token the subject is %q", tok.Subject)
	}
}

func TestRefreshTokenBookkeeping(t *testing.T) {
	issued, dies := granttest.Clock.Add(-time.Hour), granttest.Clock.Add(time.Hour)
	prior := &freshet.Token{Refresh: freshet.NewSecret("rt-0"), RefreshIssued: issued, RefreshExpiry: dies}
	kept, _ := shot{body: `{"access_token":"at-1","refresh_token":"rt-0"}`, prior: prior}.token(t)
	if !kept.Refresh.IsZero() || !kept.RefreshIssued.Equal(issued) || !kept.RefreshExpiry.Equal(dies) {
		t.Errorf("cap054 a repeated refresh token: %v, issued %v, dies %v", kept.Refresh.Len(), kept.RefreshIssued, kept.RefreshExpiry)
	}
	fresh, _ := shot{body: `{"access_token":"at-1","refresh_token":"rt-1"}`, prior: prior}.token(t)
	if fresh.Refresh.Reveal() != "rt-1" || !fresh.RefreshIssued.Equal(granttest.Clock) || !fresh.RefreshExpiry.IsZero() {
		t.Errorf("cap053 a rotated refresh token: issued %v, dies %v", fresh.RefreshIssued, fresh.RefreshExpiry)
	}
	longer, _ := shot{body: `{"access_token":"at-1","refresh_token_expires_in":"7200"}`, prior: prior}.token(t)
	if !longer.RefreshExpiry.Equal(granttest.Clock.Add(2 * time.Hour)) {
		t.Errorf("a kept refresh token's new life ends %v", longer.RefreshExpiry)
	}
	for _, name := range []string{"refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"} {
		tok, _ := shot{body: `{"access_token":"at-1","refresh_token":"rt-1","` + name + `":60}`}.token(t)
		if !tok.RefreshExpiry.Equal(granttest.Clock.Add(time.Minute)) {
			t.Errorf("cap142 %s: %v", name, tok.RefreshExpiry)
		}
	}
	for _, value := range []string{"0", "-1", `"x"`, "null", "{}"} {
		tok, flags := shot{body: `{"access_token":"at-1","refresh_token":"rt-1","refresh_expires_in":` + value + `}`}.token(t)
		if !tok.RefreshExpiry.IsZero() || len(flags) != 0 {
			t.Errorf("a refresh token's life of %s: %v %q", value, tok.RefreshExpiry, flags)
		}
	}
	first, _ := shot{body: `{"access_token":"at-1","refresh_token":"rt-1"}`, grant: freshet.GrantAuthorizationCode}.token(t)
	if first.Refresh.Reveal() != "rt-1" || !first.RefreshIssued.Equal(granttest.Clock) {
		t.Error("the first refresh token is not kept")
	}
}

func TestCap051WholeAnswer(t *testing.T) {
	body := `{"access_token":"at-1","instance_url":"https://x.example","n":12345678901234567890,"nested":{"a":[1,null,{"b":"\u00fc"}]},"empty":""}`
	tok, _ := shot{body: "\xef\xbb\xbf " + body + "\n"}.token(t)
	var got, want any
	if err := json.Unmarshal([]byte(tok.Answer.Reveal()), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || tok.Answer.Reveal() != body {
		t.Errorf("the stored answer is %s", tok.Answer.Reveal())
	}
	tok, _ = shot{body: "access_token=at%2B1&extra=a+b"}.token(t)
	if got := tok.Answer.Reveal(); got != `{"access_token":"at+1","extra":"a b"}` {
		t.Errorf("the stored form is %s", got)
	}
}

func TestPlaces(t *testing.T) {
	header := http.Header{"X-Auth-Token": {"Bearer at-h"}, "Set-Cookie": {"a=b; Path=/", "JSESSIONID=at-c; HttpOnly"}}
	for _, tt := range []struct {
		name, path, body, want string
	}{
		{"nested", "authed_user.access_token", `{"access_token":"bot","authed_user":{"access_token":"at-n"}}`, "at-n"},
		{"index", "tokens[1].value", `{"tokens":[{"value":"x"},{"value":"at-i"}]}`, "at-i"},
		{"index in a root list", "[0].token", `[{"token":"at-l"}]`, "at-l"},
		{"dot in a name", "https://x.example/token", `{"https://x.example/token":"at-d"}`, "at-d"},
		{"dot in a nested name", "a.b.c", `{"a":{"b.c":"at-e"}}`, "at-e"},
		{"header", "header:x-auth-token", ``, "at-h"},
		{"header beside a page", "header:X-Auth-Token", `<html>ok</html>`, "at-h"},
		{"cookie", "cookie:JSESSIONID", `{}`, "at-c"},
		{"body", "body:", " at-b\n", "at-b"},
		{"body quoted", "body:", `"at-q"`, "at-q"},
		{"body like a form", "body:", `abc=def==`, "abc=def=="},
		{"match", `match:<token>([^<]+)</token>`, `<?xml version="1.0"?><r><token>at-x</token></r>`, "at-x"},
		{"body that is a page", "body:", "<html>at-1</html>", ""},
		{"body that is a sentence", "body:", "not now", ""},
		{"body that is an error", "body:", `{"error":"invalid_grant"}`, ""},
		{"body that is empty", "body:", ``, ""},
		{"header missing", "header:X-Other", `{}`, ""},
		{"cookie missing", "cookie:other", `{}`, ""},
		{"match missing", `match:<t>(.*)</t>`, `{}`, ""},
		{"match without a group", `match:.*`, `{}`, ""},
		{"index too far", "tokens[5].value", `{"tokens":[]}`, ""},
		{"not an index", "tokens[x].value", `{"tokens":[]}`, ""},
		{"through a text", "a.b", `{"a":"b"}`, ""},
		{"dots only", "...", `{}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := shot{body: tt.body, header: header, shape: freshet.Response{AccessToken: tt.path}}.parse(t)
			switch {
			case tt.want == "" && o.Err == nil:
				t.Errorf("token %q", o.Token.Access.Reveal())
			case tt.want != "" && (o.Token == nil || o.Token.Access.Reveal() != tt.want):
				t.Errorf("%v, want %q", o.Err, tt.want)
			}
		})
	}
	t.Run("the pair of one object", func(t *testing.T) {
		body := `{"access_token":"bot","refresh_token":"bot-rt","expires_in":60,"authed_user":{"access_token":"user","refresh_token":"user-rt"}}`
		tok, _ := shot{body: body, shape: freshet.Response{AccessToken: "authed_user.access_token"}}.token(t)
		if tok.Refresh.Reveal() != "user-rt" || tok.Lifetime() != time.Minute {
			t.Errorf("refresh token %q, lifetime %v", tok.Refresh.Reveal(), tok.Lifetime())
		}
	})
	t.Run("a duplicate inside the envelope", func(t *testing.T) {
		e, o := shot{body: `{"data":{"access_token":"a","access_token":"b","refresh_token":"rt-1"}}`, shape: freshet.Response{AccessToken: "data.access_token"}}.err(t)
		if e.Code != "duplicate_parameter" || o.Salvaged.Reveal() != "rt-1" {
			t.Errorf("%v, salvaged %q", e, o.Salvaged.Reveal())
		}
	})
	t.Run("salvage out of a cut envelope", func(t *testing.T) {
		_, o := shot{body: `{"data":{"refresh_token":"rt-1","access_token":"at-`, cut: true, shape: freshet.Response{AccessToken: "data.access_token"}}.err(t)
		if o.Salvaged.Reveal() != "rt-1" {
			t.Errorf("salvaged %q", o.Salvaged.Reveal())
		}
	})
}

func TestCap056NothingIsOverwrittenByABlankToken(t *testing.T) {
	for _, body := range []string{`{"access_token":""}`, `{"access_token":" \t"}`, `{"access_token":null}`, `{}`} {
		e, o := shot{body: body}.err(t)
		if e.Class != grant.Retryable || o.Token != nil || !o.Salvaged.IsZero() {
			t.Errorf("%s: %s %v", body, e.Class, e)
		}
	}
}
