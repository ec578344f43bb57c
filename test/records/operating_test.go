package records

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestOperating holds the page for operators to the code: every flag of the
// server with its variable, every metric, every kind of event.
func TestOperating(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []struct {
		what, files string // in the files of these patterns
		name        *regexp.Regexp
	}{
		{"environment variable", "cmd/freshet/serve.go", regexp.MustCompile("env:\"(FRESHET_[A-Z_]+)\"")},
		{"metric", "internal/metrics/*.go cmd/freshet/*.go", regexp.MustCompile(`"(freshet_[a-z_]+)"`)},
		{"event", "internal/refresh/event.go", regexp.MustCompile(`= "([a-z_]+(?:\.[a-z_]+)?)"`)},
	} {
		var files, names []string
		for _, pattern := range strings.Fields(of.files) {
			found, err := filepath.Glob(filepath.Join(root, pattern))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range of.name.FindAllStringSubmatch(string(src), -1) {
				names = append(names, m[1])
			}
		}
		if len(names) < 5 {
			t.Errorf("%s: found %d %ss, which cannot be all", of.files, len(names), of.what)
		}
		for _, n := range names {
			if !strings.Contains(string(page), "`"+n+"`") {
				t.Errorf("operating.md does not name the %s %s", of.what, n)
			}
		}
		if of.what != "metric" {
			continue
		}
		for _, m := range regexp.MustCompile(`freshet_[a-z_]+`).FindAllString(string(page), -1) {
			if !slices.Contains(names, m) {
				t.Errorf("operating.md names the metric %s, which is not there", m)
			}
		}
	}
}
