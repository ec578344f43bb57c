package expr

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/osteele/liquid"
	"github.com/osteele/liquid/expressions"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// What a template may cost.
const (
	maxTemplate = 64 << 10  // bytes of source
	maxRendered = 4 << 20   // bytes that come out, and of any text in between
	maxWork     = 64 << 20  // bytes of loop bodies and texts that go by
	maxElements = 1_000_000 // of a list in between
)

// A LimitError says that a template took more than it may.
type LimitError struct{ What string }

// Error names the limit.
func (e *LimitError) Error() string { return "the template " + e.What }

var (
	errSource   = &LimitError{"is longer than its limit of 64 KiB; split it"}
	errRendered = &LimitError{"makes more than its limit of 4 MiB of text; write less"}
	errWork     = &LimitError{"takes too many steps; look for a loop over too long a range"}
	errElements = &LimitError{"makes a list of more than a million elements"}
)

// liquid renders a template. A blank result is no value.
func (e *Evaluator) liquid(ctx context.Context, s Scope, text string, f Field) (any, error) {
	if !strings.Contains(text, "{{") && !strings.Contains(text, "{%") {
		// Nothing to do, and most templates are that.
		return literalLiquid(text), nil
	}
	t, err := e.templates.take(text, f.Encoding)
	if err != nil {
		return nil, err
	}
	out, err := t.render(ctx, e, s)
	if err != nil {
		return nil, err
	}
	e.templates.put(t)
	return literalLiquid(out), nil
}

func literalLiquid(text string) any {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return text
}

// A template is one compiled text. Its filters reach the rendering through it,
// so it renders one at a time.
type template struct {
	key      templateKey
	compiled *liquid.Template
	now      rendering
}

type templateKey struct {
	text     string
	encoding Encoding
}

// A rendering is what the filters of a template need while it renders.
type rendering struct {
	ctx       context.Context
	evaluator *Evaluator
	scope     Scope
	work      int
}

// spend counts work, and ends the rendering when there was enough.
func (r *rendering) spend(n int) error {
	if r.work += n; r.work > maxWork {
		return errWork
	}
	if r.ctx == nil {
		return nil
	}
	return r.ctx.Err()
}

// compile makes a template out of a text.
func compile(key templateKey) (t *template, err error) {
	if len(key.text) > maxTemplate {
		return nil, errSource
	}
	t = &template{key: key}
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("the template cannot be read: %v", r)
		}
	}()
	text, names, err := rewrite(key.text)
	if err != nil {
		return nil, err
	}
	engine := liquid.NewEngine()
	for name, f := range filters {
		engine.RegisterFilter(name, t.bind(f))
	}
	for _, name := range names {
		if _, known := filters[name]; !known {
			// The platform hands on what goes into a filter that it does not know.
			engine.RegisterFilter(name, func(v any, _ ...any) any { return v })
		}
	}
	engine.RegisterFilter(outFilter, t.out)
	engine.RegisterFilter(tickFilter, t.tick)
	engine.RegisterTag("include", func(_ liquidContext) (string, error) {
		return "", errors.New("a template cannot include another here")
	})
	compiled, serr := engine.ParseString(text)
	if serr != nil {
		return nil, liquidError(serr)
	}
	t.compiled = compiled
	return t, nil
}

