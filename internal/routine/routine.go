package routine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/engine"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// The codes of what goes wrong with a routine, beside those of answers.
const (
	CodeMissing = "routine_missing" // it is not there, or not published
	CodeFailed  = "routine_failed"  // it faulted, or finished with the outcome error
	CodeTimeout = "routine_timeout" // it took longer than an exchange may
	CodeWaits   = "routine_waits"   // it waits for something, which a refresh cannot
	CodeNothing = "routine_returned_nothing"
	CodeClosing = "routine_not_started" // this server starts or stops
)

// stopWait bounds how long a routine that is late has for its end. The claim's
// lease is longer than the deadline by more than that.
const stopWait = 3 * time.Second

// Workflows run workflows; *engine.Engine is one.
type Workflows interface {
	Run(ctx context.Context, r engine.Request) (engine.Outcome, error)
	Cancel(ctx context.Context, id run.ID) error
}

// Scripts run functions of apps. The name is APP.OBJ.FN. The error wraps
// freshet.ErrNotFound if there is none of the name; otherwise the function
// failed after it began. It returns when nothing of the function is under way
// any more, at the latest soon after ctx has ended. What secrets lists is masked
// in the run's journal.
type Scripts interface {
	RunRoutine(ctx context.Context, name string, input map[string]any, trigger string, secrets []string) (output any, err error)
}

// Options are what a Runner is made of.
type Options struct {
	// Ready returns what runs workflows, and what runs scripts, when they take
	// runs; it waits for that, until ctx ends. Scripts may be nil: then there are
	// none in this version.
	Ready func(ctx context.Context) (Workflows, Scripts, error)
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silence
}

// A Runner runs routines. It is safe for concurrent use.
type Runner struct{ o Options }

// New returns a Runner.
func New(o Options) *Runner {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{o}
}

// Refresh runs the routine by of def's connection, whose stored token is stored,
// nil if there is none; it is a refresh.Routine.
func (r *Runner) Refresh(ctx context.Context, def *freshet.Definition, by string, stored *freshet.Token) grant.Outcome {
	c := &call{def: def, by: by, stored: stored, sent: r.o.Now()}
	kind, name, _ := strings.Cut(by, ":")
	flows, scripts, err := r.o.Ready(ctx)
	if err != nil {
		return c.fail(grant.Retryable, CodeClosing, false, err.Error())
	}
	var body []byte
	var bad *grant.Outcome
	switch kind {
	case "workflow":
		body, bad = r.workflow(ctx, flows, c, name)
	case "script":
		body, bad = r.script(ctx, scripts, c, name)
	default:
		out := c.fail(grant.Misconfigured, CodeMissing, false, "refresh.by is workflow:NAME or script:APP.OBJECT.FUNCTION")
		bad = &out
	}
	if bad != nil {
		r.o.Log.Warn("an own refresh routine failed", "connection", def.Connection.Name, "by", by, "code", bad.Err.Code, "detail", bad.Err.Detail)
		return *bad
	}
	return grant.Set(def, body, stored, c.sent, r.o.Now())
}

// A call is one execution of a routine.
type call struct {
	def    *freshet.Definition
	by     string
	stored *freshet.Token
	sent   time.Time
}

func (r *Runner) workflow(ctx context.Context, flows Workflows, c *call, name string) ([]byte, *grant.Outcome) {
	out, err := flows.Run(ctx, engine.Request{Name: name, Input: c.input(), Trigger: c.trigger(), Secrets: c.secrets()})
	switch {
	case errors.Is(err, freshet.ErrNotFound):
		return nil, c.failed(grant.Misconfigured, CodeMissing, false, fmt.Sprintf("there is no published workflow %s", name))
	case errors.Is(err, engine.ErrClosed):
		return nil, c.failed(grant.Retryable, CodeClosing, false, "this server is stopping")
	case err != nil && out.RunID == "":
		return nil, c.failed(grant.Retryable, CodeClosing, false, "the run did not begin: "+err.Error())
	case err != nil || ctx.Err() != nil && out.Status == run.Running:
		r.stop(flows, out.RunID)
		return nil, c.failed(grant.Retryable, CodeTimeout, true, "the run "+out.RunID+" took longer than an exchange with a provider may, and was cancelled")
	}
	at := "; every step of it: freshet runs " + out.RunID
	switch out.Status {
	case run.Finished:
	case run.Faulted:
		text := "the run faulted"
		if out.Fault != nil {
			text += ": " + out.Fault.Message
		}
		return nil, c.failed(grant.Retryable, CodeFailed, true, text+at)
	case run.Suspended:
		r.stop(flows, out.RunID)
		return nil, c.failed(grant.Misconfigured, CodeWaits, true, "the run began to wait, which a refresh cannot: take timers and endpoints out of the workflow"+at)
	default:
		return nil, c.failed(grant.Retryable, CodeFailed, true, "the run was "+string(out.Status)+at)
	}
	body, empty := bodyOf(out.Output)
	for _, o := range out.Outcomes {
		if !strings.EqualFold(o, "error") {
			continue
		}
		if saysError(body) {
			break // as a provider says it: it is read as that
		}
		return nil, c.failed(grant.Retryable, CodeFailed, true, "the run finished with the outcome "+o+at)
	}
	if empty {
		return nil, c.failed(grant.Misconfigured, CodeNothing, true, "the run returned no token set: end it with Finish, and the provider's answer as its output"+at)
	}
	return body, nil
}

