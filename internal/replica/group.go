package replica

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// A Store is what the group looks at; *store.Store is one.
type Store interface {
	Meta(ctx context.Context, key string) (value []byte, revision int64, err error)
	Resource(ctx context.Context, kind, name string) (store.Resource, error)
	Events(ctx context.Context, connection string, after int64, limit int) ([]store.Event, error)
	LastEvents(ctx context.Context, connection string, limit int) ([]store.Event, error)
	Replicas(ctx context.Context) ([]store.Replica, error)
	Beat(ctx context.Context, id string, spilled int64) error
	Discharge(ctx context.Context, id string) error
	Enlist(ctx context.Context, r store.Replica, gone time.Duration) error
}

// A Bus carries short texts to all processes; *postgres.DB is one. Listen calls
// begun whenever it has begun to hear, heard for each text, and returns when ctx
// ends, or at once if it can never hear.
type Bus interface {
	Announce(ctx context.Context, payloads ...string) error
	Listen(ctx context.Context, begun func(), heard func(payload string)) error
}

// Options are what a Group is made of. Self, Store, Bus and the functions are
// required. The functions are called one at a time, and must not wait for the
// Group.
type Options struct {
	Self  store.Replica // ID, Place, Version, Protocol
	Store Store
	Bus   Bus

	// Token is told that a connection has reached a generation; 0: nobody knows
	// which, or it did not change and something else did.
	Token func(name string, generation int64)
	// Resources is told that resources of a kind were written or deleted, and
	// with kind "" that any may have been.
	Resources func(kind string, names []string)
	// Keyring is told that the vault's keyring is another.
	Keyring func(ctx context.Context) error
	// Look is called at every look.
	Look func(ctx context.Context) error
	// Spilled counts the answers that this process could not store.
	Spilled func() int64

	Poll time.Duration // between looks; 0: 2 s
	Log  *slog.Logger  // nil: silence
}

const (
	beatEvery = 5 * time.Second
	forget    = 24 * time.Hour // as long as orphans are kept
	// Gone is how long a replica is silent until it counts as dead.
	Gone = 30 * time.Second

	noticeBytes = 7000 // of names in a notice; PostgreSQL takes 7,999 in all
	keep        = 4096 // tokens waiting to be told; more are left to the looks
	eventBatch  = 1000
	epochKind   = "epoch"
	epochName   = "resources"
	keyringKey  = "keyring"
)

// A notice is what one process tells the others.
type notice struct {
	From     string           `json:"from"`
	Tokens   map[string]int64 `json:"tokens,omitempty"`
	Kind     string           `json:"kind,omitempty"` // of Names
	Names    []string         `json:"names,omitempty"`
	Many     bool             `json:"many,omitempty"`     // too many names to tell
	Revision int64            `json:"revision,omitempty"` // of all resources together
	Keyring  bool             `json:"keyring,omitempty"`
}

// A Group is this process among those that share its database.
type Group struct {
	o    Options
	stop context.CancelFunc
	done sync.WaitGroup
	wake chan struct{}

	mu      sync.Mutex
	tokens  map[string]int64 // to be told
	changes []notice         // to be told

	see       sync.Mutex // held while the functions are called
	revision  int64      // of the resources that are in force here
	ahead     map[int64]bool
	suspected int64 // a revision that the last look found and nobody told
	keyring   int64
	cursor    int64

	listening atomic.Bool
	silent    atomic.Pointer[[]store.Replica]
	reported  map[string]bool
	missed    atomic.Int64 // looks that found what nobody had told
}

// Start lists this process among the replicas and begins to listen and to look.
// What the process has read before may be stale already and is looked at again.
func Start(ctx context.Context, o Options) (*Group, error) {
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Group{o: o, wake: make(chan struct{}, 1), tokens: map[string]int64{}, ahead: map[int64]bool{}, reported: map[string]bool{}}
	g.silent.Store(new([]store.Replica))
	last, err := o.Store.LastEvents(ctx, "", 1)
	if err != nil {
		return nil, err
	}
	if len(last) > 0 {
		g.cursor = last[0].Seq
	}
	if g.revision, err = g.resources(ctx); err != nil {
		return nil, err
	}
	if _, g.keyring, err = o.Store.Meta(ctx, keyringKey); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	g.o.Resources("", nil)
	life, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.done.Go(func() { g.listen(life) })
	g.done.Go(func() { g.tell(life) })
	g.done.Go(func() { g.look(life) })
	return g, nil
}

