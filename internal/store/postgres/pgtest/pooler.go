package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var errNoPooler = errors.New("PgBouncer is not installed: no pgbouncer in PATH or /usr/sbin; on Debian: apt-get install pgbouncer, or run test/setup.sh")

// A Pooler is a PgBouncer before a Server that pools transactions.
type Pooler struct {
	port int
	dir  string
	run  *process
}

// PgBouncer starts a pooler before the server for one test. It has size
// connections to each database; settings are like "max_client_conn=20".
func (s *Server) PgBouncer(t testing.TB, size int, settings ...string) *Pooler {
	t.Helper()
	bin, ok := programs("pgbouncer")
	if !ok {
		missing(t, errNoPooler)
	}
	dir, err := tempDir("freshet-pgbouncer", s.who)
	if err != nil {
		t.Fatal(err)
	}
	p := &Pooler{dir: dir}
	if p.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	conf := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
server_login_retry = 1
query_wait_timeout = 20
`, s.port, p.port, users, size)
	for _, v := range settings {
		conf += v + "\n"
	}
	for name, text := range map[string]string{"pgbouncer.ini": conf, "users": fmt.Sprintf("%q %q\n%q %q\n", User, Password, super, Password)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := (&Server{bin: bin, dir: dir, who: s.who}).command("pgbouncer", filepath.Join(dir, "pgbouncer.ini"))
	if p.run, err = launch(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.run.cmd.Process.Signal(syscall.SIGTERM) // 1.18: at once
		p.run.kill()
		os.RemoveAll(dir)
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		c, err := pgx.Connect(ctx, address(User, p.port, "postgres")+"&default_query_exec_mode=exec")
		if err == nil {
			c.Close(ctx)
			cancel()
			return p
		}
		cancel()
		if !p.run.alive() || time.Now().After(end) {
			t.Fatalf("pgtest: PgBouncer does not answer: %v: %s", err, p.run.out)
		}
	}
}

// URL leads through the pooler to the database of another URL.
func (p *Pooler) URL(url string) string { return address(User, p.port, Name(url)) }

// Log is what the pooler has said.
func (p *Pooler) Log() string { return p.run.out.String() }
