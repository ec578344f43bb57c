package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Declare makes the row of a schedule, or brings it in line with what was
// declared anew, in the transaction that writes the resource. Nudge the poller
// after it.
//
// A schedule whose time has not changed keeps its grid and its count. One that
// was paused by hand stays paused unless the declaration itself says otherwise
// than before.
func Declare(c *store.Change, id, name string, s freshet.Schedule) error {
	s.Secret = freshet.Secret{} // it is not ours to keep
	old, err := c.Timer(id)
	fresh := errors.Is(err, store.ErrNotFound)
	if err != nil && !fresh {
		return err
	}
	t := store.Timer{ID: id, Kind: KindSchedule, Name: name, Anchor: c.Now(), Paused: s.Paused}
	t.Target, t.Subject = targetOf(&s)
	spec, err := json.Marshal(entry{When: &s})
	if err != nil {
		return err
	}
	t.Spec = string(spec)
	same := false
	if !fresh {
		var was entry
		if json.Unmarshal([]byte(old.Spec), &was) == nil && was.When != nil {
			same = reflect.DeepEqual(timing(*was.When), timing(s))
			if was.When.Paused == s.Paused {
				t.Paused = old.Paused
			}
		}
		if same {
			t.Anchor = old.Anchor
		}
	}
	plan, err := Compile(&s, t.Anchor)
	if err != nil {
		return fmt.Errorf("schedule %s: %w", name, err)
	}
	switch {
	case t.Paused || plan.Over(old.Fired):
	case same && !old.Paused:
		t.NextAt = old.NextAt
	default:
		t.NextAt, _ = plan.Next(c.Now())
	}
	return c.PutTimer(t)
}

// timing is s without what does not move its instants.
func timing(s freshet.Schedule) freshet.Schedule {
	return freshet.Schedule{Every: s.Every, Hourly: s.Hourly, Daily: s.Daily, Weekly: s.Weekly, Monthly: s.Monthly, Cron: s.Cron, At: s.At, In: s.In, OnDemand: s.OnDemand,
		Zone: s.Zone, Start: s.Start, Expire: s.Expire}
}

// Read returns what a schedule's row says: the schedule without its secret, and
// its plan.
func Read(t *store.Timer) (*freshet.Schedule, *Plan, error) {
	e, plan, err := entryOf(t)
	if err == nil && e.When == nil {
		err = fmt.Errorf("%s %s: says not when it fires", t.Kind, t.Name)
	}
	return e.When, plan, err
}

// A Timer is what others than people have fired: start activities of workflows
// and suspended runs.
type Timer struct {
	ID      string // unlike all others; putting it again replaces it
	Kind    string // KindTrigger | KindBookmark
	Name    string // for people
	Ref     string // what it goes with: the definition, the run
	Target  string // a key of Options.Targets
	Subject string // the target's name
	// When says at which instants, from Anchor on; Anchor zero is now. nil: once,
	// at Due.
	When   *freshet.Schedule
	Anchor time.Time
	Due    time.Time
	Data   json.RawMessage // comes back in Firing.Data
}

// Put writes a timer in the caller's transaction. Nudge the poller after it. A
// timer without When is removed when it has fired.
func Put(ctx context.Context, st *store.Store, tx store.Querier, t Timer) error {
	now, err := st.DB().Now(ctx, tx)
	if err != nil {
		return err
	}
	row := store.Timer{ID: t.ID, Kind: t.Kind, Name: t.Name, Ref: t.Ref, Target: t.Target, Subject: t.Subject, Anchor: t.Anchor, NextAt: t.Due}
	if row.Anchor.IsZero() {
		row.Anchor = now
	}
	if t.When != nil {
		plan, err := Compile(t.When, row.Anchor)
		if err != nil {
			return fmt.Errorf("%s %s: %w", t.Kind, t.Name, err)
		}
		row.NextAt, _ = plan.Next(now)
	}
	spec, err := json.Marshal(entry{When: t.When, Data: t.Data})
	if err != nil {
		return err
	}
	row.Spec = string(spec)
	return st.PutTimer(ctx, tx, row)
}

// Set is Put within a change of resources, for timers without When.
func Set(c *store.Change, t Timer) error {
	row := store.Timer{ID: t.ID, Kind: t.Kind, Name: t.Name, Ref: t.Ref, Target: t.Target, Subject: t.Subject, Anchor: t.Anchor, NextAt: t.Due}
	if row.Anchor.IsZero() {
		row.Anchor = c.Now()
	}
	spec, err := json.Marshal(entry{Data: t.Data})
	if err != nil {
		return err
	}
	row.Spec = string(spec)
	return c.PutTimer(row)
}

// Remove deletes timers of a kind that belong to ref, in the caller's
// transaction: they fire no more. One that is being carried out ends.
func Remove(ctx context.Context, st *store.Store, tx store.Querier, kind, ref string) error {
	return st.DeleteTimersOf(ctx, tx, kind, ref)
}
