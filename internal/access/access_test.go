package access

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

const local = "127.0.0.1:1234"

// A place is a data directory with its database and vault.
type place struct {
	dir   string
	store *store.Store
	vault *vault.Vault
}

func newPlace(t *testing.T) *place { return newPlaceIn(t, t.TempDir()) }

func newPlaceIn(t *testing.T, dir string) *place {
	t.Helper()
	p := &place{dir: dir}
	st, err := sqlite.Open(context.Background(), p.dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	p.store = st
	if p.vault, err = vault.Open(context.Background(), st, vault.MasterKeyFile(filepath.Join(p.dir, "master.key"))); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) open(t *testing.T, tweak ...func(*Options)) *Keys {
	t.Helper()
	o := Options{Store: p.store, Hasher: p.vault}
	for _, f := range tweak {
		f(&o)
	}
	k, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close(context.Background()) })
	return k
}

func create(t *testing.T, k *Keys, r Request) Key {
	t.Helper()
	key, err := k.Create(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestS58_a_stolen_database_holds_no_key(t *testing.T) {
	p := newPlace(t)
	k := p.open(t)
	key := create(t, k, Request{Name: "ci", Scopes: []string{"read"}})
	text := key.Secret.Reveal()
	id, secret := split(text)
	if !strings.HasPrefix(text, Prefix) || len(secret) != 52 {
		t.Fatalf("%q is not fk_ID_ and 256 bits", text)
	}
	if _, err := k.Check(text, local); err != nil {
		t.Fatal(err)
	}
	if err := p.store.DB().(*sqlite.DB).Shred(context.Background()); err != nil {
		t.Fatal(err)
	}
	raw, err := letters.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(p.dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	seen := false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		seen = seen || bytes.Contains(b, []byte(id))
		for _, form := range [][]byte{[]byte(secret), []byte(secret[:20]), raw, []byte(hex.EncodeToString(raw))} {
			if bytes.Contains(b, form) {
				t.Errorf("%s holds the secret", f)
			}
		}
	}
	if !seen {
		t.Error("no file holds the id either: the search looks in the wrong place")
	}
	// A hash is worth nothing in another row.
	row, err := p.store.Keys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(row[0].Hash, p.vault.Digest(purpose("other"), freshet.NewSecret(secret))) {
		t.Error("the hash does not depend on the id")
	}
}

// A counter stands before the vault: it sees what work a check does.
type counter struct {
	Hasher
	n atomic.Int64
}

func (c *counter) Digest(purpose string, s freshet.Secret) []byte {
	c.n.Add(1)
	return c.Hasher.Digest(purpose, s)
}

func TestS59_an_unknown_id_costs_what_a_wrong_secret_costs(t *testing.T) {
	p := newPlace(t)
	c := &counter{Hasher: p.vault}
	k := p.open(t, func(o *Options) { o.Hasher = c })
	key := create(t, k, Request{Name: "ci", Scopes: []string{"read"}}).Secret.Reveal()
	id, secret := split(key)
	if _, err := k.Check(key, local); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]string{
		"wrong secret":         Prefix + id + "_" + strings.Repeat("a", len(secret)),
		"secret off by one":    key[:len(key)-1] + "2",
		"short secret":         Prefix + id + "_a",
		"unknown id":           Prefix + strings.Repeat("a", len(id)) + "_" + secret,
		"no id":                Prefix + "_" + secret,
		"no secret":            Prefix + id + "_",
		"no underscore":        Prefix + id,
		"no prefix":            id + "_" + secret,
		"empty":                "",
		"other case":           strings.ToUpper(key),
		"space after":          key + " ",
		"far too long":         key + strings.Repeat("a", 1<<20),
		"somebody else's word": "Bearer",
	} {
		before := c.n.Load()
		if got, err := k.Check(wrong, "192.0.2."+string('1'+rune(len(name)%8))+":1"); !errors.Is(err, ErrUnknown) || got != nil {
			t.Errorf("%s: %v, %v; want ErrUnknown", name, got, err)
		}
		if n := c.n.Load() - before; n != 1 {
			t.Errorf("%s: %d keyed hashes, want 1", name, n)
		}
	}
	before := c.n.Load()
	if _, err := k.Check(key, local); err != nil || c.n.Load() != before {
		t.Errorf("a right key that is known costs %d keyed hashes (%v)", c.n.Load()-before, err)
	}
}

// The statistical half of S59 is a benchmark: run both and compare.
func BenchmarkS59(b *testing.B) {
	dir := b.TempDir()
	st, err := sqlite.Open(b.Context(), dir, sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	v, err := vault.Open(b.Context(), st, vault.MasterKeyFile(filepath.Join(dir, "master.key")))
	if err != nil {
		b.Fatal(err)
	}
	k, err := Open(b.Context(), Options{Store: st, Hasher: v})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close(context.Background())
	key, err := k.Create(b.Context(), Request{Name: "ci", Scopes: []string{"read"}})
	if err != nil {
		b.Fatal(err)
	}
	right := key.Secret.Reveal()
	id, secret := split(right)
	for _, c := range []struct{ name, key string }{
		{"right", right},
		{"wrong-secret", Prefix + id + "_" + strings.Repeat("a", len(secret))},
		{"unknown-id", Prefix + strings.Repeat("a", len(id)) + "_" + secret},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Check(c.key, "")
			}
		})
	}
}

