package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// aRun is a run that has begun.
func aRun(id, name string) store.Run {
	return store.Run{ID: id, Kind: "workflow", Name: name, Version: 2, Status: "running", Owner: "me", Correlation: "c-" + id, StartedBy: "api", Road: "native",
		StartedAt: at(time.Second), UpdatedAt: at(time.Second), Input: `{"a":1}`}
}

func (w *world) writeRuns(changes ...*store.RunChange) {
	w.t.Helper()
	w.ok(w.WriteRuns(w.ctx, nil, changes))
}

// begin writes runs that begin.
func (w *world) begin(runs ...store.Run) {
	w.t.Helper()
	changes := make([]*store.RunChange, len(runs))
	for i, r := range runs {
		changes[i] = &store.RunChange{Run: r, New: true, Correlations: []string{r.Correlation}}
	}
	w.writeRuns(changes...)
	for _, c := range changes {
		w.ok(c.Err)
	}
}

// ends returns the change that ends r.
func ends(r store.Run, status string, when time.Time) *store.RunChange {
	c := &store.RunChange{Run: r, WasOwner: r.Owner, WasStatus: r.Status}
	c.Run.Status, c.Run.EndedAt, c.Run.UpdatedAt = status, when, when
	return c
}

func (w *world) runIDs(f store.RunFilter, limit int) []string {
	w.t.Helper()
	list, err := w.Runs(w.ctx, f, limit)
	w.ok(err)
	var out []string
	for _, r := range list {
		out = append(out, r.ID)
	}
	return out
}

func (w *world) count(table string) (n int64) {
	w.t.Helper()
	w.ok(w.DB().Read().QueryRow(w.ctx, `SELECT count(*) FROM `+table).Scan(&n))
	return n
}

