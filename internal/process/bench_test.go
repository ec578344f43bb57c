package process_test

import (
	"context"
	"testing"

	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/store"
)

// What a button with three rules costs beside its HTTP call, which goes over no
// network here: the start of the run, the save and the end are durable, three
// commits. What one commit costs on the machine is beside it, and what is left
// without any: with a disk that takes a commit in a millisecond a press is below
// the 5 ms that are its figure.
func BenchmarkPress(b *testing.B) {
	ctx := context.Background()
	b.Run("press", func(b *testing.B) {
		w := newBubble(b)
		b.ReportAllocs()
		for b.Loop() {
			r, err := w.Press(ctx, process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"})
			if err != nil || r.Fault != nil || !r.Saved {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("commit", func(b *testing.B) {
		w := newBubble(b)
		for b.Loop() {
			if err := w.store.AppendEvents(ctx, store.Event{Type: "x"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("preview", func(b *testing.B) {
		w := newBubble(b)
		for b.Loop() {
			if _, err := w.Preview(ctx, process.Preview{Press: process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "button:Refresh"}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
