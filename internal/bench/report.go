package bench

import (
	"bytes"
	"fmt"
)

// markdown renders the report for docs/benchmarks.md.
func (r *runner) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Figures

One run of this binary on one machine, ours against the plainest thing that could do the same, in paired rounds that alternate; medians. Repeat it with

`+"```console\n$ make figures\n```"+`

which runs `+"`freshet bench --report docs/benchmarks.md`"+`. The ratios should travel; the absolute numbers belong to the machine.

Run of %s, version %s, on %s.

`, r.report.At.Format("2006-01-02 15:04 UTC"), r.report.Version, r.report.Machine)
	for _, p := range profiles {
		first := true
		for _, row := range r.report.Rows {
			if row.Profile != p.name {
				continue
			}
			if first {
				fmt.Fprintf(&b, "## %s\n\n%s.\n\n| figure | measured | goal |\n|---|---|---|\n", p.name, upper(p.doc))
				first = false
			}
			verdict := row.Goal
			if row.Met != nil && !*row.Met {
				verdict += ", missed"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", row.Name, row.Value, verdict)
		}
		if !first {
			b.WriteString("\n")
		}
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func upper(s string) string {
	if c := s[0]; c >= 'a' && c <= 'z' {
		return string(c-'a'+'A') + s[1:]
	}
	return s
}
