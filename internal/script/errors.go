package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Limit is something that a script may not have more of.
type Limit string

// The limits.
const (
	LimitTime    Limit = "time"
	LimitMemory  Limit = "memory"
	LimitStack   Limit = "stack"
	LimitSource  Limit = "source"
	LimitInput   Limit = "input"
	LimitOutput  Limit = "output"
	LimitLength  Limit = "length"
	LimitPromise Limit = "promise"
)

// A LimitError ends an evaluation that went beyond a limit.
type LimitError struct {
	Limit   Limit
	Allowed string // for people: 250ms, 32 MiB; of LimitLength what was too long
}

// Error names the limit and what to do.
func (e *LimitError) Error() string {
	switch e.Limit {
	case LimitTime:
		return "the script ran longer than its limit of " + e.Allowed + "; look for a loop that does not end"
	case LimitMemory:
		return "the script took more than its limit of " + e.Allowed + " of memory; work on less at a time"
	case LimitStack:
		return "the script's calls or data nest deeper than its stack limit; look for a function that calls itself without end"
	case LimitSource:
		return "the script's text is over its limit of " + e.Allowed + "; split it"
	case LimitInput:
		return "a value that the script reads is over its limit of " + e.Allowed + " as JSON; hand it less"
	case LimitOutput:
		return "a value that the script returns or sets is over its limit of " + e.Allowed + " as JSON; return less"
	case LimitLength:
		return "the script works on " + e.Allowed + ", which is more than it may; work on less at a time"
	}
	return "the script waits for a promise that nothing here fulfils"
}

func tooMuch(l Limit, bytes int) *LimitError { return &LimitError{Limit: l, Allowed: size(bytes)} }

func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// An Error is what a script threw, or why it does not compile.
type Error struct {
	Name    string // TypeError; "" for a thrown value that is no error
	Message string
	Line    int // in the script, from 1; 0: not known
	Column  int

	cause error
}

// Error returns "NAME: MESSAGE (line LINE)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Name != "" {
		b.WriteString(e.Name + ": ")
	}
	b.WriteString(e.Message)
	if e.Line > 0 {
		fmt.Fprintf(&b, " (line %d)", e.Line)
	}
	return b.String()
}

// Unwrap returns the error of the host function that was thrown, if any.
func (e *Error) Unwrap() error { return e.cause }

// frame finds where in the script a stack begins. Frames of the kernel are of
// another file.
var frame = regexp.MustCompile(`<input>:(\d+):(\d+)`)

// fault is the error for what the kernel caught.
func (m *machine) fault(p *Program, text string) error {
	var f [3]string
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return m.broken(err)
	}
	e := &Error{Name: f[0], Message: f[1]}
	if e.Name == "" && e.Message == "null" && !slices.Contains(p.words, "throw") {
		return tooMuch(LimitMemory, m.engine.options.Memory) // too little was left for an error
	}
	if l := m.limitOf(e); l != nil {
		return l
	}
	if at := frame.FindStringSubmatch(f[2]); at != nil {
		e.Line, _ = strconv.Atoi(at[1])
		e.Column, _ = strconv.Atoi(at[2])
		p.locate(e)
	}
	if m.cause != nil && strings.Contains(e.Message, m.cause.Error()) {
		var l *LimitError
		if errors.As(m.cause, &l) {
			return l
		}
		// What a host function says needs no name of a JavaScript class.
		e.cause = m.cause
		e.Name = ""
	}
	return e
}

// limitOf recognises the engine's own errors for a limit.
func (m *machine) limitOf(e *Error) error {
	o := m.engine.options
	switch {
	case e.Name == "LimitError" && e.Message == "output":
		return tooMuch(LimitOutput, o.Output)
	case e.Name == "LimitError" && strings.HasPrefix(e.Message, "length: "):
		return &LimitError{Limit: LimitLength, Allowed: strings.TrimPrefix(e.Message, "length: ")}
	case e.Name == "LimitError" && e.Message == "promise":
		return &LimitError{Limit: LimitPromise}
	case e.Name == "InternalError" && e.Message == "out of memory":
		return tooMuch(LimitMemory, o.Memory)
	case (e.Name == "InternalError" || e.Name == "RangeError" || e.Name == "SyntaxError") && strings.Contains(e.Message, "stack overflow"),
		e.Name == "RangeError" && strings.Contains(e.Message, "call stack"):
		return &LimitError{Limit: LimitStack}
	}
	return nil
}

// broken is the error when the kernel itself could not go on.
func (m *machine) broken(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "out of memory"), text == "", text == "null":
		// There was no memory left for the error itself.
		return tooMuch(LimitMemory, m.engine.options.Memory)
	case strings.Contains(text, "stack"):
		return &LimitError{Limit: LimitStack}
	}
	return fmt.Errorf("script machine: %w", err)
}
