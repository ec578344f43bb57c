package grant

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

const bodyAuth = "client_id=the+id&client_secret=p%26ss%3Dw%25rd%2B%C3%A9%3Ax"

func creds(kv ...string) map[string]freshet.Secret {
	m := map[string]freshet.Secret{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = secret(kv[i+1])
	}
	return m
}

func sep(s string) *string { return &s }

// jsonPost is a JSON POST as it must arrive.
func jsonPost(path, body string) string {
	return strings.Replace(form(path, body), "application/x-www-form-urlencoded", "application/json", 1)
}

// bare is a request without a body.
func bare(method, target string) string {
	length := ""
	if method != http.MethodGet {
		length = "Content-Length: 0\n"
	}
	return fmt.Sprintf("%s %s HTTP/1.1\nAccept: application/json\nConnection: close\n%sUser-Agent: freshet/1.2\n\n", method, target, length)
}

// Each row is one request, byte for byte but for the order of headers.
func TestWire(t *testing.T) {
	refresh := Ask{RefreshToken: secret("RT+/=1"), Scope: "stored one"}
	for _, c := range []struct {
		name string
		edit func(*freshet.Definition)
		ask  Ask
		want string
	}{
		{"cap038 refresh, and nothing unasked for", nil, refresh,
			form("/token", "grant_type=refresh_token&refresh_token=RT%2B%2F%3D1&"+bodyAuth)},
		{"cap039 scope from the stored token set", func(d *freshet.Definition) { d.Provider.SendScope = true }, refresh,
			form("/token", "grant_type=refresh_token&refresh_token=RT%2B%2F%3D1&scope=stored+one&"+bodyAuth)},
		{"cap039 scope that was configured, when none is stored", func(d *freshet.Definition) {
			d.Provider.SendScope = true
			d.Connection.Scopes = []string{"a", "b"}
		}, Ask{RefreshToken: secret("r")}, form("/token", "grant_type=refresh_token&refresh_token=r&scope=a+b&"+bodyAuth)},
		{"cap039 no scope without being told", func(d *freshet.Definition) { d.Connection.Scopes = []string{"a"} }, Ask{RefreshToken: secret("r")},
			form("/token", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap042 more form parameters on a refresh", func(d *freshet.Definition) { d.Provider.RefreshParams = freshet.Values{"format": "json", "a&b": "c=d"} }, Ask{RefreshToken: secret("r")},
			form("/token", "grant_type=refresh_token&refresh_token=r&"+bodyAuth+"&a%26b=c%3Dd&format=json")},
		{"refresh_params go with a refresh only", func(d *freshet.Definition) {
			d.Provider.RefreshParams = freshet.Values{"type": "refresh"}
			d.Provider.Request.Params = freshet.Values{"type": "web_server"}
			d.Connection.Grant = freshet.GrantClientCredentials
		}, Ask{}, form("/token", "grant_type=client_credentials&"+bodyAuth+"&type=web_server")},
		{"refresh_params over params", func(d *freshet.Definition) {
			d.Provider.RefreshParams = freshet.Values{"type": "refresh"}
			d.Provider.Request.Params = freshet.Values{"type": "web_server"}
			d.Provider.ParameterNames = freshet.Values{"grant_type": ""}
		}, Ask{RefreshToken: secret("r")}, form("/token", "refresh_token=r&"+bodyAuth+"&type=refresh")},
		{"cap043 token URL keeps its query", func(d *freshet.Definition) { d.Provider.TokenURL += "?p=b2c_1%2Fx&q=a;b" }, Ask{RefreshToken: secret("r")},
			form("/token?p=b2c_1%2Fx&q=a;b", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap043 per connection", func(d *freshet.Definition) {
			d.Connection.TokenURL = strings.Replace(d.Provider.TokenURL, "/token", "/common/oauth2/v2.0/token?x=1", 1)
		}, Ask{RefreshToken: secret("r")}, form("/common/oauth2/v2.0/token?x=1", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap043 another URL for the refresh", func(d *freshet.Definition) {
			d.Provider.RefreshURL = strings.Replace(d.Provider.TokenURL, "/token", "/refresh?v=2", 1)
		}, Ask{RefreshToken: secret("r")}, form("/refresh?v=2", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap043 the connection's refresh URL goes before all", func(d *freshet.Definition) {
			d.Provider.RefreshURL = "http://127.0.0.1:1/never"
			d.Connection.TokenURL = "http://127.0.0.1:1/never"
			d.Connection.RefreshURL = strings.Replace(d.Provider.TokenURL, "/token", "/mine", 1)
		}, Ask{RefreshToken: secret("r")}, form("/mine", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap044 secrets arrive intact with basic", func(d *freshet.Definition) { d.Provider.ClientAuth = freshet.AuthBasic }, refresh,
			basic("/token", "grant_type=refresh_token&refresh_token=RT%2B%2F%3D1")},
		{"cap048 JSON body", func(d *freshet.Definition) { d.Provider.Request.Body = "json" }, Ask{RefreshToken: secret("r\"<")},
			jsonPost("/token", `{"grant_type":"refresh_token","refresh_token":"r\"<","client_id":"the id","client_secret":"p&ss=w%rd+é:x"}`)},
		{"cap048 GET", func(d *freshet.Definition) { d.Provider.Request.Method = "GET" }, Ask{RefreshToken: secret("r")},
			bare("GET", "/token?grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap048 POST with everything in the query", func(d *freshet.Definition) {
			d.Provider.Request.Body = "query"
			d.Provider.TokenURL += "?a=%41"
		}, Ask{RefreshToken: secret("r")},
			bare("POST", "/token?a=%41&grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"PUT", func(d *freshet.Definition) {
			d.Provider.Request = freshet.TokenRequest{Method: "PUT", Body: "query", Only: true, Params: freshet.Values{"consumerToken": "{{consumer_token}}", "expirationDate": "{{in.5d.date}}"}}
			d.Connection.Grant = freshet.GrantRequest
			d.Connection.Credentials = creds("consumer_token", "c&t")
		}, Ask{}, bare("PUT", "/token?consumerToken=c%26t&expirationDate=2026-10-26")},
		{"a template as the body of the refresh", func(d *freshet.Definition) {
			d.Provider.RefreshRequest = &freshet.TokenRequest{Body: `{"token":{{refresh_token | json}},"secret":"{{client_secret}}","at":{{now.s}}}`}
		}, Ask{RefreshToken: secret(`r"1`)}, jsonPost("/token", `{"token":"r\"1","secret":"p&ss=w%rd+é:x","at":1792567620}`)},
		{"params beside a template body are its query", func(d *freshet.Definition) {
			d.Provider.Request = freshet.TokenRequest{Body: "u={{username}}", Params: freshet.Values{"v": "1"}}
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = freshet.AuthNone
			d.Connection.Credentials = creds("username", "a&b")
		}, Ask{}, form("/token?v=1", "u=a%26b")},
		{"cap026 client credentials", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantClientCredentials
			d.Connection.Scopes = []string{"read", "write"}
			d.Provider.ClientAuth = ""
		}, Ask{}, basic("/token", "grant_type=client_credentials&scope=read+write")},
		{"client credentials renew anew, whatever refresh token there is", func(d *freshet.Definition) { d.Connection.Grant = freshet.GrantClientCredentials }, Ask{RefreshToken: secret("r")},
			form("/token", "grant_type=client_credentials&"+bodyAuth)},
		{"cap026 password", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantPassword
			d.Connection.Credentials = creds("username", "ü@x", "password", "p w")
			d.Connection.Scopes = []string{"read"}
		}, Ask{}, form("/token", "grant_type=password&username=%C3%BC%40x&password=p+w&scope=read&"+bodyAuth)},
		{"password with a stored refresh token spends that", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantPassword
			d.Connection.Credentials = creds("username", "u", "password", "p")
		}, Ask{RefreshToken: secret("r")}, form("/token", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"cap026 a login with a body of its own", func(d *freshet.Definition) {
			d.Provider.ClientAuth = ""
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.Request = freshet.TokenRequest{Body: `{"username":{{username | json}},"password":{{password | json}}}`, Headers: freshet.Values{"Content-Type": "application/json", "X-Tenant": "{{tenant}}"}}
			d.Connection.Credentials = creds("username", `a"b`, "password", "p")
			d.Connection.Variables = map[string]string{"tenant": "contoso"}
		}, Ask{}, strings.Replace(jsonPost("/token", `{"username":"a\"b","password":"p"}`), "freshet/1.2\n", "freshet/1.2\nX-Tenant: contoso\n", 1)},
		{"cap029 any names, JSON, literal and stored values mixed", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = freshet.AuthNone
			d.Provider.Request = freshet.TokenRequest{Body: "json", Params: freshet.Values{"E-Mail": "{{email}}", "kind": "user", "note": "to {{email}}"}}
			d.Connection.Credentials = creds("email", "a@b.example")
		}, Ask{}, jsonPost("/token", `{"E-Mail":"a@b.example","kind":"user","note":"to a@b.example"}`)},
		{"cap029 any names, form, refresh", func(d *freshet.Definition) {
			d.Provider.RefreshRequest = &freshet.TokenRequest{Only: true, Params: freshet.Values{"redirect_url": "{{redirect}}", "grant_type": "refresh_token", "refresh_token": "{{refresh_token}}", "client_id": "{{client_id}}", "client_secret": "{{client_secret}}"}}
			d.Connection.Variables = map[string]string{"redirect": "https://app.example/cb"}
		}, Ask{RefreshToken: secret("r")}, form("/token", bodyAuth+"&grant_type=refresh_token&redirect_url=https%3A%2F%2Fapp.example%2Fcb&refresh_token=r")},
		{"a login that can be refreshed", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = ""
			d.Provider.Request = freshet.TokenRequest{Body: "json", Params: freshet.Values{"user": "{{username}}"}}
			d.Provider.RefreshRequest = &freshet.TokenRequest{Body: "json", Only: true, Params: freshet.Values{"refreshToken": "{{refresh_token}}"}}
		}, Ask{RefreshToken: secret("r")}, jsonPost("/token", `{"refreshToken":"r"}`)},
		{"a login that cannot be refreshed is made again", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = freshet.AuthNone
			d.Provider.Request = freshet.TokenRequest{Only: true, Headers: freshet.Values{"Authorization": "Bearer {{user_jwt}}"}}
			d.Connection.Credentials = creds("user_jwt", "j.w.t")
		}, Ask{RefreshToken: secret("r")}, strings.Replace(bare("POST", "/token"), "Connection", "Authorization: Bearer j.w.t\nConnection", 1)},
		{"an access token that renews itself", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantAuthorizationCode
			d.Provider.RefreshRequest = &freshet.TokenRequest{Method: "GET", Only: true, Params: freshet.Values{"grant_type": "ig_refresh_token", "access_token": "{{access_token}}"}}
		}, Ask{Previous: &freshet.Token{Access: secret("A/T")}}, bare("GET", "/token?access_token=A%2FT&grant_type=ig_refresh_token")},
		{"the answer that the token came with", func(d *freshet.Definition) {
			d.Provider.RefreshParams = freshet.Values{"shop": "{{answer.shop.id}}", "n": "{{answer.list[1]}}"}
		}, Ask{RefreshToken: secret("r"), Previous: &freshet.Token{Access: secret("a"), Answer: secret(`{"shop":{"id":12345678901234567890},"list":["x","y"]}`)}},
			form("/token", "grant_type=refresh_token&refresh_token=r&"+bodyAuth+"&n=y&shop=12345678901234567890")},
		{"authorization code", func(d *freshet.Definition) { d.Connection.Scopes = []string{"read"} },
			Ask{Code: secret("c/1"), Verifier: secret("v-1"), RedirectURI: "https://f.example/callback/oauth2"},
			form("/token", "grant_type=authorization_code&code=c%2F1&redirect_uri=https%3A%2F%2Ff.example%2Fcallback%2Foauth2&code_verifier=v-1&"+bodyAuth)},
		{"authorization code of a public client", func(d *freshet.Definition) {
			d.Client.Secret = freshet.Secret{}
			d.Provider.ClientAuth = ""
		}, Ask{Code: secret("c"), Verifier: secret("v")}, form("/token", "grant_type=authorization_code&code=c&code_verifier=v&client_id=the+id")},
		{"the grant refresh_token begins with the credential", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRefreshToken
			d.Connection.Credentials = creds("refresh_token", "first")
		}, Ask{}, form("/token", "grant_type=refresh_token&refresh_token=first&"+bodyAuth)},
		{"a stored refresh token goes before the credential", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRefreshToken
			d.Connection.Credentials = creds("refresh_token", "first")
			d.Provider.RefreshRequest = &freshet.TokenRequest{Only: true, Params: freshet.Values{"t": "{{refresh_token}}"}}
		}, Ask{RefreshToken: secret("second")}, form("/token", "t=second")},
		{"device code", func(d *freshet.Definition) { d.Client.Secret = freshet.Secret{} }, Ask{DeviceCode: secret("d c")},
			form("/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d+c&client_id=the+id")},
		{"token exchange", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantTokenExchange
			d.Connection.Credentials = creds("subject_token", "s t", "audience", "api", "resource", "https://r.example")
			d.Connection.Scopes = []string{"x"}
		}, Ask{}, form("/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=s+t&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&audience=api&resource=https%3A%2F%2Fr.example&scope=x&"+bodyAuth)},
		{"token exchange with an actor", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantTokenExchange
			d.Connection.Credentials = creds("subject_token", "s", "subject_token_type", "urn:x:jwt", "actor_token", "a", "requested_token_type", "urn:y")
		}, Ask{}, form("/token", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=s&subject_token_type=urn%3Ax%3Ajwt&actor_token=a&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&requested_token_type=urn%3Ay&"+bodyAuth)},
		{"parameter names, comma between scopes", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantClientCredentials
			d.Connection.Scopes = []string{"a", "b"}
			d.Provider.ScopeSeparator = sep(",")
			d.Provider.ParameterNames = freshet.Values{"client_id": "appid", "client_secret": "secret", "scope": "perms", "grant_type": ""}
			d.Client.Secret = secret("s")
		}, Ask{}, form("/token", "perms=a%2Cb&appid=the+id&secret=s")},
		{"a parameter that replaces a standard one, and one that renders to nothing", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantClientCredentials
			d.Connection.Scopes = []string{"a"}
			d.Provider.Variables = map[string]freshet.Variable{"audience": {Optional: true}}
			d.Provider.Request.Params = freshet.Values{"grant_type": "client_credential", "scope": "", "audience": "{{audience}}"}
		}, Ask{}, form("/token", "grant_type=client_credential&"+bodyAuth)},
		{"only: none of the standard parameters", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantClientCredentials
			d.Provider.Request = freshet.TokenRequest{Only: true, Params: freshet.Values{"a": "1"}}
		}, Ask{}, form("/token", "a=1")},
		{"only keeps the authentication of a header", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantClientCredentials
			d.Provider.ClientAuth = freshet.AuthBasic
			d.Provider.Request = freshet.TokenRequest{Only: true, Params: freshet.Values{"a": "1"}}
		}, Ask{}, basic("/token", "a=1")},
		{"another authentication for the refresh", func(d *freshet.Definition) { d.Provider.RefreshClientAuth = freshet.AuthBasic }, Ask{RefreshToken: secret("r")},
			basic("/token", "grant_type=refresh_token&refresh_token=r")},
		{"a client in place", func(d *freshet.Definition) {
			d.Client = freshet.Client{}
			d.Connection.Client, d.Connection.ID, d.Connection.Secret = "", "own", secret("sec")
		}, Ask{RefreshToken: secret("r")}, form("/token", "grant_type=refresh_token&refresh_token=r&client_id=own&client_secret=sec")},
		{"cap040 variables: connection, client, default, in host, path and query", func(d *freshet.Definition) {
			u, _ := url.Parse(d.Provider.TokenURL)
			d.Provider.TokenURL = "http://{{host}}/{{tenant}}/{{ver}}/token?p={{policy}}"
			d.Connection.Variables = map[string]string{"tenant": "con toso"}
			d.Client.Variables = map[string]string{"host": u.Host, "tenant": "never"}
			d.Provider.Variables = map[string]freshet.Variable{"ver": {Default: "v2"}, "policy": {Default: "a b"}, "tenant": {Default: "never"}}
		}, Ask{RefreshToken: secret("r")}, form("/con%20toso/v2/token?p=a+b", "grant_type=refresh_token&refresh_token=r&"+bodyAuth)},
		{"headers: the client's over the request's, optional ones left out", func(d *freshet.Definition) {
			d.Provider.Request.Headers = freshet.Values{"X-A": "1", "X-B": "{{b}}", "Accept": "application/vnd.github+json"}
			d.Provider.Variables = map[string]freshet.Variable{"b": {Optional: true}}
			d.Client.RequestHeaders = map[string]string{"X-A": "{{client_id}}", "user-agent": "agent (me@x.example)"}
		}, Ask{RefreshToken: secret("r")}, "POST /token HTTP/1.1\nAccept: application/vnd.github+json\nConnection: close\nContent-Length: 100\nContent-Type: application/x-www-form-urlencoded\nUser-Agent: agent (me@x.example)\nX-A: the id\n\ngrant_type=refresh_token&refresh_token=r&" + bodyAuth},
		{"basic of joined credentials", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = freshet.AuthNone
			d.Provider.Request = freshet.TokenRequest{Method: "GET", Headers: freshet.Values{"Authorization": `Basic {{api_key ":" username | base64}}`}}
			d.Connection.Credentials = creds("api_key", "k", "username", "ü")
		}, Ask{}, strings.Replace(bare("GET", "/token"), "Connection", "Authorization: Basic azrDvA==\nConnection", 1)},
		{"XML login", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.ClientAuth = freshet.AuthNone
			d.Provider.Request = freshet.TokenRequest{Body: "<login><u>{{username}}</u></login>"}
			d.Connection.Credentials = creds("username", "a<b&c")
		}, Ask{}, strings.Replace(form("/token", "<login><u>a&lt;b&amp;c</u></login>"), "application/x-www-form-urlencoded", "text/xml; charset=utf-8", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, nil)
			out := sender().Ask(t.Context(), define(srv.URL, c.edit), c.ask)
			mustToken(t, out)
			got := srv.requests()
			if len(got) != 1 {
				t.Fatalf("%d requests, want 1", len(got))
			}
			if got[0] != c.want {
				t.Errorf("request:\n%s\nwant:\n%s", got[0], c.want)
			}
		})
	}
}

