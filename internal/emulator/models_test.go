package emulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// Each model is a story: refreshes with the refresh token of a turn (0 is the
// first, -1 the newest) and what comes of each.
func TestModels(t *testing.T) {
	type step struct {
		with    int           // which refresh token, by order of issue
		later   time.Duration // before it, the clock moves
		use     bool          // before it, the newest access token is used
		code    string        // OAuth error; empty: granted
		rotates bool          // the answer brings a refresh token not seen before
		silent  bool          // the answer brings none
		same    bool          // the answer is the one before to the byte
	}
	for _, tt := range []struct {
		name    string
		profile emulator.Profile
		steps   []step
		revoked bool // the family is, at the end
	}{
		{"static", emulator.Profile{Model: emulator.Static}, []step{{with: 0}, {with: 0}}, false},
		{"omitted", emulator.Profile{Model: emulator.Omitted}, []step{{with: 0, silent: true}, {with: 0, silent: true}}, false},
		{"sometimes", emulator.Profile{Model: emulator.Sometimes, Every: 2}, []step{
			{with: 0}, {with: 0, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 1}, {with: 1, rotates: true},
		}, false},
		{"rotate", emulator.Profile{Model: emulator.Rotate}, []step{
			{with: 0, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 1, rotates: true},
		}, false},
		{"rotate, reuse revokes", emulator.Profile{Model: emulator.Rotate, Reuse: "revokes"}, []step{
			{with: 0, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 1, code: "invalid_grant"},
		}, true},
		{"grace within", emulator.Profile{Model: emulator.Grace, Grace: at(30 * time.Second)}, []step{
			{with: 0, rotates: true}, {with: 0, later: 30*time.Second - 1, rotates: true}, {with: 2, rotates: true},
		}, false},
		{"grace over", emulator.Profile{Model: emulator.Grace}, []step{
			{with: 0, rotates: true}, {with: 0, later: 30 * time.Second, code: "invalid_grant"}, {with: 1, code: "invalid_grant"},
		}, true},
		{"grace over, reuse refused", emulator.Profile{Model: emulator.Grace, Grace: at(time.Second), Reuse: "refused"}, []step{
			{with: 0, rotates: true}, {with: 0, later: time.Second, code: "invalid_grant"}, {with: 1, rotates: true},
		}, false},
		{"previous_only", emulator.Profile{Model: emulator.PreviousOnly}, []step{
			{with: 0, rotates: true}, {with: 0, later: time.Hour, rotates: true}, {with: 2, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 3, code: "invalid_grant"},
		}, true},
		{"replay", emulator.Profile{Model: emulator.Replay}, []step{
			{with: 0, rotates: true}, {with: 0, later: time.Hour, same: true}, {with: 1, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 1, same: true},
		}, false},
		{"replay_until_use, unused", emulator.Profile{Model: emulator.ReplayUntilUse}, []step{
			{with: 0, rotates: true}, {with: 0, later: 50 * time.Minute, same: true},
		}, false},
		{"replay_until_use, used", emulator.Profile{Model: emulator.ReplayUntilUse}, []step{
			{with: 0, rotates: true}, {with: 0, use: true, later: 10*time.Second - 1, same: true}, {with: 0, later: 1, code: "invalid_grant"}, {with: 1, rotates: true},
		}, false},
		{"strict", emulator.Profile{Model: emulator.Strict}, []step{
			{with: 0, rotates: true}, {with: 1, rotates: true}, {with: 0, code: "invalid_grant"}, {with: 2, code: "invalid_grant"},
		}, true},
		{"accepting", emulator.Profile{Model: emulator.Accepting}, []step{
			{with: 0, rotates: true}, {with: 0, rotates: true}, {with: 1, rotates: true},
		}, false},
		{"refresh_lifetime", emulator.Profile{Model: emulator.Static, RefreshLifetime: at(time.Minute)}, []step{
			{with: 0, later: time.Minute - 1}, {with: 0, later: 1, code: "invalid_grant"},
		}, false},
		{"idle_lifetime", emulator.Profile{Model: emulator.Static, IdleLifetime: at(time.Minute)}, []step{
			{with: 0, later: time.Minute - 1}, {with: 0, later: time.Minute - 1}, {with: 0, later: time.Minute, code: "invalid_grant"},
		}, false},
		{"F45 early_refresh", emulator.Profile{Model: emulator.Rotate, Lifetime: at(10 * time.Minute), EarlyRefresh: at(30 * time.Second)}, []step{
			{with: 0, later: 9*time.Minute + 30*time.Second - 1, code: "invalid_request"}, {with: 0, later: 1, rotates: true}, {with: 1, code: "invalid_request"},
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.profile.Subject = "alice"
			r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "crm", Secret: "s", Profile: tt.profile}}})
			before := r.login("crm")
			issued := []string{before.str("refresh_token")}
			access := before.str("access_token")
			for i, s := range tt.steps {
				if s.use {
					r.wants("use", r.me(access), 200, "")
				}
				r.e.Advance(s.later)
				a := r.refresh("crm", issued[s.with])
				if s.code != "" {
					r.wants("refresh", a, 400, s.code)
					continue
				}
				rt := a.str("refresh_token")
				known := false
				for _, old := range issued {
					known = known || old == rt
				}
				switch {
				case a.status != 200:
					t.Fatalf("step %d = %d %s, want a grant", i, a.status, a.body)
				case s.silent && rt != "":
					t.Errorf("step %d brought a refresh token, want none", i)
				case s.rotates && (known || rt == ""):
					t.Errorf("step %d brought no new refresh token", i)
				case !s.rotates && !s.silent && !known:
					t.Errorf("step %d brought a new refresh token, want the former", i)
				case s.same && a.str("access_token") != access:
					t.Errorf("step %d brought another access token, want the same answer again", i)
				case !s.same && a.str("access_token") == access:
					t.Errorf("step %d brought the former access token", i)
				}
				access = a.str("access_token")
				if s.rotates {
					issued = append(issued, rt)
				}
				before = a
			}
			if got := r.me(access).status == 401; got != tt.revoked && !strings.Contains(tt.name, "lifetime") {
				t.Errorf("newest access token refused: %v, want %v", got, tt.revoked)
			}
			if got := r.e.Stats().Revoked["reuse"] > 0; got != tt.revoked {
				t.Errorf("family revoked: %v, want %v", got, tt.revoked)
			}
		})
	}
}

