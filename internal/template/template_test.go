package template

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var values = map[string]any{
	"username": `O"Neil & Söhne`,
	"password": "a+b=c%d",
	"token":    "abc.def-ghi",
	"n":        json.Number("42"),
	"f":        0.5,
	"yes":      true,
	"none":     nil,
	"empty":    "",
	"tenant":   "contoso",
	"slash":    "a/b?c",
	"crlf":     "x\r\nEvil: 1",
	"base":     "https://na1.example:8443/v1",
	"host":     "127.0.0.1:9000",
	"dots":     "..",
	"a.b":      "dotted",
	"answer": map[string]any{
		"instance_url": "https://eu.example",
		"list":         []any{map[string]any{"id": json.Number("7")}, "two", []any{"x", "y"}},
		"obj":          map[string]any{"k": "v"},
	},
	"process": map[string]any{"TokenKeeper-1": map[string]any{"AccessToken": "t1"}},
}

func TestRender(t *testing.T) {
	for _, c := range []struct {
		name, text string
		escape     Escape
		want, err  string
	}{
		{"no place", "plain } text { with }} braces", nil, "plain } text { with }} braces", ""},
		{"empty template", "", nil, "", ""},
		{"one value", "Bearer {{token}}", nil, "Bearer abc.def-ghi", ""},
		{"spaces are free", "{{\n token\t}}", nil, "abc.def-ghi", ""},
		{"two places", "{{token}}{{n}}", nil, "abc.def-ghi42", ""},
		{"scalars", "{{n}} {{f}} {{yes}}", nil, "42 0.5 true", ""},
		{"empty value", "[{{empty}}]", nil, "[]", ""},
		{"path", "{{answer.instance_url}}", nil, "https://eu.example", ""},
		{"path with a dash", "{{process.TokenKeeper-1.AccessToken}}", nil, "t1", ""},
		{"index", "{{answer.list[0].id}}{{answer.list[1]}}{{answer.list[2][1]}}", nil, "7twoy", ""},
		{"dotted name at the root", "{{a.b}}", nil, "dotted", ""},
		{"json", `{"u":{{username | json}},"n":{{n|json}},"o":{{answer.obj | json}},"z":{{none | json}}}`, nil, `{"u":"O\"Neil & Söhne","n":42,"o":{"k":"v"},"z":null}`, ""},
		{"form", "p={{password | form}}", nil, "p=a%2Bb%3Dc%25d", ""},
		{"base64 of joined values", `Basic {{tenant ":" password | base64}}`, nil, "Basic Y29udG9zbzphK2I9YyVk", ""},
		{"filters in a row", `{{tenant | base64 | json}}`, nil, `"Y29udG9zbw=="`, ""},
		{"quoted text", `{{"{{" token '}}' "\"\\"}}`, nil, `{{abc.def-ghi}}"\`, ""},
		{"header", "{{token | header}}", nil, "abc.def-ghi", ""},
		{"header refuses control characters", "{{crlf | header}}", nil, "", "t:1:1: crlf | header: byte 2 may not stand in a header"},
		{"header refuses non-ASCII", "x {{username | header}}", nil, "", "t:1:3: username | header: byte 11 may not stand in a header"},

		{"unknown path", "a\nb {{nope}}", nil, "", "t:2:5: nope has no value"},
		{"unknown member", "{{answer.nope.x}}", nil, "", "t:1:3: answer.nope.x has no value"},
		{"index too large", "{{answer.list[3]}}", nil, "", "t:1:3: answer.list[3] has no value"},
		{"index of an object", "{{answer.obj[0]}}", nil, "", "t:1:3: answer.obj[0] has no value"},
		{"index without end", "{{answer.list[0}}", nil, "", "t:1:3: answer.list[0 has no value"},
		{"text after an index", "{{answer.list[0]x}}", nil, "", "t:1:3: answer.list[0]x has no value"},
		{"null", "{{none}}", nil, "", "t:1:1: none: the value is null"},
		{"object", "{{answer.obj}}", nil, "", "t:1:1: answer.obj: the value is an object: name a member, or use | json"},
		{"list", "{{token answer.list}}", nil, "", "t:1:9: answer.list: the value is a list: name an element, or use | json"},

		{"unknown filter", "{{token | upper}}", nil, "", `t:1:11: filter "upper" is not known: use json, form, base64 or header`},
		{"no end", "x{{token", nil, "", "t:1:2: {{ has no }}"},
		{"nothing named", "{{ }}", nil, "", "t:1:1: {{ }} names no value"},
		{"bare pipe", "{{ | json}}", nil, "", "t:1:4: | stands before any value"},
		{"pipe without filter", "{{token | }}", nil, "", `t:1:11: filter "" is not known: use json, form, base64 or header`},
		{"value after a filter", "{{token | json token}}", nil, "", "t:1:16: after a filter comes | or }}"},
		{"text without end", `{{"abc}}`, nil, "", "t:1:3: quoted text has no end"},
		{"empty name in a path", "{{answer..x}}", nil, "", `t:1:3: "answer..x" is not a path: names stand between single dots`},
		{"nested", "{{ {{token}} }}", nil, "", `t:1:4: "{" does not belong into {{ }}`},

		{"S55 JSON body encodes by place", `{"u":"{{username}}","n":{{n}},"v":{{username}},"q":"\"{{token}}"}`, JSON, `{"u":"O\"Neil & Söhne","n":42,"v":"O\"Neil & Söhne","q":"\"abc.def-ghi"}`, ""},
		{"S55 a filter is not encoded again", `{"u":{{username | json}}}`, JSON, `{"u":"O\"Neil & Söhne"}`, ""},
		{"S55 form body", "p={{password}}&u={{username | form}}", Form, "p=a%2Bb%3Dc%25d&u=O%22Neil+%26+S%C3%B6hne", ""},
		{"S55 XML body", "<u>{{username}}</u>", XML, "<u>O&#34;Neil &amp; Söhne</u>", ""},
		{"S55 header", "Bearer {{crlf}}", Header, "", "t:1:8: crlf: byte 2 may not stand in a header"},

		{"URL path", "https://login.example/{{tenant}}/token", URL, "https://login.example/contoso/token", ""},
		{"URL base", "{{base}}/token", URL, "https://na1.example:8443/v1/token", ""},
		{"URL host", "http://{{host}}/token", URL, "http://127.0.0.1:9000/token", ""},
		{"S55 URL path is encoded", "https://h.example/{{slash}}/x", URL, "https://h.example/a%2Fb%3Fc/x", ""},
		{"S55 URL query is encoded", "https://h.example/x?a=b&p={{password}}", URL, "https://h.example/x?a=b&p=a%2Bb%3Dc%25d", ""},
		{"S55 URL host takes no path", "https://{{slash}}.example/x", URL, "", `t:1:9: slash: "/" may not stand in a host`},
		{"S55 URL path takes no dots", "https://h.example/{{dots}}/x", URL, "", "t:1:19: dots: dots alone may not stand in a path"},
		{"cap040 URL with an empty value", "https://h.example/{{empty}}/x", URL, "", "t:1:19: empty: the value is empty"},
		{"relative path", "/users/{{slash}}", URL, "/users/a%2Fb%3Fc", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			tmpl, err := Compile("t", c.text)
			if err == nil {
				got, err = tmpl.Render(Map(values), c.escape)
			}
			if c.err != "" {
				var e *Error
				if !errors.As(err, &e) || e.Error() != c.err {
					t.Fatalf("error = %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestMissingNamesThePath(t *testing.T) {
	_, err := Fill("client acme: headers.X", "{{tenant}}/{{subdomain}}", Map(map[string]any{"tenant": "x"}), nil)
	var e *Error
	if !errors.As(err, &e) || e.Missing != "subdomain" || e.Template != "client acme: headers.X" {
		t.Errorf("error = %+v, want one that misses subdomain", err)
	}
}

func TestPaths(t *testing.T) {
	tmpl, err := Compile("t", `{{a.b}} {{"x" c | json}} {{a.b | form}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tmpl.Paths(), " "); got != "a.b c" {
		t.Errorf("Paths = %s, want a.b c", got)
	}
}

func TestTooLong(t *testing.T) {
	if _, err := Compile("t", strings.Repeat("x", maxText+1)); err == nil {
		t.Error("a template of more than 64 KiB compiles")
	}
}

// FuzzTemplate looks for texts that crash, that fail without saying where, or
// that carry a value past its escape.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"", "{{a}}", `{{a "x" b | json | base64}}`, "{{", "{{a|}}", "{{a[0].b}}", `{{"\`, "https://{{a}}/{{b}}?{{a}}", "{{\xff}}"} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		tmpl, err := Compile("fuzz", text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("Compile(%q) = %v, not an *Error with a place", text, err)
			}
			return
		}
		all := func(string) (any, bool) { return value, true }
		for _, escape := range []Escape{nil, URL, JSON, Form, XML, Header} {
			if _, err := tmpl.Render(all, escape); err != nil {
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("Render(%q) = %v, not an *Error", text, err)
				}
			}
		}
		tmpl.Render(Map(map[string]any{"a": map[string]any{"b": value}, "l": []any{value}}), nil)
		if s, err := Fill("f", "{{v | header}}", all, nil); err == nil && strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("header let %q pass", s)
		}
	})
}
