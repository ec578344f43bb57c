package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/component"
	"github.com/freshet-dev/freshet/internal/doctor"
	"github.com/freshet-dev/freshet/internal/flow"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/web"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

// Options are what an API is made of. All but the last group are required.
type Options struct {
	Store    *store.Store
	Vault    *vault.Vault
	Source   *refresh.Source
	Upstream *upstream.Transport
	Book     *resource.Book
	Gate     *Gate
	Flows    *flow.Flows
	BaseURL  string // without a slash at its end

	Journal *run.Journal // nil: there are no runs
	Runs    Runs         // nil: runs can be looked at and nothing else

	Schedules *schedule.Poller // nil: schedules can be declared and nothing else
	Tables    *table.Tables    // nil: tables can be declared and nothing else

	Apps       *app.Apps          // nil: apps can be declared and nothing else
	Components *component.Worker  // nil: components can be declared and nothing else
	Processes  *process.Processes // nil: there are no processes

	Library *library.Library // nil: there are no workflows
	Checker Checker          // nil: reports of imports say little
	Engine  Engine           // nil: workflows can be kept and nothing else

	Backup  func(ctx context.Context, w io.Writer) error     // writes a consistent copy of the store; nil: there is no such endpoint
	Doctor  func(ctx context.Context) (doctor.Report, error) // nil: there is no such endpoint
	Resume  func(ctx context.Context) error                  // confirms a restored backup; nil: lets the background go on
	Values  *redact.Values                                   // is told of secrets that are handed out
	Version string
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: silence
}

// An API answers under /api/, /callback/, /healthz and /readyz. It is safe for
// concurrent use.
type API struct {
	o    Options
	gate *Gate
	log  *slog.Logger
	mux  *http.ServeMux
	huma huma.API

	tokens  rendered
	forced  forced
	hub     *hub
	runs    runFeed
	ready   atomic.Bool
	probe   probe
	reading atomic.Int64 // token reads that wait for a refresh

	openapi func() []byte
	page    func() []byte

	closing   chan struct{} // closed when streams must end
	closeOnce sync.Once
}

// New returns an API. It answers /readyz with 503 until Ready is called.
func New(o Options) (*API, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	humaErrors()
	a := &API{o: o, gate: o.Gate, log: o.Log, mux: http.NewServeMux(), closing: make(chan struct{})}
	a.hub = newHub(o.Store, o.Log)
	a.huma = humago.New(a.mux, a.document())
	a.tokenEndpoints()
	a.connectionEndpoints()
	a.connectEndpoints()
	a.importEndpoint()
	a.eventEndpoints()
	a.applyEndpoints()
	a.keyEndpoints()
	a.auditEndpoints()
	a.operateEndpoints()
	a.probeEndpoints()
	a.callbackEndpoints()
	a.runEndpoints()
	a.tableEndpoints()
	a.workflowEndpoints()
	a.appEndpoints()
	a.componentEndpoints()
	a.scheduleEndpoints()
	a.processEndpoints()
	a.laterEndpoints()
	if err := a.resourceEndpoints(); err != nil { // after the others, whose paths they end where
		return nil, err
	}
	a.docsEndpoints()
	return a, nil
}

// Ready says that the server's configuration is in force.
func (a *API) Ready() { a.ready.Store(true) }

// Observe tells of an event, after it is durable; refresh.Options.Observe may
// call it. It does not block.
func (a *API) Observe(refresh.Event) { a.hub.nudge() }

