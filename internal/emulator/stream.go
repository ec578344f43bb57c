package emulator

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// pace reads a count and an interval from a query.
func pace(query url.Values, count int, every time.Duration) (int, time.Duration) {
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n >= 0 {
		count = n
	}
	if d, err := time.ParseDuration(query.Get("every")); err == nil && d >= 0 {
		every = d
	}
	return count, every
}

// events streams server-sent events: ?n=5&every=100ms, without n for ever.
func events(query url.Values) *answer {
	n, every := pace(query, -1, time.Second)
	a := &answer{status: 200, ctype: "text/event-stream"}
	a.setHeader("Cache-Control", "no-cache")
	a.stream = func(x *exchange) {
		flush := http.NewResponseController(x.w).Flush
		flush()
		for i := 1; n < 0 || i <= n; i++ {
			if i > 1 && !x.pause(every) {
				return
			}
			if _, err := fmt.Fprintf(x.w, "id: %d\nevent: tick\ndata: {\"n\":%d}\n\n", i, i); err != nil {
				return
			}
			flush()
		}
	}
	return a
}

// slowly streams ?n=10 bytes, one ?every=100ms.
func slowly(query url.Values) *answer {
	n, every := pace(query, 10, 100*time.Millisecond)
	return &answer{status: 200, ctype: "text/plain; charset=utf-8", stream: func(x *exchange) {
		flush := http.NewResponseController(x.w).Flush
		for i := range n {
			if i > 0 && !x.pause(every) {
				return
			}
			if _, err := x.w.Write([]byte{byte('a' + i%26)}); err != nil {
				return
			}
			flush()
		}
	}}
}

// bulk streams n bytes that are the same each time.
func bulk(n int64, chunked bool) *answer {
	a := &answer{status: 200, ctype: "application/octet-stream"}
	if !chunked {
		a.setHeader("Content-Length", strconv.FormatInt(n, 10))
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 2048)
	a.stream = func(x *exchange) {
		for left := n; left > 0; left -= int64(len(block)) {
			if _, err := x.w.Write(block[:min(left, int64(len(block)))]); err != nil {
				return
			}
		}
	}
	return a
}

// truncated promises a thousand bytes and ends the connection after half.
func truncated() *answer {
	a := &answer{status: 200, ctype: "text/plain; charset=utf-8"}
	a.setHeader("Content-Length", "1000")
	a.stream = func(x *exchange) {
		x.w.Write(bytes.Repeat([]byte("x"), 500))
		http.NewResponseController(x.w).Flush()
		x.abort = true
	}
	return a
}

func trailers() *answer {
	a := &answer{status: 200, ctype: "text/plain; charset=utf-8"}
	a.setHeader("Trailer", "X-Checksum")
	a.stream = func(x *exchange) {
		x.w.Write([]byte("a body with a trailer\n"))
		http.NewResponseController(x.w).Flush()
		x.w.Header().Set("X-Checksum", "abc123")
	}
	return a
}

// echoSocket is a WebSocket that says back what it hears.
func (x *exchange) echoSocket() {
	x.end(http.StatusSwitchingProtocols, kept)
	conn, err := websocket.Accept(x.w, x.r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // whoever has a token may come from anywhere
		Subprotocols:       []string{"echo"},
	})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(largest)
	ctx, cancel := context.WithCancel(x.e.ctx)
	defer cancel()
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := conn.Write(ctx, kind, message); err != nil {
			return
		}
	}
}
