package app

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// A request is a query with its values filled in.
type request struct {
	outbound.Fields
	shown string // METHOD URL, without the query and credentials
}

// query begins the request of a query, whose values are those of its templates
// in order.
func (j *job) query(name string, lists []any) (any, error) {
	q := j.p.query(name)
	if q == nil {
		return nil, fmt.Errorf("there is no query %s", name)
	}
	values, err := valuesOf(q, lists)
	if err != nil {
		return nil, err
	}
	r, err := j.fill(q, values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.Name, err)
	}
	at := j.a.o.Now()
	j.traps.sent(j, q, r)
	return j.meanwhile(func(ctx context.Context) *ended {
		ctx, cancel := context.WithTimeout(ctx, q.timeout)
		defer cancel()
		answer, err := j.a.o.Sender.Send(ctx, r.Fields)
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("no answer within %s", q.timeout)
		}
		return &ended{do: func(e *ended) { j.answered(q, r, at, answer, err, e) }}
	}), nil
}

// valuesOf reads what the prelude evaluated.
func valuesOf(q *query, lists []any) ([][]value, error) {
	templates := q.templates()
	if len(lists) != len(templates) {
		return nil, fmt.Errorf("%s: %d parts were evaluated, and there are %d", q.Name, len(lists), len(templates))
	}
	out := make([][]value, len(lists))
	for i, l := range lists {
		list, _ := model.Plain(l).([]any)
		if len(list) != len(templates[i].code) {
			return nil, fmt.Errorf("%s: a part was not evaluated", q.Name)
		}
		for _, v := range list {
			s, _ := v.(string)
			out[i] = append(out[i], value(s))
		}
	}
	return out, nil
}

// fill makes the request.
func (j *job) fill(q *query, values [][]value) (*request, error) {
	r := &request{Fields: outbound.Fields{URL: q.url.url(values[0]), Method: q.Method, Connection: q.Connection, Run: j.rec.ID(), Read: true, Headers: map[string]any{}}}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	r.Method = strings.ToUpper(r.Method)
	r.shown = r.Method + " " + shownURL(r.URL)
	if q.Connection != "" {
		r.shown += " as " + q.Connection
		j.native = true
	}
	typed := false
	for i := range q.headers {
		h, v := &q.headers[i], values[1+i]
		text := strings.TrimSpace(h.plain(v))
		if credential(h.name) {
			// A call without its token is no call.
			for n := range v {
				if v[n].nothing() {
					return nil, fmt.Errorf("the header %s needs {{ %s }}, which has no value; the request was not sent", h.name, short(h.code[n]))
				}
				j.know(v[n].text())
			}
			j.know(afterScheme(text))
		}
		if text == "" {
			continue
		}
		typed = typed || strings.EqualFold(h.name, "Content-Type")
		r.Headers[h.name] = text
	}
	rest := values[1+len(q.headers):]
	body, err := q.fillBody(rest[0], rest[1:])
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(body) != "" {
		j.know(bodySecrets(q, body, rest[1:])...)
		r.Content = []byte(body)
		if !typed {
			r.ContentType = q.media
		}
	}
	return r, nil
}

func (q *query) fillBody(body []value, fields [][]value) (string, error) {
	if len(q.fields) > 0 {
		pairs := make([]string, len(q.fields))
		for i := range q.fields {
			pairs[i] = percent(q.fields[i].name) + "=" + percent(q.fields[i].plain(fields[i]))
		}
		return strings.Join(pairs, "&"), nil
	}
	switch q.kind {
	case "json":
		return q.body.json(body)
	case "form":
		return q.body.form(body), nil
	}
	return q.body.plain(body), nil
}

// bodySecrets lists what of a body must not be shown.
func bodySecrets(q *query, body string, fields [][]value) []string {
	var out []string
	for i := range q.fields {
		if content.SecretName(q.fields[i].name) {
			out = append(out, q.fields[i].plain(fields[i]))
		}
	}
	switch {
	case len(q.fields) > 0:
	case q.kind == "json":
		out = append(out, content.Secrets(body)...)
	case q.kind == "form":
		if m, err := content.Form([]byte(body)); err == nil {
			out = append(out, content.Secrets(m)...)
		}
	}
	return out
}

// credential reports whether a header carries one.
func credential(header string) bool { return redact.Name(header) || content.SecretName(header) }

// afterScheme is the credential of "JWT abc".
func afterScheme(text string) string {
	if scheme, rest, ok := strings.Cut(text, " "); ok && content.Token(scheme) {
		return strings.TrimSpace(rest)
	}
	return text
}

// shownURL is a URL without what may be secret in it.
func shownURL(u string) string {
	u, _, _ = strings.Cut(u, "?")
	u, _, _ = strings.Cut(u, "#")
	return u
}

// answered reads the answer: it is written down, and goes to the script.
func (j *job) answered(q *query, r *request, at time.Time, a *outbound.Answer, err error, e *ended) {
	step := run.Step{Activity: q.Name, Type: "Query", Name: q.Name, At: at, Duration: j.a.o.Now().Sub(at), Event: "Executed"}
	defer func() { j.rec.Step(step) }()
	if err != nil {
		text := q.Name + ": " + r.shown + ": " + err.Error()
		step.Event, step.Error = "Faulted", text
		e.back = []any{text, "", map[string]any{}, "", false}
		return
	}
	text := content.Text(a.Body, charset(a.Header))
	media, _ := content.Media(a.Header.Get("Content-Type"))
	isJSON := content.IsJSON(media) || looksJSON(text)
	if isJSON {
		j.know(content.Secrets(text)...)
	}
	status := fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
	step.Message, step.Outcomes = r.shown+" answered "+status, []string{fmt.Sprint(a.Status)}
	failed := ""
	if a.Status < 200 || a.Status > 299 {
		failed = q.Name + ": " + step.Message
		step.Event, step.Error = "Faulted", step.Message
	}
	headers := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		if name == "Set-Cookie" {
			continue
		}
		var list []any
		for _, v := range a.Header[name] {
			list = append(list, v)
		}
		headers[name] = list
	}
	e.back = []any{failed, strings.TrimSpace(status), headers, text, isJSON}
	if failed == "" && isJSON {
		if key, v := j.traps.received(j, q, text); key != "" {
			e.back = append(e.back, []any{key, v})
		}
	}
}

func charset(h http.Header) string {
	_, params := content.Media(h.Get("Content-Type"))
	return params["charset"]
}

func looksJSON(s string) bool {
	s = strings.TrimSpace(s)
	return s != "" && (s[0] == '{' || s[0] == '[') && json.Valid([]byte(s))
}
