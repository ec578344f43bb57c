package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// An outcome is what a refresh token's presentation led to, as far as its
// sender can know.
type outcome string

const (
	kept     outcome = "kept"     // answered, and the token is still the one
	rotated  outcome = "rotated"  // answered, and another one replaces it
	refused  outcome = "refused"  // the grant was refused for good
	deferred outcome = "deferred" // refused before the token was looked at: try again
	unclear  outcome = "unclear"  // no answer, a cut one, or an error that says nothing
	flying   outcome = "in_flight"
)

// outcomeOf classes an OAuth error code.
func outcomeOf(code string) outcome {
	switch code {
	case "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_grant_type",
		"temporarily_unavailable", "slow_down", "use_dpop_nonce", "invalid_dpop_proof", "authorization_pending":
		return deferred
	case "server_error":
		return unclear
	}
	return refused
}

// Stats is what GET /_stats answers. Stamps are nanoseconds since the emulator
// began or was reset, by a clock that never jumps; Now is the emulator's clock,
// which can be advanced.
type Stats struct {
	Now             time.Time              `json:"now"`
	Stamp           int64                  `json:"stamp"`
	Requests        map[string]int64       `json:"requests"`       // by endpoint
	Grants          map[string]int64       `json:"grants"`         // token requests by grant type
	Errors          map[string]int64       `json:"errors"`         // OAuth errors by code, faults included
	InFlightMax     map[string]int         `json:"in_flight_max"`  // at once, by endpoint
	API             map[string]int64       `json:"api"`            // calls by what became of them: ok, unauthenticated, expired, revoked, killed, unknown, rejected, …
	Effects         int64                  `json:"effects"`        // calls of the API with a side effect that were carried out
	UploadBytes     int64                  `json:"upload_bytes"`   // body bytes that the API read
	Revoked         map[string]int64       `json:"revoked"`        // families revoked, by why: reuse, revoked, code_reuse
	ReuseDetected   int64                  `json:"reuse_detected"` // former refresh tokens that the provider refused
	LiveKilled      int64                  `json:"live_killed"`    // access tokens that a live limit killed
	Sink            int64                  `json:"sink"`           // requests that followed a redirect to /_sink
	Held            int                    `json:"held"`           // requests that wait for POST /_release
	Queued          int                    `json:"queued"`         // faults that wait for a request
	GrantsLive      int                    `json:"grants_live"`    // grants that are remembered
	TokensIssued    int64                  `json:"tokens_issued"`
	TokensForgotten int64                  `json:"tokens_forgotten"` // values that IssuedTokens no longer holds
	Clients         map[string]ClientStats `json:"clients"`
	RefreshTokens   []RefreshStats         `json:"refresh_tokens"` // those that were presented, by hash
	Reuses          []Reuse                `json:"reuses"`         // candidates for oracle O2
	Log             []Request              `json:"log,omitempty"`
	LogForgotten    int64                  `json:"log_forgotten"`
}

// ClientStats counts for one client.
type ClientStats struct {
	Requests        int64            `json:"requests"` // at the token endpoint
	Grants          map[string]int64 `json:"grants"`
	Errors          map[string]int64 `json:"errors"`
	Granted         int64            `json:"granted"`
	InFlightMax     int              `json:"in_flight_max"`
	Families        int64            `json:"families"`
	FamiliesRevoked int64            `json:"families_revoked"` // for reuse
}

// RefreshStats is the story of one refresh token, which appears by its hash.
type RefreshStats struct {
	Hash        string  `json:"hash"`
	Client      string  `json:"client,omitempty"`
	Grant       string  `json:"grant,omitempty"` // empty: never issued here, or forgotten
	Presented   int     `json:"presented"`
	InFlightMax int     `json:"in_flight_max"`
	Last        outcome `json:"last"`
	First       int64   `json:"first"` // stamp of the first presentation
	inFlight    int
	lastStart   int64
	lastEnd     int64
}

// A Reuse is a second presentation of a refresh token whose first one did not
// plainly leave it in force.
type Reuse struct {
	Hash         string  `json:"hash"` // of the refresh token: TokenHash
	Client       string  `json:"client"`
	Grant        string  `json:"grant"`
	First        int64   `json:"first"`         // stamp at which the attempt before it began
	FirstOutcome outcome `json:"first_outcome"` // rotated, refused, unclear or in_flight
	Second       int64   `json:"second"`
}

