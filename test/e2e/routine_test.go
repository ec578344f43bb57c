package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// routineConfig has connections that refresh by workflows. The provider of each
// has a token URL where nothing answers: only the workflow knows the right one.
const routineConfig = `
providers:
  own: { token_url: "${EMULATOR}/nothing/here", client_auth: body, rotation: { kind: always, reuse: revokes } }
clients:
  own: { provider: own, id: strict-app, secret: "own&secret=1" }
connections:
  own:      { client: own, grant: refresh_token, refresh: { by: "workflow:RefreshOwn" }, api: { base_url: "${EMULATOR}/api" } }
  dead:     { client: own, grant: refresh_token, refresh: { by: "workflow:RefreshOwn" } }
  broken:   { client: own, grant: refresh_token, refresh: { by: "workflow:Broken" } }
  waits:    { client: own, grant: refresh_token, refresh: { by: "workflow:Waits" } }
  late:     { client: own, grant: refresh_token, refresh: { by: "workflow:Late" } }
  draft:    { client: own, grant: refresh_token, refresh: { by: "workflow:Draft" } }
workflows:
  RefreshOwn:
    publish: true
    definition: |
      workflow: RefreshOwn
      activities:
        ask:
          type: SendHttpRequest
          with:
            Url: "${EMULATOR}/token"
            Method: POST
            ContentType: application/x-www-form-urlencoded
            Content: !js |
              "grant_type=refresh_token&client_id=" + encodeURIComponent(input.client_id) + "&client_secret=" + encodeURIComponent(input.client_secret) +
                "&refresh_token=" + encodeURIComponent(input.refresh_token)
            ReadContent: true
            SupportedStatusCodes: [200, 400]
          next: { Done: finish }
        finish:
          type: Finish
          with:
            ActivityOutput: !js |
              const b = activities.ask.ResponseContent();
              return typeof b === "string" ? JSON.parse(b) : b;
            OutcomeNames: !js |
              return [activities.ask.Response().StatusCode == 200 ? "success" : "error"];
  Broken:
    publish: true
    definition: |
      workflow: Broken
      activities:
        break:
          type: Fault
          with: { Message: !js '"the token was " + input.refresh_token' }
  Waits:
    publish: true
    definition: |
      workflow: Waits
      activities:
        begin: { type: WriteLine, with: { Text: a }, next: { Done: wait } }
        wait: { type: Timer, with: { Timeout: "1:00:00" }, next: { Done: end } }
        end: { type: Finish }
  Late:
    publish: true
    definition: |
      workflow: Late
      activities:
        ask:
          type: SendHttpRequest
          with: { Url: "${EMULATOR}/api/slow", ReadContent: true }
          next: { Done: end }
        end: { type: Finish }
  Draft:
    definition: |
      workflow: Draft
      activities:
        end: { type: Finish }
`

// TestRoutine is a connection's own way of refreshing, by a workflow.
func TestRoutine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Picky: true}}, setup{config: strings.ReplaceAll(routineConfig, "rotation: { kind: always", "rotation: { grace: 6s, kind: always")})
	t.Run("cap069 cap070 a workflow refreshes in place of the built-in request", func(t *testing.T) {
		first := w.issue(t, "own", "strict-app", time.Hour)
		before := w.em.Count("token")
		last := first.Access
		for range 3 { // the provider revokes everything if one refresh token comes twice
			tok, p := w.refresh(t, "own")
			if p != nil {
				t.Fatal(p)
			}
			if tok.AccessToken == last || w.em.Valid(tok.AccessToken) != nil {
				t.Fatal("it is no new token of the provider")
			}
			last = tok.AccessToken
		}
		if n := w.em.Count("token") - before; n != 3 {
			t.Errorf("%d token requests", n)
		}
		if r := w.call(t, "GET", "own", "/me", nil); r.status != http.StatusOK {
			t.Error(r)
		}
		c := w.connection(t, "own")
		if c.Generation != 4 || c.State != "ok" || c.ExpiresAt == nil || time.Until(*c.ExpiresAt) < 50*time.Minute {
			t.Errorf("%+v", c)
		}
		w.oracles(t)
	})
	t.Run("cap069 a hundred readers of a spent token share one run of the routine", func(t *testing.T) {
		w.issue(t, "own", "strict-app", 0)
		before := w.em.Count("token")
		done := make(chan error, 100)
		for range 100 {
			go func() { _, err := w.tryToken("own"); done <- err }()
		}
		for range 100 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := w.em.Count("token") - before; n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("cap069 no secret in its journal", func(t *testing.T) {
		list, err := w.client.Runs(t.Context(), api.RunFilter{Name: "RefreshOwn"}, 10)
		if err != nil || len(list) != 4 {
			t.Fatalf("%d runs, %v", len(list), err)
		}
		for _, r := range list {
			if r.Trigger != "refresh:own" || r.Status != "finished" {
				t.Errorf("%s by %s", r.Status, r.Trigger)
			}
			for _, path := range []string{"/api/v1/runs/" + r.ID, "/api/v1/runs/" + r.ID + "/journal"} {
				b := w.ask(t, "GET", path, nil).body
				emulatortest.NoCanary(t, w.em, path, b)
				if strings.Contains(string(b), "own&secret=1") || strings.Contains(string(b), "own%26secret") || len(b) < 100 {
					t.Errorf("%s: %s", path, b)
				}
			}
		}
	})
	for _, c := range []struct{ name, connection, state, code, text string }{
		{"cap069 cap079 an error that it returns has the provider's meaning", "dead", "reauth", "invalid_grant", ""},
		{"cap069 a fault is a failed refresh whose answer may be lost", "broken", "uncertain", "routine_failed", "the run faulted: "},
		{"cap069 a run that would wait is refused", "waits", "misconfigured", "routine_waits", "began to wait"},
		{"cap069 a run that takes longer than an exchange may is cancelled", "late", "uncertain", "routine_timeout", "was cancelled"},
		{"cap069 a workflow that is not published", "draft", "misconfigured", "routine_missing", "there is no published workflow Draft"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.connection == "late" {
				w.next(t, emulator.Fault{At: "api", Path: "/api/slow", Count: -1, Mode: emulator.Modes{"stall"}})
			}
			set := w.issue(t, c.connection, "strict-app", time.Hour)
			if c.connection == "dead" {
				w.put(t, "dead", map[string]any{"access_token": set.Access, "refresh_token": "never-issued-by-anybody", "expires_in": 3600})
			}
			_, p := w.refresh(t, c.connection)
			if p == nil {
				t.Fatal("it refreshed")
			}
			got := w.connection(t, c.connection)
			e, _ := json.Marshal(got.LastError)
			if got.State != c.state || !strings.Contains(string(e), `"`+c.code+`"`) || !strings.Contains(string(e), c.text) {
				t.Errorf("%s (%s): %s", got.State, got.Reason, e)
			}
			emulatortest.NoCanary(t, w.em, "the error", e)
			if _, err := w.tryToken(c.connection); err != nil {
				t.Errorf("a token that lives is not served: %v", err)
			}
			list, err := w.client.Runs(t.Context(), api.RunFilter{Status: "running"}, 10)
			if err != nil || len(list) != 0 {
				t.Errorf("%d runs go on, %v", len(list), err)
			}
		})
	}
	emulatortest.NoCanary(t, w.em, "the log", w.err.Bytes())
}

