package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// poll is long: nothing here is written behind a poller's back, and months pass.
const poll = 6 * time.Hour

// A world is a store, a queue and pollers over it, and a target that notes what
// it is asked for. Its clock begins at the bubble's: 2000-01-01.
type world struct {
	t       *testing.T
	store   *store.Store
	queue   *queue.Local
	pollers []*schedule.Poller

	mu    sync.Mutex
	calls []schedule.Firing
	at    []time.Time
	fired []schedule.Fired
	do    func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error)
}

func inWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		w := &world{t: t, store: st, do: func(context.Context, schedule.Firing) (schedule.Outcome, error) { return schedule.Outcome{}, nil }}
		w.start(1)
		defer w.stop()
		fn(t, w)
	})
}

// start begins a process with some pollers.
func (w *world) start(pollers int) {
	w.t.Helper()
	w.queue = queue.NewLocal(queue.Options{Store: w.store, Poll: poll})
	w.pollers = nil
	for range pollers {
		p := schedule.New(schedule.Options{Store: w.store, Queue: w.queue, Poll: poll, Targets: map[string]schedule.Target{"refresh": schedule.TargetFunc(w.fire), "bookmark": schedule.TargetFunc(w.fire)},
			Scrub:   func(s string) string { return strings.ReplaceAll(s, "CANARY", "[secret]") },
			Observe: func(f schedule.Fired) { w.mu.Lock(); defer w.mu.Unlock(); w.fired = append(w.fired, f) }})
		w.queue.Register(p.Kind())
		w.pollers = append(w.pollers, p)
	}
	if err := w.queue.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range w.pollers {
		p.Start()
	}
}

func (w *world) stop() {
	for _, p := range w.pollers {
		p.Close()
	}
	w.queue.Close(context.Background())
}

func (w *world) fire(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
	w.mu.Lock()
	w.calls = append(w.calls, f)
	w.at = append(w.at, time.Now())
	do := w.do
	w.mu.Unlock()
	return do(ctx, f)
}

func (w *world) count() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

func (w *world) declare(name string, s freshet.Schedule) {
	w.t.Helper()
	if s.Workflow == "" && s.Process == "" {
		s.Refresh = "crm"
	}
	if err := w.store.Change(context.Background(), func(c *store.Change) error { return schedule.Declare(c, "id-"+name, name, s) }); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range w.pollers {
		p.Nudge()
	}
}

