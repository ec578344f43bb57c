package resource

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Store keeps resources; *store.Store is one.
type Store interface {
	Resource(ctx context.Context, kind, name string) (store.Resource, error)
	Resources(ctx context.Context, kind, after string, limit int) ([]store.Resource, error)
	Referrers(ctx context.Context, kind, name string, limit int) ([]store.Ref, error)
	Change(ctx context.Context, fn func(c *store.Change) error) error
}

// Sealer seals secrets; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// A Catalogue is the providers that are known without anybody declaring them.
// The zero Catalogue has none.
type Catalogue struct {
	Provider func(name string) (freshet.Provider, bool)
	Suggest  func(name string) []string // names that may be meant
}

func (c Catalogue) provider(name string) (freshet.Provider, bool) {
	if c.Provider == nil {
		return freshet.Provider{}, false
	}
	return c.Provider(name)
}

func (c Catalogue) suggest(name string) []string {
	if c.Suggest == nil {
		return nil
	}
	return c.Suggest(name)
}

// Options are what a Book is made of. Store and Sealer are required.
type Options struct {
	Store     Store
	Sealer    Sealer
	Registry  *Registry // nil: of Core
	Catalogue Catalogue

	// Allow is what may be reached beside network.allow.
	Allow []string
	// Written runs in the transaction that writes or deletes a resource, once
	// for each, before it commits. An error undoes everything.
	Written func(c *store.Change, u Update) error
	// OnChange is told what was written or deleted, after it is durable.
	OnChange func(kind string, names []string)
	// ProofKey returns the key that a connection's DPoP-bound tokens are bound
	// to. nil: definitions have none.
	ProofKey func(id freshet.ConnectionID) (freshet.Secret, error)
	// HoldsToken reports whether a connection has a token. nil: nobody knows.
	HoldsToken func(ctx context.Context, id freshet.ConnectionID) (bool, error)
	// Workflows checks definitions of workflows. nil: their form alone is
	// checked.
	Workflows WorkflowChecker
	// Components checks what components are made of. nil: their form alone is
	// looked at.
	Components ComponentChecker
	// Apps checks apps. nil: their form alone is checked.
	Apps AppChecker
	// Processes checks services, processes and what schedules name of them. nil:
	// their form alone is checked.
	Processes ProcessChecker
	// Tables compares tables with what is there. nil: their form alone is
	// checked.
	Tables TableChecker
	// CacheSize bounds the definitions kept in memory; 0: 8192.
	CacheSize int
}

// An Update is what happens to one resource in a transaction.
type Update struct {
	Effect
	ID string // of its row: a connection's ConnectionID
	// Definition is a connection's, as it is after a write and as it was before
	// a delete. It is nil for other kinds, and for a connection whose parts were
	// unreadable when it was deleted.
	Definition *freshet.Definition
	// Again marks a resource that somebody wanted written once more as it is.
	Again bool
}

// A Book keeps resources: it applies, exports and deletes them, and reads the
// definitions of connections out of them. It is safe for concurrent use.
type Book struct {
	store     Store
	sealer    Sealer
	reg       *Registry
	catalogue Catalogue
	o         Options
	allow     []string

	mu    sync.RWMutex
	epoch int64 // counts invalidations: what was read before one is not kept
	defs  map[string]*freshet.Definition
	parts map[Key]any // *freshet.Client as *clientPart, effective providers
}

// A clientPart is a client with its revision.
type clientPart struct {
	c        *freshet.Client
	id       string
	revision int64
}

// New returns a Book.
func New(o Options) (*Book, error) {
	if o.CacheSize <= 0 {
		o.CacheSize = 8192
	}
	b := &Book{store: o.Store, sealer: o.Sealer, reg: o.Registry, catalogue: o.Catalogue, o: o, allow: o.Allow,
		defs: map[string]*freshet.Definition{}, parts: map[Key]any{}}
	if b.reg == nil {
		var err error
		if b.reg, err = NewRegistry(Core()...); err != nil {
			return nil, err
		}
	}
	if _, err := newAllowance(o.Allow); err != nil {
		return nil, err
	}
	return b, nil
}

// Registry returns the kinds that the book keeps.
func (b *Book) Registry() *Registry { return b.reg }

