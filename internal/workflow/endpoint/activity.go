package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Type is the activity that makes a workflow callable.
const Type = "HttpEndpoint"

// Specs are the activities of this package. They need no service: who calls is
// with the run.
func Specs() []activity.Spec {
	return []activity.Spec{httpEndpoint(), writeHTTPResponse(), redirect()}
}

func httpEndpoint() activity.Spec {
	return activity.Spec{
		Type: Type, DisplayName: "HTTP Endpoint", Category: "HTTP", Trigger: true,
		Summary: "Starts a run on an HTTP request; met later in a run, waits for one.",
		Doc: "Paths are matched without case and may have parameters: `/orders/{id}`. What the published workflow's endpoint declares decides who is let in; one that declares nothing asks for an API key with `run:WORKFLOW`, " +
			"unless the workflow is public. A run that waits here is reached by `?correlation=` or `X-Correlation-Id` where several wait.",
		Fields: []activity.Field{
			{Name: "Path", Doc: "where it is served, evaluated with the default variables when the workflow is published", Kind: activity.Text},
			{Name: "Methods", Doc: "which methods it takes", Kind: activity.Texts, Syntax: workflow.JSON, Default: []string{"GET"}},
			{Name: "ReadContent", Doc: "read the request's body: JSON, a form, XML, multipart, text", Kind: activity.Bool, Default: false},
			{Name: "TargetType", Doc: "kept, and of no use here", Kind: activity.Text},
			{Name: "Schema", Doc: "for designers", Kind: activity.Text},
			{Name: "Authorize", Doc: "ask for an API key with run:WORKFLOW", Kind: activity.Bool, Default: false},
			{Name: "Policy", Doc: "there are no policies here; naming one asks for an API key", Kind: activity.Text},
			{Name: "AuthorizeWithCustomHeader", Doc: "ask for a header; it is evaluated for each request, and a blank name or value lets nobody in", Kind: activity.Bool, Default: false},
			{Name: "CustomHeaderName", Doc: "Bearer also takes Authorization: Bearer …", Kind: activity.Text},
			{Name: "CustomHeaderValue", Doc: "what it must be: a variable, or as Secret Table:TABLE/KEY/COLUMN or Connection:NAME", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done},
		Outputs:  []activity.Output{{Name: "Output", Doc: "Path, Method, QueryString, RouteValues, Headers, Body, RawBody; or whatever the run was started with"}},
		Examples: []activity.Example{
			{Doc: "first, it passes its input on", In: `{"Path":"/x"}`, Input: `{"a":1}`, First: true, Outcomes: []string{"Done"}, Out: `{"Output":{"a":1}}`},
			{Doc: "later, it waits", In: `{"Path":"/confirm/{id}","Methods":["POST","GET"]}`, Waits: activity.WaitHTTP},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			in := c.Input
			switch {
			case c.Resume != nil:
				in = c.Resume.Input
			case !c.First:
				t, err := parseTemplate(c.Text("Path"))
				if err != nil {
					return activity.Result{}, fmt.Errorf("Path: %w", err)
				}
				e := Endpoint{Path: t.text, Methods: methods(c.Texts("Methods"))}
				return activity.Result{Suspend: &activity.Bookmark{Kind: activity.WaitHTTP, Key: e.Key()}, Message: "waits for " + e.Key()}, nil
			}
			if c.HTTP != nil && c.HTTP.Request != nil {
				c.Run.Secret(secretsOf(c.HTTP.Request)...)
			}
			res := activity.Result{Outputs: map[string]any{"Output": in}}
			if o, ok := in.(*model.Object); ok && o.Kind() == model.KindRequest {
				method, _ := o.Get("Method")
				path, _ := o.Get("Path")
				res.Message = fmt.Sprintf("%v %v", method, path)
				res.Data = map[string]any{"Inbound Request": in}
			}
			return res, nil
		},
	}
}

func writeHTTPResponse() activity.Spec {
	return activity.Spec{
		Type: "WriteHttpResponse", DisplayName: "HTTP Response", Category: "HTTP",
		Summary: "Answers the HTTP caller of the run, or of the run that started it.",
		Doc:     "Without a caller it does nothing. A second answer is a fault.",
		Fields: []activity.Field{
			{Name: "Content", Doc: "text and bytes as they are, anything else as JSON", Kind: activity.Any},
			{Name: "ContentType", Doc: "media type of Content", Kind: activity.Text, Default: "text/plain"},
			{Name: "StatusCode", Doc: "by name or number", Kind: activity.Text, Default: "OK"},
			{Name: "CharSet", Doc: "of a text", Kind: activity.Text, Default: "utf-8"},
			{Name: "ResponseHeaders", Doc: "further headers, a value for each name", Kind: activity.Map, Syntax: workflow.JSON},
		},
		Outcomes: []string{workflow.Done},
		Examples: []activity.Example{
			{Doc: "an answer", In: `{"Content":"not found","StatusCode":"NotFound"}`, Outcomes: []string{"Done"}},
			{Doc: "no status", In: `{"StatusCode":"Nonsense"}`, Fault: "StatusCode"},
		},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			a, dropped, err := answerOf(c)
			if err != nil {
				return activity.Result{}, err
			}
			return respond(c, a, dropped)
		},
	}
}

