package storetest

import (
	"errors"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// declare writes resources.
func (w *world) declare(all ...store.Resource) {
	w.t.Helper()
	w.ok(w.Change(w.ctx, func(c *store.Change) error {
		for _, r := range all {
			if err := c.Put(r); err != nil {
				return err
			}
		}
		return nil
	}))
}

var resources = []test{
	{"a resource is written and read", func(w *world) {
		r := store.Resource{ID: "r1", Kind: "clients", Name: "acme", Spec: `{"id":"x"}`, Secrets: []byte("sealed"), Revision: 1}
		w.declare(r)
		r.CreatedAt, r.UpdatedAt = begin, begin
		got, err := w.Resource(w.ctx, "clients", "acme")
		w.ok(err)
		equal(w, got, r)
		r.Spec, r.Secrets, r.Revision, r.UpdatedAt = `{}`, nil, 2, w.pass(time.Minute)
		w.declare(r)
		got, err = w.Resource(w.ctx, "clients", "acme")
		w.ok(err)
		equal(w, got, r)
		_, err = w.Resource(w.ctx, "providers", "acme")
		w.is(err, store.ErrNotFound)
	}},
	{"a resource is written at its revision only", func(w *world) {
		r := store.Resource{ID: "r1", Kind: "clients", Name: "acme", Spec: `{}`, Revision: 1}
		w.declare(r)
		for name, change := range map[string]store.Resource{
			"a second of its name":  {ID: "r2", Kind: "clients", Name: "acme", Revision: 1},
			"a second of its id":    {ID: "r1", Kind: "clients", Name: "other", Revision: 1},
			"the same revision":     {ID: "r1", Kind: "clients", Name: "acme", Revision: 1},
			"a revision left out":   {ID: "r1", Kind: "clients", Name: "acme", Revision: 3},
			"one that is not there": {ID: "r9", Kind: "clients", Name: "none", Revision: 2},
		} {
			change.Spec = `{"late":1}`
			if err := w.Change(w.ctx, func(c *store.Change) error { return c.Put(change) }); !errors.Is(err, store.ErrStale) {
				w.t.Errorf("%s: %v", name, err)
			}
		}
		got, err := w.Resource(w.ctx, "clients", "acme")
		w.ok(err)
		equal(w, got.Spec, `{}`)
	}},
	{"a change happens whole or not at all", func(w *world) {
		w.declare(store.Resource{ID: "r1", Kind: "clients", Name: "old", Spec: `{}`, Secrets: []byte("s"), Revision: 1, Refs: []store.Ref{{Kind: "providers", Name: "p"}}})
		w.hold(at(0), "crm")
		all := func(c *store.Change) error {
			for _, err := range []error{
				c.Put(store.Resource{ID: "r2", Kind: "clients", Name: "new", Spec: `{}`, Revision: 1, Refs: []store.Ref{{Kind: "providers", Name: "q"}}}),
				c.Delete("clients", "old"),
				c.EnsureToken(store.Token{ID: "id-erp", Name: "erp", State: "ok"}),
				c.DeleteToken(id("crm")),
				c.Post(store.Letter{ID: "l", Kind: "webhook", Target: "ops", Payload: "{}"}),
				c.Events(store.Event{Type: "x"}),
				c.PutMeta("m", []byte{1}, 0),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		}
		// there reports which of the writes are there.
		there := func() (n int) {
			_, newErr := w.Resource(w.ctx, "clients", "new")
			_, oldErr := w.Resource(w.ctx, "clients", "old")
			_, erpErr := w.Token(w.ctx, "id-erp")
			_, crmErr := w.Token(w.ctx, id("crm"))
			_, _, metaErr := w.Meta(w.ctx, "m")
			refs, refErr := w.Referrers(w.ctx, "providers", "q", 10)
			old, oldRefErr := w.Referrers(w.ctx, "providers", "p", 10)
			letters, lerr := w.Letters(w.ctx, 10)
			events, eerr := w.Events(w.ctx, "", 0, 10)
			w.ok(errors.Join(refErr, oldRefErr, lerr, eerr))
			for _, done := range []bool{newErr == nil, errors.Is(oldErr, store.ErrNotFound), erpErr == nil, errors.Is(crmErr, store.ErrNotFound),
				metaErr == nil, len(refs) == 1, len(old) == 0, len(letters) == 1, len(events) == 1} {
				if done {
					n++
				}
			}
			return n
		}
		refuse := errors.New("the last step is refused")
		w.is(w.Change(w.ctx, func(c *store.Change) error {
			if err := all(c); err != nil {
				return err
			}
			return refuse
		}), refuse)
		equal(w, there(), 0)
		w.ok(w.Change(w.ctx, all))
		equal(w, there(), 9)
	}},
	{"a change sees what it has written", func(w *world) {
		w.ok(w.Change(w.ctx, func(c *store.Change) error {
			if _, err := c.Resource("clients", "a"); !errors.Is(err, store.ErrNotFound) {
				w.t.Errorf("before: %v", err)
			}
			if err := c.Put(store.Resource{ID: "r", Kind: "clients", Name: "a", Spec: "{}", Revision: 1, Refs: []store.Ref{{Kind: "providers", Name: "p"}}}); err != nil {
				return err
			}
			refs, err := c.Referrers("providers", "p", 10)
			if err != nil {
				return err
			}
			equal(w, refs, []store.Ref{{Kind: "clients", Name: "a"}})
			_, err = c.Resource("clients", "a")
			return err
		}))
	}},
	{"a resource is deleted with what it refers to", func(w *world) {
		w.declare(store.Resource{ID: "r", Kind: "clients", Name: "a", Spec: "{}", Revision: 1, Refs: []store.Ref{{Kind: "providers", Name: "p"}}})
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.Delete("clients", "a") }))
		refs, err := w.Referrers(w.ctx, "providers", "p", 10)
		w.ok(err)
		equal(w, len(refs), 0)
		w.is(w.Change(w.ctx, func(c *store.Change) error { return c.Delete("clients", "a") }), store.ErrNotFound)
		w.declare(store.Resource{ID: "r2", Kind: "clients", Name: "a", Spec: "{}", Revision: 1}) // the name is free
	}},
	{"references are those of the last revision", func(w *world) {
		p, q := store.Ref{Kind: "providers", Name: "p"}, store.Ref{Kind: "providers", Name: "q"}
		w.declare(store.Resource{ID: "b", Kind: "clients", Name: "b", Spec: "{}", Revision: 1, Refs: []store.Ref{p, p, q}},
			store.Resource{ID: "a", Kind: "clients", Name: "a", Spec: "{}", Revision: 1, Refs: []store.Ref{p}},
			store.Resource{ID: "z", Kind: "aaa", Name: "z", Spec: "{}", Revision: 1, Refs: []store.Ref{p}})
		referrers := func(r store.Ref, limit int) []store.Ref {
			refs, err := w.Referrers(w.ctx, r.Kind, r.Name, limit)
			w.ok(err)
			return refs
		}
		equal(w, referrers(p, 10), []store.Ref{{Kind: "aaa", Name: "z"}, {Kind: "clients", Name: "a"}, {Kind: "clients", Name: "b"}})
		equal(w, len(referrers(p, 2)), 2)
		w.declare(store.Resource{ID: "b", Kind: "clients", Name: "b", Spec: "{}", Revision: 2, Refs: []store.Ref{q}})
		equal(w, len(referrers(p, 10)), 2)
		equal(w, len(referrers(q, 10)), 1)
	}},
	{"resources are listed in pages, in the order of bytes", func(w *world) {
		for _, n := range []string{"b", "a_b", "a-b", "B", "aa"} {
			w.declare(store.Resource{ID: n, Kind: "clients", Name: n, Spec: "{}", Revision: 1})
		}
		w.declare(store.Resource{ID: "x", Kind: "providers", Name: "x", Spec: "{}", Revision: 1})
		names := func(after string, limit int) (out []string) {
			all, err := w.Resources(w.ctx, "clients", after, limit)
			w.ok(err)
			for _, r := range all {
				out = append(out, r.Name)
			}
			return out
		}
		equal(w, names("", 3), []string{"B", "a-b", "a_b"})
		equal(w, names("a_b", 3), []string{"aa", "b"})
	}},
}
