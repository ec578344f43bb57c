package run_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
)

func TestARunFromBeginToEnd(t *testing.T) {
	w := newWorld(t, t.TempDir())
	parent := w.begin(run.Start{Kind: run.Workflow, Name: "Parent"})
	r := w.begin(run.Start{Kind: run.Workflow, Name: "CallMyAPI", Version: 3, Parent: parent.ID(), ParentStep: 2, Trigger: "workflow", Road: run.RoadNative, Input: map[string]any{"path": "/me"}})
	if !run.ValidID(r.ID()) || r.ID() <= parent.ID() {
		t.Errorf("ids %s and %s do not grow", parent.ID(), r.ID())
	}
	v := w.get(r.ID())
	if v.Status != run.Running || string(v.Input) != `{"path":"/me"}` || v.Version != 3 || v.Parent != parent.ID() || v.ParentStep != 2 || v.Trigger != "workflow" || v.Road != run.RoadNative {
		t.Errorf("%+v", v)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(v.CorrelationID) || r.CorrelationID() != v.CorrelationID {
		t.Errorf("correlation id %q, of the recorder %q", v.CorrelationID, r.CorrelationID())
	}
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond).UTC()
	for i, want := range []int{1, 2, 3} {
		if n := r.Step(run.Step{Activity: fmt.Sprint("a", i), Type: "SetVariable", Name: "Set", At: at, Duration: 1500 * time.Microsecond, Event: "Executed", Outcomes: []string{"Done"}, Message: "m",
			Inputs: map[string]any{"Value": i}, Data: map[string]any{"x": true}, Error: "e", Child: parent.ID()}); n != want {
			t.Errorf("step %d has number %d", i, n)
		}
	}
	steps := w.steps(r.ID())
	if len(steps) != 3 {
		t.Fatalf("%d steps", len(steps))
	}
	s := steps[1]
	if s.Number != 2 || s.Activity != "a1" || s.Type != "SetVariable" || s.Name != "Set" || !s.At.Equal(at) || s.Duration != 1500*time.Microsecond || s.Event != "Executed" ||
		!slices.Equal(s.Outcomes, []string{"Done"}) || s.Message != "m" || string(s.Inputs) != `{"Value":1}` || string(s.Data) != `{"x":true}` || s.Error != "e" || s.Child != parent.ID() {
		t.Errorf("%+v", s)
	}
	r.Warn("careful")
	w.ok(r.End(w.ctx, run.End{Outcomes: []string{"Good"}, Output: "<b>", Warnings: []string{"careful", "twice"}}))
	v = w.get(r.ID())
	if v.Status != run.Finished || string(v.Output) != `"<b>"` || !slices.Equal(v.Outcomes, []string{"Good"}) || !slices.Equal(v.Warnings, []string{"careful", "twice"}) || v.EndedAt.IsZero() || v.Steps != 3 {
		t.Errorf("%+v", v)
	}
	if n := w.kept(r.ID()); n != 3 {
		t.Errorf("%d steps are in the store", n)
	}
	if r.Step(run.Step{}) != 0 || !errors.Is(r.End(w.ctx, run.End{}), run.ErrTaken) {
		t.Error("a run that has ended goes on")
	}
	children, err := w.Children(w.ctx, parent.ID(), 10)
	w.ok(err)
	if !slices.Equal(children, []run.ID{r.ID()}) {
		t.Errorf("children %v", children)
	}
	w.ok(parent.End(w.ctx, run.End{Status: run.Cancelled}))
	if got := w.told(); !slices.Equal(got, []string{"run.started", "run.started", "run.finished", "run.cancelled"}) {
		t.Errorf("told %v", got)
	}
	if w.Live() != 0 {
		t.Errorf("%d runs are still known as running", w.Live())
	}
	_, err = w.Get(w.ctx, "none")
	w.is(err, run.ErrNotFound)
}

