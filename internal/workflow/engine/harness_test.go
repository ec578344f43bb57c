package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// A world is an engine over a real database, vault and journal, with
// expressions that are Go functions, in a bubble of fake time.
type world struct {
	t   testing.TB
	dir string
	ctx context.Context

	store     *store.Store
	vault     *vault.Vault
	journal   *run.Journal
	eng       *Engine
	lib       *shelf
	eval      *gopher
	more      func() []activity.Spec // beside those of tests
	evaluator Evaluator              // in place of eval; nil: eval
	limits    Limits
	now       func() time.Time
	closed    bool

	mu    sync.Mutex
	trace []string // what Mark activities left
	block chan struct{}
}

// inWorld runs fn in a bubble, over a world that is closed after it.
func inWorld(t *testing.T, fn func(w *world), opts ...func(*world)) {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		for _, f := range opts {
			f(w)
		}
		w.open()
		defer w.close()
		fn(w)
	})
}

func newWorld(t testing.TB, dir string) *world {
	return &world{t: t, dir: dir, ctx: context.Background(), lib: &shelf{}, eval: &gopher{fn: map[string]func(expr.Scope) any{}}, now: time.Now}
}

// fill makes dir a data directory as the first start leaves it: migrations take
// most of a small test's time.
func fill(t testing.TB, dir string) {
	blankOnce.Do(func() {
		blankDir, blankErr = os.MkdirTemp("", "freshet-blank-")
		if blankErr != nil {
			return
		}
		var st *store.Store
		if st, blankErr = sqlite.Open(context.Background(), blankDir, sqlite.Options{}); blankErr != nil {
			return
		}
		defer st.Close()
		_, blankErr = vault.Open(context.Background(), st, vault.MasterKeyFile(filepath.Join(blankDir, "master.key")))
	})
	if blankErr != nil {
		t.Fatal(blankErr)
	}
	if err := os.CopyFS(dir, os.DirFS(blankDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "master.key"), 0o600); err != nil {
		t.Fatal(err)
	}
}

