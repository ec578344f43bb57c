package script

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lib "modernc.org/libquickjs"
)

// hostile are scripts that ask for all there is. Each must end its own
// evaluation with an error of the limit, or with a value; "" is a value.
var hostile = []struct {
	name, text string
	limits     string // of which one must be named; "-" for a value, "?" for any end
}{
	{"endless loop", `while(true){}`, "time"},
	{"endless recursion", `function f(){f()} f()`, "stack"},
	{"recursion through a getter", `var o = {get x() { return this.x }}; o.x`, "stack"},
	{"recursion through toString", `var o = {toString() { return "" + this }}; "" + o`, "stack"},
	{"recursion through sort", `function f() { [2,1].sort(f) } f()`, "stack"},
	{"regexp, lookahead", `/^(?=(a+)+$)/.test("a".repeat(30)+"b")`, "time"},
	{"regexp, nested quantifiers", `/^(a+)+$/.test("a".repeat(30)+"b")`, "time"},
	{"regexp, back reference", `/^(?=((a+)+))\1$(?!x)b/.test("a".repeat(5000)+"c")`, "?"},
	{"regexp, alternatives", `/(x+x+)+y/.test("x".repeat(40))`, "time"},
	{"20 million elements", `new Array(20000000).fill(1).length`, "length"},
	{"join of 50 million", `new Array(50000000).join("xy")`, "length"},
	{"replace into 400 MB", `"a".repeat(20000).replace(/a/g,"b".repeat(20000)).length`, "memory time"},
	{"repeat", `"x".repeat(1<<29).length`, "memory"},
	{"padStart", `"".padStart(1<<29,"ab").length`, "memory"},
	{"stringify", `JSON.stringify(new Array(5000000).fill({a:1})).length`, "length"},
	{"typed array", `new Uint8Array(1<<30).length`, "memory"},
	{"growing array buffer", `new ArrayBuffer(8, {maxByteLength: 1<<30}).resize(1<<30)`, "memory ?"},
	{"doubling", `var s="x";for(var i=0;i<29;i++)s+=s;s.length`, "memory time -"},
	{"5 million objects", `var a = []; for (;;) a.push({a: 1})`, "memory time"},
	{"sort of 2 million", `var a = []; for (var i = 0; i < 2000000; i++) a.push(Math.random()); a.sort((x, y) => x - y); 1`, "time memory"},
	{"nested list, flat", `var a = []; for (var i = 0; i < 3000000; i++) a = [a]; a.flat(Infinity).length`, "memory stack time"},
	{"nested list, stringify", `var a = []; for (var i = 0; i < 100000; i++) a = [a]; JSON.stringify(a)`, "stack memory time"},
	{"nested list, returned", `var a = []; for (var i = 0; i < 100000; i++) a = [a]; a`, "stack memory time"},
	{"deep JSON", `JSON.parse("[".repeat(3e6)+"]".repeat(3e6))`, "stack memory"},
	{"deep source in eval", `eval("(".repeat(1e6)+"1"+")".repeat(1e6))`, "stack"},
	{"deep source in Function", `new Function("return " + "[".repeat(1e6)+"]".repeat(1e6))`, "stack"},
	{"big integers", `(2n**200000n)**20n > 0n`, "?"},
	{"bigger integers", `var x = 2n; while (true) x = x ** 2n`, "?"},
	{"Proxy traps", `var p = new Proxy({}, {get: (t, k) => p[k]}); p.x`, "stack"},
	{"Proxy that owns all", `var p = new Proxy({}, {ownKeys: () => { while(true); }}); JSON.stringify(p)`, "time"},
	{"a Proxy returned", `new Proxy([], {get: (t, k) => k === "length" ? 1e9 : 1})`, "time memory output"},
	{"getter bomb, returned", `({get a() { while(true){} }})`, "time"},
	{"toJSON bomb", `({toJSON() { return {x: {toJSON() { while(true){} }}} }})`, "time"},
	{"toJSON that nests", `class A { toJSON() { return {x: new A()} } } new A()`, "stack memory"},
	{"toString bomb, thrown", `throw {get message() { while(true){} }}`, "time"},
	{"a message of 16 MB, thrown", `throw new Error("x".repeat(1<<24))`, "?"},
	{"catch and go on", `for (;;) try { while(true){} } catch (e) {} finally { for(;;); }`, "time"},
	{"catch memory and go on", `var a = []; for (;;) try { a.push("x".repeat(1<<20) + a.length) } catch (e) {}`, "time memory"},
	{"microtasks without end", `(async function f() { for (;;) await null })()`, "time promise"},
	{"microtasks that breed", `function f() { Promise.resolve().then(f); Promise.resolve().then(f) } f()`, "time memory promise -"},
	{"microtasks, dropped", `function f() { Promise.resolve().then(f) } f(); 1`, "time promise -"},
	{"thenable without end", `Promise.resolve({then(f) { f(this) }})`, "time memory promise"},
	{"promise never kept", `new Promise(() => {})`, "promise"},
	{"generator without end", `function* g() { while (true) yield 1 } Array.from(g())`, "time memory"},
	{"generator that delegates to itself", `function* g() { yield* g() } g().next()`, "stack memory"},
	{"spread of a long list", `Math.max(...new Array(10000000))`, "?"},
	{"apply with many arguments", `String.fromCharCode.apply(null, new Array(2e6).fill(65)).length`, "?"},
	{"symbols", `var o = {}; for (;;) o[Symbol()] = 1`, "time memory"},
	{"properties", `for (var i = 0;; i++) globalThis["p" + i] = 1`, "time memory"},
	{"a long output", `"x".repeat(5 << 20)`, "output"},
	{"a long output in a list", `[..."x".repeat(60000)].map(() => "y".repeat(100))`, "output memory"},
	{"Date out of range", `new Date(8.64e15 + 1).toISOString()`, "?"},
	{"label loop", `a: for (;;) { continue a }`, "time"},
	{"closures", `var f = () => 1; for (;;) { const g = f; f = () => g() }`, "time memory"},
	{"a deep chain of closures, called", `var f = () => 1; for (let i = 0; i < 100000; i++) { const g = f; f = () => g() } f()`, "stack time memory"},
	{"deep destructuring of strings", `var s = "a".repeat(1e6); for (;;) s.split("").reverse().join("")`, "time memory"},
	{"normalize", `"\u1E9B\u0323".repeat(1e6).normalize("NFKD").length`, "?"},
	{"stack in catch", `function f() { try { f() } catch (e) { f() } } f()`, "time stack"},
	{"deep new", `class A { constructor() { new A() } } new A()`, "stack"},
	{"weak maps", `var w = new WeakMap(), k = {}; for (;;) { const n = {}; w.set(n, k); k = n }`, "time memory"},
	{"a search without end", `Array.prototype.indexOf.call({length: 2**53}, 1)`, "length"},
	{"a sparse list without end", `var a = []; a.length = 2**32-1; a.reduce(x => x, 1)`, "length"},
	{"a quadratic search", `("a".repeat(1e7)).indexOf("a".repeat(5e6)+"b")`, "? memory"},
	{"a quadratic replace", `("a".repeat(1e7)).replaceAll("a".repeat(5e6)+"b", "")`, "? memory"},
	{"a search of long texts", `var s = "a".repeat(4e6), l = new Array(1e6).fill(s); l.indexOf("a".repeat(4e6-1) + "a")`, "?"},
	{"a sort of long texts", `var s = "a".repeat(4e6), l = new Array(1e5).fill(s); l[0] = "a".repeat(4e6-1) + "a"; l.sort()`, "time memory"},
	{"a list that holds itself twice, flat", `var a = []; for (var i = 0; i < 40; i++) a = [a, a]; a.flat(Infinity)`, "time memory"},
	{"a list that holds itself twice, stringify", `var a = []; for (var i = 0; i < 40; i++) a = [a, a]; JSON.stringify(a)`, "time memory"},
	{"a list that holds itself twice, joined", `var a = []; for (var i = 0; i < 40; i++) a = [a, a]; "" + a`, "time memory"},
	{"many short calls over a long text", `var s = "a".repeat(1e7); for (;;) s.includes("q")`, "time"},
	{"array from a length", `Array.from({length: 2**32-2})`, "time memory ?"},
	{"apply of a length", `Math.max.apply(null, {length: 2**31})`, "?"},
	{"a big integer out of a text", `BigInt("9".repeat(3e6))`, "?"},
	{"a number out of a text", `Number("9".repeat(1e7) + "e-1")`, "?"},
	{"eval of many names", `eval("var " + Array.from({length: 100000}, (_, i) => "a" + i).join())`, "?"},
	{"a regexp that counts", `/(?:(?:(?:(?:x{999}){999}){999}){999})/.test("x".repeat(1e6))`, "?"},
	{"an error while memory ends", `var a = []; try { for (;;) a.push("x".repeat(1000) + a.length) } catch (e) { for (;;) try { a.push({}); null.x } catch (e) { a.push(e) } }`, "memory time"},
	{"import", `import("os").then(() => "got it")`, "?"},
	{"import of a file", `import("/etc/passwd")`, "?"},
}

