package store

import (
	"context"
	"time"
)

// A Letter is something that must still be told to somebody outside: a webhook
// to its receiver, a revocation to a provider.
type Letter struct {
	ID        string
	Kind      string // webhook | revoke
	Target    string // the webhook's or the provider's name
	Payload   string // JSON, holds no secret
	Sealed    []byte // what a revocation must present; bound to ("outbox", ID, "letter", 0)
	Attempts  int
	NextAt    time.Time
	Error     string
	CreatedAt time.Time
}

// Post queues letters.
func (s *Store) Post(ctx context.Context, letters ...Letter) error {
	return s.db.Tx(ctx, func(tx Querier) error { return s.PostTx(ctx, tx, letters...) })
}

// PostTx queues letters in the caller's transaction.
func (s *Store) PostTx(ctx context.Context, tx Querier, letters ...Letter) error {
	now, err := s.db.Now(ctx, tx)
	if err != nil {
		return err
	}
	for _, l := range letters {
		if l.NextAt.IsZero() {
			l.NextAt = now
		}
		if _, err := tx.Exec(ctx, `INSERT INTO outbox (id, kind, target, payload, sealed, next_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO NOTHING`, l.ID, l.Kind, l.Target, l.Payload, l.Sealed, ms(l.NextAt), now.UnixMilli()); err != nil {
			return err
		}
	}
	return nil
}

// DueLetters lists letters of a kind to send now, oldest first.
func (s *Store) DueLetters(ctx context.Context, kind string, limit int) ([]Letter, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	return s.letters(ctx, `SELECT id, kind, target, payload, sealed, attempts, next_at, error, created_at FROM outbox
		WHERE kind = $1 AND next_at <= $2 ORDER BY next_at, id LIMIT $3`, kind, now.UnixMilli(), limit)
}

// Letters lists what is queued, oldest first.
func (s *Store) Letters(ctx context.Context, limit int) ([]Letter, error) {
	return s.letters(ctx, `SELECT id, kind, target, payload, sealed, attempts, next_at, error, created_at FROM outbox ORDER BY created_at, id LIMIT $1`, limit)
}

func (s *Store) letters(ctx context.Context, query string, args ...any) ([]Letter, error) {
	var out []Letter
	rows, err := s.db.Read().Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		var l Letter
		var next, created *int64
		err := r.Scan(&l.ID, &l.Kind, &l.Target, &l.Payload, &l.Sealed, &l.Attempts, &next, &l.Error, &created)
		l.NextAt, l.CreatedAt = at(next), at(created)
		out = append(out, l)
		return err
	})
	return out, err
}

// ClaimLetter gives the caller a letter for a while, by moving it from the
// instant that was read to a later one. ErrStale: somebody else has it.
func (s *Store) ClaimLetter(ctx context.Context, id string, seen, until time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE outbox SET next_at = $1 WHERE id = $2 AND next_at = $3`, ms(until), id, ms(seen)))
	})
}

// Delivered removes a letter.
func (s *Store) Delivered(ctx context.Context, id string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM outbox WHERE id = $1`, id)
		return err
	})
}

// Returned keeps a letter that could not be delivered for another attempt.
func (s *Store) Returned(ctx context.Context, id, reason string, next time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `UPDATE outbox SET attempts = attempts + 1, error = $1, next_at = $2 WHERE id = $3`, reason, ms(next), id)
		return err
	})
}
