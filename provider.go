package freshet

import (
	"encoding/json"
	"fmt"
)

// A Provider says how a kind of API issues tokens and wants to be shown them.
// It is data: the catalogue and resource files hold providers, code knows none
// by name. Every URL and template may hold {{variables}} that a client or a
// connection fills in. The zero values are RFC 6749.
type Provider struct {
	Name  string   `json:"-"`
	Title string   `json:"title,omitempty"` // as people call it
	Docs  string   `json:"docs,omitempty"`  // where its own documentation is
	Notes []string `json:"notes,omitempty"` // what a person should know before connecting

	Issuer                 string `json:"issuer,omitempty"` // RFC 8414 / OpenID discovery fills the URLs that are empty
	AuthorizationURL       string `json:"authorization_url,omitempty"`
	TokenURL               string `json:"token_url,omitempty"`
	RefreshURL             string `json:"refresh_url,omitempty"` // when it differs from TokenURL
	RevocationURL          string `json:"revocation_url,omitempty"`
	DeviceAuthorizationURL string `json:"device_authorization_url,omitempty"`

	Grants            []GrantType       `json:"grants,omitempty"`              // what it offers; empty: not stated. The first is the default
	ClientAuth        ClientAuth        `json:"client_auth,omitempty"`         // empty: basic, RFC 6749 §2.3.1
	RefreshClientAuth ClientAuth        `json:"refresh_client_auth,omitempty"` // when a refresh authenticates differently
	PKCE              string            `json:"pkce,omitempty"`                // "S256" (default) or "off" for providers that refuse the parameter
	ScopeSeparator    *string           `json:"scope_separator,omitempty"`     // nil: one space
	AuthorizeParams   map[string]string `json:"authorize_params,omitempty"`
	RefreshParams     map[string]string `json:"refresh_params,omitempty"` // added to a refresh only
	SendScope         bool              `json:"send_scope_on_refresh,omitempty"`
	ParameterNames    map[string]string `json:"parameter_names,omitempty"` // RFC 6749 name to the provider's own

	Request        TokenRequest  `json:"request,omitzero"`           // how a token is asked for
	RefreshRequest *TokenRequest `json:"refresh_request,omitempty"`  // how a refresh is asked for, when it differs
	Response       Response      `json:"response,omitzero"`          // where the answer keeps things
	RefreshAnswer  *Response     `json:"refresh_response,omitempty"` // when a refresh answers in another shape
	SecondStep     *SecondStep   `json:"second_step,omitempty"`      // a session login that spends the access token
	Assertion      *Assertion    `json:"assertion,omitempty"`        // claims of jwt_bearer and private_key_jwt

	Rejected        Rejection           `json:"rejected,omitzero"`
	Rotation        Rotation            `json:"rotation,omitzero"`
	Variables       map[string]Variable `json:"variables,omitempty"`
	EarlyRefresh    Duration            `json:"early_refresh,omitempty"`    // refresh is refused earlier than this before expiry (Exact Online: 30s); 0: any time
	RefreshLifetime Duration            `json:"refresh_lifetime,omitempty"` // absolute life of a refresh token from its issue
	IdleLifetime    Duration            `json:"idle_lifetime,omitempty"`    // a refresh token unused for this long dies
	DefaultLifetime Duration            `json:"default_lifetime,omitempty"` // when the answer does not say; 0: unknown
	Quota           Quota               `json:"quota,omitzero"`
	API             *API                `json:"api,omitempty"` // defaults for its connections
}

// A TokenRequest shapes the request at a token endpoint. Values of Params,
// Headers and a template Body may hold {{paths}} into the credentials and the
// grant's own parameters, with the filters json, form, base64 and header.
type TokenRequest struct {
	URL     string            `json:"url,omitempty"`    // empty: token_url
	Method  string            `json:"method,omitempty"` // empty: POST
	Body    string            `json:"body,omitempty"`   // form (default) | json | query | a template
	Params  map[string]string `json:"params,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Only    bool              `json:"only,omitempty"` // send Params alone, none of the grant's standard parameters
}

// A Response says where a token endpoint's answer keeps things, as dot paths
// from its root.
type Response struct {
	Success      string `json:"success,omitempty"` // predicate over the answer, where errors come with 200
	AccessToken  string `json:"access_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Error        string `json:"error,omitempty"`             // path of the error code
	ErrorText    string `json:"error_description,omitempty"` // path of its text
	Expires      Expiry `json:"expires,omitzero"`
	RefreshExp   Expiry `json:"refresh_expires,omitzero"`
}

// An Expiry says where an answer tells how long a token lives, and in what
// form. The zero Expiry reads expires_in in seconds, RFC 6749 §5.1.
type Expiry struct {
	Path  string   `json:"path,omitempty"`
	Unit  string   `json:"unit,omitempty"`  // of a lifetime: s (default) | m | ms
	Form  string   `json:"form,omitempty"`  // of an instant or an odd lifetime: at_s | at_ms | rfc3339 | date | hms | jwt_exp
	Fixed Duration `json:"fixed,omitempty"` // the answer does not say, people know; overrides what it says
	Zero  string   `json:"zero,omitempty"`  // "never": a zero lifetime means that it does not expire
}

// A SecondStep is a login that trades the access token for the session that
// the API wants. Its paths and templates see the first answer as {{answer.…}}.
type SecondStep struct {
	Request  TokenRequest `json:"request"`
	Response Response     `json:"response,omitzero"`
}

