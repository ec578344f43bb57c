package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// importSet stores a token set for a connection.
func (w *world) importSet(name, set string) answer {
	w.t.Helper()
	return w.do("PUT", "/api/v1/connections/"+name+"/tokens", set)
}

// issue has the emulator consent without a browser and returns its token set.
func (w *world) issue(client, subject string) map[string]any {
	w.t.Helper()
	a := w.with("", "POST", w.em.URL()+"/_issue", mustJSON(map[string]string{"client": client, "subject": subject}))
	if a.status != 200 {
		w.t.Fatalf("issue: %d %s", a.status, a.body)
	}
	return a.json(w.t)
}

func (w *world) next(f string) {
	w.t.Helper()
	if a := w.with("", "POST", w.em.URL()+"/_next", f); a.status/100 != 2 {
		w.t.Fatalf("fault %s: %d %s", f, a.status, a.body)
	}
}

// expired is a token set of the emulator whose access token is spent.
func (w *world) expired(client string) string {
	set := w.issue(client, "alice")
	set["expires_in"] = 0
	return mustJSON(set)
}

// Every state answers its status, to a token read and to a proxied call, and
// never makes the call without a token.
func TestF91_states_are_statuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world)
		status  int
		slug    string
		detail  string
	}{
		"never authorized": {func(w *world) {}, 409, "connection-reauth", "never_authorized"},
		"invalid_grant": {func(w *world) {
			w.importSet("person", w.expired("crm-client"))
			w.em.RevokeGrants("crm-client")
		}, 409, "connection-reauth", "invalid_grant"},
		"invalid_client": {func(w *world) {
			w.importSet("person", w.expired("crm-client"))
			w.next(`{"at":"token","count":-1,"mode":"error:invalid_client"}`)
		}, 424, "connection-misconfigured", "invalid_client"},
		"an answer may be lost": {func(w *world) {
			w.importSet("person", w.expired("crm-client"))
			w.next(`{"at":"token","count":-1,"mode":"http_504"}`)
		}, 503, "connection-uncertain", "http_504"},
		"the provider is busy": {func(w *world) {
			w.importSet("person", w.expired("crm-client"))
			w.next(`{"at":"token","count":-1,"mode":"retry_after:30"}`)
		}, 503, "connection-attention", ""},
		"revoked": {func(w *world) {
			w.importSet("person", mustJSON(w.issue("crm-client", "alice")))
			if a := w.do("POST", "/api/v1/connections/person/revoke", ""); a.status != 200 || a.json(w.t)["revoked_at_provider"] != true {
				w.t.Errorf("revoke: %d %s", a.status, a.body)
			}
		}, 409, "connection-reauth", "revoked"},
	} {
		t.Run("F91 "+name, func(t *testing.T) {
			w := newWorld(t)
			w.declare(declared)
			c.prepare(w)
			for _, path := range []string{"/api/v1/connections/person/token", "/proxy/person/me"} {
				a := w.do("GET", path, "")
				v := a.json(t)
				if a.status != c.status || v["type"] != "https://freshet.dev/problems/"+c.slug || a.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
				if !strings.Contains(fmt.Sprint(v["detail"], v["reason"]), c.detail) || v["connection"] != "person" || v["state"] == "" || v["hint"] == nil {
					t.Errorf("%s says %s", path, a.body)
				}
				if c.status == 503 && a.header.Get("Retry-After") == "" {
					t.Errorf("%s: Retry-After %q", path, a.header.Get("Retry-After"))
				}
				if c.status == 409 && !strings.HasPrefix(path, "/proxy") && v["connect_url"] != w.url+"/api/v1/connections/person/connect" {
					t.Errorf("%s names no way to connect: %s", path, a.body)
				}
			}
			if n := len(w.em.Requests("api")); n != 0 {
				t.Errorf("the API saw %d calls", n)
			}
			a := w.do("GET", "/api/v1/connections/person", "")
			v := a.json(t)
			// A provider that asks for patience leaves the connection ok.
			if good := v["state"] == "ok" && v["retry_at"] != nil; a.status != 200 || !good && (v["state"] == "ok" || v["hint"] == nil) || v["spec"] == nil {
				t.Errorf("the connection is %s", a.body)
			}
		})
	}
}

