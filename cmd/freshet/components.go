package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet"
	apps "github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/component"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/routine"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// runComponents makes what carries out messages of components. It begins with
// startSchedules, which starts the jobs.
func (s *server) runComponents(h house) error {
	places := connections{s.source}
	send := outbound.Options{Transport: h.Dialer.Transport(dial.Upstream), Caller: h.Upstream, Connections: places, Admit: admitted(h.Trail)}
	held := component.Held{Source: s.source, Now: failpoint.Now, Admit: func(ctx context.Context, connection, what string) error {
		row := audit.Entry{Actor: "component", Action: audit.TokenRead, Subject: connection}
		if what == "import" {
			row.Action = audit.TokenImport
		}
		return h.Trail.Record(ctx, row)
	}}
	var err error
	s.components, err = component.New(component.Options{Store: h.Store, Sealer: h.Vault, Journal: s.journal, Queue: s.jobs, Components: s.Book, Credentials: held, Send: send.Send,
		Variables: func(ctx context.Context, connection string) (map[string]string, error) {
			d, err := s.Book.Definition(ctx, connection)
			if err != nil {
				return nil, err
			}
			return d.Connection.Variables, nil
		}, Alone: h.Alone, Now: failpoint.Now, Log: s.log})
	if err != nil {
		return err
	}
	s.jobs.Register(s.components.Kind())
	s.later("components", s.components.Close)
	return nil
}

// routines are what connections that refresh by themselves run. The refresher
// is made before what runs them, and may be due before that has begun.
type routines struct {
	s      *server
	values *redact.Values
	begun  chan struct{} // closed when runs are taken
	once   sync.Once
}

func newRoutines(s *server, values *redact.Values) *routines {
	return &routines{s: s, values: values, begun: make(chan struct{})}
}

// begin says that runs are taken.
func (r *routines) begin() { r.once.Do(func() { close(r.begun) }) }

// refresh is a refresh.Routine.
func (r *routines) refresh(ctx context.Context, def *freshet.Definition, by string, stored *freshet.Token) grant.Outcome {
	return routine.New(routine.Options{Ready: r.ready, Now: failpoint.Now, Log: r.s.log}).Refresh(ctx, def, by, stored)
}

func (r *routines) ready(ctx context.Context) (routine.Workflows, routine.Scripts, error) {
	select {
	case <-r.begun:
		return r.s.engine, r, nil
	case <-ctx.Done():
		return nil, nil, errors.New("this server has not begun to run anything yet")
	}
}

// RunRoutine runs a function of an app as a refresh routine: APP.OBJECT.FUNCTION.
// Its job ends with ctx.
func (r *routines) RunRoutine(ctx context.Context, name string, input map[string]any, trigger string, secrets []string) (any, error) {
	app, function, _ := strings.Cut(name, ".")
	b, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	r.values.Add(secrets...)
	out, err := r.s.apps.Run(ctx, apps.Request{App: app, Function: function, Input: b, Trigger: trigger})
	switch {
	case err != nil:
		return nil, err
	case out.Fault != nil:
		return nil, errors.New(out.Fault.Message + "; every step of it: freshet runs " + out.RunID)
	}
	return out.Output, nil
}

// retryMessage carries out the failed message of a run again.
func (s *server) retryMessage(ctx context.Context, id string) error {
	_, err := s.components.Retry(ctx, id)
	return err
}