func TestARefreshTokenIsItsClientsOnly(t *testing.T) {
	r := start(t, emulator.Options{})
	rt := r.login("crm").str("refresh_token")
	r.wants("another client", r.refresh("other", rt), 400, "invalid_grant")
	r.wants("its own", r.refresh("crm", rt), 200, "")
}

func TestF46_live_limit_kills_the_oldest_access_token(t *testing.T) {
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "zoho", Secret: "s", Profile: emulator.Profile{Model: emulator.Omitted, LiveLimit: 2}}}})
	first := r.login("zoho")
	second := r.refresh("zoho", first.str("refresh_token"))
	r.wants("first of two", r.me(first.str("access_token")), 200, "")
	third := r.refresh("zoho", first.str("refresh_token"))
	r.wants("first of three", r.me(first.str("access_token")), 401, "invalid_token")
	r.wants("second of three", r.me(second.str("access_token")), 200, "")
	r.wants("third of three", r.me(third.str("access_token")), 200, "")
	if n := r.e.Stats().LiveKilled; n != 1 {
		t.Errorf("live_killed = %d, want 1", n)
	}
	// One that expired makes room by itself.
	r.e.Advance(time.Hour)
	r.refresh("zoho", first.str("refresh_token"))
	if n := r.e.Stats().LiveKilled; n != 1 {
		t.Errorf("live_killed = %d after two expired, want 1 still", n)
	}
}

