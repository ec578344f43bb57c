package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// makeDB makes a database in dir with one row of meta, and returns it open.
func makeDB(t *testing.T, dir, value string) *store.Store {
	t.Helper()
	st, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	if err := st.PutMeta(context.Background(), "mark", []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	return st
}

func mark(t *testing.T, st *store.Store) string {
	t.Helper()
	v, _, err := st.Meta(context.Background(), "mark")
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

func edit(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestExamine(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := makeDB(t, dir, "one")
	whole := filepath.Join(t.TempDir(), "whole.db")
	if err := st.DB().(*DB).Backup(ctx, whole); err != nil {
		t.Fatal(err)
	}
	copied := func(name string, change func(path string)) string {
		b, err := os.ReadFile(whole)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		change(path)
		return path
	}
	for name, c := range map[string]struct {
		path string
		want error
	}{
		"whole":           {whole, nil},
		"F11 newer":       {copied("a", func(p string) { edit(t, p, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`) }), ErrNewer},
		"older":           {copied("b", func(p string) { edit(t, p, `UPDATE goose_db_version SET version_id = 0`) }), ErrOlder},
		"text":            {copied("c", func(p string) { os.WriteFile(p, []byte(strings.Repeat("not a database\n", 100)), 0o600) }), ErrNone},
		"empty":           {copied("d", func(p string) { os.WriteFile(p, nil, 0o600) }), ErrNone},
		"somebody else's": {copied("e", func(p string) { edit(t, p, `DROP TABLE goose_db_version`) }), ErrNone},
		"directory":       {t.TempDir(), ErrNone},
		"F73 damaged": {copied("f", func(p string) {
			b, _ := os.ReadFile(p)
			for i := 4096; i < len(b)-4096; i += 512 {
				copy(b[i:], "damage")
			}
			os.WriteFile(p, b, 0o600)
		}), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadFile(c.path)
			if err := Examine(ctx, c.path); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(c.path); string(after) != string(before) {
				t.Error("looking changed the file")
			}
			if files, _ := filepath.Glob(c.path + "-*"); len(files) != 0 {
				t.Errorf("looking left %v", files)
			}
		})
	}
}

// F78: a backup is a consistent copy with the log, and it restores; what was
// there is kept.
func TestF78_a_backup_takes_the_place_of_the_database(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := makeDB(t, dir, "old")
	backup := filepath.Join(dir, "backup.db")
	if err := st.DB().(*DB).Backup(ctx, backup); err != nil {
		t.Fatal(err)
	}
	if err := st.PutMeta(ctx, "mark", []byte("new"), 1); err != nil {
		t.Fatal(err)
	}
	if unlock, err := Lock(dir); !errors.Is(err, ErrInUse) {
		unlock()
		t.Fatalf("a directory in use is locked: %v", err)
	}
	// A process that is killed leaves its log behind.
	wal, err := os.ReadFile(filepath.Join(dir, FileName+"-wal"))
	if err != nil || len(wal) == 0 {
		t.Fatalf("the test needs a log: %v", err)
	}
	image, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	for name, b := range map[string][]byte{FileName: image, FileName + "-wal": wal} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := Replace(ctx, dir, backup, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(filepath.Join(dir, FileName+"-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the former log lies beside the restored database")
	}
	again, err := Open(ctx, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m := mark(t, again); m != "old" {
		t.Errorf("restored %q, want old", m)
	}
	again.Close()
	former := t.TempDir()
	b, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(former, FileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := Open(ctx, former, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	if m := mark(t, was); m != "new" {
		t.Errorf("what was there before is %q, want new: its log was lost", m)
	}
}

func TestReplaceWhereNothingIs(t *testing.T) {
	ctx := context.Background()
	st := makeDB(t, t.TempDir(), "moved")
	dir := t.TempDir()
	from := filepath.Join(dir, "staged")
	if err := st.DB().(*DB).Backup(ctx, from); err != nil {
		t.Fatal(err)
	}
	kept, err := Replace(ctx, dir, from, time.Now())
	if err != nil || kept != "" {
		t.Fatal(kept, err)
	}
	to, err := Open(ctx, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if m := mark(t, to); m != "moved" {
		t.Errorf("%q", m)
	}
}

// A log that cannot be brought into a damaged database is never replayed into
// the one that takes its place.
func TestF73_a_damaged_database_is_replaced(t *testing.T) {
	ctx := context.Background()
	db, log := killed(t, 5)
	from := makeDB(t, t.TempDir(), "restored")
	dir := place(t, db[:len(db)/2:len(db)/2], log)
	staged := filepath.Join(dir, "staged")
	if err := from.DB().(*DB).Backup(ctx, staged); err != nil {
		t.Fatal(err)
	}
	kept, err := Replace(ctx, dir, staged, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	to := mustOpen(t, dir, Options{})
	if m := mark(t, to); m != "restored" {
		t.Errorf("%q", m)
	}
	if _, _, err := to.Meta(ctx, "k0"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the former log was replayed: %v", err)
	}
	// For whoever wants to dig.
	for name, want := range map[string][]byte{kept: db[:len(db)/2], kept + "-wal": log} {
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s is not what was there: %v", name, err)
		}
	}
	// A log whose database is gone is out of the way as well.
	dir = place(t, nil, log)
	if err := from.DB().(*DB).Backup(ctx, filepath.Join(dir, "staged")); err != nil {
		t.Fatal(err)
	}
	if _, err := Replace(ctx, dir, filepath.Join(dir, "staged"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if m := mark(t, mustOpen(t, dir, Options{})); m != "restored" {
		t.Errorf("%q", m)
	}
}
