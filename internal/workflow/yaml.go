package workflow

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxYAML bounds a file in Freshet's own spelling: a YAML reader spends some
// hundred bytes of memory on two bytes of file.
const MaxYAML = 1 << 20

// tags lead from a YAML tag to the syntax that it stands for.
var tags = map[string]string{"!literal": Literal, "!js": JavaScript, "!liquid": Liquid, "!json": JSON, "!secret": Secret, "!variable": Variable, "!switch": Switch}

// texts is the tag of a property with several texts, or with none of its own
// syntax: !texts {syntax: JavaScript, JavaScript: …, Literal: …}.
const texts = "!texts"

var (
	yamlLine   = regexp.MustCompile(`line (\d+): `)
	identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)
)

// decodeYAML reads Freshet's own spelling, which docs/workflows.md describes.
// What is ours is read strictly: an unknown field is a finding that keeps the
// version from being published.
func decodeYAML(b []byte) (*Definition, []Finding, error) {
	if len(b) > MaxYAML {
		return nil, nil, &SyntaxError{Msg: fmt.Sprintf("the file has %d KiB; a definition in YAML has at most %d", (len(b)+1023)>>10, MaxYAML>>10)}
	}
	if i := invalidUTF8(b); i >= 0 {
		return nil, nil, &SyntaxError{Place: newPlaces(b).at(i, ""), Msg: "the file is not UTF-8: save it as UTF-8"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		e := &SyntaxError{Place: Place{Line: 1, Column: 1}, Msg: "this is neither the JSON of an export nor YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
			e.Msg = strings.Replace(e.Msg, m[0], "", 1)
		}
		return nil, nil, e
	}
	const what = "this is no workflow definition: an export is JSON and begins with {, Freshet's own spelling has workflow: NAME and activities:"
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, nil, &SyntaxError{Place: Place{Line: 1, Column: 1}, Msg: what}
	}
	y := &yamlReader{}
	top := y.fields(doc.Content[0], "")
	if top["activities"] == nil && top["workflow"] == nil {
		return nil, nil, &SyntaxError{Place: Place{Line: 1, Column: 1}, Msg: what}
	}
	d := &Definition{
		Name: y.text(top, "workflow", ""), ID: y.text(top, "id", ""), DisplayName: y.text(top, "title", ""), Description: y.text(top, "description", ""),
		Tag: y.text(top, "tag", ""), Channel: y.text(top, "channel", ""), Version: y.int(top, "version", ""),
		Singleton: y.bool(top, "singleton", ""), DeleteCompleted: y.bool(top, "delete_completed", ""), Persistence: PersistBurst,
		Variables: y.data(top, "variables"), CustomAttributes: y.data(top, "attributes"),
	}
	if n := top["persistence"]; n != nil {
		switch p := Persistence(n.Value); p {
		case PersistActivity, PersistBurst, PersistPassCompleted, PersistSuspended:
			d.Persistence = p
		default:
			y.bad(n, "persistence", "is Suspended, WorkflowBurst or ActivityExecuted")
		}
	}
	d.Activities, d.Edges = y.graph(top, "")
	y.unknown(top, "", "workflow", "id", "title", "description", "tag", "channel", "version", "singleton", "delete_completed", "persistence", "variables", "attributes", "activities", "edges")
	d.Index()
	return d, append(y.findings, d.faults()...), nil
}

type yamlReader struct {
	findings []Finding
}

func (y *yamlReader) bad(n *yaml.Node, path, format string, args ...any) {
	y.findings = append(y.findings, Finding{Severity: Error, Code: "bad-field", Place: Place{path, n.Line, n.Column}, What: strings.TrimSpace(path + " " + fmt.Sprintf(format, args...)),
		Do: "docs/workflows.md describes the fields"})
}

// fields lists the members of a mapping. Aliases are not followed: a definition
// repeats itself rarely, and files of aliases of aliases grow without bounds.
func (y *yamlReader) fields(n *yaml.Node, path string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		y.bad(n, path, "has fields")
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch at := join(path, k.Value); {
		case k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || v.Kind == yaml.AliasNode:
			y.bad(k, at, "is an alias or a merge, which are not read here: write it out")
		case out[k.Value] != nil:
			y.bad(k, at, "is given twice")
		case v.Kind == yaml.ScalarNode && v.Tag == "!!null" && v.Style&yaml.TaggedStyle == 0:
			out[k.Value] = &yaml.Node{Kind: 0, Line: k.Line, Column: k.Column}
		default:
			out[k.Value] = v
		}
	}
	for name, v := range out {
		if v.Kind == 0 { // null: as if it were not there, but known
			delete(out, name)
		}
	}
	return out
}

func (y *yamlReader) unknown(fields map[string]*yaml.Node, path string, known ...string) {
	for name, n := range fields {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			y.bad(n, join(path, name), "is not a field; the fields are %s", strings.Join(known, ", "))
		}
	}
}

