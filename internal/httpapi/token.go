package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/refresh"
)

const connections = "/api/v1/connections/"

// tokenOf returns the connection whose token a path reads.
func tokenOf(path string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(path, connections)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(rest, "/token")
	return name, ok && name != "" && strings.IndexByte(name, '/') < 0
}

// maxWaiting bounds the token reads that wait for a refresh at once. Reads of
// fresh tokens wait for nothing and are not counted.
const maxWaiting = 50_000

var jsonType = []string{"application/json"}

// readToken is the hot path. It is no huma handler and passes no mux: it finds
// the key in memory, the token behind an atomic pointer and the answer rendered
// already.
func (a *API) readToken(w http.ResponseWriter, r *http.Request, name string) {
	v, err := a.tokenFor(w, r, name)
	if err != nil {
		p := a.problemOf(err)
		a.note(w, r, p)
		a.gate.metrics.Read(p.Status)
		if p.Status == problem.ClientGone {
			panic(http.ErrAbortHandler)
		}
		p.Write(w)
		return
	}
	writeToken(w, v)
	a.gate.metrics.Read(http.StatusOK)
}

func writeToken(w http.ResponseWriter, v *rendering) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = v.length
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	w.Write(v.body)
}

func (a *API) tokenFor(w http.ResponseWriter, r *http.Request, name string) (*rendering, error) {
	if err := noBrowser(r); err != nil {
		return nil, err
	}
	caller, err := a.gate.admit(r, access.Token, name)
	if err != nil {
		return nil, err
	}
	minTTL, err := minTTL(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	conn, err := a.o.Source.Connection(ctx, name)
	if err != nil {
		return nil, err
	}
	if n := a.reading.Add(1); n > maxWaiting {
		a.reading.Add(-1)
		return nil, &problem.Problem{Slug: "busy", Title: "Too many readers are waiting", Status: http.StatusServiceUnavailable, Detail: "ask again shortly", RetryAfter: time.Second}
	}
	read, err := conn.Read(ctx, minTTL)
	a.reading.Add(-1)
	if err != nil {
		return nil, err
	}
	v, err := a.render(conn, read)
	if err != nil {
		return nil, err
	}
	return v, a.gate.record(ctx, caller, w, r, audit.TokenRead, name, v.detail)
}

// noBrowser refuses requests that a page in a browser makes. A token in a page
// is in the hands of every script of that page; a page calls through the proxy.
// Browsers set Sec-Fetch-Site, or Origin where they do not, and no page can take
// these away.
func noBrowser(r *http.Request) error {
	_, fetched := r.Header["Sec-Fetch-Site"]
	_, foreign := r.Header["Origin"]
	if fetched || foreign {
		return problem.New(http.StatusForbidden, "no-browsers", "Tokens are not handed to pages in a browser", "read it in a program, or make the call through /proxy/NAME/path")
	}
	return nil
}

// minTTL reads the one parameter of a token read.
func minTTL(query string) (time.Duration, error) {
	if query == "" {
		return 0, nil
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return 0, problem.New(http.StatusBadRequest, "bad-query", "The query does not read", "write ?min_ttl=60s")
	}
	for name, values := range q {
		if name != "min_ttl" || len(values) != 1 {
			p := invalid("query."+name, "is not known here: write ?min_ttl=60s")
			p.Status = http.StatusBadRequest
			return 0, p
		}
	}
	d, err := freshet.ParseDuration(q.Get("min_ttl"))
	if err != nil {
		p := invalid("query.min_ttl", err.Error())
		p.Status = http.StatusBadRequest
		return 0, p
	}
	return d.D(), nil
}

// tokenResponses describe the answers of the endpoints that hand out tokens.
func (a *API) tokenResponses() map[string]*huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[tokenAnswer](), true, "TokenAnswer")
	return map[string]*huma.Response{
		"200": {Description: "A valid token.", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
		"404": a.problemResponse("There is no such connection."),
		"409": a.problemResponse("reauth: a person has to authorize the connection."),
		"424": a.problemResponse("misconfigured: the client, URL, key or clock is wrong."),
		"503": a.problemResponse("uncertain or attention: ask again after Retry-After."),
	}
}

