package bench

import (
	"bufio"
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An open loop sends at a fixed rate whatever becomes of the answers, as callers
// do who know nothing of each other. Each time counts from the instant at which
// a request was to be sent, so that a server that stalls cannot hide the
// requests that it kept from being sent.
type open struct {
	load
	perSecond int
}

// run sends for as long as until lets it, and at least for least.
func (o open) run(ctx context.Context, least time.Duration, until <-chan struct{}) (round, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		next  atomic.Int64
		over  atomic.Bool
		wg    sync.WaitGroup
	)
	gap := time.Second / time.Duration(o.perSecond)
	began := time.Now()
	go func() {
		select {
		case <-time.After(least):
		case <-ctx.Done():
		}
		if until != nil {
			select {
			case <-until:
			case <-ctx.Done():
			}
		}
		over.Store(true)
	}()
	for range o.conns {
		wg.Go(func() {
			c, err := net.Dial("tcp", o.addr)
			if err == nil {
				defer c.Close()
				r := bufio.NewReaderSize(c, 16<<10)
				for err == nil && !over.Load() && ctx.Err() == nil {
					due := began.Add(time.Duration(next.Add(1)) * gap)
					time.Sleep(time.Until(due))
					if _, err = c.Write(o.request); err == nil {
						err = discard(r)
					}
					mu.Lock()
					all = append(all, time.Since(due))
					mu.Unlock()
				}
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if first != nil || len(all) == 0 {
		return round{}, first
	}
	elapsed := time.Since(began)
	slices.Sort(all)
	return round{perSecond: float64(len(all)) / elapsed.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}
