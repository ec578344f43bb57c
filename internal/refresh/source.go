package refresh

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Sealer opens and closes what the store keeps; *vault.Vault is one.
type Sealer interface {
	SealToken(id freshet.ConnectionID, gen int64, t *freshet.Token) ([]byte, error)
	OpenToken(id freshet.ConnectionID, gen int64, sealed []byte) (*freshet.Token, error)
	SealRecord(kind, id string, plain []byte) ([]byte, error)
	OpenRecord(kind, id string, sealed []byte) ([]byte, error)
	SealRevocation(letter string, def *freshet.Definition, t *freshet.Token) ([]byte, error)
	OpenRevocation(letter string, sealed []byte) (*freshet.Definition, *freshet.Token, error)
	Digest(purpose string, s freshet.Secret) []byte
}

// An Asker sends one token request; *grant.Sender is one.
type Asker interface {
	Ask(ctx context.Context, def *freshet.Definition, ask grant.Ask) grant.Outcome
	Revoke(ctx context.Context, def *freshet.Definition, tok *freshet.Token) error
}

// Definitions knows what connections are. It wraps freshet.ErrNotFound for a
// name that nobody declared.
type Definitions interface {
	Definition(ctx context.Context, name string) (*freshet.Definition, error)
}

// A Routine is a connection's own way of refreshing (Policy.By). It runs
// within the claim, and the token it returns is committed like any other.
type Routine func(ctx context.Context, def *freshet.Definition, by string, stored *freshet.Token) grant.Outcome

// Options are what a Source is made of. Store, Sealer, Asker and Definitions
// are required.
type Options struct {
	Store       *store.Store
	Sealer      Sealer
	Asker       Asker
	Definitions Definitions
	Routine     Routine

	Owner string // who holds this process's leases; an owner that starts again takes its own attempts back
	Dir   string // where the spill file lives; "" keeps none

	Now      func() time.Time     // nil: time.Now
	Jitter   func() float64       // uniform in [0,1); nil: math/rand
	Asleep   func() time.Duration // how long the machine has been suspended since it started; nil: what the system says
	Deadline time.Duration        // of one exchange with a provider; 0: 20 s
	Lease    time.Duration        // of a claim; 0: 30 s
	Patience time.Duration        // how long a reader whose token still lives waits for the next one; 0: 5 s

	// Mine reports whether this process is the one of several that looks after a
	// connection in the background; the others do when it is overdue. nil: it
	// looks after all.
	Mine func(id freshet.ConnectionID) bool

	Background int           // background refreshes at once over all providers; 0: 64
	Sweep      time.Duration // between looks for attempts that other processes left open; 0: 5 s
	Poll       time.Duration // at most between looks for due rows, which others may have written; 0: 1 min
	CacheBytes int64         // tokens kept open in memory; 0: 64 MiB

	Log     *slog.Logger
	Observe func(Event) // called for every event, from many goroutines; it must not block
}

// A Source hands out fresh tokens. It is safe for concurrent use.
type Source struct {
	o     Options
	log   *slog.Logger
	conns sync.Map // name → *Conn
	bytes atomic.Int64

	clients clients
	waves   waves
	spill   *spill

	paused  atomic.Pointer[rest] // why the background rests, nil if it does not
	closing atomic.Bool
	flying  sync.WaitGroup // attempts and commits under way
	loops   sync.WaitGroup
	stop    context.CancelFunc
	life    context.Context
	waiting atomic.Int64
	running atomic.Int64
	wake    chan struct{}

	nextLook atomic.Int64 // when the scheduler looks next, Unix ms
	slept    atomic.Int64 // how long the machine had slept in all when the tokens in memory were last told
}

