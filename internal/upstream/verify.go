package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/freshet-dev/freshet"
)

// A Verification says what an API thinks of a connection's credential.
type Verification struct {
	OK         bool
	Method     string
	Path       string
	Status     int
	Generation int64
	Refreshed  bool   // the first token was refused, and a new one is what was verified
	Detail     string // in words, when not OK; holds nothing of the answer
}

// Verify makes the request that the connection declares for it (api.verify) and
// compares the status. Errors are those of Do: no verdict was reached.
func (t *Transport) Verify(ctx context.Context, conn Connection) (Verification, error) {
	p := t.plan(conn.Definition())
	if p.wrong != nil {
		return Verification{}, p.wrong
	}
	v := p.api.Verify
	if v == nil {
		return Verification{}, p.refuse(NoAPI, "it names no request to verify with: add api.verify: {path: /me}")
	}
	method := v.Method
	if method == "" {
		method = http.MethodGet
	}
	res, err := t.Do(ctx, conn, &Call{
		Method: method, Target: v.Path, own: true,
		Header: http.Header{"User-Agent": {"freshet"}, "Accept": {"*/*"}},
	})
	if err != nil {
		return Verification{}, err
	}
	defer res.Close()
	io.CopyN(io.Discard, res.Response.Body, maxSniff)
	status := res.Response.StatusCode
	out := Verification{Method: method, Path: v.Path, Status: status, Generation: res.Generation, Refreshed: res.Refreshed}
	switch {
	case res.Rejected != 0 && !res.Refreshed:
		out.Detail = fmt.Sprintf("the API refused the token with %d, and it could not be renewed", status)
	case p.rejects(&freshet.Token{}, res.Response):
		out.Detail = fmt.Sprintf("the API refuses the token with %d, a renewed one too", status)
	case len(v.Status) > 0 && !slices.Contains(v.Status, status), len(v.Status) == 0 && (status < 200 || status > 299):
		out.Detail = fmt.Sprintf("the API answered %d", status)
	default:
		out.OK = true
	}
	return out, nil
}
