package postgres

import (
	"context"
	"io/fs"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// OpenWith opens with other migrations than this binary's.
func OpenWith(ctx context.Context, o Options, dir fs.FS) (*store.Store, error) {
	o.migrations = dir
	return Open(ctx, o)
}

// OpenImpatient opens with another bound on what callers do not bound.
func OpenImpatient(ctx context.Context, o Options, d time.Duration) (*store.Store, error) {
	o.patience = d
	return Open(ctx, o)
}
