package upstream

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/template"
)

// A plan is what a definition means for its calls. It is compiled once per
// revision and read by many goroutines.
type plan struct {
	def   *freshet.Definition
	api   freshet.API
	rt    http.RoundTripper
	wrong *RefusedError // why no call can be made at all

	base    origin             // when baseOf is nil
	baseOf  *template.Template // a base URL that the token's answer decides
	hosts   []origin
	renews  bool // the policy refreshes on a refusal
	dpop    bool // tokens are bound to a key of ours
	prover  prover
	refused rejection

	inject []injection
	fixed  []field         // api.headers
	taken  map[string]bool // names of headers that a caller may not set, canonical

	last atomic.Pointer[rendering] // of the token that was used last
}

// A field is a header ready for a request.
type field struct {
	name   string
	values []string
}

func (p *plan) refuse(r Refusal, detail string) *RefusedError {
	return &RefusedError{Refusal: r, Connection: p.def.Connection.Name, Detail: detail}
}

// compile makes a plan. What is wrong with the definition is in plan.wrong, so
// that each call says so and none is made.
func (t *Transport) compile(def *freshet.Definition) *plan {
	p := &plan{def: def, api: def.API(), rt: t.plain, taken: map[string]bool{}}
	if p.api.BaseURL == "" && len(p.api.Hosts) == 0 {
		p.wrong = p.refuse(NoAPI, "it has no api section, so it only hands out tokens: add api.base_url")
		return p
	}
	if err := p.read(t); err != nil {
		p.wrong = p.refuse(Misconfigured, err.Error())
	}
	return p
}

func (p *plan) read(t *Transport) error {
	policy := p.def.Connection.Refresh
	p.renews = policy.Has(freshet.On401) || policy.Has(freshet.EveryUse)
	p.dpop = p.def.Client.DPoP
	if !p.def.DPoPKey.IsZero() {
		var err error
		if p.prover, err = newProver(p.def.DPoPKey); err != nil {
			return err
		}
	}
	if err := p.readPlaces(); err != nil {
		return err
	}
	if err := p.readInjections(); err != nil {
		return err
	}
	for name, v := range p.api.Headers {
		value, err := p.constant("api.headers."+name, v)
		if err != nil {
			return err
		}
		if err := printable(value); err != nil {
			return fmt.Errorf("api.headers.%s: %w", name, err)
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		p.fixed = append(p.fixed, field{name, []string{value}})
		p.taken[name] = true
	}
	for i, path := range p.api.Paths {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("api.paths[%d]: %q begins with a slash", i, path)
		}
		if why := ambiguous(path); why != "" {
			return fmt.Errorf("api.paths[%d]: %q can be read in more than one way: %s", i, path, why)
		}
	}
	var err error
	if p.refused, err = compileRejection(p.api.Rejected); err != nil {
		return err
	}
	if c := p.def.Client.Certificate; !c.IsZero() {
		pem := []byte(c.Reveal())
		cert, err := tls.X509KeyPair(pem, pem)
		if err != nil {
			return fmt.Errorf("the client's certificate does not open: it holds the chain and the key in PEM")
		}
		p.rt = t.o.Dialer.Mutual(dial.Upstream, cert)
	}
	return nil
}

func (p *plan) readPlaces() error {
	if p.api.BaseURL != "" {
		tmpl, err := template.Compile("api.base_url", p.api.BaseURL)
		if err != nil {
			return err
		}
		if p.ofToken(tmpl) {
			p.baseOf = tmpl
		} else {
			raw, err := tmpl.Render(p.given, template.URL)
			if err != nil {
				return err
			}
			if p.base, err = readOrigin(raw); err != nil {
				return fmt.Errorf("api.base_url: %w", err)
			}
		}
	}
	scheme := p.base.scheme
	if scheme == "" {
		scheme = "https"
	}
	for i, h := range p.api.Hosts {
		name := fmt.Sprintf("api.hosts[%d]", i)
		raw, err := p.constant(name, h)
		if err != nil {
			return err
		}
		o, err := readHost(raw, scheme)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.hosts = append(p.hosts, o)
	}
	return nil
}

