package upstream

import (
	"net/http"

	"github.com/freshet-dev/freshet"
)

// A Use says how a program that holds a token itself must use it: where it may
// go, and what goes into the request.
type Use struct {
	Hosts    []string // scheme://host[:port][/prefix]; none: the connection only hands out tokens
	Inject   []Injected
	Rejected freshet.Rejection
	Once     bool // a value differs from call to call: do not keep it
}

// An Injected is one place of a request with its credential.
type Injected struct {
	In    string // header | query | cookie
	Name  string
	Value string // a secret
}

// Use returns how tok is used. The error is a *RefusedError for a definition
// that cannot be carried out.
func (t *Transport) Use(def *freshet.Definition, tok *freshet.Token) (Use, error) {
	p := t.plan(def)
	u := Use{Rejected: freshet.Rejection{Status: []int{http.StatusUnauthorized}}}
	if r := p.api.Rejected; r != nil {
		if len(r.Status) > 0 {
			u.Rejected.Status = r.Status
		}
		u.Rejected.Body = r.Body
	}
	if p.wrong != nil {
		if p.wrong.Refusal == NoAPI {
			return u, nil
		}
		return u, p.wrong
	}
	base := p.base
	if p.baseOf != nil {
		var refused *RefusedError
		if base, refused = p.baseFor(tok, t.o.Values); refused != nil {
			return u, refused
		}
	}
	if base.host != "" {
		u.Hosts = append(u.Hosts, base.scheme+"://"+base.host)
	}
	for _, h := range p.hosts {
		host := h.host
		if h.suffix {
			host = "*" + host
		}
		u.Hosts = append(u.Hosts, h.scheme+"://"+host+h.path)
	}
	lookup := p.values(tok, t.o.Values)
	for _, in := range p.inject {
		v, err := p.renderOne(in, tok, lookup)
		if err != nil {
			return u, p.refuse(Misconfigured, "api.inject: "+err.Error())
		}
		u.Once = u.Once || in.once
		switch {
		case in.header != "":
			u.Inject = append(u.Inject, Injected{"header", in.header, v})
		case in.query != "":
			u.Inject = append(u.Inject, Injected{"query", in.query, v})
		case in.cookie != "":
			u.Inject = append(u.Inject, Injected{"cookie", in.cookie, v})
		}
	}
	return u, nil
}
