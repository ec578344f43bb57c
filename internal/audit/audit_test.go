package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

type place struct {
	store *store.Store
	vault *vault.Vault
}

func newPlace(t testing.TB, dir string) *place {
	t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	v, err := vault.Open(ctx, st, vault.MasterKeyFile(filepath.Join(dir, "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	return &place{st, v}
}

// faulty is a store whose audit table can be locked away.
type faulty struct {
	Store
	mu  sync.Mutex
	err error
}

func (f *faulty) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faulty) AppendAudit(ctx context.Context, rows []store.AuditRow, link func(store.AuditRow, []store.AuditRow)) error {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.Store.AppendAudit(ctx, rows, link)
}

var errLocked = errors.New("the audit table is locked")

func all(t *testing.T, s Store) []store.AuditRow {
	t.Helper()
	var out []store.AuditRow
	for after := int64(0); ; {
		rows, err := s.Audit(context.Background(), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			return out
		}
		out = append(out, rows...)
		after = rows[len(rows)-1].Seq
	}
}

func TestS71_ten_thousand_entries_are_ten_thousand_rows(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("S71 strict=%v", strict), func(t *testing.T) {
			p := newPlace(t, t.TempDir())
			l := New(Options{Store: p.store, Hasher: p.vault, Strict: strict, Queue: 100})
			ctx := context.Background()
			actions := []string{TokenRead, TokenInject, TokenRefresh, Reveal, Export, KeyUse}
			const workers, each = 200, 50
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := range each {
						e := Entry{Actor: fmt.Sprintf("key:w%d#x", w), Action: actions[i%len(actions)], Subject: "crm", Detail: Detail("i", i), From: "127.0.0.1:1", Request: "r"}
						if err := l.Record(ctx, e); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if err := l.Close(ctx); err != nil {
				t.Fatal(err)
			}
			rows := all(t, p.store)
			if len(rows) != workers*each {
				t.Errorf("%d rows of %d entries", len(rows), workers*each)
			}
			next := map[string]int{} // the order of each actor is kept
			for _, r := range rows {
				var d struct {
					I             int
					From, Request string
				}
				if err := json.Unmarshal([]byte(r.Detail), &d); err != nil || d.From != "127.0.0.1:1" || d.Request != "r" {
					t.Fatalf("detail %s: %v", r.Detail, err)
				}
				if d.I != next[r.Actor] {
					t.Fatalf("%s: row %d comes where %d should", r.Actor, d.I, next[r.Actor])
				}
				next[r.Actor]++
			}
			rep, err := l.Verify(ctx, Checkpoint{})
			if err != nil || !rep.Good() || rep.Rows != workers*each {
				t.Errorf("verify: %+v, %v", rep, err)
			}
		})
	}
}

func TestS71_strict_refuses_what_it_cannot_record(t *testing.T) {
	p := newPlace(t, t.TempDir())
	f := &faulty{Store: p.store}
	l := New(Options{Store: f, Hasher: p.vault, Strict: true})
	ctx := context.Background()
	if err := l.Record(ctx, Entry{Action: TokenRead}); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, p.store)); n != 1 {
		t.Fatalf("%d rows when Record returned", n)
	}
	f.set(errLocked)
	for range 3 {
		if err := l.Record(ctx, Entry{Action: TokenRead}); !errors.Is(err, ErrUnrecorded) {
			t.Errorf("Record = %v, want ErrUnrecorded", err)
		}
	}
	f.set(nil)
	if err := l.Record(ctx, Entry{Action: TokenRead}); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(ctx, Entry{Action: TokenRead}); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("after Close: %v", err)
	}
	if n := len(all(t, p.store)); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// By default a database that takes no writes stops no reading of a token; what
// the record then lacks is said in the record.
func TestS71_batched_counts_what_it_loses(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, dir)
		f := &faulty{Store: p.store, err: errLocked}
		l := New(Options{Store: f, Hasher: p.vault, Queue: 10})
		ctx := context.Background()
		if err := l.Record(ctx, Entry{Action: TokenRead}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble: the group is tried and refused
		for range 25 {
			if err := l.Record(ctx, Entry{Action: TokenRead}); err != nil {
				t.Fatal(err)
			}
		}
		if s := l.Stats(); s.Lost != 15 || !s.Failing || s.Waiting != 11 {
			t.Errorf("stats %+v, want 15 lost and 11 waiting", s)
		}
		f.set(nil)
		time.Sleep(time.Minute)
		if err := l.Record(ctx, Entry{Action: KeyUse}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
		rows := all(t, p.store)
		if len(rows) != 13 {
			t.Fatalf("%d rows, want 11 kept, the gap and one after", len(rows))
		}
		if g := rows[11]; g.Action != Gap || g.Detail != `{"lost":15}` || rows[12].Action != KeyUse {
			t.Errorf("row 12 is %+v", g)
		}
		if rep, err := l.Verify(ctx, Checkpoint{}); err != nil || !rep.Good() {
			t.Errorf("verify: %+v, %v", rep, err)
		}
	})
}

