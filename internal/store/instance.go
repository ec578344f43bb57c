package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Instance is the state of a workflow's run, as far as it outlives the
// memory of a process.
type Instance struct {
	Run       string // the run's id
	Workflow  string // the workflow's id in the library
	Version   int
	Status    string // idle, running, suspended, faulted, ended
	Singleton string // "": others of the workflow may run beside it
	Parent    string // the run that waits for its end, "" if none does
	Sealed    []byte // bound to ("instances", Run, "state", Revision)
	Revision  int64
}

// The statuses of instances.
const (
	InstanceIdle      = "idle"
	InstanceRunning   = "running"
	InstanceSuspended = "suspended"
	InstanceFaulted   = "faulted"
	InstanceEnded     = "ended" // only kept until its parent knows
)

// A Bookmark is something that a run waits for.
type Bookmark struct {
	ID       string
	Run      string
	Activity string // id in the definition
	Kind     string
	Key      string
	Due      time.Time // of a timer; zero: none
}

// PutInstance writes the state of a run with what it waits for, which replaces
// what it waited for before. Revision must be one more than what is stored, 1
// for a run that is not stored yet. ErrStale: it is not. ErrExists: another run
// holds the singleton.
func (s *Store) PutInstance(ctx context.Context, in Instance, waits []Bookmark, now time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		var single any
		if in.Singleton != "" {
			single = in.Singleton
			var other string
			err := tx.QueryRow(ctx, `SELECT id FROM instances WHERE singleton = $1 AND id <> $2`, in.Singleton, in.Run).Scan(&other)
			if err == nil {
				return fmt.Errorf("%w: run %s", ErrExists, other)
			} else if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if in.Revision == 1 {
			n, err := tx.Exec(ctx, `INSERT INTO instances (id, workflow, version, status, singleton, parent, state, revision, updated_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
				in.Run, in.Workflow, int64(in.Version), in.Status, single, in.Parent, in.Sealed, in.Revision, now.UnixMilli())
			if err != nil {
				return err
			}
			if n == 0 && single != nil { // of another run, or of this one
				var mine int64
				if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM instances WHERE id = $1`, in.Run).Scan(&mine); err != nil {
					return err
				}
				if mine == 0 {
					return ErrExists
				}
			}
			if err := one(n, nil); err != nil {
				return err
			}
		} else if err := one(tx.Exec(ctx, `UPDATE instances SET status = $1, singleton = $2, parent = $3, state = $4, revision = $5, updated_at = $6
			WHERE id = $7 AND revision = $8`,
			in.Status, single, in.Parent, in.Sealed, in.Revision, now.UnixMilli(), in.Run, in.Revision-1)); err != nil {
			return err
		}
		if in.Revision > 1 {
			if _, err := tx.Exec(ctx, `DELETE FROM bookmarks WHERE run = $1`, in.Run); err != nil {
				return err
			}
		}
		for _, b := range waits {
			if _, err := tx.Exec(ctx, `INSERT INTO bookmarks (id, run, activity, kind, key, due) VALUES ($1, $2, $3, $4, $5, $6)`,
				b.ID, in.Run, b.Activity, b.Kind, b.Key, ms(b.Due)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteInstance forgets the state of a run at a revision, with what it waits
// for. ErrStale: it is at another one, or not there.
func (s *Store) DeleteInstance(ctx context.Context, run string, revision int64) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `DELETE FROM instances WHERE id = $1 AND revision = $2`, run, revision))
	})
}

