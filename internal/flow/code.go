package flow

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Request asks for an authorization.
type Request struct {
	Connection   string
	Actor        string // who asks, for the record
	ReturnTo     string // where the browser goes after it; "": a page that says how it ended
	OtherAccount bool   // the account may be another one than before
}

// A Started is an authorization that waits for a person.
type Started struct {
	Flow        string
	Link        string // to open in a browser, once
	RedirectURI string // as the provider must know it
	Scopes      []string
	ExpiresAt   time.Time
}

// A GrantError says that a connection cannot be authorized in the way that was
// asked for.
type GrantError struct {
	Connection, Detail string
}

func (e *GrantError) Error() string { return fmt.Sprintf("connection %s: %s", e.Connection, e.Detail) }

// Start begins an authorization in a browser. Errors are *GrantError,
// *ReturnError, and a *grant.Error for a profile that makes no link.
func (f *Flows) Start(ctx context.Context, q Request) (Started, error) {
	def, err := f.o.Definitions.Definition(ctx, q.Connection)
	if err != nil {
		return Started{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	if g := grant.Grant(def); g != freshet.GrantAuthorizationCode && def.Provider.AuthorizationURL == "" {
		return Started{}, &GrantError{q.Connection, fmt.Sprintf("its grant is %s, which no person confirms in a browser", g)}
	}
	if q.ReturnTo != "" {
		if err := CheckReturn(q.ReturnTo); err != nil {
			return Started{}, err
		}
	}
	redirect := def.Client.RedirectURL
	if redirect == "" {
		redirect = f.o.RedirectURI
	}
	state, ticket := random(), random()
	id := f.idOf(state)
	link, ok := startLink(redirect, id+"."+ticket)
	if !ok {
		return Started{}, &GrantError{q.Connection, fmt.Sprintf("the redirect_url of client %s does not lead to this server: it must end in %s", def.Connection.Client, callback)}
	}
	verifier, nonce := random(), random()
	to, err := f.o.Grants.AuthorizeURL(ctx, def, grant.AuthorizeParams{State: state, Verifier: freshet.NewSecret(verifier), RedirectURI: redirect, Nonce: nonce})
	if err != nil {
		return Started{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	r := &record{ID: def.ID, Places: placesOf(def), Actor: q.Actor, OtherAccount: q.OtherAccount, URL: to, Verifier: verifier, Nonce: nonce,
		RedirectURI: redirect, ReturnTo: q.ReturnTo, Ticket: hashOf(ticket)}
	sealed, err := f.seal(id, r)
	if err != nil {
		return Started{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	expires := f.o.Now().Add(Lifetime).UTC().Truncate(time.Millisecond)
	if err := f.o.Store.StartFlow(ctx, store.Flow{ID: id, Connection: q.Connection, Kind: string(freshet.GrantAuthorizationCode), Sealed: sealed, ExpiresAt: expires}); err != nil {
		return Started{}, fmt.Errorf("connection %s: %w", q.Connection, err)
	}
	return Started{Flow: id, Link: link, RedirectURI: redirect, Scopes: def.Connection.Scopes, ExpiresAt: expires}, nil
}

// CookieName is the cookie that binds a flow to a browser. Flows that go on side
// by side do not share one.
func CookieName(id string) string {
	if len(id) > 16 {
		id = id[:16]
	}
	return "freshet_flow_" + id
}

// An Opened is where the browser goes that opened a link.
type Opened struct {
	Flow      string
	URL       string // the provider's
	Cookie    string // value of CookieName(Flow); what the browser had, if it had one
	ExpiresAt time.Time
}

// Open takes a link's last part and gives the flow to the browser, whose cookie
// of a name cookie returns. Errors are ErrUnknown and ErrBrowser: another
// browser has opened it already.
func (f *Flows) Open(ctx context.Context, ticket string, cookie func(name string) string) (Opened, error) {
	id, secret, _ := strings.Cut(ticket, ".")
	for {
		row, r, err := f.pending(ctx, id)
		if err != nil {
			return Opened{}, err
		}
		if row.Kind != string(freshet.GrantAuthorizationCode) || !same(r.Ticket, secret) {
			return Opened{}, ErrUnknown
		}
		o := Opened{Flow: id, URL: r.URL, Cookie: cookie(CookieName(id)), ExpiresAt: row.ExpiresAt}
		if r.Browser != "" {
			if !same(r.Browser, o.Cookie) {
				return Opened{}, ErrBrowser
			}
			return o, nil // the same browser again: somebody went back a page
		}
		o.Cookie = random()
		r.Browser = hashOf(o.Cookie)
		sealed, err := f.seal(id, r)
		if err != nil {
			return Opened{}, fmt.Errorf("flow: %w", err)
		}
		switch err := f.o.Store.BindFlow(ctx, id, row.Sealed, sealed); {
		case errors.Is(err, store.ErrStale):
			continue // two opened it at once: look again who was first
		case err != nil:
			return Opened{}, fmt.Errorf("flow: %w", err)
		}
		return o, nil
	}
}

// pending returns a flow that may still be used.
func (f *Flows) pending(ctx context.Context, id string) (store.Flow, *record, error) {
	row, err := f.o.Store.Flow(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return row, nil, ErrUnknown
	} else if err != nil {
		return row, nil, fmt.Errorf("flow: %w", err)
	}
	if row.Status != Pending || !f.o.Now().Before(row.ExpiresAt) {
		return row, nil, ErrUnknown
	}
	r, err := f.open(id, row.Sealed)
	if err != nil {
		return row, nil, fmt.Errorf("flow: %w", err)
	}
	return row, r, nil
}

// A Landed is a browser that came back from the provider.
type Landed struct {
	Flow       string
	Connection string
	ReturnTo   string
	Done       bool
	Detail     string // in words, why it is not done
}

// Callback takes what the provider's redirect brought, at the path it came to,
// and finishes the flow. ErrUnknown, ErrBrowser and ErrChanged are requests that
// nothing was sent for; a flow that was finished, well or badly, is a Landed.
func (f *Flows) Callback(ctx context.Context, path string, q url.Values, cookie func(name string) string) (Landed, error) {
	state, ok := f.stateOf(ctx, q)
	if !ok {
		return Landed{}, ErrUnknown
	}
	id := f.idOf(state)
	row, r, err := f.pending(ctx, id)
	if err != nil {
		return Landed{}, err
	}
	// The flow is not touched before the browser is known to be the right one:
	// whoever has seen the state elsewhere cannot even use it up.
	if r.Browser == "" || !same(r.Browser, cookie(CookieName(id))) {
		return Landed{}, ErrBrowser
	}
	f.begin(id)
	if row, err = f.o.Store.TakeFlow(ctx, id); err != nil {
		f.mu.Lock()
		delete(f.active, id)
		f.mu.Unlock()
		if errors.Is(err, store.ErrNotFound) {
			return Landed{}, ErrUnknown
		}
		return Landed{}, fmt.Errorf("flow: %w", err)
	}
	f.wg.Add(1)
	defer f.wg.Done()
	l := Landed{Flow: id, Connection: row.Connection, ReturnTo: r.ReturnTo}
	code, def, err := f.land(ctx, row, r, path, q)
	if err != nil {
		l.Detail = landing(err)
		f.end(row, r, false, l.Detail)
		if errors.Is(err, ErrChanged) || errors.Is(err, grant.ErrMixUp) {
			return l, err
		}
		return l, nil
	}
	// The browser may leave now. The code is spent when it is sent.
	ctx = context.WithoutCancel(ctx)
	out, err := f.o.Source.Obtain(ctx, def.Connection.Name, grant.Ask{Code: code, Verifier: freshet.NewSecret(r.Verifier), RedirectURI: r.RedirectURI, Nonce: r.Nonce}, r.OtherAccount)
	if err != nil {
		f.o.Log.Warn("authorization not stored", "connection", row.Connection, "error", err)
	}
	l.Done, l.Detail = obtained(out, err)
	f.end(row, r, l.Done, l.Detail)
	return l, nil
}

// land checks that the answer is one to the question that was asked.
func (f *Flows) land(ctx context.Context, row store.Flow, r *record, path string, q url.Values) (freshet.Secret, *freshet.Definition, error) {
	def, err := f.o.Definitions.Definition(ctx, row.Connection)
	if errors.Is(err, freshet.ErrNotFound) || err == nil && (def.ID != r.ID || placesOf(def) != r.Places) {
		return freshet.Secret{}, nil, ErrChanged
	} else if err != nil {
		return freshet.Secret{}, nil, err
	}
	// RFC 9700 §4.4: a client that has a redirect URI of its own gets its codes
	// there and nowhere else.
	if u, err := url.Parse(r.RedirectURI); err != nil || !strings.HasSuffix(u.Path, path) {
		return freshet.Secret{}, nil, grant.ErrMixUp
	}
	code, err := f.o.Grants.CheckCallback(ctx, def, q)
	return code, def, err
}

// landing says in words why a flow ended at the callback.
func landing(err error) string {
	var said *grant.CallbackError
	switch {
	case errors.As(err, &said):
		return said.Error()
	case errors.Is(err, ErrChanged):
		return ErrChanged.Error() + "; start again"
	case errors.Is(err, grant.ErrMixUp):
		return grant.ErrMixUp.Error() + "; nothing was sent. Look at issuer and redirect_url, then start again"
	case errors.Is(err, freshet.ErrNotFound):
		return "the connection is gone"
	}
	return err.Error() + "; start again"
}

// stateOf finds the state among what came back. Some providers have a name of
// their own for it, and which provider it is only the state tells.
func (f *Flows) stateOf(ctx context.Context, q url.Values) (string, bool) {
	if list := q["state"]; len(list) > 0 {
		return list[0], len(list) == 1 && plausible(list[0])
	}
	tried := 0
	for _, list := range q {
		if len(list) != 1 || !plausible(list[0]) {
			continue
		}
		if tried++; tried > 8 {
			break
		}
		if _, err := f.o.Store.Flow(ctx, f.idOf(list[0])); err == nil {
			return list[0], true
		}
	}
	return "", false
}

// plausible reports whether s has the form of a state of ours.
func plausible(s string) bool { return len(s) == len(stateForm) }

const stateForm = "0123456789012345678901234567890123456789012"