func TestAFault(t *testing.T) {
	w := newWorld(t, t.TempDir())
	r := w.begin(run.Start{CorrelationID: "order 7"})
	w.ok(r.End(w.ctx, run.End{Fault: &run.Fault{Message: "the row is gone", Activity: "a1", Type: "ObjectInstanceGet", Property: "ObjectId", Cause: &run.Fault{Message: "no such row"}}}))
	v := w.get(r.ID())
	if v.Status != run.Faulted || v.Fault == nil || v.Fault.Message != "the row is gone" || v.Fault.Cause == nil || v.Fault.Cause.Message != "no such row" {
		t.Errorf("%+v", v)
	}
	events, err := w.store.LastEvents(w.ctx, "", 1)
	w.ok(err)
	if len(events) != 1 || events[0].Type != run.EventFaulted || events[0].Detail["run"] != r.ID() || events[0].Detail["message"] != "the row is gone" || events[0].Detail["correlation_id"] != "order 7" {
		t.Errorf("%+v", events)
	}
	if e := w.events[len(w.events)-1]; e.Type != run.EventFaulted || e.Message != "the row is gone" || e.Status != run.Faulted {
		t.Errorf("%+v", e)
	}
	// A retry goes on with the same run.
	again, err := w.Resume(w.ctx, r.ID())
	w.ok(err)
	if v := w.get(r.ID()); v.Status != run.Running || v.Fault != nil || !v.EndedAt.IsZero() {
		t.Errorf("%+v", v)
	}
	w.ok(again.End(w.ctx, run.End{}))
	_, err = w.Resume(w.ctx, r.ID())
	w.is(err, run.ErrTaken)
}

// Alone, a change is written at once; together, many share what one costs.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		began := time.Now()
		w.gate.taken()
		r := w.begin(run.Start{})
		w.ok(r.End(w.ctx, run.End{}))
		if n := w.gate.taken(); n != 2 || time.Since(began) != 0 {
			t.Errorf("a run alone took %d transactions and %v", n, time.Since(began))
		}
		release := w.gate.hold()
		var wg sync.WaitGroup
		const callers = 40
		recorders := make([]*run.Recorder, callers)
		for i := range callers {
			wg.Go(func() { recorders[i] = w.begin(run.Start{}) })
		}
		synctest.Wait()
		if n := w.gate.taken(); n != 1 {
			t.Errorf("%d transactions are under way", n)
		}
		if len(w.list(run.Filter{})) != 1 {
			t.Error("a run is there before its transaction is")
		}
		for _, r := range recorders {
			if r != nil {
				t.Error("Begin returned before the run was durable")
			}
		}
		release()
		wg.Wait()
		if n := w.gate.taken(); n > 1 {
			t.Errorf("those that waited took %d transactions, want 1", n)
		}
		release = w.gate.hold()
		for _, r := range recorders {
			wg.Go(func() {
				r.Step(run.Step{})
				if err := r.End(w.ctx, run.End{}); err != nil {
					t.Error(err)
				}
				if w.row(r.ID()).Status != "finished" || w.kept(r.ID()) != 1 {
					t.Error("End returned before the end was durable")
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		if n := w.gate.taken(); n > 2 {
			t.Errorf("%d ends took %d transactions, want 2 at most", callers, n)
		}
		if n := len(w.list(run.Filter{Status: run.Finished})); n != callers+1 {
			t.Errorf("%d runs finished", n)
		}
	})
}

func TestStepsAreWrittenAfterASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		r := w.begin(run.Start{})
		w.gate.taken()
		r.Step(run.Step{Message: "1"})
		time.Sleep(500 * time.Millisecond)
		r.Step(run.Step{Message: "2"})
		r.Correlate("half way")
		synctest.Wait()
		if n := w.gate.taken(); n != 0 || w.kept(r.ID()) != 0 {
			t.Errorf("%d transactions before a second has passed", n)
		}
		if v := w.get(r.ID()); v.CorrelationID != "half way" || v.Steps != 2 || len(w.steps(r.ID())) != 2 {
			t.Errorf("what is not written yet is not shown: %+v", v)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if n := w.gate.taken(); n != 1 || w.kept(r.ID()) != 2 || w.row(r.ID()).Correlation != "half way" {
			t.Errorf("%d transactions, %d steps after a second", n, w.kept(r.ID()))
		}
		time.Sleep(time.Hour)
		if n := w.gate.taken(); n != 0 {
			t.Errorf("%d transactions for nothing", n)
		}
		r.Step(run.Step{Message: "3"})
		w.ok(r.End(w.ctx, run.End{}))
		if n := w.kept(r.ID()); n != 3 {
			t.Errorf("%d steps", n)
		}
		time.Sleep(time.Hour)
		if n := w.gate.taken(); n != 1 {
			t.Errorf("%d transactions for the end, want 1", n)
		}
	})
}

