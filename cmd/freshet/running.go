package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/httpapi"
	"github.com/freshet-dev/freshet/internal/redact"
	runs "github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/codec"
	"github.com/freshet-dev/freshet/internal/workflow/endpoint"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
	rowspecs "github.com/freshet-dev/freshet/internal/workflow/rows"
)

// A house is what runs of workflows find in this server.
type house struct {
	Store    *store.Store
	Vault    *vault.Vault
	Dialer   *dial.Guard
	Upstream *upstream.Transport
	Trail    *audit.Log
	Gate     *httpapi.Gate
	Values   *redact.Values
	Base     *url.URL
	Alone    bool // no other process uses the store
}

// runWorkflows makes what runs workflows and answers at their endpoints. It
// begins with startWorkflows, when the configuration is in force.
func (s *server) runWorkflows(h house) error {
	scripts, err := script.New(expr.ScriptOptions(script.Options{Now: failpoint.Now}))
	if err != nil {
		return err
	}
	s.later("scripts", func(context.Context) error { return scripts.Close() })
	places := connections{s.source}
	secret := secrets{tables: s.tables, connections: places, trail: h.Trail, values: h.Values}
	eval := expr.New(expr.Options{Engine: scripts, Now: failpoint.Now, Services: expr.Services{
		DefinitionByName: s.definitionID(s.library.Published),
		DefinitionByTag:  s.definitionID(s.library.ByTag),
		Secret:           secret.of,
		ProcessField:     s.processField,
		Warn: func(_ context.Context, run expr.Scope, what string) {
			s.log.Warn("a workflow goes on without", "workflow", run.Instance().DefinitionName, "run", run.Instance().InstanceID, "what", what)
		},
	}})
	s.expressions = eval
	types := activity.NewRegistry(slices.Concat(
		activity.Control(), activity.Primitives(), activity.Timers(cronNext), activity.Workflows(remover{s}),
		codec.Specs(), rowspecs.Specs(s.tables), endpoint.Specs(),
		outbound.Specs(outbound.Options{Transport: h.Dialer.Transport(dial.Upstream), Caller: h.Upstream, Connections: places, Admit: admitted(h.Trail)}))...)
	s.engine = engine.New(engine.Options{Library: s.library, Registry: types, Evaluator: eval, Journal: s.journal, Store: h.Store, Sealer: h.Vault,
		Alone: h.Alone, BaseURL: s.URL, Now: failpoint.Now, Log: s.log})
	s.later("runs of workflows", func(ctx context.Context) error { return s.engine.Close(ctx) })
	s.serves = endpoint.New(endpoint.Options{Library: s.library, Evaluator: eval, Runner: endpoint.Engine{Engine: s.engine, Journal: s.journal, Bookmarks: h.Store}, Gate: h.Gate,
		References: endpoint.Lookup{Tables: s.tables, Connections: places}, BaseURL: h.Base, Values: h.Values, Log: s.log})
	s.works.Store(true)
	return nil
}

// startWorkflows serves what is published, fires its triggers, and goes on with
// what an earlier process left behind.
func (s *server) startWorkflows(ctx context.Context, st *store.Store) error {
	if err := s.published(ctx, st); err != nil {
		s.log.Warn("some workflows are not in force", "error", err)
	}
	return s.engine.Start(ctx)
}

// published puts in force what is published now: endpoints and triggers.
func (s *server) published(ctx context.Context, st *store.Store) error {
	if !s.works.Load() {
		return nil
	}
	return errors.Join(s.serves.Rebuild(ctx), s.retime(ctx, st))
}

// stopRuns ends firings and then runs, in two thirds of the time that is left:
// the rest is for what they have to write, and for the refresher.
func (s *server) stopRuns(ctx context.Context) error {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(30 * time.Second)
	}
	left := time.Until(end)
	jobs, cancel := context.WithTimeout(ctx, left/3)
	defer cancel()
	err := errors.Join(s.poller.Close(), s.jobs.Close(jobs))
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("what the clock has begun is carried out again after the next start", "error", err)
		err = nil
	}
	ctx, cancel = context.WithDeadline(ctx, end.Add(-left/3))
	defer cancel()
	return errors.Join(err, s.engine.Close(ctx))
}

