package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const activitiesHead = `# Activities

<!-- Generated from the activities' own descriptions: go test ./cmd/freshet -run TestActivities -update -->

What a step of a workflow can do. A field is given as text in one of the syntaxes ` + "`Literal`, `JavaScript`, `Liquid`, `Json`, `Secret` and `Variable`" + `; the kind names the
syntax that counts where a definition names none, if that is not ` + "`Literal`" + `. An outcome that leads nowhere ends its branch. Types that are not listed here
import, are reported, and fault when a run reaches them.
`

// docs/activities.md is what the activities say of themselves.
func TestActivities(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "activities.md")
	want := append([]byte(activitiesHead), activityTypes().Reference()...)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/activities.md is not what the activities say: go test ./cmd/freshet -run TestActivities -update (%v)", err)
	}
}
