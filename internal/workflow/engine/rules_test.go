package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func TestInput(t *testing.T) {
	inWorld(t, func(w *world) {
		var got []string
		w.js("see", func(s expr.Scope) any { got = append(got, show(s.Input())); return nil })
		w.js("out", func(expr.Scope) any { return "from b" })
		w.define("flow", `
			a Mark Output:JavaScript=see
			v SetVariable VariableName=x Value:JavaScript=see
			b Mark Output:JavaScript=out
			c Mark Outcomes:JavaScript=see
			d WriteLine Text:JavaScript=see
			a Done v
			v Done b
			b Done c
			c Done d`)
		w.finished("flow", "given")
		// The input is the first activity's alone; later ones have the latest
		// Output, of which there was none before b.
		if want := "given,<nil>,from b,from b"; strings.Join(got, ",") != want {
			t.Errorf("input was %q, want %q", strings.Join(got, ","), want)
		}
	})
}

func TestFieldsAreEvaluatedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		n := map[string]int{}
		count := func(name string, v any) { w.js(name, func(expr.Scope) any { n[name]++; return v }) }
		count("first", "x")
		count("cond", true)
		count("items", []any{1, 2})
		count("while", false)
		w.define("flow", `
			a Mark Output:JavaScript=first
			if If Condition:JavaScript=cond
			l ForEach Items:JavaScript=items
			b Mark
			wh While Condition:JavaScript=while
			a Done if
			if True l
			l Iterate b
			if Done wh`)
		w.finished("flow", nil)
		for name, want := range map[string]int{"first": 1, "cond": 1, "items": 3, "while": 1} {
			if n[name] != want {
				t.Errorf("%s was evaluated %d times, want %d", name, n[name], want)
			}
		}
	})
}

func TestVariables(t *testing.T) {
	inWorld(t, func(w *world) {
		var seen []any
		w.js("read", func(s expr.Scope) any {
			for _, n := range []string{"file", "both", "mapped", "missing"} {
				v, _ := s.Variable(n)
				seen = append(seen, v)
			}
			tr, ok := s.TransientVariable("t")
			seen = append(seen, tr, ok)
			return nil
		})
		w.js("input.api", func(s expr.Scope) any { return s.Input().(map[string]any)["api"] })
		w.js("result", func(s expr.Scope) any { v, _ := s.Variable("CurrentValue"); return v })
		w.define("flow", `
			t SetTransientVariable VariableName=t Value=1
			a Mark Output:JavaScript=read
			t Done a`, func(v *workflow.Version) {
			v.Definition.Variables = map[string]any{"file": "F", "both": "F"}
			v.Attachments.Variables = map[string]any{"both": "A"}
			v.MapInput = map[string]string{"mapped": "input.api"}
		})
		w.finished("flow", map[string]any{"api": "/me"})
		if want := "[F A /me <nil> 1 true]"; show(seen) != want {
			t.Errorf("variables are %v, want %s", seen, want)
		}
		// SetVariable in a loop is seen outside of it; the loop's own is not.
		w.define("loop", `
			l ForEach Items=[1,2]
			s SetVariable VariableName=last Value:JavaScript=result
			f Finish ActivityOutput:Variable=last
			l Iterate s
			l Done f`)
		if out := w.finished("loop", nil); show(out.Output) != "2" {
			t.Errorf("the variable is %v", out.Output)
		}
	})
}

func TestFinish(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("explicit", `f Finish ActivityOutput:Json={"a":1} OutcomeNames=["success","again"]`)
		out := w.finished("explicit", nil)
		if show(out.Output) != "map[a:1]" || show(out.Outcomes) != "[success again]" {
			t.Errorf("finished with %v, %v", out.Output, out.Outcomes)
		}
		w.define("implicit", `
			c Correlate Value=progress
			m Mark
			c Done m`)
		out = w.finished("implicit", nil)
		if out.Output != "progress" || show(out.Outcomes) != "[Done]" {
			t.Errorf("without a Finish: %v, %v; want the last Output and Done", out.Output, out.Outcomes)
		}
		if r := w.get(out.RunID); r.CorrelationID != "progress" {
			t.Errorf("the correlation id is %q", r.CorrelationID)
		}
	})
}

