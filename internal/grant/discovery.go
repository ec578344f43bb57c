package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

const (
	metadataAge   = time.Hour          // after it, metadata are fetched again
	metadataLast  = 7 * 24 * time.Hour // while they cannot be, the former ones serve until then
	metadataPause = 2 * time.Second    // between attempts that fail
)

// Metadata is what an issuer publishes about itself, RFC 8414 and OpenID
// Connect Discovery.
type Metadata struct {
	Issuer                      string            `json:"issuer"`
	AuthorizationEndpoint       string            `json:"authorization_endpoint"`
	TokenEndpoint               string            `json:"token_endpoint"`
	RevocationEndpoint          string            `json:"revocation_endpoint"`
	DeviceAuthorizationEndpoint string            `json:"device_authorization_endpoint"`
	JWKS                        string            `json:"jwks_uri"`
	IssParameter                bool              `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	IDTokenAlgs                 []string          `json:"id_token_signing_alg_values_supported"`
	MTLS                        map[string]string `json:"mtls_endpoint_aliases"` // RFC 8705 §5
}

// endpoint returns the URL to use, which may be another one for clients that
// show a certificate.
func (m *Metadata) endpoint(def *freshet.Definition, usual, name string) string {
	if alias := m.MTLS[name]; alias != "" && !def.Client.Certificate.IsZero() {
		return alias
	}
	return usual
}

// issuers remembers what was discovered.
type issuers struct {
	mu sync.Mutex
	m  map[string]*issuer
}

type issuer struct {
	turn turn // to fetch metadata

	mu      sync.Mutex
	meta    *Metadata
	fetched time.Time
	failed  time.Time // the last fetch, if it failed, with:
	failure *Error
	host    string // of the token endpoint: another one is not believed
	keys    *keySet
}

// A turn is given to one at a time; those who wait can leave.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) done() { <-t }

func (i *issuers) get(name string) *issuer {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m == nil {
		i.m = map[string]*issuer{}
	}
	if i.m[name] == nil {
		i.m[name] = &issuer{turn: make(turn, 1)}
	}
	return i.m[name]
}

// Trust says that the issuer's token endpoint is at host, as host[:port]: what a
// caller stored of an earlier Discover, or what a person has approved.
// Metadata that name another host are refused.
func (s *Sender) Trust(issuer, host string) {
	i := s.issuers.get(issuer)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.host, i.fetched, i.failure = host, time.Time{}, nil
}

// Discover returns what an issuer publishes, from memory if that is not older
// than an hour. The document must name exactly this issuer (RFC 8414 §3.3). A
// token endpoint that moves to another host is an error with code
// token_endpoint_moved until Trust approves it: secrets would follow it there.
func (s *Sender) Discover(ctx context.Context, issuer string) (*Metadata, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	m, err := s.discover(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s *Sender) discover(ctx context.Context, name string) (*Metadata, *Error) {
	i := s.issuers.get(name)
	if m, err := i.known(s.now()); m != nil || err != nil {
		return m, err
	}
	if err := i.turn.take(ctx); err != nil {
		return nil, &Error{Class: Retryable, Code: "discovery_failed", Detail: "the metadata of " + name + " were not there in time", cause: err}
	}
	defer i.turn.done()
	if m, err := i.known(s.now()); m != nil || err != nil {
		return m, err // somebody else's turn brought it
	}
	m, err := s.fetchMetadata(ctx, name)
	return i.learn(s, name, m, err)
}

// known returns metadata that are new enough, or the failure to fetch them
// that has just been.
func (i *issuer) known(now time.Time) (*Metadata, *Error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if age := now.Sub(i.fetched); i.meta != nil && age >= 0 && age < metadataAge {
		return i.meta, nil
	}
	if age := now.Sub(i.failed); i.failure != nil && age >= 0 && age < metadataPause {
		return i.stale(now, i.failure)
	}
	return nil, nil
}

// stale returns the former metadata where err is an outage and they are not
// too old, else err.
func (i *issuer) stale(now time.Time, err *Error) (*Metadata, *Error) {
	if err.Class == Retryable && i.meta != nil && now.Sub(i.fetched) < metadataLast {
		return i.meta, nil
	}
	e := *err
	return nil, &e
}

// learn keeps what a fetch brought.
func (i *issuer) learn(s *Sender, name string, m *Metadata, err *Error) (*Metadata, *Error) {
	now := s.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		u, _ := url.Parse(m.TokenEndpoint) // fetchMetadata has checked it
		if i.host != "" && u.Host != i.host {
			err = misconfigured("token_endpoint_moved", "issuer %s now names a token endpoint at %s instead of %s; it is held until somebody approves it", name, u.Host, i.host)
		} else {
			i.meta, i.fetched, i.host, i.failure = m, now, u.Host, nil
			if i.keys == nil || i.keys.url != m.JWKS {
				i.keys = &keySet{s: s, url: m.JWKS, turn: make(turn, 1)}
			}
			return m, nil
		}
	}
	if !errors.Is(err.cause, context.Canceled) && !errors.Is(err.cause, context.DeadlineExceeded) {
		i.failed, i.failure = now, err // not a caller's own impatience
	}
	if err.Class == Retryable && i.meta != nil {
		s.log.Warn("metadata are not to be had; the former ones go on", "issuer", name, "error", err.Code)
	}
	return i.stale(now, err)
}

// fetchMetadata reads the document from one of its two places.
func (s *Sender) fetchMetadata(ctx context.Context, name string) (*Metadata, *Error) {
	u, bad := endpointURL("issuer", name)
	if bad != nil {
		return nil, bad
	}
	if u.RawQuery != "" {
		return nil, misconfigured("bad_url", "issuer has a query")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	var last *Error
	for _, at := range []string{origin + path + "/.well-known/openid-configuration", origin + "/.well-known/oauth-authorization-server" + path} {
		body, err := s.get(ctx, at)
		if err != nil {
			last = err
			if err.Status == 0 || err.Status >= 500 || err.Status == http.StatusTooManyRequests {
				return nil, err
			}
			continue
		}
		m := &Metadata{}
		if json.Unmarshal(body, m) != nil {
			last = misconfigured("discovery_failed", "%s is not JSON of the expected form", at)
			continue
		}
		if m.Issuer != name {
			return nil, misconfigured("issuer_mismatch", "the metadata at %s are those of another issuer: %q instead of %q", at, shown(m.Issuer, 128), name)
		}
		if err := m.check(u.Scheme); err != nil {
			return nil, err
		}
		return m, nil
	}
	return nil, last
}

// check refuses endpoints that are weaker than the issuer's own address.
func (m *Metadata) check(scheme string) *Error {
	all := map[string]string{
		"authorization_endpoint": m.AuthorizationEndpoint, "token_endpoint": m.TokenEndpoint, "revocation_endpoint": m.RevocationEndpoint,
		"device_authorization_endpoint": m.DeviceAuthorizationEndpoint, "jwks_uri": m.JWKS,
	}
	for name, raw := range m.MTLS {
		all["mtls "+name] = raw
	}
	for name, raw := range all {
		if raw == "" {
			continue
		}
		u, err := endpointURL("metadata: "+name, raw)
		if err != nil {
			return err
		}
		if scheme == "https" && u.Scheme != "https" {
			return misconfigured("bad_url", "metadata: %s is not https, its issuer is", name)
		}
	}
	return nil
}

// get fetches a public JSON document. No redirect is followed.
func (s *Sender) get(ctx context.Context, at string) ([]byte, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, misconfigured("bad_url", "the address to discover from is not a URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", s.agent)
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		e := transportError(&Reply{Err: err})
		return nil, &Error{Class: e.Class, Code: "discovery_failed", Detail: fmt.Sprintf("%s cannot be fetched: %s", at, e.Code), cause: e.cause}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		class := Misconfigured
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			class = Retryable
		}
		return nil, &Error{Class: class, Code: "discovery_failed", Status: resp.StatusCode, Detail: fmt.Sprintf("%s answered with this status", at)}
	}
	body, truncated, err := readBody(resp)
	if err != nil || truncated {
		return nil, &Error{Class: Retryable, Code: "discovery_failed", Detail: fmt.Sprintf("%s broke off", at), cause: err}
	}
	return body, nil
}

// issuerOf returns the provider's issuer with variables filled in, empty if
// it has none.
func issuerOf(def *freshet.Definition) (string, *Error) {
	field := "provider " + def.Provider.Name + ": issuer"
	s, err := template.Fill(field, def.Provider.Issuer, func(path string) (any, bool) { return variable(def, path) }, template.URL)
	if err != nil {
		return "", misconfigured("missing_value", "%v", err)
	}
	return s, nil
}

// metadata returns what the provider's issuer publishes.
func (c *call) metadata(ctx context.Context) (*Metadata, *Error) {
	name, err := issuerOf(c.def)
	if err != nil {
		return nil, err
	}
	return c.s.discover(ctx, name)
}

// shown shortens s for an error text and takes control characters out of it.
func shown(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > n {
		s = string(r[:n]) + "…"
	}
	return s
}

// asError returns e as an error that is nil when e is.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// ErrNoRevocation says that the provider has no way to revoke a token that we
// know of.
var ErrNoRevocation = errors.New("the provider has no revocation endpoint")
