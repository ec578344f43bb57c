package app

import (
	"fmt"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		how, text string
		values    []value
		want      string
	}{
		{"json", `{"refresh_token":{{appsmith.store.authRefreshToken}}}`, []value{`"a\"b"`}, `{"refresh_token":"a\"b"}`},
		{"json", `{"refresh_token":"{{appsmith.store.authRefreshToken}}"}`, []value{`"a\"b"`}, `{"refresh_token":"a\"b"}`},
		{"json", `{"a":{{x}},"b":{{y}},"c":{{z}}}`, []value{`{"k":[1]}`, ``, `null`}, `{"a":{"k":[1]},"b":null,"c":null}`},
		{"json", `{"a":"{{x}}"}`, []value{`5`}, `{"a":5}`},
		{"json", `{"a":"Bearer {{x}}!"}`, []value{`"q\"\n"`}, `{"a":"Bearer q\"\n!"}`},
		{"json", `{"a":"{{x}}{{y}}"}`, []value{`"1"`, `2`}, `{"a":"12"}`},
		{"json", `{"a":"\"{{x}}\""}`, []value{`"1"`}, `{"a":"\"1\""}`},
		{"json", `{{x}}`, []value{`[1,2]`}, `[1,2]`},
		{"json", ` `, nil, ` `},
		{"json", `{"a":{{x}}`, []value{`1`}, `error`},
		{"url", `https://h/{{a}}/x?q={{b}}&user_field_names=true`, []value{`"a/b c%"`, `"&x=1"`}, `https://h/a%2Fb%20c%25/x?q=%26x%3D1&user_field_names=true`},
		{"url", `{{base}}/x`, []value{`"https://h/v1"`}, `https://h/v1/x`},
		{"url", `https://h/?a=%20+b&c=d%2f`, nil, `https://h/?a=%20+b&c=d%2f`},
		{"plain", `JWT {{t}}`, []value{`"abc"`}, `JWT abc`},
		{"plain", `{{t}}`, []value{``}, ``},
		{"plain", `{{t}} {{u}}`, []value{`7`, `{"a":1}`}, `7 {"a":1}`},
		{"form", `grant_type=refresh_token&t={{t}}`, []value{`"a+b"`}, `grant_type=refresh_token&t=a%2Bb`},
	} {
		p, err := parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		switch c.how {
		case "json":
			if got, err = p.json(c.values); err != nil {
				got = "error"
			}
		case "url":
			got = p.url(c.values)
		case "form":
			got = p.form(c.values)
		default:
			got = p.plain(c.values)
		}
		if got != c.want {
			t.Errorf("%s %s with %q = %s, want %s", c.how, c.text, c.values, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`a{{b}}c`:                     `b`,
		`{{ {a: {b: 1}}.a }}`:         `{a: {b: 1}}.a`,
		`{{ "}}" + '{{' }}`:           `"}}" + '{{'`,
		`{{ x; }}`:                    `x`,
		`{{a}}{{b}}`:                  `a b`,
		"{{ a // }}\n }}":             "a // }}",
		`{{ l.map(o => ({...o})) }}z`: `l.map(o => ({...o}))`,
	} {
		p, err := parse(text)
		if got := strings.Join(p.code, " "); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`{{`, `{{}}`, `{{ ; }}`, `{{ {`} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s parses", text)
		}
	}
}

func TestReferences(t *testing.T) {
	for code, want := range map[string]string{
		`getusers_API.data.results`:              `getusers_API.data.results`,
		`js_manage_tokens.getAccessToken.data`:   `js_manage_tokens.getAccessToken.data`,
		`a.data?.b + c . d`:                      `a.data.b c.d`,
		`f(x).y.z`:                               `f x`,
		`"a.b" + 'c' /* d.e */`:                  ``,
		"`${q.data.x}`":                          `q.data.x`,
		`l.data.map(o => ({...o, k: this.a.b}))`: `l.data.map o o k this.a.b`,
		`1.5 + a[0].b`:                           `a`,
	} {
		var got []string
		for _, r := range references(code) {
			got = append(got, strings.Join(append([]string{r.name}, r.members...), "."))
		}
		if fmt.Sprint(strings.Join(got, " ")) != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

func TestCalm(t *testing.T) {
	for code, want := range map[string]string{
		"{a() { return \"Error: x\"; } // JSON\n}":          "{a() { return \"\\x45rror: x\"; }  \n}",
		"{/* a\nDate */ a: 'My Date' + JSON.x}":             "{\n  a: 'My \\x44ate' + JSON.x}",
		"{a: `Error //`, b: \"Error\"}":                     "{a: `Error //`, b: \"Error\"}",
		"{a: x => /'/.test(x) ? JSON.stringify(\"'\") : 1}": "{a: x => /'/.test(x) ? JSON.stringify(\"'\") : 1}",
		"{a: 'say \\'Error\\''}":                            "{a: 'say \\'\\x45rror\\''}",
		"{a: 1}":                                            "{a: 1}",
	} {
		if got := calm(code); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", code, got, want)
		}
	}
}
