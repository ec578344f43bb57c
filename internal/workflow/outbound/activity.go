package outbound

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// The outcomes beside Done and the status.
const (
	Unsupported = "Unsupported Status Code"
	// Failed is where a run goes on without an answer, if it leads anywhere.
	// The platform has no such outcome: there, and here where nothing is
	// connected to it, a network failure is a fault.
	Failed = "Failed"
	// Reauthorize and Unavailable say what ails a connection that has no token
	// to give: only a person can help, or time.
	Reauthorize = "Needs Reauthorization"
	Unavailable = "Unavailable"
)

// Specs are the activities that make requests.
func Specs(o Options) []activity.Spec {
	return []activity.Spec{sendHTTPRequest(o), callConnection(o), getAccessToken(o)}
}

func outputs() []activity.Output {
	return []activity.Output{
		{Name: "Response", Doc: "StatusCode and Headers, a list of values for each name"},
		{Name: "ResponseContent", Doc: "the body, parsed by its media type, if ReadContent is set; text after a status that is no success"},
		{Name: "FailReason", Doc: "why there was no answer, after the outcomes " + Failed + ", " + Reauthorize + " and " + Unavailable},
	}
}

func codesField() activity.Field {
	return activity.Field{Name: "SupportedStatusCodes", Doc: "statuses that are expected; [] expects every one", Kind: activity.Ints, Syntax: workflow.JSON, Default: []int64{200}}
}

const outcomesDoc = "An answer takes `Done`, its status as text (`200`, `404`), and `Unsupported Status Code` if the status is not in SupportedStatusCodes: all of them, the last first. " +
	"Without an answer the run faults, unless something is connected to `Failed`."

func sendHTTPRequest(o Options) activity.Spec {
	return activity.Spec{
		Type: "SendHttpRequest", DisplayName: "Send HTTP Request", Category: "HTTP",
		Summary: "Sends an HTTP request and waits for the answer.",
		Doc: outcomesDoc + " Redirects are followed, but nothing that the workflow sent goes to another origin. " +
			"With Connection, the request goes out with the connection's fresh token, to the connection's hosts alone, and once more if the API refuses the token.",
		Fields: []activity.Field{
			{Name: "Url", Doc: "where to; with Connection also a path below its base URL", Kind: activity.Text},
			{Name: "Method", Doc: "GET if blank", Kind: activity.Text, Options: []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}},
			{Name: "Content", Doc: "body of a POST, PUT, PATCH or DELETE: text or bytes as they are, anything else as JSON, or as a form if ContentType says so", Kind: activity.Any},
			{Name: "ContentType", Doc: "media type of Content", Kind: activity.Text},
			{Name: "ReadContent", Doc: "read the answer's body", Kind: activity.Bool, Default: false},
			{Name: "ResponseContentParserName", Doc: "blank: by media type; else " + strings.Join([]string{parserType, parserToken, parserFile, parserText}, ", "), Kind: activity.Text},
			{Name: "ResponseContentTargetType", Doc: "kept, and of no use here", Kind: activity.Text},
			codesField(),
			{Name: "Authorization", Doc: "the Authorization header: a secret, or scheme and credential", Kind: activity.Text, Syntax: workflow.Secret},
			{Name: "RequestHeaders", Doc: "further headers, a value for each name", Kind: activity.Map, Syntax: workflow.JSON},
			{Name: "Connection", Doc: "make the request as this connection; Freshet's own field", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done, Unsupported}, OutcomesOf: "SupportedStatusCodes", AnyOutcome: true,
		Outputs: outputs(), Acts: true,
		Examples: []activity.Example{{
			Doc: "a JSON body with a token", In: `{"Url":"https://api.example/me\n","Method":"POST","Content":"{\"a\":1}","ContentType":"application/json","ReadContent":true,"RequestHeaders":{"Authorization":"Bearer example-token"}}`,
			Outcomes: []string{"200", "Done"},
			Out:      `{"Response":{"StatusCode":200,"Headers":{"Content-Type":["application/json"],"Content-Length":["11"]}},"ResponseContent":{"ok":true}}`,
		}},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			return o.run(ctx, c, Fields{URL: c.Text("Url"), ContentType: c.Text("ContentType"), Connection: strings.TrimSpace(c.Text("Connection")),
				Read: c.Bool("ReadContent"), Parser: c.Text("ResponseContentParserName"), Authorization: text(c, "Authorization")})
		},
	}
}

