package emulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A keyring signs JWTs. Its elliptic keys follow from the seed; its RSA key,
// which takes a while to make, is made when it is first needed.
type keyring struct {
	seed string
	mu   sync.Mutex
	turn int
	ec   []*ecdsa.PrivateKey // newest last
	rsa  []*rsa.PrivateKey
}

func newKeyring(seed string) *keyring {
	k := &keyring{seed: seed}
	k.ec = append(k.ec, k.elliptic("ES256 0"))
	return k
}

// elliptic derives a P-256 key. Nearly every 32 bytes are one.
func (k *keyring) elliptic(name string) *ecdsa.PrivateKey {
	for n := 0; ; n++ {
		mac := hmac.New(sha256.New, []byte(k.seed))
		fmt.Fprintf(mac, "key %s %d", name, n)
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), mac.Sum(nil)); err == nil {
			return key
		}
	}
}

// rotate signs with new keys from now on; the former ones stay in the set.
func (k *keyring) rotate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn++
	k.ec = append(k.ec, k.elliptic(fmt.Sprint("ES256 ", k.turn)))
	k.ec = k.ec[max(0, len(k.ec)-2):]
	if len(k.rsa) > 0 {
		k.rsa = append(k.rsa, newRSA())
		k.rsa = k.rsa[max(0, len(k.rsa)-2):]
	}
}

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the system has no randomness: nothing here can go on
	}
	return key
}

func (k *keyring) rsaLocked() *rsa.PrivateKey {
	if len(k.rsa) == 0 {
		k.rsa = append(k.rsa, newRSA())
	}
	return k.rsa[len(k.rsa)-1]
}

func keyID(pub any) string {
	jwk := jose.JSONWebKey{Key: pub}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// sign makes a compact JWT with alg ES256 or RS256.
func (k *keyring) sign(alg, typ string, claims any) string {
	k.mu.Lock()
	var key any = k.ec[len(k.ec)-1]
	if alg == "RS256" {
		key = k.rsaLocked()
	}
	k.mu.Unlock()
	return signWith(key, typ, claims)
}

// signWith makes a compact JWT with the key's algorithm. Signatures are the
// same for the same claims, RFC 6979.
func signWith(key any, typ string, claims any) string {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		input := jwtInput("ES256", typ, keyID(&key.PublicKey), claims)
		sum := sha256.Sum256([]byte(input))
		der, err := key.Sign(nil, sum[:], crypto.SHA256)
		if err != nil {
			panic(err) // only a key that is none fails
		}
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &rs); err != nil {
			panic(err)
		}
		var sig [64]byte
		rs.R.FillBytes(sig[:32])
		rs.S.FillBytes(sig[32:])
		return input + "." + base64.RawURLEncoding.EncodeToString(sig[:])
	case *rsa.PrivateKey:
		input := jwtInput("RS256", typ, keyID(&key.PublicKey), claims)
		sum := sha256.Sum256([]byte(input))
		sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return input + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	panic("emulator: no such key")
}

func jwtInput(alg, typ, kid string, claims any) string {
	header := map[string]string{"alg": alg, "typ": typ}
	if kid != "" {
		header["kid"] = kid
	}
	return base64.RawURLEncoding.EncodeToString(toJSON(header)) + "." + base64.RawURLEncoding.EncodeToString(toJSON(claims))
}

// public returns the set that /jwks shows.
func (k *keyring) public() jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rsaLocked()
	var set jose.JSONWebKeySet
	for _, key := range slices.Backward(k.rsa) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: keyID(&key.PublicKey), Algorithm: "RS256", Use: "sig"})
	}
	for _, key := range slices.Backward(k.ec) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: keyID(&key.PublicKey), Algorithm: "ES256", Use: "sig"})
	}
	return set
}

// RotateKeys makes the emulator sign with new keys from now on. Its key set
// shows the former ones beside them once more.
func (e *Emulator) RotateKeys() { e.keys.rotate() }

// idTokenVariants are the ID tokens that nobody must believe.
var idTokenVariants = []string{"alg_none", "wrong_key", "hs256", "wrong_iss", "wrong_aud", "wrong_sub", "wrong_nonce", "no_nonce", "no_sub", "no_iat", "expired", "cut"}

