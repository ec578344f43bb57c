//go:build unix

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// wait lets time pass while a fault lasts.
func (w *world) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
	}
}

func between(dice *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(dice.Int64N(int64(high-low)+1))
}

// tormentReplicas does to replicas what happens to machines, until the plan is
// fulfilled. Several may do so at once, each to another replica.
func (w *world) tormentReplicas(n int) {
	dice := w.random(fmt.Sprint("replicas ", n))
	for w.ctx.Err() == nil {
		r := w.replicas[dice.IntN(len(w.replicas))]
		kind := dice.IntN(100)
		r.mu.Lock()
		switch {
		case kind < 80:
			r.kill()
			w.count("replicas killed")
			if dice.IntN(4) == 0 {
				w.wait(between(dice, 0, 2*time.Second)) // a machine that takes its time
			}
			if err := r.revive(dice); err != nil && w.ctx.Err() == nil {
				w.breach("%v", err)
			}
		case kind == 80:
			// Past the lease: half of the grace of 30 s.
			r.freeze()
			w.count("replicas stopped past the lease")
			w.wait(16 * time.Second)
			r.unfreeze()
		case kind < 88:
			r.freeze()
			w.count("replicas stopped for a moment")
			w.wait(between(dice, 50*time.Millisecond, 3*time.Second))
			r.unfreeze()
		case kind < 92:
			r.db.down.Store(true)
			r.db.cut()
			w.count("links to the database cut")
			w.wait(between(dice, 50*time.Millisecond, 3*time.Second))
			r.db.heal()
		case kind < 96:
			// What is sent arrives, also a COMMIT; no answer comes back.
			r.db.mute.Store(true)
			w.count("links to the database half open")
			w.wait(between(dice, 20*time.Millisecond, 500*time.Millisecond))
			r.db.cut()
			r.db.heal()
		default:
			r.db.delay.Store(int64(between(dice, time.Millisecond, 40*time.Millisecond)))
			w.count("links to the database slow")
			w.wait(between(dice, 100*time.Millisecond, 2*time.Second))
			r.db.heal()
		}
		r.mu.Unlock()
		w.wait(between(dice, 0, 200*time.Millisecond))
	}
}

// tormentProvider does to the way to the provider what happens to networks.
func (w *world) tormentProvider() {
	dice := w.random("provider")
	for w.ctx.Err() == nil {
		switch dice.IntN(4) {
		case 0:
			w.provider.cut()
			w.count("links to the provider cut")
		case 1:
			w.provider.down.Store(true)
			w.provider.cut()
			w.count("providers out of reach")
			w.wait(between(dice, 20*time.Millisecond, time.Second))
		case 2:
			w.provider.mute.Store(true)
			w.count("answers of the provider lost")
			w.wait(between(dice, 10*time.Millisecond, 200*time.Millisecond))
			w.provider.cut()
		default:
			w.provider.delay.Store(int64(between(dice, time.Millisecond, 100*time.Millisecond)))
			w.count("links to the provider slow")
			w.wait(between(dice, 50*time.Millisecond, time.Second))
		}
		w.provider.heal()
		w.wait(between(dice, 200*time.Millisecond, 2*time.Second))
	}
}

// armDatabase gives the database a way to be full or read-only: a trigger that
// answers with the server's own codes, from the tables that hold tokens.
func (w *world) armDatabase(t *testing.T) {
	t.Helper()
	w.pg.Exec(t, w.pg.SuperURL(pgtest.Name(w.db)),
		`CREATE TABLE torture_state (code text)`,
		`INSERT INTO torture_state VALUES (NULL)`,
		`CREATE FUNCTION torture_fault() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$
			DECLARE c text;
			BEGIN
				SELECT code INTO c FROM public.torture_state;
				IF c IS NOT NULL THEN
					RAISE EXCEPTION 'the database is in trouble' USING ERRCODE = c;
				END IF;
				RETURN COALESCE(NEW, OLD);
			END $$`,
		`CREATE TRIGGER torture BEFORE INSERT OR UPDATE OR DELETE ON tokens FOR EACH ROW EXECUTE FUNCTION torture_fault()`)
}

func (w *world) trouble(t *testing.T, code string, d time.Duration) {
	super := w.pg.SuperURL(pgtest.Name(w.db))
	w.pg.Exec(t, super, fmt.Sprintf(`UPDATE torture_state SET code = '%s'`, code))
	w.wait(d)
	w.pg.Exec(t, super, `UPDATE torture_state SET code = NULL`)
}

// tormentDatabase kills, fills and closes the database until the plan is
// fulfilled or its time is over. It runs in the test's own goroutine.
func (w *world) tormentDatabase(t *testing.T, over func() bool) {
	dice := w.random("database")
	for w.ctx.Err() == nil && !over() {
		switch k := dice.IntN(10); {
		case k < 6 && w.counted("databases killed") < w.plan.pgKills:
			w.pg.Kill9(t)
			w.count("databases killed")
			w.wait(between(dice, 0, 500*time.Millisecond))
			w.pg.Restart(t)
		case k < 7:
			w.count("disks full")
			w.trouble(t, "53100", between(dice, 50*time.Millisecond, 2*time.Second))
		case k < 8:
			w.count("databases read-only")
			w.trouble(t, "25006", between(dice, 50*time.Millisecond, 2*time.Second))
		case k < 9:
			w.pg.Pause(t)
			w.count("databases stopped")
			w.wait(between(dice, 20*time.Millisecond, time.Second))
			w.pg.Resume(t)
		default:
			for _, r := range w.replicas {
				r.db.cut()
			}
			w.count("all links to the database cut at once")
		}
		rest := 3 * time.Second
		if w.plan.pgKills > 10 {
			rest = time.Second // there is much to do
		}
		w.wait(between(dice, 200*time.Millisecond, rest))
	}
}

// settle waits until every connection is in order, with nobody doing anything
// to anybody, and returns those that are not.
func (w *world) settle(ctx context.Context) map[string]string {
	left := map[string]string{}
	for _, name := range w.names() {
		left[name] = "not looked at"
	}
	for len(left) > 0 && ctx.Err() == nil {
		for name := range left {
			r := w.replicas[len(left)%len(w.replicas)]
			if err := w.refreshOnce(ctx, r, name); err != nil {
				left[name] = err.Error()
				continue
			}
			delete(left, name)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return left
}
