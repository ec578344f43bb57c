package harden_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/freshet-dev/freshet/internal/harden"
)

// A test starts this binary again as a process that may be hardened, told by
// its environment what to do.
const (
	roleVar   = "FRESHET_TEST_HARDEN" // victim, bare or reader
	targetVar = "FRESHET_TEST_TARGET"
	canaryVar = "FRESHET_TEST_CANARY"
	canary    = "canary-5b11c9"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "victim", "bare":
		victim(os.Getenv(roleVar) == "victim")
	case "reader":
		// What another process of the same user sees.
		b, err := os.ReadFile(os.Getenv(targetVar))
		if err != nil {
			fmt.Println("refused:", errors.Is(err, fs.ErrPermission), err)
			os.Exit(0)
		}
		fmt.Printf("%q\n", b)
	default:
		os.Exit(m.Run())
	}
}

// victim reports on itself, waits for a line and crashes.
func victim(hardened bool) {
	if hardened {
		for _, err := range harden.Apply() {
			fmt.Println("error:", err)
		}
	} else {
		// As a shell or a container may have left it.
		var core syscall.Rlimit
		syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
		core.Cur = min(core.Max, 1<<20)
		syscall.Setrlimit(syscall.RLIMIT_CORE, &core)
		syscall.Umask(0)
	}
	var core syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	file := filepath.Join(os.TempDir(), "made")
	os.WriteFile(file, nil, 0o666)
	mode := fs.FileMode(0)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode()
	}
	os.Mkdir(file+".d", 0o777)
	dirMode := fs.FileMode(0)
	if info, err := os.Stat(file + ".d"); err == nil {
		dirMode = info.Mode()
	}
	fmt.Printf("dumpable=%d file=%v dir=%v core=%d/%d\n", dumpable, mode, dirMode, core.Cur, core.Max)
	if line, _ := bufio.NewReader(os.Stdin).ReadString('\n'); line == "crash\n" {
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		select {}
	}
	os.Exit(0)
}

// start runs this binary in a role, as nobody when the test is root, since root
// may read everything. It returns what the process first says, and a function
// that lets it crash and returns how it ended.
func start(t *testing.T, role string, env ...string) (pid int, says string, crash func() (end syscall.WaitStatus, files []os.DirEntry)) {
	t.Helper()
	dir := t.TempDir()
	exe := filepath.Join(dir, "test")
	copyFile(t, os.Args[0], exe)
	cmd := exec.Command(exe)
	cmd.Dir = dir
	cmd.Env = append([]string{roleVar + "=" + role, "TMPDIR=" + dir, "GOTRACEBACK=crash"}, env...)
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the process said %q: %v", line, err)
	}
	crash = func() (syscall.WaitStatus, []os.DirEntry) {
		io.WriteString(in, "crash\n")
		cmd.Wait()
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.Sys().(syscall.WaitStatus), files
	}
	return cmd.Process.Pid, strings.TrimSpace(line), crash
}

func TestS41_a_hardened_process(t *testing.T) {
	for role, want := range map[string]string{
		"bare":   "dumpable=1 file=-rw-rw-rw- dir=drwxrwxrwx core=", // so that the test can fail
		"victim": "dumpable=0 file=-rw------- dir=drwx------ core=0/0",
	} {
		t.Run("S41 "+role, func(t *testing.T) {
			_, says, crash := start(t, role)
			if !strings.HasPrefix(says, want) {
				t.Errorf("%s; want %s", says, want)
			}
			end, files := crash()
			if !end.Signaled() {
				t.Fatalf("the process did not crash: %v", end)
			}
			// Whether the bare one leaves a core is the system's choice.
			if role == "victim" && (end.CoreDump() || len(files) > 3) {
				t.Errorf("it left a core: %v", files)
			}
			t.Logf("%s: core dumped: %t", role, end.CoreDump())
		})
	}
}

func TestS47_another_process_of_the_user_cannot_read_the_environment(t *testing.T) {
	for role, readable := range map[string]bool{"bare": true, "victim": false} {
		t.Run("S47 "+role, func(t *testing.T) {
			pid, _, _ := start(t, role, canaryVar+"="+canary)
			_, says, _ := start(t, "reader", fmt.Sprintf("%s=/proc/%d/environ", targetVar, pid))
			if strings.Contains(says, canary) != readable {
				t.Errorf("the environment: %s", says)
			}
			if !readable && !strings.HasPrefix(says, "refused: true") {
				t.Errorf("the reader was not refused, but: %s", says)
			}
			_, says, _ = start(t, "reader", fmt.Sprintf("%s=/proc/%d/maps", targetVar, pid))
			if refused := strings.HasPrefix(says, "refused: true"); refused == readable {
				t.Errorf("the memory map: %.60s", says)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}
