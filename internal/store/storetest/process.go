package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// seals is how a process seals an instance.
func seals(in *store.ProcessInstance) error {
	in.Sealed = fmt.Appendf(nil, "sealed %s %d", in.Name, in.Revision)
	return nil
}

// saved adds an instance of a process.
func (w *world) saved(process string, number int64) store.ProcessInstance {
	w.t.Helper()
	var out store.ProcessInstance
	w.ok(w.Change(w.ctx, func(c *store.Change) error {
		if err := c.PutProcess(process, "P-"+process); err != nil {
			return err
		}
		var err error
		out, err = c.AddProcessInstance(store.ProcessInstance{Process: process, Number: number, SavedBy: "config", ExpiresAt: at(time.Hour)}, seals)
		return err
	}))
	return out
}

var processes = []test{
	{"instances are numbered and saved", func(w *world) {
		first := w.saved("p", 0)
		want := store.ProcessInstance{ID: first.ID, Process: "p", Of: "P-p", Number: 1, Name: "P-p-1", Sealed: []byte("sealed P-p-1 1"), Revision: 1,
			ExpiresAt: at(time.Hour), CreatedAt: begin, SavedAt: begin, SavedBy: "config"}
		equal(w, first, want)
		got, err := w.ProcessInstance(w.ctx, "P-p-1")
		w.ok(err)
		equal(w, got, want)
		_, err = w.ProcessInstance(w.ctx, "P-p-2")
		w.is(err, store.ErrNotFound)
		equal(w, w.saved("p", 5).Name, "P-p-5")
		equal(w, w.saved("p", 3).Name, "P-p-3")
		equal(w, w.saved("p", 0).Name, "P-p-6")
		equal(w, w.saved("q", 0).Name, "P-q-1")
		list, err := w.ProcessInstances(w.ctx, "P-p", 1, 2)
		w.ok(err)
		equal(w, []string{list[0].Name, list[1].Name}, []string{"P-p-3", "P-p-5"})
		w.is(w.Change(w.ctx, func(c *store.Change) error {
			_, err := c.AddProcessInstance(store.ProcessInstance{Process: "p", Number: 3}, seals)
			return err
		}), store.ErrExists)
		w.is(w.Change(w.ctx, func(c *store.Change) error {
			_, err := c.AddProcessInstance(store.ProcessInstance{Process: "none"}, seals)
			return err
		}), store.ErrNotFound)
	}},
	{"a save replaces the revision before it", func(w *world) {
		in := w.saved("p", 0)
		now := w.pass(time.Minute)
		in.Revision, in.SavedBy, in.ExpiresAt, in.Sealed = 2, "run:1", time.Time{}, []byte("second")
		save := func(c *store.Change) error { return c.SaveProcessInstance(in) }
		w.ok(w.Change(w.ctx, save))
		w.is(w.Change(w.ctx, save), store.ErrStale)
		got, err := w.ProcessInstance(w.ctx, in.Name)
		w.ok(err)
		in.SavedAt = now
		equal(w, got, in)
	}},
	{"what is deleted is gone, and its number too", func(w *world) {
		in := w.saved("p", 0)
		drop := func(c *store.Change) error { return c.DeleteProcessInstance(in.ID) }
		w.ok(w.Change(w.ctx, drop))
		w.is(w.Change(w.ctx, drop), store.ErrNotFound)
		equal(w, w.saved("p", 0).Name, "P-p-2")
		var ids []string
		w.ok(w.Change(w.ctx, func(c *store.Change) (err error) {
			ids, err = c.DeleteProcess("p")
			return err
		}))
		equal(w, len(ids), 1)
		list, err := w.ProcessInstances(w.ctx, "P-p", 0, 10)
		w.ok(err)
		equal(w, len(list), 0)
	}},
	{"no two processes have one name", func(w *world) {
		w.saved("p", 0)
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.PutProcess("p", "P-p") }))
		w.is(w.Change(w.ctx, func(c *store.Change) error { return c.PutProcess("other", "P-p") }), store.ErrExists)
	}},
	{"an undone save leaves no number behind", func(w *world) {
		w.saved("p", 0)
		undone := errors.New("undone")
		w.is(w.Change(w.ctx, func(c *store.Change) error {
			if _, err := c.AddProcessInstance(store.ProcessInstance{Process: "p"}, seals); err != nil {
				return err
			}
			return undone
		}), undone)
		equal(w, w.saved("p", 0).Name, "P-p-2")
	}},
}
