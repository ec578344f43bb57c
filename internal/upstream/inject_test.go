package upstream

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

func TestCap002_one_Authorization_header(t *testing.T) {
	api := newAPI(t, nil)
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	tr := newTransport(t)
	t.Run("cap002 Bearer, one space, the token", func(t *testing.T) {
		for _, want := range []string{"token-1", "token-2"} {
			do(t, tr, acc, &Call{Target: "/x"})
			r, _ := api.call(api.calls() - 1)
			if got := r.Header["Authorization"]; !slices.Equal(got, []string{"Bearer " + want}) {
				t.Errorf("Authorization = %q, want one Bearer %s", got, want)
			}
			acc.Rejected(t.Context(), 1) // somebody refreshes
		}
	})
	t.Run("cap006 the token that is stored now", func(t *testing.T) {
		acc.mu.Lock()
		acc.tok = &freshet.Token{Access: freshet.NewSecret("imported"), Generation: 9}
		acc.mu.Unlock()
		do(t, tr, acc, &Call{Target: "/x"})
		r, _ := api.call(api.calls() - 1)
		if got := r.Header.Get("Authorization"); got != "Bearer imported" {
			t.Errorf("Authorization = %q, want Bearer imported", got)
		}
	})
}

func TestCap003_prefixes_and_places(t *testing.T) { t.Run("cap003 any prefix, or none", testPlaces) }

func testPlaces(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	for i, tt := range []struct {
		inject freshet.Injections
		header string
		want   string // of header, or of the query if header is ""
	}{
		{freshet.Injections{{Header: "Authorization", Template: "JWT {{access_token}}"}}, "Authorization", "JWT token-1"},
		{freshet.Injections{{Header: "Authorization", Template: "{{access_token}}"}}, "Authorization", "token-1"},
		{freshet.Injections{{Header: "authorization"}}, "Authorization", "Bearer token-1"},
		{freshet.Injections{{Header: "X-Shopify-Access-Token"}}, "X-Shopify-Access-Token", "token-1"},
		{freshet.Injections{{Header: "WM_SEC.ACCESS_TOKEN"}}, "Wm_sec.access_token", "token-1"},
		{freshet.Injections{{Query: "access_token"}}, "", "a=1&access_token=token-1"},
		{freshet.Injections{{Query: "access_token"}, {Query: "key", Template: "{{key}}"}}, "", "a=1&access_token=token-1&key=k%26%3D+1"},
		{freshet.Injections{{Cookie: "B1SESSION"}, {Cookie: "ROUTEID", Template: "{{node}}"}}, "Cookie", "B1SESSION=token-1; ROUTEID=.node1"},
		{freshet.Injections{{Basic: "{{company}}", Template: "{{access_token}}"}}, "Authorization", "Basic YWNtZTp0b2tlbi0x"},
		{freshet.Injections{{Header: "Authorization", Template: `Userkeyauth {{company ":" access_token | base64}}`}}, "Authorization", "Userkeyauth YWNtZTp0b2tlbi0x"},
		{freshet.Injections{{Header: "X-Auth", Template: "{{session.sid}}.{{answer.site.id}}.{{client_id}}.{{scheme}}"}}, "X-Auth", "s1.7.id1.Bearer"},
		{freshet.Injections{{Header: "Authorization"}, {Header: "x-api-key", Template: "{{api_key}}"}}, "X-Api-Key", "secret-key"},
	} {
		acc := newAccount(&freshet.API{BaseURL: api.URL, Inject: tt.inject})
		acc.def.Connection.Variables = map[string]string{"company": "acme", "node": ".node1"}
		acc.def.Provider.Variables = map[string]freshet.Variable{"key": {Default: "k&= 1"}, "company": {Default: "nobody"}}
		acc.def.Connection.Credentials = map[string]freshet.Secret{"api_key": freshet.NewSecret("secret-key")}
		acc.def.Client.ID = "id1"
		acc.tok.Session = map[string]freshet.Secret{"sid": freshet.NewSecret("s1")}
		acc.tok.Answer = freshet.NewSecret(`{"site":{"id":7}}`)
		do(t, tr, acc, &Call{Target: "/x?a=1"})
		r, _ := api.call(i)
		got := r.URL.RawQuery
		if tt.header != "" {
			vv := r.Header[http.CanonicalHeaderKey(tt.header)]
			if len(vv) != 1 {
				t.Errorf("%d: %d copies of %s", i, len(vv), tt.header)
			}
			got = strings.Join(vv, "|")
		}
		if got != tt.want {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
}

func TestCap004_headers_and_cap005_methods(t *testing.T) {
	api := newAPI(t, nil)
	acc := newAccount(&freshet.API{BaseURL: api.URL + "/base", Headers: map[string]string{"notion-version": "2022-06-28"}})
	tr := newTransport(t)
	t.Run("cap004 any other header arrives", func(t *testing.T) {
		h := http.Header{"X-One": {"1"}, "X-Two": {"a", "b"}, "Accept": {"application/json"}, "Notion-Version": {"forged"}}
		do(t, tr, acc, &Call{Target: "/x", Header: h})
		r, _ := api.call(0)
		for k, want := range map[string][]string{"X-One": {"1"}, "X-Two": {"a", "b"}, "Accept": {"application/json"}, "Notion-Version": {"2022-06-28"}} {
			if got := r.Header[k]; !slices.Equal(got, want) {
				t.Errorf("%s = %q, want %q", k, got, want)
			}
		}
		if len(h) != 4 || h.Get("Authorization") != "" {
			t.Errorf("the caller's header was changed: %v", h)
		}
	})
	for i, m := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		t.Run("cap005 "+m+" arrives with body and content type", func(t *testing.T) {
			body := `{"n":` + m + `}`
			do(t, tr, acc, &Call{Method: m, Target: "/things?y=1", Header: http.Header{"Content-Type": {"application/json"}}, Body: strings.NewReader(body), Length: int64(len(body))})
			r, got := api.call(i + 1)
			if r.Method != m || r.RequestURI != "/base/things?y=1" || got != body || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s %q %q", r.Method, r.RequestURI, r.Header.Get("Content-Type"), got)
			}
		})
	}
}

