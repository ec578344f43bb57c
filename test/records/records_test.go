// Package records holds the books against the code: the tables of faults,
// threats and capabilities in docs/ name the tests that prove each row, and
// here every name is looked up in the tree.
//
//	go test ./test/records -update
//
// adds tests that carry a row's id to the row, and drops names that are gone.
package records

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "bring the tests that the tables name up to date")

// A book is one table.
type book struct {
	file string
	id   func(n int) string // of a row
	rows int
	must []int // rows that need a test in this version; the others need one or a reason
}

var books = []book{
	{"reliability.md", func(n int) string { return fmt.Sprintf("F%02d", n) }, 95,
		span(1, 12, 16, 18, 23, 68, 70, 70, 72, 74, 76, 95)},
	{"security.md", func(n int) string { return fmt.Sprintf("S%02d", n) }, 77,
		span(1, 49, 51, 56, 58, 62, 66, 77)},
	{"capabilities.md", func(n int) string { return fmt.Sprintf("cap%03d", n) }, 142,
		span(1, 16, 21, 24, 26, 26, 29, 45, 48, 48, 50, 51, 53, 54, 56, 58, 65, 68, 70, 109, 132, 136, 140, 142)},
}

// span lists the numbers from each first to its last.
func span(ends ...int) (out []int) {
	for i := 0; i < len(ends); i += 2 {
		for n := ends[i]; n <= ends[i+1]; n++ {
			out = append(out, n)
		}
	}
	return out
}

var (
	tableRow = regexp.MustCompile(`^\| ((?:F|S|cap)\d+) \|.*\|$`)
	citation = regexp.MustCompile("`([a-z0-9_/]+\\.(?:Test|Fuzz|Benchmark)[A-Za-z0-9_]*)(/[^`]*)?`")
)

func TestBooks(t *testing.T) {
	all := tests(t)
	for _, b := range books {
		t.Run(b.file, func(t *testing.T) { b.check(t, all) })
	}
}

func (b book) check(t *testing.T, all map[string]*proof) {
	path := filepath.Join(root, "docs", b.file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	var have []string
	for i, line := range lines {
		m := tableRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id := m[1]
		have = append(have, id)
		at := strings.LastIndex(strings.TrimSuffix(line, "|"), "|") + 1
		if *update {
			line = line[:at] + " " + refreshCell(line[at:len(line)-1], id, all) + " |"
			lines[i] = line
		}
		cell := strings.TrimSpace(strings.TrimSuffix(line[at:], "|"))
		n, _ := strconv.Atoi(strings.TrimLeft(id, "FScap"))
		named := citation.MatchString(cell)
		switch {
		case slices.Contains(b.must, n) && !named:
			t.Errorf("%s:%d: %s names no test", b.file, i+1, id)
		case !named && !strings.Contains(cell, "later: "):
			t.Errorf("%s:%d: %s has neither a test nor a reason (later: …)", b.file, i+1, id)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for n := range b.rows {
		want = append(want, b.id(n+1))
	}
	if !slices.Equal(have, want) {
		t.Errorf("%s: the rows are not %s to %s, each once and in order: %v", b.file, want[0], want[len(want)-1], have)
	}
	for i, line := range lines {
		for _, m := range citation.FindAllStringSubmatch(line, -1) {
			if !exists(all, m[1], m[2]) {
				t.Errorf("%s:%d: there is no test %s%s", b.file, i+1, m[1], m[2])
			}
		}
	}
}

// exists reports whether a citation is of a test in the tree. What follows the
// slash must begin a subtest.
func exists(all map[string]*proof, cite, sub string) bool {
	p := all[cite]
	return p != nil && p.has(strings.TrimPrefix(sub, "/"))
}

// refreshCell brings the citations of a cell up to date and leaves its words.
func refreshCell(cell, id string, all map[string]*proof) string {
	cites := citations(all, id)
	for _, m := range citation.FindAllStringSubmatch(cell, -1) {
		if c := m[1] + m[2]; exists(all, m[1], m[2]) && !slices.Contains(cites, c) {
			cites = append(cites, c)
		}
	}
	words := strings.Trim(citation.ReplaceAllString(cell, ""), " ,;")
	for i, c := range cites {
		cites[i] = "`" + c + "`"
	}
	out := strings.Join(cites, ", ")
	if out != "" && words != "" {
		out += "; "
	}
	return out + words
}

// TestIDs refuses ids that no book has: a mistyped one would prove nothing.
func TestIDs(t *testing.T) {
	known := map[string]bool{}
	for _, b := range books {
		for n := range b.rows {
			known[b.id(n+1)] = true
		}
	}
	for _, p := range tests(t) {
		for id := range p.own {
			if !known[id] {
				t.Errorf("%s: %s carries %s, which no book has", p.file, p.cite, id)
			}
		}
		for id := range p.subs {
			if !known[id] {
				t.Errorf("%s: a subtest of %s begins with %s, which no book has", p.file, p.cite, id)
			}
		}
		for id, scripts := range p.scripts {
			if !known[id] {
				t.Errorf("%s: the script %s carries %s, which no book has", p.cite, scripts[0], id)
			}
		}
	}
}
