package refresh

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A world is one Source over a real database and vault, and a provider that
// misbehaves on request, all in one bubble of fake time.
type world struct {
	t      *testing.T
	dir    string
	db     *faulty
	store  *store.Store
	vault  *vault.Vault
	src    *Source
	prov   *provider
	defs   defs
	opts   func(*Options)
	mu     sync.Mutex
	events []Event
}

// inWorld runs fn in a bubble, over a world that is closed after it.
func inWorld(t *testing.T, fn func(w *world), opts ...func(*Options)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(blank(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "master.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, prov: &provider{lifetime: time.Hour, model: "always"}, defs: defs{m: map[string]*freshet.Definition{}}}
		w.opts = func(o *Options) {
			for _, f := range opts {
				f(o)
			}
		}
		w.open()
		defer w.close()
		fn(w)
	})
}

// blank is a data directory as the first start leaves it, made once: migrations
// take most of a small test's time.
func blank(t *testing.T) string {
	t.Helper()
	blankOnce.Do(func() {
		blankDir, blankErr = os.MkdirTemp("", "freshet-blank-")
		if blankErr != nil {
			return
		}
		var st *store.Store
		if st, blankErr = sqlite.Open(context.Background(), blankDir, sqlite.Options{}); blankErr != nil {
			return
		}
		defer st.Close()
		_, blankErr = vault.Open(context.Background(), st, vault.MasterKeyFile(filepath.Join(blankDir, "master.key")))
	})
	if blankErr != nil {
		t.Fatal(blankErr)
	}
	return blankDir
}

var (
	blankOnce sync.Once
	blankDir  string
	blankErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(blankDir)
	os.Exit(code)
}

