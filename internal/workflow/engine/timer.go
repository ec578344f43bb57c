package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// longest is how long the engine sleeps at most while runs wait for instants:
// another process may have stored one.
const longest = time.Minute

// nudge has the poller look again: there may be an earlier timer.
func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// poll resumes runs whose instants have come. Runs that wait are rows; this is
// the one goroutine for all of them.
func (e *Engine) poll() {
	for {
		wait := longest
		next, err := e.Due(e.base)
		switch {
		case e.base.Err() != nil:
			return
		case err != nil:
			e.o.Log.Error("timers of workflows are not looked at", "error", err)
			wait = 5 * time.Second
		case !next.IsZero():
			wait = min(wait, max(next.Sub(e.o.Now()), 10*time.Millisecond))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-e.wake:
		case <-e.base.Done():
		}
		t.Stop()
	}
}

// Due resumes the runs whose timers are due and returns when the next one is,
// zero if there is none. Each timer resumes once, however many processes look.
// It returns when all that was due is under way.
func (e *Engine) Due(ctx context.Context) (next time.Time, err error) {
	const batch = 200
	now := e.o.Now()
	// A run that cannot be resumed must not hide the others, nor be tried
	// without a pause.
	skip := e.troubled.after(now)
	due, err := e.o.Store.DueBookmarks(ctx, now, batch+len(skip))
	if err != nil {
		return time.Time{}, err
	}
	claimed, waiting := make(chan struct{}, len(due)), 0
	for _, b := range due {
		if skip[b.ID] {
			continue
		}
		if e.background(func(ctx context.Context) {
			x, err := e.resume(ctx, Resumption{RunID: b.Run, Bookmark: b.ID, Kind: b.Kind})
			switch {
			case err == nil, errors.Is(err, ErrNotWaiting):
			case errors.Is(err, ErrBusy):
				e.troubled.until(b.ID, now.Add(time.Second))
			default:
				e.troubled.until(b.ID, now.Add(longest))
				e.o.Log.Error("a timer does not resume its run", "run", b.Run, "error", err)
			}
			claimed <- struct{}{}
			if err == nil {
				x.burst(ctx)
			}
		}) {
			waiting++
		}
	}
	for range waiting {
		select {
		case <-claimed:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-e.base.Done(): // background work is dropped then
			return time.Time{}, ErrClosed
		}
	}
	next, err = e.o.Store.NextBookmark(ctx)
	if soonest := e.o.Now().Add(time.Second); len(e.troubled.after(now)) > 0 && !next.IsZero() && next.Before(soonest) {
		next = soonest
	}
	return next, err
}

// troubles are bookmarks that could not be resumed, and until when they rest.
type troubles struct {
	mu   sync.Mutex
	rest map[string]time.Time
}

func (t *troubles) until(id string, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rest == nil {
		t.rest = map[string]time.Time{}
	}
	t.rest[id] = when
}

// after returns those that rest at an instant.
func (t *troubles) after(now time.Time) map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]bool{}
	for id, when := range t.rest {
		if when.After(now) {
			out[id] = true
		} else {
			delete(t.rest, id)
		}
	}
	return out
}
