package emulator

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// nonces are the DPoP nonces that the provider gives out, RFC 9449 §8: the
// newest and the one before it are good.
type nonces struct {
	n int64
}

func (n *nonces) text(i int64) string { return "nonce-" + strconv.FormatInt(i, 10) }

func (n *nonces) next() string {
	n.n++
	return n.text(n.n)
}

func (n *nonces) current() string {
	if n.n == 0 {
		return n.next()
	}
	return n.text(n.n)
}

func (n *nonces) good(s string) bool {
	return n.n > 0 && (s == n.text(n.n) || n.n > 1 && s == n.text(n.n-1))
}

// wantNonceLocked demands a new nonce, at the token endpoint or at the API.
func (x *exchange) wantNonceLocked() *answer {
	nonce := x.e.nonces.next()
	status := 400
	if x.kind == "api" || x.kind == "userinfo" {
		status = 401
	}
	a := refuse(status, "use_dpop_nonce", "a nonce is needed in the DPoP proof")
	a.setHeader("DPoP-Nonce", nonce)
	if status == 401 {
		a.setHeader("WWW-Authenticate", `DPoP error="use_dpop_nonce", error_description="a nonce is needed in the DPoP proof"`)
	}
	return a
}

// proofLocked checks the DPoP proof of a request, RFC 9449 §4.3, and returns the
// thumbprint of its key, or nothing where there is no proof and none is needed.
// access is the token that comes with it at the API.
func (x *exchange) proofLocked(c *client, access string) (jkt string, bad *answer) {
	bounce := func(text string) (string, *answer) {
		if access == "" {
			return "", refuse(400, "invalid_dpop_proof", text)
		}
		a := refuse(401, "invalid_dpop_proof", text)
		a.setHeader("WWW-Authenticate", `DPoP error="invalid_dpop_proof", error_description="`+text+`"`)
		return "", a
	}
	proofs := x.r.Header.Values("DPoP")
	if c.DPoP == "off" && access == "" {
		return "", nil
	}
	if len(proofs) == 0 {
		if c.DPoP == "accepted" && access == "" {
			return "", nil
		}
		return bounce("a DPoP proof is needed")
	}
	if len(proofs) > 1 {
		return bounce("there is more than one DPoP proof")
	}
	jws, err := jose.ParseSignedCompact(proofs[0], algorithms)
	if err != nil {
		return bounce("the DPoP proof cannot be read")
	}
	header := jws.Signatures[0].Header
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != "dpop+jwt" {
		return bounce("the DPoP proof's typ is not dpop+jwt")
	}
	if header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return bounce("the DPoP proof carries no public key")
	}
	payload, err := jws.Verify(header.JSONWebKey.Key)
	if err != nil {
		return bounce("the DPoP proof's signature is wrong")
	}
	var claims struct {
		HTM, HTU, JTI, Nonce, ATH string
		IAT                       float64
	}
	if json.Unmarshal(payload, &claims) != nil {
		return bounce("the DPoP proof holds no claims")
	}
	made := time.Unix(int64(claims.IAT), 0)
	switch {
	case claims.HTM != x.r.Method:
		return bounce("htm is another method")
	case !x.sameURL(claims.HTU):
		return bounce("htu is another URL")
	case claims.JTI == "":
		return bounce("jti is missing")
	case made.Before(x.now.Add(-5*time.Minute)) || made.After(x.now.Add(5*time.Minute)):
		return bounce("iat is too far from now")
	}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		if claims.ATH != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return bounce("ath is another token's")
		}
	}
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		return bounce("the DPoP key cannot be used")
	}
	jkt = base64.RawURLEncoding.EncodeToString(sum)
	key := jkt + "\x00" + claims.JTI
	if _, used := x.e.jtis.get(key); used {
		return bounce("the DPoP proof was used before")
	}
	x.e.jtis.put(key, struct{}{})
	switch {
	case c.DPoP == "endless":
		return "", x.wantNonceLocked()
	case c.DPoP == "nonce" && !x.e.nonces.good(claims.Nonce):
		return "", x.wantNonceLocked()
	}
	return jkt, nil
}

// sameURL compares htu with the request's address, without query and fragment.
func (x *exchange) sameURL(htu string) bool {
	u, err := url.Parse(htu)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	scheme := "http"
	if x.r.TLS != nil {
		scheme = "https"
	}
	return strings.EqualFold(u.Scheme, scheme) && strings.EqualFold(u.Host, x.r.Host) && u.EscapedPath() == x.r.URL.EscapedPath()
}
