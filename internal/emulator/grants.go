package emulator

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A grant is one account's consent and everything that was issued upon it: the
// family that a strict provider revokes as one. The emulator's lock guards it.
type grant struct {
	id         string
	client     *client
	subject    string
	scope      string
	nonce      string // of the OpenID request, repeated in ID tokens
	began      time.Time
	jkt        string // thumbprint of the DPoP key that the tokens are bound to
	generation int64  // access tokens issued so far
	refreshes  int
	current    *refreshToken
	history    []*refreshToken // oldest first, current included
	live       []*accessToken  // with LiveLimit: those that count
	newest     *accessToken
	killed     int64  // access tokens up to this generation are refused
	revoked    string // why; empty: it lives
}

// historyLength bounds how many refresh tokens of a grant are remembered. One
// that is older is unknown when it comes back.
const historyLength = 64

type accessToken struct {
	value      string
	grant      *grant
	scope      string
	generation int64
	issued     time.Time
	expiry     time.Time
	used       time.Time // first use
	killed     string    // why; empty: it lives
}

type refreshToken struct {
	value    string
	grant    *grant
	issued   time.Time
	used     time.Time     // first use
	touched  time.Time     // last use
	replaced *refreshToken // its newest successor
	brought  *accessToken  // what its last use brought
	answer   *answer       // the same, as it was said
}

// text returns a new token value. Its core, which holds letters and digits
// only, reads the same in every encoding; searches for leaks look for it.
func (e *Emulator) textLocked(prefix string, odd bool) (value, core string) {
	e.serial++
	n := strconv.FormatInt(e.serial, 10)
	e.mac.Reset()
	e.mac.Write([]byte(prefix))
	e.mac.Write([]byte(n))
	sum := e.mac.Sum(e.sum[:0])
	core = strings.Repeat("0", max(0, 6-len(n))) + n + "x" + hex.EncodeToString(sum[:12])
	if odd {
		// Legal in a token, and each of them lost or doubled by a client that
		// encodes once too often or not at all.
		return prefix + "~" + core + "+%2F/.=", core
	}
	return prefix + "_" + core, core
}

// remember keeps a value that was issued for IssuedTokens and Canaries.
func (e *Emulator) rememberLocked(value, core string) {
	if !e.opts.Fast {
		e.values.add(issuedValue{value, core})
	}
}

// newGrant starts a family.
func (e *Emulator) newGrantLocked(c *client, subject, scope string, now time.Time) *grant {
	e.grantSerial++
	g := &grant{id: "g" + strconv.FormatInt(e.grantSerial, 10), client: c, subject: subject, scope: scope, began: now}
	e.grants.put(g.id, g)
	c.grants++
	return g
}

// ownGrant returns the grant of a client that asks for itself, which is one
// for each subject and scope, so that its generations count up.
func (e *Emulator) ownGrantLocked(c *client, subject, scope string, now time.Time) *grant {
	key := subject + "\x00" + scope
	if g := c.own[key]; g != nil && g.revoked == "" {
		return g
	}
	if len(c.own) >= 1024 {
		clear(c.own)
	}
	g := e.newGrantLocked(c, subject, scope, now)
	c.own[key] = g
	return g
}

// forgetGrant takes the refresh tokens of a grant that made room along.
func (e *Emulator) forgetGrant(_ string, g *grant) {
	for _, t := range g.history {
		delete(e.refresh, t.value)
	}
}

// issue makes g's next access token.
func (e *Emulator) issueLocked(g *grant, scope, issuer string, now time.Time) *accessToken {
	p := &g.client.Profile
	if t := g.newest; p.SameAccess && t != nil && e.aliveLocked(t, now) == "" && t.scope == scope {
		return t
	}
	g.generation++
	t := &accessToken{grant: g, scope: scope, generation: g.generation, issued: now, expiry: now.Add(p.Lifetime.D())}
	value, core := e.textLocked("at", p.Odd)
	if p.Format == "jwt" {
		claims := map[string]any{
			"iss": issuer, "sub": g.subject, "aud": issuer + "/api", "client_id": g.client.ID,
			"iat": now.Unix(), "exp": t.expiry.Unix(), "jti": core, "scope": scope,
		}
		if g.jkt != "" {
			claims["cnf"] = map[string]string{"jkt": g.jkt}
		}
		value = e.keys.sign("ES256", "at+jwt", claims)
		core = coreOf(value)
	}
	t.value = value
	e.rememberLocked(value, core)
	e.access.put(value, t)
	if p.LiveLimit > 0 {
		g.live = slices.DeleteFunc(g.live, func(o *accessToken) bool { return e.aliveLocked(o, now) != "" })
		g.live = append(g.live, t)
		for len(g.live) > p.LiveLimit {
			g.live[0].killed = "live_limit"
			g.live = g.live[1:]
			e.counts.liveKilled++
		}
	}
	g.newest = t
	return t
}

