package metrics

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/refresh"
)

func TestScrape(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	counted := 0
	m := New(Options{
		Version: "test", Now: func() time.Time { return now },
		Gauges: func() refresh.Gauges { return refresh.Gauges{Waiting: 3, Spilled: 1} },
		Count: func(context.Context) (map[freshet.State]int64, error) {
			counted++
			return map[freshet.State]int64{freshet.StateOK: 7, freshet.StateReauth: 2}, nil
		},
	})
	m.Observe(refresh.Event{Type: refresh.EventRefreshed, Provider: "acme", Connection: "crm-of-alice", Cause: refresh.CauseRead, Took: time.Second, At: now, ExpiresAt: now.Add(time.Hour), Replaced: now.Add(-time.Second)})
	m.Observe(refresh.Event{Type: refresh.EventUncertain, Provider: "acme", Class: grant.Retryable, Code: "http_504", Took: time.Second})
	m.Observe(refresh.Event{Type: refresh.EventClaimLost})
	m.Proxied(201, "fresh", 10*time.Millisecond)
	m.Read(409)
	text := scrape(t, m)
	for _, want := range []string{
		`freshet_refreshes_total{cause="read",provider="acme"} 1`,
		`freshet_refresh_failures_total{class="retryable",code="http_504",provider="acme"} 1`,
		`freshet_uncertain_total 1`, `freshet_claims_lost_total 1`, `freshet_waiters 3`, `freshet_spilled_answers 1`,
		`freshet_connections{state="ok"} 7`, `freshet_connections{state="reauth"} 2`, `freshet_connections{state="attention"} 0`,
		`freshet_proxy_requests_total{status="2xx",token="fresh"} 1`, `freshet_token_reads_total{status="409"} 1`,
		`freshet_token_life_left_seconds_bucket{le="0"} 1`, `freshet_build_info{version="test"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	t.Run("S74 no connection is a label", func(t *testing.T) {
		if strings.Contains(text, "crm-of-alice") {
			t.Error("a connection's name is among the metrics")
		}
	})
	t.Run("the database is asked at most every 15 s", func(t *testing.T) {
		scrape(t, m)
		if counted != 1 {
			t.Errorf("counted %d times", counted)
		}
		now = now.Add(16 * time.Second)
		scrape(t, m)
		if counted != 2 {
			t.Errorf("counted %d times", counted)
		}
	})
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	return string(b)
}