func nameParam(doc string) *huma.Param {
	return &huma.Param{Name: "name", In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}

func (a *API) tokenEndpoints() {
	read := huma.Operation{OperationID: "read-token", Method: http.MethodGet, Path: connections + "{name}/token", Summary: "A valid access token", Tags: []string{"tokens"},
		Description: "Refreshes first if too little life is left. A token that lives is served whatever else is down, with stale: true while a refresh that was due is failing. Pages in a browser are refused.",
		Parameters: []*huma.Param{nameParam("The connection."), {Name: "min_ttl", In: "query", Description: "Life that the token must have left, such as 60s. More than its whole lifetime causes one refresh and is then served.",
			Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"60s"}}}},
		Responses: a.tokenResponses()}
	u := rule{verb: access.Token, name: "name", own: true}
	a.describe(&read, u)
	a.huma.OpenAPI().AddOperation(&read)
	// ServeHTTP answers it before the mux is asked; names with escapes come here.
	a.mux.HandleFunc("GET "+read.Path, func(w http.ResponseWriter, r *http.Request) { a.readToken(w, r, r.PathValue("name")) })

	refreshOp := huma.Operation{OperationID: "refresh-token", Method: http.MethodPost, Path: connections + "{name}/refresh", Summary: "Refresh now", Tags: []string{"tokens"},
		Description: "Forces a refresh and answers with the new token. With rejected_generation it does so only if that is still the current generation: the way to say that an API refused a token.",
		Parameters:  []*huma.Param{nameParam("The connection.")},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(typeOf[refreshRequest](), true, "RefreshRequest")}}},
		Responses:   a.tokenResponses()}
	a.handle(refreshOp, u, a.refreshToken)
}

type refreshRequest struct {
	RejectedGeneration int64 `json:"rejected_generation,omitempty" minimum:"0" doc:"Refresh only if this is still the current generation."`
}

func (a *API) refreshToken(w http.ResponseWriter, r *http.Request, c *call) {
	v, err := a.refreshed(w, r, c)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeToken(w, v)
}

func (a *API) refreshed(w http.ResponseWriter, r *http.Request, c *call) (*rendering, error) {
	if err := noBrowser(r); err != nil {
		return nil, err
	}
	var in refreshRequest
	if err := decode(w, r, &in); err != nil {
		return nil, err
	}
	if in.RejectedGeneration < 0 {
		return nil, invalid("body.rejected_generation", "is a generation: 1 or more")
	}
	name := r.PathValue("name")
	conn, err := a.o.Source.Connection(r.Context(), name)
	if err != nil {
		return nil, err
	}
	d := `{}`
	if in.RejectedGeneration > 0 {
		d = audit.Detail("rejected_generation", in.RejectedGeneration)
	}
	if err := a.record(c, audit.TokenRefresh, name, d); err != nil {
		return nil, err
	}
	read, err := a.force(r.Context(), conn, in.RejectedGeneration)
	if err != nil {
		return nil, err
	}
	return a.render(conn, read)
}

// force refreshes because a person asked, or because an API refused a
// generation. The refusals of an API are limited, a person is not.
func (a *API) force(ctx context.Context, conn *refresh.Conn, rejected int64) (refresh.Reading, error) {
	if rejected == 0 {
		return conn.Force(ctx, 0)
	}
	if a.forced.again(conn, rejected, a.o.Now()) {
		// What a refusal brought is refused, too: the next one rests for a while.
		conn.StillRejected(rejected)
	}
	tok, err := conn.Rejected(ctx, rejected)
	switch {
	case err == nil:
		a.forced.note(conn, tok.Generation, a.o.Now())
	case !errors.Is(err, refresh.ErrResting):
		return refresh.Reading{}, err
	}
	return conn.Read(ctx, 0)
}

// forced remembers which generations refusals have brought.
type forced struct {
	mu sync.Mutex
	m  map[*refresh.Conn]brought
}

type brought struct {
	generation int64
	at         time.Time
}

const (
	// soon is how young a token is that counts as refused although fresh.
	soon       = time.Minute
	forcedMost = 10_000
)

// again reports whether generation was brought by a refusal just now.
func (f *forced) again(c *refresh.Conn, generation int64, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.m[c]
	return ok && b.generation == generation && now.Sub(b.at) < soon
}

func (f *forced) note(c *refresh.Conn, generation int64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[*refresh.Conn]brought{}
	}
	if len(f.m) >= forcedMost {
		for k, b := range f.m {
			if now.Sub(b.at) >= soon {
				delete(f.m, k)
			}
		}
		if len(f.m) >= forcedMost {
			clear(f.m)
		}
	}
	if f.m[c].generation < generation {
		f.m[c] = brought{generation, now}
	}
}

// decode reads a small JSON body strictly; an empty one is as good as {}.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body := http.MaxBytesReader(w, r.Body, maxBody)
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(body); err != nil {
		return err
	}
	if len(bytes.TrimSpace(buf.Bytes())) == 0 {
		return nil
	}
	d := json.NewDecoder(&buf)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			return invalid("body."+typ.Field, fmt.Sprintf("is %s, not %s", typ.Value, typ.Type))
		}
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return invalid("body."+strings.Trim(field, `"`), "unexpected property")
		}
		p := invalid("body", "the body is not JSON")
		p.Status = http.StatusBadRequest
		return p
	}
	if d.More() {
		p := invalid("body", "holds more than one JSON value")
		p.Status = http.StatusBadRequest
		return p
	}
	return nil
}
