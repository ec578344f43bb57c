package app

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/script"
)

// A Finding is something wrong with an app.
type Finding struct {
	Field  string // path within the app: queries.getusers_API.url
	Detail string
	Warn   bool // odd, and no reason to refuse it
}

// Limits of what an app is made of.
const (
	maxParts   = 200     // of each kind
	maxBundle  = 1 << 20 // bytes of all its JavaScript
	maxTimeout = time.Minute
	timeout    = 10 * time.Second
)

// A query is one HTTP request, compiled. Its parts are evaluated in the order
// url, headers, body, fields.
type query struct {
	*freshet.AppQuery
	url     template
	headers []named
	body    template
	fields  []named
	kind    string // json, form, text or raw
	media   string // Content-Type
	timeout time.Duration

	needs []string // functions whose data it binds
	after []string // and queries
	keys  []string // of appsmith.store that it reads
}

// A named template is a header or a field of a form.
type named struct {
	name string
	template
}

// templates lists what is evaluated, in order.
func (q *query) templates() []*template {
	out := []*template{&q.url}
	for i := range q.headers {
		out = append(out, &q.headers[i].template)
	}
	out = append(out, &q.body)
	for i := range q.fields {
		out = append(out, &q.fields[i].template)
	}
	return out
}

// A widget is one part of a page, compiled.
type widget struct {
	*freshet.AppWidget
	parts []part
	click string // JavaScript
}

// A part is one text of a widget.
type part struct {
	name string
	template
	after []string
}

type page struct {
	*freshet.AppPage
	widgets []*widget
	levels  [][]node
	bundle  *bundle
}

// A program is an app, compiled. It is immutable.
type program struct {
	*freshet.App
	queries   []*query
	scripts   []string
	functions []string // OBJECT.FUNCTION, once they are known
	pages     []*page
	bundle    *bundle // of objects and queries

	findings []Finding
}

