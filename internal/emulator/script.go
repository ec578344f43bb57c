package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Script is Options as a YAML or JSON file writes them:
//
//	seed: rehearsal
//	registered: false            # true: only the clients below
//	default: { model: rotate, lifetime: 20s }
//	clients:
//	  crm: { secret: s3cret, model: strict, expires: string }
//	users:
//	  alice: { password: pw }
//	paths:
//	  /TransElite/auth: /login   # more addresses
//	faults:
//	  - { at: refresh, client: crm, skip: 2, mode: drop }
type Script struct {
	Seed       string            `json:"seed"`
	Issuer     string            `json:"issuer"`
	Registered bool              `json:"registered"`
	Default    Profile           `json:"default"`
	Clients    map[string]Client `json:"clients"`
	Users      map[string]User   `json:"users"`
	Paths      map[string]string `json:"paths"`
	Faults     []Fault           `json:"faults"`
}

// ParseScript reads a script. Its errors name the file, the line and the field.
func ParseScript(name string, data []byte) (Options, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Options{}, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var s Script
	if len(doc.Content) > 0 {
		if err := checkNode(doc.Content[0], reflect.TypeFor[Script](), ""); err != nil {
			return Options{}, fmt.Errorf("%s:%w", name, err)
		}
		b, err := nodeJSON(doc.Content[0])
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err != nil {
			return Options{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	o := Options{Seed: s.Seed, Issuer: s.Issuer, Registered: s.Registered, Default: s.Default, Users: s.Users, Paths: s.Paths, Faults: s.Faults}
	for _, id := range slices.Sorted(maps.Keys(s.Clients)) {
		c := s.Clients[id]
		if c.ID != "" && c.ID != id {
			return Options{}, fmt.Errorf("%s: clients.%s.id: the name is the id; leave it out", name, id)
		}
		c.ID = id
		o.Clients = append(o.Clients, c)
	}
	// New checks the rest; asking it here puts the file's name before it.
	e, err := New(o)
	if err != nil {
		return Options{}, fmt.Errorf("%s: %w", name, err)
	}
	return o, e.Close()
}

// checkNode finds the first field that t does not have, or whose value does not
// fit, and names its line and path.
func checkNode(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	wrong := func(n *yaml.Node, text string) error {
		if path == "" {
			return fmt.Errorf("%d: %s", n.Line, text)
		}
		return fmt.Errorf("%d: %s: %s", n.Line, strings.TrimPrefix(path, "."), text)
	}
	custom := reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
	switch {
	case custom:
	case t.Kind() == reflect.Struct:
		if n.Kind != yaml.MappingNode {
			return wrong(n, "names and values are needed here")
		}
		fields := map[string]reflect.Type{}
		jsonFields(t, fields)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			ft, ok := fields[key]
			if !ok {
				return fmt.Errorf("%d: %s is not known: use one of %s", n.Content[i].Line, strings.TrimPrefix(path+"."+key, "."), strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			}
			if err := checkNode(n.Content[i+1], ft, path+"."+key); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			return wrong(n, "names and values are needed here")
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := checkNode(n.Content[i+1], t.Elem(), path+"."+n.Content[i].Value); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return wrong(n, "a list is needed here")
		}
		for i, item := range n.Content {
			if err := checkNode(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	}
	b, err := nodeJSON(n)
	if err == nil {
		err = json.Unmarshal(b, reflect.New(t).Interface())
	}
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return wrong(n, fmt.Sprintf("a %s is needed here, not a %s", kind.Type, kind.Value))
	case err != nil:
		return wrong(n, err.Error())
	}
	return nil
}

// jsonFields collects the names of t's fields, those of embedded structs too.
func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			jsonFields(f.Type, into)
		case name != "" && name != "-":
			into[name] = f.Type
		}
	}
}

// ScriptFields lists every name that a script may use, for the documentation
// and its test.
func ScriptFields() []string {
	names := map[string]reflect.Type{}
	for _, t := range []reflect.Type{reflect.TypeFor[Script](), reflect.TypeFor[Client](), reflect.TypeFor[User](), reflect.TypeFor[Fault]()} {
		jsonFields(t, names)
	}
	return slices.Sorted(maps.Keys(names))
}

func nodeJSON(n *yaml.Node) ([]byte, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
