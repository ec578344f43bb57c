package flow

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

const redirect = "https://freshet.example/callback/oauth2"

// A world is Flows over a real database and vault, real links, and a token
// endpoint that is only a function.
type world struct {
	*Flows
	t      *testing.T
	store  *store.Store
	vault  *vault.Vault
	sender *grant.Sender

	mu     sync.Mutex
	defs   map[string]*freshet.Definition
	asked  []grant.Ask
	answer func(grant.Ask) (grant.Outcome, error)
	device grant.Device
	ended  []Ended
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: st, sender: grant.New(grant.Options{}), defs: map[string]*freshet.Definition{}}
	if w.vault, err = vault.Open(ctx, st, vault.MasterKeyFile(filepath.Join(dir, "master.key"))); err != nil {
		t.Fatal(err)
	}
	w.answer = func(grant.Ask) (grant.Outcome, error) { return grant.Outcome{Token: &freshet.Token{}}, nil }
	w.define("crm")
	w.start()
	return w
}

func (w *world) start() {
	w.Flows = New(Options{Store: w.store, Sealer: w.vault, Definitions: w, Grants: grants{w}, Source: w, RedirectURI: redirect,
		Ended: func(e Ended) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ended = append(w.ended, e)
		}})
}

func (w *world) close() {
	w.Flows.Close()
	w.store.Close()
}

func (w *world) define(name string, tweak ...func(*freshet.Definition)) {
	def := &freshet.Definition{ID: freshet.ConnectionID("id-" + name), Revision: 1,
		Connection: freshet.Connection{Name: name, Client: "acme", Grant: freshet.GrantAuthorizationCode, Scopes: []string{"read"}},
		Client:     freshet.Client{Name: "acme", ID: "client-1"},
		Provider: freshet.Provider{Name: "acme", AuthorizationURL: "https://auth.example/authorize", TokenURL: "https://auth.example/token",
			DeviceAuthorizationURL: "https://auth.example/device"}}
	for _, f := range tweak {
		f(def)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.defs[name] = def
}

func (w *world) Definition(_ context.Context, name string) (*freshet.Definition, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.defs[name]; d != nil {
		return d, nil
	}
	return nil, freshet.ErrNotFound
}

func (w *world) Obtain(_ context.Context, name string, a grant.Ask, _ bool) (grant.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, a)
	return w.answer(a)
}

func (w *world) AuthorizeURL(ctx context.Context, def *freshet.Definition, p grant.AuthorizeParams) (string, error) {
	return w.sender.AuthorizeURL(ctx, def, p)
}

func (w *world) CheckCallback(ctx context.Context, def *freshet.Definition, q url.Values) (freshet.Secret, error) {
	return w.sender.CheckCallback(ctx, def, q)
}

// StartDevice hides the method of Flows behind another type.
func (g grants) StartDevice(context.Context, *freshet.Definition) (grant.Device, error) {
	return g.device, nil
}

type grants struct{ *world }

func (w *world) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// A browser keeps cookies.
type browser map[string]string

func (b browser) cookie(name string) string { return b[name] }

