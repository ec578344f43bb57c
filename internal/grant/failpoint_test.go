//go:build failpoints && unix

package grant

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/failpoint"
)

// An error at a fail point is a transport error that is honest about what may
// have been sent.
func TestFailPoints(t *testing.T) {
	defer failpoint.Set("")
	for _, c := range []struct {
		point     string
		uncertain bool
		requests  int
	}{
		{failpoint.SendBefore, false, 0},
		{failpoint.SendWritten, true, 1},
		{failpoint.RespHeaders, true, 1},
		{failpoint.RespBody, true, 1},
	} {
		t.Run(c.point, func(t *testing.T) {
			srv := record(t, nil)
			failpoint.Set(c.point + "=error")
			out := sender().Ask(t.Context(), define(srv.URL, nil), spend)
			if out.Err == nil || out.Err.Class != Retryable || out.Err.Uncertain != c.uncertain || !out.Salvaged.IsZero() {
				t.Errorf("outcome %+v, want a retryable error, uncertain %v", out, c.uncertain)
			}
			failpoint.Set("")
			if n := len(srv.requests()); n > c.requests || c.requests == 0 && n != 0 {
				t.Errorf("%d requests, want at most %d", n, c.requests)
			}
			mustToken(t, sender().Ask(t.Context(), define(srv.URL, nil), spend))
		})
	}
}
