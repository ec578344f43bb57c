package engine

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func childOutput(s expr.Scope, name string) (output any, id string) {
	a, _ := s.Activity(name)
	o, ok := a.Outputs["Output"].(*model.Object)
	if !ok {
		return "no child", ""
	}
	output, _ = o.Get("workflowOutput")
	v, _ := o.Get("workflowInstanceId")
	id, _ = v.(string)
	return output, id
}

func TestChildren(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("input", func(s expr.Scope) any { return s.Input() })
		w.js("out", func(s expr.Scope) any { v, _ := childOutput(s, "r"); return v })
		w.define("token", `
			a Mark Output:JavaScript=input
			f Finish ActivityOutput:JavaScript=input OutcomeNames=["success"]
			a Done f`)
		w.define("caller", `
			r RunWorkflow WorkflowDefinitionId=token Mode=Blocking Input:JavaScript=input
			s SetVariable VariableName=access_token Value:JavaScript=out
			y Mark
			z Mark
			n Mark
			f Finish ActivityOutput:Variable=access_token
			r Done z
			r success s
			s Done y
			r 'Not Found' n
			z Done f`)
		out := w.finished("caller", "tok-1")
		w.ran("a y z") // the outcome's target runs before that of Done
		if out.Output != "tok-1" {
			t.Errorf("the token is %v", out.Output)
		}
		children, _ := w.journal.Children(w.ctx, out.RunID, 10)
		if len(children) != 1 {
			t.Fatalf("children: %v", children)
		}
		child := w.get(children[0])
		if child.Parent != out.RunID || child.ParentStep != 1 || child.Trigger != "workflow" {
			t.Errorf("the child is %+v", child)
		}
		if s := w.steps(out.RunID)[0]; s.Child != child.ID || show(s.Outcomes) != "[Done success]" {
			t.Errorf("the parent's step is %+v", s)
		}

		for name, flow := range map[string]string{
			"unknown": `r RunWorkflow WorkflowDefinitionId=nobody Mode=Blocking`,
			"blank":   `r RunWorkflow Mode=Blocking`,
			"itself":  `r RunWorkflow WorkflowDefinitionId=itself Mode=Blocking`,
			"its id":  `r RunWorkflow WorkflowDefinitionId='id-its id' Mode=Blocking`,
		} {
			w.define(name, flow+`
				n Mark
				r 'not found' n`)
			w.finished(name, nil)
			w.ran("n")
		}
		w.define("draft", `a Mark`, func(v *workflow.Version) { v.Published = false })
		w.define("of a draft", `
			r RunWorkflow WorkflowDefinitionId=draft Mode=Blocking
			n Mark
			r 'Not Found' n`)
		w.finished("of a draft", nil)
		w.ran("n")
	})
}

func TestChildModes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("waits", `
			a Mark
			m Wait Key=k
			b Mark
			a Done m
			m Done b`)
		w.define("fails", `
			a Mark
			f Fault
			a Done f`)
		for _, child := range []string{"waits", "fails"} {
			w.define("fire", `
				r RunWorkflow WorkflowDefinitionId=`+child+` Mode=FireAndForget
				z Mark
				r Done z`)
			w.finished("fire", nil)
			w.ran("a z")
		}
		w.define("dispatch", `
			r RunWorkflow WorkflowDefinitionId=waits
			z Mark
			r Done z`)
		out := w.finished("dispatch", nil)
		children, _ := w.journal.Children(w.ctx, out.RunID, 10)
		w.settle(children[0])
		if got := w.traced(); got != "z a" && got != "a z" {
			t.Errorf("ran %s", got)
		}
		w.is(run.Finished, w.resume(children[0], "k", nil))
	})
}

// A child that suspends suspends its parent, and its end resumes it, over
// restarts.
func TestChildSuspends(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("out", func(s expr.Scope) any { v, _ := childOutput(s, "r"); return v })
		w.define("child", `
			m0 Mark
			m Wait Key=k
			f Finish ActivityOutput=late OutcomeNames=["success"]
			m0 Done m
			m Done f`)
		w.define("middle", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
			f Finish ActivityOutput:JavaScript=out OutcomeNames=["ok"]
			r success f`)
		w.define("top", `
			r RunWorkflow WorkflowDefinitionId=middle Mode=Blocking
			z Mark
			f Finish ActivityOutput:JavaScript=out
			r ok z
			z Done f`)
		top := w.run("top", nil)
		w.is(run.Suspended, top)
		middle, _ := w.journal.Children(w.ctx, top.RunID, 1)
		child, _ := w.journal.Children(w.ctx, middle[0], 1)
		w.restart()
		w.is(run.Finished, w.resume(child[0], "k", nil))
		w.settle(middle[0])
		w.settle(top.RunID)
		w.ran("m0 m z")
		if r := w.get(top.RunID); r.Status != run.Finished || string(r.Output) != `"late"` {
			t.Errorf("the top run is %s with %s", r.Status, r.Output)
		}
		synctest.Wait()
		if w.instances() != 0 {
			t.Error("states stayed behind")
		}
	})
}

// A child that waits and fails later fails its parent; so does one that is
// cancelled.
func TestChildFailsLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("child", `
			a Mark
			m Wait Key=k
			f Fault Message='no luck'
			a Done m
			m Done f`)
		w.define("parent", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking
			z Mark
			r Done z`)
		for _, how := range []string{"faulted", "cancelled"} {
			out := w.run("parent", nil)
			w.is(run.Suspended, out)
			child, _ := w.journal.Children(w.ctx, out.RunID, 1)
			if how == "cancelled" {
				if err := w.eng.Cancel(w.ctx, child[0]); err != nil {
					t.Fatal(err)
				}
			} else {
				w.is(run.Faulted, w.resume(child[0], "k", nil))
			}
			w.settle(out.RunID)
			r := w.get(out.RunID)
			if r.Status != run.Faulted || !strings.Contains(r.Fault.Message, "Workflow "+child[0]) || !strings.Contains(r.Fault.Message, how) {
				t.Errorf("%s: the parent is %s: %+v", how, r.Status, r.Fault)
			}
			if how == "faulted" && (r.Fault.Cause == nil || r.Fault.Cause.Message != "no luck") {
				t.Errorf("the cause is %+v", r.Fault.Cause)
			}
		}
	})
}

