package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
)

// contents is what is sealed of a version.
type contents struct {
	File        string               `json:"file"`
	Attachments workflow.Attachments `json:"attachments"`
}

func binding(id string, number int64) freshet.Binding {
	return freshet.Binding{Table: "workflow_versions", Row: id, Column: "version", Generation: number}
}

type authorKey struct{}

// By says who makes the versions that are written under the context.
func By(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, authorKey{}, who)
}

// Write makes a version of what was declared and publishes it if the
// declaration says so, within the transaction that writes the declaration. A
// declaration that differs from the newest version in publish alone publishes
// that version. With again there is a new version even if nothing is new, which
// is what publishing a published workflow means. The definition must have been
// checked. Call Changed when the transaction is durable.
func (l *Library) Write(c *store.Change, id, name string, w *freshet.Workflow, again bool) error {
	next, err := contentsOf(w)
	if err != nil {
		return fmt.Errorf("workflow %s: %w", name, err)
	}
	number := int64(1)
	old, err := c.Workflow(id)
	switch {
	case err == nil:
		row, err := c.WorkflowVersion(id, old.Latest)
		if err != nil {
			return fmt.Errorf("workflow %s: %w", name, err)
		}
		if last, err := l.unseal(row); err == nil && !again && same(last, next) {
			if w.Publish && old.Published != old.Latest {
				return c.PublishWorkflow(id, old.Latest)
			}
			return nil
		} // one that does not open any more must be replaceable
		number = old.Latest + 1
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return l.add(c, id, name, number, next, w.Publish)
}

// Remove forgets a workflow with all its versions, within the transaction that
// deletes its declaration.
func (l *Library) Remove(c *store.Change, id string) error { return c.DeleteWorkflow(id) }

func (l *Library) add(c *store.Change, id, name string, number int64, next *contents, publish bool) error {
	d, _, err := workflow.Parse([]byte(next.File))
	if err != nil {
		return fmt.Errorf("workflow %s: %w", name, err)
	}
	plain, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("workflow %s: %w", name, err)
	}
	hash := sha256.Sum256([]byte(next.File))
	who, _ := c.Context().Value(authorKey{}).(string)
	v := store.WorkflowVersion{ID: fmt.Sprintf("%s-%d", id, number), Workflow: id, Number: number, Hash: hex.EncodeToString(hash[:]), Size: int64(len(next.File)),
		DefinitionID: d.ID, Tag: d.Tag, CreatedBy: who}
	if v.Sealed, err = l.o.Sealer.Seal(binding(v.ID, number), plain); err != nil {
		return fmt.Errorf("seal workflow %s: %w", name, err)
	}
	if err := c.AddWorkflowVersion(name, v); err != nil {
		return err
	}
	if publish {
		return c.PublishWorkflow(id, number)
	}
	return nil
}

func contentsOf(w *freshet.Workflow) (*contents, error) {
	a, err := AttachmentsOf(w)
	return &contents{File: w.Definition.Reveal(), Attachments: a}, err
}

// AttachmentsOf returns what is attached to a declared workflow, its variables
// as runs have them.
func AttachmentsOf(w *freshet.Workflow) (workflow.Attachments, error) {
	a := workflow.Attachments{MapInput: w.MapInput, Public: w.Public, Lock: w.Lock}
	for name, s := range w.Variables {
		v, err := workflow.ParseValue([]byte(s.Reveal()))
		if err != nil {
			return a, fmt.Errorf("variable %s is not JSON", name)
		}
		if a.Variables == nil {
			a.Variables = map[string]any{}
		}
		a.Variables[name] = v
	}
	return a, nil
}

func same(a, b *contents) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}

func (l *Library) unseal(row store.WorkflowVersion) (*contents, error) {
	plain, err := l.o.Sealer.Open(binding(row.ID, row.Number), row.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open version %d of a workflow: %w", row.Number, err)
	}
	var c struct {
		File        string          `json:"file"`
		Attachments json.RawMessage `json:"attachments"`
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, fmt.Errorf("version %d of a workflow is not what was sealed", row.Number)
	}
	out := &contents{File: c.File}
	if err := json.Unmarshal(c.Attachments, &out.Attachments); err != nil {
		return nil, fmt.Errorf("version %d of a workflow is not what was sealed", row.Number)
	}
	// Numbers as runs have them: whole ones stay whole.
	var raw struct {
		Variables map[string]json.RawMessage `json:"variables"`
	}
	if err := json.Unmarshal(c.Attachments, &raw); err == nil {
		for name, text := range raw.Variables {
			if v, err := workflow.ParseValue(text); err == nil {
				out.Attachments.Variables[name] = v
			}
		}
	}
	return out, nil
}

// open makes a version of its row. Findings are not returned: they were said
// when it was written.
func (l *Library) open(name string, row store.WorkflowVersion, published bool) (*workflow.Version, []byte, error) {
	c, err := l.unseal(row)
	if err != nil {
		return nil, nil, fmt.Errorf("workflow %s: %w", name, err)
	}
	d, _, err := workflow.Parse([]byte(c.File))
	if err != nil {
		return nil, nil, fmt.Errorf("workflow %s, version %d: %w", name, row.Number, err)
	}
	return &workflow.Version{ID: row.Workflow, Name: name, Number: int(row.Number), Published: published, Definition: d, Attachments: c.Attachments,
		Hash: row.Hash, Size: int(row.Size), CreatedAt: row.CreatedAt, By: row.CreatedBy}, []byte(c.File), nil
}
