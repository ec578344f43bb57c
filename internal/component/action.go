package component

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/component/descriptor"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// MaxSource is how long the source of an action may be.
const MaxSource = 256 << 10

// maxEmitted is how many messages one message may lead to.
const maxEmitted = 10000

// ByComponent is what Component.Refresh says where actions refresh by
// themselves.
const ByComponent = "component"

// wrap makes a script of the source of an action. The source begins on the first
// line, so that places in errors are its own.
func wrap(source string) string {
	return "(async () => __component(function (exports, module, require, process) {" + source + "\n}, __input))()"
}

// An execution is one attempt at one message. It is a script.World.
type execution struct {
	w       *Worker
	c       *freshet.Component
	m       store.ComponentMessage
	rec     *run.Recorder
	message any

	field      string // of the token set in cfg
	connection string
	input      map[string]any
	snapshot   any
	revision   int64

	emitted []any
	rebound *string
	failure error // an event error, or a token set that could not be stored
}

func (x *execution) run(ctx context.Context) error {
	d, err := descriptor.Parse([]byte(x.c.Descriptor.Reveal()))
	if err != nil {
		return fmt.Errorf("component.json: %w", err)
	}
	x.field = d.Token()
	own := x.c.Refresh == ByComponent
	x.connection = x.c.Connection
	if own && x.connection != "" {
		leave, err := x.w.turn(ctx, x.connection)
		if err != nil {
			return err
		}
		defer leave()
	}
	cfg, err := x.config(ctx, d, own)
	if err != nil {
		return err
	}
	if err := x.load(ctx); err != nil {
		return err
	}
	env := map[string]any{"ELASTICIO_EXEC_ID": x.m.ID, "ELASTICIO_COMP_ID": x.m.Component, "ELASTICIO_FUNCTION": x.m.Action}
	for k, v := range x.c.Env {
		env[k] = v.Reveal()
	}
	x.input = map[string]any{"msg": x.message, "cfg": cfg, "snapshot": x.snapshot, "env": env, "flow": map[string]any{}}
	p, err := x.w.scripts.Prepare(wrap(x.c.Actions[x.m.Action].Source.Reveal()))
	if err != nil {
		return fmt.Errorf("action %s: %w", x.m.Action, err)
	}
	session := x.w.scripts.Open()
	defer session.Close()
	_, err = session.Eval(ctx, p, x, thinking)
	return err
}

// config is cfg: what is declared, the fields of the credential, the token set.
func (x *execution) config(ctx context.Context, d *descriptor.Descriptor, own bool) (map[string]any, error) {
	cfg := map[string]any{}
	for k, v := range x.c.Config {
		var value any
		if err := json.Unmarshal([]byte(v.Reveal()), &value); err != nil {
			return nil, fmt.Errorf("config.%s is not JSON", k)
		}
		cfg[k] = value
		x.rec.Secret(content.Secrets(map[string]any{k: value})...)
	}
	if x.connection == "" {
		return cfg, nil
	}
	if x.w.o.Variables != nil {
		variables, err := x.w.o.Variables(ctx, x.connection)
		if err != nil {
			return nil, err
		}
		for k, v := range variables {
			if _, there := cfg[k]; !there && d.IsField(k) {
				cfg[k] = v
			}
		}
	}
	road := run.RoadNative
	if own {
		road = run.RoadAsWritten
	}
	x.rec.Road(road)
	began := time.Now()
	k, err := x.w.o.Credentials.Keys(ctx, x.connection, !own)
	x.rec.Secret(k.Secrets...)
	step := run.Step{Type: "keys", Name: x.connection, Duration: time.Since(began), Event: "Executed", Data: map[string]any{"field": x.field}}
	if err != nil {
		step.Event, step.Error = "Faulted", err.Error()
	}
	x.rec.Step(step)
	if err != nil {
		return nil, err
	}
	cfg[x.field] = k.Set
	return cfg, nil
}

func (x *execution) load(ctx context.Context) error {
	sealed, rev, err := x.w.o.Store.ComponentSnapshot(ctx, x.place())
	x.snapshot, x.revision = map[string]any{}, rev
	if err != nil || rev == 0 {
		return err
	}
	b, err := x.w.o.Sealer.Open(x.snapshotBinding(rev), sealed)
	if err != nil {
		return fmt.Errorf("the snapshot does not open: %w", err)
	}
	x.snapshot, err = content.JSON(b)
	return err
}

