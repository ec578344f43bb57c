package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// Values become what the column holds, whoever gives them, or an error that
// names table, column and value.
func TestTypes(t *testing.T) {
	w := newWorld(t)
	w.create("Target", Column{Name: "Name", Type: String})
	to := w.insert("Target", map[string]any{"Name": "a"}).ObjectID
	instant := time.Date(2024, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		t    Type
		in   any
		want any // as JSON; an error: its text
	}{
		{String, "x", `"x"`}, {String, "", `""`}, {String, nil, `null`}, {String, 12.0, `"12"`}, {String, 0.1, `"0.1"`}, {String, 1e21, `"1e+21"`}, {String, true, `"true"`}, {String, json.Number("1.50"), `"1.50"`},
		{String, instant, `"2024-11-20T12:00:00.000Z"`}, {String, map[string]any{"a": "<"}, `"{\"a\":\"\u003c\"}"`}, {String, []any{1.0, "b"}, `"[1,\"b\"]"`},
		{String, "a\x00b", errors.New("has a zero byte")}, {String, "\xff", errors.New("is not UTF-8 text")}, {String, strings.Repeat("x", maxValue+1), errors.New("has more than 8 MiB")},
		{Integer, 12.0, `12`}, {Integer, "12", `12`}, {Integer, " 12 ", `12`}, {Integer, "", `null`}, {Integer, json.Number("1e3"), `1000`}, {Integer, 12.5, errors.New("12.5 is not a whole number")},
		{Integer, "x", errors.New(`"x" is not a number`)}, {Integer, true, errors.New("true is not a number")}, {Integer, 2147483648.0, errors.New("is beyond an integer of 32 bits: make the column a bigint")}, {Integer, math.NaN(), errors.New("NaN is not a number")},
		{Integer, []any{}, errors.New("a list is not a number")}, {Integer, map[string]any{}, errors.New("an object is not a number")}, {Integer, "0x10", errors.New("is not a number")}, {Integer, "1e999999999", errors.New("is out of range")},
		{BigInteger, "9223372036854775807", `9223372036854775807`}, {BigInteger, json.Number("9007199254740993"), `9007199254740993`}, {BigInteger, "9223372036854775808", errors.New("is out of range")}, {BigInteger, 1e300, errors.New("is out of range")},
		{Decimal2, "12.345", `12.35`}, {Decimal2, "-12.345", `-12.35`}, {Decimal2, 0.1 + 0.2, `0.30`}, {Decimal2, "12.344999", `12.34`}, {Decimal2, "-0.001", `0.00`}, {Decimal2, 7, `7.00`}, {Decimal2, "92233720368547758.07", `92233720368547758.07`}, {Decimal2, "92233720368547758.08", errors.New("is out of range")},
		{Decimal5, "0.00001", `0.00001`}, {Decimal5, "-1.5", `-1.50000`}, {Decimal5, "1.000005", `1.00001`},
		{Boolean, true, `true`}, {Boolean, "True", `true`}, {Boolean, 0.0, `false`}, {Boolean, "1", `true`}, {Boolean, "", `null`}, {Boolean, "yes", errors.New(`"yes" is neither true nor false`)}, {Boolean, 2.0, errors.New("2 is neither true nor false")},
		{DateTime, instant, `"2024-11-20T12:00:00Z"`}, {DateTime, "2024-11-20T14:00:00.1234567+02:00", `"2024-11-20T12:00:00.123Z"`}, {DateTime, "2024-11-20 12:00:00Z", `"2024-11-20T12:00:00Z"`}, {DateTime, "2024-11-20", `"2024-11-20T00:00:00Z"`},
		{DateTime, "2024-11-20T12:00:00", `"2024-11-20T12:00:00Z"`}, {DateTime, "", `null`}, {DateTime, "tomorrow", errors.New(`"tomorrow" is not a date: write it as 2024-11-20T12:00:00Z`)}, {DateTime, 1732104000000.0, errors.New("is not a date")},
		{URL, " https://a.example/x?y=1 ", `"https://a.example/x?y=1"`}, {URL, "https://a.example/\r\nX: y", errors.New("is not a URL: it has control characters")}, {Embed, "<b>", `"\u003cb\u003e"`},
		{Reference, to, fmt.Sprint(to)}, {Reference, float64(to), fmt.Sprint(to)}, {Reference, fmt.Sprint(to), fmt.Sprint(to)}, {Reference, map[string]any{"ObjectId": float64(to)}, fmt.Sprint(to)}, {Reference, "a", fmt.Sprint(to)}, {Reference, 0.0, `null`}, {Reference, "", `null`},
		{Reference, 4711.0, errors.New("4711 is no row of table Target")}, {Reference, "nobody", errors.New(`"nobody" names 0 rows of table Target`)}, {Reference, -1.0, errors.New("is not the number of a row")}, {Reference, map[string]any{}, errors.New("has no ObjectId")},
	} {
		name := "T" + string(c.t)
		if _, err := w.Schema(w.ctx, name); err != nil {
			col := Column{Name: "V", Type: c.t}
			if c.t == Reference {
				col.To = "Target"
			}
			w.create(name, Column{Name: "Name", Type: String}, col)
		}
		r, err := w.Insert(w.ctx, name, map[string]any{"V": c.in})
		if want, isError := c.want.(error); isError {
			if err == nil || !strings.Contains(err.Error(), want.Error()) || !strings.HasPrefix(err.Error(), "table "+name+", column V: ") || len(err.Error()) > 300 {
				t.Errorf("%s of %.40v: %v, want %v", c.t, c.in, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s of %.40v: %v", c.t, c.in, err)
			continue
		}
		if got, _ := json.Marshal(r.Values["V"]); string(got) != c.want {
			t.Errorf("%s of %.40v is %s, want %s", c.t, c.in, got, c.want)
		}
		again, err := w.Get(w.ctx, r.ObjectID, false)
		w.ok(err)
		if a, b := fmt.Sprint(again.Values), fmt.Sprint(r.Values); a != b {
			t.Errorf("%s reads back as %s, not %s", c.t, a, b)
		}
	}
	// Scripts have one kind of number.
	r, err := w.ForRun("run:1", nil).Insert(w.ctx, "Tdecimal2", map[string]any{"V": "12.5"})
	w.ok(err)
	if r.Values["V"] != 12.5 {
		t.Errorf("a run sees %#v", r.Values["V"])
	}
}

func TestTypeNames(t *testing.T) {
	for s, want := range map[string]Type{"1": Reference, "3": Decimal2, "5": Boolean, "6": String, "7": DateTime, "0": BigInteger, "9": Embed, "Big Integer": BigInteger, "Decimal 2": Decimal2, "Decimal 5": Decimal5,
		"True/False": Boolean, "String": String, "DateTime": DateTime, "Url": URL, "decimal": Decimal5, "text": String} {
		if got, secret, err := ParseType(s); err != nil || got != want || secret {
			t.Errorf("%s is %s, %v", s, got, err)
		}
	}
	if got, secret, err := ParseType("secret"); got != String || !secret || err != nil {
		t.Errorf("secret is %s, %v, %v", got, secret, err)
	}
	for _, s := range []string{"", "10", "-1", "number", "strng"} {
		if got, _, err := ParseType(s); err == nil {
			t.Errorf("%q is taken as %s", s, got)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Run("what is not given stays, or goes with ClearOmitted", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		r := w.insert("Settings", map[string]any{"Key": "a", "Data1": "s", "Data2": "x"})
		u, err := w.Update(w.ctx, r.ObjectID, map[string]any{"Data2": "y"}, UpdateOptions{})
		w.ok(err)
		if fmt.Sprint(u.Values) != "map[Data1:[secret] Data2:y Key:a]" || u.Version != 2 {
			t.Errorf("%+v", u)
		}
		if u, err = w.Update(w.ctx, r.ObjectID, map[string]any{"Key": "a", "Data2": "y"}, UpdateOptions{}); err != nil || u.Version != 2 {
			t.Errorf("an update that changes nothing: %+v, %v", u, err)
		}
		u, err = w.Update(w.ctx, r.ObjectID, map[string]any{"Key": "b"}, UpdateOptions{ClearOmitted: true})
		w.ok(err)
		if fmt.Sprint(u.Values) != "map[Data1:<nil> Data2:<nil> Key:b]" || u.Version != 3 {
			t.Errorf("%+v", u)
		}
		if rows := w.rows("Settings", Query{Filter: "Key eq 'a'"}); len(rows) != 0 {
			t.Error("the index has the old key")
		}
		if _, err := w.Update(w.ctx, r.ObjectID, map[string]any{"Key": "c"}, UpdateOptions{Version: 2}); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "is at version 3, not 2") {
			t.Errorf("at another version: %v", err)
		}
		// What a run read may be written back as it was.
		whole, err := w.run.Get(w.ctx, r.ObjectID, false)
		w.ok(err)
		whole.Values[ObjectID] = float64(r.ObjectID)
		if u, err = w.Update(w.ctx, r.ObjectID, whole.Values, UpdateOptions{}); err != nil || u.Version != 3 {
			t.Errorf("written back: %+v, %v", u, err)
		}
	})
	t.Run("numbers of rows are those of the server", func(t *testing.T) {
		w := newWorld(t)
		w.create("A")
		w.create("B")
		seen := map[int64]bool{}
		for i := range 6 {
			id := w.insert([]string{"A", "B"}[i%2], map[string]any{"Title": "x"}).ObjectID
			if seen[id] {
				t.Errorf("%d twice", id)
			}
			seen[id] = true
			if i == 4 {
				w.ok(w.Delete(w.ctx, id, 0))
			}
		}
	})
	t.Run("history has every change with who made it, and seals what is secret", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		r := w.insert("Settings", map[string]any{"Key": "a", "Data1": "canary-1"})
		_, err := w.run.Update(w.ctx, r.ObjectID, map[string]any{"Data1": "canary-2", "Data2": "x"}, UpdateOptions{})
		w.ok(err)
		_, err = w.Update(w.ctx, r.ObjectID, map[string]any{"Data2": "y"}, UpdateOptions{})
		w.ok(err)
		show := func(list []*Change, err error) string {
			t.Helper()
			w.ok(err)
			var out []string
			for _, h := range list {
				out = append(out, fmt.Sprintf("%d %s %s %v/%v", h.Version, h.Action, h.By, h.Values["Data1"], h.Values["Data2"]))
			}
			return strings.Join(out, "; ")
		}
		if got, want := show(w.run.History(w.ctx, r.ObjectID, HistoryQuery{Current: true})), "3 update key:test#1 canary-2/y; 2 update run:1 canary-2/x; 1 insert key:test#1 canary-1/<nil>"; got != want {
			t.Errorf("history\n%s\n%s", got, want)
		}
		if got, want := show(w.History(w.ctx, r.ObjectID, HistoryQuery{Query: Query{OrderBy: "Version asc", Filter: "Version gt 1", Limit: 1}})), "2 update run:1 [secret]/x"; got != want {
			t.Errorf("history\n%s\n%s", got, want)
		}
		w.ok(w.Delete(w.ctx, r.ObjectID, 3))
		if got, want := show(w.run.History(w.ctx, r.ObjectID, HistoryQuery{Query: Query{Limit: 2}})), "4 delete key:test#1 <nil>/<nil>; 3 update key:test#1 <nil>/y"; got != want {
			t.Errorf("after the delete\n%s\n%s", got, want)
		}
		if _, err := w.History(w.ctx, 4711, HistoryQuery{}); !errors.Is(err, ErrNoRow) {
			t.Errorf("of no row: %v", err)
		}
		small := New(Options{Store: w.st, Sealer: w.Tables.o.Sealer, Keep: 3}).As("me")
		r = w.insert("Settings", map[string]any{"Key": "b", "Data1": "s"})
		for i := range 10 {
			_, err := small.Update(w.ctx, r.ObjectID, map[string]any{"Data2": fmt.Sprint(i)}, UpdateOptions{})
			w.ok(err)
		}
		if list, err := small.History(w.ctx, r.ObjectID, HistoryQuery{Current: true}); err != nil || len(list) != 3 || list[0].Version != 11 {
			t.Errorf("%d versions are kept, %v", len(list), err)
		}
	})
	t.Run("references are held, expanded and shown to who deletes", func(t *testing.T) {
		w := newWorld(t)
		w.create("Person", Column{Name: "Name", Type: String}, Column{Name: "Boss", Type: Reference, To: "Person"}, Column{Name: "Pin", Type: String, Secret: true})
		a := w.insert("Person", map[string]any{"Name": "a", "Pin": "canary"})
		b := w.insert("Person", map[string]any{"Name": "b", "Boss": a.ObjectID})
		_, err := w.Update(w.ctx, a.ObjectID, map[string]any{"Boss": b.ObjectID}, UpdateOptions{}) // a circle
		w.ok(err)
		rows := w.rows("Person", Query{Expand: true, Filter: fmt.Sprintf("Boss eq %d", a.ObjectID)})
		if len(rows) != 1 {
			t.Fatalf("%d rows", len(rows))
		}
		boss, ok := rows[0].Values["Boss"].(*Row)
		if !ok || boss.Values["Name"] != "a" || boss.Values["Boss"] != b.ObjectID || boss.Values["Pin"] != freshet.Redacted {
			t.Errorf("expanded %+v", rows[0].Values["Boss"])
		}
		if text, err := json.Marshal(rows[0]); err != nil || !strings.Contains(string(text), fmt.Sprintf(`"Boss":{"ObjectId":%d,"Name":"a"`, a.ObjectID)) {
			t.Errorf("%s, %v", text, err)
		}
		err = w.Delete(w.ctx, a.ObjectID, 0)
		if e, ok := errors.AsType[*ReferencedError](err); !ok || err.Error() != fmt.Sprintf("row %d of table Person is referred to by row %d of table Person (Boss)", a.ObjectID, b.ObjectID) {
			t.Errorf("delete = %v, %v", e, err)
		}
		// Expanded rows are written back as the numbers that they are.
		_, err = w.Update(w.ctx, b.ObjectID, rows[0].Values, UpdateOptions{})
		w.ok(err)
		_, err = w.Update(w.ctx, b.ObjectID, map[string]any{"Boss": b.ObjectID}, UpdateOptions{})
		w.ok(err)
		w.ok(w.Delete(w.ctx, a.ObjectID, 0))
		w.ok(w.Delete(w.ctx, b.ObjectID, 0)) // which refers to itself
		w.create("Task", Column{Name: "Name", Type: String}, Column{Name: "Who", Type: Reference, To: "Person"})
		if err := w.Drop(w.ctx, "Person"); err == nil || err.Error() != "table Person is referred to by column Who of table Task" {
			t.Errorf("drop = %v", err)
		}
		w.ok(w.Drop(w.ctx, "Task"))
		w.ok(w.Drop(w.ctx, "Person"))
	})
	t.Run("an upsert adds, changes, makes columns, and does all or nothing", func(t *testing.T) {
		w := newWorld(t)
		w.create("Log", Column{Name: "Name", Type: String})
		first := []map[string]any{{"Name": "a", "Code": json.Number("1"), "At": time.Unix(0, 0), "Ok": true, "Rate": 1.0}, {"Name": "b", "Code": json.Number("2"), "Rate": 1.5, "Note": nil}}
		done, err := w.Upsert(w.ctx, "Log", first, UpsertOptions{Key: "Code", AddColumns: true})
		w.ok(err)
		s, err := w.Schema(w.ctx, "Log")
		w.ok(err)
		var got []string
		for _, c := range s.Columns {
			got = append(got, c.Name+" "+string(c.Type))
		}
		if strings.Join(got, ", ") != "Name string, At datetime, Code bigint, Ok boolean, Rate decimal5" || len(done) != 2 || s.Rows != 2 {
			t.Errorf("columns %v, %d rows", got, s.Rows)
		}
		done, err = w.Upsert(w.ctx, "Log", []map[string]any{{"Code": "2", "Name": "B"}, {"Code": 3.0}, {"Code": 1.0, "Name": "a"}}, UpsertOptions{Key: "Code"})
		w.ok(err)
		if done[0].Action != Updated || done[1].Action != Inserted || done[2].Action != "" || done[0].Row.Values["Rate"] == nil {
			t.Errorf("%+v", done)
		}
		if _, err := w.Upsert(w.ctx, "Log", []map[string]any{{"Code": 9.0, "Name": "x"}, {"Code": "nine"}}, UpsertOptions{Key: "Code"}); err == nil {
			t.Error("a wrong key is taken")
		}
		if rows := w.rows("Log", Query{Filter: "Name eq 'x'"}); len(rows) != 0 {
			t.Error("half of an upsert was kept")
		}
		w.insert("Log", map[string]any{"Code": 3.0})
		if _, err := w.Upsert(w.ctx, "Log", []map[string]any{{"Code": 3.0}}, UpsertOptions{Key: "Code"}); err == nil || !strings.Contains(err.Error(), "is in 2 rows") {
			t.Errorf("a key of two rows: %v", err)
		}
		long := strings.Repeat("k", 300)
		for _, end := range []string{"1", "2", "1"} {
			_, err := w.Upsert(w.ctx, "Log", []map[string]any{{"Name": long + end}}, UpsertOptions{Key: "Name"})
			w.ok(err)
		}
		if n := len(w.rows("Log", Query{Filter: "startswith(Name,'kkk')"})); n != 2 {
			t.Errorf("%d rows of keys that begin alike", n)
		}
		if fmt.Sprint(first[0]["Name"]) != "a" || len(first[1]) != 4 {
			t.Error("what was given was changed")
		}
	})
	t.Run("a CSV comes back as it went", func(t *testing.T) {
		w := newWorld(t)
		w.create("All", Column{Name: "Name", Type: String}, Column{Name: "N", Type: Decimal5}, Column{Name: "At", Type: DateTime}, Column{Name: "B", Type: Boolean}, Column{Name: "S", Type: String, Secret: true})
		w.insert("All", map[string]any{"Name": "a \"b\",\nc", "N": "1.5", "At": "2024-11-20T12:00:00.5Z", "B": false, "S": "canary"})
		w.insert("All", map[string]any{"Name": ""})
		w.insert("All", nil)
		var out bytes.Buffer
		s, err := w.Schema(w.ctx, "All")
		w.ok(err)
		file, err := NewCSV(&out, s)
		w.ok(err)
		before := w.rows("All", Query{})
		w.ok(file.Write(before...))
		if strings.Contains(out.String(), "canary") {
			t.Error(out.String())
		}
		list, err := ReadCSV(strings.NewReader("\ufeff" + out.String()))
		w.ok(err)
		done, err := w.Upsert(w.ctx, "All", list, UpsertOptions{})
		w.ok(err)
		for _, d := range done {
			if d.Action != "" {
				t.Errorf("%s %+v", d.Action, d.Row)
			}
		}
		list, err = ReadCSV(strings.NewReader("Name,N,B,S\nnew,,true,x\n"))
		w.ok(err)
		if _, err = w.Upsert(w.ctx, "All", list, UpsertOptions{}); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]string{"": "the CSV file is empty", "a,a\n": "column 2 of the header has no name of its own", "a,b\n1\n": "line 2 of the CSV file: has another number of fields than the header",
			"a\n\"x\ny": "does not read", "a\n\xff\n": "line 2 of the CSV file: is not UTF-8 text"} {
			if _, err := ReadCSV(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
		}
	})
	t.Run("columns are added, and a column is found by its number", func(t *testing.T) {
		w := newWorld(t)
		s := w.create("A", Column{Name: "Name", Type: String}, Column{Name: "N", Type: Integer})
		for i := range 3 {
			w.insert("A", map[string]any{"Name": fmt.Sprint(i), "N": i})
		}
		id, err := w.AddColumn(w.ctx, "run:1", "A", Column{Name: "More", Type: String})
		w.ok(err)
		if id != 3 || w.rows("A", Query{})[0].Value("More") != nil {
			t.Errorf("column %d", id)
		}
		for _, c := range []Column{{Name: "More", Type: String}, {Name: "eq", Type: String}, {Name: "a b", Type: String}, {Name: "X", Type: "odd"}, {Name: "R", Type: Reference, To: "Nobody"}, {Name: ObjectID, Type: Integer}, {Name: "S", Type: String, Secret: true, Indexed: true}} {
			if _, err := w.AddColumn(w.ctx, "run:1", "A", c); err == nil {
				t.Errorf("%+v is taken", c)
			}
		}
		if _, err := w.Create(w.ctx, Schema{Name: "A"}); !errors.Is(err, ErrExists) {
			t.Errorf("made twice: %v", err)
		}
		for _, name := range []string{"", "12", " a", "a/b", "a\nb", strings.Repeat("x", 200), "a "} {
			if _, err := w.Create(w.ctx, Schema{Name: name}); err == nil {
				t.Errorf("a table %q", name)
			}
		}
		// A column that a key asks for is indexed with what is there.
		_, err = w.Upsert(w.ctx, "A", []map[string]any{{"N": 1, "Name": "one"}}, UpsertOptions{Key: "N"})
		w.ok(err)
		if s, err = w.Schema(w.ctx, "A"); err != nil || !s.Columns[1].Indexed {
			t.Errorf("%+v, %v", s, err)
		}
		if rows := w.rows("A", Query{Filter: "N ge 1", OrderBy: "N desc"}); len(rows) != 2 || rows[1].Values["Name"] != "one" {
			t.Errorf("%+v", rows)
		}
	})
}

// Whoever refers to a row and whoever deletes it do not both succeed; rows of a
// key are made once, whatever number of runs insert them.
func TestRaces(t *testing.T) { both(t, testRaces) }

func testRaces(t *testing.T, w *world) {
	w.create("To", Column{Name: "Name", Type: String})
	w.create("From", Column{Name: "Name", Type: String}, Column{Name: "R", Type: Reference, To: "To"})
	for range 10 {
		to := w.insert("To", map[string]any{"Name": "x"}).ObjectID
		var wg sync.WaitGroup
		var inserted, deleted error
		var from *Row
		wg.Go(func() { from, inserted = w.Insert(w.ctx, "From", map[string]any{"R": to}) })
		wg.Go(func() { deleted = w.Delete(w.ctx, to, 0) })
		wg.Wait()
		if (inserted == nil) == (deleted == nil) {
			t.Fatalf("insert %v, delete %v", inserted, deleted)
		}
		if inserted == nil {
			w.ok(w.Delete(w.ctx, from.ObjectID, 0))
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := w.Upsert(w.ctx, "From", []map[string]any{{"Name": "one"}, {"Name": fmt.Sprint(i)}}, UpsertOptions{Key: "Name"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows := w.rows("From", Query{Filter: "Name eq 'one'"}); len(rows) != 1 {
		t.Errorf("%d rows of one key", len(rows))
	}
	if s, err := w.Schema(w.ctx, "From"); err != nil || s.Rows != 9 || len(w.rows("From", Query{})) != 9 {
		t.Errorf("%d rows counted, %v", s.Rows, err)
	}
	// Columns that come while rows do.
	for i := range 4 {
		wg.Go(func() {
			if _, err := w.AddColumn(w.ctx, "run:1", "From", Column{Name: fmt.Sprint("C", i), Type: String, Indexed: true}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := w.Insert(w.ctx, "From", map[string]any{"Name": "later"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := w.Schema(w.ctx, "From")
	w.ok(err)
	names := s.Names()
	slices.Sort(names)
	if strings.Join(names, " ") != "C0 C1 C2 C3 Name R" {
		t.Errorf("columns %v", names)
	}
}
