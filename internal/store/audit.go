package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
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
		for batch := range slices.Chunk(rows, auditBatch) {
			args := make([]any, 0, auditColumns*len(batch))
			for _, r := range batch {
				args = append(args, r.At.UnixMilli(), r.Actor, r.Action, r.Subject, r.Detail, r.Hash)
			}
			if _, err := tx.Exec(ctx, insertAudit(len(batch)), args...); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	auditColumns = 6
	auditBatch   = 64 // rows in one statement: most of the cost is the statement's
)

// insertAudit is the statement for n rows.
func insertAudit(n int) string {
	if n == auditBatch {
		return insertFullBatch
	}
	return insertAuditRows(n)
}

var insertFullBatch = insertAuditRows(auditBatch)

func insertAuditRows(n int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO audit (at, actor, action, subject, detail, hash) VALUES `)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for j := range auditColumns {
			if j > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i*auditColumns + j + 1))
		}
		b.WriteByte(')')
	}
	return b.String()
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
