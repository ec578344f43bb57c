package process

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
)

// A step is a rule with its place: Refresh/2 is the second of button Refresh.
type step struct {
	id   string
	rule *freshet.ProcessRule
}

// A TriggerError says that a process has nothing of the name to trigger.
type TriggerError struct {
	Process string
	Trigger string
	There   []string // what it has
}

// Error lists what there is.
func (e *TriggerError) Error() string {
	if len(e.There) == 0 {
		return fmt.Sprintf("process %s has no %s: it has neither buttons nor rules", e.Process, e.Trigger)
	}
	return fmt.Sprintf("process %s has no %s: it has %s", e.Process, e.Trigger, strings.Join(e.There, ", "))
}

// triggered returns the rules that a trigger runs, in order: those of
// button:NAME, those of field:NAME, or the one of rule:NAME, where NAME may also
// be the rule's place, as in rule:Refresh/2. A name alone is a button's.
func triggered(p *freshet.Process, trigger string) ([]step, error) {
	kind, what, ok := strings.Cut(trigger, ":")
	if !ok {
		kind, what = "button", trigger
	}
	switch kind {
	case "button":
		if rules, ok := p.Buttons[what]; ok {
			return steps(what, rules), nil
		}
	case "field":
		if f := p.Field(what); f != nil && len(f.Rules) > 0 {
			return steps(what, f.Rules), nil
		}
	case "rule":
		for _, s := range all(p) {
			if s.id == what || s.rule.Name == what {
				return []step{s}, nil
			}
		}
	}
	return nil, &TriggerError{p.Name, kind + ":" + what, Triggers(p)}
}

func steps(of string, rules []freshet.ProcessRule) []step {
	out := make([]step, len(rules))
	for i := range rules {
		out[i] = step{of + "/" + strconv.Itoa(i+1), &rules[i]}
	}
	return out
}

// all lists the rules of a process: those of its buttons, then those of fields.
func all(p *freshet.Process) []step {
	var out []step
	for _, b := range slices.Sorted(maps.Keys(p.Buttons)) {
		out = append(out, steps(b, p.Buttons[b])...)
	}
	for i := range p.Fields {
		out = append(out, steps(p.Fields[i].Name, p.Fields[i].Rules)...)
	}
	return out
}

// Triggers lists what of a process can be triggered: buttons, fields that have
// rules, and each rule.
func Triggers(p *freshet.Process) []string {
	var out []string
	for _, b := range slices.Sorted(maps.Keys(p.Buttons)) {
		out = append(out, "button:"+b)
	}
	for i := range p.Fields {
		if len(p.Fields[i].Rules) > 0 {
			out = append(out, "field:"+p.Fields[i].Name)
		}
	}
	for _, s := range all(p) {
		if s.rule.Name != "" {
			out = append(out, "rule:"+s.rule.Name)
		} else {
			out = append(out, "rule:"+s.id)
		}
	}
	return out
}
