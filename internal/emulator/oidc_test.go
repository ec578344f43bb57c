package emulator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet/internal/emulator"
)

// verified checks an ID token against the key set, as a careful client would,
// and says what is wrong.
func (r *rig) verified(token string) error {
	r.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.get("/jwks").body, &set); err != nil {
		return err
	}
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		return fmt.Errorf("no key %q", jws.Signatures[0].Header.KeyID)
	}
	_, err = jws.Verify(keys[0])
	return err
}

func TestIDTokens(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256"} {
		t.Run(alg, func(t *testing.T) {
			r := start(t, emulator.Options{Default: emulator.Profile{Scope: "openid", IDToken: alg, Lifetime: at(time.Minute)}})
			a := r.login("crm")
			if err := r.verified(a.str("id_token")); err != nil {
				t.Error(err)
			}
			header, _ := base64.RawURLEncoding.DecodeString(strings.Split(a.str("id_token"), ".")[0])
			if !strings.Contains(string(header), alg) {
				t.Errorf("header %s, want %s", header, alg)
			}
			if info := r.get("/userinfo", "Authorization", "Bearer "+a.str("access_token")); info.str("sub") != "alice" {
				t.Errorf("userinfo = %s", info.body)
			}
			// New keys: the former ones are shown beside them.
			r.e.RotateKeys()
			b := r.refresh("crm", a.str("refresh_token"))
			for name, token := range map[string]string{"former": a.str("id_token"), "new": b.str("id_token")} {
				if err := r.verified(token); err != nil {
					t.Errorf("%s ID token after a key rotation: %v", name, err)
				}
			}
			if strings.Split(a.str("id_token"), ".")[0] == strings.Split(b.str("id_token"), ".")[0] {
				t.Error("the key id did not change")
			}
		})
	}
	t.Run("no openid, none", func(t *testing.T) {
		if s := start(t, emulator.Options{}).login("crm").str("id_token"); s != "" {
			t.Error("an ID token without scope openid")
		}
	})
}

func TestS09_ID_tokens_not_to_be_believed(t *testing.T) {
	r := start(t, emulator.Options{Default: emulator.Profile{Scope: "openid", Model: emulator.Static}})
	rt := r.login("crm").str("refresh_token")
	variant := func(v string) string {
		return r.refresh("crm", rt, "X-Emulate", "id_token:"+v).str("id_token")
	}
	for _, v := range []string{"alg_none", "wrong_key", "hs256", "cut"} {
		if err := r.verified(variant(v)); err == nil {
			t.Errorf("%s verifies", v)
		}
	}
	for v, wrong := range map[string]func(map[string]any) bool{
		"wrong_iss": func(c map[string]any) bool { return c["iss"] != r.base },
		"wrong_aud": func(c map[string]any) bool { return c["aud"] != "crm" },
		"wrong_sub": func(c map[string]any) bool { return c["sub"] != "alice" },
		"no_sub":    func(c map[string]any) bool { return c["sub"] == nil },
		"no_iat":    func(c map[string]any) bool { return c["iat"] == nil },
		"expired":   func(c map[string]any) bool { return c["exp"].(float64) < float64(begin.Unix()) },
	} {
		token := variant(v)
		if err := r.verified(token); err != nil {
			t.Errorf("%s: the signature should hold: %v", v, err)
		}
		if c := claimsOf(t, token); !wrong(c) {
			t.Errorf("%s: %v", v, c)
		}
	}
	code := redirected(t, r.get(authorizeURL()+"&_emulate=consent")).Get("code")
	r.next(emulator.Fault{At: "code", Mode: emulator.Modes{"id_token:wrong_nonce"}})
	if c := claimsOf(t, r.trade(code).str("id_token")); c["nonce"] == "n-1" {
		t.Error("the nonce is right")
	}
}

func TestDiscovery(t *testing.T) {
	r := start(t, emulator.Options{})
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		a := r.get(path)
		if a.str("issuer") != r.base || a.str("token_endpoint") != r.base+"/token" || a.v["authorization_response_iss_parameter_supported"] != true {
			t.Errorf("%s = %s", path, a.body)
		}
	}
	r.next(emulator.Fault{At: "discovery", Mode: emulator.Modes{`set:issuer="https://evil.example"`}})
	if a := r.get("/.well-known/openid-configuration"); a.str("issuer") != "https://evil.example" {
		t.Errorf("S05: issuer = %q", a.str("issuer"))
	}
	fixed := start(t, emulator.Options{Issuer: "https://id.example/"})
	if a := fixed.get("/.well-known/openid-configuration"); a.str("issuer") != "https://id.example" {
		t.Errorf("issuer of the options = %q", a.str("issuer"))
	}
}

