// Package river hands jobs to River, which carries them out on any replica of a
// PostgreSQL deployment. A job of River's carries a kind and the id of a row; it
// is inserted in the transaction that makes it necessary.
//
// River keeps its own tables in the same database and brings them up to date by
// itself. It learns of new jobs by LISTEN on a connection that no pooler may lie
// before; where there is no such way, it looks every second.
//
// What a process was doing when it died is carried out again as soon as its
// replica's row has been silent for a while, or it starts again.
package river

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
)

// Options are what a Runner is made of. DB and ID are required.
type Options struct {
	DB      *postgres.DB
	Store   *store.Store  // knows which replicas are silent; nil: only this one's own jobs are taken back
	ID      string        // of this replica, the same after a restart
	Workers int           // jobs at once on this replica; 0: 8
	Gone    time.Duration // silence after which a replica's jobs are taken over; 0: 2 min
	Sweep   time.Duration // between looks for silent replicas; 0: 30 s
	Longest time.Duration // no job runs longer: River takes one over that does; 0: 2 h
	Log     *slog.Logger  // nil: silence
}

// A Runner carries jobs out. It is safe for concurrent use.
type Runner struct {
	o      Options
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	kinds  map[string]queue.Kind
	life   context.Context // of the sweep
	stop   context.CancelFunc
	loop   sync.WaitGroup
	ending context.Context // ended: what fails from now on was interrupted
	end    context.CancelFunc

	started atomic.Bool
}

// args are what a job of River's carries. The id is what makes it unlike others.
type args struct {
	ID   string `json:"id" river:"unique"`
	Name string `json:"kind"`
	Ref  string `json:"ref"`
}

// Kind names all our jobs for River: which there are is the business of this
// process alone.
func (args) Kind() string { return "freshet" }

// attempts is without end, as far as River goes.
const attempts = 32000

// unfinished are the states of a job that is not over.
var unfinished = []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled}

// migrateLock is the key of the lock under which River's tables are changed.
const migrateLock = 0x66726573_68726976

// New connects, brings River's tables up to date, and returns a Runner that
// Start begins. Register its kinds before.
func New(ctx context.Context, o Options) (*Runner, error) {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Gone <= 0 {
		o.Gone = 2 * time.Minute
	}
	if o.Sweep <= 0 {
		o.Sweep = 30 * time.Second
	}
	if o.Longest <= 0 {
		o.Longest = 2 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// Connections of its own: one that listens is taken for good, and the
	// store's are counted.
	cfg := o.DB.Pool().Config().Copy()
	direct := o.DB.Direct()
	if direct != nil {
		cfg.ConnConfig = direct.Copy()
	}
	cfg.MinConns, cfg.MaxConns = 0, 4
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	r := &Runner{o: o, pool: pool, kinds: map[string]queue.Kind{}}
	driver := riverpgxv5.New(pool)
	if err := migrate(ctx, pool, driver, o.Log); err != nil {
		pool.Close()
		return nil, fmt.Errorf("queue: River's tables: %w", err)
	}
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &worker{r: r}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("queue: %w", err)
	}
	r.client, err = river.NewClient(driver, &river.Config{
		ID: o.ID, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.Workers}},
		PollOnly: direct == nil, JobTimeout: -1, RescueStuckJobsAfter: o.Longest, MaxAttempts: attempts,
		CompletedJobRetentionPeriod: 5 * time.Minute, CancelledJobRetentionPeriod: time.Hour, Logger: quiet(o.Log),
	})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("queue: %w", err)
	}
	r.life, r.stop = context.WithCancel(context.Background())
	r.ending, r.end = context.WithCancel(context.Background())
	return r, nil
}

// migrate brings River's tables up to date, one replica at a time: the lock ends
// with the transaction, so that it works behind a pooler as well. The versions
// have transactions of their own, because some build on what one before has
// committed.
func migrate(ctx context.Context, pool *pgxpool.Pool, driver *riverpgxv5.Driver, log *slog.Logger) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet(log)})
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrateLock)); err != nil {
			return err
		}
		_, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
}

// quiet leaves out what River says of every job.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(atLeast{log.Handler()}) }

type atLeast struct{ slog.Handler }

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}
func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler { return atLeast{h.Handler.WithAttrs(a)} }
func (h atLeast) WithGroup(n string) slog.Handler      { return atLeast{h.Handler.WithGroup(n)} }

// Register adds kinds of jobs. It must not be called after Start.
func (r *Runner) Register(kinds ...queue.Kind) {
	for _, k := range kinds {
		r.kinds[k.Name] = k
	}
}

// Start takes back what this replica was doing when it died, and begins.
func (r *Runner) Start(ctx context.Context) error {
	if err := r.takeOver(ctx, r.o.ID); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if err := r.client.Start(context.Background()); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	r.started.Store(true)
	if r.o.Store != nil {
		r.loop.Add(1)
		go r.sweep()
	}
	return nil
}

