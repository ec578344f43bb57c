package store

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet"
)

// An Orphan is an answer that came too late to be the current token.
type Orphan struct {
	ID         string
	Connection freshet.ConnectionID
	Gen        int64  // the generation it was bound to
	Sealed     []byte // bound to ("tokens", Connection, "token", Gen)
	Reason     string
	CreatedAt  time.Time
}

// KeepOrphan stores an orphan, once per ID.
func (s *Store) KeepOrphan(ctx context.Context, o Orphan, events ...Event) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO orphans (id, connection, gen, sealed, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO NOTHING`, o.ID, string(o.Connection), o.Gen, o.Sealed, o.Reason, now.UnixMilli()); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, events)
	})
}

// Orphans lists what is kept for a connection, newest first.
func (s *Store) Orphans(ctx context.Context, id freshet.ConnectionID) ([]Orphan, error) {
	var out []Orphan
	rows, err := s.db.Read().Query(ctx, `SELECT id, connection, gen, sealed, reason, created_at FROM orphans
		WHERE connection = $1 ORDER BY created_at DESC, id`, string(id))
	err = each(rows, err, func(r Scanner) error {
		var o Orphan
		var created *int64
		err := r.Scan(&o.ID, &o.Connection, &o.Gen, &o.Sealed, &o.Reason, &created)
		o.CreatedAt = at(created)
		out = append(out, o)
		return err
	})
	return out, err
}

// TrimOrphans deletes orphans older than the instant.
func (s *Store) TrimOrphans(ctx context.Context, before time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM orphans WHERE created_at < $1`, before.UnixMilli())
		return err
	})
}
