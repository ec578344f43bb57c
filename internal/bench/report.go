package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const head = `# Figures

One run of this binary on one machine, ours against the plainest thing that could do the same, in paired rounds that alternate; medians. Repeat it with

` + "```console\n$ make figures\n```" + `

which runs ` + "`freshet bench --report docs/benchmarks.md`" + `: a section is written anew by each run of its profile, and says when that was. The ratios should travel; the
absolute numbers belong to the machine.
`

// A section is the figures of one profile on one store.
type section struct {
	title string // of its heading: scale, or "scale on PostgreSQL"
	text  string // heading included
}

// write puts the sections of this run into the report file, in the place of what
// it said of the same profiles, and keeps the others.
func (r *runner) write(path string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := sections(string(old))
	for _, s := range r.sections() {
		if i := slices.IndexFunc(all, func(o section) bool { return o.title == s.title }); i >= 0 {
			all[i] = s
		} else {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b section) int { return place(a.title) - place(b.title) })
	var b bytes.Buffer
	b.WriteString(head)
	for _, s := range all {
		b.WriteString("\n" + s.text)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// place orders sections as profiles are, each on SQLite first.
func place(title string) int {
	name, shared := strings.CutSuffix(title, onPostgres)
	for i, p := range profiles {
		if p.name == name {
			n := 2 * i
			if shared {
				n++
			}
			return n
		}
	}
	return 2 * len(profiles)
}

const onPostgres = " on PostgreSQL"

// sections takes a report apart.
func sections(text string) (all []section) {
	for i, part := range strings.Split("\n"+text, "\n## ") {
		if i == 0 {
			continue // the head
		}
		title, _, _ := strings.Cut(part, "\n")
		all = append(all, section{title, "## " + strings.TrimSpace(part) + "\n"})
	}
	return all
}

// sections renders what this run measured.
func (r *runner) sections() (all []section) {
	for _, p := range profiles {
		var b bytes.Buffer
		title := p.name
		if r.o.DatabaseURL != "" && p.shared {
			title += onPostgres
		}
		for _, row := range r.report.Rows {
			if row.Profile != p.name {
				continue
			}
			if b.Len() == 0 {
				fmt.Fprintf(&b, "## %s\n\n%s.\n\n| figure | measured | goal |\n|---|---|---|\n", title, upper(p.doc))
			}
			verdict := row.Goal
			if row.Met != nil && !*row.Met {
				verdict += ", missed"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", row.Name, row.Value, verdict)
		}
		if b.Len() > 0 {
			fmt.Fprintf(&b, "\nRun of %s, version %s, on %s.\n", r.report.At.Format("2006-01-02 15:04 UTC"), r.report.Version, r.report.Machine)
			all = append(all, section{title, b.String()})
		}
	}
	return all
}

func upper(s string) string {
	if c := s[0]; c >= 'a' && c <= 'z' {
		return string(c-'a'+'A') + s[1:]
	}
	return s
}