// begin starts a flow and opens its link in b.
func (w *world) begin(b browser, q Request) (Started, url.Values) {
	w.t.Helper()
	ctx := context.Background()
	st, err := w.Start(ctx, q)
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.Open(ctx, st.Link[strings.LastIndex(st.Link, "/")+1:], b.cookie)
	if err != nil {
		w.t.Fatal(err)
	}
	b[CookieName(o.Flow)] = o.Cookie
	u, err := url.Parse(o.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	return st, u.Query()
}

const path = "/callback/oauth2"

func back(state string, more ...string) url.Values {
	q := url.Values{"state": {state}, "code": {"code-1"}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

func TestCodeFlow(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	ctx := context.Background()
	b := browser{}
	st, q := w.begin(b, Request{Connection: "crm", Actor: "key:a#1", ReturnTo: "/console/connections"})
	if !strings.HasPrefix(st.Link, redirect+"/start/") || st.RedirectURI != redirect {
		t.Errorf("%+v", st)
	}
	if q.Get("code_challenge_method") != "S256" || q.Get("redirect_uri") != redirect || len(q.Get("state")) != 43 {
		t.Errorf("S02 the link: %v", q)
	}
	waited := make(chan Status, 1)
	go func() {
		s, err := w.Wait(ctx, st.Flow, time.Minute)
		if err != nil {
			t.Error(err)
		}
		waited <- s
	}()
	l, err := w.Callback(ctx, path, back(q.Get("state")), b.cookie)
	if err != nil || !l.Done || l.Connection != "crm" || l.ReturnTo != "/console/connections" {
		t.Fatalf("%+v, %v", l, err)
	}
	if s := <-waited; s.State != Done || s.Flow != st.Flow {
		t.Errorf("who waits learns %+v", s)
	}
	a := w.asked[0]
	if a.Code.Reveal() != "code-1" || a.RedirectURI != redirect || grant.Challenge(a.Verifier) != q.Get("code_challenge") {
		t.Errorf("the code was asked with %+v", a)
	}
	row, err := w.store.Flow(ctx, st.Flow)
	if err != nil || len(row.Sealed) != 0 {
		t.Errorf("what it kept is kept on: %v", err)
	}
	if w.ended[0].Actor != "key:a#1" || !w.ended[0].Done {
		t.Errorf("%+v", w.ended)
	}
}

func TestS01_a_callback_needs_its_browser_its_state_and_its_connection(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *world, b browser, q url.Values) error
		want error
		left bool // the flow can still be finished
	}{
		"another browser": {func(w *world, b browser, q url.Values) error {
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), browser{}.cookie)
			return err
		}, ErrBrowser, true},
		"another flow's cookie": {func(w *world, b browser, q url.Values) error {
			other := browser{}
			st, _ := w.begin(other, Request{Connection: "crm"})
			stolen := browser{}
			for name := range b {
				stolen[name] = other[CookieName(st.Flow)]
			}
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), stolen.cookie)
			return err
		}, ErrBrowser, true},
		"no state": {func(w *world, b browser, q url.Values) error {
			_, err := w.Callback(context.Background(), path, url.Values{"code": {"c"}}, b.cookie)
			return err
		}, ErrUnknown, true},
		"two states": {func(w *world, b browser, q url.Values) error {
			v := back(q.Get("state"))
			v.Add("state", q.Get("state"))
			_, err := w.Callback(context.Background(), path, v, b.cookie)
			return err
		}, ErrUnknown, true},
		"a state that nobody made": {func(w *world, b browser, q url.Values) error {
			_, err := w.Callback(context.Background(), path, back(random()), b.cookie)
			return err
		}, ErrUnknown, true},
		"a state off by one bit": {func(w *world, b browser, q url.Values) error {
			s := q.Get("state")
			_, err := w.Callback(context.Background(), path, back(s[:42]+string(s[42]^1)), b.cookie)
			return err
		}, ErrUnknown, true},
		"a state used twice": {func(w *world, b browser, q url.Values) error {
			if _, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie); err != nil {
				return err
			}
			w.asked = nil
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie)
			return err
		}, ErrUnknown, false},
		"another connection of the name": {func(w *world, b browser, q url.Values) error {
			w.define("crm", func(d *freshet.Definition) { d.ID = "id-other" })
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie)
			return err
		}, ErrChanged, false},
		"S04 another provider by now": {func(w *world, b browser, q url.Values) error {
			w.define("crm", func(d *freshet.Definition) { d.Provider.TokenURL = "https://evil.example/token" })
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie)
			return err
		}, ErrChanged, false},
		"S04 another issuer": {func(w *world, b browser, q url.Values) error {
			w.define("crm", func(d *freshet.Definition) { d.Provider.Issuer = "https://auth.example" })
			st, q := w.begin(b, Request{Connection: "crm"})
			_, err := w.Callback(context.Background(), path, back(q.Get("state"), "iss", "https://evil.example"), b.cookie)
			if s, _ := w.Status(context.Background(), st.Flow); s.State != Failed {
				w.t.Errorf("the flow is %+v", s)
			}
			return err
		}, grant.ErrMixUp, true},
		"S04 another client's redirect URI": {func(w *world, b browser, q url.Values) error {
			w.define("own", func(d *freshet.Definition) { d.Client.RedirectURL = redirect + "/acme" })
			_, q = w.begin(b, Request{Connection: "own"})
			_, err := w.Callback(context.Background(), path+"/evil", back(q.Get("state")), b.cookie)
			return err
		}, grant.ErrMixUp, true},
		"the connection is gone": {func(w *world, b browser, q url.Values) error {
			delete(w.defs, "crm")
			_, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie)
			return err
		}, ErrChanged, false},
	} {
		t.Run("S01 "+name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			defer w.close()
			b := browser{}
			st, q := w.begin(b, Request{Connection: "crm"})
			if err := c.do(w, b, q); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if n := w.requests(); n != 0 {
				t.Errorf("%d token requests were sent", n)
			}
			if s, err := w.Status(context.Background(), st.Flow); err != nil || (s.State == Pending) != c.left {
				t.Errorf("the flow is %+v, %v", s, err)
			}
		})
	}
	t.Run("S01 ten minutes are over", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, dir)
			defer w.close()
			b := browser{}
			st, q := w.begin(b, Request{Connection: "crm"})
			time.Sleep(Lifetime)
			if _, err := w.Callback(context.Background(), path, back(q.Get("state")), b.cookie); !errors.Is(err, ErrUnknown) {
				t.Errorf("%v", err)
			}
			if s, _ := w.Status(context.Background(), st.Flow); s.State != Failed || s.Detail == "" {
				t.Errorf("%+v", s)
			}
			if w.requests() != 0 {
				t.Error("a token request was sent")
			}
		})
	})
}

