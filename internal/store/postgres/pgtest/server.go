package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// User owns the databases, with Password.
	User     = "freshet"
	Password = "pw-6f1d20-canary" // a test may look for it where it must not be
	super    = "postgres"
	patience = 60 * time.Second
)

// A Server is one PostgreSQL cluster.
type Server struct {
	bin, dir string
	port     int
	who      *syscall.Credential
	run      *process
	made     atomic.Int64 // databases
	mu       sync.Mutex   // held while a database is made
	prepared map[string]string
}

// Start starts a cluster for one test, which it ends with. A setting is like
// "fsync=off".
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(s.remove)
	return s
}

var shared struct {
	sync.Mutex
	s   *Server
	err error
}

// Shared returns the cluster that all tests of the binary share; nobody kills
// it. Main ends it.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.s == nil && shared.err == nil {
		shared.s, shared.err = start(nil)
	}
	if shared.err != nil {
		missing(t, shared.err)
	}
	return shared.s
}

// Main runs the tests of a package and ends the shared cluster.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.s != nil {
		shared.s.remove()
	}
	return code
}

// Database makes an empty database on the shared cluster and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	return Shared(t).Database(t)
}

var errMissing = errors.New("PostgreSQL is not installed: no postgres and initdb in PATH or /usr/lib/postgresql; on Debian: apt-get install postgresql, or run test/setup.sh")

// missing ends a test that has no server.
func missing(t testing.TB, err error) {
	t.Helper()
	if (errors.Is(err, errMissing) || errors.Is(err, errNoPooler)) && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	t.Fatal(err)
}

// programs finds the directory with a file of each name, the newest first.
func programs(names ...string) (dir string, ok bool) {
	var dirs []string
	if p, err := exec.LookPath(names[0]); err == nil {
		// A link in PATH leads to where the others are.
		if real, err := filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
		dirs = append(dirs, filepath.Dir(p))
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(found, func(a, b string) int {
		return number(filepath.Base(filepath.Dir(b))) - number(filepath.Base(filepath.Dir(a)))
	})
	dirs = append(append(dirs, found...), "/usr/local/bin", "/usr/local/pgsql/bin", "/usr/sbin")
	for _, d := range dirs {
		if !slices.ContainsFunc(names, func(n string) bool {
			st, err := os.Stat(filepath.Join(d, n))
			return err != nil || st.IsDir()
		}) {
			return d, true
		}
	}
	return "", false
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

// unprivileged is who runs a server when this process is root, which no server
// wants to be run by; nil if it is not.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err == nil {
			return &syscall.Credential{Uid: uint32(number(u.Uid)), Gid: uint32(number(u.Gid))}, nil
		}
	}
	return nil, errors.New("pgtest: root needs a user postgres or nobody to run a server as")
}

// tempDir makes a directory that the user may write, and removes those of
// binaries that were killed.
func tempDir(prefix string, who *syscall.Credential) (string, error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*-*"))
	for _, d := range left {
		pid := number(strings.Split(strings.TrimPrefix(filepath.Base(d), prefix+"-"), "-")[0])
		if pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(d)
		}
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s-%d-*", prefix, os.Getpid()))
	if err == nil && who != nil {
		err = os.Chown(dir, int(who.Uid), int(who.Gid))
	}
	return dir, err
}

func start(settings []string) (_ *Server, err error) {
	bin, ok := programs("postgres", "initdb")
	if !ok {
		return nil, errMissing
	}
	s := &Server{bin: bin, prepared: map[string]string{}}
	if s.who, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = tempDir("freshet-pg", s.who); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	pw := filepath.Join(s.dir, "pw")
	if err := os.WriteFile(pw, []byte(Password), 0o644); err != nil {
		return nil, err
	}
	// A cluster that sorts as people do: keys must not.
	init := []string{"-D", s.data(), "-U", super, "--pwfile", pw, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"}
	if out, err := s.command("initdb", init...).CombinedOutput(); err != nil {
		os.RemoveAll(s.data()) // built without ICU, or older than 15
		init = append(init[:len(init)-3], "--locale=C.UTF-8")
		if more, err := s.command("initdb", init...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("pgtest: initdb: %w: %s%s", err, out, more)
		}
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\nmax_connections = 200\nshared_buffers = '32MB'\nlog_min_messages = fatal\n"+
		"autovacuum_naptime = '1h'\nlog_line_prefix = '%%m [%%p] '\n", s.port)
	for _, v := range settings {
		k, v, _ := strings.Cut(v, "=")
		conf += fmt.Sprintf("%s = '%s'\n", strings.TrimSpace(k), strings.Trim(strings.TrimSpace(v), "'"))
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(conf)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	return s, s.exec("postgres", `CREATE ROLE `+User+` LOGIN PASSWORD '`+Password+`'`)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command is a program of the installation, run as the server's user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who}
	return cmd
}

// begin starts the server and waits until it answers.
func (s *Server) begin() (err error) {
	if s.run, err = launch(s.command("postgres", "-D", s.data())); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := s.exec("postgres", `SELECT 1`)
		if err == nil {
			return nil
		}
		select {
		case <-s.run.ended:
			return fmt.Errorf("pgtest: the server ended: %s", s.run.out.String())
		default:
		}
		if time.Now().After(end) {
			s.run.kill()
			return fmt.Errorf("pgtest: the server does not answer: %w: %s", err, s.run.out.String())
		}
	}
}

// exec runs statements as the superuser.
func (s *Server) exec(database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.SuperURL(database))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, q := range statements {
		if _, err := c.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

// Exec runs statements in a database as the superuser.
func (s *Server) Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	if err := s.exec(Name(url), statements...); err != nil {
		t.Fatal(err)
	}
}

// URL is where a database is, for its owner.
func (s *Server) URL(database string) string { return address(User, s.port, database) }

// SuperURL is where a database is, for the superuser.
func (s *Server) SuperURL(database string) string { return address(super, s.port, database) }

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int { return s.port }

func address(who string, port int, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", who, Password, port, database)
}

// Name is the database of a URL.
func Name(u string) string {
	p, err := url.Parse(u)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(p.Path, "/")
}

// Database makes an empty database, dropped with the test, and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.Copy(t, "template0")
}

