// Package rows has the activities that read and change tables: List, Get,
// Create, Update, Delete, history, QuickDataInsert, and those that make tables
// and columns.
//
// Outcomes are the platform's: a table or row that is not there takes its own
// outcome and is no fault. A filter, a column or a value that is wrong is a
// mistake in the workflow, and a fault that says which.
//
// Columns that are secret reach the run as values, and the run's journal is told
// of each, so that it masks them.
package rows

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Tables are the tables of the server; *table.Tables is one.
type Tables interface {
	ForRun(by string, learn func(values ...string)) *table.Session
	Schema(ctx context.Context, name string) (*table.Schema, error)
	Create(ctx context.Context, s table.Schema) (*table.Schema, error)
	AddColumn(ctx context.Context, by, table string, c table.Column) (id int64, err error)
}

// The outcomes beside Done, as the platform spells them.
const (
	noTable = "Object type not found"
	noRow   = "Object instance not found"
	success = "Success"
	failed  = "Failed"
	faulted = "Faulted"
)

// maxRows is how many rows a run can list at once.
const maxRows = 100_000

// Specs are the activities of this package. tables may be nil, which is for who
// only wants to know what they are.
func Specs(tables Tables) []activity.Spec {
	s := service{tables, maxRows}
	return []activity.Spec{s.list(), s.get(), s.detail(), s.create(), s.update(), s.delete(), s.history(), s.quick(), s.trigger(), s.createTable(), s.addColumn()}
}

type service struct {
	tables Tables
	most   int // rows of one list
}

var errNoTables = errors.New("there are no tables here")

// session reads and changes rows for a run.
func (s service) session(c *activity.Call) (*table.Session, error) {
	if s.tables == nil {
		return nil, errNoTables
	}
	return s.tables.ForRun("run:"+c.Run.ID(), c.Run.Secret), nil
}

// missing takes the outcome for what is not there. Other errors are faults.
func missing(err error, outcome string) (activity.Result, error) {
	if e, ok := errors.AsType[*noRowError](err); ok {
		return activity.Result{Outcomes: []string{outcome}, Message: e.Error()}, nil
	}
	want := table.ErrNoTable
	if outcome == noRow {
		want = table.ErrNoRow
	}
	if !errors.Is(err, want) {
		return activity.Result{}, err
	}
	return activity.Result{Outcomes: []string{outcome}, Message: err.Error()}, nil
}

// object is a row as expressions see it; an expanded reference is the row within
// it.
func object(r *table.Row, version bool) *model.Object {
	m := model.Row{ObjectID: r.ObjectID, Columns: r.Columns(), Values: make(map[string]any, len(r.Values))}
	if version {
		m.Version = r.Version
	}
	for name, v := range r.Values {
		m.Values[name] = value(v)
	}
	return m.Object()
}

func value(v any) any {
	switch v := v.(type) {
	case *table.Row:
		if v == nil {
			return nil
		}
		return object(v, false)
	case table.Decimal:
		return v.Float64()
	}
	return v
}

// plain is a row whose expanded references are numbers again.
func plain(r *table.Row) *table.Row {
	out := *r
	out.Values = make(map[string]any, len(r.Values))
	for name, v := range r.Values {
		if ref, ok := v.(*table.Row); ok {
			v = nil
			if ref != nil {
				v = ref.ObjectID
			}
		}
		out.Values[name] = v
	}
	return &out
}

// values are what an activity writes, in types that tables take.
func values(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for name, v := range m {
		if o, ok := v.(*model.Object); ok && o.Kind() == model.KindRow {
			v, _ = o.Get("ObjectId") // an expanded reference that is written back
		}
		out[name] = model.Plain(v)
	}
	return out
}

// both are a list of rows, and its expanded form.
func both(list []*table.Row, version, expand bool) map[string]any {
	output, expanded := make([]any, len(list)), []any(nil)
	for i, r := range list {
		if expand {
			expanded = append(expanded, object(r, version))
			r = plain(r)
		}
		output[i] = object(r, version)
	}
	out := map[string]any{"Output": output, "ExpandedOutput": nil}
	if expand {
		if expanded == nil {
			expanded = []any{}
		}
		out["ExpandedOutput"] = expanded
	}
	return out
}