func callConnection(o Options) activity.Spec {
	return activity.Spec{
		Type: "CallConnection", DisplayName: "Call Connection", Category: "HTTP",
		Summary: "Calls an API as a connection: with its fresh token, to its own hosts.",
		Doc: outcomesDoc + " Where the connection has no token to give the run takes `Needs Reauthorization` (a person has to connect it again) or `Unavailable`, if something is connected there. " +
			"Redirects are not followed: they are answers.",
		Fields: []activity.Field{
			{Name: "Connection", Doc: "whose token to send", Kind: activity.Text, Required: true},
			{Name: "Method", Doc: "GET if blank", Kind: activity.Text, Options: []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}},
			{Name: "Path", Doc: "path and query below the connection's base URL, or a whole URL at one of its hosts", Kind: activity.Text},
			{Name: "Content", Doc: "body: text or bytes as they are, anything else as JSON, or as a form if ContentType says so", Kind: activity.Any},
			{Name: "ContentType", Doc: "media type of Content", Kind: activity.Text},
			{Name: "RequestHeaders", Doc: "further headers; the credential's are the connection's to set", Kind: activity.Map, Syntax: workflow.JSON},
			codesField(),
		},
		Outcomes: []string{workflow.Done, Unsupported, Failed, Reauthorize, Unavailable}, OutcomesOf: "SupportedStatusCodes", AnyOutcome: true,
		Outputs: outputs(), Acts: true,
		Examples: []activity.Example{{
			Doc: "who am I", In: `{"Connection":"crm","Path":"/me"}`, Outcomes: []string{"200", "Done"},
			Out: `{"Response":{"StatusCode":200,"Headers":{"Content-Type":["application/json"],"Content-Length":["11"]}},"ResponseContent":{"ok":true}}`,
		}},
		Run: func(ctx context.Context, c *activity.Call) (activity.Result, error) {
			name := strings.TrimSpace(c.Text("Connection"))
			if name == "" {
				return activity.Result{}, &FieldError{"Connection", errors.New("it is blank")}
			}
			return o.run(ctx, c, Fields{URL: c.Text("Path"), ContentType: c.Text("ContentType"), Connection: name, Read: true})
		},
	}
}

// text returns a field as text, a secret opened: it is on its way out. The run
// hears of it first, so that no journal shows it.
func text(c *activity.Call, field string) string {
	s, ok := c.In[field].(freshet.Secret)
	if !ok {
		return c.Text(field)
	}
	c.Run.Secret(parts(s.Reveal())...)
	return s.Reveal()
}

// parts are a header's value and the credential in it.
func parts(value string) []string {
	value = strings.TrimSpace(value)
	out := []string{value}
	if _, rest, ok := strings.Cut(value, " "); ok {
		out = append(out, strings.TrimSpace(rest))
	}
	return out
}

