package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// EpochFile is the name, in a data directory, of the directory's half of the
// epoch.
const EpochFile = "epoch"

// Period is how often a server moves the epoch on. An older store that was put
// back is noticed unless both are of the same period.
const Period = 10 * time.Minute

// Why a store is not trusted, in words for the person who decides.
const (
	restored = "this store is a restored backup"
	replaced = "this store is not the one that this directory had last"
	unknown  = "this directory does not know this store: its file \"epoch\" is missing"
	foreign  = "this store does not know this directory: it has no epoch"

	danger = "; refresh tokens that were rotated meanwhile are spent, and trying them can make a provider revoke the grant"
)

// A Guard notices that the store under a data directory is not the one that
// was there last. Both carry the epoch, a random value that each start and
// every Period replaces: the store first, then the file.
//
//	store          file
//	now            now      the same store: go on
//	now, before    before   killed between the two: go on
//	none           none     the very first start: both are made
//	anything else           an older store, a copy, another one: Confirm
//
// An older directory that is put back as a whole, the file with it, looks like
// one whose server was switched off: a Guard does not notice that.
//
// A Guard is safe for concurrent use.
type Guard struct {
	store *store.Store
	path  string

	mu      sync.Mutex
	trusted bool // Check or Confirm has found or made the halves alike
}

// NewGuard returns the guard of a store and its data directory.
func NewGuard(st *store.Store, dir string) *Guard {
	return &Guard{store: st, path: filepath.Join(dir, EpochFile)}
}

// epoch is the store's half.
type epoch struct {
	now, before string // before: none until the first start has made the file
	revision    int64  // 0: the store has no epoch
}

const none = "none"

// Check compares the halves, once at the start and before anything is
// refreshed. Where they are alike it moves them on. Where they are not it
// changes nothing, and the background has to rest, for the reason given, until
// a person calls Confirm; a restart does not change that.
func (g *Guard) Check(ctx context.Context) (paused bool, reason string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, err := g.read(ctx)
	if err != nil {
		return false, "", err
	}
	file, err := g.readFile()
	if err != nil {
		return false, "", err
	}
	if e.revision == 0 && file == "" {
		if e, err = g.put(ctx, e, none); err != nil {
			return false, "", err
		}
	}
	if e.before == none && file == "" {
		// Only the first start leaves this, if it is killed here.
		if err := g.writeFile(e.now); err != nil {
			return false, "", err
		}
		file = e.now
	}
	switch {
	case e.revision == 0:
		return true, foreign + danger, nil
	case e.now == store.EpochOfCopies:
		return true, restored + danger, nil
	case file == "":
		return true, unknown + danger, nil
	case file != e.now && file != e.before:
		return true, replaced + danger, nil
	}
	return false, "", g.advance(ctx, e)
}

// Confirm makes the halves alike: a person has decided to go on with the store
// as it is.
func (g *Guard) Confirm(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, err := g.read(ctx)
	if err != nil {
		return err
	}
	return g.advance(ctx, e)
}

// Advance moves both halves on, if they are known to be alike. It costs one
// small commit and one small file.
func (g *Guard) Advance(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.trusted {
		return nil
	}
	e, err := g.read(ctx)
	if err != nil {
		return err
	}
	return g.advance(ctx, e)
}

func (g *Guard) advance(ctx context.Context, e epoch) error {
	before := e.now
	if e.revision == 0 {
		before = "-" // not none: the file follows
	}
	e, err := g.put(ctx, e, before)
	if err != nil {
		return err
	}
	if err := g.writeFile(e.now); err != nil {
		return err
	}
	g.trusted = true
	return nil
}

func (g *Guard) read(ctx context.Context) (e epoch, err error) {
	value, revision, err := g.store.Meta(ctx, store.EpochKey)
	if errors.Is(err, store.ErrNotFound) {
		return e, nil
	} else if err != nil {
		return e, fmt.Errorf("read the store's epoch: %w", err)
	}
	e.now, e.before, _ = strings.Cut(string(value), " ")
	e.revision = revision
	return e, nil
}

// put gives the store a new epoch after e.
func (g *Guard) put(ctx context.Context, e epoch, before string) (epoch, error) {
	var b [16]byte
	rand.Read(b[:])
	next := epoch{now: hex.EncodeToString(b[:]), before: before, revision: e.revision + 1}
	if err := g.store.PutMeta(ctx, store.EpochKey, []byte(next.now+" "+next.before), e.revision); err != nil {
		return e, fmt.Errorf("write the store's epoch: %w", err)
	}
	return next, nil
}

// readFile returns the directory's half, "" if there is none or nothing in it.
func (g *Guard) readFile() (string, error) {
	b, err := os.ReadFile(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("read the directory's epoch: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (g *Guard) writeFile(value string) error {
	if err := replace(g.path, []byte(value+"\n")); err != nil {
		return fmt.Errorf("write the directory's epoch: %w", err)
	}
	return nil
}
