package postgres

import (
	"context"
	"io/fs"

	"github.com/freshet-dev/freshet/internal/store"
)

// OpenWith opens with other migrations than this binary's.
func OpenWith(ctx context.Context, o Options, dir fs.FS) (*store.Store, error) {
	o.migrations = dir
	return Open(ctx, o)
}
