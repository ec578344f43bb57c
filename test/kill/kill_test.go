//go:build failpoints && unix

package kill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/failpoint"
)

// binary builds the server once, with fail points.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "freshet-kill")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "freshet")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// A model is a provider's way with refresh tokens, and what must come of a
// connection whose answer was lost on the wire.
type model struct {
	name     string
	emulated emulator.Model
	rotation string
	lost     string // "" if a lost answer is recovered; else the reason that names it
}

var models = []model{
	{"static", emulator.Static, "{ kind: never, reuse: accepted }", ""},
	{"replay", emulator.Replay, "{ kind: always, reuse: replayed }", ""},
	{"grace 30 s", emulator.Grace, "{ kind: always, grace: 30s, reuse: revokes }", ""},
	{"strict", emulator.Strict, "{ kind: always, reuse: revokes }", "lost_in_flight"},
}

// A point is where the process dies: what is set to make it die there, and
// whether the provider's answer exists nowhere but on the wire by then.
type point struct {
	name   string
	set    string
	onWire bool
	fault  string
}

var points = []point{
	{failpoint.ClaimAfter, failpoint.ClaimAfter + "=kill", false, "F01"},
	{failpoint.SendBefore, failpoint.SendBefore + "=kill", false, "F01"},
	{failpoint.SendWritten, failpoint.SendWritten + "=kill", true, "F02"},
	{failpoint.RespHeaders, failpoint.RespHeaders + "=kill", true, "F02"},
	{failpoint.RespBody, failpoint.RespBody + "=kill", true, "F03"},
	{failpoint.SpillAfter, failpoint.CommitBefore + "=error," + failpoint.SpillAfter + "=kill", false, "F03"},
	{failpoint.CommitBefore, failpoint.CommitBefore + "=kill", true, "F04"},
	{failpoint.CommitAfter, failpoint.CommitAfter + "=kill", false, "F05"},
	{failpoint.PublishBefore, failpoint.PublishBefore + "=kill", false, "F05"},
}

func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return or
}

func TestKills(t *testing.T) {
	cell := number("FRESHET_KILLS", 2)
	window := number("FRESHET_KILLS_WINDOW", cell)
	type result struct{ kills, kept, named int }
	results := map[string]map[string]result{}
	for _, m := range models {
		results[m.name] = map[string]result{}
		t.Run(m.name, func(t *testing.T) {
			total := 0
			for _, p := range points {
				if p.name == failpoint.SendWritten || p.name == failpoint.RespBody {
					total += window
				} else {
					total += cell
				}
			}
			w := newWorld(t, m, total)
			next := 0
			for _, p := range points {
				t.Run(p.fault+" "+p.name, func(t *testing.T) {
					n := cell
					if p.name == failpoint.SendWritten || p.name == failpoint.RespBody {
						n = window
					}
					r := result{kills: n}
					for range n {
						name := fmt.Sprintf("c%04d", next)
						next++
						kept := w.kill(t, p, name)
						if kept {
							r.kept++
						} else {
							r.named++
						}
						if want := !p.onWire || m.lost == ""; kept != want {
							t.Errorf("%s killed at %s: kept = %v, want %v", name, p.name, kept, want)
						}
					}
					results[m.name][p.name] = r
				})
			}
			w.oracles(t)
		})
	}
	if file := os.Getenv("FRESHET_KILL_REPORT"); file != "" && !t.Failed() {
		var b bytes.Buffer
		fmt.Fprintf(&b, `# The kill table

A real server process is ended with SIGKILL at one point of a refresh and started again; then the grant must work once more, or the connection must say by name what happened. Columns are models of providers: what becomes of a refresh token that was used.

`+"```console\n$ FRESHET_KILLS=%d FRESHET_KILLS_WINDOW=%d FRESHET_KILL_REPORT=$PWD/docs/kill-table.md go test -tags failpoints -timeout 60m ./test/kill\n```"+`

`, cell, window)
		fmt.Fprintf(&b, "| killed at |")
		for _, m := range models {
			fmt.Fprintf(&b, " %s |", m.name)
		}
		fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(models)))
		for _, p := range points {
			fmt.Fprintf(&b, "| `%s` |", p.name)
			for _, m := range models {
				r := results[m.name][p.name]
				fmt.Fprintf(&b, " %d of %d kept", r.kept, r.kills)
				if r.named > 0 {
					fmt.Fprintf(&b, ", %d named `%s`", r.named, m.lost)
				}
				fmt.Fprint(&b, " |")
			}
			fmt.Fprintln(&b)
		}
		fmt.Fprint(&b, `
`+"`spill.after` is the point after the answer was forced into the spill file because the database had refused it. At `send.written`, `resp.headers`, `resp.body` and `commit.before`"+` the answer is nowhere but on the wire or in the memory of the dead process: a provider that takes the previous refresh token for a while, or answers the same again, makes that no loss; one that revokes on reuse leaves nothing that any client could do but say so. After every run the provider's side is checked as well: never two requests in flight for one refresh token, and no token found in the log or in any file of the data directory.
`)
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A world is one provider, and one data directory whose connections each die
// once.
type world struct {
	model  model
	em     *emulator.Emulator
	dir    string
	config string
	logs   bytes.Buffer
	died   map[string]bool
}

