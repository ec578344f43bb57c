package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A Gate knows callers by their API keys. Its error says what the caller is to
// be told; see problem.FromError.
type Gate interface {
	// AuthorizeRun returns who a request is from, if its key may run the workflow.
	AuthorizeRun(r *http.Request, workflow string) (actor string, err error)
}

// References resolve what an expected value refers to, as it is now. ok is false
// if there is no such thing.
type References interface {
	// Cell is a text in a table: of the row with the key in its title column.
	Cell(ctx context.Context, table, key, column string) (v freshet.Secret, ok bool, err error)
	// Token is a connection's fresh access token.
	Token(ctx context.Context, connection string) (v freshet.Secret, ok bool, err error)
}

// fields are the properties that this package evaluates itself, before a run.
var fields = func() map[string]expr.Field {
	out := map[string]expr.Field{}
	for name, kind := range map[string]expr.Kind{"Path": expr.Text, "Methods": expr.Texts, "ReadContent": expr.Bool,
		"Authorize": expr.Bool, "Policy": expr.Text, "AuthorizeWithCustomHeader": expr.Bool, "CustomHeaderName": expr.Text, "CustomHeaderValue": expr.Text} {
		f := expr.Field{Activity: Type, Name: name, Kind: kind}
		if name == "Methods" {
			f.Syntax = workflow.JSON
		}
		out[name] = f
	}
	return out
}()

// eval evaluates a property with nothing but the default variables.
func (h *Handler) eval(ctx context.Context, e *Endpoint, property string) (any, error) {
	p := e.Activity.Property(property)
	if p == nil {
		return nil, nil
	}
	f := fields[property]
	if syntax, text, ok := p.Live(f.Syntax); ok && syntax == workflow.Secret {
		if v, ok, err := h.refer(ctx, text); ok || err != nil {
			return v, err
		}
	}
	vars, err := h.variables(ctx, e, property)
	if err != nil {
		return nil, err
	}
	return h.o.Evaluator.Property(ctx, &stage{version: e.Version, activity: e.Activity, variables: vars}, p, f)
}

func (h *Handler) text(ctx context.Context, e *Endpoint, property string) (string, error) {
	v, err := h.eval(ctx, e, property)
	if err != nil || v == nil {
		return "", err
	}
	switch v := v.(type) {
	case freshet.Secret:
		return v.Reveal(), nil
	case string:
		return v, nil
	}
	return content.Scalar(model.Plain(v))
}

func (h *Handler) texts(ctx context.Context, e *Endpoint, property string) ([]string, error) {
	v, err := h.eval(ctx, e, property)
	if err != nil || v == nil {
		return nil, err
	}
	switch v := model.Plain(v).(type) {
	case []string:
		return v, nil
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }), nil
	case []any:
		var out []string
		for _, x := range v {
			s, err := content.Scalar(x)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%T is no list of texts", v)
}

func (h *Handler) bool(ctx context.Context, e *Endpoint, property string) (bool, error) {
	v, err := h.eval(ctx, e, property)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", property)
}

// declared evaluates what an endpoint says of its security. An error is a reason
// to refuse.
func (h *Handler) declared(ctx context.Context, e *Endpoint) (d Declared, err error) {
	if d.Key, err = h.bool(ctx, e, "Authorize"); err != nil {
		return d, err
	}
	if d.Header, err = h.bool(ctx, e, "AuthorizeWithCustomHeader"); err != nil {
		return d, err
	}
	if d.Policy, err = h.text(ctx, e, "Policy"); err != nil {
		return d, err
	}
	d.Policy = strings.TrimSpace(d.Policy)
	d.Key = d.Key || d.Policy != ""
	return d, nil
}

// expected evaluates the header that an endpoint asks for, as it is now.
func (h *Handler) expected(ctx context.Context, e *Endpoint) (name, value string, err error) {
	if name, err = h.text(ctx, e, "CustomHeaderName"); err != nil {
		return "", "", err
	}
	value, err = h.text(ctx, e, "CustomHeaderValue")
	return strings.TrimSpace(name), strings.TrimSpace(value), err
}

