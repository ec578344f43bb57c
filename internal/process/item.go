package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/template"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// An answered is what came back, or why nothing did.
type answered struct {
	status int
	header http.Header
	body   any // plain; text if it is neither JSON nor a form nor XML
	at     time.Time
	err    error

	unsent bool // a preview: it is not known yet
}

// An Answer is what came back, as people may see it.
type Answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"`
}

// errAbsent says that the answer has not what a mapping takes from it.
var errAbsent = errors.New("the answer does not have it")

// value resolves where a mapping takes a value from. a is the answer in success
// and error mappings.
func (x *pressing) value(ctx context.Context, v freshet.ProcessValue, a *answered) (input, error) {
	switch {
	case !v.Secret.IsZero():
		return input{v.Secret.Reveal(), true}, nil
	case v.Expression != "":
		return x.evaluate(ctx, v.Expression)
	}
	pieces := parse(v.Text)
	if len(pieces) == 1 && pieces[0].ref != "" {
		return x.resolve(ctx, pieces[0].ref, a)
	}
	out := input{}
	var b strings.Builder
	for _, p := range pieces {
		if p.ref == "" {
			b.WriteString(p.text)
			continue
		}
		got, err := x.resolve(ctx, p.ref, a)
		if err != nil {
			return out, err
		}
		text, err := plainText(got.value)
		if err != nil {
			return out, fmt.Errorf("[%s]: %w", p.ref, err)
		}
		b.WriteString(text)
		if out.secret = out.secret || got.secret; got.secret {
			x.secret(text)
		}
	}
	out.value = b.String()
	return out, nil
}

// resolve is what stands between brackets.
func (x *pressing) resolve(ctx context.Context, ref string, a *answered) (input, error) {
	if f := x.d.Field(ref); f != nil {
		v := x.form[ref]
		if v == nil {
			v = ""
		}
		return input{v, f.Secret}, nil
	}
	switch ref {
	case "ProcessID":
		return input{x.name(), false}, nil
	case "now":
		at := x.p.o.Now()
		if a != nil {
			at = a.at
		}
		return input{at.Unix(), false}, nil
	}
	if a != nil {
		if v, ok, err := a.take(ref); ok || err != nil {
			return v, err
		}
	}
	if instance, field, ok := other(ref); ok {
		v, secret, err := x.p.field(ctx, instance, field)
		if text, ok := v.(string); ok && secret {
			x.secret(text)
		}
		return input{v, secret}, err
	}
	return input{}, &FieldError{"process " + x.d.Name, ref}
}

// take finds what a reference names in an answer.
func (a *answered) take(ref string) (v input, ok bool, err error) {
	if a.unsent {
		for _, root := range []string{"body", "headers", "status", "error"} {
			if _, ok := member(ref, root); ok {
				return input{value: "(" + ref + " of the answer)"}, true, nil
			}
		}
		return v, false, nil
	}
	if path, ok := member(ref, "body"); ok {
		got := a.body
		if path != "" {
			if got, ok = template.Walk(a.body, path); !ok {
				return v, true, fmt.Errorf("%s: %w", ref, errAbsent)
			}
		}
		if got == nil {
			return v, true, fmt.Errorf("%s: %w", ref, errAbsent)
		}
		return input{value: got}, true, nil
	}
	if name, ok := member(ref, "headers"); ok && name != "" {
		values := a.header.Values(name)
		if len(values) == 0 {
			return v, true, fmt.Errorf("%s: %w", ref, errAbsent)
		}
		return input{value: strings.Join(values, ", ")}, true, nil
	}
	switch ref {
	case "status":
		return input{value: int64(a.status)}, true, nil
	case "error":
		text := ""
		if a.err != nil {
			text = a.err.Error()
		}
		return input{value: text}, true, nil
	}
	return v, false, nil
}

// item calls a method and maps its answer. An answer that is no success, and one
// that does not come, goes to the error mapping and is the rule's error.
func (x *pressing) item(ctx context.Context, item *freshet.ItemRule, out *done) error {
	s := x.services[item.Service]
	if s == nil {
		return fmt.Errorf("there is no service %s any more", item.Service)
	}
	m := s.Method(item.Method)
	if m == nil {
		return fmt.Errorf("service %s has no method %q any more", item.Service, item.Method)
	}
	inputs := map[string]input{}
	for n, v := range item.Input {
		got, err := x.value(ctx, v, nil)
		if err != nil {
			return fmt.Errorf("input %s: %w", n, err)
		}
		inputs[n] = got
	}
	r, err := compose(s, m, inputs)
	if err != nil {
		return fmt.Errorf("%s: %w", item.Method, err)
	}
	x.secret(r.secrets...)
	out.request = &r.shown
	out.Inputs = map[string]any{"Request": r.shown.Method + " " + r.shown.URL}
	if len(r.shown.Headers) > 0 {
		headers := map[string]any{}
		for n, v := range r.shown.Headers {
			headers[n] = v
		}
		out.Inputs["Headers"] = headers
	}
	if r.shown.Body != "" {
		out.Inputs["Body"] = r.shown.Body
	}
	a := &answered{unsent: true}
	if x.preview == nil || x.preview.perform {
		a = x.p.call(ctx, s, r, x.runID())
		x.secret(content.Secrets(a.body)...)
		out.Data = map[string]any{"Status": int64(a.status)}
		out.answer = a.shown()
	} else {
		out.Event, out.Outcomes, out.Message = "Previewed", nil, "not sent"
	}
	if a.err != nil {
		x.mapError(ctx, item, a)
		return fmt.Errorf("%s of %s: %w", item.Method, item.Service, a.err)
	}
	if !a.unsent {
		out.Outcomes = []string{"Success"}
	}
	return x.mapSuccess(ctx, item, a, out)
}