// Close ends streams and long polls, so that a server can shut down.
func (a *API) Close() {
	a.closeOnce.Do(func() { close(a.closing) })
	a.hub.close()
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.RawPath == "" {
		if name, ok := tokenOf(r.URL.Path); ok {
			a.readToken(w, r, name)
			return
		}
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferrer
	_, pattern := a.mux.Handler(r)
	if pattern == "" {
		a.nothing(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

var (
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
)

// nothing answers where no pattern is: 405 if another method has one, else 404.
// net/http would answer in text.
func (a *API) nothing(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		q := *r
		q.Method = m
		if _, pattern := a.mux.Handler(&q); pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) > 0 {
		p := problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "This address does not take the method", "it takes "+strings.Join(allow, ", "))
		p.Header = http.Header{"Allow": {strings.Join(allow, ", ")}}
		p.Write(w)
		return
	}
	problem.Write(w, http.StatusNotFound, "not-found", "There is nothing here", "the API is described at /api/docs", nil)
}

// fail answers with what err is to a caller, and logs what it is not.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problemOf(err)
	a.note(w, r, p)
	if p.Status == problem.ClientGone {
		panic(http.ErrAbortHandler) // nobody reads an answer
	}
	p.Write(w)
}

// note logs the cause of a failure that is the server's.
func (a *API) note(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if p.Status >= 500 && p.Status != http.StatusNotImplemented && p.Cause != nil {
		a.log.Warn("request failed", "id", w.Header().Get(web.HeaderRequestID), "method", r.Method, "path", r.URL.Path, "problem", p.Slug, "error", p.Cause)
	}
}

// A rule says who may make a request and what is put on record of it.
type rule struct {
	verb access.Verb
	name string // parameter of the path that the verb goes with; ""
	// action and subject of the audit row. An empty action is KeyUse with the
	// operation; an empty subject is the parameter {name} of the path.
	action  string
	subject func(r *http.Request) string
	own     bool // the endpoint writes its row itself, because it knows more
	// admit finds the caller in place of verb and name, which then are what the
	// documentation says.
	admit func(r *http.Request) (*access.Caller, error)
}

// A call is a request whose caller is known.
type call struct {
	caller *access.Caller
	w      http.ResponseWriter
	r      *http.Request
}

// A body is the whole of an answer.
type body[T any] struct{ Body T }

func answered[T any](v T, err error) (*body[T], error) { return &body[T]{v}, err }

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// enter admits a request and puts it on record.
func (a *API) enter(w http.ResponseWriter, r *http.Request, u rule) (*call, error) {
	admit := u.admit
	if admit == nil {
		admit = func(r *http.Request) (*access.Caller, error) {
			name := ""
			if u.name != "" {
				name = r.PathValue(u.name)
			}
			return a.gate.admit(r, u.verb, name)
		}
	}
	c, err := admit(r)
	if err != nil {
		return nil, err
	}
	if !u.own {
		action, subject := u.action, r.PathValue("name")
		if action == "" {
			action, subject = audit.KeyUse, r.Pattern
		}
		if u.subject != nil {
			subject = u.subject(r)
		}
		if err := a.gate.record(r.Context(), c, w, r, action, subject, ""); err != nil {
			return nil, err
		}
	}
	return &call{caller: c, w: w, r: r}, nil
}

// record writes the row of an endpoint that does so itself.
func (a *API) record(c *call, action, subject, detail string) error {
	return a.gate.record(c.r.Context(), c.caller, c.w, c.r, action, subject, detail)
}

// handle registers a plain handler, and describes it.
func (a *API) handle(op huma.Operation, u rule, fn func(w http.ResponseWriter, r *http.Request, c *call)) {
	a.describe(&op, u)
	a.huma.OpenAPI().AddOperation(&op)
	a.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		c, err := a.enter(w, r, u)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		fn(w, r, c)
	})
}

// register registers a typed endpoint.
func register[I, O any](a *API, op huma.Operation, u rule, fn func(ctx context.Context, c *call, in *I) (*O, error)) {
	a.describe(&op, u)
	enter := func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		c, err := a.enter(w, r, u)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		next(huma.WithValue(ctx, callKey{}, c))
	}
	op.Middlewares = append(huma.Middlewares{enter}, op.Middlewares...)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := fn(ctx, c, in)
		if err != nil {
			p := a.problemOf(err)
			a.note(c.w, c.r, p)
			if p.Status == problem.ClientGone {
				panic(http.ErrAbortHandler)
			}
			return nil, refusal{p}
		}
		return out, nil
	})
}
