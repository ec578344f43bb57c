package codec

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
)

func TestExamples(t *testing.T) { activitytest.Examples(t, Specs(), nil) }

func run(t *testing.T, typ string, in map[string]any) (activity.Result, *activitytest.Run, error) {
	t.Helper()
	s, _ := activity.NewRegistry(Specs()...).Lookup(typ)
	c, r := activitytest.New(t, s, in)
	res, err := s.Run(t.Context(), c)
	return res, r, err
}

func TestJWTDecoder(t *testing.T) {
	// base64url, with characters that differ from the other alphabet, unpadded
	token := "eyJhbGciOiJIUzI1NiJ9.eyJuIjoiw7_Dv8O_Pz8-In0.c2ln"
	res, r, err := run(t, "JWTDecoder", map[string]any{"Token": "Bearer " + token + "\n"})
	if err != nil || res.Outputs["Output"] != `{"n":"ÿÿÿ??>"}` || !strings.Contains(res.Message, "not verified") {
		t.Errorf("%+v, %v", res, err)
	}
	if len(r.Secrets) == 0 || r.Secrets[0] != token {
		t.Errorf("told %q", r.Secrets)
	}
	for _, bad := range []string{"", "a.b", "a.!!.c", "a.W10.c", "a.e30x.c", "a.bnVsbA.c", "a.b.c.d.e"} {
		res, _, err := run(t, "JWTDecoder", map[string]any{"Token": bad})
		if err != nil || res.Outcomes[0] != failed || res.Outputs["FailReason"] == nil {
			t.Errorf("%q: %+v, %v", bad, res, err)
		}
	}
}

func TestBase64(t *testing.T) {
	for in, want := range map[string]string{"AP8=": "\x00\xff", "AP8": "\x00\xff", "_-8=": "\xff\xef", "YW\r\nJj": "abc", "data:text/plain;base64,YWJj": "abc", "": ""} {
		res, _, err := run(t, "Base64ToByteArray", map[string]any{"Base64String": in})
		if got, ok := res.Outputs["Output"].([]byte); err != nil || !ok || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q = %q, %v", in, got, err)
		}
	}
	for _, c := range []struct {
		in   any
		want any
	}{{[]byte{0, 255}, "AP8="}, {nil, ""}, {[]any{int64(97)}, "YQ=="}} {
		if res, _, err := run(t, "ByteArrayToBase64", map[string]any{"bytes": c.in}); err != nil || !reflect.DeepEqual(res.Outputs["Output"], c.want) {
			t.Errorf("%v = %v, %v", c.in, res.Outputs, err)
		}
	}
	for _, bad := range []any{[]any{-1.0}, []any{1.5}, []any{"a"}, true} {
		if res, _, err := run(t, "ByteArrayToBase64", map[string]any{"bytes": bad}); err == nil {
			t.Errorf("%v = %v", bad, res.Outputs)
		}
	}
}

// Text that other people wrote must not take the server's time: what would is
// refused at once.
func TestHostileMarkup(t *testing.T) {
	for _, c := range []struct{ typ, field, in string }{
		{"MarkdownToHtml", "MarkdownString", strings.Repeat("a", maxMarkup+1)},
		{"MarkdownToHtml", "MarkdownString", "x\n" + strings.Repeat("> ", maxQuotes+1)},
		{"MarkdownToHtml", "MarkdownString", strings.Repeat("- > ", maxQuotes+1)},
		{"HtmlToMarkdown", "HtmlString", strings.Repeat("![", maxBrackets+1)},
		{"HtmlToMarkdown", "HtmlString", strings.Repeat("<div>", 1000)},
	} {
		if _, _, err := run(t, c.typ, map[string]any{c.field: c.in}); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s %.12s…: %v", c.typ, c.in, err)
		}
	}
	for in, want := range map[string]string{
		strings.Repeat(">", 50):    "<blockquote>",
		"[x](javascript:alert(1))": `<a href="">x</a>`,
		"|a|\n|-|\n|b|":            "<table>",
	} {
		if res, _, err := run(t, "MarkdownToHtml", map[string]any{"MarkdownString": in}); err != nil || !strings.Contains(res.Outputs["Output"].(string), want) {
			t.Errorf("%s = %v, %v", in, res.Outputs, err)
		}
	}
}