// An Assertion holds what a provider wants in the JWT we sign, RFC 7523.
type Assertion struct {
	Algorithm string            `json:"algorithm,omitempty"` // empty: from the key (RS256, ES256)
	Audience  string            `json:"audience,omitempty"`  // empty: the token URL
	Issuer    string            `json:"issuer,omitempty"`    // empty: the client id
	Subject   string            `json:"subject,omitempty"`   // empty: the client id, or credentials.subject
	Lifetime  Duration          `json:"lifetime,omitempty"`  // empty: 60s for client authentication, 5m for a grant
	Claims    map[string]string `json:"claims,omitempty"`    // more claims, templates
	Header    map[string]string `json:"header,omitempty"`    // more header members, such as x5t#S256
	Scope     bool              `json:"scope,omitempty"`     // scopes travel as a claim, not a parameter
}

// A Rejection tells when an API's answer means "this token is not accepted".
// The zero Rejection is status 401 without error="insufficient_scope".
type Rejection struct {
	Status []int  `json:"status,omitempty"`
	Body   string `json:"body,omitempty"` // predicate over the answer's JSON; both must hold
}

// A Rotation tells what becomes of a refresh token when it is used.
type Rotation struct {
	Kind  string   `json:"kind,omitempty"`  // never | omitted | sometimes | always; empty: not known
	Grace Duration `json:"grace,omitempty"` // how long the previous refresh token still works
	Reuse string   `json:"reuse,omitempty"` // accepted | replayed | refused | revokes
}

// A Variable is a blank in a provider's URLs, such as a tenant.
type Variable struct {
	Doc     string `json:"doc,omitempty"`
	Default string `json:"default,omitempty"`
}

// A Quota bounds what we ask of a provider's token endpoint.
type Quota struct {
	Concurrency int      `json:"concurrency,omitempty"` // background refreshes at once; 0: 4
	Requests    int      `json:"requests,omitempty"`    // token requests per Window and connection; 0: no limit
	Window      Duration `json:"window,omitempty"`
	LiveTokens  int      `json:"live_tokens,omitempty"` // access tokens alive at once (Zoho: 15)
}

// An API says where a connection's token may be sent, and how.
type API struct {
	BaseURL   string            `json:"base_url,omitempty"`
	Hosts     []string          `json:"hosts,omitempty"` // host[:port], besides BaseURL's own
	Inject    Injections        `json:"inject,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"` // fixed headers the API demands, such as a version
	Verify    *Verify           `json:"verify,omitempty"`
	Paths     []string          `json:"paths,omitempty"`     // allowed path prefixes below BaseURL; empty: all
	Methods   []string          `json:"methods,omitempty"`   // allowed methods; empty: all but CONNECT and TRACE
	WebSocket bool              `json:"websocket,omitempty"` // pass Upgrade: websocket
	Cookies   bool              `json:"cookies,omitempty"`   // pass Set-Cookie back and Cookie on
	ScanEcho  bool              `json:"scan_echo,omitempty"` // redact the injected credential from answers that echo it
	Rejected  *Rejection        `json:"rejected,omitempty"`  // instead of the provider's
}

// An Injection puts a credential into a request. Exactly one of Header, Query,
// Cookie and Basic is set. The zero list injects "Authorization: Bearer …".
type Injection struct {
	Header   string `json:"header,omitempty"`
	Query    string `json:"query,omitempty"`
	Cookie   string `json:"cookie,omitempty"`
	Basic    string `json:"basic,omitempty"`    // user part of Basic; Template is the password
	Template string `json:"template,omitempty"` // default: "{{scheme}} {{access_token}}" in Authorization, "{{access_token}}" elsewhere
}

// Injections is one Injection or a list of them, as files may write it.
type Injections []Injection

// UnmarshalJSON takes an object or a list of objects.
func (in *Injections) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]Injection)(in))
	}
	var one Injection
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*in = Injections{one}
	return nil
}

// A Verify is the request that shows whether a credential works.
type Verify struct {
	Method string `json:"method,omitempty"` // empty: GET
	Path   string `json:"path"`
	Status []int  `json:"status,omitempty"` // empty: any 2xx
}

// A ClientAuth is how we prove who we are at a token endpoint.
type ClientAuth string

// The ways of RFC 6749 §2.3.1 and OpenID Connect Core §9.
const (
	AuthBasic         ClientAuth = "basic"
	AuthBody          ClientAuth = "body"
	AuthPrivateKeyJWT ClientAuth = "private_key_jwt"
	AuthNone          ClientAuth = "none"
)

// A GrantType is how a connection obtains its first token.
type GrantType string

// The grants of RFC 6749, 7523, 8628, 8693, and Request: any HTTP login.
const (
	GrantAuthorizationCode GrantType = "authorization_code"
	GrantClientCredentials GrantType = "client_credentials"
	GrantPassword          GrantType = "password"
	GrantRefreshToken      GrantType = "refresh_token"
	GrantDeviceCode        GrantType = "device_code"
	GrantJWTBearer         GrantType = "jwt_bearer"
	GrantTokenExchange     GrantType = "token_exchange"
	GrantRequest           GrantType = "request"
)

// GrantTypes lists every grant that a connection may name.
var GrantTypes = []GrantType{GrantAuthorizationCode, GrantClientCredentials, GrantPassword, GrantRefreshToken, GrantDeviceCode, GrantJWTBearer, GrantTokenExchange, GrantRequest}

// Interactive reports whether a person must take part in obtaining the first
// token, so that a lost refresh token cannot be replaced without them.
func (g GrantType) Interactive() bool {
	return g == GrantAuthorizationCode || g == GrantDeviceCode || g == GrantRefreshToken
}

// Known reports whether g is one of GrantTypes, as an error that lists them.
func (g GrantType) Known() error {
	for _, k := range GrantTypes {
		if g == k {
			return nil
		}
	}
	return fmt.Errorf("grant %q is not known: use one of %v", string(g), GrantTypes)
}
