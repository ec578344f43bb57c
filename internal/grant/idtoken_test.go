package grant

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/freshet-dev/freshet"
)

func jwks(t *testing.T, keys ...any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sign makes an ID token.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		opts.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestS09_id_token(t *testing.T) {
	k := keys()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub := jose.JSONWebKey{Key: k.rsa.Public(), KeyID: "k1", Use: "sig", Algorithm: "RS256"}
	for _, c := range []struct {
		name  string
		token func(good map[string]any) string
		bend  func(*issuerServer, *freshet.Definition)
		want  string // code of the error, empty: accepted
	}{
		{"good", nil, nil, ""},
		{"good, several audiences and azp", func(g map[string]any) string {
			return sign(t, jose.RS256, k.rsa, "k1", with(g, "aud", []string{"the id", "other"}, "azp", "the id"))
		}, nil, ""},
		{"KidAbsentMultipleMatchingKeysInJwks", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "", g) }, func(p *issuerServer, _ *freshet.Definition) {
			p.keys = jwks(t, jose.JSONWebKey{Key: stranger.Public()}, jose.JSONWebKey{Key: k.rsa.Public()})
		}, ""},
		{"IgnoresUnparseableKeyInJwks", nil, func(p *issuerServer, _ *freshet.Definition) {
			p.keys = jwks(t, map[string]string{"kty": "XYZ"}, map[string]string{"kty": "EC", "crv": "secp256k1", "x": "1"}, "nonsense", pub)
		}, ""},
		{"ES256", func(g map[string]any) string { return sign(t, jose.ES256, k.ec, "e1", g) }, func(p *issuerServer, _ *freshet.Definition) {
			p.keys = jwks(t, pub, jose.JSONWebKey{Key: k.ec.Public(), KeyID: "e1"})
			p.meta["id_token_signing_alg_values_supported"] = []string{"ES256", "none", "HS256"}
		}, ""},
		{"IdTokenSigAlgNone", func(g map[string]any) string {
			b, _ := json.Marshal(g)
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(b) + "."
		}, func(p *issuerServer, _ *freshet.Definition) {
			p.meta["id_token_signing_alg_values_supported"] = []string{"none", "RS256"}
		}, "bad_id_token"},
		{"signed with the client secret", func(g map[string]any) string {
			return sign(t, jose.HS256, []byte("0123456789abcdef0123456789abcdef"), "", g)
		}, func(p *issuerServer, d *freshet.Definition) {
			d.Client.Secret = secret("0123456789abcdef0123456789abcdef")
			p.meta["id_token_signing_alg_values_supported"] = []string{"HS256"}
		}, "bad_id_token"},
		{"signed with the public key as a secret", func(g map[string]any) string { return sign(t, jose.HS256, k.rsa.N.Bytes(), "k1", g) }, nil, "bad_id_token"},
		{"InvalidIdTokenSignatureWithRS256", func(g map[string]any) string { return sign(t, jose.RS256, stranger, "k1", g) }, nil, "bad_id_token"},
		{"key id that nobody published", func(g map[string]any) string { return sign(t, jose.RS256, stranger, "k2", g) }, nil, "bad_id_token"},
		{"an algorithm that the issuer does not use", func(g map[string]any) string { return sign(t, jose.PS256, k.rsa, "k1", g) }, nil, "bad_id_token"},
		{"InvalidIssuerInIdToken", func(g map[string]any) string {
			return sign(t, jose.RS256, k.rsa, "k1", with(g, "iss", "https://evil.example"))
		}, nil, "bad_id_token"},
		{"InvalidAudInIdToken", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "aud", "other")) }, nil, "bad_id_token"},
		{"other azp", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "azp", "other")) }, nil, "bad_id_token"},
		{"several audiences without azp", func(g map[string]any) string {
			return sign(t, jose.RS256, k.rsa, "k1", with(g, "aud", []string{"the id", "other"}))
		}, nil, "bad_id_token"},
		{"NonceInvalid", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "nonce", "other")) }, nil, "bad_id_token"},
		{"nonce missing", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "nonce", nil)) }, nil, "bad_id_token"},
		{"MissingIatInIdToken", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "iat", nil)) }, nil, "bad_id_token"},
		{"MissingSubInIdToken", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "sub", nil)) }, nil, "bad_id_token"},
		{"expired", func(g map[string]any) string {
			return sign(t, jose.RS256, k.rsa, "k1", with(g, "exp", testNow.Add(-2*time.Minute).Unix()))
		}, nil, "bad_id_token"},
		{"expired within the slack of two clocks", func(g map[string]any) string {
			return sign(t, jose.RS256, k.rsa, "k1", with(g, "exp", testNow.Add(-30*time.Second).Unix()))
		}, nil, ""},
		{"not a JWT", func(map[string]any) string { return "opaque" }, nil, "bad_id_token"},
		{"no nonce was sent, none is wanted", func(g map[string]any) string { return sign(t, jose.RS256, k.rsa, "k1", with(g, "nonce", nil)) }, func(_ *issuerServer, d *freshet.Definition) { d.Connection.Scopes = nil }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t)
			p.keys = jwks(t, pub)
			good := map[string]any{"iss": p.URL, "sub": "user-1", "aud": "the id", "exp": testNow.Add(time.Hour).Unix(), "iat": testNow.Unix(), "nonce": "n-1"}
			raw := sign(t, jose.RS256, k.rsa, "k1", good)
			if c.token != nil {
				raw = c.token(good)
			}
			d := p.of()
			d.Connection.Scopes = []string{"openid"}
			if c.bend != nil {
				c.bend(p, d)
			}
			p.answer = fmt.Sprintf(`{"access_token":"at-1","token_type":"Bearer","refresh_token":"rt-1","id_token":%q}`, raw)
			out := p.sender().Ask(t.Context(), d, Ask{Code: secret("c"), Verifier: secret("v"), Nonce: "n-1"})
			if c.want != "" {
				mustFail(t, out, Misconfigured, c.want)
				if !out.Salvaged.IsZero() {
					t.Error("tokens of a forged answer are kept")
				}
				return
			}
			if tok := mustToken(t, out); tok.Subject != "user-1" {
				t.Errorf("subject %q", tok.Subject)
			}
		})
	}

	t.Run("SigningKeyRotation", func(t *testing.T) {
		p := publish(t)
		p.keys = jwks(t, pub)
		s, d := p.sender(), p.of()
		claims := map[string]any{"iss": p.URL, "sub": "u", "aud": "the id", "exp": testNow.Add(time.Hour).Unix(), "iat": testNow.Unix()}
		if _, err := s.VerifyID(t.Context(), d, secret(sign(t, jose.RS256, k.rsa, "k1", claims)), ""); err != nil {
			t.Fatal(err)
		}
		rotated := secret(sign(t, jose.RS256, stranger, "k9", claims))
		p.set(func() { p.keys = jwks(t, jose.JSONWebKey{Key: stranger.Public(), KeyID: "k9"}) })
		for range 20 { // made-up key ids cause no storm
			if _, err := s.VerifyID(t.Context(), d, rotated, ""); err == nil {
				t.Fatal("verified with a key that was not fetched")
			}
		}
		if n := p.asked("GET /jwks"); n != 1 {
			t.Errorf("the keys were fetched %d times, want 1", n)
		}
		p.set(func() { p.now = p.now.Add(time.Minute) })
		if _, err := s.VerifyID(t.Context(), d, rotated, ""); err != nil {
			t.Errorf("a new key is not picked up: %v", err)
		}
	})
	t.Run("keys cannot be fetched", func(t *testing.T) {
		p := publish(t)
		raw := sign(t, jose.RS256, stranger, "k1", map[string]any{"iss": p.URL, "sub": "u", "aud": "the id", "exp": testNow.Add(time.Hour).Unix(), "iat": testNow.Unix()})
		p.answer = fmt.Sprintf(`{"access_token":"at-1","refresh_token":"rt-1","id_token":%q}`, raw)
		out := p.sender().Ask(t.Context(), p.of(), Ask{Code: secret("c")})
		if tok := mustToken(t, out); tok.Subject != "" || !slices.Contains(out.Flags, FlagIDUnverified) {
			t.Errorf("subject %q with flags %v: nobody vouched for it", tok.Subject, out.Flags)
		}
	})
	t.Run("a refresh waits for no keys", func(t *testing.T) {
		p := publish(t)
		p.answer = `{"access_token":"at-1","refresh_token":"rt-2","id_token":"opaque"}`
		tok := mustToken(t, p.sender().Ask(t.Context(), p.of(), spend))
		if tok.Refresh.Reveal() != "rt-2" || p.asked("GET /jwks") != 0 {
			t.Error("the ID token of a refresh stood in the way")
		}
	})
}
