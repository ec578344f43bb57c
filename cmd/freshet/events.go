package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type eventsCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" optional:"" name:"NAME" help:"Only this connection's."`
	Follow bool   `short:"F" help:"Go on with what happens, until interrupted."`
	Limit  int    `short:"n" default:"20" placeholder:"N" help:"How many of the past."`
}

// Help gives the example that --help shows.
func (eventsCmd) Help() string {
	return example("freshet events crm --follow", "Oldest first. With --output json one event a line.")
}

// Run prints events.
func (c *eventsCmd) Run(e *env) error {
	if c.Limit < 0 || c.Limit > 1000 {
		return usage("--limit is between 0 and 1000")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	base := "/api/v1/events"
	if c.Name != "" {
		base = "/api/v1/connections/" + url.PathEscape(c.Name) + "/events"
	}
	last := ""
	if c.Limit > 0 {
		var out struct {
			Events []api.Event `json:"events"`
		}
		if err := cl.Do(e.ctx, "GET", fmt.Sprintf("%s?limit=%d", base, c.Limit), nil, &out); err != nil {
			return err
		}
		// The newest come first over the wire.
		slices.SortFunc(out.Events, func(a, b api.Event) int { return int(a.Seq - b.Seq) })
		for _, ev := range out.Events {
			c.print(e, &ev)
			last = fmt.Sprint(ev.Seq)
		}
		if len(out.Events) == 0 && !c.Follow && !c.json() {
			fmt.Fprintln(e.stderr, "nothing has happened yet")
		}
	}
	if !c.Follow {
		return nil
	}
	return c.follow(e, cl, base, last)
}

// follow prints what happens. A server that restarts is waited for: the stream
// goes on after the last event that was seen.
func (c *eventsCmd) follow(e *env, cl *api.Client, base, last string) error {
	path := base
	if c.Name == "" {
		path = "/api/v1/stream"
	}
	wait := time.Second
	for {
		err := cl.Stream(e.ctx, path, last, func(id, _ string, data []byte) error {
			wait = time.Second
			var ev api.Event
			if err := json.Unmarshal(data, &ev); err != nil {
				return fmt.Errorf("the stream does not read: %w", err)
			}
			if id != "" {
				last = id
			}
			if ev.Type != "" {
				c.print(e, &ev)
			}
			return nil
		})
		var gone *api.UnreachableError
		switch {
		case e.ctx.Err() != nil:
			return nil // the person has seen enough
		case errors.Is(err, api.ErrStreamEnded), errors.As(err, &gone):
		default:
			return err
		}
		if sleep(e.ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, 15*time.Second)
		// A server that was started again may be somewhere else.
		if again, err := c.client(e); err == nil {
			cl = again
		}
	}
}

func (c *eventsCmd) print(e *env, ev *api.Event) {
	if c.json() {
		b, err := json.Marshal(ev)
		if err == nil {
			fmt.Fprintf(e.stdout, "%s\n", b)
		}
		return
	}
	line := ev.At.Local().Format("2006-01-02 15:04:05") + "  " + ev.Type
	if ev.Connection != "" {
		line += "  " + ev.Connection
	}
	for _, k := range slices.Sorted(maps.Keys(ev.Detail)) {
		s := word(ev.Detail[k])
		if s == "" || s == "0" || s == "false" {
			continue
		}
		if strings.ContainsAny(s, " \"") {
			s = strconv.Quote(s)
		}
		line += "  " + k + "=" + s
	}
	fmt.Fprintln(e.stdout, plain(line))
}

// word is a JSON value as people write it.
func word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = word(v[i])
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
