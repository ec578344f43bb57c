package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

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

// migrationLock is the advisory lock of whoever changes the schema.
const migrationLock = 0x66727368

// ours are tables by which a database of another program is told.
var ours = []string{"meta", "tokens", "resources", "events", "audit"}

// ErrOlder says that nobody has brought the schema of a database up to date
// that is only looked at.
var ErrOlder = errors.New("the database was written by an older version of freshet, or is empty")

// schema returns the version of the last migration that was applied; -1: none.
func (d *DB) schema(ctx context.Context) (version int64, err error) {
	var exists bool
	if err := d.pool.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&exists); err != nil {
		return 0, d.describe(ctx, err)
	}
	if !exists {
		return -1, nil
	}
	err = d.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	return version, d.describe(ctx, err)
}

// checkSchema refuses what is not ours or too new. With look it refuses what is
// older, too.
func (d *DB) checkSchema(ctx context.Context, dir fs.FS, look bool) error {
	have, err := d.schema(ctx)
	if err != nil {
		return err
	}
	if newest := newestSchema(dir); have > newest {
		return &Error{Place: d.place, What: fmt.Sprintf("%v: its schema is %d, this binary knows %d", ErrNewer, have, newest),
			Do: "nothing was changed; start the newer binary, or name another database", is: ErrNewer}
	} else if look && have < newest {
		return &Error{Place: d.place, What: ErrOlder.Error(), Do: "start a server on it once", is: ErrOlder}
	}
	if have >= 0 && !look {
		return nil
	}
	if have < 0 {
		var found []string
		if err := d.pool.QueryRow(ctx, `SELECT coalesce(array_agg(t), '{}') FROM unnest($1::text[]) t WHERE to_regclass(t) IS NOT NULL`, ours).Scan(&found); err != nil {
			return d.describe(ctx, err)
		}
		if len(found) > 0 {
			slices.Sort(found)
			return &Error{Place: d.place, What: fmt.Sprintf("%v: %q", ErrForeign, found), Do: "nothing was changed; name an empty database, or a user with a schema of its own", is: ErrForeign}
		}
	}
	return nil
}

// migrate brings the schema up to date, each migration whole or not at all.
// Replicas that start together take turns: the lock is a transaction's, which
// holds behind a pooler, too.
func (d *DB) migrate(ctx context.Context, direct *pgx.ConnConfig, dir fs.FS) error {
	if err := d.checkSchema(ctx, dir, false); err != nil {
		return err
	}
	if have, err := d.schema(ctx); err != nil || have == newestSchema(dir) {
		return err
	}
	lock, err := d.pool.Begin(ctx)
	if err != nil {
		return d.describe(ctx, err)
	}
	defer lock.Rollback(context.WithoutCancel(ctx))
	if _, err := lock.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0`); err != nil {
		return d.describe(ctx, err)
	}
	if _, err := lock.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
		return d.describe(ctx, err)
	}
	// Somebody may have done it while this process waited.
	if err := d.checkSchema(ctx, dir, false); err != nil {
		return err
	}
	have, err := d.schema(ctx)
	if err != nil || have == newestSchema(dir) {
		return err
	}
	if err := d.up(ctx, direct, dir); err != nil {
		if now, serr := d.schema(ctx); serr == nil {
			have = now // what came before the one that failed is done
		}
		what := fmt.Sprintf("its schema stays at %d: %v", max(have, 0), err)
		if code(err) == "42501" {
			return &Error{Place: d.place, What: what, Do: "let the user make tables: GRANT CREATE ON SCHEMA public TO user, or make it the owner of the database", is: ErrUnfit, cause: err}
		}
		return &Error{Place: d.place, What: what, Do: "start again to go on from there", is: store.ErrReadOnly, cause: err}
	}
	return nil
}

func (d *DB) up(ctx context.Context, direct *pgx.ConnConfig, dir fs.FS) error {
	cfg := direct.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is run twice
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
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
