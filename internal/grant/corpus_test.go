package grant_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

// TestCorpus reads every answer of the corpus that needs no broken transport.
func TestCorpus(t *testing.T) {
	for _, c := range granttest.Load(t) {
		t.Run(c.ID, func(t *testing.T) {
			r := reply(c)
			if c.Transport != nil {
				switch c.Transport.Mode {
				case "informational_then":
					r.Status = c.Transport.ThenStatus
				default:
					t.Skip("over sockets: TestCorpusOverTheWire")
				}
			}
			p := c.Provider("https://as.example/token")
			granttest.Check(t, c, grant.Parse(&p, nil, freshet.Policy{}, r))
		})
	}
}

// TestCorpusOverTheWire sends every case's request with a Sender to a real
// endpoint: each must be sent once, whatever the endpoint does.
func TestCorpusOverTheWire(t *testing.T) {
	s := grant.New(grant.Options{Now: func() time.Time { return granttest.Clock }})
	for _, c := range granttest.Load(t) {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			e := granttest.Serve(t, c)
			deadline := 10 * time.Second
			if c.Transport != nil {
				switch c.Transport.Mode {
				case "drip", "stall_after_headers", "stall_before_headers":
					deadline = 300 * time.Millisecond
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			o := s.Ask(ctx, c.Definition(e.URL), c.Ask())
			granttest.Check(t, c, o)
			want := 1
			switch {
			case c.Expected.RetryWith == "dpop_nonce":
				want = 2
			case c.Transport != nil && (c.Transport.Mode == "refuse" || c.Transport.Mode == "dns_fail" || c.Transport.Mode == "tls_unknown_ca" || c.Transport.Mode == "tls_handshake_reset"):
				want = 0
			}
			if got := e.Requests(); got != want {
				t.Errorf("%d requests reached the endpoint, want %d", got, want)
			}
		})
	}
}

// reply is what a Sender makes of a case's answer.
func reply(c granttest.Case) grant.Reply {
	h := http.Header{}
	for k, v := range c.Headers {
		h.Set(k, v)
	}
	r := grant.Reply{
		Grant: c.Grant(), Refresh: c.Refreshes(), Prior: c.Prior(), Status: c.Status, Header: h, Body: bytes.Clone(c.Body()),
		SentAt: granttest.Clock, Now: granttest.Clock, Written: true,
	}
	if len(r.Body) > grant.MaxBody {
		r.Body, r.Truncated = r.Body[:grant.MaxBody], true
	}
	return r
}
