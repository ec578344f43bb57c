package catalog

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// A fiction is an API that does not exist and is like many that do: what the
// format must be able to say without a line of code.
type fiction struct {
	name     string
	provider string
	ask      grant.Ask
	held     *freshet.Token

	status  int
	headers map[string]string
	answers []string // one for each request, in order

	method, url string // of the first request
	params      map[string]string
	sends       map[string]string // headers
	body        string            // the whole body, if that is what matters

	access, refresh string
	life            time.Duration // 0: unknown
	session         map[string]string
	check           func(t *testing.T, w *wire, tok *freshet.Token)
}

// jwt returns an unsigned JWT with the claims.
func jwt(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(claims)) + "."
}

var fictions = []fiction{{
	name: "a JSON login, minutes, a list of tokens",
	provider: `
token_url: https://api.hotel.example/v1/sessions
grants: [request]
request: {body: json, params: {user: "{{username}}", pass: "{{password}}", lang: en}}
response: {access_token: "data.tokens[1].value", expires: {path: "data.tokens[1].minutes", unit: m}}`,
	answers: []string{`{"data":{"tokens":[{"value":"device"},{"value":"at-1","minutes":"20"}]}}`},
	method:  "POST", url: "https://api.hotel.example/v1/sessions",
	params: map[string]string{"user": "username-value", "pass": "password-value", "lang": "en"},
	access: "at-1", life: 20 * time.Minute,
}, {
	name: "a form login with names of its own, hours",
	provider: `
token_url: https://{{site}}.shop.example/auth
grants: [password]
client_auth: none
parameter_names: {grant_type: "", username: login, password: pwd, client_id: ""}
response: {access_token: auth_token, expires: {path: valid_hours, unit: h}}
variables: {site: {doc: site, default: north}}`,
	answers: []string{`{"auth_token":"at-2","valid_hours":8}`},
	method:  "POST", url: "https://north.shop.example/auth", body: "login=username-value&pwd=password-value&scope=read+write",
	access: "at-2", life: 8 * time.Hour,
}, {
	name: "an API key in the query of a GET, the token as the whole body",
	provider: `
token_url: https://maps.example/token?v=2
grants: [request]
request: {method: GET, body: query, params: {key: "{{api_key}}"}}
response: {access_token: "body:", expires: {fixed: 1h}}`,
	headers: map[string]string{"Content-Type": "text/plain"},
	answers: []string{"  YWJjZGVm==\n"},
	method:  "GET", url: "https://maps.example/token", params: map[string]string{"key": "api_key-value", "v": "2"},
	access: "YWJjZGVm==", life: time.Hour,
}, {
	name: "a body that is a JSON text",
	provider: `
token_url: https://farm.example/login
grants: [request]
request: {body: '{"u":"{{username}}","device":{"kind":7,"id":"{{uuid}}"}}'}
response: {access_token: "body:"}
default_lifetime: 30m`,
	answers: []string{`"at-4"`},
	method:  "POST", url: "https://farm.example/login", params: map[string]string{"u": "username-value"},
	access: "at-4", life: 30 * time.Minute,
}, {
	name: "XML there and back, a local date and time",
	provider: `
token_url: https://erp.example/xml
grants: [request]
request:
  method: PUT
  body: <login><user>{{username}}</user><pass>{{password}}</pass></login>
  headers: {Content-Type: application/xml, Accept: application/xml}
response:
  access_token: "match:<ticket>([^<]+)</ticket>"
  expires: {path: "match:<until>([^<]+)</until>", form: datetime, zone: "+08:00"}`,
	headers: map[string]string{"Content-Type": "application/xml"},
	answers: []string{"<?xml version='1.0'?><answer>\n<ticket>at-5</ticket><until>2025-12-31 21:00:00</until></answer>"},
	method:  "PUT", url: "https://erp.example/xml", body: "<login><user>username-value</user><pass>password-value</pass></login>",
	sends:  map[string]string{"Accept": "application/xml", "Content-Type": "application/xml"},
	access: "at-5", life: time.Hour,
}, {
	name: "the token in a header of the answer, an instant in its body",
	provider: `
token_url: https://cloud.example/v3/auth/tokens
grants: [request]
request: {body: '{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":{{username | json}},"password":{{password | json}}}}}}}'}
response: {access_token: "header:X-Subject-Token", expires: {path: token.expires_at, form: rfc3339}}`,
	status:  http.StatusCreated,
	headers: map[string]string{"X-Subject-Token": "gAAAA-6"},
	answers: []string{`{"token":{"expires_at":"2025-12-31T13:00:00.000000Z","issued_at":"2025-12-31T12:00:00.000000Z"}}`},
	method:  "POST", url: "https://cloud.example/v3/auth/tokens",
	access: "gAAAA-6", life: time.Hour,
}, {
	name: "Bearer in a header, the lifetime in another, no body",
	provider: `
token_url: https://spring.example/login
grants: [request]
request: {body: json, params: {username: "{{username}}", password: "{{password}}"}}
response: {access_token: "header:Authorization", expires: {path: "header:X-Expires-In"}}`,
	status:  http.StatusNoContent,
	headers: map[string]string{"Authorization": "Bearer at-7", "X-Expires-In": "900"},
	answers: []string{""},
	access:  "at-7", life: 15 * time.Minute,
}, {
	name: "a cookie for a session, an HTTP date",
	provider: `
token_url: https://intranet.example/j_login
grants: [request]
request: {params: {j_username: "{{username}}", j_password: "{{password}}"}}
response: {access_token: "cookie:JSESSIONID", expires: {path: "header:Expires", form: http_date}}`,
	headers: map[string]string{"Set-Cookie": "JSESSIONID=node0-8; Path=/; HttpOnly", "Expires": "Wed, 31 Dec 2025 12:45:00 GMT"},
	answers: []string{"<html>welcome</html>"},
	method:  "POST", body: "j_password=password-value&j_username=username-value",
	access: "node0-8", life: 45 * time.Minute,
}, {
	name: "milliseconds since 1970, camel case, a refresh token beside it",
	provider: `
token_url: https://fleet.example/oauth
grants: [client_credentials]
client_auth: body
parameter_names: {client_id: clientId, client_secret: clientSecret, grant_type: grantType}
request: {body: json}
response: {access_token: accessToken, refresh_token: refreshToken, token_type: tokenType, expires: {path: expiresAt, form: at_ms}, refresh_expires: {path: refreshDays, unit: d}}`,
	answers: []string{`{"accessToken":"at-9","refreshToken":"rt-9","tokenType":"Bearer","expiresAt":1767186000000,"refreshDays":30}`},
	params:  map[string]string{"clientId": "client-1", "clientSecret": "client secret", "grantType": "client_credentials"},
	access:  "at-9", refresh: "rt-9", life: time.Hour,
	check: func(t *testing.T, _ *wire, tok *freshet.Token) {
		if want := instant.Add(30 * day); !tok.RefreshExpiry.Equal(want) {
			t.Errorf("the refresh token expires %v, want %v", tok.RefreshExpiry, want)
		}
	},
}, {
	name: "the lifetime as an ISO 8601 duration",
	provider: `
token_url: https://gov.example/token
grants: [client_credentials]
response: {expires: {path: validity, form: iso_duration}}`,
	answers: []string{`{"access_token":"at-10","validity":"PT1H30M"}`},
	access:  "at-10", life: 90 * time.Minute,
}, {
	name: "a JWT that says itself when it ends",
	provider: `
token_url: https://chat.example/api/login
grants: [request]
request: {body: json, params: {email: "{{username}}", password: "{{password}}"}}
response: {access_token: result.jwt, expires: {form: jwt_exp}}`,
	answers: []string{`{"result":{"jwt":"` + jwt(`{"exp":1767186000}`) + `"}}`},
	access:  jwt(`{"exp":1767186000}`), life: time.Hour,
}, {
	name: "hours, minutes and seconds; seconds as a text with a fraction",
	provider: `
token_url: https://bi.example/signin
grants: [request]
request: {method: PATCH, body: json, params: {token: "{{token_secret}}"}, only: true}
response: {access_token: t, expires: {path: left, form: hms}}`,
	answers: []string{`{"t":"at-12","left":"2:30:00"}`},
	method:  "PATCH", params: map[string]string{"token": "token_secret-value"},
	access: "at-12", life: 150 * time.Minute,
}, {
	name: "a list at the root",
	provider: `
token_url: https://list.example/t
grants: [request]
response: {access_token: "[0].token", expires: {path: "[0].ttl", unit: ms}}`,
	answers: []string{`[{"token":"at-13","ttl":600000}]`},
	access:  "at-13", life: 10 * time.Minute,
}, {
	name: "a renewal that spends the access token in a header",
	provider: `
token_url: https://club.example/login
grants: [request]
request: {body: json, params: {pin: "{{password}}"}}
refresh_request: {method: GET, url: "https://club.example/renew", body: query, only: true, headers: {Authorization: "Token {{access_token}}"}, params: {device: "{{answer.device.id}}"}}
response: {access_token: token, expires: {path: expires}}`,
	held:    &freshet.Token{Access: freshet.NewSecret("at-old"), Answer: freshet.NewSecret(`{"token":"at-old","device":{"id":42}}`), IssuedAt: instant, Expiry: instant.Add(time.Minute)},
	answers: []string{`{"token":"at-14","expires":3600}`},
	method:  "GET", url: "https://club.example/renew", params: map[string]string{"device": "42"}, sends: map[string]string{"Authorization": "Token at-old"},
	access: "at-14", life: time.Hour,
}, {
	name: "a refresh of another method, body and answer",
	provider: `
token_url: https://bank.example/oauth/token
refresh_url: https://bank.example/oauth/renew
client_auth: body
refresh_client_auth: none
refresh_request: {method: PUT, body: json, headers: {X-Request-Id: "{{uuid}}"}, params: {clientId: "{{client_id}}", refreshToken: "{{refresh_token}}", at: "{{now.ms}}"}, only: true}
refresh_response: {access_token: new.access, refresh_token: new.refresh, expires: {path: new.for, unit: s}}
rotation: {kind: always}`,
	ask:     grant.Ask{RefreshToken: freshet.NewSecret("rt-old")},
	answers: []string{`{"new":{"access":"at-15","refresh":"rt-15","for":300}}`},
	method:  "PUT", url: "https://bank.example/oauth/renew", params: map[string]string{"clientId": "client-1", "refreshToken": "rt-old", "at": "1767182400000"},
	access: "at-15", refresh: "rt-15", life: 5 * time.Minute,
}, {
	name: "two steps: a code buys a ticket, the ticket a session",
	provider: `
authorization_url: https://staff.example/authorize
token_url: https://staff.example/token
client_auth: basic
second_step:
  request: {url: "https://rest.staff.example/login", body: query, only: true, params: {access_token: "{{access_token}}", corp: "{{answer.corp.id}}"}}
  response: {access_token: session, expires: {path: ttl, unit: m}}`,
	ask:     grant.Ask{Code: freshet.NewSecret("code-1"), RedirectURI: "https://freshet.example/cb"},
	answers: []string{`{"access_token":"ticket","refresh_token":"rt-16","expires_in":60,"corp":{"id":7}}`, `{"session":"s-16","ttl":30,"rest_url":"https://rest3.staff.example/"}`},
	method:  "POST", url: "https://staff.example/token", params: map[string]string{"code": "code-1", "grant_type": "authorization_code"},
	access: "s-16", refresh: "rt-16", life: 30 * time.Minute,
	session: map[string]string{"rest_url": "https://rest3.staff.example/"},
	check: func(t *testing.T, w *wire, _ *freshet.Token) {
		if len(w.seen) != 2 || w.seen[1].url != "https://rest.staff.example/login" || w.seen[1].params["access_token"] != "ticket" || w.seen[1].params["corp"] != "7" || w.seen[1].body != "" {
			t.Errorf("the second step sends %+v", w.seen[len(w.seen)-1])
		}
	},
}, {
	name: "Basic of three parts, a date",
	provider: `
token_url: https://crm.example/authentication
grants: [request]
request: {method: GET, headers: {Authorization: 'Basic {{api_key ":" username ":" password | base64}}'}}
response: {access_token: user.key, expires: {path: user.until, form: date}}`,
	answers: []string{`{"user":{"key":"at-17","until":"2026-01-01"}}`},
	method:  "GET", sends: map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("api_key-value:username-value:password-value"))},
	access: "at-17", life: 12 * time.Hour,
}, {
	name: "a form answer, a lifetime of zero that means for ever",
	provider: `
token_url: https://music.example/access_token
client_auth: body
pkce: "off"
parameter_names: {client_id: app_id, client_secret: secret, grant_type: ""}
request: {method: GET, body: query}
response: {access_token: token, expires: {path: expires, zero: never}}`,
	ask:     grant.Ask{Code: freshet.NewSecret("code-1"), RedirectURI: "https://freshet.example/cb"},
	answers: []string{"token=at-18&expires=0"},
	method:  "GET", params: map[string]string{"app_id": "client-1", "secret": "client secret", "code": "code-1"}, body: "",
	access: "at-18",
}, {
	name: "a JWT of ours as the key to a login",
	provider: `
token_url: https://apps.example/installations/{{site}}/tokens
grants: [request]
request: {body: json, headers: {Authorization: "Bearer {{assertion}}"}, params: {scopes: "{{scope}}"}}
assertion: {algorithm: RS256, audience: apps, lifetime: 9m, claims: {site: "{{site}}"}}
response: {access_token: token, expires: {path: expires_at, form: rfc3339}}
variables: {site: {doc: number, default: "42"}}`,
	answers: []string{`{"token":"at-19","expires_at":"2025-12-31T13:00:00Z"}`},
	url:     "https://apps.example/installations/42/tokens", params: map[string]string{"scopes": "read write"},
	access: "at-19", life: time.Hour,
	check: func(t *testing.T, w *wire, _ *freshet.Token) {
		parts := strings.Split(strings.TrimPrefix(w.seen[0].header.Get("Authorization"), "Bearer "), ".")
		if len(parts) != 3 {
			t.Fatalf("Authorization %q holds no JWT", w.seen[0].header.Get("Authorization"))
		}
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		for _, want := range []string{`"aud":"apps"`, `"site":"42"`, `"iss":"client-1"`, fmt.Sprintf(`"exp":%d`, instant.Add(9*time.Minute).Unix())} {
			if !strings.Contains(string(claims), want) {
				t.Errorf("claims %s, want %s", claims, want)
			}
		}
	},
}, {
	name: "status 200 for everything, and a predicate",
	provider: `
token_url: https://pay.example/token
grants: [client_credentials]
client_auth: body
parameter_names: {client_id: appKey, client_secret: appSecret, grant_type: ""}
response: {success: 'errcode == nil || errcode == "0"', access_token: result.token, expires: {path: result.expire_at, form: at_s}, error: errcode, error_description: errmsg}`,
	answers: []string{`{"errcode":"0","result":{"token":"at-20","expire_at":"1767186000"}}`},
	params:  map[string]string{"appKey": "client-1", "appSecret": "client secret"},
	access:  "at-20", life: time.Hour,
}}

