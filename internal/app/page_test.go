package app_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// load opens a page and returns it as HTML.
func (w *world) load(name, page string) (*app.View, string) {
	w.t.Helper()
	v, err := w.apps.Load(w.t.Context(), name, page, "http", nil)
	w.ok(err)
	return v, w.html(v)
}

func (w *world) html(v *app.View) string {
	w.t.Helper()
	var b bytes.Buffer
	w.ok(v.Render(&b))
	emulatortest.NoCanary(w.t, w.em, "the page", b.Bytes())
	return b.String()
}

func (w *world) press(name, page, button string, typed map[string]string) (*app.View, string) {
	w.t.Helper()
	v, err := w.apps.Press(w.t.Context(), name, page, button, "http", typed)
	w.ok(err)
	return v, w.html(v)
}

func TestPages(t *testing.T) {
	bearer := func(w *world) map[string]freshet.Secret {
		return map[string]freshet.Secret{"Authorization": freshet.NewSecret("Bearer " + w.token())}
	}
	t.Run("cap115 a page runs its function first, then what binds it, once each", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(document(t))
		v, _ := w.load("shop", "users")
		j := w.journaled(v.RunID)
		first, then := strings.Index(j, `"type":"Function"`), strings.LastIndex(j, `"activity":"getusers_API"`)
		if first < 0 || then < first {
			t.Error(j)
		}
		if l, u := w.em.Count("jwt_login"), len(w.em.Requests("api")); l != 1 || u != 1 {
			t.Errorf("%d sign-ins, %d calls", l, u)
		}
		if r := w.em.Requests("api")[0]; !strings.HasSuffix(r.URI, "?user_field_names=true") {
			t.Error(r.URI)
		}
	})
	t.Run("what waits for others comes behind them, side by side with what does not", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.book.put(&freshet.App{Name: "deep", Queries: []freshet.AppQuery{
			{Name: "a", URL: w.url + "/api/users/1", Headers: bearer(w)},
			{Name: "b", URL: w.url + "/api/users/{{a.data.id + 1}}", Headers: bearer(w)},
			{Name: "c", URL: w.url + "/api/users/{{b.data.id + 1}}", Headers: bearer(w)},
		}, Pages: []freshet.AppPage{{Name: "p", Widgets: []freshet.AppWidget{{Type: "text", Name: "T", Text: "{{c.data.name}} after {{ a.data.name }}"}}}}})
		if _, html := w.load("deep", "p"); !strings.Contains(html, "Barbara after Ada") {
			t.Error(html)
		}
		if n := len(w.em.Requests("api")); n != 3 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("cap116 a table has the keys for columns, and an empty list is an empty table", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.book.put(&freshet.App{Name: "tables", Queries: []freshet.AppQuery{
			{Name: "some", URL: w.url + "/api/users?n=2", Headers: bearer(w)}, {Name: "none", URL: w.url + "/api/users?n=0", Headers: bearer(w)},
		}, Pages: []freshet.AppPage{{Name: "p", Widgets: []freshet.AppWidget{
			{Type: "table", Name: "A", Data: "{{some.data.results}}"}, {Type: "table", Name: "B", Data: "{{none.data.results}}"},
			{Type: "table", Name: "C", Data: "{{some.data.results.map(o => ({...o, name: '<b>' + o.name}))}}", Columns: []string{"name", "id"}},
			{Type: "table", Name: "D", Data: "{{some.data}}"},
		}}}})
		_, html := w.load("tables", "p")
		for _, want := range []string{`<th scope="col">email</th><th scope="col">id</th><th scope="col">name</th>`, "<td>ada@example.org</td><td>1</td><td>Ada</td>",
			"There is nothing to show.", "<td>&lt;b&gt;Alan</td><td>2</td>", "is no list but an object"} {
			if !strings.Contains(html, want) {
				t.Errorf("the page has no %s: %s", want, html)
			}
		}
	})
	t.Run("cap117 a failed query shows its status, and what does not need it is shown", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(document(t), func(a *freshet.App) {
			a.Pages[0].Widgets = append(a.Pages[0].Widgets, freshet.AppWidget{Type: "text", Name: "Fine", Text: "one {{1 + 1}}"})
		})
		w.ok(w.em.Next(emulator.Fault{At: "api", Mode: emulator.Modes{"http_503"}}))
		v, html := w.load("shop", "users")
		if !strings.Contains(html, "getusers_API: GET "+w.url+"/api/users answered 503 Service Unavailable") || !strings.Contains(html, "one 2") {
			t.Error(html)
		}
		if r, err := w.journal.Get(t.Context(), v.RunID); err != nil || len(r.Outcomes) != 1 || r.Outcomes[0] != "Error" || len(r.Warnings) == 0 {
			t.Errorf("%+v %v", r, err)
		}
		if _, html = w.load("shop", "users"); !strings.Contains(html, "<td>Ada</td>") {
			t.Error("the next load has no data:", html)
		}
		// What waits for a function that failed says so, and is not sent.
		w.book.put(&freshet.App{Name: "waits", Scripts: map[string]freshet.Secret{"js": freshet.NewSecret("export default { async t() { throw new Error('no luck'); } }")},
			Queries: []freshet.AppQuery{{Name: "q", URL: w.url + "/api/me", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("JWT {{js.t.data}}")}}},
			Pages:   []freshet.AppPage{{Name: "p", Widgets: []freshet.AppWidget{{Type: "text", Name: "T", Text: "{{q.data.sub}}"}}}}})
		n := len(w.em.Requests("api"))
		if _, html = w.load("waits", "p"); !strings.Contains(html, "q waits for js.t, which failed") || len(w.em.Requests("api")) != n {
			t.Error(html)
		}
	})
	t.Run("cap118 a page left open past the expiry loads again with data, and shows no token", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(document(t), func(a *freshet.App) {
			a.Pages[0].Widgets = append(a.Pages[0].Widgets,
				freshet.AppWidget{Type: "text", Name: "Token", Text: "{{appsmith.store.authAccessToken}} and {{appsmith.store}}"},
				freshet.AppWidget{Type: "table", Name: "Kept", Data: "{{[appsmith.store, {t: js_manage_tokens.getAccessToken.data}]}}"})
		})
		w.load("shop", "users")
		w.pass(30 * 24 * time.Hour)
		_, html := w.load("shop", "users") // html looks for tokens
		if !strings.Contains(html, "<td>Ada</td>") || !strings.Contains(html, "[secret]") {
			t.Error(html)
		}
		if n := w.em.Count("jwt_refresh"); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("buttons and inputs", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.book.put(&freshet.App{Name: "form", Title: "A form", Scripts: map[string]freshet.Secret{
			"js": freshet.NewSecret("export default { async find() { await q.run({id: Id.text}); showAlert('found ' + q.data.name + ' for ' + Kind.selectedOptionValue + Sure.isChecked, 'success'); }, bad() { null.x; } }")},
			Queries: []freshet.AppQuery{{Name: "q", URL: w.url + "/api/users/{{this.params.id || Id.text || 1}}", Headers: bearer(w)}},
			Pages: []freshet.AppPage{{Name: "p", Widgets: []freshet.AppWidget{
				{Type: "input", Name: "Id", Label: "Number", Input: "number"}, {Type: "input", Name: "Pw", Input: "password"},
				{Type: "select", Name: "Kind", Options: []string{"red", "green"}, Default: "green"}, {Type: "checkbox", Name: "Sure"},
				{Type: "button", Name: "Find", OnClick: "js.find"}, {Type: "button", Name: "Bad", OnClick: "{{js.bad()}}"},
				{Type: "text", Name: "Out", Text: "is {{q.data.name}}"},
			}}}})
		if _, html := w.load("form", "p"); !strings.Contains(html, "is Ada") || !strings.Contains(html, "A form") {
			t.Error(html)
		}
		before := len(w.em.Requests("api"))
		_, html := w.press("form", "p", "Find", map[string]string{"Id": "3", "Kind": "red", "Sure": "true", "Pw": "hunter22"})
		if !strings.Contains(html, "found Barbara for redtrue") || !strings.Contains(html, "is Barbara") || !strings.Contains(html, `value="3"`) || strings.Contains(html, "hunter22") {
			t.Error(html)
		}
		if n := len(w.em.Requests("api")) - before; n != 1 {
			t.Errorf("%d calls for one button", n)
		}
		v, html := w.press("form", "p", "Bad", nil)
		if !strings.Contains(html, "TypeError") || v.Fault == "" {
			t.Error(html)
		}
		if _, err := w.apps.Press(t.Context(), "form", "p", "Out", "http", nil); err == nil {
			t.Error("a text is pressed")
		}
	})
}

