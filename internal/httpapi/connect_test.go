package httpapi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/audit"
)

// connect begins an authorization and returns the link and the flow.
func (w *world) connect(name, body string) (link, flow string) {
	w.t.Helper()
	a := w.do("POST", "/api/v1/connections/"+name+"/connect", body)
	v := a.json(w.t)
	if a.status != 200 || v["url"] == nil || v["flow"] == nil || v["state"] != "pending" {
		w.t.Fatalf("connect: %d %s", a.status, a.body)
	}
	return v["url"].(string), v["flow"].(string)
}

// consent opens a link in b, lets the emulator consent, and returns the URL
// that the provider sends the browser to.
func (b *browser) consent(link, emulate string) (to, provider string) {
	b.w.t.Helper()
	a := b.get(link)
	provider = a.header.Get("Location")
	if a.status != 303 || !strings.HasPrefix(provider, b.w.em.URL()+"/authorize?") {
		b.w.t.Fatalf("%s: %d %s %s", link, a.status, provider, a.body)
	}
	a = b.get(provider + "&_emulate=" + url.QueryEscape(emulate))
	if a.status/100 != 3 {
		b.w.t.Fatalf("%s: %d %s", provider, a.status, a.body)
	}
	return a.header.Get("Location"), provider
}

func TestCap023_authorize_consent_callback_exchange(t *testing.T) {
	t.Run("cap023", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		link, flow := w.connect("person", `{}`)
		waited := make(chan answer, 1)
		go func() { waited <- w.do("GET", "/api/v1/flows/"+flow+"?wait=20s", "") }()
		b := w.browser()
		back, provider := b.consent(link, "consent")
		u, err := url.Parse(provider)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("state")) != 43 || q.Get("redirect_uri") != w.url+"/callback/oauth2" || q.Get("scope") != "read" {
			t.Errorf("S02 the authorize URL: %v", q)
		}
		if !strings.HasPrefix(back, w.url+"/callback/oauth2?") {
			t.Fatalf("the provider sends the browser to %s", back)
		}
		a := b.get(back)
		if a.status != 303 || a.header.Get("Location") != "/callback/oauth2/done?flow="+flow {
			t.Fatalf("S08 the callback: %d %s %s", a.status, a.header.Get("Location"), a.body)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("S08 %s: %q, want %q", name, got, want)
			}
		}
		page := b.get(w.url + a.header.Get("Location"))
		if page.status != 200 || !strings.Contains(page.body, "Connected") || !strings.Contains(page.body, "person") || strings.Contains(page.body, "<script") {
			t.Errorf("the page: %d %s", page.status, page.body)
		}
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "base-uri 'none'") || strings.Contains(csp, "unsafe-inline") {
			t.Errorf("S65 policy %s", csp)
		}
		if v := (<-waited).json(t); v["state"] != "done" || v["connection"] != "person" {
			t.Errorf("who waits learns %v", v)
		}
		if v := w.do("GET", "/api/v1/connections/person", "").json(t); v["state"] != "ok" || v["generation"] != 1.0 {
			t.Errorf("the connection is %v", v)
		}
		if me := w.do("GET", "/proxy/person/me", ""); me.status != 200 {
			t.Errorf("the API says %d %s", me.status, me.body)
		}
		for _, action := range []string{audit.Connect, audit.Connected} {
			if rows := w.audited(action); len(rows) != 1 || rows[0]["subject"] != "person" {
				t.Errorf("audit %s: %v", action, rows)
			}
		}
		// S08: the code, the state and the verifier are in no log.
		code, _ := url.Parse(back)
		for what, v := range map[string]string{"code": code.Query().Get("code"), "state": q.Get("state")} {
			if v == "" || strings.Contains(w.log.String(), v) {
				t.Errorf("S08 the log holds the %s", what)
			}
		}
		// Another browser learns nothing at the clean address.
		if other := w.browser().get(w.url + a.header.Get("Location")); strings.Contains(other.body, "person") {
			t.Errorf("it says %s", other.body)
		}
	})
	t.Run("cap023 a denied consent shows the provider's text", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		link, flow := w.connect("person", ``)
		b := w.browser()
		b.get(link)
		state := w.stateOf(b, link)
		text := "Alice said <b>no</b> & left"
		a := b.get(w.url + "/callback/oauth2?" + url.Values{"state": {state}, "error": {"access_denied"}, "error_description": {text}}.Encode())
		if a.status != 303 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		page := b.get(w.url + a.header.Get("Location"))
		if !strings.Contains(page.body, "access_denied: Alice said &lt;b&gt;no&lt;/b&gt; &amp; left") || !strings.Contains(page.body, "freshet connect person") {
			t.Errorf("the page: %s", page.body)
		}
		if v := w.do("GET", "/api/v1/flows/"+flow, "").json(t); v["state"] != "failed" || !strings.Contains(v["detail"].(string), "access_denied") {
			t.Errorf("the flow is %v", v)
		}
		if n := w.em.Count("token"); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
}

