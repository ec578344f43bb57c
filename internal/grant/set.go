package grant

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/freshet-dev/freshet"
)

// Set reads a token set that somebody else than Ask obtained for def: its own
// refresh routine, or a component. body is JSON: an answer as RFC 6749 has it,
// else one as def's provider words it. prior is what is stored, nil if nothing;
// lifetimes count from sent.
//
// It is read as Parse reads an answer of status 200, so that an error in it has
// its class, and a refresh token that it carries is never dropped.
func Set(def *freshet.Definition, body []byte, prior *freshet.Token, sent, now time.Time) Outcome {
	p := def.Provider
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) == nil {
		for _, name := range []string{"access_token", "refresh_token", "error"} {
			if len(top[name]) > 0 {
				p.Response = freshet.Response{ErrorCodes: def.Provider.Response.ErrorCodes}
				break
			}
		}
	}
	secrets := Secrets(def)
	refresh := prior != nil && !prior.Refresh.IsZero()
	if prior != nil {
		secrets = append(secrets, prior.Access, prior.Refresh)
	}
	return Parse(&p, nil, def.Connection.Refresh, Reply{Grant: Grant(def), Refresh: refresh, Prior: prior, Sent: secrets,
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: bytes.TrimSpace(body), Truncated: len(body) > MaxBody, SentAt: sent, Now: now, Written: true})
}
