package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/freshet-dev/freshet/internal/emulator"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"freshet": main,
		// What freshet connect opens a link with, on this and other systems.
		"xdg-open": browse, "open": browse,
	})
}

// browse is a person with a browser: it opens the link, presses the first
// button that it finds, and reads the last page.
func browse() {
	jar, err := cookiejar.New(nil)
	if err == nil {
		err = visit(&http.Client{Jar: jar, Timeout: 30 * time.Second}, os.Args[len(os.Args)-1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formHidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	formButton = regexp.MustCompile(`<button name="([^"]*)" value="([^"]*)"`)
)

func visit(c *http.Client, link string) error {
	res, err := c.Get(link)
	if err != nil {
		return err
	}
	page, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return err
	}
	action := formAction.FindSubmatch(page)
	if action == nil || res.StatusCode != http.StatusOK {
		return nil
	}
	to, err := res.Request.URL.Parse(string(action[1]))
	if err != nil {
		return err
	}
	v := url.Values{}
	for _, m := range formHidden.FindAllSubmatch(page, -1) {
		v.Set(string(m[1]), string(m[2]))
	}
	if b := formButton.FindSubmatch(page); b != nil {
		v.Set(string(b[1]), string(b[2]))
	}
	res, err = c.PostForm(to.String(), v)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// The scripts of testdata/script are the command line as people use it: a
// server and its commands are processes, the provider is the emulator in this
// process. Beside testscript's own commands they have those of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FRESHET_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("FRESHET_LISTEN", "127.0.0.1:0")
			repo, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			e.Setenv("REPO", repo)
			// The exports of the documents where they are at hand, else our own like
			// them.
			samples := filepath.Join(repo, "internal", "workflow", "testdata")
			if d := os.Getenv("FRESHET_DOCUMENTS"); d != "" {
				samples = filepath.Join(d, "samples")
			}
			e.Setenv("SAMPLES", samples)
			e.Values[stageKey{}] = &stage{}
			return nil
		},
		Condition: func(c string) (bool, error) {
			if c == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", c)
		},
		Cmds: scriptCommands,
	})
}

// A stage is what a script has besides its files.
type stage struct{ em *emulator.Emulator }