func TestARunFasterThanTheStoreWaitsForIt(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		r := w.begin(run.Start{})
		release := w.gate.hold()
		n := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 1000 {
				n = r.Step(run.Step{Message: "x"})
			}
		}()
		synctest.Wait()
		if n > 300 {
			t.Errorf("%d steps wait in memory", n)
		}
		release()
		<-done
		w.ok(r.End(w.ctx, run.End{}))
		if n := w.kept(r.ID()); n != 1000 {
			t.Errorf("%d steps", n)
		}
	})
}

// A loop that never ends fills no disk: its beginning and its end are kept.
func TestOfAVeryLongRunBothEndsAreKept(t *testing.T) {
	w := newWorld(t, t.TempDir())
	r := w.begin(run.Start{})
	const n = 25_000
	for i := range n {
		r.Step(run.Step{Message: fmt.Sprint(i + 1)})
	}
	r.Correlate("still going")
	if got := w.list(run.Filter{Correlation: "still going"}); len(got) != 1 {
		t.Errorf("found %v", got)
	}
	w.ok(r.End(w.ctx, run.End{}))
	steps := w.steps(r.ID())
	if v := w.get(r.ID()); v.Steps != n || len(steps) != 20_100 {
		t.Fatalf("%d steps of %d are kept", len(steps), v.Steps)
	}
	for i, s := range steps {
		want := i + 1
		if i >= 20_000 {
			want = n - 20_100 + i + 1
		}
		if s.Number != want || s.Message != fmt.Sprint(want) {
			t.Fatalf("step %d is %d, %q", i, s.Number, s.Message)
		}
	}
	// In pages, from anywhere.
	page, err := w.Steps(w.ctx, r.ID(), 19_999, 3)
	w.ok(err)
	if len(page) != 3 || page[0].Number != 20_000 || page[1].Number != n-99 {
		t.Errorf("%+v", page)
	}
}

// While the store takes no writes, Begin and End say so; an end is written as
// soon as it takes them again.
func TestAStoreThatTakesNoWrites(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		r := w.begin(run.Start{Key: "k1"})
		r.Step(run.Step{Message: "1"})
		w.gate.refuse(store.ErrReadOnly)
		_, err := w.Begin(w.ctx, run.Start{Name: "a"})
		w.is(err, store.ErrReadOnly)
		w.is(r.End(w.ctx, run.End{Outcomes: []string{"Good"}}), store.ErrReadOnly)
		if w.Live() != 1 {
			t.Errorf("%d runs are known as running", w.Live())
		}
		time.Sleep(10 * time.Second)
		if s := w.row(r.ID()).Status; s != "running" {
			t.Errorf("status %s", s)
		}
		w.gate.refuse(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if v := w.get(r.ID()); v.Status != run.Finished || !slices.Equal(v.Outcomes, []string{"Good"}) || w.kept(r.ID()) != 1 || w.Live() != 0 {
			t.Errorf("%+v, %d steps, %d live", v, w.kept(r.ID()), w.Live())
		}
		if got := w.told(); !slices.Equal(got, []string{"run.started", "run.finished"}) {
			t.Errorf("told %v", got)
		}
	})
}

