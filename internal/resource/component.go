package resource

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/freshet-dev/freshet"
)

const kindComponent = "components"

// A ComponentChecker knows what can be wrong with a component beyond its form:
// the descriptor, the sources of its actions.
type ComponentChecker interface {
	// CheckComponent reports what is wrong (fault) or odd (warn) with the fields of
	// a component.
	CheckComponent(name string, c *freshet.Component, fault, warn func(field, text string))
}

func components() Kind {
	return Define(Spec[freshet.Component]{
		Name: kindComponent, One: "component",
		Doc: "Components of elastic.io: a descriptor and actions in JavaScript, over one credential.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[freshet.Component]():       {Documents: map[string]string{"descriptor": "file"}, Any: []string{"config"}},
			reflect.TypeFor[freshet.ComponentAction](): {Documents: map[string]string{"source": "file"}, Text: "file"},
		},
		Refs: func(c *freshet.Component) []Ref {
			if c.Connection == "" {
				return nil
			}
			return []Ref{{Key{kindConnection, c.Connection}, "connection"}}
		},
		Check: checkComponent,
	})
}

func checkComponent(c *Check, name string, v *freshet.Component) {
	switch v.Refresh {
	case "", "freshet", "component":
	default:
		c.Fault("refresh", "is freshet (actions get tokens that are fresh) or component (they refresh by themselves), not %q", v.Refresh)
	}
	if v.Timeout.D() < 0 || v.Timeout.D().Minutes() > 10 {
		c.Fault("timeout", "is at most 10m")
	}
	if v.Retry.Attempts < 0 || v.Retry.Attempts > 100 {
		c.Fault("retry.attempts", "is between 1 and 100")
	}
	if v.Retry.Wait.D() < 0 {
		c.Fault("retry.wait", "is no time to wait")
	}
	if c.b.o.Components != nil {
		c.b.o.Components.CheckComponent(name, v, func(field, text string) { c.Fault(field, "%s", text) }, func(field, text string) { c.Warn(field, "%s", text) })
	}
}

// Component returns a component as it was declared last, with what is sealed in
// it, and its id. One that names no connection has that of its own name, if
// there is one. The error wraps freshet.ErrNotFound.
func (b *Book) Component(ctx context.Context, name string) (*freshet.Component, string, error) {
	row, err := b.row(ctx, Key{kindComponent, name})
	if err != nil {
		return nil, "", err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, "", err
	}
	c := v.(*freshet.Component)
	c.Name = name
	if c.Connection == "" {
		switch _, err := b.row(ctx, Key{kindConnection, name}); {
		case err == nil:
			c.Connection = name
		case !errors.Is(err, freshet.ErrNotFound):
			return nil, "", fmt.Errorf("component %s: %w", name, err)
		}
	}
	return c, row.ID, nil
}
