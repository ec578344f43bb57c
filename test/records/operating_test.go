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
		what, file string
		name       *regexp.Regexp
	}{
		{"environment variable", "cmd/freshet/serve.go", regexp.MustCompile("env:\"(FRESHET_[A-Z_]+)\"")},
		{"metric", "internal/metrics/metrics.go", regexp.MustCompile(`"(freshet_[a-z_]+)"`)},
		{"event", "internal/refresh/event.go", regexp.MustCompile(`= "([a-z_]+(?:\.[a-z_]+)?)"`)},
	} {
		src, err := os.ReadFile(filepath.Join(root, of.file))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range of.name.FindAllStringSubmatch(string(src), -1) {
			names = append(names, m[1])
		}
		if len(names) < 5 {
			t.Errorf("%s: found %d %ss, which cannot be all", of.file, len(names), of.what)
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
