package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

var instances = []test{
	{"Revision", instanceRevision},
	{"Singleton", instanceSingleton},
	{"Bookmarks", instanceBookmarks},
	{"Sweep", instanceSweep},
	{"Resumed once", instanceResumedOnce},
	{"Lock", workflowLock},
}

func suspended(run string, revision int64) store.Instance {
	return store.Instance{Run: run, Workflow: "w", Version: 3, Status: store.InstanceSuspended, Sealed: []byte("sealed"), Revision: revision}
}

func instanceRevision(w *world) {
	_, err := w.Instance(w.ctx, "r")
	w.is(err, store.ErrNotFound)
	first := suspended("r", 1)
	first.Parent = "p"
	w.ok(w.PutInstance(w.ctx, first, nil, w.now()))
	w.is(w.PutInstance(w.ctx, first, nil, w.now()), store.ErrStale)
	got, err := w.Instance(w.ctx, "r")
	w.ok(err)
	equal(w, got, first)

	second := suspended("r", 2)
	second.Status, second.Sealed = store.InstanceRunning, []byte("other")
	w.ok(w.PutInstance(w.ctx, second, nil, w.now()))
	w.is(w.PutInstance(w.ctx, second, nil, w.now()), store.ErrStale)
	got, err = w.Instance(w.ctx, "r")
	w.ok(err)
	equal(w, got, second)

	w.is(w.DeleteInstance(w.ctx, "r", 1), store.ErrStale)
	w.ok(w.DeleteInstance(w.ctx, "r", 2))
	_, err = w.Instance(w.ctx, "r")
	w.is(err, store.ErrNotFound)
}

func instanceSingleton(w *world) {
	a, b := suspended("a", 1), suspended("b", 1)
	a.Singleton, b.Singleton = "w", "w"
	w.ok(w.PutInstance(w.ctx, a, nil, w.now()))
	w.is(w.PutInstance(w.ctx, b, nil, w.now()), store.ErrExists)
	a.Revision = 2 // it keeps what it has
	w.ok(w.PutInstance(w.ctx, a, nil, w.now()))
	a.Revision, a.Singleton = 3, ""
	w.ok(w.PutInstance(w.ctx, a, nil, w.now()))
	w.ok(w.PutInstance(w.ctx, b, nil, w.now()))
}

func instanceBookmarks(w *world) {
	for i := range 3 {
		run := fmt.Sprint("r", i)
		w.ok(w.PutInstance(w.ctx, suspended(run, 1), []store.Bookmark{
			{ID: run + "t", Activity: "a1", Kind: "timer", Due: at(time.Duration(i) * time.Minute)},
			{ID: run + "s", Activity: "a2", Kind: "signal", Key: "go"},
		}, w.now()))
	}
	due, err := w.DueBookmarks(w.ctx, at(time.Minute), 10)
	w.ok(err)
	equal(w, due, []store.Bookmark{
		{ID: "r0t", Run: "r0", Activity: "a1", Kind: "timer", Due: at(0)},
		{ID: "r1t", Run: "r1", Activity: "a1", Kind: "timer", Due: at(time.Minute)},
	})
	next, err := w.NextBookmark(w.ctx)
	w.ok(err)
	equal(w, next, at(0))

	page, err := w.Bookmarks(w.ctx, "signal", "go", "", 2)
	w.ok(err)
	equal(w, len(page), 2)
	page, err = w.Bookmarks(w.ctx, "signal", "go", page[1].ID, 2)
	w.ok(err)
	equal(w, page, []store.Bookmark{{ID: "r2s", Run: "r2", Activity: "a2", Kind: "signal", Key: "go"}})
	page, err = w.Bookmarks(w.ctx, "signal", "other", "", 2)
	w.ok(err)
	equal(w, len(page), 0)
	page, err = w.BookmarksOfKind(w.ctx, "timer", "r0t", 5)
	w.ok(err)
	equal(w, len(page), 2)

	// A write replaces what the run waits for, and an end drops it.
	w.ok(w.PutInstance(w.ctx, suspended("r0", 2), []store.Bookmark{{ID: "r0x", Activity: "a3", Kind: "signal", Key: "stop"}}, w.now()))
	of, err := w.BookmarksOf(w.ctx, "r0")
	w.ok(err)
	equal(w, of, []store.Bookmark{{ID: "r0x", Run: "r0", Activity: "a3", Kind: "signal", Key: "stop"}})
	_, err = w.Bookmark(w.ctx, "r0t")
	w.is(err, store.ErrNotFound)
	b, err := w.Bookmark(w.ctx, "r0x")
	w.ok(err)
	equal(w, b.Key, "stop")
	w.ok(w.DropInstances(w.ctx, "r0", "r1", "none"))
	next, err = w.NextBookmark(w.ctx)
	w.ok(err)
	equal(w, next, at(2*time.Minute))
	list, err := w.Instances(w.ctx, store.InstanceSuspended, "", 10)
	w.ok(err)
	equal(w, len(list), 1)
	w.ok(w.DropInstances(w.ctx, "r2"))
	next, err = w.NextBookmark(w.ctx)
	w.ok(err)
	equal(w, next, time.Time{})
}

func instanceSweep(w *world) {
	failed := suspended("gone", 1)
	failed.Status = store.InstanceFaulted
	w.ok(w.PutInstance(w.ctx, failed, nil, w.now()))
	w.ok(w.PutInstance(w.ctx, suspended("waits", 1), nil, w.now()))
	n, err := w.SweepInstances(w.ctx, 10)
	w.ok(err)
	equal(w, n, 1)
	_, err = w.Instance(w.ctx, "gone")
	w.is(err, store.ErrNotFound)
	_, err = w.Instance(w.ctx, "waits")
	w.ok(err)
}

// Of many who resume a run, one does.
func instanceResumedOnce(w *world) {
	w.ok(w.PutInstance(w.ctx, suspended("r", 1), []store.Bookmark{{ID: "b", Activity: "a", Kind: "signal", Key: "go"}}, w.now()))
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		wg.Go(func() {
			in := suspended("r", 2)
			in.Status = store.InstanceRunning
			err := w.PutInstance(context.Background(), in, nil, begin)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, store.ErrStale) {
				w.t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(w, won, 1)
	of, err := w.BookmarksOf(w.ctx, "r")
	w.ok(err)
	equal(w, len(of), 0)
}

func workflowLock(w *world) {
	take := func(owner string, want bool) {
		w.t.Helper()
		got, err := w.TakeWorkflowLock(w.ctx, "k", owner, time.Minute)
		w.ok(err)
		if got != want {
			w.t.Errorf("%s takes the lock: %t, want %t", owner, got, want)
		}
	}
	take("a", true)
	take("b", false)
	w.pass(59 * time.Second)
	take("a", true) // and keeps it
	w.pass(59 * time.Second)
	take("b", false)
	w.pass(time.Second)
	take("b", true) // the lease ran out
	w.ok(w.DropWorkflowLock(w.ctx, "k", "a"))
	take("a", false)
	w.ok(w.DropWorkflowLock(w.ctx, "k", "b"))
	take("a", true)
}
