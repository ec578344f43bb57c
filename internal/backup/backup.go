package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A Summary is what was found in a backup by reading all of it.
type Summary struct {
	Size        int64 // bytes
	Connections int64 // in any state
	Sealed      int   // sealed values that open with the master key
	Unreadable  int   // sealed values that do not: they were damaged before the backup was taken
}

var (
	// ErrOccupied says that a directory has a database already.
	ErrOccupied = errors.New("the directory has a database already")
	// ErrNoKeyring says that a database holds sealed values and not the keyring
	// that they open with.
	ErrNoKeyring = errors.New("the keyring is missing from the database, and nothing in it opens without")
)

// Take writes a backup of an open database to a file that must not exist, and
// reads it back with the master key before the file gets its name. Others may
// write to the database meanwhile.
func Take(ctx context.Context, db *sqlite.DB, key vault.MasterKey, to string) (Summary, error) {
	var s Summary
	err := write(ctx, to, db.Backup, func(ctx context.Context, part string) (err error) {
		s, err = Open(ctx, part, key)
		return err
	})
	return s, err
}

// Write lets fill write a backup, such as one that a server sends, to a file
// that does not exist, examines that, and gives it its name, which must be
// free. The name never stands for a part of a backup.
func Write(ctx context.Context, to string, fill func(ctx context.Context, part string) error) error {
	return write(ctx, to, fill, func(ctx context.Context, part string) error {
		_, err := examine(ctx, part)
		return err
	})
}

// examine reads all of a database; older says that a start will change its
// schema.
func examine(ctx context.Context, file string) (older bool, err error) {
	err = sqlite.Examine(ctx, file)
	if errors.Is(err, sqlite.ErrOlder) {
		return true, nil
	}
	return false, err
}

func write(ctx context.Context, to string, fill, check func(ctx context.Context, part string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("backup: %w", err)
		}
	}()
	if err := vacant(to); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(to), ".freshet-backup-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	part := filepath.Join(dir, filepath.Base(to))
	if err := fill(ctx, part); err != nil {
		return err
	}
	if err := check(ctx, part); err != nil {
		return fmt.Errorf("the copy is no good: %w", err)
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return name(part, to)
}

// Open reads all of a backup and opens everything in it with the master key,
// which has to be the one of its time. It changes nothing. Of a backup that an
// older version made it opens the keyring only.
func Open(ctx context.Context, file string, key vault.MasterKey) (s Summary, err error) {
	older, err := examine(ctx, file)
	if err != nil {
		return s, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return s, err
	}
	s.Size = st.Size()
	db, err := sqlite.OpenFile(ctx, file)
	if err != nil {
		return s, err
	}
	defer db.Close()
	ring, revision, err := db.LoadKeyring(ctx)
	if err != nil {
		return s, err
	}
	if ring == nil {
		// A store that no server has started on has sealed nothing.
		if !older {
			err = each(ctx, db, func(freshet.SealedValue) error { return ErrNoKeyring })
		}
		return s, err
	}
	v, err := vault.Open(ctx, keyring{ring, revision}, key)
	if err != nil {
		return s, fmt.Errorf("the master key at hand does not open the backup: %w", err)
	}
	if older {
		return s, nil
	}
	if err := openAll(ctx, db, v, &s); err != nil {
		return s, err
	}
	states, err := db.CountTokens(ctx)
	for _, n := range states {
		s.Connections += n
	}
	return s, err
}

// openAll opens every sealed value and counts.
func openAll(ctx context.Context, db *store.Store, v *vault.Vault, s *Summary) error {
	return each(ctx, db, func(value freshet.SealedValue) error {
		plain, err := v.Open(value.Binding, value.Sealed)
		clear(plain)
		if err != nil {
			s.Unreadable++
		} else {
			s.Sealed++
		}
		return nil
	})
}

// each calls fn for every sealed value.
func each(ctx context.Context, db *store.Store, fn func(freshet.SealedValue) error) error {
	for cursor := ""; ; {
		// No sealed value begins with a zero, so that all are listed.
		values, next, err := db.SealedAfter(ctx, []byte{0}, cursor, 500)
		if err != nil {
			return err
		}
		for _, value := range values {
			if err := fn(value); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

// keyring is a vault's storage that nobody writes.
type keyring struct {
	sealed   []byte
	revision int64
}

func (k keyring) LoadKeyring(context.Context) ([]byte, int64, error) {
	return k.sealed, k.revision, nil
}

func (k keyring) SaveKeyring(context.Context, []byte, int64) error {
	return errors.New("a backup is only read")
}

// Options change what Restore may do; the zero value replaces nothing.
type Options struct {
	Replace bool      // put the backup in the place of a database that is there
	Now     time.Time // names the former database; zero: the machine's clock
}

// Restored is what Restore did.
type Restored struct {
	Summary
	Former string // where the database is that was there, "" if there was none
}

// Restore puts a backup into a data directory. Before it touches anything it
// reads all of the backup, opens it with the master key, and takes the
// directory's lock: sqlite.ErrInUse if a server runs on it. ErrOccupied: a
// database is there, and Options do not say to replace it; one that is replaced
// is kept beside. At every instant the directory has a database, and the next
// start's Guard says that it was restored.
func Restore(ctx context.Context, from, dir string, key vault.MasterKey, o Options) (r Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore: %w", err)
		}
	}()
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	unlock, err := sqlite.Lock(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Lstat(filepath.Join(dir, sqlite.FileName)); err == nil && !o.Replace {
		return r, fmt.Errorf("%s: %w", dir, ErrOccupied)
	}
	// Before the copy, which would leave some kinds of damage out.
	older, err := examine(ctx, from)
	if err != nil {
		return r, err
	}
	if err := sweep(dir); err != nil {
		return r, err
	}
	// What is put in place is what was read: the backup may lie where others
	// write.
	stage, err := os.MkdirTemp(dir, stages)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(stage)
	staged := filepath.Join(stage, sqlite.FileName)
	if err := sqlite.Copy(ctx, from, staged); err != nil {
		return r, err
	}
	if older {
		// Here and not at the next start, so that a migration that fails leaves
		// what is in place alone.
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
	if r.Former, err = sqlite.Replace(ctx, dir, staged, o.Now); err != nil {
		return r, err
	}
	return r, nil
}

const stages = ".restore-*"

// sweep removes what a Restore that was killed left behind.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, stages))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
