// Package queue carries out work that nobody waits for: firings of schedules,
// runs that were asked for in the background.
//
// A job is enqueued in the transaction that makes it necessary, so that it is
// there if and only if that is; it names a row and carries nothing else. It is
// carried out at least once: whoever does it looks at the row to see how far an
// earlier attempt came. There are two runners behind the same methods. [Local]
// works on the store's own rows, in one process; the package queue/river hands
// jobs to River, on any replica of a PostgreSQL deployment.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// A Job says what to do.
type Job struct {
	ID    string    // of a job that is there, nothing is made of another one; "" is unlike all others
	Kind  string    // one that the runner knows
	Ref   string    // id of the row to work on
	After time.Time // not before; zero: now
}

// A Queue takes jobs. *Local and *river.Runner are queues.
type Queue interface {
	// Enqueue adds jobs in the caller's transaction.
	Enqueue(ctx context.Context, tx store.Querier, jobs ...Job) error
	// Wake has the runner look at once. Call it after the transaction. It does
	// not block.
	Wake()
}

// A Task is a job that is being carried out.
type Task struct {
	Kind    string
	Ref     string
	Attempt int // 1 the first time
}

// A Kind is how jobs of a name are carried out.
type Kind struct {
	Name string
	// Do carries one out. It returns soon after ctx has ended, with an error;
	// then the job is carried out again by whoever comes next.
	Do func(ctx context.Context, t Task) error
	// Backoff says how long after a failed attempt the next one is made; false:
	// none. nil: none.
	Backoff func(attempt int) (time.Duration, bool)
	// Timeout bounds one attempt; 0: nothing does.
	Timeout time.Duration
}

// ErrUnknownKind says that no runner of this process knows a job's kind.
var ErrUnknownKind = errors.New("queue: no such kind of job")

// Doubling is a Backoff that doubles from first to most, without end.
func Doubling(first, most time.Duration) func(int) (time.Duration, bool) {
	return func(attempt int) (time.Duration, bool) {
		d := first
		for i := 1; i < attempt && d < most; i++ {
			d *= 2
		}
		return min(d, most), true
	}
}

// Attempt carries a task out once. What panics has failed.
func (k *Kind) Attempt(ctx context.Context, t Task, log *slog.Logger) (err error) {
	if k.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.Timeout)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			log.Error("a job panicked", "kind", t.Kind, "ref", t.Ref, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s %s: panic: %v", t.Kind, t.Ref, p)
		}
	}()
	return k.Do(ctx, t)
}
