package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/examples"
)

// waiting is a workflow whose runs wait for a day.
const waiting = "workflow: Waits\nactivities:\n  first: { type: SetVariable, with: { VariableName: a, Value: b }, next: timer }\n  timer: { type: Timer, with: { Timeout: '24:00:00' }, next: done }\n  done: { type: Finish }\n"

// workflow runs the example CallMyAPI with a token that the table holds, calls
// nobody waits long for, and runs that wait.
func (r *runner) workflow(ctx context.Context) error {
	file := filepath.Join(r.dir, "answer")
	if err := os.WriteFile(file, []byte(`{"id":1,"name":"somebody","email":"somebody@example.com"}`), 0o600); err != nil {
		return err
	}
	upstream, err := r.baseline("bare", file)
	if err != nil {
		return err
	}
	held := make(chan struct{})
	var holding atomic.Int64
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		holding.Add(1)
		select {
		case <-held:
		case <-q.Context().Done():
		}
	}))
	r.later(slow.Close)
	config, err := r.workflows("http://"+upstream.addr, slow.URL)
	if err != nil {
		return err
	}
	metrics, err := free()
	if err != nil {
		return err
	}
	s, err := r.serve(ctx, r.data("workflow"), append([]string{"--config", config, "--metrics-listen", metrics}, r.database()...)...)
	if err != nil {
		return err
	}
	// Runs under way, before anything else has made the heap large.
	const under = 1000
	before := rss(s.cmd.Process.Pid)
	var wg sync.WaitGroup
	var failed atomic.Int64
	c := api.New(s.url, s.key)
	for range under {
		wg.Go(func() {
			if _, err := c.RunWorkflow(ctx, api.RunRequest{Name: "Slow"}); err != nil {
				failed.Add(1)
			}
		})
	}
	for holding.Load() < under && ctx.Err() == nil && failed.Load() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	grown := rss(s.cmd.Process.Pid) - before
	close(held)
	wg.Wait()
	if failed.Load() > 0 {
		return fmt.Errorf("%d of %d runs failed", failed.Load(), under)
	}
	r.add(Row{Profile: "workflow", Name: fmt.Sprintf("memory of one run under way (%d at once, with both connections)", under), Value: fmt.Sprintf("%.0f KiB", float64(grown)/under/1024)})

	call := s.runs("CallMyAPI", `{"api":"/customers/1"}`, 32)
	if _, err := call.run(ctx, r.o.Each); err != nil { // warm
		return err
	}
	written, spent, rounds := writes(s.cmd.Process.Pid), processor(s.cmd.Process.Pid), make([]round, 0, r.o.Rounds)
	ran := 0.0
	for range r.o.Rounds {
		v, err := call.run(ctx, r.o.Each)
		if err != nil {
			return err
		}
		rounds, ran = append(rounds, v), ran+v.perSecond*r.o.Each.Seconds()
	}
	v := typical(rounds)
	row := Row{Profile: "workflow", Name: "runs of CallMyAPI, token in its table, 32 callers", Value: fmt.Sprintf("%.0f/s, p50 %v, p99 %v", v.perSecond, v.p50.Round(10*time.Microsecond), v.p99.Round(10*time.Microsecond))}
	row.Goal, row.Met = "≥ 800/s", goal(v.perSecond >= 800)
	r.add(row)
	if after := processor(s.cmd.Process.Pid); after > spent {
		r.add(Row{Profile: "workflow", Name: "processor time of one such run", Value: fmt.Sprintf("%.2f ms", (after-spent).Seconds()*1000/ran)})
	}
	if after := writes(s.cmd.Process.Pid); after > written && written > 0 {
		r.add(Row{Profile: "workflow", Name: "bytes written for one such run, with its journal", Value: fmt.Sprintf("%.1f KiB", float64(after-written)/ran/1024)})
	}
	native := s.runs("CallMyAPINatively", `{"api":"/customers/1"}`, 32)
	if v, err = native.run(ctx, r.o.Each); err != nil {
		return err
	}
	r.add(Row{Profile: "workflow", Name: "the same with a connection, in three steps", Value: fmt.Sprintf("%.0f/s, p50 %v, p99 %v", v.perSecond, v.p50.Round(10*time.Microsecond), v.p99.Round(10*time.Microsecond))})

	return r.suspended(ctx, s, metrics)
}

