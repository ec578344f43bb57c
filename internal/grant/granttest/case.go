// Package granttest holds what tests of token requests share: the corpus of
// token endpoint answers with the one outcome each must have, and an endpoint
// that gives these answers over real sockets, broken transports included.
package granttest

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// What a connection holds before each case that refreshes.
const (
	OldRefresh = "RT-OLD"
	OldAccess  = "AT-OLD"
)

// Clock is the instant at which every case happens: some answers name dates.
var Clock = time.Date(2026, 10, 21, 7, 27, 0, 0, time.UTC)

// A Case is one answer and what must come of it.
type Case struct {
	ID        string            `json:"id"`
	Group     string            `json:"group"`
	GrantName string            `json:"grant"`
	Status    int               `json:"status"` // 0: no HTTP answer, see Transport
	Headers   map[string]string `json:"headers"`
	Text      *string           `json:"body"`
	Base64    *string           `json:"body_base64"`
	Gen       *Gen              `json:"body_gen"`
	Profile   *Profile          `json:"profile"`
	Transport *Transport        `json:"transport"`
	Expected  Expected          `json:"expected"`
	Note      string            `json:"note"`
}

// A Gen describes a body that is too long to write down.
type Gen struct {
	Prefix string `json:"prefix"`
	Repeat string `json:"repeat"`
	Count  int    `json:"count"`
	Suffix string `json:"suffix"`
	Gzip   bool   `json:"gzip"`
}

// A Profile is what is known of the provider.
type Profile struct {
	TokenPath string            `json:"token_path"`
	Names     map[string]string `json:"names"`
	OKPath    string            `json:"ok_path"`
	OKValue   json.RawMessage   `json:"ok_value"`
}

// A Transport says how the endpoint fails to answer.
type Transport struct {
	Mode           string `json:"mode"`
	SendBytes      int    `json:"send_bytes"`
	BytesPerSecond int    `json:"bytes_per_second"`
	DeadlineS      int    `json:"deadline_s"`
	Bytes          int    `json:"bytes"`
	ThenStatus     int    `json:"then_status"`
	ThenBody       string `json:"then_body"`
}

// Expected is the one outcome of a case.
type Expected struct {
	Outcome        string   `json:"outcome"` // token | error
	AccessToken    string   `json:"access_token"`
	Scheme         *string  `json:"scheme"`
	ExpiresIn      *int64   `json:"expires_in_s"`
	RefreshToken   *string  `json:"refresh_token"` // what the store must hold afterwards
	RefreshAction  string   `json:"refresh_token_action"`
	Flags          []string `json:"flags"`
	Scope          *string  `json:"scope"`
	RefreshHint    *int64   `json:"refresh_hint_s"`
	RefreshExpires *int64   `json:"refresh_token_expires_in_s"`
	Class          string   `json:"error_class"`
	Code           string   `json:"error_code"`
	Uncertain      bool     `json:"uncertain"`
	RetryAfter     *int64   `json:"retry_after_s"`
	Reauth         bool     `json:"reauth_required"`
	RetryWith      string   `json:"retry_with"`
}

// Load reads the corpus.
func Load(t testing.TB) []Case {
	t.Helper()
	var file struct{ Cases []Case }
	read(t, &file)
	if len(file.Cases) == 0 {
		t.Fatal("the corpus is empty")
	}
	return file.Cases
}

// A Verdict is what a code means when nothing else speaks.
type Verdict struct {
	Class     string
	Uncertain bool
}

// Tables returns the code tables of the corpus.
func Tables(t testing.TB) map[string]Verdict {
	t.Helper()
	var file struct {
		Tables struct {
			Permanent     []string          `json:"permanent"`
			Misconfigured []string          `json:"misconfigured"`
			Retryable     map[string]string `json:"retryable"`
		} `json:"code_table"`
	}
	read(t, &file)
	out := map[string]Verdict{}
	for _, code := range file.Tables.Permanent {
		out[code] = Verdict{Class: string(grant.Permanent)}
	}
	for _, code := range file.Tables.Misconfigured {
		out[code] = Verdict{Class: string(grant.Misconfigured)}
	}
	for code, how := range file.Tables.Retryable {
		out[code] = Verdict{Class: string(grant.Retryable), Uncertain: how == "uncertain"}
	}
	if len(out) == 0 {
		t.Fatal("the corpus has no code tables")
	}
	return out
}

