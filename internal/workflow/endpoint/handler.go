package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Errors of a Runner.
var (
	// ErrSingleton says that the workflow runs once at a time and does.
	ErrSingleton = errors.New("endpoint: the workflow has a run that has not ended")
	// ErrGone says that the workflow is not published any more.
	ErrGone = errors.New("endpoint: the workflow is not published")
	// ErrNotWaiting says that a run does not wait for the request any more.
	ErrNotWaiting = errors.New("endpoint: the run does not wait for this")
	// ErrClosed says that no more runs are taken.
	ErrClosed = errors.New("endpoint: no more runs are taken")
)

// The statuses of runs that answers depend on.
const (
	statusFinished  = "finished"
	statusFaulted   = "faulted"
	statusCancelled = "cancelled"
)

// A Start is a request that begins a run at an endpoint.
type Start struct {
	Version       *workflow.Version
	Activity      string // id of the endpoint
	Input         *model.Object
	CorrelationID string // "": the run makes one
	HTTP          *activity.HTTPExchange
	Secrets       []string // masked in the run from its input on
}

// An End is how a run went, to its end or its first wait.
type End struct {
	RunID    string
	Status   string
	Outcomes []string
	Output   any
	Fault    string
}

// A Wait is a run that waits at an endpoint.
type Wait struct {
	ID    string // of the bookmark
	RunID string
}

// A Runner runs workflows. A run goes on when the context of its caller ends.
type Runner interface {
	// Run returns when the run has ended or waits.
	Run(ctx context.Context, s Start) (End, error)
	// Dispatch starts a run that nobody waits for.
	Dispatch(ctx context.Context, s Start) (runID string, err error)
	// Waiting lists runs that wait at endpoints with the key, those of the
	// correlation id if one is given, at most limit.
	Waiting(ctx context.Context, key, correlation string, limit int) ([]Wait, error)
	// Resume goes on with a run that waits.
	Resume(ctx context.Context, w Wait, input *model.Object, x *activity.HTTPExchange) (End, error)
}

// A Library lists the published versions of workflows; *library.Library is one.
type Library interface {
	// AllPublished returns those that could be read also with an error.
	AllPublished(ctx context.Context) ([]*workflow.Version, error)
}

// An Evaluator evaluates properties; *expr.Evaluator is one.
type Evaluator interface {
	Property(ctx context.Context, s expr.Scope, p *workflow.Property, f expr.Field) (any, error)
}

// Options are what a Handler is made of. The first four are required.
type Options struct {
	Library    Library
	Evaluator  Evaluator
	Runner     Runner
	Gate       Gate
	References References // nil: expected values refer to nothing

	BaseURL    *url.URL       // how people reach the server
	Values     *redact.Values // is told of the values that callers must send
	MaxBody    int64          // of a request that is read; 0: 10 MiB
	Concurrent int            // runs that callers wait for at once; 0: 1024
	Refused    func(workflow, why string)
	Log        *slog.Logger // nil: silence
}

// A Handler serves the endpoints of published workflows. It is safe for
// concurrent use.
type Handler struct {
	o       Options
	index   atomic.Pointer[index]
	refused atomic.Int64
	active  atomic.Int64

	building sync.Mutex // one Rebuild at a time, so that the last one wins
}

