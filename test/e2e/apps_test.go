package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

var piece = regexp.MustCompile("(?s)```js\n(.*?)```")

// shopFolder is a copy of the example's folder, with the script of the document
// in place of ours where that is at hand.
func shopFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "shop"), os.DirFS("../../examples/appsmith/shop")); err != nil {
		t.Fatal(err)
	}
	documents := os.Getenv("FRESHET_DOCUMENTS")
	if documents == "" {
		return filepath.Join(dir, "shop")
	}
	files, err := filepath.Glob(filepath.Join(documents, "seeds", "003*.txt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the document is not there: %v %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var pieces []string
	for _, m := range piece.FindAllStringSubmatch(string(b), -1) {
		if strings.Contains(m[1], "(") && !strings.Contains(m[1], "{{") {
			pieces = append(pieces, strings.TrimSpace(m[1]))
		}
	}
	// The first piece closes the object before the others come.
	pieces[0] = strings.TrimSuffix(pieces[0], "}")
	if err := os.WriteFile(filepath.Join(dir, "shop/scripts/js_manage_tokens.js"), []byte(strings.Join(pieces, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "shop")
}

const appsConfig = `
providers:
  p: { token_url: "${EMULATOR}/token", client_auth: basic }
clients:
  app: { provider: p, id: strict-app, secret: app-secret-1 }
connections:
  crm: { client: app, grant: client_credentials, scopes: [read], api: { base_url: "${EMULATOR}/api" } }
apps:
  shop:    { dir: %q, public: true }
  closed:  { dir: %q }
  native:
    public: true
    scripts: { js: "export default { async token() { return await GetAccessToken('crm'); } }" }
    queries:
      as:     { url: "/users?n=25", connection: crm }
      header: { url: "${EMULATOR}/api/me", headers: { Authorization: "Bearer {{js.token.data}}" } }
    pages:
      all: { widgets: [ { type: table, name: All, data: "{{as.data.results}}" }, { type: text, name: Who, text: "by {{header.data.client_id}}" } ] }
`

// open is one request to a page.
func (w *world) open(t testing.TB, method, path, key string, form url.Values, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, b}
}

// TestApps applies a folder as an app, and uses it over HTTP and the command
// line.
func TestApps(t *testing.T) {
	t.Parallel()
	whole := t
	dir := shopFolder(t)
	w := newWorld(t, emulator.Options{}, setup{config: fmt.Sprintf(appsConfig, dir, dir), env: []string{"EXAMPLE_SECRET=pw-of-ada-99"}})
	t.Run("S65 a page is closed without a key, strict in what it loads, and shows no token", func(t *testing.T) {
		if r := w.open(t, "GET", "/apps/closed/users", "", nil); r.status != http.StatusUnauthorized || !r.ours() {
			t.Error(r)
		}
		if r := w.open(t, "GET", "/apps/none/users", "", nil); r.status != http.StatusUnauthorized {
			t.Error("who may not enter learns what there is:", r)
		}
		var made struct{ Key string }
		for name, want := range map[string]int{"run:closed": 200, "run:other": 403, "token:closed": 403} {
			out := w.cli(t, "keys", "create", strings.ReplaceAll(name, ":", "-"), "--scope", name, "--output", "json")
			if out.exit(t) != 0 || json.Unmarshal(out.out.Bytes(), &made) != nil {
				t.Fatal(out.err.String())
			}
			r := w.open(t, "GET", "/apps/closed/users", made.Key, nil)
			if r.status != want {
				t.Errorf("%s: %s", name, r)
			}
			if want != 200 {
				continue
			}
			if csp := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.header)
			}
			if strings.Contains(string(r.body), "<script>") || strings.Contains(string(r.body), made.Key) {
				t.Error(r)
			}
			emulatortest.NoCanary(t, w.em, "the page", r.body)
		}
		if r := w.open(t, "GET", "/apps/shop/nothing", "", nil); r.status != http.StatusNotFound || !strings.Contains(string(r.body), "has no page nothing") {
			t.Error(r)
		}
		if r := w.open(t, "POST", "/apps/shop/users", "", url.Values{"press": {"Again"}}, "Sec-Fetch-Site", "cross-site"); r.status != http.StatusForbidden {
			t.Error("a form of another site is taken:", r)
		}
		if r := w.open(t, "POST", "/apps/shop/users", "", url.Values{"press": {"Again"}}); r.status != http.StatusOK || !strings.Contains(string(r.body), "<td>Ada</td>") {
			t.Error(r)
		}
	})
	t.Run("cap110 a function of the document's object runs by its name, and what it stored is there after a restart", func(t *testing.T) {
		run := func(w *world) string {
			out := w.cli(t, "run", "shop.js_manage_tokens.getAccessToken")
			if out.exit(t) != 0 {
				t.Fatal(out.err.String())
			}
			return strings.TrimSpace(out.out.String())
		}
		before := run(w)
		if err := w.em.Valid(before); err != nil {
			t.Error(err)
		}
		w.stop(t)
		w.server = w.again(whole, nil)
		logins := w.em.Count("jwt_login")
		if after := run(w); after != before || w.em.Count("jwt_login") != logins {
			t.Errorf("after a restart it is another token: %s, %s", before, after)
		}
		out := w.cli(t, "run", "shop.js_manage_tokens.getTokenExpiry", "--input", `"none"`, "--journal")
		if out.exit(t) != 0 || strings.TrimSpace(out.out.String()) != "null" || !strings.Contains(out.err.String(), "Function") {
			t.Errorf("%q %q", out.out.String(), out.err.String())
		}
	})
	t.Run("a query goes as a connection, and a script has its token", func(t *testing.T) {
		r := w.open(t, "GET", "/apps/native/all", "", nil)
		if r.status != http.StatusOK || !strings.Contains(string(r.body), "<td>Ada</td>") || !strings.Contains(string(r.body), "by strict-app") {
			t.Error(r)
		}
		if n := w.em.Count("token"); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	emulatortest.NoCanary(t, w.em, "the log", w.err.Bytes())
}

// TestAppPages opens pages in a real browser.
func TestAppPages(t *testing.T) {
	t.Parallel()
	chromium(t)
	dir := shopFolder(t)
	w := newWorld(t, emulator.Options{Clients: []emulator.Client{{ID: "jwt-login", Profile: emulator.Profile{Format: "jwt", Model: emulator.Rotate, Lifetime: freshet.Duration(4 * time.Second)}}}},
		setup{config: fmt.Sprintf(appsConfig, dir, dir), env: []string{"EXAMPLE_SECRET=pw-of-ada-99"}})
	clean := func(t *testing.T, ctx context.Context) {
		t.Helper()
		kept := []string{look(t, ctx, chromedp.Location()), look(t, ctx, chromedp.OuterHTML("html"))}
		kept = append(kept, look(t, ctx, chromedp.Evaluate[string](`JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage), document.referrer, name, Object.keys(window).map(k => { try { return JSON.stringify(window[k]) } catch { return "" } })])`)))
		for _, s := range look(t, ctx, chromedp.Evaluate[[]string](`Promise.all([...document.scripts].map(s => s.src ? fetch(s.src).then(r => r.text()) : s.textContent))`, chromedp.EvalAwaitPromise)) {
			kept = append(kept, s)
		}
		cookies, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{w.url}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cookies.Cookies {
			kept = append(kept, c.Name+"="+c.Value)
		}
		emulatortest.NoCanary(t, w.em, "the browser", []byte(strings.Join(kept, "\n")))
	}
	cells := `[...document.querySelectorAll("#Table1 tbody tr")].map(r => r.cells[r.cells.length - 1].textContent).join(" ")`
	t.Run("cap118 reload after the expiry shows data with no action, and no token anywhere", func(t *testing.T) {
		ctx := tab(t)
		if err := chromedp.Do(ctx, chromedp.Navigate(w.url+"/apps/shop/users"), chromedp.WaitVisible("#Table1 td")); err != nil {
			t.Fatal(err)
		}
		if got := look(t, ctx, chromedp.Evaluate[string](cells)); got != "Ada Alan Barbara Edsger Frances Grace John Ken Margaret Radia" {
			t.Error(got)
		}
		clean(t, ctx)
		shoot(t, ctx, "app-users")
		eventually(t, "the token is refreshed", func() error {
			if err := chromedp.Do(ctx, chromedp.Reload(), chromedp.WaitVisible("#Table1 td")); err != nil {
				t.Fatal(err)
			}
			if w.em.Count("jwt_refresh") == 0 {
				return fmt.Errorf("it is not needed yet")
			}
			return nil
		})
		if got := look(t, ctx, chromedp.Evaluate[string](cells)); !strings.HasPrefix(got, "Ada") {
			t.Error(got)
		}
		clean(t, ctx)
	})
	t.Run("cap116 a table is sorted, searched and turned over in the browser", func(t *testing.T) {
		ctx := tab(t)
		if err := chromedp.Do(ctx, chromedp.Navigate(w.url+"/apps/native/all"), chromedp.WaitVisible("#All .pager")); err != nil {
			t.Fatal(err)
		}
		state := `[document.querySelectorAll("#All tbody tr").length, document.querySelector("#All .where").textContent, document.querySelector("#All tbody td:nth-child(2)").textContent].join("|")`
		for _, c := range []struct{ do, want string }{
			{`0`, "10|1 of 3|1"},
			{`document.querySelector("#All .on").click()`, "10|2 of 3|11"},
			{`document.querySelector("#All .on").click()`, "5|3 of 3|21"},
			{`document.querySelector("#All th:nth-child(2) button").click()`, "5|3 of 3|21"},
			{`document.querySelector("#All th:nth-child(2) button").click()`, "5|3 of 3|5"},
			{`(() => { const s = document.querySelector("#All input[type=search]"); s.value = "radia"; s.dispatchEvent(new Event("input")); })()`, "2|1 of 1|20"},
		} {
			if got := look(t, ctx, chromedp.Evaluate[string](`(() => { `+c.do+`; return `+state+`; })()`)); got != c.want {
				t.Errorf("%s: %s, want %s", c.do, got, c.want)
			}
		}
	})
	t.Run("cap117 a failed query shows its status, and a button brings new data without a reload", func(t *testing.T) {
		ctx := tab(t)
		w.next(t, emulator.Fault{At: "api", Mode: emulator.Modes{"http_503"}})
		if err := chromedp.Do(ctx, chromedp.Navigate(w.url+"/apps/shop/users"), chromedp.WaitVisible("#Table1 .fault")); err != nil {
			t.Fatal(err)
		}
		if got := look(t, ctx, chromedp.Text("#Table1")); !strings.Contains(got, "503 Service Unavailable") {
			t.Error(got)
		}
		look(t, ctx, chromedp.Evaluate[string](`window.kept = "yes"`))
		if err := chromedp.Do(ctx, chromedp.Click("#Again button"), chromedp.WaitVisible("#Table1 td")); err != nil {
			t.Fatal(err)
		}
		if got := look(t, ctx, chromedp.Evaluate[string](`window.kept + " " + `+cells)); !strings.HasPrefix(got, "yes Ada") {
			t.Error(got)
		}
		clean(t, ctx)
	})
}
