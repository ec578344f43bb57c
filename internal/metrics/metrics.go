// Package metrics counts what Freshet does, for Prometheus. Labels name
// providers, causes and outcomes, never tokens; connections are not labels
// either, because there may be a million of them.
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/refresh"
)

// Options are where values are read at a scrape.
type Options struct {
	Gauges      func() refresh.Gauges
	Count       func(context.Context) (map[freshet.State]int64, error) // connections by state
	AuditQueued func() int64                                           // rows not written yet; nil: not reported
	Now         func() time.Time                                       // nil: time.Now
	Version     string
	More        []prometheus.Collector // of what this process has beside
}

// Metrics holds the counters. Its methods are safe for concurrent use and cost
// a few atomic operations.
type Metrics struct {
	reg *prometheus.Registry
	o   Options

	refreshes  *prometheus.CounterVec
	failures   *prometheus.CounterVec
	took       *prometheus.HistogramVec
	events     *prometheus.CounterVec
	lifeLeft   prometheus.Histogram
	lifetime   prometheus.Histogram
	claimsLost prometheus.Counter
	uncertain  prometheus.Counter

	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	reads    *prometheus.CounterVec
	firings  *firings
}

// New returns Metrics with everything registered.
func New(o Options) *Metrics {
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Metrics{
		reg: prometheus.NewRegistry(), o: o,
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_refreshes_total",
			Help: "Token requests that brought a token, by provider and by what caused them."}, []string{"provider", "cause"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_refresh_failures_total",
			Help: "Token requests that brought none, by provider, class (retryable, permanent, misconfigured) and code."}, []string{"provider", "class", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_refresh_seconds",
			Help: "How long the exchange with the provider took.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 12)}, []string{"provider"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_events_total", Help: "Events by type."}, []string{"type"}),
		lifeLeft: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "freshet_token_life_left_seconds",
			Help: "Life that was left in the token that a refresh replaced; 0 is too late.", Buckets: []float64{0, 1, 5, 15, 30, 60, 300, 900, 3600, 14400, 86400}}),
		lifetime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "freshet_token_lifetime_seconds",
			Help: "Lifetimes of tokens as they come.", Buckets: []float64{60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800, 2592000}}),
		claimsLost: prometheus.NewCounter(prometheus.CounterOpts{Name: "freshet_claims_lost_total", Help: "Claims that another process or person had won."}),
		uncertain:  prometheus.NewCounter(prometheus.CounterOpts{Name: "freshet_uncertain_total", Help: "Token requests whose answer may have been lost."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_proxy_requests_total",
			Help: "Proxied calls, by status class and by what became of the token."}, []string{"status", "token"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "freshet_proxy_seconds",
			Help: "From a proxied call's arrival to its answer's header.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"token"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_token_reads_total",
			Help: "Token reads over HTTP, by status."}, []string{"status"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "freshet_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": o.Version}})
	info.Set(1)
	m.reg.MustRegister(m.refreshes, m.failures, m.took, m.events, m.lifeLeft, m.lifetime, m.claimsLost, m.uncertain, m.requests, m.latency, m.reads, info,
		&gauges{o: o}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.reg.MustRegister(o.More...)
	m.firings = newFirings(m.reg)
	return m
}

// Observe counts an event of the refresher; refresh.Options.Observe takes it.
func (m *Metrics) Observe(e refresh.Event) {
	m.events.WithLabelValues(e.Type).Inc()
	switch e.Type {
	case refresh.EventRefreshed, refresh.EventObtained:
		m.refreshes.WithLabelValues(e.Provider, string(e.Cause)).Inc()
		m.took.WithLabelValues(e.Provider).Observe(e.Took.Seconds())
		if !e.ExpiresAt.IsZero() {
			m.lifetime.Observe(e.ExpiresAt.Sub(e.At.Add(-e.Took)).Seconds())
		}
		if !e.Replaced.IsZero() {
			m.lifeLeft.Observe(max(e.Replaced.Sub(e.At).Seconds(), 0))
		}
	case refresh.EventFailed, refresh.EventUncertain:
		if e.Code != "" {
			m.failures.WithLabelValues(e.Provider, string(e.Class), e.Code).Inc()
		}
		if e.Took > 0 {
			m.took.WithLabelValues(e.Provider).Observe(e.Took.Seconds())
		}
		if e.Type == refresh.EventUncertain {
			m.uncertain.Inc()
		}
	case refresh.EventClaimLost:
		m.claimsLost.Inc()
	}
}

// Proxied counts a proxied call. token is what became of it: "fresh",
// "refreshed" (refused, renewed and sent again), "not_replayable" or "none".
func (m *Metrics) Proxied(status int, token string, took time.Duration) {
	m.requests.WithLabelValues(class(status), token).Inc()
	m.latency.WithLabelValues(token).Observe(took.Seconds())
}

// Read counts a token read over HTTP.
func (m *Metrics) Read(status int) { m.reads.WithLabelValues(strconv.Itoa(status)).Inc() }

func class(status int) string { return strconv.Itoa(status/100) + "xx" }

// Handler serves the metrics. Mount it on a listener of its own: it has no
// authentication.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{Registry: m.reg})
}

// gauges are read at each scrape; the count of connections, which reads the
// database, at most every 15 s.
type gauges struct {
	o    Options
	mu   sync.Mutex
	read time.Time
	last map[freshet.State]int64
}

var (
	descWaiting  = prometheus.NewDesc("freshet_waiters", "Callers that wait for a refresh.", nil, nil)
	descRunning  = prometheus.NewDesc("freshet_refreshes_in_flight", "Token requests under way.", nil, nil)
	descCached   = prometheus.NewDesc("freshet_cached_bytes", "Estimated memory of open tokens.", nil, nil)
	descSpilled  = prometheus.NewDesc("freshet_spilled_answers", "Answers in the spill file that the database has not taken.", nil, nil)
	descTroubled = prometheus.NewDesc("freshet_clients_in_trouble", "Registrations that are misconfigured or paused.", nil, nil)
	descStates   = prometheus.NewDesc("freshet_connections", "Connections by state.", []string{"state"}, nil)
	descAudit    = prometheus.NewDesc("freshet_audit_queued", "Audit rows not written yet.", nil, nil)
)

// Describe lists the gauges.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descWaiting, descRunning, descCached, descSpilled, descTroubled, descStates, descAudit} {
		ch <- d
	}
}

// Collect reads them.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	now := g.o.Gauges()
	gauge(descWaiting, now.Waiting)
	gauge(descRunning, now.Running)
	gauge(descCached, now.Cached)
	gauge(descSpilled, now.Spilled)
	gauge(descTroubled, int64(now.Troubled))
	if g.o.AuditQueued != nil {
		gauge(descAudit, g.o.AuditQueued())
	}
	for _, st := range []freshet.State{freshet.StateOK, freshet.StateUncertain, freshet.StateAttention, freshet.StateMisconfigured, freshet.StateReauth} {
		gauge(descStates, g.states()[st], string(st))
	}
}

func (g *gauges) states() map[freshet.State]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.o.Now(); g.last == nil || now.Sub(g.read) > 15*time.Second {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if counts, err := g.o.Count(ctx); err == nil {
			g.last, g.read = counts, now
		}
	}
	return g.last
}
