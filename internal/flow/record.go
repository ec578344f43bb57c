package flow

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// A record is what a flow keeps sealed. Its names are the file format.
type record struct {
	ID           freshet.ConnectionID `json:"id"`
	Places       string               `json:"places"` // hash of where the flow's secrets go
	Actor        string               `json:"actor,omitempty"`
	OtherAccount bool                 `json:"other_account,omitempty"`

	// authorization_code
	URL         string `json:"url,omitempty"` // the provider's, with the state
	Verifier    string `json:"verifier,omitempty"`
	Nonce       string `json:"nonce,omitempty"`
	RedirectURI string `json:"redirect_uri,omitempty"`
	ReturnTo    string `json:"return_to,omitempty"`
	Ticket      string `json:"ticket,omitempty"`  // hash of the link's secret part
	Browser     string `json:"browser,omitempty"` // hash of the cookie, "" until the link is opened

	// device_code
	DeviceCode string        `json:"device_code,omitempty"`
	Interval   time.Duration `json:"interval,omitempty"`
}

func flowBinding(id string) freshet.Binding {
	return freshet.Binding{Table: "flows", Row: id, Column: "flow"}
}

func (f *Flows) seal(id string, r *record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return f.o.Sealer.Seal(flowBinding(id), b)
}

func (f *Flows) open(id string, sealed []byte) (*record, error) {
	b, err := f.o.Sealer.Open(flowBinding(id), sealed)
	if err != nil {
		return nil, err
	}
	r := &record{}
	return r, json.Unmarshal(b, r)
}

// device is the part of a grant.Device that polling needs.
func (r *record) device(expires time.Time) grant.Device {
	return grant.Device{Code: freshet.NewSecret(r.DeviceCode), Interval: r.Interval, ExpiresAt: expires}
}

// random returns 256 random bits as text that is safe in a URL and a cookie.
func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// hashOf is enough for values of 256 random bits that lie sealed.
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func same(hash, value string) bool {
	return value != "" && subtle.ConstantTimeCompare([]byte(hash), []byte(hashOf(value))) == 1
}

// idOf is the id of the flow that a state belongs to.
func (f *Flows) idOf(state string) string {
	return base64.RawURLEncoding.EncodeToString(f.o.Sealer.Digest("flow state", freshet.NewSecret(state)))
}

// placesOf names where the secrets of a definition go. A flow that began with
// other places is not finished with these.
func placesOf(def *freshet.Definition) string {
	p := &def.Provider
	return hashOf(fmt.Sprintf("%q", []string{p.Name, p.Issuer, p.AuthorizationURL, p.TokenURL, p.Request.URL, p.DeviceAuthorizationURL, def.Connection.TokenURL, def.Client.ID, def.Connection.ID}))
}

// callback is where redirect URIs of ours lead.
const callback = "/callback/oauth2"

// startLink is the link that a person opens, on the same host as the redirect
// URI: the cookie that it sets must come back with the redirect.
func startLink(redirectURI, ticket string) (string, bool) {
	i := strings.LastIndex(redirectURI, callback)
	if i < 0 {
		return "", false
	}
	rest := redirectURI[i+len(callback):]
	if rest != "" && rest[0] != '/' {
		return "", false
	}
	return redirectURI[:i] + callback + "/start/" + ticket, true
}

// ReturnError says that a path to return to is none of ours.
type ReturnError struct{ Path string }

func (e *ReturnError) Error() string {
	return fmt.Sprintf("return_to %q is not a path to return to: use one below /console/ or /apps/ in plain characters, such as /console/connections", e.Path)
}

// returnPrefixes are where a browser may go after an authorization.
var returnPrefixes = []string{"/console/", "/apps/"}

// CheckReturn reports whether a browser may be sent to path. It is an allowlist
// of prefixes and of characters, so that there is nothing to decode and nothing
// that a browser could read differently: no host, no user, no backslash, no
// percent sign.
func CheckReturn(path string) error {
	ok := len(path) <= 512 && !strings.Contains(path, "//")
	for _, prefix := range returnPrefixes {
		if ok && (strings.HasPrefix(path, prefix) || path == strings.TrimSuffix(prefix, "/")) {
			return checkPlain(path)
		}
	}
	return &ReturnError{path}
}

func checkPlain(path string) error {
	plain, query, _ := strings.Cut(path, "?")
	for seg := range strings.SplitSeq(plain, "/") {
		if seg == "." || seg == ".." {
			return &ReturnError{path}
		}
	}
	for i, c := range []byte(plain + query) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/':
		case i >= len(plain) && (c == '=' || c == '&'):
		default:
			return &ReturnError{path}
		}
	}
	return nil
}