// idTokenLocked makes the ID token of an answer, or none.
func (e *Emulator) idTokenLocked(g *grant, scope, issuer string, tw twist, now time.Time) string {
	p := &g.client.Profile
	if p.IDToken == "off" || !slices.Contains(words(scope), "openid") {
		return ""
	}
	claims := map[string]any{
		"iss": issuer, "sub": g.subject, "aud": g.client.ID, "azp": g.client.ID,
		"iat": now.Unix(), "exp": now.Add(p.Lifetime.D()).Unix(), "auth_time": g.began.Unix(),
		"name": g.subject, "email": g.subject + "@example.org",
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	alg := p.IDToken
	var token string
	switch tw.idToken {
	case "wrong_iss":
		claims["iss"] = issuer + ".example"
	case "wrong_aud":
		claims["aud"], claims["azp"] = "another-client", "another-client"
	case "wrong_sub":
		claims["sub"] = "mallory"
	case "wrong_nonce":
		claims["nonce"] = "another-nonce"
	case "no_nonce":
		delete(claims, "nonce")
	case "no_sub":
		delete(claims, "sub")
	case "no_iat":
		delete(claims, "iat")
	case "expired":
		claims["iat"], claims["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(-time.Hour).Unix()
	case "alg_none":
		token = jwtInput("none", "JWT", "", claims) + "."
	case "hs256":
		// The classic mistake: the public key taken for a shared secret.
		input := jwtInput("HS256", "JWT", "", claims)
		mac := hmac.New(sha256.New, toJSON(e.keys.public()))
		mac.Write([]byte(input))
		token = input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	case "wrong_key":
		token = signWith(e.keys.elliptic("nobody's"), "JWT", claims)
	}
	if token == "" {
		token = e.keys.sign(alg, "JWT", claims)
	}
	if tw.idToken == "cut" {
		token = token[:len(token)-10]
	}
	e.rememberLocked(token, coreOf(token))
	return token
}

// coreOf returns the part of a JWT that no other one has: its signature, or
// without one its claims.
func coreOf(token string) string {
	token = strings.TrimSuffix(token, ".")
	return token[strings.LastIndexByte(token, '.')+1:]
}

// algorithms are those that clients may sign with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// verify checks a client's JWT against its keys and returns the claims.
func verify(token string, keys []jose.JSONWebKey) (map[string]any, error) {
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("the JWT cannot be read")
	}
	kid := jws.Signatures[0].Header.KeyID
	for _, key := range keys {
		if kid != "" && key.KeyID != "" && kid != key.KeyID {
			continue
		}
		payload, err := jws.Verify(key.Key)
		if err != nil {
			continue
		}
		var claims map[string]any
		if json.Unmarshal(payload, &claims) != nil {
			return nil, fmt.Errorf("the JWT holds no claims")
		}
		return claims, nil
	}
	return nil, fmt.Errorf("no key of the client verifies the JWT")
}

// unverified reads a claim of a JWT that nobody has checked yet.
func unverified(token, claim string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims map[string]any
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	s, _ := claims[claim].(string)
	return s
}

// clientAssertionLocked checks private_key_jwt, RFC 7523 §3 and OpenID Connect Core §9.
// It says what is wrong.
func (x *exchange) clientAssertionLocked(c *client, assertion string) string {
	if x.params.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return "client_assertion_type is not the JWT bearer type"
	}
	if len(c.keys) == 0 {
		return "the client's public key is not known here: register it with POST /_clients"
	}
	claims, err := verify(assertion, c.keys)
	if err != nil {
		return err.Error()
	}
	if claims["iss"] != c.ID || claims["sub"] != c.ID {
		return "iss and sub must be the client id"
	}
	if id := x.params.Get("client_id"); id != "" && id != c.ID {
		return "client_id and the assertion differ"
	}
	return x.timesLocked(claims, time.Hour, true)
}

// timesLocked checks audience, lifetime and single use of a client's JWT.
func (x *exchange) timesLocked(claims map[string]any, longest time.Duration, once bool) string {
	now := x.now
	if !x.meant(claims["aud"]) {
		return "aud must be this token endpoint or issuer"
	}
	exp, ok := claims["exp"].(float64)
	if !ok {
		return "exp is missing"
	}
	if expiry := time.Unix(int64(exp), 0); !now.Before(expiry) || expiry.After(now.Add(longest+time.Minute)) {
		return "the JWT must be short-lived and in a reasonable time frame: check iat and exp"
	}
	if iat, ok := claims["iat"].(float64); ok && time.Unix(int64(iat), 0).After(now.Add(time.Minute)) {
		return "the JWT must be short-lived and in a reasonable time frame: check iat and exp"
	}
	jti, _ := claims["jti"].(string)
	if jti == "" {
		if once {
			return "jti is missing"
		}
		return ""
	}
	key := fmt.Sprint(claims["iss"], "\x00", jti)
	if _, used := x.e.jtis.get(key); used {
		return "the JWT was used before"
	}
	x.e.jtis.put(key, struct{}{})
	return ""
}

// meant reports whether an audience names us.
func (x *exchange) meant(aud any) bool {
	issuer := x.e.issuer(x.r)
	ours := func(s any) bool {
		return s == issuer || s == issuer+"/token" || s == issuer+x.r.URL.Path
	}
	if list, ok := aud.([]any); ok {
		return slices.ContainsFunc(list, ours)
	}
	return ours(aud)
}
