package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An AuditRow is one line of the append-only record. Hash chains it to the row
// before.
//
// Rows are kept in pages: what is appended together lies in one record of the
// database, as JSON text, because a busy server writes thousands a second and
// most of a record's cost is the record's, not its bytes'.
type AuditRow struct {
	Seq     int64
	At      time.Time
	Actor   string
	Action  string
	Subject string
	Detail  string // JSON, holds no secret
	Hash    []byte // of HashSize bytes
}

// HashSize is the length of an audit row's hash: an HMAC-SHA-256.
const HashSize = 32

const (
	auditPage    = 256 // rows in a page at most
	auditFetch   = 8   // pages read at a time
	auditColumns = `first, entries, hashes`
)

// LastAudit returns the newest row, or ErrNotFound.
func (s *Store) LastAudit(ctx context.Context) (AuditRow, error) { return lastAudit(ctx, s.db.Read()) }

func lastAudit(ctx context.Context, q Querier) (AuditRow, error) {
	page, err := scanAudit(q.QueryRow(ctx, `SELECT `+auditColumns+` FROM audit ORDER BY first DESC LIMIT 1`))
	if err != nil {
		return AuditRow{}, err
	}
	return page[len(page)-1], nil
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
		last, err := lastAudit(ctx, tx)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		for i := range rows {
			// JSON has no other text, and the hash is of what can be read again.
			for _, t := range []*string{&rows[i].Actor, &rows[i].Action, &rows[i].Subject, &rows[i].Detail} {
				*t = strings.ToValidUTF8(*t, "\uFFFD")
			}
		}
		link(last, rows)
		first := last.Seq + 1
		for page := range slices.Chunk(rows, auditPage) {
			entries, hashes := packAudit(page)
			if _, err := tx.Exec(ctx, `INSERT INTO audit (first, entries, hashes) VALUES ($1, $2, $3)`, first, entries, hashes); err != nil {
				return err
			}
			first += int64(len(page))
		}
		return nil
	})
}

// Audit lists rows with a Seq above after, oldest first, at most limit.
func (s *Store) Audit(ctx context.Context, after int64, limit int) ([]AuditRow, error) {
	// The page that after may lie in, then those that follow.
	first := after
	if err := s.db.Read().QueryRow(ctx, `SELECT first FROM audit WHERE first <= $1 ORDER BY first DESC LIMIT 1`, after).Scan(&first); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var out []AuditRow
	for fetched := auditFetch; fetched == auditFetch && len(out) < limit; {
		rows, err := s.db.Read().Query(ctx, `SELECT `+auditColumns+` FROM audit WHERE first >= $1 ORDER BY first LIMIT $2`, first, auditFetch)
		fetched = 0
		if err := each(rows, err, func(r Scanner) error {
			page, err := scanAudit(r)
			if err != nil {
				return err
			}
			fetched, first = fetched+1, page[0].Seq+1
			for i := range page {
				if page[i].Seq > after && len(out) < limit {
					out = append(out, page[i])
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// An AuditFilter narrows a list of audit rows; empty members do not.
type AuditFilter struct{ Actor, Action, Subject string }

func (f AuditFilter) takes(r *AuditRow) bool {
	return (f.Actor == "" || r.Actor == f.Actor) && (f.Action == "" || r.Action == f.Action) && (f.Subject == "" || r.Subject == f.Subject)
}

// AuditBefore lists rows with a Seq below before, newest first, at most limit.
func (s *Store) AuditBefore(ctx context.Context, before int64, f AuditFilter, limit int) ([]AuditRow, error) {
	var out []AuditRow
	for fetched, first := auditFetch, before; fetched == auditFetch && len(out) < limit; {
		rows, err := s.db.Read().Query(ctx, `SELECT `+auditColumns+` FROM audit WHERE first < $1 ORDER BY first DESC LIMIT $2`, first, auditFetch)
		fetched = 0
		if err := each(rows, err, func(r Scanner) error {
			page, err := scanAudit(r)
			if err != nil {
				return err
			}
			fetched, first = fetched+1, page[0].Seq
			for i := len(page) - 1; i >= 0 && len(out) < limit; i-- {
				if page[i].Seq < before && f.takes(&page[i]) {
					out = append(out, page[i])
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// auditEntry is a row as a page holds it; packAudit writes it. Members that are
// left out are as in the entry before.
type auditEntry struct {
	At      int64  `json:"at"` // Unix milliseconds
	Actor   string `json:"actor"`
	Action  string `json:"action"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
}

// packAudit makes a page of rows: a JSON list of auditEntry, and the rows'
// hashes one after the other.
func packAudit(rows []AuditRow) (entries string, hashes []byte) {
	b := make([]byte, 0, 128*len(rows))
	hashes = make([]byte, 0, HashSize*len(rows))
	var before AuditRow
	for i := range rows {
		r := &rows[i]
		b = append(b, `,{"at":`...)
		b = strconv.AppendInt(b, r.At.UnixMilli(), 10)
		if r.Actor != before.Actor {
			b = appendText(append(b, `,"actor":`...), r.Actor)
		}
		if r.Action != before.Action {
			b = appendText(append(b, `,"action":`...), r.Action)
		}
		if r.Subject != before.Subject {
			b = appendText(append(b, `,"subject":`...), r.Subject)
		}
		b = appendText(append(b, `,"detail":`...), r.Detail)
		b = append(b, '}')
		hashes = append(hashes, r.Hash...)
		before = *r
	}
	b[0] = '['
	return string(append(b, ']')), hashes
}

// unpackAudit reads the entries of a page. It returns an error or at least one.
func unpackAudit(text string) ([]auditEntry, error) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	out := make([]auditEntry, len(list))
	for i, raw := range list {
		if i > 0 {
			out[i] = out[i-1]
		}
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, errors.New("an empty page")
	}
	return out, nil
}

// appendText appends s as a JSON string.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(append(append(b, s[start:i]...), '\\'), c)
			start = i + 1
		case c < 0x20 || c >= utf8.RuneSelf:
			// Rare: what needs more than a backslash is left to those who know.
			rest, err := json.Marshal(s[start:])
			if err != nil {
				panic(err) // a string is always JSON
			}
			return append(b, rest[1:]...)
		}
	}
	return append(append(b, s[start:]...), '"')
}

// scanAudit reads a page, of at least one row.
func scanAudit(r Scanner) ([]AuditRow, error) {
	var first int64
	var text string
	var hashes []byte
	if err := r.Scan(&first, &text, &hashes); err != nil {
		return nil, err
	}
	entries, err := unpackAudit(text)
	if err != nil {
		// Somebody wrote here by hand. The rest is listed, and the rows' hashes,
		// which no longer fit, say where it was.
		entries = make([]auditEntry, max(1, len(hashes)/HashSize))
	}
	page := make([]AuditRow, len(entries))
	for i, e := range entries {
		page[i] = AuditRow{Seq: first + int64(i), At: time.UnixMilli(e.At).UTC(), Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail}
		if len(hashes) >= HashSize {
			page[i].Hash, hashes = hashes[:HashSize:HashSize], hashes[HashSize:]
		}
	}
	return page, nil
}
