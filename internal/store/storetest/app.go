package storetest

import (
	"errors"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

var apps = []test{
	{"what an app keeps is written by revision and deleted with it", func(w *world) {
		if _, err := w.AppStore(w.ctx, "a1"); !errors.Is(err, store.ErrNotFound) {
			w.t.Errorf("of an app that keeps nothing: %v", err)
		}
		first := store.AppStore{App: "a1", Sealed: []byte("one"), Revision: 1}
		w.ok(w.PutAppStore(w.ctx, first, begin))
		if err := w.PutAppStore(w.ctx, first, begin); !errors.Is(err, store.ErrStale) {
			w.t.Errorf("the first once more: %v", err)
		}
		w.ok(w.PutAppStore(w.ctx, store.AppStore{App: "a2", Sealed: []byte("other"), Revision: 1}, begin))
		second := store.AppStore{App: "a1", Sealed: []byte("two"), Revision: 2}
		w.ok(w.PutAppStore(w.ctx, second, begin.Add(time.Minute)))
		if err := w.PutAppStore(w.ctx, store.AppStore{App: "a1", Sealed: []byte("late"), Revision: 2}, begin); !errors.Is(err, store.ErrStale) {
			w.t.Errorf("a spent revision: %v", err)
		}
		got, err := w.AppStore(w.ctx, "a1")
		w.ok(err)
		equal(w, got, second)
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteAppStore("a1") }))
		if _, err := w.AppStore(w.ctx, "a1"); !errors.Is(err, store.ErrNotFound) {
			w.t.Errorf("after its end: %v", err)
		}
		_, err = w.AppStore(w.ctx, "a2")
		w.ok(err)
	}},
}
