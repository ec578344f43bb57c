package schedule_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// thousands opens a store with so many hourly schedules, none due.
func thousands(b *testing.B, n int) *store.Store {
	b.Helper()
	st, err := sqlite.Open(b.Context(), b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	for from := 0; from < n; from += 500 {
		if err := st.Change(b.Context(), func(c *store.Change) error {
			for i := from; i < from+500; i++ {
				if err := schedule.Declare(c, fmt.Sprint("id-", i), fmt.Sprint("s", i), freshet.Schedule{Every: minutes(60), Refresh: "crm"}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	return st
}

// What a look costs while nothing is due, and while one is, among ten thousand.
func BenchmarkLook(b *testing.B) {
	for _, due := range []int{0, 1} {
		b.Run(fmt.Sprintf("%d of 10000 due", due), func(b *testing.B) {
			st := thousands(b, 10_000)
			for b.Loop() {
				if due > 0 {
					b.StopTimer()
					makeDue(b, st, `id = 'id-77'`)
					b.StartTimer()
				}
				_, n, err := st.FireDue(b.Context(), 100, func(t *store.Timer, now time.Time) (store.Fire, error) {
					return store.Fire{Next: now.Add(time.Hour)}, nil
				}, nil)
				if err != nil || n != due {
					b.Fatal(n, err)
				}
				if _, err := st.NextTimer(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func makeDue(b *testing.B, st *store.Store, where string) {
	b.Helper()
	if err := st.DB().Tx(b.Context(), func(tx store.Querier) error {
		_, err := tx.Exec(b.Context(), `UPDATE timers SET next_at = $1 WHERE `+where, time.Now().UnixMilli())
		return err
	}); err != nil {
		b.Fatal(err)
	}
}

// Ten thousand schedules that are due at the same instant: claimed, carried out
// by a target that does nothing, and written down.
func BenchmarkTenThousandAtOnce(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		st := thousands(b, 10_000)
		makeDue(b, st, `next_at IS NOT NULL`)
		var done atomic.Int64
		over := make(chan struct{})
		q := queue.NewLocal(queue.Options{Store: st})
		p := schedule.New(schedule.Options{Store: st, Queue: q,
			Targets: map[string]schedule.Target{"refresh": schedule.TargetFunc(func(context.Context, schedule.Firing) (schedule.Outcome, error) { return schedule.Outcome{}, nil })},
			Observe: func(schedule.Fired) {
				if done.Add(1) == 10_000 {
					close(over)
				}
			}})
		q.Register(p.Kind())
		if err := q.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		p.Start()
		for claimed := false; !claimed; {
			next, err := st.NextTimer(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			claimed = next.After(time.Now())
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-claimed")
		<-over
		b.StopTimer()
		p.Close()
		q.Close(b.Context())
		b.StartTimer()
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "firings/s")
}
