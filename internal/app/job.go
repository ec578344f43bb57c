package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// An Alert is what a script shows to people.
type Alert struct {
	Message string
	Kind    string // success, info, warning, error or ""
}

// A job is one use of an app: a function, a page or a button. It is the world
// of its scripts.
type job struct {
	a    *Apps
	r    *resident
	p    *program
	rec  *run.Recorder
	keep *keep
	boot model.JSON

	ctx     context.Context
	cancel  context.CancelFunc
	going   sync.WaitGroup
	done    chan *ended // what has been done meanwhile
	n       int
	begun   map[int]beginning
	native  bool
	written bool // tokens are the script's own to keep

	alerts  []Alert
	secrets []string
	hidden  *redact.Values
	warned  map[string]bool
	traps   traps
	failed  error // of a flush that nobody waited for
}

// A beginning is a function that runs.
type beginning struct {
	name string
	at   time.Time
}

// An ended is what goes back to the script that began it.
type ended struct {
	id   int
	back []any // behind the id
	do   func(*ended)
}

// begin makes a job of an app whose turn the caller has.
func (a *Apps) begin(ctx context.Context, r *resident, p *program, rec *run.Recorder, k *keep, args json.RawMessage) (*job, error) {
	j := &job{a: a, r: r, p: p, rec: rec, keep: k, done: make(chan *ended), begun: map[int]beginning{}, warned: map[string]bool{}, hidden: redact.NewValues(512)}
	j.know(k.secrets()...)
	boot, err := json.Marshal(map[string]any{"store": k.all(), "args": args})
	if err != nil {
		return nil, err
	}
	j.boot = model.JSON(boot)
	// A caller may hang up, a job may not: a provider retires the old refresh
	// token as it answers. A deadline is another matter: who has one counts on
	// nothing being under way behind it.
	j.ctx, j.cancel = context.WithTimeout(context.WithoutCancel(ctx), a.o.Wait)
	if end, ok := ctx.Deadline(); ok {
		cancel := j.cancel
		inner, stop := context.WithDeadline(j.ctx, end)
		j.ctx, j.cancel = inner, func() { stop(); cancel() }
	}
	stop := context.AfterFunc(a.base, j.cancel)
	cancel := j.cancel
	j.cancel = func() { stop(); cancel() }
	return j, nil
}

// know makes values known as secrets: they are masked in the journal, the log
// and on pages.
func (j *job) know(values ...string) {
	values = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return len(s) < 6 || slices.Contains(j.secrets, s) })
	if len(values) == 0 {
		return
	}
	j.secrets = append(j.secrets, values...)
	j.hidden.Add(values...)
	j.rec.Secret(values...)
	if j.a.o.Values != nil {
		j.a.o.Values.Add(values...)
	}
}

// holds reports whether a text has a known secret in it.
func (j *job) holds(text string) bool {
	return slices.ContainsFunc(j.secrets, func(s string) bool { return strings.Contains(text, s) })
}

func (j *job) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !j.warned[text] {
		j.warned[text] = true
		j.rec.Warn(text)
	}
}

// end waits for what was begun and makes the store durable.
func (j *job) end() error {
	j.cancel()
	j.going.Wait()
	if err := j.keep.flush(j.ctx); err != nil && j.failed == nil {
		j.failed = err
	}
	return j.failed
}

// eval runs a bundle with a last line.
func (j *job) eval(b *bundle, last string) (any, error) {
	p, err := b.prepare(j.a.engine, last)
	if err != nil {
		return nil, err
	}
	v, err := j.r.session.Eval(j.ctx, p, j, 0)
	if err != nil && errors.Is(j.ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("it takes longer than %s: look for a query that does not answer", j.a.o.Wait)
	}
	return v, err
}

// Global gives scripts what they begin with.
func (j *job) Global(name string) (any, bool) { return j.boot, name == "__boot" }

// Globals lists it.
func (j *job) Globals() []string { return []string{"__boot"} }

// Waits says which calls wait for something.
func (j *job) Waits(name string) bool { return name == "wait" || name == "flush" }

