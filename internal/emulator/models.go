package emulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Model names what becomes of a refresh token when it is used, and of one
// that was used before.
type Model string

// The models. A Profile's Grace and Reuse refine them.
const (
	Static         Model = "static"           // never changes; every answer repeats it
	Omitted        Model = "omitted"          // never changes; answers to a refresh leave it out
	Sometimes      Model = "sometimes"        // changes at every Every-th refresh (3); the former is refused
	Rotate         Model = "rotate"           // changes at each use; the former is refused, nothing else happens
	Grace          Model = "grace"            // changes at each use; the former works for Grace (30s) after its first use, then revokes
	PreviousOnly   Model = "previous_only"    // changes at each use; the one before the newest still works, an older one revokes
	Replay         Model = "replay"           // changes at each use; the one before the newest gets the very same answer again
	ReplayUntilUse Model = "replay_until_use" // as replay, until ten seconds after what it brought was first used
	Strict         Model = "strict"           // changes at each use; a former one revokes the whole family
	Accepting      Model = "accepting"        // changes at each use; the former ones go on working
)

// A model says the same in parts.
type model struct {
	turns    turn
	silent   bool          // answers to a refresh leave the refresh token out
	grace    time.Duration // how long a former token works after its first use
	previous bool          // the one before the newest works
	replays  bool          // the one before the newest gets the same answer
	untilUse bool          // … until that answer is used
	accepts  bool          // former tokens work
	revokes  bool          // a former token that does not work revokes the family
}

type turn int

const (
	never turn = iota
	some
	always
)

var models = map[Model]model{
	Static:         {turns: never},
	Omitted:        {turns: never, silent: true},
	Sometimes:      {turns: some},
	Rotate:         {turns: always},
	Grace:          {turns: always, grace: 30 * time.Second, revokes: true},
	PreviousOnly:   {turns: always, previous: true, revokes: true},
	Replay:         {turns: always, replays: true},
	ReplayUntilUse: {turns: always, replays: true, untilUse: true},
	Strict:         {turns: always, revokes: true},
	Accepting:      {turns: always, accepts: true},
}

// Models lists every model, in alphabetical order.
func Models() []Model { return slices.Sorted(maps.Keys(models)) }

// afterFirstUse is how long ReplayUntilUse still replays once its answer was
// used: what a user of RingCentral measured.
const afterFirstUse = 10 * time.Second

// A Profile is how the provider treats one client. An empty field takes the
// emulator's default.
type Profile struct {
	Model Model            `json:"model,omitempty"` // rotate
	Grace freshet.Duration `json:"grace,omitempty"` // with any model that rotates: how long a former refresh token works
	Every int              `json:"every,omitempty"` // with sometimes: 3
	Reuse string           `json:"reuse,omitempty"` // refused | revokes: what a former token that does not work leads to, instead of the model's own

	Lifetime        freshet.Duration `json:"lifetime,omitempty"`         // of an access token: 1h
	Claimed         freshet.Duration `json:"claimed_lifetime,omitempty"` // what answers say instead of the truth
	RefreshLifetime freshet.Duration `json:"refresh_lifetime,omitempty"` // of a refresh token from its issue; empty: for ever
	IdleLifetime    freshet.Duration `json:"idle_lifetime,omitempty"`    // a refresh token unused for this long dies
	EarlyRefresh    freshet.Duration `json:"early_refresh,omitempty"`    // a refresh earlier than this before expiry is refused (Exact Online: 30s)
	LiveLimit       int              `json:"live_limit,omitempty"`       // access tokens alive per grant; one more kills the oldest (Zoho: 15)
	SameAccess      bool             `json:"same_access,omitempty"`      // while an access token lives, the answer is the same one (Marketo)
	Format          string           `json:"format,omitempty"`           // opaque (default) | jwt
	NoRefresh       bool             `json:"no_refresh,omitempty"`       // issues no refresh tokens

	Expires   string            `json:"expires,omitempty"`    // how answers tell the lifetime: number (default) | string | float | minutes | ms | at | at_ms | rfc3339 | missing
	Type      string            `json:"type,omitempty"`       // token_type: Bearer
	Names     map[string]string `json:"names,omitempty"`      // other names for members of the answer; "" leaves one out
	Wrap      string            `json:"wrap,omitempty"`       // the answer sits below these members, such as data.session
	CreatedAt bool              `json:"created_at,omitempty"` // answers tell when they were issued, in Unix seconds
	Odd       bool              `json:"odd,omitempty"`        // odd but legal answers: unknown members, white space, any order

	Scope   string `json:"scope,omitempty"`    // granted when none is asked for
	Narrow  string `json:"narrow,omitempty"`   // what a refresh narrows the scope to
	Subject string `json:"subject,omitempty"`  // whose grant it is, when nobody signs in: alice
	IDToken string `json:"id_token,omitempty"` // with scope openid: RS256 (default) | ES256 | off

	PKCE         string           `json:"pkce,omitempty"`          // optional (default) | required | ignored | refused
	DPoP         string           `json:"dpop,omitempty"`          // accepted (default) | required | nonce | endless | off
	Picky        bool             `json:"picky,omitempty"`         // token requests must be exactly RFC 6749's: a POSTed form, nothing twice, one way to authenticate
	AutoConsent  bool             `json:"auto_consent,omitempty"`  // nobody is asked
	CodeLifetime freshet.Duration `json:"code_lifetime,omitempty"` // of an authorization code: 1m

	DeviceLifetime freshet.Duration `json:"device_lifetime,omitempty"` // of a device code: 10m
	DeviceInterval freshet.Duration `json:"device_interval,omitempty"` // between polls: 5s
	DeviceAuto     int              `json:"device_auto,omitempty"`     // the n-th poll finds the device approved

	Scheme       string `json:"scheme,omitempty"`        // what the API wants before the token, to the letter; empty: anything
	RejectStatus int    `json:"reject_status,omitempty"` // how the API refuses a token: 401
	RejectBody   string `json:"reject_body,omitempty"`   // and with which body, instead of a JSON object
}

