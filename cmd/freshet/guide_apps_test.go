package main

import (
	"os"
	"path/filepath"
	"testing"
)

// docs/guides/appsmith.md works as it is written.
func TestAppsmithGuide(t *testing.T) {
	needTools(t, "sh", "curl", "sed", "grep", "cut", "head")
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "appsmith.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps, _ := parseGuide(string(b))
	if len(steps) < 22 {
		t.Fatalf("the page holds %d commands: the test does not read it", len(steps))
	}
	g := newGuide(t)
	from, err := filepath.Abs(filepath.Join("..", "..", "examples"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(from, filepath.Join(g.dir, "examples")); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		g.run(s)
	}
}