// What one run does wrong is nothing to those that share its transaction.
func TestOneRunsErrorIsNotTheOthers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		poison := &poisoned{DB: w.gate.DB, text: "POISON"}
		w.gate.DB = poison
		release := w.gate.hold()
		errs := make([]error, 10)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				name := "good"
				if i == 7 {
					name = "POISON"
				}
				_, errs[i] = w.Begin(w.ctx, run.Start{Name: name})
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		for i, err := range errs {
			if (err != nil) != (i == 7) {
				t.Errorf("run %d: %v", i, err)
			}
		}
		if n := len(w.list(run.Filter{Name: "good"})); n != 9 {
			t.Errorf("%d runs", n)
		}
		if w.Live() != 9 {
			t.Errorf("%d live", w.Live())
		}
	})
}

// poisoned is a database that refuses a text, and the transaction with it.
type poisoned struct {
	store.DB
	text string
}

func (p *poisoned) Tx(ctx context.Context, fn func(store.Querier) error) error {
	return p.DB.Tx(ctx, func(tx store.Querier) error { return fn(poisonedTx{tx, p.text}) })
}

type poisonedTx struct {
	store.Querier
	text string
}

func (p poisonedTx) Exec(ctx context.Context, q string, args ...any) (int64, error) {
	if slices.Contains(args, any(p.text)) {
		return 0, errors.New("this text is not for me")
	}
	return p.Querier.Exec(ctx, q, args...)
}

func TestOneRunHasAKey(t *testing.T) {
	w := newWorld(t, t.TempDir())
	const callers = 20
	errs := make([]error, callers)
	ids := make([]run.ID, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			r, err := w.Begin(w.ctx, run.Start{Name: "a", Key: "schedule/nightly/2026-03-01T00:00:00Z"})
			if errs[i] = err; err == nil {
				ids[i] = r.ID()
			}
		})
	}
	wg.Wait()
	won := ""
	for i, err := range errs {
		if err == nil {
			if won != "" {
				t.Fatal("two runs have the key")
			}
			won = ids[i]
		}
	}
	for _, err := range errs {
		var d *run.DuplicateError
		if err != nil && (!errors.Is(err, run.ErrDuplicate) || !errors.As(err, &d) || d.Run != won) {
			t.Errorf("%v, want a duplicate of %s", err, won)
		}
	}
	if w.Live() != 1 || len(w.list(run.Filter{})) != 1 {
		t.Errorf("%d live, %d listed", w.Live(), len(w.list(run.Filter{})))
	}
	_, err := w.Begin(w.ctx, run.Start{ID: won, Name: "a"})
	w.is(err, run.ErrTaken)
	_, err = w.another().Begin(w.ctx, run.Start{ID: won, Name: "a"})
	w.is(err, run.ErrDuplicate)
	_, err = w.Begin(w.ctx, run.Start{ID: "../../x", Name: "a"})
	if err == nil {
		t.Error("an id that is none was taken")
	}
	gone, cancel := context.WithCancel(w.ctx)
	cancel()
	_, err = w.Begin(gone, run.Start{Name: "a"})
	w.is(err, context.Canceled)
}