func TestF41_the_same_access_token_until_it_expires(t *testing.T) {
	r := start(t, emulator.Options{Default: emulator.Profile{SameAccess: true, Lifetime: at(time.Minute)}})
	ask := func() answer {
		return r.form("/token", []string{"grant_type", "client_credentials", "client_id", "marketo", "client_secret", "s"})
	}
	first := ask()
	r.e.Advance(20 * time.Second)
	second := ask()
	if first.str("access_token") != second.str("access_token") {
		t.Error("a second request brought another access token while the first lives")
	}
	if got := second.v["expires_in"]; got != 40.0 {
		t.Errorf("expires_in = %v, want 40: what is left", got)
	}
	r.e.Advance(40 * time.Second)
	if third := ask(); third.str("access_token") == first.str("access_token") {
		t.Error("an expired access token was answered again")
	}
}

func TestF39_another_users_token(t *testing.T) {
	r := start(t, emulator.Options{Default: emulator.Profile{Scope: "openid read", IDToken: "ES256"}})
	first := r.login("crm")
	mixed := r.refresh("crm", first.str("refresh_token"), "X-Emulate", "other_user:bob")
	if me := r.me(mixed.str("access_token")); me.str("sub") != "bob" {
		t.Errorf("sub = %q, want bob", me.str("sub"))
	}
	if sub := claimsOf(t, mixed.str("id_token"))["sub"]; sub != "bob" {
		t.Errorf("ID token sub = %v, want bob", sub)
	}
	r.wants("refresh with the spent token", r.refresh("crm", first.str("refresh_token")), 400, "invalid_grant")
	if again := r.refresh("crm", mixed.str("refresh_token")); again.status != 200 {
		t.Errorf("refresh with the other user's token = %d, want 200", again.status)
	}
}

func TestF40_scope_narrowed(t *testing.T) {
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "crm", Secret: "s", Profile: emulator.Profile{Scope: "read write", Narrow: "read"}}}})
	first := r.login("crm")
	if s := first.str("scope"); s != "read write" {
		t.Errorf("first scope = %q", s)
	}
	if s := r.refresh("crm", first.str("refresh_token")).str("scope"); s != "read" {
		t.Errorf("scope after a refresh = %q, want read", s)
	}
	if s := r.login("other").str("scope"); s != "read write" {
		t.Errorf("another client's scope = %q", s)
	}
	if s := r.form("/token", []string{"grant_type", "client_credentials", "client_id", "x", "client_secret", "s"}, "X-Emulate", "narrow:none").str("scope"); s != "none" {
		t.Errorf("scope of a request that asks for narrow = %q, want none", s)
	}
}

func TestAnUnknownClientIsTreatedAsItsNameSays(t *testing.T) {
	r := start(t, emulator.Options{})
	for id, rotates := range map[string]bool{"static": false, "static-1": false, "strict-1": true, "omitted-1": false, "crm": true, "replay_until_use-x": true, "staticky": true} {
		first := r.login(id)
		rt := r.refresh(id, first.str("refresh_token")).str("refresh_token")
		if got := rt != "" && rt != first.str("refresh_token"); got != rotates {
			t.Errorf("%s rotates: %v, want %v", id, got, rotates)
		}
	}
	closed := start(t, emulator.Options{Registered: true})
	a := closed.form("/token", []string{"grant_type", "client_credentials", "client_id", "crm", "client_secret", "s"})
	closed.wants("an unknown client", a, 401, "invalid_client")
}

// What an answer says of the lifetime, in every form.
func TestExpiryForms(t *testing.T) {
	for form, want := range map[string]any{
		"number": 90.0, "string": "90", "float": 90.0, "minutes": 1.5, "ms": 90000.0, "missing": nil,
		"at": float64(begin.Unix() + 90), "at_ms": float64(begin.UnixMilli() + 90000), "rfc3339": "2026-11-20T12:01:30Z",
	} {
		t.Run(form, func(t *testing.T) {
			r := start(t, emulator.Options{Default: emulator.Profile{Expires: form, Lifetime: at(90 * time.Second)}})
			a := r.login("crm")
			got := a.v["expires_in"]
			if strings.HasPrefix(form, "at") || form == "rfc3339" {
				got = a.v["expires_at"]
			}
			if got != want {
				t.Errorf("lifetime = %v in %s, want %v", got, a.body, want)
			}
			r.e.Advance(90*time.Second - 1)
			r.wants("a moment before expiry", r.me(a.str("access_token")), 200, "")
			r.e.Advance(1)
			r.wants("at expiry", r.me(a.str("access_token")), 401, "invalid_token")
		})
	}
	t.Run("F61 claimed", func(t *testing.T) {
		r := start(t, emulator.Options{Default: emulator.Profile{Claimed: at(time.Hour), Lifetime: at(time.Second)}})
		a := r.login("crm")
		r.e.Advance(time.Second)
		if a.v["expires_in"] != 3600.0 || r.me(a.str("access_token")).status != 401 {
			t.Error("the answer should promise an hour of a token that lives a second")
		}
	})
}

