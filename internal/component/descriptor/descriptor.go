// Package descriptor reads component.json, the descriptor of a component of
// elastic.io: what its credential is made of, which variables of the environment
// it needs, and which triggers and actions it has.
//
// It gives what stands in the file and decides nothing. Values keep their
// templates: {{NAME}} is a variable of the environment if the file declares one
// of the name (envVars), else a field of the credential.
package descriptor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// MaxFile is how long a descriptor may be.
const MaxFile = 1 << 20

// ViewClasses are those of a field that holds a token set.
var ViewClasses = []string{"OAuthFieldView", "HTTPAuthView"}

// A Descriptor is what a component.json says, as far as it matters here.
type Descriptor struct {
	Title       string
	Description string
	Service     string
	Variables   []Variable // of the environment, by name
	Fields      []Field    // of the credential, in the order of the file
	OAuth       *OAuth2    // nil: the component does not use OAuth 2
	OAuth1      bool       // it uses OAuth 1
	Verify      string     // the file that verifies credentials
	Triggers    []Action   // by name
	Actions     []Action   // by name
}

// A Variable is one of the environment.
type Variable struct {
	Name        string `json:"-"`
	Description string `json:"description"`
	Required    bool   `json:"required"`
}

// A Field is one of the credential.
type Field struct {
	Name        string
	Label       string `json:"label"`
	ViewClass   string `json:"viewClass"`
	Required    bool   `json:"required"`
	Placeholder string `json:"placeholder"`
	Note        string `json:"note"`
}

// OAuth2 is how the credential is obtained.
type OAuth2 struct {
	ClientID     string
	ClientSecret string
	AuthURI      string
	TokenURI     string
	RefreshURI   string // refresh_token_uri, where it differs
	Scopes       []string
	ClientAuth   string            // basic, or "" for the body
	Extra        map[string]string // what else goes into the authorization request
}

// An Action is a trigger or an action.
type Action struct {
	Name  string
	Title string `json:"title"`
	Main  string `json:"main"` // its file
}

// Token is the name of the field that holds the token set: the one whose view
// says so, else "oauth".
func (d *Descriptor) Token() string {
	for _, f := range d.Fields {
		if slices.Contains(ViewClasses, f.ViewClass) {
			return f.Name
		}
	}
	return "oauth"
}

// Others are the fields of the credential beside the one for the token set.
func (d *Descriptor) Others() []Field {
	return slices.DeleteFunc(slices.Clone(d.Fields), func(f Field) bool { return slices.Contains(ViewClasses, f.ViewClass) })
}

var name = regexp.MustCompile(`\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}`)

