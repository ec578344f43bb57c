package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/freshet-dev/freshet/internal/refresh"
)

func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing":    {},
		"disabled":   {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
		"none":       {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
		"other data": {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318"},
	} {
		tr, err := StartTracing(t.Context(), "1", func(k string) string { return env[k] })
		if tr != nil || err != nil {
			t.Errorf("%s: %v, %v", name, tr, err)
		}
	}
	var none *Tracing
	h := http.NotFoundHandler()
	if fmt.Sprintf("%p", none.Handler(h)) != fmt.Sprintf("%p", h) {
		t.Error("without tracing a handler is wrapped")
	}
	none.Observe(refresh.Event{Took: time.Second})
	if err := none.Close(t.Context()); err != nil {
		t.Error(err)
	}
	tr, err := StartTracing(t.Context(), "1", func(k string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}[k]
	})
	if tr == nil || err != nil {
		t.Fatal(tr, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestS70_spans_hold_no_secret(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tr := newTracing("1", sdktrace.WithSyncer(spans))
	h := tr.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	for _, target := range []string{"/proxy/crm/users/CANARY?key=CANARY", "/api/v1/connections/crm/token?CANARY=1", "/callback/oauth2?code=CANARY&state=CANARY", "/CANARY"} {
		r := httptest.NewRequest("GET", "http://127.0.0.1"+target, nil)
		r.Header.Set("Authorization", "Bearer CANARY")
		r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	at := time.Now()
	tr.Observe(refresh.Event{At: at, Took: 3 * time.Second, Type: refresh.EventFailed, Connection: "crm", Provider: "acme", Code: "invalid_grant", Class: "permanent", Detail: "CANARY"})
	tr.Observe(refresh.Event{At: at, Type: refresh.EventRevoked, Connection: "crm"}) // no exchange, no span
	got := spans.GetSpans()
	if len(got) != 5 {
		t.Fatalf("%d spans", len(got))
	}
	for _, s := range got {
		all := s.Name + fmt.Sprint(s.Attributes, s.Status, s.Events)
		if strings.Contains(all, "CANARY") {
			t.Errorf("%s", all)
		}
	}
	if s := got[0]; s.Name != "GET /proxy/{name}" || !strings.Contains(fmt.Sprint(s.Attributes), "crm") || s.SpanContext.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("%s %v", s.Name, s.Attributes)
	}
	if s := got[1]; s.Name != "GET /api/v1/connections/{name}/token" {
		t.Errorf("%s", s.Name)
	}
	if s := got[4]; s.Name != "refresh" || !s.EndTime.Equal(at) || s.EndTime.Sub(s.StartTime) != 3*time.Second || s.Status.Description != "invalid_grant" {
		t.Errorf("%+v", s)
	}
}