func query(c *activity.Call) (q table.Query, err error) {
	q = table.Query{Filter: c.Text("Filter"), OrderBy: c.Text("OrderBy"), Expand: c.Bool("Expand")}
	for name, to := range map[string]*int{"Skip": &q.Skip, "Limit": &q.Limit} {
		n, _ := c.Int(name)
		if n < 0 || n > 1<<31-1 {
			return q, fmt.Errorf("%s: %d is no number of rows", name, n)
		}
		*to = int(n)
	}
	return q, nil
}

func queryFields() []activity.Field {
	return []activity.Field{
		{Name: "ObjectType", Doc: "the table, by name or number", Kind: activity.Text},
		{Name: "Expand", Doc: "also give the rows that references refer to", Kind: activity.Bool, Default: false},
		{Name: "Filter", Doc: "in OData's form: Key eq 'AccessToken'; blank: all rows", Kind: activity.Text},
		{Name: "Skip", Doc: "rows to leave out, after filter and order", Kind: activity.Int},
		{Name: "Limit", Doc: "how many; blank: all", Kind: activity.Int},
		{Name: "OrderBy", Doc: "LastName asc, Age desc", Kind: activity.Text},
	}
}

func (s service) list() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceList", DisplayName: "List Object Instances", Category: "Data",
		Summary:  "Lists rows of a table.",
		Fields:   queryFields(),
		Outcomes: []string{workflow.Done, noTable},
		Outputs:  []activity.Output{{Name: "Output", Doc: "the rows: ObjectId and the columns"}, {Name: "ExpandedOutput", Doc: "the rows with those that they refer to, if Expand is set"}},
		Examples: []activity.Example{
			{Doc: "by key", In: `{"ObjectType":"Settings","Filter":"Key eq 'APIBaseURL'"}`, Outcomes: []string{workflow.Done}, Out: `{"Output":[{"ObjectId":1,"Key":"APIBaseURL","Data1":"https://api.example","Data2":null}],"ExpandedOutput":null}`},
			{Doc: "nothing", In: `{"ObjectType":"Settings","Filter":"Key eq 'x'"}`, Outcomes: []string{workflow.Done}, Out: `{"Output":[],"ExpandedOutput":null}`},
			{Doc: "no such table", In: `{"ObjectType":"settings"}`, Outcomes: []string{noTable}},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			q, err := query(c)
			if err != nil {
				return activity.Result{}, err
			}
			if q.Limit == 0 || q.Limit > s.most {
				q.Limit = s.most + 1
			}
			list, err := t.List(ctx, strings.TrimSpace(c.Text("ObjectType")), q)
			if err != nil {
				return missing(err, noTable)
			}
			if len(list) > s.most {
				return activity.Result{}, fmt.Errorf("more than %d rows of table %s: use Filter, Skip and Limit", s.most, c.Text("ObjectType"))
			}
			return activity.Result{Outputs: both(list, false, q.Expand), Message: count(len(list)) + " of " + c.Text("ObjectType"), Data: map[string]any{"Rows": int64(len(list))}}, nil
		},
	}
}

func count(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}

func (s service) get() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceGet", DisplayName: "Get Object Instance", Category: "Data",
		Summary: "Reads a row into a variable.",
		Fields: []activity.Field{
			{Name: "InstanceId", Doc: "the row's ObjectId", Kind: activity.Int},
			{Name: "Expanded", Doc: "with the rows that it refers to", Kind: activity.Bool, Default: false},
			{Name: "VariableName", Doc: "the variable that is set", Kind: activity.Text},
		},
		Outcomes: []string{success, noRow},
		Outputs:  []activity.Output{{Name: "Instance", Doc: "the row"}, {Name: "ExpandedObject", Doc: "the row with those that it refers to, if Expanded is set"}},
		Examples: []activity.Example{
			{Doc: "into a variable", In: `{"InstanceId":1,"VariableName":"BaseURL"}`, Outcomes: []string{success}, Sets: `{"BaseURL":{"ObjectId":1,"Key":"APIBaseURL","Data1":"https://api.example","Data2":null}}`},
			{Doc: "it has gone", In: `{"InstanceId":4711}`, Outcomes: []string{noRow}},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			return s.read(ctx, c, "InstanceId", c.Bool("Expanded"))
		},
	}
}

