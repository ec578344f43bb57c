package process_test

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/process"
)

// What a button with three rules costs beside its HTTP call, which goes over no
// network here. The start of the run, the save and the end are durable.
func BenchmarkPress(b *testing.B) {
	w := newBubble(b)
	ctx := context.Background()
	var own time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		r, err := w.Press(ctx, process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"})
		if err != nil || r.Fault != nil || !r.Saved {
			b.Fatal(r, err)
		}
		own += time.Since(began)
	}
	b.ReportMetric(float64(own.Microseconds())/1e3/float64(b.N), "ms/press")
}
