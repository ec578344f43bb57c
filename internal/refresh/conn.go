package refresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Cause is who says that a token wants a refresh.
type Cause string

// The causes.
const (
	CauseRead     Cause = "read"       // a reader found too little life left
	CauseUse      Cause = "every_use"  // the policy wants a new token for each call
	CauseRejected Cause = "rejected"   // an API refused the token
	CauseSchedule Cause = "background" // the row was due
	CausePerson   Cause = "person"     // somebody asked for it
)

// ErrResting says that a token was refused although it is as fresh as can be,
// and that asking for yet another one rests for a while.
var ErrResting = errors.New("forced refresh rests: the API refuses tokens that are fresh")

const (
	restAfterRefusal = time.Minute      // between forced refreshes whose tokens are refused
	forcedWindow     = 10 * time.Minute // repeated refusals: at most forcedCap refreshes in it
	forcedCap        = 3
)

// A Conn is one connection as this process sees it. It is safe for concurrent
// use; reading a fresh token takes no lock.
type Conn struct {
	s    *Source
	name string
	view atomic.Pointer[view]
	used atomic.Bool  // since the last look of evict
	seen atomic.Int64 // how often it was invalidated

	mu      sync.Mutex
	flight  *flight       // under way
	next    *flight       // waits for flight to end
	stir    chan struct{} // closed when another process has changed the row; nil: nobody waits
	rest    int64         // the generation that was refused although fresh
	restEnd time.Time
	forced  []time.Time // refreshes after repeated refusals
	sent    []time.Time // requests, for providers with a quota
}

// A view is what is known of a connection at one moment. It never changes.
type view struct {
	def    *freshet.Definition
	row    store.Token    // without the sealed bytes
	tok    *freshet.Token // nil: none stored
	margin time.Duration  // what a read keeps free before the expiry
	until  time.Time      // the token may be handed out without a look until then
	reload bool           // the definition or the row may have changed
	seen   int64          // Conn.seen before the definition was read
	size   int64
	broken error // the row does not open
}

// far stands for "no known end".
var far = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func newView(def *freshet.Definition, row store.Token, tok *freshet.Token, seen int64) *view {
	v := &view{def: def, row: row, tok: tok, seen: seen, size: 1 << 10}
	v.row.Sealed = nil
	if tok == nil || tok.Access.IsZero() {
		return v
	}
	v.size += int64(tok.Access.Len() + tok.Refresh.Len() + tok.ID.Len() + tok.Answer.Len())
	p := def.Connection.Refresh
	v.margin, _ = p.MarginFor(tok.Lifetime())
	switch {
	case p.Has(freshet.EveryUse):
	case tok.Expiry.IsZero():
		v.until = far
	case p.Has(freshet.BeforeExpiry):
		v.until = tok.Expiry.Add(-v.margin)
	default:
		v.until = tok.Expiry
	}
	return v
}

// A Reading is a token as it is handed to a caller.
type Reading struct {
	Token *freshet.Token // shared: read only
	Stale bool           // it lives, but a refresh that was due is failing
	Until time.Time      // when to ask again; zero: each time
}

// Name returns the connection's name.
func (c *Conn) Name() string { return c.name }

// Definition returns what the connection is. It is shared: read only.
func (c *Conn) Definition() *freshet.Definition { return c.view.Load().def }

// Token returns a token with at least minTTL of life left, refreshing it first
// if the policy wants that. A token that still lives is returned rather than
// an error, whatever else is down. The error is a *freshet.StateError when the
// connection has none to give.
func (c *Conn) Token(ctx context.Context, minTTL time.Duration) (*freshet.Token, error) {
	if v := c.view.Load(); v != nil && minTTL <= v.margin && c.s.o.Now().Before(v.until) {
		if !c.used.Load() {
			c.used.Store(true)
		}
		return v.tok, nil
	}
	r, err := c.read(ctx, minTTL)
	return r.Token, err
}

