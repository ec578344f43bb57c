package postgres

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/store"
)

// reader is the pool as the store's seam sees it.
type reader struct{ d *DB }

func (r reader) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := bounded(ctx, r.d.patience)
	defer cancel()
	tag, err := r.d.pool.Exec(ctx, query, clean(args)...)
	return tag.RowsAffected(), r.d.describe(ctx, err)
}

// Query sends a SELECT, and once more if the connection turns out to be broken
// before the first row.
func (r reader) Query(ctx context.Context, query string, args ...any) (store.Rows, error) {
	args = clean(args)
	ctx, cancel := bounded(ctx, r.d.patience)
	for left := r.d.pool.Config().MaxConns; ; left-- {
		out, err := r.d.pool.Query(ctx, query, args...)
		var first bool
		if err == nil {
			// What went wrong shows with the first row.
			if first = out.Next(); !first {
				err = out.Err()
			}
		}
		if err == nil {
			return &rows{r: out, d: r.d, ctx: ctx, cancel: cancel, peeked: true, first: first}, nil
		}
		if left > 0 && ctx.Err() == nil && broken(err) {
			continue
		}
		err = r.d.describe(ctx, err)
		cancel()
		return nil, err
	}
}

func (r reader) QueryRow(ctx context.Context, query string, args ...any) store.Scanner {
	return row{r, ctx, query, args}
}

// A txn is one transaction.
type txn struct {
	d   *DB
	c   *pgxpool.Conn
	now time.Time // the server's clock
	at  time.Time // when this process asked for it

	bound time.Duration // of a statement that its caller does not bound
}

func (t *txn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := bounded(ctx, t.bound)
	defer cancel()
	tag, err := t.c.Exec(ctx, query, clean(args)...)
	return tag.RowsAffected(), t.d.describe(ctx, err)
}

func (t *txn) Query(ctx context.Context, query string, args ...any) (store.Rows, error) {
	ctx, cancel := bounded(ctx, t.bound)
	out, err := t.c.Query(ctx, query, clean(args)...)
	if err != nil {
		err = t.d.describe(ctx, err)
		cancel()
		return nil, err
	}
	return &rows{r: out, d: t.d, ctx: ctx, cancel: cancel}, nil
}

func (t *txn) QueryRow(ctx context.Context, query string, args ...any) store.Scanner {
	return row{t, ctx, query, args}
}

// rows are pgx's with the errors of this package.
type rows struct {
	r             pgx.Rows
	d             *DB
	ctx           context.Context // what the rows are read under
	cancel        context.CancelFunc
	peeked, first bool // Next was called already, and found so
}

func (r *rows) Next() bool {
	if r.peeked {
		r.peeked = false
		return r.first
	}
	return r.r.Next()
}

func (r *rows) Scan(dest ...any) error { return r.d.describe(r.ctx, r.r.Scan(dest...)) }
func (r *rows) Err() error             { return r.d.describe(r.ctx, r.r.Err()) }

func (r *rows) Close() error {
	r.r.Close()
	err := r.Err()
	r.cancel()
	return err
}

// row is the one row of a query that Scan sends.
type row struct {
	q     store.Querier
	ctx   context.Context // the query's own, between QueryRow and Scan
	query string
	args  []any
}

func (r row) Scan(dest ...any) error {
	out, err := r.q.Query(r.ctx, r.query, r.args...)
	if err != nil {
		return err
	}
	defer out.Close()
	if !out.Next() {
		if err := out.Err(); err != nil {
			return err
		}
		return store.ErrNotFound
	}
	if err := out.Scan(dest...); err != nil {
		return err
	}
	return out.Close()
}

// clean makes text of what is not: PostgreSQL refuses bytes that are no UTF-8,
// and the byte 0, which SQLite keeps. Such bytes come in what others say of
// their errors, not in anything that is looked up.
func clean(args []any) []any {
	for i, a := range args {
		s, ok := a.(string)
		if !ok || utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
			continue
		}
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}
