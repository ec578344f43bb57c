package store

import (
	"context"
	"time"
)

// A Job is work of the in-process runner: it names what to do.
type Job struct {
	ID        string
	Kind      string
	Ref       string // id of what to work on
	Attempts  int64  // begun so often
	RunAt     time.Time
	Error     string // of the last attempt
	CreatedAt time.Time
}

const jobColumns = `id, kind, ref, attempts, run_at, error, created_at`

func scanJob(r Scanner) (Job, error) {
	var j Job
	var run, created *int64
	err := r.Scan(&j.ID, &j.Kind, &j.Ref, &j.Attempts, &run, &j.Error, &created)
	j.RunAt, j.CreatedAt = at(run), at(created)
	return j, err
}

// PutJob queues a job in the caller's transaction; one of that id that is there
// already is kept. A zero RunAt is now.
func (s *Store) PutJob(ctx context.Context, tx Querier, j Job) error {
	now, err := s.db.Now(ctx, tx)
	if err != nil {
		return err
	}
	if j.RunAt.IsZero() {
		j.RunAt = now
	}
	_, err = tx.Exec(ctx, `INSERT INTO jobs (id, kind, ref, status, run_at, created_at) VALUES ($1, $2, $3, 'queued', $4, $5) ON CONFLICT (id) DO NOTHING`,
		j.ID, j.Kind, j.Ref, ms(j.RunAt), now.UnixMilli())
	return err
}

// ClaimJobs gives an owner jobs that are due, at most limit, oldest first.
func (s *Store) ClaimJobs(ctx context.Context, owner string, limit int) (out []Job, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		out = nil
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT `+jobColumns+` FROM jobs WHERE status = 'queued' AND run_at <= $1 ORDER BY run_at, id LIMIT $2 `+s.db.ForUpdate(), now.UnixMilli(), limit)
		if err := each(rows, err, func(r Scanner) error {
			j, err := scanJob(r)
			out = append(out, j)
			return err
		}); err != nil {
			return err
		}
		for i := range out {
			out[i].Attempts++
			if _, err := tx.Exec(ctx, `UPDATE jobs SET status = 'running', owner = $1, attempts = $2 WHERE id = $3`, owner, out[i].Attempts, out[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// NextJob returns when the next queued job is due, zero if none is queued.
func (s *Store) NextJob(ctx context.Context) (time.Time, error) {
	var next *int64
	err := s.db.Read().QueryRow(ctx, `SELECT min(run_at) FROM jobs WHERE status = 'queued'`).Scan(&next)
	return at(next), err
}

// DoneJobs removes jobs.
func (s *Store) DoneJobs(ctx context.Context, ids ...string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		for _, id := range ids {
			if _, err := tx.Exec(ctx, `DELETE FROM jobs WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReturnJob queues a job again, for an instant.
func (s *Store) ReturnJob(ctx context.Context, id, reason string, at time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `UPDATE jobs SET status = 'queued', owner = '', error = $1, run_at = $2 WHERE id = $3`, reason, ms(at), id)
		return err
	})
}

// TakeBackJobs queues again what an owner was carrying out when it died, and
// returns how many that are.
func (s *Store) TakeBackJobs(ctx context.Context, owner string) (n int64, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		n, err = tx.Exec(ctx, `UPDATE jobs SET status = 'queued', owner = '' WHERE status = 'running' AND owner = $1`, owner)
		return err
	})
	return n, err
}

// CountJobs returns how many jobs wait and how many are carried out.
func (s *Store) CountJobs(ctx context.Context) (queued, running int64, err error) {
	err = s.db.Read().QueryRow(ctx, `SELECT count(CASE WHEN status = 'queued' THEN 1 END), count(CASE WHEN status = 'running' THEN 1 END) FROM jobs`).Scan(&queued, &running)
	return queued, running, err
}