func (y *yamlReader) text(f map[string]*yaml.Node, name, path string) string {
	n := f[name]
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		y.bad(n, join(path, name), "is text")
		return ""
	}
	return n.Value
}

func (y *yamlReader) int(f map[string]*yaml.Node, name, path string) int {
	n := f[name]
	if n == nil {
		return 0
	}
	i, err := strconv.ParseInt(n.Value, 10, 32)
	if err != nil {
		y.bad(n, join(path, name), "is a whole number")
	}
	return int(i)
}

func (y *yamlReader) bool(f map[string]*yaml.Node, name, path string) bool {
	n := f[name]
	if n != nil && n.Value != "true" && n.Value != "false" {
		y.bad(n, join(path, name), "is true or false")
	}
	return n != nil && n.Value == "true"
}

func (y *yamlReader) data(f map[string]*yaml.Node, name string) map[string]any {
	n := f[name]
	if n == nil {
		return nil
	}
	v, ok := y.value(n, name, 0).(map[string]any)
	if !ok {
		y.bad(n, name, "has names with values")
	}
	return v
}

func (y *yamlReader) value(n *yaml.Node, path string, depth int) any {
	if depth > MaxDepth {
		y.bad(n, path, "goes deeper than %d levels", MaxDepth)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if _, twice := out[k.Value]; twice || k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
				y.bad(k, join(path, k.Value), "is given twice, or is no name")
				continue
			}
			out[k.Value] = y.value(n.Content[i+1], join(path, k.Value), depth+1)
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, e := range n.Content {
			out[i] = y.value(e, path+"["+strconv.Itoa(i)+"]", depth+1)
		}
		return out
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return nil
		case "!!bool":
			return n.Value == "true"
		case "!!int", "!!float":
			if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
				return i
			}
			if f, err := strconv.ParseFloat(n.Value, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
				return f
			}
		}
		return n.Value
	}
	y.bad(n, path, "is an alias, which is not read here: write it out")
	return nil
}

// keyed is an activity under way: its key and where it leads.
type keyed struct {
	key  string
	next *yaml.Node
	path string
}

// graph reads activities with their next, and edges.
func (y *yamlReader) graph(top map[string]*yaml.Node, path string) ([]Activity, []Edge) {
	list := top["activities"]
	if list == nil {
		return nil, nil
	}
	at := join(path, "activities")
	if list.Kind != yaml.MappingNode {
		y.bad(list, at, "has an entry for each activity, under a key of its own")
		return nil, nil
	}
	var activities []Activity
	var order []keyed
	ids := map[string]string{} // by key
	for i := 0; i+1 < len(list.Content); i += 2 {
		k, v := list.Content[i], list.Content[i+1]
		in := join(at, k.Value)
		if _, twice := ids[k.Value]; twice || k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || v.Kind != yaml.MappingNode {
			y.bad(k, in, "is given twice, or is no activity: it has a type and fields")
			continue
		}
		f := y.fields(v, in)
		a := y.activity(f, k, in)
		ids[k.Value] = a.ID
		activities = append(activities, a)
		order = append(order, keyed{k.Value, f["next"], join(in, "next")})
	}
	id := func(key string) string {
		if id, ok := ids[key]; ok {
			return id
		}
		return key
	}
	var edges []Edge
	for _, k := range order {
		edges = append(edges, y.next(k, id)...)
	}
	return activities, append(edges, y.edges(top["edges"], join(path, "edges"))...)
}

func (y *yamlReader) activity(f map[string]*yaml.Node, key *yaml.Node, path string) Activity {
	a := Activity{ID: key.Value, Type: y.text(f, "type", path), DisplayName: y.text(f, "title", path), Description: y.text(f, "description", path),
		PersistWorkflow: y.bool(f, "persist", path), LoadContext: y.bool(f, "load_context", path), SaveContext: y.bool(f, "save_context", path),
		At: Place{path, key.Line, key.Column}}
	if f["id"] != nil {
		a.ID = y.text(f, "id", path)
	}
	switch {
	case f["name"] != nil:
		a.Name = y.text(f, "name", path)
	case identifier.MatchString(key.Value):
		a.Name = key.Value
	}
	if n := f["at"]; n != nil {
		ok := n.Kind == yaml.SequenceNode && len(n.Content) == 2
		if ok {
			x, err1 := strconv.ParseInt(n.Content[0].Value, 10, 32)
			v, err2 := strconv.ParseInt(n.Content[1].Value, 10, 32)
			a.X, a.Y, ok = int(x), int(v), err1 == nil && err2 == nil
		}
		if !ok {
			y.bad(n, join(path, "at"), "is [X, Y]")
		}
	}
	if n := f["with"]; n != nil {
		if n.Kind != yaml.MappingNode {
			y.bad(n, join(path, "with"), "has the properties by name")
		} else {
			a.Properties = y.properties(n, join(path, "with"))
		}
	}
	if n := f["storage"]; n != nil {
		a.Storage = map[string]string{}
		for name, v := range y.fields(n, join(path, "storage")) {
			a.Storage[name] = v.Value
		}
	}
	if f["activities"] != nil {
		a.Activities, a.Edges = y.graph(f, path)
	}
	y.unknown(f, path, "type", "title", "id", "name", "description", "at", "with", "next", "persist", "load_context", "save_context", "storage", "activities", "edges")
	return a
}

