package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// parts are the resources that make a definition.
type parts struct {
	name     string
	conn     *freshet.Connection
	client   *freshet.Client
	provider *freshet.Provider // the effective one
}

// A problem is what keeps parts from being a definition; field is a path inside
// the connection.
type problem struct{ field, text string }

// inPlace is the client that a connection without one carries itself.
func inPlace(cn *freshet.Connection) *freshet.Client {
	return &freshet.Client{Provider: cn.Provider, ID: cn.ID, Secret: cn.Secret}
}

// compose fills variables and defaults in. The parts stay as they are: what is
// changed is copied first.
func compose(p parts) (*freshet.Definition, []problem) {
	d := &freshet.Definition{Connection: *p.conn, Client: *p.client, Provider: *p.provider}
	d.Connection.Name = p.name
	d.Client.Name = p.conn.Client
	var problems []problem
	fault := func(field, format string, args ...any) {
		problems = append(problems, problem{field, fmt.Sprintf(format, args...)})
	}

	vars := map[string]string{}
	for name, v := range p.provider.Variables {
		if v.Default != "" {
			vars[name] = v.Default
		}
	}
	maps.Copy(vars, p.client.Variables)
	maps.Copy(vars, p.conn.Variables)
	if len(vars) > 0 {
		d.Connection.Variables = vars
	}

	if p.conn.API != nil || p.provider.API != nil {
		api := d.API()
		api.Hosts = slices.Clone(api.Hosts)
		d.Connection.API = &api
	}

	missing := map[string]bool{}
	fill := func(field string, u *string, runtime bool) {
		filled, unknown, err := fillVariables(*u, vars, p.provider.Variables, runtime)
		switch {
		case unknown != "" && !missing[unknown]:
			missing[unknown] = true
			doc := ""
			if v, ok := p.provider.Variables[unknown]; ok && v.Doc != "" {
				doc = " (" + v.Doc + ")"
			}
			where := "give it here"
			if p.conn.Client != "" {
				where = "give it here or in " + join("clients", p.conn.Client) + ".variables"
			}
			fault(join("variables", unknown), "has no value, and %s of provider %s needs it%s: %s", field, p.provider.Name, doc, where)
		case unknown != "":
		case err != nil:
			text := err.Error()
			if e, ok := errors.AsType[*template.Error](err); ok {
				text = e.Msg
			}
			fault("variables", "%s of provider %s: %s", field, p.provider.Name, text)
		default:
			*u = filled
		}
	}
	pr := &d.Provider
	fill("issuer", &pr.Issuer, false)
	fill("authorization_url", &pr.AuthorizationURL, false)
	fill("token_url", &pr.TokenURL, false)
	fill("refresh_url", &pr.RefreshURL, false)
	fill("revocation_url", &pr.RevocationURL, false)
	fill("device_authorization_url", &pr.DeviceAuthorizationURL, false)
	fill("the connection's token_url", &d.Connection.TokenURL, false)
	fill("the connection's refresh_url", &d.Connection.RefreshURL, false)
	fill("request.url", &pr.Request.URL, true)
	for _, r := range []struct {
		field string
		of    **freshet.TokenRequest
	}{{"refresh_request.url", &pr.RefreshRequest}, {"revocation_request.url", &pr.Revocation}} {
		if *r.of != nil && strings.Contains((*r.of).URL, "{{") {
			own := **r.of
			*r.of = &own
			fill(r.field, &own.URL, true)
		}
	}
	if s := pr.SecondStep; s != nil && strings.Contains(s.Request.URL, "{{") {
		own := *s
		pr.SecondStep = &own
		fill("second_step.request.url", &own.Request.URL, true)
	}
	if api := d.Connection.API; api != nil {
		fill("api.base_url", &api.BaseURL, true)
		for i := range api.Hosts {
			fill(index("api.hosts", i), &api.Hosts[i], true)
		}
	}
	d.Connection.Grant = GrantOf(d)
	return d, problems
}

// fillVariables renders the variables of a URL. With runtime, a text that names
// anything else as well is left to those who know it when it is used. unknown
// is a variable without a value.
func fillVariables(text string, vars map[string]string, declared map[string]freshet.Variable, runtime bool) (filled, unknown string, err error) {
	if !strings.Contains(text, "{{") {
		return text, "", nil
	}
	t, err := template.Compile("URL", text)
	if err != nil {
		return "", "", err
	}
	later := false
	for _, path := range t.Paths() {
		if _, ok := vars[path]; ok {
			continue
		}
		if v, ok := declared[path]; !runtime || ok && !v.Optional {
			return "", path, nil
		}
		later = true
	}
	if later {
		return text, "", nil
	}
	filled, err = t.Render(func(path string) (any, bool) { v, ok := vars[path]; return v, ok }, template.URL)
	return filled, "", err
}

// GrantOf returns how a definition's connection obtains its first token: what
// it says, else what its provider lists first, else what its provider's fields
// allow.
func GrantOf(d *freshet.Definition) freshet.GrantType {
	p := &d.Provider
	switch {
	case d.Connection.Grant != "":
		return d.Connection.Grant
	case len(p.Grants) > 0:
		return p.Grants[0]
	case p.AuthorizationURL != "":
		return freshet.GrantAuthorizationCode
	case strings.Contains(p.Request.Body, "{{") || p.Request.Only:
		return freshet.GrantRequest
	case p.Issuer != "" && d.Client.Secret.IsZero() && d.Client.Key.IsZero():
		return freshet.GrantAuthorizationCode
	}
	return freshet.GrantClientCredentials
}

// endpoints lists by field the URLs of a provider that secrets are sent to, or
// that name such URLs.
func endpoints(p *freshet.Provider) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		list := []struct{ field, url string }{
			{"issuer", p.Issuer}, {"token_url", p.TokenURL}, {"refresh_url", p.RefreshURL}, {"revocation_url", p.RevocationURL},
			{"device_authorization_url", p.DeviceAuthorizationURL}, {"request.url", p.Request.URL},
		}
		if p.RefreshRequest != nil {
			list = append(list, struct{ field, url string }{"refresh_request.url", p.RefreshRequest.URL})
		}
		if p.Revocation != nil {
			list = append(list, struct{ field, url string }{"revocation_request.url", p.Revocation.URL})
		}
		if p.SecondStep != nil {
			list = append(list, struct{ field, url string }{"second_step.request.url", p.SecondStep.Request.URL})
		}
		for _, e := range list {
			if e.url != "" && !yield(e.field, e.url) {
				return
			}
		}
	}
}

// overlay puts over on base as RFC 7396 merges JSON: objects member by member,
// anything else whole.
func overlay(base, over []byte) ([]byte, error) {
	if len(base) == 0 {
		return over, nil
	}
	if len(over) == 0 {
		return base, nil
	}
	var b, o any
	if err := json.Unmarshal(base, &b); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(over, &o); err != nil {
		return nil, err
	}
	return encodeJSON(mergeTrees(b, o))
}

func mergeTrees(base, over any) any {
	b, ok := base.(map[string]any)
	o, also := over.(map[string]any)
	if !ok || !also {
		return over
	}
	for _, k := range slices.Sorted(maps.Keys(o)) {
		b[k] = mergeTrees(b[k], o[k])
	}
	return b
}