// Two loads at the moment of the expiry refresh once.
func TestOneAtATime(t *testing.T) {
	w := newWorld(t, emulator.Options{Clients: []emulator.Client{{ID: "jwt-login", Profile: emulator.Profile{Format: "jwt", Model: emulator.Strict}}}})
	w.shop(ours(t))
	w.must("shop", getToken)
	w.pass(30 * 24 * time.Hour)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := w.apps.Load(t.Context(), "shop", "users", "http", nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.em.Count("jwt_refresh"); n != 1 {
		t.Errorf("%d refreshes for 8 loads", n)
	}
	emulatortest.Oracles(t, w.em, nil, w.kept("shop", "authRefreshToken"))
}

// Nothing of an app's tokens stands on disk in clear.
func TestSealed(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	w.shop(document(t))
	w.load("shop", "users")
	w.must("shop", getToken)
	if _, err := w.store.DB().Read().Query(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	w.ok(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if bytes.Contains(b, []byte("correct horse")) {
			t.Errorf("%s has the password", f)
		}
		emulatortest.NoCanary(t, w.em, f, b)
	}
}

func TestTraps(t *testing.T) {
	has := func(w *world, out app.Result, want string) {
		t.Helper()
		if out.Fault != nil {
			t.Fatal(out.Fault.Message)
		}
		list := w.warnings(out.RunID)
		for _, s := range list {
			if strings.Contains(s, want) {
				return
			}
		}
		t.Errorf("no warning of %q among %q", want, list)
	}
	client := func(p emulator.Profile) emulator.Options {
		return emulator.Options{Clients: []emulator.Client{{ID: "jwt-login", Profile: p}}}
	}
	drops := strings.Replace(ours(t), "this.storeToken(answer.access_token, answer.refresh_token);\n  },\n\n  storeToken", "this.storeToken(answer.access_token);\n  },\n\n  storeToken", 1)
	if drops == ours(t) {
		t.Fatal("the script is another one")
	}
	t.Run("a rotated refresh token that the script drops", func(t *testing.T) {
		w := newWorld(t, client(emulator.Profile{Format: "jwt", Model: emulator.Rotate}))
		w.shop(drops)
		w.must("shop", getToken)
		out := w.run("shop", "js_manage_tokens.refreshAccessToken")
		has(w, out, "held a new refresh token that nothing stored")
		w.refused("shop", "js_manage_tokens.refreshAccessToken")
	})
	t.Run("capture_refresh keeps it", func(t *testing.T) {
		w := newWorld(t, client(emulator.Profile{Format: "jwt", Model: emulator.Strict}))
		w.shop(drops, func(a *freshet.App) { a.Queries[1].CaptureRefresh = true })
		w.must("shop", getToken)
		for range 3 {
			out := w.run("shop", "js_manage_tokens.refreshAccessToken")
			if list := strings.Join(w.warnings(out.RunID), " "); out.Fault != nil || strings.Contains(list, "nothing stored") {
				t.Errorf("%v %s", out.Fault, list)
			}
			w.pass(2 * time.Hour)
		}
		emulatortest.Oracles(t, w.em, nil, w.kept("shop", "authRefreshToken"))
	})
	t.Run("an opaque token is refreshed on each call", func(t *testing.T) {
		w := newWorld(t, client(emulator.Profile{Format: "opaque", Model: emulator.Accepting, Lifetime: freshet.Duration(time.Hour)}))
		w.shop(ours(t))
		has(w, w.run("shop", getToken), "is stored as null")
		w.run("shop", getToken)
		has(w, w.run("shop", getToken), "although the one before it lives for another")
	})
	t.Run("a token that expires on its way", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.shop(ours(t))
		w.book.put(&freshet.App{Name: "late", Scripts: map[string]freshet.Secret{"js": freshet.NewSecret("export default { async go(t) { storeValue('authToken', t); try { await q.run(); } catch {} } }")},
			Queries: []freshet.AppQuery{{Name: "q", URL: w.url + "/api/me", Headers: map[string]freshet.Secret{"Authorization": freshet.NewSecret("JWT {{appsmith.store.authToken}}")}}}})
		has(w, w.run("late", "js.go", jwt(time.Now().Add(5*time.Second), "")), "more: it may expire on its way")
		has(w, w.run("late", "js.go", jwt(time.Now().Add(-5*time.Second), "")), "sends a token that has expired")
	})
	t.Run("a token on the console", func(t *testing.T) {
		w := newWorld(t, emulator.Options{})
		w.script("prints", "go() { storeValue('authToken', 'abcdefghij'); console.log('it is abcdefghij'); }")
		has(w, w.run("prints", "js.go"), "prints a token to the console")
	})
	t.Run("an object that is closed too early", func(t *testing.T) {
		found, err := app.Check(t.Context(), &freshet.App{Scripts: map[string]freshet.Secret{"js": freshet.NewSecret("export default {\n  a() {},\n}\n  b() {},\n")}})
		if err != nil || len(found) != 1 || !strings.Contains(found[0].Detail, "the object ends in line 3 already, and more follows") {
			t.Errorf("%v %v", found, err)
		}
	})
}

func TestBadApps(t *testing.T) {
	s := freshet.NewSecret
	query := func(name, url string) freshet.AppQuery { return freshet.AppQuery{Name: name, URL: url} }
	page := func(w ...freshet.AppWidget) []freshet.AppPage { return []freshet.AppPage{{Name: "p", Widgets: w}} }
	text := func(t string) freshet.AppWidget { return freshet.AppWidget{Type: "text", Name: "T", Text: t} }
	js := map[string]freshet.Secret{"js": s("export default { async fn() { await q.run(); }, g: () => 1 }")}
	for name, c := range map[string]struct {
		a    freshet.App
		want string
	}{
		"no object":      {freshet.App{Scripts: map[string]freshet.Secret{"js": s("function a() {}")}}, "scripts.js: is no JavaScript object"},
		"no JavaScript":  {freshet.App{Scripts: map[string]freshet.Secret{"js": s("export default {\n  a( { }\n}")}}, "scripts.js: SyntaxError"},
		"no value":       {freshet.App{Scripts: map[string]freshet.Secret{"js": s("export default 5")}}, "what it exports is no object"},
		"throws":         {freshet.App{Scripts: map[string]freshet.Secret{"js": s("export default {\n  a: nothing.there,\n}")}}, "'nothing' is not defined (script js, line 2)"},
		"calls early":    {freshet.App{Scripts: map[string]freshet.Secret{"js": s("export default { a: storeValue('x', 1) }")}}, "nothing runs while an app is read"},
		"loops":          {freshet.App{Scripts: map[string]freshet.Secret{"js": s("export default { a: (() => { while (true); })() }")}}, "longer than its limit"},
		"open braces":    {freshet.App{Queries: []freshet.AppQuery{query("q", "https://h/{{x")}}, "queries.q.url: {{ has no }}"},
		"bad expression": {freshet.App{Queries: []freshet.AppQuery{query("q", "https://h/{{ 1 + }}")}}, "queries.q.url: {{ 1 + }}: SyntaxError"},
		"no query":       {freshet.App{Queries: []freshet.AppQuery{query("users", "https://h/")}, Pages: page(text("{{user.data.x}}"))}, "there is no query of that name; did you mean users?"},
		"no function":    {freshet.App{Scripts: js, Pages: page(text("{{js.fm.data}}"))}, "there is no such function; did you mean js.fn?"},
		"no script":      {freshet.App{Scripts: js, Pages: page(text("{{jss.fn.data}}"))}, "there is no script jss; did you mean js?"},
		"no on_load":     {freshet.App{Scripts: js, Pages: []freshet.AppPage{{Name: "p", OnLoad: []string{"nope"}}}}, "on_load: nope is neither a query nor a function"},
		"a circle":       {freshet.App{Queries: []freshet.AppQuery{query("a", "https://h/{{b.data}}"), query("b", "https://h/{{a.data}}")}}, "bindings go round in a circle: a waits for b waits for a"},
		"a function's circle": {freshet.App{Scripts: js, Queries: []freshet.AppQuery{query("q", "https://h/{{js.fn.data}}")}},
			"waits for js.fn.data, and js.fn runs q: a cycle"},
		"two of a name": {freshet.App{Scripts: js, Queries: []freshet.AppQuery{query("js", "https://h/")}}, "js is the name of a query already"},
		"a taken name":  {freshet.App{Queries: []freshet.AppQuery{query("appsmith", "https://h/")}}, "is the name of something that every app has"},
		"no name":       {freshet.App{Queries: []freshet.AppQuery{query("a-b", "https://h/")}}, "is no name for JavaScript"},
		"no URL":        {freshet.App{Queries: []freshet.AppQuery{query("a", "/path")}}, "is no whole URL"},
		"a long time":   {freshet.App{Queries: []freshet.AppQuery{{Name: "a", URL: "https://h/", Timeout: freshet.Duration(time.Hour)}}}, "queries.a.timeout: is at most 1m0s"},
		"an odd type":   {freshet.App{Queries: []freshet.AppQuery{{Name: "a", URL: "https://h/", ContentType: "yaml"}}}, `"yaml" is not known`},
		"no data":       {freshet.App{Pages: page(freshet.AppWidget{Type: "table", Name: "T"})}, "widgets[0].data: is needed"},
		"two actions":   {freshet.App{Pages: page(freshet.AppWidget{Type: "button", Name: "B", OnClick: "do {{1}}"})}, "is a query, SCRIPT.FUNCTION or one {{ JavaScript }}"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := app.Check(t.Context(), &c.a)
			if err != nil {
				t.Fatal(err)
			}
			all := ""
			for _, f := range found {
				if !f.Warn {
					all += f.Field + ": " + f.Detail + "\n"
				}
			}
			if !strings.Contains(all, c.want) {
				t.Errorf("%s, want %s", all, c.want)
			}
		})
	}
}

