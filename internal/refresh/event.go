package refresh

import (
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// An Event is one thing that happened to a connection. Metrics, logs, webhooks
// and the event list of people all hang on it. It holds no secret.
type Event struct {
	At         time.Time
	Type       string
	Connection string
	Client     string
	Provider   string
	State      freshet.State
	Reason     freshet.Reason
	Generation int64
	Cause      Cause
	Code       string        // of a failure
	Class      grant.Class   // of a failure
	Took       time.Duration // of the exchange
	Flags      []grant.Flag
	Detail     string
	ExpiresAt  time.Time
	Replaced   time.Time // of a refresh: when the token that it replaced ends, zero if unknown
}

// The types of events.
const (
	EventRefreshed     = "token.refreshed"
	EventObtained      = "token.obtained" // the first, or anew without a refresh token
	EventImported      = "token.imported"
	EventConnected     = "connection.connected"
	EventReauth        = "connection.needs_reauthorization"
	EventRecovered     = "connection.recovered"
	EventFailed        = "refresh.failed"
	EventUncertain     = "refresh.uncertain"
	EventClaimLost     = "refresh.claim_lost"
	EventMisconfigured = "client.misconfigured"
	EventClientOK      = "client.recovered"
	EventStillRejected = "rejected_while_fresh"
	EventOrphaned      = "token.orphaned"
	EventSpilled       = "token.spilled"
	EventScopeNarrowed = "token.scope_narrowed"
	EventSubject       = "token.subject_changed"
	EventRevoked       = "connection.revoked"
	EventLapsing       = "refresh_token.expiring"
	EventIncident      = "provider.incident"
	EventUnreadable    = "connection.unreadable"
)

// row is the event as the store keeps it.
func (e Event) row() store.Event {
	d := map[string]any{}
	put := func(k string, v string) {
		if v != "" {
			d[k] = v
		}
	}
	put("state", string(e.State))
	put("reason", string(e.Reason))
	put("cause", string(e.Cause))
	put("code", e.Code)
	put("class", string(e.Class))
	put("detail", e.Detail)
	put("client", e.Client)
	put("provider", e.Provider)
	if e.Generation > 0 {
		d["generation"] = e.Generation
	}
	if e.Took > 0 {
		d["took_ms"] = e.Took.Milliseconds()
	}
	if len(e.Flags) > 0 {
		d["flags"] = e.Flags
	}
	if !e.ExpiresAt.IsZero() {
		d["expires_at"] = e.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return store.Event{At: e.At, Connection: e.Connection, Type: e.Type, Detail: d}
}

func rows(events []Event) []store.Event {
	out := make([]store.Event, len(events))
	for i, e := range events {
		out[i] = e.row()
	}
	return out
}

// tell hands events to the observer and the log, after they are durable.
func (s *Source) tell(events ...Event) {
	for _, e := range events {
		s.o.Observe(e)
		level := s.log.Info
		switch e.Type {
		case EventReauth, EventMisconfigured, EventIncident, EventSubject, EventUnreadable, EventStillRejected, EventSpilled:
			level = s.log.Warn
		}
		args := []any{"connection", e.Connection, "provider", e.Provider, "cause", string(e.Cause), "generation", e.Generation}
		if e.State != "" {
			args = append(args, "state", string(e.State))
		}
		if e.Reason != "" {
			args = append(args, "reason", string(e.Reason))
		}
		if e.Code != "" {
			args = append(args, "code", e.Code, "class", string(e.Class), "detail", e.Detail)
		}
		if e.Took > 0 {
			args = append(args, "took_ms", e.Took.Milliseconds())
		}
		if len(e.Flags) > 0 {
			args = append(args, "flags", e.Flags)
		}
		if !e.ExpiresAt.IsZero() {
			args = append(args, "expires_at", e.ExpiresAt)
		}
		level(e.Type, args...)
	}
}
