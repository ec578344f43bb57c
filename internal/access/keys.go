package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

var (
	// ErrUnknown says that the key is not one of ours, or is one no more.
	ErrUnknown = errors.New("the API key is not valid")
	// ErrExpired says that the key was good once.
	ErrExpired = errors.New("the API key has expired")
	// ErrAddress says that the key may not be used from where it was.
	ErrAddress = errors.New("the API key may not be used from this address")
)

// A LimitedError says that too many wrong keys came from an address.
type LimitedError struct{ Wait time.Duration }

func (e *LimitedError) Error() string { return "too many wrong API keys from this address" }

// A Store keeps the rows of keys; *store.Store is one.
type Store interface {
	Keys(ctx context.Context) ([]store.Key, error)
	AddKey(ctx context.Context, k store.Key) error
	RevokeKey(ctx context.Context, name string) (id string, err error)
	TouchKeys(ctx context.Context, used map[string]time.Time) error
}

// A Hasher makes keyed hashes; *vault.Vault is one.
type Hasher interface {
	Digest(purpose string, s freshet.Secret) []byte
}

// Options are what Keys are made of. Store and Hasher are required.
type Options struct {
	Store  Store
	Hasher Hasher
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: silence
	// Shared says that other processes write the same rows, so that they are
	// read again every two seconds.
	Shared bool
}

const (
	tick       = time.Second
	saveEvery  = 30 * time.Second
	reloadEach = 2 * time.Second
)

// Keys are the API keys of an installation. They are safe for concurrent use.
type Keys struct {
	o      Options
	byID   atomic.Pointer[map[string]*Caller]
	nobody *Caller // stands for an id that does not exist
	wrong  failures

	mu   sync.Mutex // held while byID changes
	stop context.CancelFunc
	done sync.WaitGroup
}

// Open reads the keys. Close ends what it started.
func Open(ctx context.Context, o Options) (*Keys, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keys{o: o, nobody: &Caller{hash: make([]byte, sha256.Size)}}
	k.nobody.quick.Store(new([sha256.Size]byte))
	k.byID.Store(&map[string]*Caller{})
	if err := k.reload(ctx); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.done.Add(1)
	go k.loop(life)
	return k, nil
}

// Close records when keys were last used and stops.
func (k *Keys) Close(ctx context.Context) error {
	k.stop()
	k.done.Wait()
	return k.save(ctx)
}

// Check returns who a key belongs to. remote is http.Request.RemoteAddr. Errors
// are ErrUnknown, ErrExpired, ErrAddress and *LimitedError.
func (k *Keys) Check(key, remote string) (*Caller, error) {
	id, secret := split(key)
	c := (*k.byID.Load())[id]
	if c == nil {
		c = k.nobody
	}
	// An unknown id goes the same way as a wrong secret: one SHA-256, one keyed
	// hash, two comparisons of fixed length.
	sum := sha256.Sum256([]byte(secret))
	right := 0
	if known := c.quick.Load(); known != nil {
		right = subtle.ConstantTimeCompare(sum[:], known[:])
	}
	if right == 0 {
		right = subtle.ConstantTimeCompare(k.o.Hasher.Digest(purpose(id), freshet.NewSecret(secret)), c.hash)
		if right == 1 {
			c.quick.Store(&sum)
		}
	}
	now := k.o.Now()
	if right == 0 || c == k.nobody {
		return nil, k.failed(remote, now, ErrUnknown)
	}
	if !c.expires.IsZero() && !now.Before(c.expires) {
		c.end()
		return nil, ErrExpired
	}
	if c.ended() {
		return nil, k.failed(remote, now, ErrUnknown)
	}
	if !c.from(remote) {
		return nil, ErrAddress
	}
	if s := now.Unix(); c.used.Load() != s {
		c.used.Store(s)
	}
	return c, nil
}

func (k *Keys) failed(remote string, now time.Time, err error) error {
	if wait := k.wrong.add(remote, now); wait > 0 {
		return &LimitedError{Wait: wait}
	}
	return err
}

// purpose binds a hash to its id, so that the hash of one row is worth nothing
// in another.
func purpose(id string) string { return "api_key " + id }

// A Request asks for a new key.
type Request struct {
	Name      string
	Scopes    []string
	Addresses []string
	ExpiresAt time.Time // zero: never
}

// A RequestError says what is wrong with a Request.
type RequestError struct{ Field, Detail string }

func (e *RequestError) Error() string { return e.Field + ": " + e.Detail }

// Create makes a key. Errors are *RequestError, and store.ErrExists if the name
// is taken.
func (k *Keys) Create(ctx context.Context, r Request) (Key, error) {
	if err := k.check(r); err != nil {
		return Key{}, err
	}
	id, secret := newKey()
	return k.add(ctx, r, id, secret)
}

