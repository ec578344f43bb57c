package store

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Client row is the trouble of a registration, shared by its connections.
type Client struct {
	Key       string // Definition.ClientKey
	State     freshet.State
	Reason    freshet.Reason
	Error     string
	NotBefore time.Time // no request of any of its connections before
	Since     time.Time
}

// Clients lists the registrations that are in trouble or paused.
func (s *Store) Clients(ctx context.Context) ([]Client, error) {
	var out []Client
	rows, err := s.db.Read().Query(ctx, `SELECT key, state, reason, error, not_before, since FROM clients ORDER BY key`)
	err = each(rows, err, func(r Scanner) error {
		var c Client
		var notBefore, since *int64
		err := r.Scan(&c.Key, &c.State, &c.Reason, &c.Error, &notBefore, &since)
		c.NotBefore, c.Since = at(notBefore), at(since)
		out = append(out, c)
		return err
	})
	return out, err
}

// PutClient records a registration's trouble; Since of an earlier record of
// the same state stays.
func (s *Store) PutClient(ctx context.Context, c Client, events ...Event) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO clients (key, state, reason, error, not_before, since) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (key) DO UPDATE SET state = excluded.state, reason = excluded.reason, error = excluded.error, not_before = excluded.not_before,
				since = CASE WHEN clients.state = excluded.state THEN clients.since ELSE excluded.since END`,
			c.Key, string(c.State), string(c.Reason), c.Error, ms(c.NotBefore), now.UnixMilli()); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, events)
	})
}

// ClearClient forgets a registration's trouble.
func (s *Store) ClearClient(ctx context.Context, key string, events ...Event) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM clients WHERE key = $1`, key); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, events)
	})
}
