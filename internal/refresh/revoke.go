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

// A revocation is a letter's content: what to revoke, and where.
type revocation struct {
	Connection freshet.ConnectionID
	Name       string
	Generation int64
	Token      []byte // sealed as the row was
}

// Revocation makes the letter that asks a provider to revoke a token, nil if
// there is nothing to revoke or no way to.
func (s *Source) Revocation(def *freshet.Definition, gen int64, t *freshet.Token) (*store.Letter, error) {
	if t == nil || def.Provider.RevocationURL == "" && def.Provider.Issuer == "" {
		return nil, nil
	}
	id := newID()
	sealed, err := s.o.Sealer.SealToken(def.ID, gen, t)
	if err != nil {
		return nil, err
	}
	who, err := s.o.Sealer.SealDefinition(def)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(revocation{Connection: def.ID, Name: def.Connection.Name, Generation: gen, Token: sealed})
	if err != nil {
		return nil, err
	}
	return &store.Letter{ID: id, Kind: "revoke", Target: def.Provider.Name, Payload: string(b), Sealed: who, NextAt: s.o.Now().Add(time.Minute)}, nil
}

// sendRevocation delivers one letter, or returns it for later.
func (s *Source) sendRevocation(ctx context.Context, l store.Letter) error {
	var r revocation
	if err := json.Unmarshal([]byte(l.Payload), &r); err != nil {
		return fmt.Errorf("revocation %s: %w", l.ID, err)
	}
	t, err := s.o.Sealer.OpenToken(r.Connection, r.Generation, r.Token)
	if err != nil {
		return fmt.Errorf("revocation of %s: %w", r.Name, err)
	}
	def, err := s.o.Sealer.OpenDefinition(r.Connection, l.Sealed)
	if err != nil {
		return fmt.Errorf("revocation of %s: %w", r.Name, err)
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