// New returns a Handler without routes; see Rebuild.
func New(o Options) *Handler {
	if o.MaxBody == 0 {
		o.MaxBody = maxBody
	}
	if o.Concurrent == 0 {
		o.Concurrent = 1024
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{o: o}
	h.index.Store(newIndex(nil))
	return h
}

// Refused counts requests that were not let in.
func (h *Handler) Refused() int64 { return h.refused.Load() }

// Rebuild makes the routes of what is published now. Requests see the old ones
// or the new ones. An endpoint that cannot be served is left out and logged.
func (h *Handler) Rebuild(ctx context.Context) error {
	h.building.Lock()
	defer h.building.Unlock()
	versions, wrong := h.o.Library.AllPublished(ctx)
	if wrong != nil && len(versions) == 0 {
		return fmt.Errorf("routes of workflows: %w", wrong) // the old ones stay
	}
	var all []*Endpoint
	for _, v := range versions {
		ends, findings := h.read(ctx, v)
		for _, f := range findings {
			if f.Severity == workflow.Error {
				h.o.Log.Warn("endpoint not served", "workflow", v.Name, "finding", f.String())
			}
		}
		all = append(all, ends...)
	}
	for i, e := range all {
		if o := collides(e, all[:i]); o != nil {
			h.o.Log.Error("two workflows answer the same requests; those will be refused", "one", o.label(), "other", e.label())
		}
	}
	h.index.Store(newIndex(all))
	if wrong != nil {
		return fmt.Errorf("routes of workflows: %w", wrong)
	}
	return nil
}

// Endpoints lists what is served.
func (h *Handler) Endpoints() []*Endpoint { return slices.Clone(h.index.Load().all) }

// Check says what is wrong with the endpoints of a version that is about to be
// published: paths that cannot be served, that are the server's own, or that
// another published workflow has (severity Error), and security that will not
// do what it looks like.
func (h *Handler) Check(ctx context.Context, v *workflow.Version) []workflow.Finding {
	ends, findings := h.read(ctx, v)
	others := slices.DeleteFunc(h.Endpoints(), func(e *Endpoint) bool { return e.Version.ID == v.ID })
	for i, e := range ends {
		o := collides(e, others)
		if o == nil {
			o = collides(e, ends[:i])
		}
		if o == nil {
			continue
		}
		f := workflow.Finding{Severity: workflow.Error, Code: "endpoint-taken", What: fmt.Sprintf("%s is taken by workflow %s, activity %q", e.Path, o.Version.Name, o.Activity.Label()),
			Why: "a request would begin runs of both", Do: "change the path or the methods, or unpublish the other one"}
		if p := e.Activity.Property("Path"); p != nil {
			f = f.OnProperty(e.Activity, p)
		} else {
			f = f.On(e.Activity)
		}
		findings = append(findings, f)
	}
	for _, e := range ends {
		if d, err := h.declared(ctx, e); err == nil && !d.Any() && !v.Public {
			findings = append(findings, workflow.Finding{Severity: workflow.Info, Code: "endpoint-key", What: fmt.Sprintf("%s declares no security", e.Path),
				Why: "callers need an API key with run:" + v.Name, Do: "make one with freshet keys create NAME --scope run:" + v.Name + ", or publish the workflow as public"}.On(e.Activity))
		}
	}
	return findings
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serveOr(w, r, http.HandlerFunc(nothing))
}

func nothing(w http.ResponseWriter, _ *http.Request) {
	problem.Write(w, http.StatusNotFound, "not-found", "There is nothing here", "", nil)
}

// Front is a handler for a site: what no workflow serves goes to next.
func (h *Handler) Front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serveOr(w, r, next) })
}

func (h *Handler) serveOr(w http.ResponseWriter, r *http.Request, next http.Handler) {
	segs, ok := split(r.URL.EscapedPath())
	if !ok {
		next.ServeHTTP(w, r)
		return
	}
	ends, allow := h.index.Load().find(segs, r.Method)
	switch {
	case len(allow) == 0:
		next.ServeHTTP(w, r)
	case len(ends) > 0:
		h.serve(w, r, ends)
	case r.Method == http.MethodOptions:
		// Which methods there are, and nothing for pages of other origins.
		allow = append(allow, http.MethodOptions)
		slices.Sort(allow)
		w.Header()["Allow"] = []string{join(allow)}
		w.WriteHeader(http.StatusNoContent)
	default:
		methodNotAllowed(r, allow).Write(w)
	}
}

func join(list []string) string {
	out := ""
	for i, s := range list {
		if i > 0 {
			out += ", "
		}
		out += s
	}
	return out
}

