// Package postgres is the database of several replicas: a PostgreSQL server of
// version 13 or newer, with or without a pooler in between.
//
// Every write transaction says SET LOCAL synchronous_commit, whatever the
// server's default is: what was acknowledged survives a crash of the server.
// Nothing here outlives a transaction on a connection (no named prepared
// statement, no session setting, no session lock), so that PgBouncer may pool
// transactions; a URL that goes around the pooler serves what cannot go through
// it, LISTEN, and migrations.
//
// What it refuses to open: a server that it cannot reach or that takes no
// writes, too few connections, a database of another program or of a newer
// Freshet. It writes nothing before it has made sure.
package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/store"
)

// patience bounds what a caller did not bound: the wait for a transaction to
// begin, and each statement. A transaction of many statements takes as long as
// it takes.
const patience = 30 * time.Second

// attempts is how often a transaction is begun that the server undid because of
// another one.
const attempts = 5

// DB is a PostgreSQL database. It implements store.DB.
type DB struct {
	pool     *pgxpool.Pool
	direct   *pgx.ConnConfig // around a pooler, nil if there is no such way
	begin    string          // opens a write transaction and says what time it is
	place    string          // for people: user@host:port/database, never the password
	patience time.Duration
	writes   chan struct{} // a place for each transaction, fewer than connections
	log      *slog.Logger

	channel string
	pooled  bool

	timeline   atomic.Pointer[string] // of the server that was written to last; "" if it does not say
	synced     atomic.Bool            // a standby confirmed that server's commits
	onFailover atomic.Pointer[func(lossless bool)]
}

// Read returns the pool. A SELECT that meets a broken connection is sent again.
func (d *DB) Read() store.Querier { return reader{d} }

// Tx runs fn in one write transaction, READ COMMITTED. A transaction that the
// server undid because it was in another's way (a deadlock) runs again, and fn
// with it; one whose COMMIT was not answered does not: nobody knows.
//
// Transactions leave connections for readers, so that fn may read outside its
// transaction.
func (d *DB) Tx(ctx context.Context, fn func(store.Querier) error) error {
	wait, cancel := bounded(ctx, d.patience)
	defer cancel()
	select {
	case d.writes <- struct{}{}:
		defer func() { <-d.writes }()
	case <-wait.Done():
		return d.describe(wait, context.Cause(wait))
	}
	for n := 1; ; n++ {
		err := d.once(ctx, fn)
		if n == attempts || !undone(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(n*n) * 5 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (d *DB) once(ctx context.Context, fn func(store.Querier) error) (err error) {
	wait, cancel := bounded(ctx, d.patience)
	c, t, err := d.open(wait)
	cancel()
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			// Also for a panic, and for a caller who left: the connection is to
			// be used again. One that does not answer is closed by Release.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.Exec(end, "ROLLBACK")
		}
		c.Release()
	}()
	if err := fn(t); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on to leave would only be not to know.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	done = true
	tag, err := c.Exec(end, "COMMIT")
	if err == nil && tag.String() != "COMMIT" {
		err = errors.New("the transaction was rolled back: fn went on after a statement that failed")
	}
	return d.describe(end, err)
}

// open begins a transaction. Connections that broke while they lay in the pool
// are passed over; nothing was sent on them that could have an effect.
func (d *DB) open(ctx context.Context) (*pgxpool.Conn, *txn, error) {
	for left := d.pool.Config().MaxConns; ; left-- {
		c, err := d.pool.Acquire(ctx)
		if err != nil {
			return nil, nil, d.describe(ctx, err)
		}
		before := time.Now()
		results, err := c.Conn().PgConn().Exec(ctx, d.begin).ReadAll()
		if err != nil {
			c.Release()
			if left > 0 && ctx.Err() == nil && broken(err) {
				continue
			}
			return nil, nil, d.describe(ctx, err)
		}
		row := results[len(results)-1].Rows[0]
		now, err := strconv.ParseInt(string(row[0]), 10, 64)
		if err == nil {
			err = d.follow(string(row[1]), string(row[2]) == "t")
		}
		if err != nil {
			c.Exec(ctx, "ROLLBACK")
			c.Release()
			return nil, nil, err
		}
		return c, &txn{d: d, c: c, now: time.UnixMilli(now).UTC(), at: before, bound: d.patience}, nil
	}
}

// Now is the server's clock. Within a transaction it costs no question: the
// server said it when the transaction began, and this process counts on.
func (d *DB) Now(ctx context.Context, q store.Querier) (time.Time, error) {
	if t, ok := q.(*txn); ok {
		return t.now.Add(time.Since(t.at)), nil
	}
	var ms int64
	if err := q.QueryRow(ctx, `SELECT `+clock).Scan(&ms); err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(ms).UTC(), nil
}

const clock = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// ForUpdate passes over rows that another transaction has claimed.
func (d *DB) ForUpdate() string { return " FOR UPDATE SKIP LOCKED" }

// Settled returns the number that the next transaction gets, and the lowest of
// those under way. See [store.Settler].
func (d *DB) Settled(ctx context.Context) (now, ended int64, err error) {
	err = d.Read().QueryRow(ctx, `SELECT pg_snapshot_xmax(s)::text::bigint, pg_snapshot_xmin(s)::text::bigint FROM pg_current_snapshot() s`).Scan(&now, &ended)
	return now, ended, err
}

// IsUnique reports whether err is a unique key's.
func (d *DB) IsUnique(err error) bool { return code(err) == "23505" }

// Place says where the database is, without the password.
func (d *DB) Place() string { return d.place }

// Pool returns the connections, for a library that brings its own SQL. Behind a
// pooler that library must not rely on a session: see Pooled.
func (d *DB) Pool() *pgxpool.Pool { return d.pool }

// Pooled reports whether something between here and the server pools
// transactions.
func (d *DB) Pooled() bool { return d.pooled }

// Direct returns how to connect around a pooler, nil where there is no such
// way and one is needed.
func (d *DB) Direct() *pgx.ConnConfig {
	if d.direct == nil {
		return nil
	}
	return d.direct.Copy()
}

// Close closes the connections.
func (d *DB) Close() error {
	d.pool.Close()
	return nil
}

// bounded gives ctx an end if it has none.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// Snapshot runs fn over one state of the database, while others write to it.
func (d *DB) Snapshot(ctx context.Context, fn func(q store.Querier) error) error {
	return d.long(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", fn)
}

// Fill is Tx for a transaction that takes as long as it takes, such as one that
// brings all rows of another store.
func (d *DB) Fill(ctx context.Context, fn func(q store.Querier) error) error {
	return d.long(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0", fn)
}

func (d *DB) long(ctx context.Context, begin string, fn func(q store.Querier) error) error {
	c, err := d.pool.Acquire(ctx)
	if err != nil {
		return d.describe(ctx, err)
	}
	defer c.Release()
	now, err := d.Now(ctx, d.Read())
	if err != nil {
		return err
	}
	t := &txn{d: d, c: c, now: now, at: time.Now(), bound: 24 * time.Hour}
	if _, err := c.Exec(ctx, begin); err != nil {
		return d.describe(ctx, err)
	}
	err = fn(t)
	if err == nil {
		var tag pgconn.CommandTag
		if tag, err = c.Exec(ctx, "COMMIT"); err == nil && tag.String() != "COMMIT" {
			err = errors.New("the transaction was rolled back: fn went on after a statement that failed")
		}
		return d.describe(ctx, err)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	c.Exec(end, "ROLLBACK")
	return err
}
