package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table"
)

// written keeps tables beside their resources, as the server does.
func (w *world) written(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return w.tables.Remove(c, u.Name)
	}
	d, err := w.book.TableIn(c, u.Name)
	if err != nil {
		return err
	}
	return w.tables.Apply(c, u.Name, d)
}

const settings = `
tables:
  Settings:
    columns: { Key: string, Data1: {type: string, secret: true}, Data2: string }
    rows: [ {Key: AccessToken, Data1: CANARY-token, Data2: "2026-03-01T12:00:00Z"}, {Key: APIBaseURL, Data1: "http://127.0.0.1:9000"} ]
`

// rowsOf lists rows by a query.
func (w *world) rowsOf(table, query string) []map[string]any {
	w.t.Helper()
	a := w.do("GET", "/api/v1/tables/"+table+"/rows?"+query, "")
	if a.status != 200 {
		w.t.Fatalf("rows: %d %s", a.status, a.body)
	}
	var out struct{ Rows []map[string]any }
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Rows
}

func TestTables(t *testing.T) {
	w := newWorld(t)
	w.declare(settings)
	filter := "filter=" + url.QueryEscape("Key eq 'AccessToken'")
	t.Run("cap010 tables are listed, by name and by number", func(t *testing.T) {
		a := w.do("GET", "/api/v1/tables", "")
		var out struct {
			Tables []struct {
				Name, Title string
				ID, Rows    int64
				Declared    bool
				Columns     []struct {
					Name, Type string
					Secret     bool
				}
			}
		}
		if err := json.Unmarshal([]byte(a.body), &out); err != nil || len(out.Tables) != 1 {
			t.Fatalf("%v: %s", err, a.body)
		}
		s := out.Tables[0]
		if s.Name != "Settings" || s.Title != "Key" || s.Rows != 2 || !s.Declared || fmt.Sprint(s.Columns) != "[{Key string false} {Data1 string true} {Data2 string false}]" {
			t.Errorf("%+v", s)
		}
		for _, name := range []string{"Settings", fmt.Sprint(s.ID)} {
			if a := w.do("GET", "/api/v1/tables/"+name, ""); a.status != 200 || a.json(t)["name"] != "Settings" {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
	})
	t.Run("cap013 rows by key, or none", func(t *testing.T) {
		rows := w.rowsOf("Settings", filter)
		if len(rows) != 1 || rows[0]["Data2"] != "2026-03-01T12:00:00Z" || rows[0]["Data1"] != "[secret]" || rows[0]["@version"] != 1.0 {
			t.Errorf("%v", rows)
		}
		if rows := w.rowsOf("Settings", "filter="+url.QueryEscape("Key eq 'x'' or Key ne '''")); len(rows) != 0 {
			t.Errorf("%v", rows)
		}
	})
	t.Run("cap014 a row by its number; one that has gone is named", func(t *testing.T) {
		id := int64(w.rowsOf("Settings", filter)[0]["ObjectId"].(float64))
		a := w.do("GET", fmt.Sprintf("/api/v1/tables/Settings/rows/%d", id), "")
		if a.status != 200 || a.json(t)["Key"] != "AccessToken" || a.header.Get("ETag") != `"1"` {
			t.Errorf("%d %s", a.status, a.body)
		}
		for _, path := range []string{"/api/v1/tables/Settings/rows/4711", "/api/v1/tables/Settings/rows/4711/history"} {
			if a := w.do("GET", path, ""); a.status != 404 || !strings.Contains(a.body, "table Settings has no row 4711") {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
	t.Run("cap015 token and expiry change together, at the version that was read", func(t *testing.T) {
		id := int64(w.rowsOf("Settings", filter)[0]["ObjectId"].(float64))
		path := fmt.Sprintf("/api/v1/tables/Settings/rows/%d", id)
		a := w.do("PATCH", path, `{"Data1":"CANARY-second","Data2":"2026-03-01T13:00:00Z"}`, "If-Match", `"1"`)
		if a.status != 200 || a.json(t)["@version"] != 2.0 || a.json(t)["Data2"] != "2026-03-01T13:00:00Z" || strings.Contains(a.body, "CANARY") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := w.do("PATCH", path, `{"Data2":"late"}`, "If-Match", `"1"`); a.status != 412 || !strings.Contains(a.body, "row-changed") {
			t.Errorf("a stale change: %d %s", a.status, a.body)
		}
		row, err := w.tables.ForRun("run:1", nil).Get(t.Context(), id, false)
		if err != nil || row.Values["Data1"] != "CANARY-second" || row.Values["Data2"] != "2026-03-01T13:00:00Z" {
			t.Errorf("%v, %v", row, err)
		}
		a = w.do("GET", path+"/history", "")
		if !strings.Contains(a.body, `"@version":2`) || !strings.Contains(a.body, `"@by":"apply"`) || !strings.Contains(a.body, `"@by":"key:admin`) || strings.Contains(a.body, "CANARY") || strings.Count(a.body, "[secret]") != 2 {
			t.Errorf("history: %s", a.body)
		}
		// The row as it was read goes back: what is masked stays as it is.
		whole := w.do("GET", path, "").body
		if a := w.do("PUT", path, whole); a.status != 200 || a.json(t)["@version"] != 2.0 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("cap012 masked in JSON, CSV, history, export, log and audit", func(t *testing.T) {
		for _, path := range []string{"/api/v1/tables", "/api/v1/tables/Settings", "/api/v1/tables/Settings/rows", "/api/v1/export", "/api/v1/audit?limit=1000"} {
			if a := w.do("GET", path, ""); a.status != 200 || strings.Contains(a.body, "CANARY") {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		a := w.do("GET", "/api/v1/tables/Settings/rows", "", "Accept", "text/csv")
		if !strings.HasPrefix(a.body, "ObjectId,Key,Data1,Data2\n") || !strings.Contains(a.body, ",AccessToken,[secret],2026-03-01T13:00:00Z\n") {
			t.Errorf("CSV: %s", a.body)
		}
		if strings.Contains(w.log.String(), "CANARY") {
			t.Error("the log holds a secret")
		}
	})
	t.Run("rows are inserted, imported and deleted, and that is on record", func(t *testing.T) {
		a := w.do("POST", "/api/v1/tables/Settings/rows", `{"Key":"Style","Data2":"dark"}`)
		if a.status != 201 || a.json(t)["Key"] != "Style" || !strings.HasPrefix(a.header.Get("Location"), "/api/v1/tables/Settings/rows/") {
			t.Fatalf("%d %s %v", a.status, a.body, a.header)
		}
		at := a.header.Get("Location")
		a = w.do("POST", "/api/v1/tables/Settings/rows?key=Key", `[{"Key":"Style","Data2":"light"},{"Key":"Prompt","Data2":"?"},{"Key":"AccessToken"}]`)
		if a.status != 200 || a.body != `{"inserted":1,"updated":1,"unchanged":1}` {
			t.Errorf("%d %s", a.status, a.body)
		}
		file := w.do("GET", "/api/v1/tables/Settings/rows?"+filter, "", "Accept", "text/csv").body + ",New,,\"a, \"\"b\"\"\"\n"
		a = w.do("POST", "/api/v1/tables/Settings/rows", file, "Content-Type", "text/csv")
		if a.status != 200 || a.body != `{"inserted":1,"updated":0,"unchanged":1}` {
			t.Errorf("%d %s", a.status, a.body)
		}
		if rows := w.rowsOf("Settings", "filter="+url.QueryEscape("Key eq 'New'")); len(rows) != 1 || rows[0]["Data2"] != `a, "b"` || rows[0]["Data1"] != nil {
			t.Errorf("%v", rows)
		}
		if a := w.do("DELETE", at, ""); a.status != 204 {
			t.Errorf("%d %s", a.status, a.body)
		}
		record := w.do("GET", "/api/v1/audit?limit=1000", "").body
		for _, want := range []string{`"row.insert","subject":"tables/Settings"`, `"row.delete","subject":"tables/Settings/`, `"row.update"`} {
			if !strings.Contains(record, want) {
				t.Errorf("no %s on record", want)
			}
		}
	})
	t.Run("pages go on where the one before ended", func(t *testing.T) {
		var list []string
		for i := range 25 {
			list = append(list, fmt.Sprintf(`{"Name":"n%02d","N":%d}`, i, 25-i))
		}
		w.declare("tables: {Pages: {columns: {Name: string, N: integer}}}")
		if a := w.do("POST", "/api/v1/tables/Pages/rows", "["+strings.Join(list, ",")+"]"); a.status != 200 {
			t.Fatal(a.body)
		}
		for start, follow := range map[string]string{"top=10": "next_cursor", "limit=10&orderby=N": "next_skip"} {
			seen, query := map[string]bool{}, start
			for range 5 {
				a := w.do("GET", "/api/v1/tables/Pages/rows?"+query, "").json(t)
				for _, r := range a["rows"].([]any) {
					seen[r.(map[string]any)["Name"].(string)] = true
				}
				next, ok := a[follow]
				if !ok {
					break
				}
				query = start + map[string]string{"next_cursor": "&cursor=", "next_skip": "&skip="}[follow] + fmt.Sprint(next)
			}
			if len(seen) != 25 {
				t.Errorf("%s: %d rows seen", start, len(seen))
			}
		}
	})
	t.Run("tables that a run made", func(t *testing.T) {
		if _, err := w.tables.ForRun("run:1", nil).Upsert(t.Context(), "Pages", []map[string]any{{"Name": "x", "More": true}}, upsertAll); err != nil {
			t.Fatal(err)
		}
		if a := w.do("GET", "/api/v1/tables/Pages", ""); !strings.Contains(a.body, `"name":"More","type":"boolean"`) {
			t.Error(a.body)
		}
		if _, err := w.tables.Create(t.Context(), runTable); err != nil {
			t.Fatal(err)
		}
		a := w.do("GET", "/api/v1/tables/Made", "").json(t)
		if a["declared"] != false || fmt.Sprint(a["spec"]) != "map[columns:[map[name:Title type:string]]]" {
			t.Errorf("%v", a)
		}
		if a := w.do("DELETE", "/api/v1/tables/Made", ""); a.status != 200 || !strings.Contains(a.body, "deleted") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := w.do("DELETE", "/api/v1/tables/Made", ""); a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// What cannot be done is said with what to do, and shows no secret.
func TestTableProblems(t *testing.T) {
	w := newWorld(t)
	w.declare(settings + "  Company: {columns: {Name: string}, rows: [{Name: Acme}]}\n  Contact: {columns: {Email: string, Company: {type: reference, to: Company}, Age: integer}, rows: [{Email: a@b, Company: Acme}]}\n")
	company := int64(w.rowsOf("Company", "")[0]["ObjectId"].(float64))
	esc := url.QueryEscape
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"no table":              {"GET", "/api/v1/tables/None/rows", "", 404, `there is no table \"None\"`},
		"no table to look at":   {"GET", "/api/v1/tables/None", "", 404, `there is no table \"None\"`},
		"no column":             {"GET", "/api/v1/tables/Settings/rows?filter=" + esc("key eq 'a'"), "", 422, `character 1: there is no column key; it is written Key; the columns are Key, Data1, Data2`},
		"a secret in a filter":  {"GET", "/api/v1/tables/Settings/rows?filter=" + esc("Data1 eq 'CANARY'"), "", 422, "column Data1 is secret"},
		"a secret to order by":  {"GET", "/api/v1/tables/Settings/rows?orderby=Data1", "", 422, "column Data1 is secret"},
		"no filter":             {"GET", "/api/v1/tables/Settings/rows?filter=" + esc("Key = 'a'"), "", 422, "equality is written: Column eq"},
		"a wrong order":         {"GET", "/api/v1/tables/Settings/rows?orderby=" + esc("Key down"), "", 422, "neither asc nor desc"},
		"a wrong top":           {"GET", "/api/v1/tables/Settings/rows?top=-1", "", 422, "query.top"},
		"a word that is none":   {"GET", "/api/v1/tables/Settings/rows?$filter=x", "", 422, "known are filter, orderby"},
		"a wrong column":        {"POST", "/api/v1/tables/Settings/rows", `{"Key":"a","Data3":"CANARY"}`, 422, `table Settings has no column \"Data3\"; it has Key, Data1, Data2`},
		"a wrong value":         {"POST", "/api/v1/tables/Contact/rows", `{"Age":"old"}`, 422, `table Contact, column Age: \"old\" is not a number`},
		"no such reference":     {"POST", "/api/v1/tables/Contact/rows", `{"Company":4711}`, 422, `column Company: 4711 is no row of table Company`},
		"not JSON":              {"POST", "/api/v1/tables/Contact/rows", `{"CANARY`, 422, "an object of values by column"},
		"a number of its own":   {"POST", "/api/v1/tables/Contact/rows", `{"ObjectId":7,"Email":"x"}`, 422, "which the server gives"},
		"a row of another":      {"GET", fmt.Sprintf("/api/v1/tables/Contact/rows/%d", company), "", 404, "table Contact has no row"},
		"a row in use":          {"DELETE", fmt.Sprintf("/api/v1/tables/Company/rows/%d", company), "", 409, "is referred to by row"},
		"a table in use":        {"DELETE", "/api/v1/tables/Company", "", 409, "tables/Contact"},
		"no method":             {"PATCH", "/api/v1/tables/Contact/rows", `{}`, 405, "GET, POST"},
		"a number that is none": {"GET", "/api/v1/tables/Contact/rows/x", "", 422, "the number of a row"},
	} {
		a := w.do(c.method, c.path, c.body)
		if a.status != c.status || !strings.Contains(a.body, c.text) || strings.Contains(a.body, "CANARY") || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	read := w.do("POST", "/api/v1/keys", `{"name":"reader","scopes":["read"]}`).json(t)["key"].(string)
	for _, c := range [][3]string{{"POST", "/api/v1/tables/Contact/rows", `{"Email":"x"}`}, {"DELETE", fmt.Sprintf("/api/v1/tables/Company/rows/%d", company), ""}, {"PATCH", fmt.Sprintf("/api/v1/tables/Company/rows/%d", company), "{}"}} {
		if a := w.with(read, c[0], c[1], c[2]); a.status != 403 {
			t.Errorf("%v with scope read: %d", c, a.status)
		}
	}
	if a := w.with(read, "GET", "/api/v1/tables/Contact/rows?expand=true", ""); a.status != 200 || !strings.Contains(a.body, `"Company":{"ObjectId":`) {
		t.Errorf("read: %d %s", a.status, a.body)
	}
	if a := w.with("", "GET", "/api/v1/tables/Contact/rows", ""); a.status != 401 {
		t.Errorf("without a key: %d", a.status)
	}
}

var (
	upsertAll = table.UpsertOptions{Key: "Name", AddColumns: true}
	runTable  = table.Schema{Name: "Made"}
)
