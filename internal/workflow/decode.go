package workflow

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// decode reads a definition out of the JSON of an export.
func decode(src []byte, root *node) (*Definition, []Finding, error) {
	if root.kind != object {
		return nil, nil, &SyntaxError{Place: newPlaces(src).at(int(root.start), ""), Msg: "a workflow definition is a JSON object with a list of activities"}
	}
	r := &reader{places: newPlaces(src), root: root}
	if !isDefinition(root) {
		return nil, nil, &SyntaxError{Place: r.places.at(int(root.start), ""), Msg: "this is no workflow definition: it has neither activities nor a definitionId"}
	}
	r.twice(root, "", 0)
	d := &Definition{
		ID: r.text(root, "definitionId", ""), Name: r.text(root, "name", ""), DisplayName: r.text(root, "displayName", ""),
		Description: r.text(root, "description", ""), Tag: r.text(root, "tag", ""), Channel: r.text(root, "channel", ""),
		Version: r.int(root, "version", ""), Singleton: r.bool(root, "isSingleton", ""), DeleteCompleted: r.bool(root, "deleteCompletedInstances", ""),
		Variables: r.data(root, "variables"), CustomAttributes: r.data(root, "customAttributes"),
	}
	d.Persistence = r.persistence(root)
	d.Activities, d.Edges = r.graph(root, "", 0)
	d.Index()
	return d, append(r.findings, d.faults()...), nil
}

// isDefinition reports whether an object has what only definitions have. Two
// public exports are stubs without activities and without an id.
func isDefinition(root *node) bool {
	for _, name := range []string{"activities", "definitionId", "persistenceBehavior", "deleteCompletedInstances"} {
		if root.member(name) != nil {
			return true
		}
	}
	return false
}

// A reader collects what is odd while it reads.
type reader struct {
	places   *places
	root     *node
	ids      map[string]*node // of $id, made when the first $ref is met
	findings []Finding
}

func (r *reader) note(n *node, path string, f Finding) {
	f.Place = r.places.at(int(n.start), path)
	r.findings = append(r.findings, f)
}

// odd records a value that cannot be what it should be.
func (r *reader) odd(n *node, path, want string) {
	r.note(n, path, Finding{Severity: Warning, Code: "odd-value", What: fmt.Sprintf("%s is not %s", path, want), Why: "it is kept in the file and not used"})
}

// twice records members that an object has twice, down the whole tree.
func (r *reader) twice(n *node, path string, depth int) {
	var seen map[string]bool
	if n.kind == object && len(n.list) > 1 {
		seen = make(map[string]bool, len(n.list))
	}
	for i := range n.list {
		m := &n.list[i]
		if m.kind != object && m.kind != list && seen == nil {
			continue
		}
		at := ""
		if n.kind == list {
			at = path + "[" + strconv.Itoa(i) + "]"
		} else {
			at = join(path, m.name)
			if seen[m.name] {
				r.note(m, at, Finding{Severity: Warning, Code: "duplicate-member", What: at + " is given twice", Why: "the last one counts", Do: "remove the others"})
			}
			if seen != nil {
				seen[m.name] = true
			}
		}
		if m.kind == object || m.kind == list {
			r.twice(m, at, depth+1)
		}
	}
}