func TestS60_wrong_keys_wait_and_right_ones_do_not(t *testing.T) {
	p := newPlace(t)
	var ahead atomic.Int64 // of the clock, which a loop reads too
	start := time.Now()
	k := p.open(t, func(o *Options) { o.Now = func() time.Time { return start.Add(time.Duration(ahead.Load())) } })
	key := create(t, k, Request{Name: "ci", Scopes: []string{"read"}}).Secret.Reveal()
	guess := func(remote string) error {
		_, err := k.Check("fk_x_y", remote)
		return err
	}
	for i := range burst {
		if err := guess(local); !errors.Is(err, ErrUnknown) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	var limited *LimitedError
	if err := guess(local); !errors.As(err, &limited) || limited.Wait <= 0 || limited.Wait > pace {
		t.Fatalf("guess after the burst: %v", err)
	}
	if _, err := k.Check(key, local); err != nil {
		t.Errorf("the right key from the same address: %v", err)
	}
	if err := guess("192.0.2.1:1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("another address: %v", err)
	}
	ahead.Add(int64(limited.Wait))
	if err := guess(local); !errors.Is(err, ErrUnknown) {
		t.Errorf("after the wait: %v", err)
	}
	if err := guess(local); !errors.As(err, &limited) {
		t.Errorf("the second one after the wait: %v", err)
	}
	// One subscriber has 2⁶⁴ addresses.
	for i := range burst {
		if err := guess("[2001:db8::" + hex.EncodeToString([]byte{byte(i + 1)}) + "]:1"); !errors.Is(err, ErrUnknown) {
			t.Fatal(i, err)
		}
	}
	if err := guess("[2001:db8::ffff:1]:1"); !errors.As(err, &limited) {
		t.Errorf("another address of the same /64: %v", err)
	}
	if err := guess("[2001:db8:0:1::1]:1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("another /64: %v", err)
	}
	for i := range maxPeers + 10 {
		guess(peerAddress(i))
	}
	if n := len(k.wrong.peers); n > maxPeers {
		t.Errorf("%d addresses are remembered", n)
	}
}

func peerAddress(i int) string {
	return "10." + itoa(i>>16&255) + "." + itoa(i>>8&255) + "." + itoa(i&255) + ":1"
}

func itoa(i int) string {
	if i < 10 {
		return string('0' + rune(i))
	}
	return itoa(i/10) + string('0'+rune(i%10))
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		scopes string
		verb   Verb
		name   string
		want   bool
	}{
		{"token:crm", Token, "crm", true},
		{"token:crm", Token, "crm2", false},
		{"token:crm", Token, "cr", false},
		{"token:crm", Token, "CRM", false},
		{"token:crm", Call, "crm", false},
		{"token:crm", Read, "", false},
		{"token:crm", Admin, "", false},
		{"token:*", Token, "anything.at-all", true},
		{"token:sales-*", Token, "sales-eu", true},
		{"token:sales-*", Token, "sales", false},
		{"token:*-eu", Token, "sales-eu", true},
		{"token:*-eu", Token, "eu-eu", true},
		{"token:s?les", Token, "sales", true},
		{"token:s?les", Token, "sles", false},
		{"token:a*b*c", Token, "aXbYbZc", true},
		{"token:a*b*c", Token, "acb", false},
		{"token:[a-z]", Token, "b", false},
		{"call:crm read", Call, "crm", true},
		{"call:crm read", Read, "", true},
		{"run:Keeper/*", Run, "Keeper/Keeper-1:Refresh", true},
		{"read", Token, "crm", false},
		{"read", Call, "crm", false},
		{"read", Admin, "", false},
		{"admin", Token, "crm", true},
		{"admin", Call, "crm", true},
		{"admin", Run, "x", true},
		{"admin", Read, "", true},
		{"admin", Admin, "", true},
	} {
		caller, err := newCaller(store.Key{Scopes: strings.Fields(c.scopes)})
		if err != nil {
			t.Fatal(err)
		}
		if got := caller.May(c.verb, c.name); got != c.want {
			t.Errorf("%s may %s %q = %v, want %v", c.scopes, c.verb, c.name, got, c.want)
		}
	}
	for _, bad := range []string{"", "token", "token:", "tokens:crm", "read:crm", "admin:*", "ADMIN", "*", "token:a\nb", "call"} {
		if err := ParseScope(bad); err == nil {
			t.Errorf("scope %q is taken", bad)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	p := newPlace(t)
	k := p.open(t)
	ctx := context.Background()
	for field, r := range map[string]Request{
		"name":         {Scopes: []string{"read"}},
		"scopes":       {Name: "a"},
		"scopes[1]":    {Name: "a", Scopes: []string{"read", "write"}},
		"addresses[0]": {Name: "a", Scopes: []string{"read"}, Addresses: []string{"localhost"}},
		"expires_at":   {Name: "a", Scopes: []string{"read"}, ExpiresAt: time.Now().Add(-time.Second)},
	} {
		_, err := k.Create(ctx, r)
		var re *RequestError
		if !errors.As(err, &re) || re.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	create(t, k, Request{Name: "twice", Scopes: []string{"read"}})
	if _, err := k.Create(ctx, Request{Name: "twice", Scopes: []string{"read"}}); !errors.Is(err, store.ErrExists) {
		t.Errorf("a taken name: %v", err)
	}
}

func TestAddressesAndExpiry(t *testing.T) {
	p := newPlace(t)
	var at atomic.Int64
	at.Store(time.Now().Unix())
	now := func() time.Time { return time.Unix(at.Load(), 0) }
	k := p.open(t, func(o *Options) { o.Now = now })
	end := now().Add(time.Hour)
	key := create(t, k, Request{Name: "a", Scopes: []string{"read"}, Addresses: []string{"192.0.2.0/24", "2001:db8::1"}, ExpiresAt: end}).Secret.Reveal()
	for remote, want := range map[string]error{
		"192.0.2.255:1": nil, "[2001:db8::1]:9": nil, "[::ffff:192.0.2.1]:1": nil,
		"192.0.3.0:1": ErrAddress, "[2001:db8::2]:1": ErrAddress, "127.0.0.1:1": ErrAddress, "@": ErrAddress, "": ErrAddress,
	} {
		if _, err := k.Check(key, remote); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("from %q: %v, want %v", remote, err, want)
		}
	}
	at.Store(end.Unix() - 1)
	if _, err := k.Check(key, "192.0.2.1:1"); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	at.Store(end.Unix())
	if _, err := k.Check(key, "192.0.2.1:1"); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
}

func TestRevokedKeysEndWhatTheyHold(t *testing.T) {
	p := newPlace(t)
	k := p.open(t)
	ctx := context.Background()
	key := create(t, k, Request{Name: "a", Scopes: []string{"read"}}).Secret.Reveal()
	c, err := k.Check(key, local)
	if err != nil {
		t.Fatal(err)
	}
	create(t, k, Request{Name: "b", Scopes: []string{"read"}}) // reads all rows again
	if again, err := k.Check(key, local); err != nil || again != c {
		t.Fatalf("a key became another caller: %v", err)
	}
	if _, err := k.Revoke(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Revoked():
	default:
		t.Error("what the key holds open goes on")
	}
	if _, err := k.Check(key, local); !errors.Is(err, ErrUnknown) {
		t.Errorf("a revoked key: %v", err)
	}
	if _, err := k.Revoke(ctx, "a"); !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	create(t, k, Request{Name: "a", Scopes: []string{"read"}}) // its name is free
	list, err := k.List(ctx)
	if err != nil || len(list) != 3 {
		t.Errorf("%d keys are listed, %v", len(list), err)
	}
}

// Another process revokes, and a stream of ours ends within five seconds.
func TestS77_a_key_revoked_elsewhere_ends_here(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaceIn(t, dir)
		k := p.open(t, func(o *Options) { o.Shared = true })
		defer k.Close(context.Background())
		key := create(t, k, Request{Name: "a", Scopes: []string{"read"}}).Secret.Reveal()
		old := create(t, k, Request{Name: "old", Scopes: []string{"read"}, ExpiresAt: time.Now().Add(time.Hour)}).Secret.Reveal()
		c, err := k.Check(key, local)
		if err != nil {
			t.Fatal(err)
		}
		o, err := k.Check(old, local)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.store.RevokeKey(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		<-c.Revoked()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := k.Check(key, local); !errors.Is(err, ErrUnknown) {
			t.Errorf("the key: %v", err)
		}
		<-o.Revoked() // an expiry ends streams too
		if now := time.Now(); now.Before(o.expires) || now.After(o.expires.Add(5*time.Second)) {
			t.Errorf("it ended at %v, its expiry was %v", now, o.expires)
		}
	})
}

func TestLastUseIsRecorded(t *testing.T) {
	p := newPlace(t)
	k := p.open(t)
	ctx := context.Background()
	key := create(t, k, Request{Name: "a", Scopes: []string{"read"}})
	list, err := k.List(ctx)
	if err != nil || !list[0].LastUsed.IsZero() {
		t.Errorf("a key that nobody used was used at %v, %v", list[0].LastUsed, err)
	}
	if _, err := k.Check(key.Secret.Reveal(), local); err != nil {
		t.Fatal(err)
	}
	list, err = k.List(ctx)
	if err != nil || list[0].LastUsed.IsZero() {
		t.Errorf("the list does not show it: %v", err)
	}
	if row, _ := p.store.Key(ctx, key.ID); !row.LastUsed.IsZero() {
		t.Error("one check wrote to the database")
	}
	if err := k.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if row, _ := p.store.Key(ctx, key.ID); row.LastUsed.IsZero() {
		t.Error("it is lost at the end")
	}
}

func TestS69_one_first_key_whoever_starts(t *testing.T) {
	p := newPlace(t)
	other := t.TempDir()
	var wg sync.WaitGroup
	var made atomic.Int64
	for i := range 16 {
		dir := p.dir
		if i%4 == 3 {
			dir = other // a second replica, on the same database
		}
		k := p.open(t)
		wg.Go(func() {
			_, m, err := k.EnsureAdmin(context.Background(), dir)
			if err != nil {
				t.Error(err)
			}
			if m {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d processes made the first key", made.Load())
	}
	k := p.open(t)
	good := 0
	for _, dir := range []string{p.dir, other} {
		path := filepath.Join(dir, AdminFile)
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		c, err := k.Check(strings.TrimSpace(string(b)), local)
		if err != nil || !c.May(Admin, "") {
			t.Errorf("%s: %v", path, err)
			continue
		}
		good++
		left, _ := filepath.Glob(filepath.Join(dir, ".admin-*"))
		if len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
	if good != 1 {
		t.Errorf("%d files hold a good key", good)
	}
	ctx := context.Background()
	// A key that somebody has put away stays away.
	os.Remove(filepath.Join(p.dir, AdminFile))
	os.Remove(filepath.Join(other, AdminFile))
	if _, made, err := k.EnsureAdmin(ctx, p.dir); made || err != nil {
		t.Errorf("made again: %v", err)
	}
	if _, err := k.Revoke(ctx, AdminName); err != nil {
		t.Fatal(err)
	}
	if _, made, err := k.EnsureAdmin(ctx, p.dir); made || err != nil {
		t.Errorf("made again after it was revoked: %v", err)
	}
}

func made(path string) error {
	_, _, err := makeAdmin(path)
	return err
}

func TestAdminFileOfADeadStart(t *testing.T) {
	ctx := context.Background()
	t.Run("the file came before the row", func(t *testing.T) {
		p := newPlace(t)
		path := filepath.Join(p.dir, AdminFile)
		if _, _, err := makeAdmin(path); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(path)
		k := p.open(t)
		if _, made, err := k.EnsureAdmin(ctx, p.dir); !made || err != nil {
			t.Fatal(made, err)
		}
		if _, err := k.Check(strings.TrimSpace(string(b)), local); err != nil {
			t.Errorf("the key of the file: %v", err)
		}
	})
	for name, prepare := range map[string]func(path string) error{
		"others can read it":   func(path string) error { return errors.Join(made(path), os.Chmod(path, 0o644)) },
		"it is something else": func(path string) error { return os.WriteFile(path, []byte("hello"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			path := filepath.Join(p.dir, AdminFile)
			if err := prepare(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			k := p.open(t)
			if _, made, err := k.EnsureAdmin(ctx, p.dir); made || err == nil {
				t.Errorf("made %v, %v", made, err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			if list, _ := k.List(ctx); len(list) != 0 {
				t.Error("a key was made")
			}
		})
	}
}

func TestFromRequest(t *testing.T) {
	for v, want := range map[string]string{"Bearer fk_a_b": "fk_a_b", "bearer  fk_a_b": "fk_a_b", "Basic eDp5": "", "Bearer": "", "": "", "Bearer ": ""} {
		got, err := FromRequest(http.Header{"Authorization": {v}})
		if got != want || (want == "") != errors.Is(err, ErrMissing) {
			t.Errorf("%q: %q, %v", v, got, err)
		}
	}
	if _, err := FromRequest(http.Header{"Authorization": {"Bearer fk_a_b", "Bearer fk_c_d"}}); !errors.Is(err, ErrMissing) {
		t.Errorf("two headers: %v", err)
	}
	if _, err := FromRequest(http.Header{}); !errors.Is(err, ErrMissing) {
		t.Errorf("no header: %v", err)
	}
}