// bind makes a filter of the library's shape out of one of ours.
func (t *template) bind(f filter) func(v any, args ...any) (any, error) {
	return func(v any, args ...any) (any, error) {
		out, err := f(&t.now, unwrap(v), func(i int) any {
			if i < len(args) {
				return unwrap(args[i])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		switch x := out.(type) {
		case string:
			if len(x) > maxRendered {
				return nil, errRendered
			}
			return x, t.now.spend(len(x))
		case []any:
			if len(x) > maxElements {
				return nil, errElements
			}
			if err := t.now.spend(16 * len(x)); err != nil {
				return nil, err
			}
		}
		return wrap(out), nil
	}
}

// out is what every value between braces goes through last. An argument says
// that it stands between quotes.
func (t *template) out(v any, quoted ...any) (any, error) {
	s := show(unwrap(v), t.key.encoding, len(quoted) > 0)
	return s, t.now.spend(len(s) + 1)
}

// tick is put into the body of every loop, with the length of the body.
func (t *template) tick(v any, _ ...any) (any, error) {
	n, _ := v.(int)
	return nil, t.now.spend(n + 256)
}

// render renders the template over a run.
func (t *template) render(ctx context.Context, e *Evaluator, s Scope) (out string, err error) {
	t.now = rendering{ctx: ctx, evaluator: e, scope: s}
	defer func() {
		if r := recover(); r != nil {
			out, err = "", fmt.Errorf("the template cannot be rendered: %v", r)
			if cause, ok := r.(error); ok {
				err = limitIn(cause, fmt.Errorf("the template cannot be rendered: %w", cause))
			}
		}
		t.now = rendering{}
	}()
	w := &limited{left: maxRendered}
	if serr := t.compiled.FRender(w, bindings(s)); serr != nil {
		return "", limitIn(serr, liquidError(serr))
	}
	return w.b.String(), nil
}

// limited is a writer that takes so much and no more.
type limited struct {
	b    strings.Builder
	left int
}

func (w *limited) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errRendered
	}
	return w.b.Write(p)
}

// limitIn finds what ended a rendering among the library's wrappers, which do
// not all unwrap.
func limitIn(err, otherwise error) error {
	for _, l := range []*LimitError{errSource, errRendered, errWork, errElements} {
		if strings.Contains(err.Error(), l.What) {
			return l
		}
	}
	return otherwise
}

// liquidError names the line.
func liquidError(err liquid.SourceError) error {
	cause := err.Cause()
	if cause == nil {
		cause = err
	}
	var f expressions.FilterError
	if errors.As(cause, &f) {
		return fmt.Errorf("line %d: filter %q: %w", err.LineNumber()+1, f.FilterName, f.Err)
	}
	text := strings.TrimPrefix(cause.Error(), "Liquid error: ")
	if m := regexp.MustCompile(`^Liquid error \(line \d+\): `).FindString(text); m != "" {
		text = text[len(m):]
	}
	return fmt.Errorf("line %d: %s", err.LineNumber()+1, text)
}

// token finds what the library finds.
var token = regexp.MustCompile(`{{-?\s*(.+?)\s*-?}}|{%-?\s*(\w+)(?:\s+((?:[^%]|%[^}])+?))?\s*-?%}`)

// filterName finds the filters of an expression; a name too much does no harm.
var filterName = regexp.MustCompile(`\|\s*([A-Za-z_]\w*)`)

const (
	outFilter  = "freshet_out"
	tickFilter = "freshet_tick"
)

// rewrite puts our own filters into a template: the last of every output, which
// writes values as the platform does and encodes them, and one that counts in
// every loop. It returns the names of the filters that are used.
func rewrite(text string) (string, []string, error) {
	var names []string
	collect := func(s string) {
		for _, m := range filterName.FindAllStringSubmatch(s, -1) {
			names = append(names, m[1])
		}
	}
	var b strings.Builder
	verbatim := "" // the tag that ends what is not read
	var loops []int
	at := 0
	type mark struct{ at, from, to int } // of a loop's body
	var bodies []mark
	var said quotes
	last := 0
	for _, m := range token.FindAllStringSubmatchIndex(text, -1) {
		said.read(text[last:m[0]])
		last = m[1]
		if m[2] >= 0 && verbatim == "" {
			expression := text[m[2]:m[3]]
			collect(expression)
			b.WriteString(text[at:m[3]])
			b.WriteString(" | " + outFilter)
			if said.open {
				b.WriteString(": 1")
			}
			at = m[3]
			continue
		}
		if m[4] < 0 {
			continue
		}
		name := text[m[4]:m[5]]
		switch {
		case verbatim != "":
			if name == verbatim {
				verbatim = ""
			}
		case name == "raw" || name == "comment":
			verbatim = "end" + name
		case name == "for" || name == "tablerow":
			b.WriteString(text[at:m[1]])
			at = m[1]
			bodies = append(bodies, mark{at: b.Len(), from: m[1]})
			loops = append(loops, len(bodies)-1)
		case name == "endfor" || name == "endtablerow":
			if n := len(loops); n > 0 {
				bodies[loops[n-1]].to = m[0]
				loops = loops[:n-1]
			}
		}
		if m[6] >= 0 && verbatim == "" {
			collect(text[m[6]:m[7]])
		}
	}
	b.WriteString(text[at:])
	out := b.String()
	for _, body := range slices.Backward(bodies) {
		out = out[:body.at] + fmt.Sprintf("{{ %d | %s }}", max(body.to-body.from, 0), tickFilter) + out[body.at:]
	}
	slices.Sort(names)
	return out, slices.Compact(names), nil
}

// quotes follows the texts of a template that is JSON.
type quotes struct{ open, escaped bool }

func (q *quotes) read(text string) {
	for i := range len(text) {
		switch {
		case q.escaped:
			q.escaped = false
		case text[i] == '\\':
			q.escaped = q.open
		case text[i] == '"':
			q.open = !q.open
		}
	}
}

// show writes a value as the platform does.
func show(v any, e Encoding, quoted bool) string {
	if m, ok := v.(markup); ok {
		return string(m)
	}
	if e == JSON && !quoted {
		return valueInJSON(v)
	}
	var s string
	switch v := v.(type) {
	case []any:
		var b strings.Builder
		for _, x := range v {
			b.WriteString(show(x, Raw, false))
		}
		s = b.String()
	default:
		s = printLiquid(v)
	}
	switch e {
	case HTML:
		return encodeHTML(s)
	case JSON:
		return encodeJSON(s)
	}
	return s
}

// valueInJSON writes a value where JSON wants a whole one: a text that is JSON
// as it is, any other as a string, so that it cannot become two members.
func valueInJSON(v any) string {
	s, ok := v.(string)
	switch {
	case !ok && v != nil:
		if t, ok := v.(time.Time); ok {
			s = printLiquid(t)
			break
		}
		return Print(v)
	case strings.TrimSpace(s) == "", json.Valid([]byte(s)):
		return s
	}
	return `"` + encodeJSON(s) + `"`
}

// markup is text that is not encoded any more.
type markup string

// templates remembers compiled templates.
type templates struct {
	mu    sync.Mutex
	known map[templateKey]*list.Element
	order *list.List // of *shelf, the one used last in front
	size  int
}

// A shelf holds the idle copies of one template.
type shelf struct {
	key  templateKey
	idle []*template
}

const maxTemplates = 4 << 20 // bytes of source remembered

func (c *templates) take(text string, e Encoding) (*template, error) {
	key := templateKey{text, e}
	c.mu.Lock()
	if el := c.known[key]; el != nil {
		c.order.MoveToFront(el)
		s := el.Value.(*shelf)
		if n := len(s.idle); n > 0 {
			t := s.idle[n-1]
			s.idle = s.idle[:n-1]
			c.mu.Unlock()
			return t, nil
		}
	}
	c.mu.Unlock()
	return compile(key)
}

func (c *templates) put(t *template) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known, c.order = map[templateKey]*list.Element{}, list.New()
	}
	el := c.known[t.key]
	if el == nil {
		el = c.order.PushFront(&shelf{key: t.key})
		c.known[t.key] = el
		c.size += len(t.key.text) + 4096
	}
	if s := el.Value.(*shelf); len(s.idle) < 4 {
		s.idle = append(s.idle, t)
	}
	for c.size > maxTemplates {
		s := c.order.Remove(c.order.Back()).(*shelf)
		delete(c.known, s.key)
		c.size -= len(s.key.text) + 4096
	}
}

