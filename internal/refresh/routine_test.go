package refresh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// by makes a connection refresh by a routine.
func by(d *freshet.Definition) { d.Connection.Refresh.By = "workflow:Mine" }

func returned(refresh string) grant.Outcome {
	now := time.Now()
	return grant.Outcome{Token: &freshet.Token{Access: freshet.NewSecret("own-" + refresh), Refresh: freshet.NewSecret(refresh), Scheme: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}}
}

func TestRoutine(t *testing.T) {
	var routine Routine
	with := func(o *Options) {
		o.Routine = func(ctx context.Context, d *freshet.Definition, by string, tok *freshet.Token) grant.Outcome {
			return routine(ctx, d, by, tok)
		}
	}
	t.Run("cap069 what a routine returns is committed, and nothing else is asked", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("own", "r1", by)
			calls := 0
			routine = func(_ context.Context, d *freshet.Definition, by string, tok *freshet.Token) grant.Outcome {
				calls++
				row, err := w.store.Token(context.Background(), d.ID)
				if err != nil || row.Attempt == "" {
					t.Errorf("it runs outside of the claim: %v", err)
				}
				if by != "workflow:Mine" || tok.Refresh.Reveal() != "r1" || d.Connection.Name != "own" {
					t.Errorf("given %q %v", by, d.Connection.Name)
				}
				return returned("r2")
			}
			before := w.prov.count()
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			w.crash() // what was answered is in the store
			if got := w.token(w.conn("own")); got.Access.Reveal() != "own-r2" || got.Refresh.Reveal() != "r2" || got.Generation != 2 {
				t.Errorf("generation %d", got.Generation)
			}
			if calls != 1 || w.prov.count() != before {
				t.Errorf("%d calls, %d requests besides", calls, w.prov.count()-before)
			}
		}, with)
	})
	t.Run("cap069 a fault is a failed refresh of its class", func(t *testing.T) {
		for class, want := range map[grant.Class]freshet.State{grant.Retryable: freshet.StateUncertain, grant.Permanent: freshet.StateReauth, grant.Misconfigured: freshet.StateMisconfigured} {
			inWorld(t, func(w *world) {
				c := w.add("own", "r1", by)
				routine = func(context.Context, *freshet.Definition, string, *freshet.Token) grant.Outcome {
					return grant.Outcome{Err: &grant.Error{Class: class, Code: "routine_failed", Uncertain: class == grant.Retryable}}
				}
				if _, err := c.Force(context.Background(), 0); err == nil {
					t.Fatal("no error")
				}
				if st := w.status("own"); st.State != want {
					t.Errorf("%s: %s (%s)", class, st.State, st.Reason)
				}
				if got := w.token(c); got.Access.Reveal() != "AT0-own" {
					t.Error("the token that lives is not served")
				}
			}, with)
		}
	})
	t.Run("cap069 it has the deadline of an exchange", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("own", "r1", by)
			var took time.Duration
			routine = func(ctx context.Context, _ *freshet.Definition, _ string, _ *freshet.Token) grant.Outcome {
				began := time.Now()
				<-ctx.Done()
				took = time.Since(began)
				return grant.Outcome{Err: &grant.Error{Class: grant.Retryable, Code: "routine_timeout", Uncertain: true}}
			}
			if _, err := c.Force(context.Background(), 0); err == nil {
				t.Fatal("no error")
			}
			if took != 20*time.Second {
				t.Errorf("after %s", took)
			}
			if st := w.status("own"); st.State != freshet.StateUncertain || st.LostAt.IsZero() {
				t.Errorf("%s, lost at %s", st.State, st.LostAt)
			}
		}, with)
	})
	t.Run("cap069 a routine that asks for its own token is told so at once", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("own", "r1", by)
			began := time.Now()
			var got error
			routine = func(ctx context.Context, _ *freshet.Definition, _ string, _ *freshet.Token) grant.Outcome {
				_, got = c.Read(ctx, 2*time.Hour)
				_, got = c.Force(ctx, 0)
				return returned("r2")
			}
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			var se *freshet.StateError
			if !errors.As(got, &se) || se.Reason != "routine_needs_itself" || time.Since(began) > time.Second {
				t.Errorf("%v after %s", got, time.Since(began))
			}
		}, with)
	})
}

func TestNoRoutines(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.add("own", "r1", by)
		before := w.prov.count()
		if _, err := c.Force(context.Background(), 0); err == nil || w.prov.count() != before {
			t.Errorf("the built-in request went out in its place: %v", err)
		}
	})
}

func TestUpdate(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.add("own", "r1")
		now := time.Now()
		set := freshet.Token{Access: freshet.NewSecret("by-hand"), Scheme: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}
		got, err := w.src.Update(context.Background(), "own", set, false)
		if err != nil || got.Access.Reveal() != "by-hand" || got.Refresh.Reveal() != "r1" || got.Generation != 2 {
			t.Fatalf("%+v %v", got, err)
		}
		w.crash() // it was durable
		if got := w.token(w.conn("own")); got.Access.Reveal() != "by-hand" || got.Refresh.Reveal() != "r1" {
			t.Error("another token after a crash")
		}
		set.Access = freshet.NewSecret("alone")
		if got, err = w.src.Update(context.Background(), "own", set, true); err != nil || !got.Refresh.IsZero() {
			t.Errorf("replaced: %v", err)
		}
		_ = c
	})
	t.Run("what is stored is given as it is", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("own", "r1", func(d *freshet.Definition) { d.Connection.Refresh.When = []freshet.Trigger{freshet.On401} })
			time.Sleep(2 * time.Hour)
			before := w.prov.count()
			if got, err := c.Stored(context.Background()); err != nil || got.Access.Reveal() != "AT0-own" || w.prov.count() != before {
				t.Errorf("%v, %d requests", err, w.prov.count()-before)
			}
			var se *freshet.StateError
			if _, err := w.add("none", "").Stored(context.Background()); !errors.As(err, &se) || se.Reason != freshet.ReasonNeverAuthorized {
				t.Error(err)
			}
		})
	})
}