// A prover makes DPoP proofs.
type prover struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	jti int
}

func newProver(t *testing.T) *prover {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &prover{t: t, key: key}
}

func (p *prover) proof(method, url, nonce, token string, change func(map[string]any)) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.jti++
	claims := map[string]any{"htm": method, "htu": url, "iat": begin.Unix(), "jti": fmt.Sprint(p.jti)}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if change != nil {
		change(claims)
	}
	b, _ := json.Marshal(claims)
	jws, err := signer.Sign(b)
	if err != nil {
		p.t.Fatal(err)
	}
	s, _ := jws.CompactSerialize()
	return s
}

func TestDPoP(t *testing.T) {
	r := start(t, emulator.Options{})
	p := newProver(t)
	password := []string{"grant_type", "password", "username", "alice", "password", "pw", "client_id", "crm", "client_secret", "s"}
	a := r.form("/token", password, "DPoP", p.proof("POST", r.base+"/token", "", "", nil))
	if a.str("token_type") != "DPoP" {
		t.Fatalf("token = %s", a.body)
	}
	access, rt := a.str("access_token"), a.str("refresh_token")
	me := func(scheme, proof string) answer {
		headers := []string{"Authorization", scheme + " " + access}
		if proof != "" {
			headers = append(headers, "DPoP", proof)
		}
		return r.get("/api/me?x=1", headers...)
	}
	api := func(change func(map[string]any)) string { return p.proof("GET", r.base+"/api/me", "", access, change) }
	r.wants("with a proof", me("DPoP", api(nil)), 200, "")
	r.wants("S15 as a bearer token", me("Bearer", api(nil)), 401, "invalid_token")
	r.wants("without a proof", me("DPoP", ""), 401, "invalid_dpop_proof")
	once := api(nil)
	r.wants("a proof", me("DPoP", once), 200, "")
	r.wants("the same proof", me("DPoP", once), 401, "invalid_dpop_proof")
	for name, change := range map[string]func(map[string]any){
		"htm": func(c map[string]any) { c["htm"] = "POST" }, "htu": func(c map[string]any) { c["htu"] = r.base + "/api/you" },
		"ath": func(c map[string]any) { c["ath"] = "x" }, "iat": func(c map[string]any) { c["iat"] = begin.Unix() - 600 }, "jti": func(c map[string]any) { delete(c, "jti") },
	} {
		r.wants("a wrong "+name, me("DPoP", api(change)), 401, "invalid_dpop_proof")
	}
	thief := newProver(t)
	r.wants("another key", me("DPoP", thief.proof("GET", r.base+"/api/me", "", access, nil)), 401, "invalid_token")
	refresh := func(p *prover) answer {
		return r.refresh("crm", rt, "DPoP", p.proof("POST", r.base+"/token", "", "", nil))
	}
	r.wants("refresh with another key", refresh(thief), 400, "invalid_grant")
	r.wants("refresh without a key", r.refresh("crm", rt), 400, "invalid_grant")
	r.wants("refresh with the key", refresh(p), 200, "")

	t.Run("a nonce is required", func(t *testing.T) {
		r := start(t, emulator.Options{Default: emulator.Profile{DPoP: "nonce"}})
		r.wants("no proof", r.form("/token", password), 400, "invalid_dpop_proof")
		asked := r.form("/token", password, "DPoP", p.proof("POST", r.base+"/token", "", "", nil))
		r.wants("no nonce", asked, 400, "use_dpop_nonce")
		nonce := asked.header.Get("DPoP-Nonce")
		r.wants("with the nonce", r.form("/token", password, "DPoP", p.proof("POST", r.base+"/token", nonce, "", nil)), 200, "")
		r.wants("with an invented nonce", r.form("/token", password, "DPoP", p.proof("POST", r.base+"/token", "nonce-99", "", nil)), 400, "use_dpop_nonce")
	})
	t.Run("F44 endless nonces", func(t *testing.T) {
		r := start(t, emulator.Options{Default: emulator.Profile{DPoP: "endless"}})
		nonce := ""
		for range 3 {
			a := r.form("/token", password, "DPoP", p.proof("POST", r.base+"/token", nonce, "", nil))
			r.wants("request", a, 400, "use_dpop_nonce")
			if a.header.Get("DPoP-Nonce") == nonce {
				t.Error("the nonce did not change")
			}
			nonce = a.header.Get("DPoP-Nonce")
		}
	})
	t.Run("a nonce on request, at the API too", func(t *testing.T) {
		a := r.get("/api/me", "Authorization", "DPoP x", "X-Emulate", "dpop_nonce")
		if a.status != 401 || a.header.Get("DPoP-Nonce") == "" || !strings.Contains(a.header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
}
