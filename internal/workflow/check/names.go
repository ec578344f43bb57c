package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// A Use is a place that speaks of a name.
type Use struct {
	Activity string `json:"activity"`
	Type     string `json:"type"`
	Property string `json:"property"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
}

// String returns "ACTIVITY".PROPERTY.
func (u Use) String() string { return fmt.Sprintf("%q, %s", u.Activity, u.Property) }

// A text is a live expression of a definition.
type text struct {
	a            *workflow.Activity
	p            *workflow.Property
	field        activity.Field
	known        bool // the field is one of a known activity
	syntax, text string
	names        expr.Names
}

func (t *text) use() Use {
	return Use{t.a.Label(), t.a.Type, t.p.Name, t.p.At.Line, t.p.At.Column}
}

// texts lists the live expressions of a definition, composites included, in
// the order of the file.
func (c *Checker) texts(list []workflow.Activity) (out []*text) {
	for i := range list {
		a := &list[i]
		spec, _ := c.o.Types.Lookup(a.Type)
		for j := range a.Properties {
			t := &text{a: a, p: &a.Properties[j]}
			if spec != nil {
				t.field, t.known = spec.Field(t.p.Name)
				if !t.known {
					continue
				}
			}
			var ok bool
			if t.syntax, t.text, ok = live(t.p, t.field); !ok || strings.TrimSpace(t.text) == "" {
				continue
			}
			t.names = c.o.Reads(t.syntax, t.text)
			out = append(out, t)
		}
		out = append(out, c.texts(a.Activities)...)
	}
	return out
}

// A Read is a variable that is read and that nothing sets.
type Read struct {
	Name    string `json:"name"`
	Uses    []Use  `json:"uses"`
	Effect  string `json:"effect"`            // what comes of it
	Similar string `json:"similar,omitempty"` // a variable that is set
	Do      string `json:"do"`

	weight int // of the effect
}

// loopVariables are what loops put into the scope of their bodies.
var loopVariables = []string{"CurrentValue", "CurrentIndex"}

// sets lists the variables that something sets: activities, scripts, default
// variables of the file, what is attached. dynamic: a name is computed, so that
// nobody can tell.
func sets(v *workflow.Version, all []*text) (set map[string]bool, dynamic bool) {
	set = map[string]bool{}
	for _, n := range loopVariables {
		set[n] = true
	}
	for name := range v.Definition.Variables {
		set[name] = true
	}
	for name := range v.Attachments.Variables {
		set[name] = true
	}
	for name := range v.MapInput {
		set[name] = true
	}
	for _, t := range all {
		if t.p.Name == "VariableName" {
			if t.syntax == workflow.Literal {
				set[strings.TrimSpace(t.text)] = true
			} else {
				dynamic = true
			}
		}
		for _, name := range t.names.Sets {
			set[name] = true
		}
	}
	return set, dynamic
}

// neverSet lists variables that are read and never set, by name.
func neverSet(v *workflow.Version, all []*text) []Read {
	set, dynamic := sets(v, all)
	found := map[string]*Read{}
	for _, t := range all {
		for _, name := range t.names.Variables {
			if set[name] {
				continue
			}
			r := found[name]
			if r == nil {
				r = &Read{Name: name}
				found[name] = r
			}
			r.Uses = append(r.Uses, t.use())
			if effect, weight := effectOf(t, name); r.Effect == "" || weight > r.weight {
				r.Effect, r.weight = effect, weight
			}
		}
	}
	var out []Read
	for _, name := range slices.Sorted(maps.Keys(found)) {
		r := found[name]
		r.Similar = similar(name, set)
		r.Do = advice(r, all)
		if dynamic {
			r.Do += "; some names of variables are computed, so one of those may set it"
		}
		out = append(out, *r)
	}
	return out
}

// logging are the properties whose text people read and nothing depends on.
func logging(t *text) bool {
	switch t.a.Type {
	case "Correlate", "WriteLine", "SetName":
		return true
	}
	return t.a.Type == "Fault" && t.p.Name == "Message"
}

// effectOf is what comes of reading a variable that nobody set, and how much it
// weighs.
func effectOf(t *text, name string) (effect string, weight int) {
	member := regexp.MustCompile(`getVariable\(\s*` + inQuotes(name) + `\s*\)\s*[.\[]`)
	switch {
	case t.syntax == workflow.JavaScript && member.MatchString(t.text):
		return "it is null, and a member of null is a TypeError: every run that comes here faults", 3
	case logging(t):
		return "the text says null in its place", 0
	case t.p.Name == "Url" && t.syntax == workflow.JavaScript:
		return "the URL has the word null in its place", 2
	case t.p.Name == "Method":
		return "without a method the request is a GET", 1
	case t.p.Name == "Content":
		return "without content the request has no body", 1
	case t.syntax == workflow.Liquid:
		return "it is empty", 1
	}
	return "it is null", 1
}

func inQuotes(name string) string { return "[\"'`]" + regexp.QuoteMeta(name) + "[\"'`]" }

// similar finds a set variable that may be meant: one of the names ends in the
// other, or they differ in case.
func similar(name string, set map[string]bool) string {
	low := strings.ToLower(name)
	for _, s := range slices.Sorted(maps.Keys(set)) {
		l := strings.ToLower(s)
		if l == low || 2*len(low) > len(l) && strings.HasSuffix(l, low) || 2*len(l) > len(low) && strings.HasSuffix(low, l) {
			return s
		}
	}
	return ""
}

// advice is how to attach what is missing. A look-alike is offered, never
// applied: only its author knows that it is meant.
func advice(r *Read, all []*text) string {
	members := membersOf(r.Name, all)
	var parts []string
	if r.Similar != "" {
		parts = append(parts, fmt.Sprintf("the workflow sets %s: if that is meant, change the expression", r.Similar))
	}
	switch {
	case len(members) > 0:
		fields := make([]string, len(members))
		for i, m := range members {
			fields[i] = fmt.Sprintf(`"%s":"…"`, m)
		}
		parts = append(parts, fmt.Sprintf(`--set %s='{%s}' attaches a default`, r.Name, strings.Join(fields, ",")))
	default:
		parts = append(parts, fmt.Sprintf("--map-input %s=input.%s takes it from the input, --set %s=JSON attaches a default", r.Name, lowerFirst(r.Name), r.Name))
	}
	if r.weight == 0 && onlyLogged(r) {
		parts = append(parts, "only messages name it: leaving it out harms nothing")
	}
	return strings.Join(parts, "; ")
}

func onlyLogged(r *Read) bool {
	return !slices.ContainsFunc(r.Uses, func(u Use) bool {
		return !logging(&text{a: &workflow.Activity{Type: u.Type}, p: &workflow.Property{Name: u.Property}})
	})
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// membersOf lists the members that expressions take of a variable.
func membersOf(name string, all []*text) (out []string) {
	get := `getVariable\(\s*` + inQuotes(name) + `\s*\)`
	direct := regexp.MustCompile(`(?:` + get + `|\bVariables\.` + regexp.QuoteMeta(name) + `)\??\.([A-Za-z_]\w*)`)
	held := regexp.MustCompile(`\b(?:var|let|const)\s+([A-Za-z_$][\w$]*)\s*=\s*` + get + `\s*(?:[;\n]|$)`)
	for _, t := range all {
		patterns := []*regexp.Regexp{direct}
		for _, m := range held.FindAllStringSubmatch(t.text, -1) { // const row = getVariable("AccessToken")
			patterns = append(patterns, regexp.MustCompile(`\b`+regexp.QuoteMeta(m[1])+`\??\.([A-Za-z_]\w*)`))
		}
		for _, p := range patterns {
			for _, m := range p.FindAllStringSubmatch(t.text, -1) {
				if !slices.Contains(out, m[1]) {
					out = append(out, m[1])
				}
			}
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
