package table

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// filterWorld is a table with a column of each type, indexed and not, and rows
// whose values lie close together.
func filterWorld(w *world) *world {
	w.create("Other", Column{Name: "Name", Type: String})
	refs := []int64{w.insert("Other", map[string]any{"Name": "a"}).ObjectID, w.insert("Other", map[string]any{"Name": "b"}).ObjectID}
	var columns []Column
	for _, indexed := range []bool{true, false} {
		for _, typ := range []Type{String, Integer, Decimal2, Decimal5, Boolean, DateTime, URL} {
			columns = append(columns, Column{Name: filterColumn(typ, indexed), Type: typ, Indexed: indexed})
		}
	}
	columns = append(columns, Column{Name: "Ref", Type: Reference, To: "Other"}, Column{Name: "Hidden", Type: String, Secret: true})
	w.create("T", columns...)
	var rows []map[string]any
	pick := func(n, i int) bool { return (i*7919+n*104729)%5 != 0 } // one in five is null
	for i := range 60 {
		row := map[string]any{"Hidden": "canary"}
		for n, c := range columns {
			if !pick(n, i) {
				continue
			}
			v := filterValues(c.Type)
			if len(v) > 0 {
				row[c.Name] = v[(i*31+n*17)%len(v)]
			}
		}
		if pick(99, i) {
			row["Ref"] = refs[i%2]
		}
		rows = append(rows, row)
	}
	_, err := w.InsertAll(w.ctx, "T", rows)
	w.ok(err)
	return w
}

func filterColumn(t Type, indexed bool) string {
	name := strings.ToUpper(string(t[:1])) + string(t[1:])
	if indexed {
		return name + "I"
	}
	return name
}

// long texts begin alike beyond what an index keeps.
var long = strings.Repeat("é", 130)

func filterValues(t Type) []any {
	switch t {
	case String, URL:
		return []any{"", "a", "A", "ab", "b", "ä", "a'b", "10", "9", long, long + "x", long + "y", "é", "\U0010ffff", "a\U0010ffffb", "%", "_"}
	case Integer:
		return []any{-2147483648, -1, 0, 1, 9, 10, 2147483647}
	case Decimal2:
		return []any{"-1.01", "-1", "0", "0.01", "1", "1.99", "2", "92233720368547758.06"}
	case Decimal5:
		return []any{"-0.00001", "0", "0.00001", "1", "1.99", "2", "92233720368547.75806"}
	case Boolean:
		return []any{true, false}
	case DateTime:
		return []any{"2024-11-20T12:00:00Z", "2024-11-20T12:00:00.001Z", "2024-11-20", "1969-12-31T23:59:59.999Z", "0001-01-01", "9999-12-31T23:59:59.999Z"}
	}
	return nil
}

// literal writes a value as filters do.
func literal(v any) string {
	if s, ok := v.(string); ok {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return fmt.Sprint(v)
}

// condition draws a filter over the table.
func condition(t *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0:
			return "(" + condition(t, depth-1) + " and " + condition(t, depth-1) + ")"
		case 1:
			return "(" + condition(t, depth-1) + " or " + condition(t, depth-1) + ")"
		case 2:
			return "not (" + condition(t, depth-1) + ")"
		}
	}
	typ := rapid.SampledFrom([]Type{String, Integer, Decimal2, Decimal5, Boolean, DateTime, URL, Reference}).Draw(t, "type")
	name := filterColumn(typ, rapid.Bool().Draw(t, "indexed"))
	values := filterValues(typ)
	if typ == Reference {
		name, values = rapid.SampledFrom([]string{"Ref", ObjectID}).Draw(t, "number"), []any{0, 1, 2, 3, 4, 30, 61, 62, 63}
	}
	value := func() string {
		if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
			return "null"
		}
		if (typ == Decimal2 || typ == Decimal5 || typ == Integer || typ == Reference) && rapid.Bool().Draw(t, "between") {
			return rapid.SampledFrom([]string{"0.001", "1.994", "-0.000001", "1.5", "-1.005", "9223372036854775807", "-9223372036854775808", "2147483648", "1"}).Draw(t, "number")
		}
		return literal(rapid.SampledFrom(values).Draw(t, "value"))
	}
	switch form := rapid.IntRange(0, 7).Draw(t, "leaf"); {
	case typ == Boolean && form < 3:
		return name
	case typ == Boolean:
		return name + rapid.SampledFrom([]string{" eq ", " ne "}).Draw(t, "op") + rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "bool")
	case form == 0:
		return name + " in (" + value() + "," + value() + ")"
	case form == 1 && (typ == String || typ == URL):
		return rapid.SampledFrom([]string{"startswith(", "contains(", "endswith("}).Draw(t, "function") + name + "," + literal(rapid.SampledFrom(values).Draw(t, "text")) + ")"
	case form == 2 && (typ == String || typ == URL):
		return "length(" + name + ") gt 1"
	case form == 3 && (typ == Decimal2 || typ == Decimal5):
		return rapid.SampledFrom([]string{"round(", "floor(", "ceiling("}).Draw(t, "round") + name + ") le 1"
	case form == 4 && typ == DateTime:
		return "year(" + name + ") ge 2024"
	case form == 5:
		return value() + " " + rapid.SampledFrom([]string{"eq", "ne", "gt", "ge", "lt", "le"}).Draw(t, "op") + " " + name
	}
	return name + " " + rapid.SampledFrom([]string{"eq", "ne", "gt", "ge", "lt", "le"}).Draw(t, "op") + " " + value()
}

