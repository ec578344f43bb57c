package workflows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
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

const root = "../.."

type m = map[string]any

var binary = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("FRESHET_BINARY"); given != "" {
		return given, nil
	}
	dir, err := os.MkdirTemp("", "freshet-workflows-")
	if err != nil {
		return "", err
	}
	made = dir
	path := filepath.Join(dir, "freshet")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

var made string

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if made != "" {
		os.RemoveAll(made)
	}
	os.Exit(code)
}

// within bounds what a test waits for. It is far longer than anything takes: a
// test that meets it has failed.
const within = 60 * time.Second

// eventually waits until what holds returns nil.
func eventually(t testing.TB, what string, holds func() error) {
	t.Helper()
	soon(t, within, what, holds)
}

func soon(t testing.TB, within time.Duration, what string, holds func() error) {
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

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// A process is one run of the binary.
type process struct {
	cmd      *exec.Cmd
	out, err text
	done     chan struct{}
}

func launch(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done })
	return p
}

func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("the process goes on\n%s%s", p.out.String(), p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// A world is a provider and a server with the table Settings.
type world struct {
	*process
	t      testing.TB // whose end ends the processes
	em     *emulator.Emulator
	base   string // of the emulator
	dir    string
	url    string
	key    string
	client *api.Client
	args   []string
	env    []string
	config string // a directory of resource files
}

// settings is the table of the document, in clear so that tests can look.
const settings = `
network: { allow: ["127.0.0.0/8"] }
tables:
  Settings:
    columns: { Key: string, Data1: string, Data2: string, Note: string }
    rows:
      - { Key: AccessToken, Data1: "", Data2: "" }
      - { Key: AccessTokenCreds, Data1: alice, Data2: "p&w+1'<\"" }
      - { Key: APIBaseURL, Data1: "${EMULATOR}" }
providers:
  example-auth:
    token_url: ${EMULATOR}/auth
    client_auth: none
    request:
      headers: { Content-Type: application/json }
      body: '{"username":{{username | json}},"password":{{password | json}}}'
    response: { access_token: authToken, expires: { path: expiresInMinutes, unit: m } }
connections:
  example-api:
    provider: example-auth
    grant: request
    credentials: { username: alice, password: "p&w+1'<\"" }
    api: { base_url: "${EMULATOR}" }
`

func provider() emulator.Options {
	return emulator.Options{Users: map[string]emulator.User{"alice": {Password: `p&w+1'<"`}}, Paths: map[string]string{"/auth": "/login"}}
}

// newWorld starts a provider and a server. files are resource files by name, or
// what they refer to; args are more for serve.
func newWorld(t testing.TB, files map[string]string, args ...string) *world {
	t.Helper()
	em, base := emulatortest.Start(t, provider())
	w := &world{t: t, em: em, base: base, args: args, env: []string{"EMULATOR=" + base}}
	var err error
	// Not in t.TempDir: its name may hold a comma, which separates files.
	if w.dir, err = os.MkdirTemp("", "freshet-workflows-data-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(w.dir) })
	w.config = filepath.Join(w.dir, "config")
	all := map[string]string{"settings.yaml": settings}
	maps.Copy(all, files)
	for name, content := range all {
		w.write(t, name, content)
	}
	w.start(t)
	return w
}

func (w *world) write(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(w.config, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the server on its directory and waits until it serves.
func (w *world) start(t testing.TB) {
	t.Helper()
	data := filepath.Join(w.dir, "data")
	os.Remove(filepath.Join(data, "server.url"))
	configs, err := filepath.Glob(filepath.Join(w.config, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "debug"}, w.args...)
	for _, c := range configs {
		args = append(args, "--config", c)
	}
	w.process = launch(w.t, w.env, args...)
	eventually(t, "the server serves", func() error {
		select {
		case <-w.done:
			t.Fatalf("the server ended at its start\n%s%s", w.out.String(), w.err.String())
		default:
		}
		b, err := os.ReadFile(filepath.Join(data, "server.url"))
		if err != nil {
			return err
		}
		k, err := os.ReadFile(filepath.Join(data, "admin.key"))
		w.url, w.key = strings.TrimSpace(string(b)), strings.TrimSpace(string(k))
		return err
	})
	w.client = api.New(w.url, w.key)
}

func (w *world) kill(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.exit(t)
}

func (w *world) stop(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := w.exit(t); code != 0 {
		t.Errorf("the server ended with %d\n%s", code, w.err.String())
	}
}

// cli runs a command against the server and returns its outputs and exit code.
func (w *world) cli(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := launch(t, w.env, append(args, "--data", filepath.Join(w.dir, "data"))...)
	code = p.exit(t)
	return p.out.String(), p.err.String(), code
}

// A reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask makes one request; header is pairs of name and value. There is no key
// unless header brings one.
func (w *world) ask(t testing.TB, method, target, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := raw.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

var raw = &http.Transport{MaxIdleConnsPerHost: 128}

func (w *world) admin() []string { return []string{"Authorization", "Bearer " + w.key} }

// apply declares resources.
func (w *world) apply(t testing.TB, yaml string, files ...string) {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i+1 < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "resources.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := w.cli(t, "apply", "-f", path); code != 0 {
		t.Fatalf("apply: %d\n%s%s", code, out, errs)
	}
}

// declare publishes a workflow in our own spelling under a name.
func (w *world) declare(t testing.TB, name, definition string, more ...string) {
	t.Helper()
	yaml := fmt.Sprintf("workflows:\n  %s: { file: definition.yaml, publish: true%s }\n", name, strings.Join(append([]string{""}, more...), ", "))
	w.apply(t, yaml, "definition.yaml", definition)
}

// run runs a workflow; input is marshalled.
func (w *world) run(t testing.TB, name string, input any) *api.RunResult {
	t.Helper()
	r := api.RunRequest{Name: name}
	if input != nil {
		b, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		r.Input = b
	}
	out, err := w.client.RunWorkflow(t.Context(), r)
	if err != nil {
		t.Fatalf("run %s: %v\n%s", name, err, w.err.String())
	}
	return out
}

// output is a run's output as text: a string as it is.
func output(r *api.RunResult) string {
	var s string
	if json.Unmarshal(r.Output, &s) == nil {
		return s
	}
	return string(r.Output)
}

// good is the output of a run that finished with success.
func (w *world) good(t testing.TB, name string, input any) string {
	t.Helper()
	r := w.run(t, name, input)
	if r.Status != "finished" || len(r.Outcomes) == 0 || r.Outcomes[len(r.Outcomes)-1] != "success" {
		t.Fatalf("%s: %s %v %s %+v\n%s", name, r.Status, r.Outcomes, r.Output, r.Fault, w.story(t, r.RunID))
	}
	return output(r)
}

func (w *world) steps(t testing.TB, id string) []api.Step {
	t.Helper()
	steps, err := w.client.Journal(t.Context(), id)
	if err != nil {
		t.Fatalf("journal of %s: %v", id, err)
	}
	return steps
}

// story is a journal as lines, for messages and for tests of what was done.
func (w *world) story(t testing.TB, id string) string {
	t.Helper()
	var b strings.Builder
	for _, s := range w.steps(t, id) {
		fmt.Fprintf(&b, "%s [%s] %s %s %s\n", s.Name, s.Type, strings.Join(s.Outcomes, ","), s.Message, s.Error)
	}
	return b.String()
}

func (w *world) runOf(t testing.TB, id string) *api.Run {
	t.Helper()
	r, err := w.client.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// runs lists the runs of a workflow, newest first.
func (w *world) runs(t testing.TB, name string) []api.Run {
	t.Helper()
	list, err := w.client.Runs(t.Context(), api.RunFilter{Name: name}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A row is one of the table Settings.
type row struct {
	ObjectID int64  `json:"ObjectId"`
	Data1    string `json:"Data1"`
	Data2    string `json:"Data2"`
}

func (w *world) row(t testing.TB, key string) row {
	t.Helper()
	var list []row
	if err := w.client.Rows(t.Context(), "Settings", api.RowQuery{Filter: "Key eq '" + key + "'"}, func(b json.RawMessage) error {
		var r row
		err := json.Unmarshal(b, &r)
		list = append(list, r)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("%d rows %s", len(list), key)
	}
	return list[0]
}

func (w *world) set(t testing.TB, key, data1, data2 string) {
	t.Helper()
	b, _ := json.Marshal(m{"Data1": data1, "Data2": data2})
	if _, err := w.client.UpdateRow(t.Context(), "Settings", w.row(t, key).ObjectID, b); err != nil {
		t.Fatal(err)
	}
}

// expire makes the stored token one that has expired.
func (w *world) expire(t testing.TB) {
	t.Helper()
	w.set(t, "AccessToken", "expired", "2020-01-01T00:00:00Z")
}

// fault queues a misbehaviour of the provider.
func (w *world) fault(t testing.TB, f emulator.Fault) {
	t.Helper()
	if err := w.em.Next(f); err != nil {
		t.Fatal(err)
	}
}

// An upstream is an API of the test's own that keeps what arrives.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seen
	do   func(w http.ResponseWriter, r *http.Request, body string)
}

type seen struct {
	method, uri, body string
	header            http.Header
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.seen = append(u.seen, seen{r.Method, r.RequestURI, string(b), r.Header.Clone()})
		do := u.do
		u.mu.Unlock()
		if do != nil {
			do(rw, r, string(b))
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, `{"ok":true,"n":1234567890123456789,"html":"<b>&</b>"}`)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) handle(do func(w http.ResponseWriter, r *http.Request, body string)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.do = do
}

func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]seen(nil), u.seen...)
}

func (u *upstream) last(t testing.TB) seen {
	t.Helper()
	all := u.requests()
	if len(all) == 0 {
		t.Fatal("nothing arrived")
	}
	return all[len(all)-1]
}

// example reads a file of examples/world-of-workflows.
func example(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "examples", "world-of-workflows", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tailored are the files that declare the workflows as the document advises.
func tailored(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"workflows.yaml", "definitions/call-my-api.json", "definitions/get-changing-access-token-authentication.json", "definitions/call-my-api-natively.yaml"} {
		out[name] = example(t, name)
	}
	out["native.yaml"] = `
workflows:
  CallMyAPINatively:
    file: definitions/call-my-api-natively.yaml
    publish: true
    map_input:
      api: input?.api ?? ""
      method: input?.method2 ?? "GET"
      content: input?.content2
`
	return out
}

const (
	caller = "CallMyAPI"
	getter = "GetChangingAccessTokenAuthentication"
)

// stores runs a test on each database.
func stores(t *testing.T, fn func(t *testing.T, args ...string)) {
	t.Run("sqlite", func(t *testing.T) { fn(t) })
	t.Run("postgres", func(t *testing.T) { fn(t, "--database-url", pgtest.Database(t)) })
}
