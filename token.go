package freshet

import (
	"strings"
	"time"
)

// A Token is what a provider issued for a connection. Tokens are values: a
// refresh replaces one, nothing changes one. The zero Token is never fresh.
type Token struct {
	Access  Secret
	Refresh Secret // empty if the provider issued none
	ID      Secret // OpenID Connect ID token, if any
	Answer  Secret // the provider's whole answer, JSON as it came
	Type    string // as the provider wrote it
	Scheme  string // what goes before it in Authorization: Bearer or DPoP
	Scope   string
	Subject string // whose grant it is, when an ID token says so

	IssuedAt      time.Time         // when the request for it was sent: lifetimes count from here
	Expiry        time.Time         // zero: the provider did not say
	RefreshExpiry time.Time         // zero: the provider did not say
	RefreshHint   time.Duration     // when the provider asks for the next refresh, counted from IssuedAt
	RefreshIssued time.Time         // when the refresh token was first received
	Generation    int64             // 1 for the first stored answer
	Session       map[string]Secret // members of a second step's answer that injection may name
}

// Injectable reports whether t may be put into a request at all. A token
// exchange may answer with one of type N_A, which is no access token, RFC 8693
// §2.2.1: it serves further exchanges only.
func (t *Token) Injectable() bool {
	return t != nil && !t.Access.IsZero() && !strings.EqualFold(strings.TrimSpace(t.Type), "N_A")
}

// Lifetime returns how long the token was given, zero if unknown.
func (t *Token) Lifetime() time.Duration {
	if t.Expiry.IsZero() || t.IssuedAt.IsZero() {
		return 0
	}
	return t.Expiry.Sub(t.IssuedAt)
}

// FreshAt reports whether t may still be sent at now. A token counts as spent
// margin before it expires, so that it does not die on the wire. One whose
// expiry nobody knows is fresh until an API refuses it.
func (t *Token) FreshAt(now time.Time, margin time.Duration) bool {
	if t == nil || t.Access.IsZero() {
		return false
	}
	return t.Expiry.IsZero() || now.Before(t.Expiry.Add(-margin))
}

// AliveAt reports whether t has not expired at now.
func (t *Token) AliveAt(now time.Time) bool { return t.FreshAt(now, 0) }
