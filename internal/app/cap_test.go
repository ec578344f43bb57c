package app_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/emulator"
)

const getToken = "js_manage_tokens.getAccessToken"

// TestDocument runs the script of the document, or ours where that is not at
// hand, as it is written.
func TestDocument(t *testing.T) {
	script := document(t)
	t.Run("cap110 the joined listing loads unchanged and its functions reach each other", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		functions, err := w.apps.Functions(t.Context(), "shop")
		w.ok(err)
		for _, f := range []string{"generateAccessToken", "storeToken", "getTokenExpiry", "verifyAccessTokenExpired", "refreshAccessToken", "getAccessToken"} {
			if !slices.Contains(functions, "js_manage_tokens."+f) {
				t.Errorf("no function %s among %v", f, functions)
			}
		}
		if tok := w.must("shop", getToken); w.em.Valid(strings.Trim(tok, `"`)) != nil {
			t.Errorf("%s is no token", tok)
		}
	})
	t.Run("cap028 with an empty store the first call signs in once and stores token, refresh token and expiry", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		tok := strings.Trim(w.must("shop", getToken), `"`)
		if n := w.em.Count("jwt_login"); n != 1 {
			t.Errorf("%d sign-ins", n)
		}
		w.must("shop", getToken)
		if n := w.em.Count("jwt_login") + w.em.Count("jwt_refresh"); n != 1 {
			t.Errorf("%d token requests after a second call", n)
		}
		if got := w.kept("shop", "authAccessToken"); got != tok {
			t.Errorf("the store has %s, not %s", got, tok)
		}
		if err := w.em.Usable(w.kept("shop", "authRefreshToken")); err != nil {
			t.Error(err)
		}
		var exp int64
		w.ok(json.Unmarshal([]byte(w.kept("shop", "authAccessTokenExp")), &exp))
		if left := time.UnixMilli(exp).Sub(w.em.Now()); left < 10*time.Second || left > 25*time.Hour {
			t.Errorf("the stored expiry is in %s", left)
		}
	})
	t.Run("cap067 getAccessToken returns a valid token whatever the store holds", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		valid := func() {
			t.Helper()
			if err := w.em.Valid(strings.Trim(w.must("shop", getToken), `"`)); err != nil {
				t.Error(err)
			}
		}
		valid() // absent
		valid() // valid
		w.pass(30 * 24 * time.Hour)
		valid() // expired
		if l, r := w.em.Count("jwt_login"), w.em.Count("jwt_refresh"); l != 1 || r != 1 {
			t.Errorf("%d sign-ins and %d refreshes", l, r)
		}
	})
	t.Run("cap060 after a refresh the store has the new token and its expiry", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		w.must("shop", getToken)
		before, exp := w.kept("shop", "authAccessToken"), w.kept("shop", "authAccessTokenExp")
		w.pass(time.Minute)
		w.must("shop", "js_manage_tokens.refreshAccessToken")
		after := w.kept("shop", "authAccessToken")
		if after == before || w.em.Valid(after) != nil || w.kept("shop", "authAccessTokenExp") <= exp {
			t.Errorf("before %s %s, after %s %s", before, exp, after, w.kept("shop", "authAccessTokenExp"))
		}
	})
	t.Run("cap032 expired one millisecond after the stored expiry and not one before", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		w.shop(script, func(a *freshet.App) {
			a.Scripts["set"] = freshet.NewSecret("export default { async exp(ms) { await storeValue('authAccessTokenExp', ms); } }")
		})
		w.must("shop", "set.exp", at.UnixMilli())
		for _, c := range []struct {
			off  time.Duration
			want string
		}{{-time.Millisecond, "false"}, {time.Millisecond, "true"}} {
			stand := at.Add(c.off)
			a, err := app.New(app.Options{Definitions: w.book, Store: w.store, Sealer: w.vault, Journal: w.journal, Now: func() time.Time { return stand }})
			w.ok(err)
			out, err := a.Run(t.Context(), app.Request{App: "shop", Function: "js_manage_tokens.verifyAccessTokenExpired"})
			w.ok(err)
			if b, _ := json.Marshal(out.Output); string(b) != c.want {
				t.Errorf("%s from the expiry: %s, want %s", c.off, b, c.want)
			}
			w.ok(a.Close(t.Context()))
		}
	})
	t.Run("cap033 the expiry is the exp of the second part, also of base64url without padding", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		exp := time.Unix(1999999999, 0)
		for _, more := range []string{``, `,"a":1`, `,"ab":"?>?>?>"`, `,"x":"~~~~ÿÿ"`} {
			tok := jwt(exp, more)
			if got := w.must("shop", "js_manage_tokens.getTokenExpiry", tok); got != "1999999999000" {
				t.Errorf("%s: %s", more, got)
			}
		}
		if tok := jwt(exp, `,"x":"~~~~ÿÿ"`); !strings.ContainsAny(tok, "-_") {
			t.Error("no token here has a character of base64url")
		}
	})
	t.Run("cap034 an opaque token is an error in the journal, null in the store, and is refreshed at the next call", func(t *testing.T) {
		w := newWorld(t, emulator.Options{Clients: []emulator.Client{{ID: "jwt-login", Profile: emulator.Profile{Format: "opaque", Model: emulator.Accepting}}}})
		w.shop(script)
		out := w.run("shop", getToken)
		if out.Fault != nil {
			t.Fatal(out.Fault)
		}
		if got := w.kept("shop", "authAccessTokenExp"); got != "null" {
			t.Errorf("the stored expiry is %s", got)
		}
		if j := w.journaled(out.RunID); !strings.Contains(j, `"name":"error"`) {
			t.Error("the journal has no error", j)
		}
		w.must("shop", getToken)
		if n := w.em.Count("jwt_refresh"); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("cap059 an answer without refresh token leaves the stored one alone", func(t *testing.T) {
		w := newWorld(t, emulator.Options{Clients: []emulator.Client{{ID: "jwt-login", Profile: emulator.Profile{Format: "jwt", Model: emulator.Omitted}}}})
		w.shop(script)
		w.must("shop", getToken)
		before := w.kept("shop", "authRefreshToken")
		w.must("shop", "js_manage_tokens.refreshAccessToken")
		if got := w.kept("shop", "authRefreshToken"); got != before || got == "undefined" {
			t.Errorf("%s became %s", before, got)
		}
	})
	t.Run("cap061 an empty answer to a refresh is an error, the run is flagged, and the old token stays", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script)
		w.must("shop", getToken)
		before := w.kept("shop", "authAccessToken")
		w.ok(w.em.Next(emulator.Fault{At: "jwt_refresh", Mode: emulator.Modes{"empty"}}))
		out := w.run("shop", "js_manage_tokens.refreshAccessToken")
		if list := w.warnings(out.RunID); !slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, "console.error: Failed to refresh") }) {
			t.Errorf("warnings %q", list)
		}
		if got := w.kept("shop", "authAccessToken"); got != before {
			t.Errorf("%s became %s", before, got)
		}
	})
	t.Run("cap027 a wrong password is a failed run that names endpoint and status, and stores nothing", func(t *testing.T) {
		w := newWorld(t, emulator.Options{Users: map[string]emulator.User{"ada@example.org": {Password: "another one"}}})
		w.shop(script)
		text := w.refused("shop", getToken)
		if !strings.Contains(text, "api_authToken: POST "+w.url+"/jwt/login answered 401") {
			t.Error(text)
		}
		if strings.Contains(text, "correct horse") {
			t.Error("the fault tells the password")
		}
		if got := w.kept("shop", "authAccessToken"); got != "undefined" {
			t.Errorf("stored %s", got)
		}
	})
	t.Run("cap113 a printed token is masked in the journal", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(script, func(a *freshet.App) {
			a.Scripts["more"] = freshet.NewSecret("export default { async print() { const t = await js_manage_tokens.getAccessToken(); console.log('Token: ' + t, {t}); console.warn(encodeURIComponent(t)); return 1; } }")
		})
		w.must("shop", getToken)
		w.pass(time.Minute)
		for _, f := range []string{"js_manage_tokens.refreshAccessToken", "more.print"} {
			out := w.run("shop", f)
			j := w.journaled(out.RunID)
			for _, tok := range w.em.IssuedTokens() {
				if strings.Contains(j, tok) {
					t.Errorf("the journal of %s has a token: %s", f, j)
				}
			}
			if !strings.Contains(j, "[secret]") && f == "more.print" {
				t.Errorf("nothing is masked: %s", j)
			}
		}
	})
}

