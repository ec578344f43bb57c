package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet/internal/store"
)

// An Origin is where a database that several processes share lives, as its
// server tells it. Each member is "" where the server does not say.
type Origin struct {
	Server   string `json:"server,omitempty"`   // the cluster, and the database in it
	Timeline string `json:"timeline,omitempty"` // grows when a standby takes over, and when an archive is played back
	Synced   bool   `json:"synced,omitempty"`   // a standby confirms what is committed, so that one that takes over has it all
}

// A SharedGuard is the Guard of a database that replicas share. The database
// keeps an epoch, a number that grows, on a branch, a random name that a
// person's Confirm replaces; each data directory keeps the last that its replica
// has seen. And the database keeps where it lived when it was written to last.
//
//	the database lives where it did, and its epoch is not
//	behind the directory's                                  go on
//	a directory without an epoch                            a new replica: go on
//	copied or dumped and put back; an older state played
//	back; a standby that took over and may miss commits     everybody rests
//	an epoch behind the directory's                         everybody rests
//
// What one replica finds it writes into the database, so that all rest, until
// one person's Confirm on any of them.
type SharedGuard struct {
	store  *store.Store
	path   string
	origin func(context.Context) (Origin, error)

	mu   sync.Mutex
	seen sharedEpoch // the last that was found or made; Branch "" before Check
}

// sharedEpoch is the database's half.
type sharedEpoch struct {
	Branch string   `json:"branch"`
	N      int64    `json:"n"`
	Former []string `json:"former,omitempty"` // branches that a person has left behind
	Origin Origin   `json:"origin"`
	Doubt  string   `json:"doubt,omitempty"` // why nobody refreshes
}

// NewSharedGuard returns the guard of a shared database and of one replica's
// data directory. origin asks the server.
func NewSharedGuard(st *store.Store, dir string, origin func(context.Context) (Origin, error)) *SharedGuard {
	return &SharedGuard{store: st, path: filepath.Join(dir, EpochFile), origin: origin}
}

// Check compares, once at the start and before anything is refreshed. Where
// something is wrong it says so to all replicas, and the background has to rest,
// for the reason given, until a person calls Confirm.
func (g *SharedGuard) Check(ctx context.Context) (paused bool, reason string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 10 {
		paused, reason, err = g.check(ctx)
		if !errors.Is(err, store.ErrStale) {
			break
		}
	}
	return paused, reason, err
}

