package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/vault"
)

func TestRotate(t *testing.T) {
	const n = 250
	d := newDisk()
	key, path := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, n)
	digest := string(v.Digest("api-key", freshet.NewSecret("abc")))
	before, oldKeyring := v.Status(), string(d.Keyring)
	oldText, _ := os.ReadFile(path)

	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := v.Status()
	if after.MasterKey == before.MasterKey || after.DataKeys[0] == before.DataKeys[0] || after.Next != "" {
		t.Errorf("status before %+v, after %+v", before, after)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("the rotation left %v", files)
	}
	if info, _ := os.Lstat(path); info.Mode().Perm()&0o077 != 0 {
		t.Errorf("S46: the new key file has mode %v", info.Mode())
	}
	d.check(t, v, n)
	v = open(t, d, key)
	d.check(t, v, n)

	t.Run("S44 what is left under the old key is counted down to 0", func(t *testing.T) {
		old := before.DataKeys[0]
		if c, err := v.Count(t.Context(), d); err != nil || c.Old[old] != n || c.Left() != n || c.Unknown != 0 {
			t.Errorf("Count = %+v, %v; want %d under %d", c, err, n, old)
		}
		var kept *vault.RetainedError
		if err := later(v).RemoveOldKeys(t.Context(), d); !errors.As(err, &kept) || kept.Count.Left() != n || kept.Hint() == "" {
			t.Errorf("RemoveOldKeys = %v, want it refused", err)
		}
		if p, err := v.Reseal(t.Context(), d); err != nil || p != (vault.Progress{Moved: n}) {
			t.Errorf("Reseal = %+v, %v", p, err)
		}
		if c, err := v.Count(t.Context(), d); err != nil || c.Left() != 0 {
			t.Errorf("Count = %+v, %v; want 0", c, err)
		}
		if p, err := v.Reseal(t.Context(), d); err != nil || p != (vault.Progress{}) {
			t.Errorf("the second Reseal = %+v, %v; want nothing done", p, err)
		}
		if err := v.RemoveOldKeys(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := v.Status().DataKeys; len(got) != 1 || got[0] != after.DataKeys[0] {
			t.Errorf("data keys = %v, want %d alone", got, after.DataKeys[0])
		}
		saves := d.saves
		if err := v.RemoveOldKeys(t.Context(), d); err != nil || d.saves != saves {
			t.Errorf("RemoveOldKeys with none left = %v, saved %d times", err, d.saves-saves)
		}
	})
	v = open(t, d, key)
	d.check(t, v, n)
	if string(v.Digest("api-key", freshet.NewSecret("abc"))) != digest {
		t.Error("the digest did not survive the rotation")
	}
	t.Run("S44 the old master key opens nothing new", func(t *testing.T) {
		old := vault.MasterKeyText("x", freshet.NewSecret(string(oldText)))
		if _, err := vault.Open(t.Context(), d, old); problem(t, err) != vault.KeyWrong {
			t.Errorf("Open = %v", err)
		}
		// Not with the keyring of then either.
		stale := newDisk()
		stale.Keyring, stale.Revision = []byte(oldKeyring), 1
		r := d.get(binding(1).Row)
		if _, err := open(t, stale, old).Open(r.B, r.Sealed); !errors.Is(err, vault.ErrUnknownKey) {
			t.Errorf("Open = %v, want ErrUnknownKey", err)
		}
	})
}

func TestOldKeysStayUntilEveryoneHasSettled(t *testing.T) {
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	now := time.Now().Truncate(time.Second)
	v.SetNow(func() time.Time { return now })
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(vault.Settle - time.Second)
	var kept *vault.RetainedError
	if err := v.RemoveOldKeys(t.Context(), d); !errors.As(err, &kept) || kept.Until.IsZero() {
		t.Errorf("RemoveOldKeys a second too early = %v", err)
	}
	now = now.Add(time.Second)
	if err := v.RemoveOldKeys(t.Context(), d); err != nil {
		t.Errorf("RemoveOldKeys = %v", err)
	}
}

