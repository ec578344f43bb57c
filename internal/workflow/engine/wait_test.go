package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

func TestSuspendedRunsSurviveARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		var seen []string
		w.js("see", func(s expr.Scope) any {
			x, _ := s.Variable("x")
			v, _ := s.Variable("CurrentValue")
			a, _ := s.Activity("a")
			_, tr := s.TransientVariable("t")
			seen = append(seen, fmt.Sprintf("%v %v %v %v %v", x, v, a.Outputs["Output"], tr, s.Instance().CorrelationID))
			return nil
		})
		w.define("flow", `
			c Correlate Value=corr
			a Mark Output=from-a
			v SetVariable VariableName=x Value=kept
			tr SetTransientVariable VariableName=t Value=gone
			l ForEach Items=["p","q"]
			if If Condition=true
			m Wait Key=k
			b Mark Output:JavaScript=see
			n Mark
			z Mark
			c Done a
			a Done v
			v Done tr
			tr Done l
			l Iterate if
			if True m
			m Done b
			if Done n
			l Done z`)
		out := w.run("flow", nil)
		w.is(run.Suspended, out)
		w.ran("a")
		for range 2 {
			w.restart()
			out = w.resume(out.RunID, "k", nil)
		}
		w.is(run.Finished, out)
		w.ran("m b n m b n z")
		if want := "kept p from-a false corr|kept q from-a false corr"; strings.Join(seen, "|") != want {
			t.Errorf("saw  %s\nwant %s", strings.Join(seen, "|"), want)
		}
		if w.instances() != 0 {
			t.Error("a state stayed behind")
		}
		if _, err := w.eng.Resume(w.ctx, Resumption{RunID: out.RunID, Kind: "test", Key: "k"}); !errors.Is(err, ErrNotWaiting) {
			t.Errorf("resumed once more: %v", err)
		}
		steps := w.steps(out.RunID)
		var events []string
		for _, s := range steps {
			if s.Activity == "m" {
				events = append(events, s.Event)
			}
		}
		if show(events) != "[Suspended Resumed Suspended Resumed]" {
			t.Errorf("the wait is told as %v", events)
		}
	})
}

// What a suspended run holds lies in the database, sealed.
func TestStateIsSealed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			v SetVariable VariableName=x Value=the-plain-token
			m Wait Key=k
			v Done m`)
		out := w.run("flow", nil)
		in, err := w.store.Instance(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(in.Sealed), "the-plain-token") {
			t.Error("the state is readable")
		}
		if _, err := w.vault.Open(binding(out.RunID, in.Revision+1), in.Sealed); err == nil {
			t.Error("it opens at another revision")
		}
	})
}

func TestParallelWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("all", `
			f Fork Branches=["one","two"]
			m1 Wait Key=1
			m2 Wait Key=2
			j Join
			z Mark
			f one m1
			f two m2
			m1 Done j
			m2 Done j
			j Done z`)
		out := w.run("all", nil)
		if len(out.Waiting) != 2 {
			t.Fatalf("it waits for %+v", out.Waiting)
		}
		out = w.resume(out.RunID, "2", nil)
		w.is(run.Suspended, out)
		w.restart()
		out = w.resume(out.RunID, "1", nil)
		w.is(run.Finished, out)
		w.ran("m2 m1 z")

		w.define("any", `
			f Fork Branches=["one","two"]
			m1 Wait Key=1
			m2 Wait Key=2
			j Join Mode=WaitAny
			z Mark
			f one m1
			f two m2
			m1 Done j
			m2 Done j
			j Done z`)
		out = w.run("any", nil)
		out = w.resume(out.RunID, "2", nil)
		w.is(run.Finished, out) // the other branch is dropped
		w.ran("m2 z")
	})
}

// A branch that waits keeps its scope open; others go on.
func TestWaitWithinALoopBesideAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			f Fork Branches=["one","two"]
			m Wait Key=k
			l ForEach Items=[1,2,3]
			a Mark
			y Mark
			z Mark
			f one l
			f two m
			l Iterate a
			l Done y
			m Done z`)
		out := w.run("flow", nil)
		w.is(run.Suspended, out)
		w.ran("a a a y")
		w.is(run.Finished, w.resume(out.RunID, "k", nil))
		w.ran("m z")
	})
}

