package endpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// An Endpoint is one HttpEndpoint activity of a published workflow.
type Endpoint struct {
	Version  *workflow.Version
	Activity *workflow.Activity
	Methods  []string // upper case, sorted
	Path     string   // canonical
	Starts   bool     // it begins runs; else runs wait at it

	Read     bool     // it reads the request's body
	Declared Declared // the security that it declares
	template template
}

// Declared is what an endpoint says of its security.
type Declared struct {
	Key    bool   // Authorize: an API key
	Policy string // Policy; there are none here, so it is the key that counts
	Header bool   // AuthorizeWithCustomHeader
}

// Any reports whether it declares anything at all.
func (d Declared) Any() bool { return d.Key || d.Header }

// Key is what a run that waits at the endpoint waits for.
func (e *Endpoint) Key() string { return strings.Join(e.Methods, ",") + " " + e.Path }

// label names an endpoint for people.
func (e *Endpoint) label() string {
	return fmt.Sprintf("%s %s of workflow %s", strings.Join(e.Methods, ", "), e.Path, e.Version.Name)
}

// An index finds endpoints by path and method. It is immutable.
type index struct {
	static map[string][]*Endpoint // by canonical path
	others []*Endpoint            // with parameters, the more literal ones first
	all    []*Endpoint
}

func newIndex(ends []*Endpoint) *index {
	x := &index{static: map[string][]*Endpoint{}, all: ends}
	for _, e := range ends {
		if e.template.static() {
			key := staticKey(literals(e.template))
			x.static[key] = append(x.static[key], e)
		} else {
			x.others = append(x.others, e)
		}
	}
	slices.SortStableFunc(x.others, func(a, b *Endpoint) int { return strings.Compare(a.template.rank(), b.template.rank()) })
	return x
}

func literals(t template) []string {
	out := make([]string, len(t.segments))
	for i, s := range t.segments {
		out[i] = s.literal
	}
	return out
}

// staticKey joins decoded segments with what no segment holds.
func staticKey(segs []string) string { return strings.ToLower(strings.Join(segs, "\x00")) }

// A found endpoint, with the values of its parameters.
type found struct {
	*Endpoint
	values map[string]any
}

// find returns the endpoints of the most literal path that takes the method.
// Without one, allow lists the methods that the path has; none: it is nobody's.
func (x *index) find(segs []string, method string) (ends []found, allow []string) {
	consider := func(e *Endpoint, values map[string]any) {
		for _, m := range e.Methods {
			if !slices.Contains(allow, m) {
				allow = append(allow, m)
			}
		}
		if !slices.Contains(e.Methods, method) {
			return
		}
		if len(ends) > 0 && ends[0].template.rank() != e.template.rank() {
			return // a less literal one
		}
		ends = append(ends, found{e, values})
	}
	for _, e := range x.static[staticKey(segs)] {
		consider(e, map[string]any{})
	}
	for _, e := range x.others {
		if values, ok := e.template.match(segs); ok {
			consider(e, values)
		}
	}
	slices.Sort(allow)
	return ends, allow
}

// collides returns an endpoint among the others that begins runs on a request
// that e begins runs on, too, with nothing to prefer one of them by.
func collides(e *Endpoint, others []*Endpoint) *Endpoint {
	if !e.Starts {
		return nil
	}
	for _, o := range others {
		if o == e || !o.Starts || o.template.shape() != e.template.shape() {
			continue
		}
		if slices.ContainsFunc(o.Methods, func(m string) bool { return slices.Contains(e.Methods, m) }) {
			return o
		}
	}
	return nil
}

// reserved are first segments that belong to other parts of the server.
var reserved = map[string]bool{
	"api": true, "apps": true, "callback": true, "connect": true, "console": true, "healthz": true, "hooks": true, "metrics": true,
	"proxy": true, "readyz": true, ".well-known": true,
}

