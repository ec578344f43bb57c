package workflow

import (
	"fmt"
	"strings"
)

// A Severity says what a finding stops.
type Severity string

// The severities.
const (
	// Info is worth knowing.
	Info Severity = "info"
	// Warning is something that will not do what it looks like.
	Warning Severity = "warning"
	// Error keeps a version from being published; it is imported all the same.
	Error Severity = "error"
)

// A Finding is one thing about a definition that its owner should know: what,
// where, why, and what to do. It holds no value of a secret.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // what kind of finding, for programs: duplicate-id

	Activity string `json:"activity,omitempty"` // what people call it
	ID       string `json:"activity_id,omitempty"`
	Type     string `json:"type,omitempty"`
	Property string `json:"property,omitempty"`
	Place

	What string `json:"what"`          // what is so
	Why  string `json:"why,omitempty"` // what comes of it
	Do   string `json:"do,omitempty"`  // what to do about it
}

// On says which activity the finding is about.
func (f Finding) On(a *Activity) Finding {
	f.Activity, f.ID, f.Type = a.Label(), a.ID, a.Type
	if f.Line == 0 {
		f.Place = a.At
	}
	return f
}

// OnProperty says which property of an activity the finding is about.
func (f Finding) OnProperty(a *Activity, p *Property) Finding {
	f.Property = p.Name
	if f.Line == 0 {
		f.Place = p.At
	}
	return f.On(a)
}

// Sentence is the finding on one line, with what to do.
func (f Finding) Sentence() string {
	if f.Do == "" {
		return f.String()
	}
	return f.String() + "; " + f.Do
}

// String returns "LINE:COLUMN: ACTIVITY (TYPE).PROPERTY: WHAT: WHY".
func (f Finding) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", f.Line, f.Column)
	}
	if f.Type != "" || f.Activity != "" {
		fmt.Fprintf(&b, "%q", f.Activity)
		if f.Type != "" && f.Type != f.Activity {
			fmt.Fprintf(&b, " (%s)", f.Type)
		}
		if f.Property != "" {
			b.WriteString(", property " + f.Property)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.What)
	if f.Why != "" {
		b.WriteString(": " + f.Why)
	}
	return b.String()
}
