package grant

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
)

// Deadline bounds one exchange, whole, when the caller's context does not.
const Deadline = 20 * time.Second

// Options shape a Sender. The zero value is ready for use.
type Options struct {
	// Transport carries every request. It must open a connection for each of
	// them: net/http repeats requests on connections that it has used before.
	// Nil: a transport of our own that does, over HTTP/1.1, without a proxy. An
	// *http.Transport is copied and made to.
	Transport http.RoundTripper
	// Mutual returns a transport like Transport that shows a client certificate,
	// RFC 8705. Nil: derived from Transport if that is an *http.Transport.
	Mutual func(tls.Certificate) http.RoundTripper

	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: silence
	Version string           // in User-Agent: freshet/VERSION; empty: dev
}

// A Sender asks providers for tokens. It is safe for concurrent use and holds
// no tokens: only what providers publish, the latest DPoP nonces, and which of
// a client's secrets worked last.
type Sender struct {
	transport http.RoundTripper
	mutual    func(tls.Certificate) http.RoundTripper
	now       func() time.Time
	log       *slog.Logger
	agent     string

	nonces  sync.Map // client and origin: string
	working sync.Map // client: freshet.Secret, one of Client.Previous that was accepted
	issuers issuers
}

// New returns a Sender.
func New(o Options) *Sender {
	s := &Sender{mutual: o.Mutual, now: o.Now, log: o.Logger, agent: "freshet/dev"}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Version != "" {
		s.agent = "freshet/" + o.Version
	}
	switch t := o.Transport.(type) {
	case nil:
		s.transport = ownTransport(nil)
	case *http.Transport:
		t = t.Clone()
		t.DisableKeepAlives, t.DisableCompression = true, true
		s.transport = t
	default:
		s.transport = t
	}
	if t, ok := s.transport.(*http.Transport); ok && s.mutual == nil {
		s.mutual = func(cert tls.Certificate) http.RoundTripper {
			t := t.Clone()
			if t.TLSClientConfig == nil {
				t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
			}
			t.TLSClientConfig.Certificates = []tls.Certificate{cert}
			return t
		}
	}
	return s
}

// Ask makes one token request and says what it led to. The request is sent
// once. It is sent again in two cases, both of which prove that the provider
// did not process it: at most once with a DPoP nonce that the provider
// demanded, and with the client's next secret after an explicit invalid_client.
//
// What is asked for follows from ask: an authorization code or a device code is
// exchanged, a refresh token is spent, and otherwise the connection's grant
// obtains a token anew. Grants that sign in by themselves each time
// (client_credentials, jwt_bearer, and request without a way to refresh) do so
// even when a refresh token is at hand.
//
// The deadline of ctx covers everything, at most [Deadline] if it has none.
func (s *Sender) Ask(ctx context.Context, def *freshet.Definition, ask Ask) Outcome {
	ctx, cancel := bound(ctx)
	defer cancel()
	c, err := s.prepare(ctx, def, ask)
	if err != nil {
		return Outcome{Err: err}
	}
	out := c.send(ctx)
	if out.Token != nil && c.dpop != nil && out.Token.Scheme != "DPoP" {
		// RFC 9449 §5: the provider ignored the proof. The connection is one
		// whose tokens must be useless to a thief; this one would not be.
		return Outcome{Err: misconfigured("dpop_downgrade", "the provider answered with a token of type %q that is not bound to our key", out.Token.Type), Salvaged: out.Token.Refresh, Flags: out.Flags}
	}
	if step := def.Provider.SecondStep; out.Token != nil && step != nil && !(step.FirstOnly && c.refresh) {
		out = c.secondStep(ctx, step, out)
	}
	if out.Token != nil && !ask.Code.IsZero() {
		out = s.identify(ctx, def, ask, out)
	}
	return out
}

func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, Deadline)
}

// send makes the request that c is, and its one or other lawful repetition.
func (c *call) send(ctx context.Context) Outcome {
	secrets := c.secrets()
	nonce := c.nonce()
	for renonced := false; ; {
		m, err := c.message(secrets[0], nonce)
		if err != nil {
			return Outcome{Err: err}
		}
		r := c.exchange(ctx, m)
		out := Parse(&c.def.Provider, c.shape, c.def.Connection.Refresh, r)
		c.keepNonce(r.Header)
		c.report(m, out, r)
		if out.Err == nil {
			c.keepSecret(secrets[0])
			return out
		}
		switch {
		case c.dpop != nil && !renonced && out.Err.Code == "use_dpop_nonce" && out.Err.Nonce != "":
			nonce, renonced = out.Err.Nonce, true
		case c.usedSecret && len(secrets) > 1 && out.Err.Code == "invalid_client" && out.Err.Class == Misconfigured && !out.Err.Uncertain && out.Salvaged.IsZero():
			secrets = secrets[1:]
		default:
			return out
		}
	}
}

func (c *call) report(m *message, out Outcome, r Reply) {
	attrs := []slog.Attr{
		slog.String("connection", c.def.Connection.Name),
		slog.String("grant", string(c.grant)),
		slog.String("host", m.url.Host),
		slog.Int("status", r.Status),
		slog.Duration("took", r.Now.Sub(r.SentAt)),
	}
	if out.Err != nil {
		attrs = append(attrs, slog.String("error", out.Err.Code))
	}
	c.s.log.LogAttrs(context.Background(), slog.LevelDebug, "token request", attrs...)
}
