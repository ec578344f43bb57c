package main

import (
	"fmt"
	"io"

	"github.com/freshet-dev/freshet/api"
)

// printApp writes what became of a JavaScript object.
func printApp(w io.Writer, r *api.ImportReport) {
	line := func(format string, args ...any) { fmt.Fprintln(w, plain(fmt.Sprintf(format, args...))) }
	line("%s app %s: %s with %d functions, kept byte for byte", r.Action, r.Name, r.File, r.Activities)
	for _, s := range r.Starts {
		line("  freshet run %s", s)
	}
	for _, f := range r.Findings {
		line("  %s: %s", f.What, f.Why)
		if f.Do != "" {
			line("    → %s", f.Do)
		}
	}
}
