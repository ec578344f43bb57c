package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

const (
	// leaseFor is how long a process that says nothing is believed to live.
	leaseFor = time.Minute
	// leaseEvery is how often a process that runs something says so.
	leaseEvery = 15 * time.Second
	// groupMost is how many changes share a transaction at most: it holds up
	// whoever else wants to write.
	groupMost = 256
	writeTime = 30 * time.Second
)

// A writer puts changes into the store. Those that come while a transaction is
// under way share the next one; one that comes alone is written at once. It
// needs no timer, and no goroutine while there is nothing to write.
type writer struct {
	store  *store.Store
	owner  string
	leased bool // leases are kept; not by a process that has the store for itself
	now    func() time.Time

	mu     sync.Mutex
	next   []*pending // in the order of arrival
	busy   bool
	renew  time.Time // when the lease is due
	groups int64     // transactions so far
}

// pending is a change whose caller waits.
type pending struct {
	change *store.RunChange
	err    error
	done   chan struct{}
}

// write returns when the change is durable, or will not be: with ErrStale and
// ErrExists of the store for what is the change's own fault. It does not end
// before, because a change that is half on its way cannot be taken back.
func (w *writer) write(c *store.RunChange) error {
	p := &pending{change: c, done: make(chan struct{})}
	w.mu.Lock()
	w.next = append(w.next, p)
	if !w.busy {
		w.busy = true
		go w.drain()
	}
	w.mu.Unlock()
	<-p.done
	if p.err != nil {
		return p.err
	}
	return c.Err
}

// drain writes until nothing waits.
func (w *writer) drain() {
	for {
		w.mu.Lock()
		group := w.next[:min(len(w.next), groupMost)]
		w.next = w.next[len(group):]
		if len(group) == 0 {
			w.busy, w.next = false, nil
			w.mu.Unlock()
			return
		}
		w.groups++
		w.mu.Unlock()
		w.put(group)
	}
}

// put writes a group. What the database will not take as a whole, it gets one
// by one: somebody's bad text is nobody else's trouble.
func (w *writer) put(group []*pending) {
	changes := make([]*store.RunChange, len(group))
	for i, p := range group {
		changes[i] = p.change
	}
	err := w.tx(changes)
	if err != nil && len(group) > 1 && !errors.Is(err, store.ErrReadOnly) && !errors.Is(err, context.DeadlineExceeded) {
		for i, p := range group {
			p.err = w.tx(changes[i : i+1])
			close(p.done)
		}
		return
	}
	for _, p := range group {
		p.err = err
		close(p.done)
	}
}

func (w *writer) tx(changes []*store.RunChange) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	var lease *store.RunLease
	now := w.now()
	if w.due(now) {
		lease = &store.RunLease{Owner: w.owner, For: leaseFor}
	}
	if err := w.store.WriteRuns(ctx, lease, changes); err != nil {
		return fmt.Errorf("write runs: %w", err)
	}
	if lease != nil {
		w.mu.Lock()
		w.renew = now.Add(leaseEvery)
		w.mu.Unlock()
	}
	return nil
}

// due reports whether the lease wants to be renewed.
func (w *writer) due(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leased && !now.Before(w.renew)
}

// lease renews the lease of a process that writes nothing else.
func (w *writer) lease() error {
	if !w.due(w.now()) {
		return nil
	}
	return w.tx(nil)
}