// variables are the default variables. One of the form {"$from": REFERENCE}
// stands for what it refers to, which is read now: so the "same access_token
// variable" of a document can be a cell or a connection's token, and rotates
// with it. Only those that the property may read are resolved.
func (h *Handler) variables(ctx context.Context, e *Endpoint, property string) (map[string]any, error) {
	vars := e.Version.Defaults()
	var text string
	if p := e.Activity.Property(property); p != nil {
		_, text, _ = p.Live(fields[property].Syntax)
	}
	for name, v := range vars {
		m, ok := model.Plain(v).(map[string]any)
		if ref, is := m["$from"].(string); ok && is && len(m) == 1 {
			if !strings.Contains(text, name) {
				delete(vars, name)
				continue
			}
			s, known, err := h.refer(ctx, ref)
			if err != nil {
				return nil, fmt.Errorf("variable %s: %w", name, err)
			}
			if !known {
				return nil, fmt.Errorf("variable %s: %q is no reference: write Table:TABLE/KEY/COLUMN or Connection:NAME", name, ref)
			}
			vars[name] = s.Reveal()
		}
	}
	return vars, nil
}

// refer resolves Table:TABLE/KEY/COLUMN and Connection:NAME. known is false for
// anything else. What is not there is the empty secret, which lets nobody in.
func (h *Handler) refer(ctx context.Context, text string) (v freshet.Secret, known bool, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(text), ":")
	switch kind {
	case "Table":
		table, rest, ok1 := strings.Cut(rest, "/")
		i := strings.LastIndex(rest, "/")
		if !ok1 || i < 0 {
			return v, true, fmt.Errorf("%q: write Table:TABLE/KEY/COLUMN", text)
		}
		if h.o.References == nil {
			return v, true, errors.New("there are no tables here")
		}
		v, _, err = h.o.References.Cell(ctx, table, rest[:i], rest[i+1:])
	case "Connection":
		if h.o.References == nil {
			return v, true, errors.New("there are no connections here")
		}
		v, _, err = h.o.References.Token(ctx, strings.TrimSpace(rest))
	default:
		return v, false, nil
	}
	return v, true, err
}

// admit lets a request in to an endpoint, or says what its caller is told. Who
// the caller is is known where a key says so. Nothing of the workflow runs.
func (h *Handler) admit(r *http.Request, e *Endpoint) (actor string, p *problem.Problem) {
	ctx := r.Context()
	d, err := h.declared(ctx, e)
	if err != nil {
		return "", h.refuse(r, e, "its security cannot be evaluated", err)
	}
	if d.Header {
		name, value, err := h.expected(ctx, e)
		if err != nil {
			return "", h.refuse(r, e, "the expected header cannot be evaluated", err)
		}
		if reason := compare(r, name, value); reason != "" {
			return "", h.refuse(r, e, reason, nil)
		}
		h.o.Values.Add(value)
	}
	if d.Key || !d.Header && !e.Version.Public {
		actor, err := h.o.Gate.AuthorizeRun(r, e.Version.Name)
		if err != nil {
			h.count(e, "key")
			_, p := problem.FromError(err)
			if p.Status == http.StatusUnauthorized {
				if p.Header == nil {
					p.Header = http.Header{}
				}
				p.Header.Set("WWW-Authenticate", `Bearer realm="freshet"`)
			}
			return "", &p
		}
		return actor, nil
	}
	return "", nil
}

