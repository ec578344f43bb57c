package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// mostPrepared bounds the statements that are kept. The store's own are a few
// hundred constant texts; filters of tables add shapes without end.
const mostPrepared = 512

// prepared are statements that are parsed once: parsing takes longer than most of
// what they do.
type prepared struct {
	mu   sync.RWMutex
	kept map[string]*sql.Stmt
}

// of returns the statement of a text, nil if it is not kept.
func (p *prepared) of(ctx context.Context, db *sql.DB, query string) *sql.Stmt {
	p.mu.RLock()
	s, ok := p.kept[query]
	full := len(p.kept) >= mostPrepared
	p.mu.RUnlock()
	if ok || full {
		return s
	}
	s, err := db.PrepareContext(ctx, query)
	if err != nil {
		return nil // whoever asked hears it from the query itself
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.kept[query]; ok {
		s.Close()
		return other
	}
	if p.kept == nil {
		p.kept = map[string]*sql.Stmt{}
	}
	p.kept[query] = s
	return s
}

// A reader reads with prepared statements.
type reader struct{ d *DB }

// ExecContext runs what is no SELECT.
func (r reader) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return r.d.read.ExecContext(ctx, query, args...)
}

// QueryContext reads rows.
func (r reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := r.d.prepared.of(ctx, r.d.read, query); s != nil {
		return s.QueryContext(ctx, args...)
	}
	return r.d.read.QueryContext(ctx, query, args...)
}

// QueryRowContext reads one row.
func (r reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s := r.d.prepared.of(ctx, r.d.read, query); s != nil {
		return s.QueryRowContext(ctx, args...)
	}
	return r.d.read.QueryRowContext(ctx, query, args...)
}
