package run_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
)

func TestF94_runs_of_a_dead_process(t *testing.T) {
	t.Run("alone, every other process is dead", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		left, waiting, done := w.begin(run.Start{Name: "left"}), w.begin(run.Start{Name: "waiting"}), w.begin(run.Start{Name: "done"})
		w.ok(waiting.Suspend(w.ctx))
		w.ok(done.End(w.ctx, run.End{}))
		if list, err := w.Interrupted(w.ctx, 10); err != nil || len(list) != 0 {
			t.Errorf("its own runs are taken for interrupted: %v, %v", list, err)
		}
		next := w.another()
		list, err := next.Interrupted(w.ctx, 10)
		w.ok(err)
		if len(list) != 1 || list[0].ID != left.ID() || list[0].Status != run.Running {
			t.Fatalf("%+v", list)
		}
		w.ok(next.Interrupt(w.ctx, left.ID()))
		v := w.get(left.ID())
		if v.Status != run.Faulted || v.Fault == nil || v.Fault.Message != run.InterruptedMessage {
			t.Errorf("%+v", v)
		}
		// The one that was dead was frozen and thaws: its words count no more.
		left.Step(run.Step{Message: "I live"})
		w.is(left.End(w.ctx, run.End{}), run.ErrTaken)
		if v := w.get(left.ID()); v.Status != run.Faulted || len(w.steps(left.ID())) != 0 {
			t.Errorf("%+v", v)
		}
		if list, err := next.Interrupted(w.ctx, 10); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
	t.Run("of several, a process is dead that has said nothing for a minute", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, dir, shared)
			b := w.another(shared)
			quiet := w.begin(run.Start{})
			quiet.Step(run.Step{Message: "1"})
			// It has nothing to write for an hour, and lives.
			for range 60 {
				time.Sleep(time.Minute)
				if list, err := b.Interrupted(w.ctx, 10); err != nil || len(list) != 0 {
					t.Fatalf("a run was taken from a process that lives: %v, %v", list, err)
				}
			}
			w.ok(w.Close(w.ctx)) // dies; nobody keeps its lease
			time.Sleep(59 * time.Second)
			var taken []run.Run
			for range 3 {
				list, err := b.Interrupted(w.ctx, 10)
				w.ok(err)
				taken = append(taken, list...)
				time.Sleep(time.Second)
			}
			if len(taken) != 1 || taken[0].ID != quiet.ID() || taken[0].Owner != b.Owner() {
				t.Fatalf("%+v", taken)
			}
			// It goes on where it was.
			r, err := b.Resume(w.ctx, quiet.ID())
			w.ok(err)
			if n := r.Step(run.Step{Message: "2"}); n != 2 {
				t.Errorf("step %d", n)
			}
			w.ok(r.End(w.ctx, run.End{}))
			if s := w.steps(quiet.ID()); len(s) != 2 || s[1].Message != "2" {
				t.Errorf("%+v", s)
			}
		})
	})
	t.Run("of several takers one gets a run", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		const n = 30
		for range n {
			w.begin(run.Start{})
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[run.ID]int{}
		for range 4 {
			j := w.another(shared)
			wg.Go(func() {
				for {
					list, err := j.Interrupted(w.ctx, 3)
					if err != nil {
						t.Error(err)
					}
					if len(list) == 0 {
						return
					}
					for _, v := range list {
						mu.Lock()
						seen[v.ID]++
						mu.Unlock()
						if err := j.Interrupt(w.ctx, v.ID); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		for id, times := range seen {
			if times != 1 {
				t.Errorf("run %s was taken %d times", id, times)
			}
		}
		if len(seen) != n || len(w.list(run.Filter{Status: run.Faulted})) != n {
			t.Errorf("%d runs were taken, %d are faulted", len(seen), len(w.list(run.Filter{Status: run.Faulted})))
		}
	})
}

func TestTrim(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, func(o *run.Options) { o.Keep = run.Keep{For: 24 * time.Hour, Count: 3} })
		add := func(name string, e run.End) run.ID {
			time.Sleep(time.Second)
			r := w.begin(run.Start{Name: name})
			r.Correlate("c")
			r.Step(run.Step{})
			w.ok(r.End(w.ctx, e))
			return r.ID()
		}
		names := func() string {
			list, err := w.List(w.ctx, run.Filter{}, "", 1000)
			w.ok(err)
			var out []string
			for _, r := range list {
				out = append(out, r.Name+":"+string(r.Status))
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		waits := w.begin(run.Start{Name: "a"})
		w.ok(waits.Suspend(w.ctx))
		fault := run.End{Fault: &run.Fault{Message: "x"}}
		for range 2 {
			add("a", fault)
		}
		for range 5 {
			add("a", run.End{})
		}
		add("a", run.End{Status: run.Cancelled})
		add("b", run.End{})
		w.ok(w.Trim(w.ctx, time.Now()))
		// The three newest, what faulted apart from these, and what waits.
		if got, want := names(), "a:cancelled a:faulted a:faulted a:finished a:finished a:suspended b:finished"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		for range 3 {
			add("b", fault)
		}
		for range 4 {
			add("a", fault)
		}
		w.ok(w.Trim(w.ctx, time.Now()))
		if got, want := names(), "a:faulted a:faulted a:faulted a:suspended b:faulted b:faulted b:faulted"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		// A second life that begins late ends late.
		again, err := w.Resume(w.ctx, waits.ID())
		w.ok(err)
		w.ok(again.Suspend(w.ctx))
		time.Sleep(23 * time.Hour)
		again, err = w.Resume(w.ctx, waits.ID())
		w.ok(err)
		w.ok(again.End(w.ctx, run.End{}))
		add("c", run.End{})
		time.Sleep(2 * time.Hour)
		w.ok(w.Trim(w.ctx, time.Now()))
		if got, want := names(), "a:finished c:finished"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		time.Sleep(24 * time.Hour)
		w.ok(w.Trim(w.ctx, time.Now()))
		if got := names(); got != "" {
			t.Errorf("left: %s", got)
		}
		for _, table := range []string{"runs", "run_steps", "run_correlations"} {
			var n int
			w.ok(w.store.DB().Read().QueryRow(w.ctx, "SELECT count(*) FROM "+table).Scan(&n))
			if n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})
}
