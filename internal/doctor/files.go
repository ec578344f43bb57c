package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// Free space below which a store is in danger, and below which it will soon be.
const (
	scarce   = 64 << 20
	dwindles = 1 << 30
)

// secretFiles are the files of a data directory that nobody but their owner may
// read, and what they are.
var secretFiles = []struct{ pattern, what string }{
	{"master.key", "the master key"},
	{"master.key.next", "the next master key"},
	{"admin.key", "the admin key"},
	{sqlite.FileName, "the store"},
	{sqlite.FileName + "-wal", "the store's log"},
	{"spill-*", "the spill file"},
}

// Directory looks at a data directory and the files in it.
func Directory(dir string) Report {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Report{{"data directory", Problem, "there is no " + dir, "start a server with freshet serve, or name its directory with --data"}}
	case err != nil:
		return Report{{"data directory", Problem, reason(err), "run this as the user that runs the server"}}
	case !st.IsDir():
		return Report{{"data directory", Problem, dir + " is not a directory", "name the server's data directory with --data"}}
	}
	r := Report{}
	f, err := os.CreateTemp(dir, ".writable-*")
	switch {
	case err != nil:
		r = append(r, Finding{"data directory", Problem, dir + " cannot be written: " + reason(err), "run this as the user that runs the server; if that is who you are, give the directory to it"})
	default:
		f.Close()
		os.Remove(f.Name())
		if mode := st.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
			r = append(r, Finding{"data directory", Warning, fmt.Sprintf("others may look into %s (mode %04o)", dir, mode), "chmod 700 " + dir})
		} else {
			r = append(r, Finding{"data directory", OK, dir + " is there and can be written", ""})
		}
	}
	r = append(r, modes(dir)...)
	return append(r, disk(dir))
}

func modes(dir string) Report {
	r := Report{}
	seen := 0
	for _, s := range secretFiles {
		found, err := filepath.Glob(filepath.Join(dir, s.pattern))
		if err != nil {
			continue // a directory whose name is a pattern
		}
		for _, path := range found {
			st, err := os.Lstat(path)
			if err != nil {
				continue
			}
			seen++
			switch mode := st.Mode(); {
			case !mode.IsRegular():
				r = append(r, Finding{"files", Problem, fmt.Sprintf("%s (%s) is not a regular file", path, s.what), "put the file itself there"})
			case runtime.GOOS != "windows" && mode.Perm()&0o077 != 0:
				r = append(r, Finding{"files", Problem, fmt.Sprintf("others may read %s, %s (mode %04o)", path, s.what, mode.Perm()), "chmod 600 " + path})
			}
		}
	}
	if len(r) == 0 {
		r = Report{{"files", OK, fmt.Sprintf("%d files, readable by their owner alone", seen), ""}}
	}
	return r
}

func disk(dir string) Finding {
	free, err := freeSpace(dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return Finding{"disk", OK, "free space is not known on this system", ""}
	case err != nil:
		return Finding{"disk", Warning, "free space is not known: " + reason(err), ""}
	}
	text := fmt.Sprintf("%d MiB free", free>>20)
	switch {
	case free < scarce:
		return Finding{"disk", Problem, text, "make room: refreshed tokens that cannot be stored go into the spill file, and then nothing is refreshed"}
	case free < dwindles:
		return Finding{"disk", Warning, text, "make room before it runs out"}
	}
	return Finding{"disk", OK, text, ""}
}

// File looks at the store's file without opening it for writing. A server may
// be using it.
func File(ctx context.Context, dir string) Finding {
	path := filepath.Join(dir, sqlite.FileName)
	begin := time.Now()
	err := sqlite.Examine(ctx, path)
	switch {
	case err == nil:
		return Finding{"store", OK, fmt.Sprintf("%s is whole (read in %v)", path, time.Since(begin).Round(time.Millisecond)), ""}
	case errors.Is(err, fs.ErrNotExist):
		return Finding{"store", Problem, "there is no " + path, "start a server with freshet serve, or put a backup there with freshet restore FILE"}
	case errors.Is(err, sqlite.ErrOlder):
		return Finding{"store", OK, trim(err, path) + "; the next start brings it up to date", ""}
	case errors.Is(err, sqlite.ErrNewer):
		return Finding{"store", Problem, trim(err, path), "start the newer binary, or restore a backup from before the upgrade"}
	case errors.Is(err, sqlite.ErrCorrupt):
		return Finding{"store", Problem, trim(err, path), "stop the server, keep a copy of the directory, and put the last backup there: freshet restore FILE"}
	case errors.Is(err, sqlite.ErrNone):
		return Finding{"store", Problem, trim(err, path), "put the store back, or a backup: freshet restore FILE"}
	}
	return Finding{"store", Problem, reason(err), "run this as the user that runs the server"}
}

func trim(err error, path string) string { return path + strings.TrimPrefix(err.Error(), path) }

// reason leaves out of an error what the sentence around it says already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}
