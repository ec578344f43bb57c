package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docs/connecting.md works as it is written: every command of its console blocks
// is typed into one shell, in order, and prints what the page says, … standing
// for anything. What the page shows for real providers would apply.
func TestConnectingGuide(t *testing.T) {
	needTools(t, "sh", "curl", "openssl", "awk")
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "connecting.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	g := newGuide(t)
	steps, files := parseGuide(page)
	if len(steps) < 40 || len(files) < 8 {
		t.Fatalf("the page holds %d commands and %d files: the test does not read it", len(steps), len(files))
	}
	for _, s := range steps {
		g.run(s)
	}
	for i, f := range files {
		name := fmt.Sprintf("real-%d.yaml", i)
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
		command := "freshet apply --dry-run -f " + name
		for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(f, -1) {
			command = m[1] + "=\"$DUMMY\" " + command
		}
		g.run(step{command: command, want: []string{"… (dry run: nothing was changed)"}})
	}
	for _, grant := range []string{"authorization_code", "client_credentials", "password", "refresh_token", "device_code", "jwt_bearer", "token_exchange", "request"} {
		if !strings.Contains(page, "    grant: "+grant+"\n") {
			t.Errorf("the page does not connect with grant %s", grant)
		}
	}
}

// docs/guides/world-of-workflows.md does, too. downloads/ is what its reader has
// from the page that it follows.
func TestWorldOfWorkflowsGuide(t *testing.T) {
	needTools(t, "sh", "curl", "sed")
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "world-of-workflows.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps, _ := parseGuide(string(b))
	if len(steps) < 30 {
		t.Fatalf("the page holds %d commands: the test does not read it", len(steps))
	}
	g := newGuide(t)
	downloads := filepath.Join(os.Getenv("FRESHET_DOCUMENTS"), "samples")
	if os.Getenv("FRESHET_DOCUMENTS") == "" {
		downloads = filepath.Join("..", "..", "internal", "workflow", "testdata")
	}
	for name, from := range map[string]string{"examples": filepath.Join("..", "..", "examples"), "downloads": downloads} {
		from, err := filepath.Abs(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(g.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range steps {
		g.run(s)
	}
}

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("the guide needs %s", tool)
			}
			t.Skipf("the guide needs %s", tool)
		}
	}
}

// A step is a command and what it prints.
type step struct {
	line    int
	command string
	want    []string
}

// parseGuide takes the commands out of console blocks, and the files out of yaml
// blocks.
func parseGuide(page string) (steps []step, files []string) {
	var block, end string
	var file strings.Builder
	for i, line := range strings.Split(page, "\n") {
		switch {
		case block == "" && strings.HasPrefix(line, "```"):
			block = strings.TrimPrefix(line, "```")
			file.Reset()
		case line == "```":
			if block == "yaml" {
				files = append(files, file.String())
			}
			block = ""
		case block == "yaml":
			file.WriteString(line + "\n")
		case block != "console":
		case end != "":
			steps[len(steps)-1].command += "\n" + line
			if line == end {
				end = ""
			}
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
			if _, word, ok := strings.Cut(line, "<<'"); ok {
				end = strings.TrimSuffix(word, "'")
			}
		case line != "":
			steps[len(steps)-1].want = append(steps[len(steps)-1].want, line)
		}
	}
	return steps, files
}

// A guide is a shell in an empty directory, with the commands in its path and
// two ports that are free in the place of those of the page.
type guide struct {
	t                *testing.T
	dir              string
	in               io.Writer
	out              *bufio.Reader
	provider, server string
}

func newGuide(t *testing.T) *guide {
	g := &guide{t: t, dir: t.TempDir(), provider: freePort(t), server: freePort(t)}
	sh := exec.Command("sh")
	sh.Dir = g.dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FRESHET_") {
			sh.Env = append(sh.Env, v)
		}
	}
	sh.Env = append(sh.Env, "FRESHET_LISTEN="+g.server, "LC_ALL=C", "DUMMY="+dummyKey)
	in, err := sh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := sh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	sh.Stderr = sh.Stdout
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	g.in, g.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		fmt.Fprint(in, "\nkill $pids; wait\n")
		in.Close()
		late := time.AfterFunc(tooLong, func() { out.Close() })
		defer late.Stop()
		io.Copy(io.Discard, out)
		sh.Wait()
	})
	return g
}

// dummyKey is good for a secret and for a key; it opens nothing.
const dummyKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----`

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// here puts our ports in the place of the page's.
func (g *guide) here(s string) string {
	s = strings.ReplaceAll(s, "freshet emulator", "freshet emulator --listen "+g.provider)
	return strings.NewReplacer("127.0.0.1:9400", g.provider, "127.0.0.1:8420", g.server).Replace(s)
}

const (
	endMark = "--- end of the command"
	tooLong = time.Minute
)

// run types a command and reads what it prints.
func (g *guide) run(s step) {
	g.t.Helper()
	command := g.here(s.command)
	fmt.Fprintf(g.in, "%s\nstatus=$?\n", command)
	if strings.HasSuffix(command, "&") {
		fmt.Fprint(g.in, "pids=\"$pids $!\"\n")
		g.await(command)
	}
	fmt.Fprintf(g.in, "echo; echo '%s' $status\n", endMark)
	watch := time.AfterFunc(tooLong, func() { panic(fmt.Sprintf("line %d: %s: no end within %v", s.line, s.command, tooLong)) })
	defer watch.Stop()
	var got []string
	failed := false
	for {
		line, err := g.out.ReadString('\n')
		if err != nil {
			g.t.Fatalf("line %d: %s: the shell ended: %v\n%s", s.line, s.command, err, strings.Join(got, "\n"))
		}
		line = strings.TrimSpace(line)
		if code, ok := strings.CutPrefix(line, endMark); ok {
			failed = strings.TrimSpace(code) != "0"
			break
		}
		if code, ok := strings.CutPrefix(line, "type   "); ok {
			g.approve(code)
		}
		if line != "" {
			got = append(got, line)
		}
	}
	printed := strings.Join(got, "\n")
	if failed != strings.Contains(strings.Join(s.want, "\n"), "error: ") {
		g.t.Fatalf("line %d: %s: failed is %v\n%s", s.line, s.command, failed, printed)
	}
	for _, w := range s.want {
		re := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(g.here(w))), "…", ".*") + "$")
		for len(got) > 0 && !re.MatchString(got[0]) {
			got = got[1:]
		}
		if len(got) == 0 {
			if w == "…" {
				break // whatever else there may be
			}
			g.t.Fatalf("line %d: %s: no line %q in\n%s", s.line, s.command, g.here(w), printed)
		}
		got = got[1:]
	}
}

// await waits until what was started in the background answers.
func (g *guide) await(command string) {
	g.t.Helper()
	if strings.HasPrefix(command, "freshet serve") {
		if _, err := awaitServer(filepath.Join(g.dir, "freshet-data")); err != nil {
			log, _ := os.ReadFile(filepath.Join(g.dir, "server.log"))
			g.t.Fatalf("%v\n%s", err, log)
		}
		return
	}
	err := poll(30*time.Second, func(context.Context) bool {
		c, err := net.Dial("tcp", g.provider)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// approve is the person with the other device.
func (g *guide) approve(code string) {
	g.t.Helper()
	res, err := http.PostForm("http://"+g.provider+"/device", url.Values{"user_code": {code}, "decision": {"allow"}})
	if err != nil {
		g.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		g.t.Fatalf("the device page answers %s", res.Status)
	}
}
