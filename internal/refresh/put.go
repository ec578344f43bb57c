package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// quiet is how long the background leaves a connection alone after a person
// brought its token.
const quiet = 2 * time.Second

// A DuplicateError says that another connection holds the same refresh token:
// the two would rotate each other to death.
type DuplicateError struct{ Name, Other string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("connection %s: connection %s holds the same refresh token already, and two would invalidate each other's; use that one", e.Name, e.Other)
}

// A SubjectError says that a token belongs to another account than the one
// that the connection had.
type SubjectError struct{ Name, Had, Got string }

func (e *SubjectError) Error() string {
	return fmt.Sprintf("connection %s: this is the account %q, the connection had %q; confirm the change to accept it", e.Name, e.Got, e.Had)
}

// Import stores a token set that was obtained elsewhere. It sends nothing, and
// wins over an attempt under way. Errors are *DuplicateError and, unless other
// accounts are allowed, *SubjectError.
func (s *Source) Import(ctx context.Context, name string, t freshet.Token, otherAccount bool) error {
	return s.put(ctx, name, t, EventImported, otherAccount, false)
}

// Update stores a token set that somebody who uses the connection obtained for
// it, such as an action of a component that refreshes by itself. Unless replace
// is set, what it does not repeat is kept, above all the refresh token: the
// stored one of the moment, whoever wrote it. It is durable when Update returns,
// and what is stored then is returned. Errors are those of Import.
func (s *Source) Update(ctx context.Context, name string, t freshet.Token, replace bool) (*freshet.Token, error) {
	if err := s.put(ctx, name, t, EventImported, false, !replace); err != nil {
		return nil, err
	}
	c, err := s.Connection(ctx, name)
	if err != nil {
		return nil, err
	}
	return c.Stored(ctx)
}

// Obtain asks for a token with what an authorization brought, a code or a
// device code, and stores it. The code is sent at most once, and only when the
// store has just taken a write.
func (s *Source) Obtain(ctx context.Context, name string, a grant.Ask, otherAccount bool) (grant.Outcome, error) {
	if s.closing.Load() {
		return grant.Outcome{}, &freshet.StateError{Name: name, State: freshet.StateAttention, Reason: "shutting_down", Detail: "this server is stopping"}
	}
	def, err := s.o.Definitions.Definition(ctx, name)
	if err != nil {
		return grant.Outcome{}, fmt.Errorf("connection %s: %w", name, err)
	}
	if err := s.o.Store.Writable(ctx); err != nil {
		return grant.Outcome{}, fmt.Errorf("connection %s: the store takes no writes, so the code was not sent: %w", name, err)
	}
	s.flying.Add(1)
	defer s.flying.Done()
	// Whoever asked may leave now: a code is spent when it is sent.
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Deadline)
	defer cancel()
	out := s.o.Asker.Ask(sctx, def, a)
	if out.Token == nil {
		return out, nil
	}
	return out, s.put(context.WithoutCancel(ctx), name, *out.Token, EventConnected, otherAccount, false)
}

func (s *Source) put(ctx context.Context, name string, t freshet.Token, typ string, otherAccount, merge bool) error {
	ctx, cancel := context.WithTimeout(ctx, dbWait)
	defer cancel()
	c := s.conn(name)
	for range 5 {
		c.invalidate()
		v, err := c.load(ctx)
		if err != nil {
			return err
		}
		if old := v.tok; old != nil && old.Subject != "" && t.Subject != "" && old.Subject != t.Subject && !otherAccount {
			return &SubjectError{Name: name, Had: old.Subject, Got: t.Subject}
		}
		next := t
		if merge {
			inherit(&next, v)
		}
		next.Generation = v.row.Gen + 1
		if !next.Refresh.IsZero() && next.RefreshIssued.IsZero() {
			next.RefreshIssued = next.IssuedAt
		}
		commit, view, err := c.prepare(v, &next, "")
		if err != nil {
			return err
		}
		if commit.Digest != nil {
			other, err := s.o.Store.SameRefreshToken(ctx, v.def.Provider.Name, commit.Digest, v.row.ID)
			if err != nil {
				return fmt.Errorf("connection %s: %w", name, err)
			}
			if other != "" {
				return &DuplicateError{Name: name, Other: other}
			}
		}
		now := s.o.Now()
		if !commit.NextAt.IsZero() {
			commit.NextAt = later(commit.NextAt, now.Add(quiet))
			view.row.NextAt = commit.NextAt
		}
		e := v.event(typ, now)
		e.State, e.Generation, e.ExpiresAt = freshet.StateOK, next.Generation, next.Expiry
		events := []Event{e}
		if v.row.State != freshet.StateOK && v.row.Gen > 0 {
			r := v.event(EventRecovered, now)
			r.State, r.Reason, r.Generation = freshet.StateOK, v.row.Reason, next.Generation
			events = append(events, r)
		}
		commit.Events = rows(events)
		if err := failpoint.Hit(failpoint.CommitBefore); err != nil {
			return err
		}
		err = s.o.Store.Put(ctx, commit)
		if errors.Is(err, store.ErrStale) {
			continue
		} else if err != nil {
			if !s.applied(commit) {
				return fmt.Errorf("connection %s: %w", name, err)
			}
		}
		failpoint.Hit(failpoint.CommitAfter)
		c.publish(view)
		s.clients.good(s, v, now)
		s.tell(events...)
		return nil
	}
	return fmt.Errorf("connection %s: %w", name, store.ErrStale)
}

// Revoke forgets a connection's token and asks the provider to revoke it. The
// local part is done when it returns nil; remote reports whether the provider
// has confirmed. If it has not, it is asked again in the background.
func (s *Source) Revoke(ctx context.Context, name string) (remote bool, err error) {
	c := s.conn(name)
	c.invalidate()
	v, err := c.load(ctx)
	if err != nil {
		return false, err
	}
	letter, err := s.Revocation(v.def, v.tok)
	if err != nil {
		return false, err
	}
	var letters []store.Letter
	if letter != nil {
		letters = append(letters, *letter)
	}
	e := v.event(EventRevoked, s.o.Now())
	e.State, e.Reason = freshet.StateReauth, freshet.ReasonRevoked
	if err := s.o.Store.Forget(ctx, v.row.ID, freshet.ReasonRevoked, letters, e.row()); err != nil {
		return false, fmt.Errorf("connection %s: %w", name, err)
	}
	c.invalidate()
	s.tell(e)
	if letter == nil {
		return false, nil
	}
	return s.sendRevocation(ctx, *letter) == nil, nil
}
