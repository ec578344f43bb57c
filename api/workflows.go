package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Workflow is a workflow in lists.
type Workflow struct {
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Version   int64      `json:"version"`   // the newest
	Published int64      `json:"published"` // what new runs use; 0: none
	Tag       string     `json:"tag,omitempty"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
}

// A WorkflowVersion is one version of a workflow.
type WorkflowVersion struct {
	Number      int64      `json:"number"`
	Published   bool       `json:"published"`
	PublishedAt *time.Time `json:"published_at,omitempty"`
	Hash        string     `json:"hash"` // SHA-256 of the file
	Size        int64      `json:"size"`
	CreatedAt   *time.Time `json:"created_at,omitempty"`
	CreatedBy   string     `json:"created_by,omitempty"`
}

func workflowPath(name string) string { return "/api/v1/workflows/" + url.PathEscape(name) }

// WorkflowVersions lists the versions of a workflow, the newest first.
func (c *Client) WorkflowVersions(ctx context.Context, name string) ([]WorkflowVersion, error) {
	out := []WorkflowVersion{}
	err := c.List(ctx, workflowPath(name)+"/versions?limit=200", "versions", func(raw json.RawMessage) error {
		var v WorkflowVersion
		err := json.Unmarshal(raw, &v)
		out = append(out, v)
		return err
	})
	return out, err
}

// PublishWorkflow has new runs use the newest version, and returns its number.
func (c *Client) PublishWorkflow(ctx context.Context, name string) (int64, error) {
	var out struct {
		Version int64 `json:"version"`
	}
	err := c.Do(ctx, http.MethodPost, workflowPath(name)+"/publish", nil, &out)
	return out.Version, err
}

// An Import is foreign files, and what is wanted of them.
type Import struct {
	Files    []ImportFile
	As       string                     // the name of the one workflow in them; "": as it says
	Publish  bool                       // new runs use it
	Set      map[string]json.RawMessage // default variables to attach
	MapInput map[string]string          // variable: JavaScript over input
}

// An ImportFile is one file. Its content tells what it is.
type ImportFile struct {
	Name string
	Data []byte
}

// An ImportResult is the answer to an import.
type ImportResult struct {
	Reports []ImportReport  `json:"reports"`
	Skipped []ImportSkipped `json:"skipped,omitempty"`
}

// An ImportSkipped part did not come over.
type ImportSkipped struct {
	File string `json:"file"`
	What string `json:"what"`
	Why  string `json:"why"`
	Do   string `json:"do,omitempty"`
}

// An ImportReport says what came over of one workflow, and what, where and why
// did not.
type ImportReport struct {
	Name        string           `json:"name"`
	Kind        string           `json:"kind"`
	File        string           `json:"file,omitempty"`
	Action      string           `json:"action,omitempty"` // created | changed | unchanged
	Version     int              `json:"version,omitempty"`
	Published   bool             `json:"published"`
	Activities  int              `json:"activities"`
	Connections int              `json:"connections"` // between activities
	Expressions int              `json:"expressions"` // in use
	Starts      []string         `json:"starts,omitempty"`
	Endpoints   []ImportEndpoint `json:"endpoints,omitempty"`
	Variables   []ImportVariable `json:"variables,omitempty"` // read and never set
	Inputs      *ImportInputs    `json:"inputs,omitempty"`
	Secrets     []ImportName     `json:"secrets,omitempty"`
	Tables      []ImportTable    `json:"tables,omitempty"`
	Workflows   []ImportName     `json:"workflows,omitempty"`
	Used        []ImportName     `json:"used,omitempty"` // connections
	Road        ImportRoad       `json:"road"`
	Attached    []string         `json:"attached,omitempty"`
	Findings    []ImportFinding  `json:"findings,omitempty"`
}

// An ImportUse is a place that speaks of a name.
type ImportUse struct {
	Activity string `json:"activity"`
	Type     string `json:"type"`
	Property string `json:"property"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
}

// String returns "ACTIVITY", PROPERTY.
func (u ImportUse) String() string { return strconv.Quote(u.Activity) + ", " + u.Property }

