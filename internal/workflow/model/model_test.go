package model_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func TestNamesAreFoundByEitherCase(t *testing.T) {
	request := (&model.Request{Path: "/x", Method: "GET", Headers: map[string]string{"Cookie": "c"}, Body: map[string]any{"fileName": "f"}}).Object()
	row := model.Row{ObjectID: 7, Values: map[string]any{"Key": "k", "objectId": "user's", "ObjectId": "no"}, Columns: []string{"Key"}}.Object()
	for _, c := range []struct {
		o    *model.Object
		name string
		want any
	}{
		{request, "Body", map[string]any{"fileName": "f"}}, {request, "body", map[string]any{"fileName": "f"}},
		{request, "rawBody", ""}, {request, "method", "GET"}, {request, "METHOD", nil}, {request, "fileName", nil}, {request, "", nil},
		{row, "ObjectId", int64(7)}, {row, "objectId", "user's"}, {row, "key", nil}, {row, "Key", "k"},
		{model.Row{ObjectID: 8}.Object(), "objectId", int64(8)},
		{model.Row{ObjectID: 8, Version: 3}.Object(), "version", int64(3)},
		{model.Response{StatusCode: 201}.Object(), "statusCode", int64(201)},
		{model.ChildResult{WorkflowOutput: "o", WorkflowInstanceID: "i"}.Object(), "workflowInstanceId", "i"},
	} {
		got, ok := c.o.Get(c.name)
		if !reflect.DeepEqual(got, c.want) || ok != (c.want != nil) {
			t.Errorf("%s %q = %v, %v; want %v", c.o.Kind(), c.name, got, ok, c.want)
		}
	}
	changed := row.With("ObjectId", int64(9)).With("version", int64(2))
	if v, _ := changed.Get("Version"); v != int64(2) {
		t.Errorf("with a version: %v", changed.Map())
	}
	if v, _ := row.Get("ObjectId"); v != int64(7) {
		t.Error("With changed the object itself")
	}
}

func TestJSONShowsEachMemberOnce(t *testing.T) {
	row := model.Row{ObjectID: 7, Values: map[string]any{"B": "<&>", "A": nil}, Columns: []string{"B"}}.Object()
	b, err := json.Marshal(map[string]any{"row": row, "raw": model.JSON(`{"z":1.50,"a":2}`)})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"raw":{"z":1.50,"a":2},"row":{"ObjectId":7,"B":"\u003c\u0026\u003e","A":null}}`; string(b) != want {
		t.Errorf("= %s\nwant %s", b, want)
	}
}

func TestValuesSurviveTheStore(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	row := model.Row{ObjectID: 7, Values: map[string]any{"Key": "k", "At": at, "Nested": model.Row{ObjectID: 8}.Object()}}.Object()
	for _, v := range []any{
		nil, true, "text", "\x00\u2028\"\\", int64(5), int64(-1), int64(math.MaxInt64), 1.5, 1e300, at, []byte{0, 255}, []byte{},
		[]any{}, map[string]any{}, []any{nil, []any{row}}, row,
		map[string]any{"a": map[string]any{"b": at}, "": "blank", "__proto__": int64(1)},
		map[string]any{"$freshet": "time", "v": "2026-01-02T03:04:05Z"},
		map[string]any{"$freshet": map[string]any{"$freshet": "row"}},
		[]any{map[string]any{"$freshet": "row", "v": []any{}}},
		model.NewObject(model.KindChild, model.Member{Name: "WorkflowOutput", Value: map[string]any{"$freshet": "bytes", "v": "AA=="}}),
	} {
		b, err := model.Marshal(v)
		if err != nil {
			t.Errorf("%v: %v", v, err)
			continue
		}
		got, err := model.Unmarshal(b)
		if err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%#v came back as %#v, %v (%s)", v, got, err, b)
		}
	}
	// What is JSON comes back decoded, with its meaning.
	b, err := model.Marshal(model.JSON(`{"a":[1,{"$freshet":"time","v":"2026-01-02T03:04:05Z"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := model.Unmarshal(b)
	if want := model.Plain(model.JSON(`{"a":[1,{"$freshet":"time","v":"2026-01-02T03:04:05Z"}]}`)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("JSON came back as %v, %v", got, err)
	}
	// Structures of Go are values as encoding/json has them; what has no JSON is refused.
	b, err = model.Marshal(map[string]any{"s": []string{"a"}, "n": int32(3), "f": math.NaN()})
	if err != nil || string(b) != `{"f":null,"n":3,"s":["a"]}` {
		t.Errorf("= %s, %v", b, err)
	}
	if _, err := model.Marshal(func() {}); err == nil {
		t.Error("a function was stored")
	}
}

func TestDepthIsLimited(t *testing.T) {
	nest := func(n int, wrap func(any) any) any {
		var v any = "x"
		for range n {
			v = wrap(v)
		}
		return v
	}
	list := func(v any) any { return []any{v} }
	object := func(v any) any {
		return model.NewObject(model.KindChild, model.Member{Name: "WorkflowOutput", Value: v})
	}
	for _, wrap := range []func(any) any{list, object} {
		b, err := model.Marshal(nest(model.MaxDepth, wrap))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.Unmarshal(b); err != nil {
			t.Errorf("what was stored does not come back: %v", err)
		}
		if _, err := model.Marshal(nest(model.MaxDepth+1, wrap)); !errors.Is(err, model.ErrDepth) {
			t.Errorf("one level more: %v", err)
		}
	}
	deep := strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6)
	if _, err := model.ParseJSON([]byte(deep)); !errors.Is(err, model.ErrDepth) {
		t.Errorf("ParseJSON: %v", err)
	}
	if _, err := model.Unmarshal([]byte(deep)); !errors.Is(err, model.ErrDepth) {
		t.Errorf("Unmarshal: %v", err)
	}
}

func TestParseJSON(t *testing.T) {
	for text, want := range map[string]any{
		` {"b":1,"a":1.50} `: model.JSON(`{"b":1,"a":1.50}`), `[1]`: model.JSON(`[1]`), `5`: int64(5), `1.5`: 1.5, `"x"`: "x", `true`: true, `null`: nil,
		"\ufeff[]": model.JSON(`[]`), `12345678901234567890`: 1.2345678901234567e19,
	} {
		if got, err := model.ParseJSON([]byte(text)); err != nil || got != want {
			t.Errorf("%s = %#v, %v; want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{``, ` `, `{`, `{"a":}`, `[1] 2`, `nope`, "[\"\n\"]"} {
		if v, err := model.ParseJSON([]byte(text)); err == nil {
			t.Errorf("%q = %v", text, v)
		}
	}
	plain := model.Plain([]any{model.JSON(`{"a":[9007199254740993,0.5]}`), model.Row{ObjectID: 1}.Object()})
	if want := []any{map[string]any{"a": []any{int64(9007199254740993), 0.5}}, map[string]any{"ObjectId": int64(1)}}; !reflect.DeepEqual(plain, want) {
		t.Errorf("Plain = %v", plain)
	}
}
