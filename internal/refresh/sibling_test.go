package refresh

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// sibling starts another Source over the world's store, as another process
// would be.
func (w *world) sibling() *Source {
	w.t.Helper()
	o := Options{Store: w.store, Sealer: w.vault, Asker: w.prov, Definitions: &w.defs, Owner: "sibling", Jitter: func() float64 { return 0.5 }, Sweep: time.Minute}
	s := New(o)
	if err := s.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestSiblings(t *testing.T) {
	t.Run("F13 callers of two processes share one request", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			other := w.sibling()
			defer other.Close(context.Background())
			for _, s := range []*Source{w.src, other} {
				s.Pause("test")
			}
			time.Sleep(2 * time.Hour)
			w.prov.mu.Lock()
			w.prov.took = 3 * time.Second
			w.prov.mu.Unlock()
			var wg sync.WaitGroup
			for _, s := range []*Source{w.src, other} {
				for range 50 {
					wg.Go(func() {
						c, err := s.Connection(context.Background(), "crm")
						if err != nil {
							t.Error(err)
							return
						}
						if tok, err := c.Token(context.Background(), 0); err != nil || tok.Generation != 2 {
							t.Errorf("%+v, %v", tok, err)
						}
					})
				}
			}
			wg.Wait()
			w.wantAsks(1)
		})
	})
	t.Run("F14 a sibling waits for an answer of 19 s", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT")
			other := w.sibling()
			defer other.Close(context.Background())
			w.src.Pause("test")
			other.Pause("test")
			time.Sleep(2 * time.Hour)
			w.prov.mu.Lock()
			w.prov.took = 19 * time.Second
			w.prov.mu.Unlock()
			began := time.Now()
			go w.conn("crm").Token(context.Background(), 0)
			synctest.Wait()
			c, err := other.Connection(context.Background(), "crm")
			if err != nil {
				t.Fatal(err)
			}
			if tok, err := c.Token(context.Background(), 0); err != nil || tok.Generation != 2 {
				t.Errorf("%+v, %v", tok, err)
			}
			if took := time.Since(began); took < 19*time.Second || took > 20*time.Second {
				t.Errorf("it waited for %v", took)
			}
			w.wantAsks(1)
		})
	})
	t.Run("a notice ends the wait at once, and what is known already is left alone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			v := c.view.Load()
			w.src.Moved("crm", v.row.Gen)
			w.src.Moved("nobody", 7)
			if c.view.Load() != v {
				t.Error("a notice of the generation that is in memory cost a look at the database")
			}
			w.src.Moved("crm", v.row.Gen+1)
			if !c.view.Load().reload {
				t.Error("a notice of a later generation did nothing")
			}
			c.load(context.Background())
			stir := c.stirred()
			w.src.Moved("crm", 0)
			<-stir
			if !c.view.Load().reload {
				t.Error("a notice of who knows what did nothing")
			}
		})
	})
	t.Run("F15 an attempt whose lease has lapsed is uncertain before another begins", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.src.Pause("test")
			time.Sleep(2 * time.Hour)
			if err := w.store.Claim(context.Background(), store.Claim{ID: "id-crm", Gen: 1, Attempt: "dead", Owner: "dead", Lease: 30 * time.Second}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if tok := w.token(c); tok.Generation != 2 {
				t.Errorf("generation %d", tok.Generation)
			}
			if took := time.Since(began); took < 29*time.Second || took > 32*time.Second {
				t.Errorf("the lease was waited for %v", took)
			}
			if n := w.count(EventUncertain); n != 1 {
				t.Errorf("%d times uncertain", n)
			}
			w.wantAsks(1)
		})
	})
	t.Run("F22 a row of a newer protocol is served and not refreshed", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			if err := w.store.DB().Tx(context.Background(), func(tx store.Querier) error {
				_, err := tx.Exec(context.Background(), `UPDATE tokens SET protocol = $1`, store.Protocol+1)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			c.invalidate()
			if tok := w.token(c); tok.Generation != 1 {
				t.Errorf("generation %d", tok.Generation)
			}
			time.Sleep(3 * time.Hour)
			_, err := c.Token(context.Background(), 0)
			wantStateError(t, err, freshet.StateAttention, freshet.ReasonNewerVersion)
			w.wantAsks(0)
		})
	})
	t.Run("a client's trouble that another process has found is known here", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			row := store.Client{Key: c.Definition().ClientKey(), State: freshet.StateMisconfigured, Reason: "invalid_client", NotBefore: time.Now().Add(time.Hour), Since: time.Now()}
			if err := w.store.PutClient(context.Background(), row); err != nil {
				t.Fatal(err)
			}
			if err := w.src.Reload(context.Background()); err != nil {
				t.Fatal(err)
			}
			w.wantState("crm", freshet.StateMisconfigured, "invalid_client")
			if err := w.store.ClearClient(context.Background(), row.Key); err != nil {
				t.Fatal(err)
			}
			if err := w.src.Reload(context.Background()); err != nil {
				t.Fatal(err)
			}
			w.wantState("crm", freshet.StateOK, "")
		})
	})
}
