package resource

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// An Action is what became of a resource.
type Action string

// The four actions.
const (
	Created   Action = "created"
	Changed   Action = "changed"
	Unchanged Action = "unchanged"
	Deleted   Action = "deleted"
)

// An Effect is what an apply did, or with a dry run would do, to a resource.
type Effect struct {
	Key
	Action Action `json:"action"`
}

// A Result is what came of an apply.
type Result struct {
	Effects  []Effect `json:"effects"` // in the order of the files' kinds
	Warnings Faults   `json:"warnings,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
}

// epochKey names the row that every change of resources moves on. Whoever
// checked references against a state that somebody else has changed since finds
// the row moved, and checks again.
var epochKey = Key{"epoch", "resources"}

// attempts bounds how often an apply starts again because others applied.
const attempts = 8

// ErrBusy says that others changed resources all the while.
var ErrBusy = errors.New("resources are being changed by others: try again")

// Apply writes a set whole or not at all. Applying it again changes nothing. An
// error of type Faults is about the set; then nothing was written.
//
// A resource in the set is the whole truth about it: a field that it leaves out
// is gone. Only a secret given as freshet.Redacted keeps its stored value.
// Resources that are not in the set stay.
func (b *Book) Apply(ctx context.Context, set *Set, dryRun bool) (*Result, error) {
	for range attempts {
		p, err := b.plan(ctx, set)
		if err != nil {
			return nil, err
		}
		if dryRun || len(p.writes) == 0 {
			return &Result{Effects: p.effects, Warnings: p.warnings, DryRun: dryRun}, nil
		}
		err = b.store.Change(ctx, func(c *store.Change) error { return b.write(c, p) })
		if errors.Is(err, store.ErrStale) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
		b.changed(p.effects)
		return &Result{Effects: p.effects, Warnings: p.warnings}, nil
	}
	return nil, ErrBusy
}

// changed forgets what is cached and tells who listens.
func (b *Book) changed(effects []Effect) {
	var kinds []string
	names := map[string][]string{}
	for _, e := range effects {
		if e.Action == Unchanged {
			continue
		}
		if names[e.Kind] == nil {
			kinds = append(kinds, e.Kind)
		}
		names[e.Kind] = append(names[e.Kind], e.Name)
	}
	for _, k := range kinds {
		b.Invalidate(k, names[k]...)
	}
	if b.o.OnChange != nil {
		for _, k := range kinds {
			b.o.OnChange(k, names[k])
		}
	}
}

// A plan is a set that was checked against one state of the store.
type plan struct {
	epoch    store.Resource
	effects  []Effect
	writes   []write
	warnings Faults
}

type write struct {
	row     store.Resource // Secrets not sealed yet
	secrets map[string]freshet.Secret
	action  Action
	def     *freshet.Definition
}

func (b *Book) plan(ctx context.Context, set *Set) (*plan, error) {
	p := &plan{}
	var err error
	if p.epoch, err = b.store.Resource(ctx, epochKey.Kind, epochKey.Name); errors.Is(err, store.ErrNotFound) {
		p.epoch = store.Resource{ID: newID(), Kind: epochKey.Kind, Name: epochKey.Name, Spec: "{}"}
	} else if err != nil {
		return nil, err
	}
	c := b.newCheck(ctx, set)
	old := make(map[Key]store.Resource, len(set.Items))
	secrets := make(map[Key]map[string]freshet.Secret, len(set.Items))
	for _, it := range set.Items {
		c.turn(it)
		row, stored := c.row(it.Key)
		if stored {
			old[it.Key] = row
		}
		if secrets[it.Key], err = c.resolve(row, stored); err != nil {
			return nil, err
		}
		if it.Key.Kind != kindConnection { // nothing refers to those
			if c.values[it.Key], err = b.reg.build(c.kind, it.Name, it.Spec, secrets[it.Key]); err != nil {
				return nil, err
			}
		}
	}
	pins := newPins(c, old)
	for _, it := range set.Items {
		c.turn(it)
		v := c.values[it.Key]
		if v == nil {
			if v, err = b.reg.build(c.kind, it.Name, it.Spec, secrets[it.Key]); err != nil {
				return nil, err
			}
		}
		refs := c.kind.refs(v)
		for _, r := range refs {
			c.reference(r)
		}
		c.kind.check(c, it.Name, v)
		if c.err != nil {
			return nil, c.err
		}
		w, err := b.difference(it, old[it.Key], secrets[it.Key])
		if err != nil {
			return nil, err
		}
		if c.differs[it.Key] && w.action == Unchanged {
			w.action = Changed // as it was declared, and not as it is there
		}
		p.effects = append(p.effects, Effect{it.Key, w.action})
		if w.action == Unchanged {
			continue
		}
		for _, r := range refs {
			w.row.Refs = append(w.row.Refs, store.Ref{Kind: r.Kind, Name: r.Name})
		}
		if cn, ok := v.(*freshet.Connection); ok && len(c.faults) == 0 {
			w.def = c.define(w.row.ID, cn)
		}
		p.writes = append(p.writes, w)
	}
	if len(c.faults) == 0 {
		pins.check()
	}
	if c.err != nil {
		return nil, c.err
	}
	if len(c.faults) > 0 {
		return nil, c.faults.sorted()
	}
	p.warnings = append(append(Faults(nil), set.Warnings...), c.warnings...).sorted()
	return p, nil
}

// resolve returns the secrets of the item under check, those that stand for
// stored ones replaced by them.
func (c *Check) resolve(row store.Resource, stored bool) (map[string]freshet.Secret, error) {
	markers := c.it.markers()
	if len(markers) == 0 {
		return c.it.Secrets, nil
	}
	kept := map[string]freshet.Secret{}
	if stored {
		var err error
		if kept, err = c.b.open(row); err != nil {
			return nil, err
		}
	}
	out := maps.Clone(c.it.Secrets)
	for _, path := range markers {
		v, ok := kept[path]
		if !ok {
			c.Fault(path, "%s stands for a stored value, and none is stored here: give the value", freshet.Redacted)
			continue
		}
		out[path] = v
	}
	return out, nil
}

// difference compares an item with what is stored.
func (b *Book) difference(it *Item, old store.Resource, secrets map[string]freshet.Secret) (write, error) {
	w := write{secrets: secrets, action: Created, row: store.Resource{ID: newID(), Kind: it.Key.Kind, Name: it.Name, Spec: string(it.Spec), Revision: 1}}
	if old.ID == "" {
		return w, nil
	}
	w.action, w.row.ID, w.row.Revision = Changed, old.ID, old.Revision+1
	if string(it.Spec) != old.Spec {
		return w, nil
	}
	was, err := b.open(old)
	if err != nil {
		// A value that no key opens any more must be replaceable.
		return w, nil
	}
	if maps.EqualFunc(was, secrets, freshet.Secret.Equal) {
		w.action = Unchanged
	}
	return w, nil
}

// define composes the definition of the connection under check as it will be.
func (c *Check) define(id string, cn *freshet.Connection) *freshet.Definition {
	client := inPlace(cn)
	if cn.Client != "" {
		if client = c.client(cn.Client); client == nil {
			return nil
		}
	}
	p := c.provider(client.Provider)
	if p == nil {
		return nil
	}
	d, problems := compose(parts{name: c.it.Name, conn: cn, client: client, provider: p})
	if len(problems) > 0 {
		return nil
	}
	d.ID = freshet.ConnectionID(id)
	return d
}

// write carries a plan out. ErrStale: the state it was made for is gone.
func (b *Book) write(c *store.Change, p *plan) error {
	if err := moveOn(c, p.epoch); err != nil {
		return err
	}
	for i := range p.writes {
		w := &p.writes[i]
		if err := b.seal(&w.row, w.secrets); err != nil {
			return fmt.Errorf("seal %s: %w", Key{w.row.Kind, w.row.Name}, err)
		}
		if err := c.Put(w.row); err != nil {
			return err
		}
		if b.o.Written == nil {
			continue
		}
		u := Update{Effect: Effect{Key{w.row.Kind, w.row.Name}, w.action}, ID: w.row.ID, Definition: w.def}
		if err := b.o.Written(c, u); err != nil {
			return fmt.Errorf("%s: %w", u.Key, err)
		}
	}
	return nil
}

// moveOn is the first write of every change, so that on any database two of
// them cannot both have checked the same state.
func moveOn(c *store.Change, epoch store.Resource) error {
	epoch.Revision++
	return c.Put(epoch)
}

// refsShown bounds how many referrers an error names.
const refsShown = 10

// Delete removes a resource. The error wraps freshet.ErrNotFound if there is
// none, and is a *ReferencedError while others refer to it.
func (b *Book) Delete(ctx context.Context, k Key) error {
	effect := Effect{k, Deleted}
	for range attempts {
		epoch, err := b.store.Resource(ctx, epochKey.Kind, epochKey.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		row, err := b.row(ctx, k)
		if err != nil {
			return err
		}
		var def *freshet.Definition
		if k.Kind == kindConnection {
			// One whose parts cannot be read may go too; only a database that
			// did not answer is no reason to say so.
			if def, err = b.Definition(ctx, k.Name); errors.Is(err, store.ErrReadOnly) || ctx.Err() != nil {
				return err
			}
		}
		err = b.store.Change(ctx, func(c *store.Change) error {
			if err := moveOn(c, epoch); err != nil {
				return err
			}
			by, err := c.Referrers(k.Kind, k.Name, refsShown+1)
			if err != nil {
				return err
			}
			if len(by) > 0 {
				_, known := b.catalogue.provider(k.Name)
				e := &ReferencedError{Key: k, All: len(by) <= refsShown, Catalogue: known && k.Kind == kindProvider}
				for _, r := range by[:min(len(by), refsShown)] {
					e.By = append(e.By, Key{r.Kind, r.Name})
				}
				return e
			}
			if b.o.Written != nil {
				if err := b.o.Written(c, Update{Effect: effect, ID: row.ID, Definition: def}); err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
			}
			return c.Delete(k.Kind, k.Name)
		})
		switch {
		case errors.Is(err, store.ErrStale):
			continue
		case errors.Is(err, store.ErrNotFound):
			return &NotFoundError{Key: k}
		case err != nil:
			return err
		}
		b.changed([]Effect{effect})
		return nil
	}
	return ErrBusy
}