func (w *world) timer(name string) store.Timer {
	w.t.Helper()
	t, err := w.store.Timer(context.Background(), "id-"+name)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (w *world) history(name string) []store.Firing {
	w.t.Helper()
	synctest.Wait()
	l, err := w.store.Firings(context.Background(), "id-"+name, 1<<60, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) missed() []store.Event {
	w.t.Helper()
	l, err := w.store.Events(context.Background(), "", 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(l, func(e store.Event) bool { return e.Type != schedule.EventMissed })
}

// Dublin changes its clocks in the night of 2000-03-26.
func TestSchedule(t *testing.T) {
	t.Run("cap134 every N minutes fires N minutes apart, over changes of the clock and restarts", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			time.Sleep(84*24*time.Hour + 12*time.Hour) // 2000-03-25 12:00
			began := time.Now()
			w.declare("a", freshet.Schedule{Every: minutes(55), Zone: "Europe/Dublin"})
			for i := range 4 {
				time.Sleep(30 * 55 * time.Minute)
				synctest.Wait()
				w.stop() // between two firings, or right after one
				time.Sleep(time.Duration(i) * 5 * time.Minute)
				w.start(1)
			}
			if n := w.count(); n < 100 {
				t.Fatalf("%d firings", n)
			}
			for i, at := range w.at {
				if want := began.Add(time.Duration(i+1) * 55 * time.Minute); at.Sub(want).Abs() > time.Second || !w.calls[i].Nominal.Equal(want) {
					t.Fatalf("firing %d came %v, for %v; want %v", i+1, at, w.calls[i].Nominal, want)
				}
			}
			if m := w.missed(); len(m) != 0 {
				t.Errorf("missed: %v", m)
			}
		})
	})
	t.Run("cap134 the clock on the wall", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			time.Sleep(80 * 24 * time.Hour)
			w.declare("a", freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"})
			time.Sleep(10 * 24 * time.Hour)
			w.count()
			var got []string
			zone, _ := time.LoadLocation("Europe/Dublin")
			for _, at := range w.at[4:8] {
				got = append(got, at.In(zone).Format("02T15:04-07"))
			}
			if want := "25T01:30+00 26T02:00+01 27T01:30+01 28T01:30+01"; strings.Join(got, " ") != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	})
	t.Run("cap135 55 minutes keep a token of 60 minutes fresh", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			var mu sync.Mutex
			expires := time.Now().Add(time.Hour)
			w.do = func(context.Context, schedule.Firing) (schedule.Outcome, error) {
				time.Sleep(2 * time.Second) // the provider thinks
				mu.Lock()
				defer mu.Unlock()
				expires = time.Now().Add(time.Hour)
				return schedule.Outcome{}, nil
			}
			w.declare("a", freshet.Schedule{Every: minutes(55)})
			for range 24 * 60 {
				time.Sleep(time.Minute)
				mu.Lock()
				if !time.Now().Before(expires) {
					t.Fatalf("at %v the token of %v is stored", time.Now(), expires)
				}
				mu.Unlock()
			}
			if n := w.count(); n != 26 {
				t.Errorf("%d refreshes in a day", n)
			}
		})
	})
	t.Run("cap136 a schedule ends by itself at its date, after its count, or never", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.declare("never", freshet.Schedule{Every: minutes(60)})
			w.declare("by", freshet.Schedule{Every: minutes(60), Expire: &freshet.Expire{By: "2000-01-01"}})
			w.declare("after", freshet.Schedule{Every: minutes(60), Expire: &freshet.Expire{After: 5}})
			w.declare("once", freshet.Schedule{At: "2000-01-02T03:00"})
			time.Sleep(100*time.Hour + time.Minute)
			for name, want := range map[string]int{"never": 100, "by": 23, "after": 5, "once": 1} {
				if n := len(w.history(name)); n != want {
					t.Errorf("%s fired %d times, want %d", name, n, want)
				}
			}
			for name, want := range map[string]bool{"never": false, "by": true, "after": true, "once": true} {
				if got := w.timer(name).NextAt.IsZero(); got != want {
					t.Errorf("%s has ended: %v", name, got)
				}
			}
			// More firings are granted.
			w.declare("after", freshet.Schedule{Every: minutes(60), Expire: &freshet.Expire{After: 7}})
			time.Sleep(100 * time.Hour)
			if n := len(w.history("after")); n != 7 {
				t.Errorf("fired %d times, want 7", n)
			}
		})
	})
	t.Run("cap140 a firing missed while down is caught up once", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.declare("a", freshet.Schedule{Every: minutes(55)})
			w.declare("b", freshet.Schedule{Daily: &freshet.Daily{At: "12:00"}, Expire: &freshet.Expire{By: "2000-01-01T13:00"}})
			time.Sleep(56 * time.Minute)
			if n := w.count(); n != 1 {
				t.Fatalf("%d firings", n)
			}
			w.stop()
			time.Sleep(24 * time.Hour)
			w.start(1)
			if n := w.count(); n != 2 {
				t.Fatalf("%d firings after the restart, want one more", n-1)
			}
			h := w.history("a")
			// 00:55, 01:50, … the last before 24:56 is the 27th.
			if want := time.Date(2000, 1, 2, 0, 45, 0, 0, time.UTC); !h[0].Nominal.Equal(want) || h[0].Missed != 25 {
				t.Errorf("caught up for %v, %d before it; want %v, 25", h[0].Nominal, h[0].Missed, want)
			}
			m := w.missed()
			if len(m) != 2 || m[1].Detail["schedule"] != "a" && m[0].Detail["schedule"] != "a" || m[0].Connection != "crm" {
				t.Errorf("missed: %v", m)
			}
			if n := len(w.history("b")); n != 0 {
				t.Errorf("what had ended meanwhile was fired %d times", n)
			}
			time.Sleep(55 * time.Minute)
			if n := w.count(); n != 3 {
				t.Errorf("the grid is lost: %d", n)
			}
			if want := time.Date(2000, 1, 2, 1, 40, 0, 0, time.UTC); !w.at[2].Equal(want) {
				t.Errorf("the next came at %v, want %v", w.at[2], want)
			}
		})
	})
	t.Run("cap141 delete stops future firings at once; a running one finishes", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			finished := 0
			w.do = func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
				select {
				case <-time.After(10 * time.Minute):
					finished++
					return schedule.Outcome{}, nil
				case <-ctx.Done():
					return schedule.Outcome{}, ctx.Err()
				}
			}
			w.declare("a", freshet.Schedule{Every: minutes(60)})
			time.Sleep(65 * time.Minute)
			if err := w.store.Change(t.Context(), func(c *store.Change) error { return c.DeleteTimer("id-a") }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Hour)
			if n := w.count(); n != 1 || finished != 1 {
				t.Errorf("%d began, %d finished", n, finished)
			}
			if h := w.history("a"); len(h) != 0 {
				t.Errorf("history of a deleted one: %v", h)
			}
		})
	})
}