func TestTimers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			t Timer Timeout=00:05:00
			b Mark
			c Cron CronExpression='0 0 * * *'
			d Mark
			a Done t
			t Done b
			b Done c
			c Done d`)
		begin := time.Now()
		out := w.run("flow", nil)
		w.is(run.Suspended, out)
		time.Sleep(5*time.Minute - time.Second)
		synctest.Wait()
		w.ran("a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.ran("b")
		if took := time.Since(begin); took > 5*time.Minute+2*time.Second {
			t.Errorf("it took %v", took)
		}
		w.settle(out.RunID)
		w.restart() // and the other one fires after a restart
		time.Sleep(time.Hour)
		w.settle(out.RunID)
		w.ran("d")
		if r := w.get(out.RunID); r.Status != run.Finished {
			t.Errorf("the run is %s", r.Status)
		}
	})
}

// A timer that is due before the next look is not late.
func TestTimerIsInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			t Timer Timeout=00:00:10
			b Mark
			a Done t
			t Done b`)
		time.Sleep(7 * time.Second)
		w.run("flow", nil)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		w.ran("a b")
	})
}

// Outputs that an author keeps in memory only are not stored.
func TestTransientOutputs(t *testing.T) {
	inWorld(t, func(w *world) {
		var seen []any
		w.js("see", func(s expr.Scope) any {
			a, _ := s.Activity("a")
			b, _ := s.Activity("b")
			seen = append(seen, a.Outputs["Output"], b.Outputs["Output"])
			return nil
		})
		v := w.define("flow", `
			a Mark Output=memory
			b Mark Output=stored
			s Mark Outcomes:JavaScript=see
			m Wait Key=k
			s2 Mark Outcomes:JavaScript=see
			a Done b
			b Done s
			s Done m
			m Done s2`)
		v.Definition.Activities[0].Storage = map[string]string{"Output": "Transient"}
		w.is(run.Finished, w.resume(w.run("flow", nil).RunID, "k", nil))
		if show(seen) != "[memory stored <nil> stored]" {
			t.Errorf("saw %v", seen)
		}
	})
}

// A timer that came due while nobody was there fires at the start.
func TestTimerMissedWhileDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			t Timer Timeout=00:05:00
			b Mark
			a Done t
			t Done b`)
		out := w.run("flow", nil)
		w.close()
		time.Sleep(time.Hour)
		w.open()
		w.settle(out.RunID)
		w.ran("a b")
	})
}

func TestClearTimer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			f Fork Branches=["one","two"]
			t Timer Timeout=01:00:00
			late Mark
			m Wait Key=k
			x ClearTimer ActivityId=t
			z Mark
			f one t
			f two m
			t Done late
			m Done x
			x Done z`)
		out := w.run("flow", nil)
		w.is(run.Suspended, out)
		w.is(run.Finished, w.resume(out.RunID, "k", nil))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		w.ran("m z")
	})
}

// A run whose version is gone keeps no other timer from firing.
func TestTimerOfALostVersion(t *testing.T) {
	inWorld(t, func(w *world) {
		lost := w.define("lost", `
			a Mark
			t Timer Timeout=00:01:00
			a Done t`)
		w.define("flow", `
			a Mark
			t Timer Timeout=00:02:00
			b Mark
			a Done t
			t Done b`)
		gone := w.run("lost", nil)
		out := w.run("flow", nil)
		w.lib.mu.Lock()
		lost.ID = "elsewhere"
		w.lib.mu.Unlock()
		time.Sleep(3 * time.Minute)
		w.settle(out.RunID)
		w.ran("a a b")
		w.lib.mu.Lock()
		lost.ID = "id-lost"
		w.lib.mu.Unlock()
		time.Sleep(2 * time.Minute) // it is tried again
		w.settle(gone.RunID)
		if r := w.get(gone.RunID); r.Status != run.Finished {
			t.Errorf("the run is %s", r.Status)
		}
	})
}