// stateOf returns the state of a link that b opens.
func (w *world) stateOf(b *browser, link string) string {
	w.t.Helper()
	u, err := url.Parse(b.get(link).header.Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Query().Get("state")
}

func TestS01_callbacks_that_are_not_ours(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	link, _ := w.connect("person", ``)
	b := w.browser()
	state := w.stateOf(b, link)
	callback := func(b *browser, q string) answer { return b.get(w.url + "/callback/oauth2?" + q) }
	for name, c := range map[string]struct {
		a      answer
		status int
	}{
		"another browser":      {callback(w.browser(), "state="+state+"&code=c"), 403},
		"no state":             {callback(b, "code=c"), 400},
		"a made-up state":      {callback(b, "state="+strings.Repeat("a", 43)+"&code=c"), 400},
		"a short state":        {callback(b, "state=a&code=c"), 400},
		"two states":           {callback(b, "state="+state+"&state="+state+"&code=c"), 400},
		"nothing":              {callback(b, ""), 400},
		"another client's URI": {b.get(w.url + "/callback/oauth2/other?state=" + state[:42] + "A&code=c"), 400},
	} {
		if c.a.status != c.status || c.a.header.Get("Location") != "" || !strings.HasPrefix(c.a.header.Get("Content-Type"), "text/html") {
			t.Errorf("S01 %s: %d %s", name, c.a.status, c.a.body)
		}
	}
	if n := w.em.Count("token"); n != 0 {
		t.Errorf("%d token requests", n)
	}
	// None of this used the flow up.
	back, _ := b.consent(link, "consent")
	if a := b.get(back); a.status != 303 {
		t.Errorf("the right one: %d %s", a.status, a.body)
	}
	if a := b.get(back); a.status != 400 {
		t.Errorf("the same again: %d", a.status)
	}
	if n := w.em.Count("token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
	if a := w.with("", "POST", "/callback/oauth2?state="+state, ""); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}

func TestS01_the_link_belongs_to_one_browser(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	link, _ := w.connect("person", ``)
	for _, h := range [][]string{{"Sec-Purpose", "prefetch"}, {"Purpose", "preview"}, {"X-Moz", "prefetch"}} {
		if a := w.with("", "GET", link, "", h...); a.status != 204 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%v uses the link up: %d", h, a.status)
		}
	}
	if a := w.with("", "HEAD", link, ""); a.header.Get("Set-Cookie") != "" {
		t.Errorf("HEAD uses the link up")
	}
	first, second := w.browser(), w.browser()
	a := first.get(link)
	cookie := a.header.Get("Set-Cookie")
	if a.status != 303 || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") || a.body != "" {
		t.Fatalf("%d %s %q", a.status, cookie, a.body)
	}
	if a := second.get(link); a.status != 409 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("another browser: %d", a.status)
	}
	if a := first.get(link); a.status != 303 {
		t.Errorf("the same browser again: %d", a.status)
	}
	if a := first.get(link[:len(link)-1]); a.status != 404 {
		t.Errorf("a cut link: %d", a.status)
	}
}

