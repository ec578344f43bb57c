package vault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyringVersion is the form in which this version writes the keyring.
const keyringVersion = 1

// prefixSize is how many bytes of a sealed value name its data key: a version
// byte of Tink's and the key's id.
const prefixSize = 5

// A keyring is what the database holds: the keys, wrapped under the current
// master key and, during a rotation, under the next one too. All wraps hold the
// same keys.
type keyring struct {
	Version int   `json:"version"`
	Current wrap  `json:"current"`
	Next    *wrap `json:"next,omitempty"`
}

// A wrap is the keys under one master key. Master is that key's check value: it
// tells a wrong key from a damaged keyring, and a start from writing anything.
type wrap struct {
	Master string `json:"master"`
	Since  int64  `json:"primary_since"` // Unix seconds; when the primary data key was made
	Data   []byte `json:"data"`          // encrypted Tink keyset
	Digest []byte `json:"digest"`        // encrypted Tink keyset
}

// keys are an opened keyring's keys. They are read-only.
type keys struct {
	data, digest *keyset.Handle
	since        time.Time
}

// newKeys makes the keys of a new installation.
func newKeys(now time.Time) (keys, error) {
	data, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return keys{}, err
	}
	digest, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return keys{}, err
	}
	return keys{data: data, digest: digest, since: now.Truncate(time.Second)}, nil
}

// rotated returns k with a new primary data key.
func (k keys) rotated(now time.Time) (keys, error) {
	m := keyset.NewManagerFromHandle(k.data)
	id, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return keys{}, err
	}
	if err := m.SetPrimary(id); err != nil {
		return keys{}, err
	}
	data, err := m.Handle()
	if err != nil {
		return keys{}, err
	}
	return keys{data: data, digest: k.digest, since: now.Truncate(time.Second)}, nil
}

// onlyPrimary returns k without the data keys that no longer seal.
func (k keys) onlyPrimary() (keys, error) {
	m := keyset.NewManagerFromHandle(k.data)
	info := k.data.KeysetInfo()
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() == info.GetPrimaryKeyId() {
			continue
		}
		if err := m.Delete(key.GetKeyId()); err != nil {
			return keys{}, err
		}
	}
	data, err := m.Handle()
	if err != nil {
		return keys{}, err
	}
	return keys{data: data, digest: k.digest, since: k.since}, nil
}

// associated binds a wrapped keyset to its part and to the wrap's other fields,
// so that a writer of the database cannot put one together of two.
func associated(part, id string, since int64) []byte {
	return fmt.Appendf(nil, "freshet/1 keyring %s %s %d", part, id, since)
}

// under wraps k.
func (k keys) under(m *master) (wrap, error) {
	w := wrap{Master: m.id, Since: k.since.Unix()}
	var data, digest bytes.Buffer
	if err := k.data.WriteWithAssociatedData(keyset.NewBinaryWriter(&data), m.aead, associated("data", w.Master, w.Since)); err != nil {
		return wrap{}, fmt.Errorf("wrap the data keys: %w", err)
	}
	if err := k.digest.WriteWithAssociatedData(keyset.NewBinaryWriter(&digest), m.aead, associated("digest", w.Master, w.Since)); err != nil {
		return wrap{}, fmt.Errorf("wrap the digest key: %w", err)
	}
	w.Data, w.Digest = data.Bytes(), digest.Bytes()
	return w, nil
}

// open unwraps w, which names m.
func (w *wrap) open(m *master) (keys, error) {
	data, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Data)), m.aead, associated("data", w.Master, w.Since))
	if err != nil {
		return keys{}, damaged("its data keys do not unwrap", err)
	}
	digest, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Digest)), m.aead, associated("digest", w.Master, w.Since))
	if err != nil {
		return keys{}, damaged("its digest key does not unwrap", err)
	}
	return keys{data: data, digest: digest, since: time.Unix(w.Since, 0).UTC()}, nil
}

// under returns the wrap that m opens, or nil.
func (k *keyring) under(m *master) *wrap {
	switch {
	case k.Current.Master == m.id:
		return &k.Current
	case k.Next != nil && k.Next.Master == m.id:
		return k.Next
	}
	return nil
}

// decodeKeyring reads what encode wrote.
func decodeKeyring(b []byte) (*keyring, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, damaged("it is not what Freshet writes", err)
	}
	if v.Version > keyringVersion {
		return nil, &KeyError{
			Problem: KeyringNewer, Place: keyringPlace,
			Detail: fmt.Sprintf("the keyring has version %d; this Freshet reads up to %d", v.Version, keyringVersion),
			hint:   "start the newer Freshet that wrote it",
		}
	}
	var k keyring
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, damaged("it is not what Freshet writes", err)
	}
	if k.Version < 1 || k.Current.Master == "" {
		return nil, damaged("it names no master key", nil)
	}
	return &k, nil
}

func (k *keyring) encode() ([]byte, error) { return json.Marshal(k) }

const keyringPlace = "the keyring in the database"

func damaged(what string, cause error) error {
	return &KeyError{
		Problem: KeyringDamaged, Place: keyringPlace,
		Detail: "the keyring in the database is damaged: " + what,
		hint:   "restore the database from a backup; without the keyring nothing that is sealed can be opened",
		cause:  cause,
	}
}

// A ring is an opened keyring, ready for use. It is read-only and replaced as a
// whole.
type ring struct {
	keys
	stored   *keyring
	revision int64
	aead     tink.AEAD
	prf      *prf.Set
	primary  uint32
	prefix   []byte          // how values under the primary data key begin
	known    map[uint32]bool // every data key
}

func newRing(stored *keyring, revision int64, k keys) (*ring, error) {
	sealer, err := aead.New(k.data)
	if err != nil {
		return nil, damaged("its data keys are not usable", err)
	}
	hasher, err := prf.NewPRFSet(k.digest)
	if err != nil {
		return nil, damaged("its digest key is not usable", err)
	}
	r := &ring{keys: k, stored: stored, revision: revision, aead: sealer, prf: hasher, known: map[uint32]bool{}}
	info := k.data.KeysetInfo()
	r.primary = info.GetPrimaryKeyId()
	r.prefix = keyPrefix(r.primary)
	for _, key := range info.GetKeyInfo() {
		r.known[key.GetKeyId()] = true
	}
	return r, nil
}
