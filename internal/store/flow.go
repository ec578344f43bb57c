package store

import (
	"context"
	"time"
)

// A Flow is an authorization under way: a person at a consent page, or a
// device code that waits.
type Flow struct {
	ID         string // keyed hash of the state, or a random id for a device flow
	Connection string
	Kind       string // authorization_code | device_code
	Sealed     []byte // verifier, nonce, device code; bound to ("flows", ID, "flow", 0)
	Status     string // pending | done | failed
	Detail     string // in words, for the person who waits
	CreatedAt  time.Time
	ExpiresAt  time.Time
	PollAt     time.Time // device_code: when to ask next; zero: not at all
}

const flowColumns = `id, connection, kind, sealed, status, detail, created_at, expires_at, poll_at`

func scanFlow(r Scanner) (Flow, error) {
	var f Flow
	var created, expires, poll *int64
	err := r.Scan(&f.ID, &f.Connection, &f.Kind, &f.Sealed, &f.Status, &f.Detail, &created, &expires, &poll)
	f.CreatedAt, f.ExpiresAt, f.PollAt = at(created), at(expires), at(poll)
	return f, err
}

// StartFlow stores a pending flow and deletes those that ended a day ago.
func (s *Store) StartFlow(ctx context.Context, f Flow) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM flows WHERE expires_at < $1`, now.Add(-24*time.Hour).UnixMilli()); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO flows (id, connection, kind, sealed, status, detail, created_at, expires_at, poll_at)
			VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8)`,
			f.ID, f.Connection, f.Kind, f.Sealed, f.Detail, now.UnixMilli(), ms(f.ExpiresAt), ms(f.PollAt))
		return err
	})
}

// Flow returns a flow, or ErrNotFound.
func (s *Store) Flow(ctx context.Context, id string) (Flow, error) {
	return scanFlow(s.db.Read().QueryRow(ctx, `SELECT `+flowColumns+` FROM flows WHERE id = $1`, id))
}

// TakeFlow hands out a pending flow that has not expired, once: a second call
// is ErrNotFound.
func (s *Store) TakeFlow(ctx context.Context, id string) (f Flow, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		// One statement, for where writers run side by side two could read the
		// flow as pending before either changes it.
		f, err = scanFlow(tx.QueryRow(ctx, `UPDATE flows SET status = 'taken' WHERE id = $1 AND status = 'pending' AND expires_at > $2
			RETURNING `+flowColumns, id, now.UnixMilli()))
		return err
	})
	return f, err
}

// BindFlow replaces what a pending flow sealed, if it still is what it was.
// ErrStale: somebody else was first, or the flow has ended.
func (s *Store) BindFlow(ctx context.Context, id string, from, to []byte) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE flows SET sealed = $1 WHERE id = $2 AND sealed = $3 AND status = 'pending'`, to, id, from))
	})
}

// EndFlow says how a flow ended. What it sealed is gone with it.
func (s *Store) EndFlow(ctx context.Context, id, status, detail string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `UPDATE flows SET status = $1, detail = $2, sealed = $3, poll_at = NULL WHERE id = $4`, status, detail, []byte{}, id)
		return err
	})
}

// PollFlow sets when a device flow is asked for next, and keeps it pending.
func (s *Store) PollFlow(ctx context.Context, id string, sealed []byte, next time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE flows SET sealed = $1, poll_at = $2 WHERE id = $3 AND status = 'pending'`, sealed, ms(next), id))
	})
}

// ClaimPoll gives the caller the next poll of a device flow, by moving it from
// the instant that was read to a later one. ErrStale: somebody else has it, or
// the flow has ended.
func (s *Store) ClaimPoll(ctx context.Context, id string, seen, next time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE flows SET poll_at = $1 WHERE id = $2 AND poll_at = $3 AND status = 'pending'`, ms(next), id, ms(seen)))
	})
}

// DueFlows lists pending device flows whose poll is due.
func (s *Store) DueFlows(ctx context.Context, limit int) ([]Flow, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Flow
	rows, err := s.db.Read().Query(ctx, `SELECT `+flowColumns+` FROM flows WHERE status = 'pending' AND poll_at <= $1 ORDER BY poll_at LIMIT $2`, now.UnixMilli(), limit)
	err = each(rows, err, func(r Scanner) error {
		f, err := scanFlow(r)
		out = append(out, f)
		return err
	})
	return out, err
}
