package engine

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// What runs in which order. The order of edges is that of the file.
func TestOrder(t *testing.T) {
	for _, c := range []struct{ name, flow, want string }{
		{"one after the other", `
			a Mark
			b Mark
			c Mark
			a Done b
			b Done c`, "a b c"},
		{"of two targets the last runs first, to its end", `
			a Mark
			b Mark
			c Mark
			d Mark
			e Mark
			a Done b
			a Done c
			b Done d
			c Done e`, "a c e b d"},
		{"outcomes are pushed in their order", `
			a Mark Outcomes=["x","y"]
			b Mark
			c Mark
			a y b
			a x c`, "a b c"},
		{"a target of two outcomes runs once", `
			a Mark Outcomes=["x","y"]
			b Mark
			a x b
			a y b`, "a b"},
		{"names of outcomes compare without case, and no name is Done", `
			a Mark
			b Mark
			c Mark Outcomes=["Success"]
			d Mark
			a DONE b
			b done c
			c success d`, "a b c d"},
		{"an outcome without an edge ends the branch", `
			a Mark Outcomes=["other"]
			b Mark
			a Done b`, "a"},
		{"only the first of several starts", `
			a Mark
			b Mark
			c Mark
			b Done c`, "a"},
		{"a circle starts at the first of the file", `
			a Mark Outcomes:JavaScript=twice
			b Mark
			a Done b
			b Done a`, "a b a b a"},
		{"an edge to nowhere is none", `
			a Mark
			a Done ghost
			b Mark
			a Done b`, "a b"},
		{"If takes its branch and then Done", `
			if If Condition=true
			yes Mark
			more Mark
			no Mark
			after Mark
			if True yes
			yes Done more
			if False no
			if Done after`, "yes more after"},
		{"If without a branch to take still is done", `
			if If Condition=false
			yes Mark
			after Mark
			if True yes
			if Done after`, "after"},
		{"nested Ifs unwind from the inside out", `
			a If Condition=true
			b If Condition=true
			in Mark
			bd Mark
			ad Mark
			a True b
			b True in
			b Done bd
			a Done ad`, "in bd ad"},
		{"Done of an If waits for an empty stack", `
			s Mark
			if If Condition=true
			yes Mark
			after Mark
			sibling Mark
			s Done sibling
			s Done if
			if True yes
			if Done after`, "s yes sibling after"},
		{"Switch takes the first case", `
			sw Switch Cases=[{"name":"a","syntax":"no"},{"name":"b","syntax":"yes"},{"name":"c","syntax":"yes"}]
			x Mark
			y Mark
			z Mark
			sw b x
			sw c y
			sw Done z`, "x z"},
		{"or each", `
			sw Switch Mode=MatchAny Cases=[{"name":"a","syntax":"no"},{"name":"b","syntax":"yes"},{"name":"c","syntax":"yes"}]
			x Mark
			y Mark
			z Mark
			sw b x
			sw c y
			sw Done z`, "y x z"},
		{"or Default", `
			sw Switch Cases=[{"name":"a","syntax":"no"}]
			x Mark
			d Mark
			sw a x
			sw Default d`, "d"},
		{"Fork runs its first branch first", `
			f Fork Branches=["one","two"]
			a Mark
			a2 Mark
			b Mark
			f one a
			a Done a2
			f two b`, "a a2 b"},
		{"ForEach", `
			f ForEach Items=[1,2,3]
			a Mark
			b Mark
			z Mark
			f Iterate a
			a Done b
			f Done z`, "a b a b a b z"},
		{"a loop in a loop begins anew", `
			f ForEach Items=[1,2]
			g For End=2
			a Mark
			z Mark
			y Mark
			f Iterate g
			g Iterate a
			g Done y
			f Done z`, "a a y a a y z"},
		{"a branch beside a loop does not end it", `
			s Mark
			f ForEach Items=[1,2]
			a Mark
			b Mark
			z Mark
			s Done b
			s Done f
			f Iterate a
			f Done z`, "s a b a z"},
		{"a loop that is led back to by an edge takes its next turn", `
			f ForEach Items=[1,2,3]
			a Mark
			z Mark
			f Iterate a
			a Done f
			f Done z`, "a a a z"},
		{"ParallelForEach schedules all, then Done", `
			f ParallelForEach Items=[1,2]
			a Mark
			b Mark
			z Mark
			f Iterate a
			a Done b
			f Done z`, "a b a b z"},
		{"Break lets the turn end", `
			f ForEach Items=[1,2,3]
			a Mark
			x Break
			b Mark
			z Mark
			f Iterate a
			a Done x
			x Done b
			f Done z`, "a b z"},
		{"Break within an If of a loop stops the innermost loop only", `
			f ForEach Items=[1,2]
			g ForEach Items=[1,2]
			if If Condition=true
			x Break
			a Mark
			y Mark
			z Mark
			f Iterate g
			g Iterate if
			if True x
			x Done a
			g Done y
			f Done z`, "a y a y z"},
		{"Break outside of a loop goes on", `
			x Break
			a Mark
			x Done a`, "a"},
		{"While", `
			l While Condition:JavaScript=three
			a Mark
			z Mark
			l Iterate a
			l Done z`, "a a a z"},
		{"Finish clears what is left", `
			s Mark
			a Mark
			f Finish
			b Mark
			s Done b
			s Done a
			a Done f`, "s a"},
		{"Finish within a branch does not unwind", `
			if If Condition=true
			a Mark
			f Finish
			z Mark
			if True a
			a Done f
			if Done z`, "a"},
		{"Join waits for all", `
			f Fork Branches=["one","two"]
			a Mark
			b Mark
			j Join
			z Mark
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a b z"},
		{"Join of any goes on once", `
			f Fork Branches=["one","two","three"]
			a Mark
			b Mark
			c Mark
			j Join Mode=WaitAny
			z Mark
			f one a
			f two b
			f three c
			a Done j
			b Done j
			c Done j
			j Done z`, "a z b c"},
		{"Join counts a source whatever outcome it took", `
			f Fork Branches=["one","two"]
			a Mark Outcomes=["other"]
			b Mark
			j Join
			z Mark
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a b z"},
		{"a Join that nobody comes back to stays", `
			f Fork Branches=["one","two"]
			a Mark
			b Mark Outcomes=["other"]
			j Join
			z Mark
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a b"},
		{"unless it is eager", `
			f Fork Branches=["one","two"]
			a Mark
			b Mark Outcomes=["other"]
			j Join EagerJoin=true
			z Mark
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a b z"},
		{"a Join in a loop counts each turn anew", `
			l ForEach Items=[1,2]
			f Fork Branches=["one","two"]
			a Mark
			b Mark
			j Join
			z Mark
			l Iterate f
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a b z a b z"},
		{"a Join of any in a loop goes on once a turn", `
			l ForEach Items=[1,2]
			f Fork Branches=["one","two"]
			a Mark
			b Mark
			j Join Mode=WaitAny
			z Mark
			l Iterate f
			f one a
			f two b
			a Done j
			b Done j
			j Done z`, "a z b a z b"},
		{"For counts down", `
			l For Start=3 End=1 Step=-1 Operator=GreaterThanOrEqual
			a Mark
			l Iterate a`, "a a a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n := 0
				w.js("three", func(expr.Scope) any { n++; return n <= 3 })
				w.js("twice", func(expr.Scope) any {
					if n++; n <= 2 {
						return []any{"Done"}
					}
					return []any{"end"}
				})
				w.define("flow", c.flow)
				out := w.run("flow", nil)
				w.is(run.Finished, out)
				w.ran(c.want)
				if w.instances() != 0 {
					t.Error("a run that finished left a state behind")
				}
			})
		})
	}
}

// What expressions see while loops run.
func TestLoopValues(t *testing.T) {
	inWorld(t, func(w *world) {
		var got []string
		see := func(s expr.Scope) any {
			v, _ := s.Variable("CurrentValue")
			i, _ := s.Variable("CurrentIndex")
			got = append(got, strings.Join([]string{show(s.Input()), show(v), show(i), show(s.Variables()["CurrentValue"])}, ","))
			return nil
		}
		w.js("see", see)
		w.js("after", func(s expr.Scope) any {
			_, ok := s.Variable("CurrentValue")
			got = append(got, "after "+show(ok)+" "+show(s.Input()))
			return nil
		})
		w.define("flow", `
			f ForEach Items=["x","y"]
			a Mark Output:JavaScript=see
			g For End=1
			b Mark Output:JavaScript=see
			c Mark Output:JavaScript=see
			z Mark Output:JavaScript=after
			f Iterate a
			a Done g
			g Iterate b
			g Done c
			f Done z`)
		w.finished("flow", nil)
		w.define("parallel", `
			p ParallelForEach Items=["x","y"]
			a Mark Output:JavaScript=see
			p Iterate a`)
		w.finished("parallel", nil)
		want := []string{"x,x,0,x", "0,0,0,0", "0,x,0,x", "y,y,1,y", "0,0,0,0", "0,y,1,y", "after false 0", "x,<nil>,<nil>,<nil>", "y,<nil>,<nil>,<nil>"}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("saw  %q\nwant %q", got, want)
		}
	})
}
