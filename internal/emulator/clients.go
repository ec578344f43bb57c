package emulator

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// A Client is a registration at the emulator, and how the provider treats it.
// One that nobody registered is registered when it first appears, with the
// default profile, or with the model that its id begins with: strict-7 is
// treated strictly. It shows whatever secret it likes the first time, and has
// to stay with that.
type Client struct {
	ID            string          `json:"id"`
	Secret        string          `json:"secret,omitempty"`
	SecretExpired bool            `json:"secret_expired,omitempty"` // every secret is wrong
	Auth          string          `json:"auth,omitempty"`           // basic | body | none | private_key_jwt, several with spaces; empty: any
	JWKS          json.RawMessage `json:"jwks,omitempty"`           // public keys for private_key_jwt and jwt_bearer: a JWK, or a set
	PublicKey     string          `json:"public_key,omitempty"`     // the same as PEM
	RedirectURIs  []string        `json:"redirect_uris,omitempty"`  // empty: any; a loopback one fits on any port
	GrantTypes    []string        `json:"grant_types,omitempty"`    // empty: all
	Profile
}

// A User may sign in. Without any User everybody may, with any password but
// "wrong".
type User struct {
	Password string `json:"password"`
	Subject  string `json:"subject,omitempty"` // the name, if empty
}

// client is a Client and what happened to it. The emulator's lock guards it.
type client struct {
	Client
	keys []jose.JSONWebKey
	own  map[string]*grant

	requests, granted, grants, familiesRevoked int64
	byGrant, byError                           map[string]int64
	inFlight, inFlightMax                      int
}

// loginClient and jwtClient stand for the logins that know no clients.
const (
	loginClient = "login"
	jwtClient   = "jwt-login"
)

// builtin are the clients that are always there.
func builtin() []Client {
	return []Client{
		{ID: loginClient, Profile: Profile{
			Expires: "minutes", NoRefresh: true,
			Names: map[string]string{"access_token": "authToken", "expires_in": "expiresInMinutes", "token_type": "", "scope": ""},
		}},
		{ID: jwtClient, Profile: Profile{
			Model: Omitted, Format: "jwt", Expires: "missing",
			Names: map[string]string{"token_type": "", "scope": ""},
		}},
	}
}

// newClient completes c with the emulator's defaults.
func (e *Emulator) newClient(c Client) (*client, error) {
	if c.ID == "" {
		return nil, errors.New("id: a client needs one")
	}
	if err := c.Profile.check(); err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(c.Auth) {
		if !slices.Contains([]string{"basic", "body", "none", "private_key_jwt"}, word) {
			return nil, fmt.Errorf("auth: %q is not known: use basic, body, none or private_key_jwt", word)
		}
	}
	keys, err := c.publicKeys()
	if err != nil {
		return nil, err
	}
	c.Profile.fill(e.opts.Default)
	return &client{Client: c, keys: keys, own: map[string]*grant{}, byGrant: map[string]int64{}, byError: map[string]int64{}}, nil
}

// publicKeys reads JWKS and PublicKey.
func (c *Client) publicKeys() ([]jose.JSONWebKey, error) {
	var keys []jose.JSONWebKey
	if len(c.JWKS) > 0 {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(c.JWKS, &set); err == nil && len(set.Keys) > 0 {
			keys = set.Keys
		} else {
			var one jose.JSONWebKey
			if err := json.Unmarshal(c.JWKS, &one); err != nil {
				return nil, fmt.Errorf("jwks: %w", err)
			}
			keys = append(keys, one)
		}
		for i := range keys {
			if !keys[i].IsPublic() {
				return nil, errors.New("jwks: give the public part of the key only")
			}
		}
	}
	if c.PublicKey != "" {
		block, _ := pem.Decode([]byte(c.PublicKey))
		if block == nil {
			return nil, errors.New("public_key: this is not PEM")
		}
		var key any
		var err error
		if block.Type == "CERTIFICATE" {
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = cert.PublicKey
			}
		} else {
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("public_key: %w", err)
		}
		keys = append(keys, jose.JSONWebKey{Key: key})
	}
	return keys, nil
}

