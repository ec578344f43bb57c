package store

import (
	"context"
	"time"
)

// An AuditRow is one line of the append-only record. Hash chains it to the row
// before.
type AuditRow struct {
	Seq     int64
	At      time.Time
	Actor   string
	Action  string
	Subject string
	Detail  string // JSON, holds no secret
	Hash    []byte
}

// LastAudit returns the newest row, or ErrNotFound.
func (s *Store) LastAudit(ctx context.Context) (AuditRow, error) {
	return scanAudit(s.db.Read().QueryRow(ctx, `SELECT seq, at, actor, action, subject, detail, hash FROM audit ORDER BY seq DESC LIMIT 1`))
}

// AppendAudit adds rows in order, in one durable transaction. link is called
// with the newest row there is (zero if none) and chains the new rows to it.
func (s *Store) AppendAudit(ctx context.Context, rows []AuditRow, link func(last AuditRow, rows []AuditRow)) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		last, err := scanAudit(tx.QueryRow(ctx, `SELECT seq, at, actor, action, subject, detail, hash FROM audit ORDER BY seq DESC LIMIT 1`))
		if err != nil && err != ErrNotFound {
			return err
		}
		link(last, rows)
		for _, r := range rows {
			if _, err := tx.Exec(ctx, `INSERT INTO audit (at, actor, action, subject, detail, hash) VALUES ($1, $2, $3, $4, $5, $6)`,
				r.At.UnixMilli(), r.Actor, r.Action, r.Subject, r.Detail, r.Hash); err != nil {
				return err
			}
		}
		return nil
	})
}

// Audit lists rows with a Seq above after, oldest first, at most limit.
func (s *Store) Audit(ctx context.Context, after int64, limit int) ([]AuditRow, error) {
	var out []AuditRow
	rows, err := s.db.Read().Query(ctx, `SELECT seq, at, actor, action, subject, detail, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
	err = each(rows, err, func(r Scanner) error {
		a, err := scanAudit(r)
		out = append(out, a)
		return err
	})
	return out, err
}

func scanAudit(r Scanner) (AuditRow, error) {
	var a AuditRow
	var when *int64
	err := r.Scan(&a.Seq, &when, &a.Actor, &a.Action, &a.Subject, &a.Detail, &a.Hash)
	a.At = at(when)
	return a, err
}
