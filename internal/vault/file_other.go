//go:build !unix

package vault

import "os"

// modesMatter: here access lists say who may read a file, and a file inherits
// those of its directory.
const modesMatter = false

func openNoFollow(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return os.Open(path)
}

func createNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// syncDir has nothing to do: directories cannot be opened for it.
func syncDir(string) error { return nil }
