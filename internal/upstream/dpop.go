package upstream

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// A prover signs DPoP proofs; *grant.Prover is one.
type prover interface {
	Proof(method, target string, access freshet.Secret, nonce string, now time.Time) (string, error)
}

// boundToken reports whether tok works only with a proof of possession, RFC
// 9449: it is never sent as a bearer token, which the API might even take.
func (p *plan) boundToken(tok *freshet.Token) bool {
	return p.dpop || strings.EqualFold(tok.Scheme, "DPoP")
}

// checkBinding refuses tokens that are no access tokens, bound ones where we
// hold no key, and plain ones where bound ones were asked for.
func (p *plan) checkBinding(tok *freshet.Token) *RefusedError {
	switch {
	case !tok.Injectable():
		return p.refuse(Misconfigured, "the provider issued a token of type N_A, which serves further exchanges only and is not sent to an API")
	case !p.boundToken(tok):
		return nil
	case !strings.EqualFold(tok.Scheme, "DPoP"):
		return p.refuse(Misconfigured, "the client says dpop, but the provider issued a bearer token: it is not sent")
	case p.prover == nil:
		return p.refuse(Misconfigured, "the token is bound to a key that the connection does not hold: set dpop on the client and connect again")
	}
	return nil
}

// nonces remembers what servers want to see in the next proof, RFC 9449 §9: one
// per client and origin.
type nonces struct {
	mu sync.Mutex
	m  map[string]string
}

const maxNonces = 4096

func (n *nonces) get(key string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m[key]
}

// keep stores the nonce of an answer and reports whether it is a new one.
func (n *nonces) keep(key string, h http.Header) bool {
	v := h.Get("Dpop-Nonce")
	if v == "" || len(v) > 1024 || printable(v) != nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m[key] == v {
		return false
	}
	if n.m == nil || len(n.m) >= maxNonces {
		n.m = map[string]string{}
	}
	n.m[key] = v
	return true
}

// wantsNonce reports whether an answer refuses the proof for its nonce, not the
// token.
func wantsNonce(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && slices.Contains(tokenErrors(resp.Header["Www-Authenticate"]), "use_dpop_nonce")
}

func newProver(key freshet.Secret) (prover, error) {
	p, err := grant.NewProver(key)
	if err != nil {
		return nil, err
	}
	return p, nil
}