func redirect() activity.Spec {
	return activity.Spec{
		Type: "Redirect", DisplayName: "HTTP Redirect", Category: "HTTP",
		Summary: "Sends the HTTP caller of the run somewhere else.",
		Fields: []activity.Field{
			{Name: "Location", Doc: "where to", Kind: activity.Text, Required: true},
			{Name: "Permanent", Doc: "301 instead of 302", Kind: activity.Bool, Default: false},
		},
		Outcomes: []string{workflow.Done},
		Examples: []activity.Example{{Doc: "home", In: `{"Location":"/home"}`, Outcomes: []string{"Done"}}, {Doc: "nowhere", In: `{"Location":" "}`, Fault: "Location"}},
		Run: func(_ context.Context, c *activity.Call) (activity.Result, error) {
			to := content.EscapeURL(strings.TrimSpace(c.Text("Location")))
			if to == "" {
				return activity.Result{}, errors.New("Location: it is blank")
			}
			a := activity.Answer{Status: http.StatusFound, Header: http.Header{"Location": {to}}}
			if c.Bool("Permanent") {
				a.Status = http.StatusMovedPermanently
			}
			return respond(c, a, nil)
		},
	}
}

func respond(c *activity.Call, a activity.Answer, dropped []string) (activity.Result, error) {
	if c.HTTP == nil {
		return activity.Result{Message: "nobody called by HTTP"}, nil
	}
	if err := c.HTTP.Write(a); err != nil {
		return activity.Result{}, err
	}
	res := activity.Result{Message: fmt.Sprintf("answered %d", a.Status), Data: map[string]any{"Status": int64(a.Status)}}
	if len(dropped) > 0 {
		res.Data["Headers not sent"] = strings.Join(dropped, ", ")
	}
	return res, nil
}

// notOurs are headers that the server itself writes.
var notOurs = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true, "Upgrade": true, "Trailer": true, "Date": true}

func answerOf(c *activity.Call) (a activity.Answer, dropped []string, err error) {
	a.Header = http.Header{}
	if a.Status, err = status(c.Text("StatusCode")); err != nil {
		return a, nil, fmt.Errorf("StatusCode: %w", err)
	}
	for name, v := range c.Map("ResponseHeaders") {
		if !content.Token(strings.TrimSpace(name)) {
			return a, nil, fmt.Errorf("ResponseHeaders: %q cannot be the name of a header", name)
		}
		key := http.CanonicalHeaderKey(strings.TrimSpace(name))
		if notOurs[key] {
			dropped = append(dropped, key)
			continue
		}
		list, ok := v.([]any)
		if !ok || key != "Set-Cookie" { // cookies do not join
			list = []any{v}
		}
		for _, one := range list {
			text, err := content.HeaderText(one)
			if err != nil {
				return a, nil, fmt.Errorf("ResponseHeaders: %s: %w", key, err)
			}
			a.Header.Add(key, text)
		}
	}
	media, err := content.HeaderText(c.Text("ContentType"))
	if err != nil {
		return a, nil, fmt.Errorf("ContentType: %w", err)
	}
	charset := strings.TrimSpace(c.Text("CharSet"))
	if charset != "" && !content.Token(charset) {
		return a, nil, errors.New("CharSet: it is not the name of a charset")
	}
	text := true
	switch v := c.Value("Content").(type) {
	case nil:
	case string:
		a.Body = []byte(v)
	case []byte:
		a.Body, text = v, false
	default:
		if a.Body, err = content.Encode(v); err != nil {
			return a, nil, fmt.Errorf("Content: %w", err)
		}
	}
	if text && len(a.Body) > 0 && charset != "" && !strings.EqualFold(charset, "utf-8") {
		enc, err := htmlindex.Get(charset)
		if err != nil {
			return a, nil, fmt.Errorf("CharSet: there is no charset %q", charset)
		}
		if a.Body, err = enc.NewEncoder().Bytes(a.Body); err != nil {
			return a, nil, fmt.Errorf("CharSet: the content has characters that %s does not have", charset)
		}
	}
	if media != "" {
		if charset != "" && !strings.Contains(strings.ToLower(media), "charset=") && (text || strings.HasPrefix(media, "text/")) {
			media += "; charset=" + charset
		}
		a.Header.Set("Content-Type", media)
	}
	return a, dropped, nil
}

// status reads a status as the platform writes them: a name or a number.
func status(s string) (int, error) {
	s = strings.TrimSpace(s)
	n, err := strconv.Atoi(s)
	if err != nil {
		n = statuses[strings.ToLower(s)]
	}
	if n == 0 {
		return 0, fmt.Errorf("there is no status %q: write a number, or a name such as OK or NotFound", s)
	}
	if n < 200 || n > 599 {
		return 0, fmt.Errorf("%d is no status of an answer", n)
	}
	return n, nil
}

// statuses are the platform's names in lower case. Most are the words of the
// standard without spaces.
var statuses = func() map[string]int {
	out := map[string]int{
		"nonauthoritativeinformation": 203, "multiplechoices": 300, "ambiguous": 300, "moved": 301, "redirect": 302, "redirectmethod": 303, "unused": 306,
		"redirectkeepverb": 307, "requestentitytoolarge": 413, "requesturitoolong": 414, "requestedrangenotsatisfiable": 416, "unprocessablecontent": 422, "httpversionnotsupported": 505,
	}
	for n := 200; n < 600; n++ {
		if text := http.StatusText(n); text != "" {
			out[strings.ToLower(strings.NewReplacer(" ", "", "-", "", "'", "").Replace(text))] = n
		}
	}
	return out
}()

// methods are in upper case, sorted, without doubles; GET if there are none.
func methods(in []string) (out []string) {
	for _, m := range in {
		if m = strings.ToUpper(strings.TrimSpace(m)); m != "" && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return []string{http.MethodGet}
	}
	slices.Sort(out)
	return out
}
