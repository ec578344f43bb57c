package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// F71: the first transaction on a standby that took over finds out, before it
// has written anything. A standby alone is refused.
func TestF71_a_standby_takes_over(t *testing.T) {
	for name, synced := range map[string]bool{"it may miss commits": false, "it had confirmed every commit": true} {
		t.Run(name, func(t *testing.T) {
			primary := pgtest.Start(t)
			url := fresh(t, primary)
			standby := primary.Standby(t)
			refuse(t, postgres.Options{URL: standby.URL(pgtest.Name(url))}, store.ErrReadOnly, "standby")
			if synced {
				primary.Set(t, "synchronous_standby_names", "*")
			}
			st := open(t, postgres.Options{URL: pgtest.Either(pgtest.Name(url), primary, standby)})
			db := st.DB().(*postgres.DB)
			var told []bool
			db.OnFailover(func(lossless bool) { told = append(told, lossless) })
			connect(t, st, "crm")
			was, err := st.TokenByName(t.Context(), "crm")
			if err != nil {
				t.Fatal(err)
			}
			for !strings.Contains(contents(t, standby, url), "<name>crm</name>") { // it follows when it can
				time.Sleep(10 * time.Millisecond)
			}
			line := db.Timeline()
			if synced {
				// The primary must not be able to commit without it.
				standby.Promote(t)
				primary.Kill9(t)
			} else {
				standby.Lag(t)
				swap(t, st, "crm", 0) // what nobody will know of
				primary.Kill9(t)
				standby.Promote(t)
			}
			ran := false
			err = st.DB().Tx(t.Context(), func(store.Querier) error { ran = true; return nil })
			if synced {
				if err != nil || len(told) != 1 || !told[0] || !ran {
					t.Errorf("%v, told %v", err, told)
				}
			} else if !errors.Is(err, postgres.ErrFailover) || !errors.Is(err, store.ErrReadOnly) || ran || len(told) != 1 || told[0] {
				t.Errorf("%v, told %v, ran %v", err, told, ran)
			}
			if db.Timeline() == line || line == "" {
				t.Errorf("timeline %q, then %q", line, db.Timeline())
			}
			if err := st.Writable(t.Context()); err != nil {
				t.Errorf("the next one: %v", err)
			}
			if r, err := st.TokenByName(t.Context(), "crm"); err != nil || r.Gen != was.Gen {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}
