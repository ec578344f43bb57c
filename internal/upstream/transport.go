package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/template"
)

// A Connection is whose credential a call carries. It is safe for concurrent
// use, and reading a fresh token from it takes no lock.
type Connection interface {
	// Definition returns what the connection is now. It is shared: read only.
	Definition() *freshet.Definition
	// Token returns a token with at least minTTL of life, refreshing it first if
	// need be; a *freshet.StateError when there is none to give.
	Token(ctx context.Context, minTTL time.Duration) (*freshet.Token, error)
	// Rejected tells that an API refused the token of a generation and returns a
	// newer one, refreshing once if that generation is still the current one. The
	// error wraps ErrResting while forced refresh rests.
	Rejected(ctx context.Context, generation int64) (*freshet.Token, error)
	// StillRejected tells that the API refused what Rejected had brought, too.
	StillRejected(generation int64)
}

var _ Connection = (*refresh.Conn)(nil)

// A Dialer hands out transports that connect only where they may;
// *dial.Guard is one.
type Dialer interface {
	Transport(dial.Kind) http.RoundTripper
	Mutual(dial.Kind, tls.Certificate) http.RoundTripper
}

// Options are what a Transport is made of. Dialer is required.
type Options struct {
	Dialer Dialer
	// Values fills in names in templates that neither token nor definition
	// knows, such as process.…; nil: there are none.
	Values template.Lookup
	Now    func() time.Time // of DPoP proofs; nil: time.Now
	Log    *slog.Logger     // nil: none
}

// A Transport makes calls as connections. It is safe for concurrent use.
type Transport struct {
	o      Options
	plain  http.RoundTripper // of connections without a client certificate
	plans  plans
	nonces nonces
}

// New returns a Transport.
func New(o Options) *Transport {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Transport{o: o, plain: o.Dialer.Transport(dial.Upstream)}
}

// A Call is one request to make as a connection. Do does not change it.
type Call struct {
	Method string
	// Target is what comes after the connection's base URL, byte for byte: "",
	// or a path and query as in "/a%2Fb//c?x=1". A whole URL is taken if the
	// connection's token may go there.
	Target  string
	Header  http.Header
	Trailer http.Header // sent after a body of unknown length; filled in by the time the body ends
	Body    io.Reader   // nil: none. Do reads it, and does not close it
	Length  int64       // of Body; -1: not known

	own bool // the operator's own request, which need not be among what callers may do

	WebSocket bool // ask for Upgrade: websocket; the answer's body is then an io.ReadWriteCloser
}

// A Result is an API's answer and how it came about.
type Result struct {
	Response   *http.Response // never nil; the caller closes its body, with Close
	Generation int64          // of the token that the answer was given to

	Refreshed     bool // the token was refused and renewed, and the answer is to the second send
	NotReplayable bool // the token was refused, but the request's body could not be sent again
	Rejected      int  // the status with which the first token was refused; 0: it was not
	Resting       bool // the token was refused and is not renewed now: others of the kind were refused too

	rec  *recorder
	echo *scanner
}

// Echoed reports whether the answer held the credential that went out, so far
// as it was read. It holds only for connections with scan_echo.
func (r *Result) Echoed() bool { return r.echo != nil && r.echo.found.Load() }

// BodyErr returns what broke the caller's request body, if something did.
func (r *Result) BodyErr() error {
	if r.rec == nil {
		return nil
	}
	return r.rec.failed()
}

// Close closes the answer's body and stops reading the call's.
func (r *Result) Close() error {
	if r.rec != nil {
		r.rec.close()
	}
	return r.Response.Body.Close()
}

// Do makes one call. When the API refuses the token, it has it renewed and sends
// once more, if the policy refreshes on a refusal and the body is still whole;
// it never sends again for any other reason (but see RFC 9449: a DPoP nonce that
// the API wants costs one more send).
//
// Errors: *RefusedError when nothing was sent, *freshet.StateError without a
// token, *UnreachableError without an answer, *BodyError when the caller's body
// broke, and ctx's own.
func (t *Transport) Do(ctx context.Context, conn Connection, c *Call) (*Result, error) {
	p := t.plan(conn.Definition())
	to, r := p.check(c)
	if r != nil {
		return nil, r
	}
	tok, err := conn.Token(ctx, 0)
	if err != nil {
		return nil, err
	}
	if def := conn.Definition(); !p.of(def) {
		// It changed as the token was read: what holds is what it says now.
		p = t.plan(def)
		if to, r = p.check(c); r != nil {
			return nil, r
		}
	}
	res := &Result{}
	if c.Body != nil && c.Length != 0 {
		res.rec = newRecorder(c.Body, c.Length, (p.renews || p.dpop) && c.Header.Get("Expect") == "")
	}
	if err := t.run(ctx, conn, p, c, to, tok, res); err != nil {
		if res.rec != nil {
			res.rec.close()
		}
		return nil, err
	}
	return res, nil
}

// check refuses what can be refused without a token, so that no refresh is
// spent on it. It returns where the call goes, unless that takes the token.
func (p *plan) check(c *Call) (target, *RefusedError) {
	if p.wrong != nil {
		return target{}, p.wrong
	}
	if r := p.method(c); r != nil {
		return target{}, r
	}
	if c.WebSocket && !p.api.WebSocket {
		return target{}, p.refuse(NoWebSocket, "it does not pass websockets: set api.websocket")
	}
	if p.baseOf != nil {
		return target{}, nil
	}
	return p.place(p.base, c)
}

