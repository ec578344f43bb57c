package resource

import (
	_ "embed"
	"encoding"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/freshet-dev/freshet"
)

var (
	secretType = reflect.TypeFor[freshet.Secret]()
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// An object is what the registry knows of a struct type.
type object struct {
	fields []field
	byName map[string]int

	secrets bool // a secret may lie below
}

type field struct {
	name     string
	index    int
	typ      reflect.Type
	required bool
	words    []string // the only values, if any

	document string // a file's text; the field that names the file
	any      bool   // a map of secrets, each the JSON of any value
}

func (o *object) has(name string) bool {
	_, ok := o.byName[name]
	return ok
}

func (o *object) names() []string {
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.name
	}
	return names
}

// isText reports whether files write t as text that t itself reads.
func isText(t reflect.Type) bool { return t != secretType && reflect.PointerTo(t).Implements(textType) }

// learn records what lies below t. It refuses types that files cannot write,
// so that a kind with one is found by the first test that names it.
func (r *Registry) learn(t reflect.Type, words map[reflect.Type]map[string][]string) error {
	if t == secretType || isText(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return r.learn(t.Elem(), words)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("%v has keys that are not text", t)
		}
		return r.learn(t.Elem(), words)
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return nil
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return nil
		}
	case reflect.Struct:
		if r.objects[t] != nil {
			return nil
		}
		o := &object{byName: map[string]int{}}
		r.objects[t] = o
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || !f.IsExported() {
				continue
			}
			if name == "" {
				return fmt.Errorf("%v.%s has no json tag", t, f.Name)
			}
			w := words[t][name]
			if w == nil {
				w = words[element(f.Type)][""]
			}
			o.byName[name] = len(o.fields)
			form := r.forms[t]
			o.fields = append(o.fields, field{name: name, index: i, typ: f.Type, words: w,
				required: !strings.Contains(options, "omit"), document: form.Documents[name], any: slices.Contains(form.Any, name)})
			if err := r.learn(f.Type, words); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%v is not a type for files", t)
}

// element strips pointers and lists off t.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// join appends a member's name to a path.
func join(path, name string) string {
	if path != "" {
		path += "."
	}
	return path + segment(name)
}

// segment quotes names that would make a path ambiguous.
func segment(name string) string {
	for _, c := range name {
		if c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			continue
		}
		return strconv.Quote(name)
	}
	if name == "" {
		return `""`
	}
	return name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// eachSecret visits every secret below v in place: visit returns what takes its
// place. v must be addressable.
func (r *Registry) eachSecret(v reflect.Value, path string, visit func(path string, s freshet.Secret) freshet.Secret) {
	t := v.Type()
	if t == secretType {
		if s := v.Interface().(freshet.Secret); !s.IsZero() {
			v.Set(reflect.ValueOf(visit(path, s)))
		}
		return
	}
	if table, ok := v.Addr().Interface().(*freshet.Table); ok {
		table.EachSecret(func(row int, column string, s freshet.Secret) freshet.Secret {
			return visit(table.SecretID(row, column), s)
		})
		return
	}
	if isText(t) || !r.holdsSecrets(t) {
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			r.eachSecret(v.Elem(), path, visit)
		}
	case reflect.Slice:
		name := r.forms[t].Name
		for i := range v.Len() {
			at := index(path, i)
			if name != "" {
				o := r.objects[t.Elem()]
				if text := v.Index(i).Field(o.fields[o.byName[name]].index).String(); text != "" {
					at = join(path, text)
				}
			}
			r.eachSecret(v.Index(i), at, visit)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			e := reflect.New(t.Elem()).Elem()
			e.Set(v.MapIndex(k))
			r.eachSecret(e, join(path, k.String()), visit)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for _, f := range r.objects[t].fields {
			r.eachSecret(v.Field(f.index), join(path, f.name), visit)
		}
	}
}

// holdsSecrets reports whether a secret may lie below t.
func (r *Registry) holdsSecrets(t reflect.Type) bool {
	for ; t != secretType; t = t.Elem() {
		switch {
		case isText(t):
			return false
		case t.Kind() == reflect.Struct:
			return r.objects[t].secrets
		case t.Kind() != reflect.Pointer && t.Kind() != reflect.Slice && t.Kind() != reflect.Map:
			return false
		}
	}
	return true
}

// markSecrets finds the objects that hold secrets, also by way of each other.
func (r *Registry) markSecrets() {
	for again := true; again; {
		again = false
		for _, o := range r.objects {
			for _, f := range o.fields {
				if !o.secrets && r.holdsSecrets(f.typ) {
					o.secrets, again = true, true
				}
			}
		}
	}
}

// build makes the Go value of a kind of its spec and its secrets. A secret that
// the spec names and secrets lack is an error: the row is incomplete.
func (r *Registry) build(k *Kind, name string, spec []byte, secrets map[string]freshet.Secret) (any, error) {
	v := reflect.New(k.typ)
	if f := v.Elem().FieldByName("Name"); f.IsValid() && f.Kind() == reflect.String {
		f.SetString(name)
	}
	if err := json.Unmarshal(spec, v.Interface()); err != nil {
		return nil, err
	}
	var missing string
	r.eachSecret(v.Elem(), "", func(path string, s freshet.Secret) freshet.Secret {
		value, ok := secrets[path]
		if !ok {
			missing = path
		}
		return value
	})
	if missing != "" {
		return nil, fmt.Errorf("the value of %s is missing", missing)
	}
	return v.Interface(), nil
}

//go:generate go test -run TestDocs -update .

//go:embed docs.json
var docsJSON []byte

// docs holds a sentence for types and fields, "freshet.Provider" and
// "freshet.Provider.token_url", taken from the comments of the Go source.
var docs = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	if err := json.Unmarshal(docsJSON, &m); err != nil {
		panic("docs.json: " + err.Error())
	}
	return m
})

func docOf(t reflect.Type, field string) string {
	name := path.Base(t.PkgPath()) + "." + t.Name()
	if field != "" {
		name += "." + field
	}
	return docs()[name]
}
