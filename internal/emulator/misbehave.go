package emulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// meet carries out one action that comes instead of the work or of its answer.
// on is false when nothing more is to be done.
func (x *exchange) meet(a action) (b *answer, on bool) {
	switch a.part {
	case instead:
		return x.instead(a), true
	case wait:
		if a.verb == "slow" {
			return nil, x.pause(a.d)
		}
		return nil, x.hold()
	case breaks:
		x.breakOff(a.verb)
		return nil, false
	}
	return nil, true
}

// pause waits for d, unless the sender leaves.
func (x *exchange) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	return x.until(t.C)
}

func (x *exchange) hold() bool {
	e := x.e
	e.mu.Lock()
	gate := e.gate
	e.counts.held++
	e.changedLocked()
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.counts.held--
	}()
	select {
	case <-gate:
		return true
	case <-x.r.Context().Done():
	case <-e.ctx.Done():
	}
	x.abort = true
	return false
}

func (x *exchange) until(c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	case <-x.r.Context().Done():
	case <-x.e.ctx.Done():
	}
	x.abort = true
	return false
}

// breakOff ends the connection in one of the ways there are.
func (x *exchange) breakOff(how string) {
	if how == "stall" {
		x.until(nil)
		return
	}
	conn, buf, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort = true
		return
	}
	x.end(0, unclear)
	switch how {
	case "garbage":
		buf.WriteString("\x16\x03\x01 this is not HTTP\r\n\r\n")
		buf.Flush()
	case "reset", "drop":
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	}
	conn.Close()
}

// instead makes the answer of a mode.
func (x *exchange) instead(a action) *answer {
	code, text, _ := strings.Cut(a.arg, ":")
	switch a.verb {
	case "http":
		b := &answer{status: a.n, ctype: "text/plain; charset=utf-8", raw: []byte(a.arg), outcome: outcomeOfStatus(a.n)}
		if a.arg == "" {
			b.raw = fmt.Appendf(nil, "%d %s\n", a.n, http.StatusText(a.n))
		} else if json.Valid(b.raw) {
			b.ctype = "application/json"
		}
		return b
	case "answer":
		b := &answer{status: a.fault.Status, raw: []byte(a.fault.Body), outcome: unclear}
		or(&b.status, 200)
		b.header = http.Header{"Content-Type": nil}
		for name, v := range a.fault.Headers {
			b.header.Set(name, v)
		}
		return b
	case "error", "error_200":
		b := refuse(400, code, text)
		if code == "invalid_client" {
			b.status = 401
		}
		if a.verb == "error_200" {
			b.status = 200
		}
		return b
	case "ok_false":
		b := refuse(200, code, "")
		b.raw = toJSON(map[string]any{"ok": false, "error": code})
		return b
	case "errcode":
		return &answer{status: 200, outcome: refused, raw: toJSON(map[string]any{"errcode": a.n, "errmsg": "refused, rid: 1-2-3"})}
	case "error_object":
		b := refuse(200, code, "")
		b.raw = toJSON(map[string]any{"error": map[string]any{"code": code, "message": "refused", "type": "OAuthException"}})
		return b
	case "errors_list":
		b := refuse(200, code, "")
		b.raw = toJSON(map[string]any{"errors": []any{map[string]any{"errorType": code, "message": "refused"}}, "success": false})
		return b
	case "status_body":
		return &answer{status: 200, outcome: unclear, raw: toJSON(map[string]any{"status": a.n, "body": map[string]any{}, "error": "refused"})}
	case "retry_after":
		b := refuse(429, "slow_down", "too many requests")
		b.setHeader("Retry-After", a.arg)
		return b
	case "html":
		b := page(a.n, "<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>We will be right back</h1></body></html>")
		b.outcome = unclear
		return b
	case "empty":
		return &answer{status: a.n, raw: []byte{}, outcome: outcomeOfStatus(a.n)}
	case "redirect":
		to := a.arg
		or(&to, x.e.issuer(x.r)+"/_sink")
		b := &answer{status: a.n, raw: []byte{}, outcome: deferred}
		b.setHeader("Location", to)
		return b
	case "www":
		b := &answer{status: 401, raw: toJSON(map[string]string{"error": "unauthorized"}), outcome: deferred}
		b.setHeader("WWW-Authenticate", a.arg)
		return b
	case "dpop_nonce":
		x.e.mu.Lock()
		defer x.e.mu.Unlock()
		return x.wantNonceLocked()
	}
	return nil
}

func outcomeOfStatus(status int) outcome {
	if status >= 500 || status < 300 {
		return unclear
	}
	return deferred
}

// leave waits, after part of an answer, until the receiver has gone.
func (x *exchange) leave(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-x.e.ctx.Done():
	}
	x.abort = true
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	zw.Write(b)
	zw.Close()
	return out.Bytes()
}
