package resource

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/freshet-dev/freshet"
)

// Schema writes the JSON Schema (draft 2020-12) of resource files, for editors
// and for people: freshet apply --schema.
func (r *Registry) Schema() ([]byte, error) {
	s := schemer{r: r, defs: map[string]any{}}
	props := map[string]any{}
	for _, k := range r.kinds {
		if k.typ == nil {
			continue
		}
		p := s.of(k.typ, nil)
		if !k.Single {
			p = map[string]any{"type": "object", "additionalProperties": p, "propertyNames": map[string]any{"pattern": k.names.String()}}
		}
		p = described(p, k.Doc)
		props[k.Name] = p
	}
	raw, err := encodeJSON(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Freshet resources",
		"description":          "Top-level maps by kind of resource. ${NAME} in a text takes an environment variable when the file is applied; $${ stands for ${ itself.",
		"type":                 "object",
		"properties":           props,
		"patternProperties":    map[string]any{"^x-": map[string]any{"description": "A place for YAML anchors; not read."}},
		"additionalProperties": false,
		"$defs":                s.defs,
	})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, raw, "", "  ")
	return out.Bytes(), err
}

type schemer struct {
	r    *Registry
	defs map[string]any
}

// fromEnvironment lets a field that is no text be given by a variable.
var fromEnvironment = map[string]any{"type": "string", "pattern": `^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`}

func (s *schemer) of(t reflect.Type, words []string) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	form := s.r.forms[t]
	switch {
	case t == secretType:
		return s.ref("secret", func() map[string]any {
			return map[string]any{
				"description": "A secret: text, or the file that holds it. " + freshet.Redacted + " keeps the stored value.",
				"oneOf": []any{
					map[string]any{"type": "string", "minLength": 1},
					map[string]any{"type": "object", "properties": map[string]any{"file": map[string]any{"type": "string", "description": "path, relative to this file"}},
						"required": []string{"file"}, "additionalProperties": false},
				},
			}
		})
	case form.Name != "":
		one := s.of(t.Elem(), words)
		return map[string]any{"oneOf": []any{map[string]any{"type": "object", "additionalProperties": one}, map[string]any{"type": "array", "items": one}}}
	case form.One:
		one := s.of(t.Elem(), words)
		return map[string]any{"oneOf": []any{one, map[string]any{"type": "array", "items": one}}}
	case t == reflect.TypeFor[freshet.Duration]():
		return s.ref("duration", func() map[string]any {
			return map[string]any{"type": "string", "description": "A duration: 30s, 55m, 1h30m or 90d.", "examples": []string{"30s", "55m", "1h30m", "90d"},
				"pattern": `^([0-9]+d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|\$\{[A-Za-z_][A-Za-z0-9_]*\})$`}
		})
	case isText(t):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.ref(t.Name(), func() map[string]any { return s.object(t) })
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem(), words)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem(), nil)}
	case reflect.Bool:
		return s.orVariable("boolean")
	case reflect.Int, reflect.Int64:
		return s.orVariable("integer")
	case reflect.Float64:
		return s.orVariable("number")
	case reflect.String:
		if words != nil {
			return map[string]any{"anyOf": []any{map[string]any{"enum": words}, fromEnvironment}}
		}
		return s.ref("text", func() map[string]any {
			return map[string]any{"type": []string{"string", "number", "boolean"}, "description": "Text. Numbers and booleans are taken as they are written."}
		})
	}
	return map[string]any{}
}

// orVariable is a scalar that a variable may give instead.
func (s *schemer) orVariable(typ string) map[string]any {
	return s.ref(typ, func() map[string]any {
		return map[string]any{"anyOf": []any{map[string]any{"type": typ}, fromEnvironment}}
	})
}

// ref makes a definition once, and refers to it.
func (s *schemer) ref(name string, build func() map[string]any) map[string]any {
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = nil // recursion ends here
		s.defs[name] = build()
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (s *schemer) object(t reflect.Type) map[string]any {
	o := s.r.objects[t]
	props := map[string]any{}
	required := []string{}
	var eitherOr []any
	for _, f := range o.fields {
		props[f.name] = described(s.of(f.typ, f.words), docOf(t, f.name))
		switch {
		case f.any:
			props[f.name] = described(map[string]any{"type": "object"}, docOf(t, f.name))
		case f.document != "":
			props[f.document] = map[string]any{"type": "string", "description": "The file of " + f.name + ": a path, relative to this file."}
			props[f.name] = described(map[string]any{"type": "string"}, docOf(t, f.name))
			eitherOr = append(eitherOr, map[string]any{"required": []string{f.name}}, map[string]any{"required": []string{f.document}})
			continue
		}
		if f.required {
			required = append(required, f.name)
		}
	}
	if form := s.r.forms[t]; form.Folder != "" {
		props[form.Folder] = map[string]any{"type": "string", "description": "A folder that holds the rest in folders of their names: a path, relative to this file."}
	}
	out := described(map[string]any{"type": "object", "properties": props, "additionalProperties": false}, docOf(t, ""))
	if len(required) > 0 {
		out["required"] = required
	}
	if len(eitherOr) > 0 {
		out["oneOf"] = eitherOr
	}
	if form := s.r.forms[t]; o.documentOf(form.Text) != nil {
		text := map[string]any{"type": "string", "description": "The file: a path, relative to this file."}
		return described(map[string]any{"oneOf": []any{text, out}}, docOf(t, ""))
	} else if form.Text != "" {
		text := s.of(o.fields[o.byName[form.Text]].typ, o.fields[o.byName[form.Text]].words)
		if form.Pair == "" && form.File == "" {
			return described(map[string]any{"oneOf": []any{text, out}}, docOf(t, ""))
		}
		ways := []any{text, out}
		if form.Pair != "" {
			value := s.of(o.fields[o.byName[form.Pair]].typ, nil)
			ways = append(ways, map[string]any{"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": value})
		}
		if form.File != "" {
			ways = append(ways, s.of(o.fields[o.byName[form.File]].typ, nil))
		}
		return described(map[string]any{"anyOf": ways}, docOf(t, ""))
	}
	return out
}

// described adds a description. Beside $ref other keywords are allowed since
// draft 2019-09.
func described(schema map[string]any, doc string) map[string]any {
	if doc != "" {
		schema["description"] = doc
	}
	return schema
}
