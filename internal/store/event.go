package store

import (
	"context"
	"encoding/json"
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
// or of all (""), at most limit.
func (s *Store) Events(ctx context.Context, connection string, after int64, limit int) ([]Event, error) {
	return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events
		WHERE seq > $1 AND ($2 = '' OR connection = $2) ORDER BY seq LIMIT $3`, after, connection, limit)
}

// EventsBefore lists events with a Seq below before, newest first, of one
// connection or of all (""), at most limit.
func (s *Store) EventsBefore(ctx context.Context, connection string, before int64, limit int) ([]Event, error) {
	return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events
		WHERE seq < $1 AND ($2 = '' OR connection = $2) ORDER BY seq DESC LIMIT $3`, before, connection, limit)
}

// LastEvents lists the newest events, newest first.
func (s *Store) LastEvents(ctx context.Context, connection string, limit int) ([]Event, error) {
	return s.events(ctx, `SELECT seq, at, connection, type, detail FROM events
		WHERE ($1 = '' OR connection = $1) ORDER BY seq DESC LIMIT $2`, connection, limit)
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

// TrimEvents deletes events older than the instant.
func (s *Store) TrimEvents(ctx context.Context, before time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM events WHERE at < $1`, before.UnixMilli())
		return err
	})
}