// A Request is one line of the log.
type Request struct {
	Start   int64     `json:"start"` // stamp
	End     int64     `json:"end"`
	At      time.Time `json:"at"` // the emulator's clock when it began
	Kind    string    `json:"kind"`
	Method  string    `json:"method"`
	Path    string    `json:"path"` // without the query
	Grant   string    `json:"grant_type,omitempty"`
	Client  string    `json:"client,omitempty"`
	Family  string    `json:"grant,omitempty"`
	Refresh string    `json:"refresh_token,omitempty"` // hash
	Status  int       `json:"status"`                  // 0: no answer
	Error   string    `json:"error,omitempty"`         // OAuth code, or why the API refused
	Faults  []string  `json:"faults,omitempty"`
	Outcome outcome   `json:"outcome,omitempty"`
}

// counters are the parts of Stats that only count.
type counters struct {
	requests, grants, errors, api, revoked map[string]int64
	inFlight, inFlightMax                  map[string]int
	effects, upload, reuse, liveKilled     int64
	sink                                   int64
	held                                   int
}

func newCounters() counters {
	return counters{
		requests: map[string]int64{}, grants: map[string]int64{}, errors: map[string]int64{}, api: map[string]int64{}, revoked: map[string]int64{},
		inFlight: map[string]int{}, inFlightMax: map[string]int{},
	}
}

// bump counts name up, within reason: names that come from requests are many.
func bump(m map[string]int64, name string) {
	if _, there := m[name]; !there && len(m) >= 256 {
		name = "other"
	}
	m[name]++
}

// TokenHash is how a refresh token appears in Stats.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// stamp returns nanoseconds on the monotonic clock.
func (e *Emulator) stamp() int64 { return int64(time.Since(e.began)) }

// presentLocked notes that x brings a refresh token.
func (e *Emulator) presentLocked(x *exchange, token string) {
	if e.opts.Fast {
		return
	}
	hash := TokenHash(token)
	s, ok := e.presented.get(hash)
	if !ok {
		s = &RefreshStats{Hash: hash, Client: x.clientID, First: x.entry.Start}
		if t := e.refresh[token]; t != nil {
			s.Grant = t.grant.id
		}
		e.presented.put(hash, s)
	}
	if s.Presented > 0 {
		before := s.Last
		if s.inFlight > 0 {
			before = flying
		}
		if before != kept && before != deferred {
			e.reuses.add(Reuse{Hash: hash, Client: x.clientID, Grant: s.Grant, First: s.lastStart, FirstOutcome: before, Second: x.entry.Start})
		}
	}
	s.Presented++
	s.inFlight++
	s.InFlightMax = max(s.InFlightMax, s.inFlight)
	s.lastStart, s.Last = x.entry.Start, flying
	x.presented = s
	x.entry.Refresh = hash
	x.entry.Family = s.Grant
}

// Stats returns what was counted, with the log if asked for. Maps and lists are
// the caller's.
func (e *Emulator) Stats() Stats { return e.stats(true) }

func (e *Emulator) stats(log bool) Stats {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Stats{
		Now: now, Stamp: e.stamp(),
		Requests: maps.Clone(e.counts.requests), Grants: maps.Clone(e.counts.grants), Errors: maps.Clone(e.counts.errors),
		InFlightMax: maps.Clone(e.counts.inFlightMax), API: maps.Clone(e.counts.api), Revoked: maps.Clone(e.counts.revoked),
		Effects: e.counts.effects, UploadBytes: e.counts.upload, ReuseDetected: e.counts.reuse, LiveKilled: e.counts.liveKilled,
		Sink: e.counts.sink, Held: e.counts.held, Queued: len(e.queue), GrantsLive: len(e.grants.m),
		TokensIssued: e.serial - e.serialBase, TokensForgotten: e.values.lost,
		Clients: map[string]ClientStats{}, RefreshTokens: []RefreshStats{}, Reuses: e.reuses.all(), LogForgotten: e.log.lost,
	}
	for id, c := range e.clients {
		s.Clients[id] = ClientStats{
			Requests: c.requests, Grants: maps.Clone(c.byGrant), Errors: maps.Clone(c.byError), Granted: c.granted,
			InFlightMax: c.inFlightMax, Families: c.grants, FamiliesRevoked: c.familiesRevoked,
		}
	}
	for _, hash := range slices.Sorted(maps.Keys(e.presented.m)) {
		s.RefreshTokens = append(s.RefreshTokens, *e.presented.m[hash])
	}
	if log {
		s.Log = e.log.all()
	}
	return s
}

// Count returns how many requests of an endpoint or token requests of a grant
// type there were.
func (e *Emulator) Count(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.countLocked(what)
}

func (e *Emulator) countLocked(what string) int {
	if n, ok := e.counts.requests[what]; ok {
		return int(n)
	}
	return int(e.counts.grants[what])
}