// Call is what the prelude calls.
func (j *job) Call(ctx context.Context, name string, args []any) (any, error) {
	arg := func(i int) string {
		if i < len(args) {
			s, _ := args[i].(string)
			return s
		}
		return ""
	}
	switch name {
	case "console":
		j.console(arg(0), arg(1))
	case "alert":
		j.alert(arg(0), arg(1))
	case "store":
		persist, _ := args[2].(bool)
		return nil, j.store(arg(0), args[1], persist)
	case "clear":
		j.keep.clear()
	case "flush":
		if err := j.keep.flush(ctx); err != nil {
			j.failed = err
			return nil, err
		}
	case "needs":
		j.rec.Step(run.Step{Activity: arg(0), Type: "Query", Name: arg(0), Event: "Waits", Message: "for " + arg(1) + ".data"})
	case "start":
		j.n++
		j.begun[j.n] = beginning{arg(0), j.a.o.Now()}
		return j.n, nil
	case "end":
		id, _ := args[0].(int64)
		b := j.begun[int(id)]
		delete(j.begun, int(id))
		j.rec.Step(run.Step{Activity: b.name, Type: "Function", Name: b.name, At: b.at, Duration: j.a.o.Now().Sub(b.at), Event: outcome(arg(1)), Error: arg(1)})
	case "sleep":
		ms, _ := args[0].(int64)
		return j.meanwhile(func(ctx context.Context) *ended {
			t := time.NewTimer(time.Duration(min(max(ms, 0), 1<<31)) * time.Millisecond)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			return &ended{}
		}), nil
	case "token":
		name := arg(0)
		return j.meanwhile(func(ctx context.Context) *ended { return j.token(ctx, name) }), nil
	case "query":
		return j.query(arg(0), args[1:])
	case "wait":
		select {
		case e := <-j.done:
			if e.do != nil {
				e.do(e)
			}
			return append([]any{e.id}, e.back...), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	default:
		return nil, fmt.Errorf("there is no %s", name)
	}
	return nil, nil
}

func outcome(err string) string {
	if err != "" {
		return "Faulted"
	}
	return "Executed"
}

// meanwhile does something while the script goes on.
func (j *job) meanwhile(do func(ctx context.Context) *ended) int {
	j.n++
	id := j.n
	j.going.Go(func() {
		e := do(j.ctx)
		e.id = id
		select {
		case j.done <- e:
		case <-j.ctx.Done():
		}
	})
	return id
}

const maxMessage = 4 << 10

func (j *job) console(level, text string) {
	if r := []rune(text); len(r) > maxMessage {
		text = string(r[:maxMessage]) + "…"
	}
	if j.holds(text) {
		j.warn("a script prints a token to the console (console.%s); the journal masks it, other places would not: print less", level)
	}
	s := run.Step{Type: "Console", Name: level, Event: "Console", Message: text}
	if level == "error" {
		j.warn("console.error: %s", text)
	}
	j.rec.Step(s)
}

func (j *job) alert(text, kind string) {
	j.rec.Step(run.Step{Type: "Alert", Name: kind, Event: "Alert", Message: text})
	if len(j.alerts) < 20 {
		j.alerts = append(j.alerts, Alert{text, kind})
	}
}

// store is storeValue and removeValue.
func (j *job) store(key string, v any, persist bool) error {
	if key == "" || len(key) > 256 {
		return errors.New("storeValue: the key is a text of at most 256 characters")
	}
	text, ok := v.(string)
	if !ok {
		j.keep.set(key, nil, true, false)
		j.rec.Step(run.Step{Type: "Store", Name: key, Event: "Removed"})
		return nil
	}
	if len(text) > maxKept {
		return fmt.Errorf("storeValue: %s is larger than %d KiB", key, maxKept>>10)
	}
	raw := json.RawMessage(text)
	known := j.isSecret(raw)
	j.know(secretsOf(key, raw, known)...)
	j.keep.set(key, raw, persist, known)
	j.traps.stored(j, key, raw)
	event := "Stored"
	if !persist {
		event = "Stored for the session"
	}
	j.rec.Step(run.Step{Type: "Store", Name: key, Event: event})
	j.written = j.written || len(secretsOf(key, raw, known)) > 0
	return nil
}

func (j *job) isSecret(v json.RawMessage) bool {
	var s string
	return json.Unmarshal(v, &s) == nil && slices.Contains(j.secrets, s)
}

// token is GetAccessToken of a connection.
func (j *job) token(ctx context.Context, name string) *ended {
	fail := func(err error) *ended {
		text := "GetAccessToken(" + name + "): " + err.Error()
		return &ended{back: []any{text, ""}, do: func(*ended) {
			j.rec.Step(run.Step{Activity: name, Type: "Connection", Name: name, Event: "Faulted", Error: text})
		}}
	}
	if j.a.o.Connections == nil {
		return fail(errors.New("there are no connections here"))
	}
	conn, err := j.a.o.Connections.Connection(ctx, name)
	if err != nil {
		return fail(err)
	}
	if j.a.o.Admit != nil {
		if err := j.a.o.Admit(ctx, j.rec.ID(), name); err != nil {
			return fail(fmt.Errorf("the use could not be put on record, so no token was read: %w", err))
		}
	}
	tok, err := conn.Token(ctx, 0)
	if err != nil {
		return fail(err)
	}
	return &ended{back: []any{"", tok.Access.Reveal()}, do: func(e *ended) {
		j.native = true
		j.know(tok.Access.Reveal())
		j.rec.Step(run.Step{Activity: name, Type: "Connection", Name: name, Event: "Executed", Message: "the token of " + name, Data: map[string]any{"Generation": tok.Generation}})
	}}
}