// Stored returns the token that the store holds now, whether it is fresh or
// spent, and refreshes nothing: for those who refresh by themselves. The error is
// a *freshet.StateError when there is none.
func (c *Conn) Stored(ctx context.Context) (*freshet.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, err := c.reread()
	if err != nil {
		return nil, err
	}
	if v.tok == nil {
		return nil, c.s.stateError(v, c.s.o.Now())
	}
	return v.tok, nil
}

// Read is Token with what a caller may want to know about it.
func (c *Conn) Read(ctx context.Context, minTTL time.Duration) (Reading, error) {
	if v := c.view.Load(); v != nil && minTTL <= v.margin && c.s.o.Now().Before(v.until) {
		if !c.used.Load() {
			c.used.Store(true)
		}
		return Reading{Token: v.tok, Until: v.until}, nil
	}
	return c.read(ctx, minTTL)
}

func (c *Conn) read(ctx context.Context, minTTL time.Duration) (Reading, error) {
	c.used.Store(true)
	v, err := c.load(ctx)
	if err != nil {
		return Reading{}, err
	}
	now := c.s.o.Now()
	p := v.def.Connection.Refresh
	cause := CauseRead
	if p.Has(freshet.EveryUse) {
		cause = CauseUse
	} else if !p.NeedsRefresh(v.tok, now, minTTL, v.def.Provider.EarlyRefresh) {
		return Reading{Token: v.tok, Until: v.until}, nil
	} else if young(v.tok, now) {
		// It was spent on arrival, or nearly: another would be no better.
		return Reading{Token: v.tok, Stale: !v.tok.AliveAt(now), Until: v.until}, nil
	}
	wait, cancel := c.patient(ctx, v, now, cause)
	defer cancel()
	fresh, err := c.join(wait, v, cause)
	if err == nil {
		return Reading{Token: fresh.tok, Stale: fresh.tok.Expiry.Before(now) && !fresh.tok.Expiry.IsZero(), Until: fresh.until}, nil
	}
	if ctx.Err() != nil {
		return Reading{}, ctx.Err()
	}
	// A refresh failed or is slow. What still lives is better than nothing.
	if v.tok.AliveAt(c.s.o.Now()) {
		return Reading{Token: v.tok, Stale: true}, nil
	}
	return Reading{}, err
}

// young reports whether t was issued so recently that asking for another one
// would only make noise: within min(30 s, half its lifetime).
func young(t *freshet.Token, now time.Time) bool {
	if t == nil || t.Access.IsZero() || t.IssuedAt.IsZero() || t.Lifetime() > time.Minute {
		return false
	}
	floor := 30 * time.Second
	if l := t.Lifetime(); l > 0 {
		floor = min(floor, l/2)
	}
	age := now.Sub(t.IssuedAt)
	return age >= 0 && age < floor
}

// patient bounds the wait of a reader whose token still lives.
func (c *Conn) patient(ctx context.Context, v *view, now time.Time, cause Cause) (context.Context, context.CancelFunc) {
	if cause != CauseRead || !v.tok.AliveAt(now) || v.tok.Expiry.IsZero() {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, min(c.s.o.Patience, max(v.tok.Expiry.Sub(now)/2, 0)))
}

// Rejected tells that an API refused the token of a generation, and returns a
// newer one: the current one if it is newer already, else the result of one
// refresh. The error wraps ErrResting when the connection's tokens keep being
// refused however fresh they are.
func (c *Conn) Rejected(ctx context.Context, generation int64) (*freshet.Token, error) {
	v, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	now := c.s.o.Now()
	if v.tok != nil && v.row.Gen > generation && v.tok.AliveAt(now) {
		return v.tok, nil
	}
	if !v.def.Connection.Refresh.Has(freshet.On401) && !v.def.Connection.Refresh.Has(freshet.EveryUse) {
		return nil, fmt.Errorf("connection %s: its policy does not refresh on a refusal: %w", c.name, ErrResting)
	}
	c.mu.Lock()
	if c.rest == generation {
		if now.Before(c.restEnd) {
			c.mu.Unlock()
			return nil, fmt.Errorf("connection %s: %w", c.name, ErrResting)
		}
		c.forced = since(c.forced, now.Add(-forcedWindow))
		if len(c.forced) >= forcedCap {
			c.mu.Unlock()
			return nil, fmt.Errorf("connection %s: %w", c.name, ErrResting)
		}
		c.forced = append(c.forced, now)
	}
	c.mu.Unlock()
	fresh, err := c.join(ctx, v, CauseRejected)
	if err != nil {
		return nil, err
	}
	return fresh.tok, nil
}

