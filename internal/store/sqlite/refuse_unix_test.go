//go:build unix

package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// refused fails the test unless err is want and says all of the words.
func refused(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestF66_no_writes(t *testing.T) {
	t.Run("F66 files and directories of others", func(t *testing.T) {
		for name, c := range map[string]struct {
			setUp func(dir string) error
			says  []string
		}{
			"a directory that takes no files": {func(dir string) error { return os.Chmod(dir, 0o555) }, []string{"read-only: ", "/lock", "user that runs freshet"}},
			"a directory that takes no files more": {func(dir string) error {
				return errors.Join(os.WriteFile(dir+"/lock", nil, 0o600), os.Chown(dir+"/lock", unprivileged, -1), os.Chmod(dir, 0o555))
			}, nil},
			"a database of somebody else": {func(dir string) error {
				populate(t, dir)
				return errors.Join(os.Chown(dir+"/lock", unprivileged, -1), os.Chmod(filepath.Join(dir, FileName), 0o644))
			}, []string{"read-only: ", FileName}},
			"a lock of somebody else": {func(dir string) error {
				populate(t, dir)
				return os.Chmod(dir+"/lock", 0o444)
			}, []string{"read-only: ", "/lock"}},
		} {
			t.Run(name, func(t *testing.T) {
				dir, exe, who := nobody(t)
				if who == nil {
					t.Skip("it needs files of another user, which only root can make")
				}
				if err := c.setUp(dir); err != nil {
					t.Fatal(err)
				}
				says := openAs(t, dir, exe, who)
				for _, want := range append(c.says, "read-only: ", dir) {
					if !strings.Contains(says, want) {
						t.Errorf("%q does not say %q", says, want)
					}
				}
			})
		}
		t.Run("in its own it starts", func(t *testing.T) {
			dir, exe, who := nobody(t)
			if says := openAs(t, dir, exe, who); !strings.HasPrefix(says, "opened") {
				t.Error(says)
			}
		})
	})
	t.Run("F66 a database that turns read-only", func(t *testing.T) {
		dir := t.TempDir()
		populate(t, dir)
		st := mustOpen(t, dir, Options{})
		write := st.DB().(*DB).write
		if _, err := write.Exec(`PRAGMA query_only(ON)`); err != nil {
			t.Fatal(err)
		}
		claim := store.Claim{ID: victim(0), Attempt: "a1", Owner: "me", Lease: time.Minute}
		refused(t, st.Claim(t.Context(), claim), store.ErrReadOnly, dir)
		refused(t, st.Writable(t.Context()), store.ErrReadOnly)
		r, err := st.Token(t.Context(), victim(0))
		if err != nil || r.Attempt != "" {
			t.Errorf("it is still read: %+v, %v", r, err)
		}
		if _, err := write.Exec(`PRAGMA query_only(OFF)`); err != nil {
			t.Fatal(err)
		}
		if err := st.Claim(t.Context(), claim); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("F66 opened to look", func(t *testing.T) {
		dir := t.TempDir()
		populate(t, dir)
		st := mustOpen(t, dir, Options{ReadOnly: true})
		refused(t, st.Writable(t.Context()), store.ErrReadOnly)
		if _, err := st.Token(t.Context(), victim(0)); err != nil {
			t.Error(err)
		}
		_, err := Open(t.Context(), t.TempDir(), Options{ReadOnly: true})
		refused(t, err, ErrMissing, FileName)
	})
}

func TestF67_a_full_disk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a small disk can be mounted by root only")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		leaveOut(t, fmt.Sprintf("a small disk cannot be mounted here: %v: %s", err, out))
	}
	t.Cleanup(func() {
		// Lazily, for a test that fails may have left a file open.
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	st, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.PutMeta(t.Context(), "before", []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	// The log has room that it reuses; beyond it there is none.
	acked := 0
	for {
		err = st.PutMeta(t.Context(), fmt.Sprint("k", acked), make([]byte, 20000), 0)
		if err != nil {
			break
		}
		if acked++; acked > 1000 {
			t.Fatal("a full disk takes everything")
		}
	}
	refused(t, err, store.ErrReadOnly, dir, "full")
	for i := range acked {
		if _, _, err := st.Meta(t.Context(), fmt.Sprint("k", i)); err != nil {
			t.Errorf("value %d was acknowledged: %v", i, err)
		}
	}
	if _, _, err := st.Meta(t.Context(), fmt.Sprint("k", acked)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the value that was refused: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir), Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := st.PutMeta(t.Context(), "after", make([]byte, 20000), 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
	// A first start on a full disk leaves nothing that the next one trips over.
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filler, make([]byte, 4<<20), 0o600)
	_, err = Open(t.Context(), sub, Options{})
	refused(t, err, store.ErrReadOnly, sub)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), sub, Options{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestF68_somebody_else_holds_the_lock(t *testing.T) {
	dir := t.TempDir()
	populate(t, dir)
	st := mustOpen(t, dir, Options{BusyTimeout: 50 * time.Millisecond})
	c := start(t, "hold", dir, "")
	if said := c.line(); said != "held" {
		t.Fatal(said)
	}
	// It is held until we say so: whoever waited for that would wait for ever.
	claim := store.Claim{ID: victim(0), Attempt: "a1", Owner: "me", Lease: time.Minute}
	refused(t, st.Claim(t.Context(), claim), store.ErrReadOnly, dir, "locked")
	if r, err := st.Token(t.Context(), victim(0)); err != nil || r.Attempt != "" {
		t.Errorf("it is still read: %+v, %v", r, err)
	}
	// A caller's own deadline is shorter than the wait.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Claim(ctx, claim); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left: %v", err)
	}
	c.in.Close()
	if said := c.line(); said != "released" {
		t.Fatal(said)
	}
	if err := st.Claim(t.Context(), claim); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestF77_two_servers_on_one_directory(t *testing.T) {
	dir := t.TempDir()
	st := mustOpen(t, dir, Options{})
	said := start(t, "open", dir, "").line()
	for _, want := range []string{"in use: ", dir, "another freshet", "--data"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one in this process: %v", err)
	}
	if err := st.PutMeta(t.Context(), "k", []byte{1}, 0); err != nil {
		t.Errorf("the first one: %v", err)
	}
	looker := mustOpen(t, dir, Options{ReadOnly: true})
	if _, _, err := looker.Meta(t.Context(), "k"); err != nil {
		t.Errorf("who only looks: %v", err)
	}
	st.Close()
	if said := start(t, "open", dir, "").line(); !strings.HasPrefix(said, "opened") {
		t.Errorf("after the first has ended: %s", said)
	}
	// The lock goes with the process, however that ends.
	populate(t, dir)
	c := start(t, "commit", dir, "")
	c.line()
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("while it runs: %v", err)
	}
	c.kill()
	mustOpen(t, dir, Options{})
}

func TestS46_private_files(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	modes := func(dir string, names ...string) {
		t.Helper()
		for _, n := range names {
			st, err := os.Stat(filepath.Join(dir, n))
			if err != nil {
				t.Error(err)
			} else if st.Mode() != 0o600 {
				t.Errorf("%s has mode %v", n, st.Mode())
			}
		}
	}
	all := []string{FileName, FileName + "-wal", FileName + "-shm", "lock"}
	dir := t.TempDir()
	st := mustOpen(t, dir, Options{})
	if err := st.PutMeta(t.Context(), "k", []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	modes(dir, all...)
	if err := st.DB().(*DB).Backup(t.Context(), filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	modes(dir, "copy")
	st.Close()
	t.Run("S46 what others can read is put right", func(t *testing.T) {
		for _, n := range []string{FileName, "lock"} {
			if err := os.Chmod(filepath.Join(dir, n), 0o664); err != nil {
				t.Fatal(err)
			}
		}
		st := mustOpen(t, dir, Options{})
		if err := st.PutMeta(t.Context(), "k2", []byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		modes(dir, all...)
		st.Close()
	})
	db, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for name, theirs := range map[string][]byte{FileName: db, "lock": nil} {
		t.Run("S46 a link in the place of "+name, func(t *testing.T) {
			dir, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
			if err := os.WriteFile(target, theirs, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if st, err := Open(t.Context(), dir, Options{}); err == nil {
				st.Close()
				t.Error("it was followed")
			}
			if b, _ := os.ReadFile(target); !bytes.Equal(b, theirs) {
				t.Error("its target was written")
			}
		})
	}
}
