package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// model is the command line as kong sees it.
func model(t *testing.T) *kong.Application {
	t.Helper()
	p, err := newParser(&cli{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

// later reports whether a command is of a version to come.
func later(n *kong.Node) bool { return n.Group != nil && n.Group.Key == "later" }

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, n := range model(t).Leaves(false) {
		if later(n) {
			continue
		}
		path := n.FullPath()
		if n.Parent.DefaultCmd == n {
			path = n.Parent.FullPath() // as people write it
		}
		if !strings.Contains(n.Detail, "Example:") || !strings.Contains(n.Detail, path) {
			t.Errorf("%s --help has no example of itself", n.FullPath())
		}
		if n.Help == "" || n.Group == nil && n.Parent.Group == nil {
			t.Errorf("%s has no help or no group", n.FullPath())
		}
		for _, f := range n.Flags {
			if f.Help == "" || !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s --%s: the help is no sentence: %q", n.FullPath(), f.Name, f.Help)
			}
		}
		for _, a := range n.Positional {
			if a.Help == "" {
				t.Errorf("%s %s has no help", n.FullPath(), a.Name)
			}
		}
	}
}

// S47: a command line is seen by everybody on the machine, so that nothing on it
// may be a secret; environment variables hold none but the API key and the
// master key, which are not flags.
func TestS47_no_flag_takes_a_secret(t *testing.T) {
	word := regexp.MustCompile(`(?i)secret|token|password|passphrase|credential|key`)
	harmless := map[string]bool{"freshet rows import --key": true} // a column's name
	for _, n := range model(t).Leaves(false) {
		for _, f := range n.Flags {
			if word.MatchString(f.Name) && f.Name != "master-key-file" && !harmless[n.FullPath()+" --"+f.Name] {
				t.Errorf("%s --%s sounds like a secret", n.FullPath(), f.Name)
			}
			for _, env := range f.Envs {
				if word.MatchString(env) && !strings.HasSuffix(env, "_FILE") {
					t.Errorf("%s: $%s is a flag, too", n.FullPath(), env)
				}
			}
		}
		for _, a := range n.Positional {
			if word.MatchString(a.Name) {
				t.Errorf("%s takes %s as an argument", n.FullPath(), a.Name)
			}
		}
	}
}

const referenceHead = `# The command line

<!-- Generated from the program's own help: go test ./cmd/freshet -run TestReference -update -->

One binary, ` + "`freshet`" + `. Every command has ` + "`--help`" + ` with an example. Data goes to the standard output, everything else to the standard error: errors as
` + "`error: …`" + ` with a ` + "`hint: …`" + ` line where a person can do something, progress on one line of a terminal and as plain lines elsewhere.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed; for ` + "`call`" + ` also an answer of 400 and above, for ` + "`verify`" + ` and ` + "`doctor`" + ` also that something is wrong |
| 2 | wrong usage |
| 3 | somebody has to act first: authorize a connection, or authorize it again |

Flags that many commands share:

| flag | environment | |
|---|---|---|
| ` + "`--url URL`" + ` | ` + "`FRESHET_URL`" + ` | the server's address; without it the file ` + "`server.url`" + ` in the data directory of a server on this machine |
| ` + "`--data DIR`" + ` | ` + "`FRESHET_DATA`" + ` | that data directory; ` + "`freshet-data`" + ` without it |
| | ` + "`FRESHET_API_KEY`" + ` | the key to show; without it the file ` + "`admin.key`" + ` in the data directory. Address and key are looked up separately. There is no flag for the key: command lines are seen by others |
| ` + "`--output table\\|json`" + `, ` + "`-o`" + ` | | how data is printed. Tables show relative times, JSON the exact ones |
`

// reference is docs/cli.md.
func reference(app *kong.Application) []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	leaves := app.Leaves(false)
	groupOf := func(n *kong.Node) *kong.Group {
		for ; n != nil; n = n.Parent {
			if n.Group != nil {
				return n.Group
			}
		}
		return nil
	}
	for _, g := range groups {
		var in []*kong.Node
		for _, n := range leaves {
			if at := groupOf(n); at != nil && at.Key == g.Key {
				in = append(in, n)
			}
		}
		if len(in) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", g.Title)
		if g.Key == "later" {
			var names []string
			for _, n := range in {
				names = append(names, "`"+n.FullPath()+"`")
			}
			fmt.Fprintf(&b, "\n%s\n", strings.Join(names, ", "))
			continue
		}
		for _, n := range in {
			describeCommand(&b, n)
		}
	}
	return b.Bytes()
}

var shared = []string{"help", "url", "data", "output"}

func describeCommand(b *bytes.Buffer, n *kong.Node) {
	usage := n.FullPath()
	for _, a := range n.Positional {
		name := a.Name
		if !a.Required {
			name = "[" + name + "]"
		}
		usage += " " + name
	}
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n", usage, n.Help)
	example, rest, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(n.Detail, "Example:")), "\n\n")
	if !strings.HasPrefix(n.Detail, "Example:") {
		rest, example, _ = strings.Cut(n.Detail, "Example: ")
		rest = strings.TrimSpace(rest)
	}
	fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.TrimSpace(example))
	if rest != "" {
		fmt.Fprintf(b, "\n%s\n", wrap(escape(rest), 158))
	}
	rows := [][2]string{}
	for _, a := range n.Positional {
		rows = append(rows, [2]string{a.Name, a.Help})
	}
	for _, f := range n.Flags {
		own := n.FullPath() == "freshet serve" || n.FullPath() == "freshet demo" || n.FullPath() == "freshet restore"
		if f.Hidden || slices.Contains(shared, f.Name) && (f.Name != "data" || !own) {
			continue
		}
		name := "--" + f.Name
		if !f.IsBool() {
			name += " " + strings.Trim(f.FormatPlaceHolder(), `"`)
		}
		if f.Short != 0 {
			name = fmt.Sprintf("-%c, %s", f.Short, name)
		}
		rows = append(rows, [2]string{name, describe(f.Value)})
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| | |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(r[0], "|", `\|`), strings.ReplaceAll(escape(r[1]), "|", `\|`))
	}
}

// escape keeps placeholders from being taken for HTML.
func escape(s string) string { return strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(s) }

func wrap(s string, width int) string {
	var out []string
	for _, paragraph := range strings.Split(s, "\n\n") {
		line := ""
		var lines []string
		for _, w := range strings.Fields(paragraph) {
			if line != "" && len([]rune(line))+1+len([]rune(w)) > width {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += w
		}
		out = append(out, strings.Join(append(lines, line), "\n"))
	}
	return strings.Join(out, "\n\n")
}

func TestReference(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "cli.md")
	want := reference(model(t))
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/cli.md is not what --help says: go test ./cmd/freshet -run TestReference -update (%v)", err)
	}
}
