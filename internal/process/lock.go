package process

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// How long another server believes that a holder lives, how often the holder
// says so, and how often who waits asks.
const (
	lease      = 15 * time.Second
	renewal    = 5 * time.Second
	firstPause = 10 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// locks let presses of one instance go one at a time: two at once would spend
// the same refresh token twice. Over servers it is a row with a lease.
type locks struct {
	store Store // nil: nobody else uses it
	mu    sync.Mutex
	held  map[string]*turn
}

type turn struct {
	ch   chan struct{} // of one: who has sent holds it
	want int
}

func (l *locks) init(o Options) {
	l.held = map[string]*turn{}
	if !o.Alone {
		l.store = o.Store
	}
}

// take waits for an instance. release gives it to the next.
func (l *locks) take(ctx context.Context, instance string) (release func(), err error) {
	l.mu.Lock()
	t := l.held[instance]
	if t == nil {
		t = &turn{ch: make(chan struct{}, 1)}
		l.held[instance] = t
	}
	t.want++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.want--; t.want == 0 {
			delete(l.held, instance)
		}
	}
	select {
	case t.ch <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
	free := func() {
		<-t.ch
		leave()
	}
	if l.store == nil {
		return free, nil
	}
	drop, err := l.row(ctx, "process:"+instance)
	if err != nil {
		free()
		return nil, err
	}
	return func() { drop(); free() }, nil
}

// row takes the lock's row and keeps it until drop.
func (l *locks) row(ctx context.Context, key string) (drop func(), err error) {
	owner := rand.Text()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ok, err := l.store.TakeWorkflowLock(ctx, key, owner, lease)
		if err != nil {
			return nil, err
		}
		if ok {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(renewal)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				l.store.TakeWorkflowLock(context.WithoutCancel(ctx), key, owner, lease) // the next tick tries again
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		l.store.DropWorkflowLock(ctx, key, owner) // else the lease ends it
	}, nil
}