// TestFictionsBecomeTokens runs providers that nobody has heard of through the
// real sender.
func TestFictionsBecomeTokens(t *testing.T) {
	for _, f := range fictions {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p, err := Decode([]byte(f.provider))
			if err != nil {
				t.Fatal(err)
			}
			p.Name = "fiction"
			n := 0
			w := newWire(t, func(rw http.ResponseWriter, _ *http.Request) {
				for k, v := range f.headers {
					rw.Header().Set(k, v)
				}
				if f.status != 0 {
					rw.WriteHeader(f.status)
				}
				if f.status != http.StatusNoContent {
					io.WriteString(rw, f.answers[min(n, len(f.answers)-1)])
				}
				n++
			})
			ask := f.ask
			ask.Previous = f.held
			d := definition(p)
			if f.held != nil {
				d.Connection.Grant = freshet.GrantAuthorizationCode // nobody to log in again
			}
			out := w.sender.Ask(t.Context(), d, ask)
			if out.Err != nil {
				t.Fatalf("Ask: %v", out.Err)
			}
			s := w.seen[0]
			if f.method != "" && s.method != f.method || f.url != "" && s.url != f.url {
				t.Errorf("%s %s, want %s %s", s.method, s.url, f.method, f.url)
			}
			for k, v := range f.params {
				if got := fmt.Sprint(s.params[k]); got != v {
					t.Errorf("%s=%s, want %s", k, got, v)
				}
			}
			for k, v := range f.sends {
				if got := s.header.Get(k); got != v {
					t.Errorf("%s: %s, want %s", k, got, v)
				}
			}
			if f.body != "" && s.body != f.body {
				t.Errorf("body %q, want %q", s.body, f.body)
			}
			tok := out.Token
			if got := tok.Access.Reveal(); got != f.access {
				t.Errorf("access token %q, want %q", got, f.access)
			}
			if got := tok.Refresh.Reveal(); got != f.refresh {
				t.Errorf("refresh token %q, want %q", got, f.refresh)
			}
			if got := tok.Lifetime(); got != f.life {
				t.Errorf("lives %v, want %v", got, f.life)
			}
			for k, v := range f.session {
				if got := tok.Session[k]; got.Reveal() != v {
					t.Errorf("session.%s = %q, want %q", k, got.Reveal(), v)
				}
			}
			if f.check != nil {
				f.check(t, w, tok)
			}
		})
	}
}

// TestFictionsRefuse is about errors in shapes of their own.
func TestFictionsRefuse(t *testing.T) {
	const provider = `
token_url: https://pay.example/token
grants: [request]
request: {body: json, params: {key: "{{api_key}}"}}
response:
  success: code == 0
  access_token: data.token
  error: code
  error_description: message
  error_codes: {"1001": invalid_grant, "1002": invalid_client, "1003": rate_limited, "1004": temporarily_unavailable}`
	for _, c := range []struct {
		status int
		answer string
		class  grant.Class
		code   string
	}{
		{200, `{"code":1001,"message":"ticket is void","data":{}}`, grant.Permanent, "invalid_grant"},
		{200, `{"code":"1002","message":"unknown key"}`, grant.Misconfigured, "invalid_client"},
		{200, `{"code":1003,"message":"slower"}`, grant.Retryable, "rate_limited"},
		{503, `{"code":1004,"message":"later"}`, grant.Retryable, "temporarily_unavailable"},
		{400, `{"code":1002,"message":"unknown key"}`, grant.Misconfigured, "invalid_client"},
		{200, `{"code":1002,"data":{"token":"at-no"}}`, grant.Misconfigured, "invalid_client"},
	} {
		t.Run(c.answer, func(t *testing.T) {
			p, err := Decode([]byte(provider))
			if err != nil {
				t.Fatal(err)
			}
			w := newWire(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				io.WriteString(w, c.answer)
			})
			out := w.sender.Ask(t.Context(), definition(p), grant.Ask{})
			if out.Err == nil {
				t.Fatal("is taken for a token")
			}
			if out.Err.Class != c.class || out.Err.Code != c.code {
				t.Errorf("%s (%s), want %s (%s)", out.Err.Class, out.Err.Code, c.class, c.code)
			}
		})
	}
}