func read(t testing.TB, v any) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("the corpus needs the source tree: no go.mod above the test")
		}
		dir = up
	}
	b, err := os.ReadFile(filepath.Join(dir, "internal", "grant", "testdata", "token-responses.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// Find returns the case with the id.
func Find(t testing.TB, id string) Case {
	t.Helper()
	cases := Load(t)
	i := slices.IndexFunc(cases, func(c Case) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("the corpus has no case %s", id)
	}
	return cases[i]
}

// Body returns the decoded body of the answer.
func (c Case) Body() []byte {
	switch {
	case c.Transport != nil && c.Transport.Mode == "informational_then":
		return []byte(c.Transport.ThenBody)
	case c.Text != nil:
		return []byte(*c.Text)
	case c.Base64 != nil:
		b, err := base64.StdEncoding.DecodeString(*c.Base64)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", c.ID, err))
		}
		return b
	case c.Gen != nil:
		return []byte(c.Gen.Prefix + strings.Repeat(c.Gen.Repeat, c.Gen.Count) + c.Gen.Suffix)
	}
	return nil
}

// wire returns the header and the body as they are sent.
func (c Case) wire() (http.Header, []byte) {
	h := http.Header{}
	for k, v := range c.Headers {
		h.Set(k, v)
	}
	b := c.Body()
	if c.Gen != nil && c.Gen.Gzip {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		w.Write(b)
		w.Close()
		h.Set("Content-Encoding", "gzip")
		b = buf.Bytes()
	}
	return h, b
}

// Grant returns what the case asks with.
func (c Case) Grant() freshet.GrantType {
	switch c.GrantName {
	case "custom":
		return freshet.GrantRequest
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		return freshet.GrantJWTBearer
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		return freshet.GrantTokenExchange
	case "urn:ietf:params:oauth:grant-type:device_code":
		return freshet.GrantDeviceCode
	}
	return freshet.GrantType(c.GrantName)
}

// Refreshes reports whether the case presents a stored refresh token.
func (c Case) Refreshes() bool { return c.Grant() == freshet.GrantRefreshToken }

// Prior returns what is stored before the case, nil for nothing.
func (c Case) Prior() *freshet.Token {
	if !c.Refreshes() {
		return nil
	}
	return &freshet.Token{
		Access: freshet.NewSecret(OldAccess), Refresh: freshet.NewSecret(OldRefresh), Type: "Bearer", Scheme: "Bearer",
		IssuedAt: Clock.Add(-time.Hour), Expiry: Clock, RefreshIssued: Clock.Add(-24 * time.Hour), Generation: 1,
	}
}

// Provider returns the case's provider with its endpoint at url.
func (c Case) Provider(url string) freshet.Provider {
	p := freshet.Provider{Name: "corpus", TokenURL: url, ClientAuth: freshet.AuthBody}
	if g := c.Grant(); g != freshet.GrantRefreshToken {
		p.Grants = []freshet.GrantType{g}
	}
	if c.Grant() == freshet.GrantRequest {
		p.ClientAuth = freshet.AuthNone
		p.Request.Params = freshet.Values{"user": "{{username}}"}
	}
	f := c.Profile
	if f == nil {
		return p
	}
	path := func(standard string) string {
		name := standard
		if own := f.Names[standard]; own != "" {
			name = own
		} else if f.TokenPath == "" {
			return ""
		}
		if f.TokenPath != "" {
			name = f.TokenPath + "." + name
		}
		return name
	}
	p.Response = freshet.Response{
		AccessToken: path("access_token"), RefreshToken: path("refresh_token"), TokenType: path("token_type"), Scope: path("scope"), IDToken: path("id_token"),
		Expires: freshet.Expiry{Path: path("expires_in")},
	}
	if f.OKPath != "" {
		p.Response.Success = f.OKPath + " == " + string(f.OKValue)
	}
	return p
}

// Definition returns a connection that makes the case's request to url.
func (c Case) Definition(url string) *freshet.Definition {
	g := c.Grant()
	if g == freshet.GrantRefreshToken {
		g = freshet.GrantAuthorizationCode
	}
	d := &freshet.Definition{
		ID: "corpus-" + freshet.ConnectionID(c.ID), Revision: 1,
		Connection: freshet.Connection{Name: c.ID, Client: "corpus", Grant: g},
		Client:     freshet.Client{Name: "corpus", Provider: "corpus", ID: "client-1", Secret: freshet.NewSecret("client-secret-1")},
		Provider:   c.Provider(url),
	}
	switch g {
	case freshet.GrantRequest:
		d.Connection.Credentials = map[string]freshet.Secret{"username": freshet.NewSecret("user-1")}
	case freshet.GrantTokenExchange:
		d.Connection.Credentials = map[string]freshet.Secret{"subject_token": freshet.NewSecret("subject-token-1")}
	case freshet.GrantJWTBearer:
		d.Client.Key = key()
	}
	if c.Headers["DPoP-Nonce"] != "" {
		d.Client.DPoP = true
		k, err := grant.NewDPoPKey()
		if err != nil {
			panic(err)
		}
		d.DPoPKey = k
	}
	return d
}

// key returns a private key, the same one for all cases.
var key = sync.OnceValue(func() freshet.Secret {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return freshet.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
})

// Ask returns the request of the case.
func (c Case) Ask() grant.Ask {
	if prior := c.Prior(); prior != nil {
		return grant.Ask{RefreshToken: prior.Refresh, Previous: prior}
	}
	switch c.Grant() {
	case freshet.GrantAuthorizationCode:
		return grant.Ask{Code: freshet.NewSecret("code-1"), Verifier: freshet.NewSecret("verifier-1"), RedirectURI: "http://127.0.0.1/callback/oauth2"}
	case freshet.GrantDeviceCode:
		return grant.Ask{DeviceCode: freshet.NewSecret("device-code-1")}
	}
	return grant.Ask{}
}

// Stored returns the refresh token that the store must hold after o, given what
// it held before.
func Stored(prior *freshet.Token, o grant.Outcome) string {
	switch {
	case o.Token != nil && !o.Token.Refresh.IsZero():
		return o.Token.Refresh.Reveal()
	case !o.Salvaged.IsZero():
		return o.Salvaged.Reveal()
	case prior != nil:
		return prior.Refresh.Reveal()
	}
	return ""
}

// Check compares an outcome with the one that the case must have.
func Check(t testing.TB, c Case, o grant.Outcome) {
	t.Helper()
	w := c.Expected
	if (o.Token == nil) == (o.Err == nil) {
		t.Fatalf("%s: token %v and error %v: exactly one must be set", c.ID, o.Token != nil, o.Err)
	}
	prior := c.Prior()
	stored, want := Stored(prior, o), ""
	if w.RefreshToken != nil {
		want = *w.RefreshToken
	}
	if stored != want {
		t.Errorf("%s: the store holds refresh token %q, want %q", c.ID, brief(stored), brief(want))
	}
	action := "none"
	switch {
	case prior != nil && stored == prior.Refresh.Reveal():
		action = "kept"
	case stored != "":
		action = "rotated"
	}
	if action != w.RefreshAction {
		t.Errorf("%s: refresh token %s, want %s", c.ID, action, w.RefreshAction)
	}
	flags := make([]string, 0, len(o.Flags))
	for _, f := range o.Flags {
		flags = append(flags, string(f))
	}
	slices.Sort(flags)
	wantFlags := slices.Sorted(slices.Values(w.Flags))
	if !slices.Equal(flags, wantFlags) {
		t.Errorf("%s: flags %q, want %q", c.ID, flags, wantFlags)
	}
	if w.Outcome == "token" {
		checkToken(t, c, o)
		return
	}
	checkError(t, c, o)
}

func checkToken(t testing.TB, c Case, o grant.Outcome) {
	t.Helper()
	w := c.Expected
	if o.Token == nil {
		t.Fatalf("%s: %v (%s, uncertain %v), want a token", c.ID, o.Err, o.Err.Class, o.Err.Uncertain)
	}
	tok := o.Token
	if got := tok.Access.Reveal(); got != w.AccessToken {
		t.Errorf("%s: access token %q, want %q", c.ID, brief(got), brief(w.AccessToken))
	}
	scheme := ""
	if w.Scheme != nil {
		scheme = *w.Scheme
	}
	if tok.Scheme != scheme {
		t.Errorf("%s: scheme %q, want %q", c.ID, tok.Scheme, scheme)
	}
	seconds(t, c.ID, "lifetime", tok.Expiry, tok.IssuedAt, w.ExpiresIn)
	if w.RefreshExpires != nil {
		seconds(t, c.ID, "refresh token lifetime", tok.RefreshExpiry, tok.IssuedAt, w.RefreshExpires)
	}
	if w.RefreshHint != nil && tok.RefreshHint != time.Duration(*w.RefreshHint)*time.Second {
		t.Errorf("%s: refresh hint %v, want %d s", c.ID, tok.RefreshHint, *w.RefreshHint)
	}
	if w.Scope != nil && tok.Scope != *w.Scope {
		t.Errorf("%s: scope %q, want %q", c.ID, tok.Scope, *w.Scope)
	}
}

func seconds(t testing.TB, id, what string, at, from time.Time, want *int64) {
	t.Helper()
	switch {
	case want == nil && !at.IsZero():
		t.Errorf("%s: %s %v, want unknown", id, what, at.Sub(from))
	case want != nil && at.IsZero():
		t.Errorf("%s: %s unknown, want %d s", id, what, *want)
	case want != nil && at.Sub(from) != time.Duration(*want)*time.Second:
		t.Errorf("%s: %s %v, want %d s", id, what, at.Sub(from), *want)
	}
}

func checkError(t testing.TB, c Case, o grant.Outcome) {
	t.Helper()
	w, e := c.Expected, o.Err
	if e == nil {
		t.Fatalf("%s: a token, want error %s", c.ID, w.Code)
	}
	if string(e.Class) != w.Class || e.Code != w.Code || e.Uncertain != w.Uncertain {
		t.Errorf("%s: %s %s uncertain=%v, want %s %s uncertain=%v", c.ID, e.Class, e.Code, e.Uncertain, w.Class, w.Code, w.Uncertain)
	}
	if (e.Class == grant.Permanent) != w.Reauth {
		t.Errorf("%s: class %s, want reauthorization %v", c.ID, e.Class, w.Reauth)
	}
	var wait int64
	if w.RetryAfter != nil {
		wait = *w.RetryAfter
	}
	if e.RetryAfter != time.Duration(wait)*time.Second {
		t.Errorf("%s: retry after %v, want %d s", c.ID, e.RetryAfter, wait)
	}
	if (e.Nonce != "") != (w.RetryWith == "dpop_nonce") {
		t.Errorf("%s: nonce %q, want retry with %q", c.ID, e.Nonce, w.RetryWith)
	}
	if len(e.Detail) > 256 {
		t.Errorf("%s: the detail is %d bytes long", c.ID, len(e.Detail))
	}
	for _, secret := range c.Secrets() {
		for _, text := range []string{e.Error(), e.Detail, e.Code, fmt.Sprintf("%v %+v %#v", e, e, o)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %q shows a secret of the case: %s", c.ID, secret, brief(text))
			}
		}
	}
}

// Secrets lists the tokens of the case, which nothing may show.
func (c Case) Secrets() []string {
	out := []string{OldRefresh, OldAccess}
	for _, kind := range []string{"at-", "rt-"} {
		id := kind + c.ID
		if bytes.Contains(c.Body(), []byte(id)) {
			out = append(out, id)
		}
	}
	if s := c.Expected.AccessToken; s != "" {
		out = append(out, s)
	}
	if s := c.Expected.RefreshToken; s != nil && *s != "" {
		out = append(out, *s)
	}
	return out
}

func brief(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
