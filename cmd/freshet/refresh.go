package main

import (
	"fmt"
	"time"
)

type refreshCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" name:"NAME" help:"The connection."`
}

// Help gives the example that --help shows.
func (refreshCmd) Help() string {
	return example("freshet refresh crm", "Asks the provider now, however fresh the token is. What prints holds no token.")
}

// Run forces a refresh.
func (c *refreshCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	t, err := cl.Refresh(e.ctx, c.Name)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"connection": c.Name, "generation": t.Generation, "expires_at": t.ExpiresAt, "scope": t.Scope, "stale": t.Stale})
	}
	fmt.Fprintf(e.stdout, "refreshed: %s is at generation %d", c.Name, t.Generation)
	if t.ExpiresAt != nil {
		fmt.Fprintf(e.stdout, ", its token expires %s", relative(t.ExpiresAt, time.Now()))
	}
	fmt.Fprintln(e.stdout)
	return nil
}