// StillRejected tells that an API refused a generation that Rejected has just
// brought. Forced refreshes of this connection rest for a minute.
func (c *Conn) StillRejected(generation int64) {
	now := c.s.o.Now()
	c.mu.Lock()
	again := c.rest == generation && now.Before(c.restEnd)
	c.rest, c.restEnd = generation, now.Add(restAfterRefusal)
	c.mu.Unlock()
	if v := c.view.Load(); v != nil && !again {
		e := v.event(EventStillRejected, now)
		e.Cause, e.Generation = CauseRejected, generation
		e.Detail = "the API refuses a token that was issued just now; look at scopes, account or API key"
		c.s.record(e)
	}
}

// Force refreshes now because a person asked. With rejected above zero it does
// so only if that is the current generation.
func (c *Conn) Force(ctx context.Context, rejected int64) (Reading, error) {
	v, err := c.load(ctx)
	if err != nil {
		return Reading{}, err
	}
	if rejected > 0 && v.row.Gen != rejected {
		return c.read(ctx, 0)
	}
	fresh, err := c.join(ctx, v, CausePerson)
	if err != nil {
		return Reading{}, err
	}
	return Reading{Token: fresh.tok, Until: fresh.until}, nil
}

// Renew refreshes now, however fresh the token is, because a schedule says so.
// Nobody looks on: unlike Force it keeps to what the provider's last answer
// said, and rests while the background does.
func (c *Conn) Renew(ctx context.Context) (Reading, error) {
	v, err := c.load(ctx)
	if err != nil {
		return Reading{}, err
	}
	if why := c.s.Paused(); why != "" {
		return Reading{}, fmt.Errorf("refresh %s: background refresh rests: %s", c.name, why)
	}
	fresh, err := c.join(ctx, v, CauseSchedule)
	if err != nil {
		return Reading{}, err
	}
	return Reading{Token: fresh.tok, Until: fresh.until}, nil
}

// load returns a view that is not marked for reload, reading the row if need
// be.
func (c *Conn) load(ctx context.Context) (*view, error) {
	if v := c.view.Load(); v != nil && !v.reload {
		return v, nil
	}
	seen := c.seen.Load()
	def, err := c.s.o.Definitions.Definition(ctx, c.name)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", c.name, err)
	}
	row, err := c.s.o.Store.Token(ctx, def.ID)
	if err != nil {
		// The row is made with the connection: a missing one means that it was
		// deleted between the two reads.
		if errors.Is(err, store.ErrNotFound) {
			err = freshet.ErrNotFound
		} else if old := c.view.Load(); old != nil && old.tok.AliveAt(c.s.o.Now()) {
			// The database is away. What is in memory is still good.
			return old, nil
		} else if ctx.Err() == nil {
			return nil, c.unavailable("the store does not answer", err)
		}
		return nil, fmt.Errorf("connection %s: %w", c.name, err)
	}
	return c.show(def, row, seen)
}

