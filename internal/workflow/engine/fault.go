package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// plainKey is a lock's key that is no script.
var plainKey = regexp.MustCompile(`^[A-Za-z][\w./:-]*$`)

// A propertyError is a field that could not be evaluated.
type propertyError struct {
	typ, name string
	err       error
}

func (e *propertyError) Error() string {
	return fmt.Sprintf("setting %s.%s failed: %v", e.typ, e.name, e.err)
}
func (e *propertyError) Unwrap() error { return e.err }

// A setupError is what failed before the first activity.
type setupError struct {
	what string
	err  error
}

func (e *setupError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }
func (e *setupError) Unwrap() error { return e.err }

func unknownType(typ string, reg *activity.Registry) error {
	if like := reg.Like(typ); like != "" {
		return fmt.Errorf("the activity type %q is not known here; types are written with their case: did the author mean %q?", typ, like)
	}
	return fmt.Errorf("the activity type %q is not known here: replace the activity, or take it out of the flow", typ)
}

// broke ends the burst at an error: as cancelled if that is why, by
// compensation if there is any, else as faulted, with what failed on the stack.
func (x *exec) broke(ctx context.Context, err error, en *entry) {
	if en != nil {
		x.st.push(*en)
	}
	cause := context.Cause(ctx)
	switch {
	case ctx.Err() == nil:
	case errors.Is(cause, errCancelled):
		x.cancelled("cancelled")
		return
	case errors.Is(cause, errTime):
		err = timeExceeded(x.e.o.Limits.Time)
	case errors.Is(cause, errShutdown):
		err = fmt.Errorf("interrupted: %w; retry the run", errShutdown)
	}
	var waiting *waitError
	if errors.As(err, &waiting) { // whoever started it is gone before it began
		x.cancelled(waiting.Error())
		return
	}
	fault := &run.Fault{Message: err.Error()}
	if en != nil {
		fault.Activity, fault.Type, fault.Name = en.node.a.ID, en.node.a.Type, en.node.a.Label()
	}
	var property *propertyError
	var setup *setupError
	var child *activity.ChildError
	switch {
	case errors.As(err, &property):
		fault.Property = property.name
		fault.Cause = chain(property.err)
	case errors.As(err, &setup):
		fault.Property = setup.what
		fault.Cause = chain(setup.err)
	case errors.As(err, &child):
		if child.Fault != "" {
			fault.Message = (&activity.ChildError{Run: child.Run, Name: child.Name, Status: child.Status}).Error()
			fault.Cause = &run.Fault{Message: child.Fault}
		}
	default:
		fault.Cause = chain(errors.Unwrap(err))
	}
	var limit *LimitError
	if en != nil && x.st.Failed == "" && !errors.As(err, &limit) && ctx.Err() == nil && x.compensate(en, fault.Message) {
		return
	}
	x.fault, x.status = fault, run.Faulted
}

func chain(err error) *run.Fault {
	var first, last *run.Fault
	for n := 0; err != nil && n < 8; n++ {
		f := &run.Fault{Message: err.Error()}
		if last == nil {
			first = f
		} else if f.Message != last.Message {
			last.Cause = f
		}
		if last == nil || last.Cause != nil {
			last = f
		}
		err = errors.Unwrap(err)
	}
	return first
}

func (x *exec) cancelled(why string) {
	x.st.Stack, x.st.Scopes, x.st.Waits = nil, nil, nil
	x.status, x.fault = run.Cancelled, &run.Fault{Message: why}
}

// compensate goes on with what undoes the Compensables upstream of a failure,
// the last one entered first, and reports whether there are any.
func (x *exec) compensate(en *entry, message string) bool {
	up := en.node.upstream()
	found := false
	for i := range x.st.Undo {
		u := &x.st.Undo[i]
		if !up[u.node] || u.at != activity.Entered && u.at != activity.Completed {
			continue
		}
		if !found {
			found = true
			x.st.Stack, x.st.Scopes, x.st.Waits = nil, nil, nil
		}
		outcome := "Compensate"
		if u.at == activity.Entered {
			outcome = "Cancel"
		}
		u.at = activity.Undone
		x.pushAll(u.node, []string{outcome}, 0)
	}
	if found {
		x.st.Failed = message
	}
	return found
}
