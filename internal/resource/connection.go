package resource

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
)

func connections() Kind {
	return Define(Spec[freshet.Connection]{
		Name: kindConnection, One: "connection",
		Doc: "One grant: one account at one provider, its policy and the places its token may go.",
		Words: map[reflect.Type]map[string][]string{
			reflect.TypeFor[freshet.Trigger](): {"": {string(freshet.BeforeExpiry), string(freshet.On401), string(freshet.EveryUse), string(freshet.OnSchedule)}},
		},
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[[]freshet.Trigger]():  {One: true},
			reflect.TypeFor[freshet.Injections](): {One: true},
		},
		Refs: func(cn *freshet.Connection) []Ref {
			refs := routineRefs(cn.Refresh.By)
			if cn.Client != "" {
				return append(refs, Ref{Key{kindClient, cn.Client}, "client"})
			}
			if cn.Provider != "" {
				return append(refs, Ref{Key{kindProvider, cn.Provider}, "provider"})
			}
			return refs
		},
		Check: checkConnection,
	})
}

func checkConnection(c *Check, name string, cn *freshet.Connection) {
	switch {
	case cn.Client == "" && cn.Provider == "":
		c.Fault("", "needs client (the name of one), or provider with id and secret in place")
		return
	case cn.Client != "" && cn.Provider != "":
		c.Fault("provider", "is given beside client, which has its own: leave one of them out")
		return
	case cn.Client != "" && cn.ID != "":
		c.Fault("id", "is given beside client, which has its own: leave one of them out")
	case cn.Client != "" && !cn.Secret.IsZero():
		c.Fault("secret", "is given beside client, which has its own: leave one of them out")
	}
	checkPolicy(c, &cn.Refresh)
	for i, s := range cn.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.Fault(index("scopes", i), "is not a scope")
		}
	}
	checkAPI(c, cn.API)
	if cn.API != nil {
		// Only the root package's own checks of the API part apply.
		remaining(c, &freshet.Provider{API: cn.API})
	}
	client := inPlace(cn)
	if cn.Client != "" {
		if client = c.client(cn.Client); client == nil {
			return // said by the reference
		}
	}
	p := c.provider(client.Provider)
	if p == nil {
		return
	}
	if cn.Client == "" {
		c.variables(client.Provider, cn.Variables)
	} else {
		c.variables(p.Name, cn.Variables)
	}
	def, problems := compose(parts{name: name, conn: cn, client: client, provider: p})
	for _, pr := range problems {
		if !c.faulted(pr.field) {
			c.Fault(pr.field, "%s", pr.text)
		}
	}
	if len(problems) > 0 {
		return
	}
	checkDefinition(c, def)
}

// checkDefinition looks at what only the three resources together show.
func checkDefinition(c *Check, def *freshet.Definition) {
	cn, p, g := &def.Connection, &def.Provider, GrantOf(def)
	if p.Unsupported != "" && cn.Refresh.By == "" {
		c.Fault("", "provider %s cannot be used by its description alone: %s", p.Name, p.Unsupported)
		return
	}
	// What variables make is looked at here; what stands in the provider itself
	// was looked at there.
	for field, u := range endpoints(p) {
		if len(cn.Variables) > 0 && !strings.Contains(u, "{{") && !c.faulted("variables") {
			if text := c.bad(u); text != "" {
				c.Fault("variables", "make a wrong %s of provider %s: %s", field, p.Name, text)
			}
		}
	}
	for _, u := range []struct{ field, url string }{{"token_url", cn.TokenURL}, {"refresh_url", cn.RefreshURL}} {
		if u.url != "" && !c.faulted(u.field) {
			c.URL(u.field, u.url)
		}
	}
	if cn.API != nil && cn.API.BaseURL != "" && !strings.Contains(cn.API.BaseURL, "{{") && !c.faulted("api.base_url") {
		c.URL("api.base_url", cn.API.BaseURL)
	}
	if len(p.Grants) > 0 && cn.Grant != "" && !slices.Contains(p.Grants, g) && g != freshet.GrantRefreshToken {
		c.Warn("grant", "provider %s is not known to offer %s; it offers %s", p.Name, g, oneOf(texts(p.Grants)))
	}
	checkGrant(c, def, g)
	lifetime, source := lifetimeOf(def)
	if _, capped := cn.Refresh.MarginFor(lifetime.D()); capped {
		c.Warn("refresh.margin", "%s is more than half of the lifetime (%s, %s): half of it is used", cn.Refresh.Margin, lifetime, source)
	}
	if every := cn.Refresh.Every; lifetime > 0 && every >= lifetime && cn.Refresh.Has(freshet.OnSchedule) {
		c.Warn("refresh.every", "%s is not shorter than the lifetime (%s, %s): tokens expire before they are refreshed by it", every, lifetime, source)
	}
}