// show opens a row and makes it the current view, unless that is newer, and
// returns the current one. A row that does not open leaves the connection
// without a token and everything else untouched.
func (c *Conn) show(def *freshet.Definition, row store.Token, seen int64) (*view, error) {
	if cur := c.ahead(row); cur != nil {
		return cur, nil
	}
	if old := c.view.Load(); old != nil && old.row.Gen == row.Gen && old.row.ID == row.ID && old.tok != nil {
		// The token in memory counts on the monotonic clock; keep it.
		v := newView(def, row, old.tok, seen)
		c.publish(v)
		return v, nil
	}
	tok, err := c.s.open(row)
	v := newView(def, row, tok, seen)
	if err != nil {
		v.broken = err
		e := v.event(EventUnreadable, c.s.o.Now())
		e.Reason, e.Detail = freshet.ReasonUnreadable, "the stored token does not open with this master key; restore the row from a backup or connect again"
		c.s.record(e)
	}
	c.publish(v)
	return v, nil
}

// ahead returns the current view if the row is behind it: its answer is in the
// spill file still, or somebody put the row back. What is older is neither
// served nor sent, because the provider has seen it spent.
func (c *Conn) ahead(row store.Token) *view {
	if cur := c.view.Load(); cur != nil && cur.row.ID == row.ID && cur.row.Gen > row.Gen {
		return cur
	}
	return nil
}

// open opens a row's token; nil for a row that has none.
func (s *Source) open(row store.Token) (*freshet.Token, error) {
	if row.Sealed == nil {
		return nil, nil
	}
	t, err := s.o.Sealer.OpenToken(row.ID, row.Gen, row.Sealed)
	if err != nil {
		return nil, err
	}
	t.Generation = row.Gen
	return t, nil
}

// publish makes v the current view unless a later generation of the same row
// is there already. An answer brings the definition that it was asked for with:
// if that was changed meanwhile, the view is loaded again.
func (c *Conn) publish(v *view) {
	for {
		old := c.view.Load()
		if old != nil && old.row.ID == v.row.ID && old.row.Gen > v.row.Gen {
			return
		}
		if v.seen != c.seen.Load() {
			v.reload, v.until = true, time.Time{}
		}
		if c.view.CompareAndSwap(old, v) {
			if old != nil {
				c.s.bytes.Add(-old.size)
			}
			c.s.bytes.Add(v.size)
			break
		}
	}
	c.s.plan(v.row.NextAt)
	c.s.evict()
}

// invalidate makes the next read look at definition and row again.
func (c *Conn) invalidate() {
	c.seen.Add(1)
	for {
		old := c.view.Load()
		if old == nil || old.reload {
			return
		}
		v := *old
		v.reload, v.until = true, time.Time{}
		if c.view.CompareAndSwap(old, &v) {
			return
		}
	}
}

// stirred returns a channel that is closed when another process is known to
// have changed the row.
func (c *Conn) stirred() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stir == nil {
		c.stir = make(chan struct{})
	}
	return c.stir
}

func (c *Conn) stirUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stir != nil {
		close(c.stir)
		c.stir = nil
	}
}

// evict forgets the connection if nobody used it since the last look.
func (c *Conn) evict(name string) {
	if c.used.Swap(false) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight != nil {
		return
	}
	if c.s.conns.CompareAndDelete(name, c) {
		if v := c.view.Load(); v != nil {
			c.s.bytes.Add(-v.size)
		}
	}
}

func (v *view) event(typ string, now time.Time) Event {
	return Event{At: now, Type: typ, Connection: v.def.Connection.Name, Client: v.def.ClientKey(), Provider: v.def.Provider.Name, Generation: v.row.Gen}
}

// record makes events durable by themselves and tells them. An event that the
// database does not take is still told.
func (s *Source) record(events ...Event) {
	ctx, cancel := context.WithTimeout(s.life, 5*time.Second)
	defer cancel()
	if err := s.o.Store.AppendEvents(ctx, rows(events)...); err != nil {
		s.log.Warn("event not recorded", "error", err)
	}
	s.tell(events...)
}

// since drops the instants before from; list is in order.
func since(list []time.Time, from time.Time) []time.Time {
	for len(list) > 0 && list[0].Before(from) {
		list = list[1:]
	}
	return list
}
