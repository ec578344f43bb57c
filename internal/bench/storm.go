package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
)

const (
	stormSize = 10_000 // refreshes
	stormWide = 64     // callers that ask for them
	hanging   = 200    // connections at the provider that hangs, each with a caller
	openRate  = 1000   // reads a second
)

// storm reads one fresh token by an open loop: at rest, while every other
// connection is refreshed, and while a provider takes requests and answers none.
func (r *runner) storm(ctx context.Context) error {
	em, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.stormConfig(base)
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("storm"), append(r.database(), "--config", config)...)
	if err != nil {
		return err
	}
	reads := open{get(s.addr, "/api/v1/connections/crm/token", "Authorization: Bearer "+s.key), openRate}
	reads.conns = 128
	if _, err := reads.body(); err != nil {
		return err
	}
	if _, err := reads.run(ctx, 2*time.Second, nil); err != nil { // warm up
		return err
	}
	idle, err := reads.run(ctx, 8*time.Second, nil)
	if err != nil {
		return err
	}
	r.add(Row{Profile: "storm", Name: "reads at rest", Value: latency(idle)})

	done := make(chan struct{})
	var failed atomic.Int64
	var took time.Duration
	go func() {
		defer close(done)
		began := time.Now()
		failed.Add(refreshAll(ctx, []*served{s}, stormSize))
		took = time.Since(began)
	}()
	storm, err := reads.run(ctx, time.Second, done)
	if err != nil {
		return err
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d refreshes failed", n, stormSize)
	}
	r.add(Row{Profile: "storm", Name: "reads while 10,000 refreshes are under way", Value: fmt.Sprintf("%s; %.0f refreshes/s", latency(storm), stormSize/took.Seconds())})

	if err := em.Next(emulator.Fault{At: "token", Client: "hang", Count: -1, Mode: emulator.Modes{"stall"}}); err != nil {
		return err
	}
	waiting, leave := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range hanging {
		wg.Go(func() { s.ask(waiting, http.DefaultClient, http.MethodGet, fmt.Sprintf("h%05d/token", i)) })
	}
	hung, err := reads.run(ctx, 8*time.Second, nil)
	leave()
	wg.Wait()
	if err != nil {
		return err
	}
	ratio := float64(hung.p99) / float64(idle.p99)
	r.add(Row{Profile: "storm", Name: "reads while a provider hangs", Ratio: ratio, Value: fmt.Sprintf("%s: %.2f of p99 at rest", latency(hung), ratio), Goal: "≤ 2", Met: goal(ratio <= 2)})
	return nil
}

func latency(v round) string {
	return fmt.Sprintf("p50 %v, p99 %v at %.0f/s", v.p50.Round(time.Microsecond), v.p99.Round(time.Microsecond), v.perSecond)
}

func (r *runner) stormConfig(base string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "network: { allow: [\"127.0.0.0/8\"] }\nproviders:\n  p: { token_url: %q, client_auth: basic }\n  slow: { token_url: %q, client_auth: basic }\nclients:\n"+
		"  c: { provider: p, id: bench, secret: bench-secret-of-some-length }\n  h: { provider: slow, id: hang, secret: bench-secret-of-some-length }\nconnections:\n"+
		"  crm: { client: c, grant: client_credentials }\n", base+"/token", base+"/token")
	for i := range stormSize {
		fmt.Fprintf(&b, "  n%05d: { client: c, grant: client_credentials }\n", i)
	}
	for i := range hanging {
		fmt.Fprintf(&b, "  h%05d: { client: h, grant: client_credentials }\n", i)
	}
	path := filepath.Join(r.dir, "storm.yaml")
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// refreshAll has n connections refreshed by the servers, each once, and returns
// how many were not.
func refreshAll(ctx context.Context, servers []*served, n int) (failed int64) {
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: stormWide}, Timeout: time.Minute}
	defer hc.CloseIdleConnections()
	var next, bad atomic.Int64
	var wg sync.WaitGroup
	for w := range stormWide {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := servers[w%len(servers)].ask(ctx, hc, http.MethodPost, fmt.Sprintf("n%05d/refresh", i)); err != nil {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return bad.Load()
}

// ask makes a request about a connection and wants 200.
func (s *served) ask(ctx context.Context, hc *http.Client, method, path string) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/api/v1/connections/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	return nil
}
