package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/refresh"
)

// ErrResting is wrapped by what Connection.Rejected returns while forced refresh
// rests, because the API refuses tokens however fresh they are. The API's own
// answer then goes to the caller.
var ErrResting = refresh.ErrResting

// A Refusal says why a call was not made.
type Refusal string

// The refusals. They are also the names of the problems that HTTP callers see.
const (
	NoAPI         Refusal = "no-api"                  // the connection has no API: it only hands out tokens
	BadTarget     Refusal = "bad-target"              // the path or URL cannot be sent as it is
	PathRefused   Refusal = "path-not-allowed"        // not among the connection's paths
	MethodRefused Refusal = "method-not-allowed"      // not among the connection's methods
	HostRefused   Refusal = "destination-not-allowed" // the grant is not for that host
	NoWebSocket   Refusal = "websocket-not-enabled"
	Misconfigured Refusal = "misconfigured" // the definition cannot be carried out
)

// A RefusedError is a call that was not made: nothing left this process.
type RefusedError struct {
	Refusal    Refusal
	Connection string
	Detail     string   // in words; holds no secret
	Methods    []string // with MethodRefused: those that are allowed
}

// Error names the connection and what is wrong.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("call as %s: %s", e.Connection, e.Detail)
}

// An UnreachableError is a call whose answer did not come. The API may have
// carried it out.
type UnreachableError struct {
	Connection string
	Err        error
}

// Error names the connection and the cause, which may name addresses: it is for
// logs.
func (e *UnreachableError) Error() string { return fmt.Sprintf("call as %s: %v", e.Connection, e.Err) }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Timeout reports whether time ran out rather than the network failing.
func (e *UnreachableError) Timeout() bool {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return true
	}
	n, ok := errors.AsType[net.Error](e.Err)
	return ok && n.Timeout()
}

// Cause says in one word what went wrong, without addresses: denied, timeout,
// dns, refused, closed, tls or network.
func (e *UnreachableError) Cause() string {
	err := e.Err
	switch {
	case errors.Is(err, dial.ErrDenied):
		return "denied"
	case e.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "dns"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "tls"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "tls"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "tls"
	}
	return "network"
}

// A BodyError is a request body that broke off or was malformed on the caller's
// side. The API saw a cut request at most.
type BodyError struct{ Err error }

// Error says so.
func (e *BodyError) Error() string { return fmt.Sprintf("read the request body: %v", e.Err) }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }
