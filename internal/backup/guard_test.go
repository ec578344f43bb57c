package backup_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// start is a start of the server, as far as the guard goes.
func (i *install) start() (*backup.Guard, string) {
	i.t.Helper()
	g := backup.NewGuard(i.Store, i.dir)
	paused, reason, err := g.Check(context.Background())
	if err != nil {
		i.t.Fatal(err)
	}
	if paused != (reason != "") {
		i.t.Fatalf("paused %v for the reason %q", paused, reason)
	}
	return g, reason
}

// image is a store as it lies on disk, which a snapshot or a careless cp
// brings back.
func (i *install) image() []byte {
	i.t.Helper()
	b, err := os.ReadFile(filepath.Join(i.dir, sqlite.FileName))
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

func (i *install) putBack(image []byte) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, sqlite.FileName), image, 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func (i *install) epochFile() string { return filepath.Join(i.dir, backup.EpochFile) }

func (i *install) epoch() (inStore, inFile string) {
	i.t.Helper()
	v, _, err := i.Meta(context.Background(), store.EpochKey)
	if err != nil {
		i.t.Fatal(err)
	}
	b, err := os.ReadFile(i.epochFile())
	if err != nil {
		i.t.Fatal(err)
	}
	inStore, _, _ = strings.Cut(string(v), " ")
	return inStore, strings.TrimSpace(string(b))
}

func TestGuard(t *testing.T) {
	ctx := context.Background()
	t.Run("starts of the same store", func(t *testing.T) {
		i := newInstall(t)
		seen := map[string]bool{}
		for range 4 {
			g, reason := i.start()
			if reason != "" {
				t.Fatalf("paused: %s", reason)
			}
			for range 2 {
				inStore, inFile := i.epoch()
				if inStore != inFile || seen[inFile] || len(inFile) != 32 {
					t.Errorf("store %s, file %s, seen %v", inStore, inFile, seen[inFile])
				}
				seen[inFile] = true
				if err := g.Advance(ctx); err != nil {
					t.Fatal(err)
				}
			}
			i.close()
			i.open()
		}
		if st, err := os.Stat(i.epochFile()); err != nil || st.Mode() != 0o600 {
			t.Errorf("S46 the file: %v, %v", st.Mode(), err)
		}
	})

	// Each leaves a store and a directory that do not belong together.
	for name, c := range map[string]struct {
		says string
		do   func(i *install)
	}{
		"S45 a store of before the last start is put back": {"not the one", func(i *install) {
			i.close()
			old := i.image()
			i.open()
			i.start()
			i.close()
			i.putBack(old)
			i.open()
		}},
		"S45 a store of before the last period is put back": {"not the one", func(i *install) {
			g, _ := i.start()
			if err := i.DB().(*sqlite.DB).Shred(ctx); err != nil {
				i.t.Fatal(err)
			}
			old := i.image()
			if err := g.Advance(ctx); err != nil {
				i.t.Fatal(err)
			}
			i.close()
			i.putBack(old)
			i.open()
		}},
		"S45 the log is deleted": {"not the one", func(i *install) {
			if err := i.DB().(*sqlite.DB).Shred(ctx); err != nil {
				i.t.Fatal(err)
			}
			i.start()
			old := i.image() // what lies there without the log
			i.close()
			i.putBack(old)
			i.open()
		}},
		"F12 a backup is restored": {"restored backup", func(i *install) {
			from := filepath.Join(i.t.TempDir(), "b")
			i.take(from)
			i.close()
			if _, err := backup.Restore(ctx, from, i.dir, i.key, backup.Options{Replace: true}); err != nil {
				i.t.Fatal(err)
			}
			i.open()
		}},
		"F12 a backup is put back by hand": {"restored backup", func(i *install) {
			from := filepath.Join(i.t.TempDir(), "b")
			i.take(from)
			i.close()
			b, err := os.ReadFile(from)
			if err != nil {
				i.t.Fatal(err)
			}
			i.putBack(b)
			i.open()
		}},
		"F12 a backup is restored into a new directory": {"restored backup", func(i *install) {
			from := filepath.Join(i.t.TempDir(), "b")
			i.take(from)
			i.close()
			i.dir = i.t.TempDir()
			if _, err := backup.Restore(ctx, from, i.dir, i.key, backup.Options{}); err != nil {
				i.t.Fatal(err)
			}
			i.open()
		}},
		"the directory's half is gone":  {"is missing", func(i *install) { os.Remove(i.epochFile()) }},
		"the directory's half is empty": {"is missing", func(i *install) { os.WriteFile(i.epochFile(), nil, 0o600) }},
		"the store's half is gone": {"no epoch", func(i *install) {
			if err := i.DB().Tx(ctx, func(tx store.Querier) error {
				_, err := tx.Exec(ctx, `DELETE FROM meta WHERE key = $1`, store.EpochKey)
				return err
			}); err != nil {
				i.t.Fatal(err)
			}
		}},
		"the store of another installation": {"not the one", func(i *install) {
			other := newInstall(i.t)
			other.start()
			other.close()
			i.close()
			i.putBack(other.image())
			i.key = other.key
			i.open()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstall(t)
			i.start()
			c.do(i)
			// Until somebody confirms, at every start, and whatever time passes.
			for range 3 {
				g, reason := i.start()
				if !strings.Contains(reason, c.says) || !strings.Contains(reason, "refresh tokens that were rotated meanwhile are spent") {
					t.Fatalf("it goes on; reason %q", reason)
				}
				if err := g.Advance(ctx); err != nil {
					t.Fatal(err)
				}
				i.close()
				i.open()
			}
			g, _ := i.start()
			if err := g.Confirm(ctx); err != nil {
				t.Fatal(err)
			}
			if err := g.Advance(ctx); err != nil {
				t.Fatal(err)
			}
			if inStore, inFile := i.epoch(); inStore != inFile {
				t.Errorf("store %s, file %s", inStore, inFile)
			}
			i.close()
			i.open()
			if _, reason := i.start(); reason != "" {
				t.Errorf("after it was confirmed: %s", reason)
			}
		})
	}

	t.Run("what was confirmed is known by both halves at once", func(t *testing.T) {
		i := newInstall(t)
		if err := os.WriteFile(i.epochFile(), []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g, reason := i.start()
		if reason == "" {
			t.Error("it goes on")
		}
		if err := g.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		os.Remove(i.epochFile())
		if _, reason = i.start(); reason == "" {
			t.Error("a file that goes right then is not missed")
		}
	})
	t.Run("a start that is killed between the halves", func(t *testing.T) {
		i := newInstall(t)
		g, _ := i.start()
		_, before := i.epoch()
		if err := g.Advance(ctx); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(i.epochFile(), []byte(before+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, reason := i.start(); reason != "" {
			t.Errorf("paused: %s", reason)
		}
		// Two periods are none that a kill explains.
		_, before = i.epoch()
		for range 2 {
			g, _ = i.start()
			if err := g.Advance(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(i.epochFile(), []byte(before+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, reason := i.start(); reason == "" {
			t.Error("it goes on")
		}
	})
	t.Run("a first start that is killed between the halves", func(t *testing.T) {
		i := newInstall(t)
		if err := i.PutMeta(ctx, store.EpochKey, []byte("0123456789abcdef0123456789abcdef none"), 0); err != nil {
			t.Fatal(err)
		}
		if _, reason := i.start(); reason != "" {
			t.Errorf("paused: %s", reason)
		}
		os.Remove(i.epochFile())
		if _, reason := i.start(); reason == "" {
			t.Error("that excuse holds once")
		}
	})
	t.Run("a file that cannot be read or written is an error", func(t *testing.T) {
		i := newInstall(t)
		if err := os.Mkdir(i.epochFile(), 0o700); err != nil {
			t.Fatal(err)
		}
		g := backup.NewGuard(i.Store, i.dir)
		if _, _, err := g.Check(ctx); err == nil {
			t.Error("Check took a directory for an epoch")
		}
		if err := g.Confirm(ctx); err == nil {
			t.Error("Confirm took a directory for an epoch")
		}
	})
}

// asker is a provider that revokes the grant at the sight of a spent refresh
// token.
type asker struct {
	mu      sync.Mutex
	asks    int
	current string
	revoked bool
}

func (a *asker) Ask(_ context.Context, _ *freshet.Definition, ask grant.Ask) grant.Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks++
	if a.revoked = a.revoked || !ask.RefreshToken.Equal(freshet.NewSecret(a.current)); a.revoked {
		return grant.Outcome{Err: &grant.Error{Class: grant.Permanent, Code: "invalid_grant", Status: 400}}
	}
	a.current += "'"
	now := time.Now()
	return grant.Outcome{Token: &freshet.Token{Access: freshet.NewSecret("at"), Refresh: freshet.NewSecret(a.current), Scheme: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}}
}

func (a *asker) Revoke(context.Context, *freshet.Definition, *freshet.Token) error { return nil }

func (a *asker) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asks
}

type one struct{ def freshet.Definition }

func (o *one) Definition(context.Context, string) (*freshet.Definition, error) { return &o.def, nil }

// The whole of it: an older backup is restored, and the provider hears nothing
// before a person says so.
func TestF12_an_older_backup_rests_until_it_is_confirmed(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		i := newInstallIn(t, dirs[0])
		i.connect("crm")
		defs := &one{freshet.Definition{ID: "id-crm", Revision: 1, Connection: freshet.Connection{Name: "crm", Client: "acme", Grant: freshet.GrantAuthorizationCode},
			Client: freshet.Client{Name: "acme", ID: "id"}, Provider: freshet.Provider{Name: "prov", TokenURL: "https://p.example/token"}}}
		prov := &asker{current: "rt"}
		var src *refresh.Source
		serve := func() (*backup.Guard, string) {
			src = refresh.New(refresh.Options{Store: i.Store, Sealer: i.vault, Asker: prov, Definitions: defs, Dir: i.dir, Jitter: func() float64 { return 0.5 },
				Sweep: time.Hour, Poll: time.Hour})
			g, reason := i.start()
			if reason != "" {
				src.Pause(reason)
			}
			if err := src.Start(ctx); err != nil {
				t.Fatal(err)
			}
			return g, reason
		}
		stop := func() {
			if err := src.Close(ctx); err != nil {
				t.Fatal(err)
			}
			i.close()
		}
		serve()
		now := time.Now()
		if err := src.Import(ctx, "crm", freshet.Token{Access: freshet.NewSecret("at"), Refresh: freshet.NewSecret("rt"), Scheme: "Bearer", IssuedAt: now, Expiry: now.Add(time.Hour)}, false); err != nil {
			t.Fatal(err)
		}
		old := filepath.Join(dirs[1], "old")
		i.take(old)
		time.Sleep(3 * time.Hour)
		if prov.count() < 2 || prov.revoked {
			t.Fatalf("%d token requests, revoked %v: the test needs some that are answered", prov.count(), prov.revoked)
		}
		stop()

		if _, err := backup.Restore(ctx, old, i.dir, i.key, backup.Options{Replace: true}); err != nil {
			t.Fatal(err)
		}
		before := prov.count()
		for range 2 { // and again at the next start
			i.open()
			_, reason := serve()
			if reason == "" {
				t.Fatal("it does not notice")
			}
			time.Sleep(24 * time.Hour)
			if n := prov.count() - before; n != 0 {
				t.Errorf("%d token requests before anybody confirmed", n)
			}
			stop()
		}
		i.open()
		g, _ := serve()
		if err := g.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		src.Resume()
		time.Sleep(time.Hour)
		if prov.count() == before {
			t.Error("no token request after it was confirmed")
		}
		stop()
		i.open()
		if _, reason := serve(); reason != "" {
			t.Errorf("the next start: %s", reason)
		}
		stop()
	})
}
