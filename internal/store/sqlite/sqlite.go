// Package sqlite is the embedded database: one file in WAL mode with
// synchronous=FULL, one connection that writes and a pool that reads, a lock
// on the data directory so that two servers cannot share it.
//
// What it refuses to open: a directory that another process uses; a file that
// a newer Freshet wrote, that SQLite finds damaged or that is no database of
// ours; a log that lost commits; and to make an empty database where one has
// been.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/freshet-dev/freshet/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

var builtin = func() fs.FS {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is a constant and valid
	}
	return dir
}()

// FileName is the database's name in a data directory.
const FileName = "freshet.db"

// minVersion is the first SQLite without the WAL-reset corruption.
const minVersion = "3.51.3"

const restoreTip = "restore the last backup with: freshet restore FILE --replace"

var (
	// ErrInUse says that another process holds the data directory.
	ErrInUse = errors.New("another freshet uses this data directory")
	// ErrNewer says that a newer Freshet wrote the database.
	ErrNewer = errors.New("the database was written by a newer version of freshet")
	// ErrCorrupt says that SQLite found the file damaged.
	ErrCorrupt = errors.New("the database file is damaged")
	// ErrMissing says that there is no database file where one has to be.
	ErrMissing = errors.New("the database file is missing")
)

// DB is the embedded database. It implements store.DB.
type DB struct {
	write, read *sql.DB
	prepared    prepared // of read
	now         func() time.Time
	lock        *dirLock // nil if opened to look
	path        string
}

// Read returns the read pool.
func (d *DB) Read() store.Querier { return querier{reader{d}, d} }

// Tx runs fn in one immediate transaction on the write connection.
func (d *DB) Tx(ctx context.Context, fn func(store.Querier) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return d.describe(err)
	}
	defer tx.Rollback()
	if err := fn(querier{tx, d}); err != nil {
		return err
	}
	return d.describe(tx.Commit())
}

// Now returns the machine's clock.
func (d *DB) Now(context.Context, store.Querier) (time.Time, error) { return d.now(), nil }

// ForUpdate is empty: one connection writes.
func (d *DB) ForUpdate() string { return "" }

// IsUnique reports whether err is a unique key's.
func (d *DB) IsUnique(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// Path returns the database file's path.
func (d *DB) Path() string { return d.path }

// Backup writes a consistent copy of the database, WAL included, to a file
// that must not exist.
func (d *DB) Backup(ctx context.Context, to string) error { return Copy(ctx, d.path, to) }

// Shred brings the log into the file and cuts it to nothing, so that neither
// holds what was deleted: the file has zeros there (secure_delete). The file
// system may keep the blocks of the log until it uses them again.
func (d *DB) Shred(ctx context.Context) error {
	var busy, frames, moved int
	if err := d.write.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved); err != nil {
		return d.describe(err)
	}
	if busy != 0 {
		return fmt.Errorf("%s: the log is still being read; try again", d.path)
	}
	return nil
}

// Close closes the pools and gives the directory back.
func (d *DB) Close() error {
	var errs []error
	for _, p := range []*sql.DB{d.read, d.write} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// describe turns SQLite's codes into the store's and this package's words, and
// names the file.
func (d *DB) describe(err error) error { return describe(d.path, err) }

func (d *DB) damaged(how string) error {
	return fmt.Errorf("%s: %w: %s; %s", d.path, ErrCorrupt, how, restoreTip)
}

func describe(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s: %w: %w; %s", path, ErrCorrupt, err, restoreTip)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL:
		return fmt.Errorf("%s: %w: %w", path, store.ErrReadOnly, err)
	}
	return err
}
