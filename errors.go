package freshet

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotFound says that no connection, provider or other resource has the name.
var ErrNotFound = errors.New("not found")

// A StateError says that a connection has no live token to give, and why. The
// edges turn its State into a status: uncertain and attention 503,
// misconfigured 424, reauth 409.
type StateError struct {
	Name       string
	State      State
	Reason     Reason
	Detail     string        // in words; holds no secret
	RetryAfter time.Duration // when asking again may help; 0: no idea
}

// Error says what is wrong and what to do next.
func (e *StateError) Error() string {
	s := fmt.Sprintf("connection %s has no live token: %s", e.Name, e.State)
	if e.Reason != "" {
		s += fmt.Sprintf(" (%s)", e.Reason)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Hint says what a person can do about it.
func (e *StateError) Hint() string {
	switch e.State {
	case StateReauth:
		return "authorize it again: freshet connect " + e.Name
	case StateMisconfigured:
		return "correct the client, URL, key or clock, apply, and the connection goes on with what it holds"
	case StateUncertain:
		return "an answer may have been lost; the same refresh token is being tried again, ask again shortly"
	case StateAttention:
		return "the provider keeps failing; it is retried slowly, or now with: freshet refresh " + e.Name
	}
	return ""
}
