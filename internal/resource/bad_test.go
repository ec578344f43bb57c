package resource_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

// badSource has the environment that testdata/bad.txt names and the real
// disk.
type badSource struct{ env }

func (badSource) Secret(from, path string) (freshet.Secret, string, error) {
	return resource.Local{}.Secret(from, path)
}

func TestBad(t *testing.T) {
	const archive = "testdata/bad.txt"
	comment, sections := readSections(t, archive)
	want := map[string]string{}
	for _, f := range sections {
		want[f.Name] = f.Content
	}
	src := badSource{env{"TENANT": "contoso", "CRLF": "a\r\nb", "EMPTY": "", "SECRET": "hunter2-hunter2"}}
	var out []resource.File
	for _, f := range sections {
		if filepath.Ext(f.Name) == ".err" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			b, _ := newBook(t, resource.Options{})
			set, err := b.Registry().Decode([]resource.File{f}, src)
			if err == nil {
				_, err = b.Apply(t.Context(), set, false)
			}
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is in the text:\n%s", got)
			}
			golden := f.Name + ".err"
			out = append(out, f, resource.File{Name: golden, Content: got})
			if got != want[golden] && !*update {
				t.Errorf("got:\n%s\nwant:\n%s", got, want[golden])
			}
			if views, err := b.List(t.Context(), "connections", "", 1); err != nil || len(views) > 0 {
				t.Errorf("something was written: %v, %v", views, err)
			}
		})
	}
	if *update {
		var text strings.Builder
		text.WriteString(comment)
		for _, f := range out {
			fmt.Fprintf(&text, "-- %s --\n%s", f.Name, f.Content)
		}
		if err := os.WriteFile(archive, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readSections reads files that lines "-- NAME --" separate.
func readSections(t testing.TB, name string) (comment string, files []resource.File) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && strings.HasSuffix(line, " --\n") {
			files = append(files, resource.File{Name: n})
		} else if len(files) == 0 {
			comment += line
		} else {
			files[len(files)-1].Content += line
		}
	}
	return comment, files
}
