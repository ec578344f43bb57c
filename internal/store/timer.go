package store

import (
	"context"
	"errors"
	"time"
)

// A Timer is a row that fires at instants. What it says of them and of what to
// do is JSON that the store does not read.
type Timer struct {
	ID        string
	Kind      string    // schedule | trigger | bookmark
	Name      string    // for people: the schedule's, the workflow's
	Ref       string    // what it belongs to, and goes with
	Target    string    // the kind of its target: refresh, workflow, …
	Subject   string    // the target's name
	Spec      string    // JSON
	Anchor    time.Time // where intervals count from
	NextAt    time.Time // zero: it waits for nobody's clock
	Paused    bool
	Seq       int64  // of its last firing
	Fired     int64  // firings that count against its end
	Open      string // the firing that is not over
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A FiringStatus is how far a firing is.
type FiringStatus string

// Firings begin as queued or as skipped.
const (
	FiringQueued    FiringStatus = "queued"
	FiringRunning   FiringStatus = "running"
	FiringSucceeded FiringStatus = "succeeded"
	FiringFailed    FiringStatus = "failed"
	FiringSkipped   FiringStatus = "skipped" // the one before was not over
)

// A Firing is one time that a timer fired. Of one timer, no two have the same
// Key.
type Firing struct {
	ID        string
	Timer     string
	Seq       int64
	Key       string
	Cause     string // clock | manual | hook
	Nominal   time.Time
	Missed    int64 // instants before it that passed unfired
	Status    FiringStatus
	Attempts  int64
	Input     string // JSON that came with the request; "" for none
	Run       string // id of the run
	Message   string // what came of it, in words
	CreatedAt time.Time
	StartedAt time.Time
	EndedAt   time.Time
}

const timerColumns = `id, kind, name, ref, target, subject, spec, anchor, next_at, paused, seq, fired, open, revision, created_at, updated_at`

func scanTimer(r Scanner) (Timer, error) {
	var t Timer
	var anchor, next, created, updated *int64
	var paused int64
	err := r.Scan(&t.ID, &t.Kind, &t.Name, &t.Ref, &t.Target, &t.Subject, &t.Spec, &anchor, &next, &paused, &t.Seq, &t.Fired, &t.Open, &t.Revision, &created, &updated)
	t.Anchor, t.NextAt, t.Paused, t.CreatedAt, t.UpdatedAt = at(anchor), at(next), paused != 0, at(created), at(updated)
	return t, err
}

const firingColumns = `id, timer, seq, key, cause, nominal, missed, status, attempts, input, run, message, created_at, started_at, ended_at`

func scanFiring(r Scanner) (Firing, error) {
	var f Firing
	var nominal, created, started, ended *int64
	err := r.Scan(&f.ID, &f.Timer, &f.Seq, &f.Key, &f.Cause, &nominal, &f.Missed, &f.Status, &f.Attempts, &f.Input, &f.Run, &f.Message, &created, &started, &ended)
	f.Nominal, f.CreatedAt, f.StartedAt, f.EndedAt = at(nominal), at(created), at(started), at(ended)
	return f, err
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Timer returns a timer by its id, or ErrNotFound.
func (s *Store) Timer(ctx context.Context, id string) (Timer, error) {
	return timer(ctx, s.db.Read(), id)
}

func timer(ctx context.Context, q Querier, id string) (Timer, error) {
	return scanTimer(q.QueryRow(ctx, `SELECT `+timerColumns+` FROM timers WHERE id = $1`, id))
}

// TimerByName returns a timer of a kind by its name, or ErrNotFound.
func (s *Store) TimerByName(ctx context.Context, kind, name string) (Timer, error) {
	return scanTimer(s.db.Read().QueryRow(ctx, `SELECT `+timerColumns+` FROM timers WHERE kind = $1 AND name = $2 ORDER BY id LIMIT 1`, kind, name))
}

// Timers lists the timers of a kind in order of name, after the given name, at
// most limit.
func (s *Store) Timers(ctx context.Context, kind, after string, limit int) ([]Timer, error) {
	return timers(ctx, s.db.Read(), `SELECT `+timerColumns+` FROM timers WHERE kind = $1 AND name > $2 ORDER BY name, id LIMIT $3`, kind, after, limit)
}

// TimersOf lists the timers of a kind that belong to ref.
func (s *Store) TimersOf(ctx context.Context, kind, ref string) ([]Timer, error) {
	return timers(ctx, s.db.Read(), `SELECT `+timerColumns+` FROM timers WHERE kind = $1 AND ref = $2 ORDER BY id`, kind, ref)
}

func timers(ctx context.Context, q Querier, query string, args ...any) ([]Timer, error) {
	var out []Timer
	rows, err := q.Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		t, err := scanTimer(r)
		out = append(out, t)
		return err
	})
	return out, err
}