// An ImportVariable is read, and nothing sets it.
type ImportVariable struct {
	Name    string      `json:"name"`
	Uses    []ImportUse `json:"uses"`
	Effect  string      `json:"effect"`
	Similar string      `json:"similar,omitempty"`
	Do      string      `json:"do"`
}

// An ImportName is something outside of the file.
type ImportName struct {
	Name  string      `json:"name"`
	There *bool       `json:"there,omitempty"` // nil: not known
	Uses  []ImportUse `json:"uses"`
	Do    string      `json:"do,omitempty"`
}

// An ImportTable is a table that is referred to.
type ImportTable struct {
	ImportName
	Columns []string `json:"columns,omitempty"`
	Missing []string `json:"missing,omitempty"`
	Keys    []string `json:"keys,omitempty"`
}

// ImportInputs is what a run expects.
type ImportInputs struct {
	Members []string    `json:"members,omitempty"`
	Whole   bool        `json:"whole,omitempty"`
	Uses    []ImportUse `json:"uses"`
}

// An ImportEndpoint is an HTTP endpoint of the workflow.
type ImportEndpoint struct {
	Path     string `json:"path"`
	Methods  string `json:"methods"`
	Activity string `json:"activity"`
	Security string `json:"security"`
}

// An ImportRoad is the way that tokens take.
type ImportRoad struct {
	Kind string `json:"kind"` // native | as written | mixed | none
	Why  string `json:"why,omitempty"`
	Do   string `json:"do,omitempty"`
}

// An ImportFinding is one thing that its owner should know.
type ImportFinding struct {
	Severity string `json:"severity"` // info | warning | error
	Code     string `json:"code"`
	Activity string `json:"activity,omitempty"`
	ID       string `json:"activity_id,omitempty"`
	Type     string `json:"type,omitempty"`
	Property string `json:"property,omitempty"`
	Path     string `json:"path,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	What     string `json:"what"`
	Why      string `json:"why,omitempty"`
	Do       string `json:"do,omitempty"`
}

// Import brings foreign files. Findings are no error; that nothing could be
// imported is a *Problem.
func (c *Client) Import(ctx context.Context, in Import) (*ImportResult, error) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	field := func(name, value string) error { return m.WriteField(name, value) }
	var err error
	if in.As != "" {
		err = field("as", in.As)
	}
	if err == nil && in.Publish {
		err = field("publish", "true")
	}
	for name, v := range in.Set {
		if err == nil {
			err = field("set", name+"="+string(v))
		}
	}
	for name, v := range in.MapInput {
		if err == nil {
			err = field("map_input", name+"="+v)
		}
	}
	for _, f := range in.Files {
		if err != nil {
			break
		}
		w, werr := m.CreateFormFile("file", f.Name)
		if err = werr; err == nil {
			_, err = w.Write(f.Data)
		}
	}
	if err == nil {
		err = m.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	res, err := c.Send(ctx, http.MethodPost, "/api/v1/import", m.FormDataContentType(), &b)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out ImportResult
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("POST /api/v1/import: the answer does not read: %w", err)
	}
	return &out, nil
}

// A RunRequest starts a workflow.
type RunRequest struct {
	Name        string
	Input       json.RawMessage // nil: none
	Correlation string          // what the run can be found by; "": the server chooses
}

// A RunResult is how a run ended, or that it goes on by itself. Its output is
// not masked.
type RunResult struct {
	RunID    string          `json:"run_id"`
	Status   string          `json:"status"`
	Outcomes []string        `json:"outcomes"`
	Output   json.RawMessage `json:"output"`
	Fault    *RunFault       `json:"fault,omitempty"`
}

// RunWorkflow runs a workflow and waits for its end or its first pause.
func (c *Client) RunWorkflow(ctx context.Context, r RunRequest) (*RunResult, error) {
	path := workflowPath(r.Name) + "/run"
	if r.Correlation != "" {
		path += "?correlation_id=" + url.QueryEscape(r.Correlation)
	}
	res, err := c.Send(ctx, http.MethodPost, path, "application/json", bytes.NewReader(r.Input))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out RunResult
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("POST %s: the answer does not read: %w", path, err)
	}
	return &out, nil
}
