package refresh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// die leaves the world as a process leaves it that is killed at a point of the
// refresh of c: what was durable by then, and what the provider did by then.
func (w *world) die(c *Conn, point string) {
	w.t.Helper()
	ctx := context.Background()
	v, err := c.reread()
	if err != nil {
		w.t.Fatal(err)
	}
	if point == "commit.after" {
		if _, err := c.Force(ctx, 0); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	if err := w.src.claim(v, "killed", 30*time.Second); err != nil {
		w.t.Fatal(err)
	}
	if point == "claim.after" {
		return
	}
	out := w.prov.Ask(ctx, v.def, c.request(v))
	if out.Token == nil {
		w.t.Fatal(out.Err)
	}
	if point == "spill.after" {
		inherit(out.Token, v)
		commit, _, err := c.prepare(v, out.Token, "killed")
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.src.spill.Append(record{Connection: c.name, Commit: commit}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestKilled(t *testing.T) {
	models := map[string]freshet.Rotation{
		"never":  {Kind: "never", Reuse: "accepted"},
		"replay": {Kind: "always", Reuse: "replayed"},
		"grace":  {Kind: "always", Grace: freshet.Duration(30 * time.Second)},
		"strict": {Kind: "always", Reuse: "revokes"},
	}
	for _, at := range []struct{ fault, point string }{
		{"F01", "claim.after"}, {"F02", "send.written"}, {"F03", "spill.after"}, {"F05", "commit.after"},
	} {
		for model, rot := range models {
			t.Run(at.fault+" "+at.point+" "+model, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.prov.model = model
					c := w.add("crm", "RT", rotation(rot))
					w.src.Pause("only the recovery may refresh")
					time.Sleep(2 * time.Hour)
					w.die(c, at.point)
					asks := w.prov.count()
					w.crash()
					if at.point == "send.written" {
						if st := w.status("crm"); st.State != freshet.StateUncertain || st.LostAt.IsZero() {
							t.Errorf("after the restart: %+v", st)
						}
					}
					time.Sleep(10 * time.Second)
					lost := model == "strict" && at.point == "send.written"
					if lost {
						st := w.status("crm")
						if st.State != freshet.StateReauth || st.Reason != freshet.ReasonLostInFlight {
							t.Errorf("state = %s (%s), want it named", st.State, st.Reason)
						}
						// Somebody tries it all the same: the reason is still the loss,
						// and nobody is told a second time.
						if _, err := w.conn("crm").Force(context.Background(), 0); err == nil {
							t.Error("a lost refresh token brought a token")
						}
						w.wantState("crm", freshet.StateReauth, freshet.ReasonLostInFlight)
						if n := w.count(EventReauth); n != 1 {
							t.Errorf("%d events %s", n, EventReauth)
						}
						return
					}
					w.wantState("crm", freshet.StateOK, "")
					if at.point == "commit.after" && w.prov.count() != asks {
						t.Error("a committed refresh was repeated")
					}
					if _, err := w.conn("crm").Force(context.Background(), 0); err != nil {
						t.Errorf("one more refresh: %v", err)
					}
				})
			})
		}
	}
	t.Run("cap076 killed between refresh and retry, the new token set is in the store", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			tok, err := c.Rejected(context.Background(), 1)
			if err != nil {
				t.Fatal(err)
			}
			w.crash()
			if got := w.token(w.conn("crm")); !got.Access.Equal(tok.Access) || !got.Refresh.Equal(tok.Refresh) {
				t.Error("the restarted process has another token")
			}
		})
	})
	t.Run("a strict provider is left alone while the access token lives", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT", rotation(models["strict"]))
			w.die(c, "send.written")
			w.crash()
			time.Sleep(time.Minute)
			w.wantState("crm", freshet.StateUncertain, "interrupted")
			if got := w.token(w.conn("crm")).Access.Reveal(); got != "AT0-crm" {
				t.Errorf("token = %s", got)
			}
			w.wantAsks(1)
			time.Sleep(time.Hour)
			w.wantState("crm", freshet.StateReauth, freshet.ReasonLostInFlight)
		})
	})
}

