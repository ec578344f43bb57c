package main

import (
	"context"
	"strings"

	"github.com/freshet-dev/freshet/api"
)

// starts is what runs something and waits for its end.
type starts func(context.Context, api.RunRequest) (*api.RunResult, error)

// start runs it, with its steps on the way if they are wanted.
func (c *runCmd) start(e *env, cl *api.Client, run starts, r api.RunRequest) (*api.RunResult, error) {
	if c.Journal {
		return c.followed(e, cl, run, r)
	}
	return run(e.ctx, r)
}

// function runs APP.SCRIPT.FUNCTION.
func (c *runCmd) function(e *env, cl *api.Client, r api.RunRequest) (*api.RunResult, error) {
	app, name, _ := strings.Cut(r.Name, ".")
	r.Name = app
	return c.start(e, cl, func(ctx context.Context, r api.RunRequest) (*api.RunResult, error) {
		return cl.RunFunction(ctx, name, r)
	}, r)
}
