package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
)

// A node is what runs when a page is loaded: a query, or a function of an
// object.
type node struct {
	Name  string   `json:"name"`
	Query bool     `json:"query"`
	After []string `json:"after"` // nodes that it waits for
}

// bound lists what JavaScript in {{ }} waits for: functions and queries whose
// data it reads, and the keys of the store that it reads. A name with .data that
// nothing has is a fault.
func (p *program) bound(field string, code []string, where string) (functions, queries, keys []string) {
	for _, c := range code {
		for _, r := range references(c) {
			switch {
			case r.name == "appsmith" && r.member(0) == "store":
				if k := r.member(1); k != "" && !slices.Contains(keys, k) {
					keys = append(keys, k)
				}
			case p.isQuery(r.name):
				if m := r.member(0); (m == "data" || m == "responseMeta") && !slices.Contains(queries, r.name) {
					queries = append(queries, r.name)
				}
			case p.isScript(r.name):
				if n := r.name + "." + r.member(0); r.member(1) == "data" && !slices.Contains(functions, n) {
					functions = append(functions, n)
				}
			case r.member(0) == "data" && identifier.MatchString(r.name) && !local(c, r.name):
				p.fault(field, "{{ %s }} is bound to %s, and there is no query of that name%s", short(c), r.name, p.near(r.name))
			case r.member(1) == "data" && identifier.MatchString(r.name) && r.name != "this" && !local(c, r.name) && r.name != "appsmith":
				p.fault(field, "{{ %s }} is bound to %s.%s, and there is no script %s%s", short(c), r.name, r.member(0), r.name, p.near(r.name))
			}
		}
	}
	return functions, queries, keys
}

func (p *program) isQuery(name string) bool {
	return slices.ContainsFunc(p.App.Queries, func(q freshet.AppQuery) bool { return q.Name == name })
}

func (p *program) isScript(name string) bool { _, ok := p.App.Scripts[name]; return ok }

// local reports whether code may have the name by itself: as a parameter or a
// variable.
func local(code, name string) bool {
	for _, before := range []string{"let ", "const ", "var ", "function "} {
		if strings.Contains(code, before+name) {
			return true
		}
	}
	for _, form := range []string{name + "=>", name + " =>", "(" + name + ",", "(" + name + ")", ", " + name + ")", "," + name + ")", ", " + name + ","} {
		if strings.Contains(code, form) && strings.Contains(code, "=>") {
			return true
		}
	}
	return name == "window" || name == "globalThis"
}

