package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
)

func duration(d time.Duration) freshet.Duration { return freshet.Duration(d) }

// reads compares token reads with a handler that answers the same bytes and
// checks nothing.
func (r *runner) reads(ctx context.Context) error {
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.config("reads", base, base+"/api")
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("reads"), "--config", config)
	if err != nil {
		return err
	}
	ours := get(s.addr, "/api/v1/connections/crm/token", "Authorization: Bearer "+s.key)
	body, err := ours.body()
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, "body")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return err
	}
	bare, err := r.baseline("bare", file)
	if err != nil {
		return err
	}
	p, err := compare(ctx, ours, get(bare.addr, "/api/v1/connections/crm/token", "Authorization: Bearer "+s.key), r.o.Rounds, r.o.Each)
	if err != nil {
		return err
	}
	r.pairRow("reads", "token read with key check", "a bare handler", p, 0.80)
	return nil
}

// proxied compares proxied calls with a reverse proxy that only injects.
func (r *runner) proxied(ctx context.Context) error {
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, "answer")
	if err := os.WriteFile(file, []byte(`{"results":[`+strings.Repeat(`{"id":1,"name":"somebody"},`, 40)+`{}]}`), 0o600); err != nil {
		return err
	}
	upstream, err := r.baseline("bare", file)
	if err != nil {
		return err
	}
	config, err := r.config("proxy", base, "http://"+upstream.addr)
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("proxy"), "--config", config)
	if err != nil {
		return err
	}
	plain, err := r.baseline("proxy", "http://"+upstream.addr)
	if err != nil {
		return err
	}
	p, err := compare(ctx, get(s.addr, "/proxy/crm/v1/me", "Authorization: Bearer "+s.key), get(plain.addr, "/v1/me"), r.o.Rounds, r.o.Each)
	if err != nil {
		return err
	}
	r.pairRow("proxy", "proxied call with key, path, destination, audit", "httputil.ReverseProxy + x/oauth2.Transport", p, 0.90)
	return nil
}

// inprocess compares cached reads within a program.
func (r *runner) inprocess(ctx context.Context) error {
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.config("inprocess", base, base+"/api")
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("inprocess"), "--config", config)
	if err != nil {
		return err
	}
	c := api.New(s.url, s.key)
	if _, err := c.Token(ctx, "crm"); err != nil {
		return err
	}
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "x", Expiry: time.Now().Add(time.Hour)}, nil)
	for _, n := range []int{1, 64} {
		var ours, theirs, ratios []float64
		var allocs float64
		for range r.o.Rounds {
			a, mallocs := perCall(n, func() { c.Token(ctx, "crm") })
			b, _ := perCall(n, func() { reuse.Token() })
			ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, b/a)
			allocs = mallocs
		}
		row := Row{Profile: "inprocess", Name: fmt.Sprintf("cached read, %d goroutine(s)", n), Ratio: median(ratios),
			Value: fmt.Sprintf("%.0f ns, %.2f allocations (x/oauth2 %.0f ns)", median(ours), allocs, median(theirs))}
		row.Goal, row.Met = "≤ 50 ns, no allocation", goal(median(ours) <= 50 && allocs < 0.01)
		r.add(row)
	}
	return nil
}

// perCall returns nanoseconds and allocations of one call, with n goroutines
// calling at once.
func perCall(n int, f func()) (ns, mallocs float64) {
	const calls = 2_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range calls / n {
				f()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return float64(took.Nanoseconds()) / calls, float64(after.Mallocs-before.Mallocs) / calls
}

// waiters counts what a crowd on an expired token causes.
func (r *runner) waiters(ctx context.Context) error {
	const crowd = 5000
	em, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.config("waiters", base, base+"/api")
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("waiters"), "--config", config)
	if err != nil {
		return err
	}
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd, DisableKeepAlives: true}, Timeout: time.Minute}
	before := em.Count("token")
	var failed atomic.Int64
	var first atomic.Pointer[string]
	began := time.Now()
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/api/v1/connections/crm/token", nil)
			req.Header.Set("Authorization", "Bearer "+s.key)
			res, err := hc.Do(req)
			if err == nil {
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					err = errors.New(res.Status)
				}
			}
			if err != nil {
				failed.Add(1)
				text := err.Error()
				first.CompareAndSwap(nil, &text)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d callers failed: %s", n, crowd, *first.Load())
	}
	asked := em.Count("token") - before
	r.add(Row{Profile: "waiters", Name: "token requests for 5,000 callers", Value: fmt.Sprintf("%d, all answered in %v", asked, time.Since(began).Round(time.Millisecond)), Goal: "1", Met: goal(asked == 1)})
	return nil
}

// startup measures a cold start and memory at rest.
func (r *runner) startup(ctx context.Context) error {
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.config("start", base, base+"/api")
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("start"), "--config", config)
	if err != nil {
		return err
	}
	s.stop()
	var took []float64
	for range r.o.Rounds {
		if s, err = r.serve(ctx, r.data("start")); err != nil {
			return err
		}
		took = append(took, float64(s.took))
		s.stop()
	}
	start := time.Duration(median(took))
	r.add(Row{Profile: "start", Name: "cold start on an existing store", Value: start.Round(time.Millisecond).String(), Goal: "≤ 200 ms", Met: goal(start <= 200*time.Millisecond)})
	return r.memory(ctx, "start", "memory at rest", "start", 40<<20)
}

// memory starts a server and lets it rest.
func (r *runner) memory(ctx context.Context, profile, name, data string, most int64) error {
	s, err := r.serve(ctx, r.data(data))
	if err != nil {
		return err
	}
	defer s.stop()
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	if n := rss(s.cmd.Process.Pid); n > 0 {
		r.add(Row{Profile: profile, Name: name, Value: fmt.Sprintf("%d MB", n>>20), Goal: fmt.Sprintf("≤ %d MB", most>>20), Met: goal(n <= most)})
	}
	if st, err := os.Stat(r.o.Exe); err == nil && profile == "start" {
		r.add(Row{Profile: profile, Name: "this binary", Value: fmt.Sprintf("%d MB", st.Size()>>20)})
	}
	return nil
}
