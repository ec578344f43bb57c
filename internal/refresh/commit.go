package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// An answer is what one attempt brought, on its way into the store.
type answer struct {
	conn    *Conn
	v       *view // what the attempt began with
	attempt string
	cause   Cause
	claimed time.Time
	took    time.Duration
	flags   []grant.Flag
}

// keep commits a token. Waiters may be served only after it returned nil: then
// the token is in the database, or forced into the spill file.
func (a *answer) keep(t *freshet.Token) (*view, error) {
	s, c, v := a.conn.s, a.conn, a.v
	now := s.o.Now()
	inherit(t, v)
	if other := a.otherSubject(t); other != "" {
		return a.refuseSubject(t, other)
	}
	commit, view, err := c.prepare(v, t, a.attempt)
	if err != nil {
		return nil, fmt.Errorf("refresh %s: %w", c.name, err)
	}
	events := a.story(t, now)
	commit.Events = rows(events)
	err = a.commit(commit)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrStale):
		return a.late(commit, events)
	default:
		if err := a.spill(commit, err); err != nil {
			return nil, err
		}
		// The answer is safe on disk. Readers get it now; the row follows.
		view.row.State = freshet.StateOK
	}
	failpoint.Hit(failpoint.PublishBefore)
	c.publish(view)
	s.clients.good(s, v, now)
	s.tell(events...)
	return view, nil
}

// inherit carries over what an answer did not repeat.
func inherit(t *freshet.Token, v *view) {
	old := v.tok
	t.Generation = v.row.Gen + 1
	if old == nil {
		if t.Refresh.IsZero() {
			t.Refresh = v.seed()
		}
		if !t.Refresh.IsZero() {
			t.RefreshIssued = t.IssuedAt
		}
		if t.Scope == "" {
			t.Scope = strings.Join(v.def.Connection.Scopes, " ")
		}
		return
	}
	if t.Refresh.IsZero() || t.Refresh.Equal(old.Refresh) {
		t.Refresh, t.RefreshIssued = old.Refresh, old.RefreshIssued
		if t.RefreshExpiry.IsZero() {
			t.RefreshExpiry = old.RefreshExpiry
		}
	} else {
		t.RefreshIssued = t.IssuedAt
	}
	if t.Scope == "" {
		t.Scope = old.Scope
	}
	if t.Subject == "" {
		t.Subject = old.Subject
	}
	if t.ID.IsZero() {
		t.ID = old.ID
	}
}

// prepare seals a token as the next generation and says when it is due.
func (c *Conn) prepare(v *view, t *freshet.Token, attempt string) (store.Commit, *view, error) {
	s := c.s
	sealed, err := s.o.Sealer.SealToken(v.row.ID, t.Generation, t)
	if err != nil {
		return store.Commit{}, nil, err
	}
	p := v.def.Connection.Refresh
	next := p.NextRefresh(t, &v.def.Provider, s.o.Jitter())
	if s.unrefreshable(v.def, t) {
		next = time.Time{}
	}
	row := v.row
	row.Gen, row.State, row.Reason, row.Error, row.Failures = t.Generation, freshet.StateOK, "", "", 0
	row.LostAt, row.NotBefore = time.Time{}, time.Time{}
	row.NextAt, row.IssuedAt, row.ExpiresAt, row.RefreshExpiry = next, t.IssuedAt, t.Expiry, v.def.Provider.RefreshDeadline(t)
	row.Definition = v.def.Revision
	commit := store.Commit{ID: row.ID, Attempt: attempt, Gen: t.Generation - 1, Sealed: sealed,
		IssuedAt: row.IssuedAt, ExpiresAt: row.ExpiresAt, RefreshExpiry: row.RefreshExpiry, NextAt: next, Definition: row.Definition}
	if !t.Refresh.IsZero() {
		commit.Digest = s.o.Sealer.Digest("refresh_token", t.Refresh)
		row.Digest = commit.Digest
	}
	return commit, newView(v.def, row, t, v.seen), nil
}

