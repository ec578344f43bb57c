package grant

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/freshet-dev/freshet"
)

// NewDPoPKey makes the key that a connection's tokens are bound to, RFC 9449.
// It belongs to that connection alone and lives as long as its tokens.
func NewDPoPKey() (freshet.Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return freshet.Secret{}, err
	}
	b, err := json.Marshal(jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256)})
	if err != nil {
		return freshet.Secret{}, err
	}
	return freshet.NewSecret(string(b)), nil
}

// A Prover signs DPoP proofs with one connection's key. It is safe for
// concurrent use.
type Prover struct {
	signer jose.Signer
	jkt    string
}

// NewProver opens a key that NewDPoPKey made, or any private key that signs:
// PEM or JWK.
func NewProver(key freshet.Secret) (*Prover, error) {
	if key.IsZero() {
		return nil, errors.New("there is no DPoP key")
	}
	k, _, err := signingKey(key, freshet.Secret{})
	if err != nil {
		return nil, errors.New("the DPoP key cannot be read")
	}
	alg, err := algorithm(k, "")
	if err != nil {
		return nil, errors.New("the DPoP key does not sign tokens")
	}
	jwk := jose.JSONWebKey{Key: k}
	public := jwk.Public()
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errors.New("the DPoP key has no thumbprint")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return nil, errors.New("the DPoP key does not sign")
	}
	return &Prover{signer: signer, jkt: thumbprint(sum)}, nil
}

// Thumbprint returns the key's SHA-256 thumbprint, RFC 7638: a bound token's
// cnf.jkt.
func (p *Prover) Thumbprint() string { return p.jkt }

// Proof returns the value of a DPoP header for one request, RFC 9449 §4.2. An
// access token that goes with it is bound in; a nonce is the server's latest.
func (p *Prover) Proof(method, target string, access freshet.Secret, nonce string, now time.Time) (string, error) {
	// htu is the target without query and fragment.
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": target, "iat": now.Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if !access.IsZero() {
		sum := sha256.Sum256([]byte(access.Reveal()))
		claims["ath"] = thumbprint(sum[:])
	}
	return jwt.Signed(p.signer).Claims(claims).Serialize()
}

// ProofFor signs one proof for a call as the connection def; callers with many
// calls keep a Prover.
func ProofFor(def *freshet.Definition, method, target string, access freshet.Secret, nonce string, now time.Time) (string, error) {
	p, err := NewProver(def.DPoPKey)
	if err != nil {
		return "", err
	}
	return p.Proof(method, target, access, nonce, now)
}

// nonceKey names whose nonces a provider's are: RFC 9449 §8 lets it bind them
// to a client.
func (c *call) nonceKey() string {
	u := c.url.text
	if i := strings.Index(u, "://"); i >= 0 {
		if j := strings.IndexAny(u[i+3:], "/?"); j >= 0 {
			u = u[:i+3+j]
		}
	}
	return c.def.ClientKey() + " " + u
}

// nonce returns the latest nonce of the endpoint, so that most requests do not
// have to be refused first.
func (c *call) nonce() string {
	if c.dpop == nil {
		return ""
	}
	v, _ := c.s.nonces.Load(c.nonceKey())
	s, _ := v.(string)
	return s
}

// keepNonce remembers the nonce of an answer, whatever else the answer is.
func (c *call) keepNonce(h http.Header) {
	if c.dpop == nil {
		return
	}
	if n := h.Get("DPoP-Nonce"); n != "" && len(n) <= 1024 {
		c.s.nonces.Store(c.nonceKey(), n)
	}
}
