package refresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

func TestRead(t *testing.T) {
	t.Run("cap030 a token with 2 s left is refreshed first, one with an hour is not", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT", policy(freshet.Policy{Margin: freshet.Duration(30 * time.Second), When: []freshet.Trigger{freshet.BeforeExpiry}}))
			w.src.Pause("the background would be faster")
			if got := w.token(c).Access.Reveal(); got != "AT0-crm" {
				t.Errorf("token = %s", got)
			}
			w.wantAsks(0)
			time.Sleep(time.Hour - 2*time.Second)
			if got := w.token(c).Access.Reveal(); got != "AT1" {
				t.Errorf("token = %s, want the refreshed one", got)
			}
			w.wantAsks(1)
		})
	})
	t.Run("cap053 a rotating provider, 50 refreshes in a row", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT")
			for range 50 {
				if _, err := c.Force(context.Background(), 0); err != nil {
					t.Fatal(err)
				}
			}
			w.wantAsks(50)
			if st := w.status("crm"); st.Generation != 51 || st.State != freshet.StateOK {
				t.Errorf("status = %+v", st)
			}
			w.canaries("AT0-crm", "AT50", "RT50", "RT7")
		})
	})
	t.Run("cap054 a provider that omits the refresh token keeps the old one working", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "omitted"
			c := w.add("crm", "RT")
			for range 3 {
				if _, err := c.Force(context.Background(), 0); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.token(c).Refresh.Reveal(); got != "RT" {
				t.Errorf("refresh token = %q", got)
			}
		})
	})
	t.Run("cap056 an answer without a token leaves the stored one alone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				return ptr(refused(grant.Retryable, "no_token", true))
			}
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Fatal("no error")
			}
			r, err := c.Read(context.Background(), 0)
			if err != nil || r.Token.Access.Reveal() != "AT0-crm" || r.Token.Refresh.Reveal() != "RT" {
				t.Errorf("token after the blank answer: %v, %v", r.Token, err)
			}
		})
	})
	t.Run("cap067 a machine grant obtains its first token on the first read", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "", machine)
			w.token(c)
			w.token(c)
			w.wantAsks(1)
		})
	})
	t.Run("cap077 a connection nobody authorized sends nothing and says how", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "")
			_, err := c.Token(context.Background(), 0)
			se := wantStateError(t, err, freshet.StateReauth, freshet.ReasonNeverAuthorized)
			if se.Hint() == "" {
				t.Error("no hint")
			}
			w.wantAsks(0)
		})
	})
	t.Run("cap078 a spent token without refresh_token wants a person", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "")
			now := time.Now()
			if err := w.src.Import(context.Background(), "crm", freshet.Token{Access: freshet.NewSecret("only"), IssuedAt: now, Expiry: now.Add(time.Minute)}, false); err != nil {
				t.Fatal(err)
			}
			w.token(c)
			time.Sleep(2 * time.Minute)
			_, err := c.Token(context.Background(), 0)
			se := wantStateError(t, err, freshet.StateReauth, freshet.ReasonNoRefreshToken)
			if want := "refresh_token"; !contains(se.Detail, want) {
				t.Errorf("detail %q does not name %s", se.Detail, want)
			}
			w.wantState("crm", freshet.StateReauth, freshet.ReasonNoRefreshToken)
			w.wantAsks(0)
		})
	})
	t.Run("cap079 a refresh that is refused is not retried as if it were the API's 401", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				o := refused(grant.Misconfigured, "invalid_client", false)
				o.Err.Status = 401
				return &o
			}
			if _, err := c.Rejected(context.Background(), 1); err == nil {
				t.Fatal("no error")
			}
			w.wantAsks(1)
			st := w.status("crm")
			if st.Problem == nil || st.Problem.Status != 401 || st.Problem.Code != "invalid_client" || st.Generation != 1 {
				t.Errorf("status = %+v, problem = %+v", st.Status, st.Problem)
			}
		})
	})
	t.Run("min_ttl longer than the lifetime causes one refresh and is then served", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			time.Sleep(40 * time.Minute)
			for range 10 {
				if _, err := c.Token(context.Background(), 48*time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			w.wantAsks(1)
		})
	})
}