// standard is what an empty field of Options.Default means.
var standard = Profile{
	Model: Rotate, Every: 3,
	Lifetime: freshet.Duration(time.Hour),
	Format:   "opaque", Expires: "number", Type: "Bearer",
	Scope: "read write", Subject: "alice", IDToken: "RS256",
	PKCE: "optional", DPoP: "accepted",
	CodeLifetime:   freshet.Duration(time.Minute),
	DeviceLifetime: freshet.Duration(10 * time.Minute),
	DeviceInterval: freshet.Duration(5 * time.Second),
	RejectStatus:   401,
}

// fill gives p's empty fields the values of d.
func (p *Profile) fill(d Profile) {
	or(&p.Model, d.Model)
	or(&p.Grace, d.Grace)
	or(&p.Every, d.Every)
	or(&p.Reuse, d.Reuse)
	or(&p.Lifetime, d.Lifetime)
	or(&p.Claimed, d.Claimed)
	or(&p.RefreshLifetime, d.RefreshLifetime)
	or(&p.IdleLifetime, d.IdleLifetime)
	or(&p.EarlyRefresh, d.EarlyRefresh)
	or(&p.LiveLimit, d.LiveLimit)
	or(&p.SameAccess, d.SameAccess)
	or(&p.Format, d.Format)
	or(&p.NoRefresh, d.NoRefresh)
	or(&p.Expires, d.Expires)
	or(&p.Type, d.Type)
	if p.Names == nil {
		p.Names = d.Names
	}
	or(&p.Wrap, d.Wrap)
	or(&p.Odd, d.Odd)
	or(&p.Scope, d.Scope)
	or(&p.Narrow, d.Narrow)
	or(&p.Subject, d.Subject)
	or(&p.IDToken, d.IDToken)
	or(&p.PKCE, d.PKCE)
	or(&p.DPoP, d.DPoP)
	or(&p.Picky, d.Picky)
	or(&p.AutoConsent, d.AutoConsent)
	or(&p.CodeLifetime, d.CodeLifetime)
	or(&p.DeviceLifetime, d.DeviceLifetime)
	or(&p.DeviceInterval, d.DeviceInterval)
	or(&p.DeviceAuto, d.DeviceAuto)
	or(&p.Scheme, d.Scheme)
	or(&p.RejectStatus, d.RejectStatus)
	or(&p.RejectBody, d.RejectBody)
}

func or[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

// check reports the first field that holds a word nobody knows.
func (p *Profile) check() error {
	if p.Model != "" {
		if _, ok := models[p.Model]; !ok {
			return fmt.Errorf("model: %q is not known: use one of %v", string(p.Model), Models())
		}
	}
	for _, f := range []struct{ name, value, words string }{
		{"reuse", p.Reuse, "refused revokes"},
		{"format", p.Format, "opaque jwt"},
		{"expires", p.Expires, "number string float minutes ms at at_ms rfc3339 missing"},
		{"id_token", p.IDToken, "RS256 ES256 off"},
		{"pkce", p.PKCE, "optional required ignored refused"},
		{"dpop", p.DPoP, "accepted required nonce endless off"},
	} {
		if f.value != "" && !slices.Contains(strings.Fields(f.words), f.value) {
			return fmt.Errorf("%s: %q is not known: use one of %s", f.name, f.value, strings.ReplaceAll(f.words, " ", ", "))
		}
	}
	if p.RejectStatus != 0 && (p.RejectStatus < 200 || p.RejectStatus > 599) {
		return fmt.Errorf("reject_status: %d is not a status of an answer", p.RejectStatus)
	}
	return nil
}

// model returns the profile's model with its refinements.
func (p *Profile) model() model {
	m := models[p.Model]
	if p.Grace > 0 {
		m.grace = p.Grace.D()
	}
	switch p.Reuse {
	case "refused":
		m.revokes = false
	case "revokes":
		m.revokes = true
	}
	return m
}
