package rows

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

type m = map[string]any

// newTables are tables over a database of their own, with the documents'
// Settings, whose first row is the base URL.
func newTables(t *testing.T) *table.Tables {
	t.Helper()
	st, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	key := make([]byte, 32)
	rand.Read(key)
	v, err := vault.Open(t.Context(), st, vault.MasterKeyText("the test", freshet.NewSecret(base64.StdEncoding.EncodeToString(key))))
	if err != nil {
		t.Fatal(err)
	}
	tables := table.New(table.Options{Store: st, Sealer: v})
	ok(t, tables.Create, table.Schema{Name: "Settings", Columns: []table.Column{{Name: "Key", Type: table.String}, {Name: "Data1", Type: table.String, Secret: true}, {Name: "Data2", Type: table.String}}})
	insert(t, tables, "Settings", m{"Key": "APIBaseURL", "Data1": "https://api.example"})
	return tables
}

func ok(t *testing.T, create func(ctx context.Context, s table.Schema) (*table.Schema, error), s table.Schema) {
	t.Helper()
	if _, err := create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func insert(t *testing.T, tables *table.Tables, name string, values m) int64 {
	t.Helper()
	r, err := tables.As("config").Insert(t.Context(), name, values)
	if err != nil {
		t.Fatal(err)
	}
	return r.ObjectID
}

// do runs an activity; its fields are Go values as the engine converts them.
func do(t *testing.T, tables Tables, typ string, in m, edges ...string) (activity.Result, *activitytest.Run, error) {
	t.Helper()
	s, found := activity.NewRegistry(Specs(tables)...).Lookup(typ)
	if !found {
		t.Fatalf("no %s", typ)
	}
	c, run := activitytest.New(t, s, in)
	run.Def.Activities = []workflow.Activity{{ID: c.Activity.ID, Type: typ}, {ID: "next", Type: "WriteLine"}}
	for _, e := range edges {
		run.Def.Edges = append(run.Def.Edges, workflow.Edge{Source: c.Activity.ID, Target: "next", Outcome: e})
	}
	run.Def.Index()
	res, err := s.Run(t.Context(), c)
	return res, run, err
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExamples(t *testing.T) {
	for i, s := range Specs(nil) {
		for _, e := range s.Examples {
			one := Specs(newTables(t))[i] // examples change their tables
			one.Examples = []activity.Example{e}
			activitytest.Examples(t, []activity.Spec{one}, nil)
		}
	}
}

func TestRowsOfTheDocuments(t *testing.T) {
	tables := newTables(t)
	token := insert(t, tables, "Settings", m{"Key": "AccessToken", "Data1": "stored-token-1", "Data2": "2026-01-01T00:00:00.000Z"})
	t.Run("cap013 list by key, none is an empty list", func(t *testing.T) {
		res, run, err := do(t, tables, "ObjectInstanceList", m{"ObjectType": "Settings", "Filter": "Key eq 'AccessToken'"})
		if err != nil || text(t, res.Outputs["Output"]) != fmt.Sprintf(`[{"ObjectId":%d,"Key":"AccessToken","Data1":"stored-token-1","Data2":"2026-01-01T00:00:00.000Z"}]`, token) {
			t.Fatalf("%s, %v", text(t, res.Outputs), err)
		}
		if !slices.Contains(run.Secrets, "stored-token-1") {
			t.Errorf("the run was told %q", run.Secrets)
		}
		if res, _, err = do(t, tables, "ObjectInstanceList", m{"ObjectType": "Settings", "Filter": "Key eq 'Nobody'"}); err != nil || text(t, res.Outputs["Output"]) != "[]" || res.Outcomes != nil {
			t.Errorf("%+v, %v", res, err)
		}
	})
	t.Run("cap014 get by the id of the list, and one that has gone", func(t *testing.T) {
		res, run, err := do(t, tables, "ObjectInstanceGet", m{"InstanceId": token, "VariableName": "AccessToken"})
		if err != nil || !slices.Equal(res.Outcomes, []string{"Success"}) {
			t.Fatalf("%+v, %v", res, err)
		}
		row := run.Set["AccessToken"].(*model.Object)
		if v, _ := row.Get("Data1"); v != "stored-token-1" {
			t.Errorf("%s", text(t, row))
		}
		if v, _ := row.Get("objectId"); v != token {
			t.Errorf("without case of the first letter: %v", v)
		}
		res, run, err = do(t, tables, "ObjectInstanceGet", m{"InstanceId": int64(987654), "VariableName": "x"})
		if err != nil || !slices.Equal(res.Outcomes, []string{"Object instance not found"}) || !strings.Contains(res.Message, "987654") || run.Set != nil {
			t.Errorf("%+v, %v", res, err)
		}
		if res, _, err = do(t, tables, "ObjectInstanceGet", m{}); err != nil || !slices.Equal(res.Outcomes, []string{"Object instance not found"}) {
			t.Errorf("without an id: %+v, %v", res, err)
		}
	})
	t.Run("cap015 token and expiry change together, the key stays", func(t *testing.T) {
		res, run, err := do(t, tables, "ObjectInstanceUpdate", m{"InstanceId": token, "Values": m{"Data1": "new-token-2", "Data2": "2026-02-02T00:00:00.000Z"}, "VariableName": "AccessToken"})
		if err != nil || !slices.Equal(res.Outcomes, []string{"Done"}) {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := text(t, run.Set["AccessToken"]); !strings.Contains(got, `"Key":"AccessToken","Data1":"new-token-2","Data2":"2026-02-02`) {
			t.Errorf("%s", got)
		}
		if !slices.Contains(run.Secrets, "new-token-2") {
			t.Errorf("told %q", run.Secrets)
		}
	})
	t.Run("a wrong table takes its outcome", func(t *testing.T) {
		for typ, in := range map[string]m{"ObjectInstanceList": {"ObjectType": "settings"}, "ObjectInstanceCreate": {"ObjectType": "", "Values": m{}},
			"ObjectInstanceHistoryList": {"ObjectType": "Nothing", "InstanceId": token}, "TypeAddColumn": {"ObjectType": "999", "ColumnName": "x"}} {
			res, _, err := do(t, tables, typ, in)
			if err != nil || !slices.Equal(res.Outcomes, []string{"Object type not found"}) {
				t.Errorf("%s: %+v, %v", typ, res, err)
			}
		}
	})
	t.Run("what is wrong in the workflow is a fault", func(t *testing.T) {
		for want, in := range map[string]m{"no column Data9": {"ObjectType": "Settings", "Filter": "Data9 eq 'x'"}, "filter": {"ObjectType": "Settings", "Filter": "Key eq 'it's'"}, "Skip": {"ObjectType": "Settings", "Skip": int64(-1)}} {
			if res, _, err := do(t, tables, "ObjectInstanceList", in); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %+v, %v", in, res, err)
			}
		}
	})
}

func TestReferences(t *testing.T) {
	tables := newTables(t)
	ok(t, tables.Create, table.Schema{Name: "Company", Columns: []table.Column{{Name: "Title", Type: table.String}, {Name: "Rate", Type: table.Decimal2}}})
	ok(t, tables.Create, table.Schema{Name: "Contact", Columns: []table.Column{{Name: "Title", Type: table.String}, {Name: "Company", Type: table.Reference, To: "Company"}, {Name: "Since", Type: table.DateTime}}})
	acme := insert(t, tables, "Company", m{"Title": "Acme", "Rate": 12.5})
	since := time.Date(2024, 11, 20, 12, 0, 0, 0, time.UTC)
	ann := insert(t, tables, "Contact", m{"Title": "Ann", "Company": acme, "Since": since})

	res, _, err := do(t, tables, "ObjectInstanceList", m{"ObjectType": "Contact", "Expand": true})
	if err != nil || !strings.Contains(text(t, res.Outputs["Output"]), fmt.Sprintf(`"Company":%d`, acme)) || !strings.Contains(text(t, res.Outputs["ExpandedOutput"]), fmt.Sprintf(`"Company":{"ObjectId":%d,"Title":"Acme","Rate":12.5}`, acme)) {
		t.Errorf("%s, %v", text(t, res.Outputs), err)
	}
	res, run, err := do(t, tables, "ObjectInstanceGet", m{"InstanceId": ann, "Expanded": true, "VariableName": "Contact"})
	if err != nil || !strings.Contains(text(t, run.Set["Contact"]), `"Title":"Acme"`) || strings.Contains(text(t, res.Outputs["Instance"]), "Acme") {
		t.Errorf("%s, %s, %v", text(t, run.Set), text(t, res.Outputs), err)
	}
	if v, _ := run.Set["Contact"].(*model.Object).Get("Since"); v != since {
		t.Errorf("a date is %T %v", v, v)
	}
	// What was read expanded can be written back.
	back := run.Set["Contact"].(*model.Object).Map()
	if _, _, err = do(t, tables, "ObjectInstanceUpdate", m{"InstanceId": ann, "Values": back}); err != nil {
		t.Error(err)
	}
	t.Run("what others refer to stays", func(t *testing.T) {
		if _, _, err := do(t, tables, "DeleteObjectInstance", m{"ObjectInstanceId": acme}); err == nil || !strings.Contains(err.Error(), "Contact") {
			t.Errorf("%v", err)
		}
		res, _, err := do(t, tables, "DeleteObjectInstance", m{"ObjectInstanceId": acme}, "Failed")
		if err != nil || !slices.Equal(res.Outcomes, []string{"Failed"}) || !strings.Contains(fmt.Sprint(res.Outputs["FailReason"]), "Contact") {
			t.Errorf("%+v, %v", res, err)
		}
		if res, _, err = do(t, tables, "DeleteObjectInstance", m{"ObjectInstanceId": ann}); err != nil || !slices.Equal(res.Outcomes, []string{"Done"}) {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestHistory(t *testing.T) {
	tables := newTables(t)
	row := insert(t, tables, "Settings", m{"Key": "x", "Data2": "one"})
	for _, v := range []string{"two", "three"} {
		if _, _, err := do(t, tables, "ObjectInstanceUpdate", m{"InstanceId": row, "Values": m{"Data2": v}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		in   m
		want []string
	}{
		{m{"InstanceId": row, "OrderBy": "Version desc"}, []string{"two", "one"}},
		{m{"InstanceId": row, "OrderBy": "Version asc", "IncludeCurrentState": true, "ObjectType": "Settings"}, []string{"one", "two", "three"}},
		{m{"InstanceId": row, "Filter": "Version gt 1", "IncludeCurrentState": true, "Limit": int64(1), "OrderBy": "Version asc"}, []string{"two"}},
	} {
		res, _, err := do(t, tables, "ObjectInstanceHistoryList", c.in)
		var got []string
		for _, v := range res.Outputs["Output"].([]any) {
			x, _ := v.(*model.Object).Get("Data2")
			if n, _ := v.(*model.Object).Get("version"); n == nil {
				t.Error("no Version")
			}
			got = append(got, fmt.Sprint(x))
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	if res, _, err := do(t, tables, "ObjectInstanceHistoryList", m{"InstanceId": int64(5555)}); err != nil || !slices.Equal(res.Outcomes, []string{"Object instance not found"}) {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestQuickDataInsert(t *testing.T) {
	tables := newTables(t)
	in := `[{"Key":"APIBaseURL","Data2":"changed"},{"Key":"new","Count":3,"On":true,"password":"quick-password"}]`
	for name, v := range map[string]any{"text": in, "JSON": model.JSON(in), "again": in} {
		res, run, err := do(t, tables, "QuickDataInsert", m{"ObjectType": "Settings", "KeyField": "Key", "Values": v})
		if err != nil || res.Outcomes != nil || len(res.Outputs["Output"].([]any)) != 2 || !slices.Contains(run.Secrets, "quick-password") {
			t.Errorf("%s: %+v, %v, told %q", name, res, err, run.Secrets)
		}
	}
	list, _, err := do(t, tables, "ObjectInstanceList", m{"ObjectType": "Settings", "Filter": "Count eq 3"})
	if err != nil || len(list.Outputs["Output"].([]any)) != 1 {
		t.Errorf("%s, %v", text(t, list.Outputs), err)
	}
	base, _, _ := do(t, tables, "ObjectInstanceList", m{"ObjectType": "Settings", "Filter": "Key eq 'APIBaseURL'"})
	if got := text(t, base.Outputs["Output"]); !strings.Contains(got, `"Data1":"https://api.example","Data2":"changed"`) {
		t.Errorf("the other columns: %s", got)
	}
	for want, v := range map[string]any{"No Data": "", "Invalid Data": `[1]`} {
		if res, _, err := do(t, tables, "QuickDataInsert", m{"ObjectType": "Settings", "Values": v}); err != nil || !slices.Equal(res.Outcomes, []string{want}) {
			t.Errorf("%v: %+v, %v", v, res, err)
		}
	}
	for _, bad := range []any{"{", `"text"`, true, []any{m{"Key": "a"}, "b"}} {
		if res, _, err := do(t, tables, "QuickDataInsert", m{"ObjectType": "Settings", "Values": bad}); err != nil || !slices.Equal(res.Outcomes, []string{"Invalid Data"}) || res.Outputs["FailReason"] == nil {
			t.Errorf("%v: %+v, %v", bad, res, err)
		}
	}
	if res, _, err := do(t, tables, "QuickDataInsert", m{"ObjectType": "Settings", "KeyField": "Data1", "Values": in}); err != nil || !slices.Equal(res.Outcomes, []string{"Invalid Data"}) {
		t.Errorf("by a secret: %+v, %v", res, err)
	}
}

func TestTablesAndColumns(t *testing.T) {
	tables := newTables(t)
	res, _, err := do(t, tables, "TypeCreate", m{"TypeName": "Role", "TypeDescription": "who may what"})
	if err != nil || !slices.Equal(res.Outcomes, []string{"Success"}) || res.Outputs["ReturnId"] == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	number := fmt.Sprint(res.Outputs["ReturnId"])
	for i, c := range []struct {
		in   m
		typ  table.Type
		want string
	}{
		{m{"ColumnTypeId": "1", "PrincipalType": "Settings"}, table.Reference, "Success"},
		{m{"ColumnTypeId": "5", "DisplayOrder": int64(3), "Visible": false}, table.Boolean, "Success"},
		{m{"ColumnTypeId": "6", "Indexed": true}, table.String, "Success"},
		{m{"ColumnTypeId": "DateTime"}, table.DateTime, "Success"},
		{m{}, table.String, "Success"},
		{m{"ColumnTypeId": "1", "PrincipalType": "Nothing"}, "", "Failed"},
		{m{"ColumnName": "a,b"}, "", "Failed"},
	} {
		c.in["ObjectType"] = number
		if c.in["ColumnName"] == nil {
			c.in["ColumnName"] = fmt.Sprintf("c%d", i)
		}
		res, _, err := do(t, tables, "TypeAddColumn", c.in)
		if err != nil || !slices.Equal(res.Outcomes, []string{c.want}) || (c.want == "Success") != (res.Outputs["ColumnId"] != nil) {
			t.Errorf("%v: %+v, %v", c.in, res, err)
			continue
		}
		s, err := tables.Schema(t.Context(), "Role")
		if err != nil {
			t.Fatal(err)
		}
		if col, there := s.Column(c.in["ColumnName"].(string)); c.typ != "" && (!there || col.Type != c.typ) {
			t.Errorf("%v: %+v", c.in, col)
		}
	}
}

func TestStartedForARow(t *testing.T) {
	tables := newTables(t)
	row := insert(t, tables, "Settings", m{"Key": "x"})
	s, _ := activity.NewRegistry(Specs(tables)...).Lookup("ObjectInstanceTrigger")
	for _, in := range []any{row, float64(row), m{"ObjectId": row}, model.Row{ObjectID: row}.Object(), m{"instanceId": row}} {
		c, _ := activitytest.New(t, s, m{"ObjectTypeId": "Settings"})
		c.First, c.Input = true, in
		res, err := s.Run(t.Context(), c)
		if err != nil || res.Outputs["InstanceId"] != row {
			t.Errorf("%v: %+v, %v", in, res, err)
		}
	}
	c, _ := activitytest.New(t, s, m{})
	c.First = true
	if res, err := s.Run(t.Context(), c); err != nil || res.Outputs["InstanceId"] != nil {
		t.Errorf("without a row: %+v, %v", res, err)
	}
	c, _ = activitytest.New(t, s, m{"ObjectTypeId": "Settings"})
	c.Resume = &activity.Resumption{Kind: WaitRow, Input: row}
	if res, err := s.Run(t.Context(), c); err != nil || res.Outputs["InstanceId"] != row {
		t.Errorf("resumed: %+v, %v", res, err)
	}
}

func TestWithoutTables(t *testing.T) {
	for _, s := range Specs(nil) {
		c, _ := activitytest.New(t, &s, m{})
		c.First, c.Input = true, int64(1)
		if _, err := s.Run(t.Context(), c); err == nil {
			t.Errorf("%s ran", s.Type)
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	tables := newTables(t)
	insert(t, tables, "Settings", m{"Key": "second"})
	s := service{tables, 1}.list()
	for limit, want := range map[any]string{nil: "more than 1 rows", int64(5): "more than 1 rows", int64(1): ""} {
		c, _ := activitytest.New(t, &s, m{"ObjectType": "Settings", "Limit": limit})
		_, err := s.Run(t.Context(), c)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("limit %v: %v", limit, err)
		}
	}
}