func TestFaults(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("fails", func(expr.Scope) any { return errTest })
		w.js("bad", func(expr.Scope) any { return errors.New("t is null") })
		for _, c := range []struct{ name, flow, message, typ, property string }{
			{"fault", `f Fault Message='no such customer'`, "no such customer", "Fault", ""},
			{"expression", `a Mark
				b SetVariable VariableName=x Value:JavaScript=bad
				a Done b`, "setting SetVariable.Value failed: t is null", "SetVariable", "Value"},
			{"script", `s RunJavaScript Script=fails`, "it does not work", "RunJavaScript", ""},
			{"required", `s SetVariable Value=x`, "setting SetVariable.VariableName failed: it has no value", "SetVariable", "VariableName"},
			{"unknown", `p SendPigeon`, `"SendPigeon" is not known here`, "SendPigeon", ""},
			{"case", `p writeline`, `did the author mean "WriteLine"?`, "writeline", ""},
			{"panic", `p Panic`, "mistake of the program", "Panic", ""},
		} {
			w.define(c.name, c.flow)
			out := w.run(c.name, nil)
			w.is(run.Faulted, out)
			f := w.get(out.RunID).Fault
			if f == nil || !strings.Contains(f.Message, c.message) || f.Type != c.typ || f.Property != c.property {
				t.Errorf("%s: fault %+v, want %q in %s.%s", c.name, f, c.message, c.typ, c.property)
				continue
			}
			if c.property == "Value" && (f.Cause == nil || f.Cause.Message != "t is null") {
				t.Errorf("%s: the cause is %+v", c.name, f.Cause)
			}
			steps := w.steps(out.RunID)
			last := steps[len(steps)-1]
			if last.Event != "Faulted" || !strings.Contains(last.Error, c.message) {
				t.Errorf("%s: the last step is %+v", c.name, last)
			}
		}
		if w.eng.Live() != 0 {
			t.Errorf("%d runs are in memory", w.eng.Live())
		}
	})
}