func TestS01_a_link_belongs_to_the_first_browser(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	ctx := context.Background()
	st, err := w.Start(ctx, Request{Connection: "crm"})
	if err != nil {
		t.Fatal(err)
	}
	ticket := st.Link[strings.LastIndex(st.Link, "/")+1:]
	id, secret, _ := strings.Cut(ticket, ".")
	for _, wrong := range []string{"", ".", id, id + ".", id + "." + random(), "x." + secret, secret} {
		if _, err := w.Open(ctx, wrong, browser{}.cookie); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q opens: %v", wrong, err)
		}
	}
	// Many at once: one of them gets it.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []Opened
	for range 12 {
		wg.Go(func() {
			o, err := w.Open(ctx, ticket, browser{}.cookie)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got = append(got, o)
			} else if !errors.Is(err, ErrBrowser) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Fatalf("%d browsers have it", len(got))
	}
	b := browser{CookieName(id): got[0].Cookie}
	if again, err := w.Open(ctx, ticket, b.cookie); err != nil || again.Cookie != got[0].Cookie || again.URL != got[0].URL {
		t.Errorf("the same browser again: %v", err)
	}
}

func TestFlowEnds(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(grant.Ask) (grant.Outcome, error)
		q      []string
		want   string
		sent   int
	}{
		"the person refuses": {nil, []string{"error", "access_denied", "error_description", "No\x1b[31m <b>way</b>"}, "access_denied", 0},
		"the code is no good": {func(grant.Ask) (grant.Outcome, error) {
			return grant.Outcome{Err: &grant.Error{Class: grant.Permanent, Code: "invalid_grant", Status: 400}}, nil
		}, nil, "invalid_grant", 1},
		"S10 another account": {func(grant.Ask) (grant.Outcome, error) {
			return grant.Outcome{Token: &freshet.Token{}}, &refresh.SubjectError{Name: "crm", Had: "ann", Got: "bob"}
		}, nil, "other_account", 1},
		"F25 another connection has the grant": {func(grant.Ask) (grant.Outcome, error) {
			return grant.Outcome{Token: &freshet.Token{}}, &refresh.DuplicateError{Name: "crm", Other: "crm2"}
		}, nil, "crm2", 1},
		"the store fails": {func(grant.Ask) (grant.Outcome, error) { return grant.Outcome{}, errors.New("/var/db: secret detail") }, nil, "could not be stored", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			defer w.close()
			if c.answer != nil {
				w.answer = c.answer
			}
			b := browser{}
			st, q := w.begin(b, Request{Connection: "crm"})
			v := back(q.Get("state"), c.q...)
			if c.q != nil {
				v.Del("code")
			}
			l, err := w.Callback(context.Background(), path, v, b.cookie)
			if err != nil || l.Done || !strings.Contains(l.Detail, c.want) {
				t.Errorf("%+v, %v; want %q", l, err, c.want)
			}
			s, err := w.Status(context.Background(), st.Flow)
			if err != nil || s.State != Failed || s.Detail != l.Detail || strings.ContainsAny(s.Detail, "\x1b") || strings.Contains(s.Detail, "/var/db") {
				t.Errorf("the flow is %+v, %v", s, err)
			}
			if n := w.requests(); n != c.sent {
				t.Errorf("%d token requests, want %d", n, c.sent)
			}
		})
	}
}

