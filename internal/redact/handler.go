package redact

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// A Handler passes records on to another one, without secrets and without
// characters that would change how a line shows. The ASCII control characters
// are the next handler's to escape; slog's own do.
type Handler struct {
	next   slog.Handler
	values *Values
}

// NewHandler returns a Handler before next. values may be nil.
func NewHandler(next slog.Handler, values *Values) *Handler {
	return &Handler{next: next, values: values}
}

// Enabled asks the next handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle scrubs the message and every attribute.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs scrubs the attributes once.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &Handler{next: h.next.WithAttrs(clean), values: h.values}
}

// WithGroup opens the group at the next handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), values: h.values}
}

func (h *Handler) text(s string) string { return escape(h.values.Scrub(Text(s))) }

// escape writes out what slog's handlers let through: DEL, the C1 controls, and
// what separates lines or turns the direction of text in Unicode.
func escape(s string) string {
	if strings.IndexFunc(s, shifty) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if shifty(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func shifty(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 || unicode.Is(unicode.Bidi_Control, r)
}

func (h *Handler) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	if Name(a.Key) {
		if a.Value.Kind() == slog.KindString && a.Value.String() == "" {
			return a
		}
		return slog.String(a.Key, Mark)
	}
	a.Key = h.text(a.Key)
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.text(a.Value.String()))
	case slog.KindGroup:
		group := a.Value.Group()
		clean := make([]slog.Attr, len(group))
		for i, g := range group {
			clean[i] = h.attr(g)
		}
		a.Value = slog.GroupValue(clean...)
	case slog.KindAny:
		a.Value = h.any(a.Value.Any())
	}
	return a
}

// any passes a value on as it is if nothing in its text wants to be hidden,
// and else its scrubbed text.
func (h *Handler) any(v any) slog.Value {
	var s string
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(h.text(v.Error()))
	case fmt.Stringer:
		return slog.StringValue(h.text(v.String()))
	case []byte:
		return slog.StringValue(h.text(string(v)))
	case json.Marshaler, encoding.TextMarshaler:
		b, err := json.Marshal(v)
		if err != nil {
			return slog.StringValue(fmt.Sprintf("%T", v))
		}
		s = string(b)
	default:
		s = fmt.Sprintf("%+v", v)
		// A map or a struct is printed by name=value and by "name":value; both
		// ways are looked at, for the next handler chooses.
		if b, err := json.Marshal(v); err == nil {
			if j := string(b); h.text(j) != j {
				return slog.StringValue(h.text(j))
			}
		}
	}
	if clean := h.text(s); clean != s {
		return slog.StringValue(clean)
	}
	return slog.AnyValue(v)
}
