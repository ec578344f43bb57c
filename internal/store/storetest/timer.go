package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// hourly makes timers that are due at an hour after the beginning.
func (w *world) hourly(names ...string) {
	w.t.Helper()
	w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
		for _, n := range names {
			if err := w.PutTimer(w.ctx, tx, store.Timer{ID: "id-" + n, Kind: "schedule", Name: n, Target: "refresh", Subject: "crm", Spec: "{}", Anchor: begin, NextAt: at(time.Hour)}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) timer(name string) store.Timer {
	w.t.Helper()
	t, err := w.Timer(w.ctx, "id-"+name)
	w.ok(err)
	return t
}

// again fires a timer for the instant that it waited for, and lets it wait for
// an hour more.
func again(t *store.Timer, now time.Time) (store.Fire, error) {
	f := store.Firing{ID: fmt.Sprintf("%s-%d-%d", t.ID, t.NextAt.Unix(), now.UnixNano()), Key: fmt.Sprint(t.NextAt.UnixMilli()), Cause: "clock", Nominal: t.NextAt}
	return store.Fire{Firing: &f, Next: t.NextAt.Add(time.Hour), Counts: true}, nil
}

func nothing(store.Querier, *store.Timer, *store.Firing) error { return nil }

// fire claims what is due and returns what was made of it.
func (w *world) fire(limit int) []store.Firing {
	w.t.Helper()
	made, _, err := w.FireDue(w.ctx, limit, again, nothing)
	w.ok(err)
	return made
}

var timers = []test{
	{"a timer is what was put", func(w *world) {
		w.hourly("a", "b")
		want := store.Timer{ID: "id-a", Kind: "schedule", Name: "a", Target: "refresh", Subject: "crm", Spec: "{}", Anchor: begin, NextAt: at(time.Hour), Revision: 1, CreatedAt: begin, UpdatedAt: begin}
		equal(w, w.timer("a"), want)
		w.pass(time.Minute)
		want.Ref, want.Paused, want.NextAt, want.Revision, want.UpdatedAt = "r", true, time.Time{}, 2, at(time.Minute)
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.PutTimer(want) }))
		equal(w, w.timer("a"), want)
		list, err := w.Timers(w.ctx, "schedule", "", 10)
		w.ok(err)
		equal(w, len(list), 2)
		list, err = w.Timers(w.ctx, "schedule", "a", 10)
		w.ok(err)
		equal(w, len(list), 1)
		list, err = w.TimersOf(w.ctx, "schedule", "r")
		w.ok(err)
		equal(w, len(list), 1)
		byName, err := w.TimerByName(w.ctx, "schedule", "a")
		w.ok(err)
		equal(w, byName, want)
		_, err = w.TimerByName(w.ctx, "trigger", "a")
		w.is(err, store.ErrNotFound)
		w.ok(w.SetTimer(w.ctx, "id-a", 2, false, at(2*time.Hour)))
		w.is(w.SetTimer(w.ctx, "id-a", 2, true, time.Time{}), store.ErrStale)
		equal(w, w.timer("a").Paused, false)
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteTimer("id-a") }))
		_, err = w.Timer(w.ctx, "id-a")
		w.is(err, store.ErrNotFound)
	}},
	{"a timer fires when it is due, and then waits for the next instant", func(w *world) {
		w.hourly("a", "b")
		next, err := w.NextTimer(w.ctx)
		w.ok(err)
		equal(w, next, at(time.Hour))
		equal(w, len(w.fire(10)), 0)
		w.pass(time.Hour - time.Millisecond)
		equal(w, len(w.fire(10)), 0)
		w.pass(time.Millisecond)
		first := w.fire(1)
		equal(w, len(first), 1)
		f := first[0]
		equal(w, f, store.Firing{ID: f.ID, Timer: "id-a", Seq: 1, Key: fmt.Sprint(at(time.Hour).UnixMilli()), Cause: "clock", Nominal: at(time.Hour), Status: store.FiringQueued, CreatedAt: at(time.Hour)})
		equal(w, len(w.fire(10)), 1)
		equal(w, len(w.fire(10)), 0)
		t := w.timer("a")
		equal(w, t.NextAt, at(2*time.Hour))
		equal(w, []any{t.Seq, t.Fired, t.Open}, []any{int64(1), int64(1), f.ID})
		got, of, err := w.BeginFiring(w.ctx, f.ID)
		w.ok(err)
		equal(w, of, t)
		f.Status, f.Attempts, f.StartedAt = store.FiringRunning, 1, at(time.Hour)
		equal(w, got, f)
		w.pass(time.Minute)
		w.ok(w.EndFiring(w.ctx, f.ID, store.FiringSucceeded, "run-1", "done", false))
		w.is(w.EndFiring(w.ctx, f.ID, store.FiringFailed, "", "", false), store.ErrStale)
		_, _, err = w.BeginFiring(w.ctx, f.ID)
		w.is(err, store.ErrStale)
		f.Status, f.Run, f.Message, f.EndedAt = store.FiringSucceeded, "run-1", "done", at(time.Hour+time.Minute)
		got, err = w.Firing(w.ctx, f.ID)
		w.ok(err)
		equal(w, got, f)
		equal(w, w.timer("a").Open, "")
		last, err := w.LastFirings(w.ctx, "schedule", "", "a")
		w.ok(err)
		equal(w, last, map[string]store.Firing{"id-a": f})
	}},
	{"an instant that has fired does not fire again, whoever moves the timer back", func(w *world) {
		w.hourly("a")
		w.pass(time.Hour)
		f := w.fire(10)
		w.ok(w.EndFiring(w.ctx, f[0].ID, store.FiringSucceeded, "", "", false))
		w.hourly("a") // an apply that read before the poller wrote
		made, claimed, err := w.FireDue(w.ctx, 10, again, func(store.Querier, *store.Timer, *store.Firing) error { w.t.Error("it is enqueued"); return nil })
		w.ok(err)
		equal(w, []int{len(made), claimed}, []int{0, 1})
		equal(w, w.timer("a").NextAt, at(2*time.Hour))
		equal(w, w.timer("a").Fired, 1)
	}},
	{"a firing that finds the one before not over is skipped", func(w *world) {
		w.hourly("a")
		w.pass(time.Hour)
		first := w.fire(10)
		w.pass(time.Hour)
		second, _, err := w.FireDue(w.ctx, 10, again, func(_ store.Querier, _ *store.Timer, f *store.Firing) error {
			equal(w, f.ID, first[0].ID) // what it waits for
			return nil
		})
		w.ok(err)
		equal(w, []any{second[0].Status, second[0].Seq, second[0].EndedAt}, []any{store.FiringSkipped, int64(2), at(2 * time.Hour)})
		equal(w, w.timer("a").Open, first[0].ID)
		equal(w, w.timer("a").Fired, 1)
		_, _, err = w.BeginFiring(w.ctx, second[0].ID)
		w.is(err, store.ErrStale)
		w.ok(w.EndFiring(w.ctx, first[0].ID, store.FiringFailed, "", "no", false))
		w.pass(time.Hour)
		equal(w, w.fire(10)[0].Status, store.FiringQueued)
		list, err := w.Firings(w.ctx, "id-a", 1<<60, 10)
		w.ok(err)
		equal(w, []int64{list[0].Seq, list[1].Seq, list[2].Seq}, []int64{3, 2, 1})
		list, err = w.Firings(w.ctx, "id-a", 2, 10)
		w.ok(err)
		equal(w, len(list), 1)
	}},
	{"what an error undoes has not fired", func(w *world) {
		w.hourly("a")
		w.pass(time.Hour)
		_, _, err := w.FireDue(w.ctx, 10, again, func(store.Querier, *store.Timer, *store.Firing) error { return store.ErrReadOnly })
		w.is(err, store.ErrReadOnly)
		equal(w, w.timer("a").NextAt, at(time.Hour))
		list, err := w.Firings(w.ctx, "id-a", 1<<60, 10)
		w.ok(err)
		equal(w, len(list), 0)
	}},
	{"a timer that is deleted stops at once; what runs ends", func(w *world) {
		w.hourly("a", "b")
		w.pass(time.Hour)
		made := w.fire(10)
		_, _, err := w.BeginFiring(w.ctx, made[0].ID)
		w.ok(err)
		w.ok(w.Change(w.ctx, func(c *store.Change) error {
			if err := c.DeleteTimer("id-a"); err != nil {
				return err
			}
			return c.DeleteTimer("id-b")
		}))
		_, _, err = w.BeginFiring(w.ctx, made[1].ID)
		w.is(err, store.ErrStale)
		w.ok(w.EndFiring(w.ctx, made[0].ID, store.FiringSucceeded, "", "", false))
		_, err = w.Firing(w.ctx, made[0].ID)
		w.is(err, store.ErrNotFound)
		w.pass(time.Hour)
		equal(w, len(w.fire(10)), 0)
	}},
	{"a timer that is removed with its firing leaves nothing but events", func(w *world) {
		w.hourly("a")
		w.pass(time.Hour)
		made, _, err := w.FireDue(w.ctx, 10, func(t *store.Timer, now time.Time) (store.Fire, error) {
			f, err := again(t, now)
			f.Next, f.Events = time.Time{}, []store.Event{{Type: "schedule.missed", Detail: map[string]any{"schedule": t.Name}}}
			return f, err
		}, nothing)
		w.ok(err)
		next, err := w.NextTimer(w.ctx)
		w.ok(err)
		equal(w, next, time.Time{})
		_, _, err = w.BeginFiring(w.ctx, made[0].ID)
		w.ok(err)
		w.ok(w.EndFiring(w.ctx, made[0].ID, store.FiringSucceeded, "", "", true))
		_, err = w.Timer(w.ctx, "id-a")
		w.is(err, store.ErrNotFound)
		_, err = w.Firing(w.ctx, made[0].ID)
		w.is(err, store.ErrNotFound)
		events, err := w.Events(w.ctx, "", 0, 10)
		w.ok(err)
		equal(w, len(events), 1)
	}},
	{"a timer is fired by request, once for each key", func(w *world) {
		w.hourly("a")
		stay := func(t *store.Timer, now time.Time) (store.Fire, error) { return store.Fire{Next: t.NextAt}, nil }
		enqueued := 0
		ask := func(id, key string) (store.Firing, error) {
			return w.FireNow(w.ctx, "id-a", store.Firing{ID: id, Key: key, Cause: "hook", Nominal: w.now(), Input: `{"a":1}`}, stay, func(_ store.Querier, t *store.Timer, f *store.Firing) error {
				enqueued++
				equal(w, f.ID, "f1")
				return nil
			})
		}
		f, err := ask("f1", "k1")
		w.ok(err)
		equal(w, []any{f.Status, f.Seq, f.Input}, []any{store.FiringQueued, int64(1), `{"a":1}`})
		same, err := ask("f2", "k1")
		w.is(err, store.ErrExists)
		equal(w, same, f)
		f3, err := ask("f3", "k2")
		w.ok(err)
		equal(w, f3.Status, store.FiringSkipped)
		equal(w, enqueued, 2)
		t := w.timer("a")
		equal(w, []any{t.NextAt, t.Open, t.Seq, t.Fired}, []any{at(time.Hour), "f1", int64(2), int64(0)})
		_, err = w.FireNow(w.ctx, "none", store.Firing{ID: "x", Key: "k"}, stay, nothing)
		w.is(err, store.ErrNotFound)
	}},
	{"the history is bounded", func(w *world) {
		w.hourly("a")
		for range store.KeepFirings + 10 {
			w.pass(time.Hour)
			for _, f := range w.fire(1) {
				w.ok(w.EndFiring(w.ctx, f.ID, store.FiringSucceeded, "", "", false))
			}
		}
		list, err := w.Firings(w.ctx, "id-a", 1<<60, 1000)
		w.ok(err)
		equal(w, len(list), store.KeepFirings)
		equal(w, list[0].Seq, store.KeepFirings+10)
	}},
	{"F94 of pollers that race each due instant is fired once", func(w *world) {
		names := number("t", rounds(60))
		w.hourly(names...)
		const pollers, hours = 4, 5
		var mu sync.Mutex
		count := map[string]int{}
		for range hours {
			w.pass(time.Hour)
			for _, err := range together(pollers, func(int) error {
				for {
					made, claimed, err := w.FireDue(w.ctx, 7, again, func(_ store.Querier, t *store.Timer, f *store.Firing) error { return nil })
					if err != nil {
						return err
					}
					mu.Lock()
					for _, f := range made {
						count[f.Timer+f.Key]++
					}
					mu.Unlock()
					for _, f := range made {
						if err := w.EndFiring(w.ctx, f.ID, store.FiringSucceeded, "", "", false); err != nil {
							return err
						}
					}
					// One that finds all taken by others is done: they see to it.
					if claimed == 0 {
						return nil
					}
				}
			}) {
				w.ok(err)
			}
		}
		equal(w, len(count), hours*len(names))
		for key, n := range count {
			if n != 1 {
				w.t.Errorf("%s fired %d times", key, n)
			}
		}
		for _, n := range names {
			equal(w, []any{w.timer(n).NextAt, w.timer(n).Seq}, []any{at((hours + 1) * time.Hour), int64(hours)})
		}
	}},
	{"F94 of a poller, a deletion and a request at the same time nothing is left half done", func(w *world) {
		for _, n := range number("t", rounds(40)) {
			w.hourly(n)
		}
		w.pass(time.Hour)
		for _, n := range number("t", rounds(40)) {
			id := "id-" + n
			errs := together(3, func(i int) error {
				switch i {
				case 0:
					_, _, err := w.FireDue(w.ctx, 3, again, nothing)
					return err
				case 1:
					_, err := w.FireNow(w.ctx, id, store.Firing{ID: "now-" + n, Key: "now", Cause: "manual", Nominal: w.now()}, func(t *store.Timer, now time.Time) (store.Fire, error) { return store.Fire{Next: t.NextAt}, nil }, nothing)
					return err
				}
				return w.Change(w.ctx, func(c *store.Change) error { return c.DeleteTimer(id) })
			})
			w.ok(errs[0])
			w.ok(errs[2])
			if errs[1] != nil {
				w.is(errs[1], store.ErrNotFound)
			}
			_, err := w.Timer(w.ctx, id)
			w.is(err, store.ErrNotFound)
			list, err := w.Firings(w.ctx, id, 1<<60, 10)
			w.ok(err)
			equal(w, len(list), 0)
		}
	}},
}

var jobs = []test{
	{"a job is carried out when it is due, by one owner", func(w *world) {
		put := func(j store.Job) {
			w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error { return w.PutJob(w.ctx, tx, j) }))
		}
		put(store.Job{ID: "j1", Kind: "firing", Ref: "f1"})
		put(store.Job{ID: "j1", Kind: "firing", Ref: "other"})
		put(store.Job{ID: "j2", Kind: "firing", Ref: "f2", RunAt: at(time.Minute)})
		next, err := w.NextJob(w.ctx)
		w.ok(err)
		equal(w, next, begin)
		got, err := w.ClaimJobs(w.ctx, "p1", 10)
		w.ok(err)
		equal(w, got, []store.Job{{ID: "j1", Kind: "firing", Ref: "f1", Attempts: 1, RunAt: begin, CreatedAt: begin}})
		got, err = w.ClaimJobs(w.ctx, "p2", 10)
		w.ok(err)
		equal(w, len(got), 0)
		queued, running, err := w.CountJobs(w.ctx)
		w.ok(err)
		equal(w, []int64{queued, running}, []int64{1, 1})
		w.ok(w.ReturnJob(w.ctx, "j1", "not yet", at(time.Second)))
		w.pass(time.Second)
		got, err = w.ClaimJobs(w.ctx, "p2", 10)
		w.ok(err)
		equal(w, got, []store.Job{{ID: "j1", Kind: "firing", Ref: "f1", Attempts: 2, RunAt: at(time.Second), Error: "not yet", CreatedAt: begin}})
		n, err := w.TakeBackJobs(w.ctx, "p1")
		w.ok(err)
		equal(w, n, 0)
		n, err = w.TakeBackJobs(w.ctx, "p2") // it died
		w.ok(err)
		equal(w, n, 1)
		got, err = w.ClaimJobs(w.ctx, "p2", 10)
		w.ok(err)
		equal(w, got[0].Attempts, 3)
		w.ok(w.DoneJobs(w.ctx, "j1", "none"))
		next, err = w.NextJob(w.ctx)
		w.ok(err)
		equal(w, next, at(time.Minute))
	}},
	{"of workers that race each job is claimed once", func(w *world) {
		names := number("j", rounds(100))
		w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
			for _, n := range names {
				if err := w.PutJob(w.ctx, tx, store.Job{ID: n, Kind: "k", Ref: n}); err != nil {
					return err
				}
			}
			return nil
		}))
		var mu sync.Mutex
		count := map[string]int{}
		for _, err := range together(4, func(i int) error {
			for {
				got, err := w.ClaimJobs(w.ctx, fmt.Sprint("p", i), 3)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, j := range got {
					count[j.ID]++
				}
				done := len(count) == len(names)
				mu.Unlock()
				if done {
					return nil
				}
			}
		}) {
			w.ok(err)
		}
		for _, n := range names {
			equal(w, count[n], 1)
		}
	}},
}
