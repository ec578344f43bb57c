package vault_test

import (
	"os"
	"testing"

	"github.com/freshet-dev/freshet/internal/vault"
)

func TestF75_the_place_of_the_master_key_is_away(t *testing.T) {
	key, path := fileKey(t)
	d := newDisk()
	v := open(t, d, key)
	d.fill(t, v, 2)
	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	t.Run("F75 a running vault goes on", func(t *testing.T) {
		d.fill(t, v, 4)
		d.check(t, v, 4)
	})
	t.Run("F75 a start fails clean", func(t *testing.T) {
		before := string(d.Keyring)
		if _, err := vault.Open(t.Context(), d, key); problem(t, err) != vault.KeyMissing {
			t.Errorf("error = %v, want a missing key", err)
		}
		if string(d.Keyring) != before || exists(path) {
			t.Error("the start wrote something")
		}
	})
	t.Run("F75 it is back", func(t *testing.T) {
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
		d.check(t, open(t, d, key), 4)
	})
	t.Run("F75 it is lost, and a vault that still runs makes another", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := v.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.check(t, open(t, d, key), 4)
	})
}