// A token that lives is served while its refresh fails, and says so.
func TestStaleIsServed(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	set := w.issue("crm-client", "alice")
	set["expires_in"] = 3600
	set["expires_at"] = time.Now().Add(20 * time.Second).UTC().Format(time.RFC3339)
	if a := w.importSet("person", mustJSON(set)); a.status != 200 {
		t.Fatal(a)
	}
	w.next(`{"at":"token","count":-1,"mode":"http_503"}`)
	a := w.do("GET", "/api/v1/connections/person/token", "")
	v := a.json(t)
	if a.status != 200 || v["stale"] != true || v["cache_until"] != nil || v["access_token"] != set["access_token"] {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestCap077_no_credential_names_connection_and_what_to_do(t *testing.T) {
	t.Run("cap077", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		a := w.do("GET", "/api/v1/connections/person/token", "")
		if a.status != 409 || !strings.Contains(a.body, "person") || !strings.Contains(a.body, "freshet connect person") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if n := w.em.Count("token"); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
}

func TestCap078_a_missing_refresh_token_is_named(t *testing.T) {
	t.Run("cap078", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		set := w.issue("crm-client", "alice")
		delete(set, "refresh_token")
		set["expires_in"] = 0
		if a := w.importSet("person", mustJSON(set)); a.status != 200 {
			t.Fatal(a)
		}
		a := w.do("GET", "/api/v1/connections/person/token", "")
		if a.status != 409 || !strings.Contains(a.body, "refresh_token") || a.json(t)["state"] != "reauth" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if v := w.do("GET", "/api/v1/connections/person", "").json(t); v["state"] != "reauth" || v["reason"] != "no_refresh_token" {
			t.Errorf("it is %v", v)
		}
	})
}

func TestCap021_a_token_set_from_elsewhere_goes_on(t *testing.T) {
	t.Run("cap021", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		set := w.issue("crm-client", "alice")
		set["instance_url"] = "https://eu1.example" // a provider says more than the RFC
		a := w.importSet("person", mustJSON(set))
		if a.status != 200 || a.json(t)["state"] != "ok" || a.json(t)["generation"] != 1.0 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if n := w.em.Count("token"); n != 0 {
			t.Errorf("importing sent %d token requests", n)
		}
		if v := w.do("GET", "/api/v1/connections/person/token", "").json(t); v["access_token"] != set["access_token"] {
			t.Errorf("read %v", v["access_token"])
		}
		v := w.do("POST", "/api/v1/connections/person/refresh", "").json(t)
		if v["generation"] != 2.0 || v["access_token"] == set["access_token"] {
			t.Errorf("after a refresh %v", v)
		}
		if me := w.do("GET", "/proxy/person/me", ""); me.status != 200 {
			t.Errorf("the API says %d %s", me.status, me.body)
		}
	})
}

func TestImportReadsSets(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	now := time.Now()
	for name, c := range map[string]struct {
		set     string
		status  int
		text    string
		expires time.Duration // from now; 0: in the past or now
		unknown bool
	}{
		"expires_in":                    {`{"access_token":"a1","expires_in":3600}`, 200, "", time.Hour, false},
		"expires_in as text":            {`{"access_token":"a2","expires_in":"3600"}`, 200, "", time.Hour, false},
		"expires_in 0":                  {`{"access_token":"a3","refresh_token":"r3","expires_in":0}`, 200, "", 0, false},
		"expires_in negative":           {`{"access_token":"a4","refresh_token":"r4","expires_in":-5}`, 200, "", 0, false},
		"expires_at":                    {`{"access_token":"a5","expires_at":"` + now.Add(2*time.Hour).UTC().Format(time.RFC3339) + `"}`, 200, "", 2 * time.Hour, false},
		"expires_at in the past":        {`{"access_token":"a6","refresh_token":"r6","expires_in":3600,"expires_at":"2020-01-01T00:00:00Z"}`, 200, "", 0, false},
		"expires_at in seconds":         {`{"access_token":"a7","expires_at":` + fmt.Sprint(now.Add(time.Hour).Unix()) + `}`, 200, "", time.Hour, false},
		"no lifetime":                   {`{"access_token":"a8"}`, 200, "", 0, true},
		"a refresh token alone":         {`{"refresh_token":"r9"}`, 200, "", 0, false},
		"neither":                       {`{"expires_in":3600}`, 422, "refresh_token", 0, false},
		"not an object":                 {`["CANARY-secret"]`, 400, "JSON object", 0, false},
		"not JSON":                      {`access_token=CANARY-secret`, 400, "JSON object", 0, false},
		"expires_at that is no instant": {`{"access_token":"a10","expires_at":"tomorrow"}`, 422, "expires_at", 0, false},
	} {
		a := w.importSet("person", c.set)
		if a.status != c.status || !strings.Contains(a.body, c.text) || strings.Contains(a.body, "CANARY") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
			continue
		}
		if c.status != 200 {
			continue
		}
		raw := a.json(t)["expires_at"]
		if c.unknown {
			if raw != nil {
				t.Errorf("%s: expires_at %v", name, raw)
			}
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, raw.(string))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		left := at.Sub(now)
		if c.expires == 0 && left > time.Minute || c.expires > 0 && (left < c.expires-time.Minute || left > c.expires+time.Minute) {
			t.Errorf("%s: it expires in %v, want %v", name, left, c.expires)
		}
	}
	if a := w.importSet("nobody", `{"access_token":"a"}`); a.status != 404 {
		t.Errorf("an unknown connection: %d %s", a.status, a.body)
	}
}

