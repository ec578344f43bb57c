package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/upstream"
)

const (
	tunnelBuf = 8 << 10
	// goodbye is how long one side of a tunnel may still talk after the other
	// has said its last word, and how long a caller has to read a refusal.
	goodbye = 2 * time.Second
)

// upgrade reports whether the request asks for a websocket. Any other upgrade
// is not passed on: the request goes as if it had not asked (S31).
func (x *exchange) upgrade() (bool, *problem.Problem) {
	r := x.r
	if !listed(r.Header["Upgrade"], "websocket") || !listed(r.Header["Connection"], "upgrade") {
		return false, nil
	}
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ContentLength != 0 {
		return false, problem.New(http.StatusBadRequest, "bad-websocket", "This is no websocket handshake", "it is a GET over HTTP/1.1 without a body")
	}
	if !x.h.mayOpen(r) {
		return false, problem.New(http.StatusForbidden, "origin-not-allowed", "Web pages of this origin may not open websockets here", "")
	}
	return true, nil
}

// mayOpen checks the page that a browser says it acts for (S38). Programs send
// no Origin.
func (h *Handler) mayOpen(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	if slices.Contains(h.o.Origins, origins[0]) {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// listed reports whether a comma-separated header holds token.
func listed(values []string, token string) bool {
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(s), token) {
				return true
			}
		}
	}
	return false
}

// tunnel passes bytes both ways, opaque, until one side ends, the caller's key
// is revoked or the server shuts down. A token that expires meanwhile ends
// nothing: it was for the handshake.
func (x *exchange) tunnel(res *upstream.Result) *problem.Problem {
	api, ok := res.Response.Body.(io.ReadWriteCloser)
	if !ok {
		return x.problemOf(&upstream.UnreachableError{Connection: x.entry.Connection, Err: errors.New("a websocket that cannot be written to")})
	}
	if !x.h.open() {
		return x.problemOf(errClosing)
	}
	defer x.h.tunnels.Done()
	h := x.w.Header().Clone()
	client, buffered, err := x.rc.Hijack()
	if err != nil {
		return x.problemOf(fmt.Errorf("take over the caller's connection: %w", err))
	}
	x.entry.WebSocket, x.entry.Status = true, http.StatusSwitchingProtocols
	defer client.Close()
	defer api.Close()
	// Whatever ends the call ends both connections, and with them both copies.
	defer context.AfterFunc(x.ctx, func() {
		client.Close()
		api.Close()
	})()
	if s, ok := client.(*strictConn); ok {
		s.passthrough()
	}
	client.SetDeadline(time.Time{})

	for k, vv := range res.Response.Header {
		h[k] = vv
	}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	if res.Refreshed {
		h.Set("Freshet-Refreshed", "true")
	}
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(&head)
	head.WriteString("\r\n")
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())

	var in, out atomic.Int64
	ended := make(chan struct{}, 2)
	go func() {
		x.pass(api, io.MultiReader(bytes.NewReader(early), client), &in)
		ended <- struct{}{}
	}()
	go func() {
		x.pass(client, io.MultiReader(&head, api), &out)
		ended <- struct{}{}
	}()
	<-ended
	late := time.AfterFunc(goodbye, func() {
		client.Close()
		api.Close()
	})
	<-ended
	late.Stop()
	x.body.n.Store(in.Load())
	x.entry.Out = out.Load()
	if cause := x.cause(); cause != nil {
		x.entry.Cut = cause
	}
	return nil
}

// open counts a new tunnel, unless the server is shutting down.
func (h *Handler) open() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return false
	}
	h.tunnels.Add(1)
	return true
}

// pass copies one direction, and tells to when from has no more. A side that
// takes nothing for too long is given up.
func (x *exchange) pass(to io.WriteCloser, from io.Reader, n *atomic.Int64) {
	stuck := time.AfterFunc(x.h.o.SlowReader, func() { to.Close() })
	stuck.Stop()
	defer stuck.Stop()
	buf := make([]byte, tunnelBuf)
	for {
		m, err := from.Read(buf)
		if m > 0 {
			stuck.Reset(x.h.o.SlowReader)
			w, werr := to.Write(buf[:m])
			stuck.Stop()
			n.Add(int64(w))
			if werr != nil {
				to.Close()
				return
			}
		}
		if err != nil {
			if half, ok := to.(interface{ CloseWrite() error }); !ok || err != io.EOF || half.CloseWrite() != nil {
				to.Close()
			}
			return
		}
	}
}