// A routine that does not exist is named when the file is applied.
func TestRoutineNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{})
	for by, want := range map[string]string{
		"workflow:Mine": `refresh.by: there is no workflow "Mine"`,
		"Mine":          `refresh.by: is workflow:NAME or script:APP.OBJECT.FUNCTION, not "Mine"`,
	} {
		r := w.ask(t, "POST", "/api/v1/apply", strings.NewReader(`{"providers":{"p":{"token_url":"`+w.base+`/token"}},"connections":{"c":{"provider":"p","id":"i","secret":"s","grant":"refresh_token","refresh":{"by":"`+by+`"}}}}`), "Content-Type", "application/json")
		if r.status/100 != 4 || !strings.Contains(string(r.body), strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%s: %s", by, r)
		}
	}
}

// A function of an app may be the routine, too.
func TestScriptRoutine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{config: `
providers: { own: { token_url: "${EMULATOR}/nothing/here", client_auth: body, rotation: { grace: 6s, kind: always, reuse: revokes } } }
connections:
  own:  { provider: own, id: strict-app, secret: s3cret-of-own, grant: refresh_token, refresh: { by: "script:keeper.tokens.renew" } }
  late: { provider: own, id: strict-app, secret: s3cret-of-own, grant: refresh_token, refresh: { by: "script:keeper.tokens.late" } }
  none: { provider: own, id: strict-app, secret: s3cret-of-own, grant: refresh_token, refresh: { by: "script:keeper.tokens.none" } }
apps:
  keeper:
    queries:
      - { name: ask, method: POST, url: "${EMULATOR}/token", form: { grant_type: refresh_token, client_id: "{{this.params.client_id}}", client_secret: "{{this.params.client_secret}}", refresh_token: "{{this.params.refresh_token}}" } }
      - { name: slow, url: "${EMULATOR}/api/slow", timeout: 60s }
    scripts:
      tokens: |
        export default {
          renew: async (input) => { await ask.run(input); return ask.data; },
          late: async () => { await slow.run(); return {}; },
        }
`})
	t.Run("cap069 a function of an app refreshes in place of the built-in request", func(t *testing.T) {
		w.issue(t, "own", "strict-app", time.Hour)
		for range 3 {
			tok, p := w.refresh(t, "own")
			if p != nil {
				t.Fatal(p)
			}
			if w.em.Valid(tok.AccessToken) != nil {
				t.Fatal("it is no token of the provider")
			}
		}
		w.oracles(t)
	})
	for name, code := range map[string]string{"late": "routine_timeout", "none": "routine_missing"} {
		t.Run("cap069 "+name, func(t *testing.T) {
			if name == "late" {
				w.next(t, emulator.Fault{At: "api", Path: "/api/slow", Count: -1, Mode: emulator.Modes{"stall"}})
			}
			w.issue(t, name, "strict-app", time.Hour)
			if _, p := w.refresh(t, name); p == nil {
				t.Fatal("it refreshed")
			}
			got := w.connection(t, name)
			if e, _ := json.Marshal(got.LastError); !strings.Contains(string(e), code) {
				t.Errorf("%s: %s", got.State, e)
			}
		})
	}
	list, err := w.client.Runs(t.Context(), api.RunFilter{Name: "keeper.tokens.renew"}, 10)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d runs, %v", len(list), err)
	}
	for _, r := range list {
		b := w.ask(t, "GET", "/api/v1/runs/"+r.ID, nil).body
		emulatortest.NoCanary(t, w.em, "the run", b)
		if strings.Contains(string(b), "s3cret-of-own") || r.Trigger != "refresh:own" {
			t.Errorf("%s: %s", r.Trigger, b)
		}
	}
}
