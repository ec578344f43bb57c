package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// InterruptedMessage is the fault of a run that a stop of its process ended.
const InterruptedMessage = "interrupted: the server stopped"

// Interrupted takes over runs that a dead process left running, oldest first, at
// most limit, and returns them. They are this process's from then on and belong
// to one caller: Resume goes on with one, Interrupt ends it. A process is dead
// when it has not said for a minute that it lives, by the database's clock; with
// Options.Alone, every other one is.
func (j *Journal) Interrupted(ctx context.Context, limit int) ([]Run, error) {
	rows, err := j.o.Store.TakeRuns(ctx, store.RunLease{Owner: j.owner, For: leaseFor}, j.o.Alone, limit)
	if err != nil {
		return nil, fmt.Errorf("take over interrupted runs: %w", err)
	}
	out := make([]Run, len(rows))
	for i := range rows {
		rows[i].Owner = j.owner
		if out[i], err = j.shown(&rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Interrupt ends a run that Interrupted has returned, as faulted.
func (j *Journal) Interrupt(ctx context.Context, id ID) error {
	r, err := j.resume(ctx, id, nil)
	if err != nil {
		return fmt.Errorf("interrupt run %s: %w", id, err)
	}
	return r.End(ctx, End{Status: Faulted, Fault: &Fault{Message: InterruptedMessage}})
}

// Keep says what Trim leaves of runs that have ended. What has not ended is left.
type Keep struct {
	For   time.Duration // since the end; 0: 30 days; negative: for ever
	Count int           // of each name, and as many that faulted; 0: 10,000; negative: all
}

func (k Keep) withDefaults() Keep {
	if k.For == 0 {
		k.For = 30 * 24 * time.Hour
	}
	if k.Count == 0 {
		k.Count = 10_000
	}
	return k
}

// Trim deletes runs that are older, or more, than Options.Keep says. It deletes
// in small transactions, and looks only at names of which runs have ended since
// the last time, at the first time at all.
func (j *Journal) Trim(ctx context.Context, now time.Time) error {
	if keep := j.o.Keep.For; keep > 0 {
		before := now.Add(-keep)
		for _, status := range []Status{Finished, Cancelled, Faulted} {
			// A run that ended before has begun before.
			if _, err := j.o.Store.TrimRuns(ctx, string(status), firstID(before), before); err != nil {
				return fmt.Errorf("trim runs: %w", err)
			}
		}
	}
	if j.o.Keep.Count > 0 {
		names, err := j.names(ctx)
		for i := 0; i < len(names) && err == nil; i++ {
			err = j.trimName(ctx, names[i])
		}
		if err != nil {
			j.mu.Lock()
			j.trimmed = false // all of them again, next time
			j.mu.Unlock()
			return fmt.Errorf("trim runs: %w", err)
		}
	}
	if j.o.Alone {
		return nil
	}
	// A lease that lapsed long ago says no more than none.
	at, err := j.o.Store.Now(ctx)
	if err != nil {
		return err
	}
	return j.o.Store.TrimRunOwners(ctx, at.Add(-24*time.Hour))
}

// names returns the names to be looked at.
func (j *Journal) names(ctx context.Context) ([]string, error) {
	j.mu.Lock()
	all := !j.trimmed
	j.trimmed = true
	var names []string
	for n := range j.touched {
		names = append(names, n)
	}
	clear(j.touched)
	j.mu.Unlock()
	if !all {
		return names, nil
	}
	names = nil
	for after := ""; ; {
		name, err := j.o.Store.NextRunName(ctx, after)
		if errors.Is(err, store.ErrNotFound) {
			return names, nil
		} else if err != nil {
			return nil, err
		}
		names = append(names, name)
		after = name
	}
}

func (j *Journal) trimName(ctx context.Context, name string) error {
	// Of those that faulted as many are kept as of all: successes do not push
	// failures out.
	for _, faulted := range []bool{false, true} {
		at, err := j.o.Store.RunAt(ctx, name, faulted, j.o.Keep.Count)
		if err != nil {
			return err
		}
		if at == "" {
			continue
		}
		if _, err := j.o.Store.TrimRunsOf(ctx, name, faulted, at); err != nil {
			return err
		}
	}
	return nil
}
