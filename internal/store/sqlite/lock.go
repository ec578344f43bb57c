package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A dirLock is a data directory taken for this process. The kernel gives it
// back when the process ends, however it ends.
//
// The file outlives the lock and says whether the directory ever had a
// database, so that a database that went missing is not replaced by an empty
// one.
type dirLock struct {
	f      *os.File
	marked bool
}

const lockMark = "This directory has a database, freshet.db. Without it no server starts here:\nrestore a backup, or begin anew in another directory.\n"

// errHeld is lockFile's way to say that somebody else has the lock.
var errHeld = errors.New("held")

// lockDir takes a data directory.
func lockDir(dir string) (*dirLock, error) {
	f, err := openPrivate(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", denied(err))
	}
	l := &dirLock{f: f}
	if err := l.take(dir); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *dirLock) take(dir string) error {
	if err := lockFile(l.f); errors.Is(err, errHeld) {
		return fmt.Errorf("%s: %w; stop it, or give this one another --data directory", dir, ErrInUse)
	} else if err != nil {
		return fmt.Errorf("lock %s: %w; a data directory must be on a local disk", dir, err)
	}
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	l.marked = st.Size() > 0
	return nil
}

// mark records that the directory has a database.
func (l *dirLock) mark() error {
	if l.marked {
		return nil
	}
	if _, err := l.f.WriteAt([]byte(lockMark), 0); err != nil {
		return fmt.Errorf("lock the data directory: %w", denied(err))
	}
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("lock the data directory: %w", err)
	}
	l.marked = true
	return nil
}

// Close gives the directory back.
func (l *dirLock) Close() error { return l.f.Close() }