func TestScripts(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	t.Run("cap017 a stored value is there on the next statement and after a restart, a session value until then", func(t *testing.T) {
		w.script("keeps", `
			next() { const p = storeValue("a", {n: 1}); return [typeof p.then, appsmith.store.a.n]; },
			session() { storeValue("a", "passing", false); storeValue("b", 2, false); return appsmith.store; },
			all() { return appsmith.store; },
			gone() { removeValue("a"); return appsmith.store; },
			clear() { storeValue("c", 3); clearStore(); return appsmith.store; },
			odd() { storeValue("f", () => 1); storeValue("u", undefined); storeValue("d", new Date(0)); return appsmith.store; }`)
		for _, c := range [][2]string{{"next", `["function",1]`}, {"session", `{"a":"passing","b":2}`}, {"all", `{"a":"passing","b":2}`}} {
			if got := w.must("keeps", "js."+c[0]); got != c[1] {
				t.Errorf("%s: %s, want %s", c[0], got, c[1])
			}
		}
		w.stop()
		w.start()
		for _, c := range [][2]string{{"all", `{"a":{"n":1}}`}, {"gone", `{}`}, {"all", `{}`}, {"odd", `{"d":"1970-01-01T00:00:00.000Z"}`}, {"clear", `{}`}, {"all", `{}`}} {
			if got := w.must("keeps", "js."+c[0]); got != c[1] {
				t.Errorf("%s: %s, want %s", c[0], got, c[1])
			}
		}
	})
	t.Run("cap018 scripts and bindings of one app share a store, and no other app reaches it", func(t *testing.T) {
		w.book.put(&freshet.App{Name: "one", Scripts: map[string]freshet.Secret{
			"a": freshet.NewSecret("export default { put() { storeValue('k', 'ours, mine'); } }"),
			"b": freshet.NewSecret("export default { get() { return appsmith.store.k; }, async bound() { return (await q.run()).uri; } }"),
		}, Queries: []freshet.AppQuery{{Name: "q", URL: w.url + "/api/echo?k={{appsmith.store.k}}", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("Bearer " + w.token())}}}})
		w.script("two", "get() { return [appsmith.store.k, typeof a, typeof b]; }")
		w.must("one", "a.put")
		if got := w.must("one", "b.get"); got != `"ours, mine"` {
			t.Error(got)
		}
		if got := w.must("one", "b.bound"); got != `"/api/echo?k=ours%2C%20mine"` {
			t.Error(got)
		}
		if got := w.must("two", "js.get"); got != `[null,"undefined","undefined"]` {
			t.Error(got)
		}
	})
	t.Run("cap046 a query runs by its name, has its data, and rejects for an HTTP error", func(t *testing.T) {
		status := freshet.AppQuery{Name: "q", URL: w.url + "/api/status/{{this.params.code}}", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("Bearer " + w.token())}}
		w.script("calls", `
			async good() { const v = await q.run({code: 200}); return [v, q.data, q.responseMeta.statusCode, q.responseMeta.isExecutionSuccess, typeof q.responseMeta.headers]; },
			async bad() { try { await q.run({code: 503}); } catch (e) { return [e.message, q.data, q.responseMeta.isExecutionSuccess]; } },
			async thrown() { await q.run({code: 404}); },
			async cleared() { await q.run({code: 200}); await q.clear(); return [q.data === undefined, q.responseMeta.isExecutionSuccess]; },
			async old() { let got; await q.run(v => { got = v; }, () => {}, {code: 200}); return got; },
			async oldBad() { let got; await q.run(() => {}, e => { got = "caught"; }, {code: 500}); return got; },
			async both() { const [a, b] = await Promise.all([q.run({code: 201}), q.run({code: 202})]); return [a, b]; }`, status)
		for f, want := range map[string]string{
			"good": `[{"status":200},{"status":200},"200 OK",true,"object"]`, "bad": `["q: GET ` + w.url + `/api/status/503 answered 503 Service Unavailable",{"status":503},false]`,
			"cleared": `[true,false]`, "old": `{"status":200}`, "oldBad": `"caught"`, "both": `[{"status":201},{"status":202}]`,
		} {
			if got := w.must("calls", "js."+f); got != want {
				t.Errorf("%s: %s, want %s", f, got, want)
			}
		}
		if text := w.refused("calls", "js.thrown"); !strings.Contains(text, "/api/status/404 answered 404 Not Found") {
			t.Error(text)
		}
	})
	t.Run("cap111 await suspends until the answer, and data is set on the next line", func(t *testing.T) {
		w.script("waits", `async go() { const seen = []; const p = q.run().then(() => seen.push("answer")); seen.push(q.data === undefined); await p; seen.push(q.data.results.length); return seen; }`,
			freshet.AppQuery{Name: "q", URL: w.url + "/api/users?n=3", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("Bearer " + w.token())}})
		if got := w.must("waits", "js.go"); got != `[true,"answer",3]` {
			t.Error(got)
		}
	})
	t.Run("cap112 the functions of the platform are there, and what is printed is in the journal", func(t *testing.T) {
		w.script("host", `async all() {
			console.log("printed", {a: 1}, [2]); console.error(new TypeError("wrong")); showAlert("shown", "success");
			const later = await new Promise(r => setTimeout(() => r("later"), 1));
			return [atob("eyJhIjoxfQ=="), atob("-_8"), btoa("abc"), btoa(atob("AAEC_w")), new Date(0).getTime(), JSON.parse("[1]")[0], await Promise.resolve(7), later]; }`)
		out := w.run("host", "js.all")
		b, _ := json.Marshal(out.Output)
		if out.Fault != nil || string(b) != `["{\"a\":1}","ûÿ","YWJj","AAEC/w==",0,1,7,"later"]` {
			t.Errorf("%s %v", b, out.Fault)
		}
		j := w.journaled(out.RunID)
		for _, want := range []string{`printed {\"a\":1} [2]`, "TypeError: wrong", `"message":"shown"`} {
			if !strings.Contains(j, want) {
				t.Errorf("the journal has no %s: %s", want, j)
			}
		}
		if len(out.Alerts) != 1 || out.Alerts[0] != (app.Alert{Message: "shown", Kind: "success"}) {
			t.Errorf("alerts %v", out.Alerts)
		}
	})
	t.Run("cap114 data of a function is its last value, and a query that needs it waits for it", func(t *testing.T) {
		tok := w.token()
		w.script("data", `
			token() { return "`+tok+`"; },
			async before() { const was = typeof js.token.data; await q.run(); return [was, js.token.data === "`+tok+`", q.data.scheme || q.data.headers.Authorization[0].slice(0, 4)]; },
			async value() { return 1; },
			async twice() { await js.value(); const a = js.value.data; return [a, js.value.data]; }`,
			freshet.AppQuery{Name: "q", URL: w.url + "/api/echo", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("JWT {{js.token.data}}")}})
		if got := w.must("data", "js.before"); got != `["undefined",true,"JWT "]` {
			t.Error(got)
		}
		if got := w.must("data", "js.twice"); got != `[1,1]` {
			t.Error(got)
		}
	})
}