func TestF25_one_grant_in_two_connections_is_refused(t *testing.T) {
	w := newWorld(t)
	w.declare(declared + "  twin: { client: emu, grant: authorization_code }\n")
	set := mustJSON(w.issue("crm-client", "alice"))
	if a := w.importSet("person", set); a.status != 200 {
		t.Fatal(a)
	}
	a := w.importSet("twin", set)
	if a.status != 409 || a.json(t)["type"] != "https://freshet.dev/problems/duplicate-grant" || !strings.Contains(a.body, "person") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if v := w.do("GET", "/api/v1/connections/twin", "").json(t); v["generation"] != 0.0 {
		t.Errorf("it was stored all the same: %v", v)
	}
	if a := w.importSet("person", set); a.status != 200 {
		t.Errorf("the same connection again: %d %s", a.status, a.body)
	}
}

// idToken is an unsigned ID token for a subject, as a token endpoint gives it.
func idToken(sub string) string { return "eyJhbGciOiJub25lIn0." + b64(`{"sub":"`+sub+`"}`) + "." }

func TestS10_another_account_wants_to_be_confirmed(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	put := func(sub, query string) answer {
		return w.do("PUT", "/api/v1/connections/person/tokens"+query, mustJSON(map[string]any{"access_token": "at-" + sub, "refresh_token": "rt-" + sub, "expires_in": 3600, "id_token": idToken(sub)}))
	}
	if a := put("alice", ""); a.status != 200 {
		t.Fatal(a)
	}
	if a := put("alice", ""); a.status != 200 {
		t.Errorf("the same account: %d %s", a.status, a.body)
	}
	a := put("bob", "")
	if a.status != 409 || a.json(t)["type"] != "https://freshet.dev/problems/other-account" || !strings.Contains(a.body, "other_account=true") {
		t.Errorf("another account: %d %s", a.status, a.body)
	}
	if v := w.do("GET", "/api/v1/connections/person/token", "").json(t); v["access_token"] != "at-alice" {
		t.Errorf("it was taken all the same: %v", v)
	}
	if a := put("bob", "?other_account=true"); a.status != 200 {
		t.Errorf("confirmed: %d %s", a.status, a.body)
	}
	if a := put("bob", "?otheraccount=true"); a.status != 422 {
		t.Errorf("a mistyped parameter: %d %s", a.status, a.body)
	}
}

// F26: whoever edits, reconnects or deletes while a refresh is in flight wins.
func TestF26_edits_during_a_refresh(t *testing.T) {
	held := func(t *testing.T) (*world, chan answer) {
		w := newWorld(t)
		w.declare(declared)
		if a := w.importSet("person", w.expired("crm-client")); a.status != 200 {
			t.Fatal(a)
		}
		w.next(`{"at":"refresh","mode":"after:hold"}`)
		done := make(chan answer, 1)
		go func() { done <- w.do("GET", "/api/v1/connections/person/token", "") }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := w.em.AwaitHeld(ctx, 1); err != nil {
			t.Fatal(err)
		}
		return w, done
	}
	t.Run("F26 a reconnect wins", func(t *testing.T) {
		w, done := held(t)
		set := w.issue("crm-client", "alice")
		if a := w.importSet("person", mustJSON(set)); a.status != 200 {
			t.Fatal(a)
		}
		w.em.Release()
		<-done
		if v := w.do("GET", "/api/v1/connections/person/token", "").json(t); v["access_token"] != set["access_token"] {
			t.Errorf("the late answer took its place: %v", v)
		}
	})
	t.Run("F26 a delete leaves nothing behind", func(t *testing.T) {
		w, done := held(t)
		if a := w.do("DELETE", "/api/v1/connections/person", ""); a.status != 200 {
			t.Fatal(a)
		}
		w.em.Release()
		<-done
		if a := w.do("GET", "/api/v1/connections/person", ""); a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if _, err := w.store.TokenByName(t.Context(), "person"); err == nil {
			t.Error("its row is there")
		}
		w.declare(declared) // a new one of the same name has none of its tokens
		if a := w.do("GET", "/api/v1/connections/person/token", ""); a.status != 409 {
			t.Errorf("the new one: %d %s", a.status, a.body)
		}
	})
	t.Run("F26 an edit keeps the answer", func(t *testing.T) {
		w, done := held(t)
		w.declare(strings.Replace(declared, "    scopes: [read]\n    api: { base_url: EM/api }\n", "    scopes: [read]\n    description: edited\n    api: { base_url: EM/api }\n", 1))
		w.em.Release()
		if a := <-done; a.status != 200 {
			t.Errorf("who waited: %d %s", a.status, a.body)
		}
		v := w.do("GET", "/api/v1/connections/person/token", "").json(t)
		if v["generation"] != 2.0 {
			t.Errorf("%v", v)
		}
	})
}

