package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

// A Run is one row of the journal. Its texts are masked. Ids sort by the
// instant of the start, so that a range of ids is a range of time.
type Run struct {
	ID          string
	Kind        string
	Name        string
	Version     int64
	Status      string
	Owner       string // the process that runs it, or ran it last
	Correlation string
	Former      []string // earlier correlation ids, those that are kept
	Parent      string
	ParentStep  int64
	StartedBy   string
	Road        string
	Key         string // unique unless it is empty
	StartedAt   time.Time
	UpdatedAt   time.Time
	EndedAt     time.Time
	Steps       int64
	Input       string // JSON, "" for none
	Output      string // JSON, "" for none
	Result      string // JSON, "" for none
}

// runFaulted is the status that has an index of its own.
const runFaulted = "faulted"

// A RunChange is one write to one run, of those that share a transaction.
type RunChange struct {
	Run Run // as it will be
	New bool

	// A row that exists is changed only while it is still this.
	WasOwner  string
	WasStatus string

	Correlations   []string // ids that the run is to be found by from now on
	Uncorrelations []string // and those that it is no longer found by
	First          int64    // number of the first of StepList
	StepList       string   // a JSON list, "" for none
	Input          bool     // the input has changed
	Events         []Event

	// Err is the answer: nil, ErrExists for a new row whose id or key is there
	// already, ErrStale for one that is no more what it was.
	Err error
}

// A RunLease says until when a process is believed to live, counted by the
// database's clock.
type RunLease struct {
	Owner string
	For   time.Duration
}

const (
	runColumns = `id, kind, name, version, status, owner, correlation, former, parent, parent_step, started_by, road, key, started_at, updated_at, ended_at, steps, input, output, result`

	insertRun = `INSERT INTO runs (` + runColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) ON CONFLICT DO NOTHING`
	updateRun = `UPDATE runs SET status = $1, owner = $2, correlation = $3, former = $4, road = $5, updated_at = $6, ended_at = $7, steps = $8, output = $9, result = $10
		WHERE id = $11 AND owner = $12 AND status = $13`
	insertSteps       = `INSERT INTO run_steps (run, first, steps) VALUES ($1, $2, $3)`
	insertCorrelation = `INSERT INTO run_correlations (head, run) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	deleteCorrelation = `DELETE FROM run_correlations WHERE head = $1 AND run = $2`
	updateRunInput    = `UPDATE runs SET input = $1 WHERE id = $2`
)

// A preparer is a Querier that reads a statement once and runs it many times.
type preparer interface {
	Prepare(ctx context.Context, query string) (exec func(args ...any) (affected int64, err error), done func() error, err error)
}

// A repeat runs a few statements for many rows within one transaction.
type repeat struct {
	ctx   context.Context
	tx    Querier
	known map[string]func(args ...any) (int64, error)
	ends  []func() error
}

func (r *repeat) exec(query string, args ...any) (int64, error) {
	exec := r.known[query]
	if exec == nil {
		p, ok := r.tx.(preparer)
		if !ok {
			return r.tx.Exec(r.ctx, query, args...)
		}
		var done func() error
		var err error
		if exec, done, err = p.Prepare(r.ctx, query); err != nil {
			return 0, err
		}
		if r.known == nil {
			r.known = map[string]func(args ...any) (int64, error){}
		}
		r.known[query] = exec
		r.ends = append(r.ends, done)
	}
	return exec(args...)
}

func (r *repeat) close() {
	for _, end := range r.ends {
		end()
	}
}

