package grant

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/failpoint"
)

// ownTransport sends each request on a connection of its own, over HTTP/1.1:
// net/http repeats requests by itself only on reused connections, and HTTP/2
// has more cases in which it does. The environment's proxy is not used: it
// would see whatever goes to a plain http address.
func ownTransport(conf *tls.Config) *http.Transport {
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    10 * time.Second,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              &protocols,
	}
}

// A message is one HTTP request, complete.
type message struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
	sent   []freshet.Secret
}

// exchange sends m once and reads what comes back.
func (c *call) exchange(ctx context.Context, m *message) Reply {
	r := Reply{Grant: c.grant, Refresh: c.refresh, Prior: c.ask.Previous, Scope: c.wanted, Sent: m.sent}
	c.s.roundTrip(ctx, c.transport, m, &r)
	return r
}

// roundTrip sends m and fills in what came back. It does not follow redirects
// and keeps no cookies: an http.Client would do both.
func (s *Sender) roundTrip(ctx context.Context, rt http.RoundTripper, m *message, r *Reply) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var written, handshake atomic.Bool
	var flushed sync.WaitGroup
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { handshake.Store(true) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { handshake.Store(err != nil) },
		WroteHeaders:      func() { written.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) {
			written.Store(true)
			if failpoint.Enabled {
				afterFlush(&flushed, cancel)
			}
		},
	})
	req := (&http.Request{
		Method: m.method, URL: m.url, Host: m.url.Host, Header: m.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if len(m.body) > 0 {
		// GetBody stays nil: a transport that could have the body again would
		// send the refresh token again.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(m.body)), int64(len(m.body))
	} else if m.method != http.MethodGet {
		req.Body = http.NoBody
	}

	r.SentAt = s.now()
	defer func() {
		r.Now, r.Written, r.Handshake = s.now(), written.Load(), handshake.Load()
		if r.Err != nil && context.Cause(ctx) != nil && ctx.Err() == context.Canceled {
			r.Err = context.Cause(ctx)
		}
	}()
	if r.Err = failpoint.Hit(failpoint.SendBefore); r.Err != nil {
		return
	}
	resp, err := rt.RoundTrip(req)
	flushed.Wait()
	if err != nil {
		r.Err = err
		return
	}
	defer resp.Body.Close()
	if r.Err = context.Cause(ctx); failpoint.Enabled && r.Err != nil {
		return
	}
	if r.Err = failpoint.Hit(failpoint.RespHeaders); r.Err != nil {
		return
	}
	body, truncated, err := readBody(resp)
	if r.Err = failpoint.Hit(failpoint.RespBody); r.Err != nil {
		return
	}
	r.Status, r.Header = resp.StatusCode, resp.Header
	r.Body, r.Truncated, r.Err = body, truncated, err
}

// afterFlush passes the fail point of a written request. net/http tells that a
// request is written just before it flushes it to the socket, so the fail point
// comes a moment later; flushed lets the exchange wait for it.
func afterFlush(flushed *sync.WaitGroup, cancel context.CancelCauseFunc) {
	flushed.Go(func() {
		time.Sleep(2 * time.Millisecond)
		if err := failpoint.Hit(failpoint.SendWritten); err != nil {
			cancel(err)
		}
	})
}

// readBody reads at most MaxBody decoded bytes. What it read counts even if an
// error ended it: a refresh token may be in there.
func readBody(resp *http.Response) (body []byte, truncated bool, err error) {
	var src io.Reader = resp.Body
	if enc := resp.Header.Get("Content-Encoding"); strings.EqualFold(enc, "gzip") || strings.EqualFold(enc, "x-gzip") {
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, true, err
		}
		src = z
	}
	body, err = io.ReadAll(io.LimitReader(src, MaxBody+1))
	if len(body) > MaxBody {
		return body[:MaxBody], true, nil
	}
	return body, err != nil, err
}
