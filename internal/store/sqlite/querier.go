package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet/internal/store"
)

// querier puts *sql.DB and *sql.Tx behind the store's seam.
type querier struct {
	q interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}
	d *DB
}

func (q querier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := q.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, q.d.describe(err)
	}
	return r.RowsAffected()
}

// Prepare parses a statement once for many runs within a transaction.
func (q querier) Prepare(ctx context.Context, query string) (exec func(args ...any) (int64, error), done func() error, err error) {
	p, ok := q.q.(interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	})
	if !ok {
		return nil, nil, errors.New("sqlite: this querier prepares no statements")
	}
	stmt, err := p.PrepareContext(ctx, positional(query))
	if err != nil {
		return nil, nil, q.d.describe(err)
	}
	// With a context that can end, the driver starts a goroutine for each run;
	// the transaction's own context still ends it all.
	ctx = context.WithoutCancel(ctx)
	return func(args ...any) (int64, error) {
		r, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return 0, q.d.describe(err)
		}
		return r.RowsAffected()
	}, stmt.Close, nil
}

// positional writes ? for $1, $2, … where each stands once and in order. SQLite
// takes $1 for a name, and the driver looks every name up for every row.
func positional(query string) string {
	var b strings.Builder
	next := 1
	for rest := query; ; {
		i := strings.IndexByte(rest, '$')
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		n := i + 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if rest[i+1:n] != strconv.Itoa(next) {
			return query
		}
		b.WriteString(rest[:i])
		b.WriteByte('?')
		rest, next = rest[n:], next+1
	}
}

func (q querier) Query(ctx context.Context, query string, args ...any) (store.Rows, error) {
	r, err := q.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, q.d.describe(err)
	}
	return rows{r, q.d}, nil
}

func (q querier) QueryRow(ctx context.Context, query string, args ...any) store.Scanner {
	return row{q.q.QueryRowContext(ctx, query, args...), q.d}
}

type rows struct {
	*sql.Rows
	d *DB
}

func (r rows) Err() error { return r.d.describe(r.Rows.Err()) }

type row struct {
	r *sql.Row
	d *DB
}

func (r row) Scan(dest ...any) error {
	err := r.r.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return r.d.describe(err)
}
