package endpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Bookmarks are what runs wait for; *store.Store keeps them.
type Bookmarks interface {
	Bookmarks(ctx context.Context, kind, key, after string, limit int) ([]store.Bookmark, error)
	BookmarksOf(ctx context.Context, run string) ([]store.Bookmark, error)
}

// Engine runs workflows with an engine.
type Engine struct {
	Engine    *engine.Engine
	Journal   *run.Journal
	Bookmarks Bookmarks
}

var _ Runner = Engine{}

func (g Engine) request(s Start) engine.Request {
	return engine.Request{Version: s.Version, Activity: s.Activity, Input: s.Input, CorrelationID: s.CorrelationID, Trigger: "http", Secrets: s.Secrets, HTTP: s.HTTP}
}

// Run starts a run.
func (g Engine) Run(ctx context.Context, s Start) (End, error) {
	out, err := g.Engine.Run(ctx, g.request(s))
	return end(out), mapped(err)
}

// Dispatch leaves a run to the background.
func (g Engine) Dispatch(ctx context.Context, s Start) (string, error) {
	id, err := g.Engine.Dispatch(ctx, g.request(s))
	return id, mapped(err)
}

// Resume goes on with a run that waits.
func (g Engine) Resume(ctx context.Context, w Wait, input *model.Object, x *activity.HTTPExchange) (End, error) {
	out, err := g.Engine.Resume(ctx, engine.Resumption{RunID: w.RunID, Bookmark: w.ID, Input: input, HTTP: x})
	return end(out), mapped(err)
}

// Waiting lists runs that wait. A correlation id is any that the run has had, as
// authors overwrite it with lines of progress; the one it has now goes first.
func (g Engine) Waiting(ctx context.Context, key, correlation string, limit int) ([]Wait, error) {
	if correlation == "" {
		list, err := g.Bookmarks.Bookmarks(ctx, activity.WaitHTTP, key, "", limit)
		if err != nil {
			return nil, fmt.Errorf("runs that wait for %s: %w", key, err)
		}
		var out []Wait
		for _, b := range list {
			out = append(out, Wait{ID: b.ID, RunID: b.Run})
		}
		return out, nil
	}
	// Few runs have one correlation id; those that many have are for people.
	runs, err := g.Journal.List(ctx, run.Filter{Correlation: correlation, Status: run.Suspended}, "", 100)
	if err != nil {
		return nil, fmt.Errorf("runs with the correlation id: %w", err)
	}
	var now, before []Wait
	for _, r := range runs {
		list, err := g.Bookmarks.BookmarksOf(ctx, r.ID)
		if err != nil {
			return nil, fmt.Errorf("what run %s waits for: %w", r.ID, err)
		}
		for _, b := range list {
			if b.Kind != activity.WaitHTTP || b.Key != key {
				continue
			}
			if r.CorrelationID == correlation {
				now = append(now, Wait{ID: b.ID, RunID: r.ID})
			} else {
				before = append(before, Wait{ID: b.ID, RunID: r.ID})
			}
		}
	}
	if len(now) == 0 {
		now = before
	}
	return now[:min(len(now), limit)], nil
}

func end(o engine.Outcome) End {
	e := End{RunID: o.RunID, Status: string(o.Status), Outcomes: o.Outcomes, Output: o.Output}
	if o.Fault != nil {
		e.Fault = o.Fault.Message
	}
	return e
}

// mapped turns an engine's errors into those that answers depend on.
func mapped(err error) error {
	for is, as := range map[error]error{engine.ErrSingleton: ErrSingleton, engine.ErrNotWaiting: ErrNotWaiting, engine.ErrBusy: ErrNotWaiting, engine.ErrNoState: ErrNotWaiting, engine.ErrClosed: ErrClosed, freshet.ErrNotFound: ErrGone} {
		if errors.Is(err, is) {
			return fmt.Errorf("%w: %w", as, err)
		}
	}
	return err
}
