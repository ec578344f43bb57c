package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/examples"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/resource"
)

// demoLife is how long the demo's tokens live: short enough to watch.
const demoLife = 20 * time.Second

type demoCmd struct {
	Once   bool   `help:"Use a temporary directory, end after the scenario, and fail if any step did."`
	Listen string `env:"FRESHET_LISTEN" placeholder:"ADDR" help:"Where the server listens; without it a free port."`
	Data   string `default:"freshet-demo" env:"FRESHET_DATA" placeholder:"DIR" help:"The demo's data directory; made anew each time it is empty."`
}

// Help gives the example that --help shows.
func (demoCmd) Help() string {
	return "Starts a provider and a server on this machine and walks through the life of a token. Example: freshet demo --once"
}

// Run plays the scenario.
func (c *demoCmd) Run(e *env) (err error) {
	ctx := e.ctx
	if c.Once {
		dir, err := os.MkdirTemp("", "freshet-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Data = dir
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
	}
	d := &demo{env: e, out: e.stdout, ctx: ctx}
	key, pub, err := demoKey()
	if err != nil {
		return err
	}
	em, err := emulator.New(emulator.Options{
		Default: emulator.Profile{Lifetime: freshet.Duration(demoLife)},
		Clients: []emulator.Client{{ID: "example-service-account", PublicKey: pub}, {ID: "grace-example", Profile: emulator.Profile{AutoConsent: true}},
			// Workflows call a token spent a minute early: theirs live longer.
			{ID: "login", Profile: emulator.Profile{Lifetime: freshet.Duration(10 * time.Minute), Expires: "minutes", NoRefresh: true,
				Names: map[string]string{"access_token": "authToken", "expires_in": "expiresInMinutes", "token_type": "", "scope": ""}}}},
		Paths: map[string]string{"/auth": "/login"}, // where the workflows of the example log in
	})
	if err != nil {
		return err
	}
	defer em.Close()
	if d.provider, err = em.Start("127.0.0.1:0"); err != nil {
		return err
	}
	d.em = em
	listen := c.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	d.say("Freshet keeps access tokens fresh. Here is the life of one, on this machine alone.")
	d.step("A provider and a server")
	d.note("provider   %s   an authorization server and its API; its tokens live %v", d.provider, demoLife)
	s, err := (&serveCmd{Data: c.Data, Listen: listen, Audit: "batched", LogLevel: "error", LogFormat: "text", Drain: 10 * time.Second}).start(ctx, e.stderr)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, s.Close(stop))
	}()
	d.note("server     %s   its store is %s, sealed with %s/master.key", s.URL, c.Data, c.Data)
	d.client, d.url, d.key = api.New(s.URL, s.AdminKey), s.URL, s.AdminKey
	if err := d.play(s, key); err != nil {
		return err
	}
	if c.Once {
		d.say("\nEvery step held.")
		return nil
	}
	d.next(c.Data)
	<-e.ctx.Done()
	return nil
}

// A demo is one showing.
type demo struct {
	env      *env
	ctx      context.Context
	out      io.Writer
	em       *emulator.Emulator
	client   *api.Client
	provider string
	url, key string
	steps    int
}

func (d *demo) say(format string, args ...any)  { fmt.Fprintf(d.out, format+"\n", args...) }
func (d *demo) note(format string, args ...any) { fmt.Fprintf(d.out, "   "+format+"\n", args...) }
func (d *demo) step(title string) {
	d.steps++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.steps, title)
}

const (
	machineConn = "example-client-credentials"
	personConn  = "example-authorization-code"
	loginConn   = "example-login"
)