func (g *SharedGuard) check(ctx context.Context) (bool, string, error) {
	now, err := g.origin(ctx)
	if err != nil {
		return false, "", fmt.Errorf("ask where the database lives: %w", err)
	}
	e, revision, err := g.read(ctx)
	if err != nil {
		return false, "", err
	}
	branch, n, err := g.readFile()
	if err != nil {
		return false, "", err
	}
	why := e.Doubt
	switch {
	case why != "":
	case revision == 0: // the very first start of all
		e.Branch, e.Origin = newBranch(), now
	case e.Branch == "": // a copy, from backup or by hand
		why = restored
	case e.Origin.Server != "" && now.Server != "" && e.Origin.Server != now.Server:
		why = "this database was copied or restored from a dump"
	case e.Origin.Timeline != "" && now.Timeline != "" && e.Origin.Timeline != now.Timeline && !e.Origin.Synced:
		why = "another server has taken the database's place, or an archive was played back, and the last commits may be missing"
	case branch == e.Branch && n > e.N, branch != "" && branch != e.Branch && !contains(e.Former, branch):
		why = "this database is older than the one that this replica used last"
	}
	if why != "" && e.Doubt == "" {
		e.Doubt = why
		if e.Branch == "" {
			e.Branch = newBranch()
		}
		if err := g.write(ctx, e, revision); err != nil {
			return false, "", err
		}
	} else if why == "" {
		e.N, e.Origin = e.N+1, now
		if err := g.write(ctx, e, revision); err != nil {
			return false, "", err
		}
		if err := g.writeFile(e); err != nil {
			return false, "", err
		}
	}
	g.seen = e
	if why == "" {
		return false, "", nil
	}
	return true, why + danger, nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func newBranch() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Look reads what other replicas have found since. It changes nothing; a
// database that has gone back under a running replica is found by it.
func (g *SharedGuard) Look(ctx context.Context) (paused bool, reason string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, revision, err := g.read(ctx)
	if err != nil {
		return false, "", err
	}
	back := e.Branch == "" || e.Branch == g.seen.Branch && e.N < g.seen.N || e.Branch != g.seen.Branch && !contains(e.Former, g.seen.Branch)
	if e.Doubt == "" && back {
		e.Doubt = "this database is older than the one that this replica used a moment ago"
		if e.Branch == "" {
			e.Branch = newBranch()
		}
		if err := g.write(ctx, e, revision); err != nil && !errors.Is(err, store.ErrStale) {
			return true, e.Doubt + danger, err
		}
	}
	g.seen = e
	if e.Doubt == "" {
		return false, "", nil
	}
	return true, e.Doubt + danger, nil
}

// Distrust has all replicas rest: another server has taken the database's place.
// It returns the reason for people. The error is that the others do not know.
func (g *SharedGuard) Distrust(ctx context.Context, why string) (reason string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 10 {
		e, revision, rerr := g.read(ctx)
		if err = rerr; err != nil {
			break
		}
		if e.Doubt == "" {
			e.Doubt = why
			if err = g.write(ctx, e, revision); errors.Is(err, store.ErrStale) {
				continue
			}
		}
		break
	}
	return why + danger, err
}

// Confirm lets all replicas go on: a person has decided to go on with the
// database as it is.
func (g *SharedGuard) Confirm(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range 10 {
		now, err := g.origin(ctx)
		if err != nil {
			return fmt.Errorf("ask where the database lives: %w", err)
		}
		e, revision, err := g.read(ctx)
		if err != nil {
			return err
		}
		// Directories that know a later epoch of the former branch, or of one
		// that this database has forgotten, are told that a person knows.
		branch, _, err := g.readFile()
		if err != nil {
			return err
		}
		for _, b := range []string{e.Branch, branch, g.seen.Branch} {
			if b != "" && !contains(e.Former, b) {
				e.Former = append(e.Former, b)
			}
		}
		e.Former = e.Former[max(0, len(e.Former)-32):]
		e.Branch, e.N, e.Doubt, e.Origin = newBranch(), e.N+1, "", now
		err = g.write(ctx, e, revision)
		if errors.Is(err, store.ErrStale) {
			continue
		} else if err != nil {
			return err
		}
		g.seen = e
		return g.writeFile(e)
	}
	return store.ErrStale
}

// Advance moves the epoch on, if nobody doubts it.
func (g *SharedGuard) Advance(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, err := g.origin(ctx)
	if err != nil {
		return err
	}
	e, revision, err := g.read(ctx)
	if err != nil || e.Doubt != "" || e.Branch != g.seen.Branch || e.N < g.seen.N {
		return err // a look finds out more
	}
	e.N, e.Origin = e.N+1, now
	if err := g.write(ctx, e, revision); errors.Is(err, store.ErrStale) {
		return nil // another replica has moved it on
	} else if err != nil {
		return err
	}
	g.seen = e
	return g.writeFile(e)
}

// Follow notes that the database lives elsewhere now and has lost nothing: a
// standby that had confirmed every commit took over.
func (g *SharedGuard) Follow(ctx context.Context) error { return g.Advance(ctx) }

// read returns the database's half. Branch is empty for one that is no shared
// database's: a copy.
func (g *SharedGuard) read(ctx context.Context) (e sharedEpoch, revision int64, err error) {
	value, revision, err := g.store.Meta(ctx, store.EpochKey)
	if errors.Is(err, store.ErrNotFound) {
		return e, 0, nil
	} else if err != nil {
		return e, 0, fmt.Errorf("read the database's epoch: %w", err)
	}
	if json.Unmarshal(value, &e) != nil {
		e = sharedEpoch{}
	}
	return e, revision, nil
}

func (g *SharedGuard) write(ctx context.Context, e sharedEpoch, revision int64) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := g.store.PutMeta(ctx, store.EpochKey, b, revision); err != nil {
		return fmt.Errorf("write the database's epoch: %w", err)
	}
	return nil
}

// readFile returns the directory's half; "" if there is none of a shared
// database.
func (g *SharedGuard) readFile() (branch string, n int64, err error) {
	text, err := (&Guard{path: g.path}).readFile()
	if err != nil {
		return "", 0, err
	}
	branch, number, ok := strings.Cut(text, " ")
	if !ok {
		return "", 0, nil // of an embedded store that was here before
	}
	if n, err = strconv.ParseInt(number, 10, 64); err != nil {
		return "", 0, nil
	}
	return branch, n, nil
}

func (g *SharedGuard) writeFile(e sharedEpoch) error {
	return (&Guard{path: g.path}).writeFile(fmt.Sprintf("%s %d", e.Branch, e.N))
}
