package freshet

import "time"

// A ConnectionID names a connection's row. It is random and never reused, so
// that a ciphertext of a deleted connection opens for no later one of the same
// name.
type ConnectionID string

// A Client is our registration at a provider. What is wrong with it is wrong
// for all its connections at once.
type Client struct {
	Name     string   `json:"-"`
	Provider string   `json:"provider"`
	ID       string   `json:"id,omitempty"`
	Secret   Secret   `json:"secret,omitzero"`
	Previous []Secret `json:"previous_secrets,omitempty"` // tried in order after invalid_client, and then only
	Key      Secret   `json:"key,omitzero"`               // PEM or JWK private key: private_key_jwt, jwt_bearer
	KeyID    string   `json:"key_id,omitempty"`

	Certificate    Secret            `json:"certificate,omitzero"`  // PEM certificate chain and key: mTLS, RFC 8705
	DPoP           bool              `json:"dpop,omitempty"`        // bind tokens to a key of ours, RFC 9449
	Auth           ClientAuth        `json:"client_auth,omitempty"` // instead of the provider's: none for a public client
	RedirectURL    string            `json:"redirect_url,omitempty"`
	Variables      map[string]string `json:"variables,omitempty"`
	RequestHeaders map[string]string `json:"headers,omitempty"` // more headers on its token requests
}

// A Connection is one grant: one account at one provider, with its policy and
// the places its token may go.
type Connection struct {
	Name        string            `json:"-"`
	Client      string            `json:"client,omitempty"`   // a client's name, or:
	Provider    string            `json:"provider,omitempty"` // a provider's name with ID and Secret in place
	ID          string            `json:"id,omitempty"`
	Secret      Secret            `json:"secret,omitzero"`
	Auth        ClientAuth        `json:"client_auth,omitempty"` // with ID and Secret in place, as Client.Auth
	Grant       GrantType         `json:"grant,omitempty"`       // empty: the provider's first
	Scopes      []string          `json:"scopes,omitempty"`
	Credentials map[string]Secret `json:"credentials,omitempty"` // what the grant needs: username, password, subject_token, …
	Variables   map[string]string `json:"variables,omitempty"`
	Refresh     Policy            `json:"refresh,omitzero"`
	API         *API              `json:"api,omitempty"` // optional: without it the connection only hands out tokens
	Description string            `json:"description,omitempty"`
	TokenURL    string            `json:"token_url,omitempty"`   // instead of the provider's, for this connection
	RefreshURL  string            `json:"refresh_url,omitempty"` // likewise
}

// A Definition is everything that is needed to obtain and use one connection's
// tokens: the three resources with variables filled in, secrets opened. It is
// read-only and shared between goroutines; Revision changes when any part does.
type Definition struct {
	ID         ConnectionID
	Revision   int64
	Connection Connection
	Client     Client
	Provider   Provider
	DPoPKey    Secret // the connection's own key, for a client that says dpop
}

// ClientKey names the registration whose trouble is shared: the client, or the
// connection itself when it carries its client in place.
func (d *Definition) ClientKey() string {
	if d.Connection.Client != "" {
		return "client/" + d.Connection.Client
	}
	return "connection/" + d.Connection.Name
}

// Auth returns how the client proves itself at the token endpoint: what the
// connection says, else the client, else the provider, which may differ for a
// refresh.
func (d *Definition) Auth(refresh bool) ClientAuth {
	auth := []ClientAuth{d.Connection.Auth, d.Client.Auth, d.Provider.RefreshClientAuth, d.Provider.ClientAuth, AuthBasic}
	if !refresh {
		auth[2] = ""
	}
	for _, a := range auth {
		if a != "" {
			return a
		}
	}
	return AuthBasic
}

// A State is where a connection stands; the package comment draws them.
type State string

// The five states.
const (
	StateOK            State = "ok"
	StateUncertain     State = "uncertain"
	StateAttention     State = "attention"
	StateMisconfigured State = "misconfigured"
	StateReauth        State = "reauth"
)

// A Reason says why a connection is in its state.
type Reason string

// Reasons a person can act upon. Provider error codes appear as they are.
const (
	ReasonNeverAuthorized  Reason = "never_authorized"
	ReasonInvalidGrant     Reason = "invalid_grant"
	ReasonLostInFlight     Reason = "lost_in_flight"
	ReasonRevoked          Reason = "revoked"
	ReasonNoRefreshToken   Reason = "no_refresh_token"
	ReasonRefreshExpired   Reason = "refresh_token_expired"
	ReasonSubjectChanged   Reason = "subject_changed"
	ReasonProviderIncident Reason = "provider_incident"
	ReasonUnreadable       Reason = "unreadable_row"
	ReasonRestored         Reason = "restored_store"
	ReasonNewerVersion     Reason = "newer_version"
)

// A Status is what is known of a connection without opening its token.
type Status struct {
	ID             ConnectionID
	Name           string
	State          State
	Reason         Reason
	Generation     int64
	ExpiresAt      time.Time // zero: unknown or no token
	RefreshExpires time.Time // zero: unknown
	NextRefreshAt  time.Time // zero: none planned
	UpdatedAt      time.Time
}
