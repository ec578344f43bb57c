package process

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// A Report is told what there is to say of a definition: faults keep it from
// being kept, the others are for people. Fields are paths inside it.
type Report func(fault bool, field, detail string)

const (
	inputPath = "urlPath" // takes the place of a method's path for one call
	maxScript = 64 << 10
	maxRules  = 100
)

// fieldName keeps names of fields apart from text, and from what else stands
// between brackets.
var fieldName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_ -]{0,127}$`)

// CheckService reports what is wrong with a service beyond its form.
func CheckService(s *freshet.Service, report Report) {
	if s.BaseURL == "" && s.Connection == "" {
		report(true, "base_url", "is needed: what the paths of methods are below")
	}
	switch {
	case s.Certificate.IsZero() != s.Key.IsZero():
		report(true, "certificate", "mutual TLS needs both certificate and key")
	case !s.Certificate.IsZero() && s.Connection != "":
		report(true, "certificate", "belongs to the client of the connection, which makes the calls")
	case !s.Certificate.IsZero():
		if _, err := keyPair(s); err != nil {
			report(true, "certificate", "and key do not go together, or are not PEM")
		}
	}
	if len(s.Methods) == 0 {
		report(false, "methods", "is empty: there is nothing to call")
	}
	seen := map[string]bool{}
	for i := range s.Methods {
		m := &s.Methods[i]
		at := path("methods", m.Name)
		switch {
		case m.Name == "" || strings.TrimSpace(m.Name) != m.Name || strings.ContainsAny(m.Name, "\r\n\t"):
			report(true, "methods", fmt.Sprintf("%q is no name of a method: it is one line of text", m.Name))
		case seen[m.Name]:
			report(true, at, "is given twice")
		}
		seen[m.Name] = true
		if _, err := under("", m.Path); err != nil {
			report(true, at+".path", err.Error())
		}
		if (m.Method == "GET" || m.Method == "HEAD") && len(m.Request.Body) > 0 {
			report(true, at+".request.body", "a "+m.Method+" has no body: name these under query")
		}
		for _, part := range []struct {
			name string
			list []freshet.Parameter
		}{{"headers", m.Request.Headers}, {"query", m.Request.Query}, {"body", m.Request.Body}} {
			twice := map[string]bool{}
			for i := range part.list {
				p := &part.list[i]
				key := p.Name
				if part.name == "headers" {
					key = strings.ToLower(key)
					if !content.Token(p.Name) {
						report(true, at+".request.headers", fmt.Sprintf("%q cannot be the name of a header", p.Name))
					}
				}
				if twice[key] {
					report(true, at+".request."+part.name, p.Name+" is given twice")
				}
				twice[key] = true
				if p.Value != "" && !p.Secret.IsZero() {
					report(true, at+".request."+part.name, p.Name+" has both value and secret")
				}
			}
		}
	}
}

// CheckProcess reports what is wrong with a process beyond its form. service
// finds services, nil for a name that nobody declared.
func CheckProcess(p *freshet.Process, service func(name string) *freshet.Service, report Report) {
	c := checker{p: p, service: service, report: report}
	seen := map[string]bool{}
	for i := range p.Fields {
		f := &p.Fields[i]
		if !fieldName.MatchString(f.Name) || strings.TrimSpace(f.Name) != f.Name {
			report(true, at("fields", i), fmt.Sprintf("%q is no name of a field: letters, digits, blanks, _ and -, beginning with a letter", f.Name))
		} else if seen[f.Name] {
			report(true, at("fields", i), f.Name+" is given twice")
		}
		seen[f.Name] = true
		if !f.Secret && content.SecretName(f.Name) {
			report(false, at("fields", i), fmt.Sprintf("%s sounds like a secret and is shown to everybody who may look: {name: %s, secret: true} hides it", f.Name, f.Name))
		}
		c.rules(at("fields", i)+".rules", f.Rules, false)
	}
	if len(p.Fields) == 0 {
		report(true, "fields", "is empty")
	}
	names := map[string]string{}
	for _, s := range all(p) {
		if s.rule.Name == "" {
			continue
		}
		if first, ok := names[s.rule.Name]; ok {
			report(true, "buttons", fmt.Sprintf("two rules are called %s (%s and %s): a trigger rule:%s would mean either", s.rule.Name, first, s.id, s.rule.Name))
		}
		names[s.rule.Name] = s.id
	}
	for _, b := range slices.Sorted(maps.Keys(p.Buttons)) {
		if strings.TrimSpace(b) != b || b == "" || strings.ContainsAny(b, "\r\n\t") {
			report(true, "buttons", fmt.Sprintf("%q is no name of a button: it is one line of text", b))
		}
		c.rules(path("buttons", b), p.Buttons[b], true)
	}
	if e := p.Expiry; e != nil {
		for _, f := range []struct{ at, name string }{{"expires_in", e.ExpiresIn}, {"created_at", e.CreatedAt}, {"refresh_expires_in", e.RefreshExpiresIn}} {
			if f.name != "" && p.Field(f.name) == nil {
				report(true, "expiry."+f.at, c.noField(f.name))
			}
		}
	}
	for i, in := range p.Instances {
		for _, n := range slices.Sorted(maps.Keys(in)) {
			v := in[n]
			if p.Field(n) == nil {
				report(true, path(at("instances", i), n), c.noField(n))
			}
			if v.Expression != "" {
				report(true, path(at("instances", i), n), "a seed is a value: an expression is for set_field")
			}
		}
	}
}

type checker struct {
	p       *freshet.Process
	service func(name string) *freshet.Service
	report  Report
}

func (c *checker) noField(name string) string {
	names := make([]string, len(c.p.Fields))
	for i := range c.p.Fields {
		names[i] = c.p.Fields[i].Name
	}
	return fmt.Sprintf("there is no field %s: the fields are %s", name, strings.Join(names, ", "))
}

func (c *checker) rules(where string, rules []freshet.ProcessRule, button bool) {
	if len(rules) > maxRules {
		c.report(true, where, fmt.Sprintf("holds more than %d rules", maxRules))
		return
	}
	if button && len(rules) == 0 {
		c.report(false, where, "has no rules: pressing it does nothing")
	}
	saved, changes := false, false
	for i := range rules {
		r := &rules[i]
		here := at(where, i)
		n := 0
		for _, given := range []bool{r.SetField != nil, r.FindItems != nil, r.CreateItem != nil, r.UpdateItem != nil, r.DeleteItem != nil, r.Save != nil} {
			if given {
				n++
			}
		}
		if n != 1 {
			c.report(true, here, "does one thing: exactly one of set_field, find_items, create_item, update_item, delete_item and save is given")
			continue
		}
		c.script(here+".when", r.When)
		saved = r.Save != nil && r.When == "" || saved && r.Save != nil
		changes = true
		for _, f := range slices.Sorted(maps.Keys(r.SetField)) {
			where := path(here+".set_field", f)
			if c.p.Field(f) == nil {
				c.report(true, where, c.noField(f))
			}
			c.value(where, r.SetField[f], false)
			c.exposed(where, f, r.SetField[f])
		}
		if item := r.Item(); item != nil {
			c.item(here+"."+key(r), item)
		}
	}
	if changes && !saved {
		c.report(false, where, "does not end in a Save form rule: what its rules change is gone when they are through; put save: {} at the end")
	}
}

func key(r *freshet.ProcessRule) string {
	return strings.ReplaceAll(strings.ToLower(r.Type()), " ", "_")
}

// item checks one call: that everything it names is there, and that everything
// its method wants has a source.
func (c *checker) item(where string, item *freshet.ItemRule) {
	for _, out := range []struct {
		at string
		m  map[string]freshet.ProcessValue
	}{{".on_success", item.OnSuccess}, {".on_error", item.OnError}} {
		for _, f := range slices.Sorted(maps.Keys(out.m)) {
			if c.p.Field(f) == nil {
				c.report(true, path(where+out.at, f), c.noField(f))
			}
			c.value(path(where+out.at, f), out.m[f], true)
			c.exposed(path(where+out.at, f), f, out.m[f])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(item.Input)) {
		c.value(path(where+".input", n), item.Input[n], false)
	}
	s := c.service(item.Service)
	if s == nil {
		return // said where references are checked
	}
	m := s.Method(item.Method)
	if m == nil {
		names := make([]string, len(s.Methods))
		for i := range s.Methods {
			names[i] = s.Methods[i].Name
		}
		c.report(true, where+".method", fmt.Sprintf("service %s has no method %q: it has %s", item.Service, item.Method, strings.Join(names, ", ")))
		return
	}
	given := map[*freshet.Parameter]bool{}
	for _, n := range slices.Sorted(maps.Keys(item.Input)) {
		if n == inputPath {
			if v := item.Input[n]; v.Expression == "" && len(refs(v.Text)) == 0 {
				if _, err := under("", v.Text+v.Secret.String()); err != nil {
					c.report(true, path(where+".input", n), err.Error())
				}
			}
			continue
		}
		p, _, err := parameter(m, n)
		if err != nil {
			c.report(true, path(where+".input", n), err.Error())
			continue
		}
		given[p] = true
	}
	for _, list := range [][]freshet.Parameter{m.Request.Headers, m.Request.Query, m.Request.Body} {
		for i := range list {
			if p := &list[i]; !given[p] && !p.Fixed() {
				c.report(false, where+".input", fmt.Sprintf("parameter %s of %s has no source: it is not sent; map a field or a text to it", p.Name, item.Method))
			}
		}
	}
	c.answers(where, item, m)
}

// answers checks what is taken from the answer against what the method says that
// it holds.
func (c *checker) answers(where string, item *freshet.ItemRule, m *freshet.ServiceMethod) {
	used := map[string]bool{}
	for _, f := range slices.Sorted(maps.Keys(item.OnSuccess)) {
		for _, ref := range refs(item.OnSuccess[f].Text) {
			for _, part := range []struct {
				root string
				list []freshet.Parameter
			}{{"body", m.Response.Body}, {"headers", m.Response.Headers}} {
				rest, ok := member(ref, part.root)
				if !ok || rest == "" {
					continue
				}
				first := strings.FieldsFunc(rest, func(r rune) bool { return r == '.' || r == '[' })[0]
				used[part.root+"."+first] = true
				if len(part.list) > 0 && !slices.ContainsFunc(part.list, func(p freshet.Parameter) bool {
					return p.Name == rest || p.Name == first || part.root == "headers" && strings.EqualFold(p.Name, rest)
				}) {
					c.report(false, path(where+".on_success", f), fmt.Sprintf("method %s does not say that it answers with %s", m.Name, ref))
				}
			}
		}
	}
	if slices.ContainsFunc(m.Response.Body, func(p freshet.Parameter) bool { return p.Name == "refresh_token" }) && !used["body.refresh_token"] {
		c.report(false, where+".on_success", "the answer holds a refresh_token that nothing keeps: if the provider rotates it, the next refresh is refused; map [body.refresh_token] to the field that is sent")
	}
}

func (c *checker) value(where string, v freshet.ProcessValue, answer bool) {
	n := 0
	for _, given := range []bool{v.Text != "", !v.Secret.IsZero(), v.Expression != ""} {
		if given {
			n++
		}
	}
	if n > 1 {
		c.report(true, where, "has one source: text, secret or expression")
	}
	c.script(where+".expression", v.Expression)
	for _, r := range refs(v.Text) {
		c.reference(where, r, answer)
	}
}

// exposed warns of a secret that goes into a field that everybody may look at.
func (c *checker) exposed(where, field string, v freshet.ProcessValue) {
	to := c.p.Field(field)
	if to == nil || to.Secret || content.SecretName(field) { // the last is said where the field is
		return
	}
	for _, r := range refs(v.Text) {
		from := c.p.Field(r)
		member, ofBody := member(r, "body")
		if from != nil && from.Secret || from == nil && ofBody && content.SecretName(member) {
			c.report(false, where, fmt.Sprintf("puts a secret, [%s], into field %s, which is shown to everybody who may look: {name: %s, secret: true} hides it", r, field, field))
		}
	}
}

// reference checks what stands between brackets.
func (c *checker) reference(where, ref string, answer bool) {
	if c.p.Field(ref) != nil || ref == "ProcessID" || ref == "now" {
		return
	}
	for _, root := range []string{"body", "headers", "status", "error"} {
		if _, ok := member(ref, root); ok {
			if !answer {
				c.report(true, where, "["+ref+"] is of an answer: it is there in on_success and on_error")
			}
			return
		}
	}
	if _, _, ok := other(ref); ok {
		return // of a form that may come yet
	}
	c.report(true, where, fmt.Sprintf("%s; for the text itself write [[%s]]", c.noField(ref), ref))
}

func (c *checker) script(where, source string) {
	if source == "" {
		return
	}
	js, names := translate(source)
	if err := script.Check(js, maxScript); err != nil {
		c.report(true, where, "does not compile: "+err.Error())
		return
	}
	for _, n := range names {
		c.reference(where, n, false)
	}
}

// parameter finds where an input goes: the header, query or body field of the
// name. header:NAME, query:NAME and body:NAME tell those of one name apart.
func parameter(m *freshet.ServiceMethod, name string) (p *freshet.Parameter, in string, err error) {
	want, plain := "", name
	for _, prefix := range []string{"header", "query", "body"} {
		if rest, ok := strings.CutPrefix(name, prefix+":"); ok {
			want, plain = prefix, rest
		}
	}
	for _, part := range []struct {
		in   string
		list []freshet.Parameter
	}{{"body", m.Request.Body}, {"query", m.Request.Query}, {"header", m.Request.Headers}} {
		if want != "" && want != part.in {
			continue
		}
		for i := range part.list {
			if q := &part.list[i]; q.Name == plain || part.in == "header" && strings.EqualFold(q.Name, plain) {
				if p != nil {
					return nil, "", fmt.Errorf("%s is both in the %s and in the %s of method %s: write %s:%s or %s:%s", plain, in, part.in, m.Name, in, plain, part.in, plain)
				}
				p, in = q, part.in
			}
		}
	}
	if p == nil {
		var names []string
		for _, list := range [][]freshet.Parameter{m.Request.Headers, m.Request.Query, m.Request.Body} {
			for _, q := range list {
				names = append(names, q.Name)
			}
		}
		return nil, "", fmt.Errorf("method %s has no parameter %s: it has %s", m.Name, name, strings.Join(append(names, inputPath), ", "))
	}
	return p, in, nil
}

// path and at write places as resources do.
func path(base, name string) string {
	if strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) >= 0 || name == "" {
		return fmt.Sprintf("%s.%q", base, name)
	}
	return base + "." + name
}

func at(base string, i int) string { return fmt.Sprintf("%s[%d]", base, i) }
