package store

import "context"

// EpochKey is the value by which a store and its data directory know each
// other; EpochOfCopies is what it is in every copy. The package backup compares
// them.
const (
	EpochKey      = "epoch"
	EpochOfCopies = "copy"
)

// Meta returns a value that the installation keeps about itself, with its
// revision, or ErrNotFound.
func (s *Store) Meta(ctx context.Context, key string) (value []byte, revision int64, err error) {
	err = s.db.Read().QueryRow(ctx, `SELECT value, revision FROM meta WHERE key = $1`, key).Scan(&value, &revision)
	return value, revision, err
}

// PutMeta writes a value if its revision is the one given, 0 for none yet; the
// new revision is one more. ErrStale: it is another.
func (s *Store) PutMeta(ctx context.Context, key string, value []byte, revision int64) error {
	return s.db.Tx(ctx, func(tx Querier) error { return putMeta(ctx, tx, key, value, revision) })
}

func putMeta(ctx context.Context, tx Querier, key string, value []byte, revision int64) error {
	if revision == 0 {
		return one(tx.Exec(ctx, `INSERT INTO meta (key, value, revision) VALUES ($1, $2, 1) ON CONFLICT (key) DO NOTHING`, key, value))
	}
	return one(tx.Exec(ctx, `UPDATE meta SET value = $1, revision = revision + 1 WHERE key = $2 AND revision = $3`, value, key, revision))
}

// PutMeta is Store.PutMeta within the change.
func (c *Change) PutMeta(key string, value []byte, revision int64) error {
	return putMeta(c.ctx, c.tx, key, value, revision)
}
