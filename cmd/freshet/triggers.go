package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
)

// A trigger is what the row of a start activity says: which it is, and when as
// it was understood. A row that says the same is left alone, and keeps its grid.
type trigger struct {
	Activity string `json:"activity"`
	Type     string `json:"type"`
	When     string `json:"when"`
}

// timed says when a start activity fires; nil and zero: no clock fires it.
func timed(t engine.Trigger) (when *freshet.Schedule, due time.Time, said string, err error) {
	switch t.Activity.Type {
	case "Cron":
		said, _ = t.In["CronExpression"].(string)
		when = &freshet.Schedule{Cron: said}
	case "Timer":
		d, err := activity.ParseDuration(t.In["Timeout"])
		if err != nil {
			return nil, due, "", err
		}
		when, said = &freshet.Schedule{Every: freshet.Duration(d)}, d.String()
	case "StartAt":
		if due, err = activity.ParseInstant(t.In["Instant"]); err != nil {
			return nil, due, "", err
		}
		return nil, due, due.UTC().Format(time.RFC3339Nano), nil
	default:
		return nil, due, "", nil
	}
	_, err = schedule.Compile(when, failpoint.Now())
	return when, due, said, err
}

// retime makes the rows by which the clock fires start activities of what is
// published, and removes those of what is not any more.
func (s *server) retime(ctx context.Context, st *store.Store) error {
	versions, err := s.library.AllPublished(ctx)
	errs := []error{err}
	old := map[string]store.Timer{}
	for after := ""; ; {
		page, err := st.Timers(ctx, schedule.KindTrigger, after, 500)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, t := range page {
			old[t.ID] = t
			after = t.Name
		}
		if len(page) < 500 {
			break
		}
	}
	var put []schedule.Timer
	for _, v := range versions {
		triggers, faults := s.engine.Triggers(ctx, v)
		errs = append(errs, faults...)
		for _, t := range triggers {
			when, due, said, err := timed(t)
			if err != nil {
				errs = append(errs, fmt.Errorf("workflow %q, activity %q: %w", v.Name, t.Activity.Label(), err))
				continue
			}
			if when == nil && due.IsZero() {
				continue
			}
			data, err := json.Marshal(trigger{t.Activity.ID, t.Activity.Type, said})
			if err != nil {
				return err
			}
			id := "trigger:" + v.ID + ":" + t.Activity.ID
			row, there := old[id]
			delete(old, id)
			var spec struct{ Data json.RawMessage }
			if there && json.Unmarshal([]byte(row.Spec), &spec) == nil && string(spec.Data) == string(data) && row.Subject == v.Name {
				continue
			}
			if when == nil && !due.After(failpoint.Now()) {
				continue // its instant has passed, and fired it if it was published then
			}
			put = append(put, schedule.Timer{ID: id, Kind: schedule.KindTrigger, Name: v.Name + "/" + t.Activity.Label() + "/" + t.Activity.ID, Ref: v.ID, Target: schedule.KindTrigger, Subject: v.Name,
				When: when, Due: due, Data: data})
		}
	}
	if len(put)+len(old) == 0 || errs[0] != nil && len(put) == 0 {
		return errors.Join(errs...) // of versions that cannot be read nothing is removed
	}
	err = st.DB().Tx(ctx, func(tx store.Querier) error {
		for _, t := range put {
			if err := schedule.Put(ctx, st, tx, t); err != nil {
				return err
			}
		}
		if errs[0] != nil {
			return nil
		}
		for id := range old {
			if err := st.DeleteTimer(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	s.poller.Nudge()
	return errors.Join(append(errs, err)...)
}

// fireTrigger runs a published workflow from one of its start activities.
func (s *server) fireTrigger(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
	var t trigger
	if err := json.Unmarshal(f.Data, &t); err != nil {
		return schedule.Outcome{}, err
	}
	id, err := starter{s}.start(ctx, engine.Request{DefinitionID: f.Ref, Activity: t.Activity, Trigger: "trigger:" + t.Type, Key: f.Key})
	return schedule.Outcome{Run: id}, err
}

// triggerFindings says which start activities no clock could fire.
func (s *server) triggerFindings(ctx context.Context, v *workflow.Version) (out []workflow.Finding) {
	if !s.works.Load() {
		return nil
	}
	triggers, _ := s.engine.Triggers(ctx, v)
	for _, t := range triggers {
		if _, _, _, err := timed(t); err != nil {
			out = append(out, workflow.Finding{Severity: workflow.Error, Code: "trigger-time", What: err.Error(),
				Why: "the clock would never start a run of it", Do: "correct it: cron expressions have 5 to 7 fields, times are written 00:05:00, instants 2026-03-01T12:00:00Z"}.On(t.Activity))
		}
	}
	return out
}
