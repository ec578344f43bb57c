package refresh

import (
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

const (
	// attempts is how often a failing provider is asked before the connection
	// wants attention. The grant stays, and slow attempts go on.
	attempts = 5

	firstRetry = time.Second
	slowRetry  = time.Minute
	maxRetry   = 15 * time.Minute
	// misconfigured connections are tried again slowly, in case the trouble
	// was the provider's after all; a changed definition is tried at once.
	misconfiguredRetry = 5 * time.Minute
	maxMisconfigured   = time.Hour
)

// A verdict is what an unsuccessful answer means for a connection.
type verdict struct {
	state     freshet.State
	reason    freshet.Reason
	detail    string
	failures  int
	lostAt    time.Time
	notBefore time.Time
	nextAt    time.Time
	client    *clientTrouble // the registration's, not the connection's
	events    []Event
}

// A clientTrouble concerns every connection of a registration.
type clientTrouble struct {
	state     freshet.State // misconfigured, or ok for a pause
	reason    freshet.Reason
	detail    string
	notBefore time.Time
}

// clientCodes are the refusals of a registration: no connection of it can do
// better. RFC 6749 §5.2 and what providers say instead.
var clientCodes = map[string]bool{
	"invalid_client": true, "invalid_client_id": true, "incorrect_client_credentials": true, "bad_client_secret": true,
	"BAD_CLIENT_ID": true, "BAD_CLIENT_SECRET": true, "deleted_client": true, "disabled_client": true,
}

// judge decides what err means for a connection in view v whose attempt began
// at claimed. It is pure: now and jitter (in [0,1)) are given, and nothing is
// counted against a grant: only a permanent code ends one.
func judge(v *view, err *grant.Error, cause Cause, claimed, now time.Time, jitter float64) verdict {
	d := verdict{state: v.row.State, reason: v.row.Reason, failures: v.row.Failures + 1, lostAt: v.row.LostAt, detail: err.Detail}
	refreshing := v.tok != nil && !v.tok.Refresh.IsZero()
	e := v.event(EventFailed, now)
	e.Cause, e.Code, e.Class, e.Detail = cause, err.Code, err.Class, err.Detail
	switch err.Class {
	case grant.Permanent:
		d.state, d.reason, d.failures = freshet.StateReauth, freshet.Reason(err.Code), 0
		if !d.lostAt.IsZero() && refreshing {
			// The refusal is the echo of an answer that was lost: say so, with
			// the window in which it happened.
			d.reason = freshet.ReasonLostInFlight
			d.detail = "an answer was lost between " + d.lostAt.UTC().Format(time.RFC3339) + " and " + now.UTC().Format(time.RFC3339) +
				", and the provider does not take the previous refresh token (" + err.Code + ")"
		}
		d.lostAt = time.Time{}
		d.events = append(d.events, e)
		if v.row.State == freshet.StateReauth {
			// A person tried the very token that was refused before. Why it was
			// lost is known already, and so is that somebody is needed.
			if v.row.Reason == freshet.ReasonLostInFlight {
				d.reason = v.row.Reason
			}
			return d
		}
		r := e
		r.Type, r.State, r.Reason, r.Detail = EventReauth, d.state, d.reason, d.detail
		d.events = append(d.events, r)
		return d
	case grant.Misconfigured:
		if clientCodes[err.Code] {
			d.failures = v.row.Failures
			d.client = &clientTrouble{state: freshet.StateMisconfigured, reason: freshet.Reason(err.Code), detail: err.Detail, notBefore: now.Add(spread(misconfiguredRetry, jitter))}
			d.nextAt = d.client.notBefore
			if d.state == freshet.StateMisconfigured {
				d.state, d.reason = freshet.StateOK, ""
			}
			break
		}
		d.state, d.reason = freshet.StateMisconfigured, freshet.Reason(err.Code)
		d.notBefore = now.Add(spread(backoff(misconfiguredRetry, maxMisconfigured, d.failures), jitter))
		d.nextAt = d.notBefore
	default:
		wait := backoff(firstRetry, maxRetry, d.failures)
		if err.Uncertain && refreshing {
			if d.lostAt.IsZero() {
				d.lostAt = claimed
			}
		}
		switch {
		case d.failures >= attempts:
			d.state, d.reason = freshet.StateAttention, freshet.Reason(err.Code)
			wait = backoff(slowRetry, maxRetry, d.failures-attempts+1)
		case !d.lostAt.IsZero():
			d.state, d.reason = freshet.StateUncertain, freshet.Reason(err.Code)
		case d.state == freshet.StateMisconfigured || d.state == freshet.StateReauth:
			d.state, d.reason = freshet.StateOK, ""
		}
		if d.state == freshet.StateUncertain && !d.lostAt.IsZero() {
			e.Type = EventUncertain
		}
		if err.RetryAfter > wait {
			wait = err.RetryAfter
			d.client = &clientTrouble{state: freshet.StateOK, reason: freshet.Reason(err.Code), detail: err.Detail, notBefore: now.Add(wait)}
		} else {
			wait = spread(wait, jitter)
		}
		d.notBefore = now.Add(wait)
		if !d.lostAt.IsZero() {
			d.notBefore = later(d.notBefore, holdBack(v, now))
		}
		d.nextAt = d.notBefore
	}
	e.State, e.Reason = d.state, d.reason
	d.events = append(d.events, e)
	return d
}

// holdBack returns until when a lost answer is better left alone: where the
// provider revokes the grant on reuse and gives no grace, asking again may end
// what still works, so that the access token is used up first.
func holdBack(v *view, now time.Time) time.Time {
	r := v.def.Provider.Rotation
	if r.Reuse != "revokes" || r.Grace > 0 || !v.tok.AliveAt(now) || v.tok.Expiry.IsZero() {
		return time.Time{}
	}
	return v.tok.Expiry
}

// backoff doubles from first with each failure after the first, up to most.
func backoff(first, most time.Duration, failures int) time.Duration {
	d := first
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// spread lengthens d by up to a fifth, so that those who failed together do
// not come back together.
func spread(d time.Duration, jitter float64) time.Duration {
	return d + time.Duration(jitter*0.2*float64(d))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
