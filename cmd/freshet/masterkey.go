package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/freshet-dev/freshet/api"
)

type masterKeyCmd struct {
	Status masterKeyStatusCmd `cmd:"" help:"Which key seals, and what older keys are still needed for."`
	Rotate masterKeyRotateCmd `cmd:"" help:"Replace the master key while the server works."`
}

type masterKeyStatusCmd struct {
	remote `embed:""`
	format `embed:""`
}

// Help gives the example that --help shows.
func (masterKeyStatusCmd) Help() string { return example("freshet master-key status") }

// Run shows the keys by their check values.
func (c *masterKeyStatusCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	var m api.MasterKey
	if err := cl.Do(e.ctx, http.MethodGet, "/api/v1/master-key", nil, &m); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, m)
	}
	printMasterKey(e, &m)
	return nil
}

func printMasterKey(e *env, m *api.MasterKey) {
	line := func(name, value string) { fmt.Fprintf(e.stdout, "%-11s %s\n", name, plain(value)) }
	line("master key", m.MasterKey+"   in "+m.Place)
	if m.Next != "" {
		line("next", m.Next+"   a rotation is not finished: put it in place and run freshet master-key rotate")
	}
	ids := make([]string, len(m.DataKeys))
	for i, id := range m.DataKeys {
		ids[i] = fmt.Sprintf("%08x", id)
	}
	line("data keys", strings.Join(ids, " "))
	if m.Since != nil {
		line("since", m.Since.Local().Format("2006-01-02 15:04:05"))
	}
	switch {
	case m.Left > 0:
		line("left", fmt.Sprintf("%d values are sealed under an older data key; freshet master-key rotate goes on with them", m.Left))
	case len(m.DataKeys) > 1:
		line("left", "nothing needs the older data keys; they go soon")
	}
}

type masterKeyRotateCmd struct {
	remote  `embed:""`
	format  `embed:""`
	Prepare string `placeholder:"FILE" help:"For a key that the server cannot replace by itself: a file on its machine with the next key, which is made if it is not there."`
}

// Help gives the example that --help shows.
func (masterKeyRotateCmd) Help() string {
	return example("freshet master-key rotate", "A key in the server's own file is replaced in one go. A key from the environment or from a credential takes two steps: --prepare FILE, put that key in place, then rotate. Both may be interrupted and repeated. Keep the old key for as long as you keep backups that it sealed.")
}

// Run rotates.
func (c *masterKeyRotateCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	var in any
	if c.Prepare != "" {
		if c.Prepare, err = filepath.Abs(c.Prepare); err != nil {
			return err
		}
		in = map[string]string{"prepare": c.Prepare}
	}
	p := newProgress(e.stderr)
	p.step("rotating: every sealed value moves under a new data key")
	var r api.Rotation
	err = cl.Do(e.ctx, http.MethodPost, "/api/v1/master-key/rotate", in, &r)
	p.done()
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, r)
	}
	switch {
	case c.Prepare != "":
		fmt.Fprintf(e.stdout, "prepared: either key opens the store now. Put the key of %s in its place, start the server with it, then run freshet master-key rotate\n", c.Prepare)
	default:
		fmt.Fprintf(e.stdout, "rotated: %d values moved\n", r.Moved)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(e.stderr, "warning: %d values do not open and were left as they are: freshet doctor\n", r.Unreadable)
	}
	if r.Detail != "" {
		fmt.Fprintln(e.stdout, plain(r.Detail))
	}
	printMasterKey(e, &r.MasterKey)
	return nil
}
