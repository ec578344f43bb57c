package vault_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/freshet-dev/freshet/internal/vault"
)

// Two replicas share a keyring: what one seals after a rotation the other opens
// without having been told, and neither replaces a master key that the other has
// a copy of.
func TestShare(t *testing.T) {
	ctx := t.Context()
	s := newDisk()
	path := filepath.Join(t.TempDir(), "master.key")
	first := openOn(t, s, vault.MasterKeyFile(path))
	second := openOn(t, s, vault.MasterKeyFile(path))
	alone := false
	for _, v := range []*vault.Vault{first, second} {
		v.Share(func() bool { return alone })
	}
	var e *vault.KeyError
	if err := first.Rotate(ctx); !errors.As(err, &e) || e.Problem != vault.KeyElsewhere || e.Hint() == "" {
		t.Errorf("it replaced a key that another replica has a copy of: %v", err)
	}
	if s := first.Status(); s.Next != "" {
		t.Error("it began all the same")
	}
	alone = true
	if err := first.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	b := vault.Binding{Table: "t", Row: "r", Column: "c"}
	sealed, err := first.Seal(b, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open(b, sealed); err != nil || !bytes.Equal(got, []byte("plain")) {
		t.Errorf("%q, %v", got, err)
	}
	// What nobody's key opens costs one look a second.
	other := openOn(t, newDisk(), vault.MasterKeyFile(filepath.Join(t.TempDir(), "other.key")))
	foreign, err := other.Seal(b, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	loads := s.ops
	for range 100 {
		if _, err := second.Open(b, foreign); !errors.Is(err, vault.ErrSealed) {
			t.Fatal(err)
		}
	}
	if n := s.ops - loads; n > 1 {
		t.Errorf("it looked %d times", n)
	}
}

func openOn(t *testing.T, d *disk, key vault.MasterKey) *vault.Vault {
	t.Helper()
	v, err := vault.Open(t.Context(), d, key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