func TestF95_HostileScriptsEndAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a second for each script that loops")
	}
	e := open(t, Options{Spare: -1})
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			s := e.Open()
			defer s.Close()
			p, err := e.Prepare(c.text)
			if err != nil {
				t.Fatal(err)
			}
			limit := time.Minute // on a busy machine time must not be what ends it
			if strings.Contains(c.limits, "time") || strings.Contains(c.limits, "?") {
				limit = 0
			}
			v, err := s.Eval(t.Context(), p, world{}, limit)
			var l *LimitError
			switch {
			case errors.As(err, &l):
				if !strings.Contains(c.limits, string(l.Limit)) && !strings.Contains(c.limits, "?") {
					t.Errorf("ended by %s (%v), want %s", l.Limit, err, c.limits)
				}
			case !strings.ContainsAny(c.limits, "-?"):
				t.Errorf("= %.100v, %v; want the limit %s", v, err, c.limits)
			}
			// The run goes on: its next script has a machine.
			if v, err := eval(t, e, s, world{}, `1 + 1`); v != int64(2) {
				t.Errorf("afterwards 1 + 1 = %v, %v", v, err)
			}
		})
	}
}

// TestF95_NothingIsKept lets hostile scripts run beside good ones, and looks at
// what the process has afterwards.
func TestF95_NothingIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	e := open(t, Options{Time: 50 * time.Millisecond})
	before := resident(t)
	var wrong atomic.Int64
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := w; i < len(hostile); i += 4 {
				s := e.Open()
				p, err := e.Prepare(hostile[i].text)
				if err == nil {
					_, _ = s.Eval(t.Context(), p, world{}, 0)
				}
				s.Close()
			}
		})
	}
	stop := make(chan struct{})
	var good sync.WaitGroup
	good.Go(func() {
		p, err := e.Prepare(`call("f", 20) + 1`)
		if err != nil {
			t.Error(err)
			return
		}
		w := world{funcs: map[string]func([]any) (any, error){"f": func(a []any) (any, error) { return a[0].(int64) * 2, nil }}}
		for {
			select {
			case <-stop:
				return
			default:
			}
			s := e.Open()
			if v, err := s.Eval(t.Context(), p, w, time.Minute); err != nil || v != int64(41) {
				wrong.Add(1)
			}
			s.Close()
		}
	})
	wait.Wait()
	close(stop)
	good.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d good scripts failed beside the hostile ones", wrong.Load())
	}
	runtime.GC()
	if after := resident(t); before > 0 && after > before+64<<20 {
		t.Errorf("the process grew from %d to %d MiB", before>>20, after>>20)
	}
}