// Reserved lists the first segments of paths that no workflow can have.
func Reserved() []string {
	var out []string
	for name := range reserved {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// read makes endpoints of a version's activities. Findings of severity Error
// say why one is not served.
func (h *Handler) read(ctx context.Context, v *workflow.Version) (ends []*Endpoint, findings []workflow.Finding) {
	starts := v.Definition.Starts()
	for i := range v.Definition.Activities {
		a := &v.Definition.Activities[i]
		if a.Type != Type {
			continue
		}
		e := &Endpoint{Version: v, Activity: a, Starts: slices.Contains(starts, a)}
		found := h.describe(ctx, e)
		findings = append(findings, found...)
		if !slices.ContainsFunc(found, func(f workflow.Finding) bool { return f.Severity == workflow.Error }) {
			ends = append(ends, e)
		}
	}
	return ends, findings
}

// describe evaluates what of an endpoint is evaluated when it is published.
func (h *Handler) describe(ctx context.Context, e *Endpoint) (out []workflow.Finding) {
	wrong := func(code, property, what, why, do string) {
		f := workflow.Finding{Severity: workflow.Error, Code: code, What: what, Why: why, Do: do}
		if p := e.Activity.Property(property); p != nil {
			f = f.OnProperty(e.Activity, p)
		} else {
			f = f.On(e.Activity)
			f.Property = property
		}
		out = append(out, f)
	}
	path, err := h.text(ctx, e, "Path")
	if err != nil {
		wrong("endpoint-path", "Path", "the path cannot be evaluated", err.Error(), "only default variables are there when a workflow is published")
		return out
	}
	if e.template, err = parseTemplate(path); err != nil {
		wrong("endpoint-path", "Path", fmt.Sprintf("%q is no path that can be served", path), err.Error(), "write it as /segment/{parameter}")
		return out
	}
	e.Path = e.template.text
	if literal, parameter := e.template.first(); parameter {
		wrong("endpoint-reserved", "Path", fmt.Sprintf("the path %s begins with a parameter", e.Path), "it would match the server's own paths", "begin it with a word")
	} else if reserved[literal] {
		wrong("endpoint-reserved", "Path", fmt.Sprintf("paths below /%s are the server's own", literal), "", "take another path; not free are: /"+strings.Join(Reserved(), ", /"))
	}
	list, err := h.texts(ctx, e, "Methods")
	if err != nil {
		wrong("endpoint-methods", "Methods", "the methods cannot be evaluated", err.Error(), "")
		return out
	}
	e.Methods = methods(list)
	for _, m := range e.Methods {
		if !servable[m] {
			wrong("endpoint-methods", "Methods", fmt.Sprintf("the method %q is not served", m), "", "use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
		}
	}
	return append(out, h.warn(ctx, e)...)
}

var servable = map[string]bool{"GET": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "HEAD": true, "OPTIONS": true}

// warn says what of an endpoint's security will not do what it looks like.
func (h *Handler) warn(ctx context.Context, e *Endpoint) (out []workflow.Finding) {
	note := func(code, property, what, why, do string) {
		f := workflow.Finding{Severity: workflow.Warning, Code: code, What: what, Why: why, Do: do}
		if p := e.Activity.Property(property); p != nil {
			f = f.OnProperty(e.Activity, p)
		} else {
			f = f.On(e.Activity)
		}
		out = append(out, f)
	}
	d, err := h.declared(ctx, e)
	if err != nil {
		note("endpoint-security", "Authorize", "the security cannot be evaluated without a request", err.Error(), "every request is refused until it can")
		return out
	}
	if d.Policy != "" {
		note("endpoint-policy", "Policy", fmt.Sprintf("there is no policy %q here", d.Policy), "an API key with run:"+e.Version.Name+" is what lets a caller in", "")
	}
	if d.Header {
		name, value, err := h.expected(ctx, e)
		switch {
		case err != nil:
			note("endpoint-security", "CustomHeaderValue", "the header cannot be evaluated without a request", err.Error(), "every request is refused until it can")
		case strings.TrimSpace(name) == "":
			note("endpoint-closed", "CustomHeaderName", "the name of the header is blank", "every request is refused; the platform would let every one in", "set CustomHeaderName")
		case strings.TrimSpace(value) == "":
			note("endpoint-closed", "CustomHeaderValue", "the expected value is blank as things are", "every request is refused; the platform would let every one in", "give the variable that it reads a default: --set NAME=JSON")
		}
	}
	return out
}
