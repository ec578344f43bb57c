package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/freshet-dev/freshet/internal/store"
)

// checkedAtStart is the size up to which a start reads all of a database: about
// a millisecond for each MiB. Of a larger one it looks at the ends of every
// table; [DB.Verify] reads the rest while the server works.
const checkedAtStart = 16 << 20

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

	quick      int64                                   // bytes up to which a start reads all; 0: checkedAtStart
	connector  func(driver.Connector) driver.Connector // for tests that end the process at a statement
	migrations fs.FS                                   // nil: those of this binary
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.quick == 0 {
		o.quick = checkedAtStart
	}
	if o.connector == nil {
		o.connector = func(c driver.Connector) driver.Connector { return c }
	}
	if o.migrations == nil {
		o.migrations = builtin
	}
	return o
}

// Open opens the database in dir, which it locks until Close, brings its schema
// up to date, and returns a store over it. It makes a database where there
// never was one; where one is missing, empty or damaged it refuses.
func Open(ctx context.Context, dir string, o Options) (*store.Store, error) {
	db, err := open(ctx, dir, o.withDefaults())
	if err != nil {
		return nil, err
	}
	return store.New(db), nil
}

// OpenFile opens a database file, such as a backup, to look at it.
func OpenFile(ctx context.Context, path string) (_ *store.Store, err error) {
	o := Options{ReadOnly: true}.withDefaults()
	d := &DB{now: o.Now, path: path}
	if err := d.look(ctx, o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return store.New(d), nil
}

// look connects to an existing database that nothing is written to.
func (d *DB) look(ctx context.Context, o Options) error {
	found, err := d.inspect()
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s: %w", d.path, ErrMissing)
	}
	if err := d.connect(ctx, o, dsn(d.path, o, true), dsn(d.path, o, false)); err != nil {
		return err
	}
	return d.refuseNewer(ctx, o)
}

func open(ctx context.Context, dir string, o Options) (_ *DB, err error) {
	d := &DB{now: o.Now, path: filepath.Join(dir, FileName)}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if o.ReadOnly {
		return d, d.look(ctx, o)
	}
	if d.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	found, err := d.inspect()
	if err != nil {
		return nil, err
	}
	if !found {
		if err := d.create(ctx, o); err != nil {
			return nil, err
		}
	}
	if err := d.connect(ctx, o, dsn(d.path, o, true), dsn(d.path, o, false)); err != nil {
		return nil, err
	}
	if found {
		if err := d.check(ctx, o); err != nil {
			return nil, err
		}
		if err := d.fold(ctx); err != nil {
			return nil, err
		}
		if err := d.migrate(ctx, o); err != nil {
			return nil, err
		}
	}
	return d, d.lock.mark()
}

// inspect looks at the files before SQLite does, which would take an empty one
// for a new database, and a log that does not read for an empty log.
func (d *DB) inspect() (found bool, err error) {
	st, err := os.Lstat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(d.path + "-wal"); err == nil {
			return false, fmt.Errorf("%s: %w, and its log freshet.db-wal is there; %s", d.path, ErrMissing, restoreTip)
		}
		if d.lock != nil && d.lock.marked {
			return false, fmt.Errorf("%s: %w, and this directory had one; %s, or begin anew in another directory", d.path, ErrMissing, restoreTip)
		}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("open database: %w", denied(err))
	case !st.Mode().IsRegular():
		return false, fmt.Errorf("%s: %w: it is not a plain file", d.path, ErrCorrupt)
	case st.Size() == 0:
		return false, d.damaged("it is empty")
	case !looksLikeSQLite(d.path):
		return false, d.damaged("it does not begin as a database does")
	case d.lock == nil:
		return true, nil
	}
	// SQLite gives log and index the mode of the file.
	if st.Mode().Perm() != 0o600 {
		if err := os.Chmod(d.path, 0o600); err != nil {
			return false, fmt.Errorf("open database: %w", denied(err))
		}
	}
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		return false, fmt.Errorf("open database: %w", denied(err))
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	if err := checkLog(d.path + "-wal"); err != nil {
		return false, fmt.Errorf("%s-wal: %w; %s", d.path, err, restoreTip)
	}
	return true, nil
}