// resident is the memory of the process, 0 where that is not told.
func resident(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestS51_SourceAndInputAreLimited(t *testing.T) {
	e := open(t, Options{Spare: -1, Input: 1000})
	s := e.Open()
	defer s.Close()
	var deep any = "x"
	for range 300 {
		deep = []any{deep}
	}
	w := world{globals: map[string]any{"long": strings.Repeat("x", 2000), "list": []any{strings.Repeat("x", 2000)}, "deep": deep},
		funcs: map[string]func([]any) (any, error){"f": func([]any) (any, error) { return strings.Repeat("x", 2000), nil }, "g": func([]any) (any, error) { return nil, nil }}}
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("1+", 40000) + "1", "over its limit of 64 KiB"},
		{strings.Repeat("(", 30000) + "1" + strings.Repeat(")", 30000), "stack limit"},
		{strings.Repeat("[", 32000) + strings.Repeat("]", 32000), "stack limit"},
		{strings.Repeat("a=>", 20000) + "1", "stack limit"},
		{strings.Repeat("{", 30000) + strings.Repeat("}", 30000), "stack limit"},
		{"long.length", "over its limit of 1000 bytes"},
		{"list.length", "over its limit of 1000 bytes"},
		{`call("f")`, "over its limit of 1000 bytes"},
		{"deep", "200 levels"},
		{`var a = 1; for (let i = 0; i < 250; i++) a = [a]; call("g", a)`, "200 levels"},
		{`var a = 1; for (let i = 0; i < 250; i++) a = [a]; a`, "200 levels"},
	} {
		_, err := eval(t, e, s, w, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: %v; want %q", c.text, err, c.want)
		}
	}
}