// play is the scenario. Each step checks what it shows.
func (d *demo) play(s *server, key string) error {
	d.step("Connections: YAML, one for each grant   (examples/connections, freshet apply -f)")
	if err := d.apply(s, key); err != nil {
		return err
	}

	d.step("A token is obtained                     (freshet token " + machineConn + ")")
	first, err := d.client.Token(d.ctx, machineConn)
	if err != nil {
		return err
	}
	got := time.Now()
	d.note("%s   generation %d, %s left", masked(first.AccessToken), first.Generation, left(first.ExpiresAt))

	d.step("and used, without anybody holding it    (freshet call " + machineConn + " GET /me)")
	if err := d.call(machineConn, first.Generation, false); err != nil {
		return err
	}

	d.step("A person consents, once                 (freshet connect " + personConn + ")")
	if err := d.connect(personConn); err != nil {
		return err
	}
	if err := d.call(personConn, 1, false); err != nil {
		return err
	}

	d.step("A login that is no OAuth: {\"authToken\",\"expiresInMinutes\"}")
	if err := d.call(loginConn, 1, false); err != nil {
		return err
	}

	if err := d.workflows(s); err != nil {
		return err
	}

	d.step("The provider withdraws a token early: refused, refreshed, sent again; the caller sees 200")
	d.em.KillAccess("grace-example")
	if err := d.call(personConn, 2, true); err != nil {
		return err
	}

	d.step(fmt.Sprintf("%v pass: the first token expires", demoLife))
	if err := d.wait(got.Add(demoLife + 500*time.Millisecond)); err != nil {
		return err
	}
	status, err := d.direct(first.AccessToken)
	if err != nil {
		return err
	}
	if status != http.StatusUnauthorized {
		return fmt.Errorf("the first token still works after %v: HTTP %d", demoLife, status)
	}
	d.note("the API refuses the first token: HTTP %d", status)

	d.step("A hundred callers at once get the next one")
	if err := d.crowd(100); err != nil {
		return err
	}

	d.step("What the provider saw")
	if bad := d.em.CheckOracles(nil); len(bad) > 0 {
		return fmt.Errorf("the provider saw something wrong: %s", strings.Join(bad, "; "))
	}
	d.note("%d token requests, never two at once for one grant, no refresh token twice", d.em.Count("token"))
	var events struct {
		Events []struct {
			Type       string `json:"type"`
			Connection string `json:"connection"`
		} `json:"events"`
	}
	if err := d.client.Do(d.ctx, "GET", "/api/v1/connections/"+machineConn+"/events", nil, &events); err != nil {
		return err
	}
	for _, ev := range events.Events {
		d.note("event      %-22s %s", ev.Type, ev.Connection)
	}
	return nil
}

// apply brings the example connections into the server.
func (d *demo) apply(s *server, key string) error {
	res, err := d.bring(s, examples.Connections, "connections", demoValues{"EMULATOR": d.provider, "EXAMPLE_SECRET": "demo-" + rand.Text(), "EXAMPLE_PASSWORD": "demo-" + rand.Text(), "EXAMPLE_KEY": key})
	if err != nil {
		return err
	}
	var made []string
	for _, e := range res.Effects {
		if e.Kind == "connections" {
			made = append(made, strings.TrimPrefix(e.Name, "example-"))
		}
	}
	slices.Sort(made)
	d.note("example-{%s}", strings.Join(made, ","))
	return nil
}

// bring applies the files of a folder of examples.
func (d *demo) bring(s *server, all embed.FS, folder string, values demoValues) (*resource.Result, error) {
	names, err := fs.Glob(all, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var files []resource.File
	for _, n := range names {
		b, err := all.ReadFile(n)
		if err != nil {
			return nil, err
		}
		files = append(files, resource.File{Name: "examples/" + n, Content: string(b)})
	}
	set, err := s.Book.Registry().Decode(files, demoLocal{values, all})
	if err != nil {
		return nil, err
	}
	return s.Book.Apply(d.ctx, set, false)
}

// demoValues are the variables that the example files name.
type demoValues map[string]string

// A demoLocal is where example files look beside themselves.
type demoLocal struct {
	values demoValues
	files  embed.FS
}

// Env returns a variable.
func (v demoLocal) Env(name string) (string, bool) { s, ok := v.values[name]; return s, ok }

// Secret refuses: the example files name no files.
func (demoLocal) Secret(_, path string) (freshet.Secret, string, error) {
	return freshet.Secret{}, "", fmt.Errorf("there is no file %s", path)
}

// Document reads a file that lies beside an example.
func (v demoLocal) Document(from, name string) (string, error) {
	b, err := v.files.ReadFile(path.Join(path.Dir(strings.TrimPrefix(from, "examples/")), name))
	return string(b), err
}

// call makes one call through the proxy and checks whose token the API saw.
func (d *demo) call(name string, generation int64, refreshed bool) error {
	res, body, err := d.proxy(name)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /proxy/%s/me: HTTP %d: %s", name, res.StatusCode, body)
	}
	var c api.Connection
	if err := d.client.Do(d.ctx, "GET", "/api/v1/connections/"+name, nil, &c); err != nil {
		return err
	}
	if c.Generation != generation || (res.Header.Get("Freshet-Refreshed") == "true") != refreshed {
		return fmt.Errorf("%s is at generation %d (Freshet-Refreshed: %q), expected %d", name, c.Generation, res.Header.Get("Freshet-Refreshed"), generation)
	}
	extra := ""
	if refreshed {
		extra = "   Freshet-Refreshed: true"
	}
	d.note("GET /proxy/%s/me   HTTP %d, generation %d%s", name, res.StatusCode, c.Generation, extra)
	return nil
}