// unrefreshable reports whether the background could do nothing for t.
func (s *Source) unrefreshable(def *freshet.Definition, t *freshet.Token) bool {
	return t.Refresh.IsZero() && def.Connection.Grant.Interactive() && def.Provider.RefreshRequest == nil && def.Connection.Refresh.By == ""
}

// story tells what an answer changed.
func (a *answer) story(t *freshet.Token, now time.Time) []Event {
	v := a.v
	e := v.event(EventRefreshed, now)
	if v.tok == nil || v.tok.Refresh.IsZero() {
		e.Type = EventObtained
	}
	e.State, e.Cause, e.Generation, e.Took, e.Flags, e.ExpiresAt = freshet.StateOK, a.cause, t.Generation, a.took, a.flags, t.Expiry
	if v.tok != nil {
		e.Replaced = v.tok.Expiry
	}
	out := []Event{e}
	if v.row.State != freshet.StateOK && v.row.Gen > 0 {
		r := v.event(EventRecovered, now)
		r.State, r.Reason, r.Generation = freshet.StateOK, v.row.Reason, t.Generation
		out = append(out, r)
	}
	if v.tok != nil && narrowed(v.tok.Scope, t.Scope) {
		n := v.event(EventScopeNarrowed, now)
		n.Generation = t.Generation
		n.Detail = fmt.Sprintf("granted %q, was %q", t.Scope, v.tok.Scope)
		out = append(out, n)
	}
	return out
}

// narrowed reports whether a scope of old is missing in now.
func narrowed(old, now string) bool {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
	}
	have := split(now)
	return slices.ContainsFunc(split(old), func(s string) bool { return !slices.Contains(have, s) })
}

// commit swaps the answer in. If the database loses the connection during the
// commit, the row tells whether it was applied.
func (a *answer) commit(commit store.Commit) error {
	s := a.conn.s
	if err := failpoint.Hit(failpoint.CommitBefore); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	err := s.o.Store.Commit(ctx, commit)
	if err != nil && !errors.Is(err, store.ErrStale) && s.applied(commit) {
		err = nil
	}
	if err == nil {
		failpoint.Hit(failpoint.CommitAfter)
	}
	return err
}

// applied reports whether the row holds exactly this answer.
func (s *Source) applied(commit store.Commit) bool {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	row, err := s.o.Store.Token(ctx, commit.ID)
	return err == nil && row.Gen == commit.Gen+1 && string(row.Sealed) == string(commit.Sealed)
}

// spill forces an answer that the database refused into the local file, and
// keeps trying the database in the background.
func (a *answer) spill(commit store.Commit, cause error) error {
	s, c := a.conn.s, a.conn
	e := a.v.event(EventSpilled, s.o.Now())
	e.Detail = "the database refused an answer; it is kept in a local file until the database takes it"
	if s.spill == nil {
		s.retry(c, commit)
		return fmt.Errorf("refresh %s: commit: %w", c.name, cause)
	}
	err := s.spill.Append(record{Connection: c.name, Commit: commit})
	if err == nil {
		failpoint.Hit(failpoint.SpillAfter)
		s.log.Warn("answer spilled", "connection", c.name, "error", cause)
	}
	s.retry(c, commit)
	if err != nil {
		return fmt.Errorf("refresh %s: neither the database nor the spill file takes the answer; it is in memory only: %w", c.name, errors.Join(cause, err))
	}
	s.tell(e)
	return nil
}

// retry commits an answer as soon as the database takes it.
func (s *Source) retry(c *Conn, commit store.Commit) {
	s.flying.Add(1)
	go func() {
		defer s.flying.Done()
		wait := 250 * time.Millisecond
		for {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-s.life.Done():
				t.Stop()
				return
			}
			if s.closing.Load() && s.spill != nil {
				return // the spill file keeps it for the next start
			}
			wait = min(2*wait, 15*time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), dbWait)
			done, err := s.deliver(ctx, record{Connection: c.name, Commit: commit})
			cancel()
			if done {
				c.invalidate()
				if s.spill != nil {
					s.spill.Done(commit.Attempt)
				}
				return
			}
			s.log.Warn("spilled answer not yet committed", "connection", c.name, "error", err)
		}
	}()
}

