// Package web is the server as it faces the network: its listeners and their
// limits, the names it answers to, a request id and one log line for each
// request, and which part of it a path belongs to. What the parts do is theirs.
package web

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/proxy"
)

// HeaderRequestID names a request in the log and to the caller.
const HeaderRequestID = "X-Request-Id"

// Options are what a Server is made of. Listener, API and Proxy are required.
type Options struct {
	Listener net.Listener
	// BaseURL is how people reach the server. Its host is one that the server
	// answers to, besides this machine's own names.
	BaseURL *url.URL
	Hosts   []string // more of them, host or host:port

	API   http.Handler   // /api, /apps, /callback, /connect, /hooks, /healthz, /readyz
	Proxy *proxy.Handler // /proxy
	// Endpoints serves what workflows declare, anywhere else; what none of them
	// has is next's. nil: there are none.
	Endpoints func(next http.Handler) http.Handler

	Metrics         http.Handler // served at /metrics of MetricsListener, and nowhere else
	MetricsListener net.Listener // nil: not served

	Trace func(http.Handler) http.Handler // wraps every request, inside its log line; nil: not traced

	Log *slog.Logger
	Now func() time.Time
}

// A Server serves until it is shut down.
type Server struct {
	o       Options
	hosts   map[string]bool
	main    *http.Server
	metrics *http.Server
	serving sync.WaitGroup
	failed  chan error
}

// Start returns a server that accepts connections.
func Start(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, hosts: allowedHosts(o), failed: make(chan error, 2)}
	s.main = &http.Server{Handler: s.handler(), ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)}
	proxy.Harden(s.main)
	s.serve(s.main, proxy.Strict(o.Listener))
	if o.MetricsListener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", o.Metrics)
		s.metrics = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
		s.serve(s.metrics, o.MetricsListener)
	}
	return s
}

func (s *Server) serve(srv *http.Server, l net.Listener) {
	s.serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	})
}

// Failed receives an error if a listener breaks.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown stops accepting, lets requests end until ctx does, and cuts the
// rest.
func (s *Server) Shutdown(ctx context.Context) error {
	var errs []error
	// Tunnels and streams hear of it at once, and have the same time as others.
	done := make(chan error, 1)
	go func() { done <- s.o.Proxy.Shutdown(ctx) }()
	for _, srv := range []*http.Server{s.main, s.metrics} {
		if srv == nil {
			continue
		}
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, srv.Close())
		}
	}
	<-done
	s.serving.Wait()
	return errors.Join(errs...)
}

// handler puts the layers together, outermost first: name, id and log, proxy
// or mux.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"/api/", "/apps/", "/callback/", "/connect/", "/hooks/", "/healthz", "/readyz"} {
		mux.Handle(prefix, s.o.API)
	}
	var rest http.Handler = http.HandlerFunc(nothingHere)
	if s.o.Endpoints != nil {
		rest = s.o.Endpoints(rest)
	}
	mux.Handle("/", rest)
	front := s.o.Proxy.Front(mux)
	inner := s.named(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") && strings.HasPrefix(r.URL.Path, "/api/") {
			s.o.API.ServeHTTP(w, r) // the hot path: the API looks at these before any mux
			return
		}
		front.ServeHTTP(w, r)
	}))
	if s.o.Trace != nil {
		inner = s.o.Trace(inner)
	}
	return s.logged(inner)
}

// nothingHere answers for paths that no part of this version has.
func nothingHere(w http.ResponseWriter, r *http.Request) {
	for prefix, what := range map[string]string{"/console": "the console"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			problem.Write(w, http.StatusNotImplemented, "not-in-this-version", "Not in this version", what+" are not in this version", nil)
			return
		}
	}
	problem.Write(w, http.StatusNotFound, "not-found", "There is nothing here",
		"the API is at /api/v1 and described at /api/docs, calls go through /proxy/NAME/path", nil)
}

// named refuses requests that are meant for another host: a page in a browser
// whose name was made to point here must not reach a server on this machine.
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.answersTo(r.Host) {
			problem.Write(w, http.StatusMisdirectedRequest, "misdirected", "This server does not answer to that name",
				"name the host with --base-url if people reach this server by it", nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopback are this machine's own names, good with any port.
var loopback = map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}

func allowedHosts(o Options) map[string]bool {
	hosts := map[string]bool{}
	if o.BaseURL != nil {
		hosts[strings.ToLower(o.BaseURL.Host)] = true
	}
	for _, h := range o.Hosts {
		hosts[strings.ToLower(h)] = true
	}
	// A listener on one address answers to that address.
	if a, ok := o.Listener.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		hosts[a.String()] = true
	}
	return hosts
}

func (s *Server) answersTo(host string) bool {
	host = strings.ToLower(host)
	if s.hosts[host] {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopback[strings.Trim(name, "[]")]
}

// logged gives a request its id and, when it is over, its line.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := ids.next()
		h := w.Header()
		h[HeaderRequestID] = []string{id}
		h["X-Content-Type-Options"] = noSniff
		began := s.o.Now()
		lw := &watched{ResponseWriter: w}
		defer func() {
			level := slog.LevelInfo
			if quiet(r.URL.Path) && lw.status < 400 {
				level = slog.LevelDebug // reads, which may be thousands in a second
			}
			if !s.o.Log.Enabled(r.Context(), level) {
				return
			}
			// The path without its query: that may hold what is nobody's business.
			s.o.Log.LogAttrs(context.Background(), level, "request", slog.String("id", id), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
				slog.Int("status", lw.status), slog.Duration("took", s.o.Now().Sub(began)), slog.String("remote", r.RemoteAddr), slog.Int64("bytes", lw.bytes))
		}()
		next.ServeHTTP(lw, r)
		if lw.status == 0 {
			lw.status = http.StatusOK
		}
	})
}

var noSniff = []string{"nosniff"}

// ids names requests: unlike any other process's, and cheap, since a name is no
// secret.
var ids = requestIDs{prefix: rand.Text()[:10] + "-"}

type requestIDs struct {
	prefix string
	n      atomic.Uint64
}

func (i *requestIDs) next() string {
	b := make([]byte, 0, 24)
	return string(strconv.AppendUint(append(b, i.prefix...), i.n.Add(1), 36))
}

func quiet(path string) bool {
	return strings.HasSuffix(path, "/token") || path == "/healthz" || path == "/readyz"
}

// watched sees the status of an answer on its way.
type watched struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the first final status.
func (w *watched) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for code that asks for http.Flusher itself.
func (w *watched) Flush() { http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack is for code that asks for http.Hijacker itself.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
