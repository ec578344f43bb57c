package endpoint

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Limits of one request.
const (
	maxBody  = 10 << 20
	bodyTime = time.Minute // for all of it
)

// model makes the request model of a request, with its body if the endpoint
// reads it. It is made after the caller was let in.
func (h *Handler) model(w http.ResponseWriter, r *http.Request, e found, read bool) (*model.Request, *problem.Problem) {
	m := &model.Request{
		Path: r.URL.Path, Method: r.Method, QueryString: query(r.URL.RawQuery), RouteValues: e.values, Headers: headers(r),
		Scheme: "http", Host: r.Host, Query: r.URL.RawQuery, Protocol: r.Proto, ContentType: r.Header.Get("Content-Type"), ContentLength: r.ContentLength,
		RemoteIP: r.RemoteAddr,
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		m.RemoteIP = host
	}
	if b := h.o.BaseURL; r.TLS != nil || b != nil && b.Scheme == "https" && strings.EqualFold(b.Host, r.Host) {
		m.Scheme = "https" // TLS may end before us
	}
	if !read {
		return m, nil
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.o.MaxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			_, p := problem.FromError(err)
			return nil, &p
		}
		return nil, problem.New(http.StatusBadRequest, "bad-body", "The request body cannot be read", "it broke off, or it came too slowly")
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	media, params := content.Media(m.ContentType)
	m.RawBody = content.Text(b, params["charset"])
	if m.Body, err = content.Read(b, m.ContentType); err != nil {
		return nil, problem.New(http.StatusBadRequest, "bad-body", "The request body is not what its type says", fmt.Sprintf("%s: %v", media, err))
	}
	if form, ok := m.Body.(map[string]any); ok && media == "application/x-www-form-urlencoded" {
		m.Form = map[string]string{}
		for name, v := range form {
			m.Form[name], _ = v.(string)
		}
	}
	return m, nil
}

// headers are a request's by their canonical names, several values joined by
// commas, Host among them.
func headers(r *http.Request) map[string]string {
	out := make(map[string]string, len(r.Header)+1)
	for name, values := range r.Header {
		sep := ","
		if name == "Cookie" {
			sep = "; " // HTTP/2 may send them apart
		}
		out[name] = strings.Join(values, sep)
	}
	out["Host"] = r.Host
	return out
}

// query reads a query as the platform does: a semicolon is part of a value, and
// what is not percent-encoded as it should be stays as it is.
func query(raw string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(name), unescape(value)
		if old, ok := out[name]; ok {
			value = old + "," + value
		}
		out[name] = value
	}
	return out
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// secretsOf are values of a request that must not be shown, whatever the run
// does with them.
func secretsOf(m *model.Request) (out []string) {
	for name, v := range m.Headers {
		if !content.SecretName(name) || len(v) < 6 {
			continue
		}
		out = append(out, v)
		if b := bare(v); b != v && len(b) >= 6 {
			out = append(out, b)
		}
	}
	for name, v := range m.QueryString {
		if content.SecretName(name) && len(v) >= 6 {
			out = append(out, v)
		}
	}
	return append(out, content.Secrets(m.Body)...)
}

// correlation is which waiting run a request is for; "": it does not say.
func correlation(r *http.Request) string {
	if v := query(r.URL.RawQuery)["correlation"]; v != "" {
		return v
	}
	return strings.TrimSpace(r.Header.Get("X-Correlation-Id"))
}

// dispatched reports whether the caller does not want to wait.
func dispatched(r *http.Request) bool {
	for name, v := range query(r.URL.RawQuery) {
		if strings.EqualFold(name, "x-dispatch") {
			return yes(v)
		}
	}
	v, ok := r.Header["X-Dispatch"]
	return ok && yes(strings.Join(v, ","))
}

func yes(v string) bool {
	v = strings.ToLower(strings.TrimSpace(v))
	return v != "false" && v != "0" && v != "no"
}
