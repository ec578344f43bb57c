package engine

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

func eachStep(v *workflow.Version) { v.Definition.Persistence = workflow.PersistActivity }

// begun starts a workflow and returns its run when it stands still.
func (w *world) begun(name string, input any) run.ID {
	w.t.Helper()
	w.block = make(chan struct{})
	go w.eng.Run(w.ctx, Request{Name: name, Input: input})
	synctest.Wait()
	list, err := w.journal.List(w.ctx, run.Filter{Name: name}, "", 1)
	if err != nil || len(list) != 1 || list[0].Status != run.Running {
		w.t.Fatalf("%s does not run: %v %v", name, list, err)
	}
	return list[0].ID
}

// release lets Block activities through from now on.
func (w *world) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.block = make(chan struct{})
	close(w.block)
}

func TestF94_a_run_that_saves_each_step_goes_on(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark Output=1
			v SetVariable VariableName=x Value=kept
			b Block
			f Finish ActivityOutput:Variable=x
			a Done v
			v Done b
			b Done f`, eachStep)
		id := w.begun("flow", nil)
		w.ran("a b")
		w.release()
		w.kill()
		w.settle(id)
		w.ran("b") // and not a
		if r := w.get(id); r.Status != run.Finished || string(r.Output) != `"kept"` {
			t.Errorf("the run is %s with %s: %+v", r.Status, r.Output, r.Fault)
		}
	})
}

// What may have been sent is not sent again without a person's word.
func TestF94_what_acts_outside_waits_for_a_person(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			s Send
			f Finish ActivityOutput=sent
			a Done s
			s Done f`, eachStep)
		id := w.begun("flow", nil)
		w.ran("a s")
		w.release()
		w.kill()
		r := w.get(id)
		if r.Status != run.Faulted || !strings.Contains(r.Fault.Message, "interrupted") || r.Fault.Activity != "s" {
			t.Fatalf("the run is %s: %+v", r.Status, r.Fault)
		}
		w.ran("")
		out, err := w.eng.Retry(w.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, out)
		w.ran("s")
	})
}

// A run that lives in memory is faulted, and can be retried from its start if
// it was not over within a second.
func TestF94_a_run_in_memory_is_interrupted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("input", func(s expr.Scope) any { return s.Input() })
		w.define("flow", `
			a Mark Output:JavaScript=input
			b Block
			f Finish ActivityOutput:JavaScript=input
			a Done b
			b Done f`)
		young := w.begun("flow", "one")
		w.kill()
		r := w.get(young)
		if r.Status != run.Faulted || !strings.Contains(r.Fault.Message, "start it anew") {
			t.Errorf("the young run is %s: %+v", r.Status, r.Fault)
		}
		if _, err := w.eng.Retry(w.ctx, young); !errors.Is(err, ErrNoState) {
			t.Errorf("retry of the young run: %v", err)
		}
		w.traced()

		old := w.begun("flow", "two")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w.kill()
		r = w.get(old)
		if r.Status != run.Faulted || !strings.Contains(r.Fault.Message, "retry it") {
			t.Fatalf("the old run is %s: %+v", r.Status, r.Fault)
		}
		w.release()
		w.traced()
		out, err := w.eng.Retry(w.ctx, old)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, out)
		w.ran("a b")
		if out.Output != "two" {
			t.Errorf("the output is %v", out.Output)
		}
	})
}

// A run that was killed after it was resumed is retried from there.
func TestF94_a_resumed_run_is_interrupted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			a Mark
			m Wait Key=k
			b Block
			z Mark
			a Done m
			m Done b
			b Done z`)
		w.block = make(chan struct{})
		out := w.run("flow", nil)
		go w.eng.Resume(w.ctx, Resumption{RunID: out.RunID, Kind: "test", Key: "k", Input: "came"})
		synctest.Wait()
		w.ran("a m b")
		w.release()
		w.kill()
		if r := w.get(out.RunID); r.Status != run.Faulted {
			t.Fatalf("the run is %s", r.Status)
		}
		again, err := w.eng.Retry(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, again)
		w.ran("m b z")
		if again.Output != "came" {
			t.Errorf("the output is %v", again.Output)
		}
	})
}

// Dispatched runs begin after all, once.
func TestF94_dispatched_runs_begin_after_a_kill(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("input", func(s expr.Scope) any { return s.Input() })
		w.define("flow", `
			b Block
			a Mark
			b Done a`)
		w.block = make(chan struct{})
		w.eng.o.Limits.Background = 1
		var ids []run.ID
		for i := range 20 {
			id, err := w.eng.Dispatch(w.ctx, Request{Name: "flow", Input: show(i)})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		synctest.Wait()
		began := len(strings.Fields(w.traced()))
		if began == 0 || began == 20 {
			t.Fatalf("%d of 20 have begun", began)
		}
		w.release()
		w.kill()
		finished, interrupted := 0, 0
		for _, id := range ids {
			w.settle(id)
			switch r := w.get(id); r.Status {
			case run.Finished:
				finished++
			case run.Faulted:
				interrupted++
				if _, err := w.eng.Retry(w.ctx, id); err != nil {
					t.Errorf("retry: %v", err)
				}
			default:
				t.Errorf("the run is %s", r.Status)
			}
		}
		if interrupted != began || finished != 20-began {
			t.Errorf("%d finished and %d were interrupted, of which %d had begun", finished, interrupted, began)
		}
	})
}

// A parent learns of its child's end though the process died between the two.
func TestF94_a_parent_learns_after_a_kill(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("child", `
			a Mark
			m Wait Key=k
			b Block
			a Done m
			m Done b`, eachStep)
		w.define("parent", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
			z Mark
			r Done z`)
		w.block = make(chan struct{})
		out := w.run("parent", nil)
		w.is(run.Suspended, out)
		child, _ := w.journal.Children(w.ctx, out.RunID, 1)
		go w.eng.Resume(w.ctx, Resumption{RunID: child[0], Kind: "test", Key: "k"})
		synctest.Wait()
		w.ran("a m b")
		w.release()
		w.kill()
		w.settle(child[0])
		w.settle(out.RunID)
		if r := w.get(out.RunID); r.Status != run.Finished {
			t.Errorf("the parent is %s: %+v", r.Status, r.Fault)
		}
		synctest.Wait()
		if w.instances() != 0 {
			t.Error("states stayed behind")
		}
		w.ran("b z")
	})
}

// The end of a child is stored, and its parent told at the next start.
func TestF94_an_end_that_nobody_was_told(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("child", `
			a Mark
			m Wait Key=k
			f Finish ActivityOutput=late
			a Done m
			m Done f`)
		w.define("parent", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
			z Mark
			r Done z`)
		out := w.run("parent", nil)
		child, _ := w.journal.Children(w.ctx, out.RunID, 1)
		// As far as settle gets before it tells the parent.
		x, err := w.eng.resume(w.ctx, Resumption{RunID: child[0], Kind: "test", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		x.status = run.Finished
		if err := x.storeEnd(Outcome{RunID: x.id, Status: run.Finished, Outcomes: doneOnly, Output: "late"}); err != nil {
			t.Fatal(err)
		}
		w.eng.leave(x)
		x.stop(nil)
		w.kill()
		w.settle(out.RunID)
		if r := w.get(out.RunID); r.Status != run.Finished {
			t.Errorf("the parent is %s: %+v", r.Status, r.Fault)
		}
		if r := w.get(child[0]); r.Status != run.Finished || string(r.Output) != `"late"` {
			t.Errorf("the child is %s with %s", r.Status, r.Output)
		}
	})
}
