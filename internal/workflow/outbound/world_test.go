package outbound

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
)

// An api remembers what arrived.
type api struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	body []string
}

func newAPI(t *testing.T, serve http.HandlerFunc) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, r)
		a.body = append(a.body, string(b))
		a.mu.Unlock()
		if serve != nil {
			serve(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) last(t *testing.T) (*http.Request, string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		t.Fatal("nothing arrived")
	}
	return a.seen[len(a.seen)-1], a.body[len(a.body)-1]
}

func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

func guard(t *testing.T, allow ...string) *dial.Guard {
	t.Helper()
	g, err := dial.New(dial.Options{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// local are options that may reach this machine.
func local(t *testing.T) Options {
	t.Helper()
	g := guard(t, "127.0.0.0/8")
	return Options{Transport: g.Transport(dial.Upstream), Caller: upstream.New(upstream.Options{Dialer: g})}
}

// An account is a connection whose provider is in memory.
type account struct {
	mu        sync.Mutex
	def       *freshet.Definition
	gen       int64
	refreshes int
	none      error
	asked     time.Duration
	expiry    time.Time
}

func newAccount(name string, api *freshet.API) *account {
	return &account{gen: 1, def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: name, API: api}}}
}

func (a *account) Definition() *freshet.Definition { return a.def }

func (a *account) token() *freshet.Token {
	return &freshet.Token{Access: freshet.NewSecret(fmt.Sprintf("token-%d", a.gen)), Scheme: "Bearer", Type: "bearer", Generation: a.gen, Expiry: a.expiry}
}

func (a *account) Token(_ context.Context, ttl time.Duration) (*freshet.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = ttl
	if a.none != nil {
		return nil, a.none
	}
	return a.token(), nil
}

func (a *account) Rejected(_ context.Context, gen int64) (*freshet.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if gen == a.gen {
		a.gen++
		a.refreshes++
	}
	return a.token(), nil
}

func (a *account) StillRejected(int64) {}

type accounts map[string]*account

func (m accounts) Connection(_ context.Context, name string) (upstream.Connection, error) {
	if a, ok := m[name]; ok {
		return a, nil
	}
	return nil, fmt.Errorf("connection %s: %w", name, freshet.ErrNotFound)
}

func spec(t testing.TB, o Options, typ string) *activity.Spec {
	t.Helper()
	s, ok := activity.NewRegistry(Specs(o)...).Lookup(typ)
	if !ok {
		t.Fatalf("no %s", typ)
	}
	return s
}

// do runs an activity with fields, whose outcomes lead on as edges say.
func do(t testing.TB, o Options, typ string, in map[string]any, edges ...string) (activity.Result, *activitytest.Run, error) {
	t.Helper()
	s := spec(t, o, typ)
	c, run := activitytest.New(t, s, in)
	run.Def.Activities = []workflow.Activity{{ID: c.Activity.ID, Type: typ}, {ID: "next", Type: "WriteLine"}}
	for _, e := range edges {
		run.Def.Edges = append(run.Def.Edges, workflow.Edge{Source: c.Activity.ID, Target: "next", Outcome: e})
	}
	run.Def.Index()
	res, err := s.Run(t.Context(), c)
	return res, run, err
}
