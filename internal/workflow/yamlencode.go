package workflow

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Standard tells the default syntax of an activity's property, "" for Literal;
// known is false for what nobody here knows.
type Standard func(activityType, property string) (syntax string, known bool)

// EncodeYAML writes a definition in Freshet's own spelling, which reads back as
// one that means the same: a text whose syntax the file leaves to the
// property's default gets it named, and properties without any text are left
// out. standard may be nil.
func EncodeYAML(d *Definition, standard Standard) ([]byte, error) {
	if standard == nil {
		standard = func(string, string) (string, bool) { return "", false }
	}
	top := mapping()
	put(top, "workflow", d.Name)
	put(top, "title", d.DisplayName)
	put(top, "description", d.Description)
	put(top, "id", d.ID)
	put(top, "tag", d.Tag)
	put(top, "channel", d.Channel)
	if d.Version != 0 {
		add(top, "version", plain(fmt.Sprint(d.Version)))
	}
	flag(top, "singleton", d.Singleton)
	flag(top, "delete_completed", d.DeleteCompleted)
	if d.Persistence != "" && d.Persistence != PersistBurst {
		put(top, "persistence", string(d.Persistence))
	}
	for _, m := range []struct {
		name   string
		values map[string]any
	}{{"variables", d.Variables}, {"attributes", d.CustomAttributes}} {
		if len(m.values) > 0 {
			n := valueNode(m.values)
			unflow(n)
			add(top, m.name, n)
		}
	}
	if d.Name == "" {
		add(top, "workflow", quoted(""))
	}
	writeGraph(top, d.Activities, d.Edges, standard)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(top); err != nil {
		return nil, fmt.Errorf("write workflow %s: %w", d.Name, err)
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func add(m *yaml.Node, name string, v *yaml.Node) { m.Content = append(m.Content, textNode(name), v) }

func put(m *yaml.Node, name, text string) {
	if text != "" {
		add(m, name, textNode(text))
	}
}

func flag(m *yaml.Node, name string, v bool) {
	if v {
		add(m, name, plain("true"))
	}
}

func plain(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

func quoted(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.SingleQuotedStyle}
}

// textNode writes a text so that it reads back as the same: lines as lines,
// everything odd in quotes.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	n.Style = style(s)
	return n
}

func style(s string) yaml.Style {
	switch {
	case s == "":
		return yaml.SingleQuotedStyle
	case !printable(s), strings.HasPrefix(s, " "), strings.HasPrefix(s, "\n"), strings.Trim(s, "\n") == "", !strings.Contains(s, "\n") && strings.Contains(s, "\t"):
		return yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		return yaml.LiteralStyle
	}
	return 0
}

// valueNode writes a default variable.
func valueNode(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		n := mapping()
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			add(n, name, valueNode(v[name]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, e := range v {
			n.Content = append(n.Content, valueNode(e))
		}
		return n
	case string:
		return textNode(v)
	}
	return plain(string(encode(v)))
}

// unflow turns the flow style of JSON into blocks.
func unflow(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = style(n.Value)
	}
	for _, c := range n.Content {
		unflow(c)
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) <= 8 && !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind != yaml.ScalarNode || c.Style == yaml.LiteralStyle }) {
		n.Style = yaml.FlowStyle
	}
}