// New returns a Source. Start must be called before its first use.
func New(o Options) *Source {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Asleep == nil {
		o.Asleep = asleep
	}
	if o.Jitter == nil {
		o.Jitter = mathrand.Float64
	}
	if o.Deadline == 0 {
		o.Deadline = 20 * time.Second
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.Background == 0 {
		o.Background = 64
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.Sweep == 0 {
		o.Sweep = 5 * time.Second
	}
	if o.Poll == 0 {
		o.Poll = time.Minute
	}
	if o.Owner == "" {
		o.Owner = "local"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	s := &Source{o: o, log: o.Log, wake: make(chan struct{}, 1)}
	s.slept.Store(int64(o.Asleep()))
	s.life, s.stop = context.WithCancel(context.Background())
	return s
}

// Start recovers what an earlier process left behind, then begins background
// work. It returns when recovery is done: replayed spill records are committed
// and open attempts are marked.
func (s *Source) Start(ctx context.Context) error {
	known, err := s.o.Store.Clients(ctx)
	if err != nil {
		return fmt.Errorf("refresh: read clients: %w", err)
	}
	s.clients.load(known)
	if s.o.Dir != "" {
		if s.spill, err = openSpill(s.o.Dir, s.o.Owner, s.o.Sealer); err != nil {
			return fmt.Errorf("refresh: %w", err)
		}
		if err := s.replay(ctx); err != nil {
			return fmt.Errorf("refresh: replay spilled answers: %w", err)
		}
	}
	if err := s.sweep(ctx, s.o.Owner); err != nil {
		return fmt.Errorf("refresh: recover open attempts: %w", err)
	}
	s.loops.Add(2)
	go s.scheduleLoop()
	go s.sweepLoop()
	return nil
}

// Close stops claiming, waits until what is in flight is committed or spilled,
// or until ctx ends, and stops the background.
func (s *Source) Close(ctx context.Context) error {
	s.closing.Store(true)
	done := make(chan struct{})
	go func() {
		s.flying.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("refresh: %d attempts still open: %w", s.running.Load(), ctx.Err())
	}
	s.stop()
	s.loops.Wait()
	if s.spill != nil {
		err = errors.Join(err, s.spill.Close())
	}
	return err
}

// A rest is why the background does nothing.
type rest struct {
	reason   string
	distrust bool // callers' own refreshes rest as well
}

// Pause stops background refresh until Resume, for the reason given; a
// caller's own reads go on.
func (s *Source) Pause(reason string) { s.paused.Store(&rest{reason: reason}) }

// Distrust is Pause for a store that may be an older one. Its refresh tokens may
// all be spent, and trying them could revoke every grant: until Resume none is
// sent unless a person asks for it. What lives is served, and what needs no
// refresh token is obtained.
func (s *Source) Distrust(reason string) { s.paused.Store(&rest{reason: reason, distrust: true}) }

// Resume lets the background go on.
func (s *Source) Resume() {
	s.paused.Store(nil)
	s.nudge()
}

// Paused returns why the background rests, "" if it does not.
func (s *Source) Paused() string {
	if r := s.paused.Load(); r != nil {
		return r.reason
	}
	return ""
}

// Gauges are what a Source is doing now.
type Gauges struct {
	Waiting  int64 // callers that wait for a refresh
	Running  int64 // attempts under way
	Cached   int64 // bytes of open tokens
	Spilled  int64 // answers in the spill file that the database has not taken
	Troubled int   // registrations that are misconfigured or paused
}

// Gauges returns the present values.
func (s *Source) Gauges() Gauges {
	g := Gauges{Waiting: s.waiting.Load(), Running: s.running.Load(), Cached: s.bytes.Load(), Troubled: s.clients.len()}
	if s.spill != nil {
		g.Spilled = s.spill.Pending()
	}
	return g
}

// Connection returns the handle of a connection, loading it if this process
// has not seen it yet. The error wraps freshet.ErrNotFound for a name that
// nobody declared.
func (s *Source) Connection(ctx context.Context, name string) (*Conn, error) {
	if c, ok := s.conns.Load(name); ok {
		c := c.(*Conn)
		if v := c.view.Load(); v != nil && !v.reload {
			return c, nil
		}
	}
	c := s.conn(name)
	if _, err := c.load(ctx); err != nil {
		if errors.Is(err, freshet.ErrNotFound) {
			s.conns.CompareAndDelete(name, c)
		}
		return nil, err
	}
	return c, nil
}

func (s *Source) conn(name string) *Conn {
	if c, ok := s.conns.Load(name); ok {
		return c.(*Conn)
	}
	c, _ := s.conns.LoadOrStore(name, &Conn{s: s, name: name})
	return c.(*Conn)
}

// Invalidate drops what is cached of the named connections, or of all without
// names: their definitions have changed. Registrations that were in trouble
// are tried again when clients names them.
func (s *Source) Invalidate(ctx context.Context, clients []string, names ...string) error {
	var errs []error
	for _, key := range clients {
		if s.clients.clear(key) {
			errs = append(errs, s.o.Store.ClearClient(ctx, key))
		}
	}
	if len(names) == 0 {
		s.conns.Range(func(_, c any) bool {
			c.(*Conn).invalidate()
			return true
		})
	}
	for _, n := range names {
		if c, ok := s.conns.Load(n); ok {
			c.(*Conn).invalidate()
		}
	}
	s.nudge()
	return errors.Join(errs...)
}

// Moved tells that another process has stored a generation of a connection; 0
// says that whatever is cached of it may be wrong. What this process knows
// already is left alone.
func (s *Source) Moved(name string, generation int64) {
	c, ok := s.conns.Load(name)
	if !ok {
		return
	}
	if v := c.(*Conn).view.Load(); v != nil && generation > 0 && v.row.Gen >= generation {
		return
	}
	c.(*Conn).invalidate()
	c.(*Conn).stirUp()
}

// Reload takes over what other processes have stored of registrations in
// trouble.
func (s *Source) Reload(ctx context.Context) error {
	known, err := s.o.Store.Clients(ctx)
	if err != nil {
		return fmt.Errorf("refresh: read clients: %w", err)
	}
	s.clients.merge(known)
	return nil
}

// nudge makes the scheduler look at once.
func (s *Source) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// evict makes room when the open tokens outgrow their bound.
func (s *Source) evict() {
	if s.bytes.Load() <= s.o.CacheBytes {
		return
	}
	goal := s.o.CacheBytes * 9 / 10
	s.conns.Range(func(name, c any) bool {
		c.(*Conn).evict(name.(string))
		return s.bytes.Load() > goal
	})
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
