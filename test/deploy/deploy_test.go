package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// known are the environment variables and the metrics that docs/operating.md
// describes; a test of the main module holds that page against the program.
func known(t *testing.T, pattern string) []string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllString(read(t, "docs/operating.md"), -1)
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) < 5 {
		t.Fatalf("docs/operating.md names only %v", found)
	}
	return found
}

func variables(t *testing.T) []string { return known(t, `FRESHET_[A-Z_]+`) }

func wantVariable(t *testing.T, where, name string) {
	t.Helper()
	if strings.HasPrefix(name, "FRESHET_") && !slices.Contains(variables(t), name) {
		t.Errorf("%s sets %s, which freshet serve does not read", where, name)
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "deploy/Dockerfile")
	stages := strings.Split(text, "\nFROM ")
	last := stages[len(stages)-1]
	for what, re := range map[string]string{
		"a distroless base":              `^gcr\.io/distroless/static-debian\d+:nonroot\n`,
		"a user by number, not root":     `\nUSER [1-9]\d*:[1-9]\d*\n`,
		"an entry point without a shell": `\nENTRYPOINT \["/usr/local/bin/freshet"\]\n`,
		"a place for the data":           `\nVOLUME /var/lib/freshet\n`,
	} {
		if !regexp.MustCompile(re).MatchString(last) {
			t.Errorf("the image has not %s", what)
		}
	}
	if strings.Contains(last, "\nRUN ") {
		t.Error("the image has no shell to RUN anything with")
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if !strings.Contains(text, "golang:"+version[1]+" ") {
		t.Errorf("it is not built with Go %s, as go.mod says", version[1])
	}
	for _, m := range regexp.MustCompile(`(FRESHET_[A-Z_]+)=`).FindAllStringSubmatch(text, -1) {
		wantVariable(t, "the Dockerfile", m[1])
	}
	if ignored := read(t, ".dockerignore"); !strings.Contains(ignored, "freshet-data") {
		t.Error(".dockerignore lets a data directory into the image's build")
	}
}

func TestUnit(t *testing.T) {
	set := map[string][]string{}
	section := ""
	for i, line := range strings.Split(read(t, "deploy/systemd/freshet.service"), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = line
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Errorf("line %d: %q is no setting", i+1, line)
			}
			set[section+name] = append(set[section+name], value)
		}
	}
	for name, want := range map[string]string{
		"[Service]ExecStart": "/usr/local/bin/freshet serve", "[Service]LoadCredential": "master-key:/etc/freshet/master.key",
		"[Service]DynamicUser": "yes", "[Service]NoNewPrivileges": "yes", "[Service]ProtectSystem": "strict", "[Service]CapabilityBoundingSet": "",
		"[Service]StateDirectoryMode": "0700", "[Service]LimitCORE": "0", "[Install]WantedBy": "multi-user.target",
	} {
		if got := set[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, vars := range set["[Service]Environment"] {
		for _, v := range strings.Fields(vars) {
			name, value, _ := strings.Cut(v, "=")
			wantVariable(t, "the unit", name)
			if name == "FRESHET_DATA" && value != "/var/lib/"+set["[Service]StateDirectory"][0] {
				t.Errorf("data goes to %s, which the unit may not write", value)
			}
		}
	}
}

func TestCompose(t *testing.T) {
	load := func(env ...string) (*types.Project, error) {
		o, err := cli.NewProjectOptions([]string{filepath.Join(root, "deploy/compose/compose.yaml")}, cli.WithEnv(env))
		if err != nil {
			t.Fatal(err)
		}
		return o.LoadProject(t.Context())
	}
	for missing, env := range map[string][]string{"FRESHET_MASTER_KEY": {"POSTGRES_PASSWORD=p"}, "POSTGRES_PASSWORD": {"FRESHET_MASTER_KEY=k"}} {
		if _, err := load(env...); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	p, err := load("POSTGRES_PASSWORD=secret", "FRESHET_MASTER_KEY=key")
	if err != nil {
		t.Fatal(err)
	}
	replicas, volumes := 0, map[string]bool{}
	for name, s := range p.Services {
		for v := range s.Environment {
			wantVariable(t, "the compose file", v)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s listens on %q:%s", name, port.HostIP, port.Published)
			}
		}
		if s.Build == nil {
			continue
		}
		replicas++
		if file := filepath.Join(s.Build.Context, s.Build.Dockerfile); !strings.HasSuffix(file, "deploy/Dockerfile") {
			t.Errorf("%s is built from %s", name, file)
		} else if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.User == "" {
			t.Errorf("%s may do more than it has to", name)
		}
		for _, v := range s.Volumes {
			if volumes[v.Source] {
				t.Errorf("two replicas share the volume %s: each has its own spill", v.Source)
			}
			volumes[v.Source] = true
		}
		if url := s.Environment["FRESHET_DATABASE_URL"]; url == nil || !strings.HasPrefix(*url, "postgres://freshet:secret@postgres") {
			t.Errorf("%s has no database", name)
		}
	}
	if replicas != 2 || len(volumes) != 2 {
		t.Errorf("%d replicas with %d volumes", replicas, len(volumes))
	}
}
