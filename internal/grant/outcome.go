package grant

import (
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Class says what an unsuccessful token request means for the grant.
type Class string

// The three classes of error.
const (
	Retryable     Class = "retryable"     // time or load; keep the grant, retry with back-off
	Permanent     Class = "permanent"     // the grant is dead for this client; a person must reconnect
	Misconfigured Class = "misconfigured" // our client, URL, key, clock or profile is wrong; keep the grant
)

// An Outcome is the one thing that a token request led to. Exactly one of Token
// and Err is set.
type Outcome struct {
	Token    *freshet.Token // Refresh is empty when the answer brought no new one: keep the stored one
	Err      *Error
	Salvaged freshet.Secret // a new refresh token that came without a usable access token: store it
	Flags    []Flag         // oddities worth an event; never a reason to drop a token
}

// An Error is a token request that brought no usable access token. Its text
// holds no secret: what the provider said is cut and scrubbed.
type Error struct {
	Class      Class
	Code       string        // the provider's error code, or ours: http_504, bad_json, network_dns, …
	Uncertain  bool          // the provider may have processed the request; the refresh token may be spent
	RetryAfter time.Duration // what the provider asked for; 0: nothing
	Status     int           // HTTP status, 0 if there was no answer
	Detail     string        // in words, at most 256 bytes of the provider's own
	Nonce      string        // with code use_dpop_nonce: retry at once with it
	Skew       time.Duration // our clock minus the provider's, when a clock error is likely
	cause      error
}

// Error names the endpoint's answer without any of its secrets.
func (e *Error) Error() string {
	s := fmt.Sprintf("token request: %s", e.Code)
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns the transport's error, if that was the cause.
func (e *Error) Unwrap() error { return e.cause }

// A Flag names an oddity of an answer that we accepted.
type Flag string

// An Ask is one token request. The zero Ask obtains a token by the
// connection's own grant from its credentials.
type Ask struct {
	RefreshToken freshet.Secret // set: refresh with it
	Scope        string         // the stored scope, for providers that want it repeated
	Previous     *freshet.Token // what is stored now, if anything: templates may name {{access_token}}

	Code        freshet.Secret // authorization_code: the code, RFC 6749 §4.1.3
	Verifier    freshet.Secret // PKCE, RFC 7636
	RedirectURI string
	Nonce       string         // expected in the ID token
	DeviceCode  freshet.Secret // device_code, RFC 8628 §3.4
}