// G7 over HTTP: a program whose API refuses every token makes one refresh and
// then rests.
func TestRejectedGenerations(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	first := w.do("GET", "/api/v1/connections/crm/token", "").json(t)
	second := w.do("POST", "/api/v1/connections/crm/refresh", `{"rejected_generation":1}`).json(t)
	if first["generation"] != 1.0 || second["generation"] != 2.0 || first["access_token"] == second["access_token"] {
		t.Fatalf("%v, %v", first, second)
	}
	// A late one, of a generation that is gone, costs nothing.
	if v := w.do("POST", "/api/v1/connections/crm/refresh", `{"rejected_generation":1}`).json(t); v["generation"] != 2.0 {
		t.Errorf("%v", v)
	}
	// What the refusal brought is refused as well, again and again.
	for range 20 {
		if a := w.do("POST", "/api/v1/connections/crm/refresh", `{"rejected_generation":2}`); a.status != 200 || a.json(t)["generation"] != 2.0 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if n := w.em.Count("token"); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	// A person may always ask.
	if v := w.do("POST", "/api/v1/connections/crm/refresh", "").json(t); v["generation"] != 3.0 {
		t.Errorf("%v", v)
	}
	for body, status := range map[string]int{`{"rejected_generation":"2"}`: 422, `{"rejected_generation":-1}`: 422, `{"generation":2}`: 422, `[]`: 422, `{`: 400, `{}{}`: 400} {
		if a := w.do("POST", "/api/v1/connections/crm/refresh", body); a.status != status {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestCap025_verify(t *testing.T) {
	t.Run("cap025", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		v := w.do("POST", "/api/v1/connections/crm/verify", "").json(t)
		if v["verified"] != true || v["status"] != 200.0 || v["path"] != "/me" {
			t.Errorf("%v", v)
		}
		w.next(`{"at":"api","count":-1,"mode":"http_500"}`)
		v = w.do("POST", "/api/v1/connections/crm/verify", "").json(t)
		if v["verified"] != false || v["status"] != 500.0 || v["detail"] == nil {
			t.Errorf("%v", v)
		}
		w.next(`{"at":"api","count":-1,"mode":"reset"}`)
		if a := w.do("POST", "/api/v1/connections/crm/verify", ""); a.status != 200 && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := w.do("POST", "/api/v1/connections/person/verify", ""); a.status != 422 || !strings.Contains(a.body, "api.verify") {
			t.Errorf("nothing to verify with: %d %s", a.status, a.body)
		}
	})
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	b.WriteString(declared)
	for i := range 7 {
		fmt.Fprintf(&b, "  c%d: { client: emu, grant: authorization_code }\n", i)
	}
	w.declare(b.String())
	w.do("GET", "/api/v1/connections/crm/token", "")
	walk := func(query string) (names []string) {
		cursor := ""
		for range 20 {
			a := w.do("GET", "/api/v1/connections?limit=4"+query+cursor, "")
			var v struct {
				Connections []struct{ Name, State string }
				NextCursor  string `json:"next_cursor"`
			}
			if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			for _, c := range v.Connections {
				names = append(names, c.Name)
			}
			if v.NextCursor == "" {
				return names
			}
			cursor = "&cursor=" + v.NextCursor
		}
		t.Fatal("the list does not end")
		return nil
	}
	if got := strings.Join(walk(""), " "); got != "c0 c1 c2 c3 c4 c5 c6 crm person" {
		t.Errorf("all: %s", got)
	}
	if got := strings.Join(walk("&state=ok"), " "); got != "crm" {
		t.Errorf("ok: %s", got)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "state=good", "stat=ok"} {
		if a := w.do("GET", "/api/v1/connections?"+bad, ""); a.status != 422 || !strings.Contains(a.body, "query.") {
			t.Errorf("?%s: %d %s", bad, a.status, a.body)
		}
	}
}

func TestCap022_everybody_reads_the_current_token(t *testing.T) {
	t.Run("cap022", func(t *testing.T) {
		w := newWorld(t)
		w.declare(declared)
		one, two := w.key("one", "token:crm"), w.key("two", "token:c*")
		read := func(key string) any {
			return w.with(key, "GET", "/api/v1/connections/crm/token", "").json(t)["access_token"]
		}
		first := read(one)
		if read(two) != first {
			t.Error("two programs see two tokens")
		}
		if a := w.with(one, "POST", "/api/v1/connections/crm/refresh", ""); a.status != 200 {
			t.Fatal(a)
		}
		if second := read(two); second == first || second != read(one) {
			t.Errorf("after a refresh: %v, then %v", first, second)
		}
	})
}
