package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/freshet-dev/freshet/internal/store"
)

// AdminFile is the name of the file in the data directory that holds the first
// key.
const AdminFile = "admin.key"

// AdminName is the name of the first key.
const AdminName = "admin"

// EnsureAdmin makes the first key of an installation, with scope admin, and
// writes it to AdminFile in dir, readable by its owner alone. It does so only
// where there is no key at all yet: whoever has deleted the file, or revoked the
// key, does not want it back. Of several processes that start at once, exactly
// one makes it. made tells whether this one did.
//
// The file is written before the row, so that a process that dies between the
// two leaves a file that the next start makes good.
func (k *Keys) EnsureAdmin(ctx context.Context, dir string) (path string, made bool, err error) {
	path = filepath.Join(dir, AdminFile)
	rows, err := k.o.Store.Keys(ctx)
	if err != nil {
		return path, false, fmt.Errorf("first key: %w", err)
	}
	if len(rows) > 0 {
		return path, false, nil
	}
	id, secret, err := adminFile(path)
	if errors.Is(err, errGone) {
		// Somebody took it away again, because another key is the first.
		if rows, rerr := k.o.Store.Keys(ctx); rerr == nil && len(rows) > 0 {
			return path, false, nil
		}
	}
	if err != nil {
		return path, false, fmt.Errorf("first key: %w", err)
	}
	_, err = k.add(ctx, Request{Name: AdminName, Scopes: []string{string(Admin)}}, id, secret)
	if errors.Is(err, store.ErrExists) {
		// Another process of the same data directory took the same file; one of
		// another directory has made the key, and our file opens nothing.
		if err := k.reload(ctx); err != nil {
			return path, false, err
		}
		if (*k.byID.Load())[id] == nil {
			if err := takeAway(path, id); err != nil {
				return path, false, fmt.Errorf("first key: %w", err)
			}
		}
		return path, false, nil
	}
	return path, err == nil, err
}

// adminFile reads the key in the file, or makes both. The file appears whole or
// not at all, and an existing one is never replaced.
func adminFile(path string) (id, secret string, err error) {
	for range 10 {
		f, err := os.Open(path)
		if err == nil {
			defer f.Close()
			return readAdmin(f)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", "", err
		}
		// Who has made the file answers for it: it is not looked up again, or it
		// could be left behind.
		if id, secret, err = makeAdmin(path); err == nil || !errors.Is(err, os.ErrExist) {
			return id, secret, err
		}
	}
	return "", "", fmt.Errorf("%s %w", path, errGone)
}

var errGone = errors.New("comes and goes")

// takeAway removes the file of a key that is not the first after all, unless
// somebody else has done so and another key's file stands there now.
func takeAway(path, id string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	stands, _, err := readAdmin(f)
	f.Close()
	if err != nil || stands != id {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func readAdmin(f *os.File) (id, secret string, err error) {
	b, err := io.ReadAll(io.LimitReader(f, maxKey+2))
	if err != nil {
		return "", "", err
	}
	st, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return "", "", fmt.Errorf("others may read %s (mode %04o), so its key is not taken: remove it and start again", f.Name(), st.Mode().Perm())
	}
	id, secret = split(strings.TrimSpace(string(b)))
	if id == "" || len(secret) != letters.EncodedLen(secretBytes) {
		return "", "", fmt.Errorf("%s holds no API key and the database has none either: move the file away and start again", f.Name())
	}
	return id, secret, nil
}

func makeAdmin(path string) (id, secret string, err error) {
	id, secret = newKey()
	f, err := os.CreateTemp(filepath.Dir(path), ".admin-*") // mode 0600
	if err != nil {
		return "", "", err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(Prefix + id + "_" + secret + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", "", err
	}
	// Link, unlike rename, fails where somebody else was first.
	return id, secret, os.Link(f.Name(), path)
}
