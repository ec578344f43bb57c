package script

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// world is a World by hand.
type world struct {
	globals map[string]any
	funcs   map[string]func(args []any) (any, error)
}

func (w world) Global(name string) (any, bool) { v, ok := w.globals[name]; return v, ok }
func (w world) Globals() []string {
	var names []string
	for k := range w.globals {
		names = append(names, k)
	}
	return names
}
func (w world) Call(_ context.Context, name string, args []any) (any, error) {
	f := w.funcs[name]
	if f == nil {
		return nil, errors.New("no function " + name)
	}
	return f(args)
}

// testPrelude offers a way to call any function of the world.
const testPrelude = `(k => { k.define("call", k.call) })`

func open(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.Prelude == "" {
		o.Prelude = testPrelude
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func eval(t testing.TB, e *Engine, s *Session, w World, text string) (any, error) {
	t.Helper()
	p, err := e.Prepare(text)
	if err != nil {
		return nil, err
	}
	return s.Eval(t.Context(), p, w, 0)
}

func TestCompletionValues(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	for _, c := range []struct {
		text string
		want any
	}{
		{`1+1`, int64(2)},
		{`1.5`, 1.5},
		{`"a"+"\u0000b"`, "a\x00b"},
		{``, nil},
		{`// nothing`, nil},
		{`var x = 1`, nil},
		{`null`, nil},
		{`undefined`, nil},
		{`return 5`, int64(5)},
		{`return 5 // five`, int64(5)},
		{`if (true) { 7 } else { 8 }`, int64(7)},
		{`try { [{Data1:"x"}][0].Data1 } catch {}`, "x"},
		{`try { [][0].Data1 } catch {}`, nil},
		{`for (let i = 0; i < 3; i++) i`, int64(2)},
		{`r = 'x'`, "x"},
		{`let a = {b: [1, "2", null, true, undefined]}; a`, map[string]any{"b": []any{int64(1), "2", nil, true, nil}}},
		{`var result = {}; result.x = 1; return result`, map[string]any{"x": int64(1)}},
		{`new Date(0)`, time.Unix(0, 0).UTC()},
		{`[new Date(5)]`, []any{time.UnixMilli(5).UTC()}},
		{`new Uint8Array([1,2,255])`, []byte{1, 2, 255}},
		{`0/0`, nil},
		{`9007199254740991`, int64(9007199254740991)},
		{`1e300`, 1e300},
		{`3000000000`, int64(3000000000)},
		{`12345678901234567890n`, "12345678901234567890"},
		{`({big: 10n})`, map[string]any{"big": int64(10)}},
		{`(function(){})`, nil},
		{`null ?? "d"`, "d"},
		{`Promise.resolve(3).then(x => x + 1)`, int64(4)},
		{`(async () => { await null; return "later" })()`, "later"},
		{`[1,2,3].Count + [1].count`, int64(4)},
		{"`a${1}`", "a1"},
	} {
		got, err := eval(t, e, s, world{}, c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s = %#v, %v; want %#v", c.text, got, err, c.want)
		}
	}
}

func TestScriptsShareNothing(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	for _, c := range []struct{ first, then string }{
		{`leak = 1`, `typeof leak`},
		{`var leak = 1; function leak2() {}`, `typeof leak + typeof leak2 === "undefinedundefined" ? "undefined" : "leaked"`},
		{`globalThis.leak = 1`, `typeof leak`},
		{`Object.defineProperty(globalThis, "leak", {value: 1})`, `typeof leak`},
		{`JSON = 1`, `typeof JSON === "object" ? "undefined" : "leaked"`},
		{`delete globalThis.JSON`, `typeof JSON === "object" ? "undefined" : "leaked"`},
		{`JSON.parse = 1`, `typeof JSON.parse === "function" ? "undefined" : "leaked"`},
		{`Array.prototype.leak = 1`, `typeof [].leak`},
		{`String.prototype.trim = () => "leaked"`, `" undefined ".trim()`},
		{`Object.prototype.toString = () => "leaked"`, `"" + ({}) === "[object Object]" ? "undefined" : "leaked"`},
		{`({}).constructor.prototype.leak = 1`, `typeof ({}).leak`},
		{`let f = () => {}; f.call.leak = 1; call = 5`, `typeof call === "function" ? "undefined" : "leaked"`},
		{`Date.prototype.getTime = () => 1`, `new Date(7).getTime() === 7 ? "undefined" : "leaked"`},
		{`globalThis[Symbol.for("leak")] = 1`, `typeof globalThis[Symbol.for("leak")]`},
		{`({})["constr" + "uctor"]["proto" + "type"].toString = () => "leaked"`, `"" + ({}) === "[object Object]" ? "undefined" : "leaked"`},
		{`delete ({})["constr" + "uctor"]["proto" + "type"].valueOf`, `typeof ({}).valueOf === "function" ? "undefined" : "leaked"`},
		{`globalThis[1] = 1`, `typeof globalThis[1]`},
	} {
		if _, err := eval(t, e, s, world{}, c.first); err != nil {
			t.Errorf("%s: %v", c.first, err)
		}
		got, err := eval(t, e, s, world{}, c.then)
		if err != nil || got != "undefined" {
			t.Errorf("after %s: %s = %v, %v", c.first, c.then, got, err)
		}
	}
}

func TestGlobalsAndFunctions(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	boom := errors.New("the row is locked; try again")
	var got []any
	w := world{
		globals: map[string]any{"x": int64(2), "row": model.Row{ObjectID: 7, Values: map[string]any{"Key": "k", "objectId": "user's"}}.Object(),
			"raw": model.JSON(`{"z":1,"a":[1.50]}`), "at": time.UnixMilli(5), "JSON": "shadow", "__proto__": "odd"},
		funcs: map[string]func([]any) (any, error){
			"keep": func(a []any) (any, error) { got = a; return a, nil },
			"boom": func([]any) (any, error) { return nil, boom },
			"u":    func([]any) (any, error) { return Undefined{}, nil },
		},
	}
	for _, c := range []struct {
		text string
		want any
	}{
		{`x + 1`, int64(3)},
		{`var x = 5; x`, int64(5)},
		{`let x = 6; x`, int64(6)},
		{`row.ObjectId + row.Key`, "7k"},
		{`row.objectId`, "user's"},
		{`JSON.stringify === undefined`, true},
		{`at.getTime()`, int64(5)},
		{`raw.z`, int64(1)},
		{`globalThis["r" + "aw"].a[0]`, 1.5},
		{`typeof call("u")`, "undefined"},
		{`call("keep", {a: new Date(3)}, undefined, () => 1)[0].a.getTime()`, int64(3)},
		{`try { call("boom") } catch (e) { e.message }`, boom.Error()},
	} {
		v, err := eval(t, e, s, w, c.text)
		if err != nil || !reflect.DeepEqual(v, c.want) {
			t.Errorf("%s = %#v, %v; want %#v", c.text, v, err, c.want)
		}
	}
	if want := []any{map[string]any{"a": time.UnixMilli(3).UTC()}, nil, nil}; !reflect.DeepEqual(got, want) {
		t.Errorf("arguments = %#v, want %#v", got, want)
	}
	_, err := eval(t, e, s, w, "\n\ncall('boom')")
	var thrown *Error
	if !errors.Is(err, boom) || !errors.As(err, &thrown) || thrown.Line != 3 || err.Error() != boom.Error()+" (line 3)" {
		t.Errorf("error = %v", err)
	}
}

func TestErrors(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	for _, c := range []struct{ text, want string }{
		{"null.x", "TypeError: cannot read property 'x' of null (line 1)"},
		{"var a = 1\nvar b = nope\n", "ReferenceError: 'nope' is not defined (line 2)"},
		{"var a = 1\nreturn nope\n", "ReferenceError: 'nope' is not defined (line 2)"},
		{"throw 'plain'", "plain"},
		{"throw {code: 7}", `Error: {"code":7}`},
		{"throw {toString() { throw 1 }, get message() { throw 2 }}", "Error: an error that cannot be shown"},
		{"var x = ;", "SyntaxError: unexpected token in expression: ';' (line 1)"},
		{"var a\nreturn {;\n", "SyntaxError: invalid property name (line 2)"},
		{`{ "a": 1 }`, "SyntaxError: expecting ';' (line 1)"},
		{"})(); (function(){", "SyntaxError: unexpected token in expression: '}' (line 1)"},
	} {
		_, err := eval(t, e, s, world{}, c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v; want %s", c.text, err, c.want)
		}
	}
}

func BenchmarkSimple(b *testing.B) {
	e := open(b, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	w := world{globals: map[string]any{"x": int64(1)}}
	p, err := e.Prepare("x + 1")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for b.Loop() {
		if _, err := s.Eval(ctx, p, w, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMachine(b *testing.B) {
	e := open(b, Options{Spare: -1})
	for b.Loop() {
		m, err := e.newMachine()
		if err != nil {
			b.Fatal(err)
		}
		m.close()
	}
}
