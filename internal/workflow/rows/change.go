package rows

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func (s service) create() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceCreate", DisplayName: "Create Object Instance", Category: "Data",
		Summary: "Adds a row to a table.",
		Fields: []activity.Field{
			{Name: "ObjectType", Doc: "the table, by name or number", Kind: activity.Text},
			{Name: "Values", Doc: "values by the names of columns", Kind: activity.Map, Syntax: workflow.JSON},
			{Name: "VariableName", Doc: "the variable that is set to the row; blank: none", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done, noTable}, Acts: true, // twice would be two rows
		Outputs: []activity.Output{{Name: "Instance", Doc: "the row"}, {Name: "InstanceId", Doc: "its ObjectId"}},
		Examples: []activity.Example{
			{Doc: "a setting", In: `{"ObjectType":"Settings","Values":{"Key":"x","Data2":"y"},"VariableName":"row"}`, Outcomes: []string{workflow.Done}},
			{Doc: "no such table", In: `{"ObjectType":"Nothing"}`, Outcomes: []string{noTable}},
			{Doc: "no such column", In: `{"ObjectType":"Settings","Values":{"Data9":"y"}}`, Fault: `no column "Data9"`},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			confide(c, c.Map("Values"))
			r, err := t.Insert(ctx, strings.TrimSpace(c.Text("ObjectType")), values(c.Map("Values")))
			if err != nil {
				return missing(err, noTable)
			}
			res := found(c, r, workflow.Done)
			res.Outputs["InstanceId"] = r.ObjectID
			return res, nil
		},
	}
}

// confide tells the run of values that are named like secrets, whatever column
// they go to.
func confide(c *activity.Call, m map[string]any) { c.Run.Secret(content.Secrets(m)...) }

func (s service) update() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceUpdate", DisplayName: "Update Object Instance", Category: "Data",
		Summary: "Changes columns of a row, all at once.",
		Fields: []activity.Field{
			{Name: "InstanceId", Doc: "the row's ObjectId", Kind: activity.Int},
			{Name: "ClearOmittedFields", Doc: "columns that Values does not name become null", Kind: activity.Bool, Default: false},
			{Name: "Values", Doc: "values by the names of columns", Kind: activity.Map, Syntax: workflow.JSON},
			{Name: "VariableName", Doc: "the variable that is set to the row as it is then; blank: none", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done, noRow},
		Outputs:  []activity.Output{{Name: "Instance", Doc: "the row as it is then"}},
		Examples: []activity.Example{
			{Doc: "others stay", In: `{"InstanceId":1,"Values":{"Data2":"2026"},"VariableName":"row"}`, Outcomes: []string{workflow.Done},
				Sets: `{"row":{"ObjectId":1,"Key":"APIBaseURL","Data1":"https://api.example","Data2":"2026"}}`},
			{Doc: "it has gone", In: `{"InstanceId":4711,"Values":{}}`, Outcomes: []string{noRow}},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			confide(c, c.Map("Values"))
			n, err := id(c, "InstanceId")
			if err != nil {
				return missing(err, noRow)
			}
			r, err := t.Update(ctx, n, values(c.Map("Values")), table.UpdateOptions{ClearOmitted: c.Bool("ClearOmittedFields")})
			if err != nil {
				return missing(err, noRow)
			}
			return found(c, r, workflow.Done), nil
		},
	}
}

func (s service) delete() activity.Spec {
	return activity.Spec{
		Type: "DeleteObjectInstance", DisplayName: "Delete Object Instance", Category: "Data",
		Summary:  "Removes a row.",
		Doc:      "A row that is not there takes `Object type not found`, as the platform has no other outcome for it. A row that others refer to stays: the run takes `Failed` if something is connected to it, else it is a fault.",
		Fields:   []activity.Field{{Name: "ObjectInstanceId", Doc: "the row's ObjectId", Kind: activity.Int}},
		Outcomes: []string{workflow.Done, noTable}, AnyOutcome: true,
		Outputs: []activity.Output{{Name: "FailReason", Doc: "why it is still there"}},
		Examples: []activity.Example{
			{Doc: "gone", In: `{"ObjectInstanceId":1}`, Outcomes: []string{workflow.Done}},
			{Doc: "not there", In: `{"ObjectInstanceId":4711}`, Outcomes: []string{noTable}, Out: `{"FailReason":"there is no row 4711"}`},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			n, err := id(c, "ObjectInstanceId")
			if err != nil {
				return missing(err, noTable)
			}
			err = t.Delete(ctx, n, 0)
			outcome := workflow.Done
			switch _, referenced := errors.AsType[*table.ReferencedError](err); {
			case err == nil:
				return activity.Result{Outcomes: []string{outcome}, Outputs: map[string]any{"FailReason": nil}, Message: fmt.Sprintf("row %d", n)}, nil
			case errors.Is(err, table.ErrNoRow):
				outcome = noTable
			case referenced && connected(c, failed):
				outcome = failed
			default:
				return activity.Result{}, err
			}
			return activity.Result{Outcomes: []string{outcome}, Outputs: map[string]any{"FailReason": err.Error()}, Message: err.Error()}, nil
		},
	}
}

