package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

type backupCmd struct {
	remote `embed:""`
	File   string `arg:"" name:"FILE" help:"Where to write it; it must not exist."`
}

// Help gives the example that --help shows.
func (backupCmd) Help() string {
	return example("freshet backup /backups/freshet-$(date +%F).db", "The server goes on working meanwhile; where none runs, the data directory is read. Values in a backup are sealed as they are in the store: it opens only with the master key of its time, so keep that too, elsewhere.")
}

// Run writes a backup, checks it, and only then gives it its name.
func (c *backupCmd) Run(e *env) error {
	if _, err := os.Lstat(c.File); err == nil {
		return withHint(fmt.Errorf("%s exists already", c.File), "a backup replaces nothing: choose another name")
	}
	dir, err := os.MkdirTemp(filepath.Dir(c.File), ".freshet-backup-*")
	if err != nil {
		return fmt.Errorf("backup: %s: %w", filepath.Dir(c.File), cause(err))
	}
	defer os.RemoveAll(dir)
	part := filepath.Join(dir, "backup")
	p := newProgress(e.stderr)
	p.step("copying")
	from, err := c.fetch(e, part)
	p.done()
	if err != nil {
		return err
	}
	if err := sqlite.Examine(e.ctx, part); err != nil && !errors.Is(err, sqlite.ErrOlder) {
		return fmt.Errorf("the copy is not whole: %w", err)
	}
	if err := settle(part, c.File); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	st, err := os.Stat(c.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "backup: %s, %d KiB, from %s, checked\n", c.File, (st.Size()+1023)>>10, from)
	fmt.Fprintln(e.stderr, "hint: keep the master key of today with it, elsewhere: without it nothing in the backup opens")
	return nil
}

// fetch writes the copy and says where it came from.
func (c *backupCmd) fetch(e *env, to string) (from string, err error) {
	cl, err := c.client(e)
	if err == nil {
		f, ferr := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if ferr != nil {
			return "", ferr
		}
		_, err = cl.Backup(e.ctx, f)
		if err = errors.Join(err, f.Close()); err == nil {
			return "the server", nil
		}
		os.Remove(to)
	}
	var gone *api.UnreachableError
	local := c.URL == "" && (errors.As(err, &gone) || errors.Is(err, errNoServer))
	if _, serr := os.Stat(filepath.Join(c.Data, sqlite.FileName)); !local || serr != nil {
		return "", err
	}
	return c.Data + " (no server runs)", sqlite.Copy(e.ctx, filepath.Join(c.Data, sqlite.FileName), to)
}

// settle makes a file durable and gives it its name, unless somebody else has
// taken that meanwhile.
func settle(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(from, to); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// File systems without links: the name was free a moment ago.
	return os.Rename(from, to)
}

type restoreCmd struct {
	Data          string `default:"freshet-data" env:"FRESHET_DATA" placeholder:"DIR" help:"The data directory; its server must not run."`
	MasterKeyFile string `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" help:"The master key of the backup's time; without it DIR/master.key."`
	File          string `arg:"" name:"FILE" help:"What freshet backup wrote."`
}

// Help gives the example that --help shows.
func (restoreCmd) Help() string {
	return example("freshet restore /backups/freshet-2026-11-20.db", "What was there is kept beside it. Refresh tokens that were rotated since the backup are spent, and trying them can make a provider revoke the grant: the server starts with background refresh at rest, until freshet resume.")
}

// epochFile lies beside the store. Where it is missing, or is not of the same
// epoch as the store, the store is not the one that this directory had.
const epochFile = "epoch"

// Run checks the backup, then puts it in place.
func (c *restoreCmd) Run(e *env) error {
	if err := sqlite.Examine(e.ctx, c.File); err != nil && !errors.Is(err, sqlite.ErrOlder) {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no %s", c.File)
		}
		return withHint(err, "nothing was changed; restore another backup")
	}
	if err := dataDir(c.Data); err != nil {
		return err
	}
	unlock, err := sqlite.Lock(c.Data)
	if err != nil {
		return withHint(err, "stop the server first: it must not run while its store is replaced")
	}
	defer unlock()
	stage, err := os.MkdirTemp(c.Data, ".restore-*")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(stage)
	staged := filepath.Join(stage, sqlite.FileName)
	if err := sqlite.Copy(e.ctx, c.File, staged); err != nil {
		return fmt.Errorf("restore: %w; nothing was changed", err)
	}
	if err := c.opens(e, stage); err != nil {
		return err
	}
	// First of all, so that a process that dies here leaves a store that rests.
	if err := os.Remove(filepath.Join(c.Data, epochFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w; nothing was changed", err)
	}
	kept, err := sqlite.Replace(e.ctx, c.Data, staged, time.Now())
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	fmt.Fprintf(e.stdout, "restored: %s is in %s\n", c.File, c.Data)
	if kept != "" {
		fmt.Fprintf(e.stdout, "what was there before is %s\n", kept)
	}
	fmt.Fprintln(e.stderr, "hint: start the server; it refreshes nothing by itself until you have looked and said: freshet resume")
	return nil
}

// opens reports whether the master key at hand opens what the backup holds.
func (c *restoreCmd) opens(e *env, stage string) error {
	st, err := sqlite.Open(e.ctx, stage, sqlite.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer st.Close()
	ring, _, err := st.LoadKeyring(e.ctx)
	if err != nil {
		return err
	}
	if ring == nil {
		return nil // a store that never had a server sealed nothing
	}
	key, err := (&serveCmd{Data: c.Data, MasterKeyFile: c.MasterKeyFile}).masterKey()
	if err != nil {
		return err
	}
	if _, err := vault.Open(e.ctx, st, key); err != nil {
		return withHint(fmt.Errorf("the master key at hand does not open this backup: %w", err),
			"nothing was changed; put the master key of the backup's time in its place, or name it with --master-key-file")
	}
	return nil
}

type resumeCmd struct {
	remote `embed:""`
}

// Help gives the example that --help shows.
func (resumeCmd) Help() string {
	return example("freshet resume", "After a restore the server hands out what still lives and refreshes only what is asked for. This confirms that the store is the one to go on with.")
}

// Run lets background refresh go on.
func (c *resumeCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	if err := cl.Do(e.ctx, http.MethodPost, "/api/v1/resume", nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, "resumed: background refresh goes on")
	return nil
}
