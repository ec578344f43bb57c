package engine

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
)

var kinds = []struct {
	typ      string
	props    [][]string
	outcomes []string
}{
	{"Mark", [][]string{nil, {`Outcomes=["Done","x"]`}, {`Outcomes=["x"]`}, {"Output=o"}}, []string{"Done", "x"}},
	{"If", [][]string{{"Condition=true"}, {"Condition=false"}}, []string{"True", "False", "Done"}},
	{"Fork", [][]string{{`Branches=["x","y"]`}}, []string{"x", "y"}},
	{"Join", [][]string{nil, {"Mode=WaitAny"}, {"EagerJoin=true"}}, []string{"Done"}},
	{"ForEach", [][]string{{"Items=[1,2,3]"}}, []string{"Iterate", "Done"}},
	{"ParallelForEach", [][]string{{"Items=[1,2]"}}, []string{"Iterate", "Done"}},
	{"While", [][]string{{"Condition=true"}, {"Condition=false"}}, []string{"Iterate", "Done"}},
	{"Break", [][]string{nil}, []string{"Done"}},
	{"Wait", [][]string{{"Key=k"}}, []string{"Done"}},
	{"Compensable", [][]string{nil}, []string{"Body", "Compensate", "Cancel", "Done"}},
	{"State", [][]string{{`Transitions=["x","y"]`}}, []string{"x", "y"}},
	{"Fault", [][]string{nil}, nil},
	{"Finish", [][]string{nil}, nil},
	{"Pigeon", [][]string{nil}, []string{"Done"}},
	{"SetVariable", [][]string{{"VariableName=v", "Value=1"}}, []string{"Done"}},
}

// Whatever people draw comes to rest: it ends, or it waits. It does the same
// when each activity is stored.
func TestAnyGraphComesToRest(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	w := newWorld(t, dir)
	w.limits = Limits{Steps: 150, Time: time.Minute}
	w.open()
	defer w.close()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		d := &workflow.Definition{Name: fmt.Sprint("g", n)}
		size := rapid.IntRange(1, 9).Draw(r, "size")
		for i := range size {
			k := kinds[rapid.IntRange(0, len(kinds)-1).Draw(r, "kind")]
			props := k.props[rapid.IntRange(0, len(k.props)-1).Draw(r, "props")]
			d.Activities = append(d.Activities, newActivity(append([]string{fmt.Sprint("a", i), k.typ}, props...)))
			for _, o := range k.outcomes {
				for range rapid.IntRange(0, 2).Draw(r, "edges") {
					d.Edges = append(d.Edges, workflow.Edge{Source: fmt.Sprint("a", i), Outcome: o, Target: fmt.Sprint("a", rapid.IntRange(0, size-1).Draw(r, "to"))})
				}
			}
		}
		play := func(p workflow.Persistence) (trace string, out Outcome) {
			w.traced()
			w.put(d.Name, d, func(v *workflow.Version) { v.Definition.Persistence = p })
			out = w.run(d.Name, nil)
			for i := 0; out.Status == run.Suspended && i < 20; i++ {
				if len(out.Waiting) == 0 {
					r.Fatal("a run waits for nothing")
				}
				var err error
				if out, err = w.eng.Resume(w.ctx, Resumption{RunID: out.RunID, Bookmark: out.Waiting[0].ID}); err != nil {
					r.Fatal(err)
				}
			}
			if out.Status == run.Running || out.Status == run.Idle {
				r.Fatalf("it is %s", out.Status)
			}
			if got := w.get(out.RunID); got.Status != out.Status {
				r.Fatalf("the journal says %s, not %s", got.Status, out.Status)
			}
			return w.traced(), out
		}
		one, first := play(workflow.PersistBurst)
		other, second := play(workflow.PersistActivity)
		if one != other || first.Status != second.Status {
			r.Fatalf("in memory %s, %s; stored %s, %s", first.Status, one, second.Status, other)
		}
		if w.eng.Live() != 0 {
			r.Fatalf("%d runs are in memory", w.eng.Live())
		}
	})
}

// A state that was stored and read goes on as if it had not been.
func TestStateRoundTrip(t *testing.T) {
	inWorld(t, func(w *world) {
		w.define("flow", `
			f Fork Branches=["one","two"]
			l ForEach Items=["a",1,{"x":null}]
			c Compensable
			m Wait Key=1
			m2 Wait Key=2
			j Join
			f one l
			f two m2
			l Iterate c
			c Body m
			m Done j
			m2 Done j`, func(v *workflow.Version) {
			v.Definition.Variables = map[string]any{"when": time.Unix(0, 0).UTC(), "b": []byte{1}}
		})
		out := w.run("flow", map[string]any{"deep": []any{1.5, int64(2)}})
		x, err := w.eng.load(w.ctx, out.RunID, "suspended")
		if err != nil {
			t.Fatal(err)
		}
		once, err := x.st.encode(x.p)
		if err != nil {
			t.Fatal(err)
		}
		st, err := decodeState(x.p, once)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := st.encode(x.p)
		if err != nil {
			t.Fatal(err)
		}
		if string(once) != string(twice) {
			t.Errorf("stored %s\nthen   %s", once, twice)
		}
		if len(st.Waits) != 2 || len(st.Scopes) != 2 || len(st.Undo) != 1 {
			t.Errorf("it holds %d waits, %d scopes and %d compensables", len(st.Waits), len(st.Scopes), len(st.Undo))
		}
	})
}
