package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/replica"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// An air carries what is said to all who listen, unless it is dead.
type air struct {
	mu   sync.Mutex
	dead bool
	ears []chan string
	said int
}

func (a *air) Announce(_ context.Context, texts ...string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said += len(texts)
	if a.dead {
		return errors.New("nobody hears")
	}
	for _, t := range texts {
		if len(t) > 7999 {
			return errors.New("PostgreSQL would not take it")
		}
		for _, e := range a.ears {
			e <- t
		}
	}
	return nil
}

func (a *air) Listen(ctx context.Context, begun func(), heard func(string)) error {
	ear := make(chan string, 1000)
	a.mu.Lock()
	a.ears = append(a.ears, ear)
	a.mu.Unlock()
	begun()
	for {
		select {
		case t := <-ear:
			heard(t)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deaf is a bus on which nobody can listen.
type deaf struct{ *air }

func (deaf) Listen(context.Context, func(), func(string)) error { return errors.New("behind a pooler") }

// A member is a group with what it was told.
type member struct {
	*replica.Group
	mu     sync.Mutex
	tokens map[string]int64
	kinds  []string
	keys   int
	spills int64
}

func (m *member) told() (map[string]int64, []string, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.tokens), append([]string{}, m.kinds...), m.keys
}

func (m *member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens, m.kinds, m.keys = map[string]int64{}, nil, 0
}

func join(t *testing.T, st *store.Store, id string, bus replica.Bus, poll ...time.Duration) *member {
	t.Helper()
	m := &member{tokens: map[string]int64{}}
	if err := st.Enlist(t.Context(), store.Replica{ID: id, Place: id + ":/data"}, 0); err != nil {
		t.Fatal(err)
	}
	g, err := replica.Start(t.Context(), replica.Options{
		Self: store.Replica{ID: id, Place: id + ":/data"}, Store: st, Bus: bus, Poll: append(poll, 0)[0],
		Token: func(name string, gen int64) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.tokens[name] = gen
		},
		Resources: func(kind string, names []string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.kinds = append(m.kinds, kind+fmt.Sprint(names))
		},
		Keyring: func(context.Context) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.keys++
			return nil
		},
		Look: func(context.Context) error { return nil },
		Spilled: func() int64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.spills
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Group = g
	return m
}

// revise brings all resources together to the next revision.
func revise(t *testing.T, st *store.Store) int64 {
	t.Helper()
	r, err := st.Resource(t.Context(), "epoch", "resources")
	if errors.Is(err, store.ErrNotFound) {
		r = store.Resource{ID: "epoch", Kind: "epoch", Name: "resources", Spec: "{}"}
	} else if err != nil {
		t.Fatal(err)
	}
	r.Revision++
	if err := st.Change(t.Context(), func(c *store.Change) error { return c.Put(r) }); err != nil {
		t.Fatal(err)
	}
	return r.Revision
}

func inBubble(t *testing.T, fn func(t *testing.T, st *store.Store)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		fn(t, st)
	})
}

func (m *member) close(t *testing.T) {
	t.Helper()
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsToldIsHeard(t *testing.T) {
	inBubble(t, func(t *testing.T, st *store.Store) {
		bus := &air{}
		a, b := join(t, st, "a", bus), join(t, st, "b", bus)
		defer a.close(t)
		defer b.close(t)
		synctest.Wait()
		a.forget()
		b.forget()
		a.Token("crm", 7)
		a.Token("erp", 0)
		a.Changed(revise(t, st), "clients", []string{"acme"})
		a.Rekeyed()
		synctest.Wait() // no time has passed
		tokens, kinds, keys := b.told()
		if !maps.Equal(tokens, map[string]int64{"crm": 7, "erp": 0}) || fmt.Sprint(kinds) != "[clients[acme]]" || keys != 1 {
			t.Errorf("%v %v %d", tokens, kinds, keys)
		}
		if tokens, kinds, keys := a.told(); len(tokens)+len(kinds)+keys != 0 {
			t.Errorf("it was told what it had said: %v %v %d", tokens, kinds, keys)
		}
		// What was told is not found once more.
		b.forget()
		time.Sleep(time.Minute)
		if _, kinds, _ := b.told(); len(kinds) != 0 || b.Missed() != 0 {
			t.Errorf("%v, %d missed", kinds, b.Missed())
		}
		if !b.Listening() {
			t.Error("it says that it does not listen")
		}
	})
}

func TestWhatIsNotToldIsFound(t *testing.T) {
	for name, bus := range map[string]replica.Bus{"nobody can listen": deaf{&air{}}, "what is said is lost": &air{dead: true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, st *store.Store) {
				a, b := join(t, st, "a", bus), join(t, st, "b", bus)
				defer b.close(t)
				synctest.Wait()
				b.forget()
				a.Changed(revise(t, st), "clients", []string{"acme"})
				if err := st.AppendEvents(t.Context(), store.Event{Connection: "crm", Type: "token.refreshed", Detail: map[string]any{"generation": 3}},
					store.Event{Connection: "erp", Type: "connection.revoked", Detail: map[string]any{"generation": 3}}); err != nil {
					t.Fatal(err)
				}
				if err := st.SaveKeyring(t.Context(), []byte("ring"), 0); err != nil {
					t.Fatal(err)
				}
				time.Sleep(6 * time.Second)
				synctest.Wait()
				tokens, kinds, keys := b.told()
				if !maps.Equal(tokens, map[string]int64{"crm": 3, "erp": 0}) || fmt.Sprint(kinds) != "[[]]" || keys != 1 || b.Missed() != 1 {
					t.Errorf("%v %q %d, %d missed", tokens, kinds, keys, b.Missed())
				}
				b.forget()
				time.Sleep(time.Minute)
				if tokens, kinds, keys := b.told(); len(tokens)+len(kinds)+keys != 0 {
					t.Errorf("it was found again: %v %v %d", tokens, kinds, keys)
				}
				a.Close(context.Background())
			})
		})
	}
}