func TestSignals(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("started", `
			s SignalReceived Signal=Go
			a Mark
			f Finish ActivityOutput:JavaScript=in
			s Done a
			a Done f`)
		w.js("in", func(s expr.Scope) any { return s.Input() })
		w.define("waits", `
			c Correlate Value:JavaScript=in
			s SignalReceived Signal=go
			b Mark
			c Done s
			s Done b`)
		one, two := w.run("waits", "one"), w.run("waits", "two")
		w.define("sends", `
			x SendSignal Signal=GO Input=payload CorrelationId=two
			z Mark
			x Done z`)
		out := w.finished("sends", nil)
		synctest.Wait()
		w.settle(two.RunID)
		if r := w.get(one.RunID); r.Status != run.Suspended {
			t.Errorf("the run of another correlation id is %s", r.Status)
		}
		if got := strings.Fields(w.traced()); len(got) != 3 || got[0] != "z" {
			t.Errorf("ran %v, want z first, then a and b", got)
		}
		list, err := w.journal.List(w.ctx, run.Filter{Name: "started"}, "", 10)
		if err != nil || len(list) != 1 || string(list[0].Output) != `"payload"` || list[0].CorrelationID != "two" || list[0].Trigger != "signal:GO" {
			t.Errorf("the signal started %+v, %v", list, err)
		}
		_ = out
	})
}

func TestInterruptTrigger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("waits", `
			a Mark
			s SignalReceived Signal=go
			b Mark
			a Done s
			s Done b`)
		out := w.run("waits", nil)
		w.js("id", func(expr.Scope) any { return out.RunID })
		w.define("pokes", `
			p InterruptTrigger WorkflowInstanceId:JavaScript=id BlockingActivityId=s
			y Mark
			n Mark
			p Done y
			p 'Not Found' n`)
		w.finished("pokes", nil)
		w.settle(out.RunID)
		if got := w.traced(); got != "a y b" && got != "a b y" {
			t.Errorf("ran %s", got)
		}
		w.finished("pokes", nil)
		w.ran("n")
	})
}

