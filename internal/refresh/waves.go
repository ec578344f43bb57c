package refresh

import (
	"context"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

const (
	// A wave of permanent refusals is more likely an incident at the provider,
	// or a restored backup, than so many people who changed their minds.
	waveWindow = 10 * time.Minute
	waveLeast  = 10
	waveShare  = 5 // one in five of the provider's connections

	// A provider that fails this often in a row is left alone by the
	// background for a while.
	breakerTrips = 5
	breakerRest  = 30 * time.Second
)

// waves watches providers as wholes.
type waves struct {
	mu sync.Mutex
	m  map[string]*wave
}

type wave struct {
	refused map[freshet.ConnectionID]time.Time // permanently, within the window
	storm   bool                               // an incident, until a refresh of the provider succeeds
	until   time.Time                          // nothing is tried in the storm before
	failing int                                // retryable failures in a row
	rest    time.Time                          // the background stays away until
}

func (ws *waves) at(provider string) *wave {
	if ws.m == nil {
		ws.m = map[string]*wave{}
	}
	w := ws.m[provider]
	if w == nil {
		w = &wave{refused: map[freshet.ConnectionID]time.Time{}}
		ws.m[provider] = w
	}
	return w
}

// incident counts a permanent refusal and reports whether it is one of a wave:
// more than a fifth and at least ten of a provider's connections within ten
// minutes. Members of a wave are not given up.
func (ws *waves) incident(s *Source, v *view, now time.Time) bool {
	ws.mu.Lock()
	w := ws.at(v.def.Provider.Name)
	for id, t := range w.refused {
		if now.Sub(t) > waveWindow {
			delete(w.refused, id)
		}
	}
	w.refused[v.row.ID] = now
	n := len(w.refused)
	if w.storm {
		w.until = now.Add(waveWindow)
		ws.mu.Unlock()
		return true
	}
	ws.mu.Unlock()
	if n < waveLeast {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	all, err := s.o.Store.CountProvider(ctx, v.def.Provider.Name)
	if err != nil || int64(n)*waveShare <= all {
		return false
	}
	ws.mu.Lock()
	w.storm, w.until = true, now.Add(waveWindow)
	ws.mu.Unlock()
	e := v.event(EventIncident, now)
	e.Detail = "many connections of this provider are refused at once; background refresh of the provider rests"
	s.record(e)
	return true
}

// heard notes how an exchange with a provider went.
func (ws *waves) heard(provider string, err *grant.Error, now time.Time) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.at(provider)
	if err == nil {
		w.storm, w.until = false, time.Time{}
	}
	if err == nil || err.Class != grant.Retryable || err.RetryAfter > 0 {
		w.failing = 0
		return
	}
	if w.failing++; w.failing >= breakerTrips {
		w.rest = now.Add(breakerRest)
	}
}

// resting returns until when the background leaves a provider alone. After a
// rest one connection at a time tries: the next failure begins another rest.
func (ws *waves) resting(provider string, now time.Time) (until time.Time, probing bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.m[provider]
	if w == nil {
		return time.Time{}, false
	}
	if now.Before(w.until) {
		return w.until, false
	}
	if now.Before(w.rest) {
		return w.rest, false
	}
	return time.Time{}, w.storm || w.failing >= breakerTrips
}