// A change that was told in the middle of others that were not hides none of
// them.
func TestAChangeBetweenOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, st *store.Store) {
		bus := &air{}
		a, b := join(t, st, "a", bus), join(t, st, "b", bus)
		defer a.close(t)
		defer b.close(t)
		synctest.Wait()
		b.forget()
		revise(t, st) // whoever made it died before it said so
		a.Changed(revise(t, st), "clients", []string{"acme"})
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, kinds, _ := b.told(); fmt.Sprint(kinds) != "[clients[acme] []]" || b.Missed() != 1 {
			t.Errorf("%q, %d missed", kinds, b.Missed())
		}
	})
}

func TestManyNames(t *testing.T) {
	inBubble(t, func(t *testing.T, st *store.Store) {
		bus := &air{}
		a, b := join(t, st, "a", bus), join(t, st, "b", bus)
		defer a.close(t)
		defer b.close(t)
		synctest.Wait()
		b.forget()
		var names []string
		for i := range 1000 {
			names = append(names, fmt.Sprintf("connection-%05d", i))
			a.Token(names[i], int64(i))
		}
		a.Changed(revise(t, st), "connections", names)
		synctest.Wait()
		tokens, kinds, _ := b.told()
		if len(tokens) != 1000 || tokens["connection-00999"] != 999 || fmt.Sprint(kinds) != "[[]]" {
			t.Errorf("%d tokens, %q", len(tokens), kinds)
		}
	})
}

func TestSilentReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T, st *store.Store) {
		bus := &air{}
		a, b := join(t, st, "a", bus, 10*time.Second), join(t, st, "b", bus)
		defer a.close(t)
		b.mu.Lock()
		b.spills = 2
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		if s := a.Silent(); len(s) != 0 {
			t.Errorf("%+v", s)
		}
		b.Close(context.Background()) // without taking its row away
		time.Sleep(40 * time.Second)
		if s := a.Silent(); len(s) != 1 || s[0].ID != "b" || s[0].Spilled != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(25 * time.Hour)
		if s := a.Silent(); len(s) != 1 {
			t.Errorf("one with spilled answers was forgotten: %+v", s)
		}
		if err := st.Discharge(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		list, err := st.Replicas(context.Background())
		if err != nil || len(list) != 2 {
			t.Errorf("it did not list itself again: %+v, %v", list, err)
		}
	})
}

func TestIdentify(t *testing.T) {
	ctx := t.Context()
	st, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spill-local"), []byte("answers"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := replica.Identify(ctx, st, dir, store.Replica{Version: "1", Protocol: 1})
	if err != nil || !strings.HasPrefix(first.ID, "r") || !strings.HasSuffix(first.Place, dir) {
		t.Fatalf("%+v, %v", first, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "spill-"+first.ID)); err != nil || string(b) != "answers" {
		t.Errorf("what an embedded store could not take is not taken over: %v", err)
	}
	again, err := replica.Identify(ctx, st, dir, store.Replica{})
	if err != nil || again.ID != first.ID {
		t.Errorf("after a restart %+v, %v", again, err)
	}
	// A copy of the directory, spill file and all, while the first one lives.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	other, err := replica.Identify(ctx, st, copied, store.Replica{})
	if err != nil || other.ID == first.ID {
		t.Fatalf("two processes live under one id: %+v, %v", other, err)
	}
	if _, err := os.Stat(filepath.Join(copied, "spill-"+other.ID)); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(copied, replica.IDFile)); err != nil || strings.TrimSpace(string(b)) != other.ID {
		t.Errorf("%q, %v", b, err)
	}
}
