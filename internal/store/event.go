package store

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"
)

// An Event is one thing that happened to a connection, for people and
// webhooks. Detail holds no secret.
type Event struct {
	Seq        int64
	At         time.Time
	Connection string // name
	Type       string
	Detail     map[string]any
}

func appendEvents(ctx context.Context, tx Querier, now time.Time, events []Event) error {
	for _, e := range events {
		if e.At.IsZero() {
			e.At = now
		}
		detail, err := json.Marshal(e.Detail)
		if err != nil {
			return err
		}
		if e.Detail == nil {
			detail = []byte("{}")
		}
		if _, err := tx.Exec(ctx, `INSERT INTO events (at, connection, type, detail) VALUES ($1, $2, $3, $4)`,
			e.At.UnixMilli(), e.Connection, e.Type, string(detail)); err != nil {
			return err
		}
	}
	return nil
}

// AppendEvents records events by themselves.
func (s *Store) AppendEvents(ctx context.Context, events ...Event) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, events)
	})
}

// Events lists events with a Seq above after, oldest first, of one connection
// or of all (""), at most limit. A list of all is without holes: whoever goes on
// after its last event misses none.
func (s *Store) Events(ctx context.Context, connection string, after int64, limit int) ([]Event, error) {
	if connection == "" {
		passed := map[int64]bool{}
		for {
			list, err := s.events(ctx, `SELECT seq, at, connection, type, detail FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
			if err != nil {
				return nil, err
			}
			list, again, err := s.whole(ctx, after, list, passed)
			if err != nil || !again {
				return list, err
			}
		}
	}
	return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events WHERE connection = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		connection, after, limit)
}

// EventsBefore lists events with a Seq below before, newest first, of one
// connection or of all (""), at most limit.
func (s *Store) EventsBefore(ctx context.Context, connection string, before int64, limit int) ([]Event, error) {
	if connection == "" {
		return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events WHERE seq < $1 ORDER BY seq DESC LIMIT $2`, before, limit)
	}
	return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events WHERE connection = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3`,
		connection, before, limit)
}

// LastEvents lists the newest events, newest first.
func (s *Store) LastEvents(ctx context.Context, connection string, limit int) ([]Event, error) {
	return s.EventsBefore(ctx, connection, math.MaxInt64, limit)
}

func (s *Store) events(ctx context.Context, query string, args ...any) ([]Event, error) {
	var out []Event
	rows, err := s.db.Read().Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		var e Event
		var when *int64
		var detail string
		if err := r.Scan(&e.Seq, &when, &e.Connection, &e.Type, &detail); err != nil {
			return err
		}
		e.At = at(when)
		out = append(out, e)
		return json.Unmarshal([]byte(detail), &out[len(out)-1].Detail)
	})
	return out, err
}

// trimBatch is how many events are deleted at a time: few enough that a
// database with one writer is not held up.
const trimBatch = 1000

// TrimEvents deletes events older than the instant, up to the first one that is
// not. The cost follows what is deleted, not what is kept.
func (s *Store) TrimEvents(ctx context.Context, before time.Time) error {
	keep := int64(math.MaxInt64)
	err := s.db.Read().QueryRow(ctx, `SELECT seq FROM events WHERE at >= $1 ORDER BY seq LIMIT 1`, before.UnixMilli()).Scan(&keep)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for n := int64(trimBatch); n == trimBatch; {
		if err := s.db.Tx(ctx, func(tx Querier) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq < $1 AND at < $2 ORDER BY seq LIMIT $3)`,
				keep, before.UnixMilli(), trimBatch)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
