package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

const signalReceived = "SignalReceived"

// signalIndex knows which published workflows start with a signal. It is made
// anew when the list of published versions is another one.
type signalIndex struct {
	mu   sync.Mutex
	of   []*workflow.Version
	keys map[string][]Trigger
}

// Signal sends a signal: workflows that start with it start in the background,
// and runs that wait for it go on in the background. It returns how many of
// both there are.
func (e *Engine) Signal(ctx context.Context, s activity.Signal) (started, resumed int, err error) {
	key := activity.SignalKey(s.Name)
	if s.RunID == "" {
		starts, err := e.startsOf(ctx, key)
		if err != nil {
			return 0, 0, err
		}
		for _, t := range starts {
			_, err := e.dispatch(ctx, t.Version, Request{Activity: t.Activity.ID, Input: s.Input, CorrelationID: s.CorrelationID, Trigger: "signal:" + s.Name}, nil)
			if err != nil && !errors.Is(err, ErrSingleton) {
				return started, 0, fmt.Errorf("signal %s: %w", s.Name, err)
			} else if err == nil {
				started++
			}
		}
	}
	for after := ""; ; {
		waiting, err := e.o.Store.Bookmarks(ctx, activity.WaitSignal, key, after, 200)
		if err != nil {
			return started, resumed, fmt.Errorf("signal %s: %w", s.Name, err)
		}
		for _, b := range waiting {
			after = b.ID
			if s.RunID != "" && s.RunID != b.Run || s.CorrelationID != "" && !e.correlates(ctx, b.Run, s.CorrelationID) {
				continue
			}
			e.resumeLater(Resumption{RunID: b.Run, Bookmark: b.ID, Kind: b.Kind, Key: b.Key, Input: s.Input}, nil)
			resumed++
		}
		if len(waiting) < 200 {
			return started, resumed, nil
		}
	}
}

func (e *Engine) correlates(ctx context.Context, id run.ID, correlation string) bool {
	r, err := e.o.Journal.Get(ctx, id)
	return err == nil && r.CorrelationID == correlation
}

// send sends what a run left to be sent at the end of its burst.
func (e *Engine) send(s activity.Signal, from run.ID) {
	ctx, cancel := context.WithTimeout(e.base, storeTime)
	defer cancel()
	if _, _, err := e.Signal(ctx, s); err != nil {
		e.o.Log.Error("a signal is not sent", "signal", s.Name, "run", from, "error", err)
	}
}

func (e *Engine) startsOf(ctx context.Context, key string) ([]Trigger, error) {
	list, err := e.o.Library.AllPublished(ctx)
	if err != nil {
		return nil, fmt.Errorf("list workflows: %w", err)
	}
	x := &e.signals
	x.mu.Lock()
	defer x.mu.Unlock()
	same := len(list) == len(x.of) && x.keys != nil
	for i := 0; same && i < len(list); i++ {
		same = list[i] == x.of[i]
	}
	if !same {
		x.of, x.keys = list, map[string][]Trigger{}
		for _, v := range list {
			triggers, _ := e.Triggers(ctx, v)
			for _, t := range triggers {
				if t.Activity.Type == signalReceived {
					k := activity.SignalKey(text(t.In["Signal"]))
					x.keys[k] = append(x.keys[k], t)
				}
			}
		}
	}
	return x.keys[key], nil
}

// A Trigger is an activity that starts runs of a published workflow, with its
// fields as they are without a run: default variables are all there is.
type Trigger struct {
	Version  *workflow.Version
	Activity *workflow.Activity
	Spec     *activity.Spec
	In       map[string]any
}

// Triggers lists the triggers among the start activities of a version. A field
// that cannot be evaluated is an error of its trigger, which is left out.
func (e *Engine) Triggers(ctx context.Context, v *workflow.Version) (triggers []Trigger, errs []error) {
	p := e.program(v)
	for _, n := range p.starts {
		if n.spec == nil || !n.spec.Trigger {
			continue
		}
		x := e.newExec(ctx, p, "", newState(p))
		x.n = n
		in, err := x.evaluate(ctx, n)
		x.stop(nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("workflow %q, activity %q: %w", v.Name, strings.TrimSpace(n.a.Label()), err))
			continue
		}
		triggers = append(triggers, Trigger{v, n.a, n.spec, in})
	}
	return triggers, errs
}