func TestF76_a_value_that_does_not_open_is_never_rewritten(t *testing.T) {
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, 5)
	rotten := d.get(binding(2).Row)
	rotten.Sealed[40] ^= 1
	foreign := seal(t, open(t, newDisk(), textKey()), binding(3), "x")
	d.put(binding(3).Row, binding(3), foreign)
	d.put("empty", binding(9), nil)
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := v.Reseal(t.Context(), d)
	if err != nil || p != (vault.Progress{Moved: 3, Unreadable: 2}) {
		t.Errorf("Reseal = %+v, %v; want 3 moved, 2 unreadable", p, err)
	}
	if got := d.get(binding(2).Row); string(got.Sealed) != string(rotten.Sealed) || got.Writes != 0 {
		t.Error("the damaged value was written")
	}
	if c, err := v.Count(t.Context(), d); err != nil || c.Left() != 1 || c.Unknown != 1 {
		t.Errorf("Count = %+v, %v; want 1 left, 1 unknown", c, err)
	}
	// Its key stays, so that a repaired copy of the value will open.
	if err := later(v).RemoveOldKeys(t.Context(), d); err == nil {
		t.Error("the key of a value was removed")
	}
}

func TestResealMeetsAReplicaThatStillUsesTheOldKey(t *testing.T) {
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, 5)
	late := &lateWriter{disk: d, t: t, replica: open(t, d, key)}
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := v.Reseal(t.Context(), late)
	if err != nil || p != (vault.Progress{Moved: 5, Changed: 1}) {
		t.Errorf("Reseal = %+v, %v; want 5 moved, 1 changed", p, err)
	}
	if c, err := v.Count(t.Context(), d); err != nil || c.Left() != 0 {
		t.Errorf("Count = %+v, %v", c, err)
	}
	if got := d.get(binding(1).Row); got.B.Generation != 99 {
		t.Error("the newer value was overwritten")
	}
	got, err := v.Open(d.get(binding(1).Row).B, d.get(binding(1).Row).Sealed)
	if err != nil || string(got) != "newer" {
		t.Errorf("Open = %q, %v", got, err)
	}
}

// A lateWriter lets a replica that has not reloaded store a newer value between
// the reading of a batch and its writing.
type lateWriter struct {
	*disk
	t       *testing.T
	replica *vault.Vault
	done    bool
}

func (l *lateWriter) ReplaceSealed(ctx context.Context, changes []freshet.Resealed) (int, error) {
	if !l.done {
		l.done = true
		b := binding(1)
		b.Generation = 99
		l.put(b.Row, b, seal(l.t, l.replica, b, "newer"))
	}
	return l.disk.ReplaceSealed(ctx, changes)
}

// finish does what a server does after a start during which a rotation or its
// re-sealing may have been under way.
func finish(ctx context.Context, d *disk, v *vault.Vault) error {
	if v.Status().Next != "" {
		if err := v.Rotate(ctx); err != nil {
			return err
		}
	}
	if _, err := v.Reseal(ctx, d); err != nil {
		return err
	}
	v.SetNow(d.clock)
	return v.RemoveOldKeys(ctx, d)
}

func TestF10_killed_at_every_step_of_a_rotation(t *testing.T) {
	const n = 120 // two batches
	for _, after := range []bool{false, true} {
		for step := 1; ; step++ {
			d := newDisk()
			key, path := fileKey(t)
			v := open(t, d, key)
			d.fill(t, v, n)
			digest := string(v.Digest("api-key", freshet.NewSecret("abc")))
			first := v.Status()

			d.arm(step, after)
			err := v.Rotate(t.Context())
			if err == nil {
				err = finish(t.Context(), d, v)
			}
			if err == nil {
				if step < 10 {
					t.Errorf("a rotation took %d operations only", step)
				}
				break // it needs fewer operations than that
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("step %d: %v", step, err)
			}
			// The process that was killed knows what it knew, and that opens all.
			d.arm(0, false)
			d.check(t, v, n)

			name := fmt.Sprintf("step %d, after %t", step, after)
			v, err = vault.Open(t.Context(), d, key)
			if err != nil {
				t.Fatalf("%s: the key in the file does not open the keyring: %v", name, err)
			}
			d.check(t, v, n)
			if err := finish(t.Context(), d, v); err != nil {
				t.Fatalf("%s: resume: %v", name, err)
			}
			v = open(t, d, key)
			d.check(t, v, n)
			s := v.Status()
			if s.Next != "" || len(s.DataKeys) != 1 || string(v.Digest("api-key", freshet.NewSecret("abc"))) != digest {
				t.Errorf("%s: ended as %+v", name, s)
			}
			if rotated := s.DataKeys[0] != first.DataKeys[0]; rotated != (s.MasterKey != first.MasterKey) {
				t.Errorf("%s: half a rotation: %+v, then %+v", name, first, s)
			}
			for h, r := range d.Rows {
				if r.Writes > 1 {
					t.Errorf("%s: %s was written %d times", name, h, r.Writes)
				}
			}
			// Whatever lies about must not stand in the way of the next one.
			if err := v.Rotate(t.Context()); err != nil {
				t.Fatalf("%s: rotate once more: %v", name, err)
			}
			d.check(t, open(t, d, key), n)
			if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
				t.Errorf("%s: left %v", name, files)
			}
		}
	}
}

