package river_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/queue/river"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// A world is a database and what was carried out over it. PostgreSQL has a clock
// of its own, so that what has to happen is waited for.
type world struct {
	t  *testing.T
	st *store.Store

	mu   sync.Mutex
	seen []queue.Task
	do   func(ctx context.Context, t queue.Task) error
}

func newWorld(t *testing.T, o postgres.Options) *world {
	t.Helper()
	st, err := postgres.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &world{t: t, st: st, do: func(context.Context, queue.Task) error { return nil }}
}

func (w *world) runner(id string, tweak ...func(*river.Options)) *river.Runner {
	w.t.Helper()
	o := river.Options{DB: w.st.DB().(*postgres.DB), ID: id, Workers: 4}
	for _, f := range tweak {
		f(&o)
	}
	r, err := river.New(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Register(queue.Kind{Name: "k", Do: w.task, Backoff: func(int) (time.Duration, bool) { return 10 * time.Millisecond, true }}, queue.Kind{Name: "once", Do: w.task})
	return r
}

func (w *world) start(r *river.Runner) {
	w.t.Helper()
	if err := r.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.Close(ctx)
	})
}

func (w *world) task(ctx context.Context, t queue.Task) error {
	w.mu.Lock()
	w.seen = append(w.seen, t)
	do := w.do
	w.mu.Unlock()
	return do(ctx, t)
}

func (w *world) tasks() []queue.Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *world) enqueue(r *river.Runner, jobs ...queue.Job) {
	w.t.Helper()
	if err := w.st.DB().Tx(w.t.Context(), func(tx store.Querier) error { return r.Enqueue(w.t.Context(), tx, jobs...) }); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for what has to happen.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s has not come: %v", what, w.tasks())
		}
	}
}

// unfinished counts River's jobs that are not over.
func (w *world) unfinished() (n int64) {
	w.t.Helper()
	if err := w.st.DB().Read().QueryRow(w.t.Context(), `SELECT count(*) FROM river_job WHERE finalized_at IS NULL`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestJobs(t *testing.T) {
	w := newWorld(t, postgres.Options{URL: pgtest.Database(t)})
	w.do = func(_ context.Context, t queue.Task) error {
		switch {
		case t.Ref == "thrice" && t.Attempt == 2:
			panic("at the second")
		case t.Ref == "thrice" && t.Attempt < 3, t.Ref == "never":
			return errors.New("not yet")
		}
		return nil
	}
	r := w.runner("r1")
	w.start(r)
	stop := errors.New("stop")
	if err := w.st.DB().Tx(t.Context(), func(tx store.Querier) error {
		return errors.Join(r.Enqueue(t.Context(), tx, queue.Job{Kind: "k", Ref: "rolled back"}), stop)
	}); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := w.st.DB().Tx(t.Context(), func(tx store.Querier) error {
		return r.Enqueue(t.Context(), tx, queue.Job{Kind: "other", Ref: "x"})
	}); !errors.Is(err, queue.ErrUnknownKind) {
		t.Errorf("a job of an unknown kind: %v", err)
	}
	w.enqueue(r, queue.Job{Kind: "k", Ref: "a"}, queue.Job{ID: "j", Kind: "k", Ref: "b", After: time.Now().Add(time.Second)}, queue.Job{ID: "j", Kind: "k", Ref: "twice"},
		queue.Job{Kind: "k", Ref: "thrice"}, queue.Job{Kind: "once", Ref: "never"})
	w.until("the end", func() bool { return w.unfinished() == 0 })
	count := map[string]int{}
	for _, task := range w.tasks() {
		count[task.Ref]++
	}
	if want := map[string]int{"a": 1, "b": 1, "thrice": 3, "never": 1}; fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("carried out %v, want %v", count, want)
	}
	// A second replica finds the tables as they are.
	w.start(w.runner("r2"))
}

// Through a pooler of transactions, and with no way around it, jobs are looked
// for.
func TestBehindAPooler(t *testing.T) {
	s := pgtest.Shared(t)
	p := s.PgBouncer(t, 8)
	w := newWorld(t, postgres.Options{URL: p.URL(pgtest.Database(t))})
	r := w.runner("r1")
	w.start(r)
	for i := range 20 {
		w.enqueue(r, queue.Job{Kind: "k", Ref: fmt.Sprint(i)})
	}
	w.until("the end", func() bool { return len(w.tasks()) == 20 })
}

func TestF94_jobs_of_a_process_that_died_are_carried_out_by_another(t *testing.T) {
	w := newWorld(t, postgres.Options{URL: pgtest.Database(t)})
	hang := make(chan struct{})
	defer close(hang)
	w.do = func(ctx context.Context, task queue.Task) error {
		if task.Attempt == 1 {
			select {
			case <-hang:
			case <-ctx.Done():
			}
		}
		return nil
	}
	dead := w.runner("dead")
	w.start(dead)
	if err := w.st.Enlist(t.Context(), store.Replica{ID: "dead", Place: "there", Version: "1"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	w.enqueue(dead, queue.Job{Kind: "k", Ref: "a"})
	w.until("the first attempt", func() bool { return len(w.tasks()) == 1 })
	// Its own next process takes it back at once.
	w.start(w.runner("dead"))
	w.until("the second attempt", func() bool { return len(w.tasks()) == 2 })
	// Another's does so when it has been silent for long enough.
	w.enqueue(dead, queue.Job{Kind: "k", Ref: "b"})
	w.until("the first attempt of b", func() bool { return len(w.tasks()) == 3 })
	w.start(w.runner("other", func(o *river.Options) {
		o.Store, o.Gone, o.Sweep = w.st, 300*time.Millisecond, 50*time.Millisecond
	}))
	w.until("the second attempt of b", func() bool { return len(w.tasks()) == 4 })
	if got := w.tasks()[3]; got.Ref != "b" || got.Attempt != 2 {
		t.Errorf("carried out %v", got)
	}
}

func TestF92_what_is_interrupted_goes_on_elsewhere(t *testing.T) {
	w := newWorld(t, postgres.Options{URL: pgtest.Database(t)})
	w.do = func(ctx context.Context, task queue.Task) error {
		if task.Attempt == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	r := w.runner("r1")
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.enqueue(r, queue.Job{Kind: "once", Ref: "a"})
	w.until("the first attempt", func() bool { return len(w.tasks()) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	w.start(w.runner("r2"))
	w.until("the second attempt", func() bool { return len(w.tasks()) == 2 })
}

// Three replicas, each with a poller and a runner, fire each instant once.
func TestF94_replicas_fire_each_instant_once(t *testing.T) {
	w := newWorld(t, postgres.Options{URL: pgtest.Database(t)})
	var mu sync.Mutex
	count := map[string]int{}
	for i := range 3 {
		r := w.runner(fmt.Sprint("r", i))
		p := schedule.New(schedule.Options{Store: w.st, Queue: r, Poll: 200 * time.Millisecond, Targets: map[string]schedule.Target{"refresh": schedule.TargetFunc(func(_ context.Context, f schedule.Firing) (schedule.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			count[f.Key]++
			return schedule.Outcome{}, nil
		})}})
		r.Register(p.Kind())
		w.start(r)
		p.Start()
		t.Cleanup(func() { p.Close() })
	}
	const schedules = 30
	if err := w.st.Change(t.Context(), func(c *store.Change) error {
		for i := range schedules {
			if err := schedule.Declare(c, fmt.Sprint("id-", i), fmt.Sprint("s", i), freshet.Schedule{Every: freshet.Duration(time.Second), Expire: &freshet.Expire{After: 3}, Refresh: "crm"}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	over := func() bool {
		next, err := w.st.NextTimer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return next.IsZero() && len(count) == 3*schedules
	}
	w.until("the end", over)
	mu.Lock()
	defer mu.Unlock()
	for key, n := range count {
		if n != 1 {
			t.Errorf("%s was fired %d times", key, n)
		}
	}
}