func TestBadRuns(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	w.script("bad", `
		loop() { while (true); },
		grow() { const a = []; for (;;) a.push("x".repeat(1e6)); },
		async never() { await new Promise(() => {}); },
		deep() { return this.deep(); },
		missing() { return nowhere.run(); },
		async far() { await far.run(); },
		async body() { await body.run(); },
		thrown() { throw "a text"; },
		huge() { storeValue("k", "x".repeat(2e6)); },
		noConnection() { return GetAccessToken("none"); },
		fine() { return 1; }`,
		freshet.AppQuery{Name: "far", URL: "https://10.0.0.1/x"}, freshet.AppQuery{Name: "body", Method: "POST", URL: w.url + "/api/echo", Body: freshet.NewSecret(`{"a": {{1}} "b"}`)})
	for f, want := range map[string]string{
		"loop": "ran longer than its limit", "grow": "limit of", "never": "waits for a promise that nothing here fulfils", "deep": "stack limit",
		"missing": "'nowhere' is not defined (script js, line 6)", "far": "far: GET https://10.0.0.1/x", "body": "the body is no JSON (line 1)", "thrown": "a text",
		"huge": "k is larger than 1024 KiB", "noConnection": `GetAccessToken(none): there is no connection "none"`,
	} {
		if text := w.refused("bad", "js."+f); !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %s", f, text, want)
		}
		if got := w.must("bad", "js.fine"); got != "1" {
			t.Errorf("after %s: %s", f, got)
		}
	}
	if _, err := w.apps.Run(t.Context(), app.Request{App: "none", Function: "a.b"}); err == nil {
		t.Error("an app that is not there runs")
	}
	if _, err := w.apps.Run(t.Context(), app.Request{App: "bad", Function: "js.fin"}); err == nil || !strings.Contains(err.Error(), "did you mean js.fine?") {
		t.Error(err)
	}
}
