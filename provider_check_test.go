package freshet_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

func TestProviderCheck(t *testing.T) {
	for _, good := range []string{
		`{}`,
		`{"token_url":"https://x.example/token"}`,
		`{"token_url":"http://127.0.0.1:9000/token"}`,
		`{"token_url":"https://{{tenant}}.x.example/{{realm}}/token?a={{b}}"}`,
		`{"token_url":"{{base}}/token"}`,
		`{"token_url":"https://x.example/v2/token/session/:create"}`,
		`{"client_auth":"private_key_jwt","refresh_client_auth":"none","pkce":"off","grants":["request","device_code"]}`,
		`{"request":{"body":"{\"a\":{{b | json}}}","method":"PUT"}}`,
		`{"request":{"body":"<a>{{b}}</a>"}}`,
		`{"request":{"body":"user={{b}}"}}`,
		`{"response":{"access_token":"header:X-Auth-Token","refresh_token":"cookie:rt","scope":"body:","id_token":"match:<a>([^<]+)</a>"}}`,
		`{"response":{"access_token":"a.b[0].c","expires":{"path":"urn:x:expires","unit":"h"}}}`,
		`{"response":{"expires":{"form":"date","zone":"Europe/Oslo"},"refresh_expires":{"form":"datetime","zone":"-03:30"}}}`,
		`{"rejected":{"status":[200,401],"body":"code == 7"}}`,
		`{"rotation":{"kind":"omitted","grace":"30s","reuse":"replayed"}}`,
		`{"second_step":{"request":{"url":"https://x.example/login"},"response":{"access_token":"s"}}}`,
		`{"api":{"base_url":"https://api.x.example","inject":[{"header":"X-Key"},{"basic":"me","template":"{{access_token}}"}],"verify":{"path":"/me"}}}`,
	} {
		if err := check(t, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, c := range []struct{ provider, want string }{
		{`{"token_url":"x.example/token"}`, "token_url: "},
		{`{"token_url":"https:///token"}`, "token_url: "},
		{`{"token_url":"ftp://x.example/"}`, "token_url: "},
		{`{"token_url":"https://x.example/a b"}`, "token_url: "},
		{`{"token_url":"https://{tenant}.x.example/"}`, "token_url: "},
		{`{"token_url":"https://u:p@x.example/"}`, "token_url: "},
		{`{"authorization_url":"https://x.example/#a"}`, "authorization_url: "},
		{`{"issuer":"x"}`, "issuer: "},
		{`{"grants":["password","implicit"]}`, "grants[1]: "},
		{`{"client_auth":"post"}`, "client_auth: "},
		{`{"refresh_client_auth":"post"}`, "refresh_client_auth: "},
		{`{"pkce":"plain"}`, "pkce: "},
		{`{"rotation":{"kind":"strict"}}`, "rotation.kind: "},
		{`{"rotation":{"reuse":"ok"}}`, "rotation.reuse: "},
		{`{"request":{"method":"post"}}`, "request.method: "},
		{`{"request":{"body":"xml"}}`, "request.body: "},
		{`{"request":{"body":"{\"a\":1}","params":{"b":"c"}}}`, "request.params: "},
		{`{"refresh_request":{"headers":{"X Key":"v"}}}`, "refresh_request.headers: "},
		{`{"request":{"headers":{"X-Key":"a\r\nB: c"}}}`, "request.headers: "},
		{`{"request":{"url":"/token"}}`, "request.url: "},
		{`{"revocation_request":{"method":"REVOKE"}}`, "revocation_request.method: "},
		{`{"second_step":{"request":{}}}`, "second_step.request.url: "},
		{`{"second_step":{"request":{"url":"https://x.example/"},"response":{"expires":{"unit":"min"}}}}`, "second_step.response.expires.unit: "},
		{`{"response":{"access_token":"header:"}}`, "response.access_token: "},
		{`{"response":{"access_token":"body:x"}}`, "response.access_token: "},
		{`{"response":{"access_token":"match:("}}`, "response.access_token: "},
		{`{"response":{"access_token":"match:abc"}}`, "response.access_token: "},
		{`{"response":{"refresh_token":"a..b"}}`, "response.refresh_token: "},
		{`{"response":{"error":" a"}}`, "response.error: "},
		{`{"response":{"expires":{"form":"iso"}}}`, "response.expires.form: "},
		{`{"response":{"expires":{"form":"at_s","unit":"s"}}}`, "response.expires: "},
		{`{"response":{"expires":{"form":"at_s","zone":"UTC"}}}`, "response.expires.zone: "},
		{`{"response":{"expires":{"form":"date","zone":"Mars/Base"}}}`, "response.expires.zone: "},
		{`{"response":{"expires":{"from":"a..b"}}}`, "response.expires.from: "},
		{`{"response":{"refresh_expires":{"zero":"always"}}}`, "response.refresh_expires.zero: "},
		{`{"refresh_response":{"expires":{"path":"."}}}`, "refresh_response.expires.path: "},
		{`{"rejected":{"status":[4001]}}`, "rejected.status[0]: "},
		{`{"rejected":{"status":[200]}}`, "rejected.body: "},
		{`{"api":{"base_url":"api.x.example"}}`, "api.base_url: "},
		{`{"api":{"inject":{"header":"A","query":"b"}}}`, "api.inject[0]: "},
		{`{"api":{"inject":[{"header":"A"},{"template":"x"}]}}`, "api.inject[1]: "},
		{`{"api":{"inject":{"header":"X Key"}}}`, "api.inject[0].header: "},
		{`{"api":{"verify":{"path":"me"}}}`, "api.verify.path: "},
		{`{"api":{"rejected":{"status":[204]}}}`, "api.rejected.body: "},
	} {
		if err := check(t, c.provider); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error that begins with %q", c.provider, err, c.want)
		}
	}
}

func check(t *testing.T, text string) error {
	t.Helper()
	var p freshet.Provider
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p.Check()
}

func TestExpiryLocation(t *testing.T) {
	winter := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	for zone, want := range map[string]int{"": 0, "UTC": 0, "+08:00": 8 * 3600, "-03:30": -(3*3600 + 1800), "Europe/Oslo": 3600} {
		loc, err := (&freshet.Expiry{Zone: zone}).Location()
		if err != nil {
			t.Errorf("%q: %v", zone, err)
			continue
		}
		if _, offset := winter.In(loc).Zone(); offset != want {
			t.Errorf("%q is %d seconds east, want %d", zone, offset, want)
		}
	}
	for _, zone := range []string{"Local", "Mars/Base", "8", "+8"} {
		if loc, err := (&freshet.Expiry{Zone: zone}).Location(); err == nil {
			t.Errorf("%q is %v, want an error", zone, loc)
		}
	}
}