func TestNoOverlap(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do = func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
			time.Sleep(150 * time.Minute)
			return schedule.Outcome{Run: "run", Message: "done"}, nil
		}
		w.declare("a", freshet.Schedule{Every: minutes(60)})
		time.Sleep(4*time.Hour + time.Minute)
		var got []string
		for _, f := range w.history("a") {
			got = append(got, fmt.Sprint(f.Seq, " ", f.Status, " ", f.Message))
		}
		if want := []string{"4 running ", "3 skipped the firing before is not over", "2 skipped the firing before is not over", "1 succeeded done"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, err := w.pollers[0].Fire(t.Context(), "a", schedule.CauseManual, "", nil); !errors.Is(err, schedule.ErrRunning) {
			t.Errorf("a person who fires it meanwhile gets %v", err)
		}
		time.Sleep(3 * time.Hour)
	})
}

func TestF94_several_pollers_fire_each_instant_once(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		w.start(3)
		const schedules, hours = 40, 12
		for i := range schedules {
			w.declare(fmt.Sprintf("s%02d", i), freshet.Schedule{Cron: "0 * * * *"})
		}
		time.Sleep(hours*time.Hour + 30*time.Second)
		if n := w.count(); n != schedules*hours {
			t.Errorf("%d firings, want %d", n, schedules*hours)
		}
		seen := map[string]bool{}
		for i, f := range w.calls {
			if seen[f.Key] {
				t.Errorf("%s twice", f.Key)
			}
			seen[f.Key] = true
			if d := w.at[i].Sub(f.Nominal); d < 0 || d > time.Second {
				t.Errorf("%s came %v after its instant", f.Key, d)
			}
		}
	})
}

func TestF94_a_firing_whose_process_died_is_taken_up_again(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hang := make(chan struct{})
		w.do = func(_ context.Context, f schedule.Firing) (schedule.Outcome, error) {
			if f.Attempt == 1 {
				<-hang
				return schedule.Outcome{}, errors.New("too late")
			}
			return schedule.Outcome{Message: "second"}, nil
		}
		w.declare("a", freshet.Schedule{Every: minutes(60)})
		time.Sleep(61 * time.Minute)
		w.pollers[0].Close()
		dead := w.queue
		w.start(1)
		if n := w.count(); n != 2 || w.calls[0].Key != w.calls[1].Key || w.calls[1].Attempt != 2 {
			t.Fatalf("%d attempts: %+v", n, w.calls)
		}
		close(hang)
		if h := w.history("a"); len(h) != 1 || h[0].Status != store.FiringSucceeded || h[0].Message != "second" || h[0].Attempts != 2 {
			t.Errorf("history %+v", h)
		}
		dead.Close(t.Context())
	})
}

func TestWhatAStoppedProcessWasDoingGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do = func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
			if f.Attempt > 1 {
				return schedule.Outcome{}, nil
			}
			<-ctx.Done()
			return schedule.Outcome{}, ctx.Err()
		}
		w.declare("a", freshet.Schedule{Every: minutes(60)})
		time.Sleep(61 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.pollers[0].Close()
		w.queue.Close(ctx)
		if h := w.history("a"); h[0].Status != store.FiringRunning {
			t.Errorf("an interruption is an outcome: %+v", h[0])
		}
		w.start(1)
		if h := w.history("a"); h[0].Status != store.FiringSucceeded || h[0].Attempts != 2 {
			t.Errorf("history %+v", h)
		}
	})
}

