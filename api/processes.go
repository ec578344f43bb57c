package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An Instance is a saved form of a process. Fields that are secret show as
// [secret].
type Instance struct {
	ID        string         `json:"id"` // PROCESS-N
	Fields    map[string]any `json:"fields"`
	SavedAt   *time.Time     `json:"saved_at,omitempty"`
	SavedBy   string         `json:"saved_by,omitempty"`
	CreatedAt *time.Time     `json:"created_at,omitempty"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty"` // of the token that it holds
	Expired   bool           `json:"expired,omitempty"`
}

// A Press is a button to press, a field or a rule to trigger.
type Press struct {
	Process     string
	Instance    string         // "": a new form, which becomes an instance when a rule saves it
	Trigger     string         // button:NAME, field:NAME, rule:NAME; NAME alone is a button
	Fields      map[string]any // entered before the rules run
	Correlation string
}

// A Pressed tells what came of a press.
type Pressed struct {
	RunID    string         `json:"run_id"`
	Status   string         `json:"status"` // finished, faulted
	ID       string         `json:"id,omitempty"`
	Saved    bool           `json:"saved"`
	Fields   map[string]any `json:"fields"`
	SavedAt  *time.Time     `json:"saved_at,omitempty"`
	Fault    *RunFault      `json:"fault,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
}

// A PressPreview tells what a press would do.
type PressPreview struct {
	Steps []struct {
		Rule    string `json:"rule"`
		Type    string `json:"type"`
		Event   string `json:"event"`
		Message string `json:"message,omitempty"`
		Error   string `json:"error,omitempty"`
		Request *struct {
			Method     string            `json:"method"`
			URL        string            `json:"url"`
			Connection string            `json:"connection,omitempty"`
			Headers    map[string]string `json:"headers,omitempty"`
			Body       string            `json:"body,omitempty"`
		} `json:"request,omitempty"`
	} `json:"steps"`
	Fields   map[string]any `json:"fields"`
	Instance *Instance      `json:"instance,omitempty"`
}

func processPath(name string) string { return "/api/v1/processes/" + url.PathEscape(name) }

// Instance returns a saved instance of a process.
func (c *Client) Instance(ctx context.Context, process, id string) (*Instance, error) {
	out := new(Instance)
	return out, c.Do(ctx, http.MethodGet, processPath(process)+"/instances/"+url.PathEscape(id), nil, out)
}

// Press runs rules of a process and waits for their end. A fault is in what it
// returns.
func (c *Client) Press(ctx context.Context, p Press) (*Pressed, error) {
	kind, what, ok := strings.Cut(p.Trigger, ":")
	if !ok || kind != "button" && kind != "field" && kind != "rule" {
		kind, what = "button", p.Trigger
	}
	path := processPath(p.Process)
	if p.Instance != "" {
		path += "/instances/" + url.PathEscape(p.Instance)
	}
	in := map[string]any{}
	if len(p.Fields) > 0 {
		in["fields"] = p.Fields
	}
	if p.Correlation != "" {
		in["correlation_id"] = p.Correlation
	}
	out := new(Pressed)
	return out, c.Do(ctx, http.MethodPost, path+"/"+kind+"s/"+url.PathEscape(what), in, out)
}

// PreviewPress shows what a press would do, and sends nothing.
func (c *Client) PreviewPress(ctx context.Context, p Press) (*PressPreview, error) {
	in := map[string]any{"trigger": p.Trigger}
	if p.Instance != "" {
		in["instance"] = p.Instance
	}
	if len(p.Fields) > 0 {
		in["fields"] = p.Fields
	}
	out := new(PressPreview)
	return out, c.Do(ctx, http.MethodPost, processPath(p.Process)+"/preview", in, out)
}
