package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Problem is the last failure of a connection, as people see it.
type Problem struct {
	At         time.Time    `json:"at"`
	Class      grant.Class  `json:"class"`
	Code       string       `json:"code"`
	Detail     string       `json:"detail,omitempty"`
	Status     int          `json:"status,omitempty"`
	Uncertain  bool         `json:"uncertain"`
	RetryAfter int64        `json:"retry_after_s,omitempty"`
	Flags      []grant.Flag `json:"flags,omitempty"`
}

// fail settles an attempt that brought no usable access token.
func (a *answer) fail(err *grant.Error, salvaged freshet.Secret) (*view, error) {
	s, c, v := a.conn.s, a.conn, a.v
	now := s.o.Now()
	if err.Class == grant.Permanent {
		// Before a grant is given up: is the refusal about a token that
		// somebody has replaced meanwhile?
		if fresh, rerr := c.reread(); rerr == nil && fresh.row.Gen > v.row.Gen {
			s.unclaimed(v, a.attempt)
			if fresh.tok.AliveAt(now) {
				return fresh, nil
			}
			return nil, s.stateError(fresh, now)
		}
		if s.waves.incident(s, v, now) {
			err = &grant.Error{Class: grant.Retryable, Code: string(freshet.ReasonProviderIncident), Status: err.Status,
				Detail: "many connections of this provider were refused (" + err.Code + ") within minutes: an incident, or a restored backup; nothing is given up"}
		}
	}
	d := judge(v, err, a.cause, a.claimed, now, s.o.Jitter())
	if err.Code == string(freshet.ReasonProviderIncident) {
		d.state, d.reason = freshet.StateAttention, freshet.ReasonProviderIncident
		d.notBefore = now.Add(spread(waveWindow, s.o.Jitter()))
		d.nextAt = d.notBefore
	}
	for i := range d.events {
		d.events[i].Took, d.events[i].Flags = a.took, a.flags
	}
	p := &Problem{At: now.UTC(), Class: err.Class, Code: err.Code, Detail: d.detail, Status: err.Status, Uncertain: err.Uncertain,
		RetryAfter: int64(err.RetryAfter / time.Second), Flags: a.flags}
	if !salvaged.IsZero() {
		return a.salvage(d, p, salvaged)
	}
	return a.settle(d, p)
}

// salvage stores a refresh token that came without an access token, together
// with what is kept of the old one, and lets the background try it at once.
func (a *answer) salvage(d verdict, p *Problem, refresh freshet.Secret) (*view, error) {
	v := a.v
	t := freshet.Token{}
	if v.tok != nil {
		t = *v.tok
	}
	t.Refresh, t.RefreshIssued, t.RefreshExpiry, t.Generation = refresh, a.claimed, time.Time{}, v.row.Gen+1
	sealed, err := a.conn.s.o.Sealer.SealToken(v.row.ID, t.Generation, &t)
	if err != nil {
		return nil, fmt.Errorf("refresh %s: %w", a.conn.name, err)
	}
	d.lostAt = time.Time{} // the provider answered: what it said is in hand
	if d.state == freshet.StateUncertain {
		d.state, d.reason = freshet.StateOK, ""
	}
	return a.settleWith(d, p, sealed, a.conn.s.o.Sealer.Digest("refresh_token", refresh))
}

func (a *answer) settle(d verdict, p *Problem) (*view, error) { return a.settleWith(d, p, nil, nil) }

// settleWith stores a verdict and returns the error for those who wait.
func (a *answer) settleWith(d verdict, p *Problem, sealed, digest []byte) (*view, error) {
	s, c, v := a.conn.s, a.conn, a.v
	now := s.o.Now()
	if d.client != nil {
		d.events = append(d.events, s.clients.trouble(s, v, *d.client, now)...)
	}
	problem := ""
	if p != nil {
		b, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		problem = string(b)
	}
	f := store.Failure{ID: v.row.ID, Attempt: a.attempt, Gen: v.row.Gen, State: d.state, Reason: d.reason, Error: problem, Failures: d.failures,
		LostAt: d.lostAt, NotBefore: d.notBefore, NextAt: d.nextAt, Sealed: sealed, Digest: digest, Definition: v.def.Revision, Events: rows(d.events)}
	if a.v.def.Connection.Refresh.Has(freshet.BeforeExpiry) == false && d.state == freshet.StateOK && sealed == nil {
		f.NextAt = time.Time{} // nothing is uncertain and nobody asked for it ahead of time
	}
	err := s.failRow(f)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrStale):
		c.invalidate()
	case sealed != nil:
		if err := a.spillFailure(f, err); err != nil {
			return nil, err
		}
	default:
		// The claim stays open and lapses; the sweep then finds it uncertain.
		s.log.Warn("failure not recorded", "connection", c.name, "error", err)
	}
	s.tell(d.events...)
	row := v.row
	row.State, row.Reason, row.Error, row.Failures = f.State, f.Reason, f.Error, f.Failures
	row.LostAt, row.NotBefore, row.NextAt, row.Definition = f.LostAt, f.NotBefore, f.NextAt, f.Definition
	if sealed != nil {
		c.invalidate()
	} else {
		c.publish(newView(v.def, row, v.tok, v.seen))
	}
	se := s.stateError(newView(v.def, row, v.tok, v.seen), now)
	if p != nil {
		se.Detail = problemText(p)
	}
	return nil, se
}

func (s *Source) failRow(f store.Failure) error {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	return s.o.Store.Fail(ctx, f)
}

// unclaimed closes an attempt whose answer no longer matters.
func (s *Source) unclaimed(v *view, attempt string) {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err := s.o.Store.Unclaim(ctx, v.row.ID, attempt); err != nil && !errors.Is(err, store.ErrStale) {
		s.log.Warn("claim not given back; it lapses with its lease", "connection", v.def.Connection.Name, "error", err)
	}
}

// spillFailure keeps a salvaged refresh token that the database refused.
func (a *answer) spillFailure(f store.Failure, cause error) error {
	c := store.Commit{ID: f.ID, Attempt: f.Attempt, Gen: f.Gen, Sealed: f.Sealed, Digest: f.Digest, NextAt: a.conn.s.o.Now(), Definition: f.Definition}
	if a.v.tok != nil {
		c.IssuedAt, c.ExpiresAt = a.v.tok.IssuedAt, a.v.tok.Expiry
	}
	return a.spill(c, cause)
}

func problemText(p *Problem) string {
	s := p.Code
	if p.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", p.Status)
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// stateError says why v has no live token to give.
func (s *Source) stateError(v *view, now time.Time) *freshet.StateError {
	st := s.status(v, now)
	e := &freshet.StateError{Name: v.def.Connection.Name, State: st.State, Reason: st.Reason}
	if st.Problem != nil {
		e.Detail = problemText(st.Problem)
	}
	if e.Detail == "" {
		if _, detail := cannot(v); detail != "" {
			e.Detail = detail
		}
	}
	wait := max(v.row.NotBefore.Sub(now), s.clients.wait(v, now))
	if e.State != freshet.StateReauth && wait > 0 {
		e.RetryAfter = wait
	}
	if e.State == freshet.StateOK || e.State == "" {
		e.State = freshet.StateAttention
	}
	return e
}