// What an index answers and what is decided row by row is the same, in the same
// order.
func TestFilterPaths(t *testing.T) { both(t, testFilterPaths) }

func testFilterPaths(t *testing.T, w *world) {
	filterWorld(w)
	scan := New(w.Tables.o)
	scan.scan = true
	slow := scan.As("test")
	indexed, matched := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		q := Query{Filter: condition(t, 3)}
		if rapid.Bool().Draw(t, "page") {
			q.Skip, q.Limit = rapid.IntRange(0, 20).Draw(t, "skip"), rapid.IntRange(0, 20).Draw(t, "limit")
		}
		var order []string
		for range rapid.IntRange(0, 2).Draw(t, "orders") {
			c := filterColumn(rapid.SampledFrom([]Type{String, Integer, Decimal5, DateTime, Boolean}).Draw(t, "by"), rapid.IntRange(0, 3).Draw(t, "indexed") > 0)
			order = append(order, c+rapid.SampledFrom([]string{"", " asc", " desc"}).Draw(t, "way"))
		}
		q.OrderBy = strings.Join(order, ", ")
		fast, err := w.Session.List(w.ctx, "T", q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		want, err := slow.List(w.ctx, "T", q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if a, b := ids(fast), ids(want); a != b {
			s, _ := w.Schema(w.ctx, "T")
			p, _ := s.plan(q, false)
			t.Fatalf("%+v\nby the index %s\nby each row  %s\nplan %+v", q, a, b, p.cond)
		}
		s, _ := w.Schema(w.ctx, "T")
		if p, _ := s.plan(q, false); p.cond != nil {
			indexed++
			if len(fast) > 0 {
				matched++
			}
		}
	})
	if indexed < 20 || matched < 10 {
		t.Errorf("only %d filters were answered by the index, %d of them with rows", indexed, matched)
	}
}

func ids(rows []*Row) string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprint(r.ObjectID))
	}
	return strings.Join(out, " ")
}

// An order without an index is that of an index.
func TestOrder(t *testing.T) { both(t, testOrder) }

func testOrder(t *testing.T, w *world) {
	filterWorld(w)
	types := []Type{String, Integer, Decimal2, Decimal5, Boolean, DateTime}
	var same []map[string]any // the same values in both columns
	for _, r := range w.rows("T", Query{}) {
		values := map[string]any{ObjectID: r.ObjectID}
		for _, typ := range types {
			values[filterColumn(typ, false)] = r.Values[filterColumn(typ, true)]
		}
		same = append(same, values)
	}
	_, err := w.Upsert(w.ctx, "T", same, UpsertOptions{})
	w.ok(err)
	for _, typ := range types {
		for _, way := range []string{" asc", " desc", " desc, ObjectId desc"} {
			for _, page := range []Query{{}, {Skip: 5, Limit: 10}, {Skip: 59}, {Skip: 100, Limit: 1}} {
				byIndex, bySort := page, page
				byIndex.OrderBy, bySort.OrderBy = filterColumn(typ, true)+way, filterColumn(typ, false)+way
				if a, b := ids(w.rows("T", byIndex)), ids(w.rows("T", bySort)); a != b {
					t.Errorf("%s%s %+v\nby the index %s\nby sorting   %s", typ, way, page, a, b)
				}
			}
		}
	}
}

// TestS55_Filters gives filters and values that would mean something else if
// they were pasted anywhere.
func TestS55_Filters(t *testing.T) { both(t, testFilterPayloads) }

func testFilterPayloads(t *testing.T, w *world) {
	w.settings()
	payloads := []string{"'", "''", "' or '1' eq '1", "') or (Key ne '", "'; DROP TABLE table_rows; --", "' UNION SELECT * FROM meta --", "\\", "\\'", "%", "_", "x' AND 1=1 --", "$1", "?1", "@a", ":a", "/*", "\"", "`", "\u2019", "ʼ", "＇",
		"{{Variables.x}}", "${HOME}", "null", "true", "a\nb", "\u202e", "\ufeff"}
	for i, p := range payloads {
		w.insert("Settings", map[string]any{"Key": p, "Data2": fmt.Sprint(i)})
	}
	for i, p := range payloads {
		quoted := strings.ReplaceAll(p, "'", "''")
		for _, f := range []string{"Key eq '" + quoted + "'", "Key in ('" + quoted + "')", "Data2 eq '" + fmt.Sprint(i) + "' and Key eq '" + quoted + "'", "not (Key ne '" + quoted + "')"} {
			if rows := w.rows("Settings", Query{Filter: f}); len(rows) != 1 || rows[0].Values["Data2"] != fmt.Sprint(i) {
				t.Errorf("%q finds %d rows", f, len(rows))
			}
		}
		// Pasted without care, it is refused or finds what it says, and does
		// nothing else.
		rows, err := w.Session.List(w.ctx, "Settings", Query{Filter: "Key eq '" + p + "'"})
		if e, ok := errors.AsType[*FilterError](err); err != nil && (!ok || e.At == 0 || e.Hint == "") {
			t.Errorf("%q: %v", p, err)
		}
		if strings.Contains(p, "or ") && err == nil && len(rows) == 1 {
			t.Errorf("%q is taken for a text", p)
		}
		for _, order := range []string{p, "Key " + p, "Key, " + p} {
			if _, err := w.Session.List(w.ctx, "Settings", Query{OrderBy: order}); err == nil && strings.TrimSpace(p) != "" {
				t.Errorf("order %q is taken", order)
			}
		}
	}
	if s, err := w.Schema(w.ctx, "Settings"); err != nil || s.Rows != int64(len(payloads)) {
		t.Errorf("in the end %+v, %v", s, err)
	}
}

