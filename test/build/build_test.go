// Package build holds the way the binary is made: of pinned modules, without a
// C compiler, and to the same bytes for everybody.
package build

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// build makes the binary of the module in dir.
func build(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "freshet")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", "-s -w -X main.version=1.0.0", "-o", out, "./cmd/freshet")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func hash(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// elsewhere copies what the build reads to another directory.
func elsewhere(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "somewhere", "else")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == ".git" || rel == "test" || rel == "docs" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if !e.Type().IsRegular() || strings.HasSuffix(rel, "_test.go") || filepath.Dir(rel) == "." && !strings.HasSuffix(rel, ".go") && !strings.HasPrefix(rel, "go.") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestS76_the_build(t *testing.T) {
	one := build(t, root)
	t.Run("S76 the same bytes wherever it is built", func(t *testing.T) {
		if a, b := hash(t, one), hash(t, build(t, elsewhere(t))); a != b {
			t.Errorf("%s here, %s elsewhere", a, b)
		}
	})
	t.Run("S76 every module is pinned by its sum, none is replaced", func(t *testing.T) {
		info, err := buildinfo.ReadFile(one)
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Deps) < 10 {
			t.Errorf("the binary lists %d modules, which cannot be all", len(info.Deps))
		}
		sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range info.Deps {
			if d.Replace != nil {
				t.Errorf("%s is replaced by %s", d.Path, d.Replace.Path)
			}
			if d.Sum == "" || !bytes.Contains(sums, []byte(d.Path+" "+d.Version+" "+d.Sum)) {
				t.Errorf("%s %s has no sum in go.sum", d.Path, d.Version)
			}
		}
		for _, s := range info.Settings {
			if s.Key == "CGO_ENABLED" && s.Value != "0" {
				t.Error("it needs a C compiler")
			}
		}
	})
	t.Run("S76 no path of this machine is in it", func(t *testing.T) {
		b, err := os.ReadFile(one)
		if err != nil {
			t.Fatal(err)
		}
		here, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(here+string(filepath.Separator))) {
			t.Errorf("the binary names %s", here)
		}
	})
	t.Run("S76 npm packages are pinned", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(root, "test", "oidc", "package-lock.json"))
		if err != nil {
			t.Fatal(err)
		}
		var lock struct {
			Packages map[string]struct{ Version, Integrity string }
		}
		if err := json.Unmarshal(b, &lock); err != nil {
			t.Fatal(err)
		}
		if len(lock.Packages) < 10 {
			t.Errorf("the lock names %d packages, which cannot be all", len(lock.Packages))
		}
		for name, p := range lock.Packages {
			if name != "" && (p.Version == "" || p.Integrity == "") {
				t.Errorf("%s has no version or no hash", name)
			}
		}
	})
}