// S25, S26: however a client spells it, exactly one credential arrives: ours.
func TestS26_copies_of_the_client_are_removed(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	bearer := &freshet.API{BaseURL: api.URL}
	key := &freshet.API{BaseURL: api.URL, Inject: freshet.Injections{{Header: "X-Api-Key"}}, Headers: map[string]string{"X-Version": "2"}}
	query := &freshet.API{BaseURL: api.URL, Inject: freshet.Injections{{Query: "access_token"}}}
	cookie := &freshet.API{BaseURL: api.URL, Inject: freshet.Injections{{Cookie: "SID"}}, Cookies: true}
	for i, tt := range []struct {
		name   string
		api    *freshet.API
		target string
		send   http.Header
		header string
		want   []string
		query  string
	}{
		{"S26 Authorization", bearer, "/", http.Header{"Authorization": {"Bearer evil"}}, "Authorization", []string{"Bearer token-1"}, ""},
		{"S26 two Authorization", bearer, "/", http.Header{"Authorization": {"Bearer evil", "Basic evil"}}, "Authorization", []string{"Bearer token-1"}, ""},
		{"S26 other casing", bearer, "/", http.Header{"authorization": {"evil"}, "AUTHORIZATION": {"evil"}, "Authorization": {"evil"}}, "Authorization", []string{"Bearer token-1"}, ""},
		{"S26 Proxy-Authorization", bearer, "/", http.Header{"Proxy-Authorization": {"Basic evil"}}, "Proxy-Authorization", nil, ""},
		{"S26 our own key goes nowhere", key, "/", http.Header{"Authorization": {"Bearer fk_key"}}, "Authorization", nil, ""},
		{"S26 injected header", key, "/", http.Header{"X-Api-Key": {"evil"}}, "X-Api-Key", []string{"token-1"}, ""},
		{"S26 underscore for a dash", key, "/", http.Header{"X_api_key": {"evil"}}, "X_api_key", nil, ""},
		{"S26 fixed header", key, "/", http.Header{"x-version": {"1"}}, "X-Version", []string{"2"}, ""},
		{"S25 Connection: Authorization", bearer, "/", http.Header{"Connection": {"close, Authorization"}}, "Authorization", []string{"Bearer token-1"}, ""},
		{"S25 Connection: X-Api-Key", key, "/", http.Header{"Connection": {"x-api-key,x-version"}}, "X-Api-Key", []string{"token-1"}, ""},
		{"S25 Connection: fixed header", key, "/", http.Header{"Connection": {"x-version"}}, "X-Version", []string{"2"}, ""},
		{"S25 Connection names are removed", bearer, "/", http.Header{"Connection": {"x-hop"}, "X-Hop": {"1"}}, "X-Hop", nil, ""},
		{"S25 hop by hop", bearer, "/", http.Header{"Keep-Alive": {"1"}, "Te": {"gzip"}, "Proxy-Connection": {"x"}}, "Te", nil, ""},
		{"S26 query", query, "/?access_token=evil&a=1&access%5Ftoken=evil&Access_Token=evil", nil, "", nil, "a=1&access_token=token-1"},
		{"S26 query with semicolons", query, "/?a=1;access_token=evil;b=2", nil, "", nil, "a=1;b=2&access_token=token-1"},
		{"S26 query arrays", query, "/?access_token[]=evil&access_token=", nil, "", nil, "access_token=token-1"},
		{"S26 query of look-alikes stays", query, "/?my_access_token=1&access_tokens=2", nil, "", nil, "my_access_token=1&access_tokens=2&access_token=token-1"},
		{"S26 cookie", cookie, "/", http.Header{"Cookie": {"a=1; SID=evil; b=2", "sid=evil"}}, "Cookie", []string{"a=1; b=2; SID=token-1"}, ""},
		{"S34 cookies only where allowed", bearer, "/", http.Header{"Cookie": {"a=1"}}, "Cookie", nil, ""},
		{"S35 X-Forwarded-For", bearer, "/", http.Header{"X-Forwarded-For": {"1.2.3.4"}}, "X-Forwarded-For", nil, ""},
		{"S35 X-Forwarded-Anything", bearer, "/", http.Header{"X-Forwarded-Prefix": {"/x"}}, "X-Forwarded-Prefix", nil, ""},
		{"S35 Forwarded", bearer, "/", http.Header{"Forwarded": {"for=1.2.3.4"}}, "Forwarded", nil, ""},
		{"S35 X-Real-IP", bearer, "/", http.Header{"X-Real-Ip": {"1.2.3.4"}}, "X-Real-Ip", nil, ""},
		{"S35 underscores", bearer, "/", http.Header{"X_forwarded_for": {"1.2.3.4"}}, "X_forwarded_for", nil, ""},
		{"S31 HTTP2-Settings", bearer, "/", http.Header{"Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABk"}, "Connection": {"Upgrade, HTTP2-Settings"}}, "Http2-Settings", nil, ""},
		{"S31 Upgrade", bearer, "/", http.Header{"Upgrade": {"h2c"}, "Connection": {"Upgrade"}}, "Upgrade", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			acc := newAccount(tt.api)
			do(t, tr, acc, &Call{Target: tt.target, Header: tt.send})
			r, _ := api.call(i)
			if tt.header != "" && !slices.Equal(r.Header[tt.header], tt.want) {
				t.Errorf("%s = %q, want %q", tt.header, r.Header[tt.header], tt.want)
			}
			if tt.query != "" && r.URL.RawQuery != tt.query {
				t.Errorf("query %q, want %q", r.URL.RawQuery, tt.query)
			}
			for k, vv := range r.Header {
				if s := strings.Join(vv, ","); strings.Contains(s, "evil") || strings.Contains(s, "fk_") {
					t.Errorf("%s: %s arrived", k, s)
				}
			}
		})
	}
}