// constant fills in text that no token has a part in.
func (p *plan) constant(name, text string) (string, error) {
	return template.Fill(name, text, p.given, nil)
}

// given looks up what the definition itself holds.
func (p *plan) given(path string) (any, bool) {
	if path == "client_id" {
		id := p.def.Client.ID
		if id == "" {
			id = p.def.Connection.ID
		}
		return id, id != ""
	}
	if s, ok := p.def.Connection.Credentials[strings.TrimPrefix(path, "credentials.")]; ok {
		return s.Reveal(), true
	}
	if v, ok := p.def.Variable(strings.TrimPrefix(path, "variables.")); ok {
		return v, true
	}
	return nil, false
}

// ofToken reports whether t names something that only a token knows.
func (p *plan) ofToken(t *template.Template) bool {
	return slices.ContainsFunc(t.Paths(), func(path string) bool {
		root, _, _ := strings.Cut(path, ".")
		return root == "access_token" || root == "id_token" || root == "answer" || root == "session"
	})
}

// values looks up what a template may name once there is a token. Members of
// the provider's answer are decoded when one is named.
func (p *plan) values(tok *freshet.Token, more template.Lookup) template.Lookup {
	var answer any
	return func(path string) (any, bool) {
		root, rest, _ := strings.Cut(path, ".")
		switch root {
		case "access_token":
			return tok.Access.Reveal(), true
		case "id_token":
			return tok.ID.Reveal(), !tok.ID.IsZero()
		case "scheme":
			return p.scheme(tok), true
		case "token_type":
			return tok.Type, true
		case "scope":
			return tok.Scope, true
		case "uuid":
			return newUUID(), true
		case "session":
			s, ok := tok.Session[rest]
			return s.Reveal(), ok
		case "answer":
			if answer == nil {
				d := json.NewDecoder(strings.NewReader(tok.Answer.Reveal()))
				d.UseNumber()
				if d.Decode(&answer) != nil {
					return nil, false
				}
			}
			if rest == "" {
				return answer, true // the whole of it, as package grant has it
			}
			return template.Walk(answer, rest)
		}
		if v, ok := p.given(path); ok {
			return v, true
		}
		if more != nil {
			return more(path)
		}
		return nil, false
	}
}

// scheme returns what stands before tok in Authorization.
func (p *plan) scheme(tok *freshet.Token) string {
	switch {
	case p.boundToken(tok):
		return "DPoP"
	case tok.Scheme == "":
		return "Bearer"
	}
	return tok.Scheme
}

// baseFor returns the base URL that the provider's answer decided. It must lie
// within api.hosts if there are any.
func (p *plan) baseFor(tok *freshet.Token, more template.Lookup) (origin, *RefusedError) {
	raw, err := p.baseOf.Render(p.values(tok, more), template.URL)
	if err != nil {
		return origin{}, p.refuse(Misconfigured, err.Error())
	}
	o, err := readOrigin(raw)
	if err != nil {
		return origin{}, p.refuse(Misconfigured, fmt.Sprintf("api.base_url, as the provider's answer has it: %v", err))
	}
	if len(p.hosts) > 0 && !slices.ContainsFunc(p.hosts, func(h origin) bool { return h.covers(o.scheme, o.host, o.path) }) {
		return origin{}, p.refuse(HostRefused, "the base URL that the provider's answer names is not among api.hosts")
	}
	return o, nil
}

// method refuses what api.methods does not list, and what no proxy should carry.
func (p *plan) method(c *Call) *RefusedError {
	m, allowed := c.Method, p.api.Methods
	if c.own {
		allowed = nil
	}
	if m == "CONNECT" || m == "TRACE" || len(allowed) > 0 && !slices.Contains(allowed, m) {
		r := p.refuse(MethodRefused, fmt.Sprintf("method %s is not allowed", m))
		r.Methods = allowed
		return r
	}
	return nil
}
