package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An Effect is what an apply did, or with a dry run would do, to a resource.
type Effect struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action"` // created | changed | unchanged | deleted
}

// A Fault is one thing that is wrong, or with a warning odd, in resource files.
type Fault struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"` // connections.crm.refresh.margin
	Detail string `json:"detail"`
}

// String returns "FILE:LINE:COLUMN: PATH: DETAIL", as much of it as is known.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		b.WriteString(": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Detail)
	return b.String()
}

// An Applied is the answer to POST /api/v1/apply.
type Applied struct {
	Effects  []Effect `json:"effects"`
	Warnings []Fault  `json:"warnings,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
}

// Apply brings resources to the state of a bundle of files: all of them, or
// none. The error is a *Problem whose Faults say what is wrong and where.
func (c *Client) Apply(ctx context.Context, bundle json.RawMessage, dryRun bool) (*Applied, error) {
	path := "/api/v1/apply"
	if dryRun {
		path += "?dry_run=true"
	}
	var out Applied
	if err := c.Do(ctx, http.MethodPost, path, bundle, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Export writes resources as YAML: one (kind and name), those of a kind, or
// with an empty kind all. With reveal it holds their secrets in clear.
func (c *Client) Export(ctx context.Context, kind, name string, reveal bool, w io.Writer) error {
	q := url.Values{}
	if kind != "" {
		q.Set("kind", kind)
	}
	if name != "" {
		q.Set("name", name)
	}
	if reveal {
		q.Set("reveal", "true")
	}
	path := "/api/v1/export"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	res, err := c.Send(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// Delete removes one resource.
func (c *Client) Delete(ctx context.Context, kind, name string) error {
	return c.Do(ctx, http.MethodDelete, resourcePath(kind, name), nil, nil)
}

// A Resource is the answer to GET /api/v1/{kind}/{name} for kinds other than
// connections: its spec with secrets as markers.
type Resource struct {
	Kind      string          `json:"kind,omitempty"`
	Name      string          `json:"name"`
	Spec      json.RawMessage `json:"spec,omitempty"`
	Origin    string          `json:"origin,omitempty"` // providers: catalogue, or empty for one that was applied
	Revision  int64           `json:"revision,omitempty"`
	CreatedAt *time.Time      `json:"created_at,omitempty"`
	UpdatedAt *time.Time      `json:"updated_at,omitempty"`
}

// Get decodes one resource of a kind into out: a *Connection, a *Resource.
func (c *Client) Get(ctx context.Context, kind, name string, out any) error {
	return c.Do(ctx, http.MethodGet, resourcePath(kind, name), nil, out)
}

// List calls each for every member of a list, such as the path
// /api/v1/connections, whatever number of pages it has.
func (c *Client) List(ctx context.Context, path, member string, each func(json.RawMessage) error) error {
	cursor := ""
	for {
		page := path
		if cursor != "" {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			page += separator + "cursor=" + url.QueryEscape(cursor)
		}
		var out map[string]json.RawMessage
		if err := c.Do(ctx, http.MethodGet, page, nil, &out); err != nil {
			return err
		}
		var items []json.RawMessage
		if err := json.Unmarshal(out[member], &items); err != nil && out[member] != nil {
			return fmt.Errorf("GET %s: member %s is not a list", path, member)
		}
		for _, it := range items {
			if err := each(it); err != nil {
				return err
			}
		}
		next := ""
		if raw, ok := out["next_cursor"]; ok {
			json.Unmarshal(raw, &next)
		}
		// A server that repeats a cursor must not keep us for ever.
		if next == "" || next == cursor {
			return nil
		}
		cursor = next
	}
}

func resourcePath(kind, name string) string {
	p := "/api/v1/" + url.PathEscape(kind)
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}
