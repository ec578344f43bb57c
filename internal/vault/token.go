package vault

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
)

// plainToken is a token as it lies inside its seal. Its names are the file
// format: add to them, never change one.
type plainToken struct {
	Access        string            `json:"access_token"`
	Refresh       string            `json:"refresh_token,omitempty"`
	ID            string            `json:"id_token,omitempty"`
	Answer        string            `json:"answer,omitempty"`
	Type          string            `json:"token_type,omitempty"`
	Scheme        string            `json:"scheme,omitempty"`
	Scope         string            `json:"scope,omitempty"`
	Subject       string            `json:"subject,omitempty"`
	IssuedAt      int64             `json:"issued_at,omitempty"` // instants in Unix milliseconds
	Expiry        int64             `json:"expiry,omitempty"`
	RefreshExpiry int64             `json:"refresh_expiry,omitempty"`
	RefreshHint   int64             `json:"refresh_hint_ms,omitempty"`
	RefreshIssued int64             `json:"refresh_issued_at,omitempty"`
	Session       map[string]string `json:"session,omitempty"`
}

func tokenBinding(id freshet.ConnectionID, gen int64) Binding {
	return Binding{Table: "tokens", Row: string(id), Column: "token", Generation: gen}
}

// SealToken seals a token as generation gen of a connection.
func (v *Vault) SealToken(id freshet.ConnectionID, gen int64, t *freshet.Token) ([]byte, error) {
	b, err := json.Marshal(plain(t))
	if err != nil {
		return nil, fmt.Errorf("seal token: %w", err)
	}
	return v.Seal(tokenBinding(id, gen), b)
}

// OpenToken opens what SealToken sealed for the same connection and
// generation. Its instants count on the wall clock only.
func (v *Vault) OpenToken(id freshet.ConnectionID, gen int64, sealed []byte) (*freshet.Token, error) {
	b, err := v.Open(tokenBinding(id, gen), sealed)
	if err != nil {
		return nil, err
	}
	var p plainToken
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("open token: the record does not read: %w", ErrSealed)
	}
	t := p.token()
	t.Generation = gen
	return t, nil
}

func plain(t *freshet.Token) plainToken {
	p := plainToken{Access: t.Access.Reveal(), Refresh: t.Refresh.Reveal(), ID: t.ID.Reveal(), Answer: t.Answer.Reveal(),
		Type: t.Type, Scheme: t.Scheme, Scope: t.Scope, Subject: t.Subject,
		IssuedAt: milli(t.IssuedAt), Expiry: milli(t.Expiry), RefreshExpiry: milli(t.RefreshExpiry),
		RefreshHint: t.RefreshHint.Milliseconds(), RefreshIssued: milli(t.RefreshIssued)}
	if len(t.Session) > 0 {
		p.Session = map[string]string{}
		for k, s := range t.Session {
			p.Session[k] = s.Reveal()
		}
	}
	return p
}

func (p plainToken) token() *freshet.Token {
	t := &freshet.Token{Access: freshet.NewSecret(p.Access), Refresh: freshet.NewSecret(p.Refresh), ID: freshet.NewSecret(p.ID), Answer: freshet.NewSecret(p.Answer),
		Type: p.Type, Scheme: p.Scheme, Scope: p.Scope, Subject: p.Subject,
		IssuedAt: instant(p.IssuedAt), Expiry: instant(p.Expiry), RefreshExpiry: instant(p.RefreshExpiry),
		RefreshHint: time.Duration(p.RefreshHint) * time.Millisecond, RefreshIssued: instant(p.RefreshIssued)}
	if len(p.Session) > 0 {
		t.Session = map[string]freshet.Secret{}
		for k, s := range p.Session {
			t.Session[k] = freshet.NewSecret(s)
		}
	}
	return t
}

// SealRecord seals a record that lives outside the tables, such as one of the
// spill file.
func (v *Vault) SealRecord(kind, id string, plain []byte) ([]byte, error) {
	return v.Seal(Binding{Table: kind, Row: id, Column: "record"}, plain)
}

// OpenRecord opens what SealRecord sealed under the same kind and id.
func (v *Vault) OpenRecord(kind, id string, sealed []byte) ([]byte, error) {
	return v.Open(Binding{Table: kind, Row: id, Column: "record"}, sealed)
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