func (r *Runner) script(ctx context.Context, scripts Scripts, c *call, name string) ([]byte, *grant.Outcome) {
	if scripts == nil {
		return nil, c.failed(grant.Misconfigured, CodeMissing, false, "routines that are scripts of apps are not in this version")
	}
	out, err := scripts.RunRoutine(ctx, name, c.input(), c.trigger(), c.secrets())
	switch {
	case errors.Is(err, freshet.ErrNotFound):
		return nil, c.failed(grant.Misconfigured, CodeMissing, false, "there is no function "+name)
	case err != nil && ctx.Err() != nil:
		return nil, c.failed(grant.Retryable, CodeTimeout, true, "the function took longer than an exchange with a provider may")
	case err != nil:
		return nil, c.failed(grant.Retryable, CodeFailed, true, "the function failed: "+err.Error())
	}
	body, empty := bodyOf(out)
	if empty {
		return nil, c.failed(grant.Misconfigured, CodeNothing, true, "the function returned no token set: return the provider's answer")
	}
	return body, nil
}

// stop cancels a run that is late, and waits for its end for a moment, so that
// nothing of it is sent when the next attempt begins.
func (r *Runner) stop(flows Workflows, id run.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if err := flows.Cancel(ctx, id); err != nil && !errors.Is(err, engine.ErrNotWaiting) {
		r.o.Log.Warn("a refresh routine that was late is not cancelled", "run", id, "error", err)
	}
}

// input is what a routine is given: the names that token requests have.
func (c *call) input() map[string]any {
	d := c.def
	in := map[string]any{
		"connection": d.Connection.Name, "client_id": d.Client.ID, "client_secret": d.Client.Secret.Reveal(),
		"token_url": d.Provider.TokenURL, "refresh_url": d.Provider.TokenURL,
		"scope": strings.Join(d.Connection.Scopes, " "), "refresh_token": d.Connection.Credentials["refresh_token"].Reveal(),
		"access_token": "", "generation": int64(0), "token": nil,
	}
	if u := d.Provider.RefreshURL; u != "" {
		in["refresh_url"] = u
	}
	credentials, variables := map[string]any{}, map[string]any{}
	for k, v := range d.Connection.Credentials {
		credentials[k] = v.Reveal()
	}
	for k := range d.Provider.Variables {
		if v, ok := d.Variable(k); ok {
			variables[k] = v
		}
	}
	for k, v := range d.Connection.Variables {
		variables[k] = v
	}
	in["credentials"], in["variables"] = credentials, variables
	if t := c.stored; t != nil {
		in["access_token"], in["generation"] = t.Access.Reveal(), t.Generation
		if !t.Refresh.IsZero() {
			in["refresh_token"] = t.Refresh.Reveal()
		}
		if t.Scope != "" {
			in["scope"] = t.Scope
		}
		if v, err := model.ParseJSON([]byte(t.Answer.Reveal())); err == nil {
			in["token"] = v
		}
	}
	return in
}

// secrets are the values that the run's journal has to mask.
func (c *call) secrets() []string {
	var out []string
	for _, s := range grant.Secrets(c.def) {
		out = append(out, s.Reveal())
	}
	if t := c.stored; t != nil {
		for _, s := range []freshet.Secret{t.Access, t.Refresh, t.ID} {
			if !s.IsZero() {
				out = append(out, s.Reveal())
			}
		}
	}
	return out
}

func (c *call) trigger() string { return "refresh:" + c.def.Connection.Name }

func (c *call) failed(class grant.Class, code string, uncertain bool, detail string) *grant.Outcome {
	out := c.fail(class, code, uncertain, detail)
	return &out
}

// fail is an outcome without a token. Texts of routines may quote what they were
// given, so they are scrubbed.
func (c *call) fail(class grant.Class, code string, uncertain bool, detail string) grant.Outcome {
	known := redact.NewValues(256)
	known.Add(c.secrets()...)
	detail = known.Scrub(redact.Text(strings.ToValidUTF8(detail, "�")))
	if len(detail) > 256 {
		detail = strings.ToValidUTF8(detail[:253], "") + "…"
	}
	return grant.Outcome{Err: &grant.Error{Class: class, Code: code, Uncertain: uncertain, Detail: detail}}
}

// bodyOf is an output as the text of an answer; empty says that there is none.
func bodyOf(v any) (body []byte, empty bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []byte(v), strings.TrimSpace(v) == ""
	case []byte:
		return v, len(bytes.TrimSpace(v)) == 0
	}
	b, err := json.Marshal(v)
	return b, err != nil || bytes.Equal(b, []byte("{}")) || bytes.Equal(b, []byte("null"))
}

// saysError reports whether a body is an error as RFC 6749 §5.2 words it.
func saysError(body []byte) bool {
	var e struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(body, &e) == nil && e.Error != ""
}
