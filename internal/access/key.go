package access

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Prefix begins every key.
const Prefix = "fk_"

const (
	idBytes     = 10 // 80 bits: ids of keys that do not exist are not worth guessing
	secretBytes = 32
	maxKey      = 256 // bytes of a presented key; ours are shorter
)

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func newKey() (id, secret string) {
	var b [idBytes + secretBytes]byte
	rand.Read(b[:])
	return letters.EncodeToString(b[:idBytes]), letters.EncodeToString(b[idBytes:])
}

// split takes a key apart. A text that is no key has no id, and a secret that
// is as good as any wrong one.
func split(key string) (id, secret string) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok || len(key) > maxKey {
		return "", "-"
	}
	id, secret, ok = strings.Cut(rest, "_")
	if !ok || secret == "" {
		return "", "-"
	}
	return id, secret
}

// ErrMissing says that a request carries no API key.
var ErrMissing = errors.New("no API key")

// FromRequest returns the API key that a request carries as "Authorization:
// Bearer fk_…". ErrMissing: it carries none, or more than one Authorization.
func FromRequest(h http.Header) (string, error) {
	list := h["Authorization"]
	if len(list) != 1 {
		return "", ErrMissing
	}
	const scheme = "bearer "
	v := list[0]
	if len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return "", ErrMissing
	}
	return strings.TrimLeft(v[len(scheme):], " "), nil
}

// A Caller is a key that was checked. It is shared by all requests of the key.
type Caller struct {
	ID   string
	Name string

	actor     string
	admin     bool
	read      bool
	scopes    []scope
	addresses []netip.Prefix
	expires   time.Time

	hash  []byte                   // as stored
	quick atomic.Pointer[[32]byte] // SHA-256 of the secret, once it was right
	used  atomic.Int64             // Unix seconds
	saved int64                    // what the row says; of the loop

	gone    chan struct{} // closed when the key is no longer good
	goneSet sync.Once
}

func newCaller(k store.Key) (*Caller, error) {
	c := &Caller{ID: k.ID, Name: k.Name, actor: "key:" + k.Name + "#" + k.ID, expires: k.ExpiresAt, hash: k.Hash, gone: make(chan struct{})}
	for _, s := range k.Scopes {
		sc, err := parseScope(s)
		if err != nil {
			return nil, err
		}
		switch sc.verb {
		case Admin:
			c.admin = true
		case Read:
			c.read = true
		default:
			c.scopes = append(c.scopes, sc)
		}
	}
	for _, a := range k.Addresses {
		p, err := parseAddress(a)
		if err != nil {
			return nil, err
		}
		c.addresses = append(c.addresses, p)
	}
	if !k.LastUsed.IsZero() {
		c.saved = k.LastUsed.Unix()
		c.used.Store(c.saved)
	}
	if !k.RevokedAt.IsZero() {
		c.end()
	}
	return c, nil
}

// May reports whether the key's scopes allow verb, for the verbs that go with
// names on name.
func (c *Caller) May(verb Verb, name string) bool {
	if c.admin {
		return true
	}
	switch verb {
	case Read:
		return c.read
	case Admin:
		return false
	}
	for _, s := range c.scopes {
		if s.verb == verb && match(s.glob, name) {
			return true
		}
	}
	return false
}

// Holds reports whether there is any name on which the key's scopes allow verb.
func (c *Caller) Holds(verb Verb) bool {
	return c.May(verb, "") || slices.ContainsFunc(c.scopes, func(s scope) bool { return s.verb == verb })
}

// Actor names the key in the audit: key:NAME#ID.
func (c *Caller) Actor() string { return c.actor }

// Revoked is closed when the key is revoked or has expired: what it holds open
// must end.
func (c *Caller) Revoked() <-chan struct{} { return c.gone }

func (c *Caller) end() { c.goneSet.Do(func() { close(c.gone) }) }

func (c *Caller) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *Caller) from(remote string) bool {
	if len(c.addresses) == 0 {
		return true
	}
	a := addressOf(remote)
	for _, p := range c.addresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addressOf reads the address of http.Request.RemoteAddr; the zero Addr if there
// is none, as with Unix sockets.
func addressOf(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(remote)
	return a.Unmap().WithZone("")
}

// parseAddress reads an address or a range.
func parseAddress(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, errors.New("address " + quote(s) + " is none: write 192.0.2.7 or 192.0.2.0/24")
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// A Key is what may be shown of a key, and at its birth the key itself.
type Key struct {
	store.Key
	Secret freshet.Secret // the whole key, fk_…; only Create sets it
}
