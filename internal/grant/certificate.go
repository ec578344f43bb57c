package grant

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// CertificateEnd returns when the certificate ends that def's client shows
// (RFC 8705), zero if it shows none. Whoever warns people asks; a token request
// refuses an expired one by itself.
func CertificateEnd(def *freshet.Definition) (time.Time, error) {
	s := def.Client.Certificate
	if s.IsZero() {
		return time.Time{}, nil
	}
	rest := []byte(unescaped(s.Reveal()))
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return time.Time{}, fmt.Errorf("the certificate is not PEM")
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("the certificate does not read")
		}
		return c.NotAfter, nil
	}
}
