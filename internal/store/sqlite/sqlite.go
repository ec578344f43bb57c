// Package sqlite is the embedded database: one file in WAL mode with
// synchronous=FULL, one connection that writes and a pool that reads, a lock
// on the data directory so that two servers cannot share it.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/freshet-dev/freshet/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// FileName is the database's name in a data directory.
const FileName = "freshet.db"

// minVersion is the first SQLite without the WAL-reset corruption.
const minVersion = "3.51.3"

var (
	// ErrInUse says that another process holds the data directory.
	ErrInUse = errors.New("another freshet uses this data directory")
	// ErrNewer says that a newer Freshet wrote the database.
	ErrNewer = errors.New("the database was written by a newer version of freshet")
	// ErrCorrupt says that SQLite found the file damaged.
	ErrCorrupt = errors.New("the database file is damaged")
)

// Options change how a database is opened; the zero value is right for a
// server.
type Options struct {
	// Now is the database's clock; nil is the machine's. One process uses the
	// file, so its clock and the database's are the same.
	Now func() time.Time
	// BusyTimeout bounds the wait for a foreign lock; 0 is 5 s.
	BusyTimeout time.Duration
	// Readers bounds the read pool; 0 is 4.
	Readers int
	// ReadOnly opens an existing database to look at it, without migrations and
	// without the directory's lock.
	ReadOnly bool
}

// DB is the embedded database. It implements store.DB.
type DB struct {
	write, read *sql.DB
	now         func() time.Time
	unlock      func() error
	path        string
}

// Open opens or makes the database in dir, which it locks until Close, brings
// its schema up to date, and returns a store over it.
func Open(ctx context.Context, dir string, o Options) (*store.Store, error) {
	db, err := open(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	return store.New(db), nil
}

func open(ctx context.Context, dir string, o Options) (_ *DB, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	path := filepath.Join(dir, FileName)
	d := &DB{now: o.Now, path: path, unlock: func() error { return nil }}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if !o.ReadOnly {
		if d.unlock, err = lockDir(dir); err != nil {
			return nil, err
		}
		// The file is made here so that its mode does not depend on a umask.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
	}
	if d.write, err = sql.Open("sqlite", dsn(path, o, true)); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	d.write.SetConnMaxLifetime(0)
	if d.read, err = sql.Open("sqlite", dsn(path, o, false)); err != nil {
		return nil, err
	}
	d.read.SetMaxOpenConns(o.Readers)
	d.read.SetMaxIdleConns(o.Readers)
	var version string
	if err := d.write.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, describe(err))
	}
	if olderThan(version, minVersion) {
		return nil, fmt.Errorf("SQLite %s can damage a WAL database: %s or newer is needed", version, minVersion)
	}
	if o.ReadOnly {
		return d, nil
	}
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	return d, d.migrate(ctx)
}

func dsn(path string, o Options, write bool) string {
	q := url.Values{}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", o.BusyTimeout.Milliseconds()))
	if o.ReadOnly {
		q.Add("mode", "ro")
	} else {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
	}
	q.Add("_pragma", "foreign_keys(ON)")
	q.Add("_pragma", "secure_delete(ON)")
	q.Add("_pragma", "temp_store(MEMORY)")
	if write {
		q.Add("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(ON)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// check looks for damage before anything is written. quick_check reads every
// page, so that on a large file only the b-tree roots are looked at.
func (d *DB) check(ctx context.Context) error {
	st, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	pragma := `PRAGMA quick_check(1)`
	if st.Size() > 64<<20 {
		pragma = `PRAGMA schema_version`
	}
	var verdict string
	if err := d.read.QueryRowContext(ctx, pragma).Scan(&verdict); err != nil {
		return fmt.Errorf("%s: %w", d.path, describe(err))
	}
	if pragma == `PRAGMA quick_check(1)` && verdict != "ok" {
		return fmt.Errorf("%s: %w: %s; restore the last backup with: freshet restore FILE", d.path, ErrCorrupt, verdict)
	}
	return nil
}

func (d *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// The newer-schema check comes first: goose would pass over versions that
	// it does not know.
	p, err := goose.NewProvider(goose.DialectSQLite3, d.write, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	var have sql.NullInt64
	err = d.read.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if err != nil && !strings.Contains(err.Error(), "no such table") {
		return fmt.Errorf("%s: %w", d.path, describe(err))
	}
	if have.Int64 > newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d; start the newer binary, or restore a backup made before the upgrade",
			d.path, ErrNewer, have.Int64, newest)
	}
	if have.Int64 == newest {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", d.path, describe(err))
	}
	return nil
}

// Read returns the read pool.
func (d *DB) Read() store.Querier { return querier{d.read} }

// Tx runs fn in one immediate transaction on the write connection.
func (d *DB) Tx(ctx context.Context, fn func(store.Querier) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return describe(err)
	}
	defer tx.Rollback()
	if err := fn(querier{tx}); err != nil {
		return err
	}
	return describe(tx.Commit())
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

// Shred overwrites what deleted rows left in the log.
func (d *DB) Shred(ctx context.Context) error {
	_, err := d.write.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return describe(err)
}

// Close closes the pools and gives the directory back.
func (d *DB) Close() error {
	var errs []error
	for _, p := range []*sql.DB{d.read, d.write} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(append(errs, d.unlock())...)
}

// describe turns SQLite's codes into the store's and this package's words.
func describe(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w; restore the last backup with: freshet restore FILE", ErrCorrupt, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	return err
}

// olderThan compares dotted version numbers.
func olderThan(v, than string) bool {
	var a, b [3]int
	fmt.Sscanf(v, "%d.%d.%d", &a[0], &a[1], &a[2])
	fmt.Sscanf(than, "%d.%d.%d", &b[0], &b[1], &b[2])
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