var (
	blankOnce sync.Once
	blankDir  string
	blankErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(blankDir)
	os.Exit(code)
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.store, err = sqlite.Open(w.ctx, w.dir, sqlite.Options{}); err != nil {
		w.t.Fatal(err)
	}
	if w.vault, err = vault.Open(w.ctx, w.store, vault.MasterKeyFile(filepath.Join(w.dir, "master.key"))); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func (w *world) start() {
	w.t.Helper()
	w.journal = run.New(run.Options{Store: w.store, Alone: true, Now: w.now})
	var specs []activity.Spec
	for _, g := range [][]activity.Spec{activity.Control(), activity.Primitives(), activity.Workflows(w), w.specs(),
		activity.Timers(func(text string, after time.Time) (time.Time, error) {
			return after.Truncate(time.Hour).Add(time.Hour), nil
		})} {
		specs = append(specs, g...)
	}
	if w.more != nil {
		specs = append(specs, w.more()...)
	}
	var evaluator Evaluator = w.eval
	if w.evaluator != nil {
		evaluator = w.evaluator
	}
	w.eng = New(Options{Library: w.lib, Registry: activity.NewRegistry(specs...), Evaluator: evaluator, Journal: w.journal, Store: w.store, Sealer: w.vault,
		Limits: w.limits, Alone: true, Now: w.now})
	if err := w.eng.Start(w.ctx); err != nil {
		w.t.Fatal(err)
	}
	w.closed = false
}

func (w *world) RemoveRuns(ctx context.Context, f activity.Removal) (int, error) {
	return w.eng.RemoveRuns(ctx, f)
}

func (w *world) close() {
	if w.closed {
		return
	}
	w.closed = true
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := w.eng.Close(ctx); err != nil {
		w.t.Errorf("close the engine: %v", err)
	}
	ctx, cancel = context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := w.journal.Close(ctx); err != nil {
		w.t.Errorf("close the journal: %v", err)
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart ends the process as it should end, and begins another.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// kill ends the process in the middle of whatever it does: from here on it
// writes nothing. Another one begins over the same files.
func (w *world) kill() {
	w.t.Helper()
	w.store.Close()
	ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
	defer cancel()
	w.eng.Close(ctx)
	w.journal.Close(ctx)
	w.open()
}

// specs are activities of tests.
func (w *world) specs() []activity.Spec {
	return []activity.Spec{
		{Type: "Mark", Fields: []activity.Field{{Name: "Outcomes", Kind: activity.Texts, Syntax: workflow.JSON}, {Name: "Output", Kind: activity.Any}},
			AnyOutcome: true, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
				w.mark(c)
				res := activity.Result{}
				if c.Has("Outcomes") {
					res.Outcomes = c.Texts("Outcomes")
				}
				if c.Has("Output") {
					res.Outputs = map[string]any{"Output": c.Value("Output")}
				}
				return res, nil
			}},
		{Type: "Wait", Trigger: true, Fields: []activity.Field{{Name: "Key", Kind: activity.Text}}, Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			if c.First || c.Resume != nil {
				w.mark(c)
				return activity.Result{Outputs: map[string]any{"Output": c.Input}}, nil
			}
			return activity.Result{Suspend: &activity.Bookmark{Kind: "test", Key: c.Text("Key")}}, nil
		}},
		{Type: "Send", Acts: true, Run: w.blocks},
		{Type: "Block", Run: w.blocks},
		{Type: "Answer", Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			return activity.Result{}, c.HTTP.Write(activity.Answer{Status: 200, Body: []byte("hello")})
		}},
		// Hasty runs a child that waits, and has it end before it waits itself.
		{Type: "Hasty", Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			if c.Resume != nil {
				return activity.Result{}, nil
			}
			end, err := c.Run.Child(ctx, activity.ChildStart{Definition: "child", Mode: activity.Blocking})
			if err != nil {
				return activity.Result{}, err
			}
			if _, err := w.eng.Resume(ctx, Resumption{RunID: end.RunID, Kind: "test", Key: "k"}); err != nil {
				return activity.Result{}, err
			}
			return activity.Result{Suspend: &activity.Bookmark{Kind: activity.WaitChild, Key: end.RunID}}, nil
		}},
		{Type: "Nap", Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			time.Sleep(time.Second)
			return activity.Result{}, nil
		}},
		{Type: "Panic", Run: func(context.Context, *activity.Call) (activity.Result, error) { panic("boo") }},
	}
}

// blocks waits until a test lets it go on.
func (w *world) blocks(ctx context.Context, c *activity.Call) (activity.Result, error) {
	w.mark(c)
	w.mu.Lock()
	b := w.block
	w.mu.Unlock()
	select {
	case <-b:
		return activity.Result{}, nil
	case <-ctx.Done():
		return activity.Result{}, ctx.Err()
	}
}

func (w *world) mark(c *activity.Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, c.Activity.ID)
}

func (w *world) traced() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := strings.Join(w.trace, " ")
	w.trace = nil
	return s
}

// A shelf is a library in memory.
type shelf struct {
	mu       sync.Mutex
	versions []*workflow.Version // the last of a name is published
}

func (s *shelf) find(ok func(*workflow.Version) bool) (*workflow.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.versions) - 1; i >= 0; i-- {
		if ok(s.versions[i]) {
			return s.versions[i], nil
		}
	}
	return nil, freshet.ErrNotFound
}

func (s *shelf) Published(_ context.Context, name string) (*workflow.Version, error) {
	return s.find(func(v *workflow.Version) bool { return v.Name == name && v.Published })
}

func (s *shelf) ByID(_ context.Context, id string) (*workflow.Version, error) {
	return s.find(func(v *workflow.Version) bool { return v.ID == id && v.Published })
}

func (s *shelf) Numbered(_ context.Context, id string, n int) (*workflow.Version, error) {
	return s.find(func(v *workflow.Version) bool { return v.ID == id && v.Number == n })
}

func (s *shelf) AllPublished(context.Context) ([]*workflow.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*workflow.Version(nil), s.versions...), nil
}

// A gopher evaluates: literals, JSON, variables, and as JavaScript the names of
// Go functions.
type gopher struct {
	mu sync.Mutex
	fn map[string]func(expr.Scope) any
}

func (g *gopher) Open(ctx context.Context) (context.Context, func()) { return ctx, func() {} }

func (g *gopher) Property(ctx context.Context, s expr.Scope, p *workflow.Property, f expr.Field) (any, error) {
	syntax, text, ok := p.Live(f.Syntax)
	if !ok {
		return nil, nil
	}
	v, err := g.Eval(ctx, s, syntax, text, f)
	if err != nil || v == nil {
		return nil, err
	}
	if text, ok := v.(string); ok {
		switch f.Kind {
		case expr.Bool:
			return strings.EqualFold(text, "true"), nil
		case expr.Int:
			var n int64
			if _, err := fmt.Sscan(text, &n); err != nil {
				return nil, nil
			}
			return n, nil
		case expr.List, expr.Texts:
			return nil, fmt.Errorf("%q is no list", text)
		}
	}
	return v, nil
}

func (g *gopher) Eval(_ context.Context, s expr.Scope, syntax, text string, f expr.Field) (any, error) {
	switch syntax {
	case workflow.Literal:
		return text, nil
	case workflow.JSON:
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, err
		}
		return v, nil
	case workflow.Variable:
		v, _ := s.Variable(text)
		return v, nil
	case workflow.Secret:
		return freshet.NewSecret(text), nil
	case workflow.Switch:
		var cases []struct{ Name, Syntax string }
		if err := json.Unmarshal([]byte(text), &cases); err != nil {
			return nil, err
		}
		out := make([]expr.Case, len(cases))
		for i, c := range cases {
			out[i] = expr.Case{Name: c.Name, Met: c.Syntax == "yes"}
		}
		return out, nil
	}
	g.mu.Lock()
	fn := g.fn[text]
	g.mu.Unlock()
	if fn == nil {
		return nil, fmt.Errorf("no function %q", text)
	}
	v := fn(s)
	if err, ok := v.(error); ok {
		return nil, err
	}
	return v, nil
}

func (g *gopher) Script(ctx context.Context, s expr.Scope, code string) (any, []string, error) {
	v, err := g.Eval(ctx, s, workflow.JavaScript, code, expr.Field{})
	if out, ok := v.([]string); ok {
		return nil, out, err
	}
	return v, nil, err
}

// define puts a version of a workflow on the shelf. Activities are
// "ID TYPE FIELD=TEXT FIELD:SYNTAX=TEXT …", a text with blanks in quotes of
// Go; edges are "A OUTCOME B".
func (w *world) define(name, text string, tweak ...func(*workflow.Version)) *workflow.Version {
	w.t.Helper()
	d := &workflow.Definition{ID: "file-" + name, Name: name}
	for _, line := range strings.Split(text, "\n") {
		f := fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) == 3 && !strings.Contains(line, "=") && has(d, f[0]) {
			d.Edges = append(d.Edges, workflow.Edge{Source: f[0], Outcome: f[1], Target: f[2]})
			continue
		}
		d.Activities = append(d.Activities, newActivity(f))
	}
	return w.put(name, d, tweak...)
}

func newActivity(f []string) workflow.Activity {
	a := workflow.Activity{ID: f[0], Name: f[0], Type: f[1]}
	for _, p := range f[2:] {
		key, value, _ := strings.Cut(p, "=")
		field, syntax, _ := strings.Cut(key, ":")
		q := workflow.Property{Name: field, Syntax: syntax, Expressions: map[string]string{}}
		if syntax == "" {
			// the field's default, whatever it is
			for _, s := range []string{workflow.Literal, workflow.JSON, workflow.Switch, workflow.Secret} {
				q.Expressions[s] = value
			}
		}
		q.Expressions[syntax] = value
		a.Properties = append(a.Properties, q)
	}
	return a
}

func (w *world) put(name string, d *workflow.Definition, tweak ...func(*workflow.Version)) *workflow.Version {
	v := &workflow.Version{ID: "id-" + name, Name: name, Number: 1, Published: true, Definition: d}
	for _, f := range tweak {
		f(v)
	}
	d.Index()
	w.lib.mu.Lock()
	defer w.lib.mu.Unlock()
	for _, o := range w.lib.versions {
		if o.ID == v.ID {
			v.Number = o.Number + 1
		}
	}
	w.lib.versions = append(w.lib.versions, v)
	return v
}

// fields splits a line at blanks outside of quotes.
func fields(line string) (out []string) {
	var b strings.Builder
	quoted := false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted = !quoted
		case (r == ' ' || r == '\t') && !quoted:
			if b.Len() > 0 {
				out = append(out, b.String())
				b.Reset()
			}
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}

// js gives a name to a Go function that expressions can call.
func (w *world) js(name string, fn func(s expr.Scope) any) {
	w.eval.mu.Lock()
	defer w.eval.mu.Unlock()
	w.eval.fn[name] = fn
}

func (w *world) run(name string, input any) Outcome {
	w.t.Helper()
	out, err := w.eng.Run(w.ctx, Request{Name: name, Input: input, Trigger: "api"})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// finished runs a workflow that has to finish.
func (w *world) finished(name string, input any) Outcome {
	w.t.Helper()
	out := w.run(name, input)
	if out.Status != run.Finished {
		w.t.Fatalf("%s is %s: %+v", name, out.Status, out.Fault)
	}
	return out
}

func (w *world) is(status run.Status, out Outcome) {
	w.t.Helper()
	if out.Status != status {
		w.t.Errorf("the run is %s, want %s; fault %+v", out.Status, status, out.Fault)
	}
	r, err := w.journal.Get(w.ctx, out.RunID)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Status != status {
		w.t.Errorf("the journal says %s, want %s; fault %+v", r.Status, status, r.Fault)
	}
}

func (w *world) ran(want string) {
	w.t.Helper()
	if got := w.traced(); got != want {
		w.t.Errorf("ran  %s\nwant %s", got, want)
	}
}

func (w *world) get(id run.ID) run.Run {
	w.t.Helper()
	r, err := w.journal.Get(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) steps(id run.ID) []run.Record {
	w.t.Helper()
	steps, err := w.journal.Steps(w.ctx, id, 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return steps
}

// resume resumes what waits under a key of the kind "test".
func (w *world) resume(id run.ID, key string, input any) Outcome {
	w.t.Helper()
	out, err := w.eng.Resume(w.ctx, Resumption{RunID: id, Kind: "test", Key: key, Input: input})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// instances counts stored states.
func (w *world) instances() (n int) {
	w.t.Helper()
	if err := w.store.DB().Read().QueryRow(w.ctx, `SELECT COUNT(*) FROM instances`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

var errTest = errors.New("it does not work")

func has(d *workflow.Definition, id string) bool {
	for _, a := range d.Activities {
		if a.ID == id {
			return true
		}
	}
	return false
}

func show(v any) string { return fmt.Sprint(v) }

func typeName(v any) string { return fmt.Sprintf("%T", v) }

// settle waits, in fake time, until a run stands still.
func (w *world) settle(id run.ID) {
	w.t.Helper()
	for range 1000 {
		synctest.Wait()
		if w.eng.running(id) == nil {
			if r, err := w.journal.Get(w.ctx, id); err == nil && r.Status != run.Running && r.Status != run.Idle {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("run %s does not come to rest", id)
}
