package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// places visits everything in which a secret could turn up and may not: what
// the process printed, its files, its metrics, and every answer to a GET that
// does not hand out tokens on purpose.
func (s *server) places(t testing.TB, visit func(where string, text []byte)) {
	t.Helper()
	for _, target := range s.readable(t) {
		r := s.ask(t, "GET", target, nil)
		if r.status >= 500 {
			t.Errorf("GET %s: %s", target, r)
		}
		visit("GET "+target, r.body)
		for name, vv := range r.header {
			visit("GET "+target+", header "+name, []byte(strings.Join(vv, "\n")))
		}
	}
	visit("GET /api/v1/stream", s.stream(t, "/api/v1/stream"))
	if addr := s.metrics(); addr != "" {
		res, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(b), "freshet_") {
			t.Errorf("/metrics: %d, %v", res.StatusCode, err)
		}
		visit("/metrics", b)
	}
	visit("the standard output", s.out.Bytes())
	visit("the standard error", s.err.Bytes())
	files(t, s.dir, func(name string, b []byte) { visit("file "+name, b) })
}

// readable lists every address of the API that a GET reads, with each of its
// names filled in, but for those that hand out tokens on purpose.
func (s *server) readable(t testing.TB) []string {
	t.Helper()
	r := s.ask(t, "GET", "/api/v1/openapi.json", nil)
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	r.decode(t, &doc)
	var connections, out []string
	if err := s.client.List(t.Context(), "/api/v1/connections", "connections", func(b json.RawMessage) error {
		var c struct{ Name string }
		err := json.Unmarshal(b, &c)
		connections = append(connections, c.Name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		if _, ok := methods["get"]; !ok || strings.HasSuffix(path, "/token") || strings.HasSuffix(path, "/stream") {
			continue
		}
		switch {
		case strings.Contains(path, "/connections/{name}"):
			for _, name := range connections {
				out = append(out, strings.ReplaceAll(path, "{name}", name))
			}
		case strings.Contains(path, "{"):
			// Other kinds by name: their lists name them. What lies below a name is
			// asked for by the first number.
			list, rest, _ := strings.Cut(path, "/{")
			_, rest, _ = strings.Cut(rest, "}")
			rest = placeholder.ReplaceAllString(rest, "1")
			for _, name := range s.names(t, list) {
				out = append(out, list+"/"+url.PathEscape(name)+rest)
			}
		default:
			out = append(out, path)
		}
	}
	if len(out) < 10 {
		t.Errorf("only %d addresses are described", len(out))
	}
	out = append(out, "/healthz", "/readyz", "/api/docs", "/api/v1/openapi.json", "/api/v1/nowhere", "/callback/oauth2?code=x&state=y", "/")
	slices.Sort(out)
	return slices.Compact(out)
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// names lists the names, or else the ids, of a list.
func (s *server) names(t testing.TB, path string) []string {
	t.Helper()
	r := s.ask(t, "GET", path, nil)
	if r.status != http.StatusOK {
		return nil // such as flows, which have no list
	}
	var members map[string]json.RawMessage
	r.decode(t, &members)
	var out []string
	for _, raw := range members {
		var items []struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &items) != nil {
			continue
		}
		for _, it := range items {
			if it.Name != "" && len(out) < 20 {
				out = append(out, it.Name)
			}
		}
	}
	return out
}

// stream reads what a stream of events says in a short while.
func (s *server) stream(t testing.TB, path string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", "0")
	res, err := raw.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %d", path, res.StatusCode)
	}
	b, _ := io.ReadAll(res.Body) // it ends with the context
	return b
}

// metrics is where the server serves metrics, "" if it does not.
func (s *server) metrics() string {
	for i, a := range s.set.args {
		if a == "--metrics-listen" {
			return s.set.args[i+1]
		}
	}
	return ""
}

// free returns an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
