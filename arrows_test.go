package freshet_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/freshet-dev/freshet"

// arrows lists, for each package, the packages of this module that it may
// import. Everything points inward: cmd → edges → upstream → refresh → (grant,
// vault, store) → the words. A new package adds its line; a line that wants to
// point outward is a design mistake, not a reason to change the line.
var arrows = map[string]string{
	".":        "",
	"examples": "",
	"api":      "",

	// leaves: they know none of the product's packages, or the words alone
	"internal/failpoint":        "",
	"internal/template":         "",
	"internal/predicate":        "",
	"internal/dial":             "",
	"internal/redact":           "",
	"internal/harden":           ".",
	"internal/catalog":          ".",
	"internal/vault":            ".",
	"internal/store":            ".",
	"internal/emulator":         ".",
	"internal/store/sqlite":     "internal/store",
	"internal/store/postgres":   "internal/store",
	"internal/workflow/content": "internal/workflow/model",
	"internal/workflow":         "",
	"internal/importer":         "internal/component/descriptor internal/workflow",
	"internal/workflow/library": ". internal/store internal/workflow",
	"internal/workflow/check":   ". internal/table/odata internal/workflow internal/workflow/activity internal/workflow/expr internal/workflow/library",
	"internal/script":           "internal/workflow/model",
	"internal/table/odata":      "",
	"internal/workflow/model":   "",

	// the core
	"internal/grant":                ". internal/dial internal/failpoint internal/predicate internal/template",
	"internal/refresh":              ". internal/failpoint internal/grant internal/store",
	"internal/upstream":             ". internal/dial internal/grant internal/predicate internal/refresh internal/template",
	"internal/workflow/expr":        ". internal/script internal/workflow internal/workflow/model",
	"internal/workflow/codec":       "internal/workflow/activity internal/workflow/model",
	"internal/workflow/endpoint":    ". internal/problem internal/redact internal/run internal/store internal/table internal/upstream internal/workflow internal/workflow/activity internal/workflow/content internal/workflow/engine internal/workflow/expr internal/workflow/model",
	"internal/workflow/rows":        "internal/table internal/workflow internal/workflow/activity internal/workflow/content internal/workflow/model",
	"internal/workflow/outbound":    ". internal/dial internal/upstream internal/workflow internal/workflow/activity internal/workflow/content internal/workflow/model",
	"internal/workflow/engine":      ". internal/run internal/store internal/workflow internal/workflow/activity internal/workflow/expr internal/workflow/model",
	"internal/workflow/activity":    ". internal/dial internal/redact internal/workflow internal/workflow/content internal/workflow/model",
	"internal/resource":             ". internal/dial internal/predicate internal/schedule internal/store internal/template internal/workflow internal/workflow/content",
	"internal/component/descriptor": "",
	"internal/component":            ". internal/component/descriptor internal/grant internal/queue internal/redact internal/refresh internal/run internal/script internal/store internal/workflow/content internal/workflow/model internal/workflow/outbound",
	"internal/routine":              ". internal/grant internal/redact internal/run internal/workflow/engine internal/workflow/model",
	"internal/schedule":             ". internal/queue internal/store",
	"internal/process":              ". internal/redact internal/run internal/schedule internal/script internal/store internal/template internal/workflow internal/workflow/content internal/workflow/expr internal/workflow/model internal/workflow/outbound",
	"internal/queue":                "internal/store",
	"internal/queue/river":          "internal/queue internal/store internal/store/postgres",
	"internal/table":                ". internal/store internal/table/odata",
	"internal/app":                  ". internal/problem internal/redact internal/run internal/script internal/store internal/upstream internal/workflow/content internal/workflow/model internal/workflow/outbound",

	// what the edges share
	"internal/access":  ". internal/store",
	"internal/replica": ". internal/store",
	"internal/audit":   ". internal/store",
	"internal/flow":    ". internal/grant internal/refresh internal/store",
	"internal/backup":  ". internal/store internal/store/postgres internal/store/sqlite internal/vault",
	"internal/problem": ". internal/dial internal/refresh internal/resource internal/store internal/upstream",
	"internal/metrics": ". internal/refresh",
	"internal/webhook": ". internal/store",
	"internal/run":     ". internal/redact internal/store",

	// test equipment that is part of the tree
	"internal/grant/granttest":                ". internal/grant",
	"internal/emulator/emulatortest":          "internal/emulator",
	"internal/store/storetest":                ". internal/store",
	"internal/store/postgres/pgtest":          "",
	"internal/workflow/activity/activitytest": "internal/workflow internal/workflow/activity",
}

