package resource

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
)

// Names of the kinds that refer to each other.
const (
	kindProvider   = "providers"
	kindClient     = "clients"
	kindConnection = "connections"
)

func providers() Kind {
	words := map[reflect.Type]map[string][]string{
		reflect.TypeFor[freshet.ClientAuth](): {"": texts(freshet.ClientAuths)},
		reflect.TypeFor[freshet.GrantType]():  {"": texts(freshet.GrantTypes)},
		reflect.TypeFor[freshet.Provider]():   {"pkce": {"S256", "off"}},
		reflect.TypeFor[freshet.Rotation]():   {"kind": freshet.RotationKinds, "reuse": freshet.ReuseKinds},
		reflect.TypeFor[freshet.Expiry]():     {"unit": freshet.ExpiryUnits, "form": freshet.ExpiryForms, "zero": {"never"}},
	}
	return Define(Spec[freshet.Provider]{
		Name: kindProvider, One: "provider",
		Doc:   "How a kind of API issues tokens and wants to be shown them. One with the name of a provider of the catalogue changes only the fields it gives.",
		Words: words,
		Forms: map[reflect.Type]Form{reflect.TypeFor[freshet.Injections](): {One: true}},
		Check: checkProvider,
	})
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkProvider looks at the provider as it will be. Faults of a catalogue's
// fields cannot be: its tests find them.
func checkProvider(c *Check, name string, given *freshet.Provider) {
	p := c.provider(name)
	if p == nil {
		return // the database failed
	}
	for v := range given.Variables {
		if !variableName.MatchString(v) {
			c.Fault(join("variables", v), "the name of a variable has letters, digits and underscores")
		}
	}
	variable := func(path string) bool { _, ok := p.Variables[path]; return ok }
	for _, u := range []struct{ field, url string }{
		{"issuer", given.Issuer}, {"authorization_url", given.AuthorizationURL}, {"token_url", given.TokenURL}, {"refresh_url", given.RefreshURL},
		{"revocation_url", given.RevocationURL}, {"device_authorization_url", given.DeviceAuthorizationURL},
	} {
		c.URLTemplate(u.field, u.url, variable)
	}
	if p.TokenURL == "" && p.Issuer == "" && p.Request.URL == "" && p.Unsupported == "" {
		c.Fault("token_url", "is needed: where %s issues tokens (or issuer, whose metadata says it)", name)
	}
	checkRequest(c, "request", &given.Request)
	checkRequest(c, "refresh_request", given.RefreshRequest)
	checkRequest(c, "revocation_request", given.Revocation)
	checkResponse(c, "response", &given.Response)
	checkResponse(c, "refresh_response", given.RefreshAnswer)
	if s := given.SecondStep; s != nil {
		checkRequest(c, "second_step.request", &s.Request)
		checkResponse(c, "second_step.response", &s.Response)
		if s.Request.URL == "" {
			c.Fault("second_step.request.url", "is needed: where the second request goes")
		}
	}
	c.Values("authorize_params", given.AuthorizeParams)
	c.Values("refresh_params", given.RefreshParams)
	if a := given.Assertion; a != nil {
		for _, f := range []struct{ field, text string }{
			{"assertion.audience", a.Audience}, {"assertion.issuer", a.Issuer}, {"assertion.subject", a.Subject},
		} {
			c.Template(f.field, f.text)
		}
		c.Values("assertion.claims", a.Claims)
		c.Values("assertion.header", a.Header)
	}
	c.Predicate("rejected.body", given.Rejected.Body)
	c.NotNegative("quota.concurrency", given.Quota.Concurrency)
	c.NotNegative("quota.requests", given.Quota.Requests)
	c.NotNegative("quota.live_tokens", given.Quota.LiveTokens)
	checkAPI(c, given.API)
	remaining(c, given)
}

// remaining reports what the root package finds and nothing above has.
func remaining(c *Check, p *freshet.Provider) {
	err := p.Check()
	if err == nil {
		return
	}
	field, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || strings.Contains(field, " ") {
		field, text = "", err.Error()
	}
	if !c.faulted(field) {
		c.Fault(field, "%s", text)
	}
}

func checkRequest(c *Check, field string, r *freshet.TokenRequest) {
	if r == nil {
		return
	}
	c.URLTemplate(field+".url", r.URL, nil)
	c.Values(field+".params", r.Params)
	c.Headers(field+".headers", r.Headers)
	c.Body(field+".body", r.Body)
}

// Body checks how a request carries its parameters: a word, or a template.
func (c *Check) Body(field, body string) {
	words := []string{"form", "json", "query"}
	switch {
	case body == "" || slices.Contains(words, body):
	case !strings.ContainsAny(body, "{}<>=&\"\n"):
		c.Fault(field, "%q is not known: use %s, or write a template%s", body, oneOf(words), didYouMean(body, words))
	default:
		c.Template(field, body)
	}
}

func checkResponse(c *Check, field string, r *freshet.Response) {
	if r == nil {
		return
	}
	c.Predicate(field+".success", r.Success)
	for _, e := range []struct {
		field string
		e     *freshet.Expiry
	}{{field + ".expires", &r.Expires}, {field + ".refresh_expires", &r.RefreshExp}} {
		if e.e.Fixed > 0 && e.e.Path != "" {
			c.Warn(e.field+".path", "is not read: fixed overrides what the answer says")
		}
	}
}

// checkAPI looks at where tokens go and how.
func checkAPI(c *Check, a *freshet.API) {
	if a == nil {
		return
	}
	c.URLTemplate("api.base_url", a.BaseURL, nil)
	for i, h := range a.Hosts {
		at := index("api.hosts", i)
		if strings.Contains(h, "://") || strings.Contains(h, "*") {
			c.Fault(at, "is a host, or host:port, in full and without https://")
			continue
		}
		if t := c.Template(at, h); t != nil && len(t.Paths()) == 0 {
			if u := c.URL(at, "https://"+h); u != nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || strings.ContainsAny(h, "/?")) {
				c.Fault(at, "is a host, or host:port: the path belongs to base_url")
			}
		}
	}
	for i, in := range a.Inject {
		checkInjection(c, index("api.inject", i), in)
	}
	c.Headers("api.headers", a.Headers)
	if v := a.Verify; v != nil {
		if !strings.HasPrefix(v.Path, "/") {
			c.Fault("api.verify.path", "begins with /: it is appended to base_url")
		}
		if v.Method != "" && !slices.Contains(methods, v.Method) {
			c.Fault("api.verify.method", "%q is not known: use %s%s", v.Method, oneOf(methods), didYouMean(v.Method, methods))
		}
	}
	for i, p := range a.Paths {
		if !strings.HasPrefix(p, "/") {
			c.Fault(index("api.paths", i), "begins with /: it is a prefix below base_url")
		}
	}
	for i, m := range a.Methods {
		switch {
		case m == "CONNECT" || m == "TRACE":
			c.Fault(index("api.methods", i), "%s is never passed on", m)
		case !isToken(m) || strings.ToUpper(m) != m:
			c.Fault(index("api.methods", i), "%q is not a method: write it as GET", m)
		}
	}
	if a.Rejected != nil {
		c.Predicate("api.rejected.body", a.Rejected.Body)
	}
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func checkInjection(c *Check, field string, in freshet.Injection) {
	given := map[string]string{"header": in.Header, "query": in.Query, "cookie": in.Cookie, "basic": in.Basic}
	maps.DeleteFunc(given, func(_, v string) bool { return v == "" })
	if len(given) != 1 {
		had := "none"
		if len(given) > 0 {
			had = strings.Join(slices.Sorted(maps.Keys(given)), " and ")
		}
		c.Fault(field, "needs exactly one of header, query, cookie and basic; it has %s", had)
		return
	}
	switch {
	case in.Header != "" && !isToken(in.Header):
		c.Fault(field+".header", "%q is not the name of a header", in.Header)
	case in.Header != "" && slices.Contains(connectionHeaders, strings.ToLower(in.Header)):
		c.Fault(field+".header", "%s belongs to the connection itself", in.Header)
	case in.Cookie != "" && !isToken(in.Cookie):
		c.Fault(field+".cookie", "%q is not the name of a cookie", in.Cookie)
	case in.Query != "" && strings.ContainsAny(in.Query, "=&# "):
		c.Fault(field+".query", "%q is not the name of a parameter", in.Query)
	}
	c.Template(field+".template", in.Template)
}

// lifetimeOf is how long a provider's access tokens live, as far as anybody
// says before one is issued.
func lifetimeOf(d *freshet.Definition) (freshet.Duration, string) {
	switch p := &d.Provider; {
	case d.Connection.Refresh.Lifetime > 0:
		return d.Connection.Refresh.Lifetime, "refresh.lifetime"
	case p.Response.Expires.Fixed > 0:
		return p.Response.Expires.Fixed, fmt.Sprintf("response.expires.fixed of provider %s", p.Name)
	case p.DefaultLifetime > 0:
		return p.DefaultLifetime, fmt.Sprintf("default_lifetime of provider %s", p.Name)
	}
	return 0, ""
}