// checkLiquid reports whether a template parses.
func checkLiquid(text string) error {
	_, err := compile(templateKey{text: text})
	return err
}

// bindings is what a template sees.
func bindings(s Scope) map[string]any {
	in := s.Instance()
	out := map[string]any{
		"Variables":                 wrap(lookup(s.Variable)),
		"Input":                     wrap(s.Input()),
		"Activities":                wrap(lookup(func(name string) (any, bool) { return liquidActivity(s, name) })),
		"CorrelationId":             in.CorrelationID,
		"WorkflowInstanceId":        in.InstanceID,
		"WorkflowDefinitionId":      in.DefinitionID,
		"WorkflowDefinitionVersion": in.DefinitionVersion,
		"WorkflowContextId":         in.ContextID,
		"ActivityId":                in.ActivityID,
	}
	if in.Request != nil {
		out["Request"] = wrap(liquidRequest(in.Request))
	}
	return out
}

func liquidActivity(s Scope, name string) (any, bool) {
	a, ok := s.Activity(name)
	if !ok {
		return nil, false
	}
	return lookup(func(prop string) (any, bool) { return outputOf(a, prop), true }), true
}

// liquidRequest is the request in the words that templates use.
func liquidRequest(r *model.Request) map[string]any {
	text := func(m map[string]string) map[string]any {
		out := make(map[string]any, len(m))
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	query := r.Query
	if query != "" && !strings.HasPrefix(query, "?") {
		query = "?" + query
	}
	return map[string]any{
		"QueryString": query, "ContentType": r.ContentType, "ContentLength": r.ContentLength, "Form": text(r.Form), "Protocol": r.Protocol,
		"Path": r.Path, "PathBase": r.PathBase, "Host": r.Host, "IsHttps": r.Scheme == "https", "Scheme": r.Scheme, "Method": r.Method,
		"Query": text(r.QueryString), "Headers": text(r.Headers), "RouteValues": r.RouteValues,
	}
}