// WriteRuns carries changes out in one durable transaction, each as if it were
// alone: what is wrong with one is in its Err. lease, if there is one, is
// renewed with them. An error says that nothing was written.
func (s *Store) WriteRuns(ctx context.Context, lease *RunLease, changes []*RunChange) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		rep := &repeat{ctx: ctx, tx: tx}
		defer rep.close()
		if lease != nil {
			if err := s.leaseRuns(ctx, tx, lease); err != nil {
				return err
			}
		}
		for _, c := range changes {
			if err := c.write(rep); err != nil {
				return err
			}
			if c.Err == nil && len(c.Events) > 0 {
				if err := appendEvents(ctx, tx, c.Run.UpdatedAt, c.Events); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (s *Store) leaseRuns(ctx context.Context, tx Querier, l *RunLease) error {
	now, err := s.db.Now(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO run_owners (owner, lease_until) VALUES ($1, $2)
		ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until`, l.Owner, now.Add(l.For).UnixMilli())
	return err
}

// write sets c.Err to what is the change's own fault, and returns what is not.
func (c *RunChange) write(rep *repeat) error {
	c.Err = nil
	r := &c.Run
	former, err := r.former()
	if err != nil {
		return err
	}
	var n int64
	if c.New {
		n, err = rep.exec(insertRun, r.ID, r.Kind, r.Name, r.Version, r.Status, r.Owner, r.Correlation, former, r.Parent, r.ParentStep, r.StartedBy, r.Road, r.Key,
			r.StartedAt.UnixMilli(), r.UpdatedAt.UnixMilli(), ms(r.EndedAt), r.Steps, optional(r.Input), optional(r.Output), optional(r.Result))
	} else {
		n, err = rep.exec(updateRun, r.Status, r.Owner, r.Correlation, former, r.Road, r.UpdatedAt.UnixMilli(), ms(r.EndedAt), r.Steps, optional(r.Output), optional(r.Result),
			r.ID, c.WasOwner, c.WasStatus)
	}
	switch {
	case err != nil:
		return err
	case n == 0 && c.New:
		c.Err = ErrExists
		return nil
	case n == 0:
		c.Err = ErrStale
		return nil
	}
	for _, id := range c.Uncorrelations {
		if _, err := rep.exec(deleteCorrelation, correlationHead(id), r.ID); err != nil {
			return err
		}
	}
	for _, id := range c.Correlations {
		if _, err := rep.exec(insertCorrelation, correlationHead(id), r.ID); err != nil {
			return err
		}
	}
	if c.StepList != "" {
		if _, err := rep.exec(insertSteps, r.ID, c.First, c.StepList); err != nil {
			return err
		}
	}
	if c.Input && !c.New {
		if _, err := rep.exec(updateRunInput, optional(r.Input), r.ID); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) former() (any, error) {
	if len(r.Former) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(r.Former)
	return string(b), err
}

func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// correlationBytes is how much of a correlation id is looked for: people write
// whole sentences there, and an index has short keys.
const correlationBytes = 200

// correlationHead is what an id is found by.
func correlationHead(id string) string {
	if len(id) <= correlationBytes {
		return id
	}
	n := correlationBytes
	for n > 0 && !utf8.RuneStart(id[n]) {
		n--
	}
	return id[:n]
}

func scanRun(r Scanner) (Run, error) {
	var v Run
	var started, updated, ended *int64
	var former, input, output, result *string
	err := r.Scan(&v.ID, &v.Kind, &v.Name, &v.Version, &v.Status, &v.Owner, &v.Correlation, &former, &v.Parent, &v.ParentStep, &v.StartedBy, &v.Road, &v.Key,
		&started, &updated, &ended, &v.Steps, &input, &output, &result)
	if err != nil {
		return Run{}, err
	}
	v.StartedAt, v.UpdatedAt, v.EndedAt = at(started), at(updated), at(ended)
	for _, t := range []struct {
		to   *string
		from *string
	}{{&v.Input, input}, {&v.Output, output}, {&v.Result, result}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	if former != nil {
		err = json.Unmarshal([]byte(*former), &v.Former)
	}
	return v, err
}

// Run returns a run, or ErrNotFound.
func (s *Store) Run(ctx context.Context, id string) (Run, error) {
	return scanRun(s.db.Read().QueryRow(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id))
}

// RunByKey returns the run that has a key, or ErrNotFound.
func (s *Store) RunByKey(ctx context.Context, key string) (Run, error) {
	return scanRun(s.db.Read().QueryRow(ctx, `SELECT `+runColumns+` FROM runs WHERE key = $1 AND key <> ''`, key))
}

// A RunFilter narrows a list of runs; empty members do not.
type RunFilter struct {
	From, Below string // ids: from the one on, and below the other
	Name        string
	Kind        string
	Status      string
	StartedBy   string
	Parent      string
	Correlation string // an id that the run has or had
	Begins      bool   // Correlation is how such an id begins
}

// runsWhere are the conditions that every list has. The statement before them
// goes by the member of the filter that finds the fewest.
const runsWhere = ` AND ($3 = '' OR kind = $3) AND ($4 = '' OR started_by = $4) AND ($5 = '' OR name = $5) AND ($6 = '' OR status = $6) AND ($7 = '' OR parent = $7)`

// Runs lists runs, newest first, at most limit.
func (s *Store) Runs(ctx context.Context, f RunFilter, limit int) ([]Run, error) {
	if f.Below == "" {
		f.Below = "~" // behind every id
	}
	const all = `SELECT ` + runColumns + ` FROM runs WHERE id >= $1 AND id < $2`
	const end = runsWhere + ` ORDER BY id DESC LIMIT $8`
	args := []any{f.From, f.Below, f.Kind, f.StartedBy, f.Name, f.Status, f.Parent, limit}
	query := all + end
	switch head := correlationHead(f.Correlation); {
	case head != "" && f.Begins:
		query = all + ` AND id IN (SELECT run FROM run_correlations WHERE head >= $9 AND head < $10)` + end
		args = append(args, head, head+"\U0010FFFF")
	case head != "":
		query = `SELECT ` + runColumns + ` FROM run_correlations JOIN runs ON id = run WHERE run >= $1 AND run < $2 AND head = $9` + runsWhere + ` ORDER BY run DESC LIMIT $8`
		args = append(args, head)
	case f.Parent != "":
		query = all + ` AND parent = $7 AND parent <> ''` + end
	case f.Name != "" && f.Status == runFaulted:
		query = all + ` AND name = $5 AND status = 'faulted'` + end
	case f.Name != "":
		query = all + ` AND name = $5` + end
	case f.Status != "":
		query = all + ` AND status = $6` + end
	}
	var out []Run
	rows, err := s.db.Read().Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		v, err := scanRun(r)
		if err == nil {
			out = append(out, v)
		}
		return err
	})
	return out, err
}

// RunSteps is a list of steps as one row keeps it.
type RunSteps struct {
	First int64  // number of the first one
	List  string // a JSON list
}

// RunStepLists returns the lists that hold steps of a run from number on, in
// order, at most limit. Steps of the first list may be below it.
func (s *Store) RunStepLists(ctx context.Context, run string, number int64, limit int) ([]RunSteps, error) {
	from := number
	if err := s.db.Read().QueryRow(ctx, `SELECT first FROM run_steps WHERE run = $1 AND first <= $2 ORDER BY first DESC LIMIT 1`, run, number).Scan(&from); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var out []RunSteps
	rows, err := s.db.Read().Query(ctx, `SELECT first, steps FROM run_steps WHERE run = $1 AND first >= $2 ORDER BY first LIMIT $3`, run, from, limit)
	err = each(rows, err, func(r Scanner) error {
		var v RunSteps
		if err := r.Scan(&v.First, &v.List); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

// PutRunSteps writes lists that are there already anew.
func (s *Store) PutRunSteps(ctx context.Context, run string, lists []RunSteps) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		for _, l := range lists {
			if _, err := tx.Exec(ctx, `UPDATE run_steps SET steps = $1 WHERE run = $2 AND first = $3`, l.List, run, l.First); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeRuns makes owner the owner of running runs whose owner is dead, oldest
// first, at most limit, and returns them as they were. Dead is whoever has no
// lease that lasts; with alone, everybody else.
func (s *Store) TakeRuns(ctx context.Context, lease RunLease, alone bool, limit int) ([]Run, error) {
	var out []Run
	err := s.db.Tx(ctx, func(tx Querier) error {
		out = nil
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		query := `SELECT ` + runColumns + ` FROM runs WHERE status = 'running' AND owner <> $1`
		args := []any{lease.Owner, limit}
		if !alone {
			if err := s.leaseRuns(ctx, tx, &lease); err != nil {
				return err
			}
			query += ` AND NOT EXISTS (SELECT 1 FROM run_owners WHERE run_owners.owner = runs.owner AND lease_until > $3)`
			args = append(args, now.UnixMilli())
		}
		rows, err := tx.Query(ctx, query+` ORDER BY id LIMIT $2`+s.db.ForUpdate(), args...)
		if err := each(rows, err, func(r Scanner) error {
			v, err := scanRun(r)
			if err == nil {
				out = append(out, v)
			}
			return err
		}); err != nil {
			return err
		}
		for i := range out {
			if _, err := tx.Exec(ctx, `UPDATE runs SET owner = $1 WHERE id = $2`, lease.Owner, out[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}