// An unknown type harms nobody who does not reach it.
func TestUnknownTypeRunsUntilReached(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			if If Condition=false
			p SendPigeon
			a Mark
			if True p
			if False a`)
		w.finished("flow", nil)
		w.ran("a")
	})
}

func TestRetry(t *testing.T) {
	inWorld(t, func(w *world) {
		broken := true
		var inputs []string
		w.js("fragile", func(s expr.Scope) any {
			inputs = append(inputs, show(s.Input()))
			if broken {
				return errTest
			}
			v, _ := s.Variable("x")
			return v
		})
		w.define("flow", `
			a Mark Output=out-of-a
			v SetVariable VariableName=x Value=kept
			b Mark Output:JavaScript=fragile
			c Mark
			a Done v
			v Done b
			b Done c`)
		out := w.run("flow", "in")
		w.is(run.Faulted, out)
		w.ran("a")
		w.restart()
		if _, err := w.eng.Retry(w.ctx, "none"); !errors.Is(err, ErrNoState) {
			t.Errorf("retry of no run: %v", err)
		}
		again, err := w.eng.Retry(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Faulted, again)
		broken = false
		again, err = w.eng.Retry(w.ctx, out.RunID)
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, again)
		if again.Output != "kept" || show(inputs) != "[out-of-a out-of-a out-of-a]" {
			t.Errorf("output %v, inputs %v", again.Output, inputs)
		}
		w.ran("b c")
		if _, err := w.eng.Retry(w.ctx, out.RunID); !errors.Is(err, ErrNoState) {
			t.Errorf("retry of a finished run: %v", err)
		}
		if w.instances() != 0 {
			t.Error("a state stayed behind")
		}
	})
}

func TestCompensation(t *testing.T) {
	const flow = `
		c1 Compensable
		b1 Mark
		u1 Mark
		x1 Mark
		c2 Compensable
		b2 Mark
		u2 Mark
		x2 Mark
		boom Fault
		c1 Body b1
		c1 Compensate u1
		c1 Cancel x1
		c1 Done c2
		c2 Body b2
		c2 Compensate u2
		c2 Cancel x2
		`
	inWorld(t, func(w *world) {
		w.define("after", flow+"c2 Done boom")
		out := w.run("after", nil)
		w.is(run.Cancelled, out)
		w.ran("b1 b2 u2 u1") // the last one first
		if f := w.get(out.RunID).Fault; f == nil || f.Message != "Custom fault" {
			t.Errorf("the fault that was compensated is %+v", f)
		}

		w.define("within", flow+"b2 Done boom")
		w.is(run.Cancelled, w.run("within", nil))
		w.ran("b1 b2 x2 u1")

		w.define("confirmed", flow+`
			ok Confirm CompensableActivityName=c1
			c2 Done ok
			ok Done boom`)
		w.is(run.Cancelled, w.run("confirmed", nil))
		w.ran("b1 b2 u2")

		w.define("on purpose", flow+`
			undo Compensate CompensableActivityName=c1
			z Mark
			c2 Done undo
			undo Done z`)
		w.is(run.Finished, w.run("on purpose", nil))
		w.ran("b1 b2 z u1")

		w.define("beside", `
			s Mark
			c Compensable
			b Mark
			u Mark
			boom Fault
			s Done boom
			s Done c
			c Body b
			c Compensate u
			c Cancel u`)
		w.is(run.Faulted, w.run("beside", nil))
		w.ran("s b") // what failed does not come after it

		w.define("none", `
			a Mark
			boom Fault
			a Done boom`)
		w.is(run.Faulted, w.run("none", nil))
		w.traced()

		// What fails while it is undone is a fault.
		w.define("twice", `
			c Compensable
			b Mark
			boom Fault
			bang Fault Message=bang
			c Body b
			c Compensate bang
			c Done boom`)
		out = w.run("twice", nil)
		w.is(run.Faulted, out)
		if out.Fault.Message != "bang" {
			t.Errorf("fault %+v", out.Fault)
		}
	})
}

func TestFirstPass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			s Wait Key=start
			a Mark
			m Wait Key=middle
			b Mark
			s Done a
			a Done m
			m Done b`)
		out := w.run("flow", "in")
		w.is(run.Suspended, out)
		w.ran("s a")
		out = w.resume(out.RunID, "middle", "later")
		w.is(run.Finished, out)
		w.ran("m b")
		if out.Output != "later" {
			t.Errorf("the output is %v, want what came", out.Output)
		}
	})
}

func TestStartActivity(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("dual", `
			one Wait
			two Wait
			a Mark
			one Done a
			two Done a`)
		out, err := w.eng.Run(w.ctx, Request{Name: "dual", Activity: "two"})
		if err != nil {
			t.Fatal(err)
		}
		w.is(run.Finished, out)
		w.ran("two a")
		if _, err := w.eng.Run(w.ctx, Request{Name: "dual", Activity: "three"}); !errors.Is(err, ErrNoActivity) {
			t.Errorf("a start at no activity: %v", err)
		}
		if _, err := w.eng.Run(w.ctx, Request{Name: "none"}); err == nil {
			t.Error("no workflow ran")
		}
	})
}

