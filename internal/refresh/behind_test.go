package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// old is a row as somebody may have copied it.
func (w *world) copyRow(name string) func() {
	w.t.Helper()
	ctx := context.Background()
	if err := w.db.Tx(ctx, func(tx store.Querier) error {
		_, err := tx.Exec(ctx, `CREATE TABLE copied AS SELECT * FROM tokens WHERE name = $1`, name)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if err := w.db.Tx(ctx, func(tx store.Querier) error {
			if _, err := tx.Exec(ctx, `DELETE FROM tokens WHERE name = $1`, name); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `INSERT INTO tokens SELECT * FROM copied`)
			return err
		}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestBehind(t *testing.T) {
	t.Run("S45 a row that was put back: nothing older is sent or served", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			c := w.add("crm", "RT")
			putBack := w.copyRow("crm")
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			putBack()
			c.invalidate()
			if got := w.token(c); got.Generation != 2 {
				t.Errorf("generation %d was served after the row was put back", got.Generation)
			}
			time.Sleep(3 * time.Hour)
			_, err := c.Token(context.Background(), 0)
			wantStateError(t, err, freshet.StateAttention, "store_unavailable")
			w.wantAsks(1)
		})
	})
	t.Run("S45 a generation under another number does not open", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.copyRow("crm")
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if err := w.db.Tx(context.Background(), func(tx store.Querier) error {
				_, err := tx.Exec(context.Background(), `UPDATE tokens SET sealed = (SELECT sealed FROM copied) WHERE name = 'crm'`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			w.crash()
			_, err := w.conn("crm").Token(context.Background(), 0)
			wantStateError(t, err, freshet.StateAttention, freshet.ReasonUnreadable)
			w.wantAsks(1)
		})
	})
	t.Run("F67 an answer is still spilled when the database comes back: the spent token is not sent", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			w.prov.lifetime = time.Minute
			c := w.add("crm", "RT")
			w.src.Pause("readers only, so far")
			w.prov.after = func(int) { w.db.set(store.ErrReadOnly) }
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			w.prov.after = nil
			time.Sleep(2 * time.Minute) // the lease and the token are over, the answer still waits
			w.db.set(nil)
			w.src.Resume()
			for range 200 { // readers, the sweep, the background and the spilled answer race for the row
				c.Token(context.Background(), 0)
				time.Sleep(100 * time.Millisecond)
			}
			w.wantState("crm", freshet.StateOK, "")
			if _, err := c.Force(context.Background(), 0); err != nil {
				t.Errorf("one more refresh: %v", err)
			}
		})
	})
}

func TestDistrust(t *testing.T) {
	t.Run("F12 of a store that may be an older one no refresh token is sent before a person confirms", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.model = "strict"
			crm, api, bot := w.add("crm", "RT-c"), w.add("api", "RT-a"), w.add("bot", "", machine)
			w.token(bot)
			asks := w.prov.count()
			w.src.Distrust("this store is a restored backup")
			if got := w.token(crm); got.Generation != 1 {
				t.Error("a token that lives was not served")
			}
			time.Sleep(3 * time.Hour)
			_, err := crm.Token(context.Background(), 0)
			se := wantStateError(t, err, freshet.StateAttention, freshet.ReasonRestored)
			if !contains(se.Detail, "freshet resume") || se.RetryAfter <= 0 {
				t.Errorf("%+v does not say what to do", se)
			}
			if _, err := api.Rejected(context.Background(), 1); err == nil {
				t.Error("a refused token was refreshed")
			}
			if got := w.prov.count(); got != asks {
				t.Errorf("%d token requests", got-asks)
			}
			w.token(bot) // which sends no refresh token
			// A person may try one.
			if _, err := crm.Force(context.Background(), 0); err != nil {
				t.Error(err)
			}
			if got := w.prov.count(); got != asks+2 {
				t.Errorf("%d token requests, want the two", got-asks)
			}
			w.src.Resume()
			time.Sleep(time.Minute)
			w.token(api)
		})
	})
}
