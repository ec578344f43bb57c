package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/problem"
)

// Prefix is where the proxy's paths begin.
const Prefix = "/proxy/"

// Limits of a server that faces callers (S37).
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	maxStreams    = 250
)

// Harden sets on srv what a server in front of a Handler needs: limits on slow
// and large headers and on streams, and no answers that Go gives by itself. It
// keeps what is set already and sets no deadline for whole requests: streams
// have none.
func Harden(srv *http.Server) {
	if srv.ReadHeaderTimeout == 0 {
		srv.ReadHeaderTimeout = headerTimeout
	}
	if srv.IdleTimeout == 0 {
		srv.IdleTimeout = idleTimeout
	}
	if srv.MaxHeaderBytes == 0 {
		srv.MaxHeaderBytes = maxHeader
	}
	if srv.HTTP2 == nil {
		srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
	}
	srv.DisableGeneralOptionsHandler = true
}

// Front is the outermost handler of a server: calls go to h, anything else that
// is a request to this server to next. It decides by the bytes of the request's
// target. http.ServeMux would clean the path and redirect, and serve absolute
// targets as if they were meant for it.
func (h *Handler) Front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := misdirected(r); p != nil {
			p.Write(w)
			return
		}
		if strings.HasPrefix(r.RequestURI, Prefix) {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// misdirected refuses requests that are not for an origin server (S29).
func misdirected(r *http.Request) *problem.Problem {
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "The server does not take this method", r.Method+" is never passed on")
	case !strings.HasPrefix(r.RequestURI, "/"):
		return problem.New(http.StatusBadRequest, "bad-target", "The request's target is not a path", "this is no forward proxy: call /proxy/NAME/path")
	}
	return nil
}

// split takes a target apart: the connection's name, and what is appended to
// its base URL, byte for byte.
func split(uri string) (name, target string, ok bool) {
	rest, ok := strings.CutPrefix(uri, Prefix)
	if !ok {
		return "", "", false
	}
	name = rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		name, target = rest[:i], rest[i:]
	}
	if strings.Contains(name, "%") {
		var err error
		if name, err = url.PathUnescape(name); err != nil {
			return "", "", false
		}
	}
	if name == "" {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == '/' || c == '\\' || c == 0x7f {
			return "", "", false
		}
	}
	return name, target, true
}
