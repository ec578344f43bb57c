package rows

import (
	"context"
	"errors"
	"strings"

	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

func (s service) createTable() activity.Spec {
	return activity.Spec{
		Type: "TypeCreate", DisplayName: "Create Table", Category: "Data",
		Summary: "Makes a table with a title column.",
		Doc:     "A table of the name that is there already is no fault: the run takes `Faulted` and `Failed`, whichever is connected, with its number in ReturnId.",
		Fields: []activity.Field{
			{Name: "TypeName", Doc: "the table's name", Kind: activity.Text},
			{Name: "TypeDescription", Doc: "what it is for", Kind: activity.Text},
		},
		Outcomes: []string{success, faulted, failed},
		Outputs:  []activity.Output{{Name: "ReturnId", Doc: "the table's number"}, {Name: "FailReason", Doc: "why it was not made"}},
		Examples: []activity.Example{
			{Doc: "new", In: `{"TypeName":"Contact"}`, Outcomes: []string{success}},
			{Doc: "there already", In: `{"TypeName":"Settings"}`, Outcomes: []string{failed, faulted}, Out: `{"ReturnId":1,"FailReason":"table Settings exists already"}`},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			if s.tables == nil {
				return activity.Result{}, errNoTables
			}
			name := strings.TrimSpace(c.Text("TypeName"))
			made, err := s.tables.Create(ctx, table.Schema{Name: name, Description: c.Text("TypeDescription")})
			switch {
			case err == nil:
				return activity.Result{Outcomes: []string{success}, Outputs: map[string]any{"ReturnId": made.ID, "FailReason": nil}, Message: "table " + made.Name}, nil
			case isMistake(err):
				res := activity.Result{Outcomes: []string{faulted, failed}, Outputs: map[string]any{"ReturnId": nil, "FailReason": err.Error()}, Message: err.Error()}
				if old, lookup := s.tables.Schema(ctx, name); lookup == nil && errors.Is(err, table.ErrExists) {
					res.Outputs["ReturnId"] = old.ID
				}
				return res, nil
			}
			return activity.Result{}, err
		},
	}
}

func (s service) addColumn() activity.Spec {
	return activity.Spec{
		Type: "TypeAddColumn", DisplayName: "Create Column", Category: "Data",
		Summary: "Adds a column to a table.",
		Fields: []activity.Field{
			{Name: "ObjectType", Doc: "the table, by name or number", Kind: activity.Text},
			{Name: "ColumnName", Doc: "its name", Kind: activity.Text},
			{Name: "ColumnDisplayName", Doc: "its name for people", Kind: activity.Text},
			{Name: "ColumnDescription", Doc: "what it is for", Kind: activity.Text},
			{Name: "ColumnTypeId", Doc: "its type, by name or by the platform's number: 1 reference, 6 string, 7 date and time; also secret", Kind: activity.Text, Default: "string"},
			{Name: "PrincipalType", Doc: "of a reference: the table that it refers to", Kind: activity.Text},
			{Name: "DisplayOrder", Doc: "where people see it", Kind: activity.Int},
			{Name: "Visible", Doc: "whether people see it", Kind: activity.Bool, Default: true},
			{Name: "Indexed", Doc: "filters by it are quick", Kind: activity.Bool, Default: false},
		},
		Outcomes: []string{success, noTable, failed},
		Outputs:  []activity.Output{{Name: "ColumnId", Doc: "the column's number"}, {Name: "FailReason", Doc: "why it was not made"}},
		Examples: []activity.Example{
			{Doc: "a date", In: `{"ObjectType":"Settings","ColumnName":"Due","ColumnTypeId":"7"}`, Outcomes: []string{success}},
			{Doc: "no such table", In: `{"ObjectType":"Nothing","ColumnName":"Due"}`, Outcomes: []string{noTable}},
			{Doc: "there already", In: `{"ObjectType":"Settings","ColumnName":"Data1"}`, Outcomes: []string{failed}},
			{Doc: "no such type", In: `{"ObjectType":"Settings","ColumnName":"Due","ColumnTypeId":"colour"}`, Outcomes: []string{failed}},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			if s.tables == nil {
				return activity.Result{}, errNoTables
			}
			fail := func(outcome string, err error) (activity.Result, error) {
				return activity.Result{Outcomes: []string{outcome}, Outputs: map[string]any{"ColumnId": nil, "FailReason": err.Error()}, Message: err.Error()}, nil
			}
			name := strings.TrimSpace(c.Text("ObjectType"))
			if _, err := s.tables.Schema(ctx, name); errors.Is(err, table.ErrNoTable) {
				return fail(noTable, err)
			} else if err != nil {
				return activity.Result{}, err
			}
			col := table.Column{Name: strings.TrimSpace(c.Text("ColumnName")), Display: c.Text("ColumnDisplayName"), Description: c.Text("ColumnDescription"),
				Hidden: !c.Bool("Visible"), Indexed: c.Bool("Indexed")}
			var err error
			if col.Type, col.Secret, err = table.ParseType(strings.TrimSpace(c.Text("ColumnTypeId"))); err != nil {
				return fail(failed, err)
			}
			if n, ok := c.Int("DisplayOrder"); ok {
				col.Order = int(n)
			}
			if col.Type == table.Reference {
				col.To = strings.TrimSpace(c.Text("PrincipalType"))
			}
			made, err := s.tables.AddColumn(ctx, "run:"+c.Run.ID(), name, col)
			switch {
			case err == nil:
				return activity.Result{Outcomes: []string{success}, Outputs: map[string]any{"ColumnId": made, "FailReason": nil}, Message: "column " + col.Name + " of " + name}, nil
			case isMistake(err), errors.Is(err, table.ErrNoTable): // of a reference
				return fail(failed, err)
			}
			return activity.Result{}, err
		},
	}
}
