package emulator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet/internal/emulator"
)

func claimsOf(t *testing.T, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

const verifier = "0123456789012345678901234567890123456789abc"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizeURL is a good authorization request.
func authorizeURL(more ...string) string {
	v := url.Values{
		"response_type": {"code"}, "client_id": {"crm"}, "redirect_uri": {"http://127.0.0.1:5/cb?x=1"}, "state": {"st&1"},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"}, "scope": {"openid read"}, "nonce": {"n-1"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return "/authorize?" + v.Encode()
}

// redirected returns the query of a redirect to the client.
func redirected(t *testing.T, a answer) url.Values {
	t.Helper()
	to, ok := strings.CutPrefix(a.header.Get("Location"), "http://127.0.0.1:5/cb?x=1&")
	if a.status != 302 || !ok {
		t.Fatalf("authorize = %d %q %s, want a redirect to the client", a.status, a.header.Get("Location"), a.body)
	}
	v, err := url.ParseQuery(to)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (r *rig) trade(code string, more ...string) answer {
	r.Helper()
	return r.form("/token", append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", "http://127.0.0.1:5/cb?x=1",
		"client_id", "crm", "client_secret", "s", "code_verifier", verifier}, more...))
}

func TestAuthorizationCodeThroughThePage(t *testing.T) {
	r := start(t, emulator.Options{})
	page := r.get(authorizeURL())
	request := regexp.MustCompile(`name="request" value="([^"]+)"`).FindSubmatch(page.body)
	if page.status != 200 || request == nil {
		t.Fatalf("page = %d %s", page.status, page.body)
	}
	v := redirected(t, r.form("/authorize", []string{"request", string(request[1]), "decision", "allow"}))
	if v.Get("state") != "st&1" || v.Get("iss") != r.base {
		t.Errorf("state %q iss %q, want what was sent and %s", v.Get("state"), v.Get("iss"), r.base)
	}
	if again := r.form("/authorize", []string{"request", string(request[1]), "decision", "allow"}); again.status != 400 {
		t.Errorf("the same page twice = %d, want 400", again.status)
	}
	a := r.trade(v.Get("code"))
	if a.status != 200 {
		t.Fatalf("trade = %d %s", a.status, a.body)
	}
	claims := claimsOf(t, a.str("id_token"))
	if claims["nonce"] != "n-1" || claims["aud"] != "crm" || claims["iss"] != r.base || claims["sub"] != "alice" {
		t.Errorf("ID token %v", claims)
	}
	r.wants("use", r.me(a.str("access_token")), 200, "")

	// RFC 6749 §4.1.2: the code comes back, everything from it dies.
	r.wants("the code twice", r.trade(v.Get("code")), 400, "invalid_grant")
	r.wants("use after that", r.me(a.str("access_token")), 401, "invalid_token")
	if n := r.e.Stats().Revoked["code_reuse"]; n != 1 {
		t.Errorf("revoked for code_reuse = %d", n)
	}

	page = r.get(authorizeURL())
	request = regexp.MustCompile(`name="request" value="([^"]+)"`).FindSubmatch(page.body)
	v = redirected(t, r.form("/authorize", []string{"request", string(request[1]), "decision", "deny"}))
	if v.Get("error") != "access_denied" || v.Get("error_description") == "" || v.Get("state") != "st&1" {
		t.Errorf("deny answered %v", v)
	}
}

func TestAuthorizeSteered(t *testing.T) {
	r := start(t, emulator.Options{})
	for _, tt := range []struct {
		modes []string
		more  []string
		want  func(v url.Values) bool
	}{
		{[]string{"consent"}, nil, func(v url.Values) bool { return v.Get("code") != "" }},
		{[]string{"deny"}, nil, func(v url.Values) bool { return v.Get("error") == "access_denied" }},
		{[]string{"deny:<b>no</b>"}, nil, func(v url.Values) bool { return v.Get("error_description") == "<b>no</b>" }},
		{[]string{"consent", "state:other"}, nil, func(v url.Values) bool { return v.Get("state") == "other" }},
		{[]string{"consent", "no_state"}, nil, func(v url.Values) bool { return !v.Has("state") }},
		{[]string{"consent", "iss:http://evil.example"}, nil, func(v url.Values) bool { return v.Get("iss") == "http://evil.example" }},
		{[]string{"consent", "no_iss"}, nil, func(v url.Values) bool { return !v.Has("iss") }},
		{[]string{"consent", "twice"}, nil, func(v url.Values) bool { return len(v["code"]) == 2 && len(v["state"]) == 2 }},
		{nil, []string{"prompt", "none"}, func(v url.Values) bool { return v.Get("error") == "consent_required" }},
		{[]string{"consent"}, []string{"response_type", "token"}, func(v url.Values) bool { return v.Get("error") == "unsupported_response_type" }},
		{[]string{"consent"}, []string{"code_challenge_method", "plain"}, func(v url.Values) bool { return v.Get("error") == "invalid_request" }},
	} {
		t.Run(strings.Join(append(tt.modes, tt.more...), " "), func(t *testing.T) {
			to := authorizeURL(tt.more...)
			for _, m := range tt.modes {
				to += "&_emulate=" + url.QueryEscape(m)
			}
			if v := redirected(t, r.get(to)); !tt.want(v) {
				t.Errorf("came back with %v", v)
			}
		})
	}
	t.Run("a fault of the page reaches the answer of its button", func(t *testing.T) {
		r.next(emulator.Fault{At: "authorize", Mode: emulator.Modes{"no_state"}})
		page := r.get(authorizeURL())
		request := regexp.MustCompile(`name="request" value="([^"]+)"`).FindSubmatch(page.body)
		if v := redirected(t, r.form("/authorize", []string{"request", string(request[1]), "decision", "allow"})); v.Has("state") {
			t.Errorf("state came back: %v", v)
		}
	})
}

func TestRedirectURIs(t *testing.T) {
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "crm", Secret: "s", RedirectURIs: []string{"http://127.0.0.1:5/cb?x=1", "https://app.example/cb"}}}})
	for uri, good := range map[string]bool{
		"http://127.0.0.1:5/cb?x=1": true, "http://127.0.0.1:61234/cb?x=1": true, "https://app.example/cb": true,
		"http://127.0.0.1:5/other?x=1": false, "http://localhost:5/cb?x=1": false, "https://app.example/cb/": false, "https://app.example:444/cb": false,
		"https://app.example/cb#f": false, "javascript:alert(1)": false, "https://u@app.example/cb": false, "": false,
	} {
		a := r.get(authorizeURL("redirect_uri", uri) + "&_emulate=consent")
		if got := a.status == 302; got != good || !good && a.header.Get("Location") != "" {
			t.Errorf("redirect_uri %q = %d %q, want allowed %v", uri, a.status, a.header.Get("Location"), good)
		}
	}
}

