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

// dbWait bounds each step that only talks to the database.
const dbWait = 10 * time.Second

// errMoved says that the row is no longer what the attempt began with.
var errMoved = errors.New("the row moved on")

// outlast is how long a caller waits in all for those of other processes:
// for one whose lease has to lapse, and for the one after it.
const outlast = 90 * time.Second

// refresh brings the connection a newer token, or says why there is none. It
// runs detached from every caller.
func (c *Conn) refresh(cause Cause) (*view, error) {
	began := c.s.o.Now()
	before := int64(0)
	if v := c.view.Load(); v != nil {
		before = v.row.Gen
	}
	for moves := 0; moves < 20 && c.s.o.Now().Sub(began) < outlast; moves++ {
		v, err := c.reread()
		if err != nil {
			return nil, err
		}
		now := c.s.o.Now()
		// Somebody else, a sibling replica or a person, was faster.
		if v.row.Gen > before && cause != CauseUse && cause != CausePerson && v.tok.AliveAt(now) &&
			!v.def.Connection.Refresh.NeedsRefresh(v.tok, now, 0, 0) {
			return v, nil
		}
		c.mu.Lock()
		err = c.gate(v, now, cause)
		c.mu.Unlock()
		if err != nil {
			return nil, c.latch(v, err)
		}
		if held, err := c.held(v); err != nil {
			return nil, err
		} else if held {
			moves-- // to wait for another process is not to be overtaken by it
			continue
		}
		fresh, err := c.attempt(v, cause, began)
		if !errors.Is(err, errMoved) {
			return fresh, err
		}
	}
	return nil, fmt.Errorf("refresh %s: the row keeps moving: %w", c.name, store.ErrStale)
}

// held reports whether another process has the row, after it has waited for a
// change. An attempt whose lease has lapsed is closed as the sweep does it:
// what its process sent may have been answered.
func (c *Conn) held(v *view) (bool, error) {
	if v.row.Protocol > store.Protocol {
		return false, &freshet.StateError{Name: c.name, State: freshet.StateAttention, Reason: freshet.ReasonNewerVersion, RetryAfter: 5 * time.Second,
			Detail: fmt.Sprintf("a process of a newer version refreshes this connection by protocol %d, this one knows %d; it serves what it has until it is upgraded", v.row.Protocol, store.Protocol)}
	}
	if v.row.Attempt == "" {
		return false, nil
	}
	stir := c.stirred()
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	now, err := c.s.o.Store.Now(ctx)
	if err != nil {
		return false, c.unavailable("the store does not answer", err)
	}
	wait := v.row.LeaseUntil.Sub(now)
	if wait <= 0 {
		row, err := c.s.o.Store.Token(ctx, v.row.ID)
		if err == nil && row.Attempt == v.row.Attempt {
			err = c.s.abandon(ctx, row)
		}
		if err != nil && !errors.Is(err, store.ErrStale) && !errors.Is(err, store.ErrNotFound) {
			return false, c.unavailable("the store does not answer", err)
		}
		return true, nil
	}
	t := time.NewTimer(min(wait, 250*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-stir:
	case <-c.s.life.Done():
		return false, c.s.life.Err()
	}
	return true, nil
}

// reread loads definition and row from the store, whatever is cached.
func (c *Conn) reread() (*view, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	seen := c.seen.Load()
	def, err := c.s.o.Definitions.Definition(ctx, c.name)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", c.name, err)
	}
	row, err := c.s.o.Store.Token(ctx, def.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("connection %s: %w", c.name, freshet.ErrNotFound)
	} else if err != nil {
		return nil, c.unavailable("the store does not answer", err)
	}
	if c.ahead(row) != nil {
		// It was read, and then another process's answer came and was heard of.
		if row, err = c.s.o.Store.Token(ctx, def.ID); err != nil {
			return nil, c.unavailable("the store does not answer", err)
		}
	}
	if cur := c.ahead(row); cur != nil {
		return nil, c.unavailable(fmt.Sprintf("the store holds generation %d, this server has served %d: an answer waits to be written, or the row was put back; "+
			"what is older is not sent", row.Gen, cur.row.Gen), store.ErrStale)
	}
	return c.show(def, row, seen)
}

// unavailable is the error of a connection whose row cannot be reached: the
// store's trouble, not the connection's.
func (c *Conn) unavailable(detail string, err error) error {
	return fmt.Errorf("refresh %s: %w", c.name, errors.Join(&freshet.StateError{Name: c.name, State: freshet.StateAttention, Reason: "store_unavailable",
		Detail: detail, RetryAfter: 5 * time.Second}, err))
}

// latch stores that only a person can help, when a look at the token says so
// and the row does not yet.
func (c *Conn) latch(v *view, err error) error {
	var se *freshet.StateError
	if !errors.As(err, &se) || se.State != freshet.StateReauth || v.row.State == freshet.StateReauth || v.broken != nil {
		return err
	}
	now := c.s.o.Now()
	e := v.event(EventReauth, now)
	e.State, e.Reason, e.Detail = se.State, se.Reason, se.Detail
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err := c.s.o.Store.Fail(ctx, store.Failure{ID: v.row.ID, Gen: v.row.Gen, State: se.State, Reason: se.Reason, Definition: v.def.Revision, Events: rows([]Event{e})}); err == nil {
		c.s.tell(e)
		c.invalidate()
	}
	return err
}

