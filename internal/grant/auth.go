package grant

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet"
)

// clientID is the client's, or the one that the connection carries in place.
func (c *call) clientID() string { return cmpOr(c.def.Client.ID, c.def.Connection.ID) }

func (c *call) clientSecret() freshet.Secret {
	if c.def.Client.Secret.IsZero() && c.def.Client.ID == "" {
		return c.def.Connection.Secret
	}
	return c.def.Client.Secret
}

// clientAuth returns how the request proves who asks. A login of the
// provider's own making does so itself, unless something else is stated.
func (c *call) clientAuth() freshet.ClientAuth {
	d := c.def
	if Grant(d) == freshet.GrantRequest && d.Connection.Auth == "" && d.Client.Auth == "" && d.Provider.ClientAuth == "" && (!c.refresh || d.Provider.RefreshClientAuth == "") {
		return freshet.AuthNone
	}
	return d.Auth(c.refresh)
}

// authenticate proves who we are, in the one way that the provider names: a
// way that fails is never followed by another (RFC 9700 §4.14: the second send
// of a refresh token may revoke the grant). With bare set, the body is not ours
// to add to, and only a header can.
func (c *call) authenticate(m *message, ps *params, bare bool) *Error {
	id := c.clientID()
	auth := c.clientAuth()
	if auth == freshet.AuthBasic && c.secret.IsZero() {
		auth = freshet.AuthNone // a public client: an empty password proves nothing
	}
	if auth == freshet.AuthBasic {
		if id == "" {
			return misconfigured("no_client_id", "%s has a secret and no id", c.clientField())
		}
		c.usedSecret = true
		// RFC 6749 §2.3.1: both halves are form-encoded first, so that a colon
		// in the id and characters outside ASCII survive.
		pair := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(c.reveal(c.secret))))
		c.sent = append(c.sent, freshet.NewSecret(pair))
		m.header.Set("Authorization", "Basic "+pair)
		return nil
	}
	if bare {
		return nil
	}
	switch auth {
	case freshet.AuthNone:
		if c.grant == freshet.GrantRequest || c.grant == freshet.GrantJWTBearer {
			return nil // the login, or the assertion, says who asks
		}
	case freshet.AuthBody:
		if !c.secret.IsZero() {
			c.usedSecret = true
			ps.set(c.nameOf("client_id"), id)
			ps.set(c.nameOf("client_secret"), c.reveal(c.secret))
			return nil
		}
	case freshet.AuthPrivateKeyJWT:
		jwt, err := c.assertion(forClient)
		if err != nil {
			return err
		}
		ps.set(c.nameOf("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		ps.set(c.nameOf("client_assertion"), c.reveal(jwt))
	default:
		return misconfigured("bad_client_auth", "provider %s: client_auth %q is not basic, body, private_key_jwt or none", c.def.Provider.Name, string(auth))
	}
	ps.set(c.nameOf("client_id"), id)
	return nil
}

// certificate chooses the transport that shows the client's certificate, RFC
// 8705 §2. An expired one is not sent: providers answer it with a bare TLS
// alert that says nothing.
func (c *call) certificate() *Error {
	s := c.def.Client.Certificate
	if s.IsZero() {
		return nil
	}
	text := []byte(unescaped(s.Reveal()))
	cert, err := tls.X509KeyPair(text, text)
	if err != nil && !c.def.Client.Key.IsZero() {
		cert, err = tls.X509KeyPair(text, []byte(unescaped(c.def.Client.Key.Reveal())))
	}
	if err != nil {
		return misconfigured("bad_certificate", "%s: certificate is not a PEM certificate with its private key", c.clientField())
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return misconfigured("bad_certificate", "%s: certificate cannot be read", c.clientField())
	}
	if now := c.s.now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return misconfigured("certificate_expired", "%s: the certificate is valid from %s to %s", c.clientField(), leaf.NotBefore.UTC().Format("2006-01-02"), leaf.NotAfter.UTC().Format("2006-01-02"))
	}
	if c.s.mutual == nil {
		return misconfigured("no_client_tls", "%s: this transport cannot show a client certificate", c.clientField())
	}
	c.transport = c.s.mutual(cert)
	return nil
}

// clientField names the registration in errors.
func (c *call) clientField() string {
	if c.def.Connection.Client == "" {
		return "connection " + c.def.Connection.Name
	}
	return "client " + c.def.Connection.Client
}

// unescaped turns the two characters \n into line ends, as environment
// variables often hold PEM.
func unescaped(s string) string {
	if strings.Contains(s, "\n") {
		return s
	}
	return strings.ReplaceAll(s, `\n`, "\n")
}

// pemBlock returns the first PEM block of s that is a private key.
func pemBlock(s string) *pem.Block {
	rest := []byte(unescaped(s))
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil
		}
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			return b
		}
	}
}