func (y *yamlReader) properties(n *yaml.Node, path string) []Property {
	var out []Property
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(path, k.Value)
		if seen[k.Value] || k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || v.Kind == yaml.AliasNode {
			y.bad(k, at, "is given twice, or is an alias")
			continue
		}
		seen[k.Value] = true
		p := Property{Name: k.Value, Expressions: map[string]string{}, At: Place{at, v.Line, v.Column}}
		syntax, tagged := tags[v.Tag]
		switch {
		case v.Tag == texts:
			for name, t := range y.fields(v, at) {
				if t.Kind != yaml.ScalarNode {
					y.bad(t, join(at, name), "is text")
				} else if name == "syntax" {
					p.Syntax = t.Value
				} else {
					p.Expressions[name] = t.Value
				}
			}
		case strings.HasPrefix(v.Tag, "!") && !strings.HasPrefix(v.Tag, "!!") && !tagged:
			y.bad(v, at, "has the tag %s; the tags are !js, !liquid, !json, !secret, !variable, !switch, !literal and !texts", v.Tag)
		case v.Kind != yaml.ScalarNode:
			if !tagged {
				syntax = JSON
			}
			var b bytes.Buffer
			y.json(&b, v, at, 0)
			p.Syntax, p.Expressions[syntax] = syntax, b.String()
		case v.Tag == "!!null":
		default:
			if !tagged {
				syntax = Literal
			}
			p.Syntax, p.Expressions[syntax] = syntax, v.Value
		}
		out = append(out, p)
	}
	return out
}

// json writes a value as JSON, members in the order of the file.
func (y *yamlReader) json(b *bytes.Buffer, n *yaml.Node, path string, depth int) {
	if depth > MaxDepth {
		y.bad(n, path, "goes deeper than %d levels", MaxDepth)
		b.WriteString("null")
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(encode(n.Content[i].Value))
			b.WriteByte(':')
			y.json(b, n.Content[i+1], path, depth+1)
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			y.json(b, e, path, depth+1)
		}
		b.WriteByte(']')
	case yaml.ScalarNode:
		b.Write(scalarJSON(n))
	default:
		y.bad(n, path, "is an alias, which is not read here: write it out")
		b.WriteString("null")
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func scalarJSON(n *yaml.Node) []byte {
	switch {
	case n.Tag == "!!null":
		return []byte("null")
	case n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false"), (n.Tag == "!!int" || n.Tag == "!!float") && jsonNumber.MatchString(n.Value):
		return []byte(n.Value)
	}
	return encode(n.Value)
}

// next reads where an activity leads: KEY, a list of keys, or either by
// outcome.
func (y *yamlReader) next(k keyed, id func(string) string) []Edge {
	if k.next == nil {
		return nil
	}
	var out []Edge
	to := func(n *yaml.Node, outcome string) {
		targets := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			targets = n.Content
		}
		for _, t := range targets {
			if t.Kind != yaml.ScalarNode || t.Tag == "!!null" {
				y.bad(t, k.path, "names activities by their keys")
				continue
			}
			out = append(out, Edge{Source: id(k.key), Target: id(t.Value), Outcome: outcome, At: Place{k.path, t.Line, t.Column}})
		}
	}
	if k.next.Kind != yaml.MappingNode {
		to(k.next, "")
		return out
	}
	for i := 0; i+1 < len(k.next.Content); i += 2 {
		to(k.next.Content[i+1], k.next.Content[i].Value)
	}
	return out
}

// edges reads what next cannot say: connections whose ends are not there.
func (y *yamlReader) edges(n *yaml.Node, path string) []Edge {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		y.bad(n, path, "is a list of {from, outcome, to}, by activity ids")
		return nil
	}
	var out []Edge
	for i, e := range n.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		f := y.fields(e, at)
		out = append(out, Edge{Source: y.text(f, "from", at), Target: y.text(f, "to", at), Outcome: y.text(f, "outcome", at), At: Place{at, e.Line, e.Column}})
		y.unknown(f, at, "from", "outcome", "to")
	}
	return out
}

// printable reports whether YAML can hold a text in a block as it is.
func printable(s string) bool {
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimRight(line, " \t") != line || strings.HasPrefix(line, "\t") {
			return false
		}
		for _, c := range line {
			if c != ' ' && c != '\t' && (!unicode.IsGraphic(c) || c == '\ufeff' || c == utf8.RuneError) {
				return false
			}
		}
	}
	return true
}
