package run_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// written is how many bytes this process has handed to write calls so far; 0
// where nobody counts.
func written() (n int64) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	fmt.Sscanf(string(b), "rchar: %d", new(int64))
	var rchar int64
	fmt.Sscanf(string(b), "rchar: %d\nwchar: %d", &rchar, &n)
	return n
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sampleSteps are what a run of a workflow that calls an API leaves behind.
func sampleSteps() []run.Step {
	steps := make([]run.Step, 17)
	for i := range steps {
		steps[i] = run.Step{Activity: fmt.Sprintf("3f2c9a4e-7d11-4b0e-9c55-0a1b2c3d4e%02d", i), Type: "SetVariable", Name: fmt.Sprintf("SetStep%d", i), Event: "Executed", Duration: 140 * time.Microsecond,
			Outcomes: []string{"Done"}, Inputs: map[string]any{"VariableName": "Url", "Value": "http://127.0.0.1:9000/api/v1/me?page=2"}, Data: map[string]any{"Outcomes": []any{"Done"}}}
	}
	for _, i := range []int{0, 8, 16} {
		steps[i] = run.Step{Activity: steps[i].Activity, Type: "Correlate", Name: "Correlate", Event: "Executed", Outcomes: []string{"Done"}, Message: "CallMyAPI - starting", Data: map[string]any{"Correlation ID": "CallMyAPI - starting"}}
	}
	steps[12] = run.Step{Activity: steps[12].Activity, Type: "SendHttpRequest", Name: "CallAPI", Event: "Executed", Duration: 3 * time.Millisecond, Outcomes: []string{"200", "Done"},
		Inputs: map[string]any{"Url": "http://127.0.0.1:9000/api/v1/me", "Method": "GET", "Authorization": "Bearer abcdefghijklmnopqrstuvwxyz012345", "RequestHeaders": map[string]any{"X-Tenant": "7", "Accept": "application/json"}},
		Data:   map[string]any{"StatusCode": 200, "Content": `{"results":[{"id":1,"name":"somebody","email":"somebody@example.com"},{"id":2,"name":"somebody else","email":"else@example.com"}],"next":null}`}}
	return steps
}

// BenchmarkRun32 is 32 callers that each begin a run, record 17 steps, correlate
// three times and end it, all durable.
func BenchmarkRun32(b *testing.B) { benchmark(b, 32) }

// BenchmarkRun1 is one of them alone.
func BenchmarkRun1(b *testing.B) { benchmark(b, 1) }

func benchmark(b *testing.B, callers int) {
	st, err := sqlite.Open(b.Context(), b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	values := redact.NewValues(0)
	for i := range 1000 {
		values.Add(fmt.Sprintf("%x-secret-value-%d", i*7919, i))
	}
	j := run.New(run.Options{Store: st, Values: values, Alone: true})
	steps := sampleSteps()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	bytes, spent, at := written(), cpu(), time.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			ctx := b.Context()
			for left.Add(-1) >= 0 {
				r, err := j.Begin(ctx, run.Start{Kind: run.Workflow, Name: "CallMyAPI", Version: 3, Trigger: "api", Road: run.RoadAsWritten, Input: map[string]any{"path": "/api/v1/me", "method": "GET"}})
				if err != nil {
					b.Error(err)
					return
				}
				r.Secret("abcdefghijklmnopqrstuvwxyz012345")
				for i := range steps {
					r.Step(steps[i])
				}
				r.Correlate("CallMyAPI - starting")
				r.Correlate("CallMyAPI - calling the API")
				r.Correlate("CallMyAPI - finished - good")
				if err := r.End(ctx, run.End{Outcomes: []string{"Done"}, Output: steps[12].Data["Content"]}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := float64(b.N)
	b.ReportMetric(n/time.Since(at).Seconds(), "runs/s")
	spent, bytes = cpu()-spent, written()-bytes
	b.StopTimer()
	var kept int64
	if err := st.DB().Read().QueryRow(b.Context(), `SELECT (SELECT sum(length(steps)) FROM run_steps) + (SELECT sum(length(id) + length(name) + length(correlation) + length(coalesce(former, '')) +
		length(coalesce(input, '')) + length(coalesce(output, '')) + length(coalesce(result, '')) + 100) FROM runs)`).Scan(&kept); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(bytes)/n, "B-written/run")
	b.ReportMetric(float64(kept)/n, "B-kept/run")
	b.ReportMetric(float64(bytes)/float64(kept), "amplification")
	b.ReportMetric(float64(spent.Microseconds())/n, "cpu-µs/run")
	if err := j.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
