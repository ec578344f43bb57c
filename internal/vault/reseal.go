package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// Settle is for how long after a rotation a value may still arrive that was
// sealed under the data key before: by a call that had begun, or by a replica
// that has not reloaded yet. Replicas reload far more often than that.
const Settle = 10 * time.Minute

// resealBatch is how many values are written at a time: few enough that a
// database with one writer is not held up.
const resealBatch = 100

// resealPasses bounds how often re-sealing looks again for values that others
// have written meanwhile.
const resealPasses = 10

// Rows is what re-sealing needs of a database: all that is sealed in it, and
// beside it. A value that is left out is lost with its data key, so orphans and
// spill files belong to it; values of zero length do not.
type Rows interface {
	// SealedAfter lists up to limit values that do not begin with prefix, in an
	// order of the store's own. An empty cursor is the beginning; next is where
	// to go on, empty at the end. Each value that is there from the beginning to
	// the end of a walk and does not change is listed once.
	SealedAfter(ctx context.Context, prefix []byte, cursor string, limit int) (values []freshet.SealedValue, next string, err error)
	// ReplaceSealed durably writes the new values, each only where the old one
	// still stands byte for byte, and returns how many it wrote.
	ReplaceSealed(ctx context.Context, changes []freshet.Resealed) (replaced int, err error)
}

// A Count says what is not sealed under the primary data key.
type Count struct {
	Old     map[uint32]int // values by older data key of the keyring
	Unknown int            // values that name no data key of the keyring: damaged, or of another installation
}

// Left is how many values still need an old data key.
func (c Count) Left() (n int) {
	for _, values := range c.Old {
		n += values
	}
	return n
}

// Count counts what is not sealed under the primary data key.
func (v *Vault) Count(ctx context.Context, rows Rows) (Count, error) {
	r := v.ring.Load()
	c := Count{Old: map[uint32]int{}}
	err := walk(ctx, rows, r.prefix, func(values []freshet.SealedValue) error {
		for _, value := range values {
			id, ok := KeyID(value.Sealed)
			switch {
			case len(value.Sealed) == 0 || ok && id == r.primary:
			case ok && r.known[id]:
				c.Old[id]++
			default:
				c.Unknown++
			}
		}
		return nil
	})
	if err != nil {
		return Count{}, fmt.Errorf("count what is sealed under old data keys: %w", err)
	}
	return c, nil
}

// Progress is what one call of Reseal did.
type Progress struct {
	Moved      int // values that are now under the primary data key
	Changed    int // values that somebody else wrote or deleted first
	Unreadable int // values that do not open; they were left as they are
}

// Reseal moves every value under the primary data key. It may be stopped
// anywhere, and called again goes on with what is left; a value that was moved
// is not moved again. Values that do not open are counted and never touched.
func (v *Vault) Reseal(ctx context.Context, rows Rows) (Progress, error) {
	var p Progress
	for range resealPasses {
		before := p
		p.Unreadable = 0
		err := walk(ctx, rows, v.ring.Load().prefix, func(values []freshet.SealedValue) error {
			return v.resealBatch(ctx, rows, values, &p)
		})
		if err != nil {
			return p, fmt.Errorf("re-seal: %w", err)
		}
		if p.Moved == before.Moved && p.Changed == before.Changed {
			break
		}
	}
	return p, nil
}

func (v *Vault) resealBatch(ctx context.Context, rows Rows, values []freshet.SealedValue, p *Progress) error {
	r := v.ring.Load()
	var changes []freshet.Resealed
	for _, value := range values {
		if id, ok := KeyID(value.Sealed); len(value.Sealed) == 0 || ok && id == r.primary {
			continue
		}
		plaintext, err := r.open(value.Binding, value.Sealed)
		if err != nil {
			p.Unreadable++
			continue
		}
		sealed, err := v.Seal(value.Binding, plaintext)
		clear(plaintext)
		if err != nil {
			return err
		}
		changes = append(changes, freshet.Resealed{From: value, To: sealed})
	}
	if len(changes) == 0 {
		return nil
	}
	n, err := rows.ReplaceSealed(ctx, changes)
	p.Moved += n
	if err != nil {
		return err
	}
	p.Changed += len(changes) - n
	return nil
}

// walk calls fn for all values that do not begin with prefix, in batches.
func walk(ctx context.Context, rows Rows, prefix []byte, fn func([]freshet.SealedValue) error) error {
	for cursor := ""; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		values, next, err := rows.SealedAfter(ctx, prefix, cursor, resealBatch)
		if err != nil {
			return err
		}
		if err := fn(values); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		if next == cursor {
			return errors.New("the store's cursor does not move")
		}
		cursor = next
	}
}

// RemoveOldKeys forgets the data keys that no longer seal. While a value needs
// one of them, or might, it returns a RetainedError and changes nothing.
func (v *Vault) RemoveOldKeys(ctx context.Context, rows Rows) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.reloadLocked(ctx); err != nil {
		return fmt.Errorf("remove old data keys: %w", err)
	}
	r := v.ring.Load()
	if len(r.known) == 1 {
		return nil
	}
	if r.stored.Next != nil {
		// We hold one of the two master keys and can only wrap under that one.
		return &KeyError{
			Problem: KeyringBusy, Place: v.place.place,
			Detail: "a rotation is not finished: the keyring opens with two master keys",
			hint:   "finish it first: freshet master-key rotate",
		}
	}
	// First the time, then the count: once it is over nothing is added.
	if until := r.since.Add(Settle); v.now().Before(until) {
		return &RetainedError{Until: until}
	}
	count, err := v.Count(ctx, rows)
	if err != nil {
		return err
	}
	if count.Left() > 0 {
		return &RetainedError{Count: count}
	}
	k, err := r.onlyPrimary()
	if err != nil {
		return fmt.Errorf("remove old data keys: %w", err)
	}
	w, err := k.under(v.master)
	if err != nil {
		return err
	}
	if err := v.saveLocked(ctx, &keyring{Version: keyringVersion, Current: w}, v.master); err != nil {
		return fmt.Errorf("remove old data keys: %w", err)
	}
	return nil
}
