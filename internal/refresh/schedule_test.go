package refresh

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

func TestBackground(t *testing.T) {
	t.Run("cap068 a schedule keeps 60-minute tokens fresh for 3 h with no caller", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.OnSchedule}, Every: freshet.Duration(55 * time.Minute)}))
			for range 3 * 60 {
				time.Sleep(time.Minute)
				if st := w.status("crm"); !st.ExpiresAt.After(time.Now()) {
					t.Errorf("an expired token is stored at %v", time.Now())
				}
			}
			w.wantAsks(3)
		})
	})
	t.Run("P10 the background refreshes at 80 % of the lifetime", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			time.Sleep(47 * time.Minute)
			w.wantAsks(0)
			time.Sleep(2 * time.Minute)
			w.wantAsks(1)
		})
	})
	t.Run("cap066 on_401 alone: good tokens cause no refresh", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.On401}}))
			for range 50 {
				w.token(c)
				time.Sleep(time.Minute)
			}
			w.wantAsks(0)
			if _, err := c.Rejected(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			w.wantAsks(1)
		})
	})
	t.Run("F62 10,000 tokens of one minute are spread over their window", func(t *testing.T) {
		var seen [24]int
		pr := &freshet.Provider{}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		tok := &freshet.Token{Access: freshet.NewSecret("a"), IssuedAt: now, Expiry: now.Add(10 * time.Hour)}
		for i := range 10_000 {
			due := freshet.Policy{}.NextRefresh(tok, pr, float64(i%1000)/1000)
			seen[int(due.Sub(now)/(30*time.Minute))]++
		}
		sum, slots, peak := 0, 0, 0
		for _, n := range seen {
			if n > 0 {
				sum, slots, peak = sum+n, slots+1, max(peak, n)
			}
		}
		if slots < 3 || peak > 3*sum/slots {
			t.Errorf("peak %d over %d half hours", peak, slots)
		}
	})
	t.Run("F93 many overdue connections ramp up within the caps, readers go first", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.src.Pause("until all are overdue")
			for i := range 500 {
				w.add(fmt.Sprintf("c%03d", i), fmt.Sprintf("seed%d", i))
			}
			time.Sleep(2 * time.Hour)
			w.prov.took = time.Second
			w.src.Resume()
			time.Sleep(2500 * time.Millisecond)
			began := time.Now()
			w.token(w.conn("c499"))
			if wait := time.Since(began); wait > 2*time.Second {
				t.Errorf("a reader waited %v behind the background", wait)
			}
			time.Sleep(3 * time.Minute)
			w.prov.mu.Lock()
			defer w.prov.mu.Unlock()
			if w.prov.peak > perProvider+1 || w.prov.asks < 500 {
				t.Errorf("%d requests, %d at once", w.prov.asks, w.prov.peak)
			}
		})
	})
	t.Run("F63 an idle refresh token is kept alive for 120 days with nobody reading", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("xero", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.On401}}),
				func(d *freshet.Definition) { d.Provider.IdleLifetime = freshet.Duration(60 * 24 * time.Hour) })
			last := time.Now()
			w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
				if idle := time.Since(last); idle > 60*24*time.Hour {
					t.Errorf("idle for %v", idle)
				}
				last = time.Now()
				return nil
			}
			time.Sleep(120 * 24 * time.Hour)
			if n := w.prov.count(); n < 2 || n > 4 {
				t.Errorf("token requests = %d", n)
			}
		}, func(o *Options) { o.Sweep, o.Poll = time.Hour, time.Hour })
	})
	t.Run("F64 cap142 a refresh token's own end is told 14, 7 and 1 days before", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("atl", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.On401}}),
				func(d *freshet.Definition) { d.Provider.RefreshLifetime = freshet.Duration(30 * 24 * time.Hour) })
			days := 0
			for _, step := range []struct{ day, warnings int }{{15, 0}, {17, 1}, {22, 1}, {24, 2}, {28, 2}, {30, 3}} {
				time.Sleep(time.Duration(step.day-days) * 24 * time.Hour)
				days = step.day
				if n := w.count(EventLapsing); n != step.warnings {
					t.Errorf("after %d days: %d warnings, want %d", step.day, n, step.warnings)
				}
			}
		}, func(o *Options) { o.Sweep, o.Poll = time.Hour, time.Hour })
	})
	t.Run("F12 a paused background sends nothing until a person confirms", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			w.src.Pause("the store was restored from a backup")
			time.Sleep(3 * time.Hour)
			w.wantAsks(0)
			w.src.Resume()
			time.Sleep(time.Minute)
			w.wantAsks(1)
		})
	})
	t.Run("quota: a provider's stated number of requests is kept", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("zoho", "RT", policy(freshet.Policy{When: []freshet.Trigger{freshet.EveryUse}}),
				func(d *freshet.Definition) {
					d.Provider.Quota = freshet.Quota{Requests: 10, Window: freshet.Duration(10 * time.Minute)}
				})
			for range 60 {
				c.Token(context.Background(), 0)
				time.Sleep(9 * time.Second)
			}
			w.wantAsks(10)
		})
	})
}

func BenchmarkFreshToken(b *testing.B) {
	now := time.Now()
	s := New(Options{})
	c := &Conn{s: s, name: "crm"}
	c.view.Store(&view{tok: &freshet.Token{Access: freshet.NewSecret("a")}, until: now.Add(time.Hour), def: &freshet.Definition{}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := c.Token(ctx, 0); err != nil {
				b.Error(err)
			}
		}
	})
}