func TestF10_states_between_two_steps(t *testing.T) {
	t.Run("F10 half a key file of an attempt", func(t *testing.T) {
		for _, torn := range []string{"", randomKey()[:20]} {
			d := newDisk()
			key, path := fileKey(t)
			v := open(t, d, key)
			d.fill(t, v, 3)
			writeFile(t, path+".next", torn, 0o600)
			if err := v.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.check(t, open(t, d, key), 3)
		}
	})
	t.Run("F10 the key beside lies about for others to read", func(t *testing.T) {
		if os.PathSeparator == '\\' {
			t.Skip("modes say nothing here")
		}
		d := newDisk()
		key, path := fileKey(t)
		v := open(t, d, key)
		writeFile(t, path+".next", randomKey(), 0o644)
		if p := problem(t, v.Rotate(t.Context())); p != vault.KeyExposed || d.saves != 1 {
			t.Errorf("Problem = %q, %d saves", p, d.saves)
		}
	})
	t.Run("F10 the key beside is the one in use", func(t *testing.T) {
		d := newDisk()
		key, path := fileKey(t)
		v := open(t, d, key)
		text, _ := os.ReadFile(path)
		writeFile(t, path+".next", string(text), 0o600)
		if p := problem(t, v.Rotate(t.Context())); p != vault.KeyWrong || d.saves != 1 {
			t.Errorf("Problem = %q, %d saves", p, d.saves)
		}
		if !exists(path + ".next") {
			t.Error("what may be the only copy of a key was removed")
		}
	})
	t.Run("F10 killed between the rename and the keyring", func(t *testing.T) {
		d := newDisk()
		key, path := fileKey(t)
		v := open(t, d, key)
		d.fill(t, v, 3)
		if err := v.Rotate(t.Context()); err != nil { // one that left an old data key
			t.Fatal(err)
		}
		if err := v.Prepare(t.Context(), vault.MasterKeyFile(path+".next")); err != nil {
			t.Fatal(err)
		}
		old, _ := os.ReadFile(path)
		// At this instant either key opens it.
		d.check(t, open(t, d, vault.MasterKeyFile(path+".next")), 3)
		d.check(t, open(t, d, key), 3)
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
		d.check(t, open(t, d, vault.MasterKeyText("x", freshet.NewSecret(string(old)))), 3)
		v = open(t, d, key)
		d.check(t, v, 3)
		if v.Status().Next == "" {
			t.Error("the status does not say that the rotation is not finished")
		}
		if p := problem(t, v.Prepare(t.Context(), textKey())); p != vault.KeyringBusy {
			t.Errorf("Prepare: Problem = %q", p)
		}
		if p := problem(t, later(v).RemoveOldKeys(t.Context(), d)); p != vault.KeyringBusy {
			t.Errorf("RemoveOldKeys: Problem = %q", p)
		}
		if err := v.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.check(t, open(t, d, key), 3)
	})
}

func TestRotateWhenTheAnswerOfTheDatabaseIsLost(t *testing.T) {
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, 3)
	d.lostReply = true // of the save that did happen
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.check(t, open(t, d, key), 3)
}

func TestRotateFinishesInTheSameProcess(t *testing.T) {
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, 3)
	first := v.Status()
	d.arm(4, false) // the second save: the file is replaced by then
	if err := v.Rotate(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	d.arm(0, false)
	d.check(t, v, 3)
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := v.Status()
	if s.Next != "" || s.MasterKey == first.MasterKey || len(s.DataKeys) != 2 {
		t.Errorf("status = %+v", s)
	}
	d.check(t, open(t, d, key), 3)
}