// newRefresh gives g its next refresh token.
func (e *Emulator) newRefreshLocked(g *grant, now time.Time) *refreshToken {
	value, core := e.textLocked("rt", g.client.Odd)
	t := &refreshToken{value: value, grant: g, issued: now}
	e.rememberLocked(value, core)
	e.refresh[value] = t
	g.current = t
	g.history = append(g.history, t)
	if len(g.history) > historyLength {
		delete(e.refresh, g.history[0].value)
		g.history = slices.Delete(g.history, 0, 1)
	}
	return t
}

// alive says why t is dead, or nothing if it lives.
func (e *Emulator) aliveLocked(t *accessToken, now time.Time) string {
	switch {
	case t.grant.revoked != "":
		return "revoked"
	case t.killed != "":
		return t.killed
	case t.generation <= t.grant.killed:
		return "killed"
	case !now.Before(t.expiry):
		return "expired"
	}
	return ""
}

// revoke ends a family.
func (e *Emulator) revokeLocked(g *grant, why string) {
	if g.revoked != "" {
		return
	}
	g.revoked = why
	e.counts.revoked[why]++
	if why == "reuse" {
		g.client.familiesRevoked++
	}
}

// usable says whether t would work now, without using it.
func (e *Emulator) usableLocked(t *refreshToken, now time.Time) string {
	g, p := t.grant, &t.grant.client.Profile
	if g.revoked != "" {
		return "the grant was revoked: " + g.revoked
	}
	if p.RefreshLifetime > 0 && !now.Before(t.issued.Add(p.RefreshLifetime.D())) {
		return "the refresh token expired"
	}
	last := t.touched
	if last.IsZero() {
		last = t.issued
	}
	if p.IdleLifetime > 0 && !now.Before(last.Add(p.IdleLifetime.D())) {
		return "the refresh token was unused for too long"
	}
	if t.replaced == nil {
		return ""
	}
	how := t.former(p.model(), now)
	if how == formerRefused {
		return "the refresh token was used and replaced"
	}
	return ""
}

type formerUse int

const (
	formerRefused formerUse = iota
	formerUsed
	formerReplayed
)

// former says what becomes of t, which was replaced, when it is presented at
// now.
func (t *refreshToken) former(m model, now time.Time) formerUse {
	immediate := t.replaced == t.grant.current
	switch {
	case m.accepts:
		return formerUsed
	case m.replays && immediate && t.answer != nil:
		if !m.untilUse {
			return formerReplayed
		}
		first := t.brought.used
		if u := t.replaced.used; first.IsZero() || !u.IsZero() && u.Before(first) {
			first = u
		}
		if first.IsZero() || now.Before(first.Add(afterFirstUse)) {
			return formerReplayed
		}
	case m.grace > 0 && now.Before(t.used.Add(m.grace)):
		return formerUsed
	case m.previous && immediate:
		return formerUsed
	}
	return formerRefused
}

