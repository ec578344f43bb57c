package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/api"
)

// process presses PROCESS/INSTANCE:BUTTON, or what else of the process a kind
// before the name says: PROCESS/INSTANCE:rule:NAME. Without INSTANCE the form is
// a new one, PROCESS/:BUTTON.
func (c *runCmd) process(e *env) error {
	name, rest, _ := strings.Cut(c.What, "/")
	instance, trigger, ok := strings.Cut(rest, ":")
	if name == "" || !ok || trigger == "" {
		return usage("%q is not like PROCESS/INSTANCE:BUTTON, such as TokenKeeper/TokenKeeper-1:Refresh", c.What)
	}
	input, err := c.input(e)
	if err != nil {
		return err
	}
	p := api.Press{Process: name, Instance: instance, Trigger: trigger}
	if len(input) > 0 {
		if err := json.Unmarshal(input, &p.Fields); err != nil {
			return usage("--input of a process is an object: the fields that are entered first")
		}
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	if c.Preview {
		return c.previewed(e, cl, p)
	}
	var warnings []string
	press := func(ctx context.Context, r api.RunRequest) (*api.RunResult, error) {
		p.Correlation = r.Correlation
		got, err := cl.Press(ctx, p)
		if err != nil {
			return nil, err
		}
		warnings = got.Warnings
		shown := map[string]any{"id": got.ID, "fields": got.Fields, "saved_at": got.SavedAt}
		b, err := json.Marshal(shown)
		return &api.RunResult{RunID: got.RunID, Status: got.Status, Output: b, Fault: got.Fault}, err
	}
	out, err := c.start(e, cl, press, api.RunRequest{Name: c.What})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(e.stderr, "warning:", plain(w))
	}
	return c.print(e, out)
}

// previewed prints what would be sent.
func (c *runCmd) previewed(e *env, cl *api.Client, p api.Press) error {
	out, err := cl.PreviewPress(e.ctx, p)
	if err != nil {
		return err
	}
	line := func(format string, args ...any) { fmt.Fprintln(e.stdout, plain(fmt.Sprintf(format, args...))) }
	for _, s := range out.Steps {
		text := s.Rule + " " + s.Type + ": " + strings.ToLower(s.Event)
		if s.Message != "" {
			text += ", " + s.Message
		}
		line("%s", text)
		if s.Error != "" {
			line("  error: %s", s.Error)
		}
		if r := s.Request; r != nil {
			line("  %s %s", r.Method, r.URL)
			if r.Connection != "" {
				line("  as connection %s", r.Connection)
			}
			for _, n := range slices.Sorted(maps.Keys(r.Headers)) {
				line("  %s: %s", n, r.Headers[n])
			}
			if r.Body != "" {
				line("")
				line("  %s", r.Body)
			}
		}
	}
	return nil
}