func TestS04_an_answer_from_another_issuer(t *testing.T) {
	w := newWorld(t)
	w.declare(strings.Replace(declared, "    authorization_url", "    issuer: EM\n    authorization_url", 1))
	link, flow := w.connect("person", ``)
	b := w.browser()
	back, _ := b.consent(link, "consent")
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("iss") == "" {
		t.Fatal("the emulator names no issuer")
	}
	q.Set("iss", "https://evil.example")
	u.RawQuery = q.Encode()
	a := b.get(u.String())
	if a.status != 400 || !strings.Contains(a.body, "another issuer") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := w.em.Count("token"); n != 0 {
		t.Errorf("%d token requests", n)
	}
	if v := w.do("GET", "/api/v1/flows/"+flow, "").json(t); v["state"] != "failed" {
		t.Errorf("the flow is %v", v)
	}
	// Without iss, where the metadata promise it: the same.
	link, _ = w.connect("person", ``)
	back, _ = b.consent(link, "consent")
	u, _ = url.Parse(back)
	q = u.Query()
	q.Del("iss")
	u.RawQuery = q.Encode()
	if a := b.get(u.String()); a.status != 400 || w.em.Count("token") != 0 {
		t.Errorf("without iss: %d", a.status)
	}
}

func TestS04_a_redirect_URI_of_ones_own(t *testing.T) {
	w := newWorld(t)
	w.declare(strings.Replace(declared, "secret: CANARY-client-secret", "secret: CANARY-client-secret, redirect_url: \""+w.url+"/callback/oauth2/emu\"", 1))
	link, _ := w.connect("person", ``)
	b := w.browser()
	back, _ := b.consent(link, "consent")
	if !strings.HasPrefix(back, w.url+"/callback/oauth2/emu?") {
		t.Fatal(back)
	}
	// The same answer at the address of another client goes nowhere.
	stolen := strings.Replace(back, "/callback/oauth2/emu?", "/callback/oauth2/other?", 1)
	if a := b.get(stolen); a.status != 400 || w.em.Count("token") != 0 {
		t.Errorf("%d, %d token requests", a.status, w.em.Count("token"))
	}
	link, _ = w.connect("person", ``)
	back, _ = b.consent(link, "consent")
	if a := b.get(back); a.status != 303 || w.em.Count("token") != 1 {
		t.Errorf("its own: %d %s", a.status, a.body)
	}
}

func TestS06_the_browser_is_sent_to_our_own_paths_only(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for _, evil := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "/%2f%2fevil.example", "/console/../api", "javascript:alert(1)", "/api/v1/export", "user@evil.example"} {
		a := w.do("POST", "/api/v1/connections/person/connect", mustJSON(map[string]string{"return_to": evil}))
		if a.status != 400 || !strings.Contains(a.body, "/problems/bad-return") {
			t.Errorf("%q: %d %s", evil, a.status, a.body)
		}
	}
	link, _ := w.connect("person", `{"return_to":"/console/connections"}`)
	b := w.browser()
	back, _ := b.consent(link, "consent")
	if a := b.get(back); a.status != 303 || a.header.Get("Location") != "/console/connections" {
		t.Errorf("%d %s", a.status, a.header.Get("Location"))
	}
	// A query at the callback sends nobody anywhere.
	for _, q := range []string{"return_to=https://evil.example", "redirect=//evil.example", "next=https://evil.example"} {
		if a := b.get(w.url + "/callback/oauth2?" + q); a.header.Get("Location") != "" {
			t.Errorf("%s: %s", q, a.header.Get("Location"))
		}
	}
}

