package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/upstream"
)

// bufSize is how much of an answer is held for one caller, however slowly it
// reads.
const bufSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// answer passes an API's answer on as it comes. If it breaks off, so does what
// the caller gets: it panics with http.ErrAbortHandler.
func (x *exchange) answer(res *upstream.Result) {
	resp := res.Response
	h := x.w.Header()
	for k, vv := range resp.Header {
		h[k] = vv
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http guesses one
	}
	if res.Refreshed {
		h.Set("Freshet-Refreshed", "true")
	}
	if res.NotReplayable {
		h.Set("Freshet-Retry", "not-replayable")
	}
	announced := len(resp.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for k := range resp.Trailer {
			names = append(names, k)
		}
		h.Set("Trailer", strings.Join(names, ", "))
	}
	if x.body.r != nil && !x.body.ended.Load() && x.r.ProtoMajor == 1 {
		// The API answers while the request still comes in. net/http would read
		// the rest of it away, under the call's hands, before it sends the first
		// byte, unless the connection is to end. (EnableFullDuplex stops that as
		// well, but then its drain at the end can start a read that collides with
		// the one for the next request.)
		h.Set("Connection", "close")
	}
	x.entry.Status = resp.StatusCode
	x.deadline()
	x.w.WriteHeader(resp.StatusCode)

	err := x.copy(resp)
	x.entry.Echoed = res.Echoed()
	if err != nil {
		x.entry.Truncated, x.entry.Cut = true, err
		if cause := x.cause(); cause != nil {
			x.entry.Cut = cause
		}
		x.rc.Flush() // what there was of it
		panic(http.ErrAbortHandler)
	}
	x.trailers(resp, announced)
}

// copy passes the body on. What has no length, or is an event stream, goes out
// piece by piece as it comes in.
func (x *exchange) copy(resp *http.Response) error {
	if resp.ContentLength == 0 || resp.Body == http.NoBody || x.r.Method == http.MethodHead {
		return nil
	}
	live := resp.ContentLength < 0 || isEvents(resp.Header)
	if live {
		// The header is news as well: the first event may be minutes away.
		if err := x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	var silence *time.Timer
	if d := x.h.o.Idle; d > 0 {
		silence = time.AfterFunc(d, func() { x.cancel(errSilent) })
		defer silence.Stop()
	}
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	for first := true; ; first = false {
		n, err := resp.Body.Read(buf[:])
		if silence != nil {
			silence.Reset(x.h.o.Idle)
		}
		if n > 0 {
			if !first {
				x.deadline()
			}
			m, werr := x.w.Write(buf[:n])
			x.entry.Out += int64(m)
			if werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case live:
			if err := x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
	}
}

// trailers passes on what came after the body, also what nobody announced.
func (x *exchange) trailers(resp *http.Response, announced int) {
	if len(resp.Trailer) == 0 {
		return
	}
	// With a body this short net/http would send a length, and no trailers.
	x.rc.Flush()
	h := x.w.Header()
	prefix := ""
	if len(resp.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for k, vv := range resp.Trailer {
		h[prefix+k] = vv
	}
}

func isEvents(h http.Header) bool {
	v := h["Content-Type"]
	if len(v) == 0 || !strings.Contains(strings.ToLower(v[0]), "event-stream") {
		return false
	}
	kind, _, _ := mime.ParseMediaType(v[0])
	return kind == "text/event-stream"
}

// traced returns the call's context, through which interim answers (103 and its
// kin) reach the caller. 100 is our own server's to say, when the body is
// wanted; 101 is an answer.
func (x *exchange) traced() context.Context {
	if !x.r.ProtoAtLeast(1, 1) {
		return x.ctx
	}
	return httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, interim textproto.MIMEHeader) error {
			if code == http.StatusContinue || code == http.StatusSwitchingProtocols || x.ctx.Err() != nil {
				return nil
			}
			x.interim.Lock()
			defer x.interim.Unlock()
			if x.answering {
				return nil // too late: the answer itself is on its way
			}
			h := x.w.Header()
			before := maps.Clone(h)
			for k, vv := range interim {
				if k != "Set-Cookie" && k != "Connection" {
					h[k] = vv
				}
			}
			x.w.WriteHeader(code)
			clear(h)
			maps.Copy(h, before)
			return nil
		},
	})
}
