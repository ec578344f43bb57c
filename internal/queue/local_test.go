package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// A world is a store, and a runner over it that can be replaced.
type world struct {
	t     *testing.T
	store *store.Store
	*queue.Local

	mu   sync.Mutex
	seen []queue.Task
	at   []time.Duration
	from time.Time
	do   func(ctx context.Context, t queue.Task) error
}

func inWorld(t *testing.T, workers int, fn func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		w := &world{t: t, store: st, from: time.Now(), do: func(context.Context, queue.Task) error { return nil }}
		w.start(workers)
		defer func() { w.Close(context.Background()) }()
		fn(w)
	})
}

func (w *world) start(workers int) {
	w.Local = queue.NewLocal(queue.Options{Store: w.store, Workers: workers})
	w.Register(queue.Kind{Name: "k", Do: w.task, Backoff: queue.Doubling(time.Second, 4*time.Second)}, queue.Kind{Name: "once", Do: w.task, Timeout: time.Minute})
	if err := w.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) task(ctx context.Context, t queue.Task) error {
	w.mu.Lock()
	w.seen = append(w.seen, t)
	w.at = append(w.at, time.Since(w.from))
	do := w.do
	w.mu.Unlock()
	return do(ctx, t)
}

func (w *world) enqueue(jobs ...queue.Job) {
	w.t.Helper()
	if err := w.store.DB().Tx(context.Background(), func(tx store.Querier) error { return w.Enqueue(context.Background(), tx, jobs...) }); err != nil {
		w.t.Fatal(err)
	}
	w.Wake()
}

func (w *world) tasks() []queue.Task {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *world) left() int {
	w.t.Helper()
	queued, running, err := w.store.CountJobs(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return int(queued + running)
}

func TestAJobIsCarriedOutOnce(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.enqueue(queue.Job{Kind: "k", Ref: "a"}, queue.Job{ID: "j", Kind: "k", Ref: "b"}, queue.Job{ID: "j", Kind: "k", Ref: "c"}, queue.Job{Kind: "k", Ref: "d", After: time.Now().Add(time.Hour)})
		if got := w.tasks(); len(got) != 2 {
			t.Errorf("carried out %v", got)
		}
		time.Sleep(time.Hour)
		if got := w.tasks(); len(got) != 3 || got[2] != (queue.Task{Kind: "k", Ref: "d", Attempt: 1}) || w.at[2] != time.Hour {
			t.Errorf("carried out %v at %v", got, w.at)
		}
		time.Sleep(time.Minute)
		if n := w.left(); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

func TestWhatIsRolledBackIsNotCarriedOut(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		stop := errors.New("stop")
		err := w.store.DB().Tx(context.Background(), func(tx store.Querier) error {
			if err := w.Enqueue(context.Background(), tx, queue.Job{Kind: "k", Ref: "a"}); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if err := w.store.DB().Tx(context.Background(), func(tx store.Querier) error {
			return w.Enqueue(context.Background(), tx, queue.Job{Kind: "other", Ref: "a"})
		}); !errors.Is(err, queue.ErrUnknownKind) {
			t.Errorf("a job of an unknown kind: %v", err)
		}
		time.Sleep(time.Hour)
		if got := w.tasks(); len(got) != 0 {
			t.Errorf("carried out %v", got)
		}
	})
}

func TestAFailedJobIsTriedAgain(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.do = func(_ context.Context, t queue.Task) error {
			if t.Attempt == 2 {
				panic("at the second")
			}
			if t.Attempt < 5 {
				return errors.New("not yet")
			}
			return nil
		}
		w.enqueue(queue.Job{Kind: "k", Ref: "a"})
		time.Sleep(time.Hour)
		w.tasks()
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 11 * time.Second}; !slices.Equal(w.at, want) {
			t.Errorf("attempts at %v, want %v", w.at, want)
		}
		if n := w.left(); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		w.do = func(ctx context.Context, t queue.Task) error { <-ctx.Done(); return ctx.Err() }
		w.enqueue(queue.Job{Kind: "once", Ref: "a"}) // no back-off, and a minute
		time.Sleep(time.Hour)
		if got := w.tasks(); len(got) != 6 || w.left() != 0 {
			t.Errorf("%d attempts, %d rows", len(got), w.left())
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		var mu sync.Mutex
		now, peak := 0, 0
		w.do = func(context.Context, queue.Task) error {
			mu.Lock()
			now++
			peak = max(peak, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		for i := range 20 {
			w.enqueue(queue.Job{Kind: "k", Ref: fmt.Sprint(i)})
		}
		time.Sleep(7*time.Second + time.Millisecond)
		if got := w.tasks(); len(got) != 20 || peak != 3 {
			t.Errorf("%d jobs in 7 s, %d at once", len(got), peak)
		}
	})
}

func TestF92_a_job_ends_within_the_grace_or_is_carried_out_again(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.do = func(ctx context.Context, t queue.Task) error {
			if t.Attempt > 1 {
				return nil
			}
			d := map[string]time.Duration{"short": 10 * time.Second, "long": time.Hour}[t.Ref]
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.enqueue(queue.Job{Kind: "k", Ref: "short"}, queue.Job{Kind: "once", Ref: "long"})
		w.tasks()
		w.enqueue(queue.Job{Kind: "k", Ref: "queued"})
		w.tasks()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := w.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(w.from) != 30*time.Second {
			t.Errorf("close took %v: %v", time.Since(w.from), err)
		}
		if got := w.tasks(); len(got) != 2 {
			t.Errorf("begun: %v", got)
		}
		w.start(2)
		got := w.tasks()[2:]
		slices.SortFunc(got, func(a, b queue.Task) int { return a.Attempt - b.Attempt })
		if want := []queue.Task{{Kind: "k", Ref: "queued", Attempt: 1}, {Kind: "once", Ref: "long", Attempt: 2}}; !slices.Equal(got, want) {
			t.Errorf("after the restart %v, want %v", got, want)
		}
	})
}

// A process that is killed says goodbye to nobody: its rows are as they were.
func TestF94_a_killed_process_loses_no_job(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		hang := make(chan struct{})
		w.do = func(ctx context.Context, t queue.Task) error {
			if t.Attempt == 1 {
				<-hang
			}
			return nil
		}
		w.enqueue(queue.Job{Kind: "k", Ref: "a"})
		w.tasks()
		dead := w.Local
		w.start(2) // the next process
		if got := w.tasks(); len(got) != 2 || got[1] != (queue.Task{Kind: "k", Ref: "a", Attempt: 2}) {
			t.Errorf("carried out %v", got)
		}
		close(hang)
		dead.Close(context.Background())
	})
}
