package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
)

// Limits of a folder that a resource is made of.
const (
	maxFolderFiles = 500
	maxFolder      = 4 << 20
)

// A folderSource is a Source that reads folders, too: texts by PART/FILE.
type folderSource interface {
	Folder(from, path string) (map[string]string, error)
}

// Folder reads the files of a folder's folders, one level deep: *.yaml, *.yml,
// *.json and *.js.
func (Local) Folder(from, path string) (map[string]string, error) {
	root := path
	if !filepath.IsAbs(root) {
		root = filepath.Join(filepath.Dir(from), path)
	}
	st, err := os.Stat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s", root)
	case err != nil:
		return nil, fmt.Errorf("cannot read %s", root)
	case !st.IsDir():
		return nil, fmt.Errorf("%s is a file; a folder is needed", root)
	}
	parts, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s", root)
	}
	out, total := map[string]string{}, 0
	for _, p := range parts {
		if !p.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(root, p.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s", filepath.Join(root, p.Name()))
		}
		for _, f := range files {
			if !f.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml", ".json", ".js"}, strings.ToLower(filepath.Ext(f.Name()))) {
				continue
			}
			at := filepath.Join(root, p.Name(), f.Name())
			b, err := os.ReadFile(at)
			if err != nil {
				return nil, fmt.Errorf("cannot read %s", at)
			}
			if total += len(b); total > maxFolder || len(out) == maxFolderFiles {
				return nil, fmt.Errorf("%s holds more than %d files or %d MiB", root, maxFolderFiles, maxFolder>>20)
			}
			if !utf8.Valid(b) {
				return nil, fmt.Errorf("%s is not UTF-8 text", at)
			}
			out[p.Name()+"/"+f.Name()] = string(b)
		}
	}
	return out, nil
}

// Folder keeps what the source gave, for the bundle.
func (c recorder) Folder(from, path string) (map[string]string, error) {
	src, ok := c.Source.(folderSource)
	if !ok {
		return nil, errNoFolders
	}
	files, err := src.Folder(from, path)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(files)
	if err == nil {
		c.b.docs[from+"\x00"+path+"\x00"] = string(b)
	}
	return files, err
}

// Folder returns a folder that the bundle carries.
func (b *Bundle) Folder(from, path string) (map[string]string, error) {
	v, ok := b.docs[from+"\x00"+path+"\x00"]
	if !ok {
		return nil, fmt.Errorf("the folder %s was not sent along", path)
	}
	out := map[string]string{}
	if err := json.Unmarshal([]byte(v), &out); err != nil {
		return nil, fmt.Errorf("the folder %s does not read", path)
	}
	return out, nil
}

var errNoFolders = errors.New("a folder is read where freshet apply runs; a request carries its content")

// folder reads what stands in the folder that n names: of each part that is
// YAML a member with an object for each file, and of each other part the texts
// of its files, which are kept sealed as they are.
func (d *decoder) folder(form Form, n *yaml.Node, path string) (members []pair, texts map[string]map[string]string, ok bool) {
	d.it.places[path] = d.placeOf(n)
	name, _, ok := d.text(n, path)
	if !ok {
		return nil, nil, false
	}
	src, can := d.src.(folderSource)
	if !can {
		d.fault(n, path, "%v", errNoFolders)
		return nil, nil, false
	}
	files, err := src.Folder(d.file, name)
	if err != nil {
		d.fault(n, path, "%v", err)
		return nil, nil, false
	}
	texts = map[string]map[string]string{}
	byPart := map[string]*yaml.Node{}
	for _, at := range slices.Sorted(mapKeys(files)) {
		part, file, _ := strings.Cut(at, "/")
		kind := form.Parts[part]
		ext := strings.ToLower(filepath.Ext(file))
		base := strings.TrimSuffix(file, filepath.Ext(file))
		whole := filepath.Join(filepath.Dir(d.file), name, part, file)
		switch {
		case kind == "js" && ext == ".js":
			if texts[part] == nil {
				texts[part] = map[string]string{}
			}
			texts[part][base] = files[at]
		case kind == "yaml" && ext != ".js":
			docs, fault := parse(File{Name: whole, Content: files[at]})
			if fault != nil {
				d.faults = append(d.faults, *fault)
				return nil, nil, false
			}
			if len(docs) != 1 {
				d.fault(n, path, "%s holds no object", whole)
				return nil, nil, false
			}
			if byPart[part] == nil {
				byPart[part] = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
				members = append(members, pair{part, n, byPart[part]})
			}
			if given := member(docs[0], "name"); given != "" {
				base = given
			}
			if d.origins == nil {
				d.origins = map[*yaml.Node]string{}
			}
			d.origins[docs[0]] = whole
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: base, Line: 1, Column: 1}
			byPart[part].Content = append(byPart[part].Content, key, docs[0])
		}
	}
	if len(members)+len(texts) == 0 {
		d.fault(n, path, "the folder %s holds nothing of it: it has folders %s", name, strings.Join(slices.Sorted(mapKeys(form.Parts)), ", "))
		return nil, nil, false
	}
	return members, texts, true
}

// folded gives an object what stands in the folder that one of its members
// names, in place of that member.
func (d *decoder) folded(t reflect.Type, pairs []pair, path string, out map[string]any) ([]pair, bool) {
	form := d.r.forms[t]
	if form.Folder == "" {
		return pairs, true
	}
	i := slices.IndexFunc(pairs, func(p pair) bool { return p.key == form.Folder })
	if i < 0 {
		return pairs, true
	}
	at := pairs[i]
	rest := slices.Delete(slices.Clone(pairs), i, i+1)
	members, texts, ok := d.folder(form, at.value, join(path, form.Folder))
	if !ok {
		return rest, false
	}
	for _, p := range rest {
		if form.Parts[p.key] != "" {
			d.fault(p.at, join(path, p.key), "is given beside %s, the folder that holds it", form.Folder)
			return rest, false
		}
	}
	for part, files := range texts {
		values := map[string]any{}
		for name, text := range files {
			p := join(join(path, part), name)
			if strings.TrimSpace(text) == "" {
				d.fault(at.value, p, "is empty")
				return rest, false
			}
			d.it.places[p] = Place{File: filepath.Join(filepath.Dir(d.file), at.value.Value, part, name+".js"), Line: 1, Column: 1}
			d.it.Secrets[p] = freshet.NewSecret(text)
			values[name] = freshet.Redacted
		}
		out[part] = values
	}
	return append(rest, members...), true
}

// member returns the text of a member of an object, "" if it has none.
func member(n *yaml.Node, name string) string {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name && n.Content[i+1].Kind == yaml.ScalarNode {
			return n.Content[i+1].Value
		}
	}
	return ""
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
