//go:build unix

package vault_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/vault"
)

func TestS46_modes_of_the_master_key_file(t *testing.T) {
	for mode, ok := range map[fs.FileMode]bool{
		0o600: true, 0o400: true,
		0o640: false, 0o604: false, 0o620: false, 0o602: false, 0o610: false, 0o644: false, 0o660: false, 0o666: false, 0o777: false, 0o440: false,
	} {
		key, path := fileKey(t)
		writeFile(t, path, randomKey(), mode)
		d := newDisk()
		_, err := vault.Open(t.Context(), d, key)
		switch {
		case ok && err != nil:
			t.Errorf("mode %04o: %v", mode, err)
		case !ok && problem(t, err) != vault.KeyExposed:
			t.Errorf("mode %04o: %v", mode, err)
		case !ok && d.saves != 0:
			t.Errorf("mode %04o: a keyring was made", mode)
		}
	}
	for mode, ok := range map[fs.FileMode]bool{0o400: true, 0o440: true, 0o444: false, 0o460: false} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, vault.CredentialName), randomKey(), mode)
		_, err := vault.Open(t.Context(), newDisk(), vault.MasterKeyCredential(dir))
		if ok && err != nil || !ok && problem(t, err) != vault.KeyExposed {
			t.Errorf("credential of mode %04o: %v", mode, err)
		}
	}
	t.Run("S46 what is not a plain file is refused", func(t *testing.T) {
		dir := t.TempDir()
		target := filepath.Join(dir, "target")
		writeFile(t, target, randomKey(), 0o600)
		for name, make := range map[string]func(path string) error{
			"link":      func(path string) error { return os.Symlink(target, path) },
			"loose end": func(path string) error { return os.Symlink(filepath.Join(dir, "nowhere"), path) },
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		} {
			path := filepath.Join(dir, name)
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			_, err := vault.Open(t.Context(), newDisk(), vault.MasterKeyFile(path))
			if p := problem(t, err); p != vault.KeyExposed {
				t.Errorf("%s: Problem = %q", name, p)
			}
		}
		if exists(filepath.Join(dir, "nowhere")) {
			t.Error("a key was written through a link")
		}
	})
	t.Run("a directory that is not there", func(t *testing.T) {
		d := newDisk()
		_, err := vault.Open(t.Context(), d, vault.MasterKeyFile(filepath.Join(t.TempDir(), "no", "master.key")))
		if p := problem(t, err); p != vault.KeyUnreadable || d.saves != 0 {
			t.Errorf("Problem = %q (%v), %d saves", p, err, d.saves)
		}
	})
}