func TestCorrelate(t *testing.T) {
	t.Run("cap085 all that a run does is found by one correlation id", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		parent := w.begin(run.Start{CorrelationID: "order 7"})
		child := w.begin(run.Start{CorrelationID: "order 7", Parent: parent.ID()})
		w.begin(run.Start{CorrelationID: "order 8"})
		child.Step(run.Step{Type: "Correlate", Name: "Progress", Message: "Correlate - starting"})
		if got := w.list(run.Filter{Correlation: "order 7"}); !slices.Equal(got, []run.ID{child.ID(), parent.ID()}) {
			t.Errorf("found %v", got)
		}
		s := w.steps(child.ID())
		if len(s) != 1 || s[0].Message != "Correlate - starting" || s[0].Name != "Progress" || s[0].At.IsZero() {
			t.Errorf("%+v", s)
		}
	})
	t.Run("it may be any text, and is found by all it ever was", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		r := w.begin(run.Start{CorrelationID: "first"})
		long := strings.Repeat("long free text, ", 200) + "é"
		for _, id := range []string{"Step 1\x00\xff of 3", long, "first", "100 %_", "first"} {
			r.Correlate(id)
			if got := w.list(run.Filter{Correlation: r.CorrelationID()}); len(got) != 1 {
				t.Errorf("%q: found %v at once", id, got)
			}
		}
		if v := w.get(r.ID()); v.CorrelationID != "first" {
			t.Errorf("now %q", v.CorrelationID)
		}
		w.ok(r.End(w.ctx, run.End{}))
		for id, want := range map[string]int{"first": 1, "fir*": 1, "fir": 0, long: 1, long[:50] + "*": 1, "100 %_": 1, "1*": 1, "100 ": 0, "%": 0, "_*": 0, "Step 1*": 1, "zzz*": 0, "*": 1} {
			if got := w.list(run.Filter{Correlation: id}); len(got) != want {
				t.Errorf("%.40q: found %v", id, got)
			}
		}
	})
	t.Run("a counter does not fill the index", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		r := w.begin(run.Start{})
		for i := range 2000 {
			r.Correlate(fmt.Sprint("item ", i))
		}
		w.ok(r.End(w.ctx, run.End{}))
		var n int
		w.ok(w.store.DB().Read().QueryRow(w.ctx, `SELECT count(*) FROM run_correlations`).Scan(&n))
		if n > 256 || len(w.list(run.Filter{Correlation: "item 3"})) != 1 || w.get(r.ID()).CorrelationID != "item 1999" {
			t.Errorf("%d rows, now %q", n, w.get(r.ID()).CorrelationID)
		}
	})
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		var ids []run.ID
		var at []time.Time
		for i := range 6 {
			time.Sleep(time.Minute)
			at = append(at, time.Now())
			r := w.begin(run.Start{Kind: []run.Kind{run.Workflow, run.Script}[i%2], Name: fmt.Sprint("n", i/3), Trigger: "api"})
			ids = append([]run.ID{r.ID()}, ids...)
			if i == 4 {
				w.ok(r.End(w.ctx, run.End{Status: run.Faulted}))
			}
		}
		for name, c := range map[string]struct {
			f    run.Filter
			want []run.ID
		}{
			"all":           {run.Filter{}, ids},
			"since":         {run.Filter{Since: at[4]}, ids[:2]},
			"after":         {run.Filter{Since: at[4].Add(1)}, ids[:1]},
			"until":         {run.Filter{Until: at[1]}, ids[5:]},
			"between":       {run.Filter{Since: at[1], Until: at[3]}, ids[3:5]},
			"kind":          {run.Filter{Kind: run.Script, Name: "n0"}, ids[4:5]},
			"status":        {run.Filter{Status: run.Faulted}, ids[1:2]},
			"trigger":       {run.Filter{Trigger: "http"}, nil},
			"an empty mask": {run.Filter{Correlation: "*"}, ids},
		} {
			if got := w.list(c.f); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
		var paged []run.ID
		for before := ""; ; {
			page, err := w.List(w.ctx, run.Filter{}, before, 4)
			w.ok(err)
			for _, r := range page {
				paged = append(paged, r.ID)
				before = r.ID
			}
			if len(page) < 4 {
				break
			}
		}
		if !slices.Equal(paged, ids) {
			t.Errorf("in pages %v, want %v", paged, ids)
		}
	})
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		far := w.another() // a replica knows only what is written
		r := w.begin(run.Start{})
		type follower struct {
			numbers []int
			last    run.Status
			calls   int
		}
		var mu sync.Mutex
		follow := func(j *run.Journal, after int) (*follower, chan error) {
			f, done := &follower{}, make(chan error, 1)
			go func() {
				done <- j.Follow(w.ctx, r.ID(), after, func(v run.Run, steps []run.Record) error {
					mu.Lock()
					defer mu.Unlock()
					for _, s := range steps {
						f.numbers = append(f.numbers, s.Number)
					}
					f.last = v.Status
					f.calls++
					return nil
				})
			}()
			return f, done
		}
		has := func(f *follower) int { mu.Lock(); defer mu.Unlock(); return len(f.numbers) }
		near, nearDone := follow(w.Journal, 0)
		away, awayDone := follow(far, 0)
		late, lateDone := follow(w.Journal, 2)
		r.Step(run.Step{})
		synctest.Wait()
		if has(near) != 1 || has(away) != 0 {
			t.Errorf("at once %d here and %d elsewhere", has(near), has(away))
		}
		for range 20 {
			r.Step(run.Step{})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if has(near) != 21 || has(away) < 10 || has(late) != 19 {
			t.Errorf("%d here, %d elsewhere, %d from the third on", has(near), has(away), has(late))
		}
		// It waits, somebody else goes on with it, and it ends there.
		w.ok(r.Suspend(w.ctx))
		time.Sleep(5 * time.Second)
		again, err := far.Resume(w.ctx, r.ID())
		w.ok(err)
		_, err = w.Resume(w.ctx, r.ID())
		w.is(err, run.ErrTaken) // it runs elsewhere
		if n := again.Step(run.Step{}); n != 22 {
			t.Errorf("the first step of the second life is %d", n)
		}
		w.ok(again.End(w.ctx, run.End{}))
		for _, c := range []chan error{nearDone, awayDone, lateDone} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
		want := make([]int, 22)
		for i := range want {
			want[i] = i + 1
		}
		for name, f := range map[string]*follower{"here": near, "elsewhere": away} {
			if !slices.Equal(f.numbers, want) || f.last != run.Finished {
				t.Errorf("%s: %v, %s", name, f.numbers, f.last)
			}
		}
		if !slices.Equal(late.numbers, want[2:]) {
			t.Errorf("from the third on: %v", late.numbers)
		}
		ended, endedDone := follow(w.Journal, 22)
		if err := <-endedDone; err != nil || ended.calls != 1 || ended.last != run.Finished {
			t.Errorf("of a run that has ended: %v, %+v", err, ended)
		}
		other := w.begin(run.Start{})
		for range 700 {
			other.Step(run.Step{})
		}
		long := 0
		w.ok(other.Suspend(w.ctx))
		w.ok(w.cancel(other.ID()))
		w.ok(w.Follow(w.ctx, other.ID(), 0, func(_ run.Run, steps []run.Record) error {
			long += len(steps)
			return nil
		}))
		if long != 700 {
			t.Errorf("of a long run that has ended: %d steps", long)
		}
		other = w.begin(run.Start{})
		gone, leave := context.WithCancel(w.ctx)
		left := make(chan error)
		go func() { left <- w.Follow(gone, other.ID(), 0, func(run.Run, []run.Record) error { return nil }) }()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// 10,000 runs that wait are rows and nothing else.
func TestSuspendedRunsCostRows(t *testing.T) {
	w := newWorld(t, t.TempDir())
	var first run.ID
	for i := range 300 {
		r := w.begin(run.Start{})
		r.Step(run.Step{Event: "Suspended"})
		w.ok(r.Suspend(w.ctx))
		if i == 0 {
			first = r.ID()
		}
		if r.Step(run.Step{}) != 0 {
			t.Fatal("a suspended run takes a step")
		}
	}
	if w.Live() != 0 {
		t.Errorf("%d recorders are held", w.Live())
	}
	r, err := w.Resume(w.ctx, first)
	w.ok(err)
	_, err = w.Resume(w.ctx, first)
	w.is(err, run.ErrTaken)
	w.ok(r.Suspend(w.ctx))

	id, err := w.Create(w.ctx, run.Start{Name: "later"})
	w.ok(err)
	if v := w.get(id); v.Status != run.Idle || w.Live() != 0 {
		t.Errorf("%+v", v)
	}
	r, err = w.Resume(w.ctx, id)
	w.ok(err)
	w.ok(r.End(w.ctx, run.End{}))
	_, err = w.Resume(w.ctx, "none")
	w.is(err, run.ErrNotFound)
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		r := w.begin(run.Start{})
		r.Step(run.Step{})
		w.ok(w.Close(w.ctx))
		if n := w.kept(r.ID()); n != 1 {
			t.Errorf("%d steps are written by a stop", n)
		}
		_, err := w.Begin(w.ctx, run.Start{})
		w.is(err, run.ErrClosed)
		w.ok(r.End(w.ctx, run.End{})) // who is late is still written
		if s := w.row(r.ID()).Status; s != "finished" {
			t.Error(s)
		}
	})
}