// suspended has ten thousand runs wait.
func (r *runner) suspended(ctx context.Context, s *served, metrics string) error {
	const many = 10_000
	goroutines, before := gauge(metrics, "go_goroutines"), rss(s.cmd.Process.Pid)
	c := api.New(s.url, s.key)
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	began := time.Now()
	for i := range 16 {
		wg.Go(func() {
			for n := i; n < many; n += 16 {
				out, err := c.RunWorkflow(ctx, api.RunRequest{Name: "Waits"})
				if err == nil && out.Status != "suspended" {
					err = fmt.Errorf("a run is %s", out.Status)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	took := time.Since(began)
	r.add(Row{Profile: "workflow", Name: "runs that begin and wait, 16 callers", Value: fmt.Sprintf("%.0f/s", many/took.Seconds())})
	row := Row{Profile: "workflow", Name: "10,000 runs that wait", Goal: "rows, no goroutines",
		Value: fmt.Sprintf("%+.0f goroutines, %+.1f MiB", gauge(metrics, "go_goroutines")-goroutines, float64(rss(s.cmd.Process.Pid)-before)/(1<<20))}
	row.Met = goal(gauge(metrics, "go_goroutines")-goroutines < 100)
	r.add(row)
	return nil
}

// workflows writes the example's files, with a token that lives for a year.
func (r *runner) workflows(base, slow string) (string, error) {
	dir := filepath.Join(r.dir, "workflows")
	if err := os.MkdirAll(filepath.Join(dir, "definitions"), 0o700); err != nil {
		return "", err
	}
	names, err := fs.Glob(examples.Workflows, "world-of-workflows/definitions/*")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		b, err := examples.Workflows.ReadFile(n)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, "definitions", filepath.Base(n)), b, 0o600); err != nil {
			return "", err
		}
	}
	until := time.Now().Add(365 * 24 * time.Hour).UTC().Format(time.RFC3339)
	for name, text := range map[string]string{
		"definitions/waits.yaml": waiting,
		"definitions/slow.yaml":  "workflow: Slow\nactivities:\n  call: { type: SendHttpRequest, with: { Url: \"" + slow + "\" }, next: { '200': done } }\n  done: { type: Finish }\n",
		"all.yaml": fmt.Sprintf(`network: { allow: ["127.0.0.0/8"] }
tables:
  Settings:
    columns: { Key: string, Data1: { type: string, secret: true }, Data2: { type: string, secret: true } }
    rows:
      - { Key: AccessToken, Data1: a-token-of-the-usual-length-0123456789, Data2: %q }
      - { Key: AccessTokenCreds, Data1: alice, Data2: password }
      - { Key: APIBaseURL, Data1: %q }
providers:
  p: { token_url: %q, client_auth: none, request: { headers: { Content-Type: application/json }, body: '{}' }, response: { access_token: name, expires: { fixed: 8760h } } }
connections:
  example-api: { provider: p, grant: request, api: { base_url: %q } }
workflows:
  CallMyAPI: { file: definitions/call-my-api.json, publish: true }
  GetChangingAccessTokenAuthentication: { file: definitions/get-changing-access-token-authentication.json, publish: true }
  CallMyAPINatively:
    file: definitions/call-my-api-natively.yaml
    publish: true
    map_input: { api: input.api }
  Waits: { file: definitions/waits.yaml, publish: true }
  Slow: { file: definitions/slow.yaml, publish: true }
`, until, base, base+"/token", base),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "all.yaml"), nil
}

// runs is a load of runs.
func (s *served) runs(name, input string, callers int) load {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /api/v1/workflows/%s/run HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", name, s.addr, s.key, len(input), input)
	return load{addr: s.addr, request: b.Bytes(), conns: callers}
}

// free finds an address that nobody listens at.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// writes returns how many bytes a process has had written to disks, 0 where it
// cannot be read.
func writes(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// processor returns the processor time that a process has had, 0 where it cannot
// be read.
func processor(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(") ")) // the name may hold anything
	f := strings.Fields(string(rest))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond // in hundredths of a second
}

// gauge reads a metric without labels.
func gauge(addr, name string) float64 {
	res, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			f, _ := strconv.ParseFloat(v, 64)
			return f
		}
	}
	return 0
}
