package e2e

import (
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
)

// TestKilled is what is left after the process died.
func TestKilled(t *testing.T) {
	t.Parallel()
	whole := t // servers outlive the subtest that starts them
	w := newWorld(t, emulator.Options{}, setup{config: lifeConfig})
	t.Run("cap009 token and expiry are one record, which survives kill -9 and is nowhere in clear", func(t *testing.T) {
		w.issue(t, "crm", "rotate-app", 0)
		before, p := w.refresh(t, "crm")
		if p != nil {
			t.Fatal(p)
		}
		w.kill(t)
		w.disk(t)
		w.server = w.again(whole, nil)
		requests := w.em.Count("token")
		after := w.token(t, "crm")
		if after.AccessToken != before.AccessToken || after.Generation != before.Generation || !after.ExpiresAt.Equal(*before.ExpiresAt) {
			t.Errorf("generation %d until %v came back as generation %d until %v, or another token", before.Generation, before.ExpiresAt, after.Generation, after.ExpiresAt)
		}
		if n := w.em.Count("token") - requests; n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("cap076 killed between the refresh and the second call: the new token is stored", func(t *testing.T) {
		set := w.issue(t, "replay", "rotate-app", time.Hour)
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"reject"}}, emulator.Fault{At: "api", Mode: emulator.Modes{"hold_before"}})
		done := make(chan error, 1)
		go func() {
			_, err := w.try(t.Context(), "GET", "/proxy/replay/me", nil)
			done <- err
		}()
		if err := w.em.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.kill(t)
		if err := <-done; err == nil {
			t.Error("the call was answered")
		}
		w.em.Release()
		w.disk(t)
		w.server = w.again(whole, nil)
		requests := w.em.Count("token")
		tok := w.token(t, "replay")
		if tok.Generation != 2 || tok.AccessToken == set.Access || w.em.Valid(tok.AccessToken) != nil {
			t.Errorf("generation %d, %v", tok.Generation, w.em.Valid(tok.AccessToken))
		}
		if n := w.em.Count("token") - requests; n != 0 {
			t.Errorf("%d token requests after the restart", n)
		}
		if _, p := w.refresh(t, "replay"); p != nil {
			t.Errorf("one more refresh: %v", p)
		}
	})
	w.oracles(t)
}

// TestClock is a policy by the clock alone: nobody asks, and no moment has an
// expired token stored.
func TestClock(t *testing.T) {
	t.Parallel()
	t.Run("cap068 refreshed by the clock, with no caller", func(t *testing.T) {
		const life, every = 5 * time.Second, 2 * time.Second
		w := newWorld(t, emulator.Options{Default: emulator.Profile{Lifetime: freshet.Duration(life)}}, setup{config: `
providers: { p: { token_url: "${EMULATOR}/token", client_auth: basic } }
connections:
  clock: { provider: p, id: rotate-app, secret: app-secret-1, grant: refresh_token, refresh: { when: schedule, every: 2s } }
`})
		w.issue(t, "clock", "rotate-app", life)
		began := time.Now()
		generation := int64(0)
		for time.Since(began) < 4*every+every/2 {
			now := time.Now()
			c := w.connection(t, "clock")
			if c.ExpiresAt == nil || !c.ExpiresAt.After(now) {
				t.Fatalf("%v after the start the stored token had expired: %v", now.Sub(began), c.ExpiresAt)
			}
			generation = c.Generation
			time.Sleep(50 * time.Millisecond) // how often we look
		}
		if generation < 4 {
			t.Errorf("generation %d after %v with a refresh every %v", generation, time.Since(began), every)
		}
		w.oracles(t)
	})
}