func TestS07_what_a_provider_says_is_text(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for _, evil := range []string{"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "a\r\nSet-Cookie: x=y", "\x1b[31mred", "‮evil", "{{7*7}}", "<svg/onload=alert(1)>", strings.Repeat("long ", 200), "javascript:alert(1)", "level=ERROR msg=forged\n"} {
		link, _ := w.connect("person", ``)
		b := w.browser()
		state := w.stateOf(b, link)
		a := b.get(w.url + "/callback/oauth2?" + url.Values{"state": {state}, "error": {evil}, "error_description": {evil}}.Encode())
		if a.status != 303 || strings.Contains(a.header.Get("Location"), "evil") {
			t.Fatalf("%q: %d %s", evil, a.status, a.body)
		}
		page := b.get(w.url + a.header.Get("Location"))
		said := page.body[strings.Index(page.body, "<main"):]
		if strings.Contains(said, "<script") || strings.Contains(said, "<img") || strings.Contains(said, "<svg") || strings.ContainsAny(said, "\x1b\r‮") || page.header.Get("Set-Cookie") != "" {
			t.Errorf("%q is shown as %s", evil, said)
		}
		if i := strings.Index(said, `class="said"`); i >= 0 && len(said[i:strings.Index(said[i:], "</p>")+i]) > 1600 {
			t.Errorf("%q is shown at length", evil[:20])
		}
	}
	for line := range strings.SplitSeq(w.log.String(), "\n") {
		if strings.HasPrefix(line, "level=ERROR") || strings.ContainsAny(line, "\x1b‮") {
			t.Errorf("the log has a line of its own: %q", line)
		}
	}
}

func TestS10_connecting_another_account_wants_to_be_confirmed(t *testing.T) {
	w := newWorld(t)
	w.declare(strings.Replace(declared, "scopes: [read]\n    api: { base_url: EM/api }\n", "scopes: [openid, read]\n    api: { base_url: EM/api }\n", 1))
	as := func(user, body string) (state, detail string) {
		link, flow := w.connect("person", body)
		b := w.browser()
		a := b.get(link)
		a = b.get(a.header.Get("Location") + "&_emulate=consent&login_hint=" + user)
		if a.status/100 != 3 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		b.get(a.header.Get("Location"))
		v := w.do("GET", "/api/v1/flows/"+flow, "").json(t)
		return v["state"].(string), fmt.Sprint(v["detail"])
	}
	if state, detail := as("alice", ``); state != "done" {
		t.Fatal(state, detail)
	}
	if state, detail := as("bob", ``); state != "failed" || !strings.Contains(detail, "bob") || !strings.Contains(detail, "other_account") {
		t.Errorf("%s: %s", state, detail)
	}
	if state, detail := as("bob", `{"other_account":true}`); state != "done" {
		t.Errorf("%s: %s", state, detail)
	}
}

func TestDeviceOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	a := w.do("POST", "/api/v1/connections/person/connect", `{"device":true}`)
	v := a.json(t)
	if a.status != 200 || v["user_code"] == nil || v["verification_uri"] == nil || v["kind"] != "device_code" || v["interval"] == nil || v["url"] != nil || strings.Contains(a.body, "device_code\":") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	flow := v["flow"].(string)
	if f := w.do("GET", "/api/v1/flows/"+flow, ""); f.json(t)["state"] != "pending" || strings.Contains(f.body, v["user_code"].(string)) {
		t.Errorf("S14 the code is shown to others: %s", f.body)
	}
	if err := w.em.ApproveDevice(v["user_code"].(string)); err != nil {
		t.Fatal(err)
	}
	// The first poll comes an interval after the beginning.
	deadline := time.Now().Add(20 * time.Second)
	for {
		f := w.do("GET", "/api/v1/flows/"+flow+"?wait=30s", "").json(t)
		if f["state"] == "done" {
			break
		}
		if f["state"] == "failed" || time.Now().After(deadline) {
			t.Fatalf("%v", f)
		}
	}
	if me := w.do("GET", "/proxy/person/me", ""); me.status != 200 {
		t.Errorf("%d %s", me.status, me.body)
	}
}

func TestConnectRefuses(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	for name, c := range map[string]struct {
		path, body string
		status     int
		text       string
	}{
		"a machine":             {"crm", ``, 200, ""}, // its provider has an authorize URL: a person may do it by hand
		"nobody":                {"nobody", ``, 404, "nobody"},
		"an unknown field":      {"person", `{"devise":true}`, 422, "body.devise"},
		"a field of other type": {"person", `{"device":"yes"}`, 422, "body.device"},
	} {
		if a := w.do("POST", "/api/v1/connections/"+c.path+"/connect", c.body); a.status != c.status || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.do("GET", "/api/v1/flows/nothing?wait=1s", ""); a.status != 404 {
		t.Errorf("an unknown flow: %d", a.status)
	}
	if a := w.do("GET", "/api/v1/flows/nothing?wait=x", ""); a.status != 422 {
		t.Errorf("a wrong wait: %d", a.status)
	}
}