func (x *execution) place() string { return x.m.Component + "/" + x.m.Action }

func (x *execution) snapshotBinding(rev int64) freshet.Binding {
	return freshet.Binding{Table: "component_snapshots", Row: x.place(), Column: "snapshot", Generation: rev}
}

// keep stores a snapshot. It is durable when keep returns.
func (x *execution) keep(ctx context.Context, v any) error {
	b, err := json.Marshal(model.Plain(v))
	if err != nil {
		return err
	}
	sealed, err := x.w.o.Sealer.Seal(x.snapshotBinding(x.revision+1), b)
	if err != nil {
		return err
	}
	if err := x.w.o.Store.PutComponentSnapshot(ctx, x.place(), x.m.Component, sealed, x.revision); err != nil {
		if errors.Is(err, store.ErrStale) {
			return errors.New("another message of this action kept a snapshot meanwhile")
		}
		return err
	}
	x.snapshot, x.revision = v, x.revision+1
	return nil
}

// Global returns what the wrapped source refers to.
func (x *execution) Global(name string) (any, bool) {
	if name == "__input" {
		return x.input, true
	}
	return nil, false
}

// Globals lists it.
func (x *execution) Globals() []string { return []string{"__input"} }

// Waits says which functions wait for something.
func (x *execution) Waits(name string) bool {
	return name == "http" || name == "updateKeys" || name == "snapshot" || name == "updateSnapshot"
}

// Call is what prelude.js calls.
func (x *execution) Call(ctx context.Context, name string, args []any) (any, error) {
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	text := func(i int) string { s, _ := arg(i).(string); return s }
	switch name {
	case "log":
		x.rec.Step(run.Step{Type: "log", Name: text(0), Event: "Executed", Message: text(1)})
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(text(0))), nil
	case "data":
		if len(x.emitted) == maxEmitted {
			return nil, fmt.Errorf("one message leads to at most %d", maxEmitted)
		}
		x.emitted = append(x.emitted, arg(0))
		x.rec.Step(run.Step{Type: "emit", Name: "data", Event: "Executed", Data: map[string]any{"message": model.Plain(arg(0))}})
	case "error":
		if x.failure == nil {
			x.failure = errors.New(text(0))
		}
		x.rec.Step(run.Step{Type: "emit", Name: "error", Event: "Faulted", Error: text(0)})
	case "rebound":
		s := text(0)
		x.rebound = &s
		x.rec.Step(run.Step{Type: "emit", Name: "rebound", Event: "Executed", Message: s})
	case "snapshot":
		return script.Undefined{}, x.keep(ctx, arg(0))
	case "updateSnapshot":
		return script.Undefined{}, x.update(ctx, arg(0))
	case "updateKeys":
		replace, _ := arg(1).(bool)
		return x.updateKeys(ctx, arg(0), replace)
	case "http":
		m, _ := model.Plain(arg(0)).(map[string]any)
		return x.send(ctx, m)
	default:
		return nil, fmt.Errorf("there is no function %s", name)
	}
	return script.Undefined{}, nil
}

// update lays members over the snapshot.
func (x *execution) update(ctx context.Context, v any) error {
	more, ok := model.Plain(v).(map[string]any)
	if !ok {
		return errors.New("updateSnapshot takes an object")
	}
	next := map[string]any{}
	if old, ok := model.Plain(x.snapshot).(map[string]any); ok {
		for k, v := range old {
			next[k] = v
		}
	}
	for k, v := range more {
		next[k] = v
	}
	return x.keep(ctx, next)
}

// updateKeys stores a token set. A set that could not be stored fails the
// message, whether the action waits for the promise or not.
func (x *execution) updateKeys(ctx context.Context, v any, replace bool) (_ any, err error) {
	x.rec.Secret(content.Secrets(model.Plain(v))...)
	began := time.Now()
	defer func() {
		step := run.Step{Type: "emit", Name: "updateKeys", Duration: time.Since(began), Event: "Executed", Data: map[string]any{"connection": x.connection, "replace": replace}}
		if err != nil {
			step.Event, step.Error = "Faulted", err.Error()
			if x.failure == nil {
				x.failure = err
			}
		}
		x.rec.Step(step)
	}()
	if x.connection == "" {
		return nil, errors.New("updateKeys: the component has no connection whose token set this could be")
	}
	set, err := tokenSet(v, x.field)
	if err != nil {
		return nil, err
	}
	k, err := x.w.o.Credentials.Update(ctx, x.connection, set, replace)
	if err != nil {
		return nil, fmt.Errorf("updateKeys: %w", err)
	}
	x.rec.Secret(k.Secrets...)
	return map[string]any{"field": x.field, "keys": k.Set}, nil
}

