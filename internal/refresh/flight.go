package refresh

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// A flight is one attempt that any number of callers wait for.
type flight struct {
	done  chan struct{} // closed when v and err are set
	cause Cause
	v     *view
	err   error
}

// join waits for a refresh: the one under way, or a new one. With CauseUse it
// must have started after the call, so that callers who arrive while one is
// under way share the one after it. A caller that leaves ends nothing.
func (c *Conn) join(ctx context.Context, v *view, cause Cause) (*view, error) {
	if err := c.errWithin(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	f := c.flight
	switch {
	case f == nil:
		if err := c.gate(v, c.s.o.Now(), cause); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		f = &flight{done: make(chan struct{}), cause: cause}
		c.flight = f
		c.s.flying.Add(1)
		go c.fly(f)
	case cause == CauseUse:
		if c.next == nil {
			c.next = &flight{done: make(chan struct{}), cause: cause}
		}
		f = c.next
	}
	c.mu.Unlock()
	c.s.waiting.Add(1)
	defer c.s.waiting.Add(-1)
	select {
	case <-f.done:
	case <-ctx.Done():
		// An answer that came at the same moment is still the better one.
		select {
		case <-f.done:
		default:
			return nil, fmt.Errorf("refresh %s: %w", c.name, ctx.Err())
		}
	}
	return f.v, f.err
}

// fly carries out f and then whatever flight was asked for meanwhile.
func (c *Conn) fly(f *flight) {
	defer c.s.flying.Done()
	for f != nil {
		c.s.running.Add(1)
		f.v, f.err = c.refresh(f.cause)
		c.s.running.Add(-1)
		if f.err == nil && (f.v.tok == nil || f.v.tok.Access.IsZero()) {
			f.err = c.s.stateError(f.v, c.s.o.Now())
		}
		c.mu.Lock()
		c.flight, c.next = c.next, nil
		next := c.flight
		c.mu.Unlock()
		close(f.done)
		f = next
	}
}

// gate reports why no request may be sent now, as a *freshet.StateError. A
// person may ask at any time; everybody else waits for what the last answer
// said. The caller holds c.mu.
func (c *Conn) gate(v *view, now time.Time, cause Cause) error {
	s := c.s
	if s.closing.Load() {
		return &freshet.StateError{Name: c.name, State: freshet.StateAttention, Reason: "shutting_down", Detail: "this server is stopping", RetryAfter: time.Second}
	}
	if v.broken != nil {
		return s.stateError(v, now)
	}
	if reason, detail := cannot(v); reason != "" {
		return &freshet.StateError{Name: c.name, State: freshet.StateReauth, Reason: reason, Detail: detail}
	}
	if cause == CausePerson {
		return nil
	}
	if r := s.paused.Load(); r != nil && r.distrust && v.spends() {
		return &freshet.StateError{Name: c.name, State: freshet.StateAttention, Reason: freshet.ReasonRestored, Detail: r.reason + "; if it is the one to go on with: freshet resume",
			RetryAfter: time.Minute}
	}
	changed := v.row.Definition != v.def.Revision && (v.row.State == freshet.StateMisconfigured || v.corrected())
	if v.row.State == freshet.StateReauth && !changed {
		return s.stateError(v, now)
	}
	if wait := v.row.NotBefore.Sub(now); wait > 0 && !changed {
		return s.stateError(v, now)
	}
	if q := v.def.Provider.Quota; q.Requests > 0 && q.Window > 0 {
		c.sent = since(c.sent, now.Add(-q.Window.D()))
		if len(c.sent) >= q.Requests {
			return &freshet.StateError{Name: c.name, State: freshet.StateAttention, Reason: "quota", Detail: "the provider's quota of token requests is used up",
				RetryAfter: c.sent[0].Add(q.Window.D()).Sub(now)}
		}
	}
	return s.clients.gate(v, now)
}

// spends reports whether a refresh of v would send a refresh token.
func (v *view) spends() bool {
	return v.tok != nil && !v.tok.Refresh.IsZero() || !v.seed().IsZero()
}

// corrected reports whether what a person has to bring to a connection that
// wants one may be in its changed definition: a password, a refresh token.
func (v *view) corrected() bool {
	if v.row.State != freshet.StateReauth || v.row.Reason == freshet.ReasonRevoked {
		return false
	}
	return !v.def.Connection.Grant.Interactive() || v.reseeded()
}

// reseeded reports whether the definition brings another refresh token than
// the one that was refused.
func (v *view) reseeded() bool {
	seed := v.seed()
	return v.row.State == freshet.StateReauth && v.row.Definition != v.def.Revision && !seed.IsZero() && (v.tok == nil || !seed.Equal(v.tok.Refresh))
}

// cannot tells why no request could possibly bring a token: only a person can
// help. An empty reason means that one could.
func cannot(v *view) (freshet.Reason, string) {
	if v.def.Connection.Refresh.By != "" || v.tok != nil && !v.tok.Refresh.IsZero() || v.reseeded() {
		return "", ""
	}
	if v.tok != nil && v.def.Provider.RefreshRequest != nil {
		return "", "" // the access token is exchanged for its successor
	}
	switch g := v.def.Connection.Grant; {
	case !g.Interactive():
		return "", ""
	case v.tok == nil && v.row.Reason != "" && v.row.State == freshet.StateReauth:
		return v.row.Reason, ""
	case v.tok == nil && g == freshet.GrantRefreshToken:
		if _, ok := v.def.Connection.Credentials["refresh_token"]; ok && v.row.Gen == 0 {
			return "", ""
		}
		return freshet.ReasonNeverAuthorized, "it holds no refresh_token: import a token set with freshet tokens import"
	case v.tok == nil:
		return freshet.ReasonNeverAuthorized, "nobody has authorized it yet"
	}
	return freshet.ReasonNoRefreshToken, "its access token is spent and the provider gave no refresh_token with it"
}
