package resource

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A Key names a resource.
type Key struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// String returns KIND/NAME, as the command line takes it, or KIND.
func (k Key) String() string {
	if k.Name == "" {
		return k.Kind
	}
	return k.Kind + "/" + k.Name
}

// A Ref is a resource that another one names, and the field that names it.
type Ref struct {
	Key
	Field string // path inside the resource: client
}

// A Kind is one kind of resource: a top-level word of the files. Make one with
// Define, or with Later for a word that a later version knows.
type Kind struct {
	Name   string // as files write it: connections
	One    string // in sentences: connection
	Doc    string // for the schema
	Single bool   // there is one of it, without a name: network

	typ   reflect.Type // nil: not in this version
	names *regexp.Regexp
	like  string // what names look like, in words
	forms map[reflect.Type]Form
	words map[reflect.Type]map[string][]string
	refs  func(v any) []Ref
	check func(c *Check, name string, v any)

	// conceal takes secrets out of a tree whose type does not tell them.
	conceal func(d *decoder, tree any) bool
}

// A Spec describes a kind over its Go type, whose json tags are the fields of
// the files. Fields of type freshet.Secret, however deep, are kept sealed.
// Fields without omitempty or omitzero are required.
type Spec[T any] struct {
	Name, One, Doc string
	Single         bool
	Names          *regexp.Regexp                       // what its names look like; nil: plainName
	NamesText      string                               // says so to who chose another
	Forms          map[reflect.Type]Form                // types below T that files may write in another form
	Words          map[reflect.Type]map[string][]string // by type and field: the only values of a text
	Refs           func(v *T) []Ref                     // what v names; each must be there
	Check          func(c *Check, name string, v *T)    // what the form of a file cannot say
}

// A Form says how else files may write a type.
type Form struct {
	One  bool   // a list may be its only element
	Text string // an object may be text: the value of this field
	Name string // a list of objects may be names with values, in order: this field is the name
	Pair string // with Text: an object may be the text with its value, {grant_type: refresh_token}: this field is the value
	File string // an object may be {file: PATH}: this field, a secret, is what the file holds

	Short bool // exports write the shorter form

	// Documents are fields of type freshet.Secret that hold a whole file, each
	// with the field that names it instead: definition: file. They may be long,
	// and administrators see them in exports. Text may name such a field, too: an
	// object may be the path of its file.
	Documents map[string]string
	// Folder is a word beside the fields that names a folder: its folders of the
	// names of Parts hold what those fields would, "yaml" an object in each file,
	// "js" a text in each, which goes into a map[string]freshet.Secret.
	Folder string
	Parts  map[string]string

	// Any are fields of type map[string]freshet.Secret whose values may be
	// anything; each is kept as its JSON.
	Any []string
}

// Define makes a Kind of its description.
func Define[T any](s Spec[T]) Kind {
	k := Kind{Name: s.Name, One: s.One, Doc: s.Doc, Single: s.Single, typ: reflect.TypeFor[T](), names: s.Names, like: s.NamesText, forms: s.Forms, words: s.Words}
	if k.names == nil {
		k.names, k.like = plainName, "a name has letters, digits, dots, hyphens and underscores, begins with a letter or digit and is at most 128 long"
	}
	k.refs = func(v any) []Ref {
		if s.Refs == nil {
			return nil
		}
		return s.Refs(v.(*T))
	}
	k.check = func(c *Check, name string, v any) {
		if s.Check != nil {
			s.Check(c, name, v.(*T))
		}
	}
	return k
}

// Later makes a Kind that files may name and this version refuses with a clear
// text.
func Later(name, one string) Kind { return Kind{Name: name, One: one} }

// plainName is safe in a URL's path, in a key's scope and on a command line.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Core lists the kinds of this version, in the order in which they are applied
// and exported: what is referred to comes first.
func Core() []Kind {
	return []Kind{
		network(),
		providers(),
		clients(),
		connections(),
		webhooks(),
		Later("console", "console"),
		tables(),
		workflows(),
		services(),
		processes(),
		schedules(),
		apps(),
		components(),
	}
}

// A Registry knows kinds and everything about their types. It is immutable.
type Registry struct {
	kinds   []Kind
	byName  map[string]*Kind
	objects map[reflect.Type]*object
	forms   map[reflect.Type]Form
}

// NewRegistry returns a registry of kinds, whose order is kept.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: slices.Clone(kinds), byName: map[string]*Kind{}, objects: map[reflect.Type]*object{}, forms: map[reflect.Type]Form{}}
	words := map[reflect.Type]map[string][]string{}
	for i := range r.kinds {
		k := &r.kinds[i]
		if r.byName[k.Name] != nil {
			return nil, fmt.Errorf("kind %s is defined twice", k.Name)
		}
		r.byName[k.Name] = k
		for t, f := range k.forms {
			r.forms[t] = f
		}
		for t, w := range k.words {
			words[t] = w
		}
	}
	for i := range r.kinds {
		if t := r.kinds[i].typ; t != nil {
			if err := r.learn(t, words); err != nil {
				return nil, fmt.Errorf("kind %s: %w", r.kinds[i].Name, err)
			}
		}
	}
	r.markSecrets()
	return r, nil
}

// Kinds lists the kinds that this version holds, in order.
func (r *Registry) Kinds() []Kind {
	return slices.DeleteFunc(slices.Clone(r.kinds), func(k Kind) bool { return k.typ == nil })
}

// Kind returns the kind of the name, if this version holds it.
func (r *Registry) Kind(name string) (Kind, bool) {
	k := r.byName[name]
	if k == nil || k.typ == nil {
		return Kind{}, false
	}
	return *k, true
}

// ParseKey reads KIND/NAME, or KIND, where KIND may also be one of it:
// connection/crm.
func (r *Registry) ParseKey(s string) (Key, error) {
	kind, name, _ := strings.Cut(s, "/")
	for _, k := range r.kinds {
		if (kind == k.Name || kind == k.One) && k.typ != nil {
			if k.Single && name == "" {
				name = k.Name
			}
			return Key{k.Name, name}, nil
		}
	}
	return Key{}, r.unknown(kind)
}

// unknown says that this version has no such kind. It is freshet.ErrNotFound.
func (r *Registry) unknown(kind string) error {
	if k := r.byName[kind]; k != nil {
		return &NotFoundError{Key: Key{Kind: kind}, Later: true}
	}
	return &NotFoundError{Key: Key{Kind: kind}, Similar: nearest(kind, r.kindNames())}
}

// rank orders kinds as the registry lists them.
func (r *Registry) rank(kind string) int {
	return slices.IndexFunc(r.kinds, func(k Kind) bool { return k.Name == kind })
}

func (r *Registry) kindNames() []string {
	names := make([]string, len(r.kinds))
	for i, k := range r.kinds {
		names[i] = k.Name
	}
	return names
}