// The outcomes of QuickDataInsert.
const (
	quickNoTable = "Table Not Found"
	quickNoData  = "No Data"
	quickInvalid = "Invalid Data"
)

func (s service) quick() activity.Spec {
	return activity.Spec{
		Type: "QuickDataInsert", DisplayName: "JSON Data Insert", Category: "Data",
		Summary: "Adds or changes many rows at once, and the columns that they need.",
		Doc:     "All rows are written, or none.",
		Fields: []activity.Field{
			{Name: "ObjectType", Doc: "the table, by name or number", Kind: activity.Text},
			{Name: "KeyField", Doc: "the column that tells rows apart; blank: all rows are new", Kind: activity.Text},
			{Name: "ClearOmittedFields", Doc: "columns that a row does not name become null", Kind: activity.Bool, Default: false},
			{Name: "Values", Doc: "a list of objects, or one, or their JSON", Kind: activity.Any},
		},
		Outcomes: []string{workflow.Done, quickNoTable, quickNoData, quickInvalid}, Acts: true, // without a key, twice would be two of each row
		Outputs: []activity.Output{{Name: "Output", Doc: "the rows as they are then"}, {Name: "FailReason", Doc: "what is wrong with the data"}},
		Examples: []activity.Example{
			{Doc: "one changed, one new", In: `{"ObjectType":"Settings","KeyField":"Key","Values":[{"Key":"APIBaseURL","Data1":"a"},{"Key":"n","More":true}]}`, Outcomes: []string{workflow.Done}},
			{Doc: "no such table", In: `{"ObjectType":"Nothing","Values":[{"a":1}]}`, Outcomes: []string{quickNoTable}},
			{Doc: "nothing", In: `{"ObjectType":"Settings","Values":"[]"}`, Outcomes: []string{quickNoData}},
			{Doc: "no data", In: `{"ObjectType":"Settings","Values":"text"}`, Outcomes: []string{quickInvalid}},
		},
		Run: s.insertMany,
	}
}

func (s service) insertMany(ctx context.Context, c *activity.Call) (activity.Result, error) {
	t, err := s.session(c)
	if err != nil {
		return activity.Result{}, err
	}
	take := func(outcome, why string) (activity.Result, error) {
		return activity.Result{Outcomes: []string{outcome}, Outputs: map[string]any{"Output": nil, "FailReason": why}, Message: why}, nil
	}
	list, err := objects(c.Value("Values"))
	if err != nil {
		return take(quickInvalid, err.Error())
	}
	if len(list) == 0 {
		return take(quickNoData, "there are no rows to insert")
	}
	for _, m := range list {
		confide(c, m)
	}
	done, err := t.Upsert(ctx, strings.TrimSpace(c.Text("ObjectType")), list,
		table.UpsertOptions{Key: strings.TrimSpace(c.Text("KeyField")), ClearOmitted: c.Bool("ClearOmittedFields"), AddColumns: true})
	switch {
	case errors.Is(err, table.ErrNoTable):
		return take(quickNoTable, err.Error())
	case isMistake(err):
		return take(quickInvalid, err.Error())
	case err != nil:
		return activity.Result{}, err
	}
	out := make([]any, len(done))
	var added, changed int64
	for i, u := range done {
		out[i] = object(plain(u.Row), false)
		switch u.Action {
		case table.Inserted:
			added++
		case table.Updated:
			changed++
		}
	}
	return activity.Result{Outputs: map[string]any{"Output": out, "FailReason": nil}, Message: fmt.Sprintf("%d added, %d changed", added, changed),
		Data: map[string]any{"Added": added, "Changed": changed}}, nil
}

// objects are the rows in a value: a list, one, or JSON of them.
func objects(v any) ([]map[string]any, error) {
	if s, ok := v.(string); ok {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		parsed, err := model.ParseJSON([]byte(s))
		if err != nil {
			return nil, errors.New("Values: the text is no JSON")
		}
		v = parsed
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case model.JSON:
		return objects(model.Plain(v))
	case *model.Object:
		return []map[string]any{values(v.Map())}, nil
	case map[string]any:
		return []map[string]any{values(v)}, nil
	case []any:
		var out []map[string]any
		for i, e := range v {
			one, err := objects(e)
			if _, text := e.(string); err != nil || len(one) != 1 || text {
				return nil, fmt.Errorf("Values: element %d is no object", i)
			}
			out = append(out, one[0])
		}
		return out, nil
	}
	return nil, fmt.Errorf("Values: neither a list of objects nor an object")
}
