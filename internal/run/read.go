package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// Get returns a run as it is now, or ErrNotFound.
func (j *Journal) Get(ctx context.Context, id ID) (Run, error) {
	row, err := j.o.Store.Run(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Run{}, fmt.Errorf("run %s: %w", id, ErrNotFound)
	} else if err != nil {
		return Run{}, err
	}
	return j.shown(&row)
}

// List lists runs, newest first, at most limit, below the id before; "" is from
// the newest on.
func (j *Journal) List(ctx context.Context, f Filter, before ID, limit int) ([]Run, error) {
	q := store.RunFilter{From: firstID(f.Since), Below: before, Name: f.Name, Kind: string(f.Kind), Status: string(f.Status), StartedBy: f.Trigger, Parent: f.Parent}
	if until := firstID(f.Until); until != "" && (before == "" || until < before) {
		q.Below = until
	}
	q.Correlation, q.Begins = strings.CutSuffix(f.Correlation, "*")
	if q.Correlation != "" {
		j.index(q.Correlation, q.Begins)
	}
	rows, err := j.o.Store.Runs(ctx, q, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Run, len(rows))
	for i := range rows {
		if out[i], err = j.shown(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Children returns the ids of runs that a run started, newest first.
func (j *Journal) Children(ctx context.Context, id ID, limit int) ([]ID, error) {
	rows, err := j.o.Store.Runs(ctx, store.RunFilter{Parent: id}, limit)
	if err != nil {
		return nil, err
	}
	out := make([]ID, len(rows))
	for i := range rows {
		out[i] = rows[i].ID
	}
	return out, nil
}

// index flushes runs here that got a correlation id that is looked for and are
// not found by it yet.
func (j *Journal) index(id string, begins bool) {
	j.mu.Lock()
	live := make([]*Recorder, 0, len(j.live))
	for _, r := range j.live {
		live = append(live, r)
	}
	j.mu.Unlock()
	var fresh []*Recorder
	for _, r := range live {
		r.mu.Lock()
		for _, have := range r.index {
			if have == id || begins && strings.HasPrefix(have, id) {
				fresh = append(fresh, r)
				break
			}
		}
		r.mu.Unlock()
	}
	j.flushAll(fresh)
}

// shown is a row as people see it, with what is not written yet.
func (j *Journal) shown(row *store.Run) (Run, error) {
	if r := j.recorder(row.ID); r != nil {
		r.mu.Lock()
		if !r.over {
			row.Correlation, row.Steps, row.Road, row.Input = r.row.Correlation, r.row.Steps, r.row.Road, r.row.Input
		}
		r.mu.Unlock()
	}
	v := Run{ID: row.ID, Kind: Kind(row.Kind), Name: row.Name, Version: int(row.Version), Status: Status(row.Status), CorrelationID: row.Correlation, Parent: row.Parent,
		ParentStep: int(row.ParentStep), Trigger: row.StartedBy, Road: row.Road, Key: row.Key, Owner: row.Owner, Steps: int(row.Steps), StartedAt: row.StartedAt,
		UpdatedAt: row.UpdatedAt, EndedAt: row.EndedAt}
	if row.Input != "" {
		v.Input = json.RawMessage(row.Input)
	}
	if row.Output != "" {
		v.Output = json.RawMessage(row.Output)
	}
	if row.Result != "" {
		var res result
		if err := json.Unmarshal([]byte(row.Result), &res); err != nil {
			return Run{}, fmt.Errorf("run %s: its result: %w", row.ID, err)
		}
		v.Outcomes, v.Fault, v.Warnings = res.Outcomes, res.Fault, res.Warnings
	}
	return v, nil
}

// Steps returns steps of a run behind the one with the number after, in order,
// about limit of them and at least one if there is one; none written yet are
// missing if the run runs here. It does not say whether the run exists.
func (j *Journal) Steps(ctx context.Context, id ID, after, limit int) ([]Record, error) {
	var recent []json.RawMessage
	first := 0
	r := j.recorder(id)
	if r != nil {
		recent, first = r.recent()
	}
	var out []Record
	// What waits is looked at before the store: a step that is written between
	// the two looks is seen twice then, not never.
	if first == 0 || after+1 < first {
		for next, enough := int64(after+1), false; !enough; {
			lists, err := j.o.Store.RunStepLists(ctx, id, next, 8)
			if err != nil {
				return nil, err
			}
			if len(lists) == 0 {
				break
			}
			for _, l := range lists {
				var steps []json.RawMessage
				if err := json.Unmarshal([]byte(l.List), &steps); err != nil {
					steps = []json.RawMessage{nil}
				}
				if r != nil {
					r.hide(steps)
				}
				for i, raw := range steps {
					if n := int(l.First) + i; n > after {
						out = append(out, record(n, raw))
						after = n
					}
				}
				next = max(next, l.First+int64(len(steps)))
				if enough = len(out) >= limit; enough {
					break
				}
			}
			enough = enough || len(lists) < 8
		}
	}
	for i, raw := range recent {
		if n := first + i; n > after && len(out) < limit {
			out = append(out, record(n, raw))
		}
	}
	if len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// recent returns the steps that are not known to be in the store, and the number
// of the first; 0: there are none.
func (r *Recorder) recent() ([]json.RawMessage, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil, 0
	}
	return append([]json.RawMessage(nil), r.waiting...), r.first
}

const (
	followBatch = 256
	// followEvery is how often a run of another process is looked at, and one
	// that is suspended.
	followEvery = time.Second
)

// Follow calls each with steps of a run behind the one with the number after,
// and with the run as it is then: at once, and whenever there is more, until the
// run has ended or ctx does, which is ctx's error. each is called with the ended
// run last, also when it has no further step.
func (j *Journal) Follow(ctx context.Context, id ID, after int, each func(Run, []Record) error) error {
	for first := true; ; first = false {
		news := j.news(id)
		// The run before its steps: when it has ended, they are all there.
		v, err := j.Get(ctx, id)
		if err != nil {
			return err
		}
		steps, err := j.Steps(ctx, id, after, followBatch)
		if err != nil {
			return err
		}
		if len(steps) > 0 {
			after = steps[len(steps)-1].Number
		}
		last := v.Status.Ended() && len(steps) < followBatch
		if len(steps) > 0 || first || last {
			if err := each(v, steps); err != nil || last {
				return err
			}
		}
		if len(steps) == followBatch {
			continue
		}
		t := time.NewTimer(followEvery)
		select {
		case <-news:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// news returns a channel that is closed when a run that runs here goes on; nil
// if none does.
func (j *Journal) news(id ID) <-chan struct{} {
	r := j.recorder(id)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil
	}
	if r.news == nil {
		r.news = make(chan struct{})
	}
	return r.news
}
