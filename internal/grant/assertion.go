package grant

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// A purpose tells what a JWT of ours is for.
type purpose int

const (
	forClient purpose = iota // client authentication, RFC 7523 §2.2
	forGrant                 // an authorization grant, RFC 7523 §2.1, and {{assertion}}
)

const (
	clientAssertionLife = time.Minute
	grantAssertionLife  = 5 * time.Minute
)

// assertion signs a JWT with the client's key. A new one is made for each
// request: providers refuse a jti that they have seen.
func (c *call) assertion(why purpose) (freshet.Secret, *Error) {
	var a freshet.Assertion
	if c.def.Provider.Assertion != nil && (why == forGrant || c.grant != freshet.GrantJWTBearer) {
		// Beside an assertion grant, the provider's words describe the grant's
		// JWT; the client's own is then a plain one.
		a = *c.def.Provider.Assertion
	}
	field := "provider " + c.def.Provider.Name + ": assertion."
	key, kid, err := signingKey(c.def.Client.Key, c.def.Client.Certificate)
	if err != nil {
		return freshet.Secret{}, misconfigured("bad_key", "%s: %v", c.clientField(), err)
	}
	alg, err := algorithm(key, a.Algorithm)
	if err != nil {
		return freshet.Secret{}, misconfigured("bad_key", "%s: %v", c.clientField(), err)
	}
	life := a.Lifetime.D()
	if life <= 0 {
		life = clientAssertionLife
		if why == forGrant {
			life = grantAssertionLife
		}
	}
	audience := a.Audience
	if audience == "" {
		u, err := c.fill(c.url.field, c.url.text, template.URL)
		if err != nil {
			return freshet.Secret{}, err
		}
		audience, _, _ = strings.Cut(u, "?")
	}
	subject := a.Subject
	if subject == "" {
		subject = c.clientID()
		if s, ok := c.def.Connection.Credentials["subject"]; ok && why == forGrant {
			subject = s.Reveal()
		}
	}
	claims := map[string]any{
		"iat": c.now.Unix(),
		"exp": c.now.Add(life).Unix(),
		"jti": rand.Text(),
	}
	texts := map[string]string{"iss": cmpOr(a.Issuer, c.clientID()), "sub": subject, "aud": audience}
	if a.Scope && why == forGrant {
		texts["scope"] = c.scope()
	}
	for name, text := range a.Claims {
		delete(claims, name)
		texts[name] = text
	}
	for name, text := range texts {
		v, err := c.fill(field+name, text, nil)
		if err != nil {
			return freshet.Secret{}, err
		}
		if v != "" {
			claims[name] = v
		}
	}
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if kid = cmpOr(c.def.Client.KeyID, kid); kid != "" {
		opts.WithHeader("kid", kid)
	}
	for name, text := range a.Header {
		v, err := c.fill(field+"header."+name, text, nil)
		if err != nil {
			return freshet.Secret{}, err
		}
		if v != "" {
			opts.WithHeader(jose.HeaderKey(name), v)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		return freshet.Secret{}, misconfigured("bad_key", "%s: the key does not sign %s", c.clientField(), alg)
	}
	signed, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return freshet.Secret{}, misconfigured("bad_key", "%s: the key does not sign %s", c.clientField(), alg)
	}
	return freshet.NewSecret(signed), nil
}

// signingKey opens the client's private key: PEM (PKCS #1, PKCS #8, SEC 1) or a
// JWK, else the key beside the certificate. Its errors show nothing of it.
func signingKey(key, certificate freshet.Secret) (k any, kid string, err error) {
	if key.IsZero() {
		key = certificate
	}
	if key.IsZero() {
		return nil, "", errors.New("it has no key to sign with")
	}
	text := key.Reveal()
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var jwk jose.JSONWebKey
		if err := json.Unmarshal([]byte(text), &jwk); err != nil || !jwk.Valid() || jwk.IsPublic() {
			return nil, "", errors.New("its key is not a private JWK")
		}
		return jwk.Key, jwk.KeyID, nil
	}
	block := pemBlock(text)
	if block == nil {
		return nil, "", errors.New("its key is neither a PEM private key nor a JWK")
	}
	switch block.Type {
	case "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, "", errors.New("its key is encrypted: give it without a passphrase, it is sealed here")
	default:
		k, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, "", errors.New("its key cannot be read")
	}
	return k, "", nil
}

// algorithm returns the signature algorithm for a key: the one that is wanted,
// if the key can, else the key's usual one.
func algorithm(key any, wanted string) (jose.SignatureAlgorithm, error) {
	var can []jose.SignatureAlgorithm
	switch k := key.(type) {
	case *rsa.PrivateKey:
		can = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.RS384, jose.RS512, jose.PS384, jose.PS512}
	case *ecdsa.PrivateKey:
		switch k.Curve.Params().BitSize {
		case 256:
			can = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			can = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			can = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PrivateKey:
		can = []jose.SignatureAlgorithm{jose.EdDSA}
	}
	if len(can) == 0 {
		return "", errors.New("its key is of a kind that does not sign tokens")
	}
	for _, a := range can {
		if wanted == "" || string(a) == wanted {
			return a, nil
		}
	}
	return "", fmt.Errorf("its key does not sign %s: it can %v", wanted, can)
}

// thumbprint encodes a hash as JOSE does.
func thumbprint(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }
