package emulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// write puts an answer on the wire, shaped by the modes that x meets.
func (x *exchange) write(a *answer) {
	h := x.w.Header()
	h.Set("Date", x.e.now().UTC().Format(http.TimeFormat))
	for name, v := range a.header {
		h[name] = v
	}
	x.note(a)
	if a.takeover != nil {
		a.takeover(x)
		return
	}
	if a.stream != nil {
		if a.ctype != "" {
			h.Set("Content-Type", a.ctype)
		}
		x.interim()
		x.end(a.status, a.outcome)
		x.w.WriteHeader(a.status)
		a.stream(x)
		return
	}
	shaped, body := x.shape(a, h)
	x.interim()
	x.transmit(shaped, body)
}

// note counts an OAuth error or a grant.
func (x *exchange) note(a *answer) {
	x.entry.Error = a.code
	or(&x.entry.Error, a.reason)
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	if x.epoch != x.e.epoch {
		return
	}
	if x.kind == "api" {
		what := a.reason
		if !x.worked && len(x.shown) > 0 {
			what = "fault"
		} else if !x.worked {
			what = "unauthenticated"
		}
		or(&what, "ok")
		bump(x.e.counts.api, what)
		return
	}
	if a.code != "" {
		bump(x.e.counts.errors, a.code)
		if x.client != nil {
			bump(x.client.byError, a.code)
		}
	} else if x.client != nil && (a.outcome == kept || a.outcome == rotated) {
		x.client.granted++
	}
}

// shape applies the modes that change what an answer says.
func (x *exchange) shape(a *answer, h http.Header) (*answer, []byte) {
	shaped := false
	for _, act := range x.actions {
		shaped = shaped || act.part == shapes
	}
	if shaped {
		a = a.clone()
	}
	ctype := a.ctype
	if _, has := a.header["Content-Type"]; !has && ctype == "" {
		ctype = "application/json"
		if a.odd {
			ctype = `Application/JSON ; Charset="utf-8"`
		}
	}
	asForm := false
	if shaped {
		for _, act := range x.actions {
			name, value, _ := strings.Cut(act.arg, "=")
			switch act.verb {
			case "set":
				a.set(name, json.RawMessage(value))
			case "omit":
				a.omit(act.arg)
			case "header":
				h.Set(name, value)
			case "nested":
				a.set("nested", json.RawMessage(strings.Repeat("[", act.n)+strings.Repeat("]", act.n)))
			case "form":
				asForm, ctype = true, "application/x-www-form-urlencoded"
			case "huge_header":
				h.Set("X-Pad", strings.Repeat("p", act.n))
			}
		}
	}
	body := a.body()
	if asForm && a.raw == nil {
		body = a.form()
	}
	for _, act := range x.actions {
		switch act.verb {
		case "content_type":
			ctype = act.arg
		case "bom":
			body = append([]byte("\xef\xbb\xbf"), body...)
		case "trailing":
			text := act.arg
			or(&text, "\n<!-- served by a cache -->")
			body = append(bytes.Clone(body), text...)
		case "huge":
			body = append(bytes.Repeat([]byte(" "), act.n), body...)
		case "gzip":
			body = compress(append(bytes.Repeat([]byte(" "), act.n), body...))
			h.Set("Content-Encoding", "gzip")
		}
	}
	switch {
	case ctype != "":
		h.Set("Content-Type", ctype)
	case h["Content-Type"] == nil:
		h["Content-Type"] = nil // or the server would guess one
	}
	if x.kind != "api" && x.kind != "jwks" && x.kind != "discovery" {
		h.Set("Cache-Control", "no-store")
	}
	return a, body
}

func (x *exchange) interim() {
	for _, act := range x.actions {
		if act.verb == "interim" {
			x.w.WriteHeader(act.n)
		}
	}
}

// transmit writes status and body, or as much of it as the modes allow.
func (x *exchange) transmit(a *answer, body []byte) {
	w := x.w
	flush := http.NewResponseController(w).Flush
	for _, act := range x.actions {
		switch act.verb {
		case "truncate":
			body = body[:min(act.n, len(body))]
			a.outcome = unclear
		case "cut", "stall_body":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			if act.verb == "cut" {
				x.end(a.status, unclear)
			}
			w.WriteHeader(a.status)
			w.Write(body[:min(act.n, max(0, len(body)-1))])
			flush()
			if act.verb == "stall_body" {
				x.leave(x.r.Context())
			}
			x.abort = true
			return
		case "drip":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(a.status)
			for i := range body {
				if i == len(body)-1 {
					x.end(a.status, a.outcome)
				}
				w.Write(body[i : i+1])
				flush()
				if i < len(body)-1 && !x.pause(time.Second/time.Duration(act.n)) {
					return
				}
			}
			return
		}
	}
	x.end(a.status, a.outcome)
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(a.status)
		w.Write(body)
		return
	}
	w.WriteHeader(a.status)
}
