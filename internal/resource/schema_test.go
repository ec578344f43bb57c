package resource_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

// A schema checks values against the keywords that Schema writes. One that it
// does not know fails the test.
type schema struct {
	root map[string]any
}

func newSchema(t *testing.T, text []byte) *schema {
	t.Helper()
	s := &schema{}
	if err := json.Unmarshal(text, &s.root); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *schema) yaml(t *testing.T, text string) []string {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v = nil
	if err := json.Unmarshal(j, &v); err != nil {
		t.Fatal(err)
	}
	return s.check(s.root, v, "")
}

func (s *schema) check(schema any, v any, at string) (faults []string) {
	if b, ok := schema.(bool); ok {
		if !b {
			return []string{at + " is not allowed"}
		}
		return nil
	}
	m := schema.(map[string]any)
	fault := func(format string, args ...any) { faults = append(faults, at+" "+fmt.Sprintf(format, args...)) }
	object, _ := v.(map[string]any)
	for keyword, arg := range m {
		switch keyword {
		case "$schema", "$defs", "title", "description", "examples":
		case "$ref":
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			faults = append(faults, s.check(s.root["$defs"].(map[string]any)[name], v, at)...)
		case "type":
			types, ok := arg.([]any)
			if !ok {
				types = []any{arg}
			}
			if !slices.ContainsFunc(types, func(t any) bool { return isType(t.(string), v) }) {
				fault("is a %T, not %v", v, types)
			}
		case "enum":
			if !slices.Contains(arg.([]any), v) {
				fault("is %v", v)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(text) {
				fault("does not match %v", arg)
			}
		case "minLength":
			if text, ok := v.(string); ok && float64(len(text)) < arg.(float64) {
				fault("is too short")
			}
		case "oneOf", "anyOf":
			n := 0
			for _, one := range arg.([]any) {
				if len(s.check(one, v, at)) == 0 {
					n++
				}
			}
			if n == 0 || keyword == "oneOf" && n > 1 {
				fault("matches %d of %s", n, keyword)
			}
		case "items":
			list, _ := v.([]any)
			for i, e := range list {
				faults = append(faults, s.check(arg, e, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "required":
			for _, name := range arg.([]any) {
				if _, ok := object[name.(string)]; object != nil && !ok {
					fault("lacks %v", name)
				}
			}
		case "propertyNames":
			for name := range object {
				faults = append(faults, s.check(arg, name, at+" name")...)
			}
		case "properties", "patternProperties", "additionalProperties":
		default:
			fault("schema has the keyword %s", keyword)
		}
	}
	props, _ := m["properties"].(map[string]any)
	patterns, _ := m["patternProperties"].(map[string]any)
	for name, e := range object {
		if p, ok := props[name]; ok {
			faults = append(faults, s.check(p, e, at+"."+name)...)
			continue
		}
		matched := false
		for pattern, p := range patterns {
			if regexp.MustCompile(pattern).MatchString(name) {
				matched = true
				faults = append(faults, s.check(p, e, at+"."+name)...)
			}
		}
		if more, ok := m["additionalProperties"]; ok && !matched {
			faults = append(faults, s.check(more, e, at+"."+name)...)
		}
	}
	return faults
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return name == "object"
	case []any:
		return name == "array"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	}
	return name == "null"
}

// given has a secret in every file.
type given struct{ env }

func (given) Secret(string, string) (freshet.Secret, string, error) {
	return freshet.NewSecret("s"), "", nil
}

func TestSchema(t *testing.T) {
	reg := mustRegistry(t)
	text, err := reg.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := reg.Schema(); string(again) != string(text) {
		t.Error("the schema is not the same twice")
	}
	s := newSchema(t, text)
	files, err := resource.ReadFiles(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if faults := s.yaml(t, f.Content); len(faults) > 0 {
			t.Errorf("%s: %v", f.Name, faults)
		}
	}
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{"connections: {a: {client: b, refresh: {when: on_401, margin: 30s}}}", true},
		{"connections: {a: {client: b, refresh: {when: [on_401, schedule], every: 1h30m}}}", true},
		{"connections: {a: {client: b, refresh: {when: on_402}}}", false},
		{"connections: {a: {client: b, refresh: {margin: 30}}}", false},
		{"connections: {a: {client: b, refresh: {margin: 30sec}}}", false},
		{"connections: {a: {client: b, colour: blue}}", false},
		{"connections: {'a b': {client: b}}", false},
		{"connections: {a: {client: b, grant: '${GRANT}', api: {websocket: '${WS}', inject: [{header: X}]}}}", true},
		{"connections: {a: {client: b, api: {websocket: 'yes', inject: {header: X}}}}", false},
		{"clients: {a: {provider: google, secret: {file: x}}}", true},
		{"clients: {a: {provider: google, secret: {fil: x}}}", false},
		{"clients: {a: {id: x}}", false},
		{"providers: {a: {rotation: {kind: sometimes}, request: {params: {n: 1, b: true}}}}", true},
		{"providers: {a: {rotation: {kind: often}}}", false},
		{"network: {allow: [127.0.0.0/8]}", true},
		{"console: {}", false},
		{"apps: {a: {title: A, public: true}, b: {queries: {q: {url: https://a.example}}, pages: [{name: p, widgets: [{type: table, name: T, data: x}]}]}}", true},
		{"apps: {a: {pages: {p: {widgets: [{type: chart, name: T}]}}}}", false},
		{"workflows: {Call me: {definition: '{}', publish: true, variables: {a: {b: [1]}}, map_input: {api: input.api}, public: false, lock: '\"x\"'}}", true},
		{"workflows: {a: {publish: true}}", false},
		{"workflows: {a: {definition: x, map_input: {a: [1]}}}", false},
		{"x-shared: {any: [thing]}", true},
	} {
		if faults := s.yaml(t, tt.text); len(faults) == 0 != tt.ok {
			t.Errorf("%s: %v", tt.text, faults)
		}
		// The schema is no stricter than decoding, and here no laxer either.
		_, err := reg.Decode([]resource.File{{Name: "x.yaml", Content: tt.text}}, given{env{"GRANT": "password", "WS": "true"}})
		if err == nil != tt.ok {
			t.Errorf("decode %s: %v", tt.text, err)
		}
	}
	for name, d := range s.root["$defs"].(map[string]any) {
		if d.(map[string]any)["description"] == nil && !slices.Contains([]string{"boolean", "integer"}, name) {
			t.Errorf("%s has no description", name)
		}
	}
}