type stageKey struct{}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// emulator [JSON…]: starts a provider whose clients are changed as given;
	// $EMULATOR is its address.
	"emulator": func(ts *testscript.TestScript, neg bool, args []string) {
		em, err := emulator.New(emulator.Options{Paths: map[string]string{"/auth": "/login"}}) // where examples/world-of-workflows logs in
		ts.Check(err)
		base, err := em.Start("127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { em.Close() })
		ts.Setenv("EMULATOR", base)
		ts.Value(stageKey{}).(*stage).em = em
		for _, c := range args {
			ts.Check(em.Change([]byte(c)))
		}
	},
	// client JSON: changes one of its clients.
	"client": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(emulatorOf(ts).Change([]byte(args[0])))
	},
	// fault AT MODE: queues a fault.
	"fault": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(emulatorOf(ts).Next(emulator.Fault{At: args[0], Mode: emulator.Modes{args[1]}}))
	},
	// issue CLIENT FILE [EXPIRES_IN]: somebody consents elsewhere, and the answer
	// is in a file.
	"issue": func(ts *testscript.TestScript, neg bool, args []string) {
		got, err := emulatorOf(ts).Issue(args[0], "", "")
		ts.Check(err)
		answer := got.Answer
		if len(args) > 2 {
			var set map[string]any
			ts.Check(json.Unmarshal(answer, &set))
			set["expires_in"] = json.Number(args[2])
			answer, err = json.Marshal(set)
			ts.Check(err)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), answer, 0o600))
	},
	// fields SET FILE: the fields of examples/kianda with a token set.
	"fields": func(ts *testscript.TestScript, neg bool, args []string) {
		var set map[string]any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &set))
		b, err := json.Marshal(map[string]any{"GrantType": "refresh_token", "ClientId": "keeper", "ClientSecret": "k33per-secret", "RedirectUrl": "https://app.example/back",
			"RefreshToken": set["refresh_token"], "AccessToken": set["access_token"]})
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
	},
	// advance DURATION: lets the provider's clock go on.
	"advance": func(ts *testscript.TestScript, neg bool, args []string) {
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		emulatorOf(ts).Advance(d)
	},
	// counted WHAT N: how many requests of an endpoint or a grant there were.
	"counted": func(ts *testscript.TestScript, neg bool, args []string) {
		if n := emulatorOf(ts).Count(args[0]); strconv.Itoa(n) != args[1] {
			ts.Fatalf("%d requests of %s, want %s", n, args[0], args[1])
		}
	},
	// [!] sent KIND REGEXP: whether a request at an endpoint, its head and body,
	// looks so.
	"sent": func(ts *testscript.TestScript, neg bool, args []string) {
		re := regexp.MustCompile(args[1])
		found := false
		var all []string
		for _, r := range emulatorOf(ts).Requests(args[0]) {
			var b bytes.Buffer
			fmt.Fprintf(&b, "%s %s\n", r.Method, r.URI)
			r.Header.Write(&b)
			b.Write(r.Body)
			found = found || re.Match(b.Bytes())
			all = append(all, b.String())
		}
		if found == neg {
			ts.Fatalf("sent %s: %v; all: %s", args[1], found, strings.Join(all, "\n--\n"))
		}
	},
	// exits CODE COMMAND ARG…: runs it and expects the exit code.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		code := 0
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			code = exit.ExitCode()
		case err != nil:
			ts.Fatalf("%v", err)
		}
		if strconv.Itoa(code) != args[0] {
			ts.Fatalf("exit code %d, want %s", code, args[0])
		}
	},
	// ready DIR: waits until the server of a data directory serves.
	"ready": func(ts *testscript.TestScript, neg bool, args []string) {
		dir := ts.MkAbs(args[0])
		if base, err := awaitServer(dir); err != nil {
			ts.Fatalf("%v", err)
		} else {
			ts.Setenv("SERVER", base)
		}
	},
	// await FILE REGEXP: waits until a file holds it.
	"await": func(ts *testscript.TestScript, neg bool, args []string) {
		re := regexp.MustCompile(args[1])
		err := poll(30*time.Second, func(context.Context) bool {
			b, _ := os.ReadFile(ts.MkAbs(args[0]))
			return re.Match(b)
		})
		if err != nil {
			ts.Fatalf("%s never held %s: %s", args[0], args[1], ts.ReadFile(args[0]))
		}
	},
	// until REGEXP COMMAND ARG…: runs it again and again until its standard output
	// looks so.
	"until": func(ts *testscript.TestScript, neg bool, args []string) {
		re := regexp.MustCompile(args[0])
		if err := poll(30*time.Second, func(context.Context) bool {
			return ts.Exec(args[1], args[2:]...) == nil && re.MatchString(ts.ReadFile("stdout"))
		}); err != nil {
			ts.Fatalf("%s never said %s: %s", strings.Join(args[1:], " "), args[0], ts.ReadFile("stdout"))
		}
	},
	// takeport VAR: listens on a port until the script ends and names its address.
	"takeport": func(ts *testscript.TestScript, neg bool, args []string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		ts.Setenv(args[0], l.Addr().String())
	},
	// sql FILE STATEMENT: changes a database behind everybody's back.
	"sql": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(changeSQL(ts.MkAbs(args[0]), args[1]))
	},
	// damage FILE: overwrites most of it.
	"damage": func(ts *testscript.TestScript, neg bool, args []string) {
		path := ts.MkAbs(args[0])
		b, err := os.ReadFile(path)
		ts.Check(err)
		for i := 4096; i < len(b); i += 512 {
			copy(b[i:], "damage")
		}
		ts.Check(os.WriteFile(path, b, 0o600))
	},
	// setvar NAME: the last standard output, without its line end.
	"setvar": func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	},
	// newkey VAR: a fresh private key, and as a JSON text in VAR_PUBLIC its public
	// half.
	"newkey": func(ts *testscript.TestScript, neg bool, args []string) {
		private, public := keyPair(ts)
		ts.Setenv(args[0], private)
		ts.Setenv(args[0]+"_PUBLIC", strconv.Quote(public))
	},
}

func emulatorOf(ts *testscript.TestScript) *emulator.Emulator {
	em := ts.Value(stageKey{}).(*stage).em
	if em == nil {
		ts.Fatalf("there is no emulator yet")
	}
	return em
}

// poll looks until ok says so. What is waited for is another process.
func poll(most time.Duration, ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok(ctx) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// awaitServer waits until the server of a data directory answers that it is
// ready.
func awaitServer(dir string) (base string, err error) {
	err = poll(30*time.Second, func(ctx context.Context) bool {
		b, err := os.ReadFile(filepath.Join(dir, urlFile))
		if base = strings.TrimSpace(string(b)); err != nil || base == "" {
			return false
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
		if err != nil {
			return false
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if err != nil {
		return "", fmt.Errorf("no server in %s: %w", dir, err)
	}
	return base, nil
}