// near names what may be meant by a name.
func (p *program) near(name string) string {
	best, least := "", 3
	for _, n := range p.names() {
		if d := distance(strings.ToLower(n), strings.ToLower(name), least); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func (p *program) names() []string {
	var out []string
	for i := range p.App.Queries {
		out = append(out, p.App.Queries[i].Name)
	}
	return append(append(out, p.scripts...), p.functions...)
}

// distance counts the letters to change, up to a bound.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := last
			if a[i] != b[j] {
				d = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

func (p *program) newPage(g *freshet.AppPage) *page {
	out := &page{AppPage: g}
	field := "pages." + g.Name
	seen := map[string]bool{}
	b := p.bundle.with()
	for i := range g.Widgets {
		w := &widget{AppWidget: &g.Widgets[i]}
		at := fmt.Sprintf("%s.widgets[%d]", field, i)
		switch {
		case !identifier.MatchString(w.Name) || taken[w.Name]:
			p.fault(at+".name", "%q is no name for JavaScript: letters, digits, _ and $, no digit first", w.Name)
		case seen[w.Name] || p.isQuery(w.Name) || p.isScript(w.Name):
			p.fault(at+".name", "%s is the name of something else already", w.Name)
		}
		seen[w.Name] = true
		p.addPart(w, b, at, "text", w.Text)
		p.addPart(w, b, at, "data", w.Data)
		p.addPart(w, b, at, "label", w.Label)
		p.addPart(w, b, at, "default", w.Default)
		if w.Type == "table" && w.Data == "" {
			p.fault(at+".data", `is needed: what the table shows, such as "{{users.data.results}}"`)
		}
		if w.Type == "button" {
			p.click(w, at)
		}
		out.widgets = append(out.widgets, w)
	}
	for _, n := range g.OnLoad {
		obj, fn, ok := strings.Cut(n, ".")
		if !p.isQuery(n) && (!ok || !p.isScript(obj) || fn == "") {
			p.fault(field+".on_load", "%s is neither a query nor a function of a script (SCRIPT.FUNCTION)%s", n, p.near(n))
		}
	}
	out.bundle = b
	return out
}

func (p *program) addPart(w *widget, b *bundle, at, name, text string) {
	if text == "" {
		return
	}
	t := p.template(at+"."+name, w.Name, text)
	functions, queries, _ := p.bound(at+"."+name, t.code, w.Name)
	w.parts = append(w.parts, part{name, t, append(functions, queries...)})
	b.line("__r.widget(" + list([]string{w.Name})[1:len(list([]string{w.Name}))-1] + ", \"" + name + "\",")
	b.functions("widget "+w.Name, &t)
	b.line(");")
}

// click reads what a button does.
func (p *program) click(w *widget, at string) {
	text := strings.TrimSpace(w.OnClick)
	obj, _, _ := strings.Cut(text, ".")
	switch {
	case text == "":
		p.warn(at+".on_click", "is not given: the button does nothing but show the page again")
		return
	case p.isQuery(text):
		w.click = text + ".run()"
		return
	case p.isScript(obj) && identifier.MatchString(strings.TrimPrefix(text, obj+".")):
		w.click = text + "()"
		return
	}
	t := p.template(at+".on_click", w.Name, text)
	if !t.whole() {
		p.fault(at+".on_click", "is a query, SCRIPT.FUNCTION or one {{ JavaScript }}")
		return
	}
	p.bound(at+".on_click", t.code, w.Name)
	w.click = t.code[0]
}

// order puts what each page runs into levels: a level waits for the ones before
// it. A cycle is a fault.
func (p *program) order() {
	for _, g := range p.pages {
		nodes := map[string]*node{}
		var add func(name string)
		add = func(name string) {
			if nodes[name] != nil {
				return
			}
			n := &node{Name: name, After: []string{}}
			nodes[name] = n
			if q := p.query(name); q != nil {
				n.Query = true
				n.After = append(append(n.After, q.needs...), q.after...)
			}
			for _, a := range n.After {
				add(a)
			}
		}
		for _, n := range g.OnLoad {
			add(n)
		}
		for _, w := range g.widgets {
			for _, t := range w.parts {
				for _, n := range t.after {
					add(n)
				}
			}
		}
		g.levels = p.levels("pages."+g.Name, nodes)
	}
	// What no page shows may be a cycle all the same.
	all := map[string]*node{}
	for _, q := range p.queries {
		all[q.Name] = &node{Name: q.Name, Query: true, After: q.after}
	}
	p.levels("queries", all)
	for _, q := range p.queries {
		for _, f := range q.needs {
			if p.runs(f, q.Name) {
				p.fault("queries."+q.Name, "waits for %s.data, and %s runs %s: a cycle; take the token from appsmith.store there, or do not run the query in that function", f, f, q.Name)
			}
		}
	}
}

// levels sorts nodes. Names of a level are in order.
func (p *program) levels(field string, nodes map[string]*node) [][]node {
	done := map[string]bool{}
	var out [][]node
	for len(done) < len(nodes) {
		var level []node
		for name, n := range nodes {
			if done[name] || slices.ContainsFunc(n.After, func(a string) bool { return nodes[a] != nil && !done[a] }) {
				continue
			}
			level = append(level, *n)
		}
		if len(level) == 0 {
			var left []string
			for name := range nodes {
				if !done[name] {
					left = append(left, name)
				}
			}
			slices.Sort(left)
			p.fault(field, "bindings go round in a circle: %s", strings.Join(circle(nodes, left[0]), " waits for "))
			return nil
		}
		slices.SortFunc(level, func(a, b node) int { return strings.Compare(a.Name, b.Name) })
		for _, n := range level {
			done[n.Name] = true
		}
		out = append(out, level)
	}
	return out
}

// circle follows what nodes wait for until one comes again.
func circle(nodes map[string]*node, from string) []string {
	var path []string
	for at := from; ; {
		if i := slices.Index(path, at); i >= 0 {
			return append(path[i:], at)
		}
		path = append(path, at)
		next := ""
		for _, a := range nodes[at].After {
			if n := nodes[a]; n != nil && len(n.After) > 0 {
				next = a
			}
		}
		if next == "" {
			return path
		}
		at = next
	}
}

// runs reports whether a function, or what it calls of its own object, runs a
// query, going by its text.
func (p *program) runs(function, query string) bool {
	obj, fn, _ := strings.Cut(function, ".")
	text := p.App.Scripts[obj].Reveal()
	seen := map[string]bool{}
	var look func(fn string) bool
	look = func(fn string) bool {
		if seen[fn] {
			return false
		}
		seen[fn] = true
		for _, r := range references(methodOf(text, fn)) {
			if r.name == query && r.member(0) == "run" {
				return true
			}
			if (r.name == "this" || r.name == obj) && r.member(0) != "" && look(r.member(0)) {
				return true
			}
		}
		return false
	}
	return look(fn)
}

// methodOf is about the text of a method: from its name before a parenthesis or
// a colon to the brace that ends it.
func methodOf(text, name string) string {
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return ""
		}
		start := at + i
		at = start + len(name)
		rest := strings.TrimLeft(text[at:], " \t\n")
		if start > 0 && (wordByte(text[start-1]) || text[start-1] == '.') || rest == "" || rest[0] != '(' && rest[0] != ':' {
			continue
		}
		depth, begun := 0, false
		for j := at; j < len(text); {
			if n := skip(text[j:]); n > 0 {
				j += n
				continue
			}
			switch text[j] {
			case '{', '(':
				depth++
				begun = begun || text[j] == '{'
			case '}', ')':
				if depth--; depth <= 0 && begun || depth < 0 {
					return text[at:j]
				}
			}
			j++
		}
		return text[at:]
	}
}