// Runs and their steps.
var runs = []test{
	{"a run is written and read", func(w *world) {
		r := aRun("r1", "a")
		r.Parent, r.ParentStep, r.Key = "p1", 3, "k"
		w.begin(r)
		got, err := w.Run(w.ctx, "r1")
		w.ok(err)
		equal(w, got, r)
		got, err = w.RunByKey(w.ctx, "k")
		w.ok(err)
		equal(w, got, r)
		r.Former, r.Correlation, r.Road, r.Steps, r.Output, r.Result = []string{"c-r1"}, "Step 2 of \"3\"", "as written", 2, `"x"`, `{"outcomes":["Done"]}`
		c := ends(r, "finished", at(time.Minute))
		c.Correlations, c.First, c.StepList, c.Input = []string{r.Correlation}, 1, `[1,2]`, true
		c.Run.Input = `{"a":"[secret]"}`
		w.writeRuns(c)
		w.ok(c.Err)
		got, err = w.Run(w.ctx, "r1")
		w.ok(err)
		equal(w, got, c.Run)
		lists, err := w.RunStepLists(w.ctx, "r1", 1, 10)
		w.ok(err)
		equal(w, lists, []store.RunSteps{{First: 1, List: `[1,2]`}})
		_, err = w.Run(w.ctx, "none")
		w.is(err, store.ErrNotFound)
		_, err = w.RunByKey(w.ctx, "")
		w.is(err, store.ErrNotFound)
	}},
	{"what is wrong with one change stays with it", func(w *world) {
		key := aRun("r1", "a")
		key.Key = "k"
		w.begin(key, aRun("r2", "a"))
		sameKey, sameID := aRun("r3", "a"), aRun("r2", "b")
		sameKey.Key = "k"
		stale := ends(aRun("r2", "a"), "finished", at(time.Minute))
		stale.WasOwner, stale.StepList, stale.First = "somebody", "[1]", 1
		stale.Events = []store.Event{{Type: "run.faulted"}}
		wrongStatus := ends(aRun("r2", "a"), "finished", at(time.Minute))
		wrongStatus.WasStatus = "suspended"
		good := ends(aRun("r2", "a"), "faulted", at(time.Minute))
		good.Events = []store.Event{{Type: "run.faulted", Detail: map[string]any{"run": "r2"}}}
		changes := []*store.RunChange{{Run: sameKey, New: true}, {Run: sameID, New: true}, stale, wrongStatus, good, {Run: aRun("r4", "a"), New: true}}
		w.writeRuns(changes...)
		for i, want := range []error{store.ErrExists, store.ErrExists, store.ErrStale, store.ErrStale, nil, nil} {
			if !errors.Is(changes[i].Err, want) {
				w.t.Errorf("change %d: %v, want %v", i, changes[i].Err, want)
			}
		}
		equal(w, w.runIDs(store.RunFilter{}, 10), []string{"r4", "r2", "r1"})
		equal(w, w.count("run_steps"), 0)
		events, err := w.LastEvents(w.ctx, "", 10)
		w.ok(err)
		equal(w, len(events), 1)
		equal(w, events[0].Detail, map[string]any{"run": "r2"})
		equal(w, events[0].At, at(time.Minute))
	}},
	{"one of many runs has the key", func(w *world) {
		changes := make([]*store.RunChange, 20)
		errs := together(len(changes), func(i int) error {
			r := aRun(fmt.Sprintf("r%02d", i), "a")
			r.Key = "k"
			changes[i] = &store.RunChange{Run: r, New: true}
			if err := w.WriteRuns(w.ctx, nil, changes[i:i+1]); err != nil {
				return err
			}
			return changes[i].Err
		})
		won := w.one(errs, store.ErrExists)
		got, err := w.RunByKey(w.ctx, "k")
		w.ok(err)
		equal(w, got.ID, changes[won].Run.ID)
	}},
	{"runs are found by what is known of them", func(w *world) {
		a, b, c, d := aRun("r1", "a"), aRun("r2", "b"), aRun("r3", "a"), aRun("r4", "a")
		b.Parent, c.Parent, c.Kind, d.StartedBy = "r1", "r1", "script", "schedule:x"
		w.begin(a, b, c, d)
		w.writeRuns(ends(a, "faulted", at(time.Minute)), ends(b, "faulted", at(time.Minute)), ends(d, "finished", at(time.Minute)))
		for i, x := range []struct {
			f    store.RunFilter
			want []string
		}{
			{store.RunFilter{}, []string{"r4", "r3", "r2", "r1"}},
			{store.RunFilter{Below: "r3"}, []string{"r2", "r1"}},
			{store.RunFilter{From: "r2", Below: "r4"}, []string{"r3", "r2"}},
			{store.RunFilter{Name: "a"}, []string{"r4", "r3", "r1"}},
			{store.RunFilter{Name: "a", Below: "r4"}, []string{"r3", "r1"}},
			{store.RunFilter{Status: "faulted"}, []string{"r2", "r1"}},
			{store.RunFilter{Name: "a", Status: "faulted"}, []string{"r1"}},
			{store.RunFilter{Name: "a", Status: "finished"}, []string{"r4"}},
			{store.RunFilter{Parent: "r1"}, []string{"r3", "r2"}},
			{store.RunFilter{Parent: "r1", Kind: "script"}, []string{"r3"}},
			{store.RunFilter{StartedBy: "schedule:x"}, []string{"r4"}},
			{store.RunFilter{Correlation: "c-r2"}, []string{"r2"}},
			{store.RunFilter{Correlation: "c-r", Begins: true}, []string{"r4", "r3", "r2", "r1"}},
			{store.RunFilter{Correlation: "c-r", Begins: true, Name: "b"}, []string{"r2"}},
			{store.RunFilter{Correlation: "c-r2", Name: "a"}, nil},
			{store.RunFilter{Correlation: "c-"}, nil},
			{store.RunFilter{Name: "none"}, nil},
		} {
			if got := w.runIDs(x.f, 10); !slices.Equal(got, x.want) {
				w.t.Errorf("%d: %+v gives %v, want %v", i, x.f, got, x.want)
			}
		}
		equal(w, w.runIDs(store.RunFilter{}, 2), []string{"r4", "r3"})
	}},
	{"cap086 a run is found by every correlation id that it had", func(w *world) {
		long := strings.Repeat("é", 300)
		r := aRun("r1", "a")
		w.begin(r, aRun("r2", "a"))
		for _, next := range []string{"starting", long + "1", long + "2", "done"} {
			r.Former = append(r.Former, r.Correlation)
			r.Correlation = next
			w.writeRuns(&store.RunChange{Run: r, WasOwner: "me", WasStatus: "running", Correlations: []string{next}})
		}
		w.writeRuns(&store.RunChange{Run: aRun("r2", "a"), WasOwner: "me", WasStatus: "running", Correlations: []string{"starting", "starting"}})
		for id, want := range map[string][]string{"c-r1": {"r1"}, "starting": {"r2", "r1"}, long: {"r1"}, long + "1": {"r1"}, "done": {"r1"}, "don": nil} {
			equal(w, w.runIDs(store.RunFilter{Correlation: id}, 10), want)
		}
		equal(w, w.runIDs(store.RunFilter{Correlation: "start", Begins: true}, 10), []string{"r2", "r1"})
		equal(w, w.runIDs(store.RunFilter{Correlation: "starting", Below: "r2"}, 10), []string{"r1"})
		w.writeRuns(&store.RunChange{Run: r, WasOwner: "me", WasStatus: "running", Uncorrelations: []string{"starting"}})
		equal(w, w.runIDs(store.RunFilter{Correlation: "starting"}, 10), []string{"r2"})
	}},
	{"cap086 steps are read from any number on", func(w *world) {
		r := aRun("r1", "a")
		w.begin(r, aRun("r2", "a"))
		for _, first := range []int64{1, 4, 9} {
			w.writeRuns(&store.RunChange{Run: r, WasOwner: "me", WasStatus: "running", First: first, StepList: fmt.Sprintf("[%d]", first)})
		}
		firsts := func(number int64, limit int) (out []int64) {
			lists, err := w.RunStepLists(w.ctx, "r1", number, limit)
			w.ok(err)
			for _, l := range lists {
				out = append(out, l.First)
			}
			return out
		}
		equal(w, firsts(0, 10), []int64{1, 4, 9})
		equal(w, firsts(3, 10), []int64{1, 4, 9})
		equal(w, firsts(4, 10), []int64{4, 9})
		equal(w, firsts(4, 1), []int64{4})
		equal(w, firsts(50, 10), []int64{9})
		w.ok(w.PutRunSteps(w.ctx, "r1", []store.RunSteps{{First: 4, List: "[40]"}, {First: 5, List: "[50]"}}))
		lists, err := w.RunStepLists(w.ctx, "r1", 4, 1)
		w.ok(err)
		equal(w, lists, []store.RunSteps{{First: 4, List: "[40]"}})
		equal(w, w.count("run_steps"), 3)
	}},
	{"F94 runs of the dead are taken over once", func(w *world) {
		lease := func(owner string) *store.RunLease { return &store.RunLease{Owner: owner, For: time.Minute} }
		dead, alive, own, waits := aRun("r1", "a"), aRun("r2", "a"), aRun("r3", "a"), aRun("r4", "a")
		dead.Owner, alive.Owner, waits.Owner, waits.Status = "dead", "alive", "dead", "suspended"
		w.begin(dead, alive, own, waits)
		w.ok(w.WriteRuns(w.ctx, lease("dead"), nil))
		w.pass(30 * time.Second)
		w.ok(w.WriteRuns(w.ctx, lease("alive"), nil))
		take := func(owner string, alone bool, limit int) (out []string) {
			w.t.Helper()
			list, err := w.TakeRuns(w.ctx, *lease(owner), alone, limit)
			w.ok(err)
			for _, r := range list {
				out = append(out, r.ID+" of "+r.Owner)
			}
			return out
		}
		equal(w, take("me", false, 10), nil)
		w.pass(30 * time.Second)
		got := make([][]string, 8)
		for _, err := range together(8, func(i int) error {
			list, err := w.TakeRuns(w.ctx, *lease(fmt.Sprint("taker", i)), false, 10)
			for _, r := range list {
				got[i] = append(got[i], r.ID)
			}
			return err
		}) {
			w.ok(err)
		}
		equal(w, slices.Concat(got...), []string{"r1"})
		r, err := w.Run(w.ctx, "r1")
		w.ok(err)
		if !strings.HasPrefix(r.Owner, "taker") || r.Status != "running" {
			w.t.Errorf("taken: %+v", r)
		}
		// Its former owner was not dead after all: its words count no more.
		late := ends(dead, "finished", w.now())
		w.writeRuns(late)
		w.is(late.Err, store.ErrStale)
		// Where nobody else can be, nobody else is alive.
		equal(w, take("new", true, 1), []string{"r1 of " + r.Owner})
		equal(w, take("new", true, 10), []string{"r2 of alive", "r3 of me"})
		equal(w, take("new", true, 10), nil)
		w.ok(w.TrimRunOwners(w.ctx, w.pass(time.Hour)))
		equal(w, w.count("run_owners"), 0)
		equal(w, take("me", false, 10), []string{"r1 of new", "r2 of new", "r3 of new"}) // who says nothing is dead
	}},
	{"old runs are trimmed with all that is theirs", func(w *world) {
		const n = 250 // more than go at once
		for i := range n {
			r := aRun(fmt.Sprintf("r%03d", i), "a")
			w.begin(r)
			r.Former, r.Correlation = []string{r.Correlation}, "same"
			c := ends(r, "finished", at(time.Duration(i)*time.Second))
			c.Correlations, c.First, c.StepList = []string{"same"}, 1, "[1]"
			w.writeRuns(c)
			w.ok(c.Err)
		}
		waiting, faulted := aRun("r0000", "a"), aRun("r0001", "b")
		waiting.Status = "suspended"
		w.begin(waiting, faulted)
		w.writeRuns(ends(faulted, "faulted", at(0)))
		trim := func(status, below string, before time.Time) int64 {
			n, err := w.TrimRuns(w.ctx, status, below, before)
			w.ok(err)
			return n
		}
		equal(w, trim("finished", "r100", at(10*time.Second)), 10)
		equal(w, trim("finished", "r005", at(time.Hour)), 0)
		equal(w, trim("finished", "~", at(time.Hour)), n-10)
		equal(w, w.runIDs(store.RunFilter{}, 10), []string{"r0001", "r0000"})
		equal(w, w.count("run_steps"), 0)
		equal(w, w.count("run_correlations"), 2)
		equal(w, trim("faulted", "~", at(time.Hour)), 1)
	}},
	{"of each name the newest runs are kept", func(w *world) {
		for i := range 9 {
			r := aRun(fmt.Sprintf("r%d", i), []string{"a", "b"}[i/6])
			w.begin(r)
			status := "finished"
			if i == 1 || i == 3 {
				status = "faulted"
			}
			if i != 2 {
				w.writeRuns(ends(r, status, at(time.Minute)))
			}
		}
		var names []string
		for name := ""; ; {
			var err error
			if name, err = w.NextRunName(w.ctx, name); errors.Is(err, store.ErrNotFound) {
				break
			} else if err != nil {
				w.t.Fatal(err)
			}
			names = append(names, name)
		}
		equal(w, names, []string{"a", "b"})
		cut := func(name string, faulted bool, newer int, want string) {
			w.t.Helper()
			got, err := w.RunAt(w.ctx, name, faulted, newer)
			w.ok(err)
			equal(w, got, want)
		}
		cut("a", false, 0, "r5")
		cut("a", false, 2, "r3")
		cut("a", false, 6, "")
		cut("a", true, 0, "r3")
		cut("a", true, 1, "r1")
		cut("a", true, 2, "")
		n, err := w.TrimRunsOf(w.ctx, "a", false, "r4")
		w.ok(err)
		equal(w, n, 2) // r0 and r4; r2 runs, the others faulted
		n, err = w.TrimRunsOf(w.ctx, "a", true, "r1")
		w.ok(err)
		equal(w, n, 1)
		equal(w, w.runIDs(store.RunFilter{}, 10), []string{"r8", "r7", "r6", "r5", "r3", "r2"})
	}},
}
