package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

// The headers of a request.
const (
	HeaderEvent     = "Freshet-Event"     // the event's type
	HeaderDelivery  = "Freshet-Delivery"  // the letter's id, the same each time that it is sent
	HeaderTimestamp = "Freshet-Timestamp" // Unix seconds
	HeaderSignature = "Freshet-Signature" // v1=HEX, more of them with commas between
)

// Window is how far a timestamp may be from the receiver's clock.
const Window = 5 * time.Minute

// ErrSignature says that a request is not signed with the secret, or not now.
var ErrSignature = errors.New("the signature is missing, wrong, or out of time")

// Sign signs a request to be sent at now.
func Sign(h http.Header, secret freshet.Secret, body []byte, now time.Time) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, "v1="+hex.EncodeToString(sum(secret, stamp, body)))
}

// Check reports as ErrSignature what is wrong with a request that came at now.
// It compares in constant time.
func Check(h http.Header, secret freshet.Secret, body []byte, now time.Time) error {
	stamp := h.Get(HeaderTimestamp)
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || secret.IsZero() || len(h[HeaderTimestamp]) != 1 {
		return ErrSignature
	}
	if d := now.Sub(time.Unix(at, 0)); d > Window || d < -Window {
		return ErrSignature
	}
	want := sum(secret, stamp, body)
	for one := range strings.SplitSeq(h.Get(HeaderSignature), ",") {
		v, ok := strings.CutPrefix(strings.TrimSpace(one), "v1=")
		got, err := hex.DecodeString(v)
		if ok && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return ErrSignature
}

func sum(secret freshet.Secret, stamp string, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(stamp))
	m.Write([]byte{'.'})
	m.Write(body)
	return m.Sum(nil)
}