func (d *demo) proxy(name string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(d.ctx, "GET", d.url+"/proxy/"+name+"/me", nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res, string(b), err
}

// connect plays the person: it opens the link, and the provider's page
// consents by itself.
func (d *demo) connect(name string) error {
	var flow struct {
		URL string `json:"url"`
	}
	if err := d.client.Do(d.ctx, "POST", "/api/v1/connections/"+name+"/connect", map[string]any{}, &flow); err != nil {
		return err
	}
	if err := walk(d.ctx, flow.URL); err != nil {
		return fmt.Errorf("consent: %w", err)
	}
	var c api.Connection
	if err := d.client.Do(d.ctx, "GET", "/api/v1/connections/"+name, nil, &c); err != nil {
		return err
	}
	if c.State != "ok" {
		return fmt.Errorf("%s is %s after the consent (%s)", name, c.State, c.Reason)
	}
	d.note("link -> consent page -> callback: %s", c.State)
	return nil
}

// direct calls the API with a token itself, as nobody needs to.
func (d *demo) direct(token string) (int, error) {
	req, err := http.NewRequestWithContext(d.ctx, "GET", d.provider+"/api/me", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// wait lets time pass and tells of what the background does meanwhile.
func (d *demo) wait(until time.Time) error {
	seen := int64(1)
	for time.Now().Before(until) {
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		var c api.Connection
		if err := d.client.Do(d.ctx, "GET", "/api/v1/connections/"+machineConn, nil, &c); err != nil {
			return err
		}
		if c.Generation > seen {
			seen = c.Generation
			d.note("%.0f s before the end, with nobody asking: generation %d", max(time.Until(until).Seconds(), 0), c.Generation)
		}
	}
	if seen < 2 {
		return errors.New("the background did not refresh before the expiry")
	}
	return nil
}

// crowd makes n calls at once and checks that all succeed with a live token.
func (d *demo) crowd(n int) error {
	var wg sync.WaitGroup
	var good atomic.Int64
	began := time.Now()
	for range n {
		wg.Go(func() {
			if res, _, err := d.proxy(machineConn); err == nil && res.StatusCode == http.StatusOK {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if int(good.Load()) != n {
		return fmt.Errorf("%d of %d calls succeeded", good.Load(), n)
	}
	d.note("%d of %d calls answered HTTP 200 in %v", n, n, time.Since(began).Round(time.Millisecond))
	return nil
}

// next tells what to try.
func (d *demo) next(data string) {
	d.say("\nThe server goes on: %s. In another terminal:\n", d.url)
	for _, line := range []string{
		"freshet get connections --data " + data,
		"freshet token " + machineConn + " --data " + data,
		"freshet call " + personConn + " GET /me --data " + data,
		"freshet run CallMyAPI --input '{\"api\":\"/api/me\"}' --journal --data " + data,
		"freshet runs --data " + data,
		"freshet connect example-device-code --device --data " + data,
		"freshet events --follow --data " + data,
		fmt.Sprintf("curl -H \"Authorization: Bearer $(cat %s/admin.key)\" %s/proxy/%s/echo/hello", data, d.url, machineConn),
		fmt.Sprintf("curl -d '{\"at\":\"refresh\",\"mode\":\"drop\"}' %s/_next        # the provider loses its next answer", d.provider),
	} {
		d.say("  %s", line)
	}
	d.say("\n(freshet is go run ./cmd/freshet here.) Ctrl-C ends it.")
}

// masked shows as much of a token as tells two apart.
func masked(token string) string {
	if len(token) < 12 {
		return "…"
	}
	return token[:6] + "…" + fmt.Sprintf("(%d characters)", len(token))
}

func left(t *time.Time) string {
	if t == nil {
		return "no stated end"
	}
	return time.Until(*t).Round(time.Second).String()
}

// demoKey makes the key pair of the JWT bearer example.
func demoKey() (private, public string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})), nil
}

// walk follows a link as a browser would, cookies and all, to its last page.
func walk(ctx context.Context, link string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	hc := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	req, err := http.NewRequestWithContext(ctx, "GET", link, nil)
	if err != nil {
		return err
	}
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		var p api.Problem
		if json.Unmarshal(b, &p) == nil && p.Detail != "" {
			return &p
		}
		return fmt.Errorf("HTTP %d at %s", res.StatusCode, res.Request.URL.Path)
	}
	return nil
}
