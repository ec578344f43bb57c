package importer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/component/descriptor"
	"github.com/freshet-dev/freshet/internal/workflow"
)

// Component reports whether a file is the descriptor of a component of
// elastic.io.
func Component(b []byte) bool {
	return strings.HasPrefix(foreign(b), "a component descriptor")
}

// A Converted descriptor is what it comes to here.
type Converted struct {
	// Resources are the bodies of provider, client, connection and component, by
	// kind; all have the name that was asked for. They hold secrets.
	Resources map[string]json.RawMessage
	// Missing are names that templates use and nobody gave a value for.
	Missing  []Missing
	Triggers int // triggers and actions in the file
	OAuth    bool
	Findings []workflow.Finding
}

// A Missing name has no value.
type Missing struct {
	Name  string
	Where string // the field of the file that uses it
	Field bool   // it is a field of the credential, else a variable of the environment
}

var plainName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// ComponentName is what a component goes by here: the name of its service, its
// title or its file.
func ComponentName(d *descriptor.Descriptor, file string) string {
	base := file[strings.LastIndexAny(file, `/\`)+1:]
	base = strings.TrimSuffix(base, ".json")
	if base == "component" { // they all are
		base = ""
	}
	for _, s := range []string{d.Service, d.Title, base} {
		s = strings.ToLower(strings.Trim(plainName.ReplaceAllString(s, "-"), "-._"))
		if s != "" {
			return s[:min(len(s), 60)]
		}
	}
	return "component"
}

// ConvertComponent makes resources of a descriptor. value gives the values of
// variables of the environment and of fields of the credential.
//
// In URLs a field stays a blank that the connection fills (variables); whatever
// else a template names is filled in here, because the platform does it once for
// all credentials, too.
func ConvertComponent(name string, text []byte, value func(name string) (string, bool)) (*Converted, error) {
	d, err := descriptor.Parse(text)
	if err != nil {
		return nil, err
	}
	c := &Converted{Triggers: len(d.Triggers) + len(d.Actions), OAuth: d.OAuth != nil}
	component := map[string]any{"descriptor": string(text)}
	all := map[string]any{"components": component}
	if d.OAuth != nil {
		component["connection"] = name
		c.credential(all, name, d, value)
	}
	c.findings(name, d)
	c.Resources = map[string]json.RawMessage{}
	for kind, v := range all {
		if c.Resources[kind], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Converted) note(s workflow.Severity, code, what, why, do string) {
	c.Findings = append(c.Findings, workflow.Finding{Severity: s, Code: code, What: what, Why: why, Do: do})
}

// credential makes provider, client and connection.
func (c *Converted) credential(all map[string]any, name string, d *descriptor.Descriptor, value func(string) (string, bool)) {
	o := d.OAuth
	variables, given := map[string]any{}, map[string]any{}
	fill := func(where, text string, blanks bool) string {
		return descriptor.Fill(text, func(n string) (string, bool) {
			_, declared := d.Declares(n)
			field := !declared && d.IsField(n)
			v, ok := value(n)
			if !ok && !slices.ContainsFunc(c.Missing, func(m Missing) bool { return m.Name == n }) {
				c.Missing = append(c.Missing, Missing{n, where, field})
			}
			if !declared && !field {
				c.note(workflow.Warning, "undeclared-variable", where+" names {{"+n+"}}, which the file declares neither in envVars nor as a field", "it was taken for a variable of the environment", "")
			}
			if field && blanks {
				variables[n] = map[string]any{"doc": docOf(d, n)}
				if ok {
					given[n] = v
				}
				return "{{" + n + "}}", true
			}
			return v, ok
		})
	}
	auth, params := o.AuthURI, map[string]any{}
	if base, query, ok := strings.Cut(auth, "?"); ok {
		auth = base
		for pair := range strings.SplitSeq(query, "&") {
			k, v, _ := strings.Cut(pair, "=")
			key, kerr := url.QueryUnescape(k)
			val, verr := url.QueryUnescape(v)
			if k == "" || kerr != nil || verr != nil {
				continue
			}
			params[key] = fill("credentials.oauth2.auth_uri", val, true)
		}
	}
	for k, v := range o.Extra {
		params[k] = fill("credentials.oauth2."+k, v, true)
	}
	provider := map[string]any{
		"authorization_url": fill("credentials.oauth2.auth_uri", auth, true),
		"token_url":         fill("credentials.oauth2.token_uri", o.TokenURI, true),
		"client_auth":       "body",
	}
	if o.RefreshURI != "" {
		provider["refresh_url"] = fill("credentials.oauth2.refresh_token_uri", o.RefreshURI, true)
	}
	switch o.ClientAuth {
	case "", "body":
	case "basic":
		provider["client_auth"] = "basic"
	default:
		c.note(workflow.Warning, "client-auth", fmt.Sprintf("credentials.oauth2.client_auth is %q, which this version does not know", o.ClientAuth), "the client's id and secret go in the body", "set client_auth of provider "+name)
	}
	if len(params) > 0 {
		provider["authorize_params"] = params
	}
	client := map[string]any{"provider": name, "id": fill("credentials.oauth2.client_id", o.ClientID, false), "secret": fill("credentials.oauth2.client_secret", o.ClientSecret, false)}
	connection := map[string]any{"client": name, "grant": "authorization_code"}
	if len(o.Scopes) > 0 {
		connection["scopes"] = o.Scopes
	}
	if len(variables) > 0 {
		provider["variables"] = variables
	}
	if len(given) > 0 {
		connection["variables"] = given
	}
	all["providers"], all["clients"], all["connections"] = provider, client, connection
}

func docOf(d *descriptor.Descriptor, name string) string {
	for _, f := range d.Fields {
		if f.Name == name && f.Label != "" {
			return f.Label
		}
	}
	return "a field of the credential"
}

// findings tell what did not carry over by itself.
func (c *Converted) findings(name string, d *descriptor.Descriptor) {
	switch {
	case d.OAuth1:
		c.note(workflow.Error, "oauth1", "credentials.oauth1 is not in this version", "no connection was made of it", "")
	case d.OAuth == nil:
		c.note(workflow.Info, "no-oauth2", "the file has no credentials.oauth2", "no provider, client or connection was made", "declare a connection, and name it: components: {"+name+": {connection: NAME, …}}")
	default:
		c.note(workflow.Info, "connect", "nobody has authorized connection "+name+" yet", "", "freshet connect "+name)
		c.note(workflow.Info, "field", "actions find the token set in cfg."+d.Token(), "", "")
		c.note(workflow.Info, "api", "the file does not say where the API is", "the connection only hands out tokens", "to have calls made as it, give it api: {base_url: https://…}")
		c.note(workflow.Info, "policy", "the connection refreshes before expiry and when the API answers 401", "a component refreshes at each access, or on 401", "refresh: {when: every_use} or {when: on_401} on connection "+name)
	}
	for _, f := range d.Others() {
		if d.OAuth == nil || !slices.Contains(descriptor.Names(d.OAuth.AuthURI, d.OAuth.TokenURI, d.OAuth.RefreshURI, d.OAuth.ClientID, d.OAuth.ClientSecret), f.Name) {
			c.note(workflow.Info, "credential-field", "the field "+f.Name+" of the credential is part of cfg there", "", "if an action reads it: components: {"+name+": {config: {"+f.Name+": …}}}")
		}
	}
	if d.Verify != "" {
		c.note(workflow.Info, "verify", d.Verify+" is not run", "a credential is verified by a request here", "give the connection api: {verify: {path: …}}, then: freshet verify "+name)
	}
	for _, list := range [][]descriptor.Action{d.Triggers, d.Actions} {
		for _, a := range list {
			c.note(workflow.Info, "action", a.Name+" ("+a.Main+") is not in the file", "sources lie beside a descriptor", "declare it: components: {"+name+": {actions: {"+a.Name+": "+strings.TrimPrefix(a.Main, "./")+"}}}")
		}
	}
}

// ComponentNames lists the names that the templates of a descriptor use, for
// whoever has an environment to look them up in. nil: it is none.
func ComponentNames(b []byte) []string {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !Component(b) {
		return nil
	}
	d, err := descriptor.Parse(b)
	if err != nil || d.OAuth == nil {
		return nil
	}
	texts := []string{d.OAuth.ClientID, d.OAuth.ClientSecret, d.OAuth.AuthURI, d.OAuth.TokenURI, d.OAuth.RefreshURI}
	for _, v := range d.OAuth.Extra {
		texts = append(texts, v)
	}
	return descriptor.Names(texts...)
}