// What cannot be asked for is refused before anything is sent, by name.
func TestRefusedBeforeSending(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*freshet.Definition)
		ask  Ask
		code string
		says string
	}{
		{"cap040 unfilled variable in a URL", func(d *freshet.Definition) { d.Provider.TokenURL = "https://{{subdomain}}.example/token" }, Ask{RefreshToken: secret("r")}, "missing_value", "provider acme: token_url:1:11: subdomain has no value"},
		{"cap040 variable without a value", func(d *freshet.Definition) {
			d.Provider.TokenURL = "https://{{subdomain}}.example/token"
			d.Provider.Variables = map[string]freshet.Variable{"subdomain": {Doc: "yours"}}
			d.Connection.Variables = map[string]string{"subdomain": ""}
		}, Ask{RefreshToken: secret("r")}, "missing_value", "subdomain"},
		{"cap040 optional variable leaves no hole in a URL", func(d *freshet.Definition) {
			d.Provider.TokenURL = "https://{{subdomain}}.example/token"
			d.Provider.Variables = map[string]freshet.Variable{"subdomain": {Optional: true}}
		}, Ask{RefreshToken: secret("r")}, "bad_template", "subdomain: the value is empty"},
		{"cap040 missing credential in a template", func(d *freshet.Definition) {
			d.Connection.Grant = freshet.GrantRequest
			d.Provider.Request.Body = `{"u":{{username | json}}}`
		}, Ask{}, "missing_value", "provider acme: request.body:1:8: username has no value"},
		{"cap040 missing client secret in a template", func(d *freshet.Definition) {
			d.Client.Secret = freshet.Secret{}
			d.Provider.Request = freshet.TokenRequest{Only: true, Params: freshet.Values{"s": "{{client_secret}}"}}
			d.Connection.Grant = freshet.GrantClientCredentials
		}, Ask{}, "missing_value", "provider acme: request.params.s:1:3: client_secret has no value"},
		{"password without a user name", func(d *freshet.Definition) { d.Connection.Grant = freshet.GrantPassword }, Ask{}, "missing_credential", "connection crm: grant password needs credentials.username"},
		{"token exchange without a subject", func(d *freshet.Definition) { d.Connection.Grant = freshet.GrantTokenExchange }, Ask{}, "missing_credential", "credentials.subject_token"},
		{"S21 user in the token URL", func(d *freshet.Definition) { d.Provider.TokenURL = "https://id:hush@h.example/token" }, Ask{RefreshToken: secret("r")}, "bad_url", "user or password"},
		{"S21 fragment in the token URL", func(d *freshet.Definition) { d.Provider.TokenURL += "#x" }, Ask{RefreshToken: secret("r")}, "bad_url", "fragment"},
		{"S20 scheme", func(d *freshet.Definition) { d.Provider.TokenURL = "ftp://h.example/token" }, Ask{RefreshToken: secret("r")}, "bad_url", `scheme "ftp"`},
		{"not a URL", func(d *freshet.Definition) { d.Provider.TokenURL = "https://h.example/%zz?hush" }, Ask{RefreshToken: secret("r")}, "bad_url", "provider acme: token_url is not a URL"},
		{"no token URL", func(d *freshet.Definition) { d.Provider.TokenURL = "" }, Ask{RefreshToken: secret("r")}, "no_token_url", "provider acme has no token_url"},
		{"S33 control characters in a header", func(d *freshet.Definition) {
			d.Client.RequestHeaders = map[string]string{"X-A": "{{v}}"}
			d.Connection.Variables = map[string]string{"v": "x\r\nEvil: 1"}
		}, Ask{RefreshToken: secret("r")}, "bad_template", "client acme: headers.X-A:1:1: v: byte 2 may not stand in a header"},
		{"S33 literal control characters", func(d *freshet.Definition) { d.Client.RequestHeaders = map[string]string{"X-A": "x\ny"} }, Ask{RefreshToken: secret("r")}, "bad_header", "byte 2"},
		{"S13 an idempotency key would let the transport repeat", func(d *freshet.Definition) { d.Provider.Request.Headers = freshet.Values{"idempotency-key": "1"} }, Ask{RefreshToken: secret("r")}, "bad_header", "idempotency-key"},
		{"S25 hop-by-hop headers", func(d *freshet.Definition) {
			d.Provider.Request.Headers = freshet.Values{"Connection": "Authorization"}
		}, Ask{RefreshToken: secret("r")}, "bad_header", "Connection"},
		{"method", func(d *freshet.Definition) { d.Provider.Request.Method = "CONNECT" }, Ask{RefreshToken: secret("r")}, "bad_method", "CONNECT"},
		{"unknown client_auth", func(d *freshet.Definition) { d.Provider.ClientAuth = "digest" }, Ask{RefreshToken: secret("r")}, "bad_client_auth", `"digest"`},
		{"secret without an id", func(d *freshet.Definition) { d.Client.ID = ""; d.Provider.ClientAuth = freshet.AuthBasic }, Ask{RefreshToken: secret("r")}, "no_client_id", "client acme"},
		{"unknown grant", func(d *freshet.Definition) { d.Connection.Grant = "magic" }, Ask{}, "unknown_grant", "connection crm"},
		{"unsupported provider", func(d *freshet.Definition) { d.Provider.Unsupported = "OAuth 1 signs each request" }, Ask{RefreshToken: secret("r")}, "unsupported_provider", "OAuth 1"},
		{"unknown filter", func(d *freshet.Definition) { d.Provider.RefreshParams = freshet.Values{"a": "{{uuid | upper}}"} }, Ask{RefreshToken: secret("r")}, "bad_template", `filter "upper"`},
		{"second step without URL", func(d *freshet.Definition) { d.Provider.TokenURL = ""; d.Provider.SecondStep = &freshet.SecondStep{} }, Ask{RefreshToken: secret("r")}, "no_token_url", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, nil)
			d := define(srv.URL, nil)
			c.edit(d)
			e := mustFail(t, sender().Ask(t.Context(), d, c.ask), Misconfigured, c.code)
			if !strings.Contains(e.Detail, c.says) {
				t.Errorf("detail %q does not say %q", e.Detail, c.says)
			}
			if strings.Contains(e.Error(), "hush") {
				t.Errorf("the error shows a secret: %v", e)
			}
			if e.Uncertain {
				t.Error("uncertain, but nothing was sent")
			}
			if n := len(srv.requests()); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

func TestNoRefreshToken(t *testing.T) {
	srv := record(t, nil)
	for _, g := range []freshet.GrantType{freshet.GrantAuthorizationCode, freshet.GrantDeviceCode, freshet.GrantRefreshToken, ""} {
		t.Run("cap078 "+string(g), func(t *testing.T) {
			e := mustFail(t, sender().Ask(t.Context(), define(srv.URL, func(d *freshet.Definition) { d.Connection.Grant = g }), Ask{Previous: &freshet.Token{Access: secret("a")}}), Permanent, "no_refresh_token")
			if !strings.Contains(e.Detail, "refresh_token") || !strings.Contains(e.Detail, "crm") {
				t.Errorf("detail %q names neither the parameter nor the connection", e.Detail)
			}
		})
	}
	if n := len(srv.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestTemplateValuesAreFreshForEachRequest(t *testing.T) {
	srv := record(t, nil)
	d := define(srv.URL, func(d *freshet.Definition) {
		d.Provider.RefreshParams = freshet.Values{"nonce": "{{uuid}}", "again": "{{uuid}}", "ms": "{{now.ms}}", "at": "{{now.rfc3339}}"}
	})
	s := sender()
	seen := map[string]bool{}
	for range 2 {
		mustToken(t, s.Ask(t.Context(), d, Ask{RefreshToken: secret("r")}))
	}
	for _, r := range srv.requests() {
		_, body, _ := strings.Cut(r, "\n\n")
		q, err := url.ParseQuery(body)
		if err != nil {
			t.Fatal(err)
		}
		if q.Get("nonce") != q.Get("again") || len(q.Get("nonce")) != 36 || seen[q.Get("nonce")] {
			t.Errorf("uuid %q: want one new UUID for each request", q.Get("nonce"))
		}
		seen[q.Get("nonce")] = true
		if q.Get("ms") != "1792567620000" || q.Get("at") != "2026-10-21T07:27:00Z" {
			t.Errorf("now is %s and %s", q.Get("ms"), q.Get("at"))
		}
	}
}

func TestCap045_answer_is_JSON_whatever_its_type(t *testing.T) {
	srv := record(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/bad" {
			io.WriteString(w, "<html>sorry, RT-HUSH-0001 was bad</html>")
			return
		}
		io.WriteString(w, goodAnswer)
	})
	tok := mustToken(t, sender().Ask(t.Context(), define(srv.URL, nil), Ask{RefreshToken: secret("RT-HUSH-0001")}))
	if tok.Access.Reveal() != "at-1" {
		t.Error("cap045: the token was not read")
	}
	out := sender().Ask(t.Context(), define(srv.URL, func(d *freshet.Definition) { d.Connection.RefreshURL = srv.URL + "/bad" }), Ask{RefreshToken: secret("RT-HUSH-0001")})
	e := mustFail(t, out, Retryable, "unparseable_body")
	if !strings.Contains(e.Detail, "<html>sorry") || strings.Contains(e.Detail, "HUSH") {
		t.Errorf("cap045: detail %q should hold the first bytes, masked", e.Detail)
	}
}
