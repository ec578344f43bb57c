//go:build unix

package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// kills is how often the killing tests kill.
func kills(t *testing.T) int {
	if s := os.Getenv("FRESHET_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("FRESHET_KILLS=%q is no number", s)
		}
		return n
	}
	if raced {
		return 5
	}
	return 20
}

const victims = 3 // connections that a victim refreshes

func victim(i int) freshet.ConnectionID {
	return freshet.ConnectionID(fmt.Sprint("id-", i))
}

// commitRole refreshes connections without end, or as often as its argument
// says, and acknowledges each stored generation by a line.
func commitRole(ctx context.Context, dir string) error {
	st, err := Open(ctx, dir, Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	// What the process before left open is taken back.
	open, err := st.OpenAttempts(ctx, "local", 100)
	if err != nil {
		return err
	}
	for _, r := range open {
		if err := st.Fail(ctx, store.Failure{ID: r.ID, Attempt: r.Attempt, Gen: r.Gen, State: freshet.StateUncertain, Reason: "interrupted"}); err != nil {
			return err
		}
	}
	limit, _ := strconv.Atoi(os.Getenv(argVar))
	for n := 0; limit == 0 || n < limit; n++ {
		r, err := st.Token(ctx, victim(n%victims))
		if err != nil {
			return err
		}
		attempt := fmt.Sprint("a", os.Getpid(), "-", n)
		if err := st.Claim(ctx, store.Claim{ID: r.ID, Gen: r.Gen, Attempt: attempt, Owner: "local", Lease: time.Minute}); err != nil {
			return err
		}
		if err := st.Commit(ctx, store.Commit{ID: r.ID, Attempt: attempt, Gen: r.Gen, Sealed: fmt.Append(nil, r.Gen+1),
			Events: []store.Event{{Connection: string(r.ID), Type: "refreshed", Detail: map[string]any{"gen": r.Gen + 1}}}}); err != nil {
			return err
		}
		fmt.Printf("%s %d\n", r.ID, r.Gen+1)
	}
	return nil
}

// populate makes the victims' connections.
func populate(t *testing.T, dir string) {
	t.Helper()
	st, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Change(t.Context(), func(c *store.Change) error {
		for i := range victims {
			if err := c.EnsureToken(store.Token{ID: victim(i), Name: fmt.Sprint("c", i), State: freshet.StateOK}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestF04_killed_inside_a_commit(t *testing.T) {
	dir := t.TempDir()
	populate(t, dir)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	acked := map[freshet.ConnectionID]int64{}
	open, total := 0, 0
	for range kills(t) {
		c := start(t, "commit", dir, "")
		var said []string
		for range 1 + rng.IntN(40) {
			said = append(said, c.line())
		}
		for range rng.IntN(3000) {
			runtime.Gosched() // into the next commits
		}
		for _, line := range append(said, c.kill()...) {
			id, gen, _ := strings.Cut(line, " ")
			n, err := strconv.ParseInt(gen, 10, 64)
			if err != nil {
				break // cut in the middle of a line
			}
			acked[freshet.ConnectionID(id)] = n
			total++
		}
		st, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range victims {
			r, err := st.Token(t.Context(), victim(i))
			if err != nil {
				t.Fatal(err)
			}
			// One commit may have been applied that was not acknowledged.
			if r.Gen < acked[r.ID] || r.Gen > acked[r.ID]+1 {
				t.Errorf("%s: generation %d, %d was acknowledged", r.ID, r.Gen, acked[r.ID])
			}
			if r.Gen > 0 && string(r.Sealed) != fmt.Sprint(r.Gen) {
				t.Errorf("%s: generation %d holds the token of %s", r.ID, r.Gen, r.Sealed)
			}
			events, err := st.Events(t.Context(), string(r.ID), 0, 100000)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range events {
				if e.Detail["gen"] != float64(i+1) {
					t.Fatalf("%s: event %d tells of generation %v", r.ID, i+1, e.Detail["gen"])
				}
			}
			if int64(len(events)) != r.Gen {
				t.Errorf("%s: generation %d with %d events: half a transaction", r.ID, r.Gen, len(events))
			}
			if r.Attempt != "" {
				open++
			}
			acked[r.ID] = r.Gen
		}
		if err := st.DB().(*DB).Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d acknowledged commits, %d attempts left open by %d kills", total, open, kills(t))
}

func TestF70_every_commit_is_forced_to_disk(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		leaveOut(t, "strace is not there (package strace)")
	}
	dir := t.TempDir()
	populate(t, dir)
	trace := filepath.Join(t.TempDir(), "trace")
	const refreshes = 100
	c := start(t, "commit", dir, fmt.Sprint(refreshes), strace, "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace)
	for range refreshes {
		c.line()
	}
	if err := c.cmd.Wait(); err != nil {
		leaveOut(t, fmt.Sprintf("strace does not work here: %v: %s", err, c.err))
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// Calls, not ends of calls: strace writes both where threads run on.
	syncs := len(regexp.MustCompile(`\bf(data)?sync\(\d+<[^>]*/freshet\.db-wal>`).FindAll(b, -1))
	const commits = 2 * refreshes // the claim and the answer
	t.Logf("%d syncs of the log for %d commits", syncs, commits)
	if syncs < commits {
		t.Errorf("%d commits were acknowledged after %d syncs of the log", commits, syncs)
	}
}

// leaveOut skips a test that the machine cannot run, but not in CI.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// upgrade is the present schema and two more of the kind that take several
// statements.
func upgrade(t *testing.T) fs.FS {
	t.Helper()
	files := fstest.MapFS{
		"90001_more.sql": {Data: []byte(`-- +goose Up
CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
INSERT INTO notes SELECT id, 'of ' || name FROM tokens;
ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT '';
UPDATE tokens SET note = (SELECT text FROM notes WHERE notes.id = tokens.id);
CREATE INDEX notes_text ON notes (text);
`)},
		"90002_again.sql": {Data: []byte(`-- +goose Up
DROP INDEX notes_text;
UPDATE tokens SET note = note || '!';
DROP TABLE notes;
`)},
	}
	entries, err := fs.ReadDir(builtin, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(builtin, e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = &fstest.MapFile{Data: b}
	}
	return files
}

// migrateRole opens the database with the newer schema and kills itself at the
// statement that its argument counts.
func migrateRole(ctx context.Context, dir string) error {
	at, err := strconv.Atoi(os.Getenv(argVar))
	if err != nil {
		return err
	}
	n := 0
	st, err := Open(ctx, dir, Options{migrations: upgrade(&testing.T{}), connector: func(c driver.Connector) driver.Connector {
		return tripConnector{c, func() {
			if n++; n == at {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}}
	}})
	if err != nil {
		return err
	}
	fmt.Println("done")
	return st.Close()
}

func TestF11_killed_at_any_statement_of_a_migration(t *testing.T) {
	newer := Options{migrations: upgrade(t)}
	for _, first := range []bool{true, false} {
		t.Run(map[bool]string{true: "F11 the first start", false: "F11 an upgrade"}[first], func(t *testing.T) {
			last, step := 0, 1
			if raced {
				step = 6 // a process takes half a second to start
			}
			for at := 1; ; at += step {
				dir := t.TempDir()
				if !first {
					populate(t, dir)
				}
				c := start(t, "migrate", dir, fmt.Sprint(at))
				finished := c.out.Scan()
				c.cmd.Wait()
				if !finished {
					c.killed()
				}
				st, err := Open(t.Context(), dir, newer)
				if err != nil {
					t.Fatalf("killed at statement %d: %v", at, err)
				}
				check := func(query string, want int) {
					var n int
					if err := st.DB().Read().QueryRow(t.Context(), query).Scan(&n); err != nil || n != want {
						t.Errorf("killed at statement %d: %s: %d, %v; want %d", at, query, n, err, want)
					}
				}
				check(`SELECT max(version_id) FROM goose_db_version`, 90002)
				check(`SELECT count(*) FROM goose_db_version WHERE version_id > 90000`, 2)
				check(`SELECT count(*) FROM sqlite_schema WHERE name = 'notes'`, 0)
				if !first {
					check(`SELECT count(*) FROM tokens WHERE note = 'of ' || name || '!'`, victims)
				}
				st.Close()
				if files, _ := filepath.Glob(filepath.Join(dir, FileName+".new*")); len(files) != 0 {
					t.Errorf("killed at statement %d: it left %v", at, files)
				}
				if finished {
					break
				}
				last = at
			}
			if last < 15 {
				t.Errorf("it was killed at %d statements only", last)
			}
		})
	}
}

func TestF11_a_newer_schema_is_refused(t *testing.T) {
	dir := t.TempDir()
	populate(t, dir)
	st, err := Open(t.Context(), dir, Options{migrations: upgrade(t)})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	before, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(t.Context(), dir, o)
		if !errors.Is(err, ErrNewer) {
			t.Fatalf("%+v: %v", o, err)
		}
		for _, want := range []string{dir, "90002", "newer"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
	}
	if after, _ := os.ReadFile(filepath.Join(dir, FileName)); string(after) != string(before) {
		t.Error("the refusal changed the file")
	}
	// The binary that wrote it opens it still.
	st, err = Open(t.Context(), dir, Options{migrations: upgrade(t)})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
}
