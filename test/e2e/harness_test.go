package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// A build is one binary, made once and only if a test wants it.
type build struct {
	tags string
	make func() (string, error)
}

var (
	plain  = newBuild("")
	points = newBuild("failpoints")
	builds = []*build{plain, points}
)

func newBuild(tags string) *build {
	b := &build{tags: tags}
	b.make = sync.OnceValues(func() (string, error) {
		if given := os.Getenv("FRESHET_BINARY"); given != "" && tags == "" {
			return given, nil
		}
		dir, err := os.MkdirTemp("", "freshet-e2e-")
		if err != nil {
			return "", err
		}
		made.Lock()
		made.dirs = append(made.dirs, dir)
		made.Unlock()
		path := filepath.Join(dir, "freshet")
		out, err := exec.Command("go", "build", "-tags", tags, "-o", path, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
		return path, nil
	})
	return b
}

var made struct {
	sync.Mutex
	dirs []string
}

func (b *build) path(t testing.TB) string {
	t.Helper()
	path, err := b.make()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	for _, dir := range made.dirs {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// unable skips a test for want of something that this machine has not, and
// fails it where nothing may be left out.
func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// within bounds what a test waits for. It is far longer than anything takes: a
// test that meets it has failed.
const within = 60 * time.Second

// eventually waits until what holds returns nil.
func eventually(t testing.TB, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond) // how often we look; the process runs by its own clock
	}
}

// A text is what a process wrote, read while it writes.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) Bytes() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return bytes.Clone(x.b.Bytes())
}

func (x *text) String() string { return string(x.Bytes()) }

// A process is one run of the binary.
type process struct {
	cmd  *exec.Cmd
	out  text // standard output
	err  text // standard error
	done chan struct{}
	wait error // once done is closed
}

// run starts the binary with arguments. It is killed when the test ends.
func (b *build) run(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(b.path(t), args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.wait = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exit waits for the end and returns the exit code, -1 for a signal.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("the process goes on\n%s%s", p.out.String(), p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// A setup says how a server is started.
type setup struct {
	build  *build   // nil: the plain one
	dir    string   // the data directory; "": a new one
	config string   // a resource file's content; "": none
	args   []string // beside --data, --listen and --config
	env    []string // beside the test's own
}

// A server is one process that serves.
type server struct {
	*process
	set    setup
	dir    string
	config string // path
	url    string
	key    string
	client *api.Client
}

// start runs freshet serve and waits until it serves.
func start(t testing.TB, s setup) *server {
	t.Helper()
	v := boot(t, s)
	v.await(t)
	return v
}

// boot runs freshet serve and does not wait.
func boot(t testing.TB, s setup) *server {
	t.Helper()
	if s.build == nil {
		s.build = plain
	}
	if s.dir == "" {
		s.dir = filepath.Join(t.TempDir(), "data")
	}
	v := &server{set: s, dir: s.dir}
	args := []string{"serve", "--data", s.dir, "--listen", "127.0.0.1:0", "--log-level", "debug"}
	if s.config != "" {
		name := "config.yaml"
		if strings.HasPrefix(s.config, "{") {
			name = "config.json"
		}
		// Not in t.TempDir: its name may hold a comma, which separates files.
		dir, err := os.MkdirTemp("", "freshet-e2e-config-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		v.config = filepath.Join(dir, name)
		if err := os.WriteFile(v.config, []byte(s.config), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", v.config)
	}
	os.Remove(filepath.Join(s.dir, "server.url"))
	v.process = s.build.run(t, s.env, append(args, s.args...)...)
	return v
}

// await waits until the server serves.
func (s *server) await(t testing.TB) {
	t.Helper()
	eventually(t, "the server serves", func() error {
		if s.ended() {
			t.Fatalf("the server ended at its start: %v\n%s%s", s.wait, s.out.String(), s.err.String())
		}
		b, err := os.ReadFile(filepath.Join(s.dir, "server.url"))
		if err != nil {
			return err
		}
		s.url = strings.TrimSpace(string(b))
		if s.url == "" {
			return errors.New("server.url is empty")
		}
		k, err := os.ReadFile(filepath.Join(s.dir, "admin.key"))
		if err != nil {
			return err
		}
		s.key = strings.TrimSpace(string(k))
		s.client = api.New(s.url, s.key)
		return nil
	})
}

// again starts another server on the same directory, after this one ended.
func (s *server) again(t testing.TB, change func(*setup)) *server {
	t.Helper()
	next := s.set
	next.dir = s.dir
	if change != nil {
		change(&next)
	}
	return start(t, next)
}

// kill ends the server as a loss of power would end its process.
func (s *server) kill(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	s.exit(t)
}

// stop ends the server as an operator does.
func (s *server) stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t); code != 0 {
		t.Errorf("the server ended with %d\n%s", code, s.err.String())
	}
}

// cli runs a command against the server.
func (s *server) cli(t testing.TB, args ...string) *process {
	t.Helper()
	return s.set.build.run(t, nil, append(args, "--data", s.dir)...)
}

// A reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string { return fmt.Sprintf("HTTP %d %s", r.status, r.body) }

// ours reports whether the answer is the server's own refusal, and not an API's.
func (r reply) ours() bool {
	var p api.Problem
	return r.header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(r.body, &p) == nil && strings.HasPrefix(p.Type, "https://freshet.dev/problems/")
}

// decode reads a JSON body.
func (r reply) decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal(r.body, into); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
}

// ask makes one request with the admin key, through no client of ours: what
// comes is what stood on the wire.
func (s *server) ask(t testing.TB, method, target string, body io.Reader, header ...string) reply {
	t.Helper()
	r, err := s.try(t.Context(), method, target, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return r
}

func (s *server) try(ctx context.Context, method, target string, body io.Reader, header ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url, body)
	if err != nil {
		return reply{}, err
	}
	// The target goes out as it is, not as net/url would write it.
	path, query, found := strings.Cut(target, "?")
	req.URL.Opaque, req.URL.RawQuery, req.URL.ForceQuery = path, query, found && query == ""
	req.Header.Set("Authorization", "Bearer "+s.key)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := raw.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, b}, err
}

// raw follows no redirect and undoes no compression.
var raw = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 128},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call makes a call through the proxy.
func (s *server) call(t testing.TB, method, connection, target string, body io.Reader, header ...string) reply {
	t.Helper()
	return s.ask(t, method, "/proxy/"+connection+target, body, header...)
}

