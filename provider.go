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
	// Unsupported says why tokens of this provider cannot be had by data alone,
	// and what would be needed. A connection to such a provider is refused with
	// this text, unless its policy names a routine of its own (Policy.By).
	Unsupported string `json:"unsupported,omitempty"`

	Issuer                 string `json:"issuer,omitempty"` // RFC 8414 / OpenID discovery fills the URLs that are empty
	AuthorizationURL       string `json:"authorization_url,omitempty"`
	TokenURL               string `json:"token_url,omitempty"`
	RefreshURL             string `json:"refresh_url,omitempty"` // when it differs from TokenURL
	RevocationURL          string `json:"revocation_url,omitempty"`
	DeviceAuthorizationURL string `json:"device_authorization_url,omitempty"`

	Grants            []GrantType `json:"grants,omitempty"`              // what it offers; empty: not stated. The first is the default
	ClientAuth        ClientAuth  `json:"client_auth,omitempty"`         // empty: basic, RFC 6749 §2.3.1
	RefreshClientAuth ClientAuth  `json:"refresh_client_auth,omitempty"` // when a refresh authenticates differently
	PKCE              string      `json:"pkce,omitempty"`                // "S256" (default) or "off" for providers that refuse the parameter
	ScopeSeparator    *string     `json:"scope_separator,omitempty"`     // nil: one space
	AuthorizeParams   Values      `json:"authorize_params,omitempty"`    // replace standard ones of the same name; templates, which also see state and nonce
	RefreshParams     Values      `json:"refresh_params,omitempty"`      // added to a refresh only, over Request.Params
	SendScope         bool        `json:"send_scope_on_refresh,omitempty"`
	// ParameterNames maps a standard parameter's name to the provider's own, in
	// token requests and at the authorization endpoint. An empty name leaves the
	// parameter out: {grant_type: ""} for logins that know no grants.
	ParameterNames Values `json:"parameter_names,omitempty"`
	// CallbackNames does the same for what the redirect back carries, such as
	// {code: spapi_oauth_code}. Without an entry the standard name holds.
	CallbackNames map[string]string `json:"callback_names,omitempty"`

	Request        TokenRequest  `json:"request,omitzero"`             // how a token is asked for
	RefreshRequest *TokenRequest `json:"refresh_request,omitempty"`    // how a refresh is asked for, when it differs
	Response       Response      `json:"response,omitzero"`            // where the answer keeps things
	RefreshAnswer  *Response     `json:"refresh_response,omitempty"`   // when a refresh answers in another shape
	SecondStep     *SecondStep   `json:"second_step,omitempty"`        // a session login that spends the access token
	Assertion      *Assertion    `json:"assertion,omitempty"`          // the JWT of jwt_bearer, of private_key_jwt and of {{assertion}}
	Revocation     *TokenRequest `json:"revocation_request,omitempty"` // how a token is revoked where RFC 7009 does not hold; templates see {{token}}

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

// A TokenRequest shapes the request at a token endpoint. URL, values of Params
// and Headers, and a template Body may hold {{paths}} with the filters json,
// form, base64 and header. They see, by name:
//
//   - the parameters of the grant: client_id, client_secret, scope, code,
//     code_verifier, redirect_uri, device_code, refresh_token;
//   - each credential of the connection (username, api_key, …) and each variable;
//   - access_token, the one that is stored, and answer.…, the answer it came
//     with: a refresh that spends an access token names them;
//   - assertion: a JWT signed with the client's key as Assertion says;
//   - uuid, a random UUID; now.s, now.ms, now.rfc3339 and now.date; and the same
//     of a later instant: in.5d.date is the date in five days, UTC.
//
// Paths and quoted text beside each other are joined before the filters:
// {{username ":" password | base64}}. A parameter or header that renders to
// nothing is not sent.
type TokenRequest struct {
	URL     string `json:"url,omitempty"`    // empty: token_url, refresh_url or revocation_url, as the request is for
	Method  string `json:"method,omitempty"` // empty: POST
	Body    string `json:"body,omitempty"`   // form (default) | json | query | a template
	Params  Values `json:"params,omitempty"` // beside the grant's; one of the same name replaces a standard parameter
	Headers Values `json:"headers,omitempty"`
	Only    bool   `json:"only,omitempty"` // send Params alone, none of the grant's standard parameters
}

