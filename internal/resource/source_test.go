package resource_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

// TestS47 takes secrets from files and the environment: never from a command
// line. ASVS 13.3.1.
func TestS47(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "from a file\n", 0o600)
	write(t, filepath.Join(dir, "key.pem"), "-----BEGIN KEY-----\r\nabc\r\n-----END KEY-----\r\n", 0o400)
	t.Setenv("S47_SECRET", "from the environment")
	t.Setenv("S47_DIR", dir)
	file := write(t, filepath.Join(dir, "clients.yaml"), `
clients:
  a: {provider: google, id: a, secret: {file: secret}}
  b: {provider: google, id: b, secret: "${S47_SECRET}", key: {file: "${S47_DIR}/key.pem"}}
  c: {provider: google, id: c, secret: "$${S47_SECRET} $$${x"}
`, 0o600)
	b, _ := newBook(t, resource.Options{})
	files, err := resource.ReadFiles(file)
	if err != nil {
		t.Fatal(err)
	}
	set, err := b.Registry().Decode(files, resource.Local{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{
		"a": {"from a file", ""},
		"b": {"from the environment", "-----BEGIN KEY-----\r\nabc\r\n-----END KEY-----"},
		"c": {"${S47_SECRET} $${x", ""},
	} {
		c, err := resource.Value[freshet.Client](t.Context(), b, resource.Key{Kind: "clients", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if c.Secret.Reveal() != want[0] || c.Key.Reveal() != want[1] {
			t.Errorf("client %s has %q and %q, want %q", name, c.Secret.Reveal(), c.Key.Reveal(), want)
		}
	}
}

func TestS47_secret_files_are_looked_at(t *testing.T) {
	dir := t.TempDir()
	open := write(t, filepath.Join(dir, "open"), "x", 0o644)
	writable := write(t, filepath.Join(dir, "writable"), "x", 0o620)
	large := write(t, filepath.Join(dir, "large"), strings.Repeat("x", 64<<10+1), 0o600)
	exact := write(t, filepath.Join(dir, "exact"), strings.Repeat("x", 64<<10), 0o600)
	binary := write(t, filepath.Join(dir, "binary"), "\xff\xfe", 0o600)
	empty := write(t, filepath.Join(dir, "empty"), "\n", 0o600)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(exact, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, warning, fault string }{
		{open, "everybody on this machine may read " + open + ": chmod 600 " + open, ""},
		{writable, "", "others may write " + writable + ": chmod 600 " + writable},
		{large, "", large + " is larger than 64 KiB"},
		{exact, "", ""},
		{link, "", ""},
		{binary, "", binary + " is not UTF-8 text"},
		{empty, "", empty + " is empty"},
		{dir, "", dir + " is not a regular file"},
		{os.DevNull, "", os.DevNull + " is not a regular file"},
		{filepath.Join(dir, "none"), "", "there is no file " + filepath.Join(dir, "none")},
	} {
		_, warning, err := resource.Local{}.Secret(filepath.Join(dir, "resources.yaml"), tt.path)
		fault := ""
		if err != nil {
			fault = err.Error()
		}
		if warning != tt.warning || fault != tt.fault {
			t.Errorf("%s: warning %q, error %q; want %q and %q", filepath.Base(tt.path), warning, fault, tt.warning, tt.fault)
		}
	}
	b, _ := newBook(t, resource.Options{})
	set, err := b.Registry().Decode([]resource.File{{Name: "x.yaml", Content: "clients: {a: {provider: google, id: a, secret: {file: " + open + "}}}"}}, resource.Local{})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Warnings) != 1 || !strings.HasPrefix(set.Warnings[0].Error(), "x.yaml:1:48: clients.a.secret: everybody on this machine may read ") {
		t.Errorf("warnings: %v", set.Warnings)
	}
}

// A request names no file and no variable of the server.
func TestRequestsReadNothingOfTheServer(t *testing.T) {
	t.Setenv("FRESHET_MASTER_KEY", "the master key")
	for _, text := range []string{
		`clients: {a: {provider: google, id: "${FRESHET_MASTER_KEY}"}}`,
		`clients: {a: {provider: google, id: a, secret: {file: /etc/passwd}}}`,
	} {
		_, err := decode(t, text, nil)
		if err == nil || !strings.Contains(err.Error(), "is read where freshet apply runs") {
			t.Errorf("%s = %v, want it refused", text, err)
		}
	}
	b, _ := newBook(t, resource.Options{})
	set, err := b.Registry().DecodeOne(resource.Key{Kind: "clients", Name: "a"}, resource.File{Name: "body.json", Content: `{"provider":"google","id":"${HOME}","secret":"${X}"}`})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(set.Items[0].Spec); got != `{"id":"${HOME}","provider":"google","secret":"[secret]"}` {
		t.Errorf("a text of a request became %s", got)
	}
	for body, want := range map[string]string{
		`{"provider":"google","idd":"a"}`: `body.json:1:22: clients.a.idd: is not a field here; did you mean "id"?`,
		``:                                `body.json: holds no resource`,
		`[]`:                              `body.json:1:1: clients.a: an object is needed, with fields such as provider, not a list`,
		`{"provider":"google","secret":{"file":"/etc/passwd"}}`: `body.json:1:31: clients.a.secret: {file: …} is read where freshet apply runs; a request carries the value itself`,
	} {
		_, err := b.Registry().DecodeOne(resource.Key{Kind: "clients", Name: "a"}, resource.File{Name: "body.json", Content: body})
		if err == nil || err.Error() != want {
			t.Errorf("%s = %v, want %s", body, err, want)
		}
	}
	if _, err := b.Registry().DecodeOne(resource.Key{Kind: "console", Name: "a"}, resource.File{Name: "body.json", Content: `{}`}); err == nil || err.Error() != "console: console is not in this version of freshet: take it out of the file" {
		t.Errorf("a kind of a later version = %v", err)
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", "c.JSON", "notes.txt", "sub/d.yaml"} {
		write(t, filepath.Join(dir, name), "{}", 0o600)
	}
	files, err := resource.ReadFiles(dir, filepath.Join(dir, "notes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f.Name, dir+"/"))
	}
	if got, want := strings.Join(names, " "), "a.yml b.yaml c.JSON notes.txt"; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
	if _, err := resource.ReadFiles(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there = %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := resource.ReadFiles(filepath.Join(dir, "empty")); err == nil || !strings.Contains(err.Error(), "holds no *.yaml") {
		t.Errorf("an empty folder = %v", err)
	}
}

// The same mistakes show on both sides, and what one side read is what the
// other applies.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "s3cret", 0o600)
	files := []resource.File{{Name: filepath.Join(dir, "a.yaml"), Content: `clients: {a: {provider: google, id: "${ID}", secret: {file: secret}}}`}}
	b, _ := newBook(t, resource.Options{})
	reg := b.Registry()
	if _, _, err := reg.Collect(files, resource.Local{}); err == nil || !strings.Contains(err.Error(), "the environment variable ID is not set") {
		t.Errorf("Collect without the variable = %v", err)
	}
	t.Setenv("ID", "app")
	t.Setenv("UNRELATED", "stays here")
	sent, _, err := reg.Collect(files, resource.Local{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := sent.Wire()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(wire), "stays here") {
		t.Error("the bundle carries a variable that no file names")
	}
	t.Setenv("ID", "another machine")
	got, err := resource.ParseBundle(wire)
	if err != nil {
		t.Fatal(err)
	}
	set, err := reg.Decode(got.Files, got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
	c, err := resource.Value[freshet.Client](t.Context(), b, resource.Key{Kind: "clients", Name: "a"})
	if err != nil || c.ID != "app" || c.Secret.Reveal() != "s3cret" {
		t.Errorf("applied %+v, %v", c, err)
	}
	if _, err := resource.ParseBundle([]byte(`{"env":{"A":{"hunter2":1}}}`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bundle that is none = %v", err)
	}
}
