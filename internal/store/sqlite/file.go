package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// ErrOlder says that an older Freshet wrote the database, and that nobody has
// brought its schema up to date yet.
var ErrOlder = errors.New("the database was written by an older version of freshet")

// ErrNone says that a file is no database of ours.
var ErrNone = errors.New("this is not a freshet database")

// Examine looks at a database file without changing it: whether it is ours, of
// a schema that this binary knows, and, by reading all of it, whole. Errors are
// ErrNone, ErrNewer, ErrCorrupt, and ErrOlder for one that is whole and that a
// start will bring up to date.
func Examine(ctx context.Context, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", path, ErrNone)
	}
	db, err := sql.Open("sqlite", dsn(path, Options{BusyTimeout: 5 * time.Second, ReadOnly: true}, false))
	if err != nil {
		return err
	}
	defer db.Close()
	newest, err := newestSchema()
	if err != nil {
		return err
	}
	var have sql.NullInt64
	if err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&have); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := describe(err); errors.Is(err, ErrCorrupt) && looksLikeSQLite(path) {
			return fmt.Errorf("%s: %w", path, err)
		}
		return fmt.Errorf("%s: %w", path, ErrNone)
	}
	if have.Int64 > newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d", path, ErrNewer, have.Int64, newest)
	}
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return fmt.Errorf("%s: %w", path, describe(err))
	}
	if verdict != "ok" {
		return fmt.Errorf("%s: %w: %s", path, ErrCorrupt, verdict)
	}
	if have.Int64 < newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d", path, ErrOlder, have.Int64, newest)
	}
	return nil
}

// looksLikeSQLite tells a damaged database from any other file.
func looksLikeSQLite(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [16]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:]) == "SQLite format 3\x00"
}

// newestSchema is the version of the last migration.
func newestSchema() (int64, error) {
	entries, err := fs.ReadDir(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, e := range entries {
		var n int64
		if _, err := fmt.Sscanf(e.Name(), "%d_", &n); err == nil {
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// Copy writes a consistent copy of the database file at from, its log included
// and whoever is writing to it, to a file that must not exist.
func Copy(ctx context.Context, from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("backup: %s exists already", to)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	// A connection of its own: those of a read pool refuse the statement, and
	// the one that writes must not wait for it.
	db, err := sql.Open("sqlite", dsn(from, Options{BusyTimeout: 5 * time.Second, ReadOnly: true}, true))
	if err != nil {
		os.Remove(to)
		return fmt.Errorf("backup: %w", err)
	}
	defer db.Close()
	// VACUUM INTO reads one snapshot and accepts an empty file as its target.
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		os.Remove(to)
		return fmt.Errorf("backup: %w", describe(err))
	}
	return nil
}

// Lock takes a data directory that no server uses, for work on its files. The
// error is ErrInUse if one does.
func Lock(dir string) (unlock func() error, err error) { return lockDir(dir) }

// Replace puts the database file at from, which it consumes and which lies in
// the same file system, in the place of the one in dir. The caller holds Lock.
// The former database is kept beside it under the name that is returned, "" if
// there was none. At every instant the directory has a database.
func Replace(ctx context.Context, dir, from string, now time.Time) (kept string, err error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Lstat(path); err == nil {
		kept = path + ".before-restore-" + now.UTC().Format("20060102T150405Z")
		// What the log holds belongs into the former database, and must not be
		// replayed into the new one.
		if err := fold(ctx, path); err != nil {
			for _, suffix := range []string{"-wal", "-shm"} {
				if err := os.Rename(path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return "", err
				}
			}
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if err := os.Link(path, kept); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(from, 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(from, path); err != nil {
		return "", err
	}
	return kept, syncDir(dir)
}

// fold brings the log of a database into its file.
func fold(ctx context.Context, path string) error {
	if st, err := os.Stat(path + "-wal"); err != nil || st.Size() == 0 {
		return nil
	}
	db, err := sql.Open("sqlite", dsn(path, Options{BusyTimeout: time.Second}, true))
	if err != nil {
		return err
	}
	defer db.Close()
	var busy, log, done int
	if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &done); err != nil {
		return err
	}
	if busy != 0 {
		return ErrInUse
	}
	return db.Close()
}

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which cannot, and need not
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
