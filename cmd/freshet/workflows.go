package main

import (
	"context"
	"errors"
	"slices"

	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	rows "github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/check"
	"github.com/freshet-dev/freshet/internal/workflow/codec"
	"github.com/freshet-dev/freshet/internal/workflow/endpoint"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
	rowspecs "github.com/freshet-dev/freshet/internal/workflow/rows"
)

// activityTypes describes every activity, without the services behind them:
// for whoever checks workflows and runs none.
func activityTypes() *activity.Registry {
	return activity.NewRegistry(slices.Concat(activity.Control(), activity.Primitives(), activity.Timers(nil), activity.Workflows(nil),
		codec.Specs(), outbound.Specs(outbound.Options{}), rowspecs.Specs(nil), endpoint.Specs())...)
}

// newChecker makes what checks workflows against what is there.
func (s *server) newChecker() *check.Checker {
	return check.New(check.Options{
		Types: activityTypes(),
		Published: func(ctx context.Context, name string) bool {
			_, err := s.library.Published(ctx, name)
			return err == nil
		},
		ID: func(ctx context.Context, name string) string {
			w, err := s.library.Get(ctx, name)
			if err != nil {
				return "" // there is none, or the change itself will say what ails the store
			}
			return w.ID
		},
		Columns: s.columns,
		Connection: func(ctx context.Context, name string) bool {
			_, err := s.Book.Get(ctx, resource.Key{Kind: "connections", Name: name})
			return err == nil
		},
		Secret: func(ctx context.Context, reference string) bool {
			return secrets{tables: s.tables, connections: connections{s.source}}.there(ctx, reference)
		},
		More: []func(context.Context, *workflow.Version) []workflow.Finding{s.endpointFindings, s.triggerFindings},
	})
}

// endpointFindings says what is wrong with the endpoints of a version.
func (s *server) endpointFindings(ctx context.Context, v *workflow.Version) []workflow.Finding {
	if !s.works.Load() {
		return nil
	}
	return s.serves.Check(ctx, v)
}

// columns lists the columns of a table; ok: there is one of the name.
func (s *server) columns(ctx context.Context, name string) (columns []string, ok bool, err error) {
	t, err := s.tables.Schema(ctx, name)
	if errors.Is(err, rows.ErrNoTable) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, c := range t.Columns {
		columns = append(columns, c.Name)
	}
	return columns, true, nil
}

// workflowed writes versions as workflows are declared, in the transaction that
// writes the declaration.
func (s *server) workflowed(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return s.library.Remove(c, u.ID)
	}
	w, err := s.Book.WorkflowIn(c, u.Name)
	if err != nil {
		return err
	}
	return s.library.Write(c, u.ID, u.Name, w, u.Again)
}
