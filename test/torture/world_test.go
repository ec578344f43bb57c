//go:build unix

package torture

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

var errDown = errors.New("the replica is down")

// A model is a provider's way with refresh tokens, and what may come of an
// answer that was lost on the wire.
type model struct {
	name     emulator.Model
	rotation string
	loses    bool // no client could keep the grant; it must be named lost_in_flight
}

var models = []model{
	{emulator.Static, "{ kind: never, reuse: accepted }", false},
	{emulator.Omitted, "{ kind: omitted, reuse: accepted }", false},
	{emulator.Sometimes, "{ kind: sometimes, reuse: refused }", true},
	{emulator.Rotate, "{ kind: always, reuse: refused }", true},
	{emulator.Grace, "{ kind: always, grace: 30s, reuse: revokes }", false},
	{emulator.PreviousOnly, "{ kind: always, grace: 24h, reuse: revokes }", false},
	{emulator.Replay, "{ kind: always, reuse: replayed }", false},
	{emulator.ReplayUntilUse, "{ kind: always, reuse: replayed }", false},
	{emulator.Accepting, "{ kind: always, reuse: accepted }", false},
	{emulator.Strict, "{ kind: always, reuse: revokes }", true},
}

// lifetime is how long the provider's access tokens live.
const lifetime = 5 * time.Second

// A plan is how much is done in a run.
type plan struct {
	seed        uint64
	replicas    int
	connections int
	refreshes   int // token requests that the provider answered with a token
	kills       int // of replicas
	pgKills     int
	limit       time.Duration
}

// A world is one run.
type world struct {
	t         *testing.T
	plan      plan
	ctx       context.Context // ends with the faults and the callers
	em        *emulator.Emulator
	began     time.Time // the emulator's stamp 0
	provider  *link
	pg        *pgtest.Server
	db        string // URL without any link
	masterKey string
	replicas  []*replica
	model     map[string]model // by connection

	mu       sync.Mutex
	key      string
	breaches []string
	seen     map[string]int64 // by connection: the highest generation that a caller was shown
	named    map[string]int   // losses by model
	done     map[string]int   // faults by kind
	reads    int
	checked  int // reads whose token the provider was asked about
	refused  map[string]int
}

func (w *world) breach(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.breaches) < 50 {
		w.breaches = append(w.breaches, fmt.Sprintf(format, args...))
	}
}

func (w *world) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[kind]++
}

func (w *world) counted(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done[kind]
}

func (w *world) adminKey() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.key
}

// random is a stream of its own for everybody who throws dice, so that who runs
// first changes nobody's throws.
func (w *world) random(who string) *mrand.Rand {
	var n uint64
	for _, c := range who {
		n = n*131 + uint64(c)
	}
	return mrand.New(mrand.NewPCG(w.plan.seed, n))
}

// urlOver is the database's address by way of a link.
func (w *world) urlOver(k *link) string {
	u, err := url.Parse(w.db)
	if err != nil {
		panic(err)
	}
	u.Host = k.addr()
	q := u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	// The server forgets commits that say nothing else: Freshet has to say it.
	w := &world{t: t, plan: p, pg: pgtest.Start(t, "synchronous_commit=off", "fsync=on"), model: map[string]model{}, seen: map[string]int64{}, named: map[string]int{}, done: map[string]int{}, refused: map[string]int{}}
	w.db = w.pg.Database(t)
	key := make([]byte, 32)
	rand.Read(key)
	w.masterKey = base64.StdEncoding.EncodeToString(key)

	em, base := emulatortest.Start(t, emulator.Options{Seed: fmt.Sprint(p.seed), Keep: 2_000_000})
	w.em, w.began = em, time.Now()
	w.provider = newLink(t, strings.TrimPrefix(base, "http://"))
	for n := range p.replicas {
		r := &replica{w: w, n: n, dir: filepath.Join(t.TempDir(), fmt.Sprint("replica-", n))}
		r.db = newLink(t, fmt.Sprintf("127.0.0.1:%d", w.pg.Port()))
		w.replicas = append(w.replicas, r)
	}

	// The first replica makes the schema and the admin key, and is told what
	// there is.
	first := w.replicas[0]
	if err := first.start(w.random("first")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(first.dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	w.key = strings.TrimSpace(string(b))
	first.connect()
	w.declare(t, "http://"+w.provider.addr())
	w.armDatabase(t)
	for _, r := range w.replicas[1:] {
		if err := r.start(w.random(fmt.Sprint("start ", r.n))); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// declare makes the connections, of every model as many.
func (w *world) declare(t *testing.T, base string) {
	t.Helper()
	providers, connections := map[string]any{}, map[string]any{}
	for i := range w.plan.connections {
		m := models[i%len(models)]
		name := fmt.Sprintf("%s-%03d", strings.ReplaceAll(string(m.name), "_", "-"), i)
		w.model[name] = m
		var rotation map[string]any
		if err := yaml.Unmarshal([]byte(m.rotation), &rotation); err != nil {
			t.Fatal(err)
		}
		profile := emulator.Profile{Model: m.name, Lifetime: freshet.Duration(lifetime)}
		if m.name == emulator.Grace {
			profile.Grace = freshet.Duration(30 * time.Second)
		}
		if err := w.em.Register(emulator.Client{ID: name, Secret: "app-secret-1", Profile: profile}); err != nil {
			t.Fatal(err)
		}
		providers["p-"+strings.ReplaceAll(string(m.name), "_", "-")] = map[string]any{"token_url": base + "/token", "client_auth": "basic", "rotation": rotation}
		connections[name] = map[string]any{"provider": "p-" + strings.ReplaceAll(string(m.name), "_", "-"), "id": name, "secret": "app-secret-1", "grant": "refresh_token", "api": map[string]any{"base_url": base}}
	}
	bundle, err := json.Marshal(map[string]any{"network": map[string]any{"allow": []string{"127.0.0.0/8"}}, "providers": providers, "connections": connections})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.replicas[0].client.Load().Apply(t.Context(), bundle, false); err != nil {
		t.Fatal(err)
	}
	for name := range w.model {
		if err := w.grant(t.Context(), w.replicas[0], name); err != nil {
			t.Fatal(err)
		}
	}
}

// grant has somebody consent, and brings what came of it.
func (w *world) grant(ctx context.Context, r *replica, name string) error {
	set, err := w.em.Issue(name, "user-"+name, "read")
	if err != nil {
		return err
	}
	in := map[string]any{"access_token": set.Access, "refresh_token": set.Refresh, "token_type": "Bearer", "expires_in": 0}
	c := r.client.Load()
	if c == nil {
		return errDown
	}
	return c.Do(ctx, "PUT", "/api/v1/connections/"+name+"/tokens", in, nil)
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.model)) }

// granted is how many tokens the provider has given.
func (w *world) granted() int {
	var n int64
	for _, c := range w.em.Stats().Clients {
		n += c.Granted
	}
	return int(n)
}