// run sends what the call's fields say and takes the outcomes.
func (o Options) run(ctx context.Context, c *activity.Call, f Fields) (activity.Result, error) {
	f.Run, f.Method, f.Content = c.Run.ID(), c.Text("Method"), c.Value("Content")
	f.Headers = map[string]any{}
	for name, v := range c.Map("RequestHeaders") {
		if s, ok := v.(freshet.Secret); ok {
			c.Run.Secret(parts(s.Reveal())...)
			v = s.Reveal()
		}
		f.Headers[name] = v
	}
	if s, ok := f.Content.(freshet.Secret); ok {
		c.Run.Secret(s.Reveal())
		f.Content = s.Reveal()
	}
	confide(c, f)
	a, err := o.Send(ctx, f)
	if err != nil {
		return failed(ctx, c, err)
	}
	res := activity.Result{
		Outputs: map[string]any{"Response": a.model(), "ResponseContent": nil},
		Data:    map[string]any{"Status": int64(a.Status)},
		Message: fmt.Sprintf("%s %s: %d", method0(f.Method), a.Host, a.Status),
	}
	if a.Refreshed {
		res.Data["Token"] = "refused, renewed, and sent once more"
	}
	if a.Redirects > 0 {
		res.Data["Redirects"] = int64(a.Redirects)
	}
	if len(a.Dropped) > 0 {
		res.Data["Headers not sent"] = strings.Join(a.Dropped, ", ")
	}
	for _, line := range a.Header["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		if _, v, ok := strings.Cut(pair, "="); ok && len(v) >= 6 {
			c.Run.Secret(v)
		}
	}
	if f.Read {
		v, err := a.Parse(f.Parser)
		if err != nil {
			return activity.Result{}, fmt.Errorf("the answer of %s: %w", a.Host, err)
		}
		c.Run.Secret(content.Secrets(v)...)
		res.Outputs["ResponseContent"] = v
		res.Data["Bytes"] = int64(len(a.Body))
	}
	res.Outcomes = outcomes(a.Status, c.In["SupportedStatusCodes"], c.Ints("SupportedStatusCodes"))
	return res, nil
}

func method0(s string) string {
	if m, err := method(s); err == nil {
		return m
	}
	return s
}

// confide tells the run what the request carries: it may come back in an answer
// and stand in a variable of any name.
func confide(c *activity.Call, f Fields) {
	c.Run.Secret(content.Secrets(f.Content)...)
	for name, v := range f.Headers {
		if s, err := content.HeaderText(v); err == nil && s != "" && content.SecretName(name) {
			c.Run.Secret(parts(s)...)
		}
	}
	if f.Authorization != "" {
		c.Run.Secret(parts(f.Authorization)...)
	}
}

// outcomes are in the platform's order. An empty list expects everything.
func outcomes(status int, given any, supported []int64) []string {
	out := []string{workflow.Done, strconv.Itoa(status)}
	if given == nil {
		supported = []int64{200}
	}
	for _, s := range supported {
		if s == int64(status) {
			return out
		}
	}
	if len(supported) > 0 {
		out = append(out, Unsupported)
	}
	return out
}

// failed takes the outcome for what went wrong, if the workflow has a way on
// from it; without one it is a fault, never a silent end.
func failed(ctx context.Context, c *activity.Call, err error) (activity.Result, error) {
	if ctx.Err() != nil {
		return activity.Result{}, err
	}
	for _, outcome := range waysOut(err) {
		if len(c.Run.Definition().Outbound(c.Activity.ID, outcome)) > 0 {
			return activity.Result{Outcomes: []string{outcome}, Message: err.Error(),
				Outputs: map[string]any{"Response": nil, "ResponseContent": nil, "FailReason": err.Error()}}, nil
		}
	}
	return activity.Result{}, err
}

func waysOut(err error) []string {
	if s, ok := errors.AsType[*freshet.StateError](err); ok {
		if s.State == freshet.StateReauth {
			return []string{Reauthorize, Failed}
		}
		return []string{Unavailable, Failed}
	}
	if _, ok := errors.AsType[*UnreachableError](err); ok {
		return []string{Failed}
	}
	if _, ok := errors.AsType[*upstream.RefusedError](err); ok {
		return []string{Failed}
	}
	return nil // a mistake in the workflow
}

// model is the answer as expressions see it.
func (a *Answer) model() *model.Object {
	headers := make(map[string]any, len(a.Header))
	for name, values := range a.Header {
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		headers[name] = list
	}
	return model.NewObject(model.KindResponse, model.Member{Name: "StatusCode", Value: int64(a.Status)}, model.Member{Name: "Headers", Value: headers})
}
