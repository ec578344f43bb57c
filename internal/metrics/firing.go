package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// firings counts what the clock, people and requests have fired. Schedules are
// no labels: there may be thousands of them.
type firings struct {
	total  *prometheus.CounterVec
	missed prometheus.Counter
	late   prometheus.Histogram
	took   *prometheus.HistogramVec
}

func newFirings(reg prometheus.Registerer) *firings {
	f := &firings{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_firings_total",
			Help: "Firings of schedules and timers, by target, cause (clock, manual, hook) and outcome (succeeded, failed, skipped)."}, []string{"target", "cause", "outcome"}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: "freshet_firings_missed_total", Help: "Instants that passed while nobody looked, and were caught up with by a later one."}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "freshet_firing_late_seconds",
			Help: "From the instant of a firing to its beginning.", Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 3600}}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_firing_seconds",
			Help: "How long firings took.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 10)}, []string{"target"}),
	}
	reg.MustRegister(f.total, f.missed, f.late, f.took)
	return f
}

// Fired counts a firing that is over. One that was skipped took no time.
func (m *Metrics) Fired(target, cause, outcome string, missed int64, late, took time.Duration) {
	f := m.firings
	f.total.WithLabelValues(target, cause, outcome).Inc()
	f.missed.Add(float64(missed))
	if outcome == "skipped" {
		return
	}
	if cause == "clock" {
		f.late.Observe(late.Seconds())
	}
	f.took.WithLabelValues(target).Observe(took.Seconds())
}