func TestCoalesce(t *testing.T) {
	t.Run("F23 cap071 5,000 readers of one expired token cause one request", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			w.prov.took = 3 * time.Second
			time.Sleep(2 * time.Hour)
			var wg sync.WaitGroup
			for range 5000 {
				wg.Go(func() {
					if tok, err := c.Token(context.Background(), 0); err != nil || tok.Access.Reveal() != "AT1" {
						t.Errorf("%v, %v", tok, err)
					}
				})
			}
			wg.Wait()
			w.wantAsks(1)
			if g := w.src.Gauges(); g.Waiting != 0 || g.Running != 0 {
				t.Errorf("gauges after the storm = %+v", g)
			}
		})
	})
	t.Run("F24 the refresh goes on when every waiter has left", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			w.prov.took = 3 * time.Second
			time.Sleep(2 * time.Hour)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := c.Token(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("err = %v", err)
			}
			time.Sleep(5 * time.Second)
			if got := w.token(c).Access.Reveal(); got != "AT1" {
				t.Errorf("token = %s", got)
			}
			w.wantAsks(1)
		})
	})
	t.Run("cap065 every_use: N calls cause N refreshes, a crowd shares the next one", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.EveryUse}}))
			for i := range 5 {
				if got := w.token(c).Access.Reveal(); got != fmt.Sprintf("AT%d", i+1) {
					t.Errorf("call %d got %s", i+1, got)
				}
			}
			w.wantAsks(5)
			w.prov.took = time.Second
			var wg sync.WaitGroup
			wg.Go(func() { w.token(c) })
			synctest.Wait()
			began := time.Now()
			for range 100 {
				wg.Go(func() {
					if tok := w.token(c); tok.IssuedAt.Before(began) {
						t.Error("a call got a token whose refresh began before it arrived")
					}
				})
			}
			wg.Wait()
			w.wantAsks(7)
		})
	})
	t.Run("F72 no transaction is open while a provider answers", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.took = 10 * time.Second
			var wg sync.WaitGroup
			for i := range 50 {
				c := w.add(fmt.Sprintf("c%02d", i), fmt.Sprintf("seed%d", i))
				wg.Go(func() {
					if _, err := c.Force(context.Background(), 0); err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(5 * time.Second)
			w.db.mu.Lock()
			if g := w.src.Gauges(); g.Running != 50 || w.db.holding != 0 {
				t.Errorf("%d calls under way, %d transactions open", g.Running, w.db.holding)
			}
			w.db.mu.Unlock()
			wg.Wait()
		})
	})
}

func TestRejected(t *testing.T) {
	t.Run("F79 only the current generation's refusal refreshes", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			tok, err := c.Rejected(context.Background(), 1)
			if err != nil || tok.Generation != 2 {
				t.Fatalf("%+v, %v", tok, err)
			}
			if tok, err = c.Rejected(context.Background(), 1); err != nil || tok.Generation != 2 {
				t.Fatalf("%+v, %v", tok, err)
			}
			w.wantAsks(1)
		})
	})
	t.Run("F80 a fresh token that is refused too rests forced refresh for a minute", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			for range 1000 { // an API that refuses everything, for a minute
				gen := w.token(c).Generation
				tok, err := c.Rejected(context.Background(), gen)
				if err == nil {
					c.StillRejected(tok.Generation)
				} else if !errors.Is(err, ErrResting) {
					t.Fatal(err)
				}
				time.Sleep(59 * time.Millisecond)
			}
			w.wantAsks(1)
			if n := w.count(EventStillRejected); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			// The first refusal of a later generation is heard at once.
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if tok, err := c.Rejected(context.Background(), 3); err != nil || tok.Generation != 4 {
				t.Errorf("%+v, %v", tok, err)
			}
		})
	})
	t.Run("F46 repeated refusals force at most three refreshes in ten minutes", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			end := time.Now().Add(9 * time.Minute)
			for time.Now().Before(end) {
				if tok, err := c.Rejected(context.Background(), w.token(c).Generation); err == nil {
					c.StillRejected(tok.Generation)
				}
				time.Sleep(5 * time.Second)
			}
			if n := w.prov.count(); n > 1+forcedCap {
				t.Errorf("token requests = %d", n)
			}
		})
	})
}

