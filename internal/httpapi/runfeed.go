package httpapi

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/freshet-dev/freshet/internal/run"
)

// A runFeed hands what happens to runs of this process on to streams. It is not
// kept: a stream that is too slow misses some, and is told so.
type runFeed struct {
	mu   sync.RWMutex
	subs map[*runSub]struct{}
}

type runSub struct {
	c chan run.Event

	mu     sync.Mutex
	missed int
}

// feedRoom is how many events a stream may be behind.
const feedRoom = 1024

func (f *runFeed) join() *runSub {
	s := &runSub{c: make(chan run.Event, feedRoom)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[*runSub]struct{}{}
	}
	f.subs[s] = struct{}{}
	return s
}

func (f *runFeed) leave(s *runSub) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, s)
}

func (f *runFeed) tell(e run.Event) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for s := range f.subs {
		select {
		case s.c <- e:
		default:
			s.mu.Lock()
			s.missed++
			s.mu.Unlock()
		}
	}
}

// events writes e and what has come since; all of them, or those that the
// store's events do not tell of.
func (s *runSub) events(b *strings.Builder, e run.Event, all bool) {
	for {
		if all || e.Type != run.EventFaulted {
			writeJSON(b, "", e.Type, runEventOf(e))
		}
		select {
		case e = <-s.c:
			continue
		default:
		}
		break
	}
	s.mu.Lock()
	missed := s.missed
	s.missed = 0
	s.mu.Unlock()
	if missed > 0 {
		writeJSON(b, "", "missed", map[string]int{"runs": missed})
	}
}

// runEventOf is e in the form that all events have. It has no number: streams
// cannot begin after it.
func runEventOf(e run.Event) event {
	d := map[string]any{"run": e.Run, "kind": e.Kind, "name": e.Name, "status": e.Status}
	if e.Parent != "" {
		d["parent"] = e.Parent
	}
	if e.Message != "" {
		d["message"] = e.Message
	}
	return event{At: e.At.UTC(), Type: e.Type, Detail: d}
}

// ObserveRun tells of what happened to a run; run.Options.Observe may call it.
// It does not block.
func (a *API) ObserveRun(e run.Event) {
	a.runs.tell(e)
	if e.Type == run.EventFaulted {
		a.hub.nudge() // it is among the store's events, too
	}
}

// orRuns answers a request for a stream of the list with what happens to runs.
func (a *API) orRuns(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if !wantsStream(r) {
		next(ctx)
		return
	}
	c := callOf(ctx.Context())
	sub := a.runs.join()
	defer a.runs.leave(sub)
	rc := streaming(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if !send(w, rc, "retry: 2000\n\n") {
		return
	}
	for {
		select {
		case e := <-sub.c:
			var b strings.Builder
			sub.events(&b, e, true)
			if !send(w, rc, b.String()) {
				return
			}
		case <-beat.C:
			if !send(w, rc, ": still here\n\n") {
				return
			}
		case <-c.caller.Revoked():
			send(w, rc, keyGone)
			return
		case <-a.closing:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// streaming begins an answer of server-sent events.
func streaming(w http.ResponseWriter) *http.ResponseController {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	return http.NewResponseController(w)
}
