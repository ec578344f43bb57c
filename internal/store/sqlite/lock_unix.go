//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir takes the data directory for this process. The kernel gives the lock
// back when the process ends, however it ends.
func lockDir(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return func() error { return nil }, fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return func() error { return nil }, fmt.Errorf("%s: %w; stop it, or give this one another --data directory", dir, ErrInUse)
		}
		return func() error { return nil }, fmt.Errorf("lock %s: %w; a data directory must be on a local disk", dir, err)
	}
	return f.Close, nil
}
