package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
)

// A File is one resource file. One whose name ends in .json is read as JSON,
// any other as YAML.
type File struct {
	Name    string `json:"name"` // as messages name it
	Content string `json:"content"`
}

// Stdin is the path that ReadFiles takes for the standard input.
const Stdin = "-"

// ReadFiles reads files and, of folders, every *.yaml, *.yml and *.json in
// order of name. It does not go into folders inside folders.
func ReadFiles(paths ...string) ([]File, error) {
	var out []File
	total := 0
	add := func(name string, open func() (io.ReadCloser, error)) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
		if err != nil {
			return err
		}
		if total += len(b); total > maxTotal || len(out) == maxFiles {
			return fmt.Errorf("apply at most %d files of %d MiB together", maxFiles, maxTotal>>20)
		}
		out = append(out, File{Name: name, Content: string(b)})
		return nil
	}
	for _, path := range paths {
		if path == Stdin {
			if err := add("stdin", func() (io.ReadCloser, error) { return io.NopCloser(os.Stdin), nil }); err != nil {
				return nil, err
			}
			continue
		}
		names := []string{path}
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			if names, err = resourceFiles(path); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			if err := add(name, func() (io.ReadCloser, error) { return os.Open(name) }); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func resourceFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(e.Name()))) && !e.IsDir() {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s holds no *.yaml, *.yml or *.json file", dir)
	}
	return names, nil
}

// A Source gives the values that files name and do not hold. The nil Source
// gives none: what comes in a request must not read the server's environment
// or disk.
type Source interface {
	// Env returns an environment variable.
	Env(name string) (value string, ok bool)
	// Secret reads the file of a secret, named relative to the resource file
	// from. warning is set where the file is open to others.
	Secret(from, path string) (value freshet.Secret, warning string, err error)
	// Document reads a file that a resource is made of, such as a workflow's
	// definition, whole and unchanged.
	Document(from, path string) (string, error)
}

// Local is the Source of the process: its environment and its disk.
type Local struct{}

// Env returns an environment variable of the process.
func (Local) Env(name string) (string, bool) { return os.LookupEnv(name) }

// Secret reads a file, without the line end after the last line. It must be a
// regular file of at most 64 KiB of text that nobody but its owner can write.
// Files that others can read are taken with a warning: container platforms
// mount secrets that way.
func (Local) Secret(from, path string) (freshet.Secret, string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(from), path)
	}
	// Opening a named pipe would wait for its writer: look before.
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		return freshet.Secret{}, "", fmt.Errorf("%s is not a regular file", path)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return freshet.Secret{}, "", fmt.Errorf("there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return freshet.Secret{}, "", fmt.Errorf("may not read %s", path)
	case err != nil:
		return freshet.Secret{}, "", fmt.Errorf("cannot read %s", path)
	}
	defer f.Close()
	if st, err = f.Stat(); err != nil || !st.Mode().IsRegular() {
		return freshet.Secret{}, "", fmt.Errorf("%s is not a regular file", path)
	}
	warning := ""
	if runtime.GOOS != "windows" { // which has no such modes
		if mode := st.Mode().Perm(); mode&0o022 != 0 {
			return freshet.Secret{}, "", fmt.Errorf("others may write %s: chmod 600 %s", path, path)
		} else if mode&0o004 != 0 {
			warning = fmt.Sprintf("everybody on this machine may read %s: chmod 600 %s", path, path)
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return freshet.Secret{}, "", fmt.Errorf("cannot read %s", path)
	}
	if len(b) > maxText {
		return freshet.Secret{}, "", fmt.Errorf("%s is larger than %d KiB", path, maxText>>10)
	}
	if !utf8.Valid(b) {
		return freshet.Secret{}, "", fmt.Errorf("%s is not UTF-8 text", path)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if value == "" {
		return freshet.Secret{}, "", fmt.Errorf("%s is empty", path)
	}
	return freshet.NewSecret(value), warning, nil
}

// Document reads a regular file of UTF-8 text.
func (Local) Document(from, path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(from), path)
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no file %s", path)
	case err == nil && !st.Mode().IsRegular(): // opening a named pipe would wait for its writer
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	var b []byte
	f, err := os.Open(path)
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(f, maxDocument+1))
		f.Close()
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read %s", path)
	case len(b) > maxDocument:
		return "", fmt.Errorf("%s is larger than %d MiB", path, maxDocument>>20)
	case !utf8.Valid(b):
		return "", fmt.Errorf("%s is not UTF-8 text", path)
	case len(b) == 0:
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(b), nil
}