// Register adds a client, or puts one in the place of another.
func (e *Emulator) Register(c Client) error {
	made, err := e.newClient(c)
	if err != nil {
		return fmt.Errorf("client %s: %w", c.ID, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.registerLocked(made)
}

func (e *Emulator) registerLocked(made *client) error {
	if old := e.clients[made.ID]; old != nil {
		// Grants point at their client: it changes in place, and goes on
		// counting.
		old.Client, old.keys = made.Client, made.keys
		return nil
	}
	if len(e.clients) >= maxClients {
		return fmt.Errorf("client %s: there are %d clients already; POST /_reset", made.ID, len(e.clients))
	}
	e.clients[made.ID] = made
	return nil
}

const maxClients = 100_000

// Change applies a JSON object of Client's fields to a client, made if it is
// not there: what the object does not name stays.
func (e *Emulator) Change(object []byte) error {
	var id struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(object, &id); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := Client{ID: id.ID}
	if old := e.clients[id.ID]; old != nil {
		c = old.Client
		c.Names = nil // a map that is decoded into would change the old one's
	}
	if err := strictJSON(object, &c); err != nil {
		return err
	}
	if old := e.clients[id.ID]; old != nil && c.Names == nil {
		c.Names = old.Names
	}
	made, err := e.newClient(c)
	if err != nil {
		return fmt.Errorf("client %s: %w", c.ID, err)
	}
	return e.registerLocked(made)
}

// strictJSON decodes b into v and refuses names that v does not have.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// clientLocked returns the client, which it registers if that is allowed, or nil.
func (e *Emulator) clientLocked(id string) *client {
	if c := e.clients[id]; c != nil {
		return c
	}
	if id == "" || e.opts.Registered || len(id) > 256 {
		return nil
	}
	c, err := e.newClient(Client{ID: id, Profile: Profile{Model: modelOf(id)}})
	if err != nil || e.registerLocked(c) != nil {
		return nil
	}
	return c
}

// modelOf returns the longest model that an id begins with.
func modelOf(id string) Model {
	var best Model
	for m := range models {
		rest, ok := strings.CutPrefix(id, string(m))
		if ok && (rest == "" || rest[0] == '-') && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// credentials are what a token request shows of its client.
type credentials struct {
	id        string
	secret    string
	way       string // basic, body, none or private_key_jwt
	assertion string
	twice     bool // in more than one place
	malformed bool
}

// readCredentials finds the client of a request without believing it.
func (x *exchange) readCredentials() credentials {
	var c credentials
	user, password, basic := x.r.BasicAuth()
	if basic {
		var err1, err2 error
		// RFC 6749 §2.3.1: both are form-encoded before they are joined.
		c.id, err1 = url.QueryUnescape(user)
		c.secret, err2 = url.QueryUnescape(password)
		c.malformed = err1 != nil || err2 != nil
		c.way = "basic"
	}
	assertion := x.params.Get("client_assertion")
	switch {
	case assertion != "":
		c.twice = basic
		c.way, c.assertion = "private_key_jwt", assertion
		c.id = unverified(assertion, "sub")
	case x.params.Has("client_secret"):
		if basic {
			c.twice = true
			return c
		}
		c.id, c.secret, c.way = x.params.Get("client_id"), x.params.Get("client_secret"), "body"
	case !basic:
		c.id, c.way = x.params.Get("client_id"), "none"
		if c.id == "" && x.params.Get("grant_type") == grantJWTBearer {
			c.id = unverified(x.params.Get("assertion"), "iss")
		}
	}
	return c
}

// authenticateLocked checks who asks. The answer is nil if it is who it says.
func (x *exchange) authenticateLocked() (*client, *answer) {
	e, cr := x.e, x.cred
	bad := func(text string) (*client, *answer) {
		a := refuse(401, "invalid_client", text)
		if cr.way == "basic" {
			a.setHeader("WWW-Authenticate", `Basic realm="emulator"`)
		}
		return nil, a
	}
	if cr.malformed {
		return bad("the id and secret in Basic are form-encoded, RFC 6749 §2.3.1")
	}
	c := e.clientLocked(cr.id)
	if c == nil {
		return bad("this client is not registered")
	}
	if cr.twice && c.Picky {
		return nil, refuse(400, "invalid_request", "the client authenticates in two ways at once")
	}
	if c.Auth != "" && !slices.Contains(strings.Fields(c.Auth), cr.way) {
		return bad("the client must authenticate by " + strings.ReplaceAll(c.Auth, " ", " or ") + ", not by " + cr.way)
	}
	if c.SecretExpired {
		return bad("the client secret has expired")
	}
	switch cr.way {
	case "private_key_jwt":
		if why := x.clientAssertionLocked(c, cr.assertion); why != "" {
			return bad(why)
		}
	case "none":
		if c.Secret != "" {
			return bad("the client must show its secret")
		}
	default:
		if c.Secret == "" && cr.secret != "" && c.Auth != "none" {
			c.Secret = cr.secret
		}
		if subtle.ConstantTimeCompare([]byte(c.Secret), []byte(cr.secret)) != 1 {
			return bad("the client secret is wrong")
		}
	}
	return c, nil
}

// userLocked checks who signs in and returns the subject.
func (e *Emulator) userLocked(name, password string) (subject string, ok bool) {
	if len(e.opts.Users) == 0 {
		return name, name != "" && password != "wrong"
	}
	u, there := e.opts.Users[name]
	if !there || subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) != 1 {
		return "", false
	}
	if u.Subject != "" {
		return u.Subject, true
	}
	return name, true
}