// Copy makes a copy of a database and returns its URL.
func (s *Server) Copy(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprint("t", s.made.Add(1))
	s.mu.Lock()
	err := s.exec("postgres", `CREATE DATABASE `+name+` OWNER `+User+` TEMPLATE `+template)
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Nobody waits for a database of a server that is down, or going.
		if s.run.alive() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.exec("postgres", `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
		}
	})
	return s.URL(name)
}

// Prepared makes a copy of a database that prepare has filled, once for each
// key: where each test wants the same beginning.
func (s *Server) Prepared(t testing.TB, key string, prepare func(url string) error) string {
	t.Helper()
	s.mu.Lock()
	template, ok := s.prepared[key]
	if !ok {
		template = fmt.Sprint("p", len(s.prepared))
		err := s.exec("postgres", `CREATE DATABASE `+template+` OWNER `+User+` TEMPLATE template0`)
		if err == nil {
			err = prepare(s.URL(template))
		}
		if err != nil {
			s.mu.Unlock()
			t.Fatal(err)
		}
		s.prepared[key] = template
	}
	s.mu.Unlock()
	return s.Copy(t, template)
}

// Set changes a setting that needs no restart.
func (s *Server) Set(t testing.TB, name, value string) {
	t.Helper()
	if err := s.exec("postgres", fmt.Sprintf(`ALTER SYSTEM SET %s = '%s'`, name, value), `SELECT pg_reload_conf()`); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the server as an operator does, without waiting for clients.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.run.cmd.Process.Signal(syscall.SIGINT)
	s.run.wait(t)
}

// Kill9 kills all of the server's processes at once: a crash of the machine,
// but for what its disk has not written.
func (s *Server) Kill9(t testing.TB) {
	t.Helper()
	pid := s.run.cmd.Process.Pid
	syscall.Kill(pid, syscall.SIGSTOP) // it starts no more children
	for _, c := range children(pid) {
		syscall.Kill(c, syscall.SIGKILL)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	s.run.wait(t)
}

// Pause stops all of the server's processes; Resume lets them go on.
func (s *Server) Pause(t testing.TB) { s.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume(t testing.TB) { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	pid := s.run.cmd.Process.Pid
	syscall.Kill(pid, sig)
	for _, c := range children(pid) {
		syscall.Kill(c, sig)
	}
}

// Restart starts a server again that was stopped or killed, or stops it first.
// It is back on its port when Restart returns.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if s.run.alive() {
		s.Stop(t)
	}
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
}

// Dir is the cluster's data directory.
func (s *Server) Dir() string { return s.data() }

// Log is what the server has said since it was started last.
func (s *Server) Log() string { return s.run.out.String() }

func (s *Server) remove() {
	if s.run != nil {
		s.signal(syscall.SIGCONT)
		s.run.kill()
	}
	os.RemoveAll(s.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// A process is a server's first process.
type process struct {
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
}

// launch starts a program that does not outlive this one.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, out: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started the program.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) wait(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
		t.Fatalf("pgtest: the server did not end: %s", p.out)
	}
}

// kill ends the program at once, and its children, who notice.
func (p *process) kill() {
	if !p.alive() {
		return
	}
	p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		for _, c := range children(p.cmd.Process.Pid) {
			syscall.Kill(c, syscall.SIGKILL)
		}
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// output keeps what a program says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// children are the processes that a process has started.
func children(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid …
		after := b[bytes.LastIndexByte(b, ')')+1:]
		if f := strings.Fields(string(after)); len(f) > 1 && number(f[1]) == pid {
			out = append(out, number(filepath.Base(filepath.Dir(path))))
		}
	}
	return out
}