// edges may import anything but each other's insides and commands; cmd/freshet
// alone wires everything.
var edges = []string{"internal/proxy", "internal/httpapi", "internal/web", "internal/doctor", "internal/bench", "cmd/freshet"}

func goList(t *testing.T, format string) [][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var lines [][]string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		lines = append(lines, strings.Fields(s.Text()))
	}
	return lines
}

// short returns a path within the module, "." for its root, "" for others.
func short(path string) string {
	if path == module {
		return "."
	}
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return rest
}

func TestArrows(t *testing.T) {
	for _, line := range goList(t, `{{.ImportPath}} {{join .Imports " "}}`) {
		pkg := short(line[0])
		if strings.HasPrefix(pkg, "test/") {
			continue
		}
		allowed, known := arrows[pkg]
		edge := slices.Contains(edges, pkg)
		if !known && !edge {
			t.Errorf("%s has no line in arrows: say what it may import", pkg)
			continue
		}
		for _, path := range line[1:] {
			imp := short(path)
			if imp == "" {
				if pkg == "." && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
					t.Errorf("the root package imports %s; it may import the standard library alone", path)
				}
				continue
			}
			switch {
			case edge && (imp == "cmd/freshet" || strings.HasSuffix(imp, "test")):
				t.Errorf("%s imports %s", pkg, imp)
			case !edge && !slices.Contains(strings.Fields(allowed), imp):
				t.Errorf("%s imports %s, against the arrows", pkg, imp)
			}
		}
	}
}

// reveals lists every file that may take a secret out of its type, and why.
var reveals = map[string]string{
	"secret.go":                     "the type itself",
	"internal/vault/":               "seals it",
	"internal/grant/":               "sends it to its provider, and recognises it in what comes back",
	"internal/upstream/":            "sends it to its API",
	"internal/resource/book.go":     "seals the secrets of resources",
	"internal/resource/export.go":   "export --reveal, audited",
	"internal/resource/source.go":   "fills templates of files before they are sealed",
	"internal/resource/workflow.go": "reads the definition of a workflow, which is sealed but no credential",
	"internal/workflow/library/":    "seals and opens the files of workflows, and hands runs their default variables",
	"internal/workflow/engine/":     "the Secret expression: its document hands the value to a variable or an output; the journal is told to mask it",
	"internal/workflow/check/":      "reads the definition of a workflow",
	"internal/flow/":                "the device code, which its provider is asked with",
	"internal/httpapi/":             "the token answer, and what a new key is shown as once",
	"internal/access/":              "hashes a key",
	"internal/workflow/endpoint/":   "compares what a caller sends with what the Secret expression gave",
	"internal/workflow/outbound/":   "sends what the Secret expression gave, and the token that GetAccessToken is asked for",
	"internal/process/":             "sends what a service or a form keeps, and seals the seeds of instances",
	"internal/webhook/":             "signs with it",
	"internal/app/":                 "fills what queries send, and hands a script the token that GetAccessToken asks for: its document's way",
	"internal/component/":           "hands actions their cfg and process.env, as the document has it; the journal is told to mask them",
	"internal/routine/":             "the input of a connection's own refresh routine; its journal is told to mask it",
	"cmd/freshet/secrets.go":        "makes the header that the Secret expression OAuth2:NAME is",
	"internal/table/apply.go":       "checks that the secrets of seeds are what their columns hold",
	"internal/table/change.go":      "seals the secrets of seeds, as those of all rows",
}

func TestReveal(t *testing.T) {
	call := regexp.MustCompile(`\.Reveal\(\)`)
	err := filepath.WalkDir(".", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "test/") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !call.Match(b) {
			return err
		}
		path = filepath.ToSlash(path)
		for place := range reveals {
			if path == place || strings.HasSuffix(place, "/") && strings.HasPrefix(path, place) {
				return nil
			}
		}
		t.Errorf("%s reveals a secret; the list in this test has no reason for that", path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