// create makes an empty database of the present schema, whole or not at all:
// a first start that is killed leaves no file that looks like a database.
func (d *DB) create(ctx context.Context, o Options) (err error) {
	tmp := &DB{now: o.Now, path: d.path + ".new"}
	for _, suffix := range []string{"", "-journal"} {
		if err := os.Remove(tmp.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make the database: %w", denied(err))
		}
	}
	// Made here so that its mode does not depend on a umask.
	f, err := os.OpenFile(tmp.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make the database: %w", denied(err))
	}
	defer f.Close()
	// The application id tells file(1) whose it is, and a full disk before
	// goose, which tries three times, meets it.
	first := scratch(tmp.path, "application_id(0x66727368)")
	if err = tmp.connect(ctx, o, first, first); err == nil {
		err = tmp.up(ctx, o)
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		os.Remove(tmp.path)
		return fmt.Errorf("make the database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync()); err != nil {
		return fmt.Errorf("make the database: %w", denied(err))
	}
	if err := os.Rename(tmp.path, d.path); err != nil {
		return fmt.Errorf("make the database: %w", denied(err))
	}
	return syncDir(filepath.Dir(d.path))
}

// connect opens the pools.
func (d *DB) connect(ctx context.Context, o Options, write, read string) error {
	for _, p := range []struct {
		db  **sql.DB
		dsn string
		max int
	}{{&d.write, write, 1}, {&d.read, read, o.Readers}} {
		c, err := sqlite.NewConnector(p.dsn)
		if err != nil {
			return err
		}
		*p.db = sql.OpenDB(o.connector(c))
		(*p.db).SetMaxOpenConns(p.max)
		(*p.db).SetMaxIdleConns(p.max)
	}
	var version string
	if err := d.write.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return d.describe(err)
	}
	if olderThan(version, minVersion) {
		return fmt.Errorf("SQLite %s can damage a WAL database: %s or newer is needed", version, minVersion)
	}
	return nil
}

func dsn(path string, o Options, write bool) string {
	q := url.Values{}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", o.BusyTimeout.Milliseconds()))
	if o.ReadOnly {
		q.Add("mode", "ro")
	} else {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
		// A fsync of macOS leaves the bytes in the drive.
		q.Add("_pragma", "fullfsync(ON)")
	}
	q.Add("_pragma", "foreign_keys(ON)")
	q.Add("_pragma", "secure_delete(ON)")
	q.Add("_pragma", "temp_store(MEMORY)")
	if write {
		q.Add("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(ON)")
	}
	return fileURL(path, q)
}

// scratch is for a file that nobody reads before it is synced and renamed.
func scratch(path string, pragmas ...string) string {
	return fileURL(path, url.Values{"_pragma": append([]string{"journal_mode(MEMORY)", "synchronous(OFF)"}, pragmas...)})
}

func fileURL(path string, q url.Values) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// check looks for damage before anything is written.
func (d *DB) check(ctx context.Context, o Options) error {
	st, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if st.Size() <= o.quick {
		return d.Verify(ctx)
	}
	tables, err := d.tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, order := range []string{"", " DESC"} {
			var n any
			err := d.read.QueryRowContext(ctx, `SELECT `+t.key+` FROM "`+t.name+`" ORDER BY 1`+order+` LIMIT 1`).Scan(&n)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return d.describe(err)
			}
		}
	}
	return d.quickCheck(ctx, `PRAGMA quick_check('meta')`)
}

