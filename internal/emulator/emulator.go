package emulator

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
)

// Options say how an emulator behaves. The zero Options are a well-behaved
// provider that rotates refresh tokens and knows everybody.
type Options struct {
	Seed       string           // every name follows from it; empty: "freshet"
	Now        func() time.Time // the provider's clock; nil: the system's
	Issuer     string           // empty: the address that requests come to
	Default    Profile          // how clients are treated that do not say
	Clients    []Client
	Registered bool              // unknown clients are refused
	Users      map[string]User   // who may sign in; nil: everybody
	Paths      map[string]string // more addresses: a path, or a prefix that ends in *, to one of ours
	Faults     []Fault           // queued from the start, and again after each reset
	Keep       int               // grants and access tokens that are remembered; 0: 200,000
	LogSize    int               // lines of the log; 0: 65,536
	Trace      func(Request)     // is told of each request as it ends; must not call the emulator
	Fast       bool              // no log, no story of each refresh token, nothing for oracles: for benchmarks
}

// Hostile are the options that tests start from: a strict provider whose
// tokens live shortly and whose every answer is as odd as it may legally be. A
// client that gets along with it gets along with most.
func Hostile() Options {
	return Options{
		Seed: "hostile",
		Default: Profile{
			Model: Strict, Lifetime: freshet.Duration(time.Minute), Expires: "string", Odd: true,
			PKCE: "required", Picky: true,
			CodeLifetime: freshet.Duration(20 * time.Second), DeviceLifetime: freshet.Duration(time.Minute), DeviceInterval: freshet.Duration(time.Second),
		},
	}
}

// An Emulator is the provider. It is an http.Handler, and a server of its own
// after Start. Its methods may be called from any goroutine.
type Emulator struct {
	opts Options
	keys *keyring

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	handlers sync.WaitGroup
	server   *http.Server
	served   chan struct{}
	base     string

	mu         sync.Mutex
	closed     bool
	began      time.Time     // monotonic; of the last reset
	advanced   time.Duration // of the clock
	epoch      int           // resets
	mac        hash.Hash
	sum        [sha256.Size]byte
	serial     int64
	serialBase int64

	clients     map[string]*client
	grants      *shelf[*grant]
	grantSerial int64
	access      *shelf[*accessToken]
	refresh     map[string]*refreshToken
	codes       *shelf[*authCode]
	consents    *shelf[*consentRequest]
	devices     *shelf[*device] // by device code
	userCodes   map[string]*device
	jtis        *shelf[struct{}]
	nonces      nonces

	queue     []*Fault
	gate      chan struct{} // closed by Release
	changed   chan struct{} // made by those who wait for a count, closed when one changes
	counts    counters
	presented *shelf[*RefreshStats]
	reuses    ring[Reuse]
	log       ring[Request]
	values    ring[issuedValue]
	recorded  map[string]*ring[*Recorded]
}

// New returns an emulator that serves nobody yet: it is a handler. It fails
// for a script's mistakes: a model, mode, path or key that makes no sense.
func New(o Options) (*Emulator, error) {
	or(&o.Seed, "freshet")
	or(&o.Keep, 200_000)
	or(&o.LogSize, 65_536)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Issuer = strings.TrimSuffix(o.Issuer, "/")
	if err := o.Default.check(); err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	o.Default.fill(standard)
	for i := range o.Faults {
		if err := o.Faults[i].check(); err != nil {
			return nil, fmt.Errorf("faults, number %d: %w", i+1, err)
		}
	}
	for from, to := range o.Paths {
		if _, ok := routes[to]; !ok && !strings.HasPrefix(to, "/api/") {
			return nil, fmt.Errorf("paths: %s leads to %s, which is not here: GET / lists the addresses", from, to)
		}
	}
	e := &Emulator{opts: o, keys: newKeyring(o.Seed), mac: hmac.New(sha256.New, []byte(o.Seed))}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.Reset(); err != nil {
		e.cancel()
		return nil, err
	}
	return e, nil
}

// Reset forgets everything that was issued, counted and queued, sets the clock
// right and registers the clients of the options again. Requests that are held
// go on. Names of tokens are not used again, and the signing keys stay.
func (e *Emulator) Reset() error {
	clients := map[string]*client{}
	for _, c := range append(builtin(), e.opts.Clients...) {
		made, err := e.newClient(c)
		if err != nil {
			return fmt.Errorf("client %s: %w", c.ID, err)
		}
		clients[c.ID] = made
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients = clients
	e.grants = newShelf[*grant](e.opts.Keep)
	e.grants.drop = e.forgetGrant
	e.access = newShelf[*accessToken](e.opts.Keep)
	e.refresh = map[string]*refreshToken{}
	e.codes = newShelf[*authCode](10_000)
	e.consents = newShelf[*consentRequest](10_000)
	e.devices = newShelf[*device](10_000)
	e.userCodes = map[string]*device{}
	e.devices.drop = func(_ string, d *device) { delete(e.userCodes, d.userCode) }
	e.jtis = newShelf[struct{}](100_000)
	e.advanced = 0
	e.queue = nil
	e.enqueueLocked(e.opts.Faults)
	e.releaseLocked()
	e.resetStatsLocked()
	return nil
}

// ResetStats forgets what was counted, and nothing else.
func (e *Emulator) ResetStats() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resetStatsLocked()
}