// A Bundle is files together with the values that they name: what a client
// sends to a server, which has another environment and another disk. It is a
// Source.
type Bundle struct {
	Files   []File
	env     map[string]freshet.Secret
	secrets map[string]freshet.Secret // by file and path as written
	docs    map[string]string         // the same
}

// Collect looks up what files name in src. Errors are those of Decode, so that
// most mistakes show before anything is sent.
func (r *Registry) Collect(files []File, src Source) (*Bundle, *Set, error) {
	b := &Bundle{Files: files, env: map[string]freshet.Secret{}, secrets: map[string]freshet.Secret{}, docs: map[string]string{}}
	set, err := r.Decode(files, recorder{src, b})
	return b, set, err
}

type recorder struct {
	Source
	b *Bundle
}

func (c recorder) Env(name string) (string, bool) {
	v, ok := c.Source.Env(name)
	if ok {
		c.b.env[name] = freshet.NewSecret(v)
	}
	return v, ok
}

func (c recorder) Secret(from, path string) (freshet.Secret, string, error) {
	v, warning, err := c.Source.Secret(from, path)
	if err == nil {
		c.b.secrets[from+"\x00"+path] = v
	}
	return v, warning, err
}

func (c recorder) Document(from, path string) (string, error) {
	v, err := c.Source.Document(from, path)
	if err == nil {
		c.b.docs[from+"\x00"+path] = v
	}
	return v, err
}

// Env returns a variable that the bundle carries.
func (b *Bundle) Env(name string) (string, bool) {
	v, ok := b.env[name]
	return v.Reveal(), ok
}

// Secret returns a file's secret that the bundle carries.
func (b *Bundle) Secret(from, path string) (freshet.Secret, string, error) {
	v, ok := b.secrets[from+"\x00"+path]
	if !ok {
		return freshet.Secret{}, "", fmt.Errorf("the value of file %s was not sent along", path)
	}
	return v, "", nil
}

// Document returns a file that the bundle carries.
func (b *Bundle) Document(from, path string) (string, error) {
	v, ok := b.docs[from+"\x00"+path]
	if !ok {
		return "", fmt.Errorf("the file %s was not sent along", path)
	}
	return v, nil
}

type wireBundle struct {
	Files     []File            `json:"files"`
	Env       map[string]string `json:"env,omitempty"`
	Secrets   map[string]string `json:"secrets,omitempty"`
	Documents map[string]string `json:"documents,omitempty"`
}

// Wire writes the bundle for its way to the server, secrets in clear.
func (b *Bundle) Wire() ([]byte, error) {
	w := wireBundle{Files: b.Files, Env: map[string]string{}, Secrets: map[string]string{}, Documents: b.docs}
	for name, v := range b.env {
		w.Env[name] = v.Reveal()
	}
	for name, v := range b.secrets {
		w.Secrets[name] = v.Reveal()
	}
	return encodeJSON(w)
}

// ParseBundle reads what Wire wrote.
func ParseBundle(data []byte) (*Bundle, error) {
	var w struct {
		Files     []File                    `json:"files"`
		Env       map[string]freshet.Secret `json:"env"`
		Secrets   map[string]freshet.Secret `json:"secrets"`
		Documents map[string]string         `json:"documents"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		// The decoder's own text may quote what it read.
		return nil, errors.New("the body is not a bundle of resource files")
	}
	return &Bundle{Files: w.Files, env: w.Env, secrets: w.Secrets, docs: w.Documents}, nil
}
