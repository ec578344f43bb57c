package expr_test

import (
	"context"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

func TestLiquid(t *testing.T) {
	e := newEvaluator(t, expr.Services{
		DefinitionByName: func(_ context.Context, name string) (string, bool) { return "id-of-" + name, name == "Child" },
		DefinitionByTag:  func(_ context.Context, tag string) (string, bool) { return "tagged-" + tag, true },
	})
	for _, c := range []struct {
		text string
		want any
	}{
		// what the samples do
		{`Bearer {{Variables.AccessToken.Data1}}`, "Bearer tok"},
		{`{{Variables.AccessToken.ObjectId}}`, "12"},
		{`{ "username": "{{Variables.AccessToken.Data1}}" }`, `{ "username": "tok" }`},
		{`{{Variables.Content2 | json  | raw }}`, "null"},
		{`{{Variables.Contact.ObjectId}`, `{{Variables.Contact.ObjectId}`},

		// what is there, and what is not
		{`{{ Variables.nobody.x.y }}`, nil},
		{`{{ Variables.AccessToken.objectId }}{{ Variables.AccessToken.key }}`, "12"},
		{`{{ Input.body.fileName }}{{ Input.Headers.Cookie }}{{ Input.body.FileName }}`, "fc=1"},
		{`{{ Activities.list.Output[0].ObjectId }}{{ Activities.list.Output.Count }}{{ Activities.list.Output.size }}{{ Activities.list.Output.first.Key }}`, "1211AccessToken"},
		{`{{ Activities.child.Output.workflowOutput }}{{ Activities.nobody.Output }}{{ Activities.later.Output }}`, "token!"},
		{`{{ Activities.httpAPI.Response.StatusCode }}{{ Activities.httpAPI.ResponseContent.a[0].id }}`, "2001"},
		{`{{ CorrelationId }} {{ WorkflowInstanceId }} {{ WorkflowDefinitionId }} {{ WorkflowDefinitionVersion }} {{ ActivityId }}`, "corr i-1 d-1 2 act"},
		{`{{ Request.Path }}{{ Request.Query.q }}{{ Request.IsHttps }}{{ Request.QueryString }}{{ Request.Host }}`, "/x/71true?q=1h:1"},
		{`{{ Variables.obj.a.b }}{{ Variables.obj["a"]["b"] }}{{ Variables.list[1] }}{{ Variables.list[-1] }}`, "deepdeep22"},
		{`{{ Variables.at }}`, "2026-01-02 03:04:05Z"},
		{`{{ Variables.obj }}`, `{"a":{"b":"deep"}}`},
		{`{{ Variables.list }}{{ Variables.bytes }}`, "12hi"},
		{`{{ Variables.html }}`, `<b>&'"+é</b>`},
		{`  `, nil},
		{`{% if Variables.nobody %}x{% endif %}`, nil},

		// tags
		{`{% if Variables.n == 3 or Variables.text == "x" %}yes{% else %}no{% endif %}`, "yes"},
		{`{% if Variables.empty == "" %}e{% endif %}{% if Variables.list contains 2 %}c{% endif %}{% if Variables.nobody == nil %}n{% endif %}`, "ecn"},
		{`{% for x in Variables.list %}{{ forloop.index }}:{{ x }},{% endfor %}`, "1:1,2:2,"},
		{`{% for r in Activities.list.Output %}{{ r.objectId }}{{ r.Key }}{% else %}none{% endfor %}`, "12AccessToken"},
		{`{% for p in Variables.obj %}{{ p[0] }}={{ p[1].b }}{% endfor %}`, "a=deep"},
		{`{% for i in (1..3) %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% endfor %}`, "12"},
		{`{%- for i in (1..2) -%}  {{- i -}}  {%- endfor -%}`, "12"},
		{`{% assign a = Variables.n | plus: 1 %}{{ a }}{% assign o = Variables.AccessToken %}{{ o.objectId }}`, "412"},
		{`{% capture c %}[{{ Variables.n }}]{% endcapture %}{{ c }}`, "[3]"},
		{`{% case Variables.n %}{% when 3 %}three{% endcase %}{% unless false %}u{% endunless %}`, "threeu"},
		{`{% raw %}{{ Variables.n | x }}{% endraw %}{% comment %}{{ x }}{% endcomment %}`, "{{ Variables.n | x }}"},
		{`{% tablerow i in (1..2) %}{{ i }}{% endtablerow %}`, `<tr class="row1"><td class="col1">1</td><td class="col2">2</td></tr>`},

		// filters
		{`{{ "x" | Default: 'Australia' | nothing_at_all: 1, 2 }}`, "x"},
		{`{{ Variables.nobody | default: "d" }}{{ false | default: 1 }}{{ "" | default: "e" }}`, "d1e"},
		{`{{ Variables.obj | json }}{{ Variables.text | json }}{{ "" | json }}{{ nil | json }}{{ Variables.list | json }}`, `{"a":{"b":"deep"}}"a'b \"c\""null[1,2]`},
		{`{{ Activities.httpAPI.ResponseContent | json }}`, `{"a":[{"id":1}],"z":1.5}`},
		{`{{ "é" | base64 }}{{ "w6k=" | base64_decode }}{{ "é" | base64_encode }}`, "w6k=éw6k="},
		{`{{ "Child" | workflow_definition_id }}{{ "t" | workflow_definition_id: "tag" }}{{ "Other" | workflow_definition_id }}`, "id-of-Childtagged-t"},
		{`{{ "child" | output: "Output" | json }}`, `{"WorkflowOutput":"token!","WorkflowInstanceId":"c-1"}`},
		{`{{ "<b>" | escape }}{{ "&lt;b>" | escape_once }}{{ "<i>a</i>" | strip_html }}`, "&lt;b&gt;&lt;b&gt;a"},
		{`{{ 1 | plus: 1 }}{{ "2" | plus: "3" }}{{ 0.1 | plus: 0.2 }}|{{ 7 | divided_by: 2 }}|{{ 7 | divided_by: 2.0 }}|{{ 7 | modulo: 4 }}|{{ 2.567 | round: 2 }}|{{ 1.2 | ceil }}`, "250.3|3|3|3|2.57|2"},
		{`{{ 5 | at_least: 7 }}{{ 5 | at_most: 3 }}{{ "-3" | abs }}{{ "4.9" | to_i }}`, "7334"},
		{`{{ "a,b,c" | split: "," | reverse | join: "-" }}{{ "abc" | slice: 1, 2 }}{{ "abc" | slice: -1 }}`, "c-b-abcc"},
		{`{{ Activities.list.Output | map: "Key" | join }}{{ Activities.list.Output | where: "Key", "AccessToken" | size }}`, "AccessToken1"},
		{`{{ "b,a,C" | split: "," | sort | join }}{{ "b,a,C" | split: "," | sort_natural | join }}{{ "a,a" | split: "," | uniq | size }}`, "C a ba b C1"},
		{`{{ "a b" | url_encode }}{{ "a+b%20c" | url_decode }}{{ "Hello World" | handleize }}{{ "x" | append: "y" | prepend: "w" | upcase }}`, "a+ba b chello-worldWXY"},
		{`{{ "abcdef" | truncate: 5 }}{{ "a b c" | truncatewords: 2 }}{{ "aab" | replace: "a", "x" }}{{ "aab" | replace_first: "a", "x" }}{{ "aab" | remove: "a" }}`, "ab...a b...xxbxabb"},
		{`{{ "now" | date: "%Y-%m-%d %H:%M:%S %-d %B" }}{{ "2026-01-02T03:04:05Z" | date: "%j%%" }}{{ "nonsense" | date: "%Y" }}`, "2026-03-31 13:04:05 31 March002%nonsense"},
		{`{{ "2026-01-02" | format_date: "dd MMM yyyy" }}{{ "2026-01-02T12:00:00Z" | time_zone: "America/New_York" | format_date: "HH:mm" }}`, "02 Jan 202607:00"},
		{`{{ 1234.5 | format_number: "N2" }}{{ 5 | format_number: "000.0" }}{{ "{0}-{1}" | format_string: 1, "b" }}`, "1,234.505.01-b"},
		{`{{ "a" | md5 }}`, "0cc175b9c0f1b6a831c399e269772661"},
		{`{{ "a" | sha1 | size }}{{ "a" | sha256 | size }}`, "4064"},
	} {
		got, err := e.Eval(t.Context(), sample(), workflow.Liquid, c.text, expr.Field{})
		if err != nil || got != c.want {
			t.Errorf("%s\n = %#v, %v\nwant %#v", c.text, got, err, c.want)
		}
	}
}

func TestLiquidErrors(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for _, c := range []struct{ text, want string }{
		{"a\nb {% if x %}\nc", "setting `T.P`: Liquid: line 2: unterminated"},
		{"a\n\n{{ x | | y }}", "setting `T.P`: Liquid: line 3: syntax error"},
		{"{% nosuch %}", "setting `T.P`: Liquid: line 1: "},
		{"\n{% include 'x' %}", "line 2: a template cannot include another here"},
		{`{{ 1 | divided_by: 0 }}`, "divided by zero"},
		{`{{ "x" | time_zone: "Nowhere/At_All" }}{{ "now" | time_zone: "Nowhere/At_All" }}`, `there is no time zone "Nowhere/At_All" here`},
		{`{{ "x" | workflow_definition_id }}`, "other workflows cannot be looked up here"},
		{strings.Repeat("x", 70000) + "{{ x }}", "longer than its limit of 64 KiB"},
	} {
		_, err := e.Eval(t.Context(), sample(), workflow.Liquid, c.text, expr.Field{Activity: "T", Name: "P"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.50s: %v; want %s", c.text, err, c.want)
		}
	}
}

func TestF95_HostileTemplates(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	r := sample()
	r.variables["long"] = strings.Repeat("x", 1<<20)
	for _, c := range []struct{ name, text string }{
		{"a long loop", `{% for i in (1..1000000000) %}{% endfor %}`},
		{"loops in loops", `{% for i in (1..100000) %}{% for j in (1..100000) %}{% for k in (1..100000) %}{% endfor %}{% endfor %}{% endfor %}`},
		{"a long table", `{% tablerow i in (1..1000000000) %}x{% endtablerow %}`},
		{"a long output", `{% for i in (1..100) %}{{ Variables.long }}{% endfor %}`},
		{"a long body", `{% for i in (1..1000000) %}` + strings.Repeat("x", 50000) + `{% endfor %}{{ 1 }}`},
		{"a captured body", `{% capture a %}{% for i in (1..1000000) %}` + strings.Repeat("x", 50000) + `{% endfor %}{% endcapture %}`},
		{"doubling", strings.Repeat(`{% assign s = s | append: s | append: "x" %}`, 60) + `{{ s }}`},
		{"doubling by capture", strings.Repeat(`{% capture s %}{{ s }}{{ s }}x{% endcapture %}`, 60) + `{{ s }}`},
		{"doubling by replace", `{{ Variables.long | replace: "x", Variables.long | size }}`},
		{"doubling a list", `{% assign l = "a,b" | split: "," %}` + strings.Repeat(`{% assign l = l | concat: l %}`, 60) + `{{ l | size }}`},
		{"a range as a list", `{{ (1..1000000000) | join: "," }}`},
		{"a range, reversed", `{% for i in (1..1000000000) reversed %}{% endfor %}`},
		{"a range, sorted", `{% assign r = (1..1000000000) %}{{ r | sort | size }}`},
		{"format_string", `{{ "{0}{0}{0}{0}{0}{0}{0}{0}{0}" | format_string: Variables.long }}`},
		{"cycle", `{% for i in (1..100000000) %}{% cycle "a", "b" %}{% endfor %}`},
	} {
		_, err := e.Eval(t.Context(), r, workflow.Liquid, c.text, expr.Field{Activity: "T", Name: "P"})
		if err == nil || !strings.Contains(err.Error(), "the template ") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// The evaluator goes on.
	if v, err := e.Eval(t.Context(), r, workflow.Liquid, "{{ 1 }}", expr.Field{}); v != "1" || err != nil {
		t.Errorf("afterwards: %v, %v", v, err)
	}
}

// TestS55_ValuesAreEncodedByTheirPlace holds that what a value says cannot
// leave the place it is put into.
func TestS55_ValuesAreEncodedByTheirPlace(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for _, payload := range []string{
		`"}, {"admin": true`, `\`, "line\nbreak", `</script><script>alert(1)</script>`, `' or 1 eq 1 or '`, `{{ Variables.n }}`, `{% assign x = 1 %}`,
		`"><img src=x onerror=alert(1)>`, `&lt;`, "a\u2028", "a'b+c&d=é", "\x00",
	} {
		r := newRun()
		r.variables = map[string]any{"p": payload, "n": "code ran"}
		eval := func(text string, f expr.Field) string {
			v, err := e.Eval(t.Context(), r, workflow.Liquid, text, f)
			if err != nil {
				t.Fatalf("%q in %s: %v", payload, text, err)
			}
			s, _ := v.(string)
			return s
		}
		if got := eval(`[{{ Variables.p }}]`, expr.Field{}); got != "["+payload+"]" {
			t.Errorf("raw: %q became %q", payload, got)
		}
		// Data is never read as a template or a script.
		if got := eval(`{{ Variables.p }}{{ Variables.p | append: "" }}`, expr.Field{}); strings.Contains(got, "code ran") {
			t.Errorf("%q was evaluated", payload)
		}
		inJSON := expr.EncodingFor("SendHttpRequest.Content", "application/json; charset=utf-8")
		body := eval(`{"a": "{{ Variables.p }}", "b": {{ Variables.p | json }}}`, expr.Field{Encoding: inJSON})
		v, err := e.Eval(t.Context(), r, workflow.JSON, body, expr.Field{})
		if m, ok := v.(map[string]any); err != nil || !ok || m["a"] != payload || m["b"] != payload || len(m) != 2 {
			t.Errorf("JSON: %q became %s (%v)", payload, body, err)
		}
		inPage := expr.EncodingFor("WriteHttpResponse.Content", "text/html; charset=utf-8")
		page := eval(`<p title="{{ Variables.p }}">{{ Variables.p }}</p>`, expr.Field{Encoding: inPage})
		if inside := strings.TrimSuffix(strings.TrimPrefix(page, `<p title="`), `</p>`); strings.ContainsAny(strings.Replace(inside, `">`, "", 1), `<>"'`) {
			t.Errorf("page: %q became %s", payload, page)
		}
		if got := eval(`{{ Variables.p | raw }}`, expr.Field{Encoding: inPage}); got != payload {
			t.Errorf("raw in a page: %q became %q", payload, got)
		}
	}
	for _, c := range []struct {
		property, contentType string
		want                  expr.Encoding
	}{
		{"WriteHttpResponse.Content", "text/html", expr.HTML}, {"WriteHttpResponse.Content", "TEXT/HTML;charset=utf-8", expr.HTML},
		{"WriteHttpResponse.Content", "text/plain", expr.Raw}, {"SendHttpRequest.Content", "text/html", expr.Raw},
		{"SendHttpRequest.Content", "application/problem+json", expr.JSON}, {"WriteHttpResponse.Content", "application/json", expr.JSON},
		{"SendHttpRequest.Url", "", expr.Raw},
	} {
		if got := expr.EncodingFor(c.property, c.contentType); got != c.want {
			t.Errorf("%s as %s = %v, want %v", c.property, c.contentType, got, c.want)
		}
	}
}

// TestS55_DataIsNotSource holds that a script finds data as data.
func TestS55_DataIsNotSource(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for _, payload := range []string{`"); setVariable("owned", 1); ("`, "`${setVariable('owned',1)}`", `*/ setVariable("owned",1) /*`, "\u2028setVariable('owned',1)"} {
		r := newRun()
		r.variables["p"] = payload
		r.input = map[string]any{payload: payload}
		got, err := e.Eval(t.Context(), r, workflow.JavaScript, `p + getVariable("p") + Object.keys(input)[0]`, expr.Field{})
		if err != nil || got != payload+payload+payload || r.variables["owned"] != nil {
			t.Errorf("%q: %v, %v", payload, got, err)
		}
	}
}

// TestS54_SecretsAreHandles holds that a secret which a property names is a
// value that does not print until the one activity that sends it reveals it,
// and that no expression can name one.
func TestS54_SecretsAreHandles(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for _, text := range []string{`typeof secret`, `typeof secrets`, `typeof getSecret`, `typeof process`, `typeof fetch`, `typeof XMLHttpRequest`} {
		if v, err := e.Eval(t.Context(), sample(), workflow.JavaScript, text, expr.Field{}); v != "undefined" || err != nil {
			t.Errorf("%s = %v, %v", text, v, err)
		}
	}
	for _, text := range []string{`[{{ Secret }}{{ Secrets.x }}{{ Configuration.x }}{{ "Authorization:x" | secret }}]`} {
		if v, err := e.Eval(t.Context(), sample(), workflow.Liquid, text, expr.Field{}); v != "[Authorization:x]" || err != nil {
			t.Errorf("%s = %v, %v", text, v, err)
		}
	}
}

func TestValuesInJSON(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	r := sample()
	r.variables["body"] = `{"a": [1]}`
	r.variables["inject"] = `1, "admin": true`
	for _, c := range []struct{ text, want string }{
		{`{{ Variables.body }}`, `{"a": [1]}`},
		{`{"x": {{ Variables.obj }}, "n": {{ Variables.n }}, "t": {{ Variables.text }}, "at": {{ Variables.at }}}`,
			`{"x": {"a":{"b":"deep"}}, "n": 3, "t": "a'b \"c\"", "at": "2026-01-02 03:04:05Z"}`},
		{`{"x": {{ Variables.inject }}}`, `{"x": "1, \"admin\": true"}`},
		{`{"x": "{{ Variables.inject }}", "y\"": "{{ Variables.text }}", "z": {{ Variables.list }}}`, `{"x": "1, \"admin\": true", "y\"": "a'b \"c\"", "z": [1,2]}`},
		{`{"x": [{% for i in Variables.list %}"{{ i }}{{ Variables.text }}"{% unless forloop.last %},{% endunless %}{% endfor %}]}`, `{"x": ["1a'b \"c\"","2a'b \"c\""]}`},
		{`{"x": {{ Variables.text | raw }}}`, `{"x": a'b "c"}`},
		{`{"x": {{ Variables.nobody | json }}}`, `{"x": null}`},
	} {
		got, err := e.Eval(t.Context(), r, workflow.Liquid, c.text, expr.Field{Encoding: expr.JSON})
		if err != nil || got != c.want {
			t.Errorf("%s\n = %v, %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

func TestTemplatesKeepNothing(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for i, want := range []string{"3|", "3|"} {
		v, err := e.Eval(t.Context(), sample(), workflow.Liquid, `{{ Variables.n }}|{{ kept }}{% assign kept = "kept" %}`, expr.Field{})
		if err != nil || v != want {
			t.Errorf("%d: %v, %v", i, v, err)
		}
	}
}
