package script

import (
	"os/exec"
	"strings"
	"testing"
)

// TestOneLibc holds that the database and the engine, both transpiled C, ask
// for one version of the C library: a build has only one, and each was made and
// tried with the one it asks for.
func TestOneLibc(t *testing.T) {
	var asked []string
	for _, module := range []string{"modernc.org/sqlite", "modernc.org/quickjs"} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", module).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", module, err)
		}
		mod, err := exec.Command("go", "mod", "edit", "-json", strings.TrimSpace(string(out))).Output()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(mod), `"modernc.org/libc"`)
		if !ok {
			t.Fatalf("%s does not require modernc.org/libc", module)
		}
		_, rest, _ = strings.Cut(rest, `"Version": "`)
		version, _, _ := strings.Cut(rest, `"`)
		asked = append(asked, version)
	}
	if asked[0] != asked[1] {
		t.Errorf("modernc.org/sqlite asks for libc %s, modernc.org/quickjs for %s: upgrade the one that asks for the older", asked[0], asked[1])
	}
}
