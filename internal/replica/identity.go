package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// IDFile is the name, in a data directory, of the file with the replica's id.
const IDFile = "replica.id"

// spillPrefix begins the names of spill files; the rest is their owner.
const spillPrefix = "spill-"

// Identify lists this process under the id that its data directory keeps, and
// returns it. The caller holds the directory's lock: whoever used the id here is
// dead, and what he left open is taken back at once. Of a directory that was
// copied to another machine while its replica lives, the copy gets a new id.
//
// A spill file of a former id, or of an embedded store, becomes this id's.
func Identify(ctx context.Context, st Store, dir string, r store.Replica) (store.Replica, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return r, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r.Place = host + ":" + abs
	path := filepath.Join(dir, IDFile)
	for range 3 {
		if r.ID, err = readID(path); err != nil {
			return r, fmt.Errorf("replica: %w", err)
		}
		// A process that was killed on another host is silent for longer than
		// this before its volume is here.
		err = st.Enlist(ctx, r, 15*time.Second)
		if err == nil {
			return r, adoptSpill(dir, r.ID)
		}
		if !errors.Is(err, store.ErrExists) {
			return r, fmt.Errorf("replica: %w", err)
		}
		if err := os.Remove(path); err != nil {
			return r, fmt.Errorf("replica: %w", err)
		}
	}
	return r, fmt.Errorf("replica: %w", err)
}

func readID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && valid(id) {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	id := "r" + strings.ToLower(rand.Text()[:12])
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(id + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return id, os.Rename(tmp, path)
}

// valid keeps to what is a file's name everywhere.
func valid(id string) bool {
	return len(id) > 1 && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// adoptSpill gives a spill file that nobody else can own the name by which it is
// found and replayed.
func adoptSpill(dir, id string) error {
	mine := filepath.Join(dir, spillPrefix+id)
	if _, err := os.Lstat(mine); err == nil {
		return nil
	}
	others, err := filepath.Glob(filepath.Join(dir, spillPrefix+"*"))
	if err != nil || len(others) == 0 {
		return err
	}
	if len(others) > 1 {
		return fmt.Errorf("replica: %s holds several spill files (%s); leave the one of the replica that ran here last and move the others away", dir, strings.Join(others, ", "))
	}
	return os.Rename(others[0], mine)
}