func TestAnswers(t *testing.T) {
	t.Run("F28 Retry-After pauses every connection of the client", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.src.Pause("test")
			var conns []*Conn
			for i := range 100 {
				conns = append(conns, w.add(fmt.Sprintf("c%03d", i), fmt.Sprintf("seed%d", i)))
			}
			time.Sleep(2 * time.Hour)
			w.prov.answer = func(n int, _ *freshet.Definition, _ grant.Ask) *grant.Outcome {
				if n > 1 {
					return nil
				}
				o := refused(grant.Retryable, "429", false)
				o.Err.RetryAfter = time.Minute
				return &o
			}
			for _, c := range conns {
				_, err := c.Token(context.Background(), 0)
				var se *freshet.StateError
				if !errors.As(err, &se) || se.RetryAfter <= 0 {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			w.wantAsks(1)
			time.Sleep(61 * time.Second)
			for _, c := range conns {
				w.token(c)
			}
			w.wantAsks(101)
		})
	})
	t.Run("F30 a refresh token that came alone is kept and tried", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.grantTo("SALVAGED")
			w.prov.answer = func(n int, _ *freshet.Definition, a grant.Ask) *grant.Outcome {
				if n == 1 {
					o := refused(grant.Retryable, "no_access_token", true)
					o.Salvaged = freshet.NewSecret("SALVAGED")
					return &o
				}
				if a.RefreshToken.Reveal() != "SALVAGED" {
					t.Errorf("asked with %q", a.RefreshToken.Reveal())
				}
				return nil
			}
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Fatal("no error")
			}
			if got := w.token(c).Refresh.Reveal(); got != "SALVAGED" {
				t.Errorf("stored refresh token = %q", got)
			}
			time.Sleep(5 * time.Second)
			w.wantAsks(2)
			w.wantState("crm", freshet.StateOK, "")
		})
	})
	t.Run("F31 odd lifetimes never make a loop", func(t *testing.T) {
		for name, life := range map[string]time.Duration{"unknown": 0, "negative": -time.Hour, "a minute": time.Minute} {
			t.Run(name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome { return issued("odd", life, "") }
					c := w.add("crm", "", machine)
					for range 3 * 60 {
						c.Token(context.Background(), 0)
						c.Token(context.Background(), 0)
						time.Sleep(time.Minute)
					}
					if n := w.prov.count(); n > 3*60*2+2 {
						t.Errorf("token requests in 3 h = %d, more than one in 30 s", n)
					}
				})
			})
		}
	})
	t.Run("F35 invalid_grant is asked for once, ever", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				return ptr(refused(grant.Permanent, "invalid_grant", false))
			}
			for range 24 * 60 {
				c.Token(context.Background(), 0)
				time.Sleep(time.Minute)
			}
			w.wantAsks(1)
			w.wantState("crm", freshet.StateReauth, freshet.ReasonInvalidGrant)
			if n := w.count(EventReauth); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
			if v := c.view.Load(); v.tok.Refresh.Reveal() != "RT" {
				t.Error("the refresh token was dropped")
			}
		})
	})
	t.Run("F36 a wrong client secret is the client's trouble", func(t *testing.T) {
		inWorld(t, func(w *world) {
			const n = 1000
			for i := range n {
				w.add(fmt.Sprintf("c%04d", i), fmt.Sprintf("seed%d", i))
			}
			good := false
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				if good {
					return nil
				}
				return ptr(refused(grant.Misconfigured, "invalid_client", false))
			}
			time.Sleep(3 * time.Hour)
			if asks := w.prov.count(); asks > 60 {
				t.Errorf("%d requests in 3 h with a wrong secret", asks)
			}
			if c := w.count(EventMisconfigured); c != 1 {
				t.Errorf("%d alerts, want 1", c)
			}
			counts, err := w.store.CountTokens(context.Background())
			if err != nil || counts[freshet.StateReauth] != 0 {
				t.Errorf("states = %v, %v", counts, err)
			}
			w.wantState("c0500", freshet.StateMisconfigured, "invalid_client")
			// The secret is changed: everything resumes, a few at a time.
			w.prov.mu.Lock()
			good, w.prov.peak, w.prov.took = true, 0, 100*time.Millisecond
			before := w.prov.asks
			w.prov.mu.Unlock()
			if err := w.src.Invalidate(context.Background(), []string{"client/acme"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			w.prov.mu.Lock()
			asked, peak := w.prov.asks-before, w.prov.peak
			w.prov.mu.Unlock()
			if asked != n || peak > perProvider {
				t.Errorf("after the cure: %d requests, %d at once", asked, peak)
			}
			w.wantState("c0500", freshet.StateOK, "")
		})
	})
	t.Run("F38 a wave of invalid_grant gives up only its beginning", func(t *testing.T) {
		inWorld(t, func(w *world) {
			for i := range 100 {
				w.add(fmt.Sprintf("c%03d", i), fmt.Sprintf("seed%d", i))
			}
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				return ptr(refused(grant.Permanent, "invalid_grant", false))
			}
			time.Sleep(2 * time.Hour)
			counts, err := w.store.CountTokens(context.Background())
			if err != nil || counts[freshet.StateReauth] > 30 {
				t.Errorf("states = %v, %v", counts, err)
			}
			if w.count(EventIncident) == 0 {
				t.Error("no alert")
			}
		})
	})
	t.Run("F39 S10 another account's token is not used", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			first := issued("mine", time.Hour, "RT-a")
			first.Token.Subject = "alice"
			other := issued("theirs", time.Hour, "RT-b")
			other.Token.Subject = "bob"
			w.prov.answer = func(n int, _ *freshet.Definition, _ grant.Ask) *grant.Outcome {
				if n == 1 {
					return first
				}
				return other
			}
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Fatal("another account's token was accepted")
			}
			if got := w.token(c).Access.Reveal(); got != "mine" {
				t.Errorf("token = %s", got)
			}
			if o, err := w.store.Orphans(context.Background(), "id-crm"); err != nil || len(o) != 1 {
				t.Errorf("orphans = %v, %v", o, err)
			}
			if w.count(EventSubject) != 1 {
				t.Error("no alarm")
			}
		})
	})
	t.Run("F40 a narrowed scope is stored and told", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "", machine, func(d *freshet.Definition) { d.Connection.Scopes = []string{"read", "write"} })
			w.token(c)
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				o := issued("less", time.Hour, "")
				o.Token.Scope = "read"
				return o
			}
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if w.count(EventScopeNarrowed) != 1 || w.token(c).Scope != "read" {
				t.Error("the narrowed scope was not told")
			}
		})
	})
	t.Run("F41 the same access token until it expires makes no loop", func(t *testing.T) {
		inWorld(t, func(w *world) {
			end := time.Now().Add(time.Hour)
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				if left := time.Until(end); left > time.Second {
					return issued("same", left, "")
				}
				end = time.Now().Add(time.Hour)
				return issued("next", time.Hour, "")
			}
			c := w.add("crm", "", machine)
			for range 120 {
				w.token(c)
				time.Sleep(30 * time.Second)
			}
			if n := w.prov.count(); n > 30 {
				t.Errorf("token requests in an hour = %d", n)
			}
		})
	})
	t.Run("F45 early refresh is left alone where it is refused", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.lifetime = 10 * time.Minute
			c := w.add("exact", "RT", exactOnline)
			w.prov.answer = func(_ int, d *freshet.Definition, a grant.Ask) *grant.Outcome {
				if a.Previous != nil && time.Until(a.Previous.Expiry) > 30*time.Second {
					t.Errorf("asked %v before the expiry", time.Until(a.Previous.Expiry))
				}
				return nil
			}
			for range 60 {
				w.token(c)
				time.Sleep(20 * time.Second)
			}
			if n := w.prov.count(); n < 2 {
				t.Errorf("token requests = %d", n)
			}
		})
	})
	t.Run("F61 a token that is spent on arrival is told as such, without a loop", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome { return issued("dead", -time.Minute, "") }
			c := w.add("crm", "", machine)
			for range 10 {
				r, err := c.Read(context.Background(), 0)
				if err != nil || !r.Stale {
					t.Fatalf("%+v, %v", r, err)
				}
			}
			w.wantAsks(1)
		})
	})
	t.Run("G12 serve stale: a live token is served whatever fails", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				return ptr(refused(grant.Retryable, "http_503", true))
			}
			time.Sleep(time.Hour - 10*time.Second)
			r, err := c.Read(context.Background(), 0)
			if err != nil || !r.Stale || r.Token.Access.Reveal() != "AT0-crm" {
				t.Errorf("%+v, %v", r, err)
			}
			time.Sleep(20 * time.Second)
			_, err = c.Read(context.Background(), 0)
			var se *freshet.StateError
			if !errors.As(err, &se) || se.State == freshet.StateReauth {
				t.Errorf("err = %v", err)
			}
		})
	})
	t.Run("rule 14 attempts used up want attention, never a new grant", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			fail := true
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				if fail {
					return ptr(refused(grant.Retryable, "http_502", true))
				}
				return nil
			}
			time.Sleep(24 * time.Hour)
			w.wantState("crm", freshet.StateAttention, "http_502")
			if n := w.prov.count(); n > 120 {
				t.Errorf("token requests in a day = %d", n)
			}
			w.prov.mu.Lock()
			fail = false
			w.prov.mu.Unlock()
			time.Sleep(30 * time.Minute)
			w.wantState("crm", freshet.StateOK, "")
			if w.count(EventRecovered) != 1 {
				t.Error("recovery was not told")
			}
		})
	})
	t.Run("a corrected password or refresh token ends reauth", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "", func(d *freshet.Definition) { d.Connection.Grant = freshet.GrantPassword })
			wrong := true
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				if wrong {
					return ptr(refused(grant.Permanent, "invalid_grant", false))
				}
				return nil
			}
			for range 3 {
				_, err := c.Token(context.Background(), 0)
				wantStateError(t, err, freshet.StateReauth, freshet.ReasonInvalidGrant)
			}
			w.wantAsks(1)
			wrong = false
			def := *w.defs.m["crm"]
			def.Revision++
			w.defs.put(&def)
			if err := w.src.Invalidate(context.Background(), nil, "crm"); err != nil {
				t.Fatal(err)
			}
			w.token(c)
			w.wantAsks(2)

			w.prov.grantTo("good")
			r := w.add("seeded", "", func(d *freshet.Definition) {
				d.Connection.Grant = freshet.GrantRefreshToken
				d.Connection.Credentials = map[string]freshet.Secret{"refresh_token": freshet.NewSecret("bad")}
			})
			if _, err := r.Token(context.Background(), 0); err == nil {
				t.Fatal("a refresh token that nobody issued was accepted")
			}
			def = *w.defs.m["seeded"]
			def.Revision++
			def.Connection.Credentials = map[string]freshet.Secret{"refresh_token": freshet.NewSecret("good")}
			w.defs.put(&def)
			if err := w.src.Invalidate(context.Background(), nil, "seeded"); err != nil {
				t.Fatal(err)
			}
			w.token(r)
		})
	})
	t.Run("a dead refresh token of a grant that can log in again is no dead end", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT", func(d *freshet.Definition) { d.Connection.Grant = freshet.GrantPassword })
			w.prov.mu.Lock()
			w.prov.revoked["RT"] = true
			w.prov.mu.Unlock()
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			w.wantAsks(2)
		})
	})
}

func ptr[T any](v T) *T { return &v }

func contains(s, sub string) bool {
	for i := range len(s) - len(sub) + 1 {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}