// Values are named strings that files may also write as numbers or booleans.
type Values map[string]string

// UnmarshalJSON takes an object whose members are strings, numbers or booleans.
func (v *Values) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if raw == nil {
		*v = nil
		return nil
	}
	out := make(Values, len(raw))
	for name, r := range raw {
		switch r[0] {
		case '"':
			var s string
			if err := json.Unmarshal(r, &s); err != nil {
				return err
			}
			out[name] = s
		case '{', '[', 'n':
			return fmt.Errorf("%s: a value is text, a number or a boolean, not %s", name, kindOf(r))
		default:
			out[name] = string(r)
		}
	}
	*v = out
	return nil
}

// A Response says where a token endpoint's answer keeps things. A path names
// members from the root of a JSON or form answer, dots between them:
// data.token, tokens[0].value. Other places have a prefix:
//
//	header:X-Auth-Token    a response header; "Bearer " before the token is cut
//	cookie:JSESSIONID      the value of a cookie that the answer sets
//	body:                  the whole body as text, without surrounding space
//	match:<t>([^<]+)</t>   the first group of a regular expression over the body
//
// Empty paths are those of RFC 6749 §5.1 and §5.2.
type Response struct {
	Success      string `json:"success,omitempty"` // predicate over the answer's members, where errors come with 200
	AccessToken  string `json:"access_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Error        string `json:"error,omitempty"`             // path of the error code
	ErrorText    string `json:"error_description,omitempty"` // path of its text
	// ErrorCodes maps the provider's error codes to those of RFC 6749 and its
	// kin, which say what to do: {"40110": invalid_grant, "601": slow_down}.
	ErrorCodes map[string]string `json:"error_codes,omitempty"`
	Expires    Expiry            `json:"expires,omitzero"`
	RefreshExp Expiry            `json:"refresh_expires,omitzero"`
}

// An Expiry says where an answer tells how long a token lives, and in what
// form. The zero Expiry reads expires_in in seconds, RFC 6749 §5.1.
//
// Forms of an instant: at_s and at_ms (Unix time), rfc3339, datetime (as
// "2026-01-31 09:30:00", with T or a space, read in Zone), date (its first
// instant, in Zone) and http_date. Forms of a lifetime beside a plain number:
// hms ("177:05:38") and iso_duration ("PT1H"). jwt_exp reads the exp claim of
// the access token itself and needs no Path.
type Expiry struct {
	Path  string   `json:"path,omitempty"`
	From  string   `json:"from,omitempty"` // path of the instant that a lifetime counts from, such as created_at; empty: when the request was sent
	Unit  string   `json:"unit,omitempty"` // of a lifetime: s (default) | m | h | d | ms
	Form  string   `json:"form,omitempty"`
	Zone  string   `json:"zone,omitempty"`  // of datetime and date: an IANA name or +08:00; empty: UTC
	Fixed Duration `json:"fixed,omitempty"` // the answer does not say, people know; overrides what it says
	Zero  string   `json:"zero,omitempty"`  // "never": a zero lifetime means that it does not expire
}

// A SecondStep spends the access token of the first answer: a login that buys
// the session an API wants, or an exchange for a longer-lived token. Its
// request sees the first answer as {{answer.…}} and its token as
// {{access_token}}. What its Response finds takes the place of the first
// answer's access token and expiry; the first refresh token stays unless the
// second answer has its own. Other members are {{session.…}} to injection.
type SecondStep struct {
	Request   TokenRequest `json:"request"`
	Response  Response     `json:"response,omitzero"`
	FirstOnly bool         `json:"first_only,omitempty"` // not after a refresh, which renews the final token itself
}

// An Assertion holds what a provider wants in the JWT we sign, RFC 7523. Its
// texts are templates over client_id, the variables and the credentials; a
// claim that renders to nothing is left out.
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

// A Variable is a blank in a provider's URLs and templates, such as a tenant.
// One without a default must be given by the client or the connection.
type Variable struct {
	Doc      string `json:"doc,omitempty"`
	Default  string `json:"default,omitempty"`
	Optional bool   `json:"optional,omitempty"` // may stay empty
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
// Templates see access_token, scheme, session.…, answer.…, client_id, uuid, the
// variables and the connection's credentials.
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