// run sends c with tok and, if that is refused, with the token that follows it.
func (t *Transport) run(ctx context.Context, conn Connection, p *plan, c *Call, to target, tok *freshet.Token, res *Result) error {
	resp, err := t.send(ctx, p, c, to, tok, res)
	if err != nil {
		return err
	}
	res.Response, res.Generation = resp, tok.Generation
	if p.renews && p.rejects(tok, resp) {
		if err := t.again(ctx, conn, p, c, to, tok, res); err != nil {
			return err
		}
	}
	p.finish(res)
	return nil
}

// rejects reports whether resp refuses tok. An answer that wants another DPoP
// nonce says nothing against the token.
func (p *plan) rejects(tok *freshet.Token, resp *http.Response) bool {
	return !(p.boundToken(tok) && wantsNonce(resp)) && p.refused.matches(resp)
}

// again deals with a refused token: renew it, and send once more.
func (t *Transport) again(ctx context.Context, conn Connection, p *plan, c *Call, to target, tok *freshet.Token, res *Result) error {
	first := res.Response
	res.Rejected = first.StatusCode
	next, err := conn.Rejected(ctx, tok.Generation)
	if err == nil && (next == nil || next.Access.IsZero() || next.Generation == tok.Generation) {
		err = ErrResting
	}
	if err != nil {
		res.Resting = errors.Is(err, ErrResting)
		_, stateless := errors.AsType[*freshet.StateError](err)
		if res.Resting || !stateless && ctx.Err() == nil {
			// The API's own words are the best there is to say.
			return nil
		}
		first.Body.Close()
		return err
	}
	if res.rec != nil && !res.rec.hold() {
		res.NotReplayable = true
		return nil
	}
	discard(first)
	resp, err := t.send(ctx, p, c, to, next, res)
	if err != nil {
		return err
	}
	res.Response, res.Generation, res.Refreshed = resp, next.Generation, true
	if p.rejects(next, resp) {
		conn.StillRejected(next.Generation)
	}
	return nil
}

// discard lets a connection be used again when little is left to read on it.
func discard(resp *http.Response) {
	if resp.ContentLength <= maxSniff {
		io.CopyN(io.Discard, resp.Body, maxSniff)
	}
	resp.Body.Close()
}

// send sends c once with tok, and once more if the API wants another DPoP nonce.
func (t *Transport) send(ctx context.Context, p *plan, c *Call, to target, tok *freshet.Token, res *Result) (*http.Response, error) {
	if tok == nil || tok.Access.IsZero() {
		return nil, &freshet.StateError{Name: p.def.Connection.Name, State: freshet.StateReauth, Reason: freshet.ReasonNeverAuthorized}
	}
	if p.baseOf != nil {
		base, refused := p.baseFor(tok, t.o.Values)
		if refused != nil {
			return nil, refused
		}
		if to, refused = p.place(base, c); refused != nil {
			return nil, refused
		}
	}
	r, refused := p.render(tok, t.o.Values)
	if refused != nil {
		return nil, refused
	}
	bound := p.boundToken(tok)
	for repeated := false; ; repeated = true {
		req, err := t.request(ctx, p, c, to, r, res.rec)
		if err != nil {
			return nil, err
		}
		origin := p.def.ClientKey() + " " + to.scheme + "://" + to.host
		if bound {
			proof, err := p.prover.Proof(c.Method, to.scheme+"://"+to.host+to.path, tok.Access, t.nonces.get(origin), t.o.Now())
			if err != nil {
				return nil, p.refuse(Misconfigured, "the DPoP key does not sign")
			}
			req.Header["Dpop"] = []string{proof}
		}
		resp, err := p.rt.RoundTrip(req)
		if err != nil {
			return nil, t.failed(ctx, p, res.rec, err)
		}
		if resp.StatusCode == http.StatusSwitchingProtocols && !(c.WebSocket && strings.EqualFold(resp.Header.Get("Upgrade"), "websocket")) {
			resp.Body.Close()
			return nil, &UnreachableError{Connection: p.def.Connection.Name, Err: errors.New("the API switched to a protocol that it was not asked for")}
		}
		if p.api.ScanEcho {
			if refused := p.watch(resp, r, res); refused != nil {
				resp.Body.Close()
				return nil, refused
			}
		}
		if !bound || !t.nonces.keep(origin, resp.Header) || repeated || !wantsNonce(resp) {
			return resp, nil
		}
		if res.rec != nil && !res.rec.hold() {
			res.NotReplayable = true
			return resp, nil
		}
		discard(resp)
	}
}

// request builds one send.
func (t *Transport) request(ctx context.Context, p *plan, c *Call, to target, r *rendering, rec *recorder) (*http.Request, error) {
	query, asked := p.mergeQuery(to, r)
	u, refused := p.url(to, query, asked)
	if refused != nil {
		return nil, refused
	}
	req := blank.WithContext(ctx)
	req.Method, req.URL, req.Host = c.Method, u, to.host
	req.Header = p.header(c, r)
	if rec != nil {
		req.Body, req.ContentLength, req.Trailer = rec.attempt(), c.Length, c.Trailer
	}
	return req, nil
}

// blank is what every request begins as; WithContext copies it.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// failed names what ended a send without an answer.
func (t *Transport) failed(ctx context.Context, p *plan, rec *recorder, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if rec != nil {
		if broken := rec.failed(); broken != nil {
			return &BodyError{Err: broken}
		}
	}
	if why := dial.Reason(err); why != "" {
		t.o.Log.Warn("target denied", "connection", p.def.Connection.Name, "reason", why)
	}
	return &UnreachableError{Connection: p.def.Connection.Name, Err: err}
}

// finish makes an answer ready for the caller.
func (p *plan) finish(res *Result) {
	cleanResponse(res.Response.Header, p.api.Cookies)
	if res.Response.Body == nil {
		res.Response.Body = http.NoBody
	}
	if res.rec != nil {
		res.rec.settle()
	}
}
