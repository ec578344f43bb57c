package refresh

import (
	"context"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// clients holds the registrations that are in trouble: a wrong secret is one
// fault, not a thousand, and one connection finds out when it is cured.
type clients struct {
	mu sync.RWMutex
	m  map[string]*store.Client
}

func (cs *clients) load(rows []store.Client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.m = map[string]*store.Client{}
	for _, r := range rows {
		cs.m[r.Key] = &r
	}
}

// merge takes over the rows of all processes. A wait that this one has begun
// for its probe is kept.
func (cs *clients) merge(rows []store.Client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	m := make(map[string]*store.Client, len(rows))
	for _, r := range rows {
		if old := cs.m[r.Key]; old != nil && old.NotBefore.After(r.NotBefore) {
			r.NotBefore = old.NotBefore
		}
		m[r.Key] = &r
	}
	cs.m = m
}

func (cs *clients) len() int {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return len(cs.m)
}

func (cs *clients) get(key string) (store.Client, bool) {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	if c := cs.m[key]; c != nil {
		return *c, true
	}
	return store.Client{}, false
}

// gate reports why no connection of v's registration may send now. When the
// wait of a misconfigured one is over, the first caller gets through as the
// probe and the others wait on.
func (cs *clients) gate(v *view, now time.Time) error {
	key := v.def.ClientKey()
	cs.mu.RLock()
	c := cs.m[key]
	cs.mu.RUnlock()
	if c == nil {
		return nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c = cs.m[key]; c == nil {
		return nil
	}
	if wait := c.NotBefore.Sub(now); wait > 0 {
		state := c.State
		if state == freshet.StateOK {
			state = freshet.StateAttention
		}
		return &freshet.StateError{Name: v.def.Connection.Name, State: state, Reason: c.Reason, Detail: c.Error, RetryAfter: wait}
	}
	if c.State == freshet.StateMisconfigured {
		c.NotBefore = now.Add(misconfiguredRetry)
	}
	return nil
}

func (cs *clients) wait(v *view, now time.Time) time.Duration {
	if c, ok := cs.get(v.def.ClientKey()); ok {
		return c.NotBefore.Sub(now)
	}
	return 0
}

// trouble records a registration's trouble and returns the events of it: one
// for each time it begins.
func (cs *clients) trouble(s *Source, v *view, t clientTrouble, now time.Time) []Event {
	key := v.def.ClientKey()
	row := store.Client{Key: key, State: t.state, Reason: t.reason, Error: t.detail, NotBefore: t.notBefore, Since: now}
	cs.mu.Lock()
	old := cs.m[key]
	begins := t.state == freshet.StateMisconfigured && (old == nil || old.State != freshet.StateMisconfigured)
	if old != nil && old.State == freshet.StateMisconfigured {
		row.State, row.Since = old.State, old.Since
	}
	cs.m[key] = &row
	cs.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err := s.o.Store.PutClient(ctx, row); err != nil {
		s.log.Warn("client's state not recorded", "client", key, "error", err)
	}
	if !begins {
		return nil
	}
	e := v.event(EventMisconfigured, now)
	e.State, e.Reason, e.Detail = t.state, t.reason, t.detail
	return []Event{e}
}

// good forgets a registration's trouble after one of its connections got a
// token.
func (cs *clients) good(s *Source, v *view, now time.Time) {
	key := v.def.ClientKey()
	c, ok := cs.get(key)
	if !ok || !cs.clear(key) {
		return
	}
	var events []Event
	if c.State == freshet.StateMisconfigured {
		e := v.event(EventClientOK, now)
		e.State = freshet.StateOK
		events = append(events, e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err := s.o.Store.ClearClient(ctx, key, rows(events)...); err != nil {
		s.log.Warn("client's state not cleared", "client", key, "error", err)
	}
	s.tell(events...)
	s.nudge()
}

// clear forgets in memory and reports whether there was something to forget.
func (cs *clients) clear(key string) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	_, ok := cs.m[key]
	delete(cs.m, key)
	return ok
}
