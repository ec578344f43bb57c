package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Locks let runs of the same key go one at a time: in this process in the order
// in which they came, and over processes by a row with a lease, because two
// replicas may serve the same workflow. A process keeps the row while runs of
// its own wait, for at most a few seconds at a stretch, and renews it meanwhile.
// A run that waits for something else has given its lock back.
const (
	lockLease  = 15 * time.Second
	lockRenew  = 5 * time.Second
	lockShare  = 3 * time.Second // after that another process gets its turn
	lockPause  = 25 * time.Millisecond
	lockPauses = time.Second
)

// A lockStore keeps the rows.
type lockStore interface {
	TakeWorkflowLock(ctx context.Context, key, owner string, lease time.Duration) (bool, error)
	DropWorkflowLock(ctx context.Context, key, owner string) error
}

type locks struct {
	store lockStore
	owner string
	log   *slog.Logger

	mu   sync.Mutex
	held map[string]*lock
	n    int // acquisitions, which own rows one by one
}

// A lock is a key that runs of this process have or wait for. Its row belongs
// to whoever has the turn; queue is guarded by locks.mu.
type lock struct {
	queue []chan struct{} // those that wait, in order; closed when it is their turn
	row   *leased         // nil: this process has it not
}

// leased is a row that this process has.
type leased struct {
	owner string
	since time.Time
	stop  chan struct{} // ends the renewal
	done  chan struct{}
}

// A waitError says that somebody went away while their run waited for a lock.
type waitError struct {
	key string
	err error
}

func (e *waitError) Error() string {
	return fmt.Sprintf("whoever started the run went away while it waited for the lock %q: %v", e.key, e.err)
}
func (e *waitError) Unwrap() error { return e.err }

func (l *locks) init(s lockStore, owner string, log *slog.Logger) {
	l.store, l.owner, l.log, l.held = s, owner, log, map[string]*lock{}
}

// take waits for a lock, as long as the run and its caller live. waiting is
// called if it is not to be had at once.
func (l *locks) take(ctx, caller context.Context, key string, waiting func()) (release func(), err error) {
	l.mu.Lock()
	k := l.held[key]
	if k == nil {
		k = &lock{}
		l.held[key] = k
		l.mu.Unlock()
	} else {
		turn := make(chan struct{})
		k.queue = append(k.queue, turn)
		l.mu.Unlock()
		waiting()
		waiting = func() {}
		if err := await(ctx, caller, key, turn); err != nil {
			l.leave(key, k, turn)
			return nil, err
		}
	}
	// It is our turn in this process. The row may still be with another.
	if k.row == nil {
		if k.row, err = l.lease(ctx, caller, key, waiting); err != nil {
			l.pass(key, k)
			return nil, err
		}
	}
	return func() { l.pass(key, k) }, nil
}

// await returns when c is closed, or with why it is no longer waited for.
func await[T any](ctx, caller context.Context, key string, c <-chan T) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-caller.Done():
		return &waitError{key, caller.Err()}
	}
}

// lease takes the row.
func (l *locks) lease(ctx, caller context.Context, key string, waiting func()) (*leased, error) {
	l.mu.Lock()
	l.n++
	r := &leased{owner: fmt.Sprintf("%s/%d", l.owner, l.n), stop: make(chan struct{}), done: make(chan struct{})}
	l.mu.Unlock()
	for pause := lockPause; ; pause = min(2*pause, lockPauses) {
		ok, err := l.store.TakeWorkflowLock(ctx, key, r.owner, lockLease)
		if err != nil {
			return nil, fmt.Errorf("take the lock %q: %w", key, err)
		}
		if ok {
			break
		}
		waiting()
		waiting = func() {}
		if err := await(ctx, caller, key, time.After(pause)); err != nil {
			return nil, err
		}
	}
	r.since = time.Now()
	go l.renew(key, r)
	return r, nil
}

// leave takes a waiter out of the queue. If its turn has come meanwhile, it
// passes that on.
func (l *locks) leave(key string, k *lock, turn chan struct{}) {
	l.mu.Lock()
	for i, c := range k.queue {
		if c == turn {
			k.queue = append(k.queue[:i], k.queue[i+1:]...)
			l.mu.Unlock()
			return
		}
	}
	l.mu.Unlock()
	l.pass(key, k)
}

// pass hands the turn on: with the row, while this process has not had it for
// long; else the row goes back first. Only who has the turn calls it.
func (l *locks) pass(key string, k *lock) {
	for {
		l.mu.Lock()
		waits := len(k.queue) > 0
		switch {
		case waits && (k.row == nil || time.Since(k.row.since) < lockShare):
			turn := k.queue[0]
			k.queue = k.queue[1:]
			l.mu.Unlock()
			close(turn)
			return
		case !waits && k.row == nil:
			delete(l.held, key)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		row := k.row
		k.row = nil
		close(row.stop)
		<-row.done
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		if err := l.store.DropWorkflowLock(ctx, key, row.owner); err != nil {
			l.log.Warn("a lock is not given back; its lease runs out", "lock", key, "error", err)
		}
		cancel()
	}
}

// renew keeps a lease from running out.
func (l *locks) renew(key string, r *leased) {
	defer close(r.done)
	t := time.NewTicker(lockRenew)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), lockRenew)
		ok, err := l.store.TakeWorkflowLock(ctx, key, r.owner, lockLease)
		cancel()
		if err != nil || !ok {
			l.log.Warn("a lock is not renewed", "lock", key, "error", err)
		}
	}
}
