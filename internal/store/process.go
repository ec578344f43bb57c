package store

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"
)

// A ProcessInstance is a saved form of a process.
type ProcessInstance struct {
	ID      string // random, never reused
	Process string // id of the process's resource
	Of      string // name of the process; read, not written
	Number  int64  // of the process, never given twice
	Name    string // PROCESS-NUMBER

	Sealed   []byte // the fields, bound to ("process_instances", ID, "fields", Revision)
	Revision int64

	IssuedAt      time.Time // of the token that the fields hold; zero: they do not say
	ExpiresAt     time.Time
	RefreshExpiry time.Time
	CreatedAt     time.Time
	SavedAt       time.Time
	SavedBy       string // who: run:ID, key:NAME#ID, config
}

const processInstanceColumns = `i.id, i.process, p.name, i.number, i.name, i.sealed, i.revision, i.issued_at, i.expires_at, i.refresh_expires, i.created_at, i.saved_at, i.saved_by
	FROM process_instances i JOIN processes p ON p.id = i.process`

func scanProcessInstance(r Scanner) (ProcessInstance, error) {
	var in ProcessInstance
	var issued, expires, refresh, created, saved *int64
	err := r.Scan(&in.ID, &in.Process, &in.Of, &in.Number, &in.Name, &in.Sealed, &in.Revision, &issued, &expires, &refresh, &created, &saved, &in.SavedBy)
	in.IssuedAt, in.ExpiresAt, in.RefreshExpiry, in.CreatedAt, in.SavedAt = at(issued), at(expires), at(refresh), at(created), at(saved)
	return in, err
}

// ProcessInstance returns an instance by its name, or ErrNotFound.
func (s *Store) ProcessInstance(ctx context.Context, name string) (ProcessInstance, error) {
	return processInstance(ctx, s.db.Read(), name)
}

func processInstance(ctx context.Context, q Querier, name string) (ProcessInstance, error) {
	return scanProcessInstance(q.QueryRow(ctx, `SELECT `+processInstanceColumns+` WHERE i.name = $1`, name))
}

// ProcessInstances lists instances of a process in order of number, after the
// given number, at most limit.
func (s *Store) ProcessInstances(ctx context.Context, process string, after int64, limit int) ([]ProcessInstance, error) {
	var out []ProcessInstance
	rows, err := s.db.Read().Query(ctx, `SELECT `+processInstanceColumns+` WHERE p.name = $1 AND i.number > $2 ORDER BY i.number LIMIT $3`, process, after, limit)
	err = each(rows, err, func(r Scanner) error {
		in, err := scanProcessInstance(r)
		out = append(out, in)
		return err
	})
	return out, err
}

// PutProcess makes the row of a process, if it is not there. ErrExists: another
// one has the name.
func (c *Change) PutProcess(id, name string) error {
	n, err := c.tx.Exec(c.ctx, `INSERT INTO processes (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, id, name)
	if err != nil || n > 0 {
		return err
	}
	var there string
	err = c.tx.QueryRow(c.ctx, `SELECT name FROM processes WHERE id = $1`, id).Scan(&there)
	if errors.Is(err, ErrNotFound) {
		return ErrExists
	}
	return err
}

// DeleteProcess removes a process with its instances and returns the ids that
// they had.
func (c *Change) DeleteProcess(id string) (instances []string, err error) {
	rows, err := c.tx.Query(c.ctx, `SELECT id FROM process_instances WHERE process = $1 ORDER BY number`, id)
	if err := each(rows, err, func(r Scanner) error {
		var in string
		err := r.Scan(&in)
		instances = append(instances, in)
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := c.tx.Exec(c.ctx, `DELETE FROM process_instances WHERE process = $1`, id); err != nil {
		return nil, err
	}
	_, err = c.tx.Exec(c.ctx, `DELETE FROM processes WHERE id = $1`, id)
	return instances, err
}

// ProcessInstance reads within the change.
func (c *Change) ProcessInstance(name string) (ProcessInstance, error) {
	return processInstance(c.ctx, c.tx, name)
}

// AddProcessInstance saves a new instance of a process, which gets the number
// that in has, or with 0 the next one. seal is given the row with its id, name
// and revision, and sets what is sealed. ErrNotFound: there is no such process.
// ErrExists: an instance has the number.
func (c *Change) AddProcessInstance(in ProcessInstance, seal func(in *ProcessInstance) error) (ProcessInstance, error) {
	var name string
	var last int64
	// The update comes first: it is what two that add at the same time wait for.
	err := c.tx.QueryRow(c.ctx, `UPDATE processes SET last = CASE WHEN CAST($1 AS BIGINT) = 0 THEN last + 1 WHEN last < CAST($1 AS BIGINT) THEN CAST($1 AS BIGINT) ELSE last END WHERE id = $2 RETURNING name, last`, in.Number, in.Process).Scan(&name, &last)
	if err != nil {
		return in, err
	}
	if in.Number == 0 {
		in.Number = last
	}
	in.ID, in.Of, in.Name, in.Revision, in.CreatedAt, in.SavedAt = rand.Text(), name, name+"-"+strconv.FormatInt(in.Number, 10), 1, c.now, c.now
	if err := seal(&in); err != nil {
		return in, err
	}
	n, err := c.tx.Exec(c.ctx, `INSERT INTO process_instances (id, process, number, name, sealed, revision, issued_at, expires_at, refresh_expires, created_at, saved_at, saved_by)
		VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $9, $10) ON CONFLICT DO NOTHING`,
		in.ID, in.Process, in.Number, in.Name, in.Sealed, ms(in.IssuedAt), ms(in.ExpiresAt), ms(in.RefreshExpiry), c.now.UnixMilli(), in.SavedBy)
	if err == nil && n == 0 {
		return in, ErrExists
	}
	return in, err
}

// SaveProcessInstance writes an instance at its Revision, which must be one more
// than what is stored. ErrStale: it is not.
func (c *Change) SaveProcessInstance(in ProcessInstance) error {
	return one(c.tx.Exec(c.ctx, `UPDATE process_instances SET sealed = $1, revision = $2, issued_at = $3, expires_at = $4, refresh_expires = $5, saved_at = $6, saved_by = $7
		WHERE id = $8 AND revision = $9`,
		in.Sealed, in.Revision, ms(in.IssuedAt), ms(in.ExpiresAt), ms(in.RefreshExpiry), c.now.UnixMilli(), in.SavedBy, in.ID, in.Revision-1))
}

// DeleteProcessInstance removes an instance. ErrNotFound: there is none.
func (c *Change) DeleteProcessInstance(id string) error {
	n, err := c.tx.Exec(c.ctx, `DELETE FROM process_instances WHERE id = $1`, id)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
