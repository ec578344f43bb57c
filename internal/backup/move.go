package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// ErrAlive says that servers use a database that is to be moved.
var ErrAlive = errors.New("servers use the database")

// ErrNotEmpty says that rows are where a store is to be put.
var ErrNotEmpty = errors.New("the database is not empty")

// ErrSpilled says that a spill file holds answers that the store has not.
var ErrSpilled = errors.New("answers wait in a spill file")

// A Moved is what a move has done.
type Moved struct {
	Summary
	Tables int
	Rows   int64
}

// A MoveOptions says where a store moves. One of From and To is a data
// directory, the other a URL of PostgreSQL.
type MoveOptions struct {
	From, To string
	Key      vault.MasterKey
	Progress func(table string, rows int64)
}

// isURL tells a database's URL from a directory.
func isURL(s string) bool { return strings.Contains(s, "://") }

// Move copies a store that no server uses into another database, whole or not at
// all: every row is read back and compared, and every sealed value opened with
// the master key, before anything is there. What it leaves behind says that it
// has moved: a server that starts on it nevertheless refreshes nothing by
// itself.
func Move(ctx context.Context, o MoveOptions) (m Moved, err error) {
	switch {
	case isURL(o.From) == isURL(o.To):
		return m, errors.New("one side is a data directory and the other a postgres:// URL")
	case isURL(o.To):
		m, err = o.toServer(ctx)
	default:
		m, err = o.toDirectory(ctx)
	}
	if err != nil {
		return m, fmt.Errorf("move the store: %w", err)
	}
	return m, nil
}

func (o MoveOptions) count(m *Moved) func(string, int64) {
	return func(table string, rows int64) {
		m.Tables++
		if o.Progress != nil {
			o.Progress(table, rows)
		}
	}
}

func (o MoveOptions) toServer(ctx context.Context) (m Moved, err error) {
	if _, err := os.Stat(filepath.Join(o.From, sqlite.FileName)); err != nil {
		return m, err
	}
	if err := noSpill(o.From); err != nil {
		return m, err
	}
	from, err := sqlite.Open(ctx, o.From, sqlite.Options{}) // takes the lock: no server runs
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := postgres.Open(ctx, postgres.Options{URL: o.To})
	if err != nil {
		return m, err
	}
	defer to.Close()
	if err := load(ctx, from, to, o.Key, &m, o.count(&m), ""); err != nil {
		return m, err
	}
	return m, leave(ctx, from)
}

// load fills an empty PostgreSQL store; epoch "": the database is to make one.
func load(ctx context.Context, from, to *store.Store, key vault.MasterKey, m *Moved, progress func(string, int64), epoch string) error {
	db, err := shared(to)
	if err != nil {
		return err
	}
	if err := nobody(ctx, to); err != nil {
		return err
	}
	return db.Fill(ctx, func(tx store.Querier) (err error) {
		if m.Rows, err = transfer(ctx, side{embedded, from.DB().Read()}, side{server, tx}, progress); err != nil {
			return err
		}
		if m.Summary, err = all(ctx, store.New(within{db, tx}), key); err != nil {
			return err
		}
		if epoch != "" {
			_, err = tx.Exec(ctx, `INSERT INTO meta (key, value, revision) VALUES ($1, $2, 1)`, store.EpochKey, []byte(epoch))
		}
		return err
	})
}

