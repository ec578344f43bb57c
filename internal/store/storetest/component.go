package storetest

import (
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

func (w *world) message(id string) store.ComponentMessage {
	w.t.Helper()
	m := store.ComponentMessage{ID: id, Component: "c", Name: "outlook", Action: "contacts", Sealed: []byte("sealed " + id), Run: "run-" + id}
	w.ok(w.AddComponentMessage(w.ctx, m, begin))
	return m
}

var components = []test{
	{"a message is kept until an attempt ends well", func(w *world) {
		m := w.message("a")
		got, err := w.ComponentMessage(w.ctx, "run-a")
		w.ok(err)
		m.State, m.Attempts, m.CreatedAt, m.UpdatedAt = store.MessageRunning, 1, begin, begin
		equal(w, got, m)
		due := begin.Add(time.Minute)
		enqueued := false
		w.ok(w.SettleComponentMessage(w.ctx, "run-a", store.MessageWaiting, "later", due, at(time.Second), func(store.Querier) error { enqueued = true; return nil }))
		got, err = w.ComponentMessage(w.ctx, "a")
		w.ok(err)
		equal(w, []any{got.State, got.Error, got.DueAt, enqueued}, []any{store.MessageWaiting, "later", due, true})
		w.is(w.SettleComponentMessage(w.ctx, "run-a", store.MessageFailed, "", time.Time{}, at(0), nil), store.ErrStale)
		got, err = w.TakeComponentMessage(w.ctx, "a", store.MessageWaiting, "run-2", at(2*time.Minute))
		w.ok(err)
		equal(w, []any{got.State, got.Attempts, got.Run, got.DueAt.IsZero()}, []any{store.MessageRunning, int64(2), "run-2", true})
		_, err = w.TakeComponentMessage(w.ctx, "a", store.MessageWaiting, "run-3", at(0))
		w.is(err, store.ErrStale)
		w.ok(w.EndComponentMessage(w.ctx, "run-a")) // not the latest any more
		_, err = w.ComponentMessage(w.ctx, "a")
		w.ok(err)
		w.ok(w.EndComponentMessage(w.ctx, "run-2"))
		_, err = w.ComponentMessage(w.ctx, "a")
		w.is(err, store.ErrNotFound)
	}},
	{"what failed is listed, and dropped when somebody says so", func(w *world) {
		for _, id := range []string{"b", "a", "c"} {
			w.message(id)
		}
		w.ok(w.SettleComponentMessage(w.ctx, "run-b", store.MessageFailed, "broken", time.Time{}, at(time.Hour), nil))
		n, err := w.InterruptComponentMessages(w.ctx, at(time.Minute), at(time.Hour), "interrupted")
		w.ok(err)
		equal(w, n, int64(2))
		list, err := w.ComponentMessages(w.ctx, "outlook", store.MessageFailed, "a", 10)
		w.ok(err)
		equal(w, []string{list[0].ID, list[0].Error, list[1].ID, list[1].Error}, []string{"b", "broken", "c", "interrupted"})
		none, err := w.ComponentMessages(w.ctx, "other", "", "", 10)
		w.ok(err)
		equal(w, len(none), 0)
		w.ok(w.DropComponentMessage(w.ctx, "b"))
		w.is(w.DropComponentMessage(w.ctx, "b"), store.ErrNotFound)
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteComponent("c") }))
		list, err = w.ComponentMessages(w.ctx, "outlook", "", "", 10)
		w.ok(err)
		equal(w, len(list), 0)
	}},
	{"one attempt is one caller's", func(w *world) {
		w.message("a")
		w.ok(w.SettleComponentMessage(w.ctx, "run-a", store.MessageWaiting, "", begin, begin, nil))
		won := make(chan bool, 8)
		for i := range cap(won) {
			go func() {
				_, err := w.TakeComponentMessage(w.ctx, "a", store.MessageWaiting, "run-"+string(rune('0'+i)), begin)
				won <- err == nil
			}()
		}
		n := 0
		for range cap(won) {
			if <-won {
				n++
			}
		}
		equal(w, n, 1)
	}},
	{"a snapshot replaces the revision before it", func(w *world) {
		b, rev, err := w.ComponentSnapshot(w.ctx, "c/a")
		w.ok(err)
		equal(w, []any{len(b), rev}, []any{0, int64(0)})
		w.ok(w.PutComponentSnapshot(w.ctx, "c/a", "c", []byte("one"), 0))
		w.is(w.PutComponentSnapshot(w.ctx, "c/a", "c", []byte("other"), 0), store.ErrStale)
		w.ok(w.PutComponentSnapshot(w.ctx, "c/a", "c", []byte("two"), 1))
		w.is(w.PutComponentSnapshot(w.ctx, "c/a", "c", []byte("three"), 1), store.ErrStale)
		b, rev, err = w.ComponentSnapshot(w.ctx, "c/a")
		w.ok(err)
		equal(w, []any{string(b), rev}, []any{"two", int64(2)})
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteComponent("c") }))
		_, rev, err = w.ComponentSnapshot(w.ctx, "c/a")
		w.ok(err)
		equal(w, rev, int64(0))
	}},
}
