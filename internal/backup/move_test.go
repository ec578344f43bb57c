package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func server(t *testing.T, url string) *store.Store {
	t.Helper()
	st, err := postgres.Open(t.Context(), postgres.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// filled is an installation with something in many of its tables.
func filled(t *testing.T) *install {
	t.Helper()
	i := newInstall(t)
	ctx := t.Context()
	names := []string{"crm", "erp", "Öl", "z"}
	i.connect(names...)
	for range 3 {
		for _, n := range names {
			if err := i.next(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(
		i.Change(ctx, func(c *store.Change) error {
			return errors.Join(c.Put(store.Resource{ID: "r1", Kind: "clients", Name: "acme", Spec: `{"a":"é\u0000\""}`, Secrets: []byte{0, 1, 255}, Revision: 1}),
				c.Put(store.Resource{ID: "r2", Kind: "connections", Name: "crm", Spec: "{}", Revision: 1, Refs: []store.Ref{{Kind: "clients", Name: "acme"}}}))
		}),
		i.AddKey(ctx, store.Key{ID: "k", Name: "ci", Hash: []byte("h"), Scopes: []string{"read"}, CreatedAt: time.Now()}),
		i.KeepOrphan(ctx, store.Orphan{ID: "o", Connection: "id-crm", Gen: 9, Sealed: []byte("x"), Reason: "late"}),
		i.AppendAudit(ctx, []store.AuditRow{{At: time.Now(), Actor: "a", Action: "b", Subject: "c", Detail: "{}"}}, func(_ store.AuditRow, rows []store.AuditRow) {
			rows[0].Hash = make([]byte, store.HashSize)
		}),
	); err != nil {
		t.Fatal(err)
	}
	return i
}

// A store that moves there and back is the same, row by row.
func TestMove(t *testing.T) {
	ctx := t.Context()
	i := filled(t)
	before, err := i.TokenByName(ctx, "Öl")
	if err != nil {
		t.Fatal(err)
	}
	i.close()
	url := pgtest.Database(t)
	m, err := backup.Move(ctx, backup.MoveOptions{From: i.dir, To: url, Key: i.key})
	if err != nil {
		t.Fatal(err)
	}
	if m.Connections != 4 || m.Sealed != 4 || m.Rows < 20 || m.Tables < 12 {
		t.Errorf("%+v", m)
	}
	st := server(t, url)
	after, err := st.TokenByName(ctx, "Öl")
	if err != nil || after.Gen != 3 || string(after.Sealed) != string(before.Sealed) {
		t.Errorf("%+v, %v", after, err)
	}
	// Numbers go on after those that came.
	last, err := st.LastEvents(ctx, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.AppendEvents(ctx, store.Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	if next, err := st.LastEvents(ctx, "", 1); err != nil || next[0].Seq <= last[0].Seq {
		t.Errorf("event %+v after %+v, %v", next, last, err)
	}
	if paused, why, err := backup.NewSharedGuard(st, t.TempDir(), nowhere).Check(ctx); err != nil || paused {
		t.Errorf("a store that moved rests: %s, %v", why, err)
	}
	// The former one rests.
	i.open()
	if paused, _, err := backup.NewGuard(i.Store, i.dir).Check(ctx); err != nil || !paused {
		t.Errorf("the store that was left behind goes on refreshing: %v", err)
	}
	i.close()

	dir := filepath.Join(t.TempDir(), "back")
	back, err := backup.Move(ctx, backup.MoveOptions{From: url, To: dir, Key: i.key})
	if err != nil {
		t.Fatal(err)
	}
	if back.Connections != 4 || back.Rows != m.Rows+1 {
		t.Errorf("%+v", back)
	}
	if paused, _, err := backup.NewSharedGuard(st, t.TempDir(), nowhere).Check(ctx); err != nil || !paused {
		t.Errorf("the database that was left behind goes on refreshing: %v", err)
	}
	home := &install{t: t, dir: dir, key: i.key}
	home.open()
	if r, err := home.TokenByName(ctx, "Öl"); err != nil || string(r.Sealed) != string(before.Sealed) {
		t.Errorf("%+v, %v", r, err)
	}
	if paused, why, err := backup.NewGuard(home.Store, dir).Check(ctx); err != nil || paused {
		t.Errorf("it rests: %s, %v", why, err)
	}
	if err := home.next("crm"); err != nil {
		t.Error(err)
	}
}

func nowhere(context.Context) (backup.Origin, error) { return backup.Origin{}, nil }

// rows counts what a database holds in tables that people fill.
func rows(t *testing.T, st *store.Store) (n int64) {
	t.Helper()
	if err := st.DB().Read().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM tokens) + (SELECT count(*) FROM meta) + (SELECT count(*) FROM events)`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What cannot be moved whole is not moved at all.
func TestMoveRefuses(t *testing.T) {
	ctx := t.Context()
	i := filled(t)
	url := pgtest.Database(t)
	to := server(t, url)
	refused := func(name string, o backup.MoveOptions, want error, words string) {
		t.Helper()
		_, err := backup.Move(ctx, o)
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", name, err)
		}
		if n := rows(t, to); n != 0 {
			t.Fatalf("%s: %d rows were written", name, n)
		}
	}
	o := backup.MoveOptions{From: i.dir, To: url, Key: i.key}
	refused("while its server runs", o, sqlite.ErrInUse, i.dir)
	i.close()
	refused("from nowhere", backup.MoveOptions{From: t.TempDir(), To: url, Key: i.key}, os.ErrNotExist, "")
	refused("between two directories", backup.MoveOptions{From: i.dir, To: t.TempDir(), Key: i.key}, nil, "postgres://")
	other := filepath.Join(t.TempDir(), "other.key")
	newKey(t, other)
	refused("with another master key", backup.MoveOptions{From: i.dir, To: url, Key: vault.MasterKeyFile(other)}, nil, "master key")
	spill := filepath.Join(i.dir, "spill-local")
	if err := os.WriteFile(spill, append([]byte("freshet spill 1\n"), 0, 0, 0, 9, 1, 1, 1, 1, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("while answers are spilled", o, backup.ErrSpilled, spill)
	os.Remove(spill)
	if err := to.Enlist(ctx, store.Replica{ID: "r1", Place: "host:/data"}, 0); err != nil {
		t.Fatal(err)
	}
	refused("while a replica lives there", o, backup.ErrAlive, "host:/data")
	if err := to.Discharge(ctx, "r1"); err != nil {
		t.Fatal(err)
	}
	// A value that does not arrive as it left.
	alter := func(query string) {
		t.Helper()
		if err := to.DB().Tx(ctx, func(tx store.Querier) error {
			_, err := tx.Exec(ctx, query)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	alter(`CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'z' THEN NEW.gen := NEW.gen + 1; END IF; RETURN NEW; END $$`)
	alter(`CREATE TRIGGER spoil BEFORE INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION spoil()`)
	refused("where a row changes on the way", o, nil, "table tokens")
	alter(`DROP TRIGGER spoil ON tokens`)
	alter(`ALTER TABLE flows ADD COLUMN more TEXT`)
	refused("between versions", o, nil, "flows")
	alter(`ALTER TABLE flows DROP COLUMN more`)
	// And with nothing in the way it moves.
	if _, err := backup.Move(ctx, o); err != nil {
		t.Fatal(err)
	}
	n := rows(t, to)
	if _, err := backup.Move(ctx, o); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("onto a store: %v", err)
	}
	if rows(t, to) != n {
		t.Error("it changed the store that was there")
	}
	if _, err := backup.Move(ctx, backup.MoveOptions{From: url, To: i.dir, Key: i.key}); !errors.Is(err, backup.ErrOccupied) {
		t.Errorf("onto a directory with a store: %v", err)
	}
}

// F78, F12: a backup of a shared store that replicas write to is of one moment,
// restores into an empty database, and rests there.
func TestF12_a_shared_store_is_backed_up_and_restored(t *testing.T) {
	ctx := t.Context()
	i := filled(t)
	i.close()
	url := pgtest.Database(t)
	if _, err := backup.Move(ctx, backup.MoveOptions{From: i.dir, To: url, Key: i.key}); err != nil {
		t.Fatal(err)
	}
	st := server(t, url)
	v, err := vault.Open(ctx, st, i.key)
	if err != nil {
		t.Fatal(err)
	}
	live := &install{t: t, dir: i.dir, key: i.key, Store: st, vault: v}
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if err := live.next("crm"); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	file := filepath.Join(t.TempDir(), "backup.db")
	s, err := backup.TakeShared(ctx, st, i.key, file)
	close(stop)
	<-done
	if err != nil || s.Connections != 4 || s.Sealed != 4 {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := backup.RestoreShared(ctx, file, url, i.key); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("onto a store: %v", err)
	}
	empty := pgtest.Database(t)
	r, err := backup.RestoreShared(ctx, file, empty, i.key)
	if err != nil || r.Connections != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	restored := server(t, empty)
	row, err := restored.TokenByName(ctx, "crm")
	if err != nil {
		t.Fatal(err)
	}
	events, err := restored.Events(ctx, "crm", 0, 1<<20)
	if err != nil || int64(len(events)) != row.Gen {
		t.Errorf("generation %d with %d events: half a transaction, %v", row.Gen, len(events), err)
	}
	for range 2 { // whichever replica starts, and however often
		if paused, why, err := backup.NewSharedGuard(restored, t.TempDir(), nowhere).Check(ctx); err != nil || !paused || !strings.Contains(why, "restored backup") {
			t.Errorf("%v %q %v", paused, why, err)
		}
	}
}

// The guard of a shared database.
func TestSharedGuard(t *testing.T) {
	ctx := t.Context()
	at := backup.Origin{Server: "1/5", Timeline: "00000001"}
	where := func(context.Context) (backup.Origin, error) { return at, nil }
	type replica struct {
		dir string
		*backup.SharedGuard
	}
	st := server(t, pgtest.Database(t))
	begin := func(dir string) *replica { return &replica{dir, backup.NewSharedGuard(st, dir, where)} }
	check := func(r *replica, want string) {
		t.Helper()
		paused, why, err := r.Check(ctx)
		if err != nil || paused != (want != "") || !strings.Contains(why, want) {
			t.Errorf("check: %v %q %v, want %q", paused, why, err, want)
		}
	}
	look := func(r *replica, want string) {
		t.Helper()
		paused, why, err := r.Look(ctx)
		if err != nil || paused != (want != "") || !strings.Contains(why, want) {
			t.Errorf("look: %v %q %v, want %q", paused, why, err, want)
		}
	}
	epoch := func() ([]byte, int64) {
		t.Helper()
		v, rev, err := st.Meta(ctx, store.EpochKey)
		if err != nil {
			t.Fatal(err)
		}
		return v, rev
	}
	put := func(v []byte) {
		t.Helper()
		_, rev := epoch()
		if err := st.PutMeta(ctx, store.EpochKey, v, rev); err != nil {
			t.Fatal(err)
		}
	}
	a, b := begin(t.TempDir()), begin(t.TempDir())
	check(a, "")
	check(b, "") // a new replica without an epoch of its own
	for range 3 {
		if err := errors.Join(a.Advance(ctx), b.Advance(ctx)); err != nil {
			t.Fatal(err)
		}
		look(a, "")
		look(b, "")
	}
	check(begin(a.dir), "") // it missed what the other did

	t.Run("F12 an older state is put back", func(t *testing.T) {
		old, _ := epoch()
		for range 2 {
			if err := errors.Join(a.Advance(ctx), b.Advance(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		put(old)
		look(b, "a moment ago") // under a running replica
		look(a, "a moment ago") // who tells the others
		check(begin(t.TempDir()), "a moment ago")
		check(begin(a.dir), "a moment ago")
		if err := a.Advance(ctx); err != nil {
			t.Fatal(err)
		}
		look(b, "a moment ago")
		if err := b.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		look(b, "")
		look(a, "")
		check(begin(a.dir), "")
		check(begin(b.dir), "")
	})
	t.Run("F12 an older state is put back while nobody runs", func(t *testing.T) {
		old, _ := epoch()
		for range 2 {
			if err := a.Advance(ctx); err != nil {
				t.Fatal(err)
			}
		}
		put(old)
		check(begin(a.dir), "older than the one that this replica used last")
		c := begin(a.dir)
		if err := c.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		check(begin(a.dir), "")
		check(begin(b.dir), "")
	})
	t.Run("F12 a dump is put back elsewhere", func(t *testing.T) {
		at.Server = "2/5"
		c := begin(t.TempDir())
		check(c, "copied or restored from a dump")
		if err := c.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		check(begin(a.dir), "")
	})
	t.Run("F71 a standby took over that may miss commits", func(t *testing.T) {
		at.Timeline = "00000002"
		c := begin(t.TempDir())
		check(c, "last commits may be missing")
		if err := c.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		look(c, "")
	})
	t.Run("a standby took over that had confirmed every commit", func(t *testing.T) {
		at.Synced = true
		c := begin(t.TempDir())
		check(c, "")
		at.Timeline = "00000003"
		check(begin(a.dir), "")
		at.Timeline = "00000004"
		check(begin(a.dir), "")
	})
	t.Run("a failover that a replica notices rests all of them", func(t *testing.T) {
		c, d := begin(t.TempDir()), begin(t.TempDir())
		check(c, "")
		check(d, "")
		if _, err := c.Distrust(ctx, "because"); err != nil {
			t.Fatal(err)
		}
		look(d, "because")
		check(begin(t.TempDir()), "because")
		if err := d.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		look(c, "")
	})
}