func TestScripts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("value", func(s expr.Scope) any { s.SetVariable("set", s.Input()); return int64(42) })
		w.js("left", func(expr.Scope) any { return []string{"left"} })
		w.define("flow", `
			s RunJavaScript Script=value
			l RunJavaScript Script:JavaScript=left
			a Mark
			b Mark
			f Finish ActivityOutput:Variable=set
			s Done l
			l Done a
			l left b
			b Done f`)
		out := w.finished("flow", "in")
		w.ran("b")
		if out.Output != "in" {
			t.Errorf("the variable is %v", out.Output)
		}
	})
}

func TestComposite(t *testing.T) {
	inWorld(t, func(w *world) {
		d := &workflow.Definition{Name: "flow", Activities: []workflow.Activity{
			newActivity([]string{"s", "Mark"}),
			{ID: "c", Type: "Parcel", Name: "c", Activities: []workflow.Activity{
				newActivity([]string{"i1", "Mark"}), newActivity([]string{"i2", "Mark"}), newActivity([]string{"if", "Finish", `OutcomeNames=["sent"]`}), newActivity([]string{"i3", "Mark"}),
			}, Edges: []workflow.Edge{{Source: "i1", Target: "i3"}, {Source: "i1", Target: "i2"}, {Source: "i2", Target: "if"}}},
			newActivity([]string{"z", "Mark"}), newActivity([]string{"y", "Mark"}),
		}, Edges: []workflow.Edge{{Source: "s", Target: "c"}, {Source: "c", Target: "z", Outcome: "sent"}, {Source: "c", Target: "y"}}}
		w.put("flow", d)
		w.finished("flow", nil)
		w.ran("s i1 i2 z")
	})
}