// token is a token that the emulator's API takes, beside every app.
func (w *world) token() string {
	w.t.Helper()
	tok, err := w.em.Issue("rotate-beside", "", "")
	w.ok(err)
	return tok.Access
}

func TestRequests(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	echo := func(q freshet.AppQuery) map[string]any {
		t.Helper()
		q.Name = "q"
		if q.Headers == nil {
			q.Headers = map[string]freshet.Secret{}
		}
		if q.Headers["Authorization"].IsZero() {
			q.Headers["Authorization"] = freshet.NewSecret("Bearer " + w.token())
		}
		if q.URL == "" {
			q.URL = w.url + "/api/echo"
		}
		w.script("sends", `async go() { storeValue("refresh", "r-\"1\" ü"); storeValue("o", {k: [1]}); storeValue("n", null); return await q.run({x: 5, t: "a&b"}); }`, q)
		var out map[string]any
		w.ok(json.Unmarshal([]byte(w.must("sends", "js.go")), &out))
		return out
	}
	header := func(out map[string]any, name string) string {
		list, _ := out["headers"].(map[string]any)[name].([]any)
		if len(list) == 0 {
			return ""
		}
		return list[0].(string)
	}
	secret := freshet.NewSecret
	t.Run("cap003 a header with any prefix, and with none", func(t *testing.T) {
		tok := w.token()
		for _, prefix := range []string{"JWT ", "Token ", ""} {
			if prefix == "" {
				got := echo(freshet.AppQuery{Headers: map[string]freshet.Secret{"Authorization": secret("{{'" + tok + "'}}")}})
				if h := header(got, "Authorization"); h != tok {
					t.Errorf("%q", h)
				}
				continue
			}
			got := echo(freshet.AppQuery{Headers: map[string]freshet.Secret{"Authorization": secret(prefix + "{{'" + tok + "'}}")}})
			if h := header(got, "Authorization"); h != prefix+tok {
				t.Errorf("%q", h)
			}
		}
	})
	t.Run("cap007 a query string survives byte for byte, and values in a URL are encoded once", func(t *testing.T) {
		for url, want := range map[string]string{
			"/api/echo?user_field_names=true":                          "/api/echo?user_field_names=true",
			"/api/echo?a=%20b+c&d=%2F&&e=;f":                           "/api/echo?a=%20b+c&d=%2F&&e=;f",
			"/api/echo/{{appsmith.store.refresh}}?t={{this.params.t}}": "/api/echo/r-%221%22%20%C3%BC?t=a%26b",
			"/api/echo?p={{'50%'}}":                                    "/api/echo?p=50%25",
		} {
			if got := echo(freshet.AppQuery{URL: w.url + url})["uri"]; got != want {
				t.Errorf("%s became %v, want %s", url, got, want)
			}
		}
	})
	t.Run("cap047 a binding without quotes in a JSON body is valid JSON", func(t *testing.T) {
		got := echo(freshet.AppQuery{Method: "POST", Body: secret("{\n  \"refresh_token\":{{appsmith.store.refresh}}, \"o\": {{appsmith.store.o}}, \"n\": {{appsmith.store.n}}, \"u\": {{appsmith.store.none}}, \"quoted\": \"{{appsmith.store.refresh}}\", \"x\": {{this.params.x}}\n}")})
		var body map[string]any
		if err := json.Unmarshal([]byte(got["body"].(string)), &body); err != nil {
			t.Fatalf("%v: %v", got["body"], err)
		}
		b, _ := json.Marshal(body)
		if string(b) != `{"n":null,"o":{"k":[1]},"quoted":"r-\"1\" ü","refresh_token":"r-\"1\" ü","u":null,"x":5}` {
			t.Errorf("%s", b)
		}
		if h := header(got, "Content-Type"); h != "application/json" {
			t.Errorf("Content-Type %s", h)
		}
	})
	t.Run("cap029 a body's parameters are free in name and number, literal and stored", func(t *testing.T) {
		got := echo(freshet.AppQuery{Method: "POST", Form: map[string]freshet.Secret{"grant_type": secret("refresh_token"), "refresh token": secret("{{appsmith.store.refresh}}"), "five": secret("{{2 + 3}}")}})
		if got["body"] != "five=5&grant_type=refresh_token&refresh%20token=r-%221%22%20%C3%BC" || header(got, "Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%v %s", got["body"], header(got, "Content-Type"))
		}
	})
	t.Run("cap048 the same refresh as JSON, form, Basic or GET", func(t *testing.T) {
		for name, c := range map[string]struct {
			q    freshet.AppQuery
			want func(map[string]any) bool
		}{
			"json": {freshet.AppQuery{Method: "POST", Body: secret(`{"refresh_token":{{appsmith.store.refresh}}}`)}, func(g map[string]any) bool { return g["body"] == `{"refresh_token":"r-\"1\" ü"}` }},
			"form": {freshet.AppQuery{Method: "POST", ContentType: "form", Body: secret(`grant_type=refresh_token&refresh_token={{appsmith.store.refresh}}`)}, func(g map[string]any) bool {
				return g["body"] == `grant_type=refresh_token&refresh_token=r-%221%22%20%C3%BC`
			}},
			"get": {freshet.AppQuery{URL: w.url + "/api/echo?refresh_token={{appsmith.store.refresh}}"}, func(g map[string]any) bool {
				return g["method"] == "GET" && g["query"] == "refresh_token=r-%221%22%20%C3%BC"
			}},
		} {
			if got := echo(c.q); !c.want(got) {
				t.Errorf("%s: %v", name, got)
			}
		}
		// Basic is a header; the emulator's token endpoint checks it.
		tok, err := w.em.Issue("accepting-basic", "", "")
		w.ok(err)
		w.script("basic", `async go() { return (await q.run()).access_token; }`, freshet.AppQuery{Name: "q", Method: "POST", URL: w.url + "/token",
			Headers: map[string]freshet.Secret{"Authorization": secret("Basic {{btoa('accepting-basic:pw-123456')}}")},
			Form:    map[string]freshet.Secret{"grant_type": secret("refresh_token"), "refresh_token": secret(tok.Refresh)}})
		if got := w.must("basic", "js.go"); w.em.Valid(strings.Trim(got, `"`)) != nil {
			t.Error(got)
		}
	})
	t.Run("no call leaves without the credential that it needs", func(t *testing.T) {
		before := w.em.Count("api")
		w.script("bare", `async go() { await q.run(); }`, freshet.AppQuery{Name: "q", URL: w.url + "/api/me", Headers: map[string]freshet.Secret{"Authorization": secret("JWT {{appsmith.store.none}}")}})
		if text := w.refused("bare", "js.go"); !strings.Contains(text, "header Authorization needs {{ appsmith.store.none }}") || w.em.Count("api") != before {
			t.Error(text)
		}
	})
}