// join appends a member to a path.
func join(path, name string) string {
	plain := name != ""
	for _, c := range name {
		if c != '_' && c != '-' && c != '$' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			plain = false
		}
	}
	if !plain {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// follow resolves {"$ref": "n"}; what refers to nothing, or to itself, is null.
func (r *reader) follow(n *node, path string) *node {
	for range 8 {
		ref := n.exact("$ref")
		if ref == nil {
			return n
		}
		if r.ids == nil {
			r.ids = map[string]*node{}
			collect(r.root, r.ids)
		}
		to := r.ids[ref.text]
		if to == nil || to == n {
			r.note(n, path, Finding{Severity: Warning, Code: "dangling-reference", What: fmt.Sprintf("$ref %q refers to nothing in the file", ref.text), Why: "the value is taken as missing"})
			return &node{start: n.start, end: n.end}
		}
		n = to
	}
	r.note(n, path, Finding{Severity: Warning, Code: "dangling-reference", What: "the references here lead to each other", Why: "the value is taken as missing"})
	return &node{start: n.start, end: n.end}
}

func collect(n *node, ids map[string]*node) {
	if id := n.exact("$id"); id != nil && ids[id.text] == nil {
		ids[id.text] = n
	}
	for i := range n.list {
		if k := n.list[i].kind; k == object || k == list {
			collect(&n.list[i], ids)
		}
	}
}

// get returns a member, references followed; nil: missing or null.
func (r *reader) get(n *node, name, path string) (*node, string) {
	m := n.member(name)
	at := join(path, name)
	if m == nil {
		return nil, at
	}
	if m = r.follow(m, at); m.kind == null {
		return nil, at
	}
	return m, at
}

func (r *reader) text(n *node, name, path string) string {
	m, at := r.get(n, name, path)
	switch {
	case m == nil:
	case m.kind == text, m.kind == number, m.kind == boolean:
		return m.text
	default:
		r.odd(m, at, "text")
	}
	return ""
}

func (r *reader) int(n *node, name, path string) int {
	m, at := r.get(n, name, path)
	if m == nil {
		return 0
	}
	if m.kind == number || m.kind == text {
		f, err := strconv.ParseFloat(strings.TrimSpace(m.text), 64)
		if err == nil && math.Abs(f) <= math.MaxInt32 {
			return int(f)
		}
	}
	r.odd(m, at, "a number of this size")
	return 0
}

func (r *reader) bool(n *node, name, path string) bool {
	m, at := r.get(n, name, path)
	switch {
	case m == nil:
	case m.kind == boolean, m.kind == text && (strings.EqualFold(m.text, "true") || strings.EqualFold(m.text, "false")):
		return strings.EqualFold(m.text, "true")
	default:
		r.odd(m, at, "true or false")
	}
	return false
}

// data reads {"data": {…}}, or the map itself.
func (r *reader) data(root *node, name string) map[string]any {
	m, at := r.get(root, name, "")
	if m == nil {
		return nil
	}
	if d, in := r.get(m, "data", at); d != nil && d.kind == object {
		m, at = d, in
	}
	if m.kind != object {
		r.odd(m, at, "an object")
		return nil
	}
	v, _ := r.value(m, at, 0).(map[string]any)
	delete(v, "data") // where it is null
	return v
}

// value turns a node into what expressions see: int64 or float64 for numbers,
// []any, map[string]any without the serializer's own members.
func (r *reader) value(n *node, path string, depth int) any {
	n = r.follow(n, path)
	if depth > MaxDepth { // by way of references
		r.odd(n, path, "a value that ends")
		return nil
	}
	switch n.kind {
	case text:
		return n.text
	case boolean:
		return n.text == "true"
	case number:
		return numeric(n.text)
	case list:
		out := make([]any, len(n.list))
		for i := range n.list {
			out[i] = r.value(&n.list[i], path+"["+strconv.Itoa(i)+"]", depth+1)
		}
		return out
	case object:
		if v := n.exact("$values"); v != nil && v.kind == list {
			return r.value(v, join(path, "$values"), depth+1)
		}
		out := make(map[string]any, len(n.list))
		for i := range n.list {
			m := &n.list[i]
			if m.name != "$id" && m.name != "$type" {
				out[m.name] = r.value(m, join(path, m.name), depth+1)
			}
		}
		return out
	}
	return nil
}

func (r *reader) persistence(root *node) Persistence {
	m, at := r.get(root, "persistenceBehavior", "")
	if m == nil {
		return PersistBurst
	}
	// The platform writes the name; its serializer may also write the number.
	all := []Persistence{PersistSuspended, PersistBurst, PersistPassCompleted, PersistActivity}
	for i, p := range []Persistence{PersistSuspended, PersistBurst, PersistActivity} {
		if m.text == strconv.Itoa(i) {
			return p
		}
	}
	for _, p := range all {
		if strings.EqualFold(m.text, string(p)) {
			return p
		}
	}
	r.odd(m, at, "a moment to save at: Suspended, WorkflowBurst or ActivityExecuted")
	return PersistBurst
}

// entries returns the elements of a list member, each an object.
func (r *reader) entries(n *node, name, path string) (out []*node, at []string) {
	m, in := r.get(n, name, path)
	if m == nil {
		return nil, nil
	}
	if v := m.exact("$values"); v != nil {
		m, in = v, join(in, "$values")
	}
	if m.kind != list {
		r.odd(m, in, "a list")
		return nil, nil
	}
	for i := range m.list {
		p := in + "[" + strconv.Itoa(i) + "]"
		e := r.follow(&m.list[i], p)
		if e.kind != object {
			r.odd(&m.list[i], p, "an object")
			continue
		}
		out, at = append(out, e), append(at, p)
	}
	return out, at
}

// graph reads activities and edges of a definition or of a composite.
func (r *reader) graph(n *node, path string, depth int) ([]Activity, []Edge) {
	var activities []Activity
	nodes, at := r.entries(n, "activities", path)
	for i, a := range nodes {
		activities = append(activities, r.activity(a, at[i], depth))
	}
	var edges []Edge
	nodes, at = r.entries(n, "connections", path)
	for i, e := range nodes {
		edges = append(edges, Edge{Source: r.text(e, "sourceActivityId", at[i]), Target: r.text(e, "targetActivityId", at[i]),
			Outcome: r.text(e, "outcome", at[i]), At: r.places.at(int(e.start), at[i])})
	}
	return activities, edges
}

func (r *reader) activity(n *node, path string, depth int) Activity {
	a := Activity{
		ID: r.text(n, "activityId", path), Type: r.text(n, "type", path), Name: r.text(n, "name", path),
		DisplayName: r.text(n, "displayName", path), Description: r.text(n, "description", path),
		X: r.int(n, "x", path), Y: r.int(n, "y", path),
		PersistWorkflow: r.bool(n, "persistWorkflow", path), LoadContext: r.bool(n, "loadWorkflowContext", path), SaveContext: r.bool(n, "saveWorkflowContext", path),
		At: r.places.at(int(n.start), path),
	}
	if a.ID == "" {
		// Nothing can lead to it, but it can be the start.
		a.ID = path
		r.findings = append(r.findings, Finding{Severity: Warning, Code: "no-id", What: "the activity has no activityId", Why: "no connection can name it", Do: "give it one"}.On(&a))
	}
	nodes, at := r.entries(n, "properties", path)
	for i, p := range nodes {
		a.Properties = append(a.Properties, r.property(p, at[i]))
	}
	if m, in := r.get(n, "propertyStorageProviders", path); m != nil {
		a.Storage = r.texts(m, in)
	}
	if depth < MaxDepth {
		a.Activities, a.Edges = r.graph(n, path, depth+1)
	}
	return a
}

func (r *reader) property(n *node, path string) Property {
	p := Property{Name: r.text(n, "name", path), Syntax: r.text(n, "syntax", path), At: r.places.at(int(n.start), path)}
	if m, in := r.get(n, "expressions", path); m != nil {
		p.Expressions = r.texts(m, in)
	}
	return p
}

// texts reads a map of texts. The platform writes JSON as text inside a text;
// a value that somebody wrote in place is taken as its JSON.
func (r *reader) texts(n *node, path string) map[string]string {
	if n.kind != object {
		r.odd(n, path, "an object")
		return nil
	}
	out := make(map[string]string, len(n.list))
	for i := range n.list {
		m := &n.list[i]
		if m.name == "$id" || m.name == "$type" {
			continue
		}
		switch v := r.follow(m, join(path, m.name)); v.kind {
		case null:
		case text, number, boolean:
			out[m.name] = v.text
		default:
			out[m.name] = string(r.places.src[v.start:v.end])
		}
	}
	return out
}

// faults is what contradicts itself in a definition, whichever way it was
// spelt.
func (d *Definition) faults() []Finding {
	var out []Finding
	graph(d.Activities, d.Edges, &out)
	if len(d.Activities) == 0 {
		out = append(out, Finding{Severity: Warning, Code: "empty", Place: Place{Line: 1, Column: 1}, What: "the workflow has no activities", Why: "a run ends as soon as it begins"})
	}
	return out
}

func graph(activities []Activity, edges []Edge, out *[]Finding) {
	ids, names := map[string]*Activity{}, map[string]*Activity{}
	for i := range activities {
		a := &activities[i]
		if first := ids[a.ID]; first != nil {
			*out = append(*out, Finding{Severity: Error, Code: "duplicate-id", What: fmt.Sprintf("the activityId %q is that of %q, too", a.ID, first.Label()),
				Why: "connections to it are ambiguous", Do: "give one of them another activityId"}.On(a))
		} else {
			ids[a.ID] = a
		}
		if a.Type == "" {
			*out = append(*out, Finding{Severity: Warning, Code: "no-type", What: "the activity has no type", Why: "a run that reaches it faults", Do: "give it one"}.On(a))
		}
		if strings.TrimSpace(a.Name) != "" {
			if first := names[a.Name]; first != nil {
				*out = append(*out, Finding{Severity: Warning, Code: "duplicate-name", What: fmt.Sprintf("the name %q is that of another activity, too (line %d)", a.Name, first.At.Line),
					Why: "expressions that say activities." + a.Name + " mean the first one", Do: "give one of them another name"}.On(a))
			} else {
				names[a.Name] = a
			}
		}
		graph(a.Activities, a.Edges, out)
	}
	for _, e := range edges {
		for _, end := range []struct{ what, id, other string }{{"source", e.Source, e.Target}, {"target", e.Target, e.Source}} {
			if ids[end.id] != nil {
				continue
			}
			f := Finding{Severity: Warning, Code: "dangling-edge", Place: e.At, What: fmt.Sprintf("the connection's %s %q is not an activity of the workflow", end.what, end.id),
				Why: "the connection is not followed", Do: "connect it to an activity, or remove it"}
			if other := ids[end.other]; other != nil {
				f.Activity, f.ID, f.Type = other.Label(), other.ID, other.Type
			}
			if e.Outcome != "" {
				f.What = fmt.Sprintf("the %s %q of the connection for outcome %q is not an activity of the workflow", end.what, end.id, e.Outcome)
			}
			*out = append(*out, f)
		}
	}
}

// Parse reads a definition in either spelling. The error is a *SyntaxError:
// the bytes are no definition. Everything else that is odd is a finding, and
// the definition is what can be made of the file.
func Parse(b []byte) (*Definition, []Finding, error) {
	doc, err := Read(b)
	if err != nil {
		return nil, nil, err
	}
	return doc.Definition()
}

// ParseValue reads a JSON value as runs have it: int64 or float64 for numbers,
// []any, map[string]any.
func ParseValue(b []byte) (any, error) {
	n, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	return plainValue(n), nil
}

func plainValue(n *node) any {
	switch n.kind {
	case text:
		return n.text
	case boolean:
		return n.text == "true"
	case number:
		return numeric(n.text)
	case list:
		out := make([]any, len(n.list))
		for i := range n.list {
			out[i] = plainValue(&n.list[i])
		}
		return out
	case object:
		out := make(map[string]any, len(n.list))
		for i := range n.list {
			out[n.list[i].name] = plainValue(&n.list[i])
		}
		return out
	}
	return nil
}

// numeric is a number as runs have it; one that no machine number holds stays
// text.
func numeric(s string) any {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return s
}
