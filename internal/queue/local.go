package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// Options are what a Local is made of. Store is required.
type Options struct {
	Store   *store.Store
	Workers int           // jobs at once; 0: 8
	Owner   string        // whose jobs are taken back at a start; "": local
	Poll    time.Duration // at most between looks; 0: 15 s
	Now     func() time.Time
	Log     *slog.Logger
}

// A Local carries jobs out in this process. What it was doing when it died is
// queued again by the next one of the same Owner.
type Local struct {
	o     Options
	kinds map[string]Kind
	wake  chan struct{}
	life  context.Context // of jobs
	stop  context.CancelFunc
	quit  chan struct{} // closed: claim no more
	once  sync.Once
	loop  sync.WaitGroup
	work  sync.WaitGroup

	mu      sync.Mutex
	running int
	done    []string // ids of jobs that are done and still have a row
}

// NewLocal returns a runner that Start begins. Register its kinds before.
func NewLocal(o Options) *Local {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Owner == "" {
		o.Owner = "local"
	}
	if o.Poll <= 0 {
		o.Poll = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{o: o, kinds: map[string]Kind{}, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

// Register adds kinds of jobs. It must not be called after Start.
func (l *Local) Register(kinds ...Kind) {
	for _, k := range kinds {
		l.kinds[k.Name] = k
	}
}

// Start takes back what a dead process left behind, and begins.
func (l *Local) Start(ctx context.Context) error {
	n, err := l.o.Store.TakeBackJobs(ctx, l.o.Owner)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if n > 0 {
		l.o.Log.Info("jobs of the process before are carried out again", "jobs", n)
	}
	l.loop.Add(1)
	go l.run()
	return nil
}

// Enqueue adds jobs in the caller's transaction. The error is ErrUnknownKind
// for one that this process could not carry out.
func (l *Local) Enqueue(ctx context.Context, tx store.Querier, jobs ...Job) error {
	for _, j := range jobs {
		if _, ok := l.kinds[j.Kind]; !ok {
			return fmt.Errorf("%w: %s", ErrUnknownKind, j.Kind)
		}
		if j.ID == "" {
			j.ID = rand.Text()
		}
		if err := l.o.Store.PutJob(ctx, tx, store.Job{ID: j.ID, Kind: j.Kind, Ref: j.Ref, RunAt: j.After}); err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// Wake has the runner look at once.
func (l *Local) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close claims no more jobs and waits for those under way until ctx ends. Then
// it interrupts them; they are carried out again after the next start.
func (l *Local) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.quit) })
	l.loop.Wait()
	finished := make(chan struct{})
	go func() {
		l.work.Wait()
		close(finished)
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		l.mu.Lock()
		err = fmt.Errorf("queue: %d jobs interrupted: %w", l.running, ctx.Err())
		l.mu.Unlock()
		l.stop()
		<-finished
	}
	l.stop()
	return errors.Join(err, l.forget(context.WithoutCancel(ctx)))
}

func (l *Local) run() {
	defer l.loop.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.wake:
		case <-l.quit:
			return
		}
		wait, err := l.look()
		if err != nil {
			l.o.Log.Warn("look for jobs", "error", err)
			wait = time.Second
		}
		t.Reset(wait)
	}
}

// look starts as many jobs as there are places, and returns how long to wait
// for the next one. A place that becomes free wakes it.
func (l *Local) look() (time.Duration, error) {
	ctx := l.life
	if err := l.forget(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	free := l.o.Workers - l.running
	l.mu.Unlock()
	if free == 0 {
		return l.o.Poll, nil
	}
	next, err := l.o.Store.NextJob(ctx)
	if err != nil || next.IsZero() {
		return l.o.Poll, err
	}
	if wait := next.Sub(l.o.Now()); wait > 0 {
		return min(wait, l.o.Poll), nil
	}
	jobs, err := l.o.Store.ClaimJobs(ctx, l.o.Owner, free)
	if err != nil {
		return 0, err
	}
	for _, j := range jobs {
		l.mu.Lock()
		l.running++
		l.mu.Unlock()
		l.work.Go(func() {
			l.carryOut(j)
			l.mu.Lock()
			l.running--
			l.mu.Unlock()
			l.Wake()
		})
	}
	if len(jobs) == 0 {
		// The database's clock is behind ours.
		return 100 * time.Millisecond, nil
	}
	return 0, nil // there may be more
}

func (l *Local) carryOut(j store.Job) {
	k, ok := l.kinds[j.Kind]
	if !ok {
		// A newer version may have left it here: it stays for that one.
		l.o.Log.Warn("a job of an unknown kind waits", "kind", j.Kind, "ref", j.Ref)
		l.back(j, ErrUnknownKind, l.o.Now().Add(time.Hour))
		return
	}
	err := k.Attempt(l.life, Task{Kind: j.Kind, Ref: j.Ref, Attempt: int(j.Attempts)}, l.o.Log)
	switch {
	case err == nil:
	case l.life.Err() != nil:
		l.back(j, err, l.o.Now())
		return
	default:
		l.o.Log.Warn("a job failed", "kind", j.Kind, "ref", j.Ref, "attempt", j.Attempts, "error", err)
		if k.Backoff != nil {
			if wait, again := k.Backoff(int(j.Attempts)); again {
				l.back(j, err, l.o.Now().Add(wait))
				return
			}
		}
	}
	l.mu.Lock()
	l.done = append(l.done, j.ID)
	l.mu.Unlock()
}

// back queues a job again. If the database does not take that, the job is
// carried out after the next start.
func (l *Local) back(j store.Job, cause error, at time.Time) {
	if err := l.o.Store.ReturnJob(context.WithoutCancel(l.life), j.ID, cause.Error(), at); err != nil {
		l.o.Log.Warn("a job was not queued again", "kind", j.Kind, "ref", j.Ref, "error", err)
	}
}

// forget removes the rows of jobs that are done, many at once. A process that
// dies before finds them again, and whoever carries one out finds nothing to do.
func (l *Local) forget(ctx context.Context) error {
	l.mu.Lock()
	done := l.done
	l.done = nil
	l.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	err := l.o.Store.DoneJobs(ctx, done...)
	if err != nil {
		l.mu.Lock()
		l.done = append(l.done, done...)
		l.mu.Unlock()
	}
	return err
}