func TestOutcomes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do = func(_ context.Context, f schedule.Firing) (schedule.Outcome, error) {
			switch f.Name {
			case "bad":
				return schedule.Outcome{Run: "r"}, errors.New("it said CANARY")
			case "worse":
				panic("CANARY")
			}
			return schedule.Outcome{Run: "r1", Message: "CANARY"}, nil
		}
		for _, n := range []string{"good", "bad", "worse"} {
			w.declare(n, freshet.Schedule{Every: minutes(60)})
		}
		w.declare("process", freshet.Schedule{Every: minutes(60), Process: "P", Instance: "P-1", Trigger: "button:Refresh"})
		time.Sleep(61 * time.Minute)
		for name, want := range map[string]string{
			"good":    "succeeded r1 [secret]",
			"bad":     "failed r it said [secret]",
			"worse":   "failed  the target panicked: [secret]",
			"process": "failed  schedules of processes are not in this version of freshet",
		} {
			h := w.history(name)
			if got := fmt.Sprintf("%s %s %s", h[0].Status, h[0].Run, h[0].Message); got != want || !h[0].EndedAt.Equal(h[0].StartedAt) || h[0].StartedAt.IsZero() {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if w.timer("process").Subject != "P/P-1" {
			t.Error(w.timer("process").Subject)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.fired) != 4 {
			t.Errorf("told of %v", w.fired)
		}
	})
}

func TestPauseAndDeclareAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.pollers[0]
		ctx := t.Context()
		every := freshet.Schedule{Every: minutes(60)}
		w.declare("a", every)
		time.Sleep(30 * time.Minute)
		if err := p.Pause(ctx, "a", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Hour)
		if n := w.count(); n != 0 {
			t.Errorf("a paused one fired %d times", n)
		}
		if _, err := p.Fire(ctx, "a", schedule.CauseManual, "", nil); err != nil || w.count() != 1 {
			t.Errorf("by hand: %v, %d", err, w.count())
		}
		every.Owner = "ann" // says nothing of the pause
		w.declare("a", every)
		if !w.timer("a").Paused {
			t.Error("an apply about something else resumed it")
		}
		if err := p.Pause(ctx, "a", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		if n := w.count(); n != 1 {
			t.Errorf("what was paused is caught up with: %d", n-1)
		}
		time.Sleep(10 * time.Minute)
		if n := w.count(); n != 2 {
			t.Errorf("it does not go on: %d", n)
		}
		every.Paused = true
		w.declare("a", every)
		time.Sleep(time.Hour)
		if n := w.count(); n != 2 {
			t.Errorf("declared paused, it fired %d times", n-2)
		}
		every.Paused = false
		w.declare("a", every)
		time.Sleep(time.Hour)
		if n := w.count(); n != 3 {
			t.Errorf("declared not paused, it fired %d times", n-2)
		}
		// Another interval counts from now.
		time.Sleep(30 * time.Minute)
		w.declare("a", freshet.Schedule{Every: minutes(90)})
		time.Sleep(89 * time.Minute)
		if n := w.count(); n != 3 {
			t.Errorf("fired early")
		}
		time.Sleep(time.Minute)
		if n := w.count(); n != 4 {
			t.Errorf("not fired")
		}
		for _, err := range []error{p.Pause(ctx, "none", true), func() error { _, err := p.Fire(ctx, "none", schedule.CauseManual, "", nil); return err }()} {
			if !errors.Is(err, freshet.ErrNotFound) {
				t.Errorf("of one that is not there: %v", err)
			}
		}
	})
}

func TestOnDemand(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p, ctx := w.pollers[0], t.Context()
		w.declare("a", freshet.Schedule{OnDemand: true, Expire: &freshet.Expire{After: 2}})
		f, err := p.Fire(ctx, "a", schedule.CauseHook, "k1", json.RawMessage(`{"n":1}`))
		if err != nil || w.count() != 1 || string(w.calls[0].Input) != `{"n":1}` {
			t.Fatalf("%v, %+v", err, w.calls)
		}
		again, err := p.Fire(ctx, "a", schedule.CauseHook, "k1", nil)
		if err != nil || again.ID != f.ID || w.count() != 1 {
			t.Errorf("the same request: %v, %s after %s, %d calls", err, again.ID, f.ID, w.count())
		}
		if err := p.Pause(ctx, "a", true); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Fire(ctx, "a", schedule.CauseHook, "k2", nil); !errors.Is(err, schedule.ErrPaused) {
			t.Errorf("while paused: %v", err)
		}
		if err := p.Pause(ctx, "a", false); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Fire(ctx, "a", schedule.CauseHook, "k2", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := p.Fire(ctx, "a", schedule.CauseHook, "k3", nil); !errors.Is(err, schedule.ErrEnded) {
			t.Errorf("after its count: %v", err)
		}
		if _, err := p.Fire(ctx, "a", schedule.CauseManual, "", nil); err != nil {
			t.Error(err)
		}
		if n := w.count(); n != 3 {
			t.Errorf("%d calls", n)
		}
	})
}

