package codec

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/strikethrough"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

func toHTML() activity.Spec {
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	return activity.Spec{
		Type: "MarkdownToHtml", DisplayName: "Markdown to HTML", Category: "Utilities",
		Summary:  "Turns Markdown into HTML.",
		Doc:      "CommonMark with tables, strikethrough, task lists and links. HTML within the Markdown is left out, and links that run scripts lose their target: the text is often somebody else's.",
		Fields:   []activity.Field{{Name: "MarkdownString", Doc: "the Markdown", Kind: activity.Text}},
		Outcomes: []string{success}, Outputs: output("the HTML"),
		Examples: []activity.Example{
			{Doc: "a heading", In: `{"MarkdownString":"# Hi *you*"}`, Outcomes: []string{success}, Out: `{"Output":"<h1>Hi <em>you</em></h1>\n"}`},
			{Doc: "no scripts", In: `{"MarkdownString":"<script>alert(1)</script>"}`, Out: `{"Output":"<!-- raw HTML omitted -->\n"}`},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			in, err := bounded(c, "MarkdownString")
			if err != nil {
				return activity.Result{}, err
			}
			if quoted(in) > maxQuotes {
				return activity.Result{}, fmt.Errorf("MarkdownString: quotes within quotes, more than %d deep", maxQuotes)
			}
			var b bytes.Buffer
			if err := md.Convert([]byte(in), &b); err != nil {
				return activity.Result{}, fmt.Errorf("MarkdownString: %w", err)
			}
			return done(b.String())
		},
	}
}

func toMarkdown() activity.Spec {
	return activity.Spec{
		Type: "HtmlToMarkdown", DisplayName: "HTML to Markdown", Category: "Utilities",
		Summary:  "Turns HTML into Markdown.",
		Fields:   []activity.Field{{Name: "HtmlString", Doc: "the HTML", Kind: activity.Text}, {Name: "MarkdownString", Doc: "the same, as some exports name it", Kind: activity.Text}},
		Outcomes: []string{success}, Outputs: output("the Markdown"),
		Examples: []activity.Example{{Doc: "a heading", In: `{"HtmlString":"<h1>Hi <em>you</em></h1><script>x</script>"}`, Outcomes: []string{success}, Out: `{"Output":"# Hi *you*"}`}},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			in, err := bounded(c, "HtmlString")
			if err == nil && in == "" {
				in, err = bounded(c, "MarkdownString")
			}
			if err != nil {
				return activity.Result{}, err
			}
			if strings.Count(in, "[") > maxBrackets {
				return activity.Result{}, fmt.Errorf("HtmlString: more than %d square brackets", maxBrackets)
			}
			// A converter of its own: it keeps state while it works.
			conv := converter.NewConverter(converter.WithPlugins(base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), strikethrough.NewStrikethroughPlugin(), table.NewTablePlugin()))
			out, err := conv.ConvertString(in, converter.WithContext(ctx))
			if err != nil {
				return activity.Result{}, fmt.Errorf("HtmlString: %w", err)
			}
			return done(out)
		},
	}
}

// Where the converters take a time that grows with the square of what they are
// given, and what is given is somebody else's text.
const (
	maxMarkup   = 1 << 20
	maxQuotes   = 200   // > within > within >
	maxBrackets = 20000 // each of which may need an escape in Markdown
)

// quoted is how deep the deepest quote is.
func quoted(s string) int {
	deepest, depth, start := 0, 0, true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			depth, start = 0, true
		case !start || c == ' ' || c == '\t' || c == '\r':
		case c == '>':
			depth++
			deepest = max(deepest, depth)
		case c == '-' || c == '*' || c == '+' || c >= '0' && c <= '9' || c == '.' || c == ')':
			// of lists, which may hold quotes
		default:
			start = false
		}
	}
	return deepest
}

func bounded(c *activity.Call, field string) (string, error) {
	s := c.Text(field)
	if len(s) > maxMarkup {
		return "", fmt.Errorf("%s: %d bytes are more than %d", field, len(s), maxMarkup)
	}
	return s, nil
}