// checkGrant reports what the grant needs and does not have.
func checkGrant(c *Check, def *freshet.Definition, g freshet.GrantType) {
	cn, cl, p := &def.Connection, &def.Client, &def.Provider
	credential := func(name, what string) {
		if cn.Credentials[name].IsZero() {
			text := fmt.Sprintf("is needed by grant %s: %s", g, what)
			if near := nearest(name, slices.Collect(maps.Keys(cn.Credentials))); near != "" {
				text += fmt.Sprintf("; is %s meant to be it?", join("credentials", near))
			}
			c.Fault(join("credentials", name), "%s", text)
		}
	}
	clientField := func(field, text string) {
		if cn.Client != "" {
			c.Fault("client", "%s: %s %s", Key{kindClient, cn.Client}, field, text)
			return
		}
		c.Fault(field, "%s", text)
	}
	if field, text := authenticates(def, g); field != "" {
		clientField(field, text)
	}
	switch g {
	case freshet.GrantAuthorizationCode:
		if p.AuthorizationURL == "" && p.Issuer == "" {
			c.Fault("grant", "authorization_code needs authorization_url (or issuer) of provider %s: where a person consents", p.Name)
		}
	case freshet.GrantDeviceCode:
		if p.DeviceAuthorizationURL == "" && p.Issuer == "" {
			c.Fault("grant", "device_code needs device_authorization_url (or issuer) of provider %s", p.Name)
		}
	case freshet.GrantPassword:
		if !shaped(p) {
			credential("username", "whose account it is")
			credential("password", "that account's password")
		}
	case freshet.GrantJWTBearer:
		if _, own := p.Request.Params["assertion"]; cl.Key.IsZero() && !own && !shaped(p) {
			if cn.Client != "" {
				clientField("key", "is needed by grant jwt_bearer: the private key that signs")
			} else {
				c.Fault("client", "is needed by grant jwt_bearer: a client with the private key that signs")
			}
		}
	case freshet.GrantTokenExchange:
		if !shaped(p) {
			credential("subject_token", "the token to exchange")
		}
	case freshet.GrantRequest:
		if p.Request.Body == "" && len(p.Request.Params) == 0 && len(p.Request.Headers) == 0 {
			c.Fault("grant", "request needs the request of provider %s: what to send", p.Name)
		}
	}
	missing := missingValues{c: c, def: def, reported: map[string]bool{}}
	if g != freshet.GrantRefreshToken {
		missing.request("request", &p.Request)
	}
	missing.request("refresh_request", p.RefreshRequest)
	if p.SecondStep != nil {
		missing.request("second_step.request", &p.SecondStep.Request)
	}
	missing.api(cn.API)
}

// shaped reports whether the provider spells the request itself, so that the
// standard parameters are not what matters.
func shaped(p *freshet.Provider) bool {
	return p.Request.Only || p.Request.Body != "" && !slices.Contains([]string{"form", "json", "query"}, p.Request.Body)
}

// missingValues reports names in templates that nothing gives a value. Without
// it they would show when the first token is asked for, or used.
type missingValues struct {
	c        *Check
	def      *freshet.Definition
	reported map[string]bool
}

func (m *missingValues) request(field string, r *freshet.TokenRequest) {
	if r == nil {
		return
	}
	where := fmt.Sprintf("%s of provider %s", field, m.def.Provider.Name)
	m.look(where, r.URL, requestValues)
	m.look(where, r.Body, requestValues)
	for _, values := range []map[string]string{r.Params, r.Headers} {
		for _, k := range slices.Sorted(maps.Keys(values)) {
			m.look(where, values[k], requestValues)
		}
	}
}

func (m *missingValues) api(a *freshet.API) {
	if a == nil {
		return
	}
	m.look("api.base_url", a.BaseURL, injectionValues)
	for i, in := range a.Inject {
		m.look(index("api.inject", i), in.Template, append([]string{"process"}, injectionValues...)) // process.INSTANCE.FIELD
	}
	for _, k := range slices.Sorted(maps.Keys(a.Headers)) {
		m.look(join("api.headers", k), a.Headers[k], injectionValues)
	}
}

func (m *missingValues) look(where, text string, known []string) {
	if !strings.Contains(text, "{{") {
		return
	}
	t := m.c.compiled(text)
	if t == nil {
		return // said where it stands
	}
	for _, path := range t.Paths() {
		name := strings.TrimPrefix(strings.TrimPrefix(path, "credentials."), "variables.")
		root, _, _ := strings.Cut(name, ".")
		root, _, _ = strings.Cut(root, "[")
		_, credential := m.def.Connection.Credentials[name]
		_, variable := m.def.Variable(name)
		if credential || variable || m.reported[name] || slices.Contains(known, root) {
			continue
		}
		m.reported[name] = true
		text := fmt.Sprintf("is needed: %s names {{%s}}", where, path)
		if near := nearest(name, slices.Collect(maps.Keys(m.def.Connection.Credentials))); near != "" {
			text += fmt.Sprintf("; is %s meant to be it?", join("credentials", near))
		}
		m.c.Fault(join("credentials", name), "%s", text)
	}
}

// What templates see without anybody giving it, by its first name: see
// freshet.TokenRequest and freshet.Injection.
var (
	requestValues = []string{
		"client_id", "client_secret", "scope", "code", "code_verifier", "redirect_uri", "device_code", "refresh_token",
		"access_token", "answer", "assertion", "uuid", "now", "in",
	}
	injectionValues = []string{"access_token", "scheme", "session", "answer", "client_id", "uuid"}
)

// routineRefs is what an own refresh routine is made of; none if by does not
// read.
func routineRefs(by string) []Ref {
	kind, name, _ := strings.Cut(by, ":")
	switch app, function, _ := strings.Cut(name, "."); {
	case kind == "workflow" && name != "":
		return []Ref{{Key{kindWorkflow, name}, "refresh.by"}}
	case kind == "script" && app != "" && strings.Count(function, ".") == 1:
		return []Ref{{Key{"apps", app}, "refresh.by"}}
	}
	return nil
}

func checkPolicy(c *Check, p *freshet.Policy) {
	if err := p.Check(); err != nil {
		field, text, _ := strings.Cut(err.Error(), ": ")
		c.Fault("refresh."+field, "%s", text)
	}
	if p.By != "" && len(routineRefs(p.By)) == 0 {
		c.Fault("refresh.by", "is workflow:NAME or script:APP.OBJECT.FUNCTION, not %q", p.By)
	}
	if p.Has(freshet.EveryUse) && p.Has(freshet.BeforeExpiry) && len(p.When) > 0 {
		c.Warn("refresh.when", "every_use refreshes for each call: before_expiry adds nothing to it")
	}
}
