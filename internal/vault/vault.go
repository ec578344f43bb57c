package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Binding is what a ciphertext is bound to.
type Binding = freshet.Binding

// Storage is what the vault needs of a database: one row, the keyring, which is
// sealed already.
type Storage interface {
	// LoadKeyring returns the keyring and its revision, or nil and 0 if none was
	// ever saved. It says "none" only if it knows: an unreachable or damaged
	// database is an error, for the vault makes a new keyring where there is none.
	LoadKeyring(ctx context.Context) (sealed []byte, revision int64, err error)
	// SaveKeyring durably writes the keyring if its revision is still the one
	// given, 0 for none yet, and fails otherwise. The vault reads again after
	// each call, so that an error may also mean that nobody knows.
	SaveKeyring(ctx context.Context, sealed []byte, revision int64) error
}

// A Vault seals and opens values. It is safe for concurrent use; Seal, Open and
// Digest take no lock and do no I/O, but for Open as [Vault.Share] says.
type Vault struct {
	storage Storage
	place   MasterKey
	now     func() time.Time
	ring    atomic.Pointer[ring]

	mu     sync.Mutex // held by whoever changes the fields below or the ring
	master *master
	looked time.Time // when an unknown key last made this process look

	alone atomic.Pointer[func() bool] // nil: no other process uses the keyring
}

// Share says that other processes use the same keyring, and how to learn whether
// this one is alone just now. From then on Open looks at the keyring again when
// it meets a key that it does not know, and Rotate does not replace a master key
// that other processes have copies of.
func (v *Vault) Share(alone func() bool) { v.alone.Store(&alone) }

// lookAgain takes over a keyring that another process has changed since seen, at
// most once a second. Whoever comes meanwhile waits for it.
func (v *Vault) lookAgain(seen *ring) bool {
	if v.alone.Load() == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ring.Load() != seen {
		return true
	}
	now := v.now()
	if d := now.Sub(v.looked); d >= 0 && d < time.Second {
		return false
	}
	v.looked = now
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return v.reloadLocked(ctx) == nil && v.ring.Load() != seen
}

// Open opens the keyring of an installation with its master key. On the very
// first start it makes both, unless the master key is there already. Whatever
// it refuses (a KeyError), it refuses before it has written anything.
func Open(ctx context.Context, storage Storage, place MasterKey) (*Vault, error) {
	v := &Vault{storage: storage, place: place, now: time.Now}
	sealed, revision, err := storage.LoadKeyring(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the vault: load the keyring: %w", err)
	}
	if sealed == nil {
		if err := v.found(ctx); err != nil {
			return nil, fmt.Errorf("open the vault: %w", err)
		}
		return v, nil
	}
	if v.master, err = place.load(); err != nil {
		return nil, fmt.Errorf("open the vault: %w", forKeyring(err, sealed))
	}
	if err := v.adopt(sealed, revision); err != nil {
		return nil, fmt.Errorf("open the vault: %w", err)
	}
	return v, nil
}

// found makes the keyring of a new installation.
func (v *Vault) found(ctx context.Context) (err error) {
	if v.master, err = v.place.loadOrCreate(); err != nil {
		return err
	}
	k, err := newKeys(v.now())
	if err != nil {
		return fmt.Errorf("make the keyring: %w", err)
	}
	w, err := k.under(v.master)
	if err != nil {
		return err
	}
	b, err := (&keyring{Version: keyringVersion, Current: w}).encode()
	if err != nil {
		return err
	}
	saveErr := v.storage.SaveKeyring(ctx, b, 0)
	// Another replica may have been first; then its keyring is ours too.
	sealed, revision, err := v.storage.LoadKeyring(ctx)
	if err != nil {
		return fmt.Errorf("save the first keyring: %w", errors.Join(saveErr, err))
	}
	if sealed == nil {
		return fmt.Errorf("save the first keyring: %w", saveErr)
	}
	return v.adopt(sealed, revision)
}

// forKeyring says of a missing master key which one it is and why no new one is
// made.
func forKeyring(err error, sealed []byte) error {
	var missing *KeyError
	if !errors.As(err, &missing) || missing.Problem != KeyMissing {
		return err
	}
	k, decodeErr := decodeKeyring(sealed)
	if decodeErr != nil {
		return decodeErr
	}
	e := *missing
	e.Detail += fmt.Sprintf(", and the database has a keyring made under master key %s; a new key would open nothing, so none was made", k.names())
	e.cause = nil
	return &e
}

func (k *keyring) names() string {
	if k.Next != nil {
		return k.Current.Master + " or " + k.Next.Master
	}
	return k.Current.Master
}

// adopt opens a stored keyring with v.master and puts it to use.
func (v *Vault) adopt(sealed []byte, revision int64) error {
	stored, err := decodeKeyring(sealed)
	if err != nil {
		return err
	}
	w := stored.under(v.master)
	if w == nil {
		return &KeyError{
			Problem: KeyWrong, Place: v.place.place,
			Detail: fmt.Sprintf("%s holds master key %s, but the keyring in the database was made under %s", v.place.place, v.master.id, stored.names()),
			hint:   "put that master key back; nothing was changed. A restored backup needs the master key of its time, a further replica the one of the first",
		}
	}
	k, err := w.open(v.master)
	if err != nil {
		return err
	}
	r, err := newRing(stored, revision, k)
	if err != nil {
		return err
	}
	v.ring.Store(r)
	return nil
}

// Reload takes over a keyring that another replica has changed. It does nothing
// if the stored one is the one in use. If the master key in use no longer opens
// it, the one that is in its place now is tried. After an error the vault goes
// on with the keys that it has.
func (v *Vault) Reload(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reloadLocked(ctx)
}

