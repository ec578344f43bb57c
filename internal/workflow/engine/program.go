package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// A program is a version made ready to run: each activity with its spec, its
// live expressions and its edges. Programs are immutable and shared.
type program struct {
	v      *workflow.Version
	nodes  []*node
	byID   map[string]*node
	byName map[string]*node // the first of each name
	names  []string
	starts []*node
	inputs []mapped
	road   string
}

type mapped struct{ variable, code string }

type node struct {
	a       *workflow.Activity
	spec    *activity.Spec // nil: unknown
	index   int
	fields  []field
	out     []edge
	inbound []string // keys of the edges that lead here
	sources []*node
	eager   bool // a join that looks whenever a branch arrives
	parent  *node
	inner   []*node // a composite: its start activities
}

type field struct {
	activity.Field
	prop *workflow.Property
	as   expr.Field
	code string // of kind Code: the text itself
}

type edge struct {
	outcome string
	target  *node
	key     string
}

// programs keeps the programs of the versions that were run last.
type programs struct {
	mu    sync.RWMutex
	known map[*workflow.Version]*program
}

const keepPrograms = 1000

func (e *Engine) program(v *workflow.Version) *program {
	c := &e.programs
	c.mu.RLock()
	p := c.known[v]
	c.mu.RUnlock()
	if p != nil {
		return p
	}
	p = compile(v, e.o.Registry)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= keepPrograms || c.known == nil {
		c.known = map[*workflow.Version]*program{}
	}
	c.known[v] = p
	return p
}

func compile(v *workflow.Version, reg *activity.Registry) *program {
	p := &program{v: v, byID: map[string]*node{}, byName: map[string]*node{}}
	p.add(v.Definition.Activities, v.Definition.Edges, nil, reg)
	for _, a := range v.Definition.Starts() {
		if n := p.byID[a.ID]; n != nil && n.a == a {
			p.starts = append(p.starts, n)
		}
	}
	for name, code := range v.MapInput {
		p.inputs = append(p.inputs, mapped{name, code})
	}
	slices.SortFunc(p.inputs, func(a, b mapped) int { return strings.Compare(a.variable, b.variable) })
	p.road = road(p)
	return p
}

// add makes nodes of activities and, within them, of what composites hold.
func (p *program) add(list []workflow.Activity, edges []workflow.Edge, parent *node, reg *activity.Registry) []*node {
	var added []*node
	for i := range list {
		a := &list[i]
		if p.byID[a.ID] != nil {
			continue // the first of an id counts
		}
		n := &node{a: a, index: len(p.nodes), parent: parent}
		p.nodes = append(p.nodes, n)
		p.byID[a.ID] = n
		added = append(added, n)
		if strings.TrimSpace(a.Name) != "" && p.byName[a.Name] == nil {
			p.byName[a.Name] = n
			p.names = append(p.names, a.Name)
		}
		if n.spec, _ = reg.Lookup(a.Type); n.spec == nil && len(a.Activities) > 0 {
			n.spec = &composite
		}
		if n.spec != nil {
			n.describe()
		}
		if len(a.Activities) > 0 {
			inner := p.add(a.Activities, a.Edges, n, reg)
			for _, m := range inner {
				if len(m.inbound) == 0 {
					n.inner = append(n.inner, m)
				}
			}
			if len(n.inner) == 0 && len(inner) > 0 {
				n.inner = inner[:1]
			}
		}
	}
	for i, e := range edges {
		from, to := p.byID[e.Source], p.byID[e.Target]
		if from == nil || to == nil || from.parent != parent || to.parent != parent {
			continue
		}
		key := fmt.Sprint(i)
		from.out = append(from.out, edge{e.Outcome, to, key})
		to.inbound = append(to.inbound, key)
		if !slices.Contains(to.sources, from) {
			to.sources = append(to.sources, from)
		}
	}
	return added
}

func (n *node) describe() {
	for _, f := range n.spec.Fields {
		d := field{Field: f, prop: n.a.Property(f.Name)}
		d.as = expr.Field{Activity: n.a.Type, Name: f.Name, Kind: expr.Kind(f.Kind), Syntax: f.Syntax, Options: f.Options}
		switch f.Kind {
		case activity.Any, activity.Duration, activity.Instant:
			d.as.Kind = expr.Any
		case activity.Code:
			d.as.Kind = expr.Text
			if d.prop != nil {
				if syntax, text, ok := d.prop.Live(f.Syntax); ok && (syntax == workflow.Literal || syntax == workflow.JavaScript) {
					d.code = text
				}
			}
		}
		if f.Name == "Content" {
			d.as.Encoding = expr.EncodingFor(n.a.Type+"."+f.Name, n.contentType())
		}
		n.fields = append(n.fields, d)
	}
	n.eager = n.spec.Join && strings.EqualFold(strings.TrimSpace(literal(n.a, "EagerJoin")), "true")
}

// contentType is what the activity says its content is, as far as that is text.
func (n *node) contentType() string {
	if text := literal(n.a, "ContentType"); text != "" {
		return text
	}
	f, _ := n.spec.Field("ContentType")
	return text(f.Default)
}

// literal returns the text of a property that is a literal, "" if it is not.
func literal(a *workflow.Activity, name string) string {
	if p := a.Property(name); p != nil {
		if syntax, text, ok := p.Live(""); ok && syntax == workflow.Literal {
			return text
		}
	}
	return ""
}

// find returns the node of a name or, else, an id.
func (p *program) find(nameOrID string) *node {
	if n := p.byName[nameOrID]; n != nil {
		return n
	}
	return p.byID[nameOrID]
}

// upstream returns the nodes from which an edge path leads to n.
func (n *node) upstream() map[*node]bool {
	seen := map[*node]bool{}
	var walk func(*node)
	walk = func(n *node) {
		for _, s := range n.sources {
			if !seen[s] {
				seen[s] = true
				walk(s)
			}
		}
		if n.parent != nil && !seen[n.parent] {
			seen[n.parent] = true
			walk(n.parent)
		}
	}
	walk(n)
	return seen
}

// road says which road tokens take, as far as the definition tells: activities
// that name a connection, or requests that carry what the definition itself
// has got hold of.
func road(p *program) string {
	written := false
	for _, n := range p.nodes {
		switch n.a.Type {
		case "CallConnection", "GetAccessToken":
			return "native"
		case "SendHttpRequest":
			if q := n.a.Property("Connection"); q != nil {
				if _, text, ok := q.Live(""); ok && strings.TrimSpace(text) != "" {
					return "native"
				}
			}
			written = true
		}
	}
	if written {
		return "as written"
	}
	return ""
}