func TestS02_PKCE(t *testing.T) {
	code := func(r *rig, more ...string) string {
		return redirected(t, r.get(authorizeURL(more...)+"&_emulate=consent")).Get("code")
	}
	r := start(t, emulator.Options{})
	wrong := []string{"grant_type", "authorization_code", "redirect_uri", "http://127.0.0.1:5/cb?x=1", "client_id", "crm", "client_secret", "s", "code", code(r), "code_verifier"}
	r.wants("another verifier", r.form("/token", append(wrong, strings.Repeat("z", 43))), 400, "invalid_grant")
	wrong[9] = code(r)
	r.wants("no verifier", r.form("/token", wrong[:10]), 400, "invalid_grant")
	r.wants("another redirect_uri", r.form("/token", []string{"grant_type", "authorization_code", "redirect_uri", "http://127.0.0.1:5/", "client_id", "crm", "client_secret", "s", "code", code(r), "code_verifier", verifier}), 400, "invalid_grant")
	r.wants("a verifier without a challenge", r.trade(code(r, "code_challenge", "")), 400, "invalid_grant")
	late := code(r)
	r.e.Advance(time.Minute)
	r.wants("an expired code", r.trade(late), 400, "invalid_grant")
	if a := r.trade(code(r)); a.status != 200 {
		t.Errorf("a good trade = %d %s", a.status, a.body)
	}
	ignoring := start(t, emulator.Options{Default: emulator.Profile{PKCE: "ignored"}})
	wrong[9] = code(ignoring)
	if a := ignoring.form("/token", wrong[:10]); a.status != 200 {
		t.Errorf("a provider that ignores PKCE = %d %s", a.status, a.body)
	}
	refusing := start(t, emulator.Options{Default: emulator.Profile{PKCE: "refused"}})
	if v := redirected(t, refusing.get(authorizeURL()+"&_emulate=consent")); v.Get("error") != "invalid_request" {
		t.Errorf("a provider that refuses PKCE answered %v", v)
	}
}

