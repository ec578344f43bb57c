package vault

import (
	"encoding/json"
	"fmt"

	"github.com/freshet-dev/freshet"
)

// plainRevocation is what revoking a token needs after the connection, and
// perhaps its client, are gone.
type plainRevocation struct {
	Connection string           `json:"connection"`
	Name       string           `json:"name"`
	ClientName string           `json:"client_name,omitempty"`
	Provider   string           `json:"provider_name"`
	Spec       freshet.Provider `json:"provider"`
	Client     freshet.Client   `json:"client"`

	Auth      freshet.ClientAuth `json:"client_auth,omitempty"` // the connection's own
	Grant     freshet.GrantType  `json:"grant,omitempty"`
	Variables map[string]string  `json:"variables,omitempty"`

	Secret      string            `json:"secret,omitempty"`
	Key         string            `json:"key,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Credentials map[string]string `json:"credentials,omitempty"` // where a template may name them
	Token       plainToken        `json:"token"`
}

func letterBinding(letter string) Binding {
	return Binding{Table: "outbox", Row: letter, Column: "letter"}
}

// SealRevocation seals what a letter to a provider needs to revoke a token.
func (v *Vault) SealRevocation(letter string, def *freshet.Definition, t *freshet.Token) ([]byte, error) {
	p := plainRevocation{Connection: string(def.ID), Name: def.Connection.Name, ClientName: def.Connection.Client, Provider: def.Provider.Name,
		Spec: def.Provider, Client: def.Client, Auth: def.Connection.Auth, Grant: def.Connection.Grant, Variables: def.Connection.Variables,
		Secret: def.Client.Secret.Reveal(), Key: def.Client.Key.Reveal(),
		Certificate: def.Client.Certificate.Reveal(), Token: plain(t)}
	p.Client.Secret, p.Client.Key, p.Client.Certificate, p.Client.Previous = freshet.Secret{}, freshet.Secret{}, freshet.Secret{}, nil
	if def.Provider.Revocation != nil {
		p.Credentials = map[string]string{}
		for name, s := range def.Connection.Credentials {
			p.Credentials[name] = s.Reveal()
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seal revocation: %w", err)
	}
	return v.Seal(letterBinding(letter), b)
}

// OpenRevocation opens what SealRevocation sealed for the letter.
func (v *Vault) OpenRevocation(letter string, sealed []byte) (*freshet.Definition, *freshet.Token, error) {
	b, err := v.Open(letterBinding(letter), sealed)
	if err != nil {
		return nil, nil, err
	}
	var p plainRevocation
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, nil, fmt.Errorf("open revocation: the record does not read: %w", ErrSealed)
	}
	def := &freshet.Definition{ID: freshet.ConnectionID(p.Connection), Provider: p.Spec, Client: p.Client,
		Connection: freshet.Connection{Name: p.Name, Client: p.ClientName, Auth: p.Auth, Grant: p.Grant, Variables: p.Variables}}
	def.Provider.Name = p.Provider
	def.Client.Secret, def.Client.Key, def.Client.Certificate = freshet.NewSecret(p.Secret), freshet.NewSecret(p.Key), freshet.NewSecret(p.Certificate)
	if len(p.Credentials) > 0 {
		def.Connection.Credentials = map[string]freshet.Secret{}
		for name, s := range p.Credentials {
			def.Connection.Credentials[name] = freshet.NewSecret(s)
		}
	}
	return def, p.Token.token(), nil
}