func (w *world) open() {
	w.t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, w.dir, sqlite.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = &faulty{DB: st.DB()}
	w.store = store.New(w.db)
	key := filepath.Join(w.dir, "master.key")
	if w.vault, err = vault.Open(ctx, w.store, vault.MasterKeyFile(key)); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func (w *world) start() {
	w.t.Helper()
	o := Options{Store: w.store, Sealer: w.vault, Asker: w.prov, Definitions: &w.defs, Dir: w.dir, Jitter: func() float64 { return 0.5 },
		Sweep: time.Minute, // days of fake time pass in some tests
		Observe: func(e Event) {
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
		}}
	w.opts(&o)
	w.src = New(o)
	if err := w.src.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.src.Close(ctx); err != nil {
		w.t.Errorf("close: %v", err)
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// crash ends the Source without any of its farewells, and starts another on
// the same database and files.
func (w *world) crash() {
	w.src.stop()
	w.src.loops.Wait()
	if w.src.spill != nil {
		w.src.spill.Close()
	}
	w.start()
}

// add declares a connection, with a first token unless refresh is empty.
func (w *world) add(name, refresh string, tweak ...func(*freshet.Definition)) *Conn {
	w.t.Helper()
	def := &freshet.Definition{ID: freshet.ConnectionID("id-" + name), Revision: 1,
		Connection: freshet.Connection{Name: name, Client: "acme", Grant: freshet.GrantAuthorizationCode},
		Client:     freshet.Client{Name: "acme", ID: "id", Secret: freshet.NewSecret("s")},
		Provider:   freshet.Provider{Name: "prov", TokenURL: "https://p.example/token"}}
	for _, f := range tweak {
		f(def)
	}
	w.defs.put(def)
	row := store.Token{ID: def.ID, Name: name, Client: def.ClientKey(), Provider: def.Provider.Name, State: freshet.StateOK}
	if def.Connection.Grant.Interactive() {
		row.State, row.Reason = freshet.StateReauth, freshet.ReasonNeverAuthorized
	}
	if err := w.store.Change(context.Background(), func(c *store.Change) error { return c.EnsureToken(row) }); err != nil {
		w.t.Fatal(err)
	}
	if refresh != "" {
		now := time.Now()
		tok := freshet.Token{Access: freshet.NewSecret("AT0-" + name), Refresh: freshet.NewSecret(refresh), Scheme: "Bearer", IssuedAt: now, Expiry: now.Add(w.prov.lifetime)}
		w.prov.grantTo(refresh)
		if err := w.src.Import(context.Background(), name, tok, false); err != nil {
			w.t.Fatal(err)
		}
	}
	c, err := w.src.Connection(context.Background(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) conn(name string) *Conn {
	w.t.Helper()
	c, err := w.src.Connection(context.Background(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) status(name string) Status {
	w.t.Helper()
	st, err := w.src.Status(context.Background(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) token(c *Conn) *freshet.Token {
	w.t.Helper()
	t, err := c.Token(context.Background(), 0)
	if err != nil {
		w.t.Fatalf("token of %s: %v", c.name, err)
	}
	return t
}

func (w *world) count(typ string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func (w *world) wantAsks(n int) {
	w.t.Helper()
	if got := w.prov.count(); got != n {
		w.t.Errorf("token requests = %d, want %d", got, n)
	}
}

func (w *world) wantState(name string, state freshet.State, reason freshet.Reason) {
	w.t.Helper()
	if st := w.status(name); st.State != state || st.Reason != reason {
		w.t.Errorf("state of %s = %s (%s), want %s (%s)", name, st.State, st.Reason, state, reason)
	}
}

func wantStateError(t *testing.T, err error, state freshet.State, reason freshet.Reason) *freshet.StateError {
	t.Helper()
	var se *freshet.StateError
	if !errors.As(err, &se) {
		t.Fatalf("err = %v, want a StateError", err)
	}
	if se.State != state || se.Reason != reason {
		t.Errorf("state error = %s (%s), want %s (%s)", se.State, se.Reason, state, reason)
	}
	return se
}

// defs is a Definitions made by hand.
type defs struct {
	mu sync.Mutex
	m  map[string]*freshet.Definition
}

func (d *defs) put(def *freshet.Definition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.m[def.Connection.Name] = def
}

func (d *defs) drop(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, name)
}

func (d *defs) Definition(_ context.Context, name string) (*freshet.Definition, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if def := d.m[name]; def != nil {
		return def, nil
	}
	return nil, freshet.ErrNotFound
}

// provider is an authorization server that lives in memory. Its refresh tokens
// form families; model says what becomes of one that is used.
type provider struct {
	mu       sync.Mutex
	model    string // never | omitted | always (old one refused) | grace (30 s) | replay | strict (reuse revokes)
	lifetime time.Duration
	took     time.Duration // how long an answer takes
	answer   func(n int, def *freshet.Definition, a grant.Ask) *grant.Outcome
	after    func(n int) // called when the provider has rotated, before it answers

	asks      int
	asked     []time.Time
	flying    int
	peak      int
	families  map[string]string // refresh token → family
	current   map[string]string // family → the refresh token that is good
	rotatedAt map[string]time.Time
	answers   map[string]grant.Outcome // for replay
	revoked   map[string]bool
	revokes   int
	revokeErr error
	n         int
}

func (p *provider) grantTo(refresh string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.families == nil {
		p.families, p.current, p.rotatedAt = map[string]string{}, map[string]string{}, map[string]time.Time{}
		p.answers, p.revoked = map[string]grant.Outcome{}, map[string]bool{}
	}
	p.families[refresh] = refresh
	p.current[refresh] = refresh
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

func (p *provider) Revoke(context.Context, *freshet.Definition, *freshet.Token) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revokes++
	return p.revokeErr
}

func (p *provider) Ask(ctx context.Context, def *freshet.Definition, a grant.Ask) grant.Outcome {
	p.mu.Lock()
	p.asks++
	n := p.asks
	p.asked = append(p.asked, time.Now())
	p.flying++
	p.peak = max(p.peak, p.flying)
	sent := time.Now()
	var out grant.Outcome
	if p.answer != nil {
		if o := p.answer(n, def, a); o != nil {
			out = *o
			if out.Token != nil {
				t := *out.Token
				if t.IssuedAt.IsZero() {
					t.IssuedAt = sent
				}
				out.Token = &t
			}
		} else {
			out = p.issue(a, sent)
		}
	} else {
		out = p.issue(a, sent)
	}
	took, after := p.took, p.after
	p.mu.Unlock()
	if after != nil {
		after(n)
	}
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			out = refused(grant.Retryable, "deadline", true)
		}
	}
	p.mu.Lock()
	p.flying--
	p.mu.Unlock()
	return out
}

// issue answers as the model does. The caller holds p.mu.
func (p *provider) issue(a grant.Ask, sent time.Time) grant.Outcome {
	p.n++
	tok := &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("AT%d", p.n)), Scheme: "Bearer", Type: "bearer", IssuedAt: sent, Expiry: sent.Add(p.lifetime)}
	rt := a.RefreshToken.Reveal()
	if rt == "" {
		return grant.Outcome{Token: tok}
	}
	fam, ok := p.families[rt]
	if !ok || p.revoked[fam] {
		return refused(grant.Permanent, "invalid_grant", false)
	}
	if p.current[fam] != rt {
		switch {
		case p.model == "replay":
			return p.answers[rt]
		case p.model == "grace" && sent.Sub(p.rotatedAt[rt]) <= 30*time.Second:
		case p.model == "strict":
			p.revoked[fam] = true
			return refused(grant.Permanent, "invalid_grant", false)
		default:
			return refused(grant.Permanent, "invalid_grant", false)
		}
	}
	switch p.model {
	case "never":
		tok.Refresh = freshet.NewSecret(rt)
	case "omitted":
	default:
		next := fmt.Sprintf("RT%d", p.n)
		p.families[next], p.current[fam], p.rotatedAt[rt] = fam, next, sent
		tok.Refresh = freshet.NewSecret(next)
		p.answers[rt] = grant.Outcome{Token: tok}
	}
	return grant.Outcome{Token: tok}
}

func refused(class grant.Class, code string, uncertain bool) grant.Outcome {
	return grant.Outcome{Err: &grant.Error{Class: class, Code: code, Uncertain: uncertain}}
}

func issued(access string, lifetime time.Duration, refresh string) *grant.Outcome {
	now := time.Now()
	t := &freshet.Token{Access: freshet.NewSecret(access), Refresh: freshet.NewSecret(refresh), Scheme: "Bearer", IssuedAt: now}
	if lifetime != 0 {
		t.Expiry = now.Add(lifetime)
	}
	return &grant.Outcome{Token: t}
}

// faulty is a database that fails on request.
type faulty struct {
	store.DB
	mu      sync.Mutex
	refuse  error // every write transaction, before it begins
	lost    int   // this many commits are applied, and reported as failed
	holding int   // transactions open now
	peakTx  int
	writes  int
}

func (f *faulty) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

func (f *faulty) Tx(ctx context.Context, fn func(store.Querier) error) error {
	f.mu.Lock()
	err := f.refuse
	f.writes++
	f.holding++
	f.peakTx = max(f.peakTx, f.holding)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.holding--
		f.mu.Unlock()
	}()
	if err != nil {
		return err
	}
	if err := f.DB.Tx(ctx, fn); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost > 0 {
		f.lost--
		return errors.New("connection lost during commit")
	}
	return nil
}

func exactOnline(d *freshet.Definition) { d.Provider.EarlyRefresh = freshet.Duration(30 * time.Second) }

func policy(p freshet.Policy) func(*freshet.Definition) {
	return func(d *freshet.Definition) { d.Connection.Refresh = p }
}

func rotation(r freshet.Rotation) func(*freshet.Definition) {
	return func(d *freshet.Definition) { d.Provider.Rotation = r }
}

func machine(d *freshet.Definition) { d.Connection.Grant = freshet.GrantClientCredentials }

// canaries fails the test if a token is found in clear in any file of the data
// directory.
func (w *world) canaries(values ...string) {
	w.t.Helper()
	filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, v := range values {
			for _, form := range []string{v, base64.StdEncoding.EncodeToString([]byte(v))} {
				if strings.Contains(string(b), form) {
					w.t.Errorf("%s holds a token in clear", filepath.Base(path))
				}
			}
		}
		return nil
	})
}
