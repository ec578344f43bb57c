package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// A Caller makes requests as connections; *upstream.Transport is one.
type Caller interface {
	Do(ctx context.Context, conn upstream.Connection, c *upstream.Call) (*upstream.Result, error)
}

// Connections finds connections by name. Its error wraps freshet.ErrNotFound for
// a name that there is none of.
type Connections interface {
	Connection(ctx context.Context, name string) (upstream.Connection, error)
}

// Options are what the activities work with. What is nil is refused with a clear
// error when a workflow asks for it.
type Options struct {
	Transport   http.RoundTripper // guarded; dial.Guard.Transport(dial.Upstream)
	Caller      Caller
	Connections Connections

	Timeout time.Duration // of a whole request with its redirects; 0: 100 s, as the platform has it
	MaxBody int64         // of an answer, decoded; 0: 10 MiB

	// Admit is told before a request leaves as a connection, for the audit; an
	// error keeps it from leaving. nil: nothing is recorded.
	Admit func(ctx context.Context, e Entry) error
}

// An Entry is one use of a connection by a workflow.
type Entry struct {
	Run        string // "": not known
	Connection string
	Method     string // "": the token itself was read
	Path       string // without the query
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 100 * time.Second
	}
	if o.MaxBody == 0 {
		o.MaxBody = 10 << 20
	}
	return o
}

// An Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // nil if it was not wanted
	Host   string // who answered

	Refreshed bool     // the connection's token was refused and renewed
	Redirects int      // how many were followed
	Dropped   []string // headers that were not sent, being the transport's own
}

// An UnreachableError is a request whose answer did not come. Its text names
// host and cause, and nothing of path, query or headers.
type UnreachableError struct {
	Method string
	Host   string // host[:port], or the connection
	Cause  string // denied | timeout | dns | refused | closed | tls | network | too-large
	Err    error
}

var causes = map[string]string{
	"denied":    "the target is not one that this server may connect to (operators: network.allow)",
	"timeout":   "no answer in time",
	"dns":       "the name of the host does not resolve",
	"refused":   "the host refuses the connection",
	"closed":    "the connection was closed before the answer was complete",
	"tls":       "the certificate is not trusted, or the host does not speak TLS",
	"network":   "the network failed",
	"too-large": "the answer is larger than the limit",
}

// Error says who was asked and what happened.
func (e *UnreachableError) Error() string {
	what := causes[e.Cause]
	if e.Cause == "too-large" && e.Err != nil {
		what = e.Err.Error()
	}
	return fmt.Sprintf("%s %s: %s", e.Method, e.Host, what)
}

// Unwrap returns the cause, whose text is for the log alone.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Send makes one request. Errors are *FieldError for fields that cannot be used,
// *UnreachableError without an answer, *upstream.RefusedError and
// *freshet.StateError of a connection, and ctx's own.
func (o Options) Send(ctx context.Context, f Fields) (*Answer, error) {
	o = o.withDefaults()
	r, err := build(f)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	var a *Answer
	if f.Connection != "" {
		a, err = o.as(bounded, f.Run, f.Connection, r, f.Read)
	} else {
		a, err = o.plain(bounded, r, f.Read)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // the run was stopped, not the request
		}
		return nil, err
	}
	a.Dropped = r.dropped
	return a, nil
}

var errTimeout = fmt.Errorf("the request's time is up: %w", context.DeadlineExceeded)

// as sends r with a connection's token. Redirects are the workflow's to see: the
// token is for its own hosts.
func (o Options) as(ctx context.Context, run, name string, r *request, read bool) (*Answer, error) {
	if o.Caller == nil {
		return nil, &FieldError{"Connection", errNone}
	}
	conn, err := o.connection(ctx, name)
	if err != nil {
		return nil, err
	}
	path := withoutQuery(r.target)
	if o.Admit != nil {
		if err := o.Admit(ctx, Entry{Run: run, Connection: name, Method: r.method, Path: path}); err != nil {
			return nil, fmt.Errorf("connection %s: the use could not be put on record, so the request was not sent: %w", name, err)
		}
	}
	c := &upstream.Call{Method: r.method, Target: r.target, Header: r.header}
	if r.body != nil {
		c.Body, c.Length = bytes.NewReader(r.body), int64(len(r.body))
	}
	res, err := o.Caller.Do(ctx, conn, c)
	if err != nil {
		if u, ok := errors.AsType[*upstream.UnreachableError](err); ok {
			return nil, &UnreachableError{Method: r.method, Host: "as " + name, Cause: u.Cause(), Err: err}
		}
		if ctx.Err() != nil {
			return nil, &UnreachableError{Method: r.method, Host: "as " + name, Cause: "timeout", Err: context.Cause(ctx)}
		}
		return nil, err
	}
	defer res.Close()
	a := &Answer{Status: res.Response.StatusCode, Header: res.Response.Header, Host: "as " + name, Refreshed: res.Refreshed}
	return a, o.body(a, r.method, res.Response, read)
}

var errNone = errors.New("there are no connections here")

func (o Options) connection(ctx context.Context, name string) (upstream.Connection, error) {
	if o.Connections == nil {
		return nil, &FieldError{"Connection", errNone}
	}
	conn, err := o.Connections.Connection(ctx, name)
	if errors.Is(err, freshet.ErrNotFound) {
		return nil, &FieldError{"Connection", fmt.Errorf("there is no connection %q", name)}
	}
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", name, err)
	}
	return conn, nil
}

func withoutQuery(target string) string {
	for i := range len(target) {
		if target[i] == '?' {
			return target[:i]
		}
	}
	return target
}

// plain sends r with nothing but what the workflow gave it, and follows
// redirects.
func (o Options) plain(ctx context.Context, r *request, read bool) (*Answer, error) {
	if o.Transport == nil {
		return nil, errors.New("this server makes no outgoing requests")
	}
	for hops := 0; ; hops++ {
		resp, err := o.Transport.RoundTrip(r.message(ctx))
		if err != nil {
			return nil, unreachable(ctx, r.method, r.url, err)
		}
		if next := r.redirected(resp); next != nil && hops < maxRedirects {
			io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection serves again
			resp.Body.Close()
			r = next
			continue
		}
		defer resp.Body.Close()
		a := &Answer{Status: resp.StatusCode, Header: resp.Header, Host: r.url.Host, Redirects: hops}
		return a, o.body(a, r.method, resp, read)
	}
}

// message is r for net/http.
func (r *request) message(ctx context.Context) *http.Request {
	m := (&http.Request{Method: r.method, URL: r.url, Host: r.url.Host, Header: r.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if r.body != nil {
		m.Body, m.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
		m.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.body)), nil }
	}
	return m
}

func unreachable(ctx context.Context, method string, u *url.URL, err error) error {
	cause := (&upstream.UnreachableError{Err: err}).Cause()
	switch {
	case errors.Is(err, dial.ErrDenied):
	case ctx.Err() != nil:
		cause = "timeout"
	}
	return &UnreachableError{Method: method, Host: u.Host, Cause: cause, Err: err}
}
