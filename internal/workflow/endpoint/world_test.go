package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

type m = map[string]any

// A world is a handler over workflows, a runner and keys that a test decides.
type world struct {
	*Handler
	t    *testing.T
	list []*workflow.Version
	log  bytes.Buffer

	mu       sync.Mutex
	started  []Start
	resumed  []Wait
	waiting  map[string][]Wait // by key, and by key + " " + correlation
	result   func(s Start) (End, error)
	cells    map[string]string // TABLE/KEY/COLUMN
	tokens   map[string]string
	refusals map[string]int
}

func newWorld(t *testing.T, list ...*workflow.Version) *world {
	t.Helper()
	w := &world{t: t, list: list, waiting: map[string][]Wait{}, cells: map[string]string{}, tokens: map[string]string{}, refusals: map[string]int{}}
	w.result = func(Start) (End, error) {
		return End{RunID: "run1", Status: "finished", Outcomes: []string{"Done"}}, nil
	}
	w.Handler = New(Options{Library: w, Evaluator: evaluator{}, Runner: w, Gate: w, References: w, Values: redact.NewValues(0),
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Refused: func(name, why string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refusals[name+" "+why]++
		}})
	w.rebuild()
	return w
}

func (w *world) rebuild() {
	w.t.Helper()
	if err := w.Rebuild(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) AllPublished(context.Context) ([]*workflow.Version, error) { return w.list, nil }

// AuthorizeRun knows two keys.
func (w *world) AuthorizeRun(r *http.Request, name string) (string, error) {
	switch r.Header.Get("Authorization") {
	case "Bearer fk_all":
		return "key:all#1", nil
	case "Bearer fk_other":
		return "", problem.New(http.StatusForbidden, "scope-missing", "The API key does not allow this", "run:"+name)
	}
	return "", problem.New(http.StatusUnauthorized, "key-missing", "An API key is needed", "")
}

func (w *world) Cell(_ context.Context, table, key, column string) (freshet.Secret, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.cells[table+"/"+key+"/"+column]
	return freshet.NewSecret(v), ok, nil
}

func (w *world) Token(_ context.Context, name string) (freshet.Secret, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.tokens[name]
	return freshet.NewSecret(v), ok, nil
}

func (w *world) Run(_ context.Context, s Start) (End, error) {
	w.mu.Lock()
	w.started = append(w.started, s)
	f := w.result
	w.mu.Unlock()
	return f(s)
}

func (w *world) Dispatch(_ context.Context, s Start) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = append(w.started, s)
	return "run2", nil
}

func (w *world) Waiting(_ context.Context, key, corr string, limit int) ([]Wait, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if corr != "" {
		key += " " + corr
	}
	list := w.waiting[key]
	return list[:min(limit, len(list))], nil
}

func (w *world) Resume(_ context.Context, wait Wait, input *model.Object, x *activity.HTTPExchange) (End, error) {
	w.mu.Lock()
	w.resumed = append(w.resumed, wait)
	f := w.result
	w.mu.Unlock()
	return f(Start{Input: input, HTTP: x})
}

func (w *world) runs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.started) + len(w.resumed)
}

func (w *world) last() Start {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.started) == 0 {
		w.t.Fatal("nothing ran")
	}
	return w.started[len(w.started)-1]
}

// ask sends a request; head is "Name: value" lines.
func (w *world) ask(method, target, body string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, h := range head {
		name, v, _ := strings.Cut(h, ": ")
		r.Header.Add(name, v)
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// prop is a property in a syntax.
func prop(name, syntax, text string) workflow.Property {
	return workflow.Property{Name: name, Syntax: syntax, Expressions: map[string]string{syntax: text}}
}

// endpoint is an HttpEndpoint activity; props are "Name=literal".
func endpoint(id, path, methods string, props ...workflow.Property) workflow.Activity {
	a := workflow.Activity{ID: id, Type: Type, Name: id, Properties: []workflow.Property{prop("Path", workflow.Literal, path)}}
	if methods != "" {
		a.Properties = append(a.Properties, workflow.Property{Name: "Methods", Expressions: map[string]string{workflow.JSON: methods}})
	}
	a.Properties = append(a.Properties, props...)
	return a
}

// version is a published workflow; edges are "from>to".
func version(name string, public bool, activities []workflow.Activity, edges ...string) *workflow.Version {
	d := &workflow.Definition{ID: "def-" + name, Name: name, Activities: activities}
	for _, e := range edges {
		from, to, _ := strings.Cut(e, ">")
		d.Edges = append(d.Edges, workflow.Edge{Source: from, Target: to})
	}
	d.Index()
	return &workflow.Version{ID: "id-" + name, Name: name, Number: 1, Published: true, Definition: d, Attachments: workflow.Attachments{Public: public}}
}

// evaluator knows just enough syntax for the endpoints of tests.
type evaluator struct{}

func (evaluator) Property(_ context.Context, s expr.Scope, p *workflow.Property, f expr.Field) (any, error) {
	syntax, text, ok := p.Live(f.Syntax)
	if !ok {
		return nil, nil
	}
	switch syntax {
	case workflow.Literal:
		if f.Kind == expr.Bool {
			if text == "" {
				return nil, nil
			}
			return strconv.ParseBool(text)
		}
		return text, nil
	case workflow.JSON:
		var v any
		err := json.Unmarshal([]byte(text), &v)
		return v, err
	case workflow.Variable:
		v, _ := s.Variable(text)
		return v, nil
	case workflow.Liquid:
		for name, v := range s.Variables() {
			text = strings.ReplaceAll(text, "{{Variables."+name+"}}", fmt.Sprint(v))
		}
		if strings.Contains(text, "{{") {
			text = ""
		}
		return text, nil
	}
	return nil, errors.New("the script of CANARY throws")
}
