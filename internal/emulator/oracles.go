package emulator

import (
	"fmt"
	"time"
)

// CheckOracles returns every breach of the rules O1 to O4 of the package
// comment since the last reset, nothing if there is none.
//
// allowed says of a second presentation of a refresh token whether the first
// attempt was recorded as open, which makes it right; nil allows none. held are
// the refresh tokens that the client believes in now: O4 asks whether each would
// work. A test that shares refresh tokens between runs resets in between.
func (e *Emulator) CheckOracles(allowed func(Reuse) bool, held ...string) []string {
	var breaches []string
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for hash, s := range e.presented.m {
		if s.InFlightMax > 1 {
			breaches = append(breaches, fmt.Sprintf("O1: refresh token %s (client %s, grant %s) was in flight %d times at once", hash, s.Client, s.Grant, s.InFlightMax))
		}
	}
	for _, r := range e.reuses.all() {
		if allowed == nil || !allowed(r) {
			breaches = append(breaches, fmt.Sprintf("O2: refresh token %s (client %s, grant %s) was presented again at %d after an attempt at %d that ended %s", r.Hash, r.Client, r.Grant, r.Second, r.First, r.FirstOutcome))
		}
	}
	for id, c := range e.clients {
		if c.familiesRevoked > 0 {
			breaches = append(breaches, fmt.Sprintf("O3: %d families of client %s were revoked for reuse", c.familiesRevoked, id))
		}
	}
	if e.reuses.lost > 0 {
		breaches = append(breaches, fmt.Sprintf("O2: %d presentations were forgotten unchecked: reset more often", e.reuses.lost))
	}
	for _, token := range held {
		if why := e.whyNotLocked(token, now); why != "" {
			breaches = append(breaches, fmt.Sprintf("O4: refresh token %s would not work: %s", TokenHash(token), why))
		}
	}
	return breaches
}

// Usable says whether a refresh with token would work now, without trying it:
// nil if so, else why not.
func (e *Emulator) Usable(token string) error {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if why := e.whyNotLocked(token, now); why != "" {
		return fmt.Errorf("refresh token %s: %s", TokenHash(token), why)
	}
	return nil
}

// Valid says whether the API would take an access token now: nil if so, else
// why not. Oracle O5 asks it of each token as a caller receives it.
func (e *Emulator) Valid(token string) error {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.access.get(token)
	if !ok {
		return fmt.Errorf("access token %s was not issued here", TokenHash(token))
	}
	if why := e.aliveLocked(t, now); why != "" {
		return fmt.Errorf("access token %s of generation %d: %s", TokenHash(token), t.generation, why)
	}
	return nil
}

func (e *Emulator) whyNotLocked(token string, now time.Time) string {
	t := e.refresh[token]
	if t == nil {
		return "it was not issued here"
	}
	return e.usableLocked(t, now)
}

type issuedValue struct{ value, core string }

// IssuedTokens returns every access, refresh and ID token that was issued, oldest
// first, for a search that must not find them. Stats.TokensForgotten tells
// whether there were more than the emulator remembers.
func (e *Emulator) IssuedTokens() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, v := range e.values.all() {
		out = append(out, v.value)
	}
	return out
}

// Canaries returns a part of every issued token that reads the same in JSON, in
// a URL, in a form and in HTML, for the same search.
func (e *Emulator) Canaries() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, v := range e.values.all() {
		out = append(out, v.core)
	}
	return out
}
