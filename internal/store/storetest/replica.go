package storetest

import (
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

var replicas = []test{
	{"a replica is listed from its start to its end", func(w *world) {
		a := store.Replica{ID: "a", Place: "one:/data", Version: "1", Protocol: 1}
		w.ok(w.Enlist(w.ctx, a, 15*time.Second))
		w.ok(w.Enlist(w.ctx, store.Replica{ID: "b", Place: "two:/data", Version: "2", Protocol: 2, Spilled: 3}, 15*time.Second))
		w.pass(20 * time.Second)
		w.ok(w.Beat(w.ctx, "a", 7))
		list, err := w.Replicas(w.ctx)
		w.ok(err)
		a.Spilled, a.StartedAt, a.SeenAt = 7, at(0), at(20*time.Second)
		equal(w, list, []store.Replica{a, {ID: "b", Place: "two:/data", Version: "2", Protocol: 2, Spilled: 3, StartedAt: at(0), SeenAt: at(0), Silent: 20 * time.Second}})
		w.ok(w.Discharge(w.ctx, "a"))
		w.ok(w.Discharge(w.ctx, "a"))
		w.is(w.Beat(w.ctx, "a", 0), store.ErrNotFound)
		list, err = w.Replicas(w.ctx)
		w.ok(err)
		equal(w, len(list), 1)
	}},
	{"two processes do not live under one id", func(w *world) {
		here, there := store.Replica{ID: "a", Place: "one:/data"}, store.Replica{ID: "a", Place: "two:/data"}
		w.ok(w.Enlist(w.ctx, here, 15*time.Second))
		w.is(w.Enlist(w.ctx, there, 15*time.Second), store.ErrExists)
		w.ok(w.Enlist(w.ctx, here, 15*time.Second)) // the directory's lock says that the former one is dead
		w.pass(15*time.Second - time.Millisecond)
		w.is(w.Enlist(w.ctx, there, 15*time.Second), store.ErrExists)
		w.pass(time.Millisecond)
		w.ok(w.Enlist(w.ctx, there, 15*time.Second))
		w.is(w.Enlist(w.ctx, here, 15*time.Second), store.ErrExists)
	}},
	{"of processes that start under one id one lives", func(w *world) {
		w.one(together(6, func(i int) error {
			return w.Enlist(w.ctx, store.Replica{ID: "a", Place: string(rune('a' + i))}, time.Minute)
		}), store.ErrExists)
	}},
	{"F22 a row of a newer protocol is left alone", func(w *world) {
		w.hold(at(0), "old", "new")
		w.claim("new", "a1", time.Second)
		w.claim("old", "a2", time.Second)
		w.exec(`UPDATE tokens SET protocol = $1 WHERE name = 'new'`, store.Protocol+1)
		w.pass(time.Minute)
		due, err := w.Due(w.ctx, 10)
		w.ok(err)
		open, err := w.OpenAttempts(w.ctx, "me", 10)
		w.ok(err)
		if len(due) != 1 || due[0].Name != "old" || len(open) != 1 || open[0].Name != "old" {
			w.t.Errorf("due %+v, open %+v", due, open)
		}
		w.is(w.Claim(w.ctx, store.Claim{ID: id("new"), Gen: 1, Attempt: "a3", Owner: "me", Lease: time.Minute}), store.ErrStale)
		w.ok(w.Claim(w.ctx, store.Claim{ID: id("old"), Gen: 1, Attempt: "a3", Owner: "me", Lease: time.Minute}))
	}},
}
