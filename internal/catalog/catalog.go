// Package catalog holds the providers that Freshet knows by name: one YAML file
// each below providers/, in the format of freshet.Provider, embedded.
//
// A file is decoded when somebody asks for its provider, and once. What a
// program never names costs no time and no memory beyond the bytes in the
// binary. The package's tests hold each file to the facts it was made of, and
// turn each provider's example answer into a token.
//
// docs/catalogue.md is made of the files: go generate writes it.
package catalog

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet"
	"go.yaml.in/yaml/v3"
)

//go:generate go test -run TestCatalogueDocument -update .

//go:embed providers/*.yaml
var files embed.FS

// decoded remembers what was asked for. It is the only thing here that changes.
var decoded sync.Map // name → freshet.Provider

// Provider returns the built-in provider of the name. Its maps and lists are
// shared by all callers: change none of them.
func Provider(name string) (freshet.Provider, bool) {
	if p, ok := decoded.Load(name); ok {
		return p.(freshet.Provider), true
	}
	p, ok := read(name)
	if !ok {
		return freshet.Provider{}, false
	}
	first, _ := decoded.LoadOrStore(name, p)
	return first.(freshet.Provider), true
}

// All returns every built-in provider by name, freshly decoded: it is meant for
// lists that a person asked for, and keeps nothing.
func All() []freshet.Provider {
	names := Names()
	all := make([]freshet.Provider, len(names))
	for i, name := range names {
		all[i], _ = read(name)
	}
	return all
}

// Names returns the names of all built-in providers, sorted. It decodes nothing.
func Names() []string {
	entries, err := files.ReadDir("providers")
	if err != nil {
		panic(err) // embedded
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yaml")
	}
	slices.Sort(names) // the files' own order has "-" before "."
	return names
}

// Source returns the file of the provider as it is, for people who want to
// begin their own with it.
func Source(name string) ([]byte, bool) {
	if name == "" || strings.ContainsAny(name, `/\.`) {
		return nil, false
	}
	b, err := files.ReadFile("providers/" + name + ".yaml")
	return b, err == nil
}

// read decodes a file. One that does not decode fails the tests, so it panics.
func read(name string) (freshet.Provider, bool) {
	b, ok := Source(name)
	if !ok {
		return freshet.Provider{}, false
	}
	p, err := Decode(b)
	if err != nil {
		panic(fmt.Sprintf("catalog: %s: %v", name, err))
	}
	p.Name = name
	return p, true
}

// Decode reads one provider in YAML or JSON, without its name. Fields that the
// format does not know are errors, and so is what Provider.Check refuses.
func Decode(b []byte) (freshet.Provider, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		return freshet.Provider{}, err
	}
	j, err := json.Marshal(tree)
	if err != nil {
		return freshet.Provider{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.DisallowUnknownFields()
	var p freshet.Provider
	if err := dec.Decode(&p); err != nil {
		return freshet.Provider{}, err
	}
	if err := p.Check(); err != nil {
		return freshet.Provider{}, err
	}
	return p, nil
}
