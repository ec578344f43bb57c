package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// docs/guides/kianda.md works as it is written.
func TestKiandaGuide(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("the guide needs %s", tool)
			}
			t.Skipf("the guide needs %s", tool)
		}
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "kianda.md"))
	if err != nil {
		t.Fatal(err)
	}
	g := newGuide(t)
	steps, _ := parseGuide(string(b))
	if len(steps) < 18 {
		t.Fatalf("the page holds %d commands: the test does not read it", len(steps))
	}
	for _, s := range steps {
		g.run(s)
	}
}