func (v *Vault) reloadLocked(ctx context.Context) error {
	sealed, revision, err := v.storage.LoadKeyring(ctx)
	if err != nil {
		return fmt.Errorf("load the keyring: %w", err)
	}
	if sealed == nil {
		return damaged("its row is gone", nil)
	}
	if revision == v.ring.Load().revision {
		return nil
	}
	err = v.adopt(sealed, revision)
	var wrong *KeyError
	if !errors.As(err, &wrong) || wrong.Problem != KeyWrong {
		return err
	}
	m, err := v.place.load()
	if err != nil {
		return forKeyring(err, sealed)
	}
	before := v.master
	v.master = m
	if err := v.adopt(sealed, revision); err != nil {
		v.master = before
		return err
	}
	return nil
}

// saveLocked replaces the keyring in use by next and puts it to use, opened
// with m.
func (v *Vault) saveLocked(ctx context.Context, next *keyring, m *master) error {
	b, err := next.encode()
	if err != nil {
		return err
	}
	saveErr := v.storage.SaveKeyring(ctx, b, v.ring.Load().revision)
	// What the database answered is not what counts: a connection lost during a
	// commit says nothing about the commit.
	sealed, revision, err := v.storage.LoadKeyring(ctx)
	if err != nil {
		return fmt.Errorf("save the keyring: %w", errors.Join(saveErr, err))
	}
	if !bytes.Equal(sealed, b) {
		if saveErr == nil {
			saveErr = errors.New("another process has changed it meanwhile")
		}
		return fmt.Errorf("save the keyring: %w", saveErr)
	}
	before := v.master
	v.master = m
	if err := v.adopt(sealed, revision); err != nil {
		v.master = before
		return err
	}
	return nil
}

// Seal encrypts plaintext so that it opens with b and nowhere else. Every part
// of b must be given but the generation.
func (v *Vault) Seal(b Binding, plaintext []byte) ([]byte, error) {
	if b.Table == "" || b.Row == "" || b.Column == "" {
		return nil, fmt.Errorf("seal %s/%s/%s: a binding names a table, a row and a column", b.Table, b.Row, b.Column)
	}
	sealed, err := v.ring.Load().aead.Encrypt(plaintext, bound(b))
	if err != nil {
		return nil, fmt.Errorf("seal %s/%s/%s: %w", b.Table, b.Row, b.Column, err)
	}
	return sealed, nil
}

// Open returns what was sealed with the same b. Anything else is an error that
// is ErrSealed, and says nothing of the content.
func (v *Vault) Open(b Binding, sealed []byte) ([]byte, error) {
	r := v.ring.Load()
	plain, err := r.open(b, sealed)
	var e *openError
	if errors.As(err, &e) && e.unknown && v.lookAgain(r) {
		return v.ring.Load().open(b, sealed)
	}
	return plain, err
}

func (r *ring) open(b Binding, sealed []byte) ([]byte, error) {
	if id, ok := KeyID(sealed); !ok || !r.known[id] {
		return nil, &openError{b: b, unknown: true}
	}
	plaintext, err := r.aead.Decrypt(sealed, bound(b))
	if err != nil {
		return nil, &openError{b: b}
	}
	return plaintext, nil
}

// Digest returns a keyed hash of s, 32 bytes of HMAC-SHA256: the same for the
// same purpose and secret for as long as the installation lives, unrelated for
// two purposes, and worthless to whoever has only the database.
func (v *Vault) Digest(purpose string, s freshet.Secret) []byte {
	secret := s.Reveal()
	in := make([]byte, 0, binary.MaxVarintLen64+len(purpose)+len(secret))
	in = appendText(in, purpose)
	in = append(in, secret...)
	defer clear(in)
	sum, err := v.ring.Load().prf.ComputePrimaryPRF(in, 32)
	if err != nil {
		// HMAC-SHA256 gives 32 bytes of any input. A constant instead of a hash
		// would let a wrong API key in.
		panic("vault: digest: " + err.Error())
	}
	return sum
}

// bound writes b so that no two bindings are written alike.
func bound(b Binding) []byte {
	out := make([]byte, 0, 32+len(b.Table)+len(b.Row)+len(b.Column))
	out = append(out, "freshet/1"...)
	out = appendText(out, b.Table)
	out = appendText(out, b.Row)
	out = appendText(out, b.Column)
	return binary.BigEndian.AppendUint64(out, uint64(b.Generation))
}

func appendText(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// KeyID returns the id of the data key that a sealed value names; false if it is
// not the beginning of a sealed value.
func KeyID(sealed []byte) (uint32, bool) {
	if len(sealed) < prefixSize || sealed[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:prefixSize]), true
}

func keyPrefix(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{1}, id)
}

// A Status is what may be shown of the vault. Check values name master keys and
// give nothing away.
type Status struct {
	MasterKey string    // check value of the master key in use
	Place     string    // where it is kept
	Next      string    // check value of the other key while a rotation is not finished
	DataKeys  []uint32  // primary first
	Since     time.Time // when the primary data key was made
}

// Status returns the state of the keyring in use.
func (v *Vault) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.ring.Load()
	s := Status{MasterKey: v.master.id, Place: v.place.place, DataKeys: []uint32{r.primary}, Since: r.since}
	if r.stored.Next != nil {
		s.Next = r.stored.Next.Master
		if s.Next == s.MasterKey {
			s.Next = r.stored.Current.Master
		}
	}
	var old []uint32
	for id := range r.known {
		if id != r.primary {
			old = append(old, id)
		}
	}
	slices.Sort(old)
	s.DataKeys = append(s.DataKeys, old...)
	return s
}

// String says that this is a vault, and nothing of its keys.
func (v *Vault) String() string { return "vault" }

// GoString returns what String does.
func (v *Vault) GoString() string { return v.String() }
