package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

type migrateStoreCmd struct {
	From          string `required:"" placeholder:"STORE" help:"What to move: a data directory, or postgres://… of a database."`
	To            string `required:"" placeholder:"STORE" help:"Where to: the other of the two, empty."`
	MasterKeyFile string `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" help:"The master key of the store; without it DIR/master.key."`
}

// Help gives the example that --help shows.
func (migrateStoreCmd) Help() string {
	return example("freshet migrate-store --from /var/lib/freshet --to postgres://freshet@db.internal/freshet",
		"Stop the servers first. Every row is copied in one transaction, read back and compared, and every sealed value opened with the master key, before anything is there. "+
			"The former store stays as it was, and rests if a server is started on it: its refresh tokens get old. A password does not have to be in the URL: PGPASSWORD, or a file .pgpass, serves as well.")
}

// Run moves the store.
func (c *migrateStoreCmd) Run(e *env) error {
	dir := c.From
	if strings.Contains(dir, "://") {
		dir = c.To
	}
	key, err := (&serveCmd{Data: dir, MasterKeyFile: c.MasterKeyFile}).masterKey()
	if err != nil {
		return err
	}
	p := newProgress(e.stderr)
	m, err := backup.Move(e.ctx, backup.MoveOptions{From: c.From, To: c.To, Key: key, Progress: func(table string, rows int64) { p.step("%s: %d rows", table, rows) }})
	p.done()
	if err != nil {
		return notMoved(err)
	}
	fmt.Fprintf(e.stdout, "moved: %d rows of %d tables, %d connections, every row read back\n", m.Rows, m.Tables, m.Connections)
	if m.Unreadable > 0 {
		fmt.Fprintf(e.stderr, "warning: %d of %d sealed values do not open; they were damaged before\n", m.Unreadable, m.Unreadable+m.Sealed)
	}
	if strings.Contains(c.To, "://") {
		fmt.Fprintf(e.stderr, "hint: give every server the same master key and start it with --database-url; %s is the former store\n", c.From)
	} else {
		fmt.Fprintf(e.stderr, "hint: the master key belongs to %s, then: freshet serve --data %s\n", filepath.Join(c.To, "master.key"), c.To)
	}
	return nil
}

// notMoved says what to do about a store that was not moved. Nothing was
// changed.
func notMoved(err error) error {
	var h hinter
	switch {
	case errors.Is(err, sqlite.ErrInUse), errors.Is(err, backup.ErrAlive):
		return withHint(err, "nothing was changed; stop the servers, then move; one that was killed counts as dead after 30 s")
	case errors.Is(err, backup.ErrSpilled):
		return withHint(err, "nothing was changed; start the server there once more, which has them stored, and stop it")
	case errors.Is(err, backup.ErrOccupied), errors.Is(err, backup.ErrNotEmpty):
		return withHint(err, "nothing was changed; name an empty database, or a directory without one")
	case errors.Is(err, postgres.ErrNewer), errors.Is(err, sqlite.ErrNewer):
		return withHint(err, "nothing was changed; move it with the newer binary")
	case errors.As(err, &h) && h.Hint() != "":
		return withHint(err, "nothing was changed; %s", h.Hint())
	}
	return withHint(err, "nothing was changed")
}
