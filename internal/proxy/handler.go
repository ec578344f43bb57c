package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// A Caller is somebody who may make the call.
type Caller interface {
	Actor() string            // who it is, for limits, log and audit; the same for each of its calls
	Revoked() <-chan struct{} // closed when it may no longer; nil: never
}

// An Authorizer decides who may call what. Its error says what the caller is to
// be told; see problem.FromError.
type Authorizer interface {
	Authorize(r *http.Request, name string) (Caller, error)
}

// Connections finds connections by name. Its error wraps freshet.ErrNotFound
// for a name that there is none of.
type Connections interface {
	Connection(ctx context.Context, name string) (upstream.Connection, error)
}

// A Recorder is told of every request, for audit, log and metrics. It must not
// change the entry, and not keep it after returning.
type Recorder interface {
	// Admit is called once a caller may make its call and before anything of it
	// leaves. An error refuses the call: it could not be put on record.
	Admit(ctx context.Context, e *Entry) error
	// Done is called once for each request, whatever became of it.
	Done(e *Entry)
}

// An Entry is one request and what became of it. Admit sees the first part.
type Entry struct {
	Start      time.Time
	Actor      string // empty: not a caller of ours
	Connection string
	Method     string
	Path       string // below the base URL, without the query, which may hold secrets
	Remote     string

	Took          time.Duration
	Status        int    // what the caller was answered; problem.ClientGone if it was gone
	Problem       string // slug of the problem that we answered with; empty: the API's own answer
	Err           error  // its cause
	Generation    int64  // of the token that was answered to; 0: none was sent
	Rejected      int    // the status with which the API refused the first token; 0: it did not
	Refreshed     bool
	NotReplayable bool
	Resting       bool // refused, and forced refresh rests
	Echoed        bool // the answer held the credential
	WebSocket     bool
	Truncated     bool // the answer broke off
	Cut           error
	In, Out       int64 // bytes of bodies
}

// Options are what a Handler is made of. The first three are required.
type Options struct {
	Upstream    *upstream.Transport
	Authorizer  Authorizer
	Connections Connections
	Recorder    Recorder // nil: nothing is recorded

	Origins    []string      // of web pages that may open websockets besides this server's own, as https://app.example
	PerCaller  int           // calls under way for one caller; 0: 4096
	SlowReader time.Duration // how long a caller may take no byte of an answer; 0: 60 s
	Idle       time.Duration // how long an API may be silent within an answer; 0: for ever
}

// A Handler serves /proxy/NAME/path…. It is safe for concurrent use.
type Handler struct {
	o     Options
	watch time.Duration // how old a request is when its caller's key is watched

	mu     sync.Mutex
	active map[string]int // calls under way by actor

	closing   chan struct{} // closed when streams and tunnels must end
	closeOnce sync.Once
	draining  bool // no new tunnels; guarded by mu
	tunnels   sync.WaitGroup
}

// New returns a Handler.
func New(o Options) *Handler {
	if o.PerCaller == 0 {
		o.PerCaller = 4096
	}
	if o.SlowReader == 0 {
		o.SlowReader = time.Minute
	}
	return &Handler{o: o, watch: 2 * time.Second, active: map[string]int{}, closing: make(chan struct{})}
}

// Shutdown lets websockets and long answers go on until ctx ends, then ends
// them, and returns when the last websocket is closed. Servers do not count
// websockets among their connections any more, so Server.Shutdown does not wait
// for them; call both.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		h.tunnels.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		h.closeOnce.Do(func() { close(h.closing) })
		return nil
	case <-ctx.Done():
		h.closeOnce.Do(func() { close(h.closing) })
		<-gone
		return ctx.Err()
	}
}

// Causes of a cut answer.
var (
	errRevoked = errors.New("the caller's key is no longer good")
	errClosing = errors.New("the server is shutting down")
	errSilent  = errors.New("the API was silent for too long")
)

// An exchange is one request on its way.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	ctx    context.Context
	cancel context.CancelCauseFunc
	caller Caller
	target string
	body   counter
	cut    atomic.Pointer[error] // why the caller gets no more bytes
	entry  Entry

	interim   sync.Mutex // held while an interim answer is written
	answering bool       // there will be no more of those
}

// ServeHTTP makes one call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, w: w, rc: http.NewResponseController(w), r: r}
	x.entry = Entry{Start: time.Now(), Method: r.Method, Remote: r.RemoteAddr}
	if h.o.Recorder != nil {
		defer x.record() // also when the answer ends in a panic
	}
	if p := x.serve(); p != nil {
		x.refuse(p)
	}
}

func (x *exchange) record() {
	x.entry.Took = time.Since(x.entry.Start)
	x.entry.In = x.body.n.Load()
	x.h.o.Recorder.Done(&x.entry)
}

// refuse answers with a problem. Nothing has been answered before.
func (x *exchange) refuse(p *problem.Problem) {
	x.entry.Problem, x.entry.Err, x.entry.Status = p.Slug, p.Cause, p.Status
	if p.Status == problem.ClientGone {
		// Nobody reads it. The connection may still be there if the client has
		// only half closed it; it is of no more use.
		panic(http.ErrAbortHandler)
	}
	x.rc.SetWriteDeadline(time.Now().Add(goodbye))
	p.Write(x.w)
}