// connection reads where a connection stands.
func (s *server) connection(t testing.TB, name string) api.Connection {
	t.Helper()
	var c api.Connection
	if err := s.client.Get(t.Context(), "connections", name, &c); err != nil {
		t.Fatalf("connection %s: %v", name, err)
	}
	return c
}

// token reads a token as a program would.
func (s *server) token(t testing.TB, name string) api.Token {
	t.Helper()
	var tok api.Token
	if err := s.client.Do(t.Context(), "GET", "/api/v1/connections/"+name+"/token", nil, &tok); err != nil {
		t.Fatalf("token of %s: %v", name, err)
	}
	return tok
}

// refresh forces a refresh and returns what came of it: a token or a problem.
func (s *server) refresh(t testing.TB, name string) (api.Token, *api.Problem) {
	t.Helper()
	var tok api.Token
	err := s.client.Do(t.Context(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, &tok)
	var p *api.Problem
	if err != nil && !errors.As(err, &p) {
		t.Fatalf("refresh %s: %v\n%s", name, err, s.err.String())
	}
	return tok, p
}

// put imports a token set.
func (s *server) put(t testing.TB, name string, set map[string]any) {
	t.Helper()
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.ImportTokens(t.Context(), name, b, false); err != nil {
		t.Fatalf("import into %s: %v", name, err)
	}
}

// events lists what happened to a connection, oldest first.
func (s *server) events(t testing.TB, name string) []api.Event {
	t.Helper()
	var out []api.Event
	if err := s.client.List(t.Context(), "/api/v1/connections/"+name+"/events", "events", func(b json.RawMessage) error {
		var e api.Event
		err := json.Unmarshal(b, &e)
		out = append(out, e)
		return err
	}); err != nil {
		t.Fatalf("events of %s: %v", name, err)
	}
	return out
}

// A world is a provider and a server.
type world struct {
	*server
	em   *emulator.Emulator
	base string // of the emulator
}

// newWorld starts both. In the configuration ${EMULATOR} is the provider.
func newWorld(t testing.TB, o emulator.Options, s setup) *world {
	t.Helper()
	em, base := emulatortest.Start(t, o)
	s.config = "network: { allow: [\"127.0.0.0/8\"] }\n" + s.config
	s.env = append(s.env, "EMULATOR="+base)
	return &world{server: start(t, s), em: em, base: base}
}

// issue gives a connection a token set that a person consented to elsewhere;
// its access token has lifetime left, as far as the server is told.
func (w *world) issue(t testing.TB, name, client string, lifetime time.Duration) emulator.Tokens {
	t.Helper()
	set, err := w.em.Issue(client, "user-of-"+name, "read")
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, name, map[string]any{"access_token": set.Access, "refresh_token": set.Refresh, "token_type": "Bearer", "scope": "read", "expires_in": int(lifetime.Seconds())})
	return set
}

// oracles fails the test for what a client of the provider must not do.
func (w *world) oracles(t testing.TB) {
	t.Helper()
	emulatortest.Oracles(t, w.em, nil)
}

// echo is what the API saw of a call.
type echo struct {
	Method  string      `json:"method"`
	URI     string      `json:"uri"`
	Host    string      `json:"host"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
}

// seen makes a call to the API's echo and returns what arrived.
func (w *world) seen(t testing.TB, method, connection, target string, body io.Reader, header ...string) echo {
	t.Helper()
	r := w.call(t, method, connection, target, body, header...)
	if r.status != http.StatusOK {
		t.Fatalf("%s %s: %s", method, target, r)
	}
	var e echo
	r.decode(t, &e)
	return e
}