// Names lists the names in the templates of texts, each once, in order.
func Names(texts ...string) []string {
	var out []string
	for _, t := range texts {
		for _, m := range name.FindAllStringSubmatch(t, -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// Fill replaces names in a template by what value gives; names that it does not
// know stay as they are.
func Fill(text string, value func(name string) (string, bool)) string {
	return name.ReplaceAllStringFunc(text, func(s string) string {
		if v, ok := value(name.FindStringSubmatch(s)[1]); ok {
			return v
		}
		return s
	})
}

// Declares returns the variable of the environment with the name.
func (d *Descriptor) Declares(name string) (Variable, bool) {
	for _, v := range d.Variables {
		if v.Name == name {
			return v, true
		}
	}
	return Variable{}, false
}

// IsField reports whether the credential has a field of the name.
func (d *Descriptor) IsField(name string) bool {
	return slices.ContainsFunc(d.Fields, func(f Field) bool { return f.Name == name })
}

// Parse reads a descriptor. Its errors name the place in the file.
func Parse(b []byte) (*Descriptor, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if len(b) > MaxFile {
		return nil, fmt.Errorf("a descriptor has at most %d KiB", MaxFile>>10)
	}
	var file struct {
		Title       string              `json:"title"`
		Description string              `json:"description"`
		Service     string              `json:"service"`
		EnvVars     map[string]Variable `json:"envVars"`
		Credentials struct {
			Fields json.RawMessage `json:"fields"`
			OAuth2 json.RawMessage `json:"oauth2"`
			OAuth1 json.RawMessage `json:"oauth1"`
			Verify string          `json:"verifyCredentials"`
		} `json:"credentials"`
		Triggers map[string]Action `json:"triggers"`
		Actions  map[string]Action `json:"actions"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, problem(b, err)
	}
	d := &Descriptor{Title: file.Title, Description: file.Description, Service: file.Service, Verify: file.Credentials.Verify,
		OAuth1: isObject(file.Credentials.OAuth1), Triggers: sorted(file.Triggers), Actions: sorted(file.Actions)}
	for _, n := range slices.Sorted(maps.Keys(file.EnvVars)) {
		v := file.EnvVars[n]
		v.Name = n
		d.Variables = append(d.Variables, v)
	}
	var err error
	if d.Fields, err = fields(file.Credentials.Fields); err != nil {
		return nil, err
	}
	if isObject(file.Credentials.OAuth2) {
		if d.OAuth, err = oauth2(file.Credentials.OAuth2); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func isObject(raw json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{"))
}

// fields reads the fields in the order of the file, which decides which of two
// with a view for tokens counts.
func fields(raw json.RawMessage) ([]Field, error) {
	if !isObject(raw) {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.Token()
	var out []Field
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var f Field
		if err := dec.Decode(&f); err != nil {
			return nil, fmt.Errorf("credentials.fields.%v is not what a field is: an object with a label and a viewClass", key)
		}
		f.Name, _ = key.(string)
		out = append(out, f)
	}
	return out, nil
}

// oauth2 reads the block. What it does not know and is text goes into the
// authorization request, as the platform has it: access_type, prompt.
func oauth2(raw json.RawMessage) (*OAuth2, error) {
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	o := &OAuth2{Extra: map[string]string{}}
	texts := map[string]*string{"client_id": &o.ClientID, "client_secret": &o.ClientSecret, "auth_uri": &o.AuthURI, "token_uri": &o.TokenURI,
		"refresh_token_uri": &o.RefreshURI, "client_auth": &o.ClientAuth}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		switch v := all[k].(type) {
		case string:
			switch p := texts[k]; {
			case p != nil:
				*p = v
			case k == "scopes" || k == "scope":
				o.Scopes = strings.Fields(v)
			default:
				o.Extra[k] = v
			}
		case []any:
			if k != "scopes" && k != "scope" {
				return nil, fmt.Errorf("credentials.oauth2.%s is a list, which nothing there is", k)
			}
			for i, s := range v {
				t, ok := s.(string)
				if !ok {
					return nil, fmt.Errorf("credentials.oauth2.%s[%d] is no text", k, i)
				}
				o.Scopes = append(o.Scopes, strings.Fields(t)...)
			}
		case bool, float64:
			o.Extra[k] = fmt.Sprint(v)
		case nil:
		default:
			return nil, fmt.Errorf("credentials.oauth2.%s is an object, which nothing there is", k)
		}
	}
	for _, k := range []string{"client_id", "client_secret", "auth_uri", "token_uri"} {
		if *texts[k] == "" {
			return nil, fmt.Errorf("credentials.oauth2.%s is missing", k)
		}
	}
	return o, nil
}

func sorted(m map[string]Action) []Action {
	var out []Action
	for _, n := range slices.Sorted(maps.Keys(m)) {
		a := m[n]
		a.Name = n
		out = append(out, a)
	}
	return out
}

// problem says where a file is no descriptor. It repeats nothing of it.
func problem(b []byte, err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at := b[:min(int(syntax.Offset), len(b))]
		return fmt.Errorf("line %d: this is no JSON: %s", 1+bytes.Count(at, []byte("\n")), strings.TrimPrefix(syntax.Error(), "invalid "))
	case errors.As(err, &typ) && typ.Field != "":
		return fmt.Errorf("%s is %s, which it cannot be", typ.Field, typ.Value)
	}
	return errors.New("this is no descriptor: a JSON object is needed")
}
