package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/importer"
)

var actionName = regexp.MustCompile(`^[^./:]+\.[^./:]+$`)

// action runs an action of a component: COMPONENT.ACTION.
func (c *runCmd) action(e *env, cl *api.Client, r api.RunRequest) (*api.RunResult, error) {
	component, action, _ := strings.Cut(c.What, ".")
	r.Name = component
	return c.start(e, cl, func(ctx context.Context, r api.RunRequest) (*api.RunResult, error) {
		return cl.RunAction(ctx, action, r)
	}, r)
}

// fromEnvironment gives an import the variables that the descriptor of a
// component names, from where the command runs; what --set says goes before.
func fromEnvironment(e *env, in *api.Import, file []byte) {
	for _, name := range importer.ComponentNames(file) {
		if _, given := in.Set[name]; given {
			continue
		}
		if v := e.getenv(name); v != "" {
			b, err := json.Marshal(v)
			if err == nil {
				in.Set[name] = b
			}
		}
	}
}

// printComponent writes what an import made of a descriptor.
func printComponent(w io.Writer, r *api.ImportReport) {
	line := func(format string, args ...any) { fmt.Fprintln(w, plain(fmt.Sprintf(format, args...))) }
	line("%s component %s", r.Action, r.Name)
	if len(r.Attached) > 0 {
		line("  resources: %s", strings.Join(r.Attached, ", "))
	}
	for _, f := range r.Findings {
		text := f.What
		if f.Why != "" {
			text += ": " + f.Why
		}
		line("  %s: %s", f.Severity, text)
		if f.Do != "" {
			fmt.Fprintln(w, "    → "+plain(f.Do))
		}
	}
}
