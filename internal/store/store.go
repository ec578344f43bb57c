// Package store holds a database's words without a database: the rows that
// Freshet keeps and the SQL that reads and writes them, written once in the
// text that SQLite and PostgreSQL both understand. A database plugs in as a
// [DB]; the packages sqlite and postgres are adapters and storetest is their suite.
//
// The store handles sealed bytes only. It neither opens nor makes them, and it
// decides nothing: every conditional write says in its name what it compares.
// Instants are Unix milliseconds in the database and time.Time here; leases are
// counted by the database's clock.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound says that no row has the key.
	ErrNotFound = errors.New("store: no such row")
	// ErrStale says that a conditional write found the row changed.
	ErrStale = errors.New("store: the row has changed since it was read")
	// ErrExists says that a row with the same unique key is there already.
	ErrExists = errors.New("store: a row with this name exists")
	// ErrReadOnly says that the database takes no writes just now.
	ErrReadOnly = errors.New("store: the database takes no writes")
)

// A Scanner is a row to scan, with columns in the order of its SELECT.
type Scanner interface {
	Scan(dest ...any) error
}

// Rows is the part of *sql.Rows that the store reads.
type Rows interface {
	Scanner
	Next() bool
	Err() error
	Close() error
}

// A Querier runs SQL with $1, $2, … for arguments. QueryRow's Scan returns
// ErrNotFound when there is no row.
type Querier interface {
	Exec(ctx context.Context, query string, args ...any) (affected int64, err error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) Scanner
}

// A DB is a database under the store. Reads may go to another connection than
// writes, but see every write that was acknowledged before.
type DB interface {
	// Read is for single SELECT statements outside transactions.
	Read() Querier
	// Tx runs fn in one durable write transaction: when Tx returns nil, what fn
	// wrote survives the loss of power. fn must not call the network, and may
	// run again if the database undid it in favour of another transaction.
	Tx(ctx context.Context, fn func(tx Querier) error) error
	// Now is the database's clock.
	Now(ctx context.Context, q Querier) (time.Time, error)
	// IsUnique reports whether err is the violation of a unique key.
	IsUnique(err error) bool
	// ForUpdate is what a SELECT of rows to be claimed ends in: empty, or
	// FOR UPDATE SKIP LOCKED.
	ForUpdate() string
	Close() error
}

// A Store reads and writes Freshet's rows. It is safe for concurrent use.
type Store struct {
	db   DB
	gaps gaps
}

// New returns a Store over db, which it will close.
func New(db DB) *Store { return &Store{db: db} }

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// DB returns the database, for what is the database's own: backup, vacuum.
func (s *Store) DB() DB { return s.db }

// Now returns the database's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.db.Now(ctx, s.db.Read()) }

// Writable reports whether the database takes a durable write now.
func (s *Store) Writable(ctx context.Context) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `INSERT INTO meta (key, value, revision) VALUES ('probe', $1, 1)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value`, []byte{1})
		return err
	})
}

// ms and at turn instants into database numbers and back; a zero time is NULL.
func ms(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

func at(v *int64) time.Time {
	if v == nil {
		return time.Time{}
	}
	return time.UnixMilli(*v).UTC()
}

// one turns "no row was changed" into ErrStale.
func one(n int64, err error) error {
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrStale
	}
	return nil
}

// each calls scan for every row and closes rows.
func each(rows Rows, err error, scan func(Scanner) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}
