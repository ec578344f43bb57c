package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Schedule is the answer to GET /api/v1/schedules/{name}: where a task stands.
type Schedule struct {
	Name             string          `json:"name"`
	When             string          `json:"when"` // in words
	Zone             string          `json:"zone"`
	Status           string          `json:"status"` // active | paused | ended | on demand
	Running          bool            `json:"running,omitempty"`
	Target           string          `json:"target"`  // refresh | workflow | process
	Subject          string          `json:"subject"` // the target's name
	Trigger          string          `json:"trigger,omitempty"`
	NextRun          *time.Time      `json:"next_run,omitempty"`
	NextRuns         []time.Time     `json:"next_runs,omitempty"`
	LastRun          *Firing         `json:"last_run,omitempty"`
	Fired            int64           `json:"fired"`
	Owner            string          `json:"owner,omitempty"`
	Description      string          `json:"description,omitempty"`
	Warnings         []string        `json:"warnings,omitempty"`
	RefreshExpiresAt *time.Time      `json:"refresh_expires_at,omitempty"`
	Hook             string          `json:"hook,omitempty"` // where a signed request fires it
	Spec             json.RawMessage `json:"spec,omitempty"`
}

// A Firing is one time that a schedule fired.
type Firing struct {
	ID        string     `json:"id"`
	Status    string     `json:"status"` // queued | running | succeeded | failed | skipped
	Cause     string     `json:"cause"`  // clock | manual | hook
	Nominal   *time.Time `json:"nominal,omitempty"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Missed    int64      `json:"missed,omitempty"`
	Attempts  int64      `json:"attempts"`
	RunID     string     `json:"run_id,omitempty"`
	Message   string     `json:"message,omitempty"`
}

// Over reports whether nothing more will come of it.
func (f *Firing) Over() bool { return f.Status != "queued" && f.Status != "running" }

func schedulePath(name string) string { return "/api/v1/schedules/" + url.PathEscape(name) }

// Schedule returns where a schedule stands, with its next runs.
func (c *Client) Schedule(ctx context.Context, name string) (*Schedule, error) {
	var s Schedule
	if err := c.Do(ctx, http.MethodGet, schedulePath(name), nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// RunSchedule fires a schedule now, and returns the firing as it begins.
func (c *Client) RunSchedule(ctx context.Context, name string) (*Firing, error) {
	var out struct{ Firing Firing }
	if err := c.Do(ctx, http.MethodPost, schedulePath(name)+"/run", nil, &out); err != nil {
		return nil, err
	}
	return &out.Firing, nil
}

// PauseSchedule has the clock fire a schedule no more, or with paused false
// again.
func (c *Client) PauseSchedule(ctx context.Context, name string, paused bool) (*Schedule, error) {
	word := "/resume"
	if paused {
		word = "/pause"
	}
	var s Schedule
	if err := c.Do(ctx, http.MethodPost, schedulePath(name)+word, nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ScheduleHistory returns the newest firings of a schedule, newest first, at
// most limit.
func (c *Client) ScheduleHistory(ctx context.Context, name string, limit int) ([]Firing, error) {
	var out []Firing
	for cursor := ""; len(out) < limit; {
		var page struct {
			Firings    []Firing `json:"firings"`
			NextCursor string   `json:"next_cursor"`
		}
		q := url.Values{"limit": {strconv.Itoa(min(limit-len(out), 1000))}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if err := c.Do(ctx, http.MethodGet, schedulePath(name)+"/history?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Firings...)
		if page.NextCursor == "" || page.NextCursor == cursor || len(page.Firings) == 0 {
			break
		}
		cursor = page.NextCursor
	}
	return out, nil
}
