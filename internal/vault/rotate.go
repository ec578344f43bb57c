package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Prepare wraps the keyring under the master key at next as well, and makes
// that key if next is a file that is not there. It is the first step of a
// rotation whose new key a person puts in place: from then on a start with
// either key succeeds. Another Prepare before Rotate replaces the first.
func (v *Vault) Prepare(ctx context.Context, next MasterKey) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.reloadLocked(ctx); err != nil {
		return fmt.Errorf("prepare a rotation: %w", err)
	}
	if v.openedByNextLocked() {
		return &KeyError{
			Problem: KeyringBusy, Place: v.place.place,
			Detail: "the last rotation is not finished: the keyring still opens with the key before",
			hint:   "finish it first: freshet master-key rotate",
		}
	}
	m, err := next.loadOrCreate()
	if err != nil {
		return fmt.Errorf("prepare a rotation: %w", err)
	}
	if m.id == v.master.id {
		return &KeyError{
			Problem: KeyWrong, Place: next.place,
			Detail: fmt.Sprintf("%s holds master key %s, which is the one in use", next.place, m.id),
			hint:   "give another key; " + generateTip,
		}
	}
	if err := v.wrapBothLocked(ctx, m); err != nil {
		return fmt.Errorf("prepare a rotation: %w", err)
	}
	return nil
}

// Rotate replaces the master key and makes a new primary data key, or finishes
// a rotation that was begun. The key in its own file is replaced by one that is
// made here; any other has to be prepared and put in place before. What is left
// to do then is Reseal and RemoveOldKeys. The package comment has the order of
// things, and why it may be killed anywhere.
func (v *Vault) Rotate(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.rotateLocked(ctx); err != nil {
		return fmt.Errorf("rotate the master key: %w", err)
	}
	return nil
}

func (v *Vault) rotateLocked(ctx context.Context) error {
	if err := v.reloadLocked(ctx); err != nil {
		return err
	}
	if next := v.ring.Load().stored.Next; next != nil {
		// The key is asked for again, since it may have been put in its place
		// while we ran, and must be there before the old one stops to count.
		m, err := v.place.load()
		if err == nil && m.id == next.Master {
			return v.finishLocked(ctx, m)
		}
	}
	if v.place.path == "" || v.place.given {
		return v.notOursLocked()
	}
	if alone := v.alone.Load(); alone != nil && !(*alone)() {
		return v.copiedLocked()
	}
	beside := v.place.next()
	m, err := v.besideLocked(beside)
	if err != nil {
		return err
	}
	if next := v.ring.Load().stored.Next; next == nil || next.Master != m.id {
		if err := v.wrapBothLocked(ctx, m); err != nil {
			return err
		}
	}
	if err := replaceFile(beside.path, v.place.path); err != nil {
		return &KeyError{
			Problem: KeyUnreadable, Place: v.place.place, Detail: "put the new master key in its place",
			hint:  "nothing is lost, either key opens the keyring; let this user write the directory and rotate again",
			cause: err,
		}
	}
	return v.finishLocked(ctx, m)
}

// openedByNextLocked reports whether a rotation came as far as its third step.
func (v *Vault) openedByNextLocked() bool {
	stored := v.ring.Load().stored
	return stored.Next != nil && stored.Next.Master == v.master.id
}

// notOursLocked says what a person has to do who keeps the master key.
func (v *Vault) notOursLocked() error {
	e := &KeyError{
		Problem: KeyElsewhere, Place: v.place.place,
		Detail: "the master key comes from " + v.place.place + ", where Freshet cannot replace it",
		hint:   "prepare the rotation with a new key, put that key in its place and rotate again",
	}
	if next := v.ring.Load().stored.Next; next != nil {
		e.Detail = fmt.Sprintf("the keyring is prepared for master key %s, but %s still holds %s", next.Master, v.place.place, v.master.id)
		e.hint = "put the new key in its place, restart and rotate again; or prepare another"
	}
	return e
}

// copiedLocked says what a person has to do where other processes have copies of
// the master key.
func (v *Vault) copiedLocked() error {
	e := &KeyError{
		Problem: KeyElsewhere, Place: v.place.place,
		Detail: "other replicas have copies of the master key, which this one cannot replace",
		hint:   "prepare the rotation with a new key, put that key in place on every replica and rotate again; or stop the other replicas first",
	}
	if next := v.ring.Load().stored.Next; next != nil {
		e.Detail = fmt.Sprintf("the keyring is prepared for master key %s, but %s still holds %s", next.Master, v.place.place, v.master.id)
		e.hint = "put the new key in place on every replica and rotate again"
	}
	return e
}

// besideLocked returns the new key in the file beside, which it makes unless an
// earlier attempt has.
func (v *Vault) besideLocked(beside MasterKey) (*master, error) {
	next := v.ring.Load().stored.Next
	m, err := beside.load()
	var bad *KeyError
	switch {
	case next != nil && (err != nil || m.id != next.Master):
		// Prepared with a key that lies elsewhere; to make another one now would
		// shut out the replicas that have it already.
		return nil, v.notOursLocked()
	case err == nil && m.id == v.master.id:
		return nil, &KeyError{
			Problem: KeyWrong, Place: beside.place,
			Detail: fmt.Sprintf("%s holds master key %s, which is the one in use", beside.place, m.id),
			hint:   "see that " + v.place.path + " holds it too, remove " + beside.path + " and rotate again",
		}
	case err == nil:
		return m, nil
	case errors.Is(err, fs.ErrNotExist):
		return beside.create()
	case errors.As(err, &bad) && (bad.Problem == KeyMalformed || bad.Problem == KeyWeak):
		// A torn file of an attempt that came no further. The keyring knows of
		// no second key, so nothing was ever wrapped under what it held.
	default:
		return nil, err
	}
	if err := os.Remove(beside.path); err != nil {
		return nil, err
	}
	return beside.create()
}

// wrapBothLocked lets m open the keyring, too.
func (v *Vault) wrapBothLocked(ctx context.Context, m *master) error {
	r := v.ring.Load()
	second, err := r.keys.under(m)
	if err != nil {
		return err
	}
	return v.saveLocked(ctx, &keyring{Version: keyringVersion, Current: r.stored.Current, Next: &second}, v.master)
}

// finishLocked makes the new primary data key and leaves the keyring under m
// alone.
func (v *Vault) finishLocked(ctx context.Context, m *master) error {
	k, err := v.ring.Load().rotated(v.now())
	if err != nil {
		return fmt.Errorf("make a data key: %w", err)
	}
	w, err := k.under(m)
	if err != nil {
		return err
	}
	return v.saveLocked(ctx, &keyring{Version: keyringVersion, Current: w}, m)
}
