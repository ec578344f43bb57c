package grant_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

// exchange makes one request with net/http and returns the Reply of it, as
// plainly as a Sender could.
func exchange(t *testing.T, target string, conf *tls.Config, deadline time.Duration) grant.Reply {
	t.Helper()
	var written, handshake atomic.Bool
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { handshake.Store(true) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { handshake.Store(err != nil) },
		WroteHeaders:      func() { written.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, "POST", target, strings.NewReader("refresh_token=RT-OLD"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf, MaxResponseHeaderBytes: 64 << 10}
	defer tr.CloseIdleConnections()
	c := http.Client{Transport: tr}
	r := grant.Reply{Grant: freshet.GrantRefreshToken, Refresh: true, Prior: granttest.Case{GrantName: "refresh_token"}.Prior(), SentAt: granttest.Clock, Now: granttest.Clock}
	resp, err := c.Do(req)
	if err == nil {
		defer resp.Body.Close()
		r.Status, r.Header = resp.StatusCode, resp.Header
		r.Body, err = io.ReadAll(io.LimitReader(resp.Body, grant.MaxBody))
		r.Truncated = err != nil
	}
	r.Err, r.Written, r.Handshake = err, written.Load(), handshake.Load()
	return r
}

func broken(mode string, n int) granttest.Case {
	text := `{"refresh_token":"rt-new-1","access_token":"at-new-1","expires_in":3600}`
	return granttest.Case{ID: mode, GrantName: "refresh_token", Status: 200, Text: &text, Transport: &granttest.Transport{Mode: mode, SendBytes: n, Bytes: 2 << 20, BytesPerSecond: 1}}
}

func TestTransportFailures(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	wantsCert := httptest.NewUnstartedServer(http.NotFoundHandler())
	wantsCert.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
	wantsCert.Config.ErrorLog = discard
	wantsCert.StartTLS()
	defer wantsCert.Close()
	otherName := httptest.NewUnstartedServer(http.NotFoundHandler())
	otherName.Config.ErrorLog = discard
	otherName.StartTLS()
	defer otherName.Close()
	pool := x509.NewCertPool()
	pool.AddCert(otherName.Certificate())
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in its backlog and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	const patience = 200 * time.Millisecond
	for _, tt := range []struct {
		name      string
		url       func(t *testing.T) string
		conf      *tls.Config
		deadline  time.Duration
		class     grant.Class
		code      string
		uncertain bool
		salvaged  string
	}{
		{"F47 refused", serve("refuse", 0), nil, 0, grant.Retryable, "connect_failed", false, ""},
		{"F47 no such name", serve("dns_fail", 0), nil, 0, grant.Retryable, "dns_failed", false, ""},
		{"F47 unknown authority", serve("tls_unknown_ca", 0), nil, 0, grant.Misconfigured, "tls_failed", false, ""},
		{"F47 handshake reset", serve("tls_handshake_reset", 0), nil, 0, grant.Retryable, "tls_failed", false, ""},
		{"F47 handshake stalls", at("https://" + silent.Addr().String()), nil, patience, grant.Retryable, "tls_failed", false, ""},
		{"F47 another host's certificate", at(strings.Replace(otherName.URL, "127.0.0.1", "localhost", 1)), &tls.Config{RootCAs: pool, ServerName: "else.where"}, 0, grant.Misconfigured, "tls_failed", false, ""},
		{"F47 no TLS there", at(strings.Replace(plain.URL, "http:", "https:", 1)), nil, 0, grant.Misconfigured, "tls_failed", false, ""},
		{"F55 a client certificate is wanted", at(wantsCert.URL), &tls.Config{InsecureSkipVerify: true}, 0, grant.Misconfigured, "tls_failed", false, ""},
		{"F48 reset", serve("reset_after_request", 0), nil, 0, grant.Retryable, "connection_reset", true, ""},
		{"F48 closed", serve("close_after_request", 0), nil, 0, grant.Retryable, "connection_closed", true, ""},
		{"F48 cut before the refresh token ends", serve("truncate", 20), nil, 0, grant.Retryable, "connection_closed", true, ""},
		{"F48 cut behind the refresh token", serve("truncate", 40), nil, 0, grant.Retryable, "connection_closed", true, "rt-new-1"},
		{"F49 no header", serve("stall_before_headers", 0), nil, patience, grant.Retryable, "timeout", true, ""},
		{"F49 no body", serve("stall_after_headers", 0), nil, patience, grant.Retryable, "timeout", true, ""},
		{"F49 drip", serve("drip", 0), nil, patience, grant.Retryable, "timeout", true, ""},
		{"F56 huge header", serve("huge_header", 0), nil, 0, grant.Retryable, "response_header_too_large", true, ""},
		{"F56 garbage", serve("garbage", 0), nil, 0, grant.Retryable, "malformed_response", true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.deadline == 0 {
				tt.deadline = 10 * time.Second
			}
			r := exchange(t, tt.url(t), tt.conf, tt.deadline)
			if r.Err == nil {
				t.Fatal("the exchange went well")
			}
			o := grant.Parse(&freshet.Provider{}, nil, freshet.Policy{}, r)
			e := o.Err
			if e == nil || e.Class != tt.class || e.Code != tt.code || e.Uncertain != tt.uncertain || o.Salvaged.Reveal() != tt.salvaged {
				t.Fatalf("%v becomes %+v, salvaged %q; want %s %s uncertain=%v, salvaged %q", r.Err, e, o.Salvaged.Reveal(), tt.class, tt.code, tt.uncertain, tt.salvaged)
			}
			if e.Detail == "" || strings.Contains(e.Error(), "RT-OLD") {
				t.Errorf("detail %q", e.Detail)
			}
			for cause := error(e); cause != nil; cause = errors.Unwrap(cause) {
				if strings.Contains(cause.Error(), "RT-OLD") || strings.Contains(cause.Error(), "Post ") {
					t.Errorf("the cause shows what the peer or the request said: %v", cause)
				}
			}
		})
	}
}

func at(url string) func(*testing.T) string { return func(*testing.T) string { return url } }

func serve(mode string, n int) func(*testing.T) string {
	return func(t *testing.T) string { return granttest.Serve(t, broken(mode, n)).URL }
}

func TestTransportFailuresMadeByHand(t *testing.T) {
	for _, tt := range []struct {
		name      string
		r         grant.Reply
		class     grant.Class
		code      string
		uncertain bool
	}{
		{"S17 the guard's refusal", grant.Reply{Err: &url.Error{Op: "Post", URL: "https://10.0.0.1/", Err: &net.OpError{Op: "dial", Err: dial.ErrDenied}}}, grant.Misconfigured, "target_denied", false},
		{"nothing at all", grant.Reply{Written: true}, grant.Retryable, "connection_closed", true},
		{"given up before the send", grant.Reply{Err: context.Canceled}, grant.Retryable, "canceled", false},
		{"given up after the send", grant.Reply{Err: context.Canceled, Written: true}, grant.Retryable, "canceled", true},
		{"too late before the send", grant.Reply{Err: context.DeadlineExceeded}, grant.Retryable, "timeout", false},
		{"an unknown failure before the send", grant.Reply{Err: errors.New("boom")}, grant.Retryable, "connect_failed", false},
		{"an unknown failure after the send", grant.Reply{Err: errors.New("boom"), Written: true}, grant.Retryable, "malformed_response", true},
		{"F54 the operator's proxy is down", grant.Reply{Err: &net.OpError{Op: "proxyconnect", Err: errors.New("refused")}}, grant.Retryable, "connect_failed", false},
		{"a 500 that broke off", grant.Reply{Status: 500, Err: io.ErrUnexpectedEOF, Truncated: true, Written: true}, grant.Retryable, "http_500", true},
		{"a 400 that broke off", grant.Reply{Status: 400, Body: []byte(`{"error":"inv`), Err: io.ErrUnexpectedEOF, Truncated: true, Written: true}, grant.Retryable, "connection_closed", true},
		{"a 400 that broke off late", grant.Reply{Status: 400, Body: []byte(`{"error":"invalid_client","x":`), Err: io.ErrUnexpectedEOF, Truncated: true, Written: true}, grant.Misconfigured, "invalid_client", false},
		{"a redirect that broke off", grant.Reply{Status: 302, Err: io.ErrUnexpectedEOF, Truncated: true, Written: true}, grant.Misconfigured, "redirect_refused", false},
	} {
		o := grant.Parse(&freshet.Provider{}, nil, freshet.Policy{}, tt.r)
		if e := o.Err; e == nil || e.Class != tt.class || e.Code != tt.code || e.Uncertain != tt.uncertain {
			t.Errorf("%s: %+v, want %s %s uncertain=%v", tt.name, e, tt.class, tt.code, tt.uncertain)
		}
	}
	if o := (grant.Parse(&freshet.Provider{}, nil, freshet.Policy{}, grant.Reply{Err: context.DeadlineExceeded})); !errors.Is(o.Err, context.DeadlineExceeded) {
		t.Error("the cause is not to be found behind the error")
	}
}
