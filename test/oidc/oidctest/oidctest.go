// Package oidctest starts the certified OpenID provider that lies in test/oidc
// and walks through its pages as a person would.
//
// It needs node and npm. Without them a test is skipped with a line that says
// so, and fails where CI=true: there nothing may be left out.
package oidctest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Client is a registration in the words of OpenID Connect Dynamic Client
// Registration: client_id, client_secret, redirect_uris, and so on.
type Client map[string]any

// Options say what the server knows.
type Options struct {
	Clients   []Client
	AccessTTL time.Duration // of access tokens; 0: a minute
}

// A Server is a running provider.
type Server struct {
	Issuer string
	PID    int

	transport *http.Transport
}

// ready is how long the provider may take to start.
const ready = time.Minute

// Start installs what the server needs, if that has not been done, and serves
// until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	node := find(t, "node")
	folder := folder()
	if err := install(t, folder); err != nil {
		unable(t, "the certified provider cannot be installed: "+err.Error())
	}

	cmd := exec.Command(node, "server.mjs")
	cmd.Dir = folder
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The end of its input ends it; a server that hangs is killed by its id.
		stdin.Close()
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Logf("the certified provider ended: %v", err)
		}
		if t.Failed() {
			t.Logf("the certified provider said:\n%s", log.String())
		}
	})

	settings := map[string]any{"clients": o.Clients}
	if o.AccessTTL > 0 {
		settings["access_ttl"] = int(o.AccessTTL / time.Second)
	}
	b, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(ready, func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	watchdog.Stop()
	s := &Server{}
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		t.Fatalf("the certified provider did not start: %v", err)
	}
	s.transport = &http.Transport{}
	t.Cleanup(s.transport.CloseIdleConnections)
	return s
}

// folder returns test/oidc.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

func find(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		unable(t, program+" is not installed; Node.js 20 or newer brings it")
	}
	return path
}

// unable leaves the test out, or fails it where nothing may be left out.
func unable(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("left out: " + why)
}

var installing sync.Mutex

// install puts what package-lock.json names into node_modules, beside it first,
// so that test binaries that run at the same time never see a half of it.
func install(t testing.TB, folder string) error {
	installing.Lock()
	defer installing.Unlock()
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	modules := filepath.Join(folder, "node_modules")
	stamp := filepath.Join(modules, ".freshet-lock")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	npm := find(t, "npm")
	made, err := os.MkdirTemp(folder, ".installing-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(made, name), b, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts")
	cmd.Dir = made
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(made, "node_modules", ".freshet-lock"), lock, 0o644); err != nil {
		return err
	}
	old := filepath.Join(made, "old")
	if err := os.Rename(modules, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = os.Rename(filepath.Join(made, "node_modules"), modules)
	if have, same := os.ReadFile(stamp); same == nil && bytes.Equal(have, lock) {
		return nil // ours, or that of another test that was quicker
	}
	return err
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	formInput  = regexp.MustCompile(`<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"`)
)

// A browser is one person's, with its cookies. It follows redirects inside the
// provider only.
func (s *Server) browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Authorize follows an authorization link as a person who agrees, and returns
// what comes to the client's redirect URI. login_hint in the link says who the
// person is: alice by default, and nobody says no.
func (s *Server) Authorize(t testing.TB, link string) url.Values {
	t.Helper()
	res := s.walk(t, s.browser(t), "GET", link, nil)
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("authorize: %s %s", res.Status, b)
	}
	return to.Query()
}

// ApproveDevice opens the address that a device shows, user code included, and
// says yes.
func (s *Server) ApproveDevice(t testing.TB, link string) {
	t.Helper()
	browser := s.browser(t)
	method, form := "GET", url.Values(nil)
	for range 5 {
		res := s.walk(t, browser, method, link, form)
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(`id="done"`)) {
			return
		}
		action := formAction.FindSubmatch(b)
		if action == nil {
			t.Fatalf("device: %s %s", res.Status, b)
		}
		method, link, form = "POST", html.UnescapeString(string(action[1])), url.Values{"confirm": {"yes"}}
		for _, m := range formInput.FindAllSubmatch(b, -1) {
			form.Set(string(m[1]), html.UnescapeString(string(m[2])))
		}
		// The first page only brings the code along; the second one asks.
		if !bytes.Contains(b, []byte("confirm")) {
			form.Del("confirm")
		}
	}
	t.Fatal("device: the pages have no end")
}

// walk follows redirects inside the provider and returns the page, or the
// redirect that leads out.
func (s *Server) walk(t testing.TB, browser *http.Client, method, link string, form url.Values) *http.Response {
	t.Helper()
	for range 10 {
		req, err := http.NewRequestWithContext(t.Context(), method, link, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if method == "POST" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		to, err := res.Location()
		if err != nil || to.Scheme+"://"+to.Host != s.Issuer {
			return res
		}
		res.Body.Close()
		method, link, form = "GET", to.String(), nil
	}
	t.Fatal("the provider redirects without end")
	return nil
}