// renew is what a refresh with t leads to, after the client was authenticated.
// twist may change whose token comes and with which scope.
func (e *Emulator) renewLocked(t *refreshToken, scope, issuer string, tw twist, now time.Time) *answer {
	g := t.grant
	p := &g.client.Profile
	m := p.model()
	if g.revoked != "" {
		if t.replaced != nil {
			e.counts.reuse++
		}
		return refuse(400, "invalid_grant", "the grant was revoked")
	}
	if t.replaced != nil {
		switch t.former(m, now) {
		case formerReplayed:
			t.touched = now
			return t.answer.clone()
		case formerRefused:
			e.counts.reuse++
			if m.revokes {
				e.revokeLocked(g, "reuse")
				return refuse(400, "invalid_grant", "the refresh token was used before; all tokens of this grant are revoked")
			}
			return refuse(400, "invalid_grant", "the refresh token was used before")
		}
	}
	if why := e.usableLocked(t, now); why != "" {
		return refuse(400, "invalid_grant", why)
	}
	if last := g.newest; p.EarlyRefresh > 0 && last != nil && now.Before(last.expiry.Add(-p.EarlyRefresh.D())) && e.aliveLocked(last, now) == "" {
		return refuse(400, "invalid_request", "the access token has not expired yet; ask again less than "+p.EarlyRefresh.String()+" before it does")
	}
	granted := g.scope
	if scope != "" {
		if !within(scope, g.scope) {
			return refuse(400, "invalid_scope", "the scope is wider than the grant's")
		}
		granted = scope
	}
	if p.Narrow != "" {
		granted = p.Narrow
	}
	if tw.narrow != "" {
		granted = tw.narrow
	}

	g.refreshes++
	t.touched = now
	if t.used.IsZero() {
		t.used = now
	}
	next := t
	turned := m.turns == always || m.turns == some && g.refreshes%max(1, p.Every) == 0
	if turned {
		next = e.newRefreshLocked(g, now)
		t.replaced = next
	}
	from := g
	if tw.subject != "" {
		// The provider mixes up two accounts: the refresh token is spent as
		// always, and what comes belongs to somebody else.
		from = e.newGrantLocked(g.client, tw.subject, granted, now)
		from.jkt = g.jkt
		if turned {
			next = e.newRefreshLocked(from, now)
		}
	}
	at := e.issueLocked(from, granted, issuer, now)
	t.brought = at
	told := next
	if m.silent {
		told = nil
	}
	a := e.granted(p, at, told, e.idTokenLocked(from, granted, issuer, tw, now), now)
	a.outcome = kept
	if turned {
		a.outcome = rotated
		if m.replays {
			t.answer = a.clone()
		}
	}
	return a
}

// A twist is what a fault changes while an endpoint does its work.
type twist struct {
	subject string // tokens of somebody else
	narrow  string // another scope
	idToken string // an ID token that must not be believed
}

// within reports whether every word of scope is one of wide.
func within(scope, wide string) bool {
	have := words(wide)
	for _, s := range words(scope) {
		if !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

func words(scope string) []string {
	return strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' || r == ',' })
}

// first answers the first token request of g.
func (e *Emulator) firstLocked(g *grant, withRefresh bool, issuer string, tw twist, now time.Time) *answer {
	p := &g.client.Profile
	scope := g.scope
	if tw.narrow != "" {
		scope = tw.narrow
	}
	if tw.subject != "" {
		g.subject = tw.subject
	}
	at := e.issueLocked(g, scope, issuer, now)
	var rt *refreshToken
	if withRefresh && !p.NoRefresh {
		rt = e.newRefreshLocked(g, now)
	}
	a := e.granted(p, at, rt, e.idTokenLocked(g, scope, issuer, tw, now), now)
	a.outcome = kept
	return a
}

// Tokens are what Issue obtained.
type Tokens struct {
	Grant   string
	Access  string
	Refresh string
	Expiry  time.Time
	Answer  json.RawMessage
}

// Issue grants subject's consent to a client without any request, as a test or
// a benchmark that needs many connections wants it. Empty: the client's own
// subject and scope.
func (e *Emulator) Issue(clientID, subject, scope string) (Tokens, error) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clientLocked(clientID)
	if c == nil {
		return Tokens{}, fmt.Errorf("client %q is not registered", clientID)
	}
	or(&subject, c.Subject)
	or(&scope, c.Scope)
	g := e.newGrantLocked(c, subject, scope, now)
	a := e.firstLocked(g, true, e.issuer(nil), twist{}, now)
	t := Tokens{Grant: g.id, Access: g.newest.value, Expiry: g.newest.expiry, Answer: a.body()}
	if g.current != nil {
		t.Refresh = g.current.value
	}
	return t, nil
}
