package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An ID names a run: 26 lower-case letters and digits that sort by the instant
// of the start.
type ID = string

// A Status says how far a run is.
type Status string

// The statuses.
const (
	Idle      Status = "idle"    // created, not begun
	Running   Status = "running" // by the process that owns it
	Suspended Status = "suspended"
	Finished  Status = "finished"
	Faulted   Status = "faulted"
	Cancelled Status = "cancelled"
)

// Ended reports whether nothing happens to the run any more by itself.
func (s Status) Ended() bool { return s == Finished || s == Faulted || s == Cancelled }

// A Kind says what it is that runs.
type Kind string

// The kinds.
const (
	Workflow  Kind = "workflow"
	Script    Kind = "script"
	Process   Kind = "process"
	Component Kind = "component"
)

// The roads that a token may take through a run.
const (
	RoadNative    = "native"     // connections keep it
	RoadAsWritten = "as written" // the definition asks for it, stores and sends it by itself
)

// A Start is what is known of a run when it begins. Texts are of any length;
// what is kept of them has limits, and says so where it was cut.
type Start struct {
	ID            ID // "": a new one
	Kind          Kind
	Name          string // of the definition
	Version       int
	CorrelationID string // "": 32 random hexadecimal digits
	Parent        ID     // the run that started it; "": none
	ParentStep    int    // the step of the parent that did, as Recorder.Step counts
	Trigger       string // http, api, cli, schedule:NAME, workflow, retry
	Input         any
	Road          string   // RoadNative, RoadAsWritten or ""
	Key           string   // at most one run has the key; "": none. Such as schedule and nominal time
	Secrets       []string // masked in this run from its very input on
}

// A Step is one thing that happened within a run. Zero members are left out.
type Step struct {
	Activity string // id in the definition
	Type     string // of the activity
	Name     string // of the activity
	At       time.Time
	Duration time.Duration
	Event    string // Executed, Faulted, Suspended, Resumed, …
	Outcomes []string
	Message  string
	Inputs   map[string]any
	Data     map[string]any
	Error    string
	Child    ID // the run that the step started
}

// A Fault says why a run broke off.
type Fault struct {
	Message  string `json:"message"`
	Activity string `json:"activity,omitempty"` // id in the definition
	Type     string `json:"type,omitempty"`     // of the activity
	Name     string `json:"name,omitempty"`     // of the activity
	Property string `json:"property,omitempty"`
	Cause    *Fault `json:"cause,omitempty"` // what was behind it, nil: nothing more is known
}

// An End is how a run ends.
type End struct {
	Status   Status // Finished, Faulted or Cancelled; "" is Finished, with a Fault Faulted
	Outcomes []string
	Output   any
	Fault    *Fault
	Warnings []string
}

// A Run is what the journal tells of one. Texts, input and output are masked
// and may be cut.
type Run struct {
	ID            ID
	Kind          Kind
	Name          string
	Version       int
	Status        Status
	CorrelationID string // as it is now
	Parent        ID
	ParentStep    int
	Trigger       string
	Road          string
	Key           string
	Owner         string // the process that ran it last
	Steps         int    // so far, those left out of the journal included
	StartedAt     time.Time
	UpdatedAt     time.Time
	EndedAt       time.Time       // zero: it has not ended
	Input         json.RawMessage // nil: none
	Output        json.RawMessage // nil: none
	Outcomes      []string
	Fault         *Fault
	Warnings      []string
}

// A Record is a step as the journal keeps it, masked.
type Record struct {
	Number   int             `json:"number"` // from 1 on; where numbers are missing, steps were left out
	At       time.Time       `json:"at"`
	Event    string          `json:"event,omitempty"`
	Activity string          `json:"activity,omitempty"`
	Type     string          `json:"type,omitempty"`
	Name     string          `json:"name,omitempty"`
	Duration time.Duration   `json:"-"`
	Outcomes []string        `json:"outcomes,omitempty"`
	Message  string          `json:"message,omitempty"`
	Inputs   json.RawMessage `json:"inputs,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Error    string          `json:"error,omitempty"`
	Child    ID              `json:"child,omitempty"`
}

// A Filter narrows a list of runs; empty members do not.
type Filter struct {
	Name        string
	Kind        Kind
	Status      Status
	Trigger     string
	Correlation string // any id that the run ever had; with a * at its end: that begins so
	Parent      ID
	Since       time.Time // started at or after
	Until       time.Time // started before
}

// The types of events.
const (
	EventStarted   = "run.started"
	EventSuspended = "run.suspended"
	EventResumed   = "run.resumed"
	EventFinished  = "run.finished"
	EventFaulted   = "run.faulted"
	EventCancelled = "run.cancelled"
)

// An Event tells that a run has changed its status, once that is durable. It is
// masked.
type Event struct {
	Type    string
	At      time.Time
	Run     ID
	Kind    Kind
	Name    string
	Status  Status
	Parent  ID
	Message string // of the fault
}

var (
	// ErrNotFound says that there is no such run, or none any more.
	ErrNotFound = errors.New("run: no such run")
	// ErrDuplicate says that a run with the key exists; a *DuplicateError names it.
	ErrDuplicate = errors.New("run: a run with this key exists")
	// ErrTaken says that the run is not this process's to write: somebody else
	// runs it, or it has ended.
	ErrTaken = errors.New("run: somebody else runs it, or it has ended")
	// ErrClosed says that the journal takes no more runs.
	ErrClosed = errors.New("run: the journal is closed")
)

// A DuplicateError names the run that has the key.
type DuplicateError struct {
	Key string
	Run ID
}

// Error names both.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("run %s has the key %s already", e.Run, e.Key)
}

// Is makes it an ErrDuplicate.
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }
