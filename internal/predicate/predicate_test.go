package predicate_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/predicate"
)

func TestMatch(t *testing.T) {
	const slack = `{"ok":true,"team":{"id":"T1"}}`
	const wechat = `{"errcode":40014,"errmsg":"invalid access_token"}`
	const veeva = `{"responseStatus":"FAILURE","errors":[{"type":"A"},{"type":"INVALID_SESSION_ID"}]}`
	for _, tt := range []struct {
		source, body string
		want         bool
	}{
		{"ok == true", slack, true},
		{"ok", slack, true},
		{"ok == true", `{"ok":false}`, false},
		{"ok == true", `{"ok":"true"}`, false},
		{"ok == true", `{}`, false},
		{"!ok", `{}`, true},
		{"not ok", slack, false},
		{"team.id == 'T1'", slack, true},
		{`team["id"] == "T1"`, slack, true},
		{"team?.id == 'T1'", slack, true},
		{"team.id.deeper == nil", slack, true},
		{"a.b.c[3].d == nil", `{}`, true},
		{"errcode == nil || errcode == 0", `{"access_token":"x"}`, true},
		{"errcode == nil || errcode == 0", wechat, false},
		{"errcode != 0", wechat, true},
		{"errcode != 0", `{}`, true},
		{"has(errcode) && errcode != 0", `{}`, false},
		{"has(error.code)", `{"error":{"code":190}}`, true},
		{"has(error.code)", `{"error":"x"}`, false},
		{"status == 0", `{"status":0}`, true},
		{"status == 0", `{"status":"0"}`, false},
		{`code == "0"`, `{"code":"0"}`, true},
		{"errcode in [40001, 40014]", wechat, true},
		{"errcode not in [40001, 40014]", wechat, false},
		{"errcode in nothing", wechat, false},
		{"errcode in [1]", `{}`, false},
		{"'ok' in team", `{"team":{"ok":null}}`, true},
		{"status startsWith 'BAD_'", `{"status":"BAD_REFRESH_TOKEN"}`, true},
		{"status startsWith 'BAD_'", `{"status":400}`, false},
		{"errmsg contains 'access_token'", wechat, true},
		{"errmsg endsWith 'token'", wechat, true},
		{"errmsg matches '^invalid .*token$'", wechat, true},
		{"nothing matches '.*'", wechat, false},
		{"lower(errmsg) == 'invalid access_token' and upper(trim(' a ')) == 'A'", wechat, true},
		{"len(errors) == 2 && len(errors[1].type) > 3", veeva, true},
		{"len(nothing) == nil", veeva, true},
		{`responseStatus == "FAILURE" && any(errors, .type == "INVALID_SESSION_ID")`, veeva, true},
		{`any(errors, .type == "B")`, veeva, false},
		{`any(errors, .type == "B")`, `{}`, false},
		{`any(errors, .type == "B")`, `{"errors":"B"}`, false},
		{`none(errors, #.type == "B")`, veeva, true},
		{`all(errors, has(.type))`, veeva, true},
		{`one(errors, .type == "A")`, veeva, true},
		{`count(errors, has(.type)) >= 2`, veeva, true},
		{`errors[-1].type == "INVALID_SESSION_ID"`, veeva, true},
		{"errcode > 40013 && errcode <= 40014 && errcode >= 40014 && not (errcode < 0)", wechat, true},
		{"nothing > 1 || errcode == 40014", wechat, true},
		{"errmsg > 5", wechat, false},
		{"errcode == 40014 ? true : false", wechat, true},
		{"(nothing ?? 'x') == 'x'", wechat, true},
		{"x == -1", `{"x":-1}`, true},
		{"x == 1.5", `{"x":1.5}`, true},
		{"x == 15e-1", `{"x":1.50}`, true},
		{"body == 'wrong code'", `"wrong code"`, true},
		{"body == 'wrong code'", `{"body":"wrong code"}`, true},
		{"body.status == 0", `{"body":{"status":0}}`, true},
		{"body == nil", `{}`, true},
		{"body[0] == 1", `[1]`, true},
		{"body == nil", `null`, true},
		{"errmsg", wechat, false}, // not a condition at all
		{"count == 3", `{"count":3}`, true},
	} {
		p, err := predicate.Compile(tt.source)
		if err != nil {
			t.Errorf("Compile(%q): %v", tt.source, err)
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(tt.body), &v); err != nil {
			t.Fatal(err)
		}
		got, err := p.Match(v)
		if err != nil || got != tt.want {
			t.Errorf("%s over %s = %v, %v; want %v", tt.source, tt.body, got, err, tt.want)
		}
		var exact any
		d := json.NewDecoder(strings.NewReader(tt.body))
		d.UseNumber()
		if err := d.Decode(&exact); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Match(exact); err != nil || got != tt.want {
			t.Errorf("%s over %s with exact numbers = %v, %v; want %v", tt.source, tt.body, got, err, tt.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, source := range []string{
		"", "   ", "ok ==", "ok == true)", "1 + 1 == 2", "repeat('x', 1000000) == ''", "1..1000000", "now() == nil", "filter(a, true)", "map(a, #)",
		"let x = 1; x == 1", "a | len()|b", "unknown(1)", "a.b()", "errmsg matches pattern", "errmsg matches '('", "{a: 1} == nil", "a[1:2] == nil",
		"any(a, any(#, any(#, true)))", "has()", "len(a, b)", "any(a)", "sort(a) == a", strings.Repeat("a", 1025), strings.Repeat("(", 500) + "1" + strings.Repeat(")", 499),
		"fromJSON(a) == 1", "#acc == 1",
	} {
		if p, err := predicate.Compile(source); err == nil {
			t.Errorf("Compile(%.40q) = %v, want an error", source, p)
		}
	}
}

func TestMatchIsBounded(t *testing.T) {
	p, err := predicate.Compile("any(a, any(b, # == nil))")
	if err == nil {
		list := make([]any, 4000)
		for i := range list {
			list[i] = "x"
		}
		_, err = p.Match(map[string]any{"a": list, "b": list})
	}
	if !errors.Is(err, predicate.ErrCost) {
		t.Errorf("16 million comparisons end with %v, want ErrCost", err)
	}
	// Deep nesting is within the bounds of the source and must not exhaust the stack.
	p, err = predicate.Compile(strings.Repeat("!", 1000) + "ok")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Match(map[string]any{"ok": true}); !ok || err != nil {
		t.Errorf("a thousand negations: %v, %v", ok, err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"ok == true", "any(errors, .type == 'x')", "a.b?.c[0] ?? 1 in [1,2]", "has(x) ? y : !z", "x matches '^a+$'", "#", ".a", "a[", "any(a, {#; 1})"} {
		f.Add(s, `{"ok":true,"errors":[{"type":"x"}],"a":{"b":[1]}}`)
	}
	f.Fuzz(func(t *testing.T, source, body string) {
		p, err := predicate.Compile(source)
		if err != nil {
			return
		}
		var v any
		if json.Unmarshal([]byte(body), &v) != nil {
			v = body
		}
		a, err1 := p.Match(v)
		b, err2 := p.Match(v)
		if a != b || (err1 == nil) != (err2 == nil) {
			t.Errorf("%q over %q is %v, then %v", source, body, a, b)
		}
		if err1 != nil && !errors.Is(err1, predicate.ErrCost) {
			t.Errorf("%q over %q: %v", source, body, err1)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	p, err := predicate.Compile(`responseStatus == "FAILURE" && any(errors, .type == "INVALID_SESSION_ID")`)
	if err != nil {
		b.Fatal(err)
	}
	v := map[string]any{"responseStatus": "FAILURE", "errors": []any{map[string]any{"type": "INVALID_SESSION_ID"}}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := p.Match(v); !ok {
			b.Fatal("no match")
		}
	}
}