// admitted puts each use of a connection by a workflow on record.
func admitted(trail *audit.Log) func(context.Context, outbound.Entry) error {
	return func(ctx context.Context, e outbound.Entry) error {
		row := audit.Entry{Actor: "run:" + e.Run, Action: audit.TokenRead, Subject: e.Connection}
		if e.Method != "" {
			row.Action, row.Detail = audit.TokenInject, audit.Strings("method", e.Method, "path", redact.Text(strings.ToValidUTF8(e.Path[:min(len(e.Path), 256)], "�")))
		}
		return trail.Record(ctx, row)
	}
}

// definitionID turns a lookup of the library into what expressions ask for.
func (s *server) definitionID(find func(context.Context, string) (*workflow.Version, error)) func(context.Context, string) (string, bool) {
	return func(ctx context.Context, what string) (string, bool) {
		v, err := find(ctx, what)
		if err != nil {
			if !errors.Is(err, freshet.ErrNotFound) {
				s.log.Warn("a workflow is not found", "workflow", what, "error", err)
			}
			return "", false
		}
		return v.ID, true
	}
}

// remover deletes runs for activities, which are made before the engine.
type remover struct{ s *server }

// RemoveRuns deletes records of runs.
func (r remover) RemoveRuns(ctx context.Context, f activity.Removal) (int, error) {
	return r.s.engine.RemoveRuns(ctx, f)
}

// steering is the engine as the API steers runs with it.
type steering struct {
	*engine.Engine
	s *server
}

// Retry goes on with a faulted run, to its end or next wait. A run of a component
// is not gone on with: its message gets another one.
func (r steering) Retry(ctx context.Context, id runs.ID) error {
	if v, err := r.s.journal.Get(ctx, id); err == nil && v.Kind == runs.Component {
		return r.s.retryMessage(ctx, id)
	}
	_, err := r.Engine.Retry(ctx, id)
	return err
}

// A starter runs workflows for schedules.
type starter struct{ s *server }

// Start runs a workflow; see schedule.Runner.
func (r starter) Start(ctx context.Context, name string, input any, trigger, key string) (string, error) {
	return r.start(ctx, engine.Request{Name: name, Input: input, Trigger: trigger, Key: key})
}

func (r starter) start(ctx context.Context, q engine.Request) (string, error) {
	out, err := r.s.engine.Run(ctx, q)
	if dup, ok := errors.AsType[*runs.DuplicateError](err); ok {
		// An earlier attempt at this firing began it, and the process ended.
		v, err := r.s.journal.Get(ctx, dup.Run)
		if err != nil {
			return dup.Run, err
		}
		out = engine.Outcome{RunID: v.ID, Status: v.Status, Outcomes: v.Outcomes, Fault: v.Fault}
	} else if err != nil {
		return out.RunID, err
	}
	switch {
	case out.Status == runs.Faulted && out.Fault != nil:
		return out.RunID, fmt.Errorf("the run faulted: %s", out.Fault.Message)
	case out.Status == runs.Cancelled:
		return out.RunID, errors.New("the run was cancelled")
	case slices.ContainsFunc(out.Outcomes, func(o string) bool { return strings.EqualFold(o, "error") }):
		return out.RunID, fmt.Errorf("the run finished with the outcome error: %s", activity.Format(out.Output))
	}
	return out.RunID, nil
}

// cronNext is how waits of workflows read cron expressions.
func cronNext(text string, after time.Time) (time.Time, error) {
	plan, err := schedule.Compile(&freshet.Schedule{Cron: text}, after)
	if err != nil {
		return time.Time{}, err
	}
	next, ok := plan.Next(after)
	if !ok {
		return time.Time{}, fmt.Errorf("%q names no instant any more", text)
	}
	return next, nil
}
