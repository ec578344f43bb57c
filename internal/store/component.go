package store

import (
	"context"
	"errors"
	"time"
)

// The states of a message of a component.
const (
	MessageRunning = "running"
	MessageWaiting = "waiting" // for another attempt
	MessageFailed  = "failed"  // kept until somebody retries or deletes it
)

// A ComponentMessage is one message that an action has not carried out yet.
type ComponentMessage struct {
	ID        string // of the first run
	Component string // id of the resource
	Name      string // of the component
	Action    string
	Sealed    []byte // bound to ("component_messages", ID, "message", 0)
	State     string
	Attempts  int64  // begun so far
	Run       string // of the latest attempt
	Error     string // of the latest attempt, masked
	DueAt     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

const componentMessageColumns = `id, component, name, action, sealed, state, attempts, run, error, due_at, created_at, updated_at`

func scanComponentMessage(r Scanner) (ComponentMessage, error) {
	var m ComponentMessage
	var due, created, updated *int64
	err := r.Scan(&m.ID, &m.Component, &m.Name, &m.Action, &m.Sealed, &m.State, &m.Attempts, &m.Run, &m.Error, &due, &created, &updated)
	m.DueAt, m.CreatedAt, m.UpdatedAt = at(due), at(created), at(updated)
	return m, err
}

// AddComponentMessage keeps a message that is under way for the first time, at
// the time now.
func (s *Store) AddComponentMessage(ctx context.Context, m ComponentMessage, now time.Time) error {
	_, err := s.write(ctx, `INSERT INTO component_messages (`+componentMessageColumns+`) VALUES ($1, $2, $3, $4, $5, 'running', 1, $6, '', NULL, $7, $7)`,
		m.ID, m.Component, m.Name, m.Action, m.Sealed, m.Run, now.UnixMilli())
	return err
}

// ComponentMessage returns a message by its id or by the id of its latest run,
// or ErrNotFound.
func (s *Store) ComponentMessage(ctx context.Context, id string) (ComponentMessage, error) {
	return scanComponentMessage(s.db.Read().QueryRow(ctx, `SELECT `+componentMessageColumns+` FROM component_messages WHERE id = $1 OR run = $1`, id))
}

// ComponentMessages lists messages of a component in a state, "" any, in order
// of id behind after, at most limit.
func (s *Store) ComponentMessages(ctx context.Context, name, state, after string, limit int) ([]ComponentMessage, error) {
	var out []ComponentMessage
	rows, err := s.db.Read().Query(ctx, `SELECT `+componentMessageColumns+` FROM component_messages
		WHERE name = $1 AND (state = $2 OR $2 = '') AND id > $3 ORDER BY id LIMIT $4`, name, state, after, limit)
	err = each(rows, err, func(r Scanner) error {
		m, err := scanComponentMessage(r)
		out = append(out, m)
		return err
	})
	return out, err
}

// TakeComponentMessage makes the next attempt at a message the caller's, whose
// run is given, and returns the message as it is then. ErrStale: it is not in
// the state any more.
func (s *Store) TakeComponentMessage(ctx context.Context, id, state, run string, now time.Time) (ComponentMessage, error) {
	var m ComponentMessage
	err := s.db.Tx(ctx, func(tx Querier) (err error) {
		m, err = scanComponentMessage(tx.QueryRow(ctx, `UPDATE component_messages SET state = 'running', attempts = attempts + 1, run = $1, due_at = NULL, updated_at = $2
			WHERE id = $3 AND state = $4 RETURNING `+componentMessageColumns, run, now.UnixMilli(), id, state))
		if errors.Is(err, ErrNotFound) {
			err = ErrStale
		}
		return err
	})
	return m, err
}

// SettleComponentMessage ends the attempt that has the run: the message waits
// until due, or failed. also is done in the same transaction. ErrStale: the
// attempt is not the latest any more.
func (s *Store) SettleComponentMessage(ctx context.Context, run, state, text string, due, now time.Time, also func(tx Querier) error) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		if err := one(tx.Exec(ctx, `UPDATE component_messages SET state = $1, error = $2, due_at = $3, updated_at = $4 WHERE run = $5 AND state = 'running'`,
			state, text, ms(due), now.UnixMilli(), run)); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
}

// EndComponentMessage forgets the message whose latest attempt has the run.
func (s *Store) EndComponentMessage(ctx context.Context, run string) error {
	_, err := s.write(ctx, `DELETE FROM component_messages WHERE run = $1`, run)
	return err
}

// DropComponentMessage forgets a message that failed. ErrNotFound: none of the
// id did.
func (s *Store) DropComponentMessage(ctx context.Context, id string) error {
	n, err := s.write(ctx, `DELETE FROM component_messages WHERE id = $1 AND state = 'failed'`, id)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// InterruptComponentMessages makes messages failed that were under way before an
// instant: their process has died. It returns how many.
func (s *Store) InterruptComponentMessages(ctx context.Context, before, now time.Time, text string) (int64, error) {
	return s.write(ctx, `UPDATE component_messages SET state = 'failed', error = $1, updated_at = $2 WHERE state = 'running' AND updated_at < $3`,
		text, now.UnixMilli(), before.UnixMilli())
}

// ComponentSnapshot returns what an action keeps, with its revision; nil and 0
// if nothing was kept yet.
func (s *Store) ComponentSnapshot(ctx context.Context, id string) (sealed []byte, revision int64, err error) {
	err = s.db.Read().QueryRow(ctx, `SELECT sealed, revision FROM component_snapshots WHERE id = $1`, id).Scan(&sealed, &revision)
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	return sealed, revision, err
}

// PutComponentSnapshot keeps the revision after the given one. ErrStale: another
// one was kept meanwhile.
func (s *Store) PutComponentSnapshot(ctx context.Context, id, component string, sealed []byte, revision int64) error {
	if revision == 0 {
		return one(s.write(ctx, `INSERT INTO component_snapshots (id, component, sealed, revision) VALUES ($1, $2, $3, 1) ON CONFLICT DO NOTHING`, id, component, sealed))
	}
	return one(s.write(ctx, `UPDATE component_snapshots SET sealed = $1, revision = $2 WHERE id = $3 AND revision = $4`, sealed, revision+1, id, revision))
}

// DeleteComponent forgets what a deleted component left: messages and snapshots.
func (c *Change) DeleteComponent(id string) error {
	for _, q := range []string{`DELETE FROM component_messages WHERE component = $1`, `DELETE FROM component_snapshots WHERE component = $1`} {
		if _, err := c.tx.Exec(c.ctx, q, id); err != nil {
			return err
		}
	}
	return nil
}

// write runs one statement in a transaction of its own.
func (s *Store) write(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		n, err = tx.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// ReleaseComponentMessage lets a message that failed wait for an attempt at once.
// also is done in the same transaction. ErrStale: it has not failed.
func (s *Store) ReleaseComponentMessage(ctx context.Context, id string, now time.Time, also func(tx Querier) error) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		if err := one(tx.Exec(ctx, `UPDATE component_messages SET state = 'waiting', due_at = $1, updated_at = $1 WHERE id = $2 AND state = 'failed'`, now.UnixMilli(), id)); err != nil {
			return err
		}
		return also(tx)
	})
}
