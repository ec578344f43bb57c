package main

import (
	"context"
	"errors"
	"sync"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/routine"
)

// routines are what connections that refresh by themselves run. The refresher
// is made before what runs them, and may be due before that has begun.
type routines struct {
	s       *server
	begun   chan struct{} // closed when runs are taken
	once    sync.Once
	scripts routine.Scripts // of apps; nil: there are none. Set before begin
}

func newRoutines(s *server) *routines { return &routines{s: s, begun: make(chan struct{})} }

// begin says that runs are taken.
func (r *routines) begin() { r.once.Do(func() { close(r.begun) }) }

// refresh is a refresh.Routine.
func (r *routines) refresh(ctx context.Context, def *freshet.Definition, by string, stored *freshet.Token) grant.Outcome {
	return routine.New(routine.Options{Ready: r.ready, Now: failpoint.Now, Log: r.s.log}).Refresh(ctx, def, by, stored)
}

func (r *routines) ready(ctx context.Context) (routine.Workflows, routine.Scripts, error) {
	select {
	case <-r.begun:
		return r.s.engine, r.scripts, nil
	case <-ctx.Done():
		return nil, nil, errors.New("this server has not begun to run anything yet")
	}
}