// 10,000 suspended runs cost rows, not goroutines.
func TestSuspendedRunsCostNoGoroutines(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	dir := t.TempDir()
	fill(t, dir)
	w := newWorld(t, dir)
	w.open()
	defer w.close()
	w.define("flow", `
		a Mark
		t Timer Timeout=24:00:00
		a Done t`)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				if out, err := w.eng.Run(w.ctx, Request{Name: "flow"}); err != nil || out.Status != run.Suspended {
					t.Errorf("%+v %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	if w.eng.Live() != 0 {
		t.Errorf("%d runs are in memory", w.eng.Live())
	}
	if now := runtime.NumGoroutine(); now > before+8 {
		t.Errorf("%d goroutines for %d waiting runs, before them %d", now, n, before)
	}
	if got := w.instances(); got != n/8*8 {
		t.Errorf("%d rows, want %d", got, n/8*8)
	}
}

// Of two engines over one store, one resumes a bookmark.
func TestTwoReplicasResumeOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			m Wait Key=k
			b Mark
			a Done m
			m Done b`)
		other := New(w.eng.o)
		other.o.Journal = run.New(run.Options{Store: w.store})
		defer func() {
			other.Close(w.ctx)
			other.o.Journal.Close(w.ctx)
		}()
		for range 20 {
			out := w.run("flow", nil)
			w.traced()
			var wg sync.WaitGroup
			var mu sync.Mutex
			won := 0
			for _, e := range []*Engine{w.eng, other, w.eng, other} {
				wg.Go(func() {
					_, err := e.Resume(w.ctx, Resumption{RunID: out.RunID, Kind: "test", Key: "k"})
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						won++
					case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNotWaiting):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if won != 1 {
				t.Fatalf("%d resumed it", won)
			}
			w.ran("m b")
			w.is(run.Finished, Outcome{RunID: out.RunID, Status: run.Finished})
		}
	})
}

func TestSingleton(t *testing.T) {
	inWorld(t, func(w *world) {
		single := func(v *workflow.Version) { v.Singleton = true }
		w.define("one", `
			a Mark
			m Wait Key=k
			f Fault
			a Done m
			m Done f`, single)
		out := w.run("one", nil)
		w.is(run.Suspended, out)
		if _, err := w.eng.Run(w.ctx, Request{Name: "one"}); !errors.Is(err, ErrSingleton) {
			t.Errorf("the second start: %v", err)
		}
		w.restart()
		if _, err := w.eng.Run(w.ctx, Request{Name: "one"}); !errors.Is(err, ErrSingleton) {
			t.Errorf("the second start after a restart: %v", err)
		}
		if list, _ := w.journal.List(w.ctx, run.Filter{Name: "one"}, "", 10); len(list) != 1 {
			t.Errorf("there are %d runs", len(list))
		}
		w.is(run.Faulted, w.resume(out.RunID, "k", nil))
		out = w.run("one", nil) // a faulted one keeps nobody away
		if err := w.eng.Cancel(w.ctx, out.RunID); err != nil {
			t.Fatal(err)
		}
		w.run("one", nil)
	})
}

func TestDeleteCompleted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `a Mark`, func(v *workflow.Version) { v.DeleteCompleted = true })
		out := w.finished("flow", nil)
		if _, err := w.journal.Get(w.ctx, out.RunID); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("the record is there: %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, func(w *world) {
		w.block = make(chan struct{})
		w.define("child", `
			a Mark
			b Block
			m Wait Key=k
			z Mark
			a Done b
			b Done m
			m Done z`)
		w.define("parent", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
			z Mark
			r Done z`)
		result := make(chan Outcome)
		go func() { result <- w.run("parent", nil) }()
		synctest.Wait()
		parents, err := w.journal.List(w.ctx, run.Filter{Name: "parent"}, "", 1)
		if err != nil || len(parents) != 1 {
			t.Fatal(err)
		}
		if err := w.eng.Cancel(w.ctx, parents[0].ID); err != nil {
			t.Fatal(err)
		}
		w.is(run.Cancelled, <-result)
		children, _ := w.journal.Children(w.ctx, parents[0].ID, 10)
		if len(children) != 1 || w.get(children[0]).Status != run.Cancelled {
			t.Errorf("the child was not cancelled with it: %v", children)
		}
		if err := w.eng.Cancel(w.ctx, parents[0].ID); !errors.Is(err, ErrNotWaiting) {
			t.Errorf("cancelled twice: %v", err)
		}

		// Both wait now.
		close(w.block)
		out := w.run("parent", nil)
		w.is(run.Suspended, out)
		w.restart()
		if err := w.eng.Cancel(w.ctx, out.RunID); err != nil {
			t.Fatal(err)
		}
		children, _ = w.journal.Children(w.ctx, out.RunID, 10)
		w.settle(children[0])
		if r := w.get(children[0]); r.Status != run.Cancelled {
			t.Errorf("the waiting child is %s", r.Status)
		}
		w.is(run.Cancelled, Outcome{RunID: out.RunID, Status: run.Cancelled})
		synctest.Wait()
		if w.instances() != 0 {
			t.Error("states stayed behind")
		}
		w.ran("a b a b")
	})
}

func TestCallerHangsUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.block = make(chan struct{})
		w.define("flow", `
			a Block
			z Mark
			a Done z`)
		ctx, cancel := context.WithCancel(w.ctx)
		type answer struct {
			out Outcome
			err error
		}
		got := make(chan answer)
		go func() {
			out, err := w.eng.Run(ctx, Request{Name: "flow"})
			got <- answer{out, err}
		}()
		synctest.Wait()
		cancel()
		a := <-got
		if a.out.Status != run.Running || !errors.Is(a.err, context.Canceled) {
			t.Errorf("the caller got %+v", a)
		}
		close(w.block)
		w.settle(a.out.RunID)
		w.ran("a z")
	})
}