func TestAnswersInOtherShapes(t *testing.T) {
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "crm", Secret: "s", Profile: emulator.Profile{
		Names: map[string]string{"access_token": "sessionToken", "scope": ""}, Wrap: "data.session", Type: "JWT",
	}}}})
	a := r.login("crm")
	data, _ := a.v["data"].(map[string]any)
	session, _ := data["session"].(map[string]any)
	if s, _ := session["sessionToken"].(string); s == "" || r.me(s).status != 200 {
		t.Errorf("answer = %s, want a good token at data.session.sessionToken", a.body)
	}
	if _, there := session["scope"]; there || session["token_type"] != "JWT" {
		t.Errorf("answer = %s, want no scope and token_type JWT", a.body)
	}
}

func TestHostileAnswersAreOddAndLegal(t *testing.T) {
	r := start(t, emulator.Hostile())
	a := r.login("crm")
	if kind := a.str("token_type"); kind == "Bearer" || !strings.EqualFold(kind, "bearer") {
		t.Errorf("token_type = %q, want an odd casing of Bearer", kind)
	}
	if a.v["expires_in"] != "60" {
		t.Errorf("expires_in = %v, want a string", a.v["expires_in"])
	}
	if _, there := a.v["x_tenant"]; !there {
		t.Error("no unknown member")
	}
	for _, c := range []string{"+", "%2F", "="} {
		if !strings.Contains(a.str("refresh_token"), c) {
			t.Errorf("refresh token lacks %s", c)
		}
	}
	r.wants("use", r.me(a.str("access_token")), 200, "")
	b := r.refresh("crm", a.str("refresh_token"))
	if b.status != 200 {
		t.Fatalf("refresh = %d %s", b.status, b.body)
	}
	for name, bad := range map[string]answer{
		"JSON body":     r.json("/token", `{"grant_type":"refresh_token","client_id":"crm","client_secret":"s"}`),
		"GET":           r.get("/token?grant_type=refresh_token&client_id=crm&client_secret=s"),
		"in the URL":    r.form("/token?client_id=crm", []string{"grant_type", "client_credentials", "client_id", "crm", "client_secret", "s"}),
		"twice":         r.form("/token", []string{"grant_type", "client_credentials", "grant_type", "x", "client_id", "crm", "client_secret", "s"}),
		"redirect_uri":  r.form("/token", []string{"grant_type", "refresh_token", "refresh_token", "x", "redirect_uri", "x", "client_id", "crm", "client_secret", "s"}),
		"two ways":      r.form("/token", []string{"grant_type", "client_credentials", "client_id", "crm", "client_secret", "s"}, "Authorization", "Basic Y3JtOnM="),
		"PKCE is asked": r.get("/authorize?response_type=code&client_id=crm&state=x&redirect_uri=http://127.0.0.1/cb"),
	} {
		if name == "PKCE is asked" {
			if !strings.Contains(bad.header.Get("Location"), "error=invalid_request") {
				t.Errorf("%s: %d %s", name, bad.status, bad.header.Get("Location"))
			}
			continue
		}
		if bad.str("error") != "invalid_request" {
			t.Errorf("%s = %d %s, want invalid_request", name, bad.status, bad.body)
		}
	}
	emulatortest.Oracles(t, r.e, nil, b.str("refresh_token"))
}