// Close says what is left to say, and stops.
func (g *Group) Close(ctx context.Context) error {
	g.stop()
	g.done.Wait()
	return g.flush(ctx)
}

// Token tells the others that a connection has reached a generation; 0 says
// only that it is another than it was.
func (g *Group) Token(name string, generation int64) {
	g.mu.Lock()
	if was, ok := g.tokens[name]; ok && (was == 0 || was > generation && generation > 0) {
		generation = was
	} else if !ok && len(g.tokens) >= keep {
		g.mu.Unlock()
		return
	}
	g.tokens[name] = generation
	g.mu.Unlock()
	g.nudge()
}

// Changed tells the others that resources of a kind were written or deleted,
// which brought all resources together to a revision. This process knows.
func (g *Group) Changed(revision int64, kind string, names []string) {
	g.see.Lock()
	g.advance(revision)
	g.see.Unlock()
	g.mu.Lock()
	n := notice{Kind: kind, Revision: revision}
	size := 0
	for _, name := range names {
		size += len(name) + 3
	}
	if size > noticeBytes {
		n.Many = true
	} else {
		n.Names = names
	}
	g.changes = append(g.changes, n)
	g.mu.Unlock()
	g.nudge()
}

// Rekeyed tells the others that the keyring is another.
func (g *Group) Rekeyed() {
	g.mu.Lock()
	g.changes = append(g.changes, notice{Keyring: true})
	g.mu.Unlock()
	g.nudge()
}

// Silent lists the replicas that left without a word: what their spill files
// hold, nobody else has.
func (g *Group) Silent() []store.Replica { return *g.silent.Load() }

// Listening reports whether changes of other processes are heard, and not only
// looked for.
func (g *Group) Listening() bool { return g.listening.Load() }

// Missed counts the looks that found a change that nobody had told.
func (g *Group) Missed() int64 { return g.missed.Load() }

func (g *Group) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// tell says what there is to say, together what comes together.
func (g *Group) tell(ctx context.Context) {
	for {
		select {
		case <-g.wake:
		case <-ctx.Done():
			return
		}
		if err := g.flush(ctx); err != nil && ctx.Err() == nil {
			// The others look for themselves.
			g.o.Log.Debug("changes not told to other replicas", "error", err)
		}
	}
}

