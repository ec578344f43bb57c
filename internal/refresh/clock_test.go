package refresh

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// A machine has a wall clock that can be set, and a monotonic one that stands
// still in its sleep. The bubble's own time has no monotonic reading.
type machineClocks struct {
	wall  atomic.Int64 // the wall clock is ahead of the bubble's time by so much
	slept atomic.Int64 // in all
}

func (m *machineClocks) now() time.Time {
	now := time.Now()
	return reading(now.Add(time.Duration(m.wall.Load())), now.UnixNano())
}

func (m *machineClocks) asleep() time.Duration { return time.Duration(m.slept.Load()) }

// sleep suspends the machine: when it wakes up the wall clock has gone on, the
// monotonic one has not, and no timer has fired.
func (m *machineClocks) sleep(d time.Duration) {
	m.wall.Add(int64(d))
	m.slept.Add(int64(d))
}

func (m *machineClocks) use(o *Options) { o.Now, o.Asleep = m.now, m.asleep }

// reading makes a time that has both readings, which package time makes by
// itself alone. It knows how they are laid out; TestReading notices if that
// changes.
func reading(wall time.Time, mono int64) time.Time {
	const since1885 = 59453308800 - 62135596800 // seconds from 1885 to the Unix epoch, negated
	type layout struct {
		wall uint64 // 1 bit: has a monotonic reading; 33 bits: seconds since 1885; 30 bits: nanoseconds
		ext  int64  // the monotonic reading
		loc  *time.Location
	}
	t := wall.Round(0)
	l := (*layout)(unsafe.Pointer(&t))
	l.wall = 1<<63 | uint64(wall.Unix()-since1885)<<30 | uint64(wall.Nanosecond())
	l.ext = mono
	return t
}

func TestReading(t *testing.T) {
	at := time.Date(2026, 11, 21, 5, 0, 0, 7, time.UTC)
	a, b := reading(at, 1e18), reading(at.Add(-time.Hour), 1e18+int64(time.Minute))
	if !a.Round(0).Equal(at) {
		t.Errorf("wall clock = %v, want %v", a.Round(0), at)
	}
	if b.Sub(a) != time.Minute || b.Round(0).Sub(a.Round(0)) != -time.Hour {
		t.Errorf("%v by the monotonic clock, %v by the wall", b.Sub(a), b.Round(0).Sub(a.Round(0)))
	}
}

// A skewed database has its machine's wall clock.
type skewed struct {
	store.DB
	m *machineClocks
}

func (s skewed) Now(context.Context, store.Querier) (time.Time, error) { return s.m.now(), nil }

// inMachine is inWorld on a machine whose clocks can be set.
func inMachine(t *testing.T, fn func(w *world, m *machineClocks), opts ...func(*Options)) {
	t.Helper()
	m := &machineClocks{}
	inWorld(t, func(w *world) {
		synctest.Wait() // nobody looks at the database
		w.db.DB = skewed{w.db.DB, m}
		// Answers count from the send by this machine's clocks, as the sender's do.
		w.prov.answer = func(int, *freshet.Definition, grant.Ask) *grant.Outcome {
			w.prov.n++
			t := &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("AT%d", w.prov.n)), Refresh: freshet.NewSecret(fmt.Sprintf("RT%d", w.prov.n)), IssuedAt: m.now()}
			t.Expiry = t.IssuedAt.Add(w.prov.lifetime)
			return &grant.Outcome{Token: t}
		}
		fn(w, m)
	}, append(opts, m.use)...)
}

// obtained adds n connections whose tokens this process obtains itself.
func (w *world) obtained(n int) {
	w.t.Helper()
	for i := range n {
		w.token(w.add(fmt.Sprintf("c%03d", i), "", machine))
	}
}