// times returns the deadline of the exchange and the lease of the claim. The
// lease is longer than the call; both shrink where the provider's grace for
// the previous refresh token is short, so that a recovery still falls into it.
func (s *Source) times(p *freshet.Provider) (deadline, lease time.Duration) {
	if g := p.Rotation.Grace.D(); g > 0 && g < time.Minute {
		return g / 3, g / 2
	}
	return s.o.Deadline, s.o.Lease
}

// attempt claims, sends once and settles what came back. errMoved: the row is
// not what v shows, and nothing was sent.
func (c *Conn) attempt(v *view, cause Cause, began time.Time) (*view, error) {
	s := c.s
	deadline, lease := s.times(&v.def.Provider)
	id := newID()
	claimed := s.o.Now()
	err := s.claim(v, id, lease)
	if errors.Is(err, store.ErrStale) {
		e := v.event(EventClaimLost, claimed)
		e.Cause = cause
		s.tell(e)
		return nil, errMoved
	} else if err != nil {
		// The write gate: what the database would not take now it could not
		// take after the provider has rotated either. Nothing is sent.
		return nil, c.unavailable("the store takes no writes, so no token is asked for", err)
	}
	if err := failpoint.Hit(failpoint.ClaimAfter); err != nil {
		return nil, c.giveBack(v, id, err)
	}
	c.mu.Lock()
	if v.def.Provider.Quota.Requests > 0 {
		c.sent = append(c.sent, claimed)
	}
	c.mu.Unlock()
	// This process may have been stopped between the claim and now; a lease
	// that is nearly over is no longer ours to send under.
	if s.o.Now().Sub(claimed) > lease-deadline-min(time.Second, (lease-deadline)/4) {
		return nil, c.giveBack(v, id, fmt.Errorf("refresh %s: the claim grew too old before it could be used", c.name))
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	sent := s.o.Now()
	out := s.ask(ctx, v, c.request(v))
	took := s.o.Now().Sub(sent)
	s.waves.heard(v.def.Provider.Name, out.Err, s.o.Now())
	a := &answer{conn: c, v: v, attempt: id, cause: cause, claimed: claimed, took: took, flags: out.Flags}
	if out.Token != nil {
		return a.keep(out.Token)
	}
	if again := c.withoutRefreshToken(v, out.Err); again {
		// The refresh token is dead, but the credentials at hand bring another
		// token; the claim still covers this one more, different request.
		if out = s.ask(ctx, v, grant.Ask{Previous: v.tok}); out.Token != nil {
			return a.keep(out.Token)
		}
	}
	return a.fail(out.Err, out.Salvaged)
}

func (s *Source) claim(v *view, id string, lease time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	return s.o.Store.Claim(ctx, store.Claim{ID: v.row.ID, Gen: v.row.Gen, Attempt: id, Owner: s.o.Owner, Lease: lease})
}

// giveBack undoes a claim under which nothing was sent.
func (c *Conn) giveBack(v *view, id string, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), dbWait)
	defer cancel()
	if err := c.s.o.Store.Unclaim(ctx, v.row.ID, id); err != nil {
		c.s.log.Warn("claim not given back; it lapses with its lease", "connection", c.name, "error", err)
	}
	return cause
}

// request says what to ask for: the refresh of what is stored, or a token anew.
func (c *Conn) request(v *view) grant.Ask {
	if v.tok == nil || v.reseeded() {
		return grant.Ask{RefreshToken: v.seed(), Previous: v.tok}
	}
	return grant.Ask{RefreshToken: v.tok.Refresh, Scope: v.tok.Scope, Previous: v.tok}
}

// seed is the refresh token that a connection's own definition brings.
func (v *view) seed() freshet.Secret {
	if v.def.Connection.Grant != freshet.GrantRefreshToken {
		return freshet.Secret{}
	}
	return v.def.Connection.Credentials["refresh_token"]
}

// ask sends, through the connection's own routine if it has one.
func (s *Source) ask(ctx context.Context, v *view, a grant.Ask) grant.Outcome {
	if by := v.def.Connection.Refresh.By; by != "" {
		if s.o.Routine == nil {
			return grant.Outcome{Err: &grant.Error{Class: grant.Misconfigured, Code: "no_routines", Detail: "nothing here runs refresh routines"}}
		}
		return s.o.Routine(context.WithValue(ctx, within{}, v.def.Connection.Name), v.def, by, v.tok)
	}
	return s.o.Asker.Ask(ctx, v.def, a)
}

// withoutRefreshToken reports whether a permanent refusal was only the refresh
// token's, of a grant that can log in again by itself.
func (c *Conn) withoutRefreshToken(v *view, err *grant.Error) bool {
	return err.Class == grant.Permanent && v.tok != nil && !v.tok.Refresh.IsZero() && !v.def.Connection.Grant.Interactive() && v.def.Connection.Refresh.By == ""
}

// within is the key under which a context says whose refresh routine it is of.
type within struct{}

// errWithin is what a routine gets that asks for its own connection's next
// token: it would wait for itself.
func (c *Conn) errWithin(ctx context.Context) error {
	if name, _ := ctx.Value(within{}).(string); name != c.name {
		return nil
	}
	return &freshet.StateError{Name: c.name, State: freshet.StateMisconfigured, Reason: "routine_needs_itself",
		Detail: "its own refresh routine asks for its token; the routine finds the credentials in its input"}
}
