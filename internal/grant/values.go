package grant

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/template"
)

// fill fills in one template of the request. Its errors name the template and
// the place in it, never a value.
func (c *call) fill(field, text string, escape template.Escape) (string, *Error) {
	s, err := template.Fill(field, text, c.lookup, escape)
	if c.trouble != nil {
		return "", c.trouble
	}
	if err != nil {
		var te *template.Error
		if errors.As(err, &te) && te.Missing != "" {
			return "", misconfigured("missing_value", "%v: set it in the connection's credentials or variables", err)
		}
		return "", misconfigured("bad_template", "%v", err)
	}
	return s, nil
}

// lookup finds the value of a path. The request's own come first, so that no
// credential shadows the refresh token that is being spent; then credentials,
// the connection's variables, the client's, the provider's defaults.
func (c *call) lookup(path string) (any, bool) {
	if v, ok := c.memo[path]; ok {
		return v, true
	}
	if v, ok := c.own(path); ok {
		c.memo[path] = v
		return v, true
	}
	if s, ok := c.def.Connection.Credentials[strings.TrimPrefix(path, "credentials.")]; ok {
		return c.reveal(s), true
	}
	return variable(c.def, path)
}

// variable returns what fills a provider's blank. One that is empty counts as
// not filled in, unless the provider says that it may be.
func variable(def *freshet.Definition, path string) (any, bool) {
	name := strings.TrimPrefix(path, "variables.")
	declared, known := def.Provider.Variables[name]
	for _, v := range []string{def.Connection.Variables[name], def.Client.Variables[name], declared.Default} {
		if v != "" {
			return v, true
		}
	}
	return "", known && declared.Optional
}

// own returns the values that belong to this request.
func (c *call) own(path string) (any, bool) {
	secret := func(s freshet.Secret) (any, bool) {
		if s.IsZero() {
			return nil, false
		}
		return c.reveal(s), true
	}
	if v, ok := c.more[path]; ok {
		if s, hidden := v.(freshet.Secret); hidden {
			return secret(s)
		}
		return v, true
	}
	switch path {
	case "client_id":
		id := c.clientID()
		return id, id != ""
	case "client_secret":
		c.usedSecret = true
		return secret(c.secret)
	case "code":
		return secret(c.ask.Code)
	case "code_verifier":
		return secret(c.ask.Verifier)
	case "device_code":
		return secret(c.ask.DeviceCode)
	case "redirect_uri":
		return c.ask.RedirectURI, c.ask.RedirectURI != ""
	case "refresh_token":
		if c.ask.RefreshToken.IsZero() && c.held != nil {
			return secret(c.held.Refresh)
		}
		return secret(c.ask.RefreshToken)
	case "access_token":
		if c.held == nil {
			return nil, false
		}
		return secret(c.held.Access)
	case "scope":
		if c.refresh && c.ask.Scope != "" {
			return c.ask.Scope, true
		}
		s := c.scope()
		return s, s != ""
	case "assertion":
		if _, given := c.def.Connection.Credentials["assertion"]; given {
			return nil, false // signed elsewhere
		}
		jwt, err := c.assertion(forGrant)
		if err != nil {
			c.trouble = err
			return nil, false
		}
		return secret(jwt)
	case "uuid":
		return newUUID(), true
	}
	first, rest, _ := strings.Cut(path, ".")
	switch first {
	case "answer":
		return c.answer(rest)
	case "now":
		return instant(c.now, rest)
	case "in":
		after, form, _ := strings.Cut(rest, ".")
		d, err := freshet.ParseDuration(after)
		if err != nil {
			return nil, false
		}
		return instant(c.now.Add(d.D()), form)
	}
	return nil, false
}

// answer returns a member of the answer that the present token came with.
func (c *call) answer(path string) (any, bool) {
	if c.held == nil || c.held.Answer.IsZero() {
		return nil, false
	}
	root, ok := c.memo["answer"]
	if !ok {
		root = decodeAnswer(c.held.Answer)
		c.memo["answer"] = root
	}
	if path == "" {
		return root, true
	}
	v, ok := template.Walk(root, path)
	if s, text := v.(string); ok && text {
		c.sent = append(c.sent, freshet.NewSecret(s))
	}
	return v, ok
}

// decodeAnswer reads a stored answer, nil if it is not JSON.
func decodeAnswer(s freshet.Secret) any {
	var v any
	dec := json.NewDecoder(strings.NewReader(s.Reveal()))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// instant writes t in one of the forms that TokenRequest names.
func instant(t time.Time, form string) (any, bool) {
	switch t = t.UTC(); form {
	case "s":
		return t.Unix(), true
	case "ms":
		return t.UnixMilli(), true
	case "rfc3339":
		return t.Format(time.RFC3339), true
	case "date":
		return t.Format(time.DateOnly), true
	}
	return nil, false
}

// reveal opens a secret that goes into the request, and notes that it did.
func (c *call) reveal(s freshet.Secret) string {
	c.sent = append(c.sent, s)
	return s.Reveal()
}

// newUUID returns a random UUID, RFC 9562 §5.4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Secrets lists what def holds that must not show: for sinks that mask.
func Secrets(def *freshet.Definition) []freshet.Secret {
	all := []freshet.Secret{def.Client.Secret, def.Connection.Secret, def.Client.Key, def.Client.Certificate, def.DPoPKey}
	all = append(all, def.Client.Previous...)
	for _, s := range def.Connection.Credentials {
		all = append(all, s)
	}
	set := all[:0]
	for _, s := range all {
		if !s.IsZero() {
			set = append(set, s)
		}
	}
	return set
}