func newWorld(t *testing.T, m model, connections int) *world {
	t.Helper()
	em, base := emulatortest.Start(t, emulator.Options{Default: emulator.Profile{Model: m.emulated}})
	w := &world{model: m, em: em, dir: t.TempDir(), died: map[string]bool{}}
	var b strings.Builder
	fmt.Fprintf(&b, "network: { allow: [\"127.0.0.0/8\"] }\nproviders:\n  p: { token_url: \"%s/token\", client_auth: basic, rotation: %s }\nclients:\n  c: { provider: p, id: app, secret: app-secret-1 }\nconnections:\n", base, m.rotation)
	for i := range connections {
		fmt.Fprintf(&b, "  c%04d: { client: c, grant: refresh_token, refresh: { when: on_401 } }\n", i)
	}
	w.config = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(w.config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.start(t, "")
	for i := range connections {
		set, err := em.Issue("app", fmt.Sprintf("user-%d", i), "read")
		if err != nil {
			t.Fatal(err)
		}
		in := map[string]any{"access_token": set.Access, "refresh_token": set.Refresh, "token_type": "Bearer", "expires_in": 0}
		if err := s.client.Do(t.Context(), "PUT", fmt.Sprintf("/api/v1/connections/c%04d/tokens", i), in, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.stop(t)
	return w
}

// kill makes a server die in the middle of one connection's refresh, starts
// another, and reports whether the grant is kept. If it is not, the connection
// must say so by name.
func (w *world) kill(t *testing.T, p point, name string) (kept bool) {
	t.Helper()
	s := w.start(t, p.set)
	err := s.client.Do(t.Context(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil)
	var unreachable *api.UnreachableError
	if !errors.As(err, &unreachable) {
		t.Fatalf("%s: the server lived through %s: %v\n%s", name, p.name, err, w.logs.String())
	}
	s.died(t)
	w.died[name] = true

	s = w.start(t, "")
	defer s.stop(t)
	deadline := time.Now().Add(40 * time.Second)
	var c api.Connection
	for {
		if err := s.client.Do(t.Context(), "GET", "/api/v1/connections/"+name, nil, &c); err != nil {
			t.Fatal(err)
		}
		if c.State == "reauth" || c.State == "ok" && c.Generation > 1 {
			break
		}
		if c.State == "ok" { // the claim was taken back before anything was sent
			s.client.Do(t.Context(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil)
			continue
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s after %s: still %s (%s)\n%s", name, p.name, c.State, c.Reason, w.logs.String())
		}
		time.Sleep(20 * time.Millisecond) // the server's own clock runs; this is only how often we look
	}
	if c.State == "reauth" {
		if c.Reason != w.model.lost {
			t.Errorf("%s after %s: reauth (%s), want it named %q", name, p.name, c.Reason, w.model.lost)
		}
		return false
	}
	if err := s.client.Do(t.Context(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil); err != nil {
		t.Errorf("%s after %s: one more refresh: %v", name, p.name, err)
		return false
	}
	return true
}

// oracles looks at the provider's side: one request in flight per refresh
// token, and a token presented twice only where a process died.
func (w *world) oracles(t *testing.T) {
	t.Helper()
	for _, v := range w.em.CheckOracles(func(emulator.Reuse) bool { return true }) {
		if w.model.lost == "" || !strings.HasPrefix(v, "O3") {
			t.Error(v)
		}
	}
	emulatortest.NoCanary(t, w.em, "the server's log", w.logs.Bytes())
	filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			emulatortest.NoCanary(t, w.em, filepath.Base(path), b)
		}
		return err
	})
}

// A server is one process of the binary.
type server struct {
	cmd    *exec.Cmd
	done   chan error
	client *api.Client
}

func (w *world) start(t *testing.T, failpoints string) *server {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	url := filepath.Join(w.dir, "server.url")
	os.Remove(url)
	args := []string{"serve", "--data", w.dir, "--listen", "127.0.0.1:0"}
	if _, err := os.Stat(filepath.Join(w.dir, "admin.key")); err != nil {
		args = append(args, "--config", w.config)
	}
	s := &server{cmd: exec.Command(path, args...), done: make(chan error, 1)}
	s.cmd.Env = append(os.Environ(), "FRESHET_FAILPOINTS="+failpoints)
	s.cmd.Stdout, s.cmd.Stderr = &w.logs, &w.logs
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(func() { s.cmd.Process.Kill() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		if b, err := os.ReadFile(url); err == nil && len(b) > 0 {
			key, err := os.ReadFile(filepath.Join(w.dir, "admin.key"))
			if err != nil {
				t.Fatal(err)
			}
			s.client = api.New(strings.TrimSpace(string(b)), strings.TrimSpace(string(key)))
			return s
		}
		select {
		case err := <-s.done:
			t.Fatalf("the server ended at its start: %v\n%s", err, w.logs.String())
		case <-ctx.Done():
			t.Fatalf("the server did not start\n%s", w.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// died waits for a server that was killed.
func (s *server) died(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.done:
		if err == nil {
			t.Error("the server ended by itself")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not die")
	}
}

// stop ends a server as an operator would.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		t.Error("the server did not stop")
		s.cmd.Process.Kill()
		<-s.done
	}
}
