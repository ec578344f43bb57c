package vault

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// errNotRegular says that a key file is a link, a directory or a device.
var errNotRegular = errors.New("not a plain file")

// keyFileLimit is more than any key file holds; beyond it we do not read.
const keyFileLimit = 4096

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readKeyFile returns what is in the file and its mode, both of the very file
// that was opened.
func readKeyFile(path string) ([]byte, fs.FileMode, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errNotRegular
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, keyFileLimit)); err != nil {
		return nil, 0, err
	}
	return b.Bytes(), info.Mode(), nil
}

// createKeyFile makes the file with its whole content, durably, or leaves none:
// a first start that is killed half-way must not leave half a key. It fails
// with fs.ErrExist if something has the name already.
func createKeyFile(path string, text []byte) error {
	// The random name keeps two processes from writing into one file; O_EXCL
	// keeps us from writing into one that somebody laid ready.
	tmp := path + ".tmp-" + rand.Text()
	if err := writeNew(tmp, text); err != nil {
		return err
	}
	defer os.Remove(tmp)
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) || exists(path) {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		// Some file systems have no links (FAT, some network shares).
		if err := writeNew(path, text); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

func writeNew(path string, text []byte) (err error) {
	f, err := createNoFollow(path)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(path)
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

// replaceFile durably puts the file from in the place of to.
func replaceFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}