func TestClientCredentialsAndGenerations(t *testing.T) {
	r := start(t, emulator.Options{})
	ask := func() answer {
		return r.form("/token", []string{"grant_type", "client_credentials", "scope", "read"}, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("my%2Bid:s%26%2B%25%3D%C3%A4")))
	}
	first, second := ask(), ask()
	if first.str("refresh_token") != "" {
		t.Error("client credentials brought a refresh token")
	}
	me := r.me(second.str("access_token"))
	if me.v["generation"] != 2.0 || me.str("client_id") != "my+id" || me.str("scope") != "read" {
		t.Errorf("me = %s", me.body)
	}
	// The secret of the first request is the client's from then on.
	same := r.form("/token", []string{"grant_type", "client_credentials", "client_id", "my+id", "client_secret", "s&+%=ä"})
	r.wants("the same secret in the body", same, 200, "")
	r.wants("another secret", r.form("/token", []string{"grant_type", "client_credentials", "client_id", "my+id", "client_secret", "s&+%=a"}), 401, "invalid_client")
	public := r.form("/token", []string{"grant_type", "client_credentials", "client_id", "public"})
	r.wants("no secret at all", public, 401, "invalid_client")
}

func TestClientAuthentication(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, emulator.Options{Clients: []emulator.Client{
		{ID: "basic", Secret: "s", Auth: "basic"}, {ID: "body", Secret: "s", Auth: "body"}, {ID: "none", Auth: "none"},
		{ID: "key", Auth: "private_key_jwt", PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
	}})
	basic := func(id string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":s"))}
	}
	password := []string{"grant_type", "password", "username", "alice", "password", "pw"}
	in := func(id string, more ...string) []string {
		return append(append([]string{"client_id", id}, password...), more...)
	}
	r.wants("basic by basic", r.form("/token", password, basic("basic")...), 200, "")
	r.wants("basic by body", r.form("/token", in("basic", "client_secret", "s")), 401, "invalid_client")
	r.wants("body by body", r.form("/token", in("body", "client_secret", "s")), 200, "")
	bad := r.form("/token", password, basic("body")...)
	r.wants("body by basic", bad, 401, "invalid_client")
	if !strings.HasPrefix(bad.header.Get("WWW-Authenticate"), "Basic") {
		t.Error("a refused Basic has no challenge, RFC 6749 §5.2")
	}
	r.wants("none by none", r.form("/token", in("none")), 200, "")
	r.wants("basic by none", r.form("/token", in("basic")), 401, "invalid_client")
	r.wants("a wrong password", r.form("/token", []string{"grant_type", "password", "username", "alice", "password", "wrong", "client_id", "none"}), 400, "invalid_grant")

	sign := func(claims map[string]any, by *ecdsa.PrivateKey) []string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: by}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(claims)
		jws, err := signer.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := jws.CompactSerialize()
		return append([]string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", s}, password...)
	}
	jti := 0
	claims := func(change func(map[string]any)) map[string]any {
		jti++
		c := map[string]any{"iss": "key", "sub": "key", "aud": r.base + "/token", "exp": begin.Unix() + 60, "iat": begin.Unix(), "jti": fmt.Sprint(jti)}
		if change != nil {
			change(c)
		}
		return c
	}
	good := sign(claims(nil), key)
	r.wants("private_key_jwt", r.form("/token", good), 200, "")
	r.wants("the same assertion twice", r.form("/token", good), 401, "invalid_client")
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.wants("another key", r.form("/token", sign(claims(nil), other)), 401, "invalid_client")
	for name, change := range map[string]func(map[string]any){
		"aud": func(c map[string]any) { c["aud"] = "http://elsewhere" }, "exp": func(c map[string]any) { c["exp"] = begin.Unix() },
		"far exp": func(c map[string]any) { c["exp"] = begin.Unix() + 7200 }, "iat": func(c map[string]any) { c["iat"] = begin.Unix() + 120 },
		"sub": func(c map[string]any) { c["iss"] = "other" }, "jti": func(c map[string]any) { delete(c, "jti") },
	} {
		r.wants("a wrong "+name, r.form("/token", sign(claims(change), key)), 401, "invalid_client")
	}
}

func TestF36_a_secret_that_expired_or_changed(t *testing.T) {
	r := start(t, emulator.Options{})
	first := r.login("crm")
	change := func(object string) {
		if err := r.e.Change([]byte(object)); err != nil {
			t.Fatal(err)
		}
	}
	change(`{"id":"crm","secret_expired":true}`)
	r.wants("expired", r.refresh("crm", first.str("refresh_token")), 401, "invalid_client")
	change(`{"id":"crm","secret_expired":false,"secret":"new"}`)
	r.wants("changed", r.refresh("crm", first.str("refresh_token")), 401, "invalid_client")
	r.wants("the new one", r.form("/token", []string{"grant_type", "refresh_token", "refresh_token", first.str("refresh_token"), "client_id", "crm", "client_secret", "new"}), 200, "")
	if breaches := r.e.CheckOracles(nil); len(breaches) > 0 {
		t.Errorf("asking again after invalid_client is no breach: %v", breaches)
	}
}

