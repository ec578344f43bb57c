package upstream

import (
	"errors"
	"testing"

	"github.com/freshet-dev/freshet"
)

// RFC 8693 §2.2.1: a token of type N_A is no access token.
func TestTokenOfTypeNAIsNotSent(t *testing.T) {
	p := &plan{def: &freshet.Definition{Connection: freshet.Connection{Name: "crm"}}}
	if err := p.checkBinding(&freshet.Token{Access: freshet.NewSecret("x"), Type: "bearer", Scheme: "Bearer"}); err != nil {
		t.Fatal(err)
	}
	refused := p.checkBinding(&freshet.Token{Access: freshet.NewSecret("x"), Type: "N_A"})
	var r *RefusedError
	if refused == nil || !errors.As(refused, &r) || r.Refusal != Misconfigured {
		t.Errorf("checkBinding = %v", refused)
	}
}