// DropInstances forgets the states of runs, whatever they are at.
func (s *Store) DropInstances(ctx context.Context, runs ...string) error {
	if len(runs) == 0 {
		return nil
	}
	return s.db.Tx(ctx, func(tx Querier) error {
		for _, id := range runs {
			if _, err := tx.Exec(ctx, `DELETE FROM instances WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// SweepInstances forgets failed runs that the journal no longer has, at most
// limit at a time, and returns how many they were.
func (s *Store) SweepInstances(ctx context.Context, limit int) (n int, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		removed, err := tx.Exec(ctx, `DELETE FROM instances WHERE id IN (
			SELECT i.id FROM instances i WHERE i.status IN ('faulted', 'ended') AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = i.id) LIMIT $1)`, limit)
		n = int(removed)
		return err
	})
	return n, err
}

const instanceColumns = `id, workflow, version, status, singleton, parent, state, revision`

func scanInstance(r Scanner) (Instance, error) {
	var in Instance
	var version int64
	var single *string
	err := r.Scan(&in.Run, &in.Workflow, &version, &in.Status, &single, &in.Parent, &in.Sealed, &in.Revision)
	in.Version = int(version)
	if single != nil {
		in.Singleton = *single
	}
	return in, err
}

// Instance reads the state of a run. ErrNotFound: nothing of it is stored.
func (s *Store) Instance(ctx context.Context, run string) (Instance, error) {
	return scanInstance(s.db.Read().QueryRow(ctx, `SELECT `+instanceColumns+` FROM instances WHERE id = $1`, run))
}

// Instances lists the runs of a status after an id, without their states.
func (s *Store) Instances(ctx context.Context, status, after string, limit int) (out []Instance, err error) {
	rows, err := s.db.Read().Query(ctx, `SELECT id, workflow, version, parent, revision FROM instances WHERE status = $1 AND id > $2 ORDER BY id LIMIT $3`, status, after, limit)
	err = each(rows, err, func(r Scanner) error {
		in := Instance{Status: status}
		var version int64
		if err := r.Scan(&in.Run, &in.Workflow, &version, &in.Parent, &in.Revision); err != nil {
			return err
		}
		in.Version = int(version)
		out = append(out, in)
		return nil
	})
	return out, err
}

const bookmarkColumns = `id, run, activity, kind, key, due`

func bookmarksOf(rows Rows, err error) (out []Bookmark, _ error) {
	err = each(rows, err, func(r Scanner) error {
		var b Bookmark
		var due *int64
		if err := r.Scan(&b.ID, &b.Run, &b.Activity, &b.Kind, &b.Key, &due); err != nil {
			return err
		}
		b.Due = at(due)
		out = append(out, b)
		return nil
	})
	return out, err
}

// Bookmark reads one. ErrNotFound: nothing waits under the id any more.
func (s *Store) Bookmark(ctx context.Context, id string) (Bookmark, error) {
	rows, err := s.db.Read().Query(ctx, `SELECT `+bookmarkColumns+` FROM bookmarks WHERE id = $1`, id)
	out, err := bookmarksOf(rows, err)
	if err != nil || len(out) == 0 {
		return Bookmark{}, errors.Join(err, ErrNotFound)
	}
	return out[0], nil
}

// BookmarksOf lists what a run waits for.
func (s *Store) BookmarksOf(ctx context.Context, run string) ([]Bookmark, error) {
	rows, err := s.db.Read().Query(ctx, `SELECT `+bookmarkColumns+` FROM bookmarks WHERE run = $1 ORDER BY id`, run)
	return bookmarksOf(rows, err)
}

// Bookmarks lists what runs wait for by kind and key, after an id.
func (s *Store) Bookmarks(ctx context.Context, kind, key, after string, limit int) ([]Bookmark, error) {
	rows, err := s.db.Read().Query(ctx, `SELECT `+bookmarkColumns+` FROM bookmarks WHERE kind = $1 AND key = $2 AND id > $3 ORDER BY id LIMIT $4`, kind, key, after, limit)
	return bookmarksOf(rows, err)
}

// BookmarksOfKind lists what runs wait for by kind, after an id.
func (s *Store) BookmarksOfKind(ctx context.Context, kind, after string, limit int) ([]Bookmark, error) {
	rows, err := s.db.Read().Query(ctx, `SELECT `+bookmarkColumns+` FROM bookmarks WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3`, kind, after, limit)
	return bookmarksOf(rows, err)
}

// DueBookmarks lists timers that are due, the earliest first.
func (s *Store) DueBookmarks(ctx context.Context, now time.Time, limit int) ([]Bookmark, error) {
	rows, err := s.db.Read().Query(ctx, `SELECT `+bookmarkColumns+` FROM bookmarks WHERE due <= $1 ORDER BY due, id LIMIT $2`, now.UnixMilli(), limit)
	return bookmarksOf(rows, err)
}

// NextBookmark returns when the earliest timer is due, zero if there is none.
func (s *Store) NextBookmark(ctx context.Context) (time.Time, error) {
	var due *int64
	err := s.db.Read().QueryRow(ctx, `SELECT MIN(due) FROM bookmarks WHERE due IS NOT NULL`).Scan(&due)
	return at(due), err
}

// TakeWorkflowLock takes or keeps a lock for an owner, by the database's clock,
// and reports whether it has it. A lock whose lease ran out is anybody's.
func (s *Store) TakeWorkflowLock(ctx context.Context, key, owner string, lease time.Duration) (taken bool, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO workflow_locks (key, owner, lease_until) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
			WHERE workflow_locks.owner = excluded.owner OR workflow_locks.lease_until <= $4`,
			key, owner, now.Add(lease).UnixMilli(), now.UnixMilli())
		taken = n > 0
		return err
	})
	return taken, err
}

// DropWorkflowLock gives a lock back, if the owner still has it.
func (s *Store) DropWorkflowLock(ctx context.Context, key, owner string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM workflow_locks WHERE key = $1 AND owner = $2`, key, owner)
		return err
	})
}

// DropWorkflowLocks forgets all locks: whoever held one is dead.
func (s *Store) DropWorkflowLocks(ctx context.Context) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM workflow_locks`)
		return err
	})
}

// DeleteRuns deletes runs that have ended, with their steps and states, and
// returns how many they were. Others of the ids are left.
func (s *Store) DeleteRuns(ctx context.Context, ids ...string) (int, error) {
	n := 0
	for len(ids) > 0 {
		batch := ids[:min(len(ids), runBatch)]
		ids = ids[len(batch):]
		err := s.db.Tx(ctx, func(tx Querier) error {
			rep := &repeat{ctx: ctx, tx: tx}
			defer rep.close()
			for _, id := range batch {
				r, err := scanTrimmed(tx.QueryRow(ctx, `SELECT id, correlation, former FROM runs WHERE id = $1 AND status IN ('finished', 'faulted', 'cancelled')`, id))
				if errors.Is(err, ErrNotFound) {
					continue
				} else if err != nil {
					return err
				}
				if err := deleteRun(rep, &r); err != nil {
					return err
				}
				if _, err := rep.exec(`DELETE FROM instances WHERE id = $1`, id); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
