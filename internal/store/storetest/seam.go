package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// What store.DB promises to the SQL above it.
var seam = []test{
	{"a row that is not there is ErrNotFound", func(w *world) {
		var n int
		w.is(w.DB().Read().QueryRow(w.ctx, `SELECT revision FROM meta WHERE key = $1`, "none").Scan(&n), store.ErrNotFound)
	}},
	{"an error undoes the transaction", func(w *world) {
		sentinel := errors.New("enough")
		err := w.DB().Tx(w.ctx, func(tx store.Querier) error {
			if _, err := tx.Exec(w.ctx, insertMeta, "a", []byte{1}); err != nil {
				return err
			}
			return sentinel
		})
		w.is(err, sentinel)
		_, _, err = w.Meta(w.ctx, "a")
		w.is(err, store.ErrNotFound)
	}},
	{"a panic undoes the transaction and lets the next one in", func(w *world) {
		func() {
			defer func() {
				if recover() == nil {
					w.t.Error("the panic was swallowed")
				}
			}()
			_ = w.DB().Tx(w.ctx, func(tx store.Querier) error {
				if _, err := tx.Exec(w.ctx, insertMeta, "a", []byte{1}); err != nil {
					return err
				}
				panic("as a bug does")
			})
		}()
		w.ok(w.PutMeta(w.ctx, "b", []byte{2}, 0))
		_, _, err := w.Meta(w.ctx, "a")
		w.is(err, store.ErrNotFound)
	}},
	{"a transaction reads its own writes", func(w *world) {
		w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
			if _, err := tx.Exec(w.ctx, insertMeta, "a", []byte{7}); err != nil {
				return err
			}
			var v []byte
			err := tx.QueryRow(w.ctx, `SELECT value FROM meta WHERE key = $1`, "a").Scan(&v)
			equal(w, v, []byte{7})
			return err
		}))
	}},
	{"a reader sees every write that was acknowledged before", func(w *world) {
		for i := range rounds(200) {
			key := fmt.Sprint("k", i)
			w.ok(w.PutMeta(w.ctx, key, []byte{byte(i)}, 0))
			_, _, err := w.Meta(w.ctx, key)
			w.ok(err)
		}
	}},
	{"a reader sees no write before its commit", func(w *world) {
		w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
			if _, err := tx.Exec(w.ctx, insertMeta, "a", []byte{1}); err != nil {
				return err
			}
			_, _, err := w.Meta(w.ctx, "a")
			w.is(err, store.ErrNotFound)
			return nil
		}))
	}},
	{"a context that has ended writes nothing", func(w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		err := w.DB().Tx(ctx, func(tx store.Querier) error {
			_, err := tx.Exec(ctx, insertMeta, "a", []byte{1})
			cancel()
			return err
		})
		if err == nil {
			w.t.Error("the transaction was committed")
		}
		_, _, err = w.Meta(w.ctx, "a")
		w.is(err, store.ErrNotFound)
		w.ok(w.PutMeta(w.ctx, "b", []byte{1}, 0))
	}},
	{"a unique key's error is told from others", func(w *world) {
		w.ok(w.PutMeta(w.ctx, "a", []byte{1}, 0))
		err := w.DB().Tx(w.ctx, func(tx store.Querier) error {
			_, err := tx.Exec(w.ctx, insertMeta, "a", []byte{1})
			return err
		})
		if !w.DB().IsUnique(err) {
			w.t.Errorf("%v", err)
		}
		err = w.DB().Tx(w.ctx, func(tx store.Querier) error {
			_, err := tx.Exec(w.ctx, `INSERT INTO meta (key, value, revision) VALUES ('b', NULL, 1)`)
			return err
		})
		if err == nil || w.DB().IsUnique(err) || w.DB().IsUnique(nil) {
			w.t.Errorf("%v", err)
		}
	}},
	{"the database's clock goes", func(w *world) {
		first, err := w.clock.DB.Now(w.ctx, w.DB().Read())
		w.ok(err)
		w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
			second, err := w.clock.DB.Now(w.ctx, tx)
			if second.Before(first) || second.Sub(first) > time.Hour {
				w.t.Errorf("%v, then %v", first, second)
			}
			return err
		}))
	}},
	{"Writable writes", func(w *world) {
		w.ok(w.Writable(w.ctx))
		w.ok(w.Writable(w.ctx))
	}},
	{"meta is written at its revision only", func(w *world) {
		_, rev, err := w.Meta(w.ctx, "k")
		w.is(err, store.ErrNotFound)
		w.ok(w.PutMeta(w.ctx, "k", []byte("one"), rev))
		w.is(w.PutMeta(w.ctx, "k", []byte("again"), 0), store.ErrStale)
		w.ok(w.PutMeta(w.ctx, "k", []byte("two"), 1))
		w.is(w.PutMeta(w.ctx, "k", []byte("late"), 1), store.ErrStale)
		w.is(w.PutMeta(w.ctx, "none", []byte("late"), 1), store.ErrStale)
		v, rev, err := w.Meta(w.ctx, "k")
		w.ok(err)
		equal(w, string(v), "two")
		equal(w, rev, 2)
	}},
	{"the keyring is a value of meta", func(w *world) {
		b, rev, err := w.LoadKeyring(w.ctx)
		w.ok(err)
		if b != nil || rev != 0 {
			w.t.Errorf("an empty store has the keyring %q at %d", b, rev)
		}
		w.ok(w.SaveKeyring(w.ctx, []byte("ring"), 0))
		w.is(w.SaveKeyring(w.ctx, []byte("other"), 0), store.ErrStale)
		b, rev, err = w.LoadKeyring(w.ctx)
		w.ok(err)
		equal(w, string(b), "ring")
		equal(w, rev, 1)
	}},
}

const insertMeta = `INSERT INTO meta (key, value, revision) VALUES ($1, $2, 1)`