func TestRotateAKeyThatAPersonKeeps(t *testing.T) {
	d := newDisk()
	old, next := textKey(), textKey()
	v := open(t, d, old)
	d.fill(t, v, 3)
	if p := problem(t, v.Rotate(t.Context())); p != vault.KeyElsewhere || d.saves != 1 {
		t.Errorf("Rotate: Problem = %q, %d saves", p, d.saves)
	}
	if p := problem(t, v.Prepare(t.Context(), old)); p != vault.KeyWrong {
		t.Errorf("Prepare with the key in use: Problem = %q", p)
	}
	for _, m := range []vault.MasterKey{textKey(), next} { // the second replaces the first
		if err := v.Prepare(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	d.check(t, open(t, d, old), 3)
	err := v.Rotate(t.Context())
	if p := problem(t, err); p != vault.KeyElsewhere || !strings.Contains(err.Error(), v.Status().Next) {
		t.Errorf("Rotate before the key is in its place: %v", err)
	}

	v = open(t, d, next) // restarted with the new key
	d.check(t, v, 3)
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := finish(t.Context(), d, v); err != nil {
		t.Fatal(err)
	}
	d.check(t, open(t, d, next), 3)
	if _, err := vault.Open(t.Context(), d, old); problem(t, err) != vault.KeyWrong {
		t.Errorf("the old key: %v", err)
	}
}

func TestRotateWithReplicas(t *testing.T) {
	d := newDisk()
	keyA, pathA := fileKey(t)
	keyB, pathB := fileKey(t)
	a := open(t, d, keyA)
	text, _ := os.ReadFile(pathA)
	writeFile(t, pathB, string(text), 0o600)
	b := open(t, d, keyB)
	d.fill(t, a, 3)

	prepared := filepath.Join(t.TempDir(), "prepared.key")
	if err := a.Prepare(t.Context(), vault.MasterKeyFile(prepared)); err != nil {
		t.Fatal(err)
	}
	// Before the new key is in place no other is made: replicas may have it.
	if p := problem(t, a.Rotate(t.Context())); p != vault.KeyElsewhere {
		t.Errorf("Rotate: Problem = %q", p)
	}
	text, _ = os.ReadFile(prepared)
	for _, path := range []string{pathA, pathB} {
		os.Remove(path)
		writeFile(t, path, string(text), 0o600)
	}
	if err := b.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, a, binding(7), content(7))
	if _, err := b.Open(binding(7), sealed); !errors.Is(err, vault.ErrUnknownKey) || !errors.Is(err, vault.ErrSealed) {
		t.Errorf("a replica that has not reloaded: %v, want ErrUnknownKey", err)
	}
	if err := b.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Open(binding(7), sealed); err != nil || string(got) != content(7) {
		t.Errorf("Open = %q, %v", got, err)
	}
	d.check(t, b, 3)

	t.Run("one that never got the key goes on with what it has", func(t *testing.T) {
		os.Remove(pathB)
		if err := a.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := problem(t, b.Reload(t.Context())); p != vault.KeyMissing {
			t.Errorf("Reload: Problem = %q", p)
		}
		writeFile(t, pathB, randomKey(), 0o600)
		if p := problem(t, b.Reload(t.Context())); p != vault.KeyWrong {
			t.Errorf("Reload: Problem = %q", p)
		}
		d.check(t, b, 3)
		d.check(t, a, 3)
	})
	t.Run("the row of the keyring is gone", func(t *testing.T) {
		d.Keyring = nil
		if p := problem(t, a.Reload(t.Context())); p != vault.KeyringDamaged {
			t.Errorf("Reload: Problem = %q", p)
		}
	})
}

func TestTwoRotationsAtOnce(t *testing.T) {
	d := newDisk()
	key, path := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, 3)
	// Another process saves between our load and our save.
	thief := &meddler{disk: d, other: open(t, d, key), path: path, t: t}
	v, err := vault.Open(t.Context(), thief, key)
	if err != nil {
		t.Fatal(err)
	}
	thief.armed = true
	if err := v.Rotate(t.Context()); err == nil {
		t.Error("Rotate over another's rotation succeeded")
	}
	d.check(t, v, 3)
	if err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.check(t, v, 3)
	d.check(t, open(t, d, key), 3)
}

// A meddler lets another process rotate just before a save.
type meddler struct {
	*disk
	t     *testing.T
	other *vault.Vault
	path  string
	armed bool
}

func (m *meddler) SaveKeyring(ctx context.Context, sealed []byte, revision int64) error {
	if m.armed {
		m.armed = false
		if err := m.other.Rotate(ctx); err != nil {
			m.t.Error(err)
		}
	}
	return m.disk.SaveKeyring(ctx, sealed, revision)
}