func (x *pressing) runID() string {
	if x.rec == nil {
		return ""
	}
	return x.rec.ID()
}

// mapSuccess copies parts of the answer into fields. A part that the answer does
// not have leaves its field as it was saved, also where a rule has cleared it
// meanwhile: answers of refreshes leave out what has not changed. An answer that
// has nothing of what is wanted is no success, whatever its status says.
func (x *pressing) mapSuccess(ctx context.Context, item *freshet.ItemRule, a *answered, out *done) error {
	next, absent, found := map[string]input{}, []string{}, 0
	for f, v := range item.OnSuccess {
		got, err := x.value(ctx, v, a)
		if errors.Is(err, errAbsent) {
			absent = append(absent, f)
			continue
		}
		if err != nil {
			return fmt.Errorf("on_success %s: %w", f, err)
		}
		next[f] = got
		if slices.ContainsFunc(refs(v.Text), func(r string) bool { _, ok := member(r, "body"); return ok }) {
			found++
		}
	}
	slices.Sort(absent)
	if len(absent) > 0 && found == 0 {
		a.err = fmt.Errorf("the answer (%d) has nothing of what the success mapping takes from it", a.status)
		if hint := complaint(a.body); hint != "" {
			a.err = fmt.Errorf("%w: %s", a.err, hint)
		}
		x.mapError(ctx, item, a)
		return fmt.Errorf("%s of %s: %w", item.Method, item.Service, a.err)
	}
	if len(absent) > 0 {
		was := map[string]any{}
		if x.instance != "" || x.saved != nil {
			in, err := x.p.row(ctx, x.d.Name, x.name())
			if err == nil {
				was, err = x.p.open(in)
			}
			if err != nil {
				return err
			}
		}
		for _, f := range absent {
			if v, ok := was[f]; ok {
				x.form[f] = v
			}
			delete(x.changed, f)
		}
		out.Message = "the answer does not have what these fields take from it, so they keep what was saved: " + strings.Join(absent, ", ")
	}
	for f, v := range next {
		x.confide(f, v)
		x.set(f, v.value)
	}
	shown := masked(x.d, x.form)
	if out.Data == nil {
		out.Data = map[string]any{}
	}
	for f := range next {
		out.Data[f] = shown[f]
	}
	return nil
}

// mapError puts what the error mapping says into the form, where whoever pressed
// sees it; nothing of it is saved.
func (x *pressing) mapError(ctx context.Context, item *freshet.ItemRule, a *answered) {
	for f, v := range item.OnError {
		if v.Text == "" && v.Expression == "" && v.Secret.IsZero() {
			v.Text = "[error]"
		}
		got, err := x.value(ctx, v, a)
		if err != nil {
			got.value = ""
		}
		x.confide(f, got)
		x.set(f, got.value)
	}
}

// call sends a request and reads the answer.
func (p *Processes) call(ctx context.Context, s *freshet.Service, r *request, runID string) *answered {
	o := p.o.Outbound
	if s.Timeout > 0 {
		o.Timeout = s.Timeout.D()
	}
	if !s.Certificate.IsZero() {
		cert, err := keyPair(s)
		if err != nil || p.o.Mutual == nil {
			return &answered{at: p.o.Now(), err: errors.New("the service's certificate and key cannot be used")}
		}
		o.Transport = p.o.Mutual(cert)
	}
	f := outbound.Fields{URL: r.url, Method: r.method, ContentType: r.typed, Headers: r.headers, Connection: s.Connection, Run: runID, Read: true}
	if r.body != nil {
		f.Content = r.body
	}
	got, err := o.Send(ctx, f)
	a := &answered{at: p.o.Now(), err: err}
	if err != nil {
		return a
	}
	a.status, a.header, a.body = got.Status, got.Header, decode(got)
	if a.status < 200 || a.status > 299 {
		a.err = fmt.Errorf("answered with status %d", a.status)
		if hint := complaint(a.body); hint != "" {
			a.err = fmt.Errorf("%w: %s", a.err, hint)
		}
	}
	return a
}

// decode reads a body by its type, or as JSON if it says nothing of use.
func decode(a *outbound.Answer) any {
	typed := a.Header.Get("Content-Type")
	if v, err := content.Read(a.Body, typed); err == nil {
		if _, text := v.(string); !text {
			return model.Plain(v)
		}
	}
	text := content.Text(a.Body, "")
	if t := strings.TrimSpace(text); strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[") {
		if v, err := content.JSON([]byte(t)); err == nil {
			return model.Plain(v)
		}
	}
	return text
}

// complaint is what an answer says of an error, as RFC 6749 and most others have
// it. It is short, and no more than that: a whole body may hold anything.
func complaint(body any) string {
	m, ok := body.(map[string]any)
	if !ok {
		return ""
	}
	var out []string
	for _, n := range []string{"error", "error_description", "message", "detail"} {
		if s, ok := m[n].(string); ok && s != "" && len(s) < 300 {
			out = append(out, s)
		}
	}
	return strings.Join(out, ": ")
}

// shown masks an answer by the names of its members.
func (a *answered) shown() *Answer {
	if a.status == 0 {
		return nil
	}
	out := &Answer{Status: a.status, Headers: map[string]string{}, Body: hide(a.body, false)}
	if text, ok := out.Body.(string); ok {
		out.Body = redact.Text(text)
	}
	for n, v := range a.header {
		out.Headers[n] = mask(strings.Join(v, ", "), content.SecretName(n))
	}
	return out
}

func hide(v any, secret bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for n, e := range v {
			out[n] = hide(e, content.SecretName(n))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = hide(e, secret)
		}
		return out
	case nil, bool:
		return v
	}
	if secret && v != "" {
		return freshet.Redacted
	}
	return v
}