// fold brings what a process that was killed left in the log into the file
// before anything is added, so that a log has one torn end at most. Then the
// file has all its bytes, or was cut.
func (d *DB) fold(ctx context.Context) error {
	var busy, frames, moved int
	if err := d.write.QueryRowContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &frames, &moved); err != nil {
		return d.describe(err)
	}
	if frames != moved {
		return nil // somebody who only looks holds it up
	}
	var pages, size int64
	if err := d.write.QueryRowContext(ctx, `SELECT page_count, page_size FROM pragma_page_count, pragma_page_size`).Scan(&pages, &size); err != nil {
		return d.describe(err)
	}
	st, err := os.Stat(d.path)
	if err == nil && st.Size() < pages*size {
		err = d.damaged(fmt.Sprintf("it has %d bytes and should have %d", st.Size(), pages*size))
	}
	return err
}

// A table and the column that its rows lie in the order of.
type table struct{ name, key string }

func (d *DB) tables(ctx context.Context) ([]table, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT name, CASE wr WHEN 0 THEN 'rowid' ELSE (SELECT name FROM pragma_table_info(l.name) WHERE pk = 1) END
		FROM pragma_table_list AS l WHERE schema = 'main' AND type = 'table' AND name <> 'sqlite_schema'`)
	if err != nil {
		return nil, d.describe(err)
	}
	defer rows.Close()
	var list []table
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.name, &t.key); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, d.describe(rows.Err())
}

// Verify reads the whole database and returns ErrCorrupt if it finds damage.
// It takes about a millisecond for each MiB and holds nobody up.
func (d *DB) Verify(ctx context.Context) error {
	return d.quickCheck(ctx, `PRAGMA quick_check(1)`)
}

func (d *DB) quickCheck(ctx context.Context, pragma string) error {
	var verdict string
	if err := d.read.QueryRowContext(ctx, pragma).Scan(&verdict); err != nil {
		return d.describe(err)
	}
	if verdict != "ok" {
		return d.damaged(verdict)
	}
	return nil
}

// schema returns the version of the last migration that was applied, -1 for a
// database that is not ours.
func schema(ctx context.Context, db *sql.DB) (int64, error) {
	var have sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`).Scan(&have)
	if err != nil || have.Int64 == 0 {
		return -1, err
	}
	err = db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&have)
	return have.Int64, err
}

func (d *DB) refuseNewer(ctx context.Context, o Options) error {
	have, err := schema(ctx, d.read)
	if err != nil {
		return d.describe(err)
	}
	if newest := newestSchema(o.migrations); have > newest {
		return fmt.Errorf("%s: %w: its schema is %d, this binary knows %d; start the newer binary, or restore a backup made before the upgrade",
			d.path, ErrNewer, have, newest)
	}
	return nil
}

// migrate brings an existing database up to date, each migration whole or not
// at all.
func (d *DB) migrate(ctx context.Context, o Options) error {
	have, err := schema(ctx, d.read)
	if err != nil {
		return d.describe(err)
	}
	switch newest := newestSchema(o.migrations); {
	case have == newest:
		return nil
	case have < 0:
		return fmt.Errorf("%s: %w; move it away, or name another --data directory", d.path, ErrNone)
	case have > newest:
		return d.refuseNewer(ctx, o)
	}
	if err := d.up(ctx, o); err != nil {
		return fmt.Errorf("migrate %s from schema %d: %w; start again to go on from there", d.path, have, err)
	}
	return nil
}

func (d *DB) up(ctx context.Context, o Options) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, d.write, o.migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return d.describe(err)
}

// newestSchema is the version of the last migration in dir.
func newestSchema(dir fs.FS) (newest int64) {
	entries, _ := fs.ReadDir(dir, ".")
	for _, e := range entries {
		var n int64
		if _, err := fmt.Sscanf(e.Name(), "%d_", &n); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// denied adds ErrReadOnly to what the system says of a file that this user may
// not write, or of a disk that takes nothing more.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w; give the data directory and its files to the user that runs freshet, on a disk with room", store.ErrReadOnly, err)
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
