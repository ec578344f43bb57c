package store

import (
	"context"
	"time"
)

// A Replica is a process among those that share a database.
type Replica struct {
	ID        string
	Place     string // host and data directory, for people
	Version   string
	Protocol  int
	Spilled   int64 // answers in its spill file that the database has not taken
	StartedAt time.Time
	SeenAt    time.Time // by the database's clock, as the next one
	Silent    time.Duration
}

const replicaColumns = `id, place, version, protocol, spilled, started_at, seen_at`

func scanReplica(r Scanner, now time.Time) (Replica, error) {
	var v Replica
	var started, seen *int64
	err := r.Scan(&v.ID, &v.Place, &v.Version, &v.Protocol, &v.Spilled, &started, &seen)
	v.StartedAt, v.SeenAt = at(started), at(seen)
	v.Silent = max(now.Sub(v.SeenAt), 0)
	return v, err
}

// Enlist writes a replica's row at its start, if there is none of its id, or
// one of the same place, or one that has been silent for long enough that its
// process is gone. ErrExists: another process lives under this id.
func (s *Store) Enlist(ctx context.Context, r Replica, gone time.Duration) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO replicas (`+replicaColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $6)
			ON CONFLICT (id) DO UPDATE SET place = excluded.place, version = excluded.version, protocol = excluded.protocol,
				spilled = excluded.spilled, started_at = excluded.started_at, seen_at = excluded.seen_at
			WHERE replicas.place = excluded.place OR replicas.seen_at <= $7`,
			r.ID, r.Place, r.Version, r.Protocol, r.Spilled, now.UnixMilli(), now.Add(-gone).UnixMilli())
		if err == nil && n == 0 {
			err = ErrExists
		}
		return err
	})
}

// Beat says that a replica lives. ErrNotFound: its row is gone, because the
// database is another one than before.
func (s *Store) Beat(ctx context.Context, id string, spilled int64) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE replicas SET seen_at = $1, spilled = $2 WHERE id = $3`, now.UnixMilli(), spilled, id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
}

// Discharge takes a replica's row away.
func (s *Store) Discharge(ctx context.Context, id string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM replicas WHERE id = $1`, id)
		return err
	})
}

// Replicas lists the replicas in order of id, those that are silent included.
func (s *Store) Replicas(ctx context.Context) ([]Replica, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Replica
	rows, err := s.db.Read().Query(ctx, `SELECT `+replicaColumns+` FROM replicas ORDER BY id`)
	err = each(rows, err, func(r Scanner) error {
		v, err := scanReplica(r, now)
		out = append(out, v)
		return err
	})
	return out, err
}
