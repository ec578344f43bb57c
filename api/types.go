package api

import (
	"encoding/json"
	"time"
)

// A Token is the answer to GET /api/v1/connections/{name}/token. It is shared
// between callers: read only.
type Token struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"` // nil: the provider did not say
	Scope       string     `json:"scope,omitempty"`
	Generation  int64      `json:"generation"`
	Stale       bool       `json:"stale"`                 // it lives, but a refresh that was due is failing
	CacheUntil  *time.Time `json:"cache_until,omitempty"` // nil: ask each time
	Use         Use        `json:"use"`
}

// Use says where a token may go and how an API wants to be shown it.
type Use struct {
	Hosts    []string    `json:"hosts"` // scheme://host[:port], all that it may be sent to; empty: the connection names no API
	Inject   []Injection `json:"inject"`
	Rejected Rejected    `json:"rejected"`
}

// An Injection is one place of a request that a credential goes to, with its
// rendered value.
type Injection struct {
	In    string `json:"in"` // header | query | cookie
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Rejected tells when an answer means that the token was not accepted.
type Rejected struct {
	Status []int  `json:"status"`
	Body   string `json:"body,omitempty"` // a predicate that only the server evaluates; a client goes by Status
}

// A Connection is the answer to GET /api/v1/connections/{name}: where it
// stands, and the resource with its secrets as markers.
type Connection struct {
	Name             string          `json:"name"`
	State            string          `json:"state"`
	Reason           string          `json:"reason,omitempty"`
	Hint             string          `json:"hint,omitempty"` // what to do, when it is not ok
	ExpiresAt        *time.Time      `json:"expires_at,omitempty"`
	NextRefreshAt    *time.Time      `json:"next_refresh_at,omitempty"`
	RefreshExpiresAt *time.Time      `json:"refresh_expires_at,omitempty"`
	Generation       int64           `json:"generation"`
	LastError        *Failure        `json:"last_error,omitempty"`
	Spec             json.RawMessage `json:"spec,omitempty"`
}

// A Failure is the last token request that brought nothing.
type Failure struct {
	At         time.Time `json:"at"`
	Class      string    `json:"class"` // retryable | permanent | misconfigured
	Code       string    `json:"code"`
	Detail     string    `json:"detail,omitempty"`
	Status     int       `json:"status,omitempty"`
	Uncertain  bool      `json:"uncertain"`
	RetryAfter int64     `json:"retry_after_s,omitempty"`
	Flags      []string  `json:"flags,omitempty"`
}

// A Problem is an application/problem+json answer (RFC 9457). It is the error
// of every call that the server refused.
type Problem struct {
	Type       string        `json:"type"`
	Title      string        `json:"title"`
	Status     int           `json:"status"`
	Detail     string        `json:"detail"`
	Hint       string        `json:"hint,omitempty"`
	Connection string        `json:"connection,omitempty"`
	State      string        `json:"state,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	ConnectURL string        `json:"connect_url,omitempty"`
	RetryAfter time.Duration `json:"-"` // of the Retry-After header; 0: none
	// Errors says what is wrong with the request, Faults with resource files.
	Errors []ProblemError `json:"errors,omitempty"`
	Faults []Fault        `json:"faults,omitempty"`
}

// A ProblemError is one thing that is wrong with a request.
type ProblemError struct {
	Message  string `json:"message"`
	Location string `json:"location"` // body.name, query.limit
}

// Error returns the detail, which is written for people.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}
