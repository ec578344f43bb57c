package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// A pausing database stops the process for a while after a write, once it is
// armed.
type pausing struct {
	store.DB
	pause atomic.Int64
}

func (p *pausing) Tx(ctx context.Context, fn func(store.Querier) error) error {
	err := p.DB.Tx(ctx, fn)
	time.Sleep(time.Duration(p.pause.Swap(0)))
	return err
}

func TestLease(t *testing.T) {
	t.Run("F14 a provider slower than the lock", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			time.Sleep(2 * time.Hour)
			w.prov.mu.Lock()
			w.prov.took = 19 * time.Second
			w.prov.mu.Unlock()
			if got := w.token(c); got.Access.Reveal() != "AT1" {
				t.Errorf("an answer after 19 s was not taken")
			}
			w.prov.mu.Lock()
			w.prov.took = 25 * time.Second
			w.prov.mu.Unlock()
			began := time.Now()
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Error("an answer after 25 s was waited for")
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the deadline came after %v", took)
			}
			w.src.Resume()
			time.Sleep(5 * time.Minute)
			w.prov.mu.Lock()
			defer w.prov.mu.Unlock()
			if w.prov.peak != 1 || w.prov.asks < 4 {
				t.Errorf("%d requests, %d in flight at once", w.prov.asks, w.prov.peak)
			}
		})
	})
	t.Run("F15 a process paused between claim and send gives the claim back", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			synctest.Wait() // nobody looks at the database
			p := &pausing{DB: w.db.DB}
			w.db.DB = p
			p.pause.Store(int64(12 * time.Second))
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Error("a claim of 12 s was used for a call of up to 20 s under a lease of 30 s")
			}
			w.wantAsks(0)
			row, err := w.store.TokenByName(context.Background(), "crm")
			if err != nil || row.Attempt != "" {
				t.Errorf("attempt %q is still open, %v", row.Attempt, err)
			}
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
		})
	})
	t.Run("F18 a success that arrives after somebody gave the grant up", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.took = 5 * time.Second
			done := make(chan error, 1)
			go func() {
				_, err := c.Force(context.Background(), 0)
				done <- err
			}()
			synctest.Wait()
			ctx := context.Background()
			row, err := w.store.TokenByName(ctx, "crm")
			if err != nil || row.Attempt == "" {
				t.Fatalf("no open attempt: %+v, %v", row, err)
			}
			if err := w.store.Fail(ctx, store.Failure{ID: row.ID, Attempt: row.Attempt, Gen: row.Gen, State: freshet.StateReauth, Reason: freshet.ReasonInvalidGrant}); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			w.wantState("crm", freshet.StateOK, "")
			if got := w.token(c); got.Refresh.Reveal() != "RT1" || got.Generation != 2 {
				t.Errorf("generation %d with %q", got.Generation, got.Refresh.Reveal())
			}
		})
	})
}

func TestUnused(t *testing.T) {
	t.Run("F63 where keeping it alive fails, its death of disuse is told 14, 7 and 1 days before", func(t *testing.T) {
		inWorld(t, func(w *world) {
			unused := func(d *freshet.Definition) { d.Provider.IdleLifetime = freshet.Duration(30 * 24 * time.Hour) }
			w.add("fails", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.On401}}), unused)
			w.add("works", "RT-w", policy(freshet.Policy{When: []freshet.Trigger{freshet.On401}}), unused)
			w.prov.answer = func(_ int, d *freshet.Definition, _ grant.Ask) *grant.Outcome {
				if d.Connection.Name == "works" {
					return nil
				}
				return ptr(refused(grant.Retryable, "http_503", false))
			}
			days := 0
			// It is refreshed at 80 % of its life, after 22 or more days: the
			// first of the warnings is past by then.
			for _, step := range []struct{ day, warnings int }{{21, 0}, {24, 1}, {28, 1}, {30, 2}} {
				time.Sleep(time.Duration(step.day-days) * 24 * time.Hour)
				days = step.day
				if n := w.count(EventLapsing); n != step.warnings {
					t.Errorf("after %d days: %d warnings, want %d", step.day, n, step.warnings)
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.events {
				if e.Type == EventLapsing && e.Connection != "fails" {
					t.Errorf("a warning for %s, which is kept alive", e.Connection)
				}
			}
		}, func(o *Options) { o.Sweep, o.Poll = time.Hour, time.Hour })
	})
}

func TestImported(t *testing.T) {
	t.Run("cap021 a token set obtained elsewhere refreshes without an authorization", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "")
			if _, err := c.Token(context.Background(), 0); err == nil {
				t.Fatal("a token before there is one")
			}
			w.prov.grantTo("elsewhere")
			now := time.Now()
			set := freshet.Token{Access: freshet.NewSecret("first"), Refresh: freshet.NewSecret("elsewhere"), IssuedAt: now, Expiry: now.Add(time.Minute)}
			if err := w.src.Import(context.Background(), "crm", set, false); err != nil {
				t.Fatal(err)
			}
			w.wantAsks(0)
			if got := w.token(c).Access.Reveal(); got != "first" {
				t.Errorf("token = %s", got)
			}
			for i := range 3 {
				time.Sleep(time.Hour)
				if got := w.token(c); !got.AliveAt(time.Now()) {
					t.Errorf("hour %d: a dead token", i+1)
				}
			}
			w.wantState("crm", freshet.StateOK, "")
			if w.prov.count() < 3 {
				t.Error("it was not refreshed")
			}
		})
	})
	t.Run("cap022 two users of a connection read its current token by name", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			one, two := w.token(w.conn("crm")), w.token(w.conn("crm"))
			if one.Generation != 1 || two.Generation != 1 {
				t.Fatal(one.Generation, two.Generation)
			}
			if _, err := w.conn("crm").Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			one, two = w.token(w.conn("crm")), w.token(w.conn("crm"))
			if one.Generation != 2 || !one.Access.Equal(two.Access) {
				t.Errorf("after the refresh: generations %d and %d", one.Generation, two.Generation)
			}
		})
	})
	t.Run("cap058 the expiry is stored as an instant", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "", machine)
			sent := time.Now()
			w.token(c)
			time.Sleep(time.Minute)
			w.crash()
			if st, want := w.status("crm"), sent.Add(w.prov.lifetime); !st.ExpiresAt.Equal(want) {
				t.Errorf("stored expiry %v, want %v", st.ExpiresAt, want)
			}
			time.Sleep(time.Minute)
			if got, want := w.token(w.conn("crm")).Expiry, sent.Add(w.prov.lifetime); !got.Equal(want) {
				t.Errorf("expiry %v, want %v", got, want)
			}
			w.wantAsks(1)
		})
	})
	t.Run("a connection that was deleted leaves nothing to import into", func(t *testing.T) {
		inWorld(t, func(w *world) {
			if err := w.src.Import(context.Background(), "nobody", freshet.Token{Access: freshet.NewSecret("a")}, false); !errors.Is(err, freshet.ErrNotFound) {
				t.Errorf("err = %v", err)
			}
		})
	})
}