// compare says why a request's header is not the expected one; "": it is. Both
// are hashed before they are compared, so that the time depends on neither.
func compare(r *http.Request, name, expected string) (reason string) {
	bearer := strings.EqualFold(name, "Bearer") || strings.EqualFold(name, "Authorization")
	if bearer {
		// With and without the scheme: documents set the expected token as a
		// variable that has the prefix in one place and not in another.
		expected = bare(expected)
	}
	switch {
	case name == "":
		return "the name of the expected header is blank"
	case expected == "":
		return "the expected value is blank"
	}
	given := r.Header.Values(name)
	if strings.EqualFold(name, "Host") {
		given = []string{r.Host}
	}
	if len(given) == 0 && strings.EqualFold(name, "Bearer") {
		// A picture in the document names the header Bearer, while the text and
		// every caller send Authorization: Bearer.
		for _, v := range r.Header.Values("Authorization") {
			if scheme, _, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "Bearer") {
				given = append(given, v)
			}
		}
	}
	if len(given) != 1 {
		if len(given) == 0 {
			return "the header is missing"
		}
		return "the header is there more than once"
	}
	value := strings.TrimSpace(given[0])
	if bearer {
		value = bare(value)
	}
	if !freshet.NewSecret(value).Equal(freshet.NewSecret(expected)) {
		return "the header has another value"
	}
	return ""
}

// bare is a credential without the scheme Bearer.
func bare(v string) string {
	v = strings.TrimSpace(v)
	if strings.EqualFold(v, "Bearer") {
		return ""
	}
	if scheme, rest, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest)
	}
	return v
}

// refuse logs a refusal, without any value, and tells the caller nothing that
// helps with the next try.
func (h *Handler) refuse(r *http.Request, e *Endpoint, reason string, err error) *problem.Problem {
	h.count(e, "header")
	attrs := []any{"workflow", e.Version.Name, "activity", e.Activity.Label(), "path", e.Path, "remote", r.RemoteAddr, "reason", reason}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	h.o.Log.Warn("endpoint refused a request", attrs...)
	p := problem.New(http.StatusUnauthorized, "unauthorized", "The endpoint does not let you in", "send the header that it asks for")
	p.Header = http.Header{"Www-Authenticate": {`Bearer realm="freshet"`}}
	return p
}

func (h *Handler) count(e *Endpoint, why string) {
	h.refused.Add(1)
	if h.o.Refused != nil {
		h.o.Refused(e.Version.Name, why)
	}
}

// A stage is what an expression of an endpoint sees before there is a run: the
// default variables and the workflow's names. What it sets is its own.
type stage struct {
	version   *workflow.Version
	activity  *workflow.Activity
	variables map[string]any
	transient map[string]any
}

func (s *stage) Input() any                       { return nil }
func (s *stage) Variable(name string) (any, bool) { v, ok := s.variables[name]; return v, ok }
func (s *stage) SetVariable(name string, v any)   { s.variables[name] = v }
func (s *stage) Variables() map[string]any        { return s.variables }
func (s *stage) AddJournal(string, any)           {}
func (s *stage) Executed(string) (string, bool)   { return "", false }
func (s *stage) TransientVariable(name string) (any, bool) {
	v, ok := s.transient[name]
	return v, ok
}

func (s *stage) SetTransientVariable(name string, v any) {
	if s.transient == nil {
		s.transient = map[string]any{}
	}
	s.transient[name] = v
}

func (s *stage) Activity(nameOrID string) (*expr.ActivityState, bool) {
	a := s.version.Definition.ByName(nameOrID)
	if a == nil {
		a = s.version.Definition.Activity(nameOrID)
	}
	if a == nil {
		return nil, false
	}
	return &expr.ActivityState{ID: a.ID, Name: a.Name, Type: a.Type}, true
}

func (s *stage) ActivityNames() (names []string) {
	for i := range s.version.Definition.Activities {
		if n := s.version.Definition.Activities[i].Name; n != "" {
			names = append(names, n)
		}
	}
	return names
}

func (s *stage) Instance() expr.Instance {
	return expr.Instance{DefinitionID: s.version.Definition.ID, DefinitionName: s.version.Name, DefinitionVersion: s.version.Number, ActivityID: s.activity.ID}
}
