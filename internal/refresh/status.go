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

// A Status is what people see of a connection.
type Status struct {
	freshet.Status
	Problem *Problem  // the last failure, nil after a success
	LostAt  time.Time // when the answer that may be lost was asked for
	RetryAt time.Time // no automatic request before
}

// Status returns a connection's status without opening its token.
func (s *Source) Status(ctx context.Context, name string) (Status, error) {
	row, err := s.o.Store.TokenByName(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return Status{}, fmt.Errorf("connection %s: %w", name, freshet.ErrNotFound)
	} else if err != nil {
		return Status{}, fmt.Errorf("connection %s: %w", name, err)
	}
	return s.StatusOf(row), nil
}

// StatusOf returns the status that a row shows.
func (s *Source) StatusOf(row store.Token) Status {
	now := s.o.Now()
	if c, ok := s.conns.Load(row.Name); ok {
		if v := c.(*Conn).view.Load(); v != nil && v.row.ID == row.ID && v.row.Gen == row.Gen {
			w := *v
			w.row = row
			return s.status(&w, now)
		}
	}
	return s.statusRow(row, nil, now)
}

func (s *Source) status(v *view, now time.Time) Status {
	return s.statusRow(v.row, v, now)
}

func (s *Source) statusRow(row store.Token, v *view, now time.Time) Status {
	st := Status{Status: freshet.Status{ID: row.ID, Name: row.Name, State: row.State, Reason: row.Reason, Generation: row.Gen,
		ExpiresAt: row.ExpiresAt, RefreshExpires: row.RefreshExpiry, NextRefreshAt: row.NextAt, UpdatedAt: row.UpdatedAt},
		LostAt: row.LostAt, RetryAt: row.NotBefore}
	if row.Error != "" {
		st.Problem = new(Problem)
		if json.Unmarshal([]byte(row.Error), st.Problem) != nil {
			st.Problem = nil
		}
	}
	if v != nil {
		if v.broken != nil {
			st.State, st.Reason = freshet.StateAttention, freshet.ReasonUnreadable
			return st
		}
		if v.tok != nil {
			st.ExpiresAt = v.tok.Expiry
		}
		if reason, _ := cannot(v); reason != "" && !v.tok.AliveAt(now) {
			st.State, st.Reason = freshet.StateReauth, reason
			return st
		}
	}
	// A registration's trouble shows on all its connections.
	if c, ok := s.clients.get(row.Client); ok && st.State != freshet.StateReauth {
		if c.State == freshet.StateMisconfigured {
			st.State, st.Reason = c.State, c.Reason
		} else if st.State == freshet.StateOK && c.NotBefore.After(now) {
			st.Reason = c.Reason
		}
		if c.NotBefore.After(st.RetryAt) {
			st.RetryAt = c.NotBefore
		}
	}
	return st
}
