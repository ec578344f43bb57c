package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

type backupCmd struct {
	remote        `embed:""`
	DatabaseURL   string `env:"FRESHET_DATABASE_URL" placeholder:"URL" group:"server" help:"The PostgreSQL of servers that do not run."`
	MasterKeyFile string `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" group:"server" help:"Its master key; without it DIR/master.key."`
	File          string `arg:"" name:"FILE" help:"Where to write it; it must not exist."`
}

// Help gives the example that --help shows.
func (backupCmd) Help() string {
	return example("freshet backup /backups/freshet-$(date +%F).db", "The server goes on working meanwhile; where none runs, the data directory is read. Values in a backup are sealed as they are in the store: it opens only with the master key of its time, so keep that too, elsewhere.")
}

// Run writes a backup, which gets its name when it was read back.
func (c *backupCmd) Run(e *env) error {
	p := newProgress(e.stderr)
	p.step("copying")
	from := ""
	err := backup.Write(e.ctx, c.File, func(ctx context.Context, part string) (err error) {
		from, err = c.fetch(ctx, e, part)
		return err
	})
	p.done()
	if err != nil {
		return err
	}
	st, err := os.Stat(c.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "backup: %s, %d KiB, from %s, read back\n", c.File, (st.Size()+1023)>>10, from)
	fmt.Fprintln(e.stderr, "hint: keep the master key of today with it, elsewhere: without it nothing in the backup opens")
	return nil
}

// fetch writes the copy and says where it came from.
func (c *backupCmd) fetch(ctx context.Context, e *env, to string) (from string, err error) {
	cl, err := c.client(e)
	if err == nil {
		f, ferr := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if ferr != nil {
			return "", ferr
		}
		_, err = cl.Backup(ctx, f)
		if err = errors.Join(err, f.Close()); err == nil {
			return "the server", nil
		}
		os.Remove(to)
	}
	var gone *api.UnreachableError
	store := filepath.Join(c.Data, sqlite.FileName)
	local := c.URL == "" && (errors.As(err, &gone) || errors.Is(err, errNoServer))
	if local && c.DatabaseURL != "" {
		return c.shared(ctx, to)
	}
	if _, serr := os.Stat(store); !local || serr != nil {
		return "", err
	}
	return c.Data + ", where no server runs", sqlite.Copy(ctx, store, to)
}

// shared copies a database that no server of this machine uses.
func (c *backupCmd) shared(ctx context.Context, to string) (from string, err error) {
	key, err := (&serveCmd{Data: c.Data, MasterKeyFile: c.MasterKeyFile}).masterKey()
	if err != nil {
		return "", err
	}
	st, err := postgres.Open(ctx, postgres.Options{URL: c.DatabaseURL, Look: true})
	if err != nil {
		return "", err
	}
	defer st.Close()
	_, err = backup.TakeShared(ctx, st, key, to)
	return "the database", err
}

type restoreCmd struct {
	DatabaseURL   string `env:"FRESHET_DATABASE_URL" placeholder:"URL" help:"Put it into an empty PostgreSQL database."`
	Data          string `default:"freshet-data" env:"FRESHET_DATA" placeholder:"DIR" help:"The data directory; its server must not run."`
	MasterKeyFile string `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" help:"The master key of the backup's time; without it DIR/master.key."`
	Replace       bool   `help:"Put it in the place of a store that is there, which is kept beside it."`
	File          string `arg:"" name:"FILE" help:"What freshet backup wrote."`
}

// Help gives the example that --help shows.
func (restoreCmd) Help() string {
	return example("freshet restore /backups/freshet-2026-11-20.db --replace", "The backup is read, and opened with the master key, before anything is changed. Refresh tokens that were rotated since then are spent, and trying them can make a provider revoke the grant: the server starts with background refresh at rest, until freshet resume.")
}

// Run puts a backup in place.
func (c *restoreCmd) Run(e *env) error {
	if _, err := os.Stat(c.File); err != nil {
		return readError(err)
	}
	if err := dataDir(c.Data); err != nil {
		return err
	}
	key, err := (&serveCmd{Data: c.Data, MasterKeyFile: c.MasterKeyFile}).masterKey()
	if err != nil {
		return err
	}
	p := newProgress(e.stderr)
	p.step("reading the backup")
	var r backup.Restored
	place := c.Data
	if c.DatabaseURL != "" {
		place = "the database"
		r, err = backup.RestoreShared(e.ctx, c.File, c.DatabaseURL, key)
	} else {
		r, err = backup.Restore(e.ctx, c.File, c.Data, key, backup.Options{Replace: c.Replace})
	}
	p.done()
	if err != nil {
		return notRestored(err)
	}
	fmt.Fprintf(e.stdout, "restored: %s is in %s, with %d connections\n", c.File, place, r.Connections)
	if r.Former != "" {
		fmt.Fprintf(e.stdout, "what was there before is %s\n", r.Former)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(e.stderr, "warning: %d of %d sealed values do not open; they were damaged before the backup was made\n", r.Unreadable, r.Unreadable+r.Sealed)
	}
	fmt.Fprintln(e.stderr, "hint: start the server; it refreshes nothing by itself until you have looked and said: freshet resume")
	return nil
}

// notRestored says what to do about a backup that was not put in place. Nothing
// was changed.
func notRestored(err error) error {
	var h hinter
	var db *postgres.Error
	switch {
	case errors.Is(err, sqlite.ErrInUse):
		return withHint(err, "nothing was changed; stop the server, then restore")
	case errors.Is(err, backup.ErrAlive), errors.Is(err, backup.ErrSpilled), errors.Is(err, backup.ErrNotEmpty):
		return withHint(err, "nothing was changed; make an empty database, and name that")
	case errors.As(err, &db):
		return withHint(err, "nothing was changed; %s", db.Hint())
	case errors.Is(err, backup.ErrOccupied):
		return withHint(err, "nothing was changed; add --replace to put the backup in its place, and it is kept beside")
	case errors.Is(err, sqlite.ErrNewer):
		return withHint(err, "nothing was changed; restore it with the newer binary")
	case errors.As(err, &h) && h.Hint() != "":
		return withHint(err, "nothing was changed; the master key has to be the one of the backup's time: put it in its place, or name it with --master-key-file")
	}
	return withHint(err, "nothing was changed; restore another backup")
}

type resumeCmd struct {
	remote `embed:""`
}

// Help gives the example that --help shows.
func (resumeCmd) Help() string {
	return example("freshet resume", "After a restore the server hands out what still lives and sends no refresh token unless a person forces it: freshet refresh NAME. This confirms that the store is the one to go on with.")
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
