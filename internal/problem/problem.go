// Package problem says over HTTP what went wrong: application/problem+json
// (RFC 9457) with a type that stays the same over versions, a detail that a
// person can use, and never a secret. [FromError] is the one table in which
// errors of the inner packages become statuses.
package problem

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Types is what every problem's type begins with; its slug follows.
const Types = "https://freshet.dev/problems/"

// A Problem is an answer that is no success. It is an error, so that a package
// that knows what a caller should be told can return it as one.
type Problem struct {
	Slug       string // names the kind, stable
	Title      string // the kind in words, the same each time
	Status     int
	Detail     string         // this one in words
	RetryAfter time.Duration  // when asking again may help; 0: no idea
	Extra      map[string]any // further members, for programs
	Header     http.Header    // further headers, such as Allow

	Cause error // for the log; no caller sees it
}

// New returns a Problem without extras.
func New(status int, slug, title, detail string) *Problem {
	return &Problem{Slug: slug, Title: title, Status: status, Detail: detail}
}

// Error returns title and detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Write answers with the problem that its arguments make up.
func Write(w http.ResponseWriter, status int, slug, title, detail string, extra map[string]any) {
	(&Problem{Slug: slug, Title: title, Status: status, Detail: detail, Extra: extra}).Write(w)
}

// Write answers with p. Nothing may have been written before.
func (p *Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		body, _ = json.Marshal(&Problem{Slug: p.Slug, Title: p.Title, Status: p.Status, Detail: p.Detail})
	}
	h := w.Header()
	maps.Copy(h, p.Header)
	h.Del("Content-Encoding")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.seconds()))
	}
	w.WriteHeader(p.Status)
	w.Write(body)
}

// seconds is RetryAfter as the header wants it: whole, and at least one.
func (p *Problem) seconds() int { return int(math.Ceil(p.RetryAfter.Seconds())) }

// MarshalJSON writes the standard members first, then the extra ones by name. An
// extra member cannot take a standard one's place.
func (p *Problem) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	add := func(name string, v any) error {
		j, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("problem member %s: %w", name, err)
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, j)
		return nil
	}
	add("type", Types+p.Slug)
	add("title", p.Title)
	add("status", p.Status)
	if p.Detail != "" {
		add("detail", p.Detail)
	}
	if p.RetryAfter > 0 {
		add("retry_after", p.seconds())
	}
	for _, name := range slices.Sorted(maps.Keys(p.Extra)) {
		switch name {
		case "type", "title", "status", "detail", "retry_after":
			continue
		}
		if err := add(name, p.Extra[name]); err != nil {
			return nil, err
		}
	}
	return []byte("{" + b.String() + "}"), nil
}
