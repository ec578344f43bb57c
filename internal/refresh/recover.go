package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

const (
	trimEvery  = time.Hour
	keepOrphan = 24 * time.Hour
	keepEvent  = 90 * 24 * time.Hour
	batch      = 256
)

// replay commits what an earlier process could only spill. It runs before the
// sweep, so that an attempt whose answer is here is not taken for lost.
func (s *Source) replay(ctx context.Context) error {
	if s.spill.torn > 0 {
		s.log.Warn("the spill file ends in a torn record, which is left out", "bytes", s.spill.torn)
	}
	for _, r := range s.spill.Records() {
		done, err := s.deliver(ctx, r)
		if err != nil {
			return fmt.Errorf("connection %s: %w", r.Connection, err)
		}
		if done {
			if err := s.spill.Done(r.Commit.Attempt); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver commits a spilled answer. One that the row has moved past becomes an
// orphan; one whose connection is gone is let go.
func (s *Source) deliver(ctx context.Context, r record) (done bool, err error) {
	err = s.o.Store.Commit(ctx, r.Commit)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, store.ErrStale) {
		return s.applied(r.Commit), err
	}
	row, err := s.o.Store.Token(ctx, r.Commit.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case row.Gen == r.Commit.Gen+1 && string(row.Sealed) == string(r.Commit.Sealed):
		return true, nil
	case row.Gen == r.Commit.Gen && row.Attempt == "":
		// A sweep closed the attempt before its answer turned up.
		r.Commit.Attempt = ""
		if err := s.o.Store.Commit(ctx, r.Commit); err == nil {
			return true, nil
		} else if !errors.Is(err, store.ErrStale) {
			return false, err
		}
	}
	err = s.o.Store.KeepOrphan(ctx, store.Orphan{ID: r.Commit.Attempt, Connection: r.Commit.ID, Gen: r.Commit.Gen + 1, Sealed: r.Commit.Sealed,
		Reason: "a newer token was stored before this spilled one"},
		Event{Type: EventOrphaned, Connection: r.Connection, Generation: r.Commit.Gen + 1, Detail: "a spilled answer came after a newer token"}.row())
	return err == nil, err
}

// sweep marks open attempts that nobody is working on: those of a lapsed
// lease, and those of mine, whose process is known to be dead.
func (s *Source) sweep(ctx context.Context, mine string) error {
	for {
		open, err := s.o.Store.OpenAttempts(ctx, mine, batch)
		if err != nil || len(open) == 0 {
			return err
		}
		for _, row := range open {
			if err := s.abandon(ctx, row); err != nil && !errors.Is(err, store.ErrStale) {
				return fmt.Errorf("connection %s: %w", row.Name, err)
			}
		}
		if len(open) < batch {
			return nil
		}
	}
}

// abandon closes an open attempt whose process is gone. If it may have spent
// the refresh token, the connection is uncertain and the same token is sent
// again at once: many providers accept it for a while.
func (s *Source) abandon(ctx context.Context, row store.Token) error {
	now := s.o.Now()
	f := store.Failure{ID: row.ID, Attempt: row.Attempt, Gen: row.Gen, State: row.State, Reason: row.Reason, Error: row.Error,
		Failures: row.Failures, LostAt: row.LostAt, NotBefore: row.NotBefore, NextAt: now, Definition: row.Definition}
	def, err := s.o.Definitions.Definition(ctx, row.Name)
	if err == nil {
		tok, _ := s.open(row)
		v := newView(def, row, tok, 0)
		if tok != nil && !tok.Refresh.IsZero() || row.Gen == 0 && !v.seed().IsZero() {
			if f.LostAt.IsZero() {
				f.LostAt = row.AttemptAt
			}
			f.State, f.Reason = freshet.StateUncertain, "interrupted"
			f.NotBefore = holdBack(v, now)
			f.NextAt = later(now, f.NotBefore)
		} else if row.Gen == 0 {
			f.NextAt = time.Time{} // the next reader asks anew
		}
		e := v.event(EventUncertain, now)
		e.State, e.Reason = f.State, f.Reason
		e.Detail = "a process ended in the middle of a refresh; the same token is tried again"
		f.Events = rows([]Event{e})
		defer s.tell(e)
	} else if !errors.Is(err, freshet.ErrNotFound) {
		return err
	}
	if err := s.o.Store.Fail(ctx, f); err != nil {
		return err
	}
	if c, ok := s.conns.Load(row.Name); ok {
		c.(*Conn).invalidate()
	}
	s.nudge()
	return nil
}

// sweepLoop looks for attempts that other processes left, and trims what is
// kept for a time only.
func (s *Source) sweepLoop() {
	defer s.loops.Done()
	t := time.NewTicker(s.o.Sweep)
	defer t.Stop()
	var trimmed time.Time
	clocks := clocks{at: s.o.Now(), slept: s.o.Asleep()}
	for {
		select {
		case <-t.C:
		case <-s.life.Done():
			return
		}
		if err := clocks.look(s.life, s); err != nil && s.life.Err() == nil {
			s.log.Warn("plan anew after the clock was set", "error", err)
		}
		if err := s.sweep(s.life, ""); err != nil && s.life.Err() == nil {
			s.log.Warn("sweep", "error", err)
		}
		if err := s.revocations(s.life); err != nil && s.life.Err() == nil {
			s.log.Warn("revocations", "error", err)
		}
		now := s.o.Now()
		if now.Sub(trimmed) < trimEvery {
			continue
		}
		trimmed = now
		if err := errors.Join(s.o.Store.TrimOrphans(s.life, now.Add(-keepOrphan)), s.o.Store.TrimEvents(s.life, now.Add(-keepEvent))); err != nil && s.life.Err() == nil {
			s.log.Warn("trim", "error", err)
		}
		if err := s.warnLapsing(s.life, now); err != nil && s.life.Err() == nil {
			s.log.Warn("look for refresh tokens that end soon", "error", err)
		}
	}
}
