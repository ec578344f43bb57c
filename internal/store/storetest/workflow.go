package storetest

import (
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// version is a version of a workflow as a library writes it.
func version(workflow string, number int64) store.WorkflowVersion {
	return store.WorkflowVersion{ID: fmt.Sprintf("%s-%d", workflow, number), Workflow: workflow, Number: number, Hash: "abc", Size: 7,
		DefinitionID: "def-" + workflow, Tag: "tag", Sealed: fmt.Appendf(nil, "sealed %s %d", workflow, number), CreatedBy: "key:me"}
}

// author writes versions, publishing those that are even.
func (w *world) author(name, workflow string, numbers ...int64) {
	w.t.Helper()
	w.ok(w.Change(w.ctx, func(c *store.Change) error {
		for _, n := range numbers {
			if err := c.AddWorkflowVersion(name, version(workflow, n)); err != nil {
				return err
			}
			if n%2 == 0 {
				if err := c.PublishWorkflow(workflow, n); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

var workflows = []test{
	{"versions are written, published and read", func(w *world) {
		w.author("Call me", "w1", 1)
		got, err := w.Workflow(w.ctx, "Call me")
		w.ok(err)
		equal(w, got, store.Workflow{ID: "w1", Name: "Call me", Latest: 1, UpdatedAt: begin})
		later := w.pass(time.Minute)
		w.author("Call me", "w1", 2, 3)
		got, err = w.Workflow(w.ctx, "Call me")
		w.ok(err)
		equal(w, got, store.Workflow{ID: "w1", Name: "Call me", Latest: 3, Published: 2, UpdatedAt: later, DefinitionID: "def-w1", Tag: "tag"})
		v, err := w.WorkflowVersion(w.ctx, "w1", 2)
		w.ok(err)
		want := version("w1", 2)
		want.CreatedAt, want.PublishedAt = later, later
		equal(w, v, want)
		list, err := w.WorkflowVersions(w.ctx, "w1", 0, 2)
		w.ok(err)
		want.Sealed = nil
		third := version("w1", 3)
		third.CreatedAt, third.Sealed = later, nil
		equal(w, list, []store.WorkflowVersion{third, want})
		list, err = w.WorkflowVersions(w.ctx, "w1", 2, 10)
		w.ok(err)
		equal(w, len(list), 1)
		_, err = w.Workflow(w.ctx, "call me")
		w.is(err, store.ErrNotFound)
		_, err = w.WorkflowVersion(w.ctx, "w1", 9)
		w.is(err, store.ErrNotFound)
	}},
	{"a version is written after the newest only", func(w *world) {
		w.author("A", "w1", 1, 2)
		for text, c := range map[string]struct {
			name string
			v    store.WorkflowVersion
			want error
		}{
			"the newest again":        {"A", version("w1", 2), store.ErrStale},
			"the first again":         {"A", version("w1", 1), store.ErrStale},
			"one left out":            {"A", version("w1", 4), store.ErrStale},
			"of no workflow":          {"B", version("w2", 2), store.ErrStale},
			"a name that is taken":    {"A", version("w2", 1), store.ErrExists},
			"published and not there": {"", version("w1", 9), store.ErrNotFound},
		} {
			err := w.Change(w.ctx, func(ch *store.Change) error {
				if c.name == "" {
					return ch.PublishWorkflow(c.v.Workflow, c.v.Number)
				}
				return ch.AddWorkflowVersion(c.name, c.v)
			})
			if err != c.want {
				w.t.Errorf("%s: %v, want %v", text, err, c.want)
			}
		}
		got, err := w.Workflow(w.ctx, "A")
		w.ok(err)
		equal(w, got.Latest, 2)
	}},
	{"workflows are listed by name and deleted whole", func(w *world) {
		w.author("b", "w1", 1, 2)
		w.author("a", "w2", 1)
		w.author("C", "w3", 1)
		list, err := w.Workflows(w.ctx, "", 10)
		w.ok(err)
		var names []string
		for _, v := range list {
			names = append(names, v.Name)
		}
		equal(w, names, []string{"C", "a", "b"})
		list, err = w.Workflows(w.ctx, "a", 1)
		w.ok(err)
		equal(w, len(list), 1)
		equal(w, list[0].Name, "b")
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteWorkflow("w1") }))
		_, err = w.Workflow(w.ctx, "b")
		w.is(err, store.ErrNotFound)
		_, err = w.WorkflowVersion(w.ctx, "w1", 1)
		w.is(err, store.ErrNotFound)
		w.author("b", "w4", 1) // the name is free again
	}},
	{"S44 what is sealed in versions is listed with its place", func(w *world) {
		w.author("b", "w1", 1, 2)
		got := map[string]freshet.Binding{}
		for _, v := range w.walk([]byte{0}, 1) {
			got[string(v.Sealed)] = v.Binding
		}
		equal(w, got, map[string]freshet.Binding{
			"sealed w1 1": {Table: "workflow_versions", Row: "w1-1", Column: "version", Generation: 1},
			"sealed w1 2": {Table: "workflow_versions", Row: "w1-2", Column: "version", Generation: 2},
		})
	}},
}
