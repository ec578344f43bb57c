package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// TestDemo is the first command of the README.
func TestDemo(t *testing.T) {
	t.Parallel()
	p := plain.run(t, []string{"TMPDIR=" + t.TempDir()}, "demo", "--once")
	if code := p.exit(t); code != 0 || !strings.Contains(p.out.String(), "Every step held.") {
		t.Errorf("exit %d\n%s%s", code, p.out.String(), p.err.String())
	}
}

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestReadme types the second session of the README as it stands there, in a
// shell, in an empty folder. Only the provider is another one: the emulator,
// whose person consents in a browser that is a few lines of shell.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			unable(t, "%s is not here: install the package %s", tool, tool)
		}
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlock.FindAllStringSubmatch(string(b), -1)
	var session string
	for _, m := range blocks {
		if strings.Contains(m[1], "freshet serve") {
			session = m[1]
		}
	}
	if session == "" {
		t.Fatal("README.md shows no session that begins with freshet serve")
	}
	em, base := emulatortest.Start(t, emulator.Options{Default: emulator.Profile{AutoConsent: true}, Paths: map[string]string{"/api/crm/*": "/api/users"}})
	addr := free(t)
	// The provider and where it is; nothing else is changed.
	for from, to := range map[string]string{
		"clients:\n":             "network: { allow: [\"127.0.0.0/8\"] }\nproviders:\n  emulated: { authorization_url: \"" + base + "/authorize\", token_url: \"" + base + "/token\" }\nclients:\n",
		"provider: hubspot":      "provider: emulated",
		"https://api.hubapi.com": base + "/api",
		"http://127.0.0.1:8420":  "http://" + addr,
		"$ freshet serve &\n":    "$ freshet serve &\n$ while ! test -s freshet-data/server.url; do sleep 0.05; done\n",
	} {
		if !strings.Contains(session, from) {
			t.Fatalf("README.md's session has no %q any more: this test must follow", from)
		}
		session = strings.ReplaceAll(session, from, to)
	}
	// "$ " begins a command, what follows up to the next one belongs to it.
	var script strings.Builder
	script.WriteString("set -e\ntrap 'kill %1; wait' EXIT\n")
	for line := range strings.Lines(session) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			script.WriteString(command)
			continue
		}
		script.WriteString(line)
	}
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plain.path(t), filepath.Join(bin, "freshet")); err != nil {
		t.Fatal(err)
	}
	browser := "#!/bin/sh\nexec curl -sSL -c cookies -b cookies -o page.html \"$1\"\n"
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(browser), 0o700); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "FRESHET_LISTEN="+addr, "CRM_CLIENT_ID=rotate-crm", "CRM_CLIENT_SECRET=crm-secret-1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := string(out)
	for _, want := range []string{"serves at http://" + addr, "created", "connections/crm", "connected: crm", "results"} {
		if !strings.Contains(said, want) {
			t.Errorf("the session shows no %q:\n%s", want, said)
		}
	}
	token := ""
	for _, tok := range em.IssuedTokens() {
		if strings.Contains(said, tok) {
			token = tok
		}
	}
	if token == "" || em.Valid(token) != nil {
		t.Errorf("freshet token printed no valid token:\n%s", said)
	}
	if n := em.Count("api"); n != 2 {
		t.Errorf("%d calls reached the API, want 2", n)
	}
	emulatortest.Oracles(t, em, nil)
}
