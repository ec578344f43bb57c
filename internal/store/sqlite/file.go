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

	"github.com/freshet-dev/freshet/internal/store"
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
	have, err := schema(ctx, db)
	switch err = describe(path, err); {
	case err == nil && have < 0, errors.Is(err, ErrCorrupt) && !looksLikeSQLite(path):
		return fmt.Errorf("%s: %w", path, ErrNone)
	case err != nil:
		return err
	}
	newest := newestSchema(builtin)
	if have > newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d", path, ErrNewer, have, newest)
	}
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return describe(path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%s: %w: %s", path, ErrCorrupt, verdict)
	}
	if have < newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d", path, ErrOlder, have, newest)
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

// Copy writes a consistent copy of the database file at from, its log included
// and whoever is writing to it, to a file that must not exist. The copy is
// durable, has mode 0600 and no log, and is of no epoch: wherever it is put in
// the place of a database, that is noticed.
func Copy(ctx context.Context, from, to string) (err error) {
	if err := vacant(to); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("copy the database: %w", denied(err))
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(to)
			err = fmt.Errorf("copy the database: %w", err)
		}
	}()
	// A connection of its own: those of a read pool refuse the statement, and
	// the one that writes must not wait for it. VACUUM INTO reads one snapshot
	// and accepts an empty file as its target.
	if err := run(ctx, from, dsn(from, Options{BusyTimeout: 5 * time.Second, ReadOnly: true}, true), `VACUUM INTO $1`, to); err != nil {
		return err
	}
	if err := run(ctx, to, scratch(to), `INSERT INTO meta (key, value, revision) VALUES ($1, $2, 1)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = meta.revision + 1`, store.EpochKey, []byte(store.EpochOfCopies)); err != nil {
		return err
	}
	return f.Sync()
}

// vacant refuses a name that is taken.
func vacant(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists already; nothing is overwritten", path)
	}
	return nil
}

// run runs one statement on a connection of its own.
func run(ctx context.Context, path, dsn, query string, args ...any) error {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, query, args...)
	return errors.Join(describe(path, err), db.Close())
}

// Lock takes a data directory that no server uses, for work on its files. The
// error is ErrInUse if one does.
func Lock(dir string) (unlock func() error, err error) {
	l, err := lockDir(dir)
	if err != nil {
		return func() error { return nil }, err
	}
	return l.Close, nil
}

// Replace puts the database file at from, which it consumes and which lies in
// the same file system, in the place of the one in dir. The caller holds Lock.
// The former database is kept beside it under the name that is returned, "" if
// there was none. At every instant the directory has a database.
func Replace(ctx context.Context, dir, from string, now time.Time) (kept string, err error) {
	path := filepath.Join(dir, FileName)
	was := path + ".before-restore-" + now.UTC().Format("20060102T150405Z")
	if _, err := os.Lstat(path); err == nil {
		kept = was
		// What the log holds belongs into the former database. One that cannot
		// be brought in, because either is damaged, is kept beside it.
		_ = foldFile(ctx, path)
	}
	if err := setAside(path+"-wal", was+"-wal"); err != nil {
		return "", err
	}
	if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if kept != "" {
		if err := os.Link(path, kept); err != nil {
			return "", err
		}
	}
	if err := settle(from); err != nil {
		return "", err
	}
	// A former log beside the new file would be replayed into it: that it is
	// gone has to be durable first.
	if err := syncDir(dir); err != nil {
		return "", err
	}
	if err := os.Rename(from, path); err != nil {
		return "", err
	}
	return kept, syncDir(dir)
}

// setAside renames a log, if there is one and something is in it.
func setAside(from, to string) error {
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if st.Size() == 0 {
		return os.Remove(from)
	}
	return os.Rename(from, to)
}

// settle makes a file private and durable.
func settle(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
}

// foldFile brings the log of a database into its file, if both are whole.
func foldFile(ctx context.Context, path string) error {
	if st, err := os.Stat(path + "-wal"); err != nil || st.Size() == 0 {
		return nil
	}
	if err := checkLog(path + "-wal"); err != nil {
		return err
	}
	// To look is to change nothing; whoever opens it to write and leaves as the
	// last one brings the log in, whatever it found.
	if err := Examine(ctx, path); err != nil && !errors.Is(err, ErrOlder) && !errors.Is(err, ErrNewer) {
		return err
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
