package process_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
)

// scheduled runs a test beside a poller that presses buttons.
func scheduled(t *testing.T, fn func(t *testing.T, w *world, p *schedule.Poller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t)
		q := queue.NewLocal(queue.Options{Store: w.store, Poll: time.Hour})
		p := schedule.New(schedule.Options{Store: w.store, Queue: q, Poll: time.Minute, Targets: map[string]schedule.Target{schedule.TargetProcess: w.Target(), process.KindExpiry: w.Expiry()}})
		q.Register(p.Kind())
		if err := q.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		p.Start()
		defer q.Close(context.Background())
		defer p.Close()
		fn(t, w, p)
	})
}

func (w *world) schedule(p *schedule.Poller, name string, s freshet.Schedule) {
	w.t.Helper()
	if err := w.store.Change(context.Background(), func(c *store.Change) error { return schedule.Declare(c, "id-"+name, name, s) }); err != nil {
		w.t.Fatal(err)
	}
	p.Nudge()
}

func (w *world) history(name string) []store.Firing {
	w.t.Helper()
	synctest.Wait()
	l, err := w.store.Firings(context.Background(), "id-"+name, 1<<60, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func every(d time.Duration) freshet.Duration { return freshet.Duration(d) }

// With nobody calling, at no moment of three hours is the stored token spent.
func TestClock(t *testing.T) {
	t.Run("cap068 55 minutes keep what an instance holds fresh for three hours", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			w.press("TokenKeeper-1", "Refresh")
			w.schedule(p, "fresh", freshet.Schedule{Every: every(55 * time.Minute), Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"})
			for range 180 {
				time.Sleep(time.Minute)
				synctest.Wait()
				in, err := w.Instance(t.Context(), "TokenKeeper", "TokenKeeper-1")
				if err != nil || !in.ExpiresAt.After(time.Now()) {
					t.Fatalf("at %v the stored token ended at %v (%v)", time.Now(), in.ExpiresAt, err)
				}
			}
			if n := len(w.took()); n != 4 {
				t.Errorf("%d requests", n)
			}
			if events, err := w.store.Events(t.Context(), "", 0, 100); err != nil || len(events) != 0 {
				t.Errorf("%+v, %v", events, err)
			}
			if h := w.history("fresh"); len(h) != 3 || h[0].Status != store.FiringSucceeded || h[0].Run == "" || !strings.HasPrefix(h[0].Message, "saved TokenKeeper-1, expires ") {
				t.Errorf("%+v", h)
			}
		})
	})
	t.Run("a token that nobody renews is an event when it expires", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			w.press("TokenKeeper-1", "Refresh")
			time.Sleep(30 * time.Minute)
			w.press("TokenKeeper-1", "Refresh")
			time.Sleep(59 * time.Minute)
			synctest.Wait()
			if events, err := w.store.Events(t.Context(), "", 0, 100); err != nil || len(events) != 0 {
				t.Fatalf("%+v, %v", events, err)
			}
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			events, err := w.store.Events(t.Context(), "", 0, 100)
			if err != nil || len(events) != 1 || events[0].Type != process.EventExpired || events[0].Detail["instance"] != "TokenKeeper-1" || events[0].Detail["process"] != "TokenKeeper" {
				t.Fatalf("%+v, %v", events, err)
			}
			if at, _ := events[0].Detail["expired_at"].(string); at == "" {
				t.Error(events[0].Detail)
			}
		})
	})
	t.Run("cap138 an empty instance is a new one each time, a deleted one a failed run", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			w.schedule(p, "anew", freshet.Schedule{Every: every(time.Hour), Process: "TokenKeeper", Trigger: "button:Refresh"})
			w.schedule(p, "gone", freshet.Schedule{Every: every(time.Hour), Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"})
			time.Sleep(150 * time.Minute)
			synctest.Wait()
			if err := w.Delete(t.Context(), "TokenKeeper", "TokenKeeper-1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			list, err := w.Instances(t.Context(), "TokenKeeper", 0, 10)
			var ids []string
			for _, in := range list {
				ids = append(ids, in.ID)
			}
			if err != nil || fmt.Sprint(ids) != "[TokenKeeper-2 TokenKeeper-3 TokenKeeper-4]" {
				t.Error(ids, err)
			}
			h := w.history("gone")
			if len(h) != 3 || h[0].Status != store.FiringFailed || h[1].Status != store.FiringSucceeded || h[0].Message != "process TokenKeeper has no instance TokenKeeper-1: it was deleted, or never saved; name another one, or none for a new one" {
				t.Errorf("%+v", h)
			}
		})
	})
	t.Run("cap139 the target is a button, a field's rules or one rule", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			w.schedule(p, "one", freshet.Schedule{Every: every(time.Hour), Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "rule:ask"})
			w.schedule(p, "none", freshet.Schedule{Every: every(time.Hour), Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "rule:nope"})
			time.Sleep(61 * time.Minute)
			h := w.history("one")
			if len(h) != 1 || h[0].Message != "nothing was saved" || w.steps(h[0].Run) != "Refresh/2 Create item Executed" {
				t.Errorf("%+v", h)
			}
			if h := w.history("none"); len(h) != 1 || h[0].Status != store.FiringFailed || !strings.HasPrefix(h[0].Message, "process TokenKeeper has no rule:nope: it has button:Refresh") {
				t.Errorf("%+v", h)
			}
		})
	})
	t.Run("a firing that is attempted again presses once", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			f := schedule.Firing{Name: "x", Key: "k", When: &freshet.Schedule{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"}}
			first, err := w.Target().Fire(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			again, err := w.Target().Fire(t.Context(), f)
			if err != nil || again.Run != first.Run || len(w.took()) != 1 {
				t.Errorf("%+v, %+v, %v", first, again, err)
			}
		})
	})
	t.Run("a request that fires on demand may name the instance", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			f := schedule.Firing{Name: "x", Key: "k", When: &freshet.Schedule{Process: "TokenKeeper", Trigger: "button:Refresh"}, Input: []byte(`{"instanceID":"TokenKeeper-1"}`)}
			out, err := w.Target().Fire(t.Context(), f)
			if err != nil || !strings.HasPrefix(out.Message, "saved TokenKeeper-1,") {
				t.Errorf("%+v, %v", out, err)
			}
			f.Key, f.Input = "l", []byte(`{"instanceID":"Other-1"}`)
			if out, err := w.Target().Fire(t.Context(), f); err == nil {
				t.Errorf("%+v", out)
			}
		})
	})
	t.Run("a failing provider fails the firing and nothing else", func(t *testing.T) {
		scheduled(t, func(t *testing.T, w *world, p *schedule.Poller) {
			w.answers(func(rw http.ResponseWriter, _ sent) { rw.WriteHeader(503) })
			w.schedule(p, "fresh", freshet.Schedule{Every: every(55 * time.Minute), Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"})
			time.Sleep(56 * time.Minute)
			if h := w.history("fresh"); len(h) != 1 || h[0].Status != store.FiringFailed || h[0].Message != "Create item (Refresh/2): Get/Refresh Auth Token of Acme: answered with status 503" || h[0].Run == "" {
				t.Errorf("%+v", h)
			}
			if w.value("TokenKeeper-1", "RefreshToken") != "CANARY-refresh-0" {
				t.Error("the saved instance is not as it was")
			}
		})
	})
}

// A save waits for a store that takes no writes: what it holds is the only copy.
func TestSaveInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var db *refusing
		w := newBubble(t, func(o *process.Options) {
			st := o.Store.(*store.Store)
			db = &refusing{DB: st.DB()}
			o.Store = store.New(db)
		})
		w.answers(func(rw http.ResponseWriter, s sent) {
			db.set(true)
			time.AfterFunc(10*time.Second, func() { db.set(false) })
			fmt.Fprint(rw, `{"access_token":"CANARY-new","refresh_token":"CANARY-next"}`)
		})
		if r := w.press("TokenKeeper-1", "Refresh"); r.Fault != nil || w.value("TokenKeeper-1", "RefreshToken") != "CANARY-next" {
			t.Errorf("%+v", r.Fault)
		}
	})
}

// refusing is a database that takes no writes for a while.
type refusing struct {
	store.DB
	mu  sync.Mutex
	off bool
}

func (r *refusing) set(off bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off = off
}

func (r *refusing) Tx(ctx context.Context, fn func(store.Querier) error) error {
	r.mu.Lock()
	off := r.off
	r.mu.Unlock()
	if off {
		return store.ErrReadOnly
	}
	return r.DB.Tx(ctx, fn)
}
