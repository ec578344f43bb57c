package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/vault"
)

var errKilled = errors.New("the process was killed")

// A disk is the database as the vault sees it, with everything that it holds in
// exported fields so that a test can put it into a file. It can die before or
// after its nth operation and is dead from then on, as it would look to a
// process that is killed there.
type disk struct {
	Keyring  []byte
	Revision int64
	Rows     map[string]*row // by handle

	mu        sync.Mutex
	ops       int
	killAt    int // 0: never
	killAfter bool
	dead      bool
	die       func() // instead of returning errKilled
	persist   func() // after every write
	lostReply bool   // the next SaveKeyring writes and returns an error
	broken    error  // LoadKeyring returns it
	saves     int
}

type row struct {
	B      vault.Binding
	Sealed []byte
	Writes int // by re-sealing
}

func newDisk() *disk { return &disk{Rows: map[string]*row{}} }

func (d *disk) op(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errKilled
	}
	d.ops++
	kill := d.ops == d.killAt
	if kill && !d.killAfter {
		return d.kill()
	}
	err := fn()
	if kill {
		return d.kill()
	}
	return err
}

func (d *disk) kill() error {
	if d.die != nil {
		d.die()
	}
	d.dead = true
	return errKilled
}

func (d *disk) written() {
	if d.persist != nil {
		d.persist()
	}
}

// arm lets d die at the nth operation from now.
func (d *disk) arm(n int, after bool) { d.ops, d.killAt, d.killAfter, d.dead = 0, n, after, false }

// LoadKeyring implements vault.Storage.
func (d *disk) LoadKeyring(context.Context) (sealed []byte, revision int64, err error) {
	err = d.op(func() error {
		if d.broken != nil {
			return d.broken
		}
		sealed, revision = bytes.Clone(d.Keyring), d.Revision
		return nil
	})
	return sealed, revision, err
}

// SaveKeyring implements vault.Storage.
func (d *disk) SaveKeyring(_ context.Context, sealed []byte, revision int64) error {
	return d.op(func() error {
		if revision != d.Revision {
			return errors.New("stale")
		}
		d.Keyring = bytes.Clone(sealed)
		d.Revision++
		d.saves++
		d.written()
		if d.lostReply {
			d.lostReply = false
			return errors.New("connection lost during commit")
		}
		return nil
	})
}

// SealedAfter implements vault.Rows.
func (d *disk) SealedAfter(_ context.Context, prefix []byte, cursor string, limit int) (values []freshet.SealedValue, next string, err error) {
	err = d.op(func() error {
		var handles []string
		for h, r := range d.Rows {
			if h > cursor && !bytes.HasPrefix(r.Sealed, prefix) {
				handles = append(handles, h)
			}
		}
		sort.Strings(handles)
		if len(handles) > limit {
			handles = handles[:limit]
			next = handles[limit-1]
		}
		for _, h := range handles {
			values = append(values, freshet.SealedValue{Binding: d.Rows[h].B, Handle: h, Sealed: bytes.Clone(d.Rows[h].Sealed)})
		}
		return nil
	})
	return values, next, err
}

// ReplaceSealed implements vault.Rows.
func (d *disk) ReplaceSealed(_ context.Context, changes []freshet.Resealed) (n int, err error) {
	err = d.op(func() error {
		for _, c := range changes {
			r := d.Rows[c.From.Handle]
			if r == nil || !bytes.Equal(r.Sealed, c.From.Sealed) {
				continue
			}
			r.Sealed = bytes.Clone(c.To)
			r.Writes++
			n++
		}
		d.written()
		return nil
	})
	return n, err
}

func (d *disk) put(handle string, b vault.Binding, sealed []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Rows[handle] = &row{B: b, Sealed: sealed}
}

func (d *disk) get(handle string) row {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.Rows[handle]
}

// clock moves on by Settle with every save of the keyring, through restarts.
func (d *disk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(d.Revision) * vault.Settle)
}

func binding(i int) vault.Binding {
	return vault.Binding{Table: "tokens", Row: fmt.Sprintf("conn-%04d", i), Column: "token", Generation: int64(i%7 + 1)}
}

func content(i int) string { return fmt.Sprintf("refresh token %d", i) }

// fill seals n values.
func (d *disk) fill(t testing.TB, v *vault.Vault, n int) {
	t.Helper()
	for i := range n {
		d.put(binding(i).Row, binding(i), seal(t, v, binding(i), content(i)))
	}
}

// check opens everything that fill sealed.
func (d *disk) check(t testing.TB, v *vault.Vault, n int) {
	t.Helper()
	for i := range n {
		r := d.get(binding(i).Row)
		got, err := v.Open(r.B, r.Sealed)
		if err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
		if string(got) != content(i) {
			t.Fatalf("value %d opens to %q", i, got)
		}
	}
}

func seal(t testing.TB, v *vault.Vault, b vault.Binding, text string) []byte {
	t.Helper()
	sealed, err := v.Seal(b, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func open(t testing.TB, d *disk, m vault.MasterKey) *vault.Vault {
	t.Helper()
	v, err := vault.Open(t.Context(), d, m)
	if err != nil {
		t.Fatalf("open the vault: %v", err)
	}
	return v
}

// later lets v believe that everything settled long ago.
func later(v *vault.Vault) *vault.Vault {
	v.SetNow(func() time.Time { return time.Now().Add(2 * vault.Settle) })
	return v
}

// randomKey returns a master key as a person would pass it.
func randomKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func textKey() vault.MasterKey {
	return vault.MasterKeyText("FRESHET_MASTER_KEY", freshet.NewSecret(randomKey()))
}

func fileKey(t testing.TB) (vault.MasterKey, string) {
	path := filepath.Join(t.TempDir(), "master.key")
	return vault.MasterKeyFile(path), path
}

// problem returns what a KeyError refuses for.
func problem(t testing.TB, err error) vault.Problem {
	t.Helper()
	var e *vault.KeyError
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want a KeyError", err)
	}
	if e.Hint() == "" || e.Error() == "" {
		t.Errorf("%v has no hint", err)
	}
	return e.Problem
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
