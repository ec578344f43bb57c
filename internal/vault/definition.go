package vault

import (
	"encoding/json"
	"fmt"

	"github.com/freshet-dev/freshet"
)

// plainDefinition is as much of a definition as a request to its provider
// needs after the definition itself is gone.
type plainDefinition struct {
	Name        string           `json:"name"`
	ClientName  string           `json:"client_name,omitempty"`
	Provider    string           `json:"provider_name"`
	Spec        freshet.Provider `json:"provider"`
	Client      freshet.Client   `json:"client"`
	Secret      string           `json:"secret,omitempty"`
	Key         string           `json:"key,omitempty"`
	Certificate string           `json:"certificate,omitempty"`
}

// SealDefinition seals what revoking a deleted connection's token will need.
func (v *Vault) SealDefinition(def *freshet.Definition) ([]byte, error) {
	p := plainDefinition{Name: def.Connection.Name, ClientName: def.Connection.Client, Provider: def.Provider.Name, Spec: def.Provider, Client: def.Client,
		Secret: def.Client.Secret.Reveal(), Key: def.Client.Key.Reveal(), Certificate: def.Client.Certificate.Reveal()}
	p.Client.Secret, p.Client.Key, p.Client.Certificate, p.Client.Previous = freshet.Secret{}, freshet.Secret{}, freshet.Secret{}, nil
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seal definition: %w", err)
	}
	return v.SealRecord("outbox", string(def.ID), b)
}

// OpenDefinition opens what SealDefinition sealed for the connection.
func (v *Vault) OpenDefinition(id freshet.ConnectionID, sealed []byte) (*freshet.Definition, error) {
	b, err := v.OpenRecord("outbox", string(id), sealed)
	if err != nil {
		return nil, err
	}
	var p plainDefinition
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("open definition: the record does not read: %w", ErrSealed)
	}
	def := &freshet.Definition{ID: id, Provider: p.Spec, Client: p.Client, Connection: freshet.Connection{Name: p.Name, Client: p.ClientName}}
	def.Provider.Name = p.Provider
	def.Client.Secret, def.Client.Key, def.Client.Certificate = freshet.NewSecret(p.Secret), freshet.NewSecret(p.Key), freshet.NewSecret(p.Certificate)
	return def, nil
}