// PutTimer makes a timer or changes what it says: all but what its firings
// write (Seq, Fired, Open), which are kept. Revision moves on by itself.
func (s *Store) PutTimer(ctx context.Context, tx Querier, t Timer) error {
	now, err := s.db.Now(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO timers (id, kind, name, ref, target, subject, spec, anchor, next_at, paused, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name, ref = excluded.ref, target = excluded.target, subject = excluded.subject,
			spec = excluded.spec, anchor = excluded.anchor, next_at = excluded.next_at, paused = excluded.paused, revision = timers.revision + 1, updated_at = excluded.updated_at`,
		t.ID, t.Kind, t.Name, t.Ref, t.Target, t.Subject, t.Spec, t.Anchor.UnixMilli(), ms(t.NextAt), truth(t.Paused), now.UnixMilli(), now.UnixMilli())
	return err
}

// DeleteTimer removes a timer, what it has fired and not begun, and the history
// of what is over. A firing that runs is kept until it ends.
func (s *Store) DeleteTimer(ctx context.Context, tx Querier, id string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM timers WHERE id = $1`, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM firings WHERE timer = $1 AND status <> $2`, id, string(FiringRunning))
	return err
}

// DeleteTimersOf is DeleteTimer for all of a kind that belong to ref.
func (s *Store) DeleteTimersOf(ctx context.Context, tx Querier, kind, ref string) error {
	list, err := timers(ctx, tx, `SELECT `+timerColumns+` FROM timers WHERE kind = $1 AND ref = $2 ORDER BY id`, kind, ref)
	for _, t := range list {
		err = errors.Join(err, s.DeleteTimer(ctx, tx, t.ID))
	}
	return err
}

// Timer reads a timer within the change.
func (c *Change) Timer(id string) (Timer, error) { return timer(c.ctx, c.tx, id) }

// PutTimer is Store.PutTimer within the change.
func (c *Change) PutTimer(t Timer) error { return c.s.PutTimer(c.ctx, c.tx, t) }

// DeleteTimersOf is Store.DeleteTimersOf within the change.
func (c *Change) DeleteTimersOf(kind, ref string) error {
	return c.s.DeleteTimersOf(c.ctx, c.tx, kind, ref)
}

// DeleteTimer is Store.DeleteTimer within the change.
func (c *Change) DeleteTimer(id string) error { return c.s.DeleteTimer(c.ctx, c.tx, id) }

// Now is the instant of the change by the database's clock.
func (c *Change) Now() time.Time { return c.now }

// SetTimer pauses or resumes a timer that has not changed since its revision.
// ErrStale: it has.
func (s *Store) SetTimer(ctx context.Context, id string, revision int64, paused bool, next time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		return one(tx.Exec(ctx, `UPDATE timers SET paused = $1, next_at = $2, revision = revision + 1, updated_at = $3 WHERE id = $4 AND revision = $5`,
			truth(paused), ms(next), now.UnixMilli(), id, revision))
	})
}

// NextTimer returns when the next timer is due, zero if none waits.
func (s *Store) NextTimer(ctx context.Context) (time.Time, error) {
	var next *int64
	err := s.db.Read().QueryRow(ctx, `SELECT min(next_at) FROM timers WHERE next_at IS NOT NULL`).Scan(&next)
	return at(next), err
}

// A Fire is what becomes of a timer that is due: a firing, unless it is nil, and
// the instant that the timer waits for from then on.
type Fire struct {
	Firing *Firing
	Next   time.Time
	Counts bool    // against the timer's end
	Events []Event // recorded with it, if the firing was made or none was wanted
}

// KeepFirings is how many firings of a timer are kept.
const KeepFirings = 200

// FireDue claims timers that are due, at most limit, oldest first, and carries
// out what decide says of each, all in one transaction: of callers that race for
// a timer one gets it, and of firings with the same key one is made. enqueue is
// called for each that was made, and again for one that has made another be
// skipped: it does nothing for what is enqueued already. FireDue returns the
// firings that were made, and how many timers were claimed.
func (s *Store) FireDue(ctx context.Context, limit int, decide func(t *Timer, now time.Time) (Fire, error), enqueue func(tx Querier, t *Timer, f *Firing) error) (made []Firing, claimed int, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		made, claimed = nil, 0
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		due, err := timers(ctx, tx, `SELECT `+timerColumns+` FROM timers WHERE next_at <= $1 ORDER BY next_at, id LIMIT $2 `+s.db.ForUpdate(), now.UnixMilli(), limit)
		if err != nil {
			return err
		}
		claimed = len(due)
		for i := range due {
			t := &due[i]
			fire, err := decide(t, now)
			if err != nil {
				return err
			}
			f := fire.Firing
			if f != nil {
				if f, err = s.fire(ctx, tx, t, *f, fire.Counts, now); err != nil {
					return err
				}
			}
			if f != nil || fire.Firing == nil {
				if err := appendEvents(ctx, tx, now, fire.Events); err != nil {
					return err
				}
			}
			if f != nil {
				made = append(made, *f)
				open := *f
				open.ID = t.Open // of one that was skipped: what it waits for, whose job may be lost
				if err := enqueue(tx, t, &open); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE timers SET next_at = $1, seq = $2, fired = $3, open = $4, updated_at = $5 WHERE id = $6`,
				ms(fire.Next), t.Seq, t.Fired, t.Open, now.UnixMilli(), t.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return made, claimed, err
}

// fire writes down a firing and changes t accordingly. nil: there is one with
// its key.
func (s *Store) fire(ctx context.Context, tx Querier, t *Timer, f Firing, counts bool, now time.Time) (*Firing, error) {
	f.Timer, f.Seq, f.Status, f.CreatedAt = t.ID, t.Seq+1, FiringQueued, now
	if t.Open != "" {
		f.Status, f.EndedAt = FiringSkipped, now
		if f.Message == "" {
			f.Message = "the firing before is not over"
		}
	}
	n, err := tx.Exec(ctx, `INSERT INTO firings (id, timer, seq, key, cause, nominal, missed, status, input, message, created_at, ended_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (timer, key) DO NOTHING`,
		f.ID, f.Timer, f.Seq, f.Key, f.Cause, f.Nominal.UnixMilli(), f.Missed, string(f.Status), f.Input, f.Message, now.UnixMilli(), ms(f.EndedAt))
	if err != nil || n == 0 {
		return nil, err
	}
	t.Seq = f.Seq
	if f.Status == FiringQueued {
		t.Open = f.ID
		if counts {
			t.Fired++
		}
	}
	if f.Seq > KeepFirings {
		if _, err := tx.Exec(ctx, `DELETE FROM firings WHERE timer = $1 AND seq <= $2 AND id <> $3`, t.ID, f.Seq-KeepFirings, t.Open); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// FireNow fires a timer now, whatever its clock says. ErrExists: there is a
// firing with that key, which is returned. ErrNotFound: there is no such timer.
// A firing that comes while the one before is not over is made, and skipped.
// decide is asked for what becomes of the timer after it.
func (s *Store) FireNow(ctx context.Context, id string, f Firing, decide func(t *Timer, now time.Time) (Fire, error), enqueue func(tx Querier, t *Timer, f *Firing) error) (made Firing, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		// The update takes the row, so that a poller waits or has been.
		t, err := scanTimer(tx.QueryRow(ctx, `UPDATE timers SET updated_at = $1 WHERE id = $2 RETURNING `+timerColumns, now.UnixMilli(), id))
		if err != nil {
			return err
		}
		fire, err := decide(&t, now)
		if err != nil {
			return err
		}
		got, err := s.fire(ctx, tx, &t, f, fire.Counts, now)
		if err != nil {
			return err
		}
		if got == nil {
			made, err = scanFiring(tx.QueryRow(ctx, `SELECT `+firingColumns+` FROM firings WHERE timer = $1 AND key = $2`, id, f.Key))
			if err == nil {
				err = ErrExists
			}
			return err
		}
		made = *got
		open := made
		open.ID = t.Open
		if err := enqueue(tx, &t, &open); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE timers SET next_at = $1, seq = $2, fired = $3, open = $4 WHERE id = $5`, ms(fire.Next), t.Seq, t.Fired, t.Open, id)
		return err
	})
	return made, err
}

// Firing returns a firing, or ErrNotFound.
func (s *Store) Firing(ctx context.Context, id string) (Firing, error) {
	return scanFiring(s.db.Read().QueryRow(ctx, `SELECT `+firingColumns+` FROM firings WHERE id = $1`, id))
}

// Firings lists the firings of a timer with a Seq below before, newest first, at
// most limit.
func (s *Store) Firings(ctx context.Context, timer string, before int64, limit int) ([]Firing, error) {
	return firings(ctx, s.db.Read(), `SELECT `+firingColumns+` FROM firings WHERE timer = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3`, timer, before, limit)
}

// LastFirings returns the newest firing of each timer of a kind whose name is
// after the given one and not after the last, by the timer's id.
func (s *Store) LastFirings(ctx context.Context, kind, after, last string) (map[string]Firing, error) {
	list, err := firings(ctx, s.db.Read(), `SELECT f.id, f.timer, f.seq, f.key, f.cause, f.nominal, f.missed, f.status, f.attempts, f.input, f.run, f.message, f.created_at, f.started_at, f.ended_at
		FROM timers t JOIN firings f ON f.timer = t.id AND f.seq = t.seq WHERE t.kind = $1 AND t.name > $2 AND t.name <= $3`, kind, after, last)
	out := make(map[string]Firing, len(list))
	for _, f := range list {
		out[f.Timer] = f
	}
	return out, err
}

func firings(ctx context.Context, q Querier, query string, args ...any) ([]Firing, error) {
	var out []Firing
	rows, err := q.Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		f, err := scanFiring(r)
		out = append(out, f)
		return err
	})
	return out, err
}

// BeginFiring gives a firing to whoever carries it out, with its timer. Attempts
// tells one that was begun before, by a process that died. ErrStale: it is over,
// or its timer was deleted before it began.
func (s *Store) BeginFiring(ctx context.Context, id string) (f Firing, t Timer, err error) {
	gone := false
	err = s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		gone = false
		f, err = scanFiring(tx.QueryRow(ctx, `UPDATE firings SET status = $1, attempts = attempts + 1, started_at = coalesce(started_at, $2)
			WHERE id = $3 AND ended_at IS NULL RETURNING `+firingColumns, string(FiringRunning), now.UnixMilli(), id))
		if errors.Is(err, ErrNotFound) {
			return ErrStale
		} else if err != nil {
			return err
		}
		t, err = timer(ctx, tx, f.Timer)
		if errors.Is(err, ErrNotFound) {
			// Deleted while a process that has died carried it out.
			gone = true
			_, err = tx.Exec(ctx, `DELETE FROM firings WHERE id = $1`, id)
		}
		return err
	})
	if err == nil && gone {
		err = ErrStale
	}
	return f, t, err
}

// EndFiring writes down what came of a firing, and lets its timer fire again; or
// with remove deletes the timer, which will not. ErrStale: that was written
// before.
func (s *Store) EndFiring(ctx context.Context, id string, status FiringStatus, run, message string, remove bool) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		f, err := scanFiring(tx.QueryRow(ctx, `UPDATE firings SET status = $1, run = $2, message = $3, ended_at = $4 WHERE id = $5 AND ended_at IS NULL RETURNING `+firingColumns,
			string(status), run, message, now.UnixMilli(), id))
		if errors.Is(err, ErrNotFound) {
			return ErrStale
		} else if err != nil {
			return err
		}
		if remove {
			return s.DeleteTimer(ctx, tx, f.Timer)
		}
		if _, err := tx.Exec(ctx, `UPDATE timers SET open = '' WHERE id = $1 AND open = $2`, f.Timer, id); err != nil {
			return err
		}
		// Of a timer that is gone nobody asks for the history.
		_, err = tx.Exec(ctx, `DELETE FROM firings WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM timers WHERE id = $2)`, id, f.Timer)
		return err
	})
}
