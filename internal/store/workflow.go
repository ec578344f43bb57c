package store

import (
	"context"
	"errors"
	"time"
)

// A Workflow is a name in the library of workflows, which has the id of the
// resource that declares it.
type Workflow struct {
	ID        string
	Name      string
	Latest    int64 // number of the newest version
	Published int64 // number of the version that runs; 0: none
	UpdatedAt time.Time
	// What the published version's file says, for lookups; "" if none is.
	DefinitionID, Tag string
}

// A WorkflowVersion is one state of a workflow: its file and what is attached,
// sealed as one value that is bound to ("workflow_versions", ID, "version",
// Number).
type WorkflowVersion struct {
	ID                string // of the row
	Workflow          string // id
	Number            int64
	Hash              string // SHA-256 of the file, hex
	Size              int64  // bytes of the file
	DefinitionID, Tag string // as the file says
	Sealed            []byte // not read by lists
	CreatedAt         time.Time
	CreatedBy         string
	PublishedAt       time.Time // zero: never was
}

const workflowColumns = `w.id, w.name, w.latest, w.published, w.updated_at, COALESCE(v.definition_id, ''), COALESCE(v.tag, '')
	FROM workflows w LEFT JOIN workflow_versions v ON v.workflow = w.id AND v.number = w.published`

func scanWorkflow(r Scanner) (Workflow, error) {
	var w Workflow
	var updated *int64
	err := r.Scan(&w.ID, &w.Name, &w.Latest, &w.Published, &updated, &w.DefinitionID, &w.Tag)
	w.UpdatedAt = at(updated)
	return w, err
}

// Workflow returns a workflow by its name, or ErrNotFound.
func (s *Store) Workflow(ctx context.Context, name string) (Workflow, error) {
	return scanWorkflow(s.db.Read().QueryRow(ctx, `SELECT `+workflowColumns+` WHERE w.name = $1`, name))
}

// Workflows lists workflows in order of name, after the given name, at most
// limit.
func (s *Store) Workflows(ctx context.Context, after string, limit int) ([]Workflow, error) {
	var out []Workflow
	rows, err := s.db.Read().Query(ctx, `SELECT `+workflowColumns+` WHERE w.name > $1 ORDER BY w.name LIMIT $2`, after, limit)
	err = each(rows, err, func(r Scanner) error {
		w, err := scanWorkflow(r)
		out = append(out, w)
		return err
	})
	return out, err
}

const versionColumns = `id, workflow, number, hash, size, definition_id, tag, created_at, created_by, published_at`

func scanVersion(r Scanner, more ...any) (WorkflowVersion, error) {
	var v WorkflowVersion
	var created, published *int64
	dest := []any{&v.ID, &v.Workflow, &v.Number, &v.Hash, &v.Size, &v.DefinitionID, &v.Tag, &created, &v.CreatedBy, &published}
	err := r.Scan(append(dest, more...)...)
	v.CreatedAt, v.PublishedAt = at(created), at(published)
	return v, err
}

// WorkflowVersion returns one version with what is sealed in it, or
// ErrNotFound.
func (s *Store) WorkflowVersion(ctx context.Context, workflow string, number int64) (WorkflowVersion, error) {
	return workflowVersion(ctx, s.db.Read(), workflow, number)
}

func workflowVersion(ctx context.Context, q Querier, workflow string, number int64) (WorkflowVersion, error) {
	var sealed []byte
	v, err := scanVersion(q.QueryRow(ctx, `SELECT `+versionColumns+`, sealed FROM workflow_versions WHERE workflow = $1 AND number = $2`, workflow, number), &sealed)
	v.Sealed = sealed
	return v, err
}

// WorkflowVersions lists versions of a workflow, the newest first, below the
// given number (0: from the newest), at most limit, without what is sealed.
func (s *Store) WorkflowVersions(ctx context.Context, workflow string, below int64, limit int) ([]WorkflowVersion, error) {
	if below <= 0 {
		below = 1 << 62
	}
	var out []WorkflowVersion
	rows, err := s.db.Read().Query(ctx, `SELECT `+versionColumns+` FROM workflow_versions WHERE workflow = $1 AND number < $2 ORDER BY number DESC LIMIT $3`, workflow, below, limit)
	err = each(rows, err, func(r Scanner) error {
		v, err := scanVersion(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// Workflow reads within the change, by id.
func (c *Change) Workflow(id string) (Workflow, error) {
	return scanWorkflow(c.tx.QueryRow(c.ctx, `SELECT `+workflowColumns+` WHERE w.id = $1`, id))
}

// WorkflowVersion reads within the change.
func (c *Change) WorkflowVersion(workflow string, number int64) (WorkflowVersion, error) {
	return workflowVersion(c.ctx, c.tx, workflow, number)
}

// AddWorkflowVersion writes a version, whose number must be one more than the
// workflow's newest, 1 for a new workflow, which gets the name. ErrStale: it is
// not. ErrExists: another workflow has the name.
func (c *Change) AddWorkflowVersion(name string, v WorkflowVersion) error {
	now := c.now.UnixMilli()
	if v.Number == 1 {
		n, err := c.tx.Exec(c.ctx, `INSERT INTO workflows (id, name, latest, published, updated_at) VALUES ($1, $2, 1, 0, $3) ON CONFLICT DO NOTHING`, v.Workflow, name, now)
		if err != nil {
			return err
		}
		if n == 0 {
			if _, err := c.Workflow(v.Workflow); errors.Is(err, ErrNotFound) {
				return ErrExists
			}
			return ErrStale
		}
	} else if err := one(c.tx.Exec(c.ctx, `UPDATE workflows SET latest = $1, updated_at = $2 WHERE id = $3 AND latest = $4`, v.Number, now, v.Workflow, v.Number-1)); err != nil {
		return err
	}
	_, err := c.tx.Exec(c.ctx, `INSERT INTO workflow_versions (id, workflow, number, hash, size, definition_id, tag, sealed, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		v.ID, v.Workflow, v.Number, v.Hash, v.Size, v.DefinitionID, v.Tag, v.Sealed, now, v.CreatedBy)
	return err
}

// PublishWorkflow makes a version the one that runs. ErrNotFound: there is no
// such version.
func (c *Change) PublishWorkflow(workflow string, number int64) error {
	now := c.now.UnixMilli()
	n, err := c.tx.Exec(c.ctx, `UPDATE workflow_versions SET published_at = $1 WHERE workflow = $2 AND number = $3`, now, workflow, number)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return one(c.tx.Exec(c.ctx, `UPDATE workflows SET published = $1, updated_at = $2 WHERE id = $3`, number, now, workflow))
}

// DeleteWorkflow removes a workflow with all its versions, if it is there.
func (c *Change) DeleteWorkflow(id string) error {
	if _, err := c.tx.Exec(c.ctx, `DELETE FROM workflow_versions WHERE workflow = $1`, id); err != nil {
		return err
	}
	_, err := c.tx.Exec(c.ctx, `DELETE FROM workflows WHERE id = $1`, id)
	return err
}
