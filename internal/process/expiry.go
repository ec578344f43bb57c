package process

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
)

// KindExpiry is the kind of the timers, and of their target, that tell when the
// token of an instance has expired.
const KindExpiry = "expiry"

// EventExpired tells that the token that an instance holds is over: whatever was
// to renew it has not.
const EventExpired = "process.token_expired"

// aged returns in with what its fields say of the token that they hold.
func (p *Processes) aged(d *freshet.Process, in store.ProcessInstance, fields map[string]any, now time.Time) store.ProcessInstance {
	in.IssuedAt, in.ExpiresAt, in.RefreshExpiry = time.Time{}, time.Time{}, time.Time{}
	e := d.Expiry
	if e == nil {
		return in
	}
	issued := now.UTC().Truncate(time.Millisecond)
	if e.CreatedAt != "" {
		if t, ok := instant(fields[e.CreatedAt]); ok {
			issued = t
		}
	}
	if n, ok := seconds(fields[e.ExpiresIn]); ok {
		in.IssuedAt, in.ExpiresAt = issued, issued.Add(n)
	}
	if n, ok := seconds(fields[e.RefreshExpiresIn]); ok && e.RefreshExpiresIn != "" {
		in.RefreshExpiry = issued.Add(n)
	}
	return in
}

// maxLifetime keeps instants within what databases hold.
const maxLifetime = 100 * 365 * 24 * time.Hour

func seconds(v any) (time.Duration, bool) {
	f, ok := number(v)
	if !ok || f <= 0 || f > maxLifetime.Seconds() {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)), true
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil
	}
	return 0, false
}

// instant reads Unix seconds, or milliseconds, or RFC 3339.
func instant(v any) (time.Time, bool) {
	if f, ok := number(v); ok {
		if f > 1e11 { // seconds of the year 5138: they are milliseconds
			f /= 1000
		}
		if f <= 0 || f > 1e11 {
			return time.Time{}, false
		}
		return time.UnixMilli(int64(f * 1000)).UTC(), true
	}
	if s, ok := v.(string); ok {
		t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
		return t.UTC(), err == nil
	}
	return time.Time{}, false
}

// watch has somebody look at an instance when its token expires, in the
// transaction that saves it. Each save has a timer of its own: one that fires
// just now must not take the next one's with it.
func watch(c *store.Change, in store.ProcessInstance) error {
	if err := c.DeleteTimersOf(KindExpiry, in.ID); err != nil {
		return err
	}
	if in.ExpiresAt.IsZero() || !in.ExpiresAt.After(c.Now()) {
		return nil // it is over as it is saved: there is nothing to wait for
	}
	data, err := json.Marshal(expiring{in.Revision})
	if err != nil {
		return err
	}
	return schedule.Set(c, schedule.Timer{ID: fmt.Sprintf("%s:%s:%d", KindExpiry, in.ID, in.Revision), Kind: KindExpiry, Name: in.Name, Ref: in.ID, Target: KindExpiry, Subject: in.Name, Due: in.ExpiresAt, Data: data})
}

type expiring struct {
	Revision int64 `json:"revision"`
}

// Expiry is the target of the timers that wait for a token to expire.
func (p *Processes) Expiry() schedule.Target {
	return schedule.TargetFunc(func(ctx context.Context, f schedule.Firing) (schedule.Outcome, error) {
		var e expiring
		if err := json.Unmarshal(f.Data, &e); err != nil {
			return schedule.Outcome{}, err
		}
		in, err := p.row(ctx, "", f.Subject)
		if err != nil || in.Revision != e.Revision {
			return schedule.Outcome{Message: "renewed, or gone"}, nil
		}
		p.o.Log.Warn("the token that an instance holds has expired", "process", in.Of, "instance", in.Name, "expired_at", in.ExpiresAt)
		return schedule.Outcome{Message: "expired"}, p.o.Store.AppendEvents(ctx, store.Event{Type: EventExpired, Detail: map[string]any{
			"process": in.Of, "instance": in.Name, "expired_at": in.ExpiresAt.UTC().Format(time.RFC3339), "saved_by": in.SavedBy}})
	})
}
