package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	cdp "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

const connectConfig = `
providers:
  p: { authorization_url: "${EMULATOR}/authorize", token_url: "${EMULATOR}/token", client_auth: basic }
clients:
  app: { provider: p, id: strict-app, secret: app-secret-1 }
connections:
  crm:    { client: app, grant: authorization_code, scopes: [read], api: { base_url: "${EMULATOR}/api" } }
  denied: { client: app, grant: authorization_code, scopes: [read], api: { base_url: "${EMULATOR}/api" } }
`

// A person is somebody with a browser that keeps cookies.
type person struct {
	*http.Client
	stop string // a path at which no redirect is followed any more
}

func newPerson(t testing.TB) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{}
	p.Client = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if p.stop != "" && strings.HasPrefix(r.URL.Path, p.stop) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return p
}

// page opens an address and returns where it led and what stood there.
func (p *person) page(t testing.TB, address string, form url.Values) (*http.Response, string) {
	t.Helper()
	var res *http.Response
	var err error
	if form == nil {
		res, err = p.Get(address)
	} else {
		res, err = p.PostForm(address, form)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

var hidden = regexp.MustCompile(`name="request" value="([^"]+)"`)

// decide opens a link to the provider's page and presses one of its buttons.
func (p *person) decide(t testing.TB, link, decision string) (*http.Response, string) {
	t.Helper()
	res, page := p.page(t, link, nil)
	m := hidden.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("%s led to %s, which is no consent page: %s", link, res.Request.URL.Redacted(), page)
	}
	to := *res.Request.URL
	to.RawQuery = ""
	return p.page(t, to.String(), url.Values{"request": {m[1]}, "decision": {decision}})
}

// TestConnect walks an authorization with a plain client: redirects, cookies
// and forms.
func TestConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Picky: true, PKCE: "required"}}, setup{config: connectConfig})
	begin := func(t *testing.T, name string) *api.Flow {
		t.Helper()
		f, err := w.client.Connect(t.Context(), name, api.ConnectRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	state := func(t *testing.T, f *api.Flow) *api.Flow {
		t.Helper()
		now, err := w.client.Flow(t.Context(), f.Flow, 0)
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	t.Run("cap023 consent, callback, exchange: the connection is ready", func(t *testing.T) {
		f := begin(t, "crm")
		res, page := newPerson(t).decide(t, f.URL, "allow")
		if res.StatusCode != http.StatusOK || !strings.Contains(page, "Connected") || !strings.Contains(page, "crm") {
			t.Errorf("%d: %s", res.StatusCode, page)
		}
		if q := res.Request.URL.Query(); q.Has("code") || q.Has("state") || !strings.HasPrefix(res.Request.URL.String(), w.url) {
			t.Errorf("the last page is at %s", res.Request.URL)
		}
		if now := state(t, f); now.State != api.FlowDone {
			t.Errorf("the flow is %s (%s)", now.State, now.Detail)
		}
		if c := w.connection(t, "crm"); c.State != "ok" || c.Generation != 1 {
			t.Errorf("%s (%s), generation %d", c.State, c.Reason, c.Generation)
		}
		if r := w.call(t, "GET", "crm", "/me", nil); r.status != http.StatusOK {
			t.Error(r)
		}
		emulatortest.NoCanary(t, w.em, "the result page", []byte(page))
	})
	t.Run("cap023 a refused consent shows the provider's own text, as text", func(t *testing.T) {
		const said = `Ask <b>Bob</b> & "Eve" first`
		w.next(t, emulator.Fault{At: "authorize", Mode: emulator.Modes{"deny:" + said}})
		before := w.em.Count("token")
		f := begin(t, "denied")
		res, page := newPerson(t).page(t, f.URL, nil)
		if res.StatusCode != http.StatusOK || !strings.Contains(page, "Not connected") || !strings.Contains(page, "Ask &lt;b&gt;Bob&lt;/b&gt; &amp; &#34;Eve&#34; first") {
			t.Errorf("%d: %s", res.StatusCode, page)
		}
		if now := state(t, f); now.State != api.FlowFailed || !strings.Contains(now.Detail, said) || !strings.Contains(now.Detail, "access_denied") {
			t.Errorf("the flow is %s: %q", now.State, now.Detail)
		}
		if c := w.connection(t, "denied"); c.State != "reauth" || c.Reason != "never_authorized" {
			t.Errorf("%s (%s)", c.State, c.Reason)
		}
		if n := w.em.Count("token") - before; n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("cap023 S01 the state is checked: changed, from another browser, or used before", func(t *testing.T) {
		p := newPerson(t)
		p.stop = "/callback/oauth2"
		f := begin(t, "denied")
		res, _ := p.decide(t, f.URL, "allow")
		back, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		before := w.em.Count("token")
		changed := *back
		q := changed.Query()
		q.Set("state", strings.Repeat("x", len(q.Get("state"))))
		changed.RawQuery = q.Encode()
		for what, try := range map[string]func() (*http.Response, string){
			"a changed state": func() (*http.Response, string) { return p.page(t, changed.String(), nil) },
			"another browser": func() (*http.Response, string) { return newPerson(t).page(t, back.String(), nil) },
		} {
			if res, page := try(); res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("%s: %d: %s", what, res.StatusCode, page)
			}
		}
		if n := w.em.Count("token") - before; n != 0 {
			t.Errorf("%d token requests", n)
		}
		if res, page := p.page(t, back.String(), nil); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("the right browser: %d: %s", res.StatusCode, page)
		}
		if now := state(t, f); now.State != api.FlowDone {
			t.Errorf("the flow is %s (%s)", now.State, now.Detail)
		}
		if res, page := p.page(t, back.String(), nil); res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("used before: %d: %s", res.StatusCode, page)
		}
		if n := w.em.Count("token") - before; n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
	t.Run("S08 nothing of the walk is in the log", func(t *testing.T) {
		w.stop(t)
		emulatortest.NoCanary(t, w.em, "the server's log", w.err.Bytes())
	})
	w.oracles(t)
}

// chromium finds a browser to walk with.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	unable(t, "there is no Chromium to walk freshet connect with: install the package chromium")
	return ""
}

// tab opens a browser with a profile of its own.
func tab(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	// Not in t.TempDir: a browser may write its last when that is removed.
	profile, err := os.MkdirTemp("", "freshet-e2e-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	ctx, stop := chromedp.NewExecAllocator(ctx, chromedp.ExecPath(chromium(t)), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.UserDataDir(profile), chromedp.WindowSize(900, 640))
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(leave)
	return ctx
}

// look runs an action that yields something.
func look[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestBrowser takes a real browser through freshet connect.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium(t)
	w := newWorld(t, emulator.Options{}, setup{config: connectConfig})
	link := regexp.MustCompile(`http://\S+/callback/oauth2/start/\S+`)
	// connect runs the command, and walks the link that it prints up to one of
	// the provider's two buttons.
	connect := func(t *testing.T, name, button string) (ctx context.Context, command *process) {
		t.Helper()
		command = w.cli(t, "connect", name, "--print")
		var to string
		eventually(t, "the link is printed", func() error {
			if to = link.FindString(command.out.String()); to == "" {
				return io.ErrNoProgress
			}
			return nil
		})
		ctx = tab(t)
		if err := chromedp.Do(ctx, chromedp.Navigate(to), chromedp.WaitVisible("#"+button), chromedp.Click("#"+button), chromedp.WaitVisible("main h1")); err != nil {
			t.Fatal(err)
		}
		return ctx, command
	}
	// clean looks for secrets in everything that the browser keeps.
	clean := func(t *testing.T, ctx context.Context) {
		t.Helper()
		at := look(t, ctx, chromedp.Location())
		if u, err := url.Parse(at); err != nil || u.Query().Has("code") || u.Query().Has("state") || !strings.HasPrefix(at, w.url) {
			t.Errorf("the last page is at %s", at)
		}
		kept := []string{at, look(t, ctx, chromedp.OuterHTML("html"))}
		kept = append(kept, look(t, ctx, chromedp.Evaluate[string](`JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage), document.referrer, name])`)))
		cookies, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{w.url, w.base}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cookies.Cookies {
			kept = append(kept, c.Name+"="+c.Value)
			if !c.HTTPOnly {
				t.Errorf("cookie %s is open to scripts", c.Name)
			}
		}
		history := look(t, ctx, chromedp.NavigationEntries())
		for _, e := range history.Entries {
			if strings.Contains(e.URL, "code=") {
				t.Errorf("the history keeps %s", e.URL)
			}
			kept = append(kept, e.URL)
		}
		emulatortest.NoCanary(t, w.em, "the browser", []byte(strings.Join(kept, "\n")))
		if bytes.Contains([]byte(strings.Join(kept, "\n")), []byte(w.key)) {
			t.Error("the browser holds the admin key")
		}
	}
	t.Run("cap023 somebody agrees", func(t *testing.T) {
		ctx, command := connect(t, "crm", "allow")
		if text := look(t, ctx, chromedp.Text("main")); !strings.Contains(text, "Connected") || !strings.Contains(text, "crm") {
			t.Errorf("the page says %q", text)
		}
		clean(t, ctx)
		shoot(t, ctx, "connected")
		if code := command.exit(t); code != 0 || !strings.Contains(command.out.String(), "connected: crm") {
			t.Errorf("exit %d\n%s%s", code, command.out.String(), command.err.String())
		}
		if r := w.call(t, "GET", "crm", "/me", nil); r.status != http.StatusOK {
			t.Error(r)
		}
		emulatortest.NoCanary(t, w.em, "the command's output", append(command.out.Bytes(), command.err.Bytes()...))
	})
	t.Run("cap023 somebody refuses", func(t *testing.T) {
		ctx, command := connect(t, "denied", "deny")
		if text := look(t, ctx, chromedp.Text("main")); !strings.Contains(text, "Not connected") || !strings.Contains(text, "The resource owner said no.") {
			t.Errorf("the page says %q", text)
		}
		clean(t, ctx)
		shoot(t, ctx, "denied")
		if code := command.exit(t); code != 3 || !strings.Contains(command.err.String(), "The resource owner said no.") || !strings.Contains(command.err.String(), "hint:") {
			t.Errorf("exit %d\n%s%s", code, command.out.String(), command.err.String())
		}
	})
	t.Run("S65 the description of the API needs no script and nothing from elsewhere", func(t *testing.T) {
		ctx := tab(t)
		if err := chromedp.Do(ctx, chromedp.Navigate(w.url+"/api/docs"), chromedp.WaitVisible("main > h1")); err != nil {
			t.Fatal(err)
		}
		if asked := look(t, ctx, chromedp.Evaluate[[]string](`performance.getEntriesByType("resource").map(e => e.name)`)); len(asked) > 0 {
			t.Errorf("the page asks for %q", asked)
		}
		if n := look(t, ctx, chromedp.Evaluate[int](`document.scripts.length`)); n != 0 {
			t.Errorf("%d scripts", n)
		}
		shoot(t, ctx, "docs")
	})
}

// shoot keeps a picture for somebody who wants to look at the pages:
// FRESHET_SCREENSHOTS names the folder.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("FRESHET_SCREENSHOTS")
	if dir == "" {
		return
	}
	time.Sleep(200 * time.Millisecond) // what is drawn settles
	shot, err := chromedp.Call(ctx, cdp.CaptureScreenshot, cdp.CaptureScreenshotParams{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o644); err != nil {
		t.Fatal(err)
	}
}
