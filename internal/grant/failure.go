package grant

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/freshet-dev/freshet/internal/dial"
)

// transportError says what an exchange without a whole answer means. Whatever
// happens before the request is written is certain: nothing reached the
// provider. Everything after it is uncertain.
//
// The texts are ours: net/http quotes what the peer sent, and a URL may hold
// secrets.
func transportError(r *Reply) *Error {
	err := r.Err
	e := &Error{Class: Retryable, Uncertain: r.Written || r.Status != 0, cause: withoutURL(err)}
	var dns *net.DNSError
	var op *net.OpError
	isOp := errors.As(err, &op)
	switch {
	case err == nil:
		e.Code, e.Detail = "connection_closed", "no answer came"
	case errors.Is(err, dial.ErrDenied):
		e.Class, e.Code, e.Detail = Misconfigured, "target_denied", "the token endpoint is at an address that this server may not connect to: see network.allow"
	case errors.As(err, &dns):
		e.Code, e.Detail = "dns_failed", "the host name of the token endpoint does not resolve"
	case isTLS(err):
		e.Class, e.Code, e.Detail = Misconfigured, "tls_failed", tlsDetail(err)
	case r.Handshake:
		e.Code, e.Detail = "tls_failed", "the TLS handshake with the token endpoint broke off"
	case isOp && (op.Op == "dial" || op.Op == "proxyconnect"):
		e.Code, e.Detail = "connect_failed", "the token endpoint takes no connection"
	case isTimeout(err):
		e.Code, e.Detail = "timeout", "the exchange took too long"
	case errors.Is(err, context.Canceled):
		e.Code, e.Detail = "canceled", "the exchange was given up"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		e.Code, e.Detail = "connection_reset", "the connection was reset"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isOp:
		e.Code, e.Detail = "connection_closed", "the connection was closed before the answer was complete"
	case !r.Written && r.Status == 0:
		e.Code, e.Detail, e.cause = "connect_failed", "no connection to the token endpoint could be made", nil
	case strings.Contains(err.Error(), "response headers exceeded"):
		// net/http has no type for this; a test holds its words.
		e.Code, e.Detail = "response_header_too_large", "the header of the answer is too large"
	default:
		// The text of these quotes the peer, which may have echoed a token.
		e.Code, e.Detail, e.cause = "malformed_response", "the answer is not HTTP", nil
	}
	return e
}

// withoutURL takes off the wrapping in which net/http shows the URL.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// isTLS reports whether the two sides cannot agree, as opposed to a handshake
// that breaks off: certificates, names, versions, or no TLS at all.
func isTLS(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		op        *net.OpError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid) ||
		errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &op) && op.Op == "remote error" // crypto/tls: an alert of the peer
}

func tlsDetail(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return "the token endpoint's certificate is signed by an authority that this server does not know"
	case errors.As(err, &name):
		return "the token endpoint's certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the token endpoint's certificate has expired or is not yet valid, or our clock is wrong"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the token endpoint does not speak TLS: correct the URL"
	case errors.As(err, &op) && op.Op == "remote error":
		return "the token endpoint refuses the TLS handshake: it may want another client certificate"
	}
	return "the token endpoint's certificate is not valid"
}