func (k *Keys) add(ctx context.Context, r Request, id, secret string) (Key, error) {
	row := store.Key{ID: id, Name: r.Name, Scopes: r.Scopes, Addresses: r.Addresses, CreatedAt: k.o.Now().UTC(), ExpiresAt: r.ExpiresAt,
		Hash: k.o.Hasher.Digest(purpose(id), freshet.NewSecret(secret))}
	if err := k.o.Store.AddKey(ctx, row); err != nil {
		return Key{}, fmt.Errorf("create key %s: %w", r.Name, err)
	}
	if err := k.reload(ctx); err != nil {
		return Key{}, err
	}
	return Key{Key: row, Secret: freshet.NewSecret(Prefix + id + "_" + secret)}, nil
}

func (k *Keys) check(r Request) error {
	if r.Name == "" || len(r.Name) > 100 || strings.ContainsFunc(r.Name, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return &RequestError{"name", "a key has a name of up to 100 printable characters"}
	}
	if len(r.Scopes) == 0 {
		return &RequestError{"scopes", "a key without scopes may do nothing: give token:GLOB, call:GLOB, run:GLOB, read or admin"}
	}
	for i, s := range r.Scopes {
		if err := ParseScope(s); err != nil {
			return &RequestError{"scopes[" + strconv.Itoa(i) + "]", err.Error()}
		}
	}
	for i, a := range r.Addresses {
		if _, err := parseAddress(a); err != nil {
			return &RequestError{"addresses[" + strconv.Itoa(i) + "]", err.Error()}
		}
	}
	if !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(k.o.Now()) {
		return &RequestError{"expires_at", "lies in the past"}
	}
	return nil
}

// List returns all keys in order of name, those that were revoked included.
func (k *Keys) List(ctx context.Context) ([]Key, error) {
	rows, err := k.o.Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	callers := *k.byID.Load()
	out := make([]Key, len(rows))
	for i, r := range rows {
		// What is in memory is newer than the row.
		if c := callers[r.ID]; c != nil {
			if used := c.used.Load(); used > 0 && used > r.LastUsed.Unix() {
				r.LastUsed = time.Unix(used, 0).UTC()
			}
		}
		out[i] = Key{Key: r}
	}
	slices.SortFunc(out, func(a, b Key) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Revoke ends a key by its name and closes what it has open. ErrNotFound: there
// is no such key.
func (k *Keys) Revoke(ctx context.Context, name string) (id string, err error) {
	id, err = k.o.Store.RevokeKey(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("key %s: %w", quote(name), freshet.ErrNotFound)
	} else if err != nil {
		return "", fmt.Errorf("revoke key %s: %w", quote(name), err)
	}
	// The row says so already; memory must follow even if it cannot be read.
	if c := (*k.byID.Load())[id]; c != nil {
		c.end()
	}
	return id, k.reload(ctx)
}

// reload takes over the rows. Callers that are known stay the same, so that
// their streams see the end of their key.
func (k *Keys) reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	rows, err := k.o.Store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	old := *k.byID.Load()
	next := make(map[string]*Caller, len(rows))
	for _, r := range rows {
		if !r.RevokedAt.IsZero() {
			continue
		}
		if c := old[r.ID]; c != nil {
			next[r.ID] = c
			continue
		}
		c, err := newCaller(r)
		if err != nil {
			// A newer version may know more scopes. One key is not a reason to
			// refuse all others.
			k.o.Log.Warn("an API key is left out", "key", r.Name, "error", err)
			continue
		}
		next[r.ID] = c
	}
	k.byID.Store(&next)
	for id, c := range old {
		if next[id] == nil {
			c.end()
		}
	}
	return nil
}

func (k *Keys) loop(ctx context.Context) {
	defer k.done.Done()
	t := time.NewTicker(tick)
	defer t.Stop()
	saved, read := k.o.Now(), k.o.Now()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := k.o.Now()
		for _, c := range *k.byID.Load() {
			if !c.expires.IsZero() && !now.Before(c.expires) {
				c.end()
			}
		}
		if now.Sub(saved) >= saveEvery {
			saved = now
			if err := k.save(ctx); err != nil && ctx.Err() == nil {
				k.o.Log.Warn("last use of API keys not recorded", "error", err)
			}
		}
		if k.o.Shared && now.Sub(read) >= reloadEach {
			read = now
			if err := k.reload(ctx); err != nil && ctx.Err() == nil {
				k.o.Log.Warn("API keys not read again", "error", err)
			}
		}
	}
}

// save records when keys were last used.
func (k *Keys) save(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	used := map[string]time.Time{}
	for id, c := range *k.byID.Load() {
		if u := c.used.Load(); u > c.saved {
			used[id] = time.Unix(u, 0)
		}
	}
	if err := k.o.Store.TouchKeys(ctx, used); err != nil {
		return fmt.Errorf("record the use of keys: %w", err)
	}
	for id, u := range used {
		(*k.byID.Load())[id].saved = u.Unix()
	}
	return nil
}

func quote(s string) string { return strconv.Quote(s) }
