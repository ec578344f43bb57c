package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"iter"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

func find(t *testing.T, r Report, check string) Finding {
	t.Helper()
	for _, f := range r {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("nothing was found of %q in %+v", check, r)
	return Finding{}
}

// advises fails for findings that leave a person alone.
func advises(t *testing.T, r Report) {
	t.Helper()
	for _, f := range r {
		if f.Level != OK && f.Do == "" {
			t.Errorf("%s: %s, and nothing to do about it", f.Check, f.Detail)
		}
		if f.Detail == "" {
			t.Errorf("%s: no detail", f.Check)
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("master.key", 0o600)
	write("admin.key", 0o600)
	r := Directory(dir)
	advises(t, r)
	if !r.Good() || r.Count(Warning) > 1 { // the disk of a test machine may be nearly full
		t.Errorf("a good directory: %+v", r)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".writable-*")); len(left) > 0 {
		t.Errorf("looking left %v", left)
	}
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	for _, name := range []string{"master.key", "admin.key", "spill-local", sqlite.FileName} {
		t.Run("S46 "+name, func(t *testing.T) {
			write(name, 0o640)
			defer write(name, 0o600)
			r := Directory(dir)
			advises(t, r)
			f := find(t, r, "files")
			if f.Level != Problem || !strings.Contains(f.Detail, name) || !strings.Contains(f.Do, "chmod 600") {
				t.Errorf("%+v", f)
			}
		})
	}
	os.Chmod(dir, 0o755)
	if f := find(t, Directory(dir), "data directory"); f.Level != Warning || !strings.Contains(f.Do, "chmod 700") {
		t.Errorf("an open directory: %+v", f)
	}
	if f := find(t, Directory(filepath.Join(dir, "none")), "data directory"); f.Level != Problem || !strings.Contains(f.Do, "freshet serve") {
		t.Errorf("no directory: %+v", f)
	}
	if f := find(t, Directory(filepath.Join(dir, "master.key")), "data directory"); f.Level != Problem {
		t.Errorf("a file: %+v", f)
	}
}

func TestFile(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if f := File(ctx, dir); f.Level != Problem || !strings.Contains(f.Do, "freshet restore") {
		t.Errorf("no store: %+v", f)
	}
	st, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := File(ctx, dir); f.Level != OK { // while it is in use
		t.Errorf("a store in use: %+v", f)
	}
	st.Close()
	path := filepath.Join(dir, sqlite.FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i += 512 {
		copy(b[i:], "damage")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := File(ctx, dir); f.Level != Problem || !strings.Contains(f.Do, "freshet restore") || !strings.Contains(f.Detail, path) {
		t.Errorf("a damaged store: %+v", f)
	}
}

// certificateUntil returns a PEM certificate that ends then.
func certificateUntil(t *testing.T, end time.Time) freshet.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "freshet"}, NotBefore: end.Add(-365 * 24 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return freshet.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestF55_certificates_are_spoken_of_before_they_end(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		left time.Duration
		want Level
		says string
	}{
		"a year":              {365 * day, OK, "good until"},
		"a minute over 30":    {30*day + time.Minute, OK, "good until"},
		"30 days":             {30 * day, Warning, "ends in 30 days"},
		"7 days":              {7 * day, Warning, "ends in 7 days"},
		"a minute over a day": {day + time.Minute, Warning, "ends in 1 days"},
		"a day":               {day, Problem, "within a day"},
		"over":                {-time.Minute, Problem, "it ended on"},
	} {
		def := &freshet.Definition{Connection: freshet.Connection{Name: "crm", Client: "bank"}, Client: freshet.Client{Certificate: certificateUntil(t, now.Add(c.left))}}
		f, ok := certificate(def, now)
		if !ok || f.Level != c.want || !strings.Contains(f.Detail, c.says) || f.Check != "certificate of client bank" {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f, ok := certificate(&freshet.Definition{}, now); ok {
		t.Errorf("no certificate: %+v", f)
	}
	def := &freshet.Definition{Client: freshet.Client{Certificate: freshet.NewSecret("hunter2")}}
	if f, ok := certificate(def, now); !ok || f.Level != Problem || strings.Contains(f.Detail, "hunter2") {
		t.Errorf("no PEM: %+v", f)
	}
}

// A shelf is a Book of definitions.
type shelf map[string]*freshet.Definition

func (s shelf) Names(context.Context, string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range []string{"crm", "erp", "gone", "odd"} {
			if _, ok := s[name]; ok && !yield(name, nil) {
				return
			}
		}
	}
}

func (s shelf) Definition(_ context.Context, name string) (*freshet.Definition, error) {
	if d := s[name]; d.Provider.Name != "" {
		return d, nil
	}
	return nil, fmt.Errorf("connection %s: provider: there is no acme", name)
}

// A provider counts what it is asked and tells a time of its own.
type provider struct {
	mu   sync.Mutex
	seen []string
	date time.Time
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+r.Header.Get("Cookie"))
	if !p.date.IsZero() {
		w.Header().Set("Date", p.date.UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(http.StatusNotFound)
}

func define(tokenURL string) *freshet.Definition {
	return &freshet.Definition{
		Connection: freshet.Connection{Name: "crm", Client: "acme", Secret: freshet.NewSecret("s3cret")},
		Client:     freshet.Client{ID: "id", Secret: freshet.NewSecret("s3cret")},
		Provider:   freshet.Provider{Name: "acme", TokenURL: tokenURL},
	}
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := sqlite.Open(context.Background(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func check(t *testing.T, allow []string, b Book, st Store, tweak ...func(*Options)) Report {
	t.Helper()
	guard, err := dial.New(dial.Options{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	o := Options{Store: st, Book: b, Client: guard.Client(dial.Upstream)}
	for _, f := range tweak {
		f(&o)
	}
	r, err := Check(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	advises(t, r)
	return r
}

func TestProvidersAreAskedForNothing(t *testing.T) {
	p := &provider{}
	srv := httptest.NewServer(p)
	defer srv.Close()
	def := define(srv.URL + "/oauth/token?tenant={{tenant}}&key=s3cret")
	def.Provider.RevocationURL = srv.URL + "/revoke"
	def.Connection.API = &freshet.API{BaseURL: srv.URL + "/v1"}
	r := check(t, []string{"127.0.0.0/8"}, shelf{"crm": def}, openStore(t))
	if f := find(t, r, "provider acme, API of crm"); f.Level != OK || !strings.Contains(f.Detail, srv.URL) {
		t.Errorf("%+v", f)
	}
	if want := "HEAD / "; len(p.seen) != 1 || p.seen[0] != want {
		t.Errorf("the provider was asked %q, want %q alone", p.seen, want)
	}
	if f := find(t, r, "clock"); f.Level != OK || !strings.Contains(f.Detail, "agrees") {
		t.Errorf("%+v", f)
	}
}

func TestProvidersThatAreNotThere(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + closed.Addr().String()
	closed.Close()
	strange := httptest.NewTLSServer(&provider{})
	defer strange.Close()
	strange.Config.ErrorLog = nil
	plain := httptest.NewServer(&provider{})
	defer plain.Close()
	for name, c := range map[string]struct {
		url   string
		allow []string
		says  string
		do    string
	}{
		"nothing listens":      {dead + "/token", []string{"127.0.0.0/8"}, "nothing listens", "start it"},
		"S17 not allowed":      {"https://127.0.0.1/token", nil, "not one that this server may connect to", "network.allow"},
		"an unknown authority": {strange.URL + "/token", []string{"127.0.0.0/8"}, "authority", "install"},
		"no TLS":               {strings.Replace(plain.URL, "http:", "https:", 1), []string{"127.0.0.0/8"}, "does not speak TLS", "correct the URL"},
		"no such host":         {"https://no-such-host.invalid/token", nil, "no host of that name", "correct the URL"},
	} {
		t.Run(name, func(t *testing.T) {
			r := check(t, c.allow, shelf{"crm": define(c.url)}, openStore(t))
			f := find(t, r, "provider acme")
			if name == "no such host" && strings.Contains(f.Detail, "name server does not answer") {
				t.Skip("this machine resolves no names")
			}
			if f.Level != Problem || !strings.Contains(f.Detail, c.says) || !strings.Contains(f.Do, c.do) {
				t.Errorf("%+v", f)
			}
			if r.Good() {
				t.Error("the report is good")
			}
		})
	}
}

func TestClock(t *testing.T) {
	for name, c := range map[string]struct {
		skews []time.Duration
		want  Level
		says  string
	}{
		"nobody said":           {nil, OK, "no provider"},
		"right":                 {[]time.Duration{time.Second, -2 * time.Second}, OK, "agrees"},
		"odd":                   {[]time.Duration{6 * time.Second}, Warning, "6s ahead"},
		"at the limit":          {[]time.Duration{30 * time.Second}, Warning, "30s ahead"},
		"wrong":                 {[]time.Duration{-31 * time.Second}, Problem, "31s behind"},
		"an hour ahead":         {[]time.Duration{time.Hour, time.Hour + time.Second, time.Hour}, Problem, "1h0m0s ahead"},
		"one of three is wrong": {[]time.Duration{time.Hour, 0, time.Second}, OK, "agrees"},
	} {
		if f := clock(c.skews); f.Level != c.want || !strings.Contains(f.Detail, c.says) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	p := &provider{date: time.Now().Add(-90 * time.Second)}
	srv := httptest.NewServer(p)
	defer srv.Close()
	r := check(t, []string{"127.0.0.0/8"}, shelf{"crm": define(srv.URL)}, openStore(t))
	if f := find(t, r, "clock"); f.Level != Problem || !strings.Contains(f.Detail, "ahead of") {
		t.Errorf("a provider 90 s behind us: %+v", f)
	}
}

func TestConnections(t *testing.T) {
	ctx := context.Background()
	st := openStore(t)
	rows := map[string]struct {
		state  freshet.State
		reason freshet.Reason
	}{
		"a-ok":      {freshet.StateOK, ""},
		"b-new":     {freshet.StateReauth, freshet.ReasonNeverAuthorized},
		"c-dead":    {freshet.StateReauth, freshet.ReasonInvalidGrant},
		"d-wrong":   {freshet.StateMisconfigured, "invalid_client"},
		"e-failing": {freshet.StateAttention, ""},
		"f-lost":    {freshet.StateUncertain, ""},
	}
	ensure := func(name string, state freshet.State, reason freshet.Reason) {
		t.Helper()
		if err := st.Change(ctx, func(c *store.Change) error {
			return c.EnsureToken(store.Token{ID: freshet.ConnectionID(name), Name: name, Client: "client/x", Provider: "acme", State: state, Reason: reason})
		}); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range rows {
		ensure(name, v.state, v.reason)
	}
	r := check(t, nil, shelf{}, st)
	for name, want := range map[string]struct {
		level Level
		do    string
	}{
		"connection b-new":     {Warning, "freshet connect b-new"},
		"connection c-dead":    {Problem, "freshet connect c-dead"},
		"connection d-wrong":   {Problem, "apply"},
		"connection e-failing": {Problem, "freshet refresh e-failing"},
		"connection f-lost":    {Warning, "by itself"},
	} {
		if f := find(t, r, name); f.Level != want.level || !strings.Contains(f.Do, want.do) {
			t.Errorf("%+v", f)
		}
	}
	for i := range shown + 3 {
		ensure(fmt.Sprintf("c-many-%d", i), freshet.StateReauth, freshet.ReasonInvalidGrant)
	}
	if f := find(t, check(t, nil, shelf{}, st), "connections"); !strings.Contains(f.Detail, "5 more are reauth") || !strings.Contains(f.Do, "--state reauth") {
		t.Errorf("%+v", f)
	}
}

// A client's trouble is told once, not for each of its thousand connections.
func TestClientsInTrouble(t *testing.T) {
	ctx := context.Background()
	st := openStore(t)
	if err := st.PutClient(ctx, store.Client{Key: "client/acme", State: freshet.StateMisconfigured, Reason: "invalid_client", Error: `{"code":"invalid_client","detail":"the secret has expired"}`}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := st.Change(ctx, func(c *store.Change) error {
			return c.EnsureToken(store.Token{ID: freshet.ConnectionID(name), Name: name, Client: "client/acme", Provider: "acme", State: freshet.StateMisconfigured})
		}); err != nil {
			t.Fatal(err)
		}
	}
	r := check(t, nil, shelf{}, st)
	if f := find(t, r, "client acme"); f.Level != Problem || !strings.Contains(f.Detail, "the secret has expired") {
		t.Errorf("%+v", f)
	}
	if n := r.Count(Problem); n != 1 {
		t.Errorf("%d problems, want the client's alone: %+v", n, r)
	}
}

func TestRefreshTokensThatEnd(t *testing.T) {
	ctx := context.Background()
	st := openStore(t)
	now := time.Now()
	add := func(name string, issued, ends, next time.Time) {
		t.Helper()
		id := freshet.ConnectionID(name)
		if err := st.Change(ctx, func(c *store.Change) error {
			return c.EnsureToken(store.Token{ID: id, Name: name, Client: "client/x", Provider: "acme", State: freshet.StateOK})
		}); err != nil {
			t.Fatal(err)
		}
		if err := st.Put(ctx, store.Commit{ID: id, Sealed: []byte("x"), IssuedAt: issued, ExpiresAt: now.Add(time.Hour), RefreshExpiry: ends, NextAt: next}); err != nil {
			t.Fatal(err)
		}
	}
	year := now.Add(-350 * 24 * time.Hour)
	add("far", year, now.Add(20*24*time.Hour), now.Add(time.Hour))
	add("week", year, now.Add(6*24*time.Hour+time.Hour), now.Add(time.Hour))
	add("soon", year, now.Add(5*time.Hour), now.Add(time.Hour))
	add("short", now, now.Add(8*time.Hour), now.Add(time.Hour)) // each refresh brings another
	r := check(t, nil, shelf{}, st)
	if f := find(t, r, "connection week"); f.Level != Warning || !strings.Contains(f.Detail, "6 days") {
		t.Errorf("%+v", f)
	}
	if f := find(t, r, "connection soon"); f.Level != Problem || !strings.Contains(f.Do, "freshet connect soon") {
		t.Errorf("%+v", f)
	}
	for _, f := range r {
		if f.Check == "connection far" || f.Check == "connection short" {
			t.Errorf("%+v", f)
		}
	}
}

func TestWhatOnlyAServerKnows(t *testing.T) {
	st := openStore(t)
	r := check(t, nil, shelf{"gone": {}}, st, func(o *Options) {
		o.Writable = func(context.Context) error { return store.ErrReadOnly }
		o.Paused = func() string { return "the store was restored" }
		o.Spilled = func() int64 { return 3 }
	})
	for check, level := range map[string]Level{"writes": Problem, "background refresh": Problem, "spill file": Warning, "connection gone": Problem} {
		if f := find(t, r, check); f.Level != level {
			t.Errorf("%+v", f)
		}
	}
	r = check(t, nil, shelf{}, st, func(o *Options) {
		o.Writable, o.Paused, o.Spilled = st.Writable, func() string { return "" }, func() int64 { return 0 }
	})
	if !r.Good() || r.Count(Warning) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLettersThatDoNotArrive(t *testing.T) {
	ctx := context.Background()
	st := openStore(t)
	if err := st.Post(ctx, store.Letter{ID: "1", Kind: "webhook", Target: "ops", Payload: "{}"}, store.Letter{ID: "2", Kind: "revoke", Target: "acme", Payload: "{}"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := st.Returned(ctx, "1", "HTTP 500", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r := check(t, nil, shelf{}, st)
	if f := find(t, r, "webhook ops"); f.Level != Warning || !strings.Contains(f.Detail, "HTTP 500") {
		t.Errorf("%+v", f)
	}
	for _, f := range r {
		if strings.Contains(f.Check, "revocation") {
			t.Errorf("one that was not tried yet: %+v", f)
		}
	}
}
