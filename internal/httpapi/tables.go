package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/table"
)

const kindTables = "tables"

// A tableView is a table without its rows.
type tableView struct {
	Kind        string          `json:"kind"`
	Name        string          `json:"name"`
	ID          int64           `json:"id" doc:"The number by which documents may name it."`
	Description string          `json:"description,omitempty"`
	Title       string          `json:"title" doc:"The column that names a row."`
	Columns     []columnView    `json:"columns" doc:"In the order that they were written in."`
	Rows        int64           `json:"rows" doc:"How many there are."`
	Declared    bool            `json:"declared" doc:"By a resource; else a run made it."`
	Revision    int64           `json:"revision,omitempty" doc:"Of the resource."`
	CreatedAt   *time.Time      `json:"created_at,omitempty"`
	UpdatedAt   *time.Time      `json:"updated_at,omitempty" doc:"Of the columns."`
	Spec        json.RawMessage `json:"spec" doc:"As a resource file declares it, secrets as [secret]."`
}

type columnView struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	To          string `json:"to,omitempty" doc:"Of a reference: the table."`
	Display     string `json:"display,omitempty"`
	Description string `json:"description,omitempty"`
	Secret      bool   `json:"secret,omitempty"`
	Indexed     bool   `json:"indexed,omitempty"`
	Hidden      bool   `json:"hidden,omitempty"`
	Order       int    `json:"order,omitempty"`
	Declared    bool   `json:"declared,omitempty"`
}

type tableList struct {
	Tables     []tableView `json:"tables" doc:"In order of name."`
	NextCursor string      `json:"next_cursor,omitempty"`
}

func (a *API) tableView(ctx context.Context, s *table.Schema) (tableView, error) {
	v := tableView{Kind: kindTables, Name: s.Name, ID: s.ID, Description: s.Description, Title: s.Title, Rows: s.Rows, Declared: s.Declared,
		CreatedAt: instant(s.CreatedAt), UpdatedAt: instant(s.UpdatedAt)}
	for i := range s.Columns {
		c := &s.Columns[i]
		v.Columns = append(v.Columns, columnView{Name: c.Name, Type: string(c.Type), To: c.To, Display: c.Display, Description: c.Description, Secret: c.Secret,
			Indexed: c.Indexed, Hidden: c.Hidden, Order: c.Order, Declared: c.Declared})
	}
	declared, err := a.o.Book.Get(ctx, resource.Key{Kind: kindTables, Name: s.Name})
	switch {
	case err == nil:
		v.Spec, v.Revision = declared.Spec, declared.Revision
		return v, nil
	case !errors.Is(err, freshet.ErrNotFound):
		return v, err
	}
	v.Spec, err = json.Marshal(s.Declaration())
	return v, err
}

// tableEndpoints are those of tables; their rows have a file of their own.
func (a *API) tableEndpoints() {
	if a.o.Tables == nil {
		return
	}
	tags := []string{"tables"}
	register(a, huma.Operation{OperationID: "list-tables", Method: http.MethodGet, Path: "/api/v1/tables", Summary: "The tables", Tags: tags,
		Description: "Those that resources declare, and those that runs made."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *Paging) (*body[tableList], error) {
			list, err := a.o.Tables.List(ctx, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := &body[tableList]{}
			out.Body.Tables = make([]tableView, len(list))
			for i, s := range list {
				if out.Body.Tables[i], err = a.tableView(ctx, s); err != nil {
					return nil, err
				}
			}
			if len(list) == in.Limit {
				out.Body.NextCursor = list[len(list)-1].Name
			}
			return out, nil
		})
	register(a, huma.Operation{OperationID: "get-table", Method: http.MethodGet, Path: "/api/v1/tables/{name}", Summary: "One table", Tags: tags,
		Description: "Its columns, without its rows."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name" doc:"Its name, or its number."`
		}) (*body[tableView], error) {
			s, err := a.o.Tables.Schema(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return answered(a.tableView(ctx, s))
		})
	a.rowEndpoints()
}

// dropTable deletes a table that no resource declares; err is what the resources
// said of it.
func (a *API) dropTable(ctx context.Context, name string, err error) error {
	if a.o.Tables == nil || !errors.Is(err, freshet.ErrNotFound) {
		return err
	}
	if e := a.o.Tables.Drop(ctx, name); !errors.Is(e, table.ErrNoTable) {
		return e
	}
	return err
}

// tableProblem is the table of the errors of tables; nil: it is none of them.
func tableProblem(err error) *problem.Problem {
	if e, ok := errors.AsType[*table.NotFoundError](err); ok {
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
	}
	if e, ok := errors.AsType[*table.FilterError](err); ok {
		p := invalid("query."+map[string]string{"filter": "filter", "order": "orderby"}[e.What], e.Error())
		p.Slug, p.Title = "invalid-filter", "The filter or order cannot be carried out"
		return p
	}
	if e, ok := errors.AsType[*table.ReferencedError](err); ok {
		p := problem.New(http.StatusConflict, "referenced", "Something else uses it", e.Error())
		p.Extra = map[string]any{"hint": "change or delete what refers to it first"}
		return p
	}
	for _, e := range []error{as[*table.ColumnError](err), as[*table.ValueError](err), as[*table.SchemaError](err), as[*table.CSVError](err)} {
		if e != nil {
			return problem.New(http.StatusUnprocessableEntity, "invalid-row", "The table does not take this", e.Error())
		}
	}
	switch {
	case errors.Is(err, table.ErrChanged):
		p := problem.New(http.StatusPreconditionFailed, "row-changed", "The row is not at that version any more", err.Error())
		p.Extra = map[string]any{"hint": "read it again, and decide again"}
		return p
	case errors.Is(err, table.ErrExists):
		return problem.New(http.StatusConflict, "name-taken", "The name is taken", err.Error())
	case errors.Is(err, table.ErrBusy):
		return &problem.Problem{Slug: "busy", Title: "Others are changing the table", Status: http.StatusServiceUnavailable, Detail: "nothing was changed; ask again", RetryAfter: time.Second}
	}
	return nil
}

// as is the error of a type in a chain, nil if there is none.
func as[E error](err error) error {
	if e, ok := errors.AsType[E](err); ok {
		return e
	}
	return nil
}
