package problem

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// ClientGone is the status with which a request is recorded whose client left
// before the answer. It is never sent.
const ClientGone = 499

// FromError returns what a caller should be told of err, and the status. Errors
// that it does not know are internal: the caller learns nothing of them, their
// text is for the log.
func FromError(err error) (status int, p Problem) {
	p = lookup(err)
	if p.Cause == nil {
		p.Cause = err
	}
	return p.Status, p
}

func lookup(err error) Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return *p
	}
	if e, ok := errors.AsType[*freshet.StateError](err); ok {
		return state(e)
	}
	if e, ok := errors.AsType[*upstream.RefusedError](err); ok {
		return refused(e)
	}
	if e, ok := errors.AsType[*upstream.UnreachableError](err); ok {
		return unreachable(e)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Problem{Slug: "too-large", Title: "The request body is too large", Status: http.StatusRequestEntityTooLarge, Extra: map[string]any{"limit": e.Limit}}
	}
	if _, ok := errors.AsType[*upstream.BodyError](err); ok {
		return Problem{Slug: "bad-body", Title: "The request body cannot be read", Status: http.StatusBadRequest,
			Detail: "it broke off, or it is not framed as its headers say"}
	}
	switch {
	case errors.Is(err, store.ErrReadOnly):
		return Problem{Slug: "store-read-only", Title: "The store cannot be used just now", Status: http.StatusServiceUnavailable,
			Detail: "nothing was sent; look at the server's log", RetryAfter: defaultRetry}
	case errors.Is(err, freshet.ErrNotFound):
		return Problem{Slug: "not-found", Title: "There is nothing of that name", Status: http.StatusNotFound}
	case errors.Is(err, context.Canceled):
		return Problem{Slug: "client-gone", Title: "The client left before the answer", Status: ClientGone}
	case errors.Is(err, context.DeadlineExceeded):
		return Problem{Slug: "timeout", Title: "Time ran out", Status: http.StatusGatewayTimeout}
	}
	return Problem{Slug: "internal", Title: "Something went wrong inside the server", Status: http.StatusInternalServerError,
		Detail: "its log says what"}
}

// state is INTERFACE's table of what a connection without a live token answers.
func state(e *freshet.StateError) Problem {
	p := Problem{RetryAfter: e.RetryAfter, Detail: e.Error(), Extra: map[string]any{"connection": e.Name, "state": e.State}}
	if e.Reason != "" {
		p.Extra["reason"] = e.Reason
	}
	if h := e.Hint(); h != "" {
		p.Extra["hint"] = h
	}
	p.Slug = "connection-" + string(e.State)
	switch e.State {
	case freshet.StateReauth:
		p.Status, p.Title = http.StatusConflict, "A person has to authorize the connection again"
		p.Extra["connect"] = "/api/v1/connections/" + e.Name + "/connect"
	case freshet.StateMisconfigured:
		p.Status, p.Title = http.StatusFailedDependency, "The client, URL, key or clock is wrong; nothing is lost"
	case freshet.StateUncertain:
		p.Status, p.Title = http.StatusServiceUnavailable, "An answer of the provider may have been lost; it is being asked again"
	default:
		p.Status, p.Title = http.StatusServiceUnavailable, "The provider fails; it is being asked again, slowly"
	}
	if p.Status == http.StatusServiceUnavailable && p.RetryAfter <= 0 {
		p.RetryAfter = defaultRetry
	}
	return p
}

// defaultRetry is said where nobody knows better; the background looks again in
// about that time.
const defaultRetry = 5 * time.Second

func refused(e *upstream.RefusedError) Problem {
	p := Problem{Slug: string(e.Refusal), Detail: e.Detail, Extra: map[string]any{"connection": e.Connection}}
	switch e.Refusal {
	case upstream.NoAPI:
		p.Status, p.Title = http.StatusUnprocessableEntity, "The connection has no API to call"
	case upstream.BadTarget:
		p.Status, p.Title = http.StatusBadRequest, "The path cannot be sent as it is"
	case upstream.PathRefused:
		p.Status, p.Title = http.StatusForbidden, "The connection does not allow this path"
	case upstream.MethodRefused:
		p.Status, p.Title = http.StatusMethodNotAllowed, "The connection does not allow this method"
		p.Header = http.Header{"Allow": {strings.Join(e.Methods, ", ")}}
	case upstream.HostRefused:
		p.Status, p.Title = http.StatusForbidden, "The connection's token may not go there"
	case upstream.NoWebSocket:
		p.Status, p.Title = http.StatusForbidden, "The connection does not pass websockets"
	default:
		p.Status, p.Title = http.StatusFailedDependency, "The connection's definition cannot be carried out"
	}
	return p
}

func unreachable(e *upstream.UnreachableError) Problem {
	p := Problem{Slug: "upstream-unreachable", Title: "The API did not answer", Status: http.StatusBadGateway,
		Detail: "the request was sent once at most and is not repeated; the API may have carried it out",
		Extra:  map[string]any{"connection": e.Connection, "cause": e.Cause()}}
	switch e.Cause() {
	case "denied":
		p.Slug, p.Title, p.Detail = "target-denied", "The API's address is not one that this server may connect to", "operators: network.allow"
	case "timeout":
		p.Slug, p.Title, p.Status = "upstream-timeout", "The API did not answer in time", http.StatusGatewayTimeout
	case "dns":
		p.Detail = "the name of its host does not resolve"
	case "refused":
		p.Detail = "its host refuses the connection"
	case "tls":
		p.Detail = "its certificate is not trusted, or it does not speak TLS"
	}
	return p
}
