package refresh

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

const (
	// lookAtLeast is between looks while rows wait for their provider's cap.
	lookAtLeast = time.Second
	// perProvider bounds the background where a provider states no quota.
	perProvider = 4
	// overdue is when a process refreshes what another one should have.
	overdue = 10 * time.Second
)

// scheduleLoop looks for rows that are due and refreshes them, a few at once
// per provider. Between looks it sleeps until the next row is due. Readers
// never wait for it: they start their own attempts.
func (s *Source) scheduleLoop() {
	defer s.loops.Done()
	b := &background{s: s, busy: map[freshet.ConnectionID]bool{}, provider: map[string]int{}}
	defer b.wg.Wait()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.wake:
		case <-s.life.Done():
			return
		}
		wait := s.o.Poll
		if !s.closing.Load() && s.paused.Load() == nil {
			s.nextLook.Store(math.MaxInt64) // whatever is planned meanwhile wants another look
			next, err := b.look(s.life)
			if err != nil && s.life.Err() == nil {
				s.log.Warn("look for due refreshes", "error", err)
				wait = lookAtLeast
			}
			if !next.IsZero() {
				wait = min(max(next.Sub(s.o.Now().Round(0)), lookAtLeast), s.o.Poll)
			}
		}
		s.nextLook.Store(s.o.Now().Add(wait).UnixMilli())
		t.Reset(wait)
	}
}

// plan tells the scheduler of a row that is due at an instant.
func (s *Source) plan(at time.Time) {
	if !at.IsZero() && at.UnixMilli() < s.nextLook.Load() {
		s.nudge()
	}
}

// background is the work that nobody waits for.
type background struct {
	s        *Source
	wg       sync.WaitGroup
	mu       sync.Mutex
	busy     map[freshet.ConnectionID]bool
	provider map[string]int
}

// look starts what is due as far as the caps allow, and returns when the next
// row is due.
func (b *background) look(ctx context.Context) (next time.Time, err error) {
	s := b.s
	// Rows that wait for their provider's cap stay at the head of the list;
	// reading past them keeps one slow provider from hiding the others.
	due, err := s.o.Store.Due(ctx, batch+s.o.Background*4)
	if err != nil {
		return next, err
	}
	now := s.o.Now()
	for _, d := range due {
		if !b.admit(d, now) {
			continue
		}
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			err := s.due(ctx, d)
			if err != nil {
				s.log.Debug("background refresh", "connection", d.Name, "error", err)
			}
			b.leave(d, err)
		}()
	}
	return s.o.Store.NextDue(ctx)
}

func (b *background) admit(d store.Due, now time.Time) bool {
	s := b.s
	if s.o.Mine != nil && !s.o.Mine(d.ID) && now.Sub(d.NextAt) < overdue {
		return false
	}
	until, probing := s.waves.resting(d.Provider, now)
	if !until.IsZero() {
		return false
	}
	if c, ok := s.clients.get(d.Client); ok && now.Before(c.NotBefore) {
		return false
	}
	most := perProvider
	if c, ok := s.conns.Load(d.Name); ok {
		if v := c.(*Conn).view.Load(); v != nil && v.def.Provider.Quota.Concurrency > 0 {
			most = v.def.Provider.Quota.Concurrency
		}
	}
	if probing {
		most = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[d.ID] || len(b.busy) >= s.o.Background || b.provider[d.Provider] >= most {
		return false
	}
	b.busy[d.ID] = true
	b.provider[d.Provider]++
	return true
}

// leave gives a place back. After an error the row may be due still: it waits
// for the next look rather than being tried as fast as it fails.
func (b *background) leave(d store.Due, err error) {
	b.mu.Lock()
	delete(b.busy, d.ID)
	if b.provider[d.Provider]--; b.provider[d.Provider] == 0 {
		delete(b.provider, d.Provider)
	}
	b.mu.Unlock()
	if err == nil {
		b.s.nudge() // a place is free
	}
}

// due refreshes one connection whose row says that it is time.
func (s *Source) due(ctx context.Context, d store.Due) error {
	c := s.conn(d.Name)
	v, err := c.load(ctx)
	if err != nil {
		return err
	}
	now := s.o.Now()
	if next, ok := s.early(v, now); ok {
		// The wall clock says due, the token's own clock says not yet: the
		// machine's time was changed. Believe the token.
		return c.putOff(ctx, v, now.Round(0).Add(next))
	}
	if _, ok := remaining(v, now); !ok && v.row.NextAt.After(now) {
		// The look is older than the refresh that it has led to.
		c.invalidate()
		return nil
	}
	_, err = c.join(ctx, v, CauseSchedule)
	if err == nil {
		return nil
	}
	if fresh := c.view.Load(); fresh != nil && !fresh.row.NextAt.After(now) && fresh.row.Gen == v.row.Gen {
		// Nothing was sent: a gate is closed, and the row would be due for ever.
		wait := slowRetry
		if c.mustWait(fresh, now) > 0 {
			wait = c.mustWait(fresh, now)
		}
		next := now.Add(spread(wait, s.o.Jitter()))
		if reason, _ := cannot(fresh); reason != "" || fresh.row.State == freshet.StateReauth {
			next = time.Time{}
		}
		if rerr := c.putOff(ctx, fresh, next); rerr != nil {
			return rerr
		}
		c.invalidate()
	}
	return err
}

// putOff moves a row that is due and cannot be refreshed now.
func (c *Conn) putOff(ctx context.Context, v *view, next time.Time) error {
	err := c.s.o.Store.Reschedule(ctx, v.row.ID, v.row.Gen, next)
	if !errors.Is(err, store.ErrStale) {
		return err
	}
	row, rerr := c.s.o.Store.Token(ctx, v.row.ID)
	if rerr != nil || c.ahead(row) == nil {
		return err
	}
	return c.s.o.Store.Reschedule(ctx, row.ID, row.Gen, next)
}

func (c *Conn) mustWait(v *view, now time.Time) time.Duration {
	return max(v.row.NotBefore.Sub(now), c.s.clients.wait(v, now))
}

// early reports whether a token that this process obtained itself is too young
// for a background refresh, by the monotonic clock, and how long to wait.
func (s *Source) early(v *view, now time.Time) (time.Duration, bool) {
	if s.o.Asleep()-time.Duration(s.slept.Load()) > clockSlack {
		// The machine slept and the sweep has not told the tokens yet: for now
		// their own clocks know less than the wall's.
		return 0, false
	}
	wait, ok := remaining(v, now)
	return wait, ok && wait > clockSlack
}
