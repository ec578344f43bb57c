package content

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func TestJSON(t *testing.T) {
	for in, want := range map[string]any{
		`{"a":1,"b":1.5,"c":[true,null,"x"]}`: map[string]any{"a": int64(1), "b": 1.5, "c": []any{true, nil, "x"}},
		"\xef\xbb\xbf[1]":                     []any{int64(1)},
		` "text" `:                            "text",
		`12`:                                  int64(12),
		`12345678901234567890`:                12345678901234567890.0,
		``:                                    nil,
		`{"a":"]}[{\"[{"}`:                    map[string]any{"a": `]}[{"[{`},
		strings.Repeat("[", model.MaxDepth) + strings.Repeat("]", model.MaxDepth): nested(model.MaxDepth),
	} {
		got, err := JSON([]byte(in))
		got = model.Plain(got)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.40s = %v (%T), %v", in, got, got, err)
		}
	}
	for in, want := range map[string]string{
		`{"password":"hunter2-and`: "broken at byte",
		`{"password":hunter2}`:     "broken at byte",
		`{} {}`:                    "broken at byte",
		strings.Repeat("[", model.MaxDepth+1) + strings.Repeat("]", model.MaxDepth+1): "levels",
	} {
		_, err := JSON([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.40s: %v, want %q", in, err, want)
		}
	}
}

func nested(n int) any {
	var v any = []any{}
	for range n - 1 {
		v = []any{v}
	}
	return v
}

func TestXML(t *testing.T) {
	for in, want := range map[string]any{
		`<?xml version="1.0"?><auth><token>abc</token><n/></auth>`:      map[string]any{"auth": map[string]any{"token": "abc", "n": nil}},
		`<a x="1">t<b>1</b><b>2</b><b>3</b></a>`:                        map[string]any{"a": map[string]any{"@x": "1", "#text": "t", "b": []any{"1", "2", "3"}}},
		`<s:E xmlns:s="urn:x"><s:B/></s:E>`:                             map[string]any{"s:E": map[string]any{"@xmlns:s": "urn:x", "s:B": nil}},
		"<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><a>caf\xe9</a>": map[string]any{"a": "café"},
		`<a>&lt;&amp;<![CDATA[<x>]]></a>`:                               map[string]any{"a": "<&<x>"},
	} {
		got, err := XML([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "text", "<a>", "<a></b>", `<!DOCTYPE a [<!ENTITY x "xxxx">]><a>&x;</a>`, strings.Repeat("<a>", model.MaxDepth+1) + strings.Repeat("</a>", model.MaxDepth+1)} {
		if v, err := XML([]byte(in)); err == nil {
			t.Errorf("%.40s = %v", in, v)
		}
	}
}

func TestRead(t *testing.T) {
	multi := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n2\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
	for _, c := range []struct {
		header, in string
		want       any
	}{
		{"application/json", `{"a":1}`, map[string]any{"a": int64(1)}},
		{"application/json; charset=utf-8", `[1]`, []any{int64(1)}},
		{"Application/Problem+JSON", `"x"`, "x"},
		{"application/json; charset=iso-8859-1", "\"caf\xe9\"", "café"},
		{"application/x-www-form-urlencoded", "a=1&b=x+y&a=2", map[string]any{"a": "1,2", "b": "x y"}},
		{"text/xml", "<a>1</a>", map[string]any{"a": "1"}},
		{"text/plain; charset=windows-1252", "caf\xe9", "café"},
		{"text/plain; charset=nonsense", "x", "x"},
		{"", "{}", "{}"},
		{"text/plain", "a\xffb", "a\uFFFDb"},
		{"application/json", "", nil},
		{`multipart/form-data; boundary=b`, multi, map[string]any{"a": []any{"1", "2"}, "f": map[string]any{"fileName": "x.txt", "contentType": "text/plain", "content": []byte("hello")}}},
	} {
		got, err := Read([]byte(c.in), c.header)
		got = model.Plain(got)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v (%T), %v; want %v", c.header, got, got, err, c.want)
		}
	}
	many := strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n", MaxParts+1) + "--b--\r\n"
	for header, in := range map[string]string{"application/json": "{", "text/xml": "<a>", "multipart/form-data": multi, "multipart/form-data; boundary=b": many, "application/x-www-form-urlencoded": "a=%zz"} {
		if v, err := Read([]byte(in), header); err == nil {
			t.Errorf("%s = %v", header, v)
		}
	}
}

func TestSecrets(t *testing.T) {
	in := map[string]any{
		"authToken": "auth-token-1", "expiresInMinutes": int64(60), "token_type": "Bearer-like", "name": "not a secret",
		"nested":    []any{map[string]any{"Client-Secret": "client-secret-1", "short_token": "abc"}},
		"text":      `{"password":"password-in-text"}`,
		"tokens":    []any{"listed-token-1", "listed-token-2"},
		"raw":       model.JSON(`{"session_secret":"raw-secret-1"}`),
		"row":       model.Row{ObjectID: 1, Values: map[string]any{"AccessToken": "row-token-1"}}.Object(),
		"X-Api-Key": []byte("key-bytes"),
	}
	got := Secrets(in)
	slices.Sort(got)
	want := []string{"auth-token-1", "client-secret-1", "key-bytes", "listed-token-1", "listed-token-2", "password-in-text", "raw-secret-1", "row-token-1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func FuzzRead(f *testing.F) {
	for _, h := range []string{"application/json", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain; charset=utf-16"} {
		f.Add(h, []byte(`{"a":[1,"x"]}`))
		f.Add(h, []byte("<a b='1'>x<c/></a>"))
		f.Add(h, []byte("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--"))
	}
	f.Fuzz(func(t *testing.T, header string, b []byte) {
		v, err := Read(b, header)
		if err != nil {
			return
		}
		Secrets(v)
		if _, err := Encode(v); err != nil {
			t.Errorf("%s %q: %v", header, b, fmt.Errorf("what was read cannot be written: %w", err))
		}
	})
}