// A View is a resource without its secrets, which show as freshet.Redacted.
type View struct {
	Key
	ID        string          `json:"id"`
	Revision  int64           `json:"revision"`
	Spec      json.RawMessage `json:"spec"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

func view(r store.Resource) View {
	return View{Key: Key{r.Kind, r.Name}, ID: r.ID, Revision: r.Revision, Spec: json.RawMessage(r.Spec), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
}

// Get returns a resource. The error wraps freshet.ErrNotFound if there is none.
func (b *Book) Get(ctx context.Context, k Key) (View, error) {
	row, err := b.row(ctx, k)
	if err != nil {
		return View{}, err
	}
	return view(row), nil
}

// List lists the resources of a kind in order of name, after the given name,
// at most limit.
func (b *Book) List(ctx context.Context, kind, after string, limit int) ([]View, error) {
	if _, ok := b.reg.Kind(kind); !ok {
		return nil, b.reg.unknown(kind)
	}
	rows, err := b.store.Resources(ctx, kind, after, limit)
	out := make([]View, len(rows))
	for i, r := range rows {
		out[i] = view(r)
	}
	return out, err
}

// page is how many rows are held at once where all are looked at.
const page = 256

// Names yields the names of a kind in order, without holding them all.
func (b *Book) Names(ctx context.Context, kind string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		after := ""
		for {
			rows, err := b.store.Resources(ctx, kind, after, page)
			if err != nil {
				yield("", err)
				return
			}
			for _, r := range rows {
				if !yield(r.Name, nil) {
					return
				}
				after = r.Name
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// row reads a resource; a NotFoundError names one that may be meant.
func (b *Book) row(ctx context.Context, k Key) (store.Resource, error) {
	row, err := b.store.Resource(ctx, k.Kind, k.Name)
	if errors.Is(err, store.ErrNotFound) {
		near := ""
		if rows, err := b.store.Resources(ctx, k.Kind, "", 1000); err == nil {
			names := make([]string, len(rows))
			for i, r := range rows {
				names[i] = r.Name
			}
			near = nearest(k.Name, names)
		}
		return row, &NotFoundError{Key: k, Similar: near}
	}
	return row, err
}

// binding is where a row's secrets open.
func binding(id string, revision int64) freshet.Binding {
	return freshet.Binding{Table: "resources", Row: id, Column: "secrets", Generation: revision}
}

// open returns the secrets of a row by path.
func (b *Book) open(r store.Resource) (map[string]freshet.Secret, error) {
	m := map[string]freshet.Secret{}
	if len(r.Secrets) == 0 {
		return m, nil
	}
	plain, err := b.sealer.Open(binding(r.ID, r.Revision), r.Secrets)
	if err != nil {
		return nil, fmt.Errorf("open the secrets of %s: %w", Key{r.Kind, r.Name}, err)
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		return nil, fmt.Errorf("read the secrets of %s: they are not what was sealed", Key{r.Kind, r.Name})
	}
	return m, nil
}

// seal is the inverse of open; no secrets are no bytes.
func (b *Book) seal(r *store.Resource, secrets map[string]freshet.Secret) (err error) {
	r.Secrets = nil
	if len(secrets) == 0 {
		return nil
	}
	clear := make(map[string]string, len(secrets))
	for path, s := range secrets {
		clear[path] = s.Reveal()
	}
	plain, err := encodeJSON(clear)
	if err != nil {
		return err
	}
	r.Secrets, err = b.sealer.Seal(binding(r.ID, r.Revision), plain)
	return err
}

func newID() string { return rand.Text() }

// decodeStored reads a row's spec, secrets showing as freshet.Redacted.
func decodeStored[T any](r store.Resource) (*T, error) {
	v := new(T)
	if err := json.Unmarshal([]byte(r.Spec), v); err != nil {
		return nil, fmt.Errorf("read %s: %w", Key{r.Kind, r.Name}, err)
	}
	return v, nil
}

// An effective provider is a catalogue's with the stored or given one over it.
type effective struct {
	p   *freshet.Provider // nil: there is none
	raw []byte            // as JSON
}

// effective puts a stored or given provider over the catalogue's. over is nil
// if there is none.
func (b *Book) effective(name string, over []byte) (effective, error) {
	raw := over
	if base, ok := b.catalogue.provider(name); ok {
		j, err := encodeJSON(base)
		if err == nil {
			raw, err = overlay(j, over)
		}
		if err != nil {
			return effective{}, fmt.Errorf("provider %s: %w", name, err)
		}
	}
	if raw == nil {
		return effective{}, nil
	}
	p := &freshet.Provider{Name: name}
	if err := json.Unmarshal(raw, p); err != nil {
		return effective{}, fmt.Errorf("read provider %s: %w", name, err)
	}
	return effective{p, raw}, nil
}

// Definition returns what is needed to obtain and use a connection's tokens.
// It is shared: read only. The error wraps freshet.ErrNotFound for a name that
// nobody declared.
func (b *Book) Definition(ctx context.Context, name string) (*freshet.Definition, error) {
	b.mu.RLock()
	d, epoch := b.defs[name], b.epoch
	b.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	d, err := b.define(ctx, name, epoch)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != epoch {
		return d, nil // as true as a read a moment ago, but not to be kept
	}
	for old := range b.defs {
		if len(b.defs) < b.o.CacheSize {
			break
		}
		delete(b.defs, old)
	}
	b.defs[name] = d
	return d, nil
}

func (b *Book) define(ctx context.Context, name string, epoch int64) (*freshet.Definition, error) {
	row, err := b.row(ctx, Key{kindConnection, name})
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	cn := v.(*freshet.Connection)
	// The revision must tell any two states apart, also when a connection turns
	// to another client or a newer binary brings another catalogue. A sum of
	// counters would not.
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", row.ID, row.Revision)
	client := inPlace(cn)
	if cn.Client != "" {
		part, err := b.clientPart(ctx, cn.Client, epoch)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", name, err)
		}
		client = part.c
		fmt.Fprintf(h, " %s %d", part.id, part.revision)
	}
	p, err := b.providerPart(ctx, client.Provider, epoch)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", name, err)
	}
	h.Write(p.raw)
	d, problems := compose(parts{name: name, conn: cn, client: client, provider: p.p})
	if len(problems) > 0 {
		// An apply refuses these; they come of a change elsewhere, such as a
		// provider that got another variable.
		return nil, fmt.Errorf("connection %s: %s: %s", name, problems[0].field, problems[0].text)
	}
	d.ID = freshet.ConnectionID(row.ID)
	if d.Client.DPoP && b.o.ProofKey != nil {
		if d.DPoPKey, err = b.o.ProofKey(d.ID); err != nil {
			return nil, fmt.Errorf("connection %s: its DPoP key: %w", name, err)
		}
	}
	d.Revision = int64(h.Sum64() >> 1)
	return d, nil
}

// value builds a stored resource with its secrets.
func (b *Book) value(row store.Resource) (any, error) {
	secrets, err := b.open(row)
	if err != nil {
		return nil, err
	}
	v, err := b.reg.build(b.reg.byName[row.Kind], row.Name, []byte(row.Spec), secrets)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Key{row.Kind, row.Name}, err)
	}
	return v, nil
}

// clientPart and providerPart read what many connections share once.
func (b *Book) clientPart(ctx context.Context, name string, epoch int64) (*clientPart, error) {
	k := Key{kindClient, name}
	if v, ok := b.part(k); ok {
		return v.(*clientPart), nil
	}
	row, err := b.row(ctx, k)
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	part := &clientPart{v.(*freshet.Client), row.ID, row.Revision}
	b.keep(k, part, epoch)
	return part, nil
}

func (b *Book) providerPart(ctx context.Context, name string, epoch int64) (effective, error) {
	k := Key{kindProvider, name}
	if v, ok := b.part(k); ok {
		return v.(effective), nil
	}
	var over []byte
	row, err := b.store.Resource(ctx, k.Kind, k.Name)
	switch {
	case err == nil:
		over = []byte(row.Spec)
	case !errors.Is(err, store.ErrNotFound):
		return effective{}, err
	}
	e, err := b.effective(name, over)
	if err != nil {
		return e, err
	}
	if e.p == nil {
		return e, &NotFoundError{Key: k}
	}
	b.keep(k, e, epoch)
	return e, nil
}

func (b *Book) part(k Key) (any, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.parts[k]
	return v, ok
}

func (b *Book) keep(k Key, v any, epoch int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != epoch {
		return
	}
	for old := range b.parts {
		if len(b.parts) < b.o.CacheSize {
			break
		}
		delete(b.parts, old)
	}
	b.parts[k] = v
}

// Provider returns a provider as connections see it: the stored one over the
// catalogue's. It is shared: read only.
func (b *Book) Provider(ctx context.Context, name string) (*freshet.Provider, error) {
	b.mu.RLock()
	epoch := b.epoch
	b.mu.RUnlock()
	e, err := b.providerPart(ctx, name, epoch)
	return e.p, err
}

// Network returns the network resource, zero if there is none.
func (b *Book) Network(ctx context.Context) (freshet.Network, error) {
	row, err := b.store.Resource(ctx, networkKey.Kind, networkKey.Name)
	if errors.Is(err, store.ErrNotFound) {
		return freshet.Network{}, nil
	}
	if err != nil {
		return freshet.Network{}, err
	}
	n, err := decodeStored[freshet.Network](row)
	if err != nil {
		return freshet.Network{}, err
	}
	return *n, nil
}

// Value returns a resource of a kind with its secrets, such as a webhook.
func Value[T any](ctx context.Context, b *Book, k Key) (*T, error) {
	row, err := b.row(ctx, k)
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	t, ok := v.(*T)
	if !ok {
		return nil, fmt.Errorf("%s is not a %T", k, t)
	}
	return t, nil
}

// Invalidate forgets what is cached of resources that changed. The book calls
// it itself for its own changes; another process's are told here.
func (b *Book) Invalidate(kind string, names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch++
	for _, n := range names {
		delete(b.parts, Key{kind, n})
	}
	switch kind {
	case kindConnection:
		for _, n := range names {
			delete(b.defs, n)
		}
	case kindClient, kindProvider:
		// Which connections use them only the database knows.
		clear(b.defs)
	}
}
