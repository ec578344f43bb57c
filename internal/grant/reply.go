package grant

import (
	"net/http"
	"time"

	"github.com/freshet-dev/freshet"
)

// MaxBody is how many decoded bytes of an answer are read. What is longer is
// cut there and marked Truncated.
const MaxBody = 1 << 20

// A Reply is what one token request brought back, or why it brought nothing.
// Parse reads it and keeps no part of it.
type Reply struct {
	Grant   freshet.GrantType // what was asked with; GrantRefreshToken for a refresh
	Refresh bool              // a refresh token was presented
	Prior   *freshet.Token    // what is stored, nil if nothing
	Scope   string            // what was asked for, empty if nothing was; a narrower answer is flagged
	Sent    []freshet.Secret  // secrets of the request, to keep out of what the provider says back

	Status    int // 0: no answer came
	Header    http.Header
	Body      []byte    // at most MaxBody bytes, content encoding removed
	Truncated bool      // the body was cut, or is longer than MaxBody
	SentAt    time.Time // lifetimes count from here
	Now       time.Time

	Err       error // the transport's error; also set when a body broke off
	Written   bool  // the request may have reached the provider
	Handshake bool  // the TLS handshake began and did not end well
}