func (o MoveOptions) toDirectory(ctx context.Context) (m Moved, err error) {
	if err := os.MkdirAll(o.To, 0o700); err != nil {
		return m, err
	}
	from, err := postgres.Open(ctx, postgres.Options{URL: o.From})
	if err != nil {
		return m, err
	}
	defer from.Close()
	if err := nobody(ctx, from); err != nil {
		return m, err
	}
	unlock, err := sqlite.Lock(o.To)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Lstat(filepath.Join(o.To, sqlite.FileName)); err == nil {
		return m, fmt.Errorf("%s: %w", o.To, ErrOccupied)
	}
	if err := noSpill(o.To); err != nil {
		return m, err
	}
	if err := sweep(o.To); err != nil {
		return m, err
	}
	stage, err := os.MkdirTemp(o.To, stages)
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(stage)
	if err := unload(ctx, from, stage, o.Key, &m, o.count(&m)); err != nil {
		return m, err
	}
	// A half of an epoch that another store had here is not this store's.
	if err := os.Remove(filepath.Join(o.To, EpochFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if _, err := sqlite.Replace(ctx, o.To, filepath.Join(stage, sqlite.FileName), time.Now()); err != nil {
		return m, err
	}
	return m, leave(ctx, from)
}

// unload makes an embedded store of a PostgreSQL one in an empty directory.
// Others may write meanwhile: it is of one moment.
func unload(ctx context.Context, from *store.Store, dir string, key vault.MasterKey, m *Moved, progress func(string, int64)) (err error) {
	db, err := shared(from)
	if err != nil {
		return err
	}
	to, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := db.Snapshot(ctx, func(q store.Querier) error {
		return to.DB().Tx(ctx, func(tx store.Querier) (err error) {
			m.Rows, err = transfer(ctx, side{server, q}, side{embedded, tx}, progress)
			return err
		})
	}); err != nil {
		return err
	}
	m.Summary, err = all(ctx, to, key)
	return err
}

// TakeShared writes a backup of a PostgreSQL store, which replicas may write to
// meanwhile, to a file that must not exist. The file is one like those of the
// embedded store.
func TakeShared(ctx context.Context, st *store.Store, key vault.MasterKey, to string) (Summary, error) {
	var s Summary
	err := write(ctx, to, func(ctx context.Context, part string) error {
		stage, err := os.MkdirTemp(filepath.Dir(part), "stage-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(stage)
		var m Moved
		if err := unload(ctx, st, stage, key, &m, nil); err != nil {
			return err
		}
		return sqlite.Copy(ctx, filepath.Join(stage, sqlite.FileName), part) // of no epoch
	}, func(ctx context.Context, part string) (err error) {
		s, err = Open(ctx, part, key)
		return err
	})
	return s, err
}

// RestoreShared puts a backup into an empty PostgreSQL database. All replicas
// that start on it rest until a person confirms.
func RestoreShared(ctx context.Context, from, url string, key vault.MasterKey) (r Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore: %w", err)
		}
	}()
	older, err := examine(ctx, from)
	if err != nil {
		return r, err
	}
	stage, err := os.MkdirTemp("", "freshet-restore-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(stage)
	staged := filepath.Join(stage, sqlite.FileName)
	if err := sqlite.Copy(ctx, from, staged); err != nil {
		return r, err
	}
	if older {
		db, err := sqlite.Open(ctx, stage, sqlite.Options{})
		if err != nil {
			return r, err
		}
		if err := db.Close(); err != nil {
			return r, err
		}
	}
	if r.Summary, err = Open(ctx, staged, key); err != nil {
		return r, err
	}
	src, err := sqlite.OpenFile(ctx, staged)
	if err != nil {
		return r, err
	}
	defer src.Close()
	to, err := postgres.Open(ctx, postgres.Options{URL: url})
	if err != nil {
		return r, err
	}
	defer to.Close()
	var m Moved
	return r, load(ctx, src, to, key, &m, nil, store.EpochOfCopies)
}

// nobody makes sure that no server uses a shared database.
func nobody(ctx context.Context, st *store.Store) error {
	list, err := st.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Silent < 30*time.Second {
			return fmt.Errorf("%w: replica %s at %s was seen %s ago", ErrAlive, r.ID, r.Place, r.Silent.Round(time.Second))
		}
		if r.Spilled > 0 {
			return fmt.Errorf("%w: replica %s at %s left %d of them", ErrSpilled, r.ID, r.Place, r.Spilled)
		}
	}
	return nil
}

// noSpill makes sure that all answers are in the store.
func noSpill(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "spill-*"))
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		var b [20]byte // the head of the file, and of its first record
		n, _ := f.ReadAt(b[:], 0)
		f.Close()
		if n == len(b) && binary.BigEndian.Uint32(b[16:]) != 0 {
			return fmt.Errorf("%w: %s", ErrSpilled, path)
		}
	}
	return nil
}

// leave marks a store that has moved: it is a copy from now on.
func leave(ctx context.Context, st *store.Store) error {
	_, revision, err := st.Meta(ctx, store.EpochKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := st.PutMeta(ctx, store.EpochKey, []byte(store.EpochOfCopies), revision); err != nil {
		return fmt.Errorf("all rows are in their new place, and the former one does not say so yet: %w", err)
	}
	return nil
}
