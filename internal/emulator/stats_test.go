package emulator_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
)

func TestOraclesSayNothingOfAGoodClient(t *testing.T) {
	for _, model := range emulator.Models() {
		t.Run(string(model), func(t *testing.T) {
			r := start(t, emulator.Options{Default: emulator.Profile{Model: model}})
			rt := r.login("crm").str("refresh_token")
			for range 10 {
				a := r.refresh("crm", rt)
				if a.status != 200 {
					t.Fatalf("refresh = %d %s", a.status, a.body)
				}
				if next := a.str("refresh_token"); next != "" {
					rt = next
				}
			}
			if breaches := r.e.CheckOracles(nil, rt); len(breaches) > 0 {
				t.Errorf("breaches: %v", breaches)
			}
		})
	}
}

func TestOraclesSeeEveryBreach(t *testing.T) {
	r := start(t, emulator.Options{Default: emulator.Profile{Model: emulator.Strict}})
	rt := r.login("crm").str("refresh_token")
	r.refresh("crm", rt)
	r.refresh("crm", rt)
	text := strings.Join(r.e.CheckOracles(nil, rt, "unknown"), "\n")
	for _, want := range []string{"O2: refresh token " + emulator.TokenHash(rt), "ended rotated", "O3: 1 families of client crm", "O4: refresh token " + emulator.TokenHash(rt), "O4: refresh token " + emulator.TokenHash("unknown")} {
		if !strings.Contains(text, want) {
			t.Errorf("breaches lack %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, rt) || strings.Contains(text, "O1") {
		t.Errorf("breaches hold a token, or O1:\n%s", text)
	}
	recorded := func(r emulator.Reuse) bool { return r.Client == "crm" && r.FirstOutcome == "rotated" }
	if text := strings.Join(r.e.CheckOracles(recorded), "\n"); strings.Contains(text, "O2") {
		t.Errorf("an attempt that was recorded is a breach: %s", text)
	}

	t.Run("F35 a refused token comes back", func(t *testing.T) {
		r := start(t, emulator.Options{})
		rt := r.login("crm").str("refresh_token")
		r.next(emulator.Fault{At: "refresh", Mode: emulator.Modes{"error:invalid_grant"}})
		r.refresh("crm", rt)
		r.refresh("crm", rt)
		if text := strings.Join(r.e.CheckOracles(nil), "\n"); !strings.Contains(text, "ended refused") {
			t.Errorf("breaches = %s", text)
		}
	})
	t.Run("asking again after a 429 is right", func(t *testing.T) {
		r := start(t, emulator.Options{})
		rt := r.login("crm").str("refresh_token")
		r.next(emulator.Fault{At: "refresh", Mode: emulator.Modes{"retry_after:1"}})
		r.refresh("crm", rt)
		r.refresh("crm", rt)
		if breaches := r.e.CheckOracles(nil); len(breaches) > 0 {
			t.Errorf("breaches: %v", breaches)
		}
	})
	t.Run("Usable and Valid", func(t *testing.T) {
		r := start(t, emulator.Options{Default: emulator.Profile{Lifetime: at(time.Minute)}})
		a := r.login("crm")
		if err := r.e.Usable(a.str("refresh_token")); err != nil {
			t.Error(err)
		}
		if err := r.e.Valid(a.str("access_token")); err != nil {
			t.Error(err)
		}
		r.refresh("crm", a.str("refresh_token"))
		r.e.Advance(time.Minute)
		if r.e.Usable(a.str("refresh_token")) == nil || r.e.Valid(a.str("access_token")) == nil || r.e.Valid("x") == nil {
			t.Error("a spent refresh token is usable, or an expired access token valid")
		}
	})
}

func TestStats(t *testing.T) {
	r := start(t, emulator.Options{})
	a := r.login("crm")
	b := r.refresh("crm", a.str("refresh_token"))
	r.refresh("crm", "nonsense")
	r.me(b.str("access_token"))
	r.get("/api/me")
	s := r.e.Stats()
	if s.Requests["token"] != 3 || s.Requests["api"] != 2 || s.Grants["refresh_token"] != 2 || s.Grants["password"] != 1 || s.Errors["invalid_grant"] != 1 {
		t.Errorf("requests %v, grants %v, errors %v", s.Requests, s.Grants, s.Errors)
	}
	if c := s.Clients["crm"]; c.Requests != 3 || c.Granted != 2 || c.Families != 1 || c.Errors["invalid_grant"] != 1 || c.InFlightMax != 1 {
		t.Errorf("client = %+v", c)
	}
	if s.API["ok"] != 1 || s.API["unauthenticated"] != 1 {
		t.Errorf("api = %v", s.API)
	}
	if len(s.RefreshTokens) != 2 || len(s.Log) != 5 {
		t.Fatalf("%d refresh tokens, %d lines", len(s.RefreshTokens), len(s.Log))
	}
	i := slices.IndexFunc(s.RefreshTokens, func(x emulator.RefreshStats) bool { return x.Hash == emulator.TokenHash(a.str("refresh_token")) })
	if i < 0 || s.RefreshTokens[i].Last != "rotated" || s.RefreshTokens[i].Presented != 1 || s.RefreshTokens[i].Grant != "g1" {
		t.Errorf("refresh tokens %+v", s.RefreshTokens)
	}
	for i, line := range s.Log {
		if line.End < line.Start || i > 0 && line.Start < s.Log[i-1].Start || !line.At.Equal(begin) {
			t.Errorf("stamps of line %d: %+v", i, line)
		}
	}
	for _, path := range []string{"/_stats", "/_stats?log"} {
		out := r.get(path)
		if strings.Contains(string(out.body), a.str("refresh_token")) || out.v["requests"].(map[string]any)["token"] != 3.0 {
			t.Errorf("%s = %s", path, out.body)
		}
		if _, log := out.v["log"]; log != strings.Contains(path, "log") {
			t.Errorf("%s has a log: %v", path, log)
		}
	}
	r.e.ResetStats()
	if s := r.e.Stats(); s.Requests["token"] != 0 || len(s.Log) != 0 || len(s.Reuses) != 0 || s.GrantsLive != 1 {
		t.Errorf("after a reset of what was counted: %+v", s)
	}
	if c := r.refresh("crm", b.str("refresh_token")); c.status != 200 {
		t.Error("a reset of what was counted forgot a grant")
	}
}

func TestO6_every_issued_token_is_a_canary(t *testing.T) {
	for _, o := range []emulator.Options{{}, emulator.Hostile(), {Default: emulator.Profile{Format: "jwt", Scope: "openid", IDToken: "ES256"}}} {
		r := start(t, o)
		a := r.login("crm")
		b := r.refresh("crm", a.str("refresh_token"))
		issued, cores := r.e.IssuedTokens(), r.e.Canaries()
		for _, token := range []string{a.str("access_token"), a.str("refresh_token"), b.str("access_token"), b.str("refresh_token")} {
			if !slices.Contains(issued, token) {
				t.Errorf("%s is not among the issued tokens", token)
			}
			for _, form := range []string{token, url.QueryEscape(token), url.PathEscape(token), fmt.Sprintf("%q", token)} {
				if !slices.ContainsFunc(cores, func(c string) bool { return len(c) >= 24 && strings.Contains(form, c) }) {
					t.Errorf("no canary in %s", form)
				}
			}
		}
	}
}

func TestResetForgets(t *testing.T) {
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "crm", Secret: "s"}}})
	a := r.login("crm")
	r.login("other")
	r.e.Advance(time.Hour)
	r.next(emulator.Fault{Mode: emulator.Modes{"drop"}})
	if err := r.e.Change([]byte(`{"id":"crm","secret":"changed"}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.e.Reset(); err != nil {
		t.Fatal(err)
	}
	r.wants("refresh with a forgotten token", r.refresh("crm", a.str("refresh_token")), 400, "invalid_grant")
	r.wants("use of a forgotten token", r.me(a.str("access_token")), 401, "invalid_token")
	if s := r.e.Stats(); !s.Now.Equal(begin) || s.Queued != 0 || len(s.Clients) != 3 {
		t.Errorf("after a reset: now %s, %d queued, clients %v", s.Now, s.Queued, s.Clients)
	}
	if b := r.login("crm"); b.str("access_token") == a.str("access_token") || b.str("refresh_token") == a.str("refresh_token") {
		t.Error("a token was issued twice")
	}
}

func TestNamesFollowFromTheSeed(t *testing.T) {
	run := func(seed string) []string {
		r := start(t, emulator.Options{Seed: seed, Issuer: "https://id.example", Default: emulator.Profile{Scope: "openid", IDToken: "ES256"}})
		a := r.login("crm")
		d := r.form("/device_authorization", []string{"client_id", "tv", "client_secret", "s"})
		return []string{a.str("access_token"), a.str("refresh_token"), a.str("id_token"), d.str("device_code"), d.str("user_code")}
	}
	one, two, other := run("1"), run("1"), run("2")
	for i := range one {
		if one[i] != two[i] {
			t.Errorf("value %d: %s and %s from the same seed", i, one[i], two[i])
		}
		if one[i] == other[i] {
			t.Errorf("value %d: %s from two seeds", i, one[i])
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := start(t, emulator.Options{Keep: 10, LogSize: 5, Default: emulator.Profile{Model: emulator.Accepting}})
	var first answer
	for i := range 25 {
		a := r.login("crm")
		if i == 0 {
			first = a
		}
		if i == 24 {
			r.wants("the newest", r.refresh("crm", a.str("refresh_token")), 200, "")
		}
	}
	r.wants("a forgotten grant", r.refresh("crm", first.str("refresh_token")), 400, "invalid_grant")
	s := r.e.Stats()
	if s.GrantsLive != 10 || len(s.Log) != 5 || s.LogForgotten != 22 || len(r.e.IssuedTokens()) != 10 || s.TokensForgotten != 42 || s.TokensIssued != 52 {
		t.Errorf("grants %d, log %d + %d, issued %d: %d forgotten of %d", s.GrantsLive, len(s.Log), s.LogForgotten, len(r.e.IssuedTokens()), s.TokensForgotten, s.TokensIssued)
	}
	// One grant that is refreshed for ever keeps its newest tokens.
	rt := r.login("busy").str("refresh_token")
	for range 100 {
		rt = r.refresh("busy", rt).str("refresh_token")
	}
	if err := r.e.Usable(rt); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := start(t, emulator.Options{})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			client := fmt.Sprintf("strict-%d", c)
			rt := r.login(client).str("refresh_token")
			for range 20 {
				a := r.refresh(client, rt)
				if a.status != 200 {
					t.Errorf("%s: %d %s", client, a.status, a.body)
					return
				}
				rt = a.str("refresh_token")
				r.me(a.str("access_token"))
				r.e.Stats()
			}
		})
	}
	wg.Wait()
	if breaches := r.e.CheckOracles(nil); len(breaches) > 0 {
		t.Errorf("breaches: %v", breaches)
	}
}

// BenchmarkToken is what the benchmark harness leans on: the emulator must not
// be what is measured.
func BenchmarkToken(b *testing.B) {
	for _, fast := range []bool{false, true} {
		b.Run(fmt.Sprintf("fast=%v", fast), func(b *testing.B) {
			e, err := emulator.New(emulator.Options{Fast: fast, Default: emulator.Profile{Model: emulator.Rotate}})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req := httptest.NewRequest("POST", "/token", strings.NewReader("grant_type=client_credentials&client_id=a&client_secret=b"))
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					w := httptest.NewRecorder()
					e.ServeHTTP(w, req)
					if w.Code != 200 {
						b.Fatal(w.Body)
					}
				}
			})
		})
	}
	b.Run("wire", func(b *testing.B) {
		e, err := emulator.New(emulator.Options{Fast: true})
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		base, err := e.Start("")
		if err != nil {
			b.Fatal(err)
		}
		transport := &http.Transport{MaxIdleConnsPerHost: 64}
		defer transport.CloseIdleConnections()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				req, _ := http.NewRequest("POST", base+"/token", strings.NewReader("grant_type=client_credentials&client_id=a&client_secret=b"))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				res, err := transport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	})
}