func (p *program) fault(field, format string, args ...any) {
	p.findings = append(p.findings, Finding{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (p *program) warn(field, format string, args ...any) {
	p.findings = append(p.findings, Finding{Field: field, Detail: fmt.Sprintf(format, args...), Warn: true})
}

func (p *program) query(name string) *query {
	for _, q := range p.queries {
		if q.Name == name {
			return q
		}
	}
	return nil
}

func (p *program) page(name string) *page {
	for _, g := range p.pages {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// identifier is what a name in JavaScript looks like.
var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// taken are names that an app's own things cannot have.
var taken = map[string]bool{"appsmith": true, "storeValue": true, "removeValue": true, "clearStore": true, "showAlert": true, "GetAccessToken": true,
	"console": true, "atob": true, "btoa": true, "setTimeout": true, "clearTimeout": true, "undefined": true, "globalThis": true, "this": true}

// compile makes a program of an app. What is wrong is in its findings; with one
// that is no warning it cannot run. It takes no engine: which functions an
// object has, only running it says.
func compile(a *freshet.App) *program {
	p := &program{App: a}
	if len(a.Queries) > maxParts || len(a.Scripts) > maxParts || len(a.Pages) > maxParts {
		p.fault("", "has more than %d queries, scripts or pages", maxParts)
		return p
	}
	seen := map[string]string{}
	name := func(field, kind, n string) {
		switch {
		case !identifier.MatchString(n):
			p.fault(field, "%q is no name for JavaScript: letters, digits, _ and $, no digit first", n)
		case taken[n]:
			p.fault(field, "%s is the name of something that every app has", n)
		case seen[n] != "":
			p.fault(field, "%s is the name of a %s already", n, seen[n])
		}
		seen[n] = kind
	}
	for i := range a.Queries {
		q := &a.Queries[i]
		field := "queries." + q.Name
		name(field, "query", q.Name)
		p.queries = append(p.queries, p.newQuery(field, q))
	}
	p.scripts = slices.Sorted(maps.Keys(a.Scripts))
	b := &bundle{}
	b.line("var __r = __app(__boot); /* async */")
	for _, s := range p.scripts {
		name("scripts."+s, "script", s)
		body, lead, err := object(a.Scripts[s].Reveal())
		if err == nil {
			err = checkObject(body, lead)
		}
		if err != nil {
			p.fault("scripts."+s, "%v", err)
			continue
		}
		b.line("__r.script(" + strconv.Quote(s) + ", function () { const __o =")
		b.code("script "+s, calm(body), lead)
		b.line("; return __o; });")
	}
	for _, q := range p.queries {
		b.line("__r.query(" + strconv.Quote(q.Name) + ", " + list(q.needs) + ", [")
		for _, t := range q.templates() {
			b.functions("query "+q.Name, t)
			b.line(",")
		}
		b.line("]);")
	}
	p.bundle = b
	for i := range a.Pages {
		p.pages = append(p.pages, p.newPage(&a.Pages[i]))
	}
	if b.b.Len() > maxBundle {
		p.fault("", "holds more than %d KiB of JavaScript", maxBundle>>10)
	}
	p.order()
	return p
}

var bodyKinds = map[string]string{"": "json", "json": "json", "form": "form", "text": "text",
	"application/json": "json", "application/x-www-form-urlencoded": "form", "text/plain": "text"}

var mediaOf = map[string]string{"json": "application/json", "form": "application/x-www-form-urlencoded", "text": "text/plain; charset=utf-8"}

func (p *program) newQuery(field string, q *freshet.AppQuery) *query {
	out := &query{AppQuery: q, timeout: q.Timeout.D()}
	one := func(at, text string) template { return p.template(field+"."+at, "query "+q.Name, text) }
	out.url = one("url", q.URL)
	for _, n := range slices.Sorted(maps.Keys(q.Headers)) {
		out.headers = append(out.headers, named{n, one("headers."+n, q.Headers[n].Reveal())})
	}
	out.body = one("body", q.Body.Reveal())
	for _, n := range slices.Sorted(maps.Keys(q.Form)) {
		out.fields = append(out.fields, named{n, one("form."+n, q.Form[n].Reveal())})
	}
	kind, ok := bodyKinds[strings.ToLower(q.ContentType)]
	out.kind, out.media = kind, mediaOf[kind]
	switch media := strings.ToLower(q.ContentType); {
	case ok && len(q.Form) > 0 && q.ContentType == "":
		out.kind, out.media = "form", mediaOf["form"]
	case ok:
	case strings.Contains(media, "/"):
		out.kind, out.media = "raw", q.ContentType
		if strings.HasSuffix(media, "+json") || strings.HasPrefix(media, "application/json") {
			out.kind = "json"
		}
	default:
		p.fault(field+".content_type", "%q is not known: use json, form, text or a media type such as application/xml", q.ContentType)
	}
	if len(q.Form) > 0 && out.kind != "form" {
		p.fault(field+".form", "goes with content_type: form")
	}
	if len(q.Form) > 0 && !q.Body.IsZero() {
		p.fault(field+".form", "stands in place of a body: give one of them")
	}
	switch {
	case out.timeout == 0:
		out.timeout = timeout
	case out.timeout < 0 || out.timeout > maxTimeout:
		p.fault(field+".timeout", "is at most %s", maxTimeout)
	}
	if q.Connection == "" && len(out.url.texts) > 0 && out.url.texts[0] != "" && !strings.Contains(out.url.texts[0], "://") {
		p.fault(field+".url", "is no whole URL (https://host/path); name a connection to call a path below its base URL")
	}
	var code []string
	for _, t := range out.templates() {
		code = append(code, t.code...)
	}
	out.needs, out.after, out.keys = p.bound(field, code, "query "+q.Name)
	return out
}

// template parses a text and checks its JavaScript.
func (p *program) template(field, where, text string) template {
	t, err := parse(text)
	if err != nil {
		p.fault(field, "%v", err)
		return template{texts: []string{text}}
	}
	for _, code := range t.code {
		if err := script.Check("(function () { return (\n"+code+"\n); })", maxBundle); err != nil {
			p.fault(field, "{{ %s }}: %s", short(code), words(err, 1))
		}
	}
	return t
}

func short(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	if r := []rune(code); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return code
}

// words is the error of a script, whose lines begin behind lead others.
func words(err error, lead int) string {
	e, ok := errors.AsType[*script.Error](err)
	if !ok {
		return err.Error()
	}
	out := e.Message
	if e.Name != "" {
		out = e.Name + ": " + out
	}
	if n := e.Line - lead; n > 0 {
		out += fmt.Sprintf(" (line %d)", n)
	}
	return out
}

var exported = regexp.MustCompile(`^(?:\s|/\*[\s\S]*?\*/|//[^\n]*(?:\n|$))*export\s+default\b`)

// object takes the object out of a script's text: what follows export default.
// lead is how many lines of the text stand before it.
func object(text string) (body string, lead int, err error) {
	text = strings.TrimPrefix(text, "\ufeff")
	at := exported.FindStringIndex(text)
	if at == nil {
		return "", 0, errors.New("is no JavaScript object: it begins with export default {")
	}
	return strings.TrimRight(text[at[1]:], "; \t\r\n"), strings.Count(text[:at[1]], "\n"), nil
}

// checkObject reports whether a text is one object.
func checkObject(body string, lead int) error {
	err := script.Check("(\n"+body+"\n)", maxBundle)
	if err == nil {
		return nil
	}
	text := words(err, 1-lead)
	if n := closedAt(body); n > 0 {
		text += fmt.Sprintf("; the object ends in line %d already, and more follows: take that brace away if those are its functions", n+lead)
	}
	return errors.New(text)
}

// closedAt is the line in which the object at the beginning of a text ends
// although something follows, 0 if nothing does.
func closedAt(body string) int {
	depth, begun := 0, false
	for i := 0; i < len(body); {
		if n := skip(body[i:]); n > 0 {
			i += n
			continue
		}
		switch body[i] {
		case '{':
			depth, begun = depth+1, true
		case '}':
			if depth--; depth == 0 && begun {
				if strings.Trim(body[i+1:], "; \t\r\n") != "" {
					return strings.Count(body[:i], "\n") + 1
				}
				return 0
			}
		}
		i++
	}
	return 0
}

// A bundle is the text that a machine runs, and where its parts came from.
type bundle struct {
	b     strings.Builder
	lines int
	at    []origin
}

// An origin says that lines from first on are those of a place.
type origin struct {
	first, last int
	place       string
	lead        int // lines of the place before them
}

func (b *bundle) line(s string) {
	b.b.WriteString(s)
	b.b.WriteByte('\n')
	b.lines++
}

func (b *bundle) code(place, code string, lead int) {
	n := strings.Count(code, "\n")
	b.at = append(b.at, origin{b.lines + 1, b.lines + 1 + n, place, lead})
	b.b.WriteString(code)
	b.b.WriteByte('\n')
	b.lines += n + 1
}

// functions writes a list with a function for each {{ }}.
func (b *bundle) functions(place string, t *template) {
	b.line("[")
	for _, code := range t.code {
		b.line("function () { return (")
		b.code(place, code, 0)
		b.line("); },")
	}
	b.line("]")
}

// place returns where a line of the bundle came from, and its number there.
func (b *bundle) place(line int) (string, int) {
	for _, o := range b.at {
		if line >= o.first && line <= o.last {
			return o.place, line - o.first + 1 + o.lead
		}
	}
	return "", 0
}

// prepare compiles the bundle with a last line, whose value it gives.
func (b *bundle) prepare(e *script.Engine, last string) (*script.Program, error) {
	return e.Prepare(b.b.String() + last)
}

// located is what an error says, with where in the app it was.
func (b *bundle) located(err error) (place, text string) {
	e, ok := errors.AsType[*script.Error](err)
	if !ok {
		return "", err.Error()
	}
	text = e.Message
	if e.Name != "" && e.Name != "Error" {
		text = e.Name + ": " + text
	}
	place, line := b.place(e.Line)
	if place != "" {
		text += fmt.Sprintf(" (%s, line %d)", place, line)
	}
	return place, text
}

// with is a bundle that goes on behind this one.
func (b *bundle) with() *bundle {
	c := &bundle{lines: b.lines, at: slices.Clone(b.at)}
	c.b.WriteString(b.b.String())
	return c
}

func list(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = strconv.Quote(n)
	}
	return "[" + strings.Join(q, ", ") + "]"
}

// Needs lists, of one object of an app, its functions by its text, and the
// queries that it runs and that the app does not have.
func Needs(a *freshet.App, object string) (functions, queries []string) {
	p := &program{App: a}
	text := a.Scripts[object].Reveal()
	for _, r := range references(text) {
		last := len(r.members) - 1
		if last == 0 && (r.members[0] == "run" || r.members[0] == "data" || r.members[0] == "clear" || r.members[0] == "responseMeta") && r.name != "this" && !taken[r.name] &&
			!p.isQuery(r.name) && !p.isScript(r.name) && !local(text, r.name) && !slices.Contains(queries, r.name) && strings.Contains(text, r.name+".run(") {
			queries = append(queries, r.name)
		}
	}
	for _, m := range method.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(functions, m[1]) && !notMethods[m[1]] {
			functions = append(functions, m[1])
		}
	}
	return functions, queries
}

var (
	method     = regexp.MustCompile(`(?m)^\s*(?:async\s+)?(?:\*\s*)?([A-Za-z_$][\w$]*)\s*(?:\([^)]*\)\s*\{|:\s*(?:async\s*)?(?:function\b|\([^)]*\)\s*=>|[A-Za-z_$][\w$]*\s*=>))`)
	notMethods = map[string]bool{"if": true, "for": true, "while": true, "switch": true, "catch": true, "with": true, "function": true, "return": true}
)
