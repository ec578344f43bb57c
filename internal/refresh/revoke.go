package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// revokeTries is how often a provider is asked to revoke before it is left at
// that: three days with the back-off used here.
const revokeTries = 300

// Revocation makes the letter that asks a provider to revoke a token, nil if
// there is nothing to revoke or no way to.
func (s *Source) Revocation(def *freshet.Definition, t *freshet.Token) (*store.Letter, error) {
	if t == nil || def.Provider.RevocationURL == "" && def.Provider.Issuer == "" {
		return nil, nil
	}
	id := newID()
	sealed, err := s.o.Sealer.SealRevocation(id, def, t)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(map[string]string{"connection": def.Connection.Name})
	if err != nil {
		return nil, err
	}
	return &store.Letter{ID: id, Kind: "revoke", Target: def.Provider.Name, Payload: string(b), Sealed: sealed, NextAt: s.o.Now().Add(time.Minute)}, nil
}

// RevocationOf is Revocation for a connection's stored token, nil if it has
// none or if it does not open.
func (s *Source) RevocationOf(def *freshet.Definition, row store.Token) (*store.Letter, error) {
	t, err := s.open(row)
	if err != nil {
		return nil, nil
	}
	return s.Revocation(def, t)
}

// sendRevocation delivers one letter, or returns it for later.
func (s *Source) sendRevocation(ctx context.Context, l store.Letter) error {
	def, t, err := s.o.Sealer.OpenRevocation(l.ID, l.Sealed)
	if err != nil {
		return fmt.Errorf("revocation at %s: %w", l.Target, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Deadline)
	defer cancel()
	if err := s.o.Asker.Revoke(ctx, def, t); err != nil {
		if l.Attempts >= revokeTries {
			return errors.Join(err, s.o.Store.Delivered(ctx, l.ID))
		}
		back := s.o.Now().Add(spread(backoff(time.Minute, time.Hour, l.Attempts+1), s.o.Jitter()))
		return errors.Join(err, s.o.Store.Returned(context.WithoutCancel(ctx), l.ID, err.Error(), back))
	}
	return s.o.Store.Delivered(context.WithoutCancel(ctx), l.ID)
}

// revocations delivers what is due.
func (s *Source) revocations(ctx context.Context) error {
	due, err := s.o.Store.DueLetters(ctx, "revoke", 16)
	if err != nil {
		return err
	}
	for _, l := range due {
		if err := s.sendRevocation(ctx, l); err != nil {
			s.log.Warn("revocation not delivered", "provider", l.Target, "error", err)
		}
	}
	return nil
}
