package web

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/freshet-dev/freshet/internal/refresh"
)

// Tracing sends spans of refreshes and requests to where OTEL_* says. Spans
// hold names, causes and statuses: no paths below a connection's base URL, no
// queries, no secrets. The nil *Tracing does nothing.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	context  propagation.TextMapPropagator
}

// StartTracing returns Tracing if the environment names a place to send spans
// to (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT), else
// nil. getenv is os.Getenv, if not nil.
func StartTracing(ctx context.Context, version string, getenv func(string) string) (*Tracing, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	if getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" ||
		getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx) // reads OTEL_EXPORTER_OTLP_*
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return newTracing(version, sdktrace.WithBatcher(exporter)), nil
}

func newTracing(version string, o ...sdktrace.TracerProviderOption) *Tracing {
	// What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say comes last.
	res, err := resource.New(context.Background(), resource.WithAttributes(attribute.String("service.name", "freshet"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err == nil {
		o = append(o, sdktrace.WithResource(res))
	}
	p := sdktrace.NewTracerProvider(o...)
	return &Tracing{provider: p, tracer: p.Tracer("github.com/freshet-dev/freshet"), context: propagation.TraceContext{}}
}

// Close sends what waits and stops.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	return nil
}

// Observe makes a span of a token request that is over.
func (t *Tracing) Observe(e refresh.Event) {
	if t == nil || e.Took <= 0 {
		return
	}
	_, span := t.tracer.Start(context.Background(), "refresh", trace.WithTimestamp(e.At.Add(-e.Took)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("freshet.event", e.Type), attribute.String("freshet.connection", e.Connection), attribute.String("freshet.provider", e.Provider),
			attribute.String("freshet.cause", string(e.Cause)), attribute.Int64("freshet.generation", e.Generation)))
	if e.Code != "" {
		span.SetAttributes(attribute.String("freshet.code", e.Code), attribute.String("freshet.class", string(e.Class)))
		span.SetStatus(codes.Error, e.Code)
	}
	span.End(trace.WithTimestamp(e.At))
}

// Handler makes a span of each request that next serves.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, connection := route(r.URL.Path)
		ctx, span := t.tracer.Start(t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), r.Method+" "+name, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", name)))
		defer span.End()
		if connection != "" {
			span.SetAttributes(attribute.String("freshet.connection", connection))
		}
		x := &watched{ResponseWriter: w}
		next.ServeHTTP(x, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", x.status))
		if x.status >= 500 {
			span.SetStatus(codes.Error, http.StatusText(x.status))
		}
	})
}

// route is a path with its names left out, and the connection that it names.
func route(path string) (name, connection string) {
	if rest, ok := strings.CutPrefix(path, "/proxy/"); ok {
		connection, _, _ = strings.Cut(rest, "/")
		return "/proxy/{name}", connection
	}
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		switch first {
		case "api", "callback", "healthz", "readyz":
			return "/" + first, ""
		}
		return "/{path}", "" // whatever people ask for is nobody's name for a route
	}
	parts := strings.SplitN(rest, "/", 3)
	name = "/api/v1/" + parts[0]
	if len(parts) > 1 {
		name += "/{name}"
		if parts[0] == "connections" {
			connection = parts[1]
		}
	}
	if len(parts) > 2 {
		name += "/" + parts[2]
	}
	return name, connection
}