func TestCloseGivesUpWhenToldTo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, dir)
		l := New(Options{Store: &faulty{Store: p.store, err: errLocked}, Hasher: p.vault})
		l.Record(context.Background(), Entry{Action: TokenRead})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 entries are not written") {
			t.Errorf("Close = %v", err)
		}
	})
}

func TestFullQueueMakesCallersWait(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, dir)
		slow := &held{Store: p.store, write: make(chan struct{})}
		l := New(Options{Store: slow, Hasher: p.vault, Queue: 2})
		defer l.Close(context.Background())
		for range 2 {
			for range 2 { // a group on its way, then one behind it
				if err := l.Record(t.Context(), Entry{Action: TokenRead}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Record(gone, Entry{Action: TokenRead}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who has left: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- l.Record(t.Context(), Entry{Action: TokenRead}) }()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("a full queue took an entry: %v", err)
		default:
		}
		close(slow.write)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(all(t, p.store)); n != 5 {
			t.Errorf("%d rows, want 5", n)
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// held is a store that writes once it is told to.
type held struct {
	Store
	write chan struct{}
}

func (h *held) AppendAudit(ctx context.Context, rows []store.AuditRow, link func(store.AuditRow, []store.AuditRow)) error {
	<-h.write
	return h.Store.AppendAudit(ctx, rows, link)
}

func TestS72_tampering_shows(t *testing.T) {
	const rows, perPage = 40, 10
	// A change to the entries and hashes of the page whose first row is 11, or
	// to the table.
	type page struct {
		entries []map[string]any
		hashes  []byte
	}
	entry := func(i int, member string, v any) func(*page) {
		return func(p *page) { p.entries[i][member] = v }
	}
	remove := func(i int) func(*page) {
		return func(p *page) {
			p.entries = slices.Delete(p.entries, i, i+1)
			p.hashes = slices.Delete(p.hashes, i*store.HashSize, (i+1)*store.HashSize)
		}
	}
	for name, c := range map[string]struct {
		page   func(*page)
		sql    string
		broken int64 // 0: only the checkpoint tells
		marked bool
	}{
		"nothing":                    {func(*page) {}, "UPDATE audit SET entries = entries", 0, true},
		"an actor is changed":        {entry(6, "actor", "key:other#x"), "", 17, false},
		"a subject is changed":       {entry(0, "subject", "other"), "", 11, false},
		"a detail is changed":        {entry(9, "detail", `{"i":99}`), "", 20, false},
		"an instant is moved":        {func(p *page) { p.entries[4]["at"] = p.entries[4]["at"].(float64) + 1 }, "", 15, false},
		"text moves between columns": {func(p *page) { p.entries[3]["actor"], p.entries[3]["action"] = "key:a#1t", "oken.read" }, "", 14, false},
		"a row is removed":           {remove(5), "", 16, false},
		"the first is removed":       {remove(0), "", 11, false},
		"two change places": {func(p *page) {
			p.entries[1], p.entries[2] = p.entries[2], p.entries[1]
		}, "", 12, false},
		"two change places with their hashes": {func(p *page) {
			p.entries[1], p.entries[2] = p.entries[2], p.entries[1]
			a, b := p.hashes[1*store.HashSize:2*store.HashSize], p.hashes[2*store.HashSize:3*store.HashSize]
			was := slices.Clone(a)
			copy(a, b)
			copy(b, was)
		}, "", 12, false},
		"a row is put in": {func(p *page) {
			p.entries = append(p.entries, p.entries[9])
			p.hashes = append(p.hashes, p.hashes[9*store.HashSize:]...)
		}, "", 21, false},
		"the hashes are gone": {func(p *page) { p.hashes = nil }, "", 11, false},
		"a page is no list":   {nil, "UPDATE audit SET entries = 'x' WHERE first = 21", 21, false},
		"a page is removed":   {nil, "DELETE FROM audit WHERE first = 11", 21, false},
		"the first page is":   {nil, "DELETE FROM audit WHERE first = 1", 11, false},
		"a page is put in":    {nil, "INSERT INTO audit SELECT first + 10, entries, hashes FROM audit WHERE first = 31", 41, false},
		"the end is cut off":  {nil, "DELETE FROM audit WHERE first > 30", 0, false},
		"all is gone":         {nil, "DELETE FROM audit", 0, false},
	} {
		t.Run("S72 "+name, func(t *testing.T) {
			p := newPlace(t, t.TempDir())
			ctx := context.Background()
			l := New(Options{Store: p.store, Hasher: p.vault})
			defer l.Close(ctx)
			for i := range rows {
				if err := l.Record(ctx, Entry{Actor: "key:a#1", Action: TokenRead, Subject: "crm", Detail: Detail("i", i)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(ctx); err != nil {
				t.Fatal(err)
			}
			repage(t, p.store, perPage)
			before, err := l.Verify(ctx, Checkpoint{})
			if err != nil || !before.Good() || before.Head.Seq != rows {
				t.Fatalf("%+v, %v", before, err)
			}
			mark, err := ParseCheckpoint(before.Head.String())
			if err != nil {
				t.Fatal(err)
			}
			if err := p.store.DB().Tx(ctx, func(tx store.Querier) error {
				if c.page != nil {
					var text string
					var v page
					if err := tx.QueryRow(ctx, "SELECT entries, hashes FROM audit WHERE first = 11").Scan(&text, &v.hashes); err != nil {
						return err
					}
					if err := json.Unmarshal([]byte(text), &v.entries); err != nil {
						return err
					}
					c.page(&v)
					b, err := json.Marshal(v.entries)
					if err != nil {
						return err
					}
					if v.hashes == nil {
						v.hashes = []byte{}
					}
					if _, err := tx.Exec(ctx, "UPDATE audit SET entries = $1, hashes = $2 WHERE first = 11", string(b), v.hashes); err != nil {
						return err
					}
				}
				if c.sql == "" {
					return nil
				}
				_, err := tx.Exec(ctx, c.sql)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			plain, err := l.Verify(ctx, Checkpoint{})
			if err != nil || plain.Broken != c.broken || plain.Good() != (c.broken == 0) {
				t.Errorf("verify: %+v, %v; want row %d broken", plain, err, c.broken)
			}
			marked, err := l.Verify(ctx, mark)
			if err != nil || marked.Good() != c.marked {
				t.Errorf("verify with checkpoint: %+v, %v", marked, err)
			}
		})
	}
}

// repage writes the record anew in pages of n rows.
func repage(t *testing.T, s *store.Store, n int) {
	t.Helper()
	rows := all(t, s)
	if err := s.DB().Tx(t.Context(), func(tx store.Querier) error {
		_, err := tx.Exec(t.Context(), "DELETE FROM audit")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for page := range slices.Chunk(rows, n) {
		if err := s.AppendAudit(t.Context(), page, func(store.AuditRow, []store.AuditRow) {}); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever has the database but not the master key cannot write the record anew.
func TestS72_the_chain_has_a_key(t *testing.T) {
	p, other := newPlace(t, t.TempDir()), newPlace(t, t.TempDir())
	ctx := context.Background()
	forger := New(Options{Store: p.store, Hasher: other.vault})
	forger.Record(ctx, Entry{Actor: "key:a#1", Action: TokenRead, Subject: "crm"})
	if err := forger.Close(ctx); err != nil {
		t.Fatal(err)
	}
	l := New(Options{Store: p.store, Hasher: p.vault})
	defer l.Close(ctx)
	if rep, err := l.Verify(ctx, Checkpoint{}); err != nil || rep.Good() {
		t.Errorf("a chain under another key is taken: %+v, %v", rep, err)
	}
}

func TestS73_details_stay_JSON(t *testing.T) {
	for _, evil := range []string{"", "1.2.3.4:5", "a\"b", "a\nb", `a\`, "a\x00", "\u2028", "\xff"} {
		for _, d := range []string{"", "{}", `{"a":1}`} {
			e := Entry{Detail: d, From: evil, Request: evil}
			var got map[string]any
			if err := json.Unmarshal([]byte(e.detail()), &got); err != nil {
				t.Errorf("%q and %q: %s: %v", d, evil, e.detail(), err)
			}
			if strings.ContainsAny(e.detail(), "\n\x00") {
				t.Errorf("%q: a control character in %q", evil, e.detail())
			}
		}
	}
}

func TestParseCheckpoint(t *testing.T) {
	for _, bad := range []string{"", "5", "5:", ":ab", "x:ab", "-1:00", "5:zz", "5:00"} {
		if c, err := ParseCheckpoint(bad); err == nil {
			t.Errorf("%q is taken: %v", bad, c)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	p := newPlace(b, b.TempDir())
	l := New(Options{Store: p.store, Hasher: p.vault})
	ctx := context.Background()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(ctx, Entry{Actor: "key:bench#abcdefghijklmnop", Action: TokenRead, Subject: "crm", Detail: `{"generation":12}`, From: "127.0.0.1:51234"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := l.Close(ctx); err != nil {
		b.Fatal(err)
	}
}