// Without an allowlist of paths or methods these headers are the API's affair.
func TestS28_headers_that_name_another_path_or_method(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	send := http.Header{"X-Original-Url": {"/admin"}, "X-Rewrite-Url": {"/admin"}, "X-Http-Method-Override": {"DELETE"}}
	do(t, tr, newAccount(&freshet.API{BaseURL: api.URL}), &Call{Target: "/a", Header: send})
	do(t, tr, newAccount(&freshet.API{BaseURL: api.URL, Paths: []string{"/a"}, Methods: []string{"GET"}}), &Call{Target: "/a", Header: send})
	for k := range send {
		open, _ := api.call(0)
		closed, _ := api.call(1)
		if open.Header.Get(k) == "" || closed.Header.Get(k) != "" {
			t.Errorf("%s: %q on an open route, %q on a restricted one", k, open.Header.Get(k), closed.Header.Get(k))
		}
	}
}

func TestS33_values_that_would_split_a_header(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	for _, tt := range []struct {
		name   string
		inject freshet.Injections
		token  string
	}{
		{"CRLF", nil, "good\r\nX-Evil: 1"},
		{"LF", nil, "good\nX-Evil: 1"},
		{"NUL", nil, "a\x00b"},
		{"DEL", nil, "a\x7fb"},
		{"beyond ASCII", nil, "tökén"},
		{"tab", nil, "a\tb"},
		{"space at the end", nil, "a "},
		{"own header", freshet.Injections{{Header: "X-Token"}}, "a\r\nb"},
		{"cookie with a semicolon", freshet.Injections{{Cookie: "s"}}, "a; admin=1"},
		{"cookie with a comma", freshet.Injections{{Cookie: "s"}}, "a,b=1"},
		{"Basic user with a colon", freshet.Injections{{Basic: "{{v}}", Template: "{{access_token}}"}}, "x"},
		{"template output", freshet.Injections{{Header: "X-Token", Template: "{{access_token}} {{crlf}}"}}, "x"},
	} {
		acc := newAccount(&freshet.API{BaseURL: api.URL, Inject: tt.inject})
		acc.tok.Access = freshet.NewSecret(tt.token)
		acc.def.Connection.Variables = map[string]string{"v": "a:b", "crlf": "a\r\nX-Evil: 1"}
		if got := refusal(t, tr, acc, &Call{Target: "/"}); got != Misconfigured {
			t.Errorf("%s: %q, want a refusal", tt.name, got)
		}
	}
	// The scheme is the provider's word as well.
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	acc.tok.Scheme = "Bearer\r\nX-Evil: 1"
	if got := refusal(t, tr, acc, &Call{Target: "/"}); got != Misconfigured {
		t.Errorf("scheme: %q, want a refusal", got)
	}
	if n := api.calls(); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestDefinitionsThatCannotBeCarriedOut(t *testing.T) {
	tr := newTransport(t)
	for name, api := range map[string]*freshet.API{
		"no token anywhere":     {BaseURL: "https://api.example", Inject: freshet.Injections{{Header: "X-Key", Template: "static"}}},
		"a name without value":  {BaseURL: "https://api.example", Inject: freshet.Injections{{Header: "X-Key", Template: "{{access_token}}{{nobody}}"}}},
		"one header twice":      {BaseURL: "https://api.example", Inject: freshet.Injections{{Header: "Authorization"}, {Basic: "u", Template: "{{access_token}}"}}},
		"a hop-by-hop header":   {BaseURL: "https://api.example", Inject: freshet.Injections{{Header: "Connection"}}},
		"a base with a query":   {BaseURL: "https://api.example/?a=1"},
		"a base with a user":    {BaseURL: "https://user@api.example/"},
		"a base that climbs":    {BaseURL: "https://api.example/a/../../b"},
		"a host with a path":    {BaseURL: "https://api.example", Hosts: []string{"other.example/x"}},
		"a path without slash":  {BaseURL: "https://api.example", Paths: []string{"users"}},
		"an ambiguous path":     {BaseURL: "https://api.example", Paths: []string{"/users/../admin"}},
		"a predicate":           {BaseURL: "https://api.example", Rejected: &freshet.Rejection{Body: "(("}},
		"a variable not given":  {BaseURL: "https://{{shop}}.example"},
		"a cookie's name":       {BaseURL: "https://api.example", Inject: freshet.Injections{{Cookie: "a b"}}},
		"a fixed header's CRLF": {BaseURL: "https://api.example", Headers: map[string]string{"X-A": "a\r\nb"}},
	} {
		if got := refusal(t, tr, newAccount(api), &Call{Target: "/"}); got != Misconfigured {
			t.Errorf("%s: %q, want misconfigured", name, got)
		}
	}
	if got := refusal(t, tr, newAccount(nil), &Call{Target: "/"}); got != NoAPI {
		t.Errorf("no API: %q", got)
	}
}

// The provider's catalogue entry supplies what the connection leaves out.
func TestProviderDefaults(t *testing.T) {
	api := newAPI(t, nil)
	acc := newAccount(nil)
	acc.def.Provider.API = &freshet.API{BaseURL: api.URL + "/{{version}}", Inject: freshet.Injections{{Header: "X-Token"}}, Headers: map[string]string{"X-A": "1", "X-B": "1"}}
	acc.def.Provider.Variables = map[string]freshet.Variable{"version": {Default: "v3"}}
	acc.def.Connection.API = &freshet.API{Headers: map[string]string{"X-B": "2"}}
	do(t, newTransport(t), acc, &Call{Target: "/me"})
	r, _ := api.call(0)
	if r.RequestURI != "/v3/me" || r.Header.Get("X-Token") != "token-1" || r.Header.Get("X-A") != "1" || r.Header.Get("X-B") != "2" {
		t.Errorf("%s %v", r.RequestURI, r.Header)
	}
}

func TestChangedDefinitionHoldsAtOnce(t *testing.T) {
	one, two := newAPI(t, nil), newAPI(t, nil)
	tr := newTransport(t)
	acc := newAccount(&freshet.API{BaseURL: one.URL})
	do(t, tr, acc, &Call{Target: "/"})
	acc.mu.Lock()
	acc.def = &freshet.Definition{ID: "c1", Revision: 2, Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: two.URL}}}
	acc.mu.Unlock()
	do(t, tr, acc, &Call{Target: "/"})
	if one.calls() != 1 || two.calls() != 1 {
		t.Errorf("%d and %d calls, want one each", one.calls(), two.calls())
	}
}

