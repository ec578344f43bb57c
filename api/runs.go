package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Run is one execution of a workflow, script, process or component. What it
// tells is masked.
type Run struct {
	ID            string          `json:"id"` // sorts by the instant of the start
	Kind          string          `json:"kind"`
	Name          string          `json:"name"`
	Version       int             `json:"version,omitempty"`
	Status        string          `json:"status"` // idle | running | suspended | finished | faulted | cancelled
	CorrelationID string          `json:"correlation_id"`
	Parent        string          `json:"parent,omitempty"`
	ParentStep    int             `json:"parent_step,omitempty"`
	Children      []string        `json:"children,omitempty"` // of a single run, newest first
	Trigger       string          `json:"trigger,omitempty"`
	Road          string          `json:"road,omitempty"` // native | as written
	StartedAt     time.Time       `json:"started_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
	EndedAt       *time.Time      `json:"ended_at,omitempty"`
	DurationMS    *int64          `json:"duration_ms,omitempty"`
	Steps         int             `json:"steps"`
	Outcomes      []string        `json:"outcomes,omitempty"`
	Fault         *RunFault       `json:"fault,omitempty"`
	Warnings      []string        `json:"warnings,omitempty"`
	Input         json.RawMessage `json:"input,omitempty"`  // of a single run
	Output        json.RawMessage `json:"output,omitempty"` // of a single run
}

// Ended reports whether nothing happens to the run any more by itself.
func (r *Run) Ended() bool {
	return r.Status == "finished" || r.Status == "faulted" || r.Status == "cancelled"
}

// A RunFault says why a run broke off.
type RunFault struct {
	Message  string    `json:"message"`
	Activity string    `json:"activity,omitempty"`
	Type     string    `json:"type,omitempty"`
	Name     string    `json:"name,omitempty"`
	Property string    `json:"property,omitempty"`
	Cause    *RunFault `json:"cause,omitempty"`
}

// A Step is one thing that happened within a run.
type Step struct {
	Number     int             `json:"number"` // from 1 on; where numbers are missing, steps were left out
	At         time.Time       `json:"at"`
	Event      string          `json:"event,omitempty"`
	Activity   string          `json:"activity,omitempty"`
	Type       string          `json:"type,omitempty"`
	Name       string          `json:"name,omitempty"`
	DurationMS float64         `json:"duration_ms,omitempty"`
	Outcomes   []string        `json:"outcomes,omitempty"`
	Message    string          `json:"message,omitempty"`
	Inputs     json.RawMessage `json:"inputs,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
	Error      string          `json:"error,omitempty"`
	Child      string          `json:"child,omitempty"` // the run that the step started
}

// A RunFilter narrows a list of runs; empty members do not.
type RunFilter struct {
	Name, Kind, Status, Trigger string
	Correlation                 string // any id that the run ever had; with a * at its end: that begins so
	Parent                      string
	Since, Until                time.Time // started then or later, and before
}

func (f RunFilter) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"name": f.Name, "kind": f.Kind, "status": f.Status, "trigger": f.Trigger, "correlation": f.Correlation, "parent": f.Parent} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

const runsPath = "/api/v1/runs"

func runPath(id string) string { return runsPath + "/" + url.PathEscape(id) }

// Runs lists the newest runs, at most limit of them, which is 1 to 1,000.
func (c *Client) Runs(ctx context.Context, f RunFilter, limit int) ([]Run, error) {
	q := f.query()
	q.Set("limit", strconv.Itoa(limit))
	var out struct {
		Runs []Run `json:"runs"`
	}
	err := c.Do(ctx, http.MethodGet, runsPath+"?"+q.Encode(), nil, &out)
	return out.Runs, err
}

// Run returns a run with its input, output and children.
func (c *Client) Run(ctx context.Context, id string) (*Run, error) {
	var r Run
	if err := c.Do(ctx, http.MethodGet, runPath(id), nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Journal returns every step of a run up to now, oldest first.
func (c *Client) Journal(ctx context.Context, id string) ([]Step, error) {
	steps := []Step{}
	err := c.List(ctx, runPath(id)+"/journal?limit=1000", "steps", func(raw json.RawMessage) error {
		var s Step
		err := json.Unmarshal(raw, &s)
		steps = append(steps, s)
		return err
	})
	return steps, err
}

// Follow calls each for every step of a run behind the one with the number
// after, as it happens, and returns the run when it has ended. A stream that
// breaks is taken up again where it was.
func (c *Client) Follow(ctx context.Context, id string, after int, each func(Step) error) (*Run, error) {
	const least, most = 500 * time.Millisecond, 15 * time.Second
	var ended *Run
	wait := least
	for {
		last := ""
		if after > 0 {
			last = strconv.Itoa(after)
		}
		err := c.Stream(ctx, runPath(id)+"/journal", last, func(_, event string, data []byte) error {
			wait = least
			switch event {
			case "step":
				var s Step
				if err := json.Unmarshal(data, &s); err != nil {
					return err
				}
				after = s.Number
				return each(s)
			case "end":
				var r Run
				if err := json.Unmarshal(data, &r); err != nil {
					return err
				}
				if r.ID != "" { // else the stream ends, and not the run
					ended = &r
				}
			}
			return nil
		})
		if ended != nil {
			return ended, nil
		}
		var gone *UnreachableError
		if ctx.Err() != nil || !errors.Is(err, ErrStreamEnded) && !errors.As(err, &gone) {
			return nil, err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
		wait = min(2*wait, most)
	}
}

// CancelRun ends a run that has not ended.
func (c *Client) CancelRun(ctx context.Context, id string) (*Run, error) {
	return c.steer(ctx, id, "cancel")
}

// RetryRun goes on with a run that faulted, from the step that failed.
func (c *Client) RetryRun(ctx context.Context, id string) (*Run, error) {
	return c.steer(ctx, id, "retry")
}

func (c *Client) steer(ctx context.Context, id, what string) (*Run, error) {
	var r Run
	if err := c.Do(ctx, http.MethodPost, runPath(id)+"/"+what, nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}
