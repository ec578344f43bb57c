package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/httpapi"
	"github.com/freshet-dev/freshet/internal/redact"
	runs "github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
)

// trimEvery is how often old runs are looked for. A busy server makes as many
// in a minute as others in a month.
const trimEvery = time.Minute

// openJournal makes the journal of runs, and keeps it to its size. alone says that
// no other server uses the store.
func (s *server) openJournal(st *store.Store, values *redact.Values, keep runs.Keep, alone bool, nudge func()) {
	s.journal = runs.New(runs.Options{Store: st, Values: values, Alone: alone, Keep: keep, Log: s.log, Observe: func(e runs.Event) {
		if e.Type == runs.EventFaulted {
			nudge()
		}
		if api := s.told.Load(); api != nil {
			api.ObserveRun(e)
		}
	}})
	s.later("journal of runs", s.journal.Close)
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		t := time.NewTicker(trimEvery)
		defer t.Stop()
		for {
			if err := s.journal.Trim(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("old runs stay for now", "error", err)
			}
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
	})
	s.later("upkeep of runs", func(context.Context) error {
		stop()
		done.Wait()
		return nil
	})
}

// keepRuns is what the flags say of how long runs are kept; 0 is for ever.
func (c *serveCmd) keepRuns() runs.Keep {
	k := runs.Keep{For: c.RunsKeep, Count: c.RunsKeepCount}
	if k.For <= 0 {
		k.For = -1
	}
	if k.Count <= 0 {
		k.Count = -1
	}
	return k
}

// toldRuns is who is told of runs once there is an API.
type toldRuns struct{ atomic.Pointer[httpapi.API] }
