package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// replace durably puts a file of the content in the place of path, with mode
// 0600, whole or not at all.
func replace(path string, content []byte) (err error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// name gives a file the name, durably, unless somebody else has taken that.
func name(file, as string) error {
	err := os.Link(file, as)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		// Some file systems have no links (FAT, some network shares).
		if err := vacant(as); err != nil {
			return err
		}
		err = os.Rename(file, as)
	}
	if errors.Is(err, fs.ErrExist) {
		return vacant(as)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(as))
}

// vacant refuses a name that is taken.
func vacant(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return fmt.Errorf("%s exists already, and a backup replaces nothing: choose another name", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes names in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which cannot, and need not
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
