//go:build unix

package vault_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/vault"
)

// The environment by which a test starts this binary as a process to be killed.
const (
	victimDir  = "FRESHET_TEST_VAULT_DIR"
	victimKill = "FRESHET_TEST_VAULT_KILL" // the operation at which it kills itself
)

const victimRows = 30

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim rotates and re-seals over a disk in a file, and prints a line at each
// write, without end or until it kills itself.
func victim(dir string) error {
	d, err := diskFile(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	v, err := vault.Open(ctx, d, vault.MasterKeyFile(filepath.Join(dir, "master.key")))
	if err != nil {
		return err
	}
	v.SetNow(d.clock)
	at, _ := strconv.Atoi(os.Getenv(victimKill))
	d.arm(at, false)
	d.die = func() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	fmt.Println("ready")
	for {
		if err := v.Rotate(ctx); err != nil {
			return err
		}
		if err := finish(ctx, d, v); err != nil {
			return err
		}
	}
}

// diskFile reads a disk that writes itself back at every change, all or
// nothing, as a database does.
func diskFile(dir string) (*disk, error) {
	d := newDisk()
	path := filepath.Join(dir, "disk.json")
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, d); err != nil {
			return nil, err
		}
	}
	d.persist = func() {
		b, err := json.Marshal(d)
		if err == nil {
			err = errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path))
		}
		if err != nil {
			panic(err)
		}
		if os.Getenv(victimDir) != "" {
			fmt.Println("wrote")
		}
	}
	return d, nil
}

func TestF10_processes_killed_during_rotation(t *testing.T) {
	dir := t.TempDir()
	key := vault.MasterKeyFile(filepath.Join(dir, "master.key"))
	d, err := diskFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, d, key)
	d.fill(t, v, victimRows)
	d.persist()

	kill := func(name string, at, lines int) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir, victimKill+"="+strconv.Itoa(at))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Either it dies by itself, or after so many lines by our hand, at
		// whatever it is doing just then.
		scan := bufio.NewScanner(out)
		for n := 0; scan.Scan(); n++ {
			if at == 0 && n == lines {
				cmd.Process.Kill()
				break
			}
		}
		for scan.Scan() {
		}
		if err := cmd.Wait(); err == nil || !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			t.Fatalf("%s: the process was not killed: %v", name, err)
		}
		after, err := diskFile(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		after.check(t, open(t, after, key), victimRows)
	}
	// The same installation is killed again and again, so each process begins
	// with what the one before left behind.
	for at := 1; at <= 14; at++ {
		kill(fmt.Sprintf("at operation %d", at), at, 0)
	}
	for i := range 80 {
		lines := i % 16
		kill(fmt.Sprintf("after %d writes", lines), 0, lines)
	}

	d, err = diskFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	v = open(t, d, key)
	if err := finish(t.Context(), d, v); err != nil {
		t.Fatal(err)
	}
	v = open(t, d, key)
	d.check(t, v, victimRows)
	if s := v.Status(); s.Next != "" || len(s.DataKeys) != 1 {
		t.Errorf("ended as %+v", s)
	}
}
