//go:build unix

package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/store"
)

// A test starts this binary again as a process that is killed, or that stands
// in the way. Its role and directory come by the environment.
const (
	roleVar = "FRESHET_TEST_SQLITE"
	dirVar  = "FRESHET_TEST_DIR"
	argVar  = "FRESHET_TEST_ARG"
)

func TestMain(m *testing.M) {
	role := roles[os.Getenv(roleVar)]
	if role == nil {
		os.Exit(m.Run())
	}
	if err := role(context.Background(), os.Getenv(dirVar)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

var roles = map[string]func(ctx context.Context, dir string) error{
	"commit":  commitRole,
	"migrate": migrateRole,
	"open":    openRole,
	"hold":    holdRole,
}

// openRole opens the database once and says how it went.
func openRole(ctx context.Context, dir string) error {
	st, err := Open(ctx, dir, Options{})
	if err == nil {
		err = st.Close()
	}
	for _, c := range []struct {
		is   error
		says string
	}{{store.ErrReadOnly, "read-only"}, {ErrInUse, "in use"}, {nil, "opened"}} {
		if errors.Is(err, c.is) {
			fmt.Printf("%s: %v\n", c.says, err)
			return nil
		}
	}
	return err
}

// holdRole holds the database's own lock, as a shell of sqlite3 does, until it
// is told to let go.
func holdRole(ctx context.Context, dir string) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, FileName))
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := c.ExecContext(ctx, `BEGIN EXCLUSIVE`); err != nil {
		return err
	}
	fmt.Println("held")
	if _, err := io.ReadAll(os.Stdin); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, `ROLLBACK`)
	fmt.Println("released")
	return err
}

func environ(role, dir, arg string) []string {
	// A process under the race detector waits a second before it ends.
	return append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVar+"="+role, dirVar+"="+dir, argVar+"="+arg)
}

// A child is a process of this binary.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
	in  io.WriteCloser
	err *bytes.Buffer
}

// start starts a role on a directory; wrap, if given, is a program that runs it.
func start(t *testing.T, role, dir, arg string, wrap ...string) *child {
	t.Helper()
	argv := append(wrap, os.Args[0])
	c := &child{t: t, cmd: exec.Command(argv[0], argv[1:]...), err: &bytes.Buffer{}}
	c.cmd.Env = environ(role, dir, arg)
	c.cmd.Stderr = c.err
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	c.begin()
	return c
}

func (c *child) begin() {
	c.t.Helper()
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
}

// line returns what the child says next.
func (c *child) line() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("the process said nothing more: %v: %s", c.cmd.Wait(), c.err)
	}
	return c.out.Text()
}

// kill kills it and returns what it had said by then.
func (c *child) kill() (said []string) {
	c.t.Helper()
	c.cmd.Process.Kill()
	for c.out.Scan() {
		said = append(said, c.out.Text())
	}
	c.cmd.Wait()
	c.killed()
	return said
}

// killed fails the test if the process ended in any other way.
func (c *child) killed() {
	c.t.Helper()
	if st, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() {
		c.t.Fatalf("the process was not killed: %v: %s", c.cmd.ProcessState, c.err)
	}
}

const unprivileged = 65534

// nobody returns a directory and a copy of this binary that a user without
// rights can use, and that user; the present one if that is not root.
func nobody(t *testing.T) (dir, exe string, who *syscall.SysProcAttr) {
	t.Helper()
	dir = t.TempDir()
	if os.Getuid() != 0 {
		return dir, os.Args[0], nil
	}
	exe = filepath.Join(t.TempDir(), "test")
	if err := os.Link(os.Args[0], exe); err != nil {
		b, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = os.WriteFile(exe, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(exe)} {
		for ; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
	return dir, exe, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
}

// openAs lets a user without rights open the database, and returns what came of
// it.
func openAs(t *testing.T, dir, exe string, who *syscall.SysProcAttr) string {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Env = environ("open", dir, "")
	cmd.SysProcAttr = who
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}