func (g *Group) flush(ctx context.Context) error {
	g.mu.Lock()
	tokens, list := g.tokens, g.changes
	g.tokens, g.changes = map[string]int64{}, nil
	g.mu.Unlock()
	n, size := notice{}, 0
	for name, gen := range tokens {
		if n.Tokens == nil {
			n.Tokens, size = map[string]int64{}, 0
		}
		n.Tokens[name] = gen
		if size += len(name) + 24; size > noticeBytes-400 {
			list, n = append(list, n), notice{}
		}
	}
	if n.Tokens != nil {
		list = append(list, n)
	}
	if len(list) == 0 {
		return nil
	}
	texts := make([]string, len(list))
	for i := range list {
		list[i].From = g.o.Self.ID
		b, err := json.Marshal(list[i])
		if err != nil {
			return err
		}
		texts[i] = string(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return g.o.Bus.Announce(ctx, texts...)
}

func (g *Group) listen(ctx context.Context) {
	err := g.o.Bus.Listen(ctx, func() {
		g.listening.Store(true)
		g.nudgeLook(ctx)
	}, func(text string) {
		var n notice
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			g.o.Log.Debug("a notice of another version is left to the looks", "error", err)
			return
		}
		if n.From != g.o.Self.ID {
			g.hear(ctx, n)
		}
	})
	g.listening.Store(false)
	if err != nil && ctx.Err() == nil {
		g.o.Log.Debug("changes of other replicas are looked for, not heard", "error", err)
	}
}

func (g *Group) hear(ctx context.Context, n notice) {
	g.see.Lock()
	defer g.see.Unlock()
	for name, gen := range n.Tokens {
		g.o.Token(name, gen)
	}
	if n.Revision > 0 {
		switch {
		case n.Many:
			g.o.Resources("", nil)
		default:
			g.o.Resources(n.Kind, n.Names)
		}
		g.advance(n.Revision)
	}
	if n.Keyring {
		g.rekey(ctx)
	}
}

// advance notes that a revision is in force here. Notices of several processes
// come in any order.
func (g *Group) advance(revision int64) {
	if revision <= g.revision {
		return
	}
	g.ahead[revision] = true
	for g.ahead[g.revision+1] {
		g.revision++
		delete(g.ahead, g.revision)
	}
}

func (g *Group) rekey(ctx context.Context) {
	if err := g.o.Keyring(ctx); err != nil && ctx.Err() == nil {
		g.o.Log.Error("the keyring was changed by another replica and does not open here: put the new master key in place and start again", "error", err)
	}
}

// resources is the revision that all resources have together.
func (g *Group) resources(ctx context.Context) (int64, error) {
	r, err := g.o.Store.Resource(ctx, epochKind, epochName)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return r.Revision, err
}

func (g *Group) nudgeLook(ctx context.Context) {
	if err := g.lookOnce(ctx); err != nil && ctx.Err() == nil {
		g.o.Log.Debug("look for changes of other replicas", "error", err)
	}
}

// look looks at what others may have changed, and lists this process.
func (g *Group) look(ctx context.Context) {
	t := time.NewTicker(g.o.Poll)
	defer t.Stop()
	var beat time.Time
	failing := false
	for {
		err := g.lookOnce(ctx)
		if now := time.Now(); now.Sub(beat) >= beatEvery && err == nil {
			beat = now
			err = g.beat(ctx)
		}
		if err != nil && ctx.Err() == nil && !failing {
			g.o.Log.Warn("changes of other replicas are not seen just now", "error", err)
		}
		failing = err != nil
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Group) lookOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	g.see.Lock()
	defer g.see.Unlock()
	revision, err := g.resources(ctx)
	if err != nil {
		return err
	}
	_, keyring, err := g.o.Store.Meta(ctx, keyringKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch {
	case revision == g.revision:
		g.suspected = 0
	case revision > g.revision && g.listening.Load() && g.suspected != g.revision+1:
		// It may have been told and not heard yet: it has until the next look.
		g.suspected = g.revision + 1
	default: // also for a database that was put back
		g.missed.Add(1)
		g.revision, g.suspected = revision, 0
		clear(g.ahead)
		g.o.Resources("", nil)
	}
	if keyring != g.keyring {
		g.keyring = keyring
		g.rekey(ctx)
	}
	if err := g.events(ctx); err != nil {
		return err
	}
	return g.o.Look(ctx)
}

// events looks at what happened to connections since the last look.
func (g *Group) events(ctx context.Context) error {
	for {
		list, err := g.o.Store.Events(ctx, "", g.cursor, eventBatch)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.Connection != "" {
				g.o.Token(e.Connection, Generation(e.Type, e.Detail))
			}
			g.cursor = e.Seq
		}
		if len(list) < eventBatch {
			return nil
		}
	}
}

// Generation is what an event says of a connection's generation: 0 where it
// tells of something else that is cached.
func Generation(typ string, detail map[string]any) int64 {
	switch typ {
	case "token.refreshed", "token.obtained", "token.imported", "connection.connected", "connection.recovered", "token.spilled", "token.scope_narrowed":
	default:
		return 0
	}
	gen, _ := detail["generation"].(float64)
	return int64(gen)
}

// beat says that this process lives, and looks which do not.
func (g *Group) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	self := g.o.Self
	self.Spilled = g.o.Spilled()
	err := g.o.Store.Beat(ctx, self.ID, self.Spilled)
	if errors.Is(err, store.ErrNotFound) {
		err = g.o.Store.Enlist(ctx, self, Gone)
	}
	if err != nil {
		return err
	}
	all, err := g.o.Store.Replicas(ctx)
	if err != nil {
		return err
	}
	silent := []store.Replica{}
	for _, r := range all {
		if r.ID == self.ID || r.Silent < Gone {
			delete(g.reported, r.ID)
			continue
		}
		if r.Silent > forget && r.Spilled == 0 || r.Silent > 30*forget {
			if err := g.o.Store.Discharge(ctx, r.ID); err != nil {
				return err
			}
			continue
		}
		silent = append(silent, r)
		if !g.reported[r.ID] {
			g.reported[r.ID] = true
			g.o.Log.Warn("a replica has left without a word: answers that it could not store are in the spill file of its data directory; start it again there",
				"replica", r.ID, "place", r.Place, "last seen", r.SeenAt, "spilled when last seen", r.Spilled)
		}
	}
	g.silent.Store(&silent)
	return nil
}