func TestStoreFails(t *testing.T) {
	t.Run("F06 a commit that was applied although it reported an error", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.after = func(int) { w.db.mu.Lock(); w.db.lost = 1; w.db.mu.Unlock() }
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if st := w.status("crm"); st.Generation != 2 || w.src.Gauges().Spilled != 0 {
				t.Errorf("status = %+v", st)
			}
		})
	})
	t.Run("F66 F68 a store that takes no writes: nothing is sent, the live token is served", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			time.Sleep(time.Hour - 20*time.Second)
			asks := w.prov.count()
			w.db.set(store.ErrReadOnly)
			for range 20 {
				r, err := c.Read(context.Background(), 2*time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				_ = r
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(10 * time.Minute)
			if got := w.prov.count(); got != asks {
				t.Errorf("%d requests although the store takes no writes", got-asks)
			}
			w.db.set(nil)
			time.Sleep(2 * time.Minute)
			w.wantState("crm", freshet.StateOK, "")
		})
	})
	t.Run("F67 a disk that fills up after the claim: the answer is spilled, served and committed later", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT")
			w.prov.after = func(int) { w.db.set(store.ErrReadOnly) }
			r, err := c.Force(context.Background(), 0)
			if err != nil || r.Token.Access.Reveal() != "AT1" {
				t.Fatalf("%+v, %v", r, err)
			}
			if w.src.Gauges().Spilled != 1 || w.count(EventSpilled) != 1 {
				t.Errorf("gauges = %+v", w.src.Gauges())
			}
			w.canaries("AT1", "RT1")
			w.prov.after = nil
			w.db.set(nil)
			time.Sleep(time.Minute)
			if st := w.status("crm"); st.Generation != 2 || w.src.Gauges().Spilled != 0 {
				t.Errorf("status = %+v, gauges = %+v", st, w.src.Gauges())
			}
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Errorf("one more refresh: %v", err)
			}
		})
	})
	t.Run("F03 a spilled answer survives the process", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT")
			w.prov.after = func(int) { w.db.set(store.ErrReadOnly) }
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			w.prov.after = nil
			w.src.stop()
			w.src.loops.Wait()
			w.src.flying.Wait()
			w.src.spill.Close()
			w.db.set(nil)
			w.start()
			if got := w.token(w.conn("crm")).Refresh.Reveal(); got != "RT1" {
				t.Errorf("refresh token = %s", got)
			}
			w.wantState("crm", freshet.StateOK, "")
		})
	})
	t.Run("F08 a spill replayed twice, or after a newer token, overwrites nothing", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.die(c, "spill.after")
			r := w.src.spill.Records()[0]
			for range 2 {
				if done, err := w.src.deliver(context.Background(), r); !done || err != nil {
					t.Fatal(done, err)
				}
			}
			c.invalidate()
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if done, err := w.src.deliver(context.Background(), r); !done || err != nil {
				t.Fatal(done, err)
			}
			if st := w.status("crm"); st.Generation != 3 {
				t.Errorf("generation = %d", st.Generation)
			}
			if o, _ := w.store.Orphans(context.Background(), "id-crm"); len(o) != 1 {
				t.Errorf("orphans = %v", o)
			}
		})
	})
	t.Run("F76 a row that does not open is one connection's trouble", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("bad", "RT-b")
			good := w.add("good", "RT-g")
			err := w.db.Tx(context.Background(), func(tx store.Querier) error {
				_, err := tx.Exec(context.Background(), `UPDATE tokens SET sealed = (SELECT sealed FROM tokens WHERE name = 'good') WHERE name = 'bad'`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			w.crash()
			_, err = w.conn("bad").Token(context.Background(), 0)
			wantStateError(t, err, freshet.StateAttention, freshet.ReasonUnreadable)
			w.token(w.conn(good.name))
			w.wantAsks(0)
			row, err := w.store.TokenByName(context.Background(), "bad")
			if err != nil || row.Sealed == nil || row.Gen != 1 {
				t.Error("the unreadable row was rewritten")
			}
		})
	})
}

