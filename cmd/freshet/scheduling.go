package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/metrics"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/queue/river"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
)

// firingMost bounds one firing: one that hangs would keep its schedule from
// firing ever again.
const firingMost = time.Hour

// drainJobs is how much of the time to stop jobs may have; the rest is the
// refresher's.
const drainJobs = 15 * time.Second

// jobs is what carries out background work: in this process, or on any replica.
type jobs interface {
	queue.Queue
	Register(kinds ...queue.Kind)
	Start(ctx context.Context) error
	Close(ctx context.Context) error
}

// schedules makes the runner of background work and the poller of what is due.
// They begin with startSchedules, when the configuration is in force.
func (s *server) schedules(ctx context.Context, st *store.Store, sh *cluster, count *metrics.Metrics, scrub func(string) string) error {
	s.jobs = queue.NewLocal(queue.Options{Store: st, Log: s.log})
	if sh != nil {
		r, err := river.New(ctx, river.Options{DB: sh.db, Store: st, ID: sh.owner(), Longest: 2 * firingMost, Log: s.log})
		if err != nil {
			return err
		}
		s.jobs = r
	}
	s.poller = schedule.New(schedule.Options{Store: st, Queue: s.jobs, Poll: sh.looks(), Timeout: firingMost, Scrub: scrub, Log: s.log,
		Targets: map[string]schedule.Target{
			schedule.TargetRefresh:  schedule.Refresh(renewer{s.source, st}),
			schedule.TargetWorkflow: schedule.Workflow(starter{s}),
			schedule.KindTrigger:    schedule.TargetFunc(s.fireTrigger),
			schedule.TargetProcess:  schedule.TargetFunc(s.firePress),
			process.KindExpiry:      schedule.TargetFunc(s.fireExpiry),
		},
		Observe: func(f schedule.Fired) {
			count.Fired(f.Target, f.Cause, string(f.Status), f.Missed, f.Late, f.Took)
		}})
	s.jobs.Register(s.poller.Kind())
	return nil
}

// laterSchedules has both stopped before the refresher, whose work theirs is.
func (s *server) laterSchedules() {
	s.later("jobs", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, drainJobs)
		defer cancel()
		return s.jobs.Close(ctx)
	})
	s.later("schedules", func(context.Context) error { return s.poller.Close() })
}

func (s *server) startSchedules(ctx context.Context) error {
	if err := s.jobs.Start(ctx); err != nil {
		return err
	}
	s.poller.Start()
	return nil
}

// scheduled keeps a schedule's row beside its resource, in the same transaction.
func scheduled(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return c.DeleteTimer(u.ID)
	}
	row, err := c.Resource(u.Kind, u.Name)
	if err != nil {
		return err
	}
	var v freshet.Schedule
	if err := json.Unmarshal([]byte(row.Spec), &v); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return schedule.Declare(c, u.ID, u.Name, v)
}

// renewer refreshes connections for schedules.
type renewer struct {
	source *refresh.Source
	store  *store.Store
}

// Renew refreshes a connection now.
func (r renewer) Renew(ctx context.Context, name string) (schedule.Refreshed, error) {
	c, err := r.source.Connection(ctx, name)
	if err != nil {
		return schedule.Refreshed{}, err
	}
	got, err := c.Renew(ctx)
	if err != nil {
		return schedule.Refreshed{}, err
	}
	return schedule.Refreshed{Generation: got.Token.Generation, IssuedAt: got.Token.IssuedAt, ExpiresAt: got.Token.Expiry}, nil
}

// Held returns what the store holds of a connection's token.
func (r renewer) Held(ctx context.Context, name string) (schedule.Refreshed, error) {
	row, err := r.store.TokenByName(ctx, name)
	return schedule.Refreshed{Generation: row.Gen, IssuedAt: row.IssuedAt, ExpiresAt: row.ExpiresAt}, err
}