// moving changes what it is while its token is read.
type moving struct {
	*account
	next *freshet.Definition
}

func (m *moving) Token(ctx context.Context, ttl time.Duration) (*freshet.Token, error) {
	m.mu.Lock()
	m.def = m.next
	m.mu.Unlock()
	return m.account.Token(ctx, ttl)
}

func TestS27_a_definition_that_changes_under_the_call(t *testing.T) {
	one, two := newAPI(t, nil), newAPI(t, nil)
	conn := &moving{account: newAccount(&freshet.API{BaseURL: one.URL})}
	conn.next = &freshet.Definition{ID: "c1", Revision: 2, Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: two.URL, Methods: []string{"GET"}}}}
	tr := newTransport(t)
	do(t, tr, conn, &Call{Target: "/"})
	if one.calls() != 0 || two.calls() != 1 {
		t.Errorf("%d calls to the old place, %d to the new", one.calls(), two.calls())
	}
	conn.def = newAccount(&freshet.API{BaseURL: one.URL}).def
	if got := refusal(t, tr, conn, &Call{Method: "POST", Target: "/"}); got != MethodRefused {
		t.Errorf("%q, want the new definition's refusal", got)
	}
}

func TestAnswerHeaders(t *testing.T) {
	for _, cookies := range []bool{false, true} {
		raw := newRawAPI(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"+
			"Upgrade: h2c\r\nAlt-Svc: h3=\":443\"\r\nSet-Cookie: a=1\r\nAuthorization: Bearer x\r\nFreshet-Refreshed: true\r\n"+
			"Cache-Control: private, max-age=60\r\nETag: \"1\"\r\nLocation: http://10.0.0.1/internal\r\nWWW-Authenticate: Bearer\r\n\r\n")
		got := do(t, newTransport(t), newAccount(&freshet.API{BaseURL: raw.url(), Cookies: cookies}), &Call{})
		want := http.Header{"Content-Length": {"0"}, "Cache-Control": {"private, max-age=60"}, "Etag": {`"1"`}, "Location": {"http://10.0.0.1/internal"}, "Www-Authenticate": {"Bearer"}}
		if cookies {
			want["Set-Cookie"], want["Authorization"] = []string{"a=1"}, []string{"Bearer x"}
		}
		if !reflect.DeepEqual(got.header, want) {
			t.Errorf("S22, S34, S36, cookies %v: header %v, want %v", cookies, got.header, want)
		}
	}
}
