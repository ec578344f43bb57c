package store

import (
	"context"
	"time"
)

// An AppStore is what the scripts of an app keep.
type AppStore struct {
	App      string // id of the resource
	Sealed   []byte // bound to ("app_stores", App, "values", Revision)
	Revision int64
}

// AppStore returns what an app keeps, or ErrNotFound for one that never kept
// anything.
func (s *Store) AppStore(ctx context.Context, app string) (AppStore, error) {
	a := AppStore{App: app}
	err := s.db.Read().QueryRow(ctx, `SELECT sealed, revision FROM app_stores WHERE id = $1`, app).Scan(&a.Sealed, &a.Revision)
	return a, err
}

// PutAppStore writes what an app keeps. Revision must be one more than what is
// there, 1 for the first. ErrStale: it is not.
func (s *Store) PutAppStore(ctx context.Context, a AppStore, now time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		if a.Revision == 1 {
			return one(tx.Exec(ctx, `INSERT INTO app_stores (id, sealed, revision, updated_at) VALUES ($1, $2, 1, $3) ON CONFLICT (id) DO NOTHING`,
				a.App, a.Sealed, now.UnixMilli()))
		}
		return one(tx.Exec(ctx, `UPDATE app_stores SET sealed = $1, revision = $2, updated_at = $3 WHERE id = $4 AND revision = $5`,
			a.Sealed, a.Revision, now.UnixMilli(), a.App, a.Revision-1))
	})
}

// DeleteAppStore forgets what an app keeps, if it keeps anything.
func (c *Change) DeleteAppStore(app string) error {
	_, err := c.tx.Exec(c.ctx, `DELETE FROM app_stores WHERE id = $1`, app)
	return err
}
