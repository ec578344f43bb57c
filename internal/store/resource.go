package store

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Resource is what people declared: its spec without secrets, and the
// secrets sealed as one map, bound to ("resources", ID, "secrets", Revision).
type Resource struct {
	ID        string // random, never reused
	Kind      string
	Name      string
	Spec      string // JSON
	Secrets   []byte // nil: it has none
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
	Refs      []Ref // what it refers to; written, not read
}

// A Ref is a resource that another one refers to.
type Ref struct{ Kind, Name string }

const resourceColumns = `id, kind, name, spec, secrets, revision, created_at, updated_at`

func scanResource(r Scanner) (Resource, error) {
	var v Resource
	var created, updated *int64
	err := r.Scan(&v.ID, &v.Kind, &v.Name, &v.Spec, &v.Secrets, &v.Revision, &created, &updated)
	v.CreatedAt, v.UpdatedAt = at(created), at(updated)
	return v, err
}

// Resource returns a resource, or ErrNotFound.
func (s *Store) Resource(ctx context.Context, kind, name string) (Resource, error) {
	return resource(ctx, s.db.Read(), kind, name)
}

func resource(ctx context.Context, q Querier, kind, name string) (Resource, error) {
	return scanResource(q.QueryRow(ctx, `SELECT `+resourceColumns+` FROM resources WHERE kind = $1 AND name = $2`, kind, name))
}

// Resources lists the resources of a kind in order of name, after the given
// name, at most limit.
func (s *Store) Resources(ctx context.Context, kind, after string, limit int) ([]Resource, error) {
	var out []Resource
	rows, err := s.db.Read().Query(ctx, `SELECT `+resourceColumns+` FROM resources WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3`, kind, after, limit)
	err = each(rows, err, func(r Scanner) error {
		v, err := scanResource(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// Referrers lists up to limit resources that refer to one.
func (s *Store) Referrers(ctx context.Context, kind, name string, limit int) ([]Ref, error) {
	return referrers(ctx, s.db.Read(), kind, name, limit)
}

func referrers(ctx context.Context, q Querier, kind, name string, limit int) ([]Ref, error) {
	var out []Ref
	rows, err := q.Query(ctx, `SELECT r.kind, r.name FROM resource_refs f JOIN resources r ON r.id = f.id
		WHERE f.kind = $1 AND f.name = $2 ORDER BY r.kind, r.name LIMIT $3`, kind, name, limit)
	err = each(rows, err, func(r Scanner) error {
		var ref Ref
		err := r.Scan(&ref.Kind, &ref.Name)
		out = append(out, ref)
		return err
	})
	return out, err
}

// A Change is a set of writes to resources that happens whole or not at all.
type Change struct {
	ctx context.Context
	s   *Store
	tx  Querier
	now time.Time
}

// Change runs fn in one transaction.
func (s *Store) Change(ctx context.Context, fn func(c *Change) error) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		return fn(&Change{ctx: ctx, s: s, tx: tx, now: now})
	})
}

// Context is that of who asked for the change.
func (c *Change) Context() context.Context { return c.ctx }

// Resource reads within the change.
func (c *Change) Resource(kind, name string) (Resource, error) {
	return resource(c.ctx, c.tx, kind, name)
}

// Referrers reads within the change.
func (c *Change) Referrers(kind, name string, limit int) ([]Ref, error) {
	return referrers(c.ctx, c.tx, kind, name, limit)
}

// Put writes a resource at revision r.Revision, which must be one more than
// what is stored, 1 for a new one. ErrStale: it is not.
func (c *Change) Put(r Resource) error {
	if r.Revision == 1 {
		// DO NOTHING, because a refused statement ends the whole transaction in
		// PostgreSQL.
		if err := one(c.tx.Exec(c.ctx, `INSERT INTO resources (id, kind, name, spec, secrets, revision, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, 1, $6, $6) ON CONFLICT DO NOTHING`,
			r.ID, r.Kind, r.Name, r.Spec, r.Secrets, c.now.UnixMilli())); err != nil {
			return err
		}
	} else if err := one(c.tx.Exec(c.ctx, `UPDATE resources SET spec = $1, secrets = $2, revision = $3, updated_at = $4 WHERE id = $5 AND revision = $6`,
		r.Spec, r.Secrets, r.Revision, c.now.UnixMilli(), r.ID, r.Revision-1)); err != nil {
		return err
	}
	if _, err := c.tx.Exec(c.ctx, `DELETE FROM resource_refs WHERE id = $1`, r.ID); err != nil {
		return err
	}
	for _, f := range r.Refs {
		if _, err := c.tx.Exec(c.ctx, `INSERT INTO resource_refs (id, kind, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, r.ID, f.Kind, f.Name); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a resource. ErrNotFound: there is none.
func (c *Change) Delete(kind, name string) error {
	n, err := c.tx.Exec(c.ctx, `DELETE FROM resources WHERE kind = $1 AND name = $2`, kind, name)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// EnsureToken makes or updates the token row of a connection. ErrExists:
// another connection has the name.
func (c *Change) EnsureToken(t Token) error {
	err := EnsureToken(c.ctx, c.tx, t, c.now)
	if c.s.db.IsUnique(err) {
		return ErrExists
	}
	return err
}

// Token reads a connection's row within the change.
func (c *Change) Token(id freshet.ConnectionID) (Token, error) {
	return scanToken(c.tx.QueryRow(c.ctx, `SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, string(id)))
}

// DeleteToken removes a connection's row with all that was kept for it.
func (c *Change) DeleteToken(id freshet.ConnectionID) error { return DeleteToken(c.ctx, c.tx, id) }

// Post queues letters.
func (c *Change) Post(l ...Letter) error { return c.s.PostTx(c.ctx, c.tx, l...) }

// Events records events.
func (c *Change) Events(e ...Event) error { return appendEvents(c.ctx, c.tx, c.now, e) }
