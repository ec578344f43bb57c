package component

import (
	"fmt"
	"maps"
	"slices"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/component/descriptor"
	"github.com/freshet-dev/freshet/internal/script"
)

// A Checker looks at declarations.
type Checker struct{}

// CheckComponent reports what is wrong or odd with a component: the descriptor,
// variables of the environment that it needs, sources that do not compile.
func (Checker) CheckComponent(_ string, c *freshet.Component, fault, warn func(field, text string)) {
	for _, name := range slices.Sorted(maps.Keys(c.Actions)) {
		source := c.Actions[name].Source.Reveal()
		if len(source) > MaxSource {
			fault("actions."+name, fmt.Sprintf("is longer than %d KiB", MaxSource>>10))
		} else if err := script.Check(wrap(source), MaxSource+1<<10); err != nil {
			fault("actions."+name, "does not compile: "+err.Error())
		}
	}
	d, err := descriptor.Parse([]byte(c.Descriptor.Reveal()))
	if err != nil {
		fault("descriptor", err.Error())
		return
	}
	if len(c.Actions) == 0 {
		return // nothing runs, so nothing is needed
	}
	for _, v := range d.Variables {
		if _, ok := c.Env[v.Name]; !ok && v.Required && !credential(d, v.Name) {
			fault("env", fmt.Sprintf("needs %s, which component.json declares as required: %s: \"${%s}\"", v.Name, v.Name, v.Name))
		}
	}
	if d.OAuth == nil && c.Connection != "" {
		warn("connection", "component.json has no credentials.oauth2; its token set is in cfg."+d.Token())
	}
}

// credential reports whether the variable is one of the client's, which the
// connection holds: actions need it only if they refresh by themselves, and then
// say so.
func credential(d *descriptor.Descriptor, name string) bool {
	if d.OAuth == nil {
		return false
	}
	return slices.Contains(descriptor.Names(d.OAuth.ClientID, d.OAuth.ClientSecret), name)
}
