package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

const (
	lookEvery = time.Second
	// pollLease is how long a poll may take before another process may poll.
	pollLease = 30 * time.Second
	pollBatch = 64
)

// A Device is an authorization that a person finishes on another device. Its
// user code is for the one who asked, and is shown nowhere else.
type Device struct {
	Flow                    string
	UserCode                string
	VerificationURI         string
	VerificationURIComplete string // "" if the provider has none
	Interval                time.Duration
	Scopes                  []string
	ExpiresAt               time.Time
}

// StartDevice begins an authorization on another device. Errors are *GrantError
// and *grant.Error.
func (f *Flows) StartDevice(ctx context.Context, q Request) (Device, error) {
	def, err := f.o.Definitions.Definition(ctx, q.Connection)
	if err != nil {
		return Device{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	if def.Provider.DeviceAuthorizationURL == "" && def.Provider.Issuer == "" {
		return Device{}, &GrantError{q.Connection, fmt.Sprintf("provider %s has no device_authorization_url", def.Provider.Name)}
	}
	d, err := f.o.Grants.StartDevice(ctx, def)
	if err != nil {
		return Device{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	id := random()
	r := &record{ID: def.ID, Places: placesOf(def), Actor: q.Actor, OtherAccount: q.OtherAccount, DeviceCode: d.Code.Reveal(), Interval: d.Interval}
	sealed, err := f.seal(id, r)
	if err != nil {
		return Device{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	if err := f.o.Store.StartFlow(ctx, store.Flow{ID: id, Connection: q.Connection, Kind: string(freshet.GrantDeviceCode), Sealed: sealed,
		ExpiresAt: d.ExpiresAt, PollAt: f.o.Now().Add(d.Interval)}); err != nil {
		return Device{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	return Device{Flow: id, UserCode: d.UserCode, VerificationURI: d.VerificationURI, VerificationURIComplete: d.VerificationURIComplete,
		Interval: d.Interval, Scopes: def.Connection.Scopes, ExpiresAt: d.ExpiresAt}, nil
}

// poll asks for the tokens of device flows, each at its own pace.
func (f *Flows) poll(ctx context.Context) {
	defer f.wg.Done()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		due, err := f.o.Store.DueFlows(ctx, pollBatch)
		if err != nil {
			if ctx.Err() == nil {
				f.o.Log.Warn("look for device authorizations", "error", err)
			}
			continue
		}
		for _, row := range due {
			// Whoever claims it has it until the lease is over; a process that
			// dies meanwhile leaves it to the next one.
			lease := f.o.Now().Add(pollLease)
			if err := f.o.Store.ClaimPoll(ctx, row.ID, row.PollAt, lease); err != nil {
				if !errors.Is(err, store.ErrStale) && ctx.Err() == nil {
					f.o.Log.Warn("device authorization not polled", "connection", row.Connection, "error", err)
				}
				continue
			}
			f.begin(row.ID)
			f.wg.Go(func() { f.ask(row) })
		}
	}
}

// ask polls once.
func (f *Flows) ask(row store.Flow) {
	ctx, cancel := context.WithTimeout(context.Background(), pollLease-5*time.Second)
	defer cancel()
	r, err := f.open(row.ID, row.Sealed)
	if err != nil {
		f.end(row, &record{}, false, "what was kept of it does not open; start again")
		return
	}
	d := r.device(row.ExpiresAt)
	def, err := f.o.Definitions.Definition(ctx, row.Connection)
	switch {
	case errors.Is(err, freshet.ErrNotFound) || err == nil && (def.ID != r.ID || placesOf(def) != r.Places):
		f.end(row, r, false, ErrChanged.Error()+"; start again")
		return
	case err != nil:
		f.later(ctx, row, r, d.Interval)
		return
	case !f.o.Now().Before(row.ExpiresAt):
		f.end(row, r, false, "nobody confirmed it in time; start again")
		return
	}
	out, err := f.o.Source.Obtain(ctx, row.Connection, grant.Ask{DeviceCode: d.Code}, r.OtherAccount)
	if err == nil && out.Err != nil {
		at, again := d.Next(f.o.Now(), out.Err)
		if again {
			r.Interval = d.Interval
			f.laterAt(ctx, row, r, at)
			return
		}
		if !at.IsZero() {
			f.end(row, r, false, "nobody confirmed it in time; start again")
			return
		}
	}
	if err != nil && out.Token == nil {
		// Nothing was sent, or nobody knows: the store takes no writes, or this
		// server is stopping.
		f.o.Log.Warn("device authorization not polled", "connection", row.Connection, "error", err)
		f.later(ctx, row, r, d.Interval)
		return
	}
	if err != nil {
		f.o.Log.Warn("authorization not stored", "connection", row.Connection, "error", err)
	}
	done, detail := obtained(out, err)
	f.end(row, r, done, detail)
}

func (f *Flows) later(ctx context.Context, row store.Flow, r *record, d time.Duration) {
	f.laterAt(ctx, row, r, f.o.Now().Add(d))
}

// laterAt keeps the flow for another poll.
func (f *Flows) laterAt(ctx context.Context, row store.Flow, r *record, at time.Time) {
	f.mu.Lock()
	delete(f.active, row.ID)
	f.mu.Unlock()
	sealed, err := f.seal(row.ID, r)
	if err == nil {
		err = f.o.Store.PollFlow(ctx, row.ID, sealed, at)
	}
	if err != nil && !errors.Is(err, store.ErrStale) {
		// The lease runs out, and it is polled then.
		f.o.Log.Warn("device authorization not kept", "connection", row.Connection, "error", err)
	}
}