// allowed is every name that a script finds in an empty world.
var allowed = strings.Fields(`Error EvalError RangeError ReferenceError SyntaxError TypeError URIError InternalError AggregateError
	Array Object Function Iterator parseInt parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape
	Infinity NaN undefined eval Number Boolean String Math Reflect Symbol globalThis BigInt Date RegExp JSON Proxy Map Set WeakMap WeakSet
	ArrayBuffer Uint8ClampedArray Int8Array Uint8Array Int16Array Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array
	Float16Array Float32Array Float64Array DataView Promise call Symbol(Symbol.toStringTag)`)

func TestS52_GlobalsAreThoseListed(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	v, err := eval(t, e, s, world{}, `Reflect.ownKeys(globalThis).map(String)`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range v.([]any) {
		got = append(got, name.(string))
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(allowed))
	if !slices.Equal(got, want) {
		t.Errorf("globals = %v\nwant %v", got, want)
	}
	// Whatever can be walked to from there is the language's own: no function
	// of the host's name, no value with the mark.
	v, err = eval(t, e, s, world{}, `
		const seen = new Set(), odd = [];
		const walk = (o, path) => {
			if ((typeof o !== "object" && typeof o !== "function") || o === null || seen.has(o)) return;
			seen.add(o);
			if (typeof o === "function" && /host|kernel/i.test(o.name)) odd.push(path);
			for (const k of Reflect.ownKeys(o)) {
				if (String(k).startsWith("~") || /^__(host|mark|clock|output)/.test(String(k))) odd.push(path + "." + String(k));
				const d = Object.getOwnPropertyDescriptor(o, k);
				for (const x of ["value", "get", "set"]) walk(d[x], path + "." + String(k));
			}
			walk(Object.getPrototypeOf(o), path + ".[[proto]]");
		};
		walk(globalThis, "g");
		return [seen.size > 500, odd]`)
	if want := []any{true, []any{}}; err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("walk = %v, %v", v, err)
	}
}