func TestState(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			s State StateName=open Transitions=["close","drop"]
			c SignalReceived Signal=Close
			d SignalReceived Signal=drop
			e State StateName=closed Transitions=[]
			a Mark
			s close c
			s drop d
			c Done e
			e Done a
			d Done a`)
		out := w.run("flow", nil)
		w.is(run.Suspended, out)
		if len(out.Waiting) != 2 {
			t.Fatalf("it waits for %+v", out.Waiting)
		}
		started, resumed, err := w.eng.Signal(w.ctx, activity.Signal{Name: "close"})
		if err != nil || started != 0 || resumed != 1 {
			t.Fatalf("signal: %d %d %v", started, resumed, err)
		}
		w.settle(out.RunID)
		if r := w.get(out.RunID); r.Status != run.Finished {
			t.Errorf("the run is %s", r.Status)
		}
	})
}

func TestLimits(t *testing.T) {
	limits := func(l Limits) func(*world) { return func(w *world) { w.limits = l } }
	is := func(t *testing.T, w *world, out Outcome, text string) {
		t.Helper()
		w.is(run.Faulted, out)
		if !strings.Contains(out.Fault.Message, text) {
			t.Errorf("the fault is %q, want %q", out.Fault.Message, text)
		}
	}
	t.Run("steps", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.define("loop", `
				a Mark
				b Mark
				a Done b
				b Done a`)
			is(t, w, w.run("loop", nil), "executed 50 activities, which is the limit")
			w.define("while", `
				a While Condition=true
				b WriteLine
				a Iterate b`)
			is(t, w, w.run("while", nil), "executed 50 activities")
		}, limits(Limits{Steps: 50}))
	})
	t.Run("time", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.block = make(chan struct{})
			w.define("slow", `a Block`)
			is(t, w, w.run("slow", nil), "running for 1m0s, which is the limit")
		}, limits(Limits{Time: time.Minute}))
	})
	t.Run("depth", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.define("ping", `r RunWorkflow WorkflowDefinitionId=pong Mode=Blocking`)
			w.define("pong", `r RunWorkflow WorkflowDefinitionId=ping Mode=Blocking`)
			out := w.run("ping", nil)
			w.is(run.Faulted, out)
			text := ""
			for f := out.Fault; f != nil; f = f.Cause {
				text += f.Message + "\n"
			}
			if !strings.Contains(text, "5 levels deep") {
				t.Errorf("the fault is %s", text)
			}
		}, limits(Limits{Depth: 5}))
	})
	t.Run("size", func(t *testing.T) {
		inWorld(t, func(w *world) {
			n := 0
			w.js("grow", func(s expr.Scope) any { n++; s.SetVariable(show(n), strings.Repeat("x", 1000)); return nil })
			w.define("outputs", `
				a While Condition=true
				b Mark Output:JavaScript=grow
				a Iterate b`)
			is(t, w, w.run("outputs", nil), "more than 10000 bytes")
			if n > 12 {
				t.Errorf("it went on to %d", n)
			}
			// The same name again replaces what it held.
			w.js("again", func(s expr.Scope) any { s.SetVariable("x", strings.Repeat("x", 1000)); return nil })
			w.define("same", `
				l For End=100
				b Mark Output:JavaScript=again
				l Iterate b`)
			w.finished("same", nil)
		}, limits(Limits{Bytes: 10_000}))
	})
}

func TestJournal(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("cap", `
			a Correlate Value='starting to get access token'
			if If Condition=true
			b WriteLine Text=yes
			v SetVariable VariableName=password Value=hunter22
			x SetVariable VariableName=tok Value:Secret=s3cr3t-t0ken
			c WriteLine Text:Variable=tok
			f Finish ActivityOutput=out OutcomeNames=["success"]
			a Done if
			if True b
			b Done v
			v Done x
			x Done c
			c Done f`)
		out := w.finished("cap", map[string]any{"q": 1})
		r := w.get(out.RunID)
		if r.CorrelationID != "starting to get access token" || string(r.Output) != `"out"` || show(r.Outcomes) != "[success]" || r.Trigger != "api" {
			t.Errorf("the run is %+v", r)
		}
		type line struct{ typ, outcomes, message string }
		var got []line
		for _, s := range w.steps(out.RunID) {
			got = append(got, line{s.Type, strings.Join(s.Outcomes, ","), s.Message})
			if strings.Contains(string(s.Inputs)+string(s.Data)+s.Message, "s3cr3t") {
				t.Errorf("the step shows the secret: %s %s %s", s.Inputs, s.Data, s.Message)
			}
			if s.At.IsZero() {
				t.Errorf("%s has no time", s.Type)
			}
		}
		want := []line{{"Correlate", "Done", "starting to get access token"}, {"If", "True", ""}, {"WriteLine", "Done", "yes"}, {"SetVariable", "Done", ""},
			{"SetVariable", "Done", ""}, {"WriteLine", "Done", "[secret]"}, {"Finish", "success", ""}}
		if show(got) != show(want) {
			t.Errorf("steps %v\nwant  %v", got, want)
		}
	})
}

func TestModelObjectsSurvive(t *testing.T) {
	inWorld(t, func(w *world) {
		w.js("seen", func(s expr.Scope) any {
			v, _ := s.Variable("req")
			o, ok := v.(*model.Object)
			if !ok {
				return "it is a " + strings.TrimPrefix(strings.TrimPrefix(typeName(v), "*"), "model.")
			}
			path, _ := o.Get("path")
			when, _ := s.Variable("when")
			_, isTime := when.(time.Time)
			return show(path) + show(isTime)
		})
		w.js("input", func(s expr.Scope) any { return s.Input() })
		w.js("now", func(expr.Scope) any { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) })
		w.define("flow", `
			v SetVariable VariableName=req Value:JavaScript=input
			n SetVariable VariableName=when Value:JavaScript=now
			m Wait Key=k
			f Finish ActivityOutput:JavaScript=seen
			v Done n
			n Done m
			m Done f`)
		out := w.run("flow", (&model.Request{Path: "/x"}).Object())
		w.restart()
		if out = w.resume(out.RunID, "k", nil); out.Output != "/xtrue" {
			t.Errorf("after a restart: %v %+v", out.Output, out.Fault)
		}
	})
}