func TestClose(t *testing.T) {
	inWorld(t, func(w *world) {
		w.block = make(chan struct{})
		w.define("flow", `
			a Block
			z Mark
			a Done z`)
		result := make(chan Outcome)
		go func() { result <- w.run("flow", nil) }()
		synctest.Wait()
		w.close() // 30 s of grace pass
		out := <-result
		if out.Status != run.Faulted || !strings.Contains(out.Fault.Message, "shutting down") {
			t.Fatalf("the run is %s: %+v", out.Status, out.Fault)
		}
		if _, err := w.eng.Run(w.ctx, Request{Name: "flow"}); !errors.Is(err, ErrClosed) {
			t.Errorf("a start after Close: %v", err)
		}
		w.open()
		close(w.block)
		again, err := w.eng.Retry(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, again)
	})
}

func TestLock(t *testing.T) {
	inWorld(t, func(w *world) {
		var mu sync.Mutex
		inside, most := 0, 0
		enter := func(s expr.Scope) any {
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			return nil
		}
		w.js("enter", enter)
		w.js("leave", func(expr.Scope) any { mu.Lock(); inside--; mu.Unlock(); return nil })
		w.js("key of input", func(s expr.Scope) any { return s.Input() })
		flow := `
			a Mark Output:JavaScript=enter
			s Nap
			b Mark Output:JavaScript=leave
			a Done s
			s Done b`
		w.define("fixed", flow, func(v *workflow.Version) { v.Lock = "settings-token" })
		w.define("by key", flow, func(v *workflow.Version) { v.Lock = "key of input" })
		many := func(name string, key func(int) any) time.Duration {
			begin := time.Now()
			most = 0
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() { w.finished(name, key(i)) })
			}
			wg.Wait()
			return time.Since(begin)
		}
		if took := many("fixed", func(int) any { return nil }); most != 1 || took < 8*time.Second {
			t.Errorf("%d ran at once, in %v", most, took)
		}
		if took := many("by key", func(i int) any { return show(i % 2) }); most != 2 || took < 4*time.Second {
			t.Errorf("of two keys %d ran at once, in %v", most, took)
		}
		// The lease was given back.
		if ok, err := w.store.TakeWorkflowLock(w.ctx, "settings-token", "somebody", time.Hour); err != nil || !ok {
			t.Errorf("the lock stayed: %v", err)
		}
		// Somebody else has it: the caller waits with its own context.
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		out, err := w.eng.Run(ctx, Request{Name: "fixed"})
		if !errors.Is(err, context.DeadlineExceeded) && out.Status != run.Cancelled {
			t.Errorf("it ran: %+v %v", out, err)
		}
		w.settle(out.RunID)
		if r := w.get(out.RunID); r.Status != run.Cancelled || !strings.Contains(r.Fault.Message, "waited for the lock") {
			t.Errorf("the run is %s: %+v", r.Status, r.Fault)
		}
		// A lease that ran out is anybody's.
		begin := time.Now()
		w.finished("fixed", nil)
		if took := time.Since(begin); took < 59*time.Minute-10*time.Second || took > time.Hour+time.Minute {
			t.Errorf("it waited %v", took)
		}
	})
}

// A child needs no lock that its parent has.
func TestLockIsTheParents(t *testing.T) {
	inWorld(t, func(w *world) {
		lock := func(v *workflow.Version) { v.Lock = "token" }
		w.define("child", `a Mark`, lock)
		w.define("parent", `r RunWorkflow WorkflowDefinitionId=child Mode=Blocking`, lock)
		w.finished("parent", nil)
		w.ran("a")
		w.define("forgets", `r RunWorkflow WorkflowDefinitionId=child Mode=FireAndForget`, lock)
		w.finished("forgets", nil)
		w.ran("a")
	})
}

// A run that waits for something else has given its lock back.
func TestLockIsGivenBackWhileWaiting(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			m Wait Key=k
			z Mark
			a Done m
			m Done z`, func(v *workflow.Version) { v.Lock = "token" })
		one, two := w.run("flow", nil), w.run("flow", nil)
		w.is(run.Suspended, one)
		w.is(run.Suspended, two)
		w.is(run.Finished, w.resume(two.RunID, "k", nil))
		w.is(run.Finished, w.resume(one.RunID, "k", nil))
		w.ran("a a m z m z")
	})
}