func TestS52_Escapes(t *testing.T) {
	e := open(t, Options{Spare: -1})
	for _, c := range []struct {
		text string
		want any
	}{
		{`this.constructor.constructor("return typeof process + typeof require")()`, "undefinedundefined"},
		{`(function(){}).constructor("return this")() === globalThis`, true},
		{`Function("return typeof Deno + typeof Bun + typeof WebAssembly + typeof std + typeof os + typeof scriptArgs + typeof print + typeof console")()`, strings.Repeat("undefined", 8)},
		{`typeof __loadScript + typeof bjson + typeof performance + typeof navigator + typeof gc + typeof setTimeout + typeof fetch`, strings.Repeat("undefined", 7)},
		{`typeof __host + typeof __mark + typeof __clock + typeof __output`, strings.Repeat("undefined", 4)},
		{`(0, eval)("typeof host + typeof decode + typeof indirect")`, strings.Repeat("undefined", 3)},
		{`call.constructor("return typeof k + typeof host")()`, "undefinedundefined"},
		{`typeof call.caller`, nil},
		{`typeof call.arguments`, nil},
		{`Object.getPrototypeOf(async function(){}).constructor("return typeof require")()`, "undefined"},
		{`var s = []; Error.prepareStackTrace = (e, frames) => { s.push(frames); return "" }; new Error().stack; s.every(f => typeof f !== "object" || f.every(x => x.getFunction === undefined || x.getFunction() === undefined))`, true},
		{`try { call("x") } catch (e) { typeof e.cause + typeof e.constructor.constructor("return typeof process")() }`, "undefinedstring"},
		{`import("os").then(() => "in", () => "refused")`, "refused"},
		{`import("std").then(() => "in", () => "refused")`, "refused"},
		{`import("/etc/passwd").then(() => "in", () => "refused")`, "refused"},
		{`import("./hostile_test.go").then(() => "in", () => "refused")`, "refused"},
		{`new Function("return import('qjs:os')")().then(() => "in", () => "refused")`, "refused"},
		{`String.prototype[0] = 1; Array.prototype.push = function() { throw 1 }; JSON.stringify = JSON.parse = Object.defineProperty = () => "mine"; ({a: [new Date(0)]}).a.length`, int64(1)},
	} {
		s := e.Open()
		got, err := eval(t, e, s, world{}, c.text)
		s.Close()
		if c.want == nil {
			if err == nil && got != "undefined" && got != "object" {
				t.Errorf("%s = %v", c.text, got)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
}

// TestS52_SpoiltLanguage changes what the kernel uses, and looks whether values
// still cross.
func TestS52_SpoiltLanguage(t *testing.T) {
	e := open(t, Options{Spare: -1})
	w := world{globals: map[string]any{"v": map[string]any{"at": time.UnixMilli(9).UTC(), "list": []any{"x"}}},
		funcs: map[string]func([]any) (any, error){"f": func(a []any) (any, error) { return a[0], nil }}}
	for _, spoil := range []string{
		`Array.prototype.push = Array.prototype.map = function() { throw "spoilt" }`,
		`Array.prototype[Symbol.iterator] = function() { throw "spoilt" }`,
		`String.prototype.slice = String.prototype.charAt = () => "spoilt"`,
		`Function.prototype.call = Function.prototype.apply = Function.prototype.bind = () => { throw "spoilt" }`,
		`RegExp.prototype.exec = () => { throw "spoilt" }`,
		`Date.prototype.getTime = Date.prototype.toISOString = () => { throw "spoilt" }`,
		`Object.prototype.hasOwnProperty = () => { throw "spoilt" }`,
		`JSON.parse = JSON.stringify = Reflect.ownKeys = Reflect.apply = Object.create = () => { throw "spoilt" }`,
		`Promise.prototype.then = () => { throw "spoilt" }`,
	} {
		s := e.Open()
		got, err := eval(t, e, s, w, spoil+`; v.at; f2 = call("f", v); return f2`)
		s.Close()
		if err != nil || !reflect.DeepEqual(got, w.globals["v"]) {
			t.Errorf("%s: %v, %v", spoil, got, err)
		}
	}
}

func TestS56_JSONPollutesNothing(t *testing.T) {
	e := open(t, Options{Spare: -1})
	merge := `function merge(a, b) { for (const k in b) { if (a[k] && typeof a[k] === "object" || typeof a[k] === "function") merge(a[k], b[k]); else a[k] = b[k] } return a }`
	w := world{globals: map[string]any{
		"proto": map[string]any{"__proto__": map[string]any{"polluted": "yes", "toString": "spoilt"}, "a": int64(1)},
		"ctor":  map[string]any{"constructor": map[string]any{"prototype": map[string]any{"polluted": "yes"}}},
		"list":  []any{map[string]any{"__proto__": []any{}}},
	}}
	for _, c := range []struct {
		text string
		want any
	}{
		{`typeof proto.polluted`, "undefined"},
		{`Object.keys(proto).join()`, "__proto__,a"},
		{`proto.__proto__.polluted`, "yes"},
		{`JSON.stringify(proto)`, `{"__proto__":{"polluted":"yes","toString":"spoilt"},"a":1}`},
		{merge + `merge({}, proto); typeof ({}).polluted + ({})`, "undefined[object Object]"},
		{merge + `merge({}, JSON.parse('{"__proto__":{"polluted":1}}')); typeof ({}).polluted`, "undefined"},
		{merge + `merge({}, ctor); typeof ({}).polluted`, "undefined"},
		{merge + `merge([], ctor); typeof ({}).polluted`, "undefined"},
		{`Object.assign({}, proto); typeof ({}).polluted`, "undefined"},
		{`({...proto}).a`, int64(1)},
		{`Array.isArray(list[0])`, false},
		{`({}).__proto__ === undefined`, true},
	} {
		s := e.Open()
		got, err := eval(t, e, s, w, c.text)
		if err != nil || got != c.want {
			t.Errorf("%s = %v, %v; want %v", c.text, got, err, c.want)
		}
		// Nor does the next script of the same run see any of it.
		if got, err := eval(t, e, s, w, `typeof ({}).polluted + typeof [].polluted + ({})`); got != "undefinedundefined[object Object]" {
			t.Errorf("after %s: %v, %v", c.text, got, err)
		}
		s.Close()
	}
	s := e.Open()
	defer s.Close()
	got, err := eval(t, e, s, w, `return {back: proto, list}`)
	if want := map[string]any{"back": w.globals["proto"], "list": w.globals["list"]}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the way back = %v, %v; want %v", got, err, want)
	}
}

func TestInstantsAreUTC(t *testing.T) {
	if os.Getenv("SCRIPT_ZONE") == "" {
		for _, zone := range []string{"UTC0", "EST5EDT", "<+0545>-5:45"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestInstantsAreUTC$", "-test.v")
			cmd.Env = append(os.Environ(), "SCRIPT_ZONE=1", "TZ="+zone)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("TZ=%s: %v\n%s", zone, err, out)
			}
		}
		return
	}
	at := time.Date(2026, 3, 8, 7, 30, 5, 9e6, time.UTC) // half past two in New York, which there was not
	e := open(t, Options{Spare: -1, Now: func() time.Time { return at }})
	s := e.Open()
	defer s.Close()
	for _, c := range []struct {
		text string
		want any
	}{
		{`new Date().toISOString()`, "2026-03-08T07:30:05.009Z"},
		{`Date.now()`, at.UnixMilli()},
		{`Date()`, "Sun Mar 08 2026 07:30:05 GMT+0000"},
		{`"" + new Date()`, "Sun Mar 08 2026 07:30:05 GMT+0000"},
		{`new Date().toDateString() + "|" + new Date().toTimeString()`, "Sun Mar 08 2026|07:30:05 GMT+0000"},
		{`new Date().toLocaleDateString() + "|" + new Date().toLocaleTimeString("de-DE") + "|" + new Date().toLocaleString()`, "03/08/2026|07:30:05|03/08/2026 07:30:05"},
		{`new Date().getTimezoneOffset() + new Date().getHours() + new Date().getDay() + new Date().getMinutes()`, int64(37)},
		{`new Date(2026, 2, 8, 2, 30).toISOString()`, "2026-03-08T02:30:00.000Z"},
		{`new Date(99, 0).getFullYear()`, int64(1999)},
		{`new Date("2026-03-08T02:30:00").toISOString()`, "2026-03-08T02:30:00.000Z"},
		{`new Date("2026-03-08T02:30:00Z").toISOString()`, "2026-03-08T02:30:00.000Z"},
		{`new Date("2026-03-08T02:30:00-05:00").toISOString()`, "2026-03-08T07:30:00.000Z"},
		{`new Date("2026-03-08").toISOString()`, "2026-03-08T00:00:00.000Z"},
		{`new Date("Mar 8, 2026 02:30:00").toISOString()`, "2026-03-08T02:30:00.000Z"},
		{`new Date("Sun, 08 Mar 2026 02:30:00 GMT").toISOString()`, "2026-03-08T02:30:00.000Z"},
		{`new Date("Sun Mar 08 2026 02:30:00 GMT+0100").toISOString()`, "2026-03-08T01:30:00.000Z"},
		{`new Date("2026-03-08T02:30:00.1234567Z").toISOString()`, "2026-03-08T02:30:00.123Z"},
		{`new Date(Date.parse("2026-07-01T12:00")).toISOString()`, "2026-07-01T12:00:00.000Z"},
		{`var d = new Date(0); d.setHours(5); d.setDate(9); d.setFullYear(2000, 1, 2); d.toISOString()`, "2000-02-02T05:00:00.000Z"},
		{`new Date(new Date(5)).getTime()`, int64(5)},
		{`new Date("nonsense") + ""`, "Invalid Date"},
		{`isNaN(new Date(undefined).getTime()) && isNaN(new Date({}).getTime()) && new Date(null).getTime() === 0`, true},
		{`new Date() instanceof Date && Object.prototype.toString.call(new Date()) === "[object Date]" && new Date().constructor === Date`, true},
		{`class D extends Date { x() { return this.getTime() } } new D(7).x()`, int64(7)},
		{`typeof JSON.stringify({d: new Date(0)})`, "string"},
		{`JSON.stringify({d: new Date(0)})`, `{"d":"1970-01-01T00:00:00.000Z"}`},
		{`new Date(0) < new Date(1) && new Date(2) - new Date(1) === 1`, true},
	} {
		got, err := eval(t, e, s, world{}, c.text)
		if err != nil || got != c.want {
			t.Errorf("%s = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
}

func TestTimeInHostFunctionsDoesNotCount(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	p, err := e.Prepare(`call("slow"); while (true) {}`)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w := world{funcs: map[string]func([]any) (any, error){"slow": func([]any) (any, error) { time.Sleep(60 * time.Millisecond); return nil, nil }}}
	_, err = s.Eval(t.Context(), p, w, 30*time.Millisecond)
	var l *LimitError
	if !errors.As(err, &l) || l.Limit != LimitTime || time.Since(began) < 90*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	p, err = e.Prepare(`call("slow"); "done"`)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Eval(t.Context(), p, w, 30*time.Millisecond); v != "done" {
		t.Errorf("= %v, %v", v, err)
	}
}

// TestHostCallsWithoutEnd holds that the time between host functions counts.
func TestHostCallsWithoutEnd(t *testing.T) {
	e := open(t, Options{Spare: -1, Time: 50 * time.Millisecond})
	s := e.Open()
	defer s.Close()
	w := world{funcs: map[string]func([]any) (any, error){"f": func([]any) (any, error) { return nil, nil }}}
	for _, text := range []string{`for (;;) call("f")`, `for (;;) try { call("none") } catch (e) {}`} {
		_, err := eval(t, e, s, w, text)
		var l *LimitError
		if !errors.As(err, &l) || l.Limit != LimitTime {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHurry(t *testing.T) {
	e := open(t, Options{Spare: -1})
	m, err := e.newMachine()
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	counter := &at[lib.TJSContext](m.inner.context).Finterrupt_counter
	if *counter <= 0 || *counter > 10000 {
		t.Fatalf("the engine counts %d calls to the next interrupt; are these its fields?", *counter)
	}
	if m.inner.hurry(); *counter != 0 {
		t.Errorf("after hurry %d", *counter)
	}
}

func TestContextEndsAScript(t *testing.T) {
	e := open(t, Options{Spare: -1})
	s := e.Open()
	defer s.Close()
	p, err := e.Prepare(`call("cancel"); while (true) {}`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := world{funcs: map[string]func([]any) (any, error){"cancel": func([]any) (any, error) { cancel(); return nil, nil }}}
	if _, err := s.Eval(ctx, p, w, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("= %v", err)
	}
}