func (s service) detail() activity.Spec {
	return activity.Spec{
		Type: "ObjectDetailReadToVariable", DisplayName: "Read Object to Variable", Category: "Data",
		Summary: "Reads a row into a variable. What ObjectInstanceGet was called before.",
		Fields: []activity.Field{
			{Name: "ObjectId", Doc: "the row's ObjectId", Kind: activity.Int},
			{Name: "State", Doc: "kept, and of no use here", Kind: activity.Text},
			{Name: "VariableName", Doc: "the variable that is set", Kind: activity.Text},
		},
		Outcomes: []string{success, noRow},
		Outputs:  []activity.Output{{Name: "Instance", Doc: "the row"}},
		Examples: []activity.Example{{Doc: "into a variable", In: `{"ObjectId":1,"VariableName":"x"}`, Outcomes: []string{success}}},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			return s.read(ctx, c, "ObjectId", false)
		},
	}
}

// A noRowError says that a field names no row.
type noRowError struct{ field string }

// Error names the field.
func (e *noRowError) Error() string { return e.field + " is no row's number" }

// id is the number of a row.
func id(c *activity.Call, field string) (int64, error) {
	if n, ok := c.Int(field); ok && n > 0 {
		return n, nil
	}
	return 0, &noRowError{field}
}

func (s service) read(ctx context.Context, c *activity.Call, field string, expand bool) (activity.Result, error) {
	t, err := s.session(c)
	if err != nil {
		return activity.Result{}, err
	}
	n, err := id(c, field)
	if err != nil {
		return missing(err, noRow)
	}
	r, err := t.Get(ctx, n, expand)
	if err != nil {
		return missing(err, noRow)
	}
	res := found(c, r, success)
	if expand {
		full := object(r, false)
		res.Outputs["ExpandedObject"] = full
		set(c, full)
	}
	return res, nil
}

// found gives a row as Instance and sets the variable.
func found(c *activity.Call, r *table.Row, outcome string) activity.Result {
	o := object(plain(r), false)
	set(c, o)
	return activity.Result{Outcomes: []string{outcome}, Outputs: map[string]any{"Instance": o}, Message: fmt.Sprintf("row %d of %s", r.ObjectID, r.Table),
		Data: map[string]any{"Table": r.Table, "ObjectId": r.ObjectID}}
}

func set(c *activity.Call, o *model.Object) {
	if name := strings.TrimSpace(c.Text("VariableName")); name != "" {
		c.Scope.SetVariable(name, o)
	}
}

func (s service) history() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceHistoryList", DisplayName: "List Object History", Category: "Data",
		Summary: "Lists what a row was before.",
		Fields: append(queryFields(),
			activity.Field{Name: "InstanceId", Doc: "the row's ObjectId", Kind: activity.Int},
			activity.Field{Name: "IncludeCurrentState", Doc: "also what it is now", Kind: activity.Bool, Default: false}),
		Outcomes: []string{workflow.Done, noTable, noRow},
		Outputs:  []activity.Output{{Name: "Output", Doc: "the versions: ObjectId, Version and the columns"}, {Name: "ExpandedOutput", Doc: "the same with the rows that they refer to, if Expand is set"}},
		Examples: []activity.Example{{Doc: "now", In: `{"ObjectType":"Settings","InstanceId":1,"IncludeCurrentState":true}`, Outcomes: []string{workflow.Done},
			Out: `{"Output":[{"ObjectId":1,"Version":1,"Key":"APIBaseURL","Data1":"https://api.example","Data2":null}],"ExpandedOutput":null}`}},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			q, err := query(c)
			if err != nil {
				return activity.Result{}, err
			}
			if name := strings.TrimSpace(c.Text("ObjectType")); name != "" {
				if _, err := s.tables.Schema(ctx, name); err != nil {
					return missing(err, noTable)
				}
			}
			n, err := id(c, "InstanceId")
			if err != nil {
				return missing(err, noRow)
			}
			list, err := t.History(ctx, n, table.HistoryQuery{Query: q, Current: c.Bool("IncludeCurrentState")})
			if err != nil {
				return missing(err, noRow)
			}
			versions := make([]*table.Row, len(list))
			for i := range list {
				versions[i] = &list[i].Row
			}
			return activity.Result{Outputs: both(versions, true, q.Expand), Message: fmt.Sprintf("%d versions", len(list))}, nil
		},
	}
}