// send makes a request as prelude.js asks for it.
func (x *execution) send(ctx context.Context, o map[string]any) (any, error) {
	text := func(name string) string { s, _ := o[name].(string); return s }
	headers := map[string]any{}
	if m, ok := o["headers"].(map[string]any); ok {
		for k, v := range m {
			if v != nil && !strings.EqualFold(k, "Content-Type") {
				headers[k] = v
			} else if s, ok := v.(string); ok && text("type") == "" {
				o["type"] = s
			}
		}
	}
	f := outbound.Fields{URL: text("url"), Method: strings.ToUpper(text("method")), ContentType: text("type"), Authorization: text("authorization"),
		Headers: headers, Connection: text("connection"), Run: x.m.Run, Read: true}
	if b, ok := o["body"].(string); ok {
		f.Content = b
	}
	switch ms := o["timeout"].(type) {
	case float64:
		if ms > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(ms*float64(time.Millisecond)))
			defer cancel()
		}
	case int64:
		if ms > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
			defer cancel()
		}
	}
	began := time.Now()
	a, err := x.w.o.Send(ctx, f)
	step := run.Step{Type: "request", Name: f.Method + " " + where(f.URL), Duration: time.Since(began), Event: "Executed"}
	if f.Connection != "" {
		step.Message = "as connection " + f.Connection
	}
	if err != nil {
		step.Event, step.Error = "Faulted", err.Error()
		x.rec.Step(step)
		return nil, err
	}
	body := string(a.Body)
	x.rec.Secret(content.Secrets(body)...)
	step.Data = map[string]any{"status": a.Status}
	if a.Refreshed {
		step.Data["refreshed"] = true
	}
	x.rec.Step(step)
	answered := map[string]any{}
	for k, v := range a.Header {
		answered[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	return map[string]any{"status": int64(a.Status), "reason": http.StatusText(a.Status), "headers": answered, "body": body}, nil
}

// where is a URL without what may be secret.
func where(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that does not read"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// output is what the emitted messages come to.
func (x *execution) output() any {
	bodies := make([]any, len(x.emitted))
	for i, v := range x.emitted {
		v = model.Plain(v)
		if m, ok := v.(map[string]any); ok {
			if b, ok := m["body"]; ok {
				v = b
			}
		}
		bodies[i] = v
	}
	switch len(bodies) {
	case 0:
		return nil
	case 1:
		return bodies[0]
	}
	return bodies
}

// fault puts into words why a message failed.
func (x *execution) fault(err error) *run.Fault {
	return &run.Fault{Message: cut(err.Error(), 4000), Type: "component", Name: x.m.Action, Activity: x.m.Name + "." + x.m.Action}
}

// masked is text for the row, which is shown in lists.
func (x *execution) masked(text string) string {
	known := redact.NewValues(256)
	for _, v := range x.c.Env {
		known.Add(v.Reveal())
	}
	if cfg, ok := x.input["cfg"].(map[string]any); ok {
		known.Add(content.Secrets(cfg)...)
	}
	return known.Scrub(redact.Text(text))
}

func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// normal makes a message of an input: {body, headers, attachments}.
func normal(v any) any {
	v = model.Plain(v)
	m, ok := v.(map[string]any)
	if ok {
		if _, ok = m["body"]; ok {
			return m
		}
	}
	if v == nil {
		v = map[string]any{}
	}
	return map[string]any{"body": v, "headers": map[string]any{}, "attachments": map[string]any{}}
}

// turn waits until nobody else in this process refreshes the connection by
// itself.
func (w *Worker) turn(ctx context.Context, connection string) (leave func(), err error) {
	w.mu.Lock()
	c := w.turns[connection]
	if c == nil {
		c = make(chan struct{}, 1)
		w.turns[connection] = c
	}
	w.mu.Unlock()
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
