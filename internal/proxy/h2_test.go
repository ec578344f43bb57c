package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// secure serves w's proxy over TLS and HTTP/2.
func (w *world) secure(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(w.h.Front(w.other))
	Harden(srv.Config)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// A frames is an HTTP/2 connection by hand.
type frames struct {
	*http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
}

func dialFrames(t *testing.T, srv *httptest.Server) *frames {
	t.Helper()
	c, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, http2.ClientPreface)
	f := &frames{Framer: http2.NewFramer(c, c)}
	f.enc = hpack.NewEncoder(&f.buf)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *frames) head(fields ...string) []byte {
	f.buf.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return f.buf.Bytes()
}

// outcome returns the status of the answer on a stream, or how it was refused.
func (f *frames) outcome(t *testing.T, stream uint32) string {
	t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			if fr.StreamID == stream {
				return fr.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if fr.StreamID == stream {
				return "reset"
			}
		case *http2.GoAwayFrame:
			if fr.ErrCode != http2.ErrCodeNo {
				return "goaway"
			}
		}
	}
}

func TestS32_HTTP2_to_HTTP1(t *testing.T) {
	api := newWire(t, okAnswer)
	w := newWorldAt(t, api.url())
	srv := w.secure(t)
	plain := []string{":method", "POST", ":scheme", "https", ":authority", "h", ":path", "/proxy/crm/x", "authorization", "Bearer fk_test"}
	with := func(more ...string) []string { return append(append([]string{}, plain...), more...) }
	path := func(p string) []string { f := with(); f[7] = p; return f }
	for _, tt := range []struct {
		name    string
		fields  []string
		body    string
		refused bool
		want    string // if not refused
	}{
		{"S32 plain", with("content-length", "3"), "abc", false, "200"},
		{"S32 CR LF in a value", with("x-a", "1\r\nTransfer-Encoding: chunked"), "", true, ""},
		{"S32 LF in a value", with("x-a", "1\nx-b: 2"), "", true, ""},
		{"S32 NUL in a value", with("x-a", "1\x00"), "", true, ""},
		{"S32 CR LF in a name", with("x-a\r\nx-b", "1"), "", true, ""},
		{"S32 a colon in a name", with("x-a: 1", "1"), "", true, ""},
		{"S32 capitals in a name", with("X-A", "1"), "", true, ""},
		{"S32 Connection", with("connection", "close"), "", true, ""},
		{"S32 Transfer-Encoding", with("transfer-encoding", "chunked"), "abc", true, ""},
		{"S32 Upgrade", with("upgrade", "websocket"), "", true, ""},
		{"S32 a length that is too long", with("content-length", "5"), "abc", true, ""},
		{"S32 a length that is too short", with("content-length", "2"), "abc", true, ""},
		{"S32 two lengths", with("content-length", "3", "content-length", "4"), "abc", true, ""},
		{"S32 a path with CR LF", path("/proxy/crm/x HTTP/1.1\r\nHost: evil"), "", true, ""},
		{"S32 a path with a space", path("/proxy/crm/a b"), "", true, ""},
		{"S32 an absolute path", path("https://evil.example/proxy/crm/x"), "", true, ""},
		{"S29 CONNECT", []string{":method", "CONNECT", ":authority", "evil.example:443"}, "", false, "405"},
		{"S29 TRACE", append([]string{":method", "TRACE"}, plain[2:]...), "", false, "405"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := dialFrames(t, srv)
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head(tt.fields...), EndHeaders: true, EndStream: tt.body == ""})
			if tt.body != "" {
				f.WriteData(1, true, []byte(tt.body))
			}
			got := f.outcome(t, 1)
			if tt.refused {
				if got != "reset" && got != "goaway" && got != "closed" && got != "400" {
					t.Errorf("answered %s, want it refused", got)
				}
				// A wrong length shows when the body ends: a cut request is all
				// that may have arrived.
				api.none(t)
				return
			}
			if got != tt.want {
				t.Errorf("answered %s, want %s", got, tt.want)
			}
			if tt.want == "200" {
				head := <-api.heads
				if !strings.HasPrefix(head, "POST /x HTTP/1.1\r\n") || strings.Count(head, "Content-Length: 3\r\n") != 1 {
					t.Errorf("the API saw\n%s", head)
				}
			}
		})
	}
}

func TestHTTP2_streams(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	}))
	srv := w.secure(t)
	r, err := http.NewRequest("POST", srv.URL+"/proxy/crm/x", struct{ io.Reader }{strings.NewReader("two")})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer fk_test")
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || string(b) != "two" || resp.Trailer.Get("X-Late") != "1" {
		t.Errorf("%s %q %v, %v", resp.Proto, b, resp.Trailer, err)
	}
}

// S37: floods that HTTP/2 is known for end the connection, not the server.
func TestS37_HTTP2_floods(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv := w.secure(t)
	plain := []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/proxy/crm/x", "authorization", "Bearer fk_test"}
	t.Run("S37 CONTINUATION flood", func(t *testing.T) {
		f := dialFrames(t, srv)
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head(plain...)})
		var err error
		for i := 0; err == nil && i < 10_000; i++ {
			err = f.WriteContinuation(1, false, f.head("x-pad", strings.Repeat("a", 4096)))
		}
		if got := f.outcome(t, 1); err == nil && got != "431" && got != "goaway" && got != "closed" && got != "reset" {
			t.Errorf("40 MB of header were taken: %s", got)
		}
	})
	t.Run("S37 rapid reset", func(t *testing.T) {
		f := dialFrames(t, srv)
		go func() {
			for id := uint32(1); id < 10_000; id += 2 {
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.head(plain...), EndHeaders: true, EndStream: true}) != nil {
					return
				}
				if f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
			f.WritePing(false, [8]byte{7})
		}()
		for { // until the server has dealt with all of it, or will not
			fr, err := f.ReadFrame()
			if err != nil {
				break
			}
			if p, ok := fr.(*http2.PingFrame); ok && p.IsAck() {
				break
			}
		}
		w.h.mu.Lock()
		defer w.h.mu.Unlock()
		if n := w.h.active[w.key.name]; n > 4*maxStreams {
			t.Errorf("%d calls are under way", n)
		}
	})
	if resp, _ := w.send(t, "GET", "/proxy/crm/x", nil); resp.StatusCode != 200 {
		t.Errorf("others were answered %d", resp.StatusCode)
	}
}
