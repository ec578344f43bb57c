package freshet

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Trigger is one of the occasions on which a connection refreshes.
type Trigger string

// The four triggers. The default policy is BeforeExpiry and On401.
const (
	BeforeExpiry Trigger = "before_expiry" // a read or the background finds too little life left
	On401        Trigger = "on_401"        // an API refuses the token
	EveryUse     Trigger = "every_use"     // each call takes a token whose refresh started after it arrived
	OnSchedule   Trigger = "schedule"      // by the clock alone: Every
)

// A Policy says when a connection refreshes. The zero Policy is the default:
// before expiry and on a refusal, with the default margin.
type Policy struct {
	When     []Trigger `json:"when,omitempty"`
	Margin   Duration  `json:"margin,omitempty"`   // 0: min(30 s, lifetime/10)
	Every    Duration  `json:"every,omitempty"`    // with schedule: the interval
	By       string    `json:"by,omitempty"`       // workflow:NAME or script:APP.OBJ.FN in place of the built-in request
	Lifetime Duration  `json:"lifetime,omitempty"` // overrides what the provider says
}

// UnmarshalJSON also takes when: as a single word.
func (p *Policy) UnmarshalJSON(b []byte) error {
	type plain Policy
	var v struct {
		plain
		When json.RawMessage `json:"when"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*p = Policy(v.plain)
	if len(v.When) == 0 || string(v.When) == "null" {
		return nil
	}
	if v.When[0] == '"' {
		var one Trigger
		if err := json.Unmarshal(v.When, &one); err != nil {
			return err
		}
		p.When = []Trigger{one}
		return nil
	}
	return json.Unmarshal(v.When, &p.When)
}

// Check reports what is wrong with p, naming the field.
func (p Policy) Check() error {
	for _, t := range p.When {
		switch t {
		case BeforeExpiry, On401, EveryUse, OnSchedule:
		default:
			return fmt.Errorf("when: %q is not known: use before_expiry, on_401, every_use or schedule", string(t))
		}
	}
	if p.Has(OnSchedule) && p.Every <= 0 {
		return fmt.Errorf("every: a schedule needs an interval, such as 55m")
	}
	return nil
}

// Has reports whether p refreshes on t.
func (p Policy) Has(t Trigger) bool {
	if len(p.When) == 0 {
		return t == BeforeExpiry || t == On401 || t == OnSchedule && p.Every > 0
	}
	return slices.Contains(p.When, t)
}

const (
	defaultMargin = 30 * time.Second
	refreshFloor  = 30 * time.Second
)

// MarginFor returns how long before its expiry a token of the given lifetime
// counts as spent. A configured margin is at most half of the lifetime; capped
// says that it was cut, which deserves a warning. Unknown lifetimes (0) get the
// configured margin as it is.
func (p Policy) MarginFor(lifetime time.Duration) (margin time.Duration, capped bool) {
	if m := p.Margin.D(); m > 0 {
		if lifetime > 0 && m > lifetime/2 {
			return lifetime / 2, true
		}
		return m, false
	}
	if lifetime <= 0 {
		return defaultMargin, false
	}
	return min(defaultMargin, lifetime/10), false
}

// NeedsRefresh reports whether a read at now that wants minTTL of life left has
// to refresh t first. A minTTL that no token of this provider can satisfy for
// long asks for one refresh and is then served: a token that is as good as new
// is the best there is. Providers that refuse early refresh
// (Provider.EarlyRefresh) are not asked before they would answer.
func (p Policy) NeedsRefresh(t *Token, now time.Time, minTTL time.Duration, early Duration) bool {
	if t == nil || t.Access.IsZero() {
		return true
	}
	if t.Expiry.IsZero() {
		return false
	}
	if !now.Before(t.Expiry) {
		return true
	}
	if early > 0 && now.Before(t.Expiry.Add(-early.D())) {
		return false
	}
	lifetime := t.Lifetime()
	margin, _ := p.MarginFor(lifetime)
	if !p.Has(BeforeExpiry) {
		margin = 0
	}
	if lifetime > 0 {
		// What is as good as new: for a wish that cannot be met, the floor of
		// background refresh; for one that can, but by a new token only, so much
		// that not every read refreshes.
		asNew := min(refreshFloor, lifetime/10)
		if minTTL > lifetime {
			asNew = min(refreshFloor, lifetime/2)
		}
		minTTL = min(minTTL, lifetime-asNew)
	}
	return !t.FreshAt(now, max(margin, minTTL))
}

// NextRefresh returns when the background should refresh t, zero for never:
// min(80 % of the lifetime, lifetime − margin) after the request was sent, with
// ±10 % jitter, never sooner than min(30 s, lifetime/2), never before the
// provider would answer, and before an idle refresh token dies. The provider's
// own hint takes the place of the 80 %. jitter is uniform in [0,1).
func (p Policy) NextRefresh(t *Token, pr *Provider, jitter float64) time.Time {
	if t == nil || t.Access.IsZero() && t.Refresh.IsZero() {
		return time.Time{}
	}
	var due time.Time
	soonest := func(at time.Time) {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	lifetime := t.Lifetime()
	if p.Has(OnSchedule) && p.Every > 0 {
		soonest(t.IssuedAt.Add(p.Every.D()))
	}
	margin, _ := p.MarginFor(lifetime)
	switch {
	case !p.Has(BeforeExpiry) || t.Expiry.IsZero():
	case t.IssuedAt.IsZero(): // imported: nobody knows since when it lives
		soonest(t.Expiry.Add(-margin))
	case lifetime <= 0: // spent on arrival: whoever reads it next asks for another
	default:
		wait := min(lifetime*8/10, lifetime-margin)
		if t.RefreshHint > 0 && t.RefreshHint < lifetime {
			wait = min(t.RefreshHint, lifetime-margin)
		}
		wait += time.Duration((jitter*2 - 1) * 0.1 * float64(wait))
		wait = min(max(wait, min(refreshFloor, lifetime/2)), lifetime)
		at := t.IssuedAt.Add(wait)
		if e := pr.EarlyRefresh.D(); e > 0 {
			if first := t.Expiry.Add(-e); at.Before(first) {
				// Spread over the window in which the provider answers.
				at = first.Add(time.Duration(jitter * float64(e) / 2))
			}
		}
		soonest(at)
	}
	if at := pr.KeepAlive(t, jitter); !at.IsZero() {
		soonest(at)
	}
	return due
}

// KeepAlive returns when an otherwise unused refresh token wants a refresh so
// that it does not die of idleness: at four fifths of the provider's idle
// lifetime, spread downwards by up to a tenth. Zero: it does not die of that.
func (pr *Provider) KeepAlive(t *Token, jitter float64) time.Time {
	if pr.IdleLifetime <= 0 || t.Refresh.IsZero() {
		return time.Time{}
	}
	idle := pr.IdleLifetime.D()
	return t.IssuedAt.Add(idle*8/10 - time.Duration(jitter*0.1*float64(idle)))
}

// RefreshDeadline returns when the refresh token itself dies, zero if unknown:
// what the answer said, else the provider's absolute lifetime from its issue.
func (pr *Provider) RefreshDeadline(t *Token) time.Time {
	if t.Refresh.IsZero() {
		return time.Time{}
	}
	if !t.RefreshExpiry.IsZero() {
		return t.RefreshExpiry
	}
	if pr.RefreshLifetime > 0 && !t.RefreshIssued.IsZero() {
		return t.RefreshIssued.Add(pr.RefreshLifetime.D())
	}
	return time.Time{}
}
