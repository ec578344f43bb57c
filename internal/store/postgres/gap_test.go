package postgres_test

import (
	"errors"
	"testing"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// Events are numbered before their transactions end. Whoever follows the list
// misses none for that, and waits for none that will never come.
func TestEventsAreFollowedWithoutHoles(t *testing.T) {
	st := open(t, postgres.Options{URL: fresh(t, pgtest.Shared(t))})
	other := open(t, postgres.Options{URL: st.DB().(*postgres.DB).Pool().Config().ConnString()})
	enough := errors.New("enough")
	for name, end := range map[string]error{"the slow one is committed": nil, "the slow one is undone": enough} {
		t.Run(name, func(t *testing.T) {
			last, err := st.LastEvents(t.Context(), "", 1)
			if err != nil {
				t.Fatal(err)
			}
			cursor := int64(0)
			if len(last) > 0 {
				cursor = last[0].Seq
			}
			err = st.DB().Tx(t.Context(), func(tx store.Querier) error {
				if _, err := tx.Exec(t.Context(), `INSERT INTO events (at, connection, type) VALUES (4000000000000, 'slow', 'x')`); err != nil {
					return err
				}
				if err := other.AppendEvents(t.Context(), store.Event{Connection: "quick", Type: "x"}); err != nil {
					return err
				}
				for range 3 {
					list, err := other.Events(t.Context(), "", cursor, 10)
					if err != nil || len(list) != 0 {
						t.Errorf("the list goes on past one that is under way: %+v, %v", list, err)
					}
				}
				return end
			})
			if err != end {
				t.Fatal(err)
			}
			list, err := other.Events(t.Context(), "", cursor, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, e := range list {
				got += e.Connection + " "
			}
			if want := map[error]string{nil: "slow quick ", enough: "quick "}[end]; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
