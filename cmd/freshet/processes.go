package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"

	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// forms are the processes of a server, and what they are made of before they
// are.
type forms struct {
	processes   *process.Processes // nil until the journal is there
	expressions *expr.Evaluator
	seals       process.Sealer
}

// runProcesses makes what presses buttons. Schedules and templates find it
// through s.
func (s *server) runProcesses(h house) {
	s.processes = process.New(process.Options{Store: h.Store, Sealer: h.Vault, Definitions: s.Book, Journal: s.journal, Expressions: s.expressions,
		Outbound: outbound.Options{Transport: h.Dialer.Transport(dial.Upstream), Caller: h.Upstream, Connections: connections{s.source}, Admit: admitted(h.Trail)},
		Mutual:   func(c tls.Certificate) http.RoundTripper { return h.Dialer.Mutual(dial.Upstream, c) },
		Values:   h.Values, Alone: h.Alone, Moved: s.poller.Nudge, Now: failpoint.Now, Log: s.log})
	s.later("processes", s.processes.Close)
}

// processed keeps a process's row and the instances that are its seeds beside
// the resource, in the same transaction.
func (s *server) processed(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return process.Remove(c, u.ID)
	}
	d, err := s.Book.ProcessIn(c, u.Name)
	if err != nil {
		return err
	}
	return process.Declare(c, s.seals, u.ID, d)
}

var errNoProcesses = errors.New("the server is starting: there are no processes yet")

// firePress presses what a schedule names.
func (s *server) firePress(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
	if s.processes == nil {
		return schedule.Outcome{}, errNoProcesses
	}
	return s.processes.Target().Fire(ctx, f)
}

// fireExpiry tells that the token of an instance has expired.
func (s *server) fireExpiry(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
	if s.processes == nil {
		return schedule.Outcome{}, errNoProcesses
	}
	return s.processes.Expiry().Fire(ctx, f)
}

// processField is what expressions of workflows read of an instance.
func (s *server) processField(ctx context.Context, instance, field string) (any, error) {
	if s.processes == nil {
		return nil, errNoProcesses
	}
	return s.processes.Field(ctx, instance, field)
}

// processValue is {{process.INSTANCE.FIELD}} in the templates of resources.
func (s *server) processValue(path string) (any, bool) {
	if s.processes == nil {
		return nil, false
	}
	return s.processes.Lookup(path)
}