func TestClocks(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprintf("F57 the wall clock jumps ahead by %v", jump), func(t *testing.T) {
			inMachine(t, func(w *world, m *machineClocks) {
				const n = 200
				w.obtained(n)
				time.Sleep(10 * time.Minute)
				m.wall.Store(int64(jump))
				for range 10 {
					for i := range n {
						if got := w.token(w.conn(fmt.Sprintf("c%03d", i))); got.Generation != 1 {
							t.Fatalf("a token was declared dead by the wall clock alone")
						}
					}
					time.Sleep(time.Minute)
				}
				w.wantAsks(n)
				// They are refreshed when it is time, by the clock that was not set.
				time.Sleep(27 * time.Minute)
				w.wantAsks(n)
				time.Sleep(5 * time.Minute)
				w.wantAsks(2 * n)
				w.prov.mu.Lock()
				defer w.prov.mu.Unlock()
				if w.prov.peak > perProvider {
					t.Errorf("%d requests at once", w.prov.peak)
				}
			})
		})
	}
	t.Run("F58 the wall clock is set back an hour", func(t *testing.T) {
		inMachine(t, func(w *world, m *machineClocks) {
			const n = 20
			w.obtained(n)
			issued := time.Now()
			time.Sleep(10 * time.Minute)
			m.wall.Store(-int64(time.Hour))
			// Nobody reads: the background keeps its plan.
			time.Sleep(37 * time.Minute)
			w.wantAsks(n)
			time.Sleep(3 * time.Minute)
			w.wantAsks(2 * n)
			// Readers: never a token past its real end.
			for range 4 * 60 {
				tok := w.token(w.conn("c000"))
				if tok.Generation == 1 && time.Since(issued) > w.prov.lifetime {
					t.Fatal("a token was served past its real end")
				}
				if left := tok.Expiry.Sub(m.now()); left < 0 {
					t.Fatalf("a token was served %v past its end", -left)
				}
				time.Sleep(time.Minute)
			}
		})
	})
	t.Run("F58 set back, and only readers would refresh", func(t *testing.T) {
		inMachine(t, func(w *world, m *machineClocks) {
			w.src.Pause("no background")
			w.obtained(1)
			m.wall.Store(-int64(time.Hour))
			time.Sleep(time.Hour - 20*time.Second)
			if got := w.token(w.conn("c000")); got.Generation != 2 {
				t.Error("a spent token was served because the wall clock was set back")
			}
		})
	})
	t.Run("F59 eight hours of sleep", func(t *testing.T) {
		inMachine(t, func(w *world, m *machineClocks) {
			const n = 300
			w.obtained(n)
			w.prov.mu.Lock()
			w.prov.peak, w.prov.took = 0, time.Second
			w.prov.mu.Unlock()
			m.sleep(8 * time.Hour)
			time.Sleep(time.Minute + time.Second) // until somebody looks at the clocks: the bubble's sweep
			began := time.Now()
			if got := w.token(w.conn("c299")); got.Generation != 2 {
				t.Error("a token that died in the machine's sleep was served")
			}
			if wait := time.Since(began); wait > 2*time.Second {
				t.Errorf("a reader waited %v behind the catching up", wait)
			}
			time.Sleep(10 * time.Second)
			w.prov.mu.Lock()
			if w.prov.asks > n+16*perProvider+1 {
				t.Errorf("%d requests in sixteen seconds, which is no ramp", w.prov.asks-n)
			}
			w.prov.mu.Unlock()
			time.Sleep(3 * time.Minute)
			w.prov.mu.Lock()
			defer w.prov.mu.Unlock()
			if w.prov.asks != 2*n || w.prov.peak > perProvider+1 {
				t.Errorf("%d requests, %d at once", w.prov.asks-n, w.prov.peak)
			}
		})
	})
	t.Run("F60 an answer that took fifteen seconds", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.prov.lifetime, w.prov.took = 20*time.Second, 15*time.Second
			c := w.add("crm", "", machine)
			sent := time.Now()
			tok := w.token(c)
			if left := tok.Expiry.Sub(time.Now()); left != 5*time.Second || !tok.IssuedAt.Equal(sent) {
				t.Errorf("%v left, want 5 s: the lifetime counts from the send", left)
			}
		})
	})
	t.Run("F65 an expiry beyond 2038, through the store", func(t *testing.T) {
		inWorld(t, func(w *world) {
			end := time.Date(2086, 12, 31, 23, 59, 59, 0, time.FixedZone("", 5*3600+45*60))
			w.add("crm", "")
			if err := w.src.Import(context.Background(), "crm", freshet.Token{Access: freshet.NewSecret("long"), IssuedAt: time.Now(), Expiry: end}, false); err != nil {
				t.Fatal(err)
			}
			w.crash()
			if got := w.token(w.conn("crm")); !got.Expiry.Equal(end) {
				t.Errorf("expiry = %v, want %v", got.Expiry, end)
			}
			if st := w.status("crm"); !st.ExpiresAt.Equal(end) || st.ExpiresAt.Location() != time.UTC {
				t.Errorf("stored expiry = %v, want %v in UTC", st.ExpiresAt, end)
			}
		})
	})
}
