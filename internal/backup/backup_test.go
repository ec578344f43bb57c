package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

const canary = "canary-7d20f1-token"

// An install is a data directory with a store and its vault open.
type install struct {
	t   *testing.T
	dir string
	key vault.MasterKey
	*store.Store
	vault *vault.Vault
}

func newInstall(t *testing.T) *install {
	t.Helper()
	return newInstallIn(t, t.TempDir())
}

func newInstallIn(t *testing.T, dir string) *install {
	t.Helper()
	i := &install{t: t, dir: dir, key: vault.MasterKeyFile(filepath.Join(dir, "master.key"))}
	i.open()
	return i
}

func (i *install) open() {
	i.t.Helper()
	st, err := sqlite.Open(context.Background(), i.dir, sqlite.Options{})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { st.Close() })
	i.Store = st
	if i.vault, err = vault.Open(context.Background(), st, i.key); err != nil {
		i.t.Fatal(err)
	}
}

func (i *install) close() {
	i.t.Helper()
	if err := i.Close(); err != nil {
		i.t.Fatal(err)
	}
}

func (i *install) connect(names ...string) {
	i.t.Helper()
	if err := i.Change(context.Background(), func(c *store.Change) error {
		for _, n := range names {
			if err := c.EnsureToken(store.Token{ID: freshet.ConnectionID("id-" + n), Name: n, State: freshet.StateOK}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		i.t.Fatal(err)
	}
}

// next stores the next generation of a connection's token, and an event that
// tells of it.
func (i *install) next(name string) error {
	ctx := context.Background()
	id := freshet.ConnectionID("id-" + name)
	r, err := i.Token(ctx, id)
	if err != nil {
		return err
	}
	sealed, err := i.vault.SealToken(id, r.Gen+1, &freshet.Token{Access: freshet.NewSecret(canary), Refresh: freshet.NewSecret(fmt.Sprint(canary, "-", r.Gen+1))})
	if err != nil {
		return err
	}
	return i.Put(ctx, store.Commit{ID: id, Gen: r.Gen, Sealed: sealed, Events: []store.Event{{Connection: name, Type: "x"}}})
}

func (i *install) take(to string) backup.Summary {
	i.t.Helper()
	s, err := backup.Take(context.Background(), i.DB().(*sqlite.DB), i.key, to)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

// files are the contents of a directory by name; what SQLite makes to read, and
// takes away again, is left out.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.HasSuffix(path, "-shm") {
			b = nil
		}
		out[path] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestF78_a_backup_under_load(t *testing.T) {
	i := newInstall(t)
	names := []string{"a", "b", "c"}
	i.connect(names...)
	var stop atomic.Bool
	var writers sync.WaitGroup
	written := make([]atomic.Int64, len(names))
	for k, n := range names {
		writers.Go(func() {
			for !stop.Load() {
				if err := i.next(n); err != nil {
					t.Error(err)
					return
				}
				written[k].Add(1)
			}
		})
	}
	for k := range written {
		for written[k].Load() < 3 { // each of them has a token to lose
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	dir := t.TempDir()
	var taken []string
	low := map[string]int64{}
	for n := range 5 {
		at := func() map[string]int64 {
			gens := map[string]int64{}
			for _, name := range names {
				r, err := i.TokenByName(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				gens[name] = r.Gen
			}
			return gens
		}
		before := at()
		to := filepath.Join(dir, fmt.Sprint("backup-", n))
		s := i.take(to)
		after := at()
		if s.Connections != 3 || s.Sealed != 3 || s.Unreadable != 0 || s.Size == 0 {
			t.Errorf("%+v", s)
		}
		taken = append(taken, to)
		st, err := sqlite.OpenFile(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			r, err := st.TokenByName(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if r.Gen < before[name] || r.Gen > after[name] || r.Gen < low[name] {
				t.Errorf("%s is at generation %d, it was at %d before and at %d after", name, r.Gen, before[name], after[name])
			}
			low[name] = r.Gen
			events, err := st.Events(t.Context(), name, 0, 1<<20)
			if err != nil || int64(len(events)) != r.Gen {
				t.Errorf("%s: generation %d with %d events: half a transaction, %v", name, r.Gen, len(events), err)
			}
			tok, err := i.vault.OpenToken(r.ID, r.Gen, r.Sealed)
			if err != nil || !tok.Refresh.Equal(freshet.NewSecret(fmt.Sprint(canary, "-", r.Gen))) {
				t.Errorf("%s: the token of generation %d is not there: %v", name, r.Gen, err)
			}
		}
		st.Close()
	}
	stop.Store(true)
	writers.Wait()
	i.close()

	// And each of them restores.
	for _, from := range taken {
		r, err := backup.Restore(t.Context(), from, i.dir, i.key, backup.Options{Replace: true, Now: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sealed != 3 || r.Former == "" {
			t.Errorf("%+v", r)
		}
		os.Remove(r.Former)
	}
	i.open()
	r, err := i.TokenByName(t.Context(), "a")
	if err != nil || r.Gen != low["a"] {
		t.Errorf("restored generation %d, the backup's is %d, %v", r.Gen, low["a"], err)
	}
	if err := i.next("a"); err != nil {
		t.Errorf("it goes on: %v", err)
	}
}

func TestTake(t *testing.T) {
	i := newInstall(t)
	i.connect("crm")
	if err := i.next("crm"); err != nil {
		t.Fatal(err)
	}
	db := i.DB().(*sqlite.DB)
	t.Run("S48 it holds no plaintext and is nobody else's to read", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "b")
		i.take(to)
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(i.dir, "master.key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{[]byte(canary), bytes.TrimSpace(key)} {
			if bytes.Contains(b, secret) {
				t.Error("a secret is in it")
			}
		}
		if st, err := os.Stat(to); err != nil || st.Mode() != 0o600 {
			t.Errorf("%v, %v", st.Mode(), err)
		}
	})
	t.Run("it replaces nothing", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "b")
		if err := os.WriteFile(to, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := backup.Take(t.Context(), db, i.key, to)
		if err == nil || !strings.Contains(err.Error(), to) {
			t.Errorf("%v", err)
		}
		// Nor what appears while it is being made.
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
		err = backup.Write(t.Context(), to, func(ctx context.Context, part string) error {
			return errors.Join(os.WriteFile(to, []byte("precious"), 0o600), db.Backup(ctx, part))
		})
		if err == nil {
			t.Error("it took a name that was taken")
		}
		if b, _ := os.ReadFile(to); string(b) != "precious" {
			t.Errorf("%q", b)
		}
	})
	t.Run("what is not whole gets no name", func(t *testing.T) {
		dir := t.TempDir()
		to := filepath.Join(dir, "b")
		otherKey := filepath.Join(t.TempDir(), "other.key")
		newKey(t, otherKey)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for name, do := range map[string]func() error{
			"another master key": func() error {
				_, err := backup.Take(t.Context(), db, vault.MasterKeyFile(otherKey), to)
				return err
			},
			"a caller who left": func() error {
				_, err := backup.Take(canceled, db, i.key, to)
				return err
			},
			"an answer that was cut": func() error {
				return backup.Write(t.Context(), to, func(ctx context.Context, part string) error {
					if err := db.Backup(ctx, part); err != nil {
						return err
					}
					return os.Truncate(part, 20000)
				})
			},
			"no answer": func() error {
				return backup.Write(t.Context(), to, func(context.Context, string) error { return errors.New("it hung up") })
			},
			"no directory": func() error {
				_, err := backup.Take(t.Context(), db, i.key, filepath.Join(dir, "none", "b"))
				return err
			},
		} {
			if err := do(); err == nil {
				t.Errorf("%s: it was made", name)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("%s: it left %v", name, left)
			}
		}
	})
	t.Run("F76 a row that does not open is counted and copied", func(t *testing.T) {
		i.connect("bad")
		if err := i.next("bad"); err != nil {
			t.Fatal(err)
		}
		if err := i.Put(t.Context(), store.Commit{ID: "id-bad", Gen: 1, Sealed: []byte("rotten")}); err != nil {
			t.Fatal(err)
		}
		if s := i.take(filepath.Join(t.TempDir(), "b")); s.Sealed != 1 || s.Unreadable != 1 || s.Connections != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// newKey makes a master key by founding an installation with it.
func newKey(t *testing.T, path string) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := vault.Open(t.Context(), st, vault.MasterKeyFile(path)); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	ctx := t.Context()
	i := newInstall(t)
	i.connect("crm")
	if err := i.next("crm"); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good")
	i.take(good)
	if _, err := backup.Restore(ctx, good, i.dir, i.key, backup.Options{Replace: true}); !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("while a server runs: %v", err)
	}
	if err := i.next("crm"); err != nil {
		t.Fatal(err)
	}
	i.close()
	// What must not change: the data directory and the backup.
	change := func(fn func(b []byte) []byte) string {
		b, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "changed")
		if err := os.WriteFile(path, fn(b), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	query := func(q string) string {
		path := change(func(b []byte) []byte { return b })
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
		return path
	}
	otherKey := filepath.Join(t.TempDir(), "other.key")
	newKey(t, otherKey)
	noKey := filepath.Join(t.TempDir(), "none.key")
	all := backup.Options{Replace: true}
	for name, c := range map[string]struct {
		from string
		key  vault.MasterKey
		o    backup.Options
		want error
		says string
	}{
		"a directory that has a database": {good, i.key, backup.Options{}, backup.ErrOccupied, i.dir},
		"no file":                         {filepath.Join(t.TempDir(), "none"), i.key, all, fs.ErrNotExist, "none"},
		"a directory":                     {t.TempDir(), i.key, all, sqlite.ErrNone, ""},
		"a text":                          {change(func([]byte) []byte { return []byte(strings.Repeat("text\n", 5000)) }), i.key, all, sqlite.ErrNone, "changed"},
		"an empty file":                   {change(func([]byte) []byte { return nil }), i.key, all, sqlite.ErrNone, "changed"},
		"F73 half a backup":               {change(func(b []byte) []byte { return b[:len(b)/2] }), i.key, all, sqlite.ErrCorrupt, "changed"},
		"F73 a damaged page": {change(func(b []byte) []byte {
			for n := range 16 {
				b[len(b)/2/4096*4096+n] ^= 0x5a
			}
			return b
		}), i.key, all, sqlite.ErrCorrupt, "changed"},
		"F11 a newer schema":                  {query(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`), i.key, all, sqlite.ErrNewer, "99999"},
		"F11 a schema that cannot be brought": {query(`UPDATE goose_db_version SET version_id = 0`), i.key, all, nil, "migrate"},
		"F74 another master key":              {good, vault.MasterKeyFile(otherKey), all, nil, "master key"},
		"F74 no master key":                   {good, vault.MasterKeyFile(noKey), all, nil, "master key"},
		"a keyring that is gone with values":  {query(`DELETE FROM meta WHERE key = 'keyring'`), i.key, all, backup.ErrNoKeyring, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := files(t, i.dir)
			_, err := backup.Restore(ctx, c.from, i.dir, c.key, c.o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if after := files(t, i.dir); !maps.Equal(before, after) {
				t.Error("it changed the data directory")
			}
			if _, err := os.Stat(noKey); err == nil {
				t.Error("it made a master key")
			}
		})
	}
	i.open()
	if r, err := i.TokenByName(ctx, "crm"); err != nil || r.Gen != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRestore(t *testing.T) {
	ctx := t.Context()
	i := newInstall(t)
	i.connect("crm")
	if err := i.next("crm"); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(t.TempDir(), "b")
	i.take(from)
	t.Run("on another machine, with the master key", func(t *testing.T) {
		dir := t.TempDir()
		// A restore that was killed left something behind.
		if err := errors.Join(os.Mkdir(filepath.Join(dir, ".restore-123"), 0o700), os.WriteFile(filepath.Join(dir, ".restore-123", "x"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(from)
		r, err := backup.Restore(ctx, from, dir, i.key, backup.Options{})
		if err != nil || r.Former != "" || r.Connections != 1 || r.Sealed != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		if after, _ := os.ReadFile(from); !bytes.Equal(before, after) {
			t.Error("it changed the backup")
		}
		names := files(t, dir)
		if len(names) != 2 { // the database and the lock
			t.Errorf("it left %v", names)
		}
		for path := range names {
			if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", path, st.Mode(), err)
			}
		}
		two := &install{t: t, dir: dir, key: i.key}
		two.open()
		row, err := two.TokenByName(ctx, "crm")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := two.vault.OpenToken(row.ID, row.Gen, row.Sealed); err != nil {
			t.Error(err)
		}
	})
	t.Run("what was there before is kept", func(t *testing.T) {
		if err := i.next("crm"); err != nil {
			t.Fatal(err)
		}
		i.close()
		r, err := backup.Restore(ctx, from, i.dir, i.key, backup.Options{Replace: true})
		if err != nil {
			t.Fatal(err)
		}
		for path, gen := range map[string]int64{filepath.Join(i.dir, sqlite.FileName): 1, r.Former: 2} {
			st, err := sqlite.OpenFile(ctx, path)
			if err != nil {
				t.Fatal(err)
			}
			if row, err := st.TokenByName(ctx, "crm"); err != nil || row.Gen != gen {
				t.Errorf("%s: generation %d, %v; want %d", path, row.Gen, err, gen)
			}
			st.Close()
		}
	})
	t.Run("a store that no server has started on", func(t *testing.T) {
		st, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		empty := filepath.Join(t.TempDir(), "empty")
		if err := backup.Write(ctx, empty, st.DB().(*sqlite.DB).Backup); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Restore(ctx, empty, t.TempDir(), vault.MasterKey{}, backup.Options{}); err != nil {
			t.Error(err)
		}
	})
}