// Timers of suspended runs are precise to the millisecond, fire once, and leave
// nothing.
func TestTimersOfOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		put := func(tm schedule.Timer) {
			t.Helper()
			if err := w.store.DB().Tx(ctx, func(tx store.Querier) error { return schedule.Put(ctx, w.store, tx, tm) }); err != nil {
				t.Fatal(err)
			}
			w.pollers[0].Nudge()
		}
		due := time.Now().Add(90*time.Second + 7*time.Millisecond)
		put(schedule.Timer{ID: "b1", Kind: schedule.KindBookmark, Name: "W", Ref: "run-1", Target: "bookmark", Subject: "run-1", Due: due, Data: json.RawMessage(`{"activity":"x"}`)})
		put(schedule.Timer{ID: "b2", Kind: schedule.KindBookmark, Name: "W", Ref: "run-2", Target: "bookmark", Subject: "run-2", Due: due})
		put(schedule.Timer{ID: "t1", Kind: schedule.KindTrigger, Name: "W", Ref: "def-1", Target: "bookmark", Subject: "W", When: &freshet.Schedule{Cron: "0 0/10 * ? * * *"}})
		if err := w.store.DB().Tx(ctx, func(tx store.Querier) error {
			return schedule.Remove(ctx, w.store, tx, schedule.KindBookmark, "run-2")
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Minute)
		w.count()
		var got []string
		for i, f := range w.calls {
			got = append(got, fmt.Sprintf("%s %s %s", f.Kind, f.Ref, w.at[i].Format("04:05.000")))
		}
		if want := []string{"bookmark run-1 01:30.007", "trigger def-1 10:00.000", "trigger def-1 20:00.000"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if string(w.calls[0].Data) != `{"activity":"x"}` {
			t.Errorf("data %s", w.calls[0].Data)
		}
		if _, err := w.store.Timer(ctx, "b1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the bookmark is still there: %v", err)
		}
		if l, _ := w.store.Firings(ctx, "b1", 1<<60, 10); len(l) != 0 {
			t.Errorf("its history, too: %v", l)
		}
	})
}

func TestARowThatDoesNotReadStopsNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.declare("a", freshet.Schedule{Every: minutes(60)})
		w.declare("b", freshet.Schedule{Every: minutes(60)})
		if err := w.store.Change(t.Context(), func(c *store.Change) error {
			tm, err := c.Timer("id-a")
			tm.Spec = `{"when":{"cron":"nonsense"}}`
			return errors.Join(err, c.PutTimer(tm))
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*time.Hour + time.Minute)
		if n := w.count(); n != 3 || len(w.history("b")) != 3 {
			t.Errorf("%d firings", n)
		}
	})
}

// A refresh whose process died after the answer is not asked for again.
func TestRefreshIsNotRepeatedBlindly(t *testing.T) {
	began := time.Now()
	r := &refresher{held: schedule.Refreshed{Generation: 7, IssuedAt: began.Add(time.Second)}}
	target := schedule.Refresh(r)
	for _, c := range []struct {
		attempt int
		issued  time.Time
		asks    int
	}{
		{1, began.Add(time.Second), 1}, {2, began.Add(time.Second), 0}, {2, began.Add(-time.Second), 1}, {2, time.Time{}, 1},
	} {
		r.asks, r.held.IssuedAt = 0, c.issued
		if c.issued.IsZero() {
			r.held.Generation = 0
		}
		if _, err := target.Fire(t.Context(), schedule.Firing{Subject: "crm", Attempt: c.attempt, Began: began}); err != nil || r.asks != c.asks {
			t.Errorf("%+v: %d requests, %v", c, r.asks, err)
		}
	}
}

type refresher struct {
	held schedule.Refreshed
	asks int
}

func (r *refresher) Renew(context.Context, string) (schedule.Refreshed, error) {
	r.asks++
	return r.held, nil
}
func (r *refresher) Held(context.Context, string) (schedule.Refreshed, error) { return r.held, nil }
