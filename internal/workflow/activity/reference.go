package activity

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// categories are the headings of the reference, in their order; others follow
// by name.
var categories = []string{controlFlow, primitives, "Scripting", "Workflows", timers, "HTTP", "Data"}

// Reference describes the activities of a registry as Markdown, by category.
func (r *Registry) Reference() []byte {
	by := map[string][]Spec{}
	var names []string
	for _, s := range r.All() {
		if by[s.Category] == nil {
			names = append(names, s.Category)
		}
		by[s.Category] = append(by[s.Category], s)
	}
	rank := func(name string) int {
		if i := slices.Index(categories, name); i >= 0 {
			return i
		}
		return len(categories)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "\n## %s\n", name)
		for _, s := range by[name] {
			s.reference(&b)
		}
	}
	return b.Bytes()
}

func (s *Spec) reference(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n### %s\n\n", s.Type)
	if s.DisplayName != s.Type {
		fmt.Fprintf(b, "*%s.* ", s.DisplayName)
	}
	b.WriteString(sentence(s.Summary))
	if s.Doc != "" {
		b.WriteString(" " + sentence(s.Doc))
	}
	b.WriteString("\n")
	var facts []string
	if s.Trigger {
		facts = append(facts, "It can start a workflow: first in a run it completes at once, later it waits.")
	}
	if s.Acts {
		facts = append(facts, "It acts outside of the run: after a crash it is not repeated without a person's word.")
	}
	if len(s.Aliases) > 0 {
		facts = append(facts, "Also known as "+code(s.Aliases)+".")
	}
	if facts != nil {
		fmt.Fprintf(b, "\n%s\n", strings.Join(facts, " "))
	}
	if len(s.Fields) > 0 {
		b.WriteString("\n| field | kind | default | what it is |\n|---|---|---|---|\n")
		for _, f := range s.Fields {
			kind := string(f.Kind)
			if f.Syntax != "" && f.Syntax != workflow.Literal {
				kind += ", " + f.Syntax
			}
			standard := ""
			switch {
			case f.Default != nil:
				standard = "`" + Format(f.Default) + "`"
			case f.Required:
				standard = "required"
			}
			doc := f.Doc
			if len(f.Options) > 0 {
				doc += ": " + code(f.Options)
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Name, kind, cell(standard), cell(doc))
		}
	}
	outcomes := code(s.Outcomes)
	if s.OutcomesOf != "" {
		outcomes = join2(outcomes, "those of `"+s.OutcomesOf+"`")
	}
	if s.AnyOutcome {
		outcomes = join2(outcomes, "others that arise")
	}
	if outcomes == "" {
		outcomes = "none"
	}
	fmt.Fprintf(b, "\nOutcomes: %s.", outcomes)
	for i, o := range s.Outputs {
		if i == 0 {
			b.WriteString(" Outputs: ")
		} else {
			b.WriteString("; ")
		}
		fmt.Fprintf(b, "`%s`, %s", o.Name, o.Doc)
	}
	if len(s.Outputs) > 0 {
		b.WriteString(".")
	}
	b.WriteString("\n")
	for i, e := range s.Examples {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "- %s\n", e.text(s))
	}
}

// text is an example in a line: what goes in and what comes out.
func (e Example) text(s *Spec) string {
	var b strings.Builder
	if e.Doc != "" {
		b.WriteString(e.Doc + ": ")
	}
	in := e.In
	if in == "" {
		in = "no fields"
	} else {
		in = "`" + in + "`"
	}
	b.WriteString(in)
	if e.Input != "" {
		b.WriteString(" with input `" + e.Input + "`")
	}
	switch {
	case e.Fault != "":
		b.WriteString(" → fault: " + e.Fault)
	case e.Waits != "":
		b.WriteString(" → waits")
	case len(e.Outcomes) > 0:
		b.WriteString(" → " + code(e.Outcomes))
	}
	if e.Out != "" && e.Out != "{}" {
		b.WriteString(", outputs `" + e.Out + "`")
	}
	if e.Sets != "" && e.Sets != "{}" {
		b.WriteString(", sets `" + e.Sets + "`")
	}
	return b.String()
}

func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func code(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

func join2(a, b string) string {
	if a == "" {
		return b
	}
	return a + " and " + b
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
