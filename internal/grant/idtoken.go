package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/freshet-dev/freshet"
)

// FlagIDUnverified says that an ID token came whose signature could not be
// checked, because the issuer's keys were not to be had: who the account is
// stays unknown.
const FlagIDUnverified Flag = "id_token_unverified"

// signingAlgs are those that an ID token may be signed with. There is no
// "none", and none with a shared secret: RFC 8725 §3.1.
var signingAlgs = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// errKeys says that the issuer's keys could not be fetched.
var errKeys = errors.New("the issuer's keys cannot be fetched")

// An IDToken is what a verified ID token says.
type IDToken struct {
	Issuer  string
	Subject string
	Claims  json.RawMessage
}

// identify holds the ID token of a code exchange against the issuer's keys
// before the account's identity is used. A token that fails is an attack or a
// mix-up, and nothing of the answer is kept: a person is there to begin again.
// On a refresh, where an answer must never be dropped and must not wait for
// other requests, the subject is only compared (OpenID Connect Core §12.2).
func (s *Sender) identify(ctx context.Context, def *freshet.Definition, ask Ask, out Outcome) Outcome {
	if def.Provider.Issuer == "" || out.Token.ID.IsZero() {
		return out
	}
	nonce := ""
	if sendsNonce(def) {
		nonce = ask.Nonce
	}
	id, err := s.VerifyID(ctx, def, out.Token.ID, nonce)
	t := *out.Token
	switch {
	case err == nil:
		t.Subject = id.Subject
	case errors.Is(err, errKeys):
		t.Subject = ""
		out.Flags = append(out.Flags, FlagIDUnverified)
	default:
		return Outcome{Err: misconfigured("bad_id_token", "%s", shown(err.Error(), 200)), Flags: out.Flags}
	}
	out.Token = &t
	return out
}

// VerifyID checks an ID token that def's provider issued: signature by one of
// the issuer's published keys, issuer, audience, authorized party, times, and
// the nonce unless that is empty (OpenID Connect Core §3.1.3.7).
func (s *Sender) VerifyID(ctx context.Context, def *freshet.Definition, raw freshet.Secret, nonce string) (IDToken, error) {
	name, bad := issuerOf(def)
	if bad != nil {
		return IDToken{}, bad
	}
	if name == "" {
		return IDToken{}, misconfigured("no_issuer", "provider %s has no issuer to check an ID token against", def.Provider.Name)
	}
	meta, bad := s.discover(ctx, name)
	if bad != nil {
		return IDToken{}, fmt.Errorf("%w: %w", errKeys, bad)
	}
	i := s.issuers.get(name)
	i.mu.Lock()
	keys := i.keys
	i.mu.Unlock()
	algs := slices.DeleteFunc(slices.Clone(meta.IDTokenAlgs), func(a string) bool { return !slices.Contains(signingAlgs, a) })
	if len(algs) == 0 {
		algs = []string{oidc.RS256}
	}
	id := cmpOr(def.Client.ID, def.Connection.ID)
	// A little slack for two clocks; go-oidc knows none for exp.
	now := func() time.Time { return s.now().Add(-time.Minute) }
	seen := &watched{keys: keys}
	t, err := oidc.NewVerifier(name, seen, &oidc.Config{ClientID: id, SupportedSigningAlgs: algs, Now: now}).Verify(ctx, raw.Reveal())
	if err != nil {
		if errors.Is(seen.err, errKeys) {
			err = seen.err
		}
		return IDToken{}, err
	}
	var claims struct {
		Azp string           `json:"azp"`
		Iat *json.RawMessage `json:"iat"`
	}
	var all json.RawMessage
	if err := errors.Join(t.Claims(&claims), t.Claims(&all)); err != nil {
		return IDToken{}, errors.New("the ID token's claims cannot be read")
	}
	switch {
	case t.Subject == "":
		return IDToken{}, errors.New("the ID token names no subject")
	case claims.Iat == nil:
		return IDToken{}, errors.New("the ID token does not say when it was issued")
	case claims.Azp != "" && claims.Azp != id:
		return IDToken{}, fmt.Errorf("the ID token was issued to another party: azp %q", claims.Azp)
	case len(t.Audience) > 1 && claims.Azp == "":
		return IDToken{}, errors.New("the ID token has several audiences and does not say who it was issued to")
	case nonce != "" && t.Nonce != nonce:
		return IDToken{}, errors.New("the ID token's nonce is not the one that was sent")
	}
	return IDToken{Issuer: t.Issuer, Subject: t.Subject, Claims: all}, nil
}

// watched keeps the error of its keys: go-oidc only writes it into its own.
type watched struct {
	keys *keySet
	err  error
}

// VerifySignature asks the keys.
func (w *watched) VerifySignature(ctx context.Context, raw string) (payload []byte, err error) {
	payload, w.err = w.keys.VerifySignature(ctx, raw)
	return payload, w.err
}

// A keySet is an issuer's published keys, kept until a token names one that is
// not among them.
type keySet struct {
	s    *Sender
	url  string
	turn turn // to fetch them

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time
}

// keyPause is how long made-up key ids cannot cause another fetch.
const keyPause = 10 * time.Second

// VerifySignature returns the payload of a JWT that one of the keys signed.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	algs := make([]jose.SignatureAlgorithm, len(signingAlgs))
	for i, a := range signingAlgs {
		algs[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSigned(raw, algs)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errors.New("the ID token is not a JWT with one signature")
	}
	if payload, ok, tired := k.verify(jws); ok {
		return payload, nil
	} else if tired {
		return nil, errNoKey
	}
	if err := k.turn.take(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errKeys, err)
	}
	defer k.turn.done()
	payload, ok, tired := k.verify(jws) // somebody else's turn may have brought the key
	if !ok && !tired {
		if err := k.fetch(ctx); err != nil {
			return nil, err
		}
		payload, ok, _ = k.verify(jws)
	}
	if !ok {
		return nil, errNoKey
	}
	return payload, nil
}

var errNoKey = errors.New("none of the issuer's keys signed the ID token")

// verify tries the keys that are known. Tired says that they are too new to be
// fetched again.
func (k *keySet) verify(jws *jose.JSONWebSignature) (payload []byte, ok, tired bool) {
	k.mu.Lock()
	keys := k.keys
	tired = len(keys) > 0 && k.s.now().Sub(k.fetched) < keyPause
	k.mu.Unlock()
	for _, key := range keys {
		if kid := jws.Signatures[0].Header.KeyID; kid != "" && key.KeyID != "" && kid != key.KeyID {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true, tired
		}
	}
	return nil, false, tired
}

// fetch reads the keys. Those of kinds that we do not know are passed over, and
// so are secret ones, which nobody should publish.
func (k *keySet) fetch(ctx context.Context) error {
	if k.url == "" {
		return fmt.Errorf("%w: its metadata name no jwks_uri", errKeys)
	}
	body, bad := k.s.get(ctx, k.url)
	if bad != nil {
		return fmt.Errorf("%w: %w", errKeys, bad)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return fmt.Errorf("%w: they are not a JWK set", errKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.fetched = keys, k.s.now()
	return nil
}