func (e *Emulator) resetStatsLocked() {
	e.epoch++
	e.began = time.Now()
	held := e.counts.held
	e.counts = newCounters()
	e.counts.held = held
	e.serialBase = e.serial
	e.presented = newShelf[*RefreshStats](e.opts.Keep)
	e.reuses = ring[Reuse]{max: 10_000}
	e.log = ring[Request]{max: e.opts.LogSize}
	e.recorded = map[string]*ring[*Recorded]{}
	e.values = ring[issuedValue]{max: e.opts.Keep}
	for _, c := range e.clients {
		c.requests, c.granted, c.grants, c.familiesRevoked, c.inFlight, c.inFlightMax = 0, 0, 0, 0, 0, 0
		c.byGrant, c.byError = map[string]int64{}, map[string]int64{}
	}
}

// Start serves on addr, or on a free port of 127.0.0.1 if addr is empty, until
// Close, and returns the base URL.
func (e *Emulator) Start(addr string) (string, error) {
	or(&addr, "127.0.0.1:0")
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("emulator: %w", err)
	}
	base := "http://" + l.Addr().String()
	return base, e.serve(l, base)
}

func (e *Emulator) serve(l net.Listener, base string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil || e.closed {
		l.Close()
		return errors.New("emulator: it was started before")
	}
	e.base = base
	e.served = make(chan struct{})
	e.server = &http.Server{
		Handler:           e,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    1 << 20,
		// Handlers that break connections on purpose would fill the log.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(e.served)
		e.server.Serve(l)
	}()
	return nil
}

// URL returns the base URL after Start, or the issuer of the options.
func (e *Emulator) URL() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.base != "" {
		return e.base
	}
	return e.opts.Issuer
}

// Close ends every request, held ones too, and the server, and waits for both.
func (e *Emulator) Close() error {
	e.mu.Lock()
	e.closed = true
	server, served := e.server, e.served
	e.mu.Unlock()
	e.cancel()
	var err error
	if server != nil {
		err = server.Close()
		<-served
	}
	e.handlers.Wait()
	return err
}

// now reads the provider's clock.
func (e *Emulator) now() time.Time {
	now := e.opts.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Add(e.advanced)
}

// Now returns the provider's time.
func (e *Emulator) Now() time.Time { return e.now() }

// Advance moves the provider's clock: tokens and codes grow older by d. It
// wakes nobody.
func (e *Emulator) Advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advanced += d
}

// issuer returns who we are to the sender of r; r may be nil.
func (e *Emulator) issuer(r *http.Request) string {
	switch {
	case e.opts.Issuer != "":
		return e.opts.Issuer
	case e.base != "":
		return e.base
	case r == nil:
		return "http://emulator.invalid"
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// RevokeGrants withdraws the consent for a client's grants, or for all clients'
// if it is empty, as an account's owner does: tokens die at once. It returns
// how many.
func (e *Emulator) RevokeGrants(clientID string) int {
	return e.eachGrant(clientID, func(g *grant) bool {
		if g.revoked != "" {
			return false
		}
		e.revokeLocked(g, "revoked")
		return true
	})
}

// KillAccess makes the API refuse the access tokens issued so far, which have
// not expired; refresh tokens go on working. It returns how many grants it met.
func (e *Emulator) KillAccess(clientID string) int {
	return e.eachGrant(clientID, func(g *grant) bool {
		g.killed = g.generation
		return g.revoked == ""
	})
}

func (e *Emulator) eachGrant(clientID string, do func(*grant) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, g := range e.grants.m {
		if (clientID == "" || g.client.ID == clientID) && do(g) {
			n++
		}
	}
	return n
}

// Release lets every held request go on and returns how many those were.
func (e *Emulator) Release() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.counts.held
	e.releaseLocked()
	return n
}

func (e *Emulator) releaseLocked() {
	if e.gate != nil {
		close(e.gate)
	}
	e.gate = make(chan struct{})
	e.changedLocked()
}

func (e *Emulator) changedLocked() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// await waits until enough says so; it is asked after each change, under the
// lock.
func (e *Emulator) await(ctx context.Context, enough func() bool) error {
	for {
		e.mu.Lock()
		if enough() {
			e.mu.Unlock()
			return nil
		}
		if e.changed == nil {
			e.changed = make(chan struct{})
		}
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.ctx.Done():
			return errors.New("the emulator was closed")
		}
	}
}

// AwaitHeld waits until n requests are held at once.
func (e *Emulator) AwaitHeld(ctx context.Context, n int) error {
	if err := e.await(ctx, func() bool { return e.counts.held >= n }); err != nil {
		return fmt.Errorf("waiting for %d held requests: %w", n, err)
	}
	return nil
}

// AwaitCount waits until an endpoint or a grant type has met n requests.
func (e *Emulator) AwaitCount(ctx context.Context, what string, n int) error {
	if err := e.await(ctx, func() bool { return e.countLocked(what) >= n }); err != nil {
		return fmt.Errorf("waiting for %d requests at %s: %w", n, what, err)
	}
	return nil
}