// TestOthersBecomeTokens does for the entries without a fact what
// TestExamplesBecomeTokens does for the rest.
func TestOthersBecomeTokens(t *testing.T) {
	for _, c := range []struct {
		name, answer    string
		access, refresh string
		life            time.Duration
		param, value    string // one that the request must hold
	}{
		{"slack-user", `{"ok":true,"access_token":"bot","refresh_token":"bot-rt","expires_in":1,"authed_user":{"id":"U1","scope":"search:read","access_token":"person","refresh_token":"person-rt","expires_in":43200,"token_type":"user"}}`,
			"person", "person-rt", 12 * time.Hour, "code", "code-1"},
		{"amazon-cognito", `{"access_token":"at","refresh_token":"rt","id_token":"jwt","expires_in":3600,"token_type":"Bearer"}`, "at", "rt", time.Hour, "code", "code-1"},
		{"ringcentral", `{"access_token":"at","refresh_token":"rt","expires_in":3600,"refresh_token_expires_in":604800,"token_type":"bearer","scope":"ReadAccounts","owner_id":"1"}`, "at", "rt", time.Hour, "code", "code-1"},
		{"zoom-server", `{"access_token":"at","token_type":"bearer","expires_in":3599,"scope":"user:read"}`, "at", "", 3599 * time.Second, "grant_type", "account_credentials"},
		{"github-app", `{"token":"ghs_x","expires_at":"2025-12-31T13:00:00Z","permissions":{"issues":"write"}}`, "ghs_x", "", time.Hour, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, ok := Provider(c.name)
			if !ok {
				t.Fatal("is not in the catalogue")
			}
			w := newWire(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, c.answer) })
			out := w.sender.Ask(t.Context(), definition(p), obtain(p))
			if out.Err != nil {
				t.Fatalf("Ask: %v", out.Err)
			}
			if got := out.Token; got.Access.Reveal() != c.access || got.Refresh.Reveal() != c.refresh || !got.Expiry.Equal(instant.Add(c.life)) {
				t.Errorf("token %q, %q until %v", got.Access.Reveal(), got.Refresh.Reveal(), got.Expiry)
			}
			if c.param != "" && fmt.Sprint(w.seen[0].params[c.param]) != c.value {
				t.Errorf("%s=%v, want %s", c.param, w.seen[0].params[c.param], c.value)
			}
			if c.name == "github-app" && strings.Count(w.seen[0].header.Get("Authorization"), ".") != 2 {
				t.Errorf("Authorization %q holds no JWT", w.seen[0].header.Get("Authorization"))
			}
		})
	}
}
