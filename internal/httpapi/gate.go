package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/proxy"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/web"
)

// Metrics counts what went through; *metrics.Metrics is one.
type Metrics interface {
	Proxied(status int, token string, took time.Duration)
	Read(status int)
}

// A Gate knows callers by their keys, holds them to their scopes, and puts what
// they do on record. It is the Authorizer and the Recorder of the proxy.
type Gate struct {
	keys    *access.Keys
	audit   *audit.Log
	metrics Metrics
	log     *slog.Logger
}

// NewGate returns a Gate. metrics and log may be nil.
func NewGate(keys *access.Keys, trail *audit.Log, metrics Metrics, log *slog.Logger) *Gate {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if metrics == nil {
		metrics = uncounted{}
	}
	return &Gate{keys: keys, audit: trail, metrics: metrics, log: log}
}

type uncounted struct{}

func (uncounted) Proxied(int, string, time.Duration) {}
func (uncounted) Read(int)                           {}

// identify returns whose key a request carries.
func (g *Gate) identify(r *http.Request) (*access.Caller, error) {
	key, err := access.FromRequest(r.Header)
	if err != nil {
		return nil, err
	}
	return g.keys.Check(key, r.RemoteAddr)
}

// admit returns the caller of a request if its scopes allow verb on name.
func (g *Gate) admit(r *http.Request, verb access.Verb, name string) (*access.Caller, error) {
	c, err := g.identify(r)
	if err != nil {
		return nil, err
	}
	if c.May(verb, name) {
		return c, nil
	}
	// Somebody who has a key tries what it is not for: worth a row, but no
	// reason to answer anything else than no.
	if err := g.audit.Record(r.Context(), audit.Entry{Actor: c.Actor(), Action: audit.KeyRefused, Subject: name, Detail: audit.Strings("needs", scope(verb, name), "method", r.Method), From: r.RemoteAddr}); err != nil {
		g.log.Warn("a refused key is not on record", "error", err)
	}
	return nil, unscoped(c, verb, name)
}

func unscoped(c *access.Caller, verb access.Verb, name string) *problem.Problem {
	p := problem.New(http.StatusForbidden, "scope-missing", "The API key does not allow this", fmt.Sprintf("key %s lacks scope %s; make one that has it with freshet keys create NAME --scope %s", c.Name, scope(verb, name), scope(verb, name)))
	p.Extra = map[string]any{"scope": scope(verb, name)}
	return p
}

// scope is how a key's scope for verb on name is written.
func scope(verb access.Verb, name string) string {
	if verb == access.Read || verb == access.Admin {
		return string(verb)
	}
	return string(verb) + ":" + name
}

// record puts an action of a caller on record, before it is carried out.
func (g *Gate) record(ctx context.Context, c *access.Caller, w http.ResponseWriter, r *http.Request, action, subject, detail string) error {
	return g.audit.Record(ctx, audit.Entry{Actor: c.Actor(), Action: action, Subject: subject, Detail: detail, From: r.RemoteAddr, Request: w.Header().Get(web.HeaderRequestID)})
}

// Authorize lets keys with call:NAME call as the connection.
func (g *Gate) Authorize(r *http.Request, name string) (proxy.Caller, error) {
	c, err := g.admit(r, access.Call, name)
	if err != nil {
		if p := identity(err); p != nil {
			p.Cause = err
			return nil, p
		}
		return nil, err
	}
	return c, nil
}

// AuthorizeRun lets keys with run:NAME start the workflow, and says whose it is.
func (g *Gate) AuthorizeRun(r *http.Request, workflow string) (actor string, err error) {
	c, err := g.admit(r, access.Run, workflow)
	if err != nil {
		if p := identity(err); p != nil {
			p.Cause = err
			return "", p
		}
		return "", err
	}
	return c.Actor(), nil
}

// Admit puts a call on record before it leaves.
func (g *Gate) Admit(ctx context.Context, e *proxy.Entry) error {
	path := e.Path
	if len(path) > 256 {
		path = path[:256]
	}
	return g.audit.Record(ctx, audit.Entry{Actor: e.Actor, Action: audit.TokenInject, Subject: e.Connection, From: e.Remote,
		Detail: audit.Strings("method", e.Method, "path", redact.Text(strings.ToValidUTF8(path, "�")))})
}

// Done counts a call, and says in the log what the caller was not told.
func (g *Gate) Done(e *proxy.Entry) {
	token := "fresh"
	switch {
	case e.Generation == 0:
		token = "none"
	case e.Refreshed:
		token = "refreshed"
	case e.NotReplayable:
		token = "not_replayable"
	}
	g.metrics.Proxied(e.Status, token, e.Took)
	if e.Err == nil && e.Cut == nil && !e.Echoed {
		return
	}
	level := slog.LevelInfo
	if e.Status >= 500 || e.Echoed {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("connection", e.Connection), slog.String("method", e.Method), slog.Int("status", e.Status), slog.String("actor", e.Actor)}
	if e.Problem != "" {
		attrs = append(attrs, slog.String("problem", e.Problem))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if e.Cut != nil {
		attrs = append(attrs, slog.Any("cut", e.Cut))
	}
	if e.Echoed {
		attrs = append(attrs, slog.Bool("echoed_credential", true))
	}
	g.log.LogAttrs(context.Background(), level, "proxied call", attrs...)
}