// keys gives each activity a key: its name where that is a handle of its own,
// else words from its title with a hyphen, so that it reads back as nameless.
func keys(list []Activity) []string {
	out, taken := make([]string, len(list)), map[string]bool{}
	for i, a := range list {
		if identifier.MatchString(a.Name) && !taken[a.Name] {
			out[i], taken[a.Name] = a.Name, true
		}
	}
	for i, a := range list {
		if out[i] != "" {
			continue
		}
		words := strings.FieldsFunc(strings.ToLower(a.Label()), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
		base := strings.Join(words[:min(len(words), 6)], "-")
		if base == "" {
			base = "activity"
		}
		key := base
		for n := 1; !strings.Contains(key, "-") || taken[key]; n++ {
			key = fmt.Sprintf("%s-%d", base, n)
		}
		out[i], taken[key] = key, true
	}
	return out
}

func writeGraph(top *yaml.Node, activities []Activity, edges []Edge, standard Standard) {
	all := mapping()
	key := keys(activities)
	byID := map[string]string{}
	for i, a := range activities {
		if _, ok := byID[a.ID]; !ok {
			byID[a.ID] = key[i]
		}
	}
	rest := &yaml.Node{Kind: yaml.SequenceNode}
	out := map[string][]Edge{} // by source
	for _, e := range edges {
		if byID[e.Source] != "" && byID[e.Target] != "" {
			out[e.Source] = append(out[e.Source], e)
			continue
		}
		n := mapping()
		n.Style = yaml.FlowStyle
		add(n, "from", textNode(e.Source))
		put(n, "outcome", e.Outcome)
		add(n, "to", textNode(e.Target))
		rest.Content = append(rest.Content, n)
	}
	for i := range activities {
		a := &activities[i]
		n := mapping()
		put(n, "type", a.Type)
		if a.ID != key[i] {
			add(n, "id", textNode(a.ID))
		}
		if implied := identifier.MatchString(key[i]); implied && a.Name != key[i] || !implied && a.Name != "" {
			add(n, "name", textNode(a.Name))
		}
		put(n, "title", a.DisplayName)
		put(n, "description", a.Description)
		if a.X != 0 || a.Y != 0 {
			add(n, "at", &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{plain(fmt.Sprint(a.X)), plain(fmt.Sprint(a.Y))}})
		}
		flag(n, "persist", a.PersistWorkflow)
		flag(n, "load_context", a.LoadContext)
		flag(n, "save_context", a.SaveContext)
		if len(a.Storage) > 0 {
			s := mapping()
			for _, name := range slices.Sorted(maps.Keys(a.Storage)) {
				add(s, name, textNode(a.Storage[name]))
			}
			add(n, "storage", s)
		}
		with := mapping()
		for j := range a.Properties {
			p := &a.Properties[j]
			if p.Syntax == "" && len(p.Expressions) == 0 || a.Property(p.Name) != p {
				continue
			}
			add(with, p.Name, propertyNode(a.Type, p, standard))
		}
		if len(with.Content) > 0 {
			add(n, "with", with)
		}
		if byID[a.ID] == key[i] {
			if next := nextNode(out[a.ID], byID); next != nil {
				add(n, "next", next)
			}
		}
		if len(a.Activities) > 0 {
			writeGraph(n, a.Activities, a.Edges, standard)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		add(all, key[i], n)
	}
	if len(all.Content) == 0 {
		all.Style = yaml.FlowStyle
	}
	add(top, "activities", all)
	if len(rest.Content) > 0 {
		add(top, "edges", rest)
	}
}

// nextNode writes the connections of one activity in their order.
func nextNode(edges []Edge, key map[string]string) *yaml.Node {
	if len(edges) == 0 {
		return nil
	}
	var outcomes []string
	targets := map[string][]*yaml.Node{}
	for _, e := range edges {
		if targets[e.Outcome] == nil {
			outcomes = append(outcomes, e.Outcome)
		}
		targets[e.Outcome] = append(targets[e.Outcome], textNode(key[e.Target]))
	}
	of := func(outcome string) *yaml.Node {
		if t := targets[outcome]; len(t) == 1 {
			return t[0]
		}
		return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: targets[outcome]}
	}
	if len(outcomes) == 1 && outcomes[0] == "" {
		return of("")
	}
	n := mapping()
	if len(outcomes) <= 2 {
		n.Style = yaml.FlowStyle
	}
	for _, o := range outcomes {
		add(n, o, of(o))
	}
	return n
}

// propertyNode writes a property: the shortest form that keeps its meaning.
func propertyNode(activityType string, p *Property, standard Standard) *yaml.Node {
	syntax, known := p.Syntax, true
	if syntax == "" {
		if syntax, known = standard(activityType, p.Name); known && syntax == "" {
			syntax = Literal
		}
	}
	text, live := p.Expressions[syntax]
	if known && live && len(p.Expressions) == 1 {
		switch tag := tagOf(syntax); {
		case syntax == Literal:
			return textNode(text)
		case syntax == JSON && jsonNode(text) != nil:
			return jsonNode(text)
		case tag != "":
			n := textNode(text)
			n.Tag = tag
			n.Style |= yaml.TaggedStyle
			return n
		}
	}
	n := mapping()
	n.Tag, n.Style = texts, yaml.TaggedStyle
	put(n, "syntax", p.Syntax)
	for _, name := range slices.Sorted(maps.Keys(p.Expressions)) {
		add(n, name, textNode(p.Expressions[name]))
	}
	if len(n.Content) == 0 {
		n.Style |= yaml.FlowStyle
	}
	return n
}

func tagOf(syntax string) string {
	for tag, s := range tags {
		if s == syntax {
			return tag
		}
	}
	return ""
}

// jsonNode writes the text of a JSON list or object as YAML, if it reads back
// as the same text; else nil.
func jsonNode(text string) *yaml.Node {
	if len(text) < 2 || text[0] != '[' && text[0] != '{' {
		return nil
	}
	if _, err := parseJSON([]byte(text)); err != nil {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return nil
	}
	n := doc.Content[0]
	unflow(n)
	var b bytes.Buffer
	y := &yamlReader{}
	y.json(&b, n, "", 0)
	if b.String() != text || len(y.findings) > 0 {
		return nil
	}
	return n
}