// problemOf is problem.FromError, with the reasons for which we end calls.
func (x *exchange) problemOf(err error) *problem.Problem {
	cause := x.cause()
	if cause == nil {
		cause = err
	}
	switch cause {
	case errRevoked:
		return problem.New(http.StatusUnauthorized, "key-revoked", "The API key is no longer good", "")
	case errClosing:
		return &problem.Problem{Status: http.StatusServiceUnavailable, Slug: "shutting-down", Title: "The server is shutting down", RetryAfter: time.Second}
	}
	if x.body.ambiguous.Load() {
		// net/http takes any failed read for a client that left.
		err = &upstream.BodyError{Err: errAmbiguous}
	}
	_, p := problem.FromError(err)
	return &p
}

func (x *exchange) serve() *problem.Problem {
	if p := misdirected(x.r); p != nil {
		return p
	}
	name, target, ok := split(x.r.RequestURI)
	if !ok {
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", "call /proxy/NAME/path")
	}
	if len(x.r.Header["Content-Length"]) > 1 {
		// HTTP/2 lets them through; the body's own framing is what counts there.
		return problem.New(http.StatusBadRequest, "bad-body", "The request body cannot be read", "more than one Content-Length")
	}
	x.target, x.entry.Connection = target, name
	x.entry.Path, _, _ = strings.Cut(target, "?")
	x.ctx, x.cancel = context.WithCancelCause(x.r.Context())
	defer x.cancel(nil)

	caller, err := x.h.o.Authorizer.Authorize(x.r, name)
	if err != nil {
		return x.problemOf(err)
	}
	x.caller, x.entry.Actor = caller, caller.Actor()
	if !x.h.enter(x.entry.Actor) {
		return &problem.Problem{Status: http.StatusTooManyRequests, Slug: "too-many-calls", Title: "Too many calls of this key are under way",
			RetryAfter: time.Second, Extra: map[string]any{"limit": x.h.o.PerCaller}}
	}
	defer x.h.leave(x.entry.Actor)

	upgrade, p := x.upgrade()
	if p != nil {
		return p
	}
	conn, err := x.h.o.Connections.Connection(x.ctx, name)
	if err != nil {
		return x.problemOf(err)
	}
	if x.h.o.Recorder != nil {
		if err := x.h.o.Recorder.Admit(x.ctx, &x.entry); err != nil {
			return &problem.Problem{Status: http.StatusServiceUnavailable, Slug: "unrecorded", Title: "The call could not be put on record, so it was not made",
				RetryAfter: time.Second, Cause: err}
		}
	}

	// Short requests end before anybody has to watch them.
	timer := time.AfterFunc(x.h.watch, x.watch)
	defer timer.Stop()

	res, err := x.h.o.Upstream.Do(x.traced(), conn, x.call(upgrade))
	x.interim.Lock()
	x.answering = true
	x.interim.Unlock()
	if err != nil {
		return x.problemOf(err)
	}
	defer res.Close()
	x.note(res)
	if res.Response.StatusCode == http.StatusSwitchingProtocols {
		return x.tunnel(res)
	}
	x.answer(res)
	return nil
}

// call is the request as package upstream wants it.
func (x *exchange) call(websocket bool) *upstream.Call {
	c := &upstream.Call{Method: x.r.Method, Target: x.target, Header: x.r.Header, WebSocket: websocket}
	if x.r.Body != nil && x.r.Body != http.NoBody && x.r.ContentLength != 0 {
		x.body.r = x.r.Body
		c.Body, c.Length, c.Trailer = &x.body, x.r.ContentLength, x.r.Trailer
	}
	return c
}

// note keeps what Do found out.
func (x *exchange) note(res *upstream.Result) {
	e := &x.entry
	e.Generation, e.Rejected = res.Generation, res.Rejected
	e.Refreshed, e.NotReplayable, e.Resting = res.Refreshed, res.NotReplayable, res.Resting
}

// watch runs beside a request that takes long, until it ends.
func (x *exchange) watch() {
	select {
	case <-x.caller.Revoked():
		x.end(errRevoked)
	case <-x.h.closing:
		x.end(errClosing)
	case <-x.ctx.Done():
	}
}

// end ends the call, and the answer too if the caller does not read it.
func (x *exchange) end(cause error) {
	x.cut.Store(&cause)
	x.rc.SetWriteDeadline(time.Now())
	x.cancel(cause) // last: a refusal that follows sets a deadline of its own
}

// cause returns why the call ended if it was not by itself.
func (x *exchange) cause() error {
	if c := x.cut.Load(); c != nil {
		return *c
	}
	return context.Cause(x.ctx)
}

// deadline gives the caller time for the next bytes of the answer.
func (x *exchange) deadline() {
	x.rc.SetWriteDeadline(time.Now().Add(x.h.o.SlowReader))
	if x.cut.Load() != nil {
		x.rc.SetWriteDeadline(time.Now())
	}
}

// enter counts a call of actor, unless it has too many under way.
func (h *Handler) enter(actor string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active[actor] >= h.o.PerCaller {
		return false
	}
	h.active[actor]++
	return true
}

func (h *Handler) leave(actor string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.active[actor]--; h.active[actor] == 0 {
		delete(h.active, actor)
	}
}

// A counter counts the bytes of a request's body. The call reads it from another
// goroutine.
type counter struct {
	r     io.Reader // nil: there is no body
	n     atomic.Int64
	ended atomic.Bool

	ambiguous atomic.Bool // it ended because Strict ended it
}

// Read counts what the body gives.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != nil {
		c.ended.Store(true)
		if errors.Is(err, errAmbiguous) {
			c.ambiguous.Store(true)
		}
	}
	return n, err
}