// Enqueue adds jobs in the caller's transaction, which is one of the DB's. The
// error is queue.ErrUnknownKind for one that this process could not carry out.
func (r *Runner) Enqueue(ctx context.Context, q store.Querier, jobs ...queue.Job) error {
	conn := postgres.Conn(q)
	if conn == nil {
		return errors.New("queue: jobs are enqueued in a transaction")
	}
	for _, j := range jobs {
		if _, ok := r.kinds[j.Kind]; !ok {
			return fmt.Errorf("%w: %s", queue.ErrUnknownKind, j.Kind)
		}
		if j.ID == "" {
			j.ID = rand.Text()
		}
		_, err := r.client.InsertTx(ctx, joined{conn}, args{ID: j.ID, Name: j.Kind, Ref: j.Ref},
			&river.InsertOpts{ScheduledAt: j.After, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: unfinished}})
		if err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// Wake does nothing: River hears of a job when its transaction commits.
func (r *Runner) Wake() {}

// Close claims no more jobs and waits for those under way until ctx ends. Then
// it interrupts them; they are carried out again, here or elsewhere.
func (r *Runner) Close(ctx context.Context) error {
	defer r.pool.Close()
	r.stop()
	r.loop.Wait()
	if !r.started.Load() {
		return nil
	}
	err := r.client.Stop(ctx)
	if err == nil {
		r.end()
		return nil
	}
	r.end()
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if herr := r.client.StopAndCancel(hard); herr != nil {
		return fmt.Errorf("queue: %w", errors.Join(err, herr))
	}
	return fmt.Errorf("queue: jobs were interrupted: %w", err)
}

// sweep takes over from replicas that left without a word.
func (r *Runner) sweep() {
	defer r.loop.Done()
	t := time.NewTicker(r.o.Sweep)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-r.life.Done():
			return
		}
		list, err := r.o.Store.Replicas(r.life)
		for _, p := range list {
			if p.Silent >= r.o.Gone && p.ID != r.o.ID && err == nil {
				err = r.takeOver(r.life, p.ID)
			}
		}
		if err != nil && r.life.Err() == nil {
			r.o.Log.Warn("look for jobs of silent replicas", "error", err)
		}
	}
}

// takeOver makes what a replica was carrying out available again.
func (r *Runner) takeOver(ctx context.Context, replica string) error {
	tag, err := r.pool.Exec(ctx, `UPDATE river_job SET state = 'available', scheduled_at = now()
		WHERE state = 'running' AND attempted_by[array_upper(attempted_by, 1)] = $1`, replica)
	if n := tag.RowsAffected(); err == nil && n > 0 {
		r.o.Log.Info("jobs of a process that died are carried out again", "replica", replica, "jobs", n)
	}
	return err
}

// worker is how River calls us.
type worker struct {
	river.WorkerDefaults[args]
	r *Runner
}

// Timeout leaves it to the kind.
func (w *worker) Timeout(*river.Job[args]) time.Duration { return -1 }

// NextRetry is the kind's back-off; what was interrupted goes on at once.
func (w *worker) NextRetry(j *river.Job[args]) time.Time {
	if k, ok := w.r.kinds[j.Args.Name]; ok && k.Backoff != nil && w.r.ending.Err() == nil {
		if wait, again := k.Backoff(j.Attempt); again {
			return time.Now().Add(wait)
		}
	}
	return time.Now().Add(time.Second)
}

// Work carries one job out.
func (w *worker) Work(ctx context.Context, j *river.Job[args]) error {
	k, ok := w.r.kinds[j.Args.Name]
	if !ok {
		// A newer version may have made it: it waits for a replica that knows it.
		w.r.o.Log.Warn("a job of an unknown kind waits", "kind", j.Args.Name, "ref", j.Args.Ref)
		return river.JobSnooze(time.Minute)
	}
	err := k.Attempt(ctx, queue.Task{Kind: j.Args.Name, Ref: j.Args.Ref, Attempt: j.Attempt}, w.r.o.Log)
	if err == nil || w.r.ending.Err() != nil {
		return err
	}
	w.r.o.Log.Warn("a job failed", "kind", j.Args.Name, "ref", j.Args.Ref, "attempt", j.Attempt, "error", err)
	if k.Backoff != nil {
		if _, again := k.Backoff(j.Attempt); again {
			return err
		}
	}
	return river.JobCancel(err)
}

// joined is a transaction of the store's as pgx knows transactions. Who began it
// ends it.
type joined struct{ c *pgx.Conn }

var errJoined = errors.New("the transaction belongs to the store")

func (t joined) Begin(context.Context) (pgx.Tx, error) { return nil, errJoined }
func (t joined) Commit(context.Context) error          { return errJoined }
func (t joined) Rollback(context.Context) error        { return errJoined }
func (t joined) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return t.c.CopyFrom(ctx, table, columns, src)
}
func (t joined) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.c.SendBatch(ctx, b)
}
func (t joined) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
func (t joined) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return t.c.Prepare(ctx, name, sql)
}
func (t joined) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.c.Exec(ctx, sql, args...)
}
func (t joined) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.c.Query(ctx, sql, args...)
}
func (t joined) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.c.QueryRow(ctx, sql, args...)
}
func (t joined) Conn() *pgx.Conn { return t.c }