func TestFilterErrors(t *testing.T) {
	w := filterWorld(newWorld(t))
	for f, want := range map[string]string{
		"Nam eq 'x'":                            "table T, filter, character 1: there is no column Nam; the columns are StringI, IntegerI",
		"stringI eq 'x'":                        "table T, filter, character 1: there is no column stringI; it is written StringI; the columns are ",
		"StringI eq 'x' and Hidden eq 'canary'": "table T, filter, character 20: column Hidden is secret: what rows a filter finds would tell its value; filter by another column and read the secret from the row",
		"Version eq 1":                          "table T, filter, character 1: there is no column Version",
	} {
		if _, err := w.Session.List(w.ctx, "T", Query{Filter: f}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", f, err, want)
		}
	}
	if _, err := w.Session.List(w.ctx, "T", Query{OrderBy: "Hidden"}); err == nil || !strings.Contains(err.Error(), "column Hidden is secret: what rows come first would tell its value") {
		t.Errorf("order by a secret: %v", err)
	}
	if _, err := w.Session.List(w.ctx, "No", Query{}); !errors.Is(err, ErrNoTable) || err.Error() != `there is no table "No"` {
		t.Errorf("no table: %v", err)
	}
	// The title goes by its own name and by that of the documents.
	w.settings()
	w.insert("Settings", map[string]any{"Title": "a"})
	if rows := w.rows("Settings", Query{Filter: "Title eq 'a'", OrderBy: "Title desc"}); len(rows) != 1 || rows[0].Value("Title") != "a" || rows[0].Value("Key") != "a" || rows[0].Value("Nothing") != nil {
		t.Errorf("by Title: %+v", rows)
	}
}

// Every comparison of every kind of column with values that lie close together.
func TestEveryComparison(t *testing.T) { both(t, testEveryComparison) }

func testEveryComparison(t *testing.T, w *world) {
	filterWorld(w)
	s, err := w.Schema(w.ctx, "T")
	w.ok(err)
	var rows []store.Row
	w.ok(w.st.FindRows(w.ctx, store.RowQuery{Table: s.ID}, func(r store.Row) (bool, error) {
		rows = append(rows, r)
		return true, nil
	}))
	check := func(filter string) {
		t.Helper()
		p, err := s.plan(Query{Filter: filter}, false)
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		if p.cond == nil && p.exact {
			return // all rows
		}
		var want, got []string
		for _, r := range rows {
			data, err := decodeCells(r.Data)
			w.ok(err)
			if odata.Match(p.filter, s.getter(r, data)) {
				want = append(want, fmt.Sprint(r.ID))
			}
		}
		for _, r := range w.rows("T", Query{Filter: filter}) {
			got = append(got, fmt.Sprint(r.ObjectID))
		}
		if a, b := strings.Join(got, " "), strings.Join(want, " "); a != b {
			t.Errorf("%.80s finds\n%s, want\n%s", filter, a, b)
		}
	}
	for _, typ := range []Type{String, Integer, Decimal2, Decimal5, DateTime, Boolean, Reference} {
		name, literals := filterColumn(typ, true), []string{"null"}
		for _, v := range filterValues(typ) {
			literals = append(literals, literal(v))
		}
		ops := []string{"eq", "ne", "gt", "ge", "lt", "le"}
		switch typ {
		case Integer, Decimal2, Decimal5:
			literals = append(literals, "0.001", "1.994", "-0.000001", "1.5", "-1.005", "9223372036854775807", "-9223372036854775808", "2147483648")
		case Reference:
			name, literals = "Ref", []string{"null", "0", "1", "1.5", "2"}
		case Boolean:
			ops = ops[:2]
		}
		if testing.Short() || t.Name() != "TestEveryComparison/sqlite" { // each comparison once is enough where a network lies between
			ops = ops[:min(len(ops), 4)]
		}
		for _, l := range literals {
			for _, op := range ops {
				check(name + " " + op + " " + l)
			}
			check(name + " in (" + l + ")")
			if typ == String && l != "null" {
				check("startswith(" + name + "," + l + ")")
				check("not startswith(" + name + "," + l + ") and " + name + " ne null")
			}
		}
	}
}