func (s service) trigger() activity.Spec {
	return activity.Spec{
		Type: "ObjectInstanceTrigger", DisplayName: "Object Instance Trigger", Category: "Data", Trigger: true,
		Summary: "Starts a run for a row; met later in a run, waits for one.",
		Doc:     "A run is started for a row by giving the row, or its ObjectId, as input.",
		Fields: []activity.Field{
			{Name: "ObjectTypeId", Doc: "the table, by number or name; blank: any", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done},
		Outputs:  []activity.Output{{Name: "InstanceId", Doc: "the row's ObjectId"}, {Name: "Instance", Doc: "the row"}},
		Examples: []activity.Example{
			{Doc: "by number", Input: `1`, First: true, Outcomes: []string{workflow.Done}, Out: `{"InstanceId":1,"Instance":{"ObjectId":1,"Key":"APIBaseURL","Data1":"https://api.example","Data2":null}}`},
			{Doc: "another table's", In: `{"ObjectTypeId":"4711"}`, Input: `{"ObjectId":1}`, First: true, Fault: "4711"},
			{Doc: "later", In: `{"ObjectTypeId":"1"}`, Waits: WaitRow},
		},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			in := c.Input
			if c.Resume != nil {
				in = c.Resume.Input
			} else if !c.First {
				return activity.Result{Suspend: &activity.Bookmark{Kind: WaitRow, Key: strings.TrimSpace(c.Text("ObjectTypeId"))}}, nil
			}
			n, ok := rowID(in)
			if !ok {
				// The platform gives null where it is started without a row.
				return activity.Result{Outputs: map[string]any{"InstanceId": nil, "Instance": nil}, Message: "started without a row"}, nil
			}
			t, err := s.session(c)
			if err != nil {
				return activity.Result{}, err
			}
			r, err := t.Get(ctx, n, false)
			if err != nil {
				return activity.Result{}, err
			}
			if want := strings.TrimSpace(c.Text("ObjectTypeId")); want != "" {
				sc, err := s.tables.Schema(ctx, want)
				if err != nil {
					return activity.Result{}, fmt.Errorf("ObjectTypeId: %w", err)
				}
				if sc.Name != r.Table {
					return activity.Result{}, fmt.Errorf("row %d is of table %s, and the workflow is started for rows of %s", n, r.Table, sc.Name)
				}
			}
			res := found(c, r, workflow.Done)
			res.Outputs["InstanceId"] = r.ObjectID
			return res, nil
		},
	}
}

// WaitRow is the kind of bookmark of a run that waits for somebody to start it
// for a row; its key is the table as the workflow names it.
const WaitRow = "row"

// rowID finds a row's number in what a run was started with.
func rowID(in any) (int64, bool) {
	switch v := model.Plain(in).(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), v == float64(int64(v))
	case map[string]any:
		for _, name := range []string{"ObjectId", "objectId", "InstanceId", "instanceId"} {
			if n, ok := rowID(v[name]); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// connected reports whether the workflow leads on from an outcome.
func connected(c *activity.Call, outcome string) bool {
	return len(c.Run.Definition().Outbound(c.Activity.ID, outcome)) > 0
}

// isMistake reports whether err is about what was given rather than about the
// server.
func isMistake(err error) bool {
	var v *table.ValueError
	var col *table.ColumnError
	var sch *table.SchemaError
	return errors.As(err, &v) || errors.As(err, &col) || errors.As(err, &sch) || errors.Is(err, table.ErrExists)
}
