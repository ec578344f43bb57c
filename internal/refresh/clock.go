package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// clockSlack is what the machine's clocks may differ by without a word.
const clockSlack = 5 * time.Second

// clocks notices what happens to the machine's clocks between two looks.
//
//	set ahead   rows come due too early; due() asks the token's own clock first
//	set back    rows would come due too late: those in memory are planned anew
//	asleep      the monotonic clock stood still while tokens grew old: from now
//	            on those in memory count by the wall clock
//
// A token that was read from the database has no monotonic reading, and counts
// by the wall clock from the start.
type clocks struct {
	at    time.Time     // of the last look, by both clocks
	slept time.Duration // until then, since the machine started
}

// look compares the clocks with the last look's and repairs what is wrong.
func (k *clocks) look(ctx context.Context, s *Source) error {
	now, slept := s.o.Now(), s.o.Asleep()
	last, before := k.at, k.slept
	k.at, k.slept = now, slept
	switch set := now.Round(0).Sub(last.Round(0)) - now.Sub(last) - (slept - before); {
	case slept-time.Duration(s.slept.Load()) > clockSlack: // since the tokens were last told: naps add up
		s.log.Info("the machine was asleep", "for", slept-time.Duration(s.slept.Load()))
		s.awake()
		s.slept.Store(int64(slept))
	case set < -clockSlack:
		s.log.Warn("the machine's clock was set back", "by", -set)
		return s.planAnew(ctx, now)
	}
	return nil
}

// awake makes the tokens in memory count by the wall clock.
func (s *Source) awake() {
	s.conns.Range(func(_, c any) bool {
		c.(*Conn).forgetMonotonic()
		return true
	})
	s.nudge()
}

func (c *Conn) forgetMonotonic() {
	for {
		old := c.view.Load()
		if old == nil || old.tok == nil {
			return
		}
		t := *old.tok
		t.IssuedAt, t.Expiry = t.IssuedAt.Round(0), t.Expiry.Round(0)
		v := newView(old.def, old.row, &t, old.seen)
		v.reload, v.broken = old.reload, old.broken
		if v.reload {
			v.until = time.Time{}
		}
		if c.view.CompareAndSwap(old, v) {
			return
		}
	}
}

// planAnew brings forward the rows whose plan lies too far ahead by a clock
// that was set back, as far as this process knows better.
func (s *Source) planAnew(ctx context.Context, now time.Time) error {
	var errs []error
	s.conns.Range(func(_, value any) bool {
		v := value.(*Conn).view.Load()
		if v == nil {
			return true
		}
		wait, ok := remaining(v, now)
		if !ok || !v.row.NextAt.After(now.Round(0).Add(wait+clockSlack)) {
			return true
		}
		if err := s.o.Store.Reschedule(ctx, v.row.ID, v.row.Gen, now.Round(0).Add(max(wait, 0))); err != nil && !errors.Is(err, store.ErrStale) {
			errs = append(errs, err)
		}
		return ctx.Err() == nil
	})
	s.nudge()
	return errors.Join(errs...)
}

// remaining returns how long a token that this process obtained itself has to
// wait for its planned refresh, by the monotonic clock. ok is false if it
// cannot be told.
func remaining(v *view, now time.Time) (wait time.Duration, ok bool) {
	if v.tok == nil || v.row.State != freshet.StateOK || v.row.NextAt.IsZero() || v.tok.IssuedAt.Round(0) == v.tok.IssuedAt {
		return 0, false
	}
	planned := v.row.NextAt.Sub(v.tok.IssuedAt.Round(0)) // by the wall, as it was then
	if planned <= 0 {
		return 0, false
	}
	return planned - now.Sub(v.tok.IssuedAt), true
}
