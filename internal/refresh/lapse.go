package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// warnings are how long before a refresh token's own end people are told. No
// refresh can move that end; only a person who authorizes again can.
var warnings = []time.Duration{14 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}

// warnLapsing tells of refresh tokens that came within a warning's distance of
// their end since the last look. The instant of that look is kept, so that a
// restart neither repeats a warning nor leaves one out.
func (s *Source) warnLapsing(ctx context.Context, now time.Time) error {
	const key = "lapse_checked"
	b, rev, err := s.o.Store.Meta(ctx, key)
	last := now.Add(-trimEvery)
	if err == nil {
		if t, perr := time.Parse(time.RFC3339Nano, string(b)); perr == nil {
			last = t
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if !now.After(last) {
		return nil
	}
	if err := s.o.Store.PutMeta(ctx, key, []byte(now.UTC().Format(time.RFC3339Nano)), rev); err != nil {
		if errors.Is(err, store.ErrStale) {
			return nil // another replica looks
		}
		return err
	}
	for _, before := range warnings {
		from := last.Add(before)
		for {
			found, err := s.o.Store.Lapsing(ctx, from, now.Add(before), batch)
			if err != nil {
				return err
			}
			for _, row := range found {
				s.record(Event{At: now, Type: EventLapsing, Connection: row.Name, Client: row.Client, Provider: row.Provider, State: row.State, Generation: row.Gen,
					ExpiresAt: row.RefreshExpiry, Detail: fmt.Sprintf("its refresh token ends within %d days; authorize it again before: freshet connect %s", int(before.Hours()/24), row.Name)})
			}
			if len(found) < batch {
				break
			}
			from = found[len(found)-1].RefreshExpiry
		}
	}
	return s.warnUnused(ctx, last, now)
}

// warnUnused tells of refresh tokens that will die of disuse because the
// refreshes that would keep them alive fail.
func (s *Source) warnUnused(ctx context.Context, last, now time.Time) error {
	for _, state := range []freshet.State{freshet.StateUncertain, freshet.StateAttention, freshet.StateMisconfigured} {
		for after := ""; ; {
			found, err := s.o.Store.Tokens(ctx, after, state, batch)
			if err != nil {
				return err
			}
			for _, row := range found {
				def, err := s.o.Definitions.Definition(ctx, row.Name)
				if err != nil || def.Provider.IdleLifetime <= 0 || row.IssuedAt.IsZero() {
					continue
				}
				end := row.IssuedAt.Add(def.Provider.IdleLifetime.D())
				for _, before := range warnings {
					if at := end.Add(-before); at.After(last) && !at.After(now) {
						s.record(Event{At: now, Type: EventLapsing, Connection: row.Name, Client: row.Client, Provider: row.Provider, State: row.State, Reason: row.Reason,
							Generation: row.Gen, ExpiresAt: end, Detail: fmt.Sprintf("its refresh token dies of disuse within %d days, because refreshing it fails", int(before.Hours()/24))})
					}
				}
			}
			if len(found) < batch {
				break
			}
			after = found[len(found)-1].Name
		}
	}
	return nil
}