// serve lets the request in, and runs what it is for.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, ends []found) {
	var let []found
	var actor string
	var refusal *problem.Problem
	for _, e := range ends {
		who, p := h.admit(r, e.Endpoint)
		if p != nil {
			refusal = p
			continue
		}
		let, actor = append(let, e), who
	}
	if len(let) == 0 {
		refusal.Write(w)
		return
	}
	if h.active.Add(1) > int64(h.o.Concurrent) {
		h.active.Add(-1)
		p := problem.New(http.StatusServiceUnavailable, "too-many-runs", "Too many workflows run for callers at once", "")
		p.RetryAfter = 1e9
		p.Write(w)
		return
	}
	defer h.active.Add(-1)
	e, wait, p := h.choose(r, let)
	if p != nil {
		p.Write(w)
		return
	}
	read, err := h.bool(r.Context(), e.Endpoint, "ReadContent")
	if err != nil {
		h.o.Log.Warn("endpoint", "workflow", e.Version.Name, "path", e.Path, "error", err)
		problem.Write(w, http.StatusInternalServerError, "internal", "Something went wrong inside the server", "its log says what", nil)
		return
	}
	req, p := h.model(w, r, e, read)
	if p != nil {
		p.Write(w)
		return
	}
	h.run(w, r, e, wait, req, actor != "")
}

// choose decides between runs that wait for the request and a new one.
func (h *Handler) choose(r *http.Request, ends []found) (found, *Wait, *problem.Problem) {
	corr := correlation(r)
	var starts []found
	for _, e := range ends {
		if e.Starts {
			starts = append(starts, e)
		}
	}
	waiting := false
	if corr != "" || len(starts) == 0 {
		for _, e := range ends {
			if e.Starts {
				continue
			}
			waits, err := h.o.Runner.Waiting(r.Context(), e.Key(), corr, 2)
			switch {
			case err != nil:
				return found{}, nil, failed(err)
			case len(waits) > 1:
				p := problem.New(http.StatusConflict, "ambiguous", "Several runs wait for this request", "say which one with ?correlation= or X-Correlation-Id")
				return found{}, nil, p
			case len(waits) == 1:
				return e, &waits[0], nil
			}
			waiting = true
		}
	}
	switch {
	case len(starts) == 1:
		return starts[0], nil, nil
	case len(starts) > 1:
		return found{}, nil, problem.New(http.StatusInternalServerError, "ambiguous", "Several workflows answer this request", "unpublish all but one of them")
	case waiting:
		return found{}, nil, problem.New(http.StatusNotFound, "not-waiting", "No run waits for this request", "")
	}
	return found{}, nil, problem.New(http.StatusNotFound, "not-found", "There is nothing here", "")
}

// run starts a run or goes on with one, and answers. A caller who hangs up does
// not stop it, see Runner: it may have got a token that is yet to be stored.
func (h *Handler) run(w http.ResponseWriter, r *http.Request, e found, wait *Wait, req *model.Request, known bool) {
	ctx := r.Context()
	x := &activity.HTTPExchange{Request: req}
	input := req.Object()
	if wait != nil {
		end, err := h.o.Runner.Resume(ctx, *wait, input, x)
		if err != nil {
			h.unable(w, e, err)
			return
		}
		h.answer(w, e.Endpoint, x, end, known)
		return
	}
	s := Start{Version: e.Version, Activity: e.Activity.ID, Input: input, CorrelationID: correlation(r), HTTP: x, Secrets: secretsOf(req)}
	if dispatched(r) {
		s.HTTP = nil
		id, err := h.o.Runner.Dispatch(ctx, s)
		if err != nil {
			h.unable(w, e, err)
			return
		}
		accepted(w, id, "idle")
		return
	}
	end, err := h.o.Runner.Run(ctx, s)
	if err != nil {
		h.unable(w, e, err)
		return
	}
	h.answer(w, e.Endpoint, x, end, known)
}

// unable says that there was no run, or none any more.
func (h *Handler) unable(w http.ResponseWriter, e found, err error) {
	p := failed(err)
	if p.Status >= 500 {
		h.o.Log.Error("endpoint", "workflow", e.Version.Name, "path", e.Path, "error", err)
	}
	p.Write(w)
}