func TestJWTBearerAndTokenExchange(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	jwk, _ := json.Marshal(jose.JSONWebKey{Key: &key.PublicKey, KeyID: "k1"})
	r := start(t, emulator.Options{Clients: []emulator.Client{{ID: "sa@example", JWKS: jwk}}})
	assertion := func(iat int64) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(map[string]any{"iss": "sa@example", "sub": "bob", "aud": r.base + "/token", "iat": iat, "exp": iat + 300, "scope": "calendar"})
		jws, _ := signer.Sign(b)
		s, _ := jws.CompactSerialize()
		return s
	}
	ask := func(a string) answer {
		return r.form("/token", []string{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", a})
	}
	a := ask(assertion(begin.Unix()))
	if me := r.me(a.str("access_token")); me.str("sub") != "bob" || me.str("scope") != "calendar" {
		t.Errorf("me = %s", me.body)
	}
	skewed := ask(assertion(begin.Unix() + 600))
	r.wants("F37 a clock ten minutes ahead", skewed, 400, "invalid_grant")
	if !strings.Contains(skewed.str("error_description"), "reasonable time") || skewed.header.Get("Date") != "Fri, 20 Nov 2026 12:00:00 GMT" {
		t.Errorf("F37: text %q, Date %q", skewed.str("error_description"), skewed.header.Get("Date"))
	}
	r.wants("a damaged one", ask(assertion(begin.Unix())+"x"), 400, "invalid_grant")

	trade := func(token string) answer {
		return r.form("/token", []string{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", token,
			"subject_token_type", "urn:ietf:params:oauth:token-type:access_token", "client_id", "x", "client_secret", "s"})
	}
	b := trade(a.str("access_token"))
	if b.str("issued_token_type") == "" || r.me(b.str("access_token")).str("sub") != "bob" {
		t.Errorf("exchange = %s", b.body)
	}
	if me := r.me(trade("subject:carol").str("access_token")); me.str("sub") != "carol" {
		t.Errorf("exchange of a stand-in: me = %s", me.body)
	}
	r.wants("exchange of an unknown token", trade("nothing"), 400, "invalid_request")
}

func TestF42_device_flow(t *testing.T) {
	r := start(t, emulator.Options{})
	begins := func() answer {
		return r.form("/device_authorization", []string{"client_id", "tv", "client_secret", "s"})
	}
	poll := func(d answer) answer {
		return r.form("/token", []string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", d.str("device_code"), "client_id", "tv", "client_secret", "s"})
	}
	d := begins()
	if d.str("verification_uri") != r.base+"/device" || d.v["interval"] != 5.0 || len(d.str("user_code")) != 9 {
		t.Fatalf("device_authorization = %s", d.body)
	}
	r.wants("first poll", poll(d), 400, "authorization_pending")
	r.e.Advance(5*time.Second - 1)
	r.wants("poll too early", poll(d), 400, "slow_down")
	r.e.Advance(10*time.Second - 1)
	r.wants("the five seconds stick", poll(d), 400, "slow_down")
	r.e.Advance(15 * time.Second)
	r.wants("patient poll", poll(d), 400, "authorization_pending")
	page := r.get("/device?user_code=" + d.str("user_code"))
	if !strings.Contains(string(page.body), d.str("user_code")) {
		t.Error("the page does not show the code it was given")
	}
	typed := strings.ToLower(strings.ReplaceAll(d.str("user_code"), "-", " "))
	if a := r.form("/device", []string{"user_code", typed, "decision", "allow"}); a.status != 200 {
		t.Errorf("typing %q = %d", typed, a.status)
	}
	r.e.Advance(15 * time.Second)
	a := poll(d)
	if a.status != 200 || a.str("refresh_token") == "" || r.me(a.str("access_token")).status != 200 {
		t.Fatalf("approved poll = %d %s", a.status, a.body)
	}
	r.e.Advance(15 * time.Second)
	r.wants("a used code", poll(d), 400, "invalid_grant")

	denied := begins()
	if err := r.e.DenyDevice(denied.str("user_code")); err != nil {
		t.Fatal(err)
	}
	r.wants("denied", poll(denied), 400, "access_denied")
	old := begins()
	r.e.Advance(10 * time.Minute)
	r.wants("expired", poll(old), 400, "expired_token")
	if err := r.e.ApproveDevice(old.str("user_code")); err == nil {
		t.Error("an expired code was approved")
	}
	auto := start(t, emulator.Options{Default: emulator.Profile{DeviceAuto: 2, DeviceInterval: at(time.Second)}})
	r = auto
	d = begins()
	r.wants("auto, first", poll(d), 400, "authorization_pending")
	r.e.Advance(time.Second)
	r.wants("auto, second", poll(d), 200, "")
}

func TestLoginsThatAreNotOAuth(t *testing.T) {
	r := start(t, emulator.Options{
		Users:   map[string]emulator.User{"ada@example.org": {Password: "pw", Subject: "ada"}},
		Clients: []emulator.Client{{ID: "jwt-login", Profile: emulator.Profile{Model: emulator.Omitted, Format: "jwt", Expires: "missing", Lifetime: at(20 * time.Second), Names: map[string]string{"token_type": "", "scope": ""}}}},
		Paths:   map[string]string{"/api/user/token-auth/": "/jwt/login", "/api/user/token-refresh/": "/jwt/refresh", "/TransElite/*": "/login"},
	})
	a := r.json("/login", `{"username":"ada@example.org","password":"pw"}`)
	if len(a.v) != 2 || a.v["expiresInMinutes"] != 60.0 || r.me(a.str("authToken")).str("sub") != "ada" {
		t.Errorf("login = %s", a.body)
	}
	r.wants("a wrong password", r.json("/login", `{"username":"ada@example.org","password":"no"}`), 401, "invalid_credentials")
	if a := r.form("/TransElite/auth", []string{"email", "ada@example.org", "password", "pw"}); a.str("authToken") == "" {
		t.Errorf("login by an address of the script = %d %s", a.status, a.body)
	}

	b := r.json("/api/user/token-auth/", `{"email":"ada@example.org","password":"pw"}`)
	if len(b.v) != 2 {
		t.Errorf("jwt login = %s, want access_token and refresh_token only", b.body)
	}
	claims := claimsOf(t, b.str("access_token"))
	if claims["exp"] != float64(begin.Unix()+20) {
		t.Errorf("exp = %v, want twenty seconds from now", claims["exp"])
	}
	r.wants("the prefix is the caller's", r.get("/api/users", "Authorization", "JWT "+b.str("access_token")), 200, "")
	c := r.json("/api/user/token-refresh/", `{"refresh_token":"`+b.str("refresh_token")+`"}`)
	if len(c.v) != 1 || c.str("access_token") == b.str("access_token") {
		t.Errorf("jwt refresh = %s, want a new access token alone", c.body)
	}
	r.wants("an unknown refresh token", r.json("/jwt/refresh", `{"refresh_token":"x"}`), 401, "invalid_grant")
	if n := r.e.Count("jwt_refresh"); n != 2 {
		t.Errorf("jwt_refresh counted %d times, want 2", n)
	}
}

func TestRevocationAndIntrospection(t *testing.T) {
	r := start(t, emulator.Options{})
	a := r.login("crm")
	post := func(path, token string) answer {
		return r.form(path, []string{"token", token, "client_id", "crm", "client_secret", "s"})
	}
	if i := post("/introspect", a.str("access_token")); i.v["active"] != true || i.str("sub") != "alice" {
		t.Errorf("introspect = %s", i.body)
	}
	r.wants("an unknown token is revoked", post("/revoke", "unknown"), 200, "")
	r.wants("without the secret", r.form("/revoke", []string{"token", a.str("refresh_token"), "client_id", "crm", "client_secret", "no"}), 401, "invalid_client")
	r.wants("the access token", post("/revoke", a.str("access_token")), 200, "")
	r.wants("use", r.me(a.str("access_token")), 401, "invalid_token")
	b := r.refresh("crm", a.str("refresh_token"))
	r.wants("the refresh token", post("/revoke", b.str("refresh_token")), 200, "")
	r.wants("use", r.me(b.str("access_token")), 401, "invalid_token")
	r.wants("refresh", r.refresh("crm", b.str("refresh_token")), 400, "invalid_grant")
	if i := post("/introspect", b.str("refresh_token")); i.v["active"] != false {
		t.Errorf("introspect of a revoked token = %s", i.body)
	}
	r.next(emulator.Fault{At: "revoke", Mode: emulator.Modes{"http_503"}})
	r.wants("F85 the endpoint is down", post("/revoke", "x"), 503, "")
	if n := r.e.Stats().Revoked["revoked"]; n != 1 {
		t.Errorf("revoked = %d, want 1", n)
	}
}