// F09: a process that dies with the code in the air leaves a flow that says so.
func TestF09_a_code_in_the_air_is_not_sent_again(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	ctx := context.Background()
	b := browser{}
	st, q := w.begin(b, Request{Connection: "crm"})
	if _, err := w.store.TakeFlow(ctx, st.Flow); err != nil { // and dies
		t.Fatal(err)
	}
	if s, err := w.Status(ctx, st.Flow); err != nil || s.State != Failed || !strings.Contains(s.Detail, "start again") {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := w.Callback(ctx, path, back(q.Get("state")), b.cookie); !errors.Is(err, ErrUnknown) || w.requests() != 0 {
		t.Errorf("the code went out again: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	ctx := context.Background()
	w.define("machine", func(d *freshet.Definition) {
		d.Connection.Grant, d.Provider.AuthorizationURL = freshet.GrantClientCredentials, ""
	})
	w.define("elsewhere", func(d *freshet.Definition) { d.Client.RedirectURL = "https://other.example/cb" })
	w.define("nodevice", func(d *freshet.Definition) { d.Provider.DeviceAuthorizationURL = "" })
	var ge *GrantError
	if _, err := w.Start(ctx, Request{Connection: "machine"}); !errors.As(err, &ge) {
		t.Errorf("client_credentials: %v", err)
	}
	if _, err := w.Start(ctx, Request{Connection: "elsewhere"}); !errors.As(err, &ge) || !strings.Contains(err.Error(), callback) {
		t.Errorf("a redirect URI elsewhere: %v", err)
	}
	if _, err := w.StartDevice(ctx, Request{Connection: "nodevice"}); !errors.As(err, &ge) {
		t.Errorf("no device endpoint: %v", err)
	}
	if _, err := w.Start(ctx, Request{Connection: "nobody"}); !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("an unknown connection: %v", err)
	}
	if _, err := w.Status(ctx, "nothing"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown flow: %v", err)
	}
}

func TestS06_only_our_own_paths_are_returned_to(t *testing.T) {
	for _, good := range []string{"/console/", "/console", "/console/connections/crm", "/console/connections?tab=events&x=1", "/apps/shop/users", "/apps"} {
		if err := CheckReturn(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, evil := range []string{
		"", "/", "console", "console/", "https://evil.example", "https://evil.example/console/", "//evil.example", "//evil.example/console/",
		"///evil.example", "/\\evil.example", "\\\\evil.example", "/%2f%2fevil.example", "/%5cevil.example", "/console//evil.example",
		"/console/..//evil.example", "/console/../api/v1", "/console/./x", "/console/%2e%2e/x", "/console/%2f%2fevil.example", "/console\\evil",
		"/console/@evil.example", "/console/x:y@evil.example", "user@evil.example", "javascript:alert(1)", "/console/javascript:alert(1)", "data:text/html,x",
		"/consoleevil", "/console.evil.example", "/api/v1/export", "/proxy/crm/x", "/callback/oauth2/start/x", " /console/", "/console/ x", "\t/console/",
		"/console/\r\nSet-Cookie: a=b", "/console/\x00", "/console/é", "/console/<script>", "/console/\"onload", "/console/x#//evil.example", "/console/x?u=//evil.example",
		"/console/x?u=https:", "/console/x?u=%2f%2f", "/console/" + strings.Repeat("a", 600), "/CONSOLE/", "/console/x?a=b?c", "http:/console/", "/apps/../console/",
	} {
		var re *ReturnError
		if err := CheckReturn(evil); !errors.As(err, &re) {
			t.Errorf("%q is returned to", evil)
		}
	}
}

func TestF42_device_flow(t *testing.T) {
	fail := func(code string, class grant.Class) (grant.Outcome, error) {
		return grant.Outcome{Err: &grant.Error{Class: class, Code: code, Status: 400}}, nil
	}
	type step struct {
		code    string
		class   grant.Class
		restart bool
		after   time.Duration // since the poll before
	}
	for name, c := range map[string]struct {
		steps []step
		state string
		text  string
	}{
		"pending, then done": {[]step{{"authorization_pending", grant.Retryable, false, 5 * time.Second}, {"authorization_pending", grant.Retryable, false, 5 * time.Second}, {"", "", false, 5 * time.Second}}, Done, ""},
		"slow_down sticks": {[]step{{"slow_down", grant.Retryable, false, 5 * time.Second}, {"authorization_pending", grant.Retryable, false, 10 * time.Second},
			{"slow_down", grant.Retryable, false, 10 * time.Second}, {"authorization_pending", grant.Retryable, false, 15 * time.Second}, {"", "", false, 15 * time.Second}}, Done, ""},
		"a restart keeps the pace": {[]step{{"slow_down", grant.Retryable, true, 5 * time.Second}, {"authorization_pending", grant.Retryable, true, 10 * time.Second}, {"", "", false, 10 * time.Second}}, Done, ""},
		"the endpoint fails":       {[]step{{"http_503", grant.Retryable, false, 5 * time.Second}, {"http_503", grant.Retryable, false, 10 * time.Second}, {"", "", false, 20 * time.Second}}, Done, ""},
		"denied":                   {[]step{{"authorization_pending", grant.Retryable, false, 5 * time.Second}, {"access_denied", grant.Permanent, false, 5 * time.Second}}, Failed, "refused"},
		"expired":                  {[]step{{"expired_token", grant.Permanent, false, 5 * time.Second}}, Failed, "in time"},
	} {
		t.Run("F42 "+name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, dir)
				w.device = grant.Device{Code: freshet.NewSecret("device-1"), UserCode: "ABCD", VerificationURI: "https://auth.example/d", Interval: 5 * time.Second, ExpiresAt: time.Now().Add(15 * time.Minute)}
				last, n := time.Now(), 0
				w.answer = func(a grant.Ask) (grant.Outcome, error) {
					if n >= len(c.steps) {
						t.Errorf("poll %d, after the end", n+1)
						return grant.Outcome{Token: &freshet.Token{}}, nil
					}
					s := c.steps[n]
					n++
					if a.DeviceCode.Reveal() != "device-1" {
						t.Errorf("polled with %v", a)
					}
					// The poller looks once a second, never too early.
					if got := time.Since(last); got < s.after || got > s.after+2*time.Second {
						t.Errorf("poll %d came after %v, want %v", n, got, s.after)
					}
					last = time.Now()
					if s.code == "" {
						return grant.Outcome{Token: &freshet.Token{}}, nil
					}
					return fail(s.code, s.class)
				}
				d, err := w.StartDevice(context.Background(), Request{Connection: "crm"})
				if err != nil || d.UserCode != "ABCD" {
					t.Fatal(d, err)
				}
				for i, s := range c.steps {
					for { // until the poll of this step
						time.Sleep(time.Second)
						synctest.Wait()
						w.mu.Lock()
						polled := n > i
						w.mu.Unlock()
						if polled {
							break
						}
					}
					if s.restart {
						w.Flows.Close()
						w.start()
					}
				}
				time.Sleep(2 * time.Minute)
				st, err := w.Status(context.Background(), d.Flow)
				if err != nil || st.State != c.state || !strings.Contains(st.Detail, c.text) {
					t.Errorf("%+v, %v", st, err)
				}
				if n != len(c.steps) {
					t.Errorf("%d polls, want %d", n, len(c.steps))
				}
				w.close()
			})
		})
	}
	t.Run("F42 nobody comes", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, dir)
			defer w.close()
			w.device = grant.Device{Code: freshet.NewSecret("device-1"), UserCode: "ABCD", Interval: 5 * time.Second, ExpiresAt: time.Now().Add(30 * time.Second)}
			w.answer = func(grant.Ask) (grant.Outcome, error) { return fail("authorization_pending", grant.Retryable) }
			d, err := w.StartDevice(context.Background(), Request{Connection: "crm"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			if st, _ := w.Status(context.Background(), d.Flow); st.State != Failed || !strings.Contains(st.Detail, "in time") {
				t.Errorf("%+v", st)
			}
			if n := w.requests(); n > 6 {
				t.Errorf("%d polls in 30 s at an interval of 5 s", n)
			}
		})
	})
}
