package process_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/process"
)

// certificate makes a certificate of a name with its key, as PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}, &x509.Certificate{}, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}))
}

// A service with a certificate shows it, and one without does not.
func TestMutualTLS(t *testing.T) {
	var shown []string
	var w *world
	w = newWorld(t, func(o *process.Options) {
		plain := o.Outbound.Transport
		o.Mutual = func(c tls.Certificate) http.RoundTripper {
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				t.Error(err)
			}
			shown = append(shown, leaf.Subject.CommonName)
			return plain
		}
	})
	w.press("TokenKeeper-1", "Refresh")
	s := acme(w.url + "/v1")
	cert, key := certificate(t, "the client")
	s.Certificate, s.Key = freshet.NewSecret(cert), freshet.NewSecret(key)
	w.offer(s)
	if r := w.press("TokenKeeper-1", "Refresh"); r.Fault != nil || strings.Join(shown, " ") != "the client" {
		t.Errorf("%v, %+v", shown, r.Fault)
	}
	_, other := certificate(t, "another")
	s.Key = freshet.NewSecret(other)
	var faults []string
	process.CheckService(s, func(fault bool, field, detail string) { faults = append(faults, field+": "+detail) })
	if len(faults) != 1 || faults[0] != "certificate: and key do not go together, or are not PEM" {
		t.Error(faults)
	}
	if r := w.press("TokenKeeper-1", "Refresh"); r.Fault == nil || !strings.Contains(r.Fault.Message, "certificate and key cannot be used") || len(w.took()) != 2 {
		t.Errorf("%+v", r.Fault)
	}
}