func TestFenced(t *testing.T) {
	t.Run("F16 F26 a person's token wins over a late answer, which is kept", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.took = 5 * time.Second
			done := make(chan error, 1)
			go func() {
				_, err := c.Force(context.Background(), 0)
				done <- err
			}()
			time.Sleep(time.Second)
			w.prov.grantTo("NEW")
			now := time.Now()
			if err := w.src.Import(context.Background(), "crm", freshet.Token{Access: freshet.NewSecret("new"), Refresh: freshet.NewSecret("NEW"), IssuedAt: now, Expiry: now.Add(time.Hour)}, false); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := w.token(c).Access.Reveal(); got != "new" {
				t.Errorf("token = %s", got)
			}
			if o, _ := w.store.Orphans(context.Background(), "id-crm"); len(o) != 1 {
				t.Errorf("orphans = %v", o)
			}
		})
	})
	t.Run("F26 deleted in flight: no row is left, the late token is revoked", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT", func(d *freshet.Definition) { d.Provider.RevocationURL = "https://p.example/revoke" })
			w.prov.took = 5 * time.Second
			done := make(chan error, 1)
			go func() {
				_, err := c.Force(context.Background(), 0)
				done <- err
			}()
			time.Sleep(time.Second)
			if err := w.store.Change(context.Background(), func(ch *store.Change) error { return ch.DeleteToken("id-crm") }); err != nil {
				t.Fatal(err)
			}
			w.defs.drop("crm")
			if err := <-done; !errors.Is(err, freshet.ErrNotFound) {
				t.Errorf("err = %v", err)
			}
			if _, err := w.store.Token(context.Background(), "id-crm"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("row: %v", err)
			}
			if w.prov.revokes != 1 {
				t.Errorf("revocations = %d", w.prov.revokes)
			}
		})
	})
	t.Run("F17 a refusal of a token that was replaced meanwhile is no refusal", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.took = 5 * time.Second
			w.prov.answer = func(n int, _ *freshet.Definition, _ grant.Ask) *grant.Outcome {
				return ptr(refused(grant.Permanent, "invalid_grant", false))
			}
			done := make(chan error, 1)
			go func() {
				_, err := c.Force(context.Background(), 0)
				done <- err
			}()
			time.Sleep(time.Second)
			now := time.Now()
			if err := w.src.Import(context.Background(), "crm", freshet.Token{Access: freshet.NewSecret("won"), Refresh: freshet.NewSecret("W"), IssuedAt: now, Expiry: now.Add(time.Hour)}, false); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("err = %v", err)
			}
			w.wantState("crm", freshet.StateOK, "")
			if w.count(EventReauth) != 0 {
				t.Error("a reauth event")
			}
		})
	})
	t.Run("F25 two connections cannot share one refresh token", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("one", "SHARED")
			w.add("two", "")
			err := w.src.Import(context.Background(), "two", freshet.Token{Access: freshet.NewSecret("a"), Refresh: freshet.NewSecret("SHARED")}, false)
			var dup *DuplicateError
			if !errors.As(err, &dup) || dup.Other != "one" {
				t.Errorf("err = %v", err)
			}
		})
	})
	t.Run("F85 revoke: local at once, remote retried", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.add("crm", "RT", func(d *freshet.Definition) { d.Provider.RevocationURL = "https://p.example/revoke" })
			w.prov.revokeErr = errors.New("503")
			remote, err := w.src.Revoke(context.Background(), "crm")
			if remote || err != nil {
				t.Fatal(remote, err)
			}
			w.wantState("crm", freshet.StateReauth, freshet.ReasonRevoked)
			if _, err := w.conn("crm").Token(context.Background(), 0); err == nil {
				t.Error("a revoked token was served")
			}
			time.Sleep(10 * time.Second)
			w.prov.mu.Lock()
			w.prov.revokeErr = nil
			w.prov.mu.Unlock()
			time.Sleep(10 * time.Minute)
			if l, _ := w.store.Letters(context.Background(), 10); len(l) != 0 {
				t.Errorf("letters = %+v", l)
			}
		})
	})
}

func TestClose(t *testing.T) {
	t.Run("F92 a stop waits for the answer under way and stores it", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT")
			w.prov.took = 5 * time.Second
			var wg sync.WaitGroup
			wg.Go(func() { c.Force(context.Background(), 0) })
			synctest.Wait()
			if err := w.src.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Error("a claim after the stop")
			}
			wg.Wait()
			w.start()
			if got := w.token(w.conn("crm")).Refresh.Reveal(); got != "RT1" {
				t.Errorf("refresh token = %s", got)
			}
		})
	})
}

func TestSpillFile(t *testing.T) {
	t.Run("F07 S46 a torn tail is left out at every length", func(t *testing.T) {
		inWorld(t, func(w *world) {
			var sizes []int64
			for _, id := range []string{"a", "b"} {
				if err := w.src.spill.Append(record{Connection: id, Commit: store.Commit{Attempt: id, Sealed: []byte("sealed " + id)}}); err != nil {
					t.Fatal(err)
				}
				sizes = append(sizes, w.src.spill.end)
			}
			path := filepath.Join(w.dir, "spill-local")
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
				t.Errorf("mode = %v", st.Mode())
			}
			for cut := range sizes[1] + 1 {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "spill-local"), whole[:cut], 0o600); err != nil {
					t.Fatal(err)
				}
				s, err := openSpill(dir, "local", w.vault)
				if cut > 0 && cut < int64(len(spillMagic)) {
					if err != nil || s.Pending() != 0 {
						t.Fatalf("cut at %d: %v", cut, err)
					}
					s.Close()
					continue
				}
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				want := int64(0)
				for _, size := range sizes {
					if cut >= size {
						want++
					}
				}
				if got := s.Pending(); got != want {
					t.Errorf("cut at %d: %d records, want %d", cut, got, want)
				}
				s.Close()
			}
			for _, id := range []string{"a", "b"} {
				if err := w.src.spill.Done(id); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}
