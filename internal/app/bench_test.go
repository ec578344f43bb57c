package app_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/emulator"
)

// BenchmarkGetAccessToken runs the function of the document with a valid token,
// journal and store on disk, 32 callers.
func BenchmarkGetAccessToken(b *testing.B) {
	w := newWorld(b, emulator.Options{Fast: true})
	w.shop(ours(b))
	w.must("shop", getToken)
	var failed atomic.Int64
	b.SetParallelism(16) // times two processors
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			out, err := w.apps.Run(b.Context(), app.Request{App: "shop", Function: getToken, Trigger: "api"})
			if err != nil || out.Fault != nil {
				failed.Add(1)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	if failed.Load() > 0 {
		b.Errorf("%d runs failed", failed.Load())
	}
}

// BenchmarkPage loads a page with a valid token, its query answered by the
// emulator on loopback. BenchmarkQuery is that query alone: the difference is
// what the page adds.
func BenchmarkPage(b *testing.B) {
	w := newWorld(b, emulator.Options{Fast: true})
	w.shop(ours(b))
	w.must("shop", getToken)
	for b.Loop() {
		v, err := w.apps.Load(b.Context(), "shop", "users", "http", nil)
		if err != nil || v.Fault != "" {
			b.Fatal(err, v)
		}
		if err := v.Render(&bytes.Buffer{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuery is the request of BenchmarkPage, sent by itself.
func BenchmarkQuery(b *testing.B) {
	w := newWorld(b, emulator.Options{Fast: true})
	send, f := w.plain(w.token())
	for b.Loop() {
		if a, err := send.Send(b.Context(), f); err != nil || a.Status != 200 {
			b.Fatal(err)
		}
	}
}
