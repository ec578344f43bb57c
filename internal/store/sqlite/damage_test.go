package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/store"
)

const damagedRows = 300

// intact makes a database of a few hundred KiB and returns its bytes.
func intact(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	st := makeDB(t, dir, "one")
	if err := st.DB().Tx(t.Context(), func(tx store.Querier) error { return fillTokens(tx, damagedRows) }); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fillTokens(tx store.Querier, n int) error {
	ctx := context.Background()
	for i := range n {
		if _, err := tx.Exec(ctx, `INSERT INTO tokens (id, name, client, provider, state, sealed, digest, next_at, updated_at)
			VALUES ($1, $2, 'c', 'p', 'ok', $3, $4, $5, 0)`, fmt.Sprintf("id-%06d", i), fmt.Sprintf("name-%06d", i), bytes.Repeat([]byte{byte(i)}, 700),
			fmt.Appendf(nil, "digest-%06d", i), i); err != nil {
			return err
		}
	}
	return nil
}

// place puts files into a directory that had a database before.
func place(t *testing.T, db, log []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, b := range map[string][]byte{FileName: db, FileName + "-wal": log} {
		if b == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// isRefused fails the test unless a start refuses with want, names the file and
// the way out, and leaves the files as they are.
func isRefused(t *testing.T, dir string, want error, o ...Options) {
	t.Helper()
	before, _ := os.ReadFile(filepath.Join(dir, FileName))
	st, err := Open(t.Context(), dir, append(o, Options{})[0])
	if err == nil {
		st.Close()
	}
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, w := range []string{filepath.Join(dir, FileName), "freshet restore FILE"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	after, _ := os.ReadFile(filepath.Join(dir, FileName))
	if !bytes.Equal(before, after) {
		t.Error("the refusal changed the file")
	}
}

func TestF73_damage(t *testing.T) {
	whole := intact(t)
	const page = 4096
	pages := len(whole) / page
	t.Run("F73 a page", func(t *testing.T) {
		for n := 0; n < pages; n += 1 + n/8 {
			b := bytes.Clone(whole)
			at := n * page
			if n == 0 {
				at = 100 // behind the file's own head
			}
			for i := range 12 {
				b[at+i] ^= 0xa5
			}
			isRefused(t, place(t, b, nil), ErrCorrupt)
		}
	})
	t.Run("F73 the head", func(t *testing.T) {
		for _, at := range []int{0, 15, 16, 17} {
			b := bytes.Clone(whole)
			b[at] ^= 0xff
			isRefused(t, place(t, b, nil), ErrCorrupt)
		}
	})
	t.Run("F73 a short file", func(t *testing.T) {
		for _, n := range []int{0, 1, 99, 100, 512, page - 1, page, page + 1, len(whole) / 2, len(whole) - page, len(whole) - 1} {
			isRefused(t, place(t, whole[:n:n], nil), ErrCorrupt)
		}
	})
	t.Run("F73 zeros", func(t *testing.T) {
		isRefused(t, place(t, make([]byte, len(whole)), nil), ErrCorrupt)
	})
	t.Run("F73 some bytes anywhere", func(t *testing.T) {
		// SQLite has no checksums of pages, so that a start does not see every
		// flipped byte; what seals the tokens does. But no row is lost unseen.
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		seen, flips := 0, 60
		if raced {
			flips = 15
		}
		for range flips {
			b := bytes.Clone(whole)
			at, n := rng.IntN(len(b)), 1+rng.IntN(16)
			for i := at; i < min(at+n, len(b)); i++ {
				b[i] ^= byte(1 + rng.IntN(255))
			}
			dir := place(t, b, nil)
			st, err := Open(t.Context(), dir, Options{})
			if err != nil {
				if seen++; !strings.Contains(err.Error(), dir) {
					t.Errorf("%d bytes at %d, seed %d: the error names no file: %v", n, at, seed, err)
				}
				continue
			}
			rows, err := st.Tokens(t.Context(), "", "", 2*damagedRows)
			if err == nil && len(rows) != damagedRows {
				t.Errorf("%d bytes at %d, seed %d: %d rows of %d are there, and nobody says so", n, at, seed, len(rows), damagedRows)
			}
			st.Close()
		}
		t.Logf("%d of %d seen at the start", seen, flips)
	})
	t.Run("F73 not ours", func(t *testing.T) {
		dir := t.TempDir()
		edit(t, filepath.Join(dir, FileName), `CREATE TABLE theirs (a)`)
		_, err := Open(t.Context(), dir, Options{})
		if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v", err)
		}
	})
	t.Run("F73 a database that is gone", func(t *testing.T) {
		dir := t.TempDir()
		makeDB(t, dir, "one").Close()
		if err := os.Remove(filepath.Join(dir, FileName)); err != nil {
			t.Fatal(err)
		}
		isRefused(t, dir, ErrMissing)
		if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		isRefused(t, dir, ErrCorrupt)
		// Without the directory's mark, the log still tells.
		isRefused(t, place(t, nil, []byte("log")), ErrMissing)
		// A directory in which somebody has put a key only is a new one.
		dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte("key"), 0o600); err != nil {
			t.Fatal(err)
		}
		makeDB(t, dir, "one").Close()
	})
}

func TestF73_a_large_database(t *testing.T) {
	whole := intact(t)
	large := Options{quick: 1} // so is every file
	isRefused(t, place(t, whole[:len(whole)-4096:len(whole)-4096], nil), ErrCorrupt, large)
	isRefused(t, place(t, whole[:len(whole)-1:len(whole)-1], nil), ErrCorrupt, large)
	ruin := func(at int) []byte {
		b := bytes.Clone(whole)
		for i := range 12 {
			b[at+i] ^= 0xa5
		}
		return b
	}
	// The root page of the tokens, which SQLite knows by its number.
	var root, index, aside int
	st := mustOpen(t, place(t, whole, nil), large)
	if err := st.DB().Read().QueryRow(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE name = 'tokens'`).Scan(&root); err != nil {
		t.Fatal(err)
	}
	if err := st.DB().Read().QueryRow(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'meta'`).Scan(&index); err != nil {
		t.Fatal(err)
	}
	if err := st.DB().Read().QueryRow(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE name = 'component_messages_name'`).Scan(&aside); err != nil {
		t.Fatal(err)
	}
	if err := st.DB().(*DB).Verify(t.Context()); err != nil {
		t.Errorf("it is whole: %v", err)
	}
	st.Close()
	isRefused(t, place(t, ruin((root-1)*4096), nil), ErrCorrupt, large)
	// What the installation knows of itself is read in full.
	isRefused(t, place(t, ruin((index-1)*4096), nil), ErrCorrupt, large)
	// What a start does not look at, a later look finds.
	st = mustOpen(t, place(t, ruin((aside-1)*4096), nil), large)
	err := st.DB().(*DB).Verify(t.Context())
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), FileName) {
		t.Errorf("%v", err)
	}
}

// killed returns the files that a process leaves which is killed after n
// commits since the log was last empty.
func killed(t *testing.T, n int) (db, log []byte) {
	t.Helper()
	dir := t.TempDir()
	st := makeDB(t, dir, "one")
	if err := st.DB().(*DB).Shred(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := st.PutMeta(t.Context(), fmt.Sprint("k", i), []byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range map[string]*[]byte{FileName: &db, FileName + "-wal": &log} {
		var err error
		if *b, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return db, log
}

func TestF73_a_damaged_log(t *testing.T) {
	const commits = 10
	db, log := killed(t, commits)
	const frame = frameHead + 4096
	frames := (len(log) - logHead) / frame
	ends := []int{} // frames that end a commit
	for i := range frames {
		if binary.BigEndian.Uint32(log[logHead+i*frame+4:]) != 0 {
			ends = append(ends, i)
		}
	}
	if len(ends) != commits {
		t.Fatalf("the log has %d commits in %d frames", len(ends), frames)
	}
	// stored opens the files and counts the commits that are there.
	stored := func(t *testing.T, db, log []byte) (n int) {
		t.Helper()
		st := mustOpen(t, place(t, db, log), Options{})
		defer st.Close()
		for _, _, err := st.Meta(t.Context(), "k0"); err == nil; _, _, err = st.Meta(t.Context(), fmt.Sprint("k", n)) {
			n++
		}
		return n
	}
	flip := func(at ...int) []byte {
		b := bytes.Clone(log)
		for _, i := range at {
			b[i] ^= 1
		}
		return b
	}
	if n := stored(t, db, log); n != commits {
		t.Fatalf("of a whole log %d commits are there", n)
	}
	t.Run("F73 its head", func(t *testing.T) {
		for at := range logHead {
			isRefused(t, place(t, db, flip(at)), ErrCorrupt)
		}
	})
	t.Run("F73 before other commits", func(t *testing.T) {
		for i := 0; i < ends[commits-2]; i++ {
			for _, at := range []int{0, 4, 8, 15, 16, 23, frameHead, frame - 1} {
				isRefused(t, place(t, db, flip(logHead+i*frame+at)), ErrCorrupt)
			}
		}
		isRefused(t, place(t, db, append(flip(logHead+frame), make([]byte, 100)...)), ErrCorrupt)
	})
	t.Run("F04 a torn end is no damage", func(t *testing.T) {
		// Wherever the last commit is cut, those before it are there.
		last := logHead + (ends[commits-2]+1)*frame
		for at := last; at < len(log); at += 397 {
			if n := stored(t, db, log[:at:at]); n != commits-1 {
				t.Fatalf("cut at %d: %d commits", at, n)
			}
			if n := stored(t, db, flip(at)); n != commits-1 {
				t.Fatalf("torn at %d: %d commits", at, n)
			}
		}
		if n := stored(t, db, append(bytes.Clone(log), make([]byte, 3*frame)...)); n != commits {
			t.Errorf("with zeros behind: %d commits", n)
		}
	})
	t.Run("F04 what an earlier life of the log left is no damage", func(t *testing.T) {
		dir := place(t, db, log)
		st := mustOpen(t, dir, Options{})
		if err := st.PutMeta(t.Context(), fmt.Sprint("k", commits), []byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		db, err := os.ReadFile(filepath.Join(dir, FileName))
		if err != nil {
			t.Fatal(err)
		}
		young, err := os.ReadFile(filepath.Join(dir, FileName+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		if len(young) < len(log) || bytes.Equal(young[16:24], log[16:24]) {
			t.Fatal("the log did not begin anew over its former self")
		}
		if n := stored(t, db, young); n != commits+1 {
			t.Errorf("%d commits", n)
		}
	})
}

func TestS49_what_was_deleted_is_gone(t *testing.T) {
	const marker = "a token that nobody may find again"
	dir := t.TempDir()
	st := makeDB(t, dir, "one")
	ctx := t.Context()
	if err := st.Change(ctx, func(c *store.Change) error { return c.EnsureToken(store.Token{ID: "id", Name: "crm", State: "ok"}) }); err != nil {
		t.Fatal(err)
	}
	found := func() (in []string) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(marker)) {
				in = append(in, f.Name())
			}
		}
		return in
	}
	// One that fits into a page, one that takes pages of its own, and what
	// became of both.
	long := bytes.Repeat([]byte(marker), 1000)
	if err := st.Put(ctx, store.Commit{ID: "id", Sealed: long, Digest: []byte(marker + " digest")}); err != nil {
		t.Fatal(err)
	}
	if err := st.DB().(*DB).Shred(ctx); err != nil { // into the file itself
		t.Fatal(err)
	}
	if err := st.Put(ctx, store.Commit{ID: "id", Gen: 1, Sealed: []byte(marker)}); err != nil {
		t.Fatal(err)
	}
	if err := st.KeepOrphan(ctx, store.Orphan{ID: "o", Connection: "id", Gen: 3, Sealed: []byte(marker)}); err != nil {
		t.Fatal(err)
	}
	if in := found(); len(in) != 2 {
		t.Fatalf("the test needs it in the file and in the log, it is in %v", in)
	}
	if err := st.Change(ctx, func(c *store.Change) error { return c.DeleteToken("id") }); err != nil {
		t.Fatal(err)
	}
	if err := st.DB().(*DB).Shred(ctx); err != nil {
		t.Fatal(err)
	}
	if in := found(); len(in) != 0 {
		t.Errorf("it is still in %v", in)
	}
	t.Run("S49 while somebody reads", func(t *testing.T) {
		if err := st.PutMeta(ctx, "k", []byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		rows, err := st.DB().Read().Query(ctx, `SELECT key FROM meta`)
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		short := st.DB().(*DB)
		if _, err := short.write.ExecContext(ctx, `PRAGMA busy_timeout(20)`); err != nil {
			t.Fatal(err)
		}
		if err := short.Shred(ctx); err == nil {
			t.Error("it says that the log is gone, and it is not")
		}
		rows.Close()
		if err := short.Shred(ctx); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func mustOpen(t *testing.T, dir string, o Options) *store.Store {
	t.Helper()
	st, err := Open(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}
