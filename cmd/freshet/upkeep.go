package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// tend does what has to be done now and then: it finishes a rotation that a
// dead process began, forgets data keys that nothing is sealed under any more,
// overwrites what deleted rows left behind, and moves the epoch on by which a
// restored store is recognised. Before all that it reads the whole database
// once; a start looks at large ones only here and there.
func (s *server) tend(v *vault.Vault, st *store.Store, guardian guard) {
	const every = 5 * time.Minute
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		warn := func(what string, err error) {
			if err != nil && ctx.Err() == nil {
				s.log.Warn(what, "error", err)
			}
		}
		db, embedded := st.DB().(*sqlite.DB)
		if embedded {
			warn("the database is damaged: stop, and restore the last backup", db.Verify(ctx))
		}
		advanced := time.Now()
		for {
			warn("the vault's older keys stay for now", s.tendKeys(ctx, v, st))
			if embedded && s.deleted.Swap(false) {
				warn("deleted rows are not overwritten yet", db.Shred(ctx))
			}
			if time.Since(advanced) >= backup.Period {
				advanced = time.Now()
				warn("the epoch stands", guardian.Advance(ctx))
			}
			select {
			case <-time.After(every):
			case <-s.shred:
			case <-ctx.Done():
				return
			}
		}
	})
	s.later("upkeep", func(context.Context) error {
		stop()
		done.Wait()
		return nil
	})
}

// forget has deleted rows overwritten soon.
func (s *server) forget() {
	s.deleted.Store(true)
	select {
	case s.shred <- struct{}{}:
	default:
	}
}

func (s *server) tendKeys(ctx context.Context, v *vault.Vault, st *store.Store) error {
	is := v.Status()
	if is.Next != "" {
		if err := v.Rotate(ctx); err != nil {
			return err
		}
		is = v.Status()
	}
	if len(is.DataKeys) == 1 {
		return nil
	}
	if _, err := v.Reseal(ctx, st); err != nil {
		return err
	}
	if s.source.Gauges().Spilled > 0 {
		return nil // a spilled answer may be sealed under an older key
	}
	err := v.RemoveOldKeys(ctx, st)
	var early *vault.RetainedError
	if errors.As(err, &early) {
		return nil // too soon after the rotation; later
	}
	return err
}