// late deals with an answer whose row moved on. If a later success is there,
// ours is kept as an orphan; if the row only lost hope meanwhile, ours is what
// it hoped for.
func (a *answer) late(commit store.Commit, events []Event) (*view, error) {
	s, c := a.conn.s, a.conn
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	row, err := s.o.Store.Token(ctx, commit.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, a.disown(ctx, commit)
	} else if err != nil {
		return nil, a.spill(commit, err)
	}
	if row.Gen == commit.Gen && row.Attempt == "" {
		commit.Attempt = ""
		if err := s.o.Store.Commit(ctx, commit); err == nil {
			s.tell(events...)
			c.invalidate()
			return c.load(ctx)
		}
	}
	if row.State == freshet.StateReauth && row.Reason == freshet.ReasonRevoked {
		// Somebody revoked the connection meanwhile, and meant this token too.
		return nil, a.disown(ctx, commit)
	}
	o := store.Orphan{ID: a.attempt, Connection: row.ID, Gen: commit.Gen + 1, Sealed: commit.Sealed, Reason: "a newer token was stored first"}
	e := a.v.event(EventOrphaned, s.o.Now())
	e.Generation, e.Detail = commit.Gen+1, o.Reason
	if err := s.o.Store.KeepOrphan(ctx, o, e.row()); err != nil {
		return nil, a.spill(commit, err)
	}
	s.tell(e)
	c.invalidate()
	return c.load(ctx)
}

// disown deals with the answer of a connection that was deleted or revoked
// meanwhile: the provider is asked to revoke it.
func (a *answer) disown(ctx context.Context, commit store.Commit) error {
	s := a.conn.s
	t, err := s.o.Sealer.OpenToken(commit.ID, commit.Gen+1, commit.Sealed)
	if err == nil && a.v.def.Provider.RevocationURL != "" {
		if err := s.o.Asker.Revoke(ctx, a.v.def, t); err != nil {
			s.log.Warn("late token of a connection that is gone not revoked", "connection", a.conn.name, "error", err)
		}
	}
	return fmt.Errorf("connection %s: deleted or revoked while it was refreshed: %w", a.conn.name, freshet.ErrNotFound)
}

// otherSubject returns whose token came, if it is not the one who granted.
func (a *answer) otherSubject(t *freshet.Token) string {
	if old := a.v.tok; old != nil && old.Subject != "" && t.Subject != "" && old.Subject != t.Subject {
		return t.Subject
	}
	return ""
}

// refuseSubject keeps another account's token away from callers. What came is
// kept as an orphan, because its refresh token may be the only one there is.
func (a *answer) refuseSubject(t *freshet.Token, _ string) (*view, error) {
	s, c, v := a.conn.s, a.conn, a.v
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	now := s.o.Now()
	detail := "the provider answered with another account's token; it was not used"
	if sealed, err := s.o.Sealer.SealToken(v.row.ID, t.Generation, t); err == nil {
		if err := s.o.Store.KeepOrphan(ctx, store.Orphan{ID: a.attempt, Connection: v.row.ID, Gen: t.Generation, Sealed: sealed, Reason: detail}); err != nil {
			s.log.Warn("orphan not kept", "connection", c.name, "error", err)
		}
	}
	e := v.event(EventSubject, now)
	e.State, e.Reason, e.Detail, e.Cause = freshet.StateReauth, freshet.ReasonSubjectChanged, detail, a.cause
	r := e
	r.Type = EventReauth
	return a.settle(verdict{state: freshet.StateReauth, reason: freshet.ReasonSubjectChanged, detail: detail, events: []Event{e, r}}, nil)
}
