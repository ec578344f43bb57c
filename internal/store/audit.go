package store

import (
	"context"
	"errors"
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
		// A chain has one end: whoever appends waits for whoever is appending.
		if _, err := tx.Exec(ctx, `INSERT INTO meta (key, value, revision) VALUES ('audit', $1, 1)
			ON CONFLICT (key) DO UPDATE SET revision = meta.revision + 1`, []byte{}); err != nil {
			return err
		}
		last, err := scanAudit(tx.QueryRow(ctx, `SELECT seq, at, actor, action, subject, detail, hash FROM audit ORDER BY seq DESC LIMIT 1`))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		link(last, rows)
		// Most of a row's cost is the statement's, so that many go in one.
		args := func(i int, into []any) []any {
			r := &rows[i]
			return append(into, r.At.UnixMilli(), r.Actor, r.Action, r.Subject, r.Detail, r.Hash)
		}
		done, full := 0, len(rows)/auditBatch
		if p, ok := tx.(repeater); ok && full > 0 {
			if err := p.Repeat(ctx, insertAuditBatch, full, func(n int, into []any) []any {
				for i := n * auditBatch; i < (n+1)*auditBatch; i++ {
					into = args(i, into)
				}
				return into
			}); err != nil {
				return err
			}
			done = full * auditBatch
		}
		for i := done; i < len(rows); i++ {
			if _, err := tx.Exec(ctx, insertAudit, args(i, nil)...); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	auditBatch       = 8
	insertAudit      = `INSERT INTO audit (at, actor, action, subject, detail, hash) VALUES ($1, $2, $3, $4, $5, $6)`
	insertAuditBatch = insertAudit + `,
		($7, $8, $9, $10, $11, $12), ($13, $14, $15, $16, $17, $18), ($19, $20, $21, $22, $23, $24), ($25, $26, $27, $28, $29, $30),
		($31, $32, $33, $34, $35, $36), ($37, $38, $39, $40, $41, $42), ($43, $44, $45, $46, $47, $48)`
)

// A repeater is a Querier that can run one statement for many rows at less cost
// than one by one.
type repeater interface {
	Repeat(ctx context.Context, query string, rows int, args func(row int, into []any) []any) error
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

// An AuditFilter narrows a list of audit rows; empty members do not.
type AuditFilter struct{ Actor, Action, Subject string }

// AuditBefore lists rows with a Seq below before, newest first, at most limit.
func (s *Store) AuditBefore(ctx context.Context, before int64, f AuditFilter, limit int) ([]AuditRow, error) {
	var out []AuditRow
	rows, err := s.db.Read().Query(ctx, `SELECT seq, at, actor, action, subject, detail, hash FROM audit
		WHERE seq < $1 AND ($2 = '' OR actor = $2) AND ($3 = '' OR action = $3) AND ($4 = '' OR subject = $4) ORDER BY seq DESC LIMIT $5`,
		before, f.Actor, f.Action, f.Subject, limit)
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