// A child that faults while its parent waits faults it.
func TestChildFails(t *testing.T) {
	inWorld(t, func(w *world) {
		broken := true
		w.js("fragile", func(expr.Scope) any {
			if broken {
				return errTest
			}
			return "mended"
		})
		w.js("out", func(s expr.Scope) any { v, _ := childOutput(s, "r"); return v })
		w.define("child", `
			a Mark
			b Mark Output:JavaScript=fragile
			a Done b`)
		w.define("parent", `
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking RetryFailedActivities=true
			f Finish ActivityOutput:JavaScript=out
			r Done f`)
		out := w.run("parent", nil)
		w.is(run.Faulted, out)
		w.ran("a")
		broken = false
		again, err := w.eng.Retry(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, again)
		w.ran("b") // the child went on where it failed
		if again.Output != "mended" {
			t.Errorf("the output is %v", again.Output)
		}
		children, _ := w.journal.Children(w.ctx, out.RunID, 10)
		if len(children) != 1 {
			t.Errorf("there are %d children", len(children))
		}
	})
}

// The child ends while its parent is on the way to wait for it.
func TestChildEndsBeforeItsParentWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("child", `
			a Mark
			m Wait Key=k
			f Finish ActivityOutput=late
			a Done m
			m Done f`)
		w.define("parent", `
			r Hasty
			z Mark
			r Done z`)
		out := w.run("parent", nil)
		w.is(run.Suspended, out)
		w.settle(out.RunID)
		w.ran("a m z")
		if r := w.get(out.RunID); r.Status != run.Finished {
			t.Errorf("the parent is %s", r.Status)
		}
		synctest.Wait()
		if w.instances() != 0 {
			t.Error("states stayed behind")
		}
	})
}

// What a parent knows to be secret is masked in its child's journal from the
// first line on, and the other way round.
func TestSecretsOfRelatives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("input", func(s expr.Scope) any { return s.Input() })
		w.js("out", func(s expr.Scope) any { v, _ := childOutput(s, "r"); return v })
		w.define("child", `
			a WriteLine Text:JavaScript=input
			v SetVariable VariableName=own Value:Secret=childs-own-secret
			f Finish ActivityOutput:Variable=own
			a Done v
			v Done f`)
		w.define("parent", `
			v SetVariable VariableName=tok Value:Secret=parents-secret
			r RunWorkflow WorkflowDefinitionId=child Mode=Blocking Input:Variable=tok
			l WriteLine Text:JavaScript=out
			f Finish ActivityOutput:JavaScript=out
			v Done r
			r Done l
			l Done f`)
		out := w.finished("parent", nil)
		if out.Output != "childs-own-secret" {
			t.Errorf("the caller got %v", out.Output)
		}
		children, _ := w.journal.Children(w.ctx, out.RunID, 1)
		for _, id := range []run.ID{out.RunID, children[0]} {
			r := w.get(id)
			text := string(r.Input) + string(r.Output)
			for _, s := range w.steps(id) {
				text += s.Message + string(s.Inputs) + string(s.Data)
			}
			if strings.Contains(text, "parents-secret") || strings.Contains(text, "childs-own") {
				t.Errorf("the journal of %s shows a secret: %s", r.Name, text)
			}
		}
	})
}

func TestChildAnswersTheParentsCaller(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("child", `h Answer`)
		w.define("parent", `r RunWorkflow WorkflowDefinitionId=child Mode=Blocking`)
		x := &HTTPExchange{Request: &model.Request{Path: "/p"}}
		out, err := w.eng.Run(w.ctx, Request{Name: "parent", HTTP: x})
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, out)
		if a, ok := x.Answer(); !ok || string(a.Body) != "hello" {
			t.Errorf("the caller got %+v", a)
		}
		w.finished("parent", nil) // nobody to answer
	})
}

func TestRemoveRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("other", `a Mark`)
		w.define("waits", `
			a Mark
			m Wait Key=k
			a Done m`)
		w.define("cleans", `
			x RemoveWorkflowInstances WorkflowDefinitionName=All IncludeSuspended=true IncludeRunning=true
			y Mark
			x Success y`)
		w.define("parent", `r RunWorkflow WorkflowDefinitionId=cleans Mode=Blocking`)
		for range 3 {
			w.finished("other", nil)
			w.run("waits", nil)
		}
		w.traced()
		out := w.finished("parent", nil)
		w.ran("y")
		list, err := w.journal.List(w.ctx, run.Filter{}, "", 100)
		if err != nil || len(list) != 2 {
			t.Errorf("%d runs are left, %v; want the caller and its parent", len(list), err)
		}
		w.get(out.RunID)

		w.define("own", `
			x RemoveWorkflowInstances InstanceRetention=2
			x2 Mark`)
		for range 5 {
			w.finished("own", nil)
		}
		if list, _ := w.journal.List(w.ctx, run.Filter{Name: "own"}, "", 100); len(list) != 3 {
			t.Errorf("%d runs are left, want the caller and two", len(list))
		}
		if w.instances() != 0 {
			t.Error("states stayed behind")
		}
		if _, err := w.eng.RemoveRuns(w.ctx, activity.Removal{Workflow: "nobody"}); err != nil {
			t.Error(err)
		}
	})
}
