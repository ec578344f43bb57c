package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// runBatch is how many runs are deleted at a time: few enough that a database
// with one writer is not held up.
const runBatch = 100

// NextRunName returns the first name of runs behind after, or ErrNotFound.
func (s *Store) NextRunName(ctx context.Context, after string) (string, error) {
	var name string
	err := s.db.Read().QueryRow(ctx, `SELECT name FROM runs WHERE name > $1 ORDER BY name LIMIT 1`, after).Scan(&name)
	return name, err
}

// RunAt returns the id of the run of a name that has so many newer ones, faulted
// ones alone or all; "" if there are not that many.
func (s *Store) RunAt(ctx context.Context, name string, faulted bool, newer int) (string, error) {
	query := `SELECT id FROM runs WHERE name = $1 ORDER BY id DESC LIMIT 1 OFFSET $2`
	if faulted {
		query = `SELECT id FROM runs WHERE name = $1 AND status = 'faulted' ORDER BY id DESC LIMIT 1 OFFSET $2`
	}
	var id string
	err := s.db.Read().QueryRow(ctx, query, name, newer).Scan(&id)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return id, err
}

// TrimRuns deletes runs of a status that ended before the instant and whose ids
// are below the id. It deletes nothing that has not ended. The cost follows
// what is deleted, and what ended long after it began.
func (s *Store) TrimRuns(ctx context.Context, status, below string, before time.Time) (int64, error) {
	return s.deleteRuns(ctx, func(tx Querier, from string) (Rows, error) {
		return tx.Query(ctx, `SELECT id, correlation, former FROM runs WHERE status = $1 AND id > $2 AND id < $3 AND ended_at < $4 ORDER BY id LIMIT $5`,
			status, from, below, before.UnixMilli(), runBatch)
	})
}

// TrimRunsOf deletes runs of a name up to an id: the faulted ones, or those that
// finished or were cancelled.
func (s *Store) TrimRunsOf(ctx context.Context, name string, faulted bool, upTo string) (int64, error) {
	query := `SELECT id, correlation, former FROM runs WHERE name = $1 AND id > $2 AND id <= $3 AND status IN ('finished', 'cancelled') ORDER BY id LIMIT $4`
	if faulted {
		query = `SELECT id, correlation, former FROM runs WHERE name = $1 AND id > $2 AND id <= $3 AND status = 'faulted' ORDER BY id LIMIT $4`
	}
	return s.deleteRuns(ctx, func(tx Querier, from string) (Rows, error) {
		return tx.Query(ctx, query, name, from, upTo, runBatch)
	})
}

// deleteRuns deletes what find finds behind an id, batch by batch.
func (s *Store) deleteRuns(ctx context.Context, find func(tx Querier, from string) (Rows, error)) (int64, error) {
	var total int64
	from := ""
	for n := runBatch; n == runBatch; {
		if err := s.db.Tx(ctx, func(tx Querier) error {
			n = 0
			var gone []Run
			rows, err := find(tx, from)
			if err := each(rows, err, func(r Scanner) error {
				v, err := scanTrimmed(r)
				gone = append(gone, v)
				return err
			}); err != nil {
				return err
			}
			rep := &repeat{ctx: ctx, tx: tx}
			defer rep.close()
			for i := range gone {
				if err := deleteRun(rep, &gone[i]); err != nil {
					return err
				}
				from = gone[i].ID
			}
			n = len(gone)
			return nil
		}); err != nil {
			return total, err
		}
		total += int64(n)
	}
	return total, nil
}

// scanTrimmed reads what has to be known of a run that goes.
func scanTrimmed(r Scanner) (v Run, err error) {
	var former *string
	if err := r.Scan(&v.ID, &v.Correlation, &former); err != nil || former == nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(*former), &v.Former)
}

func deleteRun(rep *repeat, r *Run) error {
	for _, id := range append(r.Former, r.Correlation) {
		if _, err := rep.exec(deleteCorrelation, correlationHead(id), r.ID); err != nil {
			return err
		}
	}
	if _, err := rep.exec(`DELETE FROM run_steps WHERE run = $1`, r.ID); err != nil {
		return err
	}
	_, err := rep.exec(`DELETE FROM runs WHERE id = $1`, r.ID)
	return err
}

// TrimRunOwners forgets processes whose lease ended before the instant.
func (s *Store) TrimRunOwners(ctx context.Context, before time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		_, err := tx.Exec(ctx, `DELETE FROM run_owners WHERE lease_until < $1`, before.UnixMilli())
		return err
	})
}
